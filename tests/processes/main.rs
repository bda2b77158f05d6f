//! Real peer processes: what only the whole program on real sockets and files can show. Few tests, each bounded in time.

#![cfg(feature = "cli")]

mod harness;
mod namespaces;
