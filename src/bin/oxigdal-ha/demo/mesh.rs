//! Real peers as child processes: started, asked, killed, started again.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use oxigdal_ha::topology::Policy;
use serde::Deserialize;
use serde_json::{Value, json};

use super::proxy::Proxy;
use crate::args::Target;
use crate::client::Client;
use crate::failure::{Failure, Result};

/// How long anything may take before the demo gives up. Nothing is this slow unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often the peers are looked at: no figure is finer.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Lines of a peer's log that are shown when it fails.
const LOG_LINES: usize = 12;

/// The children, where a signal can reach them.
pub(super) type Children = Arc<Mutex<Vec<Option<Child>>>>;

/// What a peer says when it is up.
#[derive(Debug, Deserialize)]
struct Up {
    node: String,
    api: SocketAddr,
    token_file: PathBuf,
}

/// One peer.
#[derive(Debug)]
pub(super) struct Peer {
    /// `peer-1` and so on.
    pub(super) name: String,
    /// Its id, known once it is up.
    pub(super) node: String,
    folder: PathBuf,
    client: Option<Client>,
}

/// What of a peer's status the demo looks at.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Seen {
    pub(super) members: Vec<SeenMember>,
    pub(super) documents: usize,
    pub(super) content: String,
    pub(super) vector: String,
    pub(super) orphans: usize,
    pub(super) refused: u64,
    pub(super) bytes_sent: u64,
}

/// What of a member.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct SeenMember {
    pub(super) node: String,
    pub(super) state: String,
    pub(super) linked: bool,
}

impl Seen {
    /// How many members it takes for alive, itself included.
    pub(super) fn alive(&self) -> usize {
        self.members.iter().filter(|member| member.state == "alive").count()
    }

    /// What it thinks of a node.
    pub(super) fn state_of(&self, node: &str) -> &str {
        self.members.iter().find(|member| member.node == node).map_or("unknown", |member| &member.state)
    }
}

/// All peers, and the wires between them.
pub(super) struct Mesh {
    pub(super) peers: Vec<Peer>,
    pub(super) proxy: Proxy,
    children: Children,
}

impl Mesh {
    pub(super) fn new(count: usize, overlay: Policy, folder: &Path, proxy: Proxy, children: Children) -> Result<Self> {
        let mut peers = Vec::with_capacity(count);
        for at in 0..count {
            let name = format!("peer-{}", at + 1);
            let own = folder.join(&name);
            let written = std::fs::create_dir_all(&own)
                .and_then(|()| std::fs::write(own.join("peer.toml"), settings(at, count, overlay, &own, &proxy)));
            written.map_err(|error| Failure::file("write", &own, &error))?;
            peers.push(Peer { name, node: String::new(), folder: own, client: None });
        }
        children.lock().unwrap_or_else(PoisonError::into_inner).resize_with(count, || None);
        Ok(Self { peers, proxy, children })
    }

    /// Starts these peers at the same time and waits until all are up. Each may bring an invite.
    pub(super) fn start(&mut self, peers: &[(usize, Option<String>)]) -> Result {
        let mut said = Vec::with_capacity(peers.len());
        for (at, invite) in peers {
            said.push((*at, self.spawn(*at, invite.as_deref())?));
        }
        for (at, said) in said {
            let Ok(Ok(line)) = said.recv_timeout(PATIENCE) else {
                return Err(self.died(at, "did not come up"));
            };
            let up: Up = serde_json::from_str(&line).map_err(|_| self.died(at, "did not come up"))?;
            let target = Target { api: up.api.to_string(), token_file: Some(up.token_file) };
            self.peers[at].client = Some(Client::new(&target)?);
            self.peers[at].node = up.node;
            self.proxy.lead(at, self.listens(at)?);
        }
        Ok(())
    }

