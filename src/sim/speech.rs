//! What a node was given and what it told, in plain words, peers by name.

use std::fmt;

use super::scenario::Scenario;
use super::witness::Seen;
use super::words;
use crate::membership::{self, State};
use crate::node::{Command, Effect, Event, Input};
use crate::types::{Lane, NodeId};
use crate::{audit, consensus, documents, overlay, replication, wire};

/// Longest line of something that has no words of its own.
const PLAIN_MAX: usize = 160;
/// Longest message that is told whole.
const MESSAGE_MAX: usize = 60;
/// Rumours that are told of one message.
const RUMOURS_MAX: usize = 3;

/// How much a thing says about why a run fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// It happens all the time.
    Routine,
    /// What crossed, what was written.
    Data,
    /// Somebody thinks otherwise, a link, a process.
    News,
}

/// Puts things into words for one scenario.
#[derive(Clone, Copy)]
pub(super) struct Speech<'a> {
    scenario: &'a Scenario,
}

impl<'a> Speech<'a> {
    pub(super) const fn new(scenario: &'a Scenario) -> Self {
        Self { scenario }
    }

    /// The name of the peer at this place.
    pub(super) fn name(self, place: u32) -> String {
        self.scenario.mesh.nodes().get(place as usize).map_or_else(|| format!("#{place}"), |node| node.name.clone())
    }

    fn who(self, id: NodeId) -> String {
        self.plain(&format!("{id}"))
    }

    /// A text with the names of peers in place of their ids, and cut.
    pub(super) fn plain(self, text: &str) -> String {
        let named = words::named(text, &|place| self.scenario.mesh.nodes().get(place).map(|node| node.name.clone()));
        match named.char_indices().nth(PLAIN_MAX) {
            Some((at, _)) => format!("{}...", &named[..at]),
            None => named,
        }
    }

    /// What has no words of its own, in those that it is made of.
    fn debug(self, what: &dyn fmt::Debug) -> String {
        self.plain(&words::spoken(&format!("{what:?}")))
    }

    /// What is seen at a peer: how much it says, and in words. Nothing of what only the machine needs.
    pub(super) fn of(self, what: &Seen<'_>) -> Option<(Weight, String)> {
        match what {
            Seen::Start => Some((Weight::News, "starts".to_owned())),
            Seen::Ready(report) => {
                let cut = if report.cut.is_some() { ", whose damaged end it cut" } else { "" };
                let how = if report.first { "an empty log".to_owned() } else { format!("{} records", report.records) };
                Some((Weight::News, format!("is ready, from {how}{cut}")))
            }
            Seen::Refused(error) => Some((Weight::News, format!("refuses its log: {error}"))),
            Seen::Input(input) => Some(self.input(input)),
            Seen::Effect(effect) => self.effect(effect),
            Seen::Sent { to, fate, .. } => {
                let fate = match fate.arrives {
                    Some(at) => format!("will arrive at {}", words::seconds(at)),
                    None => "is lost, or waits behind a cut".to_owned(),
                };
                Some((Weight::Routine, format!("what it sends to {} {fate}", self.name(*to))))
            }
            Seen::Begins { says, .. } => {
                Some((Weight::News, format!("fault begins: {}", words::fault(&says.fault, &|place| self.name(place)))))
            }
            Seen::Ends { says, .. } => {
                Some((Weight::News, format!("fault ends: {}", words::fault(&says.fault, &|place| self.name(place)))))
            }
        }
    }

    fn input(self, input: &Input) -> (Weight, String) {
        match input {
            Input::Wake => (Weight::Routine, "a timer goes off".to_owned()),
            Input::Received { from, lane, frame } => {
                (Weight::Data, format!("hears from {}: {}", self.who(*from), self.frame(*lane, frame)))
            }
            Input::Linked { peer } => (Weight::News, format!("is linked with {}", self.who(*peer))),
            Input::Unlinked { peer } => (Weight::News, format!("has no link with {} any more", self.who(*peer))),
            Input::DialFailed { peer } => (Weight::News, format!("cannot reach {}", self.who(*peer))),
            Input::Persisted { result: Ok(()), .. } => (Weight::Data, "what it wrote is durable".to_owned()),
            Input::Persisted { result: Err(fault), .. } => (Weight::News, format!("its disk fails: {fault}")),
            Input::IoDone { result: Err(fault), .. } => (Weight::News, format!("its disk fails: {fault}")),
            Input::IoDone { .. } => (Weight::Routine, "has read of its log".to_owned()),
            Input::TaskDone { done, .. } => {
                (Weight::Data, format!("its engine is done: {}", self.plain(&done_of(done))))
            }
            Input::Command { command, .. } => (Weight::Data, format!("is asked: {}", self.command(command))),
            other => (Weight::Routine, self.debug(other)),
        }
    }

