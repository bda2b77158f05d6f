//! How entries of origin logs spread: bytes against the least that must cross, delays against a flood's, what a heal costs.
//!
//! Everything is counted from the end of the warm-up. The least is each entry once to each other peer, as its stamp, its length
//! and its body. A flood's delay is the shortest way over the neighbourhoods as they are when the entry is born, with the
//! links' least delays and a mean sync at each peer, since no peer passes on what it does not hold durably.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::host::Host;
use super::scenario::{Expect, Scenario, Span};
use super::world::Mesh;
use crate::types::{LogId, NodeId, Seq};
use crate::{node, overlay, replication, wire};

/// No delivery for so long is quiet.
const QUIET_NS: u64 = 3_000_000_000;

/// How entries spread after the warm-up. Times are virtual.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// Entries that became durable at their origin.
    pub entries: u64,
    /// Entries that became durable at another peer.
    pub deliveries: u64,
    /// What had to cross for these at least.
    pub minimum_bytes: u64,
    /// Bytes of all of replication's frames.
    pub bytes: u64,
    /// What had to cross between regions at least: each entry once into each other region.
    pub crossing_minimum_bytes: u64,
    /// Bytes of replication's frames between regions.
    pub crossing_bytes: u64,
    /// Entries that arrived again.
    pub duplicates: u64,
    /// From durable at the origin to durable at a peer that was well meanwhile, sorted percentiles: median, 99th, longest.
    pub delays_ns: [u64; 3],
    /// The same of a flood.
    pub floods_ns: [u64; 3],
    /// What was there when the last cut healed and was delivered afterwards.
    pub missing_bytes: u64,
    /// Bytes of replication's frames from the heal to the last of these deliveries.
    pub repair_bytes: u64,
    /// From the heal to the last of these deliveries.
    pub repair_ns: u64,
    /// Bytes of replication's frames while nothing was delivered, for each peer and round of anti-entropy.
    pub quiet_round_bytes: u64,
}

/// An entry that is on its way.
#[derive(Debug)]
struct Birth {
    at: u64,
    /// A flood's delay to each peer; none if it does not get there, or nothing is to be measured.
    flood: Arc<[Option<u64>]>,
    delivered: bool,
}

/// Bytes sent so far.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    all: u64,
    quiet: u64,
}

/// Watches a run.
#[derive(Debug, Default)]
pub(super) struct Watch {
    from: u64,
    round_ns: u64,
    sync_ns: u64,
    regions: u64,
    begun: bool,
    born: BTreeMap<(LogId, Seq), Birth>,
    /// For each origin, as long as no neighbourhood changes.
    floods: BTreeMap<u32, Arc<[Option<u64>]>>,
    delays: Vec<u64>,
    flooded: Vec<u64>,
    duplicates_before: BTreeMap<NodeId, u64>,
    sent: Sent,
    delivered_at: u64,
    quiet_peer_ns: u64,
    /// When the last cut healed, and what was sent by then.
    healed: Option<(u64, u64)>,
    spread: Spread,
}

