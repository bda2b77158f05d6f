//! Documents that are given up when there are too many bytes, and read back from the log.

use serde_json::json;

use super::*;
use crate::documents::Limits;

/// So little memory that a document stays only while it is worked on.
fn none() -> Config {
    Config { memory_bytes: 0, ..Config::default() }
}

impl Host {
    /// Reads back from the log what was asked for; what is in `broken` cannot be read.
    pub(super) fn recall(&mut self, broken: &[(LogId, Seq)]) {
        while !self.recalls.is_empty() || !self.tasks.is_empty() {
            for place in std::mem::take(&mut self.recalls) {
                let body = self.log.iter().find(|entry| (entry.0, entry.1) == place).map(|entry| entry.2.clone());
                let body = body.filter(|_| !broken.contains(&place)).ok_or_else(fault);
                let ops = step_at(self.now, |cx| self.documents.on_recalled(cx, place.0, place.1, body));
                self.take(ops);
            }
            self.settle();
        }
    }

    /// An entry of another node becomes durable here.
    pub(super) fn arrive(&mut self, entry: (LogId, Seq, Bytes)) {
        self.log.push(entry.clone());
        self.deliver(entry);
    }

    /// A log's entries from this place on get other names, and are not held under the old ones any more.
    fn lose(&mut self, of: LogId, from: u64) {
        let ops = step_at(self.now, |cx| self.documents.give_way(cx, of, Seq::new(from)));
        self.take(ops);
        self.log.retain(|(log, seq, _)| *log != of || seq.value() < from);
    }

    fn read(&mut self, doc: &str) -> Result<Value, Error> {
        let command = self.command(Command::Get { doc: id(doc), path: String::new() });
        self.recall(&[]);
        match self.reply(command).clone()? {
            Outcome::Value { value, .. } => Ok(value),
            outcome => panic!("{outcome:?}"),
        }
    }

    fn held(&self) -> usize {
        self.documents.view().memory().documents
    }
}

#[test]
fn what_was_given_up_is_read_back_when_it_is_needed() {
    let mut host = Host::with(1, none());
    for doc in ["a", "b", "c"] {
        host.put(doc, json!({"is": doc}));
        host.settle();
        host.set(doc, "n", json!(1));
        host.recall(&[]);
    }
    let content = host.documents.view().content();
    assert_eq!((host.held(), host.documents.view().count()), (0, 3));
    assert_eq!(host.read("b").unwrap(), json!({"is": "b", "n": 1}));
    host.set("b", "n", json!(2));
    host.recall(&[]);
    assert_ne!(host.documents.view().content(), content);
    assert_eq!(host.read("b").unwrap(), json!({"is": "b", "n": 2}));
    let usage = host.documents.view().memory();
    assert_eq!((usage.documents, usage.bytes, usage.restored), (0, 0, 6));
    let mut again = host.restarted();
    again.settle();
    assert_eq!(again.documents.view().content(), host.documents.view().content());
}

#[test]
fn the_one_that_was_not_used_for_longest_goes_first() {
    let mut host = Host::new(1);
    for doc in ["a", "b", "c"] {
        host.put(doc, json!({"is": doc}));
        host.settle();
    }
    let usage = host.documents.view().memory();
    assert_eq!((usage.documents, usage.evicted), (3, 0));
    host.get("a").unwrap();
    host.documents.config.memory_bytes = usage.bytes - 1;
    host.get("a").unwrap();
    let away = ["a", "b", "c"].map(|doc| host.documents.is_away(&id(doc)));
    assert_eq!(away, [false, true, false]);
}

