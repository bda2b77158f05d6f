//! Peers of one process, with sockets and logs of their own, who replay a trace.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use oxigdal_ha::ErrorKind;
use oxigdal_ha::config::{self, Config, Flags};
use oxigdal_ha::documents;
use oxigdal_ha::driver::Peer;
use oxigdal_ha::node::{Command, Outcome};
use tokio::sync::watch;

use crate::replay::{Step, Trace};

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked whether something has arrived.
const LOOK: Duration = Duration::from_millis(2);

/// What the steps made, as far as they are done.
type Made = watch::Receiver<Vec<Option<Version>>>;

/// The heads of a version of a document.
type Version = BTreeSet<[u8; 32]>;

pub(crate) fn replay(overlay: &str, trace: &Trace) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(replayed(overlay, trace));
    runtime.shutdown_background();
}

async fn replayed(overlay: &str, trace: &Trace) {
    let home = tempfile::tempdir().unwrap();
    // At least three, so that what one writes reaches another over somebody else in a star and a tree.
    let count = trace.writers.max(3);
    let mut peers = Vec::new();
    for at in 0..count {
        let invite = peers.first().map(issued);
        let dir = home.path().join(format!("peer-{at}"));
        peers.push(Peer::start(config(&dir, overlay, invite.as_deref())).await.unwrap());
        until("it listens", || async { !peers[at].listening().is_empty() }).await;
    }
    until("everybody sees everybody", || async {
        let mut seen = 0;
        for peer in &peers {
            seen += usize::from(peer.status().await.unwrap().node.members.iter().filter(|one| one.linked).count() > 0);
        }
        seen == peers.len()
    })
    .await;
    let began = Instant::now();
    let (told, made) = watch::channel(vec![None; trace.steps.len()]);
    let (told, mut writers) = (Arc::new(told), Vec::new());
    // The first peer is only the hub, unless all are needed.
    for (writer, peer) in peers.iter().rev().enumerate().take(trace.writers) {
        let work = trace.steps.iter().enumerate().filter(move |(_, step)| step.writer == writer);
        writers.push(write(peer.clone(), work.collect(), Arc::clone(&told), made.clone()));
    }
    futures::future::join_all(writers).await;
    let wrote = began.elapsed();
    until("all hold the same", || async {
        let mut stands = Vec::new();
        for peer in &peers {
            let node = peer.status().await.unwrap().node;
            stands.push((node.vector, node.content, node.orphans, node.refused));
        }
        stands.iter().all(|stand| *stand == stands[0] && (stand.2, stand.3) == (0, 0))
    })
    .await;
    for (doc, value) in &trace.end {
        for peer in &peers {
            assert_eq!(peer.get(doc.clone()).await.unwrap(), *value, "{doc}");
        }
    }
    println!(
        "{overlay}: {} changes by {} writers at {count} peers in {wrote:.2?}, {} documents as they were; all the same after {:.2?}",
        trace.steps.len(),
        trace.writers,
        trace.end.len(),
        began.elapsed(),
    );
    for peer in peers {
        peer.shutdown(Duration::from_secs(5)).await;
    }
}

/// Makes one writer's edits, each on its version, as soon as that has arrived.
async fn write(peer: Peer, work: Vec<(usize, &Step)>, told: Arc<watch::Sender<Vec<Option<Version>>>>, mut made: Made) {
    for (at, step) in work {
        let known = made.wait_for(|made| step.after.iter().all(|before| made[*before].is_some()));
        let version: Version = {
            let made = tokio::time::timeout(PATIENCE, known).await.expect("others make what it waits for").unwrap();
            step.after.iter().flat_map(|before| made[*before].clone().unwrap()).collect()
        };
        let began = Instant::now();
        let change = loop {
            let (doc, edits) = (step.doc.clone(), step.edits.clone());
            let command = documents::Command::EditAt { doc, edits, heads: version.iter().copied().collect() };
            match peer.command(Command::Documents(command)).await {
                Ok(Outcome::Documents(documents::Outcome::Edited { change, .. })) => break change,
                Err(error) if error.kind() == ErrorKind::Unseen && began.elapsed() < PATIENCE => {
                    tokio::time::sleep(LOOK).await;
                }
                other => panic!("step {at} on {}: {other:?}", step.doc),
            }
        };
        // Where nothing differed nothing was written: the version stays what it was.
        let version = change.map_or(version, |change| Version::from([hash(&change)]));
        assert!(!version.is_empty(), "step {at} on {} wrote nothing on no version", step.doc);
        told.send_modify(|made| made[at] = Some(version));
    }
}

fn hash(hex: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
    }
    hash
}

fn issued(peer: &Peer) -> String {
    peer.admission().issue_invite(PATIENCE, "a test").unwrap().to_string()
}

fn config(dir: &Path, overlay: &str, join: Option<&str>) -> Config {
    let flags = Flags::new()
        .set("test", "node.data-dir", dir.to_str().unwrap())
        .set("test", "api.listen", "")
        .set("test", "overlay.kind", overlay)
        .set("test", "membership.profile", "local")
        .list("test", "network.listen", ["127.0.0.1:0"])
        .list("test", "network.join", join);
    config::parse(None, [], &flags).unwrap()
}

async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}
