//! Two branches of a log, step by step: how the place is found where they part, which one stands, and what becomes of the
//! other, also when the process ends in between.

use std::collections::VecDeque;

use super::rules::{Bench, ME, chain, delivered, entry, line, log_of, push, root, run, sent, told, vector};
use super::*;
use crate::machine::Op;
use crate::types::{Digest, Hlc, Range, WallTime};

/// Entry `seq` of another branch of the log of node 4: made earlier than the one that [`entry`] gives, or later.
fn other(seq: u64, older: bool) -> Entry {
    let micros = if older { 1_600_000_000_000_000 } else { 1_800_000_000_000_000 };
    Entry {
        hlc: Hlc { wall: WallTime::from_micros(micros + seq), logical: 0 },
        body: body(log_of(4), 1_000 + seq, 100),
    }
}

/// Entries `first..=last` of a branch that is the other one from `parts` on.
fn branch(parts: u64, first: u64, last: u64, older: bool) -> Run {
    let entries: Vec<Entry> =
        (1..=last).map(|seq| if seq < parts { entry(4, seq) } else { other(seq, older) }).collect();
    let before = chain_of(&entries[..usize::try_from(first - 1).unwrap()]);
    let entries = entries[usize::try_from(first - 1).unwrap()..].to_vec();
    Run { log: Name::Id(log_of(4)), first: Seq::new(first), before: Short::of(before), entries }
}

fn chain_of(entries: &[Entry]) -> Digest {
    let mut logs = Logs::default();
    let at = logs.intern(log_of(4));
    entries.iter().for_each(|entry| logs.get_mut(at).push_pending(entry.clone()));
    logs.get(at).chain_at(entries.len() as u64).unwrap()
}

/// The log that a branch moves to which begins with this entry.
fn home(first: &Entry) -> LogId {
    LogId { actor: Actor { node: node(4), mint: Mint::new(first.rank().hash.value()) }, topic: Topic::DOCUMENTS }
}

fn fill(run: Run) -> Message {
    Message::Fill(Batch { number: 1, runs: vec![run] })
}

fn writes(ops: &[Op<Replication>]) -> Vec<&Kept> {
    ops.iter().filter_map(|op| if let Op::Persist(kept, _) = op { Some(kept) } else { None }).collect()
}

/// Holds five entries of the log of node 4, and meets 3, who holds the other branch from the third on.
fn disputed(older: bool) -> Bench {
    let mut bench = Bench::with(&[2, 3], Config::default());
    bench.take(2, push(1, vec![run(4, 1, 5)]));
    bench.hear(
        3,
        vector(&[Line { log: log_of(4), last: Seq::new(4), chain: chain_of(&branch(3, 1, 4, older).entries) }]),
    );
    bench
}

#[test]
fn another_branch_is_told_once_and_its_place_is_looked_for() {
    let mut bench = Bench::with(&[2], Config::default());
    bench.take(2, push(1, vec![run(4, 1, 200)]));
    bench.run(|machine, cx| machine.on_neighbor_up(cx, node(3)));
    let theirs = |last| Line { log: log_of(4), last: Seq::new(last), chain: Digest::new(1) };
    let ops = bench.hear(3, vector(&[theirs(150)]));
    assert_eq!(told(&ops), [&Event::Forked { log: log_of(4), seq: Seq::new(150), peer: node(3) }]);
    let marks = |ops: &[Op<Replication>]| match sent(ops)[..] {
        [(to, Message::Marks(marks)), ..] if to == node(3) => marks.clone(),
        _ => panic!("{ops:?}"),
    };
    let first = marks(&ops);
    assert!(first.marks.len() <= 64 && first.marks.last().unwrap().seq == Seq::new(150));
    assert_eq!(told(&bench.hear(3, vector(&[theirs(120)]))), [] as [&Event; 0], "told once");
    // Their chain is ours up to 99. In two rounds we are there, and ask for their entry at that place alone.
    let answer = |places: &[u64]| {
        let chain = |seq| if seq < 100 { chain(4, seq) } else { Digest::new(seq) };
        let marks = places.iter().map(|seq| Mark { seq: Seq::new(*seq), chain: chain(*seq) }).collect();
        Message::Marks(Marks { log: log_of(4), marks })
    };
    let next = marks(&bench.hear(3, answer(&[40, 80, 120])));
    assert_eq!((next.marks[0].seq, next.marks.last().unwrap().seq), (Seq::new(80), Seq::new(120)));
    let ops = bench.hear(3, answer(&[98, 99, 100]));
    let want = Message::Want(vec![Range { log: log_of(4), first: Seq::new(100), last: Seq::new(100) }]);
    assert_eq!(sent(&ops), [(node(3), &want)]);
    assert_eq!(bench.machine.view().forks(), [(log_of(4), Seq::new(100), node(3))]);
    // Nothing more of their branch is taken, and whoever has ours goes on.
    assert_eq!(delivered(&bench.take(3, push(1, vec![branch(100, 201, 202, true)]))), []);
    assert_eq!(delivered(&bench.take(2, push(2, vec![run(4, 201, 201)]))), [(log_of(4), 201)]);
}

