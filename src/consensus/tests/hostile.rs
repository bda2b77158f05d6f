//! Frames that no correct member sends: each is refused by name, changes nothing, and makes nobody panic.

use bytes::Bytes;

use super::world::World;
use super::*;
use crate::machine::{Op, Rng, mutate};
use crate::types::Now;

fn entries(terms: &[u64]) -> Entries {
    Entries::new(terms.iter().map(|term| Entry { term: Term::new(*term), says: Says::Office }).collect()).unwrap()
}

fn mark(term: u64, index: u64) -> Mark {
    Mark { term: Term::new(term), index: Index::new(index) }
}

/// All that counts.
fn essence(machine: &Consensus) -> String {
    let Consensus { founding, epoch, term, vote, log, groups, commit, state, office, leader, .. } = machine;
    format!("{:?}", (founding, epoch, term, vote, log, groups, commit, state, office, leader))
}

/// A group of three with a decision or two, its leader, a follower, and a node that is in no group.
struct Scene {
    world: World,
    leader: usize,
    follower: usize,
    term: u64,
    commit: u64,
}

impl Scene {
    fn new() -> Self {
        Self::with(4)
    }

    /// Of so many peers, of which three vote.
    fn with(peers: usize) -> Self {
        let mut world = World::founded(1, peers, 3, awake());
        let leader = world.settle();
        world.decide("a");
        world.run(200);
        let (term, commit) = (world.view(leader).term().value(), world.view(leader).commit().value());
        Self { world, leader, follower: (leader + 1) % 3, term, commit }
    }

    /// What a peer makes of a frame: what it accuses the sender of. Whatever that is, it is as it was before.
    fn accused(&mut self, from: usize, to: usize, term: u64, body: Body) -> Option<Fault> {
        let (mint, me) = (self.world.id(from).mint, self.world.id(to).mint);
        let message =
            Message { founding: Mint::new(7), epoch: Epoch::new(1), term: Term::new(term), from: mint, to: me, body };
        self.told(from, to, message).into_iter().find_map(|event| match event {
            Event::PeerFault { fault, .. } => Some(fault),
            _ => None,
        })
    }

    fn told(&mut self, from: usize, to: usize, message: Message) -> Vec<Event> {
        let node = self.world.peers[from].node;
        let mut machine = self.world.peers[to].machine.clone();
        let before = essence(&machine);
        let (mut rng, mut ops) = (Rng::fork(&[1; 32], "x"), Vec::new());
        machine.on_message(&mut Cx::new(self.world.clock(to), &mut rng, &mut ops), node, message);
        assert!(!ops.iter().any(|op| matches!(op, Op::Persist(..))), "something was written: {ops:?}");
        let events: Vec<_> = ops
            .into_iter()
            .filter_map(|op| match op {
                Op::Emit(event) => Some(event),
                _ => None,
            })
            .collect();
        assert_eq!(essence(&machine), before);
        events
    }
}

#[test]
fn who_has_no_voice_is_not_heard() {
    let mut scene = Scene::new();
    let (stranger, follower, term, commit) = (3, scene.follower, scene.term, scene.commit);
    let id = scene.world.id(stranger);
    let frames = [
        Body::Ask { last: mark(term, commit), ballot: Ballot::Vote },
        Body::Ask { last: mark(term, commit), ballot: Ballot::Pre },
        Body::Ask { last: mark(term, commit), ballot: Ballot::Succession },
        Body::Append { prev: mark(term, commit), commit: Index::new(commit), entries: entries(&[]) },
        Body::Append { prev: mark(1, 1), commit: Index::new(9), entries: entries(&[1]) },
        Body::Piece { last: mark(1, 1), total: 1, offset: 0, bytes: Blob::new(Bytes::from_static(&[1])).unwrap() },
    ];
    for body in frames {
        assert_eq!(scene.accused(stranger, follower, term + 5, body.clone()), Some(Fault::NoVoter(id)), "{body:?}");
    }
    // What needs no accusation is passed over: nothing of it is heeded.
    for body in [
        Body::Heartbeat { commit: Index::ZERO, matched: Index::ZERO, round: 1 },
        Body::Succeed,
        Body::Heard { round: 9 },
        Body::Voted { granted: true },
        Body::Appended { matched: Index::new(commit) },
        Body::Refused(Why::NoMember),
    ] {
        for to in [follower, scene.leader] {
            assert_eq!(scene.accused(stranger, to, term + 5, body.clone()), None, "{body:?}");
        }
    }
}

