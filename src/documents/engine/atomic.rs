//! Values that are never merged inside: GeoJSON geometries, and lists of numbers called `bbox` or `coordinates`.
//!
//! Two half-edited rings must not mix into one that nobody drew. So such a value is stored as one scalar: its canonical
//! JSON text, as Automerge `bytes`, a kind that JSON itself does not have. One writer's geometry wins as a whole.

use serde_json::Value;

/// Whether the member `key` with this value is stored as one.
pub(super) fn is_atomic(key: &str, value: &Value) -> bool {
    match value {
        Value::Object(members) => {
            let list = |name| members.get(name).is_some_and(Value::is_array);
            match members.get("type").and_then(Value::as_str) {
                Some("Point" | "MultiPoint" | "LineString" | "MultiLineString" | "Polygon" | "MultiPolygon") => {
                    list("coordinates")
                }
                Some("GeometryCollection") => list("geometries"),
                _ => false,
            }
        }
        Value::Array(items) if key == "bbox" => items.iter().all(Value::is_number),
        Value::Array(_) => key == "coordinates",
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The one text of a value: keys sorted, no white space, the shortest numbers.
pub(in crate::documents) fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            out.push('{');
            for (at, (key, value)) in sorted.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                text(key, out);
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::String(value) => text(value, out),
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
}

fn text(text: &str, out: &mut String) {
    out.push_str(&serde_json::to_string(text).expect("a text is always written"));
}
