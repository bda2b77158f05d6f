//! Why a run fails, in plain words: the chain of causes that leads to the violation, and what the peers of which it speaks did
//! last.
//!
//! Every event names the event during which it was asked for, so the chain is exact. Nothing of a run is kept but the
//! causes: a run is a function of its seed, so what is to be told is put into words when the same run is made again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use super::orders::Orders;
use super::outcome::{Judgement, Outcome};
use super::plan::Item;
use super::scenario::Scenario;
use super::speech::{Speech, Weight};
use super::witness::{Happened, Seen, Witness};
use super::words::{self, seconds};
use super::{drawn, follow};

/// Most lines of a story, with what is around its steps: the run, whom it is about, what was at work, what the marks say, a blank
/// line, how much is left out, what failed, and what it broke when it was found.
const LINES_MAX: usize = 60;
const FRAME: usize = 9;
/// Most expectations that are told, and faults that stood between.
const MISSED_TOLD: usize = 8;
const FAULTS_TOLD: usize = 8;
/// Most steps of one chain of causes that are looked at.
const CHAIN_MAX: usize = 20_000;
/// Most steps of one chain that are told.
const CHAIN_TOLD: usize = 24;
/// How many things each peer in question did last are told: news, and data.
const NEWS_TOLD: usize = 6;
const DATA_TOLD: usize = 4;
/// Most peers that a violation is taken to be about.
const PEERS_MAX: usize = 4;

/// Why a step is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It led to the violation.
    Cause,
    /// A peer of which the violation speaks did it, or a fault did.
    Beside,
}

/// One step of a story.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Step {
    /// When, in nanoseconds of virtual time.
    pub at: u64,
    /// During which event.
    pub event: u64,
    /// Because of which event; zero is the plan.
    pub cause: u64,
    /// Where: the place of a peer; none for a fault of the mesh.
    pub place: Option<u32>,
    /// The peer's name.
    pub peer: String,
    /// What, in words.
    pub what: String,
    /// Why it is told.
    pub why: Why,
}

/// The story of a run.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Story {
    /// The run.
    pub outcome: Outcome,
    /// The peers of which the violation speaks.
    pub about: Vec<String>,
    /// What led to it, in order of time.
    pub steps: Vec<Step>,
    /// How many steps of the chain are left out, since they say little or are too far back.
    pub left_out: usize,
    /// The faults that had begun by then and had not ended.
    pub active: Vec<String>,
    /// It was seen by looking at the whole mesh: no event is the one.
    pub looked: bool,
}

/// Tells the story of a run.
#[must_use]
pub fn explain(scenario: &Scenario, seed: u64) -> Story {
    let of_seed = drawn(scenario, seed).map(|(_, of_seed, _)| of_seed);
    let scenario = of_seed.as_deref().unwrap_or(scenario);
    let mut causes = Causes::default();
    let outcome = watched(scenario, seed, &mut causes);
    let failed_at = match outcome.judgement {
        // A panic has no event: the last one that was seen is the one.
        Judgement::Violated { event: 0, .. } => causes.last,
        Judgement::Violated { event, .. } => event,
        Judgement::Passed | Judgement::Missed { .. } => 0,
    };
    // A look at the whole mesh sees what went wrong before: nothing led to the look itself.
    let violated = matches!(outcome.judgement, Judgement::Violated { .. });
    let looked = causes.chain(failed_at).len() < 2;
    let peers = about(scenario, &outcome, causes.places.get(&failed_at).copied().filter(|_| !looked));
    let mut recent = Recent { topics: topics(&outcome), peers: peers.clone(), ..Recent::new(scenario) };
    watched(scenario, seed, &mut recent);
    let anchors = if looked { recent.anchors() } else { BTreeSet::from([failed_at]) };
    let chain: BTreeSet<u64> = anchors.iter().flat_map(|anchor| causes.chain(*anchor)).collect();
    let mut told = Told { speech: Speech::new(scenario), chain, steps: BTreeMap::new() };
    watched(scenario, seed, &mut told);
    // Of a run that was made smaller no fault can be spared: each led to it, whoever was told of it.
    let struck = if violated && (looked || scenario.repro().is_some()) { recent.struck() } else { Vec::new() };
    let (steps, left_out) = woven(told.steps, struck, recent.steps(), &anchors);
    Story {
        about: peers.iter().map(|place| Speech::new(scenario).name(*place)).collect(),
        steps,
        left_out,
        active: recent.active(),
        looked: violated && looked,
        outcome,
    }
}