/// A member may know a later group than we do, in which somebody else is a voter; a stranger may say that it does. While a leader is
/// heard that changes nothing.
#[test]
fn who_claims_to_know_a_later_group_deposes_nobody() {
    let mut scene = Scene::new();
    let (stranger, follower, leader, term, commit) = (3, scene.follower, scene.leader, scene.term, scene.commit);
    let most = COUNT_MAX - 1;
    let next = Body::Append { prev: mark(term, commit), commit: Index::ZERO, entries: entries(&[term + 1]) };
    let piece = Blob::new(Bytes::from_static(&[1])).unwrap();
    let frames = [
        (most, Body::Ask { last: mark(most, most), ballot: Ballot::Succession }),
        (most, Body::Ask { last: mark(most, most), ballot: Ballot::Vote }),
        (term + 1, Body::Ask { last: mark(term, commit + 9), ballot: Ballot::Succession }),
        (term + 1, Body::Ask { last: mark(term, commit + 9), ballot: Ballot::Vote }),
        (term + 1, next),
        (term + 1, Body::Piece { last: mark(term, commit + 9), total: 2, offset: 0, bytes: piece }),
    ];
    for (term, body) in frames {
        for to in [follower, leader] {
            scene.accused(stranger, to, term, body.clone());
        }
    }
    // Nor does it use up all terms when nobody leads.
    scene.world.crash(leader, false);
    scene.world.run(155);
    let id = scene.world.id(stranger);
    let ask = Body::Ask { last: mark(most, most), ballot: Ballot::Vote };
    assert_eq!(scene.accused(stranger, follower, most, ask), Some(Fault::NoVoter(id)));
}

/// Who is in no group has acknowledged nothing that it could have lost.
#[test]
fn who_is_in_no_group_keeps_its_name_whatever_is_said() {
    let mut scene = Scene::new();
    let (leader, outsider) = (scene.leader, 3);
    let (from, me) = (scene.world.id(leader), scene.world.id(outsider));
    let body = Body::Heartbeat { commit: Index::ZERO, matched: Index::new(9), round: 1 };
    let (founding, epoch, term) = (Mint::new(7), Epoch::new(1), Term::new(scene.term));
    let message = Message { founding, epoch, term, from: from.mint, to: me.mint, body };
    scene.world.step(outsider, |machine, cx| machine.on_message(cx, from.node, message));
    assert_eq!((scene.world.id(outsider), scene.world.view(outsider).is_disk_well()), (me, true));
    let told = scene.world.told(outsider);
    assert!(!told.iter().any(|event| matches!(event, Event::LostMemory { .. })), "{told:?}");
}

/// What makes a host give up a membership is taken from nodes of the group alone; and nobody else is counted, or remembered, in an
/// election.
#[test]
fn strangers_talk_nobody_out_of_its_group() {
    let mut scene = Scene::new();
    let (stranger, follower, term) = (3, scene.follower, scene.term);
    let (from, to) = (scene.world.id(stranger), scene.world.id(follower).mint);
    let frame = |mint, epoch, term, body| {
        let (founding, epoch, term) = (Mint::new(7), Epoch::new(epoch), Term::new(term));
        Message { founding, epoch, term, from: mint, to, body }
    };
    let refused = |why, epoch| frame(from.mint, epoch, term, Body::Refused(why));
    for message in [
        refused(Why::NoMember, 1),
        refused(Why::OldEpoch, 2),
        frame(from.mint, 2, term, Body::Heartbeat { commit: Index::ZERO, matched: Index::ZERO, round: 1 }),
    ] {
        assert_eq!(scene.told(stranger, follower, message), []);
    }
    (0..3).filter(|at| *at != follower).for_each(|at| scene.world.crash(at, false));
    let asks = |world: &World| matches!(world.peers[follower].machine.office, Office::PreCandidate(_));
    scene.world.until(1_000, asks);
    for mint in 1..20 {
        let grant =
            frame(Mint::new(mint), 1, scene.world.view(follower).term().value() + 1, Body::PreVoted { granted: true });
        assert_eq!(scene.told(stranger, follower, grant), []);
    }
}

