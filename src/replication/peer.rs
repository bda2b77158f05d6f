//! What is known of one neighbour: how far it holds each log, what it wants pushed, what is under way to it.
//!
//! Nothing is queued for a peer but the indices of logs and ranges: for each log there is a cursor, and entries are taken
//! from the cache or the disk when there is credit to send them. So a slow peer costs no memory, and what it gets when it
//! comes back is in large batches.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::log::{Log, Logs};
use super::message::{ENTRIES_MAX, Entry, Kind, Name, RUNS_MAX, Run, Short};
use super::told::Told;
use super::{Config, Retry};
use crate::probe::planted;
use crate::types::{LogId, NodeId, Seq, Time};

/// Most batches under way to one peer.
const FLIGHTS_MAX: usize = 256;
/// A batch with more than one entry is not longer, whatever the configuration says: it must fit a frame.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// Most ranges that a peer may have asked for and not got yet. More are forgotten: the peer asks again.
const WANTED_MAX: usize = 1_024;
/// How much later than usual an entry may come although nothing has changed: disks and schedulers, at least; and that of a
/// peer whose round trips are not known.
const NOISE_MIN: Duration = Duration::from_millis(5);
const NOISE_FIRST: Duration = Duration::from_millis(20);
/// The slowest link that is not taken for a dead one, in nanoseconds a byte: 64 KiB/s.
const NANOS_PER_BYTE: u64 = 15_259;

/// Whether a log is pushed to a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// The peer has not said how far it holds the log. Once it has told its whole vector, silence means "from the start".
    #[default]
    Unset,
    /// New entries are pushed.
    Eager,
    /// All entries are pushed, as the peer asked.
    Grafted,
    /// New entries are announced.
    Lazy,
}

/// One log as seen over one link.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Edge {
    pub(super) mode: Mode,
    /// Everything up to here was sent to the peer, or is known to be there.
    pub(super) cursor: u64,
    /// Everything up to here is known to be there.
    pub(super) known: u64,
    /// Everything up to here is backlog to the peer.
    pub(super) backlog: u64,
    /// How far we said that we hold it.
    pub(super) told: u64,
    /// How far the peer has seen that we hold it, from the exchange of entries.
    pub(super) shown: u64,
    /// The peer holds back on this log: it was pruned, or it waits for us to ask.
    pub(super) quiet: bool,
    /// When it was last pruned.
    pub(super) pruned_at: Option<Time>,
    /// When it was last offered although it is lazy.
    pub(super) offered_at: Option<Time>,
    queued: bool,
}

/// A batch under way.
#[derive(Debug)]
pub(super) struct Flight {
    sent_at: Time,
    /// After this long it is taken for lost.
    patience: Duration,
    bytes: usize,
    /// It was pushed as news.
    live: bool,
    /// Log, first, last.
    pub(super) runs: Vec<(usize, u64, u64)>,
}

/// Entries to be read from the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// A log from its cursor on.
    Stream(usize),
    /// Log, first, last.
    Range(usize, u64, u64),
}

/// A batch whose entries are being read from the disk.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) number: u64,
    pub(super) job: Job,
    pub(super) kind: Kind,
    pub(super) log: usize,
    pub(super) first: u64,
    pub(super) entries: Vec<Option<Entry>>,
    pub(super) unanswered: usize,
    pub(super) failed: bool,
}

/// How much of a batch is left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    entries: usize,
    bytes: usize,
    empty: bool,
}

impl Budget {
    pub(super) fn of(config: &Config) -> Self {
        let (entries, bytes) = (config.batch_size.clamp(1, ENTRIES_MAX), config.batch_bytes.min(BATCH_BYTES_MAX));
        Self { entries, bytes, empty: true }
    }

    /// Takes up room for an entry. The first always fits.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        if self.entries == 0 || (bytes > self.bytes && !self.empty) {
            return false;
        }
        (self.entries, self.bytes, self.empty) = (self.entries - 1, self.bytes.saturating_sub(bytes), false);
        true
    }
}

