//! Peers that send as much as they can: whatever it is, others are served.

use std::future::poll_fn;

use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt as _};
use libp2p::core::transport::{DialOpts, PortUse};
use libp2p::core::{Endpoint, Transport as _};
use tokio::time::sleep;

use super::*;

/// A frame for the node, with one byte in it.
const SMALL: &[u8] = b"\x02\0\0\0\0x";

/// Keeps a lane full until it is closed.
fn flood(mut lane: Stream, bytes: Vec<u8>) -> JoinHandle<()> {
    tokio::spawn(async move { while lane.write_all(&bytes).await.is_ok() && lane.flush().await.is_ok() {} })
}

#[tokio::test]
async fn a_flood_of_control_frames_is_held_back_and_then_shown_out_while_others_are_heard() {
    let limits = Limits {
        control_frames: Rate { per_second: 1_000, burst: 1_000 },
        flood: Duration::from_millis(1_500),
        ..Limits::default()
    };
    let mut victim = Victim::start(limits).await;
    let (mut attacker, mut honest) = (Attacker::dial(&victim).await, Attacker::dial(&victim).await);
    let (lanes, mut others) = (attacker.link().await, honest.link().await);
    let node = attacker.admission.node();
    let flooding = flood(lanes.control, SMALL.repeat(1_000));
    let speaking = tokio::spawn(async move {
        while others.control.write_all(b"\x02\0\0\0\0h").await.is_ok() && others.control.flush().await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    let (mut flooded, mut heard, mut found, began) = (0, 0, None, Instant::now());
    while found.is_none() {
        assert!(began.elapsed() < PATIENCE, "the flood is not shown out");
        match victim.next().await {
            NetworkEvent::Received { from, .. } if from == node => flooded += 1,
            NetworkEvent::Received { .. } => heard += 1,
            NetworkEvent::Fault { peer, fault } => found = Some((peer, fault)),
            NetworkEvent::Unlinked { why, .. } => panic!("{why}"),
            _ => {}
        }
    }
    let (peer, fault) = found.unwrap();
    assert!(peer == node && matches!(fault, Fault::Flood { lane: Lane::Control, ms: 1_500.. }), "{peer}: {fault:?}");
    assert!(heard > 10, "of the honest peer {heard} frames were heard beside {flooded} of the flood");
    let totals = victim.network.totals();
    assert_eq!((totals.floods, totals.faults), (1, 1));
    let told = &victim.network.not_linked()[0];
    assert!(told.node == Some(node) && told.why.contains("more on the control lane"), "{told:?}");
    // And it is not let in again at once.
    let again = Attacker::dial_as(&victim, attacker._dir, attacker.admission.clone()).await;
    let mut ends = again.ends;
    let Some(Negotiated::Outbound(_, mut stream)) = ends.streams.recv().await else { panic!("no admission lane") };
    let admitted = admit::request(&mut stream, &again.admission, again.key, Boot::new(1), 2).await;
    assert!(admitted.is_ok(), "it is a member");
    ends.gate.accept_lanes();
    ends.gate.open_lanes();
    let closed = async { while ends.streams.recv().await.is_some() {} };
    timeout(PATIENCE, closed).await.expect("the connection is closed");
    while let Ok(event) = victim.events.try_recv() {
        assert_ne!(event, NetworkEvent::Linked { peer: node });
    }
    flooding.abort();
    speaking.abort();
}

#[tokio::test]
async fn a_flood_of_tiny_pieces_on_the_sync_lane_is_held_back_and_the_peer_stays() {
    let limits = Limits { sync_pieces: Rate { per_second: 2_000, burst: 500 }, ..Limits::default() };
    let mut victim = Victim::start(limits).await;
    let mut attacker = Attacker::dial(&victim).await;
    let mut lanes = attacker.link().await;
    // Whole frames of one byte each.
    let flooding = flood(lanes.sync, b"\x06\0\0\0\0\x01\0\0\0s".repeat(500));
    let talking = tokio::spawn(async move {
        while lanes.control.write_all(SMALL).await.is_ok() && lanes.control.flush().await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    let (mut pieces, mut frames) = (0, 0);
    // The first read alone holds 1,638.
    while pieces < 5_000 {
        match victim.next().await {
            NetworkEvent::Received { lane: Lane::Sync, .. } => pieces += 1,
            NetworkEvent::Received { .. } => frames += 1,
            NetworkEvent::Fault { fault, .. } => panic!("{fault}"),
            _ => {}
        }
    }
    let link = &victim.network.links()[0];
    assert!(link.held_back_ms > 500 && frames > 10, "{frames} control frames beside it; {link:?}");
    flooding.abort();
    talking.abort();
}

/// A connection below the swarm, with which anything can be done.
async fn muxer(victim: &Victim) -> StreamMuxerBox {
    let mut transport = transport::sockets(&libp2p::identity::Keypair::generate_ed25519()).unwrap();
    let mut address = victim.address.clone();
    address.pop();
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    transport.dial(address, options).unwrap().await.unwrap().1
}

#[tokio::test]
async fn a_flood_of_substreams_ends_with_its_connection() {
    let mut victim = Victim::start(Limits::default()).await;
    let mut muxer = muxer(&victim).await;
    let mut held = Vec::new();
    let flood = async {
        loop {
            let opened = poll_fn(|cx| {
                if let std::task::Poll::Ready(Err(error)) = muxer.poll_unpin(cx) {
                    return std::task::Poll::Ready(Err(error));
                }
                muxer.poll_outbound_unpin(cx)
            });
            let Ok(mut stream) = opened.await else { return };
            // Begins to ask for a protocol, and never says which.
            if stream.write_all(b"\x13/multistream/1.0.0\n").await.is_err() || stream.flush().await.is_err() {
                return;
            }
            held.push(stream);
            assert!(held.len() < 100_000, "they must come to an end");
        }
    };
    timeout(PATIENCE, flood).await.expect("the connection ends");
    println!("{} substreams until the connection was closed", held.len());
    victim.still_serves().await;
}

#[tokio::test]
async fn without_memory_no_connection_is_accepted_and_each_is_counted() {
    let victim = Victim::start(Limits { memory_bytes: Some(1), ..Limits::default() }).await;
    let mut transport = transport::sockets(&libp2p::identity::Keypair::generate_ed25519()).unwrap();
    let mut address = victim.address.clone();
    address.pop();
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    assert!(timeout(PATIENCE, transport.dial(address, options).unwrap()).await.unwrap().is_err());
    assert_eq!(victim.network.totals().denied, 1);
}
