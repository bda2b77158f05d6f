//! The network for real: peers in one process, over loopback sockets. Few tests, each bounded in time.
#![cfg(feature = "net")]
#![expect(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types, reason = "a test with real time")]

mod addresses;
mod floods;
mod harness;
mod issuers;
mod measures;
mod proxy;
#[cfg(feature = "quic")]
mod quic;
mod soak;
mod tickets;

use std::time::{Duration, Instant};

use bytes::Bytes;
use oxigdal_ha::config::Terms;
use oxigdal_ha::driver::admission::{Admission, Refusal};
use oxigdal_ha::driver::network::{JoinError, Limits, NetworkEvent, join};
use oxigdal_ha::types::{Address, Boot, Lane, NodeId};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use harness::{PATIENCE, Peer, eventually, pair, terms};
use proxy::{Proxy, Slow};

#[tokio::test]
async fn frames_cross_both_lanes_whole_and_in_order() {
    let (a, mut b) = pair().await;
    let long = Bytes::from((0..=255_u8).cycle().take(5_000_000).collect::<Vec<u8>>());
    for number in 0..100_u8 {
        a.network.send(b.node(), Lane::Control, Bytes::from(vec![number; 100]));
    }
    a.network.send(b.node(), Lane::Sync, long.clone());
    a.network.send(b.node(), Lane::Sync, Bytes::from_static(b"short"));
    let (mut control, mut sync) = (Vec::new(), Vec::new());
    while control.len() < 100 || sync.len() < 2 {
        match b.received().await {
            (Lane::Control, frame) => control.push(frame[0]),
            (Lane::Sync, frame) => sync.push(frame),
        }
    }
    assert_eq!(control, (0..100).collect::<Vec<u8>>());
    assert!(sync == vec![long, Bytes::from_static(b"short")]);
    let status = &b.network.links()[0];
    assert!(status.bytes_in > 5_000_000 && status.dialled && status.direct, "{status:?}");
}

#[tokio::test]
async fn a_clean_stop_is_told_and_what_waited_arrives() {
    let (a, mut b) = pair().await;
    for _ in 0..50 {
        a.network.send(b.node(), Lane::Sync, Bytes::from(vec![7; 100_000]));
    }
    let from = a.node();
    a.network.shutdown(PATIENCE).await;
    let mut frames = 0;
    let why = b
        .until(|event| match event {
            NetworkEvent::Received { .. } => {
                frames += 1;
                None
            }
            NetworkEvent::Unlinked { peer, why } if *peer == from => Some(why.to_string()),
            _ => None,
        })
        .await;
    assert_eq!((frames, why.as_str()), (50, "the peer said goodbye: the peer stops"));
}

#[tokio::test]
async fn simultaneous_dials_leave_one_link_a_hundred_times() {
    let mut a = Peer::founder().await;
    let mut b = Peer::joiner(&a).await;
    for round in 0..100 {
        // The other of the last round's two dials may still be on its way, and end while this round's begin.
        eventually("both have a link", || {
            a.dial(&b);
            b.dial(&a);
            (a.network.links().len(), b.network.links().len()) == (1, 1)
        })
        .await;
        a.network.close(b.node(), format!("round {round}").into());
        a.unlinked(b.node()).await;
        b.unlinked(a.node()).await;
    }
    println!("duplicates given up: {} and {}", a.network.totals().duplicates, b.network.totals().duplicates);
}

#[tokio::test]
async fn a_silent_cut_is_noticed_on_both_sides() {
    let mut a = Peer::founder().await;
    let mut b = Peer::joiner(&a).await;
    let proxy = Proxy::start(&a.address, None).await;
    b.network.dial(a.node(), vec![proxy.as_address()]);
    a.linked(b.node()).await;
    b.linked(a.node()).await;
    sleep(Duration::from_millis(100)).await;
    let began = Instant::now();
    proxy.go_silent();
    let (a_node, b_node) = (a.node(), b.node());
    let (at_a, at_b) = tokio::join!(a.unlinked(b_node), b.unlinked(a_node));
    assert!(at_a.contains("nothing received for") && at_b.contains("nothing received for"), "{at_a}; {at_b}");
    println!("silent cut noticed after {:?}", began.elapsed());
    assert!(began.elapsed() < Limits::default().watchdog + Duration::from_secs(4));
}

