//! Messages of the right form that no correct member sends: numbers at their ends, places that do not exist, logs of others
//! and of the hearer itself, entries whose changes were tampered with and whose checksums fit.

use bincode::{Decode, Encode};
use bytes::Bytes;

use super::frames::Victim;
use super::*;
use crate::machine::{Rng, mutate};
use crate::membership::{Described, Reach, State, Update, Updates};
use crate::replication::{Batch, Chunk, Entry, Graft, Have, Held, Hold, Line, Mark, Marks, Message, Name, Run, Short};
use crate::types::{Boot, Digest, Hlc, Incarnation, Lane, LogId, Range, Seq, Topic};

const CONFIG: bincode::config::Configuration = bincode::config::standard();

/// The same bytes as another type: of those that have no constructor for others.
fn as_other<T: Decode<()>>(value: &impl Encode) -> T {
    bincode::decode_from_slice(&bincode::encode_to_vec(value, CONFIG).unwrap(), CONFIG).unwrap().0
}

/// What a liar knows of the mesh, and how it lies.
struct Liar {
    rng: Rng,
    /// Whether it also lies about members: then it is soon nobody's neighbour any more.
    slanders: bool,
    /// What the victim holds, and its hash chain there.
    held: BTreeMap<LogId, (Seq, Digest)>,
    logs: Vec<LogId>,
    /// Bodies of entries that are good, each of the log at its place.
    bodies: Vec<(LogId, Bytes)>,
}

impl Liar {
    fn new(victim: &mut Victim, rng: Rng, slanders: bool) -> Self {
        let own = victim.host.node().actor();
        let mut writer = Host::on(2, BTreeMap::new(), 1);
        let mut bodies = Vec::new();
        for n in 1..6 {
            writer.set(n, 2, n).unwrap();
        }
        for event in &writer.told {
            if let Event::Replication(replication::Event::Originated { log, body, .. }) = event {
                bodies.push((*log, body.clone()));
            }
        }
        assert_eq!(bodies.len(), 5);
        let stranger = Actor { node: id(77), mint: Mint::new(5) };
        let logs = [own, writer.node().actor(), Actor { mint: Mint::new(9), ..own }, stranger];
        let topics = [Topic::DOCUMENTS, Topic::EVENTS, Topic::new(9)];
        let logs = logs.iter().flat_map(|actor| topics.map(|topic| LogId { actor: *actor, topic })).collect();
        Self { rng, slanders, held: BTreeMap::new(), logs, bodies }
    }

    /// Looks at what the victim holds: a liar can ask for it.
    fn learn(&mut self, victim: &mut Victim) {
        let view = victim.host.node().replication();
        let held = view.vector();
        let line = |(log, seq)| view.tip(log).map(|tip| (log, (seq, tip)));
        self.held = held.iter().filter_map(line).collect();
    }

    fn number(&mut self) -> u64 {
        if self.rng.below(2) == 0 { self.rng.below(8) } else { mutate::interesting(&mut self.rng) }
    }

    fn small(&mut self) -> u32 {
        u32::try_from(self.number() & 0xffff_ffff).unwrap()
    }

    fn log(&mut self) -> LogId {
        let log = self.logs[self.rng.index(self.logs.len())];
        if self.rng.below(4) > 0 {
            return log;
        }
        LogId { actor: Actor { mint: Mint::new(self.rng.below(400)), ..log.actor }, ..log }
    }

    fn node(&mut self) -> NodeId {
        id([1, 2, 2, 3, 77, u128::from(self.rng.below(1_000))][self.rng.index(6)])
    }

    fn name(&mut self) -> Name {
        if self.rng.below(3) > 0 { Name::Id(self.log()) } else { Name::Tag(self.short()) }
    }

    fn short(&mut self) -> Short {
        as_other(&[u8::try_from(self.rng.below(3)).unwrap(); 4])
    }

    fn list<T>(&mut self, most: u64, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let len = if self.rng.below(50) == 0 { most } else { self.rng.below(4) };
        (0..len).map(|_| one(self)).collect()
    }

    fn hlc(&mut self) -> Hlc {
        let wall = WallTime::from_micros(if self.rng.below(8) > 0 { 1_000_002_000_000 } else { self.number() });
        Hlc { wall, logical: u32::try_from(self.rng.below(3)).unwrap() }
    }

