//! What an operator sees of a node.

use serde::Serialize;

use super::{Deciders, Node, ReplicaNode, Restored, SnapshotFile, Suspect, Untaken, Vacancy};
use crate::audit::Findings;
use crate::consensus::Standing;
use crate::documents::Usage;
use crate::membership::{Grounds, Member, Meta, State};
use crate::overlay::SignedPolicy;
use crate::topology::Policy;
use crate::types::{Actor, Boot, Digest, DiskFault, Incarnation, NodeId, Now, Time, TimelineId};

/// How this node stands, from its own knowledge.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// The node.
    pub node: NodeId,
    /// Its mesh, as hex.
    pub cluster: String,
    /// Its name.
    pub name: String,
    /// Which life of it.
    pub boot: Boot,
    /// As whom it writes.
    pub actor: Actor,
    /// The members it knows, itself included, in order of id.
    pub members: Vec<MemberStatus>,
    /// The kind of overlay: `star`, `mesh` or `tree`.
    pub overlay: String,
    /// With whom it exchanges deltas.
    pub neighbors: Vec<NodeId>,
    /// How many documents have content.
    pub documents: usize,
    /// How much of the documents is in memory.
    pub memory: Usage,
    /// Equal on two nodes if and only if they hold the same changes of the same documents.
    pub content: Digest,
    /// Changes that wait for others before they can be applied.
    pub orphans: usize,
    /// Changes refused by the admission check since the start.
    pub refused: u64,
    /// Origins whose entries were refused, or that have suspiciously many waiting changes or logs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quarantined: Vec<Suspect>,
    /// Functions that policies of conflicts name and that this peer does not have: it shows the last write where others show what the
    /// function makes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing_functions: Vec<String>,
    /// Why the policies of conflicts that were decided cannot be read here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable_policies: Option<String>,
    /// What audits found: whether neighbours with the same logs have the same documents.
    pub audit: Findings,
    /// Equal on two nodes if and only if they hold the same origin logs.
    pub vector: Digest,
    /// How many streams there are.
    pub streams: usize,
    /// How many events are kept.
    pub events: u64,
    /// Entries held, over all origin logs.
    pub entries: u64,
    /// Bytes of frames sent since the start.
    pub bytes_sent: u64,
    /// Bytes of frames received since the start.
    pub bytes_received: u64,
    /// Frames since the start of kinds that only a newer version knows: skipped, as they ask for.
    pub frames_skipped: u64,
    /// The replicas whose lag has passed a threshold.
    pub lagging: Vec<ReplicaNode>,
    /// The replicas that are paused here.
    pub paused: Vec<NodeId>,
    /// The neighbours where this node is paused.
    pub paused_by: Vec<NodeId>,
    /// Set when the log takes no more writes.
    pub read_only: Option<DiskFault>,
    /// For how long the disk has not answered a write, in milliseconds, if that is too long.
    pub disk_stalled_ms: Option<u64>,
    /// Which overlay is followed, and why that one.
    pub overlay_policy: PolicyStatus,
    /// Set while documents are put together after the start.
    pub restoring: Option<Restoring>,
    /// What the log had lost at its end when this life began, in words: where, how much, and why.
    pub log_cut: Option<String>,
    /// What neighbours told of what they hold, and what of it is missing.
    pub intake: Intake,
    /// From what the log was restored, the last time that it was.
    pub log_restored: Option<Restored>,
    /// Snapshots of what the log says.
    pub snapshots: SnapshotsStatus,
    /// What can be done here, and who decides.
    pub coordination: Coordination,
    /// Roles in which nobody acts, as far as this peer can tell.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vacancies: Vec<Vacancy>,
}

/// What can be done at a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Everything.
    Full,
    /// Everything but decisions of the voters.
    Degraded,
    /// The same, and nobody else hears of it.
    Isolated,
    /// The log takes no writes.
    ReadOnly,
}

/// See [`Level`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Coordination {
    /// What can be done.
    pub level: Level,
    /// Why not everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// Who decides.
    #[serde(flatten)]
    pub deciders: Deciders,
}

/// How a node stands to what its neighbours hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Intake {
    /// Of how many logs somebody holds more.
    pub behind: usize,
    /// How many neighbours have told all that they hold since they were linked.
    pub heard: usize,
    /// How many have not yet.
    pub unheard: usize,
}

/// Snapshots of a node's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotsStatus {
    /// From which this life began, if from any: what stands before it in the log was not read.
    pub start: Option<SnapshotFile>,
    /// Those that it did not take, and why.
    pub refused: Vec<Untaken>,
    /// The newest that is known to be whole.
    pub newest: Option<SnapshotFile>,
    /// Whether one is being taken.
    pub taking: bool,
}

/// How far a node is with putting its documents together after a start. Reads and edits of those that are left wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Restoring {
    /// Documents that are done.
    pub done: usize,
    /// All that were in the log.
    pub of: usize,
}

/// Which overlay a node follows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyStatus {
    /// By its configuration.
    pub configured: Policy,
    /// By which neighbours are computed.
    pub followed: Policy,
    /// What was set for the mesh, if anything was: it counts more than what is configured.
    pub set: Option<SignedPolicy>,
}

/// One member as this node sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MemberStatus {
    /// Who.
    pub node: NodeId,
    /// Which life of it.
    pub boot: Boot,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// What this node thinks of it.
    pub state: State,
    /// Whether there is a link to it.
    pub linked: bool,
    /// Whether deltas are exchanged with it.
    pub neighbor: bool,
    /// Round trip of the last answered probe, in microseconds.
    pub rtt_us: Option<u64>,
    /// For how long it has been in this state, in milliseconds.
    pub since_ms: u64,
    /// Who accuses it, if it is suspect or dead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accusers: Vec<NodeId>,
    /// Why it is suspect, or was before it was declared dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspected: Option<Grounds>,
    /// What it says of itself.
    #[serde(flatten)]
    pub meta: Meta,
}

