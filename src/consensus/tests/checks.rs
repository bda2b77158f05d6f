//! What must hold in every world, whatever happens. The names are those of the room's essay.

use std::collections::{BTreeMap, BTreeSet};

use super::super::state::{Applied, State};
use super::world::Peer;
use super::*;

/// What is durable at a peer, as terms by place.
#[derive(Clone, Debug, Default)]
struct Durable {
    covered: u64,
    terms: BTreeMap<u64, Term>,
    /// Places where something ever was. What was acknowledged may have been replaced by the same sync: it was held before a later leader
    /// was followed, as if the acknowledgement had been under way for so long.
    ever: BTreeSet<u64>,
}

/// What a peer was when it was last looked at.
#[derive(Clone, Copy)]
struct Seen {
    id: Actor,
    epoch: Epoch,
    term: Term,
    commit: Index,
    /// While it leads: in which term, and where its log ends.
    led: Option<(Term, Index)>,
}

impl Seen {
    fn nothing() -> Self {
        let id = Actor { node: NodeId::from_u128(0), mint: Mint::new(0) };
        Self { id, epoch: Epoch::ZERO, term: Term::ZERO, commit: Index::ZERO, led: None }
    }
}

/// See the module.
pub(super) struct Checks {
    leaders: BTreeMap<(Epoch, Term), Actor>,
    votes: BTreeMap<(Actor, Epoch, Term), Actor>,
    /// What was committed anywhere, and what it came to.
    canon: BTreeMap<u64, Entry>,
    /// And in which term.
    committed_in: BTreeMap<u64, Term>,
    epoch: Epoch,
    state: State,
    outcomes: BTreeMap<u64, Applied>,
    done: BTreeMap<RequestId, Token>,
    acknowledged: BTreeMap<RequestId, (Token, Outcome)>,
    /// Of every store that ever was: one that was wiped had what it acknowledged before.
    durable: BTreeMap<Actor, Durable>,
    /// Which store each peer's disk is.
    stores: Vec<Mint>,
    /// Of each peer, in this boot.
    seen: Vec<Seen>,
    pub(super) elections: u64,
    /// A store was damaged on purpose, and may find that out.
    pub(super) is_damaged: bool,
}

impl Checks {
    pub(super) fn new(count: usize) -> Self {
        Self {
            leaders: BTreeMap::new(),
            votes: BTreeMap::new(),
            canon: BTreeMap::new(),
            committed_in: BTreeMap::new(),
            epoch: Epoch::new(1),
            state: State::default(),
            outcomes: BTreeMap::new(),
            done: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            durable: BTreeMap::new(),
            stores: vec![Mint::new(0); count],
            seen: vec![Seen::nothing(); count],
            elections: 0,
            is_damaged: false,
        }
    }

    /// An operator decided that what is lost is lost: the laws begin anew.
    pub(super) fn begin_anew(&mut self, epoch: Epoch, state: &State) {
        (self.epoch, self.state) = (epoch, state.clone());
        self.canon.clear();
        self.committed_in.clear();
        self.outcomes.clear();
        self.acknowledged.clear();
    }

    pub(super) fn restarted(&mut self, at: usize) {
        self.seen[at] = Seen::nothing();
    }

    pub(super) fn on_durable(&mut self, at: usize, record: &Record) {
        if let Record::Named { mint } = record {
            self.stores[at] = *mint;
        }
        let id = Actor { node: NodeId::from_u128(at as u128 + 1), mint: self.stores[at] };
        let disk = self.durable.entry(id).or_default();
        match record {
            Record::Named { .. } | Record::Vote { .. } => {}
            Record::Append { first, entries } => {
                disk.terms.split_off(&first.value());
                disk.ever.extend((first.value()..).take(entries.len()));
                disk.terms.extend((first.value()..).zip(entries.iter().map(|entry| entry.term)));
            }
            Record::Snapshot(snapshot) => {
                let last = snapshot.last;
                if disk.terms.get(&last.index.value()) != Some(&last.term) {
                    disk.terms = BTreeMap::from([(last.index.value(), last.term)]);
                }
                disk.covered = disk.covered.max(last.index.value());
            }
        }
    }