#[test]
fn the_newer_entry_is_shown_the_older_one_and_nothing_changes_here() {
    let mut bench = disputed(false);
    let ops = bench.hear(3, fill(branch(3, 3, 3, false)));
    let ops = bench.settle(ops);
    let [.., (to, Message::Fill(batch))] = sent(&ops)[..] else { panic!("{ops:?}") };
    assert_eq!((to, &batch.runs[0].entries[..]), (node(3), &[entry(4, 3)][..]));
    assert_eq!(bench.machine.view().vector().of(log_of(4)), Seq::new(5));
    // When they hold the same, the dispute is over.
    bench.hear(3, vector(&[line(4, 4)]));
    assert_eq!(bench.machine.view().forks(), []);
}

#[test]
fn the_older_entry_stands_and_the_branch_that_was_held_moves_to_a_log_of_its_own() {
    let mut bench = disputed(true);
    let compared = bench.hear(3, fill(branch(3, 3, 3, true)));
    let ops = bench.settle(compared);
    let to = home(&entry(4, 3));
    let kept =
        Kept::Branch(Branch { log: log_of(4), from: Seq::new(3), moved: Seq::new(3), to: to.actor, at: Seq::new(1) });
    assert_eq!(writes(&ops), [&kept], "one record, and no entry is written again");
    let gave_way = Event::GaveWay { log: log_of(4), from: Seq::new(3), last: Seq::new(5), to, at: Seq::new(3) };
    assert!(told(&ops).contains(&&gave_way), "{ops:?}");
    assert_eq!(delivered(&ops), [(to, 1), (to, 2), (to, 3)]);
    let vector = bench.machine.view().vector();
    assert_eq!((vector.of(log_of(4)), vector.of(to)), (Seq::new(2), Seq::new(3)));
    let graft = Message::Graft(vec![Graft { log: log_of(4), after: Seq::new(2) }]);
    assert!(sent(&ops).contains(&(node(3), &graft)), "the branch that stands is asked for");
    assert_eq!(
        delivered(&bench.take(3, fill(branch(3, 3, 5, true)))),
        [(log_of(4), 3), (log_of(4), 4), (log_of(4), 5)]
    );
    assert_eq!(bench.machine.view().forks(), []);
    // What moved is given away under its new name, from where it was written.
    let ops = bench.hear(2, Message::Graft(vec![Graft { log: to, after: Seq::ZERO }]));
    let ops = bench.settle(ops);
    let runs: Vec<&Run> = sent(&ops)
        .into_iter()
        .filter_map(|(_, message)| if let Message::Backlog(batch) = message { Some(&batch.runs[0]) } else { None })
        .collect();
    assert_eq!(runs[0].entries, [entry(4, 3), entry(4, 4), entry(4, 5)]);
}

