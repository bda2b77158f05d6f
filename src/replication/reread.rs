//! Entries once more, from the log: delivered anew for a sibling that had no room to keep them, or only shown to one that
//! has had them.

use super::{Event, Replication, Wait};
use crate::machine::Cx;
use crate::types::{DiskFault, DiskFaultKind, LogId, Seq};

use super::Record;

impl Replication {
    /// Reads an entry that was delivered before and delivers it again. Nothing happens for one that is not held.
    pub fn reread(&mut self, cx: &mut Cx<'_, Self>, log: LogId, seq: Seq) {
        if let Some(position) = self.logs.find(log).and_then(|at| self.logs.get(at).position(seq.value())) {
            cx.read(position, Wait::Reread { log, seq, again: true });
        }
    }

    /// Reads an entry that was delivered before. Answered by one [`Event::Recalled`], whether it is held or not.
    pub fn recall(&mut self, cx: &mut Cx<'_, Self>, log: LogId, seq: Seq) {
        if let Some(position) = self.logs.find(log).and_then(|at| self.logs.get(at).position(seq.value())) {
            return cx.read(position, Wait::Recall { log, seq });
        }
        let why = "it is not held any more".into();
        let fault = DiskFault { kind: DiskFaultKind::Failed, what: log.at(seq).into(), why };
        cx.emit(Event::Recalled { log, seq, result: Err(fault) });
    }

    pub(super) fn on_recall(&mut self, cx: &mut Cx<'_, Self>, log: LogId, seq: Seq, result: Result<Record, DiskFault>) {
        let Some(at) = self.logs.find(log) else { return };
        let result = result.and_then(|record| self.logs.get(at).verify(seq.value(), record)).map(|entry| entry.body);
        if let Err(fault) = &result {
            cx.emit(Event::Unreadable { log, seq, fault: fault.clone() });
        }
        cx.emit(Event::Recalled { log, seq, result });
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
