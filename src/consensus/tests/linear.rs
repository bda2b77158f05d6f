//! What clients see could have come from registers that do one thing at a time (Herlihy, Wing, "Linearizability: A Correctness Condition for
//! Concurrent Objects", TOPLAS 1990), as judged by a checker that others wrote: porcupine (Horn, Kroening, FMCAD 2015).

use std::collections::BTreeMap;

use porcupine_rs::{Model, Operation, check_operations};

use super::world::{MS, Weather, World};
use super::*;
use crate::types::WallTime;

/// How long a world lives, in milliseconds, before all that is wrong with it ends.
const LIFE: u64 = 1_500;
const REGISTERS: u64 = 2;

/// One register, known by the decision that set it last.
#[derive(Clone, Debug)]
struct Registers;

/// What came of something that a client asked of a register.
#[derive(Clone, Debug)]
enum Seen {
    Set(Token),
    /// Set, since it held what was expected.
    Swapped(Option<Token>, Token),
    /// Not set, since it held this.
    Held(Option<Token>),
    Read(Option<Token>),
}

impl Model for Registers {
    type State = Option<Token>;
    type Op = (u64, Seen);
    type Metadata = ();

    fn partition_operations(history: &[Operation<Self>]) -> Vec<Vec<Operation<Self>>> {
        let of = |register: u64| history.iter().filter(|it| it.op.0 == register).cloned().collect();
        (0..REGISTERS).map(of).collect()
    }

    fn init() -> Self::State {
        None
    }

    fn step(state: &Self::State, (_, seen): &Self::Op) -> (bool, Self::State) {
        match *seen {
            Seen::Set(token) => (true, Some(token)),
            Seen::Swapped(from, to) => (*state == from, Some(to)),
            Seen::Held(holds) => (*state == holds, *state),
            Seen::Read(read) => (*state == read, *state),
        }
    }
}

/// A request that was taken on.
struct Asked {
    register: u64,
    expect: Expect,
    call: u64,
    /// When its answer came, if it did.
    answered: Option<u64>,
}

/// A world whose clients write down what they asked and saw.
struct Observed {
    world: World,
    asked: BTreeMap<RequestId, Asked>,
    refused: Vec<RequestId>,
    reads: BTreeMap<u64, (u64, u64)>,
    history: Vec<Operation<Registers>>,
}

fn name(register: u64) -> Name {
    Name::new(&format!("register {register}")).unwrap()
}

fn operation(call: u64, answered: Option<u64>, register: u64, seen: Seen) -> Operation<Registers> {
    let time = |at: u64| i64::try_from(at).unwrap();
    let (client_id, metadata) = (None, None);
    let return_time = answered.map_or(i64::MAX, time);
    Operation { client_id, call_time: time(call), return_time, op: (register, seen), metadata }
}

impl Observed {
    /// Somebody who believes to lead: of two, the old one may be the one.
    fn server(&mut self) -> Option<usize> {
        let leads = |at: &usize| {
            let peer = &self.world.peers[*at];
            peer.up && matches!(peer.machine.office, Office::Leader(_))
        };
        let leaders: Vec<_> = (0..self.world.peers.len()).filter(leads).collect();
        let drawn = self.world.below(leaders.len().max(1) as u64);
        leaders.get(usize::try_from(drawn).unwrap()).copied()
    }

    fn ask(&mut self) {
        let Some(at) = self.server() else { return };
        let register = self.world.below(REGISTERS);
        let held = self.world.view(at).registers().get(&name(register)).map(|it| it.token);
        let expect = match self.world.below(3) {
            0 => Expect::Any,
            _ => held.map_or(Expect::Absent, Expect::Set),
        };
        let number = u128::from(self.world.below(u64::MAX));
        let request = RequestId { born: self.world.view(at).commit(), number };
        let expires = WallTime::from_micros(self.world.clock(at).wall.as_micros() + 30_000_000);
        let action = Action { name: name(register), expect, value: Value::new(vec![1].into()) };
        let call = self.world.now;
        let intent = Intent { request, expires, action };
        match self.world.step(at, |machine, cx| machine.propose(cx, intent)) {
            Ok(()) => drop(self.asked.insert(request, Asked { register, expect, call, answered: None })),
            Err(_) => self.refused.push(request),
        }
    }

    fn read(&mut self) {
        let Some(at) = self.server() else { return };
        let (number, register) = (self.reads.len() as u64, self.world.below(REGISTERS));
        if self.world.step(at, |machine, cx| machine.read(cx, number)).is_ok() {
            self.reads.insert(number, (register, self.world.now));
        }
    }

