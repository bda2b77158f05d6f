//! What a repository holds of a node: manifests that are whole, how they continue each other, and what does not fit.

use std::collections::{BTreeMap, BTreeSet};

use super::error::Error;
use super::id::BackupId;
use super::manifest::{BackupMetadata, BackupType};
use super::repository::{Intent, Repository, Tomb, data_folder, intent_name, manifest_name, tomb_name};
use super::retention::is_future;
use crate::recovery::target::Stamp;
use crate::types::{Chain, NodeId, WallTime};

/// What there is of one node.
#[derive(Debug)]
pub struct Catalogue {
    /// Whose.
    pub node: NodeId,
    pub(super) backups: BTreeMap<BackupId, Listed>,
    pub(super) intents: BTreeMap<BackupId, Intent>,
    pub(super) tombs: BTreeMap<BackupId, Tomb>,
    /// Folders of objects that nobody accounts for.
    pub(super) strays: BTreeSet<BackupId>,
    pub(super) faults: Vec<Error>,
    /// What is damaged was told, and is not to be in the way.
    accepted: bool,
    /// Objects that were found damaged since: what stands before them is whole still.
    pub(super) damaged: BTreeSet<String>,
}

/// A backup whose manifest is whole.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) metadata: BackupMetadata,
    /// BLAKE3 of its manifest's file, which children know it by.
    pub(super) blake3: blake3::Hash,
}

/// The backups of a branch, and those of others that it knows of.
type Links = (BTreeSet<BackupId>, BTreeSet<BackupId>);

/// The nodes that a repository holds something of.
///
/// # Errors
/// What the store refuses.
pub async fn nodes(repository: &Repository) -> Result<Vec<NodeId>, Error> {
    let mut found = BTreeSet::new();
    for folder in ["backups", "data"] {
        found.extend(repository.store.folders(folder).await?.iter().filter_map(|name| name.parse::<NodeId>().ok()));
    }
    Ok(found.into_iter().collect())
}

/// The node whose backups are meant: the only one, if none is named.
///
/// # Errors
/// [`Error::ManyNodes`], [`Error::NoBackup`].
pub async fn the_node(repository: &Repository, wanted: Option<NodeId>) -> Result<NodeId, Error> {
    if let Some(node) = wanted {
        return Ok(node);
    }
    match nodes(repository).await?.as_slice() {
        [] => Err(Error::NoBackup { wanted: format!("in {}", repository.at()) }),
        [node] => Ok(*node),
        many => {
            let nodes: Vec<String> = many.iter().map(ToString::to_string).collect();
            Err(Error::ManyNodes { nodes: nodes.join(", ") })
        }
    }
}

impl Catalogue {
    /// Reads what there is of a node.
    ///
    /// Folders of objects are listed before intents and tombs, and these before manifests: a backup that is being
    /// written, or removed, meanwhile is seen in one of them.
    ///
    /// # Errors
    /// What the store refuses. What is damaged is a fault in it.
    pub async fn read(repository: &Repository, node: NodeId) -> Result<Self, Error> {
        let mut catalogue = Self {
            node,
            backups: BTreeMap::new(),
            intents: BTreeMap::new(),
            tombs: BTreeMap::new(),
            strays: BTreeSet::new(),
            faults: Vec::new(),
            accepted: false,
            damaged: BTreeSet::new(),
        };
        let folders = repository.store.folders(&format!("data/{node}")).await?;
        for (id, name) in ids(repository, &format!("pending/{node}")).await? {
            let found = repository.small::<Intent>(&name).await;
            match found.and_then(|found| named(&name, found, (node, id), |it| (it.node, it.id))) {
                Ok(found) => catalogue.intents.extend(found.map(|intent| (id, intent))),
                Err(error) => catalogue.fault(error)?,
            }
        }
        for (id, name) in ids(repository, &format!("tombs/{node}")).await? {
            let found = repository.small::<Tomb>(&name).await;
            match found.and_then(|found| named(&name, found, (node, id), |it| (it.node, it.id))) {
                Ok(found) => catalogue.tombs.extend(found.map(|tomb| (id, tomb))),
                Err(error) => catalogue.fault(error)?,
            }
        }
        for (id, name) in ids(repository, &format!("backups/{node}")).await? {
            match repository.manifest(&name).await {
                Ok(found) => {
                    let listed = found.map(|(metadata, blake3)| (id, Listed { metadata, blake3 }));
                    catalogue.backups.extend(listed);
                }
                Err(error) => catalogue.fault(error)?,
            }
        }
        catalogue.look_for_strays(repository, &folders).await?;
        Ok(catalogue)
    }

