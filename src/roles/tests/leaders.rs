//! A leader alone: which leases it gives, and when it grants.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::*;
use crate::consensus::{Intent, Name, Outcome, Refusal, Register, Token};
use crate::failover::{Candidate, FailoverState, PromotionStrategy};
use crate::machine::Op;
use crate::machine::testkit::step_at;
use crate::types::{Index, Now, Time, WallTime};

const ME: NodeId = NodeId::from_u128(1);
const HOLDER: NodeId = NodeId::from_u128(2);
const TERM: u64 = 7;

fn role() -> RoleName {
    RoleName::primary()
}

fn time(ms: u64) -> Time {
    Time::ZERO + Duration::from_millis(ms)
}

fn token(term: u64, index: u64) -> Token {
    Token { epoch: Epoch::new(1), term: Term::new(term), index: Index::new(index) }
}

fn candidate(n: u128) -> Candidate {
    Candidate { node: NodeId::from_u128(n), priority: 10, observer: false, healthy: true, lag: 0, load: 0 }
}

/// A leader and what it sees.
struct Office {
    machine: Roles,
    registers: BTreeMap<Name, Register>,
    mandate: Option<Mandate>,
    candidates: Vec<Candidate>,
}

impl Office {
    /// New at 1,000 ms; the holder was granted the role before.
    fn new() -> Self {
        let begun = Turn { took_us: Some(1), ..turn(Reason::First, 0) };
        let mut grant = Grant::vacant(begun, Duration::from_millis(150), Duration::from_millis(50));
        grant.holder = Some(HOLDER);
        Self::of(&grant)
    }

    /// The holder's turn is the last of three that nobody asked for, which began then, by whatever clock.
    fn promoted_at(ms: u64) -> Self {
        let mut grant = Grant::vacant(turn(Reason::First, 0), Duration::from_millis(150), Duration::from_millis(50));
        for index in 1..=3 {
            grant = grant.next(
                token(3, index),
                Some((candidate(2), PromotionStrategy::Priority)),
                turn(Reason::Failed, ms),
            );
        }
        Self::of(&grant)
    }

    fn of(grant: &Grant) -> Self {
        let register = Register { token: token(3, 5), value: grant.to_value() };
        let mandate = Mandate {
            epoch: Epoch::new(1),
            term: Term::new(TERM),
            is_settled: true,
            unled_since: time(900),
            quorum_sent_at: Some(time(990)),
        };
        let mut office = Self {
            machine: Roles::new(ME, Config::primary()),
            registers: BTreeMap::from([(role().register(), register)]),
            mandate: Some(mandate),
            candidates: vec![candidate(2), candidate(3)],
        };
        office.look(1_000);
        office
    }

    fn play(&mut self, ms: u64, step: impl FnOnce(&mut Roles, &mut Cx<'_, Roles>, &Sight<'_>)) -> Vec<Op<Roles>> {
        let now = Now { mono: time(ms), wall: WallTime::from_micros(ms * 1_000) };
        let sight = Sight {
            leader: Some(ME),
            mandate: self.mandate,
            commit: Index::new(9),
            registers: &self.registers,
            decisions: None,
            candidates: &self.candidates,
        };
        step_at(now, |cx| step(&mut self.machine, cx, &sight))
    }

    fn look(&mut self, ms: u64) -> Vec<Op<Roles>> {
        self.play(ms, |machine, cx, sight| machine.on_timer(cx, sight, &Timer::Look))
    }

    fn hear(&mut self, ms: u64, from: NodeId, token: Token, body: Body) -> Vec<Op<Roles>> {
        let message = Message { role: role(), token, body };
        self.play(ms, |machine, cx, sight| machine.on_message(cx, sight, from, message))
    }

    /// The holder asks; how much of its lease is left, in milliseconds.
    fn renew(&mut self, ms: u64) -> Option<u64> {
        let ops = self.hear(ms, HOLDER, token(3, 5), Body::Renew { number: 1, ready: true });
        ops.into_iter().find_map(|op| match op {
            Op::Send(HOLDER, Message { body: Body::Renewed { number: 1, left_us }, .. }) => Some(left_us / 1_000),
            _ => None,
        })
    }

