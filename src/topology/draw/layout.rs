//! Where each node and each name stands: on a map if all nodes have a place, else by the overlay.

use super::super::{Link, Place, Policy, Topology};
use super::geometry::{Frame, Point};
use super::labels::{Anchor, Around, Label, Named, place, width};
use super::map::Map;
use super::{Edge, Short};

/// Space around the drawing, for labels.
pub(super) const MARGIN: f64 = 90.0;
/// Height of the head with the name.
pub(super) const HEAD: f64 = 96.0;
/// Space between a map and the border of the picture.
pub(super) const BORDER: f64 = 28.0;
/// Room for a node with its label.
const CELL: f64 = 96.0;
/// Most edges that are drawn; a picture with more shows nothing.
pub(super) const EDGES_MAX: usize = 2_500;
/// Most nodes whose names are written beside them; each has a tooltip anyway.
const LABELS_MAX: usize = 120;
/// Most edges whose delay is written beside them.
const DELAYS_MAX: usize = 14;
/// Height of a delay's letters, in pixels.
pub(super) const DELAY_SIZE: f64 = 11.0;

/// A drawing's size and the places of its nodes.
pub(super) struct Layout {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) nodes: Vec<Point>,
    /// Of each node.
    pub(super) radii: Vec<f64>,
    /// Of each node; none if there are more than [`LABELS_MAX`].
    pub(super) labels: Vec<Label>,
    /// Height of the names' letters, in pixels.
    pub(super) size: f64,
    /// The overlay's edges; none if there are too many to see one.
    pub(super) edges: Vec<(Edge, Link)>,
    /// What is written beside edges, with the space that it takes.
    pub(super) delays: Vec<(Frame, String)>,
    /// The map that the places are on.
    pub(super) map: Option<Map>,
}

/// On which side of a node its label is, where there is no map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Above,
    Below,
    Left,
    Right,
}

/// How far around a node nothing else should be: its disc, and what surrounds the disc of a hub or root.
const HALO: f64 = 6.0;

/// Places everything.
pub(super) fn layout(topology: &Topology) -> Layout {
    let mut edges = topology.edges();
    if edges.len() > EDGES_MAX {
        edges.clear();
    }
    let edges: Vec<_> = edges.into_iter().map(|edge| (edge, topology.path(edge.a, edge.b))).collect();
    let places: Option<Vec<Place>> = topology.nodes().iter().map(|node| node.position).collect();
    match places.filter(|places| places.iter().any(|place| *place != places[0])) {
        Some(places) => on_map(topology, &places, edges),
        None => match topology.overlay() {
            Policy::Mesh { .. } => ring(topology, None, edges),
            Policy::Star => ring(topology, topology.top(), edges),
            Policy::Tree { .. } => levels(topology, edges),
        },
    }
}

/// A number of things as a length.
fn many(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("a topology has at most NODES_MAX nodes"))
}

/// The radius of each node; the hub or root is larger.
fn radii(topology: &Topology, usual: f64) -> Vec<f64> {
    let top = topology.top();
    (0..topology.nodes().len()).map(|at| if top == Some(at) { usual + 4.0 } else { usual }).collect()
}

