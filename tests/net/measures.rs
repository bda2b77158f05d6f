//! Figures, printed and not judged: what they are depends on the machine and the profile. Run them alone:
//! `cargo test --release --test net -- --ignored --nocapture --test-threads 1 measures`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use oxigdal_ha::driver::network::NetworkEvent;
use oxigdal_ha::types::Lane;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Peer, pair};

const ROUNDS: usize = 5_000;

/// Median, 90th and 99th of a hundred.
pub(crate) fn shown(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    format!("p50 {:?}, p90 {:?}, p99 {:?}", at(50), at(90), at(99))
}

/// All on one thread, so that no other has to be woken: what the code itself takes.
#[tokio::test]
#[ignore = "prints figures"]
pub(crate) async fn a_round_trip_on_the_control_lane_on_one_thread() {
    round_trips().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures"]
async fn a_round_trip_on_the_control_lane_on_two_threads() {
    round_trips().await;
}

async fn round_trips() {
    // The yardstick: 100 bytes and back over a bare socket.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    let echo = tokio::spawn(async move {
        let mut bytes = [0; 100];
        while far.read_exact(&mut bytes).await.is_ok() && far.write_all(&bytes).await.is_ok() {}
    });
    let (mut bytes, mut times) = ([0; 100], Vec::new());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        near.write_all(&bytes).await.unwrap();
        near.read_exact(&mut bytes).await.unwrap();
        times.push(began.elapsed());
    }
    echo.abort();
    println!("bare TCP, 100 B and back: {}", shown(times));

    let (mut a, mut b) = pair().await;
    let (network, to, from) = (b.network.clone(), a.node(), b.node());
    let echo = tokio::spawn(async move {
        while let Some(event) = b.events.recv().await {
            if let NetworkEvent::Received { frame, .. } = event {
                network.send(to, Lane::Control, frame);
            }
        }
    });
    let (frame, mut times) = (Bytes::from(vec![7; 100]), Vec::new());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        a.network.send(from, Lane::Control, frame.clone());
        a.received().await;
        times.push(began.elapsed());
    }
    echo.abort();
    println!("control lane, 100 B and back: {}", shown(times));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures"]
pub(crate) async fn from_dial_to_link() {
    let mut a = Peer::founder().await;
    let mut b = Peer::joiner(&a).await;
    let mut times = Vec::new();
    for _ in 0..200 {
        let began = Instant::now();
        b.dial(&a);
        // Both ends are admitted and all lanes are open.
        b.linked(a.node()).await;
        times.push(began.elapsed());
        a.linked(b.node()).await;
        b.network.close(a.node(), "next".into());
        b.unlinked(a.node()).await;
        a.unlinked(b.node()).await;
    }
    println!("from dial to link: {}", shown(times));
}
