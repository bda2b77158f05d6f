//! How far every other member is known to hold each log: the table, and lag as it follows from it. A *replica* is another member
//! as this node sees it.
//!
//! What counts is what is certain: the member took the entries and its disk has them, in the branch that is held here. So a
//! cell is never raised by a mere announcement. What is not known to be there is lag, and each row says as of when it is known.
//!
//! **Bounds:** rows of members only; [`CELLS_MAX`] cells over all of them, and [`UNHELD_MAX`] of these of logs of which nothing is
//! held here: what is said of those costs nothing to say and cannot be checked. What finds no room is lag until it is told again.

use std::collections::BTreeSet;
use std::time::Duration;

use super::knowledge::short;
use super::log::{Log, Logs};
use super::message::Short;
use crate::types::{Boot, Digest, NodeId, Time};

/// Most cells, some 40 bytes each, empty ones included: 512 members with 512 logs.
pub(super) const CELLS_MAX: usize = 1 << 18;
/// Cells that are made at a time.
const BLOCK: usize = 16;
/// Most of them of logs of which nothing is held here.
pub(super) const UNHELD_MAX: usize = CELLS_MAX / 4;
/// What is known of a member that is older than this is no excuse: its lag is counted up to now.
pub(super) const STALE: Duration = Duration::from_secs(600);
/// A replica that is behind by no more than this is active: what it lacks is under way.
pub(super) const ACTIVE_WITHIN: Duration = Duration::from_secs(5);
/// Entries of a log whose lengths are looked up; what more is missing is estimated from these.
const WEIGHED_MAX: u64 = 1_024;

/// One log as one member holds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    /// Everything up to here is durable there.
    pub(super) seq: u64,
    /// The chain there.
    pub(super) chain: Short,
    /// The number of the change that brought it.
    pub(super) stamp: u64,
    /// Who told: the member itself, or a neighbour between.
    pub(super) from: NodeId,
}

impl Cell {
    /// Nothing is known.
    fn none() -> Self {
        Self { seq: 0, chain: Short::default(), stamp: 0, from: NodeId::from_u128(0) }
    }
}

/// The cells of a row, each at the place of its log: one is looked up for each log that is heard of. They stand in blocks that
/// are made as they are needed, so that who holds one log with a high place costs a block, and not all places below.
#[derive(Debug, Default)]
struct Cells(Vec<Vec<Cell>>);

impl Cells {
    fn get(&self, at: usize) -> Option<&Cell> {
        self.0.get(at / BLOCK)?.get(at % BLOCK).filter(|cell| cell.seq > 0)
    }

    fn get_mut(&mut self, at: usize) -> Option<&mut Cell> {
        self.0.get_mut(at / BLOCK)?.get_mut(at % BLOCK).filter(|cell| cell.seq > 0)
    }

    /// Says how many places were made for it.
    fn insert(&mut self, at: usize, cell: Cell) -> usize {
        if self.0.len() <= at / BLOCK {
            self.0.resize_with(at / BLOCK + 1, Vec::new);
        }
        let block = &mut self.0[at / BLOCK];
        let made = BLOCK - block.len();
        block.resize(BLOCK, Cell::none());
        block[at % BLOCK] = cell;
        made
    }

    /// Whether there is a place for it already.
    fn has_place(&self, at: usize) -> bool {
        self.0.get(at / BLOCK).is_some_and(|block| !block.is_empty())
    }

    /// Gives back the blocks that hold nothing any more.
    fn shrink(&mut self) {
        let is_bare = |block: &&mut Vec<Cell>| block.iter().all(|cell| cell.seq == 0);
        self.0.iter_mut().filter(is_bare).for_each(|block| *block = Vec::new());
    }

    /// Says whether there was one.
    fn remove(&mut self, at: usize) -> bool {
        self.get_mut(at).map(|cell| *cell = Cell::none()).is_some()
    }

