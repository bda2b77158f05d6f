//! The run: a whole mesh in one thread under virtual time.
//!
//! The other driver of the node. It does what the production driver does, with events in place of sockets, files and
//! clocks: feeds inputs, performs effects, wakes a node at its deadline. A peer handles one input at a time and is busy for
//! a while with each, so slow peers, pauses and overload come about by themselves.

mod damage;
mod decisions;
mod effects;
mod faults;
mod feed;
mod guests;
mod hashed;
mod links;
mod met;
mod policy;
mod replay;
mod stops;
mod streams;
mod verify;
mod versions;
mod wrongs;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use feed::{COUNT, doc_of, place_of};
pub(super) use streams::body_of;

use super::check::{ASKED_BEFORE_THE_END, Checks, DECISIONS_ARE_JUDGED_AFTER, Sight, Trust, Violation};
use super::clock::{Clock, Rates};
use super::disk::Disk;
use super::guest::Guests;
use super::host::Host;
use super::luck::{Luck, Stream};
use super::net::{Frame, Net};
use super::orders::Orders;
use super::outcome::{Figures, Line};
use super::part::{NEVER, Piece};
use super::peers::PeerSet;
use super::plan::Plan;
use super::queue::{EventId, Queue};
use super::replay::Replaying;
use super::scenario::Scenario;
use super::spread::Watch;
use super::trace::Trace;
use super::witness::{Happened, Witness};
use crate::node::Input;
use crate::types::NodeId;

const SECOND: u64 = 1_000_000_000;

/// What is to happen.
#[derive(Debug)]
pub(super) enum Due {
    /// An input for the process of this epoch.
    Input { host: u32, epoch: u32, input: Box<Input> },
    /// A frame arrives.
    Frame(Frame),
    /// A node's deadline.
    Wake { host: u32, epoch: u32 },
    /// A peer is no longer busy.
    Resume { host: u32, epoch: u32 },
    /// A sync ends.
    Synced { host: u32, epoch: u32 },
    /// A dial is decided.
    Dialed { from: u32, to: u32 },
    /// The other end of a link is gone.
    FarEnd { host: u32, peer: u32, conn: u32 },
    /// A watchdog looks at a link that was silenced.
    Watchdog { a: u32, b: u32, conn: u32 },
    /// A peer looks whether it is linked with a candidate.
    Knock(links::Knock),
    /// Links that flap go down, or come up.
    Flap { item: usize, down: bool },
    /// An operator resumes a replica that was paused at a peer which was down since.
    Release { item: usize },
    /// A peer's process ends if it writes.
    Strike { item: usize },
    /// An operator does something about a log that was refused.
    Repair { host: u32, epoch: u32 },
    /// A peer that said goodbye stops.
    Gone { host: u32, epoch: u32 },
    /// A peer starts for the first time.
    Start { host: u32 },
    /// An image is taken of a disk, for an item of the plan that will put it back.
    Image { item: usize },
    /// An item of the plan begins.
    Begin { item: usize },
    /// An item of the plan ends.
    End { item: usize },
    /// An edit of the plan.
    Edit { number: usize },
    /// An operator sets an overlay for the mesh.
    Turn { turn: usize },
    /// An append of the plan.
    Append { number: usize },
    /// A proposal of the plan.
    Proposal { number: usize },
    /// Something is asked of the voters before the end.
    LastQuestion,
    /// The client of a peer looks what it can do for the replay.
    Replay { peer: u32, look: u64 },
    /// The guest of a peer is woken.
    Guest { host: u32, epoch: u32 },
    /// A second has passed.
    Tick,
    /// Faults are over.
    Calm,
    /// The calm is over.
    Verify,
}