#[test]
fn what_a_neighbour_moved_before_is_not_moved_again() {
    for (held, moved, at) in [(2, 5, 3), (3, 6, 4)] {
        let mut bench = disputed(true);
        let to = home(&entry(4, 3));
        let entries = (3..3 + held).map(|seq| entry(4, seq)).collect();
        let before = {
            let mut logs = Logs::default();
            let at = logs.intern(to);
            Short::of(logs.get(at).chain_at(0).unwrap())
        };
        bench.take(2, push(2, vec![Run { log: Name::Id(to), first: Seq::new(1), before, entries }]));
        let compared = bench.hear(3, fill(branch(3, 3, 3, true)));
        let ops = bench.settle(compared);
        let kept = Kept::Branch(Branch {
            log: log_of(4),
            from: Seq::new(3),
            moved: Seq::new(moved),
            to: to.actor,
            at: Seq::new(at),
        });
        assert_eq!(writes(&ops), [&kept]);
        assert_eq!(bench.machine.view().vector().of(to), Seq::new(3));
        assert_eq!(delivered(&ops).len() as u64, 3 - held, "only what is new there is told");
    }
}

#[test]
fn a_branch_of_a_branch_moves_to_a_third_log() {
    let mut bench = disputed(true);
    // The log that ours would move to is held, and goes on otherwise after its first entry.
    let to = home(&entry(4, 3));
    let before = {
        let mut logs = Logs::default();
        let at = logs.intern(to);
        Short::of(logs.get(at).chain_at(0).unwrap())
    };
    let entries = vec![entry(4, 3), other(40, false)];
    bench.take(2, push(2, vec![Run { log: Name::Id(to), first: Seq::new(1), before, entries }]));
    let compared = bench.hear(3, fill(branch(3, 3, 3, true)));
    let ops = bench.settle(compared);
    let third = home(&entry(4, 4));
    let kept = Kept::Branch(Branch {
        log: log_of(4),
        from: Seq::new(3),
        moved: Seq::new(4),
        to: third.actor,
        at: Seq::new(1),
    });
    assert_eq!(writes(&ops), [&kept]);
    let vector = bench.machine.view().vector();
    assert_eq!((vector.of(log_of(4)), vector.of(to), vector.of(third)), (Seq::new(2), Seq::new(2), Seq::new(2)));
    // Both are open again.
    bench.take(3, fill(branch(3, 3, 4, true)));
    assert_eq!(bench.machine.view().vector().of(log_of(4)), Seq::new(4));
}

#[test]
fn what_stands_in_a_log_that_is_in_dispute_itself_is_not_moved_there_again() {
    let mut bench = disputed(true);
    let to = home(&entry(4, 3));
    let after = |entries: &[Entry]| {
        let mut logs = Logs::default();
        let at = logs.intern(to);
        entries.iter().for_each(|entry| logs.get_mut(at).push_pending(entry.clone()));
        Short::of(logs.get(at).chain_at(entries.len() as u64).unwrap())
    };
    let entries = vec![entry(4, 3), other(40, false)];
    bench.take(2, push(2, vec![Run { log: Name::Id(to), first: Seq::new(1), before: after(&[]), entries }]));
    // While the branch is read, another end of the log that it has its beginning in is shown.
    let mut ops = bench.hear(3, fill(branch(3, 3, 3, true)));
    let (before, entries) = (after(&[entry(4, 3)]), vec![other(41, true)]);
    ops.extend(bench.hear(3, fill(Run { log: Name::Id(to), first: Seq::new(2), before, entries })));
    let ops = bench.settle(ops);
    let unsettled = told(&ops).into_iter().filter(|event| matches!(event, Event::Unsettled { .. })).count();
    let branches = writes(&ops).into_iter().filter(|kept| matches!(kept, Kept::Branch(_))).count();
    assert_eq!((unsettled, branches), (0, 2), "{ops:?}");
    let vector = bench.machine.view().vector();
    let moved = [entry(4, 4), other(40, false)].map(|first| vector.of(home(&first)));
    assert_eq!((vector.of(log_of(4)), vector.of(to), moved), (Seq::new(2), Seq::new(1), [Seq::new(2), Seq::new(1)]));
}

