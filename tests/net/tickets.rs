//! Papers on a living mesh: tickets are renewed and a member is revoked while everybody is busy. Days pass on a clock that the
//! test advances.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use oxigdal_ha::config::Terms;
use oxigdal_ha::driver::Clock;
use oxigdal_ha::driver::admission::{Admission, RootKey, Standing};
use oxigdal_ha::driver::network::{Limits, NetworkEvent, NetworkHandle, join};
use oxigdal_ha::types::{Address, Lane, NodeId};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::harness::{PATIENCE, Peer, eventually};

const DAY: Duration = Duration::from_hours(24);

/// A peer that is always sending to all it is linked with.
struct Busy {
    _dir: TempDir,
    admission: Admission,
    network: NetworkHandle,
    address: Address,
    received: Arc<AtomicU64>,
    /// All that was told besides frames and addresses.
    told: Arc<Mutex<Vec<NetworkEvent>>>,
    tasks: [JoinHandle<()>; 2],
}

impl Busy {
    fn of(peer: Peer) -> Self {
        let Peer { dir, admission, network, mut events, address } = peer;
        let (received, told) = (Arc::<AtomicU64>::default(), Arc::<Mutex<Vec<NetworkEvent>>>::default());
        let (counted, kept) = (Arc::clone(&received), Arc::clone(&told));
        let hear = tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                match event {
                    NetworkEvent::Received { .. } => _ = counted.fetch_add(1, Ordering::Relaxed),
                    NetworkEvent::Listening { .. } => {}
                    event => kept.lock().unwrap().push(event),
                }
            }
        });
        let sender = network.clone();
        let speak = tokio::spawn(async move {
            let (small, large) = (Bytes::from(vec![7; 200]), Bytes::from(vec![7; 100_000]));
            loop {
                for link in sender.links() {
                    sender.send(link.node, Lane::Control, small.clone());
                    if link.sync_waiting_bytes < 200_000 {
                        sender.send(link.node, Lane::Sync, large.clone());
                    }
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
        Self { _dir: dir, admission, network, address, received, told, tasks: [hear, speak] }
    }

    fn node(&self) -> NodeId {
        self.admission.node()
    }

    fn links(&self) -> usize {
        self.network.links().len()
    }

    /// With whom the link was lost, and why.
    fn lost(&self) -> Vec<(NodeId, String)> {
        let told = self.told.lock().unwrap();
        let lost = told.iter().filter_map(|event| match event {
            NetworkEvent::Unlinked { peer, why } => Some((*peer, why.to_string())),
            _ => None,
        });
        lost.collect()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// A whole mesh of so many, all linked with all.
async fn mesh(clock: &Clock, size: usize) -> (Vec<Busy>, RootKey, TempDir) {
    let limits = Limits {
        renewal_look: Duration::from_millis(100),
        renewal_pause: Duration::from_millis(50),
        ..Limits::default()
    };
    let (dir, drawer) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let admission = Admission::open_or_mint_at(dir.path(), clock.clone()).unwrap();
    let (root, _) = RootKey::move_to(&dir.path().join("root.key"), drawer.path()).unwrap();
    let start =
        async |dir, admission| Busy::of(Peer::start(dir, admission, |setup| setup.limits = limits.clone()).await);
    let mut peers = vec![start(dir, admission).await];
    for _ in 1..size {
        let (dir, invite) = (tempfile::tempdir().unwrap(), peers[0].admission.issue_invite(DAY, "busy").unwrap());
        drop(join(dir.path(), &invite, Terms::default(), PATIENCE).await.unwrap());
        let admission = Admission::open_at(dir.path(), clock.clone()).unwrap().unwrap();
        let peer = start(dir, admission).await;
        peers.iter().for_each(|other| peer.network.dial(other.node(), vec![other.address.clone()]));
        peers.push(peer);
    }
    eventually("all are linked with all", || peers.iter().all(|peer| peer.links() == size - 1)).await;
    (peers, root, drawer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_are_renewed_again_and_again_under_load_and_no_link_is_lost() {
    let clock = Clock::start();
    let (peers, root, _drawer) = mesh(&clock, 5).await;
    let request = peers[1].admission.request_office().unwrap();
    peers[1].admission.install(root.sign_at(&request, 60 * DAY, &clock).unwrap()).unwrap();
    for round in 0..6 {
        let before: Vec<_> =
            peers.iter().map(|peer| (peer.admission.expires_at(), peer.received.load(Ordering::Relaxed))).collect();
        clock.advance(4 * DAY);
        eventually("all tickets are renewed, and frames go on", || {
            peers.iter().zip(&before).all(|(peer, (expired_at, received))| {
                peer.admission.expires_at() > *expired_at && peer.received.load(Ordering::Relaxed) > received + 20
            })
        })
        .await;
        for peer in &peers {
            assert_eq!(peer.admission.papers().standing, Standing::Good, "round {round}");
        }
    }
    for peer in &peers {
        assert_eq!((peer.lost(), peer.links()), (vec![], 4));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_member_loses_all_its_links_at_once_and_nobody_else_any() {
    let clock = Clock::start();
    let (mut peers, ..) = mesh(&clock, 10).await;
    let gone = peers.pop().unwrap();
    let began = Instant::now();
    peers[0].admission.revoke(gone.node()).unwrap();
    eventually("it has no link any more", || {
        gone.links() == 0 && peers.iter().all(|peer| peer.network.links().iter().all(|link| link.node != gone.node()))
    })
    .await;
    println!("revoked, and no connection to it anywhere, after {:?}", began.elapsed());
    eventually("all have been told", || peers.iter().all(|peer| !peer.lost().is_empty())).await;
    // It is refused by each, and not dialled by any.
    gone.told.lock().unwrap().clear();
    for peer in &peers {
        gone.network.dial(peer.node(), vec![peer.address.clone()]);
        peer.network.dial(gone.node(), vec![gone.address.clone()]);
    }
    let refused = format!("the peer refused: node {} is revoked", gone.node());
    let failures = |peer: &Busy| -> Vec<String> {
        let told = peer.told.lock().unwrap();
        let failed = told.iter().filter_map(|event| match event {
            NetworkEvent::DialFailed { why, .. } => Some(why.to_string()),
            _ => None,
        });
        failed.collect()
    };
    eventually("each has refused it", || failures(&gone).len() == peers.len()).await;
    assert!(failures(&gone).iter().all(|why| *why == refused || *why == "it is revoked"), "{:?}", failures(&gone));
    assert!(peers.iter().all(|peer| failures(peer) == ["it is revoked"]));
    for peer in &peers {
        let lost: Vec<NodeId> = peer.lost().iter().map(|(node, _)| *node).collect();
        assert_eq!((lost, peer.links()), (vec![gone.node()], 8));
    }
}
