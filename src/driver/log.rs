//! The loop's end of the disk: every write and read that the node asks for is answered once, writes in their order.
//!
//! **A disk that is slow is not a disk that failed.** What its queue does not take waits here and goes in as answers come
//! out; meanwhile the loop takes no new commands. What waits is bounded by what the core has in flight: edits by
//! [`peer::EDIT_BYTES_MAX`](super::peer::EDIT_BYTES_MAX), what peers push by their windows, which open only when it is durable.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::disk::{Disk, Request, SubmitError};
use crate::node::{Effect, Input};
use crate::types::{DiskFault, DiskFaultKind};

/// The disk and its answers.
pub(super) struct Log {
    disk: Disk,
    answers: mpsc::UnboundedReceiver<Input>,
    /// What the disk has not taken yet, in order.
    waiting: VecDeque<Request>,
    /// Taken and not answered.
    taken: usize,
    /// Why the disk takes nothing any more.
    closed: Option<DiskFault>,
    /// Answers of ours, for what a closed disk did not take.
    ready: VecDeque<Input>,
}

impl Log {
    /// `answers` brings what `disk` answers; nothing is in flight.
    pub(super) fn new(disk: Disk, answers: mpsc::UnboundedReceiver<Input>) -> Self {
        Self { disk, answers, waiting: VecDeque::new(), taken: 0, closed: None, ready: VecDeque::new() }
    }

    /// Whether the disk takes what it is given.
    pub(super) fn keeps_up(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Performs one of the effects that a boot may have; gives back any other.
    pub(super) fn perform(&mut self, effect: Effect) -> Option<Effect> {
        match effect {
            Effect::Persist { id, segment, offset, bytes } => {
                self.submit(Request::Persist { id, segment, offset, bytes });
            }
            Effect::Io { id, op } => self.submit(Request::Io { id, op }),
            other => return Some(other),
        }
        None
    }

    /// Queues work. Never waits; behind what waits, it waits too, so that order is kept.
    pub(super) fn submit(&mut self, request: Request) {
        self.waiting.push_back(request);
        self.push();
    }

    /// Gives the disk what it takes.
    fn push(&mut self) {
        while self.closed.is_none()
            && let Some(request) = self.waiting.pop_front()
        {
            match self.disk.submit(request) {
                Ok(()) => self.taken += 1,
                Err(SubmitError::Full { request, .. }) => return self.waiting.push_front(request),
                Err(error @ SubmitError::Closed(_)) => {
                    let (what, why) = ("use the log".into(), error.to_string().into());
                    self.closed = Some(DiskFault { kind: DiskFaultKind::Failed, what, why });
                    let (SubmitError::Closed(request) | SubmitError::Full { request, .. }) = error;
                    self.waiting.push_front(request);
                }
            }
        }
        // Not before everything that was taken is answered: answers keep the order of the writes.
        if self.taken == 0
            && let Some(fault) = &self.closed
        {
            self.ready.extend(self.waiting.drain(..).map(|request| refuse(request, fault.clone())));
        }
    }

    fn answered(&mut self, input: Input) -> Input {
        self.taken -= 1;
        self.push();
        input
    }

    /// The next answer. Cancelling loses nothing.
    pub(super) async fn next(&mut self) -> Option<Input> {
        if let Some(input) = self.ready.pop_front() {
            return Some(input);
        }
        let input = self.answers.recv().await?;
        Some(self.answered(input))
    }

    /// An answer that is there already.
    pub(super) fn try_next(&mut self) -> Option<Input> {
        self.ready.pop_front().or_else(|| self.answers.try_recv().ok().map(|input| self.answered(input)))
    }

    /// The next answer, for a thread that may wait.
    pub(super) fn wait(&mut self) -> Option<Input> {
        self.ready.pop_front().or_else(|| self.answers.blocking_recv().map(|input| self.answered(input)))
    }
}

fn refuse(request: Request, fault: DiskFault) -> Input {
    match request {
        Request::Persist { id, .. } => Input::Persisted { id, result: Err(fault) },
        Request::Io { id, .. } => Input::IoDone { id, result: Err(fault) },
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::driver::disk::BYTES_MAX;
    use crate::types::{PersistId, SegmentId};

    #[test]
    fn a_slow_disk_makes_writes_wait_and_answers_all_of_them_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let (answer, answers) = mpsc::unbounded_channel();
        // The disk's thread stands still until the gate opens, as a worn SD card does.
        let (gate, held) = std::sync::mpsc::channel::<()>();
        let disk = Disk::open(dir.path(), move |input| {
            let _ = held.recv();
            drop(answer.send(input));
        });
        let mut log = Log::new(disk.unwrap(), answers);
        let mebibyte = Bytes::from(vec![7; 1 << 20]);
        let writes = u64::try_from(BYTES_MAX >> 20).unwrap() + 8;
        for id in 0..writes {
            let (id, offset, segment) = (PersistId::new(id), id << 20, SegmentId::new(1));
            log.submit(Request::Persist { id, segment, offset, bytes: mebibyte.clone() });
        }
        assert!(!log.keeps_up(), "more was submitted than the disk takes");
        drop(gate);
        for id in 0..writes {
            assert_eq!(log.wait(), Some(Input::Persisted { id: PersistId::new(id), result: Ok(()) }));
        }
        assert!(log.keeps_up());
        assert_eq!(log.try_next(), None);
    }
}
