//! The end of a run with policies: what met is asked of each live peer, as a client would.

use bytes::Bytes;

use super::super::check::Violation;
use super::super::host::Asked;
use super::{Due, World};
use crate::conflict::{ConflictingValue, Customs};
use crate::documents::{Command, Look, Outcome, Policies, Policy, PolicyHistory, Wish};
use crate::node::{self, CommandError, Input};

/// Documents that are looked at: all that a scenario with policies has.
const DOCS_MAX: usize = 1_000;

fn policies(says: &[Policy]) -> Policies {
    Policies::new(says.to_vec()).expect("checked when the scenario was read")
}

/// The function of the scenarios' policies: all that stands, as one text.
fn join(values: &[ConflictingValue]) -> Option<Vec<u8>> {
    let each =
        values.iter().map(|value| String::from_utf8_lossy(value.data.as_deref().unwrap_or_default()).into_owned());
    serde_json::to_vec(&each.collect::<Vec<_>>().join("+")).ok()
}

impl World<'_> {
    /// How a peer is set up, with the scenario's policies.
    pub(super) fn config_with_policies(&self, place: u32) -> node::Config {
        let mut config = self.scenario.config_at(place).clone();
        if self.scenario.has_policies() {
            config.documents.policies = policies(&self.scenario.says.policies);
            config.documents.customs = Customs::new().with("join", join);
        }
        config
    }

    /// What an operator at this peer asks the voters for, who sets these policies: with those before that the peer knows of.
    pub(super) fn policies_from_now_on(&mut self, place: u32, which: u32) -> Option<Bytes> {
        let now = self.mesh.now;
        let policies = policies(&self.scenario.says.proposals[which as usize - 1].policies);
        let host = self.host(place);
        let wall = host.clock.read(now).wall;
        let node = host.node()?;
        let history = match node.policies().decided {
            Some(_) => node.documents().policies().then(policies, wall),
            None => PolicyHistory::since(policies, wall),
        };
        Some(node::write_policies(&history).expect("a scenario's policies are short").into())
    }

    /// Asks for open conflicts, or for the trail, when this step is over, as a client would that was just answered.
    pub(super) fn ask_met(&mut self, place: u32, look: Look) {
        let (now, cause) = (self.mesh.now, self.cause);
        let id = self.host(place).ask(Asked::Met { look });
        let epoch = self.host(place).epoch;
        let (prefix, wish) = (String::new(), Wish::default());
        let command = Command::Met { prefix, after: None, limit: DOCS_MAX, look, wish };
        let input = Box::new(Input::Command { id, command: node::Command::Documents(command) });
        self.queue.push(now + 1, cause, Due::Input { host: place, epoch, input });
    }

    pub(super) fn on_met(&mut self, place: u32, look: Look, result: Result<node::Outcome, CommandError>) {
        let told = match result {
            Ok(node::Outcome::Documents(told @ Outcome::Met { next: None, .. })) => told,
            other => {
                let what = format!("{} answered what met with {other:?}", self.sight().name(place));
                return self.judge(Err(Violation { check: "J2", what }));
            }
        };
        if look == Look::Open {
            self.content.open.insert(place, told);
            return self.ask_met(place, Look::Trail);
        }
        if let Some(open) = self.content.open.remove(&place) {
            let met = [open, told];
            let verdict = self.checks.on_met(&super::Sight::new(&self.mesh, self.scenario), place, &met);
            self.judge(verdict);
        }
        self.content_is_read(place);
    }
}
