//! Tests of the room: the protocol in a mesh of its own, its goals measured there, the laws of the lattice, single machines,
//! bytes.

mod behaviour;
mod chaos;
mod goals;
mod laws;
mod liar;
mod machine;
mod mesh;
