//! What people committed where both sides of a merge had changed a file, against what shows in our merged document by each policy.
//!
//! Each line of development is a peer's engine, each commit a change by its author, made on what the author had seen. What
//! the merge itself committed is not written: it is what the merged document is compared with.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use oxigdal_ha::conflict::{Priorities, Rule};
use oxigdal_ha::documents::{
    self, Arrived, Done, Edit, Engine, Error, Limits, Look, Meeting, OpenConflict, Policies, Policy, Task, Wanted,
};
use oxigdal_ha::types::{Actor, CommandId, DocId, LogId, Mint, NodeId, Seq, Topic, WallTime};
use serde_json::Value;

use crate::history::{History, Made, Met};

/// Where the merge committed one of the sides as it was, the data says nothing: it tells only what no parent said. Which
/// side that was is taken from the repository: of which commit the version stood.
const STOOD: [(usize, &str, usize); 6] = [
    (119, "features/europe/spain.geojson", 117),
    (432, "resources/north-america/united_states/ym-McGill-University.json", 428),
    (1098, "resources/south-america/colombia/co-forum.json", 986),
    (1098, "resources/south-america/colombia/co-twitter.json", 1097),
    (1098, "resources/south-america/colombia/talk-co.json", 1097),
    (1190, "resources/south-america/colombia/", 1186),
];

/// What stands at each place of a document that holds no object: its fields; lists and a geometry as a whole. Nothing: no document.
type Places = Option<BTreeMap<String, Value>>;

/// A file that met, in our engine.
struct Merge<'a> {
    history: &'a History,
    met: &'a Met,
    doc: DocId,
    /// The changes of the file that the merge had before it, by their steps; none where nothing differed.
    changes: BTreeMap<usize, Option<Arrived>>,
}

impl<'a> Merge<'a> {
    fn new(history: &'a History, met: &'a Met) -> Self {
        let doc = DocId::parse(&met.path).unwrap();
        let mut merge = Self { history, met, doc, changes: BTreeMap::new() };
        let mut lines: BTreeMap<usize, Engine> = BTreeMap::new();
        for step in merge.before(&met.sides) {
            let engine = lines.entry(history.steps[step].line).or_insert_with(|| Engine::new(Limits::default()));
            let seen = merge.before(&[step]).into_iter().filter(|seen| *seen != step);
            merge.deliver(engine, seen.collect());
            let made = merge.write(engine, step);
            merge.changes.insert(step, made);
        }
        merge
    }

    /// These steps and all that were made of the file in their sight, in order.
    fn before(&self, steps: &[usize]) -> Vec<usize> {
        let seen = |step: usize| steps.iter().any(|by| step == *by || self.history.is_seen(step, *by));
        let of = |step: &usize| self.history.steps[*step].path == self.met.path && seen(*step);
        (0..=*steps.iter().max().unwrap()).filter(of).collect()
    }

    /// Makes one change of the file as its author.
    fn write(&self, engine: &mut Engine, step: usize) -> Option<Arrived> {
        let Made { commit, line, value, .. } = &self.history.steps[step];
        let edit = value.clone().map_or(Edit::Delete, |value| Edit::Put { value });
        let wanted = Wanted { command: CommandId::ZERO, edits: vec![edit], create: false, at: None };
        let actor = Actor { node: self.author(*commit), mint: Mint::new(*line as u64 + 1) };
        let at = WallTime::from_micros(1_000_000 * self.history.commits[*commit].time);
        let (doc, policies) = (self.doc.clone(), Policies::default());
        let done = engine.run(Task::Edit { doc, actor, at, batch: vec![wanted], policies });
        let Done::Edited { change, mut results, .. } = done else { panic!("{done:?}") };
        results.remove(0).1.unwrap();
        let log = LogId { actor, topic: Topic::DOCUMENTS };
        Some(Arrived { log, seq: Seq::new(step as u64 + 1), change: change? })
    }

    fn author(&self, commit: usize) -> NodeId {
        NodeId::from_u128(u128::from(self.history.commits[commit].author) + 1)
    }

    fn deliver(&self, engine: &mut Engine, steps: Vec<usize>) {
        let changes = steps.iter().filter_map(|step| self.changes[step].clone()).collect();
        let done = engine.run(Task::Apply { doc: self.doc.clone(), changes });
        let Done::Applied { orphans, refused, .. } = done else { panic!("{done:?}") };
        assert_eq!((orphans, refused), (Vec::new(), Vec::new()), "{}", self.met.path);
    }

