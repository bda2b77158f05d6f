//! The machine with its workers inline and a log that is a list.

mod memory;
mod met;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Body, Command, Config, Documents, Edit, Engine, Error, Event, Outcome, Stamp, Task, Timer, Token};
use crate::machine::Op;
use crate::machine::testkit::step_at;
use crate::types::{
    Actor, CommandId, DiskFault, DiskFaultKind, DocId, Hlc, LogId, Mint, NodeId, Now, Seq, Time, Topic, WallTime,
};

/// One node's documents. Tasks run, and the log answers, only when asked to.
struct Host {
    documents: Documents,
    engine: Engine,
    actor: Actor,
    tasks: VecDeque<Task>,
    originated: VecDeque<(Token, Bytes)>,
    /// Every entry that is durable here, in order.
    log: Vec<(LogId, Seq, Bytes)>,
    own: u64,
    replies: BTreeMap<CommandId, Result<Outcome, Error>>,
    events: Vec<Event>,
    rereads: Vec<(LogId, Seq)>,
    recalls: Vec<(LogId, Seq)>,
    armed: bool,
    commands: u64,
    now: Now,
}

fn id(text: &str) -> DocId {
    DocId::parse(text).unwrap()
}

fn actor(node: u128) -> Actor {
    Actor { node: NodeId::from_u128(node), mint: Mint::new(1) }
}

fn log(actor: Actor) -> LogId {
    LogId { actor, topic: Topic::DOCUMENTS }
}

fn fault() -> DiskFault {
    DiskFault { kind: DiskFaultKind::Full, what: Arc::from("write"), why: Arc::from("no space") }
}

impl Host {
    fn with(node: u128, config: Config) -> Self {
        let actor = actor(node);
        Self {
            engine: Engine::new(config.limits),
            documents: Documents::new(actor, config),
            actor,
            tasks: VecDeque::new(),
            originated: VecDeque::new(),
            log: Vec::new(),
            own: 0,
            replies: BTreeMap::new(),
            events: Vec::new(),
            rereads: Vec::new(),
            recalls: Vec::new(),
            armed: false,
            commands: 0,
            now: Now { mono: Time::ZERO, wall: WallTime::from_micros(1_000_000) },
        }
    }

    fn new(node: u128) -> Self {
        Self::with(node, Config::default())
    }

    fn take(&mut self, ops: Vec<Op<Documents>>) {
        for op in ops {
            match op {
                Op::Task(task) => self.tasks.push_back(task),
                Op::Arm(Timer::Orphans, _) => self.armed = true,
                Op::Emit(Event::Originate { token, body }) => self.originated.push_back((token, body)),
                Op::Emit(Event::Reread { log, seq }) => self.rereads.push((log, seq)),
                Op::Emit(Event::Recall { log, seq }) => self.recalls.push((log, seq)),
                Op::Emit(Event::Replied { command, result }) => {
                    assert!(self.replies.insert(command, result).is_none(), "a command is answered once");
                }
                Op::Emit(event) => self.events.push(event),
                op => panic!("{op:?}"),
            }
        }
    }

    fn command(&mut self, command: Command) -> CommandId {
        self.commands += 1;
        let id = CommandId::new(self.commands);
        let ops = step_at(self.now, |cx| self.documents.on_command(cx, id, command));
        self.take(ops);
        id
    }

    fn edit(&mut self, doc: &str, edit: Edit) -> CommandId {
        self.command(Command::Edit { doc: id(doc), edits: vec![edit], create: false })
    }

    fn put(&mut self, doc: &str, value: Value) -> CommandId {
        self.edit(doc, Edit::Put { value })
    }

    fn set(&mut self, doc: &str, path: &str, value: Value) -> CommandId {
        self.edit(doc, Edit::Set { path: path.into(), value })
    }

    fn work_one(&mut self) -> bool {
        let Some(task) = self.tasks.pop_front() else { return false };
        let done = self.engine.run(task);
        let ops = step_at(self.now, |cx| self.documents.on_done(cx, done));
        self.take(ops);
        true
    }

    fn work(&mut self) {
        while self.work_one() {}
    }

    /// The log takes what was originated.
    fn sync(&mut self) {
        while let Some((token, body)) = self.originated.pop_front() {
            self.own += 1;
            let stamp = Stamp { log: log(self.actor), seq: Seq::new(self.own), hlc: Hlc::default() };
            self.log.push((stamp.log, stamp.seq, body));
            let ops = step_at(self.now, |cx| self.documents.on_originated(cx, token, stamp));
            self.take(ops);
        }
    }

