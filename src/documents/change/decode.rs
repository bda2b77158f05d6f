//! From a change's bytes to its operations.

use super::column::{Deltas, Flags, Runs};
use super::reader::Reader;
use super::{
    ACTOR_LEN, ATOMIC_DEPTH_MAX, Action, COUNTER_MAX, CREATE, Change, DELETE, DEPS_MAX, HASH_LEN, Header, Id, KEY_MAX,
    Key, Name, OPS_MAX, Op, OpFault, PLAIN_MAX, PREDS_MAX, Refusal, START_MAX, STEP_MAX,
};

/// The columns, by their specification: the number of a group in the upper bits, the kind of code in the lower four.
const SPECS: [u64; 12] = [0x01, 0x02, 0x11, 0x13, 0x15, 0x34, 0x42, 0x56, 0x57, 0x70, 0x71, 0x73];

impl<'a> Change<'a> {
    /// Reads a whole change.
    pub(in crate::documents) fn read(bytes: &'a [u8]) -> Result<Self, Refusal> {
        Self::decode(&Header::read(bytes)?)
    }

    /// Reads what the header is about.
    pub(in crate::documents) fn decode(header: &Header<'a>) -> Result<Self, Refusal> {
        let mut reader = Reader::new(header.body);
        let deps = hashes(&mut reader)?;
        let writer = Name::plain(actor(&mut reader)?);
        let (seq, start_op, millis) = (reader.unsigned()?, reader.unsigned()?, reader.signed()?);
        let message = reader.text()?;
        let mut names = vec![writer];
        others(&mut reader, &mut names)?;
        let (rows, largest) = Rows::read(&mut reader, names.len())?;
        if !reader.is_empty() {
            return Err(Refusal::Encoding("bytes after its columns"));
        }
        let speaks = match message {
            "" => !rows.ops.is_empty(),
            CREATE | DELETE => rows.ops.is_empty(),
            _ => false,
        };
        if !speaks {
            return Err(Refusal::Encoding("a change has operations, or a message that documents use"));
        }
        let plain = header.body.len() - largest;
        if plain > PLAIN_MAX {
            return Err(Refusal::TooLarge { what: "bytes of a change", found: plain, max: PLAIN_MAX });
        }
        let last = start_op.saturating_add(rows.ops.len() as u64);
        if start_op == 0 || seq == 0 || last > u64::from(COUNTER_MAX) {
            return Err(Refusal::Encoding("its counters"));
        }
        Ok(Self {
            hash: header.hash,
            deps,
            names,
            seq,
            start_op,
            deletes: message == DELETE,
            millis,
            ops: rows.ops,
            preds: rows.preds,
        })
    }
}

fn hashes(reader: &mut Reader<'_>) -> Result<Vec<super::Hash>, Refusal> {
    let count = usize::try_from(reader.unsigned()?).unwrap_or(usize::MAX);
    if count > DEPS_MAX {
        return Err(Refusal::TooLarge { what: "changes that it follows", found: count, max: DEPS_MAX });
    }
    let bytes = reader.take(count * HASH_LEN).ok_or(Refusal::NotAChange("it ends too early"))?;
    let (hashes, _) = bytes.as_chunks::<HASH_LEN>();
    if !hashes.is_sorted_by(|a, b| a < b) {
        return Err(Refusal::Encoding("the order of the changes that it follows"));
    }
    Ok(hashes.to_vec())
}

fn actor(reader: &mut Reader<'_>) -> Result<[u8; ACTOR_LEN], Refusal> {
    let bytes = reader.prefixed()?;
    let len = bytes.len();
    bytes.try_into().map_err(|_| Refusal::TooLarge { what: "bytes of a writer's id", found: len, max: ACTOR_LEN })
}

fn others(reader: &mut Reader<'_>, names: &mut Vec<Name>) -> Result<(), Refusal> {
    // Every one is referred to by an operation, which is checked once these are read; here the bytes are the bound.
    for _ in 0..reader.unsigned()? {
        let name = Name::read(reader.prefixed()?);
        names.push(name.ok_or(Refusal::Encoding("the length of a writer's name"))?);
    }
    let others = &names[1..];
    if !others.is_sorted_by(|a, b| a < b) || others.contains(&names[0]) {
        return Err(Refusal::Encoding("the order of writers"));
    }
    Ok(())
}

