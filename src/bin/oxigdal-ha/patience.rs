//! How long a peer is asked on that is watched until something is over: what was decided goes on, whatever becomes of whom we ask.

use std::time::{Duration, Instant};

use crate::failure::Failure;

/// Nobody answers for so long: the peer is gone, and another one is to be asked. Who restarts is back before.
pub(crate) const GONE_AFTER: Duration = Duration::from_secs(5);

/// What is borne of one peer.
#[derive(Debug)]
pub(crate) struct Patience {
    heard: Instant,
}

impl Patience {
    /// With a peer that has just answered.
    pub(crate) fn new() -> Self {
        Self { heard: Instant::now() }
    }

    /// It has answered.
    pub(crate) fn heard(&mut self) {
        self.heard = Instant::now();
    }

    /// Whether the peer is asked again after this. One that is busy, or reads its log still, is there; one that does not answer may be on its way back.
    pub(crate) fn bears(&mut self, failure: &Failure) -> bool {
        if failure.is_busy() {
            self.heard();
            return true;
        }
        failure.is_passing() && self.waits()
    }

    /// Whether a peer that has not heard of it, by what it answers, may hear of it yet: one that has just started hears of all that is new a little later.
    pub(crate) fn waits(&self) -> bool {
        self.heard.elapsed() < GONE_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Code;

    #[test]
    fn who_is_busy_is_asked_again_and_who_is_gone_is_not_for_long() {
        let long_ago = Instant::now().checked_sub(GONE_AFTER * 2).unwrap();
        let silent = || Patience { heard: long_ago };
        let gone = Failure::with(Code::NoPeer, "nobody answers");
        assert!(Patience::new().bears(&gone) && !silent().bears(&gone));
        let mut waits = silent();
        assert!(waits.bears(&Failure::new("this peer reads its log still").busy()));
        assert!(waits.bears(&gone), "it was there a moment ago");
        assert!(!Patience::new().bears(&Failure::new("no")));
    }
}
