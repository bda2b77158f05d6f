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
    let log = peer.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines.into_iter().find(|line| line["message"] == words)?;
    let (_, time) = line["timestamp"].as_str()?.split_once('T')?;
    // 14:15:07.758247Z
    let mut parts = time.trim_end_matches('Z').split([':', '.']).map(|part| part.parse::<u64>().unwrap());
    let (hours, minutes, seconds, micros) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some((hours * 3_600 + minutes * 60 + seconds) * 1_000_000 + micros)
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
        let midnight = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() % 86_400_000_000;
        b.kill();
        wait_for("it is told", || logged(&a, "unlinked").is_some());
        times.push(logged(&a, "unlinked").unwrap().saturating_sub(u64::try_from(midnight).unwrap()));
    }
    times.sort_unstable();
    println!("from kill -9 to the end of the link: median {} us, worst {} us of {}", times[5], times[9], times.len());
}
