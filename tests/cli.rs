//! The command line without a running peer: what its commands print, what they refuse, and how they exit.
#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "cli/gone.rs"]
#[expect(clippy::disallowed_methods, reason = "a peer that answers a command needs a thread of its own")]
mod gone;

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// What a run printed and how it ended.
#[derive(Debug, PartialEq)]
struct Run {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Run {
    fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.out).unwrap()
    }
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oxigdal-ha"));
    command.args(args).current_dir(dir).stdin(Stdio::null()).env("COLUMNS", "100");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OXIGDAL_HA_")) {
        command.env_remove(name);
    }
    command
}

fn finished(command: &mut Command) -> Run {
    Run::from(command.output().unwrap())
}

/// A run in the package's folder.
fn run(args: &[&str]) -> Run {
    finished(&mut command(Path::new(env!("CARGO_MANIFEST_DIR")), args))
}

#[test]
fn topologies_are_checked_by_name() {
    let checked = run(&["topology", "check", "topologies/single.toml", "topologies/tree-13.toml"]);
    let out =
        "ok topologies/single.toml: single, 1 node, mesh:8\nok topologies/tree-13.toml: tree-13, 13 nodes, tree:3\n";
    assert_eq!(checked, Run { code: 0, out: out.into(), err: String::new() });
}

/// Nothing of a process reaches a simulated run: not its memory, its entropy, nor its clock.
#[test]
fn two_processes_leave_the_same_trace() {
    let trace = || run(&["simulate", "run", "simulations/star-hub-dies.toml", "--seed", "7", "--json"]).json();
    let (first, second) = (trace(), trace());
    assert_eq!(first["runs"][0]["run"], second["runs"][0]["run"]);
    let hash = first["runs"][0]["run"]["hash"].as_str().unwrap();
    assert!(hash.len() == 32 && hash != "0".repeat(32), "{hash}");
}

/// A token in the environment is a token, not a path that is not there; and an error never tells it.
#[test]
fn the_environment_may_hold_the_token_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (token, nobody) = ("0123456789abcdef".repeat(4), "127.0.0.1:1");
    let mut asked = command(dir.path(), &["doc", "rm", "a", "--api", nobody]);
    let asked = finished(asked.env("OXIGDAL_HA_TOKEN", &token));
    assert_eq!(asked.code, 3, "{asked:?}");
    assert!(!asked.err.contains(&token), "{asked:?}");
}

#[test]
fn a_wrong_topology_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("t.toml"), "schema = 1\nname = \"t\"\noverlay = \"ring\"\n[[node]]\nname = \"a\"\n")
        .unwrap();
    let refused = finished(&mut command(dir.path(), &["topology", "check", "t.toml"]));
    let err = "error: t.toml:3:11: overlay: unknown overlay \"ring\"; expected \"star\", \"mesh\", \"mesh:DEGREE\", \"tree\" or \"tree:ARITY\"\n";
    assert_eq!(refused, Run { code: 2, out: String::new(), err: err.into() });
    let missing = finished(&mut command(dir.path(), &["topology", "show", "u.toml"]));
    assert_eq!(missing.err, "error: cannot read u.toml: No such file or directory (os error 2)\n");
}

#[test]
fn topologies_are_drawn_as_text_as_json_and_as_svg() {
    let shown = run(&["topology", "show", "topologies/star-5.toml"]);
    assert!(shown.out.starts_with("star-5\nA hub and four spokes on one LAN.\n"), "{}", shown.out);
    let summary = run(&["topology", "show", "topologies/star-5.toml", "--json"]).json();
    assert_eq!((&summary["top"], &summary["edges"][0]), (&json!("hub"), &json!(["hub", "spare"])));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("star.svg");
    let drawn = run(&["topology", "show", "topologies/star-5.toml", "--svg", file.to_str().unwrap()]);
    assert_eq!((drawn.code, drawn.out), (0, shown.out));
    let piped = run(&["topology", "show", "topologies/star-5.toml", "--svg", "-"]);
    assert_eq!(std::fs::read_to_string(file).unwrap(), piped.out);
    assert!(piped.out.starts_with("<svg "));
}