    /// Something goes wrong, or right again.
    fn befall(&mut self) {
        let at = usize::try_from(self.world.below(5)).unwrap();
        match self.world.below(7) {
            0 => self.world.isolate(&[at]),
            // Others see the link close and elect somebody at once, while the old leader still believes to lead.
            5 => {
                let Some(leader) = self.server() else { return };
                let node = self.world.peers[leader].node;
                self.world.isolate(&[leader]);
                for other in (0..5).filter(|other| *other != leader && self.world.peers[*other].up).collect::<Vec<_>>()
                {
                    self.world.step(other, |machine, cx| machine.on_unlinked(cx, node));
                }
            }
            1 => self.world.cut.clear(),
            2 if self.world.peers[at].up => self.world.crash(at, true),
            2 | 3 if !self.world.peers[at].up => self.world.restart(at),
            4 => self.world.peers[at].paused_until = self.world.now + 200 * MS,
            _ => {
                if let Some(leader) = self.server() {
                    let _ = self.world.step(leader, |machine, cx| machine.transfer(cx, None));
                }
            }
        }
    }

    /// What clients hear in this millisecond.
    fn hear(&mut self) {
        for at in 0..self.world.peers.len() {
            for event in self.world.told(at) {
                match event {
                    Event::Answered { request, answer: Answer::Decided { .. } } => {
                        let now = self.world.now;
                        if let Some(asked) = self.asked.get_mut(&request) {
                            asked.answered.get_or_insert(now);
                        }
                    }
                    Event::Readable { read, .. } => {
                        let (register, call) = self.reads[&read];
                        let holds = self.world.view(at).registers().get(&name(register)).map(|it| it.token);
                        let now = Some(self.world.now);
                        self.history.push(operation(call, now, register, Seen::Read(holds)));
                    }
                    _ => {}
                }
            }
        }
    }

    fn live(&mut self, ms: u64) {
        for _ in 0..ms {
            match self.world.below(100) {
                0..=5 => self.ask(),
                6..=10 => self.read(),
                11 => self.befall(),
                _ => {}
            }
            self.world.run(1);
            self.hear();
        }
    }

    /// What was decided in the end of all that was asked.
    fn whole(mut self) -> Vec<Operation<Registers>> {
        self.world.heal();
        self.hear();
        let leader = self.world.settle();
        let outcome = |request: RequestId| self.world.view(leader).outcome(request);
        assert!(self.refused.iter().all(|request| outcome(*request).is_none()), "a refusal was not certain");
        for (request, asked) in &self.asked {
            let Asked { register, expect, call, answered } = *asked;
            let Some((token, outcome)) = outcome(*request) else {
                assert!(answered.is_none(), "what was answered is forgotten");
                continue;
            };
            let seen = match (outcome, expect) {
                (Outcome::Done, Expect::Any) => Seen::Set(token),
                (Outcome::Done, Expect::Absent) => Seen::Swapped(None, token),
                (Outcome::Done, Expect::Set(from)) => Seen::Swapped(Some(from), token),
                (Outcome::Differs { holds }, _) => Seen::Held(holds),
                (other, _) => panic!("{other:?}"),
            };
            self.history.push(operation(call, answered, register, seen));
        }
        self.history
    }
}

fn history(seed: u64) -> Vec<Operation<Registers>> {
    let mut world = World::founded(seed, 5, 3, awake());
    world.run(100);
    world.weather = Weather { lost: 10, doubled: 10, delay: (500, 8_000), sync: (500, 8_000) };
    let (asked, refused, reads, history) = (BTreeMap::new(), Vec::new(), BTreeMap::new(), Vec::new());
    let mut observed = Observed { world, asked, refused, reads, history };
    observed.live(LIFE);
    observed.whole()
}

#[test]
fn what_clients_see_is_linearizable() {
    let mut seen = 0;
    for seed in 0..60 {
        let history = history(seed);
        seen += history.len();
        assert!(check_operations::<Registers>(&history), "seed {seed}: {history:#?}");
    }
    assert!(seen > 3_000, "only {seen} answers were seen");
}

/// The judge sees what it is there to see.
#[test]
fn a_stale_read_is_not_linearizable() {
    let token = |index| Token { epoch: Epoch::new(1), term: Term::new(1), index: Index::new(index) };
    let set = |call, at, index| operation(call, Some(at), 0, Seen::Set(token(index)));
    let read = |call, at, index| operation(call, Some(at), 0, Seen::Read(Some(token(index))));
    assert!(check_operations::<Registers>(&[set(0, 10, 1), set(5, 20, 2), read(15, 30, 1)]));
    assert!(!check_operations::<Registers>(&[set(0, 10, 1), set(11, 20, 2), read(21, 30, 1)]));
}
