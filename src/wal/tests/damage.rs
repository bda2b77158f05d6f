//! Files that are not as they were written.

use super::*;

/// Scans a log of one file.
fn scan_one(bytes: &[u8]) -> Result<(Vec<Frame>, Scanned), Error> {
    scan(&BTreeMap::from([(ONE, bytes.to_vec())]))
}

/// Where the frames of these payloads begin, and where the last ends.
fn offsets(payloads: &[&[u8]]) -> Vec<usize> {
    let mut at = 80;
    let mut offsets = vec![at];
    for payload in payloads {
        at += (40 + payload.len()).next_multiple_of(8);
        offsets.push(at);
    }
    offsets
}

fn at(offset: usize) -> Place {
    Place { segment: ONE, offset: offset as u64 }
}

const THREE: [&[u8]; 3] = [b"first", b"the second record", b"third"];

#[test]
fn any_truncation_of_the_last_write_cuts_exactly_that() {
    let log = Log::one(&THREE);
    let offsets = offsets(&THREE);
    for len in offsets[2] + 1..offsets[3] {
        let (frames, scanned) = scan_one(&log[..len]).unwrap();
        assert_eq!(frames.len(), 2);
        let cut = scanned.cut.unwrap();
        assert_eq!((cut.at, cut.lsn, cut.dropped), (at(offsets[2]), Lsn::new(3), 0));
        assert!(cut.looks_torn);
        assert_eq!(cut.lost_bytes, (len - offsets[2]) as u64);
        assert_eq!(cut.truncation(), Some((ONE, offsets[2] as u64)));
    }
}

#[test]
fn a_first_write_that_is_torn_anywhere_leaves_an_empty_log() {
    let log = Log::one(&[b"only"]);
    for len in 0..log.len() {
        let (frames, scanned) = scan_one(&log[..len]).unwrap();
        assert_eq!((frames.len(), scanned.end.next), (0, Lsn::new(1)));
        let cut = scanned.cut.unwrap();
        let from = if len < 80 { 0 } else { 80 };
        assert_eq!((cut.at, cut.lost_bytes), (at(from), (len - from) as u64));
        assert_eq!(
            cut.truncation(),
            (from > 0).then_some((ONE, 80)),
            "a damaged header stays: 0 would remove the file"
        );
    }
}

#[test]
fn a_flipped_bit_in_the_last_record_is_cut_and_any_other_is_refused_by_name() {
    let log = Log::one(&THREE);
    let offsets = offsets(&THREE);
    for byte in 0..log.len() {
        for bit in 0..8 {
            let mut log = log.clone();
            log[byte] ^= 1 << bit;
            let place = *offsets.iter().rfind(|offset| **offset <= byte).unwrap_or(&0);
            match scan_one(&log) {
                Ok((frames, scanned)) => {
                    assert_eq!((frames.len(), place), (2, offsets[2]), "byte {byte}");
                    let cut = scanned.cut.unwrap();
                    assert_eq!((cut.at, cut.looks_torn), (at(offsets[2]), false), "byte {byte}");
                }
                Err(Error::Corrupt { at: found, lsn, intact, intact_lsn, .. }) => {
                    assert!(byte < offsets[2]);
                    assert_eq!(found, at(place));
                    let next = offsets.iter().position(|offset| *offset > place).unwrap();
                    assert_eq!((intact, intact_lsn), (at(offsets[next]), Lsn::new(next as u64 + 1)));
                    assert_eq!(lsn, Lsn::new(next.max(1) as u64));
                }
                Err(Error::NotALog { segment: ONE, .. }) => assert!(byte < 8),
                Err(other) => panic!("byte {byte}: {other}"),
            }
        }
    }
}

#[test]
fn damage_of_many_records_is_refused_when_one_behind_it_is_intact() {
    let payloads: Vec<Vec<u8>> = (0..200).map(|n| vec![n; usize::from(n)]).collect();
    let (log, _) = Log::of(4_000, &payloads);
    let last = *log.files.last_key_value().unwrap().0;
    assert!(last.value() > 4);
    for lost in 1..last.value() {
        let mut files = log.files.clone();
        files.get_mut(&SegmentId::new(lost)).unwrap()[80..].fill(0xee);
        let Error::Corrupt { at, intact, .. } = scan(&files).unwrap_err() else { panic!("segment {lost}") };
        assert_eq!(at, Place { segment: SegmentId::new(lost), offset: 80 });
        assert_eq!(intact, Place { segment: SegmentId::new(lost + 1), offset: 80 });
    }
}

