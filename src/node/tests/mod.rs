//! The node over a disk in memory and links without delay: boot, wiring, and what garbage does.
//! Faults, delays and many nodes are the simulator's.

mod fence;
mod fuzz;
mod holders;
mod newer;
mod points;
mod policies;
mod quarantine;
mod restored;
mod snapshots;
mod stalls;
mod streams;

use std::collections::{BTreeMap, VecDeque};

use serde_json::json;

use super::*;
use crate::documents::{self, Edit, Engine, Limits};
use crate::types::{ClusterId, DiskFaultKind, DocId, Family, SegmentId, WallTime};

/// A host that performs every effect at once, and keeps what goes to others.
struct Host {
    boot: Option<Box<Boot>>,
    node: Option<Node>,
    report: Option<BootReport>,
    refused: Option<BootError>,
    files: BTreeMap<SegmentId, Vec<u8>>,
    /// The files as they stood before each effect.
    history: Vec<BTreeMap<SegmentId, Vec<u8>>>,
    full: bool,
    /// There is room for the log, and for nothing else.
    no_room: bool,
    /// Whether workers take no task, and those that wait.
    held: bool,
    tasks: VecDeque<(TaskId, documents::Task)>,
    engine: Engine,
    replies: BTreeMap<CommandId, Result<Outcome, CommandError>>,
    outgoing: VecDeque<(NodeId, Lane, bytes::Bytes)>,
    told: Vec<Event>,
    closed: Vec<NodeId>,
}

fn now(secs: u64) -> Now {
    Now { mono: Time::from_nanos(secs * 1_000_000_000), wall: WallTime::from_micros((1_000_000 + secs) * 1_000_000) }
}

fn id(n: u128) -> NodeId {
    NodeId::from_u128(n)
}

impl Host {
    fn on(n: u128, files: BTreeMap<SegmentId, Vec<u8>>, at: u64) -> Self {
        Self::with(n, files, at, Config::default())
    }

    fn with(n: u128, files: BTreeMap<SegmentId, Vec<u8>>, at: u64, config: Config) -> Self {
        let mut host = Self::begun(n, files, at, config);
        host.settle(at);
        host
    }

    /// Who minted the mesh, and so founds the group of voters.
    fn founder(n: u128, at: u64) -> Self {
        let mut host = Self::booting(n, BTreeMap::new(), at, Config::default(), true);
        host.settle(at);
        host
    }

    fn begun(n: u128, files: BTreeMap<SegmentId, Vec<u8>>, at: u64, config: Config) -> Self {
        Self::booting(n, files, at, config, false)
    }

    fn booting(n: u128, files: BTreeMap<SegmentId, Vec<u8>>, at: u64, config: Config, founds: bool) -> Self {
        let identity = Identity { node: id(n), cluster: ClusterId::from_bytes([7; 32]) };
        let setup = Setup {
            identity,
            seed: [u8::try_from(n + u128::from(at)).unwrap(); 32],
            meta: Meta { name: format!("n{n}"), ..Meta::default() },
            config,
            founds,
        };
        Self::of(setup, files)
    }

    fn of(setup: Setup, files: BTreeMap<SegmentId, Vec<u8>>) -> Self {
        Self {
            boot: Some(Box::new(Boot::start(setup))),
            node: None,
            report: None,
            refused: None,
            files,
            history: Vec::new(),
            full: false,
            no_room: false,
            held: false,
            tasks: VecDeque::new(),
            engine: Engine::new(Limits::default()),
            replies: BTreeMap::new(),
            outgoing: VecDeque::new(),
            told: Vec::new(),
            closed: Vec::new(),
        }
    }

    fn node(&mut self) -> &mut Node {
        self.node.as_mut().expect("it has booted")
    }

    fn poll(&mut self) -> Option<Effect> {
        match (&mut self.boot, &mut self.node) {
            (Some(boot), _) => boot.poll_effect(),
            (None, Some(node)) => node.poll_effect(),
            (None, None) => None,
        }
    }

    fn handle(&mut self, at: u64, input: Input) {
        match (self.boot.take(), &mut self.node) {
            (Some(boot), _) => match boot.handle(now(at), input) {
                Progress::Booting(boot) => self.boot = Some(boot),
                Progress::Ready(node, report) => (self.node, self.report) = (Some(*node), Some(report)),
                Progress::Refused(error) => self.refused = Some(error),
            },
            (None, Some(node)) => node.handle(now(at), input),
            (None, None) => {}
        }
    }