/// The name of a request may be known to others: a client believes who was asked, also late, and nobody else.
#[test]
fn who_was_not_asked_answers_no_request() {
    let mut scene = Scene::new();
    let (client, term) = (3, scene.term);
    scene.world.isolate(&[client]);
    let request = RequestId { born: Index::new(1), number: 99 };
    let action = Action { name: Name::new("x").unwrap(), expect: Expect::Any, value: None };
    let intent = Intent { request, expires: crate::types::WallTime::from_micros(u64::MAX), action };
    scene.world.step(client, |machine, cx| machine.ask(cx, intent, false));
    let believed = |scene: &mut Scene| {
        let token = Token { epoch: Epoch::new(1), term: Term::new(term), index: Index::new(77) };
        let said = Said::Decided { token, outcome: Outcome::Done };
        let answers = |at: &usize| {
            let message = Message {
                founding: Mint::new(7),
                epoch: Epoch::new(1),
                term: Term::new(term),
                from: scene.world.id(*at).mint,
                to: Mint::new(0),
                body: Body::Proposed { request, said: said.clone() },
            };
            scene.told(*at, client, message).iter().any(|event| matches!(event, Event::Asked { .. }))
        };
        (0..3).filter(answers).collect::<Vec<_>>()
    };
    let first = believed(&mut scene);
    assert_eq!(first.len(), 1, "one was asked: {first:?}");
    scene.world.run(450);
    let later = believed(&mut scene);
    assert!(later.len() > 1 && later.contains(&first[0]), "who was asked before may answer still: {later:?}");
}

fn refused(scene: &Scene, from: usize, to: usize, epoch: u64, why: Why) -> Message {
    let (founding, epoch, term) = (Mint::new(7), Epoch::new(epoch), Term::new(scene.term));
    let (from, to) = (scene.world.id(from).mint, scene.world.id(to).mint);
    Message { founding, epoch, term, from, to, body: Body::Refused(why) }
}

impl Scene {
    /// A peer hears a frame, and what it tells of having to give its membership up.
    fn hears(&mut self, from: usize, to: usize, message: Message) -> Vec<Event> {
        let node = self.world.peers[from].node;
        self.world.told(to);
        self.world.step(to, |machine, cx| machine.on_message(cx, node, message));
        let mut told = self.world.told(to);
        told.retain(|event| matches!(event, Event::NoMember { .. } | Event::NewerEpoch { .. }));
        told
    }
}

/// A host gives up a membership when it is told so: that takes a majority of the other voters, of this group and generation.
#[test]
fn one_member_talks_nobody_out_of_its_group() {
    let mut scene = Scene::new();
    let (leader, follower) = (scene.leader, scene.follower);
    let (other, learner) = (3 - leader - follower, 3);
    let id = scene.world.id(learner);
    scene.world.step(leader, |machine, cx| machine.change(cx, Change::AddLearner { id, priority: 0 })).unwrap();
    scene.world.run(300);
    assert_eq!(scene.world.view(learner).standing(), Standing::Learner);
    let no = |scene: &Scene, from, epoch| refused(scene, from, follower, epoch, Why::NoMember);
    for from in [other, other, learner] {
        let message = no(&scene, from, 1);
        assert_eq!(scene.hears(from, follower, message), [], "{from}");
    }
    let (stale, mut foreign) = (no(&scene, leader, 0), no(&scene, leader, 1));
    foreign.founding = Mint::new(8);
    for message in [stale, foreign] {
        assert_eq!(scene.hears(leader, follower, message), []);
    }
    // The leader lets hear from it: then it is a member, whatever was said.
    scene.world.run(200);
    let message = no(&scene, leader, 1);
    assert_eq!(scene.hears(leader, follower, message), []);
    let message = no(&scene, other, 1);
    let peer = scene.world.peers[other].node;
    assert_eq!(scene.hears(other, follower, message), [Event::NoMember { peer }]);
}

