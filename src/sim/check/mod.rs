//! Invariants, one a file, each with an id that never changes its meaning. They see everything, true time included, and
//! nothing that they do is seen by a node.
//!
//! A check hears of every event that a node tells, of every acknowledgement, start and stop, and looks at the whole mesh
//! once a second. What must hold only when the mesh had time to heal is asked through [`Check::settled`]: sampled during the
//! calm to find when the mesh converged, and binding at its end.

mod a1;
mod c1;
mod c14;
mod c2;
mod c3;
mod c5;
mod c6;
mod c7;
mod disks;
mod f1;
mod g3;
mod g4;
mod g5;
mod j1;
mod j2;
mod j3;
mod k1;
mod k2;
mod k3;
mod k4;
mod k5;
mod k6;
mod k7;
mod k8;
mod k9;
mod l2;
mod m1;
mod m10;
mod m12;
mod m13;
mod m14;
mod m2;
mod m3;
mod m4;
mod m5;
mod m7;
mod m9;
mod moment;
mod o1;
mod o2;
mod o3;
mod o5;
mod o6;
mod o7;
mod r1;
mod r2;
mod r3;
mod r4;
mod s1;
mod set;
mod trust;
mod u1;
mod u10;
mod u11;
mod u12;
mod u13;
mod u2;
mod u4;
mod u5;
mod u6;
mod u7;
mod u8;
mod u9;

pub(super) use k5::{BEFORE_THE_END as ASKED_BEFORE_THE_END, CALM as DECISIONS_ARE_JUDGED_AFTER};
pub(super) use r2::CALM as LAG_IS_JUDGED_AFTER;
pub(super) use set::Checks;
pub use set::ids;
pub(super) use trust::Trust;

use super::host::Host;
use super::outcome::Figures;
use super::peers::PeerSet;
use super::plan::Plan;
use super::scenario::Scenario;
use super::world::Mesh;
use crate::consensus::{self, Token};
use crate::documents::{self, Listed, Stamp};
use crate::events::{Appended, Page};
use crate::node::{BootReport, Event, Node};
use crate::types::{DiskFault, LogId, NodeId, SegmentId, Seq};

/// An invariant did not hold.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    /// Which.
    pub check: &'static str,
    /// What was seen instead.
    pub what: String,
}

/// What a check says: nothing, or what it saw.
pub(super) type Verdict = Result<(), String>;

/// The mesh as the checks may see it.
#[derive(Clone, Copy)]
pub(super) struct Sight<'a> {
    pub(super) now: u64,
    pub(super) hosts: &'a [Host],
    pub(super) plan: &'a Plan,
    /// Which items of the plan last now.
    pub(super) active: &'a [bool],
    pub(super) scenario: &'a Scenario,
    /// Who was healed when the calm began, if it was not everybody.
    pub(super) core: Option<&'a PeerSet>,
    /// Whether the stores of voters hold what they promised, as far as disks can.
    pub(super) trust: &'a Trust,
}

impl<'a> Sight<'a> {
    pub(super) fn new(mesh: &'a Mesh, scenario: &'a Scenario) -> Self {
        Self {
            now: mesh.now,
            hosts: &mesh.hosts,
            plan: &mesh.plan,
            active: &mesh.active,
            scenario,
            core: mesh.core.as_ref(),
            trust: &mesh.trust,
        }
    }

    /// Whether this peer was healed, when only a part was.
    pub(super) fn is_healed(self, place: u32) -> bool {
        self.core.is_none_or(|core| core.has(place))
    }

    /// The peers that run a node and stay, with their nodes; once a core was healed, those of it.
    pub(super) fn live(self) -> impl Iterator<Item = (u32, &'a Host, &'a Node)> {
        let placed = (0..).zip(self.hosts).filter(move |(place, host)| !host.leaving && self.is_healed(*place));
        placed.filter_map(|(place, host)| host.node().map(|node| (place, host, node)))
    }

    /// The node of this place, if it is up.
    pub(super) fn node(self, place: u32) -> Option<&'a Node> {
        self.hosts[place as usize].node()
    }

    /// The place of a peer.
    pub(super) fn place(self, id: NodeId) -> Option<u32> {
        super::world::place_in(self.hosts, id)
    }

    /// A peer's name.
    pub(super) fn name(self, place: u32) -> &'a str {
        &self.scenario.mesh.nodes()[place as usize].name
    }

    /// The name of a peer known by its id.
    pub(super) fn name_of(self, id: NodeId) -> String {
        self.place(id).map_or_else(|| id.to_string(), |place| self.name(place).to_owned())
    }
}

