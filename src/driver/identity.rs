//! Who this peer is: its key, whose public half names it to the transport, and its node id, which names it to the mesh.
//!
//! Both are drawn once, at the first start, and lie in the data directory: `identity.key` (libp2p protobuf, ed25519, mode
//! 0600) and `node-id` (a UUID as text). The admission ticket binds one to the other.

use std::path::Path;

use libp2p::identity::{Keypair, PeerId};

use super::admission::key::{PublicKey, Purpose, SecretKey, Signature, random};
use super::admission::vault::{self, FileError};
use crate::recovery::NODE_FILE;
use crate::types::NodeId;

const KEY_FILE: &str = "identity.key";
/// What is missing beside a key, and how it is had again: a ticket names the node too, and `rebuild` takes it from there.
const NO_NODE: &str = "there is a key, and no node id: put `node-id` back beside it, or, where `ticket` is there, have `oxigdal-ha rebuild` take it from that";

/// A peer's key and node id.
#[derive(Clone, Debug)]
pub struct NodeKey {
    secret: SecretKey,
    node: NodeId,
}

impl NodeKey {
    /// The identity in this directory, `None` if there is none. Writes nothing.
    ///
    /// # Errors
    /// As [`Self::open_or_mint`].
    pub fn open(dir: &Path) -> Result<Option<Self>, FileError> {
        let Some(secret) = SecretKey::open(&dir.join(KEY_FILE))? else { return Ok(None) };
        let path = dir.join(NODE_FILE);
        let node = open_node(&path)?.ok_or_else(|| FileError::content(&path, NO_NODE))?;
        Ok(Some(Self { secret, node }))
    }

    /// The identity in this directory, drawn and stored durably if there is none.
    ///
    /// # Errors
    /// [`FileError`] when a file cannot be read or written, is damaged, or may be read by others. A damaged identity is
    /// never replaced: that would silently make another peer of this one.
    pub fn open_or_mint(dir: &Path) -> Result<Self, FileError> {
        vault::make_dir(dir)?;
        // The node id first: once the key is there, both are.
        let node = open_or_mint_node(&dir.join(NODE_FILE))?;
        let secret = SecretKey::open_or_mint(&dir.join(KEY_FILE))?;
        Ok(Self { secret, node })
    }

    /// Writes the node id of a directory, if there is none.
    ///
    /// # Errors
    /// [`FileError`] when it cannot be read or written.
    pub fn mend(dir: &Path, node: NodeId) -> Result<(), FileError> {
        let path = dir.join(NODE_FILE);
        if open_node(&path)?.is_some() {
            return Ok(());
        }
        vault::write(&path, format!("{node}\n").as_bytes())
    }

    /// The node id.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.secret.public()
    }

    /// The transport's name for this peer.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.public().peer_id().expect("a key that was minted is a point of the curve")
    }

    pub(super) fn sign(&self, purpose: Purpose, body: &impl bincode::Encode) -> Signature {
        self.secret.sign(purpose, body)
    }

    /// The key in the transport's own form.
    #[must_use]
    pub fn keypair(&self) -> Keypair {
        self.secret.pair()
    }
}

fn open_node(path: &Path) -> Result<Option<NodeId>, FileError> {
    let Some(bytes) = vault::read(path, 64)? else { return Ok(None) };
    let parsed = String::from_utf8_lossy(&bytes).trim().parse();
    parsed.map(Some).map_err(|error| FileError::content(path, format!("not a node id: {error}")))
}

fn open_or_mint_node(path: &Path) -> Result<NodeId, FileError> {
    if let Some(node) = open_node(path)? {
        return Ok(node);
    }
    let node = NodeId::from_uuid(uuid::Builder::from_random_bytes(random()).into_uuid());
    vault::write(path, format!("{node}\n").as_bytes())?;
    Ok(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_drawn_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = NodeKey::open_or_mint(dir.path()).unwrap();
        let second = NodeKey::open_or_mint(dir.path()).unwrap();
        assert_eq!((first.node(), first.peer_id()), (second.node(), second.peer_id()));
        let other = tempfile::tempdir().unwrap();
        let other = NodeKey::open_or_mint(other.path()).unwrap();
        assert_ne!((first.node(), first.peer_id()), (other.node(), other.peer_id()));
    }

    #[test]
    fn a_key_without_a_node_id_is_refused_with_what_gets_it_back() {
        let dir = tempfile::tempdir().unwrap();
        NodeKey::open_or_mint(dir.path()).unwrap();
        std::fs::remove_file(dir.path().join(NODE_FILE)).unwrap();
        assert!(NodeKey::open(dir.path()).unwrap_err().to_string().contains("`oxigdal-ha rebuild`"));
    }
}