#[tokio::test]
async fn a_closed_connection_is_noticed_at_once() {
    let mut a = Peer::founder().await;
    let mut b = Peer::joiner(&a).await;
    let proxy = Proxy::start(&a.address, None).await;
    b.network.dial(a.node(), vec![proxy.as_address()]);
    a.linked(b.node()).await;
    b.linked(a.node()).await;
    let began = Instant::now();
    proxy.tasks.abort();
    let why = a.unlinked(b.node()).await;
    println!("closed connection noticed after {:?}: {why}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(1));
    b.unlinked(a.node()).await;
}

#[tokio::test]
async fn a_restarted_peer_is_a_new_link_without_waiting_for_the_watchdog() {
    let mut a = Peer::founder().await;
    let mut b = Peer::joiner(&a).await;
    let proxy = Proxy::start(&a.address, None).await;
    b.network.dial(a.node(), vec![proxy.as_address()]);
    a.linked(b.node()).await;
    b.linked(a.node()).await;
    proxy.go_silent();
    let admission = Admission::open(b.dir.path()).unwrap().unwrap();
    let again = tempfile::tempdir().unwrap();
    let mut reborn = Peer::start(again, admission, |setup| setup.boot = Boot::new(2)).await;
    let began = Instant::now();
    reborn.dial(&a);
    let why = a.unlinked(b.node()).await;
    assert_eq!(why, "closed here: the peer has restarted");
    a.linked(b.node()).await;
    reborn.linked(a.node()).await;
    println!("the next life was linked after {:?}", began.elapsed());
    assert!(began.elapsed() < Limits::default().watchdog);
    a.network.send(b.node(), Lane::Control, Bytes::from_static(b"hello again"));
    assert_eq!(reborn.received().await.1, Bytes::from_static(b"hello again"));
    drop(b);
}

#[tokio::test]
async fn an_invite_joins_once_and_each_refusal_says_why() {
    let a = Peer::founder().await;
    let other = Peer::founder().await;
    let invite = a.admission.issue_invite(Duration::from_secs(60), "kiosk").unwrap();
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let joined = join(one.path(), &invite, Terms::default(), PATIENCE).await.unwrap();
    assert_eq!((joined.cluster(), joined.is_issuer()), (a.admission.cluster(), false));
    // A unit file names its invite at every start.
    assert_eq!(join(one.path(), &invite, Terms::default(), PATIENCE).await.unwrap().node(), joined.node());
    let refused = join(two.path(), &invite, Terms::default(), PATIENCE).await.unwrap_err();
    assert_eq!(refused.to_string(), "the issuer refused: the invite was already used");
    let short = a.admission.issue_invite(Duration::from_secs(1), "late").unwrap();
    sleep(Duration::from_millis(1100)).await;
    let refused = join(two.path(), &short, Terms::default(), PATIENCE).await.unwrap_err();
    assert!(matches!(refused, JoinError::Refused(Refusal::InviteExpired { .. })), "{refused}");
    let revoked = a.admission.issue_invite(Duration::from_secs(60), "mistake").unwrap();
    a.admission.revoke_invite(revoked.id()).unwrap();
    let refused = join(two.path(), &revoked, Terms::default(), PATIENCE).await.unwrap_err();
    assert_eq!(refused.to_string(), "the issuer refused: the invite was revoked");
    let elsewhere = other.admission.issue_invite(Duration::from_secs(60), "other").unwrap();
    let refused = join(one.path(), &elsewhere, Terms::default(), PATIENCE).await.unwrap_err();
    assert!(refused.to_string().contains("belongs to cluster"), "{refused}");
    other.network.shutdown(PATIENCE).await;
    let unreachable = join(two.path(), &elsewhere, Terms::default(), Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(unreachable, JoinError::Unreachable { .. }), "{unreachable}");
    assert!(Admission::open(two.path()).unwrap().is_none());
}

#[tokio::test]
async fn members_whose_configurations_differ_are_not_linked_and_both_say_what_differs() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let admission = Admission::open_or_mint(dir.path()).unwrap();
    let mut a = Peer::start(dir, admission, |setup| setup.terms = terms("star")).await;
    let admission = a.admit(other.path()).await;
    let mut b = Peer::start(other, admission.clone(), |setup| setup.terms = terms("mesh")).await;
    b.dial(&a);
    let refused = |event: &NetworkEvent| match event {
        NetworkEvent::Refused { why, by_peer: false, again: false, .. } => Some(why.to_string()),
        NetworkEvent::Linked { .. } => panic!("they differ"),
        _ => None,
    };
    assert_eq!(a.until(refused).await, "the configurations differ: overlay: star here, mesh:8 there");
    assert_eq!(b.until(refused).await, "the configurations differ: overlay: mesh:8 here, star there");
    for (peer, other, name, differs) in [
        (&a, b.node(), "test", "overlay: star here, mesh:8 there"),
        (&b, a.node(), "founder", "overlay: mesh:8 here, star there"),
    ] {
        let told = &peer.network.not_linked()[0];
        assert_eq!((told.node, told.name.as_deref(), told.refused), (Some(other), Some(name), true), "{told:?}");
        assert_eq!(told.differs.to_string(), differs, "{told:?}");
    }
    // One of them is corrected and restarted.
    let b_dir = b.dir;
    b.network.shutdown(PATIENCE).await;
    let mut b = Peer::start(b_dir, admission, |setup| {
        (setup.terms, setup.boot) = (terms("star"), Boot::new(2));
    })
    .await;
    b.dial(&a);
    a.linked(b.node()).await;
    b.linked(a.node()).await;
    assert_eq!((a.network.not_linked(), b.network.not_linked()), (vec![], vec![]));
}

