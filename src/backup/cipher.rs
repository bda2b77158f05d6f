//! Encryption: one data key for a repository, wrapped by what its owner has: a passphrase or a key file.
//!
//! Objects are sealed by AES-256-GCM, each under a key of its own, derived from the data key and the object's name,
//! with a random nonce: no two objects share a key, so nonces cannot meet. What an object is and where it belongs is
//! authenticated with it, which keeps an object from being put into another's place (borg's CVE-2016-10099 and
//! CVE-2023-36811 were that).

use std::fmt;

use aes_gcm::aead::{AeadInOut as _, KeyInit as _};
use aes_gcm::{Aes256Gcm, Nonce};
use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::host::Host;
use crate::types::{hex, unhex};

/// Bytes of a nonce.
pub(super) const NONCE: usize = 12;

/// What the owner of an encrypted repository has.
#[derive(Clone)]
pub enum Secret {
    /// Words. They are stretched by Argon2id (RFC 9106).
    Passphrase(String),
    /// The content of a key file: 32 bytes at least, and nobody's guess.
    KeyFile(Vec<u8>),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passphrase(_) => "Passphrase",
            Self::KeyFile(_) => "KeyFile",
        })
    }
}

/// How hard a passphrase is to try. Read from a lock, so it has bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stretch {
    /// KiB of memory.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
}

impl Default for Stretch {
    /// The second choice of RFC 9106, section 4: what a small box can still give.
    fn default() -> Self {
        Self { memory_kib: 64 << 10, passes: 3 }
    }
}

/// The data key, under lock: `keys/*.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lock {
    /// The data key's id.
    key: String,
    /// None for a key file.
    stretch: Option<Stretch>,
    salt: String,
    nonce: String,
    wrapped: String,
}

/// A repository's data key.
#[derive(Clone)]
pub(super) struct Key([u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id())
    }
}

impl Key {
    pub(super) fn draw(host: &dyn Host) -> Self {
        let mut bytes = [0; 32];
        host.random(&mut bytes);
        Self(bytes)
    }

    #[cfg(test)]
    pub(super) const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What the key is called; says nothing of it.
    pub(super) fn id(&self) -> String {
        hex(&self.derived("key id", b"")[..16])
    }

    /// The mark of a holder of this key under these bytes.
    pub(super) fn mac(&self, bytes: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&self.derived("manifest", b""), bytes)
    }

    fn derived(&self, purpose: &str, name: &[u8]) -> [u8; 32] {
        let context = format!("oxigdal-ha 2026-11-26 backup {purpose}");
        *blake3::Hasher::new_derive_key(&context).update(&self.0).update(name).finalize().as_bytes()
    }

    /// Encrypts the bytes where they are; they get longer by the tag's 16. `name` and `about` are authenticated.
    pub(super) fn seal(&self, name: &str, about: &[u8], nonce: [u8; NONCE], bytes: &mut Vec<u8>) -> Result<(), Error> {
        let cipher = Aes256Gcm::new(&self.derived("object", name.as_bytes()).into());
        let bound = [about, name.as_bytes()].concat();
        cipher.encrypt_in_place(&Nonce::from(nonce), &bound, bytes).map_err(|error| Error::Cipher(error.to_string()))
    }

    /// Decrypts the bytes where they are; false if they are not what was sealed.
    pub(super) fn open(&self, name: &str, about: &[u8], nonce: [u8; NONCE], bytes: &mut Vec<u8>) -> bool {
        let cipher = Aes256Gcm::new(&self.derived("object", name.as_bytes()).into());
        let bound = [about, name.as_bytes()].concat();
        cipher.decrypt_in_place(&Nonce::from(nonce), &bound, bytes).is_ok()
    }
}

impl Lock {
    /// Locks the data key up for whoever has the secret. `repository` is its id, which the lock is bound to.
    pub(super) fn new(
        key: &Key,
        secret: &Secret,
        stretch: Stretch,
        repository: &str,
        host: &dyn Host,
    ) -> Result<Self, Error> {
        let (mut salt, mut nonce) = ([0; 16], [0; NONCE]);
        host.random(&mut salt);
        host.random(&mut nonce);
        let stretch = matches!(secret, Secret::Passphrase(_)).then_some(stretch);
        let wrapping = wrapping(secret, stretch, &salt).map_err(Error::Cipher)?;
        let mut wrapped = key.0.to_vec();
        wrapping.seal("lock", repository.as_bytes(), nonce, &mut wrapped)?;
        Ok(Self { key: key.id(), stretch, salt: hex(&salt), nonce: hex(&nonce), wrapped: hex(&wrapped) })
    }