    /// Peers that heard of all, each of another side first.
    fn peers(&self) -> Vec<Engine> {
        let one = |first: &usize| {
            let mut engine = Engine::new(Limits::default());
            self.deliver(&mut engine, self.before(&[*first]));
            self.deliver(&mut engine, self.before(&self.met.sides));
            engine
        };
        self.met.sides.iter().map(one).collect()
    }

    /// What shows by some policies, and what is told of it.
    fn read(&self, engine: &mut Engine, policies: &Policies) -> (Option<Value>, Vec<OpenConflict>, Vec<Meeting>) {
        let (doc, command) = (|| self.doc.clone(), CommandId::ZERO);
        let get = Task::Get { doc: doc(), command, path: String::new(), policies: policies.clone() };
        let value = match engine.run(get) {
            Done::Got { value: Ok(value), .. } => Some(value),
            Done::Got { value: Err(Error::NotFound { .. }), .. } => None,
            done => panic!("{done:?}"),
        };
        let mut look =
            |look| match engine.run(Task::Met { doc: doc(), command, look, policies: policies.clone().into() }) {
                Done::Met { found, .. } => found.ok(),
                done => panic!("{done:?}"),
            };
        let (open, trail) = (look(Look::Open), look(Look::Trail));
        let open = open.map_or_else(Vec::new, |open| {
            if let documents::Found::Open(open, false) = open { open } else { panic!("{open:?}") }
        });
        let Some(documents::Found::Trail(trail, false)) = trail else { panic!("{trail:?}") };
        (value, open, trail)
    }

    /// What people committed.
    fn committed(&self) -> Option<Value> {
        let Met { commit, path, sides, made } = self.met;
        let steps = &self.history.steps;
        let stood = || {
            if sides.iter().all(|side| steps[*side].value == steps[sides[0]].value) {
                return sides[0];
            }
            let (.., of) = STOOD.iter().find(|(at, of, _)| at == commit && path.starts_with(of)).unwrap();
            *sides.iter().find(|side| steps[**side].commit == *of).unwrap()
        };
        steps[made.unwrap_or_else(stood)].value.clone()
    }

    /// The last version that all sides had seen; none if they had seen several that nobody had merged.
    fn base(&self) -> Option<Places> {
        let all = |step: &usize| self.met.sides.iter().all(|side| self.history.is_seen(*step, *side));
        let common: BTreeSet<usize> = self.before(&self.met.sides).into_iter().filter(all).collect();
        match self.history.newest(&common)[..] {
            [] => Some(None),
            [step] => Some(places(self.history.steps[step].value.as_ref())),
            _ => None,
        }
    }

    fn side(&self, at: usize) -> Places {
        places(self.history.steps[self.met.sides[at]].value.as_ref())
    }

    /// Policies by name.
    fn policies(&self) -> [(&'static str, Policies); 6] {
        let mut count: BTreeMap<NodeId, i32> = BTreeMap::new();
        for commit in 0..self.met.commit {
            *count.entry(self.author(commit)).or_default() += 1;
        }
        let who = [(self.author(self.met.commit), 1)].into_iter().collect();
        [
            ("vector-clock", Rule::VectorClock, Priorities::default()),
            ("last-write-wins", Rule::LastWriteWins, Priorities::default()),
            (
                "priority: who has committed less",
                Rule::Priority,
                count.iter().map(|(who, many)| (*who, -many)).collect(),
            ),
            ("priority: who has committed more", Rule::Priority, count.into_iter().collect()),
            ("priority: who merges", Rule::Priority, who),
            ("manual, before anybody decides", Rule::Manual, Priorities::default()),
        ]
        .map(|(name, rule, priorities)| {
            let policy = Policy { prefix: String::new(), path: String::new(), rule, priorities };
            (name, Policies::new(vec![policy]).unwrap())
        })
    }
}

fn places(value: Option<&Value>) -> Places {
    fn note(value: &Value, path: String, into: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(fields) if !fields.is_empty() && path != "/geometry" => {
                fields.iter().for_each(|(key, value)| note(value, format!("{path}/{key}"), into));
            }
            value => _ = into.insert(path, value.clone()),
        }
    }
    value.map(|value| {
        let mut places = BTreeMap::new();
        note(value, String::new(), &mut places);
        places
    })
}

