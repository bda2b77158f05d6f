//! GeoJSON (RFC 7946) in and out of documents: one feature, one document.
//!
//! Import is strict about what the RFC demands and says where a text breaks it. It is lenient about what the RFC only asks
//! for: rings that turn the wrong way are counted and taken. Nothing is repaired, and nothing is dropped: members that the
//! RFC does not know stay where they were.

mod export;
mod import;
mod validate;

pub use export::{Export, export};
pub use import::{Import, import};

/// Whether a feature may have this geometry: one of RFC 7946, or null.
///
/// # Errors
/// Where in it what is wrong, in words.
pub(super) fn check_geometry(value: &serde_json::Value) -> Result<(), String> {
    if value.is_null() {
        return Ok(());
    }
    let checked = validate::geometry(value, 0, &mut 0).map_err(|fault| fault.under("geometry").at(None));
    checked.map_err(|error| error.to_string())
}

/// Where and why a text is not GeoJSON that can be imported. Nothing was imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct ImportError {
    /// Where: the feature's index, if there is one, and a JSON Pointer into the text.
    pub place: String,
    /// What is wrong there.
    pub why: String,
}

#[cfg(test)]
mod tests;
