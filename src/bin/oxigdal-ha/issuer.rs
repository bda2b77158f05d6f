//! `key issuer` and `key root`: who signs tickets, and the key that says who may.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use oxigdal_ha::driver::admission::{IssuerRequest, RootKey};
use serde_json::{Value, json};

use crate::args::IssuerCommand;
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::key::ROOT_FILE;
use crate::output::{Output, Tone, cell, number};

/// Longest file that is read for a request or a certificate, in bytes.
const TEXT_MAX: u64 = 64 << 10;

pub(crate) fn issuer(command: IssuerCommand, data_dir: &Path, output: Output) -> Result {
    match command {
        IssuerCommand::Request { target } => request(&Client::new(&target)?, output),
        IssuerCommand::Sign { request, root_key, days } => {
            sign(&request, &root_key.unwrap_or_else(|| data_dir.join(ROOT_FILE)), days, output)
        }
        IssuerCommand::Install { target, certificate } => install(&Client::new(&target)?, &certificate, output),
        IssuerCommand::List { target } => list(&Client::new(&target)?, output),
    }
}

fn request(client: &Client, output: Output) -> Result {
    let answer: Value = client.send("POST", "/v1/issuers/request", &[], &json!({}))?;
    if output.json {
        return output.value(&answer);
    }
    let text = |key: &str| answer[key].as_str().unwrap_or_default();
    output.line(text("request"))?;
    // Alone when piped, so that it can be handed on.
    if output.terminal {
        output.line("")?;
        let note =
            format!("key {} of node {}. Where the root key is, with this text in a file:", text("key"), text("node"));
        output.line(output.paint(Tone::Dim, note))?;
        output.line("  oxigdal-ha key issuer sign FILE --root-key root.key")?;
    }
    Ok(())
}

fn sign(request: &Path, root_key: &Path, days: u16, output: Output) -> Result {
    let request: IssuerRequest =
        read(request)?.parse().map_err(|error| Failure::usage(format_args!("{}: {error}", request.display())))?;
    let root = RootKey::open(root_key).map_err(|error| {
        Failure::usage(error)
            .hint("the root key was drawn by the peer that founded the mesh; name its file with --root-key")
    })?;
    let life = Duration::from_secs(u64::from(days) * 86_400);
    let certificate = root.sign(&request, life).map_err(Failure::usage)?;
    let member = request.verify(root.cluster()).map_err(Failure::usage)?;
    if root.is_exposed() && !output.json {
        eprintln!("note: others on this machine can read {}", root_key.display());
    }
    if output.json {
        return output.value(&json!({
            "certificate": certificate.to_string(),
            "node": member.node,
            "name": member.name,
            "key": request.fingerprint(),
            "days": days,
        }));
    }
    // Whoever signs must see what; standard output is the certificate's alone.
    eprintln!(
        "signed: node {}{}, with the key {}, asked at {}, becomes an issuer for {days} days",
        member.node,
        if member.name.is_empty() { String::new() } else { format!(" ({})", member.name) },
        request.fingerprint(),
        request.made_at()
    );
    output.line(certificate)
}

fn install(client: &Client, certificate: &Path, output: Output) -> Result {
    let text = read(certificate)?;
    let answer: Value = client.send("POST", "/v1/issuers", &[], &json!({ "certificate": text.trim() }))?;
    if output.json {
        return output.value(&answer);
    }
    let until = answer["until"].as_str().unwrap_or_default();
    output.line(format_args!(
        "this peer is an issuer until {until}: it makes invites and renews the tickets of all members"
    ))
}

fn list(client: &Client, output: Output) -> Result {
    let answer: Value = client.get("/v1/issuers", &[])?;
    if output.json {
        return output.value(&answer);
    }
    let mut table = output.table(&["NODE", "STATE", "LINK", "UNTIL", "TICKETS"]);
    let (mut good, issuers) = (0, answer["issuers"].as_array().map_or(&[][..], Vec::as_slice));
    for issuer in issuers {
        let flag = |key: &str| issuer[key].as_bool().unwrap_or_default();
        let text = |key: &str| issuer[key].as_str().unwrap_or_default();
        let (state, tone) = match (flag("revoked"), flag("expired")) {
            (true, _) => ("revoked", Tone::Bad),
            (false, true) => ("expired", Tone::Warn),
            (false, false) => ("good", Tone::Good),
        };
        good += u32::from(state == "good");
        let link = match (flag("here"), flag("linked")) {
            (true, _) => "this peer",
            (false, true) => "linked",
            (false, false) => "-",
        };
        table.add_row([
            cell(Tone::Bold, text("node")),
            cell(tone, state),
            cell(Tone::Dim, link),
            cell(Tone::Dim, text("until")),
            number(&issuer["tickets"]),
        ]);
    }
    output.rows(&table)?;
    if good < 2 && output.terminal {
        let note = "with fewer than two issuers the mesh depends on one peer; see `oxigdal-ha key issuer --help`";
        output.line(output.paint(Tone::Dim, note))?;
    }
    Ok(())
}

pub(crate) fn move_root(data_dir: &Path, to: &Path, output: Output) -> Result {
    let from = data_dir.join(ROOT_FILE);
    let (root, to) = RootKey::move_to(&from, to).map_err(|error| {
        Failure::usage(error)
            .hint(format!("the root key stays where it is; --data-dir names where {ROOT_FILE} is looked for"))
    })?;
    moved(&root, &to, output)
}

fn moved(root: &RootKey, to: &PathBuf, output: Output) -> Result {
    if output.json {
        return output
            .value(&json!({ "root_key": to, "cluster": root.cluster().to_string(), "exposed": root.is_exposed() }));
    }
    output.line(format_args!("the root key is now {}, and no longer on this peer", to.display()))?;
    if root.is_exposed() {
        output.line("others on this machine can read it there: lock the medium away")?;
    }
    output.line("keep a second copy: without it nobody can be made an issuer once the certificates have ended")
}

/// A text that a person carries: a file's, or standard input's.
fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().take(TEXT_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(TEXT_MAX).read_to_string(&mut text))
    };
    read.map_err(|error| Failure::file("read", path, &error))?;
    Ok(text)
}
