//! All that can happen, up to a bound, by a model checker that others wrote (`stateright`): two and three voters of this very machine; any order
//! of messages, which may also never arrive; timers, syncs and crashes at any moment.
//!
//! Time stands still: timers fire when they like. Heartbeats are left out, since they say nothing that entries do not say.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash, Hasher};

use stateright::{Checker, Model, Property};

use super::*;
use crate::machine::{Op, Rng};
use crate::types::{Now, WallTime, digest64};

/// How much may happen.
#[derive(Clone, Copy)]
struct Bounds {
    voters: usize,
    /// Timers of elections that fire, crashes, and actions that leaders are asked for.
    fires: usize,
    crashes: usize,
    asks: usize,
    /// Steps from the beginning at most.
    depth: usize,
    /// A crash takes the last record that was durable: no voter may do that, and it must be seen.
    forgets: bool,
}

/// What can come next.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Arrives(usize),
    IsSynced(usize),
    Fires(usize),
    Crashes(usize),
    IsAsked(usize),
}

/// One state of the whole: the machines, their disks, and what is under way.
#[derive(Clone)]
struct Whole {
    machines: Vec<Consensus>,
    disks: Vec<Vec<Record>>,
    writes: Vec<VecDeque<(Record, Wait)>>,
    messages: Vec<(usize, usize, Message)>,
    left: Bounds,
    /// Who led in which term, who voted for whom, and what is committed: they are laws over all time.
    leaders: BTreeMap<Term, Actor>,
    votes: BTreeMap<(Actor, Term), Actor>,
    committed: BTreeMap<Index, Term>,
    broken: Vec<&'static str>,
    digest: u64,
}

impl fmt::Debug for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, leaders, votes, committed, broken, .. } = self;
        write!(f, "{messages:?} {leaders:?} {votes:?} {committed:?} {broken:?}")
    }
}

impl Hash for Whole {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.digest);
    }
}

impl PartialEq for Whole {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Whole {
    fn new(bounds: Bounds) -> Self {
        let id = |at: usize| Actor { node: NodeId::from_u128(at as u128 + 1), mint: Mint::new(at as u64 + 1) };
        let group: Vec<_> = (0..bounds.voters).map(|at| (id(at), 0)).collect();
        let mut whole = Self {
            machines: Vec::new(),
            disks: vec![Vec::new(); bounds.voters],
            writes: vec![VecDeque::new(); bounds.voters],
            messages: Vec::new(),
            left: bounds,
            leaders: BTreeMap::new(),
            votes: BTreeMap::new(),
            committed: BTreeMap::new(),
            broken: Vec::new(),
            digest: 0,
        };
        for at in 0..bounds.voters {
            let mut machine = Consensus::new(id(at).node, awake());
            let named = Record::Named { mint: id(at).mint };
            machine.restore(&named).unwrap();
            whole.disks[at].push(named);
            whole.machines.push(machine);
            whole.step(at, |machine, cx| machine.found(cx, Mint::new(7), &group).unwrap());
            whole.sync(at);
        }
        whole.digest = whole.digest();
        whole
    }

    fn must(&mut self, law: &'static str, holds: bool) {
        if !holds && !self.broken.contains(&law) {
            self.broken.push(law);
        }
    }

    fn step(&mut self, at: usize, step: impl FnOnce(&mut Consensus, &mut Cx<'_, Consensus>)) {
        let (mut rng, mut ops) = (Rng::fork(&[1; 32], &at.to_string()), Vec::new());
        step(&mut self.machines[at], &mut Cx::new(Now::default(), &mut rng, &mut ops));
        let me = self.machines[at].me;
        for op in ops {
            match op {
                Op::Send(to, message) => self.send(at, usize::from(to.as_bytes()[15]) - 1, message),
                Op::Persist(record, wait) => self.writes[at].push_back((record, wait)),
                Op::Emit(Event::Elected { term }) => {
                    let first = *self.leaders.entry(term).or_insert(me);
                    self.must(ONE_LEADER, first == me);
                }
                _ => {}
            }
        }
        self.look(at);
    }

    fn send(&mut self, at: usize, to: usize, message: Message) {
        let me = self.machines[at].me;
        let voted = match message.body {
            Body::Voted { granted: true } => Some(self.machines[to].me),
            Body::Ask { ballot: Ballot::Vote, .. } => Some(me),
            _ => None,
        };
        if let Some(voted) = voted {
            let first = *self.votes.entry((me, message.term)).or_insert(voted);
            self.must(ONE_VOTE, first == voted);
        }
        if !matches!(message.body, Body::Heartbeat { .. } | Body::Heard { .. }) {
            self.messages.push((at, to, message));
        }
    }

    /// What is committed is the same everywhere, and every later leader holds it.
    fn look(&mut self, at: usize) {
        let machine = self.machines[at].clone();
        for index in (2..=machine.commit.value()).map(Index::new) {
            let term = machine.log.term(index).expect("nothing is compacted here");
            let known = *self.committed.entry(index).or_insert(term);
            self.must(NEVER_LOST, known == term);
        }
        if matches!(machine.office, Office::Leader(_)) {
            let holds =
                |(index, term): (&Index, &Term)| *term >= machine.term || machine.log.term(*index) == Some(*term);
            let all = self.committed.iter().all(holds);
            self.must(NEVER_LOST, all);
        }
    }

    fn sync(&mut self, at: usize) {
        while let Some((record, wait)) = self.writes[at].pop_front() {
            self.disks[at].push(record);
            self.step(at, |machine, cx| machine.on_persisted(cx, wait, Ok(())));
        }
    }

    fn crash(&mut self, at: usize) {
        self.writes[at].clear();
        if self.left.forgets && self.disks[at].len() > 2 {
            self.disks[at].pop();
        }
        let mut machine = Consensus::new(self.machines[at].me.node, awake());
        self.disks[at].iter().for_each(|record| machine.restore(record).unwrap());
        self.machines[at] = machine;
        self.step(at, |machine, cx| machine.start(cx, false));
    }

    fn ask(&mut self, at: usize) {
        let number = self.left.asks as u128;
        let request = RequestId { born: Index::ZERO, number };
        let action = Action { name: Name::new("it").unwrap(), expect: Expect::Any, value: None };
        let intent = Intent { request, expires: WallTime::from_micros(u64::MAX), action };
        self.step(at, |machine, cx| _ = machine.propose(cx, intent));
    }

    fn digest(&self) -> u64 {
        let mut messages: Vec<_> = self.messages.iter().map(|message| format!("{message:?}")).collect();
        messages.sort_unstable();
        let Bounds { fires, crashes, asks, .. } = self.left;
        let past = (&self.leaders, &self.votes, &self.committed, &self.broken);
        let rest = (&self.machines, &self.writes, &self.disks, fires, crashes, asks, past);
        digest64(format!("{rest:?}{messages:?}").as_bytes()).value()
    }
}

const ONE_LEADER: &str = "a term has one leader";
const ONE_VOTE: &str = "a store votes once in a term";
const NEVER_LOST: &str = "what is committed is in every log of a later leader, and the same everywhere";

impl Model for Bounds {
    type State = Whole;
    type Action = Step;

