//! All that can happen, up to a bound: two and three voters, any order of messages, timers, syncs and crashes.

use std::collections::{BTreeSet, VecDeque};

use super::*;
use crate::machine::{Op, Rng};
use crate::types::{Now, digest64};

/// One state of the whole: the machines, their disks, and what is under way. Time stands still: timers fire when they like.
#[derive(Clone)]
struct Whole {
    machines: Vec<Consensus>,
    disks: Vec<Vec<Record>>,
    writes: Vec<VecDeque<(Record, Wait)>>,
    messages: Vec<(usize, usize, Message)>,
    fires: usize,
    crashes: usize,
    /// Who led in which term, who voted for whom, and what is committed: they are laws over all time.
    leaders: BTreeMap<Term, Actor>,
    votes: BTreeMap<(Actor, Term), Actor>,
    committed: BTreeMap<Index, Term>,
}

impl Whole {
    fn new(voters: usize, fires: usize, crashes: usize) -> Self {
        let id = |at: usize| Actor { node: NodeId::from_u128(at as u128 + 1), mint: Mint::new(at as u64 + 1) };
        let group: Vec<_> = (0..voters).map(|at| (id(at), 0)).collect();
        let mut whole = Self {
            machines: Vec::new(),
            disks: vec![Vec::new(); voters],
            writes: vec![VecDeque::new(); voters],
            messages: Vec::new(),
            fires,
            crashes,
            leaders: BTreeMap::new(),
            votes: BTreeMap::new(),
            committed: BTreeMap::new(),
        };
        for at in 0..voters {
            let mut machine = Consensus::new(id(at).node, awake());
            let named = Record::Named { mint: id(at).mint };
            machine.restore(&named).unwrap();
            whole.disks[at].push(named);
            whole.machines.push(machine);
            whole.step(at, |machine, cx| machine.found(cx, Mint::new(7), &group).unwrap());
            whole.sync(at);
        }
        whole
    }

    fn step(&mut self, at: usize, step: impl FnOnce(&mut Consensus, &mut Cx<'_, Consensus>)) {
        let (mut rng, mut ops) = (Rng::fork(&[1; 32], &at.to_string()), Vec::new());
        step(&mut self.machines[at], &mut Cx::new(Now::default(), &mut rng, &mut ops));
        let me = self.machines[at].me;
        for op in ops {
            match op {
                Op::Send(to, message) => {
                    let to = usize::from(to.as_bytes()[15]) - 1;
                    let voted = match message.body {
                        Body::Voted { granted: true } => Some(self.machines[to].me),
                        Body::Ask { ballot: Ballot::Vote, .. } => Some(me),
                        _ => None,
                    };
                    if let Some(voted) = voted {
                        let first = *self.votes.entry((me, message.term)).or_insert(voted);
                        assert_eq!(first, voted, "R7: two votes in one term");
                    }
                    // Heartbeats say nothing that entries do not say.
                    if !matches!(message.body, Body::Heartbeat { .. } | Body::Heard { .. }) {
                        self.messages.push((at, to, message));
                    }
                }
                Op::Persist(record, wait) => self.writes[at].push_back((record, wait)),
                Op::Emit(Event::Elected { term }) => {
                    let first = *self.leaders.entry(term).or_insert(me);
                    assert_eq!(first, me, "R1: two leaders in one term");
                }
                _ => {}
            }
        }
        let machine = &self.machines[at];
        for index in (2..=machine.commit.value()).map(Index::new) {
            let term = machine.log.term(index).expect("nothing is compacted here");
            assert_eq!(*self.committed.entry(index).or_insert(term), term, "R5: two entries at one place");
        }
        if matches!(machine.office, Office::Leader(_)) {
            let holds =
                |(index, term): (&Index, &Term)| *term >= machine.term || machine.log.term(*index) == Some(*term);
            assert!(self.committed.iter().all(holds), "R4: a leader does not hold what is committed");
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
        let mut machine = Consensus::new(self.machines[at].me.node, awake());
        self.disks[at].iter().for_each(|record| machine.restore(record).unwrap());
        self.machines[at] = machine;
        self.step(at, |machine, cx| machine.start(cx, false));
    }

    /// All that can come next.
    fn next(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let mut add = |change: &dyn Fn(&mut Self)| {
            let mut next = self.clone();
            change(&mut next);
            all.push(next);
        };
        for number in 0..self.messages.len() {
            add(&|next| {
                let (from, to, message) = next.messages.remove(number);
                let node = next.machines[from].me.node;
                next.step(to, |machine, cx| machine.on_message(cx, node, message));
            });
        }
        for at in 0..self.machines.len() {
            if !self.writes[at].is_empty() {
                add(&|next| next.sync(at));
            }
            if self.fires > 0 && !matches!(self.machines[at].office, Office::Leader(_)) {
                add(&|next| {
                    next.fires -= 1;
                    next.step(at, |machine, cx| machine.on_timer(cx, Timer::Election));
                });
            }
            if self.crashes > 0 {
                add(&|next| {
                    next.crashes -= 1;
                    next.crash(at);
                });
            }
        }
        all
    }

    fn digest(&self) -> u64 {
        let mut messages: Vec<_> = self.messages.iter().map(|message| format!("{message:?}")).collect();
        messages.sort_unstable();
        let rest = (&self.machines, &self.writes, self.fires, self.crashes, &self.votes);
        digest64(format!("{rest:?}{messages:?}").as_bytes()).value()
    }
}

/// Looks at all that can come, the nearest first, up to so many states; how many there were, and in how many somebody led.
fn explore(begin: Whole, most: usize) -> (usize, usize) {
    let (mut seen, mut led) = (BTreeSet::from([begin.digest()]), 0);
    let mut open = VecDeque::from([begin]);
    while let Some(whole) = open.pop_front() {
        led += usize::from(!whole.leaders.is_empty());
        for next in whole.next() {
            if seen.len() < most && seen.insert(next.digest()) {
                open.push_back(next);
            }
        }
    }
    (seen.len(), led)
}

#[test]
fn everything_that_can_happen_to_two_voters_is_lawful() {
    let (states, led) = explore(Whole::new(2, 2, 1), 4_000);
    println!("{states} states, in {led} of them somebody led");
    assert!(led > 100);
}

#[test]
fn everything_that_can_happen_to_three_voters_is_lawful() {
    let (states, led) = explore(Whole::new(3, 2, 0), 4_000);
    println!("{states} states, in {led} of them somebody led");
}
