//! The shape of the overlay when everybody is alive: who is on top, who is whose child.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::graph::{self, Seat};
use super::super::{Policy, Role, Topology};
use crate::types::NodeId;

/// Two nodes that exchange deltas, by their places in [`Topology::nodes`]. In a star and in a tree `a` is hub or parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Edge {
    /// One end.
    pub a: usize,
    /// The other end.
    pub b: usize,
}

impl Topology {
    /// The nodes as the members that are drawn. Nobody knows the ids of real peers before they are drawn: these are an example,
    /// and fall in the file's order.
    #[must_use]
    pub fn seats(&self) -> Vec<Seat<'_>> {
        let ids = (1..=Self::NODES_MAX as u128).rev().map(NodeId::from_u128);
        let seats = self.nodes().iter().zip(ids).map(|(node, id)| Seat {
            id,
            region: node.region.as_deref().unwrap_or_default(),
            priority: node.priority,
            observer: node.role == Role::Observer,
        });
        seats.collect()
    }

    /// The overlay's edges when everybody is alive, with the ids of [`seats`](Self::seats).
    #[must_use]
    pub fn edges(&self) -> Vec<Edge> {
        match self.overlay() {
            Policy::Mesh { .. } => {
                let seats = self.seats();
                let places: BTreeMap<NodeId, usize> = seats.iter().map(|seat| seat.id).zip(0..).collect();
                let beside = |a: usize| graph::neighbors(&seats, self.overlay(), seats[a].id);
                let ends = |a| beside(a).into_iter().map(|id| places[&id]).filter(move |b| a < *b).rev();
                (0..seats.len()).flat_map(|a| ends(a).map(move |b| Edge { a, b }).collect::<Vec<_>>()).collect()
            }
            Policy::Star | Policy::Tree { .. } => {
                let parents = self.parents();
                let edges = parents.iter().enumerate().filter_map(|(b, parent)| parent.map(|a| Edge { a, b }));
                edges.collect()
            }
        }
    }

    /// The hub or root: the most preferred node. None in a mesh.
    #[must_use]
    pub fn top(&self) -> Option<usize> {
        match self.overlay() {
            Policy::Mesh { .. } => None,
            Policy::Star | Policy::Tree { .. } => self.preferred().first().copied(),
        }
    }

    /// For each node its hub or parent.
    fn parents(&self) -> Vec<Option<usize>> {
        let seats = self.seats();
        let places: BTreeMap<NodeId, usize> = seats.iter().map(|seat| seat.id).zip(0..).collect();
        seats.iter().map(|seat| graph::above(&seats, self.overlay(), seat.id).map(|id| places[&id])).collect()
    }

    /// The nodes from the most to the least preferred.
    fn preferred(&self) -> Vec<usize> {
        let seats = self.seats();
        let mut order: Vec<usize> = (0..seats.len()).collect();
        order.sort_by_key(|at| seats[*at].rank());
        order
    }

    /// The children of each node, in order of preference.
    pub(super) fn children(&self) -> Vec<Vec<usize>> {
        let parents = self.parents();
        let mut children = vec![Vec::new(); parents.len()];
        for node in self.preferred() {
            if let Some(parent) = parents[node] {
                children[parent].push(node);
            }
        }
        children
    }
}
