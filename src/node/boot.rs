//! From a directory of log segments to a node that may speak.
//!
//! [`Boot`] reads the log through the same effects as the node, in this order: list the segments, read each, write down
//! that a new life begins, shorten a segment whose last write is damaged. Only when that record is durable is there a
//! [`Node`], so no two lives share a boot number. A log that was cut, or that is new, also gets a new actor: what the lost
//! bytes said may live on elsewhere under the old one. The actor is durable before the damage goes away: a crash in between
//! must not leave a log that looks whole and goes on as the old actor.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;

use super::edge::{Effect, Event, Input, Io, IoOutcome};
use super::hosted::Wait;
use super::record::Own;
use super::shared::{Rngs, Shared};
use super::{Node, Setup};
use crate::documents::Documents;
use crate::membership::{Membership, MetaError};
use crate::overlay::Overlay;
use crate::replication::{self, Replication};
use crate::types::{Actor, Boot as BootNumber, DiskFault, IoId, Mint, Now, PersistId, Position, SegmentId};
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
    Reading { rest: Vec<(SegmentId, u64)> },
    Beginning { left: usize },
    Cutting,
    Begun,
}

/// A node that is not one yet.
pub struct Boot {
    setup: Setup,
    rngs: Rngs,
    stage: Stage,
    effects: Vec<Effect>,
    next_io: IoId,
    scanner: Option<wal::Scanner>,
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
    boot: Option<BootNumber>,
    actor: Option<Actor>,
    entries: VecDeque<(replication::Record, Position)>,
    segments: usize,
    records: u64,
    end: Option<wal::End>,
    cut: Option<wal::Cut>,
    shared: Option<Shared>,
}

