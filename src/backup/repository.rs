//! A repository: who may write what where. `FORMAT.md` has the names.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;

use super::cipher::{Key, Lock, Secret, Stretch};
use super::error::Error;
use super::host::Host;
use super::id::BackupId;
use super::location::Location;
use super::manifest::{BackupMetadata, BackupType, Parent};
use super::sealed::{self, LEN_MAX};
use super::store::{Capabilities, Store, probe};
use crate::types::{NodeId, WallTime, hex};

pub(super) const REPOSITORY: &str = "repo.json";
/// Its second copy, and the ending of those of locks: what is there only once takes everything with it.
pub(super) const REPOSITORY_COPY: &str = "repo.copy.json";
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
    /// Files that are there twice, and of which one is missing or damaged.
    hurt: Vec<Twice>,
}

/// One of the files that are there twice.
#[derive(Clone, Debug)]
struct Twice {
    name: String,
    missing: bool,
    what: String,
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
    /// A live archive writes it: nobody else goes on with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) archive: bool,
    /// The life that writes it.
    #[serde(default)]
    pub(super) holder: String,
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
    /// Opens the repository at this place. Of the files that are there twice one is enough: [`Self::hurt`] says what is wrong
    /// with the other.
    ///
    /// # Errors
    /// [`Error::NoRepository`] if there is none; [`Error::WrongKey`] if it is encrypted for somebody else,
    /// [`Error::NotEncrypted`] if a secret was given for nothing. Without a
    /// secret an encrypted repository opens too: it can be listed and its checksums verified.
    pub async fn open(location: impl Into<Location>, at: &str, secret: Option<&Secret>) -> Result<Self, Error> {
        let unknown = Capabilities { create: false, swap: false, list: false };
        let mut store = Store::new(location.into(), unknown);
        let mut hurt = Vec::new();
        let described = twice::<Description>(&store, [REPOSITORY, REPOSITORY_COPY], &mut hurt).await?;
        let Some(description) = described else {
            // Making another one over what is there would lose it.
            let Some(left) = store.folders("backups").await?.into_iter().next() else {
                return Err(Error::NoRepository { at: at.into() });
            };
            return Err(Error::Missing { name: REPOSITORY.into(), needed_by: format!("backups/{left} is there") });
        };
        store.capabilities = description.capabilities;
        let mut repository = Self { store, at: at.into(), description, key: None, hurt };
        repository.id_bytes().ok_or_else(|| Error::damaged(REPOSITORY, "its id is not 32 hexadecimal digits"))?;
        let lock = repository.lock().await?;
        match (secret, lock) {
            // Who expects its data to be encrypted is not to learn that it was not.
            (Some(_), None) => return Err(Error::NotEncrypted { at: at.into() }),
            (Some(secret), Some(lock)) => repository.key = Some(repository.unlock(&lock, secret)?),
            (None, _) => {}
        }
        for hurt in &repository.hurt {
            tracing::warn!(file = %hurt.name, what = %hurt.what, "one of two copies in the repository is not whole; the other is used");
        }
        Ok(repository)
    }

    /// Whether it is still what was opened: a store may be unmounted, or emptied, under whoever has it open.
    ///
    /// # Errors
    /// [`Error::NoRepository`] if it is not, and what the store refuses.
    pub(super) async fn is_still_there(&self) -> Result<(), Error> {
        let described = twice::<Description>(&self.store, [REPOSITORY, REPOSITORY_COPY], &mut Vec::new()).await?;
        let same = described.is_some_and(|described| described.id == self.description.id);
        same.then_some(()).ok_or_else(|| Error::NoRepository { at: self.at.clone() })
    }

    /// Opens the repository at this place, made if there is none: what the store can do is found out, and with a secret
    /// it is encrypted for good. A second copy that is missing is made.
    ///
    /// # Errors
    /// As [`Self::open`], and what the store refuses.
    pub async fn open_or_make(
        location: impl Into<Location>,
        at: &str,
        secret: Option<&Secret>,
        stretch: Stretch,
        host: &dyn Host,
    ) -> Result<Self, Error> {
        let location = location.into();
        match Self::open(location.clone(), at, secret).await {
            Err(Error::NoRepository { .. }) => {}
            Err(error) => return Err(error),
            Ok(opened) => return opened.mended().await,
        }
        let mut id = [0; 16];
        host.random(&mut id);
        let id = hex(&id);
        let capabilities = probe(&location, &id).await?;
        let store = Store::new(location.clone(), capabilities);
        let mut description = Description { id, capabilities, created: host.wall(), key: None };
        if let Some(secret) = secret {
            // The lock first, twice: once the repository is there, it can be opened.
            let key = Key::draw(host);
            let lock = Lock::new(&key, secret, stretch, &description.id, host)?;
            for name in lock_names(&key.id()) {
                store.make(&name, sealed::seal(&lock, None).into()).await?;
            }
            description.key = Some(key.id());
        }
        match store.make(REPOSITORY, sealed::seal(&description, None).into()).await {
            // Somebody else made it at the same time: theirs counts.
            Ok(()) | Err(Error::Conflict { .. }) => Self::open(location, at, secret).await?.mended().await,
            Err(error) => Err(error),
        }
    }