    /// How many places there are.
    fn places(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// With the places of their logs, in order.
    fn iter(&self) -> impl Iterator<Item = (usize, &Cell)> {
        let blocks = self.0.iter().enumerate();
        blocks.flat_map(|(block, cells)| (block * BLOCK..).zip(cells)).filter(|(_, cell)| cell.seq > 0)
    }
}

/// What one member holds.
#[derive(Debug)]
pub(super) struct Row {
    /// In which life of it.
    pub(super) boot: Boot,
    /// What that life is called in messages.
    pub(super) name: Short,
    /// It is alive, or only suspected.
    pub(super) present: bool,
    /// Since when this life of it is known.
    since: Time,
    cells: Cells,
    /// The digest of all that was held here when it was last found to hold all of that; none since its cells have changed.
    all_of: Option<Digest>,
    /// It was found to hold all logs as they stood here after this change, but for the unsure ones.
    covered: u64,
    /// Logs whose cells have risen since, and those of which it holds more than was held here.
    unsure: BTreeSet<usize>,
    /// Of its newest cell.
    pub(super) stamp: u64,
    /// As of when this is known, on our clock.
    pub(super) as_of: Time,
    /// Somebody compared with it in this life.
    pub(super) compared: bool,
    /// When it was last known to hold more than before.
    pub(super) replicated_at: Option<Time>,
    /// When its lag was told as too large, until it recovers by knowledge that is newer.
    pub(super) lagging: Option<Time>,
}

impl Row {
    pub(super) fn cell(&self, at: usize) -> Option<Cell> {
        self.cells.get(at).copied()
    }

    pub(super) fn seq(&self, at: usize) -> u64 {
        self.cell(at).map_or(0, |cell| cell.seq)
    }

    /// Whether the member holds this log up to `seq`, in the branch that is held here: what is not held here cannot be checked.
    pub(super) fn holds(&self, at: usize, log: &Log, seq: u64) -> bool {
        let cell = self.cell(at).filter(|cell| cell.seq >= seq);
        cell.is_some_and(|cell| log.chain_at(cell.seq).map(Short::of) == Some(cell.chain))
    }

    /// The logs that it may not hold as far as they are held here, each once, in no order: of all others it is known to.
    fn doubtful<'a>(&'a self, logs: &'a Logs) -> impl Iterator<Item = usize> + 'a {
        let unchanged = |at: &usize| logs.changed_at(*at) <= self.covered;
        logs.changed_since(self.covered).chain(self.unsure.iter().copied().filter(unchanged))
    }

    /// The same in order of their places.
    pub(super) fn in_question(&self, logs: &Logs) -> Vec<usize> {
        if self.covered == logs.changes() && self.unsure.is_empty() {
            return Vec::new();
        }
        // Mostly it is one log, or two.
        let mut places = Vec::with_capacity(4);
        places.extend(self.doubtful(logs));
        places.sort_unstable();
        places
    }

    /// Whether it holds all of this log that is held here.
    pub(super) fn holds_all(&self, at: usize, log: &Log) -> bool {
        log.durable() == 0 || self.holds(at, log, log.durable())
    }

    /// Whether the member holds all that is held here.
    pub(super) fn covers(&self, logs: &Logs, member: NodeId) -> bool {
        self.doubtful(logs).all(|at| logs.get(at).id.actor.node == member || self.holds_all(at, logs.get(at)))
    }

    /// Whether it was found to hold all that is held here, which has this digest, and its own logs too as far.
    pub(super) fn is_known_to_hold(&self, digest: Digest) -> bool {
        self.all_of == Some(digest)
    }

    /// Whether it is known to hold what was held here when that was last looked at, and to hold no more.
    pub(super) fn has_no_more(&self) -> bool {
        self.all_of.is_some() && self.unsure.is_empty()
    }

    /// Looks whether it holds all that is held here, which has this digest.
    pub(super) fn note_all(&mut self, logs: &Logs, digest: Digest) {
        let all = self.doubtful(logs).all(|at| self.holds_all(at, logs.get(at)));
        self.all_of = None;
        if all {
            self.note_known(logs, digest);
        }
    }

