//! Decisions for peers that are no members, and who leads: whoever is none follows one that is, and relays to those that reach only it.
//!
//! A member greets a peer that is none with the place of the newest decision. Who lacks something pulls, and says whether it wants to be told
//! of what follows; then it is told of each decision, and its next pull is the acknowledgement. Where what is missing is no longer kept, a copy of the state is
//! sent in pieces. Nothing is said while nothing is decided, but for one question in a long while: links may lose messages.
//!
//! Where nothing is known yet, whoever speaks first is believed. Afterwards news of that group counts from nodes of its members, as long as one of them is
//! linked, and what others say is a reason to ask those; a node that speaks under another name than the group has for it is no member of that any more. Where none
//! is linked, neighbours pass on what they were told, and are believed. A later generation
//! counts once a majority of the voters' nodes named it (`disowned`).
//!
//! What is known so is in memory only, and binds nobody. A peer that becomes a member acknowledges what comes from its own log, which begins with a snapshot that
//! may be of long ago: until that log is decided up to what it was told before, it shows what it was told (`knows_more`).
//! One that is removed begins with what it knew to be decided as a member, and with who led (`leave_group`). A source that says that nobody leads may only be cut
//! off itself: another member is asked soon.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::bounded::Blob;
use super::group::Group;
use super::log::{Entries, Log, Says};
use super::message::{Body, Head, Message, PIECE_MAX, SNAPSHOT_MAX};
use super::state::{Applied, State};
use super::vocabulary::{Event, Fault, Mark, Timer, Token};
use super::{Consensus, Snapshot};
use crate::machine::Cx;
use crate::probe::planted;
use crate::types::{Actor, Epoch, Index, Mint, NodeId, Term, Time};

/// Peers that one tells at most.
const SUBSCRIBERS_MAX: usize = 1_024;
/// Decisions that are kept for others.
const KEPT_MAX: u64 = 256;
/// What was told and is not acknowledged is told again after this, and so often.
const RETELL: Duration = Duration::from_secs(1);
const RETOLD_MAX: u32 = 4;
/// Where no member is linked somebody is asked so many times as often.
pub(super) const SOONER: u32 = 4;
/// A copy that did not get longer for so long may be begun anew by somebody else.
const STALLED: Duration = Duration::from_secs(3);
/// What is not believed is asked about so often at most.
const INQUIRY: Duration = Duration::from_millis(500);

/// What a peer that is no member knows.
#[derive(Clone, Debug)]
pub(super) struct Outside {
    founding: Mint,
    epoch: Epoch,
    /// What was decided last, as far as is known.
    log: Log,
    state: State,
    group: Option<Arc<Group>>,
    /// Under which names the nodes of its members spoke last: a store that was removed takes another one.
    names: BTreeMap<NodeId, Mint>,
    /// Who tells what follows.
    pub(super) source: Option<NodeId>,
    /// It said last that nobody leads: perhaps it is only cut off from who does, and hears of no decision itself.
    strays: bool,
    /// Who leads, as was told last, and in which term; perhaps by a decision that is not known here yet.
    leads: (Term, Option<Actor>),
    incoming: Option<Copying>,
    /// When it was asked last about what was not believed.
    inquired_at: Option<Time>,
}

#[derive(Clone, Debug)]
struct Copying {
    from: NodeId,
    head: (Mint, Epoch),
    last: Mark,
    total: u64,
    bytes: Vec<u8>,
    /// When it got longer last.
    grew_at: Time,
}

/// Somebody who is told.
#[derive(Clone, Debug)]
pub(super) struct Subscriber {
    /// The name of its store: its node may be a member still under one that is gone for good.
    mint: Mint,
    /// What it knows.
    after: Index,
    /// What it was told last and has not acknowledged, since when, and how often.
    sent: Option<(Index, Time, u32)>,
    follows: bool,
    copy: Option<(Mark, Bytes)>,
    /// Who leads, as it was told when it knew all that was decided: before, it may not have known that one.
    told: Option<(Term, Option<Actor>)>,
}

