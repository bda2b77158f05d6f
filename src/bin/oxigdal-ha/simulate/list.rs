//! `simulate list`: the scenarios, the invariants, the kinds of faults.

use std::process::ExitCode;

use comfy_table::Cell;
use oxigdal_ha::sim::{self, Scenario};
use serde_json::json;

use super::families;
use crate::failure::Result;
use crate::output::{self, Output, Tone, cell, number};

pub(super) fn list_all(scenarios: &[Scenario], output: Output) -> Result<ExitCode> {
    if output.json {
        let listed: Vec<_> = scenarios
            .iter()
            .map(|scenario| {
                json!({
                    "name": scenario.name(),
                    "file": scenario.file(),
                    "peers": scenario.peers(),
                    "overlay": scenario.overlay(),
                    "virtual_ms": scenario.span_ns() / 1_000_000,
                    "description": scenario.description(),
                })
            })
            .collect();
        output.value(&listed)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output.table(&["SCENARIO", "PEERS", "OVERLAY", "VIRTUAL", "ABOUT"]);
    for scenario in scenarios {
        table.add_row([
            cell(Tone::Name, scenario.name()),
            number(scenario.peers()),
            Cell::new(scenario.overlay()),
            number(output::millis(scenario.span_ns() / 1_000_000)),
            Cell::new(scenario.description()),
        ]);
    }
    output.rows(&table)?;
    Ok(ExitCode::SUCCESS)
}

/// The invariants; of one that judges only some scenarios also which of these.
pub(super) fn invariants(scenarios: &[Scenario], output: Output) -> Result<ExitCode> {
    let judges = |id: &str| {
        let of = scenarios.iter().filter(|scenario| scenario.is_judged_by(id)).map(Scenario::name);
        sim::judged_only(id).map(|only| (only, of.collect::<Vec<&str>>()))
    };
    if output.json {
        let listed: Vec<_> = sim::invariants()
            .map(|(id, says)| match judges(id) {
                Some((only, of)) => json!({ "id": id, "says": says, "judges": only, "scenarios": of }),
                None => json!({ "id": id, "says": says }),
            })
            .collect();
        output.value(&listed)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output.table(&["ID", "SAYS"]);
    for (id, says) in sim::invariants() {
        let told = match judges(id) {
            Some((only, of)) if of.is_empty() => format!("{says}; {only}"),
            Some((only, of)) => format!("{says}; {only}: {}", of.join(", ")),
            None => says.to_owned(),
        };
        table.add_row([cell(Tone::Name, id), Cell::new(told)]);
    }
    output.rows(&table)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn faults(output: Output) -> Result<ExitCode> {
    if output.json {
        output.value(&sim::faults().collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output.table(&["KIND", "FAMILY", "SAYS"]);
    for kind in sim::faults() {
        let family = families::name(kind.family);
        table.add_row([cell(Tone::Name, kind.name), Cell::new(family), Cell::new(kind.says)]);
    }
    output.rows(&table)?;
    Ok(ExitCode::SUCCESS)
}
