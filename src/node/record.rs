//! What the node keeps in its log: its own life, and the entries of all origins. Public for who reads and writes logs as files.

use bincode::{Decode, Encode};
use serde::Serialize;

use super::policies::Remembered;
use crate::types::{Actor, Boot, Chain, Hlc, Lsn, TimelineId, Topic};
use crate::{consensus, replication, roles};

/// One record. The kind's number stands in the log's frame; numbers are never reused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Own {
    /// The node started. Durable before it speaks.
    Booted {
        /// The number of that life.
        boot: Boot,
    },
    /// The node writes as this actor from here on.
    Minted {
        /// The actor.
        actor: Actor,
    },
    /// An entry of an origin log, its own or another's.
    Entry(replication::Record),
    /// Entries that were written before stand in another log from here on.
    Branch(replication::Branch),
    /// The same of the events' chain.
    EventsBranch {
        /// Which entries, and where they stand from here on.
        branch: replication::Branch,
        /// The records of the events' chain from this one on were written after it.
        before: Lsn,
    },
    /// What stands before a segment of the events' chain does not count any more.
    Trim(replication::Trim),
    /// Entries that others do not hold any more were passed over.
    Skip(replication::Line),
    /// The operator paused a replica, or resumed it.
    Pause(replication::Pause),
    /// What stands before was written here by a recovery. Whoever boots from it writes as a new actor.
    Restored(Restored),
    /// Somebody may want to come back to here.
    Point {
        /// Its name.
        name: String,
    },
    /// Of decisions: what this store promised as a voter, and the log of what is decided.
    Consensus(consensus::Record),
    /// The highest token that this node saw of a role.
    Roles(roles::Record),
    /// By which policies this node shows what met: those of the newest decision that it has heard of.
    Policies(Remembered),
}

/// From what a log was put back, and why.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Restored {
    /// From where: a directory, or a repository and a backup's id.
    pub from: String,
    /// The last record of the main chain that was taken.
    pub lsn: Lsn,
    /// When that one became part of the log that it was taken from, by that log's stamps.
    pub at: Hlc,
    /// Which timeline of the mesh the log is of from here on; 0 is the first.
    pub timeline: u32,
    /// Which of those of that number.
    #[serde(serialize_with = "as_digits")]
    pub fork: u64,
    /// What was asked for, in words.
    pub why: String,
}

impl Restored {
    /// The timeline, by its name.
    #[must_use]
    pub const fn line(&self) -> TimelineId {
        TimelineId { number: self.timeline, fork: self.fork }
    }

    /// As it is written: kind 9 where the fork is 0, as all were before there were forks.
    fn to_parts(&self) -> (u8, Vec<u8>) {
        let (from, why) = (self.from.clone(), self.why.clone());
        let said = Said { from, lsn: self.lsn, at: self.at, timeline: self.timeline, why };
        if self.fork == 0 { (RESTORED, bytes_of(&said)) } else { (FORKED, bytes_of(&(said, self.fork))) }
    }

    fn of(Said { from, lsn, at, timeline, why }: Said, fork: u64) -> Self {
        Self { from, lsn, at, timeline, fork, why }
    }
}

/// JSON's numbers are not exact to 64 bits.
fn as_digits<S: serde::Serializer>(fork: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{fork:016x}"))
}

#[derive(Encode, Decode)]
struct Said {
    from: String,
    lsn: Lsn,
    at: Hlc,
    timeline: u32,
    why: String,
}

const BOOTED: u8 = 1;
const MINTED: u8 = 2;
const ENTRY: u8 = 3;
const BRANCH: u8 = 4;
const EVENTS_BRANCH: u8 = 5;
const TRIM: u8 = 6;
const SKIP: u8 = 7;
const PAUSE: u8 = 8;
const RESTORED: u8 = 9;
const POINT: u8 = 10;
const FORKED: u8 = 11;
const CONSENSUS: u8 = 12;
const ROLES: u8 = 13;
const POLICIES: u8 = 14;

/// Longest record, in bytes: one entry of 16 MiB and its surroundings.
const LEN_MAX: usize = (16 << 20) + (64 << 10);

#[derive(Encode, Decode)]
struct Life {
    boot: Boot,
}

impl Own {
    /// Where it is written.
    #[must_use]
    pub fn chain(&self) -> Chain {
        match self {
            Self::Entry(replication::Record { log, .. }) | Self::Skip(replication::Line { log, .. })
                if log.topic == Topic::EVENTS =>
            {
                Chain::Events
            }
            _ => Chain::Main,
        }
    }

