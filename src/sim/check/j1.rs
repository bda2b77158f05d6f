//! J1, a judge from elsewhere: of what a live peer's log holds Automerge alone makes what that peer serves; and the documents of
//! all peers, saved and merged in any order, have the same heads and read the same.
//!
//! Nothing of our engine has a part in it: the changes are those that the log was told to hold, they are put together by
//! Automerge, and what shows is what Automerge shows. Besides the peers' documents each writer's version, as it was after the
//! writer's last change, is merged too: where all peers hold the same there would be nothing to merge.
//!
//! Bounded: so many documents of so many peers; of those of which all peers hold the same, versions are merged of one, which the
//! number of entries draws. Of a document of which a writer used a number twice, because its disk was put
//! back or somebody garbled its entry, Automerge holds one branch only: it is left out. So is whoever refused a change by name
//! (C7 says when that may be), and the reading of a document in which maps stand at one place or counters, which we read as one, or
//! values that we keep whole as bytes.

use std::collections::BTreeMap;

use automerge::{ActorId, Automerge, Change, ChangeHash, ObjId, ObjType, ROOT, ReadDoc, ScalarValue, TextEncoding};
use bytes::Bytes;
use serde_json::Value;

use super::{Check, Sight, Verdict};
use crate::documents::{Body, Listed};
use crate::node::Event;
use crate::replication;
use crate::sim::plan::{Fault, Item};
use crate::types::{DocId, LogId, Seq, Topic, VersionVector};

/// Documents that are judged.
const DOCS_MAX: usize = 4;
/// Peers whose documents are judged.
const PEERS_MAX: usize = 8;
/// Writers whose versions are merged too.
const WRITERS_MAX: usize = 3;
/// Changes of a document beyond which it is left out.
const CHANGES_MAX: usize = 2_000;

/// What stands at each place of the logs of documents, and what is to be merged at the end.
#[derive(Default)]
pub(super) struct AutomergeAgrees {
    /// None where two entries were seen at one place.
    entries: BTreeMap<(LogId, Seq), Option<Bytes>>,
    /// Whether a writer may have used a number twice.
    reused: bool,
    judged: usize,
    made: BTreeMap<DocId, Vec<Made>>,
}

/// What Automerge makes of these changes, which peers serve.
struct Made {
    changes: Vec<Vec<u8>>,
    /// A peer that has them.
    who: u32,
    /// None if it cannot hold them.
    document: Option<Document>,
}

struct Document {
    saved: Vec<u8>,
    heads: Vec<String>,
    shown: Option<Value>,
}

impl AutomergeAgrees {
    /// The changes of these documents in a log as far as this vector goes. None if nobody told of one of them: who crashed before it
    /// could tell has it, and whoever came to hold it crashed too; or if it is not known which of two stands there.
    fn changes(&self, vector: &VersionVector, docs: &[&Listed]) -> Option<BTreeMap<DocId, Vec<Vec<u8>>>> {
        let mut changes: BTreeMap<DocId, Vec<Vec<u8>>> = BTreeMap::new();
        for (log, last) in vector.iter().filter(|(log, _)| log.topic == Topic::DOCUMENTS) {
            for seq in 1..=last.value() {
                let entry = self.entries.get(&(log, Seq::new(seq)))?.as_ref()?;
                let (body, _) = bincode::decode_from_slice::<Body, _>(entry, bincode::config::standard()).ok()?;
                if docs.iter().any(|listed| listed.doc == body.doc) {
                    changes.entry(body.doc).or_default().push(body.change);
                }
            }
        }
        Some(changes)
    }

    /// Holds what a peer serves against what Automerge makes of its changes.
    fn judge(&mut self, sight: &Sight<'_>, who: u32, listed: &Listed, changes: Vec<Vec<u8>>) -> Verdict {
        let Listed { doc, heads, value } = listed;
        let name = sight.name(who);
        let made = self.made.entry(doc.clone()).or_default();
        // Most often all of them have the same.
        let at = made.iter().position(|made| made.changes == changes).unwrap_or(made.len());
        if at == made.len() {
            let document = match put_together(&changes) {
                Ok(document) => Some(document),
                Err(_) if self.reused || sight.plan.items.iter().any(garbles) => None,
                Err(why) => return Err(format!("Automerge refuses what {name} holds of {doc}: {why}")),
            };
            made.push(Made { changes, who, document });
        }
        let Some(document) = &made[at].document else { return Ok(()) };
        if document.heads != *heads {
            let theirs = &document.heads;
            return Err(format!("{name} serves {doc} with heads {heads:?}, Automerge has {theirs:?} of the same log"));
        }
        match differs(value.as_ref(), document.shown.as_ref()) {
            Some(difference) => Err(format!("{name} serves {doc} otherwise than Automerge: {difference}")),
            None => Ok(()),
        }
    }
}

