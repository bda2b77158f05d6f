//! What the main chain says of the node itself: everything but entries. The same record by record whether it is read at boot or
//! becomes durable in a life, so that a snapshot has it as a boot would.

use std::collections::{BTreeMap, BTreeSet};

use bincode::{Decode, Encode};

use super::points::Point;
use super::record::{Own, Restored};
use crate::replication::{Branch, Trim};
use crate::types::{Actor, Boot, Chain, Digest, Hlc, LogId, Lsn, NodeId, SegmentId, Seq};

/// See the file's essay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
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
            Own::Restored(restored) => (self.actor, self.restored, self.unlived) = (None, Some(restored), true),
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
