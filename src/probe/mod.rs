//! Places in the rooms that the simulator knows by name.
//!
//! * **Planted bugs** prove that the simulator would see a real one. `if planted!("room/what") { .. }` is code that a tired
//!   engineer might have written. Without the feature `planted-bugs` it is `if false`: nothing of it is compiled in, and nothing
//!   can switch it on. With it one bug may be switched on for the thread that runs a simulated mesh, and the simulator must
//!   find it. `bugs` holds the list: what is wrong, which invariant must see it, and in which scenarios.
//! * **Marks** prove that the simulator goes where things happen. [`reachable!`] and [`sometimes!`] count how often a place was
//!   reached, or something was so there; a sweep in which one of them never was is too weak. [`always!`] is an assertion with a
//!   name, counted too. They are part of debug builds, and of others with the feature `assertions`; else they are nothing, and
//!   what they would look at is not evaluated. `marks` holds the list.
//!
//! **Invariants.** An id that is not in its list does not compile; one in the list that stands nowhere fails a test. Switches
//! and counts are of one thread, so that runs beside each other in other threads are not touched: a simulated mesh is in one
//! thread. Nothing that is counted is seen by a node.

mod bugs;
mod marks;

#[cfg(feature = "planted-bugs")]
pub use bugs::Switched;
#[cfg(all(feature = "planted-bugs", feature = "net"))]
pub(crate) use bugs::carried;
#[cfg(feature = "planted-bugs")]
pub(crate) use bugs::is_on;
pub(crate) use bugs::place;
pub use bugs::{BUGS, Bug};
pub use marks::{Coverage, Kind, MARKS, Mark};
pub(crate) use marks::{hit, mark};

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

/// Counts that a run came here.
macro_rules! reachable {
    ($id:literal) => {
        $crate::probe::sometimes!(true, $id)
    };
}

/// Counts that this was so here.
macro_rules! sometimes {
    ($condition:expr, $id:literal) => {{
        if $crate::probe::Coverage::IS_COUNTED {
            const PLACE: usize = $crate::probe::mark($id, $crate::probe::Kind::Sometimes);
            let is_so: bool = $condition;
            $crate::probe::hit(PLACE, is_so);
        }
    }};
}

/// Panics if this is not so here, and counts that it is.
macro_rules! always {
    ($condition:expr, $id:literal) => {{
        if $crate::probe::Coverage::IS_COUNTED {
            const PLACE: usize = $crate::probe::mark($id, $crate::probe::Kind::Always);
            assert!($condition, "{} does not hold", $id);
            $crate::probe::hit(PLACE, true);
        }
    }};
}

pub(crate) use {always, planted, reachable, sometimes};

/// Whether these are the same bytes; a constant may not compare texts otherwise.
const fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}
