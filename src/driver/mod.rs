//! The production driver: the only code that reads clocks, files, sockets and entropy, and that spawns threads.
//!
//! It decides nothing. One task owns the node; it waits for whatever comes first (the disk's answers, the node's deadline,
//! a client, a worker, the network), hands it in as an `Input`, and performs the `Effect`s that come out by putting them
//! into queues. It never waits inside: a slow disk, a slow peer or the merge of a large document delay no heartbeat.
//!
//! **It runs inside its host**: on the ambient tokio runtime, without installing a log subscriber or a signal handler, and
//! without ever exiting the process.
//!
//! **Invariants.** Each input is followed by draining every effect. Effects are performed in the order they were asked for.
//! A write that was answered is on the disk. What a worker does wrong stays in that worker.

pub mod admission;
mod aftermath;
mod archive;
mod clock;
pub mod disk;
mod errands;
mod failure;
mod filling;
mod health;
mod history;
mod hooks;
mod http;
pub mod identity;
mod keeper;
pub mod life;
mod load;
mod log;
mod marks;
pub mod mesh;
pub mod network;
mod notify;
mod packing;
mod peer;
mod policies;
mod recorder;
pub mod redirect;
mod remembered;
mod revert;
mod routes;
mod rules;
mod schedule;
mod scrub;
mod start;
mod streams;
pub mod switch;
mod together;
mod turn;
mod workers;
mod works;

pub use archive::{ArchiveState, ArchiveStatus};
pub use clock::Clock;
pub use failure::StartError;
pub use health::{Health, Reason};
pub use hooks::{Call, Hook, HookEvent, Hooks};
pub use http::TokenError;
pub use peer::{Events, Host, Links, Peer, Phase, Report, Stop};
pub use recorder::Recording;
pub use remembered::{FILE as PEERS_FILE, remember_issuer};
pub use revert::{Revert, Reverted};
pub use rules::RoleRules;
pub use schedule::{ScheduleStatus, Schedules};
pub use scrub::{Damaged, ScrubState, ScrubStatus};
pub use streams::Tail;
pub use works::Lease;
