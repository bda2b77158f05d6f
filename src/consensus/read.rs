//! Reads that see all that was decided before they were asked (read index; Ongaro's dissertation, section 6.4). No clock is trusted: a
//! majority answers a round of heartbeats that began after the read.

use super::vocabulary::{Event, Refusal};
use super::{Consensus, Office};
use crate::machine::Cx;
use crate::types::Index;

/// Reads that may wait at a time.
const READS_MAX: usize = 1_024;

/// A read that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub(super) read: u64,
    /// What was committed when it was asked; nothing until the leader knows that.
    index: Option<Index>,
    /// The round that a majority must answer.
    round: u64,
}

impl Consensus {
    /// Wants to read. [`Event::Readable`] or [`Event::Unreadable`] comes, once.
    ///
    /// # Errors
    /// [`Refusal`] says why not here.
    pub fn read(&mut self, cx: &mut Cx<'_, Self>, read: u64) -> Result<(), Refusal> {
        self.may_lead(cx)?;
        self.wake(cx);
        // Whoever rested may find out, when it wakes, that it was cut off.
        let Office::Leader(lead) = &mut self.office else { return Err(Refusal::NoQuorum) };
        if lead.reads.len() >= READS_MAX {
            return Err(Refusal::Busy { waiting: lead.reads.len() });
        }
        // Before it committed something in its term, a leader may not know all that is.
        let index = (self.commit >= lead.first).then_some(self.commit);
        lead.reads.push_back(Read { read, index, round: lead.round + 1 });
        self.beat(cx);
        self.answer_reads(cx);
        Ok(())
    }

    /// Answers the reads whose round a majority has answered.
    pub(super) fn answer_reads(&mut self, cx: &mut Cx<'_, Self>) {
        let (Office::Leader(lead), Some((_, group))) = (&mut self.office, self.groups.latest()) else { return };
        if lead.reads.is_empty() || self.commit < lead.first {
            return;
        }
        let me = self.me;
        let round = group
            .reached(|id| if id == me { lead.round } else { lead.peers.get(&id).map_or(0, |progress| progress.round) });
        let commit = self.commit;
        lead.reads.iter_mut().for_each(|read| _ = read.index.get_or_insert(commit));
        while let Some(read) = lead.reads.pop_front_if(|read| read.round <= round) {
            let index = read.index.expect("set above");
            cx.emit(Event::Readable { read: read.read, index });
        }
    }
}
