//! Poison in somebody's log: it is in no document, is listed alike wherever it arrives, also after a restart, and is judged
//! again when an operator asks for it.

use bytes::Bytes;

use super::*;
use crate::replication::{Batch, Entry, Message, Name, Run, Short};
use crate::types::{Digest, Hlc, LogId, Seq, Topic};

/// A node whose neighbour 2 sent it an entry that is no change, in a log of its own.
fn poisoned() -> (Host, LogId) {
    let (mut host, mut other) = (Host::on(1, BTreeMap::new(), 1), Host::on(2, BTreeMap::new(), 1));
    link(&mut host, &mut other, 2);
    converse(&mut host, &mut other, 2, 4);
    let log = LogId { actor: other.node().actor(), topic: Topic::DOCUMENTS };
    let root = Digest::ZERO.chain(&[&log.actor.to_bytes()[..], &log.topic.value().to_be_bytes()].concat());
    let [.., a, b, c, d] = root.value().to_be_bytes();
    let (before, _) = bincode::decode_from_slice::<Short, _>(&[a, b, c, d], bincode::config::standard()).unwrap();
    let body = documents::Body { doc: doc(), change: b"nonsense".to_vec() };
    let body = Bytes::from(bincode::encode_to_vec(&body, bincode::config::standard()).unwrap());
    let entry = Entry { hlc: Hlc { wall: WallTime::from_micros(1), logical: 0 }, body };
    let run = Run { log: Name::Id(log), first: Seq::new(1), before, entries: vec![entry] };
    let push = Message::Push(Batch { number: 1, runs: vec![run] });
    let frame = wire::seal(Kind::Replication, Lane::Sync, &push);
    host.handle(4, Input::Received { from: id(2), lane: Lane::Sync, frame });
    host.settle(4);
    (host, log)
}

fn command(host: &mut Host, n: u64, command: Command) -> Outcome {
    host.handle(5, Input::Command { id: CommandId::new(n), command });
    host.settle(5);
    host.replies.remove(&CommandId::new(n)).expect("answered").unwrap()
}

fn listed(host: &mut Host, n: u64) -> Quarantine {
    match command(host, n, Command::Quarantine) {
        Outcome::Quarantine(quarantine) => *quarantine,
        other => panic!("{other:?}"),
    }
}

#[test]
fn poison_is_listed_with_its_place_and_reason_on_every_peer_alike() {
    let (mut host, log) = poisoned();
    let quarantine = listed(&mut host, 1);
    assert_eq!(quarantine.origins, [Suspect { node: id(2), refused: 1, waiting: 0, logs: 1 }]);
    let [entry] = &quarantine.entries[..] else { panic!("{quarantine:?}") };
    assert_eq!((entry.log, entry.seq, entry.doc.clone()), (log, Seq::new(1), Some(doc())));
    assert_eq!(entry.why, "not a change: it begins otherwise");
    let status = host.node().status(now(5));
    assert_eq!((status.quarantined, status.entries, status.documents), (quarantine.origins.clone(), 1, 0));
    // Whoever hears of it from us, and we after a restart, say the same.
    let mut third = Host::on(3, BTreeMap::new(), 5);
    link(&mut host, &mut third, 5);
    converse(&mut host, &mut third, 5, 9);
    assert_eq!(listed(&mut third, 1), quarantine);
    let mut again = Host::on(1, host.files, 10);
    assert_eq!(listed(&mut again, 1), quarantine);
}

#[test]
fn a_released_entry_is_judged_again() {
    let (mut host, _) = poisoned();
    let before = listed(&mut host, 1);
    assert_eq!(command(&mut host, 2, Command::Release { origin: Some(id(9)) }), Outcome::Released { entries: 0 });
    assert_eq!(listed(&mut host, 3), before);
    host.told.clear();
    assert_eq!(command(&mut host, 4, Command::Release { origin: None }), Outcome::Released { entries: 1 });
    let refused = |event: &&Event| matches!(event, Event::Documents(documents::Event::Refused { .. }));
    assert_eq!(host.told.iter().filter(refused).count(), 1, "it was read again, and is as bad as before");
    assert_eq!(listed(&mut host, 5), before);
}
