//! Checks: what a host finds odd in a document is flagged, and never stands in anybody's way.
//!
//! Two edits that were each right may come to something that is not, once they are merged: a route whose two ends both moved, a feature
//! without its geometry. No peer could refuse that: both changes are acknowledged, and others hold them. So a check looks at what shows
//! and **flags** it, for people and programs that care. Flags are made whenever somebody reads and written nowhere: they are the same on
//! each peer that has the same checks, and gone when the document is right again.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde_json::Value;

use super::geojson;
use crate::types::DocId;

/// Flags of one document at most; more are left out.
pub const FLAGS_MAX: usize = 16;
/// Bytes of one flag at most; a longer one is cut.
pub const FLAG_MAX: usize = 256;

/// Looks at a document's content, and says what it finds odd, each in some words. It must be **pure**: the same on each peer, with no look at
/// a clock, at chance, or at where it runs. A panic is contained, and is a flag itself.
pub type Check = Arc<dyn Fn(&DocId, &Value) -> Vec<String> + Send + Sync>;

/// Functions by name.
///
/// ```
/// use oxigdal_ha::documents::Checks;
/// use serde_json::json;
///
/// let checks = Checks::new().with("depth", |_, value| match value["depth"].as_f64() {
///     Some(depth) if depth < 0.0 => vec![format!("{depth} m are above the water")],
///     _ => Vec::new(),
/// });
/// let doc = "soundings/7".parse()?;
/// assert_eq!(checks.flags(&doc, &json!({"depth": -2.5})), ["depth: -2.5 m are above the water"]);
/// assert!(checks.flags(&doc, &json!({"depth": 12})).is_empty());
/// # Ok::<(), oxigdal_ha::types::IdError>(())
/// ```
#[derive(Clone, Default)]
pub struct Checks(BTreeMap<String, Check>);

impl Checks {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// With this one too; one of the same name is replaced.
    #[must_use]
    pub fn with(
        mut self,
        name: impl Into<String>,
        check: impl Fn(&DocId, &Value) -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        self.0.insert(name.into(), Arc::new(check));
        self
    }

    /// With `geojson`: whether the geometry of a feature is one that an import would take. Each edit is checked for that where it is
    /// made; what two of them come to together is not.
    #[must_use]
    pub fn with_geojson(self) -> Self {
        self.with("geojson", |_, value| match (&value["type"], value.get("geometry")) {
            (Value::String(kind), Some(geometry)) if kind == "Feature" => {
                geojson::check_geometry(geometry).err().into_iter().collect()
            }
            (Value::String(kind), None) if kind == "Feature" => {
                vec!["a feature has a geometry; it may be null".to_owned()]
            }
            _ => Vec::new(),
        })
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What the checks find odd, in order of their names: each flag begins with its check's name. [`FLAGS_MAX`] at most, each of
    /// [`FLAG_MAX`] bytes at most.
    #[must_use]
    pub fn flags(&self, doc: &DocId, value: &Value) -> Vec<String> {
        let all = self.0.iter().flat_map(|(name, check)| {
            let found = catch_unwind(AssertUnwindSafe(|| check(doc, value)));
            let found = found.unwrap_or_else(|_| vec!["the check itself failed".to_owned()]);
            found.into_iter().map(move |flag| cut(format!("{name}: {flag}")))
        });
        all.take(FLAGS_MAX).collect()
    }
}

fn cut(mut flag: String) -> String {
    flag.truncate(flag.floor_char_boundary(FLAG_MAX));
    flag
}

/// Equal if they have the same names.
impl PartialEq for Checks {
    fn eq(&self, other: &Self) -> bool {
        self.0.keys().eq(other.0.keys())
    }
}

impl Eq for Checks {}

impl fmt::Debug for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn flags_are_named_bounded_and_survive_a_check_that_fails() {
        let doc = DocId::parse("d").unwrap();
        let checks = Checks::new()
            .with("b", |_, _| panic!("on purpose"))
            .with("a", |doc, value| vec![format!("{doc} {value}")])
            .with("many", |_, _| vec!["\u{1F30D}".repeat(200); 100]);
        let flags = checks.flags(&doc, &json!({"n": 1}));
        assert_eq!(flags[..2], [r#"a: d {"n":1}"#, "b: the check itself failed"]);
        assert_eq!((flags.len(), flags[15].len()), (FLAGS_MAX, 254));
        assert_eq!(checks.names().collect::<Vec<_>>(), ["a", "b", "many"]);
    }

    #[test]
    fn a_feature_whose_geometry_no_import_would_take_is_flagged() {
        let (doc, checks) = (DocId::parse("d").unwrap(), Checks::new().with_geojson());
        let flags = |value: Value| checks.flags(&doc, &value);
        let point = json!({"type": "Point", "coordinates": [1, 2]});
        assert_eq!(flags(json!({"type": "Feature", "geometry": point})), Vec::<String>::new());
        assert_eq!(flags(json!({"type": "Feature", "geometry": null})), Vec::<String>::new());
        assert_eq!(flags(json!({"type": "Road", "geometry": 1})), Vec::<String>::new());
        assert_eq!(flags(json!({"type": "Feature"})), ["geojson: a feature has a geometry; it may be null"]);
        let odd = flags(json!({"type": "Feature", "geometry": {"type": "Point"}}));
        assert!(odd.len() == 1 && odd[0].contains("coordinates"), "{odd:?}");
    }
}
