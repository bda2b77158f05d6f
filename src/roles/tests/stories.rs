//! What an operator would see: one story a test, in a world where all else is well.

use std::time::Duration;

use super::super::*;
use super::world::World;
use crate::failover::{Candidate, Failback, FailoverLimits, FailoverState, PromotionStrategy};

fn config(change: impl FnOnce(&mut FailoverLimits)) -> Config {
    let mut config = Config::primary();
    change(&mut config.failover);
    config
}

fn served() -> (World, usize) {
    World::served(1, 4, 3, Config::primary())
}

/// Who acts as the primary, if that is somebody else than this one.
fn other_than(world: &World, old: usize) -> bool {
    world.primary().is_some_and(|at| at != old)
}

fn told(world: &World, is_it: impl Fn(&Event) -> bool) -> bool {
    world.peers.iter().flat_map(|peer| &peer.told).any(is_it)
}

fn alerted(world: &World, alert: Alert) -> bool {
    told(world, |event| matches!(event, Event::Alert { alert: of, .. } if *of == alert))
}

fn last_reason(world: &World) -> Reason {
    world.grant().1.turn.reason
}

/// Moves the role to this one, so that holder and leader are not the same peer.
fn moved(world: &mut World, to: usize) {
    let to_node = world.peers[to].node;
    let id = world.order(OrderWhat::Move { to: Some(to_node) }, 5).unwrap().unwrap();
    world.until(1_000, |world| world.primary() == Some(to));
    world.until(1_000, |world| world.answer(id).is_some());
    assert!(world.answer(id).unwrap().is_ok());
    world.run(200);
}

#[test]
fn the_best_candidate_becomes_the_first_primary() {
    let (world, primary) = served();
    assert_eq!((primary, last_reason(&world)), (0, Reason::First));
    let states: Vec<_> = world.peers[world.leader().unwrap()].roles.view().states().map(|(_, state)| state).collect();
    assert_eq!(states, [FailoverState::Normal]);
}

#[test]
fn a_holder_that_dies_is_replaced_when_its_lease_is_over() {
    let (mut world, _) = served();
    let leader = world.leader().unwrap();
    let holder = (leader + 1) % 3;
    moved(&mut world, holder);
    world.crash(holder, true);
    let took = world.until(1_000, |world| other_than(world, holder));
    assert!((100..300).contains(&took), "{took} ms");
    assert_eq!(last_reason(&world), Reason::Failed);
    world.run(300);
    let completed = |event: &Event| matches!(event, Event::Completed { took, .. } if took.as_millis() < 300);
    assert!(told(&world, completed));
    let (_, grant) = world.grant();
    assert_eq!((grant.statistics.count, grant.history.last().unwrap().turn.reason), (2, Reason::Switchover));
    assert_eq!(grant.turn.took_us, Some(grant.statistics.last_us));
}

#[test]
fn a_holder_that_vanishes_without_a_closed_link_is_replaced_too() {
    let (mut world, _) = served();
    let holder = 3;
    moved(&mut world, holder);
    world.crash(holder, false);
    let took = world.until(1_000, |world| other_than(world, holder));
    assert!((100..350).contains(&took), "{took} ms");
}

/// With a lease that is longer than it takes to elect a leader.
#[test]
fn a_holder_outside_the_group_keeps_its_role_when_the_leader_goes() {
    let long = Duration::from_millis(400);
    let config = config(|failover| (failover.lease, failover.dead_after) = (long, long));
    let (mut world, _) = World::served(1, 4, 3, config);
    moved(&mut world, 3);
    let leader = world.leader().unwrap();
    let (token, _) = world.grant();
    world.crash(leader, true);
    world.run(1_000);
    assert_eq!(world.primary(), Some(3));
    assert_eq!(world.grant().0, token, "the same turn");
}

#[test]
fn when_the_leader_goes_somebody_holds_the_role_again_soon() {
    for seed in 0..10 {
        let (mut world, _) = World::served(seed, 4, 3, Config::primary());
        moved(&mut world, 3);
        let leader = world.leader().unwrap();
        world.crash(leader, seed % 2 == 0);
        world.known(leader, |it| it.healthy = false);
        world.until(1_000, |world| world.leader().is_some_and(|at| at != leader));
        world.run(400);
        assert!(world.primary().is_some(), "{seed}");
    }
}

