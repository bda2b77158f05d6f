//! What happened, in plain words.

use serde_json::Value;

use super::disk::Model;
use super::plan::{Fault, Item};
use super::scenario::Span;

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

/// A fault in a few words, which begin with the peer that it happens to: `p-3 crash`, `cut p-1, p-2 from all others`.
pub(super) fn fault(fault: &Fault, name: &dyn Fn(u32) -> String) -> String {
    let what = match fault.peer() {
        Some(_) => of_one(fault, name),
        None => of_many(fault, name),
    };
    match fault.peer() {
        Some(peer) => format!("{} {}{what}", name(peer), fault.name()),
        None => what,
    }
}

/// What a fault of one peer says besides its kind.
fn of_one(fault: &Fault, name: &dyn Fn(u32) -> String) -> String {
    let gains =
        |ppm: i32| format!("{} {}", if ppm < 0 { ", loses" } else { ", gains" }, percent(ppm.unsigned_abs().into()));
    match fault {
        Fault::PowerLoss { model: Some(Model::Page), .. } => ", the last write is torn".to_owned(),
        Fault::PowerLoss { model: Some(Model::Subset), .. } => ", of open writes any part survives".to_owned(),
        Fault::PowerLoss { model: Some(Model::Prefix), .. } => ", open writes survive in order".to_owned(),
        Fault::RollBack { age, .. } => format!(" to {} before", Span(*age)),
        Fault::Slow { factor, .. } | Fault::SlowDisk { factor, .. } | Fault::SlowLink { factor, .. } => {
            format!(" {factor} times")
        }
        Fault::MisreadDisk { ppm, .. } => format!(" in {} of its reads", percent(*ppm)),
        Fault::Garble { ppm, .. } => format!(" {}", percent(*ppm)),
        Fault::Delay { by, .. } => format!(" by {}", Span(*by)),
        Fault::Throttle { bits, queue, .. } => {
            format!(" to {} kbit/s, {} KiB may wait", bits / 1_000, queue / 1_024)
        }
        Fault::Hold { whom, .. } => format!("s {}: its operator has paused it as a replica", name(*whom)),
        Fault::ClockStep { by_us, .. } => {
            let by = Span(by_us.unsigned_abs().saturating_mul(1_000));
            format!(" {} by {by}", if *by_us < 0 { "back" } else { "forward" })
        }
        Fault::WallDrift { ppm, .. } | Fault::ClockDrift { ppm, .. } => gains(*ppm),
        Fault::NextVersion { ppm, writes, .. } => {
            let log = if *writes { ", and writes a record into its log that only its like reads" } else { "" };
            format!(", sends frames of its own beside {} of the others{log}", percent(*ppm))
        }
        _ => String::new(),
    }
}

fn of_many(fault: &Fault, name: &dyn Fn(u32) -> String) -> String {
    let names = |places: &[u32]| names(places, name);
    match fault {
        Fault::Cut { from, to, one_way: true } => format!("what is sent by {} to {} is lost", names(from), names(to)),
        Fault::Cut { from, to, one_way: false } => format!("cut {} from {}", names(from), names(to)),
        Fault::Clog { from, to, one_way: true } => {
            format!("clog: what is sent by {} to {} waits", names(from), names(to))
        }
        Fault::Clog { from, to, one_way: false } => {
            format!("clog: what passes between {} and {} waits", names(from), names(to))
        }
        Fault::Flap { from, to, down, up } => format!(
            "flap: the links of {} with {} are down for {}, up for {}, and so on",
            names(from),
            names(to),
            Span(*down),
            Span(*up)
        ),
        Fault::Split { groups } => {
            let told: Vec<String> = groups.iter().take(NAMES_MAX).map(|group| names(group)).collect();
            let more = groups.len().saturating_sub(NAMES_MAX);
            let more = if more == 0 { String::new() } else { format!(" and {more} groups more") };
            format!("split: apart are {}{more}", told.join(" | "))
        }
        Fault::Ring { peers } => format!("ring of {}: each sees only those next to it", names(peers)),
        Fault::Loss { ppm } => format!("loss of {} more of all frames", percent(*ppm)),
        Fault::BurstLoss { to_bad, to_good, ppm } => format!(
            "burst-loss: each link turns bad at {} of its frames, good again at {}, and loses {} while it is bad",
            percent(*to_bad),
            percent(*to_good),
            percent(*ppm)
        ),
        Fault::Duplicate { ppm } => format!("duplicate: {} of all datagrams arrive twice", percent(*ppm)),
        Fault::Reorder { ppm } => format!("reorder: {} of all datagrams let others pass", percent(*ppm)),
        Fault::Corrupt { ppm } => format!("corrupt: {} of all frames are damaged on their way", percent(*ppm)),
        one => one.name().to_owned(),
    }
}

