//! The choice of voters, step by step.

use super::*;

const SECOND: u64 = 1_000_000_000;

fn id(n: u128) -> Actor {
    Actor { node: NodeId::from_u128(n), mint: Mint::new(u64::try_from(n).unwrap() + 100) }
}

fn seen(n: u128, state: State) -> Seen {
    Seen { id: NodeId::from_u128(n), state, is_fit: true, is_well: true, priority: 100 }
}

/// A leader, number 1, with a group that it changes as it is told; time passes by seconds.
struct Room {
    voters: Voters,
    group: Group,
    now: u64,
    done: Vec<(u64, Step)>,
    /// Nobody says its name.
    is_silent: bool,
    /// Whoever is not made a voter, since it is not ready.
    unready: Option<Actor>,
}

impl Room {
    fn new(target: u8) -> Self {
        let config = Config { target, ..Config::default() };
        Self {
            voters: Voters::new(config, false),
            group: Group::of(&[(id(1), 100)]).unwrap(),
            now: 0,
            done: Vec::new(),
            is_silent: false,
            unready: None,
        }
    }

    /// So many seconds, with these members; whoever is asked says its name at once, unless all are silent.
    fn run(&mut self, seconds: u64, members: &[Seen]) {
        for _ in 0..seconds {
            for _ in 0..4 {
                let now = Time::from_nanos(self.now * SECOND);
                let Some(step) = self.voters.step(now, id(1), &self.group, members) else { break };
                match step {
                    Step::Ask(_) if self.is_silent => break,
                    Step::Ask(peer) => {
                        // Whoever was removed takes part under another name.
                        let mut name = id(u128::from_be_bytes(*peer.as_bytes()));
                        while self.group.is_retired(name) {
                            name.mint = Mint::new(name.mint.value() + 1_000);
                        }
                        self.voters.met(name);
                    }
                    Step::Change(change @ Change::Promote { id }) if self.unready == Some(id) => {
                        self.voters.retry(now, change);
                        break;
                    }
                    Step::Change(change) => {
                        self.group = self.group.changed(change).unwrap();
                        self.done.push((self.now, step));
                    }
                }
            }
            self.now += 1;
        }
    }

    fn wish(&mut self, wanted: &[u128], barred: &[u128]) {
        let nodes = |some: &[u128]| some.iter().map(|n| NodeId::from_u128(*n)).collect();
        self.voters.wishes = Wishes { wanted: nodes(wanted), barred: nodes(barred) };
    }

    fn voters(&self) -> Vec<u128> {
        self.group.voters().map(|it| u128::from_be_bytes(*it.id.node.as_bytes())).collect()
    }
}

#[test]
fn there_are_as_many_voters_as_serve() {
    for (target, members, voters) in [(3, 1, 1), (3, 2, 1), (3, 3, 3), (3, 8, 3), (5, 4, 3), (5, 5, 5), (1, 9, 1)] {
        let mut room = Room::new(target);
        let all: Vec<Seen> = (1..=members).map(|n| seen(n, State::Alive)).collect();
        room.run(9, &all);
        assert_eq!(room.voters(), [1], "nobody is chosen before it has been there for a while");
        room.run(60, &all);
        assert_eq!(room.voters().len(), voters, "{target} of {members}");
        let members = room.group.members().len();
        assert_eq!(members, voters, "nobody is left a learner");
    }
}

#[test]
fn observers_and_peers_that_cannot_write_are_not_chosen() {
    let mut room = Room::new(3);
    let all = [
        seen(1, State::Alive),
        Seen { is_fit: false, ..seen(2, State::Alive) },
        Seen { is_well: false, ..seen(3, State::Alive) },
        seen(4, State::Alive),
        Seen { priority: 200, ..seen(5, State::Alive) },
    ];
    room.run(60, &all);
    assert_eq!(room.voters(), [1, 4, 5]);
    let fifth = id(5);
    let learner = |step: &Step| matches!(step, Step::Change(Change::AddLearner { id, .. }) if *id == fifth);
    assert!(learner(&room.done[0].1), "the higher priority first: {:?}", room.done);
}

#[test]
fn priorities_count_over_all_that_can_be_configured() {
    let mut room = Room::new(3);
    let of = |n, priority| Seen { priority, ..seen(n, State::Alive) };
    let mut all = vec![of(1, 100), of(2, 255), of(3, 300), of(4, 65_000)];
    room.run(60, &all);
    assert_eq!(room.voters(), [1, 3, 4], "those of 300 and 65000 before the one of 255");
    let kept = |n: u128| room.group.member(id(n)).map(|it| it.priority);
    assert_eq!([kept(3), kept(4)], [Some(255); 2], "the group's record has no room for more");
    all.push(of(5, 65_535));
    room.wish(&[1, 5], &[]);
    room.run(120, &all);
    assert_eq!(room.voters(), [1, 4, 5], "of 300 and 65000 the lower one goes");
}