    /// Makes the copies that are missing. What is damaged is left for people: nothing is overwritten.
    async fn mended(mut self) -> Result<Self, Error> {
        for missing in self.hurt.extract_if(.., |twice| twice.missing).collect::<Vec<_>>() {
            let other = other_copy(&missing.name);
            let bytes = self.store.read(&other, SMALL_MAX, "it is the copy that is left").await?;
            // What the store gives now may not be what it gave before.
            sealed::open::<serde_json::Value>(&other, &bytes, None)?;
            self.store.make(&missing.name, bytes).await?;
        }
        Ok(self)
    }

    /// What is wrong with the files that are there twice: the repository lives on the other copy.
    #[must_use]
    pub fn hurt(&self) -> Vec<Error> {
        let error = |Twice { name, missing, what }: &Twice| match missing {
            true => Error::Missing { name: name.clone(), needed_by: what.clone() },
            false => Error::Damaged { name: name.clone(), what: what.clone() },
        };
        self.hurt.iter().map(error).collect()
    }

    /// The lock of an encrypted repository.
    async fn lock(&mut self) -> Result<Option<Lock>, Error> {
        let Some(key) = &self.description.key else { return Ok(None) };
        let [name, copy] = lock_names(key);
        match twice(&self.store, [&name, &copy], &mut self.hurt).await? {
            Some(lock) => Ok(Some(lock)),
            None => Err(Error::Missing { name, needed_by: "the repository is encrypted with this key".into() }),
        }
    }

    fn unlock(&self, lock: &Lock, secret: &Secret) -> Result<Key, Error> {
        let [name, _] = lock_names(self.description.key.as_deref().unwrap_or_default());
        let key = lock.open(secret, &self.description.id).map_err(|what| Error::damaged(&name, what))?;
        let key = key.ok_or_else(|| Error::WrongKey { name: name.clone() })?;
        if Some(key.id()) == self.description.key {
            Ok(key)
        } else {
            Err(Error::damaged(&name, "it locks another key"))
        }
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

    /// Writes one of the small files.
    pub(super) async fn write(&self, name: &str, says: &impl Serialize) -> Result<blake3::Hash, Error> {
        let bytes = sealed::seal(says, self.key.as_ref());
        let hash = blake3::hash(&bytes);
        self.store.make(name, bytes.into()).await?;
        Ok(hash)
    }

    /// Reads one of the small files; none if it is not there.
    pub(super) async fn small<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
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

/// Reads a file that is there twice: the first if it is whole, else the copy. What is wrong with either is noted.
async fn twice<T: DeserializeOwned + Eq>(
    store: &Store,
    names: [&str; 2],
    hurt: &mut Vec<Twice>,
) -> Result<Option<T>, Error> {
    let mut whole: Option<T> = None;
    let (mut noted, mut damage) = (Vec::new(), None);
    for name in names {
        let found = match store.find(name, SMALL_MAX).await {
            Ok(None) => Ok(None),
            Ok(Some(bytes)) => sealed::open::<T>(name, &bytes, None).map(Some),
            Err(error) => Err(error),
        };
        match found {
            Ok(Some(found)) if whole.as_ref().is_none_or(|whole| *whole == found) => whole = Some(found),
            Ok(Some(_)) => {
                noted.push(Twice { name: name.into(), missing: false, what: "it is not the same as its copy".into() });
            }
            Ok(None) => {
                let what = format!("{} is its copy", other_copy(name));
                noted.push(Twice { name: name.into(), missing: true, what });
            }
            Err(error @ (Error::Damaged { .. } | Error::FutureFormat { .. })) => {
                let what = match &error {
                    Error::Damaged { what, .. } => what.clone(),
                    other => other.to_string(),
                };
                noted.push(Twice { name: name.into(), missing: false, what });
                damage = damage.or(Some(error));
            }
            Err(error) => return Err(error),
        }
    }
    match (whole, damage) {
        (Some(whole), _) => {
            hurt.append(&mut noted);
            Ok(Some(whole))
        }
        (None, Some(error)) => Err(error),
        (None, None) => Ok(None),
    }
}

/// The names of a lock and of its copy.
fn lock_names(key: &str) -> [String; 2] {
    [format!("keys/{key}.json"), format!("keys/{key}.copy.json")]
}

fn other_copy(name: &str) -> String {
    match name.strip_suffix(".copy.json") {
        Some(first) => format!("{first}.json"),
        None => format!("{}.copy.json", name.trim_end_matches(".json")),
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

/// The folder of the words by which others went on with it.
pub(super) fn takings_folder(node: NodeId, id: BackupId) -> String {
    format!("pending/{node}/{id}")
}

/// The name of a backup's mark of deletion.
pub(super) fn tomb_name(node: NodeId, id: BackupId) -> String {
    format!("tombs/{node}/{id}.json")
}

/// The name of the word that a backup's deletion has begun.
pub(super) fn deleting_name(node: NodeId, id: BackupId) -> String {
    format!("deleting/{node}/{id}.json")
}

/// The folder of the words by which a peer says that it archives its node.
pub(super) fn beats_folder(node: NodeId) -> String {
    format!("archive/{node}")
}

/// One of these words.
pub(super) fn beat_name(node: NodeId, id: BackupId) -> String {
    format!("archive/{node}/{id}.json")
}
