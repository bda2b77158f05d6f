//! Data directories at both ends: a log that is backed up, and one that is made from a backup.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::batch;
use super::branch::marked;
use super::catalogue::Catalogue;
use super::codec::BackupCompression;
use super::create::{Created, create};
use super::error::{Cause, Error};
use super::find::Found;
use super::host::Host;
use super::id::BackupId;
use super::manifest::BackupType;
use super::repository::Repository;
use super::restore::{Plan, Restored as Read};
use super::source::{Cut, Source, Span};
use crate::node::{Own, Restored};
use crate::recovery::image::{self, ImageError, Written};
use crate::recovery::{self, Beginning, Frames, SourceError};
use crate::types::{Chain, Hlc, Lsn, NodeId, SegmentId, WallTime};
use crate::wal::{self, Frame};

/// Batches that are on their way from the repository to the disk.
const IN_FLIGHT_MAX: usize = 2;

/// How often a log is looked at anew of which something was removed meanwhile.
const LOOKS_MAX: u32 = 4;

/// How often that is done where something expired while it was backed up.
const EXPIRED_MAX: u32 = 16;

/// The log in a data directory. Its peer may be running: what it writes after the look is not in the backup.
#[derive(Debug)]
pub struct Directory {
    dir: PathBuf,
    source: recovery::Source,
    begins: Beginning,
    /// The first record of each segment.
    index: BTreeMap<SegmentId, Lsn>,
    /// Up to where each chain is known.
    ends: [End; 2],
    /// Events are known to be there that no cut can hold yet.
    held_back: bool,
    cut: Cut,
}

/// What a look at a log found that was not there at the look before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grown {
    /// Records of both chains.
    pub records: u64,
    /// Bytes of these as a backup counts them, before they are packed.
    pub bytes: u64,
}

impl Directory {
    /// Looks at the log at this time: reads all of it once, so that damage is found before anything is stored. A damaged
    /// last write is where it ends.
    ///
    /// # Errors
    /// Why it cannot be read; what is damaged is named with file and byte.
    pub fn open(dir: &Path, mesh: Option<String>, now: WallTime) -> Result<Self, SourceError> {
        // A running peer removes what has expired, also while it is read.
        for _ in 1..LOOKS_MAX {
            match Self::look(dir, mesh.clone(), now) {
                Err(SourceError::Removed { .. }) => {}
                looked => return looked,
            }
        }
        Self::look(dir, mesh, now)
    }

    /// Backs the log up as [`create`] does. Where events expire while they are read, the log is looked at again; what is stored of the rest is taken
    /// over.
    ///
    /// # Errors
    /// As [`create`], and where the log cannot be read.
    pub async fn back_up(
        &mut self,
        repository: &Repository,
        kind: BackupType,
        codec: BackupCompression,
        host: &dyn Host,
    ) -> Result<Created, Error> {
        for _ in 1..EXPIRED_MAX {
            match create(repository, self, kind, codec, host).await {
                Err(error) if error.is_expired() => {
                    self.renew(host.wall()).map_err(|error| Error::Source(error.into()))?;
                }
                created => return created,
            }
        }
        create(repository, self, kind, codec, host).await
    }

    fn look(dir: &Path, mesh: Option<String>, seen: WallTime) -> Result<Self, SourceError> {
        let source = recovery::Source::open(dir)?;
        let span =
            |chain: Chain| Span { begins: chain.origin().next(), first: Lsn::ZERO.next(), last: Lsn::ZERO, bytes: 0 };
        let cut = Cut {
            node: source.node(),
            mesh,
            seen,
            timeline: 0,
            store: source.store(),
            main: span(Chain::Main),
            events: span(Chain::Events),
        };
        let (begins, index, ends) = (Beginning::default(), BTreeMap::new(), Default::default());
        let mut directory = Self { dir: dir.to_owned(), source, begins, index, ends, held_back: false, cut };
        directory.advance()?;
        Ok(directory)
    }

    /// As it was seen last.
    #[must_use]
    pub const fn known(&self) -> &Cut {
        &self.cut
    }

