//! The queue between the node's task, which never waits, and the disk's thread, which does little else.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Request;

/// Most requests submitted and not answered.
pub const QUEUE_MAX: usize = 65_536;

/// Most bytes in them; one request is taken whatever its size.
pub const BYTES_MAX: usize = 64 << 20;

/// A request that was not taken, given back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// [`QUEUE_MAX`] or [`BYTES_MAX`] is reached: the disk does not keep up, or does not come back.
    #[error("the disk's queue is full: {requests} requests with {bytes} bytes wait")]
    Full {
        /// The request.
        request: Request,
        /// How many wait.
        requests: usize,
        /// With how many bytes.
        bytes: usize,
    },
    /// The disk's thread has ended.
    #[error("the disk is closed")]
    Closed(Request),
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Request>,
    /// Submitted and not answered: those that wait, and those that the thread has taken.
    requests: usize,
    bytes: usize,
    closed: bool,
}

impl Queue {
    pub(super) fn push(&self, request: Request) -> Result<(), SubmitError> {
        let mut state = self.lock();
        if state.closed {
            return Err(SubmitError::Closed(request));
        }
        let (requests, bytes) = (state.requests, state.bytes);
        if requests >= QUEUE_MAX || (bytes > 0 && bytes + request.bytes() > BYTES_MAX) {
            return Err(SubmitError::Full { request, requests, bytes });
        }
        state.requests += 1;
        state.bytes += request.bytes();
        state.waiting.push_back(request);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Everything that waits, as soon as something does. Nothing when the queue is closed and empty.
    pub(super) fn take(&self) -> VecDeque<Request> {
        let state = self.lock();
        let mut state = self
            .filled
            .wait_while(state, |state| state.waiting.is_empty() && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.waiting)
    }

    /// What was taken is answered.
    pub(super) fn answered(&self, requests: usize, bytes: usize) {
        let mut state = self.lock();
        state.requests -= requests;
        state.bytes -= bytes;
    }

    /// Takes no more requests; those that wait are still to be done.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Request {
    /// How much memory it holds on to.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Persist { bytes, .. } => bytes.len(),
            Self::Io { .. } => 0,
        }
    }
}
