//! The laws of the neighbour function, and the dialling rules.

use std::sync::Arc;

use super::*;
use crate::machine::Op;
use crate::machine::testkit::step;
use crate::membership::Meta;
use crate::types::{Address, Boot, Incarnation, Time};

const ME: NodeId = id(50);

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

/// A mesh drawn from a few numbers: ids, states, priorities, observers, regions.
fn mesh(drawn: &[(u8, u8)]) -> Vec<Member> {
    let by_id: BTreeMap<u8, u8> = drawn.iter().copied().collect();
    let state = |of: u8| [State::Alive, State::Alive, State::Suspect, State::Dead][usize::from(of % 4)];
    let meta = |of: u8| Meta {
        priority: u16::from(of / 4 % 3),
        observer: (of / 12).is_multiple_of(4),
        region: ["", "eu", "us"][usize::from(of / 48 % 3)].into(),
        ..Meta::default()
    };
    by_id.into_iter().map(|(n, of)| member(n, state(of), meta(of))).collect()
}

fn policy(n: u8) -> Policy {
    match n % 4 {
        0 => Policy::Star,
        1 => Policy::Mesh,
        arity => Policy::Tree { arity },
    }
}

/// Everybody's neighbours.
fn graph(members: &[Member], policy: Policy) -> BTreeMap<NodeId, BTreeSet<NodeId>> {
    let present = members.iter().filter(|member| member.is_present());
    present.map(|member| (member.id, neighbors(members, policy, member.id))).collect()
}

fn reached(graph: &BTreeMap<NodeId, BTreeSet<NodeId>>) -> usize {
    let mut seen: BTreeSet<NodeId> = graph.keys().take(1).copied().collect();
    let mut open: Vec<NodeId> = seen.iter().copied().collect();
    while let Some(at) = open.pop() {
        open.extend(graph[&at].iter().filter(|next| seen.insert(**next)));
    }
    seen.len()
}

quickcheck::quickcheck! {
    fn neighbours_are_mutual(drawn: Vec<(u8, u8)>, kind: u8) -> bool {
        let graph = graph(&mesh(&drawn), policy(kind));
        graph.iter().all(|(a, beside)| beside.iter().all(|b| graph[b].contains(a) && a != b))
    }

    fn everybody_present_is_connected_and_nobody_else(drawn: Vec<(u8, u8)>, kind: u8) -> bool {
        let graph = graph(&mesh(&drawn), policy(kind));
        reached(&graph) == graph.len()
    }

    fn stars_and_trees_have_no_cycle(drawn: Vec<(u8, u8)>, kind: u8) -> bool {
        let policy = policy(kind);
        let graph = graph(&mesh(&drawn), policy);
        let edges: usize = graph.values().map(BTreeSet::len).sum::<usize>() / 2;
        policy == Policy::Mesh || edges == graph.len().saturating_sub(1)
    }

    fn degrees_are_bounded(drawn: Vec<(u8, u8)>, arity: u8) -> bool {
        let arity = arity % 6 + 1;
        let members = mesh(&drawn);
        let most = graph(&members, Policy::Tree { arity }).values().map(BTreeSet::len).max().unwrap_or_default();
        let star = graph(&members, Policy::Star);
        // A gateway has a parent, and children in its region as well as below it.
        most <= 2 * usize::from(arity) + 1 && star.values().filter(|beside| beside.len() > 1).count() <= 1
    }

    fn the_order_of_members_does_not_matter(drawn: Vec<(u8, u8)>, kind: u8, seed: u8) -> bool {
        let members = mesh(&drawn);
        let mut shuffled = members.clone();
        crate::machine::Rng::fork(&[seed; 32], "test").shuffle(&mut shuffled);
        graph(&members, policy(kind)) == graph(&shuffled, policy(kind))
    }

    fn regions_are_joined_by_their_gateways_only(drawn: Vec<(u8, u8)>, arity: u8) -> bool {
        let members = mesh(&drawn);
        let region = |id: &NodeId| members.iter().find(|member| member.id == *id).map(|member| member.meta.region.clone());
        let graph = graph(&members, Policy::Tree { arity: arity % 6 + 1 });
        let regions: BTreeSet<_> = graph.keys().map(region).collect();
        let crossing: usize =
            graph.iter().map(|(a, beside)| beside.iter().filter(|b| region(a) != region(b)).count()).sum();
        crossing / 2 == regions.len().saturating_sub(1)
    }
}

