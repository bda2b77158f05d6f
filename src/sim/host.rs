//! One simulated machine: its clock, its disk, its process if one runs, and what the process has not got to yet.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::clock::{Clock, Rates};
use super::disk::Disk;
use super::plan::Fault;
use super::queue::EventId;
use crate::documents::{Engine, Limits};
use crate::node::{Boot, Input, IoOutcome, Node};
use crate::overlay::Policies;
use crate::types::{CommandId, DiskFault, IoId, NodeId};
use crate::wire;

/// What runs there.
#[derive(Debug)]
pub(super) enum Life {
    /// Nothing.
    Off,
    /// A process that reads its log.
    Booting(Box<Boot>),
    /// A node.
    Up(Box<Node>),
    /// The process gave up its log.
    Refused,
}

/// What a command was for.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    /// An edit of the plan, by its number, and how often it was tried before.
    Edit { number: usize, tries: u32 },
    /// An append of the plan, by its number.
    Append { number: usize },
    /// The next step of the replay, or which of its steps are there.
    Step,
    /// A page of the stream of this number.
    Stream { stream: u32 },
    /// The content of all documents, page by page.
    Content,
    /// What met.
    Met { look: crate::documents::Look },
    /// A pause of a replica, or its end.
    Hold,
    /// A proposal of the plan, by its number; or the last question, asked at this moment.
    Proposal { number: Option<usize>, at: u64 },
    /// A guest's own.
    Guest,
    /// Goodbye.
    Leave,
}

/// One machine.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) id: NodeId,
    pub(super) life: Life,
    /// Raised whenever a process begins or ends: what was meant for another process is dropped.
    pub(super) epoch: u32,
    /// Which item of the plan stopped it.
    pub(super) down_by: Option<usize>,
    /// Since when no process runs, in true time.
    pub(super) down_since: Option<u64>,
    /// The machine itself is dark: it does not even refuse.
    pub(super) dark: bool,
    /// It has said goodbye and is about to stop.
    pub(super) leaving: bool,
    pub(super) clock: Clock,
    pub(super) disk: Disk,
    /// The merge engine of the running process.
    pub(super) engine: Engine,
    pub(super) worker_free: u64,
    pub(super) inbox: VecDeque<(EventId, Input)>,
    pub(super) busy_until: u64,
    pub(super) resuming: bool,
    pub(super) wake_at: Option<u64>,
    /// When its guest wants to be woken.
    pub(super) guest_wakes: Option<u64>,
    pub(super) paused_since: Option<u64>,
    pub(super) pauses: u32,
    /// What is wrong with it, by the item of the plan: what lasts, and is no stop and no trouble of links.
    pub(super) wrongs: Vec<(usize, Fault)>,
    /// How its clocks run when nothing is wrong with them.
    pub(super) rates: Rates,
    /// What waits for a stall of its disk to end: whether a sync does, and operations that are done else.
    pub(super) stalled_sync: bool,
    pub(super) stalled_io: Vec<(IoId, Result<IoOutcome, DiskFault>)>,
    /// A fault changed what its disk holds, and the disk was not replaced since.
    pub(super) damaged: bool,
    /// At which of its addresses it listens.
    pub(super) address: u32,
    /// How often the machine was replaced by one of another identity.
    pub(super) identity: u32,
    /// The next version is installed, and besides how many of a million frames that one sends another that only its like knows.
    pub(super) is_next: bool,
    pub(super) next_frames: u64,
    /// Its engine loses one of the next changes, as this item of the plan says.
    pub(super) loses_change: Option<usize>,
    pub(super) next_command: u64,
    pub(super) asked: BTreeMap<CommandId, Asked>,
    /// Peers that it had links to: the driver's book of remembered peers, on disk.
    pub(super) book: BTreeSet<u32>,
    pub(super) dials: u64,
    /// Things that are wrong with it now, and when the last one ended.
    pub(super) ailments: u32,
    pub(super) well_since: u64,
    /// Operations of its disk, for draws.
    pub(super) disk_ops: u64,
    /// Inputs handled since the last tick.
    pub(super) inputs: u32,
    /// The policies that were set for the mesh, as its disk has them.
    pub(super) policies: Policies,
}

impl Host {
    pub(super) fn new(id: NodeId, clock: Clock, disk: Disk) -> Self {
        Self {
            id,
            life: Life::Off,
            epoch: 0,
            down_by: None,
            down_since: Some(0),
            dark: false,
            leaving: false,
            clock,
            disk,
            engine: Engine::new(Limits::default()),
            worker_free: 0,
            inbox: VecDeque::new(),
            busy_until: 0,
            resuming: false,
            wake_at: None,
            guest_wakes: None,
            paused_since: None,
            pauses: 0,
            wrongs: Vec::new(),
            rates: Rates::default(),
            stalled_sync: false,
            stalled_io: Vec::new(),
            damaged: false,
            address: 0,
            identity: 0,
            is_next: false,
            next_frames: 0,
            loses_change: None,
            next_command: 0,
            asked: BTreeMap::new(),
            book: BTreeSet::new(),
            dials: 0,
            ailments: 0,
            well_since: 0,
            disk_ops: 0,
            inputs: 0,
            policies: Policies::default(),
        }
    }

