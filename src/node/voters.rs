//! Who votes: the first voter of a mesh, and afterwards what its leader does about the group by itself.
//!
//! One peer founds the group, alone: the first of a new mesh, and only if it has heard of no other group. All others join as learners, chosen
//! by the leader from the members. One voter suffices in a mesh of one or two; from three members on there are three, or five where that is
//! configured. A learner votes once it has the log and was there for a while; a voter that is gone for long is replaced by a learner that is ready,
//! never merely dropped; a store that was lost is removed at once, since its name never comes back. Every change is one of
//! [`Change`], one at a time: what would lose the quorum that is there now, consensus refuses, and it is tried again later. Observers, and peers whose
//! log takes no writes, are not chosen. What operators wish of it goes before all that (`wishes`).
//!
//! [`Voters::step`] is a function of what it is shown and of the time, so it is tested without a mesh.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Node;
use super::timers::Timer;
use super::wishes::Wishes;
use crate::consensus::{Change, Group, Member, Standing, Token};
use crate::membership::State;
use crate::probe::reachable;
use crate::types::{Actor, Mint, NodeId, Now, Time};

/// What was refused is tried again after this: while those who rested are awake, and one answer of theirs later.
const RETRY: Duration = Duration::from_millis(60);
/// And after twice as long each time, this often at most: half a minute.
const DOUBLED_MAX: u32 = 9;
/// A learner that was refused so often as a voter is not ready.
const IN_VAIN: u32 = 6;
/// A peer that does not say its name is not asked again within this.
const SILENT: Duration = Duration::from_secs(10);
/// Names and lost stores that are remembered at most.
const NAMES_MAX: usize = 256;

/// Who is to vote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// So many voters are wanted where there are as many members: 1, 3 or 5.
    pub target: u8,
    /// A member is chosen, and a learner promoted, once it was there for so long (Consul's autopilot: 10 s).
    pub stabilization: Duration,
    /// A voter is replaced when it is gone for so long.
    pub replace_after: Duration,
    /// Who may found a group waits for so long whether it hears of one.
    pub found_after: Duration,
}

impl From<crate::config::Voters> for Config {
    fn from(says: crate::config::Voters) -> Self {
        let crate::config::Voters { target, stabilization, replace_after, found_after } = says;
        Self { target, stabilization, replace_after, found_after }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            target: 3,
            stabilization: Duration::from_secs(10),
            replace_after: Duration::from_secs(300),
            found_after: Duration::from_secs(1),
        }
    }
}

/// A member of the mesh, as the choice sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    id: NodeId,
    state: State,
    /// Whether it may vote at all.
    is_fit: bool,
    /// Whether its log takes writes.
    is_well: bool,
    priority: u8,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Change(Change),
    /// The name of this peer's store is needed.
    Ask(NodeId),
}

/// What the leader remembers of the members.
#[derive(Debug)]
pub(super) struct Voters {
    config: Config,
    founds: bool,
    found_at: Option<Time>,
    /// Something changed that may matter.
    pub(super) changed: bool,
    here_since: BTreeMap<NodeId, Time>,
    /// Members of the group that were seen in the mesh while this peer led.
    known: BTreeSet<NodeId>,
    gone_since: BTreeMap<NodeId, Time>,
    /// Those that operators do not want, and that are there.
    barred_here: BTreeSet<NodeId>,
    surplus_since: Option<Time>,
    names: BTreeMap<NodeId, Mint>,
    asked: BTreeMap<NodeId, Time>,
    reborn: BTreeSet<Actor>,
    /// Whom operators want before all others and whom not, and by which decision.
    pub(super) wishes: Wishes,
    pub(super) wished_by: Option<Token>,
    /// What was refused last, and how often in a row.
    refused: Option<(Step, u32)>,
    /// When to look again.
    next: Option<Time>,
}

impl Voters {
    pub(super) fn new(config: Config, founds: bool) -> Self {
        Self {
            config,
            founds,
            found_at: None,
            changed: false,
            here_since: BTreeMap::new(),
            known: BTreeSet::new(),
            gone_since: BTreeMap::new(),
            barred_here: BTreeSet::new(),
            surplus_since: None,
            names: BTreeMap::new(),
            asked: BTreeMap::new(),
            reborn: BTreeSet::new(),
            wishes: Wishes::default(),
            wished_by: None,
            refused: None,
            next: None,
        }
    }

