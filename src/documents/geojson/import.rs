//! From a text to documents.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::ImportError;
use super::validate;
use crate::documents::engine::canonical;
use crate::types::{DocId, digest64};

/// What an import read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Import {
    /// The features and the ids of their documents, in the order of the text.
    pub features: Vec<(DocId, Value)>,
    /// Polygons whose rings do not follow the right-hand rule, which RFC 7946 asks for and does not demand.
    pub left_handed: usize,
    /// Members of a feature collection that are not part of any feature, such as `name` or `crs`.
    pub foreign: Map<String, Value>,
}

/// Reads a feature collection, a feature or a bare geometry. A document's id is `prefix/` and the feature's `id`, else its
/// property `id_property`, else a hash of its content, and a number if there are several alike: the same text gives the
/// same ids. Characters that a document id may
/// not hold are percent-encoded.
///
/// # Errors
/// [`ImportError`] names the first place that is not as RFC 7946 demands, or whose id cannot name a document or is there
/// twice.
pub fn import(text: &str, prefix: &str, id_property: Option<&str>) -> Result<Import, ImportError> {
    let whole = |why: String| ImportError { place: "the whole text".to_owned(), why };
    let value: Value = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| whole(format!("no JSON: {error}")))?;
    if let Some((place, number)) = too_long(text) {
        let why = format!("{number} has more digits than can be kept; write it as a text, or with a decimal point");
        return Err(ImportError { place, why });
    }
    let (members, kind) = validate::kind(&value).map_err(|fault| fault.at(None))?;
    let mut import = Import::default();
    match kind {
        "FeatureCollection" => {
            validate::bbox(members).map_err(|fault| fault.at(None))?;
            let Value::Object(mut members) = value else { unreachable!("it has a type") };
            let Some(Value::Array(features)) = members.remove("features") else {
                return Err(ImportError {
                    place: "/features".to_owned(),
                    why: "a list of features is expected".to_owned(),
                });
            };
            members.remove("type");
            import.foreign = members;
            let mut seen = BTreeMap::new();
            for (index, feature) in features.into_iter().enumerate() {
                validate::feature(&feature, &mut import.left_handed).map_err(|fault| fault.at(Some(index)))?;
                let mut doc = name(&feature, prefix, id_property, Some(index))?;
                if given(&feature, id_property).is_none() {
                    // Features that are alike are numbered: the same text gives the same ids.
                    let first = doc.clone();
                    let copies = (2_usize..).map_while(|copy| DocId::parse(&format!("{first}-{copy}")).ok());
                    let mut free = copies.skip_while(|copy| seen.contains_key(copy));
                    if seen.contains_key(&doc) {
                        doc = free.next().unwrap_or(first);
                    }
                }
                if let Some(first) = seen.insert(doc.clone(), index) {
                    let place = format!("feature {index}, /features/{index}");
                    return Err(ImportError { place, why: format!("feature {first} has the same id: {doc}") });
                }
                import.features.push((doc, feature));
            }
        }
        "Feature" => {
            validate::feature(&value, &mut import.left_handed).map_err(|fault| fault.at(None))?;
            import.features.push((name(&value, prefix, id_property, None)?, value));
        }
        _ => {
            validate::geometry(&value, 0, &mut import.left_handed).map_err(|fault| fault.at(None))?;
            let feature = json!({"type": "Feature", "geometry": value, "properties": null});
            import.features.push((name(&feature, prefix, id_property, None)?, feature));
        }
    }
    Ok(import)
}

/// The first whole number of the text that does not fit 64 bits, and so would lose digits, with its place.
fn too_long(json: &str) -> Option<(String, &str)> {
    let (mut at, bytes) = (0, json.as_bytes());
    while let Some(byte) = bytes.get(at) {
        let end = match byte {
            b'"' => {
                let mut end = at + 1;
                while bytes.get(end).is_some_and(|byte| *byte != b'"') {
                    end += if bytes[end] == b'\\' { 2 } else { 1 };
                }
                end + 1
            }
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                at + bytes[at..].iter().take_while(|byte| is_part(byte)).count()
            }
            _ => at + 1,
        };
        let number = json.get(at..end).filter(|_| *byte == b'-' || byte.is_ascii_digit());
        let whole = number.filter(|number| !number.contains(['.', 'e', 'E']));
        if let Some(number) = whole.filter(|number| number.parse::<i64>().is_err() && number.parse::<u64>().is_err()) {
            let before = &json[..at];
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            let (line, column) = (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1);
            return Some((format!("line {line}, column {column}"), number));
        }
        at = end;
    }
    None
}

/// What a feature is called by its own words.
fn given(feature: &Value, id_property: Option<&str>) -> Option<String> {
    let property = |name: &str| feature.get("properties").and_then(|properties| properties.get(name));
    feature.get("id").and_then(text).or_else(|| id_property.and_then(property).and_then(text))
}

fn name(feature: &Value, prefix: &str, id_property: Option<&str>, index: Option<usize>) -> Result<DocId, ImportError> {
    let last = given(feature, id_property)
        .map_or_else(|| digest64(canonical(feature).as_bytes()).to_string(), |id| escaped(&id));
    let prefix = prefix.trim_end_matches('/');
    let path = if prefix.is_empty() { last } else { format!("{prefix}/{last}") };
    DocId::parse(&path).map_err(|error| ImportError {
        place: index.map_or_else(|| "the feature".to_owned(), |index| format!("feature {index}, /features/{index}")),
        why: error.to_string(),
    })
}

/// Characters that no document id may hold are written as in a URL. Slashes stay: OpenStreetMap's `way/123` is a path.
fn escaped(id: &str) -> String {
    let mut escaped = String::with_capacity(id.len());
    for c in id.chars() {
        if c == '%' || (c != '/' && DocId::parse(&format!("-{c}-")).is_err()) {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                escaped.push_str(&format!("%{byte:02X}"));
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
}

fn text(id: &Value) -> Option<String> {
    match id {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
