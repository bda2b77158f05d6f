//! The planted bugs, and the switch.

use super::equal;

/// A bug that is planted in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bug {
    /// Its room and what is wrong, in a few words; never used for another one.
    pub id: &'static str,
    /// What is wrong.
    pub says: &'static str,
    /// The ids of the invariants of which one must see it.
    pub caught_by: &'static [&'static str],
    /// The scenarios that are run to find it, the quickest first; none if a mesh does not meet it, but the store of a repository.
    pub scenarios: &'static [&'static str],
}

impl Bug {
    /// The room in which it is planted.
    #[must_use]
    pub fn room(&self) -> &'static str {
        self.id.split('/').next().unwrap_or_default()
    }

    /// The bug of this id.
    #[must_use]
    pub fn find(id: &str) -> Option<&'static Self> {
        BUGS.iter().find(|bug| bug.id == id)
    }
}

/// A line of the list.
const fn bug(
    id: &'static str,
    says: &'static str,
    caught_by: &'static [&'static str],
    scenarios: &'static [&'static str],
) -> Bug {
    Bug { id, says, caught_by, scenarios }
}

/// For what only the store of a repository meets: its stories are in `tests/recovery_test/faults.rs`.
const STORED: &[&str] = &[];

/// All of them, in order of id.
pub const BUGS: &[Bug] = &[
    bug("audit/agrees-unseen", "An audit says that all is the same without a look.", &["C2"], &["lost-change"]),
    bug("backup/actor-kept", "Who boots from a restored log goes on in its old name.", &["B9"], STORED),
    bug("backup/boundary-included", "The first record behind a moment is restored too.", &["B3", "B12", "B2"], STORED),
    bug("backup/events-not-cut", "Of the two chains only the main one is cut at the moment.", &["B2"], STORED),
    bug(
        "backup/manifest-without-objects",
        "A manifest is written though an object could not be stored.",
        &["B1"],
        STORED,
    ),
    bug("backup/marks-not-looked-at", "A backup continues what is being deleted.", &["B1", "B6", "B8"], STORED),
    bug("backup/missing-passed-over", "What is missing is not told.", &["B7"], STORED),
    bug("backup/moment-by-wall-clock", "Records of one microsecond are taken for one.", &["B12"], STORED),
    bug(
        "consensus/acknowledged-before-durable",
        "A voter acknowledges entries that its disk does not have yet.",
        &["K8", "K3", "K2"],
        &["small-blackouts"],
    ),
    bug(
        "consensus/earlier-terms-counted",
        "What a majority holds of an earlier term is taken for decided.",
        &["K2", "K3"],
        &["figure-8"],
    ),
    bug("consensus/followers-untold", "Who is no member hears of no decision.", &["K5"], &["voters-churn"]),
    bug(
        "consensus/member-forgets",
        "Who becomes a member forgets what it was told before.",
        &["K2"],
        &["voters-churn"],
    ),
    bug(
        "consensus/pre-vote-skipped",
        "A voter that was cut off deposes the leader when it comes back.",
        &["K7", "expect"],
        &["rejoining-voter"],
    ),
    bug("consensus/request-done-twice", "What is asked twice is done twice.", &["K4"], &["small-blackouts"]),
    bug(
        "consensus/vote-before-durable",
        "A vote is told before it is on the disk.",
        &["K8", "K6", "K1"],
        &["small-blackouts"],
    ),
    bug(
        "consensus/vote-forgotten-by-a-restart",
        "A voter that restarts may vote in the same term again.",
        &["K6", "K1"],
        &["small-duels"],
    ),
    bug(
        "disk/failed-sync-tried-again",
        "A sync that failed is tried again, and believed: the pages are marked clean by then.",
        &["U5"],
        &["full-disk"],
    ),
    bug(
        "disk/half-record-accepted",
        "Of a record for which there is no room a half is written, and taken for the whole.",
        &["U6"],
        &["full-disk"],
    ),
    bug(
        "disk/names-not-synced",
        "Of a file that is made the bytes are synced, and the directory is not.",
        &["U8"],
        &["small-power"],
    ),
    bug(
        "documents/oldest-value-shows",
        "Of values that were written at once not the newest shows, but the oldest: to everybody.",
        &["J1"],
        &["small-distances"],
    ),
    bug(
        "documents/one-counter-counts",
        "Of two counters at one place that were made at the same time, only what was added to the newest counts.",
        &["J3"],
        &["small-distances"],
    ),
    bug(
        "documents/one-orphan-released",
        "Of the changes that waited for one that came, only the first goes on.",
        &["A1", "C7", "C2"],
        &["small-distances"],
    ),
    bug(
        "documents/orphans-dropped",
        "A change that came before what it follows is dropped.",
        &["A1", "C2"],
        &["small-distances"],
    ),
    bug(
        "documents/policy-of-half-the-peers",
        "By a policy it is decided what shows on half of the peers only.",
        &["C1", "J2"],
        &["conflicts-small"],
    ),
    bug(
        "documents/removals-stay-open",
        "A removal that met a write stays open, whoever writes the place after both.",
        &["J2"],
        &["conflicts-small"],
    ),
    bug(
        "documents/trail-as-it-came",
        "The trail of what met follows the order in which changes came.",
        &["J2"],
        &["conflicts-small"],
    ),
    bug(
        "events/cursor-forgets-half-an-entry",
        "A page that ends within an entry is followed by the whole entry.",
        &["S1"],
        &["small-streams"],
    ),
    bug("events/expiry-untold", "Readers are not told that events have expired.", &["S1"], &["small-streams"]),
    bug(
        "events/frees-one-segment-more",
        "Expiry frees a segment that still holds events.",
        &["S1", "U3"],
        &["small-streams"],
    ),
    bug(
        "events/places-not-counted",
        "Appends that become one entry all get the place of the first.",
        &["S1"],
        &["small-streams"],
    ),
    bug(
        "membership/accusers-not-united",
        "Who agrees with an accusation does not count.",
        &["expect"],
        &["membership-deaths"],
    ),
    bug(
        "membership/dead-overrides-alive",
        "Dead wins over alive whatever the incarnations.",
        &["M1", "M2"],
        &["small-pauses"],
    ),
    bug("membership/leaves-unsaid", "Who leaves does not say so.", &["M14"], &["small-leaves"]),
    bug("membership/lone-buries", "A peer that hears nobody declares everybody dead.", &["M13"], &["small-pauses"]),
    bug("membership/news-never-retired", "News are told for ever.", &["M9"], &["small-pauses"]),
    bug("membership/no-refutation", "A peer that is accused says nothing.", &["M3", "M7"], &["small-pauses"]),
    bug(
        "membership/raises-others",
        "An accuser raises the incarnation of whom it accuses.",
        &["M2"],
        &["small-pauses"],
    ),
    bug(
        "membership/suspicion-stays-held",
        "A suspicion that waited while this peer heard nobody never goes on.",
        &["M5", "M7"],
        &["small-pauses"],
    ),
    bug(
        "node/actor-kept-after-rollback",
        "A peer whose store was put back goes on in its old name.",
        &["U12", "C2", "C6"],
        &["small-rollback"],
    ),
    bug("node/boot-not-raised", "A restarted peer says that it is in its life before.", &["M10"], &["small-crashes"]),
    bug(
        "node/cut-before-new-actor",
        "A damaged end is cut before it is written down who the peer is from now on.",
        &["U9"],
        &["small-power"],
    ),
    bug("node/failed-write-ignored", "A write that failed is taken for durable.", &["U5", "U1"], &["full-disk"]),
    bug("node/finding-not-mended", "What an audit finds is told, and not built again.", &["C2"], &["lost-change"]),
    bug("node/gap-untold", "Readers are not told of what a log does not hold any more.", &["S1"], &["small-streams"]),
    bug(
        "node/newer-record-passed-over",
        "A record that only a newer version knows is passed over.",
        &["U11"],
        &["mixed-versions"],
    ),
    bug("node/room-is-not-looked-for", "A disk that was full stays as good as full.", &["U6"], &["full-disk"]),
    bug(
        "node/skippable-closes-the-link",
        "A frame that asks to be skipped by who does not know it closes the link.",
        &["G5"],
        &["mixed-versions"],
    ),
    bug(
        "node/snapshot-bad-one-ends-the-boot",
        "A snapshot that is not of the log ends the start.",
        &["U3"],
        &["snapshots"],
    ),
    bug(
        "node/snapshot-counts-before-durable",
        "A snapshot counts when its last piece is handed to the disk, and older ones are removed.",
        &["U7"],
        &["snapshots"],
    ),
    bug("node/snapshot-forgets-decisions", "A snapshot says nothing of what was decided.", &["U13"], &["small-voters"]),
    bug(
        "node/snapshot-forgets-policies",
        "A snapshot says nothing of the policies that the node goes by.",
        &["U13"],
        &["conflicts-policies"],
    ),
    bug(
        "node/snapshot-goes-up-to-its-end",
        "A snapshot says that it goes up to what became durable while it was written.",
        &["U1", "U13"],
        &["snapshots"],
    ),
    bug("node/snapshot-last-change-dropped", "A start from a snapshot drops a change.", &["U13"], &["snapshots"]),
    bug(
        "node/snapshot-old-ones-removed-first",
        "Older snapshots are removed before the new one is durable.",
        &["U7", "U13"],
        &["snapshots"],
    ),
    bug(
        "node/wish-for-one-leader",
        "Who is to vote binds the leader that took the wish down, and no later one.",
        &["K9"],
        &["voters-wished"],
    ),
    bug(
        "overlay/former-linger-for-ever",
        "Who was a neighbour is held for one for ever.",
        &["G2", "O7", "O3", "O2"],
        &["small-turns"],
    ),
    bug("overlay/lowest-policy-wins", "The first policy that was ever set stays in force.", &["O6"], &["small-turns"]),
    bug("overlay/policy-untold-to-the-late", "Whoever is linked later hears of no policy.", &["O6"], &["small-turns"]),
    bug(
        "overlay/release-untold",
        "A peer is not told that it is a neighbour no more.",
        &["O7", "O3"],
        &["small-turns"],
    ),
    bug(
        "overlay/unlinked-stay-neighbours",
        "Who held us for a neighbour is one without a link.",
        &["O3", "O7", "O5"],
        &["small-turns"],
    ),
    bug("overlay/wish-said-once", "A wish that got lost is not said again.", &["O7", "O5", "O3"], &["small-datagrams"]),
    bug(
        "replication/all-means-any",
        "An edit that all must hold is acknowledged when one does.",
        &["R3"],
        &["small-copies"],
    ),
    bug(
        "replication/answers-before-durable",
        "An edit is acknowledged before it is on the disk.",
        &["U1", "C3", "C6"],
        &["small-power"],
    ),
    bug(
        "replication/clock-starts-anew",
        "After a restart stamps are taken from the wall clock alone.",
        &["C14"],
        &["small-clocks"],
    ),
    bug(
        "replication/copies-acknowledged-early",
        "A replica acknowledges what its disk does not have yet.",
        &["R1"],
        &["small-copies"],
    ),
    bug(
        "replication/knowledge-not-passed-on",
        "What is known of replicas is told to nobody.",
        &["R2", "expect"],
        &["small-copies"],
    ),
    bug("replication/lag-never-ends", "That a replica has caught up is never told.", &["R2"], &["small-copies"]),
    bug("replication/new-logs-not-pushed", "The first entries of a log are not pushed.", &["expect"], &["small-calm"]),
    bug(
        "replication/no-vector-for-new-neighbours",
        "New neighbours are not asked what they hold.",
        &["expect"],
        &["small-calm"],
    ),
    bug(
        "replication/own-branch-stands",
        "Of two branches of a log each peer keeps its own.",
        &["C6", "C2"],
        &["small-rollback"],
    ),
    bug("replication/own-copy-counts", "A peer counts itself among the copies.", &["R1"], &["small-copies"]),
    bug("replication/pause-forgotten", "A pause is over when the peer restarts.", &["R4"], &["replica-paused"]),
    bug(
        "replication/removes-before-written-down",
        "Segments are removed before it is on the disk that they do not count.",
        &["U7", "U3"],
        &["small-streams"],
    ),
    bug(
        "replication/sent-counts-as-held",
        "What was sent to a replica is taken for held there.",
        &["R1"],
        &["small-copies"],
    ),
    bug(
        "replication/taken-counts-as-parents",
        "Whoever delivers an entry becomes the parent, so that nobody is asked to stop.",
        &["expect"],
        &["small-calm"],
    ),
    bug("roles/acts-beyond-its-lease", "A holder acts on when its lease is over.", &["F1"], &["paused-primary"]),
    bug("roles/begins-twice", "A holder that restarts begins again under its old token.", &["F1"], &["small-roles"]),
    bug("roles/lease-not-waited", "A role is granted anew before the old lease is over.", &["F1"], &["small-roles"]),
    bug("wal/claims-unsynced", "A record says that all before it is durable.", &["U3"], &["small-power"]),
    bug(
        "wal/goes-on-over-a-cut",
        "After a cut the log goes on in the damaged segment.",
        &["U9", "E1"],
        &["small-power"],
    ),
    bug(
        "wal/payload-sum-unchecked",
        "A record's payload is not held against its checksum.",
        &["U2", "C6", "U3", "U4"],
        &["small-power"],
    ),
    bug(
        "wal/place-without-header",
        "Of the first record of a segment the place is wrong.",
        &["E1"],
        &["small-crashes"],
    ),
    bug(
        "wal/torn-end-is-no-damage",
        "A record that is too short ends the log, and its bytes stay.",
        &["U9", "E1"],
        &["small-power"],
    ),
];