    /// A peer says under what name its store could take part.
    pub(super) fn met(&mut self, id: Actor) {
        if self.names.len() < NAMES_MAX || self.names.contains_key(&id.node) {
            self.names.insert(id.node, id.mint);
        }
        self.asked.remove(&id.node);
        self.changed = true;
    }

    /// At a member's node there is another store.
    pub(super) fn reborn(&mut self, member: Actor, mint: Mint) {
        if self.reborn.len() < NAMES_MAX {
            self.reborn.insert(member);
        }
        self.met(Actor { mint, ..member });
    }

    /// So many may vote at most.
    pub(super) fn places(&self) -> usize {
        self.config.target.into()
    }

    fn look(&mut self, at: Time) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// What was refused is tried again, ever more rarely: each attempt ends the rest of all voters.
    fn retry(&mut self, now: Time, change: Change) {
        let step = Step::Change(change);
        let before = self.refused.filter(|(last, _)| *last == step).map_or(0, |(_, times)| times);
        self.refused = Some((step, before + 1));
        self.look(now + RETRY * (1 << before.min(DOUBLED_MAX)));
    }

    fn target(&self, group: &Group, seen: &[Seen]) -> usize {
        let members = seen.iter().filter(|it| it.is_fit && it.state != State::Left).count();
        // What is known of the mesh is in memory only: whoever was not met again since all were restarted has not left it.
        let unmet = group.voters().filter(|it| self.is_unmet(it.id.node, seen)).count();
        match (members + unmet, self.config.target) {
            (0..=2, _) | (_, 0..=2) => 1,
            (3..=4, _) | (_, 3..=4) => 3,
            _ => 5,
        }
    }

    /// Whether this peer has not seen it since it leads. Who was seen and is no more was forgotten.
    fn is_unmet(&self, node: NodeId, seen: &[Seen]) -> bool {
        !self.known.contains(&node) && seen.iter().all(|it| it.id != node)
    }

    /// Who is there and since when.
    fn note(&mut self, now: Time, group: &Group, seen: &[Seen]) {
        let here = |it: &&Seen| matches!(it.state, State::Alive | State::Suspect) && it.is_fit && it.is_well;
        let barred = |it: &&Seen| {
            self.wishes.barred.contains(&it.id) && it.is_well && matches!(it.state, State::Alive | State::Suspect)
        };
        self.barred_here = seen.iter().filter(barred).map(|it| it.id).collect();
        let here: BTreeSet<NodeId> = seen.iter().filter(here).map(|it| it.id).collect();
        self.here_since.retain(|id, _| here.contains(id));
        here.iter().for_each(|id| _ = self.here_since.entry(*id).or_insert(now));
        let nodes: BTreeSet<NodeId> = group.members().iter().map(|member| member.id.node).collect();
        self.known.extend(seen.iter().map(|it| it.id).filter(|id| nodes.contains(id)));
        self.known.retain(|id| nodes.contains(id));
        self.gone_since.retain(|id, _| nodes.contains(id) && !here.contains(id));
        nodes.difference(&here).for_each(|id| _ = self.gone_since.entry(*id).or_insert(now));
        self.reborn.retain(|id| group.member(*id).is_some());
    }

    /// Whether it is so since `after` or longer; if it is since a shorter time, it is looked at again then.
    fn lasts(&mut self, since: Option<Time>, after: Duration, now: Time) -> bool {
        let Some(since) = since else { return false };
        let at = since + after;
        if at > now {
            self.look(at);
        }
        at <= now
    }

    fn is_gone(&mut self, member: &Member, seen: &[Seen], now: Time) -> bool {
        let node = member.id.node;
        if self.barred_here.contains(&node) {
            return false; // It is not fit, and there; it goes when it can.
        }
        let left = match seen.iter().find(|it| it.id == node) {
            Some(it) => it.state == State::Left,
            None => !self.is_unmet(node, seen),
        };
        let after = if left { self.config.stabilization } else { self.config.replace_after };
        self.lasts(self.gone_since.get(&member.id.node).copied(), after, now)
    }

