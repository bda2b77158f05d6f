//! What the main chain says of the node itself: everything but entries. The same record by record whether it is read at boot or
//! becomes durable in a life, so that a snapshot has it as a boot would.

use std::collections::{BTreeMap, BTreeSet};

use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};

use super::points::Point;
use super::policies::Remembered;
use super::record::{Own, Restored};
use crate::consensus::Kept;
use crate::replication::{Branch, Trim};
use crate::roles;
use crate::types::{Actor, Boot, Chain, Digest, Hlc, LogId, Lsn, NodeId, SegmentId, Seq};

/// See the file's essay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) boot: Option<Boot>,
    /// As whom the node writes, if anything behind the last recovery says so.
    pub(super) actor: Option<Actor>,
    /// From what the log was put back last.
    pub(super) restored: Option<Restored>,
    /// Whether nobody has lived on the log since.
    pub(super) unlived: bool,
    /// Branches of logs of the events' chain, each with the first record there that was written after it.
    pub(super) branches: Vec<(Branch, Lsn)>,
    /// Where the events' chain begins, and up to where its logs are not held.
    pub(super) start: Option<(SegmentId, Lsn)>,
    pub(super) trimmed: BTreeMap<LogId, (Seq, Digest)>,
    /// Whom the operator paused.
    pub(super) paused: BTreeSet<NodeId>,
    /// To where somebody may want to come back, in order.
    pub(super) points: Vec<Point>,
    /// The last record that moved entries of the main chain to another log.
    pub(super) moved: Option<Lsn>,
    /// What the records of consensus come to. In a snapshot it stands apart from the rest, since it may be long.
    pub(super) decided: Kept,
    /// And of roles; apart as well.
    pub(super) roles: roles::Kept,
    /// By which policies it shows what met; apart as well.
    pub(super) policies: Option<Remembered>,
}

/// The rest, in the order in which it was declared when snapshots began.
impl Encode for Life {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.boot.encode(encoder)?;
        self.actor.encode(encoder)?;
        self.restored.encode(encoder)?;
        self.unlived.encode(encoder)?;
        self.branches.encode(encoder)?;
        self.start.encode(encoder)?;
        self.trimmed.encode(encoder)?;
        self.paused.encode(encoder)?;
        self.points.encode(encoder)?;
        self.moved.encode(encoder)
    }
}

impl<'de, C> BorrowDecode<'de, C> for Life {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Decode::decode(decoder)
    }
}

impl<C> Decode<C> for Life {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Ok(Self {
            boot: Decode::decode(decoder)?,
            actor: Decode::decode(decoder)?,
            restored: Decode::decode(decoder)?,
            unlived: Decode::decode(decoder)?,
            branches: Decode::decode(decoder)?,
            start: Decode::decode(decoder)?,
            trimmed: Decode::decode(decoder)?,
            paused: Decode::decode(decoder)?,
            points: Decode::decode(decoder)?,
            moved: Decode::decode(decoder)?,
            decided: Kept::default(),
            roles: roles::Kept::default(),
            policies: None,
        })
    }
}

impl Life {
    /// Takes the next record that is no entry.
    ///
    /// # Errors
    /// What does not belong here, in words.
    pub(super) fn record(&mut self, own: Own, lsn: Lsn, at: Hlc) -> Result<(), String> {
        match own {
            Own::Booted { boot } => (self.boot, self.unlived) = (Some(boot), false),
            Own::Minted { actor } => self.actor = Some(actor),
            // What its actor wrote behind this point lives on elsewhere.
            // And what its store promised as a voter may be more than stands here.
            Own::Restored(restored) => {
                (self.actor, self.restored, self.unlived) = (None, Some(restored), true);
                self.decided = Kept::default();
            }
            Own::Consensus(record) => self.decided.take(&record)?,
            Own::Roles(record) => self.roles.take(&record),
            Own::Policies(remembered) => self.policies = Some(remembered),
            Own::Branch(_) => self.moved = Some(lsn),
            Own::Pause(pause) if pause.paused => _ = self.paused.insert(pause.peer),
            Own::Pause(pause) => _ = self.paused.remove(&pause.peer),
            Own::Point { name } => self.points.push(Point { name, lsn, at }),
            Own::EventsBranch { branch, before } => self.branches.push((branch, before)),
            Own::Trim(Trim { first, next, lines }) if first.chain() == Chain::Events => {
                self.start = Some((first, next));
                self.trimmed.extend(lines.into_iter().map(|line| (line.log, (line.last, line.chain))));
            }
            other @ (Own::Trim(_) | Own::Skip(_) | Own::Entry(_)) => {
                return Err(format!("{other:?} does not stand in this chain"));
            }
        }
        Ok(())
    }
}