    fn command(self, command: &Command) -> String {
        match command {
            Command::Documents(documents::Command::Edit { doc, edits, create }) => {
                let how = if *create { "make" } else { "edit" };
                format!("{how} {doc} ({} changes)", edits.len())
            }
            Command::Documents(documents::Command::Scan { .. }) => "give all documents".to_owned(),
            Command::Acknowledged { command, ack } => format!("{}, held by {ack} others", self.command(command)),
            Command::Leave => "leave".to_owned(),
            other => self.debug(other),
        }
    }

    /// What a frame says.
    pub(super) fn frame(self, lane: Lane, frame: &[u8]) -> String {
        let opened = match wire::open(frame, lane) {
            Ok(Some(opened)) => opened,
            Ok(None) => return "something that may be skipped".to_owned(),
            Err(error) => return format!("a frame that cannot be read ({error})"),
        };
        let read = match opened.kind() {
            wire::Kind::Membership => opened.decode().map(|message| self.membership(&message)),
            wire::Kind::Replication => {
                opened.decode::<replication::Message>().map(|message| self.short("replication", &message))
            }
            wire::Kind::Overlay => opened.decode::<overlay::Message>().map(|message| self.short("overlay", &message)),
            wire::Kind::Consensus => {
                opened.decode::<consensus::Message>().map(|message| self.short("consensus", &message))
            }
            wire::Kind::Roles => opened.decode::<crate::roles::Message>().map(|message| self.short("roles", &message)),
            wire::Kind::Audit => opened.decode::<audit::Message>().map(|message| self.short("audit", &message)),
        };
        read.unwrap_or_else(|error| format!("a frame that cannot be read ({error})"))
    }

    /// The name of a message, and as much of it as fits.
    fn short(self, room: &str, message: &dyn fmt::Debug) -> String {
        let text = self.debug(message);
        let name = text.split(" (").next().unwrap_or_default();
        if text.len() <= MESSAGE_MAX { format!("{room}, {text}") } else { format!("{room}, {name}") }
    }

    fn membership(self, message: &membership::Message) -> String {
        use membership::Message as M;
        let (what, rumours) = match message {
            M::Ping { probe, gossip, .. } => (format!("ping {probe}"), gossip.as_slice()),
            M::Ack { probe, gossip, .. } => (format!("answer to ping {probe}"), gossip.as_slice()),
            M::PingReq { probe, target, gossip } => {
                (format!("please ping {} for me ({probe})", self.who(*target)), gossip.as_slice())
            }
            M::Vouch { probe } => (format!("whom you asked for answers me ({probe})"), [].as_slice()),
            M::Nack { probe, reach } => {
                (format!("whom you asked for does not answer me ({probe}, {})", self.debug(reach)), [].as_slice())
            }
            M::Gossip { gossip } => ("news".to_owned(), gossip.as_slice()),
            M::State { rows, .. } => ("all that it knows of members".to_owned(), rows.as_slice()),
            M::Diff { rows, .. } => ("members of which the two think otherwise".to_owned(), rows.as_slice()),
            M::Buckets { .. } => ("digests of what it knows of members".to_owned(), [].as_slice()),
            M::Parting => ("it closes the link".to_owned(), [].as_slice()),
            M::Who => ("who are you?".to_owned(), [].as_slice()),
        };
        // Of those that are alive nobody needs to hear.
        let told: Vec<String> = rumours
            .iter()
            .filter(|rumour| rumour.state != State::Alive || rumours.len() <= RUMOURS_MAX)
            .take(RUMOURS_MAX)
            .map(|rumour| format!("{} is {}", self.who(rumour.id), state(rumour.state)))
            .collect();
        match rumours.len() - told.len() {
            _ if rumours.is_empty() => what,
            0 => format!("{what}, and {}", told.join(", ")),
            more if told.is_empty() => format!("{what}, and {more} members are alive"),
            more => format!("{what}, and {}, and {more} more", told.join(", ")),
        }
    }

    fn effect(self, effect: &Effect) -> Option<(Weight, String)> {
        match effect {
            Effect::Notify(event) => self.event(event),
            Effect::Close { peer, why } => {
                Some((Weight::News, format!("closes the link with {}: {why}", self.who(*peer))))
            }
            Effect::Reply { result: Err(error), .. } => {
                Some((Weight::Data, format!("answers its client: {}", self.plain(&error.to_string()))))
            }
            Effect::Send { to, lane, frame } => {
                Some((Weight::Routine, format!("tells {}: {}", self.who(*to), self.frame(*lane, frame))))
            }
            Effect::Persist { segment, offset, bytes, .. } => Some((
                Weight::Routine,
                format!("writes {} bytes at {offset} of segment {}", bytes.len(), self.debug(segment)),
            )),
            Effect::Io { op, .. } => Some((Weight::Routine, format!("works on its log: {}", self.debug(op)))),
            Effect::Task { task, .. } => {
                Some((Weight::Routine, format!("gives its engine work: {}", self.debug(task))))
            }
            Effect::Pack { pack, .. } => {
                Some((Weight::Routine, format!("has a piece of a snapshot compressed: {}", self.debug(pack))))
            }
            Effect::Dial { peer, .. } => Some((Weight::Routine, format!("dials {}", self.who(*peer)))),
            Effect::Reply { result: Ok(_), .. } => Some((Weight::Routine, "answers its client".to_owned())),
            Effect::KeepPolicy { .. } => None,
        }
    }

