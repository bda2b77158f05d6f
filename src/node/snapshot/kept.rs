//! Which snapshots there are.

use std::collections::BTreeMap;

use serde::Serialize;

use super::take::Taking;
use super::{Base, Taken, Untaken, id_of_snapshot};
use crate::types::{CommandId, Family, Lsn, SegmentId, Time};
use crate::wal;

/// What is known of a snapshot's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotState {
    /// Whole, and of this log.
    Good(Taken),
    /// Not to be taken, and why.
    Refused(String),
    /// Not looked at: a newer one was good.
    Unread,
}

/// A snapshot's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotFile {
    /// Its number.
    pub id: u64,
    /// The file's name in the log's directory.
    pub file: String,
    /// What is known of it.
    pub state: SnapshotState,
}

/// The snapshots of one node, and the one that is being taken.
#[derive(Debug, Default)]
pub(in crate::node) struct Snapshots {
    pub(super) config: wal::SnapshotConfig,
    pub(super) files: BTreeMap<SegmentId, SnapshotState>,
    /// From which this life began, if from any, and those that it did not take.
    pub(in crate::node) start: Option<SnapshotFile>,
    pub(in crate::node) untaken: Vec<Untaken>,
    pub(super) taking: Option<Taking>,
    /// Numbers are not used twice in a life: a file that could not be removed may be there still.
    pub(super) last: SegmentId,
    /// Clients that wait for the one that is being taken, and for the one after it.
    pub(super) waiting: Vec<CommandId>,
    pub(super) asked: Vec<CommandId>,
    /// Up to where the last one goes, and how many bytes the main chain had then.
    pub(super) upto: (Lsn, u64),
    /// When the next is due by time, and before when none is begun.
    pub(super) due_at: Time,
    pub(super) not_before: Time,
    /// How often in a row there was no room for one.
    pub(super) no_room: u32,
}

impl Snapshots {
    /// As a boot found them.
    pub(in crate::node) fn found(
        config: wal::SnapshotConfig,
        files: impl Iterator<Item = SegmentId>,
        base: Option<(SegmentId, Taken)>,
        refused: Vec<(SegmentId, String)>,
    ) -> Self {
        let mut files: BTreeMap<_, _> = files.map(|number| (number, SnapshotState::Unread)).collect();
        let untaken = refused.iter().map(|(number, why)| (wal::file_name(*number), why.clone()));
        let untaken = untaken.map(|(file, why)| Untaken { file, why }).collect();
        files.extend(refused.into_iter().map(|(number, why)| (number, SnapshotState::Refused(why))));
        files.extend(base.map(|(number, taken)| (number, SnapshotState::Good(taken))));
        let last = files.last_key_value().map_or(Family::SNAPSHOTS, |(number, _)| *number);
        let start = base.map(|(number, taken)| status(number, SnapshotState::Good(taken)));
        let upto = (base.map_or(Lsn::ZERO, |(_, taken)| taken.lsn), 0);
        Self { config, files, start, untaken, last, upto, ..Self::default() }
    }

    /// All of them, in order.
    pub(in crate::node) fn all(&self) -> Vec<SnapshotFile> {
        self.files.iter().map(|(number, state)| status(*number, state.clone())).collect()
    }

    /// The newest that is known to be whole.
    pub(in crate::node) fn newest(&self) -> Option<SnapshotFile> {
        let good = self.files.iter().rfind(|(_, state)| matches!(state, SnapshotState::Good(_)));
        good.map(|(number, state)| status(*number, state.clone()))
    }

    /// Whether one is being taken.
    pub(in crate::node) const fn is_taking(&self) -> bool {
        self.taking.is_some()
    }

    /// What is not kept once there is a new one: those that are not to be taken, and of the others the oldest.
    pub(super) fn surplus(&self) -> Vec<SegmentId> {
        let (bad, good): (Vec<_>, Vec<_>) =
            self.files.iter().partition(|(_, state)| matches!(state, SnapshotState::Refused(_)));
        let old = good.iter().rev().skip(self.config.keep.max(1));
        bad.iter().chain(old).map(|(number, _)| **number).collect()
    }
}

pub(super) fn status(number: SegmentId, state: SnapshotState) -> SnapshotFile {
    SnapshotFile { id: id_of_snapshot(number), file: wal::file_name(number), state }
}

impl Base {
    /// What is told of it.
    pub(in crate::node) const fn told(&self) -> (SegmentId, Taken) {
        (self.number, self.taken)
    }
}