    /// Damage is kept; a store that refuses is passed on.
    fn fault(&mut self, error: Error) -> Result<(), Error> {
        if matches!(error, Error::Store { .. }) {
            return Err(error);
        }
        self.faults.push(error);
        Ok(())
    }

    /// Objects that no manifest, intent or tomb accounts for: whoever removes a backup leaves its tomb until the last
    /// object is gone, and whoever writes one its intent until the manifest is there. So a manifest was lost.
    async fn look_for_strays(&mut self, repository: &Repository, folders: &[String]) -> Result<(), Error> {
        let damaged: BTreeSet<String> =
            self.faults.iter().filter_map(|fault| fault.object().map(str::to_owned)).collect();
        for id in folders.iter().filter_map(|name| name.parse::<BackupId>().ok()) {
            let known =
                self.backups.contains_key(&id) || self.intents.contains_key(&id) || self.tombs.contains_key(&id);
            let names = [manifest_name(self.node, id), intent_name(self.node, id), tomb_name(self.node, id)];
            if known || names.iter().any(|name| damaged.contains(name)) {
                continue;
            }
            // A local store keeps empty folders, and a removal may have ended meanwhile.
            if let Some(object) = repository.store.list(&data_folder(self.node, id)).await?.into_iter().next() {
                let [name, ..] = names;
                self.faults.push(Error::Missing { name, needed_by: format!("{} is there", object.name) });
                self.strays.insert(id);
            }
        }
        Ok(())
    }

    /// The backups whose manifests are whole, oldest first.
    pub fn backups(&self) -> impl DoubleEndedIterator<Item = &BackupMetadata> {
        self.backups.values().map(|listed| &listed.metadata)
    }

    /// What is wrong with it.
    #[must_use]
    pub fn faults(&self) -> &[Error] {
        &self.faults
    }

    /// Backups that are being written, or whose writing was broken off.
    pub fn pending(&self) -> impl Iterator<Item = BackupId> {
        self.intents.keys().copied().filter(|id| !self.backups.contains_key(id))
    }

    /// Whether a backup is marked for deletion.
    #[must_use]
    pub fn is_marked(&self, id: BackupId) -> bool {
        self.tombs.contains_key(&id)
    }

    /// The backup whose id begins so.
    ///
    /// # Errors
    /// [`Error::NoBackup`] if there is none, [`Error::ManyBackups`] if there are several.
    pub fn named(&self, beginning: &str) -> Result<BackupId, Error> {
        let fits: Vec<BackupId> =
            self.backups.keys().copied().filter(|id| id.to_string().starts_with(beginning)).collect();
        match fits.as_slice() {
            [one] => Ok(*one),
            [] => Err(Error::NoBackup { wanted: beginning.to_owned() }),
            many => Err(Error::ManyBackups { beginning: beginning.to_owned(), count: many.len() }),
        }
    }

    /// Whether it is there, and is not going to be deleted.
    pub(super) fn is_there(&self, id: BackupId) -> bool {
        self.backups.contains_key(&id) && !self.is_marked(id)
    }

    /// Ends of other histories of the same log that go on differently from this backup's, newest first, and that nobody has given up:
    /// none of them is known to be the right one.
    #[must_use]
    pub fn beside(&self, id: BackupId, now: WallTime) -> Vec<BackupId> {
        let Some(mine) = self.branch_of(id).filter(|_| self.is_there(id)) else { return Vec::new() };
        let apart = |(ids, _): &Links, (_, apart): &Links| apart.iter().any(|id| ids.contains(id));
        let others = self.tips(now).into_iter().filter(|tip| *tip != id && self.is_there(*tip));
        let others = others.filter(|tip| !mine.0.contains(tip));
        others.filter(|tip| self.branch_of(*tip).is_some_and(|it| apart(&mine, &it) || apart(&it, &mine))).collect()
    }

    /// What a backup continues and stands for, and what its history knows to be of another.
    fn branch_of(&self, id: BackupId) -> Option<Links> {
        let chain = self.chain(id).ok()?;
        let ids = chain.iter().flat_map(|link| link.replaces.iter().copied().chain([link.id])).collect();
        let apart = chain.iter().flat_map(|link| &link.apart).copied().filter(|id| !self.is_marked(*id));
        Some((ids, apart.collect()))
    }

