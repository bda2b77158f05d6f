//! Logs as they were: read from files that may be in use, and written anew up to a point of their past.
//!
//! It owns how a directory is read that is none of this process's ([`Source`], [`Survey`]), which moments of it can be had
//! ([`target`]), and how one is made from which a peer can start ([`image`], [`side`]). What a record means is the node's, the bytes are the log's, and where frames come from besides a directory
//! is the caller's: a repository of backups gives the same frames.
//!
//! Who embeds a peer, and wants a moment back or to know how quickly it would start, needs these:
//!
//! ```no_run
//! use oxigdal_ha::recovery::{RecoveryConfig, RecoveryResult, RecoveryTarget, Source, pitr::PitrManager, snapshot, wal};
//!
//! # async fn recover() -> Result<(), Box<dyn std::error::Error>> {
//! let data = "/var/lib/oxigdal/data";
//! let config = RecoveryConfig { wal_segment_size: wal::Config::default().segment_bytes, ..RecoveryConfig::default() };
//! let snapshots = snapshot::beside(&Source::open(data.as_ref())?)?;
//! let good = snapshots.iter().rfind(|file| matches!(file.state, snapshot::SnapshotState::Good(_)));
//! let target = good.map_or(RecoveryTarget::Latest, |file| RecoveryTarget::Snapshot(file.id));
//! let result: RecoveryResult = PitrManager::new(config, data).recover(target).await?;
//! println!("up to record {}, {} records are behind it", result.recovered_to.lsn, result.lost.records);
//! # Ok(())
//! # }
//! ```
//!
//! Invariants:
//! - **Reading changes nothing and locks nothing.** What stands behind the point that is wanted is not looked at.
//! - **An image is whole or not there.** It is made beside its place, synced file by file, and renamed.
//! - **An image has another store number than what it was made from**, so no segment of the one passes for a segment of the
//!   other; LSNs, stamps and payloads stay as they were.
//! - **Nobody goes on as the actor of an image.** Its last record says that it was restored, and the next boot mints.

#[cfg(feature = "net")]
pub mod history;
#[cfg(feature = "net")]
pub mod image;
#[cfg(feature = "net")]
mod look;
#[cfg(feature = "net")]
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it is called by a host, and reads the clock for it"
)]
pub mod pitr;
pub mod revert;
#[cfg(feature = "net")]
pub mod side;
#[cfg(feature = "net")]
pub mod snapshot;
#[cfg(feature = "net")]
mod source;
#[cfg(feature = "net")]
mod survey;
pub mod target;
#[cfg(feature = "net")]
#[cfg(test)]
mod tests;

#[cfg(feature = "net")]
pub use look::{Look, LookError};
#[cfg(feature = "net")]
pub use pitr::{RecoveryConfig, RecoveryError, RecoveryResult, RecoveryTarget};
#[cfg(feature = "net")]
pub use source::{Frames, Source, SourceError, line_of};
#[cfg(feature = "net")]
pub use survey::{Finding, LocateError, Located, Recovery, Segment, Survey};

use std::collections::BTreeMap;

use crate::replication::{Line, Trim};
use crate::types::{Chain, LogId, Lsn, SegmentId};

/// The log that recoveries read and write: its segments, their frames, and how they are scanned.
#[cfg(feature = "net")]
pub mod wal {
    pub use crate::wal::{Config, Error, Frame, Scanned, Scanner};
}

/// Where the log's files are, in a data directory.
pub const LOG_DIR: &str = "log";

/// The file in a data directory that names the node.
pub const NODE_FILE: &str = "node-id";

/// Up to where both chains are taken; these records included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Upto {
    /// The last record of the main chain.
    pub main: Lsn,
    /// The last record of the events' chain; 0 for none.
    pub events: Lsn,
}

impl Upto {
    /// The last record of this chain.
    #[must_use]
    pub const fn of(self, chain: Chain) -> Lsn {
        match chain {
            Chain::Main => self.main,
            Chain::Events => self.events,
        }
    }
}

/// Where the events' chain begins, and which entries were before that: what all trims together say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// With which segment.
    pub segment: SegmentId,
    /// And with which record.
    pub lsn: Lsn,
    lines: BTreeMap<LogId, Line>,
}

impl Default for Beginning {
    /// Of a chain that was never trimmed.
    fn default() -> Self {
        Self { segment: Chain::Events.origin().next(), lsn: Lsn::ZERO.next(), lines: BTreeMap::new() }
    }
}

impl Beginning {
    /// Takes the next trim of the main chain.
    pub fn trim(&mut self, trim: Trim) {
        (self.segment, self.lsn) = (trim.first, trim.next);
        self.lines.extend(trim.lines.into_iter().map(|line| (line.log, line)));
    }

    /// All of it as one.
    #[must_use]
    pub fn as_trim(&self) -> Trim {
        Trim { first: self.segment, next: self.lsn, lines: self.lines.values().copied().collect() }
    }
}
