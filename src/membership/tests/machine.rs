//! One machine alone: what it answers to what it is told.

use std::sync::Arc;
use std::time::Duration;

use crate::machine::testkit::step_at;
use crate::machine::{Op, Rng};
use crate::membership::suspicion::lasts;
use crate::membership::{
    Accusers, Config, Described, Event, ForgetError, Grounds, Membership, Message, Meta, Reach, Service, State, Timer,
    Update, Updates,
};
use crate::types::{Boot, Digest, Incarnation, NodeId, Now, Time, WallTime};

type Ops = Vec<Op<Membership>>;

const ME: NodeId = NodeId::from_u128(1);
const PEER: NodeId = NodeId::from_u128(2);
const THIRD: NodeId = NodeId::from_u128(3);

fn at(millis: u64) -> Now {
    Now { mono: Time::from_nanos(millis * 1_000_000), wall: WallTime::EPOCH }
}

fn update(id: NodeId, incarnation: u32, state: State) -> Update {
    let (boot, incarnation) = (Boot::new(1), Incarnation::new(incarnation));
    let accusers = if state == State::Suspect { Accusers::from(THIRD) } else { Accusers::none() };
    let meta = (state == State::Alive).then(|| Described { boot, incarnation, meta: Arc::new(Meta::default()) });
    Update { id, boot, incarnation, state, accusers, meta, age_s: 0 }
}

fn gossip(updates: &[Update]) -> Message {
    Message::Gossip { gossip: Updates(updates.to_vec()) }
}

/// A machine that knows and is linked with two peers.
fn machine() -> Membership {
    let mut machine = Membership::new(ME, Boot::new(1), Meta::default(), Config::default()).unwrap();
    step_at(at(0), |cx| machine.start(cx));
    let rows = Updates(vec![update(PEER, 0, State::Alive), update(THIRD, 0, State::Alive)]);
    step_at(at(1), |cx| machine.on_linked(cx, PEER));
    step_at(at(2), |cx| machine.on_message(cx, PEER, Message::State { rows, ask: false }));
    step_at(at(3), |cx| machine.on_linked(cx, THIRD));
    machine
}

fn sent(ops: &Ops) -> Vec<(NodeId, &Message)> {
    ops.iter().filter_map(|op| if let Op::Send(to, message) = op { Some((*to, message)) } else { None }).collect()
}

fn events(ops: Ops) -> Vec<Event> {
    ops.into_iter().filter_map(|op| if let Op::Emit(event) = op { Some(event) } else { None }).collect()
}

fn own_incarnation(machine: &Membership) -> u32 {
    machine.view().member(ME).unwrap().incarnation.value()
}

#[test]
fn a_suspicion_of_us_is_refuted_at_once_with_a_higher_incarnation() {
    for (state, incarnation) in [(State::Suspect, 0), (State::Dead, 0), (State::Left, 0), (State::Suspect, 9)] {
        let mut machine = machine();
        let ops = step_at(at(10), |cx| machine.on_message(cx, PEER, gossip(&[update(ME, incarnation, state)])));
        assert_eq!(own_incarnation(&machine), incarnation + 1);
        let mut refutation = update(ME, incarnation + 1, State::Alive);
        refutation.accusers = Accusers::none();
        assert!(sent(&ops).contains(&(PEER, &gossip(&[refutation]))), "{ops:?}");
        let incarnation = Incarnation::new(incarnation + 1);
        assert_eq!(events(ops), [Event::Defended { incarnation, from: PEER }]);
    }
}

#[test]
fn an_accusation_of_us_is_refuted_to_all_linked_at_once_but_not_for_everybody_who_repeats_one() {
    let mut machine = machine();
    let to_third = |ops: Ops| sent(&ops).into_iter().filter(|(to, _)| *to == THIRD).count();
    let accused = |machine: &mut Membership, ms, incarnation| {
        step_at(at(ms), |cx| machine.on_message(cx, PEER, gossip(&[update(ME, incarnation, State::Suspect)])))
    };
    let ops = accused(&mut machine, 10, 0);
    let mut refutation = update(ME, 1, State::Alive);
    refutation.accusers = Accusers::none();
    assert!(sent(&ops).contains(&(THIRD, &gossip(&[refutation]))), "{ops:?}");
    assert_eq!(to_third(accused(&mut machine, 20, 0)), 0, "the same accusation");
    assert_eq!(to_third(accused(&mut machine, 500, 1)), 0, "another one within the period is left to gossip");
    assert_eq!(own_incarnation(&machine), 2);
    assert_eq!(to_third(accused(&mut machine, 1_010, 2)), 1);
    assert_eq!(
        to_third(step_at(at(9_000), |cx| machine.on_message(cx, PEER, gossip(&[update(ME, 9, State::Alive)])))),
        0
    );
}