/// F7 of the study: the old primary wakes up after somebody else was granted its role.
#[test]
fn a_holder_that_was_stopped_acts_no_more_when_it_wakes() {
    let (mut world, _) = served();
    moved(&mut world, 3);
    world.run(500);
    let old = world.grant().0;
    world.pause(3, 2_000);
    world.until(1_000, |world| other_than(world, 3));
    world.run(3_000);
    assert!(other_than(&world, 3));
    for at in 0..4 {
        let result = world.plays(at, |machine, cx, sight| machine.admit(cx, sight, &RoleName::primary(), old, 1));
        assert!(matches!(result, Err(Refused::Stale { .. })), "{at}: {result:?}");
    }
    let lapsed = |event: &Event| matches!(event, Event::Demote { why: Why::Lapsed, token, .. } if *token == old);
    assert!(world.peers[3].told.iter().any(lapsed));
}

#[test]
fn a_leader_that_is_cut_off_with_the_holder_keeps_it_for_no_longer_than_its_lease() {
    let (mut world, _) = served();
    let leader = world.leader().unwrap();
    if world.primary() != Some(leader) {
        moved(&mut world, leader);
    }
    world.isolate(&[leader]);
    // The lease counts from the last round that a majority answered.
    world.until(151, |world| world.primary() != Some(leader));
    world.until(1_000, |world| other_than(world, leader));
    world.cut.clear();
    world.run(1_000);
    assert!(other_than(&world, leader));
}

#[test]
fn a_holder_that_restarts_ends_its_old_work_before_anybody_begins() {
    let (mut world, _) = served();
    moved(&mut world, 3);
    let old = world.grant().0;
    world.crash(3, false);
    world.restart(3);
    world.until(1_000, |world| world.primary().is_some());
    let restarted = |event: &Event| matches!(event, Event::Demote { why: Why::Restarted, token, .. } if *token == old);
    assert!(world.peers[3].told.iter().any(restarted));
    assert!(world.grant().0 > old, "it never begins again under its old token");
}

#[test]
fn a_holder_that_comes_back_when_another_one_serves_ends_its_old_work_too() {
    let (mut world, _) = served();
    moved(&mut world, 3);
    let old = world.grant().0;
    world.crash(3, true);
    world.until(2_000, |world| world.primary().is_some_and(|primary| primary != 3));
    world.restart(3);
    world.run(100);
    let restarted = |event: &Event| matches!(event, Event::Demote { why: Why::Restarted, token, .. } if *token == old);
    assert!(world.peers[3].told.iter().any(restarted));
    assert_ne!(world.primary(), Some(3));
    world.run(1_000);
    assert_eq!(world.peers[3].roles.view().holdings().count(), 0, "it is put behind it");
}

/// L7.
#[test]
fn a_move_does_not_wait_for_the_lease() {
    let (mut world, holder) = served();
    let to = world.peers[(holder + 1) % 3].node;
    world.order(OrderWhat::Move { to: Some(to) }, 5).unwrap().unwrap();
    let took = world.until(1_000, |world| other_than(world, holder));
    assert!(took < 60, "{took} ms, the lease is 150");
    let (_, grant) = world.grant();
    assert_eq!((grant.turn.reason, grant.turn.by.as_str()), (Reason::Switchover, "somebody"));
}

#[test]
fn a_move_away_from_a_holder_that_does_not_hear_waits_for_the_lease_and_ends() {
    let (mut world, _) = served();
    moved(&mut world, 3);
    world.pause(3, 3_000);
    let id = world.order(OrderWhat::Move { to: None }, 5).unwrap().unwrap();
    let took = world.until(1_000, |world| other_than(world, 3));
    assert!((100..400).contains(&took), "{took} ms");
    world.run(200);
    assert!(world.answer(id).unwrap().is_ok());
}

#[test]
fn a_role_that_is_given_up_goes_to_somebody_else_at_once() {
    let (mut world, holder) = served();
    world.plays(holder, |machine, cx, sight| machine.give_up(cx, sight, &RoleName::primary()));
    let took = world.until(1_000, |world| other_than(world, holder));
    assert!(took < 60, "{took} ms");
    assert_eq!(last_reason(&world), Reason::Released);
}

#[test]
fn a_role_that_is_released_stays_vacant_until_it_is_resumed() {
    let (mut world, holder) = served();
    let id = world.order(OrderWhat::Release, 5).unwrap().unwrap();
    world.until(500, |world| world.answer(id).is_some());
    world.run(3_000);
    let (_, grant) = world.grant();
    assert_eq!((world.primary(), grant.holder, grant.is_paused), (None, None, true));
    assert_eq!(world.order(OrderWhat::Release, 5), Some(Err(OrderError::Already)));
    assert_eq!(world.peers[holder].roles.view().holdings().count(), 0, "it is put behind");
    world.order(OrderWhat::Resume, 5).unwrap().unwrap();
    world.until(500, |world| world.primary().is_some());
}

