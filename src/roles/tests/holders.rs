//! A holder alone: what it does with each word of its leader.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::*;
use crate::consensus::Token;
use crate::machine::Op;
use crate::machine::testkit::step_at;
use crate::types::{DiskFault, DiskFaultKind, Index, Now, Time};

const ME: NodeId = NodeId::from_u128(1);
const LEADER: NodeId = NodeId::from_u128(2);

fn at(ms: u64) -> Now {
    Now { mono: Time::ZERO + Duration::from_millis(10_000 + ms), ..Now::default() }
}

fn token(index: u64) -> Token {
    Token { epoch: Epoch::new(1), term: Term::new(1), index: Index::new(index) }
}

fn role() -> RoleName {
    RoleName::primary()
}

fn play(machine: &mut Roles, ms: u64, step: impl FnOnce(&mut Roles, &mut Cx<'_, Roles>, &Sight<'_>)) -> Vec<Op<Roles>> {
    let registers = BTreeMap::new();
    let (leader, registers, candidates) = (Some(LEADER), &registers, &[]);
    let sight = Sight { leader, mandate: None, commit: Index::ZERO, registers, decisions: None, candidates };
    step_at(at(ms), |cx| step(machine, cx, &sight))
}

fn hear(machine: &mut Roles, ms: u64, token: Token, body: Body) -> Vec<Op<Roles>> {
    let message = Message { role: role(), token, body };
    play(machine, ms, |machine, cx, sight| machine.on_message(cx, sight, LEADER, message))
}

fn granted() -> Body {
    Body::Granted { lease_us: 150_000, hooks_us: 50_000 }
}

fn written(machine: &mut Roles, ms: u64, token: Token) -> Vec<Op<Roles>> {
    persisted(machine, ms, Wait { role: role(), token, begins: true })
}

fn persisted(machine: &mut Roles, ms: u64, wait: Wait) -> Vec<Op<Roles>> {
    play(machine, ms, |machine, cx, sight| machine.on_persisted(cx, sight, &wait, &Ok(())))
}

fn renewed(number: u64, left_ms: u64) -> Body {
    Body::Renewed { number, left_us: left_ms * 1_000 }
}

fn holds(machine: &Roles, ms: u64) -> bool {
    machine.view().holds(&role(), at(ms).mono).is_some()
}

/// One that asked at 0 and was answered at 10 with the whole lease.
fn acting() -> Roles {
    let mut machine = Roles::new(ME, Config::primary());
    hear(&mut machine, 0, token(5), granted());
    written(&mut machine, 0, token(5));
    hear(&mut machine, 10, token(5), renewed(1, 150));
    machine
}

fn events(ops: Vec<Op<Roles>>) -> Vec<Event> {
    ops.into_iter().filter_map(|op| if let Op::Emit(event) = op { Some(event) } else { None }).collect()
}

#[test]
fn its_token_is_durable_before_it_asks() {
    let mut machine = Roles::new(ME, Config::primary());
    let ops = hear(&mut machine, 0, token(5), granted());
    let wait = Wait { role: role(), token: token(5), begins: true };
    assert_eq!(ops, [Op::Persist(Record::Begun { role: role(), token: token(5) }, wait)]);
    let ops = written(&mut machine, 1, token(5));
    let renew = Message { role: role(), token: token(5), body: Body::Renew { number: 1, ready: false } };
    assert_eq!(ops, [Op::Arm(Timer::Renew(role()), Duration::from_millis(50)), Op::Send(LEADER, renew)]);
    assert!(!holds(&machine, 1), "a grant is no lease");
}

#[test]
fn a_lease_counts_from_when_it_asked_and_a_fifth_is_left_unused() {
    let machine = acting();
    assert!(holds(&machine, 10) && holds(&machine, 119) && !holds(&machine, 120));
}

#[test]
fn an_answer_that_comes_too_late_is_none() {
    let mut machine = Roles::new(ME, Config::primary());
    hear(&mut machine, 0, token(5), granted());
    written(&mut machine, 0, token(5));
    assert_eq!(hear(&mut machine, 120, token(5), renewed(1, 150)), []);
    assert!(!holds(&machine, 120));
}

#[test]
fn nobody_gives_more_than_the_lease_or_takes_from_it() {
    let mut machine = acting();
    play(&mut machine, 50, |machine, cx, sight| machine.on_timer(cx, sight, &Timer::Renew(role())));
    hear(&mut machine, 60, token(5), renewed(2, 60_000));
    assert!(holds(&machine, 169) && !holds(&machine, 170));
    play(&mut machine, 100, |machine, cx, sight| machine.on_timer(cx, sight, &Timer::Renew(role())));
    hear(&mut machine, 110, token(5), renewed(3, 31));
    assert!(holds(&machine, 169), "a shorter answer takes nothing away");
}

