//! What the compiler does not hold: who may import whom, lengths, words, and that no file lies about unused.
//!
//! Each rule is a function from a text to its faults, `file:line: why`, so that each is also tried on a text that breaks it.
#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use oxigdal_ha::topology::Topology;

/// A room may import from rooms of a lower number. Rooms of one number do not know each other.
const TIERS: &[(&str, u8)] = &[
    ("probe", 0),
    ("types", 0),
    ("conflict", 1),
    ("machine", 1),
    ("topology", 1),
    ("wal", 1),
    ("wire", 1),
    ("consensus", 2),
    ("documents", 2),
    ("events", 2),
    ("membership", 2),
    ("failover", 3),
    ("overlay", 3),
    ("replication", 4),
    ("roles", 4),
    ("audit", 5),
    ("config", 6),
    ("error", 6),
    ("node", 7),
    ("recording", 8),
    ("recovery", 8),
    ("backup", 9),
    ("dr", 9),
    ("driver", 10),
    ("sim", 10),
    ("managers", 11),
    ("bin", 12),
];

/// Longest file, in lines.
const FILE_LINES_MAX: usize = 800;
/// Longest function, in lines from `fn` to its closing brace; clippy counts its body.
const FN_LINES_MAX: usize = 74;

/// Words that say that something is not done, or not done well; and calls that belong elsewhere.
const BANNED: &[(&str, &str)] = &[
    ("TODO", "finish it, or open an issue"),
    ("FIXME", "finish it, or open an issue"),
    ("XXX", "say what it is"),
    ("todo!(", "finish it"),
    ("unimplemented!(", "finish it"),
    ("dbg!(", "use tracing"),
    ("#[allow(", "use #[expect(.., reason = \"..\")]"),
    ("for now", "nothing is for now"),
    ("placeholder", "nothing pretends"),
];

/// Banned in code that ships, allowed in tests.
const BANNED_OUTSIDE_TESTS: &[(&str, &str)] = &[(".unwrap()", "use expect with why it holds, or an error")];

/// Banned in the library: output belongs to the command line.
const BANNED_IN_LIBRARY: &[(&str, &str)] =
    &[("println!(", "use tracing"), ("eprintln!(", "use tracing"), ("process::exit", "return an error")];

/// Names that say nothing of what is inside.
const BANNED_NAMES: &[&str] = &["util", "utils", "common", "helpers", "misc"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below a folder that end so, in order, relative to the package.
fn files(below: &str, ending: &str) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![root().join(below)]);
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                open.push(path);
            } else if path.to_str().unwrap().ends_with(ending) {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines with their numbers from 1, without those that are only comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line)).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The room of a file in `src`: its first folder, or the name of a file beside `lib.rs`.
fn room(path: &str) -> &str {
    let inside = path.trim_start_matches("src/");
    inside.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

fn tier(room: &str) -> Option<u8> {
    TIERS.iter().find(|(name, _)| *name == room).map(|(_, tier)| *tier)
}

/// The rooms that a line names: `crate::a::b`, `crate::{a, b::c}`, and `oxigdal_ha::a` in the command line.
fn named(line: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, crate_name) in line.match_indices("crate::") {
        let rest = &line[at + crate_name.len()..];
        let ident =
            |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        match rest.strip_prefix('{') {
            None => rooms.push(ident(rest)),
            Some(list) => {
                let (mut depth, mut item) = (0, String::new());
                for c in list.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => rooms.push(ident(&std::mem::take(&mut item))),
                        _ => {}
                    }
                    if c != ',' || depth > 0 {
                        item.push(c);
                    }
                }
                rooms.push(ident(&item));
            }
        }
    }
    // Macros and items of the crate's root are nobody's room.
    rooms.retain(|name| !name.is_empty() && name.starts_with(|c: char| c.is_lowercase()));
    rooms
}

fn imports(path: &str, text: &str) -> Vec<String> {
    let room = room(path);
    let Some(own) = tier(room) else {
        return vec![format!("{path}:1: the room {room} has no tier: add it to the table")];
    };
    let mut faults = Vec::new();
    for (number, line) in code(&joined_uses(text)) {
        // The paths of the user's documents lead through lower rooms to what binds their calls to a node: a line that gives such names
        // out, and does nothing with them.
        if line.starts_with("pub use crate::managers::") {
            continue;
        }
        for other in named(line) {
            match tier(&other) {
                Some(theirs) if other != room && theirs >= own => {
                    faults.push(format!("{path}:{number}: {room} may not import {other}"));
                }
                _ => {}
            }
        }
        // What is indented stands in a module of its own within the file, or deeper than that rule needs to know.
        let depth = depth(path) + usize::from(line.starts_with(' '));
        if line.contains("super::super::") && line.matches("super::").count() >= depth {
            faults.push(format!("{path}:{number}: leaves the room {room} through super"));
        }
    }
    faults
}