fn on_map(topology: &Topology, places: &[Place], edges: Vec<(Edge, Link)>) -> Layout {
    // The more nodes, the more room and the smaller each.
    let (high, usual, size) = match places.len() {
        0..=24 => (620.0, 10.0, 13.0),
        25..=40 => (760.0, 8.0, 12.5),
        41..=70 => (900.0, 7.0, 12.0),
        _ => (1_100.0, 5.0, 11.0),
    };
    let corner = Point::new(BORDER, HEAD);
    let map = Map::of(places, corner, 700.0, Point::new(1_080.0, high), MARGIN * 0.8);
    let (mut nodes, mut outward): (Vec<Point>, Vec<Option<Point>>) = Default::default();
    for (at, place) in places.iter().enumerate() {
        // Nodes of one place stand on a small circle around it.
        let together = places.iter().filter(|other| *other == place).count();
        let nth = places[..at].iter().filter(|other| *other == place).count();
        let centre = map.point(place.lon, place.lat);
        let radius = if together > 1 { (many(together) * 5.5).clamp(18.0, 70.0) } else { 0.0 };
        let point = centre.around(radius, many(nth) / many(together));
        nodes.push(point);
        outward.push((together > 1).then(|| Point::new(point.x - centre.x, point.y - centre.y)));
    }
    let radii = radii(topology, usual);
    let delays = delays(&edges, &nodes, &radii, false);
    let taken: Vec<Frame> = delays.iter().map(|(frame, _)| *frame).collect();
    let wires = topology.wires().take(EDGES_MAX).map(|(a, b, _)| (nodes[a], nodes[b]));
    let lines: Vec<_> = edges.iter().map(|(edge, _)| (nodes[edge.a], nodes[edge.b])).chain(wires).collect();
    let named: Vec<Named<'_>> = topology
        .nodes()
        .iter()
        .enumerate()
        .map(|(at, node)| Named { point: nodes[at], radius: radii[at], name: &node.name, outward: outward[at] })
        .collect();
    let around = Around { frame: map.frame.grown(-4.0), taken: &taken, lines: &lines };
    let labels = if named.len() > LABELS_MAX { Vec::new() } else { place(&named, size, &around) };
    let (width, height) = (map.frame.right + BORDER, map.frame.bottom);
    Layout { width, height, nodes, radii, labels, size, edges, delays, map: Some(map) }
}

/// What is written on the edges, if those are few; each on the first place of its edge where it hides nothing else.
fn delays(edges: &[(Edge, Link)], nodes: &[Point], radii: &[f64], hanging: bool) -> Vec<(Frame, String)> {
    let mut written: Vec<(Frame, String)> = Vec::new();
    if edges.len() > DELAYS_MAX {
        return written;
    }
    let disc = |(point, radius): (&Point, &f64)| Frame::around(*point, *radius, *radius);
    let discs: Vec<Frame> = nodes.iter().zip(radii).map(disc).collect();
    // On a curve its middle; on a line a little past it first, so that the labels of crossing edges do not meet.
    let shares: &[f64] = if hanging { &[0.5] } else { &[0.58, 0.42, 0.68, 0.32] };
    for (edge, link) in edges {
        let (from, to) = (nodes[edge.a], nodes[edge.b]);
        let delay = Short(link.delay).to_string();
        let half = width(&delay, DELAY_SIZE) / 2.0 + 4.0;
        let frame = |share: &f64| Frame::around(from.towards(to, *share), half, 8.0);
        // Parallel edges of one delay are told once.
        let told = |at: Point| {
            let near = |other: Point| (other.x - at.x).abs() < 60.0 && (other.y - at.y).abs() < 40.0;
            !hanging && written.iter().any(|(other, text)| *text == delay && near(other.centre()))
        };
        let free = |frame: &Frame| {
            let others = discs.iter().chain(written.iter().map(|(other, _)| other));
            hanging || others.map(|other| frame.shared(other)).sum::<f64>() == 0.0
        };
        let long = (to.x - from.x).abs() + (to.y - from.y).abs() > 90.0;
        if long
            && !told(from.towards(to, shares[0]))
            && let Some(frame) = shares.iter().map(frame).find(free)
        {
            written.push((frame, delay));
        }
    }
    written
}

/// The names beside the nodes where there is no map.
fn beside(nodes: &[Point], radii: &[f64], sides: &[Side], size: f64) -> Vec<Label> {
    let label = |(at, side): (usize, &Side)| {
        let (point, halo) = (nodes[at], if radii[at] > 11.0 { HALO } else { 0.0 });
        let off = radii[at] + halo + 8.0;
        let (dx, dy, anchor) = match side {
            Side::Above => (0.0, -off, Anchor::Middle),
            Side::Below => (0.0, off + 10.0, Anchor::Middle),
            Side::Left => (-off, size * 0.35, Anchor::End),
            Side::Right => (off, size * 0.35, Anchor::Start),
        };
        Label { at: Point::new(point.x + dx, point.y + dy), anchor }
    };
    sides.iter().enumerate().map(label).collect()
}

