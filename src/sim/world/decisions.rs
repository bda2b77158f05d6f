//! Decisions: proposals of the plan, and one before the end that every peer must come to know.

use bytes::Bytes;

use super::super::host::Asked;
use super::{Due, World};
use crate::consensus::Expect;
use crate::node::{self, Command, CommandError, Input, Proposal};

impl World<'_> {
    pub(super) fn proposal(&mut self, number: usize) {
        let says = self.mesh.plan.proposals[number].clone();
        if self.host(says.peer).node().is_none() {
            return;
        }
        self.figures.proposals += 1;
        self.ask_voters(says.peer, Some(number), format!("sim/{}", says.register), format!("{number}"));
    }

    /// At the first peer that is up, and was healed.
    pub(super) fn last_question(&mut self) {
        let first = self.sight().live().map(|(place, ..)| place).next();
        if let Some(place) = first {
            self.checks.on_asked(None);
            self.ask_voters(place, None, "sim/last".to_owned(), "asked".to_owned());
        }
    }

    fn ask_voters(&mut self, place: u32, number: Option<usize>, register: String, value: String) {
        let (now, cause) = (self.mesh.now, self.cause);
        let host = self.host(place);
        let (id, epoch) = (host.ask(Asked::Proposal { number, at: now }), host.epoch);
        let (expect, value, request) = (Expect::Any, Some(Bytes::from(value)), None);
        let command = Command::Propose(Proposal { register, expect, value, request });
        let input = Box::new(Input::Command { id, command });
        self.queue.push(now + 1, cause, Due::Input { host: place, epoch, input });
    }

    pub(super) fn on_decided(
        &mut self,
        place: u32,
        number: Option<usize>,
        at: u64,
        result: Result<node::Outcome, CommandError>,
    ) {
        if number.is_none() {
            let result = match &result {
                Ok(node::Outcome::Decided(proposed)) => Ok(proposed.token),
                Ok(other) => Err(format!("{other:?}")),
                // Whoever is not answered asks again, under the same name.
                Err(CommandError::OutcomeUnknown { .. } | CommandError::NoQuorum | CommandError::NotLeader { .. })
                    if self.mesh.now + 500_000_000 < self.scenario.span_ns() =>
                {
                    return self.ask_voters(place, None, "sim/last".to_owned(), "asked".to_owned());
                }
                Err(error) => Err(error.to_string()),
            };
            return self.checks.on_asked(Some(&result));
        }
        if let Ok(node::Outcome::Decided(_)) = result {
            self.figures.decided += 1;
            let took = self.mesh.now - at;
            self.figures.decide_most_ns = self.figures.decide_most_ns.max(Some(took));
        }
    }
}
