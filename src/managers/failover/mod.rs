//! Failure detection, elections and promotion, under the names of the user's documents: questions and orders to a real node.

mod config;
pub mod detection;
pub mod election;
pub mod promotion;

pub use config::FailoverConfig;
