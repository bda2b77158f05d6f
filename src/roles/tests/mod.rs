//! Tests of the room.