#[test]
fn nothing_is_done_about_a_paused_role() {
    let (mut world, _) = served();
    moved(&mut world, 3);
    let (token, _) = world.grant();
    let id = world.order(OrderWhat::Pause, 5).unwrap().unwrap();
    world.run(1_000);
    assert!(world.answer(id).unwrap().is_ok());
    assert_eq!((world.primary(), world.grant().0), (Some(3), token), "the holder goes on, under its token");
    world.crash(3, true);
    world.run(2_000);
    assert_eq!(world.primary(), None);
    assert!(alerted(&world, Alert::Held));
    world.order(OrderWhat::Resume, 5).unwrap().unwrap();
    world.until(500, |world| other_than(world, 3));
}

/// F21: a primary that dies of what it is asked kills the next one too.
#[test]
fn after_some_promotions_the_role_is_held() {
    let mut config = config(|failover| failover.shun = Duration::from_millis(200));
    config.failover.promotions_window = Duration::from_secs(20);
    let (mut world, _) = World::served(2, 4, 3, config);
    world.peers.iter_mut().for_each(|peer| peer.hooks_fail = true);
    let primary = world.primary().unwrap();
    world.plays(primary, |machine, cx, sight| machine.give_up(cx, sight, &RoleName::primary()));
    world.run(8_000);
    assert_eq!((world.checks.promotions.len(), world.primary()), (3, None));
    assert!(told(&world, |event| matches!(event, Event::Alert { alert: Alert::TooMany { .. }, .. })));
    let at = world.leader().unwrap();
    let (_, seen) = world.peers[at].roles.view().watched(world.peers[at].clock(at, world.now).mono).next().unwrap();
    assert!(matches!(seen.alert, Some(Alert::TooMany { .. })) && seen.lease == Some(Lease::Over), "{seen:?}");
    world.peers.iter_mut().for_each(|peer| peer.hooks_fail = false);
    world.run(20_000);
    assert!(world.primary().is_some(), "later it is tried again");
}

#[test]
fn who_failed_too_often_does_not_get_the_role_again_by_waking_up() {
    let mut config = config(|failover| failover.promotions_max = 1);
    config.failover.promotions_window = Duration::from_secs(20);
    let (mut world, _) = World::served(2, 5, 3, config);
    moved(&mut world, 3);
    (0..3).for_each(|node| world.known(node, |it| it.healthy = false));
    world.pause(3, 1_500);
    world.until(1_400, |world| world.primary() == Some(4));
    world.run(3_000);
    world.pause(4, 1_500);
    world.run(1_400);
    assert!(told(&world, |event| matches!(event, Event::Alert { alert: Alert::TooMany { .. }, .. })));
    world.run(5_000);
    assert_eq!(world.primary(), None, "the limit holds");
    world.run(20_000);
    assert!(world.primary().is_some(), "later it is tried again");
}

#[test]
fn whose_work_never_begins_does_not_keep_the_role() {
    let (mut world, _) = World::served(1, 4, 3, Config { hooks: true, ..Config::primary() });
    moved(&mut world, 2);
    world.peers[1].hooks_hang = true;
    let to = Some(world.peers[1].node);
    world.order(OrderWhat::Move { to }, 5).unwrap().unwrap();
    world.until(1_000, |world| world.primary() == Some(1));
    world.until(11_000, |world| other_than(world, 1));
    assert!(told(&world, |event| matches!(event, Event::Demote { why: Why::HookFailed, .. })));
}

#[test]
fn a_role_goes_back_to_nobody_by_itself() {
    let (mut world, _) = served();
    moved(&mut world, 2);
    world.run(30_000);
    assert_eq!(world.primary(), Some(2));
}

#[test]
fn a_role_goes_back_to_who_is_preferred_after_a_while_without_a_break() {
    let hold = Duration::from_secs(10);
    let config = config(|failover| failover.failback = Failback::Automatic { hold });
    let (mut world, _) = World::served(3, 4, 3, config);
    world.known(0, |it| it.lag = 1);
    moved(&mut world, 2);
    world.known(1, |it| it.healthy = false);
    world.run(15_000);
    assert_eq!(world.primary(), Some(2), "nobody who is preferred is ready");
    world.known(0, |it| it.lag = 0);
    world.run(6_000);
    world.known(0, |it| it.healthy = false);
    world.run(6_000);
    world.known(0, |it| it.healthy = true);
    world.run(9_000);
    assert_eq!(world.primary(), Some(2), "it was not ready all the time");
    world.run(2_000);
    assert_eq!((world.primary(), last_reason(&world)), (Some(0), Reason::Failback));
}

