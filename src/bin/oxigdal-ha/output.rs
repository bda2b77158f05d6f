//! What is written to standard output: tables and colours for people, JSON for programs.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets};
use serde::Serialize;

use crate::args::When;
use crate::failure::Result;

/// How to write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// Whether programs read it.
    pub(crate) json: bool,
    /// Whether colours are wanted.
    pub(crate) colour: bool,
    /// Whether people read it.
    pub(crate) terminal: bool,
}

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// To be looked at.
    Warn,
    /// Wrong.
    Bad,
    /// Beside the point.
    Dim,
    /// The point.
    Bold,
    /// A name.
    Name,
}

impl Output {
    pub(crate) fn new(json: bool, when: When) -> Self {
        let terminal = io::stdout().is_terminal();
        Self { json, colour: !json && wants_colour(when, terminal), terminal }
    }

    /// The text in a colour, if colours are wanted.
    pub(crate) fn paint(self, tone: Tone, text: impl std::fmt::Display) -> String {
        if !self.colour {
            return text.to_string();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "1;31",
            Tone::Dim => "2",
            Tone::Bold => "1",
            Tone::Name => "36",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// A line of text.
    pub(crate) fn line(self, text: impl std::fmt::Display) -> Result {
        Ok(writeln!(io::stdout(), "{text}")?)
    }

    /// A value as JSON: over many lines on a terminal, in one otherwise.
    pub(crate) fn value(self, value: &impl Serialize) -> Result {
        let text = if self.terminal { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        self.line(text.expect("these values have text keys and finite numbers"))
    }

    /// A table without lines, so that `awk` and `cut` can read it.
    pub(crate) fn table(self, header: &[&str]) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        if self.colour {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        let bold = |name: &&str| Cell::new(name).add_attribute(Attribute::Bold);
        table.set_header(header.iter().map(bold));
        table.column_iter_mut().for_each(|column| {
            column.set_padding((0, 2));
        });
        table
    }

    /// Writes a table, without the blanks that fill its last column.
    pub(crate) fn rows(self, table: &Table) -> Result {
        let text: String = table.lines().map(|line| format!("{}\n", line.trim_end())).collect();
        Ok(io::stdout().write_all(text.as_bytes())?)
    }
}

/// A cell in a colour; a table shows it only where colours are wanted.
pub(crate) fn cell(tone: Tone, text: impl std::fmt::Display) -> Cell {
    let cell = Cell::new(text);
    match tone {
        Tone::Good => cell.fg(Color::Green),
        Tone::Warn => cell.fg(Color::Yellow),
        Tone::Bad => cell.fg(Color::Red),
        Tone::Dim => cell.add_attribute(Attribute::Dim),
        Tone::Bold => cell.add_attribute(Attribute::Bold),
        Tone::Name => cell.fg(Color::Cyan),
    }
}

/// A number, to the right.
pub(crate) fn number(text: impl std::fmt::Display) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// See <https://no-color.org>.
pub(crate) fn wants_colour(when: When, terminal: bool) -> bool {
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto => {
            let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
            terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    }
}

/// Bytes as people read them.
pub(crate) fn bytes(count: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", count / unit, count % unit * 10 / unit);
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{} kB", tenths(1_000)),
        1_000_000..1_000_000_000 => format!("{} MB", tenths(1_000_000)),
        _ => format!("{} GB", tenths(1_000_000_000)),
    }
}

/// Milliseconds as people read them.
pub(crate) fn millis(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} ms"),
        10_000..120_000 => format!("{}.{} s", count / 1_000, count % 1_000 / 100),
        120_000..7_200_000 => format!("{} min", count / 60_000),
        7_200_000..172_800_000 => format!("{} h", count / 3_600_000),
        _ => format!("{} d", count / 86_400_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_short() {
        assert_eq!([bytes(999), bytes(1_999), bytes(2_500_000)], ["999 B", "1.9 kB", "2.5 MB"]);
        assert_eq!([millis(9_999), millis(12_345), millis(200_000)], ["9999 ms", "12.3 s", "3 min"]);
    }

    #[test]
    fn colours_come_only_when_wanted() {
        let plain = Output { json: false, colour: false, terminal: false };
        assert_eq!(plain.paint(Tone::Bad, "x"), "x");
        assert_eq!(Output { colour: true, ..plain }.paint(Tone::Bad, "x"), "\x1b[1;31mx\x1b[0m");
    }
}
