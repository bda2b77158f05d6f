//! What people do with it who read no manual: commands broken off, damaged files, peers asked too early.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Peer, Place, free_port, wait_for};
use crate::rebuilds::{done, founder, holds, oxigdal, put, refused, text};

/// What the probe says.
fn ready(peer: &Peer) -> (bool, Value) {
    let mut stream = TcpStream::connect(&peer.place.api).unwrap();
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    let body =
        told.split("\r\n\r\n").nth(1).and_then(|body| body.find('{').map(|at| &body[at..=body.rfind('}').unwrap()]));
    (told.starts_with("HTTP/1.1 200"), serde_json::from_str(body.unwrap()).unwrap())
}

#[test]
fn a_peer_is_not_ready_before_it_has_what_its_neighbours_hold() {
    let dir = tempfile::tempdir().unwrap();
    let a = founder(dir.path());
    assert!(ready(&a).0, "nobody can fill the first one");
    put(&a, "one");
    let listen = format!("/ip4/127.0.0.1/tcp/{}", free_port());
    let b = Place { listen, ..Place::on_loopback(dir.path(), "b") }.start(Some(&a.invite()));
    wait_for("it is filled", || ready(&b).0);
    assert!(holds(&b, &["one"]));
    // Its log is lost, and its neighbour is away.
    let (a, b) = (a.kill(), b.kill());
    done(&["rebuild", "--data-dir", text(&b.data), "--from-mesh"]);
    let b = b.start(None);
    let (is, told) = ready(&b);
    assert!(!is && told["codes"] == serde_json::json!(["filling"]) && told["live"] == true, "{told}");
    assert_eq!(b.ask(&["status"])["host"]["filling"], true);
    let a = a.start(None);
    wait_for("it is filled", || ready(&b).0);
    wait_for("it shows it", || holds(&b, &["one"]));
    // Who had nothing to recover is ready with its log, whoever is away.
    drop(b);
    let a = a.kill().start(None);
    assert!(ready(&a).0, "it has its log");
}

