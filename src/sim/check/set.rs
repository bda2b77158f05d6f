//! All invariants of a run together, and the list of their ids.

use std::collections::{BTreeMap, BTreeSet};

use super::{AtDisk, Check, Sight, Verdict, Violation};
use super::{
    a1, c1, c2, c3, c5, c6, c7, c14, f1, g3, g4, g5, j1, j2, j3, k1, k2, k3, k4, k5, k6, k7, k8, k9, l2, r1, r2, r3,
    r4, s1,
};
use super::{m1, m2, m3, m4, m5, m7, m9, m10, m12, m13, m14, o1, o2, o3, o5, o6, o7};
use super::{u1, u2, u4, u5, u6, u7, u8, u9, u10, u11, u12, u13};
use crate::consensus::{self, Token};
use crate::documents::{self, Listed, Stamp};
use crate::events::{Appended, Page};
use crate::node::{BootError, BootReport, Event, Node};
use crate::sim::host::Host;
use crate::sim::outcome::Figures;
use crate::sim::plan::Plan;
use crate::sim::scenario::{Mode, Scenario};
use crate::types::{LogId, NodeId, Seq};

/// Every invariant, with what it says.
const ALL: &[(&str, &str)] = &[
    ("A1", "no audit finds a difference, unless an engine lost a change"),
    ("C1", "documents with the same heads have the same content"),
    ("C2", "after the calm all live peers hold the same changes"),
    ("C3", "after the calm every acknowledged edit that any disk held is in every live peer"),
    (
        "C5",
        "what a peer holds only grows within a boot, and each log is delivered in order, once; a branch that gives way moves",
    ),
    (
        "C6",
        "a place in an origin log is used once, but by a peer whose disk was put back and that has not heard of it; in the end all hold the same entry there",
    ),
    ("C7", "after the calm no change waits for another, and none was refused"),
    ("C14", "stamps rise along each log, over restarts and whatever the wall clock does"),
    ("E1", "a node keeps to the contract of its edge"),
    ("F1", "at no moment do two peers act in one role, and its tokens rise"),
    ("G1", "the same seed gives the same trace"),
    ("G2", "nothing panics"),
    ("G3", "queues are bounded"),
    ("G4", "no peer handles more inputs a second than it ever needs"),
    (
        "G5",
        "nobody but a garbling peer sends what another must refuse, and in the end all know who is of which version",
    ),
    (
        "J1",
        "of what a live peer's log holds Automerge alone makes what it serves, and merges that of all peers to the same in any order",
    ),
    (
        "J2",
        "after the calm peers that hold the same changes tell the same open conflicts, what shows of each, and the same trail; and nobody writes but who is asked to",
    ),
    ("J3", "what is counted at the same time all counts, whoever made the counter"),
    ("K1", "at most one peer leads the voters in a term"),
    ("K2", "nobody takes something else for decided at a place"),
    ("K3", "what is decided is held by whoever leads later"),
    ("K4", "a request is done once, however often it is asked, and whoever asks is told the same"),
    (
        "K5",
        "after the calm, where a majority of the voters was healed, what is asked is decided, and every live peer knows it",
    ),
    ("K6", "a store votes for one candidate in a term, over all its lives"),
    ("K7", "nobody begins a term that a majority would not have, and who hears its leader would have none"),
    ("K8", "what a voter promises is durable by then: its vote, and what it acknowledges of the log"),
    ("K9", "after the calm those vote whom operators want, where there is a place, and nobody whom they bar"),
    ("L1", "after the calm a core that was healed agrees, unless ground truth excuses it"),
    (
        "L2",
        "after the calm every healed peer that should run is up, unless something is wrong with its machine for good",
    ),
    ("M1", "what a peer thinks of a member only climbs: boot, incarnation, state"),
    ("M2", "nobody but the member itself issues its incarnations"),
    ("M3", "a peer that is well is not held for dead for longer than 20 s by a well one that is linked with it"),
    ("M4", "where nothing is wrong nobody is suspected"),
    ("M5", "who is down is not thought present by any well peer for longer than a minute"),
    ("M7", "after the calm every live peer sees exactly the live peers"),
    ("M9", "nobody has news to tell for half a minute in which nothing has changed"),
    ("M10", "each life of a peer has a higher number than those before that its disk can know of"),
    ("M13", "who hears nobody declares nobody dead"),
    ("M14", "where members only leave and return nobody is suspected who said goodbye"),
    ("O1", "after the calm the neighbourhoods connect all live peers"),
    ("O2", "after the calm nobody has more neighbours than its overlay allows"),
    ("O3", "after the calm a star or tree has no cycle"),
    ("O5", "after the calm neighbourhood is mutual"),
    ("O6", "after the calm all live peers follow the same overlay: the highest that was set for the mesh and kept"),
    ("O7", "after the calm there is a reason for each neighbour, and whoever is one by reason and linked is one"),
    (
        "R1",
        "who is named by an acknowledgement holds the entry by then; and after the calm the edit is in every live peer if one of these disks is whole",
    ),
    ("R2", "after the calm nobody is said to lag"),
    ("R3", "an acknowledgement names as many members as were wanted"),
    ("R4", "a pause survives a restart"),
    ("S1", "after the calm every acknowledged event that is to be kept is in every live peer, once, and in order"),
    ("H1", "what the program that embeds the nodes says must hold"),
    ("T1", "a replay is made by the end of the run, and every live peer reads what it says"),
    ("U1", "what was durable is there after a crash and after a power loss"),
    ("U2", "what is recovered is what was written, in order and from the first on, up to what was not acknowledged"),
    ("U3", "a peer whose disk is undamaged boots from it"),
    ("U4", "no entry is unreadable, but for a branch that gives way"),
    (
        "U5",
        "nothing is acknowledged that hangs on a sync that failed, and nothing behind it is written until the log is opened again",
    ),
    (
        "U6",
        "what finds no room is refused by name and leaves nothing behind; whose disk was full and has room takes edits again",
    ),
    ("U7", "a file is removed only when what stands for it is durable, bytes and name"),
    ("U8", "a file that was made is there after each crash, and one that was removed or not made is there or not"),
    ("U9", "a start on the disk that starts left which crashed half way finds what the first of them would have found"),
    ("U10", "a start reads no byte of a log more than twice, and once more for each snapshot that it does not take"),
    ("U11", "a log that a newer version wrote into is refused by name, and nothing of it is changed"),
    (
        "U12",
        "on an empty disk a peer is somebody new before it says a word; on one that was put back it is in a new life, and somebody new as soon as it hears of it",
    ),
    ("U13", "a start from a snapshot is the start from the whole log, and who took one starts from one"),
];

