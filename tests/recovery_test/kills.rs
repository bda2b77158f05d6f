//! Real processes, killed with `SIGKILL` as they enter a system call that changes what is on the disk: the first of its kind,
//! the second, and so on until none is left to be killed at. strace does it, where it is installed.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use oxigdal_ha::recovery::target::Target;
use oxigdal_ha::recovery::{LOG_DIR, Source, Survey};
use oxigdal_ha::types::{SegmentId, WallTime};
use oxigdal_ha::wal;
use tempfile::TempDir;

use super::{Docs, Luck, lived, look};

/// System calls that change what is on the disk, by the names of all machines: strace takes those that there are here.
const CHANGES: [&str; 6] = [
    "write,pwrite64",
    "fsync,fdatasync",
    "?rename,renameat,renameat2",
    "?link,linkat",
    "?mkdir,mkdirat,ftruncate",
    "?unlink,unlinkat,?rmdir",
];
/// More calls of one kind than anything here makes in one of its threads.
const CALLS_MAX: usize = 150;

/// Whether strace is here and may be used.
fn is_armed() -> bool {
    let armed = Process::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output();
    let armed = armed.is_ok_and(|output| output.status.success());
    if !armed {
        // Past the harness, which keeps what tests print to itself.
        let line = b"\n!!! SKIPPED: kills at every system call: strace is not installed, or may not trace\n\n";
        io::stderr().lock().write_all(line).unwrap();
    }
    armed
}

/// The program, to be killed when a thread of it makes the `nth` of these calls, on this file if one is given.
fn doomed(calls: &str, nth: usize, on: Option<&Path>, arguments: &[&str]) -> Process {
    let mut process = Process::new("strace");
    if let Some(file) = on {
        process.arg("-P").arg(file);
    }
    process.args(["-f", "-qq", "-o", "/dev/null", "-e"]).arg(format!("trace={calls}")).arg("-e");
    process.arg(format!("inject={calls}:signal=KILL:when={nth}"));
    process.arg(env!("CARGO_BIN_EXE_oxigdal-ha")).args(arguments).stdin(Stdio::null());
    process
}

/// Runs it again and again, killed one call later each time, and has each end looked at; with how many ends there were.
fn killed_everywhere(arguments: &[&str], mut left: impl FnMut(&str)) -> usize {
    let mut ends = 0;
    for calls in CHANGES {
        for nth in 1..CALLS_MAX {
            let output = doomed(calls, nth, None, arguments).output().unwrap();
            let said = format!("call {nth} of {calls}: {}", String::from_utf8_lossy(&output.stderr));
            left(&said);
            if output.status.success() {
                break;
            }
            assert_eq!(output.status.code(), None, "killed, and not failed: {said}");
            ends += 1;
        }
    }
    ends
}