#[test]
fn what_comes_for_a_document_that_is_away_is_applied_when_it_is_back() {
    let mut other = Host::new(2);
    other.put("d", json!({"x": 1}));
    other.settle();
    other.set("d", "x", json!(2));
    other.settle();
    let mut host = Host::with(1, none());
    host.arrive(other.log[0].clone());
    host.settle();
    assert_eq!(host.held(), 0);
    host.arrive(other.log[1].clone());
    host.recall(&[]);
    assert_eq!(host.documents.view().content(), other.documents.view().content());
    // It was applied: that shows by its place, and nothing needs to be read.
    host.deliver(other.log[1].clone());
    assert!(host.recalls.is_empty() && host.tasks.is_empty() && !host.documents.view().busy());
}

#[test]
fn what_cannot_be_read_back_is_an_error_and_is_tried_again() {
    let mut other = Host::new(2);
    for n in 0..3 {
        other.put("d", json!({"x": n}));
        other.settle();
    }
    let mut host = Host::with(1, none());
    host.arrive(other.log[0].clone());
    host.settle();
    let first = (other.log[0].0, other.log[0].1);
    let commands = [
        host.command(Command::Get { doc: id("d"), path: String::new() }),
        host.command(Command::History { doc: id("d") }),
        host.command(Command::Scan { prefix: String::new(), after: None, limit: 10, values: true }),
        host.set("d", "y", json!(1)),
    ];
    host.recall(&[first]);
    for command in commands {
        let unreadable = Error::Unreadable { doc: id("d"), why: fault().to_string() };
        assert_eq!(host.reply(command), &Err(unreadable));
    }
    assert!(!host.documents.view().busy());
    host.arrive(other.log[1].clone());
    host.recall(&[first]);
    assert!(host.documents.view().busy() && host.armed, "what was delivered waits");
    host.tick(10);
    host.recall(&[]);
    assert!(!host.documents.view().busy());
    assert_eq!(host.read("d").unwrap(), json!({"x": 1}));
}

#[test]
fn entries_that_got_other_names_are_found_under_them() {
    let mut other = Host::new(2);
    for n in 0..4 {
        other.put("d", json!({"x": n}));
        other.settle();
    }
    let moved = LogId { actor: Actor { mint: Mint::new(9), ..actor(2) }, ..log(actor(2)) };
    let entry = |n: usize| (moved, Seq::new(n as u64 - 1), other.log[n].2.clone());
    // Number 2 had come under its new name before; number 3 comes again.
    for away in [false, true] {
        let mut host = Host::with(1, if away { none() } else { Config::default() });
        other.log.iter().for_each(|entry| host.arrive(entry.clone()));
        host.recall(&[]);
        host.arrive(entry(2));
        host.recall(&[]);
        let ops = step_at(host.now, |cx| host.documents.give_way(cx, log(actor(2)), Seq::new(3)));
        host.take(ops);
        host.log.retain(|(of, seq, _)| *of != log(actor(2)) || *seq < Seq::new(3));
        host.arrive(entry(3));
        host.recall(&[]);
        host.documents.config.memory_bytes = 0;
        host.settle();
        assert_eq!(host.read("d").unwrap(), json!({"x": 3}));
        assert_eq!(host.read("d").unwrap(), json!({"x": 3}));
        assert_eq!(host.documents.view().content(), other.documents.view().content());
        assert_eq!(host.held(), 1, "whether all of it has another place is known at the next start");
    }
}

#[test]
fn what_follows_an_entry_that_got_another_name_waits_for_it() {
    let (mut other, mut third) = (Host::new(2), Host::new(3));
    for n in 0..2 {
        other.put("d", json!({"x": n}));
        other.settle();
    }
    other.log.clone().into_iter().for_each(|entry| third.deliver(entry));
    third.settle();
    third.set("d", "y", json!(1));
    third.settle();
    let mut host = Host::with(1, none());
    other.log.iter().chain(&third.log).for_each(|entry| host.arrive(entry.clone()));
    host.recall(&[]);
    let ops = step_at(host.now, |cx| host.documents.give_way(cx, log(actor(2)), Seq::new(2)));
    host.take(ops);
    let moved = LogId { actor: Actor { mint: Mint::new(9), ..actor(2) }, ..log(actor(2)) };
    assert_eq!(host.read("d").unwrap(), json!({"x": 0}));
    host.arrive((moved, Seq::new(1), other.log[1].2.clone()));
    host.recall(&[]);
    assert_eq!(host.read("d").unwrap(), json!({"x": 1, "y": 1}));
    assert_eq!(host.documents.view().content(), third.documents.view().content());
}