fn watched(scenario: &Scenario, seed: u64, witness: &mut dyn Witness) -> Outcome {
    follow(scenario, seed, Orders { witness: Some(witness), ..Orders::default() }).expect("nobody calls it off")
}

/// The peers of which a violation speaks: those that it names, in that order, and the one where it was noticed.
fn about(scenario: &Scenario, outcome: &Outcome, at: Option<u32>) -> Vec<u32> {
    let text = outcome.judgement.to_string();
    let words: Vec<&str> = text.split(|c: char| !(c.is_alphanumeric() || "-_.".contains(c))).collect();
    let place = |word: &&str| scenario.mesh.nodes().iter().position(|node| node.name == *word);
    let named = words.iter().filter_map(place).filter_map(|place| u32::try_from(place).ok());
    let mut peers = Vec::new();
    for peer in named.chain(at) {
        if !peers.contains(&peer) && peers.len() < PEERS_MAX {
            peers.push(peer);
        }
    }
    peers
}

/// Documents and entries that a violation names: what was done to them matters more than what was done to others.
fn topics(outcome: &Outcome) -> Vec<String> {
    let text = outcome.judgement.to_string();
    let words = text.split_whitespace().map(|word| word.trim_matches(|c: char| ",;:".contains(c)));
    words.filter(|word| word.contains('/') && word.len() > 3).map(str::to_owned).collect()
}

/// Which event caused which.
#[derive(Default)]
struct Causes {
    causes: BTreeMap<u64, u64>,
    places: BTreeMap<u64, u32>,
    last: u64,
}

impl Causes {
    /// The chain back from an event, that event first.
    fn chain(&self, from: u64) -> Vec<u64> {
        let (mut chain, mut at) = (Vec::new(), from);
        while at > 0 && chain.len() < CHAIN_MAX {
            chain.push(at);
            at = self.causes.get(&at).copied().unwrap_or_default();
        }
        chain
    }
}

impl Witness for Causes {
    fn event(&mut self, event: Happened) {
        self.causes.insert(event.id.0, event.cause.0);
        self.last = event.id.0;
    }

    fn seen(&mut self, event: Happened, place: u32, what: &Seen<'_>) {
        if matches!(what, Seen::Input(_) | Seen::Start) {
            self.places.insert(event.id.0, place);
        }
    }
}

/// What the peers in question did last, and the faults.
struct Recent<'a> {
    speech: Speech<'a>,
    topics: Vec<String>,
    peers: Vec<u32>,
    news: BTreeMap<u32, VecDeque<Step>>,
    data: BTreeMap<u32, VecDeque<Step>>,
    faults: VecDeque<Step>,
    /// By the item of the plan: what is at work, with the step in which it began; of a repro file also what is over.
    begun: BTreeMap<usize, Begun>,
    keeps: bool,
}

struct Begun {
    what: String,
    step: Step,
    /// The peers that it names.
    places: Vec<u64>,
    over: bool,
}