impl Node {
    /// Of which timeline of the mesh its log is.
    #[must_use]
    pub fn timeline(&self) -> TimelineId {
        self.put_back.as_ref().map_or(TimelineId::FIRST, Restored::line)
    }

    /// How this node stands, from its own knowledge.
    #[must_use]
    pub fn status(&self, now: Now) -> Status {
        let (overlay, documents, replication) = (self.overlay.view(), self.documents.view(), self.replication.view());
        Status {
            node: self.identity.node,
            cluster: self.identity.cluster.to_string(),
            name: self.meta.name.clone(),
            boot: self.boot,
            actor: self.actor,
            members: self.membership.view().members().map(|member| self.member_status(now, member)).collect(),
            overlay: overlay.kind().to_owned(),
            neighbors: overlay.neighbors().iter().copied().collect(),
            documents: documents.count(),
            memory: documents.memory(),
            content: documents.content(),
            orphans: documents.orphans(),
            refused: documents.refused(),
            quarantined: self.suspects(),
            missing_functions: self.policies.missing.clone(),
            unreadable_policies: self.policies.unreadable.clone(),
            audit: self.audit.findings().clone(),
            streams: self.events.view().count(),
            events: self.events.view().events(),
            vector: replication.digest(),
            entries: replication.entries(),
            intake: {
                let (heard, unheard) = replication.heard();
                Intake { behind: replication.behind() + replication.forks().len(), heard, unheard }
            },
            bytes_sent: self.shared.counts.bytes_sent,
            bytes_received: self.shared.counts.bytes_received,
            frames_skipped: self.shared.counts.frames_skipped,
            lagging: self.replicas(now).replicas.into_iter().filter(|replica| replica.lagging).collect(),
            paused: replication.paused().iter().copied().collect(),
            paused_by: replication.paused_by().iter().copied().collect(),
            read_only: self.read_only.clone(),
            disk_stalled_ms: self
                .shared
                .oldest_write()
                .filter(|_| self.stall.stalled)
                .map(|asked| u64::try_from(now.mono.since(asked).as_millis()).unwrap_or(u64::MAX)),
            overlay_policy: PolicyStatus {
                configured: overlay.configured(),
                followed: overlay.policy(),
                set: overlay.policies().in_force().cloned(),
            },
            restoring: Some(documents.restoring())
                .filter(|left| *left > 0)
                .map(|left| Restoring { done: self.restored.saturating_sub(left), of: self.restored }),
            log_cut: self.cut.clone(),
            log_restored: self.put_back.clone(),
            snapshots: SnapshotsStatus {
                start: self.snapshots.start.clone(),
                refused: self.snapshots.untaken.clone(),
                newest: self.snapshots.newest(),
                taking: self.snapshots.is_taking(),
            },
            coordination: self.coordination(now.mono),
            vacancies: self.vacancies(now),
        }
    }

    /// What can be done here.
    fn coordination(&self, now: Time) -> Coordination {
        let (deciders, view) = (self.deciders(), self.consensus.view());
        let (mut level, mut reasons) = (Level::Full, Vec::new());
        let mut at_least = |than: Level, why: String| {
            level = level.max(than);
            reasons.push(why);
        };
        let linked = self.overlay.view().links();
        let voter_linked = view.deciders().is_some_and(|group| group.voters().any(|it| linked.contains(&it.id.node)));
        match view.standing() {
            Standing::Outsider if deciders.members.is_empty() => {
                at_least(Level::Degraded, "no group of voters is known here".to_owned());
            }
            Standing::Outsider if !voter_linked => {
                at_least(Level::Degraded, "no voter is linked".to_owned());
            }
            Standing::Halted => at_least(Level::Degraded, "the disk failed: this peer votes no more".to_owned()),
            Standing::Outsider if self.deafened().is_some() => {
                at_least(Level::Degraded, "the disk failed: this peer hears of no decision".to_owned());
            }
            Standing::Leader => {}
            Standing::Outsider if deciders.leader.is_none() && self.told_leader(now).is_none() => {
                let why = "nobody leads the voters, as far as this peer knows: no majority of them is in reach";
                at_least(Level::Degraded, why.to_owned());
            }
            Standing::Outsider => {}
            _ if deciders.leader.is_none() => {
                at_least(Level::Degraded, "nobody leads the voters: no majority of them is in reach".to_owned());
            }
            _ => {}
        }
        if linked.is_empty()
            && self.membership.view().members().any(|it| it.id != self.identity.node && it.is_present())
        {
            at_least(Level::Isolated, "no other member is linked".to_owned());
        }
        if let Some(fault) = &self.read_only {
            at_least(Level::ReadOnly, format!("the log takes no writes: {fault}"));
        }
        Coordination { level, reasons, deciders }
    }

    fn member_status(&self, now: Now, member: &Member) -> MemberStatus {
        let overlay = self.overlay.view();
        MemberStatus {
            node: member.id,
            boot: member.boot,
            incarnation: member.incarnation,
            state: member.state,
            linked: overlay.links().contains(&member.id),
            neighbor: overlay.neighbors().contains(&member.id),
            rtt_us: self.membership.view().rtt(member.id).map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
            since_ms: u64::try_from(now.mono.since(member.since).as_millis()).unwrap_or(u64::MAX),
            accusers: self.membership.view().accusers(member.id).to_vec(),
            suspected: self.membership.view().grounds(member.id),
            meta: (*member.meta).clone(),
        }
    }
}
