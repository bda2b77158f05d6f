//! Reads of what met: pages of open conflicts and of the trail.

use std::collections::BTreeMap;

use super::reads::{Ask, Read, Scan, What, hexes};
use super::{DocState, Documents, Error, Found, Look, Outcome, Wish};
use crate::machine::Cx;
use crate::types::{CommandId, DocId};

/// What an entry counts for in a page, in bytes, about: the values that are told are bounded, and mostly short.
const ENTRY: usize = 512;

/// What was found in one document with these heads.
fn one(found: Found, doc: DocId, heads: Vec<String>) -> Outcome {
    let (open, trail, much) = match found {
        Found::Open(open, much) => (open, Vec::new(), much),
        Found::Trail(trail, much) => (Vec::new(), trail, much),
    };
    let versions = if open.is_empty() { BTreeMap::new() } else { BTreeMap::from([(doc.clone(), heads)]) };
    Outcome::Met { open, trail, cut: much.then_some(doc).into_iter().collect(), versions, next: None }
}

impl Scan {
    /// What was found.
    pub(super) fn outcome(self) -> Outcome {
        let Self { what, met, more, last, .. } = self;
        let wish = if let What::Met(_, wish) = what { wish } else { Wish::default() };
        let (mut open, mut trail, mut cut, mut versions) = (Vec::new(), Vec::new(), Vec::new(), BTreeMap::new());
        for (doc, (found, heads)) in met {
            let much = match found {
                Found::Open(some, much) => {
                    versions.extend((!some.is_empty()).then(|| (doc.clone(), heads)));
                    open.extend(some);
                    much
                }
                Found::Trail(some, much) => {
                    trail.extend(some.into_iter().filter(|meeting| wish.takes(meeting)));
                    much
                }
            };
            cut.extend(much.then_some(doc));
        }
        Outcome::Met { open, trail, cut, versions, next: last.filter(|_| more) }
    }
}

impl Documents {
    /// A client asks what stands in one document. Where no two changes stand side by side nobody looks into it.
    pub(super) fn on_open(&mut self, cx: &mut Cx<'_, Self>, command: CommandId, doc: DocId) {
        if self.docs.get(&doc).is_some_and(|indexed| indexed.state.met == Some(false)) {
            return self.reply(cx, command, Ok(one(Found::Open(Vec::new(), false), doc, Vec::new())));
        }
        self.on_read(cx, doc, Read::Met { command, look: Look::Open });
    }

    pub(super) fn on_met(
        &mut self,
        cx: &mut Cx<'_, Self>,
        doc: DocId,
        command: CommandId,
        found: Result<Found, Error>,
        state: DocState,
    ) {
        // It was built for that, and what was not known of it is now.
        if let Some(indexed) = self.docs.get_mut(&doc)
            && indexed.state.met.is_none()
        {
            indexed.state.met = state.met;
        }
        let Some(ask) = self.asks.remove(&command) else { return };
        let Ask::Page(mut scan) = ask else {
            return self.reply(cx, command, found.map(|found| one(found, doc, hexes(&state))));
        };
        scan.reading.remove(&doc);
        match found {
            Ok(found) => {
                scan.bytes += found.len() * ENTRY;
                scan.met.insert(doc, (found, hexes(&state)));
            }
            Err(error @ Error::Unreadable { .. }) => return self.reply(cx, command, Err(error)),
            // A document that was removed meanwhile is left out.
            Err(_) => {}
        }
        self.read_on(cx, command, *scan);
    }
}
