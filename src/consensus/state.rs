//! What the decisions come to: named registers, each with the decision that set it. The same on every peer at the same place of
//! the log.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use bytes::Bytes;

use super::bounded::List;
use super::session::{Kept, Sessions};
use super::vocabulary::{Action, Expect, Intent, Name, Outcome, Token, Value};
use crate::probe::planted;

/// Most registers.
pub const REGISTERS_MAX: usize = 1_024;
/// Most bytes of all names and values together.
pub const REGISTERS_BYTES_MAX: usize = 1 << 20;

/// A register.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Register {
    /// By which decision it was set.
    pub token: Token,
    /// To what.
    pub value: Value,
}

/// What an entry of the log came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Applied {
    /// It was done, or found not to be possible, here and now.
    Now(Outcome),
    /// It had been done before, under the same name.
    Before(Token, Outcome),
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    registers: BTreeMap<Name, Register>,
    /// Bytes of all names and values.
    bytes: usize,
    sessions: Sessions,
}

/// As it is written down.
#[derive(Encode, Decode)]
struct Written {
    registers: List<(Name, Register), REGISTERS_MAX>,
    sessions: Kept,
}

impl State {
    /// Does an action at its place, once.
    pub(super) fn apply(&mut self, token: Token, intent: &Intent) -> Applied {
        if let Some((before, outcome)) = self.sessions.find(intent.request)
            && !planted!("consensus/request-done-twice")
        {
            return Applied::Before(before, outcome);
        }
        // A name from the future would never be too old to be done again.
        if intent.request.born < self.sessions.floor() || intent.request.born >= token.index {
            return Applied::Now(Outcome::Forgotten);
        }
        let outcome = self.set(token, &intent.action);
        self.sessions.keep(intent.request, token, outcome);
        Applied::Now(outcome)
    }

    fn set(&mut self, token: Token, action: &Action) -> Outcome {
        let holds = self.registers.get(&action.name).map(|register| register.token);
        let as_expected = match action.expect {
            Expect::Any => true,
            Expect::Absent => holds.is_none(),
            Expect::Set(token) => holds == Some(token),
        };
        if !as_expected {
            return Outcome::Differs { holds };
        }
        let name = action.name.as_str().len();
        let before = self.registers.get(&action.name).map_or(0, |register| name + register.value.bytes().len());
        let Some(value) = &action.value else {
            self.registers.remove(&action.name);
            self.bytes -= before;
            return Outcome::Done;
        };
        let bytes = self.bytes - before + name + value.bytes().len();
        if bytes > REGISTERS_BYTES_MAX || (holds.is_none() && self.registers.len() == REGISTERS_MAX) {
            return Outcome::Full;
        }
        self.bytes = bytes;
        self.registers.insert(action.name.clone(), Register { token, value: value.clone() });
        Outcome::Done
    }

    pub(super) fn registers(&self) -> &BTreeMap<Name, Register> {
        &self.registers
    }