    fn settle(&mut self) {
        while !self.tasks.is_empty() || !self.originated.is_empty() {
            self.work();
            self.sync();
        }
    }

    fn deliver(&mut self, (log, seq, body): (LogId, Seq, Bytes)) {
        let ops = step_at(self.now, |cx| self.documents.on_delivered(cx, log, seq, body));
        self.take(ops);
    }

    fn reply(&self, command: CommandId) -> &Result<Outcome, Error> {
        self.replies.get(&command).expect("it is answered")
    }

    fn get(&mut self, doc: &str) -> Result<Value, Error> {
        let command = self.command(Command::Get { doc: id(doc), path: String::new() });
        self.work();
        match self.reply(command).clone()? {
            Outcome::Value { value, .. } => Ok(value),
            outcome => panic!("{outcome:?}"),
        }
    }

    /// The same node again, from its log.
    fn restarted(&self) -> Self {
        let mut host = Self::new(1);
        host.actor = self.actor;
        host.documents.mint(self.actor);
        for (log, seq, body) in &self.log {
            host.documents.restore(*log, *seq, body.clone());
        }
        (host.log, host.own) = (self.log.clone(), self.own);
        let ops = step_at(host.now, |cx| host.documents.start(cx));
        host.take(ops);
        host
    }

    fn tick(&mut self, seconds: u64) {
        self.now.mono = self.now.mono + std::time::Duration::from_secs(seconds);
        self.armed = false;
        let ops = step_at(self.now, |cx| self.documents.on_timer(cx, Timer::Orphans));
        self.take(ops);
    }

    /// Reads again from `log` what was asked for.
    fn reread(&mut self, entries: &[(LogId, Seq, Bytes)]) {
        while !self.rereads.is_empty() {
            for (log, seq) in std::mem::take(&mut self.rereads) {
                let entry = entries.iter().find(|entry| (entry.0, entry.1) == (log, seq)).expect("it is in the log");
                self.deliver(entry.clone());
            }
            self.work();
        }
    }
}

#[test]
fn an_edit_is_answered_when_it_is_durable_and_not_before() {
    let mut host = Host::new(1);
    let command = host.put("a/b", json!({"x": 1}));
    host.work();
    assert!(host.replies.is_empty() && host.events.is_empty());
    let read = host.command(Command::Get { doc: id("a/b"), path: "x".into() });
    host.work();
    assert!(host.replies.is_empty(), "a reader is not shown what the disk may take back");
    host.settle();
    let Ok(Outcome::Edited { stamp: Some(stamp), heads, .. }) = host.reply(command) else { panic!() };
    assert_eq!((stamp.seq, heads.len()), (Seq::new(1), 1));
    assert!(matches!(host.reply(read), Ok(Outcome::Value { value, .. }) if *value == json!(1)));
    let [Event::Changed { doc, exists: true, origins, .. }] = &host.events[..] else { panic!("{:?}", host.events) };
    assert_eq!((doc, origins.as_slice()), (&id("a/b"), [host.actor].as_slice()));
    assert!(!host.documents.view().busy());
}

#[test]
fn edits_gather_while_one_is_under_way() {
    let mut host = Host::new(1);
    host.put("d", json!({}));
    host.settle();
    let commands: Vec<_> = (0..250).map(|n| host.set("d", &format!("k{n}"), json!(n))).collect();
    assert_eq!(host.tasks.len(), 1, "an idle edit waits for nobody");
    host.settle();
    let stamps: Vec<u64> = commands
        .iter()
        .map(|command| match host.reply(*command) {
            Ok(Outcome::Edited { stamp: Some(stamp), .. }) => stamp.seq.value(),
            outcome => panic!("{outcome:?}"),
        })
        .collect();
    assert_eq!((stamps[0], stamps[1], stamps[100], stamps[101], stamps[249]), (2, 3, 3, 4, 5));
    assert_eq!(host.get("d").unwrap()["k249"], json!(249));
}

#[test]
fn a_change_that_the_log_refused_is_in_no_document() {
    let mut host = Host::new(1);
    host.put("d", json!({"n": 0}));
    host.settle();
    let content = host.documents.view().content();
    let failing = host.set("d", "n", json!(1));
    let after = host.set("d", "m", json!(2));
    host.work();
    let (token, _) = host.originated.pop_front().unwrap();
    let ops = step_at(host.now, |cx| host.documents.on_originate_failed(cx, token, fault()));
    host.take(ops);
    assert_eq!(host.reply(failing), &Err(Error::Disk(fault())));
    assert_eq!(host.documents.view().content(), content);
    host.settle();
    assert!(host.reply(after).is_ok());
    assert_eq!(host.get("d").unwrap(), json!({"n": 0, "m": 2}));
    let mut other = Host::new(2);
    host.log.iter().for_each(|entry| other.deliver(entry.clone()));
    other.settle();
    assert_eq!(other.get("d").unwrap(), json!({"n": 0, "m": 2}));
    assert_eq!(other.documents.view().content(), host.documents.view().content());
}

