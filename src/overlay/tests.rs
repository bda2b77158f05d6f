//! Dialling, stand-ins, and when neighbours are computed. The laws of the graph itself are `topology`'s.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::machine::Op;
use crate::machine::testkit::{step, step_at};
use crate::membership::{Meta, State};
use crate::types::{Address, Boot, Digest, Incarnation, Now, WallTime};

const ME: NodeId = id(50);
const MESH: Policy = Policy::Mesh { degree: 8 };

const fn id(n: u8) -> NodeId {
    NodeId::from_u128(n as u128)
}

fn member(n: u8, state: State, meta: Meta) -> Member {
    Member {
        id: id(n),
        boot: Boot::new(1),
        incarnation: Incarnation::ZERO,
        state,
        meta: Arc::new(Meta { addresses: vec![Address::parse(&format!("/{n}")).unwrap()], ..meta }),
        since: Time::ZERO,
    }
}

fn alive(n: u8) -> Member {
    member(n, State::Alive, Meta::default())
}

#[test]
fn only_who_is_present_has_neighbours() {
    let members = [alive(1), member(2, State::Suspect, Meta::default()), member(3, State::Dead, Meta::default())];
    assert_eq!(neighbors(&members, MESH, id(1)), BTreeSet::from([id(2)]));
    assert_eq!(neighbors(&members, MESH, id(3)), BTreeSet::new());
    assert_eq!(neighbors(&[alive(50)], MESH, ME), BTreeSet::new(), "alone");
}

/// An overlay with these members, and what it asked for.
fn overlay(policy: Policy, members: &[Member]) -> (Overlay, Vec<Op<Overlay>>) {
    let mut overlay = Overlay::new(ME, policy, Config::default());
    let ops = step(|cx| overlay.compute(cx, &members.iter().collect::<Vec<_>>()));
    (overlay, ops)
}

fn dial(n: u8) -> Op<Overlay> {
    Op::Emit(Event::Dial { peer: id(n), addresses: vec![Address::parse(&format!("/{n}")).unwrap()] })
}

/// Linked with all of these, for a while.
fn link_all(overlay: &mut Overlay, members: &[Member]) {
    for member in members.iter().filter(|member| member.id != ME) {
        step(|cx| overlay.link(cx, member.id));
    }
    step(|cx| overlay.look(cx, &members.iter().collect::<Vec<_>>()));
}

