//! The token that changes need: 32 bytes of entropy as hex, in a file that only its owner can read.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// The file in the data directory.
const FILE: &str = "api-token";
/// Longest token that is read; shortest that is taken from a file that somebody wrote by hand.
const LEN: std::ops::RangeInclusive<usize> = 16..=256;

/// A token that could not be read or made. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct TokenError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: io::Error,
}

/// The token, as its hash: comparing hashes tells nothing about the token by how long it takes.
pub(in crate::driver) struct Token([u8; 32]);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// Reads the token of a data directory, or makes one.
    pub(in crate::driver) fn open_or_mint(dir: &Path) -> Result<Self, TokenError> {
        let path = dir.join(FILE);
        match read(&path) {
            Ok(text) => Ok(Self::of(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => mint(&path).map(|text| Self::of(&text)),
            Err(error) => Err(error),
        }
        .map_err(|why| TokenError { path, why })
    }

    fn of(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// Whether this is the token.
    pub(super) fn is(&self, text: &str) -> bool {
        let given: [u8; 32] = Sha256::digest(text).into();
        self.0.iter().zip(given).fold(0, |differ, (ours, theirs)| differ | (ours ^ theirs)) == 0
    }
}

fn read(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        let why = format!(
            "others can read or write it (mode {:04o}); chmod 600, or remove it to have a new one",
            mode & 0o7777
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    let mut text = String::new();
    let max = u64::try_from(*LEN.end()).unwrap_or(u64::MAX);
    file.take(max + 2).read_to_string(&mut text)?;
    let text = text.trim();
    if !LEN.contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let why = format!("a token is {} to {} visible ASCII characters", LEN.start(), LEN.end());
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(text.to_owned())
}

/// Writes a new token: under another name first, so that a crash leaves no empty token behind.
fn mint(path: &Path) -> io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let text = bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    });
    let partial = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    // The mode above is only for a file that was not there.
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    std::fs::rename(&partial, path)?;
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_kept_from_others() {
        let dir = tempfile::tempdir().unwrap();
        let token = Token::open_or_mint(dir.path()).unwrap();
        let text = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        assert_eq!(std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(token.is(text.trim()));
        assert!(!token.is("") && !token.is(&text.trim()[1..]) && !token.is(&text));
        assert!(Token::open_or_mint(dir.path()).unwrap().is(text.trim()), "the second start reads the same");
    }

    #[test]
    fn a_token_that_others_can_read_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        Token::open_or_mint(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = Token::open_or_mint(dir.path()).unwrap_err().to_string();
        assert!(error.contains("api-token") && error.contains("mode 0644"), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "short").unwrap();
        assert!(Token::open_or_mint(dir.path()).unwrap_err().to_string().contains("16 to 256"));
    }
}
