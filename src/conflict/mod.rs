//! What met, and what shows of it.
//!
//! Peers write without asking each other, so two may write one place before they hear of each other: a [`Conflict`]. This room
//! decides what then shows, for opaque values; documents decide by the same [`Rule`]s about what stands in their places.
//!
//! A resolver is a **view**: a pure function of the values that stand side by side. Each peer that holds the same values shows the
//! same one, in whatever order they came, and nobody writes anything for that. So peers cannot answer each other's
//! resolutions for ever. Only people write resolutions: a value that was made from all that stood is after them by its
//! clock, and supersedes them.
//!
//! **Invariants** (quickcheck properties hold them)
//! - What a resolver chooses does not depend on the order of [`Conflict::values`], and of equal values it does not matter which one
//!   is meant. Ties are broken by one total order, and none of it names the peer that looks: [`ConflictingValue`].
//! - Merging two [`Register`]s is commutative, associative and idempotent: any number of peers that exchange their values in
//!   any order hold the same; where no register was ever full (`VALUES_MAX`), since of too many values the lowest is dropped.
//! - A value keeps the clock that its writer gave it. Clocks are merged only where a value is made from others, and the count
//!   that rises is the writer's own.
//!
//! ```
//! use oxigdal_ha::conflict::strategies::LastWriteWins;
//! use oxigdal_ha::conflict::{ConflictResolver, Register};
//! use oxigdal_ha::types::{Hlc, NodeId, WallTime};
//!
//! let (mut here, mut there) = (Register::new("depth"), Register::new("depth"));
//! let at = |micros| Hlc { wall: WallTime::from_micros(micros), logical: 0 };
//! here.write(NodeId::from_u128(1), Some(b"12 m".to_vec()), at(1));
//! there.write(NodeId::from_u128(2), Some(b"13 m".to_vec()), at(2));
//! here.merge(&there);
//! there.merge(&here);
//! assert_eq!(here, there);
//! let conflict = here.conflict().expect("two values stand");
//! let shown = LastWriteWins::default().resolve(&conflict)?;
//! assert_eq!(shown.resolved_value.as_deref(), Some(&b"13 m"[..]));
//! # Ok::<(), oxigdal_ha::conflict::ConflictError>(())
//! ```

mod register;
mod rule;
pub mod strategies;
mod value;

pub use register::{Merged, Register};
pub use rule::{Custom, Customs, Priorities, Rule, RuleError};
pub use value::{Conflict, ConflictError, ConflictResolver, ConflictType, ConflictingValue, ResolutionResult};

#[cfg(test)]
mod tests;
