//! A start from a snapshot: whether it is of this log, what it gives, and which entries before it are read besides.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::file::{self, End};
use super::{Mark, Taken};
use crate::documents::{Documents, Kept};
use crate::node::life::Life;
use crate::node::record::Own;
use crate::node::replay::Refused;
use crate::probe::planted;
use crate::replication::{Record, Replication, Slots};
use crate::types::{Chain, Checksum, LogId, NodeId, Position, SegmentId, Seq};
use crate::wal;

/// Bytes that are read at once, and how much may lie between two entries that are.
const READ_MAX: u64 = 4 << 20;
const GAP_MAX: u64 = 64 << 10;

/// A snapshot that is whole.
#[derive(Debug)]
pub(in crate::node) struct Base {
    pub(in crate::node) number: SegmentId,
    pub(in crate::node) store: u64,
    pub(in crate::node) life: Life,
    pub(in crate::node) taken: Taken,
    end: End,
    documents: Vec<Kept>,
    slots: Vec<Slots>,
    /// Whether the record up to which it goes was met in the log.
    met: bool,
}

impl Base {
    /// Reads a snapshot of a log with these segments.
    ///
    /// # Errors
    /// Why it is not taken, in words.
    pub(in crate::node) fn read(
        node: NodeId,
        number: SegmentId,
        bytes: &[u8],
        segments: &[(SegmentId, u64)],
    ) -> Result<Self, String> {
        let file::Read { store, mut end, documents, slots, decided, roles, policies } =
            file::read(node, number, bytes)?;
        decided.iter().try_for_each(|record| end.life.decided.take(record))?;
        roles.iter().for_each(|record| end.life.roles.take(record));
        end.life.policies = policies.into_iter().next_back();
        let first = Chain::Main.origin().next().value();
        for (n, len) in (first..).zip(&end.segments) {
            let segment = SegmentId::new(n);
            let found = segments.binary_search_by_key(&segment, |(there, _)| *there);
            match found.ok().and_then(|at| segments.get(at)) {
                Some((_, there)) if there == len => {}
                Some((_, there)) => {
                    return Err(format!("{} has {there} bytes, and had {len}", wal::file_name(segment)));
                }
                None => return Err(format!("{} is missing", wal::file_name(segment))),
            }
        }
        if end.mark.position.0.value() != first + end.segments.len() as u64 {
            return Err("its segments do not lead to its record".to_owned());
        }
        let taken = end.taken(bytes.len() as u64);
        Ok(Self { number, store, life: end.life.clone(), taken, end, documents, slots, met: false })
    }

    /// From which segment on the main chain is read.
    pub(in crate::node) const fn segment(&self) -> SegmentId {
        self.end.mark.position.0
    }

    /// Where the record stands up to which it goes.
    pub(in crate::node) const fn position(&self) -> Position {
        self.end.mark.position()
    }

    /// A record of the main chain was read: whether it stands behind the snapshot.
    ///
    /// # Errors
    /// Why the snapshot is not of this log.
    pub(in crate::node) fn follows(&mut self, frame: &wal::Frame) -> Result<bool, String> {
        let mark = &self.end.mark;
        if frame.lsn == mark.lsn {
            if Mark::of(frame) != *mark {
                return Err(format!("record {} of the log is another than the snapshot's", frame.lsn));
            }
            self.met = true;
        }
        if frame.lsn > mark.lsn && !self.met {
            return Err(format!("the log has no record {}", mark.lsn));
        }
        Ok(frame.lsn > mark.lsn)
    }

    /// The main chain was read to its end.
    ///
    /// # Errors
    /// When it ends before the snapshot.
    pub(in crate::node) fn check(&self) -> Result<(), String> {
        let lsn = self.end.mark.lsn;
        if self.met {
            Ok(())
        } else {
            Err(format!(
                "the log ends before record {lsn}, up to which it goes: the log was put back or cut since, and what stood behind its end is gone \
                 from this disk"
            ))
        }
    }

