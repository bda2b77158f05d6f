//! What is asked of the mesh: edits and appends by rate.

use super::{Append, Edit, Level, PLAN_MAX, Plan, Proposal};
use crate::sim::luck::Stream;
use crate::sim::scenario::{Appends, Edits, Rate, Scenario, Span};

/// A client asks again within this.
const AGAIN_NS: u64 = 3_000_000_000;

impl Plan {
    pub(super) fn load(&mut self, scenario: &Scenario, says: &Edits, luck: Stream) -> Result<(), String> {
        let (peers, ack) = (says.peers.choose(&scenario.mesh, luck, u64::MAX)?, Level::of(says.ack.as_ref())?);
        for (n, at, peer) in moments(scenario, &peers, says.rate, (says.from, says.until), luck)? {
            let doc = u32::try_from(luck.below(2, n, u64::from(says.docs))).expect("below a u32");
            let shared = luck.chance(3, n, says.shared.0);
            self.edits.push(Edit { at, peer, doc, shared, padding: says.padding, ack });
        }
        Ok(())
    }

    pub(super) fn events(&mut self, scenario: &Scenario, says: &Appends, luck: Stream) -> Result<(), String> {
        let (peers, ack) = (says.peers.choose(&scenario.mesh, luck, u64::MAX)?, Level::of(says.ack.as_ref())?);
        for (n, at, peer) in moments(scenario, &peers, says.rate, (says.from, says.until), luck)? {
            let stream = u32::try_from(luck.below(2, n, u64::from(says.streams))).expect("below a u32");
            self.appends.push(Append { at, peer, stream, events: says.events, padding: says.padding, ack });
        }
        Ok(())
    }
}

impl Plan {
    /// What this one of the scenario's proposals asks for.
    pub(super) fn decisions(&mut self, scenario: &Scenario, which: usize, luck: Stream) -> Result<(), String> {
        let says = &scenario.says.proposals[which];
        let policies = if says.policies.is_empty() { 0 } else { u32::try_from(which).map_err(|_| "too many")? + 1 };
        let peers = says.peers.choose(&scenario.mesh, luck, u64::MAX)?;
        let register = |n| u32::try_from(luck.below(2, n, u64::from(says.registers))).expect("below a u32");
        let whom = says.whom.choose(&scenario.mesh, luck, u64::MAX)?;
        let wish = |n| {
            let drawn = |number, len: usize| usize::try_from(luck.below(number, n, len as u64)).expect("a usize");
            (says.wish[drawn(6, says.wish.len())], whom[drawn(7, whom.len())])
        };
        let all = match (says.at, says.rate) {
            (Some(at), None) if at.0 < scenario.calm_at() => vec![(0, at.0, peers[0])],
            (Some(_), None) => return Err("at: it is too late, the calm has begun by then".to_owned()),
            (None, Some(rate)) => moments(scenario, &peers, rate, (says.from, says.until), luck)?,
            _ => return Err("either at or rate is needed".to_owned()),
        };
        for (n, at, peer) in all {
            let wish = if says.wish.is_empty() { None } else { Some(wish(n)) };
            let once = Proposal { at, peer, register: register(n), padding: says.padding, request: 0, policies, wish };
            if !luck.chance(3, n, says.again.0) {
                self.proposals.push(once);
                continue;
            }
            // A client whose answer is lost asks again, anywhere.
            let request = u32::try_from(self.proposals.len()).map_err(|_| "too many")? + 1;
            let again = at + luck.below(4, n, AGAIN_NS);
            let other = peers[usize::try_from(luck.below(5, n, peers.len() as u64)).expect("a usize")];
            self.proposals.push(Proposal { request, ..once.clone() });
            if again < scenario.calm_at() {
                self.proposals.push(Proposal { request, at: again, peer: other, ..once });
            }
        }
        Ok(())
    }
}

/// When something is asked of whom, by its number.
fn moments(
    scenario: &Scenario,
    peers: &[u32],
    rate: Rate,
    (from, until): (Option<Span>, Option<Span>),
    luck: Stream,
) -> Result<Vec<(u64, u64, u32)>, String> {
    let from = from.map_or_else(|| scenario.chaos_at(), |from| from.0);
    let until = until.map_or_else(|| scenario.calm_at(), |until| until.0).min(scenario.calm_at());
    let count = until.saturating_sub(from) / rate.every_ns;
    if count > PLAN_MAX as u64 {
        return Err(format!("{count} times, at most {PLAN_MAX}"));
    }
    let moment = |n| {
        let at = from + n * rate.every_ns + luck.below(0, n, rate.every_ns);
        (n, at, peers[usize::try_from(luck.below(1, n, peers.len() as u64)).expect("a usize")])
    };
    Ok((0..count).map(moment).collect())
}