/// One neighbour.
#[derive(Debug)]
pub(super) struct Peer {
    id: NodeId,
    edges: Vec<Edge>,
    /// It told its whole vector.
    pub(super) heard: bool,
    /// It told its vector up to this log.
    pub(super) heard_upto: Option<LogId>,
    /// How often it was asked for its vector.
    pub(super) asked: u32,
    /// When its last batch came.
    pub(super) active_at: Time,
    /// What it was told of who holds what.
    pub(super) told: Told,
    /// The logs that have something for it.
    ready: VecDeque<usize>,
    /// What must be read from the disk for it.
    cold: VecDeque<Job>,
    /// What it asked for, or did not acknowledge: log, first, last.
    wanted: VecDeque<(usize, u64, u64)>,
    pub(super) reading: Option<Reading>,
    gathered_entries: usize,
    gathered_bytes: usize,
    /// What was gathered has waited long enough.
    pub(super) due: bool,
    /// The timer that says so is armed.
    pub(super) flushing: bool,
    /// The timer that looks for overdue batches is armed.
    pub(super) watched: bool,
    last_number: u64,
    retry: Retry,
    flights: BTreeMap<u64, Flight>,
    flight_bytes: usize,
    /// Timeouts since the last acknowledgement.
    timeouts: u32,
    /// Smoothed round trip and its variation (RFC 6298).
    rtt: Option<(Duration, Duration)>,
    /// How far round trips are from the smoothed one, once there were two.
    jitter: Option<Duration>,
}

impl Peer {
    /// A neighbour of whom nothing is known yet.
    pub(super) fn new(id: NodeId, now: Time, retry: Retry) -> Self {
        Self {
            id,
            edges: Vec::new(),
            heard: false,
            heard_upto: None,
            asked: 0,
            active_at: now,
            told: Told::default(),
            ready: VecDeque::new(),
            cold: VecDeque::new(),
            wanted: VecDeque::new(),
            reading: None,
            gathered_entries: 0,
            gathered_bytes: 0,
            due: false,
            flushing: false,
            watched: false,
            last_number: 0,
            retry,
            flights: BTreeMap::new(),
            flight_bytes: 0,
            timeouts: 0,
            rtt: None,
            jitter: None,
        }
    }

    pub(super) fn id(&self) -> NodeId {
        self.id
    }

    pub(super) fn edge(&self, at: usize) -> Edge {
        self.edges.get(at).copied().unwrap_or_default()
    }

    pub(super) fn edge_mut(&mut self, at: usize) -> &mut Edge {
        if at >= self.edges.len() {
            self.edges.resize(at + 1, Edge::default());
        }
        &mut self.edges[at]
    }

    /// Whether new entries of this log are pushed. Its origin has them all, unless it says otherwise.
    pub(super) fn is_eager(&self, at: usize, log: &Log) -> bool {
        match self.edge(at).mode {
            Mode::Eager | Mode::Grafted => true,
            Mode::Lazy => false,
            Mode::Unset => self.heard && !self.is_origin(log) && !planted!("replication/new-logs-not-pushed"),
        }
    }

    /// Whether new entries of this log are announced.
    pub(super) fn is_lazy(&self, at: usize, log: &Log) -> bool {
        self.edge(at).mode == Mode::Lazy && !self.is_origin(log)
    }

    pub(super) fn is_origin(&self, log: &Log) -> bool {
        log.id.actor.node == self.id
    }

    /// The peer is known to hold this log up to `seq`.
    pub(super) fn knows(&mut self, at: usize, seq: u64) {
        let edge = self.edge_mut(at);
        (edge.known, edge.cursor) = (edge.known.max(seq), edge.cursor.max(seq));
    }

    /// A new entry is there to be pushed.
    pub(super) fn gather(&mut self, at: usize, entries: usize, bytes: usize) {
        self.gathered_entries += entries;
        self.gathered_bytes += bytes;
        self.enqueue(at);
    }

    /// A backlog is wanted: it does not wait to be gathered.
    pub(super) fn stream(&mut self, at: usize) {
        if !std::mem::replace(&mut self.edge_mut(at).queued, true) {
            self.cold.push_back(Job::Stream(at));
        }
    }

    pub(super) fn enqueue(&mut self, at: usize) {
        let edge = self.edge_mut(at);
        if !std::mem::replace(&mut edge.queued, true) {
            self.ready.push_back(at);
        }
    }

    /// The peer wants this range, or did not acknowledge it.
    pub(super) fn want(&mut self, at: usize, first: u64, last: u64) -> bool {
        let room = self.wanted.len() < WANTED_MAX;
        if room {
            self.wanted.push_back((at, first, last));
        }
        room
    }

