//! A mesh of machines under virtual time, for this room alone: delay, loss, crashes, stalls, cuts. After every step it
//! checks the invariants that the room's essay names.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use crate::machine::{Cx, Op, Rng};
use crate::membership::{Config, Event, Grounds, Membership, Message, Meta, State, Timer, Updates};
use crate::types::{Boot, Incarnation, NodeId, Now, Time, WallTime};

/// How long the link layer takes to see a silent cut, and to link again: the transport's watchdog.
const WATCHDOG: Duration = Duration::from_secs(3);
/// How long it takes to make a link: connection, encryption, multiplexing, admission.
const HANDSHAKE: Duration = Duration::from_millis(200);
/// How long a dial may hang.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages to a dead member in a period: that it is accused, what it knows, a ping, and an answer to its own accusation.
const TO_DEAD_MAX: u32 = 6;

/// What a node's host suffers from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stall {
    /// Nothing comes in or goes out, timers run.
    Io,
    /// Timers stop too.
    Freeze,
}

#[derive(Debug)]
enum Happens {
    Deliver { from: usize, to: usize, life: u32, message: Message },
    Fire { node: usize, timer: Timer },
    Dial { from: usize, to: usize },
    DialFailed { from: usize, to: usize },
    Unlink { a: usize, b: usize },
    Link { a: usize, b: usize },
    Stall { node: usize },
}

struct Node {
    machine: Membership,
    rng: Rng,
    timers: BTreeMap<Timer, (Time, u64)>,
    up: bool,
    /// Its machine does not even refuse.
    dark: bool,
    life: u32,
    boot: u64,
    side: u8,
    stalled_until: Time,
    /// Own (boot, incarnation), for I1.
    own: (Boot, Incarnation),
    /// What it thought of others, for I2 to I4.
    ranks: BTreeMap<NodeId, (Boot, Incarnation, State)>,
    /// An accusation of ours that waits for an answer, for I6.
    accused: Option<(Time, Incarnation)>,
    /// Since when it wrote how often, unasked, to whom it holds for dead, for I10.
    to_dead: BTreeMap<usize, (Time, u32)>,
    /// Who has joined and neither died nor left, as its host was told, for I11.
    told_present: BTreeSet<NodeId>,
}

/// What was counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// Suspicions, at each observer, and the failed probes that began them.
    pub(super) suspicions: u64,
    pub(super) accusations: u64,
    /// Links asked for by membership itself.
    pub(super) dials: u64,
    /// Goodbyes seen of members that said none, and comebacks of members that are down: (observer, subject).
    pub(super) false_leaves: Vec<(usize, usize)>,
    pub(super) ghosts: Vec<(usize, usize)>,
    /// Messages sent, by sender.
    pub(super) sent: Vec<u32>,
    /// Deaths declared of members that were up: (observer, subject, when).
    pub(super) false_deaths: Vec<(usize, usize, Time)>,
    /// Deaths declared of members that were down.
    pub(super) deaths: Vec<(usize, usize, Time)>,
    pub(super) faults: Vec<String>,
    pub(super) steps: u64,
    pub(super) trace: u64,
}

pub(super) struct Mesh {
    pub(super) now: Time,
    nodes: Vec<Node>,
    index: BTreeMap<NodeId, usize>,
    heap: BinaryHeap<Reverse<(Time, u64)>>,
    events: BTreeMap<u64, Happens>,
    order: u64,
    linked: Vec<Vec<bool>>,
    rng: Rng,
    config: Config,
    pub(super) loss_percent: u64,
    /// Members that stall again and again: how, how long, and until when.
    stalls: BTreeMap<usize, (Stall, Duration, Time)>,
    /// Whether the whole table of a node is compared at every step, or only whom its events name.
    pub(super) strict: bool,
    /// Whose messages need not make sense.
    pub(super) liar: Option<usize>,
    /// Whether messages are encoded, for bytes and the trace.
    pub(super) measure: bool,
    pub(super) counts: Counts,
}