#[test]
fn the_hub_is_the_best_who_may_lead_and_the_next_one_follows() {
    let of = |n, priority, observer| member(n, State::Alive, Meta { priority, observer, ..Meta::default() });
    let mut members = vec![of(1, 2, false), of(2, 2, false), of(3, 1, false), of(4, 9, true)];
    assert_eq!(neighbors(&members, Policy::Star, id(1)), BTreeSet::from([id(2)]));
    assert_eq!(neighbors(&members, Policy::Star, id(2)), BTreeSet::from([id(1), id(3), id(4)]));
    assert_eq!(neighbors::succession(&members), [Some(id(2)), Some(id(1))]);
    members[1].state = State::Dead;
    assert_eq!(neighbors(&members, Policy::Star, id(3)), BTreeSet::from([id(1)]));
    assert_eq!(neighbors(&members, Policy::Star, id(2)), BTreeSet::new(), "the dead have no neighbours");
}

#[test]
fn a_member_alone_has_no_neighbours() {
    for kind in 0..4 {
        assert_eq!(neighbors(&[alive(50)], policy(kind), ME), BTreeSet::new());
    }
}

/// An overlay with these members, and what it asked for.
fn overlay(policy: Policy, members: &[Member]) -> (Overlay, Vec<Op<Overlay>>) {
    let mut overlay = Overlay::new(ME, policy, Config::default());
    let ops = step(|cx| overlay.on_members(cx, &members.iter().collect::<Vec<_>>()));
    (overlay, ops)
}

fn dial(n: u8) -> Op<Overlay> {
    Op::Emit(Event::Dial { peer: id(n), addresses: vec![Address::parse(&format!("/{n}")).unwrap()] })
}

#[test]
fn the_lower_id_dials_at_once_and_the_higher_one_waits() {
    let (_, ops) = overlay(Policy::Mesh, &[alive(1), alive(50), alive(60)]);
    assert_eq!(ops, [Op::Arm(Timer::Dial(id(1)), Config::default().courtesy), dial(60)]);
}

#[test]
fn a_neighbour_is_up_when_it_is_linked_and_computed() {
    let members = [alive(1), alive(50), alive(60)];
    let (mut overlay, _) = overlay(Policy::Star, &members);
    let up = |ops: &[Op<Overlay>]| ops.iter().any(|op| matches!(op, Op::Emit(Event::NeighborUp { .. })));
    assert!(!up(&step(|cx| overlay.link(cx, id(1)))), "linked, but the hub is another");
    assert_eq!(step(|cx| overlay.link(cx, id(60))).last(), Some(&Op::Emit(Event::NeighborUp { peer: id(60) })));
    // The hub dies: the next hub, this node, has everybody for neighbours.
    let rest = [alive(1), alive(50), member(60, State::Dead, Meta::default())];
    let ops = step(|cx| overlay.on_members(cx, &rest.iter().collect::<Vec<_>>()));
    let told: Vec<_> = ops.into_iter().filter(|op| matches!(op, Op::Emit(_))).collect();
    let expected = [Event::NeighborDown { peer: id(60) }, Event::NeighborUp { peer: id(1) }].map(Op::Emit);
    assert_eq!(told, expected);
}

#[test]
fn failed_dials_back_off_until_a_link_has_settled() {
    let peer = alive(60);
    let (mut overlay, _) = overlay(Policy::Mesh, &[alive(50), peer.clone()]);
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
    let (mut overlay, ops) = overlay(Policy::Mesh, &[alive(50), dead.clone(), left.clone()]);
    assert!(matches!(ops[..], [Op::Arm(Timer::Dead, _)]), "{ops:?}");
    let ops = step(|cx| overlay.knock(cx, &members));
    assert!(matches!(&ops[..], [first, Op::Arm(Timer::Dead, _)] if *first == dial(60)), "{ops:?}");
    step(|cx| overlay.link(cx, id(60)));
    assert_eq!(step(|cx| overlay.knock(cx, &members)), [], "linked again: nobody is lost");
}

#[test]
fn beyond_the_limit_links_go_to_neighbours_and_the_next_hub_only() {
    let members: Vec<Member> = (1..=100).map(alive).collect();
    let (star, _) = overlay(Policy::Star, &members);
    assert_eq!(star.wanted.keys().copied().collect::<Vec<_>>(), [id(99), id(100)]);
    let (tree, _) = overlay(Policy::Tree { arity: 3 }, &members);
    assert_eq!(tree.wanted.keys().copied().collect::<BTreeSet<_>>(), tree.computed);
}

#[test]
fn a_member_that_went_away_is_not_dialled() {
    let (mut overlay, _) = overlay(Policy::Mesh, &[alive(1), alive(50)]);
    let ops = step(|cx| overlay.on_members(cx, &[&alive(50)]));
    assert_eq!(ops, [Op::Disarm(Timer::Dial(id(1))), Op::Disarm(Timer::Settled(id(1)))]);
    assert_eq!(step(|cx| overlay.dial(cx, id(1), Some(&alive(1)))), []);
}
