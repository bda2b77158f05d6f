//! A little world: peers with real consensus below, clocks that drift, disks that lose what was not synced, a network that loses, doubles,
//! delays and reorders, processes that are stopped, and hooks that take their time. Everything follows from a seed. After every step
//! the laws are looked at (`checks`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::super::*;
use super::checks::Checks;
pub(super) use super::weather::Weather;
use crate::consensus::{self, Consensus, Intent, RequestId, Standing, Token};
use crate::failover::Candidate;
use crate::machine::{Op, Rng};
use crate::types::{Actor, Mint, Now, Time, WallTime};

/// A millisecond of the world's clock.
pub(super) const MS: u64 = 1_000_000;

/// A group whose leader is always heard: leases count from its rounds.
fn awake() -> consensus::Config {
    consensus::Config { rest: Duration::ZERO, ..consensus::Config::default() }
}

/// A record of one of both machines, as bytes.
#[derive(Clone)]
enum Written {
    Decision(Vec<u8>),
    Fence(Vec<u8>),
}

enum Writes {
    Decision(consensus::Record, consensus::Wait),
    Fence(Record, Wait),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Clock {
    Decides(consensus::Timer),
    Roles(Timer),
}

/// Hooks that end somebody's work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    token: Token,
    /// The process was stopped about then, or they are of a life before: nothing holds it to its time.
    pub(super) is_late: bool,
}

/// A peer and what the world knows of it.
pub(super) struct Peer {
    pub(super) node: NodeId,
    consensus: Consensus,
    pub(super) roles: Roles,
    pub(super) up: bool,
    boot: u64,
    disk: Vec<Written>,
    writes: VecDeque<Writes>,
    timers: BTreeMap<Clock, u64>,
    /// Of a thousand milliseconds its clock shows so many more.
    pub(super) drift: i64,
    paused_until: u64,
    /// Until when it was stopped last.
    was_paused_at: Option<u64>,
    luck: (Rng, Rng),
    /// All peers as this one knows them: what a leader of it sees.
    pub(super) candidates: Vec<Candidate>,
    /// When rounds of the term were sent, by its own clock, and who answered which.
    rounds: BTreeMap<u64, Time>,
    answered: BTreeMap<Actor, u64>,
    term: Term,
    pub(super) ending: BTreeMap<RoleName, Ending>,
    tickets: BTreeMap<u64, (RoleName, Token)>,
    pub(super) told: Vec<Event>,
    /// Hooks that begin its work fail.
    pub(super) hooks_fail: bool,
    /// Or never end.
    pub(super) hooks_hang: bool,
}

impl Peer {
    /// Both clocks, at a moment of the world.
    pub(super) fn clock(&self, at: usize, now: u64) -> Now {
        let shown = now / 1_000 * u64::try_from(1_000 + self.drift).unwrap();
        let mono = Time::from_nanos(shown + (at as u64 + 1) * 1_000 * MS);
        Now { mono, wall: WallTime::from_micros(now / 1_000 + 1_000_000_000) }
    }

    /// Under which token it acts at a moment of the world, if it does.
    pub(super) fn acts(&self, at: usize, now: u64, role: &RoleName) -> Option<Token> {
        self.up.then(|| self.roles.view().holds(role, self.clock(at, now).mono)).flatten()
    }

    /// Whether it was stopped lately, or is: then it kept no time.
    pub(super) fn was_paused(&self, now: u64) -> bool {
        self.was_paused_at.is_some_and(|until| now < until + 1_000 * MS)
    }

    fn mandate(&self, now: Time) -> Option<Mandate> {
        let view = self.consensus.view();
        if view.standing() != Standing::Leader {
            return None;
        }
        let (me, group) = (view.id(), view.group().expect("it leads one"));
        let answered = |id: Actor| if id == me { u64::MAX } else { self.answered.get(&id).copied().unwrap_or(0) };
        let quorum_sent_at = match group.reached(answered) {
            u64::MAX => Some(now),
            round => self.rounds.get(&round).copied(),
        };
        let (epoch, term, is_settled) = (view.epoch(), view.term(), view.is_settled());
        Some(Mandate { epoch, term, is_settled, unled_since: view.unled_since(), quorum_sent_at })
    }
}

