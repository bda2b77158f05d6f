//! From a directory of log segments to a node that may speak.
//!
//! [`Boot`] reads the log through the same effects as the node, in this order: list the files, read the newest snapshot that is
//! good (`opening`), read each segment of the main chain, or with a snapshot those from its record on and what it lacks, then
//! each segment of the events' chain that still counts, write down that a new life begins, shorten segments whose last
//! write is damaged, remove those that do not count any more. Only when that record is durable is there a
//! [`Node`], so no two lives share a boot number. A log that was cut, that was restored, or that is new, also gets a new actor:
//! what the lost bytes said may live on elsewhere under the old one. The actor is durable before the damage goes away: a crash in between
//! must not leave a log that looks whole and goes on as the old actor.

mod opening;

use std::fmt;

use bytes::Bytes;

use super::edge::{Effect, Event, Input, Io, IoOutcome};
use super::hosted::Wait;
use super::points::Points;
use super::record::Own;
use super::replay::{Main, Refused, Replay};
use super::shared::{Logs, Rngs, Shared};
use super::snapshot::{SnapshotFile, Untaken};
use super::{Node, Setup, decide, voters};
use crate::audit::Audit;
use crate::membership::{Membership, MetaError};
use crate::overlay::Overlay;
use crate::probe::{planted, sometimes};
use crate::roles::Roles;
use crate::types::{
    Actor, Boot as BootNumber, Chain, DiskFault, HlcClock, IoId, Lsn, Mint, Now, PersistId, Position, SegmentId,
};
use crate::wal;

/// What the boot found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootReport {
    /// The number of this life.
    pub boot: BootNumber,
    /// As whom the node writes.
    pub actor: Actor,
    /// Whether the log was empty.
    pub first: bool,
    /// Segments read.
    pub segments: usize,
    /// Records read.
    pub records: u64,
    /// The snapshot that the start went on from, if there was a good one: what stands before it was not read.
    pub snapshot: Option<Box<SnapshotFile>>,
    /// Segments of the main chain that were not read for that, in order, with their lengths in bytes.
    pub unread: Vec<(SegmentId, u64)>,
    /// Snapshots that were not taken, the newest first, and why.
    pub untaken: Vec<Untaken>,
    /// The damaged last write that was cut off, if there was one. Nobody can tell it from a torn one, so it is reported.
    pub cut: Option<wal::Cut>,
}

