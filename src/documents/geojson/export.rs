//! From documents to a text.

use serde_json::Value;

use crate::documents::engine::canonical;
use crate::types::DocId;

/// What an export wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Export {
    /// A feature collection, one feature a line, in order of document id.
    pub text: String,
    /// How many features it has.
    pub features: usize,
    /// Documents that are no features.
    pub skipped: usize,
}

/// Writes documents as a feature collection: the same documents give the same bytes, in whatever order they are given.
/// Keys are sorted, except that each object's `type` goes first and a feature's `geometry` last, for people.
pub fn export<'a>(docs: impl IntoIterator<Item = (&'a DocId, &'a Value)>) -> Export {
    let mut docs: Vec<_> = docs.into_iter().collect();
    docs.sort_unstable_by_key(|(doc, _)| *doc);
    let mut export = Export { text: "{\"type\":\"FeatureCollection\",\"features\":[".to_owned(), ..Export::default() };
    for (_, value) in docs {
        let Some(members) = value.as_object().filter(|_| value.get("type").is_some_and(|kind| kind == "Feature"))
        else {
            export.skipped += 1;
            continue;
        };
        export.text.push_str(if export.features == 0 { "\n" } else { ",\n" });
        export.features += 1;
        let mut keys: Vec<&String> = members.keys().collect();
        keys.sort_unstable_by_key(|key| (*key == "geometry", *key != "type", *key));
        for (at, key) in keys.into_iter().enumerate() {
            export.text.push(if at == 0 { '{' } else { ',' });
            export.text.push_str(&Value::from(key.as_str()).to_string());
            export.text.push(':');
            export.text.push_str(&canonical(&members[key]));
        }
        export.text.push('}');
    }
    export.text.push_str("\n]}\n");
    export
}
