//! The git history of osm-community-index (ISC): files of JSON, many authors, 213 merges.
//!
//! A commit's edits are those against what its parents are together. The commits are shared out among as few writers as there
//! are lines of development at the same time, so that each writer's commits follow each other.

use std::collections::{BTreeMap, BTreeSet};

use oxigdal_ha::documents::{Edit, geojson};
use oxigdal_ha::types::DocId;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::data;
use crate::replay::{Step, Trace};

#[derive(Deserialize)]
struct Commit {
    parents: Vec<usize>,
    edits: Vec<Change>,
}

#[derive(Deserialize)]
struct Change {
    path: String,
    op: String,
    doc: Option<Value>,
}

/// A set of commits.
type Commits = BTreeSet<usize>;

/// Its first commits.
pub(crate) fn trace(commits_max: usize) -> Option<Trace> {
    let text = data("history/osm-community-index.jsonl.gz")?;
    let commits: Vec<Commit> = text.lines().take(commits_max).map(|line| serde_json::from_str(line).unwrap()).collect();
    let (mut past, mut tips): (Vec<Commits>, Vec<usize>) = (Vec::new(), Vec::new());
    // For each commit, and each file that was ever there, the steps that made its version.
    let mut versions: Vec<BTreeMap<String, Vec<usize>>> = Vec::new();
    let (mut steps, mut commit_of): (Vec<Step>, Vec<usize>) = (Vec::new(), Vec::new());
    let continued: Commits = commits.iter().flat_map(|commit| commit.parents.iter().copied()).collect();
    for (at, commit) in commits.into_iter().enumerate() {
        let mut own: Commits = commit.parents.iter().flat_map(|parent| past[*parent].iter().copied()).collect();
        own.insert(at);
        let writer = tips.iter().position(|tip| own.contains(tip)).unwrap_or(tips.len());
        match tips.get_mut(writer) {
            Some(tip) => *tip = at,
            None => tips.push(at),
        }
        let mut version = merged(&commit.parents, &versions, |step, by| past[commit_of[by]].contains(&commit_of[step]));
        past.push(own);
        for Change { path, op, doc } in commit.edits {
            let value = match (op.as_str(), doc) {
                ("put", Some(value)) => fit(value),
                // A document that is removed is not written at an older version: what was removed is said in it instead.
                ("delete", None) => json!({ "deleted": true }),
                other => panic!("{other:?}"),
            };
            let doc = DocId::parse(&path).unwrap();
            let after = version.insert(path, vec![steps.len()]).unwrap_or_default();
            steps.push(Step { writer, doc, edits: vec![Edit::Put { value }], after });
            commit_of.push(at);
        }
        versions.push(version);
    }
    // What all lines of development are together: when only a part is replayed, several are open.
    let open: Vec<usize> = (0..versions.len()).filter(|at| !continued.contains(at)).collect();
    let last = merged(&open, &versions, |step, by| past[commit_of[by]].contains(&commit_of[step]));
    let end = last.into_values().filter_map(|version| match version[..] {
        [step] => match &steps[step].edits[..] {
            [Edit::Put { value }] => Some((steps[step].doc.clone(), value.clone())),
            _ => None,
        },
        _ => None,
    });
    let end = end.collect();
    Some(Trace { writers: tips.len(), steps, end })
}

/// A few versions of features have geometries that are none, which somebody then repaired. Peers refuse them: what they said
/// stands as text instead.
fn fit(value: Value) -> Value {
    let refused = value["type"] == "Feature" && geojson::import(&value.to_string(), "trace", None).is_err();
    if refused { json!({ "refused": value.to_string() }) } else { value }
}

/// What commits are together: of each file the newest versions.
fn merged(
    parents: &[usize],
    versions: &[BTreeMap<String, Vec<usize>>],
    is_before: impl Fn(usize, usize) -> bool,
) -> BTreeMap<String, Vec<usize>> {
    let mut merged: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for parent in parents {
        for (path, steps) in &versions[*parent] {
            merged.entry(path.clone()).or_default().extend(steps);
        }
    }
    let newest = |steps: BTreeSet<usize>| {
        let covered = |step: &usize| steps.iter().any(|by| by != step && is_before(*step, *by));
        steps.iter().copied().filter(|step| !covered(step)).collect()
    };
    merged.into_iter().map(|(path, steps)| (path, newest(steps))).collect()
}
