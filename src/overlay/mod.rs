//! Who exchanges deltas with whom: star, tree and full mesh, computed from the membership view and the topology's policy.

mod event;

pub use event::Event;