    /// Gives it to the machines. What is left: entries before it that no document of it has, and where they stand.
    pub(in crate::node) fn restore(
        self,
        replication: &mut Replication,
        documents: &mut Documents,
    ) -> Result<Vec<(Position, LogId, Seq)>, Refused> {
        let position = self.end.mark.position();
        let refuse = |why: String| Refused { position, why };
        replication.restore_stamps(self.end.stamps);
        self.slots.iter().try_for_each(|slots| replication.restore_slots(slots)).map_err(refuse)?;
        drop(self.slots);
        let reach = replication.reach().into_iter();
        let mut placed: BTreeMap<LogId, Vec<bool>> = reach
            .map(|(log, last)| (log, vec![false; usize::try_from(last.value()).expect("as many as there are slots")]))
            .collect();
        for kept in self.documents {
            for (log, seq) in documents.restore_kept(kept).map_err(refuse)? {
                let at = seq.value().checked_sub(1).and_then(|at| usize::try_from(at).ok());
                let place = placed.get_mut(&log).and_then(|places| places.get_mut(at?));
                match place {
                    Some(place) if !*place => *place = true,
                    _ => return Err(refuse(format!("{} is no place, or of two documents", log.at(seq)))),
                }
            }
        }
        let mut missing = Vec::new();
        for (log, places) in placed {
            for (seq, _) in (1..).zip(places).filter(|(_, placed)| !placed) {
                let seq = Seq::new(seq);
                let position = replication.view().position(log, seq).expect("it is held up to there");
                missing.push((position, log, seq));
            }
        }
        missing.sort_unstable();
        if planted!("node/snapshot-last-change-dropped") {
            missing.pop();
        }
        Ok(missing)
    }
}

/// Entries that are read from their places.
#[derive(Debug, Default)]
pub(in crate::node) struct Missing {
    spans: VecDeque<Span>,
    found: BTreeMap<(LogId, Seq), Bytes>,
}

/// What is read at once.
#[derive(Debug)]
struct Span {
    segment: SegmentId,
    from: u64,
    to: u64,
    entries: Vec<(Position, LogId, Seq)>,
}

impl Missing {
    /// Of these places, which are in order.
    pub(in crate::node) fn of(places: Vec<(Position, LogId, Seq)>) -> Self {
        let mut spans: VecDeque<Span> = VecDeque::new();
        for place in places {
            let Position { segment, offset, len } = place.0;
            let end = offset.saturating_add(u64::from(len));
            let near = |span: &&mut Span| {
                span.segment == segment && offset <= span.to.saturating_add(GAP_MAX) && end - span.from <= READ_MAX
            };
            match spans.back_mut().filter(near) {
                Some(span) => {
                    span.to = span.to.max(end);
                    span.entries.push(place);
                }
                None => spans.push_back(Span { segment, from: offset, to: end, entries: vec![place] }),
            }
        }
        Self { spans, found: BTreeMap::new() }
    }

    pub(in crate::node) fn next(&self) -> Option<(SegmentId, u64, u64)> {
        self.spans.front().map(|span| (span.segment, span.from, span.to - span.from))
    }

    /// What stands there.
    pub(in crate::node) fn take(&mut self, store: u64, bytes: &Bytes, logs: &Replication) -> Result<(), Refused> {
        let Some(span) = self.spans.pop_front() else { return Ok(()) };
        for (position, log, seq) in span.entries {
            let refuse = |why: String| Refused { position, why };
            let from = usize::try_from(position.offset - span.from).expect("reads are bounded").min(bytes.len());
            let to = from.saturating_add(position.len as usize).min(bytes.len());
            let frame = wal::read_back(store, position, &bytes.slice(from..to));
            let frame = frame.map_err(|error| refuse(error.to_string()))?;
            match Own::decode(frame.kind, &frame.payload).map_err(refuse)? {
                // It may have had another name when it was written.
                Own::Entry(record) if logs.is_at(log, seq, &record) => {
                    let Record { body, .. } = record;
                    self.found.insert((log, seq), Bytes::copy_from_slice(&body));
                }
                other => return Err(refuse(format!("{} was expected there, not {other:?}", log.at(seq)))),
            }
        }
        Ok(())
    }

    /// All that was read, in each log's order.
    pub(in crate::node) fn found(&mut self) -> impl Iterator<Item = (LogId, Seq, Bytes)> + use<> {
        std::mem::take(&mut self.found).into_iter().map(|((log, seq), body)| (log, seq, body))
    }
}

impl Mark {
    /// Of a record of the log.
    pub(in crate::node) fn of(frame: &wal::Frame) -> Self {
        Self::at(frame.position, frame.lsn, frame.hlc, Checksum::of(&frame.payload))
    }
}
