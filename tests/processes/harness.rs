//! Starts peers as their users do, and talks to them through their own command line.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before a test gives up. Generous: machines are shared, and nothing here measures speed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Where and how a peer runs.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its network namespace, if it has one of its own.
    pub(crate) namespace: Option<String>,
    /// Its name.
    pub(crate) name: String,
    /// Its data directory.
    pub(crate) data: PathBuf,
    /// Where it listens for peers.
    pub(crate) listen: String,
    /// Where its local API listens.
    pub(crate) api: String,
    /// Settings, by their variable's name without the prefix.
    pub(crate) settings: Vec<(&'static str, String)>,
}

/// A running peer. Killed when dropped.
pub(crate) struct Peer {
    pub(crate) place: Place,
    child: Child,
}

impl Place {
    fn command(&self, program: &str) -> Command {
        match &self.namespace {
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace, program]);
                command
            }
            None => Command::new(program),
        }
    }

    fn log(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    /// On loopback, with a port of its own for each interface.
    pub(crate) fn on_loopback(dir: &Path, name: &str) -> Self {
        Self {
            namespace: None,
            name: name.into(),
            data: dir.join(name),
            listen: "/ip4/127.0.0.1/tcp/0".into(),
            api: format!("127.0.0.1:{}", free_port()),
            settings: Vec::new(),
        }
    }

    /// On the default addresses of a network namespace.
    pub(crate) fn in_namespace(dir: &Path, name: &str, namespace: String) -> Self {
        let api = "127.0.0.1:4748".into();
        Self { namespace: Some(namespace), api, ..Self::on_loopback(dir, name) }
    }

    /// With one more setting.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.settings.retain(|(known, _)| *known != name);
        self.settings.push((name, value.into()));
        self
    }

    /// Starts it and waits until its API answers.
    pub(crate) fn start(&self, join: Option<&str>) -> Peer {
        let mut peer = self.spawn(join);
        wait_for(&format!("{} answers", self.name), || {
            if let Some(status) = peer.child.try_wait().unwrap() {
                panic!("{} ended with {status}:\n{}", peer.place.name, peer.log());
            }
            peer.try_ask(&["status"]).is_some()
        });
        peer
    }

    /// Starts it with nobody who reads its log: each line meets a closed pipe.
    pub(crate) fn start_unheard(&self) -> Peer {
        let mut command = self.to_run(None);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stderr.take());
        let mut peer = Peer { place: self.clone(), child };
        wait_for("it answers", || {
            assert_eq!(peer.child.try_wait().unwrap(), None, "a lost log line is no reason to end");
            peer.try_ask(&["status"]).is_some()
        });
        peer
    }

    /// Starts it, waits until it has ended, and gives its exit code and what it wrote.
    pub(crate) fn start_in_vain(&self, join: Option<&str>) -> (Option<i32>, String) {
        let mut peer = self.spawn(join);
        let status = peer.child.wait().unwrap();
        (status.code(), peer.log())
    }

    fn spawn(&self, join: Option<&str>) -> Peer {
        let mut command = self.to_run(join);
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        Peer { place: self.clone(), child: command.spawn().unwrap() }
    }

    fn to_run(&self, join: Option<&str>) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_oxigdal-ha"));
        command.arg("run").args(["--name", &self.name, "--listen", &self.listen, "--api", &self.api]);
        command.arg("--data-dir").arg(&self.data).args(join.iter().flat_map(|invite| ["--join", invite]));
        command.env("OXIGDAL_HA_NETWORK__MDNS", "false").stdin(Stdio::null());
        for (name, value) in &self.settings {
            command.env(format!("OXIGDAL_HA_{name}"), value);
        }
        command
    }
}

impl Peer {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to its terminal.
    pub(crate) fn log(&self) -> String {
        let mut text = String::new();
        File::open(self.place.log()).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    /// Runs a client command against it.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    /// A client command against it.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.place.command(env!("CARGO_BIN_EXE_oxigdal-ha"));
        command.args(args).env("OXIGDAL_HA_API", &self.place.api);
        command.env("OXIGDAL_HA_TOKEN", self.place.data.join("api-token"));
        command
    }

    /// The JSON answer of a client command.
    pub(crate) fn ask(&self, args: &[&str]) -> Value {
        self.try_ask(args).unwrap_or_else(|| {
            let output = self.run(args);
            panic!("{} {args:?}: {}\n{}", self.place.name, String::from_utf8_lossy(&output.stderr), self.log())
        })
    }

    /// The JSON answer of a client command, if it succeeds.
    pub(crate) fn try_ask(&self, args: &[&str]) -> Option<Value> {
        let output = self.run(&[args, &["--json"]].concat());
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// An invite to its mesh.
    pub(crate) fn invite(&self) -> String {
        self.ask(&["invite", "issue"])["invite"].as_str().unwrap().to_owned()
    }

    /// How many members it sees in this state.
    pub(crate) fn members(&self, state: &str) -> usize {
        let status = self.ask(&["status"]);
        status["members"].as_array().unwrap().iter().filter(|member| member["state"] == state).count()
    }

    /// Tells it to stop, and gives its exit code and what it wrote.
    pub(crate) fn told_to_stop(mut self) -> (Option<i32>, String) {
        assert!(Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        (status.code(), self.log())
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(mut self) {
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// Ends it at once, as a power cut would end the process.
    pub(crate) fn kill(mut self) -> Place {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.place.clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks again and again until it holds.
pub(crate) fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A port that nobody has, and that no other test of this process is given: a peer that is restarted wants its own again.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}

/// The bytes of a file.
pub(crate) fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
