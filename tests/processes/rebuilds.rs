//! A peer that lost its data comes back out of a backup, under its own keys or under new ones, and its neighbours give it the rest.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Peer, Place, free_port, wait_for};

pub(crate) fn oxigdal(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_oxigdal-ha")).args(args).arg("--json").stdin(Stdio::null()).output().unwrap()
}

pub(crate) fn done(args: &[&str]) -> Value {
    let output = oxigdal(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The code of the error, and all that was said.
pub(crate) fn refused(args: &[&str]) -> (String, String) {
    let output = oxigdal(args);
    assert!(!output.status.success(), "{args:?} was not refused");
    let said = String::from_utf8(output.stderr).unwrap();
    let last = said.lines().last().unwrap_or_default();
    let error: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{said}"));
    (error["error"]["code"].as_str().unwrap_or_default().to_owned(), said)
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(crate) fn put(peer: &Peer, doc: &str) {
    let output = peer.run(&["doc", "put", doc, "{\"n\":1}"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) fn holds(peer: &Peer, docs: &[&str]) -> bool {
    String::from_utf8(peer.run(&["doc", "ls"]).stdout).unwrap().lines().eq(docs.iter().copied())
}

pub(crate) fn founder(dir: &Path) -> Peer {
    let listen = format!("/ip4/127.0.0.1/tcp/{}", free_port());
    Place { listen, ..Place::on_loopback(dir, "a") }.start(None)
}

#[test]
fn a_lost_peer_comes_back_out_of_a_backup_and_its_neighbours_give_it_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let a = founder(dir.path());
    let b = Place::on_loopback(dir.path(), "b").start(Some(&a.invite()));
    let (data, repo) = (b.place.data.clone(), dir.path().join("repo"));
    let (data, repo) = (text(&data), text(&repo));
    put(&b, "one");
    done(&["backup", "create", "--full", "--repo", repo, "--data", data]);
    put(&b, "two");
    wait_for("both hold both", || holds(&a, &["one", "two"]) && holds(&b, &["one", "two"]));
    let rebuild = ["rebuild", "--data-dir", data, "--repo", repo];
    assert_eq!(refused(&rebuild).0, "in_use");

    // Everything is lost but what was saved.
    let b = b.kill();
    let saved = ["identity.key", "ticket"].map(|name| (name, fs::read(b.data.join(name)).unwrap()));
    fs::remove_dir_all(&b.data).unwrap();
    assert_eq!(refused(&rebuild).0, "no_membership");
    fs::create_dir_all(&b.data).unwrap();
    for (name, bytes) in saved {
        fs::write(b.data.join(name), bytes).unwrap();
        fs::set_permissions(b.data.join(name), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    // Killed in the middle, as often as one likes: it is not started from, or it is whole.
    for ms in [5, 20, 60, 150] {
        let mut child =
            Command::new(env!("CARGO_BIN_EXE_oxigdal-ha")).args(rebuild).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(ms));
        // It may have ended before.
        let _ = child.kill();
        child.wait().unwrap();
    }
    let rebuilt = done(&rebuild);
    put(&a, "three");
    // Who its neighbours are was lost as well.
    assert_eq!(rebuilt["knows_peers"], false);
    let b = b.start(Some(&a.place.listen));
    wait_for("it has what the backup had, and the rest", || holds(&b, &["one", "three", "two"]));
    put(&b, "four");
    wait_for("its edits spread", || holds(&a, &["four", "one", "three", "two"]));
    let kept = done(&["recoveries", "--data-dir", data]);
    let kinds: Vec<&str> = kept.as_array().unwrap().iter().filter_map(|entry| entry["what"].as_str()).collect();
    assert!(kinds.contains(&"rebuild") && kinds.contains(&"run: serving"), "{rebuilt} {kept}");

    // All of another one is lost, and the keys too: the data comes under a new identity.
    let c = Place::on_loopback(dir.path(), "c");
    let joined = done(&["rebuild", "--data-dir", text(&c.data), "--repo", repo, "--join", &a.invite()]);
    assert_ne!(joined["node"], rebuilt["node"], "{joined}");
    let c = c.start(None);
    wait_for("it has everything", || holds(&c, &["four", "one", "three", "two"]));
}

#[test]
fn a_damaged_newest_backup_is_passed_over_only_if_that_is_allowed_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let a = founder(dir.path());
    let (data, repo) = (a.place.data.clone(), dir.path().join("repo"));
    let (data, repo) = (text(&data), text(&repo));
    put(&a, "one");
    let first = done(&["backup", "create", "--full", "--repo", repo, "--data", data]);
    put(&a, "two");
    let second = done(&["backup", "create", "--full", "--repo", repo, "--data", data]);
    let a = a.kill();
    let (first, second) = (&first["backup"], &second["backup"]);
    let object = Path::new(repo).join(second["objects"][0]["key"].as_str().unwrap());
    let mut bytes = fs::read(&object).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&object, bytes).unwrap();

    let (code, said) = refused(&["rebuild", "--data-dir", data, "--repo", repo]);
    assert!(code == "damaged" && said.contains("--accept-older"), "{said}");
    assert!(said.contains(first["id"].as_str().unwrap()), "it says which is next: {said}");
    assert!(a.data.join("log").is_dir(), "nothing was changed");
    let rebuilt = done(&["rebuild", "--data-dir", data, "--repo", repo, "--accept-older"]);
    assert_eq!((&rebuilt["backup"], &rebuilt["passed_over"][0]["backup"]), (&first["id"], &second["id"]), "{rebuilt}");
    let kept = done(&["recoveries", "--data-dir", data]);
    let fates: Vec<bool> = kept.as_array().unwrap().iter().map(|entry| entry["error"].is_null()).collect();
    assert_eq!(fates, [false, true], "{kept}");
    assert!(kept[1]["lost_ms"].as_u64().unwrap() > 0, "{kept}");
    let a = a.start(None);
    assert!(holds(&a, &["one"]));

    // What an operator moved by hand from a log whose main chain is gone does not start.
    let mut stream = a.command(&["stream", "append", "s"]).stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(stream.stdin.as_mut().unwrap(), b"event\n").unwrap();
    assert!(stream.wait_with_output().unwrap().status.success());
    let a = a.kill();
    for entry in fs::read_dir(a.data.join("log")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with('0') {
            fs::remove_file(path).unwrap();
        }
    }
    let (code, log) = a.start_in_vain(None);
    assert!(code == Some(1) && log.contains("no record in its main chain") && log.contains("rebuild"), "{log}");
}
