//! The log's files: one directory, one lock, one thread that writes, syncs and reads.
//!
//! **Group commit.** The thread takes everything that is queued, writes it in order, syncs each file that it touched once,
//! and answers in order; what arrives meanwhile is the next group. Nobody waits for company: a lone write is synced at once.
//!
//! Promises, which the log's judgement about damage rests on ([`wal`](crate::wal)):
//! - An answered write is on the medium, and so is the directory entry of its file.
//! - A file is only appended to: a write whose offset is not the file's length is refused.
//! - **A segment is durable before the next one's file is made.**
//! - What a boot reads is durable: opening syncs the last segment and drops its cached pages, so that the scan sees the
//!   medium and not memory that a failed sync left behind ("fsyncgate").
//! - **A failed write or sync poisons**: every later write is refused until the directory is opened anew, and nothing that
//!   depends on it was answered. A sync is never tried a second time: the kernel reports such a failure once and marks the
//!   pages clean. Reads go on.
//! - **Want of room can end**: where a write found none, all before it is made durable and answered, and [`Io::Reopen`] removes
//!   what is behind that and takes writes again once there is room.

mod files;
mod lock;
mod queue;
mod stats;
#[cfg(test)]
mod tests;
mod worker;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;

use crate::node::{Input, Io};
use crate::types::{IoId, PersistId, SegmentId};

use files::Files;
pub(super) use lock::{LOCK_FILE, Lock};
use queue::Queue;
pub use queue::{BYTES_MAX, QUEUE_MAX, SubmitError};
pub use stats::Stats;
use stats::Tally;
use worker::Worker;

/// Why a directory was not opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another node of this one, works on it.
    #[error("{} is in use by {}", dir.display(), holder.map_or_else(|| "another process".into(), |pid| format!("process {pid}")))]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// Who holds it, if that could be read.
        holder: Option<u32>,
    },
    /// The system refused.
    #[error("cannot {what} {}: {error}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's own words.
        #[source]
        error: io::Error,
    },
}

/// Work for the disk: what [`Effect::Persist`](crate::node::Effect::Persist) and [`Effect::Io`](crate::node::Effect::Io) say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Append to a segment, durably. Answered by [`Input::Persisted`], in the order of submission.
    Persist {
        /// Names the write in the answer.
        id: PersistId,
        /// Which segment.
        segment: SegmentId,
        /// Its length so far; 0 makes the file.
        offset: u64,
        /// What to append.
        bytes: Bytes,
    },
    /// Work on the files. Answered by [`Input::IoDone`]; it sees every write submitted before it.
    Io {
        /// Names the operation in the answer.
        id: IoId,
        /// What to do.
        op: Io,
    },
}

/// An open directory of segment files. Dropping it finishes what was submitted, answers it and gives the directory free.
#[derive(Debug)]
pub struct Disk {
    queue: Arc<Queue>,
    tally: Arc<Mutex<Tally>>,
    thread: Option<JoinHandle<()>>,
}

impl Disk {
    /// Opens the directory, made if it is not there, for this process alone. Answers go to `answer`, on the disk's thread:
    /// it must not block.
    ///
    /// # Errors
    /// [`OpenError`], with the directory as it was.
    pub fn open(dir: &Path, answer: impl Fn(Input) + Send + 'static) -> Result<Self, OpenError> {
        let files = Files::make(dir)?;
        let lock = Lock::take(dir)?;
        files.settle()?;
        let (queue, tally) = (Arc::new(Queue::default()), Arc::new(Mutex::new(Tally::default())));
        let worker = Worker::new(files, Arc::clone(&queue), Arc::clone(&tally), answer);
        let work = move || {
            worker.run();
            drop(lock);
        };
        let thread = std::thread::Builder::new().name("wal".into()).spawn(work);
        let thread = thread.map_err(|error| OpenError::Io { what: "start the thread for", path: dir.into(), error })?;
        Ok(Self { queue, tally, thread: Some(thread) })
    }

    /// Queues work. Never waits.
    ///
    /// # Errors
    /// [`SubmitError`] gives the request back: it will not be answered. [`QUEUE_MAX`] and [`BYTES_MAX`] are far above what a
    /// node has in flight, so a driver treats it as a disk that does not come back.
    pub fn submit(&self, request: Request) -> Result<(), SubmitError> {
        self.queue.push(request)
    }

    /// What was done since the opening.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).stats()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported by the thread; what it left unanswered stays unanswered.
            let _ = thread.join();
        }
    }
}
