//! `key`: who a data directory makes its peer, and to which mesh it belongs.

use std::path::Path;

use oxigdal_ha::driver::admission::Admission;
use oxigdal_ha::driver::identity::NodeKey;
use serde_json::json;

use crate::args::Key;
use crate::failure::{Failure, Result};
use crate::output::{Output, Tone};

/// The file that holds the key; see `driver::identity`.
const KEY_FILE: &str = "identity.key";

pub(crate) fn key(arguments: &Key, output: Output) -> Result {
    let dir = &arguments.data_dir;
    if !arguments.create && !dir.join(KEY_FILE).exists() {
        return Err(Failure::usage(format_args!("there is no identity in {}", dir.display()))
            .hint("`oxigdal-ha run` draws one at its first start; so does `oxigdal-ha key --create`"));
    }
    let key = NodeKey::open_or_mint(dir).map_err(Failure::usage)?;
    let admission = Admission::open(dir).map_err(Failure::usage)?;
    if output.json {
        return output.value(&json!({
            "node": key.node(),
            "peer_id": key.peer_id().to_string(),
            "cluster": admission.as_ref().map(|admission| admission.cluster().to_string()),
            "issuer": admission.as_ref().is_some_and(Admission::is_issuer),
            "expires": admission.as_ref().map(|admission| admission.expires_at().to_string()),
        }));
    }
    let row = |label: &str, value: String| {
        output.line(format_args!("{} {value}", output.paint(Tone::Dim, format_args!("{label:<8}"))))
    };
    row("node", output.paint(Tone::Bold, key.node()))?;
    row("peer id", key.peer_id().to_string())?;
    match admission {
        None => row("mesh", format!("none yet: {} belongs to no mesh", shown(dir))),
        Some(admission) => {
            let office = if admission.is_issuer() { "; may invite and expel" } else { "" };
            row("mesh", admission.cluster().to_string())?;
            row("ticket", format!("good until {}{office}", admission.expires_at()))
        }
    }
}

fn shown(dir: &Path) -> String {
    dir.display().to_string()
}