impl Default for Outside {
    fn default() -> Self {
        let (founding, epoch) = (Mint::new(0), Epoch::ZERO);
        let (log, state) = (Log::default(), State::default());
        let (names, source, leads, incoming) = (BTreeMap::new(), None, (Term::ZERO, None), None);
        let (group, strays, inquired_at) = (None, false, None);
        Self { founding, epoch, log, state, group, names, source, strays, leads, incoming, inquired_at }
    }
}

impl Outside {
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn group(&self) -> Option<&Arc<Group>> {
        self.group.as_ref()
    }

    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// What is known, but not from whom.
    fn of_nobody(self) -> Self {
        let Self { founding, epoch, log, state, group, .. } = self;
        Self { founding, epoch, log, state, group, ..Self::default() }
    }

    /// Who leads, if it is a member of the known group: of one that is not it may be heard before the decision that made it one.
    fn leads(&self) -> (Term, Option<Actor>) {
        let is_member = |id: &Actor| self.group.as_ref().is_some_and(|group| group.member(*id).is_some());
        (self.leads.0, self.leads.1.filter(is_member))
    }

    /// Whether a member of the known group is at a node, as far as is known.
    fn is_member(&self, node: NodeId) -> bool {
        let named = |id: Actor| self.names.get(&node).is_none_or(|mint| *mint == id.mint);
        self.group.as_ref().is_some_and(|group| group.at(node).any(named))
    }

    /// This one is the source from now on.
    fn hears_from(&mut self, source: NodeId) {
        if self.source.replace(source) != Some(source) {
            self.strays = false;
        }
    }

    /// A node speaks.
    fn hear(&mut self, id: Actor) {
        let Some(group) = &self.group else { return };
        if group.at(id.node).next().is_some() {
            self.names.insert(id.node, id.mint);
        }
        if self.names.len() > group.members().len() {
            self.names.retain(|node, _| group.at(*node).next().is_some());
        }
    }

    /// The newest decision that is known.
    pub(super) fn newest(&self) -> Token {
        let Mark { term, index } = self.log.last();
        Token { epoch: self.epoch, term, index }
    }

    fn apply(&mut self, cx: &mut Cx<'_, Consensus>, entries: &Entries) {
        for entry in entries.iter() {
            let index = self.log.push(entry.clone());
            let token = Token { epoch: self.epoch, term: entry.term, index };
            match &entry.says {
                Says::Office => {}
                Says::Act(intent) => {
                    if let Applied::Now(outcome) = self.state.apply(token, intent) {
                        cx.emit(Event::Committed { token, intent: intent.as_ref().clone(), outcome });
                    }
                }
                Says::Group(group) => {
                    self.group = Some(group.clone());
                    cx.emit(Event::Changed { token, group: group.as_ref().clone() });
                }
            }
        }
        let last = self.log.last().index.value();
        if last.saturating_sub(self.log.base().index.value()) > 2 * KEPT_MAX {
            self.log.compact(Index::new(last - KEPT_MAX));
        }
    }
}

impl Consensus {
    /// A word that is none between members.
    pub(super) fn on_aside(&mut self, cx: &mut Cx<'_, Self>, sender: Actor, message: Message) {
        let from = sender.node;
        let Message { founding, epoch, term, body, .. } = message;
        if self.group().is_none() {
            self.hear(cx, sender);
        }
        match body {
            Body::Rouse => self.on_rouse(cx, from),
            Body::Who => self.aside(cx, from, Body::Name),
            // A name that is used up: whoever bears it has not heard of that.
            Body::Name if self.is_retired(sender) => self.disown(cx, sender),
            Body::Name => {
                // It may take itself for a member by an entry that was taken back: nobody feeds it, and no log tells it so.
                if self.is_certainly_none(sender) {
                    self.disown(cx, sender);
                }
                cx.emit(Event::Met { id: sender });
            }
            Body::Pull { after, follow } => self.on_pull(cx, sender, (founding, epoch), after, follow),
            Body::Copied { last, upto } => self.on_copied(cx, from, last, upto),
            Body::Propose { intent } => self.on_propose(cx, from, &intent),
            Body::Proposed { request, said } => self.on_proposed(cx, from, request, said),
            // Members know better.
            Body::Newest { .. } | Body::Decided { .. } | Body::Copy { .. } | Body::Leads { .. }
                if self.group().is_some() => {}
            Body::Newest { last } => self.on_newest(cx, from, (founding, epoch), last),
            Body::Decided { prev, entries } => self.on_decided(cx, from, (founding, epoch), prev, &entries),
            Body::Leads { term, leader } => self.on_leads(cx, from, (founding, epoch), (term, leader)),
            Body::Copy { last, total, offset, bytes } => {
                self.on_copy(cx, from, (founding, epoch, term), (last, total, offset), bytes.bytes());
            }
            _ => {}
        }
    }