    pub(super) fn on_send(&mut self, peers: &[Peer], at: usize, message: &Message) {
        let me = peers[at].machine.me;
        let mut vote = |term, to: Actor| {
            let first = *self.votes.entry((me, message.epoch, term)).or_insert(to);
            assert_eq!(first, to, "R7: {me:?} votes twice in term {term}");
        };
        match &message.body {
            Body::Ask { ballot: Ballot::Vote | Ballot::Succession, .. } => vote(message.term, me),
            Body::Voted { granted: true } => {
                let candidate = peers.iter().find(|peer| peer.machine.me.mint == message.to);
                if let Some(candidate) = candidate {
                    vote(message.term, candidate.machine.me);
                }
            }
            Body::Appended { matched } => {
                let was = |disk: &Durable| disk.ever.contains(&matched.value()) || matched.value() <= disk.covered;
                let held = self.durable.get(&me).is_some_and(was);
                assert!(held || matched.value() == 0, "R9: {matched} is acknowledged and not durable at {me:?}");
            }
            _ => {}
        }
    }

    pub(super) fn on_event(&mut self, peers: &[Peer], at: usize, event: &Event) {
        let machine = &peers[at].machine;
        match event {
            Event::Elected { term } => {
                self.elections += 1;
                let first = *self.leaders.entry((machine.epoch, *term)).or_insert(machine.me);
                assert_eq!(first, machine.me, "R1: two leaders in term {term}");
            }
            Event::Committed { token, outcome, .. } => self.on_committed(machine, *token, *outcome),
            Event::Answered { request, answer: Answer::Decided { token, outcome } } => {
                let first = *self.acknowledged.entry(*request).or_insert((*token, *outcome));
                assert_eq!(first, (*token, *outcome), "R13: two answers to one request");
            }
            Event::PeerFault { fault, .. } => {
                // A member that was removed, or was not heard of yet, may speak; nothing else is anybody's fault here.
                let is_fair = matches!(fault, Fault::NoVoter(_) | Fault::Retired(_));
                assert!(is_fair, "{:?} accuses a correct member: {fault}", machine.me);
            }
            Event::LostMemory { .. } if self.is_damaged => {}
            Event::LostMemory { .. } => panic!("{:?} lost what it acknowledged", machine.me),
            _ => {}
        }
    }

    fn on_committed(&mut self, machine: &Consensus, token: Token, outcome: Outcome) {
        self.learn(machine, token.index);
        if machine.epoch != self.epoch {
            return;
        }
        assert_eq!(self.outcomes.get(&token.index.value()), Some(&Applied::Now(outcome)), "R5: at {token}");
        if outcome == Outcome::Done
            && let Some(Entry { says: Says::Act(intent), .. }) = self.canon.get(&token.index.value())
        {
            let first = *self.done.entry(intent.request).or_insert(token);
            assert_eq!(first, token, "R13: {:?} is done twice", intent.request);
        }
    }

    /// An entry is committed at a peer.
    fn learn(&mut self, machine: &Consensus, index: Index) {
        let Some(entry) = machine.log.get(index).filter(|_| machine.epoch == self.epoch) else { return };
        if let Some(known) = self.canon.get(&index.value()) {
            assert_eq!(known, entry, "R5: two entries are committed at {index}");
            return;
        }
        self.canon.insert(index.value(), entry.clone());
        self.committed_in.insert(index.value(), machine.term);
        if let Says::Act(intent) = &entry.says {
            let token = Token { epoch: machine.epoch, term: entry.term, index };
            self.outcomes.insert(index.value(), self.state.apply(token, intent));
        }
    }