impl<'a> Recent<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        Self {
            speech: Speech::new(scenario),
            topics: Vec::new(),
            peers: Vec::new(),
            news: BTreeMap::new(),
            data: BTreeMap::new(),
            faults: VecDeque::new(),
            begun: BTreeMap::new(),
            keeps: scenario.repro().is_some(),
        }
    }

    /// The last that each peer in question did with what it is about; else what it said last of another one, else its last
    /// news.
    fn anchors(&self) -> BTreeSet<u64> {
        let names: Vec<String> = self.peers.iter().map(|place| self.speech.name(*place)).collect();
        let of = |place: &u32| {
            if let Some(step) = self.data.get(place).and_then(VecDeque::back) {
                return Some(step.event);
            }
            let steps = self.news.get(place)?;
            let speaks = |step: &&Step| names.iter().any(|name| *name != step.peer && mentions(&step.what, name));
            steps.iter().rev().find(speaks).or_else(|| steps.back()).map(|step| step.event)
        };
        self.peers.iter().filter_map(of).collect()
    }

    /// A fault begins, or ends.
    fn strikes(&mut self, item: usize, says: &Item, begins: bool, step: &Step) {
        if begins {
            let piece = serde_json::to_value(&says.fault).expect("faults are texts, numbers and lists");
            let what = words::fault(&says.fault, &|place| self.speech.name(place));
            let begun = Begun { what, step: step.clone(), places: words::places(&piece), over: false };
            self.begun.insert(item, begun);
        } else if self.keeps {
            self.begun.entry(item).and_modify(|begun| begun.over = true);
        } else {
            self.begun.remove(&item);
        }
    }

    fn steps(&self) -> Vec<Step> {
        self.news.values().chain(self.data.values()).flatten().chain(&self.faults).cloned().collect()
    }

    fn active(&self) -> Vec<String> {
        self.begun.values().filter(|begun| !begun.over).map(|begun| begun.what.clone()).collect()
    }

    /// The beginnings of the faults that the violation hangs on: of a repro file all of them, else those at work on the peers in
    /// question.
    fn struck(&self) -> Vec<Step> {
        let concerns = |begun: &&Begun| {
            let hits = begun.places.iter().any(|place| self.peers.iter().any(|peer| u64::from(*peer) == *place));
            self.keeps || self.peers.is_empty() || begun.places.is_empty() || hits
        };
        let mut steps: Vec<Step> = self.begun.values().filter(concerns).map(|begun| begun.step.clone()).collect();
        steps.sort();
        steps.drain(..steps.len().saturating_sub(FAULTS_TOLD));
        steps.iter_mut().for_each(|step| step.why = Why::Cause);
        steps
    }
}

/// Whether a text has these words, and not only as the beginning of longer ones.
fn mentions(text: &str, words: &str) -> bool {
    let ends = |at: usize| !text[at + words.len()..].starts_with(|c: char| c.is_ascii_alphanumeric());
    text.match_indices(words).any(|(at, _)| ends(at))
}

fn kept(steps: &mut VecDeque<Step>, step: Step, most: usize) {
    // The same again says nothing new.
    if steps.back().is_some_and(|last| last.what == step.what) {
        return;
    }
    if steps.len() == most {
        steps.pop_front();
    }
    steps.push_back(step);
}

impl Witness for Recent<'_> {
    fn seen(&mut self, event: Happened, place: u32, what: &Seen<'_>) {
        let fault = match what {
            Seen::Begins { item, says } | Seen::Ends { item, says } => Some((*item, says)),
            _ => None,
        };
        let peer = fault.map_or(Some(place), |(_, says)| says.fault.peer());
        if fault.is_none() && !self.peers.contains(&place) {
            return;
        }
        let Some((weight, words)) = self.speech.of(what) else { return };
        let name = peer.map_or_else(|| "the mesh".to_owned(), |place| self.speech.name(place));
        let step = Step {
            at: event.at,
            event: event.id.0,
            cause: event.cause.0,
            place: peer,
            peer: name,
            what: words,
            why: Why::Beside,
        };
        if let Some((item, says)) = fault {
            self.strikes(item, says, matches!(what, Seen::Begins { .. }), &step);
        }
        if fault.is_some() {
            kept(&mut self.faults, step, NEWS_TOLD * 2);
        } else if weight == Weight::News {
            kept(self.news.entry(place).or_default(), step, NEWS_TOLD);
        } else if weight == Weight::Data && self.topics.iter().any(|topic| mentions(&step.what, topic)) {
            kept(self.data.entry(place).or_default(), step, DATA_TOLD);
        }
    }
}

/// The steps of a chain, in words.
struct Told<'a> {
    speech: Speech<'a>,
    chain: BTreeSet<u64>,
    steps: BTreeMap<u64, Vec<(Weight, Step)>>,
}

impl Witness for Told<'_> {
    fn seen(&mut self, event: Happened, place: u32, what: &Seen<'_>) {
        if !self.chain.contains(&event.id.0) || matches!(what, Seen::Sent { .. }) {
            return;
        }
        let place = match what {
            Seen::Begins { says, .. } | Seen::Ends { says, .. } => says.fault.peer(),
            _ => Some(place),
        };
        let Some((weight, what)) = self.speech.of(what) else { return };
        let peer = place.map_or_else(|| "the mesh".to_owned(), |place| self.speech.name(place));
        let step = Step { at: event.at, event: event.id.0, cause: event.cause.0, place, peer, what, why: Why::Cause };
        self.steps.entry(event.id.0).or_default().push((weight, step));
    }
}

