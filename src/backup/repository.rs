//! A repository: who may write what where. `FORMAT.md` has the names.

use std::fmt;
use std::sync::Arc;

use object_store::ObjectStore;
use serde::{Deserialize, Serialize};

use super::cipher::{Key, Lock, Secret, Stretch, hex};
use super::error::Error;
use super::host::Host;
use super::id::BackupId;
use super::manifest::{BackupMetadata, BackupType, Parent};
use super::sealed::{self, LEN_MAX};
use super::store::{Capabilities, Store, probe};
use crate::types::{NodeId, WallTime};

const REPOSITORY: &str = "repo.json";
/// The longest small file: all but manifests.
const SMALL_MAX: u64 = 64 << 10;

/// An open repository.
#[derive(Clone)]
pub struct Repository {
    pub(super) store: Store,
    /// For people.
    at: String,
    description: Description,
    pub(super) key: Option<Key>,
}

/// What `repo.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    id: String,
    capabilities: Capabilities,
    created: WallTime,
    /// The id of the key that everything in it is encrypted with.
    key: Option<String>,
}

/// That a backup is being written: its intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Intent {
    pub(super) id: BackupId,
    pub(super) node: NodeId,
    pub(super) kind: BackupType,
    pub(super) store: String,
    pub(super) parent: Option<Parent>,
    pub(super) codec: super::codec::BackupCompression,
    /// The first record of each chain that it holds: what is resumed must begin with the same.
    pub(super) first: [u64; 2],
    pub(super) begun: WallTime,
}

/// That a backup is to be deleted, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tomb {
    pub(super) id: BackupId,
    pub(super) node: NodeId,
    pub(super) marked: WallTime,
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository").field("at", &self.at).field("id", &self.description.id).finish_non_exhaustive()
    }
}

impl Repository {
    /// Opens the repository in this store.
    ///
    /// # Errors
    /// [`Error::NoRepository`] if there is none; [`Error::WrongKey`] if it is encrypted for somebody else,
    /// [`Error::NotEncrypted`] if a secret was given for nothing. Without a
    /// secret an encrypted repository opens too: it can be listed and its checksums verified.
    pub async fn open(inner: Arc<dyn ObjectStore>, at: &str, secret: Option<&Secret>) -> Result<Self, Error> {
        let unknown = Capabilities { create: false, swap: false, list: false };
        let mut store = Store::new(inner, unknown);
        let Some(bytes) = store.find(REPOSITORY, SMALL_MAX).await? else {
            // Making another one over what is there would lose it.
            let Some(left) = store.folders("backups").await?.into_iter().next() else {
                return Err(Error::NoRepository { at: at.into() });
            };
            return Err(Error::Missing { name: REPOSITORY.into(), needed_by: format!("backups/{left} is there") });
        };
        let description: Description = sealed::open(REPOSITORY, &bytes, None)?;
        store.capabilities = description.capabilities;
        let mut repository = Self { store, at: at.into(), description, key: None };
        repository.id_bytes().ok_or_else(|| Error::damaged(REPOSITORY, "its id is not 32 hexadecimal digits"))?;
        match secret {
            // Who expects its data to be encrypted is not to learn that it was not.
            Some(_) if !repository.is_encrypted() => return Err(Error::NotEncrypted { at: at.into() }),
            Some(secret) => repository.key = Some(repository.unlock(secret).await?),
            None => {}
        }
        Ok(repository)
    }

    /// Opens the repository in this store, made if there is none: what the store can do is found out, and with a secret
    /// it is encrypted for good.
    ///
    /// # Errors
    /// As [`Self::open`], and what the store refuses.
    pub async fn open_or_make(
        inner: Arc<dyn ObjectStore>,
        at: &str,
        secret: Option<&Secret>,
        stretch: Stretch,
        host: &dyn Host,
    ) -> Result<Self, Error> {
        match Self::open(Arc::clone(&inner), at, secret).await {
            Err(Error::NoRepository { .. }) => {}
            opened => return opened,
        }
        let mut id = [0; 16];
        host.random(&mut id);
        let id = hex(&id);
        let capabilities = probe(&inner, &id).await?;
        let store = Store::new(Arc::clone(&inner), capabilities);
        let mut description = Description { id, capabilities, created: host.wall(), key: None };
        if let Some(secret) = secret {
            // The lock first: once the repository is there, it can be opened.
            let key = Key::draw(host);
            let lock = Lock::new(&key, secret, stretch, &description.id, host)?;
            store.make(&format!("keys/{}.json", key.id()), sealed::seal(&lock, None).into()).await?;
            description.key = Some(key.id());
        }
        match store.make(REPOSITORY, sealed::seal(&description, None).into()).await {
            // Somebody else made it at the same time: theirs counts.
            Ok(()) | Err(Error::Conflict { .. }) => Self::open(inner, at, secret).await,
            Err(error) => Err(error),
        }
    }

