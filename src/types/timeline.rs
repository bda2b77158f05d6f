//! Which history of a mesh somebody is on.

use std::fmt;

use bincode::{Decode, Encode};
use serde::{Serialize, Serializer};

/// Names a timeline of a mesh: how many times its content was taken back before, and which of those that were begun under that number.
/// Shown as `0`, or `1-00c0ffee00c0ffee`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct TimelineId {
    /// One more than of the timeline that it was begun from; 0 for the first.
    pub number: u32,
    /// Drawn when it was begun, so that two that were begun apart are not taken for one; 0 for the first.
    pub fork: u64,
}

impl TimelineId {
    /// The one that a mesh is founded with.
    pub const FIRST: Self = Self { number: 0, fork: 0 };
}

impl fmt::Display for TimelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::FIRST => f.write_str("0"),
            Self { number, fork } => write!(f, "{number}-{fork:016x}"),
        }
    }
}

impl Serialize for TimelineId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
