//! Decisions that clients ask for here: an action for the voters, wherever they are, with one answer in time.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::edge::{CommandError, Effect, Outcome};
use super::{Node, Proposed};
use crate::consensus::{Action, Answer, Expect, Intent, Name, Refusal, RequestId, VALUE_MAX, Value};
use crate::types::{CommandId, Now, WallTime};

/// Nobody begins an action that was asked for longer ago.
const EXPIRES: Duration = Duration::from_secs(30);

/// An action that a client wants decided: a register is to be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Which register.
    pub register: String,
    /// What it must hold before.
    pub expect: Expect,
    /// What it is to hold; nothing removes it.
    pub value: Option<Bytes>,
    /// The name under which it was asked before, if it was.
    pub request: Option<RequestId>,
}

/// Clients that wait for a decision.
#[derive(Debug, Default)]
pub(super) struct Deciding(BTreeMap<RequestId, CommandId>);

impl Node {
    /// A client wants something decided.
    pub(super) fn propose(&mut self, now: Now, id: CommandId, proposal: Proposal) -> Result<(), CommandError> {
        let refused = |why: String| CommandError::Proposal { why };
        let Proposal { register, expect, value, request } = proposal;
        let len = register.len();
        let name = Name::new(&register)
            .ok_or_else(|| refused(format!("a register's name has 1 to {} bytes, this one {len}", Name::LEN_MAX)))?;
        let value = match value {
            None => None,
            Some(bytes) => {
                let len = bytes.len();
                let value = Value::new(bytes);
                Some(value.ok_or_else(|| refused(format!("a value has at most {VALUE_MAX} bytes, this one {len}")))?)
            }
        };
        let mut number = || {
            let rng = &mut self.shared.rngs.consensus;
            u128::from(rng.bits()) << 64 | u128::from(rng.bits())
        };
        let born = self.consensus.view().known().index;
        let request = match request {
            Some(request) => request,
            None => RequestId { born, number: number() },
        };
        if self.deciding.0.contains_key(&request) {
            return Err(refused("the same request waits for its answer already".to_owned()));
        }
        self.deciding.0.insert(request, id);
        let expires = now.wall.as_micros().saturating_add(u64::try_from(EXPIRES.as_micros()).unwrap_or(u64::MAX));
        let action = Action { name, expect, value };
        let intent = Intent { request, expires: WallTime::from_micros(expires), action };
        self.shared.step(now, |cx| self.consensus.ask(cx, intent));
        Ok(())
    }

    /// It has its answer.
    pub(super) fn on_asked(&mut self, request: RequestId, result: Result<Answer, Refusal>) {
        let Some(id) = self.deciding.0.remove(&request) else { return };
        let result = match result {
            Ok(Answer::Decided { token, outcome }) => Ok(Outcome::Decided(Proposed { request, token, outcome })),
            Ok(Answer::Unknown) => Err(CommandError::OutcomeUnknown { request }),
            Err(Refusal::NotLeader { leader, epoch, term }) => Err(CommandError::NotLeader { leader, epoch, term }),
            Err(Refusal::NoQuorum) => Err(CommandError::NoQuorum),
            Err(Refusal::Disk(fault)) => Err(CommandError::Disk(fault)),
            Err(other) => Err(CommandError::Proposal { why: other.to_string() }),
        };
        self.shared.effects.push_back(Effect::Reply { id, result });
    }
}