    async fn unlock(&self, secret: &Secret) -> Result<Key, Error> {
        let name = self.lock_name();
        let bytes = self.store.read(&name, SMALL_MAX, "the repository is encrypted with this key").await?;
        let lock: Lock = sealed::open(&name, &bytes, None)?;
        let key = lock.open(secret, &self.description.id).map_err(|what| Error::damaged(&name, what))?;
        let key = key.ok_or_else(|| Error::WrongKey { name: name.clone() })?;
        if Some(key.id()) == self.description.key {
            Ok(key)
        } else {
            Err(Error::damaged(&name, "it locks another key"))
        }
    }

    fn lock_name(&self) -> String {
        format!("keys/{}.json", self.description.key.as_deref().unwrap_or_default())
    }

    /// What its store can do.
    #[must_use]
    pub const fn capabilities(&self) -> Capabilities {
        self.store.capabilities
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.description.id
    }

    /// Whether what is in it is encrypted.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        self.description.key.is_some()
    }

    /// The id of the key that what is in it is encrypted with.
    pub(super) fn key_id(&self) -> Option<String> {
        self.description.key.clone()
    }

    /// Where it is, for people.
    #[must_use]
    pub fn at(&self) -> &str {
        &self.at
    }

    pub(super) fn id_bytes(&self) -> Option<[u8; 16]> {
        u128::from_str_radix(&self.description.id, 16)
            .ok()
            .filter(|_| self.description.id.len() == 32)
            .map(u128::to_be_bytes)
    }

    /// Whether the lock of an encrypted repository is as it was written.
    pub(super) async fn check_lock(&self) -> Result<(), Error> {
        if !self.is_encrypted() {
            return Ok(());
        }
        let name = self.lock_name();
        let bytes = self.store.read(&name, SMALL_MAX, "the repository is encrypted with this key").await?;
        sealed::open::<Lock>(&name, &bytes, None).map(drop)
    }

    /// Writes one of the small files.
    pub(super) async fn write(&self, name: &str, says: &impl Serialize) -> Result<blake3::Hash, Error> {
        let bytes = sealed::seal(says, self.key.as_ref());
        let hash = blake3::hash(&bytes);
        self.store.make(name, bytes.into()).await?;
        Ok(hash)
    }

    /// Reads one of the small files; none if it is not there.
    pub(super) async fn small<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let Some(bytes) = self.store.find(name, SMALL_MAX).await? else { return Ok(None) };
        sealed::open(name, &bytes, self.key.as_ref()).map(Some)
    }

    /// Reads a manifest, and what its file hashes to; none if it is not there.
    pub(super) async fn manifest(&self, name: &str) -> Result<Option<(BackupMetadata, blake3::Hash)>, Error> {
        let Some(bytes) = self.store.find(name, LEN_MAX).await? else { return Ok(None) };
        let metadata: BackupMetadata = sealed::open(name, &bytes, self.key.as_ref())?;
        let bad = |what: &str| Err(Error::damaged(name, what));
        if let Err(what) = metadata.check() {
            return bad(&what);
        }
        if manifest_name(metadata.node, metadata.id) != name {
            return bad("it is the manifest of another backup");
        }
        if metadata.repository != self.description.id || metadata.key != self.description.key {
            return bad("it is of another repository");
        }
        let folder = data_folder(metadata.node, metadata.id);
        if metadata
            .objects
            .iter()
            .any(|object| object.key.strip_prefix(&folder).is_none_or(|rest| !rest.starts_with('/')))
        {
            return bad("it names an object that is not its own");
        }
        Ok(Some((metadata, blake3::hash(&bytes))))
    }
}

/// The name of a backup's manifest.
pub(super) fn manifest_name(node: NodeId, id: BackupId) -> String {
    format!("backups/{node}/{id}.json")
}

/// The folder of a backup's objects.
pub(super) fn data_folder(node: NodeId, id: BackupId) -> String {
    format!("data/{node}/{id}")
}

/// The name of a backup's intent.
pub(super) fn intent_name(node: NodeId, id: BackupId) -> String {
    format!("pending/{node}/{id}.json")
}

/// The name of a backup's mark of deletion.
pub(super) fn tomb_name(node: NodeId, id: BackupId) -> String {
    format!("tombs/{node}/{id}.json")
}
