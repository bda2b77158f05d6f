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
pub(crate) struct Commit {
    pub(crate) parents: Vec<usize>,
    /// A number for a name.
    pub(crate) author: u32,
    /// When it was written, in seconds since 1970.
    pub(crate) time: u64,
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

/// Of each file that was ever there, the steps that made its version.
type Version = BTreeMap<String, Vec<usize>>;

/// The history, file by file.
pub(crate) struct History {
    pub(crate) commits: Vec<Commit>,
    /// Lines of development at the same time.
    pub(crate) lines: usize,
    /// Changes of files, each after those that its author had seen.
    pub(crate) steps: Vec<Made>,
    /// Where a commit's parents had different versions of a file, of which none was made in sight of the other.
    pub(crate) met: Vec<Met>,
    /// For each commit it and those before it.
    past: Vec<Commits>,
    versions: Vec<Version>,
}

/// A change of a file.
pub(crate) struct Made {
    pub(crate) commit: usize,
    pub(crate) line: usize,
    pub(crate) path: String,
    /// What the file was from then on; nothing if it was removed.
    pub(crate) value: Option<Value>,
    /// The steps that made the version that was changed.
    after: Vec<usize>,
}

/// Versions of a file that met in a commit.
pub(crate) struct Met {
    pub(crate) commit: usize,
    pub(crate) path: String,
    /// The steps that made them.
    pub(crate) sides: Vec<usize>,
    /// What the commit made of them, if that is a step of its own.
    pub(crate) made: Option<usize>,
}

impl History {
    /// Its first commits.
    pub(crate) fn read(commits_max: usize) -> Option<Self> {
        let text = data("history/osm-community-index.jsonl.gz")?;
        let commits = text.lines().take(commits_max).map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut history =
            Self { commits, lines: 0, steps: Vec::new(), met: Vec::new(), past: Vec::new(), versions: Vec::new() };
        let mut tips = Vec::new();
        for at in 0..history.commits.len() {
            history.walk(at, &mut tips);
        }
        history.lines = tips.len();
        Some(history)
    }

    fn walk(&mut self, at: usize, tips: &mut Vec<usize>) {
        let parents = self.commits[at].parents.clone();
        let mut own: Commits = parents.iter().flat_map(|parent| self.past[*parent].iter().copied()).collect();
        own.insert(at);
        let line = tips.iter().position(|tip| own.contains(tip)).unwrap_or(tips.len());
        match tips.get_mut(line) {
            Some(tip) => *tip = at,
            None => tips.push(at),
        }
        let mut version = self.merged(&parents);
        let new = |path: &String, steps: &[usize]| {
            steps.len() > 1
                && parents.iter().all(|parent| self.versions[*parent].get(path).is_none_or(|of| of != steps))
        };
        let met: Vec<(String, Vec<usize>)> = version
            .iter()
            .filter(|(path, steps)| new(path, steps))
            .map(|(path, steps)| (path.clone(), steps.clone()))
            .collect();
        self.past.push(own);
        for Change { path, op, doc } in std::mem::take(&mut self.commits[at].edits) {
            let value = match (op.as_str(), doc) {
                ("put", Some(value)) => Some(fit(value)),
                ("delete", None) => None,
                other => panic!("{other:?}"),
            };
            let after = version.insert(path.clone(), vec![self.steps.len()]).unwrap_or_default();
            self.steps.push(Made { commit: at, line, path, value, after });
        }
        self.met.extend(met.into_iter().map(|(path, sides)| {
            let made = version[&path][..].first().copied().filter(|step| self.steps[*step].commit == at);
            Met { commit: at, path, sides, made }
        }));
        self.versions.push(version);
    }

    /// Whether a step was made before the commit of another one, in its sight.
    pub(crate) fn is_seen(&self, step: usize, by: usize) -> bool {
        self.past[self.steps[by].commit].contains(&self.steps[step].commit)
    }

    /// What commits are together: of each file the newest versions.
    fn merged(&self, commits: &[usize]) -> Version {
        let mut merged: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        for commit in commits {
            for (path, steps) in &self.versions[*commit] {
                merged.entry(path.clone()).or_default().extend(steps);
            }
        }
        merged.into_iter().map(|(path, steps)| (path, self.newest(&steps))).collect()
    }

    /// Of some steps those that no other of them had seen.
    pub(crate) fn newest(&self, steps: &BTreeSet<usize>) -> Vec<usize> {
        let covered = |step: &usize| steps.iter().any(|by| by != step && self.is_seen(*step, *by));
        steps.iter().copied().filter(|step| !covered(step)).collect()
    }
}

/// Its first commits, as a trace.
pub(crate) fn trace(commits_max: usize) -> Option<Trace> {
    let history = History::read(commits_max)?;
    let continued: Commits = history.commits.iter().flat_map(|commit| commit.parents.iter().copied()).collect();
    // What all lines of development are together: when only a part is replayed, several are open.
    let open: Vec<usize> = (0..history.commits.len()).filter(|at| !continued.contains(at)).collect();
    let last = history.merged(&open);
    let steps = history.steps.into_iter().map(|Made { line, path, value, after, .. }| {
        // A document that is removed is not written at an older version: what was removed is said in it instead.
        let value = value.unwrap_or_else(|| json!({ "deleted": true }));
        Step { writer: line, doc: DocId::parse(&path).unwrap(), edits: vec![Edit::Put { value }], after }
    });
    let steps: Vec<Step> = steps.collect();
    let end = last.into_values().filter_map(|version| match version[..] {
        [step] => match &steps[step].edits[..] {
            [Edit::Put { value }] => Some((steps[step].doc.clone(), value.clone())),
            _ => None,
        },
        _ => None,
    });
    let end = end.collect();
    Some(Trace { writers: history.lines, steps, end })
}

/// A few versions of features have geometries that are none, which somebody then repaired. Peers refuse them: what they said
/// stands as text instead.
fn fit(value: Value) -> Value {
    let refused = value["type"] == "Feature" && geojson::import(&value.to_string(), "trace", None).is_err();
    if refused { json!({ "refused": value.to_string() }) } else { value }
}
