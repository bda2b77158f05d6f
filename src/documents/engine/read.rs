//! From Automerge to JSON.

use std::borrow::Cow;

use automerge::{ObjId, ObjType, ReadDoc, ScalarValue, ScalarValueRef, ValueRef};
use serde_json::{Map, Number, Value};

use super::path;

/// A whole object.
pub(super) fn object(doc: &impl ReadDoc, id: &ObjId, kind: ObjType) -> Value {
    match kind {
        ObjType::Map | ObjType::Table => Value::Object(map(doc, id)),
        ObjType::List => doc.list_range(id, ..).map(|item| value(doc, &item.value, || item.id())).collect(),
        ObjType::Text => Value::String(doc.text(id).unwrap_or_default()),
    }
}

/// A map's members.
fn map(doc: &impl ReadDoc, id: &ObjId) -> Map<String, Value> {
    doc.map_range(id, ..).map(|item| (item.key.to_string(), value(doc, &item.value, || item.id()))).collect()
}

fn value(doc: &impl ReadDoc, found: &ValueRef<'_>, id: impl FnOnce() -> ObjId) -> Value {
    match found {
        ValueRef::Object(kind) => object(doc, &id(), *kind),
        ValueRef::Scalar(value) => match value {
            ScalarValueRef::Bytes(json) => atomic(json),
            ScalarValueRef::Str(value) => Value::String(value.to_string()),
            ScalarValueRef::Int(value) | ScalarValueRef::Counter(value) | ScalarValueRef::Timestamp(value) => {
                Value::from(*value)
            }
            ScalarValueRef::Uint(value) => Value::from(*value),
            ScalarValueRef::F64(value) => float(*value),
            ScalarValueRef::Boolean(value) => Value::Bool(*value),
            ScalarValueRef::Unknown { .. } | ScalarValueRef::Null => Value::Null,
        },
    }
}

/// A scalar that stands alone. The kinds that JSON lacks do not pass the admission check.
pub(super) fn scalar(value: &ScalarValue) -> Value {
    match value {
        ScalarValue::Bytes(json) => atomic(json),
        ScalarValue::Str(value) => Value::String(value.to_string()),
        ScalarValue::Int(value) | ScalarValue::Timestamp(value) => Value::from(*value),
        ScalarValue::Uint(value) => Value::from(*value),
        ScalarValue::F64(value) => float(*value),
        ScalarValue::Boolean(value) => Value::Bool(*value),
        ScalarValue::Counter(_) | ScalarValue::Unknown { .. } | ScalarValue::Null => Value::Null,
    }
}

fn atomic(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap_or(Value::Null)
}

fn float(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// The value at these steps; absent if there is none.
pub(super) fn at(doc: &impl ReadDoc, steps: &[Cow<'_, str>]) -> Option<Value> {
    let (mut id, mut kind) = (automerge::ROOT, ObjType::Map);
    for (done, step) in steps.iter().enumerate() {
        let found = match kind {
            ObjType::Map | ObjType::Table => doc.get(&id, step.as_ref()),
            ObjType::List => doc.get(&id, path::index(step)?),
            ObjType::Text => return None,
        };
        match found.ok()?? {
            (automerge::Value::Object(inner), inner_id) => (id, kind) = (inner_id, inner),
            (automerge::Value::Scalar(value), _) => return inside(&scalar(&value), &steps[done + 1..]).cloned(),
        }
    }
    Some(object(doc, &id, kind))
}

/// The place at these steps inside a value.
fn inside<'a>(value: &'a Value, steps: &[Cow<'_, str>]) -> Option<&'a Value> {
    steps.iter().try_fold(value, |value, step| match value {
        Value::Object(members) => members.get(step.as_ref()),
        Value::Array(items) => items.get(path::index(step)?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}