#[test]
fn a_voter_that_is_gone_for_long_is_replaced_and_never_merely_dropped() {
    let mut room = Room::new(3);
    let mut all: Vec<Seen> = (1..=4).map(|n| seen(n, State::Alive)).collect();
    room.run(60, &all);
    assert_eq!(room.voters(), [1, 2, 3]);
    all[1].state = State::Dead;
    room.run(290, &all);
    assert_eq!(room.voters(), [1, 2, 3]);
    room.run(60, &all);
    assert_eq!(room.voters(), [1, 3, 4]);
    all[2].state = State::Dead;
    room.run(900, &all);
    assert_eq!(room.voters(), [1, 3, 4], "there is nobody in its place");
    all[2].state = State::Alive;
    room.run(900, &all);
    assert_eq!(room.voters(), [1, 3, 4]);
}

#[test]
fn a_lost_store_goes_at_once_and_comes_back_under_its_new_name() {
    let mut room = Room::new(3);
    let all: Vec<Seen> = (1..=3).map(|n| seen(n, State::Alive)).collect();
    room.run(60, &all);
    room.voters.reborn(id(2), Mint::new(7));
    room.run(1, &all);
    assert!(!room.group.is_voter(id(2)));
    room.run(60, &all);
    assert!(room.group.is_voter(Actor { mint: Mint::new(7), ..id(2) }));
}

#[test]
fn who_says_goodbye_is_replaced_soon_and_a_mesh_of_two_has_one_voter() {
    let mut room = Room::new(3);
    let mut all: Vec<Seen> = (1..=3).map(|n| seen(n, State::Alive)).collect();
    room.run(60, &all);
    all[2].state = State::Left;
    room.run(60, &all);
    assert_eq!(room.voters(), [1]);
}

/// The members of a room as its leader sees them: whoever is barred is not fit.
fn fit(room: &Room, members: &[Seen]) -> Vec<Seen> {
    let barred = &room.voters.wishes.barred;
    members.iter().map(|it| Seen { is_fit: it.is_fit && !barred.contains(&it.id), ..*it }).collect()
}

#[test]
fn who_is_wanted_takes_the_place_of_who_is_not() {
    let mut room = Room::new(3);
    let all: Vec<Seen> = (1..=6).map(|n| seen(n, State::Alive)).collect();
    room.run(60, &all);
    assert_eq!(room.voters(), [1, 2, 3]);
    room.wish(&[5, 6], &[]);
    let before = room.done.len();
    room.run(120, &all);
    assert_eq!(room.voters(), [1, 5, 6], "whoever leads stays as long as another can go");
    assert_eq!(room.done.len() - before, 6, "a learner, a voter and one less, twice: {:?}", &room.done[before..]);
    let fewest = room.done[before..].iter().filter(|(_, it)| matches!(it, Step::Change(Change::Remove { .. })));
    assert!(fewest.count() == 2 && matches!(room.done[before].1, Step::Change(Change::AddLearner { .. })));
    room.wish(&[4, 5, 6], &[]);
    room.run(120, &all);
    assert_eq!(room.voters(), [4, 5, 6], "all places are for others: it goes itself");
    let before = room.done.len();
    room.run(600, &all);
    assert_eq!(room.done.len(), before, "that is all");
}

#[test]
fn who_is_barred_goes_and_is_not_chosen_again() {
    let mut room = Room::new(3);
    let all: Vec<Seen> = (1..=4).map(|n| seen(n, State::Alive)).collect();
    room.run(60, &all);
    room.wish(&[], &[2]);
    let before = room.done.len();
    room.run(1, &fit(&room, &all));
    assert_eq!((room.voters(), room.done.len()), (vec![1, 3, 4], before + 3), "at once, since another is there");
    assert_eq!(room.done[before + 1].1, Step::Change(Change::Promote { id: id(4) }), "which comes first");
    room.wish(&[], &[2, 4]);
    room.run(120, &fit(&room, &all));
    assert_eq!(room.voters(), [1], "one of two: either that was lost would end it");
    room.wish(&[], &[1]);
    room.run(60, &fit(&room, &all));
    assert_eq!(room.voters(), [2, 3, 4], "the only voter goes when another votes");
    room.wish(&[], &[]);
    room.run(60, &all);
    assert_eq!(room.voters(), [2, 3, 4]);
}

/// Else three of which two are not wanted would be one for as long as others take.
#[test]
fn barred_voters_go_one_by_one_as_others_come() {
    let mut room = Room::new(3);
    let all: Vec<Seen> = (1..=5).map(|n| seen(n, State::Alive)).collect();
    room.run(60, &all[..3]);
    room.wish(&[], &[2, 3]);
    let least = |room: &mut Room, all: &[Seen], seconds| {
        let each = (0..seconds).map(|_| {
            room.run(1, &fit(room, all));
            room.voters().len()
        });
        each.min()
    };
    assert_eq!((least(&mut room, &all, 60), room.voters()), (Some(3), vec![1, 4, 5]));
}

