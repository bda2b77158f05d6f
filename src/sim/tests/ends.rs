//! Every place at which a life may end: before and after each write, each sync and each removal, in each way a disk loses
//! what was not durable, and again at every place of the recovery from that, and of the recovery from that one.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::documents::{self, Edit, Engine, Limits};
use crate::events;
use crate::membership::Meta;
use crate::node::{
    self, Boot, BootReport, Command, Effect, Identity, Input, Io, IoOutcome, Node, Outcome, Progress, Setup,
};
use crate::sim::disk::{Disk, Model, Stop};
use crate::sim::luck::{Luck, Stream};
use crate::types::{ClusterId, CommandId, DocId, NodeId, Now, Time, WallTime};
use crate::wal;

const ME: NodeId = NodeId::from_u128(7);
/// Commands that are on their way at the same time, so that one sync serves several.
const TOGETHER: usize = 3;

/// The place was reached at which this life ends.
#[derive(Debug)]
struct Over;

/// One life on a disk.
struct Life {
    disk: Disk,
    engine: Engine,
    inputs: VecDeque<Input>,
    /// How many more places are passed.
    left: usize,
    passed: usize,
    replies: Vec<(CommandId, Result<Outcome, node::CommandError>)>,
    at: u64,
}

impl Life {
    fn on(disk: Disk, left: usize, at: u64) -> Self {
        let (engine, inputs) = (Engine::new(Limits::default()), VecDeque::new());
        Self { disk, engine, inputs, left, passed: 0, replies: Vec::new(), at }
    }

    /// A place at which it may end.
    fn place(&mut self) -> Result<(), Over> {
        self.passed += 1;
        self.left = self.left.checked_sub(1).ok_or(Over)?;
        Ok(())
    }

    fn now(&mut self) -> Now {
        self.at += 1_000;
        Now { mono: Time::from_nanos(self.at * 1_000), wall: WallTime::from_micros(1_700_000_000_000_000 + self.at) }
    }

    fn boot(&mut self) -> Result<(Node, BootReport), Over> {
        let mut boot = Box::new(Boot::start(Setup {
            identity: Identity { node: ME, cluster: ClusterId::from_bytes([7; 32]) },
            seed: [u8::try_from(self.at % 251).unwrap(); 32],
            meta: Meta { name: "me".into(), ..Meta::default() },
            config: node::Config { wal: wal::Config { segment_bytes: 700 }, ..Default::default() },
            founds: false,
        }));
        let mut syncs = false;
        loop {
            while let Some(effect) = boot.poll_effect() {
                syncs |= self.perform(effect)?;
            }
            if self.inputs.is_empty() && std::mem::take(&mut syncs) {
                self.sync()?;
            }
            let now = self.now();
            match boot.handle(now, self.inputs.pop_front().expect("a boot that waits was answered")) {
                Progress::Booting(more) => boot = more,
                Progress::Ready(node, report) => return Ok((*node, report)),
                Progress::Refused(error) => panic!("{error}"),
            }
        }
    }

    /// Until nothing is left to do.
    fn settle(&mut self, node: &mut Node) -> Result<(), Over> {
        let mut syncs = false;
        loop {
            while let Some(effect) = node.poll_effect() {
                syncs |= self.perform(effect)?;
            }
            if self.inputs.is_empty() && std::mem::take(&mut syncs) {
                self.sync()?;
            }
            let now = self.now();
            let Some(input) = self.inputs.pop_front() else { return Ok(()) };
            node.handle(now, input);
        }
    }

    /// Whether it waits for a sync.
    fn perform(&mut self, effect: Effect) -> Result<bool, Over> {
        match effect {
            Effect::Persist { id, segment, offset, bytes } => {
                self.place()?;
                self.disk.write(id, segment, offset, &bytes).unwrap();
                self.place()?;
                return Ok(true);
            }
            Effect::Io { id, op } => {
                let outcome = match op {
                    Io::List => IoOutcome::Listed(self.disk.list()),
                    Io::Read { segment, offset, len } => IoOutcome::Read(self.disk.read(segment, offset, len).unwrap()),
                    Io::Truncate { segment, len } => {
                        self.place()?;
                        self.disk.truncate(segment, len).unwrap();
                        self.place()?;
                        IoOutcome::Truncated
                    }
                    Io::Reopen { .. } => unreachable!("there is room"),
                };
                self.inputs.push_back(Input::IoDone { id, result: Ok(outcome) });
            }
            Effect::Task { id, task } => {
                let done = self.engine.run(task);
                self.inputs.push_back(Input::TaskDone { id, done });
            }
            Effect::Reply { id, result } => self.replies.push((id, result)),
            _ => {}
        }
        Ok(false)
    }

