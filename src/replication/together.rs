//! Acknowledgements that wait for copies of entries of several logs: a document that was not changed is made of what many wrote.
//!
//! A copy is a member that holds all of the entries. Who waits so is looked after when somebody is known to hold more of one of these
//! logs, and those around are asked as for one of ours (`copies`).

use std::time::Duration;

use super::{Ack, Event, Replication};
use crate::machine::Cx;
use crate::types::{LogId, NodeId, Seq, Time};

/// So many wait at most: whoever waits longest is answered when there is another.
const TOGETHER_MAX: usize = 1_024;

/// Who waits for copies of all of these.
#[derive(Debug)]
pub(super) struct Together {
    token: u64,
    places: Vec<(usize, u64)>,
    ack: Ack,
    until: Time,
}

impl Together {
    /// The logs.
    pub(super) fn logs(&self) -> impl Iterator<Item = usize> + '_ {
        self.places.iter().map(|(at, _)| *at)
    }

    pub(super) const fn ack(&self) -> Ack {
        self.ack
    }
}

impl Replication {
    /// Waits until as many other members as `ack` wants hold each of these logs up to its place, all of them in one member.
    /// Answered as [`await_copies`](Self::await_copies); at once if there are none.
    pub fn await_copies_of_all(
        &mut self,
        cx: &mut Cx<'_, Self>,
        token: u64,
        places: &[(LogId, Seq)],
        ack: Ack,
        patience: Duration,
    ) {
        if let [place] = places
            && patience <= self.config.ack_timeout
        {
            return self.await_copies(cx, token, *place, ack, patience);
        }
        let places: Vec<(usize, u64)> =
            places.iter().filter_map(|(log, seq)| Some((self.logs.find(*log)?, seq.value()))).collect();
        if self.is_crowded() {
            let members = self.holders_of_all(&places);
            return cx.emit(Event::NotCopied { token, members });
        }
        let logs: Vec<usize> = places.iter().map(|(at, _)| *at).collect();
        // Whoever asked first has perhaps gone: nobody says so.
        if self.copies.together.len() >= TOGETHER_MAX {
            let first = self.copies.together.remove(0);
            let members = self.holders_of_all(&first.places);
            cx.emit(Event::NotCopied { token: first.token, members });
        }
        self.copies.together.push(Together { token, places, ack, until: cx.now().mono + patience });
        self.look_after(cx);
        self.count_together(cx, None);
        logs.into_iter().for_each(|at| self.ask_for(cx, at));
    }

    /// Answers those who have copies enough by now, of those who wait for this log or of all.
    pub(super) fn count_together(&mut self, cx: &mut Cx<'_, Self>, log: Option<usize>) {
        let mut waiting = std::mem::take(&mut self.copies.together);
        waiting.retain(|one| {
            if log.is_some_and(|log| !one.logs().any(|at| at == log)) {
                return true;
            }
            let members = self.holders_of_all(&one.places);
            let enough = self.is_enough(cx, one.ack, &members);
            if enough {
                cx.emit(Event::Copied { token: one.token, members });
            }
            !enough
        });
        self.copies.together = waiting;
    }

    /// Answers those who waited for long enough, and those whose log ended before what they wait for.
    pub(super) fn give_up_together(&mut self, cx: &mut Cx<'_, Self>, cut: Option<usize>) {
        let now = cx.now().mono;
        let mut waiting = std::mem::take(&mut self.copies.together);
        waiting.retain(|one| {
            let gone = cut.is_some_and(|cut| one.logs().any(|at| at == cut));
            if gone || one.until <= now {
                let members = if gone { Vec::new() } else { self.holders_of_all(&one.places) };
                cx.emit(Event::NotCopied { token: one.token, members });
            }
            !gone && one.until > now
        });
        self.copies.together = waiting;
    }

    fn holders_of_all(&self, places: &[(usize, u64)]) -> Vec<NodeId> {
        let mut all: Option<Vec<NodeId>> = None;
        for (at, seq) in places {
            let these = self.holders(*at, *seq);
            all = Some(match all {
                None => these,
                Some(all) => all.into_iter().filter(|id| these.binary_search(id).is_ok()).collect(),
            });
        }
        all.unwrap_or_default()
    }
}
