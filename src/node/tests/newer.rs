//! What a newer version sends and writes: frames that ask for it are skipped and counted, all else of it closes the link; a log
//! that it wrote into is refused by name, and nothing of it changes.

use super::*;
use crate::types::{Chain, Hlc, Lsn};
use crate::wire::VERSION;

type Files = BTreeMap<SegmentId, Vec<u8>>;

/// The first kind of record that nobody has yet.
const NEXT_RECORD: u8 = 15;

fn said(host: &mut Host, lane: Lane, frame: &[u8]) -> u64 {
    let frame = bytes::Bytes::copy_from_slice(frame);
    host.handle(2, Input::Received { from: id(9), lane, frame });
    host.settle(2);
    host.node().status(now(2)).frames_skipped
}

#[test]
fn frames_that_ask_to_be_skipped_are_counted_and_the_link_stays() {
    let mut host = Host::on(1, BTreeMap::new(), 1);
    let long = [&[VERSION, 0x90, 0][..], &vec![7; wire::CONTROL_MAX]].concat();
    let frames =
        [&[VERSION, 0x87, 0][..], &[VERSION, 0xff, 9, 1, 2, 3], &[VERSION, 0x90, 1, 255, 255, 255, 255], &long];
    let counts: Vec<u64> = frames.into_iter().map(|frame| said(&mut host, Lane::Control, frame)).collect();
    assert_eq!(counts, [1, 2, 3, 4], "whatever stands behind the kind");
    assert_eq!(said(&mut host, Lane::Sync, frames[1]), 5);
    assert!(host.closed.is_empty() && !host.told.iter().any(|event| matches!(event, Event::BadFrame { .. })));
}

#[test]
fn what_else_a_newer_version_could_say_closes_the_link() {
    let mut host = Host::on(1, BTreeMap::new(), 1);
    host.node().handle(now(1), Input::Linked { peer: id(9) });
    host.settle(1);
    let mut known = host.outgoing.pop_front().expect("a new link is greeted").2.to_vec();
    let at = known.len();
    known.push(0);
    let longer = [&[VERSION, 0x90, 0][..], &vec![7; wire::CONTROL_MAX + 1]].concat();
    let frames = [&[VERSION + 1, 0x85, 0][..], &[VERSION, 5, 0], &[VERSION, 1, 2, 0], &known, &longer];
    for (n, frame) in frames.into_iter().enumerate() {
        assert_eq!(said(&mut host, Lane::Control, frame), 0);
        assert_eq!(host.closed.len(), n + 1, "{:?}", host.told.last());
    }
    let more = |event: &Event| matches!(event, Event::BadFrame { why, .. } if why.contains("1 bytes are left over"));
    assert!(host.told.iter().any(more), "a field more behind {at} bytes: {:?}", host.told);
}

/// These files, with a record of the next version at the end of a chain.
fn written_by_the_next_version(files: &Files, chain: Chain) -> Files {
    let mut store = None;
    let end = Chain::ALL.into_iter().take_while(|of| *of <= chain).fold(None, |_, chain| {
        let mut scanner = wal::Scanner::at(id(1), chain.origin().next(), Lsn::ZERO.next(), store);
        for (segment, bytes) in files.iter().filter(|(file, _)| file.family() == Family::Log(chain)) {
            scanner.segment(*segment, &bytes::Bytes::from(bytes.clone())).unwrap();
        }
        let end = scanner.finish().end;
        store = end.store;
        Some(end)
    });
    let (end, store) = (end.unwrap(), store.unwrap());
    let hlc = Hlc { logical: end.last_hlc.logical + 1, ..end.last_hlc };
    let record = wal::Writer::new(wal::Config::default(), end, store).append(NEXT_RECORD, hlc, b"news").unwrap();
    let mut files = files.clone();
    files.entry(record.segment).or_default().extend_from_slice(&record.bytes);
    files
}

fn refused(files: Files, config: Config) {
    let old = Host::with(1, files.clone(), 9, config);
    let error = old.refused.expect("an old version does not start from it").to_string();
    assert!(
        error.contains(&format!("record kind {NEXT_RECORD} is not known; a newer version wrote this log")),
        "{error}"
    );
    assert!(error.contains("at byte "), "{error}");
    assert_eq!(old.files, files);
    assert!(old.history.iter().all(|state| *state == files), "nothing was changed for a while either");
}

#[test]
fn a_log_that_a_newer_version_wrote_into_is_refused_and_not_changed() {
    let mut host = Host::on(1, BTreeMap::new(), 1);
    host.set(1, 2, 41).unwrap();
    let newer = written_by_the_next_version(&host.files, Chain::Main);
    refused(newer.clone(), Config::default());
    refused(written_by_the_next_version(&host.files, Chain::Events), Config::default());
    // Its end is torn besides: an old version must not cut there.
    let mut torn = newer;
    torn.last_entry().unwrap().get_mut().extend_from_slice(&[1, 2, 3]);
    refused(torn, Config::default());
    let mut again = Host::on(1, host.files, 9);
    assert_eq!(again.value(2, 9), json!({"field1": 41}), "without the record it is what it was");
}