    /// Fails if another history of the same log stands beside this backup's.
    ///
    /// # Errors
    /// [`Error::Branches`], which names the end of each.
    pub fn check_alone(&self, id: BackupId, now: WallTime) -> Result<(), Error> {
        let others = self.beside(id, now);
        if others.is_empty() {
            return Ok(());
        }
        let said = |id: &BackupId| {
            let backup = &self.backups[id].metadata;
            format!("{id} up to lsn:{} of {}", backup.main.last, Stamp(backup.main.stamp.wall))
        };
        let backups: Vec<String> = [id].iter().chain(&others).map(said).collect();
        Err(Error::Branches { node: self.node, backups: backups.join(", ") })
    }

    /// A backup and all that it continues, the full one first.
    ///
    /// # Errors
    /// The first link that does not hold.
    pub fn chain(&self, id: BackupId) -> Result<Vec<&BackupMetadata>, Error> {
        let mut chain = Vec::new();
        let mut listed = self.backups.get(&id).ok_or_else(|| Error::NoBackup { wanted: id.to_string() })?;
        loop {
            let child = &listed.metadata;
            chain.push(child);
            let Some(parent) = &child.parent else { break };
            let fails = |why: &str| Error::Chain { id: child.id, parent: parent.id, why: why.into() };
            let Some(found) = self.backups.get(&parent.id) else {
                let name = manifest_name(self.node, parent.id);
                return Err(Error::Missing { name, needed_by: format!("backup {} continues it", child.id) });
            };
            if found.blake3.to_hex().as_str() != parent.blake3 {
                return Err(Error::damaged(
                    &manifest_name(self.node, parent.id),
                    format!("it is not the one that backup {} continues", child.id),
                ));
            }
            continues(&found.metadata, child).map_err(|why| fails(&why))?;
            if chain.len() > self.backups.len() {
                return Err(fails("the chain goes in a circle"));
            }
            listed = found;
        }
        chain.reverse();
        Ok(chain)
    }

