//! The fence: whoever is acted upon shows it the token, and what is lower than one it saw is refused, for ever.
//!
//! A token counts as seen when it was shown here and when its grant is known here to be decided; it is heeded when it is durable: else a
//! restart would forget it, and heed an older one.

use std::collections::BTreeMap;

use super::grant::Grant;
use super::vocabulary::{Admission, ROLES_MAX, Refused, RoleName, Wait};
use super::{Event, Record, Roles, Sight};
use crate::consensus::Token;
use crate::machine::Cx;
use crate::types::DiskFault;

/// So many wait for the disk at a time.
const TICKETS_MAX: usize = 1_024;

/// Of one role.
#[derive(Clone, Debug, Default)]
pub(super) struct Fence {
    /// The highest token that was seen.
    pub(super) seen: Token,
    /// The highest that is durable.
    pub(super) durable: Token,
    /// The highest that is on its way to be.
    written: Token,
    /// Who waits for it.
    tickets: Vec<(u64, Token)>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Fences(BTreeMap<RoleName, Fence>);

impl Fences {
    /// What the disk holds.
    pub(super) fn restore(&mut self, role: &RoleName, token: Token) {
        if self.0.len() >= ROLES_MAX && !self.0.contains_key(role) {
            return;
        }
        let fence = self.0.entry(role.clone()).or_default();
        let highest = fence.durable.max(token);
        (fence.seen, fence.durable, fence.written) = (highest, highest, highest);
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

    /// What is durable.
    pub(super) fn durable(&self) -> impl Iterator<Item = (&RoleName, Token)> {
        self.0.iter().filter(|(_, fence)| fence.durable > Token::default()).map(|(role, fence)| (role, fence.durable))
    }
}

impl Roles {
    /// Somebody acts upon this peer in a role, or is about to. Whether that is heeded: now, or when [`Event::Admitted`] says so.
    ///
    /// # Errors
    /// [`Refused`] says why not, for good.
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
        let fence = self.fences.entry(role).ok_or(Refused::TooMany)?;
        fence.seen = fence.seen.max(decided.unwrap_or_default());
        if token < fence.seen {
            return Err(Refused::Stale { shown: token, highest: fence.seen });
        }
        if token == fence.durable {
            return Ok(Admission::Admitted);
        }
        if fence.tickets.len() >= TICKETS_MAX {
            return Err(Refused::TooMany);
        }
        fence.tickets.push((ticket, token));
        self.raise(cx, role, token);
        Ok(Admission::Later)
    }

    /// Writes a token down, if it is higher than what was.
    pub(super) fn raise(&mut self, cx: &mut Cx<'_, Self>, role: &RoleName, token: Token) {
        let Some(fence) = self.fences.entry(role) else { return };
        fence.seen = fence.seen.max(token);
        if token > fence.written {
            fence.written = token;
            cx.persist(Record::Fence { role: role.clone(), token }, Wait { role: role.clone(), token });
        }
    }

    /// The disk answered. Whoever waited for it is told, and refused if a higher token was seen meanwhile.
    pub(super) fn on_fence(&mut self, cx: &mut Cx<'_, Self>, wait: &Wait, result: &Result<(), DiskFault>) {
        let Some(fence) = self.fences.entry(&wait.role) else { return };
        match result {
            Ok(()) => fence.durable = fence.durable.max(wait.token),
            Err(_) => fence.written = fence.durable,
        }
        let (durable, seen) = (fence.durable, fence.seen);
        let answer = |token: Token| match result {
            _ if token < seen => Some(Err(Refused::Stale { shown: token, highest: seen })),
            Ok(()) => (token <= durable).then_some(Ok(())),
            Err(fault) => Some(Err(Refused::Disk(fault.clone()))),
        };
        fence.tickets.retain(|(ticket, token)| {
            let result = answer(*token);
            if let Some(result) = result.clone() {
                cx.emit(Event::Admitted { ticket: *ticket, result });
            }
            result.is_none()
        });
    }
}
