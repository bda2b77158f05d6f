//! C1, strong convergence: documents with the same heads have the same content.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_128;

use super::{Check, Sight, Verdict};
use crate::documents::Listed;
use crate::types::DocId;

/// What each set of heads said, and where it was seen first.
#[derive(Default)]
pub(super) struct SameHeadsSameContent {
    contents: BTreeMap<(DocId, Vec<String>), (u128, u32)>,
}

impl Check for SameHeadsSameContent {
    fn id(&self) -> &'static str {
        "C1"
    }

    fn on_content(&mut self, sight: &Sight<'_>, who: u32, docs: &[Listed]) -> Verdict {
        for listed in docs {
            let Some(value) = &listed.value else { continue };
            let content = xxh3_128(value.to_string().as_bytes());
            let key = (listed.doc.clone(), listed.heads.clone());
            let (first, at) = *self.contents.entry(key).or_insert((content, who));
            if first != content {
                let (one, other) = (sight.name(at), sight.name(who));
                return Err(format!("{one} and {other} have the same heads of {} and different content", listed.doc));
            }
        }
        Ok(())
    }
}
