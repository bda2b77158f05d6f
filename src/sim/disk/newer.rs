//! What a process of the next version leaves in a log.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Disk;
use crate::types::{Chain, Family, Hlc, NodeId, SegmentId};
use crate::wal;

/// A kind of record that this version does not know.
const NEXT_RECORD: u8 = 200;

/// A record of the next version, the last of its chain.
#[derive(Clone, Debug)]
pub(super) struct Newer {
    segment: SegmentId,
    /// Of its segment before it.
    len: usize,
    /// All files with it.
    files: BTreeMap<SegmentId, Vec<u8>>,
}

impl Disk {
    /// Writes a record that only the next version reads, if the log is whole.
    pub(in crate::sim) fn leave_newer(&mut self, node: NodeId, config: wal::Config) {
        let main = |file: &SegmentId| file.family() == Family::Log(Chain::Main);
        let mut scanner = wal::Scanner::new(node);
        for (segment, bytes) in self.files.iter().filter(|(file, _)| main(file)) {
            if scanner.segment(*segment, &Bytes::copy_from_slice(bytes)).is_err() {
                return;
            }
        }
        let wal::Scanned { end, cut } = scanner.finish();
        let (None, Some(store)) = (cut, end.store) else { return };
        let hlc = Hlc { logical: end.last_hlc.logical.saturating_add(1), ..end.last_hlc };
        let Ok(record) = wal::Writer::new(config, end, store).append(NEXT_RECORD, hlc, b"what comes next") else {
            return;
        };
        let file = self.files.entry(record.segment).or_default();
        let len = file.len();
        file.extend_from_slice(&record.bytes);
        self.newer = Some(Newer { segment: record.segment, len, files: self.files.clone() });
    }

    /// Whether there is a record that only the next version reads.
    pub(in crate::sim) fn has_newer(&self) -> bool {
        self.newer.is_some()
    }

    /// Whether nothing has changed since it was written.
    pub(in crate::sim) fn is_as_left(&self) -> bool {
        self.newer.as_ref().is_none_or(|newer| newer.files == self.files)
    }

    /// The next version has read its record, and goes on from what it says.
    pub(in crate::sim) fn take_newer(&mut self) {
        let Some(Newer { segment, len, .. }) = self.newer.take() else { return };
        if let Some(bytes) = self.files.get_mut(&segment) {
            bytes.truncate(len);
        }
        self.files.retain(|_, bytes| !bytes.is_empty());
    }
}
