//! Recovery against a model: a real node writes real files, and what is had back of any moment is what the model held then.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "recovery_test/archive.rs"]
mod archive;
#[path = "recovery_test/claims.rs"]
mod claims;
#[path = "recovery_test/commands.rs"]
mod commands;
#[path = "recovery_test/faults.rs"]
mod faults;
#[path = "recovery_test/invariants.rs"]
mod invariants;
#[path = "recovery_test/killed_peers.rs"]
mod killed_peers;
#[path = "recovery_test/kills.rs"]
mod kills;
#[path = "recovery_test/pitr.rs"]
mod pitr;
#[path = "recovery_test/repository.rs"]
mod repository;
#[path = "recovery_test/schedules.rs"]
mod schedules;
#[path = "recovery_test/snapshots.rs"]
mod snapshots;
#[path = "recovery_test/standby.rs"]
mod standby;
#[path = "recovery_test/store.rs"]
mod store;
#[path = "recovery_test/watched.rs"]
mod watched;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use oxigdal_ha::config::{self, Config, Flags};
use oxigdal_ha::documents::{self, Edit, Engine, Limits};
use oxigdal_ha::driver::{Peer, Revert};
use oxigdal_ha::membership::Meta;
use oxigdal_ha::node::{self, Boot, Command, Effect, Identity, Input, Io, IoOutcome, Node, Outcome, Progress, Setup};
use oxigdal_ha::recovery::revert::Change;
use oxigdal_ha::recovery::side;
use oxigdal_ha::recovery::target::{Target, Unreachable};
use oxigdal_ha::recovery::{LOG_DIR, LocateError, Located, Look, Source, Survey};
use oxigdal_ha::types::{ClusterId, CommandId, DocId, Lsn, NodeId, Now, Time, WallTime};
use oxigdal_ha::{ErrorKind, events, replication, wal};
use serde_json::{Value, json};
use tempfile::TempDir;

const ME: NodeId = NodeId::from_u128(7);
/// When lives begin, in microseconds.
const START: u64 = 1_700_000_000_000_000;

type Docs = BTreeMap<DocId, Value>;

/// What the log held from a time on: documents, and events of the one stream.
#[derive(Clone, Debug, PartialEq)]
struct State {
    at: u64,
    docs: Docs,
    events: u64,
}

/// Small numbers without a library: the multiplier is Knuth's MMIX.
#[derive(Debug)]
struct Luck(u64);

impl Luck {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// A node over the files of a directory.
struct Life {
    log: PathBuf,
    node: Node,
    engine: Engine,
    inputs: VecDeque<Input>,
    reply: Option<Outcome>,
    wall: u64,
    asked: u64,
    /// States in order of their stamps' wall times.
    model: Vec<State>,
}

impl Life {
    fn begin(log: &Path, wall: u64, model: Vec<State>) -> Self {
        Self::with(log, wall, model, node::Config { wal: wal::Config { segment_bytes: 3_000 }, ..Default::default() })
    }

    fn with(log: &Path, wall: u64, model: Vec<State>, config: node::Config) -> Self {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&wall.to_le_bytes());
        let setup = Setup {
            identity: Identity { node: ME, cluster: ClusterId::from_bytes([7; 32]) },
            seed,
            meta: Meta { name: "me".into(), ..Meta::default() },
            config,
            founds: false,
        };
        let mut boot = Box::new(Boot::start(setup));
        let (mut inputs, mut engine, mut reply) = (VecDeque::new(), Engine::new(Limits::default()), None);
        let node = loop {
            while let Some(effect) = boot.poll_effect() {
                inputs.extend(perform(log, &mut engine, &mut reply, effect));
            }
            match boot.handle(now(wall), inputs.pop_front().unwrap()) {
                Progress::Booting(more) => boot = more,
                Progress::Ready(node, _) => break *node,
                Progress::Refused(error) => panic!("{error}"),
            }
        };
        let mut life = Self { log: log.into(), node, engine, inputs, reply, wall, asked: 0, model };
        life.settle();
        let last = life.model.last().cloned();
        life.note(|state| *state = last.unwrap_or(State { at: wall, docs: Docs::new(), events: 0 }));
        life
    }

    fn settle(&mut self) {
        loop {
            while let Some(effect) = self.node.poll_effect() {
                self.inputs.extend(perform(&self.log, &mut self.engine, &mut self.reply, effect));
            }
            match self.inputs.pop_front() {
                Some(input) => self.node.handle(now(self.wall), input),
                None => return,
            }
        }
    }

