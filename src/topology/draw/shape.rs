//! The shape of the overlay when everybody is alive: who is on top, who is whose child.

use serde::Serialize;

use super::super::{Policy, Role, Topology};

/// Two nodes that exchange deltas, by their places in [`Topology::nodes`]. In a star and in a tree `a` is hub or parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Edge {
    /// One end.
    pub a: usize,
    /// The other end.
    pub b: usize,
}

impl Topology {
    /// The overlay's edges when everybody is alive and, among nodes of equal priority, ids fall in the file's order.
    #[must_use]
    pub fn edges(&self) -> Vec<Edge> {
        match self.overlay() {
            Policy::Mesh => {
                let n = self.nodes().len();
                (0..n).flat_map(|a| (a + 1..n).map(move |b| Edge { a, b })).collect()
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
            Policy::Mesh => None,
            Policy::Star | Policy::Tree { .. } => self.preferred().first().copied(),
        }
    }

    /// For each node its hub or parent.
    fn parents(&self) -> Vec<Option<usize>> {
        let mut parents = vec![None; self.nodes().len()];
        let order = self.preferred();
        match self.overlay() {
            Policy::Mesh => {}
            Policy::Star => order.iter().skip(1).for_each(|node| parents[*node] = Some(order[0])),
            Policy::Tree { arity } => self.tree(&order, usize::from(arity), &mut parents),
        }
        parents
    }

    /// Each region is a subtree below its most preferred node, its gateway; the gateways form the tree on top. So what
    /// crosses from one region to another crosses once.
    fn tree(&self, order: &[usize], arity: usize, parents: &mut [Option<usize>]) {
        let mut regions: Vec<(&Option<String>, Vec<usize>)> = Vec::new();
        for node in order {
            let region = &self.nodes()[*node].region;
            match regions.iter_mut().find(|(name, _)| *name == region) {
                Some((_, members)) => members.push(*node),
                None => regions.push((region, vec![*node])),
            }
        }
        let gateways: Vec<usize> = regions.iter().map(|(_, members)| members[0]).collect();
        for level in regions.iter().map(|(_, members)| members).chain([&gateways]) {
            for (at, node) in level.iter().enumerate().skip(1) {
                parents[*node] = Some(level[(at - 1) / arity]);
            }
        }
    }

    /// The nodes from the most to the least preferred.
    fn preferred(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.nodes().len()).collect();
        order.sort_by_key(|at| {
            let node = &self.nodes()[*at];
            (node.role == Role::Observer, std::cmp::Reverse(node.priority), *at)
        });
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