#[test]
fn a_restart_gives_the_same_documents_and_goes_on_writing() {
    let mut host = Host::new(1);
    for n in 0..20 {
        host.put(&format!("d/{}", n % 5), json!({"n": n}));
        host.settle();
    }
    host.edit("d/3", Edit::Delete);
    host.settle();
    let mut again = host.restarted();
    let scan = Command::Scan { prefix: "d/".into(), after: None, limit: 10, values: true };
    let page = again.command(scan);
    let edit = again.set("d/1", "m", json!(1));
    again.settle();
    assert!(again.reply(edit).is_ok());
    let Ok(Outcome::Page { docs, more: false }) = again.reply(page) else { panic!("{:?}", again.reply(page)) };
    let ids: Vec<_> = docs.iter().map(|listed| listed.doc.as_str()).collect();
    assert_eq!(ids, ["d/0", "d/1", "d/2", "d/4"]);
    assert_eq!(again.documents.view().count(), 4);
    assert_eq!(again.documents.view().docs().count(), 5);
    host.set("d/1", "m", json!(1));
    host.settle();
    assert_eq!(host.documents.view().content(), again.documents.view().content());
}

#[test]
fn pages_go_on_where_the_last_one_ended() {
    let mut host = Host::new(1);
    for name in ["a", "layers/a", "layers/b", "layers/c/d", "layers0", "m"] {
        host.put(name, json!({"name": name}));
    }
    host.settle();
    let mut scan = |prefix: &str, after: Option<&str>, limit| {
        let after = after.map(id);
        let command = host.command(Command::Scan { prefix: prefix.into(), after, limit, values: true });
        host.work();
        let Ok(Outcome::Page { docs, more }) = host.reply(command).clone() else { panic!() };
        for listed in &docs {
            assert_eq!(listed.value, Some(json!({"name": listed.doc.as_str()})));
        }
        (docs.into_iter().map(|listed| listed.doc.as_str().to_owned()).collect::<Vec<_>>(), more)
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(scan("", None, 100), (names(&["a", "layers/a", "layers/b", "layers/c/d", "layers0", "m"]), false));
    assert_eq!(scan("layers/", None, 2), (names(&["layers/a", "layers/b"]), true));
    assert_eq!(scan("layers/", Some("layers/b"), 2), (names(&["layers/c/d"]), false));
    assert_eq!(scan("zzz", None, 2), (names(&[]), false));
}

#[test]
fn a_page_is_bounded_in_bytes() {
    let mut host = Host::with(1, Config { page_bytes: 100_000, ..Config::default() });
    for n in 0..100 {
        host.put(&format!("d/{n:03}"), json!({"x": "x".repeat(10_000)}));
    }
    host.settle();
    let command = host.command(Command::Scan { prefix: String::new(), after: None, limit: 100, values: true });
    host.work();
    let Ok(Outcome::Page { docs, more: true }) = host.reply(command) else { panic!() };
    assert!((10..=30).contains(&docs.len()), "{}", docs.len());
    assert!(docs.iter().enumerate().all(|(n, listed)| listed.doc == id(&format!("d/{n:03}"))), "no gaps");
}

#[test]
fn too_many_commands_are_told_to_come_again() {
    let mut host = Host::with(1, Config { waiting_max: 3, ..Config::default() });
    let commands: Vec<_> = (0..4).map(|n| host.put("d", json!({"n": n}))).collect();
    assert_eq!(host.reply(commands[3]), &Err(Error::Busy { waiting: 3, max: 3 }));
    host.settle();
    assert!(commands[..3].iter().all(|command| host.reply(*command).is_ok()));
    assert!(host.put("d", json!({})) > commands[3]);
}

/// Three writers who take turns on one document: each change follows the one before, of another log.
fn chain(len: usize) -> Vec<(LogId, Seq, Bytes)> {
    let mut hosts: Vec<Host> = (1..=3).map(Host::new).collect();
    let mut entries = Vec::new();
    for n in 0..len {
        let writer = &mut hosts[n % 3];
        if n == 0 {
            writer.put("d", json!({}))
        } else {
            writer.set("d", &format!("k{n}"), json!(n))
        };
        writer.settle();
        let entry = writer.log.pop().unwrap();
        for (at, host) in hosts.iter_mut().enumerate() {
            if at != n % 3 {
                host.deliver(entry.clone());
                host.settle();
            }
        }
        entries.push(entry);
    }
    entries
}

/// Each log in its order, but one whole log after the other, in this order.
fn by_log(entries: &[(LogId, Seq, Bytes)], order: [u128; 3]) -> Vec<(LogId, Seq, Bytes)> {
    order
        .into_iter()
        .flat_map(|node| entries.iter().filter(move |entry| entry.0 == log(actor(node))).cloned())
        .collect()
}

#[test]
fn changes_wait_for_others_and_the_order_of_logs_does_not_matter() {
    let entries = chain(30);
    let mut contents = Vec::new();
    for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1]] {
        let mut host = Host::new(9);
        for (at, entry) in by_log(&entries, order).into_iter().enumerate() {
            host.deliver(entry);
            if at % 3 == 0 {
                host.work();
            }
        }
        host.settle();
        assert_eq!((host.documents.view().orphans(), host.documents.view().refused()), (0, 0));
        assert_eq!(host.get("d").unwrap().as_object().unwrap().len(), 29);
        contents.push(host.documents.view().content());
    }
    assert!(contents.iter().all(|content| *content == contents[0]));
}

