//! How many sync bytes may be on their way unacknowledged: what a control frame may have to wait behind.
//!
//! Delay added to control = unacknowledged bytes / bandwidth. Measured on 20 Mbit/s and 20 ms: control round trip 697 ms under
//! unlimited bulk, 41 ms with 64 KiB outstanding, at 98 % of the bulk rate. So the window starts there, grows while the
//! round trip stays within 20 ms of the best seen lately, and halves when it does not (the idea of LEDBAT, RFC 6817).

use std::time::{Duration, Instant};

use super::fault::Fault;
use super::limit::{WINDOW, WINDOW_MAX, WINDOW_MIN};

/// Delay that bulk may add to a round trip.
const TARGET: Duration = Duration::from_millis(20);
/// The best round trip is forgotten after one to two of these: routes change.
const MEMORY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Window {
    size: u64,
    sent: u64,
    acknowledged: u64,
    /// Whether the window has held a piece back since the last round trip was measured: else it is large enough.
    was_full: bool,
    best: Duration,
    best_before: Duration,
    turned_at: Instant,
}

impl Window {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            size: WINDOW,
            sent: 0,
            acknowledged: 0,
            was_full: false,
            best: Duration::MAX,
            best_before: Duration::MAX,
            turned_at: now,
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Whether bytes are on their way.
    pub(super) fn is_busy(&self) -> bool {
        self.sent > self.acknowledged
    }

    /// Takes room for a piece, if there is room.
    pub(super) fn take(&mut self, len: usize) -> bool {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        if self.sent - self.acknowledged + len > self.size {
            self.was_full = true;
            return false;
        }
        self.sent += len;
        true
    }

    pub(super) fn on_ack(&mut self, acknowledged: u64) -> Result<(), Fault> {
        if acknowledged > self.sent {
            return Err(Fault::Acknowledged { acknowledged, sent: self.sent });
        }
        self.acknowledged = self.acknowledged.max(acknowledged);
        Ok(())
    }

    pub(super) fn on_round_trip(&mut self, rtt: Duration, now: Instant) {
        if now.saturating_duration_since(self.turned_at) > MEMORY {
            self.best_before = std::mem::replace(&mut self.best, Duration::MAX);
            self.turned_at = now;
        }
        self.best = self.best.min(rtt);
        if rtt > self.best.min(self.best_before).saturating_add(TARGET) {
            self.size = (self.size / 2).max(WINDOW_MIN);
        } else if self.was_full {
            self.size = (self.size + WINDOW_MIN).min(WINDOW_MAX);
        }
        self.was_full = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_millis(20);

    fn fill(window: &mut Window) {
        while window.take(1 << 14) {}
    }

    #[test]
    fn a_window_holds_back_and_opens_with_acknowledgements() {
        let mut window = Window::new(Instant::now());
        fill(&mut window);
        assert_eq!((window.sent, window.is_busy()), (WINDOW, true));
        window.on_ack(1 << 14).unwrap();
        assert!(window.take(1 << 14));
        assert!(!window.take(1));
        assert_eq!(
            window.on_ack(u64::MAX).unwrap_err(),
            Fault::Acknowledged { acknowledged: u64::MAX, sent: window.sent }
        );
    }

    #[test]
    fn it_grows_while_the_round_trip_is_good_and_halves_when_it_is_not() {
        let now = Instant::now();
        let mut window = Window::new(now);
        window.on_round_trip(BASE, now);
        assert_eq!(window.size(), WINDOW, "an idle window has no reason to grow");
        for _ in 0..100 {
            fill(&mut window);
            window.on_round_trip(BASE, now);
            window.on_ack(window.sent).unwrap();
        }
        assert_eq!(window.size(), WINDOW_MAX);
        window.on_round_trip(BASE * 3, now);
        assert_eq!(window.size(), WINDOW_MAX / 2);
        for _ in 0..100 {
            window.on_round_trip(BASE * 3, now);
        }
        assert_eq!(window.size(), WINDOW_MIN);
    }

    #[test]
    fn a_longer_route_is_learned() {
        let now = Instant::now();
        let mut window = Window::new(now);
        window.on_round_trip(BASE, now);
        for second in 1..200 {
            fill(&mut window);
            window.on_round_trip(BASE * 3, now + Duration::from_secs(second));
            window.on_ack(window.sent).unwrap();
        }
        assert!(window.size() > WINDOW, "{}", window.size());
    }
}
