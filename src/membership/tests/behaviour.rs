//! Whole meshes under faults. Figures are printed: run with `--nocapture`.

use std::time::Duration;

use super::mesh::{Mesh, Stall};
use crate::membership::State;
use crate::types::Time;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Quantiles of some durations, in seconds.
fn quantiles(mut all: Vec<Duration>) -> String {
    all.sort();
    let at = |q: usize| all[(all.len() - 1) * q / 100].as_secs_f64();
    format!("p50 {:.2} p90 {:.2} max {:.2} s of {}", at(50), at(90), at(100), all.len())
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}

/// Crashes `crashes` nodes one after another: from each crash to the first death declared, and to the last.
fn detect(mesh: &mut Mesh, crashes: usize, closes: bool) -> (Vec<Duration>, Vec<Duration>) {
    let (mut first, mut all) = (Vec::new(), Vec::new());
    for _ in 0..crashes {
        let (earliest, last) = bury(mesh, mesh.up().last().expect("some are up"), closes);
        first.push(earliest);
        all.push(last);
        mesh.run(Duration::from_millis(1_300));
    }
    (first, all)
}

fn detection(n: usize, crashes: usize, loss: u64, closes: bool) -> Duration {
    let mut mesh = Mesh::settled(7, n);
    mesh.measure = false;
    mesh.loss_percent = loss;
    let (first, all) = detect(&mut mesh, crashes, closes);
    let how = if closes { "killed" } else { "silent" };
    println!("detection n={n} {how} loss {loss} %: first {}; all {}", quantiles(first.clone()), quantiles(all));
    assert_eq!(mesh.counts.false_deaths, []);
    median(first)
}

#[test]
fn a_crash_is_seen_in_about_6_seconds_whatever_the_size() {
    for (n, crashes) in [(10, 5), (100, 20)] {
        let silent = detection(n, crashes, 0, false);
        assert!(silent < Duration::from_millis(7_000), "{silent:?}");
        let killed = detection(n, crashes, 0, true);
        assert!(killed < Duration::from_millis(6_000), "{killed:?}");
    }
    detection(100, 20, 5, false);
}

#[test]
fn a_calm_mesh_is_quiet() {
    for n in [3, 10, 100] {
        let mut mesh = Mesh::settled(1, n);
        mesh.run(secs(60));
        let periods = 60.0 * n as f64;
        let (messages, bytes) = (mesh.counts.messages as f64 / periods, mesh.counts.bytes as f64 / periods);
        println!("quiet n={n}: {messages:.2} messages, {bytes:.1} B a node and period");
        assert!(messages <= 2.1 && bytes <= 60.0, "{messages} messages, {bytes} bytes");
        assert!(mesh.is_whole());
        assert_eq!((mesh.counts.suspicions, mesh.counts.faults), (0, vec![]));
    }
}

#[test]
fn loss_alone_kills_nobody() {
    for (loss, total) in [(5, 120), (20, 60)] {
        let mut mesh = Mesh::settled(4, 100);
        mesh.loss_percent = loss;
        mesh.run(secs(total));
        let load = mesh.counts.messages as f64 / (100 * total) as f64;
        println!(
            "loss {loss} %: {} suspicions in {total} s, {load:.2} messages a node and period",
            mesh.counts.suspicions
        );
        assert_eq!(mesh.counts.false_deaths, Vec::<(usize, usize, Time)>::new());
    }
}

#[test]
fn a_hundred_join_through_one_seed_within_3_seconds() {
    let mut mesh = Mesh::new(5, crate::membership::Config::default());
    for node in 0..100 {
        mesh.add(node);
    }
    for node in 1..100 {
        mesh.run(Duration::from_millis(10));
        mesh.link(node, 0);
    }
    let begin = mesh.now;
    // The overlay dials whom membership shows.
    let mut whole = None;
    while mesh.now.since(begin) < secs(20) && whole.is_none() {
        mesh.run(Duration::from_millis(50));
        mesh.link_known(&|_, _| true);
        whole = mesh.is_whole().then(|| mesh.now.since(begin));
    }
    println!("join of 100 through one seed: whole {whole:?} after the last linked");
    assert!(whole.is_some_and(|time| time <= secs(3)), "{whole:?}");
    mesh.run(secs(20));
    assert_eq!(mesh.counts.false_deaths, []);
    assert!(mesh.is_whole());
}

/// Crashes one member and waits until all others know; from the crash to the first who knew, and to the last.
fn bury(mesh: &mut Mesh, node: usize, closes: bool) -> (Duration, Duration) {
    let at = mesh.now;
    mesh.crash(node, closes);
    let knows = |mesh: &Mesh| mesh.up().all(|observer| mesh.state(observer, node) == Some(State::Dead));
    let all = mesh.run_until(secs(120), knows).expect("everybody learns of a death");
    let first = mesh.counts.deaths.iter().filter(|death| death.1 == node).map(|death| death.2).min();
    (first.expect("somebody saw it").since(at), all)
}

