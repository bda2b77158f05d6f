//! The end of a run with policies: what met is asked of each live peer, as a client would.

use super::super::check::Violation;
use super::super::host::Asked;
use super::{Due, World};
use crate::conflict::{ConflictingValue, Customs};
use crate::documents::{Command, Look, Outcome, Policies, Wish};
use crate::node::{self, CommandError, Input};

/// Documents that are looked at: all that a scenario with policies has.
const DOCS_MAX: usize = 1_000;

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
        let policies = &self.scenario.says.policies;
        if !policies.is_empty() {
            config.documents.policies = Policies::new(policies.clone()).expect("checked when the scenario was read");
            config.documents.customs = Customs::new().with("join", join);
        }
        config
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
