//! What the node tells, as log lines for operators: what changes the mesh at `info`, what needs a look at `warn`, what needs a
//! hand at `error`, the rest at `debug` or `trace`.

use crate::node::Event;
use crate::types::DiskFaultKind;
use crate::{audit, consensus, documents, events, membership, overlay, replication, roles};

pub(super) fn log(event: &Event) {
    match event {
        Event::Membership(event) => membership(event),
        Event::Overlay(event) => overlay(event),
        Event::Replication(event) => replication(event),
        Event::Documents(event) => documents(event),
        Event::Events(event) => events(event),
        Event::Audit(event) => audit(event),
        Event::Consensus(event) => consensus(event),
        Event::Roles(event) => roles(event),
        Event::BadFrame { peer, why } => tracing::warn!(%peer, %why, "a frame that cannot be read; the link is closed"),
        Event::ReadOnly { fault } => {
            let until = match fault.kind {
                DiskFaultKind::Full => "until there is room on the disk",
                _ => "until this peer is restarted",
            };
            tracing::error!(%fault, until, "the log takes no more writes: edits are refused");
        }
        Event::DiskStalls { after } => {
            tracing::error!(?after, "the disk does not answer: others do not rely on this peer until it does")
        }
        Event::DiskAnswers => tracing::info!("the disk answers again"),
        Event::Writable => tracing::info!("there is room on the disk again: edits are taken"),
        Event::SnapshotTaken { id, taken } => {
            tracing::info!(id, lsn = %taken.lsn, bytes = taken.bytes, documents = taken.documents, "a snapshot is taken");
        }
        Event::SnapshotFailed { id, why } => tracing::warn!(id, %why, "no snapshot was taken; it is tried again"),
        Event::SnapshotRefused { file, why } => {
            tracing::warn!(%file, %why, "the start did not take this snapshot; the log has all of it");
        }
        Event::Minted { actor, why } => tracing::warn!(mint = %actor.mint, %why, "this peer writes as a new actor"),
    }
}

fn membership(event: &membership::Event) {
    use membership::Event as E;
    match event {
        E::Joined { member, from } => tracing::info!(%member, %from, "a member joined"),
        E::Suspected { member, by, grounds } => tracing::info!(%member, %by, ?grounds, "a member is suspect"),
        E::Refuted { member, from } => tracing::info!(%member, %from, "a suspect answered"),
        E::Died { member, by, accusers, suspected_ms, health } => {
            tracing::warn!(%member, %by, accusers = accusers.len(), suspected_ms, health, "a member is dead");
        }
        E::Left { member, from } => tracing::info!(%member, %from, "a member left"),
        E::Defended { incarnation, from } => {
            tracing::warn!(%incarnation, %from, "this peer was suspect and has answered");
        }
        E::PeerFault { peer, why } => tracing::warn!(%peer, %why, "a peer sent what no correct peer sends"),
        other => tracing::debug!(event = ?other, "membership"),
    }
}

fn roles(event: &roles::Event) {
    use roles::Event as E;
    match event {
        E::Promote { role, token, .. } => tracing::info!(%role, %token, "this peer holds a role from now on"),
        E::Demote { role, token, why, .. } => tracing::warn!(%role, %token, ?why, "this peer holds a role no more"),
        E::StopHooks { role, token } => tracing::warn!(%role, %token, "hooks have had their time"),
        E::Completed { role, holder, took, .. } => tracing::info!(%role, %holder, ?took, "a role changed hands"),
        E::Alert { role, alert } => tracing::error!(%role, ?alert, "a role needs a hand"),
        E::PeerFault { peer, fault } => tracing::warn!(%peer, %fault, "a peer sent what no correct peer sends"),
        other => tracing::debug!(event = ?other, "roles"),
    }
}

fn consensus(event: &consensus::Event) {
    use consensus::Event as E;
    match event {
        E::Elected { term } => tracing::info!(%term, "this peer leads the voters"),
        E::Resigned { term, why } => tracing::info!(%term, ?why, "this peer does not lead the voters any more"),
        E::Follows { leader: Some(leader), term } => {
            tracing::info!(leader = %leader.node, %term, "somebody leads the voters")
        }
        E::Changed { token, group } => {
            let voters = group.voters().count();
            tracing::info!(%token, voters, members = group.members().len(), "who votes has changed");
        }
        E::LostMemory { acknowledged, last } => {
            tracing::warn!(%acknowledged, %last, "this store lost what it had promised as a voter; it takes part anew");
        }
        E::DiskFailed { fault } => tracing::error!(%fault, "this peer votes no more until its log takes writes"),
        E::Disowned { peer, epoch } => {
            tracing::warn!(%peer, %epoch, "a voter or learner says that this peer votes no more; others are asked");
        }
        E::NewerEpoch { peer, epoch } => tracing::warn!(%peer, %epoch, "the voters were formed anew without this peer"),
        E::PeerFault { peer, fault } => tracing::warn!(%peer, %fault, "a peer sent what no correct voter sends"),
        other => tracing::debug!(event = ?other, "consensus"),
    }
}

