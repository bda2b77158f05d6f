//! The store under a repository: what its answers mean stands here and nowhere else.
//!
//! - **Nothing is overwritten.** Objects are made with create-if-absent. A store that ignores that (`rclone serve s3`
//!   does, silently) was found out by the probe; there it is looked first, and read back afterwards.
//! - **"It exists already" is not believed**: a raced create may be answered so though nothing was written
//!   (`object_store` 0.14 on S3's 409), and an own write whose answer was lost looks the same. What is there is read
//!   and compared.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, UpdateVersion};
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::location::Location;
use super::private::{self, LeftOver};

/// How often a create is tried that was answered "it exists" by a store that has nothing.
const RACES_MAX: u32 = 4;

/// How often an object is read of which the store gives less than it says.
const READS_MAX: u32 = 3;

/// What a store can do, as the probe found when the repository was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// Create-if-absent is honoured.
    pub create: bool,
    /// Compare-and-swap is honoured.
    pub swap: bool,
    /// What was written is listed at once.
    pub list: bool,
}

/// A store, and what it can do.
#[derive(Clone, Debug)]
pub(super) struct Store {
    inner: Arc<dyn ObjectStore>,
    /// The directory, if it is one.
    dir: Option<PathBuf>,
    pub(super) capabilities: Capabilities,
}

/// An object as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) len: u64,
    /// When it was stored, by the clock of the store, in microseconds since 1970.
    pub(super) stored: u64,
}

impl Store {
    pub(super) fn new(location: Location, capabilities: Capabilities) -> Self {
        Self { inner: location.store, dir: location.dir, capabilities }
    }

    /// The object; none if it is not there. Longer than `max` is refused before it is read. A body that ends too soon is read again
    /// before it is taken for damage.
    pub(super) async fn find(&self, name: &str, max: u64) -> Result<Option<Bytes>, Error> {
        let fail = |error| Error::Store { what: "read", name: name.into(), error };
        let mut short = None;
        for _ in 0..READS_MAX {
            let got = match self.inner.get(&Path::from(name)).await {
                Ok(got) => got,
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(fail(error)),
            };
            let len = got.meta.size;
            if len > max {
                return Err(Error::damaged(name, format!("it is {len} bytes long, {max} are the most")));
            }
            match got.bytes().await {
                Ok(bytes) if bytes.len() as u64 == len => return Ok(Some(bytes)),
                Ok(bytes) => short = Some(format!("the store gave {} of {len} bytes", bytes.len())),
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(fail(error)),
            }
        }
        Err(Error::damaged(name, short.unwrap_or_default()))
    }

    /// The object, which must be there.
    pub(super) async fn read(&self, name: &str, max: u64, needed_by: &str) -> Result<Bytes, Error> {
        let found = self.find(name, max).await?;
        found.ok_or_else(|| Error::Missing { name: name.into(), needed_by: needed_by.into() })
    }

    /// Makes an object that is not there yet. Done also if the same is there already.
    pub(super) async fn make(&self, name: &str, bytes: Bytes) -> Result<(), Error> {
        if !self.capabilities.create {
            return self.make_unconditionally(name, bytes).await;
        }
        for _ in 0..RACES_MAX {
            match self.put(name, bytes.clone(), PutMode::Create).await {
                Ok(()) => return Ok(()),
                // Also after a failure of which nobody knows what it did: the answer may have been lost, not the
                // object.
                Err(error) => match (self.compare(name, &bytes).await, raced(&error)) {
                    (Ok(Some(true)), _) => return Ok(()),
                    (Ok(Some(false)), _) => return Err(Error::Conflict { name: name.into() }),
                    (Ok(None), true) => {}
                    _ => return Err(Error::Store { what: "write", name: name.into(), error }),
                },
            }
        }
        Err(Error::Conflict { name: name.into() })
    }

    async fn make_unconditionally(&self, name: &str, bytes: Bytes) -> Result<(), Error> {
        match self.compare(name, &bytes).await? {
            Some(true) => return Ok(()),
            Some(false) => return Err(Error::Conflict { name: name.into() }),
            None => {}
        }
        let put = self.put(name, bytes.clone(), PutMode::Overwrite).await;
        match (self.compare(name, &bytes).await, put) {
            (Ok(Some(true)), _) => Ok(()),
            (_, Err(error)) => Err(Error::Store { what: "write", name: name.into(), error }),
            (Err(error), _) => Err(error),
            (Ok(_), Ok(())) => Err(Error::Conflict { name: name.into() }),
        }
    }