#[test]
fn one_member_makes_nobody_give_way_to_a_newer_generation() {
    let mut scene = Scene::new();
    let (leader, follower) = (scene.leader, scene.follower);
    let other = 3 - leader - follower;
    let beat = |scene: &Scene, from, epoch| Message {
        body: Body::Heartbeat { commit: Index::ZERO, matched: Index::ZERO, round: 1 },
        ..refused(scene, from, follower, epoch, Why::OldEpoch)
    };
    for (from, epoch) in [(other, 2), (other, 9), (leader, 3), (leader, 2)] {
        let message = beat(&scene, from, epoch);
        assert_eq!(scene.hears(from, follower, message), [], "{from} of {epoch}");
        assert_eq!(scene.world.view(follower).epoch(), Epoch::new(1));
    }
    let message = refused(&scene, other, follower, 2, Why::OldEpoch);
    let newer = Event::NewerEpoch { peer: scene.world.peers[other].node, epoch: Epoch::new(2) };
    assert_eq!(scene.hears(other, follower, message), [newer]);
}

/// A peer that is in no group and knows of one takes part in that one, when its voters say so, and in none that a stranger made up.
#[test]
fn a_stranger_captures_nobody_who_knows_the_group() {
    let mut scene = Scene::with(5);
    let (leader, stranger, outsider) = (scene.leader, 4, 3);
    let (from, to) = (scene.world.id(stranger), scene.world.id(outsider));
    let own = Says::Group(Arc::new(Group::of(&[(from, 0)]).unwrap()));
    let entries = Entries::new(vec![Entry { term: Term::new(9), says: own }]).unwrap();
    let bodies = [
        Body::Append { prev: mark(0, 0), commit: Index::new(1), entries },
        Body::Heartbeat { commit: Index::ZERO, matched: Index::ZERO, round: 1 },
        Body::Piece { last: mark(1, 1), total: 1, offset: 0, bytes: Blob::new(Bytes::from_static(&[1])).unwrap() },
    ];
    for (founding, epoch) in [(9, 1), (9, 1 << 61), (7, 1), (7, 1 << 61)] {
        for body in &bodies {
            let (founding, epoch, term) = (Mint::new(founding), Epoch::new(epoch), Term::new(9));
            let message = Message { founding, epoch, term, from: from.mint, to: to.mint, body: body.clone() };
            scene.told(stranger, outsider, message);
        }
    }
    scene.world.step(leader, |machine, cx| machine.change(cx, Change::AddLearner { id: to, priority: 0 })).unwrap();
    scene.world.run(300);
    assert_eq!(scene.world.view(outsider).standing(), Standing::Learner);
}

/// Whoever was taken in by the first that spoke takes part in the group that it hears of afterwards, under another name.
#[test]
fn who_was_taken_in_before_it_knew_the_group_comes_free() {
    let mut world = World::new(1, 5, awake());
    let (from, to) = (world.id(4), world.id(3));
    let body = Body::Heartbeat { commit: Index::ZERO, matched: Index::ZERO, round: 1 };
    let (founding, epoch, term) = (Mint::new(9), Epoch::new(1 << 61), Term::new(COUNT_MAX - 1));
    let message = Message { founding, epoch, term, from: from.mint, to: to.mint, body };
    world.step(3, |machine, cx| machine.on_message(cx, from.node, message));
    let voters: Vec<_> = (0..3).map(|at| (world.id(at), 0)).collect();
    for at in 0..3 {
        world.step(at, |machine, cx| machine.found(cx, Mint::new(7), &voters).unwrap());
    }
    let leader = world.settle();
    world.decide("a");
    world.run(10_000);
    world.step(leader, |machine, cx| machine.change(cx, Change::AddLearner { id: to, priority: 0 })).unwrap();
    world.run(500);
    let id = world.id(3);
    assert_ne!(id, to);
    world.step(leader, |machine, cx| machine.change(cx, Change::AddLearner { id, priority: 0 })).unwrap();
    world.run(500);
    assert_eq!(world.view(3).standing(), Standing::Learner);
}

