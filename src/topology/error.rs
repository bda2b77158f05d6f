//! What is wrong with a topology file, and where.

use std::fmt;
use std::ops::Range;

/// A topology file was refused. Nothing of it is kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    /// The file, as given by the caller.
    pub file: String,
    /// Counted from 1; 0 if the whole file is meant.
    pub line: usize,
    /// In characters, counted from 1; 0 if the whole file is meant.
    pub column: usize,
    /// The key, such as `node[2].region`; empty if the line has none.
    pub key: String,
    /// What is wrong.
    pub why: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.why)
    }
}

/// The text that errors point into.
pub(super) struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl<'a> Source<'a> {
    pub(super) const fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text }
    }

    /// An error at these bytes of the text, or at the whole file.
    pub(super) fn error(&self, span: Option<Range<usize>>, why: impl Into<String>) -> Error {
        let (file, why) = (self.file.to_owned(), why.into());
        let Some(before) = span.and_then(|span| self.text.get(..span.start)) else {
            return Error { file, line: 0, column: 0, key: String::new(), why };
        };
        let begin = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        let column = before[begin..].chars().count() + 1;
        Error { file, line, column, key: self.key(begin, before.len()), why }
    }

    /// The dotted key at byte `at` of the line that begins at byte `begin`: the table it stands in, and what stands
    /// before the last `=`.
    fn key(&self, begin: usize, at: usize) -> String {
        let line = self.text[begin..].lines().next().unwrap_or_default();
        let table = self.table(begin);
        let Some(equals) = line.find('=').filter(|_| !line.trim_start().starts_with(['[', '#'])) else {
            return if line.trim_start().starts_with('[') { self.table(begin + line.len()) } else { table };
        };
        let mut key = [table.as_str(), line[..equals].trim()].into_iter().filter(|part| !part.is_empty());
        let outer = key.by_ref().collect::<Vec<_>>().join(".");
        match inline_key(line, equals, at - begin) {
            Some(inner) => format!("{outer}.{inner}"),
            None => outer,
        }
    }

    /// The table that a line stands in, such as `node[2]`: the last header before byte `end`.
    fn table(&self, end: usize) -> String {
        let headers = || self.text[..end].lines().map(str::trim).filter(|line| line.starts_with('['));
        let Some(last) = headers().next_back() else { return String::new() };
        let name =
            |header: &str| header.trim_start_matches('[').split(']').next().unwrap_or_default().trim().to_owned();
        if last.starts_with("[[") {
            let nth = headers().filter(|header| header.starts_with("[[") && name(header) == name(last)).count() - 1;
            format!("{}[{nth}]", name(last))
        } else {
            name(last)
        }
    }
}

/// The key within an inline table: `delay` of `default-link = { delay = "x" }`.
fn inline_key(line: &str, equals: usize, at: usize) -> Option<&str> {
    let open = equals + line[equals..].find('{')?;
    let end = line[at.min(line.len())..].find([',', '}', '=']).map_or(line.len(), |found| at + found);
    let inner = line.get(open + 1..end)?;
    let last = inner.rsplit(',').next()?;
    let key = last.split('=').next()?.trim();
    key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-').then_some(key).filter(|key| !key.is_empty())
}