#[derive(Debug)]
enum Happening {
    Decides { to: usize, from: usize, bytes: Vec<u8> },
    Arrives { to: usize, from: usize, bytes: Vec<u8> },
    Fires { at: usize, boot: u64, clock: Clock, number: u64 },
    Synced { at: usize, boot: u64 },
    Closed { at: usize, peer: NodeId },
    Hooks { at: usize, boot: u64, role: RoleName, token: Token },
    Works { at: usize },
    Hears { at: usize },
    ActedUpon { at: usize, role: RoleName, token: Token },
}

pub(super) struct World {
    pub(super) now: u64,
    number: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    pub(super) peers: Vec<Peer>,
    pub(super) weather: Weather,
    /// Nothing goes this way.
    pub(super) cut: BTreeSet<(usize, usize)>,
    rng: Rng,
    pub(super) checks: Checks,
    pub(super) config: Config,
    /// Who led last.
    led_by: Option<usize>,
    /// Peers are told what came of orders that were decided.
    pub(super) sees_outcomes: bool,
    /// Who was asked for which order, in which life.
    asked: Vec<(RequestId, usize, u64)>,
}

impl World {
    /// So many peers, of which the first are voters; the others are in no group and are told who leads.
    pub(super) fn new(seed: u64, count: usize, voters: usize, config: Config) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let node = |at: usize| NodeId::from_u128(at as u128 + 1);
        let fit = |at: usize| Candidate {
            node: node(at),
            priority: u32::try_from(100 - at).unwrap(),
            observer: false,
            healthy: true,
            lag: 0,
            load: 0,
        };
        let peer = |at: usize| Peer {
            node: node(at),
            consensus: Consensus::new(node(at), awake()),
            roles: Roles::new(node(at), config.clone()),
            up: true,
            boot: 0,
            disk: Vec::new(),
            writes: VecDeque::new(),
            timers: BTreeMap::new(),
            drift: 0,
            paused_until: 0,
            was_paused_at: None,
            luck: (Rng::fork(&bytes, &format!("decides {at}")), Rng::fork(&bytes, &format!("roles {at}"))),
            candidates: (0..count).map(fit).collect(),
            rounds: BTreeMap::new(),
            answered: BTreeMap::new(),
            term: Term::ZERO,
            ending: BTreeMap::new(),
            tickets: BTreeMap::new(),
            told: Vec::new(),
            hooks_fail: false,
            hooks_hang: false,
        };
        let mut world = Self {
            now: 0,
            number: 0,
            queue: BTreeMap::new(),
            peers: (0..count).map(peer).collect(),
            weather: Weather::FAIR,
            cut: BTreeSet::new(),
            rng: Rng::fork(&bytes, "world"),
            checks: Checks::default(),
            config,
            led_by: None,
            sees_outcomes: true,
            asked: Vec::new(),
        };
        for at in 0..count {
            world.decides(at, |machine, cx| machine.start(cx, false));
            world.push(at as u64 * MS, Happening::Works { at });
        }
        world.run(20);
        let group: Vec<_> = (0..voters).map(|at| (world.peers[at].consensus.view().id(), 0)).collect();
        for at in 0..voters {
            world.decides(at, |machine, cx| machine.found(cx, Mint::new(7), &group).unwrap());
        }
        world
    }

    /// With a primary that serves.
    pub(super) fn served(seed: u64, count: usize, voters: usize, config: Config) -> (Self, usize) {
        let mut world = Self::new(seed, count, voters, config);
        world.until(5_000, |world| world.primary().is_some());
        world.run(200);
        let primary = world.primary().unwrap();
        (world, primary)
    }

    /// Who acts as the primary.
    pub(super) fn primary(&self) -> Option<usize> {
        let role = RoleName::primary();
        (0..self.peers.len()).find(|at| self.peers[*at].acts(*at, self.now, &role).is_some())
    }

    /// Who leads and knows all that is decided, with the highest term.
    pub(super) fn leader(&self) -> Option<usize> {
        let leads = |at: &usize| self.peers[*at].up && self.peers[*at].consensus.view().is_settled();
        (0..self.peers.len()).filter(leads).max_by_key(|at| self.peers[*at].consensus.view().term())
    }

    /// What is decided about the primary, as the leader knows it.
    pub(super) fn grant(&self) -> (Token, Grant) {
        let leader = self.leader().expect("somebody leads");
        let registers = self.peers[leader].consensus.view().registers();
        let mut decided = View::decided(registers).filter(|(role, ..)| *role == RoleName::primary());
        decided.next().map(|(_, token, grant)| (token, grant)).expect("it is decided")
    }

    /// What the peers know of one of them.
    pub(super) fn known(&mut self, node: usize, change: impl Fn(&mut Candidate)) {
        let id = self.peers[node].node;
        for peer in &mut self.peers {
            peer.candidates.iter_mut().filter(|it| it.node == id).for_each(&change);
        }
        for at in 0..self.peers.len() {
            if self.is_awake(at) {
                self.plays(at, |machine, cx, sight| machine.on_changed(cx, sight));
            }
        }
    }

    /// Whether it runs, and is not stopped.
    pub(super) fn is_awake(&self, at: usize) -> bool {
        self.peers[at].up && self.peers[at].paused_until <= self.now
    }

    /// One input of a peer's consensus; what it asks for is taken up.
    fn decides<T>(&mut self, at: usize, step: impl FnOnce(&mut Consensus, &mut Cx<'_, Consensus>) -> T) -> T {
        let (peer, mut ops) = (&mut self.peers[at], Vec::new());
        let now = peer.clock(at, self.now);
        let result = step(&mut peer.consensus, &mut Cx::new(now, &mut peer.luck.0, &mut ops));
        let term = peer.consensus.view().term();
        if peer.term != term {
            (peer.term, peer.rounds, peer.answered) = (term, BTreeMap::new(), BTreeMap::new());
        }
        let mut told = Vec::new();
        for op in ops {
            match op {
                Op::Send(to, message) => self.sends_decision(at, to, &message),
                Op::Persist(record, wait) => self.write(at, Writes::Decision(record, wait)),
                Op::Arm(timer, after) => self.arm(at, Clock::Decides(timer), after),
                Op::Disarm(timer) => drop(self.peers[at].timers.remove(&Clock::Decides(timer))),
                Op::Emit(event) => told.push(event),
                Op::Read(..) | Op::Task(_) => panic!("consensus reads nothing and has no tasks"),
            }
        }
        for event in told {
            self.on_decided(at, &event);
        }
        self.spread_leader();
        result
    }

    /// Those in no group hear a little later who leads.
    fn spread_leader(&mut self) {
        let leader = self.leader();
        if leader != std::mem::replace(&mut self.led_by, leader) {
            for at in 0..self.peers.len() {
                let after = self.drawn(self.weather.delay);
                self.push(after, Happening::Hears { at });
            }
        }
    }

    fn on_decided(&mut self, at: usize, event: &consensus::Event) {
        match event {
            consensus::Event::Committed { token, intent, outcome, .. } => {
                self.checks.on_committed(&self.config, *token, intent, *outcome);
                let request = intent.request;
                self.plays(at, |machine, cx, sight| machine.on_decided(cx, sight, request, *token, *outcome));
            }
            consensus::Event::Answered { request, answer: consensus::Answer::Decided { token, outcome } }
                if self.peers[at].roles.view().awaits(*request) =>
            {
                self.plays(at, |machine, cx, sight| machine.on_decided(cx, sight, *request, *token, *outcome));
            }
            consensus::Event::Elected { .. }
            | consensus::Event::Resigned { .. }
            | consensus::Event::Follows { .. }
            | consensus::Event::Installed { .. } => {
                self.plays(at, |machine, cx, sight| machine.on_changed(cx, sight));
            }
            _ => {}
        }
    }

    fn sends_decision(&mut self, at: usize, to: NodeId, message: &consensus::Message) {
        let now = self.peers[at].clock(at, self.now).mono;
        if let consensus::Body::Heartbeat { round, .. } = message.body {
            self.peers[at].rounds.entry(round).or_insert(now);
        }
        let bytes = bincode::encode_to_vec(message, bincode::config::standard()).unwrap();
        self.send(at, to, |to, from| Happening::Decides { to, from, bytes: bytes.clone() });
    }

    /// One input of a peer's roles; what it asks for is taken up.
    pub(super) fn plays<T>(
        &mut self,
        at: usize,
        step: impl FnOnce(&mut Roles, &mut Cx<'_, Roles>, &Sight<'_>) -> T,
    ) -> T {
        let leader = self.leader().map(|leader| self.peers[leader].node);
        let sees_outcomes = self.sees_outcomes;
        let (peer, mut ops) = (&mut self.peers[at], Vec::new());
        let now = peer.clock(at, self.now);
        let mandate = peer.mandate(now.mono);
        let Peer { consensus, roles, luck, candidates, .. } = peer;
        let view = consensus.view();
        let leader = if view.group().is_some() { view.leader().map(|leader| leader.node) } else { leader };
        let (commit, registers, decisions) = (view.commit(), view.registers(), sees_outcomes.then_some(view));
        let sight = Sight { leader, mandate, commit, registers, decisions, candidates };
        let result = step(roles, &mut Cx::new(now, &mut luck.1, &mut ops), &sight);
        for op in ops {
            match op {
                Op::Send(to, message) => {
                    let bytes = bincode::encode_to_vec(&message, bincode::config::standard()).unwrap();
                    assert!(bytes.len() < 200, "a frame of {} bytes", bytes.len());
                    self.send(at, to, |to, from| Happening::Arrives { to, from, bytes: bytes.clone() });
                }
                Op::Persist(record, wait) => self.write(at, Writes::Fence(record, wait)),
                Op::Arm(timer, after) => self.arm(at, Clock::Roles(timer), after),
                Op::Disarm(timer) => drop(self.peers[at].timers.remove(&Clock::Roles(timer))),
                Op::Emit(event) => self.on_event(at, event),
                Op::Read(..) | Op::Task(_) => panic!("this room reads nothing and has no tasks"),
            }
        }
        self.checks.after_step(&self.peers, self.now, &self.config.roles);
        result
    }

    fn on_event(&mut self, at: usize, event: Event) {
        self.peers[at].told.push(event.clone());
        match event {
            Event::Propose { intent } => self.propose(at, intent),
            Event::Promote { role, token, .. } => {
                self.checks.on_promote(&self.peers, at, self.now, &role, token);
                if !self.peers[at].hooks_hang {
                    self.hooks(at, role, token);
                }
            }
            Event::Demote { role, token, why, .. } => {
                let is_late = self.peers[at].was_paused(self.now) || why == Why::Restarted;
                let ending = Ending { token, is_late };
                self.peers[at].ending.insert(role.clone(), ending);
                self.hooks(at, role, token);
            }
            Event::StopHooks { role, token } => {
                self.push(0, Happening::Hooks { at, boot: self.peers[at].boot, role, token })
            }
            Event::Admitted { ticket, result } => {
                let (role, token) = self.peers[at].tickets.remove(&ticket).expect("it waited");
                match result {
                    Ok(()) => self.checks.on_admitted(at, &role, token),
                    Err(_) => self.checks.on_refused(at, &role, token),
                }
            }
            Event::PeerFault { .. } => panic!("{event:?}"),
            _ => {}
        }
    }

    fn propose(&mut self, at: usize, intent: Intent) {
        Checks::on_propose(&self.peers[at], &self.config, &intent);
        let request = intent.request;
        if let Err(why) = self.decides(at, |machine, cx| machine.propose(cx, intent)) {
            self.plays(at, |machine, cx, _| machine.on_refused(cx, request, &why));
        }
    }

    /// Hooks run, and end after a while.
    fn hooks(&mut self, at: usize, role: RoleName, token: Token) {
        let after = self.drawn(self.weather.hooks);
        let boot = self.peers[at].boot;
        self.push(after, Happening::Hooks { at, boot, role, token });
    }

    fn write(&mut self, at: usize, write: Writes) {
        let idle = self.peers[at].writes.is_empty();
        self.peers[at].writes.push_back(write);
        if idle {
            self.sync(at);
        }
    }

    fn arm(&mut self, at: usize, clock: Clock, after: Duration) {
        self.number += 1;
        let (number, boot) = (self.number, self.peers[at].boot);
        self.peers[at].timers.insert(clock.clone(), number);
        let real =
            u64::try_from(after.as_nanos()).unwrap() * 1_000 / u64::try_from(1_000 + self.peers[at].drift).unwrap();
        self.push(real, Happening::Fires { at, boot, clock, number });
    }

    fn send(&mut self, at: usize, to: NodeId, happening: impl Fn(usize, usize) -> Happening) {
        let Some(to) = self.peers.iter().position(|peer| peer.node == to) else { return };
        if self.cut.contains(&(at, to)) || self.rng.below(1_000) < self.weather.lost {
            return;
        }
        let copies = 1 + u64::from(self.rng.below(1_000) < self.weather.doubled);
        for _ in 0..copies {
            let is_late = self.rng.below(1_000) < self.weather.late;
            let after = if is_late { self.rng.below(1_000 * MS) } else { self.drawn(self.weather.delay) };
            self.push(after, happening(to, at));
        }
    }

    fn drawn(&mut self, (least, most): (u64, u64)) -> u64 {
        1_000 * (least + self.rng.below(most - least + 1))
    }

    fn sync(&mut self, at: usize) {
        let boot = self.peers[at].boot;
        let after = self.drawn(self.weather.sync);
        self.push(after, Happening::Synced { at, boot });
    }

    fn push(&mut self, after: u64, happening: Happening) {
        self.number += 1;
        self.queue.insert((self.now + after, self.number), happening);
    }

    /// Goes on for so many milliseconds.
    pub(super) fn run(&mut self, ms: u64) {
        self.run_nanos(ms * MS);
    }

    fn run_nanos(&mut self, nanos: u64) {
        let until = self.now + nanos;
        while let Some(first) = self.queue.first_entry().filter(|first| first.key().0 <= until) {
            self.now = first.key().0;
            let happening = first.remove();
            self.happens(happening);
        }
        self.now = until;
    }

    /// Goes on until something is so. Milliseconds that took; panics after `most`.
    pub(super) fn until(&mut self, most: u64, is_so: impl Fn(&Self) -> bool) -> u64 {
        let began = self.now;
        while !is_so(self) {
            assert!(self.now - began <= most * MS, "it took more than {most} ms");
            self.run_nanos(MS / 4);
        }
        (self.now - began) / MS
    }

    fn happens(&mut self, happening: Happening) {
        let at = match &happening {
            Happening::Decides { to: at, .. }
            | Happening::Arrives { to: at, .. }
            | Happening::Fires { at, .. }
            | Happening::Synced { at, .. }
            | Happening::Closed { at, .. }
            | Happening::Hooks { at, .. }
            | Happening::Works { at }
            | Happening::Hears { at }
            | Happening::ActedUpon { at, .. } => *at,
        };
        if let Happening::Works { at } = happening {
            return self.works(at);
        }
        if self.peers[at].paused_until > self.now {
            let after = self.peers[at].paused_until - self.now;
            return self.push(after, happening);
        }
        if self.peers[at].up {
            self.befalls(at, happening);
        }
    }

    fn befalls(&mut self, at: usize, happening: Happening) {
        match happening {
            Happening::Decides { from, bytes, .. } => self.takes_decision(at, from, &bytes),
            Happening::Arrives { from, bytes, .. } => {
                let node = self.peers[from].node;
                let (message, _): (Message, usize) =
                    bincode::decode_from_slice(&bytes, bincode::config::standard()).unwrap();
                self.takes(at, node, message);
            }
            Happening::Fires { boot, clock, number, .. } => {
                if self.peers[at].boot == boot && self.peers[at].timers.get(&clock) == Some(&number) {
                    self.peers[at].timers.remove(&clock);
                    match clock {
                        Clock::Decides(timer) => self.decides(at, |machine, cx| machine.on_timer(cx, timer)),
                        Clock::Roles(timer) => self.plays(at, |machine, cx, sight| machine.on_timer(cx, sight, &timer)),
                    }
                }
            }
            Happening::Synced { boot, .. } => self.synced(at, boot),
            Happening::Closed { peer, .. } => {
                self.decides(at, |machine, cx| machine.on_unlinked(cx, peer));
                self.plays(at, |machine, cx, sight| machine.on_unlinked(cx, sight, peer));
            }
            Happening::Hooks { boot, role, token, .. } => self.hooks_done(at, boot, &role, token),
            Happening::ActedUpon { role, token, .. } => self.acted_upon(at, &role, token),
            Happening::Hears { .. } => self.plays(at, |machine, cx, sight| machine.on_changed(cx, sight)),
            Happening::Works { .. } => {}
        }
    }

    fn takes(&mut self, at: usize, from: NodeId, message: Message) {
        self.plays(at, |machine, cx, sight| machine.on_message(cx, sight, from, message));
    }

    fn takes_decision(&mut self, at: usize, from: usize, bytes: &[u8]) {
        let node = self.peers[from].node;
        let (message, _): (consensus::Message, usize) =
            bincode::decode_from_slice(bytes, bincode::config::standard()).unwrap();
        if let consensus::Body::Heard { round } = message.body
            && message.term == self.peers[at].consensus.view().term()
        {
            let answered = self.peers[at].answered.entry(Actor { node, mint: message.from }).or_default();
            *answered = round.max(*answered);
        }
        self.decides(at, |machine, cx| machine.on_message(cx, node, message));
    }

    fn hooks_done(&mut self, at: usize, boot: u64, role: &RoleName, token: Token) {
        if self.peers[at].boot != boot {
            return;
        }
        let is_ending = self.peers[at].ending.get(role).is_some_and(|ending| ending.token == token);
        if is_ending {
            self.peers[at].ending.remove(role);
        }
        // Told once: what was stopped is not told again.
        let holding = self.peers[at].roles.view().holdings().find(|(of, it)| *of == role && it.token == token);
        let Some((_, holding)) = holding else { return };
        if holding.is_ending == is_ending {
            let is_well = is_ending || !self.peers[at].hooks_fail;
            let which = if is_ending { Hooks::End } else { Hooks::Begin };
            self.plays(at, |machine, cx, sight| machine.on_hooks_done(cx, sight, role, token, (which, is_well)));
        }
    }

    /// Whoever acts does something to everybody; now and then it is long under way.
    fn works(&mut self, at: usize) {
        self.push(40 * MS, Happening::Works { at });
        if self.peers[at].paused_until > self.now {
            return;
        }
        for role in self.config.roles.clone() {
            let Some(token) = self.peers[at].acts(at, self.now, &role) else { continue };
            let late = if self.rng.below(20) == 0 { self.rng.below(2_000) * MS } else { 0 };
            for other in 0..self.peers.len() {
                if !self.cut.contains(&(at, other)) {
                    let after = late + self.drawn(self.weather.delay);
                    self.push(after, Happening::ActedUpon { at: other, role: role.clone(), token });
                }
            }
        }
    }

    fn acted_upon(&mut self, at: usize, role: &RoleName, token: Token) {
        self.number += 1;
        let ticket = self.number;
        self.peers[at].tickets.insert(ticket, (role.clone(), token));
        match self.plays(at, |machine, cx, sight| machine.admit(cx, sight, role, token, ticket)) {
            Ok(Admission::Later) => return,
            Ok(Admission::Admitted) => self.checks.on_admitted(at, role, token),
            Err(_) => self.checks.on_refused(at, role, token),
        }
        self.peers[at].tickets.remove(&ticket);
    }

    /// All that was written until now is durable: one sync serves all that wait.
    fn synced(&mut self, at: usize, boot: u64) {
        if self.peers[at].boot != boot {
            return;
        }
        let config = bincode::config::standard();
        let writes = std::mem::take(&mut self.peers[at].writes);
        for write in &writes {
            let written = match write {
                Writes::Decision(record, _) => Written::Decision(bincode::encode_to_vec(record, config).unwrap()),
                Writes::Fence(record, _) => Written::Fence(bincode::encode_to_vec(record, config).unwrap()),
            };
            self.peers[at].disk.push(written);
        }
        for write in writes {
            match write {
                Writes::Decision(_, wait) => self.decides(at, |machine, cx| machine.on_persisted(cx, wait, Ok(()))),
                Writes::Fence(_, wait) => {
                    self.plays(at, |machine, cx, sight| machine.on_persisted(cx, sight, &wait, &Ok(())));
                }
            }
        }
        if !self.peers[at].writes.is_empty() {
            self.sync(at);
        }
    }

    /// It loses what was not durable; the others see the link close, if it is not cut.
    pub(super) fn crash(&mut self, at: usize, is_seen: bool) {
        let peer = &mut self.peers[at];
        peer.up = false;
        peer.boot += 1;
        peer.writes.clear();
        peer.timers.clear();
        peer.ending.clear();
        peer.tickets.clear();
        peer.paused_until = 0;
        let node = peer.node;
        for other in (0..self.peers.len()).filter(|other| is_seen && *other != at) {
            if !self.cut.contains(&(at, other)) {
                // Behind all that is under way: links keep the order.
                self.push(self.weather.delay.1 * 1_000, Happening::Closed { at: other, peer: node });
            }
        }
    }

    /// It starts from what is on its disk.
    pub(super) fn restart(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        peer.consensus = Consensus::new(peer.node, awake());
        peer.roles = Roles::new(peer.node, self.config.clone());
        for written in &peer.disk {
            match written {
                Written::Decision(bytes) => {
                    let (record, _) = bincode::decode_from_slice(bytes, bincode::config::standard()).unwrap();
                    peer.consensus.restore(&record).unwrap();
                }
                Written::Fence(bytes) => {
                    let (record, _) = bincode::decode_from_slice(bytes, bincode::config::standard()).unwrap();
                    peer.roles.restore(&record);
                }
            }
        }
        peer.up = true;
        let node = peer.node;
        self.decides(at, |machine, cx| machine.start(cx, false));
        self.plays(at, |machine, cx, sight| machine.start(cx, sight));
        for other in (0..self.peers.len()).filter(|other| *other != at) {
            if self.peers[other].up {
                self.decides(other, |machine, cx| machine.on_linked(cx, node));
            }
        }
    }

    /// It is stopped for so long, as by SIGSTOP: nothing reaches it, and its clock goes on.
    pub(super) fn pause(&mut self, at: usize, ms: u64) {
        self.peers[at].paused_until = self.now + ms * MS;
        self.peers[at].was_paused_at = Some(self.now + ms * MS);
    }

    /// Nothing goes between these and the others, for what is sent from now on.
    pub(super) fn isolate(&mut self, some: &[usize]) {
        for a in 0..self.peers.len() {
            for b in 0..self.peers.len() {
                if some.contains(&a) != some.contains(&b) {
                    self.cut.insert((a, b));
                }
            }
        }
    }

    /// No message about roles that is under way to it arrives.
    pub(super) fn lose_what_is_under_way_to(&mut self, at: usize) {
        self.queue.retain(|_, happening| !matches!(happening, Happening::Arrives { to, .. } if *to == at));
    }

    /// Whether a peer knows what was decided under an order's name.
    pub(super) fn is_decided_at(&self, at: usize, id: RequestId) -> bool {
        self.peers[at].consensus.view().outcome(id).is_some()
    }

    /// The others see their links to it close.
    pub(super) fn close_links(&mut self, at: usize) {
        let node = self.peers[at].node;
        for other in (0..self.peers.len()).filter(|other| *other != at) {
            self.push(self.weather.delay.1 * 1_000, Happening::Closed { at: other, peer: node });
        }
    }

    /// Somebody suspects somebody.
    pub(super) fn suspects(&mut self, at: usize, peer: usize) {
        let node = self.peers[peer].node;
        self.plays(at, |machine, cx, sight| machine.on_suspected(cx, sight, node));
    }

    /// An operator asks the leader. Nothing if there is none.
    pub(super) fn order(&mut self, what: OrderWhat, seconds: u64) -> Option<Result<RequestId, OrderError>> {
        let leader = self.leader().filter(|leader| self.is_awake(*leader))?;
        let order = self.ordered(leader, what, seconds);
        Some(self.plays(leader, |machine, cx, sight| machine.order(cx, sight, &order)).map(|()| order.id))
    }

    /// An operator asks any peer.
    pub(super) fn order_at(&mut self, at: usize, what: OrderWhat, seconds: u64) -> RequestId {
        let order = self.ordered(at, what, seconds);
        let id = order.id;
        self.asked.push((id, at, self.peers[at].boot));
        self.plays(at, |machine, cx, sight| machine.ask(cx, sight, order));
        id
    }

    fn ordered(&mut self, at: usize, what: OrderWhat, seconds: u64) -> Order {
        let born = self.peers[at].consensus.view().commit();
        let id = RequestId { born, number: u128::from(self.rng.bits()) };
        let wall = self.peers[at].clock(at, self.now).wall;
        let expires = WallTime::from_micros(wall.as_micros() + seconds * 1_000_000);
        let (by, role) = (consensus::Name::new("somebody").unwrap(), RoleName::primary());
        Order { id, expires, by, role, what }
    }

    /// The office of consensus goes to somebody else.
    pub(super) fn transfer(&mut self) {
        if let Some(leader) = self.leader().filter(|leader| self.is_awake(*leader)) {
            let _ = self.decides(leader, |machine, cx| machine.transfer(cx, None));
        }
    }

    /// What was told of an order.
    pub(super) fn answer(&self, id: RequestId) -> Option<Result<Token, OrderError>> {
        let answers = self.peers.iter().flat_map(|peer| &peer.told);
        answers.rev().find_map(|event| match event {
            Event::Ordered { id: of, result } if *of == id => Some(result.clone()),
            _ => None,
        })
    }

    /// L8: what a peer was asked for it answers once, if it lives on.
    fn all_are_answered(&self) {
        for (id, at, boot) in &self.asked {
            let is_answer = |event: &&Event| matches!(event, Event::Ordered { id: of, .. } if of == id);
            let answers = self.peers[*at].told.iter().filter(is_answer).count();
            assert!(answers == 1 || self.peers[*at].boot != *boot, "L8: {answers} answers to an order");
        }
    }

    /// Draws.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.rng.below(bound)
    }

    /// All that is wrong with the world ends, and it has to become one again: L6.
    pub(super) fn heal(&mut self) {
        (self.weather, self.cut) = (Weather::FAIR, BTreeSet::new());
        for at in 0..self.peers.len() {
            self.peers[at].paused_until = self.peers[at].paused_until.min(self.now);
            (self.peers[at].hooks_fail, self.peers[at].hooks_hang) = (false, false);
            if !self.peers[at].up {
                self.restart(at);
            }
            self.known(at, |it| (it.healthy, it.lag) = (true, 0));
        }
        self.run(3_000);
        let _ = self.order(OrderWhat::Resume, 5);
        self.all_are_answered();
        // Who was passed over is so no more after a while.
        let shun = u64::try_from(self.config.failover.shun.as_millis()).unwrap();
        self.run(2_000 + shun);
        for role in self.config.roles.clone() {
            let acts = |at: usize| self.peers[at].acts(at, self.now, &role);
            let acting: Vec<_> = (0..self.peers.len()).filter_map(|at| acts(at).map(|token| (at, token))).collect();
            assert_eq!(acting.len(), 1, "L6: {acting:?} act as {role} in a healed world");
            let (at, token) = acting[0];
            let registers = self.peers[self.leader().expect("L6: somebody leads")].consensus.view().registers();
            let decided =
                View::decided(registers).find(|(of, ..)| *of == role).map(|(_, token, it)| (it.holder, token));
            assert_eq!(decided, Some((Some(self.peers[at].node), token)), "L6: who acts is who was granted {role}");
        }
    }
}