#[test]
fn an_accusation_in_a_ping_is_refuted_in_its_ack() {
    let mut machine = machine();
    let ping = Message::Ping { probe: 5, digest: Digest::ZERO, gossip: Updates(vec![update(ME, 0, State::Suspect)]) };
    let ops = step_at(at(10), |cx| machine.on_message(cx, PEER, ping));
    match sent(&ops).into_iter().filter(|(to, _)| *to == PEER).collect::<Vec<_>>()[..] {
        [(PEER, Message::Ack { probe: 5, gossip, .. })] => {
            assert_eq!(gossip.as_slice()[0], update(ME, 1, State::Alive));
        }
        ref sent => panic!("{sent:?}"),
    }
}

#[test]
fn an_old_accusation_is_answered_but_raises_nothing() {
    let mut machine = machine();
    step_at(at(10), |cx| machine.on_message(cx, PEER, gossip(&[update(ME, 0, State::Suspect)])));
    let ops = step_at(at(20), |cx| machine.on_message(cx, PEER, gossip(&[update(ME, 0, State::Dead)])));
    assert_eq!((own_incarnation(&machine), events(ops)), (1, vec![]));
}

/// What the machine thinks of a member after this was said, and what it told.
fn hear(machine: &mut Membership, at_ms: u64, from: NodeId, heard: Update) -> (State, Vec<Event>) {
    let subject = heard.id;
    let ops = step_at(at(at_ms), |cx| machine.on_message(cx, from, gossip(&[heard])));
    (machine.view().member(subject).unwrap().state, events(ops))
}

/// When the suspicion of THIRD is to be looked at next, if these ops say so.
fn suspicion_in(ops: &Ops) -> Option<u64> {
    let mut waits = ops.iter().filter_map(|op| match op {
        Op::Arm(Timer::Suspicion(THIRD), wait) => Some(u64::try_from(wait.as_millis()).unwrap()),
        _ => None,
    });
    waits.next_back()
}

/// Accuses THIRD and lets the suspicion run out, with PEER heard all the while: when it ended, what was sent, what was told.
fn bury_third(machine: &mut Membership, mut now: u64) -> (u64, Vec<(NodeId, Message)>, Vec<Event>) {
    let mut ops = step_at(at(now), |cx| machine.on_message(cx, PEER, gossip(&[update(THIRD, 0, State::Suspect)])));
    let (mut messages, mut told) = (Vec::new(), Vec::new());
    while let Some(wait) = suspicion_in(&ops) {
        now += wait;
        step_at(at(now), |cx| machine.on_message(cx, PEER, Message::Vouch { probe: 0 }));
        ops = step_at(at(now), |cx| machine.on_timer(cx, Timer::Suspicion(THIRD)));
        messages.extend(sent(&ops).into_iter().map(|(to, message)| (to, message.clone())));
        told.extend(ops.iter().filter_map(|op| if let Op::Emit(event) = op { Some(event.clone()) } else { None }));
    }
    (now, messages, told)
}

#[test]
fn a_suspect_is_asked_once_more_before_it_is_declared_dead() {
    let mut machine = machine();
    let (ended, sent, told) = bury_third(&mut machine, 10);
    // One confirmation is possible among three members: a lone accuser waits the longest.
    assert_eq!(ended, 10 + 6 * 4_100);
    assert!(matches!(sent[..], [(THIRD, Message::Ping { .. })]), "{sent:?}");
    let died = Event::Died { member: THIRD, by: THIRD, accusers: vec![THIRD], suspected_ms: 24_600, health: 0 };
    assert_eq!(told, [died]);
}

#[test]
fn that_somebody_holds_it_for_dead_makes_a_suspicion_sure_and_no_more() {
    let mut machine = machine();
    let mut dead = update(THIRD, 0, State::Dead);
    dead.accusers = Accusers::from(PEER);
    let ops = step_at(at(10), |cx| machine.on_message(cx, PEER, gossip(&[dead])));
    // Less the time that the last call needs.
    assert_eq!(suspicion_in(&ops), Some(4_100 - 500));
    let grounds = Grounds::Told { from: PEER, dead: true };
    assert_eq!(events(ops), [Event::Suspected { member: THIRD, by: PEER, grounds }]);
    let refutation = update(THIRD, 1, State::Alive);
    let refuted = Event::Refuted { member: THIRD, from: THIRD };
    assert_eq!(hear(&mut machine, 4_000, THIRD, refutation), (State::Alive, vec![refuted]));
}