#[test]
fn an_answer_that_was_never_asked_for_is_none() {
    let mut machine = acting();
    assert_eq!(hear(&mut machine, 60, token(5), renewed(7, 150)), []);
    assert_eq!(hear(&mut machine, 60, token(5), renewed(1, 150)), [], "answered before");
    assert_eq!(hear(&mut machine, 60, token(4), renewed(1, 150)), [], "of another turn");
    assert!(!holds(&machine, 120));
}

#[test]
fn only_the_leader_is_heard() {
    let mut machine = Roles::new(ME, Config::primary());
    let message = Message { role: role(), token: token(5), body: granted() };
    let other = NodeId::from_u128(9);
    assert_eq!(play(&mut machine, 0, |machine, cx, sight| machine.on_message(cx, sight, other, message)), []);
}

#[test]
fn it_stops_by_itself_and_says_so_when_its_hooks_are_done() {
    let mut machine = acting();
    let limit = Duration::from_millis(50);
    let told = events(play(&mut machine, 120, |machine, cx, sight| {
        machine.on_timer(cx, sight, &Timer::Fence(role()));
    }));
    assert_eq!(told, [Event::Demote { role: role(), token: token(5), why: Why::Lapsed, limit }]);
    let ops = play(&mut machine, 130, |machine, cx, sight| {
        machine.on_hooks_done(cx, sight, &role(), token(5), (Hooks::End, true))
    });
    let stopped = Message { role: role(), token: token(5), body: Body::Stopped { is_wish: false } };
    assert!(ops.contains(&Op::Send(LEADER, stopped)), "{ops:?}");
    // And never begins again under that token, whoever says so.
    hear(&mut machine, 140, token(5), granted());
    hear(&mut machine, 140, token(5), renewed(1, 150));
    assert!(!holds(&machine, 141));
}

#[test]
fn a_process_that_was_stopped_finds_out_before_it_does_anything() {
    let mut machine = acting();
    // The first thing that it hears is an answer from long ago, but the lease is over.
    let told = events(hear(&mut machine, 5_000, token(5), renewed(1, 150)));
    assert!(matches!(told[..], [Event::Demote { why: Why::Lapsed, .. }]), "{told:?}");
}

#[test]
fn hooks_that_take_too_long_are_stopped_and_only_their_end_is_told_on() {
    let mut machine = acting();
    hear(&mut machine, 20, token(5), Body::Stop);
    let ops = play(&mut machine, 70, |machine, cx, sight| machine.on_timer(cx, sight, &Timer::Hooks(role())));
    assert_eq!(ops, [Op::Emit(Event::StopHooks { role: role(), token: token(5) })]);
}

#[test]
fn a_life_before_is_ended_and_not_gone_on_with() {
    let mut machine = Roles::new(ME, Config::primary());
    machine.restore(&Record::Begun { role: role(), token: token(5) });
    let told = events(hear(&mut machine, 0, token(5), granted()));
    assert!(matches!(told[..], [Event::Demote { why: Why::Restarted, .. }]), "{told:?}");
    assert_eq!(hear(&mut machine, 1, token(4), granted()), [], "older ones are nothing at all");
    play(&mut machine, 2, |machine, cx, sight| machine.on_hooks_done(cx, sight, &role(), token(5), (Hooks::End, true)));
    let ops = hear(&mut machine, 3, token(6), granted());
    assert!(matches!(ops[..], [Op::Persist(..)]), "{ops:?}");
}

#[test]
fn what_was_ended_well_is_not_ended_again_by_the_next_life() {
    for is_well in [true, false] {
        let mut machine = acting();
        hear(&mut machine, 20, token(5), Body::Stop);
        let ops = play(&mut machine, 30, |machine, cx, sight| {
            machine.on_hooks_done(cx, sight, &role(), token(5), (Hooks::End, is_well));
        });
        let ended = Record::Ended { role: role(), token: token(5) };
        let is_written = ops.iter().any(|op| matches!(op, Op::Persist(record, _) if *record == ended));
        assert_eq!(is_written, is_well);
        let mut next = Roles::new(ME, Config::primary());
        next.restore(&Record::Begun { role: role(), token: token(5) });
        let records: Vec<_> = machine.view().records().collect();
        assert_eq!(records.contains(&ended), is_well);
        records.iter().for_each(|record| next.restore(record));
        let told = events(play(&mut next, 40, Roles::start));
        assert_eq!(matches!(told[..], [Event::Demote { why: Why::Restarted, .. }]), !is_well, "{told:?}");
        if is_well {
            // The leader did not hear of it.
            let ops = hear(&mut next, 50, token(5), granted());
            let stopped =
                |op: &Op<Roles>| matches!(op, Op::Send(_, Message { body: Body::Stopped { is_wish: false }, .. }));
            assert!(ops.iter().any(stopped) && !ops.iter().any(|op| matches!(op, Op::Emit(_))), "{ops:?}");
        }
    }
}

