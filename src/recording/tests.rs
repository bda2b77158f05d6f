//! What is written reads back, and what is not what was written is refused by name.

use bytes::Bytes;
use quickcheck::quickcheck;

use super::format::build;
use super::*;
use crate::node::{self, Identity, Input, Setup};
use crate::types::{ClusterId, Lane, NodeId, Now, Time, WallTime};

fn setup() -> Setup {
    Setup {
        identity: Identity { node: NodeId::from_u128(7), cluster: ClusterId::from_bytes([3; 32]) },
        seed: [9; 32],
        meta: crate::membership::Meta { name: "one".into(), ..Default::default() },
        config: node::Config::default(),
        founds: false,
    }
}

fn entry(at: u64, bytes: Vec<u8>) -> Entry {
    let from = NodeId::from_u128(8);
    let input = Input::Received { from, lane: Lane::Sync, frame: Bytes::from(bytes) };
    Entry::new(Now { mono: Time::from_nanos(at), wall: WallTime::from_micros(at) }, Some(Kept::of(&input)))
}

fn written(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::begin(&mut bytes, &Header::new(&setup(), 3)).unwrap();
    for entry in entries {
        writer.add(entry).unwrap();
    }
    writer.finish().unwrap();
    assert_eq!(writer.written(), bytes.len() as u64);
    bytes
}

fn read(bytes: &[u8]) -> Result<(Vec<Entry>, bool), ReadError> {
    let mut reader = Reader::begin(bytes)?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.entry()? {
        entries.push(entry);
    }
    Ok((entries, reader.has_end()))
}

quickcheck! {
    fn what_is_written_reads_back(frames: Vec<Vec<u8>>) -> bool {
        let entries: Vec<Entry> = (0..).zip(frames).map(|(at, frame)| entry(at, frame)).collect();
        read(&written(&entries)).unwrap() == (entries, true)
    }
}

#[test]
fn the_header_makes_the_same_node() {
    let bytes = written(&[]);
    let reader = Reader::begin(&bytes[..]).unwrap();
    let (header, own) = (reader.header(), setup());
    let read = header.setup().unwrap();
    assert_eq!((header.build.clone(), header.workers), (build(), 3));
    assert_eq!((read.identity, read.seed, read.meta), (own.identity, own.seed, own.meta));
    assert_eq!(format!("{:?}", read.config), format!("{:?}", own.config));
}

#[test]
fn a_recording_that_was_cut_anywhere_reads_up_to_its_last_whole_block() {
    let entries = [entry(1, vec![1; 100]), entry(2, vec![2; 100])];
    let bytes = written(&entries);
    let (header, whole) = (written(&[]).len() - 12, bytes.len() - 12);
    for len in 0..bytes.len() {
        match read(&bytes[..len]) {
            Ok((entries, ended)) => {
                assert_eq!((entries.len(), ended), (if len < whole { 0 } else { 2 }, false), "{len}")
            }
            Err(ReadError::NotOne(_)) => assert!(len < 8, "{len}"),
            Err(ReadError::Damaged { block: 0, at: 8, .. }) => assert!((8..header).contains(&len), "{len}"),
            Err(other) => panic!("{len}: {other}"),
        }
    }
}

#[test]
fn a_flipped_bit_is_told_with_its_block() {
    let bytes = written(&[entry(1, vec![1; 100]), entry(2, vec![2; 100])]);
    let header = written(&[]).len() - 12;
    for at in header..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        match read(&bytes) {
            Err(ReadError::Damaged { block, at: from, .. }) => {
                assert_eq!(
                    (block, from),
                    if at < bytes.len() - 12 { (1, header as u64) } else { (2, bytes.len() as u64 - 12) }
                );
            }
            other => panic!("{at}: {other:?}"),
        }
    }
}
