//! Luck that does not wander: counter-based draws, so that taking one fault or one peer away leaves all other luck alone.
//!
//! A sequential generator shifts every later draw when one draw more is taken. Here a draw is a function of (seed, scenario
//! text, label, entity, counter), which is what makes a failing run shrinkable. Integers only: the same on every platform.

use sha2::{Digest as _, Sha256};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// One in a million, the unit of every probability.
pub(super) const MILLION: u64 = 1_000_000;

/// The root of a run's luck.
#[derive(Clone, Debug)]
pub(super) struct Luck {
    root: [u8; 32],
    key: u64,
}

/// A named family of draws.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream(u64);

impl Luck {
    /// The luck of this seed in this scenario.
    pub(super) fn new(seed: u64, scenario: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"oxigdal-ha simulation 1");
        hasher.update(seed.to_be_bytes());
        hasher.update(scenario.as_bytes());
        Self::of_root(hasher.finalize().into())
    }

    /// The luck that a repro file names.
    pub(super) fn of_root(root: [u8; 32]) -> Self {
        let key = root.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Self { root, key }
    }

    /// What all of it is drawn from.
    pub(super) const fn root(&self) -> &[u8; 32] {
        &self.root
    }

    /// The family of draws called `label`.
    pub(super) fn stream(&self, label: &str) -> Stream {
        Stream(xxh3_64_with_seed(label.as_bytes(), self.key))
    }

    /// A 32-byte seed for the consumer called `label`, such as one boot of one node.
    pub(super) fn seed(&self, label: &str) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(self.root);
        hasher.update(label.as_bytes());
        hasher.finalize().into()
    }
}

impl Stream {
    /// 64 bits for the `counter`-th draw of `entity`.
    pub(super) const fn bits(self, entity: u64, counter: u64) -> u64 {
        mix(mix(self.0 ^ entity.wrapping_mul(0x9e37_79b9_7f4a_7c15)) ^ counter.wrapping_mul(0xd1b5_4a32_d192_ed03))
    }

    /// A number below `bound`; zero if `bound` is zero.
    pub(super) fn below(self, entity: u64, counter: u64, bound: u64) -> u64 {
        scale(self.bits(entity, counter), bound)
    }

    /// A number from `low` to `high`, both included; `low` if they are the wrong way round.
    pub(super) fn between(self, entity: u64, counter: u64, low: u64, high: u64) -> u64 {
        low + self.below(entity, counter, high.saturating_sub(low).saturating_add(1))
    }

    /// True `ppm` times in a million.
    pub(super) fn chance(self, entity: u64, counter: u64, ppm: u64) -> bool {
        ppm > 0 && self.below(entity, counter, MILLION) < ppm
    }

    /// Whether it happens, of what is so probable.
    pub(super) fn happens(self, entity: u64, counter: u64, probability: Probability) -> bool {
        u128::from(self.bits(entity, counter)) < probability.0
    }

    /// An exponential sample with this mean, cut at about 8.3 means.
    pub(super) fn exponential(self, entity: u64, counter: u64, mean: u64) -> u64 {
        if mean == 0 {
            return 0;
        }
        let bits = self.bits(entity, counter);
        let (knot, within) = ((bits >> 56) as usize, bits >> 24 & 0xffff_ffff);
        let (low, high) = (u64::from(EXPONENTIAL[knot]), u64::from(EXPONENTIAL[knot + 1]));
        let factor = low + (((high - low) * within) >> 32);
        u64::try_from((u128::from(mean) * u128::from(factor)) >> 16).unwrap_or(u64::MAX)
    }
}

/// That something happens within a slot of time: in 2^64ths. Worked out once for many slots, since it takes a long division.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probability(u128);

impl Probability {
    /// Of something that happens every `mean_ns` on average, within a slot of `slot_ns`.
    pub(super) fn within(slot_ns: u64, mean_ns: u128) -> Self {
        Self((u128::from(slot_ns) << 64).checked_div(mean_ns).unwrap_or(0))
    }
}

impl Stream {
    /// A number from `low` to `high` whose logarithm is evenly spread: as often from 1 to 10 as from 10 to 100. Within an
    /// octave it is taken for straight, which is up to 6 % off.
    pub(super) fn log_between(self, entity: u64, counter: u64, low: u64, high: u64) -> u64 {
        let (from, to) = (log2(low.max(1)), log2(high.max(1)));
        let drawn = self.between(entity, counter, from, to.max(from));
        let (whole, fraction) = (drawn >> 16, drawn & 0xffff);
        let number = ((1_u128 << 16 | u128::from(fraction)) << whole) >> 16;
        u64::try_from(number).unwrap_or(u64::MAX).clamp(low, high.max(low))
    }
}

