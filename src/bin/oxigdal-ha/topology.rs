//! `topology`: check files, draw them.

use std::path::Path;

use oxigdal_ha::topology::{Topology, svg, text};
use serde_json::{Value, json};

use crate::args;
use crate::failure::{Failure, Result};
use crate::output::{Output, Tone};

pub(crate) fn topology(command: args::Topology, output: Output) -> Result {
    match command {
        args::Topology::Check { files } => files.iter().try_for_each(|file| check(file, output)),
        args::Topology::Show { file, svg } => show(&file, svg.as_deref(), output),
    }
}

/// Reads and checks a topology file.
pub(crate) fn read(file: &Path) -> Result<Topology> {
    let text = std::fs::read_to_string(file).map_err(|error| Failure::file("read", file, &error))?;
    Topology::parse(&file.display().to_string(), &text).map_err(Failure::usage)
}

fn check(file: &Path, output: Output) -> Result {
    let topology = read(file)?;
    if output.json {
        return output.value(&summary(&topology));
    }
    let (name, nodes) = (topology.name(), topology.nodes().len());
    let plural = if nodes == 1 { "" } else { "s" };
    let line = format!("{}: {name}, {nodes} node{plural}, {}", file.display(), topology.overlay());
    output.line(format_args!("{} {line}", output.paint(Tone::Good, "ok")))
}

fn show(file: &Path, out: Option<&Path>, output: Output) -> Result {
    let topology = read(file)?;
    match out {
        Some(out) if out == Path::new("-") => return output.line(svg(&topology).trim_end()),
        Some(out) => std::fs::write(out, svg(&topology)).map_err(|error| Failure::file("write", out, &error))?,
        None => {}
    }
    if output.json {
        return output.value(&summary(&topology));
    }
    output.line(text(&topology).trim_end())
}

/// The topology with its edges by name.
fn summary(topology: &Topology) -> Value {
    let mut value = serde_json::to_value(topology).expect("a topology has text keys and finite numbers");
    let name = |at: usize| &topology.nodes()[at].name;
    value["edges"] = topology.edges().iter().map(|edge| json!([name(edge.a), name(edge.b)])).collect();
    value["top"] = topology.top().map(name).map_or(Value::Null, |name| json!(name));
    value
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use oxigdal_ha::membership::{Member, Meta, State};
    use oxigdal_ha::overlay::neighbors;
    use oxigdal_ha::topology::Role;
    use oxigdal_ha::topology::graph::Seat;
    use oxigdal_ha::types::{Boot, Incarnation, NodeId, Time};

    use super::*;

    /// Everybody alive, with the ids that are drawn.
    fn members(topology: &Topology) -> Vec<Member> {
        let member = |(seat, node): (Seat<'_>, &oxigdal_ha::topology::Node)| Member {
            id: seat.id,
            boot: Boot::new(1),
            incarnation: Incarnation::ZERO,
            state: State::Alive,
            meta: Arc::new(Meta {
                name: node.name.clone(),
                region: node.region.clone().unwrap_or_default(),
                priority: node.priority,
                observer: node.role == Role::Observer,
                ..Meta::default()
            }),
            since: Time::ZERO,
        };
        topology.seats().into_iter().zip(topology.nodes()).map(member).collect()
    }

    #[test]
    fn what_is_drawn_is_what_the_peers_compute() {
        let mut files: Vec<_> = std::fs::read_dir("topologies").unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|ending| ending == "toml"));
        files.sort();
        assert!(files.len() >= 4);
        for file in files {
            let topology = read(&file).unwrap();
            let members = members(&topology);
            let at = |id: NodeId| members.iter().position(|member| member.id == id).unwrap();
            let mut computed = BTreeSet::new();
            for member in &members {
                for other in neighbors(&members, topology.overlay(), member.id) {
                    computed.insert((at(member.id).min(at(other)), at(member.id).max(at(other))));
                }
            }
            let drawn: BTreeSet<_> =
                topology.edges().iter().map(|edge| (edge.a.min(edge.b), edge.a.max(edge.b))).collect();
            assert_eq!(drawn, computed, "{}", file.display());
        }
    }
}