    fn init_states(&self) -> Vec<Whole> {
        vec![Whole::new(*self)]
    }

    fn actions(&self, whole: &Whole, steps: &mut Vec<Step>) {
        steps.extend((0..whole.messages.len()).map(Step::Arrives));
        for at in 0..whole.machines.len() {
            let leads = matches!(whole.machines[at].office, Office::Leader(_));
            let can = [
                (!whole.writes[at].is_empty(), Step::IsSynced(at)),
                (whole.left.fires > 0 && !leads, Step::Fires(at)),
                (whole.left.crashes > 0, Step::Crashes(at)),
                (whole.left.asks > 0 && leads, Step::IsAsked(at)),
            ];
            steps.extend(can.into_iter().filter(|(can, _)| *can).map(|(_, step)| step));
        }
    }

    fn next_state(&self, last: &Whole, step: Step) -> Option<Whole> {
        let mut next = last.clone();
        match step {
            Step::Arrives(number) => {
                let (from, to, message) = next.messages.remove(number);
                let node = next.machines[from].me.node;
                next.step(to, |machine, cx| machine.on_message(cx, node, message));
            }
            Step::IsSynced(at) => next.sync(at),
            Step::Fires(at) => {
                next.left.fires -= 1;
                next.step(at, |machine, cx| machine.on_timer(cx, Timer::Election));
            }
            Step::Crashes(at) => {
                next.left.crashes -= 1;
                next.crash(at);
            }
            Step::IsAsked(at) => {
                next.ask(at);
                next.left.asks -= 1;
            }
        }
        next.digest = next.digest();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = vec![
            Property::always(ONE_LEADER, |_, whole: &Whole| !whole.broken.contains(&ONE_LEADER)),
            Property::always(ONE_VOTE, |_, whole: &Whole| !whole.broken.contains(&ONE_VOTE)),
            Property::always(NEVER_LOST, |_, whole: &Whole| !whole.broken.contains(&NEVER_LOST)),
            Property::sometimes("somebody leads", |_, whole: &Whole| !whole.leaders.is_empty()),
        ];
        if self.asks > 0 {
            all.push(Property::sometimes("something is committed", |_, whole: &Whole| !whole.committed.is_empty()));
        }
        all
    }
}

/// Explores all of it, and says how much that was.
fn explored(bounds: Bounds) -> impl Checker<Bounds> {
    let checker = bounds.checker().threads(1).target_max_depth(bounds.depth).spawn_bfs().join();
    let Bounds { voters, fires, crashes, asks, .. } = bounds;
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{voters} voters, {fires} timers, {crashes} crashes, {asks} actions: {states} states, {depth} steps deep");
    checker
}

#[test]
fn everything_that_can_happen_to_two_voters_is_lawful() {
    let bounds = Bounds { voters: 2, fires: 2, crashes: 1, asks: 1, depth: 18, forgets: false };
    explored(bounds).assert_properties();
}

#[test]
fn everything_that_can_happen_to_three_voters_is_lawful() {
    let bounds = Bounds { voters: 3, fires: 2, crashes: 1, asks: 0, depth: 10, forgets: false };
    explored(bounds).assert_properties();
    // One who seeks office alone gets further: to what is committed.
    let bounds = Bounds { voters: 3, fires: 1, crashes: 0, asks: 1, depth: 13, forgets: false };
    explored(bounds).assert_properties();
}

/// The checker would see it: a store that forgets its vote gives another one.
#[test]
fn what_a_disk_forgets_is_seen() {
    let bounds = Bounds { voters: 2, fires: 2, crashes: 1, asks: 0, depth: 13, forgets: true };
    assert!(explored(bounds).discovery(ONE_VOTE).is_some());
}