#[test]
fn a_document_on_its_way_back_does_not_wait_for_entries_that_got_other_names() {
    let mut other = Host::new(2);
    for n in 0..3 {
        other.put("d", json!({"x": n}));
        other.settle();
    }
    let mut host = Host::with(1, none());
    other.log.iter().for_each(|entry| host.arrive(entry.clone()));
    host.recall(&[]);
    let command = host.command(Command::Get { doc: id("d"), path: String::new() });
    assert_eq!(host.recalls.len(), 3);
    let ops = step_at(host.now, |cx| host.documents.give_way(cx, log(actor(2)), Seq::new(2)));
    host.take(ops);
    host.recall(&[(log(actor(2)), Seq::new(2)), (log(actor(2)), Seq::new(3))]);
    assert!(host.reply(command).is_ok());
}

#[test]
fn what_got_another_name_while_a_worker_read_it_back_does_not_wait_under_the_old_one() {
    let (mut other, mut third) = (Host::new(2), Host::new(3));
    for n in 0..2 {
        other.put("d", json!({"x": n}));
        other.settle();
    }
    other.log.clone().into_iter().for_each(|entry| third.deliver(entry));
    third.settle();
    third.set("d", "y", json!(1));
    third.settle();
    let mut host = Host::with(1, none());
    other.log.iter().chain(&third.log).for_each(|entry| host.arrive(entry.clone()));
    host.recall(&[]);
    host.lose(log(actor(2)), 2);
    let command = host.command(Command::Get { doc: id("d"), path: String::new() });
    for (log, seq) in std::mem::take(&mut host.recalls) {
        let body = host.log.iter().find(|entry| (entry.0, entry.1) == (log, seq)).map(|entry| entry.2.clone()).unwrap();
        let ops = step_at(host.now, |cx| host.documents.on_recalled(cx, log, seq, Ok(body)));
        host.take(ops);
    }
    assert!(matches!(host.tasks.back(), Some(Task::Restore { .. })));
    host.lose(log(actor(3)), 1);
    host.recall(&[]);
    assert!(host.reply(command).is_ok());
    for (node, body) in [(2, &other.log[1].2), (3, &third.log[0].2)] {
        let moved = LogId { actor: Actor { mint: Mint::new(9), ..actor(node) }, ..log(actor(node)) };
        host.arrive((moved, Seq::new(1), body.clone()));
        host.recall(&[]);
    }
    for _ in 0..2 {
        assert_eq!(host.read("d"), Ok(json!({"x": 1, "y": 1})));
    }
    assert_eq!((host.documents.view().orphans(), host.documents.view().busy()), (0, false));
    assert_eq!(host.documents.view().content(), third.documents.view().content());
}

#[test]
fn what_got_another_name_while_the_log_was_read_is_built_from_its_new_place() {
    let mut other = Host::new(2);
    for n in 0..2 {
        other.put("d", json!({"x": n}));
        other.settle();
    }
    // Before all of the log is read, or when that waits for the document.
    for read in [1, 2] {
        let mut host = Host::with(1, none());
        other.log.iter().for_each(|entry| host.arrive(entry.clone()));
        host.recall(&[]);
        let all = vec![(log(actor(2)), Seq::new(2))];
        let ops = step_at(host.now, |cx| host.documents.rebuild(cx, &[id("d")], &[], all));
        host.take(ops);
        other.log.iter().rev().take(read).for_each(|entry| host.deliver(entry.clone()));
        host.lose(log(actor(2)), 2);
        other.log.iter().rev().skip(read).for_each(|entry| host.deliver(entry.clone()));
        host.recall(&[(log(actor(2)), Seq::new(2))]);
        let moved = LogId { actor: Actor { mint: Mint::new(9), ..actor(2) }, ..log(actor(2)) };
        host.arrive((moved, Seq::new(1), other.log[1].2.clone()));
        host.recall(&[]);
        for _ in 0..2 {
            assert_eq!(host.read("d"), Ok(json!({"x": 1})), "{read} read");
        }
        assert_eq!(host.documents.view().content(), other.documents.view().content());
    }
}

