//! Real peer processes: what only the whole program on real sockets and files can show. Few tests, each bounded in time.

#![cfg(feature = "cli")]
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "real processes are waited for in real time")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod agreement;
mod archive;
mod conflicts;
mod copies;
mod durability;
mod harness;
mod hostile;
mod interop;
mod issuers;
#[expect(dead_code, reason = "the tests of failover pull cables")]
mod lab;
mod lan;
mod measures;
mod members;
mod namespaces;
mod nat;
mod overlay;
mod rebuilds;
mod recorded;
mod restarts;
mod streams;
mod timelines;
