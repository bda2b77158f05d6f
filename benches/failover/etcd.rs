//! Three members of etcd, where it is installed: heartbeats every 50 ms, elections after 250 ms, all else as it comes.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::ask::Question;
use crate::harness::{free_port, wait_for};
use crate::trials::Trio;

pub(crate) struct Etcd {
    dir: PathBuf,
    clients: Vec<u16>,
    peers: Vec<u16>,
    members: Vec<Option<Child>>,
    agent: ureq::Agent,
}

/// What it says of its version, where it is installed.
pub(crate) fn version() -> Option<String> {
    let output = Command::new("etcd").arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().and_then(|line| line.split(": ").nth(1)).map(str::to_owned)
}

impl Etcd {
    pub(crate) fn start(dir: &Path) -> Self {
        let [clients, peers] = [(); 2].map(|()| (0..3).map(|_| free_port()).collect());
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(1)));
        let agent = ureq::Agent::new_with_config(config.build());
        let mut trio = Self { dir: dir.join("etcd"), clients, peers, members: Vec::new(), agent };
        trio.members = (0..3).map(|at| Some(trio.spawn(at))).collect();
        wait_for("etcd has a leader", || trio.settled().is_some());
        trio
    }

    fn spawn(&self, at: usize) -> Child {
        let [client, peer] = [&self.clients, &self.peers].map(|ports| format!("http://127.0.0.1:{}", ports[at]));
        let all: Vec<String> =
            self.peers.iter().enumerate().map(|(at, port)| format!("m{at}=http://127.0.0.1:{port}")).collect();
        let mut command = Command::new("etcd");
        command.args(["--name", &format!("m{at}"), "--initial-cluster", &all.join(",")]);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--heartbeat-interval", "50", "--election-timeout", "250", "--log-level", "error"]);
        command.arg("--data-dir").arg(self.dir.join(at.to_string())).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// What a member says of itself.
    fn status(&self, at: usize) -> Option<Value> {
        let url = format!("http://127.0.0.1:{}/v3/maintenance/status", self.clients[at]);
        let mut answer = self.agent.post(url).send("{}").ok()?;
        serde_json::from_slice(&answer.body_mut().read_to_vec().ok()?).ok()
    }
}

impl Trio for Etcd {
    const NAME: &'static str = "etcd";

    fn settled(&self) -> Option<usize> {
        let told: Vec<Value> = (0..3).map(|at| self.status(at)).collect::<Option<_>>()?;
        agreed(&told)
    }

    fn question(&self, at: usize) -> Question {
        Question {
            address: format!("127.0.0.1:{}", self.clients[at]),
            path: "/v3/kv/put",
            headers: "Content-Type: application/json\r\n".into(),
            body: put,
        }
    }

    fn pid(&self, at: usize) -> u32 {
        self.members[at].as_ref().unwrap().id()
    }

    fn reap(&mut self, at: usize) {
        if let Some(mut child) = self.members[at].take() {
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    fn restart(&mut self, at: usize) {
        self.members[at] = Some(self.spawn(at));
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        (0..self.members.len()).for_each(|at| self.reap(at));
    }
}

/// Who leads, if all name the same member and have applied the same.
fn agreed(told: &[Value]) -> Option<usize> {
    let same = ["leader", "raftTerm", "raftAppliedIndex"];
    let is_same = |it: &Value| same.iter().all(|key| it[*key] == told[0][*key]);
    told.iter().all(is_same).then(|| told.iter().position(|it| it["header"]["member_id"] == it["leader"]))?
}

/// Sixteen digits are the base64 of twelve bytes.
fn put(number: u64) -> String {
    format!("{{\"key\":\"YmVuY2g=\",\"value\":\"{number:016}\"}}")
}

/// What can be told without etcd: its answers are read, and its requests are what they should be.
pub(crate) fn try_dry() {
    let told = |leader: u64, id: u64| {
        let text = format!(
            r#"{{"header":{{"cluster_id":"1","member_id":"{id}","revision":"1","raft_term":"2"}},"version":"3.4.23",
                "dbSize":"20480","leader":"{leader}","raftIndex":"8","raftTerm":"2","raftAppliedIndex":"8"}}"#
        );
        serde_json::from_str::<Value>(&text).unwrap()
    };
    assert_eq!(agreed(&[told(7, 5), told(7, 7), told(7, 9)]), Some(1));
    assert_eq!(agreed(&[told(7, 5), told(5, 7), told(7, 9)]), None);
    assert_eq!(put(12), r#"{"key":"YmVuY2g=","value":"0000000000000012"}"#);
}