    /// Looks again: reads what came since, and no more than the last file of each chain of what was known. If the log is not
    /// the one that it was, all of it is read anew.
    ///
    /// # Errors
    /// As [`Self::open`]; then the look before still stands.
    pub fn renew(&mut self, seen: WallTime) -> Result<Grown, SourceError> {
        let source = recovery::Source::open(&self.dir)?;
        let same = (source.node(), source.store()) == (self.cut.node, self.cut.store);
        if same && !self.held_back && source.segments() == self.source.segments() {
            self.cut.seen = seen;
            return Ok(Grown::default());
        }
        if same {
            let mut next = Self {
                dir: self.dir.clone(),
                source,
                begins: self.begins.clone(),
                index: self.index.clone(),
                ends: self.ends.clone(),
                held_back: false,
                cut: Cut { seen, ..self.cut.clone() },
            };
            match next.advance() {
                Ok(Some(grown)) => {
                    *self = next;
                    return Ok(grown);
                }
                // It is not what it was, or was trimmed meanwhile.
                Ok(None) | Err(SourceError::Removed { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        *self = Self::open(&self.dir, self.cut.mesh.clone(), seen)?;
        Ok(Grown { records: self.cut.main.last.value() + self.cut.events.count(), bytes: 0 })
    }

    /// Reads on from the ends that are known; none if the log does not say any more what it said there.
    fn advance(&mut self) -> Result<Option<Grown>, SourceError> {
        // What expires while it is backed up is read to its end.
        self.source.hold_events();
        let mut grown = Grown::default();
        let mut last = None;
        let mut known = self.ends[0].segment.is_none();
        for frame in self.frames_from(Chain::Main) {
            let frame = frame?;
            if frame.lsn <= self.ends[0].lsn {
                known |= frame.lsn == self.ends[0].lsn && End::of(&frame) == self.ends[0];
                continue;
            }
            if !known {
                return Ok(None);
            }
            self.index.entry(frame.position.segment).or_insert(frame.lsn);
            grown.count(&frame);
            match self.source.own(&frame)? {
                Own::Trim(trim) => self.begins.trim(trim),
                Own::Restored(restored) => self.cut.timeline = restored.timeline,
                _ => {}
            }
            last = Some(frame);
        }
        if !known {
            return Ok(None);
        }
        let main = last.as_ref().map_or_else(|| self.ends[0].clone(), End::of);
        if main.segment.is_none() {
            // A node writes to it before all else.
            return Err(self.source.lost_main());
        }
        let Some(events) = self.advance_events(&main, &mut grown)? else { return Ok(None) };
        self.ends = [main, events];
        let first = self.begins.segment;
        self.index.retain(|segment, _| segment.chain() == Chain::Main || *segment >= first);
        let last = self.ends[1].lsn.max(Lsn::new(self.begins.lsn.value().saturating_sub(1)));
        self.cut.main = self.span(Chain::Main, Chain::Main.origin().next(), Lsn::ZERO.next(), self.ends[0].lsn);
        self.cut.events = self.span(Chain::Events, first, self.begins.lsn, last);
        Ok(Some(grown))
    }

    /// The events up to the main chain's end, and as far as they go if nothing of the main chain can stand before them.
    fn advance_events(&mut self, main: &End, grown: &mut Grown) -> Result<Option<End>, SourceError> {
        let from = self.ends[1].clone();
        let (mut before, mut newest, mut ahead) = (None, None, None);
        let mut known = !self.knows_events();
        let mut more = Grown::default();
        for frame in self.frames_from(Chain::Events) {
            let frame = frame?;
            if frame.lsn <= from.lsn {
                known |= frame.lsn == from.lsn && End::of(&frame) == from;
                continue;
            }
            if !known {
                return Ok(None);
            }
            self.index.entry(frame.position.segment).or_insert(frame.lsn);
            more.count(&frame);
            if frame.hlc <= main.at {
                before = Some(frame.clone());
                *grown = grown.with(std::mem::take(&mut more));
            } else {
                ahead = ahead.or(Some(frame.hlc.wall));
            }
            newest = Some(frame);
        }
        if !known {
            return Ok(None);
        }
        // A running peer may have written to the main chain meanwhile, and what it wrote there may be about these events.
        self.held_back = ahead.is_some() && !main.is_still(&self.dir, &self.index)?;
        match ahead.filter(|_| self.held_back) {
            // What this look does not hold it does not claim to have seen.
            Some(ahead) => self.cut.seen = self.cut.seen.min(ahead),
            None => (before, *grown) = (newest, grown.with(more)),
        }
        Ok(Some(before.as_ref().map_or(from, End::of)))
    }

    /// Whether what is known of the events has not expired.
    fn knows_events(&self) -> bool {
        self.ends[1].segment.is_some_and(|segment| segment >= self.begins.segment)
    }

    /// A chain from the segment on with which what is known of it ends.
    fn frames_from(&self, chain: Chain) -> Frames {
        let all = Lsn::new(u64::MAX);
        let end = &self.ends[usize::from(chain == Chain::Events)];
        let known = end.segment.and_then(|segment| Some((segment, *self.index.get(&segment)?)));
        match known {
            Some((segment, first)) if chain == Chain::Main || self.knows_events() => {
                self.source.from(segment, first, all)
            }
            _ if chain == Chain::Main => self.source.main(None),
            _ => self.source.events(&self.begins, None),
        }
    }

    fn span(&self, chain: Chain, begins: SegmentId, first: Lsn, last: Lsn) -> Span {
        let mine = self.source.segments().iter().filter(|(segment, _)| segment.chain() == chain);
        Span { begins, first, last, bytes: mine.map(|(_, bytes)| bytes).sum() }
    }

    fn chain(&self, chain: Chain, from: Lsn) -> Frames {
        let last = self.cut.span(chain).last;
        let mut segments = self.index.iter().filter(|(segment, _)| segment.chain() == chain);
        match segments.rfind(|(_, first)| **first <= from) {
            Some((segment, first)) => self.source.from(*segment, *first, last),
            None if chain == Chain::Main => self.source.main(Some(last)),
            None => self.source.events(&self.begins, Some(last)),
        }
    }
}

impl Grown {
    fn count(&mut self, frame: &Frame) {
        self.records += 1;
        self.bytes += (batch::RECORD + frame.payload.len()) as u64;
    }

    fn with(self, more: Self) -> Self {
        Self { records: self.records + more.records, bytes: self.bytes + more.bytes }
    }
}

/// The last record of a chain, when it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct End {
    segment: Option<SegmentId>,
    lsn: Lsn,
    at: Hlc,
    /// What it says, so that it is known again.
    sum: Option<blake3::Hash>,
}

impl End {
    fn of(frame: &Frame) -> Self {
        let sum = Some(blake3::hash(&marked(frame)));
        Self { segment: Some(frame.position.segment), lsn: frame.lsn, at: frame.hlc, sum }
    }

    /// Whether it is the last one still: writes reach the disk in the order of their stamps over both chains, so then there is none
    /// before any event that is there.
    fn is_still(&self, dir: &Path, index: &BTreeMap<SegmentId, Lsn>) -> Result<bool, SourceError> {
        let source = recovery::Source::open(dir)?;
        let newest = source.segments().keys().rfind(|segment| segment.chain() == Chain::Main).copied();
        let Some((segment, first)) = self.segment.and_then(|segment| Some((segment, *index.get(&segment)?))) else {
            return Ok(newest.is_none());
        };
        if newest != Some(segment) {
            return Ok(false);
        }
        let last = source.from(segment, first, Lsn::new(u64::MAX)).map_while(Result::ok).last();
        Ok(last.is_some_and(|frame| frame.lsn == self.lsn))
    }
}

impl Source for Directory {
    fn cut(&self) -> Result<Cut, Cause> {
        Ok(self.cut.clone())
    }

    fn frames(&self, chain: Chain, from: Lsn) -> Box<dyn Iterator<Item = Result<Frame, Cause>> + Send + '_> {
        let frames = self.chain(chain, from).map(|frame| frame.map_err(Cause::from));
        Box::new(frames.filter(move |frame| frame.as_ref().map_or(true, |frame| frame.lsn >= from)))
    }
}

/// What a restore did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Done {
    /// What was read from the repository.
    pub read: Read,
    /// What was written.
    pub written: Written,
}

/// Makes a data directory of what was found. It appears whole, when every object has been read and was good, or not at
/// all.
///
/// # Errors
/// What is damaged, or cannot be written.
pub async fn restore_into(
    repository: &Repository,
    catalogue: &Catalogue,
    found: &Found,
    why: String,
    into: &Path,
    host: &dyn Host,
) -> Result<Done, Error> {
    let whose = (catalogue.node, image::Line::Kept(None));
    restore_as(repository, catalogue, found, whose, why, into, host).await
}

/// As [`restore_into`], for this node and as a log of this timeline.
///
/// # Errors
/// As [`restore_into`].
pub async fn restore_as(
    repository: &Repository,
    catalogue: &Catalogue,
    found: &Found,
    (node, line): (NodeId, image::Line),
    why: String,
    into: &Path,
    host: &dyn Host,
) -> Result<Done, Error> {
    let plan = Plan::of(repository, catalogue, found.backup)?;
    let mut reading = plan.read(found.upto, None).await?;
    let from = format!("{}, backup {}", repository.at(), found.backup);
    let making = image::Plan {
        node,
        wal: wal::Config::default(),
        upto: found.upto,
        later: found.later.clone(),
        restored: Restored { from, lsn: found.upto.main, at: found.at, timeline: 0, fork: 0, why },
        line,
        now: host.wall(),
    };
    let (send, receive) = mpsc::channel(IN_FLIGHT_MAX);
    let into = into.to_owned();
    #[cfg(feature = "planted-bugs")]
    let carried = crate::probe::carried();
    let written = spawn_blocking(move || {
        #[cfg(feature = "planted-bugs")]
        let _on = crate::probe::Switched::again(carried);
        let feed = Rc::new(RefCell::new(Feed { receive, ready: None }));
        let of = |chain: Chain| {
            let feed = Rc::clone(&feed);
            std::iter::from_fn(move || feed.borrow_mut().next(chain))
        };
        image::write(&into, &making, of(Chain::Main), of(Chain::Events))
    });
    loop {
        let next = reading.next(host).await.transpose();
        let Some(next) = next else { break };
        let failed = next.is_err();
        // Whoever writes has given up if it does not listen, and says why.
        if send.send(next).await.is_err() || failed {
            break;
        }
    }
    drop(send);
    match written.await {
        Ok(Ok(written)) => Ok(Done { read: reading.restored(), written }),
        Ok(Err(ImageError::Source(cause))) => Err(match cause.downcast::<Error>() {
            Ok(error) => *error,
            Err(cause) => Error::Source(cause),
        }),
        Ok(Err(error)) => Err(Error::Sink(error.into())),
        Err(error) => Err(Error::Sink(error.into())),
    }
}

/// Records as they come, for whoever waits for them on a thread of its own: first all of the main chain.
struct Feed {
    receive: mpsc::Receiver<Result<(Chain, Vec<Frame>), Error>>,
    ready: Option<(Chain, std::vec::IntoIter<Frame>)>,
}

impl Feed {
    fn next(&mut self, chain: Chain) -> Option<Result<Frame, Error>> {
        loop {
            match &mut self.ready {
                Some((ready, _)) if *ready != chain => return None,
                Some((_, frames)) => match frames.next() {
                    Some(frame) => return Some(Ok(frame)),
                    None => self.ready = None,
                },
                None => match self.receive.blocking_recv()? {
                    Ok((chain, frames)) => self.ready = Some((chain, frames.into_iter())),
                    Err(error) => return Some(Err(error)),
                },
            }
        }
    }
}

/// Restores a backup into a scratch directory, which must be empty or not there, and compares the log that came out
/// with what the repository holds, record by record.
///
/// # Errors
/// What is damaged, what cannot be written, and [`Error::Damaged`] if the records differ.
pub async fn trial(
    repository: &Repository,
    catalogue: &Catalogue,
    id: BackupId,
    scratch: &Path,
    host: &dyn Host,
) -> Result<Done, Error> {
    let plan = Plan::of(repository, catalogue, id)?;
    let found = Found::all(&plan, plan.backup().main.stamp);
    let done = restore_into(repository, catalogue, &found, "a trial".into(), scratch, host).await?;
    let restored = Directory::open(scratch, None, host.wall()).map_err(|error| Error::Source(error.into()))?;
    let mut logs = Chain::ALL.map(|chain| restored.frames(chain, plan.first(chain)));
    let mut reading = plan.read(plan.all(), None).await?;
    while let Some((chain, frames)) = reading.next(host).await? {
        for frame in frames {
            let there = logs[usize::from(chain == Chain::Events)].next().transpose().map_err(Error::Source)?;
            let same = there.as_ref().is_some_and(|there| {
                (there.lsn, there.kind, there.hlc, &there.payload) == (frame.lsn, frame.kind, frame.hlc, &frame.payload)
            });
            if !same {
                let name = super::repository::manifest_name(plan.backup().node, id);
                return Err(Error::damaged(&name, format!("record {} of {chain:?} came out differently", frame.lsn)));
            }
        }
    }
    Ok(done)
}
