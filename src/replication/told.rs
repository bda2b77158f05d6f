//! What a neighbour was told of who holds what, and what it may be told.

use super::replicas::{Replicas, Row};
use crate::types::NodeId;

/// Bytes a second over each link that may always be told.
const FLOOR: i64 = 8;
/// Of how many bytes of entries one may be told.
const SHARE: i64 = 200;
/// What may be saved up, in bytes.
const SAVED_MAX: i64 = 16 << 10;

/// Of each member up to which change, in order of their ids: looked up for all that is heard and told.
#[derive(Debug, Default)]
pub(super) struct Upto(Vec<(NodeId, u64)>);

impl Upto {
    /// Up to which change of this member; zero if nothing was told.
    pub(super) fn get(&self, member: NodeId) -> u64 {
        self.place(member).map_or(0, |place| self.0[place].1)
    }

    /// Whether it was told of this member, up to this change.
    pub(super) fn has(&self, member: NodeId, change: u64) -> bool {
        self.place(member).is_ok_and(|place| change <= self.0[place].1)
    }

    /// It is told up to this change if it was not, and if this may be said to one who was told up to an earlier one. Says whether it is.
    pub(super) fn insert_if(&mut self, member: NodeId, change: u64, may: impl FnOnce(u64) -> bool) -> bool {
        let place = self.place(member);
        let told = place.map_or(0, |place| self.0[place].1);
        if place.is_ok() && change <= told || !may(told) {
            return false;
        }
        match place {
            Ok(place) => self.0[place].1 = change,
            Err(place) => self.0.insert(place, (member, change)),
        }
        true
    }

    /// It was told up to this change; gives up to which it was told before.
    pub(super) fn insert(&mut self, member: NodeId, change: u64) -> u64 {
        match self.place(member) {
            Ok(place) => std::mem::replace(&mut self.0[place].1, change),
            Err(place) => {
                self.0.insert(place, (member, change));
                0
            }
        }
    }

    fn remove(&mut self, member: NodeId) {
        if let Ok(place) = self.place(member) {
            self.0.remove(place);
        }
    }

    fn place(&self, member: NodeId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&member, |(id, _)| *id)
    }
}

/// What a neighbour was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Of each member up to which change.
    pub(super) upto: Upto,
    /// Of every member but itself it was told all up to this change.
    pub(super) whole: u64,
    /// With whom to go on.
    pub(super) next: Option<NodeId>,
    /// Bytes that may be told.
    pub(super) allowance: i64,
}

impl Told {
    /// The members of whom there is something that it was not told, in order, and the row of each. What it was told whole stays so,
    /// since changes are numbered on.
    pub(super) fn untold<'a>(&mut self, to: NodeId, replicas: &'a Replicas) -> Vec<(NodeId, &'a Row)> {
        let mut untold = Vec::new();
        if replicas.stamp() > self.whole {
            let mut upto = self.upto.0.iter().peekable();
            for (id, row) in replicas.iter().filter(|(id, row)| *id != to && row.stamp > self.whole) {
                while upto.next_if(|(other, _)| *other < id).is_some() {}
                if row.stamp > upto.peek().filter(|(other, _)| *other == id).map_or(0, |(_, told)| *told) {
                    untold.push((id, row));
                }
            }
        }
        self.whole = untold.iter().map(|(_, row)| row.stamp - 1).min().unwrap_or_else(|| replicas.stamp());
        untold
    }

    /// Of those of whom it is to be told, and was not told all, the one with whom to begin: who is next, or comes first behind.
    pub(super) fn first_untold(
        &mut self,
        to: NodeId,
        replicas: &Replicas,
        is_news: impl Fn(NodeId, &Row) -> bool,
    ) -> Option<NodeId> {
        if replicas.stamp() <= self.whole {
            return None;
        }
        let upto = |id: &NodeId| self.upto.get(*id);
        let mut none = true;
        for (id, row) in replicas.from(self.next).filter(|(id, row)| *id != to && row.stamp > self.whole.max(upto(id)))
        {
            if is_news(id, row) {
                return Some(id);
            }
            none = false;
        }
        if none {
            self.whole = replicas.stamp();
        }
        None
    }

    /// It does not know what it was told of a member.
    pub(super) fn forget(&mut self, member: NodeId) {
        self.upto.remove(member);
        self.whole = 0;
    }

    /// Entries of so many bytes crossed the link.
    pub(super) fn earn(&mut self, bytes: usize) {
        let share = i64::try_from(bytes).unwrap_or(i64::MAX) / SHARE;
        self.allowance = self.allowance.saturating_add(share).min(SAVED_MAX);
    }

    /// Another second has passed.
    pub(super) fn save(&mut self) {
        self.allowance = (self.allowance + FLOOR).min(SAVED_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::message::Short;
    use crate::types::{Boot, Time};

    quickcheck::quickcheck! {
        fn nothing_untold_is_passed_over(steps: Vec<(u8, u8)>) -> bool {
            let id = |n: u8| NodeId::from_u128(u128::from(n % 5) + 1);
            let members = || (0..5).map(|n| (id(n), Boot::new(1), true));
            let (mut replicas, mut told, to, now) = (Replicas::default(), Told::default(), id(0), Time::ZERO);
            replicas.set_members(now, members());
            steps.into_iter().enumerate().all(|(seq, (what, who))| {
                let member = id(who);
                match what % 4 {
                    0 => _ = replicas.raise(member, 0, (seq as u64 + 1, Short::default()), member, now, true),
                    1 => _ = told.upto.insert(member, replicas.row(member).map_or(0, |row| row.stamp)),
                    2 => told.forget(member),
                    // Its row begins anew.
                    _ => {
                        replicas.set_members(now, members().filter(|(id, ..)| *id != member));
                        replicas.set_members(now, members());
                    }
                }
                let upto = |id| told.upto.get(id);
                let is_behind = |(id, row): &(NodeId, &Row)| *id != to && row.stamp > upto(*id);
                let naive: Vec<NodeId> = replicas.iter().filter(is_behind).map(|(id, _)| id).collect();
                told.next = Some(id(what));
                let next = naive.iter().find(|id| Some(**id) >= told.next).or_else(|| naive.first()).copied();
                told.first_untold(to, &replicas, |_, _| true) == next
                    && told.untold(to, &replicas).into_iter().map(|(id, _)| id).eq(naive)
            })
        }
    }
}