/// The operations, as they come out of the columns.
struct Rows<'a> {
    ops: Vec<Op<'a>>,
    preds: Vec<Id>,
    referred: Vec<bool>,
}

struct Columns<'a> {
    object_actor: Runs<'a, u64>,
    object_counter: Runs<'a, u64>,
    key_actor: Runs<'a, u64>,
    key_counter: Deltas<'a>,
    key_text: Runs<'a, &'a str>,
    insert: Flags<'a>,
    action: Runs<'a, u64>,
    value_meta: Runs<'a, u64>,
    value: Reader<'a>,
    pred_count: Runs<'a, u64>,
    pred_actor: Runs<'a, u64>,
    pred_counter: Deltas<'a>,
}

impl<'a> Columns<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Refusal> {
        let mut lens = [0_usize; SPECS.len()];
        let mut after = None;
        for _ in 0..reader.unsigned()? {
            let (spec, len) = (reader.unsigned()?, reader.unsigned()?);
            let Ok(at) = SPECS.binary_search(&spec) else {
                return Err(Refusal::Encoding("a column that documents do not use"));
            };
            if len == 0 || after.is_some_and(|after| after >= at) {
                return Err(Refusal::Encoding("the order of columns"));
            }
            lens[at] = usize::try_from(len).unwrap_or(usize::MAX);
            after = Some(at);
        }
        let mut column = [[].as_slice(); SPECS.len()];
        for (bytes, len) in column.iter_mut().zip(lens) {
            *bytes = reader.take(len).ok_or(Refusal::NotAChange("it ends too early"))?;
        }
        Ok(Self {
            object_actor: Runs::new(column[0]),
            object_counter: Runs::new(column[1]),
            key_actor: Runs::new(column[2]),
            key_counter: Deltas::new(column[3]),
            key_text: Runs::new(column[4]),
            insert: Flags::new(column[5]),
            action: Runs::new(column[6]),
            value_meta: Runs::new(column[7]),
            value: Reader::new(column[8]),
            pred_count: Runs::new(column[9]),
            pred_actor: Runs::new(column[10]),
            pred_counter: Deltas::new(column[11]),
        })
    }

    fn finish(&self) -> Result<(), Refusal> {
        self.object_actor.finish()?;
        self.object_counter.finish()?;
        self.key_actor.finish()?;
        self.key_counter.finish()?;
        self.key_text.finish()?;
        self.insert.finish()?;
        self.value_meta.finish()?;
        self.pred_count.finish()?;
        self.pred_actor.finish()?;
        self.pred_counter.finish()?;
        if self.value.is_empty() { Ok(()) } else { Err(Refusal::NotAChange("values are left over")) }
    }
}

impl<'a> Rows<'a> {
    /// The operations, and the bytes of their largest value.
    fn read(reader: &mut Reader<'a>, names: usize) -> Result<(Self, usize), Refusal> {
        let mut columns = Columns::read(reader)?;
        let mut rows = Self { ops: Vec::new(), preds: Vec::new(), referred: vec![false; names] };
        rows.referred[0] = true;
        let mut largest = 0;
        while !columns.action.done() {
            if rows.ops.len() == OPS_MAX {
                return Err(Refusal::TooLarge { what: "operations", found: OPS_MAX + 1, max: OPS_MAX });
            }
            let len = rows.row(&mut columns)?;
            largest = largest.max(len);
        }
        columns.finish()?;
        if rows.referred.contains(&false) {
            return Err(Refusal::Encoding("a writer to whom nothing refers"));
        }
        Ok((rows, largest))
    }

