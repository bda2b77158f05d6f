//! Backups of the mesh under the simulator's faults: what each peer does about the job ([`Crew`]) is what a running peer does, the voters and
//! all that may happen to them are simulated, and only the taking itself is made up: it lasts for some seconds.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use oxigdal_ha::backup::{
    BackupCompression, BackupId, BackupType, Begun, Crew, Duty, JOB_REGISTER, Job, Outcome, Share, Taker, Takers, Task,
};
use oxigdal_ha::consensus::{Expect, Name, Standing, Token};
use oxigdal_ha::membership::State;
use oxigdal_ha::node::{self, Command, CommandError, Proposal};
use oxigdal_ha::sim::{Found, Guest, GuestAt, GuestCx, Judgement, Program, Scenario, run_hosting};
use oxigdal_ha::types::{CommandId, NodeId, Time, WallTime};
use uuid::Uuid;

/// Peers crash, stand still and are cut off, and for more than two minutes no majority is together.
const SCENARIO: &str = r#"
schema = 1
description = "Five peers take backups of their mesh."
mesh = { peers = 5, delay = "2ms", jitter = "3ms" }
phases = { warm-up = "8s", chaos = "210s", calm = "40s" }

[config.voters]
stabilization = "500ms"
replace-after = "10m"
found-after = "200ms"

[config.consensus]
snapshot-every = 8

[random]
crash = { every = "4s", for = ["5ms", "4s"] }
isolate = { every = "9s", for = ["100ms", "5s"] }
pause = { every = "9s", for = ["20ms", "2s"] }

# Long enough that others take their shares.
[[fault]]
at = "20s"
kind = "crash"
peers = "random 2"
for = "30s"

[[fault]]
at = "60s"
kind = "isolate"
peers = "random 3"
for = "130s"
"#;
const GLANCE: Duration = Duration::from_millis(500);
/// From one wish for a backup to the next, at each peer.
const ASKS: Duration = Duration::from_secs(7);
/// When nobody asks for anything any more, by the wall clock since the run began.
const LAST_ASKED: Duration = Duration::from_secs(230);
/// A backup takes so long at most.
const TAKES_MOST: u64 = 6_000;

/// What was really done, whoever knows of it.
#[derive(Debug, Default)]
struct Ledger {
    /// When the first peer was there.
    began: Option<WallTime>,
    /// Each share that was taken to its end: whose, of which job, which attempt.
    taken: Vec<(NodeId, Uuid, u32)>,
    begun: BTreeSet<(NodeId, Uuid, u32)>,
    /// Begun in one life and gone on with in another.
    resumed: usize,
    /// Broken off, since nobody wanted it any more.
    broken_off: usize,
    /// Told as not begun, since that was heard of too late.
    late: usize,
    jobs: u64,
}

/// What a peer is at.
struct Peer {
    crew: Crew,
    /// What its data directory holds.
    disk: Option<Begun>,
    ends: Option<Time>,
    asked: Option<(CommandId, Asked)>,
    wants_at: Time,
    ledger: Rc<RefCell<Ledger>>,
}

enum Asked {
    Register,
    Decision,
}

impl Peer {
    fn luck(&self, cx: &GuestCx<'_>, below: u64) -> u64 {
        cx.now.mono.as_nanos() / 1_000 % below
    }

    fn look(&mut self, cx: &mut GuestCx<'_>) {
        if self.ends.is_some_and(|ends| ends <= cx.now.mono) {
            self.end(cx);
        }
        let id = cx.ask(Command::Register { name: JOB_REGISTER.to_owned() });
        self.asked = Some((id, Asked::Register));
    }

    fn end(&mut self, cx: &GuestCx<'_>) {
        self.ends = None;
        let begun = self.disk.clone().expect("it is written down before it is begun");
        let id = BackupId::new(cx.now.wall, [u8::try_from(begun.attempt).unwrap(); 10]);
        let outcome = Outcome { backup: Some(id), ok: true, ..Outcome::begun("mesh", cx.now.wall) };
        self.ledger.borrow_mut().taken.push((cx.node.identity().node, begun.job, begun.attempt));
        self.disk = self.crew.ended(outcome).cloned();
    }

