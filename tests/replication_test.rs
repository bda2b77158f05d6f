//! Real peers in one process: real sockets on loopback, real logs on disk, the whole node between them.
//!
//! Every test starts its own mesh in its own directories and ends within [`LIMIT`].

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use oxigdal_ha::config::{self, Config, Flags};
use oxigdal_ha::documents::{self, Edit};
use oxigdal_ha::driver::{Host, Peer, Report, Stop};
use oxigdal_ha::membership::State;
use oxigdal_ha::node::{Command, Outcome, ReplicaNode};
use oxigdal_ha::replication::{Ack, Pause, ReplicationState};
use oxigdal_ha::types::DocId;
use oxigdal_ha::{Error, ErrorKind};
use serde_json::{Value, json};

/// Longest life of one test.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs one test on a runtime of its own, bounded in time.
fn bounded(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(LIMIT, test).await.expect("the test took too long") });
    // A merge worker that is still at a task must not hold the test up.
    runtime.shutdown_background();
}

fn config(dir: &Path, name: &str, join: Option<&str>) -> Config {
    let flags = Flags::new()
        .set("test", "node.name", name)
        .set("test", "node.data-dir", dir.to_str().unwrap())
        .set("test", "api.listen", "")
        .set("test", "membership.profile", "local")
        .list("test", "network.listen", ["127.0.0.1:0"])
        .list("test", "network.join", join);
    config::parse(None, [], &flags).unwrap()
}

fn id(text: &str) -> DocId {
    DocId::parse(text).unwrap()
}

fn set(path: &str, value: Value) -> Edit {
    Edit::Set { path: path.to_owned(), value }
}

/// A mesh of `count` peers: the first founds it, the others come by invite.
struct Mesh {
    _home: tempfile::TempDir,
    dirs: Vec<PathBuf>,
    peers: Vec<Peer>,
}

impl Mesh {
    async fn of(count: usize) -> Self {
        let home = tempfile::tempdir().unwrap();
        let dirs: Vec<_> = (0..count).map(|at| home.path().join(format!("peer-{at}"))).collect();
        let founder = Peer::start(config(&dirs[0], "peer-0", None)).await.unwrap();
        until("the founder listens", || async { !founder.listening().is_empty() }).await;
        let mut peers = vec![founder];
        for (at, dir) in dirs.iter().enumerate().skip(1) {
            let invite = peers[0].admission().issue_invite(LIMIT, "a test").unwrap().to_string();
            peers.push(Peer::start(config(dir, &format!("peer-{at}"), Some(&invite))).await.unwrap());
        }
        let mesh = Self { _home: home, dirs, peers };
        mesh.whole().await;
        mesh
    }

    /// Waits until everybody sees everybody alive and linked.
    async fn whole(&self) {
        let count = self.peers.len();
        for peer in &self.peers {
            until("everybody is linked with everybody", || async {
                let members = report(peer).await.node.members;
                let linked = members.iter().filter(|member| member.state == State::Alive && member.linked).count();
                linked == count - 1
            })
            .await;
        }
    }

    /// Waits until every peer holds the same, and gives that.
    async fn agreed(&self, documents: usize) -> Report {
        until("every peer holds the same", || async {
            let mut reports = Vec::new();
            for peer in &self.peers {
                reports.push(report(peer).await.node);
            }
            reports.iter().all(|node| {
                node.documents == documents && (node.content, node.vector) == (reports[0].content, reports[0].vector)
            })
        })
        .await;
        report(&self.peers[0]).await
    }

    async fn end(self) {
        for peer in self.peers {
            assert_eq!(peer.shutdown(Duration::from_secs(5)).await, Stop::Left);
        }
    }
}

async fn report(peer: &Peer) -> Report {
    peer.status().await.unwrap()
}

async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

#[test]
fn an_edit_on_one_peer_is_read_on_the_other() {
    bounded(async {
        let mesh = Mesh::of(2).await;
        let edited = mesh.peers[0].put(id("layers/countries/FJI"), json!({"name": "Fiji"})).await.unwrap();
        assert!(matches!(edited, documents::Outcome::Edited { stamp: Some(_), .. }), "{edited:?}");
        until("the edit arrives", || async {
            mesh.peers[1].get(id("layers/countries/FJI")).await.is_ok_and(|value| value == json!({"name": "Fiji"}))
        })
        .await;
        mesh.agreed(1).await;
        mesh.end().await;
    });
}

