//! What a run came to: figures, a judgement, and the line that replays it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::check::{self, Violation};
use super::net::NetStats;
use super::queue::EventId;
use super::scenario::{Drawn, Scenario, Span};
use super::spread::Spread;
use super::trace::TraceHash;

/// What was counted and measured. Times are virtual.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Length of the run.
    pub virtual_ns: u64,
    /// Inputs handled, over all peers.
    pub events: u64,
    /// What the network did.
    pub net: NetStats,
    /// Processes started.
    pub starts: u64,
    /// Processes that a fault ended.
    pub stops: u64,
    /// Starts that found a damaged end of the log and cut it.
    pub cuts: u64,
    /// Faults that began.
    pub faults: u64,
    /// Of each kind that began, as scenarios call it, how many did, and how many changed what happened.
    pub kinds: BTreeMap<String, Faults>,
    /// Damage that was spared a disk since no other one held what it held.
    pub spared: u64,
    /// Logs that were refused since a fault had damaged them.
    pub refused: u64,
    /// Logs that were refused since a newer version had written into them.
    pub refused_newer: u64,
    /// Edits asked of running peers.
    pub edits: u64,
    /// Edits that the plan had for peers that were down.
    pub edits_unasked: u64,
    /// Edits acknowledged.
    pub acknowledged: u64,
    /// Edits refused.
    pub edits_refused: u64,
    /// Steps of the replay that were made.
    pub replayed: u64,
    /// When the last of them was.
    pub replayed_ns: Option<u64>,
    /// Writes acknowledged with the copies that were wanted.
    pub copied: u64,
    /// Writes that had not as many in time.
    pub uncopied: u64,
    /// Times that a replica's lag passed a threshold, over all observers.
    pub lagging: u64,
    /// Proposals asked of running peers, and those that were answered as decided.
    pub proposals: u64,
    /// Of them.
    pub decided: u64,
    /// The longest that one of them took.
    pub decide_most_ns: Option<u64>,
    /// How often somebody was elected to lead the voters.
    pub elections: u64,
    /// Tasks of merge engines.
    pub tasks: u64,
    /// Syncs of disks.
    pub syncs: u64,
    /// Bytes written to logs.
    pub bytes_written: u64,
    /// Suspicions, over all observers.
    pub suspicions: u64,
    /// Healthy peers that were declared dead.
    pub false_deaths: u64,
    /// From each stop to the first peer that declared it dead, sorted.
    pub detections_ns: Vec<u64>,
    /// From the start of the run until all peers were up and agreed for the first time; sampled each second.
    pub formed_ns: Option<u64>,
    /// From the start of the calm until all live peers agreed; sampled each second.
    pub converged_ns: Option<u64>,
    /// Whether the mesh never agreed and was let off, since it leans on links that are broken for good: its end was not judged.
    pub excused: bool,
    /// Most events that were pending.
    pub queue_most: u64,
    /// Most inputs that waited at one peer.
    pub inbox_most: u64,
    /// How entries spread.
    pub spread: Spread,
}

/// Faults of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// How many began.
    pub began: u64,
    /// How many of them changed what happened.
    pub acted: u64,
}

impl Figures {
    /// Median time from a stop to the first peer that declared it dead.
    #[must_use]
    pub fn detection_p50_ns(&self) -> Option<u64> {
        self.detections_ns.get(self.detections_ns.len() / 2).copied()
    }
}

/// How a run is judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "judgement", rename_all = "snake_case")]
pub enum Judgement {
    /// All invariants held, all expectations were met.
    Passed,
    /// An invariant did not hold.
    Violated {
        /// Which, and what was seen.
        violation: Violation,
        /// When, in virtual time.
        at_ns: u64,
        /// At which event.
        event: u64,
    },
    /// An expectation was missed.
    Missed {
        /// Which, with both values.
        what: Vec<String>,
    },
}

impl Judgement {
    /// What failed, for telling whether two runs fail alike: the invariant's id, or the first expectation that was missed.
    #[must_use]
    pub fn key(&self) -> Option<String> {
        match self {
            Self::Passed => None,
            Self::Violated { violation, .. } => Some(violation.check.to_owned()),
            Self::Missed { what } => what.first()?.split_whitespace().next().map(str::to_owned),
        }
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Violated { violation, at_ns, .. } => {
                write!(f, "{} {}, after {}", violation.check, violation.what, Span(*at_ns))
            }
            Self::Missed { what } => f.write_str(&what.join("; ")),
        }
    }
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The scenario's name.
    pub scenario: String,
    /// Its file.
    pub file: String,
    /// The seed.
    pub seed: u64,
    /// Its plan stands in its file, so that the seed is not asked for.
    #[serde(skip)]
    pub explicit: bool,
    /// How many peers.
    pub peers: usize,
    /// What the seed drew, if the scenario is a swarm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drawn: Option<Drawn>,
    /// Equal for equal runs.
    pub hash: TraceHash,
    /// The hash at every [`CHECKPOINT_EVERY`](super::CHECKPOINT_EVERY)th event.
    #[serde(skip)]
    pub checkpoints: Vec<TraceHash>,
    /// How it is judged.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// What was counted.
    pub figures: Figures,
}

