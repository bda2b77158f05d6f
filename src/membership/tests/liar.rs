//! G11: one member lies about everybody, to everybody, knowing everything: who believes it?

use std::time::Duration;

use super::mesh::{Mesh, id};
use crate::machine::Rng;
use crate::membership::{Accusers, Described, Message, Meta, State, Update, Updates};
use crate::types::{Boot, Digest, Incarnation};

const LIAR: usize = 0;

/// Something that this member never said, or said long ago.
fn lie(rng: &mut Rng, mesh: &Mesh, subject: usize, old: &[Update]) -> Update {
    if rng.below(5) == 0
        && let Some(old) = rng.pick(old)
    {
        return old.clone();
    }
    let me = &mesh.machine_of(subject).table.me().member;
    let ahead = [0, 0, 0, 1, 1, 7, 1 << 15, 1 << 16, u32::MAX / 2][rng.index(9)];
    let boot = Boot::new(me.boot.value() + [0, 0, 0, 0, 1, 1 << 20][rng.index(6)]);
    let incarnation = Incarnation::new(me.incarnation.value().saturating_add(ahead));
    let state = [State::Alive, State::Suspect, State::Dead, State::Left][rng.index(4)];
    let mut accusers = Accusers::none();
    if matches!(state, State::Suspect | State::Dead) {
        for _ in 0..=rng.index(4) {
            accusers.add(id(rng.index(mesh.len())));
        }
    }
    let meta = Meta { name: "forged".into(), ..Meta::default() };
    let meta = (state == State::Alive).then(|| Described { boot, incarnation, meta: meta.into() });
    Update { id: id(subject), boot, incarnation, state, accusers, meta, age_s: 0 }
}

fn wrap(rng: &mut Rng, lies: Vec<Update>) -> Message {
    let (probe, digest, gossip) = (u16::try_from(rng.below(1 << 16)).unwrap(), Digest::new(rng.bits()), Updates(lies));
    match rng.below(6) {
        0 => Message::Ping { probe, digest, gossip },
        1 => Message::Ack { probe, digest, gossip },
        2 => Message::State { rows: gossip, ask: rng.below(2) == 0 },
        3 => Message::Diff { buckets: rng.bits(), rows: gossip, ask: false },
        _ => Message::Gossip { gossip },
    }
}

/// A minute of lies among `n`, one of whom is dead: how many lies were told.
fn lies(seed: u8, n: usize, loss: u64) -> usize {
    let mut rng = Rng::fork(&[seed; 32], "liar");
    let mut mesh = Mesh::settled(seed, n);
    (mesh.loss_percent, mesh.measure, mesh.liar) = (loss, false, Some(LIAR));
    let dead = 1 + rng.index(n - 1);
    mesh.crash(dead, rng.below(2) == 0);
    let knows = |mesh: &Mesh| mesh.up().all(|observer| mesh.state(observer, dead) == Some(State::Dead));
    mesh.run_until(Duration::from_secs(60), knows).expect("everybody learns of a death");
    let (mut old, mut told) = (Vec::new(), 0);
    for _ in 0..1_200 {
        mesh.run(Duration::from_millis(50));
        let lies: Vec<Update> = (0..1 + rng.index(3))
            .map(|_| {
                let subject = 1 + rng.index(n - 1);
                let entry = mesh.machine_of(subject).table.me();
                old.push(entry.update(mesh.now, true, Duration::ZERO));
                lie(&mut rng, &mesh, subject, &old)
            })
            .collect();
        let to_all = rng.below(3) == 0;
        for to in 1..n {
            if to != dead && (to_all || rng.below(n as u64) < 2) {
                told += lies.len();
                let message = wrap(&mut rng, lies.clone());
                mesh.forge(LIAR, to, message);
            }
        }
    }
    let honest = |all: &[(usize, usize)]| all.iter().filter(|(observer, _)| *observer != LIAR).count();
    let evicted: Vec<_> = mesh.counts.false_deaths.iter().map(|death| (death.0, death.1)).collect();
    let of_others: Vec<_> = evicted.iter().copied().filter(|(_, subject)| *subject != LIAR).collect();
    assert_eq!(honest(&of_others), 0, "seed {seed}: evicted: {of_others:?}");
    assert_eq!(honest(&mesh.counts.false_leaves), 0, "seed {seed}: sent away: {:?}", mesh.counts.false_leaves);
    assert_eq!(honest(&mesh.counts.ghosts), 0, "seed {seed}: raised: {:?}", mesh.counts.ghosts);
    told
}

/// Somebody crashes, and the liar goes on saying that it is alive: until all others hold it for dead.
fn shield(seed: u8, n: usize) -> Duration {
    let mut mesh = Mesh::settled(seed, n);
    (mesh.measure, mesh.liar) = (false, Some(LIAR));
    let (dead, begin) = (n - 1, mesh.now);
    mesh.crash(dead, seed.is_multiple_of(2));
    let knows = |mesh: &Mesh| (1..dead).all(|observer| mesh.state(observer, dead) == Some(State::Dead));
    while !knows(&mesh) {
        assert!(mesh.now.since(begin) < Duration::from_secs(120), "seed {seed}: it is kept among the living");
        mesh.run(Duration::from_millis(200));
        // Above whatever anybody holds.
        let held = (1..dead).filter_map(|node| mesh.machine_of(node).table.find(id(dead)));
        let highest = held.map(|entry| (entry.member.boot, entry.member.incarnation)).max().unwrap();
        let (boot, incarnation) = (highest.0, highest.1.next());
        let meta = Some(Described { boot, incarnation, meta: Meta::default().into() });
        let accusers = Accusers::none();
        let lie = Update { id: id(dead), boot, incarnation, state: State::Alive, accusers, meta, age_s: 0 };
        for to in 1..dead {
            mesh.forge(LIAR, to, Message::Gossip { gossip: Updates(vec![lie.clone()]) });
        }
    }
    mesh.now.since(begin)
}

#[test]
fn one_liar_cannot_keep_a_crashed_member_among_the_living() {
    for seed in 0..4 {
        let took = shield(seed, 10);
        println!("G11: shielded by a liar, a crashed member of 10 is dead for all others after {took:?}");
    }
}

#[test]
fn one_liar_buries_nobody_and_raises_nobody() {
    let told: usize = (0..4).map(|seed| lies(seed, 8, if seed.is_multiple_of(2) { 0 } else { 5 })).sum();
    println!("G11: {told} lies in 4 meshes, nobody evicted, nobody raised");
}

/// `cargo test --config 'profile.dev.package.oxigdal-ha.opt-level=2' --lib membership::tests::liar -- --ignored --nocapture`
#[test]
#[ignore = "a hundred meshes with a liar each"]
fn one_liar_buries_nobody_and_raises_nobody_on_a_hundred_seeds() {
    let mut told = 0;
    for seed in 0..100 {
        told += lies(seed, [5, 10, 20, 50][usize::from(seed % 4)], u64::from(seed % 2) * 5);
    }
    println!("G11: {told} lies in 100 meshes, nobody evicted, nobody raised");
}