#[test]
fn a_full_pool_gives_up_bytes_and_loses_nothing() {
    let entries = chain(60);
    let config = Config { orphans_max: 3, ..Config::default() };
    let mut host = Host::with(9, config);
    for entry in by_log(&entries, [3, 2, 1]) {
        host.deliver(entry);
        host.work();
        assert!(host.documents.pool.in_memory() <= 3);
    }
    host.reread(&entries);
    assert_eq!(host.get("d").unwrap().as_object().unwrap().len(), 59);
    assert_eq!((host.documents.view().orphans(), host.documents.view().refused()), (0, 0));
    assert!(!host.documents.view().busy());
}

#[test]
fn what_waits_comes_again_when_its_entries_got_another_name() {
    let entries = chain(60);
    for (orphans_max, from, at_work) in [(3, 1, false), (1_000, 5, false), (3, 5, true), (1_000, 1, true)] {
        let mut host = Host::with(9, Config { orphans_max, ..Config::default() });
        let (rest, waiting): (Vec<_>, Vec<_>) =
            entries.iter().cloned().partition(|(log, ..)| *log == self::log(actor(1)));
        for entry in &waiting {
            host.deliver(entry.clone());
            if !at_work {
                host.work();
            }
        }
        let ops = step_at(host.now, |cx| host.documents.give_way(cx, log(actor(2)), Seq::new(from)));
        host.take(ops);
        host.work();
        let rename = |(log, seq, body): &(LogId, Seq, Bytes)| match seq.value().checked_sub(from) {
            Some(behind) if *log == self::log(actor(2)) => {
                let actor = Actor { mint: Mint::new(7), ..log.actor };
                (self::log(actor), Seq::new(behind + 1), body.clone())
            }
            _ => (*log, *seq, body.clone()),
        };
        let renamed: Vec<_> = entries.iter().map(rename).collect();
        let moved = renamed.iter().filter(|(log, ..)| log.actor.mint == Mint::new(7));
        moved.for_each(|entry| host.deliver(entry.clone()));
        rest.into_iter().for_each(|entry| host.deliver(entry));
        host.work();
        host.rereads.retain(|(log, seq)| *log != self::log(actor(2)) || seq.value() < from);
        host.reread(&renamed);
        assert_eq!(host.get("d").unwrap().as_object().unwrap().len(), 59);
        assert_eq!((host.documents.view().orphans(), host.documents.view().refused()), (0, 0));
        assert!(!host.documents.view().busy());
    }
}

#[test]
fn what_waits_for_long_gives_up_its_bytes_and_comes_again() {
    let entries = chain(12);
    let mut host = Host::new(9);
    for entry in by_log(&entries, [3, 2, 1]).into_iter().filter(|entry| *entry != entries[0]) {
        host.deliver(entry);
        host.work();
    }
    assert_eq!(host.documents.view().orphans(), 11);
    assert!(host.armed);
    host.tick(601);
    assert_eq!(host.documents.view().orphans(), 11);
    host.deliver(entries[0].clone());
    host.work();
    assert!(!host.rereads.is_empty());
    let lost = std::mem::take(&mut host.rereads);
    host.tick(10);
    assert_eq!(host.rereads, lost, "what did not come is asked for again");
    host.reread(&entries);
    assert_eq!(host.get("d").unwrap().as_object().unwrap().len(), 11);
    assert_eq!(host.documents.view().orphans(), 0);
}

