//! What opens an encrypted repository, as people keep it: in files, or in the environment.

use std::path::Path;

use super::cipher::Secret;
use super::error::Error;

/// The variable that may hold a passphrase.
pub const PASSPHRASE: &str = "OXIGDAL_HA_PASSPHRASE";

impl Secret {
    /// From a key file, else from a file that holds a passphrase, else from [`PASSPHRASE`] in the environment; none if there is none
    /// of these.
    ///
    /// # Errors
    /// [`Error::Secret`]: a file cannot be read, or holds no passphrase. Who meant to encrypt must not get what is not encrypted.
    pub fn given(key_file: Option<&Path>, passphrase_file: Option<&Path>) -> Result<Option<Self>, Error> {
        let bad = |from: String, why: String| Error::Secret { from, why };
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| bad(path.display().to_string(), format!("cannot read it: {error}")))
        };
        if let Some(path) = key_file {
            return Ok(Some(Self::KeyFile(read(path)?)));
        }
        let (from, words) = match passphrase_file {
            Some(path) => {
                let from = path.display().to_string();
                let words = String::from_utf8(read(path)?).map_err(|_| bad(from.clone(), "it is no text".into()))?;
                (from, words)
            }
            None => match std::env::var(PASSPHRASE) {
                Ok(words) => (PASSPHRASE.to_owned(), words),
                Err(_) => return Ok(None),
            },
        };
        let words = words.trim_end_matches(['\r', '\n']);
        if words.is_empty() {
            // A file that is empty is mostly one that was not filled.
            return Err(bad(
                from,
                "the passphrase is empty: give one, or leave the option and the variable away".into(),
            ));
        }
        Ok(Some(Self::Passphrase(words.to_owned())))
    }
}