/// The upper half of `bits * bound`: a number below `bound` (Lemire 2019, without the rejection).
fn scale(bits: u64, bound: u64) -> u64 {
    u64::try_from((u128::from(bits) * u128::from(bound)) >> 64).expect("the upper half of a product of two u64 fits")
}

/// The finaliser of splitmix64 (Steele, Lea, Flood 2014, variant 13 by D. Stafford).
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `-ln(1 - i/256)` in 1/65536ths: the exponential's inverse distribution at 257 knots, the last one cut at `ln 4096`.
static EXPONENTIAL: [u32; 257] = exponential_knots();

const fn exponential_knots() -> [u32; 257] {
    let mut knots = [0; 257];
    let mut i = 1;
    while i < 256 {
        // -ln((256 - i)/256) = ln 2 * (8 - log2(256 - i))
        knots[i] = ln2_times((8 << 16) - log2(256 - i as u64));
        i += 1;
    }
    knots[256] = ln2_times(12 << 16);
    knots
}

#[expect(clippy::cast_possible_truncation, reason = "at most 12 * 65536")]
const fn ln2_times(sixteenths: u64) -> u32 {
    ((sixteenths * 45_426) >> 16) as u32 // ln 2 = 45426/65536
}

/// Base-2 logarithm in 1/65536ths, bit by bit: square, and see whether it passed 2.
const fn log2(x: u64) -> u64 {
    let whole = 63 - x.leading_zeros() as u64;
    let mut mantissa = ((x as u128) << 32) >> whole;
    let (mut fraction, mut bit) = (0, 1 << 15);
    while bit > 0 {
        mantissa = (mantissa * mantissa) >> 32;
        if mantissa >= 2 << 32 {
            mantissa >>= 1;
            fraction |= bit;
        }
        bit >>= 1;
    }
    (whole << 16) | fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_depends_on_seed_scenario_label_entity_and_counter_only() {
        let draw =
            |seed, text: &str, label: &str, entity, counter| Luck::new(seed, text).stream(label).bits(entity, counter);
        let base = draw(1, "a", "x", 2, 3);
        assert_eq!(base, draw(1, "a", "x", 2, 3));
        for other in [draw(2, "a", "x", 2, 3), draw(1, "b", "x", 2, 3), draw(1, "a", "y", 2, 3)] {
            assert_ne!(base, other);
        }
        assert_ne!(base, draw(1, "a", "x", 3, 3));
        assert_ne!(base, draw(1, "a", "x", 2, 4));
    }

    #[test]
    fn chances_come_about_as_often_as_they_should() {
        let stream = Luck::new(7, "test").stream("chance");
        let hits = (0..100_000).filter(|n| stream.chance(0, *n, 50_000)).count();
        assert!((4_700..5_300).contains(&hits), "{hits}");
        assert!(!stream.chance(0, 0, 0) && stream.chance(0, 0, MILLION));
        let likely = Probability::within(1_000, 20_000);
        let events = (0..100_000).filter(|n| stream.happens(1, *n, likely)).count();
        assert!((4_700..5_300).contains(&events), "{events}");
    }

    #[test]
    fn each_order_of_magnitude_is_drawn_alike() {
        let stream = Luck::new(7, "test").stream("log");
        let drawn: Vec<u64> = (0..30_000).map(|n| stream.log_between(1, n, 10, 10_000)).collect();
        assert!(drawn.iter().all(|number| (10..=10_000).contains(number)));
        for decade in [10, 100, 1_000] {
            let count = drawn.iter().filter(|number| (decade..decade * 10).contains(*number)).count();
            assert!((9_000..11_000).contains(&count), "{decade}: {count}");
        }
        assert_eq!(stream.log_between(1, 1, 5, 5), 5);
        assert!(stream.log_between(1, 1, 0, 0) == 0 && stream.log_between(1, 2, 0, u64::MAX) > 0);
    }

    #[test]
    fn the_exponential_has_its_mean_and_median() {
        let stream = Luck::new(7, "test").stream("exponential");
        let mut drawn: Vec<_> = (0..100_000).map(|n| stream.exponential(1, n, 1_000_000)).collect();
        drawn.sort_unstable();
        let mean = drawn.iter().sum::<u64>() / 100_000;
        assert!((980_000..1_020_000).contains(&mean), "{mean}");
        assert!((680_000..706_000).contains(&drawn[50_000]), "{}", drawn[50_000]);
    }

    quickcheck::quickcheck! {
        fn between_is_between(counter: u64, low: u32, more: u32) -> bool {
            let (low, high) = (u64::from(low), u64::from(low) + u64::from(more));
            (low..=high).contains(&Luck::new(1, "").stream("b").between(9, counter, low, high))
        }
    }
}