/// Every invariant's id, with what it says.
pub fn ids() -> impl Iterator<Item = (&'static str, &'static str)> {
    ALL.iter().copied()
}

/// The invariants of a run.
pub(in crate::sim) struct Checks {
    checks: Vec<Box<dyn Check>>,
    except: Vec<String>,
}

/// Whether what holds the core together is a neighbour outside of it that was not healed: over datagrams, where nobody sees such a link break since
/// they get lost, and for ever; or in a star or tree where several pairs of peers that are alive cannot be linked. Else, over streams, the link ends, and
/// somebody stands in.
fn leans_on_others(sight: &Sight<'_>) -> bool {
    let core: BTreeMap<NodeId, _> = sight
        .live()
        .filter(|(place, ..)| sight.is_healed(*place))
        .map(|(_, _, node)| (node.identity().node, node.overlay().neighbors().clone()))
        .collect();
    let mut reached: BTreeSet<NodeId> = core.keys().take(1).copied().collect();
    let mut open: Vec<NodeId> = reached.iter().copied().collect();
    while let Some(neighbors) = open.pop().and_then(|node| core.get(&node)) {
        open.extend(neighbors.iter().filter(|peer| core.contains_key(peer) && reached.insert(**peer)));
    }
    let is_bridged = |count: usize| count <= 1 || nodes(sight).any(|node| node.overlay().kind() == "mesh");
    let unseen = sight.scenario.says.network.mode == Mode::Datagram || !is_bridged(broken(sight));
    unseen && reached.len() < core.len()
}