#[test]
fn a_log_that_moved_as_a_whole_is_not_in_the_digest() {
    let mut bench = Bench::with(&[2, 3], Config::default());
    bench.take(2, push(1, vec![run(4, 1, 5)]));
    let compared = bench.hear(3, fill(branch(1, 1, 1, true)));
    bench.settle(compared);
    let to = home(&entry(4, 1));
    let vector = bench.machine.view().vector();
    assert_eq!((vector.of(log_of(4)), vector.of(to)), (Seq::ZERO, Seq::new(5)));
    // Who never held it has the same.
    let mut never = Bench::with(&[2], Config::default());
    let Run { entries, .. } = run(4, 1, 5);
    never.take(2, push(1, vec![Run { log: Name::Id(to), first: Seq::new(1), before: Short::of(root(to)), entries }]));
    assert_eq!(never.machine.view().vector().of(to), Seq::new(5));
    assert_eq!(bench.machine.view().digest(), never.machine.view().digest());
}

#[test]
fn our_own_log_is_left_at_the_first_sign_of_another_branch() {
    let mut bench = Bench::with(&[2], Config::default());
    bench.write(10);
    let other = Line { log: log_of(ME), last: Seq::new(1), chain: Digest::new(1) };
    let ops = bench.hear(2, vector(&[other]));
    assert!(matches!(told(&ops)[..], [Event::Forked { .. }, Event::RolledBack { .. }]), "{ops:?}");
    assert!(writes(&bench.run(|machine, cx| machine.originate(cx, Topic::DOCUMENTS, Bytes::new(), 1))).is_empty());
    let ops = bench.run(|machine, cx| machine.mint(cx, actor(ME, 2)));
    assert!(matches!(writes(&ops)[..], [Kept::Entry(record)] if record.log.actor == actor(ME, 2)));
}

#[test]
fn what_is_under_way_to_the_disk_moves_too() {
    let mut bench = Bench::with(&[2, 3], Config::default());
    bench.take(2, push(1, vec![run(4, 1, 4)]));
    let late = bench.hear(2, push(2, vec![run(4, 5, 5)]));
    let compared = bench.hear(3, fill(branch(3, 3, 3, true)));
    let waits = bench.settle(compared);
    assert_eq!(bench.machine.view().behind(), 1, "a branch is to move");
    assert!(writes(&waits).is_empty(), "the disk has not answered for all of it");
    let ops = bench.settle(late);
    let to = home(&entry(4, 3));
    assert_eq!(delivered(&ops), [(log_of(4), 5), (to, 1), (to, 2), (to, 3)]);
}

#[test]
fn after_a_disk_failure_nothing_moves() {
    let mut bench = disputed(true);
    let mut ops = bench.hear(3, fill(branch(3, 3, 3, true)));
    let fault = DiskFault { kind: crate::types::DiskFaultKind::Failed, what: "write".into(), why: "i/o error".into() };
    while let Some(op) = ops.pop() {
        ops = match op {
            Op::Read(position, wait) => {
                let record = bench.read(position);
                bench.run(|machine, cx| machine.on_read(cx, wait, Ok(record)))
            }
            Op::Persist(Kept::Branch(_), wait) => {
                bench.run(|machine, cx| machine.on_persisted(cx, wait, Err(fault.clone())))
            }
            _ => ops,
        };
    }
    assert_eq!(bench.machine.view().vector().of(log_of(4)), Seq::new(5), "as it was");
    let ops = bench.hear(2, Message::Graft(vec![Graft { log: log_of(4), after: Seq::ZERO }]));
    let ops = bench.settle(ops);
    assert!(
        matches!(sent(&ops)[..], [(_, Message::Backlog(batch))] if batch.runs[0].entries.len() == 5),
        "and given away"
    );
}