impl Watch {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let nanos = |span: std::time::Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let disk = &scenario.says.disk;
        let regions: BTreeSet<_> = scenario.mesh.nodes().iter().map(|node| &node.region).collect();
        Self {
            from: scenario.chaos_at(),
            round_ns: nanos(scenario.config.replication.anti_entropy),
            sync_ns: disk.sync.0 + disk.jitter.0,
            regions: regions.len() as u64,
            ..Self::default()
        }
    }

    /// A frame is sent.
    pub(super) fn on_frame(&mut self, mesh: &Mesh, scenario: &Scenario, from: u32, to: u32, frame: &[u8]) {
        if mesh.now < self.from || wire::kind(frame) != Some(wire::Kind::Replication) {
            return;
        }
        let len = frame.len() as u64;
        self.sent.all += len;
        if mesh.now.saturating_sub(self.delivered_at) > QUIET_NS {
            self.sent.quiet += len;
        }
        let region = |place: u32| &scenario.mesh.nodes()[place as usize].region;
        if region(from) != region(to) {
            self.spread.crossing_bytes += len;
        }
    }

    /// A node told something.
    pub(super) fn on_event(&mut self, mesh: &Mesh, who: u32, event: &node::Event) {
        use node::Event as E;
        match event {
            E::Overlay(overlay::Event::NeighborUp { .. } | overlay::Event::NeighborDown { .. }) => self.floods.clear(),
            E::Replication(replication::Event::Originated { log, seq, .. }) => self.on_born(mesh, who, (*log, *seq)),
            E::Replication(replication::Event::Delivered { log, seq, body, .. }) => {
                self.on_delivered(mesh, who, (*log, *seq), body.len() as u64);
            }
            _ => {}
        }
    }

    fn on_born(&mut self, mesh: &Mesh, who: u32, entry: (LogId, Seq)) {
        if mesh.now < self.from {
            return;
        }
        self.spread.entries += 1;
        let sync = self.sync_ns;
        let flood = if mesh.hosts[who as usize].ailments > 0 {
            Arc::from([])
        } else {
            self.floods.entry(who).or_insert_with(|| flood(mesh, who, sync).into()).clone()
        };
        self.born.insert(entry, Birth { at: mesh.now, flood, delivered: false });
    }

    fn on_delivered(&mut self, mesh: &Mesh, who: u32, entry: (LogId, Seq), len: u64) {
        self.delivered_at = mesh.now;
        let weight = 11 + len + u64::from(len > 250) * 2;
        let Some(birth) = self.born.get_mut(&entry) else { return };
        self.spread.deliveries += 1;
        self.spread.minimum_bytes += weight;
        if !std::mem::replace(&mut birth.delivered, true) {
            self.spread.crossing_minimum_bytes += weight * (self.regions - 1);
        }
        let host = &mesh.hosts[who as usize];
        if host.ailments == 0 && host.well_since <= birth.at {
            if let Some(Some(flood)) = birth.flood.get(who as usize) {
                self.flooded.push(*flood);
            }
            if !birth.flood.is_empty() {
                self.delays.push(mesh.now - birth.at);
            }
        }
        if let Some((healed_at, sent)) = self.healed
            && birth.at < healed_at
        {
            self.spread.missing_bytes += weight;
            (self.spread.repair_bytes, self.spread.repair_ns) = (self.sent.all - sent, mesh.now - healed_at);
        }
    }

    /// A cut is over.
    pub(super) fn on_healed(&mut self, now: u64) {
        self.healed = Some((now, self.sent.all));
        (self.spread.missing_bytes, self.spread.repair_bytes, self.spread.repair_ns) = (0, 0, 0);
    }

    /// A second has passed.
    pub(super) fn on_tick(&mut self, mesh: &Mesh, second: u64) {
        if mesh.now >= self.from && !std::mem::replace(&mut self.begun, true) {
            self.duplicates_before = duplicates(&mesh.hosts);
        }
        if self.begun && mesh.now.saturating_sub(self.delivered_at) > QUIET_NS + second {
            self.quiet_peer_ns += second * mesh.hosts.iter().filter(|host| host.node().is_some()).count() as u64;
        }
    }

    /// What it came to.
    pub(super) fn finish(mut self, hosts: &[Host]) -> Spread {
        self.spread.bytes = self.sent.all;
        let before = |id: &NodeId| self.duplicates_before.get(id).copied().unwrap_or_default();
        self.spread.duplicates = duplicates(hosts).iter().map(|(id, count)| count.saturating_sub(before(id))).sum();
        let rounds = self.quiet_peer_ns / self.round_ns.max(1);
        self.spread.quiet_round_bytes = self.sent.quiet.checked_div(rounds).unwrap_or_default();
        (self.spread.delays_ns, self.spread.floods_ns) = (percentiles(self.delays), percentiles(self.flooded));
        self.spread
    }
}

impl Spread {
    /// Which of these expectations are missed.
    pub(super) fn misses(&self, expect: &Expect) -> Vec<String> {
        let beyond = |bytes: u64, least: u64| bytes.saturating_sub(least).saturating_mul(1_000_000).checked_div(least);
        let of = |part: u64, whole: u64| part.saturating_mul(1_000_000).checked_div(whole);
        let shares = [
            ("spread-overhead", beyond(self.bytes, self.minimum_bytes), expect.spread_overhead),
            ("crossing-overhead", beyond(self.crossing_bytes, self.crossing_minimum_bytes), expect.crossing_overhead),
            ("repair-overhead", beyond(self.repair_bytes, self.missing_bytes), expect.repair_overhead),
            ("duplicates", of(self.duplicates, self.deliveries), expect.duplicates),
            ("delay-over-flood", beyond(self.delays_ns[1], self.floods_ns[1]), expect.delay_over_flood),
        ];
        let percent = |ppm: u64| format!("{}.{:02} %", ppm / 10_000, ppm % 10_000 / 100);
        let mut missed: Vec<String> = Vec::new();
        for (name, found, most) in shares {
            let Some(most) = most.map(|share| share.0) else { continue };
            if found.is_none_or(|found| found > most) {
                let found = found.map_or_else(|| "never seen".to_owned(), percent);
                missed.push(format!("{name} is {found}, expected at most {}", percent(most)));
            }
        }
        let spans = [
            ("delay-max", self.delays_ns[2], expect.delay_max),
            ("repair-within", self.repair_ns, expect.repair_within),
        ];
        for (name, found, most) in spans {
            if let Some(most) = most.filter(|most| found > most.0) {
                missed.push(format!("{name} is {}, expected at most {most}", Span(found)));
            }
        }
        if let Some(most) = expect.quiet_round.filter(|most| self.quiet_round_bytes > most.0) {
            missed.push(format!("quiet-round is {} B, expected at most {} B", self.quiet_round_bytes, most.0));
        }
        missed
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = |bytes: u64, least: u64| {
            let thousandths = (bytes * 1_000).checked_div(least).unwrap_or_default();
            format!("{}.{:03}x", thousandths / 1_000, thousandths % 1_000)
        };
        let span = |ns: u64| Span(ns / 100_000 * 100_000).to_string();
        write!(
            f,
            "{} entries of {} B",
            self.entries,
            self.minimum_bytes.checked_div(self.deliveries).unwrap_or_default()
        )?;
        write!(f, ", {} the least bytes, {} duplicates", times(self.bytes, self.minimum_bytes), self.duplicates)?;
        if self.crossing_minimum_bytes > 0 {
            write!(f, ", {} between regions", times(self.crossing_bytes, self.crossing_minimum_bytes))?;
        }
        let ([p50, p99, most], [flood50, flood99, flood_most]) = (self.delays_ns.map(span), self.floods_ns.map(span));
        write!(f, "; delay {p50} / {p99} / {most}, a flood's {flood50} / {flood99} / {flood_most}")?;
        if self.missing_bytes > 0 {
            let (cost, within) = (times(self.repair_bytes, self.missing_bytes), span(self.repair_ns));
            write!(f, "; healed within {within} with {cost} the {} B that were missing", self.missing_bytes)?;
        }
        write!(f, "; {} B a quiet round", self.quiet_round_bytes)
    }
}

