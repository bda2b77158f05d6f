//! From Automerge to JSON.

use std::borrow::Cow;

use automerge::{ObjId, ReadDoc, ScalarValue};
use serde_json::{Number, Value};

use super::path;
use super::twins::{Lens, Member, Twins};

/// What stands at a place, with everything in it.
pub(super) fn member(doc: &impl ReadDoc, member: &Member<'_>) -> Value {
    match member {
        Member::Map(twins) => map(doc, twins),
        Member::List(id, lens) => list(doc, id, *lens),
        Member::Made(value) => value.clone(),
        Member::Counter(number) => Value::from(*number),
        Member::Text(id) => Value::String(doc.text(id).unwrap_or_default()),
        Member::Scalar(value) => scalar(value),
    }
}

fn map(doc: &impl ReadDoc, twins: &Twins<'_>) -> Value {
    Value::Object(twins.members(doc).into_iter().map(|(key, found)| (key, member(doc, &found))).collect())
}

fn list(doc: &impl ReadDoc, id: &ObjId, lens: Lens<'_>) -> Value {
    elements(doc, id, lens).map(|item| member(doc, &item)).collect()
}

/// The elements of a list, in order.
pub(super) fn elements<'l>(doc: &impl ReadDoc, id: &ObjId, lens: Lens<'l>) -> impl Iterator<Item = Member<'l>> {
    doc.list_range(id, ..).enumerate().map(move |(at, item)| {
        let alone = || Member::alone(&item.value.clone().into_value(), item.id(), lens);
        if !item.conflict || lens.is_none() {
            return alone();
        }
        Member::element(doc, id, at, lens).ok().flatten().unwrap_or_else(alone)
    })
}

/// A scalar that stands alone. The kinds that JSON lacks do not pass the admission check.
pub(super) fn scalar(value: &ScalarValue) -> Value {
    match value {
        ScalarValue::Bytes(json) => atomic(json),
        ScalarValue::Str(value) => Value::String(value.to_string()),
        ScalarValue::Int(value) | ScalarValue::Timestamp(value) => Value::from(*value),
        ScalarValue::Counter(value) => Value::from(i64::from(value)),
        ScalarValue::Uint(value) => Value::from(*value),
        ScalarValue::F64(value) => float(*value),
        ScalarValue::Boolean(value) => Value::Bool(*value),
        ScalarValue::Unknown { .. } | ScalarValue::Null => Value::Null,
    }
}

fn atomic(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap_or(Value::Null)
}

fn float(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// The value at these steps; absent if there is none.
pub(super) fn at(doc: &impl ReadDoc, steps: &[Cow<'_, str>], lens: Lens<'_>) -> Option<Value> {
    let mut place = Member::Map(Twins::root(lens));
    for (done, step) in steps.iter().enumerate() {
        place = match place {
            Member::Map(twins) => twins.member(doc, step).ok()??,
            Member::List(id, lens) => Member::element(doc, &id, path::index(step)?, lens).ok()??,
            Member::Made(value) => return inside(&value, &steps[done..]).cloned(),
            Member::Text(_) | Member::Counter(_) => return None,
            Member::Scalar(value) => return inside(&scalar(&value), &steps[done..]).cloned(),
        };
    }
    Some(member(doc, &place))
}

/// The place at these steps inside a value.
fn inside<'a>(value: &'a Value, steps: &[Cow<'_, str>]) -> Option<&'a Value> {
    steps.iter().try_fold(value, |value, step| match value {
        Value::Object(members) => members.get(step.as_ref()),
        Value::Array(items) => items.get(path::index(step)?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}
