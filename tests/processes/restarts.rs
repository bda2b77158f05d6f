//! Peers that are started again: whom they find, and what they say until all is as it was.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{Peer, Place, wait_for};

/// On any port, so that the others do not find it where it was: it has to find them.
#[test]
fn a_peer_that_is_killed_right_after_its_first_start_finds_its_mesh_without_its_invite() {
    let dir = tempfile::tempdir().unwrap();
    let one = Place::on_loopback(dir.path(), "one").start(None);
    let two = Place::on_loopback(dir.path(), "two").start(Some(&one.invite())).kill().start(None);
    two.ask(&["doc", "put", "from/two", "{}"]);
    wait_for("its edit is there", || one.try_ask(&["doc", "get", "from/two"]).is_some());
}

fn signal(peer: &Peer, name: &str) {
    assert!(Command::new("kill").args([name, &peer.pid().to_string()]).status().unwrap().success());
}

/// Whether SIGHUP is ignored, as under `nohup`.
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    u64::from_str_radix(ignored, 16).unwrap() & 1 == 1
}

#[test]
fn a_terminal_that_goes_away_lets_a_peer_say_goodbye() {
    if ignores_hangups() {
        println!(
            "skipped: these tests were started so that they outlive their terminal, and what they start does so too"
        );
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let one = Place::on_loopback(dir.path(), "one").start(None);
    let two = Place::on_loopback(dir.path(), "two").start(Some(&one.invite()));
    wait_for("both are linked", || one.members("alive") == 2);
    signal(&two, "-HUP");
    wait_for("it has said goodbye", || one.members("left") == 1);
}

#[test]
fn an_invite_comes_by_standard_input_or_a_file_and_a_key_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let one = Place::on_loopback(dir.path(), "one").start(None);
    let file = dir.path().join("invite");
    std::fs::write(&file, one.invite()).unwrap();
    let two = Place::on_loopback(dir.path(), "two").start(Some(&format!("@{}", file.display())));
    wait_for("it has joined", || one.members("alive") == 2);
    // The ticket is worth nothing, so a new one is wanted by standard input.
    let mut renew = two.command(&["key", "renew", "--invite", "-"]);
    let mut renew = renew.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    renew.stdin.take().unwrap().write_all(one.invite().as_bytes()).unwrap();
    assert!(renew.wait().unwrap().success());

    let one = one.kill();
    let root = one.data.join("root.key");
    std::fs::set_permissions(&root, PermissionsExt::from_mode(0o644)).unwrap();
    let (code, log) = one.start_in_vain(None);
    assert!(code != Some(0) && log.contains("root.key") && log.contains("chmod 600"), "{log}");
}

#[test]
fn an_export_goes_where_it_is_told_and_nothing_to_export_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Place::on_loopback(dir.path(), "one").start(None);
    let feature = r#"{"type":"Feature","geometry":null,"properties":{"n":1}}"#;
    peer.ask(&["doc", "put", "a/1", feature]);
    let out = peer.run(&["doc", "export", "a", "--output", "-"]).stdout;
    assert!(String::from_utf8(out).unwrap().contains("\"n\""));
    for command in [&["doc", "export", "b"][..], &["doc", "ls", "b"]] {
        let nothing = peer.run(command);
        let said = String::from_utf8(nothing.stderr).unwrap();
        assert!(nothing.status.success() && said.contains("no document's id begins with \"b\""), "{said}");
    }
}

#[test]
fn a_damaged_log_is_refused_with_what_can_be_done_and_a_lost_end_is_told_until_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::on_loopback(dir.path(), "one");
    let peer = place.start(None);
    for n in 0..20 {
        peer.ask(&["doc", "put", &format!("a/{n}"), "{}"]);
    }
    let place = peer.kill();
    let segment = std::fs::read_dir(place.data.join("log")).unwrap().map(|file| file.unwrap().path());
    let segment = segment.filter(|path| path.extension().is_some_and(|end| end == "wal")).max().unwrap();
    let whole = std::fs::read(&segment).unwrap();

    std::fs::write(&segment, &whole[..whole.len() - 5]).unwrap();
    let peer = place.start(None);
    let status = String::from_utf8(peer.run(&["status"]).stdout).unwrap();
    assert!(status.contains("its log had lost its end when it started"), "{status}");
    let place = peer.kill();
    let peer = place.start(None);
    assert_eq!(peer.ask(&["status"])["log_cut"], serde_json::Value::Null);
    let place = peer.kill();

    let mut damaged = whole;
    let middle = damaged.len() / 2;
    damaged[middle..middle + 8].iter_mut().for_each(|byte| *byte ^= 0xff);
    std::fs::write(&segment, damaged).unwrap();
    let (code, log) = place.start_in_vain(None);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("hint: nothing was changed") && log.contains("rebuild --from-mesh"), "{log}");
}

/// A terminal sends Ctrl-C to all processes of the group.
#[test]
fn a_demo_that_is_interrupted_says_so_by_its_exit_code_and_leaves_nothing() {
    for name in ["-INT", "-HUP"] {
        let mut demo = Command::new(env!("CARGO_BIN_EXE_oxigdal-ha"));
        demo.args(["demo", "--peers", "3"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut demo = demo.process_group(0).spawn().unwrap();
        let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map(Result::unwrap);
        let title = lines.by_ref().find(|line| line.contains("data below ")).unwrap();
        let folder = title.rsplit_once("data below ").unwrap().1.to_owned();
        lines.by_ref().find(|line| line.contains("join")).unwrap();
        assert!(Path::new(&folder).exists(), "{title}");
        let group = format!("-{}", demo.id());
        assert!(Command::new("kill").args([name, "--", &group]).status().unwrap().success());
        lines.for_each(drop);
        assert_eq!(demo.wait().unwrap().code(), Some(130), "{name}");
        assert!(!Path::new(&folder).exists(), "{name}: {folder}");
    }
}