#[test]
fn a_full_inbox_leaves_entries_in_the_log() {
    let mut writer = Host::new(1);
    for n in 0..50 {
        writer.put(&format!("d/{n}"), json!({"x": "x".repeat(1_000)}));
    }
    writer.settle();
    let mut host = Host::with(2, Config { inbox_bytes: 8_000, ..Config::default() });
    for entry in &writer.log {
        host.deliver(entry.clone());
    }
    assert!(host.documents.inbox_bytes < 10_000);
    host.work();
    host.reread(&writer.log);
    assert_eq!(host.documents.view().content(), writer.documents.view().content());
    assert_eq!(host.documents.view().orphans(), 0);
}

#[test]
fn what_follows_a_refused_change_is_refused() {
    let entries = chain(9);
    let Body { doc, change } =
        bincode::decode_from_slice::<Body, _>(&entries[1].2, bincode::config::standard()).unwrap().0;
    let mut host = Host::new(9);
    for entry in by_log(&entries, [3, 1, 2]).into_iter().filter(|entry| *entry != entries[1]) {
        host.deliver(entry);
    }
    host.work();
    // The second writer's first change comes with a flaw that its checksum covers: its hash is another, so nobody follows it.
    let mut flawed = change.clone();
    *flawed.last_mut().unwrap() ^= 1;
    let body = bincode::encode_to_vec(Body { doc, change: flawed }, bincode::config::standard()).unwrap();
    host.deliver((entries[1].0, entries[1].1, body.into()));
    host.work();
    assert_eq!(host.documents.view().refused(), 1);
    assert!(matches!(&host.events[..], [.., Event::Refused { seq, .. }] if *seq == entries[1].1));
    assert_eq!(host.documents.view().orphans(), 7, "the others wait for the change that they follow");
    host.deliver((entries[1].0, entries[1].1.next(), Bytes::from_static(b"no entry")));
    assert_eq!(host.documents.view().refused(), 2);
}

#[test]
fn a_new_actor_makes_the_edit_again_that_a_worker_was_at() {
    let mut host = Host::new(1);
    host.put("d", json!({"n": 0}));
    host.settle();
    let command = host.set("d", "n", json!(1));
    host.actor.mint = Mint::new(2);
    host.documents.mint(host.actor);
    host.own = 0;
    host.settle();
    let Ok(Outcome::Edited { stamp: Some(stamp), .. }) = host.reply(command) else { panic!() };
    assert_eq!(stamp.log.actor, host.actor);
    let mut other = Host::new(2);
    host.log.iter().for_each(|entry| other.deliver(entry.clone()));
    other.settle();
    assert_eq!((other.get("d").unwrap(), other.documents.view().refused()), (json!({"n": 1}), 0));
}

#[test]
fn an_edit_under_a_name_that_has_two_branches_waits_for_another_name() {
    let (mut host, mut other) = (Host::new(1), Host::new(1));
    host.put("d", json!({"one": 1}));
    other.put("d", json!({"other": 1}));
    host.settle();
    other.settle();
    // What another life of ours wrote comes from a log of its own.
    let elsewhere = log(Actor { mint: Mint::new(9), ..actor(1) });
    let (_, seq, body) = other.log[0].clone();
    host.deliver((elsewhere, seq, body));
    host.settle();
    let edit = host.set("d", "two", json!(2));
    host.work_one();
    let parted = Event::Parted { actor: actor(1) };
    assert_eq!(host.events.iter().filter(|event| **event == parted).count(), 1);
    host.actor = Actor { mint: Mint::new(2), ..actor(1) };
    host.own = 0;
    host.documents.mint(host.actor);
    host.settle();
    assert!(host.reply(edit).is_ok(), "{:?}", host.reply(edit));
    assert_eq!(host.get("d").unwrap(), json!({"one": 1, "other": 1, "two": 2}));
}

#[test]
fn a_body_keeps_its_bytes() {
    let body = Body { doc: id("a/b"), change: vec![1, 2, 3] };
    let bytes = bincode::encode_to_vec(&body, bincode::config::standard()).unwrap();
    assert_eq!(bytes, [3, b'a', b'/', b'b', 3, 1, 2, 3]);
    assert_eq!(bincode::decode_from_slice(&bytes, bincode::config::standard()).unwrap(), (body, bytes.len()));
}
