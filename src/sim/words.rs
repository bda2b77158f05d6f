//! What happened, in plain words.

use serde_json::Value;

use super::plan::{Fault, Item};
use super::scenario::Span;

/// The kind of a fault, as scenarios call it.
pub(super) fn family(fault: &Fault) -> String {
    let value = serde_json::to_value(fault).expect("faults are texts, numbers and lists");
    value.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The places of peers that a piece of a plan names.
pub(super) fn places(piece: &Value) -> Vec<u64> {
    const KEYS: &[&str] = &["peer", "peers", "whom", "from", "to", "others"];
    let mut found = Vec::new();
    if let Value::Object(fields) = piece {
        for (key, value) in fields {
            match value {
                Value::Array(all) if KEYS.contains(&key.as_str()) => found.extend(all.iter().filter_map(Value::as_u64)),
                Value::Number(one) if KEYS.contains(&key.as_str()) => found.extend(one.as_u64()),
                nested => found.extend(places(nested)),
            }
        }
    }
    found
}

/// A fault in a few words: `p-3 crash`, `cut p-1, p-2 from all others`.
pub(super) fn fault(fault: &Fault, name: &dyn Fn(u32) -> String) -> String {
    let kind = family(fault);
    if let Fault::Cut { from, to, one_way } = fault {
        let how = if *one_way { "what is sent by" } else { "cut" };
        let link = if *one_way { "to" } else { "from" };
        return format!(
            "{how} {} {link} {}{}",
            names(from, name),
            names(to, name),
            if *one_way { " is lost" } else { "" }
        );
    }
    let mut value = serde_json::to_value(fault).expect("faults are texts, numbers and lists");
    let Value::Object(fields) = &mut value else { return kind };
    fields.remove("kind");
    let who = fields.remove("peer").and_then(|peer| Some(name(u32::try_from(peer.as_u64()?).ok()?)));
    let rest: Vec<String> = fields.iter().map(|(key, value)| detail(key, value, name)).collect();
    let said = [who, Some(kind), Some(rest.join(", "))].into_iter().flatten().filter(|part| !part.is_empty());
    said.collect::<Vec<_>>().join(" ")
}

fn detail(key: &str, value: &Value, name: &dyn Fn(u32) -> String) -> String {
    let place = |value: &Value| value.as_u64().and_then(|place| u32::try_from(place).ok());
    match (key, value) {
        ("whom", value) => place(value).map_or_else(String::new, name),
        ("age", Value::Number(age)) => format!("to {} before", Span(age.as_u64().unwrap_or_default())),
        ("ppm", Value::Number(ppm)) => {
            let ppm = ppm.as_u64().unwrap_or_default();
            format!("{}.{:02} %", ppm / 10_000, ppm % 10_000 / 100)
        }
        ("factor", value) => format!("{value} times"),
        ("from" | "to" | "peers" | "others", Value::Array(all)) => {
            let places: Vec<u32> = all.iter().filter_map(place).collect();
            format!("{key} {}", names(&places, name))
        }
        (key, Value::String(text)) => format!("{key} {text}"),
        (key, value) => format!("{key} {value}"),
    }
}

/// At most so many names are told of a group.
const NAMES_MAX: usize = 4;

/// Peers by name.
pub(super) fn names(places: &[u32], name: &dyn Fn(u32) -> String) -> String {
    let told: Vec<String> = places.iter().take(NAMES_MAX).map(|place| name(*place)).collect();
    match places.len().saturating_sub(NAMES_MAX) {
        0 => told.join(", "),
        more => format!("{} and {more} more", told.join(", ")),
    }
}

/// A fault with its times.
pub(super) fn item(item: &Item, name: &dyn Fn(u32) -> String) -> String {
    let until = match item.until {
        Some(until) => format!("until {}", seconds(until)),
        None if item.permanent => "for good".to_owned(),
        None => "until the calm".to_owned(),
    };
    format!("{} {until}: {}", seconds(item.at), fault(&item.fault, name))
}

/// A moment of virtual time to the millisecond.
pub(super) fn seconds(ns: u64) -> String {
    format!("{}.{:03} s", ns / 1_000_000_000, ns % 1_000_000_000 / 1_000_000)
}

/// How ids of simulated peers begin, the number of the machine left out; and what comes behind it.
const ID_HEAD: &str = "5111";
const ID_MIDDLE: &str = "-0000-4000-8000-0000";

/// Of an id at the start of a text the last eight digits, and how long it is in the text.
fn id(text: &str) -> Option<(&str, usize)> {
    let (digits, len) = match text.strip_prefix('n') {
        Some(rest) => (rest.get(..8)?, 9),
        None => {
            let rest = text.strip_prefix(ID_HEAD)?.get(4..)?.strip_prefix(ID_MIDDLE)?;
            (rest.get(..8)?, 36)
        }
    };
    let ends = !text[len..].starts_with(|c: char| c.is_ascii_alphanumeric());
    (ends && digits.chars().all(|c| c.is_ascii_hexdigit())).then_some((digits, len))
}

/// A text with names in place of the ids of peers, in full or as traces print them (`n00000003`). Of a machine that was replaced
/// the new one is the second of its name, `p-3(2)`.
pub(super) fn named(text: &str, name: &dyn Fn(usize) -> Option<String>) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(first) = rest.chars().next() {
        let boundary = !out.ends_with(|c: char| c.is_ascii_alphanumeric());
        let found = Some(rest).filter(|_| boundary).and_then(id).and_then(|(digits, len)| {
            let number = usize::from_str_radix(digits, 16).ok()?;
            let (machine, place) = (number >> 24, (number & 0x00ff_ffff).checked_sub(1)?);
            let name = name(place)?;
            Some((if machine == 0 { name } else { format!("{name}({})", machine + 1) }, len))
        });
        if let Some((name, len)) = found {
            out += &name;
            rest = &rest[len..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_peers_become_names_and_nothing_else_does() {
        let name = |place: usize| (place < 3).then(|| format!("p-{}", place + 1));
        let text = "51110000-0000-4000-8000-000000000002/c7#0:27, n00000003 xn00000003 n000000031 n00000009 äö none";
        assert_eq!(named(text, &name), "p-2/c7#0:27, p-3 xn00000003 n000000031 n00000009 äö none");
    }

    #[test]
    fn a_machine_that_was_replaced_and_the_new_one_have_names_of_their_own() {
        let name = |place: usize| (place < 3).then(|| format!("p-{}", place + 1));
        let text =
            "n00000003 was n01000003, 51110001-0000-4000-8000-000001000003 and 51110000-0000-4000-8000-000000000003";
        assert_eq!(named(text, &name), "p-3 was p-3(2), p-3(2) and p-3");
    }

    #[test]
    fn how_long_a_delay_is_names_no_peer() {
        let delay = |peer| serde_json::to_value(Fault::Delay { peer, by: 654_000_000 }).unwrap();
        assert_eq!(places(&delay(1)), [1]);
        let cut = serde_json::to_value(Fault::Cut { from: vec![0], to: vec![1, 2], one_way: false }).unwrap();
        assert_eq!(places(&cut), [0, 1, 2]);
    }

    #[test]
    fn a_fault_is_told_in_a_few_words() {
        let name = |place: u32| format!("p-{}", place + 1);
        let told = |fault: &Fault| super::fault(fault, &name);
        assert_eq!(told(&Fault::Crash { peer: 2 }), "p-3 crash");
        assert_eq!(told(&Fault::Slow { peer: 0, factor: 30 }), "p-1 slow 30 times");
        assert_eq!(told(&Fault::Hold { peer: 0, whom: 1 }), "p-1 hold p-2");
        let cut = |one_way| Fault::Cut { from: vec![0], to: vec![1, 2, 3, 4, 5], one_way };
        assert_eq!(told(&cut(false)), "cut p-1 from p-2, p-3, p-4, p-5 and 1 more");
        assert_eq!(told(&cut(true)), "what is sent by p-1 to p-2, p-3, p-4, p-5 and 1 more is lost");
    }
}