    fn row(&mut self, columns: &mut Columns<'a>) -> Result<usize, Refusal> {
        let index = self.ops.len();
        let fault = |fault| Refusal::Op { index, fault };
        let object = match (columns.object_actor.next()?, columns.object_counter.next()?) {
            (None, None) => None,
            (Some(actor), Some(counter)) => Some(self.id(actor, counter).ok_or_else(|| fault(OpFault::Object))?),
            _ => return Err(fault(OpFault::Object)),
        };
        let key = match (columns.key_text.next()?, columns.key_actor.next()?, columns.key_counter.next()?) {
            (Some(text), None, None) if text.len() <= KEY_MAX => Key::Map(text),
            (Some(text), None, None) => {
                return Err(Refusal::TooLarge { what: "bytes of a key", found: text.len(), max: KEY_MAX });
            }
            (None, None, Some(0)) => Key::Head,
            (None, Some(actor), Some(counter)) => {
                let id = u64::try_from(counter).ok().and_then(|counter| self.id(actor, counter));
                Key::Element(id.ok_or_else(|| fault(OpFault::Element))?)
            }
            _ => return Err(fault(OpFault::Key)),
        };
        let insert = columns.insert.next()?;
        let action = match columns.action.value()? {
            0 => Action::MakeMap,
            1 => Action::Put,
            2 => Action::MakeList,
            3 => Action::Delete,
            4 => Action::MakeText,
            5 => Action::Increment(0),
            _ => return Err(fault(OpFault::Action)),
        };
        let (value_len, action) = value(columns, action).map_err(fault)?;
        let preds = self.preds(columns, index)?;
        self.ops.push(Op { object, key, insert, action, preds });
        Ok(value_len)
    }

    fn preds(&mut self, columns: &mut Columns<'a>, index: usize) -> Result<usize, Refusal> {
        let count = usize::try_from(columns.pred_count.value()?).unwrap_or(usize::MAX);
        let found = self.preds.len().saturating_add(count);
        if found > PREDS_MAX {
            return Err(Refusal::TooLarge { what: "predecessors", found, max: PREDS_MAX });
        }
        for _ in 0..count {
            let (actor, counter) = (columns.pred_actor.value()?, columns.pred_counter.value()?);
            let id = u64::try_from(counter).ok().and_then(|counter| self.id(actor, counter));
            self.preds.push(id.ok_or(Refusal::Op { index, fault: OpFault::Pred })?);
        }
        Ok(count)
    }

    fn id(&mut self, actor: u64, counter: u64) -> Option<Id> {
        *self.referred.get_mut(usize::try_from(actor).ok()?)? = true;
        let counter = u32::try_from(counter).ok().filter(|counter| (1..COUNTER_MAX).contains(counter))?;
        Some(Id { counter, actor: u32::try_from(actor).ok()? })
    }
}

/// Checks the value of an operation; gives its length in bytes, and what the operation does by it.
fn value(columns: &mut Columns<'_>, action: Action) -> Result<(usize, Action), OpFault> {
    let meta = columns.value_meta.value().map_err(|_| OpFault::Value)?;
    let len = usize::try_from(meta >> 4).map_err(|_| OpFault::Value)?;
    let bytes = columns.value.take(len).ok_or(OpFault::Value)?;
    let mut number = Reader::new(bytes);
    let sound = match (meta & 0xf, action) {
        (4, Action::Increment(_)) => return Ok((len, Action::Increment(count(bytes, STEP_MAX)?))),
        (_, Action::Increment(_)) => false,
        (0, _) => bytes.is_empty(),
        (_, action) if action != Action::Put => false,
        (1 | 2, _) => bytes.is_empty(),
        (3, _) => number.unsigned().is_ok() && number.is_empty(),
        (4, _) => number.signed().is_ok() && number.is_empty(),
        (5, _) => <[u8; 8]>::try_from(bytes).is_ok_and(|bytes| f64::from_le_bytes(bytes).is_finite()),
        (6, _) => match std::str::from_utf8(bytes) {
            Ok(text) if text.chars().nth(1).is_none() && !text.is_empty() => return Ok((len, Action::PutChar)),
            text => text.is_ok(),
        },
        (7, _) => depth(bytes) <= ATOMIC_DEPTH_MAX && serde_json::from_slice::<serde_json::Value>(bytes).is_ok(),
        (8, _) => return Ok((len, Action::PutCounter(count(bytes, START_MAX)?))),
        _ => false,
    };
    if sound { Ok((len, action)) } else { Err(OpFault::Value) }
}

/// A number that counters begin with or are incremented by, no further from 0 than this.
fn count(bytes: &[u8], max: i64) -> Result<i64, OpFault> {
    let mut reader = Reader::new(bytes);
    let number = reader.signed().map_err(|_| OpFault::Value)?;
    if !reader.is_empty() {
        return Err(OpFault::Value);
    }
    if (-max..=max).contains(&number) { Ok(number) } else { Err(OpFault::Count) }
}

/// How deep brackets nest in a JSON text.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
