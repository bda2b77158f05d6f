//! Commands of clients: which version they edit, and one transaction for as many as fit.

use std::borrow::Cow;

use automerge::transaction::{CommitOptions, Transactable, Transaction};
use automerge::{Automerge, ChangeHash, PatchLog};

use super::super::change::{CREATE, DELETE, OPS_MAX, PLAIN_MAX};
use super::super::{Edit, Error, Wanted, geojson, size};
use super::choose::Chooser;
use super::open::Open;
use super::removals::Removals;
use super::table::Stand;
use super::twins::Lens;
use super::{path, read, write};
use crate::types::{Actor, CommandId, DocId, WallTime, hex};

/// Bytes of edits that are gathered into one change at most.
const GATHER_MAX: usize = PLAIN_MAX / 2;

/// What came of each command.
pub(super) type Results = Vec<(CommandId, Result<(), Error>)>;

/// What is edited.
pub(super) struct Version {
    /// Whether the document has content there.
    pub(super) exists: bool,
    /// Its heads, unless it is the newest.
    pub(super) heads: Option<Vec<ChangeHash>>,
}

impl Version {
    fn begin<'a>(&self, merged: &'a mut Automerge, lens: Lens<'_>) -> Transaction<'a> {
        lens.into_iter().for_each(Chooser::begin);
        match &self.heads {
            None => merged.transaction(),
            Some(heads) => merged.transaction_at(PatchLog::null(), heads).expect("a log of no document fits any"),
        }
    }

    /// What stands unsettled at it between a removal and what others wrote.
    pub(super) fn unsettled<'a>(&self, chooser: &Chooser<'a>, merged: &mut Automerge) -> Option<Removals<'a>> {
        let removals = match &chooser.version {
            None => Removals::of(chooser.table),
            Some(clock) => Removals::at(chooser.table, clock),
        }?;
        let read = self.begin(merged, None);
        let found = removals.found(&read, Some(chooser));
        read.rollback();
        Some(found)
    }

    /// Makes a change of it that writes nothing.
    fn pass(&self, merged: &mut Automerge, options: CommitOptions) {
        if let Some(heads) = &self.heads {
            // Only what it follows is there then; the rest is not needed, since the caller takes no more than the change.
            let mut then = merged.fork_at(heads).expect("the version was found here");
            then.set_actor(merged.get_actor().clone());
            *merged = then;
        }
        merged.empty_commit(options);
    }
}

/// The version that these commands edit: the newest, or the one that the only command names.
pub(super) fn version(
    doc: &DocId,
    open: &mut Open,
    folded: bool,
    actor: Actor,
    batch: &[Wanted],
) -> Result<Version, Error> {
    let newest = Version { exists: open.table.exists(), heads: None };
    let [Wanted { at: Some(heads), edits, .. }] = batch else { return Ok(newest) };
    match open.table.stand(&actor.to_bytes(), heads) {
        Stand::Newest => Ok(newest),
        // Whoever asks for an older version sees to it that all of the document is here.
        Stand::Before { .. } if folded => {
            let why = "its past is folded".to_owned();
            Err(Error::Engine { doc: doc.clone(), why })
        }
        Stand::Before { .. } if deletes(edits) || edits.iter().any(is_whole) => {
            let why = "only the newest version can be deleted, or settled as a whole".to_owned();
            Err(Error::Invalid { doc: doc.clone(), path: String::new(), why })
        }
        Stand::Before { exists } => {
            Ok(Version { exists, heads: Some(heads.iter().map(|head| ChangeHash(*head)).collect()) })
        }
        Stand::Outdated => Err(Error::Outdated { doc: doc.clone() }),
        Stand::Unseen(head) => Err(Error::Unseen { doc: doc.clone(), head: hex(&head) }),
    }
}

/// Where nobody asked for anything but Automerge's own order, and nothing is counted or to be settled, nobody is asked.
pub(super) fn lens<'a>(chooser: &'a Chooser<'a>) -> Lens<'a> {
    let asked = chooser.policies.concern(chooser.doc) || chooser.settles;
    (asked || chooser.table.counters().any()).then_some(chooser)
}

/// Whether a command deletes the document, also to settle that all of it is removed.
fn deletes(edits: &[Edit]) -> bool {
    match edits {
        [Edit::Delete] => true,
        [Edit::Resolve { path, value: None, .. }] => path.is_empty(),
        _ => false,
    }
}

/// Whether the document was deleted while others wrote, and nobody has settled that.
fn is_open(lens: Lens<'_>) -> bool {
    lens.and_then(|lens| lens.unsettled.as_ref()).is_some_and(|open| open.of_all().is_some())
}