/// Where the bug of this id stands in the list. Evaluated by the compiler.
///
/// # Panics
/// When there is none: the id is then misspelt, or has to be added.
pub(crate) const fn place(id: &str) -> usize {
    let mut at = 0;
    while at < BUGS.len() {
        if equal(BUGS[at].id.as_bytes(), id.as_bytes()) {
            return at;
        }
        at += 1;
    }
    panic!("no planted bug has this id")
}

#[cfg(feature = "planted-bugs")]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        /// The place of the bug that is switched on in this thread.
        static ON: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// Whether the bug of this place is switched on here.
    pub(crate) fn is_on(place: usize) -> bool {
        ON.get() == Some(place)
    }

    /// A bug is switched on in this thread until this is dropped, also by a panic.
    #[derive(Debug)]
    pub struct Switched(Option<usize>);

    impl Switched {
        /// Switches this one on and all others off.
        #[must_use]
        pub fn on(bug: &Bug) -> Self {
            Self(ON.replace(Some(super::place(bug.id))))
        }
    }

    /// The switch of this thread, for another one that works for it.
    #[cfg(feature = "net")]
    pub(crate) fn carried() -> Option<usize> {
        ON.get()
    }

    #[cfg(feature = "net")]
    impl Switched {
        /// As it was carried from another thread.
        pub(crate) fn again(carried: Option<usize>) -> Self {
            Self(ON.replace(carried))
        }
    }

    impl Drop for Switched {
        fn drop(&mut self) {
            ON.set(self.0);
        }
    }
}

