//! Real processes, killed with `SIGKILL` at each system call that changes what is on the disk: at the first that any thread of
//! theirs makes, at the second, and so on until none is left to be killed at. strace does it, where it is installed: it has the
//! process stopped at each, and so they are counted over all threads, of which strace alone counts each for itself.

use std::fs;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use oxigdal_ha::recovery::target::Target;
use oxigdal_ha::recovery::{Source, Survey};
use oxigdal_ha::types::WallTime;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::watched::{self, traced};
use super::{Docs, Luck, lived, look};

/// System calls that change what is on the disk, by the names of all machines: strace takes those that there are here.
pub(crate) const CHANGES: [&str; 6] = [
    "write,pwrite64",
    "fsync,fdatasync",
    "?rename,renameat,renameat2",
    "?link,linkat",
    "?mkdir,mkdirat,ftruncate",
    "?unlink,unlinkat,?rmdir",
];
/// Longer than the program takes from one line of strace's to the next.
const SILENCE: Duration = Duration::from_secs(120);

/// Whether strace is here and may be used.
pub(crate) fn is_armed() -> bool {
    let armed = Process::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output();
    let armed = armed.is_ok_and(|output| output.status.success());
    if !armed {
        watched::tell("!!! SKIPPED: kills at every system call: strace is not installed, or may not trace");
    }
    armed
}

/// Runs the program until it has made so many changes; whether it was killed there, or else done before.
fn killed_at(nth: usize, arguments: &[&str]) -> bool {
    let calls = CHANGES.join(",");
    let mut process = Process::new("strace");
    process.args(["-f", "-qq", "-e"]).arg(format!("trace={calls}"));
    process.arg("-e").arg(format!("inject={calls}:signal=STOP"));
    process.arg(env!("CARGO_BIN_EXE_oxigdal-ha")).args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    let mut process = process.stderr(Stdio::piped()).spawn().unwrap();
    let lines = watched::lines(process.stderr.take().unwrap());
    let (mut changes, mut told, mut said) = (0, false, String::new());
    let status = loop {
        let line = match lines.recv_timeout(SILENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => break process.wait().unwrap(),
            Err(RecvTimeoutError::Timeout) => {
                let at = [Some(Pid::from_child(&process)), traced(&process)].into_iter().flatten();
                let at: String = at.map(watched::threads).collect();
                watched::end(&mut process);
                panic!("{nth} of {arguments:?} is stuck: {said}{at}");
            }
        };
        // What it tells its user changes nothing on the disk.
        told |= line.contains("write(2, ");
        if line.contains("--- SIGSTOP {") {
            changes += usize::from(!std::mem::take(&mut told));
            if changes == nth {
                watched::end(&mut process);
                return true;
            }
        } else if line.contains("--- stopped by SIGSTOP ---") {
            // One for each thread; those that come too late find nothing that is stopped, or nothing at all.
            if let Some(program) = traced(&process) {
                _ = kill_process(program, Signal::CONT);
            }
        }
        said.push_str(&line);
        said.push('\n');
    };
    assert!(status.success(), "killed or done, and not failed: {said}");
    false
}

/// Runs it again and again, from where `begin` puts things, killed one change later each time, and has each end looked at; with how
/// many ends there were.
fn killed_everywhere(arguments: &[&str], mut begin: impl FnMut(), mut left: impl FnMut(&str)) -> usize {
    for nth in 1.. {
        begin();
        let killed = killed_at(nth, arguments);
        left(&format!("{} at change {nth}", arguments[0]));
        if !killed {
            return nth - 1;
        }
    }
    unreachable!("it makes so many changes and no more")
}

fn run(arguments: &[&str]) -> String {
    let mut process = Process::new(env!("CARGO_BIN_EXE_oxigdal-ha"));
    let output = watched::output(process.args(arguments));
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A copy of a directory, in the place of what is there.
pub(crate) fn copy(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).unwrap();
    }
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to)
        } else {
            _ = fs::copy(entry.path(), to).unwrap()
        }
    }
}

/// The names of all files below a directory.
fn files(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    let below = |entry: fs::DirEntry| match entry.file_type().unwrap().is_dir() {
        true => files(&entry.path()),
        false => vec![entry.path().display().to_string()],
    };
    entries.flat_map(below).collect()
}

/// What a data directory holds.
pub(crate) fn held(dir: &Path) -> Docs {
    let source = Source::open(dir).unwrap();
    let survey = Survey::of(&source).unwrap();
    let located = survey.locate(&source, &Target::Latest, false, WallTime::from_micros(u64::MAX)).unwrap();
    look(&source, &survey, &located).0
}

/// How many backups a repository lists.
fn listed(repo: &str) -> usize {
    let listed: Value = serde_json::from_str(&run(&["backup", "list", "--json", "--repo", repo])).unwrap();
    listed["backups"].as_array().unwrap().len()
}

