//! Which snapshot a start goes on from: the newest that is whole and of this log, else the one before it, else none. Whatever goes
//! wrong with the log behind a snapshot is judged without it, since the log alone is the truth.

use super::{Boot, BootError, Found, Stage};
use crate::node::edge::{Io, IoOutcome};
use crate::node::replay::{Main, Refused};
use crate::node::snapshot::{Base, Snapshots, Taken};
use crate::probe::{planted, reachable};
use crate::types::{DiskFault, Family, Now, Position, SegmentId};
use crate::wal;

/// The files that there are.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Segments of both chains, in order.
    segments: Vec<(SegmentId, u64)>,
    snapshots: Vec<SegmentId>,
    /// Those that were not tried yet, the newest last.
    untried: Vec<(SegmentId, u64)>,
    /// The one that the start goes on from.
    pub(super) base: Option<(SegmentId, Taken)>,
    /// Those that it does not, the newest first.
    refused: Vec<(SegmentId, String)>,
}

impl Files {
    pub(super) fn of(files: Vec<(SegmentId, u64)>) -> Self {
        let of = |(file, _): &(SegmentId, u64)| file.family() == Family::Snapshot;
        let (untried, segments): (Vec<_>, Vec<_>) = files.into_iter().partition(of);
        let snapshots = untried.iter().map(|(number, _)| *number).collect();
        Self { segments, snapshots, untried, ..Self::default() }
    }

    /// What is known of them when there is a node.
    pub(super) fn snapshots(self, config: wal::SnapshotConfig) -> Snapshots {
        Snapshots::found(config, self.snapshots.into_iter(), self.base, self.refused)
    }
}

impl Boot {
    /// Reads the newest snapshot that was not tried; if there is none, the whole log.
    pub(super) fn open_next(&mut self, now: Now) -> Result<(), BootError> {
        let Some((number, len)) = self.found.files.untried.pop() else {
            self.found.scanner = Some(wal::Scanner::new(self.setup.identity.node));
            let segments = self.found.files.segments.iter().rev().copied().collect();
            return self.read_next(now, segments);
        };
        self.ask(Io::Read { segment: number, offset: 0, len });
        self.stage = Stage::Opening(number);
        Ok(())
    }

    /// A snapshot was read, or could not be.
    pub(super) fn on_snapshot(
        &mut self,
        now: Now,
        number: SegmentId,
        result: Result<IoOutcome, DiskFault>,
    ) -> Result<(), BootError> {
        let node = self.setup.identity.node;
        let base = match result {
            Ok(IoOutcome::Read(bytes)) => Base::read(node, number, &bytes, &self.found.files.segments),
            Ok(other) => Err(format!("the host answered a read with {other:?}")),
            Err(fault) => Err(fault.to_string()),
        };
        let base = match base {
            Ok(base) => base,
            Err(why) if planted!("node/snapshot-bad-one-ends-the-boot") => {
                return Err(Refused { position: Position { segment: number, offset: 0, len: 0 }, why }.into());
            }
            Err(why) => {
                self.found.files.refused.push((number, why));
                return self.open_next(now);
            }
        };
        let (segment, store) = (base.segment(), base.store);
        self.found.files.base = Some(base.told());
        self.found.scanner = Some(wal::Scanner::join(node, segment, store));
        self.found.main = Main::behind(base);
        let before = |file: &SegmentId| file.family() == segment.family() && *file < segment;
        let (unread, mut rest): (Vec<_>, Vec<_>) =
            self.found.files.segments.iter().copied().partition(|(file, _)| before(file));
        self.found.unread = unread;
        rest.reverse();
        self.read_next(now, rest)
    }

    /// The log could not be read as it is. If that was behind a snapshot, it is read without that one.
    pub(super) fn without_snapshot(&mut self, now: Now, error: BootError) -> Result<(), BootError> {
        let Some((number, _)) = self.found.files.base.take() else { return Err(error) };
        reachable!("node/snapshot-log-read-without-it");
        let mut files = std::mem::take(&mut self.found.files);
        files.refused.push((number, error.to_string()));
        self.found = Found { files, segments: self.found.segments, ..Found::default() };
        self.open_next(now).or_else(|error| self.without_snapshot(now, error))
    }
}

impl Main {
    /// Whether a record that was read stands behind the snapshot, if there is one.
    pub(super) fn is_behind(&mut self, frame: &wal::Frame) -> Result<bool, Refused> {
        let refuse = |why: String| Refused { position: frame.position, why };
        self.base_mut().map_or(Ok(true), |base| base.follows(frame)).map_err(refuse)
    }

    /// The main chain was read to its end.
    pub(super) fn check(&mut self) -> Result<(), Refused> {
        let Some(base) = self.base_mut() else { return Ok(()) };
        let position = base.position();
        base.check().map_err(|why| Refused { position, why })
    }
}