/// A world found it (seed 7472347145525552592): the hooks that begin the work end at the moment at which the lease does, and were taken for those
/// that end it.
#[test]
fn hooks_that_begin_the_work_do_not_end_it() {
    let mut machine = acting();
    let ops = play(&mut machine, 120, |machine, cx, sight| {
        machine.on_hooks_done(cx, sight, &role(), token(5), (Hooks::Begin, true));
    });
    assert!(!ops.iter().any(|op| matches!(op, Op::Send(..))), "{ops:?}");
    assert!(matches!(events(ops)[..], [Event::Demote { why: Why::Lapsed, .. }]));
}

#[test]
fn hooks_that_fail_to_begin_give_the_role_back() {
    let mut machine = acting();
    let told = events(play(&mut machine, 20, |machine, cx, sight| {
        machine.on_hooks_done(cx, sight, &role(), token(5), (Hooks::Begin, false))
    }));
    assert!(matches!(told[..], [Event::Demote { why: Why::HookFailed, .. }]), "{told:?}");
}

#[test]
fn hooks_that_never_end_give_the_role_back() {
    let mut machine = Roles::new(ME, Config { hooks: true, ..Config::primary() });
    hear(&mut machine, 0, token(5), granted());
    written(&mut machine, 0, token(5));
    let ops = hear(&mut machine, 10, token(5), renewed(1, 150));
    assert!(ops.contains(&Op::Arm(Timer::Hooks(role()), Duration::from_secs(10))), "{ops:?}");
    let told = events(play(&mut machine, 20, |machine, cx, sight| machine.on_timer(cx, sight, &Timer::Hooks(role()))));
    assert!(matches!(told[..], [Event::Demote { why: Why::HookFailed, .. }]), "{told:?}");
}

#[test]
fn hooks_that_ended_are_not_waited_for() {
    let mut machine = Roles::new(ME, Config { hooks: true, ..Config::primary() });
    hear(&mut machine, 0, token(5), granted());
    written(&mut machine, 0, token(5));
    hear(&mut machine, 10, token(5), renewed(1, 150));
    let ops = play(&mut machine, 20, |machine, cx, sight| {
        machine.on_hooks_done(cx, sight, &role(), token(5), (Hooks::Begin, true));
    });
    assert!(ops.contains(&Op::Disarm(Timer::Hooks(role()))), "{ops:?}");
    let ops = play(&mut machine, 21, |machine, cx, sight| machine.on_timer(cx, sight, &Timer::Hooks(role())));
    assert_eq!(ops, [], "one that fired at the same moment");
}

#[test]
fn a_disk_that_fails_makes_no_holder() {
    let mut machine = Roles::new(ME, Config::primary());
    hear(&mut machine, 0, token(5), granted());
    let fault = DiskFault { kind: DiskFaultKind::Failed, what: "a".into(), why: "b".into() };
    let wait = Wait { role: role(), token: token(5), begins: true };
    let ops = play(&mut machine, 1, |machine, cx, sight| machine.on_persisted(cx, sight, &wait, &Err(fault)));
    let stopped = Message { role: role(), token: token(5), body: Body::Stopped { is_wish: true } };
    assert!(ops.contains(&Op::Send(LEADER, stopped)), "{ops:?}");
    hear(&mut machine, 2, token(5), renewed(1, 150));
    assert!(!holds(&machine, 2));
}

#[test]
fn what_no_leader_says_is_a_fault() {
    let mut machine = Roles::new(ME, Config::primary());
    let endless = Body::Granted { lease_us: u64::MAX, hooks_us: 0 };
    let told = events(hear(&mut machine, 0, token(5), endless));
    assert!(matches!(told[..], [Event::PeerFault { fault: Fault::Immense { .. }, .. }]), "{told:?}");
    let told = events(hear(&mut machine, 0, token(u64::MAX), granted()));
    assert!(matches!(told[..], [Event::PeerFault { fault: Fault::Token(_), .. }]), "{told:?}");
}

fn admit(machine: &mut Roles, token: Token, ticket: u64) -> Result<Admission, Refused> {
    let mut result = None;
    play(machine, 0, |machine, cx, sight| result = Some(machine.admit(cx, sight, &role(), token, ticket)));
    result.unwrap()
}

fn fenced(machine: &mut Roles, index: u64) -> Vec<Event> {
    events(persisted(machine, 1, Wait { role: role(), token: token(index), begins: false }))
}