    fn event(self, event: &Event) -> Option<(Weight, String)> {
        use Weight::{Data, News};
        Some(match event {
            Event::Membership(event) => return self.opinion(event),
            Event::Overlay(overlay::Event::NeighborUp { peer }) => {
                (News, format!("has {} as a neighbour", self.who(*peer)))
            }
            Event::Overlay(overlay::Event::NeighborDown { peer }) => {
                (News, format!("has {} as a neighbour no more", self.who(*peer)))
            }
            Event::Overlay(overlay::Event::PolicyInForce { policy }) => {
                (News, format!("follows the overlay {}", policy.policy))
            }
            Event::Overlay(overlay::Event::Dial { peer, .. }) => {
                (Data, format!("wants a link with {}", self.who(*peer)))
            }
            Event::Replication(replication::Event::Originated { log, seq, .. }) => {
                (Data, format!("writes its entry {}", self.plain(&log.at(*seq).to_string())))
            }
            Event::Replication(replication::Event::Delivered { log, seq, .. }) => {
                (Data, format!("holds the entry {}", self.plain(&log.at(*seq).to_string())))
            }
            Event::Replication(replication::Event::Forked { log, seq, peer }) => {
                let entry = self.plain(&log.at(*seq).to_string());
                (News, format!("sees that {} has another entry at {entry}", self.who(*peer)))
            }
            Event::Replication(event) => (Data, format!("replication: {}", self.debug(event))),
            Event::Documents(documents::Event::Changed { doc, .. }) => (Data, format!("{doc} has changed")),
            Event::Documents(documents::Event::Refused { doc, why, log, seq }) => {
                let doc = doc.as_ref().map_or_else(|| "a change".to_owned(), |doc| format!("a change of {doc}"));
                (News, format!("refuses {doc}, {}: {why}", self.plain(&log.at(*seq).to_string())))
            }
            Event::Documents(_) | Event::Events(_) => return None,
            Event::Audit(event) => (Data, format!("audit: {}", self.debug(event))),
            Event::BadFrame { peer, why } => (News, format!("cannot read what {} sends: {why}", self.who(*peer))),
            other => (News, self.debug(other)),
        })
    }

    fn opinion(self, event: &membership::Event) -> Option<(Weight, String)> {
        use Weight::News;
        use membership::Event as E;
        let told = |member: &NodeId, from: &NodeId| {
            if member == from { String::new() } else { format!(", as {} says", self.who(*from)) }
        };
        Some(match event {
            E::Joined { member, from } => (News, format!("sees {} join{}", self.who(*member), told(member, from))),
            E::Suspected { member, by, grounds } => {
                let why = match grounds {
                    membership::Grounds::Unanswered(probe) => {
                        format!(
                            "{} pings and {} helpers in {} ms brought no answer",
                            probe.pings, probe.helpers, probe.waited_ms
                        )
                    }
                    membership::Grounds::Told { from, dead } => {
                        format!(
                            "{} says that it {}",
                            self.who(*from),
                            if *dead { "is dead" } else { "does not answer" }
                        )
                    }
                    _ => "it has no link to anybody".to_owned(),
                };
                (News, format!("suspects {}: {why} (accused by {})", self.who(*member), self.who(*by)))
            }
            E::Refuted { member, from } => (News, format!("finds {} alive{}", self.who(*member), told(member, from))),
            E::Died { member, by, suspected_ms, .. } => (
                News,
                format!(
                    "declares {} dead after {suspected_ms} ms of suspicion (accused by {})",
                    self.who(*member),
                    self.who(*by)
                ),
            ),
            E::Left { member, from } => (News, format!("sees {} leave{}", self.who(*member), told(member, from))),
            E::Defended { incarnation, from } => (
                News,
                format!(
                    "says that it is alive (incarnation {}): {} told that it was not",
                    self.debug(incarnation),
                    self.who(*from)
                ),
            ),
            E::PeerFault { peer, why } => (News, format!("says that {} is faulty: {why}", self.who(*peer))),
            E::Updated { member } => (Weight::Data, format!("hears news of {} itself", self.who(*member))),
            E::Seek { .. } | E::Release { .. } => return None,
        })
    }
}

const fn state(state: State) -> &'static str {
    match state {
        State::Alive => "alive",
        State::Suspect => "suspect",
        State::Dead => "dead",
        State::Left => "gone",
    }
}

fn done_of(done: &documents::Done) -> String {
    match done {
        documents::Done::Edited { doc, .. } => format!("{doc} is edited"),
        documents::Done::Applied { doc, applied, orphans, refused, .. } => {
            format!("{} changes applied to {doc}, {} wait, {} refused", applied.len(), orphans.len(), refused.len())
        }
        other => words::spoken(&format!("{other:?}")),
    }
}
