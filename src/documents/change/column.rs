//! One column of operations: runs, literals and nulls, read one row at a time and only in the form that a writer gives
//! them.

use super::reader::Reader;
use super::{OPS_MAX, PREDS_MAX, Refusal};

const FORM: Refusal = Refusal::Encoding("a column's runs");
const ROWS: Refusal = Refusal::NotAChange("its columns differ in length");

/// A value of a column.
pub(super) trait Cell<'a>: Copy + PartialEq {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Refusal>;
}

impl<'a> Cell<'a> for u64 {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Refusal> {
        reader.unsigned()
    }
}

impl<'a> Cell<'a> for i64 {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Refusal> {
        reader.signed()
    }
}

impl<'a> Cell<'a> for &'a str {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Refusal> {
        reader.text()
    }
}

/// What the rows being read belong to.
#[derive(Clone, Copy, PartialEq)]
enum Segment {
    Start,
    Run,
    Literal,
    Nulls,
}

/// A run-length coded column. An empty one is all nulls.
pub(super) struct Runs<'a, T> {
    reader: Reader<'a>,
    segment: Segment,
    left: u64,
    last: Option<T>,
    empty: bool,
    any: bool,
}

impl<'a, T: Cell<'a>> Runs<'a, T> {
    pub(super) const fn new(column: &'a [u8]) -> Self {
        let empty = column.is_empty();
        Self { reader: Reader::new(column), segment: Segment::Start, left: 0, last: None, empty, any: false }
    }

    /// Whether every row was read.
    pub(super) const fn done(&self) -> bool {
        self.left == 0 && self.reader.is_empty()
    }

    /// The next row.
    pub(super) fn next(&mut self) -> Result<Option<T>, Refusal> {
        if self.empty {
            return Ok(None);
        }
        if self.left == 0 {
            self.begin()?;
        }
        self.left -= 1;
        match self.segment {
            Segment::Start | Segment::Nulls => Ok(None),
            Segment::Run => Ok(self.last),
            Segment::Literal => {
                let value = T::read(&mut self.reader)?;
                if self.last.replace(value) == Some(value) {
                    return Err(FORM);
                }
                Ok(Some(value))
            }
        }
    }

    /// The next row, which may not be null.
    pub(super) fn value(&mut self) -> Result<T, Refusal> {
        self.next()?.ok_or(Refusal::NotAChange("a value is missing"))
    }

    /// After the last row nothing may be left, and a column of nulls alone would have been left out.
    pub(super) fn finish(&self) -> Result<(), Refusal> {
        if !self.done() {
            return Err(ROWS);
        }
        if self.empty || self.any { Ok(()) } else { Err(FORM) }
    }

    /// Reads where the next segment begins. A writer merges what can be merged.
    fn begin(&mut self) -> Result<(), Refusal> {
        if self.reader.is_empty() {
            return Err(ROWS);
        }
        let count = self.reader.signed()?;
        let max = OPS_MAX.max(PREDS_MAX) as u64;
        if count.unsigned_abs() > max {
            return Err(ROWS);
        }
        if count == 0 {
            self.left = self.reader.unsigned()?;
            if self.left == 0 || self.left > max || self.segment == Segment::Nulls {
                return Err(FORM);
            }
            (self.segment, self.last) = (Segment::Nulls, None);
        } else if count > 0 {
            let value = T::read(&mut self.reader)?;
            if count == 1 || self.last == Some(value) {
                return Err(FORM);
            }
            (self.segment, self.last, self.left) = (Segment::Run, Some(value), count.unsigned_abs());
        } else {
            if self.segment == Segment::Literal {
                return Err(FORM);
            }
            (self.segment, self.left) = (Segment::Literal, count.unsigned_abs());
        }
        self.any |= self.segment != Segment::Nulls;
        Ok(())
    }
}

/// A column of numbers as differences, run-length coded.
pub(super) struct Deltas<'a> {
    runs: Runs<'a, i64>,
    value: i64,
}

impl<'a> Deltas<'a> {
    pub(super) const fn new(column: &'a [u8]) -> Self {
        Self { runs: Runs::new(column), value: 0 }
    }

    pub(super) fn next(&mut self) -> Result<Option<i64>, Refusal> {
        let Some(delta) = self.runs.next()? else { return Ok(None) };
        self.value = self.value.checked_add(delta).ok_or(Refusal::Encoding("a difference overflows"))?;
        Ok(Some(self.value))
    }

    pub(super) fn value(&mut self) -> Result<i64, Refusal> {
        self.next()?.ok_or(Refusal::NotAChange("a value is missing"))
    }

    pub(super) fn finish(&self) -> Result<(), Refusal> {
        self.runs.finish()
    }
}

/// A column of flags: how many are false, then how many are true, and so on.
pub(super) struct Flags<'a> {
    reader: Reader<'a>,
    first: bool,
    flag: bool,
    left: u64,
}

impl<'a> Flags<'a> {
    pub(super) const fn new(column: &'a [u8]) -> Self {
        Self { reader: Reader::new(column), first: true, flag: true, left: 0 }
    }

    pub(super) fn next(&mut self) -> Result<bool, Refusal> {
        while self.left == 0 {
            if self.reader.is_empty() {
                return Err(ROWS);
            }
            self.left = self.reader.unsigned()?;
            if self.left == 0 && !self.first {
                return Err(FORM);
            }
            (self.first, self.flag) = (false, !self.flag);
        }
        self.left -= 1;
        Ok(self.flag)
    }

    pub(super) const fn finish(&self) -> Result<(), Refusal> {
        if self.left == 0 && self.reader.is_empty() { Ok(()) } else { Err(ROWS) }
    }
}
