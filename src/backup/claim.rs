//! Who archives a node: one peer. Two logs of one identity would both be wrong.
//!
//! Whoever archives leaves a word (`archive/NODE/`) that it is there, again and again under new names, and looks for those of others
//! before each range and before its manifest; while a range is written, it says so too. Every word names the first one of its time,
//! so it does not matter which is newer: of two the one whose first word was first goes on, the other takes its word back and stops.
//! So does whoever finds its own word gone and another's there.
//!
//! A word that stays the last for three times as long as it promised is of a peer that is gone. That of a former life of this data
//! directory is waited for once as long, since the directory may be a copy whose original lives; a life that has ended for certain,
//! not at all. How long that is, is measured by a clock that nobody sets.
//!
//! Between the last look and the manifest another may come: then there are two histories for one range, both of them whole.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::archive::{Archiving, Covered};
use super::catalogue::ids;
use super::create::store_name;
use super::error::Error;
use super::host::Host;
use super::id::BackupId;
use super::repository::{Repository, beat_name, beats_folder};
use crate::types::{NodeId, WallTime};

/// A word that the peer is there is left so often at least, in microseconds.
const BEAT_MICROS: u64 = 10_000_000;
/// After so many times of what was promised a silent peer is taken for gone.
const SILENT_TIMES: u64 = 3;

/// That a peer archives: its word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Beat {
    id: BackupId,
    node: NodeId,
    /// The first word since it began, or began again.
    first: BackupId,
    /// Which life of which data directory.
    holder: String,
    /// The log's store.
    store: String,
    /// The next word comes within so many microseconds.
    within: u64,
    /// What the log held up to then is in the repository.
    covered: Option<Covered>,
}

/// Somebody else's word.
struct Word {
    id: BackupId,
    name: String,
    first: BackupId,
    holder: String,
    /// For so long it must have been the last, in microseconds.
    wait: u64,
    /// It is of a life before this one, of this directory or of what it was copied from.
    before: bool,
}

/// Its own last word.
#[derive(Clone, Copy, Debug)]
struct Said {
    id: BackupId,
    first: BackupId,
    at: WallTime,
    mono: u64,
}

/// The claim to be the one that archives a node.
#[derive(Debug)]
pub(super) struct Claim {
    node: NodeId,
    holder: String,
    before: Vec<String>,
    ended: Vec<String>,
    /// How often there is a word, and within which time one is promised.
    every: u64,
    within: u64,
    store: u64,
    pub(super) covered: Option<Covered>,
    said: Option<Said>,
    /// Somebody else's word, and since when it has been the last.
    heard: Option<(BackupId, u64)>,
}

impl Claim {
    pub(super) fn new(node: NodeId, store: u64, how: &Archiving) -> Self {
        let every = how.every_micros.max(BEAT_MICROS);
        Self {
            node,
            holder: how.holder.clone(),
            before: how.before.clone(),
            ended: how.ended.clone(),
            every,
            within: every + how.every_micros,
            store,
            covered: None,
            said: None,
            heard: None,
        }
    }

    /// When the repository last took a word.
    pub(super) fn last_contact(&self) -> Option<WallTime> {
        self.said.map(|said| said.at)
    }

    /// Looks whether this peer is the one, and says that it is there, if it is time for that.
    pub(super) async fn keep(&mut self, repository: &Repository, host: &dyn Host) -> Result<(), Error> {
        if self.said.is_none_or(|said| host.mono().saturating_sub(said.mono) >= self.every) {
            self.look(repository, host).await?;
            self.say(repository, host).await?;
        }
        Ok(())
    }

    /// Looks whether this peer is the one that archives its node.
    pub(super) async fn look(&mut self, repository: &Repository, host: &dyn Host) -> Result<(), Error> {
        let listed = ids(repository, &beats_folder(self.node)).await?;
        let there = self.said.filter(|said| listed.iter().any(|(id, _)| *id == said.id));
        let mut others = Vec::new();
        for (id, name) in listed.into_iter().filter(|(id, _)| self.said.is_none_or(|said| said.id != *id)) {
            others.extend(self.read(repository, id, name).await?);
        }
        // Whoever was first; of its words the last.
        others.sort_by_key(|word| (word.first, Reverse(word.id)));
        for word in &others {
            let (now, heard) = (host.mono(), self.heard.filter(|(id, _)| *id == word.id));
            let since = heard.map_or(now, |(_, since)| since);
            self.heard = Some((word.id, since));
            let silent = now.saturating_sub(since);
            if silent >= word.wait {
                tracing::warn!(holder = %word.holder, "whoever archived as this node is silent: this peer does from now on");
                repository.store.remove(&word.name).await?;
                continue;
            }
            if there.is_some_and(|mine| mine.first < word.first) {
                // It was here first: the other one stops when it sees that.
                return Ok(());
            }
            if let Some(mine) = self.said.take() {
                repository.store.remove(&beat_name(self.node, mine.id)).await?;
            }
            let (node, holder) = (self.node, word.holder.clone());
            return Err(match word.before {
                true => Error::FormerLife { node, holder, wait_ms: (word.wait - silent).div_ceil(1_000) },
                false => Error::Claimed { node, holder, silent_ms: silent / 1_000 },
            });
        }
        self.heard = None;
        // If somebody took it away, it is said again.
        self.said = there;
        Ok(())
    }

    /// A word that is not its own. One that cannot be read is of somebody who is not known.
    async fn read(&self, repository: &Repository, id: BackupId, name: String) -> Result<Option<Word>, Error> {
        let beat = match repository.small::<Beat>(&name).await {
            Ok(beat) => beat,
            Err(error @ (Error::Damaged { .. } | Error::FutureFormat { .. })) => {
                tracing::warn!(%error, "a word of whoever archives this node cannot be read");
                let (holder, wait) = (format!("whoever left {name}"), self.within.saturating_mul(SILENT_TIMES));
                return Ok(Some(Word { id, name, first: id, holder, wait, before: false }));
            }
            Err(error) => return Err(error),
        };
        let Some(Beat { first, holder, within, .. }) = beat else { return Ok(None) };
        if holder == self.holder || self.ended.contains(&holder) {
            repository.store.remove(&name).await?;
            return Ok(None);
        }
        let before = self.before.contains(&holder);
        let wait = within.saturating_mul(if before { 1 } else { SILENT_TIMES });
        Ok(Some(Word { id, name, first, holder, wait, before }))
    }

    /// Leaves a word that it is there.
    async fn say(&mut self, repository: &Repository, host: &dyn Host) -> Result<(), Error> {
        let (mut luck, at, mono) = ([0_u8; 10], host.wall(), host.mono());
        host.random(&mut luck);
        let id = BackupId::new(at, luck);
        let first = self.said.map_or(id, |said| said.first);
        let beat = Beat {
            id,
            node: self.node,
            first,
            holder: self.holder.clone(),
            store: store_name(self.store),
            within: self.within,
            covered: self.covered,
        };
        repository.write(&beat_name(self.node, id), &beat).await?;
        if let Some(before) = self.said.replace(Said { id, first, at, mono }) {
            repository.store.remove(&beat_name(self.node, before.id)).await?;
        }
        Ok(())
    }

    /// Takes its word back, so that another peer need not wait.
    pub(super) async fn give_up(&mut self, repository: &Repository) -> Result<(), Error> {
        match self.said.take() {
            Some(mine) => repository.store.remove(&beat_name(self.node, mine.id)).await,
            None => Ok(()),
        }
    }
}