pub(super) fn id(node: usize) -> NodeId {
    // Ids are spread as real ones are.
    NodeId::from_u128(u128::from(xxhash_rust::xxh3::xxh3_64(&node.to_le_bytes())) << 64 | node as u128)
}

impl Mesh {
    pub(super) fn new(seed: u8, config: Config) -> Self {
        Self {
            now: Time::from_nanos(1_000_000_000),
            nodes: Vec::new(),
            index: BTreeMap::new(),
            heap: BinaryHeap::new(),
            events: BTreeMap::new(),
            order: 0,
            linked: Vec::new(),
            rng: Rng::fork(&[seed; 32], "mesh"),
            config,
            loss_percent: 0,
            stalls: BTreeMap::new(),
            strict: false,
            liar: None,
            measure: true,
            counts: Counts::default(),
        }
    }

    /// A mesh of `n` that know and are linked with each other, after the storm of the start has settled.
    pub(super) fn settled(seed: u8, n: usize) -> Self {
        Self::linked_by(seed, n, &|_, _| true)
    }

    /// The same, with links only between some.
    pub(super) fn linked_by(seed: u8, n: usize, linked: &dyn Fn(usize, usize) -> bool) -> Self {
        // Whoever has all links is to rely on them.
        let full = (0..n).all(|a| (0..a).all(|b| linked(a, b)));
        let full_mesh_max = if full { n.max(64) } else { 64 };
        Self::configured(seed, n, linked, Config { full_mesh_max, ..Config::default() })
    }

    /// The same, configured otherwise.
    pub(super) fn configured(seed: u8, n: usize, linked: &dyn Fn(usize, usize) -> bool, config: Config) -> Self {
        let mut mesh = Self::new(seed, config);
        mesh.measure = false;
        for node in 0..n {
            mesh.add(node);
        }
        // All get to know each other by one exchange, not by n x n.
        let rows: Vec<_> = (0..n)
            .map(|node| {
                let entry = mesh.nodes[node].machine.table.me();
                entry.update(mesh.now, true, Duration::ZERO)
            })
            .collect();
        for node in 0..n {
            mesh.step(node, |machine, cx| {
                for rows in rows.chunks(400) {
                    machine.on_message(cx, other(node, n), Message::State { rows: Updates(rows.to_vec()), ask: false });
                }
            });
        }
        for a in 0..n {
            for b in (0..a).filter(|b| linked(a, *b)) {
                mesh.link(a, b);
            }
        }
        mesh.run(Duration::from_secs(10));
        mesh.counts = Counts::default();
        mesh.measure = true;
        mesh
    }

    /// Very many that agree from the start, on one table that they share until it changes; each has links to `beside` it.
    pub(super) fn agreed(seed: u8, n: usize, beside: &dyn Fn(usize) -> Vec<usize>) -> Self {
        let mut mesh = Self::new(seed, Config::default());
        mesh.measure = false;
        for node in 0..n {
            mesh.add(node);
        }
        let row = |node: &Node| node.machine.table.me().update(mesh.now, true, Duration::ZERO);
        let rows: Vec<_> = mesh.nodes.iter().map(row).collect();
        let (mut first, mut rng) = (mesh.machine(0, 1), Rng::fork(&[seed; 32], "agreed"));
        let now = Now { mono: mesh.now, wall: WallTime::EPOCH };
        for rows in rows.chunks(400) {
            let rows = Message::State { rows: Updates(rows.to_vec()), ask: false };
            first.on_message(&mut Cx::new(now, &mut rng, &mut Vec::new()), id(1), rows);
        }
        for node in 0..n {
            mesh.nodes[node].machine.table = first.table.seen_by(id(node));
        }
        for a in 0..n {
            beside(a).into_iter().for_each(|b| mesh.link(a, b));
        }
        mesh
    }

