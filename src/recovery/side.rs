//! A directory beside the peer's own, with the log as it was: to look at, or to take the place of a lost one.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

use super::image::{self, ImageError, Plan, Written};
use super::source::{Source, SourceError};
use super::survey::{Located, Survey};
use super::target::Mark;
use crate::documents::Body;
use crate::node::{Own, Restored};
use crate::types::{Chain, DocId, LogId, Lsn, TimelineId, Topic, WallTime};
use crate::wal;

/// Most documents that are named of those touched; all are counted.
pub const NAMED_MAX: usize = 1_000;

/// What the log holds behind a moment: what a return to it would lose, if nobody else had it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// Records of both chains.
    pub records: u64,
    /// Changes of documents among them.
    pub changes: u64,
    /// Batches of events among them.
    pub batches: u64,
    /// The documents that were touched, in order; the first [`NAMED_MAX`].
    pub documents: BTreeSet<DocId>,
    /// How many were.
    pub documents_touched: usize,
    /// The first record behind the moment.
    pub from: Option<Mark>,
    /// The last record of the log.
    pub to: Option<Mark>,
    /// Events that expired since and are not on the disk any more, so that they cannot be had back: records of their chain up to
    /// this one.
    pub expired_upto: Option<Lsn>,
}

/// Looks at what stands behind a moment.
///
/// # Errors
/// What keeps the log from being read.
pub fn lost(source: &Source, survey: &Survey, located: &Located) -> Result<Lost, SourceError> {
    let mut lost = Lost::default();
    let mut touched = BTreeSet::new();
    let begins = survey.begins();
    for chain in Chain::ALL {
        let upto = Some(survey.upto.of(chain));
        let frames = match chain {
            Chain::Main => source.main(upto),
            Chain::Events => source.events(begins, upto),
        };
        for frame in frames {
            let frame = frame?;
            if frame.lsn <= located.upto.of(chain) {
                continue;
            }
            lost.count(&frame, source.own(&frame)?, &mut touched);
        }
    }
    lost.name(touched);
    let then = source.beginning(Some(located.upto.main))?;
    lost.expired_upto = (begins.lsn > then.lsn).then(|| Lsn::new(begins.lsn.value() - 1));
    Ok(lost)
}

impl Lost {
    /// One record more, which says this.
    pub(crate) fn count(&mut self, frame: &wal::Frame, own: Own, touched: &mut BTreeSet<DocId>) {
        self.records += 1;
        let mark = Mark { lsn: frame.lsn, at: frame.hlc };
        self.from = Some(self.from.filter(|from| from.at < mark.at).unwrap_or(mark));
        self.to = Some(self.to.filter(|to| to.at > mark.at).unwrap_or(mark));
        match own {
            Own::Entry(record) if record.log.topic == Topic::EVENTS => self.batches += 1,
            Own::Entry(record) => {
                self.changes += 1;
                touched.extend(doc_of(&record.log, &record.body));
            }
            _ => {}
        }
    }

    /// The documents that were touched by what was counted.
    pub(crate) fn name(&mut self, touched: BTreeSet<DocId>) {
        self.documents_touched = touched.len();
        self.documents = touched.into_iter().take(NAMED_MAX).collect();
    }
}

/// Which document an entry changes; `None` if it cannot be read, as entries of a later version cannot.
fn doc_of(log: &LogId, body: &[u8]) -> Option<DocId> {
    if log.topic != Topic::DOCUMENTS {
        return None;
    }
    let config = bincode::config::standard();
    bincode::decode_from_slice::<Body, _>(body, config).ok().map(|(body, _)| body.doc)
}

/// Writes the log as it was into a directory of its own.
///
/// # Errors
/// [`ImageError`]; then nothing is there that was not before.
pub fn restore(
    source: &Source,
    survey: &Survey,
    located: &Located,
    into: &Path,
    why: String,
    now: WallTime,
) -> Result<Written, ImageError> {
    let how = How { line: survey.line(), why, wal: wal::Config::default(), now };
    restore_as(source, survey, located, into, how)
}

/// How a log is written anew.
#[derive(Clone, Debug)]
pub struct How {
    /// As one of this timeline.
    pub line: TimelineId,
    /// What was asked for, in words.
    pub why: String,
    /// How long its segments are.
    pub wal: wal::Config,
    /// The wall clock.
    pub now: WallTime,
}

/// As [`restore`], and says how.
///
/// # Errors
/// As [`restore`].
pub fn restore_as(
    source: &Source,
    survey: &Survey,
    located: &Located,
    into: &Path,
    How { line, why, wal, now }: How,
) -> Result<Written, ImageError> {
    let from = source.dir().display().to_string();
    let plan = Plan {
        node: source.node(),
        wal,
        upto: located.upto,
        later: survey.trims_after(located.upto.main),
        line: image::Line::New(line),
        restored: Restored { from, lsn: located.last.lsn, at: located.last.at, timeline: 0, fork: 0, why },
        now,
    };
    let (main, events) = (Some(located.upto.main), Some(located.upto.events));
    image::write(into, &plan, source.main(main), source.events(survey.begins(), events))
}
