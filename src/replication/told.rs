//! What a neighbour was told of who holds what, and what it may be told.

use super::replicas::{Replicas, Row};
use crate::types::NodeId;

/// Bytes a second over each link that may always be told.
const FLOOR: i64 = 8;
/// Of how many bytes of entries one may be told.
const SHARE: i64 = 200;
/// What may be saved up, in bytes.
const SAVED_MAX: i64 = 16 << 10;

/// Of each member up to which change, by the place of its row: looked up for all that is heard and told.
///
/// What stands there is one more than the change, and zero if nothing was told. It is as long as the last member who was told of.
#[derive(Debug, Default)]
pub(super) struct Upto(Vec<u64>);

impl Upto {
    /// Up to which change of the member at this place; zero if nothing was told.
    pub(super) fn get(&self, place: usize) -> u64 {
        self.0.get(place).map_or(0, |next| next.saturating_sub(1))
    }

    /// Whether it was told of the member at this place, up to this change.
    pub(super) fn has(&self, place: usize, change: u64) -> bool {
        self.0.get(place).is_some_and(|next| change < *next)
    }

    /// It is told up to this change if it was not, and if this may be said to one who was told up to an earlier one. Says whether it is.
    pub(super) fn insert_if(&mut self, place: usize, change: u64, may: impl FnOnce(u64) -> bool) -> bool {
        if self.has(place, change) || !may(self.get(place)) {
            return false;
        }
        self.insert(place, change);
        true
    }

    /// It was told up to this change; gives up to which it was told before.
    pub(super) fn insert(&mut self, place: usize, change: u64) -> u64 {
        if self.0.len() <= place {
            self.0.resize(place + 1, 0);
        }
        std::mem::replace(&mut self.0[place], change + 1).saturating_sub(1)
    }

    fn remove(&mut self, place: usize) {
        if let Some(next) = self.0.get_mut(place) {
            *next = 0;
        }
    }

    /// The members stand at other places now: at each, who stood where before.
    pub(super) fn moved(&mut self, before: &[Option<usize>]) {
        let next = |place: &Option<usize>| place.and_then(|place| self.0.get(place)).copied().unwrap_or_default();
        self.0 = before.iter().map(next).collect();
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
    pub(super) fn untold<'a>(&mut self, to: NodeId, replicas: &'a Replicas) -> Vec<(usize, NodeId, &'a Row)> {
        let mut untold = Vec::new();
        if replicas.stamp() > self.whole {
            let is_untold = |(place, id, row): &(usize, NodeId, &Row)| {
                row.stamp > self.whole && row.stamp > self.upto.get(*place) && *id != to
            };
            untold.extend(replicas.placed().filter(is_untold));
        }
        self.whole = untold.iter().map(|(.., row)| row.stamp - 1).min().unwrap_or_else(|| replicas.stamp());
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
        let (whole, upto) = (self.whole, &self.upto);
        let is_untold =
            |(place, id, row): &(usize, NodeId, &Row)| row.stamp > whole && row.stamp > upto.get(*place) && *id != to;
        let mut none = true;
        for (_, id, row) in replicas.from(self.next).filter(is_untold) {
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

    /// It does not know what it was told of the member at this place.
    pub(super) fn forget(&mut self, place: usize) {
        self.upto.remove(place);
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
            let mut named = [false; 5];
            replicas.set_members(now, members());
            steps.into_iter().enumerate().all(|(seq, (what, who))| {
                let member = id(who);
                let place = replicas.place(member).unwrap();
                match what % 4 {
                    0 => _ = replicas.raise(member, 0, (seq as u64 + 1, Short::default()), member, now, true),
                    1 => {
                        told.upto.insert(place, replicas.at(place).1.stamp);
                        named[place] = true;
                    }
                    2 => {
                        told.forget(place);
                        named[place] = false;
                    }
                    // Its row begins anew.
                    _ => {
                        for all in [members().filter(|(id, ..)| *id != member).collect(), members().collect::<Vec<_>>()] {
                            let moved = replicas.set_members(now, all.into_iter());
                            told.upto.moved(&moved.unwrap());
                        }
                        named[place] = false;
                    }
                }
                let told_of = (0..5).map(|place| told.upto.has(place, 0));
                if !told_of.eq(named) {
                    return false; // The others keep what they were told when one goes and comes.
                }
                let is_behind =
                    |(place, id, row): &(usize, NodeId, &Row)| *id != to && row.stamp > told.upto.get(*place);
                let naive: Vec<NodeId> = replicas.placed().filter(is_behind).map(|(_, id, _)| id).collect();
                told.next = Some(id(what));
                let next = naive.iter().find(|id| Some(**id) >= told.next).or_else(|| naive.first()).copied();
                told.first_untold(to, &replicas, |_, _| true) == next
                    && told.untold(to, &replicas).into_iter().map(|(_, id, _)| id).eq(naive)
            })
        }
    }
}