    pub(super) fn add(&mut self, node: usize) {
        assert_eq!(node, self.nodes.len());
        let seed = self.rng.bits();
        self.nodes.push(Node {
            machine: self.machine(node, 1),
            rng: Rng::fork(&[0; 32], &format!("{seed} {node}")),
            timers: BTreeMap::new(),
            up: true,
            dark: false,
            life: 0,
            boot: 1,
            side: 0,
            stalled_until: Time::ZERO,
            own: Default::default(),
            ranks: BTreeMap::new(),
            accused: None,
            to_dead: BTreeMap::new(),
            told_present: BTreeSet::new(),
        });
        self.index.insert(id(node), node);
        for row in &mut self.linked {
            row.push(false);
        }
        self.linked.push(vec![false; self.nodes.len()]);
        self.step(node, Membership::start);
    }

    fn machine(&self, node: usize, boot: u64) -> Membership {
        let address =
            crate::types::Address::parse(&format!("/ip4/10.0.{}.{}/tcp/4747", node / 256, node % 256)).unwrap();
        let meta =
            Meta { name: format!("node-{node}"), region: "eu".into(), addresses: vec![address], ..Meta::default() };
        Membership::new(id(node), Boot::new(boot), meta, self.config.clone()).unwrap()
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn machine_of(&self, node: usize) -> &Membership {
        &self.nodes[node].machine
    }

    pub(super) fn up(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len()).filter(|node| self.nodes[*node].up)
    }

    pub(super) fn state(&self, observer: usize, subject: usize) -> Option<State> {
        self.nodes[observer].machine.view().member(id(subject)).map(|member| member.state)
    }

    /// Whether every living node sees exactly the living ones as alive.
    pub(super) fn is_whole(&self) -> bool {
        let living: BTreeSet<NodeId> = self.up().map(id).collect();
        self.up().all(|node| {
            let view = self.nodes[node].machine.view();
            view.members().filter(|m| m.state == State::Alive).map(|m| m.id).eq(living.iter().copied())
                && view.present_len() == living.len()
        })
    }

    pub(super) fn link(&mut self, a: usize, b: usize) {
        let apart = self.nodes[a].side != self.nodes[b].side;
        if self.linked[a][b] || apart || !self.nodes[a].up || !self.nodes[b].up {
            return;
        }
        (self.linked[a][b], self.linked[b][a]) = (true, true);
        self.step(a, |machine, cx| machine.on_linked(cx, id(b)));
        self.step(b, |machine, cx| machine.on_linked(cx, id(a)));
    }

    /// Links every node with some more of those that it sees and ought to be linked with: an overlay that dials. Whether there
    /// were any.
    pub(super) fn link_known(&mut self, wanted: &dyn Fn(usize, usize) -> bool) -> bool {
        let mut any = false;
        for a in 0..self.len() {
            let unlinked: Vec<usize> = self.nodes[a]
                .machine
                .view()
                .present()
                .map(|member| self.index[&member.id])
                .filter(|b| *b != a && !self.linked[a][*b] && wanted(a, *b))
                .take(16)
                .collect();
            any |= !unlinked.is_empty();
            for b in unlinked {
                self.link(a, b);
            }
        }
        any
    }

    pub(super) fn unlink(&mut self, a: usize, b: usize) {
        if !self.linked[a][b] {
            return;
        }
        (self.linked[a][b], self.linked[b][a]) = (false, false);
        for (me, peer) in [(a, b), (b, a)] {
            if self.nodes[me].up {
                self.step(me, |machine, cx| machine.on_unlinked(cx, id(peer)));
            }
        }
    }

    /// Stops a node. Its links close at once as a killed process's do, or nobody notices.
    pub(super) fn crash(&mut self, node: usize, closes: bool) {
        (self.nodes[node].up, self.nodes[node].dark) = (false, !closes);
        self.nodes[node].life += 1;
        self.nodes[node].timers.clear();
        for peer in 0..self.len() {
            if closes {
                self.after(Duration::from_millis(20), Happens::Unlink { a: node, b: peer });
            }
        }
    }