    pub(super) fn after_step(&mut self, peers: &[Peer], at: usize) {
        let machine = &peers[at].machine;
        let Seen { id, epoch, term, commit, led } = self.seen[at];
        let leads = matches!(machine.office, Office::Leader(_)).then(|| (machine.term, machine.log.last().index));
        if id == machine.me && epoch == machine.epoch {
            assert!(term <= machine.term, "R6: term falls at {id:?}");
            assert!(commit <= machine.commit, "R6: commit falls at {id:?}");
            if let (Some((in_term, end)), Some((now_in, now_end))) = (led, leads) {
                assert!(in_term != now_in || end <= now_end, "R2: a leader took something back");
            }
            self.on_commit(machine, commit, leads.is_some());
        }
        let is_new = leads.is_some() && led.map(|(term, _)| term) != leads.map(|(term, _)| term);
        if is_new && machine.epoch == self.epoch {
            self.is_complete(machine);
        }
        assert!(machine.commit <= machine.log.last().index);
        let Consensus { me: id, epoch, term, commit, .. } = *machine;
        self.seen[at] = Seen { id, epoch, term, commit, led: leads };
    }

    fn on_commit(&mut self, machine: &Consensus, before: Index, leads: bool) {
        for index in (before.value() + 1..=machine.commit.value()).map(Index::new) {
            self.learn(machine, index);
        }
        // The places that a snapshot covers may be durable nowhere but in it.
        let Some(term) = machine.log.term(machine.commit).filter(|_| leads && machine.commit > before) else { return };
        let index = machine.commit.value();
        let group = machine.group().expect("it leads");
        let holds = |voter| self.durable.get(&voter).is_some_and(|disk| disk.terms.get(&index) == Some(&term));
        assert!(group.majority(holds), "R8: {index} is committed and not durable at a majority");
        assert_eq!(term, machine.term, "R8: what is of an earlier term is counted");
    }

    /// R4: all that was committed in an earlier term is in the log of who is elected. A vote may be won late, when a later term has begun
    /// elsewhere.
    fn is_complete(&self, machine: &Consensus) {
        let before = |index: &u64| self.committed_in[index] < machine.term;
        for (index, entry) in self.canon.iter().filter(|(index, _)| before(index)) {
            assert!(Index::new(*index) <= machine.log.last().index, "R4: {index} is not held by {:?}", machine.me);
            let held = machine.log.term(Index::new(*index));
            assert!(held.is_none_or(|term| term == entry.term), "R4: another entry at {index}");
        }
    }

    /// Logs that have one mark in common are equal up to it: R3. And what was acknowledged is there.
    pub(super) fn at_rest(&self, peers: &[Peer]) {
        for one in peers {
            for other in peers {
                let (a, b) = (&one.machine.log, &other.machine.log);
                if (one.machine.epoch, one.machine.founding) != (other.machine.epoch, other.machine.founding) {
                    continue;
                }
                let least = a.base().index.max(b.base().index);
                let most = a.last().index.min(b.last().index);
                let common =
                    (least.value() + 1..=most.value()).rev().map(Index::new).find(|at| a.term(*at) == b.term(*at));
                let Some(common) = common else { continue };
                for at in (least.value() + 1..=common.value()).map(Index::new) {
                    assert_eq!(a.get(at), b.get(at), "R3: at {at}");
                }
            }
        }
        for (request, (token, outcome)) in &self.acknowledged {
            let Some(entry) = self.canon.get(&token.index.value()) else {
                panic!("{token} was acknowledged and is lost")
            };
            assert!(matches!(&entry.says, Says::Act(intent) if intent.request == *request), "{token} is another one");
            assert_eq!(self.outcomes.get(&token.index.value()), Some(&Applied::Now(*outcome)));
        }
        let best = peers.iter().map(|peer| peer.machine.commit).max().expect("there are peers");
        for peer in peers.iter().filter(|peer| peer.machine.commit == best && peer.machine.epoch == self.epoch) {
            assert_eq!(peer.machine.state, self.state, "R11: another state at {best}");
        }
    }
}