#[test]
fn only_its_own_higher_incarnation_brings_a_dead_member_back() {
    let mut machine = machine();
    let (member, from) = (THIRD, THIRD);
    bury_third(&mut machine, 10);
    assert_eq!(machine.view().member(THIRD).unwrap().state, State::Dead);
    let mut said = |at, from, update| hear(&mut machine, at, from, update);
    assert_eq!(said(61_000, THIRD, update(THIRD, 0, State::Alive)), (State::Dead, vec![]));
    assert_eq!(said(61_100, THIRD, update(THIRD, 0, State::Suspect)), (State::Dead, vec![]));
    assert_eq!(said(61_200, PEER, update(THIRD, 1, State::Alive)), (State::Dead, vec![]), "PEER is not THIRD");
    let back = (State::Alive, vec![Event::Joined { member, from }]);
    assert_eq!(said(61_300, THIRD, update(THIRD, 1, State::Alive)), back);
    assert_eq!(said(61_400, PEER, update(THIRD, 2, State::Left)), (State::Alive, vec![]), "PEER is not THIRD");
    assert_eq!(said(61_500, THIRD, update(THIRD, 2, State::Left)), (State::Left, vec![Event::Left { member, from }]));
    assert_eq!(said(61_600, THIRD, update(THIRD, 2, State::Suspect)), (State::Left, vec![]));
    let mut reborn = update(THIRD, 0, State::Alive);
    reborn.boot = Boot::new(2);
    assert_eq!(said(61_700, THIRD, reborn), back);
}

#[test]
fn what_no_correct_peer_says_is_a_fault_and_changes_nothing() {
    let long = Meta { name: "x".repeat(600), ..Meta::default() };
    let described = Described { boot: Boot::new(1), incarnation: Incarnation::new(1), meta: Arc::new(long) };
    let early = Described { incarnation: Incarnation::new(7), ..update(THIRD, 0, State::Alive).meta.unwrap() };
    let faulty = [
        update(THIRD, (1 << 31) + 1, State::Alive),
        update(ME, (1 << 31) + 1, State::Suspect),
        update(THIRD, u32::MAX, State::Dead),
        Update { boot: Boot::new((1 << 32) + 2), ..update(THIRD, 0, State::Alive) },
        Update { boot: Boot::new(u64::MAX), ..update(ME, 0, State::Suspect) },
        Update { accusers: Accusers::none(), ..update(THIRD, 0, State::Suspect) },
        Update { meta: Some(described), ..update(THIRD, 1, State::Alive) },
        Update { meta: Some(early), ..update(THIRD, 1, State::Alive) },
    ];
    for update in faulty {
        let mut machine = machine();
        let before = machine.view().members().cloned().collect::<Vec<_>>();
        let ops = step_at(at(10), |cx| machine.on_message(cx, PEER, gossip(std::slice::from_ref(&update))));
        let events = events(ops);
        assert!(matches!(events[..], [Event::PeerFault { peer: PEER, .. }]), "{update:?}: {events:?}");
        assert_eq!(machine.view().members().cloned().collect::<Vec<_>>(), before);
    }
}

#[test]
fn a_member_that_lived_on_unseen_may_be_far_ahead_in_its_own_words() {
    let mut machine = machine();
    let mut ahead = update(THIRD, 1 << 20, State::Alive);
    ahead.boot = Boot::new(1 << 40);
    let ops = step_at(at(10), |cx| machine.on_message(cx, THIRD, gossip(&[ahead])));
    assert_eq!(events(ops), [Event::Updated { member: THIRD }]);
    assert_eq!(machine.view().member(THIRD).unwrap().incarnation, Incarnation::new(1 << 20));
}

#[test]
fn the_table_is_bounded_and_gives_up_tombstones_first() {
    let config = Config { members_max: 4, ..Config::default() };
    let mut machine = Membership::new(ME, Boot::new(1), Meta::default(), config).unwrap();
    step_at(at(0), |cx| machine.start(cx));
    step_at(at(1), |cx| machine.on_linked(cx, PEER));
    let mut meet = |id: u128, state| {
        let news = gossip(&[update(NodeId::from_u128(id), 0, state)]);
        events(step_at(at(10), |cx| machine.on_message(cx, PEER, news)))
    };
    let joined = |id| vec![Event::Joined { member: NodeId::from_u128(id), from: PEER }];
    assert_eq!(meet(2, State::Alive), joined(2));
    assert_eq!(meet(10, State::Dead), []);
    assert_eq!(meet(11, State::Alive), joined(11));
    assert_eq!(meet(12, State::Alive), joined(12));
    assert!(matches!(meet(13, State::Alive)[..], [Event::PeerFault { .. }]));
    let known: Vec<NodeId> = machine.view().members().map(|member| member.id).collect();
    assert_eq!(known, [1, 2, 11, 12].map(NodeId::from_u128));
    machine.table.check();
}

