//! An open link at work: two lanes each way, in one task.
//!
//! Four loops share the task: each lane is read by one and written by one, so a slow disk, a full inbox or a closed window on
//! one never holds up another. Writers gather what waits into one buffer and flush once. Two more loops watch for
//! silence and hand on revocations.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::Stream;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use super::admit;
use super::event::NetworkEvent;
use super::fault::Fault;
use super::frame::{self, Assembly, Control, Outgoing, Piece};
use super::handle::Linked;
use super::limit::{BATCH, CHUNK, Limits};
use super::window::Window;
use crate::driver::admission::{Admission, AdmissionError, Credential, PublicKey, Refusal, Revocation};
use crate::types::{Lane, NodeId};

/// How often the round trip is measured while sync bytes are on their way.
const BUSY_PING: Duration = Duration::from_millis(200);
/// How long what is on its way may arrive after the end was heard of on one lane.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Shortest time between two tickets for one peer.
const RENEWAL_PAUSE: Duration = Duration::from_secs(10);
/// Revocations in one frame: about 20 KB.
const REVOCATIONS: usize = 64;

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum End {
    /// The peer broke the protocol.
    Fault(Fault),
    /// The connection failed, or the peer closed it.
    Gone(Arc<str>),
    /// The peer said why it leaves.
    Goodbye(String),
    /// We wanted it closed.
    Closed(Arc<str>),
    /// One end did not let the other in.
    Refused { why: Refusal, by_peer: bool },
    /// The other of two connections to the peer is kept.
    Duplicate,
    /// The peer came for a ticket only.
    Served,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Gone(why) => why.fmt(f),
            Self::Goodbye(why) => write!(f, "the peer said goodbye: {why}"),
            Self::Closed(why) => write!(f, "closed here: {why}"),
            Self::Refused { why, by_peer: true } => write!(f, "the peer refused: {why}"),
            Self::Refused { why, by_peer: false } => write!(f, "refused here: {why}"),
            Self::Duplicate => f.write_str("the other of two connections is kept"),
            Self::Served => f.write_str("the peer has got its ticket"),
        }
    }
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Gone(error.to_string().into())
    }
}

/// The substreams of a link.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) control_in: Stream,
    pub(super) control_out: Stream,
    pub(super) sync_in: Stream,
    pub(super) sync_out: Stream,
}

/// What every link of this peer shares.
#[derive(Debug)]
pub(super) struct Surroundings {
    pub(super) limits: Limits,
    pub(super) admission: Admission,
    pub(super) events: mpsc::Sender<NetworkEvent>,
    /// Memory for incomplete sync frames, in KiB.
    pub(super) assembly: Arc<Semaphore>,
}

/// The connection is in use: both lanes are written.
const ACTIVE: u8 = 0;
/// Another connection is used: no frame is begun here any more, but everything is still read.
const RETIRED: u8 = 1;
/// The network stops: what waits is sent, then goodbye.
const FINISHING: u8 = 2;

#[derive(Debug)]
struct Signals {
    pong: Option<u64>,
    /// Frames of the link's own that wait: bounded by the revoked set and one renewal.
    frames: VecDeque<(u8, Bytes)>,
    goodbye: Option<Arc<str>>,
    /// Bytes taken off the sync lane, and how many of them were acknowledged.
    consumed: u64,
    acknowledged: u64,
    window: Window,
    /// When the peer last got a ticket here.
    renewed_at: Option<Instant>,
}

/// A link at work.
pub(super) struct Session {
    peer: NodeId,
    key: PublicKey,
    linked: Arc<Linked>,
    around: Arc<Surroundings>,
    origin: Instant,
    mode: AtomicU8,
    signals: Mutex<Signals>,
    control_wake: Notify,
    sync_wake: Notify,
    /// When something was last heard on the control lane, in microseconds since the origin.
    heard_us: AtomicU64,
    /// Whether the reader of the control lane is waiting for its own side.
    delivering: AtomicBool,
    sync_idle: AtomicBool,
}