    /// What is to be decided about the job, of all that this peer may want.
    fn wish(&mut self, cx: &GuestCx<'_>, read: Option<&(Token, Job)>) -> Option<Job> {
        let job = read.map(|(_, job)| job);
        match self.crew.duty(read.map(|(token, job)| (*token, job)), cx.now.wall) {
            Duty::Rest => {}
            Duty::BreakOff => {
                self.ledger.borrow_mut().broken_off += 1;
                self.ends = None;
                self.crew.broke_off();
            }
            Duty::Take { begun, .. } => {
                let mut ledger = self.ledger.borrow_mut();
                let is_first = ledger.begun.insert((cx.node.identity().node, begun.job, begun.attempt));
                ledger.resumed += usize::from(!is_first);
                self.disk = Some(begun.clone());
                self.crew.begins(begun);
                self.ends = Some(cx.now.mono + Duration::from_millis(100 + self.luck(cx, TAKES_MOST)));
            }
            Duty::Tell(told) => {
                self.ledger.borrow_mut().late += usize::from(told.shares.iter().any(was_late));
                return Some(told);
            }
        }
        self.passed_on(cx, job).or_else(|| self.asked_for(cx, job))
    }

    /// What whoever leads does for those that are gone.
    fn passed_on(&self, cx: &GuestCx<'_>, job: Option<&Job>) -> Option<Job> {
        let mut job = job.filter(|job| !job.is_over() && cx.node.consensus().standing() == Standing::Leader)?.clone();
        let here = |who: NodeId| {
            let status = cx.node.status(cx.now);
            let alive = |it: &node::MemberStatus| matches!(it.state, State::Alive | State::Suspect);
            status.members.iter().any(|it| it.node == who && alive(it))
        };
        job.pass_on(|who| !here(who), &well(cx), cx.now.wall).then_some(job)
    }

    /// What an operator wants: a backup, or no more of the one that goes on.
    fn asked_for(&mut self, cx: &GuestCx<'_>, job: Option<&Job>) -> Option<Job> {
        let since = *self.ledger.borrow_mut().began.get_or_insert(cx.now.wall);
        let age = Duration::from_micros(cx.now.wall.as_micros().saturating_sub(since.as_micros()));
        if cx.now.mono < self.wants_at || age > LAST_ASKED {
            return None;
        }
        self.wants_at = cx.now.mono + ASKS;
        let draw = self.luck(cx, 8);
        if let Some(goes_on) = job.filter(|job| !job.is_over()) {
            let mut job = goes_on.clone();
            job.give_up("an operator", cx.now.wall);
            return (draw == 0).then_some(job);
        }
        let takers = if draw < 4 { Takers::All } else { Takers::Best };
        let takers = takers.choose(&well(cx)).ok()?;
        let (kind, codec) = (BackupType::Full, BackupCompression::default());
        let task = Task { kind, repository: "/srv".into(), codec, key_file: None, passphrase_file: None };
        let mut ledger = self.ledger.borrow_mut();
        ledger.jobs += 1;
        Some(Job::new(Uuid::from_u128(ledger.jobs.into()), task, "an operator", cx.now.wall, takers))
    }
}

fn well(cx: &GuestCx<'_>) -> Vec<Taker> {
    let members = cx.node.status(cx.now).members;
    let alive = members.iter().filter(|it| it.state == State::Alive);
    alive.map(|it| Taker { node: it.node, lag: 0, priority: 0, is_primary: false }).collect()
}

impl Guest for Peer {
    fn started(&mut self, cx: &mut GuestCx<'_>) {
        self.crew = Crew::new(cx.node.identity().node, self.disk.clone());
        self.wants_at = cx.now.mono + ASKS / 2;
        self.look(cx);
    }

    fn answered(&mut self, cx: &mut GuestCx<'_>, id: CommandId, result: Result<node::Outcome, CommandError>) {
        let Some((_, asked)) = self.asked.take_if(|(asked, _)| *asked == id) else { return };
        if let (Asked::Register, Ok(node::Outcome::Register(held))) = (asked, result) {
            let read: Option<(Token, Job)> = held.map(|held| (held.token, Job::read(&held.value).expect("a job")));
            if let Some(job) = self.wish(cx, read.as_ref()) {
                let expect = read.map_or(Expect::Absent, |(token, _)| Expect::Set(token));
                let value = Some(job.bytes().into());
                let register = JOB_REGISTER.to_owned();
                let id = cx.ask(Command::Propose(Proposal { register, expect, value, request: None }));
                self.asked = Some((id, Asked::Decision));
                return;
            }
        }
        cx.wake_at(self.ends.unwrap_or(cx.now.mono + GLANCE).min(cx.now.mono + GLANCE));
    }

    fn woken(&mut self, cx: &mut GuestCx<'_>) {
        self.look(cx);
    }
}

/// All peers.
#[derive(Default)]
struct Peers {
    disks: BTreeMap<u32, Option<Begun>>,
    ledger: Rc<RefCell<Ledger>>,
    /// Only for the test: what came of a share is not written down.
    forgets: bool,
}

impl Program for Peers {
    type At = Peer;