    /// Whoever was the source and is a member no more is one no more.
    fn hear(&mut self, cx: &mut Cx<'_, Self>, sender: Actor) {
        let was_member = self.is_known_member(sender.node);
        self.outside.hear(sender);
        if was_member && self.outside.source == Some(sender.node) && !self.is_known_member(sender.node) {
            self.outside.source = None;
            self.choose_source(cx);
        }
    }

    /// Of which group what this peer knows is.
    pub(super) fn known_of(&self) -> (Mint, Epoch) {
        if self.group().is_some() { (self.founding, self.epoch) } else { (self.outside.founding, self.outside.epoch) }
    }

    /// Up to where it knows what is decided.
    fn known(&self) -> Mark {
        if self.group().is_none() {
            return self.outside.log.last();
        }
        let term = self.log.term(self.commit).unwrap_or(self.snapshot.last.term);
        Mark { term, index: self.commit }
    }

    pub(super) fn aside(&self, cx: &mut Cx<'_, Self>, to: NodeId, body: Body) {
        let (to, message) = self.known_head().to(Actor { node: to, mint: Mint::new(0) }, body);
        cx.send(to, message);
    }

    /// What is the same in all that is said of the group that is known here.
    pub(super) fn known_head(&self) -> Head {
        let (founding, epoch) = self.known_of();
        Head { founding, epoch, term: self.term.max(self.known().term), from: self.me.mint }
    }

    /// Asks a peer for the name under which its store could take part; [`Event::Met`] tells it.
    pub fn ask_name(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        self.aside(cx, peer, Body::Who);
    }

    /// A link is up, or this peer has become a member: who is none hears of it. Whoever was one hears that it is none any more: a learner
    /// seeks no office, and would learn of that from nobody else.
    pub(super) fn greet(&self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        let Some(group) = self.group().or_else(|| self.outside.group()) else { return };
        if group.at(peer).next().is_some() {
            return;
        }
        if let Some(gone) = self.certain_group().and_then(|group| group.last_removed_at(peer)) {
            self.disown(cx, gone);
        }
        if self.group().is_none() {
            return;
        }
        self.aside(cx, peer, Body::Newest { last: self.known() });
    }

    /// Who knows nobody that tells it of decisions asks around, if nobody greets it.
    pub(super) fn wait_for_greeting(&self, cx: &mut Cx<'_, Self>) {
        if self.group().is_none() && !self.has_source() {
            cx.arm(Timer::Refresh, self.config.refresh / SOONER);
        }
    }

    /// Whether more is known from outside than what is certain here as a member, if it is one.
    pub(super) fn knows_more(&self) -> bool {
        let (outside, head) = (&self.outside, (self.founding, self.epoch));
        self.group().is_none() || (outside.founding, outside.epoch) == head && outside.log.last().index > self.commit
    }

    /// It has become a member, or founded a group. What a member is sent first may be of long ago.
    pub(super) fn enter_group(&mut self, cx: &mut Cx<'_, Self>) {
        let outside = std::mem::take(&mut self.outside);
        if !planted!("consensus/member-forgets") {
            self.outside = outside.of_nobody();
        }
        self.let_go_of_outside();
        cx.disarm(Timer::Refresh);
        for peer in self.links.clone() {
            self.greet(cx, peer);
        }
    }

