//! What a start from a snapshot did not read is read afterwards, slowly, so that damage there is seen while neighbours hold the same
//! entries, and not when they are wanted.
//!
//! The segments of the main chain before the snapshot's record are judged as a start without it would: headers, numbers, checksums.
//! Behind damage it goes on with the next segment. The events' chain is read whole by each start. It is a thread of its own that locks
//! and changes nothing, holds one segment in memory, and ends with the peer.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::watch;

use super::failure::StartError;
use super::peer::Phase;
use super::schedule::until_stopped;
use crate::node::{BootReport, SnapshotFile, SnapshotState};
use crate::recovery::{LOG_DIR, Source, wal::Scanner};
use crate::types::{Lsn, NodeId, SegmentId};
use crate::wal;

/// Bytes that are read in a second at most: a disk hardly notices, and 100 GiB take an hour.
const RATE: u64 = 32 << 20;
/// Places that are named at most; the others are counted.
const NAMED_MAX: usize = 32;

/// How far it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ScrubState {
    /// It reads still.
    #[default]
    Running,
    /// All is as it was written.
    Sound,
    /// Something is not.
    Damaged,
}

/// Damage in a segment: the first of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damaged {
    /// The segment's file.
    pub file: String,
    /// From which byte on.
    pub byte: u64,
    /// Which record should be there, if that is known.
    pub lsn: Option<Lsn>,
    /// What is wrong, in words.
    pub what: String,
}

/// How the log stands before the snapshot that the start went on from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ScrubStatus {
    /// How far it has come.
    pub state: ScrubState,
    /// Bytes read.
    pub bytes: u64,
    /// Of so many.
    pub of_bytes: u64,
    /// What is damaged so far, one place of each segment.
    pub damage: Vec<Damaged>,
    /// Segments that are damaged too, and not named.
    pub more: u64,
}

/// Starts it, if the start left something unread.
///
/// # Errors
/// [`StartError::Workers`]: the system gives no thread.
pub(super) fn start(
    dir: &Path,
    report: &BootReport,
    phase: watch::Receiver<Phase>,
) -> Result<Option<watch::Receiver<ScrubStatus>>, StartError> {
    let Some(SnapshotFile { state: SnapshotState::Good(taken), .. }) = report.snapshot.as_deref() else {
        return Ok(None);
    };
    let Some((last, _)) = report.unread.last() else { return Ok(None) };
    let of_bytes = report.unread.iter().map(|(_, len)| len).sum();
    let (told, status) = watch::channel(ScrubStatus { of_bytes, ..ScrubStatus::default() });
    // The segment behind them says whether the last one's end was judged before.
    let segments = report.unread.iter().copied().chain([(last.next(), 0)]).collect();
    let work = Work { dir: dir.join(LOG_DIR), segments, upto: taken.lsn, phase, told };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(StartError::Workers)?;
    let thread = std::thread::Builder::new().name("mesh-scrub".into());
    thread.spawn(move || runtime.block_on(work.run())).map_err(StartError::Workers)?;
    Ok(Some(status))
}

/// What the thread works with.
struct Work {
    dir: PathBuf,
    /// Each with its bytes as the start found them.
    segments: Vec<(SegmentId, u64)>,
    upto: Lsn,
    phase: watch::Receiver<Phase>,
    told: watch::Sender<ScrubStatus>,
}

impl Work {
    async fn run(mut self) {
        let (first, _) = self.segments[0];
        let mut judge = match Source::open(&self.dir) {
            Ok(source) => Judge::new(&source, first, self.upto),
            Err(error) => {
                self.found(Damaged { file: wal::file_name(first), byte: 0, lsn: None, what: error.to_string() });
                return self.end();
            }
        };
        for (segment, len) in std::mem::take(&mut self.segments) {
            let file = wal::file_name(segment);
            match fs::read(self.dir.join(&file)) {
                Ok(bytes) => judge.segment(segment, &bytes.into()).into_iter().for_each(|one| self.found(one)),
                Err(error) => {
                    self.found(Damaged { file, byte: 0, lsn: None, what: format!("cannot read it: {error}") });
                    judge.pass_over(segment);
                }
            }
            self.told.send_modify(|told| told.bytes += len);
            let pause = Duration::from_micros(len.saturating_mul(1_000_000) / RATE);
            if until_stopped(&mut self.phase, tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
        self.end();
    }

    fn found(&self, one: Damaged) {
        tracing::warn!(file = %one.file, byte = one.byte, why = %one.what, "the log is damaged before the snapshot that the start took");
        self.told.send_modify(
            |told| {
                if told.damage.len() < NAMED_MAX { told.damage.push(one) } else { told.more += 1 }
            },
        );
    }

    fn end(&self) {
        self.told.send_modify(|told| {
            told.state = if told.damage.is_empty() { ScrubState::Sound } else { ScrubState::Damaged };
            if told.state == ScrubState::Sound {
                tracing::info!(bytes = told.bytes, "the log before the snapshot that the start took is sound");
            }
        });
    }
}

/// Judges segments in order, and goes on behind damage.
struct Judge {
    node: NodeId,
    store: u64,
    upto: Lsn,
    scanner: Scanner,
}

impl Judge {
    fn new(source: &Source, first: SegmentId, upto: Lsn) -> Self {
        let (node, store) = (source.node(), source.store());
        let scanner = Scanner::at(node, first, Lsn::ZERO.next(), Some(store)).until(upto);
        Self { node, store, upto, scanner }
    }

    /// Goes on with this segment, whatever was before.
    fn go_on(&mut self, segment: SegmentId) {
        self.scanner = Scanner::join(self.node, segment, self.store).until(self.upto);
    }

    /// Leaves this one out. Damage at the end of the one before it cannot be told from a cut then, and is not told.
    fn pass_over(&mut self, segment: SegmentId) {
        self.go_on(segment.next());
    }

    /// What is damaged in this segment, or at the end of the one before: only the next one's header says whether that was cut.
    fn segment(&mut self, segment: SegmentId, bytes: &Bytes) -> Vec<Damaged> {
        let mut found = Vec::new();
        loop {
            let judged = self.scanner.segment(segment, bytes);
            let (at, lsn, what) = match judged {
                Err(error) => {
                    let at = error.place().map_or((segment, 0), |at| (at.segment, at.offset));
                    (at, error.lsn(), error.to_string())
                }
                Ok(_) => match self.scanner.clone().finish().cut.filter(|cut| cut.at.segment < segment) {
                    Some(cut) => ((cut.at.segment, cut.at.offset), Some(cut.lsn), cut.what.to_string()),
                    None => return found,
                },
            };
            let lsn = lsn.filter(|lsn| *lsn > Lsn::ZERO);
            found.push(Damaged { file: wal::file_name(at.0), byte: at.1, lsn, what });
            if at.0 >= segment {
                self.go_on(segment.next());
                return found;
            }
            // It is judged by itself now, and there is nothing before it.
            self.go_on(segment);
        }
    }
}
