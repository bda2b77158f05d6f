//! Objects: batches in a row under one checksum, some megabytes long. `FORMAT.md` has the bytes.

use bytes::Bytes;

use super::batch::{self, Batch, le64};
use super::cipher::{Key, NONCE};
use super::codec::{BackupCompression, Packer};
use super::error::Error;
use super::host::Host;
use super::id::BackupId;
use super::sealed::FORMAT;
use crate::types::{Chain, Checksum, Lsn, NodeId, hex};
use crate::wal::{Frame, RECORD_MAX};

const MAGIC: [u8; 8] = *b"OXHABAK\n";
/// Bytes before the content.
const HEADER: usize = 80;
/// Bytes behind it: BLAKE3 of all before.
const TRAILER: usize = 32;
/// An object is closed when its content is this long.
pub(super) const OBJECT_BYTES: usize = 12 << 20;
/// Or when its records were this long before they were packed: what is read back has a bound too.
const PLAIN_BYTES: u64 = 64 << 20;
/// The longest object: one that is nearly full, and the longest record in a batch of its own, as it is.
pub(super) const OBJECT_MAX: u64 = (OBJECT_BYTES + batch::BATCH_BYTES + RECORD_MAX + (4 << 10)) as u64;

/// What an object belongs to: bound to its content where that is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) node: NodeId,
    pub(super) backup: BackupId,
    /// Its place among the backup's objects, from 0.
    pub(super) place: u32,
}

impl Owner {
    fn name(&self) -> String {
        format!("{}/{}/{:08}", self.node, self.backup, self.place)
    }
}

/// An object to be stored.
pub(super) struct Made {
    pub(super) bytes: Bytes,
    pub(super) blake3: blake3::Hash,
    pub(super) chain: Chain,
    pub(super) first: Lsn,
    pub(super) last: Lsn,
    /// Bytes of its records before they were packed.
    pub(super) plain: u64,
}

/// Packs records into objects.
pub(super) struct Maker {
    codec: BackupCompression,
    packer: Packer,
    key: Option<Key>,
    batch: Option<Batch>,
    content: Vec<u8>,
    run: Option<(Chain, Lsn, Lsn)>,
    plain: u64,
}

impl Maker {
    pub(super) fn new(codec: BackupCompression, key: Option<Key>) -> Self {
        Self { codec, packer: Packer::new(codec), key, batch: None, content: Vec::new(), run: None, plain: 0 }
    }

    /// Whether the object should be finished before this record.
    pub(super) fn is_full_for(&self, frame: &Frame) -> bool {
        let chain = frame.position.segment.chain();
        // The batch that is open may come out as long as it is.
        let open = self.batch.as_ref().map_or(0, Batch::plain_len);
        let long = self.content.len() as u64 + open >= OBJECT_BYTES as u64;
        let full = long || self.plain + open >= PLAIN_BYTES;
        self.run.is_some_and(|(mine, ..)| mine != chain || full)
    }

    /// Takes the next record.
    pub(super) fn take(&mut self, frame: &Frame) -> Result<(), Error> {
        if self.batch.as_ref().is_some_and(|batch| !batch.takes(frame)) {
            self.close_batch()?;
        }
        self.batch.get_or_insert_with(|| Batch::new(frame.position.segment, frame.lsn)).push(frame);
        let run = self.run.get_or_insert_with(|| (frame.position.segment.chain(), frame.lsn, frame.lsn));
        run.2 = frame.lsn;
        Ok(())
    }

    fn close_batch(&mut self) -> Result<(), Error> {
        let Some(batch) = self.batch.take() else { return Ok(()) };
        self.plain += batch.plain_len();
        batch.pack(&mut self.packer, self.codec, &mut self.content)
    }

