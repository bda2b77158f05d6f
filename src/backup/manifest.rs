//! What a backup says of itself: its manifest, written last. Who reads it has a whole backup.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::codec::BackupCompression;
use super::error::Error;
use super::id::BackupId;
use crate::types::{Chain, Hlc, Lsn, NodeId, SegmentId, WallTime};

/// No log comes to a record of this number: bounds what is counted from.
pub(super) const LSN_MAX: Lsn = Lsn::new(1 << 60);

/// What a backup holds, beside others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupType {
    /// All that the log holds. It stands alone.
    Full,
    /// What was written since the last backup of any kind.
    Incremental,
    /// What was written since the last full backup.
    Differential,
}

impl std::fmt::Display for BackupType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
            Self::Differential => "differential",
        })
    }
}

/// The manifest of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupMetadata {
    /// Its name.
    pub id: BackupId,
    /// What it holds, beside others.
    pub kind: BackupType,
    /// The repository it was written into.
    pub repository: String,
    /// Whose log.
    pub node: NodeId,
    /// The mesh that the node is of, if that was known.
    pub mesh: Option<String>,
    /// The branch of the node's history.
    pub timeline: u32,
    /// The log's store, sixteen hexadecimal digits: another one is another history.
    pub store: String,
    /// What it continues; none for a full one.
    pub parent: Option<Parent>,
    /// The records of the main chain.
    pub main: Run,
    /// The records of the events' chain.
    pub events: Run,
    /// Its objects, in the order of their records.
    pub objects: Vec<ObjectEntry>,
    /// How batches are compressed, where that makes them smaller.
    pub codec: BackupCompression,
    /// The id of the key that its objects are encrypted with.
    pub key: Option<String>,
    /// The version of the program that wrote it.
    pub tool: String,
    /// When the log was begun to be looked at: all that it had then is held.
    pub started: WallTime,
    /// When its last object was stored.
    pub finished: WallTime,
    /// What it took.
    pub statistics: Statistics,
    /// It is a range of a live archive: no rule of retention counts it, and it is kept as long as nothing replaces it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub archive: bool,
    /// Ranges of the archive that it holds the records of, so that they are not needed beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<BackupId>,
    /// Ends of other histories of the same log, which hold other records under the same numbers: the log was put back or lost its end,
    /// or two peers have one identity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apart: Vec<BackupId>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_false(is: &bool) -> bool {
    !*is
}

/// Which backup is continued, and what its manifest was: a chain shows when one of its links was exchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// Its name.
    pub id: BackupId,
    /// BLAKE3 of its manifest's file.
    pub blake3: String,
}

/// The records of one chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// With which segment the log's chain began when the backup was made.
    pub begins: SegmentId,
    /// With which record it began.
    pub oldest: Lsn,
    /// The first record that is in this backup.
    pub first: Lsn,
    /// The last record; one before `first` if there is none.
    pub last: Lsn,
    /// The stamp of the last record that this backup or those before it hold.
    pub stamp: Hlc,
    /// By what the log is known again; none if it holds no record.
    pub mark: Option<Mark>,
}

/// What a log's end looked like: a log that lost its end, or was put back, and went on differently is not continued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The first of the records up to the last that count.
    pub from: Lsn,
    /// BLAKE3 of these.
    pub blake3: String,
    /// BLAKE3 of the last record, for when those before have expired.
    pub last: String,
}

impl Run {
    /// How many records are in this backup.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.last.value().saturating_add(1).saturating_sub(self.first.value())
    }
}

/// One object of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectEntry {
    /// Its name in the repository.
    pub key: String,
    /// Its bytes.
    pub len: u64,
    /// BLAKE3 of all but its last 32 bytes, which say the same.
    pub blake3: String,
    /// Which chain: `main` or `events`.
    pub chain: ChainName,
    /// Its first record.
    pub first: Lsn,
    /// Its last record.
    pub last: Lsn,
    /// Bytes of its records before they were packed.
    pub plain: u64,
}

impl ObjectEntry {
    /// Whether the store lists it, as long as it should be.
    pub(super) fn check_listed(&self, listed: &BTreeMap<String, u64>, backup: BackupId) -> Result<(), Error> {
        match listed.get(&self.key) {
            Some(len) if *len == self.len => Ok(()),
            Some(len) => Err(Error::damaged(&self.key, format!("{len} bytes in the place of {}", self.len))),
            None => Err(Error::Missing { name: self.key.clone(), needed_by: format!("backup {backup} holds it") }),
        }
    }
}

/// A chain, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChainName {
    /// The main chain.
    Main,
    /// The events' chain.
    Events,
}

impl From<Chain> for ChainName {
    fn from(chain: Chain) -> Self {
        match chain {
            Chain::Main => Self::Main,
            Chain::Events => Self::Events,
        }
    }
}

impl From<ChainName> for Chain {
    fn from(name: ChainName) -> Self {
        match name {
            ChainName::Main => Self::Main,
            ChainName::Events => Self::Events,
        }
    }
}

/// What a backup took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statistics {
    /// Records in it.
    pub records: u64,
    /// Bytes of these before they were packed.
    pub plain_bytes: u64,
    /// Bytes of its objects.
    pub stored_bytes: u64,
    /// Objects that an interrupted run had stored already.
    pub resumed_objects: u64,
}

impl BackupMetadata {
    /// Its records of one chain.
    #[must_use]
    pub const fn run(&self, chain: Chain) -> &Run {
        match chain {
            Chain::Main => &self.main,
            Chain::Events => &self.events,
        }
    }

    /// The last stamp of both chains: the log gives out none below it any more, whatever a clock says.
    #[must_use]
    pub fn stamp(&self) -> Hlc {
        self.main.stamp.max(self.events.stamp)
    }

    /// Whether it holds together in itself: what a manifest says is checked before it is believed.
    ///
    /// # Errors
    /// What does not fit.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.parent.is_none() != (self.kind == BackupType::Full) {
            return Err(format!(
                "a {} backup {} a parent",
                self.kind,
                if self.parent.is_none() { "has" } else { "has not" }
            ));
        }
        let ends = self.objects.iter().map(|object| object.last).chain([self.main.last, self.events.last]);
        if ends.into_iter().any(|last| last > LSN_MAX) {
            return Err("it has records that no log has".into());
        }
        for chain in Chain::ALL {
            let run = self.run(chain);
            let mut next = run.first;
            let objects = self.objects.iter().filter(|object| Chain::from(object.chain) == chain);
            for object in objects {
                if object.first != next || object.last < object.first {
                    return Err(format!("{} begins with record {} in the place of {next}", object.key, object.first));
                }
                next = object.last.next();
            }
            let begins = run.oldest > Lsn::ZERO && run.begins > chain.origin();
            if next != run.last.next() || run.begins.chain() != chain || run.first < run.oldest || !begins {
                return Err(format!("its objects of {chain:?} end before record {next}, not with {}", run.last));
            }
        }
        Ok(())
    }
}