/// What is decided is believed to nodes of the known group, while there is a link to one, and of a generation that a majority confirms.
#[test]
fn forged_decisions_are_believed_to_nobody() {
    let mut scene = Scene::with(5);
    let (leader, stranger, outsider, term) = (scene.leader, 4, 3, scene.term);
    let forged = |epoch: u64, index: u64| {
        let (founding, epoch, last) = (Mint::new(7), Epoch::new(epoch), mark(1, index));
        let group = Arc::new(Group::of(&[(scene.world.id(stranger), 0)]).unwrap());
        let state = Blob::new(State::default().encode()).unwrap();
        let bytes = Snapshot { founding, epoch, last, group, state }.encode();
        let (total, bytes) = (bytes.len() as u64, Blob::new(bytes).unwrap());
        (epoch, Body::Copy { last, total, offset: 0, bytes })
    };
    let known = scene.world.view(outsider).known();
    let entries = Entries::new(vec![Entry { term: Term::new(term), says: Says::Office }]).unwrap();
    let next = Body::Decided { prev: mark(term, known.index.value()), entries };
    let frames = [
        (stranger, forged(1 << 61, 5)),
        (leader, forged(1 << 61, 5)),
        (stranger, forged(1, 1 << 61)),
        (stranger, (Epoch::new(1), next)),
    ];
    for (from, (epoch, body)) in frames {
        let (mint, founding) = (scene.world.id(from).mint, Mint::new(7));
        let message = Message { founding, epoch, term: Term::new(term), from: mint, to: Mint::new(0), body };
        let node = scene.world.peers[from].node;
        scene.world.step(outsider, |machine, cx| machine.on_message(cx, node, message));
        assert_eq!(scene.world.view(outsider).known(), known);
        assert!(!scene.world.view(outsider).registers().is_empty());
    }
    let later = scene.world.decide("later");
    scene.world.run(500);
    assert_eq!(scene.world.view(outsider).known().index, later.index);
}

#[test]
fn impossible_numbers_are_refused() {
    let mut scene = Scene::new();
    let (leader, follower, term, commit) = (scene.leader, scene.follower, scene.term, scene.commit);
    let huge = u64::MAX;
    let probe = || Body::Append { prev: mark(term, commit), commit: Index::ZERO, entries: entries(&[]) };
    assert_eq!(scene.accused(leader, follower, huge, probe()), Some(Fault::Immense(huge)));
    let bodies = [
        Body::Ask { last: mark(1, huge), ballot: Ballot::Pre },
        Body::Append { prev: mark(1, huge), commit: Index::ZERO, entries: entries(&[]) },
        Body::Append { prev: mark(1, 1), commit: Index::new(huge), entries: entries(&[]) },
        Body::Appended { matched: Index::new(huge) },
        Body::Conflict { rejected: Index::new(1), hint: mark(huge, 1) },
        Body::Heartbeat { commit: Index::ZERO, matched: Index::new(huge), round: 0 },
        Body::Piece { last: mark(1, huge), total: 1, offset: 0, bytes: Blob::default() },
        Body::Pieced { last: mark(huge, 1), upto: 0 },
    ];
    for body in bodies {
        assert_eq!(scene.accused(leader, follower, term, body.clone()), Some(Fault::Immense(huge)), "{body:?}");
    }
    // More than the log has is not acknowledged.
    let last = scene.world.view(leader).last().index;
    let claimed = Index::new(last.value() + 1);
    let beyond = scene.accused(follower, leader, term, Body::Appended { matched: claimed });
    assert_eq!(beyond, Some(Fault::Beyond { claimed, last }));
}

#[test]
fn logs_that_cannot_be_are_refused() {
    let mut scene = Scene::new();
    let (leader, follower, term, commit) = (scene.leader, scene.follower, scene.term, scene.commit);
    let mut append = |term, prev, terms: &[u64]| {
        let body = Body::Append { prev, commit: Index::ZERO, entries: entries(terms) };
        scene.accused(leader, follower, term, body)
    };
    assert!(matches!(append(term, mark(term, commit), &[term + 1]), Some(Fault::Terms { .. })), "of a later term");
    assert!(matches!(append(term, mark(term, commit), &[term - 1]), Some(Fault::Terms { .. })), "terms fall");
    assert!(matches!(append(term, mark(term + 1, commit), &[]), Some(Fault::Terms { .. })));
    // What is committed is not replaced, and where it stands nothing else stood.
    let committed = append(term, mark(0, commit), &[]);
    assert_eq!(committed, Some(Fault::Committed { index: Index::new(commit), commit: Index::new(commit) }));
    let group = Entry { term: Term::new(term), says: Says::Group(Arc::default()) };
    let entries = Entries::new(vec![group]).unwrap();
    let body = Body::Append { prev: mark(term, commit), commit: Index::ZERO, entries };
    assert_eq!(scene.accused(leader, follower, term, body), Some(Fault::Group));
}