    /// What it proposes when it looks.
    fn proposes(&mut self, ms: u64) -> Option<Intent> {
        proposal(self.look(ms))
    }

    /// An operator orders something, and it is decided.
    fn ordered(&mut self, ms: u64, what: OrderWhat) {
        let id = RequestId { born: Index::new(9), number: 7 };
        let (by, expires) = (Name::new("somebody").unwrap(), WallTime::from_micros(u64::MAX));
        let order = Order { id, expires, by, role: role(), what };
        let ops = self.play(ms, |machine, cx, sight| machine.order(cx, sight, &order).unwrap());
        let value = proposal(ops).unwrap().action.value.unwrap();
        self.registers.insert(role().register(), Register { token: token(TERM, 10), value });
        self.play(ms, |machine, cx, sight| machine.on_decided(cx, sight, id, token(TERM, 10), Outcome::Done));
    }

    fn quorum_at(&mut self, ms: Option<u64>) {
        self.mandate.as_mut().unwrap().quorum_sent_at = ms.map(time);
    }
}

fn turn(reason: Reason, ms: u64) -> Turn {
    Turn { reason, by: Name::new("a").unwrap(), since: WallTime::from_micros(ms * 1_000), took_us: None }
}

fn proposal(ops: Vec<Op<Roles>>) -> Option<Intent> {
    ops.into_iter().find_map(|op| match op {
        Op::Emit(Event::Propose { intent }) => Some(intent),
        _ => None,
    })
}

#[test]
fn a_lease_counts_from_the_last_round_that_a_majority_answered() {
    let mut office = Office::new();
    assert_eq!(office.renew(1_010), Some(130));
    office.quorum_at(Some(1_040));
    assert_eq!(office.renew(1_050), Some(140));
    assert_eq!(office.renew(1_189), Some(1), "it is cut off, and does not know yet");
    assert_eq!(office.renew(1_190), None);
}

#[test]
fn no_lease_comes_from_who_has_no_majority_or_does_not_know_all_decisions() {
    let mut office = Office::new();
    office.quorum_at(None);
    assert_eq!(office.renew(1_010), None);
    office.quorum_at(Some(1_000));
    office.mandate.as_mut().unwrap().is_settled = false;
    assert_eq!(office.renew(1_010), None);
    office.mandate = None;
    assert_eq!(office.renew(1_010), None);
}

#[test]
fn a_new_leader_waits_a_full_lease_from_its_election() {
    let mut office = Office::new();
    // 150 ms and a tenth, hooks of 50 ms and a fifth.
    assert_eq!(office.proposes(1_224), None);
    let intent = office.proposes(1_225).unwrap();
    assert_eq!(intent.action.expect, crate::consensus::Expect::Set(token(3, 5)));
}

#[test]
fn a_lease_that_was_given_is_waited_out_whatever_hints_say() {
    let mut office = Office::new();
    office.quorum_at(Some(1_500));
    for ms in (1_050..=1_500).step_by(50) {
        office.renew(ms);
    }
    let ops = office.play(1_510, |machine, cx, sight| machine.on_unlinked(cx, sight, HOLDER));
    assert!(ops.iter().any(|op| matches!(op, Op::Emit(Event::Moved { to: FailoverState::Electing, .. }))));
    assert_eq!((proposal(ops), office.proposes(1_724)), (None, None));
    assert!(office.proposes(1_725).is_some());
}

#[test]
fn a_holder_that_stopped_is_replaced_at_once() {
    let mut office = Office::new();
    office.renew(1_010);
    let ops = office.hear(1_020, HOLDER, token(3, 5), Body::Stopped { is_wish: true });
    assert!(ops.iter().any(|op| matches!(op, Op::Send(HOLDER, Message { body: Body::Noted, .. }))));
    assert!(proposal(ops).is_some());
    assert_eq!(office.renew(1_030), None, "what stopped gets no lease");
}

