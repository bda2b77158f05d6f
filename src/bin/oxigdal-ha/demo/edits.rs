//! Editors at work: what was acknowledged is written down, and looked for at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use oxigdal_ha::types::DocId;
use serde_json::{Value, json};

use super::mesh::Mesh;
use crate::client::{Client, doc_path};
use crate::failure::{Failure, Result};

/// How many documents the editors share: few, so that they meet.
const SHARED: usize = 24;

/// One acknowledged edit.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Acked {
    /// The peer that acknowledged it.
    pub(super) peer: usize,
    /// The document.
    pub(super) doc: String,
    /// Which edit of this peer.
    pub(super) number: u64,
    /// The document's newest changes with this edit, as hashes: one of them is, or follows, the edit.
    heads: Vec<String>,
}

/// What all editors got acknowledged, in the order of each.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    acked: Vec<Acked>,
    /// Edits that were under way when their peer was killed: they may be there or not.
    open: Vec<(usize, String, u64)>,
}

/// What was looked for at the end, and found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Acknowledged edits whose value stands in the document, in a field of their editor's own.
    pub(super) values: usize,
    /// Changes of acknowledged edits found in the history of every peer.
    pub(super) changes: usize,
}

impl Ledger {
    pub(super) fn len(&self) -> usize {
        self.acked.len()
    }

    pub(super) fn of(&self, peer: usize) -> usize {
        self.acked.iter().filter(|acked| acked.peer == peer).count()
    }

    pub(super) fn add(&mut self, other: Self) {
        self.acked.extend(other.acked);
        self.open.extend(other.open);
    }

    /// That every edit that was acknowledged, or every one that `by` acknowledged, is in every one of these peers.
    pub(super) fn verify(&self, mesh: &Mesh, peers: &[usize], by: Option<usize>) -> Result<Found> {
        let mut found = Found::default();
        let wanted = |acked: &&Acked| by.is_none_or(|by| acked.peer == by);
        let docs: BTreeSet<&str> = self.acked.iter().filter(wanted).map(|acked| acked.doc.as_str()).collect();
        for at in peers {
            let (name, client) = (&mesh.peers[*at].name, mesh.client(*at)?);
            for doc in &docs {
                let told = |why: String| Failure::new(format_args!("{doc} on {name}: {why}"));
                let history: Value = client.get(&doc_path("/v1/history", doc), &[])?;
                found.changes += self.changes(doc, by, &history).map_err(told)?;
                let value: Value = client.get(&doc_path("/v1/docs", doc), &[])?;
                found.values += self.values(doc, by, &value["value"]).map_err(told)?;
            }
        }
        Ok(found)
    }

    /// That the history holds the change of each acknowledged edit of this document.
    fn changes(&self, doc: &str, by: Option<usize>, history: &Value) -> std::result::Result<usize, String> {
        let changes = history["changes"].as_array().into_iter().flatten();
        let changes: BTreeSet<&str> = changes.filter_map(|change| change["hash"].as_str()).collect();
        let mut count = 0;
        for acked in self.acked.iter().filter(|acked| acked.doc == doc && by.is_none_or(|by| acked.peer == by)) {
            if let Some(lost) = acked.heads.iter().find(|head| !changes.contains(head.as_str())) {
                let (who, number) = (field(acked.peer), acked.number);
                return Err(format!("change {lost} is lost, with which edit {number} of {who} was acknowledged"));
            }
            count += acked.heads.len();
        }
        Ok(count)
    }

    /// That each editor's own field holds its last edit, and the field that all write one of the last edits.
    fn values(&self, doc: &str, by: Option<usize>, value: &Value) -> std::result::Result<usize, String> {
        // The later edit of one peer replaced the earlier.
        let here = self.acked.iter().filter(|acked| acked.doc == doc);
        let last: BTreeMap<usize, u64> = here.map(|acked| (acked.peer, acked.number)).collect();
        let (mut contested, mut count) = (Vec::new(), 0);
        for (peer, number) in &last {
            let open = self.open.iter().filter(|(by, of, open)| by == peer && of == doc && open > number);
            let may: Vec<u64> = open.map(|(_, _, open)| *open).chain([*number]).collect();
            contested.extend(may.iter().map(|number| contested_value(*peer, *number)));
            if by.is_some_and(|by| by != *peer) {
                continue;
            }
            let found = value.pointer(&format!("/{}", own_path(*peer)));
            if !may.iter().any(|number| found == Some(&json!(number))) {
                return Err(format!("{} wrote {number} last, and {found:?} is there", field(*peer)));
            }
            count += 1;
        }
        match value.pointer("/properties/edited_last") {
            Some(found) if contested.contains(found) => Ok(count),
            other => Err(format!("{other:?} is in the field that all write, and nobody wrote it last")),
        }
    }
}

