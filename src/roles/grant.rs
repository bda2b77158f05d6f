//! What the register of a role holds: who has it, under which lease, why, and who had it before.

use std::time::Duration;

use bincode::{Decode, Encode};
use serde::Serialize;

use super::vocabulary::{Reason, RoleName};
use crate::consensus::{List, Name, Register, Token, Value};
use crate::failover::{Candidate, FailoverStatistics, PromotionStrategy};
use crate::types::{NodeId, WallTime};

/// So many holders before are remembered.
pub const HISTORY_MAX: usize = 32;

/// A role as it was decided.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Grant {
    /// Who holds it; nobody after it was withdrawn.
    pub holder: Option<NodeId>,
    /// Why, by whom and since when.
    pub turn: Turn,
    /// Under which decision the holder began; nothing if that is the one that set the register. So a pause is decided without a
    /// new holder.
    pub begun: Option<Token>,
    /// The lease, in microseconds.
    pub lease_us: u64,
    /// The limit of the hooks that end the work, in microseconds.
    pub hooks_us: u64,
    /// By what the holder was chosen.
    pub strategy: PromotionStrategy,
    /// What it was when it was chosen.
    pub priority: u8,
    /// Entries that it was behind.
    pub lag: u64,
    /// Its load, in percent of its cores; the largest number where that was not known.
    pub load: u32,
    /// No automation touches the role.
    pub is_paused: bool,
    /// Promotions before this do not count for their limit.
    pub counts_from: WallTime,
    /// Of all failovers of this role.
    pub statistics: FailoverStatistics,
    /// Who held it before, the oldest first.
    pub history: List<Past, HISTORY_MAX>,
}

/// Why somebody holds a role, or nobody.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Turn {
    /// Why.
    pub reason: Reason,
    /// By whom: an operator, or the automation.
    pub by: Name,
    /// Since when, by the leader's clock.
    pub since: WallTime,
    /// How long the failover took, in microseconds, if it was one and is complete.
    pub took_us: Option<u64>,
}

/// Somebody who held a role, or a time in which nobody did.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Past {
    /// Who.
    pub holder: Option<NodeId>,
    /// Under this token.
    pub token: Token,
    /// Why.
    pub turn: Turn,
}

/// As it is written, with the version first.
#[derive(Encode, Decode)]
enum Written {
    V1(Grant),
}

impl Grant {
    /// The first value of a register, with no holder.
    pub(super) fn vacant(turn: Turn, lease: Duration, hooks: Duration) -> Self {
        Self {
            holder: None,
            counts_from: WallTime::EPOCH,
            turn,
            begun: None,
            lease_us: micros(lease),
            hooks_us: micros(hooks),
            strategy: PromotionStrategy::Manual,
            priority: 0,
            lag: 0,
            load: 0,
            is_paused: false,
            statistics: FailoverStatistics::default(),
            history: List::default(),
        }
    }

    /// Somebody else's turn. What was goes into the history.
    pub(super) fn next(&self, at: Token, to: Option<(Candidate, PromotionStrategy)>, turn: Turn) -> Self {
        let mut history = self.history.to_vec();
        history.push(Past { holder: self.holder, token: self.token(at), turn: self.turn.clone() });
        let surplus = history.len().saturating_sub(HISTORY_MAX);
        history.drain(..surplus);
        let mut next = Self { history: List::new(history).expect("cut above"), begun: None, turn, ..self.clone() };
        next.set_holder(to);
        next
    }

    /// Sets who holds it, and as what it was chosen.
    pub(super) fn set_holder(&mut self, to: Option<(Candidate, PromotionStrategy)>) {
        self.holder = to.map(|(candidate, _)| candidate.node);
        if let Some((candidate, strategy)) = to {
            (self.strategy, self.priority) = (strategy, candidate.priority);
            (self.lag, self.load) = (candidate.lag, candidate.load);
        }
    }

    /// The holder's token, if the register was set by this decision.
    #[must_use]
    pub fn token(&self, register: Token) -> Token {
        self.begun.unwrap_or(register)
    }

    /// The lease.
    #[must_use]
    pub fn lease(&self) -> Duration {
        Duration::from_micros(self.lease_us)
    }

    /// The limit of the hooks that end the work.
    #[must_use]
    pub fn hooks(&self) -> Duration {
        Duration::from_micros(self.hooks_us)
    }

    /// When promotions were made that nobody asked for, this turn's included, the oldest first.
    pub(super) fn promotions(&self) -> impl Iterator<Item = WallTime> {
        let turns = self.history.iter().map(|past| &past.turn).chain([&self.turn]);
        turns.filter(|turn| turn.reason.is_automatic() && turn.since >= self.counts_from).map(|turn| turn.since)
    }

    pub(super) fn to_value(&self) -> Value {
        let bytes = bincode::encode_to_vec(Written::V1(self.clone()), bincode::config::standard());
        Value::new(bytes.expect("a Vec takes everything").into()).expect("32 turns are shorter than a value may be")
    }

