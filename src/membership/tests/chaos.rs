//! Random faults on small meshes: the invariants hold at every step, and when the faults end everybody agrees.

use std::time::Duration;

use super::mesh::{Mesh, Stall};
use crate::machine::Rng;
use crate::membership::{Config, State};

/// Two minutes of faults, then calm: the trace of all messages.
fn chaos(seed: u8) -> (u64, u64) {
    let mut rng = Rng::fork(&[seed; 32], "chaos");
    let n = 3 + rng.index(7);
    // Every third mesh holds itself for too large for links to all, and so follows the rules for few links.
    let full_mesh_max = if seed.is_multiple_of(3) { 2 } else { 64 };
    let mut mesh = Mesh::configured(seed, n, &|_, _| true, Config { full_mesh_max, ..Config::default() });
    mesh.strict = true;
    let mut down = Vec::new();
    for _ in 0..30 {
        mesh.loss_percent = [0, 0, 5, 20][rng.index(4)];
        let node = rng.index(n);
        match rng.below(9) {
            0 if down.len() + 2 < n && !down.contains(&node) => {
                mesh.crash(node, rng.below(2) == 0);
                down.push(node);
            }
            1 => {
                if let Some(node) = down.pop() {
                    mesh.restart(node, (node + 1) % n);
                }
            }
            2 if down.len() + 2 < n && !down.contains(&node) => {
                mesh.leave(node);
                mesh.run(Duration::from_millis(100));
                mesh.crash(node, true);
                down.push(node);
            }
            3 if !down.contains(&node) => mesh.set_meta(node, &format!("renamed-{}", rng.below(100))),
            4 => {
                let side: Vec<usize> = (0..n).filter(|_| rng.below(2) == 0).collect();
                mesh.cut(&side, rng.below(2) == 0);
            }
            5 => mesh.heal(),
            6 => {
                let how = if rng.below(2) == 0 { Stall::Io } else { Stall::Freeze };
                mesh.stall(&[node], how, Duration::from_secs(1 + rng.below(12)), Duration::from_secs(15));
            }
            7 => mesh.unlink(node, (node + 1) % n),
            _ => mesh.relink(Duration::from_secs(1)),
        }
        mesh.run(Duration::from_millis(rng.below(8_000)));
    }
    mesh.loss_percent = 0;
    while let Some(node) = down.pop() {
        mesh.restart(node, (node + 1) % n);
    }
    mesh.run(Duration::from_secs(20));
    mesh.heal();
    let whole = mesh.run_until(Duration::from_secs(30), Mesh::is_whole);
    if whole.is_none() {
        for node in 0..n {
            let view = mesh.machine_of(node).view();
            eprintln!(
                "{node}: {:?}",
                view.members().map(|m| (m.id, m.boot, m.incarnation, m.state)).collect::<Vec<_>>()
            );
        }
    }
    assert!(whole.is_some(), "seed {seed}: not whole");
    assert_eq!(mesh.counts.faults, Vec::<String>::new());
    let named = |observer: usize, subject: usize| {
        let view = mesh.machine_of(observer).view();
        view.member(super::mesh::id(subject)).map(|member| member.meta.clone())
    };
    for observer in 0..n {
        assert!((0..n).all(|subject| named(observer, subject) == named(subject, subject)), "descriptions differ");
    }
    (mesh.counts.trace, mesh.counts.steps)
}

#[test]
fn the_invariants_hold_under_chaos_and_the_calm_heals() {
    let mut steps = 0;
    for seed in 0..40 {
        steps += chaos(seed).1;
    }
    println!("chaos: 40 seeds, {steps} steps");
}

#[test]
fn equal_seeds_give_equal_traces() {
    assert_eq!(chaos(200), chaos(200));
    assert_ne!(chaos(200), chaos(201));
}

#[test]
fn a_member_that_leaves_is_gone_at_once_and_may_come_back() {
    let mut mesh = Mesh::settled(9, 10);
    mesh.leave(3);
    mesh.run(Duration::from_millis(30));
    assert!((0..10).all(|observer| observer == 3 || mesh.state(observer, 3) == Some(State::Left)));
    mesh.crash(3, true);
    mesh.run(Duration::from_secs(30));
    assert!((0..10).all(|observer| observer == 3 || mesh.state(observer, 3) == Some(State::Left)));
    assert_eq!(mesh.counts.suspicions, 0);
    mesh.restart(3, 0);
    let whole = mesh.run_until(Duration::from_secs(5), |mesh| {
        (0..10).all(|observer| mesh.state(observer, 3) == Some(State::Alive))
    });
    assert!(whole.is_some());
}

#[test]
fn a_lone_node_suspects_all_and_buries_nobody() {
    let mut mesh = Mesh::settled(2, 5);
    mesh.cut(&[0], true);
    mesh.run(Duration::from_secs(60));
    assert!((1..5).all(|other| mesh.state(0, other) == Some(State::Suspect)));
    assert!((1..5).all(|other| mesh.state(other, 0) == Some(State::Dead)));
    assert!(mesh.machine_of(0).view().is_isolated());
    mesh.heal();
    let whole = mesh.run_until(Duration::from_secs(5), Mesh::is_whole);
    println!("one of five cut off for 60 s: whole after {whole:?}");
    assert!(whole.is_some());
    assert!(mesh.counts.false_deaths.iter().all(|(observer, subject, _)| *observer != 0 && *subject == 0));
}
