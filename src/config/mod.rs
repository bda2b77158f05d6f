//! The configuration of one peer: a TOML file, laid over by the environment, laid over by flags, checked once.
//!
//! Parse, don't validate: holding a [`Config`] is the proof that every value was checked, alone and against the others.
//! Each value keeps where it came from, so an error names the file and the line (or the variable, or the flag), and
//! `config print --origin` can tell. Unknown keys are refused wherever they come from, with the key that was probably meant.
//!
//! What all peers of a mesh must agree on is [`Cluster`], and they tell each other its [`Terms`] when they meet; everything
//! else is each peer's own.
//!
//! **Invariant:** the text of [`default_text`], as it is and with every key uncommented, reads back as the default.

mod checked;
mod cluster;
mod decisions;
mod error;
mod keys;
mod presets;
mod terms;
mod values;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::path::Path;

pub use checked::{Api, Archive, Config, Log, LogFormat, Network, Node, address, span};
pub use cluster::Cluster;
pub use decisions::{Program, Programs, Voters};
pub use error::{Error, Origin, Relation};
pub use terms::{Difference, Differences, TERM_KEY_MAX, TERM_VALUE_MAX, TERMS_MAX, Terms};

use keys::SECTIONS;
use values::Values;

/// Variables of the environment that begin so and hold `__` are keys.
pub const PREFIX: &str = "OXIGDAL_HA_";

/// Columns of a comment in [`default_text`] at most.
const WIDTH_MAX: usize = 100;

/// Values given by arguments, or by the program that embeds the node. They win over everything.
#[derive(Clone, Debug, Default)]
pub struct Flags(Vec<(String, String, Vec<String>)>);

impl Flags {
    /// No flags.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key`, such as `node.name`, from a text. `flag` is the name for error messages, such as `--name`.
    #[must_use]
    pub fn set(mut self, flag: &str, key: &str, text: impl Into<String>) -> Self {
        self.0.push((flag.into(), key.into(), vec![text.into()]));
        self
    }

    /// Sets a key that is a list, such as `network.listen`.
    #[must_use]
    pub fn list(mut self, flag: &str, key: &str, texts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.0.push((flag.into(), key.into(), texts.into_iter().map(Into::into).collect()));
        self
    }
}

/// One line of `config print`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// `section.key`.
    pub key: &'static str,
    /// As TOML.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Reads the file, if one is named, and lays the environment and the flags over it. This is the only place outside the
/// driver that reads a file: once, before anything runs.
///
/// # Errors
/// [`Error`] names where the wrong value stands. Nothing was changed.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &Flags,
) -> Result<Config, Error> {
    let text = match file {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            Some((path, text.map_err(|source| Error::Read { path: path.into(), source })?))
        }
        None => None,
    };
    parse(text.as_ref().map(|(path, text)| (*path, text.as_str())), environment, flags)
}

/// As [`load`], with the file's text.
///
/// # Errors
/// [`Error`] names where the wrong value stands. Nothing was changed.
pub fn parse(
    file: Option<(&Path, &str)>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &Flags,
) -> Result<Config, Error> {
    let mut values = Values::defaults();
    if let Some((path, text)) = file {
        values.lay_file(path, text)?;
    }
    values.lay_environment(environment)?;
    for (flag, key, texts) in &flags.0 {
        values.lay_flag(flag, key, texts)?;
    }
    Config::try_from(values)
}

/// A file with every section and key, what each is for, and its default, all values commented out.
#[must_use]
pub fn default_text() -> String {
    let mut text = String::from(
        "# oxigdal-ha: the configuration of one peer.\n\
         # What stands here is laid over the defaults; OXIGDAL_HA_SECTION__KEY over that; flags over that.\n\
         # Check a changed file with `oxigdal-ha config check`.\n",
    );
    let default = Config::default();
    for (section, about) in SECTIONS {
        text.push('\n');
        comment(&mut text, about);
        writeln!(text, "[{section}]").expect("writing to a String cannot fail");
        for setting in default.settings().filter(|setting| setting.key.split('.').next() == Some(section)) {
            let about = keys::Key::find(setting.key).map_or("", |key| key.about);
            let name = &setting.key[section.len() + 1..];
            comment(&mut text, about);
            writeln!(text, "#{name} = {}", setting.value).expect("writing to a String cannot fail");
        }
    }
    text
}

/// Words as lines of comment that a terminal shows whole.
fn comment(text: &mut String, about: &str) {
    let mut width = 0;
    for word in about.split(' ') {
        let len = word.chars().count();
        if width == 0 || width + 1 + len > WIDTH_MAX {
            text.push_str(if width == 0 { "#" } else { "\n#" });
            width = 1;
        }
        text.push(' ');
        text.push_str(word);
        width += 1 + len;
    }
    text.push('\n');
}