#[tokio::test]
async fn a_joiner_with_another_configuration_is_told_and_keeps_its_invite() {
    let dir = tempfile::tempdir().unwrap();
    let admission = Admission::open_or_mint(dir.path()).unwrap();
    let a = Peer::start(dir, admission, |setup| setup.terms = terms("star")).await;
    let (invite, joiner) =
        (a.admission.issue_invite(Duration::from_secs(60), "x").unwrap(), tempfile::tempdir().unwrap());
    let refused = join(joiner.path(), &invite, terms("tree"), PATIENCE).await.unwrap_err();
    let why = "the issuer refused: the configurations differ: overlay: tree:3 here, star there";
    assert_eq!(refused.to_string(), why);
    assert!(join(joiner.path(), &invite, terms("star"), PATIENCE).await.is_ok());
}

#[tokio::test]
async fn revocation_closes_connections_everywhere_and_for_good() {
    let mut a = Peer::founder().await;
    let mut b = Peer::joiner(&a).await;
    let mut c = Peer::joiner(&a).await;
    b.dial(&a);
    b.linked(a.node()).await;
    c.network.dial(a.node(), vec![a.address.clone()]);
    c.linked(a.node()).await;
    c.network.dial(b.node(), vec![b.address.clone()]);
    c.linked(b.node()).await;
    let began = Instant::now();
    a.admission.revoke(c.node()).unwrap();
    assert_eq!(a.unlinked(c.node()).await, "closed here: revoked");
    b.unlinked(c.node()).await;
    println!("revoked and disconnected everywhere after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(b.admission.revoked()[0].0, c.node());
    let mut gone = 0;
    c.until(|event| {
        gone += usize::from(matches!(event, NetworkEvent::Unlinked { .. }));
        (gone == 2).then_some(())
    })
    .await;
    c.network.dial(b.node(), vec![b.address.clone()]);
    let why = c
        .until(|event| match event {
            NetworkEvent::DialFailed { why, .. } => Some(why.to_string()),
            _ => None,
        })
        .await;
    assert_eq!(why, format!("the peer refused: node {} is revoked", c.node()));
    // A member that was away learns of it when it comes back.
    let mut late = Peer::joiner(&a).await;
    late.dial(&a);
    late.linked(a.node()).await;
    assert_eq!(late.admission.revoked().len(), 1);
}

#[tokio::test]
async fn bootstrap_addresses_are_tried_until_somebody_is_there() {
    let a = Peer::founder().await;
    let (dir, address) = (tempfile::tempdir().unwrap(), a.address.clone());
    let admission = a.admit(dir.path()).await;
    let (a_dir, a_admission) = (a.dir, a.admission);
    a.network.shutdown(PATIENCE).await;
    let at = address.as_str().split("/p2p/").next().unwrap();
    let bootstrap = at.parse().unwrap();
    let mut b = Peer::start(dir, admission, |setup| setup.bootstrap = vec![bootstrap]).await;
    sleep(Duration::from_millis(700)).await;
    let listen = at.parse().unwrap();
    let mut a = Peer::start(a_dir, a_admission, |setup| setup.listen = vec![listen]).await;
    b.linked(a.node()).await;
    a.linked(b.node()).await;
    // And again after the link was lost.
    b.network.close(a.node(), "test".into());
    b.unlinked(a.node()).await;
    b.linked(a.node()).await;
}

#[tokio::test]
async fn only_announced_addresses_are_advertised() {
    let dir = tempfile::tempdir().unwrap();
    let admission = Admission::open_or_mint(dir.path()).unwrap();
    let announced = "/ip4/127.0.0.1/tcp/4242";
    let mut a = Peer::start(dir, admission, |setup| setup.announce = vec![announced.parse().unwrap()]).await;
    assert_eq!(a.address.as_str(), format!("{announced}/p2p/{}", a.admission.peer_id()));
    let hidden = a.next().await;
    assert!(matches!(hidden, NetworkEvent::Listening { advertise: false, .. }), "{hidden:?}");
}

#[tokio::test]
async fn a_dial_that_fails_is_told_once() {
    let mut a = Peer::founder().await;
    let nowhere = NodeId::from_u128(7);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let address = Address::parse(&format!("/ip4/127.0.0.1/tcp/{}", closed.port())).unwrap();
    for addresses in [vec![address], vec![], vec![Address::parse("not an address").unwrap()], vec![a.address.clone()]] {
        a.network.dial(nowhere, addresses);
        let event = a.next().await;
        assert!(matches!(&event, NetworkEvent::DialFailed { peer, .. } if *peer == nowhere), "{event:?}");
    }
    assert!(timeout(Duration::from_millis(300), a.events.recv()).await.is_err(), "nothing more is told");
}

/// Round trips of small control frames, echoed by the other end; median and 99th of a hundred.
async fn round_trips(a: &mut Peer, b: NodeId) -> (Duration, Duration) {
    let mut times = Vec::new();
    for number in 0..100_u8 {
        let began = Instant::now();
        a.network.send(b, Lane::Control, Bytes::from(vec![number; 100]));
        loop {
            let (_, frame) = a.received().await;
            if frame[0] == number {
                break;
            }
        }
        times.push(began.elapsed());
        sleep(Duration::from_millis(10)).await;
    }
    times.sort();
    (times[50], times[98])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_frames_do_not_wait_behind_bulk() {
    let mut a = Peer::founder().await;
    let mut b = Peer::joiner(&a).await;
    // 20 Mbit/s and 10 ms, each way.
    let slow = Slow { rate: 2_500_000.0, delay: Duration::from_millis(10) };
    let proxy = Proxy::start(&b.address, Some(slow)).await;
    a.network.dial(b.node(), vec![proxy.as_address()]);
    a.linked(b.node()).await;
    b.linked(a.node()).await;
    let (to_a, b_network, b_node) = (a.node(), b.network.clone(), b.node());
    let echo = tokio::spawn(async move {
        let mut bulk = 0;
        while let Some(event) = b.events.recv().await {
            match event {
                NetworkEvent::Received { lane: Lane::Control, frame, .. } => b_network.send(to_a, Lane::Control, frame),
                NetworkEvent::Received { frame, .. } => bulk += frame.len(),
                NetworkEvent::Fault { .. } => break,
                _ => {}
            }
        }
        bulk
    });
    let idle = round_trips(&mut a, b_node).await;
    let network = a.network.clone();
    let flood = tokio::spawn(async move {
        loop {
            if network.links().first().is_some_and(|link| link.sync_waiting_bytes < 4 << 20) {
                network.send(b_node, Lane::Sync, Bytes::from(vec![7; 1 << 20]));
            }
            sleep(Duration::from_millis(5)).await;
        }
    });
    sleep(Duration::from_secs(1)).await;
    let before = (a.network.links()[0].bytes_out, Instant::now());
    let busy = round_trips(&mut a, b_node).await;
    let link = &a.network.links()[0];
    let rate = (link.bytes_out - before.0) as f64 / before.1.elapsed().as_secs_f64() / 1e6;
    println!(
        "control round trip, 20 Mbit/s and 20 ms: idle {idle:?}, under bulk {busy:?}, bulk {rate:.2} MB/s, window {}",
        link.window_bytes
    );
    flood.abort();
    assert!(busy.0 < idle.0 + Duration::from_millis(80), "idle {idle:?}, under bulk {busy:?}");
    echo.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mesh_of_eight_connects_every_pair_once() {
    let founder = Peer::founder().await;
    let mut peers = vec![founder];
    for _ in 0..7 {
        let joiner = Peer::joiner(&peers[0]).await;
        peers.push(joiner);
    }
    for a in &peers {
        for b in peers.iter().filter(|b| b.node() != a.node()) {
            a.dial(b);
        }
    }
    for peer in &mut peers {
        for _ in 0..7 {
            peer.until(|event| matches!(event, NetworkEvent::Linked { .. }).then_some(())).await;
        }
    }
    // The losing connections of simultaneous dials are gone after their grace, and no link with them.
    sleep(Duration::from_millis(1500)).await;
    for peer in &mut peers {
        assert_eq!(peer.network.links().len(), 7);
        while let Ok(event) = peer.events.try_recv() {
            assert!(!matches!(event, NetworkEvent::Unlinked { .. } | NetworkEvent::Linked { .. }), "{event:?}");
        }
    }
}
