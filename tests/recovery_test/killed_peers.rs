//! Peers that serve, killed with `SIGKILL` as they enter a system call that changes what is on the disk: while the log is begun,
//! while it goes on in a next segment, while a snapshot is taken.
//!
//! One thread alone makes these calls on the files that are looked at, so strace's count of them is exact. Each point is a run of its
//! own from the same beginning. Where there are more than some sixty, only each [`STRIDE`]th of a kind is, to be quick:
//! `OXIGDAL_HA_KILL_STRIDE=1 cargo test --test recovery_test killed_peers` has all of them.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::time::Duration;

use oxigdal_ha::recovery::snapshot::{SnapshotFile, SnapshotState, beside};
use oxigdal_ha::recovery::{LOG_DIR, Source};
use oxigdal_ha::types::{DocId, Family, SegmentId};
use oxigdal_ha::wal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::kills::{CHANGES, copy, held, is_armed};
use super::{Docs, Luck, watched};

/// See above.
const STRIDE: usize = 3;
/// More calls of one kind than anything here makes.
const CALLS_MAX: usize = 150;
/// System calls by which a file of the log comes to be, grows, is made durable and goes.
const CALLS: [&str; 4] = ["openat", CHANGES[0], CHANGES[1], CHANGES[5]];
/// Longer than any peer takes to answer or to end, in tries of ten milliseconds.
const TRIES_MAX: usize = 3_000;

fn stride() -> usize {
    std::env::var("OXIGDAL_HA_KILL_STRIDE").map_or(STRIDE, |stride| stride.parse().unwrap())
}

/// The program, to be killed as a thread of it enters the `nth` of these calls, on one of these files.
fn doomed(calls: &str, nth: usize, on: &[PathBuf], arguments: &[&str]) -> Process {
    let mut process = Process::new("strace");
    on.iter().for_each(|file| _ = process.arg("-P").arg(file));
    process.args(["-f", "-qq", "-o", "/dev/null", "-e"]).arg(format!("trace={calls}")).arg("-e");
    process.arg(format!("inject={calls}:signal=KILL:when={nth}"));
    process.arg(env!("CARGO_BIN_EXE_oxigdal-ha")).args(arguments).stdin(Stdio::null());
    process
}

/// What a peer was told: what it acknowledged, and what it may have done.
#[derive(Debug, Default)]
struct Told {
    acknowledged: Docs,
    tried: Docs,
    /// Snapshots that it said are durable.
    snapshots: Vec<u64>,
}

impl Told {
    /// Whether this is what the peer holds: all that it acknowledged, and nothing that it was not told.
    fn check(&self, held: &Docs, said: &str) {
        for doc in self.acknowledged.keys().chain(self.tried.keys()).chain(held.keys()) {
            let there = held.get(doc);
            let right = there == self.acknowledged.get(doc) || (there.is_some() && there == self.tried.get(doc));
            assert!(right, "{said}: {doc} is {there:?}");
        }
    }
}

/// A running peer.
struct Peer {
    process: Child,
    api: String,
    data: PathBuf,
    traced: bool,
}