/// Who is there and does not say its name is waited for, and not for ever.
#[test]
fn a_barred_voter_goes_in_the_end_though_nobody_has_come() {
    let mut room = Room::new(3);
    let all: Vec<Seen> = (1..=4).map(|n| seen(n, State::Alive)).collect();
    room.run(60, &all[..3]);
    room.wish(&[], &[3]);
    room.is_silent = true;
    let begun = room.now;
    while room.voters().len() == 3 && room.now < begun + 200 {
        room.run(1, &fit(&room, &all));
    }
    assert_eq!((room.voters(), room.now - begun), (vec![1, 2], STAND_IN.as_secs() + 1));
}

/// What would lose the quorum is not tried again for ever while nothing else is done.
#[test]
fn a_barred_voter_that_is_needed_stays_until_another_stands_in() {
    let mut room = Room::new(3);
    let mut all: Vec<Seen> = (1..=4).map(|n| seen(n, State::Alive)).collect();
    room.run(60, &all[..3]);
    assert_eq!(room.voters(), [1, 2, 3]);
    all[2].state = State::Dead;
    room.wish(&[], &[2]);
    let before = room.done.len();
    room.run(9, &fit(&room, &all));
    assert_eq!(room.done.len(), before, "of 1 and 3 nobody could decide");
    room.run(9, &fit(&room, &all));
    assert_eq!(room.voters(), [1, 3, 4]);
    room.wish(&[], &[2, 4]);
    room.run(9, &fit(&room, &all));
    assert_eq!(room.voters(), [1, 3, 4], "of 1 and 3 nobody could decide");
    room.run(400, &fit(&room, &all));
    assert_eq!(room.voters(), [1], "it is a mesh of one that is there and may vote");
}

/// Else it would take itself for a mesh of one.
#[test]
fn a_new_leader_does_not_bar_voters_before_it_has_met_all() {
    let mut room = Room::new(3);
    room.group = Group::of(&[(id(1), 100), (id(2), 100), (id(3), 100)]).unwrap();
    let all: Vec<Seen> = (1..=5).map(|n| seen(n, State::Alive)).collect();
    room.wish(&[], &[2, 3]);
    room.run(5, &fit(&room, &all[..3]));
    assert_eq!(room.voters(), [1, 2, 3]);
    for _ in 0..60 {
        room.run(1, &fit(&room, &all));
        assert!(room.voters().len() >= 3);
    }
    assert_eq!(room.voters(), [1, 4, 5]);
}

#[test]
fn a_learner_that_is_never_ready_makes_room_for_another() {
    let mut room = Room::new(3);
    let all: Vec<Seen> = (1..=5).map(|n| seen(n, State::Alive)).collect();
    room.run(60, &all[..3]);
    room.unready = Some(id(4));
    room.wish(&[], &[2]);
    room.run(400, &fit(&room, &all));
    assert_eq!(room.voters(), [1, 3, 5]);
}

#[test]
fn of_two_members_the_wanted_one_votes() {
    let mut room = Room::new(3);
    let all: Vec<Seen> = (1..=2).map(|n| seen(n, State::Alive)).collect();
    room.run(60, &all);
    assert_eq!(room.voters(), [1]);
    room.wish(&[2], &[]);
    room.run(120, &all);
    assert_eq!(room.voters(), [2]);
    assert_eq!(room.done.len(), 3);
}

/// Found by small-duels, seed 103029: all were restarted, and two of three had met.
#[test]
fn whoever_was_not_met_again_since_a_restart_has_not_left() {
    let mut room = Room::new(3);
    room.group = Group::of(&[(id(1), 100), (id(2), 100), (id(3), 100)]).unwrap();
    let two = [seen(1, State::Alive), seen(2, State::Alive)];
    room.run(900, &two);
    assert_eq!(room.voters(), [1, 2, 3]);
    room.run(30, &[two[0], two[1], seen(3, State::Dead)]);
    assert_eq!(room.voters(), [1, 2, 3]);
    room.run(60, &two);
    assert_eq!(room.voters(), [1], "it was met, and then forgotten");
}

#[test]
fn it_looks_again_only_when_something_may_be_due() {
    let mut room = Room::new(3);
    let all: Vec<Seen> = (1..=3).map(|n| seen(n, State::Alive)).collect();
    room.voters.step(Time::ZERO, id(1), &room.group, &all);
    assert_eq!(room.voters.next, Some(Time::from_nanos(10 * SECOND)));
    room.run(60, &all);
    assert_eq!(room.voters.next, None);
}