#[test]
fn a_backup_that_is_killed_leaves_what_was_there_and_is_gone_on_with() {
    if !is_armed() {
        return;
    }
    let home = TempDir::new().unwrap();
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let (data, made, repo) = (path("data"), path("made"), path("repo"));
    let mut life = lived(Path::new(&data), 20, &mut Luck(71));
    run(&["backup", "create", "--full", "--repo", &made, "--data", &data]);
    (0..4).for_each(|_| life.live(&mut Luck(72)));
    let create = ["backup", "create", "--full", "--repo", &repo, "--data", &data];
    let verify = || run(&["backup", "verify", "--repo", &repo]);
    let begin = || copy(Path::new(&made), Path::new(&repo));
    let ends = killed_everywhere(&create, begin, |said| {
        // Read from the repository alone: what is listed is whole.
        verify();
        let backups = listed(&repo);
        assert!((1..=2).contains(&backups), "{said}: {backups}");
        run(&create);
        verify();
        assert_eq!(listed(&repo), backups + 1, "{said}");
    });
    assert!(ends > 15, "{ends} ends");
}

#[test]
fn a_restore_that_is_killed_leaves_all_or_nothing_and_is_done_again() {
    if !is_armed() {
        return;
    }
    let home = TempDir::new().unwrap();
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let (data, repo, into) = (path("data"), path("repo"), path("into"));
    lived(Path::new(&data), 24, &mut Luck(71));
    run(&["backup", "create", "--full", "--repo", &repo, "--data", &data]);
    let whole = held(Path::new(&data));
    let restore = ["restore", "--repo", &repo, "--at", "latest", "--into", &into];
    let mut done = 0;
    let ends = killed_everywhere(
        &restore,
        || {},
        |said| {
            if Path::new(&into).exists() {
                done += 1;
            } else {
                run(&restore);
            }
            assert_eq!(held(Path::new(&into)), whole, "{said}");
            fs::remove_dir_all(&into).unwrap();
            assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2, "{said}: nothing is left beside it");
        },
    );
    assert!(ends > 12 && done < ends, "{ends} ends, {done} of them when it was there");
}

#[test]
fn a_prune_that_is_killed_leaves_only_whole_backups_and_the_next_one_ends_it() {
    if !is_armed() {
        return;
    }
    let home = TempDir::new().unwrap();
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let (data, made, repo, into) = (path("data"), path("made"), path("repo"), path("into"));
    let mut life = lived(Path::new(&data), 20, &mut Luck(73));
    for _ in 0..3 {
        (0..3).for_each(|_| life.live(&mut Luck(74)));
        run(&["backup", "create", "--full", "--repo", &made, "--data", &data]);
    }
    fn prune<'a>(repo: &'a str, keep: &'a str) -> Vec<&'a str> {
        vec!["backup", "prune", "--json", "--repo", repo, "--keep-last", keep, "--grace", "1s"]
    }
    let json = |arguments: &[&str]| serde_json::from_str::<Value>(&run(arguments)).unwrap();
    let listed = |repo: &str| -> Vec<String> {
        let listed = json(&["backup", "list", "--json", "--repo", repo]);
        listed["backups"].as_array().unwrap().iter().map(|backup| backup["id"].as_str().unwrap().to_owned()).collect()
    };
    let ids = listed(&made);
    let [first, second, third] = &ids[..] else { panic!("{ids:?}") };
    // One is marked, and its time has come; the next prune is to mark the second too.
    run(&[&prune(&made, "2")[..], &["--yes"]].concat());
    let fate = |plan: &Value, id: &str| {
        let fates = plan["backups"].as_array().unwrap();
        fates.iter().find(|fate| fate["id"] == id).map(|fate| fate["fate"]["action"].as_str().unwrap().to_owned())
    };
    let due = (0..1_000).any(|_| fate(&json(&prune(&made, "1")), first).as_deref() == Some("delete"));
    assert!(due, "a second has gone by");
    let both = [&prune(&repo, "1")[..], &["--yes"]].concat();
    // What the store had not finished counts for nothing, and goes when it is older than the grace.
    let unfinished = || files(Path::new(&repo)).into_iter().any(|name| name.contains('#'));
    let of = |id: &str, what: &str| {
        let files = files(Path::new(&repo)).into_iter();
        files.filter(|name| name.contains(id) && name.contains(what) && !name.contains('#')).count()
    };
    let mut swept = false;
    let begin = || copy(Path::new(&made), Path::new(&repo));
    let ends = killed_everywhere(&both, begin, |said| {
        // What is listed is whole, and nobody loses the mark by which the rest is found.
        run(&["backup", "verify", "--repo", &repo]);
        let left = listed(&repo);
        assert!(left == ids || left == ids[1..], "{said}: {left:?}");
        assert!(of(first, "/tombs/") == 1 || of(first, "") == 0, "{said}: {:?}", files(Path::new(&repo)));
        // With the rule that the first mark is of, so that what is looked at is this one alone.
        run(&[&prune(&repo, "2")[..], &["--yes"]].concat());
        assert_eq!((listed(&repo), of(first, "")), (ids[1..].to_vec(), 0), "{said}: {:?}", files(Path::new(&repo)));
        run(&["backup", "verify", "--repo", &repo]);
        if unfinished() && !swept {
            swept = (0..1_000).any(|_| {
                run(&[&prune(&repo, "2")[..], &["--yes"]].concat());
                !unfinished()
            });
            assert!(swept, "{said}");
        }
    });
    assert!(ends > 12 && swept, "{ends} ends");
    assert!(of(second, "/data/") > 0 && of(third, "/data/") > 0);
    run(&["restore", "--repo", &repo, "--at", "latest", "--into", &into]);
    assert_eq!(held(Path::new(&into)), held(Path::new(&data)));
}