/// The chain and what is beside it, in order of time, and how many steps are left out.
fn woven(
    chain: BTreeMap<u64, Vec<(Weight, Step)>>,
    struck: Vec<Step>,
    beside: Vec<Step>,
    anchors: &BTreeSet<u64>,
) -> (Vec<Step>, usize) {
    let mut left_out = 0;
    let mut led: Vec<Step> = Vec::new();
    for (event, steps) in chain {
        let anchor = anchors.contains(&event);
        let before = led.len();
        // What was handled, and what came of it that is news; of the last event what was handled, whatever it was.
        let told = |(n, (weight, _)): &(usize, (Weight, Step))| *weight > Weight::Routine || (anchor && *n == 0);
        led.extend(steps.into_iter().enumerate().filter(told).map(|(_, (_, step))| step));
        left_out += usize::from(led.len() == before);
    }
    led.sort_by_key(|step| (step.at, step.event));
    led.dedup_by(|b, a| a.what == b.what && a.peer == b.peer && a.at == b.at);
    let space = LINES_MAX - FRAME;
    let most = (CHAIN_TOLD * anchors.len().clamp(1, 2)).min(space - struck.len());
    if led.len() > most {
        left_out += led.len() - most;
        led.drain(..led.len() - most);
    }
    let is_new = |step: &Step| !led.iter().any(|told| told.event == step.event && told.what == step.what);
    let struck: Vec<Step> = struck.into_iter().filter(is_new).collect();
    led.extend(struck);
    let told: BTreeSet<(u64, String)> = led.iter().map(|step| (step.event, step.what.clone())).collect();
    let mut rest: Vec<Step> =
        beside.into_iter().filter(|step| !told.contains(&(step.event, step.what.clone()))).collect();
    rest.sort();
    let space = space.saturating_sub(led.len());
    if rest.len() > space {
        rest.drain(..rest.len() - space);
    }
    led.extend(rest);
    led.sort_by_key(|step| (step.at, step.event));
    (led, left_out)
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.outcome)?;
        if !self.about.is_empty() {
            writeln!(f, "It is about {}.", self.about.join(", "))?;
        }
        match self.active.as_slice() {
            [] => writeln!(f, "No fault was at work by then.")?,
            active => writeln!(f, "At work by then: {}.", active.join("; "))?,
        }
        match &self.outcome.judgement {
            Judgement::Passed => writeln!(f, "Nothing failed. These are the last faults.\n")?,
            Judgement::Violated { .. } if self.looked => writeln!(
                f,
                "It was seen by looking at the whole mesh. Lines with >: faults between, and what led to these peers' last news.\n"
            )?,
            Judgement::Violated { .. } => {
                writeln!(f, "Lines with > led to it; the others are what these peers did last, and faults.\n")?;
            }
            Judgement::Missed { .. } => writeln!(
                f,
                "An expectation is measured over the whole run, so nothing alone led to it: these are the last faults.\n"
            )?,
        }
        if self.left_out > 0 {
            writeln!(f, "                 ... {} steps before or between, timers mostly", self.left_out)?;
        }
        let width = self.steps.iter().map(|step| step.peer.chars().count()).max().unwrap_or_default();
        for step in &self.steps {
            let mark = if step.why == Why::Cause { '>' } else { ' ' };
            writeln!(f, "{mark} {:>12}  {:<width$}  {}", seconds(step.at), step.peer, step.what)?;
        }
        match &self.outcome.judgement {
            Judgement::Passed => Ok(()),
            Judgement::Violated { violation, at_ns, .. } => {
                writeln!(f, "! {:>12}  {:<width$}  {}", seconds(*at_ns), violation.check, violation.what)
            }
            // Measured over the whole run: no event is the one.
            Judgement::Missed { what } => what.iter().take(MISSED_TOLD).try_for_each(|what| {
                writeln!(f, "! {:>12}  {:<width$}  {what}", seconds(self.outcome.figures.virtual_ns), "expected")
            }),
        }
    }
}