    fn ask(&mut self, command: Command) -> Outcome {
        self.asked += 1;
        self.node.handle(now(self.wall), Input::Command { id: CommandId::new(self.asked), command });
        self.settle();
        self.reply.take().unwrap()
    }

    /// From now on this is so. The log's clock does not step back.
    fn note(&mut self, change: impl FnOnce(&mut State)) {
        let last = self.model.last().cloned();
        let mut state = last.unwrap_or(State { at: 0, docs: Docs::new(), events: 0 });
        let before = state.at;
        change(&mut state);
        state.at = self.wall.max(before);
        self.model.push(state);
    }

    fn put(&mut self, doc: &DocId, value: Value) {
        let edits = vec![Edit::Put { value: value.clone() }];
        self.ask(Command::Documents(documents::Command::Edit { doc: doc.clone(), edits, create: false }));
        self.note(|state| drop(state.docs.insert(doc.clone(), value)));
    }

    fn delete(&mut self, doc: &DocId) {
        let edits = vec![Edit::Delete];
        self.ask(Command::Documents(documents::Command::Edit { doc: doc.clone(), edits, create: false }));
        self.note(|state| drop(state.docs.remove(doc)));
    }

    fn append(&mut self) {
        let stream = events::Name::parse("sensors/roof").unwrap();
        let events = vec![Bytes::from_static(b"21.5 C")];
        self.ask(Command::Events(events::Command::Append { stream, events }));
        self.note(|state| state.events += 1);
    }

    /// One thing at random.
    fn live(&mut self, luck: &mut Luck) {
        self.wall = match luck.below(12) {
            0..4 => self.wall,
            4 => self.wall.saturating_sub(luck.below(3_000)),
            _ => self.wall + luck.below(2_000),
        };
        let doc = doc(luck.below(6));
        let there = self.model.last().unwrap().docs.contains_key(&doc);
        match luck.below(8) {
            0 if there => self.delete(&doc),
            1 | 2 => self.append(),
            _ => self.put(&doc, json!({ "n": luck.below(1_000_000), "name": format!("place {}", luck.below(9)) })),
        }
    }
}

fn doc(n: u64) -> DocId {
    DocId::parse(&format!("layers/places/{n}")).unwrap()
}

fn now(wall: u64) -> Now {
    Now { mono: Time::from_nanos((wall - START / 2) * 1_000), wall: WallTime::from_micros(wall) }
}

fn perform(log: &Path, engine: &mut Engine, reply: &mut Option<Outcome>, effect: Effect) -> Option<Input> {
    match effect {
        Effect::Persist { id, segment, offset, bytes } => {
            let path = log.join(wal::file_name(segment));
            let mut file = if offset == 0 { Vec::new() } else { fs::read(&path).unwrap() };
            assert_eq!(file.len() as u64, offset);
            file.extend_from_slice(&bytes);
            fs::write(path, file).unwrap();
            Some(Input::Persisted { id, result: Ok(()) })
        }
        Effect::Io { id, op } => Some(Input::IoDone { id, result: Ok(io(log, op)) }),
        Effect::Task { id, task } => Some(Input::TaskDone { id, done: engine.run(task) }),
        Effect::Pack { id, pack } => Some(Input::Packed { id, bytes: pack.run() }),
        Effect::Reply { result, .. } => {
            *reply = Some(result.unwrap());
            None
        }
        _ => None,
    }
}

fn io(log: &Path, op: Io) -> IoOutcome {
    match op {
        Io::List => {
            let segment = |name: String| wal::segment_of(&name).or_else(|| wal::snapshot_of(&name)).unwrap();
            let entries = fs::read_dir(log).unwrap().map(Result::unwrap);
            let listed: BTreeMap<_, _> = entries
                .map(|entry| (segment(entry.file_name().into_string().unwrap()), entry.metadata().unwrap().len()))
                .collect();
            IoOutcome::Listed(listed.into_iter().collect())
        }
        Io::Read { segment, offset, len } => {
            let bytes = Bytes::from(fs::read(log.join(wal::file_name(segment))).unwrap());
            let from = usize::try_from(offset).unwrap();
            IoOutcome::Read(bytes.slice(from..from + usize::try_from(len).unwrap()))
        }
        Io::Truncate { segment, len } => {
            assert_eq!(len, 0, "nothing of this log is damaged");
            fs::remove_file(log.join(wal::file_name(segment))).unwrap();
            IoOutcome::Truncated
        }
        Io::Reopen { .. } => {
            panic!("there is room");
        }
    }
}

