//! The words of this room: names of roles, what an operator orders, what is told, and why not.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::consensus::{Blob, Intent, Name, RequestId, Token};
use crate::failover::{FailoverState, Ineligible};
use crate::types::{DiskFault, NodeId, Time, WallTime};

/// Most roles in a mesh.
pub const ROLES_MAX: usize = 64;

/// The name of a role: lower-case letters, digits, `-`, `_` and `.`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct RoleName(Arc<str>);

/// What stands before a role's name in the name of its register. Nobody else may set such registers.
pub const REGISTER_PREFIX: &str = "role/";

/// Why a text is no role's name. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no name of a role: 1 to {max} lower-case letters, digits, '-', '_' and '.'", max = RoleName::LEN_MAX)]
pub struct RoleNameError {
    /// The text.
    pub text: String,
}

impl RoleName {
    /// Longest name, in bytes.
    pub const LEN_MAX: usize = 64;

    /// This name.
    ///
    /// # Errors
    /// It is empty, too long, or has other characters.
    pub fn new(text: &str) -> Result<Self, RoleNameError> {
        let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        let is_name = (1..=Self::LEN_MAX).contains(&text.len()) && text.chars().all(is_allowed);
        if is_name { Ok(Self(text.into())) } else { Err(RoleNameError { text: text.to_owned() }) }
    }

    /// The role that every mesh has.
    #[must_use]
    pub fn primary() -> Self {
        Self("primary".into())
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its register.
    #[must_use]
    pub fn register(&self) -> Name {
        Name::new(&format!("{REGISTER_PREFIX}{}", self.0)).expect("shorter than a register's name may be")
    }

    /// The role of a register, if it is one's.
    #[must_use]
    pub fn of_register(name: &Name) -> Option<Self> {
        name.as_str().strip_prefix(REGISTER_PREFIX).and_then(|text| Self::new(text).ok())
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<RoleName> for String {
    fn from(name: RoleName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl TryFrom<String> for RoleName {
    type Error = RoleNameError;
    fn try_from(text: String) -> Result<Self, RoleNameError> {
        Self::new(&text)
    }
}

impl Encode for RoleName {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.as_bytes().encode(encoder)
    }
}

impl<C> Decode<C> for RoleName {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let bytes = Blob::<{ Self::LEN_MAX }>::decode(decoder)?;
        let name = std::str::from_utf8(bytes.bytes()).ok().and_then(|text| Self::new(text).ok());
        name.ok_or(DecodeError::Other("this is no name of a role"))
    }
}
impl<'de, C> BorrowDecode<'de, C> for RoleName {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Decode::decode(decoder)
    }
}

/// A timer of this room.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A holder lets hear from it.
    Renew(RoleName),
    /// A holder's lease is over.
    Fence(RoleName),
    /// Hooks that begin its work, or those that end it, have had their time.
    Hooks(RoleName),
    /// The leader looks at all roles.
    Look,
    /// Orders that are passed on are looked at.
    Pass,
}

/// What the machine asks for a write, to know it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// About this role.
    pub role: RoleName,
    /// This token is durable then.
    pub token: Token,
    /// This peer is about to begin under it.
    pub begins: bool,
}

/// Why a role was given to whom it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nobody had held it.
    First,
    /// The holder fell silent.
    Failed,
    /// The holder gave it up, or could not renew it.
    Released,
    /// Whoever was granted it did not begin.
    NotBegun,
    /// An operator moved it.
    Switchover,
    /// It went back to who is preferred.
    Failback,
    /// An operator took it from everybody.
    Withdrawn,
}

impl Reason {
    /// Whether such promotions are limited: what the holder is asked may have been its end, and be the next one's. Who gave the role up, or says that it
    /// could not renew its lease, is well: how often that happens is no reason to have nobody hold the role.
    #[must_use]
    pub fn is_limited(self) -> bool {
        matches!(self, Self::Failed | Self::NotBegun | Self::Failback)
    }
}