#[test]
fn the_default_configuration_is_a_file_that_means_the_default() {
    let dir = tempfile::tempdir().unwrap();
    let written = finished(&mut command(dir.path(), &["config", "init", "node.toml"]));
    assert_eq!(written.code, 0, "{written:?}");
    let again = finished(&mut command(dir.path(), &["config", "init", "node.toml"]));
    assert_eq!((again.code, again.err.as_str()), (2, "error: cannot write node.toml: File exists (os error 17)\n"));
    let checked = finished(&mut command(dir.path(), &["config", "check", "node.toml"]));
    assert!(checked.out.starts_with("ok node.toml: 0 settings given;"), "{checked:?}");
    let printed = finished(&mut command(dir.path(), &["config", "print", "node.toml"]));
    std::fs::write(dir.path().join("printed.toml"), &printed.out).unwrap();
    let reprinted = finished(&mut command(dir.path(), &["config", "print", "printed.toml"]));
    assert_eq!(printed, reprinted);
}

#[test]
fn each_setting_tells_where_it_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("node.toml"), "[node]\nname = \"fjord\"\n").unwrap();
    let print = |args: &[&str]| {
        let mut command = command(dir.path(), &[&["config", "print", "node.toml", "--origin"], args].concat());
        finished(command.env("OXIGDAL_HA_NODE__REGION", "north"))
    };
    let settings = print(&["--json"]).json();
    let origin = |key: &str| settings.as_array().unwrap().iter().find(|setting| setting["key"] == key).unwrap().clone();
    assert_eq!(origin("node.name"), json!({ "key": "node.name", "value": "\"fjord\"", "origin": "node.toml:2" }));
    assert_eq!(origin("node.region")["origin"], "environment OXIGDAL_HA_NODE__REGION");
    assert_eq!(origin("node.zone")["origin"], "default");
    let table = print(&[]).out;
    let row = table.lines().find(|line| line.starts_with("node.name")).unwrap();
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["node.name", "\"fjord\"", "node.toml:2"]);
}

#[test]
fn a_wrong_configuration_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("node.toml"), "[node]\nnaem = \"x\"\n").unwrap();
    let refused = finished(&mut command(dir.path(), &["config", "check", "node.toml"]));
    let err = "error: node.toml:2: there is no key `node.naem`; did you mean `node.name`?\n";
    assert_eq!(refused, Run { code: 2, out: String::new(), err: err.into() });
    let as_json = finished(&mut command(dir.path(), &["config", "check", "node.toml", "--json"]));
    let error: Value = serde_json::from_str(&as_json.err).unwrap();
    assert_eq!(error["error"]["message"], "node.toml:2: there is no key `node.naem`; did you mean `node.name`?");
}

#[test]
fn a_schedule_of_a_role_that_is_not_there_is_set_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("d")).unwrap();
    let schedule = |args: &[&str], roles: Option<&str>| {
        let args = [&["backup", "schedule", "--data-dir", "d", "--api", "127.0.0.1:1"], args].concat();
        let mut command = command(dir.path(), &args);
        finished(command.envs(roles.map(|roles| ("OXIGDAL_HA_ROLES__NAMES", roles))))
    };
    let set = |role: &str, roles| {
        schedule(&["set", "bad", "kind=full", "every=1h", "repository=/srv/backups", &format!("role={role}")], roles)
    };
    let odd = set("primry", Some("primary"));
    assert_eq!(odd.code, 0, "it is no error: {odd:?}");
    assert!(odd.err.starts_with("warning: ") && odd.err.contains("has no role \"primry\"; it has: primary"), "{odd:?}");
    assert!(odd.err.contains("roles.names"), "{odd:?}");
    assert!(set("primry", None).err.contains("is not known"), "no peer runs, and no configuration is named");
    assert_eq!(set("primary", Some("primary")).err, "");
    set("primry", Some("primary"));
    let listed = schedule(&["list"], Some("primary"));
    assert!(listed.out.contains("! bad never runs: ") && listed.err.is_empty(), "{listed:?}");
    let listed = schedule(&["list", "--json"], Some("primry")).json();
    assert_eq!(listed["schedules"][0]["warning"], Value::Null);
}