    /// Whether a batch may be sent now. A peer that does not acknowledge gets one at a time.
    pub(super) fn has_credit(&self, config: &Config) -> bool {
        if self.timeouts > 0 {
            return self.flights.is_empty();
        }
        self.flight_bytes < config.window_bytes && self.flights.len() < FLIGHTS_MAX
    }

    /// Whether what was gathered should be sent now: nothing is under way, or enough was gathered, or for long enough.
    pub(super) fn is_due(&self, config: &Config) -> bool {
        self.flights.is_empty()
            || self.due
            || self.gathered_entries >= config.batch_size
            || self.gathered_bytes >= config.batch_bytes
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// New entries as a batch, from the cache, if they are due. Logs whose next entry is not in the cache, or is backlog,
    /// wait for their turn at the disk.
    pub(super) fn next_live(&mut self, logs: &Logs, config: &Config) -> Vec<Run> {
        let (mut budget, mut runs) = (Budget::of(config), Vec::new());
        while runs.len() < RUNS_MAX && self.is_due(config) {
            let Some(at) = self.ready.pop_front() else { break };
            let (edge, log) = (self.edge(at), logs.get(at));
            if !self.is_eager(at, log) || edge.cursor >= log.offered() {
                self.edge_mut(at).queued = false;
            } else if edge.cursor < edge.backlog || edge.cursor + 1 < log.cached_from() || self.is_reading(at) {
                self.cold.push_back(Job::Stream(at));
            } else if let Some((run, rest)) = self.run(logs, at, edge.cursor + 1, log.offered(), &mut budget) {
                let edge = self.edge_mut(at);
                (edge.cursor, edge.queued) = (run.last(), rest);
                runs.push(run);
                if rest {
                    self.ready.push_back(at);
                }
            } else {
                self.ready.push_front(at);
                break;
            }
        }
        if self.ready.is_empty() {
            (self.gathered_entries, self.gathered_bytes) = (0, 0);
        }
        runs
    }

    /// Backlog as a batch, as far as it is in the cache.
    pub(super) fn next_backlog(&mut self, logs: &Logs, config: &Config) -> Vec<Run> {
        let (mut budget, mut runs) = (Budget::of(config), Vec::new());
        if !self.has_spare_credit(config) {
            return runs;
        }
        for _ in 0..self.cold.len().min(RUNS_MAX) {
            let Some(job) = self.cold.pop_front() else { break };
            let Job::Stream(at) = job else {
                self.cold.push_back(job);
                continue;
            };
            let (edge, log) = (self.edge(at), logs.get(at));
            let last = edge.backlog.min(log.offered());
            let (live, cold) =
                (edge.cursor >= edge.backlog, edge.cursor + 1 < log.cached_from() || self.is_reading(at));
            if !self.is_eager(at, log) || edge.cursor >= log.offered() || (live && !cold) {
                self.requeue(at);
            } else if cold {
                self.cold.push_back(job);
            } else if let Some((run, _)) = self.run(logs, at, edge.cursor + 1, last, &mut budget) {
                self.edge_mut(at).cursor = run.last();
                self.requeue(at);
                runs.push(run);
            } else {
                self.cold.push_front(job);
                break;
            }
        }
        runs
    }

    /// What was asked for as a batch, from the cache. What is not in the cache waits for the disk.
    pub(super) fn next_fill(&mut self, logs: &Logs, config: &Config) -> Vec<Run> {
        let (mut budget, mut runs) = (Budget::of(config), Vec::new());
        while runs.len() < RUNS_MAX {
            let Some((at, first, last)) = self.wanted.pop_front() else { break };
            let last = last.min(logs.get(at).offered());
            if first > last {
                continue;
            }
            if first < logs.get(at).cached_from() {
                self.cold.push_back(Job::Range(at, first, last));
                continue;
            }
            let Some((run, rest)) = self.run(logs, at, first, last, &mut budget) else {
                self.wanted.push_front((at, first, last));
                break;
            };
            if rest {
                self.wanted.push_front((at, run.last() + 1, last));
            }
            runs.push(run);
        }
        runs
    }

    /// As much of this range as fits, from the cache; and whether some is left.
    pub(super) fn run(
        &self,
        logs: &Logs,
        at: usize,
        first: u64,
        last: u64,
        budget: &mut Budget,
    ) -> Option<(Run, bool)> {
        let log = logs.get(at);
        let fits = |seq: &u64| log.cached(*seq).is_some_and(|entry| budget.take(entry.weight()));
        let entries: Vec<Entry> = (first..=last).take_while(fits).filter_map(|seq| log.cached(seq)).cloned().collect();
        let run = self.run_of(logs, at, first, entries)?;
        let rest = run.last() < last;
        Some((run, rest))
    }

    /// These entries as a run.
    pub(super) fn run_of(&self, logs: &Logs, at: usize, first: u64, entries: Vec<Entry>) -> Option<Run> {
        let before = Short::of(logs.get(at).chain_at(first - 1)?);
        (!entries.is_empty()).then(|| Run { log: self.log_name(logs, at), first: Seq::new(first), before, entries })
    }

    /// How to name a log to this peer.
    pub(super) fn log_name(&self, logs: &Logs, at: usize) -> Name {
        let tag = (self.edge(at).known > 0).then(|| logs.tag(at)).flatten();
        tag.unwrap_or_else(|| Name::Id(logs.get(at).id))
    }

    fn is_reading(&self, at: usize) -> bool {
        self.reading.as_ref().is_some_and(|reading| reading.log == at)
    }

    /// The next work for the disk. One batch at a time is read, and not while live entries have used up half the credit.
    pub(super) fn next_job(&mut self, config: &Config) -> Option<Job> {
        if self.reading.is_some() || !self.has_spare_credit(config) { None } else { self.cold.pop_front() }
    }

    fn has_spare_credit(&self, config: &Config) -> bool {
        self.has_credit(config) && self.flight_bytes * 2 <= config.window_bytes
    }

    /// Our branch of a log ends before `from` now: whatever was known, sent or asked for beyond was of another one.
    pub(super) fn part(&mut self, at: usize, from: u64) {
        let edge = self.edge_mut(at);
        for place in [&mut edge.cursor, &mut edge.known, &mut edge.backlog, &mut edge.told, &mut edge.shown] {
            *place = (*place).min(from - 1);
        }
        self.wanted.retain(|(log, ..)| *log != at);
        self.cold.retain(|job| !matches!(job, Job::Range(log, ..) if *log == at));
        for flight in self.flights.values_mut() {
            flight.runs.retain(|(log, ..)| *log != at);
        }
        if let Some(reading) = self.reading.take_if(|reading| reading.log == at)
            && let Job::Stream(at) = reading.job
        {
            self.requeue(at);
        }
    }

    /// The place is another log's now, of which nothing was exchanged.
    pub(super) fn vacate(&mut self, at: usize) {
        let Some(edge) = self.edges.get_mut(at) else { return };
        if std::mem::take(edge).queued {
            self.ready.retain(|log| *log != at);
            self.cold.retain(|job| *job != Job::Stream(at));
        }
        self.cold.retain(|job| !matches!(job, Job::Range(log, ..) if *log == at));
        self.wanted.retain(|(log, ..)| *log != at);
    }

    /// A log that waited for the disk is looked at anew.
    pub(super) fn requeue(&mut self, at: usize) {
        self.edge_mut(at).queued = false;
        self.enqueue(at);
    }

    /// A log could not be read further: it is pushed no more, until the peer asks for it.
    pub(super) fn give_up(&mut self, at: usize) {
        let edge = self.edge_mut(at);
        (edge.mode, edge.queued) = (Mode::Lazy, false);
    }

    /// Begins to read `len` entries.
    pub(super) fn read(&mut self, number: u64, job: Job, kind: Kind, (log, first, len): (usize, u64, usize)) {
        let (entries, unanswered, failed) = (vec![None; len], len, false);
        self.reading = Some(Reading { number, job, kind, log, first, entries, unanswered, failed });
    }

    /// Notes a batch that is sent now; gives its number.
    pub(super) fn launch(&mut self, now: Time, runs: Vec<(usize, u64, u64)>, bytes: usize, live: bool) -> u64 {
        self.last_number += 1;
        self.flight_bytes += bytes;
        self.due = false;
        let transfer = Duration::from_nanos(NANOS_PER_BYTE.saturating_mul(self.flight_bytes as u64));
        let patience = (self.rto() * 2_u32.pow(self.timeouts.min(6))).min(self.retry.max) + transfer;
        self.flights.insert(self.last_number, Flight { sent_at: now, patience, bytes, live, runs });
        self.last_number
    }

    /// A batch arrived there, and what was taken of it is durable; gives what that is, if it is all. It may have been taken
    /// for lost: that is a sign of life all the same.
    pub(super) fn land(&mut self, now: Time, number: u64, whole: bool) -> Vec<(usize, u64, u64)> {
        if number > self.last_number {
            return Vec::new();
        }
        self.timeouts = 0;
        let Some(flight) = self.flights.remove(&number) else { return Vec::new() };
        self.flight_bytes -= flight.bytes;
        self.measure(now.since(flight.sent_at));
        for (at, first, last) in &flight.runs {
            // Not if the peer said meanwhile that it misses something before this run.
            if self.edge(*at).known + 1 >= *first {
                self.knows(*at, *last);
            }
        }
        if !whole {
            return Vec::new();
        }
        for (at, _, last) in &flight.runs {
            let edge = self.edge_mut(*at);
            edge.shown = edge.shown.max(*last);
        }
        flight.runs
    }

    /// Whether news that is under way brings the peer all of this run.
    pub(super) fn brings(&self, at: usize, first: u64, last: u64) -> bool {
        let covers = |run: &(usize, u64, u64)| run.0 == at && run.1 <= first && run.2 >= last;
        self.flights.values().any(|flight| flight.live && flight.runs.iter().any(covers))
    }

    /// Batches under way count as acknowledged if the peer has sent us all that they bring: it will not say so again. Says whether
    /// there were any.
    pub(super) fn land_shown(&mut self) -> bool {
        let edges = &self.edges;
        let shown = |(at, _, last): &(usize, u64, u64)| edges.get(*at).is_some_and(|edge| edge.shown >= *last);
        let before = self.flights.len();
        let mut bytes = 0;
        self.flights.retain(|_, flight| {
            let landed = flight.runs.iter().all(shown);
            bytes += if landed { flight.bytes } else { 0 };
            !landed
        });
        self.flight_bytes -= bytes;
        let landed = self.flights.len() < before;
        if landed {
            self.timeouts = 0;
        }
        landed
    }

    /// Batches under way.
    pub(super) fn flights(&self) -> usize {
        self.flights.len()
    }

    /// What the peer was shown of our logs is not sure.
    pub(super) fn unshow(&mut self) {
        self.edges.iter_mut().for_each(|edge| edge.shown = 0);
    }

    /// The batches that are taken for lost.
    pub(super) fn overdue(&mut self, now: Time) -> Vec<Flight> {
        let late = |flight: &Flight| now.since(flight.sent_at) >= flight.patience;
        let numbers: Vec<u64> =
            self.flights.iter().filter(|(_, flight)| late(flight)).map(|(number, _)| *number).collect();
        let lost: Vec<Flight> = numbers.into_iter().filter_map(|number| self.flights.remove(&number)).collect();
        self.flight_bytes -= lost.iter().map(|flight| flight.bytes).sum::<usize>();
        self.timeouts = self.timeouts.saturating_add(u32::from(!lost.is_empty()));
        lost
    }

    /// For how long nothing is overdue.
    pub(super) fn patience(&self, now: Time) -> Option<Duration> {
        self.flights.values().map(|flight| flight.patience.saturating_sub(now.since(flight.sent_at))).min()
    }

    /// How long to wait for an answer (RFC 6298).
    pub(super) fn rto(&self) -> Duration {
        let Retry { first, min, max } = self.retry;
        self.rtt.map_or(first, |(smooth, varies)| (smooth + varies * 4).max(min).min(max))
    }

    /// A difference in time that may be chance. Where all parents are faster by more than that, nobody waits for itself.
    pub(super) fn noise(&self) -> Duration {
        self.jitter.map_or(NOISE_FIRST, |jitter| (jitter * 4).max(NOISE_MIN))
    }

    fn measure(&mut self, rtt: Duration) {
        if let Some((smooth, _)) = self.rtt {
            let off = smooth.abs_diff(rtt);
            self.jitter = Some(self.jitter.map_or(off, |jitter| (jitter * 3 + off) / 4));
        }
        self.rtt = Some(match self.rtt {
            None => (rtt, rtt / 2),
            Some((smooth, varies)) => ((smooth * 7 + rtt) / 8, (varies * 3 + smooth.abs_diff(rtt)) / 4),
        });
    }
}