    /// What the leader does next about the group, if anything.
    fn step(&mut self, now: Time, me: Actor, group: &Group, seen: &[Seen]) -> Option<Step> {
        self.next = None;
        self.note(now, group, seen);
        let remove = |id| Some(Step::Change(Change::Remove { id }));
        if let Some(id) = self.reborn.iter().copied().find(|id| *id != me) {
            return remove(id);
        }
        let (voters, learners): (Vec<Member>, Vec<Member>) = group.members().iter().copied().partition(|it| it.voter);
        if let Some(id) = self.barred(me, group, voters.len()) {
            return remove(id);
        }
        for learner in &learners {
            if self.lasts(self.gone_since.get(&learner.id.node).copied(), self.config.stabilization, now) {
                return remove(learner.id);
            }
        }
        let target = self.target(group, seen);
        if voters.len() > target {
            return self.surplus(now, me, &voters);
        }
        self.surplus_since = None;
        let gone: Vec<Actor> =
            voters.iter().filter(|it| it.id != me && self.is_gone(it, seen, now)).map(|it| it.id).collect();
        match self.best_ready(&learners, now) {
            // More than there are places for a while, if it is to have somebody's.
            Some(id)
                if voters.len() < target || (self.may_oust(id.node, &voters) && !self.waits_in_vain(id, &gone)) =>
            {
                return Some(Step::Change(Change::Promote { id }));
            }
            Some(_) if !gone.is_empty() => return remove(gone[0]),
            _ => {}
        }
        let is_full = voters.len() - gone.len() >= target;
        if let Some(idle) = learners.iter().find(|it| is_full && !self.may_oust(it.id.node, &voters)) {
            return remove(idle.id);
        }
        if !learners.is_empty() {
            return None;
        }
        let may_come: Vec<Seen> = seen.iter().filter(|it| !is_full || self.may_oust(it.id, &voters)).copied().collect();
        self.choose(now, group, may_come)
    }

    /// A member that operators do not want and that can go: whoever is gone first, and of voters nobody without whom too few would be here to decide.
    /// Until others stand in such a one stays.
    fn barred(&self, me: Actor, group: &Group, voters: usize) -> Option<Actor> {
        let is_here = |it: &Member| !self.gone_since.contains_key(&it.id.node) || self.is_barred_and_here(it);
        let here = group.voters().filter(|it| is_here(it)).count();
        let can_go = |it: &&Member| {
            let left = here - usize::from(is_here(it));
            !it.voter || (voters > 1 && left > (voters - 1) / 2)
        };
        let barred = group.members().iter().filter(|it| self.wishes.barred.contains(&it.id.node)).filter(can_go);
        barred.min_by_key(|it| (is_here(it), it.id == me, it.id)).map(|it| it.id)
    }

    /// Whoever is barred is not fit, and so counts as gone: whether it is there is known apart from that.
    fn is_barred_and_here(&self, it: &Member) -> bool {
        self.barred_here.contains(&it.id.node)
    }

    /// A learner that was refused as a voter a few times does not keep a dead voter in its place.
    fn waits_in_vain(&self, id: Actor, gone: &[Actor]) -> bool {
        let refused = |(step, times): &(Step, u32)| *step == Step::Change(Change::Promote { id }) && *times >= IN_VAIN;
        !gone.is_empty() && self.refused.as_ref().is_some_and(refused)
    }

    /// There are more voters than are wanted: if that lasts, one goes whom nobody misses.
    fn surplus(&mut self, now: Time, me: Actor, voters: &[Member]) -> Option<Step> {
        let since = *self.surplus_since.get_or_insert(now);
        if !self.lasts(Some(since), self.config.stabilization, now) {
            return None;
        }
        let rank = |it: &&Member| {
            let (node, is_here) = (it.id.node, !self.gone_since.contains_key(&it.id.node));
            (is_here, self.wishes.wanted.contains(&node), it.id == me, it.priority, Reverse(it.id))
        };
        voters.iter().min_by_key(rank).map(|least| Step::Change(Change::Remove { id: least.id }))
    }

    /// The best of the learners that were there for long enough.
    fn best_ready(&mut self, learners: &[Member], now: Time) -> Option<Actor> {
        let here =
            |it: &&Member| self.here_since.get(&it.id.node).is_some_and(|at| *at + self.config.stabilization <= now);
        let rank = |it: &&Member| (self.wishes.wanted.contains(&it.id.node), it.priority, Reverse(it.id));
        let best = learners.iter().filter(here).max_by_key(rank).map(|it| it.id);
        for learner in learners {
            self.lasts(self.here_since.get(&learner.id.node).copied(), self.config.stabilization, now);
        }
        best
    }

    /// Whether somebody who is there is to vote in place of another, though there are voters enough: it is wanted and one of them is not; or
    /// the only voter is barred.
    fn may_oust(&self, node: NodeId, voters: &[Member]) -> bool {
        let is_there = self.here_since.contains_key(&node) && voters.iter().all(|it| it.id.node != node);
        let Wishes { wanted, barred } = &self.wishes;
        let is_called = wanted.contains(&node) && voters.iter().any(|it| !wanted.contains(&it.id.node));
        is_there && (is_called || voters.iter().all(|it| barred.contains(&it.id.node)))
    }

