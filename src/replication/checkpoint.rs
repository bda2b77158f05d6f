//! What a snapshot keeps of origin logs: where each entry stands on disk and the chain after it, so that a start need not
//! read what the log says up to there.
//!
//! Only logs that are kept whole are in it. Their entries follow each other and none is ever changed, so who copies them needs
//! no moment at which all stands still: it notes how far each log reaches, and copies up to there, a part at a time. What would make that
//! untrue, a branch that moves to another log, is told by [`Event::GaveWay`](super::Event::GaveWay), and begins the copy anew.

use bincode::{Decode, Encode};

use super::Replication;
use super::log::Slot;
use super::message::Entry;
use crate::types::{Digest, Hlc, LogId, Position, SegmentId, Seq, Topic};

/// Entries that follow each other in one log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Slots {
    /// Whose.
    pub log: LogId,
    /// The place of the first of them.
    pub first: Seq,
    /// Of each where its frame stands (segment, byte, bytes) and the chain after it.
    pub entries: Vec<(SegmentId, u64, u32, Digest)>,
}

impl Replication {
    /// How far each log that is kept whole is held durably.
    #[must_use]
    pub fn reach(&self) -> Vec<(LogId, Seq)> {
        let whole = self.logs.by_id().filter(|(_, log)| log.id.topic != Topic::EVENTS && log.durable() > 0);
        whole.map(|(_, log)| (log.id, Seq::new(log.durable()))).collect()
    }

    /// Entries of a log from `first` up to `last`, at most `max` of them.
    #[must_use]
    pub fn slots(&self, log: LogId, first: Seq, last: Seq, max: usize) -> Slots {
        let held = self.logs.find(log).map(|at| self.logs.get(at));
        let places = (first.value()..=last.value()).take(max);
        let entries = places.map_while(|seq| {
            let (log, Position { segment, offset, len }) = held.and_then(|log| Some((log, log.position(seq)?)))?;
            Some((segment, offset, len, log.chain_at(seq)?))
        });
        Slots { log, first, entries: entries.collect() }
    }

    /// Whether no branch is on its way to another log.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.moves.is_empty() && self.moved.is_empty()
    }

    /// The highest stamps of all that is durable: of this node's own entries, and of all.
    #[must_use]
    pub const fn stamps(&self) -> (Hlc, Hlc) {
        self.restored
    }

    /// Takes the highest stamps back, before the entries behind the snapshot are [restored](Self::restore).
    pub fn restore_stamps(&mut self, (ours, all): (Hlc, Hlc)) {
        self.restored = (self.restored.0.max(ours), self.restored.1.max(all));
    }

    /// Takes entries back, in each log's order, before those behind the snapshot are [restored](Self::restore).
    ///
    /// # Errors
    /// What cannot be, in words. Nothing of it was kept.
    pub fn restore_slots(&mut self, slots: &Slots) -> Result<(), String> {
        if slots.log.topic == Topic::EVENTS {
            return Err(format!("{} is of streams", slots.log.at(slots.first)));
        }
        let next = self.next_of(slots.log);
        if slots.first != next || slots.entries.is_empty() {
            return Err(format!("{} stands where {next} is expected", slots.log.at(slots.first)));
        }
        let at = self.logs.intern(slots.log);
        for (segment, offset, len, chain) in &slots.entries {
            let position = Position { segment: *segment, offset: *offset, len: *len };
            self.logs.take_back(at, Slot { position, chain: *chain });
        }
        Ok(())
    }

    /// Whether this is the entry that the chain has at this place.
    #[must_use]
    pub fn is_at(&self, log: LogId, seq: Seq, record: &super::Record) -> bool {
        let Some(held) = self.logs.find(log).map(|at| self.logs.get(at)) else { return false };
        let before = seq.value().checked_sub(1).and_then(|before| held.chain_at(before));
        let entry = Entry { hlc: record.hlc, body: record.body.clone() };
        before.is_some_and(|before| held.chain_at(seq.value()) == Some(entry.link(before)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::{Config, Record};
    use crate::types::{Actor, Mint, NodeId, WallTime};
    use bytes::Bytes;

    fn log(node: u128) -> LogId {
        LogId { actor: Actor { node: NodeId::from_u128(node), mint: Mint::new(1) }, topic: Topic::DOCUMENTS }
    }

    fn position(n: u64) -> Position {
        Position { segment: SegmentId::new(1 + n / 10), offset: 80 + n * 48, len: 48 }
    }

    fn record(node: u128, seq: u64) -> Record {
        let hlc = Hlc { wall: WallTime::from_micros(seq), logical: 0 };
        Record { log: log(node), seq: Seq::new(seq), hlc, body: Bytes::from(seq.to_le_bytes().to_vec()) }
    }

    fn whole(of: &[u8]) -> Replication {
        let mut whole = Replication::new(log(1).actor, Config::default());
        for (n, node) in of.iter().enumerate() {
            let node = u128::from(node % 3) + 1;
            let record = record(node, whole.next_of(log(node)).value());
            whole.restore(&record, position(n as u64)).unwrap();
        }
        whole
    }

    quickcheck::quickcheck! {
        fn logs_taken_back_in_parts_are_the_logs_that_were(of: Vec<u8>, max: u8) -> bool {
            let (whole, mut again) = (whole(&of), Replication::new(log(1).actor, Config::default()));
            again.restore_stamps(whole.stamps());
            for (log, last) in whole.reach() {
                while again.next_of(log) <= last {
                    let slots = whole.slots(log, again.next_of(log), last, usize::from(max) + 1);
                    again.restore_slots(&slots).unwrap();
                }
            }
            let places = |of: &Replication| {
                let all = of.reach().into_iter().flat_map(|(log, last)| (1..=last.value()).map(move |n| (log, Seq::new(n))));
                all.map(|(log, seq)| of.view().position(log, seq)).collect::<Vec<_>>()
            };
            again.view().digest() == whole.view().digest()
                && again.view().entries() == whole.view().entries()
                && again.stamps() == whole.stamps()
                && places(&again) == places(&whole)
        }
    }

    #[test]
    fn what_is_out_of_order_is_refused_and_an_entry_is_known_by_the_chain() {
        let mut again = Replication::new(log(1).actor, Config::default());
        let whole = whole(&[0, 0, 0]);
        let mut slots = whole.slots(log(1), Seq::new(2), Seq::new(3), 9);
        assert!(again.restore_slots(&slots).unwrap_err().contains("expected"));
        slots = whole.slots(log(1), Seq::new(1), Seq::new(3), 9);
        again.restore_slots(&slots).unwrap();
        assert!(again.restore_slots(&slots).is_err(), "twice");
        slots.log.topic = Topic::EVENTS;
        assert!(again.restore_slots(&slots).unwrap_err().contains("streams"));
        assert!(again.is_at(log(1), Seq::new(2), &record(1, 2)));
        assert!(!again.is_at(log(1), Seq::new(2), &record(1, 3)));
        assert!(!again.is_at(log(2), Seq::new(2), &record(1, 2)));
    }

    #[test]
    fn golden_bytes() {
        let bytes =
            bincode::encode_to_vec(whole(&[0]).slots(log(1), Seq::new(1), Seq::new(1), 1), bincode::config::standard());
        let chain = whole(&[0]).slots(log(1), Seq::new(1), Seq::new(1), 1).entries[0].3.value();
        let id = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let golden = [&id[..], &[1, 0, 1, 1, 1, 80, 48, 253], &chain.to_le_bytes()].concat();
        assert_eq!(bytes.unwrap(), golden);
    }
}
