//! What has expired.

use super::{Event, Events, Name, Timer};
use crate::machine::Cx;
use crate::types::WallTime;

impl Events {
    /// An entry was added to this stream: what it pushes out expires.
    pub(super) fn expire(&mut self, cx: &mut Cx<'_, Self>, name: &Name) {
        let retention = self.config.retention_of(name);
        let over = |limit: Option<u64>, found: u64| limit.is_some_and(|limit| found > limit);
        // The newest entry stays, however large it is.
        while let Some(stream) = self.index.stream(name)
            && stream.entries > 1
            && (over(retention.bytes, stream.bytes) || over(retention.count, stream.events))
        {
            self.index.pop_oldest(name);
        }
        while (self.index.bytes() > self.config.total_bytes || self.index.entries() > self.config.entries_max)
            && let Some(oldest) = self.index.oldest_segment()
        {
            self.index.expire_segment(oldest);
            self.free(cx);
        }
        self.free(cx);
    }

    /// Looks at all streams, for age too.
    pub(super) fn on_retention(&mut self, cx: &mut Cx<'_, Self>) {
        cx.arm(Timer::Retention, self.config.retention_tick);
        let now = cx.now().wall;
        let names: Vec<Name> = self.index.names().cloned().collect();
        for name in names {
            if let Some(age) = self.config.retention_of(&name).age {
                let age = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
                let horizon = WallTime::from_micros(now.as_micros().saturating_sub(age));
                while let Some((hlc, _)) = self.index.stream(&name).and_then(super::index::Stream::oldest)
                    && hlc.wall < horizon
                {
                    self.index.pop_oldest(&name);
                }
            }
            self.expire(cx, &name);
        }
    }

    fn free(&mut self, cx: &mut Cx<'_, Self>) {
        if let Some(before) = self.index.free() {
            cx.emit(Event::Expired { before });
        }
    }
}