/// A life of so many steps, in two boots.
fn lived(dir: &Path, steps: usize, luck: &mut Luck) -> Life {
    let log = dir.join(LOG_DIR);
    fs::create_dir_all(&log).unwrap();
    let mut life = Life::begin(&log, START, Vec::new());
    (0..steps / 2).for_each(|_| life.live(luck));
    let wall = life.wall + luck.below(5_000);
    let mut life = Life::begin(&log, wall, life.model);
    (0..steps / 2).for_each(|_| life.live(luck));
    life
}

/// What the model held at a time; `None` before everything.
fn state_at(model: &[State], at: u64, exclusive: bool) -> Option<&State> {
    model.iter().rfind(|state| state.at < at || (state.at == at && !exclusive))
}

struct Past {
    source: Source,
    survey: Survey,
    seen: BTreeMap<(Lsn, Lsn), (Docs, u64)>,
    now: WallTime,
}

impl Past {
    fn of(dir: &Path, now: u64) -> Self {
        let source = Source::open(dir).unwrap();
        let survey = Survey::of(&source).unwrap();
        assert_eq!(survey.damage, []);
        Self { source, survey, seen: BTreeMap::new(), now: WallTime::from_micros(now) }
    }

    fn locate(&self, target: &Target, exclusive: bool) -> Result<Located, LocateError> {
        self.survey.locate(&self.source, target, exclusive, self.now)
    }

    /// What a node that boots from the log of that moment holds.
    fn seen(&mut self, located: Located) -> (Docs, u64) {
        let (source, survey) = (&self.source, &self.survey);
        let key = (located.upto.main, located.upto.events);
        self.seen.entry(key).or_insert_with(|| look(source, survey, &located)).clone()
    }
}

fn look(source: &Source, survey: &Survey, located: &Located) -> (Docs, u64) {
    let mut look = Look::at(source, survey, located).unwrap();
    let docs = look.documents("").unwrap();
    let Outcome::Status(status) = look.ask(Command::Status).unwrap() else { panic!("a status was asked for") };
    (docs, status.events)
}

#[test]
fn any_moment_is_had_back_as_the_model_held_it() {
    let dir = TempDir::new().unwrap();
    let mut luck = Luck(11);
    let life = lived(dir.path(), 160, &mut luck);
    let (first, last) = (life.model[0].at, life.model.last().unwrap().at);
    let mut past = Past::of(dir.path(), last + 1_000_000);
    assert!(past.survey.segments.len() > 8, "many segments: {}", past.survey.segments.len());
    let equal = life.model.windows(2).filter(|pair| pair[0].at == pair[1].at).count();
    assert!(equal > 20, "many equal times: {equal}");

    let edges = past.survey.segments.iter().flat_map(|segment| [segment.first, segment.last]).flatten();
    let edges =
        edges.flat_map(|mark| [mark.at.wall.as_micros() - 1, mark.at.wall.as_micros(), mark.at.wall.as_micros() + 1]);
    let mut times: BTreeSet<u64> = edges.chain([first, last, last + 1, last + 1_000_000]).collect();
    let boundaries = times.len();
    while times.len() < boundaries + 200 {
        times.insert(first + luck.below(last - first));
    }
    for at in times {
        for exclusive in [false, true] {
            let target = Target::Time(WallTime::from_micros(at));
            let located = past.locate(&target, exclusive);
            match state_at(&life.model, at, exclusive) {
                Some(state) => {
                    let seen = past.seen(located.unwrap());
                    assert_eq!(seen, (state.docs.clone(), state.events), "{target}, exclusive: {exclusive}");
                }
                None => {
                    let Err(LocateError::Target(refused)) = located else { panic!("{target}: {located:?}") };
                    let is_first = exclusive && at == first && matches!(refused.why, Unreachable::NothingBefore { .. });
                    assert!(is_first || matches!(refused.why, Unreachable::BeforeOldest { .. }), "{target}: {refused}");
                }
            }
        }
    }
    let future = past.locate(&Target::Time(WallTime::from_micros(last + 1_000_001)), false);
    let Err(LocateError::Target(refused)) = future else { panic!("{future:?}") };
    assert!(matches!(refused.why, Unreachable::Future { .. }), "{refused}");
}