    /// Starts it again, with the next boot and nothing remembered, linked with `seed`.
    pub(super) fn restart(&mut self, node: usize, seed: usize) {
        for peer in 0..self.len() {
            self.unlink(node, peer);
        }
        let boot = self.nodes[node].boot + 1;
        let machine = self.machine(node, boot);
        let state = &mut self.nodes[node];
        (state.machine, state.boot, state.up, state.dark, state.accused) = (machine, boot, true, false, None);
        state.ranks.clear();
        state.to_dead.clear();
        state.told_present.clear();
        self.step(node, Membership::start);
        self.link(node, seed);
    }

    /// Starts it again and links it with all that are up.
    pub(super) fn revive(&mut self, node: usize) {
        self.restart(node, (node + 1) % self.len());
        for peer in 0..self.len() {
            if peer != node {
                self.link(node, peer);
            }
        }
    }

    /// Some time up to this long goes by.
    pub(super) fn pause(&mut self, most: Duration) {
        let pause = Duration::from_nanos(self.rng.below(most.as_nanos().try_into().unwrap()));
        self.run(pause);
    }

    /// A message that this node's machine never made.
    pub(super) fn forge(&mut self, from: usize, to: usize, message: Message) {
        let (life, delay) = (self.nodes[to].life, Duration::from_micros(20_000 + self.rng.below(4_000)));
        self.after(delay, Happens::Deliver { from, to, life, message });
    }

    pub(super) fn leave(&mut self, node: usize) {
        self.step(node, Membership::leave);
    }

    pub(super) fn set_meta(&mut self, node: usize, name: &str) {
        let meta = Meta { name: name.into(), ..Meta::default() };
        self.step(node, |machine, cx| machine.set_meta(cx, meta).unwrap());
    }

    /// Cuts these off. Links stay up for the watchdog's time, or for ever if it is off.
    pub(super) fn cut(&mut self, side: &[usize], watchdog: bool) {
        for node in side {
            self.nodes[*node].side = 1;
        }
        for a in 0..self.len() {
            for b in 0..a {
                if watchdog && self.nodes[a].side != self.nodes[b].side && self.linked[a][b] {
                    self.after(WATCHDOG, Happens::Unlink { a, b });
                }
            }
        }
    }

    /// Ends the cut; links that were lost come back within half a second.
    pub(super) fn heal(&mut self) {
        for node in &mut self.nodes {
            node.side = 0;
        }
        self.relink(Duration::from_millis(500));
    }

    /// Links all that are up, within this time.
    pub(super) fn relink(&mut self, within: Duration) {
        for a in 0..self.len() {
            for b in 0..a {
                if !self.linked[a][b] {
                    let delay = Duration::from_nanos(self.rng.below(within.as_nanos().try_into().unwrap()));
                    self.after(delay, Happens::Link { a, b });
                }
            }
        }
    }

    /// Makes these stall again and again for `each`, with 0.5 to 1.5 s awake between, for `total`.
    pub(super) fn stall(&mut self, nodes: &[usize], how: Stall, each: Duration, total: Duration) {
        for node in nodes {
            self.stalls.insert(*node, (how, each, self.now + total));
            let delay = Duration::from_millis(self.rng.below(2_000));
            self.after(delay, Happens::Stall { node: *node });
        }
    }

    fn after(&mut self, delay: Duration, what: Happens) {
        self.at(self.now + delay, what);
    }

    fn at(&mut self, at: Time, what: Happens) -> u64 {
        self.order += 1;
        self.heap.push(Reverse((at, self.order)));
        self.events.insert(self.order, what);
        self.order
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(Reverse((at, order))) = self.heap.peek().copied()
            && at <= end
        {
            self.heap.pop();
            self.now = at;
            let what = self.events.remove(&order).expect("each is there once");
            self.happen(order, what);
        }
        self.now = end;
    }

    /// Runs until this holds, looked at every 50 ms; how long it took, if it did within `limit`.
    pub(super) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> Option<Duration> {
        let begin = self.now;
        while self.now.since(begin) < limit {
            if done(self) {
                return Some(self.now.since(begin));
            }
            self.run(Duration::from_millis(50));
        }
        None
    }

