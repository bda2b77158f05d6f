//! Figures of whole processes, printed and not judged. Run them alone:
//! `cargo test --release --test processes -- --ignored --nocapture --test-threads 1 measures`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::harness::{Peer, Place, wait_for};

/// A figure of `/proc/PID/status`, in kB.
fn memory(peer: &Peer, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", peer.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn cpu_ticks(peer: &Peer) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", peer.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn traffic(peer: &Peer) -> u64 {
    let links = peer.ask(&["status"])["network"]["links"].clone();
    links
        .as_array()
        .unwrap()
        .iter()
        .map(|link| link["bytes_in"].as_u64().unwrap() + link["bytes_out"].as_u64().unwrap())
        .sum()
}

#[test]
#[ignore = "prints figures"]
fn an_idle_peer_with_ten_links() {
    idle(10);
}

#[test]
#[ignore = "prints figures"]
fn an_idle_peer_with_fifty_links() {
    idle(50);
}

fn idle(others: usize) {
    let dir = tempfile::tempdir().unwrap();
    let founder = Place::on_loopback(dir.path(), "n0").start(None);
    println!("alone: RSS {} kB, of it anonymous {} kB", memory(&founder, "VmRSS"), memory(&founder, "RssAnon"));
    let mut peers = Vec::new();
    for n in 1..=others {
        let invite = founder.invite();
        peers.push(Place::on_loopback(dir.path(), &format!("n{n}")).start(Some(&invite)));
    }
    wait_for("everybody sees everybody", || {
        peers.iter().chain([&founder]).all(|peer| peer.members("alive") == others + 1)
    });
    let links = founder.ask(&["status"])["network"]["links"].as_array().unwrap().len();
    let (bytes, ticks, span) = (traffic(&founder), cpu_ticks(&founder), Duration::from_secs(10));
    std::thread::sleep(span);
    println!(
        "{links} links, idle: RSS {} kB, of it anonymous {} kB; {} B/s in and out, {:.1} % of a core (with the questions)",
        memory(&founder, "VmRSS"),
        memory(&founder, "RssAnon"),
        (traffic(&founder) - bytes) / span.as_secs(),
        (cpu_ticks(&founder) - ticks) as f64 / span.as_secs_f64()
    );
}

/// When the peer logged this first, in microseconds since midnight, if it did.
fn logged(peer: &Peer, words: &str) -> Option<u64> {
    lines(&peer.log()).find(|line| line["message"] == words).and_then(|line| time_of(&line))
}

fn lines(log: &str) -> impl Iterator<Item = Value> {
    log.lines().filter_map(|line| serde_json::from_str(line).ok())
}

fn time_of(line: &Value) -> Option<u64> {
    let (_, time) = line["timestamp"].as_str()?.split_once('T')?;
    // 14:15:07.758247Z
    let mut parts = time.trim_end_matches('Z').split([':', '.']).map(|part| part.parse::<u64>().unwrap());
    let (hours, minutes, seconds, micros) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some((hours * 3_600 + minutes * 60 + seconds) * 1_000_000 + micros)
}

/// Microseconds since midnight.
fn today() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    u64::try_from(now % 86_400_000_000).unwrap()
}

