//! What real peers lived through is lived again, effect for effect: under load, over a crash, and in overlay and policy.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use oxigdal_ha::recording::{Kept, Reader, Writer};
use serde_json::Value;

use crate::harness::{Peer, Place, wait_for};

fn recorded(dir: &Path, name: &str, file: &str) -> Place {
    Place::on_loopback(dir, name).with("NODE__RECORD", dir.join(file).to_str().unwrap())
}

fn replay(file: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oxigdal-ha"));
    command.args(["simulate", "replay-inputs", "--json"]).arg(file).output().unwrap()
}

fn lived_again(file: &Path) -> Value {
    let output = replay(file);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Edits, a removal, a refused one, and events.
fn write(peer: &Peer, round: usize) {
    for doc in 0..10 {
        let (doc, value) = (format!("doc/{doc}"), format!("{{\"round\": {round}, \"by\": \"{}\"}}", peer.place.name));
        peer.ask(&["doc", "put", &doc, &value]);
    }
    let _ = peer.run(&["doc", "rm", "doc/3"]);
    assert!(!peer.run(&["doc", "rm", "doc/none"]).status.success());
    let mut command = peer.command(&["stream", "append", "tide"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"high\nlow\n").unwrap();
    assert!(child.wait().unwrap().success());
}

fn stop(peer: &Peer, file: &Path) {
    assert!(Command::new("kill").arg(peer.pid().to_string()).status().unwrap().success());
    // A recording that goes on ends in a block that is not there yet, or has no entry of the end.
    wait_for("it has stopped", || peer.log().contains("the recording is whole") && file.exists());
}

#[test]
fn the_lives_of_three_peers_are_lived_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let first = recorded(dir.path(), "one", "one.rec").start(None);
    let second = recorded(dir.path(), "two", "two.rec").start(Some(&first.invite()));
    let third = recorded(dir.path(), "three", "three.rec").start(Some(&first.invite()));
    wait_for("all see all", || [&first, &second, &third].iter().all(|peer| peer.members("alive") == 3));
    [&first, &second, &third].iter().for_each(|peer| write(peer, 1));
    let lives = |name: &str| lived_again(&file(name))["inputs"].as_u64().unwrap();
    wait_for("a part is in the file", || lives("three.rec") > 10);
    let third = third.kill();
    write(&second, 2);
    let third = third.with("NODE__RECORD", file("again.rec").to_str().unwrap()).start(None);
    wait_for("the third has what it missed", || {
        let content = |peer: &Peer| peer.ask(&["status"])["content"].clone();
        content(&third) == content(&first) && content(&second) == content(&first)
    });
    let content = first.ask(&["status"])["content"].clone();
    assert!(content.is_string(), "{content}");
    for (peer, name) in [(&second, "two.rec"), (&third, "again.rec"), (&first, "one.rec")] {
        stop(peer, &file(name));
    }
    for name in ["one.rec", "two.rec", "again.rec"] {
        let replayed = lived_again(&file(name));
        assert_eq!((&replayed["ended"], &replayed["status"]["content"]), (&true.into(), &content), "{name}");
        assert!(replayed["tasks"].as_u64().unwrap() > 10, "{name}: {replayed}");
    }
    let killed = lived_again(&file("three.rec"));
    assert!(
        killed["inputs"].as_u64().unwrap() > 10 && killed["ended"] == false,
        "what was killed is lived up to there: {killed}"
    );
    let other = other_life(&file("two.rec"));
    let output = replay(&other);
    let why = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{why}");
    assert!(why.contains("recorded was"), "{why}");
    // Nothing is recorded over, and nothing into the log.
    let (code, log) = recorded(dir.path(), "one", "one/log/0000000000000099.wal").start_in_vain(None);
    assert!(code == Some(2) && log.contains("cannot record to"), "{code:?}: {log}");
    let (code, log) = recorded(dir.path(), "four", "one.rec").start_in_vain(None);
    assert!(code == Some(2) && log.contains("cannot record to"), "{code:?}: {log}");
}

/// The same recording, in which one frame was cut short.
fn other_life(file: &Path) -> PathBuf {
    let other = file.with_extension("other");
    let mut reader = Reader::begin(BufReader::new(File::open(file).unwrap())).unwrap();
    let mut writer = Writer::begin(BufWriter::new(File::create(&other).unwrap()), reader.header()).unwrap();
    let mut cut = false;
    while let Some(mut entry) = reader.entry().unwrap() {
        if let Some(Kept::Received { frame, .. }) = &mut entry.input
            && !cut
        {
            frame.pop();
            cut = true;
        }
        writer.add(&entry).unwrap();
    }
    writer.flush().unwrap();
    assert!(cut);
    other
}