    /// Spawns a peer; its first line comes through the channel.
    fn spawn(&self, at: usize, invite: Option<&str>) -> Result<mpsc::Receiver<std::io::Result<String>>> {
        let folder = &self.peers[at].folder;
        let cannot =
            |error: std::io::Error| Failure::new(format_args!("cannot start {}: {error}", self.peers[at].name));
        let log = File::options().create(true).append(true).open(folder.join("log")).map_err(cannot)?;
        let mut command = Command::new(std::env::current_exe().map_err(cannot)?);
        command.args(["run", "--json", "--stop-with-stdin", "--config"]).arg(folder.join("peer.toml"));
        command.args(invite.into_iter().flat_map(|invite| ["--join", invite]));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OXIGDAL_HA_")) {
            command.env_remove(name);
        }
        // In a group of their own: a Ctrl-C at the terminal is for the demo, which then ends them.
        command.process_group(0);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn().map_err(cannot)?;
        let stdout = child.stdout.take().expect("it was asked to be piped");
        self.children.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(child);
        let (says, said) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            // Nobody listens any more only if the demo has given up.
            drop(says.send(read.map(|_| line)));
        });
        Ok(said)
    }

    /// Where a peer really listens: it tells its door too.
    fn listens(&self, at: usize) -> Result<SocketAddr> {
        let began = Instant::now();
        loop {
            let status: Value = self.client(at)?.get("/v1/status", &[])?;
            let listen = status.pointer("/host/listen").and_then(Value::as_array).into_iter().flatten();
            let mut sockets = listen.filter_map(|address| socket(address.as_str()?));
            match sockets.find(|address| *address != self.proxy.door(at)) {
                Some(address) => return Ok(address),
                None if began.elapsed() > PATIENCE => return Err(self.died(at, "listens nowhere")),
                None => std::thread::sleep(LOOK_EVERY),
            }
        }
    }

    /// Ends a peer with SIGKILL: no goodbye, no flush, no handler.
    pub(super) fn kill(&mut self, at: usize) -> Result {
        let child = self.children.lock().unwrap_or_else(PoisonError::into_inner)[at].take();
        let mut child = child.expect("only a running peer is killed");
        // Reaped, so that its pid is free again only when nobody asks for it any more.
        child.kill().and_then(|()| child.wait()).map_err(|error| Failure::new(format_args!("cannot kill: {error}")))?;
        self.peers[at].client = None;
        Ok(())
    }

    /// How long it took until this held of all these peers, looking again and again.
    pub(super) fn wait(&self, what: &str, of: &[usize], mut holds: impl FnMut(&[Seen]) -> bool) -> Result<Duration> {
        let began = Instant::now();
        loop {
            let seen = self.look(of)?;
            if holds(&seen) {
                return Ok(began.elapsed());
            }
            if began.elapsed() > PATIENCE {
                let states: Vec<String> = of.iter().zip(&seen).map(|(at, seen)| self.shown(*at, seen)).collect();
                return Err(Failure::new(format_args!("not within {} s: {what}", PATIENCE.as_secs()))
                    .hint(format!("the peers: {}", states.join("; "))));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// How these peers stand.
    pub(super) fn look(&self, of: &[usize]) -> Result<Vec<Seen>> {
        of.iter()
            .map(|at| self.client(*at)?.get("/v1/status", &[]).map_err(|failure| self.died(*at, &failure)))
            .collect()
    }

    fn shown(&self, at: usize, seen: &Seen) -> String {
        let Seen { documents, content, vector, orphans, refused, .. } = seen;
        let alive = seen.alive();
        let name = &self.peers[at].name;
        format!(
            "{name} sees {alive} alive, {documents} documents, content {content}, vector {vector}, {orphans} orphans, {refused} refused"
        )
    }

    /// The client of a running peer.
    pub(super) fn client(&self, at: usize) -> Result<&Client> {
        self.peers[at].client.as_ref().ok_or_else(|| self.died(at, "is not running"))
    }

    /// An invite to the mesh, for one peer.
    pub(super) fn invite(&self, issuer: usize, name: &str) -> Result<String> {
        let answer: Value =
            self.client(issuer)?.send("POST", "/v1/invites", &[], &json!({ "ttl_s": 600, "name": name }))?;
        Ok(answer["invite"].as_str().unwrap_or_default().to_owned())
    }

    /// Where the API of each peer is, for whoever wants to look around.
    pub(super) fn apis(&self) -> impl Iterator<Item = (&str, PathBuf)> {
        self.peers.iter().map(|peer| (peer.name.as_str(), peer.folder.clone()))
    }

    /// A peer that failed, with the end of its log.
    fn died(&self, at: usize, why: impl std::fmt::Display) -> Failure {
        let peer = &self.peers[at];
        let log = std::fs::read_to_string(peer.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n    ");
        let failure = Failure::new(format_args!("{} {why}", peer.name));
        if tail.is_empty() { failure } else { failure.hint(format!("the end of its log:\n    {tail}")) }
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        end(&self.children);
    }
}

/// Ends all children, by their ids.
pub(super) fn end(children: &Children) {
    for child in children.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
        if let Some(mut child) = child.take() {
            // It has ended already if this fails.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A peer's settings: it listens where nobody knows, advertises its door, and dials the lines instead of others' doors.
fn settings(at: usize, count: usize, overlay: Policy, folder: &Path, proxy: &Proxy) -> String {
    let multiaddr = |address: SocketAddr| format!("/ip4/{}/tcp/{}", address.ip(), address.port());
    let others = (0..count).filter(|other| *other != at);
    let via: Vec<String> = others
        .map(|other| format!("  \"{} -> {}\",\n", multiaddr(proxy.door(other)), multiaddr(proxy.line(at, other))))
        .collect();
    let parameter = overlay.parameter().map(|(name, number)| format!("{name} = {number}\n")).unwrap_or_default();
    format!(
        "# Written by `oxigdal-ha demo`.\n\
         [node]\nname = \"peer-{n}\"\npriority = {priority}\ndata-dir = {data}\n\n\
         [network]\nlisten = [\"/ip4/127.0.0.1/tcp/0\"]\nannounce = [\"{door}\"]\nmdns = false\ndial-via = [\n{via}]\n\n\
         [api]\nlisten = \"127.0.0.1:0\"\n\n\
         [overlay]\nkind = \"{kind}\"\n{parameter}\n\
         [membership]\nprofile = \"local\"\n\n\
         [log]\nformat = \"text\"\n",
        n = at + 1,
        // The last peer is preferred as hub and root: it is the one that is killed.
        priority = 100 + at,
        data = toml_text(&folder.join("data").display().to_string()),
        door = multiaddr(proxy.door(at)),
        via = via.concat(),
        kind = overlay.kind(),
    )
}

/// A text as TOML writes it.
fn toml_text(text: &str) -> String {
    // JSON's escapes are among those of TOML's basic strings.
    Value::String(text.to_owned()).to_string()
}

/// The socket of `/ip4/127.0.0.1/tcp/4747`.
fn socket(multiaddr: &str) -> Option<SocketAddr> {
    let mut parts = multiaddr.split('/').skip(2);
    let (ip, tcp, port) = (parts.next()?, parts.next()?, parts.next()?);
    (tcp == "tcp").then_some(())?;
    Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_read_from_multiaddrs() {
        assert_eq!(socket("/ip4/127.0.0.1/tcp/81/p2p/x"), Some(SocketAddr::from(([127, 0, 0, 1], 81))));
        assert_eq!(socket("/ip4/127.0.0.1/udp/81"), None);
    }

    #[test]
    fn the_settings_of_a_peer_are_valid_and_lead_every_dial_through_the_proxy() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let proxy = Proxy::open(3, runtime.handle()).unwrap();
        let text = settings(1, 3, Policy::Tree { arity: 2 }, Path::new("/tmp/\"odd\""), &proxy);
        let config =
            oxigdal_ha::config::parse(Some((Path::new("peer.toml"), &text)), [], &oxigdal_ha::config::Flags::new());
        let config = config.unwrap();
        assert_eq!((config.network.dial_via.len(), config.node.priority), (2, 101));
        assert_eq!(config.cluster.overlay, Policy::Tree { arity: 2 });
        assert_eq!(config.node.data_dir, Path::new("/tmp/\"odd\"/data"));
    }
}