    fn settle(&mut self, at: u64) {
        let mut answers = VecDeque::new();
        loop {
            while let Some(effect) = self.poll() {
                answers.extend(self.perform(effect));
            }
            match answers.pop_front() {
                Some(answer) => self.handle(at, answer),
                None => return,
            }
        }
    }

    fn perform(&mut self, effect: Effect) -> Option<Input> {
        self.history.push(self.files.clone());
        match effect {
            Effect::Send { to, lane, frame } => self.outgoing.push_back((to, lane, frame)),
            Effect::Persist { id, segment, .. }
                if self.full || (self.no_room && segment.family() == Family::Snapshot) =>
            {
                let fault = DiskFault { kind: DiskFaultKind::Full, what: "append".into(), why: "no space".into() };
                return Some(Input::Persisted { id, result: Err(fault) });
            }
            Effect::Persist { id, segment, offset, bytes } => {
                let file = self.files.entry(segment).or_default();
                assert_eq!(file.len() as u64, offset, "the log only grows at its end");
                file.extend_from_slice(&bytes);
                return Some(Input::Persisted { id, result: Ok(()) });
            }
            Effect::Io { id, op: Io::Reopen { ends, .. } } => {
                let held =
                    |(segment, len): (SegmentId, u64)| self.files.get(&segment).map_or(0, |it| it.len() as u64) == len;
                assert!(ends.into_iter().all(held), "what was refused is not in the files: {ends:?}");
                let fault = DiskFault { kind: DiskFaultKind::Full, what: "append".into(), why: "no space".into() };
                let result = if self.full { Err(fault) } else { Ok(IoOutcome::Reopened) };
                return Some(Input::IoDone { id, result });
            }
            Effect::Io { id, op: Io::Truncate { segment, len: 0 } }
                if segment.family() == Family::Snapshot && !self.files.contains_key(&segment) =>
            {
                let fault = DiskFault { kind: DiskFaultKind::Missing, what: "remove".into(), why: "no file".into() };
                return Some(Input::IoDone { id, result: Err(fault) });
            }
            Effect::Io { id, op } => return Some(Input::IoDone { id, result: Ok(self.io(op)) }),
            Effect::Pack { id, pack } => return Some(Input::Packed { id, bytes: pack.run() }),
            Effect::Task { id, task } if self.held => self.tasks.push_back((id, task)),
            Effect::Task { id, task } => return Some(Input::TaskDone { id, done: self.engine.run(task) }),
            Effect::Dial { .. } => {}
            Effect::Close { peer, .. } => self.closed.push(peer),
            Effect::KeepPolicy { .. } => {}
            Effect::Reply { id, result } => {
                assert!(self.replies.insert(id, result).is_none(), "each command is answered once");
            }
            Effect::Notify(event) => self.told.push(event),
        }
        None
    }

    fn io(&mut self, op: Io) -> IoOutcome {
        match op {
            Io::List => IoOutcome::Listed(self.files.iter().map(|(id, bytes)| (*id, bytes.len() as u64)).collect()),
            Io::Read { segment, offset, len } => {
                let (from, to) = (usize::try_from(offset).unwrap(), usize::try_from(offset + len).unwrap());
                IoOutcome::Read(bytes::Bytes::copy_from_slice(&self.files[&segment][from..to]))
            }
            Io::Truncate { segment, len: 0 } => {
                assert!(self.files.remove(&segment).is_some(), "only what is there is removed");
                IoOutcome::Truncated
            }
            Io::Reopen { .. } => unreachable!("it is answered above"),
            Io::Truncate { segment, len } => {
                self.files.get_mut(&segment).unwrap().truncate(usize::try_from(len).unwrap());
                IoOutcome::Truncated
            }
        }
    }

    fn ask(&mut self, n: u64, at: u64, command: documents::Command) -> Result<documents::Outcome, CommandError> {
        let id = CommandId::new(n);
        self.handle(at, Input::Command { id, command: Command::Documents(command) });
        self.settle(at);
        match self.replies.remove(&id).expect("answered") {
            Ok(Outcome::Documents(outcome)) => Ok(outcome),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        }
    }

    fn set(&mut self, n: u64, at: u64, value: u64) -> Result<documents::Outcome, CommandError> {
        let (path, value) = (format!("field{n}"), json!(value));
        let create = n == 1;
        let edit = if create { Edit::Put { value: json!({ path: value }) } } else { Edit::Set { path, value } };
        self.ask(n, at, documents::Command::Edit { doc: doc(), edits: vec![edit], create })
    }