impl Peer {
    /// Begins as [`doomed`] says, or to live if there is no call to be killed at.
    fn start(data: &Path, settings: &[(&str, &str)], killed: Option<(&str, usize, &[PathBuf])>) -> Self {
        let api = format!("127.0.0.1:{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
        let dir = data.to_str().unwrap();
        let arguments = ["run", "--data-dir", dir, "--api", &api, "--listen", "/ip4/127.0.0.1/tcp/0"];
        let mut process = match killed {
            Some((calls, nth, on)) => doomed(calls, nth, on, &arguments),
            None => {
                let mut process = Process::new(env!("CARGO_BIN_EXE_oxigdal-ha"));
                process.args(arguments).stdin(Stdio::null());
                process
            }
        };
        process.env("OXIGDAL_HA_NETWORK__MDNS", "false").stdout(Stdio::null()).stderr(Stdio::null());
        settings.iter().for_each(|(name, value)| _ = process.env(format!("OXIGDAL_HA_{name}"), value));
        Self { process: process.spawn().unwrap(), api, data: data.to_owned(), traced: killed.is_some() }
    }

    /// Asks until it answers well; nothing when it has ended before.
    #[expect(clippy::disallowed_methods, reason = "a process says nowhere when it is up")]
    fn ask(&mut self, method: &str, path: &str, body: &str) -> Option<String> {
        for _ in 0..TRIES_MAX {
            if let Ok(token) = fs::read_to_string(self.data.join("api-token")) {
                let request = ureq::http::Request::builder()
                    .method(method)
                    .uri(format!("http://{}{path}", self.api))
                    .header("Authorization", format!("Bearer {}", token.trim()))
                    .body(body.to_owned())
                    .unwrap();
                let answer = ureq::run(request).and_then(|mut answer| answer.body_mut().read_to_string());
                if let Ok(answer) = answer {
                    return Some(answer);
                }
            }
            if self.process.try_wait().unwrap().is_some() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it neither answers nor ends");
    }

    /// Writes these documents, and takes note of what is acknowledged; whether it lives on.
    fn put(&mut self, docs: Docs, told: &mut Told) -> bool {
        let line = |(doc, value): (&DocId, &Value)| {
            json!({ "doc": doc, "edits": [{ "op": "put", "value": value }] }).to_string()
        };
        let lines: Vec<String> = docs.iter().map(line).collect();
        told.tried = docs;
        loop {
            let Some(answer) = self.ask("POST", "/v1/edits", &lines.join("\n")) else { return false };
            if answer.lines().all(|line| line.contains("\"heads\"")) {
                break;
            }
            assert!(answer.contains("\"booting\""), "{answer}");
        }
        told.acknowledged.append(&mut told.tried);
        true
    }

    /// Has it take a snapshot; whether it lives on.
    fn snapshot(&mut self, told: &mut Told) -> bool {
        let Some(answer) = self.ask("POST", "/v1/snapshots", "") else { return false };
        let taken: Value = serde_json::from_str(&answer).unwrap();
        assert!(taken["state"]["good"].is_object(), "{answer}");
        told.snapshots.push(taken["id"].as_u64().unwrap());
        true
    }

    /// All documents that it shows.
    fn shown(&mut self) -> Docs {
        let answer = self.ask("GET", "/v1/docs?values=true&limit=1000", "").expect("it lives");
        let page: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(page["more"], false);
        let shown = |doc: &Value| (DocId::parse(doc["doc"].as_str().unwrap()).unwrap(), doc["value"].clone());
        page["docs"].as_array().unwrap().iter().map(shown).collect()
    }

    /// It is over: it was killed, or is now; whether it was.
    fn end(mut self, said: &str) -> bool {
        let ended = self.process.try_wait().unwrap().is_some();
        if !ended && self.traced {
            // Without strace it would live on.
            watched::end(&mut self.process);
        } else if !ended {
            self.process.kill().unwrap();
        }
        assert_eq!(self.process.wait().unwrap().code(), None, "killed, and not failed: {said}");
        ended
    }
}

/// At the first call of each kind, and each so many behind it: from a copy of `begin` a peer is told what `tell` tells it until it is
/// killed, and `look` looks at what is left. With how many ends there were.
fn killed_at(
    (calls, stride): (&[&str], usize),
    begin: &Path,
    settings: &[(&str, &str)],
    on: impl Fn(&Path) -> Vec<PathBuf>,
    mut tell: impl FnMut(&mut Peer, &mut Told),
    mut look: impl FnMut(&Path, &Told, &str),
) -> usize {
    let (mut ends, acknowledged) = (0, held(begin));
    for calls in calls {
        // What removes a file are few, and each is another one.
        let stride = if *calls == CHANGES[5] { 1 } else { stride };
        for nth in (1..CALLS_MAX).step_by(stride) {
            let home = TempDir::new().unwrap();
            let data = home.path().join("data");
            copy(begin, &data);
            let said = format!("call {nth} of {calls}");
            let mut told = Told { acknowledged: acknowledged.clone(), ..Told::default() };
            let mut peer = Peer::start(&data, settings, Some((calls, nth, &on(&data))));
            tell(&mut peer, &mut told);
            let killed = peer.end(&said);
            told.check(&held(&data), &said);
            look(&data, &told, &said);
            if !killed {
                break;
            }
            ends += 1;
        }
    }
    ends
}

/// Text that does not get smaller.
fn text(luck: &mut Luck, len: usize) -> String {
    (0..len).map(|_| char::from(b'!' + u8::try_from(luck.below(90)).unwrap())).collect()
}

fn doc(n: u64) -> DocId {
    DocId::parse(&format!("kills/{n}")).unwrap()
}

/// A data directory whose peer has served and was killed.
fn founded(data: &Path, docs: Docs) {
    let mut peer = Peer::start(data, &[], None);
    assert!(peer.put(docs, &mut Told::default()), "it lives");
    peer.end("the first life");
}

#[test]
fn a_peer_that_is_killed_at_any_write_has_what_it_acknowledged() {
    if !is_armed() {
        return;
    }
    let home = TempDir::new().unwrap();
    let data = home.path().join("data");
    let segment = data.join(LOG_DIR).join(wal::file_name(SegmentId::new(1)));
    founded(&data, Docs::from([(doc(0), json!({ "n": 0 }))]));
    let mut told = Told { acknowledged: held(&data), ..Told::default() };
    let (mut ends, mut next) = (0, 0);
    for calls in &CHANGES[..2] {
        for nth in 1..CALLS_MAX {
            let said = format!("call {nth} of {calls}");
            let mut peer = Peer::start(&data, &[], Some((calls, nth, std::slice::from_ref(&segment))));
            for _ in 0..12 {
                next += 1;
                let tried = std::mem::take(&mut told.tried);
                if !peer.put(tried.into_iter().chain([(doc(next), json!({ "n": next }))]).collect(), &mut told) {
                    break;
                }
            }
            let killed = peer.end(&said);
            told.check(&held(&data), &said);
            if !killed {
                break;
            }
            ends += 1;
        }
    }
    let acknowledged = told.acknowledged.len();
    assert!(ends > 8 && acknowledged > 20, "{ends} ends, {acknowledged} acknowledged");
}

#[test]
fn a_peer_that_is_killed_while_its_log_rotates_has_what_it_acknowledged() {
    if !is_armed() {
        return;
    }
    let home = TempDir::new().unwrap();
    let (begin, small) = (home.path().join("begin"), [("WAL__SEGMENT_BYTES", "65536")]);
    founded(&begin, Docs::from([(doc(0), json!({ "n": 0 }))]));
    let log = |data: &Path| {
        let log = data.join(LOG_DIR);
        (1..24).map(|n| log.join(wal::file_name(SegmentId::new(n)))).chain([log.clone()]).collect()
    };
    // Several in one request: what they say is written at once, and goes over the end of a segment.
    let tell = |peer: &mut Peer, told: &mut Told| {
        let mut luck = Luck(75);
        for n in (1..60).step_by(10) {
            let mut one = |n| {
                let len = usize::try_from(2_000 + luck.below(9_000)).unwrap();
                (doc(n), json!({ "n": n, "text": text(&mut luck, len) }))
            };
            let docs: Docs = (n..n + 10).map(&mut one).collect();
            if !peer.put(docs, told) {
                return;
            }
        }
    };
    let mut rotated = 0;
    let ends = killed_at((&CALLS[..3], 1), &begin, &small, log, tell, |data, told, said| {
        rotated = rotated.max(Source::open(data).unwrap().segments().len());
        let mut peer = Peer::start(data, &small, None);
        told.check(&peer.shown(), said);
        // And it goes on.
        assert!(peer.put(Docs::from([(doc(99), json!({ "n": 99 }))]), &mut Told::default()), "{said}");
        peer.end(said);
        assert!(held(data).contains_key(&doc(99)), "{said}");
    });
    assert!(ends > 30 && rotated > 4, "{ends} ends, {rotated} segments");
}

#[test]
fn a_peer_that_is_killed_while_it_takes_a_snapshot_starts_from_a_whole_one() {
    if !is_armed() {
        return;
    }
    let home = TempDir::new().unwrap();
    let begin = home.path().join("begin");
    founded(&begin, (0..300).map(|n| (doc(n), json!({ "n": n }))).collect());
    let number = |n: u64| SegmentId::new(Family::SNAPSHOTS.value() + n);
    let files = |data: &Path| {
        let log = data.join(LOG_DIR);
        (1..9).map(|n| log.join(wal::file_name(number(n)))).chain([log.clone()]).collect()
    };
    let tell = |peer: &mut Peer, told: &mut Told| {
        for n in 1..4 {
            let changed = [(doc(n), json!({ "n": 1_000 + n })), (doc(1_000 + n), json!({ "n": n }))];
            if !peer.put(Docs::from(changed), told) || !peer.snapshot(told) {
                return;
            }
        }
    };
    let mut halves = 0;
    let ends = killed_at((&CALLS, stride()), &begin, &[], files, tell, |data, told, said| {
        let beside = |data: &Path| beside(&Source::open(data).unwrap()).unwrap();
        let good = |files: &[SnapshotFile]| -> BTreeMap<u64, bool> {
            files.iter().map(|file| (file.id, matches!(file.state, SnapshotState::Good(_)))).collect()
        };
        let there = good(&beside(data));
        halves += there.values().filter(|good| !**good).count();
        for id in told.snapshots.iter().rev().take(2) {
            let newer = there.iter().filter(|(newer, good)| *newer > id && **good).count();
            assert!(there.get(id) == Some(&true) || newer > 1, "{said}: {id} was durable, and there is {there:?}");
        }
        let mut peer = Peer::start(data, &[], None);
        told.check(&peer.shown(), said);
        assert!(peer.snapshot(&mut Told::default()), "{said}");
        // What was half goes when there is a new one.
        let half = |peer: &mut Peer| {
            let answer: Vec<Value> = serde_json::from_str(&peer.ask("GET", "/v1/snapshots", "").unwrap()).unwrap();
            answer.len() > 2 || answer.iter().any(|file| !file["state"]["refused"].is_null())
        };
        let gone = (0..TRIES_MAX).any(|_| !half(&mut peer));
        assert!(gone, "{said}: {:?}", beside(data));
        peer.end(said);
    });
    assert!(ends > 40 / stride() && halves > 12 / stride(), "{ends} ends, {halves} half snapshots");
}
