//! Data directories at both ends: a log that is backed up, and one that is made from a backup.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::catalogue::Catalogue;
use super::error::{Cause, Error};
use super::host::Host;
use super::id::BackupId;
use super::repository::Repository;
use super::restore::{Plan, Restored as Read};
use super::source::{Cut, Source, Span};
use crate::node::{Own, Point, Restored};
use crate::recovery::image::{self, ImageError, Written};
use crate::recovery::target::{Bound, Mark, Restorable, Target, Unreachable};
use crate::recovery::{self, Beginning, Frames, SourceError, Upto};
use crate::replication::Trim;
use crate::types::{Chain, Hlc, Lsn, NodeId, SegmentId, WallTime};
use crate::wal::{self, Frame};

/// Batches that are on their way from the repository to the disk.
const IN_FLIGHT_MAX: usize = 2;

/// How often a log is looked at anew of which something was removed meanwhile.
const LOOKS_MAX: u32 = 4;

/// The log in a data directory. Its peer may be running: what it writes after the look is not in the backup.
#[derive(Debug)]
pub struct Directory {
    source: recovery::Source,
    begins: Beginning,
    /// The first record of each segment.
    index: BTreeMap<SegmentId, Lsn>,
    cut: Cut,
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

    fn look(dir: &Path, mesh: Option<String>, seen: WallTime) -> Result<Self, SourceError> {
        let source = recovery::Source::open(dir)?;
        let (mut begins, mut index, mut timeline) = (Beginning::default(), BTreeMap::new(), 0);
        let mut end = End::default();
        for frame in source.main(None) {
            let frame = frame?;
            index.entry(frame.position.segment).or_insert(frame.lsn);
            end = End { segment: Some(frame.position.segment), lsn: frame.lsn, at: frame.hlc };
            match source.own(&frame)? {
                Own::Trim(trim) => begins.trim(trim),
                Own::Restored(restored) => timeline = restored.timeline,
                _ => {}
            }
        }
        if end.segment.is_none() {
            // A node writes to it before all else.
            return Err(source.lost_main());
        }
        // Up to the main chain's end, and as far as they go.
        let mut before = Lsn::new(begins.lsn.value().saturating_sub(1));
        let (mut events, mut newest) = (before, Hlc::default());
        for frame in source.events(&begins, None) {
            let frame = frame?;
            index.entry(frame.position.segment).or_insert(frame.lsn);
            (events, newest) = (frame.lsn, frame.hlc);
            if frame.hlc <= end.at {
                before = frame.lsn;
            }
        }
        // A running peer may have written to the main chain meanwhile, and what it wrote there may be about these events.
        if newest > end.at && !end.is_still(dir, &index)? {
            events = before;
        }
        let main = end.lsn;
        let span = |chain: Chain, begins, first, last| {
            let bytes =
                source.segments().iter().filter(|(segment, _)| segment.chain() == chain).map(|(_, bytes)| bytes).sum();
            Span { begins, first, last, bytes }
        };
        let cut = Cut {
            node: source.node(),
            mesh,
            seen,
            timeline,
            store: source.store(),
            main: span(Chain::Main, Chain::Main.origin().next(), Lsn::ZERO.next(), main),
            events: span(Chain::Events, begins.segment, begins.lsn, events),
        };
        Ok(Self { source, begins, index, cut })
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

/// The last record of the main chain, when it was read.
#[derive(Default)]
struct End {
    segment: Option<SegmentId>,
    lsn: Lsn,
    at: Hlc,
}

impl End {
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

/// What is restored, and how it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The backup that it is read from, with what it continues.
    pub backup: BackupId,
    /// How many backups that is.
    pub links: usize,
    /// Up to where both chains are taken.
    pub upto: Upto,
    /// When the last record of the main chain became part of the log.
    pub at: Hlc,
    #[serde(skip)]
    later: Vec<Trim>,
}

/// What a restore did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Done {
    /// What was read from the repository.
    pub read: Read,
    /// What was written.
    pub written: Written,
}

/// What the main chain of a backup says that recovery must know.
#[derive(Default)]
struct Told {
    oldest: Option<Mark>,
    newest: Option<Mark>,
    points: Vec<Point>,
    trims: Vec<(Lsn, Trim)>,
}

/// Finds the moment in the newest backup, or in the one that is named.
///
/// # Errors
/// [`Error::Target`] with what is restorable, if the moment cannot be had; what is damaged on the way there.
pub async fn find(
    repository: &Repository,
    catalogue: &mut Catalogue,
    target: &Target,
    exclusive: bool,
    host: &dyn Host,
) -> Result<Found, Error> {
    let named = match target {
        Target::Backup(id) => Some(id.parse::<BackupId>().map_err(|_| Error::NoBackup { wanted: id.clone() })?),
        _ => None,
    };
    let id = match named {
        Some(id) => id,
        None => {
            let newest = catalogue.newest_or_fault(host.wall())?;
            // Of a log that was replaced or put back another one was there at that time: the first backup that has seen it then.
            let at = match target {
                Target::Time(at) => Some(*at),
                Target::Ago(ago) => Some(before(host.wall(), *ago)),
                _ => None,
            };
            at.and_then(|at| catalogue.first_seen_since(at, host.wall())).unwrap_or(newest)
        }
    };
    let plan = Plan::of(repository, catalogue, id)?;
    if named.is_some() || (*target == Target::Latest && !exclusive) {
        return Ok(found(&plan, plan.all(), plan.backup().main.stamp, Vec::new()));
    }
    let told = told(&plan, host).await?;
    let ids = plan.links().iter().map(|link| format!("backup:{}", link.id)).collect();
    let known_until = plan.backup().started;
    let Told { oldest, newest, points, trims } = told;
    let restorable = Restorable { oldest, newest, known_until, points, ids };
    let bound = restorable.bound(target, exclusive, host.wall())?;
    let (at, inclusive) = match bound {
        Bound::Everything => return Ok(found(&plan, plan.all(), plan.backup().main.stamp, Vec::new())),
        Bound::Stamp { at, inclusive } => (at, inclusive),
        Bound::Lsn { lsn, inclusive } => {
            let first = first(&plan, Chain::Main, host, |frame| frame.lsn == lsn).await?;
            (first.map_or_else(Hlc::default, |(_, at, _)| at), inclusive)
        }
    };
    let beyond = |frame: &Frame| frame.hlc > at || (!inclusive && frame.hlc == at);
    let mut upto = plan.all();
    let main = first(&plan, Chain::Main, host, &beyond).await?;
    let before =
        |found: &Option<(Lsn, Hlc, Hlc)>, all: Lsn| found.as_ref().map_or(all, |(lsn, ..)| Lsn::new(lsn.value() - 1));
    upto.main = before(&main, upto.main);
    if upto.main == Lsn::ZERO {
        return Err(restorable.refuse(Unreachable::BeforeOldest { target: target.to_string() }).into());
    }
    // The first link that reaches so far: events that had expired when later ones were made are there still.
    let link =
        plan.links().iter().find(|link| link.main.last >= upto.main && (main.is_none() || link.started >= at.wall));
    let plan = Plan::of(repository, catalogue, link.map_or_else(|| plan.backup().id, |link| link.id))?;
    let events = first(&plan, Chain::Events, host, &beyond).await?;
    upto.events = before(&events, plan.all().events);
    let (first, last) = (plan.first(Chain::Events).value(), plan.backup().main.last);
    upto.events = upto.events.max(Lsn::new(first - 1));
    let later = trims.into_iter().filter(|(lsn, _)| *lsn > upto.main && *lsn <= last).map(|(_, trim)| trim).collect();
    let at = main.map_or_else(|| plan.backup().main.stamp, |(_, _, before)| before);
    Ok(found(&plan, upto, at, later))
}

fn found(plan: &Plan<'_>, upto: Upto, at: Hlc, later: Vec<Trim>) -> Found {
    Found { backup: plan.backup().id, links: plan.links().len(), upto, at, later }
}

/// So long before.
fn before(now: WallTime, ago: std::time::Duration) -> WallTime {
    WallTime::from_micros(now.as_micros().saturating_sub(u64::try_from(ago.as_micros()).unwrap_or(u64::MAX)))
}

/// Reads the main chain for points, trims and its ends.
async fn told(plan: &Plan<'_>, host: &dyn Host) -> Result<Told, Error> {
    let mut told = Told::default();
    let only_main = Upto { events: Lsn::new(plan.first(Chain::Events).value() - 1), ..plan.all() };
    let mut reading = plan.read(only_main, None).await?;
    while let Some((_, frames)) = reading.next(host).await? {
        for frame in frames {
            let mark = Mark { lsn: frame.lsn, at: frame.hlc };
            told.oldest = told.oldest.or(Some(mark));
            told.newest = Some(mark);
            match Own::decode(frame.kind, &frame.payload).map_err(|why| Error::Source(why.into()))? {
                Own::Point { name } => told.points.push(Point { name, lsn: frame.lsn, at: frame.hlc }),
                Own::Trim(trim) => told.trims.push((frame.lsn, trim)),
                _ => {}
            }
        }
    }
    Ok(told)
}

/// The first record of a chain that is so: its number, its stamp and the stamp of the one before.
async fn first(
    plan: &Plan<'_>,
    chain: Chain,
    host: &dyn Host,
    is_so: impl Fn(&Frame) -> bool,
) -> Result<Option<(Lsn, Hlc, Hlc)>, Error> {
    let nothing = |chain| Lsn::new(plan.first(chain).value() - 1);
    let upto = match chain {
        Chain::Main => Upto { events: nothing(Chain::Events), ..plan.all() },
        Chain::Events => Upto { main: nothing(Chain::Main), ..plan.all() },
    };
    let (mut reading, mut before) = (plan.read(upto, None).await?, Hlc::default());
    while let Some((_, frames)) = reading.next(host).await? {
        for frame in frames {
            if is_so(&frame) {
                return Ok(Some((frame.lsn, frame.hlc, before)));
            }
            before = frame.hlc;
        }
    }
    Ok(None)
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
    let written = spawn_blocking(move || {
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
    let found = found(&plan, plan.all(), plan.backup().main.stamp, Vec::new());
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
