//! What troubles of links do to frames.

use bytes::Bytes;

use super::scenario;
use crate::sim::luck::Luck;
use crate::sim::net::Net;
use crate::sim::plan::{Fault, Item};
use crate::types::{Lane, NodeId};

const MILLIS: u64 = 1_000_000;

/// Two peers with a link of 10 ms between them.
fn net(mode: &str) -> Net {
    let text = format!(
        "mesh = {{ peers = 2, delay = \"10ms\", jitter = \"0ms\" }}\nphases = {{ warm-up = \"1s\", calm = \"1s\" }}\n\
         network = {{ mode = {mode:?} }}\n"
    );
    let scenario = scenario(&text);
    let mut net = Net::new(scenario.mesh.clone(), scenario.says.network, &Luck::new(1, "links"));
    net.link(0, (0, NodeId::from_u128(1)), (1, NodeId::from_u128(2)));
    net
}

fn begin(net: &mut Net, now: u64, fault: Fault) -> Vec<(u32, u32, u32)> {
    net.trouble(now, 0, &Item { at: now, until: None, permanent: false, fault, drawn: None })
}

/// When a frame of so many bytes arrives that is sent now, if it is not held or lost.
fn arrives(net: &mut Net, now: u64, len: usize) -> Option<u64> {
    net.send(now, 0, 1, Lane::Sync, Bytes::from(vec![0; len])).0.arrives
}

#[test]
fn what_is_clogged_waits_and_comes_in_order_and_what_is_cut_is_lost_as_a_datagram() {
    let both = (vec![0], vec![1]);
    for (fault, left) in [
        (Fault::Clog { from: both.0.clone(), to: both.1.clone(), one_way: true }, 3),
        (Fault::Cut { from: both.0, to: both.1, one_way: true }, 0),
    ] {
        let mut net = net("datagram");
        assert_eq!(begin(&mut net, 0, fault).len(), 1);
        assert!((1..4).all(|len| arrives(&mut net, MILLIS, len).is_none()));
        let released = net.heal(50 * MILLIS, 0);
        let lens: Vec<usize> = released.iter().map(|(_, frame)| frame.bytes.len()).collect();
        assert_eq!(lens, (1..=left).collect::<Vec<_>>());
        assert!(released.iter().all(|(fate, _)| fate.arrives.is_some_and(|at| at >= 60 * MILLIS)));
    }
}

#[test]
fn delays_factors_and_bandwidth_add_up() {
    let mut net = net("stream");
    assert_eq!(arrives(&mut net, 0, 1_000), Some(10 * MILLIS));
    begin(&mut net, 0, Fault::Delay { peer: 1, by: 7 * MILLIS });
    assert_eq!(arrives(&mut net, 100 * MILLIS, 1_000), Some(117 * MILLIS));
    begin(&mut net, 0, Fault::SlowLink { peer: 0, factor: 3 });
    assert_eq!(arrives(&mut net, 200 * MILLIS, 1_000), Some(237 * MILLIS));
    begin(&mut net, 0, Fault::Throttle { peer: 0, bits: 1_000_000, queue: 2_000 });
    assert_eq!(arrives(&mut net, 300 * MILLIS, 1_000), Some(345 * MILLIS));
    // The second waits for the first, and for a third the queue is too short.
    assert_eq!(arrives(&mut net, 300 * MILLIS, 1_000), Some(353 * MILLIS));
    assert_eq!(arrives(&mut net, 300 * MILLIS, 1_000), None);
    assert_eq!(net.stats.dropped, 1);
}

#[test]
fn a_damaged_frame_breaks_a_stream_and_is_no_datagram() {
    let mut stream = net("stream");
    begin(&mut stream, 0, Fault::Corrupt { ppm: 1_000_000 });
    let (fate, _) = stream.send(0, 0, 1, Lane::Sync, Bytes::from_static(b"x"));
    assert!(fate.breaks.is_some() && fate.arrives.is_none());
    let mut datagram = net("datagram");
    begin(&mut datagram, 0, Fault::Corrupt { ppm: 1_000_000 });
    let (fate, _) = datagram.send(0, 0, 1, Lane::Sync, Bytes::from_static(b"x"));
    assert!(fate.breaks.is_none() && fate.arrives.is_none());
    assert_eq!((stream.stats.corrupted, datagram.stats.corrupted), (1, 1));
}

#[test]
fn losses_come_in_bursts_of_the_length_that_is_asked_for() {
    let mut net = net("datagram");
    begin(&mut net, 0, Fault::BurstLoss { to_bad: 20_000, to_good: 100_000, ppm: 1_000_000 });
    let lost: Vec<bool> = (0..30_000).map(|n| arrives(&mut net, n * MILLIS, 10).is_none()).collect();
    // A sixth of the time in the bad state, ten frames at a time.
    let all = lost.iter().filter(|lost| **lost).count();
    assert!((4_000..6_000).contains(&all), "{all}");
    let bursts = lost.windows(2).filter(|pair| pair[1] && !pair[0]).count();
    assert!((8..12).contains(&(all / bursts)), "{all} in {bursts}");
}