    /// What is known when its store is read anew.
    pub(super) fn remembered(&self) -> Outside {
        self.as_known_outside().of_nobody()
    }

    /// As a member it knows by now what it was told before it was one.
    pub(super) fn let_go_of_outside(&mut self) {
        if !self.knows_more() {
            self.outside = Outside::default();
        }
    }

    /// A link is gone.
    pub(super) fn part(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        self.subscribers.remove(&peer);
        self.forget_asker(peer);
        self.ask_again(cx, Some(peer));
        if self.outside.source == Some(peer) {
            self.outside.source = None;
            self.choose_source(cx);
            // Whoever is the source now says who leads; until then it is who led, if that is not who went.
            if self.outside.source.is_none() || self.outside.leads.1.is_some_and(|leader| leader.node == peer) {
                self.outside.leads.1 = None;
            }
        }
    }

    /// Follows a member: who leads is not known here, so one of those that are linked, drawn, that not all ask the same.
    pub(super) fn choose_source(&mut self, cx: &mut Cx<'_, Self>) {
        let Some(peer) = self.drawn_source(cx) else { return };
        self.outside.hears_from(peer);
        self.pull(cx, peer, true);
        // Links rarely go alone: the question may be lost with the next one, and nobody answers one to which there is nothing to say.
        cx.arm(Timer::Refresh, self.config.refresh / SOONER);
    }

    /// A member with a link. Who is none is no source: two that follow each other would hear of nothing.
    fn drawn_source(&self, cx: &mut Cx<'_, Self>) -> Option<NodeId> {
        self.drawn_beside(cx, None)
    }

    fn drawn_beside(&self, cx: &mut Cx<'_, Self>, this: Option<NodeId>) -> Option<NodeId> {
        let may = |peer: &&NodeId| Some(**peer) != this && self.is_known_member(**peer);
        let some: Vec<NodeId> = self.links.iter().filter(may).copied().collect();
        (!some.is_empty()).then(|| some[cx.rng().index(some.len())])
    }

    fn is_known_member(&self, peer: NodeId) -> bool {
        self.outside.is_member(peer)
    }

    fn has_source(&self) -> bool {
        self.outside.source.is_some_and(|source| self.links.contains(&source))
    }

    fn pull(&self, cx: &mut Cx<'_, Self>, peer: NodeId, follow: bool) {
        let after = self.outside.log.last().index;
        self.aside(cx, peer, Body::Pull { after, follow });
        // Whoever knows nothing yet has no other question under way, should this one or its answer be lost.
        let refresh = if after == Index::ZERO { self.config.refresh / SOONER } else { self.config.refresh };
        cx.arm(Timer::Refresh, refresh);
    }

    /// Asks some member whether something was missed, and the source once more to tell what follows, since it may not have heard that it is
    /// the source; where none is linked, anybody, and sooner again. A source that strays gives way to another member.
    pub(super) fn on_refresh_due(&mut self, cx: &mut Cx<'_, Self>) {
        if self.group().is_some() {
            return;
        }
        if self.outside.strays
            && let Some(other) = self.drawn_beside(cx, self.outside.source)
        {
            self.outside.hears_from(other);
        }
        // Who its members are is not known before the first answer of whoever greeted.
        let greeted = self.outside.source.filter(|source| self.outside.group.is_none() && self.links.contains(source));
        if let Some(peer) = self.drawn_source(cx).or(greeted) {
            let source = self.outside.source.filter(|source| self.links.contains(source)).unwrap_or(peer);
            self.outside.source = Some(source);
            if source != peer {
                self.pull(cx, peer, false);
            } else if greeted.is_some() {
                // It may be silent: somebody else is asked too.
                let linked: Vec<NodeId> = self.links.iter().copied().collect();
                let other = linked[cx.rng().index(linked.len())];
                self.pull(cx, other, false);
            }
            return self.pull(cx, source, true);
        }
        let linked: Vec<NodeId> = self.links.iter().copied().collect();
        if !linked.is_empty() {
            let peer = linked[cx.rng().index(linked.len())];
            self.pull(cx, peer, false);
        }
        cx.arm(Timer::Refresh, self.config.refresh / SOONER);
    }

