//! `kill -9` under write load, again and again: what was acknowledged is there after the restart.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Peer, Place};

/// How often the peer is killed.
const KILLS: u64 = 50;
/// How many clients write at once.
const WRITERS: usize = 4;

/// The last value of each document that was acknowledged, and the one that was asked for and perhaps not.
#[derive(Default)]
struct Ledger {
    acknowledged: BTreeMap<String, u64>,
    asked: BTreeMap<String, u64>,
}

/// One client: overwrites its own few documents until it is told to stop or the peer is gone.
fn write(peer: &Peer, writer: usize, from: u64, stop: &AtomicBool) -> Ledger {
    let (mut ledger, agent) = (Ledger::default(), ureq::agent());
    let token = std::fs::read_to_string(peer.place.data.join("api-token")).unwrap();
    for value in from.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let doc = format!("load/{writer}/{}", value % 7);
        ledger.asked.insert(doc.clone(), value);
        let sent = agent
            .put(format!("http://{}/v1/docs/{doc}", peer.place.api))
            .header("Authorization", format!("Bearer {}", token.trim()))
            .send_json(json!({"value": value, "writer": writer}));
        match sent {
            Ok(_) => ledger.acknowledged.insert(doc, value),
            Err(ureq::Error::StatusCode(code)) => panic!("refused with {code}"),
            Err(_) => break, // Killed in the middle.
        };
    }
    ledger
}

fn values(peer: &Peer) -> BTreeMap<String, u64> {
    let page: Value = ureq::get(format!("http://{}/v1/docs?prefix=load/&values=true&limit=100", peer.place.api))
        .call()
        .unwrap()
        .body_mut()
        .read_json()
        .unwrap();
    let docs = page["docs"].as_array().unwrap();
    docs.iter().map(|doc| (doc["doc"].as_str().unwrap().into(), doc["value"]["value"].as_u64().unwrap())).collect()
}

#[test]
fn fifty_kills_under_load_lose_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::on_loopback(dir.path(), "victim");
    let (mut total, mut known) = (0, Ledger::default());
    for round in 0..KILLS {
        let peer = place.start(None);
        let found = values(&peer);
        for (doc, value) in &known.acknowledged {
            let (least, most) = (*value, known.asked[doc]);
            assert!(
                found.get(doc).is_some_and(|found| (least..=most).contains(found)),
                "round {round}: {doc} is {:?}, acknowledged {least}, asked {most}\n{}",
                found.get(doc),
                peer.log()
            );
        }
        let stop = AtomicBool::new(false);
        let from = (round + 1) * 1_000_000;
        let ledgers: Vec<Ledger> = thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|n| {
                    scope.spawn({
                        let (peer, stop) = (&peer, &stop);
                        move || write(peer, n, from, stop)
                    })
                })
                .collect();
            // Another moment each round, from "nothing written yet" to "hundreds of writes".
            thread::sleep(Duration::from_millis(round * 37 % 400));
            let killed = std::process::Command::new("kill").args(["-9", &peer.pid().to_string()]).status().unwrap();
            assert!(killed.success());
            thread::sleep(Duration::from_millis(20));
            stop.store(true, Ordering::Relaxed);
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        for ledger in ledgers {
            total += ledger.acknowledged.len();
            known.acknowledged.extend(ledger.acknowledged);
            known.asked.extend(ledger.asked);
        }
        peer.kill();
    }
    println!("{KILLS} kills; {total} documents had acknowledged writes at risk");
    assert!(total > 0, "nothing was ever acknowledged: the test shows nothing");
}

/// Whoever loses the ticket would otherwise found a second mesh on the documents of the first.
#[test]
fn a_log_without_its_ticket_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::on_loopback(dir.path(), "a").start(None).kill();
    std::fs::remove_file(dir.path().join("a/ticket")).unwrap();
    let (code, log) = place.start_in_vain(None);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("its ticket is gone"), "{log}");
}

#[test]
fn a_peer_outlives_whoever_read_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Place::on_loopback(dir.path(), "a").start_unheard();
    peer.ask(&["doc", "put", "a", "{}"]);
    assert_eq!(peer.members("alive"), 1);
}
