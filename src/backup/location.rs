//! Where a repository is: a directory, or a bucket of a cloud's store. Credentials come from the environment and are in
//! no message.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;

use super::error::Error;
use super::private;
use super::repository::{REPOSITORY, REPOSITORY_COPY};
use crate::recovery::LOG_DIR;
use crate::wal;

/// Where a repository is.
#[derive(Clone, Debug)]
pub struct Location {
    /// Its store.
    pub store: Arc<dyn ObjectStore>,
    /// The directory, if it is one.
    pub dir: Option<PathBuf>,
}

impl From<Arc<dyn ObjectStore>> for Location {
    /// A store of which nothing else is known.
    fn from(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, dir: None }
    }
}

/// Refuses a repository in the data directory that it is for: what takes the one takes the other.
///
/// # Errors
/// [`Error::Location`].
pub fn check_outside(url: &str, data: &Path) -> Result<(), Error> {
    let path = match url.split_once("://") {
        None => Path::new(url),
        Some(("file", path)) => Path::new(path),
        Some(_) => return Ok(()),
    };
    let inside = data.canonicalize().is_ok_and(|data| resolved(path).is_some_and(|path| path.starts_with(data)));
    if !inside {
        return Ok(());
    }
    let why = format!("it is within the data directory {}: what takes the one takes the other", data.display());
    Err(Error::Location { url: url.into(), why })
}

/// Where a path leads, also if its end is not there yet.
fn resolved(path: &Path) -> Option<PathBuf> {
    let here = |path: &Path| if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() };
    path.ancestors().find_map(|there| {
        let rest = path.strip_prefix(there).ok()?;
        Some(here(there).canonicalize().ok()?.join(rest))
    })
}

/// Schemes of clouds, and the feature that each needs.
const CLOUDS: [(&str, &str); 4] = [("s3", "s3"), ("gs", "gcs"), ("az", "azure"), ("azure", "azure")];

/// Refuses a location that no store of this build can be at. Touches nothing.
///
/// # Errors
/// [`Error::Location`].
pub fn check_built(url: &str) -> Result<(), Error> {
    let bad = |why: String| Err(Error::Location { url: url.into(), why });
    let Some((scheme, _)) = url.split_once("://").filter(|(scheme, _)| *scheme != "file") else { return Ok(()) };
    let built = |feature: &str| match feature {
        "s3" => cfg!(feature = "s3"),
        "gcs" => cfg!(feature = "gcs"),
        _ => cfg!(feature = "azure"),
    };
    match CLOUDS.iter().find(|(known, _)| *known == scheme) {
        Some((_, feature)) if built(feature) => Ok(()),
        Some((_, feature)) => bad(not_built(feature)),
        None => bad(unknown(scheme)),
    }
}

fn unknown(scheme: &str) -> String {
    format!("{scheme:?} is not known: a path, file, s3, gs or az")
}

/// Refuses a directory for what is restored that is within a data directory or a repository: a peer's own files are nobody else's, and
/// what takes a repository takes what is in it.
///
/// # Errors
/// [`Error::Location`], which names what it is in.
pub fn check_apart(into: &Path) -> Result<(), Error> {
    let Some(path) = resolved(into) else { return Ok(()) };
    let why = path.ancestors().skip(1).find_map(|dir| {
        let what = if is_log(dir) || is_log(&dir.join(LOG_DIR)) {
            "the data directory"
        } else if [REPOSITORY, REPOSITORY_COPY].iter().any(|name| dir.join(name).is_file()) {
            "the repository"
        } else {
            return None;
        };
        Some(format!("it is within {what} {}: name a directory elsewhere", dir.display()))
    });
    why.map_or(Ok(()), |why| Err(Error::Location { url: into.display().to_string(), why }))
}

/// Whether there are segments of a log in it.
fn is_log(dir: &Path) -> bool {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| wal::segment_of(&entry.file_name().to_string_lossy()).is_some())
}

/// Opens the store at a path, `file://`, `s3://bucket/prefix`, `gs://` or `az://`. With `make`, a directory that is not
/// there is made.
///
/// # Errors
/// [`Error::Location`]: there is no such directory, the URL is none, or this build has no such store.
pub fn locate(url: &str, make: bool) -> Result<Location, Error> {
    let bad = |why: String| Error::Location { url: url.into(), why };
    match url.split_once("://") {
        None => local(Path::new(url), make).map_err(bad),
        Some(("file", path)) if path.starts_with('/') => local(Path::new(path), make).map_err(bad),
        Some(("file", _)) => Err(bad("a file URL has an absolute path: file:///srv/backups".into())),
        Some((scheme, rest)) => match CLOUDS.iter().find(|(known, _)| *known == scheme) {
            Some((_, feature)) => cloud(feature, rest).map(Location::from).map_err(bad),
            None => Err(bad(unknown(scheme))),
        },
    }
}

