//! Reads the scenarios of `simulations/` for tests.

use std::path::{Path, PathBuf};

use oxigdal_ha::sim::{Found, Scenario};

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The scenario of this name.
pub(crate) fn scenario(name: &str) -> Scenario {
    let file = Path::new("simulations").join(name).with_extension("toml");
    let text = std::fs::read_to_string(root().join(&file)).unwrap();
    let mut topology = |name: &str| {
        let file = Path::new("topologies").join(name).with_extension("toml");
        let text = std::fs::read_to_string(root().join(&file)).map_err(|error| error.to_string())?;
        Ok(Found { file: file.display().to_string(), text })
    };
    Scenario::parse(&file.display().to_string(), &text, &mut topology).unwrap_or_else(|error| panic!("{error}"))
}
