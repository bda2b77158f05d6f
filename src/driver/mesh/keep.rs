//! The past: snapshots, restore points, going back, and backups in a repository.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::Mesh;
use crate::backup::{
    self, BackupCompression, BackupType, Catalogue, Created, Directory, Done, Found, Host as _, Level, Repository,
    Secret, Stretch, Verified, check_apart, check_outside, locate,
};
use crate::driver::archive::Here;
use crate::driver::errands::aside_until_stopped;
use crate::driver::revert::{self, Revert, Reverted};
use crate::error::Error;
use crate::node::{Command, Outcome, Point, SnapshotFile};
use crate::recovery::target::{Mark, Target};
use crate::types::DocId;

/// Where backups are kept, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupPlace {
    /// A directory outside of the data directory, or the URL of a store: `s3://bucket/prefix` and others, in a build with that feature.
    pub repository: String,
    /// The file of the key that opens it, if it is encrypted with one.
    pub key_file: Option<PathBuf>,
    /// A file that holds the passphrase that opens it; without either, the variable `OXIGDAL_HA_PASSPHRASE` counts.
    pub passphrase_file: Option<PathBuf>,
    /// How what is stored is compressed.
    pub compression: BackupCompression,
}

impl BackupPlace {
    /// This repository, not encrypted unless the environment has a passphrase.
    #[must_use]
    pub fn new(repository: impl Into<String>) -> Self {
        let compression = BackupCompression::default();
        Self { repository: repository.into(), key_file: None, passphrase_file: None, compression }
    }

    fn secret(&self) -> Result<Option<Secret>, backup::Error> {
        Secret::given(self.key_file.as_deref(), self.passphrase_file.as_deref())
    }

    async fn open(&self) -> Result<Repository, backup::Error> {
        Repository::open(locate(&self.repository, false)?, &self.repository, self.secret()?.as_ref()).await
    }
}

/// What this node's log held at a moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Past {
    /// The last record of it.
    pub to: Mark,
    /// The documents, in order of their keys.
    pub docs: Vec<(DocId, Value)>,
}

impl Mesh {
    /// Takes a snapshot of what the log says, beside it, so that the next start need not read all of it. Returns when it is whole and durable.
    ///
    /// ```
    /// # use oxigdal_ha::{Mesh, config::{self, Flags}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let data_dir = dir.path().join("node").display().to_string();
    /// # let flags = Flags::new().set("example", "node.data-dir", data_dir).set("example", "api.listen", "");
    /// # let flags = flags.list("example", "network.listen", ["127.0.0.1:0"]);
    /// # let mesh = Mesh::builder(config::parse(None, [], &flags)?).start().await?;
    /// mesh.put("layers/relief", &serde_json::json!({ "style": "grey", "tiles": ["a"] })).await?;
    ///
    /// let file = mesh.snapshot().await?;
    /// println!("{}", serde_json::to_string(&file)?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Disk`](crate::ErrorKind::Disk): none was taken; the log has all of it.
    pub async fn snapshot(&self) -> Result<SnapshotFile, Error> {
        match self.peer().command(Command::Snapshot).await? {
            Outcome::Snapshot(file) => Ok(file),
            other => unreachable!("Snapshot was answered by {other:?}"),
        }
    }

    /// Writes a name into this node's log, to come back to this moment by `point:NAME`. Returns when it is durable.
    ///
    /// ```no_run
    /// # async fn example(mesh: oxigdal_ha::Mesh) -> Result<(), oxigdal_ha::Error> {
    /// mesh.restore_point("before-the-import").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), [`ErrorKind::Exists`](crate::ErrorKind::Exists): nothing was written.
    pub async fn restore_point(&self, name: &str) -> Result<Point, Error> {
        match self.peer().command(Command::Point { name: name.to_owned() }).await? {
            Outcome::Point(point) => Ok(point),
            other => unreachable!("Point was answered by {other:?}"),
        }
    }