    fn start(&mut self, peer: u32) -> Peer {
        let disk = self.disks.get(&peer).cloned().flatten();
        // Who it is, is known when its node is there.
        Peer {
            crew: Crew::new(NodeId::from_u128(0), None),
            disk,
            ends: None,
            asked: None,
            wants_at: Time::ZERO,
            ledger: Rc::clone(&self.ledger),
        }
    }

    fn ended(&mut self, peer: u32, mut at: Peer) {
        if let Some(begun) = at.disk.as_mut().filter(|_| self.forgets) {
            begun.came = None;
        }
        self.disks.insert(peer, at.disk);
    }

    fn always(&self, up: &[GuestAt<'_, Peer>]) -> Result<(), String> {
        let (ledger, mut seen) = (self.ledger.borrow(), BTreeSet::new());
        if let Some((who, job, attempt)) = ledger.taken.iter().find(|taken| !seen.insert(**taken)) {
            return Err(format!("{who} has taken its share of {job} twice (attempt {attempt})"));
        }
        for (at, job) in up.iter().filter_map(|at| Some((at, held(at)?))) {
            for share in &job.shares {
                let this = (share.node, job.id, share.attempt);
                let is_made = share.done.as_ref().is_some_and(|done| done.backup.is_some());
                if is_made && !ledger.taken.contains(&this) {
                    return Err(format!("peer {} holds that {this:?} is taken, and it is not", at.peer));
                }
                if was_late(share) && ledger.begun.contains(&this) {
                    return Err(format!("peer {} holds that {this:?} was not begun, and it was", at.peer));
                }
            }
        }
        Ok(())
    }

    fn at_rest(&self, up: &[GuestAt<'_, Peer>]) -> Result<(), String> {
        let jobs: BTreeSet<_> = up.iter().map(|at| held(at).map(|job| job.bytes())).collect();
        match (jobs.len(), up.iter().find_map(held)) {
            (1, Some(job)) if job.is_over() => Ok(()),
            (1, Some(job)) => Err(format!("the last backup is not over: {job:?}")),
            (1, None) => Err("nobody asked for a backup".to_owned()),
            (count, _) => Err(format!("there are {count} opinions about the last backup")),
        }
    }
}

/// The job, as this peer knows it.
fn held(at: &GuestAt<'_, Peer>) -> Option<Job> {
    let name = Name::new(JOB_REGISTER).expect("a register's name");
    Job::read(at.node.consensus().registers().get(&name)?.value.bytes())
}

fn was_late(share: &Share) -> bool {
    share.done.as_ref().and_then(|done| done.error.as_deref()).is_some_and(|why| why.contains("not begun"))
}

fn scenario() -> Scenario {
    let mut none = |name: &str| -> Result<Found, String> { Err(format!("no topology {name}")) };
    Scenario::parse("crew.toml", SCENARIO, &mut none).expect("the scenario above can be read")
}

/// The seeds that are run: a few, or those that are named.
fn seeds() -> std::ops::Range<u64> {
    let named = std::env::var("OXIGDAL_HA_SIM_SEEDS").ok();
    let (first, end) = named.as_deref().and_then(|says| says.split_once("..")).unwrap_or(("1", "13"));
    first.parse().unwrap()..end.parse().unwrap()
}

#[test]
fn each_share_is_taken_once_whoever_dies_and_every_job_ends() {
    let scenario = scenario();
    let (mut passed_on, mut resumed, mut broken_off, mut late, mut taken) = (0, 0, 0, 0, 0);
    for seed in seeds() {
        let mut peers = Peers::default();
        let outcome = run_hosting(&scenario, seed, &mut peers, None);
        assert!(outcome.passed(), "seed {seed}: {outcome}");
        let ledger = peers.ledger.borrow();
        taken += ledger.taken.len();
        passed_on += ledger.taken.iter().filter(|(_, _, attempt)| *attempt > 1).count();
        (resumed, broken_off, late) = (resumed + ledger.resumed, broken_off + ledger.broken_off, late + ledger.late);
    }
    println!("{taken} taken, {passed_on} passed on, {resumed} resumed, {broken_off} broken off, {late} not begun");
    assert!(taken > 50 && passed_on > 0 && resumed > 0 && broken_off > 0 && late > 0);
}

#[test]
fn a_peer_that_forgets_what_it_has_taken_is_caught() {
    let scenario = scenario();
    let is_caught = |seed| {
        let outcome = run_hosting(&scenario, seed, &mut Peers { forgets: true, ..Peers::default() }, None);
        matches!(&outcome.judgement, Judgement::Violated { violation, .. } if violation.what.contains("twice"))
    };
    assert!((1..40).any(is_caught));
}