fn run(arguments: &[&str]) -> String {
    let mut process = Process::new(env!("CARGO_BIN_EXE_oxigdal-ha"));
    let output = process.args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a data directory holds.
fn held(dir: &Path) -> Docs {
    let source = Source::open(dir).unwrap();
    let survey = Survey::of(&source).unwrap();
    let located = survey.locate(&source, &Target::Latest, false, WallTime::from_micros(u64::MAX)).unwrap();
    look(&source, &survey, &located).0
}

#[test]
fn a_backup_that_is_killed_leaves_what_was_there_and_is_gone_on_with() {
    if !is_armed() {
        return;
    }
    let home = TempDir::new().unwrap();
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let mut life = lived(&home.path().join("data"), 20, &mut Luck(71));
    let (data, repo, into) = (path("data"), path("repo"), path("into"));
    run(&["backup", "create", "--full", "--repo", &repo, "--data", &data]);
    (0..4).for_each(|_| life.live(&mut Luck(72)));
    let mut backups = 1;
    let create = ["backup", "create", "--full", "--repo", &repo, "--data", &data];
    let ends = killed_everywhere(&create, |said| {
        // Read from the repository alone: what is listed is whole.
        run(&["backup", "verify", "--repo", &repo]);
        let listed: serde_json::Value =
            serde_json::from_str(&run(&["backup", "list", "--json", "--repo", &repo])).unwrap();
        let listed = listed["backups"].as_array().unwrap().len();
        assert!((backups..=backups + 1).contains(&listed), "{said}: {listed} of {backups}");
        backups = listed;
    });
    assert!(ends > 10, "{ends} ends");
    run(&create);
    let restored = killed_everywhere(&["restore", "--repo", &repo, "--at", "latest", "--into", &into], |said| {
        if Path::new(&into).exists() {
            assert_eq!(held(Path::new(&into)), held(Path::new(&data)), "{said}");
            fs::remove_dir_all(&into).unwrap();
        }
    });
    assert!(restored > 10, "{restored} ends");
    run(&["restore", "--repo", &repo, "--at", "latest", "--into", &into]);
    assert_eq!(held(Path::new(&into)), held(Path::new(&data)));
}

#[test]
fn a_peer_that_is_killed_at_any_write_has_what_it_acknowledged() {
    if !is_armed() {
        return;
    }
    let home = TempDir::new().unwrap();
    let data = home.path().join("data");
    let mut acknowledged = BTreeSet::new();
    assert!(!written_until_killed(CHANGES[0], 10 * CALLS_MAX, &data, &mut acknowledged));
    let mut ends = 0;
    for calls in &CHANGES[..2] {
        for nth in 1..CALLS_MAX {
            let killed = written_until_killed(calls, nth, &data, &mut acknowledged);
            let held: BTreeSet<String> = held(&data).keys().map(ToString::to_string).collect();
            assert!(held.is_superset(&acknowledged), "call {nth} of {calls}: {:?}", acknowledged.difference(&held));
            if !killed {
                break;
            }
            ends += 1;
        }
    }
    assert!(ends > 8 && acknowledged.len() > 20, "{ends} ends, {} acknowledged", acknowledged.len());
}

/// A peer is written to until it is killed, or until all is written.
#[expect(clippy::disallowed_methods, reason = "a process says nowhere when it is up")]
fn written_until_killed(calls: &str, nth: usize, data: &Path, acknowledged: &mut BTreeSet<String>) -> bool {
    let api = format!("127.0.0.1:{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
    let segment = data.join(LOG_DIR).join(wal::file_name(SegmentId::new(1)));
    let arguments = ["run", "--data-dir", data.to_str().unwrap(), "--api", &api, "--listen", "/ip4/127.0.0.1/tcp/0"];
    let mut process = doomed(calls, nth, Some(&segment), &arguments);
    process.env("OXIGDAL_HA_NETWORK__MDNS", "false").stdout(Stdio::null()).stderr(Stdio::null());
    let mut peer = process.spawn().unwrap();
    let (mut tries, mut left) = (0, 12);
    while left > 0 && peer.try_wait().unwrap().is_none() {
        tries += 1;
        assert!(tries < 3_000, "it answers or it ends");
        let doc = format!("kills/{}", acknowledged.len());
        let Some(token) = fs::read_to_string(data.join("api-token")).ok() else {
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        let edit = format!("{{\"doc\":\"{doc}\",\"edits\":[{{\"op\":\"put\",\"value\":{{\"n\":1}}}}]}}\n");
        let request =
            ureq::post(format!("http://{api}/v1/edits")).header("Authorization", format!("Bearer {}", token.trim()));
        match request.send(edit.as_bytes()).and_then(|mut answer| answer.body_mut().read_to_string()) {
            Ok(answer) if answer.contains("\"heads\"") => {
                acknowledged.insert(doc);
                left -= 1;
            }
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    let killed = left > 0;
    if !killed {
        // Without strace it would live on.
        let traced = fs::read_to_string(format!("/proc/{0}/task/{0}/children", peer.id())).unwrap();
        Process::new("kill").args(["-KILL", traced.trim()]).status().unwrap();
    }
    let status = peer.wait().unwrap();
    assert_eq!(status.code(), None, "killed, and not failed: call {nth} of {calls}");
    killed
}