/// Why a holder stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Its lease was not renewed.
    Lapsed,
    /// The leader wants it: the role is moved.
    Ordered,
    /// Somebody else was granted the role.
    Superseded,
    /// It held the role in a life before, and nobody ended that work.
    Restarted,
    /// The hooks that begin its work failed, or had not ended in time.
    HookFailed,
    /// This peer gives the role up.
    GivenUp,
}

impl Why {
    /// Whether the role should go to somebody else, if there is one.
    #[must_use]
    pub fn is_wish(self) -> bool {
        matches!(self, Self::HookFailed | Self::GivenUp)
    }
}

/// Which hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hooks {
    /// Those that begin the work, for [`Event::Promote`].
    Begin,
    /// Those that end it, for [`Event::Demote`].
    End,
}

/// What an operator wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its name, as of every request: the decision that it comes to has the same one.
    pub id: RequestId,
    /// It is not begun after this.
    pub expires: WallTime,
    /// Who wants it, for the history.
    pub by: Name,
    /// About which role.
    pub role: RoleName,
    /// What.
    pub what: OrderWhat,
}

/// What is wanted of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum OrderWhat {
    /// It goes to this peer, or to the best of the others.
    Move {
        /// To whom.
        to: Option<NodeId>,
    },
    /// Its holder stops, and nobody holds it until it is moved or resumed.
    Release,
    /// It stays where it is until an operator says otherwise.
    Pause,
    /// It is granted by the rules again; promotions are counted anew.
    Resume,
}

/// Why an order is not carried out. Nothing was decided by it, if that is not [`OrderError::Unknown`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Encode, Decode)]
#[non_exhaustive]
pub enum OrderError {
    /// Somebody else leads, or nobody does.
    #[error("this peer does not lead")]
    NotLeader {
        /// Who does, as far as is known.
        leader: Option<NodeId>,
    },
    /// This peer was elected just now and does not know yet all that is decided.
    #[error("this peer leads, and does not know all decisions yet; try again")]
    NotSettled,
    /// Its time had passed.
    #[error("the order expired at {expires}")]
    Expired {
        /// When.
        expires: WallTime,
    },
    /// Another one is being carried out.
    #[error("another order about this role is being carried out")]
    Busy,
    /// No such role is held or configured.
    #[error("there is no role {role}")]
    NoRole {
        /// Which.
        role: RoleName,
    },
    /// Whom it names may not take over.
    #[error("{node} cannot hold the role: {why}")]
    Ineligible {
        /// Whom.
        node: NodeId,
        /// Why not.
        why: Ineligible,
    },
    /// Nobody may take over.
    #[error("no other peer may hold the role")]
    NoCandidate,
    /// It is so already.
    #[error("it is so already")]
    Already,
    /// The register holds what this version cannot read.
    #[error("the role's register cannot be read by this version")]
    Unreadable,
    /// Something else was decided meanwhile.
    #[error("something else was decided about the role meanwhile")]
    Overtaken,
    /// The leader lost its office before it knew: asking for the outcome of the same id tells.
    #[error("the leader lost its office; whether it will be done is not known")]
    Unknown,
}

/// What an operator should look at. Told once until the role is well again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "alert", rename_all = "snake_case")]
pub enum Alert {
    /// Nobody is eligible.
    NoCandidate,
    /// Nobody is promoted without an operator: that is configured, or the role is paused.
    Held,
    /// Too many promotions: the next only after this.
    TooMany {
        /// When.
        until: WallTime,
    },
    /// The register holds what this version cannot read.
    Unreadable,
}

/// Whoever shows this token is to be heeded, or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Now: no higher one was seen, and this one is durable.
    Admitted,
    /// The disk has to answer first: [`Event::Admitted`] comes.
    Later,
}

