//! Whether a peer is alive, serves, and can do all that a peer can, in one value: for probes, supervisors and embedding programs.

use std::time::Duration;

use serde::Serialize;

use super::peer::{Link, Phase, Report};
use crate::node::{Intake, Level, Restoring, Status};
use crate::types::DiskFaultKind;

/// A loop that has not answered for so long is not alive: a supervisor should restart the process.
const ALIVE_MAX: Duration = Duration::from_secs(10);

/// How a peer is. `live` false: restart it. `ready` false: send it no clients. Not [`Level::Full`]: it serves, and somebody should look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Its loop answers.
    pub live: bool,
    /// It serves reads and takes edits.
    pub ready: bool,
    /// What can be done at it; known while it is live and serves.
    pub level: Option<Level>,
    /// Why not everything is well: those that keep it from being ready first.
    pub reasons: Vec<Reason>,
}

/// Something that is not well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Reason {
    /// A word for programs, which stays as it is.
    pub code: &'static str,
    /// A sentence for people.
    pub why: String,
    /// Whether the peer is not ready because of it.
    pub unready: bool,
}

impl Reason {
    fn unready(code: &'static str, why: impl ToString) -> Self {
        Self { code, why: why.to_string(), unready: true }
    }

    fn degraded(code: &'static str, why: impl ToString) -> Self {
        Self { code, why: why.to_string(), unready: false }
    }
}

impl Health {
    fn not(live: bool, code: &'static str, why: impl ToString) -> Self {
        Self { live, ready: false, level: None, reasons: vec![Reason::unready(code, why)] }
    }

    fn of(report: &Report) -> Self {
        let node = &report.node;
        let mut reasons = unready(node, report.host.filling);
        let ready = reasons.is_empty();
        reasons.extend(degraded(node));
        Self { live: true, ready, level: Some(node.coordination.level), reasons }
    }

    /// What keeps it from being ready.
    pub fn unready(&self) -> impl Iterator<Item = &Reason> {
        self.reasons.iter().filter(|reason| reason.unready)
    }
}

impl Link {
    /// How the peer is. Takes ten seconds at most, where its loop does not answer.
    pub(super) async fn health(&self) -> Health {
        match self.phase() {
            Phase::Booting => Health::not(true, "booting", "it reads its log still"),
            Phase::Leaving => Health::not(true, "leaving", "it is leaving the mesh"),
            Phase::Stopped => Health::not(false, "stopped", "it has stopped"),
            Phase::Ready => match tokio::time::timeout(ALIVE_MAX, self.report()).await {
                Ok(Ok(report)) => Health::of(&report),
                Ok(Err(error)) => Health::not(true, "no_answer", error),
                Err(_) => {
                    let why = format_args!("its loop has not answered for {} s", ALIVE_MAX.as_secs());
                    Health::not(false, "no_answer", why)
                }
            },
        }
    }
}

/// Why a node does not serve, or not all of it.
fn unready(node: &Status, filling: bool) -> Vec<Reason> {
    let restoring = node.restoring.map(|Restoring { done, of }| {
        Reason::unready("restoring", format_args!("it restores documents: {done} of {of}"))
    });
    let read_only = node.read_only.as_ref().map(|fault| {
        let until = match fault.kind {
            DiskFaultKind::Full => "there is room on its disk",
            _ => "it is restarted",
        };
        Reason::unready("read_only", format_args!("it takes no edits until {until}: {fault}"))
    });
    let Intake { behind, heard, unheard } = node.intake;
    let filling = filling.then(|| {
        let why = match (behind, heard + unheard) {
            (0, 0) => {
                "it began with nothing, or out of a recovery, and waits for a neighbour that may hold more".into()
            }
            (0, _) => format!("it is being filled: {unheard} of its neighbours have not told yet what they hold"),
            _ => format!("it is being filled: its neighbours hold more of {behind} logs"),
        };
        Reason::unready("filling", why)
    });
    restoring.into_iter().chain(read_only).chain(filling).collect()
}

/// What is not well at a node that serves.
fn degraded(node: &Status) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let code = match node.coordination.level {
        Level::Isolated => "isolated",
        _ => "no_quorum",
    };
    if node.read_only.is_none() {
        reasons.extend(node.coordination.reasons.iter().map(|why| Reason::degraded(code, why)));
    }
    if let Some(ms) = node.disk_stalled_ms {
        reasons.push(Reason::degraded("disk_stalls", format_args!("its disk has not answered a write for {ms} ms")));
    }
    for replica in &node.lagging {
        let (name, lag) = (&replica.name, replica.lag);
        let why = format!("{name} lacks {} changes that are held here, for {} ms", lag.changes, lag.lag_ms);
        reasons.push(Reason::degraded("lagging", why));
    }
    if !node.quarantined.is_empty() {
        let why = format!("entries of {} origins were refused, or look strange", node.quarantined.len());
        reasons.push(Reason::degraded("quarantine", why));
    }
    reasons
}