    fn value(&mut self, n: u64, at: u64) -> serde_json::Value {
        match self.ask(n, at, documents::Command::Get { doc: doc(), path: String::new() }).unwrap() {
            documents::Outcome::Value { value, .. } => value,
            other => panic!("{other:?}"),
        }
    }
}

fn doc() -> DocId {
    DocId::parse("layers/test/1").unwrap()
}

/// Delivers frames between two linked hosts, and fires their timers, for some seconds.
fn converse(a: &mut Host, b: &mut Host, from: u64, to: u64) {
    for at in from..to {
        for _ in 0..64 {
            pass(a, b, at);
            pass(b, a, at);
        }
    }
}

/// Wakes one host and hands what it says to the other.
fn pass(from: &mut Host, to: &mut Host, at: u64) {
    from.handle(at, Input::Wake);
    from.settle(at);
    let sender = from.node().identity().node;
    while let Some((_, lane, frame)) = from.outgoing.pop_front() {
        to.handle(at, Input::Received { from: sender, lane, frame });
        to.settle(at);
    }
}

fn link(a: &mut Host, b: &mut Host, at: u64) {
    let (one, two) = (a.node().identity().node, b.node().identity().node);
    a.handle(at, Input::Linked { peer: two });
    a.settle(at);
    b.handle(at, Input::Linked { peer: one });
    b.settle(at);
}