/// Why a token is not heeded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The role was granted anew.
    #[error("the token is {shown}, {highest} was seen: the role was granted anew")]
    Stale {
        /// What was shown.
        shown: Token,
        /// The highest that was seen.
        highest: Token,
    },
    /// No decision can have been made under it. Nothing was written down.
    #[error("the token {shown} is beyond all that can be decided where the highest known is {known}: it is no grant's")]
    Beyond {
        /// What was shown.
        shown: Token,
        /// The highest that is known here.
        known: Token,
    },
    /// It could not be written down.
    #[error("the disk failed: {0}")]
    Disk(DiskFault),
    /// There are too many roles.
    #[error("there are {ROLES_MAX} roles already")]
    TooMany,
}

/// A frame that no correct peer sends. It was ignored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A lease, or a limit, beyond what can be configured.
    #[error("a lease of {lease:?} and hooks of {hooks:?}")]
    Immense {
        /// The lease.
        lease: Duration,
        /// The limit of hooks.
        hooks: Duration,
    },
    /// A counter beyond what can be counted to.
    #[error("a token {0} beyond all that can be counted to")]
    Token(Token),
}

/// What this room tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The leader wants this decided. The host proposes it, tells a refusal by [`on_refused`](super::Roles::on_refused) and
    /// what came of it by [`on_decided`](super::Roles::on_decided).
    Propose {
        /// What.
        intent: Intent,
    },
    /// This peer holds a role from now on, until [`Event::Demote`] and as long as [`View::holds`](super::View::holds) says so. Its hooks run,
    /// and their end is told by [`on_hooks_done`](super::Roles::on_hooks_done).
    Promote {
        /// Which.
        role: RoleName,
        /// Under this token.
        token: Token,
        /// Hooks that run longer than this are stopped by a demotion.
        limit: Duration,
    },
    /// This peer holds the role no more. Hooks that still begin the work are stopped, then those run that end it, and their end is told by
    /// [`on_hooks_done`](super::Roles::on_hooks_done).
    Demote {
        /// Which.
        role: RoleName,
        /// The token under which it held it.
        token: Token,
        /// Why.
        why: Why,
        /// Hooks that run longer than this are stopped.
        limit: Duration,
    },
    /// The hooks of a demotion have had their time: they are stopped now, and their end is told.
    StopHooks {
        /// Which.
        role: RoleName,
        /// Under which token.
        token: Token,
    },
    /// The leader sees a role elsewhere in a failover.
    Moved {
        /// Which.
        role: RoleName,
        /// Where it stood.
        from: FailoverState,
        /// Where it stands.
        to: FailoverState,
        /// Since when.
        at: Time,
    },
    /// A failover is complete.
    Completed {
        /// Of which role.
        role: RoleName,
        /// Who holds it now.
        holder: NodeId,
        /// Under this token.
        token: Token,
        /// From the first sign of trouble on.
        took: Duration,
    },
    /// An operator should look.
    Alert {
        /// At this role.
        role: RoleName,
        /// Why.
        alert: Alert,
    },
    /// An order that was taken on has its answer.
    Ordered {
        /// Which.
        id: RequestId,
        /// By which decision, or why not.
        result: Result<Token, OrderError>,
    },
    /// What waited for the disk may be done: its token is durable, and none higher was seen. Or not.
    Admitted {
        /// As given to [`admit`](super::Roles::admit).
        ticket: u64,
        /// Whether.
        result: Result<(), Refused>,
    },
    /// A peer sent what no correct one does.
    PeerFault {
        /// Which.
        peer: NodeId,
        /// What.
        fault: Fault,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["primary", "backup-runner", "a.b_c-9"] {
            let name = RoleName::new(good).unwrap();
            assert_eq!(RoleName::of_register(&name.register()), Some(name));
        }
        for bad in ["", "Primary", "a/b", "é", &"a".repeat(65)] {
            assert!(RoleName::new(bad).unwrap_err().to_string().contains("is no name of a role"), "{bad}");
        }
        assert_eq!(RoleName::of_register(&Name::new("other/primary").unwrap()), None);
    }
}
