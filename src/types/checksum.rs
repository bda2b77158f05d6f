//! Checksums: CRC-32C against accidents on disk and wire, truncated SHA-256 where a peer may be hostile.

use std::fmt;

use bincode::{Decode, Encode};
use sha2::{Digest as _, Sha256};

/// CRC-32C (Castagnoli) of some bytes. Finds accidents, not forgeries.
#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Checksum(u32);

impl Checksum {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(crc32c::crc32c(bytes))
    }

    /// Of what was summed before, followed by these bytes.
    #[must_use]
    pub fn and(self, bytes: &[u8]) -> Self {
        Self(crc32c::crc32c_append(self.0, bytes))
    }

    /// As read from a file or a frame.
    #[must_use]
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// The raw value.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

/// The first 8 bytes of SHA-256, for comparisons between peers that may not trust each other's luck. In JSON it is 16 hexadecimal
/// digits: many readers keep only 53 bits of a number.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Digest(u64);

impl Digest {
    /// Of nothing: where a chain begins.
    pub const ZERO: Self = Self(0);

    /// The raw value.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The digest with this raw value.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The next link of a hash chain: this digest, followed by `bytes`.
    #[must_use]
    pub fn chain(self, bytes: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.0.to_be_bytes());
        hasher.update(bytes);
        Self(first8(&hasher.finalize()))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The digest of some bytes.
#[must_use]
pub fn digest64(bytes: &[u8]) -> Digest {
    Digest(first8(&Sha256::digest(bytes)))
}

fn first8(hash: &[u8]) -> u64 {
    hash.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}
