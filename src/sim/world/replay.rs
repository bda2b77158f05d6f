//! The clients of a replay, each at its peer.

use super::super::check::Violation;
use super::super::host::Asked;
use super::super::replay::Version;
use super::{Due, SECOND, World};
use crate::documents::{self, Listed};
use crate::node::{self, Command, CommandError, Input};
use crate::types::DocId;

/// How long a client waits before it asks again.
const AGAIN: u64 = SECOND / 50;
/// How often it looks whether the peer of which it waits for an answer still lives.
const PATIENCE: u64 = SECOND / 2;
/// How long a peer that is there again is given to hear from others what it wrote itself, should its disk have been put back.
const SETTLES: u64 = 10 * SECOND;

impl World<'_> {
    /// A client will look what it can do.
    pub(super) fn look_at(&mut self, peer: u32, at: u64) {
        let Some(client) = self.replay.clients.get_mut(&peer) else { return };
        client.look += 1;
        let look = client.look;
        self.queue.push(at, self.cause, Due::Replay { peer, look });
    }

    /// A client looks what it can do.
    pub(super) fn look(&mut self, peer: u32, look: u64) {
        let now = self.mesh.now;
        let host = &self.mesh.hosts[peer as usize];
        let (epoch, is_up) = (host.epoch, host.node().is_some());
        let Some(client) = self.replay.clients.get_mut(&peer).filter(|client| client.look == look) else { return };
        if !is_up {
            return self.look_at(peer, now + AGAIN);
        }
        if client.waits == Some(epoch) {
            return self.look_at(peer, now + PATIENCE);
        }
        if client.life.is_none_or(|(life, _)| life != epoch) {
            let is_first = client.life.replace((epoch, now)).is_none();
            client.waits = None;
            if !is_first {
                self.replay.doubt(peer);
            }
        }
        let client = &self.replay.clients[&peer];
        if let Some(doc) = client.doubts.first().cloned() {
            let settled = client.life.map_or(now, |(_, since)| since + SETTLES);
            return if settled > now {
                self.look_at(peer, settled)
            } else {
                self.ask_step(peer, documents::Command::History { doc })
            };
        }
        if client.not_before > now {
            return self.look_at(peer, client.not_before);
        }
        let Some(step) = self.replay.next(peer) else { return };
        // Whoever makes what it waits for wakes it.
        let Some(version) = self.replay.version(step) else { return };
        let says = &self.replay.replay.steps[step];
        let heads = version.iter().map(|head| bytes_of(head)).collect();
        let command = documents::Command::EditAt { doc: says.doc.clone(), edits: says.edits.clone(), heads };
        self.ask_step(peer, command);
    }

    fn ask_step(&mut self, peer: u32, command: documents::Command) {
        let now = self.mesh.now;
        let host = self.host(peer);
        let (id, epoch) = (host.ask(Asked::Step), host.epoch);
        if let Some(client) = self.replay.clients.get_mut(&peer) {
            client.waits = Some(epoch);
        }
        let input = Box::new(Input::Command { id, command: Command::Documents(command) });
        self.queue.push(now + 1, self.cause, Due::Input { host: peer, epoch, input });
        self.look_at(peer, now + PATIENCE);
    }

    /// A peer has answered its client.
    pub(super) fn on_step(&mut self, peer: u32, result: Result<node::Outcome, CommandError>) {
        use documents::{Error, Outcome};
        let (now, id) = (self.mesh.now, self.host(peer).id);
        let pace = u64::try_from(self.replay.replay.pace.as_nanos()).unwrap_or(u64::MAX);
        let next = self.replay.next(peer);
        let Some(client) = self.replay.clients.get_mut(&peer) else { return };
        client.waits = None;
        let doubted = client.doubts.first().cloned();
        match (result, doubted, next) {
            (Ok(node::Outcome::Documents(Outcome::History { doc, changes })), ..) => {
                self.replay.on_history(peer, id, &doc, &changes);
            }
            (Err(CommandError::Documents(Error::NotFound { .. })), Some(doc), _) => {
                self.replay.on_history(peer, id, &doc, &[]);
            }
            (Ok(node::Outcome::Documents(Outcome::Edited { change, .. })), _, Some(step)) => {
                client.not_before = now.saturating_add(pace);
                let version = self.replay.version(step).unwrap_or_default();
                let version = change.map_or(version, |change| Version::from([change]));
                if version.is_empty() {
                    return self.fail_replay(format!("step {step} wrote nothing, on no version"));
                }
                self.replay.on_made(peer, step, version);
                self.figures.replayed += 1;
                self.figures.replayed_ns = Some(now);
            }
            (Err(error), _, Some(step)) => {
                client.refusal = Some(error.to_string());
                match error {
                    CommandError::Documents(Error::Unseen { .. } | Error::Busy { .. }) => {}
                    // It has been done, and this was not known.
                    CommandError::Documents(Error::Outdated { doc }) => _ = client.doubts.insert(doc),
                    CommandError::Documents(error) => return self.fail_replay(format!("step {step}: {error}")),
                    _ => {}
                }
                return self.look_at(peer, now + AGAIN);
            }
            (other, ..) => return self.fail_replay(format!("an answer to no step: {other:?}")),
        }
        let idle = self.replay.clients.iter().filter(|(_, client)| client.waits.is_none());
        for peer in idle.map(|(peer, _)| *peer).collect::<Vec<u32>>() {
            self.look_at(peer, now + 1);
        }
    }

    /// T1, of the steps.
    pub(super) fn replay_is_made(&mut self) {
        if let Some(what) = self.replay.unfinished() {
            self.fail_replay(what);
        }
    }

    /// T1, of what one peer reads.
    pub(super) fn replay_is_read(&mut self, peer: u32, docs: &[Listed]) {
        let read = |doc: &DocId| docs.iter().find(|listed| listed.doc == *doc).and_then(|listed| listed.value.as_ref());
        let wrong = self.replay.replay.end.iter().find(|(doc, value)| read(doc) != Some(*value));
        if let Some((doc, _)) = wrong {
            let what = format!("{doc} does not read at {} as it did in the end", self.sight().name(peer));
            self.fail_replay(what);
        }
    }

    fn fail_replay(&mut self, what: String) {
        self.judge(Err(Violation { check: "T1", what }));
    }
}

/// The hash that a node gave as hex.
fn bytes_of(hex: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    for (byte, digits) in hash.iter_mut().zip(hex.as_bytes().chunks(2)) {
        let digits = digits.iter().filter_map(|digit| char::from(*digit).to_digit(16));
        *byte = digits.fold(0, |byte, digit| byte << 4 | u8::try_from(digit).expect("a digit"));
    }
    hash
}