    /// Whether a peer is believed what it says of decisions.
    fn is_believed(&mut self, from: NodeId, (founding, epoch): (Mint, Epoch)) -> bool {
        let known = &self.outside;
        if known.founding == Mint::new(0) {
            return true;
        }
        if founding != known.founding {
            return false;
        }
        if epoch > known.epoch {
            return self.is_borne_out(from, epoch);
        }
        self.is_known_member(from) || !self.links.iter().any(|peer| self.is_known_member(*peer))
    }

    /// Somebody speaks who is not believed: whoever is, is asked. Where that is nobody, that one has to tell more.
    fn inquire(&mut self, cx: &mut Cx<'_, Self>, from: NodeId) {
        let now = cx.now().mono;
        if self.outside.inquired_at.is_some_and(|at| now.since(at) < INQUIRY) {
            return;
        }
        self.outside.inquired_at = Some(now);
        let peer = self.drawn_source(cx).unwrap_or(from);
        // The time of the next question stands: nobody puts it off by talking.
        self.aside(cx, peer, Body::Pull { after: self.outside.log.last().index, follow: false });
    }

    /// Of who is in no group: whether the sender may lead the one that is known here. Where none is, the first that speaks may.
    pub(super) fn may_follow(&mut self, cx: &mut Cx<'_, Self>, leader: Actor, message: &Message) -> bool {
        let (founding, epoch) = (self.outside.founding, self.outside.epoch);
        if founding == Mint::new(0) {
            return true;
        }
        if message.founding != founding {
            self.fault(cx, leader.node, Fault::OtherGroup(message.founding));
            return false;
        }
        let votes = self.outside.group.as_ref().is_some_and(|group| group.voters().any(|it| it.id.node == leader.node));
        if !votes || message.epoch < epoch || (message.epoch > epoch && !self.is_borne_out(leader.node, message.epoch))
        {
            self.inquire(cx, leader.node);
            return false;
        }
        if self.founding != Mint::new(0) && (self.founding != founding || self.epoch > message.epoch) {
            // It was taken in before it knew of this group, and promised something in the other one under this name.
            self.rename(cx);
            return false;
        }
        true
    }

    /// Only members say so.
    fn on_newest(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, of: (Mint, Epoch), last: Mark) {
        let is_news = self.is_news(of, last.index);
        if !self.is_believed(from, of) {
            if is_news {
                self.inquire(cx, from);
            }
            return;
        }
        if !self.has_source() {
            self.outside.hears_from(from);
            self.pull(cx, from, true);
        } else if is_news && self.outside.source != Some(from) {
            self.pull(cx, from, false);
        }
    }

    /// News came from somebody: a member that knows more than the source is the better one.
    fn after_news(&mut self, cx: &mut Cx<'_, Self>, from: NodeId) {
        // It was added and removed before it heard of either. Under that name it would never be added again.
        if self.outside.group.as_ref().is_some_and(|group| group.is_retired(self.me)) {
            self.rename(cx);
        }
        if self.is_known_member(from) {
            self.outside.hears_from(from);
        }
        if self.outside.source.is_some_and(|source| !self.is_known_member(source)) {
            self.outside.source = None; // It is a member no more.
        }
        // Who told it may be no member either, and would tell nothing of what follows.
        if !self.has_source() {
            self.choose_source(cx);
        }
        self.pull(cx, from, self.outside.source == Some(from));
        self.tell_subscribers(cx);
    }

    /// Whether somebody knows more than this peer. A later generation always does; of two groups that were founded apart the one stays that was known first.
    fn is_news(&self, (founding, epoch): (Mint, Epoch), index: Index) -> bool {
        let Outside { founding: known, epoch: before, .. } = self.outside;
        if known != founding {
            return known == Mint::new(0);
        }
        (epoch, index) > (before, self.outside.log.last().index)
    }