/// So many pairs of peers are up and have no link.
fn broken(sight: &Sight<'_>) -> usize {
    let apart = |node: &Node| {
        let others = nodes(sight).map(|it| it.identity().node).filter(|other| *other > node.identity().node);
        others.filter(|other| !node.overlay().links().contains(other)).count()
    };
    nodes(sight).map(apart).sum()
}

fn nodes<'a>(sight: &Sight<'a>) -> impl Iterator<Item = &'a Node> {
    sight.hosts.iter().filter_map(Host::node)
}

impl Checks {
    pub(in crate::sim) fn new(scenario: &Scenario, plan: &Plan, peers: usize) -> Self {
        let except: Vec<String> = scenario.says.checks.except.keys().cloned().collect();
        let all: Vec<Box<dyn Check>> = vec![
            Box::new(a1::NothingDiffers),
            Box::new(c1::SameHeadsSameContent::default()),
            Box::new(c2::SameChanges),
            Box::new(c3::NothingLost::new()),
            Box::new(c5::OnlyGrows::new(peers)),
            Box::new(c6::PlacesAreUnique::new(peers)),
            Box::new(c7::NothingWaits::new(peers)),
            Box::new(c14::StampsRise::default()),
            Box::new(f1::OneHolder::default()),
            Box::new(g3::BoundedQueues),
            Box::new(g4::BoundedWork),
            Box::new(g5::VersionsMix),
            Box::new(j1::AutomergeAgrees::default()),
            Box::new(j2::SameMet::default()),
            Box::new(j3::AllCounts::default()),
            Box::new(k1::OneLeader::default()),
            Box::new(k2::OneHistory::default()),
            Box::new(k3::LeadersHoldAll::default()),
            Box::new(k4::DoneOnce::default()),
            Box::new(k5::DecidesAtRest::default()),
            Box::new(k6::VotesOnce::default()),
            Box::new(k7::NobodyIsDisturbed::default()),
            Box::new(k8::PromisesAreDurable::new(peers)),
            Box::new(k9::AsWished),
            Box::new(l2::AllAreUp),
            Box::new(m1::OnlyClimbs::new(peers)),
            Box::new(m2::OnlyItself::new(peers)),
            Box::new(m3::RefutesInTime::default()),
            Box::new(m4::NoFalseAlarm::new(scenario, plan)),
            Box::new(m5::Completeness::new(peers)),
            Box::new(m7::SameViews),
            Box::new(m9::NewsEnd::default()),
            Box::new(m10::LivesRise::new(peers)),
            Box::new(m12::FalseDeaths::default()),
            Box::new(m13::TheLoneDoNotBury),
            Box::new(m14::GoodbyesAreHeard),
            Box::new(o1::Connected::default()),
            Box::new(o2::BoundedDegree),
            Box::new(o3::Acyclic),
            Box::new(o5::Mutual),
            Box::new(o6::OneOverlay),
            Box::new(o7::NeighboursForAReason::default()),
            Box::new(r1::CopiesAreThere::default()),
            Box::new(r2::LagIsTrue),
            Box::new(r3::AsManyAsWanted),
            Box::new(r4::PausesLast::default()),
            Box::new(s1::EveryEventOnce::new()),
            Box::new(u1::Recoverable::new(peers)),
            Box::new(u2::InOrder::new(peers)),
            Box::new(u4::ReadBack::default()),
            Box::new(u5::FailedSyncsCount::new(peers)),
            Box::new(u6::RoomIsUsed::new(peers)),
            Box::new(u7::RemovedBehindDurable::new(peers)),
            Box::new(u8::NamesStay::new(peers)),
            Box::new(u9::StartsRepeat::new(peers)),
            Box::new(u10::BoundedReads::new(peers)),
            Box::new(u11::NewerLogsAreRefused),
            Box::new(u12::NewBeforeItSpeaks::new(peers)),
            Box::new(u13::SnapshotsTellTheLog::default()),
        ];
        let checks = all.into_iter().filter(|check| !except.iter().any(|id| id == check.id())).collect();
        Self { checks, except }
    }

