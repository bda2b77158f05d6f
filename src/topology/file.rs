//! The file's shape: what TOML says, with the places where it says it. What it means is `check`'s.

use serde::Deserialize;
use toml::Spanned;

use super::error::Source;
use super::{Error, Place, Policy, Role, Topology};

/// A whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    pub(super) schema: Spanned<u32>,
    pub(super) name: Spanned<String>,
    #[serde(default)]
    pub(super) description: String,
    pub(super) overlay: Policy,
    pub(super) default_link: Option<Quality>,
    #[serde(default, rename = "region")]
    pub(super) regions: Vec<RegionFile>,
    #[serde(default, rename = "node")]
    pub(super) nodes: Vec<NodeFile>,
    #[serde(default, rename = "group")]
    pub(super) groups: Vec<GroupFile>,
    #[serde(default, rename = "link")]
    pub(super) links: Vec<LinkFile>,
}

/// `default-link`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Quality {
    pub(super) delay: Spanned<String>,
    pub(super) jitter: Option<Spanned<String>>,
    pub(super) loss: Option<Spanned<String>>,
    pub(super) bandwidth: Option<Spanned<String>>,
}

/// `[[region]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RegionFile {
    pub(super) name: Spanned<String>,
    #[serde(default)]
    pub(super) zones: Vec<Spanned<String>>,
    pub(super) position: Option<Spanned<Place>>,
}

/// `[[node]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeFile {
    pub(super) name: Spanned<String>,
    pub(super) region: Option<Spanned<String>>,
    pub(super) zone: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) priority: u16,
    #[serde(default)]
    pub(super) role: Role,
    #[serde(default)]
    pub(super) addresses: Vec<Spanned<String>>,
    pub(super) position: Option<Spanned<Place>>,
}

/// `[[group]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupFile {
    pub(super) name: Spanned<String>,
    pub(super) count: Spanned<usize>,
    pub(super) region: Option<Spanned<String>>,
    pub(super) zone: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) priority: u16,
    #[serde(default)]
    pub(super) role: Role,
}

/// `[[link]]`: spelled out and not flattened, since flattening loses the places.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkFile {
    pub(super) between: Spanned<[Spanned<String>; 2]>,
    pub(super) delay: Spanned<String>,
    pub(super) jitter: Option<Spanned<String>>,
    pub(super) loss: Option<Spanned<String>>,
    pub(super) bandwidth: Option<Spanned<String>>,
}

impl File {
    pub(super) fn parse(file: &str, text: &str) -> Result<Self, Error> {
        let source = Source::new(file, text);
        if text.len() > Topology::TEXT_MAX {
            let why = format!("the file has {} bytes, the limit is {}", text.len(), Topology::TEXT_MAX);
            return Err(source.error(None, why));
        }
        toml::from_str(text).map_err(|error| source.error(error.span(), error.message().replace('\n', " ")))
    }
}
