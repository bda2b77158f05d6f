//! Delta debugging: of a list for which something fails, a part for which it still fails and of which nothing can be spared.
//!
//! Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input" (2002), algorithm `ddmin`.

/// What a test says of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// The same thing still fails.
    Fails,
    /// Nothing fails, or something else does.
    Passes,
    /// There is no time for more tests.
    Enough,
}

/// A part of `all` for which `test` says that it fails, in the same order; and whether it is 1-minimal, that is whether the test
/// passes without any single one of it. It is not when the test has said that it is enough.
///
/// `all` itself must fail; the test is not asked for it.
pub(super) fn ddmin<T: Clone>(all: &[T], test: &mut dyn FnMut(&[T]) -> Says) -> (Vec<T>, bool) {
    let mut best = all.to_vec();
    if best.is_empty() {
        return (best, true);
    }
    // Most often nothing of a kind matters.
    match test(&[]) {
        Says::Fails => return (Vec::new(), true),
        Says::Passes => {}
        Says::Enough => return (best, false),
    }
    let mut chunks = 2;
    while best.len() > 1 {
        match step(&best, chunks, test) {
            Step::Smaller(smaller, of) => (best, chunks) = (smaller, of),
            Step::Same if chunks >= best.len() => break,
            Step::Same => chunks = (chunks * 2).min(best.len()),
            Step::Enough => return (best, false),
        }
        chunks = chunks.min(best.len());
    }
    (best, true)
}

/// Most chunks of which each is tried alone.
const ALONE_MAX: usize = 4;

enum Step<T> {
    /// A part that fails, and into how many it is to be cut next.
    Smaller(Vec<T>, usize),
    Same,
    Enough,
}

fn step<T: Clone>(best: &[T], chunks: usize, test: &mut dyn FnMut(&[T]) -> Says) -> Step<T> {
    // Bounds that differ by one at most, so that with as many chunks as pieces each chunk is one piece.
    let bound = |n: usize| best.len() * n / chunks;
    // One chunk alone: rarely enough when they are small. Of two chunks each is what is left without the other.
    for n in (0..chunks).filter(|_| chunks <= ALONE_MAX) {
        let chunk = &best[bound(n)..bound(n + 1)];
        match test(chunk) {
            Says::Fails => return Step::Smaller(chunk.to_vec(), 2),
            Says::Passes => {}
            Says::Enough => return Step::Enough,
        }
    }
    for n in (0..chunks).filter(|_| chunks > 2) {
        let rest: Vec<T> = [&best[..bound(n)], &best[bound(n + 1)..]].concat();
        match test(&rest) {
            Says::Fails => return Step::Smaller(rest, (chunks - 1).max(2)),
            Says::Passes => {}
            Says::Enough => return Step::Enough,
        }
    }
    Step::Same
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    quickcheck::quickcheck! {
        /// Several causes, each a set of pieces that must all be there: any of them suffices.
        fn the_result_still_fails_and_nothing_of_it_can_be_spared(len: u8, causes: Vec<Vec<u8>>) -> bool {
            let all: Vec<u8> = (0..len).collect();
            let causes: Vec<BTreeSet<u8>> = causes.iter().map(|cause| cause.iter().map(|n| n % len.max(1)).collect()).collect();
            let fails = |part: &[u8]| causes.iter().any(|cause| cause.iter().all(|n| part.contains(n)));
            if !fails(&all) {
                return true;
            }
            let (found, minimal) = ddmin(&all, &mut |part| if fails(part) { Says::Fails } else { Says::Passes });
            let without = |n: usize| [&found[..n], &found[n + 1..]].concat();
            minimal && fails(&found) && (0..found.len()).all(|n| !fails(&without(n))) && found.is_sorted()
        }

        /// Neither monotone nor kind: whether it fails is a hash of the part.
        fn it_ends_whatever_the_test_says(len: u8, salt: u64) -> bool {
            let all: Vec<u8> = (0..len % 40).collect();
            let fails = |part: &[u8]| part.len() == all.len() || xxhash_rust::xxh3::xxh3_64_with_seed(part, salt).is_multiple_of(3);
            let (found, minimal) = ddmin(&all, &mut |part| if fails(part) { Says::Fails } else { Says::Passes });
            let without = |n: usize| [&found[..n], &found[n + 1..]].concat();
            minimal && fails(&found) && (0..found.len()).all(|n| !fails(&without(n)) || found.len() == 1)
        }

        fn it_keeps_the_best_so_far_when_there_is_no_time(len: u8, tests: u8) -> bool {
            let (all, mut left): (Vec<u8>, _) = ((0..len).collect(), tests);
            let fails = |part: &[u8]| part.contains(&(len / 2));
            let (found, _) = ddmin(&all, &mut |part| match left.checked_sub(1) {
                None => Says::Enough,
                Some(rest) => {
                    left = rest;
                    if fails(part) { Says::Fails } else { Says::Passes }
                }
            });
            found.is_empty() && len == 0 || fails(&found)
        }
    }
}
