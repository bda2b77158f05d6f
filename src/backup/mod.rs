//! Backups: what a node's log holds, in a repository that outlives the node.
//!
//! The log is the truth, so a backup is a range of log records of both chains, as they stood at one moment. A **full**
//! one holds all that the log holds and stands alone; an **incremental** one what came since the last backup of any
//! kind; a **differential** one what came since the last full one. Restoring gives the same records, up to any one
//! that is asked for.
//!
//! It owns the format of repositories, who writes what when, and the judgement about what may be deleted. How a log is
//! read and a data directory written is `recovery`'s; clocks, luck and credentials are the host's.
//!
//! Invariants:
//! - **A backup is there when its manifest is, and then it is whole**: the manifest is written last, once, under a name
//!   that nobody else writes.
//! - **No lock**: names hold node and backup, so that a crash leaves nothing that keeps others out.
//! - **Contiguity is proved when a backup is taken**, not when it is needed: it begins with the record after its
//!   parent's last, and the log still ends, up to there, as the parent knew it.
//! - **Two histories of one log do not pass for one**: where a log was copied, put back or lost its end, the later backup names the other
//!   history, and neither is taken for the newest until a person gives one up.
//! - **One changed byte or missing object is a fault with a name**, in verifying and in restoring, and no record of a
//!   damaged object is given out.
//! - **What a kept backup continues is kept.** Whoever deletes and whoever builds on something see each other.
//! - **Memory does not grow with a backup**: some objects of 12 MiB are in hand at a time.
//!
//! # Format
#![doc = include_str!("FORMAT.md")]

mod archive;
mod batch;
mod begun;
mod branch;
mod catalogue;
mod cipher;
mod claim;
mod codec;
mod create;
mod crew;
mod directory;
mod error;
mod find;
mod host;
mod id;
mod job;
mod location;
mod manifest;
mod object;
mod pending;
mod private;
mod prune;
mod repository;
mod restore;
mod retention;
mod schedule;
mod sealed;
mod secret;
mod source;
pub mod standby;
mod store;
#[cfg(test)]
mod tests;
mod verify;

pub use archive::{Archive, Archiving, Behind, Covered, FANOUT, LINKS_MAX, Ticked, draw_holder};
pub use begun::Begun;
pub use catalogue::{Catalogue, nodes, the_node};
pub use cipher::{Secret, Stretch};
pub use codec::BackupCompression;
pub use create::{Created, create};
pub use crew::{Crew, Duty};
pub use directory::{Directory, Done, Grown, restore_as, restore_into, trial};
pub use error::{Cause, Error};
pub use find::{Found, beyond, find, find_in};
pub use host::{Host, Phase, Progress};
pub use id::{BackupId, BackupIdError};
pub use job::{JOB_REGISTER, Job, JobError, SHARES_MAX, Share, ShareDone, Taker, Takers, Task};
pub use location::{Location, check_apart, check_built, check_outside, locate};
pub use manifest::{BackupMetadata, BackupType, ChainName, Mark, ObjectEntry, Parent, Run, Statistics};
pub use private::LeftOver;
pub use prune::{Fate, Pruned, Pruning};
pub use repository::Repository;
pub use restore::{LeftOut, Plan, Reading, Restored};
pub use retention::Retention;
pub use schedule::{EVERY_MIN, Outcome, RESULTS_MAX, SCHEDULES_MAX, Schedule, When};
pub use secret::PASSPHRASE;
pub use source::{Cut, Source, Span};
pub use store::Capabilities;
pub use verify::{Level, Verified, verify};