#[test]
fn the_log_replayed_at_any_moment_gives_the_state_that_it_had() {
    let mut bench = disputed(true);
    let to = home(&entry(4, 3));
    // A neighbour moved one entry before us.
    let before = {
        let mut logs = Logs::default();
        let at = logs.intern(to);
        Short::of(logs.get(at).chain_at(0).unwrap())
    };
    bench.take(2, push(2, vec![Run { log: Name::Id(to), first: Seq::new(1), before, entries: vec![entry(4, 3)] }]));
    let compared = bench.hear(3, fill(branch(3, 3, 3, true)));
    bench.settle(compared);
    bench.take(3, fill(branch(3, 3, 4, true)));
    let view = bench.machine.view();
    let tips =
        |machine: &Replication| [log_of(4), to].map(|log| (machine.view().vector().of(log), machine.view().tip(log)));
    let end = tips(&bench.machine);
    assert_eq!((end[0].0, end[1].0, view.entries()), (Seq::new(4), Seq::new(3), 7));
    for crash in 0..=bench.disk.len() {
        let mut entries = VecDeque::new();
        for (offset, kept) in (0..).zip(&bench.disk[..crash]) {
            match kept {
                Kept::Entry(record) => entries.push_back((record.clone(), at(offset, record.body.len()))),
                Kept::Branch(branch) => branch.replay(&mut entries),
                other => panic!("{other:?}"),
            }
        }
        let mut machine = Replication::new(actor(ME, 1), Config::default());
        let bodies: BTreeSet<Bytes> = entries.iter().map(|(record, _)| record.body.clone()).collect();
        for (record, position) in entries {
            machine.restore(&record, position).unwrap();
        }
        for kept in &bench.disk[..crash] {
            assert!(
                matches!(kept, Kept::Entry(record) if bodies.contains(&record.body)) || matches!(kept, Kept::Branch(_))
            );
        }
        assert_eq!(crash == bench.disk.len(), tips(&machine) == end, "crashed after write {crash}");
    }
}

#[test]
fn a_branch_that_finds_no_place_stays_and_says_so() {
    let mut bench = Bench::with(&[2, 3], Config { logs_per_node_max: 1, ..Config::default() });
    bench.take(2, push(1, vec![run(4, 1, 5)]));
    let compared = bench.hear(3, fill(branch(3, 3, 3, true)));
    let ops = bench.settle(compared);
    let unsettled = |event: &&Event| matches!(event, Event::Unsettled { log, .. } if *log == log_of(4));
    assert_eq!(told(&ops).into_iter().filter(unsettled).count(), 1, "{ops:?}");
    assert_eq!(bench.machine.view().vector().of(log_of(4)), Seq::new(5));
    assert_eq!(delivered(&bench.take(2, push(2, vec![run(4, 6, 6)]))), [(log_of(4), 6)], "and goes on");
}

/// The log that is named after entry 3 of node 4's, with this as its first entry.
fn named(first: &Entry) -> Run {
    let log = home(&entry(4, 3));
    let mut logs = Logs::default();
    let at = logs.intern(log);
    let before = Short::of(logs.get(at).chain_at(0).unwrap());
    Run { log: Name::Id(log), first: Seq::new(1), before, entries: vec![first.clone()] }
}

#[test]
fn in_a_log_that_is_named_after_its_first_entry_that_one_stands_whatever_is_older() {
    let log = home(&entry(4, 3));
    let theirs = |bench: &mut Bench, first: &Entry| {
        let ops = bench.hear(3, fill(named(first)));
        bench.settle(ops)
    };
    // Whoever holds it shows it, though what the other holds was made earlier.
    let mut bench = Bench::with(&[2, 3], Config::default());
    bench.take(2, push(1, vec![named(&entry(4, 3))]));
    let ops = theirs(&mut bench, &other(3, true));
    let [.., (to, Message::Fill(batch))] = sent(&ops)[..] else { panic!("{ops:?}") };
    assert_eq!((to, &batch.runs[0].entries[..]), (node(3), &[entry(4, 3)][..]));
    assert_eq!(bench.machine.view().vector().of(log), Seq::new(1));
    // And whoever holds the other one moves that.
    let mut bench = Bench::with(&[2, 3], Config::default());
    bench.take(2, push(1, vec![named(&other(3, true))]));
    let ops = theirs(&mut bench, &entry(4, 3));
    let to = home(&other(3, true));
    let gave_way = Event::GaveWay { log, from: Seq::new(1), last: Seq::new(1), to, at: Seq::new(1) };
    assert!(told(&ops).contains(&&gave_way), "{ops:?}");
    assert_eq!(bench.machine.view().vector().of(to), Seq::new(1));
}
