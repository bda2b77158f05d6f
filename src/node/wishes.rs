//! Who is to vote and who is not, as operators want it: decided, so that every later leader heeds it too.
//!
//! The wishes stand in a register that any peer may ask the voters to set. Whoever leads does the rest (`voters`): who is wanted takes the place of
//! somebody whom nobody wants, once it is ready; who is barred loses its vote when another has come, or as soon as the group decides
//! without it where nobody could.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Node;
use super::decide::VotersChange;
use super::edge::{CommandError, Effect, Outcome};
use crate::consensus::{self, Action, Expect, Name, Value};
use crate::membership::State;
use crate::probe::planted;
use crate::types::{CommandId, NodeId, Now};

/// The register that holds them, as JSON.
pub const WISHES_REGISTER: &str = "voters/wishes";
/// Most peers that are wanted, and most that are barred.
pub(super) const WISHES_MAX: usize = 64;

/// What operators want of the voters. The rules choose among all others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wishes {
    /// These are to vote, before all others.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub wanted: BTreeSet<NodeId>,
    /// These are not.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub barred: BTreeSet<NodeId>,
}

impl Wishes {
    /// Of a register; nothing if this version cannot read it.
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let read: Self = serde_json::from_slice(value).ok()?;
        (read.wanted.len() <= WISHES_MAX && read.barred.len() <= WISHES_MAX).then_some(read)
    }

    fn bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("ids are plain text").into()
    }
}

/// Whether a peer could vote, as an operator's wish sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Able {
    pub(super) node: NodeId,
    /// It is no observer, and has not left.
    pub(super) is_able: bool,
}

/// The wishes after one more.
fn wished(before: &Wishes, change: VotersChange, members: &[Able], places: usize) -> Result<Wishes, CommandError> {
    let refused = |why: String| Err(CommandError::Proposal { why });
    let member = |node: NodeId| members.iter().find(|it| it.node == node);
    let mut next = before.clone();
    match change {
        VotersChange::Add { node } => {
            let it = member(node).ok_or(CommandError::UnknownMember { node })?;
            if !it.is_able {
                return refused(format!("{node} is an observer, or has left: it cannot vote"));
            }
            next.barred.remove(&node);
            next.wanted.insert(node);
            // Whoever is gone for good keeps no place.
            let taken = next.wanted.iter().filter(|id| **id != node && member(**id).is_some_and(|it| it.is_able));
            let taken: Vec<String> = taken.map(ToString::to_string).collect();
            if taken.len() >= places {
                return refused(format!(
                    "all places ({places}, voters.target) are for peers that are wanted: {}; `voters clear` or `voters remove` one of them first",
                    taken.join(", ")
                ));
            }
        }
        VotersChange::Remove { node } => {
            if member(node).is_none() && !before.wanted.contains(&node) {
                return Err(CommandError::UnknownMember { node });
            }
            next.wanted.remove(&node);
            next.barred.insert(node);
            if !members.iter().any(|it| it.is_able && !next.barred.contains(&it.node)) {
                return refused("nobody would be left who may vote".to_owned());
            }
        }
        VotersChange::Clear { node } => {
            if !(next.wanted.remove(&node) | next.barred.remove(&node)) {
                return refused(format!("{node} is neither wanted nor barred"));
            }
        }
        VotersChange::Transfer { .. } => {}
    }
    let most = next.wanted.len().max(next.barred.len());
    if most > WISHES_MAX {
        return refused(format!("at most {WISHES_MAX} peers are wanted, and as many barred: `voters clear` some"));
    }
    Ok(next)
}

impl Node {
    /// The register may have changed.
    pub(super) fn mind_wishes(&mut self) {
        let held = self.register(WISHES_REGISTER);
        let decided = held.as_ref().map(|held| held.token);
        if decided == self.voters.wished_by {
            return;
        }
        let mut wishes = held.and_then(|held| Wishes::read(&held.value)).unwrap_or_default();
        if planted!("node/wish-for-one-leader") && decided.is_some_and(|it| it.term != self.consensus.view().term()) {
            wishes = Wishes::default();
        }
        (self.voters.wishes, self.voters.wished_by) = (wishes, decided);
        self.voters.changed = true;
    }