impl Session {
    pub(super) fn new(peer: NodeId, key: PublicKey, linked: Arc<Linked>, around: Arc<Surroundings>) -> Self {
        let origin = Instant::now();
        let window = Window::new(origin);
        linked.traffic.window.store(window.size(), Ordering::Relaxed);
        Self {
            peer,
            key,
            linked,
            around,
            origin,
            mode: AtomicU8::new(ACTIVE),
            signals: Mutex::new(Signals {
                pong: None,
                frames: VecDeque::new(),
                goodbye: None,
                consumed: 0,
                acknowledged: 0,
                window,
                renewed_at: None,
            }),
            control_wake: Notify::new(),
            sync_wake: Notify::new(),
            heard_us: AtomicU64::new(0),
            delivering: AtomicBool::new(false),
            sync_idle: AtomicBool::new(false),
        }
    }

    /// Runs until the link ends. `known`: how many revocations the peer is known to have.
    pub(super) async fn run(&self, streams: Streams, known: usize) -> End {
        let Streams { control_in, control_out, sync_in, sync_out } = streams;
        let (mut read_control, mut read_sync) = (pin!(self.read_control(control_in)), pin!(self.read_sync(sync_in)));
        let (ended, end) = tokio::select! {
            end = &mut read_control => (Some(Lane::Control), end),
            end = &mut read_sync => (Some(Lane::Sync), end),
            end = self.write_control(control_out) => (None, end),
            end = self.write_sync(sync_out) => (None, end),
            end = self.watch_silence() => (None, end),
            end = self.tell_revocations(known) => (None, end),
        };
        // A goodbye and the end of the connection may overtake each other, and what was sent before them on the other lane.
        match end {
            End::Goodbye(_) => {
                _ = timeout(LAST_WORDS, read_sync).await;
                end
            }
            End::Gone(_) if ended != Some(Lane::Control) => match timeout(LAST_WORDS, read_control).await {
                Ok(goodbye @ End::Goodbye(_)) => goodbye,
                _ => end,
            },
            _ => end,
        }
    }

    /// Begins no more frames here; another connection is used.
    pub(super) fn retire(&self) {
        self.turn(RETIRED);
    }

    /// Sends what waits, then says goodbye.
    pub(super) fn finish(&self) {
        self.turn(FINISHING);
    }

    /// Says goodbye at once.
    pub(super) fn say_goodbye(&self, why: Arc<str>) {
        self.signals().goodbye = Some(why);
        self.control_wake.notify_one();
    }

    /// Asks the peer for our next ticket.
    pub(super) fn ask_renewal(&self, credential: Bytes) {
        self.signal(frame::RENEW, credential);
    }

    fn turn(&self, mode: u8) {
        self.mode.store(mode, Ordering::Release);
        self.control_wake.notify_one();
        self.sync_wake.notify_one();
    }

    fn mode(&self) -> u8 {
        self.mode.load(Ordering::Acquire)
    }

