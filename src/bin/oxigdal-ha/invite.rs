//! `invite` and `revoke`: who may join, and who may not any more.

use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};

use crate::args::{Invite, InviteCommand, Revoke};
use crate::client::{Client, doc_path};
use crate::failure::{Failure, Result};
use crate::output::{Output, Tone, cell};

/// Longest text that is taken for an invite, in bytes.
const INVITE_MAX: u64 = 16 << 10;

/// An invite or another short text, or what stands for it: `@FILE` for what is in a file, `-` for what comes on standard input. It is a secret, and
/// others on the machine can read the arguments of a process.
pub(crate) fn given(text: &str, what: &str) -> Result<String> {
    let read = match text.strip_prefix('@') {
        Some(file) => std::fs::File::open(file).and_then(read_short).map_err(|error| (file, error)),
        None if text == "-" => read_short(std::io::stdin()).map_err(|error| ("standard input", error)),
        None => return Ok(text.to_owned()),
    };
    let read =
        read.map_err(|(name, error)| Failure::file(&format!("read the {what} from"), Path::new(name), &error))?;
    match read.trim() {
        "" => Err(Failure::usage(format_args!("{text:?} holds no {what}"))),
        given => Ok(given.to_owned()),
    }
}

fn read_short(source: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    source.take(INVITE_MAX).read_to_string(&mut text)?;
    Ok(text)
}

pub(crate) fn invite(arguments: Invite, output: Output) -> Result {
    let client = Client::new(&arguments.target)?;
    match arguments.command {
        InviteCommand::Issue { name, ttl } => issue(&client, &name, ttl, output),
        InviteCommand::List => list(&client, output),
        InviteCommand::Revoke { id } => {
            let answer: Value = client.delete(&doc_path("/v1/invites", &id))?;
            if output.json { output.value(&answer) } else { output.line(format_args!("invite {id} is taken back")) }
        }
    }
}

fn issue(client: &Client, name: &str, ttl: u64, output: Output) -> Result {
    let answer: Value = client.send("POST", "/v1/invites", &[], &json!({ "ttl_s": ttl, "name": name }))?;
    if output.json {
        return output.value(&answer);
    }
    let text = |key: &str| answer[key].as_str().unwrap_or_default();
    // Alone on its line when piped, so that it can be handed on.
    if !output.terminal {
        return output.line(text("invite"));
    }
    output.line(output.paint(Tone::Bold, text("invite")))?;
    output.line("")?;
    let note = format!("good once, until {}. On the new peer:", text("expires"));
    output.line(output.paint(Tone::Dim, note))?;
    output.line(format_args!("  oxigdal-ha run --join {}", text("invite")))
}

fn list(client: &Client, output: Output) -> Result {
    let answer: Value = client.get("/v1/invites", &[])?;
    if output.json {
        return output.value(&answer);
    }
    let mut table = output.table(&["ID", "NAME", "STATE", "EXPIRES", "USED BY"]);
    for invite in answer["invites"].as_array().into_iter().flatten() {
        let text = |key: &str| invite[key].as_str().unwrap_or_default();
        let (state, tone) = match (invite["revoked"].as_bool(), text("used_by")) {
            (Some(true), _) => ("taken back", Tone::Bad),
            (_, "") if invite["expired"] == true => ("expired", Tone::Dim),
            (_, "") => ("open", Tone::Good),
            _ => ("used", Tone::Dim),
        };
        table.add_row([
            cell(Tone::Bold, text("id")),
            cell(Tone::Name, text("name")),
            cell(tone, state),
            cell(Tone::Dim, text("expires")),
            cell(Tone::Dim, text("used_by")),
        ]);
    }
    output.rows(&table)
}

pub(crate) fn revoke(arguments: &Revoke, output: Output) -> Result {
    let client = Client::new(&arguments.target)?;
    let Some(node) = &arguments.node else { return revoked(&client, output) };
    if node.parse::<oxigdal_ha::types::NodeId>().is_err() {
        return Err(Failure::usage(format_args!("{node:?} is not a node id"))
            .hint("`oxigdal-ha members` shows the ids in its column NODE"));
    }
    if !arguments.issuer {
        spare_issuers(&client, node)?;
    }
    let members: Vec<Value> = client.look("/v1/members", &[])?;
    let answer: Value = client.send("POST", "/v1/revoked", &[], &json!({ "node": node }))?;
    if output.json {
        return output.value(&answer);
    }
    if !members.iter().any(|member| member["node"] == node.as_str()) {
        output.line("note: no member with this id is known here")?;
    }
    output.line(format_args!("{node} is expelled: its links close as the word spreads, and it is not let in again"))
}

/// Expelling an issuer expels those who have only its word: that must be meant.
fn spare_issuers(client: &Client, node: &str) -> Result {
    let answer: Value = client.get("/v1/issuers", &[])?;
    let mut issuers = answer["issuers"].as_array().into_iter().flatten();
    let Some(issuer) = issuers.find(|issuer| issuer["node"] == node && issuer["revoked"] != true) else {
        return Ok(());
    };
    let tickets = issuer["tickets"].as_u64().unwrap_or_default();
    Err(Failure::usage(format_args!("{node} is an issuer: its tickets, {tickets} as far as known here, go with it")).hint(
        "if it is only lost, leave it. If its key may be stolen: have members renew elsewhere first if there is time \
         (`oxigdal-ha key renew` at each), then revoke it with --issuer",
    ))
}

fn revoked(client: &Client, output: Output) -> Result {
    let answer: Value = client.get("/v1/revoked", &[])?;
    if output.json {
        return output.value(&answer);
    }
    let mut table = output.table(&["NODE", "SINCE"]);
    for entry in answer["revoked"].as_array().into_iter().flatten() {
        let text = |key: &str| entry[key].as_str().unwrap_or_default();
        table.add_row([cell(Tone::Bold, text("node")), cell(Tone::Dim, text("at"))]);
    }
    output.rows(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invite_may_lie_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("invite");
        std::fs::write(&file, "oxha1abc\n").unwrap();
        assert_eq!(given(&format!("@{}", file.display()), "invite").unwrap(), "oxha1abc");
        assert_eq!(given("oxha1abc", "invite").unwrap(), "oxha1abc");
        std::fs::write(&file, " \n").unwrap();
        assert!(given(&format!("@{}", file.display()), "invite").unwrap_err().to_string().contains("holds no invite"));
        assert!(given("@/nowhere/at/all", "invite").unwrap_err().to_string().contains("/nowhere/at/all"));
    }
}