impl Outcome {
    /// Whether nothing was wrong.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.judgement == Judgement::Passed
    }

    /// The process's exit code for this run: 0 passed, 1 an invariant, 2 an expectation, 3 not deterministic.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match &self.judgement {
            Judgement::Passed => 0,
            Judgement::Violated { violation, .. } if violation.check == "G1" => 3,
            Judgement::Violated { .. } => 1,
            Judgement::Missed { .. } => 2,
        }
    }

    /// The command that runs it again.
    #[must_use]
    pub fn replay(&self) -> String {
        self.command("run")
    }

    /// A subcommand of `simulate` for this run.
    #[must_use]
    pub fn command(&self, name: &str) -> String {
        let file = if self.file.contains(|c: char| c.is_whitespace() || "'\"$`\\&;|<>()*?".contains(c)) {
            format!("'{}'", self.file.replace('\'', r"'\''"))
        } else {
            self.file.clone()
        };
        let seed = if self.explicit { String::new() } else { format!(" --seed {}", self.seed) };
        format!("oxigdal-ha simulate {name} {file}{seed}")
    }

    /// This run if the second one, of the same seed, left the same trace; else it breaks invariant G1.
    #[must_use]
    pub fn compared(mut self, second: &Self) -> Self {
        if self.hash != second.hash {
            let common = self.common_events(second) + super::CHECKPOINT_EVERY;
            let (one, other) = (self.hash, second.hash);
            let what = format!("two runs differ after {common} events at the latest: {one} and {other}");
            self.judgement = Judgement::Violated { violation: Violation { check: "G1", what }, at_ns: 0, event: 0 };
        }
        self
    }

    /// How many events two runs have in common at least, by their checkpoints.
    #[must_use]
    pub fn common_events(&self, other: &Self) -> u64 {
        let equal = self.checkpoints.iter().zip(&other.checkpoints).take_while(|(a, b)| a == b).count();
        equal as u64 * super::CHECKPOINT_EVERY
    }
}

impl fmt::Display for Outcome {
    /// One line that can be pasted to replay a failure.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.judgement {
            Judgement::Passed => write!(f, "PASS  {}  trace {}", self.replay(), self.hash),
            Judgement::Violated { violation, at_ns, event } => write!(
                f,
                "FAIL {} {}  t={} ev={event}  {}  trace {}",
                violation.check,
                violation.what,
                Span(*at_ns),
                self.replay(),
                self.hash
            ),
            Judgement::Missed { what } => write!(f, "MISS {}  {}  trace {}", what.join("; "), self.replay(), self.hash),
        }
    }
}

/// One step of a run, for `--trace`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When, in nanoseconds of virtual time.
    pub at: u64,
    /// During which event.
    pub event: u64,
    /// The event during which that one was asked for; zero is the plan.
    pub cause: u64,
    /// At which peer.
    pub node: String,
    /// What: an input, or an effect of it.
    pub what: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secs, nanos) = (self.at / 1_000_000_000, self.at % 1_000_000_000);
        write!(f, "{secs:>5}.{nanos:09} #{} <-{} {:<12} {}", self.event, self.cause, self.node, self.what)
    }
}

/// Compares a run that broke no invariant with what its scenario expects.
pub(super) fn judge(scenario: &Scenario, figures: &Figures, failure: Option<(Violation, u64, EventId)>) -> Judgement {
    if let Some((violation, at_ns, event)) = failure {
        return Judgement::Violated { violation, at_ns, event: event.0 };
    }
    let expect = &scenario.says.expect;
    let mut what = Vec::new();
    let mut at_most = |name: &str, found: Option<u64>, most: Option<u64>, show: &dyn Fn(u64) -> String| {
        let Some(most) = most else { return };
        match found {
            Some(found) if found <= most => {}
            Some(found) => what.push(format!("{name} is {}, expected at most {}", show(found), show(most))),
            None => what.push(format!("{name} was never seen, expected at most {}", show(most))),
        }
    };
    let span = |ns: u64| Span(ns).to_string();
    let count = |n: u64| n.to_string();
    at_most("form-within", figures.formed_ns, expect.form_within.map(|span| span.0), &span);
    at_most("converge-within", figures.converged_ns, expect.converge_within.map(|span| span.0), &span);
    at_most("detect-within", figures.detection_p50_ns(), expect.detect_within.map(|span| span.0), &span);
    at_most("suspicions", Some(figures.suspicions), expect.suspicions, &count);
    at_most("false-deaths", Some(figures.false_deaths), expect.false_deaths, &count);
    let node_seconds = figures.virtual_ns / 1_000_000_000 * scenario.peers() as u64;
    let rate = figures.net.bytes.checked_div(node_seconds);
    at_most("bytes-per-peer-second", rate, expect.bytes_per_peer_second, &count);
    at_most("elections", Some(figures.elections), expect.elections, &count);
    at_most("decide-within", figures.decide_most_ns, expect.decide_within.map(|span| span.0), &span);
    at_most("uncopied", Some(figures.uncopied), expect.uncopied, &count);
    // Of a plan that was made smaller less comes; what it is kept for is the invariant that it broke.
    let is_smaller = scenario.broke().is_some_and(|breaks| check::ids().any(|(id, _)| id == breaks));
    let whole = [
        ("acknowledged", figures.acknowledged, expect.acknowledged),
        ("copied", figures.copied, expect.copied),
        ("lagging", figures.lagging, expect.lagging),
        ("decided", figures.decided, expect.decided),
    ];
    for (name, found, least) in whole.into_iter().filter(|_| !is_smaller) {
        if let Some(least) = least.filter(|least| found < *least) {
            what.push(format!("{name} is {found}, expected at least {least}"));
        }
    }
    what.append(&mut figures.spread.misses(expect));
    if what.is_empty() { Judgement::Passed } else { Judgement::Missed { what } }
}