    /// It holds all that is held here, which has this digest.
    fn note_known(&mut self, logs: &Logs, digest: Digest) {
        (self.all_of, self.covered) = (Some(digest), logs.changes());
        if self.unsure.is_empty() {
            return;
        }
        let cells = &self.cells;
        self.unsure.retain(|at| cells.get(*at).is_some_and(|cell| cell.seq > logs.get(*at).durable()));
    }

    /// Nothing is known of this log any more.
    fn forget(&mut self, at: usize) {
        self.all_of = None;
        if self.cells.remove(at) {
            self.covered = 0;
            self.unsure.remove(&at);
        }
    }

    /// The cells that changed after this change, with their logs.
    pub(super) fn since(&self, stamp: u64) -> impl Iterator<Item = (usize, Cell)> + '_ {
        self.cells.iter().filter(move |(_, cell)| cell.stamp > stamp).map(|(at, cell)| (at, *cell))
    }
}

/// The logs in question of the member that was looked at last.
#[derive(Debug, Default)]
pub(super) struct InQuestion {
    /// Of whom all logs were known up to this change, none of them unsure.
    covered: Option<u64>,
    places: Vec<usize>,
}

impl InQuestion {
    /// Those of this row, in order of their places. No log may have changed since the last question.
    fn of(&mut self, row: &Row, logs: &Logs) -> &[usize] {
        let covered = row.unsure.is_empty().then_some(row.covered);
        if covered.is_none() || covered != self.covered {
            (self.covered, self.places) = (covered, row.in_question(logs));
        }
        &self.places
    }
}

/// What is held here and not known to be held by a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Lag {
    /// In changes: entries of origin logs.
    pub changes: u64,
    /// In bytes of the log. Exact up to 1,024 entries of a log; of what is beyond, estimated from these.
    pub bytes: u64,
    /// In time: for how long the oldest of them has been held here while the replica was known in its present life, in
    /// milliseconds.
    pub lag_ms: u64,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Replicas {
    /// The members in order, and the row of each: they are looked up for all that is heard of them, and change seldom.
    ids: Vec<NodeId>,
    rows: Vec<Row>,
    /// Who is called what in messages, by name: the place of its row.
    names: Vec<(u32, usize)>,
    stamp: u64,
    /// Places for cells, over all rows.
    cells: usize,
    /// The cells of logs of which nothing is held here.
    unheld: BTreeSet<(usize, NodeId)>,
    /// Places that were made for these since there were none.
    unheld_places: usize,
}

impl Replicas {
    pub(super) fn row(&self, member: NodeId) -> Option<&Row> {
        self.ids.binary_search(&member).ok().map(|place| &self.rows[place])
    }

    pub(super) fn row_mut(&mut self, member: NodeId) -> Option<&mut Row> {
        self.ids.binary_search(&member).ok().map(|place| &mut self.rows[place])
    }

    /// Of the newest change of any row.
    pub(super) const fn stamp(&self) -> u64 {
        self.stamp
    }

    /// Where this member stands. It holds until members change.
    pub(super) fn place(&self, member: NodeId) -> Option<usize> {
        self.ids.binary_search(&member).ok()
    }

