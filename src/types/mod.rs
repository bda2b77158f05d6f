//! Numbers and names: the vocabulary that every room shares. No behaviour beyond their own algebra.
//!
//! Nothing here decides anything. An id cannot be added to another, a counter only knows [`next`](Lsn::next),
//! and a time is a count of nanoseconds whose origin belongs to whoever drives the node.

mod checksum;
mod clock;
mod counter;
mod hex;
mod hlc;
mod id;
mod place;
mod time;
mod timeline;
mod vector;

pub use checksum::{Checksum, Digest, digest64};
pub use clock::VectorClock;
pub use counter::{Boot, CommandId, Epoch, Incarnation, Index, IoId, Lsn, PersistId, SegmentId, Seq, TaskId, Term};
pub use hex::{hex, unhex};
pub use hlc::{Hlc, HlcClock, HlcDrift};
pub use id::{Actor, Address, ClusterId, DocId, IdError, LogId, Mint, NodeId, Topic};
pub use place::{Chain, DiskFault, DiskFaultKind, Family, Lane, Position};
pub use time::{Now, Time, WallTime};
pub use timeline::TimelineId;
pub use vector::{Range, VersionVector};