#[test]
fn from_the_proposal_on_there_is_no_lease_until_it_is_certain_what_came_of_it() {
    let mut office = Office::new();
    let intent = office.proposes(1_300).unwrap();
    office.quorum_at(Some(1_300));
    assert_eq!(office.renew(1_310), None);
    assert_eq!(office.renew(60_000), None, "however long that takes");
    office.quorum_at(Some(60_000));
    let differs = Outcome::Differs { holds: None };
    office.play(60_000, |machine, cx, sight| machine.on_decided(cx, sight, intent.request, token(TERM, 10), differs));
    assert_eq!(office.renew(60_010), Some(140));
}

#[test]
fn a_proposal_that_was_refused_is_made_again_a_little_later() {
    let mut office = Office::new();
    let intent = office.proposes(1_300).unwrap();
    office.play(1_300, |machine, cx, _| machine.on_refused(cx, intent.request, &Refusal::NoQuorum));
    assert_eq!(office.proposes(1_349), None);
    assert!(office.proposes(1_350).is_some());
}

#[test]
fn a_turn_of_this_term_that_never_had_a_lease_is_not_waited_for() {
    let mut office = Office::new();
    let intent = office.proposes(1_300).unwrap();
    let value = intent.action.value.unwrap();
    let decided = token(TERM, 10);
    office.registers.insert(role().register(), Register { token: decided, value });
    office.play(1_310, |machine, cx, sight| {
        machine.on_decided(cx, sight, intent.request, decided, Outcome::Done);
    });
    // It says that its disk failed, and never began.
    let ops = office.hear(1_320, NodeId::from_u128(3), decided, Body::Stopped { is_wish: true });
    assert!(proposal(ops).is_some());
}

#[test]
fn an_office_that_was_lost_and_is_told_of_again_forgets_what_it_gave() {
    let mut office = Office::new();
    let value = office.registers[&role().register()].value.clone();
    office.registers.insert(role().register(), Register { token: token(TERM, 10), value });
    office.look(2_000);
    office.quorum_at(Some(2_000));
    let renew = Body::Renew { number: 1, ready: true };
    let ops = office.hear(2_010, HOLDER, token(TERM, 10), renew);
    assert!(ops.iter().any(|op| matches!(op, Op::Send(HOLDER, _))));
    let mandate = office.mandate.take();
    office.look(2_020);
    office.mandate = mandate;
    office.look(2_030);
    // Its own turn, but it cannot know any more that no lease was given.
    office.play(2_040, |machine, cx, sight| machine.on_unlinked(cx, sight, HOLDER));
    assert_eq!(office.proposes(2_254), None);
    assert!(office.proposes(2_255).is_some());
}

#[test]
fn whoever_shows_an_older_token_is_told() {
    let mut office = Office::new();
    let ops = office.hear(1_010, HOLDER, token(2, 4), Body::Renew { number: 1, ready: true });
    let superseded = Message { role: role(), token: token(2, 4), body: Body::Superseded { by: token(3, 5) } };
    assert!(ops.contains(&Op::Send(HOLDER, superseded)), "{ops:?}");
    let ops = office.hear(1_010, NodeId::from_u128(9), token(3, 5), Body::Stopped { is_wish: true });
    assert!(proposal(ops).is_none(), "only the holder gives a role back");
}

#[test]
fn what_cannot_be_read_is_left_alone() {
    let mut office = Office::new();
    let value = crate::consensus::Value::new(vec![9, 9, 9].into()).unwrap();
    office.registers.insert(role().register(), Register { token: token(6, 8), value });
    let ops = office.look(2_000);
    assert!(ops.contains(&Op::Emit(Event::Alert { role: role(), alert: Alert::Unreadable })), "{ops:?}");
    assert_eq!(office.proposes(60_000), None);
}

#[test]
fn what_is_given_is_in_the_grant_and_not_in_this_peers_configuration() {
    let mut office = Office::new();
    office.machine.config.failover.lease = Duration::from_millis(10);
    office.machine.config.failover.hook_limit = Duration::ZERO;
    assert_eq!(office.renew(1_010), Some(130));
    assert_eq!(office.proposes(1_224), None);
    assert!(office.proposes(1_225).is_some());
}