/// A peer whose log is damaged before the snapshot that it starts from.
fn damaged(dir: &Path) -> Place {
    let settings = Place::on_loopback(dir, "a").with("WAL__SEGMENT_BYTES", "65536").with("SNAPSHOTS__RECORDS", "1000");
    let a = settings.start(None);
    for n in 0..4 {
        let mut luck = vec![0; 15_000];
        blake3::Hasher::new().update(&[n]).finalize_xof().fill(&mut luck);
        let text: String = luck.iter().map(|byte| format!("{byte:02x}")).collect();
        let output = a.run(&["doc", "put", &format!("d/{n}"), &format!("{{\"t\":\"{text}\"}}")]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(a.run(&["snapshot", "create"]).status.success());
    let a = a.kill();
    let segment = a.data.join("log/0000000000000001.wal");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[20_000] ^= 1;
    fs::write(&segment, bytes).unwrap();
    a
}

#[test]
fn an_archive_of_a_damaged_log_says_that_it_never_catches_up() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("repo");
    let a = damaged(dir.path()).with("ARCHIVE__REPOSITORY", text(&repo)).start(None);
    wait_for("it is found", || a.ask(&["status"]).pointer("/host/archive/state") == Some(&"log_damaged".into()));
    let told = String::from_utf8(a.run(&["status"]).stdout).unwrap();
    assert!(told.contains("0000000000000001.wal") && told.contains("never archived"), "{told}");
    assert!(told.contains("oxigdal-ha rebuild") && !told.contains("catches up by itself"), "{told}");
    let backup = ["backup", "create", "--full", "--repo", text(&repo), "--data", text(&a.place.data)];
    let (code, said) = refused(&backup);
    assert!(code == "log_damaged" && said.contains("0000000000000001.wal") && said.contains("rebuild"), "{said}");
    let (code, log) = a.told_to_stop();
    assert!(code == Some(1) && log.contains("is not complete") && log.contains("--from-mesh"), "{log}");
}

#[test]
fn a_recovery_that_was_broken_off_names_its_command_and_only_that_finishes_it() {
    let dir = tempfile::tempdir().unwrap();
    let a = founder(dir.path()).kill();
    let data = text(&a.data).to_owned();
    let line = format!("oxigdal-ha rebuild --data-dir {data} --from-mesh");
    let by = serde_json::json!({ "name": "rebuild", "line": line });
    let journal = serde_json::json!({ "aside": dir.path().join("a.lost"), "timeline": null, "by": by });
    // The old log is away, the new one not in place yet.
    let break_off = || {
        fs::rename(a.data.join("log"), dir.path().join("log")).unwrap();
        fs::create_dir_all(a.data.join("next")).unwrap();
        fs::rename(dir.path().join("log"), a.data.join("next/log")).unwrap();
        fs::write(a.data.join("switch"), journal.to_string()).unwrap();
        fs::set_permissions(a.data.join("switch"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    break_off();
    let (code, log) = a.start_in_vain(None);
    assert!(code == Some(1) && log.contains(&line), "{log}");
    assert!(!a.data.join("log").exists(), "the start has touched it");
    let root = a.data.join("root.key");
    for other in [
        &["timeline", "adopt", "--data-dir", &data, "--statement", "oxht1x"][..],
        &["restore", "--data", &data, "--at", "latest", "--new-timeline", "--root-key", text(&root)],
    ] {
        let (code, said) = refused(other);
        assert!(code == "unfinished" && said.contains(&line), "{said}");
        assert!(a.data.join("switch").exists(), "{other:?} has finished it");
    }
    done(&["rebuild", "--data-dir", &data, "--from-mesh"]);
    break_off();
    let (code, said) = refused(&["rebuild", "--data-dir", &data, "--repo", "/nowhere"]);
    assert!(code == "finished" && said.contains(&line), "what was asked for was not done: {said}");
    a.start(None);
}

#[test]
fn around_damage_a_peer_gets_what_is_whole_and_hears_what_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let a = founder(dir.path());
    let (data, repo) = (a.place.data.clone(), dir.path().join("repo"));
    let (data, repo) = (text(&data), text(&repo));
    put(&a, "one");
    done(&["backup", "create", "--full", "--repo", repo, "--data", data]);
    put(&a, "two");
    let second = done(&["backup", "create", "--repo", repo, "--data", data]);
    let root = a.place.data.join("root.key");
    let a = a.kill();
    let object: PathBuf = Path::new(repo).join(second["backup"]["objects"][0]["key"].as_str().unwrap());
    fs::remove_file(&object).unwrap();
    let into = dir.path().join("look");
    let restore = ["restore", "--repo", repo, "--at", "latest", "--into", text(&into)];
    assert_eq!(refused(&restore).0, "missing");
    let restored = done(&[&restore[..], &["--accept-damage"]].concat());
    assert_eq!(restored["damage"].as_array().map(Vec::len), Some(1), "{restored}");
    let left = &restored["found"]["left_out"][0];
    let main = &second["backup"]["main"];
    assert_eq!((&left["first"], &left["last"]), (&main["first"], &main["last"]), "{restored}");

    // What was refused before it began is no recovery.
    for refused_at_once in
        [&["rebuild", "--data-dir", data][..], &["rebuild", "--data-dir", data, "--repo", "/nowhere"]]
    {
        refused(refused_at_once);
    }
    assert_eq!(done(&["recoveries", "--data-dir", data]), serde_json::json!([]));
    let rebuilt = done(&["rebuild", "--data-dir", data, "--repo", repo, "--accept-damage"]);
    assert!(rebuilt["left_out"][0].as_str().unwrap().contains(&main["last"].to_string()), "{rebuilt}");
    let a = a.start(None);
    assert!(holds(&a, &["one"]));
    let a = a.kill();

    // A directory that is only to be looked at is nobody's.
    let look = dir.path().join("line");
    let begin = ["restore", "--data", data, "--at", "latest", "--new-timeline", "--root-key", text(&root)];
    done(&[&begin[..], &["--into", text(&look)]].concat());
    let secret = ["identity.key", "ticket", "root.key", "issuer.key", "invites", "api-token"];
    assert!(look.join("log").is_dir() && look.join("timeline").exists());
    assert!(secret.iter().all(|name| !look.join(name).exists()));
    let (_, said) = refused(&["timeline", "adopt", "--data-dir", text(&a.data), "--statement", "@/nowhere"]);
    assert!(said.contains("cannot read the statement from /nowhere"), "{said}");
}

#[test]
fn a_schedule_is_not_more_often_than_it_can_be_and_knows_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let a = founder(dir.path()).kill();
    let set =
        |says: &[&str]| oxigdal(&[&["backup", "schedule", "--data", text(&a.data), "set", "x"][..], says].concat());
    let refused = set(&["every=1s", "repository=/srv/backups"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("a minute at least"));
    let told = set(&["every=1h", "repository=backups"]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let here = std::env::current_dir().unwrap().join("backups");
    assert!(told["set"].as_str().unwrap().contains(&format!("repository={}", here.display())), "{told}");
    let (code, log) = a.with("BACKUP__SCHEDULE", "x every=1h repository=backups").start_in_vain(None);
    assert!(code != Some(0) && log.contains("from the root on"), "{log}");
}
