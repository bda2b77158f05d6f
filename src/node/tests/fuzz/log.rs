//! Mutants of a log on the disk: of its files, and of the records in them with checksums that fit. A node begins with what is
//! intact, or says why not.

use bytes::Bytes;

use super::super::super::record::Own;
use super::*;
use crate::machine::{Rng, mutate};
use crate::types::Chain;

/// The files of a node that lived twice, wrote documents and events, and learnt those of another one.
fn files() -> BTreeMap<SegmentId, Vec<u8>> {
    let (mut a, mut b, _) = put_back();
    link(&mut a, &mut b, 8);
    converse(&mut a, &mut b, 8, 12);
    let command = events::Command::Append {
        stream: events::Name::parse("s").unwrap(),
        events: vec![Bytes::from_static(b"event"); 3],
    };
    a.handle(13, Input::Command { id: CommandId::new(500), command: Command::Events(command) });
    a.settle(13);
    let mut again = Host::on(1, a.files, 14);
    again.set(600, 15, 1).unwrap();
    again.files
}

/// The log as its records, to be framed anew.
type Records = Vec<(Chain, u8, crate::types::Hlc, Vec<u8>)>;

fn records(files: &BTreeMap<SegmentId, Vec<u8>>) -> Records {
    let mut all = Vec::new();
    for chain in [Chain::Main, Chain::Events] {
        let mut scanner = wal::Scanner::at(id(1), chain.origin().next(), crate::types::Lsn::ZERO.next(), None);
        for (segment, bytes) in files.iter().filter(|(segment, _)| segment.chain() == chain) {
            for frame in scanner.segment(*segment, &Bytes::from(bytes.clone())).unwrap() {
                all.push((chain, frame.kind, frame.hlc, frame.payload.to_vec()));
            }
        }
    }
    all
}

fn framed(records: &Records) -> BTreeMap<SegmentId, Vec<u8>> {
    let mut files: BTreeMap<SegmentId, Vec<u8>> = BTreeMap::new();
    for chain in [Chain::Main, Chain::Events] {
        let scanner = wal::Scanner::at(id(1), chain.origin().next(), crate::types::Lsn::ZERO.next(), None);
        let mut writer = wal::Writer::new(wal::Config::default(), scanner.finish().end, 7);
        for (_, kind, hlc, payload) in records.iter().filter(|record| record.0 == chain) {
            let appended = writer.append(*kind, *hlc, payload).unwrap();
            files.entry(appended.segment).or_default().extend_from_slice(&appended.bytes);
        }
    }
    files
}

/// Boots from these files. Whoever begins does its work, and begins again.
fn boots(files: BTreeMap<SegmentId, Vec<u8>>) -> bool {
    let mut host = Host::on(1, files, 20);
    if host.node.is_none() {
        assert!(host.refused.is_some(), "no node, and no reason");
        return false;
    }
    let before = host.node().status(now(20));
    host.history.clear();
    _ = host.set(700, 21, 1);
    let mut again = Host::on(1, host.files, 22);
    assert!(again.refused.is_none(), "{:?}", again.refused);
    assert!(again.node().status(now(22)).entries >= before.entries);
    true
}

#[test]
fn every_mutant_of_a_file_is_a_log_or_refused() {
    let (good, mut rng) = (files(), mutate::luck("files"));
    assert!(boots(good.clone()));
    let (mut began, cases) = (0, mutate::cases(400, 20));
    for _ in 0..cases {
        let mut files = good.clone();
        let at = rng.index(files.len());
        let other = files.values().next_back().unwrap().clone();
        let file = files.values_mut().nth(at).unwrap();
        *file = mutate::bytes(&mut rng, file, &other);
        began += usize::from(boots(files));
    }
    mutate::report("files", &format!("{began} of {cases} began"));
    assert!(began > 0 && began < cases, "{began} of {cases}");
}

fn tamper(rng: &mut Rng, records: &mut Records) {
    let (at, from) = (rng.index(records.len()), rng.index(records.len()));
    match rng.below(6) {
        0 => drop(records.remove(at)),
        1 => {
            let record = records[from].clone();
            records.insert(at, record);
        }
        2 => records.swap(at, from),
        3 => records[at].1 = u8::try_from(rng.below(9)).unwrap(),
        _ => {
            let other = records[from].3.clone();
            records[at].3 = mutate::bytes(rng, &records[at].3, &other);
        }
    }
}

#[test]
fn every_mutant_of_a_record_is_one_or_refused() {
    let (good, mut rng) = (records(&files()), mutate::luck("records"));
    assert!(boots(framed(&good)), "framed anew it is the same log");
    let (mut began, cases) = (0, mutate::cases(400, 20));
    for _ in 0..cases {
        let mut records = good.clone();
        for _ in 0..=rng.below(2) {
            tamper(&mut rng, &mut records);
        }
        for (_, kind, _, payload) in &records {
            if let Ok(own) = Own::decode(*kind, payload) {
                let (again, bytes) = own.encode();
                assert_eq!(Own::decode(again, &bytes), Ok(own));
            }
        }
        began += usize::from(boots(framed(&records)));
    }
    mutate::report("records", &format!("{began} of {cases} began"));
    assert!(began > 0 && began < cases, "{began} of {cases}");
}