#[cfg(feature = "planted-bugs")]
pub use switch::Switched;
#[cfg(all(feature = "planted-bugs", feature = "net"))]
pub(crate) use switch::carried;
#[cfg(feature = "planted-bugs")]
pub(crate) use switch::is_on;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bugs_are_in_order_and_name_their_room() {
        assert!(BUGS.is_sorted_by(|a, b| a.id < b.id));
        for bug in BUGS {
            assert!(!bug.says.is_empty() && !bug.caught_by.is_empty(), "{}", bug.id);
            assert_eq!(bug.scenarios.is_empty(), bug.room() == "backup", "{}", bug.id);
            assert_eq!(Bug::find(bug.id), Some(bug));
        }
    }

    #[cfg(feature = "planted-bugs")]
    #[test]
    fn a_switch_is_one_bugs_one_threads_and_ends_with_its_guard() {
        let on = |bug: &Bug| is_on(place(bug.id));
        let guard = Switched::on(&BUGS[1]);
        assert!(on(&BUGS[1]) && !on(&BUGS[0]));
        std::thread::scope(|scope| assert!(!scope.spawn(|| on(&BUGS[1])).join().expect("no panic")));
        {
            let _inner = Switched::on(&BUGS[0]);
            assert!(on(&BUGS[0]) && !on(&BUGS[1]));
        }
        assert!(on(&BUGS[1]));
        drop(guard);
        assert!(!on(&BUGS[1]));
    }
}
