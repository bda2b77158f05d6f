//! The commands of backups, as scripts use them: JSON out, exit codes, and nothing secret in what is said.

use std::path::Path;
use std::process::{Command as Process, Output};

use oxigdal_ha::recovery::LOG_DIR;
use serde_json::Value;
use tempfile::TempDir;

use super::{Life, Luck, START};

const WORDS: &str = "correct horse battery";

fn run(arguments: &[&str], home: &Path) -> (i32, Value, String) {
    let mut process = Process::new(env!("CARGO_BIN_EXE_oxigdal-ha"));
    process.arg("--json").args(arguments).current_dir(home).env("OXIGDAL_HA_PASSPHRASE", WORDS);
    let Output { status, stdout, stderr } = process.output().unwrap();
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
