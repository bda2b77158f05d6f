//! What has to change so that documents are again as they were: nothing else moves.
//!
//! A revert is made of ordinary new changes, so it spreads like any edit and its undoing is another revert. It says nothing to
//! edits that are under way elsewhere: they are merged with it as with any other edit.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::types::DocId;

/// Most places that are named of one document; all that differ are put back.
pub const PATHS_MAX: usize = 32;

/// What is done to one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is put back to what it was.
    PutBack,
    /// It was deleted since, and comes back.
    Revived,
    /// It was not there then: it is deleted. Its history stays.
    Deleted,
}

/// One document that is not as it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// Which.
    pub doc: DocId,
    /// What is done to it.
    pub change: Change,
    /// Where it differs, as JSON Pointers; the first [`PATHS_MAX`].
    pub paths: Vec<String>,
    /// What it is to be; nothing if it is deleted.
    #[serde(skip)]
    pub value: Option<Value>,
}

/// What leads from how documents are to how they were. Documents that are as they were are not among it.
#[must_use]
pub fn steps(then: &BTreeMap<DocId, Value>, now: &BTreeMap<DocId, Value>) -> Vec<Step> {
    let docs: BTreeSet<&DocId> = then.keys().chain(now.keys()).collect();
    docs.into_iter().filter_map(|doc| step(doc, then.get(doc), now.get(doc))).collect()
}

/// What is to be done to one document, if anything.
#[must_use]
pub fn step(doc: &DocId, then: Option<&Value>, now: Option<&Value>) -> Option<Step> {
    let doc = doc.clone();
    match (then, now) {
        (Some(then), Some(now)) => {
            let mut paths = Vec::new();
            differ(then, now, &mut String::new(), &mut paths);
            let value = Some(then.clone());
            (!paths.is_empty()).then_some(Step { doc, change: Change::PutBack, paths, value })
        }
        (Some(then), None) => Some(Step { doc, change: Change::Revived, paths: Vec::new(), value: Some(then.clone()) }),
        (None, Some(_)) => Some(Step { doc, change: Change::Deleted, paths: Vec::new(), value: None }),
        (None, None) => None,
    }
}

/// Where two values differ: RFC 6901. Lists differ as a whole, since places in them move.
fn differ(then: &Value, now: &Value, at: &mut String, found: &mut Vec<String>) {
    if then == now || found.len() >= PATHS_MAX {
        return;
    }
    let (Value::Object(then), Value::Object(now)) = (then, now) else { return found.push(at.clone()) };
    let keys: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    for key in keys {
        let len = at.len();
        at.push('/');
        at.push_str(&key.replace('~', "~0").replace('/', "~1"));
        match (then.get(key), now.get(key)) {
            (Some(then), Some(now)) => differ(then, now, at, found),
            _ if found.len() < PATHS_MAX => found.push(at.clone()),
            _ => {}
        }
        at.truncate(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn docs(given: &[(&str, Value)]) -> BTreeMap<DocId, Value> {
        given.iter().map(|(doc, value)| (DocId::parse(doc).unwrap(), value.clone())).collect()
    }

    #[test]
    fn what_differs_is_named_and_what_does_not_is_left_alone() {
        let then = docs(&[
            ("a/same", json!({"n": 1})),
            ("a/changed", json!({"n": 1, "at": {"x/y": 1, "z": 2}, "list": [1, 2], "gone": 1})),
            ("a/deleted", json!({"n": 2})),
        ]);
        let now = docs(&[
            ("a/same", json!({"n": 1})),
            ("a/changed", json!({"n": 1, "at": {"x/y": 9, "z": 2}, "list": [1, 3], "new": 1})),
            ("a/made", json!({"n": 3})),
        ]);
        let steps = steps(&then, &now);
        let told: Vec<_> = steps.iter().map(|step| (step.doc.to_string(), step.change, step.value.is_some())).collect();
        let name = |name: &str| format!("a/{name}");
        assert_eq!(
            told,
            [
                (name("changed"), Change::PutBack, true),
                (name("deleted"), Change::Revived, true),
                (name("made"), Change::Deleted, false),
            ]
        );
        assert_eq!(steps[0].paths, ["/at/x~1y", "/gone", "/list", "/new"]);
    }

    #[test]
    fn places_are_named_up_to_a_bound() {
        let many = |n: usize| Value::Object((0..100).map(|key| (key.to_string(), json!(n))).collect());
        let step = step(&DocId::parse("d").unwrap(), Some(&many(1)), Some(&many(2))).unwrap();
        assert_eq!(step.paths.len(), PATHS_MAX);
    }
}