/// Runs the commands in one transaction and commits it; whether a change was made, and what came of each command.
pub(super) fn commands(
    merged: &mut Automerge,
    version: &Version,
    at: WallTime,
    batch: &[Wanted],
    (doc, lens): (&DocId, Lens<'_>),
) -> (bool, Results) {
    let exists = version.exists;
    let (mut results, mut accepted, mut bytes) = (Vec::new(), Vec::new(), 0);
    let time = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    let options = || CommitOptions::default().with_time(time);
    let mut tx = version.begin(merged, lens);
    for wanted in batch {
        let wanted = match whole(&tx, wanted, (doc, lens)) {
            Ok(wanted) => wanted,
            Err(error) => {
                results.push((wanted.command, Err(error)));
                continue;
            }
        };
        let there = exists || !accepted.is_empty();
        let own: usize = wanted.edits.iter().map(size::of_edit).sum();
        if !accepted.is_empty() && (deletes(&wanted.edits) || bytes + own > GATHER_MAX) {
            break;
        }
        if deletes(&wanted.edits) && wanted.edits != [Edit::Delete] && !is_open(lens) {
            // Of a document that is deleted that is settled already.
            let gone = !there && !tx.base_heads().is_empty();
            let none = || Error::NotOpen { doc: doc.clone(), path: String::new() };
            results.push((wanted.command, if gone { Ok(()) } else { Err(none()) }));
            continue;
        }
        if deletes(&wanted.edits) && there {
            tx.rollback();
            merged.empty_commit(options().with_message(DELETE));
            results.push((wanted.command, Ok(())));
            return (true, results);
        }
        let before = tx.pending_ops();
        let done = command(&mut tx, &wanted, there, (doc, lens));
        let ops = tx.pending_ops();
        if done.is_ok() && ops <= OPS_MAX {
            results.push((wanted.command, Ok(())));
            accepted.push(wanted);
            bytes += own;
            continue;
        }
        if ops > before {
            tx.rollback();
            tx = version.begin(merged, lens);
            for wanted in &accepted {
                command(&mut tx, wanted, true, (doc, lens)).expect("it went well a moment ago");
            }
        }
        let too_large = matches!(done, Ok(()) | Err(Error::TooLarge { .. }));
        if too_large && !accepted.is_empty() {
            break;
        }
        let large = Error::TooLarge { doc: doc.clone(), what: "operations", found: ops, max: OPS_MAX };
        results.push((wanted.command, done.and(Err(large))));
    }
    let (wrote, created) = (tx.pending_ops() > 0, !exists && version.heads.is_none() && !accepted.is_empty());
    tx.commit_with(options());
    let kept = !wrote && accepted.iter().any(|wanted| keeps(wanted, lens));
    if !wrote && (created || kept) {
        version.pass(merged, options().with_message(CREATE));
    }
    (wrote || created || kept, results)
}

fn is_whole(edit: &Edit) -> bool {
    matches!(edit, Edit::Choose { path, .. } if path.is_empty())
}

/// The same command, where it chooses what becomes of the whole document: to have it stay as it is, or be deleted.
fn whole<'w>(
    tx: &impl automerge::ReadDoc,
    wanted: &'w Wanted,
    (doc, lens): (&DocId, Lens<'_>),
) -> Result<Cow<'w, Wanted>, Error> {
    let chosen = |edit: &Edit| match edit {
        Edit::Choose { path, change, seen } if path.is_empty() => {
            write::chosen(tx, &[], (change, seen.as_deref()), lens)
        }
        other => Ok(other.clone()),
    };
    if !wanted.edits.iter().any(is_whole) {
        return Ok(Cow::Borrowed(wanted));
    }
    let edits: Result<Vec<Edit>, write::Fault> = wanted.edits.iter().map(chosen).collect();
    let edits = edits.map_err(|fault| told(doc, String::new(), fault))?;
    Ok(Cow::Owned(Wanted { edits, ..wanted.clone() }))
}

/// Whether it settles that a document which somebody deleted stays.
fn keeps(wanted: &Wanted, lens: Lens<'_>) -> bool {
    let all = |edit: &Edit| matches!(edit, Edit::Resolve { path, value: Some(_), .. } if path.is_empty());
    wanted.edits.iter().any(all) && is_open(lens)
}

fn command(
    tx: &mut impl Transactable,
    wanted: &Wanted,
    exists: bool,
    (doc, lens): (&DocId, Lens<'_>),
) -> Result<(), Error> {
    if wanted.create && exists {
        return Err(Error::Exists { doc: doc.clone() });
    }
    if !exists && !matches!(wanted.edits.first(), Some(Edit::Put { .. })) {
        return Err(Error::NotFound { doc: doc.clone() });
    }
    wanted.edits.iter().try_for_each(|edit| {
        let done = write::edit(tx, edit, lens).and_then(|()| geometry(tx, edit, lens));
        done.map_err(|fault| told(doc, edit.path().to_owned(), fault))
    })
}

fn told(doc: &DocId, path: String, fault: write::Fault) -> Error {
    let doc = doc.clone();
    match fault {
        write::Fault::NoSuchPath => Error::NoSuchPath { doc, path },
        write::Fault::NotOpen => Error::NotOpen { doc, path },
        write::Fault::NotSeen(why) => Error::NotSeen { doc, path, why },
        write::Fault::Invalid(why) => Error::Invalid { doc, path, why },
        write::Fault::TooLarge(found) => Error::TooLarge { doc, what: "operations", found, max: OPS_MAX },
    }
}

/// The geometry of a feature is one that an import would take, whoever wrote it here.
fn geometry(tx: &impl Transactable, edit: &Edit, lens: Lens<'_>) -> Result<(), write::Fault> {
    let steps = path::steps(edit.path()).map_err(write::Fault::Invalid)?;
    let kind = |tx| read::at(tx, &["type".into()], lens);
    if steps.first().is_some_and(|step| step != "geometry") || kind(tx).is_none_or(|kind| kind != "Feature") {
        return Ok(());
    }
    match read::at(tx, &["geometry".into()], lens) {
        Some(value) => geojson::check_geometry(&value).map_err(write::Fault::Invalid),
        None if steps.is_empty() => Ok(()),
        None => Err(write::Fault::Invalid("a feature has a geometry; it may be null".to_owned())),
    }
}

pub(super) fn fail(batch: &[Wanted], error: &Error) -> Results {
    batch.iter().map(|wanted| (wanted.command, Err(error.clone()))).collect()
}
