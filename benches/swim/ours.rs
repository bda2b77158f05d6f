//! The room `membership` in the little world. Its members are linked with all others.

use std::collections::BTreeMap;
use std::time::Duration;

use oxigdal_ha::machine::{Cx, Machine as _, Op, Rng};
use oxigdal_ha::membership::{Config, Event, Membership, Message, Meta, Timer};
use oxigdal_ha::types::{Boot, Now, Time, WallTime};
use oxigdal_ha::wire::{self, Kind};

use crate::world::{Out, Protocol, World, id, member};

pub(crate) struct Ours {
    pub(crate) machine: Membership,
    rng: Rng,
    /// Arming a timer again replaces it: which alarm counts.
    armed: BTreeMap<Timer, u64>,
    serial: u64,
    /// What it said of others' deaths and of suspects, and when.
    pub(crate) said: Vec<(Time, Event)>,
    /// How far its wall clock is ahead.
    pub(crate) ahead: Duration,
}

impl Ours {
    /// One of so many members, every two of which are linked: the configuration says so, as it has to.
    pub(crate) fn new(seed: u8, at: usize, members: usize, config: &Config) -> Self {
        let config = Config { full_mesh_max: members.max(config.full_mesh_max), ..config.clone() };
        let machine = Membership::new(id(at), Boot::new(1), Meta::default(), config);
        Self {
            machine: machine.expect("nothing said of itself is short enough"),
            rng: Rng::fork(&[seed; 32], &format!("member {at}")),
            armed: BTreeMap::new(),
            serial: 0,
            said: Vec::new(),
            ahead: Duration::ZERO,
        }
    }

    pub(crate) fn input(
        &mut self,
        now: Time,
        out: &mut Out<Self>,
        input: impl FnOnce(&mut Membership, &mut Cx<'_, Membership>),
    ) {
        let mut ops = Vec::new();
        // Clocks agree within milliseconds where NTP runs, which is far less than a period.
        let wall = WallTime::from_micros((now + self.ahead).as_nanos() / 1_000);
        let now = Now { mono: now, wall };
        input(&mut self.machine, &mut Cx::new(now, &mut self.rng, &mut ops));
        for op in ops {
            if let Op::Emit(event @ (Event::Suspected { .. } | Event::Died { .. })) = &op {
                self.said.push((now.mono, event.clone()));
            }
            match op {
                Op::Send(to, message) => {
                    let bytes = wire::seal(Kind::Membership, Membership::lane(&message), &message).len();
                    out.sends.push((member(to.as_bytes()), message, bytes));
                }
                Op::Arm(timer, after) => {
                    self.serial += 1;
                    self.armed.insert(timer, self.serial);
                    out.alarms.push((after, (timer, self.serial)));
                }
                Op::Disarm(timer) => _ = self.armed.remove(&timer),
                Op::Emit(Event::Died { member: subject, .. }) => {
                    out.verdicts.push((member(subject.as_bytes()), true));
                }
                Op::Emit(Event::Joined { member: subject, .. }) => {
                    out.verdicts.push((member(subject.as_bytes()), false));
                }
                Op::Emit(_) => {}
                Op::Persist(never, _) => match never {},
                Op::Read(_, never) => match never {},
                Op::Task(never) => match never {},
            }
        }
    }
}

impl Protocol for Ours {
    type Message = Message;
    type Alarm = (Timer, u64);

    fn on_message(&mut self, now: Time, from: usize, message: Message, out: &mut Out<Self>) {
        self.input(now, out, |machine, cx| machine.on_message(cx, id(from), message));
    }

    fn on_alarm(&mut self, now: Time, (timer, serial): (Timer, u64), out: &mut Out<Self>) {
        if self.armed.get(&timer) == Some(&serial) {
            self.armed.remove(&timer);
            self.input(now, out, |machine, cx| machine.on_timer(cx, timer));
        }
    }
}

/// Members with their links, while they find each other.
struct Forming {
    world: World<Ours>,
    linked: Vec<Vec<bool>>,
}

impl Forming {
    fn input(&mut self, at: usize, input: impl FnOnce(&mut Membership, &mut Cx<'_, Membership>)) {
        self.world.step(at, |ours, now, out| ours.input(now, out, input));
    }

    fn link(&mut self, a: usize, b: usize) {
        if !std::mem::replace(&mut self.linked[a][b], true) {
            self.linked[b][a] = true;
            self.input(a, |machine, cx| machine.on_linked(cx, id(b)));
            self.input(b, |machine, cx| machine.on_linked(cx, id(a)));
        }
    }

    /// Links everybody with some more of those that it sees, as an overlay dials.
    fn link_known(&mut self) {
        for at in 0..self.linked.len() {
            let view = self.world.members[at].machine.view();
            let known = view.present().map(|known| member(known.id.as_bytes()));
            let wanted: Vec<usize> = known.filter(|other| *other != at && !self.linked[at][*other]).take(16).collect();
            wanted.into_iter().for_each(|other| self.link(at, other));
        }
    }

    fn is_whole(&self) -> bool {
        let members = self.linked.len();
        let whole = |(at, ours): (usize, &Ours)| {
            let linked = self.linked[at].iter().filter(|linked| **linked).count();
            linked + 1 == members && ours.machine.view().present_len() == members
        };
        self.world.members.iter().enumerate().all(whole)
    }
}

/// So many members that joined through one of them, know each other and are linked.
pub(crate) fn settled(seed: u8, members: usize, config: &Config) -> World<Ours> {
    let world = World::new(seed, (0..members).map(|at| Ours::new(seed, at, members, config)).collect());
    let mut forming = Forming { world, linked: vec![vec![false; members]; members] };
    for at in 0..members {
        forming.input(at, Membership::start);
        if at > 0 {
            forming.link(at, 0);
        }
        forming.world.run(Duration::from_millis(1));
    }
    for _ in 0..1_200 {
        if forming.is_whole() {
            break;
        }
        forming.link_known();
        forming.world.run(Duration::from_millis(100));
    }
    assert!(forming.is_whole(), "all members find each other within two minutes");
    // News of so many joins go round for a while.
    forming.world.run(Duration::from_secs(40));
    forming.world.count();
    forming.world
}
