//! The commands of backups, as scripts use them: JSON out, exit codes, and nothing secret in what is said.

use std::path::Path;
use std::process::{Command as Process, Output};

use oxigdal_ha::recovery::LOG_DIR;
use serde_json::Value;
use tempfile::TempDir;

use super::{Life, Luck, START, watched};

const WORDS: &str = "correct horse battery";

fn run(arguments: &[&str], home: &Path) -> (i32, Value, String) {
    let mut process = Process::new(env!("CARGO_BIN_EXE_oxigdal-ha"));
    process.arg("--json").args(arguments).current_dir(home).env("OXIGDAL_HA_PASSPHRASE", WORDS);
    let Output { status, stdout, stderr } = watched::output(&mut process);
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert!(!stdout.contains(WORDS) && !stderr.contains(WORDS), "{stdout}{stderr}");
    (status.code().unwrap(), serde_json::from_str(&stdout).unwrap_or_default(), stderr)
}

#[test]
fn commands_answer_in_json_and_their_exit_codes_say_how_it_went() {
    let home = TempDir::new().unwrap();
    let log = home.path().join("data").join(LOG_DIR);
    std::fs::create_dir_all(&log).unwrap();
    let (mut life, mut luck) = (Life::begin(&log, START, Vec::new()), Luck(31));
    let run = |arguments: &str| run(&arguments.split(' ').collect::<Vec<_>>(), home.path());

    let (code, _, said) = run("backup list --repo none");
    assert!(code == 1 && said.contains("no such directory"), "{code}: {said}");
    assert_eq!(run("backup list").0, 2, "no repository is named");
    for (kind, made) in
        [("", "full"), ("--incremental ", "incremental"), ("--differential ", "differential"), ("--full ", "full")]
    {
        (0..10).for_each(|_| life.live(&mut luck));
        let (code, answer, said) = run(&format!("backup create {kind}--repo repo --data data"));
        assert_eq!((code, &answer["backup"]["kind"]), (0, &made.into()), "{said}");
        assert_eq!(answer["promoted"].is_string(), kind.is_empty());
    }
    let (_, listed, _) = run("backup list --repo repo");
    let ids: Vec<&str> =
        listed["backups"].as_array().unwrap().iter().map(|backup| backup["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 4);
    let (code, shown, _) = run(&format!("backup show --repo repo {}", ids[1]));
    assert_eq!((code, &shown["chain"]), (0, &serde_json::json!([ids[0], ids[1]])));
    let (code, verified, said) = run("backup verify --repo repo --level restore");
    assert_eq!((code, &verified["good"], &verified["restored"]["backup"]), (0, &true.into(), &ids[3].into()), "{said}");

    let (code, restored, said) = run("restore --repo repo --at latest --into back");
    assert_eq!((code, &restored["found"]["backup"]), (0, &ids[3].into()), "{said}");
    assert_eq!(run("log inspect back").0, 0);
    let (code, _, said) = run("restore --repo repo --at lsn:100000 --into never");
    assert!(code == 1 && said.contains("unreachable") && !home.path().join("never").exists(), "{code}: {said}");

    let (code, plan, _) = run("backup prune --repo repo --keep-last 1");
    assert_eq!((code, &plan["dry_run"], &plan["backups"][0]["fate"]["action"]), (0, &true.into(), &"mark".into()));
    let (_, pruned, _) = run("backup prune --repo repo --keep-last 1 --yes");
    assert_eq!(pruned["pruned"]["marked"], 3);
    assert_eq!(run("backup prune --repo repo").0, 1, "a policy that keeps nothing");

    let object = shown["backup"]["objects"][0]["key"].as_str().unwrap();
    std::fs::remove_file(home.path().join("repo").join(object)).unwrap();
    let (code, verified, _) = run("backup verify --repo repo");
    let faults = verified["faults"].to_string();
    assert!(code == 1 && faults.contains(object), "{code}: {faults}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "grace is counted by the clock of the machine")]
fn nothing_is_pruned_while_what_would_be_left_is_damaged() {
    let home = TempDir::new().unwrap();
    let log = home.path().join("data").join(LOG_DIR);
    std::fs::create_dir_all(&log).unwrap();
    let (mut life, mut luck) = (Life::begin(&log, START, Vec::new()), Luck(32));
    let run = |arguments: &str| run(&arguments.split(' ').collect::<Vec<_>>(), home.path());
    let mut backups = Vec::new();
    for _ in 0..2 {
        (0..10).for_each(|_| life.live(&mut luck));
        let (code, answer, said) = run("backup create --full --repo repo --data data");
        assert_eq!(code, 0, "{said}");
        backups.push(answer["backup"].clone());
    }
    let object = backups[1]["objects"][0]["key"].as_str().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(home.path().join("repo").join(object)).unwrap();
    file.set_len(100).unwrap();
    let prune = "backup prune --repo repo --keep-last 1 --grace 1s --yes";
    assert_eq!(run(prune).1["pruned"]["marked"], 1);
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    let (code, _, said) = run(prune);
    assert!(code == 1 && said.contains(object), "{code}: {said}");
    let first = backups[0]["id"].as_str().unwrap();
    let (code, _, said) = run(&format!("restore --repo repo --backup {first} --at latest --into back"));
    assert_eq!(code, 0, "{said}");
    // Given up, it keeps nothing from being done, and is no reason to delete the other.
    let second = backups[1]["id"].as_str().unwrap();
    let (code, _, said) = run(&format!("{prune} --give-up {second}"));
    assert_eq!(code, 0, "{said}");
    let (_, listed, _) = run("backup list --repo repo");
    assert_eq!(listed["backups"][0]["id"], first);
}

/// A data directory with a life, and the commands that are run beside it.
fn peer_dir(home: &Path) -> Life {
    let log = home.join("data").join(LOG_DIR);
    std::fs::create_dir_all(&log).unwrap();
    Life::begin(&log, START, Vec::new())
}

#[test]
fn a_copy_of_a_data_directory_is_told_apart_from_its_original() {
    let (home, mut luck) = (TempDir::new().unwrap(), Luck(33));
    let mut life = peer_dir(home.path());
    let run = |arguments: &str| run(&arguments.split(' ').collect::<Vec<_>>(), home.path());
    (0..10).for_each(|_| life.live(&mut luck));
    assert_eq!(run("backup create --repo repo --data-dir data").0, 0);
    super::archive::copy_dir(&home.path().join("data"), &home.path().join("copy"));
    let mut copy = Life::begin(&home.path().join("copy").join(LOG_DIR), life.wall + 1, life.model.clone());
    life.put(&super::doc(0), serde_json::json!({ "n": "of the original" }));
    let (_, mine, _) = run("backup create --repo repo --data-dir data");
    let mine = mine["backup"]["id"].as_str().unwrap().to_owned();
    (0..8).for_each(|_| copy.live(&mut luck));
    let (code, theirs, said) = run("backup create --repo repo --data-dir copy");
    assert_eq!((code, &theirs["beside"]), (0, &serde_json::json!([mine])), "{said}");
    let theirs = theirs["backup"]["id"].as_str().unwrap().to_owned();
    let names_both = |said: &str| said.contains(&mine) && said.contains(&theirs);
    assert!(said.contains("warning") && names_both(&said), "{said}");
    let (code, _, said) = run("restore --repo repo --at latest --dry-run");
    assert!(code == 1 && names_both(&said) && said.contains("give-up"), "{code}: {said}");
    let (code, verified, _) = run("backup verify --repo repo");
    assert!(code == 1 && names_both(&verified["faults"].to_string()), "{code}: {verified}");
    let (_, listed, _) = run("backup list --repo repo");
    assert!(names_both(&listed["faults"].to_string()), "{listed}");
    // A beginning of the id will do, as for --backup.
    let (code, found, said) = run(&format!("restore --repo repo --at backup:{} --dry-run", &mine[..mine.len() - 1]));
    assert_eq!((code, &found["found"]["backup"]), (0, &mine.clone().into()), "{said}");
    assert_eq!(run(&format!("restore --repo repo --at backup:{} --dry-run", &mine[..2])).0, 2, "both begin so");
    assert_eq!(run(&format!("backup prune --repo repo --keep-last 9 --give-up {theirs} --yes")).0, 0);
    let (code, found, said) = run("restore --repo repo --at latest --dry-run");
    assert_eq!((code, &found["found"]["backup"]), (0, &mine.into()), "{said}");
}

#[test]
fn nothing_new_makes_no_backup_and_what_would_harm_is_refused() {
    let (home, mut luck) = (TempDir::new().unwrap(), Luck(34));
    let mut life = peer_dir(home.path());
    let run = |arguments: &str| run(&arguments.split(' ').collect::<Vec<_>>(), home.path());
    (0..10).for_each(|_| life.live(&mut luck));
    let (_, first, _) = run("backup create --repo repo --data data");
    let (code, again, said) = run("backup create --repo repo --data data");
    assert_eq!((code, &again["made"], &again["backup"]["id"]), (0, &false.into(), &first["backup"]["id"]), "{said}");
    for into in ["data/log/sub", "repo/sub"] {
        for from in ["--repo repo", "--data-dir data"] {
            let (code, _, said) = run(&format!("restore {from} --at latest --into {into}"));
            assert!(code == 1 && said.contains("it is within the"), "{code}: {said}");
        }
    }
    std::fs::create_dir(home.path().join("mine")).unwrap();
    std::fs::write(home.path().join("mine/letter.txt"), b"dear").unwrap();
    let (code, _, said) = run("standby mine --repo repo");
    assert!(code == 1 && said.contains("letter.txt"), "{code}: {said}");
    assert_eq!(std::fs::read_dir(home.path().join("mine")).unwrap().count(), 1, "nothing was put there");
    assert_eq!(run("standby fresh --repo repo").0, 0);
    let set = "backup schedule --data-dir data set often kind=full repository=repo";
    let (code, _, said) = run(&format!("{set} every=1h at=03:00"));
    assert!(code == 2 && said.contains("one of every= and at="), "{code}: {said}");
    #[cfg(not(feature = "s3"))]
    {
        let (code, _, said) = run("backup schedule --data data set far every=1h repository=s3://bucket/x");
        assert!(code == 2 && said.contains("--features s3"), "{code}: {said}");
    }
    assert_eq!(run(&format!("{set} every=1h")).0, 0);
    let mut failed = oxigdal_ha::backup::Outcome::begun("often", oxigdal_ha::types::WallTime::from_micros(START));
    failed.error = Some("no room".into());
    failed.keep(&home.path().join("data")).unwrap();
    assert_eq!(run("backup schedule list --data data").1["schedules"].as_array().unwrap().len(), 1);
    assert_eq!(run("backup schedule remove often --data data").0, 0);
    assert_eq!(run("backup schedule list --data data").1["schedules"], serde_json::json!([]));
    let (code, _, said) = run("restore --data data --at lsn:1 --exclusive --dry-run");
    assert!(code == 1 && said.contains("nothing is before it"), "{code}: {said}");
}

#[test]
fn a_time_at_which_there_was_another_log_is_said_to_be_so() {
    let (home, mut luck) = (TempDir::new().unwrap(), Luck(35));
    let mut life = peer_dir(home.path());
    let run = |arguments: &str| run(&arguments.split(' ').collect::<Vec<_>>(), home.path());
    (0..20).for_each(|_| life.live(&mut luck));
    let then = oxigdal_ha::types::WallTime::from_micros(life.model.last().unwrap().at);
    let at_then = format!("restore --data-dir data --at {} --dry-run", oxigdal_ha::recovery::target::Stamp(then));
    let (code, before, said) = run(&at_then);
    assert_eq!((code, &before["older_history"]), (0, &Value::Null), "{said}");
    assert_eq!(run("restore --data-dir data --at lsn:5 --into side").0, 0);
    std::fs::remove_dir_all(home.path().join("data").join(LOG_DIR)).unwrap();
    std::fs::rename(home.path().join("side").join(LOG_DIR), home.path().join("data").join(LOG_DIR)).unwrap();
    let (code, after, said) = run(&at_then);
    assert_eq!((code, &after["located"]["last"]["lsn"]), (0, &5.into()), "{said}");
    assert!(after["older_history"]["at"].is_string(), "{after}");
    assert_eq!(run("restore --data-dir data --at lsn:5 --dry-run").1["older_history"], Value::Null, "no time is meant");
}

#[cfg(target_os = "linux")]
#[test]
#[expect(clippy::disallowed_methods, reason = "another process is waited for")]
fn who_breaks_a_command_off_hears_what_is_left() {
    let home = TempDir::new().unwrap();
    assert!(Process::new("mkfifo").arg(home.path().join("words")).status().unwrap().success());
    let mut process = Process::new(env!("CARGO_BIN_EXE_oxigdal-ha"));
    process.args(["backup", "create", "--repo", "repo", "--data-dir", "data", "--passphrase-file", "words"]);
    let _life = peer_dir(home.path());
    let child = process.current_dir(home.path()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    // It waits for its passphrase, and by then listens to the signal.
    let listens = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() & 2 != 0
    };
    while !listens() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(Process::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert!(status.code() == Some(130) && said.contains("broken off") && said.contains("again"), "{status}: {said}");
}
