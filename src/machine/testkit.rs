//! Runs one machine alone.

use super::{Cx, Machine, Op, Rng};
use crate::types::Now;

/// The ops of one step of a machine at `now`, with a fixed generator.
pub(crate) fn step_at<M: Machine>(now: Now, step: impl FnOnce(&mut Cx<'_, M>)) -> Vec<Op<M>> {
    let (mut rng, mut ops) = (Rng::fork(&[1; 32], "test"), Vec::new());
    step(&mut Cx::new(now, &mut rng, &mut ops));
    ops
}

/// The ops of one step at the origin of time.
pub(crate) fn step<M: Machine>(step: impl FnOnce(&mut Cx<'_, M>)) -> Vec<Op<M>> {
    step_at(Now::default(), step)
}
