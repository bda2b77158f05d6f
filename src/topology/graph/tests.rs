//! The laws of the graph, and its figures.

use super::*;

/// A number drawn for the `n`th of something.
fn drawn(seed: u8, n: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(&n.to_le_bytes(), u64::from(seed) + 1)
}

/// In another order.
fn shuffled<T>(seed: u8, items: Vec<T>) -> Vec<T> {
    let mut keyed: Vec<(u64, T)> = (0..).map(|n| drawn(seed, n)).zip(items).collect();
    keyed.sort_by_key(|(key, _)| *key);
    keyed.into_iter().map(|(_, item)| item).collect()
}

type Graph = BTreeMap<NodeId, BTreeSet<NodeId>>;

/// Members drawn from a few numbers: ids, priorities, observers, regions.
fn seats(drawn: &[(u8, u8)]) -> Vec<Seat<'static>> {
    let by_id: BTreeMap<u8, u8> = drawn.iter().copied().collect();
    let seat = |(id, of): (u8, u8)| Seat {
        id: NodeId::from_u128(id.into()),
        region: ["", "", "eu", "us"][usize::from(of % 4)],
        priority: u16::from(of / 4 % 3),
        observer: (of / 12).is_multiple_of(4),
    };
    by_id.into_iter().map(seat).collect()
}

/// So many alike members of one region.
fn alike(count: u64, seed: u8) -> Vec<Seat<'static>> {
    let seat = |n| Seat { id: NodeId::from_u128(drawn(seed, n).into()), region: "", priority: 0, observer: false };
    (0..count).map(seat).collect()
}

fn policy(drawn: u8) -> Policy {
    match drawn % 4 {
        0 => Policy::Star,
        1 => Policy::Mesh { degree: 4 + drawn / 4 % 5 * 2 },
        arity => Policy::Tree { arity },
    }
}

fn is_mesh(policy: Policy) -> bool {
    matches!(policy, Policy::Mesh { .. })
}