    fn on_decided(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, of: (Mint, Epoch), prev: Mark, entries: &Entries) {
        if (self.outside.founding, self.outside.epoch) != of {
            return;
        }
        if !self.is_believed(from, of) {
            return self.inquire(cx, from);
        }
        let outside = &mut self.outside;
        let end = prev.index.value() + entries.len() as u64;
        let known = outside.log.last();
        if end <= known.index.value() {
            return self.pull(cx, from, self.outside.source == Some(from));
        }
        // Before the copy that it began with, nothing is kept to compare.
        if prev.index >= outside.log.base().index && !outside.log.has(prev) {
            if prev.index > known.index {
                return self.pull(cx, from, self.outside.source == Some(from)); // Some are missing between.
            }
            let (index, commit) = (prev.index, known.index);
            return self.fault(cx, from, Fault::Committed { index, commit });
        }
        let skipped = usize::try_from(known.index.value() - prev.index.value()).unwrap_or(usize::MAX);
        let new = Entries::new(entries[skipped.min(entries.len())..].to_vec()).expect("a part of a list");
        outside.apply(cx, &new);
        self.after_news(cx, from);
    }

    fn on_copy(
        &mut self,
        cx: &mut Cx<'_, Self>,
        from: NodeId,
        (founding, epoch, _): (Mint, Epoch, Term),
        (last, total, offset): (Mark, u64, u64),
        bytes: &Bytes,
    ) {
        if !self.is_news((founding, epoch), last.index) {
            // Whoever sends it is told, if it is of the same group, that it need not. The time of the next question stands.
            if (founding, epoch) == self.known_of() {
                let (after, follow) = (self.outside.log.last().index, self.outside.source == Some(from));
                self.aside(cx, from, Body::Pull { after, follow });
            }
            return;
        }
        if !self.is_believed(from, (founding, epoch)) {
            return self.inquire(cx, from);
        }
        let (head, now) = ((founding, epoch), cx.now().mono);
        // Two that tell it at once would each begin it anew.
        if self.outside.incoming.as_ref().is_some_and(|it| it.from != from && now.since(it.grew_at) < STALLED) {
            return;
        }
        if self
            .outside
            .incoming
            .as_ref()
            .is_none_or(|it| (it.from, it.head, it.last, it.total) != (from, head, last, total))
        {
            self.outside.incoming = Some(Copying { from, head, last, total, bytes: Vec::new(), grew_at: now });
        }
        let Some(incoming) = &mut self.outside.incoming else { return };
        let expected = incoming.bytes.len() as u64;
        let end = offset.saturating_add(bytes.len() as u64);
        if total == 0 || total > SNAPSHOT_MAX as u64 || end > total || bytes.is_empty() {
            self.outside.incoming = None;
            return self.fault(cx, from, Fault::Piece { offset, total, expected });
        }
        if offset == expected {
            incoming.bytes.extend_from_slice(bytes);
            incoming.grew_at = now;
            cx.arm(Timer::Refresh, self.config.refresh);
        }
        let upto = incoming.bytes.len() as u64;
        if upto < total {
            return self.aside(cx, from, Body::Copied { last, upto });
        }
        match self.take_copy() {
            Ok(token) => {
                cx.emit(Event::Installed { token });
                self.after_news(cx, from);
            }
            Err(why) => self.fault(cx, from, Fault::Snapshot { index: last.index, why }),
        }
    }

    fn take_copy(&mut self) -> Result<Token, String> {
        let Some(Copying { head, last, bytes, .. }) = self.outside.incoming.take() else { return Err("none".into()) };
        let snapshot = Snapshot::decode(&bytes)?;
        if (snapshot.last, snapshot.founding, snapshot.epoch) != (last, head.0, head.1) {
            return Err("it is another one than was announced".into());
        }
        let state = State::decode(snapshot.state.bytes())?;
        let mut log = Log::default();
        log.reset(last);
        let Outside { source, leads, .. } = self.outside;
        let group = Some(snapshot.group);
        self.outside =
            Outside { founding: head.0, epoch: head.1, log, state, group, source, leads, ..Outside::default() };
        Ok(self.outside.newest())
    }

