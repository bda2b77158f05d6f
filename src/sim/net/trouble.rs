//! What is wrong with links, and what that does to a frame.
//!
//! A trouble covers ways from peers to peers. Between two peers of the core there is none once the core is healed.

use std::collections::BTreeSet;

use crate::sim::luck::MILLION;
use crate::sim::peers::PeerSet;
use crate::sim::plan::{Fault, Item};

/// One thing that is wrong.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) item: usize,
    pub(super) since: u64,
    /// It outlasts the healing of a core, also within it.
    lasts: bool,
    ways: Ways,
    what: What,
}

/// Which ways it covers.
#[derive(Debug)]
enum Ways {
    All,
    Of(u32),
    Between {
        from: PeerSet,
        to: PeerSet,
        one_way: bool,
    },
    Apart(Vec<PeerSet>),
    /// The place of each peer in a ring, and how far each sees.
    Ring {
        places: Vec<(u32, usize)>,
        sight: usize,
    },
}

#[derive(Clone, Copy, Debug)]
enum What {
    Cut,
    Clog,
    Delay(u64),
    Factor(u32),
    Throttle { bits: u64, queue: u64 },
    Loss(u64),
    Burst { to_bad: u64, to_good: u64, ppm: u64 },
    Duplicate(u64),
    Reorder(u64),
    Corrupt(u64),
}

/// What all troubles together do to a frame on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Weather {
    pub(super) cut: bool,
    pub(super) clogged: bool,
    pub(super) delay: u64,
    pub(super) factor: u64,
    pub(super) bits: Option<u64>,
    pub(super) queue: Option<u64>,
    pub(super) loss: u64,
    /// Into the bad state, out of it, and what is lost in it.
    pub(super) burst: Option<(u64, u64, u64)>,
    pub(super) duplicate: u64,
    pub(super) reorder: u64,
    pub(super) corrupt: u64,
}

impl Weather {
    pub(super) const FAIR: Self = Self {
        cut: false,
        clogged: false,
        delay: 0,
        factor: 1,
        bits: None,
        queue: None,
        loss: 0,
        burst: None,
        duplicate: 0,
        reorder: 0,
        corrupt: 0,
    };
}

impl Ways {
    fn covers(&self, from: u32, to: u32) -> bool {
        match self {
            Self::All => true,
            Self::Of(peer) => *peer == from || *peer == to,
            Self::Between { from: a, to: b, one_way } => {
                (a.has(from) && b.has(to)) || (!one_way && a.has(to) && b.has(from))
            }
            Self::Apart(groups) => {
                let group = |peer| groups.iter().position(|group| group.has(peer));
                group(from) != group(to)
            }
            Self::Ring { places, sight } => {
                let place = |peer| places.binary_search_by_key(&peer, |(of, _)| *of).map(|at| places[at].1);
                let (Ok(a), Ok(b)) = (place(from), place(to)) else { return false };
                let apart = a.abs_diff(b);
                apart.min(places.len() - apart) > *sight
            }
        }
    }
}

impl Trouble {
    /// The trouble that a fault makes; none if it is none of links.
    pub(super) fn of(item: usize, since: u64, says: &Item) -> Option<Self> {
        let between =
            |from: &[u32], to: &[u32], one_way| Ways::Between { from: PeerSet::of(from), to: PeerSet::of(to), one_way };
        let (ways, what) = match &says.fault {
            Fault::Cut { from, to, one_way } => (between(from, to, *one_way), What::Cut),
            Fault::Flap { from, to, .. } => (between(from, to, false), What::Cut),
            Fault::Clog { from, to, one_way } => (between(from, to, *one_way), What::Clog),
            Fault::Split { groups } => {
                (Ways::Apart(groups.iter().map(|group| PeerSet::of(group)).collect()), What::Cut)
            }
            Fault::Ring { peers } => {
                let mut places: Vec<(u32, usize)> = peers.iter().copied().zip(0..).collect();
                places.sort_unstable();
                // With itself and so many on each side everybody sees a majority.
                (Ways::Ring { sight: (peers.len() / 2).div_ceil(2), places }, What::Cut)
            }
            Fault::Delay { peer, by } => (Ways::Of(*peer), What::Delay(*by)),
            Fault::SlowLink { peer, factor } => (Ways::Of(*peer), What::Factor(*factor)),
            Fault::Throttle { peer, bits, queue } => (Ways::Of(*peer), What::Throttle { bits: *bits, queue: *queue }),
            Fault::Loss { ppm } => (Ways::All, What::Loss(*ppm)),
            Fault::BurstLoss { to_bad, to_good, ppm } => {
                (Ways::All, What::Burst { to_bad: *to_bad, to_good: *to_good, ppm: *ppm })
            }
            Fault::Duplicate { ppm } => (Ways::All, What::Duplicate(*ppm)),
            Fault::Reorder { ppm } => (Ways::All, What::Reorder(*ppm)),
            Fault::Corrupt { ppm } => (Ways::All, What::Corrupt(*ppm)),
            _ => return None,
        };
        Some(Self { item, since, lasts: says.permanent, ways, what })
    }

    /// Whether nothing passes while it lasts.
    pub(super) const fn blocks(&self) -> bool {
        matches!(self.what, What::Cut | What::Clog)
    }

    /// Whether it covers this way.
    pub(super) fn covers(&self, from: u32, to: u32) -> bool {
        self.ways.covers(from, to)
    }