/// A drawing without a map.
fn drawing(
    topology: &Topology,
    (width, height): (f64, f64),
    (nodes, sides): (Vec<Point>, Vec<Side>),
    edges: Vec<(Edge, Link)>,
) -> Layout {
    let hanging = matches!(topology.overlay(), Policy::Tree { .. });
    let (radii, size) = (radii(topology, if nodes.len() > 60 { 6.0 } else { 11.0 }), 13.0);
    let labels = if nodes.len() > LABELS_MAX { Vec::new() } else { beside(&nodes, &radii, &sides, size) };
    let delays = delays(&edges, &nodes, &radii, hanging);
    Layout { width, height, nodes, radii, labels, size, edges, delays, map: None }
}

/// Everybody on a circle, the hub in its middle.
fn ring(topology: &Topology, hub: Option<usize>, edges: Vec<(Edge, Link)>) -> Layout {
    let count = topology.nodes().len();
    let around = count - usize::from(hub.is_some());
    let radius = (many(around) * 40.0 / std::f64::consts::TAU).max(190.0);
    let radius = if count == 1 { 60.0 } else { radius };
    let size = 2.0 * (radius + MARGIN);
    let width = size.max(640.0);
    let centre = Point::new(width / 2.0, HEAD + size / 2.0);
    let (mut nodes, mut sides) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let mut nth = 0;
    for node in 0..count {
        if hub == Some(node) || count == 1 {
            nodes.push(centre);
            sides.push(Side::Below);
            continue;
        }
        // Nobody stands right below the hub, where its name is.
        let off = if around.is_multiple_of(2) && hub.is_some() { 0.5 } else { 0.0 };
        let turn = (many(nth) + off) / many(around);
        nth += 1;
        let point = centre.around(radius, turn);
        nodes.push(point);
        sides.push(match (point.x - centre.x, point.y - centre.y) {
            (x, y) if x.abs() < radius / 4.0 => {
                if y < 0.0 {
                    Side::Above
                } else {
                    Side::Below
                }
            }
            (x, _) => {
                if x < 0.0 {
                    Side::Left
                } else {
                    Side::Right
                }
            }
        });
    }
    drawing(topology, (width, HEAD + size), (nodes, sides), edges)
}

/// Levels from the root down; a parent stands over the middle of its children.
fn levels(topology: &Topology, edges: Vec<(Edge, Link)>) -> Layout {
    let children = topology.children();
    let mut nodes = vec![Point::default(); children.len()];
    let (mut leaves, mut depth) = (0, 0);
    // Children before parents: each node is met twice, and placed the second time.
    let mut open: Vec<(usize, usize, bool)> = topology.top().map(|top| (top, 0, false)).into_iter().collect();
    while let Some((node, level, placed)) = open.pop() {
        depth = depth.max(level);
        let kids = &children[node];
        let y = HEAD + 40.0 + many(level) * 130.0;
        if kids.is_empty() {
            nodes[node] = Point::new(MARGIN + (many(leaves) + 0.5) * CELL, y);
            leaves += 1;
        } else if placed {
            let (first, last) = (nodes[kids[0]].x, nodes[kids[kids.len() - 1]].x);
            nodes[node] = Point::new((first + last) / 2.0, y);
        } else {
            open.push((node, level, true));
            open.extend(kids.iter().rev().map(|kid| (*kid, level + 1, false)));
        }
    }
    let drawn = 2.0 * MARGIN + many(leaves) * CELL;
    let width = drawn.max(640.0);
    nodes.iter_mut().for_each(|point| point.x += (width - drawn) / 2.0);
    let sides = children.iter().map(|kids| if kids.is_empty() { Side::Below } else { Side::Right }).collect();
    drawing(topology, (width, HEAD + 40.0 + many(depth) * 130.0 + MARGIN), (nodes, sides), edges)
}
