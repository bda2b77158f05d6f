//! The end of a run: all documents of all live peers are read, as a client would, and judged.

use std::collections::BTreeMap;

use super::super::check::Violation;
use super::super::host::Asked;
use super::{Due, SECOND, World};
use crate::documents::{self, Listed};
use crate::events::{Begin, Page};
use crate::node::{Command, CommandError, Input, Outcome};

/// Documents in one page.
const PAGE: usize = 500;
/// A peer that has not answered by then does not answer.
const PATIENCE: u64 = 30 * SECOND;

/// What was read so far.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// For each peer that is asked: its documents so far.
    reading: BTreeMap<u32, Vec<Listed>>,
    /// For each peer that is asked: the stream that it is at, so far.
    pub(super) streams: BTreeMap<u32, Vec<Page>>,
    /// What it told of open conflicts, until it has told of the trail too.
    pub(super) open: BTreeMap<u32, documents::Outcome>,
    begun: bool,
    done: bool,
}

impl Content {
    /// Whether nobody is asked any more.
    pub(super) fn settle(&mut self) {
        self.done = self.reading.is_empty() && self.streams.is_empty();
    }

    /// Whether everybody has answered.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }
}

impl World<'_> {
    /// Once a second of the warm-up and of the calm: whether the mesh agrees by now.
    pub(super) fn sample(&mut self) {
        let (now, calm_at) = (self.mesh.now, self.scenario.calm_at());
        let all_up = || self.mesh.hosts.iter().all(|host| host.node().is_some());
        let forming = now <= self.scenario.chaos_at() && self.figures.formed_ns.is_none() && all_up();
        let healing = now >= calm_at && self.figures.converged_ns.is_none();
        if (!forming && !healing) || self.checks.settled(&super::Sight::new(&self.mesh, self.scenario)).is_err() {
            return;
        }
        if forming {
            self.figures.formed_ns = Some(now);
        }
        if healing {
            self.figures.converged_ns = Some(now - calm_at);
        }
    }

    /// The calm is over: what must hold at rest must hold now. Called again when patience is over.
    pub(super) fn verify(&mut self) {
        if std::mem::replace(&mut self.content.begun, true) {
            let asked = self.content.reading.keys().chain(self.content.streams.keys());
            let silent: Vec<_> = asked.map(|place| self.sight().name(*place)).collect();
            let what = format!("{} did not answer a scan", silent.join(", "));
            return self.judge(Err(Violation { check: "C3", what }));
        }
        let mut verdict = self.checks.settled(&super::Sight::new(&self.mesh, self.scenario));
        if let Err(violation) = &verdict
            && self.mesh.core.is_some()
        {
            verdict = self.checks.stuck(&self.sight(), violation);
            if verdict.is_ok() {
                self.figures.excused = true;
                // What was written on one side is not on the other: nothing more can be judged.
                self.content.done = true;
                return;
            }
        }
        self.judge(verdict);
        self.replay_is_made();
        self.judge_guests(true);
        let documents = !self.mesh.plan.edits.is_empty() || !self.replay.clients.is_empty();
        let (edits, appends) = (documents, !self.mesh.plan.appends.is_empty());
        if !edits && !appends {
            self.content.done = true;
            return;
        }
        let live: Vec<u32> = self.sight().live().map(|(place, ..)| place).collect();
        for place in live {
            // Both are noted before the first answer, so that nobody is done too early.
            if edits {
                self.content.reading.insert(place, Vec::new());
            }
            if appends {
                self.content.streams.insert(place, Vec::new());
            }
            if edits {
                self.ask_page(place, None);
            }
            if appends {
                self.ask_stream(place, 0, Begin::Start);
            }
        }
        self.queue.push(self.mesh.now + PATIENCE, self.cause, Due::Verify);
    }

    fn ask_page(&mut self, place: u32, after: Option<crate::types::DocId>) {
        let id = self.host(place).ask(Asked::Content);
        let command = documents::Command::Scan { prefix: String::new(), after, limit: PAGE, values: true };
        self.feed(place, Input::Command { id, command: Command::Documents(command) });
    }

    pub(super) fn on_content(&mut self, place: u32, result: Result<Outcome, CommandError>) {
        let page = match result {
            Ok(Outcome::Documents(documents::Outcome::Page { docs, more })) => (docs, more),
            other => {
                let what = format!("{} answered a scan with {other:?}", self.sight().name(place));
                return self.judge(Err(Violation { check: "C3", what }));
            }
        };
        let (docs, more) = page;
        let after = docs.last().map(|listed| listed.doc.clone());
        let Some(read) = self.content.reading.get_mut(&place) else { return };
        read.extend(docs);
        if more {
            // The next page is asked for when this step is over, as a client's answer would be.
            let (now, cause) = (self.mesh.now, self.cause);
            let id = self.host(place).ask(Asked::Content);
            let epoch = self.host(place).epoch;
            let command = documents::Command::Scan { prefix: String::new(), after, limit: PAGE, values: true };
            let input = Box::new(Input::Command { id, command: Command::Documents(command) });
            self.queue.push(now + 1, cause, Due::Input { host: place, epoch, input });
            return;
        }
        if self.scenario.has_policies() {
            self.ask_met(place, documents::Look::Open);
        } else {
            self.content_is_read(place);
        }
    }

    /// A peer has answered all that it was asked.
    pub(super) fn content_is_read(&mut self, place: u32) {
        let read = self.content.reading.remove(&place).unwrap_or_default();
        let verdict = self.checks.on_content(&super::Sight::new(&self.mesh, self.scenario), place, &read);
        self.judge(verdict);
        self.replay_is_read(place, &read);
        if self.content.reading.is_empty() {
            let verdict = self.checks.on_all_content(&super::Sight::new(&self.mesh, self.scenario));
            self.judge(verdict);
        }
        self.content.settle();
    }
}
