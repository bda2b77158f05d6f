//! How large JSON values are, about, without writing them.

use serde_json::Value;

use super::Edit;

/// Bytes of the value's text, about.
pub(super) fn of_value(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 9,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| of_value(item) + 1).sum::<usize>() + 2,
        Value::Object(members) => members.iter().map(|(key, value)| key.len() + 4 + of_value(value)).sum::<usize>() + 2,
    }
}

/// Bytes of what an edit brings, about.
pub(super) fn of_edit(edit: &Edit) -> usize {
    match edit {
        Edit::Put { value } => of_value(value),
        Edit::Set { path, value } | Edit::Insert { path, value } => path.len() + of_value(value),
        Edit::Resolve { path, value, .. } => path.len() + value.as_ref().map_or(0, of_value) + 16,
        Edit::Choose { path, change, .. } => path.len() + change.len() + 32,
        Edit::Remove { path } => path.len() + 16,
        // Each character is an operation.
        Edit::Splice { path, insert, .. } => path.len() + 2 * insert.len() + 16,
        Edit::Increment { path, .. } => path.len() + 32,
        Edit::Delete => 16,
    }
}