    /// The documents whose keys begin so as this node's log held them at a moment: a time by the log's own stamps, how long ago, a restore point,
    /// a record. What the policies of today choose is not asked: of values that met Automerge's own order shows. Nothing is changed. It reads
    /// the log up to then on a thread that may wait, and holds what it says in memory.
    ///
    /// ```
    /// # use oxigdal_ha::config::{self, Flags};
    /// # use oxigdal_ha::{Mesh, recovery::target::Target};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let data_dir = dir.path().join("node").display().to_string();
    /// # let flags = Flags::new().set("example", "node.data-dir", data_dir).set("example", "api.listen", "");
    /// # let flags = flags.list("example", "network.listen", ["127.0.0.1:0"]);
    /// # let mesh = Mesh::builder(config::parse(None, [], &flags)?).start().await?;
    /// mesh.put("layers/countries/FJI", &serde_json::json!({ "pop": 1 })).await?;
    /// mesh.restore_point("census").await?;
    /// mesh.set("layers/countries/FJI", "pop", 2).await?;
    ///
    /// let past = mesh.at("layers/", Target::Point("census".into())).await?;
    /// assert_eq!(past.docs[0].1["pop"], 1);
    /// println!("as of record {}", past.to.lsn);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`](crate::ErrorKind::Unreachable) for a moment that the log does not reach,
    /// [`ErrorKind::Damaged`](crate::ErrorKind::Damaged) and [`ErrorKind::Disk`](crate::ErrorKind::Disk) where it cannot be read.
    pub async fn at(&self, prefix: &str, at: Target) -> Result<Past, Error> {
        let (to, docs) = revert::at(self.link(), prefix, at, false).await?;
        Ok(Past { to, docs: docs.into_iter().collect() })
    }

    /// Brings documents back to how they were, by new changes that spread as any.
    ///
    /// ```
    /// # use oxigdal_ha::{Mesh, config::{self, Flags}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let data_dir = dir.path().join("node").display().to_string();
    /// # let flags = Flags::new().set("example", "node.data-dir", data_dir).set("example", "api.listen", "");
    /// # let flags = flags.list("example", "network.listen", ["127.0.0.1:0"]);
    /// # let mesh = Mesh::builder(config::parse(None, [], &flags)?).start().await?;
    /// mesh.put("layers/relief", &serde_json::json!({ "style": "grey", "tiles": ["a"] })).await?;
    ///
    /// use oxigdal_ha::driver::Revert;
    /// use oxigdal_ha::recovery::target::Target;
    ///
    /// mesh.restore_point("before").await?;
    /// mesh.set("layers/relief", "style", "colour").await?;
    /// let at = Target::Point("before".into());
    /// let reverted = mesh.revert(Revert { prefix: "layers/".into(), at, exclusive: false, dry_run: false }).await?;
    /// assert_eq!(reverted.steps.len(), 1);
    /// let style: Option<String> = mesh.get_at("layers/relief", "style").await?;
    /// assert_eq!(style.as_deref(), Some("grey"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Peer::revert`](crate::driver::Peer::revert).
    pub async fn revert(&self, revert: Revert) -> Result<Reverted, Error> {
        self.peer().revert(revert).await
    }

    /// Backs this node's log up while it serves. A repository that is not there is made. On a thread that may wait.
    ///
    /// ```
    /// # use oxigdal_ha::{Mesh, config::{self, Flags}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let data_dir = dir.path().join("node").display().to_string();
    /// # let flags = Flags::new().set("example", "node.data-dir", data_dir).set("example", "api.listen", "");
    /// # let flags = flags.list("example", "network.listen", ["127.0.0.1:0"]);
    /// # let mesh = Mesh::builder(config::parse(None, [], &flags)?).start().await?;
    /// use oxigdal_ha::backup::{BackupType, Level};
    /// use oxigdal_ha::driver::mesh::BackupPlace;
    /// use oxigdal_ha::recovery::target::Target;
    ///
    /// mesh.put("layers/relief", &serde_json::json!({ "style": "grey" })).await?;
    /// let place = BackupPlace::new(dir.path().join("repository").display().to_string());
    /// let made = mesh.backup(place.clone(), BackupType::Incremental).await?;
    /// let verified = mesh.verify(place.clone(), Level::Content).await?;
    /// println!("{} records, {} faults", made.metadata.statistics.records, verified.faults.len());
    /// mesh.restore(place, Target::Latest, &dir.path().join("restored")).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What cannot be read or stored: there is no backup then, and what was stored of it is taken over by the next one.
    pub async fn backup(&self, place: BackupPlace, kind: BackupType) -> Result<Created, backup::Error> {
        let (dir, cluster) = (self.data_dir().to_owned(), self.peer().admission().cluster().to_string());
        self.waiting(move |here| async move {
            check_outside(&place.repository, &dir)?;
            let (location, secret) = (locate(&place.repository, true)?, place.secret()?);
            let at = &place.repository;
            let repository = Repository::open_or_make(location, at, secret.as_ref(), Stretch::default(), &here).await?;
            let unreadable = |error: crate::recovery::SourceError| backup::Error::Source(error.into());
            let mut directory = Directory::open(&dir, Some(cluster), here.wall()).map_err(unreadable)?;
            directory.back_up(&repository, kind, place.compression, &here).await
        })
        .await
    }

