//! The marks: what must happen now and then, and what must always hold, by id; and how often it did.

use std::cell::Cell;

use serde::Serialize;

/// What a mark says of its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It holds whenever it is looked at; a run in which it does not ends there.
    Always,
    /// It is so now and then, over all runs of a sweep.
    Sometimes,
}

/// A place in the rooms that is known by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// Its room and what is so there, in a few words; never used for another one.
    pub id: &'static str,
    /// What it says.
    pub kind: Kind,
}

const fn always(id: &'static str) -> Mark {
    Mark { id, kind: Kind::Always }
}

const fn sometimes(id: &'static str) -> Mark {
    Mark { id, kind: Kind::Sometimes }
}

/// All of them, in order of id.
pub const MARKS: &[Mark] = &[
    sometimes("audit/agreed"),
    sometimes("audit/differs"),
    sometimes("audit/skipped"),
    sometimes("consensus/follower-roused"),
    sometimes("consensus/group-rests"),
    sometimes("consensus/leader-missed-by-a-request"),
    sometimes("documents/built-again-from-the-log"),
    sometimes("documents/change-waits-for-others"),
    sometimes("documents/document-leaves-memory"),
    sometimes("events/appends-gathered"),
    sometimes("events/entry-expires"),
    sometimes("events/gap-told"),
    sometimes("events/page-ends-within-an-entry"),
    sometimes("events/page-read-from-disk"),
    sometimes("events/segment-freed"),
    sometimes("membership/accusation-refuted"),
    sometimes("membership/buckets-compared"),
    sometimes("membership/dead-speaks-again"),
    sometimes("membership/doubts-everybody"),
    sometimes("membership/goodbye-said"),
    sometimes("membership/helper-vouches"),
    sometimes("membership/helpers-asked"),
    sometimes("membership/isolation-ends"),
    sometimes("membership/probe-fails"),
    sometimes("membership/suspicion-begins"),
    sometimes("membership/suspicion-ends-in-death"),
    sometimes("membership/suspicion-hastened"),
    sometimes("membership/suspicion-held"),
    sometimes("membership/timer-was-late"),
    sometimes("node/boots-from-a-damaged-end"),
    sometimes("node/frame-of-a-newer-version-skipped"),
    sometimes("node/new-actor"),
    sometimes("node/read-only"),
    sometimes("node/snapshot-log-read-without-it"),
    sometimes("node/snapshot-refused-at-start"),
    sometimes("node/snapshot-start-from-one"),
    sometimes("node/snapshot-taken"),
    always("node/timers-come-to-an-end"),
    sometimes("node/voters-change"),
    sometimes("node/writable-again"),
    sometimes("overlay/dead-are-knocked-at"),
    sometimes("overlay/dial-backs-off"),
    sometimes("overlay/former-neighbour-lingers"),
    sometimes("overlay/held-by-the-other-side-alone"),
    sometimes("overlay/neighbour-missed-for-long"),
    sometimes("overlay/old-policy-is-answered"),
    sometimes("overlay/policy-changes"),
    sometimes("overlay/wish-said-again"),
    sometimes("replication/batch-read-from-disk"),
    sometimes("replication/batch-sent-again"),
    sometimes("replication/branch-gives-way"),
    sometimes("replication/copies-are-enough"),
    sometimes("replication/copies-come-too-late"),
    sometimes("replication/digests-differ"),
    sometimes("replication/duplicate-taken"),
    sometimes("replication/gap-closed"),
    sometimes("replication/log-grafted"),
    sometimes("replication/log-trimmed"),
    sometimes("replication/neighbour-pruned"),
    sometimes("replication/own-log-is-longer-elsewhere"),
    sometimes("replication/paused-by-a-peer"),
    sometimes("replication/peer-needs-what-is-trimmed"),
    sometimes("replication/replica-lags"),
    sometimes("replication/run-held-behind-a-gap"),
    always("replication/sent-is-durable"),
    sometimes("replication/stalled-log-gets-another-source"),
    always("wal/records-are-numbered-above-what-is-durable"),
    sometimes("wal/segment-begun"),
    sometimes("wal/torn-among-later-writes"),
];

