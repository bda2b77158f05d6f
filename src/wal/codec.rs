//! How batches are compressed. What does not get smaller is stored as it is; what was compressed is read back and
//! compared before it counts: restic met compressors that returned damaged frames (its issue 4523), and a backup shows
//! that years later.

use std::io::{Read as _, Write as _};

use serde::{Deserialize, Serialize};

/// How bytes that are kept are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Not at all.
    None,
    /// For processors that have no time.
    Lz4,
    /// Level 1, which packs GeoJSON better than level 3 and is 1.7 times as fast.
    #[default]
    Zstd,
    /// For other programs' sake.
    Gzip,
}

/// One codec at work, with what it keeps between batches.
#[expect(missing_debug_implementations, reason = "a compressor is its library's")]
pub struct Packer {
    codec: Codec,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    check: Option<zstd::bulk::Decompressor<'static>>,
}

/// What became of a batch.
#[derive(Debug)]
pub enum Packed {
    /// It is stored as it is.
    Raw,
    /// It is smaller, and gives back what went in.
    Smaller(Vec<u8>),
    /// It does not give back what went in.
    Wrong,
}

impl Codec {
    /// The codecs.
    pub const ALL: [Self; 4] = [Self::None, Self::Lz4, Self::Zstd, Self::Gzip];

    /// Its name, as in settings and manifests.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// Its number, as in files. Never reused.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Lz4 => 1,
            Self::Zstd => 2,
            Self::Gzip => 3,
        }
    }

    /// The codec of this number.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.number() == number)
    }

    /// The plain bytes, which must be `len` many: nothing longer is unpacked.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn unpack(self, stored: &[u8], len: usize) -> Result<Vec<u8>, String> {
        let plain = match self {
            Self::None => stored.to_vec(),
            Self::Lz4 => lz4_flex::block::decompress(stored, len).map_err(|error| format!("lz4: {error}"))?,
            Self::Zstd => zstd::bulk::decompress(stored, len).map_err(|error| format!("zstd: {error}"))?,
            Self::Gzip => {
                let mut plain = Vec::with_capacity(len);
                let bound = u64::try_from(len).expect("lengths fit 64 bits") + 1;
                let read = flate2::read::GzDecoder::new(stored).take(bound).read_to_end(&mut plain);
                read.map_err(|error| format!("gzip: {error}"))?;
                plain
            }
        };
        if plain.len() == len { Ok(plain) } else { Err(format!("{} bytes in the place of {len}", plain.len())) }
    }
}

impl std::str::FromStr for Codec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|codec| codec.name() == text);
        found.ok_or_else(|| format!("{text:?} is no codec: none, lz4, zstd or gzip"))
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl Packer {
    /// Begins.
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        // Memory for a compressor is all that either needs; without, the batch is stored as it is.
        let zstd = (codec == Codec::Zstd).then(|| zstd::bulk::Compressor::new(1).ok()).flatten();
        let check = zstd.as_ref().and_then(|_| zstd::bulk::Decompressor::new().ok());
        Self { codec, zstd, check }
    }

    /// Compresses a batch, and reads it back.
    pub fn pack(&mut self, plain: &[u8]) -> Packed {
        let packed = match self.codec {
            Codec::None => None,
            Codec::Lz4 => Some(lz4_flex::block::compress(plain)),
            Codec::Zstd => self.zstd.as_mut().and_then(|zstd| zstd.compress(plain).ok()),
            Codec::Gzip => {
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
                gzip.write_all(plain).and_then(|()| gzip.finish()).ok()
            }
        };
        let Some(packed) = packed.filter(|packed| packed.len() < plain.len()) else { return Packed::Raw };
        let back = match &mut self.check {
            Some(check) => check.decompress(&packed, plain.len()).ok(),
            None => self.codec.unpack(&packed, plain.len()).ok(),
        };
        if back.as_deref() == Some(plain) { Packed::Smaller(packed) } else { Packed::Wrong }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        fn every_codec_gives_back_what_went_in(words: Vec<u8>, times: u8) -> bool {
            let plain = words.repeat(usize::from(times));
            Codec::ALL.into_iter().all(|codec| match Packer::new(codec).pack(&plain) {
                Packed::Raw => true,
                Packed::Smaller(packed) => codec.unpack(&packed, plain.len()).as_ref() == Ok(&plain),
                Packed::Wrong => false,
            })
        }
    }

    #[test]
    fn nothing_longer_than_it_says_is_unpacked() {
        let plain = vec![7; 100_000];
        for codec in Codec::ALL {
            let packed = match Packer::new(codec).pack(&plain) {
                Packed::Smaller(packed) => packed,
                _ => plain.clone(),
            };
            assert!(codec.unpack(&packed, plain.len() - 1).is_err(), "{codec}");
            assert!(codec.unpack(&packed, plain.len() + 1).is_err(), "{codec}");
        }
    }
}