    fn signals(&self) -> MutexGuard<'_, Signals> {
        self.signals.lock().expect("nobody panics while holding it")
    }

    fn signal(&self, kind: u8, payload: Bytes) {
        self.signals().frames.push_back((kind, payload));
        self.control_wake.notify_one();
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

// Reading.
impl Session {
    async fn read_control(&self, mut stream: Stream) -> End {
        let (mut scratch, mut buffer) = (vec![0; CHUNK], BytesMut::new());
        loop {
            loop {
                match frame::take_control(&mut buffer) {
                    Ok(Some(frame)) => {
                        if let Err(end) = self.on_control(frame).await {
                            return end;
                        }
                    }
                    Ok(None) => break,
                    Err(fault) => return fault.into(),
                }
            }
            match stream.read(&mut scratch).await {
                Ok(0) => return ended(Lane::Control, buffer.is_empty()),
                Ok(len) => self.hear(&mut buffer, &scratch[..len]),
                Err(error) => return error.into(),
            }
            self.heard_us.store(self.now_us(), Ordering::Relaxed);
        }
    }

    fn hear(&self, buffer: &mut BytesMut, bytes: &[u8]) {
        buffer.extend_from_slice(bytes);
        let len = u64::try_from(bytes.len()).expect("a read is short");
        self.linked.traffic.bytes_in.fetch_add(len, Ordering::Relaxed);
    }

    async fn on_control(&self, frame: Control) -> Result<(), End> {
        match frame {
            Control::Node(frame) => self.deliver(Lane::Control, frame).await?,
            Control::Ping(number) => {
                self.signals().pong = Some(number);
                self.control_wake.notify_one();
            }
            Control::Pong(number) => self.on_pong(number),
            Control::Ack(bytes) => {
                self.signals().window.on_ack(bytes)?;
                self.sync_wake.notify_one();
            }
            Control::Revoked(bytes) => self.on_revoked(&bytes).await?,
            Control::Renew(bytes) => {
                let old = decode::<Credential>(&bytes, frame::RENEW)?;
                // Not being an issuer, or refusing, is answered by silence: the peer asks others. A ticket costs three
                // signatures, so none is made twice in a while.
                if self.may_renew()
                    && let Ok(next) = self.around.admission.renew(&old, self.key)
                {
                    self.signal(frame::RENEWED, next.to_bytes().into());
                }
            }
            Control::Renewed(bytes) => {
                let next = decode(&bytes, frame::RENEWED)?;
                admit::accept_renewal(&self.around.admission, next).await;
            }
            Control::Goodbye(why) => return Err(End::Goodbye(why)),
        }
        Ok(())
    }

    fn may_renew(&self) -> bool {
        let mut signals = self.signals();
        let may = signals.renewed_at.is_none_or(|at| at.elapsed() >= RENEWAL_PAUSE);
        if may {
            signals.renewed_at = Some(Instant::now());
        }
        may
    }

    /// Waiting for our own side does not count as the peer's silence.
    async fn deliver(&self, lane: Lane, frame: Bytes) -> Result<(), End> {
        self.linked.traffic.frames_in.fetch_add(1, Ordering::Relaxed);
        let event = NetworkEvent::Received { from: self.peer, lane, frame };
        let event = match self.around.events.try_send(event) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(End::Closed("nobody listens any more".into())),
            Err(mpsc::error::TrySendError::Full(event)) => event,
        };
        if lane == Lane::Control {
            self.delivering.store(true, Ordering::Relaxed);
        }
        let sent = self.around.events.send(event).await;
        if lane == Lane::Control {
            self.heard_us.store(self.now_us(), Ordering::Relaxed);
            self.delivering.store(false, Ordering::Relaxed);
        }
        sent.map_err(|_| End::Closed("nobody listens any more".into()))
    }

    fn on_pong(&self, sent_us: u64) {
        let now_us = self.now_us();
        // A number from the future was never sent: not worth a fault, but no measurement either.
        let Some(rtt_us) = now_us.checked_sub(sent_us) else { return };
        self.linked.traffic.rtt_us.store(rtt_us.max(1), Ordering::Relaxed);
        let mut signals = self.signals();
        signals.window.on_round_trip(Duration::from_micros(rtt_us), Instant::now());
        self.linked.traffic.window.store(signals.window.size(), Ordering::Relaxed);
        drop(signals);
        self.sync_wake.notify_one();
    }

    async fn on_revoked(&self, bytes: &[u8]) -> Result<(), End> {
        let entries = decode::<Vec<Revocation>>(bytes, frame::REVOKED)?;
        let admission = self.around.admission.clone();
        let merged = tokio::task::spawn_blocking(move || admission.merge_revocations(entries)).await;
        match merged.expect("merging does not panic") {
            Ok(new) if new.is_empty() => {}
            Ok(new) => tracing::info!(peer = %self.peer, count = new.len(), "learned revocations"),
            Err(AdmissionError::Refused(Refusal::Full)) => tracing::warn!("the set of revocations is full"),
            Err(AdmissionError::Refused(_)) => {
                return Err(Fault::Malformed { lane: Lane::Control, kind: frame::REVOKED }.into());
            }
            Err(error) => tracing::error!(%error, "revocations could not be stored"),
        }
        Ok(())
    }

    async fn read_sync(&self, mut stream: Stream) -> End {
        let (mut scratch, mut buffer) = (vec![0; CHUNK], BytesMut::new());
        let mut assembly = Assembly::default();
        loop {
            loop {
                match frame::take_piece(&mut buffer) {
                    Ok(Some(piece)) => {
                        if let Err(end) = self.on_piece(piece, &mut assembly).await {
                            return end;
                        }
                    }
                    Ok(None) => break,
                    Err(fault) => return fault.into(),
                }
            }
            let stall = self.around.limits.assembly_stall;
            let incomplete = assembly.is_open() || !buffer.is_empty();
            let read = match incomplete {
                true => match timeout(stall, stream.read(&mut scratch)).await {
                    Ok(read) => read,
                    Err(_) => return Fault::Incomplete { ms: millis(stall) }.into(),
                },
                false => stream.read(&mut scratch).await,
            };
            match read {
                Ok(0) => return ended(Lane::Sync, !incomplete),
                Ok(len) => self.hear(&mut buffer, &scratch[..len]),
                Err(error) => return error.into(),
            }
        }
    }

    async fn on_piece(&self, piece: Piece, assembly: &mut Assembly) -> Result<(), End> {
        let len = match &piece {
            Piece::First { total, bytes } => {
                if *total > bytes.len() && !assembly.is_open() {
                    assembly.permit = Some(self.reserve(*total).await);
                }
                bytes.len()
            }
            Piece::More(bytes) => bytes.len(),
        };
        if let Some(frame) = assembly.add(piece)? {
            self.deliver(Lane::Sync, frame).await?;
            assembly.permit = None;
        }
        let mut signals = self.signals();
        signals.consumed += u64::try_from(len).expect("a piece is short");
        let due = signals.consumed - signals.acknowledged >= 1 << 14;
        drop(signals);
        if due {
            self.control_wake.notify_one();
        }
        Ok(())
    }

    /// The whole frame's share of memory at once: who got it can finish, so waiting here cannot end in a deadlock.
    async fn reserve(&self, total: usize) -> OwnedSemaphorePermit {
        let kib = u32::try_from(total.div_ceil(1024)).expect("a frame is at most 16 MiB");
        let permit = Arc::clone(&self.around.assembly).acquire_many_owned(kib).await;
        permit.expect("the semaphore is never closed")
    }
}

