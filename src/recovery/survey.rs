//! What a log directory holds: segments, records by kind, points, damage; and where in it a moment is.
//!
//! Damage is a finding here, not an error: what is intact before it can be had still, and nothing behind it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::source::{Frames, Source, SourceError};
use super::target::{Bound, Mark, Restorable, Target, TargetError, Unreachable};
use super::{Beginning, Upto, snapshot};
use crate::node::{Own, Point, Restored};
use crate::replication::Trim;
use crate::types::{Chain, Hlc, Lsn, NodeId, SegmentId, TimelineId, WallTime};
use crate::wal;

/// Why a moment of a log was not found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocateError {
    /// It cannot be had.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The log could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// Its file.
    pub file: String,
    /// Its number.
    #[serde(skip)]
    pub segment: SegmentId,
    /// `main` or `events`.
    pub chain: &'static str,
    /// Its length in bytes.
    pub bytes: u64,
    /// How many intact records it holds.
    pub records: u64,
    /// The first of them.
    pub first: Option<Mark>,
    /// The last.
    pub last: Option<Mark>,
}

/// What is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `main` or `events`.
    pub chain: &'static str,
    /// In words, with file and byte.
    pub what: String,
    /// Whether it is a damaged last write: the next start cuts it. Else the log is refused.
    pub last_write: bool,
}

/// A recovery that the log remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// Its record.
    #[serde(flatten)]
    pub mark: Mark,
    /// From what.
    pub restored: Restored,
}

/// What a log directory holds.
#[derive(Clone, Debug, Serialize)]
pub struct Survey {
    /// The directory of its segments.
    pub dir: PathBuf,
    /// Whose log.
    pub node: NodeId,
    /// Its segments, chain by chain. Those of events that do not count any more are not listed.
    pub segments: Vec<Segment>,
    /// How many records of each kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Named points, in order.
    pub points: Vec<Point>,
    /// From what it was restored, in order.
    pub recoveries: Vec<Recovery>,
    /// What is wrong.
    pub damage: Vec<Finding>,
    /// The last intact records.
    pub upto: Upto,
    /// The first record of the events' chain that counts.
    pub events_from: Lsn,
    #[serde(skip)]
    trims: Vec<(Lsn, Trim)>,
    #[serde(skip)]
    begins: Beginning,
}

/// A moment of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Located {
    /// Up to where both chains are taken.
    pub upto: Upto,
    /// The last record of the main chain that is taken.
    pub last: Mark,
}

pub(super) const fn name(chain: Chain) -> &'static str {
    match chain {
        Chain::Main => "main",
        Chain::Events => "events",
    }
}

impl Survey {
    /// Reads all of it.
    ///
    /// # Errors
    /// What keeps files from being read. Damage is none: it is among the findings.
    pub fn of(source: &Source) -> Result<Self, SourceError> {
        let mut survey = Self {
            dir: source.dir().to_owned(),
            node: source.node(),
            segments: Vec::new(),
            kinds: BTreeMap::new(),
            points: Vec::new(),
            recoveries: Vec::new(),
            damage: Vec::new(),
            upto: Upto::default(),
            events_from: Lsn::ZERO.next(),
            trims: Vec::new(),
            begins: Beginning::default(),
        };
        survey.upto.main = survey.chain(source, Chain::Main, source.main(None))?;
        if survey.upto.main == Lsn::ZERO && survey.damage.is_empty() {
            let what = source.lost_main().to_string();
            survey.damage.push(Finding { chain: name(Chain::Main), what, last_write: false });
        }
        survey.events_from = survey.begins.lsn;
        let begins = survey.begins.clone();
        survey.upto.events = survey.chain(source, Chain::Events, source.events(&begins, None))?;
        survey.catch_up(source)?;
        for (segment, bytes) in source.segments() {
            if let Some(found) = survey.segments.iter_mut().find(|found| found.segment == *segment) {
                found.bytes = *bytes;
            } else if segment.chain() == Chain::Main || *segment >= begins.segment {
                survey.segments.push(Segment::empty(*segment, *bytes));
            }
        }
        survey.segments.sort_by_key(|segment| segment.segment);
        survey.events_from = survey.begins.lsn;
        Ok(survey)
    }