    /// What a register holds; nothing if this version cannot read it.
    #[must_use]
    pub fn of_register(register: &Register) -> Option<Self> {
        let bytes = register.value.bytes();
        match bincode::decode_from_slice(bytes, bincode::config::standard()) {
            Ok((Written::V1(grant), read)) if read == bytes.len() && grant.is_sound() => Some(grant),
            _ => None,
        }
    }

    /// Whether it is one that [`to_value`](Self::to_value) can have written.
    fn is_sound(&self) -> bool {
        let most = micros(crate::failover::LEASE_MAX);
        (1..=most).contains(&self.lease_us) && self.hooks_us <= most
    }
}

/// All roles that are decided, with the tokens of their holders; those that cannot be read are left out.
pub(super) fn grants<'a>(
    registers: &'a std::collections::BTreeMap<Name, Register>,
) -> impl Iterator<Item = (RoleName, Token, Grant)> + 'a {
    registers.iter().filter_map(|(name, register)| {
        let grant = Grant::of_register(register)?;
        Some((RoleName::of_register(name)?, grant.token(register.token), grant))
    })
}

/// Microseconds of a duration.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Epoch, Index, Term};

    fn token(index: u64) -> Token {
        Token { epoch: Epoch::new(1), term: Term::new(2), index: Index::new(index) }
    }

    fn turn(reason: Reason, secs: u64) -> Turn {
        let by = Name::new(&"x".repeat(Name::LEN_MAX)).unwrap();
        Turn { reason, by, since: WallTime::from_micros(secs * 1_000_000), took_us: Some(u64::MAX) }
    }

    fn first() -> Grant {
        Grant::vacant(turn(Reason::First, 0), Duration::from_millis(150), Duration::from_millis(50))
    }

    fn someone(n: u128) -> Option<(Candidate, PromotionStrategy)> {
        let node = NodeId::from_u128(n);
        let candidate = Candidate { node, priority: 1, observer: false, healthy: true, lag: 2, load: 3 };
        Some((candidate, PromotionStrategy::LeastLag))
    }

    fn register(at: u64, grant: &Grant) -> Register {
        Register { token: token(at), value: grant.to_value() }
    }

    #[test]
    fn the_longest_history_fits_and_is_read_back() {
        let mut grant = first();
        for at in 1..=100 {
            grant = grant.next(token(u64::MAX >> 2), someone(u128::MAX), turn(Reason::Failed, at));
        }
        assert_eq!(grant.history.len(), HISTORY_MAX);
        assert_eq!(grant.history[0].turn.since.as_secs(), 68);
        assert_eq!(Grant::of_register(&register(7, &grant)), Some(grant));
    }

    #[test]
    fn the_holder_keeps_its_token_when_something_else_is_decided() {
        let grant = first().next(token(1), someone(1), turn(Reason::Failed, 1));
        assert_eq!(grant.token(token(5)), token(5));
        let paused = Grant { begun: Some(token(5)), is_paused: true, ..grant };
        assert_eq!(paused.token(token(9)), token(5));
        assert_eq!(paused.next(token(9), None, turn(Reason::Withdrawn, 2)).history.last().unwrap().token, token(5));
    }

    #[test]
    fn promotions_that_nobody_asked_for_are_counted() {
        let mut grant = first();
        for (at, reason) in
            [Reason::Failed, Reason::Switchover, Reason::Released, Reason::Failback].into_iter().enumerate()
        {
            grant = grant.next(token(1), someone(1), turn(reason, at as u64));
        }
        let secs = |grant: &Grant| grant.promotions().map(WallTime::as_secs).collect::<Vec<_>>();
        assert_eq!(secs(&grant), [0, 2, 3]);
        grant.counts_from = WallTime::from_micros(2_500_000);
        assert_eq!(secs(&grant), [3]);
    }

    #[test]
    fn what_this_version_cannot_read_is_nothing() {
        let good = register(1, &first());
        let of =
            |bytes: Vec<u8>| Grant::of_register(&Register { value: Value::new(bytes.into()).unwrap(), ..good.clone() });
        let bytes = good.value.bytes().to_vec();
        assert!(of(bytes.clone()).is_some());
        assert_eq!(of([&[9][..], &bytes[1..]].concat()), None, "a later version");
        assert_eq!(of([&bytes[..], &[0]].concat()), None, "something behind it");
        let endless = Grant { lease_us: u64::MAX, ..first() };
        assert_eq!(of(endless.to_value().bytes().to_vec()), None, "a lease without an end");
    }

    quickcheck::quickcheck! {
        fn any_bytes_are_a_grant_or_nothing(bytes: Vec<u8>) -> bool {
            let value = Value::new(bytes.into()).expect("short");
            let _ = Grant::of_register(&Register { token: token(1), value });
            true
        }
    }
}
