//! Frames: golden bytes, limits, and what garbage does.

use super::*;

fn message(frame: &[u8], lane: Lane) -> Result<Vec<u8>, Error> {
    open(frame, lane)?.expect("a known kind").decode()
}

#[test]
fn golden_bytes_of_a_plain_frame() {
    let frame = seal(Kind::Membership, Lane::Control, &vec![7_u8, 8, 9]);
    assert_eq!(frame.as_ref(), [1, 1, 0, 3, 7, 8, 9]);
    assert_eq!(message(&frame, Lane::Control), Ok(vec![7, 8, 9]));
}

#[test]
fn golden_head_of_a_compressed_frame() {
    let sent = vec![5_u8; 1_000];
    let frame = seal(Kind::Replication, Lane::Sync, &(0..10).map(|n| vec![n; 100]).collect::<Vec<Vec<u8>>>());
    assert_eq!(frame[..7], [1, 2, 1, 0xf3, 3, 0, 0], "version, kind, zstd, 1011 bytes");
    let frame = seal(Kind::Replication, Lane::Sync, &sent);
    assert_eq!(message(&frame, Lane::Sync), Ok(sent));
}

#[test]
fn every_refusal_names_its_reason() {
    let good = seal(Kind::Membership, Lane::Control, &vec![7_u8]);
    let with = |at: usize, byte: u8| {
        let mut frame = good.to_vec();
        frame[at] = byte;
        message(&frame, Lane::Control)
    };
    assert_eq!(message(&good[..2], Lane::Control), Err(Error::Truncated { len: 2 }));
    assert_eq!(with(0, 2), Err(Error::Version { found: 2 }));
    assert_eq!(with(1, 9), Err(Error::Kind { found: 9 }));
    assert_eq!(with(2, 7), Err(Error::Coding { found: 7 }));
    assert!(open(&[1, 0x89, 0, 1], Lane::Control).unwrap().is_none(), "a skippable kind is skipped");
    assert_eq!(
        message(&[&good[..], &[0]].concat(), Lane::Control),
        Err(Error::LeftOver { kind: Kind::Membership, extra: 1 })
    );
    assert!(matches!(message(&good[..4], Lane::Control), Err(Error::Message { .. })));
    let long = vec![0; HEADER + CONTROL_MAX + 1];
    assert!(matches!(message(&long, Lane::Control), Err(Error::TooLong { .. })));
}

#[test]
fn bombs_are_refused_before_they_are_inflated() {
    let bomb = zstd::bulk::compress(&vec![0_u8; 16 << 20], 19).unwrap();
    let framed = |announced: u32| [&[1, 2, 1], &announced.to_le_bytes()[..], &bomb].concat();
    assert!(matches!(message(&framed(16 << 20), Lane::Sync), Err(Error::Ratio { .. })));
    assert!(matches!(message(&framed(u32::MAX), Lane::Sync), Err(Error::TooLong { .. })));
    assert!(matches!(message(&framed(1_000), Lane::Sync), Err(Error::Zstd { .. })), "more inside than announced");
    // A length inside the message that claims more than the lane carries.
    let lying = bincode::encode_to_vec(u64::MAX, bincode::config::standard()).unwrap();
    assert!(matches!(message(&[&[1, 2, 0], &lying[..]].concat(), Lane::Sync), Err(Error::Message { .. })));
}

quickcheck::quickcheck! {
    fn what_is_sealed_opens_the_same(sent: Vec<u8>, times: u8) -> bool {
        let sent = sent.repeat(usize::from(times));
        message(&seal(Kind::Replication, Lane::Sync, &sent), Lane::Sync) == Ok(sent)
    }

    fn garbage_never_panics(head: (u8, u8, u8), body: Vec<u8>) -> bool {
        let frame = [&[head.0 % 3, head.1 % 4, head.2 % 3], &body[..]].concat();
        for lane in [Lane::Control, Lane::Sync] {
            if let Ok(Some(payload)) = open(&frame, lane) {
                let _ = payload.decode::<Vec<(String, Vec<u64>)>>();
            }
        }
        true
    }
}

#[test]
fn packing_is_as_asked_and_whoever_reads_need_not_know() {
    let message = vec![7_u8; 1_000];
    let sealed = |level, above| seal_packed(Kind::Replication, Lane::Sync, &message, Packing { level, above });
    let coding = |frame: &Bytes| frame[2];
    assert_eq!(coding(&sealed(None, 0)), PLAIN, "none");
    assert_eq!(coding(&sealed(Some(1), 2_000)), PLAIN, "below the threshold");
    for level in 1..=3 {
        assert_eq!(coding(&sealed(Some(level), 200)), ZSTD);
    }
    for frame in [sealed(None, 0), sealed(Some(3), 0)] {
        assert_eq!(open(&frame, Lane::Sync).unwrap().unwrap().decode::<Vec<u8>>().unwrap(), message);
        assert_eq!(plain_len(&frame), sealed(None, 0).len());
    }
}