impl Boot {
    /// Begins.
    #[must_use]
    pub fn start(setup: Setup) -> Self {
        let next_io = IoId::ZERO.next();
        Self {
            rngs: Rngs::fork(&setup.seed),
            scanner: Some(wal::Scanner::new(setup.identity.node)),
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
        match (std::mem::replace(&mut self.stage, Stage::Listing), result?) {
            (Stage::Listing, IoOutcome::Listed(mut segments)) => {
                segments.reverse();
                self.read_next(now, segments)
            }
            (Stage::Reading { mut rest }, IoOutcome::Read(bytes)) => {
                let (segment, _) = rest.pop().expect("a read is in flight for the last of the rest");
                self.on_segment(segment, &bytes)?;
                self.read_next(now, rest)
            }
            (Stage::Cutting, IoOutcome::Truncated) => {
                self.stage = Stage::Begun;
                Ok(())
            }
            (stage, outcome) => unreachable!("the host answered {outcome:?} while {stage:?}"),
        }
    }

    /// Reads the last of `rest`, or ends the scan.
    fn read_next(&mut self, now: Now, rest: Vec<(SegmentId, u64)>) -> Result<(), BootError> {
        if let Some((segment, len)) = rest.last().copied() {
            self.ask(Io::Read { segment, offset: 0, len });
            self.stage = Stage::Reading { rest };
            return Ok(());
        }
        let wal::Scanned { end, cut } = self.scanner.take().expect("the scan ends once").finish();
        (self.found.end, self.found.cut) = (Some(end), cut);
        self.begin(now);
        Ok(())
    }

    fn ask(&mut self, op: Io) {
        self.next_io = self.next_io.next();
        self.effects.push(Effect::Io { id: self.next_io, op });
    }

    fn on_segment(&mut self, segment: SegmentId, bytes: &Bytes) -> Result<(), BootError> {
        self.found.segments += 1;
        let scanner = self.scanner.as_mut().expect("the scan has not ended");
        for frame in scanner.segment(segment, bytes)? {
            let refuse = |why: String| BootError::Record { position: frame.position, why };
            let own = Own::decode(frame.kind, &frame.payload).map_err(refuse)?;
            self.on_record(frame.position, own);
            self.found.records += 1;
        }
        Ok(())
    }

    fn on_record(&mut self, position: Position, own: Own) {
        match own {
            Own::Booted { boot } => self.found.boot = Some(boot),
            Own::Minted { actor } => self.found.actor = Some(actor),
            Own::Entry(record) => self.found.entries.push_back((record, position)),
            Own::Branch(branch) => branch.replay(&mut self.found.entries),
        }
    }

    /// Writes down that a new life begins.
    fn begin(&mut self, now: Now) {
        let end = self.found.end.take().expect("the scan has ended");
        let log = wal::Writer::new(self.setup.config.wal.clone(), end, self.rngs.node.bits());
        let mut shared = Shared::new(self.rngs.clone(), log, self.next_io);
        if self.found.actor.is_none() || self.found.cut.is_some() {
            let actor = Actor { node: self.setup.identity.node, mint: Mint::new(shared.rngs.node.bits()) };
            self.found.actor = Some(actor);
            shared.append(now, &Own::Minted { actor }, Wait::Node);
        }
        // A store that was wiped forgot its boots, but its neighbours did not: the wall clock puts it above them.
        let boot = self.found.boot.map_or_else(|| BootNumber::new(now.wall.as_secs()), BootNumber::next);
        // What was cut may be the number of a life that spoke; there is at most one, since each begins with a sync.
        let boot = if self.found.cut.is_some() { boot.next() } else { boot };
        self.found.boot = Some(boot);
        shared.append(now, &Own::Booted { boot }, Wait::Node);
        let left = shared.effects.len();
        self.effects.extend(shared.effects.drain(..));
        self.found.shared = Some(shared);
        self.stage = Stage::Beginning { left };
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
        let Some((segment, len)) = self.found.cut.as_ref().and_then(wal::Cut::truncation) else {
            return self.ready(now);
        };
        self.ask(Io::Truncate { segment, len });
        self.stage = Stage::Cutting;
        Progress::Booting(self)
    }

    fn ready(self: Box<Self>, now: Now) -> Progress {
        match self.into_node(now) {
            Ok((node, report)) => Progress::Ready(Box::new(node), report),
            Err(error) => Progress::Refused(error),
        }
    }

    fn into_node(self: Box<Self>, now: Now) -> Result<(Node, BootReport), BootError> {
        let Self { setup, found, .. } = *self;
        let (Some(boot), Some(actor), Some(shared)) = (found.boot, found.actor, found.shared) else {
            unreachable!("begin has set them all");
        };
        let report = BootReport {
            boot,
            actor,
            first: found.records == 0,
            segments: found.segments,
            records: found.records,
            cut: found.cut,
        };
        let me = setup.identity.node;
        let mut replication = Replication::new(actor, setup.config.replication);
        let mut documents = Documents::new(actor, setup.config.documents);
        // Popped one by one, so that bodies are held once.
        let mut entries = found.entries;
        while let Some((record, position)) = entries.pop_front() {
            let refuse = |why: replication::RestoreError| BootError::Record { position, why: why.to_string() };
            replication.restore(&record, position).map_err(refuse)?;
            documents.restore(record.log, record.seq, record.body);
        }
        let mut node = Node {
            identity: setup.identity,
            boot,
            actor,
            meta: setup.meta.clone(),
            leaving: false,
            members_changed: true,
            read_only: None,
            membership: Membership::new(me, boot, setup.meta, setup.config.membership)?,
            overlay: Overlay::new(me, setup.config.policy, setup.config.overlay),
            replication,
            documents,
            shared,
        };
        if let Some(cut) = &report.cut {
            node.shared.effects.push_back(Effect::Notify(Event::Minted { actor, why: cut.to_string().into() }));
        }
        node.begin(now);
        Ok((node, report))
    }
}

impl Node {
    fn begin(&mut self, now: Now) {
        self.shared.step(now, |cx| self.membership.start(cx));
        self.shared.step(now, |cx| self.replication.start(cx));
        self.shared.step(now, |cx| self.documents.start(cx));
        self.route(now);
    }
}