/// The mesh as it is, for checks and for the run.
#[derive(Debug)]
pub(super) struct Mesh {
    pub(super) now: u64,
    pub(super) hosts: Vec<Host>,
    pub(super) net: Net,
    pub(super) plan: Plan,
    /// Which items of the plan have begun and not ended.
    pub(super) active: Vec<bool>,
    /// Who was healed, once that is done and was not everybody.
    pub(super) core: Option<PeerSet>,
    pub(super) trust: Trust,
}

/// A run.
pub(super) struct World<'a> {
    scenario: &'a Scenario,
    luck: Luck,
    draws: Draws,
    mesh: Mesh,
    queue: Queue<Due>,
    trace: Trace,
    checks: Checks,
    figures: Figures,
    spread: Watch,
    /// The event that happens now, and the one during which it was asked for.
    cause: EventId,
    caused_by: EventId,
    /// Told of each step, if anybody wants to know.
    sink: Option<&'a mut (dyn FnMut(Line) + 'a)>,
    witness: Option<&'a mut (dyn Witness + 'a)>,
    guests: Option<&'a mut (dyn Guests + 'a)>,
    stop: Option<&'a (dyn Fn() -> bool + 'a)>,
    content: verify::Content,
    replay: Replaying<'a>,
    /// What disks will be put back to, by the item of the plan that does it.
    images: BTreeMap<usize, stops::Image>,
    /// Items of the plan that changed what happened.
    acted: BTreeSet<usize>,
    failure: Option<Violation>,
    /// How often it was asked whether to go on, and whether the answer was no.
    asked: u64,
    called_off: bool,
    /// Whether the first peer has founded the group of voters: nobody does it again.
    founded: bool,
}

#[derive(Clone, Copy)]
struct Draws {
    sync: Stream,
    stop: Stream,
    image: Stream,
    knock: Stream,
    garble: Stream,
    version: Stream,
    misread: Stream,
}

impl<'a> World<'a> {
    /// A mesh in which nothing has happened yet.
    pub(super) fn new(scenario: &'a Scenario, luck: Luck, plan: Plan, orders: Orders<'a>) -> Self {
        let Orders { replay, guests, sink, witness, stop, plan: _ } = orders;
        let hosts: Vec<Host> = (0..).take(scenario.peers()).map(|place| host(scenario, &luck, place)).collect();
        let net = Net::new(scenario.mesh.clone(), scenario.says.network.clone(), &luck);
        let draws = Draws {
            sync: luck.stream("disk sync"),
            stop: luck.stream("disk stop"),
            image: luck.stream("disk image"),
            knock: luck.stream("knock"),
            garble: luck.stream("garble"),
            version: luck.stream("next version"),
            misread: luck.stream("misread"),
        };
        let mut world = Self {
            scenario,
            draws,
            checks: Checks::new(scenario, &plan, hosts.len()),
            mesh: Mesh {
                now: 0,
                hosts,
                net,
                active: vec![false; plan.items.len()],
                plan,
                core: None,
                trust: Trust::default(),
            },
            queue: Queue::new(luck.stream("ties")),
            luck,
            trace: Trace::new(),
            figures: Figures::default(),
            spread: Watch::new(scenario),
            cause: EventId::default(),
            caused_by: EventId::default(),
            sink,
            witness,
            guests,
            stop,
            content: verify::Content::default(),
            replay: Replaying::new(replay),
            images: BTreeMap::new(),
            acted: BTreeSet::new(),
            failure: None,
            asked: 0,
            called_off: false,
            founded: false,
        };
        world.schedule();
        world
    }