#[test]
fn a_peer_that_is_not_there_is_told_with_a_hint_and_code_3() {
    // Bound and closed again: nobody listens there now.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let api = format!("127.0.0.1:{port}");
    for args in [&["members"][..], &["status"], &["doc", "get", "a"], &["doc", "ls"], &["invite", "list"], &["revoke"]]
    {
        let told = run(&[args, &["--api", &api]].concat());
        let err = format!(
            "error: no peer answers at {api}: connection refused\n  \
             hint: start one with `oxigdal-ha run`, or name another with --api or OXIGDAL_HA_API\n"
        );
        assert_eq!(told, Run { code: 3, out: String::new(), err }, "{args:?}");
    }
    let told: Value = serde_json::from_str(&run(&["members", "--json", "--api", &api]).err).unwrap();
    assert_eq!(told["error"]["code"], "no_peer");
}

#[test]
fn wrong_arguments_are_refused_before_anything_is_asked() {
    for (args, words) in [
        (&["members", "--api", "not an address"][..], "is not HOST:PORT"),
        (&["doc", "put", "a", "[1]"], "no JSON object"),
        (&["doc", "put", "a", "{"], "is not JSON"),
        (&["doc", "put", "a", "@missing.json"], "cannot read missing.json"),
        (&["doc", "import", "missing.geojson"], "cannot read missing.geojson"),
        (&["invite", "issue", "--ttl", "soon"], "does not begin with a number"),
        (&["revoke", "me"], "is not a node id"),
        (&["status", "--token-file", "missing"], "cannot read the token missing"),
        (&["redirect", "--listen", ":0", "--port-of", "0"], "0 is no port"),
        (&["redirect", "--listen", ":0", "--port-of", "65536"], "65536 is no port"),
        (&["frobnicate"], "unrecognized subcommand"),
    ] {
        let refused = run(args);
        assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{args:?}: {refused:?}");
        assert!(refused.err.starts_with("error: ") && refused.err.contains(words), "{args:?}: {}", refused.err);
    }
}

#[test]
fn an_identity_is_shown_only_where_there_is_one_and_drawn_only_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let key = |args: &[&str]| finished(&mut command(dir.path(), &[&["key", "--data-dir", "d"], args].concat()));
    let none = key(&[]);
    assert_eq!((none.code, none.err.lines().next()), (2, Some("error: there is no identity in d")));
    assert!(!dir.path().join("d").exists(), "nothing was made by looking");
    let drawn = key(&["--create", "--json"]).json();
    assert_eq!(key(&["--json"]).json(), drawn);
    assert_eq!((&drawn["cluster"], &drawn["issuer"]), (&Value::Null, &json!(false)));
    assert!(key(&[]).out.contains(drawn["node"].as_str().unwrap()));
}

#[test]
fn what_a_person_hands_to_the_root_key_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let key = |args: &[&str]| finished(&mut command(dir.path(), &[&["key"], args].concat()));
    std::fs::write(dir.path().join("invite"), "oxha1abc").unwrap();
    std::fs::write(dir.path().join("cut"), "oxhr1abc").unwrap();
    for (args, words) in [
        (&["issuer", "sign", "missing"][..], "cannot read missing"),
        (&["issuer", "sign", "invite"], "invite: not an issuer's request: it does not begin with oxhr1"),
        (&["issuer", "sign", "cut"], "cut: an issuer's request is damaged: copy it again as a whole"),
        (&["issuer", "sign", "cut", "--days", "0"], "--days"),
        (&["issuer", "install", "missing"], "cannot read missing"),
        (&["root", "move", "there"], "oxigdal-ha-data/root.key: No such file"),
    ] {
        let refused = key(args);
        assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{args:?}: {refused:?}");
        assert!(refused.err.starts_with("error: ") && refused.err.contains(words), "{args:?}: {}", refused.err);
    }
    let help = key(&["issuer", "--help"]);
    assert!(
        ["request", "sign", "install", "root move", "renew"].iter().all(|word| help.out.contains(word)),
        "{help:?}"
    );
}