    /// An operator wants somebody to vote, or not to: it is decided first.
    pub(super) fn wish(&mut self, now: Now, id: CommandId, change: VotersChange) -> Result<(), CommandError> {
        let held = self.register(WISHES_REGISTER);
        let unreadable = "the wishes hold what this version cannot read: `voters clear` forgets them".to_owned();
        let (before, expect) = match &held {
            None => (Wishes::default(), Expect::Absent),
            Some(held) => match (Wishes::read(&held.value), change) {
                (Some(wishes), _) => (wishes, Expect::Set(held.token)),
                // Whatever they are, somebody must be able to begin anew.
                (None, VotersChange::Clear { node }) => {
                    (Wishes { barred: [node].into(), ..Wishes::default() }, Expect::Set(held.token))
                }
                (None, _) => return Err(CommandError::Proposal { why: unreadable }),
            },
        };
        let members = self.membership.view().members();
        let able = members.map(|it| Able { node: it.id, is_able: !it.meta.observer && it.state != State::Left });
        let mut able: Vec<Able> = able.collect();
        // A voter that was not met again since all were restarted can be barred too.
        let deciders = self.consensus.view().deciders().map(|group| group.members()).unwrap_or_default();
        let unmet = deciders.iter().map(|it| it.id.node).filter(|node| able.iter().all(|it| it.node != *node));
        able.extend(unmet.map(|node| Able { node, is_able: false }).collect::<Vec<_>>());
        let next = wished(&before, change, &able, self.voters.places())?;
        let name = Name::new(WISHES_REGISTER).expect("it is short");
        let value = Value::new(next.bytes()).expect("so many ids are short");
        let request = self.ask_voters(now, id, Action { name, expect, value: Some(value) }, None)?;
        self.deciding.wishes.insert(request, next);
        Ok(())
    }

    /// What was wished is decided, or not.
    pub(super) fn on_wished(&mut self, id: CommandId, outcome: consensus::Outcome, wishes: Wishes) {
        let result = match outcome {
            consensus::Outcome::Done => {
                // Who does not lead may hear of the decision after its answer.
                let deciders = super::Deciders { wishes, ..self.deciders() };
                Ok(Outcome::Deciders(Box::new(deciders)))
            }
            consensus::Outcome::Differs { .. } => {
                Err(CommandError::Proposal { why: "something else was wished meanwhile: ask again".to_owned() })
            }
            other => Err(CommandError::Proposal { why: format!("the wish was not taken down: {other:?}") }),
        };
        self.shared.effects.push_back(Effect::Reply { id, result });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u128) -> NodeId {
        NodeId::from_u128(n)
    }

    fn able(nodes: &[u128]) -> Vec<Able> {
        nodes.iter().map(|n| Able { node: node(*n), is_able: *n < 9 }).collect()
    }

    #[test]
    fn a_wish_goes_behind_those_before_it() {
        let members = able(&[1, 2, 3, 4, 9]);
        let mut wishes = Wishes::default();
        let mut wish = |change| {
            let next = wished(&wishes, change, &members, 2)?;
            wishes = next.clone();
            Ok::<_, CommandError>(next)
        };
        let sets = |wishes: &Wishes| (wishes.wanted.len(), wishes.barred.len());
        assert_eq!(wish(VotersChange::Add { node: node(1) }).map(|it| sets(&it)), Ok((1, 0)));
        assert_eq!(
            wish(VotersChange::Remove { node: node(1) }).map(|it| sets(&it)),
            Ok((0, 1)),
            "it is one or the other"
        );
        assert_eq!(wish(VotersChange::Add { node: node(1) }).map(|it| sets(&it)), Ok((1, 0)));
        assert_eq!(wish(VotersChange::Add { node: node(2) }).map(|it| sets(&it)), Ok((2, 0)));
        assert!(matches!(wish(VotersChange::Add { node: node(3) }), Err(CommandError::Proposal { .. })), "two places");
        assert!(matches!(wish(VotersChange::Add { node: node(9) }), Err(CommandError::Proposal { .. })), "an observer");
        let stranger = node(7);
        assert_eq!(wish(VotersChange::Add { node: stranger }), Err(CommandError::UnknownMember { node: stranger }));
        assert_eq!(wish(VotersChange::Remove { node: stranger }), Err(CommandError::UnknownMember { node: stranger }));
        assert!(matches!(wish(VotersChange::Clear { node: node(3) }), Err(CommandError::Proposal { .. })));
        for n in 2..=4 {
            assert!(wish(VotersChange::Remove { node: node(n) }).is_ok());
        }
        assert!(matches!(wish(VotersChange::Remove { node: node(1) }), Err(CommandError::Proposal { .. })), "the last");
        assert_eq!(wish(VotersChange::Clear { node: node(4) }).map(|it| sets(&it)), Ok((1, 2)));
        assert!(wish(VotersChange::Remove { node: node(1) }).is_ok(), "now there is another");
    }

    #[test]
    fn what_is_written_is_read_and_is_bounded() {
        let wishes = Wishes { wanted: [node(2), node(1)].into(), barred: [node(3)].into() };
        let golden = format!(r#"{{"wanted":["{}","{}"],"barred":["{}"]}}"#, node(1), node(2), node(3));
        assert_eq!(wishes.bytes(), golden.as_bytes());
        assert_eq!(Wishes::read(golden.as_bytes()), Some(wishes));
        assert_eq!(Wishes::read(b"{}"), Some(Wishes::default()));
        for wrong in ["", "7", r#"{"more":1}"#, r#"{"wanted":["x"]}"#] {
            assert_eq!(Wishes::read(wrong.as_bytes()), None, "{wrong}");
        }
        let most = Wishes { wanted: (1..=64).map(node).collect(), barred: (65..=128).map(node).collect() };
        assert!(Value::new(most.bytes()).is_some());
        let more = Wishes { wanted: (1..=65).map(node).collect(), ..most };
        assert_eq!(Wishes::read(&more.bytes()), None);
    }
}