#[test]
fn a_second_leader_of_a_term_is_named() {
    let mut scene = Scene::new();
    let (leader, follower, term, commit) = (scene.leader, scene.follower, scene.term, scene.commit);
    let other = 3 - leader - follower;
    let (first, second) = (scene.world.id(leader), scene.world.id(other));
    let body = Body::Append { prev: mark(term, commit), commit: Index::ZERO, entries: entries(&[]) };
    for to in [leader, follower] {
        let expected = Fault::TwoLeaders { term: Term::new(term), first, second };
        assert_eq!(scene.accused(other, to, term, body.clone()), Some(expected));
    }
}

#[test]
fn other_groups_generations_and_stores_are_refused() {
    let mut scene = Scene::new();
    let (leader, follower, term, commit) = (scene.leader, scene.follower, scene.term, scene.commit);
    let (from, to) = (scene.world.id(leader), scene.world.id(follower));
    let body = Body::Append { prev: mark(term, commit), commit: Index::ZERO, entries: entries(&[]) };
    let message = |founding, epoch, to| Message {
        founding: Mint::new(founding),
        epoch: Epoch::new(epoch),
        term: Term::new(term + 3),
        from: from.mint,
        to,
        body: body.clone(),
    };
    let node = from.node;
    let other = Event::PeerFault { peer: node, fault: Fault::OtherGroup(Mint::new(8)) };
    assert_eq!(scene.told(leader, follower, message(8, 1, to.mint)), [other]);
    let old = Event::OldEpoch { peer: node, epoch: Epoch::ZERO };
    assert_eq!(scene.told(leader, follower, message(7, 0, to.mint)), [old]);
    let newer = Event::Disowned { peer: node, epoch: Epoch::new(2) };
    assert_eq!(scene.told(leader, follower, message(7, 2, to.mint)), [newer]);
    // What is meant for a store that is lost is not heeded by the one that is there.
    assert_eq!(scene.told(leader, follower, message(7, 1, Mint::new(99))), []);
}

#[test]
fn snapshots_that_cannot_be_are_refused() {
    let scene = Scene::new();
    let (leader, follower, term, commit) = (scene.leader, scene.follower, scene.term, scene.commit);
    let piece = |total, offset, bytes: &'static [u8], index| {
        let bytes = Blob::new(Bytes::from_static(bytes)).unwrap();
        let mut machine = scene.world.peers[follower].machine.clone();
        let (from, to) = (scene.world.id(leader), scene.world.id(follower).mint);
        let body = Body::Piece { last: mark(term, index), total, offset, bytes };
        let (founding, epoch, term) = (Mint::new(7), Epoch::new(1), Term::new(term));
        let message = Message { founding, epoch, term, from: from.mint, to, body };
        let (mut rng, mut ops) = (Rng::fork(&[1; 32], "x"), Vec::new());
        machine.on_message(&mut Cx::new(scene.world.clock(follower), &mut rng, &mut ops), from.node, message);
        assert_eq!(machine.log.last(), scene.world.peers[follower].machine.log.last());
        ops.into_iter().find_map(|op| match op {
            Op::Emit(Event::PeerFault { fault, .. }) => Some(fault),
            _ => None,
        })
    };
    let next = commit + 5;
    for (total, offset, bytes) in [(0, 0, &[][..]), (u64::MAX, 0, &[1]), (4, 4, &[1]), (9, u64::MAX, &[1]), (9, 3, &[])]
    {
        assert!(matches!(piece(total, offset, bytes, next), Some(Fault::Piece { .. })), "{total} {offset}");
    }
    assert!(matches!(piece(3, 0, &[1, 2, 3], next), Some(Fault::Snapshot { .. })));
    assert!(matches!(piece(3, 0, &[1, 2, 3], commit), None | Some(Fault::Committed { .. })));
    let other = Fault::Committed { index: Index::new(1), commit: Index::new(commit) };
    assert_eq!(piece(3, 0, &[1, 2, 3], 1), Some(other));
    assert_eq!(piece(3, 0, &[1, 2, 3], 0), None, "late, and of what is compacted here: that accuses nobody");
    assert_eq!(piece(9, 4, &[1, 2], next), None, "one that comes too early is asked for again");
}