    /// The backups of this store's log whose chains are whole and not marked, those first that hold most; with `full`, full ones.
    pub(super) fn bases(&self, store: &str, full: bool) -> impl Iterator<Item = &BackupMetadata> + use<'_> {
        let mut fit: Vec<&BackupMetadata> = self.backups().filter(|backup| backup.store == store).collect();
        fit.retain(|backup| !full || backup.kind == BackupType::Full);
        fit.sort_by_key(|backup| std::cmp::Reverse((backup.main.last, backup.events.last, backup.id)));
        fit.into_iter()
            .filter(|backup| self.chain(backup.id).is_ok_and(|chain| chain.iter().all(|link| !self.is_marked(link.id))))
    }

    /// The newest backup, of whatever store: the last one by name, since names are drawn in the order in which backups follow each
    /// other. One that is dated in the future counts only where there is no other, since its writer's clock was wrong; so does one that
    /// is going to be deleted.
    #[must_use]
    pub fn newest(&self, now: WallTime) -> Option<&BackupMetadata> {
        let mut past = self.usable().filter(|backup| !is_future(backup.finished, now));
        let mut kept = self.usable().filter(|backup| !is_future(backup.finished, now) && !self.is_marked(backup.id));
        kept.next_back().or_else(|| past.next_back()).or_else(|| self.usable().next_back())
    }

    /// Those that may be restored from: of a repository whose damage was accepted only what is whole.
    pub(super) fn usable(&self) -> impl DoubleEndedIterator<Item = &BackupMetadata> {
        self.backups().filter(|backup| !self.accepted || self.chain(backup.id).is_ok())
    }

    /// The ends of all histories, newest first: what no other backup continues.
    pub(super) fn tips(&self, now: WallTime) -> Vec<BackupId> {
        let continued: BTreeSet<BackupId> =
            self.usable().filter_map(|backup| backup.parent.as_ref()).map(|parent| parent.id).collect();
        let newest = self.newest(now).map(|backup| backup.id);
        let others = self.usable().rev().map(|backup| backup.id);
        let others = others.filter(|id| !continued.contains(id) && Some(*id) != newest);
        newest.into_iter().chain(others).collect()
    }

    /// The first backup that saw the log after this time: at the very time more may have come after the look.
    pub(super) fn first_seen_since(&self, at: WallTime, now: WallTime) -> Option<BackupId> {
        let seen = self.usable().filter(|backup| backup.started > at && !is_future(backup.finished, now));
        seen.min_by_key(|backup| (backup.started, backup.id)).map(|backup| backup.id)
    }

    /// What is damaged is not in the way of what is whole any more: from now on only backups count whose chains are whole.
    /// Gives what is wrong, which is to be told.
    pub fn accept_damage(&mut self) -> Vec<Error> {
        self.accepted = true;
        std::mem::take(&mut self.faults)
    }

    /// Whether damage was accepted, and this is some of an object that was not known before: then another search goes around it. What
    /// the object holds, and what comes behind it in its chain, is looked for in other backups, and else left out.
    pub fn goes_around(&mut self, error: &Error) -> bool {
        let damaged = matches!(
            error,
            Error::Missing { .. } | Error::Damaged { .. } | Error::Gap { .. } | Error::FutureFormat { .. }
        );
        let Some(name) = error.object().filter(|_| self.accepted && damaged) else { return false };
        let is_object = |backup: &BackupMetadata| backup.objects.iter().any(|object| object.key == name);
        let known = id_of(name).and_then(|id| self.backups.get(&id)).is_some_and(|listed| is_object(&listed.metadata));
        known && self.damaged.insert(name.to_owned())
    }

    /// A fault that keeps from knowing which backups there are and what they continue. One of a backup that is to be deleted
    /// anyway is none.
    pub(super) fn take_blocking(&mut self, given_up: &BTreeSet<BackupId>) -> Option<Error> {
        let free = |fault: &Error| {
            let id = fault.object().and_then(id_of);
            id.is_some_and(|id| given_up.contains(&id) || self.tombs.contains_key(&id))
        };
        let at = self.faults.iter().position(|fault| !free(fault))?;
        Some(self.faults.swap_remove(at))
    }

    /// The same for whoever relies on it: a fault of the catalogue may be the newest. What is wrong with marks and intents is
    /// not: they say nothing of what can be had.
    ///
    /// # Errors
    /// The fault; [`Error::NoBackup`] if there is none at all.
    pub fn newest_or_fault(&mut self, now: WallTime) -> Result<BackupId, Error> {
        let hides = |fault: &Error| fault.object().is_none_or(|name| name.starts_with("backups/"));
        if let Some(at) = self.faults.iter().rposition(hides) {
            return Err(self.faults.swap_remove(at));
        }
        let newest = self.newest(now).map(|backup| backup.id);
        newest.ok_or_else(|| Error::NoBackup { wanted: format!("of node {}", self.node) })
    }
}

/// What a file says, if it says it of whom its name says.
fn named<T>(
    name: &str,
    found: Option<T>,
    of: (NodeId, BackupId),
    says: impl Fn(&T) -> (NodeId, BackupId),
) -> Result<Option<T>, Error> {
    match found {
        Some(found) if says(&found) != of => Err(Error::damaged(name, "it is about another backup")),
        found => Ok(found),
    }
}

/// Which backup a file is about, by its name.
pub(super) fn id_of(name: &str) -> Option<BackupId> {
    name.split('/').find_map(|part| part.trim_end_matches(".json").parse().ok())
}

/// Whether a backup begins where its parent ends.
fn continues(parent: &BackupMetadata, child: &BackupMetadata) -> Result<(), String> {
    if (parent.node, &parent.store) != (child.node, &child.store) {
        return Err("it is of another log".into());
    }
    if child.kind == BackupType::Differential && parent.kind != BackupType::Full {
        return Err("a differential backup continues a full one".into());
    }
    for chain in Chain::ALL {
        let (before, run) = (parent.run(chain), child.run(chain));
        // Only the events' chain loses its beginning.
        let expected = before.last.next().max(run.oldest);
        if run.first != expected || (chain == Chain::Main && run.oldest != before.oldest) {
            return Err(format!("its first record of {chain:?} is {}, not {expected}", run.first));
        }
    }
    Ok(())
}

/// The ids whose files are in a folder.
pub(super) async fn ids(repository: &Repository, folder: &str) -> Result<Vec<(BackupId, String)>, Error> {
    let listed = repository.store.list(folder).await?;
    let named = listed.into_iter().filter_map(|object| {
        let id = object.name.strip_prefix(folder)?.strip_prefix('/')?.strip_suffix(".json")?.parse().ok()?;
        Some((id, object.name))
    });
    Ok(named.collect())
}
