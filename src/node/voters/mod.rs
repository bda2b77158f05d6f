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

/// What was refused is tried again after this: while those who rested are awake, until their answers have come.
const RETRY: Duration = Duration::from_millis(60);
/// So often in a row, for answers that take a third of a second.
const AWAKE: u32 = 6;
/// And if that comes to nothing either, after twice as long each time, this often at most: half a minute. A group that has nothing to do rests
/// meanwhile, and of who rests nothing was heard lately.
const DOUBLED_MAX: u32 = 9;
/// A learner that was refused so often as a voter is not ready.
const IN_VAIN: u32 = 5 * AWAKE;
/// And after so many times, a minute in all, it makes room for another that could be one.
const ROOM_AFTER: u32 = 9 * AWAKE;
/// So long a voter that operators do not want waits for somebody to stand in for it, if somebody could.
const STAND_IN: Duration = Duration::from_secs(60);
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
    priority: u16,
}

/// What a member wishes, as the group keeps it: there is room for 255, which stands for all that is more. Elections go by that; the choice here
/// goes by what the member says.
pub(super) fn kept(wish: u16) -> u8 {
    u8::try_from(wish).unwrap_or(u8::MAX)
}

/// What a member of the group wishes; of who is not seen what the group keeps of it.
fn wish(seen: &[Seen], member: &Member) -> u16 {
    seen.iter().find(|it| it.id == member.id.node).map_or_else(|| member.priority.into(), |it| it.priority)
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Change(Change),
    /// The name of this peer's store is needed.
    Ask(NodeId),
}

/// What was refused last, how often in a row, and when it is tried again.
#[derive(Clone, Copy, Debug)]
struct Refused {
    step: Step,
    times: u32,
    due: Time,
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
    /// Those that operators do not want, and that are there: since when.
    barred_here: BTreeMap<NodeId, Time>,
    surplus_since: Option<Time>,
    /// Since when this peer leads: before it was there for a while it may not have met all.
    leads_since: Option<Time>,
    /// Who was to vote and could not, and made room for others.
    in_vain: BTreeSet<NodeId>,
    names: BTreeMap<NodeId, Mint>,
    asked: BTreeMap<NodeId, Time>,
    reborn: BTreeSet<Actor>,
    /// Whom operators want before all others and whom not, and by which decision.
    pub(super) wishes: Wishes,
    pub(super) wished_by: Option<Token>,
    refused: Option<Refused>,
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
            barred_here: BTreeMap::new(),
            surplus_since: None,
            leads_since: None,
            in_vain: BTreeSet::new(),
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