/// Bytes that were frames once, changed in a few places: each is an error or a message, and no message makes anybody panic.
#[test]
fn mutants_make_nobody_panic() {
    let scene = Scene::new();
    let (leader, follower, term, commit) = (scene.leader, scene.follower, scene.term, scene.commit);
    let snapshot = scene.world.peers[leader].machine.snapshot.encode();
    let request = RequestId { born: Index::new(1), number: 7 };
    let action = Action { name: Name::new("x").unwrap(), expect: Expect::Absent, value: Value::new(vec![1; 9].into()) };
    let intent = Intent { request, expires: Now::default().wall, action };
    let group = scene.world.view(leader).group().unwrap().clone();
    let says = [Says::Office, Says::Act(Arc::new(intent)), Says::Group(group)];
    let more = says.map(|says| Entry { term: Term::new(term), says }).to_vec();
    let bodies = [
        Body::Ask { last: mark(term, commit), ballot: Ballot::Pre },
        Body::Ask { last: mark(term + 1, commit + 1), ballot: Ballot::Succession },
        Body::PreVoted { granted: true },
        Body::Voted { granted: true },
        Body::Append { prev: mark(term, commit), commit: Index::new(commit), entries: Entries::new(more).unwrap() },
        Body::Appended { matched: Index::new(commit) },
        Body::Conflict { rejected: Index::new(commit), hint: mark(1, 1) },
        Body::Heartbeat { commit: Index::new(commit), matched: Index::new(commit), round: 3 },
        Body::Heard { round: 3 },
        Body::Piece { last: mark(term, commit + 3), total: 400, offset: 0, bytes: Blob::new(snapshot).unwrap() },
        Body::Pieced { last: mark(1, 1), upto: 9 },
        Body::Succeed,
        Body::Refused(Why::OtherStore),
    ];
    let (ids, epoch) = ([leader, follower, 3].map(|at| scene.world.id(at)), Epoch::new(1));
    let config = bincode::config::standard();
    let frames = |from: Actor, to: Actor| {
        let message = |body: &Body| Message {
            founding: Mint::new(7),
            epoch,
            term: Term::new(term),
            from: from.mint,
            to: to.mint,
            body: body.clone(),
        };
        bodies.iter().map(|body| bincode::encode_to_vec(message(body), config).unwrap()).collect::<Vec<_>>()
    };
    let mut rng = mutate::luck("consensus frames");
    let (mut read, all) = (0, mutate::cases(4_000, 20));
    let mut machine = scene.world.peers[follower].machine.clone();
    for number in 0..all {
        let (to, from) = ([leader, follower, 3][number % 3], ids[number / 3 % 2]);
        if number % 10 < 3 {
            machine = scene.world.peers[to].machine.clone();
        }
        let bytes = mutate::bytes_of(&mut rng, &frames(from, machine.me));
        let Ok((message, _)) = bincode::decode_from_slice::<Message, _>(&bytes, config.with_limit::<{ 1 << 20 }>())
        else {
            continue;
        };
        read += 1;
        let mut ops = Vec::new();
        let mut cx = Cx::new(scene.world.clock(to), &mut rng, &mut ops);
        machine.on_message(&mut cx, from.node, message);
        machine.on_timer(&mut cx, [Timer::Election, Timer::Heartbeat, Timer::Quorum][number % 3]);
        assert!(machine.commit <= machine.log.last().index && machine.term < Term::new(COUNT_MAX));
        // What it wrote can be read back.
        let mut again = Consensus::new(machine.me.node, awake());
        for op in ops {
            if let Op::Persist(record @ Record::Snapshot(_), _) = op {
                again.restore(&record).unwrap();
            }
        }
    }
    mutate::report("consensus frames", &format!("{all} mutants, {read} of them messages"));
    assert!(read * 4 > all, "{read}");
}
