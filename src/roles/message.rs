//! What holders and the leader tell each other. All of it may be lost, doubled or late: everything is said again until it is answered.

use std::time::Duration;

use bincode::{Decode, Encode};

use super::vocabulary::{Fault, OrderError, OrderWhat, RoleName};
use crate::consensus::{COUNT_MAX, Name, RequestId, Token};
use crate::failover::LEASE_MAX;
use crate::types::WallTime;

/// A message about one role.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Message {
    /// Which.
    pub role: RoleName,
    /// The holder's token; of orders none.
    pub token: Token,
    /// What.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Body {
    /// Leader to holder: you were granted the role. Said until it renews.
    Granted {
        /// Its lease, in microseconds.
        lease_us: u64,
        /// The limit of its hooks, in microseconds.
        hooks_us: u64,
    },
    /// Holder to leader: I want to go on.
    Renew {
        /// Names the answer.
        number: u64,
        /// The hooks that begin its work are done.
        ready: bool,
    },
    /// Leader to holder: go on, for so long after you asked.
    Renewed {
        /// What is answered.
        number: u64,
        /// So long, in microseconds. The holder leaves the end of it unused.
        left_us: u64,
    },
    /// Leader to holder: stop, and say when you have.
    Stop,
    /// Holder to leader: I stopped, and shall never act under this token again.
    Stopped {
        /// The role should go to somebody else.
        is_wish: bool,
    },
    /// Leader to holder: I know that you stopped.
    Noted,
    /// Leader to whoever shows an older token: the role was granted anew, by this one or later.
    Superseded {
        /// By this.
        by: Token,
    },
    /// Anybody to the leader: an operator orders this.
    Order {
        /// Its name.
        id: RequestId,
        /// It is not begun after this.
        expires: WallTime,
        /// Who wants it.
        by: Name,
        /// What.
        what: OrderWhat,
    },
    /// The answer.
    Ordered {
        /// To this order.
        id: RequestId,
        /// By which decision, or why not.
        result: Result<Token, OrderError>,
    },
}

impl Message {
    /// What can be said of it without knowing anything else.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let by = match self.body {
            Body::Superseded { by } | Body::Ordered { result: Ok(by), .. } => by,
            _ => self.token,
        };
        for token in [self.token, by] {
            let counts = [token.epoch.value(), token.term.value(), token.index.value()];
            if counts.into_iter().any(|count| count >= COUNT_MAX) {
                return Err(Fault::Token(token));
            }
        }
        if let Body::Granted { lease_us, hooks_us } = self.body {
            let (lease, hooks) = (Duration::from_micros(lease_us), Duration::from_micros(hooks_us));
            if lease > LEASE_MAX || hooks > LEASE_MAX || lease.is_zero() {
                return Err(Fault::Immense { lease, hooks });
            }
        }
        Ok(())
    }
}