    /// While the events' chain was read, a running peer may have written to both. What it wrote to the main chain before the last
    /// event that was read is on the disk by now, since it writes in the order of its stamps: that is taken too, and events behind
    /// the main chain's end only if nothing can stand between.
    pub(super) fn catch_up(&mut self, source: &Source) -> Result<(), SourceError> {
        let last = |survey: &Self, chain: Chain| {
            survey.segments.iter().rfind(|found| found.segment.chain() == chain && found.last.is_some()).cloned()
        };
        let (Some(main), Some(event)) =
            (last(self, Chain::Main), last(self, Chain::Events).and_then(|found| found.last))
        else {
            return Ok(());
        };
        let (Some(first), true) = (main.first, main.last.is_some_and(|last| last.at < event.at) && self.is_sound())
        else {
            return Ok(());
        };
        for frame in source.from(main.segment, first.lsn, Lsn::new(u64::MAX)) {
            let frame = frame?;
            if frame.hlc > event.at {
                return Ok(());
            }
            if frame.lsn > self.upto.main {
                self.record(source, &frame)?;
                self.upto.main = frame.lsn;
            }
        }
        let newest = Source::open(source.dir())?.segments().keys().rfind(|other| other.chain() == Chain::Main).copied();
        if newest.is_some_and(|newest| !source.segments().contains_key(&newest)) {
            // It has gone on in a segment that is not known here.
            let end = last(self, Chain::Main).and_then(|found| found.last).expect("it was there above").at;
            let behind = self.find(source, Chain::Events, |mark| mark.at > end)?;
            self.upto.events = behind.map_or(self.upto.events, |mark| Lsn::new(mark.lsn.value() - 1));
        }
        Ok(())
    }

    /// Reads one chain; gives its last intact record.
    fn chain(&mut self, source: &Source, chain: Chain, mut frames: Frames) -> Result<Lsn, SourceError> {
        let (mut last, mut highest) = (Lsn::ZERO, Hlc::default());
        let error = loop {
            let frame = match frames.next() {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => break Some(error),
                None => break None,
            };
            if let Err(error) = self.record(source, &frame) {
                break Some(error);
            }
            if frame.hlc <= highest {
                let file = wal::file_name(frame.position.segment);
                let what = format!(
                    "{file}, byte {}: record {} is stamped below one before it",
                    frame.position.offset, frame.lsn
                );
                self.damage.push(Finding { chain: name(chain), what, last_write: false });
            }
            (last, highest) = (frame.lsn, highest.max(frame.hlc));
        };
        match error {
            Some(SourceError::Io { what, path, error }) => return Err(SourceError::Io { what, path, error }),
            Some(error @ SourceError::Removed { .. }) => return Err(error),
            Some(error) => self.damage.push(Finding { chain: name(chain), what: error.to_string(), last_write: false }),
            None => {
                if let Some(cut) = frames.finish().cut {
                    self.damage.push(Finding { chain: name(chain), what: cut.to_string(), last_write: true });
                }
            }
        }
        Ok(last)
    }

    fn record(&mut self, source: &Source, frame: &wal::Frame) -> Result<(), SourceError> {
        let (segment, mark) = (frame.position.segment, Mark { lsn: frame.lsn, at: frame.hlc });
        let own = source.own(frame)?;
        *self.kinds.entry(own.name()).or_default() += 1;
        match own {
            Own::Point { name } => self.points.push(Point { name, lsn: frame.lsn, at: frame.hlc }),
            Own::Restored(restored) => self.recoveries.push(Recovery { mark, restored }),
            Own::Trim(trim) => {
                self.begins.trim(trim.clone());
                self.trims.push((frame.lsn, trim));
            }
            _ => {}
        }
        if !self.segments.iter().rev().any(|found| found.segment == segment) {
            self.segments.push(Segment::empty(segment, 0));
            self.segments.sort_by_key(|found| found.segment);
        }
        let found = self.segments.iter_mut().rfind(|found| found.segment == segment).expect("it was pushed");
        found.records += 1;
        found.first = found.first.or(Some(mark));
        found.last = Some(mark);
        Ok(())
    }

    /// Whether nothing is wrong with it.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }

    /// From where to where one can go back. `now` is the wall clock: nobody else writes this log.
    #[must_use]
    pub fn restorable(&self, now: WallTime) -> Restorable {
        let main = || self.segments.iter().filter(|segment| segment.segment.chain() == Chain::Main);
        let newest = main().filter_map(|segment| segment.last).next_back();
        Restorable {
            oldest: main().find_map(|segment| segment.first),
            newest,
            // Stamps stay ahead of a clock that was set back.
            known_until: newest.map_or(now, |newest| newest.at.wall.max(now)),
            points: self.points.clone(),
            ids: Vec::new(),
        }
    }

    /// Of which timeline the log is.
    #[must_use]
    pub fn line(&self) -> TimelineId {
        self.recoveries.last().map_or(TimelineId::FIRST, |recovery| recovery.restored.line())
    }

    /// Trims behind a record of the main chain: what of the events was removed since.
    #[must_use]
    pub fn trims_after(&self, lsn: Lsn) -> Vec<Trim> {
        self.trims.iter().filter(|(at, _)| *at > lsn).map(|(_, trim)| trim.clone()).collect()
    }

