//! Repro files: one run as a file. The scenario as it was, and behind it, in `[repro]`, the plan that was carried out and the
//! root of the luck, so that neither a seed nor a later change of how seeds are expanded has a part in it.
//!
//! Whatever was taken away from the plan is missing; what stayed has the number that it had, and with it its luck.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Serialize};

use super::luck::Luck;
use super::outcome::Outcome;
use super::part::{NEVER, Part, Piece, Whole};
use super::plan::{Append, Edit, Fault, Item, PLAN_MAX, Plan, Proposal, Turn};
use super::scenario::{Kind, Scenario, Span};
use super::words;

/// The table that ends a scenario and begins what was added to it.
const TABLE: &str = "[repro]";

/// `[repro]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Repro {
    /// The scenario in which it was found.
    of: String,
    /// The seed with which it was found.
    pub(crate) seed: u64,
    /// The root of its luck, in hex.
    luck: Root,
    /// What it broke when it was found: an invariant, or an expectation. For people.
    pub(crate) breaks: String,
    /// How many pieces the whole plan had.
    whole: Whole,
    /// Who is healed when the calm begins, by their places; nobody named is everybody.
    #[serde(default)]
    core: Vec<u32>,
    /// When each peer starts; who is missing never does.
    starts: BTreeMap<String, u64>,
    #[serde(default)]
    faults: Vec<Numbered<Item>>,
    #[serde(default)]
    turns: Vec<Numbered<Turn>>,
    #[serde(default)]
    edits: Vec<Numbered<Edit>>,
    #[serde(default)]
    appends: Vec<Numbered<Append>>,
    #[serde(default)]
    proposals: Vec<Numbered<Proposal>>,
}

/// A piece of the plan with its number in the whole plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Numbered<T> {
    n: u32,
    #[serde(flatten)]
    what: T,
}

#[derive(Clone, Debug)]
struct Root([u8; 32]);

impl<'de> Deserialize<'de> for Root {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = || D::Error::custom("luck: 64 hexadecimal digits are needed");
        if text.len() != 64 || !text.is_ascii() {
            return Err(digits());
        }
        let mut root = [0; 32];
        for (byte, at) in root.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| digits())?;
        }
        Ok(Self(root))
    }
}

impl Repro {
    /// The luck of the run.
    pub(super) fn luck(&self) -> Luck {
        Luck::of_root(self.luck.0)
    }

    /// The plan of the run.
    ///
    /// # Errors
    /// Which entry cannot be, and why.
    pub(super) fn plan(&self, scenario: &Scenario) -> Result<Plan, String> {
        let mesh = &scenario.mesh;
        let place = |name: &String| mesh.nodes().iter().position(|node| node.name == *name);
        if self.starts.is_empty() {
            return Err("starts: nobody starts".to_owned());
        }
        let mut starts = vec![NEVER; mesh.nodes().len()];
        for (name, at) in &self.starts {
            let place = place(name).ok_or_else(|| format!("starts: the topology has no node {name:?}"))?;
            before(&format!("starts.{name}"), *at, scenario.span_ns(), "the run ends")?;
            starts[place] = *at;
        }
        let peers = starts.len();
        let (items, faults) = apart("faults", &self.faults, self.whole.faults, peers)?;
        let (turns, turned) = apart("turns", &self.turns, self.whole.turns, peers)?;
        let (edits, edited) = apart("edits", &self.edits, self.whole.edits, peers)?;
        let (appends, appended) = apart("appends", &self.appends, self.whole.appends, peers)?;
        let (proposals, proposed) = apart("proposals", &self.proposals, self.whole.proposals, peers)?;
        let whole = self.whole;
        let part = Part { items: faults, turns: turned, edits: edited, appends: appended, proposals: proposed, whole };
        if let Some(nobody) = self.core.iter().find(|place| **place as usize >= peers) {
            return Err(format!("core: there is no peer {nobody}, counted from 0 there are {peers}"));
        }
        let (core, part) = (self.core.clone(), Some(part));
        let plan = Plan { starts, items, edits, turns, appends, proposals, core, part };
        happens(scenario, &plan)?;
        Ok(plan)
    }
}