#[test]
fn what_is_refused_says_file_offset_and_both_checksums() {
    let mut log = Log::one(&THREE);
    log[80 + 40] ^= 1;
    let text = scan_one(&log).unwrap_err().to_string();
    assert!(
        text.starts_with("0000000000000001.wal, byte 80: record 1 is damaged: the payload has checksum 0x"),
        "{text}"
    );
    let tail = "record 2 at 0000000000000001.wal, byte 128 is intact, so this is not a torn write";
    assert!(text.contains(", expected 0x") && text.ends_with(tail), "{text}");
}

#[test]
fn a_tail_of_zeros_is_cut() {
    let mut log = Log::one(&THREE);
    let end = log.len();
    log.resize(end + 5_000, 0);
    let (frames, scanned) = scan_one(&log).unwrap();
    let cut = scanned.cut.unwrap();
    assert_eq!((frames.len(), cut.at, cut.what), (3, at(end), Damage::Zeros { len: 5_000 }));
    assert!(cut.to_string().starts_with("0000000000000001.wal, byte "), "{cut}");
}

/// The header of a file, changed and summed anew.
fn with_header(mut log: Vec<u8>, byte: usize, to: u8) -> Vec<u8> {
    log[byte] = to;
    let sum = crate::types::Checksum::of(&log[..76]).value();
    log[76..80].copy_from_slice(&sum.to_le_bytes());
    log
}

#[test]
fn a_segment_of_another_log_is_refused_by_name() {
    let log = Log::one(&THREE);
    let refused = |byte, to| scan_one(&with_header(log.clone(), byte, to)).unwrap_err();
    assert_eq!(refused(8, 2), Error::FutureVersion { segment: ONE, found: 2, known: 1 });
    assert_eq!(refused(31, 8), Error::ForeignNode { segment: ONE, expected: ME, found: NodeId::from_u128(8) });
    assert_eq!(refused(40, 9), Error::Misnamed { segment: ONE, found: SegmentId::new(9) });
    let expected = Lsn::new(1);
    let place = at(48);
    assert_eq!(refused(48, 9), Error::LsnGap { at: place, expected, found: Lsn::new(9) });
    assert_eq!(refused(48, 0), Error::LsnRepeated { at: place, expected, found: Lsn::new(0) });

    let (log, _) = Log::of(100, &[vec![1; 90], vec![2; 90]]);
    let two = SegmentId::new(2);
    let mut files = log.files.clone();
    let foreign = with_header(files.remove(&two).unwrap(), 32, 0);
    files.insert(two, foreign);
    let found = STORE & !0xff;
    assert_eq!(scan(&files).unwrap_err(), Error::ForeignStore { segment: two, expected: STORE, found });
}

#[test]
fn a_file_that_is_no_log_is_refused_and_not_cut() {
    let refused = |bytes: &[u8]| scan_one(bytes).unwrap_err();
    assert_eq!(refused(b"#!/bin/sh"), Error::NotALog { segment: ONE, found: *b"#!/bin/s" });
    assert_eq!(refused(b"PK"), Error::NotALog { segment: ONE, found: *b"PK\0\0\0\0\0\0" });
}

#[test]
fn a_file_of_zeros_or_of_nothing_is_told_as_such() {
    let what = |bytes: &[u8]| scan_one(bytes).unwrap().1.cut.map(|cut| cut.what);
    assert_eq!(what(&[0; 100]), Some(Damage::Zeros { len: 100 }));
    assert_eq!(what(&[]), Some(Damage::Short { need: 80, have: 0 }));
    assert_eq!(what(&Log::one(&THREE)), None);
}

#[test]
fn whose_log_a_segment_is_its_header_says() {
    let mut log = Log::one(&THREE);
    assert_eq!(owner(ONE, &log), Ok(Some((ME, STORE))));
    log[20] ^= 1;
    assert_eq!(owner(ONE, &log), Ok(None));
    assert!(matches!(owner(ONE, b"PK"), Err(Error::NotALog { .. })));
}

