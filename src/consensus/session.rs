//! What came of the last requests, so that who asks again is told and nothing is done twice.
//!
//! The table is a part of the state: it is equal on every peer at the same place of the log, and it is in snapshots. It is bounded: when
//! the oldest outcome is forgotten, the *floor* rises to the place of its decision. A request says up to where the log was committed
//! when it was first asked ([`RequestId::born`]). If it was ever done, that was behind `born`; so if its outcome was forgotten, `born`
//! is below the floor, and it is refused. No client has to be known or kept alive.

use std::collections::{BTreeMap, VecDeque};

use bincode::{Decode, Encode};

use super::bounded::List;
use super::vocabulary::{Outcome, RequestId, Token};
use crate::types::Index;

/// So many outcomes are remembered.
pub const SESSIONS_MAX: usize = 4_096;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sessions {
    floor: Index,
    known: BTreeMap<RequestId, (Token, Outcome)>,
    /// The oldest first.
    order: VecDeque<RequestId>,
}

/// As it is written down: the outcomes in their order.
#[derive(Encode, Decode)]
pub(super) struct Kept {
    floor: Index,
    outcomes: List<(RequestId, Token, Outcome), SESSIONS_MAX>,
}

impl Sessions {
    pub(super) fn of(kept: Kept) -> Self {
        let mut sessions = Self { floor: kept.floor, ..Self::default() };
        for (request, token, outcome) in kept.outcomes.into_vec() {
            sessions.keep(request, token, outcome);
        }
        sessions
    }

    /// Where what is remembered begins.
    pub(super) fn floor(&self) -> Index {
        self.floor
    }

    pub(super) fn find(&self, request: RequestId) -> Option<(Token, Outcome)> {
        self.known.get(&request).copied()
    }

    pub(super) fn keep(&mut self, request: RequestId, token: Token, outcome: Outcome) {
        if self.known.insert(request, (token, outcome)).is_none() {
            self.order.push_back(request);
        }
        if self.order.len() > SESSIONS_MAX
            && let Some(oldest) = self.order.pop_front()
            && let Some((token, _)) = self.known.remove(&oldest)
        {
            self.floor = self.floor.max(token.index);
        }
    }

    pub(super) fn kept(&self) -> Kept {
        let outcome = |request: &RequestId| {
            let (token, outcome) = self.known[request];
            (*request, token, outcome)
        };
        let outcomes = List::new(self.order.iter().map(outcome).collect()).expect("no more are kept");
        Kept { floor: self.floor, outcomes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Epoch, Term};

    fn request(born: u64, number: u64) -> RequestId {
        RequestId { born: Index::new(born), number: number.into() }
    }

    fn token(index: u64) -> Token {
        Token { epoch: Epoch::new(1), term: Term::new(1), index: Index::new(index) }
    }

    /// P9: whatever was done stays known or becomes too old to be asked.
    #[test]
    fn what_is_forgotten_is_below_the_floor() {
        let mut sessions = Sessions::default();
        let all = 2 * SESSIONS_MAX as u64;
        let born = |at: u64| at - 1 - at % 7 % at;
        for at in 1..=all {
            sessions.keep(request(born(at), at), token(at), Outcome::Done);
        }
        assert_eq!(sessions.floor(), Index::new(all - SESSIONS_MAX as u64));
        for at in 1..=all {
            let (known, old) =
                (sessions.find(request(born(at), at)).is_some(), Index::new(born(at)) < sessions.floor());
            assert!(known || old, "{at} would be done again");
            assert!(known || at <= all - SESSIONS_MAX as u64);
        }
        assert_eq!(Sessions::of(sessions.kept()), sessions);
    }
}
