//! Places in the rooms that the simulator knows by name: planted bugs, which prove that it would see a real one.
//!
//! `if planted!("room/what") { .. }` is code that a tired engineer might have written. Without the feature `planted-bugs` it
//! is `if false`: nothing of it is compiled in, and nothing can switch it on. With it one bug may be switched on for the thread
//! that runs a simulated mesh, and the simulator must find it. `bugs` holds the list: what is wrong, which invariant must see
//! it, and in which scenarios.
//!
//! **Invariants.** An id that is not in the list does not compile; one in the list that stands nowhere fails a test. A switch
//! is of one thread and ends with its guard, so that runs beside each other in other threads are not touched: a simulated mesh
//! is in one thread.

mod bugs;

pub(crate) use bugs::place;
pub use bugs::{BUGS, Bug};
#[cfg(feature = "planted-bugs")]
pub(crate) use bugs::{Switched, is_on};

/// Whether this planted bug is switched on; `false` without the feature `planted-bugs`.
#[cfg(feature = "planted-bugs")]
macro_rules! planted {
    ($id:literal) => {{
        const PLACE: usize = $crate::probe::place($id);
        $crate::probe::is_on(PLACE)
    }};
}

/// Whether this planted bug is switched on; `false` without the feature `planted-bugs`.
#[cfg(not(feature = "planted-bugs"))]
macro_rules! planted {
    ($id:literal) => {{
        const _: usize = $crate::probe::place($id);
        false
    }};
}

pub(crate) use planted;
