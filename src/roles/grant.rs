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
    /// What it was when it was chosen; there is room for 255, which stands for all that is more.
    pub priority: u8,
    /// Entries that it was behind.
    pub lag: u64,
    /// Its load, in percent of its cores; the largest number where that was not known.
    pub load: u32,
    /// No automation touches the role.
    pub is_paused: bool,
    /// Promotions under this token and those before do not count for their limit. By place: clocks may have been wrong.
    pub counts_after: Token,
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
    V1(First),
    V2(Grant),
}

/// The first version: promotions counted from a time.
#[derive(Encode, Decode)]
struct First {
    holder: Option<NodeId>,
    turn: Turn,
    begun: Option<Token>,
    lease_us: u64,
    hooks_us: u64,
    strategy: PromotionStrategy,
    priority: u8,
    lag: u64,
    load: u32,
    is_paused: bool,
    counts_from: WallTime,
    statistics: FailoverStatistics,
    history: List<Past, HISTORY_MAX>,
}

impl First {
    /// The same, in the register that was set by this decision.
    fn grant(self, register: Token) -> Grant {
        let Self { holder, turn, begun, lease_us, hooks_us, strategy, priority, lag, load, .. } = self;
        let Self { is_paused, counts_from, statistics, history, .. } = self;
        let turns = history.iter().map(|past| (past.token, past.turn.since));
        let turns = turns.chain([(begun.unwrap_or(register), turn.since)]);
        let counts_after = turns.filter(|(_, since)| *since < counts_from).map(|(token, _)| token).next_back();
        Grant {
            holder,
            turn,
            begun,
            lease_us,
            hooks_us,
            strategy,
            priority,
            lag,
            load,
            is_paused,
            counts_after: counts_after.unwrap_or_default(),
            statistics,
            history,
        }
    }
}

impl Grant {
    /// The first value of a register, with no holder.
    pub(super) fn vacant(turn: Turn, lease: Duration, hooks: Duration) -> Self {
        Self {
            holder: None,
            counts_after: Token::default(),
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
            (self.strategy, self.priority) = (strategy, u8::try_from(candidate.priority).unwrap_or(u8::MAX));
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

    /// When promotions were made that nobody asked for and that count, this turn's included, the oldest first: by the clocks of those who
    /// led then. The register was set by this decision.
    pub(super) fn promotions(&self, register: Token) -> impl Iterator<Item = WallTime> {
        let turns = self.history.iter().map(|past| (past.token, &past.turn));
        let turns = turns.chain([(self.token(register), &self.turn)]);
        turns.filter(|(token, turn)| turn.reason.is_limited() && *token > self.counts_after).map(|(_, turn)| turn.since)
    }

    pub(super) fn to_value(&self) -> Value {
        let bytes = bincode::encode_to_vec(Written::V2(self.clone()), bincode::config::standard());
        Value::new(bytes.expect("a Vec takes everything").into()).expect("32 turns are shorter than a value may be")
    }

    /// What a register holds; nothing if this version cannot read it.
    #[must_use]
    pub fn of_register(register: &Register) -> Option<Self> {
        let bytes = register.value.bytes();
        let (written, read) = bincode::decode_from_slice(bytes, bincode::config::standard()).ok()?;
        let grant = match written {
            Written::V1(first) => first.grant(register.token),
            Written::V2(grant) => grant,
        };
        (read == bytes.len() && grant.is_sound()).then_some(grant)
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
    fn promotions_count_where_something_failed_or_nobody_asked() {
        let mut grant = first();
        for (at, reason) in
            [Reason::Failed, Reason::Switchover, Reason::Released, Reason::Failback].into_iter().enumerate()
        {
            grant = grant.next(token(at as u64 + 1), someone(1), turn(reason, at as u64));
        }
        let secs = |grant: &Grant| grant.promotions(token(5)).map(WallTime::as_secs).collect::<Vec<_>>();
        assert_eq!(secs(&grant), [0, 3]);
        grant.counts_after = token(4);
        assert_eq!(secs(&grant), [3]);
        grant.counts_after = token(5);
        assert_eq!(secs(&grant), [0; 0]);
    }

    #[test]
    fn what_the_first_version_wrote_is_read() {
        let mut grant = first();
        for at in 1..=4 {
            grant = grant.next(token(at), someone(1), turn(Reason::Failed, at));
        }
        grant.counts_after = token(3);
        let Grant { holder, turn, begun, lease_us, hooks_us, strategy, priority, lag, load, .. } = grant.clone();
        let Grant { is_paused, statistics, history, .. } = grant.clone();
        let counts_from = WallTime::from_micros(3_000_000);
        let first = First {
            holder,
            turn,
            begun,
            lease_us,
            hooks_us,
            strategy,
            priority,
            lag,
            load,
            is_paused,
            counts_from,
            statistics,
            history,
        };
        let bytes = bincode::encode_to_vec(Written::V1(first), bincode::config::standard()).unwrap();
        let register = Register { token: token(5), value: Value::new(bytes.into()).unwrap() };
        assert_eq!(Grant::of_register(&register), Some(grant));
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
