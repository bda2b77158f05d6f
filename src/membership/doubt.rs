//! This node in doubt of itself: timers that fire late, nobody who says a word, no link at all.

use super::{Event, Grounds, Membership};
use crate::machine::Cx;
use crate::probe::reachable;
use crate::types::Time;

/// After this many periods without a word from anybody, this node finds itself isolated.
const SILENT_PERIODS: u32 = 3;

impl Membership {
    /// Notices that a timer fired late, which only a slow host does: for a period from now we blame nobody.
    pub(super) fn watch_lateness(&mut self, now: Time, due: Time) -> bool {
        let late = now.since(due) > self.config.probe_timeout / 2;
        if late {
            reachable!("membership/timer-was-late");
            if now >= self.steady_at {
                self.health.worse(1);
            }
            self.steady_at = now + self.config.probe_period;
        }
        late
    }

    /// Without a link, or without a word from anybody for a while, what we think of others is worth nothing.
    pub(super) fn watch_isolation(&mut self, cx: &mut Cx<'_, Self>) {
        let now = cx.now().mono;
        let silent = now.since(self.heard_at) > self.health.stretch(self.config.probe_period) * SILENT_PERIODS;
        let alone = self.links.is_empty();
        if alone || silent {
            self.isolated = true;
        }
        if alone && !self.doubting && now.since(self.unlinked_at) > self.config.probe_period {
            self.doubting = true;
            reachable!("membership/doubts-everybody");
            for member in self.table.doubt(true, now) {
                cx.emit(Event::Suspected { member, by: self.me, grounds: Grounds::Alone });
            }
        }
    }

    /// A link is up or a message came in.
    pub(super) fn end_isolation(&mut self, cx: &mut Cx<'_, Self>) {
        if !self.isolated {
            return;
        }
        self.isolated = false;
        reachable!("membership/isolation-ends");
        if self.doubting {
            self.doubting = false;
            for member in self.table.doubt(false, cx.now().mono) {
                cx.emit(Event::Refuted { member, from: self.me });
            }
        }
        self.resume_suspicions(cx);
    }
}
