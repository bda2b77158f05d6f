//! A topology in characters.

use std::fmt::Write as _;

use super::super::{Node, Policy, Role, Topology};
use super::{Quality, meaning, population};

/// Most nodes whose delays are shown as a table.
const TABLE_NODES_MAX: usize = 9;
/// Most nodes, and most wires, that are drawn one by one.
const ROWS_MAX: usize = 200;

/// The topology for a terminal: what it is, the overlay, and the delays between nodes. Ends with a line feed.
#[must_use]
pub fn text(topology: &Topology) -> String {
    let mut out = String::new();
    line(&mut out, format_args!("{}", topology.name()));
    if !topology.description().is_empty() {
        line(&mut out, format_args!("{}", topology.description()));
    }
    line(&mut out, format_args!(""));
    line(&mut out, format_args!("nodes    {}", population(topology)));
    line(&mut out, format_args!("overlay  {}", meaning(topology)));
    if let Some(link) = topology.default_link() {
        line(&mut out, format_args!("links    {} unless listed", Quality(link)));
    }
    line(&mut out, format_args!(""));
    match topology.overlay() {
        Policy::Mesh { .. } => roster(&mut out, topology),
        Policy::Star | Policy::Tree { .. } => tree(&mut out, topology),
    }
    wires(&mut out, topology);
    delays(&mut out, topology);
    out
}

/// Writing to a string cannot fail.
fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    let written = text.to_string();
    let _ = writeln!(out, "{}", written.trim_end());
}

/// The nodes of a mesh, one a line.
fn roster(out: &mut String, topology: &Topology) {
    let width = topology.nodes().iter().map(|node| node.name.len()).max().unwrap_or(0);
    for node in topology.nodes().iter().take(ROWS_MAX) {
        line(out, format_args!("● {:width$}  {}", node.name, about(node)));
    }
    more(out, topology.nodes().len());
}

/// A star or a tree, from the top.
fn tree(out: &mut String, topology: &Topology) {
    let children = topology.children();
    let mut rows = Vec::new();
    let mut open: Vec<(usize, String, bool)> =
        topology.top().map(|top| (top, String::new(), true)).into_iter().collect();
    while let Some((node, indent, last)) = open.pop() {
        let top = Some(node) == topology.top();
        let branch = if top {
            ""
        } else if last {
            "└─ "
        } else {
            "├─ "
        };
        let mark = if top { "★ " } else { "" };
        rows.push((format!("{indent}{branch}{mark}{}", topology.nodes()[node].name), node));
        let below = indent
            + if top {
                ""
            } else if last {
                "   "
            } else {
                "│  "
            };
        let kids = &children[node];
        open.extend(kids.iter().enumerate().rev().map(|(at, kid)| (*kid, below.clone(), at + 1 == kids.len())));
    }
    let width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    for (label, node) in rows.iter().take(ROWS_MAX) {
        line(out, format_args!("{label:width$}  {}", about(&topology.nodes()[*node])));
    }
    more(out, rows.len());
}

fn more(out: &mut String, rows: usize) {
    if rows > ROWS_MAX {
        line(out, format_args!("… and {} more", rows - ROWS_MAX));
    }
}

/// Where a node is and what it may become.
fn about(node: &Node) -> String {
    let mut parts = Vec::new();
    match (&node.region, &node.zone) {
        (Some(region), Some(zone)) => parts.push(format!("{region}/{zone}")),
        (Some(place), None) | (None, Some(place)) => parts.push(place.clone()),
        (None, None) => {}
    }
    if node.priority > 0 {
        parts.push(format!("priority {}", node.priority));
    }
    if node.role == Role::Observer {
        parts.push("observer".into());
    }
    parts.extend(node.position.map(|place| place.to_string()));
    parts.extend(node.addresses.iter().map(ToString::to_string));
    parts.join("  ")
}

/// The links of a mesh without a default link.
fn wires(out: &mut String, topology: &Topology) {
    let mut count = 0;
    for (a, b, link) in topology.wires() {
        if count == 0 {
            line(out, format_args!(""));
        }
        count += 1;
        if count <= ROWS_MAX {
            let (a, b) = (&topology.nodes()[a].name, &topology.nodes()[b].name);
            line(out, format_args!("{a} ─ {b}  {}", Quality(link)));
        }
    }
    more(out, count);
}

/// The delay from each node to each other one, along the path of least delay.
fn delays(out: &mut String, topology: &Topology) {
    let nodes = topology.nodes();
    if !(2..=TABLE_NODES_MAX).contains(&nodes.len()) {
        return;
    }
    let cell = |a: usize, b: usize| {
        let micros = topology.path(a, b).delay.as_micros();
        if a == b { "·".into() } else { format!("{}.{:02}", micros / 1_000, micros % 1_000 / 10) }
    };
    let label = nodes.iter().map(|node| node.name.len()).max().unwrap_or(0).max("delay, ms".len());
    let column = |b: usize| (0..nodes.len()).map(|a| cell(a, b).len()).max().unwrap_or(0).max(nodes[b].name.len());
    let widths: Vec<usize> = (0..nodes.len()).map(column).collect();
    let row = |head: &str, cells: Vec<String>| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("  {cell:>width$}")).collect::<String>();
        format!("{head:label$}{cells}")
    };
    line(out, format_args!(""));
    line(out, format_args!("{}", row("delay, ms", nodes.iter().map(|node| node.name.clone()).collect())));
    for (a, node) in nodes.iter().enumerate() {
        line(out, format_args!("{}", row(&node.name, (0..nodes.len()).map(|b| cell(a, b)).collect())));
    }
}
