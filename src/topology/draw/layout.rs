//! Where each node stands: on a map if all have a place, else by the overlay.

use super::super::{Place, Policy, Topology};
use super::geometry::{Point, sin_cos};

/// Space around the drawing, for labels.
pub(super) const MARGIN: f64 = 90.0;
/// Height of the head with the name.
pub(super) const HEAD: f64 = 96.0;
/// Room for a node with its label.
const CELL: f64 = 96.0;

/// A drawing's size and the places of its nodes.
pub(super) struct Layout {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) nodes: Vec<Point>,
    /// Where its label stands, seen from each node.
    pub(super) labels: Vec<Side>,
    /// The map that the places are on.
    pub(super) map: Option<Map>,
}

/// On which side of a node its label is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Above,
    Below,
    Left,
    Right,
}

/// An equirectangular map, true to scale at its middle latitude.
#[derive(Clone, Copy)]
pub(super) struct Map {
    west: f64,
    north: f64,
    pub(super) east: f64,
    pub(super) south: f64,
    scale: f64,
    squeeze: f64,
}

impl Map {
    pub(super) fn point(&self, lon: f64, lat: f64) -> Point {
        Point::new(
            MARGIN + (lon - self.west) * self.squeeze * self.scale,
            HEAD + MARGIN + (self.north - lat) * self.scale,
        )
    }

    /// The meridians and parallels within the map.
    pub(super) fn graticule(&self) -> (Vec<f64>, Vec<f64>) {
        let span = (self.east - self.west).max(self.north - self.south);
        let step = [1.0, 2.0, 5.0, 10.0, 15.0, 30.0].into_iter().find(|step| span / step <= 9.0).unwrap_or(45.0);
        let lines = |low: f64, high: f64| {
            let first = (low / step).ceil();
            std::iter::successors(Some(first), |n| Some(n + 1.0))
                .map(|n| n * step)
                .take_while(move |at| *at <= high)
                .collect()
        };
        (lines(self.west, self.east), lines(self.south, self.north))
    }
}

/// Places every node.
pub(super) fn layout(topology: &Topology) -> Layout {
    let places: Option<Vec<Place>> = topology.nodes().iter().map(|node| node.position).collect();
    match places.filter(|places| places.iter().any(|place| *place != places[0])) {
        Some(places) => on_map(&places),
        None => match topology.overlay() {
            Policy::Mesh { .. } => ring(topology, None),
            Policy::Star => ring(topology, topology.top()),
            Policy::Tree { .. } => levels(topology),
        },
    }
}

/// A number of things as a length.
fn many(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("a topology has at most NODES_MAX nodes"))
}

fn on_map(places: &[Place]) -> Layout {
    let fold =
        |of: fn(&Place) -> f64, pick: fn(f64, f64) -> f64| places.iter().map(of).reduce(pick).unwrap_or_default();
    let (west, east) = (fold(|p| p.lon, f64::min), fold(|p| p.lon, f64::max));
    let (south, north) = (fold(|p| p.lat, f64::min), fold(|p| p.lat, f64::max));
    let (_, squeeze) = sin_cos((north + south) / 2.0 / 360.0);
    let squeeze = squeeze.max(0.2);
    let scale = (1_000.0 / ((east - west) * squeeze).max(1e-6)).min(620.0 / (north - south).max(1e-6)).min(400.0);
    let map = Map { west, north, east, south, scale, squeeze };
    let corner = map.point(east, south);
    let mut nodes: Vec<Point> = Vec::with_capacity(places.len());
    for (at, place) in places.iter().enumerate() {
        // Nodes of one place stand on a small circle around it.
        let together = places.iter().filter(|other| *other == place).count();
        let nth = places[..at].iter().filter(|other| *other == place).count();
        let centre = map.point(place.lon, place.lat);
        let radius = if together > 1 { (many(together) * 5.0).clamp(16.0, 70.0) } else { 0.0 };
        nodes.push(centre.around(radius, many(nth) / many(together)));
    }
    // Names point outwards, away from the edges.
    let middle = f64::midpoint(MARGIN, corner.x);
    let labels = nodes.iter().map(|node| if node.x < middle { Side::Left } else { Side::Right }).collect();
    Layout { width: (corner.x + MARGIN).max(640.0), height: corner.y + MARGIN, nodes, labels, map: Some(map) }
}

/// Everybody on a circle, the hub in its middle.
fn ring(topology: &Topology, hub: Option<usize>) -> Layout {
    let count = topology.nodes().len();
    let around = count - usize::from(hub.is_some());
    let radius = (many(around) * 40.0 / std::f64::consts::TAU).max(190.0);
    let radius = if count == 1 { 60.0 } else { radius };
    let size = 2.0 * (radius + MARGIN);
    let width = size.max(640.0);
    let centre = Point::new(width / 2.0, HEAD + size / 2.0);
    let (mut nodes, mut labels) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let mut nth = 0;
    for node in 0..count {
        if hub == Some(node) || count == 1 {
            nodes.push(centre);
            labels.push(Side::Below);
            continue;
        }
        // Nobody stands right below the hub, where its name is.
        let off = if around.is_multiple_of(2) && hub.is_some() { 0.5 } else { 0.0 };
        let turn = (many(nth) + off) / many(around);
        nth += 1;
        let point = centre.around(radius, turn);
        nodes.push(point);
        labels.push(match (point.x - centre.x, point.y - centre.y) {
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
    Layout { width, height: HEAD + size, nodes, labels, map: None }
}

/// Levels from the root down; a parent stands over the middle of its children.
fn levels(topology: &Topology) -> Layout {
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
    let labels = children.iter().map(|kids| if kids.is_empty() { Side::Below } else { Side::Right }).collect();
    Layout { width, height: HEAD + 40.0 + many(depth) * 130.0 + MARGIN, nodes, labels, map: None }
}