    /// Somebody wants to know what was decided.
    fn on_pull(&mut self, cx: &mut Cx<'_, Self>, sender: Actor, of: (Mint, Epoch), after: Index, follow: bool) {
        let Actor { node: from, mint } = sender;
        let known = self.known();
        if known.index == Index::ZERO {
            return;
        }
        let after = if of == self.known_of() { after } else { Index::ZERO };
        if !follow && after >= known.index {
            // That is the answer to what it asked for once.
            match self.subscribers.get_mut(&from) {
                Some(it) if it.follows => (it.after, it.sent, it.copy) = (after, None, None),
                _ => _ = self.subscribers.remove(&from),
            }
            return;
        }
        if self.subscribers.len() >= SUBSCRIBERS_MAX && !self.subscribers.contains_key(&from) {
            return;
        }
        let is_linked = self.links.contains(&from);
        let before = self.subscribers.get(&from);
        // It asks of itself, and does not acknowledge what it was told.
        let asks = before.is_none_or(|it| it.sent.is_none());
        let follows = is_linked && (follow || before.is_some_and(|it| it.follows));
        let told = before.and_then(|it| it.told).filter(|_| !asks);
        let subscriber = Subscriber { mint, after, sent: None, follows, copy: None, told };
        self.subscribers.insert(from, subscriber);
        self.tell(cx, from);
    }

    /// Who leads, and in which term: as this member sees it, or as one told it to a peer that is none.
    pub(super) fn known_leader(&self) -> (Term, Option<Actor>) {
        if self.group().is_some() { (self.term, self.leader) } else { self.outside.leads() }
    }

    /// What a member knows, as one that is none any more knows it.
    pub(super) fn as_known_outside(&self) -> Outside {
        if self.knows_more() {
            return self.outside.clone();
        }
        let mut log = Log::default();
        log.reset(self.known());
        let (founding, epoch) = self.known_of();
        let group = self.groups.at(self.commit.value()).cloned();
        // Whoever led under a name that is used up leads no more.
        let leader = self.leader.filter(|leader| *leader != self.me);
        let (state, leads) = (self.state.clone(), (self.term, leader));
        Outside { founding, epoch, log, state, group, leads, ..Outside::default() }
    }

    fn tell_leader(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        let (leads, known) = (self.known_leader(), self.known());
        if let Some(subscriber) = self.subscribers.get_mut(&peer) {
            subscriber.told = (subscriber.after >= known.index).then_some(leads);
            self.aside(cx, peer, Body::Leads { term: leads.0, leader: leads.1 });
        }
    }

    /// Somebody else leads, or nobody: whoever follows what is decided hears of it.
    pub(super) fn tell_followers_who_leads(&mut self, cx: &mut Cx<'_, Self>) {
        let followers = self.subscribers.iter().filter(|(_, it)| it.follows).map(|(peer, _)| *peer);
        for peer in followers.collect::<Vec<_>>() {
            self.tell_leader(cx, peer);
        }
    }

    fn on_leads(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, of: (Mint, Epoch), leads: (Term, Option<Actor>)) {
        if of != self.known_of() || !self.is_believed(from, of) {
            return;
        }
        if self.outside.source == Some(from) {
            let strayed = std::mem::replace(&mut self.outside.strays, leads.1.is_none());
            // Once: nobody puts the next question off by saying so again.
            if self.outside.strays && !strayed {
                cx.arm(Timer::Refresh, self.config.refresh / SOONER);
            }
        }
        if leads.0 < self.outside.leads.0 {
            return;
        }
        let before = self.outside.leads();
        self.outside.leads = leads;
        if self.outside.leads() != before {
            self.tell_followers_who_leads(cx);
        }
    }

    /// All who follow hear of what is new.
    pub(super) fn tell_subscribers(&mut self, cx: &mut Cx<'_, Self>) {
        if planted!("consensus/followers-untold") {
            return;
        }
        self.forget_members();
        let waiting = self.subscribers.iter().filter(|(_, it)| it.follows && it.sent.is_none()).map(|(peer, _)| *peer);
        for peer in waiting.collect::<Vec<_>>() {
            self.tell(cx, peer);
        }
    }