#[test]
fn a_new_store_gets_an_actor_and_a_boot_before_there_is_a_node() {
    let host = Host::on(1, BTreeMap::new(), 1);
    let report = host.report.unwrap();
    assert!(report.first && report.cut.is_none());
    assert_eq!(report.actor.node, id(1));
    assert!(!host.files.is_empty(), "both are in the log");
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart_under_the_same_actor() {
    let mut host = Host::on(1, BTreeMap::new(), 1);
    host.set(1, 2, 41).unwrap();
    host.set(2, 2, 42).unwrap();
    let before = host.report.clone().unwrap();
    let mut again = Host::on(1, host.files, 3);
    let after = again.report.clone().unwrap();
    assert_eq!(after.actor, before.actor);
    assert_eq!(after.boot, before.boot.next());
    assert_eq!(again.value(1, 4), json!({"field1": 41, "field2": 42}));
}

#[test]
fn a_node_says_how_far_it_is_with_its_documents_until_all_can_be_read() {
    let mut host = Host::on(1, BTreeMap::new(), 1);
    for n in 1..=3 {
        let doc = DocId::parse(&format!("many/{n}")).unwrap();
        let edits = vec![Edit::Put { value: json!({ "n": n }) }];
        host.ask(n, 2, documents::Command::Edit { doc, edits, create: false }).unwrap();
    }
    let mut again = Host::begun(1, host.files, 3, Config::default());
    again.held = true;
    again.settle(3);
    let mut seen = vec![again.node().status(now(3)).restoring];
    while let Some((id, task)) = again.tasks.pop_front() {
        let done = again.engine.run(task);
        again.handle(3, Input::TaskDone { id, done });
        again.settle(3);
        seen.push(again.node().status(now(3)).restoring);
    }
    let restoring = |done| Some(Restoring { done, of: 3 });
    assert_eq!(seen, [restoring(0), restoring(1), restoring(2), None]);
}

#[test]
fn a_damaged_last_write_is_cut_and_the_actor_is_new() {
    let mut host = Host::on(1, BTreeMap::new(), 1);
    host.set(1, 2, 41).unwrap();
    host.set(2, 2, 42).unwrap();
    let mut files = host.files;
    let last = files.last_entry().unwrap().into_mut();
    let len = last.len();
    last.truncate(len - 3);
    let mut again = Host::on(1, files, 3);
    let report = again.report.clone().unwrap();
    assert!(report.cut.is_some(), "{report:?}");
    assert_ne!(report.actor, host.report.unwrap().actor);
    assert_eq!(again.value(1, 4), json!({"field1": 41}));
    let cut = |host: &mut Host| host.node().status(now(4)).log_cut;
    assert_eq!(cut(&mut again), report.cut.map(|cut| cut.to_string()), "until the next start");
    assert_eq!(cut(&mut Host::on(1, again.files, 5)), None);
}

#[test]
fn a_crash_at_any_moment_of_cutting_never_goes_on_as_the_old_actor() {
    let host = Host::on(1, BTreeMap::new(), 1);
    let mut files = host.files;
    *files.get_mut(&SegmentId::new(1)).unwrap().last_mut().unwrap() ^= 1;
    let cutting = Host::on(1, files, 2);
    assert!(cutting.report.unwrap().cut.is_some());
    let states = cutting.history.into_iter().chain([cutting.files]);
    let old = host.report.unwrap();
    for (n, files) in states.enumerate() {
        let after = Host::on(1, files, 3).report.unwrap();
        assert_ne!(after.actor, old.actor, "crashed before effect {n}");
        assert!(after.boot > old.boot, "crashed before effect {n}");
    }
}

#[test]
fn damage_before_an_intact_record_is_refused() {
    let mut host = Host::on(1, BTreeMap::new(), 1);
    host.set(1, 2, 41).unwrap();
    let early = host.files[&SegmentId::new(1)].len() - 10;
    host.set(2, 2, 42).unwrap();
    let mut files = host.files;
    files.get_mut(&SegmentId::new(1)).unwrap()[early] ^= 1;
    let again = Host::on(1, files, 3);
    assert!(matches!(again.refused, Some(BootError::Log(_))), "{:?}", again.refused);
}

#[test]
fn two_linked_nodes_learn_of_each_other_and_share_edits() {
    let (mut a, mut b) = (Host::on(1, BTreeMap::new(), 1), Host::on(2, BTreeMap::new(), 1));
    a.set(1, 2, 41).unwrap();
    link(&mut a, &mut b, 2);
    converse(&mut a, &mut b, 2, 12);
    b.set(2, 12, 42).unwrap();
    converse(&mut a, &mut b, 12, 22);
    for host in [&mut a, &mut b] {
        let status = host.node().status(now(22));
        assert_eq!(status.members.len(), 2, "{status:?}");
        assert_eq!(host.value(9, 22), json!({"field1": 41, "field2": 42}));
    }
    assert_eq!(a.node().documents().content(), b.node().documents().content());
    assert_eq!(a.node().replication().vector(), b.node().replication().vector());
}

#[test]
fn who_is_how_busy_is_known_to_whoever_grants_roles() {
    let (mut a, mut b) = (Host::on(1, BTreeMap::new(), 1), Host::on(2, BTreeMap::new(), 1));
    link(&mut a, &mut b, 2);
    converse(&mut a, &mut b, 2, 12);
    let loads = |host: &mut Host| {
        let candidates = host.node().candidates(now(22).mono);
        candidates.iter().map(|it| (it.node, it.load)).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(loads(&mut a), BTreeMap::from([(id(1), u32::MAX), (id(2), u32::MAX)]), "nobody has said");
    b.handle(12, Input::Command { id: CommandId::new(70), command: Command::Load { percent: 180 } });
    b.settle(12);
    assert_eq!(b.replies.remove(&CommandId::new(70)), Some(Ok(Outcome::Told)));
    converse(&mut a, &mut b, 12, 22);
    assert_eq!(loads(&mut a), BTreeMap::from([(id(1), u32::MAX), (id(2), 180)]));
}

#[test]
fn an_edit_that_changes_nothing_waits_for_copies_of_what_others_wrote() {
    let (mut a, mut b) = (Host::on(1, BTreeMap::new(), 1), Host::on(2, BTreeMap::new(), 1));
    a.set(1, 2, 41).unwrap();
    link(&mut a, &mut b, 2);
    converse(&mut a, &mut b, 2, 12);
    let same = || documents::Command::Edit {
        doc: doc(),
        edits: vec![Edit::Set { path: "field1".into(), value: json!(41) }],
        create: false,
    };
    let mut ask = |n: u64, at: u64, members: u8| {
        let ack = replication::Ack::Members(std::num::NonZeroU8::new(members).unwrap());
        let command = Command::Acknowledged { command: Box::new(Command::Documents(same())), ack };
        b.handle(at, Input::Command { id: CommandId::new(n), command });
        b.settle(at);
        b.handle(at + 6, Input::Wake);
        b.settle(at + 6);
        b.replies.remove(&CommandId::new(n)).expect("answered")
    };
    match ask(50, 12, 1) {
        Ok(Outcome::Copied { copies, .. }) => assert_eq!(copies.members, [id(1)], "who wrote it holds it"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(ask(51, 20, 2), Err(CommandError::NotReplicated { place: None, .. })));
}

/// Two nodes that share three edits of the first; then its disk is what it was after the first of them, and it writes two
/// other ones before it meets the second again. And its disk as it was before it was put back.
fn put_back() -> (Host, Host, BTreeMap<SegmentId, Vec<u8>>) {
    let (mut a, mut b) = (Host::on(1, BTreeMap::new(), 1), Host::on(2, BTreeMap::new(), 1));
    a.set(1, 2, 1).unwrap();
    let image = a.files.clone();
    a.set(2, 2, 2).unwrap();
    a.set(3, 2, 3).unwrap();
    link(&mut a, &mut b, 2);
    converse(&mut a, &mut b, 2, 6);
    b.set(4, 6, 4).unwrap();
    unlink(&mut b, id(1), 6);
    let before = a.files;
    let mut a = Host::on(1, image, 7);
    a.set(5, 7, 5).unwrap();
    a.set(6, 7, 6).unwrap();
    (a, b, before)
}

fn unlink(host: &mut Host, peer: NodeId, at: u64) {
    host.handle(at, Input::Unlinked { peer });
    host.settle(at);
    host.outgoing.clear();
}

/// Both hold every edit that [`put_back`] made, on either side, in the same logs.
fn holds_all(a: &mut Host, b: &mut Host, at: u64) {
    let all = json!({"field1": 1, "field2": 2, "field3": 3, "field4": 4, "field5": 5, "field6": 6});
    for host in [&mut *a, &mut *b] {
        assert_eq!(host.value(99, at), all);
        assert!(host.node().replication().forks().is_empty());
    }
    assert_eq!(a.node().documents().content(), b.node().documents().content());
    assert_eq!(a.node().replication().vector(), b.node().replication().vector());
}

#[test]
fn a_node_that_was_put_back_and_wrote_on_loses_nothing_and_goes_on_as_another() {
    let (mut a, mut b, _) = put_back();
    let before = a.node().actor();
    link(&mut a, &mut b, 8);
    converse(&mut a, &mut b, 8, 14);
    holds_all(&mut a, &mut b, 14);
    assert_ne!(a.node().actor(), before);
    let gave_way = |event: &&Event| matches!(event, Event::Replication(replication::Event::GaveWay { .. }));
    assert_eq!((a.told.iter().filter(gave_way).count(), b.told.iter().filter(gave_way).count()), (1, 0));
    // Whoever starts again finds what it had, and writes on.
    let (mut a, mut b) = (Host::on(1, a.files, 15), Host::on(2, b.files, 15));
    holds_all(&mut a, &mut b, 15);
    link(&mut a, &mut b, 15);
    a.set(7, 15, 7).unwrap();
    b.set(8, 15, 8).unwrap();
    converse(&mut a, &mut b, 15, 20);
    assert_eq!(a.value(9, 20), b.value(9, 20));
    assert_eq!(a.node().replication().vector(), b.node().replication().vector());
}

#[test]
fn a_node_that_was_put_back_to_before_it_was_put_back_learns_of_it_from_the_document() {
    let (mut a, mut b, before) = put_back();
    link(&mut a, &mut b, 8);
    converse(&mut a, &mut b, 8, 12);
    unlink(&mut b, id(1), 12);
    // Its own log is all that the mesh holds of it: only the document tells that its name has been used otherwise.
    let mut a = Host::on(1, before, 13);
    let actor = a.node().actor();
    link(&mut a, &mut b, 13);
    converse(&mut a, &mut b, 13, 17);
    holds_all(&mut a, &mut b, 17);
    assert_eq!(a.node().actor(), actor);
    a.set(7, 17, 7).unwrap();
    assert_ne!(a.node().actor(), actor);
    converse(&mut a, &mut b, 17, 21);
    assert_eq!(a.value(9, 21), b.value(9, 21));
    assert_eq!(b.value(9, 21)["field7"], json!(7));
}

#[test]
fn a_crash_at_any_moment_of_it_loses_and_doubles_nothing() {
    let (mut a, mut b, _) = put_back();
    let (begun, unmet) = (a.history.len(), b.files.clone());
    link(&mut a, &mut b, 8);
    converse(&mut a, &mut b, 8, 12);
    let (mut states, held) = (a.history.split_off(begun), a.node().replication().entries());
    states.push(a.files);
    states.dedup();
    assert!(states.len() > 5, "{} states", states.len());
    // Afterwards it meets the other as that was before they met, or as that is after it heard of all.
    for (n, files) in states.into_iter().enumerate() {
        for theirs in [&unmet, &b.files] {
            println!("crashed with the disk's state {n}");
            let (mut a, mut b) = (Host::on(1, files.clone(), 13), Host::on(2, theirs.clone(), 13));
            link(&mut a, &mut b, 13);
            converse(&mut a, &mut b, 13, 17);
            holds_all(&mut a, &mut b, 17);
            assert_eq!(a.node().replication().entries(), held, "each entry once");
        }
    }
}

#[test]
fn garbage_is_told_of_and_closes_the_link() {
    let mut host = Host::on(1, BTreeMap::new(), 1);
    let before = host.node().status(now(2)).content;
    for frame in [&[][..], &[1], &[9, 9, 9, 9], &[1, 1, 0, 250, 250], &[1, 2, 1, 255, 255, 255, 255, 0]] {
        let frame = bytes::Bytes::copy_from_slice(frame);
        host.handle(2, Input::Received { from: id(9), lane: Lane::Sync, frame });
        host.settle(2);
    }
    assert_eq!(host.closed, vec![id(9); 5]);
    assert_eq!(host.told.iter().filter(|event| matches!(event, Event::BadFrame { .. })).count(), 5);
    assert_eq!(host.node().status(now(2)).content, before);
}

#[test]
fn a_full_disk_refuses_edits_and_goes_on_reading() {
    let mut host = Host::on(1, BTreeMap::new(), 1);
    host.set(1, 2, 41).unwrap();
    host.full = true;
    let error = host.set(2, 2, 42).unwrap_err();
    assert!(matches!(error, CommandError::Documents(documents::Error::Disk(_))), "{error}");
    assert!(host.node().read_only().is_some());
    assert_eq!(host.value(3, 3), json!({"field1": 41}), "what was not acknowledged does not show");
    let mut other = Host::on(2, BTreeMap::new(), 1);
    link(&mut host, &mut other, 3);
    converse(&mut host, &mut other, 3, 8);
    let status = other.node().status(now(8));
    let read_only: Vec<bool> = status.members.iter().map(|member| member.meta.read_only).collect();
    assert_eq!(read_only, [true, false], "others see it");

    // Nobody writes while the host may be opening the log anew.
    let point = Input::Command { id: CommandId::new(9), command: Command::Point { name: "noon".into() } };
    host.handle(8, point);
    host.settle(8);
    assert!(matches!(host.replies.remove(&CommandId::new(9)), Some(Err(CommandError::Disk(_)))));
    host.full = false;
    let before = host.node().actor();
    converse(&mut host, &mut other, 8, 30);
    assert_eq!(host.node().read_only(), None, "there is room, and it was looked for");
    assert_ne!(host.node().actor(), before, "no place of a log is used twice");
    host.set(4, 30, 43).unwrap();
    assert_eq!(host.value(5, 30), json!({"field1": 41, "field4": 43}));
    converse(&mut host, &mut other, 30, 40);
    assert_eq!(other.value(6, 40), json!({"field1": 41, "field4": 43}));
    let status = other.node().status(now(40));
    assert!(status.members.iter().all(|member| !member.meta.read_only), "others see it");
    let mut again = Host::on(1, host.files.clone(), 2);
    assert_eq!(again.value(7, 41), json!({"field1": 41, "field4": 43}), "the log is whole");
}

#[test]
fn a_member_that_is_there_is_not_forgotten() {
    let (mut a, mut b) = (Host::on(1, BTreeMap::new(), 1), Host::on(2, BTreeMap::new(), 1));
    link(&mut a, &mut b, 2);
    converse(&mut a, &mut b, 2, 6);
    a.handle(6, Input::Command { id: CommandId::new(7), command: Command::Forget { node: id(2) } });
    a.settle(6);
    let refused = a.replies.remove(&CommandId::new(7)).unwrap();
    assert!(matches!(refused, Err(CommandError::Forget(membership::ForgetError::Present { .. }))), "{refused:?}");
    // It says goodbye: then it may be.
    b.handle(6, Input::Command { id: CommandId::new(8), command: Command::Leave });
    b.settle(6);
    converse(&mut a, &mut b, 6, 8);
    unlink(&mut a, id(2), 8);
    assert_eq!(a.node().status(now(8)).members.len(), 2);
    a.handle(8, Input::Command { id: CommandId::new(9), command: Command::Forget { node: id(2) } });
    a.settle(8);
    assert_eq!(a.replies.remove(&CommandId::new(9)).unwrap(), Ok(Outcome::Forgotten));
    assert_eq!(a.node().status(now(8)).members.len(), 1);
}