    fn sync(&mut self) -> Result<(), Over> {
        assert!(self.disk.start_sync(), "something waits");
        self.place()?;
        let answers = self.disk.finish_sync();
        self.place()?;
        self.inputs.extend(answers.into_iter().map(|(id, result)| Input::Persisted { id, result }));
        Ok(())
    }

    fn ask(&mut self, node: &mut Node, id: u64, command: Command) -> Result<(), Over> {
        let now = self.now();
        node.handle(now, Input::Command { id: CommandId::new(id), command });
        while let Some(effect) = node.poll_effect() {
            // It is synced with what comes together with it.
            self.perform(effect)?;
        }
        Ok(())
    }

    /// What the commands from `first` on do, some at a time, to the end or to the place.
    fn work(&mut self, node: &mut Node, first: u64, count: u64) -> Result<(), Over> {
        self.flush(node)?;
        let all: Vec<u64> = (first..first + count).collect();
        for together in all.chunks(TOGETHER) {
            for n in together {
                self.ask(node, *n, command(*n))?;
            }
            self.flush(node)?;
        }
        Ok(())
    }

    fn flush(&mut self, node: &mut Node) -> Result<(), Over> {
        loop {
            if self.disk.open_writes() > 0 && self.inputs.is_empty() {
                self.sync()?;
            }
            self.settle(node)?;
            if self.disk.open_writes() == 0 {
                return Ok(());
            }
        }
    }

    /// Which commands' work is there.
    fn found(&mut self, node: &mut Node) -> BTreeSet<u64> {
        self.flush(node).unwrap();
        for doc in (0..DOCS).chain(AFTER..AFTER + DOCS) {
            let get = documents::Command::Get { doc: name(doc), path: String::new() };
            self.ask(node, 10_000 + doc, Command::Documents(get)).unwrap();
        }
        let stream = events::Name::parse("sensors/roof").unwrap();
        let read = events::Command::Read { stream, from: events::Begin::Start, limit: 1_000, upto: None };
        self.ask(node, 20_000, Command::Events(read)).unwrap();
        self.flush(node).unwrap();
        let mut found = BTreeSet::new();
        for (_, reply) in std::mem::take(&mut self.replies) {
            match reply {
                Ok(Outcome::Documents(documents::Outcome::Value { value: Value::Object(value), .. })) => {
                    found.extend(value.keys().map(|key| key.parse::<u64>().unwrap()));
                }
                Ok(Outcome::Events(events::Outcome::Page(page))) => {
                    let numbers =
                        page.events.iter().map(|item| std::str::from_utf8(&item.body).unwrap().parse::<u64>());
                    found.extend(numbers.map(Result::unwrap));
                }
                // A document that is not there has nothing.
                Err(node::CommandError::Documents(documents::Error::NotFound { .. })) => {}
                other => panic!("{other:?}"),
            }
        }
        found
    }

    /// The commands that were acknowledged.
    fn acknowledged(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.replies).into_iter().map(|(id, reply)| reply.map(|_| id.value()).unwrap()).collect()
    }
}

const DOCS: u64 = 3;
/// Number of the first command after a recovery.
const AFTER: u64 = 100;

fn name(doc: u64) -> DocId {
    DocId::parse(&format!("layers/places/{doc}")).unwrap()
}

/// Each leaves its number: three documents and a stream in turn.
fn command(n: u64) -> Command {
    if n % 4 == 3 {
        let stream = events::Name::parse("sensors/roof").unwrap();
        return Command::Events(events::Command::Append { stream, events: vec![Bytes::from(n.to_string())] });
    }
    let (first, n_text) = (n.checked_sub(AFTER).unwrap_or(n) < 4, n.to_string());
    let (doc, edit) = match first {
        true => (n, Edit::Put { value: json!({ n_text: n }) }),
        false => (n % 4, Edit::Set { path: format!("/{n}"), value: json!(n) }),
    };
    Command::Documents(documents::Command::Edit { doc: name(doc), edits: vec![edit], create: false })
}

/// How the process ended, and what the disk made of it.
#[derive(Clone, Copy, Debug)]
struct End(Stop, Model, u64);

