//! Where in a scenario's text the key stands that an error begins with: `fault[2].peers: ...`, `swarm.docs: ...`.

use toml::de::{DeTable, DeValue};

/// Line and column of the key, or of the closest table around it that the text has.
pub(super) fn of(text: &str, why: &str) -> Option<(usize, usize)> {
    let table = DeTable::parse(text).ok()?;
    let (path, _) = why.split_once(": ")?;
    let (mut at, mut found): (Option<&DeValue<'_>>, _) = (None, None);
    for step in path.split('.') {
        let (name, number) = match step.split_once('[') {
            Some((name, rest)) => (name, Some(rest.strip_suffix(']')?.parse::<usize>().ok()?)),
            None => (step, None),
        };
        let keys = match at {
            None => table.get_ref(),
            Some(DeValue::Table(keys)) => keys,
            Some(_) => break,
        };
        let Some((key, value)) = keys.iter().find(|(key, _)| key.get_ref() == name) else { break };
        (found, at) = (Some(key.span().start), Some(value.get_ref()));
        let element = |number: usize| match value.get_ref() {
            DeValue::Array(all) => all.get(number),
            _ => None,
        };
        if let Some(element) = number.and_then(element) {
            (found, at) = (Some(element.span().start), Some(element.get_ref()));
        }
    }
    found.map(|at| super::line_column(text, at))
}

/// The error of a configuration that was written anew from its tables: `[config]:3: why` names a line that nobody has. Said with
/// the key that stands there.
pub(super) fn renamed(table: &str, rendered: &str, why: &str) -> String {
    const FILE: &str = "[config]:";
    let mut said = String::new();
    let (mut rest, mut first) = (why, None);
    while let Some((before, after)) = rest.split_once(FILE) {
        said += before;
        let digits = after.chars().take_while(char::is_ascii_digit).count();
        let key = after[..digits].parse().ok().and_then(|line| key_at(rendered, line));
        rest = after[digits..].trim_start_matches(|c: char| c == ':' || c.is_ascii_digit());
        match key {
            Some(key) if first.is_none() && said.is_empty() => {
                first = Some(format!("{table}.{key}"));
                rest = rest.trim_start();
            }
            Some(key) => said += &format!("{table}.{key}"),
            None => said += table,
        }
    }
    said += rest;
    format!("{}: {said}", first.unwrap_or_else(|| table.to_owned()))
}

/// The key that a line of a file of plain tables sets, with its table's name.
fn key_at(rendered: &str, line: usize) -> Option<String> {
    let lines: Vec<&str> = rendered.lines().take(line).collect();
    let header = |line: &&str| line.strip_prefix('[')?.strip_suffix(']').map(str::to_owned);
    let last = lines.last()?;
    let section = lines.iter().rev().find_map(header)?;
    if header(last).is_some() { Some(section) } else { Some(format!("{section}.{}", last.split_once('=')?.0.trim())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a = 1\n[swarm]\ndocs = [3, 1]\n[config.wal]\nsegment-bytes = 1\n[[fault]]\nat = \"1s\"\n[[fault]]\nat = \"2s\"\nfactor = 7\n";

    #[test]
    fn an_error_that_begins_with_a_key_has_its_place() {
        assert_eq!(of(TEXT, "swarm.docs: reversed"), Some((3, 1)));
        assert_eq!(of(TEXT, "fault[1].factor: too much"), Some((10, 1)));
        assert_eq!(of(TEXT, "config.wal.segment-bytes: too few"), Some((5, 1)));
        assert_eq!(of(TEXT, "fault[1].peers: what is not said has the place of what is around"), Some((8, 1)));
        assert_eq!(of(TEXT, "nothing of that kind: nowhere"), None);
    }

    #[test]
    fn a_line_that_nobody_has_becomes_a_key() {
        let rendered = "[membership]\nprofile = \"lan\"\nfast = 1\n\n[wal]\nsegment-bytes = 1\n";
        let why = "[config]:3: there is no key `membership.fast`";
        assert_eq!(renamed("config", rendered, why), "config.membership.fast: there is no key `membership.fast`");
        let why = "[config]:6: `a` is above `b` ([config]:2)";
        assert_eq!(
            renamed("config", rendered, why),
            "config.wal.segment-bytes: `a` is above `b` (config.membership.profile)"
        );
        assert_eq!(renamed("config", rendered, "no place"), "config: no place");
    }
}
