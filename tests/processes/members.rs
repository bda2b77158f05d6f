//! What others see of a peer that is in trouble or gone, and a watch that outlives its peer.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::harness::{PATIENCE, Peer, Place, wait_for};

/// A file system of some megabytes in memory. Gone when dropped.
struct Small(PathBuf);

impl Small {
    /// `None` where mounting is not allowed.
    fn mount(at: PathBuf, size: &str) -> Option<Self> {
        std::fs::create_dir(&at).unwrap();
        let size = format!("size={size}");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at).status();
        if status.is_ok_and(|status| status.success()) {
            return Some(Self(at));
        }
        eprintln!("SKIPPED: a small file system cannot be mounted here, so no disk gets full");
        None
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// The status and body of a plain request.
fn http(peer: &Peer, path: &str) -> String {
    let mut stream = TcpStream::connect(&peer.place.api).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", peer.place.api).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn pair(dir: &Path, second: &Path) -> [Peer; 2] {
    let one = Place::on_loopback(dir, "one").start(None);
    let two = Place::on_loopback(second, "two").start(Some(&one.invite()));
    wait_for("both see both", || one.members("alive") == 2 && two.members("alive") == 2);
    [one, two]
}

#[test]
fn a_peer_whose_disk_is_full_is_seen_by_all_to_take_no_writes() {
    let dir = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(dir.path().join("small"), "3m") else { return };
    let [one, two] = pair(dir.path(), &small.0);
    wait_for("it has what the other has", || http(&two, "/readyz").starts_with("HTTP/1.1 200"));
    let text = json!({ "text": "x".repeat(400_000) }).to_string();
    let file = dir.path().join("large.json");
    std::fs::write(&file, text).unwrap();
    let mut written = 0;
    let refused = loop {
        let output = two.run(&["doc", "put", &format!("d/{written}"), &format!("@{}", file.display()), "--json"]);
        if !output.status.success() {
            break serde_json::from_slice::<Value>(&output.stderr).unwrap();
        }
        written += 1;
        assert!(written < 50, "it is never full");
    };
    assert_eq!(refused["error"]["code"], "disk", "{refused}");
    let ready = http(&two, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("takes no edits"), "{ready}");
    wait_for("the other sees it", || {
        let members = one.ask(&["members"]);
        members.as_array().unwrap().iter().any(|member| member["name"] == "two" && member["read_only"] == true)
    });
    let shown = String::from_utf8(one.run(&["members"]).stdout).unwrap();
    assert!(shown.lines().any(|line| line.starts_with("two") && line.contains("read-only")), "{shown}");
    let status = String::from_utf8(one.run(&["status"]).stdout).unwrap();
    assert!(status.contains("1 read-only") && status.contains("two takes no writes"), "{status}");
    let listed = String::from_utf8(two.run(&["doc", "ls", "d/"]).stdout).unwrap();
    assert_eq!(listed.lines().count(), written, "it gives what it has");
    drop(two);
}

#[test]
fn only_who_is_gone_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = pair(dir.path(), dir.path());
    let refused = one.run(&["members", "forget", "two", "--json"]);
    let refused: Value = serde_json::from_slice(&refused.stderr).unwrap();
    assert_eq!(refused["error"]["code"], "in_use", "{refused}");
    let id = two.ask(&["status"])["node"].as_str().unwrap().to_owned();
    two.ask(&["members"]);
    assert!(Command::new("kill").args(["-TERM", &two.pid().to_string()]).status().unwrap().success());
    wait_for("it has left", || one.members("left") == 1);
    wait_for("its link is closed", || one.try_ask(&["members", "forget", &id]).is_some());
    assert_eq!(one.ask(&["members"]).as_array().unwrap().len(), 1);
    let unknown = one.run(&["members", "forget", &id, "--json"]);
    assert_eq!(serde_json::from_slice::<Value>(&unknown.stderr).unwrap()["error"]["code"], "not_found");
    let back = two.kill().start(None);
    wait_for("it comes back", || one.members("alive") == 2 && back.members("alive") == 2);
}

#[test]
fn a_watch_goes_on_when_its_peer_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Place::on_loopback(dir.path(), "one").start(None);
    let mut watch = peer.command(&["doc", "watch", "d/", "--json"]);
    let mut watch = watch.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (send, lines) = mpsc::channel();
    let out = BufReader::new(watch.stdout.take().unwrap());
    let reader = std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
    let next = |event: &str| loop {
        let line: Value = serde_json::from_str(&lines.recv_timeout(PATIENCE).unwrap()).unwrap();
        if line["event"] == event {
            return line["data"].clone();
        }
    };
    // It may not listen yet: what comes before is not shown.
    let mut n = 0;
    wait_for("the watch sees a change", || {
        n += 1;
        peer.ask(&["doc", "put", "d/1", &json!({ "n": n }).to_string()]);
        lines.try_recv().is_ok()
    });
    let place = peer.kill();
    let mut told = BufReader::new(watch.stderr.take().unwrap());
    let mut waits = String::new();
    told.read_line(&mut waits).unwrap();
    assert!(waits.contains("it is waited for"), "{waits}");
    let peer = place.start(None);
    assert_eq!(next("lagged")["missed"], Value::Null, "a restarted peer cannot say what was missed");
    peer.ask(&["doc", "put", "d/2", "{}"]);
    assert_eq!(next("changed")["doc"], "d/2");
    watch.kill().unwrap();
    watch.wait().unwrap();
    drop(lines);
    let _ = reader.join().unwrap();
}