    /// The places of the members with one of these names, in order. They hold until members change.
    pub(super) fn named(&self, names: &[Short]) -> Vec<usize> {
        let mut places: Vec<usize> = Vec::with_capacity(names.len());
        for name in names {
            let name = name.number();
            let from = self.names.partition_point(|(other, _)| *other < name);
            let same = self.names[from..].iter().take_while(|(other, _)| *other == name);
            places.extend(same.map(|(_, place)| *place));
        }
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Who stands at a place, and its row.
    pub(super) fn at(&self, place: usize) -> (NodeId, &Row) {
        (self.ids[place], &self.rows[place])
    }

    /// The row at a place.
    pub(super) fn at_mut(&mut self, place: usize) -> &mut Row {
        &mut self.rows[place]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeId, &Row)> {
        self.ids.iter().copied().zip(&self.rows)
    }

    /// The same with their places.
    pub(super) fn placed(&self) -> impl DoubleEndedIterator<Item = (usize, NodeId, &Row)> + Clone {
        self.ids.iter().zip(&self.rows).enumerate().map(|(place, (id, row))| (place, *id, row))
    }

    /// The same from this member on, and then those before it.
    pub(super) fn from(&self, first: Option<NodeId>) -> impl Iterator<Item = (usize, NodeId, &Row)> {
        let split = first.map_or(0, |first| self.ids.partition_point(|id| *id < first));
        self.placed().skip(split).chain(self.placed().take(split))
    }

    /// How many members there are.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// These are the members, with their lives and whether they are there. What is known of an earlier life is void: its
    /// store may have been wiped or put back. If they are others than before: at each place, who stood where before.
    pub(super) fn set_members(
        &mut self,
        now: Time,
        members: impl Iterator<Item = (NodeId, Boot, bool)>,
    ) -> Option<Vec<Option<usize>>> {
        let mut members: Vec<(NodeId, Boot, bool)> = members.collect();
        members.sort_unstable_by_key(|(id, ..)| *id);
        members.dedup_by_key(|(id, ..)| *id);
        let lives = self.ids.iter().copied().zip(self.rows.iter().map(|row| row.boot));
        if lives.eq(members.iter().map(|(id, boot, _)| (*id, *boot))) {
            self.rows.iter_mut().zip(members).for_each(|(row, (.., present))| row.present = present);
            return None;
        }
        let (ids, rows) = (std::mem::take(&mut self.ids), std::mem::take(&mut self.rows));
        let mut before = ids.into_iter().zip(rows).enumerate().peekable();
        let mut moved = Vec::with_capacity(members.len());
        self.ids.reserve_exact(members.len());
        self.rows.reserve_exact(members.len());
        for (id, boot, present) in members {
            while before.next_if(|(_, (other, _))| *other < id).is_some() {}
            let same = before.next_if(|(_, (other, _))| *other == id);
            moved.push(same.as_ref().map(|(place, _)| *place));
            let same = same.map(|(_, (_, row))| row).filter(|row| row.boot == boot);
            self.ids.push(id);
            self.rows.push(same.map_or_else(|| Row::new(id, boot, present, now), |row| Row { present, ..row }));
        }
        self.names.clear();
        self.names.extend(self.rows.iter().zip(0..).map(|(row, place)| (row.name.number(), place)));
        self.names.sort_unstable();
        self.rows.iter_mut().for_each(|row| row.cells.shrink());
        self.cells = self.rows.iter().map(|row| row.cells.places()).sum();
        let (ids, rows) = (&self.ids, &self.rows);
        let row = |member: &NodeId| ids.binary_search(member).ok().map(|place| &rows[place]);
        self.unheld.retain(|(at, member)| row(member).is_some_and(|row| row.cell(*at).is_some()));
        Some(moved)
    }

    /// The member holds this log up to `seq`, where the chain is so; `held` if something of the log is held here. Says whether
    /// that is news.
    pub(super) fn raise(
        &mut self,
        member: NodeId,
        at: usize,
        (seq, chain): (u64, Short),
        from: NodeId,
        now: Time,
        held: bool,
    ) -> bool {
        let Ok(place) = self.ids.binary_search(&member) else { return false };
        let row = &mut self.rows[place];
        let before = row.cell(at);
        if before.is_some_and(|cell| cell.seq >= seq) || seq == 0 {
            return false;
        }
        if before.is_none() {
            let made = if row.cells.has_place(at) { 0 } else { BLOCK };
            if self.unheld.is_empty() {
                self.unheld_places = 0;
            }
            // A log that nobody has costs what its place costs: names that are made up lie as far apart as they like.
            let is_too_far = !held && (self.unheld.len() >= UNHELD_MAX || self.unheld_places + made > UNHELD_MAX);
            if self.cells + made > CELLS_MAX || is_too_far {
                return false;
            }
            if !held {
                self.unheld.insert((at, member));
                self.unheld_places += made;
            }
        }
        self.stamp += 1;
        self.cells += row.cells.insert(at, Cell { seq, chain, stamp: self.stamp, from });
        (row.all_of, _) = (None, row.unsure.insert(at));
        row.stamp = self.stamp;
        (row.replicated_at, row.compared) = (Some(now), true);
        true
    }

    /// The member at this place holds all that is held here, which has this digest. Gives the logs of which that is news, in order.
    /// What is `in_question` is kept there for whoever is named next: it is the same for most.
    pub(super) fn raise_all(
        &mut self,
        place: usize,
        (logs, digest): (&Logs, Digest),
        from: NodeId,
        now: Time,
        in_question: &mut InQuestion,
    ) -> Vec<usize> {
        let row = &mut self.rows[place];
        let (mut places, mut all) = (Vec::new(), true);
        for at in in_question.of(row, logs) {
            let log = logs.get(*at);
            let Some(chain) = log.chain_at(log.durable()).filter(|_| log.durable() > 0) else { continue };
            let cell = Cell { seq: log.durable(), chain: Short::of(chain), stamp: self.stamp + 1, from };
            let has_place = row.cells.has_place(*at);
            match row.cells.get_mut(*at) {
                Some(known) if known.seq >= cell.seq => {
                    all &= row.holds_all(*at, log);
                    continue;
                }
                Some(known) => *known = cell,
                None if self.cells >= CELLS_MAX && !has_place => {
                    all = false;
                    continue;
                }
                None => self.cells += row.cells.insert(*at, cell),
            }
            self.stamp += 1;
            places.push(*at);
        }
        if !places.is_empty() {
            (row.stamp, row.replicated_at, row.compared, row.all_of) = (self.stamp, Some(now), true, None);
        }
        if all {
            row.note_known(logs, digest);
        } else {
            row.unsure.extend(&places);
        }
        places
    }

    /// The member itself said how far it holds this log: what others said of it and cannot be checked counts no more.
    pub(super) fn doubt(&mut self, member: NodeId, at: usize, log: &Log) {
        let Some(row) = self.row_mut(member) else { return };
        if row.cell(at).is_some_and(|cell| cell.from != member && !row.holds(at, log, cell.seq)) {
            row.forget(at);
            self.unheld.remove(&(at, member));
        }
    }

    /// Something of this log is held here from now on: what is known of it is news to those whom it was not told.
    pub(super) fn restamp(&mut self, at: usize) {
        let told: Vec<NodeId> = self.unheld_of(at).collect();
        for member in told {
            self.unheld.remove(&(at, member));
            let Ok(place) = self.ids.binary_search(&member) else { continue };
            let row = &mut self.rows[place];
            let Some(cell) = row.cells.get_mut(at) else { continue };
            self.stamp += 1;
            (cell.stamp, row.stamp) = (self.stamp, self.stamp);
        }
    }

    fn unheld_of(&self, at: usize) -> impl Iterator<Item = NodeId> + '_ {
        let all = (at, NodeId::from_u128(0))..=(at, NodeId::from_u128(u128::MAX));
        self.unheld.range(all).map(|(_, member)| *member)
    }

