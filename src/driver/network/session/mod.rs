//! An open link at work: two lanes each way, in one task.
//!
//! Four loops share the task: each lane is read by one and written by one, so a slow disk, a full inbox or a closed window on
//! one never holds up another. Writers gather what waits into one buffer and flush once. Three more loops watch for
//! silence, and hand on revocations and issuers.

mod reading;
mod writing;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use libp2p::Stream;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use super::event::NetworkEvent;
use super::fault::Fault;
use super::frame;
use super::handle::{Linked, Shared};
use super::limit::Limits;
use super::window::Window;
use crate::driver::admission::{Admission, Member, PublicKey, Refusal};
use crate::types::{Lane, NodeId};

/// How often the round trip is measured while sync bytes are on their way.
const BUSY_PING: Duration = Duration::from_millis(200);
/// How long what is on its way may arrive after the end was heard of on one lane.
const LAST_WORDS: Duration = Duration::from_millis(500);
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
    Refused { why: Refusal, by_peer: bool, member: Option<Box<Member>> },
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
            Self::Refused { why, by_peer: true, .. } => write!(f, "the peer refused: {why}"),
            Self::Refused { why, by_peer: false, .. } => write!(f, "refused here: {why}"),
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
    pub(super) shared: Arc<Shared>,
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
        let relays = around.shared.relay.then(|| (frame::RELAYS, Bytes::new()));
        Self {
            peer,
            key,
            linked,
            around,
            origin,
            mode: AtomicU8::new(ACTIVE),
            signals: Mutex::new(Signals {
                pong: None,
                frames: relays.into_iter().collect(),
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
            end = self.tell_issuers() => (None, end),
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

impl Session {
    /// There are few issuers, so each link is told all: who has lost one must know another.
    async fn tell_issuers(&self) -> End {
        let mut changes = self.around.admission.watch_issuers();
        let mut known = 0;
        loop {
            let (new, arrivals) = self.around.admission.issuers_after(known);
            known = arrivals;
            if !new.is_empty() {
                let bytes = bincode::encode_to_vec(new, bincode::config::standard());
                self.signal(frame::ISSUERS, bytes.expect("plain values in memory always encode").into());
            }
            if changes.changed().await.is_err() {
                return End::Closed("the peer stops".into());
            }
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
