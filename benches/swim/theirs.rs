//! foca 2.0 in the little world, as its own presets for a LAN have it.

use std::num::NonZeroU32;
use std::time::Duration;

use foca::{Config, Foca, Identity, Member, NoCustomBroadcast, Notification, PostcardCodec, Runtime, Timer};
use oxigdal_ha::types::Time;
use rand_core::SeedableRng as _;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use crate::world::{Out, Protocol, World, id, member};

/// An id as wide as ours, and a life number, with which foca comes back after it was declared down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Id {
    id: [u8; 16],
    life: u16,
}

impl Id {
    fn of(at: usize) -> Self {
        Self { id: *id(at).as_bytes(), life: 1 }
    }
}

impl Identity for Id {
    type Addr = [u8; 16];

    fn renew(&self) -> Option<Self> {
        Some(Self { life: self.life.wrapping_add(1), ..*self })
    }

    fn addr(&self) -> [u8; 16] {
        self.id
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.life > adversary.life
    }
}

pub(crate) struct Theirs {
    foca: Foca<Id, PostcardCodec, Xoshiro256PlusPlus, NoCustomBroadcast>,
    members: usize,
}

pub(crate) enum Alarm {
    /// It learns of everybody, and begins.
    Start,
    Timer(Timer<Id>),
}

struct Host<'a>(&'a mut Out<Theirs>);

impl Runtime<Id> for Host<'_> {
    fn notify(&mut self, notification: Notification<'_, Id>) {
        match notification {
            Notification::MemberDown(subject) => self.0.verdicts.push((member(&subject.id), true)),
            Notification::MemberUp(subject) => self.0.verdicts.push((member(&subject.id), false)),
            _ => {}
        }
    }

    fn send_to(&mut self, to: Id, data: &[u8]) {
        self.0.sends.push((member(&to.id), data.to_vec(), data.len()));
    }

    fn submit_after(&mut self, event: Timer<Id>, after: Duration) {
        self.0.alarms.push((after, Alarm::Timer(event)));
    }
}

impl Theirs {
    fn new(seed: u8, at: usize, members: usize) -> Self {
        let size = NonZeroU32::new(u32::try_from(members).expect("few members")).expect("some members");
        let rng = Xoshiro256PlusPlus::seed_from_u64(u64::from(seed) << 32 | at as u64);
        Self { foca: Foca::new(Id::of(at), Config::new_lan(size), rng, PostcardCodec), members }
    }
}

impl Protocol for Theirs {
    type Message = Vec<u8>;
    type Alarm = Alarm;

    fn on_message(&mut self, _: Time, _: usize, message: Vec<u8>, out: &mut Out<Self>) {
        // What it refuses, such as the word of a member that it holds for down, it answers by itself.
        let _ = self.foca.handle_data(&message, Host(out));
    }

    fn on_alarm(&mut self, _: Time, alarm: Alarm, out: &mut Out<Self>) {
        let _ = match alarm {
            Alarm::Start => {
                let everybody = (0..self.members).map(|at| Member::alive(Id::of(at)));
                self.foca.apply_many(everybody, false, Host(out))
            }
            Alarm::Timer(timer) => self.foca.handle_timer(timer, Host(out)),
        };
    }
}

/// So many members that know each other.
pub(crate) fn settled(seed: u8, members: usize) -> World<Theirs> {
    let mut world = World::new(seed, (0..members).map(|at| Theirs::new(seed, at, members)).collect());
    for at in 0..members {
        // Not all in the same instant.
        let phase = Duration::from_micros(u64::from(id(at).as_bytes()[3]) * 3_900);
        world.alarm(at, phase, Alarm::Start);
    }
    world.run(Duration::from_secs(20));
    world.count();
    world
}
