//! `config`: a file to start from, a check, and where each value comes from.

use std::io::Write as _;
use std::path::Path;

use oxigdal_ha::config::{self, Flags};
use serde_json::json;

use crate::args;
use crate::failure::{Failure, Result};
use crate::output::{Output, Tone, cell};

pub(crate) fn config(command: args::Config, output: Output) -> Result {
    match command {
        args::Config::Init { file } => init(file.as_deref(), output),
        args::Config::Check { file } => check(file.as_deref(), output),
        args::Config::Print { file, origin } => print(file.as_deref(), origin, output),
    }
}

fn init(file: Option<&Path>, output: Output) -> Result {
    let text = config::default_text();
    let Some(file) = file else { return output.line(text.trim_end()) };
    let created = std::fs::OpenOptions::new().write(true).create_new(true).open(file);
    created
        .and_then(|mut opened| opened.write_all(text.as_bytes()))
        .map_err(|error| Failure::file("write", file, &error))?;
    output
        .line(format_args!("{}: every setting with its default; start with `oxigdal-ha run --config`", file.display()))
}

/// The environment, without what is no text: settings are.
pub(crate) fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// What the file, the environment and nothing else come to.
pub(crate) fn load(file: Option<&Path>) -> Result<config::Config> {
    config::load(file, environment(), &Flags::new()).map_err(Failure::usage)
}

fn check(file: Option<&Path>, output: Output) -> Result {
    let config = load(file)?;
    let set = config.settings().filter(|setting| !is_built_in(&setting.origin)).count();
    if output.json {
        return output.value(&json!({ "ok": true, "set": set, "fingerprint": config.cluster.fingerprint() }));
    }
    let what = file.map_or_else(|| "the environment".into(), |file| file.display().to_string());
    let plural = if set == 1 { "" } else { "s" };
    output.line(format_args!(
        "{} {what}: {set} setting{plural} given; fingerprint of what all peers must agree on: {}",
        output.paint(Tone::Good, "ok"),
        config.cluster.fingerprint()
    ))
}

fn print(file: Option<&Path>, origin: bool, output: Output) -> Result {
    let config = load(file)?;
    if output.json {
        let settings: Vec<_> = config
            .settings()
            .map(|setting| json!({ "key": setting.key, "value": setting.value, "origin": setting.origin.to_string() }))
            .collect();
        return output.value(&settings);
    }
    if !origin {
        return toml(&config, output);
    }
    let mut table = output.table(&["KEY", "VALUE", "ORIGIN"]);
    for setting in config.settings() {
        let tone = if is_built_in(&setting.origin) { Tone::Dim } else { Tone::Good };
        table.add_row([cell(Tone::Bold, setting.key), cell(Tone::Name, &setting.value), cell(tone, setting.origin)]);
    }
    output.rows(&table)
}

/// As a file that comes to the same.
fn toml(config: &config::Config, output: Output) -> Result {
    let mut section = "";
    for setting in config.settings() {
        let (own, key) = setting.key.split_once('.').unwrap_or(("", setting.key));
        if own != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            output.line(format_args!("{gap}[{own}]"))?;
            section = own;
        }
        match &setting.origin {
            // Not fixed: another profile gives another value.
            origin @ config::Origin::Profile { .. } => {
                output.line(format_args!("#{key} = {} # {origin}", setting.value))?;
            }
            _ => output.line(format_args!("{key} = {}", setting.value))?,
        }
    }
    Ok(())
}

/// Whether nobody gave it.
const fn is_built_in(origin: &config::Origin) -> bool {
    matches!(origin, config::Origin::Default | config::Origin::Profile { .. })
}