#[test]
fn a_missing_segment_is_refused_wherever_it_is_missing() {
    let (log, _) = Log::of(100, &[vec![1; 90], vec![2; 90], vec![3; 90]]);
    for missing in 1..=2 {
        let mut files = log.files.clone();
        files.remove(&SegmentId::new(missing));
        let (expected, found) = (SegmentId::new(missing), SegmentId::new(missing + 1));
        assert_eq!(scan(&files).unwrap_err(), Error::MissingSegment { expected, found });
    }
}

#[test]
fn records_that_repeat_or_are_missing_are_refused() {
    let log = Log::one(&THREE);
    let offsets = offsets(&THREE);
    let (second, third) = (offsets[1]..offsets[2], offsets[2]..offsets[3]);
    let repeated = [&log[..offsets[2]], &log[second.clone()]].concat();
    let (expected, place) = (Lsn::new(3), at(offsets[2]));
    assert_eq!(scan_one(&repeated).unwrap_err(), Error::LsnRepeated { at: place, expected, found: Lsn::new(2) });
    let gap = [&log[..offsets[1]], &log[third]].concat();
    let (expected, place) = (Lsn::new(2), at(offsets[1]));
    assert_eq!(scan_one(&gap).unwrap_err(), Error::LsnGap { at: place, expected, found: Lsn::new(3) });
}

#[test]
fn a_record_of_a_later_version_is_refused_and_not_cut() {
    let mut log = Log::one(&[b"only"]);
    log[80 + 33] = 1;
    let head =
        crate::types::Checksum::of(&STORE.to_le_bytes()).value() ^ crate::types::Checksum::of(&log[84..120]).value();
    log[80..84].copy_from_slice(&head.to_le_bytes());
    assert_eq!(scan_one(&log).unwrap_err(), Error::FutureRecord { at: at(80), lsn: Lsn::new(1) });
}

quickcheck::quickcheck! {
    fn a_changed_byte_is_never_read_as_something_else(
        payloads: Vec<Vec<u8>>, segment_bytes: u16, byte: usize, change: u8
    ) -> bool {
        let (log, _) = Log::of(u64::from(segment_bytes), &payloads);
        let mut files = log.files.clone();
        let whole: usize = files.values().map(Vec::len).sum();
        if whole == 0 || change == 0 {
            return true;
        }
        let mut byte = byte % whole;
        let file = files.values_mut().find(|file| file.len() > byte || { byte -= file.len(); false }).unwrap();
        file[byte] ^= change;
        match scan(&files) {
            Ok((frames, scanned)) => scanned.cut.is_some() && frames == log.frames(payloads.len() - 1),
            Err(error) => error.to_string().contains(".wal, byte "),
        }
    }
}

/// A frame with this LSN, as somebody would forge it who does not know the store.
fn forged(lsn: u64) -> Vec<u8> {
    let end = End { next: Lsn::new(lsn), offset: 1 << 10, ..Scanner::new(ME).finish().end };
    Writer::new(Config::default(), end, 0).append(0, Hlc::default(), b"forged").unwrap().bytes.to_vec()
}

#[test]
fn a_payload_cannot_imitate_a_record_behind_its_own_damage() {
    let evil: Vec<u8> = (1..50).flat_map(forged).collect();
    let payloads = [b"good".as_slice(), &evil];
    let log = Log::one(&payloads);
    let (frames, scanned) = scan_one(&log[..log.len() - 1]).unwrap();
    assert_eq!((frames.len(), scanned.cut.unwrap().lsn), (1, Lsn::new(2)));
}

#[test]
fn the_search_behind_damage_is_bounded_whatever_a_payload_says() {
    // Each 40 bytes claim to be a frame that reaches to the end.
    let mut evil = vec![0; 4 << 20];
    let whole = evil.len();
    for (n, head) in evil.chunks_exact_mut(40).enumerate() {
        let len = u32::try_from((whole - n * 40).saturating_sub(80)).unwrap() & !7;
        head[4..8].copy_from_slice(&len.to_le_bytes());
        head[8..16].copy_from_slice(&2_u64.to_le_bytes());
    }
    let log = Log::one(&[&evil]);
    let (_, scanned) = scan_one(&log[..log.len() - 8]).unwrap();
    assert_eq!(scanned.cut.unwrap().lsn, Lsn::new(1));
    // Without the header nobody knows the mask: sums are in vain, and stop.
    let mut log = log[..log.len() - 8].to_vec();
    log[70] ^= 1;
    assert!(matches!(scan_one(&log), Err(Error::Unjudged { summed, .. }) if summed < 6 * whole as u64));
}
