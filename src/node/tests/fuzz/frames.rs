//! Mutants of frames that two nodes exchanged: they are read or refused, and a node that hears them lives on.

use bytes::Bytes;

use super::*;
use crate::machine::{Rng, mutate};
use crate::types::Lane;

/// What two nodes that share edits and events said to each other, each frame once.
pub(super) fn traffic() -> Vec<(Lane, Bytes)> {
    let (mut a, mut b) = (Host::on(1, BTreeMap::new(), 1), Host::on(2, BTreeMap::new(), 1));
    for n in 1..20 {
        a.set(n, 2, n).unwrap();
    }
    let mut said = Vec::new();
    link(&mut a, &mut b, 2);
    for at in 3..10 {
        b.set(20 + at, at, at).unwrap_or(documents::Outcome::Page { docs: Vec::new(), more: false });
        append(&mut a, 40 + at, at);
        for _ in 0..16 {
            overhear(&mut a, &mut b, at, &mut said);
            overhear(&mut b, &mut a, at, &mut said);
        }
    }
    said.sort();
    said.dedup();
    said
}

fn append(host: &mut Host, n: u64, at: u64) {
    let command = events::Command::Append {
        stream: events::Name::parse("sensors/roof").unwrap(),
        events: vec![Bytes::from(vec![b'x'; 40]); 5],
    };
    host.handle(at, Input::Command { id: CommandId::new(n), command: Command::Events(command) });
    host.settle(at);
}

fn overhear(from: &mut Host, to: &mut Host, at: u64, said: &mut Vec<(Lane, Bytes)>) {
    from.handle(at, Input::Wake);
    from.settle(at);
    said.extend(from.outgoing.iter().map(|(_, lane, frame)| (*lane, frame.clone())));
    pass(from, to, at);
}

/// A mutant of the frame as it is, or of what it carries: that gets past the compression.
pub(super) fn mutant(rng: &mut Rng, (lane, frame): &(Lane, Bytes), other: &[u8]) -> Bytes {
    if rng.below(3) == 0 {
        return mutate::bytes(rng, frame, other).into();
    }
    let payload = plain(*lane, frame);
    let mutant = mutate::bytes(rng, &payload, other);
    Bytes::from([&frame[..2], &[0][..], &mutant].concat())
}

/// What a frame carries, inflated.
fn plain(lane: Lane, frame: &Bytes) -> Vec<u8> {
    if frame[2] == 0 {
        return frame[3..].to_vec();
    }
    let len = usize::try_from(u32::from_le_bytes(frame[3..7].try_into().unwrap())).unwrap();
    assert!(len <= wire::payload_max(lane));
    zstd::bulk::decompress(&frame[7..], len).unwrap()
}

/// Whether a frame is read; what is read is written and read again as the same.
fn reads(lane: Lane, frame: &[u8]) -> bool {
    fn same<M: bincode::Decode<()> + bincode::Encode + PartialEq + std::fmt::Debug>(
        payload: &wire::Payload<'_>,
    ) -> bool {
        let Ok(message) = payload.decode::<M>() else { return false };
        let again = bincode::encode_to_vec(&message, bincode::config::standard()).unwrap();
        let (read, len) = bincode::decode_from_slice::<M, _>(&again, bincode::config::standard()).unwrap();
        assert!(read == message && len == again.len(), "{message:?}");
        true
    }
    let Ok(Some(payload)) = wire::open(frame, lane) else { return false };
    match payload.kind() {
        Kind::Membership => same::<membership::Message>(&payload),
        Kind::Replication => same::<replication::Message>(&payload),
        Kind::Overlay => same::<overlay::Message>(&payload),
        Kind::Audit => same::<audit::Message>(&payload),
        Kind::Consensus => same::<consensus::Message>(&payload),
        Kind::Roles => same::<roles::Message>(&payload),
    }
}

