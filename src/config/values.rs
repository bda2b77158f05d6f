//! Values and where each came from: the file, the environment and the flags, laid over the defaults key by key.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use toml::de::{DeTable, DeValue};

use super::error::{Error, Origin};
use super::keys::{KEYS, Key, Kind};

/// A value of one of the four kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Switch(bool),
    Texts(Vec<String>),
    /// Nobody gave one; the profile decides.
    Unset,
}

impl Value {
    /// As TOML.
    pub(super) fn shown(&self) -> String {
        let quoted = |text: &String| toml::Value::String(text.clone()).to_string();
        match self {
            Self::Text(text) => quoted(text),
            Self::Number(number) => number.to_string(),
            Self::Switch(on) => on.to_string(),
            Self::Texts(texts) => format!("[{}]", texts.iter().map(quoted).collect::<Vec<_>>().join(", ")),
            Self::Unset => String::new(),
        }
    }
}

/// One value with its key and origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// A value for every key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Values(BTreeMap<&'static str, Entry>);

impl Values {
    /// What is built in.
    pub(super) fn defaults() -> Self {
        static DEFAULTS: LazyLock<Values> = LazyLock::new(Values::built_in);
        DEFAULTS.clone()
    }

    fn built_in() -> Self {
        let entry = |key: &'static Key| {
            let value = if key.default.is_empty() {
                Value::Unset
            } else {
                let table: toml::Table =
                    format!("value = {}", key.default).parse().expect("the table of keys is tested");
                of_toml(key.kind, &table["value"]).expect("the table of keys is tested")
            };
            (key.name, Entry { value, origin: Origin::Default })
        };
        Self(KEYS.iter().map(entry).collect())
    }

    pub(super) fn entry(&self, key: &'static str) -> &Entry {
        self.0.get(key).expect("every key of the table has a value, and only such keys are asked for")
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &Entry)> {
        KEYS.iter().map(|key| (key.name, self.entry(key.name)))
    }

    /// What the profile says, unless somebody said otherwise.
    pub(super) fn lay_profile(&mut self, name: &'static str, key: &'static str, number: i64) {
        let entry = self.0.get_mut(key).expect("only keys of the table are asked for");
        if entry.value == Value::Unset {
            *entry = Entry { value: Value::Number(number), origin: Origin::Profile { name } };
        }
    }

    /// Lays a file over what is there.
    pub(super) fn lay_file(&mut self, path: &Path, text: &str) -> Result<(), Error> {
        let place = |at: usize| place(text, at);
        let table = DeTable::parse(text).map_err(|error| {
            let (line, column) = place(error.span().map_or(0, |span| span.start));
            Error::Syntax { path: path.into(), line, column, why: error.message().trim().to_owned() }
        })?;
        for (section, inner) in table.get_ref() {
            let origin = Origin::File { path: path.into(), line: place(section.span().start).0 };
            let DeValue::Table(keys) = inner.get_ref() else {
                return Err(unknown(origin, section.get_ref().to_string()));
            };
            if !KEYS.iter().any(|key| key.name.split('.').next() == Some(section.get_ref())) {
                return Err(unknown(origin, section.get_ref().to_string()));
            }
            for (name, value) in keys {
                let origin = Origin::File { path: path.into(), line: place(name.span().start).0 };
                let key = find(format!("{}.{}", section.get_ref(), name.get_ref()), &origin)?;
                self.lay(key, of_file(key.kind, value.get_ref()), value.get_ref().type_str(), origin)?;
            }
        }
        Ok(())
    }

    /// Lays the environment over what is there: `OXIGDAL_HA_SECTION__KEY`, with `_` for `-`. Other names are not ours.
    pub(super) fn lay_environment(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), Error> {
        for (variable, text) in variables {
            let Some((section, key)) = variable.strip_prefix(super::PREFIX).and_then(|rest| rest.split_once("__"))
            else {
                continue;
            };
            let name = format!("{section}.{key}").to_ascii_lowercase().replace('_', "-");
            let origin = Origin::Environment { variable };
            let key = find(name, &origin)?;
            self.lay(key, of_text(key.kind, &text), &format!("{text:?}"), origin)?;
        }
        Ok(())
    }

    /// Lays one argument over what is there.
    pub(super) fn lay_flag(&mut self, flag: &str, key: &str, texts: &[String]) -> Result<(), Error> {
        let origin = Origin::Flag { flag: flag.into() };
        let key = find(key.to_owned(), &origin)?;
        let value = match (key.kind, texts) {
            (Kind::Texts, texts) => Some(Value::Texts(texts.to_vec())),
            (kind, [text]) => of_text(kind, text),
            _ => None,
        };
        self.lay(key, value, &format!("{texts:?}"), origin)
    }

    fn lay(&mut self, key: &'static Key, value: Option<Value>, found: &str, origin: Origin) -> Result<(), Error> {
        let Some(value) = value else {
            let (key, found) = (key.name.to_owned(), found.to_owned());
            let expected = Key::find(&key).map_or("", |key| key.kind.name());
            return Err(Error::Type { origin, key, expected, found });
        };
        self.0.insert(key.name, Entry { value, origin });
        Ok(())
    }
}

fn find(name: String, origin: &Origin) -> Result<&'static Key, Error> {
    Key::find(&name).ok_or_else(|| unknown(origin.clone(), name))
}

fn unknown(origin: Origin, key: String) -> Error {
    let meant = Key::suggest(&key);
    Error::UnknownKey { origin, key, meant }
}

/// Line and column, both from 1, of a byte.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn of_file(kind: Kind, value: &DeValue<'_>) -> Option<Value> {
    match (kind, value) {
        (Kind::Text, DeValue::String(text)) => Some(Value::Text(text.to_string())),
        (Kind::Switch, DeValue::Boolean(on)) => Some(Value::Switch(*on)),
        (Kind::Number, DeValue::Integer(number)) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(Value::Number)
        }
        (Kind::Texts, DeValue::Array(items)) => {
            items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect::<Option<_>>().map(Value::Texts)
        }
        _ => None,
    }
}

fn of_toml(kind: Kind, value: &toml::Value) -> Option<Value> {
    match (kind, value) {
        (Kind::Text, toml::Value::String(text)) => Some(Value::Text(text.clone())),
        (Kind::Switch, toml::Value::Boolean(on)) => Some(Value::Switch(*on)),
        (Kind::Number, toml::Value::Integer(number)) => Some(Value::Number(*number)),
        (Kind::Texts, toml::Value::Array(items)) => {
            items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<_>>().map(Value::Texts)
        }
        _ => None,
    }
}

/// A value as a shell gives it: texts without quotes, lists with commas, or as TOML when they begin with a bracket.
fn of_text(kind: Kind, text: &str) -> Option<Value> {
    match kind {
        Kind::Text => Some(Value::Text(text.to_owned())),
        Kind::Number => text.trim().parse().ok().map(Value::Number),
        Kind::Switch => text.trim().parse().ok().map(Value::Switch),
        Kind::Texts if text.trim_start().starts_with('[') => {
            let table: toml::Table = format!("value = {text}").parse().ok()?;
            of_toml(kind, table.get("value")?)
        }
        Kind::Texts => Some(Value::Texts(
            text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect(),
        )),
    }
}