/// The text with each `use` on the line that it begins on, so that lists over many lines are seen whole.
fn joined_uses(text: &str) -> String {
    let (mut out, mut open, mut owed) = (String::new(), false, 0);
    for line in text.lines() {
        let begins = line.trim_start().trim_start_matches("pub ").trim_start_matches("pub(crate) ").starts_with("use ");
        open |= begins;
        out += if open && !begins { line.trim() } else { line };
        if open && !line.contains(';') {
            owed += 1;
            continue;
        }
        open = false;
        (0..=owed).for_each(|_| out.push('\n'));
        owed = 0;
    }
    out
}

/// How many `super::` lead from a file to the crate's root.
fn depth(path: &str) -> usize {
    let parts = path.trim_start_matches("src/").matches('/').count();
    if path.ends_with("/mod.rs") { parts } else { parts + 1 }
}

fn lengths(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let count = text.lines().count();
    if count > FILE_LINES_MAX {
        faults.push(format!("{path}:{count}: the file has {count} lines, the limit is {FILE_LINES_MAX}"));
    }
    // rustfmt puts a function's closing brace below its first letter.
    let mut open: Vec<(usize, usize)> = Vec::new();
    for (number, line) in code(text) {
        let indent = line.len() - line.trim_start().len();
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.iter().take(4).any(|word| *word == "fn") && !line.trim_end().ends_with([';', '}']) {
            open.push((indent, number));
        }
        if line.trim() == "}" {
            while let Some((_, begin)) = open.pop_if(|(at, _)| *at >= indent) {
                let long = number - begin + 1;
                if long > FN_LINES_MAX {
                    faults.push(format!("{path}:{begin}: the function has {long} lines, the limit is {FN_LINES_MAX}"));
                }
            }
        }
    }
    faults
}

/// Where a file's tests begin: everything in a test file, else from the module of tests on.
fn tests_from(path: &str, text: &str) -> usize {
    if is_test(path) {
        return 0;
    }
    let lines: Vec<&str> = text.lines().collect();
    let module = |pair: &[&str]| {
        pair[0].trim().starts_with("#[cfg(test)]") && pair[1].contains("mod ") && pair[1].ends_with('{')
    };
    lines.windows(2).position(module).map_or(usize::MAX, |at| at + 1)
}

/// Whether the module that a file is, or one that it is part of, is declared for tests alone.
fn is_test(path: &str) -> bool {
    let Some((module, owners)) = owners(Path::new(path)) else { return false };
    let named = format!("mod {module};");
    let of_tests = |owner: &PathBuf| {
        let text = read(owner);
        let lines: Vec<&str> = text.lines().collect();
        lines.windows(2).any(|pair| pair[0].trim() == "#[cfg(test)]" && pair[1].ends_with(&named))
    };
    owners.iter().any(|owner| of_tests(owner) || is_test(owner.to_str().unwrap()))
}

/// A module's name and the files that may declare it; nothing for the roots.
fn owners(path: &Path) -> Option<(String, Vec<PathBuf>)> {
    let stem = path.file_stem()?.to_str()?;
    let folder = path.parent()?;
    let (module, parent) = match stem {
        "lib" | "main" => return None,
        "mod" => (folder.file_name()?.to_str()?, folder.parent()?),
        _ => (stem, folder),
    };
    let owners = ["mod.rs", "lib.rs", "main.rs"].iter().map(|name| parent.join(name));
    Some((module.to_owned(), owners.filter(|owner| root().join(owner).exists()).collect()))
}

fn words(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if !text.starts_with("//!") {
        faults.push(format!("{path}:1: a file begins with //! and what it is"));
    }
    if path.split('/').any(|part| BANNED_NAMES.contains(&part.trim_end_matches(".rs"))) {
        faults.push(format!("{path}:1: the name says nothing of what is inside"));
    }
    let tests = tests_from(path, text);
    for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line)) {
        let mut check = |list: &[(&str, &str)]| {
            for (word, instead) in list.iter().filter(|(word, _)| line.contains(word)) {
                faults.push(format!("{path}:{number}: {word}: {instead}"));
            }
        };
        check(BANNED);
        if number < tests && !line.trim_start().starts_with("//") {
            check(BANNED_OUTSIDE_TESTS);
            if room(path) != "bin" {
                check(BANNED_IN_LIBRARY);
            }
        }
    }
    faults
}