    fn each(&mut self, mut ask: impl FnMut(&mut dyn Check) -> Verdict) -> Result<(), Violation> {
        self.checks.iter_mut().try_for_each(|check| {
            let id = check.id();
            ask(check.as_mut()).map_err(|what| Violation { check: id, what })
        })
    }

    pub(in crate::sim) fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Result<(), Violation> {
        self.each(|check| check.on_event(sight, who, event))
    }

    pub(in crate::sim) fn on_acknowledged(
        &mut self,
        sight: &Sight<'_>,
        who: u32,
        edit: usize,
        stamp: Option<Stamp>,
    ) -> Result<(), Violation> {
        self.each(|check| check.on_acknowledged(sight, who, edit, stamp))
    }

    pub(in crate::sim) fn on_copied(
        &mut self,
        sight: &Sight<'_>,
        who: u32,
        edit: Option<usize>,
        place: (LogId, Seq),
        members: &[NodeId],
    ) -> Result<(), Violation> {
        self.each(|check| check.on_copied(sight, who, edit, place, members))
    }

    pub(in crate::sim) fn on_said(
        &mut self,
        sight: &Sight<'_>,
        who: u32,
        to: NodeId,
        message: &consensus::Message,
    ) -> Result<(), Violation> {
        self.each(|check| check.on_said(sight, who, to, message))
    }

    pub(in crate::sim) fn on_heard(&mut self, sight: &Sight<'_>, who: u32, from: NodeId, message: &consensus::Message) {
        self.checks.iter_mut().for_each(|check| check.on_heard(sight, who, from, message));
    }

    pub(in crate::sim) fn on_disk(&mut self, sight: &Sight<'_>, who: u32, what: AtDisk<'_>) -> Result<(), Violation> {
        self.each(|check| check.on_disk(sight, who, what))
    }

    pub(in crate::sim) fn on_ready(
        &mut self,
        sight: &Sight<'_>,
        who: u32,
        report: &BootReport,
    ) -> Result<(), Violation> {
        self.each(|check| check.on_ready(sight, who, report))
    }

    pub(in crate::sim) fn on_stopping(&mut self, sight: &Sight<'_>, who: u32) -> Result<(), Violation> {
        self.each(|check| check.on_stopping(sight, who))
    }

    pub(in crate::sim) fn on_wiped(&mut self, who: u32) {
        self.checks.iter_mut().for_each(|check| check.on_wiped(who));
    }

    pub(in crate::sim) fn on_damaged(&mut self, who: u32) {
        self.checks.iter_mut().for_each(|check| check.on_damaged(who));
    }

    pub(in crate::sim) fn on_snapshots_removed(&mut self, who: u32) {
        self.checks.iter_mut().for_each(|check| check.on_snapshots_removed(who));
    }

    pub(in crate::sim) fn on_replaced(&mut self, who: u32) {
        self.checks.iter_mut().for_each(|check| check.on_replaced(who));
    }

    pub(in crate::sim) fn on_imaged(&mut self, who: u32, image: usize) {
        self.checks.iter_mut().for_each(|check| check.on_imaged(who, image));
    }

    pub(in crate::sim) fn on_put_back(&mut self, who: u32, image: usize) {
        self.checks.iter_mut().for_each(|check| check.on_put_back(who, image));
    }

    pub(in crate::sim) fn on_tick(&mut self, sight: &Sight<'_>) -> Result<(), Violation> {
        self.each(|check| check.on_tick(sight))
    }