    /// A dial comes to a link, to a refusal, or to nothing for a long time.
    fn dial(&mut self, from: usize, to: usize) {
        let dark = self.nodes[from].side != self.nodes[to].side || self.nodes[to].dark;
        if self.nodes[to].up && !dark {
            self.link(from, to);
        } else {
            let wait = if dark { DIAL_TIMEOUT } else { Duration::ZERO };
            self.after(wait, Happens::DialFailed { from, to });
        }
    }

    fn is_stalled(&self, node: usize, how: Stall) -> bool {
        self.nodes[node].stalled_until > self.now && self.stalls.get(&node).is_some_and(|stall| stall.0 == how)
    }

    fn happen(&mut self, order: u64, what: Happens) {
        match what {
            Happens::Deliver { from, to, life, message } => {
                let state = &self.nodes[to];
                if !state.up || state.life != life || !self.linked[from][to] {
                } else if self.is_stalled(to, Stall::Io) || self.is_stalled(to, Stall::Freeze) {
                    self.at(self.nodes[to].stalled_until, Happens::Deliver { from, to, life, message });
                } else {
                    self.deliver(from, to, message);
                }
            }
            Happens::Fire { node, timer } => {
                let armed = self.nodes[node].timers.get(&timer).copied();
                if armed.map(|(_, order)| order) != Some(order) {
                } else if self.is_stalled(node, Stall::Freeze) {
                    let at = self.nodes[node].stalled_until;
                    let order = self.at(at, Happens::Fire { node, timer });
                    self.nodes[node].timers.insert(timer, (at, order));
                } else {
                    self.nodes[node].timers.remove(&timer);
                    self.step(node, |machine, cx| machine.on_timer(cx, timer));
                }
            }
            Happens::Dial { from, to } => self.dial(from, to),
            Happens::DialFailed { from, to } => {
                if self.nodes[from].up && !self.linked[from][to] {
                    self.step(from, |machine, cx| machine.on_dial_failed(cx, id(to)));
                }
            }
            Happens::Unlink { a, b } => self.unlink(a, b),
            Happens::Link { a, b } => self.link(a, b),
            Happens::Stall { node } => {
                let (_, each, until) = self.stalls[&node];
                if self.now < until {
                    self.nodes[node].stalled_until = self.now + each;
                    let awake = Duration::from_millis(500 + self.rng.below(1_000));
                    self.after(each + awake, Happens::Stall { node });
                }
            }
        }
    }

    fn deliver(&mut self, from: usize, to: usize, message: Message) {
        let (boot, incarnation) = self.nodes[to].own;
        let accused = updates_of(&message).iter().any(|update| {
            update.id == id(to) && update.rank() > (boot, incarnation, State::Alive) && update.boot == boot
        });
        let seen = self.counts.deaths.len() + self.counts.false_deaths.len();
        self.step(to, |machine, cx| machine.on_message(cx, id(from), message));
        assert_eq!(seen, self.counts.deaths.len() + self.counts.false_deaths.len(), "I5: nobody dies by a message");
        let after = self.nodes[to].own;
        if accused && !self.nodes[to].machine.leaving && self.liar != Some(from) {
            assert!(after > (boot, incarnation), "I6: accused, not defended");
        }
    }