    /// What a leader that goes does about its group. Alone it makes somebody else a voter, and one of two it removes itself: whoever stays
    /// decides without it then. More than two go on by themselves.
    fn hand_over(&mut self, now: Time, me: Actor, group: &Group, seen: &[Seen]) -> Option<Step> {
        self.next = None;
        self.note(now, group, seen);
        match group.voters().count() {
            1 => {}
            2 => return Some(Step::Change(Change::Remove { id: me })),
            _ => return None,
        }
        let here = |it: &&Member| !it.voter && self.here_since.contains_key(&it.id.node);
        let learners = group.members().iter().filter(here);
        match learners.max_by_key(|it| (it.priority, Reverse(it.id))).map(|it| it.id) {
            Some(id) => Some(Step::Change(Change::Promote { id })),
            None => {
                // There is no time to see who stays.
                self.config.stabilization = Duration::ZERO;
                self.choose(now, group, seen.to_vec())
            }
        }
    }

    /// Which of these is to become a learner.
    fn choose(&mut self, now: Time, group: &Group, mut some: Vec<Seen>) -> Option<Step> {
        some.retain(|it| group.at(it.id).next().is_none());
        some.sort_unstable_by_key(|it| (!self.wishes.wanted.contains(&it.id), Reverse(it.priority), it.id));
        for it in some {
            if !self.lasts(self.here_since.get(&it.id).copied(), self.config.stabilization, now) {
                continue;
            }
            if let Some(mint) = self.names.get(&it.id) {
                let id = Actor { node: it.id, mint: *mint };
                if !group.is_retired(id) {
                    return Some(Step::Change(Change::AddLearner { id, priority: it.priority }));
                }
            }
            let asked = self.asked.get(&it.id).copied();
            if asked.is_none() || self.lasts(asked, SILENT, now) {
                self.asked.insert(it.id, now);
                self.look(now + SILENT);
                return Some(Step::Ask(it.id));
            }
        }
        None
    }
}

impl Node {
    /// Consensus begins with the life.
    pub(super) fn begin_consensus(&mut self, now: Now, lost_its_end: bool) {
        self.shared.step(now, |cx| self.consensus.start(cx, lost_its_end));
        if self.voters.founds && self.consensus.view().group().is_none() {
            let after = self.voters.config.found_after;
            self.voters.found_at = Some(now.mono + after);
            self.shared.timers.arm(Timer::Voters, now.mono + after);
        }
    }

    /// The log takes writes again: what it holds is what was promised, whatever was in memory.
    pub(super) fn resume_consensus(&mut self, now: Now) {
        let mut again = self.consensus.again();
        for record in self.shared.life.decided.records() {
            again.restore(&record).expect("it was taken from such a machine");
        }
        self.consensus = again;
        self.shared.step(now, |cx| self.consensus.start(cx, false));
        self.voters.changed = true;
    }

    /// The log forgot something of itself, and so perhaps what this store promised.
    pub(super) fn lose_vote(&mut self, now: Now) {
        if self.consensus.view().group().is_some() {
            self.shared.step(now, |cx| self.consensus.withdraw(cx));
        }
    }

    /// Does what is to be done about the voters, one step.
    pub(super) fn mind_voters(&mut self, now: Now) {
        self.found_if_due(now);
        self.go_if_free(now);
        let view = self.consensus.view();
        let Some(group) = view.group().cloned().filter(|_| view.standing() == Standing::Leader && view.is_settled())
        else {
            (self.voters.here_since, self.voters.gone_since) = (BTreeMap::new(), BTreeMap::new());
            (self.voters.known, self.voters.surplus_since) = (BTreeSet::new(), None);
            if view.standing() == Standing::Leader {
                // Nobody says when a leader knows all that is decided.
                self.shared.timers.arm(Timer::Voters, now.mono + RETRY);
            }
            return;
        };
        let (me, seen) = (view.id(), self.seen());
        let step = match &self.going {
            _ if !self.leaving => self.voters.step(now.mono, me, &group, &seen),
            Some(going) => {
                let step = self.voters.hand_over(now.mono, me, &group, &seen);
                self.voters.look(going.until());
                step
            }
            None => return,
        };
        match step {
            None => {}
            Some(Step::Ask(peer)) => self.shared.step(now, |cx| self.consensus.ask_name(cx, peer)),
            Some(Step::Change(change)) => {
                let mut begun = Ok(());
                self.shared.step(now, |cx| begun = self.consensus.change(cx, change));
                match begun {
                    Ok(()) => {
                        self.voters.refused = None;
                        reachable!("node/voters-change");
                    }
                    Err(_) => self.voters.retry(now.mono, change),
                }
            }
        }
        match self.voters.next {
            Some(at) => self.shared.timers.arm(Timer::Voters, at),
            None => self.shared.timers.disarm(Timer::Voters),
        }
    }