    pub(in crate::sim) fn settled(&mut self, sight: &Sight<'_>) -> Result<(), Violation> {
        self.each(|check| check.settled(sight))
    }

    pub(in crate::sim) fn on_met(
        &mut self,
        sight: &Sight<'_>,
        who: u32,
        met: &[documents::Outcome; 2],
    ) -> Result<(), Violation> {
        self.each(|check| check.on_met(sight, who, met))
    }

    pub(in crate::sim) fn on_content(&mut self, sight: &Sight<'_>, who: u32, docs: &[Listed]) -> Result<(), Violation> {
        self.each(|check| check.on_content(sight, who, docs))
    }

    pub(in crate::sim) fn on_all_content(&mut self, sight: &Sight<'_>) -> Result<(), Violation> {
        self.each(|check| check.on_all_content(sight))
    }

    pub(in crate::sim) fn on_appended(
        &mut self,
        sight: &Sight<'_>,
        who: u32,
        append: usize,
        says: &Appended,
    ) -> Result<(), Violation> {
        self.each(|check| check.on_appended(sight, who, append, says))
    }

    pub(in crate::sim) fn on_stream(
        &mut self,
        sight: &Sight<'_>,
        who: u32,
        stream: u32,
        pages: &[Page],
    ) -> Result<(), Violation> {
        self.each(|check| check.on_stream(sight, who, stream, pages))
    }

    pub(in crate::sim) fn on_asked(&mut self, result: Option<&Result<Token, String>>) {
        self.checks.iter_mut().for_each(|check| check.on_asked(result.cloned()));
    }

    pub(in crate::sim) fn figures(&self, figures: &mut Figures) {
        self.checks.iter().for_each(|check| check.figures(figures));
    }

    /// L1: a core that was healed does not agree.
    pub(in crate::sim) fn stuck(&self, sight: &Sight<'_>, why: &Violation) -> Result<(), Violation> {
        if leans_on_others(sight) {
            return Ok(());
        }
        let core: Vec<_> = sight.live().map(|(place, ..)| sight.name(place)).collect();
        let (calm, needed) = (sight.scenario.says.phases.calm, sight.scenario.calm_needed());
        let short = if calm < needed {
            format!(
                "; but the calm of {calm} may be too short for that: it takes up to {needed} until the dead are known"
            )
        } else {
            String::new()
        };
        self.own("L1", format!("the core of {} is stuck: {} {}{short}", core.join(", "), why.check, why.what))
    }

    /// E1: the node asked the edge for what it may not.
    pub(in crate::sim) fn edge(&self, sight: &Sight<'_>, who: u32, why: &str) -> Result<(), Violation> {
        self.own("E1", format!("{}: {why}", sight.name(who)))
    }

    /// U3: nothing damaged this disk, so its log must be usable.
    pub(in crate::sim) fn on_refused(&self, sight: &Sight<'_>, who: u32, error: &BootError) -> Result<(), Violation> {
        self.own("U3", format!("{} refuses its log: {error}", sight.name(who)))
    }

    /// U11: a newer version wrote into this log, so this one must refuse it for that, and change nothing.
    pub(in crate::sim) fn on_refused_newer(
        &self,
        sight: &Sight<'_>,
        who: u32,
        error: &BootError,
    ) -> Result<(), Violation> {
        let name = sight.name(who);
        if !sight.hosts[who as usize].disk.is_as_left() {
            return self.own("U11", format!("{name} refuses what a newer version wrote, and has changed it"));
        }
        if matches!(error, BootError::Record { why, .. } if why.ends_with("a newer version wrote this log")) {
            return Ok(());
        }
        self.own("U11", format!("{name} refuses what a newer version wrote, for another reason: {error}"))
    }

    fn own(&self, check: &'static str, what: String) -> Result<(), Violation> {
        if self.except.iter().any(|id| id == check) { Ok(()) } else { Err(Violation { check, what }) }
    }
}