#[test]
fn every_mutant_of_a_frame_is_read_or_refused() {
    let (traffic, mut rng) = (traffic(), mutate::luck("frames"));
    assert!(traffic.iter().all(|(lane, frame)| reads(*lane, frame)), "what was said is valid");
    let (mut read, mut refused) = (0, 0);
    for _ in 0..mutate::cases(10_000, 500) {
        let (valid, other) = (&traffic[rng.index(traffic.len())], &traffic[rng.index(traffic.len())].1);
        let frame = mutant(&mut rng, valid, other);
        let lane = if rng.below(8) == 0 { [Lane::Control, Lane::Sync][rng.index(2)] } else { valid.0 };
        if reads(lane, &frame) { read += 1 } else { refused += 1 }
    }
    mutate::report("frames", &format!("{read} read, {refused} refused"));
    assert!(read > 100 && refused > 100, "{read} read, {refused} refused");
}

/// A node that hears what a member says that lies or is broken.
pub(super) struct Victim {
    pub(super) host: Host,
}

pub(super) const LIAR: NodeId = NodeId::from_u128(2);

impl Victim {
    /// A node with an edit, linked with a member that is its neighbour.
    pub(super) fn new() -> Self {
        let mut host = Host::on(1, BTreeMap::new(), 1);
        host.set(1, 1, 0).unwrap();
        let mut liar = Host::on(2, BTreeMap::new(), 1);
        link(&mut host, &mut liar, 2);
        converse(&mut host, &mut liar, 2, 4);
        Self { host }
    }

    /// Hears a frame, and does all that follows from it.
    pub(super) fn hear(&mut self, at: u64, lane: Lane, frame: Bytes) {
        self.host.handle(at, Input::Received { from: LIAR, lane, frame });
        self.host.settle(at);
        self.host.outgoing.clear();
        self.host.history.clear();
        if !std::mem::take(&mut self.host.closed).is_empty() {
            // As the driver does: the link is gone, and made again.
            self.host.handle(at, Input::Unlinked { peer: LIAR });
            self.host.settle(at);
            self.host.handle(at, Input::Linked { peer: LIAR });
            self.host.settle(at);
        }
    }

    /// It does its work, what it wrote to its disk is a log, and if it has an honest neighbour left they come to agree. Gives
    /// how many entries it took.
    pub(super) fn check(mut self, at: u64, neighbour: bool) -> u64 {
        self.host.handle(at, Input::Wake);
        self.host.settle(at);
        self.host.set(2, at, 1).unwrap();
        assert_eq!(self.host.value(1_000, at)["field2"], json!(1));
        let status = self.host.node().status(now(at));
        assert!(status.members.len() < 10_000 && status.orphans < 20_000, "{status:?}");
        let mut again = Host::on(1, std::mem::take(&mut self.host.files), at + 1);
        assert!(again.refused.is_none(), "{:?}", again.refused);
        let restarted = again.node().status(now(at + 1));
        assert_eq!((restarted.content, restarted.vector), (status.content, status.vector));
        assert_eq!((restarted.documents, restarted.entries), (status.documents, status.entries));
        if neighbour {
            let mut honest = Host::on(3, BTreeMap::new(), at + 1);
            link(&mut again, &mut honest, at + 1);
            converse(&mut again, &mut honest, at + 1, at + 5);
            let (ours, theirs) = (again.node().status(now(at + 5)), honest.node().status(now(at + 5)));
            assert_eq!((ours.content, ours.vector, ours.entries), (theirs.content, theirs.vector, theirs.entries));
        }
        status.entries
    }
}

#[test]
fn a_node_that_hears_mutants_works_on_and_restarts_as_it_was() {
    let (traffic, mut rng) = (traffic(), mutate::luck("a node"));
    let (cases, mut heard, mut entries) = (mutate::cases(2_000, 50), 0, 0);
    while heard < cases {
        let mut victim = Victim::new();
        for n in 0..200 {
            let (valid, other) = (&traffic[rng.index(traffic.len())], &traffic[rng.index(traffic.len())].1);
            let frame = if rng.below(4) == 0 { valid.1.clone() } else { mutant(&mut rng, valid, other) };
            victim.hear(5 + n / 10, valid.0, frame);
            heard += 1;
        }
        entries += victim.check(30, heard % 1_000 == 0);
    }
    mutate::report("a node", &format!("{heard} heard, {entries} entries taken"));
    assert!(entries > heard as u64 / 100, "{entries} entries");
}
