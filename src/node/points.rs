//! Restore points: names in the log, by which somebody may come back to a moment of it.
//!
//! A point is this peer's own and stands in its main chain: what the log held before it is what it names. Other peers have other
//! logs, and points of their own.

use std::collections::{BTreeMap, BTreeSet};

use bincode::{Decode, Encode};
use serde::Serialize;

use super::Node;
use super::edge::{CommandError, Effect, Outcome};
use super::hosted::Wait;
use super::record::Own;
use crate::types::{CommandId, DiskFault, Hlc, Lsn, Now};

/// Most points of one log: they are held in memory and listed whole.
pub const POINTS_MAX: usize = 4_096;

/// Longest name, in bytes.
const NAME_MAX: usize = 64;

/// A named moment of the log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Point {
    /// Its name.
    pub name: String,
    /// Its own record in the main chain.
    pub lsn: Lsn,
    /// When it became part of the log.
    pub at: Hlc,
}

/// Why there is no such point. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PointError {
    /// It cannot be a name.
    #[error("a restore point's name is 1 to {NAME_MAX} letters, digits, `.`, `_` or `-`: not {name:?}")]
    Name {
        /// What was given.
        name: String,
    },
    /// A point is never moved.
    #[error("there is a restore point {name:?} already")]
    Exists {
        /// The name.
        name: String,
    },
    /// The log has as many as it may.
    #[error("the log has {POINTS_MAX} restore points, and may have no more")]
    TooMany,
}

/// The points of one log.
#[derive(Debug, Default)]
pub(super) struct Points {
    held: BTreeMap<Lsn, Point>,
    /// Also of those on their way to the disk.
    names: BTreeSet<String>,
}

impl Points {
    pub(super) fn of(points: Vec<Point>) -> Self {
        let names = points.iter().map(|point| point.name.clone()).collect();
        Self { held: points.into_iter().map(|point| (point.lsn, point)).collect(), names }
    }

    pub(super) fn all(&self) -> Vec<Point> {
        self.held.values().cloned().collect()
    }
}

impl Node {
    /// Writes a point down.
    pub(super) fn point(&mut self, now: Now, id: CommandId, name: String) -> Result<(), PointError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(fits) {
            return Err(PointError::Name { name });
        }
        if self.points.names.contains(&name) {
            return Err(PointError::Exists { name });
        }
        if self.points.names.len() >= POINTS_MAX {
            return Err(PointError::TooMany);
        }
        self.points.names.insert(name.clone());
        // Known before it is appended, since who waits is told of it.
        let wait = |lsn, at| Wait::Point(id, Point { name: name.clone(), lsn, at });
        self.shared.append_with(now, &Own::Point { name: name.clone() }, wait);
        Ok(())
    }

    /// It is durable, or failed.
    pub(super) fn on_point(&mut self, id: CommandId, point: Point, result: Result<(), DiskFault>) {
        let result = match result {
            Ok(()) => {
                self.points.held.insert(point.lsn, point.clone());
                Ok(Outcome::Point(point))
            }
            Err(fault) => {
                self.points.names.remove(&point.name);
                Err(CommandError::Disk(fault))
            }
        };
        self.shared.effects.push_back(Effect::Reply { id, result });
    }
}