    pub(super) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    pub(super) fn encode(&self) -> Bytes {
        let registers = self.registers.iter().map(|(name, register)| (name.clone(), register.clone())).collect();
        let registers = List::new(registers).expect("no more are taken");
        let written = Written { registers, sessions: self.sessions.kept() };
        bincode::encode_to_vec(&written, bincode::config::standard()).expect("a Vec takes everything").into()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let config = bincode::config::standard();
        let (written, read): (Written, usize) =
            bincode::decode_from_slice(bytes, config).map_err(|error| error.to_string())?;
        if read != bytes.len() {
            return Err(format!("{} bytes are left over", bytes.len() - read));
        }
        let registers: BTreeMap<Name, Register> = written.registers.into_vec().into_iter().collect();
        let bytes = registers.iter().map(|(name, register)| name.as_str().len() + register.value.bytes().len()).sum();
        if bytes > REGISTERS_BYTES_MAX {
            return Err(format!("{bytes} bytes of registers, the limit is {REGISTERS_BYTES_MAX}"));
        }
        Ok(Self { registers, bytes, sessions: Sessions::of(written.sessions) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::RequestId;
    use crate::types::{Epoch, Index, Term, WallTime};

    fn token(index: u64) -> Token {
        Token { epoch: Epoch::new(1), term: Term::new(1), index: Index::new(index) }
    }

    fn intent(number: u128, born: u64, name: &str, expect: Expect, value: Option<usize>) -> Intent {
        let value = value.map(|len| Value::new(vec![1; len].into()).unwrap());
        let action = Action { name: Name::new(name).unwrap(), expect, value };
        Intent { request: RequestId { born: Index::new(born), number }, expires: WallTime::EPOCH, action }
    }

    #[test]
    fn a_register_is_set_if_it_holds_what_is_expected() {
        let mut state = State::default();
        let mut apply =
            |at: u64, expect, value| state.apply(token(at), &intent(at.into(), 0, "primary", expect, value));
        assert_eq!(apply(1, Expect::Set(token(9)), Some(1)), Applied::Now(Outcome::Differs { holds: None }));
        assert_eq!(apply(2, Expect::Absent, Some(1)), Applied::Now(Outcome::Done));
        assert_eq!(apply(3, Expect::Absent, Some(1)), Applied::Now(Outcome::Differs { holds: Some(token(2)) }));
        assert_eq!(apply(4, Expect::Set(token(2)), Some(2)), Applied::Now(Outcome::Done));
        assert_eq!(apply(5, Expect::Any, None), Applied::Now(Outcome::Done));
        assert_eq!(apply(6, Expect::Absent, Some(3)), Applied::Now(Outcome::Done));
        assert_eq!(state.bytes, "primary".len() + 3);
    }

    #[test]
    fn what_was_asked_before_is_not_done_again() {
        let mut state = State::default();
        let request = intent(7, 0, "a", Expect::Any, Some(1));
        assert_eq!(state.apply(token(1), &request), Applied::Now(Outcome::Done));
        assert_eq!(state.apply(token(2), &request), Applied::Before(token(1), Outcome::Done));
        let unborn = intent(8, 3, "a", Expect::Any, Some(1));
        assert_eq!(state.apply(token(3), &unborn), Applied::Now(Outcome::Forgotten));
    }

    #[test]
    fn there_is_room_for_so_much() {
        let mut state = State::default();
        for n in 0..70_u8 {
            let outcome = state
                .apply(token(u64::from(n) + 1), &intent(n.into(), 0, &format!("{n:02}"), Expect::Any, Some(16 << 10)));
            let fits = (usize::from(n) + 1) * ((16 << 10) + 2) <= REGISTERS_BYTES_MAX;
            assert_eq!(outcome, Applied::Now(if fits { Outcome::Done } else { Outcome::Full }), "{n}");
        }
        let mut state = State::default();
        for n in 0..=REGISTERS_MAX as u64 {
            let outcome = state.apply(token(n + 1), &intent(n.into(), 0, &n.to_string(), Expect::Any, Some(0)));
            assert_eq!(outcome == Applied::Now(Outcome::Full), n == REGISTERS_MAX as u64);
        }
    }

    quickcheck::quickcheck! {
        fn what_is_written_down_is_read_back(ops: Vec<(u8, u8, Option<u8>)>) -> bool {
            let mut state = State::default();
            for (at, (number, name, value)) in ops.into_iter().enumerate() {
                let value = value.map(usize::from);
                let intent = intent(number.into(), 0, &(name % 8).to_string(), Expect::Any, value);
                state.apply(token(at as u64 + 1), &intent);
            }
            State::decode(&state.encode()) == Ok(state)
        }

        fn bytes_of_anything_are_a_state_or_an_error(bytes: Vec<u8>) -> bool {
            State::decode(&bytes).is_ok() || State::decode(&bytes).is_err()
        }
    }
}