impl AutomergeAgrees {
    /// The documents that are merged: all of which peers have different versions, and one of the others.
    fn to_merge(&self) -> impl Iterator<Item = (&DocId, &Vec<Made>)> {
        let same = self.made.values().filter(|made| made.len() == 1).count();
        let mut drawn = self.entries.len().checked_rem(same);
        self.made.iter().filter(move |(_, made)| {
            if made.len() > 1 {
                return true;
            }
            let at = drawn;
            drawn = at.and_then(|at| at.checked_sub(1));
            at == Some(0)
        })
    }
}

impl Check for AutomergeAgrees {
    fn id(&self) -> &'static str {
        "J1"
    }

    fn on_event(&mut self, _: &Sight<'_>, _: u32, event: &Event) -> Verdict {
        use replication::Event as E;
        let Event::Replication(E::Delivered { log, seq, body, .. } | E::Originated { log, seq, body, .. }) = event
        else {
            return Ok(());
        };
        if log.topic == Topic::DOCUMENTS {
            let known = self.entries.entry((*log, *seq)).or_insert_with(|| Some(body.clone()));
            if known.as_ref().is_some_and(|known| known != body) {
                *known = None;
            }
        }
        Ok(())
    }

    fn on_damaged(&mut self, _: u32) {
        self.reused = true;
    }

    fn on_put_back(&mut self, _: u32, _: usize) {
        self.reused = true;
    }

    fn on_content(&mut self, sight: &Sight<'_>, who: u32, docs: &[Listed]) -> Verdict {
        let Some(node) = sight.node(who).filter(|node| node.documents().refused() == 0) else { return Ok(()) };
        if self.judged >= PEERS_MAX {
            return Ok(());
        }
        self.judged += 1;
        // Spread over all of them.
        let chosen: Vec<&Listed> = docs.iter().step_by(docs.len().div_ceil(DOCS_MAX).max(1)).collect();
        let Some(mut changes) = self.changes(&node.replication().vector(), &chosen) else { return Ok(()) };
        for listed in chosen {
            let changes = changes.remove(&listed.doc).unwrap_or_default();
            if changes.len() <= CHANGES_MAX {
                self.judge(sight, who, listed, changes)?;
            }
        }
        Ok(())
    }

    fn on_all_content(&mut self, sight: &Sight<'_>) -> Verdict {
        for (doc, made) in self.to_merge() {
            let documents: Vec<&Document> = made.iter().filter_map(|made| made.document.as_ref()).collect();
            let Some(served) = documents.first() else { continue };
            let merged = merged(&documents).map_err(|why| format!("Automerge cannot merge {doc}: {why}"))?;
            for (how, merged) in merged {
                let heads = heads_of(&merged);
                if heads != served.heads {
                    let ours = &served.heads;
                    return Err(format!("{doc}, merged {how} by Automerge, has heads {heads:?}, peers serve {ours:?}"));
                }
                if let Some(difference) = differs(served.shown.as_ref(), shown(&merged).as_ref()) {
                    let name = sight.name(made[0].who);
                    return Err(format!("{doc}, merged {how} by Automerge, is not what {name} serves: {difference}"));
                }
            }
        }
        Ok(())
    }
}

