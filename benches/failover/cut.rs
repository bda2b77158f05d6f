//! A leader whose cable is pulled: each of three voters in a network namespace of its own. When it gives up its office, and when somebody
//! else has it, as they write it down themselves. Needs root and `ip netns`; says so where they are missing.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::harness::{Peer, Place, wait_for};
use crate::lab::Lab;
use crate::told;

const WORDS: &str =
    "the leader is cut off under requests: until it does not lead any more, and until somebody else does";
/// How long before a cut, and how long it lasts.
const WARM: Duration = Duration::from_millis(400);
const CUT: Duration = Duration::from_millis(1_500);
/// And until the next one: a link that nothing came over meanwhile is used again by TCP after as long as it was silent, or closed by us after three
/// seconds. Before that a second cable would be one too many.
const HEAL: Duration = Duration::from_secs(4);

pub(crate) fn run(home: &Path, count: usize) {
    println!("\n{WORDS}; {count} times, load average {}", told::load_average());
    let Some(lab) = Lab::build("out", &[1, 1, 1]) else { return };
    let peers = start(&lab, home);
    let (mut resigned, mut elected, mut luck) = (Vec::new(), Vec::new(), told::Luck::default());
    let mut unplugged = 0;
    for _ in 0..count {
        let leader = settle(&peers);
        let stop = AtomicBool::new(false);
        let (down, until) = std::thread::scope(|scope| {
            // Each asks, so nobody rests; what is asked of the one that is cut off is refused.
            for peer in &peers {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let _ = peer.run(&["actions", "set", "bench", "1"]);
                    }
                });
            }
            std::thread::sleep(WARM + Duration::from_millis(luck.next() % 100));
            let down = now();
            lab.cable(leader + 1, "down");
            let until = now();
            std::thread::sleep(CUT);
            stop.store(true, Ordering::Relaxed);
            (down, until)
        });
        lab.cable(leader + 1, "up");
        std::thread::sleep(HEAL);
        let lost = first(&peers[leader], "this peer does not lead the voters any more", down);
        let others = peers.iter().enumerate().filter(|(at, _)| *at != leader).map(|(_, peer)| peer);
        let found = others.filter_map(|peer| first(peer, "this peer leads the voters", down)).min();
        unplugged = unplugged.max(until - down);
        resigned.extend(lost.map(|at| Duration::from_micros(at - down)));
        elected.extend(found.map(|at| Duration::from_micros(at - down)));
    }
    // Out at some moment while a command runs; what is told counts from its beginning.
    println!("the cable was out within {} ms", unplugged / 1_000);
    println!("it does not lead any more:");
    told::gaps(&resigned, [None, Some(400), None]);
    println!("somebody else leads:");
    told::gaps(&elected, [None, None, None]);
    println!("load average {}", told::load_average());
}

fn start(lab: &Lab, home: &Path) -> Vec<Peer> {
    let place = |n: usize| {
        let listen = format!("/ip4/{}/tcp/4747", lab.ip4(n));
        let place = Place { listen, ..Place::in_namespace(home, &format!("n{n}"), lab.host(n)) };
        let place = place.with("VOTERS__STABILIZATION", "300ms").with("VOTERS__FOUND_AFTER", "200ms");
        place.with("VOTERS__REPLACE_AFTER", "1h")
    };
    let first = place(1).start(None);
    let invites = [first.invite(), first.invite()];
    let mut peers = vec![first];
    peers.extend((2..).zip(&invites).map(|(n, invite)| place(n).start(Some(invite))));
    wait_for("three vote", || {
        peers.iter().all(|peer| {
            let told = peer.ask(&["voters", "list"]);
            told["members"].as_array().unwrap().iter().filter(|it| it["voter"] == true).count() == 3
        })
    });
    peers
}

fn settle(peers: &[Peer]) -> usize {
    let mut leads = None;
    wait_for("all agree", || {
        let told: Vec<Value> = peers.iter().map(|peer| peer.try_ask(&["leader"]).unwrap_or_default()).collect();
        let is_same = |it: &Value| it["leader"] == told[0]["leader"] && it["known"] == told[0]["known"];
        leads = told.iter().position(|it| it["standing"] == "leader").filter(|_| told.iter().all(is_same));
        leads.is_some()
    });
    leads.unwrap()
}

/// Microseconds since midnight.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    u64::try_from(now % 86_400_000_000).unwrap()
}

/// When a peer wrote this down first since then.
fn first(peer: &Peer, words: &str, since: u64) -> Option<u64> {
    let log = peer.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut times = lines.filter(|line| line["message"] == words).filter_map(|line| time_of(&line));
    times.find(|at| *at >= since)
}

fn time_of(line: &Value) -> Option<u64> {
    let (_, time) = line["timestamp"].as_str()?.split_once('T')?;
    // 14:15:07.758247Z
    let mut parts = time.trim_end_matches('Z').split([':', '.']).map(|part| part.parse::<u64>().unwrap());
    let (hours, minutes, seconds, micros) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some((hours * 3_600 + minutes * 60 + seconds) * 1_000_000 + micros)
}