/// A directory. What was written is on the medium when it is answered, with its directory entry: `object_store` does
/// not do that by itself.
fn local(path: &Path, make: bool) -> Result<Location, String> {
    if make {
        private::make(path).map_err(|error| format!("cannot make the directory: {error}"))?;
    } else if !path.is_dir() {
        return Err("there is no such directory".into());
    }
    let path = path.canonicalize().map_err(|error| error.to_string())?;
    let store = LocalFileSystem::new_with_prefix(&path).map_err(|error| error.to_string())?;
    Ok(Location { store: Arc::new(store.with_fsync(true)), dir: Some(path) })
}

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
mod clouds {
    use super::*;
    use object_store::RetryConfig;
    use object_store::prefix::PrefixStore;
    use std::time::Duration;

    /// Ten tries over three minutes, the library's own, are longer than an operator waits for an answer.
    fn patience() -> RetryConfig {
        RetryConfig { max_retries: 5, retry_timeout: Duration::from_secs(60), ..RetryConfig::default() }
    }

    /// The library has no cryptography of its own: ring, as the driver, unless the host has chosen another.
    fn cryptography() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }

    pub(super) fn cloud(feature: &str, rest: &str) -> Result<Arc<dyn ObjectStore>, String> {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_matches('/');
        if bucket.is_empty() {
            return Err("it names no bucket".into());
        }
        cryptography();
        let store: Arc<dyn ObjectStore> = match feature {
            #[cfg(feature = "s3")]
            "s3" => {
                let builder =
                    object_store::aws::AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(patience());
                Arc::new(builder.build().map_err(|error| error.to_string())?)
            }
            #[cfg(feature = "gcs")]
            "gcs" => {
                let builder = object_store::gcp::GoogleCloudStorageBuilder::from_env()
                    .with_bucket_name(bucket)
                    .with_retry(patience());
                Arc::new(builder.build().map_err(|error| error.to_string())?)
            }
            #[cfg(feature = "azure")]
            "azure" => {
                let builder = object_store::azure::MicrosoftAzureBuilder::from_env()
                    .with_container_name(bucket)
                    .with_retry(patience());
                Arc::new(builder.build().map_err(|error| error.to_string())?)
            }
            _ => return Err(not_built(feature)),
        };
        Ok(if prefix.is_empty() { store } else { Arc::new(PrefixStore::new(store, prefix)) })
    }
}

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
use clouds::cloud;

#[cfg(not(any(feature = "s3", feature = "gcs", feature = "azure")))]
fn cloud(feature: &str, _: &str) -> Result<Arc<dyn ObjectStore>, String> {
    Err(not_built(feature))
}

fn not_built(feature: &str) -> String {
    format!("this build has no such store: build with `--features {feature}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_in_the_data_directory_is_refused() {
        let home = tempfile::TempDir::new().unwrap();
        let data = home.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let check = |url: &str| check_outside(url, &data).map_err(|error| error.to_string());
        let inside = data.join("log/../repo");
        assert!(check(data.to_str().unwrap()).is_err() && check(&format!("file://{}", inside.display())).is_err());
        assert_eq!(check(home.path().join("repo").to_str().unwrap()), Ok(()));
        assert_eq!([check("s3://bucket/x"), check("repo")], [Ok(()), Ok(())]);
    }

    #[test]
    fn what_is_restored_does_not_go_into_a_data_directory_or_a_repository() {
        let home = tempfile::TempDir::new().unwrap();
        let (log, repo) = (home.path().join("data").join(LOG_DIR), home.path().join("repo"));
        std::fs::create_dir_all(&log).unwrap();
        std::fs::create_dir(&repo).unwrap();
        let check = |path: &str| check_apart(&home.path().join(path)).map_err(|error| error.to_string());
        assert_eq!([check("data/log/sub"), check("repo/sub")], [Ok(()), Ok(())], "there is nothing in them");
        std::fs::write(log.join(wal::file_name(crate::types::SegmentId::new(1))), b"").unwrap();
        std::fs::write(repo.join(REPOSITORY_COPY), b"").unwrap();
        for inside in ["data/log/sub", "data/sub", "data/log/../a/b", "data/log"] {
            assert!(check(inside).unwrap_err().contains("within the data directory"), "{inside}");
        }
        assert!(check("repo/data/x").unwrap_err().contains("within the repository"));
        assert_eq!([check("data.recovered"), check("side/log"), check("data")], [Ok(()), Ok(()), Ok(())]);
    }

    #[test]
    fn a_location_that_cannot_be_is_refused_in_words() {
        let why = |url| locate(url, false).unwrap_err().to_string();
        assert!(why("/nowhere/at/all").contains("no such directory"));
        assert!(why("file://relative").contains("absolute"));
        assert!(why("ftp://x/y").contains("not known"));
        #[cfg(not(feature = "s3"))]
        assert!(why("s3://bucket/x").contains("--features s3"));
        #[cfg(not(feature = "s3"))]
        assert!(check_built("s3://bucket/x").unwrap_err().to_string().contains("--features s3"));
        assert!(check_built("ftp://x").is_err() && check_built("file:///x").is_ok() && check_built("/x").is_ok());
    }
}
