//! Every key of the file: its type, its default and what it is for. The default file, the environment, the errors for
//! unknown keys and `config print` are all made from this table; a test holds it to [`Config`](super::Config).

/// What a value looks like in TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Switch,
    Texts,
}

impl Kind {
    /// For error messages.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Text => "a text in quotes",
            Self::Number => "a whole number",
            Self::Switch => "true or false",
            Self::Texts => "a list of texts",
        }
    }
}

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    /// `section.key`.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// As TOML; empty if the key has no value of its own, because the profile decides.
    pub(super) default: &'static str,
    /// Sentences for the default file.
    pub(super) about: &'static str,
}

impl Key {
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// The key that was probably meant: the nearest by edits, if it is near.
    pub(super) fn suggest(wrong: &str) -> Option<&'static str> {
        let last = |name: &'static str| name.rsplit('.').next().unwrap_or(name);
        KEYS.iter()
            .map(|key| {
                // A right key in the wrong section is near too.
                let elsewhere = wrong.rsplit('.').next().is_some_and(|wrong| wrong == last(key.name));
                (if elsewhere { 1 } else { distance(wrong, key.name) }, key.name)
            })
            .min()
            .filter(|(distance, name)| *distance <= name.len() / 3)
            .map(|(_, name)| name)
    }
}

/// Sections in the order of the file, with what they are for.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    ("node", "Who this peer is, and where it keeps its data."),
    ("network", "How peers reach each other."),
    ("api", "The local HTTP interface, for clients on this machine."),
    ("overlay", "Who exchanges data with whom. All peers of a mesh must agree on this section."),
    ("log", "What is logged, and how."),
];

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "node.name",
        kind: Kind::Text,
        default: r#""""#,
        about: "A name for people. Empty: made from the node's id.",
    },
    Key {
        name: "node.region",
        kind: Kind::Text,
        default: r#""""#,
        about: "The region it is in, as the topology names it.",
    },
    Key { name: "node.zone", kind: Kind::Text, default: r#""""#, about: "The zone within the region." },
    Key {
        name: "node.priority",
        kind: Kind::Number,
        default: "100",
        about: "Higher is preferred as hub and root. 0 to 65535.",
    },
    Key {
        name: "node.observer",
        kind: Kind::Switch,
        default: "false",
        about: "Takes part in data but is never hub or root.",
    },
    Key {
        name: "node.data-dir",
        kind: Kind::Text,
        default: r#""oxigdal-ha-data""#,
        about: "Where identity, log and tokens are kept. One process at a time. Relative to the working directory.",
    },
    Key {
        name: "network.listen",
        kind: Kind::Texts,
        default: r#"["/ip4/0.0.0.0/tcp/4747", "/ip6/::/tcp/4747"]"#,
        about: "Where to listen for peers: multiaddrs, or host:port.",
    },
    Key {
        name: "network.announce",
        kind: Kind::Texts,
        default: "[]",
        about: "What to tell others to dial, if it differs: port forwards, proxies, DNS names. Empty: what is listened on.",
    },
    Key {
        name: "network.join",
        kind: Kind::Texts,
        default: "[]",
        about: "Where to find the mesh: invites, multiaddrs or host:port. Peers met once are remembered anyway.",
    },
    Key {
        name: "network.dial-via",
        kind: Kind::Texts,
        default: "[]",
        about: "Addresses of others that this peer dials elsewhere, through a tunnel or a proxy: \"ADDRESS -> ADDRESS\".",
    },
    Key {
        name: "network.mdns",
        kind: Kind::Switch,
        default: "false",
        about: "Find peers of the same mesh on the local network by multicast.",
    },
    Key {
        name: "api.listen",
        kind: Kind::Text,
        default: r#""127.0.0.1:4748""#,
        about: "Where to serve. Empty: not at all. Changes need the token in the file api-token of the data directory.",
    },
    Key { name: "overlay.kind", kind: Kind::Text, default: r#""mesh""#, about: "star, mesh or tree." },
    Key { name: "overlay.arity", kind: Kind::Number, default: "3", about: "Children of a peer in a tree. 2 to 32." },
    Key {
        name: "log.format",
        kind: Kind::Text,
        default: r#""auto""#,
        about: "text, json, or auto: text on a terminal, JSON otherwise.",
    },
    Key {
        name: "log.level",
        kind: Kind::Text,
        default: r#""info""#,
        about: "error, warn, info, debug, trace, or directives by module.",
    },
];

/// Levenshtein's distance, with one row.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
