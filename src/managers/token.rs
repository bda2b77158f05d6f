//! How a client is told the token of a peer: by one variable or argument, that holds the token itself or names the file that does.
//!
//! **Invariant.** What is said of a token that could not be had never holds what has the form of one.

use std::io;
use std::path::Path;

/// The variable that holds the token of a peer, or the path of its file.
pub const VARIABLE: &str = "OXIGDAL_HA_TOKEN";
/// Digits of a token that a peer made.
const LEN: usize = 64;
/// Shortest token that a peer takes, when somebody wrote one by hand.
const LEN_MIN: usize = 16;

/// No token was read. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenUnread {
    /// The file cannot be read.
    #[error("cannot read the token {file}: {why}")]
    File {
        /// Its path, where that has not the form of a token.
        file: String,
        /// Why not.
        why: io::Error,
    },
    /// The file holds something else, or nothing.
    #[error("{file} does not hold a token")]
    None {
        /// Its path, where that has not the form of a token.
        file: String,
    },
}

/// Whether this is a token itself: 64 hexadecimal digits, as a peer makes them. Anything else names a file.
#[must_use]
pub fn is_token(given: &Path) -> bool {
    given.to_str().map(str::trim).is_some_and(|text| text.len() == LEN && text.bytes().all(|it| it.is_ascii_hexdigit()))
}

/// The token that is meant: what was given, or what the file holds.
///
/// # Errors
/// [`TokenUnread`]: the file is not there, or holds none.
pub fn read_token(given: &Path) -> Result<String, TokenUnread> {
    if let Some(text) = given.to_str()
        && is_token(given)
    {
        return Ok(text.trim().to_owned());
    }
    let text = std::fs::read_to_string(given).map_err(|why| TokenUnread::File { file: shown(given), why })?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokenUnread::None { file: shown(given) });
    }
    Ok(token.to_owned())
}

/// A path, as it may be shown: a token that lost a digit, or that somebody wrote by hand, is given for one easily.
fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    let is_secret = text.trim().len() >= LEN_MIN && !text.contains(['/', '.']);
    if is_secret { "in the file of a name that has the form of a token and is not shown".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_as_it_is_or_from_its_file_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let (file, empty, token) =
            (dir.path().join("api-token"), dir.path().join("empty"), "0123456789abcDEF".repeat(4));
        std::fs::write(&file, format!("{token}\n")).unwrap();
        std::fs::write(&empty, "\n").unwrap();
        for given in [file.as_path(), Path::new(&token), Path::new(&format!("{token}\n"))] {
            assert_eq!(read_token(given).unwrap(), token);
        }
        let said = read_token(&empty).unwrap_err().to_string();
        assert!(said.ends_with("/empty does not hold a token"), "{said}");
        let said = read_token(Path::new("missing")).unwrap_err().to_string();
        assert!(said.starts_with("cannot read the token missing: "), "{said}");
        for secret in [&token[1..], "tokens-of-my-own-hand"] {
            let error = read_token(Path::new(secret)).unwrap_err();
            assert!(!error.to_string().contains(secret) && !format!("{error:?}").contains(secret), "{error:?}");
        }
    }
}
