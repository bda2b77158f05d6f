//! Streams over real processes: what one appends all can follow, on any peer, over crashes; and how fast.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Peer, Place, wait_for};

fn place(dir: &Path, name: &str) -> Place {
    // Both are held until both are known, so that they differ. Fixed, so that others find it again after a restart.
    let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [peers, api] = sockets.map(|socket| socket.local_addr().unwrap().port());
    Place {
        namespace: None,
        name: name.into(),
        data: dir.join(name),
        listen: format!("/ip4/127.0.0.1/tcp/{peers}"),
        api: format!("127.0.0.1:{api}"),
        settings: Vec::new(),
    }
}

/// A mesh of three.
fn three(dir: &Path) -> [Peer; 3] {
    let first = place(dir, "one").start(None);
    let others = ["two", "three"].map(|name| place(dir, name).start(Some(&first.invite())));
    let [second, third] = others;
    let peers = [first, second, third];
    wait_for("everybody sees everybody", || peers.iter().all(|peer| peer.members("alive") == 3));
    peers
}

fn append(peer: &Peer, stream: &str, text: &str) {
    let mut command = peer.command(&["stream", "append", stream]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn tail(peer: &Peer, args: &[&str]) -> Vec<String> {
    let output = peer.run(&[&["stream", "tail"], args].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Events of a stream at a peer, by its own count.
fn count(peer: &Peer, stream: &str) -> u64 {
    let streams = peer.ask(&["stream", "ls", stream]);
    streams
        .as_array()
        .unwrap()
        .iter()
        .find(|info| info["stream"] == stream)
        .map_or(0, |info| info["events"].as_u64().unwrap())
}

#[test]
fn what_one_appends_all_can_follow_and_resume_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let [one, two, three] = three(dir.path());
    append(&one, "sensors/tide", "1.02\n1.04\r\n\n1.07");
    wait_for("the events are at the third", || count(&three, "sensors/tide") == 4);
    assert_eq!(tail(&three, &["sensors/tide"]), ["1.02", "1.04", "", "1.07"]);

    // A page's cursor from one peer is good on another, also after that one was killed and has come back.
    let page: Value =
        serde_json::from_slice(&two.run(&["stream", "tail", "sensors/tide", "--limit", "2", "--json"]).stdout).unwrap();
    let cursor = page["cursor"].as_str().unwrap().to_owned();
    let three = three.kill().start(None);
    append(&three, "sensors/tide", "9.99\n");
    wait_for("the event of the restarted is at the first", || count(&one, "sensors/tide") == 5);
    let rest = tail(&one, &["sensors/tide", "--from", &cursor]);
    assert_eq!(rest, ["", "1.07", "9.99"]);
    assert_eq!(tail(&one, &["sensors/tide", "--from", &cursor, "--follow", "--limit", "3"]), rest);
    assert!(tail(&one, &["sensors/tide", "--from", "now"]).is_empty());

    // Bytes that are no text, and errors that say what is wrong.
    append(&two, "raw", "");
    let refused = two.run(&["stream", "tail", "raw", "--from", "nonsense"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not a cursor"), "{refused:?}");
    let refused = two.run(&["stream", "append", "a//b", "--file", "/dev/null", "--binary"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("segment \"\""), "{refused:?}");
    let info = &two.ask(&["stream", "ls"])[0];
    assert_eq!((info["events"].as_u64(), info["origins"].as_array().map(Vec::len)), (Some(5), Some(2)));
}

/// How long the load lasts, and how much of it is under way.
const LOAD: Duration = Duration::from_secs(10);
const CLIENTS: usize = 4;
const BATCH: usize = 1_000;

/// Three processes on one machine; clients append batches of 100-byte events to the first. Prints what became durable there
/// a second, and what was applied at both others a second, the time to catch up included.
#[test]
#[ignore = "a measurement: cargo test --release --test processes streams::how_fast -- --ignored --nocapture"]
fn how_fast_events_go_to_three_processes() {
    let dir = tempfile::tempdir_in("target").unwrap();
    let [one, two, three] = three(dir.path());
    let token = std::fs::read_to_string(one.place.data.join("api-token")).unwrap();
    for incompressible in [false, true] {
        let stream = if incompressible { "load/random" } else { "load/text" };
        let (appended, began) = (AtomicU64::new(0), Instant::now());
        thread::scope(|scope| {
            for client in 0..CLIENTS as u64 {
                let (appended, token, api) = (&appended, token.trim(), &one.place.api);
                scope.spawn(move || {
                    let agent = ureq::agent();
                    let url = format!("http://{api}/v1/streams/{stream}");
                    for round in 0.. {
                        if began.elapsed() > LOAD {
                            return;
                        }
                        let body = batch(client << 32 | round, incompressible);
                        let sent = agent.post(&url).header("Authorization", format!("Bearer {token}")).send(&body[..]);
                        sent.unwrap();
                        appended.fetch_add(BATCH as u64, Ordering::Relaxed);
                    }
                });
            }
        });
        let (durable, total) = (began.elapsed().as_secs_f64(), appended.load(Ordering::Relaxed));
        // Both others hold the same log once their vectors are equal.
        let vector = |peer: &Peer| peer.ask(&["status"])["vector"].clone();
        let ours = vector(&one);
        wait_for("both others hold everything", || [&two, &three].iter().all(|peer| vector(peer) == ours));
        let applied = began.elapsed().as_secs_f64();
        println!(
            "{stream}: {total} events of 100 B in batches of {BATCH} from {CLIENTS} clients: {:.0}/s durable at the origin, {:.0}/s applied on both others",
            total as f64 / durable,
            total as f64 / applied,
        );
    }
}

/// Lines of 100 bytes with their ends, as a sensor would write them or as a cipher would.
fn batch(number: u64, incompressible: bool) -> Vec<u8> {
    let mut body = Vec::with_capacity(BATCH * 101);
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for n in 0..BATCH {
        let start = body.len();
        write!(body, "{{\"sensor\":{number},\"reading\":{n},\"value\":").unwrap();
        while body.len() < start + 100 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let byte = if incompressible { b' ' + (state % 95) as u8 } else { b'0' + (state % 10) as u8 };
            body.push(byte);
        }
        body.truncate(start + 100);
        body.push(b'\n');
    }
    body
}

#[test]
fn a_batch_is_lines_of_a_hundred_bytes() {
    for incompressible in [false, true] {
        let body = batch(7, incompressible);
        let lines: BTreeSet<&[u8]> = body.split_inclusive(|byte| *byte == b'\n').collect();
        assert_eq!((lines.len(), lines.iter().all(|line| line.len() == 101)), (BATCH, true));
    }
}
