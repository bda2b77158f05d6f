//! U10: a start reads no byte of a log more than twice, once to scan it and once more for what a snapshot lacks; and once more for each
//! snapshot that it tried and did not take. So what it takes is bounded by what is there: the time of reads is their bytes'.

use super::{AtDisk, Check, Sight, Verdict};
use crate::node::BootReport;
use crate::types::Family;

/// What each peer found at its start, and has read since.
pub(super) struct BoundedReads {
    starts: Vec<Start>,
}

#[derive(Clone, Copy, Default)]
struct Start {
    log: u64,
    snapshots: u64,
    read: u64,
}

impl BoundedReads {
    pub(super) fn new(peers: usize) -> Self {
        Self { starts: vec![Start::default(); peers] }
    }
}

impl Check for BoundedReads {
    fn id(&self) -> &'static str {
        "U10"
    }

    fn on_disk(&mut self, sight: &Sight<'_>, who: u32, what: AtDisk<'_>) -> Verdict {
        let start = &mut self.starts[who as usize];
        match what {
            AtDisk::Starts => {
                *start = Start::default();
                for (file, len) in sight.hosts[who as usize].disk.list() {
                    *if file.family() == Family::Snapshot { &mut start.snapshots } else { &mut start.log } += len;
                }
            }
            AtDisk::Reads { len } => start.read += len,
            _ => {}
        }
        Ok(())
    }

    fn on_ready(&mut self, sight: &Sight<'_>, who: u32, report: &BootReport) -> Verdict {
        let Start { log, snapshots, read } = self.starts[who as usize];
        let most = (2 + report.untaken.len() as u64) * log + snapshots;
        if read <= most {
            return Ok(());
        }
        let name = sight.name(who);
        Err(format!(
            "{name} reads {read} bytes to start on {log} of log and {snapshots} of snapshots: {most} are enough"
        ))
    }
}