/// What would never happen, or could not do anything, is not meant so: a run without it would pass, and say nothing of why.
fn happens(scenario: &Scenario, plan: &Plan) -> Result<(), String> {
    let calm = scenario.calm_at();
    for (n, item) in plan.items.iter().enumerate() {
        before(&format!("faults[{n}].at"), item.at, calm, "the calm begins")?;
        if let Some(until) = item.until.filter(|until| *until < item.at) {
            let (at, until) = (words::seconds(item.at), words::seconds(until));
            return Err(format!("faults[{n}].until: {until} is before it begins, at {at}"));
        }
        apart_from_each_other(item).map_err(|why| format!("faults[{n}].fault: {why}"))?;
    }
    for (n, turn) in plan.turns.iter().enumerate() {
        before(&format!("turns[{n}].at"), turn.at, calm, "the calm begins")?;
    }
    let docs = scenario.says.edits.iter().map(|says| says.docs).max().unwrap_or_default();
    for (n, edit) in plan.edits.iter().enumerate() {
        before(&format!("edits[{n}].at"), edit.at, calm, "the calm begins")?;
        if edit.doc >= docs {
            return Err(format!(
                "edits[{n}].doc: {} is none of those that [[edits]] has, counted from 0 there are {docs}",
                edit.doc
            ));
        }
    }
    let streams = scenario.says.appends.iter().map(|says| says.streams).max().unwrap_or_default();
    for (n, append) in plan.appends.iter().enumerate() {
        before(&format!("appends[{n}].at"), append.at, calm, "the calm begins")?;
        if append.stream >= streams {
            let stream = append.stream;
            return Err(format!(
                "appends[{n}].stream: {stream} is none of those that [[appends]] has, counted from 0 there are {streams}"
            ));
        }
    }
    let peers = scenario.mesh.nodes().len();
    for (n, proposal) in plan.proposals.iter().enumerate() {
        before(&format!("proposals[{n}].at"), proposal.at, calm, "the calm begins")?;
        if let Some((_, whom)) = proposal.wish.filter(|(_, whom)| *whom as usize >= peers) {
            return Err(format!("proposals[{n}].wish: there is no peer {whom}, counted from 0 there are {peers}"));
        }
    }
    Ok(())
}

fn before(key: &str, at: u64, end: u64, what: &str) -> Result<(), String> {
    if at < end {
        return Ok(());
    }
    Err(format!("{key}: {} is too late: {what} at {}", words::seconds(at), words::seconds(end)))
}

/// Whoever is cut, or clogged, is so from somebody else. A partition is drawn, and may come to leave one side empty.
fn apart_from_each_other(item: &Item) -> Result<(), String> {
    let (Fault::Cut { from, to, .. } | Fault::Flap { from, to, .. } | Fault::Clog { from, to, .. }) = &item.fault
    else {
        return Ok(());
    };
    if let Some(both) = from.iter().find(|peer| to.contains(peer)) {
        return Err(format!("peer {both} stands on both sides, `from` and `to`: nobody is cut from himself"));
    }
    let side = if from.is_empty() { "from" } else { "to" };
    let drawn = matches!(item.drawn, Some(Kind::Partition | Kind::Bridge));
    if !drawn && (from.is_empty() || to.is_empty()) {
        return Err(format!("`{side}` is empty: nobody is on that side"));
    }
    Ok(())
}

/// The pieces and their numbers, which must rise; and whoever is named must exist.
fn apart<T>(key: &str, all: &[Numbered<T>], whole: u32, peers: usize) -> Result<(Vec<T>, Vec<u32>), String>
where
    T: Clone + Serialize + DeserializeOwned,
{
    if whole as usize > PLAN_MAX {
        return Err(format!("whole: {whole} {key}, at most {PLAN_MAX}"));
    }
    let mut least = 0;
    for (at, piece) in all.iter().enumerate() {
        if !(least..whole).contains(&piece.n) {
            return Err(format!("{key}[{at}]: n is {}, expected {least} to {}", piece.n, whole.saturating_sub(1)));
        }
        least = piece.n + 1;
        let value = serde_json::to_value(&piece.what).map_err(|error| format!("{key}[{at}]: {error}"))?;
        if let Some(nobody) = words::places(&value).into_iter().find(|place| *place >= peers as u64) {
            return Err(format!("{key}[{at}]: there is no peer {nobody}, counted from 0 there are {peers}"));
        }
    }
    Ok((all.iter().map(|piece| piece.what.clone()).collect(), all.iter().map(|piece| piece.n).collect()))
}

/// The first piece of `[repro]` that cannot be read, and why: the reader of the whole file knows only where the table begins.
pub(super) fn wrong_piece(text: &str) -> Option<String> {
    fn of<T: DeserializeOwned>(repro: &toml::Table, key: &str) -> Option<String> {
        let wrong = |piece: &toml::Value| piece.clone().try_into::<Numbered<T>>().err();
        let (at, error) = repro.get(key)?.as_array()?.iter().enumerate().find_map(|(at, it)| Some((at, wrong(it)?)))?;
        Some(format!("repro.{key}[{at}]: {}", error.message().trim_end().replace('\n', " ")))
    }
    let file: toml::Table = text.parse().ok()?;
    let repro = file.get("repro")?.as_table()?;
    let edits = || of::<Edit>(repro, "edits").or_else(|| of::<Append>(repro, "appends"));
    let edits = || edits().or_else(|| of::<Proposal>(repro, "proposals"));
    of::<Item>(repro, "faults").or_else(|| of::<Turn>(repro, "turns")).or_else(edits)
}