/// How long a flood takes from here to everybody (Dijkstra, 1959).
fn flood(mesh: &Mesh, origin: u32, sync_ns: u64) -> Vec<Option<u64>> {
    let mut best = vec![None; mesh.hosts.len()];
    let mut open = BTreeSet::from([(0, origin)]);
    best[origin as usize] = Some(0);
    while let Some((at, place)) = open.pop_first() {
        let Some(node) = mesh.hosts[place as usize].node() else { continue };
        for next in node.overlay().neighbors().iter().filter_map(|peer| super::world::place_in(&mesh.hosts, *peer)) {
            let there = at + mesh.net.delay(place, next) + sync_ns;
            let known = &mut best[next as usize];
            if known.is_none_or(|known| there < known) {
                *known = Some(there);
                open.insert((there, next));
            }
        }
    }
    best
}

fn duplicates(hosts: &[Host]) -> BTreeMap<NodeId, u64> {
    let count = |host: &Host| host.node().map(|node| (host.id, node.replication().statistics().duplicates));
    hosts.iter().filter_map(count).collect()
}

/// Median, 99th percentile, and the last.
fn percentiles(mut all: Vec<u64>) -> [u64; 3] {
    all.sort_unstable();
    let at = |hundredths: usize| all.get(all.len() * hundredths / 100).copied().unwrap_or_default();
    [at(50), at(99), all.last().copied().unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPREAD: Spread = Spread {
        entries: 2,
        deliveries: 10,
        minimum_bytes: 1_000,
        bytes: 1_400,
        crossing_minimum_bytes: 0,
        crossing_bytes: 0,
        duplicates: 1,
        delays_ns: [1_000_000, 12_000_000, 15_000_000],
        floods_ns: [1_000_000, 10_000_000, 11_000_000],
        missing_bytes: 500,
        repair_bytes: 450,
        repair_ns: 2_000_000_000,
        quiet_round_bytes: 13,
    };

    #[test]
    fn what_is_missed_is_told_with_both_values() {
        let expect = toml::from_str(
            "spread-overhead = '40%'\nduplicates = '99999ppm'\ndelay-over-flood = '199999ppm'\n\
             crossing-overhead = '100%'\nrepair-overhead = '0%'\ndelay-max = '14ms'\nquiet-round = '12B'\n",
        );
        let missed = [
            "crossing-overhead is never seen, expected at most 100.00 %",
            "duplicates is 10.00 %, expected at most 9.99 %",
            "delay-over-flood is 20.00 %, expected at most 19.99 %",
            "delay-max is 15ms, expected at most 14ms",
            "quiet-round is 13 B, expected at most 12 B",
        ];
        assert_eq!(SPREAD.misses(&expect.unwrap()), missed);
        assert_eq!(SPREAD.misses(&Expect::default()), Vec::<String>::new());
    }

    #[test]
    fn a_line_says_it_all() {
        let line = "2 entries of 100 B, 1.400x the least bytes, 1 duplicates; delay 1ms / 12ms / 15ms, a flood's 1ms / 10ms / \
                    11ms; healed within 2s with 0.900x the 500 B that were missing; 13 B a quiet round";
        assert_eq!(SPREAD.to_string(), line);
    }

    #[test]
    fn percentiles_are_taken_from_what_was_seen() {
        assert_eq!(percentiles((1..=100).rev().collect()), [51, 100, 100]);
        assert_eq!(percentiles(vec![7]), [7, 7, 7]);
        assert_eq!(percentiles(vec![]), [0, 0, 0]);
    }
}
