//! Which nodes run in this process, so that what is asked of "the node of this process" finds it. Holding on to none of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::{Held, Mesh};
use crate::driver::peer::Phase;
use crate::types::NodeId;

/// Bounded by how many run: each takes its entry away.
static RUNNING: Mutex<Vec<(NodeId, Weak<Held>)>> = Mutex::new(Vec::new());

fn running() -> MutexGuard<'static, Vec<(NodeId, Weak<Held>)>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn remember(mesh: &Mesh) {
    running().push((mesh.id(), Arc::downgrade(&mesh.held)));
}

/// It has stopped, or nobody holds it any more. One that was started since under the same id stays.
pub(super) fn forget(node: NodeId) {
    running().retain(|(id, held)| *id != node || is_up(held));
}

/// Whether it runs. The handle is not upgraded: the last one must not be dropped in here.
fn is_up(held: &Weak<Held>) -> bool {
    held.strong_count() > 0
}

/// Those that run, the first started first.
pub(super) fn all() -> Vec<Mesh> {
    let held: Vec<Weak<Held>> = running().iter().map(|(_, held)| held.clone()).collect();
    let meshes = held.iter().filter_map(Weak::upgrade).map(|held| Mesh { held });
    meshes.filter(|mesh| mesh.link().phase() != Phase::Stopped).collect()
}