/// Goal G13 of membership: the simulator's figures over real sockets. Processes that stall are stopped and continued; one that
/// crashes silently is stopped for ever, since the sockets of one that is killed say so at once.
#[test]
#[ignore = "prints figures"]
fn fifty_processes_of_which_some_stall_and_some_fall_silent() {
    let dir = tempfile::tempdir().unwrap();
    let mut peers = vec![Place::on_loopback(dir.path(), "n0").start(None)];
    while peers.len() < 50 {
        let (invite, name) = (peers[0].invite(), format!("n{}", peers.len()));
        peers.push(Place::on_loopback(dir.path(), &name).start(Some(&invite)));
    }
    wait_for("everybody sees everybody", || peers.iter().all(|peer| peer.members("alive") == 50));
    let ids: Vec<Value> = peers.iter().map(|peer| peer.ask(&["status"])["node"].clone()).collect();
    let began = today();
    for stall in [3, 10].into_iter().flat_map(|seconds| [Duration::from_secs(seconds); 4]) {
        stalls(&peers[..3], stall);
    }
    let deaths: Vec<usize> = deaths(&peers, &ids, began).into_iter().map(|(_, who)| who).collect();
    let healthy = deaths.iter().filter(|who| **who >= 3).count();
    println!(
        "3 of 50 stalled four times for 3 s and four times for 10 s: {healthy} deaths of healthy ones told, {} of those that stalled",
        deaths.len() - healthy
    );
    let (mut first, mut all) = (Vec::new(), Vec::new());
    for silent in 3..15 {
        let at = today();
        signal(&peers[silent], "-STOP");
        std::thread::sleep(Duration::from_secs(16));
        let mut told: Vec<u64> = deaths_of(&peers, &ids, at, silent).collect();
        told.sort_unstable();
        println!(
            "n{silent}: {} others know, the first after {:.2} s, the last after {:.2} s",
            told.len(),
            seconds(told.first()),
            seconds(told.last())
        );
        first.extend(told.first().copied());
        all.extend(told.last().copied());
    }
    first.sort_unstable();
    all.sort_unstable();
    println!(
        "of {} silent ones: first knows p50 {:.2} s, worst {:.2} s; all know p50 {:.2} s, worst {:.2} s",
        first.len(),
        seconds(first.get(first.len() / 2)),
        seconds(first.last()),
        seconds(all.get(all.len() / 2)),
        seconds(all.last())
    );
}

fn seconds(micros: Option<&u64>) -> f64 {
    micros.map_or(f64::NAN, |micros| *micros as f64 / 1e6)
}

fn stalls(peers: &[Peer], stall: Duration) {
    peers.iter().for_each(|peer| signal(peer, "-STOP"));
    std::thread::sleep(stall);
    peers.iter().for_each(|peer| signal(peer, "-CONT"));
    std::thread::sleep(Duration::from_secs(5));
}

fn signal(peer: &Peer, name: &str) {
    assert!(std::process::Command::new("kill").args([name, &peer.pid().to_string()]).status().unwrap().success());
}

/// Who was said to be dead since then, by whom.
fn deaths(peers: &[Peer], ids: &[Value], since: u64) -> Vec<(u64, usize)> {
    let dead = |line: &Value| line["message"] == "a member is dead";
    let of = |line: Value| Some((time_of(&line)?, ids.iter().position(|id| *id == line["member"])?));
    let told = peers.iter().flat_map(|peer| lines(&peer.log()).filter(dead).filter_map(of).collect::<Vec<_>>());
    told.filter(|(at, _)| *at >= since).collect()
}

/// How long after that each of the others said that it is dead.
fn deaths_of(peers: &[Peer], ids: &[Value], since: u64, who: usize) -> impl Iterator<Item = u64> {
    deaths(peers, ids, since).into_iter().filter(move |(_, dead)| *dead == who).map(move |(at, _)| at - since)
}

#[test]
#[ignore = "prints figures"]
fn a_killed_peer_is_seen_to_be_gone() {
    let mut times = Vec::new();
    for round in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        let a = Place::on_loopback(dir.path(), "a").start(None);
        let b = Place::on_loopback(dir.path(), &format!("b{round}")).start(Some(&a.invite()));
        wait_for("both are linked", || a.members("alive") == 2);
        let killed = today();
        b.kill();
        wait_for("it is told", || logged(&a, "unlinked").is_some());
        times.push(logged(&a, "unlinked").unwrap().saturating_sub(killed));
    }
    times.sort_unstable();
    println!("from kill -9 to the end of the link: median {} us, worst {} us of {}", times[5], times[9], times.len());
}
