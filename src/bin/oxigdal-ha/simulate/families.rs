//! What a sweep did to its meshes and where it went: faults by family, and the marks of the core.

use std::collections::BTreeMap;

use comfy_table::Cell;
use oxigdal_ha::sim::{Coverage, Family, Faults, faults};
use serde_json::{Map, Value, json};

use crate::failure::Result;
use crate::output::{Output, Tone, cell, number};

/// Faults of each kind, over some runs.
#[derive(Default)]
pub(super) struct Families(BTreeMap<String, Faults>);

/// Every family, in the order of `simulate list --faults`.
const ALL: [Family; 6] = [Family::Network, Family::Reach, Family::Node, Family::Clock, Family::Disk, Family::Conduct];

impl Families {
    pub(super) fn add(&mut self, kinds: &BTreeMap<String, Faults>) {
        for (kind, more) in kinds {
            let ours = self.0.entry(kind.clone()).or_default();
            *ours = sum(*ours, *more);
        }
    }

    /// All kinds together.
    pub(super) fn all(&self) -> Faults {
        self.0.values().copied().fold(Faults::default(), sum)
    }

    /// The kinds of a family that began, in the order of the list.
    fn of(&self, family: Family) -> impl Iterator<Item = (&'static str, Faults)> {
        let kinds = faults().filter(move |kind| kind.family == family);
        kinds.filter_map(|kind| Some((kind.name, *self.0.get(kind.name)?)))
    }

    /// A row a family, so that the one that never began is seen too.
    pub(super) fn tell(&self, output: Output) -> Result {
        if self.0.is_empty() {
            return output.line("faults: none began");
        }
        let mut table = output.table(&["FAULTS", "BEGAN", "ACTED", "OF EACH KIND (BEGAN/ACTED)"]);
        for family in ALL {
            let Faults { began, acted } = self.of(family).map(|(_, faults)| faults).fold(Faults::default(), sum);
            let kinds: Vec<String> =
                self.of(family).map(|(kind, faults)| format!("{kind} {}/{}", faults.began, faults.acted)).collect();
            let kinds = if kinds.is_empty() { "-".to_owned() } else { kinds.join(", ") };
            table.add_row([cell(Tone::Name, name(family)), number(began), number(acted), Cell::new(kinds)]);
        }
        output.rows(&table)
    }

    pub(super) fn value(&self) -> Value {
        let of = |family| {
            let kinds: Map<String, Value> =
                self.of(family).map(|(kind, faults)| (kind.to_owned(), json!(faults))).collect();
            let Faults { began, acted } = self.of(family).map(|(_, faults)| faults).fold(Faults::default(), sum);
            (name(family), json!({ "began": began, "acted": acted, "kinds": kinds }))
        };
        ALL.into_iter().map(of).collect::<Map<String, Value>>().into()
    }
}

fn sum(a: Faults, b: Faults) -> Faults {
    Faults { began: a.began + b.began, acted: a.acted + b.acted }
}

/// As `simulate list --faults` calls it.
pub(super) fn name(family: Family) -> String {
    format!("{family:?}").to_lowercase()
}

/// Which marks of the core were hit, in a line, where this build counts them.
pub(super) fn marks(coverage: &Coverage) -> String {
    if !Coverage::IS_COUNTED {
        return "marks: not counted by this build; a debug build counts them, or one with --features assertions"
            .to_owned();
    }
    let (all, never): (usize, Vec<&str>) = (coverage.iter().count(), coverage.never().map(|mark| mark.id).collect());
    match never.as_slice() {
        [] => format!("marks: {all} of {all} hit"),
        never => format!("marks: {} of {all} hit; not hit: {}", all - never.len(), never.join(", ")),
    }
}

pub(super) fn marks_value(coverage: &Coverage) -> Value {
    let never: Vec<&str> = coverage.never().map(|mark| mark.id).collect();
    let all = coverage.iter().count();
    if Coverage::IS_COUNTED {
        json!({ "counted": true, "hit": all - never.len(), "of": all, "not_hit": never })
    } else {
        json!({ "counted": false, "of": all })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_in_one_family_that_is_told() {
        let began: BTreeMap<String, Faults> =
            faults().map(|kind| (kind.name.to_owned(), Faults { began: 2, acted: 1 })).collect();
        let mut families = Families::default();
        families.add(&began);
        families.add(&began);
        let kinds = faults().count() as u64;
        assert_eq!(families.all(), Faults { began: 4 * kinds, acted: 2 * kinds });
        let value = families.value();
        let told: u64 = value.as_object().unwrap().values().filter_map(|family| family["began"].as_u64()).sum();
        assert_eq!((told, &value["network"]["kinds"]["isolate"]), (4 * kinds, &json!({ "began": 4, "acted": 2 })));
    }

    #[test]
    fn a_line_names_the_marks_that_were_not_hit() {
        let line = marks(&Coverage::default());
        let all = Coverage::default().iter().count();
        assert!(!Coverage::IS_COUNTED || line.starts_with(&format!("marks: 0 of {all} hit; not hit: ")), "{line}");
        assert!(Coverage::IS_COUNTED || line.contains("--features assertions"), "{line}");
    }
}