    /// What was refused is tried again, ever more rarely: each attempt ends the rest of all voters. One before its time, since something else
    /// happened, does not count.
    fn retry(&mut self, now: Time, change: Change) {
        let step = Step::Change(change);
        let (before, due) = self.refused.filter(|it| it.step == step).map_or((0, now), |it| (it.times, it.due));
        let is_last = (before + 1).is_multiple_of(AWAKE);
        let doubled = if is_last { ((before + 1) / AWAKE).min(DOUBLED_MAX) } else { 0 };
        let (times, due) = if now < due { (before, due) } else { (before + 1, now + RETRY * (1 << doubled)) };
        self.refused = Some(Refused { step, times, due });
        self.look(due);
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
        let barred: BTreeSet<NodeId> = seen.iter().filter(barred).map(|it| it.id).collect();
        self.barred_here.retain(|id, _| barred.contains(id));
        barred.iter().for_each(|id| _ = self.barred_here.entry(*id).or_insert(now));
        let here: BTreeSet<NodeId> = seen.iter().filter(here).map(|it| it.id).collect();
        self.leads_since.get_or_insert(now);
        self.here_since.retain(|id, _| here.contains(id));
        self.in_vain.retain(|id| here.contains(id));
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
        if self.barred_here.contains_key(&node) {
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
        let target = self.target(group, seen);
        if let Some(id) = self.barred(now, me, group, target) {
            return remove(id);
        }
        for learner in &learners {
            if self.lasts(self.gone_since.get(&learner.id.node).copied(), self.config.stabilization, now) {
                return remove(learner.id);
            }
        }
        if voters.len() > target {
            return self.surplus(now, me, &voters, seen);
        }
        self.surplus_since = None;
        let gone: Vec<Actor> =
            voters.iter().filter(|it| it.id != me && self.is_gone(it, seen, now)).map(|it| it.id).collect();
        if let Some(id) = learners.iter().map(|it| it.id).find(|id| self.makes_room(*id, group)) {
            self.in_vain.insert(id.node);
            return remove(id);
        }
        match self.best_ready(&learners, now, seen) {
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
    /// Until others stand in such a one stays; and so does for a while, if others could, one without whom fewer would vote than are wanted.
    fn barred(&mut self, now: Time, me: Actor, group: &Group, target: usize) -> Option<Actor> {
        let is_here = |it: &Member| !self.gone_since.contains_key(&it.id.node) || self.is_barred_and_here(it);
        let (voters, here) = (group.voters().count(), group.voters().filter(|it| is_here(it)).count());
        let others_could = self.here_since.keys().any(|node| group.voters().all(|it| it.id.node != *node));
        let is_new = self.leads_since.is_none_or(|since| since + self.config.stabilization > now);
        let waits = if is_new { Some(self.config.stabilization) } else { None };
        let waits = if voters <= target && others_could { Some(STAND_IN) } else { waits };
        let waited = |it: &Member| match (waits, self.barred_here.get(&it.id.node)) {
            (Some(wait), Some(since)) => *since + wait <= now,
            _ => true,
        };
        let can_go = |it: &&Member| {
            let left = here - usize::from(is_here(it));
            !it.voter || (voters > 1 && left > (voters - 1) / 2 && waited(it))
        };
        let barred = group.members().iter().filter(|it| self.wishes.barred.contains(&it.id.node)).filter(can_go);
        let first = barred.min_by_key(|it| (is_here(it), it.id == me, it.id)).copied();
        if let Some(first) = first.filter(|it| it.voter) {
            // The next one's stand-in has as long.
            let others = self.barred_here.iter_mut().filter(|(node, _)| **node != first.id.node);
            others.for_each(|(_, since)| *since = now);
        } else if let (Some(wait), None) = (waits, first) {
            let since: Vec<Time> = self.barred_here.values().copied().collect();
            since.into_iter().for_each(|since| _ = self.lasts(Some(since), wait, now));
        }
        first.map(|it| it.id)
    }

    /// Whoever is barred is not fit, and so counts as gone: whether it is there is known apart from that.
    fn is_barred_and_here(&self, it: &Member) -> bool {
        self.barred_here.contains_key(&it.id.node)
    }

    /// Whether a learner was refused as a voter a few times, while somebody else was not tried yet.
    fn makes_room(&self, id: Actor, group: &Group) -> bool {
        let untried = |node: &NodeId| group.at(*node).next().is_none() && !self.in_vain.contains(node);
        self.is_refused(id, ROOM_AFTER) && self.here_since.keys().any(untried)
    }

    /// Whether it was not made a voter so often in a row.
    fn is_refused(&self, id: Actor, times: u32) -> bool {
        let step = Step::Change(Change::Promote { id });
        self.refused.is_some_and(|refused| refused.step == step && refused.times >= times)
    }

    /// A learner that was refused as a voter a few times does not keep a dead voter in its place.
    fn waits_in_vain(&self, id: Actor, gone: &[Actor]) -> bool {
        !gone.is_empty() && self.is_refused(id, IN_VAIN)
    }

    /// There are more voters than are wanted: if that lasts, one goes whom nobody misses.
    fn surplus(&mut self, now: Time, me: Actor, voters: &[Member], seen: &[Seen]) -> Option<Step> {
        let since = *self.surplus_since.get_or_insert(now);
        if !self.lasts(Some(since), self.config.stabilization, now) {
            return None;
        }
        let rank = |it: &&Member| {
            let (node, is_here) = (it.id.node, !self.gone_since.contains_key(&it.id.node));
            (is_here, self.wishes.wanted.contains(&node), it.id == me, wish(seen, it), Reverse(it.id))
        };
        voters.iter().min_by_key(rank).map(|least| Step::Change(Change::Remove { id: least.id }))
    }

    /// The best of the learners that were there for long enough.
    fn best_ready(&mut self, learners: &[Member], now: Time, seen: &[Seen]) -> Option<Actor> {
        let here =
            |it: &&Member| self.here_since.get(&it.id.node).is_some_and(|at| *at + self.config.stabilization <= now);
        let rank = |it: &&Member| (self.wishes.wanted.contains(&it.id.node), wish(seen, it), Reverse(it.id));
        let best = learners.iter().filter(here).max_by_key(rank).map(|it| it.id);
        for learner in learners {
            self.lasts(self.here_since.get(&learner.id.node).copied(), self.config.stabilization, now);
        }
        best
    }

    /// Whether somebody who is there is to vote in place of another, though there are voters enough: it is wanted and one of them is not; or
    /// one of them is barred.
    fn may_oust(&self, node: NodeId, voters: &[Member]) -> bool {
        let is_there = self.here_since.contains_key(&node) && voters.iter().all(|it| it.id.node != node);
        let Wishes { wanted, barred } = &self.wishes;
        let is_called = wanted.contains(&node) && voters.iter().any(|it| !wanted.contains(&it.id.node));
        is_there && (is_called || voters.iter().any(|it| barred.contains(&it.id.node)))
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
        match learners.max_by_key(|it| (wish(seen, it), Reverse(it.id))).map(|it| it.id) {
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
        let is_wanted = |it: &Seen| self.wishes.wanted.contains(&it.id);
        some.sort_unstable_by_key(|it| (self.in_vain.contains(&it.id), !is_wanted(it), Reverse(it.priority), it.id));
        for it in some {
            if !self.lasts(self.here_since.get(&it.id).copied(), self.config.stabilization, now) {
                continue;
            }
            if let Some(mint) = self.names.get(&it.id) {
                let id = Actor { node: it.id, mint: *mint };
                if !group.is_retired(id) {
                    return Some(Step::Change(Change::AddLearner { id, priority: kept(it.priority) }));
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
            (self.voters.barred_here, self.voters.in_vain) = (BTreeMap::new(), BTreeSet::new());
            self.voters.leads_since = None;
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
                let step = going.hands_over().then(|| self.voters.hand_over(now.mono, me, &group, &seen));
                self.voters.look(going.until());
                step.flatten()
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
            priority: it.meta.priority,
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
            let (me, wish) = (view.id(), kept(self.meta.priority));
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
mod tests;
