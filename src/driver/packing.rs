//! Pieces of snapshots are compressed on a thread of their own, so that neither the loop nor an edit waits for one.
//!
//! **Bound:** the core has one piece under way at a time.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc as std_mpsc;
use std::thread;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::node::Pack;
use crate::types::TaskId;

/// The thread and its queues. It ends with them.
#[derive(Debug)]
pub(super) struct Packing {
    queue: std_mpsc::Sender<(TaskId, Pack)>,
    answers: mpsc::UnboundedReceiver<(TaskId, Bytes)>,
}

impl Packing {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        let ((queue, packs), (done, answers)) = (std_mpsc::channel::<(TaskId, Pack)>(), mpsc::unbounded_channel());
        let work = move || {
            while let Ok((id, pack)) = packs.recv() {
                let raw = pack.clone().raw();
                let packed = catch_unwind(AssertUnwindSafe(|| pack.run())).unwrap_or_else(|_| {
                    tracing::error!("a piece of a snapshot could not be compressed; it is kept as it is");
                    raw.run()
                });
                if done.send((id, packed)).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("mesh-snapshot".to_owned()).spawn(work)?;
        Ok(Self { queue, answers })
    }

    /// Gives it a piece.
    pub(super) fn give(&self, id: TaskId, pack: Pack) {
        // It ends only when this end is dropped.
        if self.queue.send((id, pack)).is_err() {
            tracing::error!("the thread that compresses snapshots has ended");
        }
    }

    /// The next answer. Cancelling loses nothing.
    pub(super) async fn next(&mut self) -> Option<(TaskId, Bytes)> {
        self.answers.recv().await
    }
}