/// Runs a rule over every source file.
fn hold(rule: fn(&str, &str) -> Vec<String>) {
    let sources = files("src", ".rs");
    assert!(sources.len() > 20, "the sources were not found below {}", root().display());
    let mut report = String::new();
    for path in sources {
        rule(path.to_str().unwrap(), &read(&path)).iter().for_each(|fault| writeln!(report, "{fault}").unwrap());
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn rooms_import_only_downwards() {
    hold(|path, text| if path == "src/lib.rs" { Vec::new() } else { imports(path, text) });
}

#[test]
fn files_and_functions_are_short() {
    hold(lengths);
}

#[test]
fn no_word_says_that_something_is_not_done() {
    hold(words);
}

#[test]
fn every_file_of_rust_begins_with_what_it_is() {
    for path in ["tests", "examples", "benches"].iter().flat_map(|folder| files(folder, ".rs")) {
        assert!(read(&path).starts_with("//!"), "{}:1: a file begins with //! and what it is", path.display());
    }
}

#[test]
fn every_source_file_is_part_of_the_crate() {
    for path in files("src", ".rs") {
        let Some((module, owners)) = owners(&path) else { continue };
        let named = format!("mod {module};");
        let owned = owners.iter().any(|owner| code(&read(owner)).any(|(_, line)| line.contains(&named)));
        assert!(owned, "{}:1: no module declares it", path.display());
    }
}

#[test]
fn every_topology_is_valid_and_named_as_its_file() {
    let shipped = files("topologies", ".toml");
    assert!(shipped.len() >= 4, "the topologies were not found");
    for path in shipped {
        match Topology::parse(path.to_str().unwrap(), &read(&path)) {
            Ok(topology) => assert_eq!(Some(topology.name()), path.file_stem().and_then(|stem| stem.to_str())),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn every_toml_that_ships_is_used() {
    let mut users: BTreeMap<PathBuf, String> = BTreeMap::new();
    for (folder, ending) in [("src", ".rs"), ("tests", ".rs"), ("simulations", ".toml"), ("examples", ".rs")] {
        users.extend(files(folder, ending).into_iter().map(|path| (path.clone(), read(&path))));
    }
    for path in files("topologies", ".toml") {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let used = |(user, text): (&PathBuf, &String)| *user != path && text.contains(stem);
        assert!(users.iter().any(used), "{}: nothing names it", path.display());
    }
}

#[test]
fn the_rules_find_what_breaks_them() {
    let first = |faults: Vec<String>| faults.into_iter().next().unwrap_or_default();
    let upward = "//! x\nuse crate::types::Lsn;\nuse crate::{\n    node::Node,\n    types,\n};\n";
    assert_eq!(
        first(imports("src/membership/mod.rs", upward)),
        "src/membership/mod.rs:3: membership may not import node"
    );
    let sibling = "//! x\nfn a() -> crate::documents::Config { loop {} }\n";
    assert_eq!(
        first(imports("src/membership/a.rs", sibling)),
        "src/membership/a.rs:2: membership may not import documents"
    );
    assert_eq!(
        first(imports("src/drivers/a.rs", "//! x\n")),
        "src/drivers/a.rs:1: the room drivers has no tier: add it to the table"
    );
    let through = "//! x\nuse super::super::node::Node;\n";
    assert_eq!(
        first(imports("src/membership/a.rs", through)),
        "src/membership/a.rs:2: leaves the room membership through super"
    );
    assert_eq!(imports("src/membership/a/b.rs", "//! x\nuse super::super::Config;\n"), [""; 0]);
    assert_eq!(
        imports("src/node/mod.rs", "//! x\n/// [`crate::sim`]\nuse crate::{membership::{View, Meta}, types};\n"),
        [""; 0]
    );

    let long = format!("//! x\n    fn a() {{\n{}    }}\n", "        b();\n".repeat(FN_LINES_MAX));
    assert_eq!(first(lengths("src/a.rs", &long)), "src/a.rs:2: the function has 76 lines, the limit is 74");
    assert!(first(lengths("src/a.rs", &"//! x\n".repeat(801))).contains("the file has 801 lines"));

    assert_eq!(first(words("src/a.rs", "fn a() {}\n")), "src/a.rs:1: a file begins with //! and what it is");
    assert!(first(words("src/node/util.rs", "//! x\n")).contains("says nothing"));
    for (text, faults) in [
        ("//! x\n// TODO: more\n", 1),
        ("//! x\na.unwrap();\n", 1),
        ("//! x\nprintln!(\"x\");\n", 1),
        ("//! x\n#[cfg(test)]\nmod tests {\n    a.unwrap();\n}\n", 0),
        ("//! x\n#[cfg(test)]\nmod tests;\na.unwrap();\n", 1),
        ("//! x\n/// a.unwrap()\n", 0),
    ] {
        assert_eq!(words("src/node/a.rs", text).len(), faults, "{text}");
    }
    assert_eq!(words("src/topology/tests.rs", "//! x\na.unwrap();\n"), [""; 0]);
    assert_eq!(words("src/topology/check.rs", "//! x\na.unwrap();\n").len(), 1);
    assert_eq!(words("src/bin/x/a.rs", "//! x\nprintln!(\"x\");\n"), [""; 0]);
}