#[test]
fn an_order_whose_time_has_passed_is_not_taken_on() {
    let mut office = Office::new();
    let mut order = |ms: u64, expires: u64| {
        let id = RequestId { born: Index::new(9), number: 1 };
        let by = Name::new("somebody").unwrap();
        let expires = WallTime::from_micros(expires * 1_000);
        let order = Order { id, expires, by, role: role(), what: OrderWhat::Move { to: None } };
        let mut result = None;
        office.play(ms, |machine, cx, sight| result = Some(machine.order(cx, sight, &order)));
        result.unwrap()
    };
    let expires = WallTime::from_micros(1_000_000);
    assert_eq!(order(1_001, 1_000), Err(OrderError::Expired { expires }));
    assert_eq!(order(1_001, 1_001), Ok(()));
    assert_eq!(order(1_001, 1_001), Ok(()), "asked twice, it is the same one");
    // The holder does not say that it stopped, and the time passes: nothing is proposed for it.
    let ops = office.look(1_300);
    let expires = WallTime::from_micros(1_001_000);
    let answered = Event::Ordered {
        id: RequestId { born: Index::new(9), number: 1 },
        result: Err(OrderError::Expired { expires }),
    };
    assert!(ops.contains(&Op::Emit(answered)), "{ops:?}");
    assert_eq!(proposal(ops), None);
}

/// Ten years.
const LATER: u64 = 10 * 365 * 86_400_000;

#[test]
fn a_clock_that_was_wrong_once_does_not_end_failover() {
    assert_eq!(Office::promoted_at(900).proposes(1_300), None, "three are enough");
    assert_eq!(Office::promoted_at(30_000).proposes(1_300), None, "clocks differ a little");
    assert!(Office::promoted_at(LATER).proposes(1_300).is_some(), "nobody was promoted in ten years' time");
}

#[test]
fn a_resumed_role_counts_promotions_anew_whatever_the_clocks_said() {
    for since in [900, 30_000, LATER] {
        let mut office = Office::promoted_at(since);
        office.ordered(1_010, OrderWhat::Resume);
        let later = if since == LATER { LATER + 1_000 } else { 1_300 };
        assert!(office.proposes(later).is_some(), "turns of {since} ms");
    }
}

/// Consensus has forgotten what was asked so long ago: under that name nothing is done any more, and the holder goes on.
#[test]
fn an_order_that_is_refused_for_good_ends_and_the_holder_goes_on() {
    let mut office = Office::new();
    let id = RequestId { born: Index::new(9), number: 7 };
    let (by, expires) = (Name::new("somebody").unwrap(), WallTime::from_micros(u64::MAX));
    let order = Order { id, expires, by, role: role(), what: OrderWhat::Pause };
    let ops = office.play(1_010, |machine, cx, sight| machine.order(cx, sight, &order).unwrap());
    let intent = proposal(ops).expect("a pause waits for nobody");
    let why = Refusal::Forgotten { floor: Index::new(50) };
    let ops = office.play(1_020, |machine, cx, _| machine.on_refused(cx, intent.request, &why));
    let answered = Event::Ordered { id: intent.request, result: Err(OrderError::Unknown) };
    assert!(ops.contains(&Op::Emit(answered)), "{ops:?}");
    assert_eq!(proposal(office.look(1_100)), None, "it is not proposed again");
}

/// The successor of a holder that this leader never heard, decided at 1,230 ms.
fn succeeded(office: &mut Office) -> Token {
    let intent = office.proposes(1_225).unwrap();
    let (at, request) = (token(TERM, 10), intent.request);
    office.registers.insert(role().register(), Register { token: at, value: intent.action.value.unwrap() });
    office.play(1_230, |machine, cx, sight| machine.on_decided(cx, sight, request, at, Outcome::Done));
    office.quorum_at(Some(1_230));
    at
}

fn state(office: &Office) -> FailoverState {
    office.machine.view().states().next().unwrap().1
}

#[test]
fn a_role_is_promoted_to_somebody_until_the_hooks_that_begin_its_work_are_done() {
    let mut office = Office::new();
    let at = succeeded(&mut office);
    let next = NodeId::from_u128(3);
    assert_eq!(state(&office), FailoverState::Promoting);
    office.hear(1_240, next, at, Body::Renew { number: 1, ready: false });
    office.look(1_250);
    assert_eq!(state(&office), FailoverState::Promoting, "it acts, and nobody is led to it yet");
    let ops = office.hear(1_260, next, at, Body::Renew { number: 2, ready: true });
    assert!(ops.iter().any(|op| matches!(op, Op::Emit(Event::Completed { .. }))));
    assert_eq!(state(&office), FailoverState::Redirecting);
}

