//! M3: a peer that is well is not held for dead for long by one that is well and linked with it: it hears of the accusation over
//! that link, and refutes it (SWIM, section 4.2).

use std::collections::BTreeMap;

use super::{Check, Sight, Verdict};
use crate::membership::{self, State};
use crate::node::{BootReport, Event};

/// From the moment on which both are well.
const BOUND: u64 = 20_000_000_000;

/// Observer and subject of deaths that were declared and not taken back, and when.
#[derive(Default)]
pub(super) struct RefutesInTime {
    dead: BTreeMap<(u32, u32), u64>,
}

impl Check for RefutesInTime {
    fn id(&self) -> &'static str {
        "M3"
    }

    fn on_ready(&mut self, _: &Sight<'_>, who: u32, _: &BootReport) -> Verdict {
        self.dead.retain(|(observer, _), _| *observer != who);
        Ok(())
    }

    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        let Event::Membership(membership::Event::Died { member, .. }) = event else { return Ok(()) };
        if let Some(subject) = sight.place(*member) {
            self.dead.insert((who, subject), sight.now);
        }
        Ok(())
    }

    fn on_tick(&mut self, sight: &Sight<'_>) -> Verdict {
        let host = |place: u32| &sight.hosts[place as usize];
        let holds = |who: u32, subject: u32| {
            let member = sight.node(who).and_then(|node| node.membership().member(host(subject).id));
            member.is_some_and(|member| member.state == State::Dead)
        };
        self.dead.retain(|(who, subject), _| holds(*who, *subject));
        let both_well =
            |who: u32, subject: u32| [who, subject].iter().all(|peer| host(*peer).well_for(sight.now, BOUND));
        let linked =
            |who, subject: u32| sight.node(who).is_some_and(|node| node.overlay().links().contains(&host(subject).id));
        for ((who, subject), since) in &self.dead {
            if sight.now - since >= BOUND && both_well(*who, *subject) && linked(*who, *subject) {
                let (who, subject) = (sight.name(*who), sight.name(*subject));
                return Err(format!("{who} holds {subject} for dead, both are well and linked, and it is not refuted"));
            }
        }
        Ok(())
    }
}