// Writing.
impl Session {
    async fn write_control(&self, mut stream: Stream) -> End {
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
    fn drain_signals(&self, buffer: &mut BytesMut) -> (Option<Arc<str>>, bool) {
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

    fn drain_outbox(&self, buffer: &mut BytesMut) {
        let mut frames = 0;
        let budget = BATCH.saturating_sub(buffer.len());
        self.linked.outbox.take_control(budget, |frame| {
            frame::put(buffer, frame::NODE, frame);
            frames += 1;
        });
        self.linked.traffic.frames_out.fetch_add(frames, Ordering::Relaxed);
    }

    async fn write(&self, lane: Lane, stream: &mut Stream, bytes: &[u8]) -> Result<(), End> {
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

    async fn write_sync(&self, mut stream: Stream) -> End {
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
    fn fill_sync(&self, buffer: &mut BytesMut, current: &mut Option<Outgoing>) -> bool {
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

// Watching.
impl Session {
    async fn watch_silence(&self) -> End {
        let limit = self.around.limits.watchdog;
        loop {
            let heard = Duration::from_micros(self.heard_us.load(Ordering::Relaxed));
            let silent = self.origin.elapsed().saturating_sub(heard);
            if silent < limit {
                let pause = limit - silent;
                let asleep = Instant::now();
                sleep(pause).await;
                // This process itself was stopped or starved: the peer gets its time again.
                if asleep.elapsed() > pause + limit / 3 {
                    self.heard_us.store(self.now_us(), Ordering::Relaxed);
                }
            } else if self.delivering.load(Ordering::Relaxed) {
                sleep(limit / 3).await;
            } else {
                return Fault::Silent { ms: millis(silent) }.into();
            }
        }
    }

    async fn tell_revocations(&self, mut known: usize) -> End {
        let mut changes = self.around.admission.watch_revoked();
        loop {
            let new = self.around.admission.revocations_after(known);
            known += new.len();
            for batch in new.chunks(REVOCATIONS) {
                let bytes = bincode::encode_to_vec(batch, bincode::config::standard());
                self.signal(frame::REVOKED, bytes.expect("plain values in memory always encode").into());
            }
            if changes.changed().await.is_err() {
                return End::Closed("the peer stops".into());
            }
        }
    }
}

fn ended(lane: Lane, between_frames: bool) -> End {
    if between_frames { End::Gone("the peer closed the link".into()) } else { Fault::Ended { lane }.into() }
}

fn decode<T: bincode::Decode<()>>(bytes: &[u8], kind: u8) -> Result<T, Fault> {
    let config = bincode::config::standard().with_limit::<{ frame::max(Lane::Control) }>();
    match bincode::decode_from_slice(bytes, config) {
        Ok((value, len)) if len == bytes.len() => Ok(value),
        _ => Err(Fault::Malformed { lane: Lane::Control, kind }),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