fn field(peer: usize) -> String {
    format!("peer-{}", peer + 1)
}

/// The field that only this peer writes, in an object that both sides of a cut make at the same time: neither may hide what
/// the other put into it.
fn own_path(peer: usize) -> String {
    format!("properties/edited_by/{}", field(peer))
}

fn contested_value(peer: usize, number: u64) -> Value {
    json!(format!("{} {number}", field(peer)))
}

/// One peer's editor: it goes round the shared documents, each in an order of its own, until it has made `most` edits or
/// is told to stop.
pub(super) struct Editor<'a> {
    pub(super) peer: usize,
    pub(super) docs: &'a [DocId],
    /// The number of its first edit.
    pub(super) first: u64,
}

impl Editor<'_> {
    /// Edits until done, stopped, or refused. Gives what was acknowledged, and why it ended if it was refused.
    pub(super) fn work(&self, client: &Client, most: u64, stop: &AtomicBool) -> (Ledger, Option<Failure>) {
        let mut ledger = Ledger::default();
        let docs = &self.docs[..SHARED.min(self.docs.len())];
        for nth in 0..most {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let number = self.first + nth;
            let turn = usize::try_from(nth).expect("few edits") * (2 * self.peer + 1) + self.peer;
            let doc = docs[turn % docs.len()].as_str();
            match edit(client, self.peer, doc, number) {
                Ok(heads) => ledger.acked.push(Acked { peer: self.peer, doc: doc.to_owned(), number, heads }),
                Err(failure) => {
                    ledger.open.push((self.peer, doc.to_owned(), number));
                    return (ledger, Some(failure));
                }
            }
        }
        (ledger, None)
    }
}

/// Two fields at once: one that only this peer writes, and one that all write.
fn edit(client: &Client, peer: usize, doc: &str, number: u64) -> Result<Vec<String>> {
    let edits = json!([
        { "op": "set", "path": own_path(peer), "value": number },
        { "op": "set", "path": "properties/edited_last", "value": contested_value(peer, number) },
    ]);
    let answer: Value = client.send("PATCH", &doc_path("/v1/docs", doc), &[], &edits)?;
    let heads = answer["heads"].as_array().into_iter().flatten();
    Ok(heads.filter_map(|head| head.as_str().map(str::to_owned)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acked(peer: usize, number: u64, head: &str) -> Acked {
        Acked { peer, doc: "d".into(), number, heads: vec![head.into()] }
    }

    fn ledger() -> Ledger {
        Ledger { acked: vec![acked(0, 1, "a"), acked(1, 1, "b"), acked(0, 2, "c")], open: vec![(1, "d".into(), 2)] }
    }

    fn value(first: u64, second: u64, last: &str) -> Value {
        json!({ "properties": { "edited_by": { "peer-1": first, "peer-2": second }, "edited_last": last } })
    }

    #[test]
    fn what_was_acknowledged_last_must_be_there_and_what_was_under_way_may() {
        assert_eq!(ledger().values("d", None, &value(2, 1, "peer-1 2")), Ok(2));
        assert_eq!(ledger().values("d", None, &value(2, 2, "peer-2 2")), Ok(2));
        assert!(ledger().values("d", None, &value(1, 1, "peer-1 2")).unwrap_err().contains("peer-1 wrote 2 last"));
        assert!(ledger().values("d", None, &value(2, 1, "peer-1 1")).unwrap_err().contains("nobody wrote it last"));
    }

    #[test]
    fn every_acknowledged_change_must_be_in_the_history() {
        let history = |hashes: &[&str]| json!({ "changes": hashes.iter().map(|hash| json!({ "hash": hash })).collect::<Vec<_>>() });
        assert_eq!(ledger().changes("d", None, &history(&["a", "b", "c", "x"])), Ok(3));
        assert!(ledger().changes("d", None, &history(&["a", "c"])).unwrap_err().contains("change b is lost"));
    }
}
