//! Writers beside each peer that write while their peer says that it is the primary, and do not notice that it is no more: what takes
//! their writes asks for the token, and takes none of an old one.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::harness::{Peer, wait_for};
use super::roles::{LEASE_MS, holder};
use super::{id, three_with};

/// What is written to: it lets whoever shows a token write if its own peer, which was not told by anybody else, admits that.
struct Store<'a> {
    peer: &'a Peer,
    secret: String,
    written: Mutex<Written>,
}

#[derive(Default)]
struct Written {
    /// The tokens' places, in the order of the writes.
    tokens: Vec<u64>,
    refused: u64,
}

impl<'a> Store<'a> {
    fn of(peer: &'a Peer) -> Self {
        let secret = std::fs::read_to_string(peer.place.data.join("api-token")).unwrap();
        Self { peer, secret: secret.trim().to_owned(), written: Mutex::default() }
    }

    /// Asked and written as one: else a write that was admitted could come after another one's.
    fn write(&self, token: &Value) {
        let mut written = self.written.lock().unwrap();
        let answer = ureq::post(format!("http://{}/v1/roles/admit", self.peer.place.api))
            .header("authorization", format!("Bearer {}", self.secret))
            .send_json(serde_json::json!({ "role": "primary", "token": token }));
        match answer {
            Ok(_) => written.tokens.push(token["index"].as_u64().unwrap()),
            Err(ureq::Error::StatusCode(409)) => written.refused += 1,
            Err(error) => panic!("{error}"),
        }
    }

    fn last(&self) -> u64 {
        self.written.lock().unwrap().tokens.last().copied().unwrap_or_default()
    }

    fn refused(&self) -> u64 {
        self.written.lock().unwrap().refused
    }

    fn count(&self) -> usize {
        self.written.lock().unwrap().tokens.len()
    }
}

/// Under which token a peer says that it acts. Nothing if it says that it does not; an error if it says nothing.
fn acts_under(peer: &Peer) -> Result<Option<Value>, ureq::Error> {
    let asked = ureq::get(format!("http://{}/primary", peer.place.api)).config();
    match asked.timeout_global(Some(Duration::from_millis(300))).build().call() {
        Ok(mut answer) => Ok(Some(answer.body_mut().read_json::<Value>()?["token"].take())),
        Err(ureq::Error::StatusCode(503)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes for as long as its peer does not deny that it is the primary: while the peer says nothing, it goes on.
fn write(peer: &Peer, store: &Store<'_>, stop: &AtomicBool) {
    let mut token = None;
    while !stop.load(Ordering::Relaxed) {
        if let Ok(said) = acts_under(peer) {
            token = said;
        }
        match &token {
            Some(token) => (0..5).for_each(|_| store.write(token)),
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// The writers end with the test, also with one that fails.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn signal(peer: &Peer, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(peer.pid()).unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn no_write_of_an_old_primary_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let peers = three_with(dir.path(), |name, place| {
        // The third one is what is written to, and is the primary never before the others.
        let priority = if name == "c" { "1" } else { "200" };
        let place = place.with("NODE__PRIORITY", priority);
        place.with("ROLES__NAMES", "primary").with("ROLES__PROMOTIONS_MAX", "100").with("ROLES__LEASE_MS", LEASE_MS)
    });
    let [a, b, c] = &peers[..] else { panic!("three") };
    wait_for("it is known who the primary is", || holder(c).is_some());
    if holder(c) != Some(id(a)) {
        c.ask(&["role", "move", "primary", &id(a)]);
    }
    let (store, stop) = (Store::of(c), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _ended = Ended(&stop);
        for peer in [a, b] {
            scope.spawn(|| write(peer, &store, &stop));
        }
        wait_for("the primary writes", || store.count() > 10);
        let first = store.last();
        // It sleeps; whoever writes beside it goes on.
        signal(a, Signal::STOP);
        wait_for("another one writes", || store.last() > first);
        let (second, refused) = (store.last(), store.refused());
        wait_for("and the old one is refused", || store.refused() > refused + 10);
        signal(a, Signal::CONT);
        wait_for("the old one answers again", || acts_under(a).is_ok());
        // Refused where it is its own again already, or on its way.
        let back = id(a);
        wait_for("another token writes", || {
            let _ = c.run(&["role", "move", "primary", &back]);
            store.last() > second
        });
    });
    let written = store.written.lock().unwrap();
    assert!(written.tokens.is_sorted(), "{:?}", written.tokens);
    println!("{} writes were taken, {} refused", written.tokens.len(), written.refused);
}