#[test]
fn concurrent_edits_of_three_peers_converge_and_none_is_lost() {
    bounded(async {
        let mesh = Mesh::of(3).await;
        mesh.peers[0].put(id("shared"), json!({"by": {}})).await.unwrap();
        mesh.agreed(1).await;
        let writers = mesh.peers.iter().enumerate().map(|(at, peer)| {
            let peer = peer.clone();
            tokio::spawn(async move {
                for nth in 0..20 {
                    peer.edit(id("shared"), vec![set(&format!("by/{at}-{nth}"), json!(nth))]).await.unwrap();
                    peer.put(id(&format!("own/{at}/{nth}")), json!({"at": at, "nth": nth})).await.unwrap();
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        mesh.agreed(61).await;
        for peer in &mesh.peers {
            let shared = peer.get(id("shared")).await.unwrap();
            assert_eq!(shared["by"].as_object().unwrap().len(), 60, "{shared}");
            assert_eq!(peer.get(id("own/2/19")).await.unwrap(), json!({"at": 2, "nth": 19}));
        }
        mesh.end().await;
    });
}

#[test]
fn a_restart_keeps_what_was_acknowledged_and_finds_the_mesh_again() {
    bounded(async {
        let mut mesh = Mesh::of(3).await;
        for nth in 0..10 {
            mesh.peers[2].put(id(&format!("kept/{nth}")), json!({"nth": nth})).await.unwrap();
        }
        let halted = mesh.peers.pop().unwrap();
        assert_eq!(halted.halt().await, Stop::Halted);
        mesh.peers[0].put(id("meanwhile"), json!({})).await.unwrap();
        // Nobody is named to join: it remembers whom it met.
        let back = Peer::start(config(&mesh.dirs[2], "peer-2", None)).await.unwrap();
        for nth in 0..10 {
            assert_eq!(back.get(id(&format!("kept/{nth}"))).await.unwrap(), json!({"nth": nth}));
        }
        mesh.peers.push(back);
        mesh.agreed(11).await;
        mesh.end().await;
    });
}

#[test]
fn a_second_peer_on_the_same_directory_is_refused_and_the_first_goes_on() {
    bounded(async {
        let mesh = Mesh::of(1).await;
        let refused = Peer::start(config(&mesh.dirs[0], "other", None)).await.map_err(Error::from).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InUse, "{refused}");
        assert!(refused.to_string().contains(mesh.dirs[0].to_str().unwrap()), "{refused}");
        mesh.peers[0].put(id("a"), json!({})).await.unwrap();
        mesh.end().await;
    });
}

#[test]
fn a_peer_without_a_ticket_of_the_mesh_gets_nothing() {
    bounded(async {
        let mesh = Mesh::of(1).await;
        let home = tempfile::tempdir().unwrap();
        let address = mesh.peers[0].listening()[0].to_string();
        let refused =
            Peer::start(config(home.path(), "stranger", Some(&address))).await.map_err(Error::from).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotAdmitted, "an address alone lets nobody in: {refused}");
        // It founds a mesh of its own, and knocks as a member of that.
        Peer::start(config(home.path(), "stranger", None)).await.unwrap().shutdown(Duration::from_secs(5)).await;
        let stranger = Peer::start(config(home.path(), "stranger", Some(&address))).await.unwrap();
        mesh.peers[0].put(id("secret"), json!({})).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let seen = report(&stranger).await.node;
        assert_eq!((seen.members.len(), seen.documents), (1, 0), "it sees nobody else");
        assert_eq!(report(&mesh.peers[0]).await.node.members.len(), 1);
        stranger.shutdown(Duration::from_secs(5)).await;
        mesh.end().await;
    });
}

#[test]
fn an_invite_is_good_once() {
    bounded(async {
        let mesh = Mesh::of(1).await;
        let invite = mesh.peers[0].admission().issue_invite(LIMIT, "once").unwrap().to_string();
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let joined = Peer::start(config(first.path(), "first", Some(&invite))).await.unwrap();
        let refused =
            Peer::start(config(second.path(), "second", Some(&invite))).await.map_err(Error::from).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotAdmitted, "{refused}");
        joined.shutdown(Duration::from_secs(5)).await;
        mesh.end().await;
    });
}

/// Makes one document of `parts` texts of 256 KiB on a peer alone, lets a second peer join and merge it, and gives the
/// second peer's report.
async fn large_merge(parts: usize) -> Report {
    let mut mesh = Mesh::of(1).await;
    let text = |nth: usize| format!("{nth:08}").repeat(32 << 10);
    mesh.peers[0].put(id("large"), json!({})).await.unwrap();
    for nth in 0..parts {
        mesh.peers[0].edit(id("large"), vec![set(&format!("parts/{nth}"), json!(text(nth)))]).await.unwrap();
    }
    let invite = mesh.peers[0].admission().issue_invite(LIMIT, "late").unwrap().to_string();
    let home = tempfile::tempdir().unwrap();
    mesh.peers.push(Peer::start(config(home.path(), "late", Some(&invite))).await.unwrap());
    mesh.agreed(1).await;
    let last = mesh.peers[1].get(id("large")).await.unwrap();
    assert_eq!(last["parts"].as_object().unwrap().len(), parts);
    let merged = report(&mesh.peers[1]).await;
    mesh.end().await;
    merged
}

/// Has a peer merge `parts` quarter mebibytes, and says what that took.
fn merged(parts: usize) -> Host {
    let told = Arc::new(OnceLock::new());
    let tell = Arc::clone(&told);
    bounded(async move {
        let Report { node, host, .. } = large_merge(parts).await;
        println!(
            "{parts} parts: lag {} us, turn {} us, task {} us",
            host.lag_max_us, host.turn_max_us, host.task_max_us
        );
        assert!(node.members.iter().all(|member| member.state == State::Alive), "{:?}", node.members);
        tell.set(host).unwrap();
    });
    told.get().unwrap().clone()
}

#[test]
fn a_large_document_is_merged_by_a_worker() {
    // How long anything took is the machine's matter: the next test measures it.
    let host = merged(64);
    assert!(host.task_max_us > 0 && host.task_panics == 0, "{host:?}");
}

#[test]
#[ignore = "writes 300 MB, and measures times: run it on a quiet machine"]
fn merging_a_document_of_100_mb_delays_no_heartbeat_beyond_its_period() {
    let host = merged(400);
    // The profile `local` probes every 500 ms: a timer later than that would have missed one.
    assert!(host.lag_max_us < 500_000, "a timer was {} us late", host.lag_max_us);
    // What a worker is at is not what the loop is at. With less to merge, the scheduler's noise would hide the difference.
    assert!(host.turn_max_us < host.task_max_us, "a turn took {} us, a task {} us", host.turn_max_us, host.task_max_us);
}

async fn replica(peer: &Peer) -> ReplicaNode {
    match peer.command(Command::Replicas).await.unwrap() {
        Outcome::Replicas(replicas) => replicas.replicas[0].clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_paused_replica_lags_and_catches_up() {
    bounded(async {
        let mesh = Mesh::of(2).await;
        let peer = mesh.peers[1].id();
        mesh.peers[0].put(id("before"), json!({})).await.unwrap();
        mesh.agreed(1).await;
        let pause = |paused| mesh.peers[0].command(Command::Pause(Pause { peer, paused }));
        let Outcome::Paused(paused) = pause(true).await.unwrap() else { panic!() };
        assert_eq!((paused.paused, paused.neighbor, paused.cut_off), (true, true, vec![peer]));
        mesh.peers[0].put(id("meanwhile"), json!({})).await.unwrap();
        let replica_of = replica(&mesh.peers[0]).await;
        assert_eq!((replica_of.state, replica_of.lag.changes), (ReplicationState::Paused, 1), "{replica_of:?}");
        assert_eq!(report(&mesh.peers[0]).await.node.paused, [peer]);
        until("it knows by whom", || async { report(&mesh.peers[1]).await.node.paused_by == [mesh.peers[0].id()] })
            .await;
        assert_eq!(report(&mesh.peers[1]).await.node.documents, 1);
        pause(false).await.unwrap();
        mesh.agreed(2).await;
        until("nothing lags", || async { replica(&mesh.peers[0]).await.lag.changes == 0 }).await;
        mesh.end().await;
    });
}

#[test]
fn an_edit_is_acknowledged_when_another_disk_holds_it() {
    bounded(async {
        let mesh = Mesh::of(3).await;
        let edit = |text: &str| {
            let edits = vec![Edit::Put { value: json!({}) }];
            Command::Documents(documents::Command::Edit { doc: id(text), edits, create: false })
        };
        let two = "2".parse().unwrap();
        let (_, copies) = mesh.peers[0].write(edit("copied"), two).await.unwrap();
        assert_eq!(copies.unwrap().members.len(), 2);
        let (_, copies) = mesh.peers[1].write(edit("everywhere"), Ack::All).await.unwrap();
        assert_eq!(copies.unwrap().members.len(), 2);
        let refused = mesh.peers[0].write(edit("too much"), "9".parse().unwrap()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotReplicated, "{refused}");
        assert!(refused.to_string().contains("on 2 other members only, not on 9"), "{refused}");
        mesh.agreed(3).await;
        mesh.end().await;
    });
}

#[test]
fn unknown_keys_of_the_configuration_are_refused() {
    let text = "[node]\nname = 'a'\n[replication]\nbatch-sise = 5\n";
    let refused =
        config::parse(Some((Path::new("mesh.toml"), text)), [], &Flags::new()).map_err(Error::from).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
    assert_eq!(
        refused.to_string(),
        "mesh.toml:4: there is no key `replication.batch-sise`; did you mean `replication.batch-size`?"
    );
}