    /// The object of what was taken; none if nothing was.
    pub(super) fn finish(
        &mut self,
        owner: Owner,
        repository: [u8; 16],
        host: &dyn Host,
    ) -> Result<Option<Made>, Error> {
        self.close_batch()?;
        let Some((chain, first, last)) = self.run.take() else { return Ok(None) };
        let mut content = std::mem::take(&mut self.content);
        let mut nonce = [0; NONCE];
        let length = u64::try_from(content.len()).expect("lengths fit 64 bits");
        if self.key.is_some() {
            host.random(&mut nonce);
        }
        let header = header(self.key.as_ref(), nonce, length, &repository, owner);
        if let Some(key) = &self.key {
            key.seal(&owner.name(), &header, nonce, &mut content)?;
        }
        let mut bytes = Vec::with_capacity(HEADER + content.len() + TRAILER);
        bytes.extend_from_slice(&header);
        bytes.append(&mut content);
        let blake3 = blake3::hash(&bytes);
        bytes.extend_from_slice(blake3.as_bytes());
        let plain = std::mem::take(&mut self.plain);
        Ok(Some(Made { bytes: bytes.into(), blake3, chain, first, last, plain }))
    }
}

/// The header, which the cipher authenticates with the content.
fn header(key: Option<&Key>, nonce: [u8; NONCE], length: u64, repository: &[u8; 16], owner: Owner) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[12] = u8::from(key.is_some());
    header[16..24].copy_from_slice(&length.to_le_bytes());
    header[24..24 + NONCE].copy_from_slice(&nonce);
    header[36..40].copy_from_slice(&owner.place.to_le_bytes());
    header[40..56].copy_from_slice(repository);
    header[56..72].copy_from_slice(owner.node.as_bytes());
    let sum = Checksum::of(&header[..76]).value();
    header[76..80].copy_from_slice(&sum.to_le_bytes());
    header
}

/// The checksum of an object, if its bytes are what was written.
///
/// # Errors
/// What is wrong.
pub(super) fn check(name: &str, bytes: &[u8]) -> Result<blake3::Hash, Error> {
    let bad = |what: String| Error::damaged(name, what);
    let Some((whole, trailer)) = bytes.split_last_chunk::<TRAILER>().filter(|(whole, _)| whole.len() >= HEADER) else {
        return Err(bad(format!("{} bytes are less than an object has", bytes.len())));
    };
    let sum = blake3::hash(whole);
    if sum != blake3::Hash::from_bytes(*trailer) {
        return Err(bad(format!("its content has BLAKE3 {}, its end says {}", sum.to_hex(), hex(trailer))));
    }
    Ok(sum)
}

/// The content of an object whose checksum is right: its batches.
///
/// # Errors
/// What is wrong.
pub(super) fn content(
    name: &str,
    bytes: &Bytes,
    owner: Owner,
    repository: [u8; 16],
    key: Option<&Key>,
) -> Result<Bytes, Error> {
    let bad = |what: &str| Error::damaged(name, what);
    let head: [u8; HEADER] = *bytes.first_chunk().expect("whose checksum is right is that long");
    let found = u32::from_le_bytes(head[8..12].try_into().expect("the range is four long"));
    if head[..8] != MAGIC {
        return Err(bad("it is no object of a backup"));
    }
    if found > FORMAT {
        return Err(Error::FutureFormat { name: name.into(), found, known: FORMAT });
    }
    let (sealed, length) = (head[12] != 0, le64(&head, 16));
    let nonce: [u8; NONCE] = head[24..36].try_into().expect("the range is twelve long");
    let key = match (sealed, key) {
        (true, None) => return Err(Error::NoKey),
        (false, Some(_)) => return Err(bad("it is not encrypted, and the repository is")),
        (_, key) => key,
    };
    if head != header(key, nonce, length, &repository, owner) {
        return Err(bad("its header is of another place, node or repository"));
    }
    let content = bytes.slice(HEADER..bytes.len() - TRAILER);
    let content = match key {
        None => content,
        Some(key) => {
            let mut plain = content.to_vec();
            if !key.open(&owner.name(), &head, nonce, &mut plain) {
                return Err(bad("it does not decrypt: another content, name or key"));
            }
            plain.into()
        }
    };
    let expected = usize::try_from(length).ok().filter(|length| *length == content.len());
    expected.map(|_| content).ok_or_else(|| bad("its content has another length than its header says"))
}