#[test]
fn a_peer_is_refused_what_it_cannot_use() {
    let dir = tempfile::tempdir().unwrap();
    let topology = format!("{}/topologies/star-5.toml", env!("CARGO_MANIFEST_DIR"));
    for (args, words) in [
        (&["--overlay", "ring"][..], "unknown overlay"),
        (&["--config", "missing.toml"], "cannot read missing.toml"),
        (&["--listen", "here"], "`network.listen`"),
        (&["--join", "oxha1nonsense"], "oxha1nonsense"),
        (&["--log-level", "much=too=loud"], "`log.level`"),
        (&["--log-level", "infoo"], "expected error, warn, info, debug, trace, or directives"),
        (&["--topology", &topology, "--name", "nobody"], "has no node \"nobody\""),
        (&["--topology", &topology], "--name"),
    ] {
        let refused = finished(&mut command(dir.path(), &[&["run", "--api", "127.0.0.1:0"], args].concat()));
        assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{args:?}: {refused:?}");
        assert!(refused.err.contains(words), "{args:?}: {}", refused.err);
    }
}

#[test]
fn a_peer_does_not_start_half_way() {
    let dir = tempfile::tempdir().unwrap();
    let start = |args: &[&str]| finished(&mut command(dir.path(), &[&["run", "--api", "127.0.0.1:0"], args].concat()));
    // Founding a mesh of its own is not what somebody wants who names the address of another's.
    let refused = start(&["--listen", "/ip4/127.0.0.1/tcp/0", "--join", "127.0.0.1:4747"]);
    let told =
        "error: oxigdal-ha-data belongs to no mesh yet, and an address alone lets nobody in\n  hint: get an invite ";
    assert!(refused.code == 1 && refused.err.contains(told), "{}", refused.err);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let held = std::net::TcpListener::bind(taken).unwrap();
    let refused = start(&["--listen", &taken.to_string()]);
    assert!(
        refused.code == 1 && refused.err.contains("already in use") && refused.err.contains("hint: "),
        "{}",
        refused.err
    );
    drop(held);
    let named = finished(&mut command(dir.path(), &["run", "--api", "somewhere:4748"]));
    assert!(named.code == 2 && named.err.contains("`api.listen`"), "{}", named.err);
    std::fs::write(dir.path().join("file"), "").unwrap();
    let refused = start(&["--data-dir", "file"]);
    assert_eq!(refused.err, "error: file: it is no directory\n");
    assert!(!dir.path().join("oxigdal-ha-data/ticket").exists(), "it founded no mesh on the way");
}

#[test]
fn the_demo_keeps_its_word() {
    let demo = run(&["demo", "--peers", "4", "--overlay", "tree:2", "--json"]);
    assert_eq!(demo.code, 0, "{demo:?}");
    let steps: Vec<Value> = demo.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    let told =
        ["start", "join", "import", "cut", "edit", "detect", "kill", "detect", "restart", "heal", "agree", "done"];
    assert_eq!(names, told);
    let step = |name: &str| steps.iter().find(|step| step["step"] == name).unwrap();
    assert_eq!((&step("import")["documents"], &step("heal")["crossed_bytes"]), (&json!(177), &json!(0)));
    assert_eq!(step("cut")["sides"], json!([["peer-1", "peer-2"], ["peer-3", "peer-4"]]));
    assert!(step("agree")["edits"].as_u64() >= Some(160), "{demo:?}");
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]);
        assert_eq!((script.code, script.err.as_str()), (0, ""));
        assert!(["members", "topology", "token-file"].iter().all(|word| script.out.contains(word)), "{shell}");
    }
}

#[test]
fn colours_come_only_where_they_are_wanted() {
    let args = ["topology", "check", "topologies/single.toml"];
    assert!(!run(&args).out.contains('\x1b'));
    assert!(run(&[&args[..], &["--color", "always"]].concat()).out.starts_with("\x1b[32mok\x1b[0m "));
    assert!(run(&["topology", "check", "missing", "--color", "always"]).err.starts_with("\x1b[1;31merror\x1b[0m: "));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = command(Path::new(env!("CARGO_MANIFEST_DIR")), &["completions", "bash"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
}

#[test]
fn a_stranger_at_the_api_is_no_peer() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let api = listener.local_addr().unwrap().to_string();
    let asked = command(Path::new(env!("CARGO_MANIFEST_DIR")), &["members", "--api", &api])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut head = [0; 1024];
    let _ = stream.read(&mut head).unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    let told = Run::from(asked.wait_with_output().unwrap());
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.err.contains(&format!("the answer of {api} is not understood")), "{}", told.err);
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    assert!(head.starts_with("get /v1/members http/1.1\r\n") && head.contains(&format!("host: {api}")), "{head}");
}