    /// Kind and payload, as the log frames them.
    #[must_use]
    pub fn encode(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Booted { boot } => (BOOTED, bytes_of(&Life { boot: *boot })),
            Self::Minted { actor } => (MINTED, bytes_of(actor)),
            Self::Entry(record) => (ENTRY, bytes_of(record)),
            Self::Branch(branch) => (BRANCH, bytes_of(branch)),
            Self::EventsBranch { branch, before } => (EVENTS_BRANCH, bytes_of(&(*branch, *before))),
            Self::Trim(trim) => (TRIM, bytes_of(trim)),
            Self::Skip(line) => (SKIP, bytes_of(line)),
            Self::Pause(pause) => (PAUSE, bytes_of(pause)),
            Self::Restored(restored) => restored.to_parts(),
            Self::Point { name } => (POINT, bytes_of(name)),
            Self::Consensus(record) => (CONSENSUS, bytes_of(record)),
            Self::Roles(record) => (ROLES, bytes_of(record)),
            Self::Policies(remembered) => (POLICIES, bytes_of(remembered)),
        }
    }

    /// What kind it is, for people and counts.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Booted { .. } => "booted",
            Self::Minted { .. } => "minted",
            Self::Entry(_) => "entry",
            Self::Branch(_) | Self::EventsBranch { .. } => "branch",
            Self::Trim(_) => "trim",
            Self::Skip(_) => "skip",
            Self::Pause(_) => "pause",
            Self::Restored(_) => "restored",
            Self::Point { .. } => "point",
            Self::Consensus(_) => "consensus",
            Self::Roles(_) => "roles",
            Self::Policies(_) => "policies",
        }
    }

    /// The record of a frame of the log.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub fn decode(kind: u8, payload: &[u8]) -> Result<Self, String> {
        match kind {
            BOOTED => parse(payload).map(|Life { boot }| Self::Booted { boot }),
            MINTED => parse(payload).map(|actor| Self::Minted { actor }),
            ENTRY => parse(payload).map(Self::Entry),
            BRANCH => parse(payload).map(Self::Branch),
            EVENTS_BRANCH => parse(payload).map(|(branch, before)| Self::EventsBranch { branch, before }),
            TRIM => parse(payload).map(Self::Trim),
            SKIP => parse(payload).map(Self::Skip),
            PAUSE => parse(payload).map(Self::Pause),
            RESTORED => parse(payload).map(|said| Self::Restored(Restored::of(said, 0))),
            FORKED => parse(payload).map(|(said, fork)| Self::Restored(Restored::of(said, fork))),
            POINT => parse(payload).map(|name| Self::Point { name }),
            CONSENSUS => parse(payload).map(Self::Consensus),
            ROLES => parse(payload).map(Self::Roles),
            POLICIES => parse(payload).map(Self::Policies),
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
    use crate::types::{Digest, Epoch, Index, LogId, Mint, NodeId, Seq, Term, WallTime};
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
        let restored = Restored {
            from: "dir".into(),
            lsn: Lsn::new(300),
            at: Hlc { wall: WallTime::from_micros(5), logical: 1 },
            timeline: 2,
            fork: 0,
            why: "lsn 300".into(),
        };
        let forked = Restored { fork: 7, ..restored.clone() };
        let vote =
            consensus::Record::Vote { founding: Mint::new(9), epoch: Epoch::new(1), term: Term::new(2), vote: None };
        let begun = roles::Record::Begun {
            role: roles::RoleName::primary(),
            token: consensus::Token { epoch: Epoch::new(1), term: Term::new(2), index: Index::new(300) },
        };
        let remembered = Remembered {
            founding: Mint::new(9),
            token: consensus::Token { epoch: Epoch::new(1), term: Term::new(2), index: Index::new(300) },
            value: consensus::Value::new(Bytes::from_static(b"[]")).unwrap(),
        };
        let golden: [(Own, u8, Vec<u8>); 14] = [
            (Own::Policies(remembered), 14, b"\x09\x01\x02\xfb\x2c\x01\x02[]".to_vec()),
            (Own::Roles(begun), 13, b"\x01\x07primary\x01\x02\xfb\x2c\x01".to_vec()),
            (Own::Consensus(vote), 12, vec![1, 9, 1, 2, 0]),
            (Own::Restored(forked), 11, b"\x03dir\xfb\x2c\x01\x05\x01\x02\x07lsn 300\x07".to_vec()),
            (Own::Point { name: "noon".into() }, 10, b"\x04noon".to_vec()),
            (Own::Restored(restored), 9, b"\x03dir\xfb\x2c\x01\x05\x01\x02\x07lsn 300".to_vec()),
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
            let (found, payload) = own.encode();
            assert_eq!((found, &payload), (kind, &bytes), "{own:?}");
            assert_eq!(Own::decode(kind, &bytes), Ok(own));
        }
    }

    #[test]
    fn foreign_records_are_refused_in_words() {
        assert!(Own::decode(200, &[]).unwrap_err().contains("kind 200"));
        assert!(Own::decode(BOOTED, &[7, 7]).unwrap_err().contains("left over"));
        assert!(Own::decode(MINTED, &[1]).is_err());
    }
}
