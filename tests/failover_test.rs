//! Failover on real processes: three peers on loopback decide, lose their leader, and go on deciding.
//!
//! Nothing here asserts how long something took; each wait is bounded, and machines are shared.

#![cfg(feature = "cli")]
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "real processes are waited for in real time")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "failover_test/backups.rs"]
mod backups;
#[path = "failover_test/crew.rs"]
mod crew;
#[path = "failover_test/cut.rs"]
mod cut;
#[path = "failover_test/fence.rs"]
mod fence;
#[path = "processes/harness.rs"]
#[expect(dead_code, reason = "it is shared with the tests of processes")]
mod harness;
#[path = "processes/lab.rs"]
#[expect(dead_code, reason = "it is shared with the tests of processes")]
mod lab;
#[path = "failover_test/redirects.rs"]
mod redirects;
#[path = "failover_test/roles.rs"]
mod roles;
#[path = "failover_test/stores.rs"]
mod stores;
#[path = "failover_test/told.rs"]
mod told;

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::TcpStream;
use std::process::{ChildStdout, Command, Stdio};

use harness::{Peer, Place, wait_for};
use serde_json::Value;

/// Three peers, all of which vote.
fn three(dir: &std::path::Path) -> Vec<Peer> {
    three_with(dir, |_, place| place)
}

/// The same, each with settings of its own.
fn three_with(dir: &std::path::Path, settings: impl Fn(&'static str, Place) -> Place) -> Vec<Peer> {
    let place = |name| {
        let place = Place::on_loopback(dir, name)
            .with("VOTERS__STABILIZATION", "300ms")
            .with("VOTERS__FOUND_AFTER", "200ms")
            .with("VOTERS__REPLACE_AFTER", "1h");
        settings(name, place)
    };
    let first = place("a").start(None);
    let invites = [first.invite(), first.invite()];
    let mut peers = vec![first];
    peers.extend(["b", "c"].into_iter().zip(&invites).map(|(name, invite)| place(name).start(Some(invite))));
    wait_for("three vote, and all know who leads", || {
        peers.iter().all(|peer| voters(peer) == 3 && leader(peer).is_some() && leader(peer) == leader(&peers[0]))
    });
    peers
}

fn voters(peer: &Peer) -> usize {
    let told = peer.ask(&["voters", "list"]);
    told["members"].as_array().unwrap().iter().filter(|member| member["voter"] == true).count()
}

fn leader(peer: &Peer) -> Option<String> {
    peer.try_ask(&["leader"])?["leader"].as_str().map(str::to_owned)
}

fn id(peer: &Peer) -> String {
    peer.ask(&["status"])["node"].as_str().unwrap().to_owned()
}

/// Takes whoever leads out of the peers.
fn take_leader(peers: &mut Vec<Peer>) -> Peer {
    let leads = leader(&peers[0]).unwrap();
    let at = peers.iter().position(|peer| id(peer) == leads).unwrap();
    peers.remove(at)
}

/// Has a register set, and asks again until it is decided. A refusal is certain, so it may be asked anew.
fn decide(peer: &Peer, register: &str, value: &str) -> Value {
    let mut decided = None;
    wait_for(&format!("{register} is decided"), || {
        decided = peer.try_ask(&["actions", "set", register, value]);
        decided.is_some()
    });
    decided.unwrap()
}

/// Whether a peer says that nothing is decided there.
fn refused_for_want_of_a_majority(peer: &Peer, register: &str) -> bool {
    let output = peer.run(&["actions", "set", register, "1", "--json"]);
    output.status.code() == Some(1) && String::from_utf8_lossy(&output.stderr).contains("no majority")
}

fn knows(peer: &Peer, register: &str, value: &str) -> bool {
    let output = peer.run(&["actions", "tail", "--json"]);
    let lines = String::from_utf8(output.stdout).unwrap();
    let mut all = serde_json::Deserializer::from_str(&lines).into_iter::<Value>().map(Result::unwrap);
    all.any(|it| it["register"] == register && it["value"] == value)
}

#[test]
fn a_killed_leader_is_followed_and_nothing_that_was_decided_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut peers = three(dir.path());
    decide(&peers[1], "before", "1");
    for round in 0..3 {
        let place = take_leader(&mut peers).kill();
        let value = round.to_string();
        decide(&peers[0], "after", &value);
        wait_for("both survivors know it", || {
            peers.iter().all(|peer| knows(peer, "after", &value) && knows(peer, "before", "1"))
        });
        let back = place.start(None);
        wait_for("whoever comes back knows it too", || knows(&back, "after", &value));
        peers.push(back);
        wait_for("all know who leads", || {
            peers.iter().all(|peer| leader(peer).is_some() && leader(peer) == leader(&peers[0]))
        });
    }
}

#[test]
fn who_is_told_to_stop_hands_over_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut peers = three(dir.path());
    let leads = take_leader(&mut peers);
    let (was, place) = (id(&leads), leads.place.clone());
    let (code, log) = leads.told_to_stop();
    assert_eq!(code, Some(0), "{log}");
    decide(&peers[0], "after", "1");
    assert_ne!(leader(&peers[0]), Some(was));
    let back = place.start(None);
    wait_for("it is back", || knows(&back, "after", "1"));
}