#[test]
fn a_sparse_mesh_is_quiet_and_sees_crashes_through_the_few_links_there_are() {
    let star = |a: usize, b: usize| a.min(b) < 2;
    let tree = |a: usize, b: usize| (a.max(b) - 1) / 4 == a.min(b);
    let ring = |a: usize, b: usize| [1, 2, 98, 99].contains(&a.abs_diff(b));
    for (name, linked) in
        [("star", &star as &dyn Fn(usize, usize) -> bool), ("tree", &tree), ("ring of 4 links", &ring)]
    {
        let mut mesh = Mesh::linked_by(6, 100, linked);
        mesh.run(secs(60));
        let (messages, bytes) = (mesh.counts.messages as f64 / 6_000.0, mesh.counts.bytes as f64 / 6_000.0);
        println!("{name} of 100, quiet: {messages:.2} messages, {bytes:.1} B a node and period");
        assert_eq!((mesh.counts.suspicions, &mesh.counts.false_deaths), (0, &vec![]));
        assert!(messages < 3.0);
        for (node, closes) in [(99, true), (98, false)] {
            let (first, all) = bury(&mut mesh, node, closes);
            println!("  crash of {node}, link closes: {closes}: first {first:?}, all {all:?}");
            // A silent crash has to wait for a neighbour's turn.
            assert!(first < if closes { secs(12) } else { secs(120) });
        }
        assert_eq!(mesh.counts.false_deaths, []);
    }
}

#[test]
fn who_stalls_again_and_again_is_soon_given_more_time() {
    let mut mesh = Mesh::settled(3, 20);
    mesh.stall(&[0], Stall::Io, secs(10), secs(600));
    mesh.run(secs(600));
    let flaps = mesh.counts.false_deaths.iter().filter(|(observer, ..)| *observer == 19).count();
    println!("one stalls 10 s again and again for 600 s: {flaps} deaths of it at one observer");
    assert!(flaps <= 10);
}

/// What this thread has used of a CPU, in seconds: other processes do not count.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a Linux kernel with schedstat");
    let nanos: u64 = stat.split(' ').next().and_then(|field| field.parse().ok()).expect("nanoseconds come first");
    nanos as f64 / 1e9
}

/// Slow: `cargo test --no-default-features --lib membership -- --ignored --nocapture thousand`.
#[test]
#[ignore = "a thousand members take a minute of CPU"]
fn a_thousand_members_are_quiet_quick_and_see_a_crash() {
    let mut mesh = Mesh::settled(1, 1_000);
    mesh.measure = false;
    let begin = cpu();
    mesh.run(secs(60));
    println!("n=1000 quiet: {:.0} node-seconds a CPU second, this mesh included", 60_000.0 / (cpu() - begin));
    mesh.measure = true;
    mesh.run(secs(20));
    let (messages, bytes) = (mesh.counts.messages as f64 / 20_000.0, mesh.counts.bytes as f64 / 20_000.0);
    println!("n=1000 quiet: {messages:.2} messages, {bytes:.1} B a node and period");
    assert!(mesh.is_whole() && messages <= 2.1);
    mesh.measure = false;
    let mut bare = Mesh::settled(1, 1_000);
    let begin = cpu();
    bare.bare_periods(200);
    println!("n=1000 quiet: {:.0} node-seconds a CPU second, machines alone", 200_000.0 / (cpu() - begin));
    assert_eq!(bare.counts.suspicions, 0);
    for closes in [false, true] {
        let (first, all) = detect(&mut mesh, 8, closes);
        println!("n=1000 closes {closes}: first {}; all {}", quantiles(first.clone()), quantiles(all));
        assert!(median(first) < Duration::from_millis(7_000));
    }
}

/// The most memory that this process ever had, in MiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    most.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1_024
}

/// A ring, so that it is connected, and five more at random: each has twelve links on average.
fn beside(n: usize) -> impl Fn(usize) -> Vec<usize> {
    let drawn = move |a: usize, nth: u64| {
        usize::try_from(xxhash_rust::xxh3::xxh3_64_with_seed(&a.to_le_bytes(), nth)).unwrap() % n
    };
    move |a| [(a + 1) % n].into_iter().chain((0..5).map(|nth| drawn(a, nth))).filter(|b| *b != a).collect()
}

/// So many agree, look after each other for some periods, and all hear of what one of them says of itself.
fn hear_of_a_change(n: usize) {
    let begin = cpu();
    let mut mesh = Mesh::agreed(1, n, &beside(n));
    let (formed, held) = (cpu() - begin, memory());
    let begin = cpu();
    mesh.run(secs(5));
    let quiet = cpu() - begin;
    mesh.set_meta(7, "another name");
    let subject = mesh.machine_of(7).view().members().find(|member| member.meta.name == "another name").unwrap().id;
    let knows = |mesh: &Mesh, node| mesh.machine_of(node).view().member(subject).unwrap().meta.name == "another name";
    let took = mesh.run_until(secs(20), |mesh| mesh.up().all(|node| knows(mesh, node)));
    println!(
        "n={n}: begun in {formed:.0} s with {held} MiB; five quiet seconds took {quiet:.0} s of a core; all hear of a change \
         after {took:?}; {} MiB at most",
        memory()
    );
    let digest = mesh.machine_of(0).table.digest();
    let alike = |node| mesh.machine_of(node).table.digest() == digest;
    assert!(took.is_some() && mesh.up().all(alike) && mesh.counts.suspicions == 0 && mesh.counts.faults.is_empty());
    assert!(mesh.up().all(|node| mesh.machine_of(node).view().present_len() == n));
    mesh.machine_of(n / 2).table.check();
}

#[test]
fn two_hundred_members_that_share_a_table_hear_of_a_change() {
    hear_of_a_change(200);
}

#[test]
#[ignore = "takes minutes and gigabytes"]
fn ten_thousand_members_hear_of_a_change() {
    hear_of_a_change(10_000);
}
