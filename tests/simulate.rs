//! `simulate` when a run fails: it is told in a line, explained, drawn, made smaller, and replayed from its file.
#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// What no mesh can meet in which somebody stalls, so that it fails and nothing is wrong with the code.
const STALLED: &str = r#"schema = 1
description = "somebody stalls"
mesh = { peers = 3 }
phases = { warm-up = "4s", chaos = "12s", calm = "6s" }
expect = { suspicions = 0 }

[[edits]]
docs = 2
rate = "1/s"

[random]
clock-step = { every = "3s", for = ["1s", "3s"] }

[[fault]]
at = "6s"
for = "8s"
kind = "pause"
peers = "p-3"
"#;

/// Its exit code, what it printed, and what it said on standard error.
fn simulate(dir: &Path, line: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oxigdal-ha"));
    command.arg("simulate").args(line.split(' ')).current_dir(dir).stdin(Stdio::null()).env("COLUMNS", "100");
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_failing_seed_becomes_a_file_that_replays_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("stalled.toml"), STALLED).unwrap();
    let (code, out, err) = simulate(dir, "minimize stalled.toml --seed 2 --json");
    let small: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{code} {out} {err}"));
    assert_eq!((code, &small["what"], &small["minimal"]), (0, &json!("suspicions"), &json!(true)), "{out}");
    assert_eq!((&small["after"]["faults"], &small["after"]["peers"]), (&json!(1), &json!(2)), "{out}");
    let file = "regressions/stalled-suspicions-2.toml";
    assert_eq!(small["file"], file);
    // Whatever is asked of the file, it is this one run.
    assert!(std::fs::read_to_string(dir.join(file)).unwrap().contains("\nof = \"stalled.toml\"\n"), "no path of mine");
    let (code, _, err) = simulate(dir, &format!("run {file} --seeds 5..9"));
    assert!(code == 2 && err.contains("is one run, that of its seed 2: no other is run"), "{err}");
    let (code, out, _) = simulate(dir, &format!("run {file} --seeds 5..9 --json"));
    let ran: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, ran["runs"].as_array().unwrap().len()), (2, 1), "{out}");
    assert_eq!(ran["failures"][0]["replay"], format!("oxigdal-ha simulate run {file}"));
    let (code, told, _) = simulate(dir, &format!("explain {file}"));
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("fault begins: p-3 pause"), "{told}");
    assert!(told.lines().last().unwrap().contains("expected"), "what was missed: {told}");
    assert!(told.lines().count() <= 60, "{told}");
    let (code, steps, _) = simulate(dir, &format!("replay {file}"));
    assert!(code == 2 && steps.lines().count() > 50 && steps.contains("MISS suspicions"), "{steps}");
    // A file that is named twice is run once, and a path with a blank can be pasted.
    let (code, out, err) = simulate(dir, "run stalled.toml ./stalled.toml --seed 2");
    assert!(code == 2 && err.contains("./stalled.toml is named twice: it is run once"), "{err}");
    assert!(!out.contains("seeds more"), "{out}");
    let command = ["simulate", "minimize", file, "--out", "a b.toml"];
    let small = Command::new(env!("CARGO_BIN_EXE_oxigdal-ha")).args(command).current_dir(dir).output().unwrap();
    let told = String::from_utf8(small.stdout).unwrap();
    assert!(told.ends_with("written to a b.toml; oxigdal-ha simulate explain 'a b.toml'\n"), "{told}");
    std::fs::remove_file(dir.join("a b.toml")).unwrap();
    // What fails is told by `coverage` too.
    let (code, out, _) = simulate(dir, "coverage stalled.toml --seeds 2");
    assert!(!cfg!(debug_assertions) || code == 1 && out.contains("2 runs, 2 failed; never reached: "), "{code} {out}");
    // A folder is run with its regressions.
    let (code, out, _) = simulate(dir, "run . --seeds 2..4 --json");
    let ran: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, ran["runs"].as_array().unwrap().len()), (2, 3), "{out}");
}

#[test]
fn a_sweep_is_told_as_a_table_with_the_smallest_seed_that_fails() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("stalled.toml"), STALLED).unwrap();
    let (code, out, err) = simulate(dir, "run stalled.toml --seeds 3..6 --jobs 2 --twice=50%");
    assert_eq!(code, 2, "{err}");
    assert!(out.contains("3 failed         3"), "{out}");
    assert!(
        out.contains("pause 3/3") && out.contains("\nnetwork      0"),
        "by family, with those that have none: {out}"
    );
    assert!(out.lines().any(|line| line.starts_with("clock ") && line.contains("clock-step ")), "{out}");
    assert!(out.contains("\nmarks: "), "{out}");
    let line = "oxigdal-ha simulate run stalled.toml --seed 3";
    assert!(out.contains(line) && out.contains("and 2 seeds more") && err.contains(line), "{out}{err}");
    assert!(out.contains("oxigdal-ha simulate minimize stalled.toml --seed 3"), "{out}");
    let (code, out, _) = simulate(dir, "run stalled.toml --seeds 3..6 --time-budget 1ns --json");
    let none: Value = serde_json::from_str(&out).unwrap();
    let files = (&none["files"], &none["files_not_run"], &none["summary"][0]["result"]);
    assert_eq!((code, files), (5, (&json!(1), &json!(1), &json!("not run"))), "nothing was judged: {out}");
}

/// More peers and time than a sweep of some seconds has.
const LARGE: &str = r#"schema = 1
description = "too large"
mesh = { peers = 400 }
phases = { warm-up = "4s", chaos = "12h", calm = "60s" }
"#;

