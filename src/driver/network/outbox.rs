//! What waits to be sent to one peer: bounded, and filled without ever waiting.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::Notify;

use super::limit::Limits;
use crate::types::Lane;

#[derive(Debug, Default)]
struct Queues {
    control: VecDeque<Bytes>,
    sync: VecDeque<Bytes>,
    sync_bytes: usize,
}

/// The two queues of one peer, shared by whoever sends and by the link's task.
#[derive(Debug)]
pub(super) struct Outbox {
    queues: Mutex<Queues>,
    control_max: usize,
    sync_max: usize,
    /// Wakes the writers of the lanes.
    pub(super) control_ready: Notify,
    pub(super) sync_ready: Notify,
    pub(super) control_dropped: AtomicU64,
    pub(super) sync_dropped: AtomicU64,
}

impl Outbox {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            queues: Mutex::default(),
            control_max: limits.control_queue,
            sync_max: limits.sync_queue_bytes,
            control_ready: Notify::new(),
            sync_ready: Notify::new(),
            control_dropped: AtomicU64::new(0),
            sync_dropped: AtomicU64::new(0),
        }
    }

    /// Queues a frame. A full control queue loses its oldest frame (old news is worth less), a full sync queue refuses
    /// the new one (its pieces build on the earlier ones).
    pub(super) fn push(&self, lane: Lane, frame: Bytes) {
        let mut queues = self.queues.lock().expect("nobody panics while holding it");
        match lane {
            Lane::Control => {
                if queues.control.len() >= self.control_max {
                    queues.control.pop_front();
                    self.control_dropped.fetch_add(1, Ordering::Relaxed);
                }
                queues.control.push_back(frame);
                drop(queues);
                self.control_ready.notify_one();
            }
            Lane::Sync => {
                if !queues.sync.is_empty() && queues.sync_bytes + frame.len() > self.sync_max {
                    self.sync_dropped.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                queues.sync_bytes += frame.len();
                queues.sync.push_back(frame);
                drop(queues);
                self.sync_ready.notify_one();
            }
        }
    }

    /// Takes control frames until `budget` bytes are reached or none is left; the frame that passes the budget included.
    pub(super) fn take_control(&self, budget: usize, mut each: impl FnMut(&Bytes)) {
        let mut queues = self.queues.lock().expect("nobody panics while holding it");
        let mut taken = 0;
        while taken < budget
            && let Some(frame) = queues.control.pop_front()
        {
            taken += frame.len();
            each(&frame);
        }
    }

    pub(super) fn take_sync(&self) -> Option<Bytes> {
        let mut queues = self.queues.lock().expect("nobody panics while holding it");
        let frame = queues.sync.pop_front()?;
        queues.sync_bytes -= frame.len();
        Some(frame)
    }

    /// Frames on the control lane and bytes on the sync lane that wait.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let queues = self.queues.lock().expect("nobody panics while holding it");
        (queues.control.len(), queues.sync_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox() -> Outbox {
        Outbox::new(&Limits { control_queue: 2, sync_queue_bytes: 10, ..Limits::default() })
    }

    #[test]
    fn a_full_control_queue_loses_its_oldest_frame() {
        let outbox = outbox();
        for byte in 0..3_u8 {
            outbox.push(Lane::Control, Bytes::from(vec![byte]));
        }
        let mut taken = Vec::new();
        outbox.take_control(100, |frame| taken.push(frame[0]));
        assert_eq!((taken, outbox.control_dropped.into_inner()), (vec![1, 2], 1));
    }

    #[test]
    fn a_full_sync_queue_refuses_the_new_frame_but_always_takes_one() {
        let outbox = outbox();
        outbox.push(Lane::Sync, Bytes::from(vec![0; 20]));
        outbox.push(Lane::Sync, Bytes::from(vec![0; 1]));
        assert_eq!(outbox.take_sync().map(|frame| frame.len()), Some(20));
        assert_eq!((outbox.take_sync(), outbox.sync_dropped.into_inner()), (None, 1));
    }
}