/// One step after so many milliseconds; what was told or said.
fn said(after: u64, of: impl FnOnce(&mut Cx<'_, Overlay>)) -> Vec<Op<Overlay>> {
    let now = Now { mono: Time::from_nanos(after * 1_000_000), ..Now::default() };
    let ops = step_at(now, of);
    ops.into_iter().filter(|op| matches!(op, Op::Send(..) | Op::Emit(_))).collect()
}

const fn up(n: u8) -> Op<Overlay> {
    Op::Emit(Event::NeighborUp { peer: id(n) })
}

const fn down(n: u8) -> Op<Overlay> {
    Op::Emit(Event::NeighborDown { peer: id(n) })
}

const fn hold(n: u8, number: u64) -> Op<Overlay> {
    Op::Send(id(n), Message::Wish { number, holds: true })
}

const fn release(n: u8, number: u64) -> Op<Overlay> {
    Op::Send(id(n), Message::Wish { number, holds: false })
}

#[test]
fn the_lower_id_dials_at_once_and_the_higher_one_waits() {
    let (_, ops) = overlay(MESH, &[alive(1), alive(50), alive(60)]);
    let Config { courtesy, patience, .. } = Config::default();
    assert_eq!(ops, [Op::Arm(Timer::Look, patience), Op::Arm(Timer::Dial(id(1)), courtesy), dial(60)]);
}

#[test]
fn a_neighbour_is_up_when_it_is_linked_and_computed() {
    let members = [alive(1), alive(50), alive(60)];
    let (mut overlay, _) = overlay(Policy::Star, &members);
    assert_eq!(said(0, |cx| overlay.link(cx, id(1))), [], "linked, but the hub is another");
    assert_eq!(said(0, |cx| overlay.link(cx, id(60))), [hold(60, 1), up(60)]);
    // The hub dies: the next hub, this node, has everybody for neighbours.
    let rest = [alive(1), alive(50), member(60, State::Dead, Meta::default())];
    let all: Vec<&Member> = rest.iter().collect();
    assert_eq!(said(9_000, |cx| overlay.compute(cx, &all)), [hold(1, 2), up(1)]);
    assert_eq!(said(9_000, |cx| overlay.unlink(cx, id(60), None))[..1], [down(60)]);
}

#[test]
fn who_is_no_neighbour_any_more_is_held_until_others_know_it() {
    let before = [alive(1), alive(50), alive(60)];
    let (mut overlay, _) = overlay(Policy::Star, &before);
    link_all(&mut overlay, &before);
    let after = [alive(1), alive(50), alive(60), alive(70)];
    let all: Vec<&Member> = after.iter().collect();
    assert_eq!(said(1_000, |cx| overlay.compute(cx, &all)), [dial(70)], "a better hub, not linked yet");
    assert_eq!(said(1_100, |cx| overlay.link(cx, id(70))), [hold(70, 2), up(70)]);
    let linger = u64::try_from(Config::default().linger.as_millis()).unwrap();
    assert_eq!(said(900 + linger, |cx| overlay.look(cx, &all)), []);
    assert_eq!(said(1_000 + linger, |cx| overlay.look(cx, &all)), [release(60, 3), down(60)]);
}

#[test]
fn failed_dials_back_off_until_a_link_has_settled() {
    let peer = alive(60);
    let (mut overlay, _) = overlay(MESH, &[alive(50), peer.clone()]);
    let wait = |ops: Vec<Op<Overlay>>| match ops[..] {
        [.., Op::Arm(Timer::Dial(_), wait)] => wait,
        _ => panic!("{ops:?}"),
    };
    let mut longest = Duration::ZERO;
    for _ in 0..40 {
        longest = longest.max(wait(step(|cx| overlay.on_dial_failed(cx, id(60)))));
    }
    assert!(longest > Duration::from_secs(1) && longest <= Duration::from_secs(30), "{longest:?}");
    step(|cx| overlay.link(cx, id(60)));
    wait(step(|cx| overlay.unlink(cx, id(60), Some(&peer))));
    step(|cx| overlay.link(cx, id(60)));
    overlay.settle(id(60));
    let ops = step(|cx| overlay.unlink(cx, id(60), Some(&peer)));
    assert_eq!(ops.last(), Some(&dial(60)), "after a link that lasted, at once");
}

#[test]
fn the_dead_are_knocked_at_and_those_who_left_are_not() {
    let (dead, left) = (member(60, State::Dead, Meta::default()), member(61, State::Left, Meta::default()));
    let members = [&alive(50), &dead, &left];
    let (mut overlay, ops) = overlay(MESH, &[alive(50), dead.clone(), left.clone()]);
    assert!(matches!(ops[..], [Op::Arm(Timer::Dead, _)]), "{ops:?}");
    let ops = step(|cx| overlay.knock(cx, &members));
    assert!(matches!(&ops[..], [first, Op::Arm(Timer::Dead, _)] if *first == dial(60)), "{ops:?}");
    step(|cx| overlay.link(cx, id(60)));
    assert_eq!(step(|cx| overlay.knock(cx, &members)), [], "linked again: nobody is lost");
}

#[test]
fn beyond_the_limit_links_go_to_neighbours_and_to_who_would_be_above_next() {
    let members: Vec<Member> = (1..=100).map(alive).collect();
    let wanted = |policy| {
        let (overlay, _) = overlay(policy, &members);
        (overlay.wanted.into_keys().collect::<BTreeSet<_>>(), overlay.computed)
    };
    assert_eq!(wanted(Policy::Star).0, BTreeSet::from([id(99), id(100)]));
    let (wants, computed) = wanted(Policy::Tree { arity: 3 });
    assert!(wants.is_superset(&computed) && (1..=computed.len() + 1).contains(&wants.len()), "{wants:?} {computed:?}");
    let (wants, computed) = wanted(MESH);
    assert!(wants == computed && (4..=8).contains(&wants.len()), "{wants:?}");
}

#[test]
fn who_cannot_reach_the_hub_has_the_next_one_stand_in_until_it_can() {
    let members = [alive(1), alive(50), alive(60), alive(70)];
    let all: Vec<&Member> = members.iter().collect();
    let (mut overlay, _) = overlay(Policy::Star, &members);
    link_all(&mut overlay, &members);
    let lost = step(|cx| overlay.unlink(cx, id(70), None));
    let patience = Config::default().patience;
    assert_eq!(lost[1..3], [Op::Arm(Timer::Look, patience), Op::Emit(Event::NeighborDown { peer: id(70) })]);
    assert_eq!(said(100, |cx| overlay.look(cx, &all)), [], "a flap");
    assert_eq!(said(500, |cx| overlay.look(cx, &all)), [hold(60, 2), up(60)]);
    assert_eq!(said(600, |cx| overlay.look(cx, &all)), [], "it was told already");
    // It goes too. Nobody that is left is preferred to this node: who is left may reach them, and it asks who is left.
    assert_eq!(said(700, |cx| overlay.unlink(cx, id(60), None))[..1], [down(60)]);
    assert_eq!(said(1_200, |cx| overlay.look(cx, &all)), [hold(1, 3), up(1)]);
    assert_eq!(overlay.view().stand_ins(), &BTreeSet::from([id(1)]));
    // Both come back, and then nobody needs to stand in.
    assert_eq!(said(1_300, |cx| overlay.link(cx, id(60))), []);
    assert_eq!(said(1_800, |cx| overlay.look(cx, &all)), [hold(60, 4), release(1, 5), down(1), up(60)]);
    assert_eq!(said(1_900, |cx| overlay.link(cx, id(70))), [hold(70, 6), up(70)]);
    assert_eq!(said(2_400, |cx| overlay.look(cx, &all)), [release(60, 7), down(60)]);
}

#[test]
fn a_stand_in_that_becomes_a_neighbour_is_not_let_go() {
    let members = [alive(1), alive(50), alive(60), alive(70)];
    let (mut overlay, _) = overlay(Policy::Star, &members);
    link_all(&mut overlay, &members);
    said(0, |cx| overlay.unlink(cx, id(70), None));
    assert_eq!(said(500, |cx| overlay.look(cx, &members.iter().collect::<Vec<_>>())), [hold(60, 2), up(60)]);
    let rest = [alive(1), alive(50), alive(60), member(70, State::Dead, Meta::default())];
    assert_eq!(said(5_000, |cx| overlay.compute(cx, &rest.iter().collect::<Vec<_>>())), []);
    assert_eq!(overlay.view().neighbors(), &BTreeSet::from([id(60)]));
}

#[test]
fn who_is_held_is_a_neighbour_as_long_as_the_link_lasts() {
    let members = [alive(1), alive(50), alive(60)];
    let (mut overlay, _) = overlay(Policy::Star, &members);
    let wish = |number, holds| Message::Wish { number, holds };
    let heard = |number| Op::Send(id(1), Message::Heard { number });
    assert_eq!(said(0, |cx| overlay.on_message(cx, id(1), wish(1, true))), [], "not linked");
    said(0, |cx| overlay.link(cx, id(1)));
    assert_eq!(said(0, |cx| overlay.on_message(cx, id(1), wish(1, true))), [heard(1), up(1)]);
    assert_eq!(said(0, |cx| overlay.on_message(cx, id(1), wish(2, false))), [heard(2), down(1)]);
    assert_eq!(said(0, |cx| overlay.on_message(cx, id(1), wish(3, true))), [heard(3), up(1)]);
    assert_eq!(said(0, |cx| overlay.unlink(cx, id(1), None))[..1], [down(1)]);
    assert_eq!(said(0, |cx| overlay.link(cx, id(1))), [], "a new link, no wish yet");
}

#[test]
fn a_partial_mesh_closes_its_rings_around_who_is_missing() {
    let members: Vec<Member> = (1..=100).map(alive).collect();
    let all: Vec<&Member> = members.iter().collect();
    let (mut overlay, _) = overlay(MESH, &members);
    let computed = overlay.computed.clone();
    computed.iter().for_each(|peer| _ = step(|cx| overlay.link(cx, *peer)));
    computed.iter().skip(2).for_each(|gone| _ = said(0, |cx| overlay.unlink(cx, *gone, None)));
    // Without a link its stand-ins are dialled; those who cannot be reached either are passed over.
    let dialled = said(500, |cx| overlay.look(cx, &all));
    let first = overlay.stand_ins.clone();
    assert!(!first.is_empty() && first.is_disjoint(&computed) && dialled.len() <= first.len(), "{dialled:?}");
    said(1_000, |cx| overlay.look(cx, &all));
    let second = overlay.stand_ins.clone();
    assert!(!second.is_empty() && second.is_disjoint(&first), "{first:?} {second:?}");
    let next = *second.first().unwrap();
    let held = Message::Wish { number: overlay.wishes + 1, holds: true };
    let expected = [Op::Send(next, held), Op::Emit(Event::NeighborUp { peer: next })];
    assert_eq!(said(1_100, |cx| overlay.link(cx, next)), expected);
}

#[test]
fn in_a_large_mesh_neighbours_are_computed_at_intervals_and_in_a_small_one_at_once() {
    let config = Config::default();
    let many = config.links_max + 2;
    let pause = config.compute_spacing * u32::try_from(many).unwrap();
    let mut overlay = Overlay::new(ME, MESH, config);
    let start = Now { mono: Time::from_nanos(1 << 40), ..Now::default() };
    let soon = Now { mono: start.mono + pause / 4, ..start };
    let mut later = |now, present| {
        let mut later = false;
        let ops = step_at(now, |cx| {
            later = overlay.computes_later(cx, present);
            if !later {
                overlay.compute(cx, &[]);
            }
        });
        (later, ops)
    };
    assert_eq!(later(start, many), (false, vec![]), "the first news at once");
    assert_eq!(later(soon, many), (true, vec![Op::Arm(Timer::Compute, pause * 3 / 4)]));
    assert_eq!(later(soon, many), (true, vec![]), "it is armed");
    let mut small = Overlay::new(ME, MESH, Config::default());
    for _ in 0..2 {
        step_at(start, |cx| assert!(!small.computes_later(cx, many - 1)));
        step_at(start, |cx| small.compute(cx, &[]));
    }
}

#[test]
fn another_policy_is_followed_at_once() {
    let members = [alive(1), alive(50), alive(60)];
    let all: Vec<&Member> = members.iter().collect();
    let (mut overlay, _) = overlay(Policy::Star, &members);
    link_all(&mut overlay, &members);
    assert_eq!(said(0, |cx| overlay.follow(cx, MESH, &all)), [hold(1, 2), up(1)]);
    assert_eq!((overlay.view().kind(), said(0, |cx| overlay.follow(cx, MESH, &all))), ("mesh", vec![]));
}

#[test]
fn golden_bytes_of_every_message() {
    let bytes = |message: Message| bincode::encode_to_vec(message, bincode::config::standard()).unwrap();
    assert_eq!(bytes(Message::Wish { number: 300, holds: true }), [0, 251, 44, 1, 1]);
    let (issued_at, signer) = (WallTime::from_micros(5), id(9));
    let policy = SignedPolicy { version: 3, issued_at, signer, policy: Policy::Star, proof: vec![7, 8] };
    let signer = [&[0; 15][..], &[9]].concat();
    assert_eq!(bytes(Message::Policy(policy)), [&[1, 3, 5][..], &signer, &[4], b"star", &[2, 7, 8]].concat());
    assert_eq!(bytes(Message::Policies { digest: Digest::ZERO, asks: true }), [2, 0, 1]);
    assert_eq!(bytes(Message::Heard { number: 7 }), [3, 7]);
}

#[test]
fn a_member_that_went_away_is_not_dialled() {
    let (mut overlay, _) = overlay(MESH, &[alive(1), alive(50)]);
    let ops = step(|cx| overlay.compute(cx, &[&alive(50)]));
    assert_eq!(ops, [Op::Disarm(Timer::Dial(id(1))), Op::Disarm(Timer::Settled(id(1)))]);
    assert_eq!(step(|cx| overlay.dial(cx, id(1), Some(&alive(1)))), []);
}
