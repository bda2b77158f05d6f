//! How well this node finds itself (Lifeguard, section 4.1, LHA-Probe): a node that is slow must not blame others.

use std::time::Duration;

/// Lifeguard's local health multiplier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Health(u8);

impl Health {
    /// The worst score: periods and timeouts are then nine times as long (Lifeguard's S = 8).
    pub(super) const MAX: u8 = 8;

    /// 0 is well.
    pub(super) const fn score(self) -> u8 {
        self.0
    }

    /// A probe was answered in time.
    pub(super) fn better(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }

    /// Signs that this node itself is slow.
    pub(super) fn worse(&mut self, signs: u8) {
        self.0 = self.0.saturating_add(signs).min(Self::MAX);
    }

    /// A period or timeout, stretched by how unwell we are.
    pub(super) fn stretch(self, duration: Duration) -> Duration {
        duration * (u32::from(self.0) + 1)
    }
}