/// A share of so many of a million.
fn percent(ppm: u64) -> String {
    if ppm < 100 {
        return format!("{ppm} ppm");
    }
    format!("{}.{:02} %", ppm / 10_000, ppm % 10_000 / 100)
}

/// What derives its debugging text as words: `Skipped { why: NoRoom, upto: Seq(7) }` is `skipped (why no room, upto 7)`.
/// Texts in quotes are left as they are.
pub(super) fn spoken(debug: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(debug.len()), debug);
    while let Some(first) = rest.chars().next() {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let len = match first {
            '"' => rest[1..].find('"').map_or(rest.len(), |end| end + 2),
            c if is_name(c) => rest.find(|c| !is_name(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at(len);
        rest = after;
        match token {
            "{" => out.push('('),
            "}" => {
                out.truncate(out.trim_end().len());
                out.push(')');
            }
            // Of a field its name and its value are said.
            ":" if rest.starts_with(' ') => {}
            name if first.is_ascii_alphabetic() && rest.starts_with('(') => {
                let (inner, after) = rest[1..].split_at(closed(&rest[1..]));
                rest = after.get(1..).unwrap_or_default();
                // Of a number and of what is there the type says nothing.
                if name != "Some" && !inner.starts_with(|c: char| c.is_ascii_digit()) {
                    out += &lower(name);
                    out.push(' ');
                }
                out += &spoken(inner);
            }
            name if first.is_ascii_alphabetic() => out += &lower(name),
            other => out += other,
        }
        if out.ends_with("( ") {
            out.truncate(out.len() - 1);
        }
    }
    out
}

/// Where the bracket is closed that was opened before this text; the end of the text if it never is.
fn closed(text: &str) -> usize {
    let mut open = 1_u32;
    for (at, c) in text.char_indices() {
        match c {
            '(' => open += 1,
            ')' if open == 1 => return at,
            ')' => open -= 1,
            _ => {}
        }
    }
    text.len()
}

/// `CamelCase` and `snake_case` as words; whatever has a digit is a name of its own.
fn lower(name: &str) -> String {
    let mut words = String::new();
    if name.contains(|c: char| c.is_ascii_digit()) {
        return name.to_owned();
    }
    for c in name.chars() {
        if c.is_ascii_uppercase() && words.ends_with(|c: char| c.is_ascii_lowercase()) {
            words.push(' ');
        }
        words.push(if c == '_' { ' ' } else { c.to_ascii_lowercase() });
    }
    words
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
        let hold = told(&Fault::Hold { peer: 0, whom: 1 });
        assert_eq!(hold, "p-1 holds p-2: its operator has paused it as a replica");
        assert_eq!(told(&Fault::ClockDrift { peer: 0, ppm: -12_345 }), "p-1 clock-drift, loses 1.23 %");
        assert_eq!(told(&Fault::ClockStep { peer: 1, by_us: -1_500_000 }), "p-2 clock-step back by 1.5s");
        assert_eq!(told(&Fault::Loss { ppm: 7 }), "loss of 7 ppm more of all frames");
        assert_eq!(told(&Fault::BitRot { peer: 1, bits: 77 }), "p-2 bit-rot");
        let clog = |one_way| Fault::Clog { from: vec![0], to: vec![1, 2], one_way };
        assert_eq!(told(&clog(true)), "clog: what is sent by p-1 to p-2, p-3 waits");
        assert_eq!(told(&clog(false)), "clog: what passes between p-1 and p-2, p-3 waits");
        let burst = Fault::BurstLoss { to_bad: 16_086, to_good: 200_000, ppm: 500_000 };
        assert!(told(&burst).contains("turns bad at 1.60 % of its frames, good again at 20.00 %"), "{}", told(&burst));
        let cut = |one_way| Fault::Cut { from: vec![0], to: vec![1, 2, 3, 4, 5], one_way };
        assert_eq!(told(&cut(false)), "cut p-1 from p-2, p-3, p-4, p-5 and 1 more");
        assert_eq!(told(&cut(true)), "what is sent by p-1 to p-2, p-3, p-4, p-5 and 1 more is lost");
    }

    #[test]
    fn what_only_a_machine_says_becomes_words() {
        for (debug, words) in [
            ("Skipped { why: \"a File { }\" }", "skipped (why \"a File { }\")"),
            ("Skipped { log: p-1/c7#0, after: Seq(3), upto: Some(Seq(7)) }", "skipped (log p-1/c7#0, after 3, upto 7)"),
            ("Truncate { segment: SegmentId(1), len: 0 }", "truncate (segment 1, len 0)"),
            ("Asked { one_way: false, of: [NoRoom, Io] }", "asked (one way false, of [no room, io])"),
            ("n00000003", "n00000003"),
            ("Half { of: (1, Open", "half (of (1, open"),
            ("Refused(Full(3), NoRoom)", "refused 3, no room"),
            ("", ""),
        ] {
            assert_eq!(spoken(debug), words);
        }
    }
}