#[test]
fn tombstones_end_and_do_not_start_anew_at_every_hop() {
    let mut machine = machine();
    step_at(at(900), |cx| machine.on_unlinked(cx, THIRD));
    let mut old = update(THIRD, 0, State::Left);
    old.age_s = 590;
    let ops = step_at(at(1_000), |cx| machine.on_message(cx, PEER, gossip(&[old])));
    assert!(ops.contains(&Op::Arm(Timer::Reap, Duration::from_secs(10))), "{ops:?}");
    step_at(at(11_000), |cx| machine.on_timer(cx, Timer::Reap));
    assert_eq!(machine.view().member(THIRD), None);
    machine.table.check();
    let mut stale = update(NodeId::from_u128(9), 0, State::Left);
    stale.age_s = 600;
    step_at(at(12_000), |cx| machine.on_message(cx, PEER, gossip(&[stale])));
    assert_eq!(machine.view().member(NodeId::from_u128(9)), None);
}

#[test]
fn a_helper_vouches_or_says_that_it_cannot() {
    let mut machine = machine();
    let ask = |target| Message::PingReq { probe: 77, target, gossip: Updates::default() };
    let ops = step_at(at(10), |cx| machine.on_message(cx, PEER, ask(NodeId::from_u128(99))));
    assert!(sent(&ops).contains(&(PEER, &Message::Nack { probe: 77, reach: Reach::Unlinked })));
    let ops = step_at(at(20), |cx| machine.on_message(cx, PEER, ask(THIRD)));
    let number = match sent(&ops)[..] {
        [(THIRD, Message::Ping { probe, .. })] => *probe,
        ref sent => panic!("{sent:?}"),
    };
    let ops = step_at(at(420), |cx| machine.on_timer(cx, Timer::Relay(number)));
    assert_eq!(sent(&ops), [(PEER, &Message::Nack { probe: 77, reach: Reach::Silent })]);
    let ack = Message::Ack { probe: number, digest: Digest::ZERO, gossip: Updates::default() };
    let ops = step_at(at(500), |cx| machine.on_message(cx, THIRD, ack));
    assert!(sent(&ops).contains(&(PEER, &Message::Vouch { probe: 77 })));
}

/// A peer that joined a moment ago was accused: helpers had no link to it, its own link came up while they were asked.
#[test]
fn who_gets_a_link_while_helpers_are_asked_is_pinged_before_it_is_accused() {
    let mut machine = Membership::new(ME, Boot::new(1), Meta::default(), Config::default()).unwrap();
    let mut now = 1;
    let mut probe_in = None;
    let follow = |ops: &Ops, probe_in: &mut Option<Duration>| {
        let mut arms =
            ops.iter().filter_map(|op| if let Op::Arm(Timer::Probe, wait) = op { Some(*wait) } else { None });
        *probe_in = arms.next_back().or(*probe_in);
    };
    follow(&step_at(at(0), |cx| machine.start(cx)), &mut probe_in);
    step_at(at(now), |cx| machine.on_linked(cx, PEER));
    let rows = Updates(vec![update(PEER, 0, State::Alive), update(THIRD, 0, State::Alive)]);
    follow(&step_at(at(now), |cx| machine.on_message(cx, PEER, Message::State { rows, ask: false })), &mut probe_in);
    let mut linked = false;
    for _ in 0..40 {
        now += u64::try_from(probe_in.take().map_or(0, |wait| wait.as_millis())).unwrap() + 1;
        let ops = step_at(at(now), |cx| machine.on_timer(cx, Timer::Probe));
        follow(&ops, &mut probe_in);
        assert!(!ops.iter().any(|op| matches!(op, Op::Emit(Event::Suspected { .. }))), "{ops:?}");
        for (to, message) in sent(&ops) {
            let answer = match message {
                Message::Ping { probe, .. } => {
                    assert!(to == PEER || linked);
                    if to == THIRD {
                        return;
                    }
                    Message::Ack { probe: *probe, digest: Digest::ZERO, gossip: Updates::default() }
                }
                Message::PingReq { probe, .. } => {
                    linked = true;
                    step_at(at(now), |cx| machine.on_linked(cx, THIRD));
                    Message::Nack { probe: *probe, reach: Reach::Unlinked }
                }
                _ => continue,
            };
            follow(&step_at(at(now), |cx| machine.on_message(cx, to, answer)), &mut probe_in);
        }
    }
    panic!("it was never pinged");
}

