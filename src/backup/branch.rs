//! Which history of its node a log goes on with. Whoever writes asks here, a person, a schedule or an archive.
//!
//! A backup remembers how its log ended, so a log is known again. One that differs there was put back or lost its end, or is a copy that
//! another peer of the same identity writes. From the repository alone these look alike, so both histories are stored, the later
//! backup names the other one (`apart`), and from then on neither passes for the newest: restoring `latest` names both, and so do
//! verifying and listing. A person who knows names the right one by its id, or gives up the other.
//!
//! An archive has its [claim](super::claim) on top: the range of an archive that a claim's holder has left is over, and named nowhere.

use std::collections::{BTreeMap, BTreeSet};

use super::batch;
use super::catalogue::Catalogue;
use super::create::store_name;
use super::error::{Cause, Error};
use super::id::BackupId;
use super::manifest::{BackupMetadata, Mark};
use super::source::{Cut, Source};
use crate::types::{Chain, Hlc, Lsn};
use crate::wal::Frame;

/// So many records at the log's end are looked at to know it again. One would not do: after a log was put back, others
/// hand out again what they had handed out before, and the same records may come to stand at the same places behind
/// another one.
pub(super) const MARK_RECORDS: u64 = 1_024;

/// Most backups of other branches that one names.
const APART_MAX: usize = 16;

/// What of a repository a log goes on with.
#[derive(Debug, Default)]
pub(super) struct Branch<'a> {
    /// What it continues: of its own history that which holds most.
    pub(super) base: Option<&'a BackupMetadata>,
    /// The same, whatever is continued in the end.
    pub(super) newest: Option<&'a BackupMetadata>,
    /// Ends of other histories of the same log, those that the base knows of too.
    pub(super) apart: Vec<BackupId>,
    /// Those of them that are newer than the base.
    pub(super) found: Vec<BackupId>,
    /// Why the log continues no backup that holds more.
    pub(super) differs: Option<String>,
}

type Last<'a> = (Option<&'a BackupMetadata>, Vec<(&'a BackupMetadata, String)>);

impl<'a> Branch<'a> {
    /// Looks for it. What is known to differ is not looked at again, and what turns out to is known from now on.
    pub(super) fn of(
        catalogue: &'a Catalogue,
        source: &dyn Source,
        cut: &Cut,
        known: &mut BTreeMap<BackupId, String>,
    ) -> Result<Self, Error> {
        let (base, others) = Self::last(catalogue, source, cut, false, known)?;
        let differs =
            others.first().map(|(other, why)| format!("the log does not continue backup {}: {why}", other.id));
        let mut found: Vec<BackupId> = Vec::new();
        for (other, _) in others {
            // One that has seen more than this look may be of this branch still. What was there before the base was known when that was made.
            let seen_before = Chain::ALL.iter().all(|chain| other.run(*chain).last <= cut.span(*chain).last);
            let is_news = base.is_none_or(|base| other.id > base.id) && (seen_before || other.started <= cut.seen);
            let under =
                |id: &BackupId| catalogue.chain(*id).is_ok_and(|chain| chain.iter().any(|link| link.id == other.id));
            if is_news && !found.iter().any(under) {
                found.push(other.id);
            }
        }
        let inherited = base.and_then(|base| catalogue.chain(base.id).ok()).unwrap_or_default();
        let inherited = inherited.into_iter().flat_map(|link| &link.apart).filter(|id| catalogue.is_there(**id));
        let all: BTreeSet<BackupId> = inherited.copied().chain(found.iter().copied()).collect();
        let apart = all.into_iter().rev().take(APART_MAX).collect();
        Ok(Self { base, newest: base, apart, found, differs })
    }

    /// What of the log's history holds most, with `full` of full backups, and what holds more, or came later, and is of another.
    pub(super) fn last(
        catalogue: &'a Catalogue,
        source: &dyn Source,
        cut: &Cut,
        full: bool,
        known: &mut BTreeMap<BackupId, String>,
    ) -> Result<Last<'a>, Error> {
        let (mut others, mut last) = (Vec::new(), None::<&BackupMetadata>);
        for base in catalogue.bases(&store_name(cut.store), full) {
            // What holds less than the one that is continued, and came after it, is of another history.
            if last.is_some_and(|last| base.id < last.id) {
                continue;
            }
            let why = match known.get(&base.id) {
                Some(why) => Some(why.clone()),
                None => differs(base, source, cut)?,
            };
            let Some(why) = why else {
                last = last.or(Some(base));
                continue;
            };
            if Chain::ALL.iter().all(|chain| base.run(*chain).last <= cut.span(*chain).last) {
                known.insert(base.id, why.clone());
            }
            others.push((base, why));
        }
        Ok((last, others))
    }

    /// Its claim says that whoever archived before is over.
    pub(super) fn of_archive(mut self, catalogue: &Catalogue) -> Self {
        let is_over = |id: &BackupId| catalogue.backups.get(id).is_some_and(|listed| listed.metadata.archive);
        let over: BTreeSet<BackupId> = self.found.iter().copied().filter(is_over).collect();
        self.found.retain(|id| !over.contains(id));
        self.apart.retain(|id| !over.contains(id));
        self
    }
}

/// Whether the log is not the one that the backup was made of, and why: it lost its end, or was put back, and went on
/// differently.
fn differs(base: &BackupMetadata, source: &dyn Source, cut: &Cut) -> Result<Option<String>, Error> {
    for chain in Chain::ALL {
        let (run, span) = (base.run(chain), cut.span(chain));
        if span.last < run.last {
            return Ok(Some(format!("it ends with record {} of {chain:?}, and {} was backed up", span.last, run.last)));
        }
        let Some(mark) = run.mark.as_ref().filter(|_| span.first <= run.last) else { continue };
        let (_, there) = look(source, chain, span.first.max(mark.from), run.last)?;
        if there.last != mark.last || (span.first <= mark.from && there.blake3 != mark.blake3) {
            return Ok(Some(format!("records up to {} of {chain:?} are others", run.last)));
        }
    }
    Ok(None)
}

/// What the log says from one record to another: the last one's stamp, and the mark of them all.
pub(super) fn look(source: &dyn Source, chain: Chain, from: Lsn, last: Lsn) -> Result<(Hlc, Mark), Error> {
    let (mut expected, mut sum) = (from, blake3::Hasher::new());
    for frame in source.frames(chain, from) {
        let frame = frame.map_err(Error::Source)?;
        if frame.lsn != expected {
            return Err(Error::Source(gap(chain, expected, Some(frame.lsn))));
        }
        let record = marked(&frame);
        sum.update(&record);
        if frame.lsn == last {
            let (blake3, last) = (sum.finalize().to_hex().to_string(), blake3::hash(&record).to_hex().to_string());
            return Ok((frame.hlc, Mark { from, blake3, last }));
        }
        expected = expected.next();
    }
    Err(Error::Source(gap(chain, expected, None)))
}

pub(super) fn gap(chain: Chain, expected: Lsn, found: Option<Lsn>) -> Cause {
    match found {
        Some(found) => format!("record {found} of {chain:?} comes in the place of record {expected}").into(),
        None => format!("{chain:?} ends before record {expected}").into(),
    }
}

/// By which a record is known again.
pub(super) fn marked(frame: &Frame) -> Vec<u8> {
    let mut bytes = frame.lsn.value().to_le_bytes().to_vec();
    batch::put_record(frame, &mut bytes);
    bytes
}