/// Everybody's neighbours.
fn graph(seats: &[Seat<'_>], policy: Policy) -> Graph {
    seats.iter().map(|seat| (seat.id, neighbors(seats, policy, seat.id))).collect()
}

/// Each edge once.
fn edges(graph: &Graph) -> BTreeSet<(NodeId, NodeId)> {
    graph.iter().flat_map(|(a, beside)| beside.iter().map(|b| (*a.min(b), *a.max(b)))).collect()
}

fn without(seats: &[Seat<'static>], gone: NodeId) -> Vec<Seat<'static>> {
    seats.iter().copied().filter(|seat| seat.id != gone).collect()
}

/// The steps to whom can be reached from one member.
fn steps(graph: &Graph, from: NodeId) -> BTreeMap<NodeId, usize> {
    let (mut found, mut open) = (BTreeMap::from([(from, 0)]), std::collections::VecDeque::from([from]));
    while let Some(at) = open.pop_front() {
        for next in &graph[&at] {
            if !found.contains_key(next) {
                found.insert(*next, found[&at] + 1);
                open.push_back(*next);
            }
        }
    }
    found
}

/// How many members the largest piece has.
fn largest(graph: &Graph) -> usize {
    let mut left: BTreeSet<NodeId> = graph.keys().copied().collect();
    let mut most = 0;
    while let Some(from) = left.first() {
        let piece = steps(graph, *from);
        most = most.max(piece.len());
        left.retain(|id| !piece.contains_key(id));
    }
    most
}

/// What is left when these die, before anybody reacts.
fn cut(mut graph: Graph, dead: &BTreeSet<NodeId>) -> Graph {
    graph.retain(|id, _| !dead.contains(id));
    graph.values_mut().for_each(|beside| beside.retain(|id| !dead.contains(id)));
    graph
}

/// What the neighbours of the dead make of it, as long as everybody else knows nothing.
fn stood_in(seats: &[Seat<'_>], policy: Policy, dead: NodeId) -> Graph {
    let whole = graph(seats, policy);
    let missing = BTreeSet::from([dead]);
    let mut left = cut(whole.clone(), &missing);
    for asker in &whole[&dead] {
        for asked in stand_ins(seats, policy, *asker, &missing) {
            left.entry(*asker).or_default().insert(asked);
            left.entry(asked).or_default().insert(*asker);
        }
    }
    left
}

/// What two neighbours make of it who cannot reach each other, while all others can.
fn parted(seats: &[Seat<'_>], policy: Policy, one: NodeId, other: NodeId) -> Graph {
    let mut left = graph(seats, policy);
    for (asker, missing) in [(one, other), (other, one)] {
        left.entry(asker).or_default().remove(&missing);
        for asked in stand_ins(seats, policy, asker, &BTreeSet::from([missing])) {
            left.entry(asker).or_default().insert(asked);
            left.entry(asked).or_default().insert(asker);
        }
    }
    left
}

/// What comes of one that can reach none of its neighbours, while all others can reach each other, and it them.
fn avoided(seats: &[Seat<'_>], policy: Policy, one: NodeId) -> Graph {
    let whole = graph(seats, policy);
    let beside = &whole[&one];
    let mut left = whole.clone();
    left.entry(one).or_default().clear();
    let askers = beside.iter().map(|asker| (*asker, BTreeSet::from([one]))).chain([(one, beside.clone())]);
    for (asker, missing) in askers {
        left.entry(asker).or_default().remove(&one);
        for asked in stand_ins(seats, policy, asker, &missing) {
            left.entry(asker).or_default().insert(asked);
            left.entry(asked).or_default().insert(asker);
        }
    }
    left
}

/// The edges among the others that change when one goes.
fn changed(seats: &[Seat<'static>], policy: Policy, gone: NodeId) -> usize {
    let before = edges(&cut(graph(seats, policy), &BTreeSet::from([gone])));
    before.symmetric_difference(&edges(&graph(&without(seats, gone), policy))).count()
}

quickcheck::quickcheck! {
    fn neighbours_are_mutual(drawn: Vec<(u8, u8)>, kind: u8) -> bool {
        let graph = graph(&seats(&drawn), policy(kind));
        graph.iter().all(|(a, beside)| beside.iter().all(|b| graph[b].contains(a) && a != b))
    }

    fn everybody_is_connected(drawn: Vec<(u8, u8)>, kind: u8) -> bool {
        let graph = graph(&seats(&drawn), policy(kind));
        largest(&graph) == graph.len()
    }

    fn stars_and_trees_have_no_cycle(drawn: Vec<(u8, u8)>, kind: u8) -> bool {
        let graph = graph(&seats(&drawn), policy(kind));
        is_mesh(policy(kind)) || edges(&graph).len() == graph.len().saturating_sub(1)
    }

    fn degrees_are_bounded(drawn: Vec<(u8, u8)>, kind: u8) -> bool {
        let graph = graph(&seats(&drawn), policy(kind));
        graph.values().all(|beside| degree_max(policy(kind)).is_none_or(|most| beside.len() <= most))
    }

    fn the_order_of_members_does_not_matter(drawn: Vec<(u8, u8)>, kind: u8, seed: u8) -> bool {
        let seats = seats(&drawn);
        graph(&seats, policy(kind)) == graph(&shuffled(seed, seats.clone()), policy(kind))
    }

    fn nobody_is_below_one_who_is_less_preferred(drawn: Vec<(u8, u8)>, kind: u8) -> bool {
        let (seats, policy) = (seats(&drawn), policy(kind));
        let rank = |id: NodeId| seats.iter().find(|seat| seat.id == id).map(Seat::rank);
        let parents: Vec<_> = seats.iter().filter_map(|seat| Some((seat, above(&seats, policy, seat.id)?))).collect();
        let all = if is_mesh(policy) { 0 } else { seats.len().saturating_sub(1) };
        parents.len() == all && parents.iter().all(|(seat, above)| rank(*above) < Some(seat.rank()))
    }

    fn gateways_join_the_regions_and_nobody_else(drawn: Vec<(u8, u8)>, kind: u8) -> bool {
        let (seats, policy) = (seats(&drawn), policy(kind));
        let region = |id: &NodeId| seats.iter().find(|seat| seat.id == *id).map(|seat| seat.region);
        let regions: BTreeSet<_> = seats.iter().map(|seat| seat.region).collect();
        let crossing = edges(&graph(&seats, policy)).iter().filter(|(a, b)| region(a) != region(b)).count();
        match policy {
            Policy::Mesh { degree } if !is_full(seats.len(), degree) => crossing == regions.len() * (regions.len() - 1) / 2,
            Policy::Tree { .. } => crossing == regions.len().saturating_sub(1),
            _ => true,
        }
    }

    fn one_who_goes_changes_little(drawn: Vec<(u8, u8)>, kind: u8, which: u8) -> bool {
        let (seats, policy) = (seats(&drawn), policy(kind));
        let Some(gone) = seats.get(usize::from(which) % seats.len().max(1)) else { return true };
        let few = |degree| is_full(seats.len() - 1, degree) || seats.iter().filter(|seat| seat.region == gone.region).count() <= Policy::FULL_MAX + 1;
        let most = match policy {
            // On each ring of a region the gap is closed; and another gateway may be needed, which all others know.
            Policy::Mesh { degree } if !few(degree) => usize::from(degree) / 2 + 4 * Policy::FULL_MAX,
            // On each level an heir takes a place: it leaves a parent and children, and gets others.
            Policy::Tree { arity } => {
                let root = seats.iter().min_by_key(|seat| seat.rank()).map(|seat| seat.id);
                let depth = root.and_then(|root| steps(&graph(&seats, policy), root).into_values().max());
                2 * (usize::from(arity) + 1) * (depth.unwrap_or_default() + 2)
            }
            _ => return true,
        };
        changed(&seats, policy, gone.id) <= most
    }

    fn stand_ins_connect_what_a_death_has_cut(drawn: Vec<(u8, u8)>, kind: u8, which: u8) -> bool {
        let (seats, policy) = (seats(&drawn), policy(kind));
        let Some(dead) = seats.get(usize::from(which) % seats.len().max(1)) else { return true };
        let left = stood_in(&seats, policy, dead.id);
        let whole = largest(&left) == left.len();
        whole && (is_mesh(policy) || edges(&left).len() == left.len().saturating_sub(1))
    }
}

quickcheck::quickcheck! {
    fn stand_ins_connect_what_a_broken_link_has_cut(drawn: Vec<(u8, u8)>, kind: u8, which: usize) -> bool {
        let (seats, policy) = (seats(&drawn), policy(kind));
        let all: Vec<_> = edges(&graph(&seats, policy)).into_iter().collect();
        let Some((one, other)) = all.get(which % all.len().max(1)).copied().filter(|_| seats.len() > 2) else { return true };
        let left = parted(&seats, policy, one, other);
        largest(&left) == left.len()
    }
}

quickcheck::quickcheck! {
    fn who_reaches_none_of_its_neighbours_finds_others(drawn: Vec<(u8, u8)>, kind: u8, which: u8) -> bool {
        let (seats, policy) = (seats(&drawn), policy(kind));
        let Some(one) = seats.get(usize::from(which) % seats.len().max(1)) else { return true };
        let left = avoided(&seats, policy, one.id);
        // Where all others are its neighbours there is nobody to find.
        neighbors(&seats, policy, one.id).len() + 1 == seats.len() || largest(&left) == left.len()
    }
}

#[test]
fn the_hub_is_the_best_who_may_lead_and_the_next_one_stands_in() {
    let of = |n: u128, priority, observer| Seat { id: NodeId::from_u128(n), region: "", priority, observer };
    let seats = [of(1, 2, false), of(2, 2, false), of(3, 1, false), of(4, 9, true)];
    let ids = |list: &[u128]| list.iter().copied().map(NodeId::from_u128).collect::<BTreeSet<_>>();
    let id = NodeId::from_u128;
    assert_eq!(neighbors(&seats, Policy::Star, id(1)), ids(&[2]));
    assert_eq!(neighbors(&seats, Policy::Star, id(2)), ids(&[1, 3, 4]));
    assert_eq!((above(&seats, Policy::Star, id(2)), above(&seats, Policy::Star, id(4))), (None, Some(id(2))));
    assert_eq!(stand_ins(&seats, Policy::Star, id(4), &ids(&[2])), ids(&[1]));
    assert_eq!(stand_ins(&seats, Policy::Star, id(2), &ids(&[4])), ids(&[]), "the others ask it");
    assert_eq!(stand_ins(&seats, Policy::Star, id(1), &ids(&[2])), ids(&[3, 4]), "they may reach whom it cannot");
    assert_eq!(stand_ins(&seats, Policy::Star, id(3), &ids(&[2, 1])), ids(&[4]), "it is the best that is left");
    assert_eq!(neighbors(&seats, Policy::Star, id(9)), ids(&[]), "it is not there");
}

#[test]
fn places_are_the_same_in_every_version() {
    const PLACES: [u64; 3] = [12_035_550_249_420_947_055, 627_405_149_472_732_430, 7_136_257_342_804_621_622];
    assert_eq!([0, 1, u128::MAX].map(|id| hash((false, Reverse(0), Reverse(id)))), PLACES);
}

#[test]
fn few_in_a_tree_are_all_children() {
    let seats = alike(4, 1);
    let root = seats.iter().map(|seat| seat.id).max().unwrap();
    assert_eq!(neighbors(&seats, Policy::Tree { arity: 3 }, root).len(), 3);
}

/// What a mesh is worth when 300 in 1,000 die at one blow, and how far apart its members are.
fn blow(count: u64, degree: u8, seed: u8) -> (usize, usize, f64) {
    let seats = alike(count, seed);
    let mesh = graph(&seats, Policy::Mesh { degree });
    let order = shuffled(seed, seats.iter().map(|seat| seat.id).collect());
    let far: Vec<usize> = order.iter().take(5).flat_map(|from| steps(&mesh, *from).into_values()).collect();
    let dead = order.into_iter().take(seats.len() * 3 / 10).collect();
    let left = cut(mesh, &dead);
    let mean = far.iter().sum::<usize>() as f64 / far.len() as f64;
    (left.len() - largest(&left), far.into_iter().max().unwrap_or_default(), mean)
}

/// How many edges among the others change when one goes: the mean and the most, of some.
fn churn(count: u64, policy: Policy, goes: usize) -> (f64, usize) {
    let seats = alike(count, 1);
    let counts: Vec<usize> = seats.iter().take(goes).map(|seat| changed(&seats, policy, seat.id)).collect();
    (counts.iter().sum::<usize>() as f64 / goes as f64, counts.into_iter().max().unwrap_or_default())
}

#[test]
fn a_mesh_of_eight_survives_a_blow_and_churns_little() {
    let (cut_off, diameter, mean) = blow(300, 8, 1);
    assert!(cut_off <= 2 && diameter <= 5 && mean < 4.0, "{cut_off} {diameter} {mean}");
    let ((mesh, most), (tree, _)) =
        (churn(100, Policy::Mesh { degree: 8 }, 8), churn(100, Policy::Tree { arity: 4 }, 8));
    assert!(mesh <= 4.0 && most <= 4 && tree <= 6.0, "{mesh} {most} {tree}");
}

/// The figures of the essay.
#[test]
#[ignore = "minutes in a debug build: cargo test --release --lib figures_of_a_thousand -- --ignored --nocapture"]
fn figures_of_a_thousand() {
    for degree in [4, 6, 8, 10, 12] {
        let trials: Vec<_> = (0..40).map(|seed| blow(1_000, degree, seed)).collect();
        let whole = trials.iter().filter(|(cut_off, ..)| *cut_off == 0).count();
        let (worst, diameter) = trials.iter().fold((0, 0), |most, one| (most.0.max(one.0), most.1.max(one.1)));
        let mean = trials.iter().map(|(.., mean)| mean).sum::<f64>() / 40.0;
        println!(
            "mesh:{degree}: {diameter} steps at most, {mean:.2} in the mean; after 300 deaths in one piece {whole} of 40 times, at most {worst} cut off"
        );
    }
    for policy in
        [Policy::Mesh { degree: 8 }, Policy::Tree { arity: 3 }, Policy::Tree { arity: 4 }, Policy::Tree { arity: 8 }]
    {
        let (mean, most) = churn(1_000, policy, 300);
        println!("{policy}: {mean:.2} edges among the others change when one goes, at most {most}");
    }
}
