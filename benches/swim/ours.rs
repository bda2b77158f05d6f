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
}

impl Ours {
    pub(crate) fn new(seed: u8, at: usize) -> Self {
        let machine = Membership::new(id(at), Boot::new(1), Meta::default(), Config::default());
        Self {
            machine: machine.expect("nothing said of itself is short enough"),
            rng: Rng::fork(&[seed; 32], &format!("member {at}")),
            armed: BTreeMap::new(),
            serial: 0,
        }
    }

    pub(crate) fn input(
        &mut self,
        now: Time,
        out: &mut Out<Self>,
        input: impl FnOnce(&mut Membership, &mut Cx<'_, Membership>),
    ) {
        let mut ops = Vec::new();
        let now = Now { mono: now, wall: WallTime::EPOCH };
        input(&mut self.machine, &mut Cx::new(now, &mut self.rng, &mut ops));
        for op in ops {
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
                Op::Emit(Event::Joined { member: subject }) => {
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

/// So many members that joined through one of them, know each other and are linked.
pub(crate) fn settled(seed: u8, members: usize) -> World<Ours> {
    let mut world = World::new(seed, (0..members).map(|at| Ours::new(seed, at)).collect());
    let input = |world: &mut World<Ours>, at: usize, input: &dyn Fn(&mut Membership, &mut Cx<'_, Membership>)| {
        world.step(at, |ours, now, out| ours.input(now, out, input));
    };
    let link = |world: &mut World<Ours>, a: usize, b: usize| {
        input(world, a, &|machine, cx| machine.on_linked(cx, id(b)));
        input(world, b, &|machine, cx| machine.on_linked(cx, id(a)));
    };
    for at in 0..members {
        input(&mut world, at, &Membership::start);
        world.run(Duration::from_millis(1));
    }
    for at in 1..members {
        link(&mut world, at, 0);
        world.run(Duration::from_millis(1));
    }
    let whole = |world: &World<Ours>| world.members.iter().all(|ours| ours.machine.view().present_len() == members);
    for _ in 0..120 {
        if whole(&world) {
            break;
        }
        world.run(Duration::from_secs(1));
    }
    assert!(whole(&world), "all members join within two minutes");
    for a in 1..members {
        (1..a).for_each(|b| link(&mut world, a, b));
    }
    world.run(Duration::from_secs(10));
    world.count();
    world
}
