//! `[random]`: faults by rate, each expanded into items before the run.

use super::Plan;
use super::fault::{Fault, Item};
use super::make::{self, Draw, Says};
use crate::sim::luck::{Luck, Probability, Stream};
use crate::sim::scenario::{Kind, Mode, Often, Scenario};

/// One draw a peer and slot, so that neither a peer nor a family less shifts the luck of the rest.
const SLOT: u64 = 100_000_000;

impl Plan {
    pub(super) fn random(&mut self, scenario: &Scenario, luck: &Luck) -> Result<(), String> {
        let random = &scenario.says.random;
        let peers = random.peers.choose(&scenario.mesh, luck.stream("random peers"), 0)?;
        for (kind, often) in &random.kinds {
            let name = kind.about().name;
            self.kind(scenario, &peers, (*kind, *often), luck.stream(&format!("random {name}")))
                .map_err(|why| format!("{name}: {why}"))?;
        }
        Ok(())
    }

    fn kind(
        &mut self,
        scenario: &Scenario,
        peers: &[u32],
        (kind, often): (Kind, Often),
        luck: Stream,
    ) -> Result<(), String> {
        let [shortest, longest] = often.lasts;
        if shortest > longest || often.every.0 < SLOT {
            return Err("for is [shortest, longest], and every at least 100ms".to_owned());
        }
        let datagrams = matches!(kind, Kind::Duplicate | Kind::Reorder);
        if datagrams && scenario.says.network.mode == Mode::Stream {
            return Err("happens to datagrams only: network.mode".to_owned());
        }
        let (from, to) = (scenario.chaos_at(), scenario.quiet_at());
        let likely = Probability::within(SLOT, u128::from(often.every.0) * peers.len() as u128);
        for slot in 0..(to - from) / SLOT {
            for peer in peers.iter().copied() {
                if !luck.happens(u64::from(peer), slot << 2, likely) {
                    continue;
                }
                let draw = |n, low, high| luck.between(u64::from(peer), slot << 2 | n, low, high);
                let at = from + slot * SLOT + draw(1, 0, SLOT - 1);
                let until = (at + draw(2, shortest.0, longest.0)).min(scenario.calm_at());
                let factor = u32::try_from(draw(3, 2, u64::from(often.factor.unwrap_or(20).max(2)))).expect("a u32");
                // Half of what is clogged is clogged one way.
                let back = kind == Kind::Clog && draw(0, 0, 1) == 1;
                let ppm = often.share.map(|share| share.0);
                let says = Says { factor: Some(factor), ppm, back, ..Says::default() };
                let draw = Draw { luck, entity: u64::from(peer), counter: slot << 2 | 3 };
                self.items.extend(items(scenario, peers, (kind, peer), (at, until), says, draw)?);
            }
        }
        Ok(())
    }
}

/// What a draw comes to: mostly one item.
fn items(
    scenario: &Scenario,
    peers: &[u32],
    (kind, peer): (Kind, u32),
    (at, until): (u64, u64),
    says: Says,
    draw: Draw,
) -> Result<Vec<Item>, String> {
    let rest = || (0..).take(scenario.peers()).filter(|other| *other != peer).collect::<Vec<u32>>();
    if rest().is_empty() {
        return Err("one peer is alone".to_owned());
    }
    let one = |fault| Ok(vec![Item { at, until: Some(until), permanent: false, fault, drawn: None }.drawn_as(kind)]);
    match kind {
        Kind::Isolate => one(Fault::Cut { from: vec![peer], to: rest(), one_way: false }),
        Kind::Hold => {
            let rest = rest();
            let at = usize::try_from(draw.luck.below(draw.entity, draw.counter, rest.len() as u64)).expect("a usize");
            one(Fault::Hold { peer, whom: rest[at] })
        }
        kind if make::is_of_many(kind) => {
            let side = match kind {
                Kind::Cut | Kind::OneWay | Kind::Flap | Kind::Clog => vec![peer],
                Kind::RegionCut => region_of(scenario, peer)?,
                _ => peers.to_vec(),
            };
            make::of_many(kind, scenario, (side, None), (at, Some(until)), says, draw)
        }
        kind => one(make::of_one(kind, peer, says, draw)?),
    }
}

/// Everybody in the region of this peer.
fn region_of(scenario: &Scenario, peer: u32) -> Result<Vec<u32>, String> {
    let nodes = scenario.mesh.nodes();
    let region = &nodes[peer as usize].region;
    if nodes.iter().all(|node| node.region == *region) {
        return Err("the mesh has one region".to_owned());
    }
    Ok((0..).zip(nodes).filter(|(_, node)| node.region == *region).map(|(place, _)| place).collect())
}