#[test]
fn a_role_goes_back_by_priorities_of_all_that_can_be_configured() {
    let config = config(|failover| failover.failback = Failback::Automatic { hold: Duration::from_secs(2) });
    let (mut world, _) = World::served(3, 4, 3, config);
    world.known(3, |it| it.priority = Candidate::priority_of(65_000));
    world.known(2, |it| it.priority = Candidate::priority_of(300));
    moved(&mut world, 2);
    world.run(6_000);
    assert_eq!((world.primary(), last_reason(&world)), (Some(3), Reason::Failback));
}

#[test]
fn who_lags_never_takes_over_and_an_operator_is_told() {
    let (mut world, holder) = served();
    for node in (0..4).filter(|node| *node != holder) {
        world.known(node, |it| it.lag = 65);
    }
    let to = world.peers[(holder + 1) % 4].node;
    let refused = world.order(OrderWhat::Move { to: Some(to) }, 5).unwrap();
    assert!(matches!(refused, Err(OrderError::Ineligible { .. })), "{refused:?}");
    assert_eq!(world.order(OrderWhat::Move { to: None }, 5), Some(Err(OrderError::NoCandidate)));
    world.crash(holder, true);
    world.run(3_000);
    assert_eq!(world.primary(), None);
    assert!(alerted(&world, Alert::NoCandidate));
    world.known(3, |it| it.lag = 64);
    world.until(1_000, |world| world.primary() == Some(3));
}

#[test]
fn by_hand_means_that_an_operator_chooses() {
    let config = config(|failover| failover.strategy = PromotionStrategy::Manual);
    let mut world = World::new(4, 4, 3, config);
    world.run(3_000);
    assert_eq!(world.primary(), None);
    moved(&mut world, 1);
    world.crash(1, true);
    world.run(3_000);
    assert_eq!(world.primary(), None);
    assert!(alerted(&world, Alert::Held));
}

#[test]
fn an_order_that_expires_before_the_lease_is_over_promotes_nobody() {
    let (mut world, _) = served();
    moved(&mut world, 3);
    world.weather.lost = 1_000;
    let id = world.order(OrderWhat::Move { to: None }, 0).unwrap().unwrap();
    world.run(50);
    world.weather.lost = 0;
    world.run(3_000);
    assert!(matches!(world.answer(id), Some(Err(_))), "{:?}", world.answer(id));
    let (_, grant) = world.grant();
    let turns = grant.history.iter().map(|past| &past.turn).chain([&grant.turn]);
    assert_eq!(turns.filter(|turn| turn.reason == Reason::Switchover).count(), 1, "the one before");
}

#[test]
fn two_orders_at_a_time_are_one_too_many() {
    let (mut world, _) = served();
    world.order(OrderWhat::Move { to: None }, 5).unwrap().unwrap();
    assert_eq!(world.order(OrderWhat::Release, 5), Some(Err(OrderError::Busy)));
}

#[test]
fn an_order_is_answered_when_the_office_is_lost() {
    let (mut world, _) = served();
    moved(&mut world, 3);
    world.pause(3, 5_000);
    let id = world.order(OrderWhat::Move { to: None }, 5).unwrap().unwrap();
    let leader = world.leader().unwrap();
    world.isolate(&[leader]);
    world.run(1_000);
    let answer = world.answer(id).unwrap();
    assert!(matches!(answer, Err(OrderError::NotLeader { .. } | OrderError::Unknown)), "{answer:?}");
}

#[test]
fn who_is_granted_a_role_and_does_not_begin_is_passed_over() {
    let (mut world, _) = World::served(1, 5, 5, Config::primary());
    let leader = world.leader().unwrap();
    let (holder, deaf) = ((leader + 1) % 5, (leader + 2) % 5);
    moved(&mut world, holder);
    world.known(deaf, |it| it.priority = 200);
    world.isolate(&[deaf]);
    world.crash(holder, true);
    world.run(3_000);
    let begun = world.primary();
    assert!(begun.is_some_and(|at| at != deaf && at != holder), "{begun:?}");
    assert_eq!(last_reason(&world), Reason::NotBegun);
}
