//! Each setting has the effect that it is said to have.

use std::time::Duration;

use super::rules::Bench;
use super::*;
use crate::machine::Op;

/// How many entries each batch among these ops holds.
fn batches(ops: &[Op<Replication>]) -> Vec<usize> {
    let batch = |op: &Op<Replication>| match op {
        Op::Send(_, Message::Push(batch)) => Some(batch.runs.iter().map(|run| run.entries.len()).sum()),
        _ => None,
    };
    ops.iter().filter_map(batch).collect()
}

fn armed(ops: &[Op<Replication>], timer: Timer) -> Option<Duration> {
    ops.iter().find_map(|op| match op {
        Op::Arm(armed, after) if *armed == timer => Some(*after),
        _ => None,
    })
}

#[test]
fn a_batch_is_sent_when_it_holds_as_many_entries_as_are_set() {
    for size in [2, 5] {
        let mut bench = Bench::with(&[2], Config { batch_size: size, ..Config::default() });
        assert_eq!(batches(&bench.write(100)), [1], "the link is idle");
        for _ in 1..size {
            assert_eq!(batches(&bench.write(100)), [0; 0], "one is under way");
        }
        assert_eq!(batches(&bench.write(100)), [size]);
    }
}

#[test]
fn a_batch_is_sent_when_it_holds_as_many_bytes_as_are_set() {
    let mut bench = Bench::with(&[2], Config { batch_bytes: 3_000, ..Config::default() });
    bench.write(10);
    assert_eq!(batches(&bench.write(1_400)), [0; 0]);
    assert_eq!(batches(&bench.write(1_400)), [0; 0]);
    assert_eq!(batches(&bench.write(1_400)), [2, 1], "the third does not fit in, and is due too");
}

#[test]
fn what_waits_goes_after_the_time_that_is_set() {
    for millis in [3, 70] {
        let batch_timeout = Duration::from_millis(millis);
        let mut bench = Bench::with(&[2], Config { batch_timeout, ..Config::default() });
        bench.write(100);
        let ops = bench.write(100);
        assert_eq!((batches(&ops), armed(&ops, Timer::Flush(node(2)))), (vec![], Some(batch_timeout)));
        let ops = bench.run(|machine, cx| machine.on_timer(cx, Timer::Flush(node(2))));
        assert_eq!(batches(&ops), [1]);
    }
}

#[test]
fn what_is_not_acknowledged_is_sent_again_within_the_bounds_that_are_set() {
    let retry =
        Retry { first: Duration::from_millis(40), min: Duration::from_millis(20), max: Duration::from_millis(300) };
    let mut bench = Bench::with(&[2], Config { retry, ..Config::default() });
    let timer = Timer::Retransmit(node(2));
    // The bytes may take their time over a slow link.
    let transfer = Duration::from_millis(10);
    let mut waits = vec![armed(&bench.write(100), timer).unwrap()];
    for _ in 0..6 {
        bench.millis += u64::try_from(waits.last().unwrap().as_millis()).unwrap() + 1;
        waits.push(armed(&bench.run(|machine, cx| machine.on_timer(cx, timer)), timer).unwrap());
    }
    let expected = [40, 80, 160, 300, 300, 300, 300].map(Duration::from_millis);
    for (waited, expected) in waits.iter().zip(expected) {
        assert!(*waited >= expected && *waited <= expected + transfer, "{waits:?}");
    }
}