    /// The data key; none if the secret is another.
    pub(super) fn open(&self, secret: &Secret, repository: &str) -> Result<Option<Key>, String> {
        if self.stretch.is_some() != matches!(secret, Secret::Passphrase(_)) {
            return Ok(None);
        }
        let salt = unhex(&self.salt).ok_or("its salt is not hexadecimal")?;
        let nonce =
            unhex(&self.nonce).and_then(|nonce| nonce.try_into().ok()).ok_or("its nonce is not twelve bytes")?;
        let mut wrapped = unhex(&self.wrapped).ok_or("its wrapped key is not hexadecimal")?;
        let wrapping = wrapping(secret, self.stretch, &salt)?;
        if !wrapping.open("lock", repository.as_bytes(), nonce, &mut wrapped) {
            return Ok(None);
        }
        let key = Key(wrapped.as_slice().try_into().map_err(|_| "its wrapped key is not 32 bytes")?);
        if key.id() == self.key { Ok(Some(key)) } else { Err("it holds another key than it says".into()) }
    }
}

/// The key that wraps the data key.
fn wrapping(secret: &Secret, stretch: Option<Stretch>, salt: &[u8]) -> Result<Key, String> {
    match (secret, stretch) {
        (Secret::Passphrase(words), Some(Stretch { memory_kib, passes })) => {
            // A forged lock must not take the machine's memory or its day.
            if memory_kib > 1 << 20 || passes > 64 {
                return Err(format!(
                    "it asks for {memory_kib} KiB and {passes} passes, which is more than 1 GiB and 64"
                ));
            }
            let params = Params::new(memory_kib, passes, 1, Some(32)).map_err(|error| error.to_string())?;
            let mut key = [0; 32];
            let stretched = Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(
                words.as_bytes(),
                salt,
                &mut key,
            );
            stretched.map(|()| Key(key)).map_err(|error| error.to_string())
        }
        (Secret::KeyFile(bytes), None) if bytes.len() >= 32 => {
            let context = "oxigdal-ha 2026-11-26 backup key file";
            Ok(Key(*blake3::Hasher::new_derive_key(context).update(salt).update(bytes).finalize().as_bytes()))
        }
        (Secret::KeyFile(bytes), None) => Err(format!("a key file holds 32 bytes at least, this one {}", bytes.len())),
        _ => Err("a passphrase and a key file are not the same".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::host::tests::Fixed;

    const QUICK: Stretch = Stretch { memory_kib: 64, passes: 1 };

    #[test]
    fn a_lock_opens_for_its_secret_alone() {
        let host = Fixed::new(1);
        let key = Key::draw(&host);
        let words = |words: &str| Secret::Passphrase(words.into());
        let file = |byte| Secret::KeyFile(vec![byte; 32]);
        for (right, wrong) in [(words("correct horse"), words("correct hors")), (file(1), file(2))] {
            let lock = Lock::new(&key, &right, QUICK, "r", &host).unwrap();
            assert_eq!(lock.open(&right, "r").unwrap().unwrap().0, key.0);
            assert!(lock.open(&wrong, "r").unwrap().is_none());
            assert!(lock.open(&right, "s").unwrap().is_none(), "the lock of another repository");
        }
        assert!(Lock::new(&key, &Secret::KeyFile(vec![1; 31]), QUICK, "r", &host).is_err());
        let greedy = Lock {
            stretch: Some(Stretch { memory_kib: 2 << 20, passes: 1 }),
            ..Lock::new(&key, &words("x"), QUICK, "r", &host).unwrap()
        };
        assert!(greedy.open(&words("x"), "r").unwrap_err().contains("more than"));
    }

    #[test]
    fn what_is_sealed_is_bound_to_its_name_and_what_it_is_about() {
        let key = Key::from_bytes([3; 32]);
        let mut sealed = b"content".to_vec();
        key.seal("a", b"x", [0; NONCE], &mut sealed).unwrap();
        assert_eq!(sealed.len(), 7 + 16);
        for (name, about, good) in [("a", &b"x"[..], true), ("b", b"x", false), ("a", b"y", false)] {
            let mut bytes = sealed.clone();
            assert_eq!(key.open(name, about, [0; NONCE], &mut bytes), good);
            assert_eq!(bytes == b"content", good);
        }
    }
}