/// What was asked over a link whose end was announced got no answer by no fault of anybody.
#[test]
fn a_probe_whose_link_ends_as_announced_is_begun_anew() {
    for parts in [true, false] {
        let mut machine = machine();
        let mut now = 10;
        let pinged = |ops: &Ops| {
            sent(ops).into_iter().any(|(to, message)| to == PEER && matches!(message, Message::Ping { .. }))
        };
        loop {
            now += 250;
            let ops = step_at(at(now), |cx| machine.on_timer(cx, Timer::Probe));
            if pinged(&ops) {
                break;
            }
        }
        if parts {
            step_at(at(now + 1), |cx| machine.on_message(cx, PEER, Message::Parting));
        }
        step_at(at(now + 2), |cx| machine.on_unlinked(cx, PEER));
        step_at(at(now + 100), |cx| machine.on_linked(cx, PEER));
        let (mut accused, mut again) = (false, false);
        for _ in 0..3 {
            now += 250;
            let ops = step_at(at(now), |cx| machine.on_timer(cx, Timer::Probe));
            again |= pinged(&ops);
            accused |= events(ops).iter().any(|event| matches!(event, Event::Suspected { .. }));
        }
        assert!(again && accused != parts, "announced: {parts}, pinged again: {again}, accused: {accused}");
    }
}

#[test]
fn a_goodbye_reaches_all_linked_and_accusations_do_not_call_us_back() {
    let mut machine = machine();
    let ops = step_at(at(10), |cx| machine.leave(cx));
    let told: Vec<NodeId> = sent(&ops).into_iter().map(|(to, _)| to).collect();
    assert_eq!(told, [PEER, THIRD]);
    let ops = step_at(at(20), |cx| machine.on_message(cx, PEER, gossip(&[update(ME, 5, State::Dead)])));
    assert_eq!((own_incarnation(&machine), events(ops)), (1, vec![]));
    assert_eq!(machine.view().member(ME).unwrap().state, State::Left);
}

#[test]
fn a_large_view_travels_in_small_messages() {
    let mut machine = machine();
    let meta = Arc::new(Meta { name: "x".repeat(480), ..Meta::default() });
    let described = Described { boot: Boot::new(1), incarnation: Incarnation::ZERO, meta };
    let row = |id| Update { meta: Some(described.clone()), ..update(NodeId::from_u128(id), 0, State::Alive) };
    for ids in [10..60, 60..110, 110..160] {
        let rows = Updates(ids.map(row).collect());
        step_at(at(10), |cx| machine.on_message(cx, PEER, Message::State { rows, ask: false }));
    }
    let ops =
        step_at(at(5_000), |cx| machine.on_message(cx, PEER, Message::State { rows: Updates::default(), ask: true }));
    let sizes: Vec<usize> = sent(&ops)
        .into_iter()
        .map(|(_, message)| bincode::encode_to_vec(message, bincode::config::standard()).unwrap().len())
        .collect();
    assert!(sizes.len() == 2 && sizes.iter().all(|size| *size <= 48 << 10), "{sizes:?}");
}

/// A machine that knows ten more, none of which is linked.
fn machine_of_many(config: Config) -> Membership {
    let mut machine = machine();
    machine.config = config;
    let rows = (10..20).map(|id| update(NodeId::from_u128(id), 0, State::Alive)).collect();
    step_at(at(5), |cx| machine.on_message(cx, PEER, Message::State { rows: Updates(rows), ask: false }));
    machine
}

#[test]
fn a_new_link_costs_no_exchange() {
    let mut machine = machine_of_many(Config::default());
    let known = NodeId::from_u128(10);
    let ops = step_at(at(20), |cx| machine.on_linked(cx, known));
    assert_eq!(sent(&ops), [], "the digests will tell");
    // Who is dead here is told so, and both sides of the cut compare what they know: once, not with each.
    let dead = [11, 12].map(|id| update(NodeId::from_u128(id), 0, State::Dead));
    for dead in &dead {
        machine.table.amend(machine.table.slot(dead.id).unwrap(), Time::ZERO, &mut Rng::fork(&[1; 32], "x"), |entry| {
            entry.merge(dead);
        });
    }
    let linked = dead.map(|dead| step_at(at(30), |cx| machine.on_linked(cx, dead.id)));
    let said: Vec<_> = linked.iter().flat_map(sent).map(|(_, message)| message).collect();
    assert!(
        matches!(
            said[..],
            [Message::Gossip { gossip: one }, Message::Buckets { .. }, Message::Gossip { gossip: other }]
                if one.as_slice()[1].state == State::Dead && other.as_slice()[1].state == State::Dead
        ),
        "{said:?}"
    );
}

