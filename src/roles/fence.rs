//! The fence: whoever is acted upon shows it the token, and what is lower than one it saw is refused, for ever.
//!
//! A token counts as seen when it was shown here and when its grant is known here to be decided. Neither a yes nor a no is said before the
//! highest that was seen is durable: else a restart would forget it, and heed what was refused.

use std::collections::BTreeMap;

use super::grant::Grant;
use super::vocabulary::{Admission, ROLES_MAX, Refused, RoleName, Wait};
use super::{Event, Record, Roles, Sight};
use crate::consensus::Token;
use crate::machine::Cx;
use crate::types::DiskFault;

/// So many wait for the disk at a time.
const TICKETS_MAX: usize = 1_024;
/// A token is as far beyond all that is known here at most. A peer may have been cut off for years, so this is what no group of voters decides
/// and no number of elections reaches in a lifetime: not a guess of who lies, but of who errs.
const BEYOND_MAX: u64 = 1 << 40;

/// Of one role.
#[derive(Clone, Debug, Default)]
pub(super) struct Fence {
    /// The highest token that was seen.
    pub(super) seen: Token,
    /// The highest that is durable.
    pub(super) durable: Token,
    /// The highest that is on its way to be.
    written: Token,
    /// The last under which this peer was about to begin, durably.
    pub(super) begun: Token,
    /// The last under which nothing is left to be ended.
    pub(super) ended: Token,
    /// Who waits for the disk.
    tickets: Vec<(u64, Token)>,
}

