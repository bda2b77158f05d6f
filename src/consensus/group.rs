//! Who decides: the voters and learners of a group, their ranks and majorities.

use std::cmp::Reverse;
use std::sync::Arc;

use bincode::{Decode, Encode};
use serde::Serialize;

use super::bounded::List;
use crate::types::{Actor, NodeId};

/// Most voters. More only make every decision slower.
pub const VOTERS_MAX: usize = 7;
/// Most voters and learners together.
pub const MEMBERS_MAX: usize = 32;
/// So many names of removed members are remembered, to refuse them.
const RETIRED_MAX: usize = 64;

/// One that takes part: a node, with one history of its store. A node that lost its store comes back under another name, since the
/// votes of the old one are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize)]
pub struct Member {
    /// Its name.
    pub id: Actor,
    /// Whether its vote counts. A learner takes the log and has no voice.
    pub voter: bool,
    /// The higher, the sooner it seeks office. That is a wish and no rule: whoever has the log may be elected.
    pub priority: u8,
}

/// A change of the group. One at a time, of one member: so any majority before and any after have a voter in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// Somebody takes the log from now on.
    AddLearner {
        /// Who.
        id: Actor,
        /// Its wish for office.
        priority: u8,
    },
    /// A learner that has the log becomes a voter.
    Promote {
        /// Who.
        id: Actor,
    },
    /// A member is one no more, and never again under this name.
    Remove {
        /// Who.
        id: Actor,
    },
}

/// Why a group cannot be changed so. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// It is a member.
    #[error("{0:?} is a member already")]
    Member(Actor),
    /// It is no learner.
    #[error("{0:?} is no learner")]
    NoLearner(Actor),
    /// It is no member.
    #[error("{0:?} is no member")]
    NoMember(Actor),
    /// It was removed before: a name is used once.
    #[error("{0:?} was removed before; it has to come back under a new name")]
    Retired(Actor),
    /// There would be too many.
    #[error("a group has at most {VOTERS_MAX} voters and {MEMBERS_MAX} members")]
    TooMany,
    /// There would be no voter.
    #[error("a group needs a voter")]
    NoVoter,
}

/// The members, in order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Group {
    members: List<Member, MEMBERS_MAX>,
    /// Who was removed last, oldest first.
    retired: List<Actor, RETIRED_MAX>,
}

