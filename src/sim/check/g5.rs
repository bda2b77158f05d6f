//! G5: nobody sends what another must refuse, whatever versions they are of, but a peer that garbles; and in the end all know who is of
//! which version.

use super::super::plan::{Fault, Item};
use super::{Check, Sight, Verdict};
use crate::node::Event;

/// Hears of frames that cannot be read.
pub(super) struct VersionsMix;

impl Check for VersionsMix {
    fn id(&self) -> &'static str {
        "G5"
    }

    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        let Event::BadFrame { peer, why } = event else { return Ok(()) };
        let from = sight.place(*peer);
        let garbles = |item: &Item| matches!(item.fault, Fault::Garble { .. }) && item.fault.peer() == from;
        if sight.plan.items.iter().any(garbles) {
            return Ok(());
        }
        Err(format!("{} cannot read what {} sends: {why}", sight.name(who), sight.name_of(*peer)))
    }

    fn settled(&mut self, sight: &Sight<'_>) -> Verdict {
        for (place, _, node) in sight.live() {
            for (_, other, _) in sight.live() {
                let Some(member) = node.membership().member(other.id) else { continue };
                if member.meta.protocol != other.protocol() {
                    let (name, of) = (sight.name(place), sight.name_of(other.id));
                    let (says, is) = (member.meta.protocol, other.protocol());
                    return Err(format!("{name} says that {of} is of version {says}, which is of {is}"));
                }
            }
        }
        Ok(())
    }
}
