//! What is wrong with a peer for a while, where it shows: in what it sends, and in how its disk answers.

use bytes::Bytes;

use super::super::garble::{garbled, unknown};
use super::super::net::{Fate, Frame};
use super::super::plan::Fault;
use super::super::witness::Seen;
use super::{Due, World};
use crate::node::Input;
use crate::types::Lane;

impl World<'_> {
    /// A frame of a peer with whom something is wrong: it may say something else, and there may be more.
    pub(super) fn missend(&mut self, place: u32, to: u32, lane: Lane, frame: Bytes, at: u64) {
        let way = u64::from(place) << 32 | u64::from(to);
        let meant = frame.clone();
        let host = &self.mesh.hosts[place as usize];
        let frame = garbled(self.draws.garble, way, at, host.garble(), frame);
        let often = if host.is_next { host.next_frames } else { 0 };
        let more = unknown(self.draws.version, way, at, often, &meant);
        if frame != meant {
            self.acted_at(place, |fault| matches!(fault, Fault::Garble { .. }));
        }
        if let Some(more) = more {
            self.acted_at(place, |fault| matches!(fault, Fault::NextVersion { .. }));
            self.send(place, to, lane, more, at);
        }
        self.send(place, to, lane, frame, at);
    }

    pub(super) fn send(&mut self, place: u32, to: u32, lane: Lane, frame: Bytes, at: u64) {
        let bytes = frame.clone();
        let (fate, frame) = self.mesh.net.send(at, place, to, lane, frame);
        self.seen(place, &Seen::Sent { to, lane, fate: &fate, frame: &bytes });
        if let Some(frame) = frame {
            self.send_frame(fate, frame);
        }
    }

    /// What becomes of a frame is known: it will happen.
    pub(super) fn send_frame(&mut self, fate: Fate, frame: Frame) {
        if let Some(at) = fate.breaks {
            return self.break_link(frame.from, frame.to, frame.conn, at);
        }
        if let Some(again) = fate.again {
            let twin = Frame { bytes: frame.bytes.clone(), ..frame };
            self.queue.push(again, self.cause, Due::Frame(twin));
        }
        if let Some(arrives) = fate.arrives {
            self.queue.push(arrives, self.cause, Due::Frame(frame));
        }
    }

    /// What is wrong with a peer showed.
    pub(super) fn acted_at(&mut self, place: u32, is: impl Fn(&Fault) -> bool) {
        let wrongs = &self.mesh.hosts[place as usize].wrongs;
        self.acted.extend(wrongs.iter().filter(|(_, fault)| is(fault)).map(|(item, _)| *item));
    }

    /// How many times slower than usual a disk is.
    pub(super) fn slow_disk(&mut self, place: u32) -> u64 {
        let slowness = self.host(place).disk_slowness();
        if slowness > 1 {
            self.acted_at(place, |fault| matches!(fault, Fault::SlowDisk { .. }));
        }
        slowness
    }

    /// Whether no operation of this disk ends now.
    pub(super) fn stalls(&mut self, place: u32) -> bool {
        let stalls = self.host(place).wrong(|fault| matches!(fault, Fault::StallDisk { .. }));
        self.acted.extend(stalls);
        stalls.is_some()
    }

    /// What a stall held back is done now, unless another one lasts.
    pub(super) fn end_stall(&mut self, place: u32) {
        if self.stalls(place) {
            return;
        }
        let (now, host) = (self.mesh.now, self.host(place));
        let (synced, io, epoch) =
            (std::mem::take(&mut host.stalled_sync), std::mem::take(&mut host.stalled_io), host.epoch);
        for (id, result) in io {
            self.later(place, now, Input::IoDone { id, result });
        }
        if synced {
            self.synced(place, epoch);
        }
    }
}