    fn schedule(&mut self) {
        let root = EventId::default();
        let (plan, queue) = (&self.mesh.plan, &mut self.queue);
        queue.reserve(plan.ids());
        for (host, at) in (0..).zip(&plan.starts).filter(|(_, at)| **at != NEVER) {
            queue.plan(plan.id_of(Piece::Peer(host as usize)), *at, Due::Start { host });
        }
        for (item, says) in plan.items.iter().enumerate() {
            let id = plan.id_of(Piece::Fault(item));
            queue.plan(id, says.at, Due::Begin { item });
            if let Some(at) = says.image_at() {
                queue.plan(id + 1, at, Due::Image { item });
            }
        }
        for (number, edit) in plan.edits.iter().enumerate() {
            queue.plan(plan.id_of(Piece::Edit(number)), edit.at, Due::Edit { number });
        }
        for (turn, says) in plan.turns.iter().enumerate() {
            queue.plan(plan.id_of(Piece::Turn(turn)), says.at, Due::Turn { turn });
        }
        for (number, append) in plan.appends.iter().enumerate() {
            queue.plan(plan.id_of(Piece::Append(number)), append.at, Due::Append { number });
        }
        for (number, proposal) in plan.proposals.iter().enumerate() {
            queue.plan(plan.id_of(Piece::Proposal(number)), proposal.at, Due::Proposal { number });
        }
        if self.scenario.says.phases.calm.0 >= DECISIONS_ARE_JUDGED_AFTER {
            queue.push(self.scenario.span_ns() - ASKED_BEFORE_THE_END, root, Due::LastQuestion);
        }
        for peer in self.replay.clients.keys().copied().collect::<Vec<u32>>() {
            self.look_at(peer, self.scenario.chaos_at());
        }
        self.queue.push(SECOND, root, Due::Tick);
        self.queue.push(self.scenario.calm_at(), root, Due::Calm);
        self.queue.push(self.scenario.span_ns(), root, Due::Verify);
    }

    /// Runs to the end or to the first violation.
    pub(super) fn run(mut self) -> Ran {
        while self.failure.is_none() && !self.content.is_done() {
            let Some(popped) = self.queue.pop() else { break };
            if self.is_called_off() {
                break;
            }
            self.mesh.now = popped.at;
            (self.cause, self.caused_by) = (popped.id, popped.cause);
            if let Some(witness) = &mut self.witness {
                witness.event(Happened { at: popped.at, id: popped.id, cause: popped.cause });
            }
            self.figures.queue_most = self.figures.queue_most.max(self.queue.len() as u64);
            self.happen(popped.body);
        }
        self.finish()
    }

    /// Whether whoever started the run does not want its end any more. Asked now and then.
    fn is_called_off(&mut self) -> bool {
        const EVERY: u64 = 64;
        self.asked += 1;
        self.called_off = self.asked.is_multiple_of(EVERY) && self.stop.is_some_and(|stop| stop());
        self.called_off
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Input { host, epoch, input } => self.input(host, epoch, *input),
            Due::Frame(frame) => self.frame(frame),
            Due::Wake { host, epoch } => self.wake(host, epoch),
            Due::Resume { host, epoch } => self.resume(host, epoch),
            Due::Synced { host, epoch } => self.synced(host, epoch),
            Due::Dialed { from, to } => self.dialed(from, to),
            Due::FarEnd { host, peer, conn } => self.far_end(host, peer, conn),
            Due::Watchdog { a, b, conn } => self.watchdog(a, b, conn),
            Due::Knock(knock) => self.knock(knock),
            Due::Gone { host, epoch } => self.gone(host, epoch),
            Due::Start { host } => self.start(host),
            Due::Image { item } => self.image(item),
            Due::Begin { item } => {
                self.begin(item);
                self.came_to_nothing(item);
            }
            Due::End { item } => self.expire(item),
            Due::Flap { item, down } => self.flap(item, down),
            Due::Release { item } => self.release_again(item),
            Due::Strike { item } => self.strike(item),
            Due::Repair { host, epoch } => self.repair(host, epoch),
            Due::Edit { number } => self.edit(number),
            Due::Turn { turn } => self.turn(turn),
            Due::Append { number } => self.append(number),
            Due::Proposal { number } => self.proposal(number),
            Due::LastQuestion => self.last_question(),
            Due::Replay { peer, look } => self.look(peer, look),
            Due::Guest { host, epoch } => self.wake_guest(host, epoch),
            Due::Tick => self.tick(),
            Due::Calm => self.calm(),
            Due::Verify => self.verify(),
        }
    }

    fn tick(&mut self) {
        let verdict = self.checks.on_tick(&Sight::new(&self.mesh, self.scenario));
        self.judge(verdict);
        self.mesh.hosts.iter_mut().for_each(|host| host.inputs = 0);
        self.spread.on_tick(&self.mesh, SECOND);
        if let Some(witness) = &mut self.witness {
            witness.tick(&self.mesh);
        }
        self.judge_guests(false);
        self.sample();
        self.queue.push(self.mesh.now + SECOND, EventId::default(), Due::Tick);
    }

    /// Keeps the first violation.
    fn judge(&mut self, verdict: Result<(), Violation>) {
        if let Err(violation) = verdict
            && self.failure.is_none()
        {
            self.failure = Some(violation);
        }
    }

    fn host(&mut self, place: u32) -> &mut Host {
        &mut self.mesh.hosts[place as usize]
    }

    fn finish(mut self) -> Ran {
        self.figures.virtual_ns = self.mesh.now;
        self.figures.events = self.trace.events();
        self.figures.net = self.mesh.net.stats;
        self.acted.extend(self.mesh.net.met());
        for item in &self.acted {
            let name = self.mesh.plan.items[*item].kind();
            self.figures.kinds.entry(name.to_owned()).or_default().acted += 1;
        }
        self.figures.spread = self.spread.finish(&self.mesh.hosts);
        self.checks.figures(&mut self.figures);
        let event = self.cause;
        let at = self.mesh.now;
        Ran {
            figures: self.figures,
            failure: self.failure.map(|violation| (violation, at, event)),
            hash: self.trace.hash(),
            checkpoints: self.trace.into_checkpoints(),
            called_off: self.called_off,
        }
    }
}