    /// Our branch of this log ended: what others hold of it was of another one.
    pub(super) fn part(&mut self, at: usize) {
        for row in &mut self.rows {
            row.forget(at);
        }
        let gone: Vec<NodeId> = self.unheld_of(at).collect();
        gone.into_iter().for_each(|member| _ = self.unheld.remove(&(at, member)));
    }

    /// What of all that is held here the member is not known to hold; `None` if it is no member.
    pub(super) fn lag(&self, logs: &Logs, member: NodeId, now: Time, paused: bool) -> Option<Lag> {
        let row = self.row(member)?;
        if row.is_known_to_hold(logs.current_digest()) {
            return Some(Lag::default());
        }
        // Of one whose knowledge is fresh, what came here since then is not held against it.
        let fresh = row.present && row.compared && !paused && now.since(row.as_of) <= STALE;
        let at = if fresh { row.as_of } else { now };
        let mut lag = Lag::default();
        for index in row.doubtful(logs) {
            let log = logs.get(index);
            // Nobody fetches what expired everywhere; a member is no replica of itself.
            let theirs = row.seq(index).max(log.base());
            let ours = if fresh { log.held_at(at).min(log.offered()) } else { log.offered() };
            if ours <= theirs || log.id.actor.node == member {
                continue;
            }
            lag.changes += ours - theirs;
            lag.bytes += weight(log, theirs + 1, ours);
            // Who came later than that lags since it came.
            let age = at.since(log.durable_since(theirs + 1).max(row.since));
            lag.lag_ms = lag.lag_ms.max(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        }
        Some(lag)
    }
}

impl Row {
    fn new(member: NodeId, boot: Boot, present: bool, now: Time) -> Self {
        Self {
            boot,
            name: short(member, boot),
            present,
            since: now,
            cells: Cells::default(),
            all_of: None,
            covered: 0,
            unsure: BTreeSet::new(),
            stamp: 0,
            as_of: now,
            compared: false,
            replicated_at: None,
            lagging: None,
        }
    }
}

/// Bytes of these entries on the disk.
fn weight(log: &Log, first: u64, last: u64) -> u64 {
    let weighed = (last - first + 1).min(WEIGHED_MAX);
    let bytes: u64 =
        (first..first + weighed).filter_map(|seq| log.position(seq)).map(|position| u64::from(position.len)).sum();
    bytes.saturating_mul(last - first + 1) / weighed
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// One log in each block, of as many members as there may be: what is left is for logs that are there.
    #[test]
    fn logs_that_are_made_up_leave_room_for_others_however_far_apart_they_are() {
        let member = |n: u128| NodeId::from_u128(n);
        let mut table = Replicas::default();
        let members = (1..=64).map(|n| (member(n), Boot::new(1), true));
        table.set_members(Time::ZERO, members);
        let chain = Short::of(Digest::new(7));
        for n in 1..=64 {
            for block in 0..256 {
                table.raise(member(n), block * BLOCK, (1, chain), member(n), Time::ZERO, false);
            }
        }
        assert!(table.cells <= UNHELD_MAX, "{} places", table.cells);
        assert!(table.raise(member(64), 999 * BLOCK, (1, chain), member(1), Time::ZERO, true));
        assert!(!table.raise(member(64), 998 * BLOCK, (1, chain), member(1), Time::ZERO, false));
        table.part(0);
        assert!(table.raise(member(1), 1, (1, chain), member(1), Time::ZERO, true), "its block is there");
    }

    quickcheck::quickcheck! {
        fn cells_are_a_map_and_all_their_places_are_counted(steps: Vec<(u8, u8, u8)>) -> bool {
            let (mut cells, mut naive, mut places) = (Cells::default(), BTreeMap::new(), 0);
            steps.into_iter().all(|(what, at, seq)| {
                let (at, seq) = (usize::from(at), u64::from(seq) + 1);
                match what % 3 {
                    0 => {
                        if cells.remove(at) != naive.remove(&at).is_some() {
                            return false;
                        }
                    }
                    _ => {
                        places += cells.insert(at, Cell { seq, ..Cell::none() });
                        naive.insert(at, seq);
                    }
                }
                cells.get(at).map(|cell| cell.seq) == naive.get(&at).copied()
                    && cells.iter().map(|(at, cell)| (at, cell.seq)).eq(naive.iter().map(|(at, seq)| (*at, *seq)))
                    && cells.places() == places
            })
        }
    }
}