    /// The node, if one is up.
    pub(super) fn node(&self) -> Option<&Node> {
        match &self.life {
            Life::Up(node) => Some(node),
            Life::Off | Life::Booting(_) | Life::Refused => None,
        }
    }

    /// Whether a process runs.
    pub(super) fn runs(&self) -> bool {
        matches!(self.life, Life::Up(_) | Life::Booting(_))
    }

    /// Whether nothing has been wrong with it for so long.
    pub(super) fn well_for(&self, now: u64, span: u64) -> bool {
        self.ailments == 0 && self.node().is_some() && now.saturating_sub(self.well_since) >= span
    }

    /// How many times slower than usual it computes.
    pub(super) fn slowness(&self) -> u64 {
        let factor = |fault: &Fault| if let Fault::Slow { factor, .. } = fault { u64::from(*factor) } else { 1 };
        self.worst(1, factor)
    }

    /// How many of a million frames it garbles.
    pub(super) fn garble(&self) -> u64 {
        self.worst(0, |fault| if let Fault::Garble { ppm, .. } = fault { *ppm } else { 0 })
    }

    /// Besides how many of a million frames its version is to send one that only its like knows.
    pub(super) fn next_version(&self) -> u64 {
        self.worst(0, |fault| if let Fault::NextVersion { ppm, .. } = fault { *ppm } else { 0 })
    }

    /// The version that it says of itself.
    pub(super) fn protocol(&self) -> u16 {
        u16::from(wire::VERSION) + u16::from(self.is_next)
    }

    /// How many of a million reads give back another bit.
    pub(super) fn misreads(&self) -> u64 {
        self.worst(0, |fault| if let Fault::MisreadDisk { ppm, .. } = fault { *ppm } else { 0 })
    }

    /// The item of the first thing of this kind that is wrong with it.
    pub(super) fn wrong(&self, is: impl Fn(&Fault) -> bool) -> Option<usize> {
        self.wrongs.iter().find(|(_, fault)| is(fault)).map(|(item, _)| *item)
    }

    fn worst(&self, fine: u64, of: impl Fn(&Fault) -> u64) -> u64 {
        self.wrongs.iter().map(|(_, fault)| of(fault)).fold(fine, u64::max)
    }

    /// Lets its clocks run as what is wrong with them says.
    pub(super) fn set_clock(&mut self, now: u64) {
        let mut rates = self.rates;
        for (_, fault) in &self.wrongs {
            match fault {
                Fault::ClockDrift { ppm, .. } => rates.mono_ppm = rates.mono_ppm.saturating_add(*ppm),
                Fault::WallDrift { ppm, .. } => rates.wall_ppm = rates.wall_ppm.saturating_add(*ppm),
                Fault::WallFreeze { .. } => rates.wall_frozen = true,
                Fault::ClockFreeze { .. } => rates.frozen = true,
                _ => {}
            }
        }
        self.clock.run(now, rates);
    }

    /// How many times slower than usual its disk is.
    pub(super) fn disk_slowness(&self) -> u64 {
        let factor = |fault: &Fault| if let Fault::SlowDisk { factor, .. } = fault { u64::from(*factor) } else { 1 };
        self.worst(1, factor)
    }

    /// A new process begins, or the old one has ended: nothing of its memory is left.
    pub(super) fn forget(&mut self, now: u64) {
        self.epoch += 1;
        self.engine = Engine::new(Limits::default());
        (self.worker_free, self.busy_until) = (now, now);
        (self.resuming, self.wake_at, self.guest_wakes, self.leaving) = (false, None, None, false);
        self.inbox.clear();
        self.asked.clear();
        (self.stalled_sync, self.stalled_io) = (false, Vec::new());
        // Ids are unique within a life; counting on keeps them apart in traces too.
        self.next_command += 1;
    }

    /// Names the next command.
    pub(super) fn ask(&mut self, what: Asked) -> CommandId {
        self.next_command += 1;
        let id = CommandId::new(self.next_command);
        self.asked.insert(id, what);
        id
    }

    /// Something is wrong with it from now on.
    pub(super) fn ails(&mut self) {
        self.ailments += 1;
    }

    /// That is over.
    pub(super) fn heals(&mut self, now: u64) {
        self.ailments -= 1;
        self.well_since = now;
    }
}