#[test]
fn a_stranger_is_asked_who_it_is_and_says_so() {
    let mut machine = machine_of_many(Config::default());
    let stranger = NodeId::from_u128(99);
    let ops = step_at(at(20), |cx| machine.on_linked(cx, stranger));
    assert_eq!(sent(&ops), [(stranger, &Message::Who)]);
    let ping = |probe| Message::Ping { probe, digest: Digest::ZERO, gossip: Updates::default() };
    let asked = |ops: &Ops| sent(ops).contains(&(stranger, &Message::Who));
    assert!(!asked(&step_at(at(30), |cx| machine.on_message(cx, stranger, ping(1)))), "once a period");
    assert!(asked(&step_at(at(1_030), |cx| machine.on_message(cx, stranger, ping(2)))));
    let ops = step_at(at(1_050), |cx| machine.on_message(cx, PEER, Message::Who));
    let us = machine.table.me().update(Time::ZERO, true, Duration::ZERO);
    assert_eq!(sent(&ops), [(PEER, &gossip(&[us]))]);
}

#[test]
fn where_links_are_few_news_are_not_told_to_whoever_has_told_them() {
    let mut machine = machine_of_many(Config { full_mesh_max: 2, ..Config::default() });
    let third_link = NodeId::from_u128(10);
    step_at(at(6), |cx| machine.on_linked(cx, third_link));
    step_at(at(1_000), |cx| machine.on_timer(cx, Timer::Gossip));
    let news = update(NodeId::from_u128(15), 1, State::Alive);
    for teller in [PEER, THIRD] {
        step_at(at(1_010), |cx| machine.on_message(cx, teller, gossip(std::slice::from_ref(&news))));
    }
    let ops = step_at(at(1_200), |cx| machine.on_timer(cx, Timer::Gossip));
    assert_eq!(sent(&ops), [(third_link, &gossip(&[news]))]);
    assert!(machine.queue.is_empty());
}

/// I10: it is told that it is accused, and what it has missed when it is back.
#[test]
fn where_links_are_few_the_dead_are_not_told_the_news() {
    let mut machine = machine_of_many(Config { full_mesh_max: 2, ..Config::default() });
    step_at(at(1_000), |cx| machine.on_timer(cx, Timer::Gossip));
    let (slot, dead) = (machine.table.slot(THIRD).unwrap(), update(THIRD, 0, State::Dead));
    machine.table.amend(slot, Time::ZERO, &mut Rng::fork(&[1; 32], "x"), |entry| entry.merge(&dead));
    step_at(at(1_010), |cx| machine.set_meta(cx, Meta { name: "gate".into(), ..Meta::default() }).unwrap());
    let ops = step_at(at(1_200), |cx| machine.on_timer(cx, Timer::Gossip));
    let told: Vec<NodeId> = sent(&ops).into_iter().map(|(to, _)| to).collect();
    assert_eq!((told, machine.queue.is_empty()), (vec![PEER], true));
}

#[test]
fn joins_that_come_back_are_told_less_often_but_refutations_and_accusations_are_not() {
    let tellings = |news: &Update, come_back: u32| {
        let mut machine = machine();
        step_at(at(9), |cx| machine.on_timer(cx, Timer::Gossip));
        machine.queue = Default::default();
        for _ in 0..=come_back {
            step_at(at(10), |cx| machine.on_message(cx, PEER, gossip(std::slice::from_ref(news))));
        }
        (1..).find(|_| {
            step_at(at(20), |cx| machine.on_timer(cx, Timer::Gossip));
            machine.queue.is_empty()
        })
    };
    let fourth = NodeId::from_u128(4);
    let joins = update(fourth, 0, State::Alive);
    assert!(tellings(&joins, 3) < tellings(&joins, 0));
    for news in [update(fourth, 1, State::Alive), update(fourth, 0, State::Suspect)] {
        assert_eq!(tellings(&news, 3), tellings(&news, 0));
    }
}

#[test]
fn suspicions_last_as_lifeguard_has_it() {
    let lasts = |members, c, k| lasts(Duration::from_secs(4), members, c, k).as_millis();
    assert_eq!([0, 1, 2, 3, 4].map(|c| lasts(100, c, 3)), [26_100, 15_225, 8_863, 4_350, 4_350]);
    assert_eq!([0, 1, 2].map(|c| lasts(3, c, 1)), [24_600, 4_100, 4_100]);
    assert_eq!(lasts(2, 0, 0), 4_050);
    assert_eq!(lasts(1_000, 3, 3), 4_500);
}