#[test]
fn a_directory_that_was_restored_is_the_log_of_that_moment_and_a_node_goes_on_from_it() {
    let dir = TempDir::new().unwrap();
    let mut luck = Luck(12);
    let life = lived(dir.path(), 60, &mut luck);
    let old = life.node.actor();
    let now = life.model.last().unwrap().at + 1;
    let mut past = Past::of(dir.path(), now);
    let last = past.survey.upto.main.value();
    let targets = (3..=last).step_by(9).chain([last]).map(|lsn| Target::Lsn(Lsn::new(lsn))).chain([Target::Latest]);
    for (n, target) in targets.enumerate() {
        let located = past.locate(&target, false).unwrap();
        let into = dir.path().join(format!("side-{n}"));
        let why = target.to_string();
        side::restore(&past.source, &past.survey, &located, &into, why.clone(), WallTime::from_micros(now)).unwrap();
        let (source, expected) = (Source::open(&into).unwrap(), past.seen(located));
        let survey = Survey::of(&source).unwrap();
        assert_eq!(survey.damage, []);
        let all = survey.locate(&source, &Target::Latest, false, WallTime::from_micros(now)).unwrap();
        assert_eq!(look(&source, &survey, &all), expected, "{target}");
        assert_eq!(survey.recoveries[0].restored.why, why);

        let mut again = Life::begin(&into.join(LOG_DIR), now, Vec::new());
        assert_ne!(again.node.actor(), old, "{target}");
        again.put(&doc(1), json!({ "after": n }));
        let Outcome::Status(status) = again.ask(Command::Status) else { panic!("a status was asked for") };
        assert_eq!(status.log_restored.unwrap().lsn, located.last.lsn);
    }
    let lost = side::lost(&past.source, &past.survey, &past.locate(&Target::Lsn(Lsn::new(2)), false).unwrap()).unwrap();
    let written = life.model.iter().filter(|state| !state.docs.is_empty()).count();
    assert!(written > 0 && lost.documents_touched == 6, "{lost:?}");
    let (main, events) = (past.survey.upto.main.value() - 2, past.survey.upto.events.value());
    assert_eq!((lost.records, lost.batches), (main + events, events));
}

#[test]
fn a_moment_from_before_events_expired_is_had_back_without_them() {
    let dir = TempDir::new().unwrap();
    let log = dir.path().join(LOG_DIR);
    fs::create_dir_all(&log).unwrap();
    let retention = events::Retention { count: Some(6), ..Default::default() };
    let events = events::Config { retention, ..Default::default() };
    let config = node::Config { events, wal: wal::Config { segment_bytes: 600 }, ..Default::default() };
    let mut life = Life::with(&log, START, Vec::new(), config.clone());
    for n in 0..60 {
        life.wall += 10;
        if n % 4 == 0 { life.put(&doc(n % 3), json!({ "n": n })) } else { life.append() }
    }
    let now = life.wall + 1;
    let past = Past::of(dir.path(), now);
    let kept = past.survey.events_from;
    assert!(kept > Lsn::new(20) && past.survey.kinds["trim"] > 1, "{:?} from {kept}", past.survey.kinds);
    let mut without = 0;
    for (n, lsn) in (3..=past.survey.upto.main.value()).enumerate() {
        let located = past.locate(&Target::Lsn(Lsn::new(lsn)), false).unwrap();
        let into = dir.path().join(format!("side-{n}"));
        let why = "a test".to_owned();
        side::restore(&past.source, &past.survey, &located, &into, why, WallTime::from_micros(now)).unwrap();
        let lost = side::lost(&past.source, &past.survey, &located).unwrap();
        let mut again = Life::with(&into.join(LOG_DIR), now, Vec::new(), config.clone());
        let Outcome::Status(status) = again.ask(Command::Status) else { panic!("a status was asked for") };
        let left = located.upto.events.value().saturating_sub(kept.value() - 1);
        assert!(status.events <= left, "lsn:{lsn}: {} events of {left}", status.events);
        without += u64::from(left == 0 && located.upto.events > Lsn::ZERO && lost.expired_upto.is_some());
        let (docs, _) = look(&past.source, &past.survey, &located);
        assert_eq!(docs, state_at(&life.model, located.last.at.wall.as_micros(), false).unwrap().docs, "lsn:{lsn}");
        again.append();
    }
    assert!(without > 3, "moments of which no event is left: {without}");
}