#[test]
fn what_a_sweep_did_not_reach_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    // In the order of their names the large ones would come first.
    std::fs::write(dir.join("a-large.toml"), LARGE).unwrap();
    std::fs::write(dir.join("b-larger.toml"), LARGE.replace("400", "401")).unwrap();
    std::fs::write(dir.join("stalled.toml"), STALLED).unwrap();
    let (code, out, err) = simulate(dir, "run . --jobs 1 --time-budget 4s");
    let line = |name: &str| out.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(code == 2 && line("stalled").contains("1 failed"), "{out}{err}");
    assert!(line("a-large").contains("cut off") && line("b-larger").contains("not run"), "{out}");
    assert!(out.contains("1 of 3 files were not reached, of 1 no run has ended: nothing is known of them"), "{out}");
}

#[test]
fn two_runs_are_compared_and_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("stalled.toml"), STALLED).unwrap();
    let (code, out, _) = simulate(dir, "diff stalled.toml --seed 1 --twice");
    assert!(code == 0 && out.contains("They are the same"), "{out}");
    let (code, out, _) = simulate(dir, "diff stalled.toml --seed 1 --against-seed 2");
    assert!(code == 1 && out.contains("A >") && out.contains("B >"), "{out}");
    let (code, out, err) = simulate(dir, "run stalled.toml --html run.html --svg run.svg");
    assert_eq!(code, 2, "{out}{err}");
    let html = std::fs::read_to_string(dir.join("run.html")).unwrap();
    assert!(html.starts_with("<!doctype html>") && html.contains("\"scenario\":\"stalled\""));
    assert!(std::fs::read_to_string(dir.join("run.svg")).unwrap().starts_with("<svg "));
    let (code, _, err) = simulate(dir, "run stalled.toml nowhere.toml --html run.html");
    assert_eq!(code, 4, "{err}");
    let (code, _, err) = simulate(dir, "minimize stalled.toml --seed 1 --time-budget never");
    assert!(code == 64 && err.contains("never"), "{err}");
}

#[test]
fn a_repro_file_is_not_replaced_by_a_larger_one() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("stalled.toml"), STALLED).unwrap();
    let (code, _, err) = simulate(dir, "minimize stalled.toml --out small.toml");
    assert_eq!(code, 0, "{err}");
    let small = std::fs::read_to_string(dir.join("small.toml")).unwrap();
    // A smaller one of the same kind stands there: as if it had been found before.
    let smaller = small.replacen("\n\"p-", "\n# \"p-", 1);
    std::fs::write(dir.join("small.toml"), &smaller).unwrap();
    let (code, told, err) = simulate(dir, "minimize stalled.toml --out small.toml");
    assert!(code == 0 && told.contains("small.toml is smaller, with"), "{told} {err}");
    assert_eq!(std::fs::read_to_string(dir.join("small.toml")).unwrap(), smaller);
    // Without time nothing is known.
    let (code, _, err) = simulate(dir, "minimize stalled.toml --time-budget 1ns");
    assert!(code == 1 && err.contains("there was no time to see what fails"), "{code} {err}");
}

#[test]
fn wrong_arguments_have_a_code_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("stalled.toml"), STALLED).unwrap();
    std::fs::write(dir.join("other.toml"), STALLED).unwrap();
    for line in [
        "run",
        "run stalled.toml --seeds 5..3",
        "run stalled.toml --html x.html --twice",
        "run stalled.toml --svg x.svg --time-budget 1s",
        "run stalled.toml other.toml --html x.html",
        "run stalled.toml --jobs 0",
        "minimize stalled.toml --out stalled.toml",
    ] {
        let (code, out, err) = simulate(dir, line);
        assert_eq!((code, out.as_str()), (64, ""), "{line}: {err}");
    }
    // An invariant that does not judge every run says which it does.
    let (code, out, _) = simulate(Path::new(env!("CARGO_MANIFEST_DIR")), "list --invariants");
    let line = out.lines().find(|line| line.starts_with("R2 ")).unwrap_or_default();
    assert!(code == 0 && line.contains("the calm is 100s or longer: ") && line.contains("small-copies"), "{out}");
    let (code, help, _) = simulate(dir, "run --help");
    assert!(code == 0 && help.contains("Usage"), "{help}");
    for code in [0, 1, 2, 3, 4, 5, 64, 130] {
        assert!(help.lines().any(|line| line.starts_with(&format!("  {code} "))), "{code} is not told of: {help}");
    }
    if cfg!(not(feature = "planted-bugs")) {
        let (code, _, err) = simulate(dir, "bugs --seeds 3 overlay/x");
        assert!(code == 64 && err.contains("--features planted-bugs"), "{err}");
    }
}

#[cfg(unix)]
#[test]
fn a_sweep_that_is_told_to_end_tells_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("stalled.toml"), STALLED).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_oxigdal-ha"));
    command.args(["simulate", "run", "stalled.toml", "--seeds", "1..100000"]).current_dir(dir.path());
    let mut sweep = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A failure is told at once: then a run has ended, and the signal is listened for.
    let mut first = String::new();
    let mut stderr = BufReader::new(sweep.stderr.take().unwrap());
    stderr.read_line(&mut first).unwrap();
    let term = Command::new("kill").args(["-TERM", &sweep.id().to_string()]).status().unwrap();
    assert!(term.success());
    let told = sweep.wait_with_output().unwrap();
    let out = String::from_utf8(told.stdout).unwrap();
    assert!(out.contains("SCENARIO") && out.contains("FAIL"), "{first} {out}");
    assert_eq!(told.status.code(), Some(2), "what failed outweighs that it was ended");
}