#[test]
fn while_nobody_led_nobody_held_the_role_that_a_new_leader_never_heard_of() {
    let mut office = Office::new();
    let at = succeeded(&mut office);
    let ops = office.hear(1_260, NodeId::from_u128(3), at, Body::Renew { number: 1, ready: true });
    let took =
        ops.iter().find_map(|op| if let Op::Emit(Event::Completed { took, .. }) = op { Some(*took) } else { None });
    assert_eq!(took, Some(Duration::from_millis(360)), "nobody had led since 900 ms");
}

#[test]
fn a_holder_that_a_new_leader_heard_failed_when_it_fell_silent() {
    let mut office = Office::new();
    office.quorum_at(Some(1_005));
    office.renew(1_010);
    let (mut now, mut found) = (1_010, None);
    while found.is_none() && now < 2_000 {
        now += 10;
        office.look(now);
        found = office.machine.office.as_ref().unwrap().watches[&role()].began;
    }
    assert!(found.is_some_and(|began| began > time(1_010)), "{found:?}");
}

/// What came of a failover that another leader began: the turn is not of this office's term, and how long it took is not written down.
fn handed_on() -> Office {
    handed(turn(Reason::Released, 950))
}

fn handed(turn: Turn) -> Office {
    let mut grant = Grant::vacant(turn, Duration::from_millis(150), Duration::from_millis(50));
    grant.holder = Some(HOLDER);
    let mut office = Office::of(&grant);
    office.quorum_at(Some(1_005));
    office
}

fn took(ops: &[Op<Roles>]) -> Option<Duration> {
    ops.iter().find_map(|op| if let Op::Emit(Event::Completed { took, .. }) = op { Some(*took) } else { None })
}

#[test]
fn that_a_holder_has_begun_is_written_down_by_the_next_leader_where_it_was_not() {
    let mut office = handed_on();
    let ops = office.hear(1_010, HOLDER, token(3, 5), Body::Renew { number: 1, ready: false });
    assert_eq!((took(&ops), state(&office)), (None, FailoverState::Promoting));
    let ops = office.hear(1_020, HOLDER, token(3, 5), Body::Renew { number: 2, ready: true });
    assert_eq!(took(&ops), Some(Duration::from_millis(120)), "nobody had led since 900 ms");
    assert!(proposal(ops).is_some(), "all peers hear of it");
    let mut noted = handed(Turn { took_us: Some(7), ..turn(Reason::Released, 950) });
    let ops = noted.hear(1_010, HOLDER, token(3, 5), Body::Renew { number: 1, ready: true });
    assert_eq!((took(&ops), state(&noted)), (None, FailoverState::Normal));
    let mut long_ago = handed(turn(Reason::First, 500));
    let ops = long_ago.hear(1_010, HOLDER, token(3, 5), Body::Renew { number: 1, ready: true });
    assert_eq!(took(&ops), Some(Duration::from_millis(510)), "it was granted before anybody was missed");
}

#[test]
fn a_holder_that_is_silent_while_its_hooks_run_has_not_begun_for_that() {
    let mut office = Office::new();
    let at = succeeded(&mut office);
    let next = NodeId::from_u128(3);
    office.hear(1_240, next, at, Body::Renew { number: 1, ready: false });
    office.play(1_250, |machine, cx, sight| machine.on_unlinked(cx, sight, next));
    assert_eq!(state(&office), FailoverState::Electing);
    for ms in [1_260, 1_270] {
        office.hear(ms, next, at, Body::Renew { number: 2, ready: false });
        office.look(ms + 1);
    }
    assert_eq!(state(&office), FailoverState::Promoting);
    office.hear(1_280, next, at, Body::Stopped { is_wish: true });
    assert!(office.machine.office.as_ref().unwrap().watches[&role()].in_vain, "what its hooks did not begin counts");
}