#[test]
fn a_flipped_byte_before_the_last_record_is_named_and_nothing_behind_it_is_given() {
    let dir = TempDir::new().unwrap();
    let life = lived(dir.path(), 30, &mut Luck(13));
    let now = WallTime::from_micros(life.model.last().unwrap().at + 1);
    let source = Source::open(dir.path()).unwrap();
    let whole = Survey::of(&source).unwrap();
    let ends: Vec<_> = [source.main(None).last(), source.events(whole.begins(), None).last()]
        .into_iter()
        .map(|frame| frame.unwrap().unwrap().position)
        .collect();
    for (segment, len) in source.segments() {
        let path = source.dir().join(wal::file_name(*segment));
        let bytes = fs::read(&path).unwrap();
        for at in (0..*len).filter(|at| at % 5 == 0 || *at < 80) {
            let mut flipped = bytes.clone();
            flipped[usize::try_from(at).unwrap()] ^= 0x04;
            fs::write(&path, flipped).unwrap();
            let said = format!("byte {at} of {}", path.display());
            let in_last = ends.iter().any(|end| end.segment == *segment && at >= end.offset);
            let source = Source::open(dir.path()).unwrap();
            let survey = Survey::of(&source).unwrap();
            let [found] = &survey.damage[..] else { panic!("{said}: {:?}", survey.damage) };
            assert_eq!(found.last_write, in_last, "{said}: {}", found.what);
            assert!(found.what.contains(&wal::file_name(*segment)), "{said}: {}", found.what);
            let into = dir.path().join("side");
            match survey.locate(&source, &Target::Latest, false, now) {
                Ok(located) => {
                    assert!(in_last, "{said}");
                    assert_eq!(located.upto.main.value() + located.upto.events.value() + 1, {
                        whole.upto.main.value() + whole.upto.events.value()
                    });
                }
                Err(LocateError::Target(refused)) => {
                    assert!(!in_last && matches!(refused.why, Unreachable::Damaged { .. }), "{said}: {refused}");
                }
                Err(error) => panic!("{said}: {error}"),
            }
            assert!(!into.exists());
        }
        fs::write(&path, &bytes).unwrap();
    }
}

/// Longest life of one test.
const LIMIT: Duration = Duration::from_secs(60);

fn bounded(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(LIMIT, test).await.expect("the test took too long") });
    runtime.shutdown_background();
}

fn config(dir: &Path, name: &str, join: Option<&str>) -> Config {
    let flags = Flags::new()
        .set("test", "node.name", name)
        .set("test", "node.data-dir", dir.to_str().unwrap())
        .set("test", "api.listen", "")
        .set("test", "membership.profile", "local")
        .list("test", "network.listen", ["127.0.0.1:0"])
        .list("test", "network.join", join);
    config::parse(None, [], &flags).unwrap()
}

async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT / 2, waiting).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

async fn same(one: &Peer, two: &Peer) -> bool {
    let (one, two) = (one.status().await.unwrap().node, two.status().await.unwrap().node);
    (one.content, one.vector) == (two.content, two.vector)
}

#[test]
fn a_lost_peer_comes_back_from_a_moment_as_a_new_writer_and_is_caught_up() {
    bounded(async {
        let home = TempDir::new().unwrap();
        let [second, side] = ["second", "side"].map(|name| home.path().join(name));
        let (one, two) = pair(home.path()).await;
        two.put(doc(1), json!({ "n": 1 })).await.unwrap();
        let made = two.command(Command::Point { name: "noon".into() }).await.unwrap();
        assert!(matches!(made, Outcome::Point(_)), "{made:?}");
        two.put(doc(1), json!({ "n": 2 })).await.unwrap();
        two.put(doc(2), json!({ "n": 3 })).await.unwrap();
        until("both have it", || same(&one, &two)).await;
        let old = two.status().await.unwrap().node.actor;

        // Of the running peer, to the side.
        let source = Source::open(&second).unwrap();
        let survey = Survey::of(&source).unwrap();
        let now = oxigdal_ha::driver::Clock::start().now().wall;
        let located = survey.locate(&source, &Target::Point("noon".into()), false, now).unwrap();
        assert_eq!(
            Look::at(&source, &survey, &located).unwrap().documents("").unwrap(),
            [(doc(1), json!({ "n": 1 }))].into()
        );
        side::restore(&source, &survey, &located, &side, "point:noon".into(), now).unwrap();
        two.halt().await;

        // In the place of the lost one.
        fs::rename(second.join(LOG_DIR), second.join("lost")).unwrap();
        fs::rename(side.join(LOG_DIR), second.join(LOG_DIR)).unwrap();
        let two = Peer::start(config(&second, "second", None)).await.unwrap();
        let status = two.status().await.unwrap().node;
        assert_ne!(status.actor, old);
        assert_eq!(status.log_restored.unwrap().why, "point:noon");
        two.put(doc(3), json!({ "n": 4 })).await.unwrap();
        one.put(doc(1), json!({ "n": 5 })).await.unwrap();
        until("both have it again", || same(&one, &two)).await;
        for peer in [&one, &two] {
            let mut all = Vec::new();
            for n in 1..=3 {
                all.push(peer.get(doc(n)).await.unwrap()["n"].clone());
            }
            assert_eq!(all, [5, 3, 4]);
        }
        one.halt().await;
        two.halt().await;
    });
}

