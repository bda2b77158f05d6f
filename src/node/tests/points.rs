//! Stamps and restore points: what a moment of the log is.

use super::*;
use crate::types::{Chain, Hlc};

fn stamps(host: &Host) -> Vec<(Hlc, Chain)> {
    let mut main = wal::Scanner::new(id(1));
    let mut found = Vec::new();
    let mut events = wal::Scanner::at(id(1), Chain::Events.origin().next(), crate::types::Lsn::new(1), None);
    for (segment, bytes) in &host.files {
        let scanner = if segment.chain() == Chain::Main { &mut main } else { &mut events };
        let frames = scanner.segment(*segment, &bytes::Bytes::from(bytes.clone())).unwrap();
        found.extend(frames.iter().map(|frame| (frame.hlc, segment.chain())));
    }
    found
}

fn append(host: &mut Host, n: u64, at: u64) {
    let stream = events::Name::parse("s").unwrap();
    let command = Command::Events(events::Command::Append { stream, events: vec![bytes::Bytes::from_static(b"e")] });
    host.handle(at, Input::Command { id: CommandId::new(n), command });
    host.settle(at);
    assert!(host.replies.remove(&CommandId::new(n)).unwrap().is_ok());
}

#[test]
fn stamps_are_local_and_rise_over_both_chains_whatever_the_clock_does() {
    let mut host = Host::on(1, BTreeMap::new(), 50);
    let mut other = Host::on(2, BTreeMap::new(), 10);
    host.set(1, 60, 1).unwrap();
    append(&mut host, 2, 60);
    // The clock steps back, and an entry comes that was made when it was earlier still.
    host.set(3, 20, 3).unwrap();
    append(&mut host, 4, 20);
    other.set(1, 11, 1).unwrap();
    link(&mut host, &mut other, 20);
    converse(&mut host, &mut other, 20, 30);
    let mut all = stamps(&host);
    assert!(all.iter().filter(|(_, chain)| *chain == Chain::Events).count() >= 2);
    for chain in Chain::ALL {
        let of: Vec<Hlc> = all.iter().filter(|(_, own)| *own == chain).map(|(hlc, _)| *hlc).collect();
        assert!(of.is_sorted_by(|a, b| a < b), "{chain:?}: {of:?}");
    }
    all.sort_unstable();
    assert!(all.is_sorted_by(|a, b| a.0 < b.0), "no two records have one stamp: {all:?}");
    assert_eq!(all.last().unwrap().0.wall, now(60).wall, "not the time that the clock fell back to");

    let again = Host::on(1, host.files.clone(), 25);
    let after = stamps(&again);
    assert!(after.iter().map(|(hlc, _)| *hlc).max() > all.last().map(|(hlc, _)| *hlc), "nor after a restart");
}

fn point(host: &mut Host, n: u64, name: &str) -> Result<Point, CommandError> {
    let id = CommandId::new(n);
    host.handle(9, Input::Command { id, command: Command::Point { name: name.into() } });
    host.settle(9);
    match host.replies.remove(&id).expect("answered") {
        Ok(Outcome::Point(point)) => Ok(point),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    }
}

fn points(host: &mut Host) -> Vec<Point> {
    let id = CommandId::new(900);
    host.handle(9, Input::Command { id, command: Command::Points });
    host.settle(9);
    match host.replies.remove(&id) {
        Some(Ok(Outcome::Points(points))) => points,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_restore_point_is_a_record_and_is_never_moved() {
    let mut host = Host::on(1, BTreeMap::new(), 1);
    host.set(1, 2, 41).unwrap();
    let noon = point(&mut host, 2, "noon").unwrap();
    assert_eq!(noon.lsn.value(), 4, "after two records of the start, and the edit");
    let night = point(&mut host, 3, "night-2.b_c").unwrap();
    assert!(noon.at < night.at);
    let again = point(&mut host, 4, "noon").unwrap_err();
    assert_eq!(again, CommandError::Point(PointError::Exists { name: "noon".into() }));
    for name in ["", "a b", "ä", &"x".repeat(65)] {
        assert!(matches!(point(&mut host, 5, name), Err(CommandError::Point(PointError::Name { .. }))), "{name}");
    }
    assert_eq!(points(&mut host), [noon.clone(), night.clone()]);
    let mut again = Host::on(1, host.files, 9);
    assert_eq!(points(&mut again), [noon, night], "after a restart");
    assert!(matches!(point(&mut again, 6, "noon"), Err(CommandError::Point(PointError::Exists { .. }))));
}

#[test]
fn a_point_that_the_disk_refused_is_none() {
    let mut host = Host::on(1, BTreeMap::new(), 1);
    host.full = true;
    assert!(matches!(point(&mut host, 1, "noon"), Err(CommandError::Disk(_))));
    assert_eq!(points(&mut host), []);
    assert!(matches!(point(&mut host, 2, "noon"), Err(CommandError::Disk(_))), "the name is free still");
}
