//! `simulate` when a run fails: it is told in a line, explained, drawn, made smaller, and replayed from its file.
#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

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
    let (code, out, _) = simulate(dir, &format!("run {file} --seeds 5..9 --json"));
    let ran: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, ran["runs"].as_array().unwrap().len()), (2, 1), "{out}");
    assert_eq!(ran["failures"][0]["replay"], format!("oxigdal-ha simulate run {file}"));
    let (code, told, _) = simulate(dir, &format!("explain {file}"));
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("fault begins: p-3 pause"), "{told}");
    assert!(told.lines().count() <= 70, "{told}");
    let (code, steps, _) = simulate(dir, &format!("replay {file}"));
    assert!(code == 2 && steps.lines().count() > 50 && steps.contains("MISS suspicions"), "{steps}");
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
    assert!(out.contains("faults: clock-step ") && out.contains("pause 3"), "{out}");
    let line = "oxigdal-ha simulate run stalled.toml --seed 3";
    assert!(out.contains(line) && out.contains("and 2 seeds more") && err.contains(line), "{out}{err}");
    assert!(out.contains("oxigdal-ha simulate minimize stalled.toml --seed 3"), "{out}");
    let (code, out, _) = simulate(dir, "run stalled.toml --seeds 3..6 --time-budget 1ns --json");
    let none: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &none["summary"]), (5, &json!([])), "nothing was judged: {out}");
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
    assert!(code == 2 && err.contains("never"), "{err}");
}
