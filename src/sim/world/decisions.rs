//! Decisions: proposals of the plan, and one before the end that every peer must come to know; and what is said about them, for the checks.

use bytes::Bytes;

use super::super::host::Asked;
use super::super::scenario::Wish;
use super::{Due, World};
use crate::consensus::{self, Expect, RequestId};
use crate::node::{self, Command, CommandError, Input, POLICIES_REGISTER, Proposal, VotersChange};
use crate::types::{Index, Lane, NodeId};
use crate::wire;

impl World<'_> {
    pub(super) fn proposal(&mut self, number: usize) {
        let says = self.mesh.plan.proposals[number].clone();
        if self.host(says.peer).node().is_none() {
            return;
        }
        self.figures.proposals += 1;
        let named = |request| RequestId { born: Index::ZERO, number: u128::from(request) };
        let request = Some(says.request).filter(|request| *request > 0).map(named);
        let mut value = request.map_or_else(|| format!("{number}"), |request| format!("request {}", request.number));
        value.extend(std::iter::repeat_n('.', says.padding as usize));
        let asked = Asked::Proposal { number: Some(number), at: self.mesh.now };
        if let Some((wish, whom)) = says.wish {
            return self.ask(says.peer, asked, Command::ChangeVoters(self.wished(wish, whom)));
        }
        if says.policies == 0 {
            return self.ask_voters(says.peer, asked, format!("sim/{}", says.register), (value.into(), request));
        }
        if let Some(value) = self.policies_from_now_on(says.peer, says.policies) {
            self.ask_voters(says.peer, asked, POLICIES_REGISTER.to_owned(), (value, None));
        }
    }

    /// At the first peer that is up, and was healed.
    pub(super) fn last_question(&mut self) {
        let first = self.sight().live().map(|(place, ..)| place).next();
        if let Some(place) = first {
            self.checks.on_asked(None);
            self.ask_last(place);
        }
    }

    fn ask_last(&mut self, place: u32) {
        let asked = Asked::Proposal { number: None, at: self.mesh.now };
        self.ask_voters(place, asked, "sim/last".to_owned(), (Bytes::from_static(b"asked"), None));
    }

    fn ask_voters(&mut self, place: u32, asked: Asked, register: String, says: (Bytes, Option<RequestId>)) {
        let (expect, value, request) = (Expect::Any, Some(says.0), says.1);
        self.ask(place, asked, Command::Propose(Proposal { register, expect, value, request }));
    }

    fn wished(&self, wish: Wish, whom: u32) -> VotersChange {
        let node = self.mesh.hosts[whom as usize].id;
        match wish {
            Wish::Add => VotersChange::Add { node },
            Wish::Remove => VotersChange::Remove { node },
            Wish::Clear => VotersChange::Clear { node },
        }
    }

    fn ask(&mut self, place: u32, asked: Asked, command: Command) {
        let (now, cause) = (self.mesh.now, self.cause);
        let host = self.host(place);
        let (id, epoch) = (host.ask(asked), host.epoch);
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
                    return self.ask_last(place);
                }
                Err(error) => Err(error.to_string()),
            };
            return self.checks.on_asked(Some(&result));
        }
        if let Ok(node::Outcome::Decided(_) | node::Outcome::Deciders(_)) = result {
            self.figures.decided += 1;
            let took = self.mesh.now - at;
            self.figures.decide_most_ns = self.figures.decide_most_ns.max(Some(took));
        }
    }
}

impl World<'_> {
    /// Shows the checks what a node sends, if it is of consensus.
    pub(super) fn on_said(&mut self, place: u32, to: NodeId, lane: Lane, frame: &[u8]) {
        if let Some(message) = message_of(lane, frame) {
            let verdict = self.checks.on_said(&super::Sight::new(&self.mesh, self.scenario), place, to, &message);
            self.judge(verdict);
        }
    }

    /// Shows them what a node is about to be given, if it is that.
    pub(super) fn on_heard(&mut self, place: u32, input: &Input) {
        let Input::Received { from, lane, frame } = input else { return };
        if let Some(message) = message_of(*lane, frame) {
            self.checks.on_heard(&super::Sight::new(&self.mesh, self.scenario), place, *from, &message);
        }
    }
}

fn message_of(lane: Lane, frame: &[u8]) -> Option<consensus::Message> {
    if wire::kind(frame) != Some(wire::Kind::Consensus) {
        return None;
    }
    wire::open(frame, lane).ok()??.decode().ok()
}