fn overlay(event: &overlay::Event) {
    match event {
        overlay::Event::NeighborUp { peer } => tracing::debug!(%peer, "exchanging deltas"),
        overlay::Event::PolicyInForce { policy } => {
            let overlay::SignedPolicy { version, signer, policy, .. } = policy;
            tracing::info!(%policy, version, %signer, "the mesh has another overlay");
        }
        overlay::Event::NeighborDown { peer } => tracing::debug!(%peer, "no longer exchanging deltas"),
        other => tracing::trace!(event = ?other, "overlay"),
    }
}

fn replication(event: &replication::Event) {
    use replication::Event as E;
    match event {
        E::OriginateFailed { fault, .. } => tracing::error!(%fault, "an edit could not be made durable"),
        E::RolledBack { held, theirs, .. } => {
            tracing::error!(%held, %theirs, "this store was rolled back: others hold more of its own log");
        }
        E::Forked { log, seq, peer } => {
            let node = log.actor.node;
            tracing::error!(%node, entry = log.at(*seq), %peer, "two entries claim the same place: a store was rolled back");
        }
        E::GaveWay { log, from, last, to, at } => {
            let (entries, to) = (last.value() - from.value() + 1, to.at(*at));
            tracing::warn!(
                from = log.at(*from),
                entries,
                to,
                "a branch gave way to an older one and moved; nothing is lost"
            );
        }
        E::Unsettled { log, seq, why } => {
            tracing::error!(entry = log.at(*seq), %why, "a branch cannot give way; the peers do not agree on this log");
        }
        E::Lagging { member, lag } => {
            let replication::Lag { changes, bytes, lag_ms } = lag;
            tracing::warn!(%member, changes, bytes, lag_ms, "a replica lags");
        }
        E::CaughtUp { member } => tracing::info!(%member, "a replica that lagged has caught up"),
        E::PeerFault { peer, why } => tracing::warn!(%peer, %why, "a peer sent what no correct peer sends"),
        E::Skipped { log, after, upto } => {
            tracing::warn!(origin = %log.actor.node, %after, %upto, "entries of streams had expired before they came here");
        }
        // Per entry, and with its bytes: only its name, and only when asked for.
        E::Originated { log, seq, .. } | E::Delivered { log, seq, .. } => {
            tracing::trace!(entry = log.at(*seq), "durable")
        }
        other => tracing::debug!(event = ?other, "replication"),
    }
}

fn documents(event: &documents::Event) {
    match event {
        documents::Event::Refused { doc, log, seq, why } => {
            let doc = doc.as_ref().map(tracing::field::display);
            tracing::warn!(doc, entry = log.at(*seq), %why, "a change was refused");
        }
        documents::Event::Changed { doc, exists, .. } => tracing::trace!(%doc, exists, "a document changed"),
        // These name clients' contents: never in a log.
        _ => {}
    }
}

fn audit(event: &audit::Event) {
    match event {
        audit::Event::Agreed { peer } => tracing::debug!(%peer, "an audit found the same documents"),
        audit::Event::Differs { peer, docs, missing } => {
            let docs: Vec<String> = docs.iter().take(16).map(ToString::to_string).collect();
            let missing = missing.len();
            tracing::error!(%peer, ?docs, missing, "documents differ though the logs are the same: they are built again");
        }
        audit::Event::Skipped { why } => tracing::debug!(why, "an audit was not made"),
    }
}

fn events(event: &events::Event) {
    match event {
        events::Event::Refused { log, seq, why } => tracing::warn!(entry = log.at(*seq), %why, "an entry is no event"),
        events::Event::Expired { before } => tracing::debug!(%before, "events have expired"),
        events::Event::Appended { stream, events, .. } => tracing::trace!(%stream, events, "events are durable"),
        // These name clients' contents: never in a log.
        _ => {}
    }
}