#[test]
fn late_timers_make_a_node_doubt_itself_not_others() {
    let mut machine = machine();
    step_at(at(10), |cx| machine.on_message(cx, PEER, gossip(&[update(THIRD, 0, State::Suspect)])));
    let before = machine.view().health();
    step_at(at(60_000), |cx| machine.on_message(cx, PEER, Message::Nack { probe: 0, reach: Reach::Silent }));
    let ops = step_at(at(60_000), |cx| machine.on_timer(cx, Timer::Suspicion(THIRD)));
    assert_eq!(machine.view().member(THIRD).unwrap().state, State::Suspect);
    assert!(ops.contains(&Op::Arm(Timer::Suspicion(THIRD), Duration::from_secs(1))), "{ops:?}");
    assert_eq!(machine.view().health(), before + 1);
}

#[test]
fn a_description_may_change_and_has_a_bound() {
    let mut machine = machine();
    let long = Meta { name: "x".repeat(600), ..Meta::default() };
    let ops = step_at(at(10), |cx| assert!(machine.set_meta(cx, long).is_err()));
    assert_eq!((ops, own_incarnation(&machine)), (vec![], 0));
    let named = Meta { name: "gate".into(), ..Meta::default() };
    let ops = step_at(at(20), |cx| machine.set_meta(cx, named.clone()).unwrap());
    assert_eq!((events(ops), own_incarnation(&machine)), (vec![Event::Updated { member: ME }], 1));
    assert_eq!(step_at(at(30), |cx| machine.set_meta(cx, named).unwrap()), vec![]);
}