impl Fence {
    /// What is to be said of a token; nothing yet if the disk has to answer first.
    fn judge(&self, token: Token) -> Option<Result<(), Refused>> {
        if token < self.durable {
            return Some(Err(Refused::Stale { shown: token, highest: self.durable }));
        }
        (token == self.durable && token == self.seen).then_some(Ok(()))
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Fences(BTreeMap<RoleName, Fence>);

impl Fences {
    /// What the disk holds.
    pub(super) fn restore(&mut self, record: &Record) {
        let (Record::Fence { role, token } | Record::Begun { role, token } | Record::Ended { role, token }) = record;
        let Some(fence) = self.entry(role) else { return };
        let highest = fence.durable.max(*token);
        (fence.seen, fence.durable, fence.written) = (highest, highest, highest);
        match record {
            Record::Fence { .. } => {}
            Record::Begun { .. } => fence.begun = fence.begun.max(*token),
            Record::Ended { .. } => fence.ended = fence.ended.max(*token),
        }
    }

    /// Whether a token of any role was seen.
    pub(super) fn any(&self) -> bool {
        !self.0.is_empty()
    }

    pub(super) fn find(&self, role: &RoleName) -> Option<&Fence> {
        self.0.get(role)
    }

    /// The fence of a role; none if there are too many.
    fn entry(&mut self, role: &RoleName) -> Option<&mut Fence> {
        if self.0.len() >= ROLES_MAX && !self.0.contains_key(role) {
            return None;
        }
        Some(self.0.entry(role.clone()).or_default())
    }

    /// Under which tokens this peer began, or was about to, and did not end what it began.
    pub(super) fn unended(&self) -> impl Iterator<Item = (RoleName, Token)> {
        let begun = self.0.iter().filter(|(_, fence)| fence.begun > fence.ended);
        begun.map(|(role, fence)| (role.clone(), fence.begun))
    }

    /// What is durable.
    pub(super) fn records(&self) -> impl Iterator<Item = Record> {
        self.0.iter().flat_map(|(role, fence)| super::record::records(role, [fence.durable, fence.begun, fence.ended]))
    }
}

/// Whether a token can be one that was decided: else it would keep out for ever all that are.
fn check(token: Token, known: Token, sight: &Sight<'_>) -> Result<(), Refused> {
    let is_beyond = |shown: u64, known: u64| shown > known.saturating_add(BEYOND_MAX);
    let place = known.index.value().max(sight.commit.value());
    let beyond = is_beyond(token.index.value(), place)
        || is_beyond(token.term.value(), known.term.value())
        || is_beyond(token.epoch.value(), known.epoch.value());
    if beyond { Err(Refused::Beyond { shown: token, known }) } else { Ok(()) }
}

impl Roles {
    /// Somebody acts upon this peer in a role, or is about to. Whether that is heeded: now, or when [`Event::Admitted`] says so.
    ///
    /// # Errors
    /// [`Refused`] says why not, for good; [`Refused::Beyond`] leaves the fence as it was.
    pub fn admit(
        &mut self,
        cx: &mut Cx<'_, Self>,
        sight: &Sight<'_>,
        role: &RoleName,
        token: Token,
        ticket: u64,
    ) -> Result<Admission, Refused> {
        let decided = sight.registers.get(&role.register());
        let decided = decided.and_then(|register| Some(Grant::of_register(register)?.token(register.token)));
        let known = self.fences.find(role).map(|fence| fence.seen).max(decided).unwrap_or_default();
        check(token, known, sight)?;
        let fence = self.fences.entry(role).ok_or(Refused::TooMany)?;
        fence.seen = fence.seen.max(decided.unwrap_or_default()).max(token);
        match fence.judge(token) {
            Some(result) => return result.map(|()| Admission::Admitted),
            None if fence.tickets.len() >= TICKETS_MAX => return Err(Refused::TooMany),
            None => fence.tickets.push((ticket, token)),
        }
        if fence.seen > fence.written {
            let token = fence.seen;
            fence.written = token;
            let wait = Wait { role: role.clone(), token, begins: false };
            cx.persist(Record::Fence { role: role.clone(), token }, wait);
        }
        Ok(Admission::Later)
    }

    /// This peer was granted a role and is about to begin. Whether that is written down.
    pub(super) fn write_begun(&mut self, cx: &mut Cx<'_, Self>, role: &RoleName, token: Token) -> bool {
        let Some(fence) = self.fences.entry(role) else { return false };
        (fence.seen, fence.written) = (fence.seen.max(token), fence.written.max(token));
        let wait = Wait { role: role.clone(), token, begins: true };
        cx.persist(Record::Begun { role: role.clone(), token }, wait);
        true
    }

    /// What this peer began under a token is ended: that is written down, and nobody waits for it.
    pub(super) fn write_ended(&mut self, cx: &mut Cx<'_, Self>, role: &RoleName, token: Token) {
        let Some(fence) = self.fences.entry(role).filter(|fence| fence.ended < token) else { return };
        fence.ended = token;
        let wait = Wait { role: role.clone(), token, begins: false };
        cx.persist(Record::Ended { role: role.clone(), token }, wait);
    }

    /// The disk answered. Whoever waited for it is told.
    pub(super) fn on_fence(&mut self, cx: &mut Cx<'_, Self>, wait: &Wait, result: &Result<(), DiskFault>) {
        let Some(fence) = self.fences.entry(&wait.role) else { return };
        match result {
            Ok(()) => fence.durable = fence.durable.max(wait.token),
            Err(_) => fence.written = fence.durable,
        }
        if result.is_ok() && wait.begins {
            fence.begun = fence.begun.max(wait.token);
        }
        let answer = |token: Token| match result {
            Ok(()) => fence.judge(token),
            Err(fault) => Some(Err(Refused::Disk(fault.clone()))),
        };
        let (told, waiting): (Vec<_>, Vec<_>) = fence
            .tickets
            .iter()
            .map(|(ticket, token)| (*ticket, *token, answer(*token)))
            .partition(|it| it.2.is_some());
        fence.tickets = waiting.into_iter().map(|(ticket, token, _)| (ticket, token)).collect();
        for (ticket, _, result) in told {
            let result = result.expect("it was told apart by that");
            cx.emit(Event::Admitted { ticket, result });
        }
    }
}
