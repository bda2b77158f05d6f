//! What a backup reads from: a log, as it stood at one moment.

use super::error::Cause;
use crate::types::{Chain, Lsn, NodeId, SegmentId, WallTime};
use crate::wal::Frame;

/// A log as it stood when it was looked at. That moment is the backup's cut: what is written afterwards is in the next
/// one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Whose log.
    pub node: NodeId,
    /// The mesh that the node is of, if that is known.
    pub mesh: Option<String>,
    /// When it was begun to be looked at, by the host's clock: what came later may be missing.
    pub seen: WallTime,
    /// The branch of the node's history.
    pub timeline: u32,
    /// The log's store.
    pub store: u64,
    /// The main chain.
    pub main: Span,
    /// The events' chain.
    pub events: Span,
}

/// What is there of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// With which segment it begins.
    pub begins: SegmentId,
    /// Its first record.
    pub first: Lsn,
    /// Its last record that is durable; one before `first` if there is none.
    pub last: Lsn,
    /// Bytes of its files, for progress.
    pub bytes: u64,
}

impl Span {
    /// How many records are there.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.last.value().saturating_add(1).saturating_sub(self.first.value())
    }
}

impl Cut {
    /// One of the chains.
    #[must_use]
    pub const fn span(&self, chain: Chain) -> Span {
        match chain {
            Chain::Main => self.main,
            Chain::Events => self.events,
        }
    }
}

/// A log that is backed up.
pub trait Source: Send + Sync {
    /// As it stands now.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn cut(&self) -> Result<Cut, Cause>;

    /// The records of a chain from this one on, in order, each with the segment that it stands in. It must come to the
    /// record that the cut gave as the last, and may go on.
    fn frames(&self, chain: Chain, from: Lsn) -> Box<dyn Iterator<Item = Result<Frame, Cause>> + Send + '_>;
}
