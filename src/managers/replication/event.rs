//! What is replicated, to whom, and how it goes.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::driver::Clock;
use crate::driver::admission::key::random;
use crate::error::{Error, ErrorKind};
use crate::events::EVENT_MAX;
use crate::managers::error::{HaError, HaResult};
use crate::replication::ReplicationState;
use crate::types::{Checksum, WallTime};

/// Most bytes before the data of an event in a stream: three numbers of 128 bits, two of 64, and two of 32 (a checksum and the length
/// of the data), as bincode writes them, each with a byte that tells its width.
const HEADER_MAX: usize = 3 * 17 + 2 * 9 + 2 * 5;

/// A replica: another member of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaNode {
    /// The member's id.
    pub id: Uuid,
    /// A name for people.
    pub name: String,
    /// Where the member listens for peers: a multiaddr or `host:port`, one of those that it tells, with or without the
    /// peer's id (`/p2p/ID`) at its end. Empty: wherever it is.
    pub address: String,
    /// Higher comes first: in [`get_replicas`](super::ReplicationManager::get_replicas), and where events for several go out together. It is
    /// this program's own; the mesh knows nothing of it.
    pub priority: u32,
    /// How it stands; what is given when it is added is not looked at, since the node knows.
    #[serde(skip_deserializing, default = "initializing")]
    pub state: ReplicationState,
    /// When it was last known to hold more than before, in microseconds since 1970.
    #[serde(skip_deserializing, default)]
    pub last_replicated_at: Option<WallTime>,
    /// For how long it has lacked the oldest of what it lacks, in milliseconds; nothing while nothing is known.
    pub lag_ms: Option<u64>,
}

fn initializing() -> ReplicationState {
    ReplicationState::Initializing
}

/// Some bytes for one replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplicationEvent {
    /// Names it.
    pub id: Uuid,
    /// Who sends it.
    pub source_node_id: Uuid,
    /// Whom it is for.
    pub target_node_id: Uuid,
    /// When it was made, in microseconds since 1970.
    pub timestamp: WallTime,
    /// What it says.
    pub data: Vec<u8>,
    /// The sender's own number for it.
    pub sequence: u64,
    /// CRC-32C of the data.
    pub checksum: u32,
}

/// As it is in a stream.
#[derive(Encode, Decode)]
struct Stored {
    id: u128,
    source: u128,
    target: u128,
    timestamp: u64,
    sequence: u64,
    checksum: u32,
    data: Vec<u8>,
}

impl ReplicationEvent {
    /// Longest data, in bytes: an event of a stream, less what stands before the data in it.
    pub const DATA_MAX: usize = EVENT_MAX - HEADER_MAX;

    /// An event of now, with an id of its own.
    #[must_use]
    pub fn new(source_node_id: Uuid, target_node_id: Uuid, data: Vec<u8>, sequence: u64) -> Self {
        let (id, timestamp) = (uuid::Builder::from_random_bytes(random()).into_uuid(), Clock::start().now().wall);
        let checksum = Checksum::of(&data).value();
        Self { id, source_node_id, target_node_id, timestamp, data, sequence, checksum }
    }

    /// Whether the data is what the checksum is of.
    #[must_use]
    pub fn verify_checksum(&self) -> bool {
        Checksum::of(&self.data).value() == self.checksum
    }

    pub(super) fn check(&self) -> HaResult<()> {
        let (len, max) = (self.data.len(), Self::DATA_MAX);
        if len > max {
            let why = format!("the event's data has {len} bytes, the limit is {max}");
            return Err(Error::new(ErrorKind::TooLarge, why).into());
        }
        let found = Checksum::of(&self.data).value();
        let expected = self.checksum;
        if found == expected { Ok(()) } else { Err(HaError::Checksum { expected, found }) }
    }

    /// How many bytes it takes in a stream, at most.
    pub(super) fn len_max(&self) -> usize {
        HEADER_MAX + self.data.len()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let stored = Stored {
            id: self.id.as_u128(),
            source: self.source_node_id.as_u128(),
            target: self.target_node_id.as_u128(),
            timestamp: self.timestamp.as_micros(),
            sequence: self.sequence,
            checksum: self.checksum,
            data: self.data.clone(),
        };
        bincode::encode_to_vec(stored, bincode::config::standard()).expect("writing to a Vec does not fail")
    }

    /// Nothing if it is none: anybody may append to a stream.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let config = bincode::config::standard().with_limit::<{ 2 * Self::DATA_MAX }>();
        let (stored, read): (Stored, usize) = bincode::decode_from_slice(bytes, config).ok()?;
        let event = Self {
            id: Uuid::from_u128(stored.id),
            source_node_id: Uuid::from_u128(stored.source),
            target_node_id: Uuid::from_u128(stored.target),
            timestamp: WallTime::from_micros(stored.timestamp),
            data: stored.data,
            sequence: stored.sequence,
            checksum: stored.checksum,
        };
        (read == bytes.len() && event.verify_checksum()).then_some(event)
    }
}

/// How it goes, since the start of the manager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ReplicationStats {
    /// Events that were acknowledged as the mode wants.
    pub events_replicated: u64,
    /// The bytes of their data.
    pub bytes_replicated: u64,
    /// Events that were refused, or of which the copies that the mode wants were not known in time; with those that were to go behind
    /// one in the same batch.
    pub events_failed: u64,
    /// The lag of the replica that lags most, in milliseconds.
    pub current_lag_ms: u64,
    /// The mean of all lags that are remembered.
    pub average_lag_ms: f64,
    /// The longest lag that is remembered.
    pub peak_lag_ms: u64,
    /// Events that were acknowledged, a second, since the start.
    pub throughput_eps: f64,
    /// The bits of their data, a second, since the start.
    pub bandwidth_bps: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_itself_after_it_was_stored_and_anything_else_is_none() {
        let (source, target) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let event = ReplicationEvent::new(source, target, vec![1, 2, 3], 7);
        let bytes = event.encode();
        assert_eq!(ReplicationEvent::decode(&bytes), Some(event.clone()));
        assert_ne!(ReplicationEvent::new(source, target, vec![1, 2, 3], 7).id, event.id);
        for at in 0..bytes.len() {
            assert_eq!(ReplicationEvent::decode(&bytes[..at]), None);
        }
        let longest = ReplicationEvent {
            id: Uuid::max(),
            source_node_id: Uuid::max(),
            target_node_id: Uuid::max(),
            timestamp: WallTime::from_micros(u64::MAX),
            sequence: u64::MAX,
            ..ReplicationEvent::new(source, target, vec![1; ReplicationEvent::DATA_MAX], 7)
        };
        longest.check().unwrap();
        // Its checksum happens to need all four bytes.
        assert_eq!(
            (longest.encode().len(), longest.len_max()),
            (EVENT_MAX, EVENT_MAX),
            "with the longest header there is"
        );
        assert_eq!(ReplicationEvent::decode(&longest.encode()), Some(longest));
        let long = ReplicationEvent::new(source, target, vec![1; ReplicationEvent::DATA_MAX + 1], 7);
        assert_eq!(long.check().unwrap_err().code(), Some("too_large"));
        let mut forged = event;
        forged.data.push(4);
        assert!(!forged.verify_checksum() && ReplicationEvent::decode(&forged.encode()).is_none());
    }
}
