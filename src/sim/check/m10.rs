//! M10: each life of a peer has a higher number than all before, so that no tombstone of an earlier one shadows it. A peer whose
//! disk was put back or replaced cannot know what it called its last life; it finds out by what others say.

use super::{Check, Sight, Verdict};
use crate::node::BootReport;
use crate::types::Boot;

/// The last life of each peer, as far as its disk can know of it.
pub(super) struct LivesRise {
    lives: Vec<Boot>,
}

impl LivesRise {
    pub(super) fn new(peers: usize) -> Self {
        Self { lives: vec![Boot::ZERO; peers] }
    }
}

impl Check for LivesRise {
    fn id(&self) -> &'static str {
        "M10"
    }

    fn on_wiped(&mut self, who: u32) {
        self.lives[who as usize] = Boot::ZERO;
    }

    fn on_put_back(&mut self, who: u32, _: usize) {
        self.lives[who as usize] = Boot::ZERO;
    }

    fn on_ready(&mut self, sight: &Sight<'_>, who: u32, report: &BootReport) -> Verdict {
        let before = std::mem::replace(&mut self.lives[who as usize], report.boot);
        if report.boot > before {
            return Ok(());
        }
        Err(format!("{} calls its new life {}, and called an earlier one {before}", sight.name(who), report.boot))
    }
}