#[test]
fn what_does_not_fit_is_gathered_by_another_way_through_the_log() {
    let docs: Vec<DocId> = (0..6).map(|n| id(&format!("d{n}"))).collect();
    let mut other = Host::new(2);
    for doc in &docs {
        other.put(doc.as_str(), json!({"text": "x".repeat(300)}));
        other.settle();
    }
    let all = vec![(log(actor(2)), Seq::new(6))];
    for (room, ways) in [(1 << 20, 1), (other.log[0].2.len() * 2, 3), (1, 6)] {
        let mut host = Host::with(1, Config { rebuild_bytes: room, ..Config::default() });
        // It has lost all of it: nothing but their hashes is known.
        let hashes: Vec<u64> = docs.iter().map(crate::documents::trie::hash).collect();
        let ops = step_at(host.now, |cx| host.documents.rebuild(cx, &[], &hashes, all.clone()));
        host.take(ops);
        let mut read = 0;
        while !host.rereads.is_empty() {
            for place in std::mem::take(&mut host.rereads) {
                read += 1;
                host.deliver(other.log.iter().find(|entry| (entry.0, entry.1) == place).unwrap().clone());
            }
            let most =
                host.tasks.iter().map(|task| if let Task::Rebuild { changes, .. } = task { changes.len() } else { 0 });
            assert!(room > 1 || most.sum::<usize>() == 1);
            host.work();
        }
        assert_eq!(
            (read, host.documents.view().content()),
            (6 * ways, other.documents.view().content()),
            "{room} bytes"
        );
    }
}

/// A node that folds documents soon, with one that it has folded.
fn folded() -> Host {
    let limits = Limits { history: 8, ..Limits::default() };
    let mut host = Host::with(1, Config { limits, ..Config::default() });
    host.put("d", json!({"text": "x".repeat(100)}));
    host.settle();
    for n in 0..40 {
        host.set("d", "n", json!(n));
        host.settle();
    }
    assert!(host.documents.view().state(&id("d")).unwrap().folded);
    host
}

#[test]
fn the_history_of_a_folded_document_is_read_back() {
    let mut host = folded();
    let commands = [0, 1].map(|_| host.command(Command::History { doc: id("d") }));
    host.recall(&[]);
    for command in commands {
        let Ok(Outcome::History { changes, .. }) = host.reply(command) else { panic!() };
        assert_eq!(changes.len(), 41);
    }
    assert!(!host.documents.view().busy());
}

#[test]
fn a_late_change_is_applied_to_all_of_the_document() {
    let (mut host, mut late) = (folded(), Host::new(2));
    late.deliver(host.log[0].clone());
    late.settle();
    late.set("d", "late", json!(true));
    late.settle();
    host.arrive(late.log[0].clone());
    let edit = host.set("d", "n", json!("while it is away"));
    host.recall(&[]);
    assert!(host.reply(edit).is_ok());
    for entry in host.log[1..].iter().filter(|entry| entry.0 == log(actor(1))) {
        late.deliver(entry.clone());
    }
    late.settle();
    assert_eq!(host.read("d").unwrap()["late"], json!(true));
    assert_eq!(host.documents.view().content(), late.documents.view().content());
    assert_eq!(host.documents.view().memory().restored, 1);
}
