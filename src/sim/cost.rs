//! What handling an input costs a peer, in nanoseconds of one core: integers from measurements of the node in release.

use crate::documents::{Engine, Task};
use crate::node::{Input, Pack};

/// A step of the node that touches little.
const STEP_NS: u64 = 4_000;
/// A command: hashing, JSON, bookkeeping.
const COMMAND_NS: u64 = 10_000;
/// Reading a segment at boot, per KiB.
const SCAN_NS_KIB: u64 = 1_000;

/// Compressing a piece of a snapshot, per KiB.
const PACK_NS_KIB: u64 = 3_000;

/// What this input costs.
pub(super) fn of_input(input: &Input) -> u64 {
    match input {
        Input::Received { frame, .. } => STEP_NS + frame.len() as u64,
        Input::Command { .. } => COMMAND_NS,
        Input::IoDone { result: Ok(crate::node::IoOutcome::Read(bytes)), .. } => {
            STEP_NS + bytes.len() as u64 / 1_024 * SCAN_NS_KIB
        }
        _ => STEP_NS,
    }
}

/// What compressing a piece of a snapshot costs its worker.
pub(super) fn of_pack(pack: &Pack) -> u64 {
    STEP_NS + pack.len() as u64 / 1_024 * PACK_NS_KIB
}

/// What this task costs its worker.
pub(super) fn of_task(engine: &Engine, task: &Task) -> u64 {
    u64::try_from(engine.cost_hint(task).as_nanos()).unwrap_or(u64::MAX).max(1)
}
