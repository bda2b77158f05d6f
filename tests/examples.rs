//! The programs in `examples/` that show what an embedding program does: each is run, ends well, and says what it has to.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "real programs run in real time")]

use std::io::{BufRead as _, Read as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

/// Longest life of one.
const LIMIT: Duration = Duration::from_secs(150);

/// The programs, as they stand now: another run of this test would find those of an earlier build.
fn program(name: &str) -> PathBuf {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--examples"]);
        // What this test is told of its own package is none of the build's: some that we use are built anew where it changes.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                build.env_remove(name);
            }
        }
        assert!(build.status().unwrap().success(), "the examples cannot be built");
    });
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    deps.parent().unwrap().join("examples").join(name)
}

/// Runs it, and gives what it said.
fn said(name: &str) -> String {
    let mut child = Command::new(program(name))
        .env_remove("OXIGDAL_HA_API")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if begun.elapsed() > LIMIT => {
                child.kill().unwrap();
                break child.wait().unwrap();
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    // What it says fits into a pipe.
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(status.success(), "{name}: {status} after {:?}: {text}", begun.elapsed());
    text
}

fn says(name: &str, words: &[&str]) {
    let text = said(name);
    for words in words {
        assert!(text.contains(words), "{name} does not say {words:?}: {text}");
    }
}

#[test]
fn the_first_program_of_the_readme_runs_as_it_is_printed() {
    let (readme, program_of) = (include_str!("../README.md"), include_str!("../examples/first.rs"));
    let (_, code) = program_of.split_once("\n\n").unwrap();
    assert!(readme.contains(code), "README.md prints another program than examples/first.rs");

    let dir = tempfile::tempdir().unwrap();
    let settings = "[node]\ndata-dir = 'data'\n[api]\nlisten = ''\n[network]\nlisten = ['127.0.0.1:0']\n";
    std::fs::write(dir.path().join("node.toml"), settings).unwrap();
    let mut child = Command::new(program("first")).current_dir(dir.path()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    // It goes on for ever: what it says ends with the first change, or with its end.
    let mut said = Vec::new();
    for line in lines {
        said.push(line);
        if said.last().is_some_and(|line| line.contains("889954")) {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let said = said.join("\n");
    assert!(said.contains("under token") && said.contains("889954"), "{said}");
}

#[test]
fn replication_sends_an_event_from_one_peer_to_another() {
    says("replication", &["durable at", "arrived at", "[1, 2, 3, 4, 5]", "the mesh has no member"]);
}

#[test]
fn failover_elects_another_leader_among_real_voters() {
    says("failover", &["of 3 voters", "New leader elected: ", "found to have failed", "may take a role over"]);
}

#[test]
fn recovery_recovers_a_real_directory() {
    says("recovery", &["Recovery complete: ", "100 documents are in", "a directory that is not there"]);
}

#[test]
fn disaster_says_that_it_is_not_supported() {
    says("disaster", &["us-east-1 to us-west-2 is not supported"]);
}

#[test]
fn oxigdal_node_edits_a_layer_through_a_cut_and_a_killed_exporter() {
    says("oxigdal_node", &["177 countries", "with both edits", "is not the highest", "has 177 features"]);
}

#[test]
fn adapters_fill_the_sockets_that_oxigdal_has() {
    says("adapters", &["SyncProtocol: ", "PeerDiscovery: found at ", "RemoteBackend: parcel-7"]);
}
