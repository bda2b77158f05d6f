//! Tests of the room: the protocol in a mesh of its own, the laws of the lattice, single machines, bytes.

mod behaviour;
mod chaos;
mod laws;
mod machine;
mod mesh;
