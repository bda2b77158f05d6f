//! What a link reads: frames for the node, and the link's own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::AsyncReadExt as _;
use libp2p::Stream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{sleep, timeout};

use super::super::admit;
use super::super::event::NetworkEvent;
use super::super::fault::Fault;
use super::super::frame::{self, Assembly, Control, Piece};
use super::super::limit::CHUNK;
use super::super::meter::{Debt, Meter, Rate};
use super::{End, Session, millis};
use crate::driver::admission::{AdmissionError, Credential, IssuerCertificate, Refusal, Revocation};
use crate::types::Lane;

/// No pause is longer, whatever was sent: a debt of more is taken off again and again.
const HOLD_MAX: Duration = Duration::from_millis(500);

/// What the peer has sent on one lane.
struct Meters {
    frames: Meter,
    bytes: Meter,
    /// Bytes that were read and not counted yet.
    unpaid: usize,
}

impl Meters {
    fn new(frames: Rate, bytes: Rate) -> Self {
        let now = Instant::now();
        Self { frames: Meter::new(frames, now), bytes: Meter::new(bytes, now), unpaid: 0 }
    }
}

impl Session {
    pub(super) async fn read_control(&self, mut stream: Stream) -> End {
        let (mut scratch, mut buffer) = (vec![0; CHUNK], BytesMut::new());
        let limits = &self.around.limits;
        let mut meters = Meters::new(limits.control_frames, limits.control_bytes);
        let mut debt = Debt::default();
        loop {
            let mut frames = 0;
            loop {
                match frame::take_control(&mut buffer) {
                    Ok(Some(frame)) => {
                        frames += 1;
                        if let Err(end) = self.on_control(frame).await {
                            return end;
                        }
                    }
                    Ok(None) => break,
                    Err(fault) => return fault.into(),
                }
            }
            let indebted = debt.note(self.hold_back(&mut meters, frames).await, Instant::now());
            if indebted > limits.flood {
                return Fault::Flood { lane: Lane::Control, ms: millis(indebted) }.into();
            }
            match stream.read(&mut scratch).await {
                Ok(0) => return ended(Lane::Control, buffer.is_empty()),
                Ok(len) => {
                    self.hear(&mut buffer, &scratch[..len]);
                    meters.unpaid += len;
                }
                Err(error) => return error.into(),
            }
            self.heard_us.store(self.now_us(), Ordering::Relaxed);
        }
    }

    /// Does not read on while the peer is ahead of its rates; `true` when it was. What it has sent waits in the transport, which
    /// holds it back; it is our doing that nothing is heard meanwhile.
    async fn hold_back(&self, meters: &mut Meters, frames: usize) -> bool {
        let now = Instant::now();
        let pause = meters.frames.count(frames, now).max(meters.bytes.count(std::mem::take(&mut meters.unpaid), now));
        if pause.is_zero() {
            return false;
        }
        let us = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
        self.linked.traffic.held_back_us.fetch_add(us, Ordering::Relaxed);
        sleep(pause.min(HOLD_MAX)).await;
        self.heard_us.store(self.now_us(), Ordering::Relaxed);
        true
    }

    pub(super) fn hear(&self, buffer: &mut BytesMut, bytes: &[u8]) {
        buffer.extend_from_slice(bytes);
        let len = u64::try_from(bytes.len()).expect("a read is short");
        self.linked.traffic.bytes_in.fetch_add(len, Ordering::Relaxed);
    }

    pub(super) async fn on_control(&self, frame: Control) -> Result<(), End> {
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
            Control::Issuers(bytes) => {
                let certificates = decode::<Vec<IssuerCertificate>>(&bytes, frame::ISSUERS)?;
                let admission = self.around.admission.clone();
                // Beside the task that serves the link, and one after the other of one peer.
                let heard = admit::aside(move || admission.hear_of_issuers(&certificates)).await;
                heard.unwrap_or(Ok(())).map_err(|_| Fault::Malformed { lane: Lane::Control, kind: frame::ISSUERS })?;
            }
            Control::Relays => {
                self.linked.relays.store(true, Ordering::Release);
                self.around.shared.wake.notify_one();
            }
            Control::Goodbye(why) => return Err(End::Goodbye(why)),
        }
        Ok(())
    }

    pub(super) fn may_renew(&self) -> bool {
        let mut signals = self.signals();
        let may = signals.renewed_at.is_none_or(|at| at.elapsed() >= self.around.limits.renewal_pause);
        if may {
            signals.renewed_at = Some(Instant::now());
        }
        may
    }

    /// Waiting for our own side does not count as the peer's silence.
    pub(super) async fn deliver(&self, lane: Lane, frame: Bytes) -> Result<(), End> {
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

    pub(super) fn on_pong(&self, sent_us: u64) {
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

    pub(super) async fn on_revoked(&self, bytes: &[u8]) -> Result<(), End> {
        let entries = decode::<Vec<Revocation>>(bytes, frame::REVOKED)?;
        let admission = self.around.admission.clone();
        let Some(merged) = admit::aside(move || admission.merge_revocations(entries)).await else { return Ok(()) };
        match merged {
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

    pub(super) async fn read_sync(&self, mut stream: Stream) -> End {
        let (mut scratch, mut buffer) = (vec![0; CHUNK], BytesMut::new());
        let mut assembly = Assembly::default();
        let mut meters = Meters::new(self.around.limits.sync_pieces, self.around.limits.sync_bytes);
        loop {
            let mut pieces = 0;
            loop {
                match frame::take_piece(&mut buffer) {
                    Ok(Some(piece)) => {
                        pieces += 1;
                        if let Err(end) = self.on_piece(piece, &mut assembly).await {
                            return end;
                        }
                    }
                    Ok(None) => break,
                    Err(fault) => return fault.into(),
                }
            }
            self.hold_back(&mut meters, pieces).await;
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
                Ok(len) => {
                    self.hear(&mut buffer, &scratch[..len]);
                    meters.unpaid += len;
                }
                Err(error) => return error.into(),
            }
        }
    }

    pub(super) async fn on_piece(&self, piece: Piece, assembly: &mut Assembly) -> Result<(), End> {
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
    pub(super) async fn reserve(&self, total: usize) -> OwnedSemaphorePermit {
        let kib = u32::try_from(total.div_ceil(1024)).expect("a frame is at most 16 MiB");
        let permit = Arc::clone(&self.around.assembly).acquire_many_owned(kib).await;
        permit.expect("the semaphore is never closed")
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
