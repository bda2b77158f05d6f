//! Every bound of the transport, in one place, each with its reason.

use std::time::Duration;

use super::meter::Rate;

/// What may be tuned. The defaults are for a box with 512 MB at the edge of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Handshakes that strangers may have begun and not finished: each costs about 0.6 ms of CPU.
    pub pending_inbound: u32,
    /// Dials under way at the transport.
    pub pending_outbound: u32,
    /// Connections accepted.
    pub established_inbound: u32,
    /// Connections in all.
    pub established: u32,
    /// Connections with one peer: two after simultaneous dials, one more while a lost one is noticed.
    pub established_per_peer: u32,
    /// Connections whose peer has not shown a ticket yet.
    pub unadmitted: usize,
    /// Handshakes that one address (IPv4, or IPv6 /64) may begin a second, once its burst is used up.
    pub handshakes_per_second: u32,
    /// Handshakes that one address may begin at once.
    pub handshake_burst: u32,
    /// Whether the two limits above hold for this machine's own processes too.
    pub rate_limit_loopback: bool,
    /// How long a connection may take to be encrypted.
    pub handshake_timeout: Duration,
    /// How long a connection may take to be admitted, and its lanes to be opened.
    pub admission_timeout: Duration,
    /// A linked peer that is silent for this long on the control lane is gone. Keep-alives go out at a third of it.
    pub watchdog: Duration,
    /// How long a write may make no progress before the peer counts as gone: it does not read.
    pub write_stall: Duration,
    /// How long a sync frame may stay incomplete without progress.
    pub assembly_stall: Duration,
    /// Control frames waiting for one peer; beyond, the oldest are dropped.
    pub control_queue: usize,
    /// Bytes of sync frames waiting for one peer; beyond, new ones are dropped. One frame is always taken.
    pub sync_queue_bytes: usize,
    /// Frames that one peer may send on the control lane: far more than an honest one has to say.
    pub control_frames: Rate,
    /// Bytes that one peer may send on the control lane.
    pub control_bytes: Rate,
    /// Pieces of sync frames that one peer may send.
    pub sync_pieces: Rate,
    /// Bytes that one peer may send on the sync lane.
    pub sync_bytes: Rate,
    /// Who sends faster than this peer reads on the control lane for so long without a pause is shown out. Until then, and on
    /// the sync lane for ever, it is only read more slowly.
    pub flood: Duration,
    /// For how long nobody is linked again who was shown out for that.
    pub shun: Duration,
    /// Bytes of incomplete sync frames of all peers together; beyond, peers wait.
    pub assembly_bytes: usize,
    /// Addresses and peers that this peer tries on its own account.
    pub candidates: usize,
    /// Dials at once.
    pub dials: usize,
    /// First pause after a failed dial; doubles with each failure, with full jitter.
    pub backoff_base: Duration,
    /// Longest pause between dials of a candidate.
    pub backoff_cap: Duration,
    /// How long a peer must stay linked before its pauses start over.
    pub backoff_reset: Duration,
    /// Pause after a peer refused us, or we it: neither will change its mind soon.
    pub refused_pause: Duration,
    /// How often this peer looks whether its ticket is due for renewal.
    pub renewal_look: Duration,
    /// Shortest time between two tickets that one peer gets here over one link: each costs three signatures.
    pub renewal_pause: Duration,
    /// Bytes of memory of this process above which no connection is made; 80 % of the machine's when not set.
    pub memory_bytes: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pending_inbound: 32,
            pending_outbound: 16,
            established_inbound: 256,
            established: 512,
            established_per_peer: 3,
            unadmitted: 16,
            handshakes_per_second: 5,
            handshake_burst: 20,
            rate_limit_loopback: false,
            handshake_timeout: Duration::from_secs(5),
            admission_timeout: Duration::from_secs(5),
            watchdog: Duration::from_secs(3),
            write_stall: Duration::from_secs(10),
            assembly_stall: Duration::from_secs(30),
            control_queue: 512,
            sync_queue_bytes: 8 << 20,
            control_frames: Rate { per_second: 20_000, burst: 40_000 },
            control_bytes: Rate { per_second: 32 << 20, burst: 64 << 20 },
            sync_pieces: Rate { per_second: 50_000, burst: 100_000 },
            sync_bytes: Rate { per_second: 512 << 20, burst: 512 << 20 },
            flood: Duration::from_secs(10),
            shun: Duration::from_secs(60),
            assembly_bytes: 64 << 20,
            candidates: 256,
            dials: 8,
            backoff_base: Duration::from_millis(250),
            backoff_cap: Duration::from_secs(30),
            backoff_reset: Duration::from_secs(10),
            refused_pause: Duration::from_secs(600),
            renewal_look: Duration::from_secs(60),
            renewal_pause: Duration::from_secs(10),
            memory_bytes: None,
        }
    }
}

/// Substreams that a connection may have open: two lanes each way, admission, identify, ping, some for the moment when
/// they overlap, and one for each circuit through a relay. Bounds unread bytes at 64 x 256 KiB a connection.
pub(super) const SUBSTREAMS: usize = 64;
/// Inbound substreams that may be negotiating at once.
pub(super) const NEGOTIATING: usize = 16;
/// A connection without substreams is closed after this long.
pub(super) const IDLE: Duration = Duration::from_secs(30);
/// How long the losing one of two connections to a peer is kept, so that frames in flight arrive.
pub(super) const RETIRE: Duration = Duration::from_secs(1);
/// Bytes written at once on a lane.
pub(super) const BATCH: usize = 64 << 10;
/// Longest piece of a sync frame: what a control frame may have to wait behind on the wire.
pub(super) const CHUNK: usize = 16 << 10;
/// Unacknowledged sync bytes at the start of a link, and the bounds within which the window follows the round trip.
pub(super) const WINDOW: u64 = 64 << 10;
pub(super) const WINDOW_MIN: u64 = 32 << 10;
pub(super) const WINDOW_MAX: u64 = 1 << 20;
/// Members that are shunned at once; beyond, who has been for longest is not any more.
pub(super) const SHUNNED: usize = 256;
/// Events about strangers that may wait for whoever listens; more are only counted.
pub(super) const EVENTS_WAITING: usize = 256;
/// How long after a peer's better addresses the others are dialled: TCP first, where the end of a process is noticed at once,
/// then QUIC, then relays.
pub(super) const AFTER_BETTER: Duration = Duration::from_secs(1);
/// A QUIC connection on which nothing came for so long is gone, in milliseconds; and how often a sign of life is sent.
#[cfg(feature = "quic")]
pub(super) const QUIC_IDLE_MS: u32 = 3_000;
#[cfg(feature = "quic")]
pub(super) const QUIC_KEEP_ALIVE: Duration = Duration::from_millis(800);
/// Unread bytes of a QUIC stream and connection: 10 and 15 MB in the library.
#[cfg(feature = "quic")]
pub(super) const QUIC_STREAM: u32 = 1 << 20;
#[cfg(feature = "quic")]
pub(super) const QUIC_CONNECTION: u32 = 4 << 20;
/// Members that keep a place at this relay, and how long a place is good for; it is renewed before.
pub(super) const RELAY_PLACES: usize = 256;
pub(super) const RELAY_PLACE: Duration = Duration::from_hours(1);
/// Circuits through this relay, and those that one member may have: each is a substream of its connection. A circuit has as
/// many bytes as it needs, and a year.
pub(super) const RELAY_CIRCUITS: usize = 1024;
pub(super) const RELAY_CIRCUITS_EACH: usize = 48;
pub(super) const RELAY_CIRCUIT: Duration = Duration::from_hours(24 * 365);
