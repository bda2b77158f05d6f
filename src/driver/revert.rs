//! Documents of a running peer brought back to how they were: read from its own log, written as ordinary edits.
//!
//! Each document is edited at the version that was read, so what others write meanwhile is merged with the revert and not
//! overwritten by it unseen; what this peer's own clients write meanwhile makes it look again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::errands::aside;
use super::peer::{Link, Phase};
use crate::documents::{self, Command, Edit, Listed};
use crate::error::{Error, ErrorKind};
use crate::recovery::revert::{Change, Step, step, steps};
use crate::recovery::target::{Mark, Target};
use crate::recovery::{LocateError, Look, LookError, Source, SourceError, Survey};
use crate::types::{DocId, WallTime};

/// How often one document is looked at again because it was written to meanwhile.
const LOOKS_MAX: usize = 16;

/// Documents in a page of a scan.
const PAGE: usize = 500;

/// What to bring back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revert {
    /// Documents whose ids begin with this.
    pub prefix: String,
    /// To when.
    pub at: Target,
    /// Whether what stands at the target itself is left out.
    pub exclusive: bool,
    /// Whether to say only what would be done.
    pub dry_run: bool,
}

/// What was done, or would be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reverted {
    /// To which record of this peer's log.
    pub to: Mark,
    /// The documents that were not as they were then, in order.
    pub steps: Vec<Step>,
    /// How many documents with the prefix are as they were.
    pub same: usize,
    /// Whether nothing was done.
    pub dry_run: bool,
}

/// A question as it comes over HTTP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    pub(super) prefix: String,
    pub(super) at: String,
    #[serde(default)]
    pub(super) exclusive: bool,
    #[serde(default)]
    pub(super) dry_run: bool,
}

/// Documents and what they say.
pub(super) type Docs = BTreeMap<DocId, Value>;

/// Brings documents back.
pub(super) async fn revert(link: &Link, asked: Revert) -> Result<Reverted, Error> {
    let Revert { prefix, at, exclusive, dry_run } = asked;
    let (to, then) = self::at(link, &prefix, at, exclusive).await?;
    let now = scan(link, &prefix).await?;
    let mut steps = steps(&then, &now);
    let same = then.keys().filter(|doc| now.contains_key(doc)).count()
        - steps.iter().filter(|step| step.change == Change::PutBack).count();
    if !dry_run {
        let mut done = Vec::new();
        for step in steps {
            done.extend(put_back(link, &step.doc, then.get(&step.doc)).await?);
        }
        steps = done;
    }
    Ok(Reverted { to, steps, same, dry_run })
}

/// The documents as this peer's log held them at a moment, and which record that was.
pub(super) async fn at(link: &Link, prefix: &str, at: Target, exclusive: bool) -> Result<(Mark, Docs), Error> {
    let (dir, now, prefix) = (link.facts.data_dir.clone(), link.facts.clock.now().wall, prefix.to_owned());
    let asker = link.clone();
    let wanted = move || match asker.phase() {
        Phase::Stopped => Err(Error::new(ErrorKind::Leaving, "the peer has stopped")),
        _ => Ok(()),
    };
    let looked = aside(link, move || then(dir, &prefix, &at, (exclusive, now), &wanted)).await;
    looked.map_err(|error| {
        let kind = if error.is_panic() { ErrorKind::Engine } else { ErrorKind::Leaving };
        Error::new(kind, error)
    })?
}

/// What the log held then. It is broken off with the error that `wanted` gives when nobody wants it any more.
fn then(
    dir: PathBuf,
    prefix: &str,
    at: &Target,
    (exclusive, now): (bool, WallTime),
    wanted: &impl Fn() -> Result<(), Error>,
) -> Result<(Mark, Docs), Error> {
    let source = Source::open(&dir).map_err(unreadable)?;
    wanted()?;
    let survey = Survey::of(&source).map_err(unreadable)?;
    wanted()?;
    let located = survey.locate(&source, at, exclusive, now).map_err(|error| match error {
        LocateError::Target(refused) => Error::new(ErrorKind::Unreachable, refused),
        LocateError::Source(error) => unreadable(error),
    })?;
    let damaged = |error| match error {
        LookError::Source(error) => unreadable(error),
        error => Error::new(ErrorKind::Damaged, error),
    };
    wanted()?;
    let mut look = Look::at(&source, &survey, &located).map_err(damaged)?;
    wanted()?;
    let docs = look.documents(prefix).map_err(damaged)?;
    Ok((located.last, docs))
}

fn unreadable(error: SourceError) -> Error {
    let kind = if matches!(error, SourceError::Io { .. }) { ErrorKind::Disk } else { ErrorKind::Damaged };
    Error::new(kind, error)
}

/// The documents as they are.
async fn scan(link: &Link, prefix: &str) -> Result<Docs, Error> {
    let mut found = Docs::new();
    loop {
        let after = found.last_key_value().map(|(doc, _)| doc.clone());
        let command = Command::Scan { prefix: prefix.to_owned(), after, limit: PAGE, values: true };
        let documents::Outcome::Page { docs, more } = link.documents(command).await? else {
            unreachable!("a scan is answered by a page");
        };
        found.extend(docs.into_iter().filter_map(|Listed { doc, value, .. }| value.map(|value| (doc, value))));
        if !more {
            return Ok(found);
        }
    }
}

/// Brings one document back; what was done, if anything had to be.
async fn put_back(link: &Link, doc: &DocId, then: Option<&Value>) -> Result<Option<Step>, Error> {
    let mut looks = 0;
    loop {
        let (now, heads) = match link.documents(Command::Get { doc: doc.clone(), path: String::new() }).await {
            Ok(documents::Outcome::Value { value, heads, .. }) => (Some(value), heads),
            Ok(other) => unreachable!("a document was asked for, not {other:?}"),
            Err(error) if error.kind() == ErrorKind::NotFound => (None, Vec::new()),
            Err(error) => return Err(error),
        };
        let Some(step) = step(doc, then, now.as_ref()) else { return Ok(None) };
        let edits = match &step.value {
            Some(value) => vec![Edit::Put { value: value.clone() }],
            None => vec![Edit::Delete],
        };
        let doc = doc.clone();
        let command = match now {
            Some(_) => Command::EditAt { doc, edits, heads: heads.iter().filter_map(|text| head(text)).collect() },
            None => Command::Edit { doc, edits, create: true },
        };
        looks += 1;
        match link.documents(command).await {
            Ok(_) => return Ok(Some(step)),
            // Somebody wrote to it since it was read.
            Err(error) if looks < LOOKS_MAX && matches!(error.kind(), ErrorKind::Outdated | ErrorKind::Exists) => {}
            Err(error) => return Err(error),
        }
    }
}

/// A head as people and the engine write it: 64 hexadecimal digits.
pub(super) fn head(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}
