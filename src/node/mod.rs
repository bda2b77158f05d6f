//! The node: composition only. It translates between the edge and the machines, and wires the machines to each other.
//!
//! The host's whole contract: [`Boot`] until it is a [`Node`], then [`Node::handle`] for each input,
//! [`Node::poll_effect`] until it is empty, and nothing more until [`Node::deadline`] or the next input. `handle` returns
//! nothing and never blocks. Effects come in the order in which they must be performed.
//!
//! Inside, each protocol is a [`Machine`](crate::machine::Machine) that speaks only its own words. `route` is the wiring
//! diagram: which machine hears whose events. `hosted` translates a machine's words into the edge's: messages into
//! frames, records into log bytes, timers into one table.
//!
//! **Invariants.** The node never decides what a protocol decides. A send that depends on the disk leaves only after its
//! `Persisted` has come. Nothing that a peer sends can panic it. Its state is a function of its inputs and its seed.

mod alone;
mod boot;
mod decide;
mod edge;
mod hosted;
mod life;
mod load;
mod points;
mod policies;
mod quarantine;
mod record;
mod reopen;
mod replay;
mod replicas;
mod replicate;
mod route;
mod serving;
mod shared;
mod snapshot;
mod stall;
mod status;
#[cfg(test)]
mod tests;
mod timers;
mod vacancy;
mod voters;
mod wishes;

pub use alone::Alone;
#[cfg(feature = "sim")]
pub(crate) use alone::Crash;
pub use boot::{Boot, BootError, BootReport, Progress};
pub use decide::{Decider, Deciders, Decision, Decisions, Granted, Proposal, VotersChange};
pub use edge::{Command, CommandError, Effect, Event, Held, Identity, Input, Io, IoOutcome, Outcome, Proposed};
pub use points::{POINTS_MAX, Point, PointError};
pub use policies::{POLICIES_REGISTER, PoliciesStatus, Remembered, read_policies, write_policies};
pub use quarantine::{Quarantine, Suspect};
pub use record::{Own, Restored};
pub use replicas::{ReplicaNode, Replicas, ReplicationSettings, ReplicationStatistics};
pub use replicate::{Copies, Paused};
pub use serving::{RoleOrder, RoleStatus};
pub use snapshot::{Pack, SnapshotFile, SnapshotState, Taken, Untaken, id_of_snapshot, look_at_snapshot};
pub use status::{Coordination, Intake, Level, MemberStatus, PolicyStatus, Restoring, SnapshotsStatus, Status};
pub use vacancy::{Vacancy, VacancyCode};
pub use voters::Config as VotersConfig;
pub use wishes::{WISHES_REGISTER, Wishes};

use std::sync::Arc;

use crate::audit::{self, Audit};
use crate::consensus::{self, Consensus};
use crate::documents::Documents;
use crate::events::Events;
use crate::membership::{self, Membership, Meta};
use crate::overlay::{self, Overlay};
use crate::probe::{always, planted, reachable};
use crate::replication::{self, Replication};
use crate::roles::{self, Roles};
use crate::topology::Policy;
use crate::types::{
    Actor, Address, Boot as BootNumber, CommandId, DiskFault, IoId, Lane, Mint, NodeId, Now, PersistId, TaskId, Time,
};
use crate::wire::{self, Kind};
use crate::{documents, events, wal};
use hosted::Wait;
use points::Points;
use shared::Shared;
use timers::Timer;

/// What the host decides about a node.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Who it is.
    pub identity: Identity,
    /// Where its luck comes from: fresh entropy at every start in production, drawn from the run's seed in simulation.
    pub seed: [u8; 32],
    /// What it says of itself.
    pub meta: Meta,
    /// How its machines behave.
    pub config: Config,
    /// Whether it may found the group of voters: the first peer of a mesh, and nobody else ever.
    pub founds: bool,
}

/// How the machines behave.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Config {
    /// Of SWIM.
    pub membership: membership::Config,
    /// Who exchanges deltas with whom, where no policy was set for the mesh.
    pub policy: Policy,
    /// Of links.
    pub overlay: overlay::Config,
    /// Of origin logs.
    pub replication: replication::Config,
    /// Of documents.
    pub documents: documents::Config,
    /// Of streams.
    pub events: events::Config,
    /// Of audits.
    pub audit: audit::Config,
    /// Of consensus.
    #[serde(default)]
    pub consensus: consensus::Config,
    /// Who votes.
    #[serde(default)]
    pub voters: VotersConfig,
    /// Of roles.
    #[serde(default)]
    pub roles: roles::Config,
    /// Of the log.
    pub wal: wal::Config,
    /// Of snapshots of it.
    #[serde(default)]
    pub snapshots: wal::SnapshotConfig,
}

