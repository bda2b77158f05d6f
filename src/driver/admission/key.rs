//! Ed25519 keys, and signatures that are good for one purpose only.

use std::fmt;
use std::path::Path;

use bincode::{Decode, Encode};
use libp2p::identity::{self, PeerId, ed25519};

use super::vault::{self, FileError};

/// A protobuf-encoded ed25519 key pair has 68 bytes.
const FILE_MAX: usize = 256;

/// What a signature is for. Its tag is signed with the body, so that no signature can be passed off as another kind's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Issuer,
    Ticket,
    Revocation,
    Request,
    Overlay,
    Timeline,
}

impl Purpose {
    const fn tag(self) -> &'static [u8] {
        match self {
            Self::Issuer => b"oxigdal-ha issuer v1\0",
            Self::Ticket => b"oxigdal-ha ticket v1\0",
            Self::Revocation => b"oxigdal-ha revocation v1\0",
            Self::Request => b"oxigdal-ha issuer request v1\0",
            Self::Overlay => b"oxigdal-ha overlay v1\0",
            Self::Timeline => b"oxigdal-ha timeline v1\0",
        }
    }

    fn message(self, body: &impl Encode) -> Vec<u8> {
        let mut message = self.tag().to_vec();
        message.extend(encode(body));
        message
    }
}

/// The canonical bytes of a value.
pub(super) fn encode(value: &impl Encode) -> Vec<u8> {
    bincode::encode_to_vec(value, bincode::config::standard()).expect("plain values in memory always encode")
}

/// The public half of a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Its 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The transport's name for the holder of this key; `None` if these bytes are no point of the curve.
    #[must_use]
    pub fn peer_id(&self) -> Option<PeerId> {
        let key = ed25519::PublicKey::try_from_bytes(&self.0).ok()?;
        Some(identity::PublicKey::from(key).to_peer_id())
    }

    /// The key that a peer's name holds: ed25519 names hold the whole key.
    #[must_use]
    pub fn of_peer(peer: &PeerId) -> Option<Self> {
        // Identity multihash (code 0) of the protobuf-encoded public key: libp2p peer-ids specification.
        let hash = peer.as_ref();
        let key = (hash.code() == 0).then(|| identity::PublicKey::try_decode_protobuf(hash.digest()).ok())??;
        Some(Self(key.try_into_ed25519().ok()?.to_bytes()))
    }

    pub(super) fn verify(&self, purpose: Purpose, body: &impl Encode, signature: &Signature) -> bool {
        ed25519::PublicKey::try_from_bytes(&self.0).is_ok_and(|key| key.verify(&purpose.message(body), &signature.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "k{a:02x}{b:02x}{c:02x}{d:02x}")
    }
}

/// A signature by one key for one purpose.
#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Signature([u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "s{a:02x}{b:02x}{c:02x}{d:02x}")
    }
}

/// A key pair. Never printed.
#[derive(Clone)]
pub(crate) struct SecretKey(ed25519::Keypair);

impl SecretKey {
    /// Draws one from the system's entropy.
    pub(crate) fn mint() -> Self {
        let secret = ed25519::SecretKey::try_from_bytes(random::<32>()).expect("any 32 bytes are an ed25519 seed");
        Self(secret.into())
    }

    /// The key in this file, `None` if there is no such file.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, FileError> {
        let Some(bytes) = vault::read(path, FILE_MAX)? else { return Ok(None) };
        Self::of_bytes(path, &bytes).map(Some)
    }

    /// The key in this file, whoever may read it, and whether others may.
    pub(super) fn open_anywhere(path: &Path) -> Result<(Self, bool), FileError> {
        let (bytes, exposed) = vault::read_anywhere(path, FILE_MAX)?;
        Ok((Self::of_bytes(path, &bytes)?, exposed))
    }

    fn of_bytes(path: &Path, bytes: &[u8]) -> Result<Self, FileError> {
        let pair = identity::Keypair::from_protobuf_encoding(bytes)
            .map_err(|error| FileError::content(path, format!("not a key: {error}")))?;
        let pair = pair.try_into_ed25519().map_err(|_| FileError::content(path, "not an ed25519 key"))?;
        Ok(Self(pair))
    }

    pub(in crate::driver) fn to_bytes(&self) -> Vec<u8> {
        self.pair().to_protobuf_encoding().expect("ed25519 keys have an encoding")
    }

    /// The key in this file; drawn and stored durably if there is none.
    pub(crate) fn open_or_mint(path: &Path) -> Result<Self, FileError> {
        if let Some(key) = Self::open(path)? {
            return Ok(key);
        }
        let key = Self::mint();
        vault::write(path, &key.to_bytes())?;
        Ok(key)
    }

    pub(crate) fn public(&self) -> PublicKey {
        PublicKey(self.0.public().to_bytes())
    }

    /// The transport's own form.
    pub(crate) fn pair(&self) -> identity::Keypair {
        self.0.clone().into()
    }

    pub(crate) fn sign(&self, purpose: Purpose, body: &impl Encode) -> Signature {
        let bytes = self.0.sign(&purpose.message(body));
        Signature(bytes.try_into().expect("an ed25519 signature has 64 bytes"))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey of {:?}", self.public())
    }
}

/// Bytes of the system's entropy.
///
/// # Panics
/// When the system has none: without it there are no keys, and going on would be unsafe.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system gives entropy");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_body_its_purpose_and_its_key_alone() {
        let (key, other) = (SecretKey::mint(), SecretKey::mint());
        let signature = key.sign(Purpose::Ticket, &7_u64);
        assert!(key.public().verify(Purpose::Ticket, &7_u64, &signature));
        assert!(!key.public().verify(Purpose::Ticket, &8_u64, &signature));
        assert!(!key.public().verify(Purpose::Issuer, &7_u64, &signature));
        assert!(!other.public().verify(Purpose::Ticket, &7_u64, &signature));
    }

    #[test]
    fn a_peers_name_holds_its_key() {
        let key = SecretKey::mint().public();
        assert_eq!(PublicKey::of_peer(&key.peer_id().unwrap()), Some(key));
    }

    #[test]
    fn a_key_outlives_its_process_and_a_damaged_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.key");
        let minted = SecretKey::open_or_mint(&path).unwrap();
        assert_eq!(SecretKey::open_or_mint(&path).unwrap().public(), minted.public());
        vault::write(&path, b"garbage").unwrap();
        assert!(SecretKey::open_or_mint(&path).unwrap_err().to_string().contains("not a key"));
    }
}