/// Two linked peers.
async fn pair(home: &Path) -> (Peer, Peer) {
    let one = Peer::start(config(&home.join("first"), "first", None)).await.unwrap();
    until("the founder listens", || async { !one.listening().is_empty() }).await;
    let invite = one.admission().issue_invite(LIMIT, "a test").unwrap().to_string();
    let two = Peer::start(config(&home.join("second"), "second", Some(&invite))).await.unwrap();
    (one, two)
}

fn named(text: &str) -> DocId {
    DocId::parse(text).unwrap()
}

async fn value(peer: &Peer, name: &str) -> Value {
    peer.get(named(name)).await.unwrap_or_default()
}

async fn pause(peer: &Peer, other: &Peer, paused: bool) {
    let pause = replication::Pause { peer: other.id(), paused };
    peer.command(Command::Pause(pause)).await.unwrap();
}

#[test]
fn documents_are_brought_back_on_the_living_mesh_and_nothing_else_moves() {
    bounded(async {
        let home = TempDir::new().unwrap();
        let (one, two) = pair(home.path()).await;
        for name in ["a/kept", "a/changed", "a/deleted", "b/other"] {
            two.put(named(name), json!({ "n": 1, "at": { "x": 1, "y": 1 } })).await.unwrap();
        }
        two.command(Command::Point { name: "noon".into() }).await.unwrap();
        for name in ["a/changed", "a/new", "a/edited", "b/other"] {
            two.put(named(name), json!({ "n": 2, "at": { "x": 2, "y": 1 } })).await.unwrap();
        }
        two.edit(named("a/deleted"), vec![Edit::Delete]).await.unwrap();
        until("both have it", || same(&one, &two)).await;

        // Somebody edits without having seen the revert.
        pause(&two, &one, true).await;
        let set = |path: &str, value| vec![Edit::Set { path: path.into(), value }];
        one.edit(named("a/changed"), set("at/y", json!(7))).await.unwrap();
        one.edit(named("a/edited"), set("n", json!(7))).await.unwrap();

        let asked =
            |dry_run| Revert { prefix: "a/".into(), at: Target::Point("noon".into()), exclusive: false, dry_run };
        let before = two.status().await.unwrap().node.content;
        let dry = two.revert(asked(true)).await.unwrap();
        assert_eq!(two.status().await.unwrap().node.content, before, "a dry run changes nothing");
        let done = two.revert(asked(false)).await.unwrap();
        assert_eq!((&dry.steps, dry.same), (&done.steps, 1));
        let told: Vec<_> = done.steps.iter().map(|step| (step.doc.to_string(), step.change)).collect();
        let expected = [
            ("a/changed", Change::PutBack),
            ("a/deleted", Change::Revived),
            ("a/edited", Change::Deleted),
            ("a/new", Change::Deleted),
        ];
        assert_eq!(told, expected.map(|(name, change)| (name.to_owned(), change)));
        assert_eq!(done.steps[0].paths, ["/at/x", "/n"]);
        assert_eq!(two.revert(asked(false)).await.unwrap().steps, [], "once");

        pause(&two, &one, false).await;
        until("both have the revert and what was concurrent", || same(&one, &two)).await;
        let then = json!({ "n": 1, "at": { "x": 1, "y": 1 } });
        for peer in [&one, &two] {
            assert_eq!(value(peer, "a/kept").await, then);
            assert_eq!(value(peer, "a/deleted").await, then);
            assert_eq!(
                value(peer, "a/changed").await,
                json!({ "n": 1, "at": { "x": 1, "y": 7 } }),
                "the other field stays"
            );
            assert_eq!(value(peer, "a/new").await, Value::Null);
            assert_eq!(value(peer, "a/edited").await["n"], 7, "what was edited meanwhile is not lost");
            assert_eq!(value(peer, "b/other").await["n"], 2, "no other prefix moves");
        }
        let never = Revert { at: Target::Point("dawn".into()), ..asked(false) };
        let refused = two.revert(never).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unreachable);
        assert!(refused.to_string().contains("point:noon"), "{refused}");
        one.halt().await;
        two.halt().await;
    });
}