/// Why there is no node. The log is unchanged, unless a damaged last write was cut before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// The log is damaged, or not ours.
    #[error("the log cannot be used: {0}")]
    Log(#[from] wal::Error),
    /// An intact record says what cannot be.
    #[error("the log cannot be used: segment {} at byte {}: {why}", position.segment, position.offset)]
    Record {
        /// Where it stands.
        position: Position,
        /// What is wrong.
        why: String,
    },
    /// There are events, and the chain that a node writes to before all else is empty.
    #[error("the log has no record in its main chain, which a node writes to before all else: its files are lost")]
    LostMain,
    /// What the node is to say of itself is too long.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// The disk failed.
    #[error("the log cannot be read or written: {0}")]
    Disk(#[from] DiskFault),
}

/// How far the boot has come.
#[derive(Debug)]
pub enum Progress {
    /// Drain its effects and go on answering them.
    Booting(Box<Boot>),
    /// There is a node; drain its effects.
    Ready(Box<Node>, BootReport),
    /// There is none.
    Refused(BootError),
}

#[derive(Debug)]
enum Stage {
    Listing,
    /// A snapshot is read.
    Opening(SegmentId),
    Reading {
        rest: Vec<(SegmentId, u64)>,
    },
    /// What a snapshot lacks is read; the segments come after it.
    Gathering {
        rest: Vec<(SegmentId, u64)>,
    },
    Beginning {
        left: usize,
    },
    Cutting {
        rest: Vec<(SegmentId, u64)>,
    },
    Begun,
}

/// A node that is not one yet.
pub struct Boot {
    setup: Setup,
    rngs: Rngs,
    stage: Stage,
    effects: Vec<Effect>,
    next_io: IoId,
    found: Found,
}

impl fmt::Debug for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Boot")
            .field("node", &self.setup.identity.node)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

/// What was read so far.
#[derive(Debug, Default)]
struct Found {
    files: opening::Files,
    main: Main,
    /// Of the main chain, while it is read.
    scanner: Option<wal::Scanner>,
    /// The main chain's end, and what of it was cut.
    scanned: Option<wal::Scanned>,
    /// Once the main chain is read.
    replay: Option<Replay>,
    boot: Option<BootNumber>,
    actor: Option<Actor>,
    /// Segments before the snapshot's record.
    unread: Vec<(SegmentId, u64)>,
    segments: usize,
    records: u64,
    cut: Option<wal::Cut>,
    /// What is to be shortened, or removed at 0, once it is written down who this node is.
    cuts: Vec<(SegmentId, u64)>,
    shared: Option<Shared>,
}

impl From<Refused> for BootError {
    fn from(Refused { position, why }: Refused) -> Self {
        Self::Record { position, why }
    }
}

impl Boot {
    /// Begins.
    #[must_use]
    pub fn start(setup: Setup) -> Self {
        let next_io = IoId::ZERO.next();
        Self {
            rngs: Rngs::fork(&setup.seed),
            setup,
            stage: Stage::Listing,
            effects: vec![Effect::Io { id: next_io, op: Io::List }],
            next_io,
            found: Found::default(),
        }
    }

    /// The next thing to do, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        (!self.effects.is_empty()).then(|| self.effects.remove(0))
    }

    /// Handles an answer. Inputs that answer nothing the boot asked for are ignored: it hears no peer and no client yet.
    #[must_use]
    pub fn handle(mut self: Box<Self>, now: Now, input: Input) -> Progress {
        let result = match input {
            Input::IoDone { id, result } if id == self.next_io => self.on_io(now, result),
            Input::Persisted { id, result } => return self.on_persisted(now, id, result),
            _ => Ok(()),
        };
        match result {
            Ok(()) if matches!(self.stage, Stage::Begun) => self.ready(now),
            Ok(()) => Progress::Booting(self),
            Err(error) => Progress::Refused(error),
        }
    }

    fn on_io(&mut self, now: Now, result: Result<IoOutcome, DiskFault>) -> Result<(), BootError> {
        match self.on_read(now, result) {
            Err(error) if self.found.shared.is_none() => self.without_snapshot(now, error),
            result => result,
        }
    }

    fn on_read(&mut self, now: Now, result: Result<IoOutcome, DiskFault>) -> Result<(), BootError> {
        let stage = std::mem::replace(&mut self.stage, Stage::Listing);
        if let Stage::Opening(number) = stage {
            return self.on_snapshot(now, number, result);
        }
        match (stage, result?) {
            (Stage::Listing, IoOutcome::Listed(files)) => {
                self.found.files = opening::Files::of(files);
                self.open_next(now)
            }
            (Stage::Gathering { rest }, IoOutcome::Read(bytes)) => {
                let store = self.found.scanned.as_ref().and_then(|main| main.end.store).unwrap_or_default();
                self.found.replay.as_mut().expect("the main chain was read").got(store, &bytes)?;
                self.read_next(now, rest)
            }
            (Stage::Reading { mut rest }, IoOutcome::Read(bytes)) => {
                let (segment, _) = rest.pop().expect("a read is in flight for the last of the rest");
                self.on_segment(segment, &bytes)?;
                self.read_next(now, rest)
            }
            (Stage::Cutting { rest }, IoOutcome::Truncated) => {
                self.cut_next(rest);
                Ok(())
            }
            (stage, outcome) => unreachable!("the host answered {outcome:?} while {stage:?}"),
        }
    }

    /// Reads the last of `rest`, or ends the scan. Segments come chain by chain.
    fn read_next(&mut self, now: Now, mut rest: Vec<(SegmentId, u64)>) -> Result<(), BootError> {
        if rest.last().is_none_or(|(segment, _)| segment.chain() == Chain::Events) {
            let none = self.found.scanner.as_ref().is_some_and(|main| main.next_lsn() == Lsn::ZERO.next());
            if none && rest.iter().any(|(_, len)| *len > 0) {
                return Err(BootError::LostMain);
            }
            self.end_main()?;
        }
        if let Some((segment, offset, len)) = self.found.replay.as_ref().and_then(Replay::wants) {
            self.ask(Io::Read { segment, offset, len });
            self.stage = Stage::Gathering { rest };
            return Ok(());
        }
        if let Some(replay) = &self.found.replay {
            while let Some((segment, _)) = rest.pop_if(|(segment, _)| *segment < replay.first) {
                self.found.cuts.push((segment, 0));
            }
        }
        let Some((segment, len)) = rest.last().copied() else { return self.begin(now) };
        self.ask(Io::Read { segment, offset: 0, len });
        self.stage = Stage::Reading { rest };
        Ok(())
    }

    fn ask(&mut self, op: Io) {
        self.next_io = self.next_io.next();
        self.effects.push(Effect::Io { id: self.next_io, op });
    }

    fn on_segment(&mut self, segment: SegmentId, bytes: &Bytes) -> Result<(), BootError> {
        self.found.segments += 1;
        let found = &mut self.found;
        if let Some(replay) = &mut found.replay {
            for frame in replay.scanner.segment(segment, bytes)? {
                replay.frame(&frame)?;
                found.records += 1;
            }
        } else {
            let scanner = found.scanner.as_mut().expect("it ends when the replay begins");
            for frame in scanner.segment(segment, bytes)? {
                if !found.main.is_behind(&frame)? {
                    continue;
                }
                let refuse = |why: String| BootError::Record { position: frame.position, why };
                let own = match Own::decode(frame.kind, &frame.payload).map_err(refuse) {
                    Err(_) if planted!("node/newer-record-passed-over") => continue,
                    own => own?,
                };
                found.main.record(&frame, own).map_err(refuse)?;
                found.records += 1;
            }
        }
        Ok(())
    }

    /// The main chain is read: who this node is, and where the other chain begins. Once.
    fn end_main(&mut self) -> Result<(), BootError> {
        let Some(scanner) = self.found.scanner.take() else { return Ok(()) };
        let scanned = scanner.finish();
        self.found.main.check()?;
        let actor = self.found.main.life.actor.filter(|_| scanned.cut.is_none());
        let actor = actor.unwrap_or_else(|| self.drawn());
        self.found.actor = Some(actor);
        self.found.replay = Some(self.found.main.replay(actor, &self.setup.config, scanned.end.store)?);
        self.found.scanned = Some(scanned);
        Ok(())
    }

    /// A new actor.
    fn drawn(&mut self) -> Actor {
        Actor { node: self.setup.identity.node, mint: Mint::new(self.rngs.node.bits()) }
    }

    /// Writes down that a new life begins.
    fn begin(&mut self, now: Now) -> Result<(), BootError> {
        let replay = self.found.replay.as_mut().expect("the main chain was read");
        replay.check()?;
        let events = std::mem::replace(&mut replay.scanner, wal::Scanner::new(self.setup.identity.node)).finish();
        let starts = std::mem::take(&mut replay.starts);
        let main = self.found.scanned.take().expect("the main chain was read");
        // Lost entries of streams may live on elsewhere under the old actor, as those of the main chain.
        if events.cut.is_some() && main.cut.is_none() {
            self.found.actor = Some(self.drawn());
        }
        let store = main.end.store.or(events.end.store).unwrap_or_else(|| self.rngs.node.bits());
        let writer = |end| wal::Writer::new(self.setup.config.wal.clone(), end, store);
        let clock = HlcClock::resume(main.end.last_hlc.max(events.end.last_hlc));
        let logs = Logs { main: writer(main.end), events: writer(events.end), starts, clock };
        let mut shared = Shared::new(
            self.rngs.clone(),
            logs,
            self.next_io,
            self.setup.config.replication.packing,
            self.found.main.life.clone(),
        );
        if planted!("node/cut-before-new-actor") {
            for (segment, len) in [&main.cut, &events.cut].into_iter().flatten().filter_map(wal::Cut::truncation) {
                self.effects.push(Effect::Io { id: IoId::ZERO, op: Io::Truncate { segment, len } });
            }
        }
        let actor = self.found.actor.expect("the main chain was read");
        if self.found.main.life.actor != Some(actor) {
            shared.append(now, &Own::Minted { actor }, Wait::Node);
        }
        if events.cut.is_some() {
            // The first record behind a cut makes it durable, in each chain.
            shared.append_to(Chain::Events, now, &Own::Minted { actor }, Wait::Node);
        }
        // A store that was wiped forgot its boots, but its neighbours did not: the wall clock puts it above them.
        let boot = self.found.main.life.boot.map_or_else(|| BootNumber::new(now.wall.as_secs()), BootNumber::next);
        let boot = if planted!("node/boot-not-raised") { self.found.main.life.boot.unwrap_or(boot) } else { boot };
        // What was cut may be the number of a life that spoke; there is at most one, since each begins with a sync.
        let boot = if main.cut.is_some() { boot.next() } else { boot };
        // A log that was put back forgot the boots that came after, but its neighbours did not.
        let boot = if self.found.main.life.unlived { boot.max(BootNumber::new(now.wall.as_secs())) } else { boot };
        self.found.boot = Some(boot);
        shared.append(now, &Own::Booted { boot }, Wait::Node);
        let left = shared.effects.len();
        self.effects.extend(shared.effects.drain(..));
        self.found.shared = Some(shared);
        let truncations = [&main.cut, &events.cut].map(|cut| cut.as_ref().and_then(wal::Cut::truncation));
        self.found.cuts.extend(truncations.into_iter().flatten());
        self.found.cut = main.cut.or(events.cut);
        sometimes!(self.found.cut.is_some(), "node/boots-from-a-damaged-end");
        self.stage = Stage::Beginning { left };
        Ok(())
    }

    fn on_persisted(mut self: Box<Self>, now: Now, id: PersistId, result: Result<(), DiskFault>) -> Progress {
        let (Stage::Beginning { left }, Some(shared)) = (&mut self.stage, &mut self.found.shared) else {
            return Progress::Booting(self);
        };
        shared.persisted(id, result.is_ok());
        if let Err(fault) = result {
            return Progress::Refused(fault.into());
        }
        *left -= 1;
        if *left > 0 {
            return Progress::Booting(self);
        }
        let cuts = std::mem::take(&mut self.found.cuts);
        self.cut_next(cuts);
        if matches!(self.stage, Stage::Begun) { self.ready(now) } else { Progress::Booting(self) }
    }

    fn cut_next(&mut self, mut rest: Vec<(SegmentId, u64)>) {
        self.stage = match rest.pop() {
            Some((segment, len)) => {
                self.ask(Io::Truncate { segment, len });
                Stage::Cutting { rest }
            }
            None => Stage::Begun,
        };
    }

    fn ready(self: Box<Self>, now: Now) -> Progress {
        match self.into_node(now) {
            Ok((node, report)) => Progress::Ready(Box::new(node), report),
            Err(error) => Progress::Refused(error),
        }
    }

    fn into_node(self: Box<Self>, now: Now) -> Result<(Node, BootReport), BootError> {
        let Self { setup, found, .. } = *self;
        let (Some(boot), Some(actor), Some(shared), Some(replay)) =
            (found.boot, found.actor, found.shared, found.replay)
        else {
            unreachable!("begin has set them all");
        };
        let first = found.records == 0 && found.files.base.is_none();
        let snapshots = found.files.snapshots(setup.config.snapshots.clone());
        let report = BootReport {
            boot,
            actor,
            first,
            segments: found.segments,
            records: found.records,
            snapshot: snapshots.start.clone().map(Box::new),
            unread: found.unread,
            untaken: snapshots.untaken.clone(),
            cut: found.cut,
        };
        let me = setup.identity.node;
        let Replay { mut replication, mut documents, events, consensus, .. } = replay;
        let founds = setup.founds;
        let mut roles = Roles::new(me, setup.config.roles);
        found.main.life.roles.records().for_each(|record| roles.restore(&record));
        replication.write_as(actor);
        documents.mint(actor);
        let mut node = Node {
            identity: setup.identity,
            boot,
            actor,
            meta: setup.meta.clone(),
            leaving: false,
            members_changed: true,
            replicas_changed: false,
            read_only: None,
            reopening: super::reopen::Reopening::new(setup.config.wal.segment_bytes),
            stall: super::stall::Stall::default(),
            restored: documents.view().restoring(),
            cut: report.cut.as_ref().map(ToString::to_string),
            put_back: found.main.life.restored,
            points: Points::of(found.main.life.points),
            policies: super::policies::PoliciesStatus::default(),
            remembered: found.main.life.policies,
            snapshots,
            membership: Membership::new(me, boot, setup.meta, setup.config.membership)?,
            overlay: Overlay::new(me, setup.config.policy, setup.config.overlay),
            replication,
            documents,
            events,
            acks: super::replicate::Acks::default(),
            audit: Audit::new(setup.config.audit),
            voters: voters::Voters::new(setup.config.voters, founds),
            consensus,
            deciding: decide::Deciding::default(),
            going: None,
            roles,
            serving: super::serving::Serving::default(),
            shared,
        };
        if let Some(cut) = &report.cut {
            node.shared.effects.push_back(Effect::Notify(Event::Minted { actor, why: cut.to_string().into() }));
        } else if found.main.life.unlived
            && let Some(restored) = &node.put_back
        {
            let why = format!("the log was restored from {} ({})", restored.from, restored.why).into();
            node.shared.effects.push_back(Effect::Notify(Event::Minted { actor, why }));
        }
        // What is torn was promised to nobody. Were that a reason to vote no more, one power cut amid writes would end the group.
        let lost_its_end = report.cut.as_ref().is_some_and(|cut| !cut.looks_torn);
        node.begin(now, lost_its_end);
        Ok((node, report))
    }
}

impl Node {
    fn begin(&mut self, now: Now, lost_its_end: bool) {
        self.shared.step(now, |cx| self.membership.start(cx));
        self.shared.step(now, |cx| self.replication.start(cx));
        self.shared.step(now, |cx| self.documents.start(cx));
        self.shared.step(now, |cx| self.events.start(cx));
        self.shared.step(now, |cx| self.audit.start(cx));
        self.go_by_policies();
        self.begin_consensus(now, lost_its_end);
        self.mind_policies(now);
        self.mind_wishes();
        self.serve(now, |machine, cx, sight| machine.start(cx, sight));
        self.begin_snapshots(now);
        self.route(now);
    }
}
