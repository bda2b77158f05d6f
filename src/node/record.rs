//! What the node keeps in its log: its own life, and the entries of all origins.

use bincode::{Decode, Encode};

use crate::replication;
use crate::types::{Actor, Boot, Chain, Hlc, Lsn, Topic, WallTime};

/// One record. The kind's number stands in the log's frame; numbers are never reused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// The node started. Durable before it speaks.
    Booted { boot: Boot },
    /// The node writes as this actor from here on.
    Minted { actor: Actor },
    /// An entry of an origin log, its own or another's.
    Entry(replication::Record),
    /// Entries that were written before stand in another log from here on.
    Branch(replication::Branch),
    /// The same of the events' chain, whose records from this one on were written after it.
    EventsBranch { branch: replication::Branch, before: Lsn },
    /// What stands before a segment of the events' chain does not count any more.
    Trim(replication::Trim),
    /// Entries that others do not hold any more were passed over.
    Skip(replication::Line),
    /// The operator paused a replica, or resumed it.
    Pause(replication::Pause),
}

const BOOTED: u8 = 1;
const MINTED: u8 = 2;
const ENTRY: u8 = 3;
const BRANCH: u8 = 4;
const EVENTS_BRANCH: u8 = 5;
const TRIM: u8 = 6;
const SKIP: u8 = 7;
const PAUSE: u8 = 8;

/// Longest record, in bytes: one entry of 16 MiB and its surroundings.
const LEN_MAX: usize = (16 << 20) + (64 << 10);

#[derive(Encode, Decode)]
struct Life {
    boot: Boot,
}

impl Own {
    /// Where it is written.
    pub(super) fn chain(&self) -> Chain {
        match self {
            Self::Entry(replication::Record { log, .. }) | Self::Skip(replication::Line { log, .. })
                if log.topic == Topic::EVENTS =>
            {
                Chain::Events
            }
            _ => Chain::Main,
        }
    }

    /// Kind, stamp and payload, as the log frames them.
    pub(super) fn encode(&self, wall: WallTime) -> (u8, Hlc, Vec<u8>) {
        let stamp = Hlc { wall, logical: 0 };
        match self {
            Self::Booted { boot } => (BOOTED, stamp, bytes_of(&Life { boot: *boot })),
            Self::Minted { actor } => (MINTED, stamp, bytes_of(actor)),
            Self::Entry(record) => (ENTRY, record.hlc, bytes_of(record)),
            Self::Branch(branch) => (BRANCH, stamp, bytes_of(branch)),
            Self::EventsBranch { branch, before } => (EVENTS_BRANCH, stamp, bytes_of(&(*branch, *before))),
            Self::Trim(trim) => (TRIM, stamp, bytes_of(trim)),
            Self::Skip(line) => (SKIP, stamp, bytes_of(line)),
            Self::Pause(pause) => (PAUSE, stamp, bytes_of(pause)),
        }
    }

    /// # Errors
    /// What does not fit, in words.
    pub(super) fn decode(kind: u8, payload: &[u8]) -> Result<Self, String> {
        match kind {
            BOOTED => parse(payload).map(|Life { boot }| Self::Booted { boot }),
            MINTED => parse(payload).map(|actor| Self::Minted { actor }),
            ENTRY => parse(payload).map(Self::Entry),
            BRANCH => parse(payload).map(Self::Branch),
            EVENTS_BRANCH => parse(payload).map(|(branch, before)| Self::EventsBranch { branch, before }),
            TRIM => parse(payload).map(Self::Trim),
            SKIP => parse(payload).map(Self::Skip),
            PAUSE => parse(payload).map(Self::Pause),
            other => Err(format!("record kind {other} is not known; a newer version wrote this log")),
        }
    }
}

fn bytes_of(value: &impl Encode) -> Vec<u8> {
    bincode::encode_to_vec(value, bincode::config::standard()).expect("writing to a Vec does not fail")
}

fn parse<T: Decode<()>>(payload: &[u8]) -> Result<T, String> {
    let config = bincode::config::standard().with_limit::<LEN_MAX>();
    match bincode::decode_from_slice(payload, config) {
        Ok((value, read)) if read == payload.len() => Ok(value),
        Ok((_, read)) => Err(format!("{} bytes are left over", payload.len() - read)),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Digest, LogId, Mint, NodeId, Seq};
    use bytes::Bytes;

    #[test]
    fn golden_bytes_of_every_record() {
        let actor = Actor { node: NodeId::from_u128(1), mint: Mint::new(300) };
        let entry = replication::Record {
            log: LogId { actor, topic: Topic::DOCUMENTS },
            seq: Seq::new(2),
            hlc: Hlc { wall: WallTime::from_micros(5), logical: 1 },
            body: Bytes::from_static(&[9]),
        };
        let id = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let branch = replication::Branch {
            log: LogId { actor, topic: Topic::DOCUMENTS },
            from: Seq::new(5),
            moved: Seq::new(6),
            to: Actor { mint: Mint::new(8), ..actor },
            at: Seq::new(2),
        };
        let line =
            replication::Line { log: LogId { actor, topic: Topic::EVENTS }, last: Seq::new(3), chain: Digest::new(4) };
        let trim = replication::Trim { first: Chain::Events.origin().next(), next: Lsn::new(6), lines: vec![line] };
        let first = [253, 1, 0, 0, 0, 0, 0, 0, 128];
        let pause = replication::Pause { peer: actor.node, paused: true };
        let golden: [(Own, u8, Vec<u8>); 8] = [
            (Own::Pause(pause), 8, [&id[..], &[1]].concat()),
            (Own::Booted { boot: Boot::new(7) }, 1, vec![7]),
            (Own::Minted { actor }, 2, [&id[..], &[251, 44, 1]].concat()),
            (Own::Entry(entry), 3, [&id[..], &[251, 44, 1, 0, 2, 5, 1, 1, 9]].concat()),
            (Own::Branch(branch), 4, [&id[..], &[251, 44, 1, 0, 5, 6], &id[..], &[8, 2]].concat()),
            (
                Own::EventsBranch { branch, before: Lsn::new(9) },
                5,
                [&id[..], &[251, 44, 1, 0, 5, 6], &id[..], &[8, 2, 9]].concat(),
            ),
            (Own::Trim(trim), 6, [&first[..], &[6, 1], &id[..], &[251, 44, 1, 1, 3, 4]].concat()),
            (Own::Skip(line), 7, [&id[..], &[251, 44, 1, 1, 3, 4]].concat()),
        ];
        for (own, kind, bytes) in golden {
            let (found, _, payload) = own.encode(WallTime::EPOCH);
            assert_eq!((found, &payload), (kind, &bytes), "{own:?}");
            assert_eq!(Own::decode(kind, &bytes), Ok(own));
        }
    }

    #[test]
    fn foreign_records_are_refused_in_words() {
        assert!(Own::decode(9, &[]).unwrap_err().contains("kind 9"));
        assert!(Own::decode(BOOTED, &[7, 7]).unwrap_err().contains("left over"));
        assert!(Own::decode(MINTED, &[1]).is_err());
    }
}