/// What was found.
#[derive(Default)]
struct Found {
    /// Files that met.
    files: usize,
    /// Of those, where both sides had made the same of it.
    same: usize,
    /// Of those, where one side had removed it and the other not.
    removed: usize,
    /// Places that one side alone had changed, and how many of them people committed so.
    ones: (usize, usize),
    /// Places that both sides had changed, each to something else.
    clashes: usize,
    by_policy: Vec<Score>,
}

/// How often what shows by a policy is what people committed.
struct Score {
    policy: &'static str,
    files: usize,
    clashes: usize,
    /// Places where several values stand.
    open: usize,
}

/// A place in two sides, in what both had seen, in what shows and in what people committed.
type Place<'a> = [Option<&'a Value>; 5];

impl Found {
    fn take(&mut self, merge: &Merge<'_>) {
        let [one, two] = [0, 1].map(|side| merge.side(side));
        let committed = merge.committed();
        self.files += 1;
        self.same += usize::from(one == two);
        self.removed += usize::from(one.is_some() != two.is_some());
        let mut peers = merge.peers();
        for (at, (policy, policies)) in merge.policies().into_iter().enumerate() {
            let read: Vec<_> = peers.iter_mut().map(|peer| merge.read(peer, &policies)).collect();
            // Whatever came first: what shows, what stands and the trail are the same.
            assert!(read.iter().all(|other| *other == read[0]), "{} by {policy}", merge.met.path);
            let (shows, open, _) = &read[0];
            if self.by_policy.len() == at {
                self.by_policy.push(Score { policy, files: 0, clashes: 0, open: 0 });
            }
            self.by_policy[at].files += usize::from(*shows == committed);
            self.by_policy[at].open += open.len();
            if let (Some(one), Some(two), Some(base)) = (&one, &two, merge.base()) {
                let (shows, committed) = (places(shows.as_ref()), places(committed.as_ref()));
                let [base, shows, committed] = [base, shows, committed].map(Option::unwrap_or_default);
                let all = [one, two, &base, &shows, &committed];
                let keys: BTreeSet<&String> = all.iter().flat_map(|places| places.keys()).collect();
                keys.into_iter().for_each(|key| self.take_place(at, (&merge.met.path, key), all.map(|of| of.get(key))));
            }
        }
    }

    /// Takes a place of a file that neither side had removed.
    fn take_place(&mut self, policy: usize, at: (&str, &str), [one, two, base, shows, committed]: Place<'_>) {
        let name = self.by_policy[policy].policy;
        let first = usize::from(policy == 0);
        match (one == base, two == base) {
            (true, true) => assert_eq!(shows, base, "{at:?} by {name}: nobody had changed it"),
            (false, false) if one == two => {
                // Two who insert one thing into a list have inserted two: see the README.
                assert!(shows == one || one.is_some_and(Value::is_array), "{at:?} by {name}: both had made it so");
            }
            (false, false) => {
                self.clashes += first;
                self.by_policy[policy].clashes += usize::from(shows == committed);
            }
            (by_two, _) => {
                let changed = if by_two { two } else { one };
                assert_eq!(shows, changed, "{at:?} by {name}: one side alone had changed it");
                self.ones.0 += first;
                self.ones.1 += first * usize::from(changed == committed);
            }
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, same, removed, ones, clashes, by_policy } = self;
        writeln!(f, "{files} files met; both sides had made the same of {same}, one side had removed {removed}")?;
        writeln!(f, "{} places that one side alone had changed: people committed that in {}", ones.0, ones.1)?;
        writeln!(f, "what shows is what people committed:")?;
        writeln!(f, "| policy | files | places that both sides had changed differently | several values stand |")?;
        by_policy.iter().try_for_each(|Score { policy, files: equal, clashes: right, open }| {
            writeln!(f, "| {policy} | {equal} of {files} | {right} of {clashes} | {open} |")
        })
    }
}

pub(crate) fn compare(history: &History) {
    let mut found = Found::default();
    for met in &history.met {
        assert_eq!(met.sides.len(), 2, "{}", met.path);
        found.take(&Merge::new(history, met));
    }
    let merges = history.commits.iter().filter(|commit| commit.parents.len() > 1).count();
    let concerned: BTreeSet<usize> = history.met.iter().map(|met| met.commit).collect();
    println!("{merges} merges; in {} of them both sides had changed some file", concerned.len());
    println!("{found}");
    assert!(found.files > 0 && found.ones.0 > 0 && found.clashes > 0);
}