    fn touch(&self, weather: &mut Weather) {
        match self.what {
            What::Cut => weather.cut = true,
            What::Clog => weather.clogged = true,
            What::Delay(by) => weather.delay += by,
            What::Factor(factor) => weather.factor = weather.factor.max(u64::from(factor)),
            What::Throttle { bits, queue } => {
                weather.bits = Some(weather.bits.map_or(bits, |other| other.min(bits)));
                weather.queue = Some(weather.queue.map_or(queue, |other| other.min(queue)));
            }
            What::Loss(ppm) => weather.loss = (weather.loss + ppm).min(MILLION),
            What::Burst { to_bad, to_good, ppm } => weather.burst = Some((to_bad, to_good, ppm)),
            What::Duplicate(ppm) => weather.duplicate += ppm,
            What::Reorder(ppm) => weather.reorder += ppm,
            What::Corrupt(ppm) => weather.corrupt += ppm,
        }
    }
}

/// All troubles of the links.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    list: Vec<Trouble>,
    /// Between these nothing is wrong any more.
    core: Option<PeerSet>,
    /// The items that a frame met.
    met: BTreeSet<usize>,
}

impl Troubles {
    fn is_spared(&self, a: u32, b: u32) -> bool {
        self.core.as_ref().is_some_and(|core| core.has(a) && core.has(b))
    }

    fn counts(&self, trouble: &Trouble, a: u32, b: u32) -> bool {
        trouble.lasts || !self.is_spared(a, b)
    }

    /// One more.
    pub(super) fn begin(&mut self, trouble: Trouble) {
        self.list.push(trouble);
    }

    /// One less.
    pub(super) fn end(&mut self, item: usize) {
        self.list.retain(|trouble| trouble.item != item);
    }

    /// From now on nothing is wrong between these.
    pub(super) fn spare(&mut self, core: &[u32]) {
        self.core = Some(PeerSet::of(core));
    }

    /// What a frame meets on this way now.
    pub(super) fn weather(&mut self, from: u32, to: u32) -> Weather {
        let mut weather = Weather::FAIR;
        if self.list.is_empty() {
            return weather;
        }
        let spared = self.is_spared(from, to);
        for trouble in self.list.iter().filter(|trouble| (trouble.lasts || !spared) && trouble.covers(from, to)) {
            trouble.touch(&mut weather);
            self.met.insert(trouble.item);
        }
        weather
    }

    /// Whether what `from` sends does not get to `to` now.
    pub(super) fn block(&self, from: u32, to: u32) -> bool {
        self.list.iter().any(|trouble| trouble.blocks() && trouble.covers(from, to) && self.counts(trouble, from, to))
    }

    /// Since when nothing passes one way or the other.
    pub(super) fn since(&self, a: u32, b: u32) -> Option<u64> {
        let covers = |trouble: &&Trouble| {
            trouble.blocks() && (trouble.covers(a, b) || trouble.covers(b, a)) && self.counts(trouble, a, b)
        };
        self.list.iter().filter(covers).map(|trouble| trouble.since).min()
    }

    /// The items that a frame met, or somebody who dialled.
    pub(super) fn met(&self) -> &BTreeSet<usize> {
        &self.met
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(fault: &Fault) -> Trouble {
        let says = Item { at: 0, until: None, permanent: false, fault: fault.clone(), drawn: None };
        Trouble::of(0, 0, &says).unwrap()
    }

    #[test]
    fn in_a_ring_everybody_sees_a_majority_and_no_two_see_the_same() {
        for count in 5..12 {
            let peers: Vec<u32> = (0..count).rev().collect();
            let ring = trouble(&Fault::Ring { peers: peers.clone() });
            let sees = |a: u32| -> Vec<u32> { (0..count).filter(|b| a == *b || !ring.covers(a, *b)).collect() };
            let views: BTreeSet<Vec<u32>> = peers.iter().map(|peer| sees(*peer)).collect();
            assert!(
                views.iter().all(|view| view.len() * 2 > count as usize && view.len() < count as usize),
                "{views:?}"
            );
            assert_eq!(views.len(), count as usize);
        }
    }

    #[test]
    fn groups_are_apart_and_whole_within() {
        let split = trouble(&Fault::Split { groups: vec![vec![0, 1], vec![2], vec![3, 4]] });
        assert!(!split.covers(0, 1) && !split.covers(4, 3));
        assert!(split.covers(0, 2) && split.covers(2, 4) && split.covers(3, 1));
    }

    #[test]
    fn one_way_is_one_way_and_the_core_is_spared() {
        let mut troubles = Troubles::default();
        troubles.begin(trouble(&Fault::Cut { from: vec![0], to: vec![1, 2], one_way: true }));
        assert!(troubles.block(0, 1) && !troubles.block(1, 0) && !troubles.block(1, 2));
        assert_eq!(troubles.since(1, 0), Some(0));
        troubles.spare(&[0, 1]);
        assert!(!troubles.block(0, 1) && troubles.block(0, 2));
        troubles.end(0);
        assert!(!troubles.block(0, 2));
    }

    #[test]
    fn troubles_of_one_way_come_together() {
        let mut troubles = Troubles::default();
        for fault in [
            Fault::Delay { peer: 1, by: 5 },
            Fault::Delay { peer: 0, by: 7 },
            Fault::SlowLink { peer: 0, factor: 3 },
            Fault::Throttle { peer: 1, bits: 10, queue: 9 },
            Fault::Throttle { peer: 0, bits: 20, queue: 8 },
            Fault::Loss { ppm: 4 },
        ] {
            troubles.begin(trouble(&fault));
        }
        let expected = Weather { delay: 12, factor: 3, bits: Some(10), queue: Some(8), loss: 4, ..Weather::FAIR };
        assert_eq!(troubles.weather(0, 1), expected);
        assert_eq!(troubles.weather(2, 3), Weather { loss: 4, ..Weather::FAIR });
    }
}
