//! The bytes of a recording.
//!
//! Eight bytes that name the format and its version, then blocks. A block is the length of its content, a CRC-32C of that length and
//! one of the content, each as four bytes in little-endian order, and its content: zstd (RFC 8878) over one [`Header`] in the
//! first block, over entries in the others, in bincode's standard configuration. A block without content is the end: where it
//! is missing, the recording was broken off.

use std::fmt;
use std::io::{self, Read, Write};

use bincode::{Decode, Encode};

use super::Entry;
use crate::membership::Meta;
use crate::node::{Config, Identity, Setup};
use crate::types::{ClusterId, NodeId};

const MAGIC: [u8; 8] = *b"oxha-rc2";

/// Most bytes of a block, before and after it is compressed. A read of a long log is one entry.
pub const BLOCK_MAX: usize = 1 << 31;

/// Bytes before the content of a block.
const HEAD: usize = 12;

/// A block is written when its entries take so many bytes.
const BLOCK_BYTES: usize = 256 << 10;

/// The fastest: frames are compressed already.
const LEVEL: i32 = 1;

/// What the node of a recording is made of.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Header {
    /// Which build recorded it.
    pub build: String,
    /// How many workers did its tasks.
    pub workers: u32,
    node: NodeId,
    cluster: ClusterId,
    seed: [u8; 32],
    meta: Meta,
    config: String,
    founds: bool,
}

impl Header {
    /// That of a node which will be made of this.
    ///
    /// # Panics
    /// With more workers than a `u32` counts.
    #[must_use]
    pub fn new(setup: &Setup, workers: usize) -> Self {
        Self {
            build: build(),
            workers: u32::try_from(workers).expect("there are a few workers"),
            node: setup.identity.node,
            cluster: setup.identity.cluster,
            seed: setup.seed,
            meta: setup.meta.clone(),
            config: serde_json::to_string(&setup.config).expect("settings are JSON"),
            founds: setup.founds,
        }
    }

    /// What the node is made of.
    ///
    /// # Errors
    /// [`ReadError::Settings`] when this build does not know one of the settings, or misses one.
    pub fn setup(&self) -> Result<Setup, ReadError> {
        let config: Config = serde_json::from_str(&self.config)
            .map_err(|error| ReadError::Settings { build: self.build.clone(), why: error.to_string() })?;
        let identity = Identity { node: self.node, cluster: self.cluster };
        Ok(Setup { identity, seed: self.seed, meta: self.meta.clone(), config, founds: self.founds })
    }
}

/// This build's name in recordings.
pub(super) fn build() -> String {
    format!("oxigdal-ha {}", env!("CARGO_PKG_VERSION"))
}

/// Writes a recording.
#[derive(Debug)]
pub struct Writer<W> {
    to: W,
    block: Vec<u8>,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Begins one.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn begin(mut to: W, header: &Header) -> io::Result<Self> {
        to.write_all(&MAGIC)?;
        let mut writer = Self { to, block: Vec::new(), written: MAGIC.len() as u64 };
        writer.encode(header);
        writer.flush()?;
        Ok(writer)
    }

    /// Adds an entry; it is written with its block.
    ///
    /// # Errors
    /// Those of writing.
    pub fn add(&mut self, entry: &Entry) -> io::Result<()> {
        self.encode(entry);
        if self.block.len() >= BLOCK_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes what was added.
    ///
    /// # Errors
    /// Those of writing.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let content = zstd::bulk::compress(&self.block, LEVEL)?;
        self.block.clear();
        self.put(&content)
    }

    /// Writes what was added, and the end.
    ///
    /// # Errors
    /// Those of writing.
    pub fn finish(&mut self) -> io::Result<()> {
        self.flush()?;
        self.put(&[])
    }

    fn put(&mut self, content: &[u8]) -> io::Result<()> {
        let len = u32::try_from(content.len()).map_err(io::Error::other)?.to_le_bytes();
        for part in [&len[..], &crc32c::crc32c(&len).to_le_bytes(), &crc32c::crc32c(content).to_le_bytes(), content] {
            self.to.write_all(part)?;
        }
        self.to.flush()?;
        self.written += (HEAD + content.len()) as u64;
        Ok(())
    }