    pub(super) fn step(&mut self, node: usize, input: impl FnOnce(&mut Membership, &mut Cx<'_, Membership>)) {
        let now = Now { mono: self.now, wall: WallTime::from_micros(self.now.as_nanos() / 1_000) };
        let mut ops = Vec::new();
        let state = &mut self.nodes[node];
        input(&mut state.machine, &mut Cx::new(now, &mut state.rng, &mut ops));
        self.counts.steps += 1;
        for op in ops {
            match op {
                Op::Send(to, message) => self.send(node, to, message),
                Op::Arm(timer, after) => {
                    let at = self.now + after;
                    let order = self.at(at, Happens::Fire { node, timer });
                    self.nodes[node].timers.insert(timer, (at, order));
                }
                Op::Disarm(timer) => {
                    self.nodes[node].timers.remove(&timer);
                }
                Op::Emit(event) => self.note(node, event),
                Op::Persist(..) | Op::Read(..) | Op::Task(..) => unreachable!("membership has none"),
            }
        }
        self.check(node);
    }

    /// Calm periods with hardly any driver around the machines: each pings, is answered, and hears the answer.
    pub(super) fn bare_periods(&mut self, periods: u32) {
        let mut ops = Vec::new();
        for _ in 0..periods {
            self.now = self.now + self.config.probe_period;
            let now = Now { mono: self.now, wall: WallTime::EPOCH };
            for node in 0..self.len() {
                let mut from = node;
                let state = &mut self.nodes[node];
                state.machine.on_timer(&mut Cx::new(now, &mut state.rng, &mut ops), Timer::Probe);
                while let Some(op) = ops.pop() {
                    let Op::Send(to, message) = op else { continue };
                    ops.clear();
                    let to = self.index[&to];
                    let state = &mut self.nodes[to];
                    state.machine.on_message(&mut Cx::new(now, &mut state.rng, &mut ops), id(from), message);
                    from = to;
                }
            }
        }
    }

    fn send(&mut self, from: usize, to: NodeId, message: Message) {
        let to = self.index[&to];
        if self.measure {
            let bytes = bincode::encode_to_vec(&message, bincode::config::standard()).unwrap();
            self.counts.messages += 1;
            self.counts.sent.resize(self.nodes.len(), 0);
            self.counts.sent[from] += 1;
            self.counts.bytes += bytes.len() as u64;
            let seed = self.counts.trace ^ self.now.as_nanos() ^ (from as u64) << 32;
            self.counts.trace = xxhash_rust::xxh3::xxh3_64_with_seed(&bytes, seed);
            assert!(bytes.len() <= 48 << 10, "I7: {} bytes in a message", bytes.len());
        }
        self.note_answer(from, &message);
        self.check_quiet(from, to, &message);
        let lost = self.rng.below(100) < self.loss_percent;
        if lost || !self.linked[from][to] || self.nodes[from].side != self.nodes[to].side {
            return;
        }
        let mut leaves = self.now;
        if self.is_stalled(from, Stall::Io) {
            leaves = self.nodes[from].stalled_until;
        }
        let delay = Duration::from_micros(20_000 + self.rng.below(4_000));
        let life = self.nodes[to].life;
        self.at(leaves + delay, Happens::Deliver { from, to, life, message });
    }

    /// I11: to its host a member joins once until it dies or leaves, whatever was suspected and refuted meanwhile.
    fn check_told(&mut self, observer: usize, event: &Event) {
        let present = &mut self.nodes[observer].told_present;
        match event {
            Event::Joined { member, .. } => assert!(present.insert(*member), "I11: {member:?} joined twice"),
            Event::Died { member, .. } | Event::Left { member, .. } if *member != id(observer) => {
                assert!(present.remove(member), "I11: {member:?} went without having come");
            }
            Event::Suspected { member, .. } | Event::Refuted { member, .. } => {
                assert!(present.contains(member), "I11: {member:?} is suspected and not present");
            }
            _ => {}
        }
    }

    fn note(&mut self, observer: usize, event: Event) {
        self.check_told(observer, &event);
        match event {
            Event::Died { member, .. } => {
                let subject = self.index[&member];
                let deaths =
                    if self.nodes[subject].up { &mut self.counts.false_deaths } else { &mut self.counts.deaths };
                deaths.push((observer, subject, self.now));
                assert!(!self.nodes[observer].machine.isolated, "an isolated node declared {member:?} dead");
            }
            Event::Suspected { grounds, .. } => {
                self.counts.suspicions += 1;
                self.counts.accusations += u64::from(matches!(grounds, Grounds::Unanswered(_)));
            }
            Event::PeerFault { why, .. } => self.counts.faults.push(why),
            Event::Joined { member, .. } => {
                if !self.nodes[self.index[&member]].up {
                    self.counts.ghosts.push((observer, self.index[&member]));
                }
                self.check_rank(observer, member);
            }
            Event::Left { member, .. } => {
                let subject = &self.nodes[self.index[&member]];
                if subject.up && !subject.machine.leaving {
                    self.counts.false_leaves.push((observer, self.index[&member]));
                }
                self.check_rank(observer, member);
            }
            Event::Updated { member } | Event::Refuted { member, .. } => self.check_rank(observer, member),
            Event::Seek { member, .. } => {
                self.counts.dials += 1;
                self.after(HANDSHAKE, Happens::Dial { from: observer, to: self.index[&member] });
            }
            Event::Release { member } => {
                let (a, b) = (observer, self.index[&member]);
                self.after(Duration::ZERO, Happens::Unlink { a, b });
            }
            Event::Defended { incarnation, .. } => {
                self.nodes[observer].accused = Some((self.now, incarnation));
            }
        }
    }

    /// I6: after `Defended`, a message says so within a period.
    fn note_answer(&mut self, from: usize, message: &Message) {
        if let Some((_, incarnation)) = self.nodes[from].accused
            && updates_of(message).iter().any(|u| u.id == id(from) && u.incarnation >= incarnation)
        {
            self.nodes[from].accused = None;
        }
    }

    fn check(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        let me = &state.machine.table.me().member;
        let own = (me.boot, me.incarnation);
        assert!(own >= state.own, "I1: {own:?} after {:?}", state.own);
        state.own = own;
        assert!(me.state == State::Alive || state.machine.leaving, "I6: it holds itself for {:?}", me.state);
        let members = state.machine.table.len();
        assert!(members <= self.config.members_max && state.machine.queue.len() <= members, "I7");
        if let Some((since, _)) = state.accused {
            let linked = !state.machine.links.is_empty() && !state.machine.table.near.is_empty();
            let period = self.config.probe_period * 9;
            assert!(!linked || self.now.since(since) <= period, "I6: not answered within a period");
        }
        if self.strict {
            let members: Vec<NodeId> = self.nodes[node].machine.view().members().map(|member| member.id).collect();
            for member in members {
                self.check_rank(node, member);
            }
            self.nodes[node].machine.table.check();
        }
    }

    /// I10: a ping to see whether it is back, that it is accused, what is asked of it: a few a period, answers aside.
    fn check_quiet(&mut self, from: usize, to: usize, message: &Message) {
        let answers = matches!(message, Message::Ack { .. } | Message::Vouch { .. } | Message::Nack { .. });
        let whole = matches!(message, Message::State { ask: false, .. } | Message::Diff { .. });
        let state = &mut self.nodes[from];
        let dead = state.machine.table.find(id(to)).is_some_and(|entry| entry.claim == State::Dead);
        if answers || whole || !dead || self.liar == Some(to) || state.machine.leaving {
            return;
        }
        let (since, count) = state.to_dead.entry(to).or_insert((self.now, 0));
        if self.now.since(*since) >= self.config.probe_period {
            (*since, *count) = (self.now, 0);
        }
        *count += 1;
        assert!(*count <= TO_DEAD_MAX, "I10: {count} messages in a period to a dead member: {message:?}");
    }

    /// I2, I3, I4.
    fn check_rank(&mut self, observer: usize, subject: NodeId) {
        let state = &mut self.nodes[observer];
        let Some(entry) = state.machine.table.find(subject) else { return };
        let rank = entry.rank();
        let before = state.ranks.insert(subject, rank);
        assert!(before <= Some(rank), "I2 to I4: {subject:?} fell from {before:?} to {rank:?}");
    }
}

fn updates_of(message: &Message) -> &[crate::membership::Update] {
    match message {
        Message::Ping { gossip, .. }
        | Message::Ack { gossip, .. }
        | Message::PingReq { gossip, .. }
        | Message::Gossip { gossip } => gossip.as_slice(),
        Message::State { rows, .. } | Message::Diff { rows, .. } => rows.as_slice(),
        Message::Vouch { .. } | Message::Nack { .. } | Message::Buckets { .. } | Message::Parting | Message::Who => &[],
    }
}

fn other(node: usize, n: usize) -> NodeId {
    id((node + 1) % n)
}