/// What happens at a disk.
#[derive(Clone, Copy, Debug)]
pub(super) enum AtDisk<'a> {
    /// A process begins on what is there.
    Starts,
    /// It has handed over a write.
    Writes { segment: SegmentId, offset: u64, bytes: &'a [u8] },
    /// It is about to be told what came of this write.
    Answers { segment: SegmentId, offset: u64, len: u64, result: &'a Result<(), DiskFault> },
    /// It was given so many bytes to read.
    Reads { len: u64 },
    /// A file is about to be removed for it.
    Removes { segment: SegmentId },
    /// Writes are taken again, behind what is durable.
    Reopens,
}

/// One invariant.
pub(super) trait Check {
    /// Its id.
    fn id(&self) -> &'static str;
    /// A node told something.
    fn on_event(&mut self, _sight: &Sight<'_>, _who: u32, _event: &Event) -> Verdict {
        Ok(())
    }
    /// An edit of the plan was acknowledged.
    fn on_acknowledged(&mut self, _sight: &Sight<'_>, _who: u32, _edit: usize, _stamp: Option<Stamp>) -> Verdict {
        Ok(())
    }
    /// A write was acknowledged as held by these members too: an edit of the plan, or an append.
    fn on_copied(
        &mut self,
        _sight: &Sight<'_>,
        _who: u32,
        _edit: Option<usize>,
        _place: (LogId, Seq),
        _members: &[NodeId],
    ) -> Verdict {
        Ok(())
    }
    /// A node sends a message of consensus.
    fn on_said(&mut self, _sight: &Sight<'_>, _who: u32, _to: NodeId, _message: &consensus::Message) -> Verdict {
        Ok(())
    }
    /// A node is about to be given one.
    fn on_heard(&mut self, _sight: &Sight<'_>, _who: u32, _from: NodeId, _message: &consensus::Message) {}
    /// Something happens at a disk.
    fn on_disk(&mut self, _sight: &Sight<'_>, _who: u32, _what: AtDisk<'_>) -> Verdict {
        Ok(())
    }
    /// A node may speak.
    fn on_ready(&mut self, _sight: &Sight<'_>, _who: u32, _report: &BootReport) -> Verdict {
        Ok(())
    }
    /// A process is about to end.
    fn on_stopping(&mut self, _sight: &Sight<'_>, _who: u32) -> Verdict {
        Ok(())
    }
    /// A machine was replaced by an empty one.
    fn on_wiped(&mut self, _who: u32) {}
    /// An image of this number was taken of a machine's disk.
    fn on_imaged(&mut self, _who: u32, _image: usize) {}
    /// A machine's disk was put back to the image of this number.
    fn on_put_back(&mut self, _who: u32, _image: usize) {}
    /// What a machine's disk held is not what it holds any more; nobody knows what is left.
    fn on_damaged(&mut self, who: u32) {
        self.on_wiped(who);
    }
    /// A machine's snapshots were removed, so that its next start reads the whole log.
    fn on_snapshots_removed(&mut self, _who: u32) {}
    /// A machine was replaced by an empty one of another identity: told after [`on_wiped`](Self::on_wiped).
    fn on_replaced(&mut self, _who: u32) {}
    /// A second has passed.
    fn on_tick(&mut self, _sight: &Sight<'_>) -> Verdict {
        Ok(())
    }
    /// Whether what must hold at rest holds now.
    fn settled(&mut self, _sight: &Sight<'_>) -> Verdict {
        Ok(())
    }
    /// At the end: what a peer's documents say, all of them.
    fn on_content(&mut self, _sight: &Sight<'_>, _who: u32, _docs: &[Listed]) -> Verdict {
        Ok(())
    }
    /// At the end: the documents of all peers were read.
    fn on_all_content(&mut self, _sight: &Sight<'_>) -> Verdict {
        Ok(())
    }
    /// At the end: the open conflicts that a peer tells, and its trail.
    fn on_met(&mut self, _sight: &Sight<'_>, _who: u32, _met: &[documents::Outcome; 2]) -> Verdict {
        Ok(())
    }
    /// An append of the plan was acknowledged.
    fn on_appended(&mut self, _sight: &Sight<'_>, _who: u32, _append: usize, _says: &Appended) -> Verdict {
        Ok(())
    }
    /// At the end: what a peer's stream of this number says, from its start.
    fn on_stream(&mut self, _sight: &Sight<'_>, _who: u32, _stream: u32, _pages: &[Page]) -> Verdict {
        Ok(())
    }
    /// At the end something was asked of the voters; told again with what came of it.
    fn on_asked(&mut self, _result: Option<Result<Token, String>>) {}
    /// What it measured on the way.
    fn figures(&self, _figures: &mut Figures) {}
}