impl Group {
    /// A group of these voters, with their priorities.
    ///
    /// # Errors
    /// There are none, too many, or one twice.
    pub fn of(voters: &[(Actor, u8)]) -> Result<Self, GroupError> {
        let mut members: Vec<Member> =
            voters.iter().map(|(id, priority)| Member { id: *id, voter: true, priority: *priority }).collect();
        members.sort_unstable();
        if let Some(twice) = members.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(GroupError::Member(twice[0].id));
        }
        Self::default().with(members, Vec::new())
    }

    fn with(&self, members: Vec<Member>, retired: Vec<Actor>) -> Result<Self, GroupError> {
        let voters = members.iter().filter(|member| member.voter).count();
        if voters == 0 {
            return Err(GroupError::NoVoter);
        }
        if voters > VOTERS_MAX {
            return Err(GroupError::TooMany);
        }
        let mut all = self.retired.to_vec();
        all.extend(retired);
        let surplus = all.len().saturating_sub(RETIRED_MAX);
        all.drain(..surplus);
        let members = List::new(members).ok_or(GroupError::TooMany)?;
        Ok(Self { members, retired: List::new(all).expect("cut above") })
    }

    /// The group after a change.
    ///
    /// # Errors
    /// [`GroupError`] says why it cannot be made.
    pub fn changed(&self, change: Change) -> Result<Self, GroupError> {
        let mut members = self.members.to_vec();
        match change {
            Change::AddLearner { id, .. } if self.retired.contains(&id) => Err(GroupError::Retired(id)),
            Change::AddLearner { id, .. } if self.member(id).is_some() => Err(GroupError::Member(id)),
            Change::AddLearner { id, priority } => {
                members.push(Member { id, voter: false, priority });
                members.sort_unstable();
                self.with(members, Vec::new())
            }
            Change::Promote { id } => {
                let learner = members.iter_mut().find(|member| member.id == id && !member.voter);
                learner.ok_or(GroupError::NoLearner(id))?.voter = true;
                self.with(members, Vec::new())
            }
            Change::Remove { id } => {
                self.member(id).ok_or(GroupError::NoMember(id))?;
                members.retain(|member| member.id != id);
                self.with(members, vec![id])
            }
        }
    }

    /// Whether it keeps what a group must keep; one that was decoded may not.
    pub(super) fn is_sound(&self) -> bool {
        let ordered = self.members.windows(2).all(|pair| pair[0].id < pair[1].id);
        ordered && (1..=VOTERS_MAX).contains(&self.voters().count())
    }

    /// All members, in order of name.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Those that vote.
    pub fn voters(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.voter)
    }

    /// One of them.
    #[must_use]
    pub fn member(&self, id: Actor) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// Whether its vote counts.
    #[must_use]
    pub fn is_voter(&self, id: Actor) -> bool {
        self.member(id).is_some_and(|member| member.voter)
    }

    /// Whether it was removed lately.
    #[must_use]
    pub fn is_retired(&self, id: Actor) -> bool {
        self.retired.contains(&id)
    }

    /// Who was removed last.
    pub(super) fn last_removed(&self) -> Option<Actor> {
        self.retired.last().copied()
    }

    /// Who of this node was removed last.
    pub(super) fn last_removed_at(&self, node: NodeId) -> Option<Actor> {
        self.retired.iter().rev().find(|id| id.node == node).copied()
    }

    /// The members at this node. Two, while a store that was lost is being replaced.
    pub fn at(&self, node: NodeId) -> impl Iterator<Item = Actor> {
        self.members.iter().map(|member| member.id).filter(move |id| id.node == node)
    }

    /// How many voters make a majority.
    #[must_use]
    pub fn quorum(&self) -> usize {
        self.voters().count() / 2 + 1
    }

    /// Whether a majority of the voters is so.
    pub fn majority(&self, is_so: impl Fn(Actor) -> bool) -> bool {
        self.voters().filter(|voter| is_so(voter.id)).count() >= self.quorum()
    }

    /// The highest value that a majority of the voters has reached.
    pub fn reached<T: Ord + Copy>(&self, value: impl Fn(Actor) -> T) -> T {
        let mut values: Vec<T> = self.voters().map(|voter| value(voter.id)).collect();
        values.sort_unstable_by_key(|value| Reverse(*value));
        values[self.quorum() - 1]
    }

    /// When it is the turn of this voter to follow somebody in office: 0 is first. The higher priority, then the lower name.
    #[must_use]
    pub fn rank(&self, id: Actor, leader: Actor) -> Option<u32> {
        let mut voters: Vec<&Member> = self.voters().filter(|voter| voter.id != leader).collect();
        voters.sort_unstable_by_key(|voter| (Reverse(voter.priority), voter.id));
        voters.iter().position(|voter| voter.id == id).and_then(|rank| u32::try_from(rank).ok())
    }
}

/// The groups that the log names, from the one in force at its base on: entries may still be taken back.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups(Vec<(u64, Arc<Group>)>);

impl Groups {
    pub(super) fn reset(&mut self, index: u64, group: Arc<Group>) {
        self.0 = vec![(index, group)];
    }

    pub(super) fn push(&mut self, index: u64, group: Arc<Group>) {
        self.0.push((index, group));
    }

    /// Entries from this one on are gone.
    pub(super) fn truncate(&mut self, from: u64) {
        while self.0.len() > 1 && self.0.last().is_some_and(|(index, _)| *index >= from) {
            self.0.pop();
        }
    }

    /// Entries up to this one are not needed any more.
    pub(super) fn compact(&mut self, upto: u64) {
        let gone = self.0.iter().take_while(|(index, _)| *index <= upto).count().saturating_sub(1);
        self.0.drain(..gone);
    }

    /// The latest, whether committed or not, and where it stands (Ongaro's dissertation, section 4.1).
    pub(super) fn latest(&self) -> Option<(u64, &Arc<Group>)> {
        self.0.last().map(|(index, group)| (*index, group))
    }

    /// The one in force at this entry, and all behind it.
    #[cfg(test)]
    pub(super) fn from(&self, index: u64) -> impl Iterator<Item = &Arc<Group>> {
        let before = self.0.iter().take_while(|(at, _)| *at <= index).count();
        self.0.iter().skip(before.saturating_sub(1)).map(|(_, group)| group)
    }

    /// The latest, and while that is not certain the one before: what it would be if the change were taken back. No other can come back:
    /// a change is begun when the one before it is committed, so of all in a log only the last may not be, however little is known of that here.
    pub(super) fn in_doubt(&self, commit: u64) -> impl Iterator<Item = &Arc<Group>> {
        let count = if self.0.last().is_some_and(|(index, _)| *index > commit) { 2 } else { 1 };
        self.0.iter().rev().take(count).map(|(_, group)| group)
    }

