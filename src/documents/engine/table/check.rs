//! One change, operation by operation: whether all that it refers to exists in its own past.

use super::super::super::change::{Action, Change, DEPTH_MAX, Id, Key, Name, Op, OpFault, Refusal};
use super::super::counters::Counters;
use super::{Kind, NONE, OpId, Row, Slot, Table};

/// The change being checked.
#[derive(Clone, Copy)]
pub(super) struct Own {
    /// Where it will stand.
    pub(super) branch: u32,
    pub(super) seq: u32,
    /// Its first operation.
    pub(super) start: u32,
}

/// Looks up what one change refers to: in the table as far as its past goes, then among its own operations.
pub(super) struct Checker<'a> {
    table: &'a mut Table,
    /// The names that it uses, its writer's first.
    names: &'a [Name],
    /// For each name where its operations are looked for.
    entries: Vec<u32>,
    clock: &'a [u32],
    own: Own,
    rows: Vec<Row>,
    counted: Counters,
}

impl<'a> Checker<'a> {
    pub(super) fn new(table: &'a mut Table, names: &'a [Name], entries: Vec<u32>, clock: &'a [u32], own: Own) -> Self {
        Self { table, names, entries, clock, own, rows: Vec::new(), counted: Counters::default() }
    }

    /// What is to be remembered of its operations, if all of them fit.
    pub(super) fn ops(mut self, change: &Change<'_>) -> Result<(Vec<Row>, Counters), Refusal> {
        self.rows.reserve_exact(change.ops.len());
        let mut preds = change.preds.as_slice();
        for (index, op) in change.ops.iter().enumerate() {
            let (own, rest) = preds.split_at(op.preds);
            preds = rest;
            let row = self.op(op, own).map_err(|fault| Refusal::Op { index, fault })?;
            self.rows.push(row);
        }
        Ok((self.rows, self.counted))
    }

    fn op(&mut self, op: &Op<'_>, preds: &[Id]) -> Result<Row, OpFault> {
        let (object, holder) = match op.object {
            None => (NONE, Kind::Map(1)),
            Some(id) => {
                let id = self.id(id);
                (id, self.find(id).ok_or(OpFault::Object)?.kind)
            }
        };
        let (slot, depth) = match (holder, op.key) {
            (Kind::Map(depth), Key::Map(key)) if !op.insert => (Slot::Key(self.table.key(key)), depth),
            (Kind::List(depth), key @ (Key::Head | Key::Element(_))) => (self.element(op, object, key)?, depth),
            (Kind::Text, key @ (Key::Head | Key::Element(_))) => {
                match op.action {
                    Action::PutChar if op.insert => {}
                    Action::Delete => {}
                    _ => return Err(OpFault::Text),
                }
                (self.element(op, object, key)?, DEPTH_MAX)
            }
            (Kind::Map(_) | Kind::List(_) | Kind::Text, _) => return Err(OpFault::Key),
            (Kind::Value | Kind::Counter | Kind::Increment | Kind::Nothing, _) => return Err(OpFault::Object),
        };
        let increments = matches!(op.action, Action::Increment(_));
        self.preds(object, slot, preds, increments)?;
        let needs_pred = op.action == Action::Delete || increments || (!matches!(holder, Kind::Map(_)) && !op.insert);
        if preds.is_empty() && needs_pred {
            return Err(OpFault::NoPred);
        }
        let inside = depth.saturating_add(1);
        let kind = match op.action {
            Action::MakeMap | Action::MakeList | Action::MakeText if inside > DEPTH_MAX => return Err(OpFault::Depth),
            Action::MakeMap => Kind::Map(inside),
            Action::MakeList => Kind::List(inside),
            Action::MakeText => Kind::Text,
            Action::Put | Action::PutChar => Kind::Value,
            Action::PutCounter(start) => {
                self.counted.begins(self.next(), start);
                Kind::Counter
            }
            Action::Increment(by) => {
                let counters: Vec<OpId> = preds.iter().map(|pred| self.id(*pred)).collect();
                self.counted.adds(by, (self.own.branch, self.own.seq), counters);
                Kind::Increment
            }
            Action::Delete => Kind::Nothing,
        };
        Ok(Row { object, slot, kind })
    }

    /// The slot of an operation on a list. An insertion makes its own.
    fn element(&self, op: &Op<'_>, object: OpId, key: Key<'_>) -> Result<Slot, OpFault> {
        let at = match key {
            Key::Element(id) => {
                let id = self.id(id);
                let row = self.find(id).ok_or(OpFault::Element)?;
                // An element is named by the operation that inserted it, whose slot is itself.
                if row.object != object || row.slot != Slot::Element(id) {
                    return Err(OpFault::Element);
                }
                Some(id)
            }
            Key::Head => None,
            Key::Map(_) => return Err(OpFault::Key),
        };
        if op.insert {
            if matches!(op.action, Action::Delete | Action::Increment(_)) || op.preds != 0 {
                return Err(OpFault::Insertion);
            }
            return Ok(Slot::Element(self.next()));
        }
        at.map(Slot::Element).ok_or(OpFault::Element)
    }

    /// What is replaced stands in the same place, was not itself a removal or an increment, and is named in Lamport order without
    /// doubles. What is incremented is a counter.
    fn preds(&self, object: OpId, slot: Slot, preds: &[Id], increments: bool) -> Result<(), OpFault> {
        let mut before = None;
        for pred in preds {
            let id = self.id(*pred);
            let row = self.find(id).ok_or(OpFault::Pred)?;
            if matches!(row.kind, Kind::Nothing | Kind::Increment) {
                return Err(OpFault::Pred);
            }
            if increments && row.kind != Kind::Counter {
                return Err(OpFault::NoCounter);
            }
            if row.object != object || row.slot != slot {
                return Err(OpFault::PredPlace);
            }
            let order = (pred.counter, self.names[pred.actor as usize]);
            if before.replace(order).is_some_and(|before| before >= order) {
                return Err(OpFault::PredOrder);
            }
        }
        Ok(())
    }

    fn id(&self, id: Id) -> OpId {
        let branch = if id.actor == 0 && id.counter >= self.own.start {
            self.own.branch
        } else {
            self.table.branches.find(self.entries[id.actor as usize], id.counter, self.clock)
        };
        OpId { counter: id.counter, branch }
    }

    /// The id of the operation being checked.
    fn next(&self) -> OpId {
        let own = u32::try_from(self.rows.len()).expect("bounded where the change was read");
        OpId { counter: self.own.start + own, branch: self.own.branch }
    }

    /// An operation of the change's past, or an earlier one of its own.
    fn find(&self, id: OpId) -> Option<Row> {
        let Own { branch, start, .. } = self.own;
        if id.branch == branch && id.counter >= start {
            return self.rows.get((id.counter - start) as usize).copied();
        }
        if id.counter <= self.table.folded.max_op {
            return self.table.folded.rows.get(&id).copied();
        }
        let known = *self.clock.get(id.branch as usize)? as usize;
        // The writer's own entry counts the change being checked, which is not in the table yet.
        let runs = self.table.branches.runs(id.branch);
        let runs = &runs[..known.min(runs.len())];
        let run = runs.get(runs.partition_point(|run| run.start <= id.counter).checked_sub(1)?)?;
        run.rows.get((id.counter - run.start) as usize).copied()
    }
}