/// What a run came to.
pub(super) struct Ran {
    pub(super) figures: Figures,
    pub(super) failure: Option<(Violation, u64, EventId)>,
    pub(super) hash: super::trace::TraceHash,
    pub(super) checkpoints: Vec<super::trace::TraceHash>,
    pub(super) called_off: bool,
}

/// The place of a peer; none if nobody has this id. Ids are places, so this is a check and not a search.
pub(super) fn place_in(hosts: &[Host], id: NodeId) -> Option<u32> {
    let [.., a, b, c] = *id.as_bytes();
    let place = u32::from_be_bytes([0, a, b, c]).checked_sub(1)?;
    hosts.get(place as usize).is_some_and(|host| host.id == id).then_some(place)
}

/// Ids of simulated peers rise with their place, and print as it; of a machine that was replaced the number of the new one stands
/// before it.
fn node_id(place: u32, identity: u32) -> NodeId {
    let (head, printed) = (u128::from(identity & 0xffff) << 96, u128::from(identity & 0xff) << 24);
    NodeId::from_u128(0x5111_0000_0000_4000_8000_0000_0000_0000 | head | printed | u128::from(place + 1))
}

fn host(scenario: &Scenario, luck: &Luck, place: u32) -> Host {
    let clocks = scenario.says.clocks;
    let stream = luck.stream("clocks");
    let entity = u64::from(place);
    let signed = |counter, most: u64| {
        let drawn = stream.below(entity, counter, 2 * most + 1);
        i64::try_from(drawn).unwrap_or(0) - i64::try_from(most).unwrap_or(0)
    };
    let rates = Rates { mono_ppm: i32::try_from(signed(2, clocks.drift.0)).unwrap_or(0), ..Rates::default() };
    let clock = Clock::new(stream.below(entity, 0, 1_000 * SECOND), signed(1, clocks.skew.0 / 1_000));
    let disk = Disk::new(scenario.says.disk.capacity.map(|size| size.0));
    let mut host = Host::new(node_id(place, 0), clock, disk);
    host.rates = rates;
    host.set_clock(0);
    host
}
