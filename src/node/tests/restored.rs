//! A log that a recovery wrote: who goes on from it, and under which name.

use super::*;
use crate::types::{Chain, Hlc, Lsn};

/// The main chain of these files up to a record, as a recovery puts it back.
fn put_back(files: &BTreeMap<SegmentId, Vec<u8>>, until: u64) -> BTreeMap<SegmentId, Vec<u8>> {
    let mut scanner = wal::Scanner::new(id(1)).until(Lsn::new(until));
    let mut put = BTreeMap::<SegmentId, Vec<u8>>::new();
    let end = wal::Scanner::new(id(1)).finish().end;
    let mut writer = wal::Writer::new(wal::Config::default(), end, 5);
    let mut append = |kind, hlc, payload: &[u8]| {
        let appended = writer.append(kind, hlc, payload).unwrap();
        put.entry(appended.segment).or_default().extend_from_slice(&appended.bytes);
    };
    let (segment, bytes) = files.first_key_value().unwrap();
    let frames = scanner.segment(*segment, &bytes::Bytes::from(bytes.clone())).unwrap();
    assert_eq!(frames.last().unwrap().lsn, Lsn::new(until), "nothing behind it is read");
    frames.iter().for_each(|frame| append(frame.kind, frame.hlc, &frame.payload));
    let restored = Own::Restored(restored(until));
    assert_eq!(restored.chain(), Chain::Main);
    let (kind, payload) = restored.encode();
    append(kind, Hlc { wall: now(9).wall, logical: 0 }, &payload);
    put
}

fn restored(until: u64) -> Restored {
    Restored {
        from: "a test".into(),
        lsn: Lsn::new(until),
        at: Hlc::default(),
        timeline: 0,
        fork: 0,
        why: "to look".into(),
    }
}

#[test]
fn a_restored_log_goes_on_as_a_new_actor_and_says_from_what() {
    let mut host = Host::on(1, BTreeMap::new(), 1);
    (1..=3).for_each(|n| drop(host.set(n, 2, n).unwrap()));
    let before = host.report.clone().unwrap();
    let old = before.actor;
    // Actor, boot and the first edit.
    let files = put_back(&host.files, 3);
    let mut again = Host::on(1, files, 9);
    let report = again.report.clone().unwrap();
    assert_ne!(report.actor, old);
    assert_eq!(report.boot.value(), now(9).wall.as_secs(), "above all lives that the log forgot");
    assert_eq!(again.value(1, 9), json!({"field1": 1}));
    assert_eq!(again.node().status(now(9)).log_restored, Some(restored(3)));
    let told = |event: &Event| matches!(event, Event::Minted { actor, why } if *actor == report.actor && why.contains("restored from a test"));
    assert!(again.told.iter().any(told), "{:?}", again.told);

    again.set(4, 9, 4).unwrap();
    let mut third = Host::on(1, again.files.clone(), 10);
    let after = third.report.clone().unwrap();
    assert_eq!((after.actor, after.boot), (report.actor, report.boot.next()), "once");
    assert_eq!(third.value(2, 10), json!({"field1": 1, "field4": 4}));
    assert_eq!(third.node().status(now(10)).log_restored, Some(restored(3)), "it stays known");
}

#[test]
fn a_crash_at_any_moment_after_a_recovery_never_goes_on_as_the_old_actor() {
    let mut host = Host::on(1, BTreeMap::new(), 1);
    host.set(1, 2, 41).unwrap();
    let old = host.report.clone().unwrap();
    let first = Host::on(1, put_back(&host.files, 3), 9);
    let states = first.history.into_iter().chain([first.files]);
    for (n, files) in states.enumerate() {
        let after = Host::on(1, files, 10).report.unwrap();
        assert_ne!(after.actor, old.actor, "crashed before effect {n}");
        assert!(after.boot > old.boot, "crashed before effect {n}");
    }
}

#[test]
fn a_restored_peer_gets_back_what_others_hold_of_it() {
    let (mut a, mut b) = (Host::on(1, BTreeMap::new(), 1), Host::on(2, BTreeMap::new(), 1));
    (1..=3).for_each(|n| drop(a.set(n, 2, n).unwrap()));
    link(&mut a, &mut b, 2);
    converse(&mut a, &mut b, 2, 12);
    let (one, two) = (a.node().identity().node, b.node().identity().node);
    assert_eq!((one, two), (id(1), id(2)));
    b.handle(12, Input::Unlinked { peer: one });
    b.settle(12);
    let mut a = Host::on(1, put_back(&a.files, 3), 13);
    a.set(5, 13, 5).unwrap();
    link(&mut a, &mut b, 13);
    converse(&mut a, &mut b, 13, 25);
    b.set(6, 25, 6).unwrap();
    converse(&mut a, &mut b, 25, 35);
    let all = json!({"field1": 1, "field2": 2, "field3": 3, "field5": 5, "field6": 6});
    assert_eq!((a.value(9, 35), b.value(9, 35)), (all.clone(), all));
    assert_eq!(a.node().documents().content(), b.node().documents().content());
}
