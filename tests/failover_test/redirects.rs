//! What a redirector tells: a holder's service that takes nothing, a holder that is where it listens itself, a role that nobody has held yet.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use super::harness::{Place, free_port, wait_for};
use super::roles::{LEASE_MS, holder};
use super::{id, redirect, says, service};

/// What a redirector wrote on standard error and told last, after so many clients came and were let go.
fn tells(args: &[&str], clients: usize) -> (String, serde_json::Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oxigdal-ha"));
    command.args(["--json", "redirect", "--wait", "1s"]).args(args);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let told = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let address = told(&lines.next().unwrap())["address"].as_str().unwrap().to_owned();
    assert_eq!(told(&lines.next().unwrap())["event"], "holder");
    for _ in 0..clients {
        let read = TcpStream::connect(&address).unwrap().read(&mut [0]);
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let last = told(&lines.last().unwrap());
    let mut notes = String::new();
    child.stderr.take().unwrap().read_to_string(&mut notes).unwrap();
    assert!(child.wait().unwrap().success());
    (notes, last["connections"].clone())
}

#[test]
fn a_holder_that_takes_nothing_is_told_once_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let closed = free_port();
    let place =
        Place::on_loopback(dir.path(), "a").with("VOTERS__FOUND_AFTER", "200ms").with("ROLES__NAMES", "primary");
    let peer = place.with("NODE__SERVICES", &format!("who:{closed}")).with("ROLES__LEASE_MS", LEASE_MS).start(None);
    wait_for("it is the primary", || holder(&peer) == Some(id(&peer)));
    let api = peer.place.api.as_str();
    let (notes, counts) = tells(&["--listen", "127.0.0.1:0", "--port-of", "who", "--api", api], 2);
    let note = format!("note: a is primary, but 127.0.0.1:{closed} refuses connections");
    assert_eq!(notes.lines().filter(|line| **line == note).count(), 1, "{notes}");
    assert_eq!((&counts["refused"], &counts["unserved"]), (&2.into(), &0.into()), "{counts}");
    // Where the holder's place is the redirector's own, it would be its own client.
    let own = free_port().to_string();
    for host in ["127.0.0.1", "0.0.0.0"] {
        let listen = format!("{host}:{own}");
        let (notes, counts) = tells(&["--listen", &listen, "--port-of", &own, "--api", api], 1);
        let note = format!("note: a is primary, but 127.0.0.1:{own} is where this redirector itself listens");
        assert_eq!(notes.lines().filter(|line| line.starts_with(&note)).count(), 1, "{notes}");
        assert_eq!((&counts["accepted"], &counts["refused"]), (&1.into(), &1.into()), "{counts}");
    }
}

#[test]
fn a_role_that_is_configured_and_was_never_held_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::on_loopback(dir.path(), "a").with("VOTERS__FOUND_AFTER", "200ms").with("ROLES__NAMES", "maps");
    let place = place.with("ROLES__AUTOMATIC", "false").with("ROLES__LEASE_MS", LEASE_MS);
    let peer = place.with("NODE__SERVICES", &format!("who:{}", service("a"))).start(None);
    wait_for("it leads", || super::leader(&peer).is_some());
    let none = Command::new(env!("CARGO_BIN_EXE_oxigdal-ha"))
        .args(["redirect", "--listen", "127.0.0.1:0", "--port-of", "who", "--role", "other", "--api", &peer.place.api])
        .output()
        .unwrap();
    assert_eq!(none.status.code(), Some(1), "{none:?}");
    let redirect = redirect(&["--role", "maps"], [&peer]);
    let mut client = redirect.connect();
    peer.ask(&["role", "move", "maps", "a"]);
    assert_eq!(says(&mut client).as_deref(), Some("a"));
}