    /// Whether the object is there, and if so, whether it is this one. What is longer is another one, and is not read.
    async fn compare(&self, name: &str, bytes: &Bytes) -> Result<Option<bool>, Error> {
        match self.find(name, bytes.len() as u64).await {
            Ok(there) => Ok(there.map(|there| there == bytes)),
            Err(Error::Damaged { .. }) => Ok(Some(false)),
            Err(error) => Err(error),
        }
    }

    async fn put(&self, name: &str, bytes: Bytes, mode: PutMode) -> Result<(), object_store::Error> {
        let failed = |error: io::Error| object_store::Error::Generic { store: "directory", source: error.into() };
        if let Some(dir) = &self.dir {
            private::prepare(dir, name).map_err(failed)?;
        }
        self.inner.put_opts(&Path::from(name), bytes.into(), PutOptions::from(mode)).await?;
        self.dir.as_ref().map_or(Ok(()), |dir| private::close(dir, name).map_err(failed))
    }

    /// What killed processes left and no list shows, and nobody has touched since this second.
    pub(super) fn left_over(&self, before_secs: u64) -> Result<Vec<LeftOver>, Error> {
        let Some(dir) = &self.dir else { return Ok(Vec::new()) };
        private::left_over(dir, before_secs).map_err(|error| {
            let (name, source) = (dir.display().to_string(), error.into());
            Error::Store { what: "list", name, error: object_store::Error::Generic { store: "directory", source } }
        })
    }

    /// Everything whose name begins with this folder, in order of name.
    pub(super) async fn list(&self, folder: &str) -> Result<Vec<Listed>, Error> {
        let listed = self.inner.list(Some(&Path::from(folder)));
        let named = listed.map_ok(|ObjectMeta { location, size, last_modified, .. }| Listed {
            name: location.into(),
            len: size,
            stored: u64::try_from(last_modified.timestamp_micros()).unwrap_or_default(),
        });
        let listed: Result<Vec<Listed>, _> = named.try_collect().await;
        let mut listed = listed.map_err(|error| Error::Store { what: "list", name: folder.into(), error })?;
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    /// The lengths of everything in a folder, by name.
    pub(super) async fn lengths(&self, folder: &str) -> Result<BTreeMap<String, u64>, Error> {
        Ok(self.list(folder).await?.into_iter().map(|listed| (listed.name, listed.len)).collect())
    }

    /// The folders right below this one.
    pub(super) async fn folders(&self, folder: &str) -> Result<Vec<String>, Error> {
        let listed = self.inner.list_with_delimiter(Some(&Path::from(folder))).await;
        let listed = listed.map_err(|error| Error::Store { what: "list", name: folder.into(), error })?;
        let mut names: Vec<String> =
            listed.common_prefixes.into_iter().map(|path| path.filename().unwrap_or_default().to_owned()).collect();
        names.sort();
        Ok(names)
    }

    /// Removes an object; done also if it is not there.
    pub(super) async fn remove(&self, name: &str) -> Result<(), Error> {
        match self.inner.delete(&Path::from(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Error::Store { what: "remove", name: name.into(), error }),
        }
    }
}

fn raced(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. })
}

/// Finds out what a store can do, by trying it on objects named after `luck` below `probe/`, which are removed again.
pub(super) async fn probe(location: &Location, luck: &str) -> Result<Capabilities, Error> {
    let unknown = Capabilities { create: false, swap: false, list: false };
    let store = Store::new(location.clone(), unknown);
    let name = format!("probe/{luck}");
    let path = Path::from(name.as_str());
    let fail = |what| {
        let name = name.clone();
        move |error| Error::Store { what, name, error }
    };
    let put = |text: &'static str, mode| store.put(&name, Bytes::from_static(text.as_bytes()), mode);
    let made = match put("one", PutMode::Create).await {
        Ok(()) => true,
        Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => false,
        Err(error) => return Err(fail("write")(error)),
    };
    let second = if made { Some(put("two", PutMode::Create).await) } else { None };
    // Refused, and the first is there still: only that is honoured.
    let refused = matches!(second, Some(Err(_)));
    let create = refused && store.find(&name, 16).await?.is_some_and(|there| there == "one");
    put("three", PutMode::Overwrite).await.map_err(fail("write"))?;
    let stale = UpdateVersion { e_tag: Some("\"0123456789abcdef0123456789abcdef\"".into()), version: None };
    let swap = matches!(put("four", PutMode::Update(stale)).await, Err(object_store::Error::Precondition { .. }));
    let list = store.inner.list(Some(&Path::from("probe")));
    let list = list.any(async |meta| meta.is_ok_and(|meta| meta.location == path)).await;
    store.remove(&name).await?;
    Ok(Capabilities { create, swap, list })
}