    /// Where the events' chain begins now.
    #[must_use]
    pub fn begins(&self) -> &Beginning {
        &self.begins
    }

    /// Finds a moment: up to where both chains are to be taken.
    ///
    /// # Errors
    /// [`LocateError`]: the moment cannot be had, or lies behind damage.
    pub fn locate(
        &self,
        source: &Source,
        target: &Target,
        exclusive: bool,
        now: WallTime,
    ) -> Result<Located, LocateError> {
        let mut restorable = self.restorable(now);
        let taken = match target {
            Target::Snapshot(id) => Some(snapshot::end_of(source, id, &mut restorable)?),
            _ => None,
        };
        let record = taken.as_ref().map(|taken| Target::Lsn(taken.lsn));
        let hurt = |chain: Chain| self.damage.iter().find(|found| found.chain == name(chain) && !found.last_write);
        let damaged = |found: &Finding| Unreachable::Damaged { target: target.to_string(), damage: found.what.clone() };
        let bound = restorable.bound(record.as_ref().unwrap_or(target), exclusive, now).map_err(|refused| {
            let beyond = matches!(refused.why, Unreachable::Nothing | Unreachable::AfterNewest { .. });
            match hurt(Chain::Main).filter(|_| beyond) {
                Some(found) => restorable.refuse(damaged(found)),
                None => refused,
            }
        })?;
        let fits = match bound {
            Bound::Everything => None,
            Bound::Stamp { at, inclusive } => Some((at, inclusive)),
            Bound::Lsn { lsn, inclusive } => {
                let frame = self.find(source, Chain::Main, |mark| mark.lsn >= lsn)?;
                let at = frame.expect("the target was found to be in the log").at;
                match taken.as_ref().filter(|_| inclusive) {
                    Some(taken) => Some(self.moment_of(source, taken, at)?),
                    None => Some((at, inclusive)),
                }
            }
        };
        let mut upto = Upto::default();
        for chain in Chain::ALL {
            let beyond = |mark: Mark| fits.is_some_and(|(at, inclusive)| mark.at > at || (!inclusive && mark.at == at));
            let first = self.find(source, chain, beyond)?;
            // Without a record beyond the bound nobody knows whether the damaged ones belong to it.
            let named = matches!(bound, Bound::Lsn { .. }) && chain == Chain::Main;
            if let (None, Some(found), false) = (&first, hurt(chain), named) {
                return Err(restorable.refuse(damaged(found)).into());
            }
            let last = first.map_or_else(|| self.upto.of(chain), |mark| Lsn::new(mark.lsn.value() - 1));
            match chain {
                Chain::Main => upto.main = last,
                Chain::Events => upto.events = last,
            }
        }
        let last = self.find(source, Chain::Main, |mark| mark.lsn >= upto.main)?;
        match last {
            Some(last) if upto.main > Lsn::ZERO => Ok(Located { upto, last }),
            _ => Err(restorable.refuse(Unreachable::BeforeOldest { target: target.to_string() }).into()),
        }
    }

    /// Up to which stamp a snapshot goes whose last record of the main chain has this one. Events that were durable when it was taken are
    /// older than it, though later than that record.
    fn moment_of(&self, source: &Source, taken: &snapshot::Taken, at: Hlc) -> Result<(Hlc, bool), SourceError> {
        let until = Hlc { wall: taken.taken, logical: u32::MAX }.max(at);
        let next = self.find(source, Chain::Main, |mark| mark.lsn > taken.lsn)?;
        Ok(next.filter(|next| next.at <= until).map_or((until, true), |next| (next.at, false)))
    }

    /// The first record of a chain that is so; from it on, all are. Reads one segment.
    fn find(&self, source: &Source, chain: Chain, is_so: impl Fn(Mark) -> bool) -> Result<Option<Mark>, SourceError> {
        let mut segments = self.segments.iter().filter(|segment| segment.segment.chain() == chain);
        let Some((segment, first)) = segments
            .find(|segment| segment.last.is_some_and(&is_so))
            .and_then(|found| Some((found.segment, found.first?)))
        else {
            return Ok(None);
        };
        for frame in source.from(segment, first.lsn, self.upto.of(chain)) {
            let frame = frame?;
            let mark = Mark { lsn: frame.lsn, at: frame.hlc };
            if is_so(mark) {
                return Ok(Some(mark));
            }
        }
        Ok(None)
    }
}

impl Segment {
    fn empty(segment: SegmentId, bytes: u64) -> Self {
        let (file, chain) = (wal::file_name(segment), name(segment.chain()));
        Self { file, segment, chain, bytes, records: 0, first: None, last: None }
    }
}