/// A mesh of two has one voter. Who is left decides.
#[test]
fn the_only_voter_of_two_makes_the_other_one_a_voter_before_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name| {
        Place::on_loopback(dir.path(), name)
            .with("VOTERS__STABILIZATION", "300ms")
            .with("VOTERS__FOUND_AFTER", "200ms")
            .with("VOTERS__REPLACE_AFTER", "1h")
    };
    let a = place("a").start(None);
    let b = place("b").start(Some(&a.invite()));
    decide(&b, "before", "1");
    assert_eq!(voters(&a), 1);
    let (code, log) = a.told_to_stop();
    assert_eq!(code, Some(0), "{log}");
    decide(&b, "after", "2");
    assert!(knows(&b, "before", "1") && voters(&b) == 1, "{}", b.ask(&["voters", "list"]));
    // It comes back as who it was, and votes not: one is enough of two.
    let a = place("a").start(None);
    decide(&a, "back", "3");
    assert_eq!(voters(&a), 1);
}

#[test]
fn a_minority_says_that_it_is_one_and_goes_on_editing() {
    let dir = tempfile::tempdir().unwrap();
    let mut peers = three(dir.path());
    let (last, others) = (peers.remove(0), peers);
    let places: Vec<Place> = others.into_iter().map(Peer::kill).collect();
    wait_for("nothing is decided", || refused_for_want_of_a_majority(&last, "alone"));
    let status = last.ask(&["status"]);
    assert_ne!(status["coordination"]["level"], "full", "{}", status["coordination"]);
    last.ask(&["doc", "put", "notes/alone", "{\"still\": \"here\"}"]);
    let back: Vec<Peer> = places.iter().map(|place| place.start(None)).collect();
    decide(&last, "together", "1");
    wait_for("all know it", || back.iter().all(|peer| knows(peer, "together", "1")));
}

/// A service that answers each line with its name.
fn service(name: &'static str) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().map(Result::unwrap) {
            std::thread::spawn(move || {
                let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
                while let Some(Ok(_)) = lines.next() {
                    writeln!(&client, "{name}").unwrap();
                }
            });
        }
    });
    port
}

/// What a service says to a line; nothing when the connection is over.
fn says(client: &mut BufReader<TcpStream>) -> Option<String> {
    writeln!(client.get_mut(), "who").ok()?;
    let mut line = String::new();
    client.read_line(&mut line).ok().filter(|read| *read > 0)?;
    Some(line.trim().to_owned())
}

/// A redirector that runs.
struct Redirect {
    child: std::process::Child,
    told: Lines<BufReader<ChildStdout>>,
    address: String,
}

/// Starts one that asks these peers.
fn redirect<'a>(args: &[&str], peers: impl IntoIterator<Item = &'a Peer>) -> Redirect {
    redirect_by(args, peers.into_iter().map(|peer| &*peer.place.api))
}

/// Starts one that asks at these interfaces, whether anybody is there or not.
fn redirect_by<'a>(args: &[&str], apis: impl IntoIterator<Item = &'a str>) -> Redirect {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oxigdal-ha"));
    command.args(["--json", "redirect", "--listen", "127.0.0.1:0", "--port-of", "who", "--wait", "60s"]).args(args);
    apis.into_iter().for_each(|api| _ = command.args(["--api", api]));
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap()).lines();
    let listening: Value = serde_json::from_str(&told.next().unwrap().unwrap()).unwrap();
    Redirect { child, told, address: listening["address"].as_str().unwrap().to_owned() }
}

impl Redirect {
    fn connect(&self) -> BufReader<TcpStream> {
        BufReader::new(TcpStream::connect(&self.address).unwrap())
    }

    /// Ends it. What it tells last.
    fn end(mut self) -> Value {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let last = self.told.by_ref().map(Result::unwrap).last().unwrap();
        assert!(self.child.wait().unwrap().success());
        serde_json::from_str(&last).unwrap()
    }
}

impl Drop for Redirect {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn clients_are_led_to_whoever_leads() {
    let dir = tempfile::tempdir().unwrap();
    let mut peers =
        three_with(dir.path(), |name, place| place.with("NODE__SERVICES", &format!("who:{}", service(name))));
    let names: Vec<(String, &str)> = peers.iter().map(id).zip(["a", "b", "c"]).collect();
    let name = |peer: &Peer| names.iter().find(|(id, _)| Some(id) == leader(peer).as_ref()).unwrap().1;
    let redirect = redirect(&["--role", "leader"], &peers);
    let (mut first, was) = (redirect.connect(), name(&peers[0]));
    assert_eq!(says(&mut first).as_deref(), Some(was));
    // The service lives on beside the peer that dies: what is open ends since the leader is another.
    take_leader(&mut peers).kill();
    decide(&peers[0], "after", "1");
    let is = name(&peers[0]);
    assert_ne!(is, was);
    wait_for("the old connection is over", || says(&mut first).is_none());
    assert_eq!(says(&mut redirect.connect()).as_deref(), Some(is));
    let last = redirect.end();
    assert_eq!((&last["event"], &last["connections"]["moved"]), (&"stopped".into(), &1.into()), "{last}");
}