    /// Bytes written so far.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    fn encode(&mut self, value: &impl Encode) {
        let config = bincode::config::standard();
        bincode::encode_into_std_write(value, &mut self.block, config).expect("a Vec takes everything");
    }
}

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// It is something else.
    #[error("not a recording, or one of another version: it begins with \"{}\"", .0.escape_ascii())]
    NotOne(Vec<u8>),
    /// A block in the middle is not what was written.
    #[error("block {block}, at byte {at}: {why}")]
    Damaged {
        /// Which, from 0.
        block: u64,
        /// Where it begins.
        at: u64,
        /// What is wrong.
        why: String,
    },
    /// This build has other settings.
    #[error("its settings are those of {build}, which this build does not understand: {why}")]
    Settings {
        /// Who recorded it.
        build: String,
        /// What is wrong.
        why: String,
    },
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads a recording.
pub struct Reader<R> {
    from: R,
    header: Header,
    block: Vec<u8>,
    /// How much of the block is read.
    read: usize,
    /// Blocks so far, and where the next one begins.
    next: (u64, u64),
    ended: bool,
}

impl<R> fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("next", &self.next).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn begin(mut from: R) -> Result<Self, ReadError> {
        let mut magic = [0; 8];
        let read = read_up_to(&mut from, &mut magic)?;
        if magic != MAGIC {
            return Err(ReadError::NotOne(magic[..read].to_vec()));
        }
        let mut reader = Self {
            from,
            header: Header {
                build: String::new(),
                workers: 0,
                node: NodeId::from_u128(0),
                cluster: ClusterId::from_bytes([0; 32]),
                seed: [0; 32],
                meta: Meta::default(),
                config: String::new(),
                founds: false,
            },
            block: Vec::new(),
            read: 0,
            next: (0, MAGIC.len() as u64),
            ended: false,
        };
        if !reader.next_block()? {
            return Err(reader.damaged("it ends before its header does".into()));
        }
        reader.header = reader.decode()?;
        Ok(reader)
    }

    /// What its node is made of.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The next entry; none at the end.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn entry(&mut self) -> Result<Option<Entry>, ReadError> {
        if self.read == self.block.len() && !self.next_block()? {
            return Ok(None);
        }
        self.decode().map(Some)
    }

    /// Whether it has its end: that of a peer that was killed has none, and lacks what was not written by then. Known when all
    /// entries are read.
    #[must_use]
    pub const fn has_end(&self) -> bool {
        self.ended
    }

    fn decode<T: Decode<()>>(&mut self) -> Result<T, ReadError> {
        let config = bincode::config::standard().with_limit::<BLOCK_MAX>();
        match bincode::decode_from_slice(&self.block[self.read..], config) {
            Ok((value, len)) => {
                self.read += len;
                Ok(value)
            }
            Err(error) => Err(self.damaged(error.to_string())),
        }
    }

    fn next_block(&mut self) -> Result<bool, ReadError> {
        let mut head = [0; HEAD];
        let read = read_up_to(&mut self.from, &mut head)?;
        if self.ended && read > 0 {
            return Err(self.damaged("something stands behind the end".into()));
        }
        if read != head.len() {
            return Ok(false);
        }
        let [len, of_len, crc] =
            [0, 4, 8].map(|at| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
        if crc32c::crc32c(&len.to_le_bytes()) != of_len {
            return Err(self.damaged("the checksum of its length does not fit".into()));
        }
        if len == 0 && crc == crc32c::crc32c(&[]) {
            self.ended = true;
            self.next = (self.next.0 + 1, self.next.1 + HEAD as u64);
            return self.next_block();
        }
        let mut content = Vec::new();
        let read = (&mut self.from).take(len.into()).read_to_end(&mut content)?;
        if read as u64 != u64::from(len) {
            return Ok(false);
        }
        if crc32c::crc32c(&content) != crc {
            return Err(self.damaged("its checksum does not fit".into()));
        }
        self.block.clear();
        let unpacked = zstd::Decoder::new(&content[..])
            .and_then(|content| content.take(BLOCK_MAX as u64).read_to_end(&mut self.block));
        unpacked.map_err(|error| self.damaged(error.to_string()))?;
        self.read = 0;
        self.next = (self.next.0 + 1, self.next.1 + HEAD as u64 + u64::from(len));
        Ok(true)
    }

    fn damaged(&self, why: String) -> ReadError {
        ReadError::Damaged { block: self.next.0, at: self.next.1, why }
    }
}

/// Fills the buffer, or as much of it as there is.
fn read_up_to(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match from.read(&mut buffer[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
