//! `friendsforever` of josephg/editing-traces (CC BY 4.0): two people write one text at the same time, key by key.

use std::collections::BTreeMap;

use oxigdal_ha::documents::Edit;
use oxigdal_ha::types::DocId;
use serde::Deserialize;
use serde_json::json;

use crate::data;
use crate::replay::{Step, Trace};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    end_content: String,
    num_agents: usize,
    txns: Vec<Txn>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Txn {
    parents: Vec<usize>,
    num_children: usize,
    agent: usize,
    patches: Vec<(usize, usize, String)>,
}

/// Its first changes. Keys that one writer pressed one after the other, while nobody needed to see what was between, are one.
pub(crate) fn trace(steps_max: usize) -> Option<Trace> {
    let file: File = serde_json::from_str(&data("edits/friendsforever.json.gz")?).unwrap();
    let doc = DocId::parse("texts/friendsforever").unwrap();
    // The document itself comes from the first writer.
    let create = vec![Edit::Put { value: json!({}) }, splice(0, 0, String::new())];
    let mut steps = vec![Step { writer: 0, doc: doc.clone(), edits: create, after: Vec::new() }];
    let mut step_of = Vec::new();
    for (at, txn) in file.txns.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| &file.txns[before]);
        let goes_on = before
            .is_some_and(|before| txn.parents == [at - 1] && before.num_children == 1 && before.agent == txn.agent);
        if !goes_on {
            if steps.len() > steps_max {
                break;
            }
            let after = match txn.parents[..] {
                [] => vec![0],
                _ => txn.parents.iter().map(|parent| step_of[*parent]).collect(),
            };
            steps.push(Step { writer: txn.agent, doc: doc.clone(), edits: Vec::new(), after });
        }
        let edits = txn.patches.iter().map(|(at, remove, insert)| splice(*at, *remove, insert.clone()));
        steps.last_mut().unwrap().edits.extend(edits);
        step_of.push(steps.len() - 1);
    }
    let whole = step_of.len() == file.txns.len();
    let end = whole.then(|| (doc, json!({ "text": file.end_content })));
    Some(Trace { writers: file.num_agents, steps, end: BTreeMap::from_iter(end) })
}

fn splice(at: usize, remove: usize, insert: String) -> Edit {
    Edit::Splice { path: "text".into(), at, remove, insert }
}
