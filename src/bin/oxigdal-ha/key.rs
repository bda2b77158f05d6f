//! `key`: who a data directory makes its peer, to which mesh it belongs, and what keeps it there.

use std::path::Path;

use oxigdal_ha::driver::admission::{Admission, Standing};
use oxigdal_ha::driver::identity::NodeKey;
use serde_json::{Value, json};

use crate::args::{Key, KeyCommand, RootCommand};
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::invite::given;
use crate::issuer;
use crate::output::{Output, Tone};

/// The file that holds the root key, on the peer that founded the mesh; see `driver::admission`.
pub(crate) const ROOT_FILE: &str = "root.key";

pub(crate) fn key(arguments: Key, output: Output) -> Result {
    match arguments.command {
        None => show(&arguments, output),
        Some(KeyCommand::Issuer { command }) => issuer::issuer(command, &arguments.data_dir, output),
        Some(KeyCommand::Root { command: RootCommand::Move { to } }) => {
            issuer::move_root(&arguments.data_dir, &to, output)
        }
        Some(KeyCommand::Renew { target, invite }) => {
            let invite = invite.as_deref().map(|text| given(text, "invite")).transpose()?;
            renew(&Client::new(&target)?, invite.as_deref(), output)
        }
    }
}

fn renew(client: &Client, invite: Option<&str>, output: Output) -> Result {
    let answer: Value = client.send("POST", "/v1/ticket", &[], &json!({ "invite": invite }))?;
    if output.json {
        return output.value(&answer);
    }
    let text = |key: &str| answer[key].as_str().unwrap_or_default();
    output.line(format_args!(
        "the ticket is good until {}, signed by the issuer on node {}",
        text("until"),
        text("signed_by")
    ))
}

fn show(arguments: &Key, output: Output) -> Result {
    let dir = &arguments.data_dir;
    // Showing changes nothing: the peer may be running.
    let key = match arguments.create {
        true => Some(NodeKey::open_or_mint(dir)),
        false => NodeKey::open(dir).transpose(),
    };
    let key = key.transpose().map_err(Failure::usage)?.ok_or_else(|| {
        Failure::usage(format_args!("there is no identity in {}", dir.display()))
            .hint("`oxigdal-ha run` draws one at its first start; so does `oxigdal-ha key --create`")
    })?;
    let admission = Admission::inspect(dir).map_err(Failure::usage)?;
    if output.json {
        return output.value(&json!({
            "node": key.node(),
            "peer_id": key.peer_id().to_string(),
            "cluster": admission.as_ref().map(|admission| admission.cluster().to_string()),
            "issuer": admission.as_ref().is_some_and(Admission::is_issuer),
            "expires": admission.as_ref().map(|admission| admission.expires_at().to_string()),
            "papers": admission.as_ref().map(Admission::papers),
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
            let papers = admission.papers();
            let state = match papers.standing {
                Standing::Good => "good until",
                Standing::Expired => "expired at",
                Standing::Revoked => "worthless, since this peer is expelled; good until",
                _ => "worthless, since the issuer that signed it is revoked; good until",
            };
            row("ticket", format!("{state} {}{office}", papers.ticket_until))?;
            row("signed", format!("by the issuer on node {}", papers.signed_by))?;
            let Some(until) = papers.issuer_until else { return Ok(()) };
            row("issuer", format!("until {until}"))?;
            let root = dir.join(ROOT_FILE);
            if root.exists() {
                row("root key", format!("{}: better kept elsewhere, see `oxigdal-ha key root move`", root.display()))?;
            }
            Ok(())
        }
    }
}

fn shown(dir: &Path) -> String {
    dir.display().to_string()
}
