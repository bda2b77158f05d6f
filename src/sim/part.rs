//! Parts of a plan: what is left when some of its faults, edits and peers are taken away.
//!
//! Whatever stays keeps the number that it had in the whole plan, and with it the id of its event and its luck. So a run is
//! the same, bit for bit, up to the first moment at which something is missing.

use super::plan::Plan;

/// The start of a peer that never starts.
pub(super) const NEVER: u64 = u64::MAX;

/// One thing that a run does to the mesh, by its place in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Piece {
    Fault(usize),
    Turn(usize),
    Edit(usize),
    Append(usize),
    Proposal(usize),
    /// That this peer is there at all.
    Peer(usize),
}

/// Which part of a whole plan a plan is: the numbers that its pieces had there, and how many there were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) items: Vec<u32>,
    pub(super) turns: Vec<u32>,
    pub(super) edits: Vec<u32>,
    pub(super) appends: Vec<u32>,
    pub(super) proposals: Vec<u32>,
    pub(super) whole: Whole,
}

/// How many pieces the whole plan had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Whole {
    pub(super) faults: u32,
    pub(super) turns: u32,
    pub(super) edits: u32,
    pub(super) appends: u32,
    #[serde(default)]
    pub(super) proposals: u32,
}

impl Plan {
    /// How many pieces the whole plan has, of which this may be a part.
    pub(super) fn whole(&self) -> Whole {
        let count = |len: usize| u32::try_from(len).expect("a plan is bounded");
        self.part.as_ref().map_or_else(
            || Whole {
                faults: count(self.items.len()),
                turns: count(self.turns.len()),
                edits: count(self.edits.len()),
                appends: count(self.appends.len()),
                proposals: count(self.proposals.len()),
            },
            |part| part.whole,
        )
    }

    /// The number that a piece has in the whole plan.
    pub(super) fn number_of(&self, piece: Piece) -> u64 {
        let numbered = |numbers: fn(&Part) -> &[u32], at: usize| {
            self.part.as_ref().map_or(at as u64, |part| u64::from(numbers(part)[at]))
        };
        match piece {
            Piece::Fault(at) => numbered(|part| &part.items, at),
            Piece::Turn(at) => numbered(|part| &part.turns, at),
            Piece::Edit(at) => numbered(|part| &part.edits, at),
            Piece::Append(at) => numbered(|part| &part.appends, at),
            Piece::Proposal(at) => numbered(|part| &part.proposals, at),
            Piece::Peer(at) => at as u64,
        }
    }

    /// The id of a piece's event. A fault has two: the image that it may need is taken under the next one.
    pub(super) fn id_of(&self, piece: Piece) -> u64 {
        let (whole, number) = (self.whole(), self.number_of(piece));
        let [peers, faults, turns, edits, appends] = [
            self.starts.len() as u64,
            2 * u64::from(whole.faults),
            whole.turns.into(),
            whole.edits.into(),
            whole.appends.into(),
        ];
        1 + match piece {
            Piece::Peer(_) => number,
            Piece::Fault(_) => peers + 2 * number,
            Piece::Turn(_) => peers + faults + number,
            Piece::Edit(_) => peers + faults + turns + number,
            Piece::Append(_) => peers + faults + turns + edits + number,
            Piece::Proposal(_) => peers + faults + turns + edits + appends + number,
        }
    }

    /// How many ids its pieces have together.
    pub(super) fn ids(&self) -> u64 {
        let Whole { faults, turns, edits, appends, proposals } = self.whole();
        let pieces = [2 * u64::from(faults), turns.into(), edits.into(), appends.into(), proposals.into()];
        self.starts.len() as u64 + pieces.iter().sum::<u64>()
    }

    /// All pieces, in the order in which they are best taken away.
    pub(super) fn pieces(&self) -> Vec<Piece> {
        let peers = (0..self.starts.len()).filter(|at| self.starts[*at] != NEVER).map(Piece::Peer);
        (0..self.items.len())
            .map(Piece::Fault)
            .chain((0..self.turns.len()).map(Piece::Turn))
            .chain((0..self.edits.len()).map(Piece::Edit))
            .chain((0..self.appends.len()).map(Piece::Append))
            .chain((0..self.proposals.len()).map(Piece::Proposal))
            .chain(peers)
            .collect()
    }

    /// The part that has these pieces. A peer that is not kept never starts: its machine stays dark, as after a permanent
    /// fault, so whatever must hold must hold then too.
    pub(super) fn keep(&self, kept: &[Piece]) -> Self {
        let mut kept = kept.to_vec();
        kept.sort_unstable();
        let mut plan = Self { starts: vec![NEVER; self.starts.len()], core: self.core.clone(), ..Self::default() };
        let mut part = Part { whole: self.whole(), ..Part::default() };
        for piece in kept {
            let number = u32::try_from(self.number_of(piece)).expect("a plan is bounded");
            match piece {
                Piece::Fault(at) => {
                    plan.items.push(self.items[at].clone());
                    part.items.push(number);
                }
                Piece::Turn(at) => {
                    plan.turns.push(self.turns[at].clone());
                    part.turns.push(number);
                }
                Piece::Edit(at) => {
                    plan.edits.push(self.edits[at].clone());
                    part.edits.push(number);
                }
                Piece::Append(at) => {
                    plan.appends.push(self.appends[at].clone());
                    part.appends.push(number);
                }
                Piece::Proposal(at) => {
                    plan.proposals.push(self.proposals[at].clone());
                    part.proposals.push(number);
                }
                Piece::Peer(at) => plan.starts[at] = self.starts[at],
            }
        }
        plan.part = Some(part);
        plan
    }

    /// When a piece happens.
    pub(super) fn at(&self, piece: Piece) -> u64 {
        match piece {
            Piece::Fault(at) => self.items[at].image_at().unwrap_or(self.items[at].at),
            Piece::Turn(at) => self.turns[at].at,
            Piece::Edit(at) => self.edits[at].at,
            Piece::Append(at) => self.appends[at].at,
            Piece::Proposal(at) => self.proposals[at].at,
            Piece::Peer(at) => self.starts[at],
        }
    }
}
