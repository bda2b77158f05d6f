//! Inputs: how they reach a node, and when it wakes.

use serde_json::Value;

use super::super::host::{Asked, Life};
use super::super::net::Frame;
use super::super::plan::Level;
use super::{Due, World};
use crate::documents::{self, Edit};
use crate::node::{Command, Input};
use crate::types::DocId;

/// Inputs that may wait at one peer; beyond it frames are dropped, as full sockets would hold them back.
const INBOX_MAX: usize = 65_536;

impl World<'_> {
    pub(super) fn input(&mut self, host: u32, epoch: u32, input: Input) {
        if self.host(host).epoch == epoch {
            self.feed(host, input);
        }
    }

    pub(super) fn frame(&mut self, frame: Frame) {
        let Some(from) = self.mesh.net.sender(&frame) else {
            self.mesh.net.stats.dropped += 1;
            return;
        };
        self.feed(frame.to, Input::Received { from, lane: frame.lane, frame: frame.bytes });
    }

    /// Hands an input to a process, now or when it has time.
    pub(super) fn feed(&mut self, place: u32, input: Input) {
        let (now, cause) = (self.mesh.now, self.cause);
        let host = self.host(place);
        if !host.runs() {
            return;
        }
        if host.paused_since.is_none() && host.busy_until <= now && host.inbox.is_empty() {
            self.step(place, input);
            self.rearm(place);
            return;
        }
        if host.inbox.len() >= INBOX_MAX && matches!(input, Input::Received { .. }) {
            self.mesh.net.stats.dropped += 1;
            return;
        }
        host.inbox.push_back((cause, input));
        self.figures.inbox_most = self.figures.inbox_most.max(self.mesh.hosts[place as usize].inbox.len() as u64);
        self.resume_later(place);
    }

    fn resume_later(&mut self, place: u32) {
        let (now, cause) = (self.mesh.now, self.cause);
        let host = self.host(place);
        if host.paused_since.is_none() && !host.resuming && !host.inbox.is_empty() {
            host.resuming = true;
            let (at, epoch) = (host.busy_until.max(now), host.epoch);
            self.queue.push(at, cause, Due::Resume { host: place, epoch });
        }
    }

    pub(super) fn resume(&mut self, place: u32, epoch: u32) {
        let host = self.host(place);
        if host.epoch != epoch {
            return;
        }
        host.resuming = false;
        if host.paused_since.is_some() {
            return;
        }
        let Some((cause, input)) = host.inbox.pop_front() else { return };
        let resumed_by = std::mem::replace(&mut self.cause, cause);
        self.step(place, input);
        self.cause = resumed_by;
        self.resume_later(place);
        self.rearm(place);
    }

    /// Lets a paused process go on.
    pub(super) fn unpause(&mut self, place: u32) {
        self.resume_later(place);
        self.rearm(place);
    }

    /// Sees to it that the node is woken at its deadline. An event that is too early is cheaper than one that is moved.
    pub(super) fn rearm(&mut self, place: u32) {
        let now = self.mesh.now;
        let host = self.host(place);
        let Life::Up(node) = &host.life else { return };
        if host.paused_since.is_some() {
            return;
        }
        let Some(deadline) = node.deadline() else { return };
        let at = host.clock.when(deadline, now.max(host.busy_until));
        if host.wake_at.is_none_or(|wake_at| at < wake_at) {
            host.wake_at = Some(at);
            let epoch = host.epoch;
            self.queue.push(at, self.cause, Due::Wake { host: place, epoch });
        }
    }

    pub(super) fn wake(&mut self, place: u32, epoch: u32) {
        let now = self.mesh.now;
        let host = self.host(place);
        if host.epoch != epoch || host.wake_at != Some(now) {
            return;
        }
        host.wake_at = None;
        let mono = host.clock.read(now).mono;
        let due = host.node().and_then(crate::node::Node::deadline).is_some_and(|deadline| deadline <= mono);
        // While inputs wait, the node fires what is due with the next of them.
        if host.paused_since.is_some() || !host.inbox.is_empty() {
            return;
        }
        if due {
            self.feed(place, Input::Wake);
        } else {
            self.rearm(place);
        }
    }

    pub(super) fn edit(&mut self, number: usize) {
        let peer = self.mesh.plan.edits[number].peer;
        if self.host(peer).node().is_none() {
            self.figures.edits_unasked += 1;
            return;
        }
        self.figures.edits += 1;
        self.ask_edit(peer, number, 0, false);
    }

    /// A client asks for an edit: of the document that is there, or with the document itself.
    pub(super) fn ask_edit(&mut self, place: u32, number: usize, tries: u32, create: bool) {
        let (now, cause) = (self.mesh.now, self.cause);
        let edit = &self.mesh.plan.edits[number];
        let mut places = vec![(place_of(number), Value::from(number))];
        // Where policies are judged, removals meet writes as well.
        let removes = edit.shared && !create && self.scenario.has_policies() && number.is_multiple_of(REMOVES_EACH);
        if edit.shared && !removes {
            places.push((SHARED.to_owned(), number.into()));
        }
        if edit.shared && create {
            places.push((LIST.to_owned(), Value::Array(vec![number.into()])));
        }
        if edit.padding > 0 {
            places.push((format!("t{number}"), noise(number, edit.padding as usize).into()));
        }
        let mut edits = if create {
            vec![Edit::Put { value: Value::Object(places.into_iter().collect()) }]
        } else {
            places.into_iter().map(|(path, value)| Edit::Set { path, value }).collect()
        };
        if edit.shared {
            edits.push(Edit::Increment { path: COUNT.to_owned(), by: 1 });
        }
        if removes {
            edits.push(Edit::Resolve { path: SHARED.to_owned(), value: None, force: true });
        }
        // Who made the document may have made no list.
        if edit.shared && !create && tries == 0 {
            edits.push(Edit::Insert { path: format!("{LIST}/0"), value: number.into() });
        }
        let command = documents::Command::Edit { doc: doc_of(edit.doc), edits, create };
        let host = self.host(place);
        let id = host.ask(Asked::Edit { number, tries });
        let epoch = host.epoch;
        let command = with_level(Command::Documents(command), self.mesh.plan.edits[number].ack);
        let input = Box::new(Input::Command { id, command });
        self.queue.push(now + 1, cause, Due::Input { host: place, epoch, input });
    }
}

/// A write that waits for as many copies as the plan says.
pub(super) fn with_level(command: Command, ack: Option<Level>) -> Command {
    match ack {
        Some(Level(ack)) => Command::Acknowledged { command: Box::new(command), ack },
        None => command,
    }
}

/// What shared edits count, each one up.
pub(in super::super) const COUNT: &str = "count";
/// Where they set their number, the place at which they meet.
const SHARED: &str = "shared";
/// Of so many edits where policies are judged one removes what stands at that place.
const REMOVES_EACH: usize = 3;
/// Where they insert.
const LIST: &str = "list";

/// The place that an edit of the plan sets to its number: nobody else sets it.
pub(in super::super) fn place_of(number: usize) -> String {
    format!("e{number}")
}

/// Text that no frame makes much shorter.
fn noise(number: usize, len: usize) -> String {
    const DIGITS: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
    let hash = |at: usize| xxhash_rust::xxh3::xxh3_64_with_seed(&at.to_le_bytes(), number as u64);
    (0..len).map(|at| char::from(DIGITS[usize::from(hash(at).to_le_bytes()[0] % 64)])).collect()
}

/// The document of this number.
pub(in super::super) fn doc_of(doc: u32) -> DocId {
    DocId::parse(&format!("sim/{doc}")).expect("a number is a segment")
}