/// Where the mark of this id stands in the list. Evaluated by the compiler.
///
/// # Panics
/// When there is none of this kind: the id is then misspelt, or has to be added.
pub(crate) const fn mark(id: &str, kind: Kind) -> usize {
    let mut at = 0;
    while at < MARKS.len() {
        if super::equal(MARKS[at].id.as_bytes(), id.as_bytes()) {
            assert!(matches!(
                (kind, MARKS[at].kind),
                (Kind::Always, Kind::Always) | (Kind::Sometimes, Kind::Sometimes)
            ));
            return at;
        }
        at += 1;
    }
    panic!("no mark has this id")
}

thread_local! {
    /// How often each was hit in this thread since it was last asked.
    static HITS: [Cell<u64>; MARKS.len()] = const { [const { Cell::new(0) }; MARKS.len()] };
}

/// It was so once more, or was not.
pub(crate) fn hit(place: usize, is_so: bool) {
    HITS.with(|hits| hits[place].set(hits[place].get() + u64::from(is_so)));
}

/// How often each mark was hit, over some runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage([u64; MARKS.len()]);

impl Default for Coverage {
    fn default() -> Self {
        Self([0; MARKS.len()])
    }
}

impl Coverage {
    /// Whether this build counts at all: debug builds do, others with the feature `assertions`.
    pub const IS_COUNTED: bool = cfg!(any(feature = "assertions", debug_assertions));

    /// What this thread has hit since this was last called.
    #[must_use]
    pub fn take() -> Self {
        HITS.with(|hits| Self(std::array::from_fn(|at| hits[at].take())))
    }

    /// Takes in what other runs have hit.
    pub fn add(&mut self, other: &Self) {
        for (ours, theirs) in self.0.iter_mut().zip(other.0) {
            *ours = ours.saturating_add(theirs);
        }
    }

    /// Every mark with how often it was hit.
    pub fn iter(&self) -> impl Iterator<Item = (Mark, u64)> {
        MARKS.iter().copied().zip(self.0)
    }

    /// Those that were never hit: no run went there.
    pub fn never(&self) -> impl Iterator<Item = Mark> {
        self.iter().filter(|(_, hits)| *hits == 0).map(|(mark, _)| mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{always, reachable, sometimes};

    #[test]
    fn marks_are_in_order() {
        assert!(MARKS.is_sorted_by(|a, b| a.id < b.id));
    }

    #[test]
    fn what_is_hit_is_counted_in_its_thread_once() {
        let of = |coverage: &Coverage, id: &str| coverage.iter().find(|(mark, _)| mark.id == id).map(|(_, hits)| hits);
        drop(Coverage::take());
        reachable!("wal/segment-begun");
        sometimes!(1 > 2, "audit/agreed");
        sometimes!(2 > 1, "wal/segment-begun");
        always!(true, "replication/sent-is-durable");
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    reachable!("wal/segment-begun");
                })
                .join()
                .expect("no panic")
        });
        let mut coverage = Coverage::take();
        let found = ["wal/segment-begun", "audit/agreed", "replication/sent-is-durable"].map(|id| of(&coverage, id));
        assert_eq!(found, [Some(2), Some(0), Some(1)]);
        assert_eq!(Coverage::take(), Coverage::default());
        coverage.add(&coverage.clone());
        assert_eq!(of(&coverage, "wal/segment-begun"), Some(4));
        assert_eq!(coverage.never().count(), MARKS.len() - 2);
    }

    #[test]
    #[should_panic(expected = "replication/sent-is-durable does not hold")]
    fn what_must_always_hold_ends_the_run_when_it_does_not() {
        always!(1 > 2, "replication/sent-is-durable");
    }
}
