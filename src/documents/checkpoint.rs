//! What a snapshot keeps of documents: how each stands and where its changes are in the logs. Not what they say: a document is
//! read back from its places when somebody wants it, as one that was given up (see `returning`).
//!
//! Documents are copied a few at a time, each as it stands at that moment; no two need be of one moment. What a document takes in after
//! it was copied is at no document's places, and whoever starts from the copy restores just those entries. So does what was refused,
//! what waits for others, and every change of a document that is left out because it cannot be judged.

use std::ops::Bound;

use bincode::{Decode, Encode};

use super::memory::Indexed;
use super::places::Places;
use super::{DocState, Documents};
use crate::types::{DocId, LogId, Seq};

/// Bytes of a document's places beyond which it is left out.
const WEIGHT_MAX: usize = 8 << 20;

/// One document.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Kept {
    doc: DocId,
    heads: Vec<[u8; 32]>,
    exists: bool,
    changes: u64,
    bytes: u64,
    folded: bool,
    spares: u64,
    /// Of each log the distances of places, as `places` keeps them.
    places: Vec<(LogId, Vec<u8>)>,
}

impl Kept {
    /// Bytes that it takes, about.
    #[must_use]
    pub fn weight(&self) -> usize {
        let places: usize = self.places.iter().map(|(_, distances)| 32 + distances.len()).sum();
        48 + self.doc.as_str().len() + 32 * self.heads.len() + places
    }
}

impl Documents {
    /// The next documents behind `after`, at most `max` of them and of so many bytes or a little more; and how far it looked, if there are
    /// more.
    #[must_use]
    pub fn kept(&self, after: Option<&DocId>, max: usize, bytes: usize) -> (Vec<Kept>, Option<DocId>) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut found, mut weight) = (Vec::new(), 0);
        for (n, (doc, indexed)) in self.docs.range::<DocId, _>((from, Bound::Unbounded)).enumerate() {
            if let Some(kept) = self.keep(doc, indexed).filter(|kept| kept.weight() <= WEIGHT_MAX) {
                weight += kept.weight();
                found.push(kept);
            }
            if n + 1 >= max || weight >= bytes {
                return (found, Some(doc.clone()));
            }
        }
        (found, None)
    }

    /// A document, if it is sure that all of its changes are at its places.
    fn keep(&self, doc: &DocId, indexed: &Indexed) -> Option<Kept> {
        let Indexed { state, places, .. } = indexed;
        if indexed.cut || places.len().saturating_sub(indexed.spares) < state.changes {
            return None;
        }
        Some(Kept {
            doc: doc.clone(),
            heads: state.heads.to_vec(),
            exists: state.exists,
            changes: state.changes as u64,
            bytes: state.bytes as u64,
            folded: state.folded,
            spares: indexed.spares as u64,
            places: places.packed().map(|(log, distances)| (self.logs[log as usize], distances.to_vec())).collect(),
        })
    }

    /// Takes a document back, before anything is [restored](Self::restore). Gives its places.
    ///
    /// # Errors
    /// What cannot be, in words.
    pub fn restore_kept(&mut self, kept: Kept) -> Result<Vec<(LogId, Seq)>, String> {
        let Kept { doc, heads, exists, changes, bytes, folded, spares, places } = kept;
        let number = |number: u64| usize::try_from(number).map_err(|error| format!("{doc}: {error}"));
        let (changes, bytes, spares) = (number(changes)?, number(bytes)?, number(spares)?);
        if heads.is_empty() || !heads.is_sorted_by(|a, b| a < b) || self.docs.contains_key(&doc) {
            return Err(format!("{doc} has no heads, or not in order, or is there twice"));
        }
        let mut held = Places::default();
        for (log, distances) in places {
            let number = self.number(log);
            held.unpack(number, distances).map_err(|why| format!("{doc}: places in {log:?}: {why}"))?;
        }
        if held.len().checked_sub(spares).is_none_or(|judged| judged < changes) {
            return Err(format!("{doc} has {changes} changes at {} places, {spares} of them spare", held.len()));
        }
        let all = held.iter().map(|(number, seq)| (self.logs[number as usize], seq)).collect();
        let state = DocState { heads: heads.into(), exists, changes, bytes, folded, met: None };
        self.index(&doc, state);
        let indexed = self.docs.get_mut(&doc).expect("it was just indexed");
        (indexed.places, indexed.spares) = (held, spares);
        self.memory.drop(indexed);
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::Config;
    use crate::types::{Actor, Mint, NodeId, Topic};

    fn log() -> LogId {
        LogId { actor: Actor { node: NodeId::from_u128(1), mint: Mint::new(2) }, topic: Topic::DOCUMENTS }
    }

    fn kept() -> Kept {
        Kept {
            doc: DocId::parse("a/b").unwrap(),
            heads: vec![[7; 32]],
            exists: true,
            changes: 2,
            bytes: 300,
            folded: false,
            spares: 0,
            places: vec![(log(), vec![1, 4])],
        }
    }

    #[test]
    fn golden_bytes() {
        let bytes = bincode::encode_to_vec(kept(), bincode::config::standard()).unwrap();
        let id = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let golden = [b"\x03a/b\x01", &[7; 32][..], &[1, 2, 251, 44, 1, 0, 0, 1], &id, &[2, 0, 2, 1, 4]].concat();
        assert_eq!(bytes, golden);
    }

    #[test]
    fn a_document_taken_back_is_the_one_that_was_and_is_not_in_memory() {
        let mut documents = Documents::new(log().actor, Config::default());
        assert_eq!(documents.restore_kept(kept()), Ok(vec![(log(), Seq::new(1)), (log(), Seq::new(5))]));
        assert_eq!(documents.kept(None, 9, 9_999), (vec![kept()], None));
        assert_eq!((documents.view().count(), documents.view().memory().documents), (1, 0));
        assert!(documents.restore_kept(kept()).unwrap_err().contains("twice"));
    }

    #[test]
    fn what_cannot_be_a_document_is_refused() {
        let refused = |kept: Kept| Documents::new(log().actor, Config::default()).restore_kept(kept).unwrap_err();
        assert!(refused(Kept { heads: Vec::new(), ..kept() }).contains("no heads"));
        assert!(refused(Kept { heads: vec![[7; 32]; 2], ..kept() }).contains("in order"));
        assert!(refused(Kept { changes: 3, ..kept() }).contains("3 changes at 2 places"));
        assert!(refused(Kept { spares: 9, ..kept() }).contains("spare"));
        assert!(refused(Kept { places: vec![(log(), vec![0x80])], ..kept() }).contains("places in"));
        assert!(refused(Kept { places: vec![(log(), vec![1]), (log(), vec![1])], ..kept() }).contains("twice"));
    }
}