/// Changing these bytes needs a new wire version.
#[test]
fn messages_have_these_bytes() {
    let bytes = |message: &Message| {
        let bytes = bincode::encode_to_vec(message, bincode::config::standard()).unwrap();
        let (back, len): (Message, usize) = bincode::decode_from_slice(&bytes, bincode::config::standard()).unwrap();
        assert_eq!((&back, len), (message, bytes.len()));
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let (probe, gossip) = (0x1234, Updates::default());
    let digest = Digest::new(0x0102_0304_0506_0708);
    assert_eq!(bytes(&Message::Ping { probe, digest, gossip: gossip.clone() }), "00fb3412fd080706050403020100");
    assert_eq!(bytes(&Message::Ack { probe, digest, gossip: gossip.clone() }), "01fb3412fd080706050403020100");
    let target = "00000000000000000000000000000003";
    assert_eq!(bytes(&Message::PingReq { probe, target: THIRD, gossip }), format!("02fb3412{target}00"));
    assert_eq!(bytes(&Message::Vouch { probe }), "03fb3412");
    assert_eq!(bytes(&Message::Nack { probe, reach: Reach::Silent }), "04fb341202");
    let suspect = format!("0501{target}01050101{target}0000");
    assert_eq!(bytes(&self::gossip(&[update(THIRD, 5, State::Suspect)])), suspect);
    let rows = Updates(vec![update(THIRD, 5, State::Alive)]);
    let alive = format!("0601{target}010500000101050000000000000000");
    assert_eq!(bytes(&Message::State { rows, ask: false }), alive + "00");
    let sums = Box::new([1; 64]);
    assert_eq!(bytes(&Message::Buckets { sums }), format!("07{}", "01".repeat(64)));
    assert_eq!(bytes(&Message::Diff { buckets: 3, rows: Updates::default(), ask: true }), "08030001");
    assert_eq!((bytes(&Message::Parting), bytes(&Message::Who)), ("09".into(), "0a".into()));
}

#[test]
fn a_member_that_takes_no_writes_says_so_in_a_bit_that_nobody_looked_at_before() {
    let bytes = |meta: &Meta| bincode::encode_to_vec(meta, bincode::config::standard()).unwrap();
    let mut meta = Meta { name: "a".into(), protocol: 1, ..Meta::default() };
    assert_eq!(bytes(&meta), [1, b'a', 0, 0, 0, 0, 0, 1]);
    meta.read_only = true;
    assert_eq!(bytes(&meta), [1, b'a', 0, 0, 0, 0, 0, 251, 1, 0x80]);
    let (back, _): (Meta, usize) = bincode::decode_from_slice(&bytes(&meta), bincode::config::standard()).unwrap();
    assert_eq!(back, meta);
    assert!(bytes(&meta).len() <= meta.encoded_len());
}

#[test]
fn services_stand_behind_what_everybody_reads() {
    let bytes = |meta: &Meta| bincode::encode_to_vec(meta, bincode::config::standard()).unwrap();
    let services = vec![Service { name: "wms".into(), port: 80 }];
    let meta = Meta { name: "a".into(), protocol: 1, read_only: true, services, ..Meta::default() };
    assert_eq!(bytes(&meta), [1, b'a', 0, 0, 0, 0, 0, 251, 1, 0xc0, 1, 3, b'w', b'm', b's', 80]);
    let (back, _): (Meta, usize) = bincode::decode_from_slice(&bytes(&meta), bincode::config::standard()).unwrap();
    assert_eq!(back, meta);
    assert!(bytes(&meta).len() <= meta.encoded_len());
}

#[test]
fn the_load_stands_behind_all_else() {
    let bytes = |meta: &Meta| bincode::encode_to_vec(meta, bincode::config::standard()).unwrap();
    let services = vec![Service { name: "wms".into(), port: 80 }];
    for (services, load, flags, end) in [
        (Vec::new(), Some(7), 0x20, vec![7]),
        (services.clone(), Some(u16::MAX), 0x60, vec![1, 3, b'w', b'm', b's', 80, 251, 255, 255]),
    ] {
        let meta = Meta { protocol: 1, services, load, ..Meta::default() };
        assert_eq!(bytes(&meta), [vec![0, 0, 0, 0, 0, 0, 251, 1, flags], end].concat());
        let (back, _): (Meta, usize) = bincode::decode_from_slice(&bytes(&meta), bincode::config::standard()).unwrap();
        assert_eq!(back, meta);
        assert!(bytes(&meta).len() <= meta.encoded_len());
    }
}

#[test]
fn who_is_dead_is_forgotten_when_asked_and_not_told_of_again_until_it_lives() {
    let mut machine = machine();
    let gone = NodeId::from_u128(9);
    let present = |node| ForgetError::Present { node, state: State::Alive };
    let forget = |machine: &mut Membership, node| {
        let mut result = Ok(());
        step_at(at(50), |cx| result = machine.forget(cx, node));
        machine.table.check();
        result
    };
    for node in [ME, PEER] {
        assert_eq!(forget(&mut machine, node), Err(present(node)));
    }
    assert_eq!(forget(&mut machine, gone), Err(ForgetError::Unknown { node: gone }));
    let dead = gossip(&[update(gone, 3, State::Dead)]);
    step_at(at(40), |cx| machine.on_message(cx, PEER, dead.clone()));
    assert_eq!(machine.view().member(gone).unwrap().state, State::Dead);
    assert_eq!(forget(&mut machine, gone), Ok(()));
    for stale in [dead, gossip(&[update(gone, 3, State::Suspect)]), gossip(&[update(gone, 2, State::Alive)])] {
        step_at(at(60), |cx| machine.on_message(cx, PEER, stale));
        assert_eq!(machine.view().member(gone), None);
    }
    step_at(at(70), |cx| machine.on_message(cx, PEER, gossip(&[update(gone, 4, State::Alive)])));
    assert_eq!(machine.view().member(gone).unwrap().state, State::Alive, "it lives");
}

#[test]
fn lists_are_bounded_before_they_are_read() {
    let decode = |bytes: &[u8]| -> Result<(Message, usize), _> {
        bincode::decode_from_slice(bytes, bincode::config::standard())
    };
    let huge = [&[5, 253][..], &[255; 8]].concat();
    assert!(decode(&huge).unwrap_err().to_string().contains("more updates than one message may hold"));
    let accusers = [&[5, 1][..], &[0; 16], &[1, 0, 1, 5]].concat();
    assert!(decode(&accusers).unwrap_err().to_string().contains("more accusers than count"));
}

#[test]
fn no_message_panics() {
    let mut rng = Rng::fork(&[5; 32], "fuzz");
    let mut machine = machine();
    let mut read = 0;
    for round in 0..200_000_u64 {
        let len = rng.index(120);
        let bytes: Vec<u8> = (0..len).map(|_| [0, 1, 2, 3, 251, rng.bits().to_le_bytes()[0]][rng.index(6)]).collect();
        let decoded = bincode::decode_from_slice(&bytes, bincode::config::standard().with_limit::<65_536>());
        if let Ok((message, _)) = decoded {
            read += 1;
            let peer = [PEER, THIRD, NodeId::from_u128(4)][rng.index(3)];
            step_at(at(100 + round), |cx| machine.on_message(cx, peer, message));
        }
    }
    machine.table.check();
    assert!(read > 10_000, "{read} messages were readable");
}
