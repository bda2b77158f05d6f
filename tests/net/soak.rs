//! Bulk both ways without a pause. Yamux can lock up for good then (rust-yamux issue 227: both sides are full in the
//! direction in which they send, and wait to send the answer to a ping). The credit window keeps both sides from being full
//! where the sockets' buffers are larger than the window; where they are not, a connection locks up now and then. The watchdog
//! ends it, and the peers link again and go on.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use oxigdal_ha::driver::admission::Admission;
use oxigdal_ha::driver::network::{Limits, NetworkEvent};
use oxigdal_ha::types::{Address, Lane, NodeId};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::harness::{PATIENCE, Peer};
use crate::proxy::Proxy;

/// For how many seconds the longest test runs, if not for ten minutes.
const SECONDS: &str = "OXIGDAL_HA_TEST_BULK_S";
/// Set for the run inside the namespace: for how many seconds.
const INSIDE: &str = "OXIGDAL_HA_TEST_SOAK_S";
/// Socket buffers of 8 KiB at most, which the kernel doubles for its own accounts.
const TINY: &str = "ip link set lo up && sysctl -qw net.ipv4.tcp_wmem='4096 8192 8192' net.ipv4.tcp_rmem='4096 8192 8192' && exec \"$0\" \"$@\"";

/// Runs this very test in a network namespace of its own, where the sizes of buffers are its own too.
fn in_namespace(test: &str, seconds: u64) {
    let possible = Command::new("unshare").args(["-n", "true"]).output().is_ok_and(|output| output.status.success());
    if !possible {
        println!("skipped: a network namespace needs root and `unshare`");
        return;
    }
    let mut inside = Command::new("unshare");
    inside.args(["-n", "sh", "-c", TINY]).arg(std::env::current_exe().unwrap());
    inside.args(["--exact", test, "--nocapture", "--include-ignored"]).env(INSIDE, seconds.to_string());
    let output = inside.output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn bulk_both_ways_through_tiny_buffers_never_stalls_for_ever() {
    soak("soak::bulk_both_ways_through_tiny_buffers_never_stalls_for_ever", 5);
}

#[test]
#[ignore = "takes a minute and a half: Yamux sends its pings every ten seconds"]
fn bulk_both_ways_through_tiny_buffers_for_long() {
    soak("soak::bulk_both_ways_through_tiny_buffers_for_long", 90);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_lock_up_are_replaced_and_the_bulk_goes_on() {
    let limits = Limits { watchdog: Duration::from_millis(600), ..Limits::default() };
    let start =
        async |admission: Admission, dir| Peer::start(dir, admission, |setup| setup.limits = limits.clone()).await;
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let a = start(Admission::open_or_mint(dir.path()).unwrap(), dir).await;
    let b = start(a.admit(other.path()).await, other).await;
    let proxy = Proxy::that_locks_up(&a.address, 4 << 20).await;
    flood(a, b, proxy.as_address(), Duration::ZERO, 4).await;
}

fn soak(test: &str, seconds: u64) {
    let Ok(inside) = std::env::var(INSIDE) else { return in_namespace(test, seconds) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let a = Peer::founder().await;
        let b = Peer::joiner(&a).await;
        let to_a = a.address.clone();
        flood(a, b, to_a, Duration::from_secs(inside.parse().unwrap()), 1).await;
    });
}

/// What one end has seen.
#[derive(Default)]
struct Seen {
    bytes: AtomicU64,
    control: AtomicU64,
    links: AtomicU64,
    faults: AtomicU64,
}

/// Reads whatever comes, and dials again when the link is lost.
fn read(mut peer: Peer, other: Option<(NodeId, Address)>, seen: Arc<Seen>) -> JoinHandle<()> {
    let network = peer.network.clone();
    let dial = move || other.iter().for_each(|(node, address)| network.dial(*node, vec![address.clone()]));
    tokio::spawn(async move {
        dial();
        while let Some(event) = peer.events.recv().await {
            match event {
                NetworkEvent::Received { lane: Lane::Sync, frame, .. } => {
                    seen.bytes.fetch_add(frame.len() as u64, Ordering::Relaxed);
                }
                NetworkEvent::Received { .. } => _ = seen.control.fetch_add(1, Ordering::Relaxed),
                NetworkEvent::Linked { .. } => _ = seen.links.fetch_add(1, Ordering::Relaxed),
                NetworkEvent::Fault { fault, .. } => {
                    println!("{fault}");
                    seen.faults.fetch_add(1, Ordering::Relaxed);
                }
                NetworkEvent::Unlinked { .. } | NetworkEvent::DialFailed { .. } => {
                    sleep(Duration::from_millis(50)).await;
                    dial();
                }
                _ => {}
            }
        }
    })
}

/// Both ends send as much as they can for so long, and until they have had so many links.
async fn flood(a: Peer, b: Peer, to_a: Address, span: Duration, links: u64) {
    let ends = [(a.network.clone(), b.node()), (b.network.clone(), a.node())];
    let to_a = (a.node(), to_a);
    let (at_a, at_b) = (Arc::<Seen>::default(), Arc::<Seen>::default());
    let readers = [read(a, None, Arc::clone(&at_a)), read(b, Some(to_a), Arc::clone(&at_b))];
    let (bulk, small) = (Bytes::from(vec![7; 256 << 10]), Bytes::from(vec![7; 1 << 10]));
    let began = Instant::now();
    let mut last = [(0, began); 2];
    let mut longest = [Duration::ZERO; 2];
    loop {
        for (network, other) in &ends {
            let waiting = network.links().first().map_or(usize::MAX, |link| link.sync_waiting_bytes);
            for _ in 0..4 {
                if waiting < 1 << 20 {
                    network.send(*other, Lane::Sync, bulk.clone());
                }
                network.send(*other, Lane::Control, small.clone());
            }
        }
        sleep(Duration::from_millis(2)).await;
        for (end, seen) in [&at_a, &at_b].into_iter().enumerate() {
            let (bytes, at) = last[end];
            let now = seen.bytes.load(Ordering::Relaxed);
            longest[end] = longest[end].max(at.elapsed());
            if now > bytes {
                last[end] = (now, Instant::now());
            }
            assert!(at.elapsed() < PATIENCE, "bulk has stood still for {PATIENCE:?} at end {end}");
        }
        // Both must still be moving when it ends.
        let linked = [&at_a, &at_b].iter().all(|seen| seen.links.load(Ordering::Relaxed) >= links);
        if linked && last.iter().all(|(bytes, at)| *bytes > 0 && *at > began + span) {
            break;
        }
    }
    for (end, seen) in [&at_a, &at_b].into_iter().enumerate() {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        println!(
            "end {end}: {} MB of bulk and {} control frames in {:?}; {} links, {} faults; longest pause {:?}; window {} kB",
            load(&seen.bytes) / 1_000_000,
            load(&seen.control),
            began.elapsed(),
            load(&seen.links),
            load(&seen.faults),
            longest[end],
            ends[end].0.links().first().map_or(0, |link| link.window_bytes >> 10)
        );
    }
    readers.iter().for_each(JoinHandle::abort);
}

#[test]
#[ignore = "takes ten minutes of both cores"]
fn bulk_both_ways_for_ten_minutes() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let seconds = std::env::var(SECONDS).map_or(600, |seconds| seconds.parse().unwrap());
    runtime.block_on(async {
        let a = Peer::founder().await;
        let b = Peer::joiner(&a).await;
        let to_a = a.address.clone();
        flood(a, b, to_a, Duration::from_secs(seconds), 1).await;
    });
}

/// Private memory of this process, in kB.
fn memory() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
#[ignore = "takes minutes; alone in its process, since it measures the memory of the whole"]
async fn ten_thousand_reconnects_leave_no_memory_behind() {
    let mut a = Peer::founder().await;
    let mut b = Peer::joiner(&a).await;
    let mut after_warm_up = 0;
    for round in 0..=11_000 {
        if round % 1_000 == 0 {
            println!("after {round} reconnects: {} kB", memory());
        }
        if round == 1_000 {
            after_warm_up = memory();
        }
        b.dial(&a);
        a.linked(b.node()).await;
        b.linked(a.node()).await;
        let (closes, waits) = if round % 2 == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
        closes.network.close(waits.node(), "again".into());
        closes.unlinked(waits.node()).await;
        waits.unlinked(closes.node()).await;
    }
    let grown = memory() - after_warm_up;
    println!("10,000 reconnects after the first 1,000: {grown} kB");
    assert!(grown <= 300, "{grown} kB");
}
