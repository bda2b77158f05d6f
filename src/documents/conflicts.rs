//! What met in documents, in words for people: places where several values stand, and the trail of all that ever met.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::conflict::{ConflictType, Rule};
use crate::types::{Actor, DocId, Hlc, NodeId};

/// Longest value that is told with what met, in bytes of its JSON; of a longer one only the length is told.
pub(super) const TOLD_MAX: usize = 4 << 10;

/// A place in a document where different values stand, or where somebody removed what another one wrote: neither had seen what the
/// other did. What Automerge merges without a loss (edits of a list or text, counts) is not open; [`Meeting`]s tell of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct OpenConflict {
    /// Which document.
    pub doc: DocId,
    /// Where: a JSON Pointer (RFC 6901); empty where the whole document was deleted. What stood inside of something that was removed is told
    /// at the place of that.
    pub path: String,
    /// What kind of writes met: [`DeleteWrite`](ConflictType::DeleteWrite) if a removal is among them.
    pub kind: ConflictType,
    /// The rule by which it is decided which value shows. A removal never shows where a value stands, whatever the rule is.
    pub rule: Rule,
    /// A short name for all that stands here, whole values included. Who chooses by it ([`Edit::Choose`](super::Edit::Choose)) supersedes
    /// nothing that this does not tell: where something else stands by then the choice is refused.
    pub seen: String,
    /// The values that stand, and the removals that met them; the latest first.
    pub values: Vec<Standing>,
}

/// A value that stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Standing {
    /// The value. It is no value to settle by where it is told short: `null` with [`bytes`](Self::bytes) if it is long, with
    /// [`removed`](Self::removed) and with [`lost`](Self::lost). To settle by what stands, whatever it is, name its change:
    /// [`Edit::Choose`](super::Edit::Choose).
    pub value: Value,
    /// Bytes of its JSON, if it is too long to be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<usize>,
    /// That it is no value, but a removal of what was there; `value` is `null`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// That it is no value, but was added to a counter which a removal took away, or written inside of what one took away; `value` is
    /// `null`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
    /// Whether it is the one that shows: of a removal, whether nothing does.
    pub shows: bool,
    /// The change that wrote it.
    #[serde(flatten)]
    pub by: ChangeStamp,
}

/// A change: which, whose, and when by the document's own hybrid logical clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ChangeStamp {
    /// Its hash, as hex.
    pub change: String,
    /// Who made it; absent if a foreign tool wrote the actor.
    pub actor: Option<Actor>,
    /// When. It is above that of every change that its writer had seen.
    pub at: Hlc,
}

impl ChangeStamp {
    /// The peer that made it.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        self.actor.map(|actor| actor.node)
    }
}

/// Two changes that wrote one place without having seen each other: an entry of the trail. It follows from the document's history and
/// from what was decided about policies, so it is the same on every peer that holds both changes and has heard of the same decisions,
/// and as durable as they are.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Meeting {
    /// Which document.
    pub doc: DocId,
    /// Where: a JSON Pointer (RFC 6901); an element of a list, whose index changes, is named `@` and the number of its insertion.
    pub path: String,
    /// The same place by the indices of today, where elements of lists are on the way and all of them stand still.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stands_at: Option<String>,
    /// What kind of writes met.
    pub kind: ConflictType,
    /// The rule by which it was decided what shows: of the policies that held [when](Self::at) they met, at the place by its indices of
    /// [today](Self::stands_at) as documents ask for it, or by insertion where an element stands no more. Where all of it stays there was
    /// nothing to decide.
    pub rule: Option<Rule>,
    /// The two of them, the earlier first.
    pub sides: [Side; 2],
    /// Which of the sides won by the rule of then, 0 or 1; absent where both stay, and where a function made a value of them.
    pub winner: Option<usize>,
    /// That the policies of then are not remembered any more: rule and winner are by the oldest that are.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub forgotten: bool,
    /// Which of the sides shows by the policies of today, unless it was settled; absent as in [`winner`](Self::winner).
    pub shows: Option<usize>,
    /// The first change that wrote the place, or took away what holds it, after its writer had seen both: from then on it was settled.
    pub settled: Option<Side>,
}

impl Meeting {
    /// When they had met at the earliest: the later one's stamp.
    #[must_use]
    pub fn at(&self) -> Hlc {
        self.sides[1].by.at
    }

    /// Whether this peer wrote a side of it or settled it.
    #[must_use]
    pub fn is_of(&self, node: NodeId) -> bool {
        self.sides.iter().chain(&self.settled).any(|side| side.by.node() == Some(node))
    }
}

/// One side of a meeting.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Side {
    /// What it wrote there.
    #[serde(flatten)]
    pub wrote: Wrote,
    /// The change.
    #[serde(flatten)]
    pub by: ChangeStamp,
}

/// What a change did at a place.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Wrote {
    /// It set the place to this value.
    Set {
        /// The value.
        value: Value,
    },
    /// It set the place to a value whose JSON is too long to be told.
    SetLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// It made an object, a list, a text or a counter there.
    Made {
        /// Which of them.
        what: &'static str,
    },
    /// It inserted into the list or text there, or removed from it; or added to the counter.
    Edited {
        /// Which of them.
        what: &'static str,
    },
    /// It removed what was there.
    Removed,
    /// It edited the document, somewhere.
    Wrote,
}

/// Which entries of the trail are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wish {
    /// Only what met at this moment or later.
    pub since: Option<Hlc>,
    /// Only what met before this moment.
    pub until: Option<Hlc>,
    /// Only where this peer wrote a side, or settled it.
    pub by: Option<NodeId>,
}

impl Wish {
    /// Whether an entry is wanted.
    #[must_use]
    pub fn takes(&self, meeting: &Meeting) -> bool {
        let at = meeting.at();
        self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at < until)
            && self.by.is_none_or(|by| meeting.is_of(by))
    }
}

/// What a worker found in one document.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Found {
    /// Places where several values stand, in order of path; whether there are more.
    Open(Vec<OpenConflict>, bool),
    /// What met, the newest first; whether there was more than is kept.
    Trail(Vec<Meeting>, bool),
}

impl Found {
    /// How many entries.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Open(open, _) => open.len(),
            Self::Trail(trail, _) => trail.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What is looked for in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Look {
    /// Places where several values stand.
    Open,
    /// All that ever met.
    Trail,
}