/// The text of a scenario without the run that may be behind it.
fn scenario_of(text: &str) -> &str {
    let begins = |(at, _): &(usize, &str)| *at == 0 || text[..*at].ends_with('\n');
    text.match_indices(TABLE).find(begins).map_or(text, |(at, _)| &text[..at])
}

/// The file of a run: `text` is the scenario's file.
pub(super) fn write(scenario: &Scenario, text: &str, luck: &Luck, plan: &Plan, outcome: &Outcome) -> String {
    let head = scenario_of(text).trim_end();
    // What the first repro said of itself is said anew.
    let head = head.split_once(RULE).map_or(head, |(before, _)| before.trim_end());
    let root: String = luck.root().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = String::new();
    let told = outcome.judgement.to_string().replace('\n', " ");
    // The same for whoever minimizes it, wherever the scenario stands.
    let file_name = || scenario.file().rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
    let of = scenario.says.repro.as_ref().map_or_else(file_name, |repro| repro.of.clone());
    let whole = plan.whole();
    let mut line = |text: std::fmt::Arguments<'_>| {
        file.write_fmt(text).expect("a string takes everything");
        file.push('\n');
    };
    line(format_args!("{head}\n\n{RULE}"));
    line(format_args!("# One run of it, made smaller: {told}"));
    line(format_args!(
        "# Replay it with `oxigdal-ha simulate replay FILE`, have it explained with `oxigdal-ha simulate explain FILE`."
    ));
    line(format_args!("{TABLE}\nof = {}\nseed = {}\nluck = \"{root}\"", quoted(&of), outcome.seed));
    line(format_args!("breaks = {}", quoted(&outcome.judgement.key().unwrap_or_default())));
    let Whole { faults, turns, edits, appends, proposals } = whole;
    let more = if proposals > 0 { format!(", proposals = {proposals}") } else { String::new() };
    line(format_args!("whole = {{ faults = {faults}, turns = {turns}, edits = {edits}, appends = {appends}{more} }}"));
    if !plan.core.is_empty() {
        line(format_args!("core = {:?}", plan.core));
    }
    let name = |place: u32| scenario.mesh.nodes()[place as usize].name.clone();
    section(&mut file, "faults", plan, &plan.items, Piece::Fault, &|item| words::item(item, &name));
    section(&mut file, "turns", plan, &plan.turns, Piece::Turn, &|turn| format!("{} {}", Span(turn.at), turn.policy));
    let edit = |edit: &Edit| format!("{} {} edits sim/{}", Span(edit.at), name(edit.peer), edit.doc);
    section(&mut file, "edits", plan, &plan.edits, Piece::Edit, &edit);
    let append =
        |append: &Append| format!("{} {} appends to sim/{}", Span(append.at), name(append.peer), append.stream);
    section(&mut file, "appends", plan, &plan.appends, Piece::Append, &append);
    let proposal = |it: &Proposal| {
        let named = if it.request > 0 { format!(", request {}", it.request) } else { String::new() };
        let what = match it.wish {
            Some((wish, whom)) => return format!("{} {} wishes: {wish:?} {}", Span(it.at), name(it.peer), name(whom)),
            None if it.policies > 0 => "the policies".to_owned(),
            None => format!("register {}", it.register),
        };
        format!("{} {} has {what} set{named}", Span(it.at), name(it.peer))
    };
    section(&mut file, "proposals", plan, &plan.proposals, Piece::Proposal, &proposal);
    file.push_str("\n[repro.starts]\n");
    for (place, at) in (0..).zip(&plan.starts) {
        match *at {
            NEVER => _ = writeln!(file, "# {} never starts", quoted(&name(place))),
            at => _ = writeln!(file, "{} = {at}", quoted(&name(place))),
        }
    }
    file
}

/// Between the scenario and the run.
const RULE: &str =
    "# ---------------------------------------------------------------------------------------------------------";

fn section<T: Serialize + Clone>(
    file: &mut String,
    key: &str,
    plan: &Plan,
    pieces: &[T],
    piece: fn(usize) -> Piece,
    say: &dyn Fn(&T) -> String,
) {
    if pieces.is_empty() {
        return;
    }
    _ = writeln!(file, "{key} = [");
    for (at, what) in pieces.iter().enumerate() {
        let n = u32::try_from(plan.number_of(piece(at))).expect("a plan is bounded");
        let value =
            toml::Value::try_from(Numbered { n, what: what.clone() }).expect("plans are texts, numbers and lists");
        _ = writeln!(file, "    # {}\n    {value},", say(what));
    }
    file.push_str("]\n");
}

/// As a TOML string: JSON's is one.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