    /// Looks at all backups of this node in a repository. Damage is no error, but a fault in what is returned.
    ///
    /// ```no_run
    /// # async fn example(mesh: oxigdal_ha::Mesh) -> Result<(), oxigdal_ha::backup::Error> {
    /// use oxigdal_ha::backup::Level;
    /// use oxigdal_ha::driver::mesh::BackupPlace;
    ///
    /// let verified = mesh.verify(BackupPlace::new("/srv/backups"), Level::Content).await?;
    /// assert!(verified.is_good());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// There is no such repository, or none of its backups is this node's, or the store refuses.
    pub async fn verify(&self, place: BackupPlace, level: Level) -> Result<Verified, backup::Error> {
        let node = self.id();
        self.waiting(move |here| async move {
            let repository = place.open().await?;
            let catalogue = Catalogue::read(&repository, node).await?;
            backup::verify(&repository, catalogue, None, level, &here).await
        })
        .await
    }

    /// Makes a data directory of what this node's backups hold up to a moment, in a place where none is: for a node that is to be started
    /// from it, or to look at. This node goes on as it is. What a directory so made is good for, and when others are to forget what came
    /// after, is `oxigdal-ha restore --help`'s matter.
    ///
    /// ```no_run
    /// # async fn example(mesh: oxigdal_ha::Mesh) -> Result<(), oxigdal_ha::backup::Error> {
    /// use oxigdal_ha::driver::mesh::BackupPlace;
    /// use oxigdal_ha::recovery::target::Target;
    ///
    /// let into = std::path::Path::new("/tmp/look");
    /// let (_, done) = mesh.restore(BackupPlace::new("/srv/backups"), Target::Latest, into).await?;
    /// println!("{} records", done.written.records);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The moment cannot be had, which says what can; something is damaged; it cannot be written. Nothing is there then. Where the node was shut down
    /// meanwhile, the thread that writes may still come to its end: then nothing is there, or a moment later all of it.
    pub async fn restore(
        &self,
        place: BackupPlace,
        target: Target,
        into: &Path,
    ) -> Result<(Found, Done), backup::Error> {
        let (node, into) = (self.id(), into.to_owned());
        self.waiting(move |here| async move {
            check_apart(&into)?;
            let repository = place.open().await?;
            let mut catalogue = Catalogue::read(&repository, node).await?;
            let found = backup::find(&repository, &mut catalogue, &target, false, &here).await?;
            let done = backup::restore_into(&repository, &catalogue, &found, target.to_string(), &into, &here).await?;
            Ok((found, done))
        })
        .await
    }

    /// Runs work that reads files and computes on a thread where that holds nobody up.
    async fn waiting<T, W, F>(&self, work: W) -> Result<T, backup::Error>
    where
        T: Send + 'static,
        W: FnOnce(Here) -> F + Send + 'static,
        F: Future<Output = Result<T, backup::Error>>,
    {
        let here = Here::new(self.link().facts.clock.clone());
        match aside_until_stopped(self.link(), move || work(here)).await {
            Ok(Some(done)) => done,
            Ok(None) => Err(stopped(self.data_dir())),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime shuts down, and whoever waits with it.
            Err(_) => std::future::pending().await,
        }
    }
}

/// The node was shut down while it was at that.
fn stopped(dir: &Path) -> backup::Error {
    let error = std::io::Error::new(
        std::io::ErrorKind::Interrupted,
        "the node was shut down meanwhile; what was all but done may be done all the same",
    );
    let source = crate::recovery::SourceError::Io { what: "go on with", path: dir.to_owned(), error };
    backup::Error::Source(source.into())
}