/// Merged from the first to the last, and from the last to the first.
fn merged(documents: &[&Document]) -> Result<[(&'static str, Automerge); 2], String> {
    let mut parts = Vec::new();
    for document in documents {
        parts.push(Automerge::load(&document.saved).map_err(|error| error.to_string())?);
    }
    let versions = parts.first().map(versions).transpose()?;
    parts.splice(..0, versions.unwrap_or_default());
    let count = parts.len();
    let mut fold = |order: Vec<usize>| -> Result<Automerge, String> {
        let mut all = empty();
        for at in order {
            all.merge(&mut parts[at]).map_err(|error| error.to_string())?;
        }
        Ok(all)
    };
    Ok([("forwards", fold((0..count).collect())?), ("backwards", fold((0..count).rev().collect())?)])
}

fn garbles(item: &Item) -> bool {
    matches!(item.fault, Fault::Garble { .. })
}

/// The document as it was after each writer's last change.
fn versions(whole: &Automerge) -> Result<Vec<Automerge>, String> {
    let mut last: BTreeMap<ActorId, (u64, ChangeHash)> = BTreeMap::new();
    for change in whole.get_changes(&[]) {
        let newest = last.entry(change.actor_id().clone()).or_insert_with(|| (change.seq(), change.hash()));
        *newest = (*newest).max((change.seq(), change.hash()));
    }
    let versions = last.values().take(WRITERS_MAX).map(|(_, hash)| whole.fork_at(&[*hash]));
    versions.collect::<Result<_, _>>().map_err(|error| error.to_string())
}

fn empty() -> Automerge {
    // Nothing is ever written in this name.
    Automerge::new_with_encoding(TextEncoding::UnicodeCodePoint).with_actor(ActorId::from([0_u8; 24].as_slice()))
}

fn put_together(changes: &[Vec<u8>]) -> Result<Document, String> {
    let mut made = empty();
    let changes = changes.iter().map(|bytes| Change::try_from(&bytes[..]));
    let changes = changes.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    made.apply_changes(changes).map_err(|error| error.to_string())?;
    Ok(Document { saved: made.save(), heads: heads_of(&made), shown: shown(&made) })
}

/// As peers tell them.
fn heads_of(doc: &Automerge) -> Vec<String> {
    let mut heads: Vec<String> = doc.get_heads().iter().map(ToString::to_string).collect();
    heads.sort_unstable();
    heads
}

/// The first member that is not the same, if both can be read.
fn differs(served: Option<&Value>, shown: Option<&Value>) -> Option<String> {
    let (Some(Value::Object(served)), Some(Value::Object(shown))) = (served, shown) else { return None };
    let key = served.keys().chain(shown.keys()).find(|key| served.get(*key) != shown.get(*key))?;
    let told = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    Some(format!("at {key} {}, not {}", told(served.get(key)), told(shown.get(key))))
}

/// What Automerge shows; nothing if we read it otherwise on purpose.
fn shown(doc: &Automerge) -> Option<Value> {
    object(doc, ObjType::Map, &ROOT)
}

fn object(doc: &Automerge, kind: ObjType, id: &ObjId) -> Option<Value> {
    match kind {
        ObjType::Map | ObjType::Table => doc
            .map_range(id, ..)
            .map(|item| {
                let value = item.value.clone().into_value();
                let shown = alone(item.conflict, &value).then(|| member(doc, &value, &item.id())).flatten();
                Some((item.key.to_string(), shown?))
            })
            .collect::<Option<serde_json::Map<_, _>>>()
            .map(Value::Object),
        ObjType::List => {
            let member = |item: automerge::iter::ListRangeItem<'_>| {
                let value = item.value.clone().into_value();
                alone(item.conflict, &value).then(|| member(doc, &value, &item.id())).flatten()
            };
            doc.list_range(id, ..).map(member).collect()
        }
        ObjType::Text => doc.text(id).ok().map(Value::String),
    }
}

/// Whether we read as one what stands there with others.
fn alone(conflict: bool, value: &automerge::Value<'_>) -> bool {
    !conflict || !(value.is_object() || matches!(value, automerge::Value::Scalar(value) if value.is_counter()))
}

fn member(doc: &Automerge, value: &automerge::Value<'_>, id: &ObjId) -> Option<Value> {
    let value = match value {
        automerge::Value::Object(kind) => return object(doc, *kind, id),
        automerge::Value::Scalar(value) => value.as_ref(),
    };
    match value {
        ScalarValue::Null => Some(Value::Null),
        ScalarValue::Boolean(value) => Some((*value).into()),
        ScalarValue::Int(value) => Some((*value).into()),
        ScalarValue::Uint(value) => Some((*value).into()),
        ScalarValue::F64(value) => Some((*value).into()),
        ScalarValue::Str(value) => Some(value.as_str().into()),
        ScalarValue::Counter(value) => Some(i64::from(value).into()),
        ScalarValue::Bytes(_) | ScalarValue::Timestamp(_) | ScalarValue::Unknown { .. } => None,
    }
}