impl End {
    /// What is left.
    fn of(self, mut disk: Disk) -> Disk {
        let Self(stop, model, seed) = self;
        disk.stop(stop, model, 500_000, luck(seed), 0, 0);
        disk
    }
}

fn luck(seed: u64) -> Stream {
    Luck::new(seed, "ends").stream("stop")
}

fn ends() -> Vec<End> {
    let models = [Model::Prefix, Model::Page, Model::Subset];
    let power = models.into_iter().flat_map(|model| (0..4).map(move |seed| End(Stop::PowerLoss, model, seed)));
    power.chain((0..2).map(|seed| End(Stop::Crash, Model::Prefix, seed))).collect()
}

const COMMANDS: u64 = 16;

/// A life of so many places: its disk and what it had acknowledged then; `None` if it came to its end before.
fn lived(left: usize) -> Option<(Disk, BTreeSet<u64>)> {
    let mut life = Life::on(Disk::new(None), left, 0);
    let over = life.boot().and_then(|(mut node, _)| life.work(&mut node, 0, COMMANDS)).is_err();
    over.then(|| (life.disk.clone(), life.acknowledged()))
}

/// What a node finds on this disk, and again after it has written more; and whether a damaged end was cut.
fn recovered(disk: Disk, at: u64) -> (BTreeSet<u64>, bool) {
    let mut life = Life::on(disk, usize::MAX, at);
    let (mut node, BootReport { cut, .. }) = life.boot().unwrap();
    let found = life.found(&mut node);
    life.work(&mut node, AFTER, 4).unwrap();
    let more = life.acknowledged();
    assert_eq!(more.len(), 4);
    let mut again = Life::on(End(Stop::PowerLoss, Model::Subset, 0).of(life.disk), usize::MAX, at + 1_000_000);
    let (mut node, report) = again.boot().unwrap();
    assert_eq!(report.cut, None);
    assert_eq!(again.found(&mut node), &found | &more);
    (found, cut.is_some())
}

fn check(found: &BTreeSet<u64>, acknowledged: &BTreeSet<u64>, said: &dyn std::fmt::Debug) {
    assert!(found.is_superset(acknowledged), "{said:?}: {acknowledged:?} were acknowledged, {found:?} are there");
    assert!(found.iter().all(|n| *n < COMMANDS), "{said:?}: {found:?}");
}

#[test]
fn wherever_a_life_ends_nothing_acknowledged_is_lost() {
    let mut places = 0;
    let (mut more, mut equal, mut cuts) = (0, 0, 0);
    while let Some((disk, acknowledged)) = lived(places) {
        for end in ends() {
            let (found, cut) = recovered(end.of(disk.clone()), 1_000_000);
            check(&found, &acknowledged, &(places, end));
            more += usize::from(found.len() > acknowledged.len());
            equal += usize::from(found.len() == acknowledged.len());
            cuts += usize::from(cut);
        }
        places += 1;
    }
    assert!(places > 40 && more > 100 && equal > 100 && cuts > 10, "{places} places: {more}, {equal}, {cuts} cut");
}

#[test]
fn wherever_a_recovery_ends_the_next_one_finds_the_same_or_more() {
    let (mut places, mut recoveries) = (0, 0);
    while let Some((disk, acknowledged)) = lived(places) {
        for end in [End(Stop::PowerLoss, Model::Subset, 1), End(Stop::PowerLoss, Model::Prefix, 2)] {
            let disk = end.of(disk.clone());
            let (mut least, _) = recovered(disk.clone(), 1_000_000);
            check(&least, &acknowledged, &(places, end));
            for first in 0.. {
                let mut life = Life::on(disk.clone(), first, 2_000_000);
                if life.boot().is_ok() {
                    break;
                }
                let left = end.of(life.disk);
                for second in (first % 2..).step_by(2) {
                    let mut life = Life::on(left.clone(), second, 3_000_000);
                    if life.boot().is_ok() {
                        break;
                    }
                    let (found, _) = recovered(end.of(life.disk), 4_000_000);
                    // What the first recovery read is durable since, or was read from the disk in the first place.
                    assert_eq!(found, least, "{places}, {first}, {second}, {end:?}");
                    recoveries += 1;
                }
                (least, _) = recovered(left, 4_000_000);
            }
        }
        places += 3;
    }
    assert!(recoveries > 150, "{recoveries}");
}
