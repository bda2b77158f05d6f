//! Streams over real processes: what one appends all can follow, on any peer, over crashes; and how fast.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

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