    fn entry(&mut self) -> Entry {
        let (_, good) = self.bodies[self.rng.index(self.bodies.len())].clone();
        let body = match self.rng.below(4) {
            0 => good,
            1 => mutate::bytes(&mut self.rng, &good, &[]).into(),
            _ => documents::tampered(&good, |change| mutate::bytes(&mut self.rng, change, &[])),
        };
        Entry { hlc: self.hlc(), body }
    }

    fn batch(&mut self) -> Batch {
        let run = |liar: &mut Self| {
            let log = if liar.rng.below(2) == 0 { liar.bodies[0].0 } else { liar.log() };
            let root = Digest::ZERO.chain(&[&log.actor.to_bytes()[..], &log.topic.value().to_be_bytes()].concat());
            let (last, chain) = liar.held.get(&log).copied().unwrap_or((Seq::ZERO, root));
            let [.., a, b, c, d] = chain.value().to_be_bytes();
            let (first, before) = (last.next(), as_other(&[a, b, c, d]));
            // Most go on where the victim's log ends; those change what it holds.
            match liar.rng.below(30) {
                0 => Run {
                    log: liar.name(),
                    first: Seq::new(liar.number()),
                    before,
                    entries: liar.list(20, Self::entry),
                },
                1 => Run { log: Name::Id(log), first, before: liar.short(), entries: liar.list(20, Self::entry) },
                2 => Run { log: Name::Id(log), first: Seq::new(1), before, entries: liar.list(20, Self::entry) },
                _ => Run { log: Name::Id(log), first, before, entries: vec![liar.entry()] },
            }
        };
        let runs = if self.rng.below(8) == 0 { self.list(5, run) } else { vec![run(self)] };
        Batch { number: self.number(), runs }
    }

    fn line(&mut self) -> Line {
        Line { log: self.log(), last: Seq::new(self.number()), chain: Digest::new(self.number()) }
    }

    fn replication(&mut self) -> Message {
        match self.rng.below(22) {
            15 => Message::Tell(self.list(300, Self::node)),
            16 => Message::Equal { digest: Digest::new(self.number()), members: self.list(300, Self::short) },
            17 => Message::Paused,
            18 => Message::Watch(self.list(300, Self::name)),
            19 => Message::Part { number: self.number() },
            20 => Message::Held(self.list(20, |liar| Held {
                member: liar.node(),
                boot: Boot::new(liar.number()),
                age_ms: liar.number(),
                lines: liar.list(300, |liar| Hold {
                    log: liar.name(),
                    last: Seq::new(liar.number()),
                    chain: liar.short(),
                }),
            })),
            0..3 => Message::Push(self.batch()),
            3..5 => Message::Fill(self.batch()),
            5 => Message::Backlog(self.batch()),
            6 => Message::Ack { number: self.number() },
            7 => Message::Have(self.list(1_001, |liar| Have { log: liar.name(), last: Seq::new(liar.number()) })),
            8 => Message::Offer(self.list(1_001, |liar| Have { log: liar.name(), last: Seq::new(liar.number()) })),
            9 => Message::Want(self.list(257, |liar| {
                let log = liar.log();
                Range { log, first: Seq::new(liar.number()), last: Seq::new(liar.number()) }
            })),
            10 => Message::Graft(self.list(1_001, |liar| Graft { log: liar.log(), after: Seq::new(liar.number()) })),
            11 => Message::Prune(self.list(1_001, Self::log)),
            12 => Message::Digest(Digest::new(self.number())),
            13 => {
                let mut lines = self.list(1_001, Self::line);
                lines.sort_unstable_by_key(|line| line.log);
                lines.dedup_by_key(|line| line.log);
                let bound = |liar: &mut Self| (liar.rng.below(4) == 0).then(|| liar.log());
                let (after, upto) = (bound(self), bound(self));
                Message::Vector(Chunk { after, upto, lines, answer: self.rng.below(2) == 0 })
            }
            14 => {
                let log = self.log();
                let mut marks =
                    self.list(65, |liar| Mark { seq: Seq::new(liar.number()), chain: Digest::new(liar.number()) });
                marks.sort_unstable_by_key(|mark| mark.seq);
                marks.dedup_by_key(|mark| mark.seq);
                Message::Marks(Marks { log, marks })
            }
            _ => Message::Trimmed(self.line()),
        }
    }