    /// Whoever has become a member hears of decisions as one; but who asks has not heard of that yet, and perhaps not of who leads.
    fn forget_members(&mut self) {
        let Some(group) = self.group().cloned() else { return };
        self.subscribers
            .retain(|peer, it| it.copy.is_some() || group.member(Actor { node: *peer, mint: it.mint }).is_none());
    }

    fn tell(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        let known = self.known();
        let Some(subscriber) = self.subscribers.get(&peer) else { return };
        let (after, follows, tries) =
            (subscriber.after, subscriber.follows, subscriber.sent.map_or(0, |(.., tries)| tries));
        if after >= known.index {
            if !follows {
                self.subscribers.remove(&peer);
            } else if subscriber.told != Some(self.known_leader()) {
                self.tell_leader(cx, peer);
            }
            return;
        }
        let log = if self.group().is_some() { &self.log } else { &self.outside.log };
        let (body, copy) = match log.term(after).filter(|_| after > Index::ZERO) {
            Some(term) => {
                let some = log.slice(after.next(), self.config.batch_bytes);
                let upto = usize::try_from(known.index.value() - after.value()).unwrap_or(usize::MAX);
                let entries = Entries::new(some.iter().take(upto).cloned().collect()).expect("a part of a list");
                (Body::Decided { prev: Mark { term, index: after }, entries }, None)
            }
            None => {
                let bytes = self.copy_of(known).encode();
                (copied(known, &bytes, 0), Some((known, bytes)))
            }
        };
        if let Some(subscriber) = self.subscribers.get_mut(&peer) {
            subscriber.sent = Some((known.index, cx.now().mono, tries + 1));
            subscriber.copy = copy;
        }
        self.aside(cx, peer, body);
        cx.arm(Timer::Retell, RETELL);
    }

    /// The state as it is known here.
    fn copy_of(&self, last: Mark) -> Snapshot {
        let (founding, epoch) = self.known_of();
        let (state, group) = match self.group() {
            Some(_) => (&self.state, self.groups.at(self.commit.value()).cloned()),
            None => (&self.outside.state, self.outside.group.clone()),
        };
        let state = Blob::new(state.encode()).expect("registers and outcomes are bounded");
        Snapshot { founding, epoch, last, group: group.unwrap_or_default(), state }
    }

    fn on_copied(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, of: Mark, upto: u64) {
        let Some(subscriber) = self.subscribers.get_mut(&from) else { return };
        let Some((last, bytes)) =
            subscriber.copy.as_ref().filter(|(last, bytes)| *last == of && upto < bytes.len() as u64)
        else {
            return;
        };
        let body = copied(*last, bytes, upto);
        subscriber.sent = Some((last.index, cx.now().mono, 1));
        self.aside(cx, from, body);
    }

    pub(super) fn on_retell_due(&mut self, cx: &mut Cx<'_, Self>) {
        let now = cx.now().mono;
        self.subscribers.retain(|_, it| it.follows || it.sent.is_none_or(|(.., tries)| tries < RETOLD_MAX));
        let late = self
            .subscribers
            .iter()
            .filter(|(_, it)| it.sent.is_some_and(|(_, at, tries)| now.since(at) >= RETELL && tries < RETOLD_MAX));
        for peer in late.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            self.tell(cx, peer);
        }
        // Who did not answer so often is told of what comes next, or asks.
        for it in self.subscribers.values_mut() {
            it.sent = it.sent.filter(|(.., tries)| *tries < RETOLD_MAX);
        }
        if self.subscribers.values().any(|it| it.sent.is_some()) {
            cx.arm(Timer::Retell, RETELL);
        }
    }
}

/// The piece of a copy from a place on.
fn copied(last: Mark, bytes: &Bytes, upto: u64) -> Body {
    let from = usize::try_from(upto).unwrap_or(usize::MAX).min(bytes.len());
    let to = (from + PIECE_MAX).min(bytes.len());
    let piece = Blob::new(bytes.slice(from..to)).expect("cut above");
    Body::Copy { last, total: bytes.len() as u64, offset: from as u64, bytes: piece }
}