    /// All members of the mesh.
    fn seen(&self) -> Vec<Seen> {
        let members = self.membership.view().members();
        let seen = members.map(|it| Seen {
            id: it.id,
            state: it.state,
            is_fit: !it.meta.observer && !self.voters.wishes.barred.contains(&it.id),
            is_well: !it.meta.read_only,
            priority: u8::try_from(it.meta.priority).unwrap_or(u8::MAX),
        });
        seen.collect()
    }

    /// Whether it leads so few that they could not decide without it, and there is somebody who could.
    pub(super) fn has_heirs(&self) -> bool {
        let view = self.consensus.view();
        let is_small = view.group().is_some_and(|group| group.voters().count() <= 2);
        let links = self.overlay.view().links();
        let heir = |it: &Seen| it.is_fit && it.is_well && it.state == State::Alive && links.contains(&it.id);
        view.standing() == Standing::Leader && is_small && self.seen().iter().any(heir)
    }

    fn found_if_due(&mut self, now: Now) {
        let Some(at) = self.voters.found_at else { return };
        let view = self.consensus.view();
        if view.group().is_some() || view.known().index.value() > 0 {
            self.voters.found_at = None;
        } else if at > now.mono {
            self.shared.timers.arm(Timer::Voters, at);
        } else {
            self.voters.found_at = None;
            let founding = Mint::new(self.shared.rngs.consensus.bits().max(1));
            let wish = u8::try_from(self.meta.priority).unwrap_or(u8::MAX);
            let me = view.id();
            self.shared.step(now, |cx| _ = self.consensus.found(cx, founding, &[(me, wish)]));
        }
    }

    /// Links to those who decide together with this peer are kept, whatever the overlay says.
    pub(super) fn want_voters(&mut self, now: Now) {
        let view = self.consensus.view();
        let is_member = !matches!(view.standing(), Standing::Outsider);
        let nodes: BTreeSet<NodeId> = if is_member { view.nodes().collect() } else { BTreeSet::new() };
        self.shared.step(now, |cx| self.overlay.want_also(cx, nodes, self.membership.view()));
    }
}

#[cfg(test)]
mod tests {
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
    }

    impl Room {
        fn new(target: u8) -> Self {
            let config = Config { target, ..Config::default() };
            Self {
                voters: Voters::new(config, false),
                group: Group::of(&[(id(1), 100)]).unwrap(),
                now: 0,
                done: Vec::new(),
            }
        }

        /// So many seconds, with these members; whoever is asked says its name at once.
        fn run(&mut self, seconds: u64, members: &[Seen]) {
            for _ in 0..seconds {
                for _ in 0..4 {
                    let now = Time::from_nanos(self.now * SECOND);
                    let Some(step) = self.voters.step(now, id(1), &self.group, members) else { break };
                    match step {
                        Step::Ask(peer) => {
                            // Whoever was removed takes part under another name.
                            let mut name = id(u128::from_be_bytes(*peer.as_bytes()));
                            while self.group.is_retired(name) {
                                name.mint = Mint::new(name.mint.value() + 1_000);
                            }
                            self.voters.met(name);
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
        assert_eq!(room.done[before].1, Step::Change(Change::Remove { id: id(2) }), "at once");
        room.run(60, &fit(&room, &all));
        assert_eq!(room.voters(), [1, 3, 4]);
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
        room.run(200, &fit(&room, &all));
        assert_eq!(room.done.len(), before, "of 1 and 3 nobody could decide");
        room.run(200, &fit(&room, &all));
        assert_eq!(room.voters(), [1, 4]);
        let removed = room.done[before..].iter().filter_map(|(_, step)| match step {
            Step::Change(Change::Remove { id }) => Some(id.node),
            _ => None,
        });
        assert_eq!(removed.collect::<Vec<_>>(), [id(3).node, id(2).node]);
        room.wish(&[], &[2, 4]);
        room.run(60, &fit(&room, &all));
        assert_eq!(room.voters(), [1]);
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
}
