//! Reads of what met: pages of open conflicts and of the trail.

use super::reads::{Ask, Scan, What};
use super::{DocState, Documents, Error, Found, Outcome, Wish};
use crate::machine::Cx;
use crate::types::{CommandId, DocId};

/// What an entry counts for in a page, in bytes, about: the values that are told are bounded, and mostly short.
const ENTRY: usize = 512;

impl Scan {
    /// What was found.
    pub(super) fn outcome(self) -> Outcome {
        let Self { what, met, more, last, .. } = self;
        let wish = if let What::Met(_, wish) = what { wish } else { Wish::default() };
        let (mut open, mut trail, mut cut) = (Vec::new(), Vec::new(), Vec::new());
        for (doc, found) in met {
            let much = match found {
                Found::Open(some, much) => {
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
        Outcome::Met { open, trail, cut, next: last.filter(|_| more) }
    }
}

impl Documents {
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
        let Ask::Page(mut scan) = ask else { return self.reply(cx, command, Err(Error::NotFound { doc })) };
        scan.reading.remove(&doc);
        match found {
            Ok(found) => {
                scan.bytes += found.len() * ENTRY;
                scan.met.insert(doc, found);
            }
            Err(error @ Error::Unreadable { .. }) => return self.reply(cx, command, Err(error)),
            // A document that was removed meanwhile is left out.
            Err(_) => {}
        }
        self.read_on(cx, command, *scan);
    }
}