    /// The one in force up to this entry.
    pub(super) fn at(&self, index: u64) -> Option<&Arc<Group>> {
        self.0.iter().rev().find(|(at, _)| *at <= index).map(|(_, group)| group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Mint;

    fn id(n: u128) -> Actor {
        Actor { node: NodeId::from_u128(n), mint: Mint::new(1) }
    }

    #[test]
    fn majorities_are_more_than_half() {
        for (voters, quorum) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)] {
            let group = Group::of(&(1..=voters).map(|n| (id(n), 0)).collect::<Vec<_>>()).unwrap();
            assert_eq!(group.quorum(), quorum, "{voters}");
            // What the first `quorum` voters have reached is reached, not what fewer have.
            let value = |of: Actor| u128::from(of.node <= NodeId::from_u128(quorum as u128)) * 7;
            assert_eq!(group.reached(value), 7);
            let value = |of: Actor| u128::from(of.node < NodeId::from_u128(quorum as u128)) * 7;
            assert_eq!(group.reached(value), 0);
        }
    }

    #[test]
    fn ranks_go_by_priority_then_name_without_the_leader() {
        let group = Group::of(&[(id(1), 0), (id(2), 5), (id(3), 5)]).unwrap();
        let ranks = |leader| [1, 2, 3].map(|n| group.rank(id(n), id(leader)));
        assert_eq!(ranks(1), [None, Some(0), Some(1)]);
        assert_eq!(ranks(2), [Some(1), None, Some(0)]);
        assert_eq!(ranks(9), [Some(2), Some(0), Some(1)]);
    }

    #[test]
    fn changes_go_by_way_of_a_learner_and_names_are_used_once() {
        let group = Group::of(&[(id(1), 0)]).unwrap();
        assert_eq!(group.changed(Change::Promote { id: id(2) }), Err(GroupError::NoLearner(id(2))));
        assert_eq!(group.changed(Change::Remove { id: id(1) }), Err(GroupError::NoVoter));
        let group = group.changed(Change::AddLearner { id: id(2), priority: 0 }).unwrap();
        assert_eq!((group.quorum(), group.is_voter(id(2))), (1, false));
        let group = group.changed(Change::Promote { id: id(2) }).unwrap();
        assert_eq!(group.quorum(), 2);
        let group = group.changed(Change::Remove { id: id(2) }).unwrap();
        let again = Change::AddLearner { id: id(2), priority: 0 };
        assert_eq!(group.changed(again), Err(GroupError::Retired(id(2))));
        assert_eq!(Group::of(&[(id(1), 0), (id(1), 1)]), Err(GroupError::Member(id(1))));
    }

    #[test]
    fn a_group_holds_so_many_and_forgets_the_oldest_of_the_removed() {
        let many: Vec<_> = (1..=8).map(|n| (id(n), 0)).collect();
        assert_eq!(Group::of(&many), Err(GroupError::TooMany));
        let mut group = Group::of(&many[..1]).unwrap();
        for n in 2..=70 {
            group = group.changed(Change::AddLearner { id: id(n), priority: 0 }).unwrap();
            group = group.changed(Change::Remove { id: id(n) }).unwrap();
        }
        assert_eq!((group.retired.len(), group.is_retired(id(2)), group.is_retired(id(70))), (64, false, true));
        assert!(group.is_sound() && !Group::default().is_sound());
    }

    #[test]
    fn groups_follow_the_log() {
        let of = |n| Arc::new(Group::of(&[(id(n), 0)]).unwrap());
        let mut groups = Groups::default();
        groups.reset(5, of(5));
        groups.push(7, of(7));
        groups.push(9, of(9));
        assert_eq!((groups.at(4), groups.at(8), groups.latest()), (None, Some(&of(7)), Some((9, &of(9)))));
        let in_doubt = |groups: &Groups, commit| groups.in_doubt(commit).cloned().collect::<Vec<_>>();
        assert_eq!(in_doubt(&groups, 9), [of(9)]);
        assert_eq!(in_doubt(&groups, 8), [of(9), of(7)]);
        assert_eq!(in_doubt(&groups, 5), [of(9), of(7)], "9 was begun when 7 was certain");
        groups.truncate(9);
        assert_eq!(groups.latest(), Some((7, &of(7))));
        assert_eq!(in_doubt(&groups, 5), [of(7), of(5)]);
        groups.compact(8);
        assert_eq!((groups.at(6), groups.at(7)), (None, Some(&of(7))));
        groups.truncate(2);
        assert_eq!(groups.latest(), Some((7, &of(7))));
        assert_eq!((in_doubt(&groups, 7), in_doubt(&Groups::default(), 0)), (vec![of(7)], vec![]));
    }
}
