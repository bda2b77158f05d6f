//! F1: at no moment do two peers act in one role, and tokens of a role rise.

use std::collections::BTreeMap;

use super::{Check, Sight, Verdict};
use crate::consensus::Token;
use crate::node::{Event, Node};
use crate::roles::{self, RoleName};
use crate::sim::host::Host;

/// Who began last, and under which token.
#[derive(Default)]
pub(super) struct OneHolder {
    began: BTreeMap<RoleName, (u32, Token)>,
}

impl Check for OneHolder {
    fn id(&self) -> &'static str {
        "F1"
    }

    /// Whoever begins: nobody else acts, by its own clock. Windows begin with this event and end by time, so no other moment has to be
    /// looked at.
    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        let Event::Roles(roles::Event::Promote { role, token, .. }) = event else { return Ok(()) };
        let before = self.began.insert(role.clone(), (who, *token));
        if sight.trust.is_broken() {
            return Ok(());
        }
        if let Some((other, before)) = before.filter(|(_, before)| before >= token) {
            let (one, two) = (sight.name(who), sight.name(other));
            return Err(format!("{one} begins as {role} under {token}, and {two} had begun under {before}"));
        }
        let acts = |(other, host): (u32, &Host)| {
            let now = host.clock.read(sight.now).mono;
            host.node().map(Node::serving)?.holds(role, now).map(|token| (other, token))
        };
        match (0..).zip(sight.hosts).filter(|(other, _)| *other != who).find_map(acts) {
            Some((other, held)) => {
                Err(format!("{} begins as {role}, and {} acts under {held}", sight.name(who), sight.name(other)))
            }
            None => Ok(()),
        }
    }
}