#[test]
fn a_fence_heeds_what_is_durable_and_refuses_what_is_lower() {
    let mut machine = Roles::new(ME, Config::primary());
    let stale = Refused::Stale { shown: token(4), highest: token(5) };
    assert_eq!(admit(&mut machine, token(5), 1), Ok(Admission::Later));
    assert_eq!(admit(&mut machine, token(4), 2), Ok(Admission::Later), "what is refused is so for ever");
    let answers =
        [Event::Admitted { ticket: 1, result: Ok(()) }, Event::Admitted { ticket: 2, result: Err(stale.clone()) }];
    assert_eq!(fenced(&mut machine, 5), answers);
    assert_eq!(admit(&mut machine, token(5), 3), Ok(Admission::Admitted));
    let records: Vec<_> = machine.view().records().collect();
    let mut again = Roles::new(ME, Config::primary());
    records.iter().for_each(|record| again.restore(record));
    assert_eq!(admit(&mut again, token(4), 4), Err(stale), "also in a later life");
    assert_eq!(admit(&mut again, token(5), 5), Ok(Admission::Admitted));
}

#[test]
fn who_waits_behind_a_fence_is_refused_when_a_higher_token_comes() {
    let mut machine = Roles::new(ME, Config::primary());
    assert_eq!(admit(&mut machine, token(5), 1), Ok(Admission::Later));
    assert_eq!(admit(&mut machine, token(6), 2), Ok(Admission::Later));
    assert_eq!(fenced(&mut machine, 5), []);
    let refused = Refused::Stale { shown: token(5), highest: token(6) };
    let answers = [Event::Admitted { ticket: 1, result: Err(refused) }, Event::Admitted { ticket: 2, result: Ok(()) }];
    assert_eq!(fenced(&mut machine, 6), answers);
}

/// A peer that had seen, as one to be acted upon, a token that it is granted a little later would take itself for one
/// that had begun in a life before.
#[test]
fn to_have_seen_a_token_is_not_to_have_begun_under_it() {
    let mut machine = Roles::new(ME, Config::primary());
    machine.restore(&Record::Fence { role: role(), token: token(5) });
    let ops = hear(&mut machine, 0, token(5), granted());
    assert!(matches!(ops[..], [Op::Persist(Record::Begun { .. }, _)]), "{ops:?}");
}

#[test]
fn what_begins_is_in_what_a_snapshot_keeps() {
    let machine = acting();
    let records: Vec<_> = machine.view().records().collect();
    assert_eq!(records, [Record::Begun { role: role(), token: token(5) }]);
}

quickcheck::quickcheck! {
    /// L3, for any order of tokens, answers of the disk and restarts.
    fn a_fence_never_heeds_an_older_token(steps: Vec<(u8, u8)>) -> bool {
        let mut machine = Roles::new(ME, Config::primary());
        let (mut disk, mut open, mut asked) = (Vec::new(), Vec::new(), Vec::new());
        let (mut highest, mut refused) = (Token::default(), Token::default());
        for (ticket, (what, index)) in steps.into_iter().enumerate() {
            let shown = token(u64::from(index % 8) + 1);
            let (mut heeded, mut told) = (Vec::new(), Vec::new());
            match what % 4 {
                0 | 1 => {
                    asked.push((ticket as u64, shown));
                    let ops = play(&mut machine, 0, |machine, cx, sight| {
                        match machine.admit(cx, sight, &role(), shown, ticket as u64) {
                            Ok(Admission::Admitted) => heeded.push(shown),
                            Ok(Admission::Later) => {}
                            Err(_) => refused = refused.max(shown),
                        }
                    });
                    open.extend(ops.into_iter().filter_map(|op| match op {
                        Op::Persist(record, wait) => Some((record, wait)),
                        _ => None,
                    }));
                }
                2 if !open.is_empty() => {
                    let (record, wait) = open.remove(0);
                    disk.push(record);
                    told = events(persisted(&mut machine, 0, wait));
                }
                2 => {}
                _ => {
                    open.clear();
                    machine = Roles::new(ME, Config::primary());
                    disk.iter().for_each(|record| machine.restore(record));
                }
            }
            for event in told {
                let Event::Admitted { ticket, result } = event else { return false };
                let (_, shown) = asked.iter().find(|(of, _)| *of == ticket).copied().unwrap();
                if result.is_ok() {
                    heeded.push(shown);
                } else {
                    refused = refused.max(shown);
                }
            }
            if heeded.iter().any(|token| *token < highest || *token <= refused) {
                return false;
            }
            highest = heeded.into_iter().fold(highest, Token::max);
        }
        true
    }

    fn any_bytes_are_a_message_or_an_error(bytes: Vec<u8>) -> bool {
        let decoded: Result<(Message, usize), _> = bincode::decode_from_slice(&bytes, bincode::config::standard());
        if let Ok((message, _)) = decoded {
            let mut machine = acting();
            play(&mut machine, 20, |machine, cx, sight| machine.on_message(cx, sight, LEADER, message));
        }
        true
    }
}
