//! What is known of a member.

use std::sync::Arc;

use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::types::{Address, Boot, Incarnation, NodeId, Time};

/// What a member says of itself. Only the member changes it; a change raises its incarnation.
///
/// On the wire it is its fields in order, `read_only` as the high bit of `protocol`: who knows nothing of it reads a version that
/// it does not look at. `services` stand behind, if there are any and as the bit below it says, and then `load`, as the next one says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Meta {
    /// A name for people, unique by convention only.
    pub name: String,
    /// The region of the topology it is in; empty if none was given.
    pub region: String,
    /// The zone within the region; empty if none was given.
    pub zone: String,
    /// Higher is preferred as hub, root and, later, voter and primary.
    pub priority: u16,
    /// Takes part in data but is never hub, root or voter.
    pub observer: bool,
    /// Where it listens.
    pub addresses: Vec<Address>,
    /// The highest wire version that it speaks.
    pub protocol: u16,
    /// Its log takes no more writes: it gives what it holds, and takes nothing.
    pub read_only: bool,
    /// What clients find at its host, beside itself.
    pub services: Vec<Service>,
    /// How busy its host is: work that wants to run, in percent of what its cores do, as a mean of the last minute. Nothing where
    /// that is not known.
    pub load: Option<u16>,
}

/// Something that clients connect to at a member's host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize)]
pub struct Service {
    /// Its name: the same at each member that has it.
    pub name: String,
    /// Its TCP port.
    pub port: u16,
}

/// In `protocol` as it is sent.
const READ_ONLY: u16 = 1 << 15;
/// The same.
const SERVICES: u16 = 1 << 14;
/// The same.
const LOAD: u16 = 1 << 13;
/// All of them.
const FLAGS: u16 = READ_ONLY | SERVICES | LOAD;

impl Encode for Meta {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.name.encode(encoder)?;
        self.region.encode(encoder)?;
        self.zone.encode(encoder)?;
        self.priority.encode(encoder)?;
        self.observer.encode(encoder)?;
        self.addresses.encode(encoder)?;
        let read_only = if self.read_only { READ_ONLY } else { 0 };
        let services = if self.services.is_empty() { 0 } else { SERVICES };
        let load = if self.load.is_some() { LOAD } else { 0 };
        (self.protocol & !FLAGS | read_only | services | load).encode(encoder)?;
        if !self.services.is_empty() {
            self.services.encode(encoder)?;
        }
        self.load.map_or(Ok(()), |load| load.encode(encoder))
    }
}

impl<C> Decode<C> for Meta {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let (name, region, zone) = (Decode::decode(decoder)?, Decode::decode(decoder)?, Decode::decode(decoder)?);
        let (priority, observer) = (Decode::decode(decoder)?, Decode::decode(decoder)?);
        let (addresses, version) = (Decode::decode(decoder)?, u16::decode(decoder)?);
        let (protocol, read_only) = (version & !FLAGS, version & READ_ONLY != 0);
        let services = if version & SERVICES == 0 { Vec::new() } else { Decode::decode(decoder)? };
        let load = if version & LOAD == 0 { None } else { Some(Decode::decode(decoder)?) };
        Ok(Self { name, region, zone, priority, observer, addresses, protocol, read_only, services, load })
    }
}

impl<'de, C> BorrowDecode<'de, C> for Meta {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Decode::decode(decoder)
    }
}

impl Meta {
    /// Longest encoding, in bytes: small enough to travel with pings (memberlist's bound).
    pub const LEN_MAX: usize = 512;

    /// Checks the bound.
    ///
    /// # Errors
    /// [`MetaError`] with the length found. Nothing was changed.
    pub fn check(&self) -> Result<(), MetaError> {
        let len = self.encoded_len();
        if len > Self::LEN_MAX { Err(MetaError { len }) } else { Ok(()) }
    }

    /// Bytes of its encoding, at most: every length and integer is counted as if it took three bytes.
    pub(super) fn encoded_len(&self) -> usize {
        let texts = self.name.len() + self.region.len() + self.zone.len();
        let addresses: usize = self.addresses.iter().map(|address| address.as_str().len() + 3).sum();
        let services: usize = self.services.iter().map(|service| service.name.len() + 6).sum();
        // The load counts also where it is not told: a description that fits goes on to when it is.
        texts + addresses + services + if self.services.is_empty() { 22 } else { 25 }
    }
}

/// What a node wants to say of itself is too long to be gossiped. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("name, region, zone, services and addresses take {len} bytes together, more than {max}", max = Meta::LEN_MAX)]
pub struct MetaError {
    /// Bytes found.
    pub len: usize,
}

/// What the mesh thinks of a member. Declared in the order of strength within one incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It answers.
    Alive,
    /// Somebody could not reach it; it has a while to refute.
    Suspect,
    /// It did not refute. It may yet, with a higher incarnation.
    Dead,
    /// It said goodbye.
    Left,
}

/// One member as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub id: NodeId,
    /// Which life of it.
    pub boot: Boot,
    /// Its own counter within that life.
    pub incarnation: Incarnation,
    /// What we think of it.
    pub state: State,
    /// What it says of itself.
    pub meta: Arc<Meta>,
    /// Since when it is in this state, on our monotonic clock.
    pub since: Time,
}

impl Member {
    /// Whether it counts as present: alive or only suspected.
    #[must_use]
    pub fn is_present(&self) -> bool {
        matches!(self.state, State::Alive | State::Suspect)
    }
}