/// Timers that are due at one moment at most, each member having a few: more arm each other for at once, and would for ever.
const TIMERS_MAX: usize = 1 << 18;

/// One peer of the mesh, without clock, socket, file or thread.
#[derive(Debug)]
pub struct Node {
    identity: Identity,
    boot: BootNumber,
    actor: Actor,
    meta: Meta,
    leaving: bool,
    /// Set by events, consumed by the overlay at the end of the same input.
    members_changed: bool,
    /// Whom replication takes for replicas, or who speaks for whom, may have changed.
    replicas_changed: bool,
    read_only: Option<DiskFault>,
    reopening: reopen::Reopening,
    stall: stall::Stall,
    /// How many documents the log had.
    restored: usize,
    /// What the log had lost at its end.
    cut: Option<String>,
    /// From what the log was restored, if it ever was.
    put_back: Option<Restored>,
    points: Points,
    policies: PoliciesStatus,
    /// By which decision that is.
    remembered: Option<Remembered>,
    snapshots: snapshot::Snapshots,
    membership: Membership,
    overlay: Overlay,
    replication: Replication,
    documents: Documents,
    events: Events,
    acks: replicate::Acks,
    audit: Audit,
    consensus: Consensus,
    voters: voters::Voters,
    deciding: decide::Deciding,
    going: Option<decide::Going>,
    roles: Roles,
    serving: serving::Serving,
    shared: Shared,
}

impl Node {
    /// Handles one input. Afterwards [`poll_effect`](Self::poll_effect) must be drained.
    ///
    /// # Panics
    /// When effects of the input before were not drained: a mistake of the host.
    pub fn handle(&mut self, now: Now, input: Input) {
        assert!(self.shared.effects.is_empty(), "drain the effects before the next input");
        match input {
            Input::Wake => {}
            Input::Received { from, lane, frame } => self.on_frame(now, from, lane, &frame),
            Input::Linked { peer } => {
                self.shared.step(now, |cx| self.membership.on_linked(cx, peer));
                self.shared.step(now, |cx| self.overlay.on_linked(cx, peer, self.membership.view()));
                self.shared.step(now, |cx| self.consensus.on_linked(cx, peer));
            }
            Input::Unlinked { peer } => {
                self.shared.step(now, |cx| self.overlay.on_unlinked(cx, peer, self.membership.view()));
                self.shared.step(now, |cx| self.membership.on_unlinked(cx, peer));
                self.shared.step(now, |cx| self.consensus.on_unlinked(cx, peer));
                self.serve(now, |machine, cx, sight| machine.on_unlinked(cx, sight, peer));
            }
            Input::DialFailed { peer } => {
                self.shared.step(now, |cx| self.overlay.on_dial_failed(cx, peer));
                self.shared.step(now, |cx| self.membership.on_dial_failed(cx, peer));
            }
            Input::Listening { addresses } => self.on_listening(now, addresses),
            Input::Persisted { id, result } => self.on_persisted(now, id, result),
            Input::IoDone { id, result } => self.on_io_done(now, id, result),
            Input::TaskDone { id, done } => self.on_task_done(now, id, done),
            Input::Packed { id, bytes } => self.on_packed(now, id, bytes),
            Input::Policies { held } => {
                self.shared.step(now, |cx| self.overlay.on_policies(cx, held, self.membership.view()));
            }
            Input::Command { id, command } => self.on_command(now, id, command),
        }
        self.watch_disk(now);
        self.route(now);
        self.fire_due(now);
    }