/// Runs the command line; its exit code and what it said.
async fn command(api: &str, token: &Path, args: &[&str]) -> (i32, Value) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_oxigdal-ha"));
    command.args(args).arg("--json").env("OXIGDAL_HA_API", api).env("OXIGDAL_HA_TOKEN", token);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let code = output.status.code().unwrap();
    let said = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
    (code, serde_json::from_slice(said).unwrap_or_else(|_| panic!("{args:?}: {}", String::from_utf8_lossy(said))))
}

#[test]
fn the_command_line_names_restores_reverts_and_inspects() {
    bounded(async {
        let home = TempDir::new().unwrap();
        let (data, side) = (home.path().join("data"), home.path().join("side"));
        let mut config = config(&data, "one", None);
        config.api.listen = Some("127.0.0.1:0".parse().unwrap());
        let peer = Peer::start(config).await.unwrap();
        let (api, token) = (peer.api().unwrap().to_string(), data.join("api-token"));
        let run = async |args: &[&str]| command(&api, &token, args).await;
        peer.put(doc(1), json!({ "n": 1 })).await.unwrap();
        let (code, point) = run(&["restore-point", "noon"]).await;
        assert_eq!((code, &point["name"]), (0, &json!("noon")));
        assert_eq!(run(&["restore-point", "noon"]).await.1["error"]["code"], "exists");
        assert_eq!(run(&["restore-point"]).await.1, json!([point]));
        peer.put(doc(1), json!({ "n": 2 })).await.unwrap();

        let [data, side] = [&data, &side].map(|dir| dir.to_str().unwrap());
        let (code, dry) = run(&["restore", "--data", data, "--at", "point:noon", "--dry-run"]).await;
        assert_eq!((code, &dry["beyond"]["changes"], &dry["written"]), (0, &json!(1), &Value::Null));
        assert_eq!(dry["beyond"]["documents"], json!([doc(1)]));
        let (code, done) = run(&["restore", "--data", data, "--at", "point:noon", "--into", side]).await;
        assert_eq!((code, &done["located"]), (0, &dry["located"]));
        assert_eq!(run(&["restore", "--data", data, "--at", "latest", "--into", side]).await.0, 1, "not over another");
        let (code, refused) = run(&["restore", "--data", data, "--at", "lsn:999", "--into", "never"]).await;
        assert_eq!((code, &refused["error"]["code"]), (1, &json!("unreachable")));
        assert!(refused["error"]["message"].as_str().unwrap().contains("point:noon"), "{refused}");
        assert!(!Path::new("never").exists());

        let (code, seen) = run(&["log", "inspect", side]).await;
        assert_eq!((code, &seen["recoveries"][0]["restored"]["why"]), (0, &json!("point:noon")));
        let segment = Path::new(side).join(LOG_DIR).join("0000000000000001.wal");
        let mut bytes = fs::read(&segment).unwrap();
        bytes[130] ^= 1;
        fs::write(&segment, bytes).unwrap();
        let (code, seen) = run(&["log", "inspect", side]).await;
        assert_eq!(code, 1);
        assert!(seen["damage"][0]["what"].as_str().unwrap().contains("0000000000000001.wal, byte 80"), "{seen}");

        let (code, dry) = run(&["revert", "layers/", "--at", "point:noon", "--dry-run"]).await;
        assert_eq!((code, &dry["steps"][0]["paths"]), (0, &json!(["/n"])));
        assert_eq!(run(&["revert", "layers/", "--at", "point:noon"]).await.0, 0);
        assert_eq!(peer.get(doc(1)).await.unwrap(), json!({ "n": 1 }));
        assert_eq!(run(&["revert", "", "--at", "9999d"]).await.1["error"]["code"], "unreachable");
        peer.halt().await;
    });
}
