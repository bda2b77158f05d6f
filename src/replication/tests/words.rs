//! Messages and records as bytes.

use super::*;
use crate::types::{Boot, Digest, Range, WallTime};

fn log() -> LogId {
    LogId { actor: actor(1, 300), topic: Topic::DOCUMENTS }
}

fn bytes(message: &Message) -> Vec<u8> {
    bincode::encode_to_vec(message, bincode::config::standard()).unwrap()
}

#[test]
fn golden_bytes_of_every_message() {
    let id: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 251, 44, 1, 0];
    let short = Short::of(Digest::new(0x0102_0304_0506_0708));
    let hlc = Hlc { wall: WallTime::from_micros(5), logical: 1 };
    let entries = vec![Entry { hlc, body: Bytes::from_static(&[9, 8]) }];
    let batch =
        |log| Batch { number: 7, runs: vec![Run { log, first: Seq::new(2), before: short, entries: entries.clone() }] };
    let tagged: &[u8] = &[7, 1, 5, 6, 7, 8, 2, 5, 6, 7, 8, 1, 5, 1, 2, 9, 8];
    let named = [&[7, 1, 0, 0, 0, 0], id, &[2, 5, 6, 7, 8, 1, 5, 1, 2, 9, 8]].concat();
    let have = vec![Have { log: Name::Tag(short), last: Seq::new(3) }];
    let hold = Hold { log: Name::Tag(short), last: Seq::new(3), chain: short };
    let range = Range { log: log(), first: Seq::new(1), last: Seq::new(4) };
    let line = Line { log: log(), last: Seq::new(3), chain: Digest::new(4) };
    let marks = Marks { log: log(), marks: vec![Mark { seq: Seq::new(3), chain: Digest::new(4) }] };
    let chunk = Chunk { after: None, upto: Some(log()), lines: vec![line], answer: true };
    let golden = [
        (Message::Push(batch(Name::Tag(short))), [&[0], tagged].concat()),
        (Message::Push(batch(Name::Id(log()))), [&[0], &named[..]].concat()),
        (Message::Fill(batch(Name::Tag(short))), [&[1], tagged].concat()),
        (Message::Backlog(batch(Name::Tag(short))), [&[2], tagged].concat()),
        (Message::Ack { number: 300 }, vec![3, 251, 44, 1]),
        (Message::Have(have.clone()), vec![4, 1, 5, 6, 7, 8, 3]),
        (Message::Offer(have), vec![5, 1, 5, 6, 7, 8, 3]),
        (Message::Want(vec![range]), [&[6, 1], id, &[1, 4]].concat()),
        (Message::Graft(vec![Graft { log: log(), after: Seq::new(4) }]), [&[7, 1], id, &[4]].concat()),
        (Message::Prune(vec![log()]), [&[8, 1], id].concat()),
        (Message::Digest(Digest::new(5)), vec![9, 5]),
        (Message::Vector(chunk), [&[10, 0, 1], id, &[1], id, &[3, 4, 1]].concat()),
        (Message::Marks(marks), [&[11], id, &[1, 3, 4]].concat()),
        (Message::Trimmed(line), [&[12], id, &[3, 4]].concat()),
        (
            Message::Held(vec![Held { member: node(1), boot: Boot::new(9), age_ms: 250, lines: vec![hold] }]),
            [&[13, 1], &id[..16], &[9, 250, 1, 5, 6, 7, 8, 3, 5, 6, 7, 8]].concat(),
        ),
        (Message::Tell(vec![node(1)]), [&[14, 1], &id[..16]].concat()),
        (Message::Equal { digest: Digest::new(5), members: vec![short] }, vec![15, 5, 1, 5, 6, 7, 8]),
        (Message::Paused, vec![16]),
        (Message::Watch(vec![Name::Tag(short)]), vec![17, 1, 5, 6, 7, 8]),
        (Message::Part { number: 300 }, vec![18, 251, 44, 1]),
    ];
    for (message, expected) in golden {
        assert_eq!(bytes(&message), expected, "{message:?}");
        let (read, len): (Message, usize) = bincode::decode_from_slice(&expected, bincode::config::standard()).unwrap();
        assert_eq!((read, len), (message, expected.len()));
    }
}

#[test]
fn the_chain_of_a_log_never_changes() {
    let mut logs = Logs::default();
    let at = logs.intern(log());
    let before = logs.get(at).chain_at(0).unwrap();
    let hlc = Hlc { wall: WallTime::from_micros(5), logical: 1 };
    logs.get_mut(at).push_pending(Entry { hlc, body: Bytes::from_static(&[9, 8]) });
    let after = logs.get(at).chain_at(1).unwrap();
    assert_eq!(
        (before.value(), after.value()),
        (1_380_163_530_672_338_461, 4_476_401_553_260_458_003),
        "peers of all versions must agree on it"
    );
}

quickcheck::quickcheck! {
    fn digests_do_not_depend_on_the_order_in_which_logs_came(order: Vec<u8>, seed: u8) -> bool {
        let place = |n: u8| LogId { actor: actor(n % 5, 1), topic: Topic::DOCUMENTS };
        let hold = |order: &[u8]| {
            let mut logs = Logs::default();
            for n in order {
                let at = logs.intern(place(*n));
                let seq = logs.get(at).durable();
                logs.restore(at, &Entry { hlc: Hlc::default(), body: body(place(*n), seq, 9) }, super::at(0, 9));
                if seq % 2 == 0 {
                    logs.digest();
                }
            }
            let read = logs.current_digest();
            assert_eq!(read, logs.digest(), "who only reads sees the same");
            read
        };
        let mut shuffled = order.clone();
        crate::machine::Rng::fork(&[seed; 32], "test").shuffle(&mut shuffled);
        let mut more = order.clone();
        more.push(seed);
        hold(&order) == hold(&shuffled) && hold(&order) != hold(&more)
    }
}

/// Else an audit took two branches of a log for one log, and what came of them for a defect.
#[test]
fn logs_of_one_length_with_different_entries_have_different_digests() {
    let digest = |salt: u64| {
        let mut logs = Logs::default();
        let at = logs.intern(log());
        logs.restore(at, &Entry { hlc: Hlc::default(), body: body(log(), salt, 9) }, super::at(0, 9));
        logs.current_digest()
    };
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1), digest(2));
}

#[test]
fn logs_whose_tags_collide_go_by_their_ids() {
    let mut logs = Logs::default();
    let at = logs.intern(log());
    assert!(matches!(logs.tag(at), Some(Name::Tag(_))));
    logs.collide(at);
    assert_eq!(logs.tag(at), None);
}
