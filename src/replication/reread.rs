//! Delivering an entry once more, from the log: for a sibling that had no room to keep it.

use super::{Event, Replication, Wait};
use crate::machine::Cx;
use crate::types::{DiskFault, LogId, Seq};

use super::Record;

impl Replication {
    /// Reads an entry that was delivered before and delivers it again. Nothing happens for one that is not held.
    pub fn reread(&mut self, cx: &mut Cx<'_, Self>, log: LogId, seq: Seq) {
        if let Some(position) = self.logs.find(log).and_then(|at| self.logs.get(at).position(seq.value())) {
            cx.read(position, Wait::Reread { log, seq, again: true });
        }
    }

    pub(super) fn on_reread(
        &mut self,
        cx: &mut Cx<'_, Self>,
        log: LogId,
        seq: Seq,
        again: bool,
        result: Result<Record, DiskFault>,
    ) {
        let Some(at) = self.logs.find(log) else { return };
        match result.and_then(|record| self.logs.get(at).verify(seq.value(), record)) {
            Ok(entry) if again => cx.emit(Event::Again { log, seq, body: entry.body }),
            Ok(entry) => cx.emit(Event::Delivered { log, seq, hlc: entry.hlc, body: entry.body }),
            Err(fault) => cx.emit(Event::Unreadable { log, seq, fault }),
        }
        self.on_told_again(cx, log, seq);
    }
}
