//! Three peers, each a process, and what they use.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Peer, Place, wait_for};

pub(crate) struct Mesh {
    pub(crate) peers: [Peer; 3],
    pub(crate) home: TempDir,
}

impl Mesh {
    /// Founded by the first; everybody sees everybody. Beside the build, so on a real disk.
    pub(crate) fn of_three() -> Self {
        let home = tempfile::tempdir_in("target").unwrap();
        let first = place(home.path(), "one").start(None);
        let [second, third] = ["two", "three"].map(|name| place(home.path(), name).start(Some(&first.invite())));
        let peers = [first, second, third];
        wait_for("everybody sees everybody", || peers.iter().all(|peer| peer.members("alive") == 3));
        Self { peers, home }
    }

    /// Waits until all have the same logs and have applied them.
    pub(crate) fn agree(&self) {
        let stands = |peer: &Peer| {
            let status = peer.ask(&["status"]);
            (status["vector"].clone(), status["content"].clone())
        };
        wait_for("all hold the same", || {
            let first = stands(&self.peers[0]);
            self.peers[1..].iter().all(|peer| stands(peer) == first)
        });
    }

    /// What the three have used of the cores so far.
    pub(crate) fn cpu(&self) -> Duration {
        self.peers.iter().map(cpu).sum()
    }

    /// Bytes that the three have sent each other so far.
    pub(crate) fn sent(&self) -> u64 {
        self.peers.iter().map(|peer| peer.ask(&["status"])["bytes_sent"].as_u64().unwrap()).sum()
    }
}

/// How much of something was done, in what time and with what.
pub(crate) struct Meter {
    began: Instant,
    cpu: Duration,
    sent: u64,
}

impl Meter {
    pub(crate) fn start(mesh: &Mesh) -> Self {
        Self { sent: mesh.sent(), cpu: mesh.cpu(), began: Instant::now() }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Prints it once everybody holds everything; `durable` is when the last was acknowledged.
    pub(crate) fn print(&self, mesh: &Mesh, what: &str, count: u64, durable: Duration) {
        mesh.agree();
        let (applied, cpu, sent) = (self.elapsed(), mesh.cpu() - self.cpu, mesh.sent() - self.sent);
        let a_second = |span: Duration| count as f64 / span.as_secs_f64();
        println!(
            "  {what}: {count}; {:.0}/s durable at the origin, {:.0}/s applied at all; {:.2} of the cores, {:.1} us each; {:.0} B each on the wires",
            a_second(durable),
            a_second(applied),
            cpu.as_secs_f64() / applied.as_secs_f64(),
            cpu.as_secs_f64() * 1e6 / count as f64,
            sent as f64 / count as f64,
        );
    }
}

/// What asks a peer over its HTTP interface, with its token.
#[derive(Clone)]
pub(crate) struct Client {
    agent: ureq::Agent,
    url: String,
    token: String,
}

impl Client {
    pub(crate) fn of(peer: &Peer) -> Self {
        let token = std::fs::read_to_string(peer.place.data.join("api-token")).unwrap();
        let (agent, url) = (ureq::agent(), format!("http://{}", peer.place.api));
        Self { agent, url, token: format!("Bearer {}", token.trim()) }
    }

    pub(crate) fn post(&self, path: &str, body: &[u8]) -> Vec<u8> {
        let request = self.agent.post(format!("{}{path}", self.url)).header("Authorization", &self.token);
        let mut response = request.send(body).unwrap();
        response.body_mut().with_config().limit(1 << 30).read_to_vec().unwrap()
    }

    pub(crate) fn patch(&self, path: &str, body: &[u8]) -> Value {
        let request = self.agent.patch(format!("{}{path}", self.url)).header("Authorization", &self.token);
        serde_json::from_slice(&request.send(body).unwrap().body_mut().read_to_vec().unwrap()).unwrap()
    }

    /// Server-sent events of changed documents, from now on.
    pub(crate) fn watch(&self) -> impl std::io::Read + use<> {
        let request = self.agent.get(format!("{}/v1/watch", self.url)).header("Authorization", &self.token);
        request.call().unwrap().into_body().into_reader()
    }
}

fn place(dir: &Path, name: &str) -> Place {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("/ip4/127.0.0.1/tcp/{}", socket.local_addr().unwrap().port());
    Place { listen, ..Place::on_loopback(dir, name) }
}

fn cpu(peer: &Peer) -> Duration {
    // In ticks, of which Linux counts a hundred a second for everybody.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", peer.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(10 * ticks)
}
