//! Generators forked by name from one seed, so that one machine's draws never shift another's luck.

use rand_core::{Rng as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;
use sha2::{Digest as _, Sha256};

/// A deterministic generator (xoshiro256++). Not for keys: the driver takes those from the system.
#[derive(Clone, Debug)]
pub struct Rng(Xoshiro256PlusPlus);

impl Rng {
    /// The generator called `name` of this seed. Different names give independent streams.
    #[must_use]
    pub fn fork(seed: &[u8; 32], name: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(seed);
        hasher.update(name.as_bytes());
        Self(Xoshiro256PlusPlus::from_seed(hasher.finalize().into()))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A uniform number below `bound`; zero if `bound` is zero. Integers only: the same on every platform.
    pub fn below(&mut self, bound: u64) -> u64 {
        // Lemire 2019, "Fast Random Integer Generation in an Interval", without the rejection: the bias is below 2^-32 for
        // every bound that fits 32 bits, and no draw takes a data-dependent number of words.
        let wide = u128::from(self.bits()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("the upper half of a product of two u64 fits")
    }

    /// A uniform index below `len`; zero if `len` is zero.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a usize")
    }

    /// One of these, if there is any.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let at = self.index(items.len());
        items.get(at)
    }

    /// Puts these in a uniformly random order (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let at = self.index(last + 1);
            items.swap(last, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forks_are_repeatable_and_independent() {
        let draw = |name| {
            let mut rng = Rng::fork(&[7; 32], name);
            [rng.bits(), rng.bits()]
        };
        assert_eq!(draw("membership"), draw("membership"));
        assert_ne!(draw("membership"), draw("overlay"));
    }

    quickcheck::quickcheck! {
        fn below_is_below(seed: u8, bound: u64) -> bool {
            let drawn = Rng::fork(&[seed; 32], "test").below(bound);
            drawn < bound || (bound == 0 && drawn == 0)
        }

        fn a_shuffle_keeps_everything(seed: u8, items: Vec<u8>) -> bool {
            let mut shuffled = items.clone();
            Rng::fork(&[seed; 32], "test").shuffle(&mut shuffled);
            let sorted = |mut items: Vec<u8>| { items.sort_unstable(); items };
            sorted(items) == sorted(shuffled)
        }
    }
}
