//! J3: what is counted at the same time all counts: in each document the counter shows as many as there are edits of the plan that
//! counted it up, whoever made the counter, however often and wherever they met.
//!
//! An edit that counts also sets a place of its own, in the same change: so what shows of one must show of the other.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Check, Sight, Verdict};
use crate::documents::Listed;
use crate::sim::world::{COUNT, doc_of, place_of};
use crate::types::DocId;

/// Holds the counter of each document against the edits that are in it.
#[derive(Default)]
pub(super) struct AllCounts {
    /// For each document the places of the edits that count; made when it is asked for.
    places: Option<BTreeMap<DocId, Vec<String>>>,
}

impl Check for AllCounts {
    fn id(&self) -> &'static str {
        "J3"
    }

    fn on_content(&mut self, sight: &Sight<'_>, who: u32, docs: &[Listed]) -> Verdict {
        let places = self.places.get_or_insert_with(|| {
            let mut places: BTreeMap<DocId, Vec<String>> = BTreeMap::new();
            for (number, edit) in sight.plan.edits.iter().enumerate().filter(|(_, edit)| edit.shared) {
                places.entry(doc_of(edit.doc)).or_default().push(place_of(number));
            }
            places
        });
        for Listed { doc, value, .. } in docs {
            let (Some(value), Some(places)) = (value, places.get(doc)) else { continue };
            let there = places.iter().filter(|place| value.get(place.as_str()).is_some()).count();
            let counted = value.get(COUNT).and_then(Value::as_i64).unwrap_or_default();
            if usize::try_from(counted).ok() != Some(there) {
                let name = sight.name(who);
                return Err(format!("{name} shows {counted} in {doc}, which {there} edits counted up"));
            }
        }
        Ok(())
    }
}
