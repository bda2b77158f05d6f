//! The worker's side of documents: merging, and the check of what may be merged.

use std::time::Duration;

use super::{DocState, Done, Error, Limits, Task};

/// The documents of one shard, as Automerge holds them. Synchronous and deterministic.
#[derive(Debug)]
pub struct Engine {
    limits: Limits,
}

impl Engine {
    /// No documents yet.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self { limits }
    }

    /// Does one task.
    pub fn run(&mut self, task: Task) -> Done {
        let _ = self.limits;
        let state = DocState::default();
        match task {
            Task::Edit { doc, batch, .. } => {
                let refuse = |doc| Err(Error::NotFound { doc });
                let results = batch.iter().map(|wanted| (wanted.command, refuse(doc.clone()))).collect();
                Done::Edited { doc, change: None, results, state }
            }
            Task::Apply { doc, .. } => {
                Done::Applied { doc, applied: Vec::new(), orphans: Vec::new(), refused: Vec::new(), state }
            }
            Task::Get { doc, command, .. } => {
                Done::Got { doc: doc.clone(), command, value: Err(Error::NotFound { doc }), state }
            }
            Task::History { doc, command } => {
                Done::Told { doc: doc.clone(), command, changes: Err(Error::NotFound { doc }) }
            }
            Task::Forget { doc, .. } => Done::Forgotten { doc, state },
        }
    }

    /// About how long [`run`](Self::run) would take on one core, from measurements: for the simulator.
    #[must_use]
    pub fn cost_hint(&self, task: &Task) -> Duration {
        match task {
            Task::Edit { batch, .. } => Duration::from_micros(25 + 10 * batch.len() as u64),
            Task::Apply { changes, .. } => Duration::from_micros(20 + 15 * changes.len() as u64),
            Task::Get { .. } | Task::History { .. } | Task::Forget { .. } => Duration::from_micros(10),
        }
    }
}
