//! J2: what met is told alike: after the calm peers that hold the same changes tell the same open conflicts, show the same value for
//! each, and have the same trail; nobody but those who were asked to edit has written anything, so no resolution answers another; and a
//! removal that is open is in the trail, where nobody has settled it.
//!
//! Judged where the scenario sets policies.

use super::{Check, Sight, Verdict};
use crate::conflict::ConflictType;
use crate::documents::{Meeting, OpenConflict, Outcome};
use crate::types::{Digest, Topic};

/// Each edit of the plan is asked for twice at most: of the document, and with it.
const TRIES: u64 = 2;

/// What the first peer told that held this content.
#[derive(Default)]
pub(super) struct SameMet {
    told: Vec<(Digest, u32, [Outcome; 2])>,
}

impl Check for SameMet {
    fn id(&self) -> &'static str {
        "J2"
    }

    fn on_met(&mut self, sight: &Sight<'_>, who: u32, met: &[Outcome; 2]) -> Verdict {
        let Some(node) = sight.node(who) else { return Ok(()) };
        let vector = node.replication().vector();
        let logs = vector.iter().filter(|(log, _)| log.topic == Topic::DOCUMENTS);
        let (wrote, asked) = (logs.map(|(_, last)| last.value()).sum::<u64>(), sight.plan.edits.len() as u64);
        if wrote > TRIES * asked {
            return Err(format!("{asked} edits were asked for, and {wrote} changes were made"));
        }
        if let [Outcome::Met { open, cut, .. }, Outcome::Met { trail, cut: shortened, .. }] = met {
            let told = |one: &&OpenConflict| !cut.contains(&one.doc) && !shortened.contains(&one.doc);
            if let Some(one) = open.iter().filter(told).find(|one| is_settled(one, trail)) {
                return Err(format!(
                    "{} tells that {} {} is open, and the trail that it is not",
                    sight.name(who),
                    one.doc,
                    one.path
                ));
            }
        }
        let content = node.documents().content();
        let Some((_, first, told)) = self.told.iter().find(|(digest, ..)| *digest == content) else {
            self.told.push((content, who, met.clone()));
            return Ok(());
        };
        match told == met {
            true => Ok(()),
            false => Err(format!("{} tells {}", sight.name(who), differing(sight.name(*first), told, met))),
        }
    }
}

/// Whether the trail says that nothing is open here, where a removal is told to stand beside what others wrote.
fn is_settled(open: &OpenConflict, trail: &[Meeting]) -> bool {
    // The trail names elements of lists otherwise.
    let element = |step: &str| step.bytes().all(|byte| byte.is_ascii_digit()) && !step.is_empty();
    if open.kind != ConflictType::DeleteWrite || open.path.split('/').any(element) {
        return false;
    }
    // What stood inside of something that went is found at the place of that.
    let inside =
        |path: &str| path.strip_prefix(&open.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let here = |met: &&Meeting| met.kind == open.kind && met.doc == open.doc && inside(&met.path);
    !trail.iter().filter(here).any(|met| met.settled.is_none())
}

/// Where two differ, in words.
fn differing(first: &str, told: &[Outcome; 2], met: &[Outcome; 2]) -> String {
    let lines = |met: &[Outcome; 2]| -> Vec<String> {
        let each = met.iter().flat_map(|outcome| match outcome {
            Outcome::Met { open, trail, .. } => {
                open.iter().map(|one| format!("{one:?}")).chain(trail.iter().map(|one| format!("{one:?}"))).collect()
            }
            other => vec![format!("{other:?}")],
        });
        each.collect()
    };
    let (a, b) = (lines(told), lines(met));
    let at = a.iter().zip(&b).position(|(a, b)| a != b).unwrap_or_else(|| a.len().min(b.len()));
    let line = |lines: &[String]| lines.get(at).cloned().unwrap_or_else(|| "nothing more".to_owned());
    format!("{} where {first} tells {}", line(&b), line(&a))
}