    fn updates(&mut self) -> Updates {
        let update = |liar: &mut Self| Update {
            id: liar.node(),
            boot: Boot::new(liar.number()),
            incarnation: Incarnation::new(liar.small()),
            state: [State::Alive, State::Suspect, State::Dead, State::Left][liar.rng.index(4)],
            accusers: liar.node().into(),
            meta: (liar.rng.below(2) == 0).then(|| Described {
                boot: Boot::new(liar.number()),
                incarnation: Incarnation::new(liar.small()),
                meta: Arc::new(Meta { name: "n".repeat(liar.rng.index(600)), ..Meta::default() }),
            }),
            age_s: liar.small(),
        };
        as_other(&self.list(40, update))
    }

    fn membership(&mut self) -> membership::Message {
        use membership::Message as M;
        let (probe, digest) = (u16::try_from(self.rng.below(1 << 16)).unwrap(), Digest::new(self.number()));
        match self.rng.below(10) {
            0 => M::Ping { probe, digest, gossip: self.updates() },
            1 => M::Ack { probe, digest, gossip: self.updates() },
            2 => M::PingReq { probe, target: self.node(), gossip: self.updates() },
            3 => M::Vouch { probe },
            4 => M::Nack { probe, reach: [Reach::Unlinked, Reach::Lost, Reach::Silent][self.rng.index(3)] },
            5 => M::Gossip { gossip: self.updates() },
            6 => M::State { rows: self.updates(), ask: self.rng.below(2) == 0 },
            7 => M::Buckets { sums: Box::new([self.number(); 64]) },
            8 => M::Diff { buckets: self.number(), rows: self.updates(), ask: self.rng.below(2) == 0 },
            _ => M::Parting,
        }
    }

    fn audit(&mut self) -> audit::Message {
        use audit::{Leaves, Message as M, Sums};
        let prefix = |liar: &mut Self| as_other(&(liar.number(), u8::try_from(liar.rng.below(16)).unwrap()));
        let vector = Digest::new(self.number());
        match self.rng.below(4) {
            0 => M::Begin { vector, content: Digest::new(self.number()) },
            1 => [M::Same, M::Later][self.rng.index(2)].clone(),
            2 => M::Sums {
                vector,
                about: self.list(33, |liar| Sums { prefix: prefix(liar), sums: [liar.number(); 16] }),
            },
            _ => {
                let leaves = |liar: &mut Self| liar.list(33, |liar| (liar.number(), liar.number()));
                let about = self.list(33, |liar| Leaves { prefix: prefix(liar), leaves: leaves(liar) });
                M::Leaves { vector, about, answer: self.rng.below(2) == 0 }
            }
        }
    }

    fn frame(&mut self) -> (Lane, Bytes) {
        match self.rng.below(17) {
            16 => (Lane::Control, wire::seal(Kind::Audit, Lane::Control, &self.audit())),
            0 => {
                let digest =
                    overlay::Message::Policies { digest: Digest::new(self.rng.bits()), asks: self.rng.below(2) == 0 };
                let number = [self.rng.below(4), self.rng.bits()][self.rng.index(2)];
                let heard = overlay::Message::Heard { number };
                let wish = overlay::Message::Wish { number, holds: self.rng.below(2) == 0 };
                let message = [wish, heard, digest][self.rng.index(3)].clone();
                (Lane::Control, wire::seal(Kind::Overlay, Lane::Control, &message))
            }
            1..5 if self.slanders => (Lane::Control, wire::seal(Kind::Membership, Lane::Control, &self.membership())),
            _ => {
                let message = self.replication();
                let lane = <Replication as crate::machine::Machine>::lane(&message);
                (lane, wire::seal(Kind::Replication, lane, &message))
            }
        }
    }
}

#[test]
fn a_node_that_hears_a_liar_works_on_and_restarts_as_it_was() {
    let (cases, mut heard, mut entries) = (mutate::cases(3_000, 50), 0, 0);
    let mut rng = mutate::luck("a liar");
    while heard < cases {
        let mut victim = Victim::new();
        let mut liar = Liar::new(&mut victim, rng.clone(), heard % 600 == 0);
        for n in 0..200 {
            liar.learn(&mut victim);
            let (lane, frame) = liar.frame();
            victim.hear(5 + n / 10, lane, frame);
            heard += 1;
        }
        entries += victim.check(30, heard % 1_000 == 0);
        rng = liar.rng;
    }
    mutate::report("a liar", &format!("{heard} heard, {entries} entries taken"));
    assert!(entries > heard as u64 / 20, "{entries} entries");
}