    /// The next thing to do, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.shared.effects.pop_front()
    }

    /// When the node wants to be woken if nothing else happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.shared.timers.next()
    }

    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// As whom it writes.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.actor
    }

    /// Who is in the mesh, as it sees it.
    #[must_use]
    pub fn membership(&self) -> membership::View<'_> {
        self.membership.view()
    }

    /// With whom it exchanges deltas.
    #[must_use]
    pub fn overlay(&self) -> overlay::View<'_> {
        self.overlay.view()
    }

    /// Which origin logs it holds.
    #[must_use]
    pub fn replication(&self) -> replication::View<'_> {
        self.replication.view()
    }

    /// Which documents it holds.
    #[must_use]
    pub fn documents(&self) -> documents::View<'_> {
        self.documents.view()
    }

    /// Which streams it holds.
    #[must_use]
    pub fn events(&self) -> events::View<'_> {
        self.events.view()
    }

    /// What audits found.
    #[must_use]
    pub fn audits(&self) -> &audit::Findings {
        self.audit.findings()
    }

    /// What is decided, and by whom.
    #[must_use]
    pub fn consensus(&self) -> consensus::View<'_> {
        self.consensus.view()
    }

    /// Why the log takes no more writes, if it does not.
    #[must_use]
    pub fn read_only(&self) -> Option<&DiskFault> {
        self.read_only.as_ref()
    }

    fn on_frame(&mut self, now: Now, from: NodeId, lane: Lane, frame: &[u8]) {
        self.shared.counts.bytes_received += frame.len() as u64;
        if let Err(error) = self.try_frame(now, from, lane, frame) {
            let why: Arc<str> = error.to_string().into();
            self.shared.effects.push_back(Effect::Notify(Event::BadFrame { peer: from, why: why.clone() }));
            // The transport is reliable and authenticated: a frame that cannot be read means a peer that does not speak
            // our language, or that lies. Dialling again with backoff is what the overlay does about it.
            self.shared.effects.push_back(Effect::Close { peer: from, why });
        }
    }

    fn try_frame(&mut self, now: Now, from: NodeId, lane: Lane, frame: &[u8]) -> Result<(), wire::Error> {
        let Some(payload) = wire::open(frame, lane)? else { return self.skip(frame) };
        match payload.kind() {
            Kind::Membership => {
                let message = payload.decode()?;
                self.shared.step(now, |cx| self.membership.on_message(cx, from, message));
            }
            Kind::Replication => {
                let message = payload.decode()?;
                self.shared.step(now, |cx| self.replication.on_message(cx, from, message));
            }
            Kind::Audit => {
                let message = payload.decode()?;
                if self.overlay.view().neighbors().contains(&from) {
                    let sight = sight(&self.documents, &self.replication);
                    self.shared.step(now, |cx| self.audit.on_message(cx, from, message, sight));
                }
            }
            Kind::Consensus => {
                let message: consensus::Message = payload.decode()?;
                if decide::is_foreign(&message) {
                    let why = "it asks for a decision about a role, which only the leader does".into();
                    self.shared.effects.push_back(Effect::Notify(Event::BadFrame { peer: from, why }));
                    return Ok(());
                }
                self.shared.step(now, |cx| self.consensus.on_message(cx, from, message));
            }
            Kind::Roles => {
                let message = payload.decode()?;
                self.on_role_message(now, from, message);
            }
            Kind::Overlay => {
                let message = payload.decode()?;
                self.shared.step(now, |cx| self.overlay.on_message(cx, from, message));
            }
        }
        Ok(())
    }

    /// A frame that only a newer version knows.
    fn skip(&mut self, frame: &[u8]) -> Result<(), wire::Error> {
        if planted!("node/skippable-closes-the-link") {
            return Err(wire::Error::Kind { found: frame.get(1).copied().unwrap_or_default() });
        }
        reachable!("node/frame-of-a-newer-version-skipped");
        self.shared.counts.frames_skipped += 1;
        Ok(())
    }

    fn on_listening(&mut self, now: Now, addresses: Vec<Address>) {
        self.meta.addresses = addresses;
        // The best come first: what does not fit is left out, so that the rest can be gossiped.
        while self.meta.check().is_err() && self.meta.addresses.pop().is_some() {}
        self.describe(now);
    }

    fn describe(&mut self, now: Now) {
        let meta = self.meta.clone();
        self.shared.step(now, |cx| {
            self.membership.set_meta(cx, meta).expect("the boot has checked it without addresses");
        });
    }

    fn on_persisted(&mut self, now: Now, id: PersistId, result: Result<(), DiskFault>) {
        let result = if planted!("node/failed-write-ignored") { Ok(()) } else { result };
        let (wait, position) = self.shared.persisted(id, result.is_ok());
        if let Wait::Snapshot(wait) = wait {
            return self.on_snapshot(now, wait, result.map(|()| None));
        }
        if let Err(fault) = &result {
            self.on_unwritten(now, fault);
        }
        match wait {
            Wait::Replication(wait) => {
                let result = result.map(|()| position);
                self.shared.step(now, |cx| self.replication.on_persisted(cx, wait, result));
            }
            Wait::Consensus(wait) => self.shared.step(now, |cx| self.consensus.on_persisted(cx, wait, result)),
            Wait::Roles(wait) => {
                self.serve(now, |machine, cx, sight| machine.on_persisted(cx, sight, &wait, &result));
            }
            Wait::Events(_) => unreachable!("streams write nothing of their own"),
            Wait::Reopen | Wait::Snapshot(_) => unreachable!("it is not a write of the log"),
            Wait::Point(id, point) => self.on_point(id, point, result),
            Wait::Node => {}
        }
    }

    fn on_io_done(&mut self, now: Now, id: IoId, result: Result<IoOutcome, DiskFault>) {
        let (wait, position) = self.shared.io_done(id);
        match wait {
            Wait::Replication(wait) => {
                let result = self.shared.read_back(position, result);
                self.shared.step(now, |cx| self.replication.on_read(cx, wait, result));
            }
            Wait::Events(wait) => {
                let result = self.shared.read_back(position, result).map(|record| record.body);
                self.shared.step(now, |cx| self.events.on_read(cx, wait, result));
            }
            Wait::Reopen => self.on_reopened(now, result),
            Wait::Snapshot(wait) => self.on_snapshot(now, wait, result.map(Some)),
            Wait::Consensus(_) | Wait::Roles(_) => unreachable!("it reads nothing"),
            Wait::Node | Wait::Point(..) => {}
        }
    }

    fn on_task_done(&mut self, now: Now, id: TaskId, done: documents::Done) {
        self.shared.task_done(id);
        self.shared.step(now, |cx| self.documents.on_done(cx, done));
    }

    fn on_command(&mut self, now: Now, id: CommandId, command: Command) {
        let result = match command {
            Command::Documents(documents::Command::Edit { .. } | documents::Command::EditAt { .. })
            | Command::Events(events::Command::Append { .. })
                if self.leaving =>
            {
                Err(CommandError::Leaving)
            }
            Command::Documents(command) => {
                return self.shared.step(now, |cx| self.documents.on_command(cx, id, command));
            }
            Command::Events(command) => {
                return self.shared.step(now, |cx| self.events.on_command(cx, id, command));
            }
            Command::Status => Ok(Outcome::Status(Box::new(self.status(now)))),
            Command::Acknowledged { command, ack } => return self.on_acknowledged(now, id, *command, ack),
            Command::Spread { ack, within } => return self.on_spread(now, id, ack, within),
            Command::Pause(pause) => return self.on_pause(now, id, pause),
            Command::Replicas => Ok(Outcome::Replicas(self.replicas(now))),
            Command::Statistics => Ok(Outcome::Statistics(Box::new(self.replication_statistics(now)))),
            Command::Quarantine => Ok(Outcome::Quarantine(Box::new(self.quarantine()))),
            Command::Release { origin } => Ok(Outcome::Released { entries: self.release(now, origin) }),
            Command::Forget { node } => self.forget(now, node),
            Command::Point { .. } if let Some(fault) = &self.read_only => Err(CommandError::Disk(fault.clone())),
            Command::Point { name } => match self.point(now, id, name) {
                Ok(()) => return,
                Err(refused) => Err(refused.into()),
            },
            Command::Points => Ok(Outcome::Points(self.points.all())),
            Command::Snapshot => match self.ask_snapshot(now, id) {
                Ok(()) => return,
                Err(error) => Err(error),
            },
            Command::Snapshots => Ok(Outcome::Snapshots(self.snapshots.all())),
            Command::Propose(_) if self.leaving => Err(CommandError::Leaving),
            Command::Propose(proposal) => match self.propose(now, id, proposal) {
                Ok(()) => return,
                Err(refused) => Err(refused),
            },
            Command::Deciders => Ok(Outcome::Deciders(Box::new(self.deciders()))),
            Command::ChangeVoters(change) => match self.change_voters(now, id, change).transpose() {
                Some(result) => result,
                None => return,
            },
            Command::Decisions { after, limit } => Ok(Outcome::Decisions(self.decisions(after, limit))),
            Command::Register { name } => Ok(Outcome::Register(self.register(&name))),
            Command::Policies => Ok(Outcome::Policies(Box::new(self.policies.clone()))),
            Command::Roles => Ok(Outcome::Roles(self.roles(now))),
            Command::OrderRole(order) => match self.order_role(now, id, order) {
                Ok(()) => return,
                Err(refused) => Err(refused),
            },
            Command::AdmitRole { role, token } => match self.admit_role(now, id, &role, token).transpose() {
                Some(result) => result,
                None => return,
            },
            Command::RoleHooksDone { role, token, which, is_well } => {
                self.hooks_done(now, &role, token, (which, is_well));
                Ok(Outcome::Told)
            }
            Command::Load { percent } => {
                self.set_load(now, Some(percent));
                Ok(Outcome::Told)
            }
            Command::Leave if self.going.is_some() => Err(CommandError::Leaving),
            Command::Leave => return self.leave(now, id),
        };
        self.shared.effects.push_back(Effect::Reply { id, result });
    }

    /// A member that does not come back is to be a trouble no more.
    fn forget(&mut self, now: Now, node: NodeId) -> Result<Outcome, CommandError> {
        let mut result = Ok(());
        self.shared.step(now, |cx| result = self.membership.forget(cx, node));
        result?;
        self.members_changed = true;
        Ok(Outcome::Forgotten)
    }

    /// Fires what is due, one timer at a time: an earlier one may disarm a later one.
    fn fire_due(&mut self, now: Now) {
        let mut fired = 0;
        while let Some(timer) = self.shared.timers.take_due(now.mono) {
            fired += 1;
            always!(fired < TIMERS_MAX, "node/timers-come-to-an-end");
            match timer {
                Timer::Membership(timer) => self.shared.step(now, |cx| self.membership.on_timer(cx, timer)),
                Timer::Overlay(timer) => {
                    self.shared.step(now, |cx| self.overlay.on_timer(cx, timer, self.membership.view()));
                }
                Timer::Replication(timer) => self.shared.step(now, |cx| self.replication.on_timer(cx, timer)),
                Timer::Documents(timer) => self.shared.step(now, |cx| self.documents.on_timer(cx, timer)),
                Timer::Audit(audit::Timer::Due) => {
                    let neighbors: Vec<NodeId> = self.overlay.view().neighbors().iter().copied().collect();
                    let sight = sight(&self.documents, &self.replication);
                    self.shared.step(now, |cx| self.audit.on_timer(cx, &neighbors, sight));
                }
                Timer::Events(timer) => self.shared.step(now, |cx| self.events.on_timer(cx, timer)),
                Timer::Consensus(timer) => self.shared.step(now, |cx| self.consensus.on_timer(cx, timer)),
                Timer::Roles(timer) => self.serve(now, |machine, cx, sight| machine.on_timer(cx, sight, &timer)),
                Timer::Voters => self.voters.changed = true,
                Timer::Reopen => self.reopen(now),
                Timer::Stall => self.on_stall(now),
                Timer::Snapshot => self.look_at_snapshots(now),
            }
            self.route(now);
        }
    }

    /// Writes as a new actor from now on, so that no (actor, sequence) is ever used twice. The record precedes every
    /// entry of the new actor in the log, so a crash that loses it loses them too.
    fn mint(&mut self, now: Now, why: &str) {
        self.actor = Actor { node: self.identity.node, mint: Mint::new(self.shared.rngs.node.bits()) };
        reachable!("node/new-actor");
        // A log that takes nothing is not asked to: when it does again, another actor is minted.
        if self.read_only.is_none() {
            self.shared.append(now, &Own::Minted { actor: self.actor }, Wait::Node);
        }
        let actor = self.actor;
        self.shared.step(now, |cx| self.replication.mint(cx, actor));
        self.documents.mint(actor);
        self.shared.effects.push_back(Effect::Notify(Event::Minted { actor, why: why.into() }));
    }
}

/// What an audit may look at.
fn sight<'a>(documents: &'a Documents, replication: &Replication) -> audit::Sight<'a> {
    let (documents, replication) = (documents.view(), replication.view());
    let unrest = if documents.busy() {
        Some("changes are being applied")
    } else if replication.behind() > 0 || !replication.forks().is_empty() {
        Some("logs are being caught up on")
    } else {
        None
    };
    audit::Sight { documents, vector: replication.digest(), unrest }
}
