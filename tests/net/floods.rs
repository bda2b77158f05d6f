//! Ten thousand handshakes by a stranger, and what members notice of it. Printed and not judged; run it alone:
//! `cargo test --test net -- --ignored --nocapture --test-threads 1 floods`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use libp2p::core::transport::{DialOpts, PortUse};
use libp2p::core::upgrade::Version;
use libp2p::core::{Endpoint, Transport as _};
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, noise, tcp, yamux};
use oxigdal_ha::driver::admission::Admission;
use oxigdal_ha::driver::network::{Limits, NetworkEvent};
use oxigdal_ha::types::{Lane, NodeId};
use tokio::time::sleep;

use crate::harness::Peer;
use crate::measures::shown;

const HANDSHAKES: u64 = 10_000;
/// At once.
const SIDE_BY_SIDE: u64 = 64;

/// How many of them came through.
async fn handshakes(to: Multiaddr, next: Arc<AtomicU64>) -> u64 {
    let mut done = 0;
    while next.fetch_add(1, Ordering::Relaxed) < HANDSHAKES {
        let key = Keypair::generate_ed25519();
        let mut transport = tcp::tokio::Transport::new(tcp::Config::default())
            .upgrade(Version::V1Lazy)
            .authenticate(noise::Config::new(&key).unwrap())
            .multiplex(yamux::Config::default());
        let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        done += u64::from(transport.dial(to.clone(), options).unwrap().await.is_ok());
    }
    done
}

async fn members_beside_a_flood(rate_limit_loopback: bool) {
    let limits = Limits { rate_limit_loopback, ..Limits::default() };
    let dir = tempfile::tempdir().unwrap();
    let admission = Admission::open_or_mint(dir.path()).unwrap();
    let mut a = Peer::start(dir, admission, |setup| setup.limits = limits).await;
    let mut b = Peer::joiner(&a).await;
    b.dial(&a);
    a.linked(b.node()).await;
    b.linked(a.node()).await;
    let (network, to, node) = (a.network.clone(), b.node(), a.node());
    let (address, seen) =
        (a.address.as_str().split("/p2p/").next().unwrap().parse::<Multiaddr>().unwrap(), a.network.clone());
    let echo = tokio::spawn(async move {
        while let Some(event) = a.events.recv().await {
            if let NetworkEvent::Received { frame, .. } = event {
                network.send(to, Lane::Control, frame);
            }
        }
    });
    println!("members' round trip, idle: {}", shown(round_trips(&mut b, node, 500).await));
    let (began, next) = (Instant::now(), Arc::<AtomicU64>::default());
    let counter = Arc::clone(&next);
    // Stranger and members share nothing but the machine.
    let stranger = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let flood = (0..SIDE_BY_SIDE).map(|_| handshakes(address.clone(), Arc::clone(&counter)));
            futures::future::join_all(flood).await.iter().sum::<u64>()
        })
    });
    let mut times = Vec::new();
    while !stranger.is_finished() {
        times.extend(round_trips(&mut b, node, 20).await);
    }
    let done = stranger.join().unwrap();
    println!(
        "members' round trip beside {HANDSHAKES} handshakes in {:?}, of which {done} came through: {}",
        began.elapsed(),
        shown(times)
    );
    println!("{:?}", seen.totals());
    echo.abort();
}

async fn round_trips(peer: &mut Peer, to: NodeId, count: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..count {
        let began = Instant::now();
        peer.network.send(to, Lane::Control, Bytes::from(vec![7; 100]));
        peer.received().await;
        times.push(began.elapsed());
        sleep(Duration::from_millis(1)).await;
    }
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures"]
async fn ten_thousand_handshakes_from_one_address() {
    members_beside_a_flood(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures"]
async fn ten_thousand_handshakes_without_the_limit_of_an_address() {
    members_beside_a_flood(false).await;
}
