//! What a link writes: all that waits goes into one buffer and is flushed once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::BytesMut;
use futures::AsyncWriteExt as _;
use libp2p::Stream;
use tokio::time::{sleep, timeout};

use super::super::fault::Fault;
use super::super::frame::{self, Outgoing};
use super::super::limit::BATCH;
use super::{ACTIVE, BUSY_PING, End, FINISHING, RETIRED, Session, millis};
use crate::types::Lane;

impl Session {
    pub(super) async fn write_control(&self, mut stream: Stream) -> End {
        let outbox = &self.linked.outbox;
        let idle_ping = self.around.limits.watchdog / 3;
        let mut buffer = BytesMut::with_capacity(BATCH);
        let mut pinged_at = None::<Instant>;
        loop {
            buffer.clear();
            let (goodbye, busy) = self.drain_signals(&mut buffer);
            let mode = self.mode();
            if mode != RETIRED {
                self.drain_outbox(&mut buffer);
            }
            let pause = if busy { BUSY_PING.min(idle_ping) } else { idle_ping };
            if pinged_at.is_none_or(|at| at.elapsed() >= pause) {
                frame::put_number(&mut buffer, frame::PING, self.now_us());
                pinged_at = Some(Instant::now());
            }
            if mode == FINISHING && buffer.is_empty() && self.sync_idle.load(Ordering::Acquire) {
                self.signals().goodbye = Some("the peer stops".into());
                self.control_wake.notify_one();
            }
            if !buffer.is_empty()
                && let Err(end) = self.write(Lane::Control, &mut stream, &buffer).await
            {
                return end;
            }
            if let Some(why) = goodbye {
                return End::Closed(why);
            }
            if !buffer.is_empty() {
                continue;
            }
            let until_ping = pinged_at.map_or(pause, |at| pause.saturating_sub(at.elapsed()));
            tokio::select! {
                () = self.control_wake.notified() => {}
                () = outbox.control_ready.notified(), if mode == ACTIVE => {
                    if self.mode() == RETIRED {
                        // The wake was meant for the connection that took over.
                        outbox.control_ready.notify_one();
                    }
                }
                () = sleep(until_ping) => {}
            }
        }
    }

    /// The link's own frames, most urgent first. Gives the goodbye, if one was put, and whether sync bytes are under way.
    pub(super) fn drain_signals(&self, buffer: &mut BytesMut) -> (Option<Arc<str>>, bool) {
        let mut signals = self.signals();
        if let Some(number) = signals.pong.take() {
            frame::put_number(buffer, frame::PONG, number);
        }
        if signals.consumed > signals.acknowledged {
            frame::put_number(buffer, frame::ACK, signals.consumed);
            signals.acknowledged = signals.consumed;
        }
        while buffer.len() < BATCH
            && let Some((kind, payload)) = signals.frames.pop_front()
        {
            frame::put(buffer, kind, &payload);
        }
        let goodbye = signals.goodbye.take();
        if let Some(why) = &goodbye {
            frame::put(buffer, frame::GOODBYE, why.as_bytes());
        }
        (goodbye, signals.window.is_busy())
    }

    pub(super) fn drain_outbox(&self, buffer: &mut BytesMut) {
        let mut frames = 0;
        let budget = BATCH.saturating_sub(buffer.len());
        self.linked.outbox.take_control(budget, |frame| {
            frame::put(buffer, frame::NODE, frame);
            frames += 1;
        });
        self.linked.traffic.frames_out.fetch_add(frames, Ordering::Relaxed);
    }

    pub(super) async fn write(&self, lane: Lane, stream: &mut Stream, bytes: &[u8]) -> Result<(), End> {
        let stall = self.around.limits.write_stall;
        let written = timeout(stall, async {
            stream.write_all(bytes).await?;
            stream.flush().await
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err(Fault::Stalled { lane, ms: millis(stall) }.into()),
        }
        let len = u64::try_from(bytes.len()).expect("a batch is short");
        self.linked.traffic.bytes_out.fetch_add(len, Ordering::Relaxed);
        Ok(())
    }

    pub(super) async fn write_sync(&self, mut stream: Stream) -> End {
        let outbox = &self.linked.outbox;
        let mut buffer = BytesMut::with_capacity(BATCH);
        let mut current = None;
        loop {
            buffer.clear();
            let held = self.fill_sync(&mut buffer, &mut current);
            if !buffer.is_empty() {
                if let Err(end) = self.write(Lane::Sync, &mut stream, &buffer).await {
                    return end;
                }
                continue;
            }
            if held {
                self.sync_wake.notified().await;
                continue;
            }
            if self.mode() != ACTIVE {
                // A wake that was meant for the connection that took over is passed on.
                outbox.sync_ready.notify_one();
                self.sync_idle.store(true, Ordering::Release);
                self.control_wake.notify_one();
                self.sync_wake.notified().await;
                continue;
            }
            tokio::select! {
                () = self.sync_wake.notified() => {}
                () = outbox.sync_ready.notified() => {}
            }
        }
    }

    /// Puts pieces until the buffer or the window is full; `true` when the window holds a piece back.
    pub(super) fn fill_sync(&self, buffer: &mut BytesMut, current: &mut Option<Outgoing>) -> bool {
        while buffer.len() < BATCH {
            if current.is_none() && self.mode() != RETIRED {
                *current = self.linked.outbox.take_sync().map(Outgoing::new);
            }
            let Some(frame) = current else { return false };
            let mut signals = self.signals();
            let was_busy = signals.window.is_busy();
            if !signals.window.take(frame.next_len()) {
                return true;
            }
            drop(signals);
            if !was_busy {
                // The round trip is measured more often from now on.
                self.control_wake.notify_one();
            }
            if frame.put_piece(buffer) {
                *current = None;
                self.linked.traffic.frames_out.fetch_add(1, Ordering::Relaxed);
            }
        }
        false
    }
}
