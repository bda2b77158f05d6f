//! `overlay`: which overlay the mesh has, and setting another while it runs.

use clap::{Args as ClapArgs, Subcommand};
use oxigdal_ha::topology::Policy;
use serde_json::{Value, json};

use crate::args::Target;
use crate::client::Client;
use crate::failure::Result;
use crate::output::{Output, Tone};

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show which overlay is configured here and which is in force in the mesh, since when, and by whom
    Show,
    /// Set the overlay of the whole running mesh, at an issuer. Peers that are offline follow when they are back
    Set {
        /// star, mesh, mesh:DEGREE, tree or tree:ARITY
        overlay: Policy,
    },
}

pub(crate) fn overlay(arguments: &Args, output: Output) -> Result {
    let client = Client::new(&arguments.target)?;
    match &arguments.command {
        None | Some(Command::Show) => show(&client, output),
        Some(Command::Set { overlay }) => set(&client, *overlay, output),
    }
}

fn show(client: &Client, output: Output) -> Result {
    let answer: Value = client.look("/v1/overlay", &[])?;
    if output.json {
        return output.value(&answer);
    }
    let text = |key: &str| answer[key].as_str().unwrap_or("-");
    let row = |label: &str, value: String| {
        output.line(format_args!("{} {value}", output.paint(Tone::Dim, format_args!("{label:<10}"))))
    };
    row("in force", output.paint(Tone::Bold, text("in_force")))?;
    match &answer["set"] {
        Value::Null => row("set", "never: each peer follows what it has configured".into())?,
        set => row("set", told(set))?,
    }
    row("configured", text("configured").to_owned())?;
    if let void @ Value::Object(_) = &answer["void"] {
        row("void", format!("{}: its issuer is revoked", told(void)))?;
    }
    let issuers = answer["issuers"].as_array().into_iter().flatten().map(|issuer| {
        let name = issuer["name"].as_str().or_else(|| issuer["node"].as_str()).unwrap_or("?");
        if issuer["here"] == true { format!("{name} (this peer)") } else { name.to_owned() }
    });
    row("issuers", issuers.collect::<Vec<_>>().join(", "))
}

fn set(client: &Client, overlay: Policy, output: Output) -> Result {
    let answer: Value = client.send("PUT", "/v1/overlay", &[], &json!({ "overlay": overlay.to_string() }))?;
    if output.json {
        return output.value(&answer);
    }
    output.line(format_args!("the overlay of the mesh is {}", told(&answer["set"])))
}

/// `tree:3, version 2, since ... by hub (id)`.
pub(crate) fn told(set: &Value) -> String {
    let text = |key: &str| set[key].as_str().unwrap_or("?");
    let by = set["by_name"].as_str().map_or_else(|| text("by").to_owned(), |name| format!("{name} ({})", text("by")));
    format!("{}, version {}, since {} by {by}", text("overlay"), set["version"], text("at"))
}
