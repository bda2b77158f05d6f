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
    /// As TOML; empty if the profile decides.
    pub(super) default: &'static str,
    /// Sentences for the default file.
    pub(super) about: &'static str,
}

impl Key {
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// The key that was probably meant: the nearest by edits, if it is near; of several that are as near, one of the same section.
    pub(super) fn suggest(wrong: &str) -> Option<&'static str> {
        let last = |name: &'static str| name.rsplit('.').next().unwrap_or(name);
        let section = |name: &str| name.rsplit_once('.').map(|(section, _)| section.to_owned());
        let ours = section(wrong);
        KEYS.iter()
            .map(|key| {
                // A right key in the wrong section is near too.
                let elsewhere = wrong.rsplit('.').next().is_some_and(|wrong| wrong == last(key.name));
                (if elsewhere { 1 } else { distance(wrong, key.name) }, section(key.name) != ours, key.name)
            })
            .min()
            .filter(|(distance, _, name)| *distance <= name.len() / 3)
            .map(|(_, _, name)| name)
    }
}

/// Sections in the order of the file, with what they are for.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    ("node", "Who this peer is, and where it keeps its data."),
    ("network", "How peers reach each other."),
    ("api", "The local HTTP interface, for clients on this machine."),
    (
        "overlay",
        "Who exchanges data with whom. All peers of a mesh must agree on kind, degree and arity: those that differ are not linked.",
    ),
    (
        "membership",
        "Who is alive. A profile sets the periods; single ones may be set here. Peers should agree on them.",
    ),
    ("consensus", "How decisions are made by the voters of the mesh. All peers should agree on this."),
    ("voters", "Who votes. The leader of the voters does it by itself."),
    ("roles", "Roles that one peer holds at a time, with a lease and a fencing token. All peers should agree on this."),
    ("replication", "How edits spread."),
    ("documents", "How much of the documents is kept in memory."),
    ("streams", "How long events are kept, and how much of them in memory."),
    ("wal", "The log on the disk."),
    ("archive", "What is new of the log is shipped to a repository of backups while the peer runs."),
    ("backup", "Backups that the peer takes by itself."),
    (
        "snapshots",
        "What the log says so far, in a file beside it, so that a start need not read all of it. Taken when the first of three is reached.",
    ),
    ("log", "What is logged, and how."),
];

pub(super) const KEYS: &[Key] = &[
    key("node.name", Kind::Text, r#""""#, "A name for people. Empty: made from the node's id."),
    key("node.region", Kind::Text, r#""""#, "The region it is in, as the topology names it."),
    key("node.zone", Kind::Text, r#""""#, "The zone within the region."),
    key(
        "node.priority",
        Kind::Number,
        "100",
        "Higher is preferred as hub and root, for roles, and as a voter. Elections of who leads the voters tell only 0 to 255 apart. 0 to 65535.",
    ),
    key("node.observer", Kind::Switch, "false", "Takes part in data but is never hub or root."),
    key(
        "node.services",
        Kind::Texts,
        "[]",
        "What clients find at this peer's host: NAME:PORT of TCP services, by which `oxigdal-ha redirect` finds the one of whoever holds a role.",
    ),
    key(
        "node.data-dir",
        Kind::Text,
        r#""oxigdal-ha-data""#,
        "Where identity, log and tokens are kept. One process at a time. Relative to the working directory.",
    ),
    key(
        "node.record",
        Kind::Text,
        r#""""#,
        "A new file for all that enters the node, so that its life can be lived again elsewhere. Holds what clients write. Empty: none.",
    ),
    key(
        "network.listen",
        Kind::Texts,
        r#"["/ip4/0.0.0.0/tcp/4747", "/ip6/::/tcp/4747"]"#,
        "Where to listen for peers: multiaddrs, or host:port.",
    ),
    key(
        "network.announce",
        Kind::Texts,
        "[]",
        "What to tell others to dial, if it differs: port forwards, proxies, DNS names. Empty: what is listened on.",
    ),
    key(
        "network.join",
        Kind::Texts,
        "[]",
        "Where to find the mesh: invites, multiaddrs or host:port. Peers met once are remembered anyway.",
    ),
    key(
        "network.dial-via",
        Kind::Texts,
        "[]",
        "Addresses of others that this peer dials elsewhere, through a tunnel or a proxy: \"ADDRESS -> ADDRESS\".",
    ),
    key("network.mdns", Kind::Switch, "false", "Find peers of the same mesh on the local network by multicast."),
    key(
        "network.relay",
        Kind::Switch,
        "false",
        "Members behind NAT may be reached through this peer. For one that all others can dial; what passes is encrypted.",
    ),
    key(
        "api.listen",
        Kind::Text,
        r#""127.0.0.1:4748""#,
        "Where to serve. Empty: not at all. Changes need the token in the file api-token of the data directory.",
    ),
    key("overlay.kind", Kind::Text, r#""mesh""#, "star, mesh or tree."),
    key("overlay.degree", Kind::Number, "8", "Neighbours of a peer in a mesh of more than 16. Even, 4 to 32."),
    key("overlay.arity", Kind::Number, "3", "Children of a peer in a tree. 2 to 32."),
    key(
        "overlay.links-max",
        Kind::Number,
        "64",
        "Up to so many other peers, links to all of them are kept; beyond, only to neighbours. 2 to 1024.",
    ),
    key(
        "membership.profile",
        Kind::Text,
        r#""lan""#,
        "local: one machine. lan: one site. wan: between continents, and mobile networks. edge: metered lines that stall.",
    ),
    key(
        "membership.probe-period-ms",
        Kind::Number,
        "",
        "One member is probed each period. At least twice the timeout. 20 to 600000.",
    ),
    key(
        "membership.probe-timeout-ms",
        Kind::Number,
        "",
        "How long an answer may take: above the 99th percentile of round trips. 10 to 300000.",
    ),
    key(
        "membership.suspicion-floor-ms",
        Kind::Number,
        "",
        "No suspicion ends sooner, nor sooner than four periods. 10 to 600000.",
    ),
    key("membership.gossip-period-ms", Kind::Number, "", "What is fresh is told this often. 10 to 60000."),
    key("membership.gossip-fanout", Kind::Number, "", "To so many members at a time. 1 to 32."),
    key("membership.helpers", Kind::Number, "", "How many members are asked to probe for us. 0 to 32."),
    key(
        "membership.reconnect-period-ms",
        Kind::Number,
        "",
        "A dead member is pinged this often, so that a healed cut is seen. 10 to 3600000.",
    ),
    key(
        "consensus.heartbeat-ms",
        Kind::Number,
        "",
        "A leader lets hear from it this often while there is something to do; all other times of an election follow from it. 10 to 10000.",
    ),
    key(
        "consensus.rest",
        Kind::Text,
        r#""5s""#,
        "And this often while there is nothing to do. 0s: as often as else. 0s to 1m.",
    ),
    key(
        "consensus.rest-after",
        Kind::Text,
        r#""100ms""#,
        "There is nothing to do when there was not for so long. 50ms to 1m.",
    ),
    key(
        "consensus.snapshot-every",
        Kind::Number,
        "1024",
        "Decisions until what all of them came to is written down, so that they need not be kept. 8 to 1000000.",
    ),
    key("voters.target", Kind::Number, "3", "Voters, where there are as many members: 1, 3 or 5. 1 to 5."),
    key(
        "voters.stabilization",
        Kind::Text,
        r#""10s""#,
        "A member is chosen once it was there for so long, and votes after as long as a learner. 100ms to 1h.",
    ),
    key(
        "voters.replace-after",
        Kind::Text,
        r#""5m""#,
        "A voter that is gone for so long is replaced if somebody can take its place. 1s to 30d.",
    ),
    key(
        "voters.found-after",
        Kind::Text,
        r#""3s""#,
        "The first peer of a mesh founds the group of voters when it has heard of none for so long. 10ms to 1h.",
    ),
    key(
        "roles.names",
        Kind::Texts,
        "[]",
        "The roles that are granted, such as \"primary\". None: the mesh rests while nothing is to be decided.",
    ),
    key("roles.lease-ms", Kind::Number, "150", "A holder acts so long after the voters were last heard. 125 to 60000."),
    key(
        "roles.automatic",
        Kind::Switch,
        "true",
        "Whether a role is granted to the best peer without an operator: by node.priority, then by the least lag.",
    ),
    key("roles.max-lag", Kind::Number, "64", "Nobody takes a role over who is more entries behind. 0 to 1000000000."),
    key(
        "roles.strategy",
        Kind::Text,
        r#""priority""#,
        "Who is best: priority (of the same, the least lag), least-lag, or least-load, by the load of its machine; manual: an operator chooses.",
    ),
    key(
        "roles.failback-after",
        Kind::Text,
        r#""0s""#,
        "A role goes back to a peer of higher priority that was well for so long. 0s: when an operator says so. 0s to 30d.",
    ),
    key(
        "roles.promotions-max",
        Kind::Number,
        "3",
        "No more promotions in ten minutes without an operator. 1 to 1000000.",
    ),
    key(
        "roles.promotion-ms",
        Kind::Number,
        "1000",
        "Whoever was granted a role and is not heard to begin by then is passed over. 125 to 600000.",
    ),
    key(
        "roles.on-promote",
        Kind::Texts,
        "[]",
        "A program and its arguments: it begins this peer's work in a role. It has OXIGDAL_HA_EVENT (promote), OXIGDAL_HA_ROLE, OXIGDAL_HA_FENCE (the fencing token, such as 1.2.3) and OXIGDAL_HA_NODE (this peer's id) in its environment, and the same as one line of JSON on its standard input. If it fails, or does not end in time, the role goes to another peer.",
    ),
    key(
        "roles.promote-limit-ms",
        Kind::Number,
        "10000",
        "How long `on-promote` may take. Then it is killed, and the role goes to another peer. 100 to 600000.",
    ),
    key(
        "roles.on-demote",
        Kind::Texts,
        "[]",
        "The same to end the work: OXIGDAL_HA_EVENT is demote. It is killed after `hook-limit-ms`.",
    ),
    key(
        "roles.hook-limit-ms",
        Kind::Number,
        "0",
        "How long `on-demote` may take. A role whose holder is gone is granted anew only after that too. 0 to 60000.",
    ),
    key("replication.batch-size", Kind::Number, "512", "Entries in a batch at most. 1 to 100000."),
    key("replication.batch-bytes", Kind::Number, "262144", "Bytes in a batch at most. 1024 to 8388608."),
    key(
        "replication.batch-timeout-ms",
        Kind::Number,
        "5",
        "While a batch is under way, what comes next waits no longer than this. 0 to 10000.",
    ),
    key(
        "replication.window-bytes",
        Kind::Number,
        "1048576",
        "Bytes under way to one peer: bandwidth times round trip. 65536 to 268435456.",
    ),
    key(
        "replication.cache-bytes",
        Kind::Number,
        "8388608",
        "Recent entries in memory; older ones are read back from the log. 65536 to 1073741824.",
    ),
    key(
        "replication.anti-entropy-ms",
        Kind::Number,
        "2000",
        "How often a random neighbour is asked whether anything is missing. 100 to 600000.",
    ),
    key(
        "replication.lag-warn-changes",
        Kind::Number,
        "100000",
        "A replica that lacks so many changes is a trouble. 0: that does not matter. 0 to 1000000000000.",
    ),
    key(
        "replication.lag-warn-bytes",
        Kind::Number,
        "0",
        "A replica that lacks so many bytes of changes is a trouble. 0: that does not matter. 0 to 1099511627776.",
    ),
    key(
        "replication.lag-warn-seconds",
        Kind::Number,
        "60",
        "A replica that lacks what has been here for so long is a trouble. 0: that does not matter. 0 to 31536000.",
    ),
    key("replication.compression", Kind::Text, r#""zstd""#, "How batches are made shorter: zstd or none."),
    key(
        "replication.compression-level",
        Kind::Number,
        "1",
        "Higher takes several times the work for some 10 % fewer bytes. 1 to 3.",
    ),
    key(
        "replication.compress-above-bytes",
        Kind::Number,
        "400",
        "Batches of fewer bytes go as they are: that gains nothing. 0 to 16777216.",
    ),
    key(
        "replication.retry-first-ms",
        Kind::Number,
        "500",
        "A batch is sent again after so long without an answer, to a peer that never answered one. 10 to 600000.",
    ),
    key(
        "replication.retry-min-ms",
        Kind::Number,
        "100",
        "To others after the round trip and its variation, and not sooner than this. 10 to 600000.",
    ),
    key(
        "replication.retry-max-ms",
        Kind::Number,
        "30000",
        "After each time in vain twice as long is waited, up to this. 10 to 600000.",
    ),
    key(
        "replication.mode",
        Kind::Text,
        r#""asynchronous""#,
        "When a write is acknowledged, unless the request says: asynchronous: durable here. semi-synchronous: durable on so many other members too. synchronous: on all active ones.",
    ),
    key("replication.copies", Kind::Number, "1", "For semi-synchronous: so many other members. 1 to 255."),
    key(
        "replication.ack-timeout-ms",
        Kind::Number,
        "5000",
        "After so long in vain the answer is that it is durable here and not on as many others; it is not undone. 10 to 600000.",
    ),
    key(
        "documents.waiting-max",
        Kind::Number,
        "10000",
        "Commands that wait at most; more are refused as busy. 1 to 1000000.",
    ),
    key("documents.open-docs", Kind::Number, "2000", "Documents kept opened. 1 to 10000000."),
    key(
        "documents.open-ops",
        Kind::Number,
        "400000",
        "Operations in opened documents, some 200 bytes each. 1000 to 1000000000.",
    ),
    key(
        "documents.inbox-bytes",
        Kind::Number,
        "67108864",
        "Changes that wait in memory to be merged; more stay in the log. 1048576 to 8589934592.",
    ),
    key(
        "documents.memory-bytes",
        Kind::Number,
        "67108864",
        "Bytes of closed documents in memory; beyond, those unused for longest stay in the log. 1024 to 1099511627776.",
    ),
    key(
        "documents.history-changes",
        Kind::Number,
        "256",
        "With so many changes a document's past is folded into its state, in memory. 0: never. 0 to 1000000.",
    ),
    key(
        "documents.audit-s",
        Kind::Number,
        "300",
        "How often a random neighbour is asked whether its documents are the same. 5 to 86400.",
    ),
    key(
        "streams.retention-age-s",
        Kind::Number,
        "604800",
        "Events that are older expire. Seconds; 0: age does not matter. 0 to 3153600000.",
    ),
    key(
        "streams.retention-bytes",
        Kind::Number,
        "67108864",
        "Bytes of events kept in each stream; older ones expire. 0: without this bound. 0 to 1099511627776.",
    ),
    key(
        "streams.retention-count",
        Kind::Number,
        "0",
        "Events kept in each stream; older ones expire. 0: without this bound. 0 to 1000000000000.",
    ),
    key(
        "streams.retention-for",
        Kind::Texts,
        "[]",
        "The same for streams whose names begin so, the longest beginning counts: \"sensors/ age-s=3600 count=1000\".",
    ),
    key(
        "streams.total-bytes",
        Kind::Number,
        "268435456",
        "Bytes of all streams on the disk, about; beyond, the oldest file of them expires whole. 1048576 to 1099511627776.",
    ),
    key(
        "streams.entries-max",
        Kind::Number,
        "500000",
        "Batches of events that are indexed in memory, some 150 bytes each; beyond, the oldest file expires. 1000 to 100000000.",
    ),
    key("streams.cache-bytes", Kind::Number, "4194304", "The newest events in memory, for readers. 0 to 1073741824."),
    key(
        "streams.waiting-max",
        Kind::Number,
        "10000",
        "Appends that wait at most; more are refused as busy. 1 to 1000000.",
    ),
    key(
        "wal.segment-bytes",
        Kind::Number,
        "16777216",
        "A file of the log is closed before it grows beyond this. A start reads one into memory. 65536 to 1073741824.",
    ),
    key(
        "archive.repository",
        Kind::Text,
        r#""""#,
        "A directory or the bucket of a cloud's store, as `backup create --repo` takes it. Empty: no archive.",
    ),
    key("archive.every", Kind::Text, r#""10s""#, "How often: a number with ms, s, m or h. 200ms to 1h."),
    key(
        "archive.bytes",
        Kind::Number,
        "8388608",
        "So many bytes that are not shipped yet do not wait for that. 4096 to 1099511627776.",
    ),
    key("archive.compression", Kind::Text, r#""zstd""#, "none, lz4, zstd or gzip."),
    key(
        "archive.key-file",
        Kind::Text,
        r#""""#,
        "A file of 32 random bytes or more that encrypts the repository. Keep a copy elsewhere.",
    ),
    key(
        "archive.passphrase-file",
        Kind::Text,
        r#""""#,
        "Or a file that holds its passphrase; OXIGDAL_HA_PASSPHRASE may hold the passphrase itself.",
    ),
    key(
        "archive.grace",
        Kind::Text,
        r#""1h""#,
        "How long a range is kept that another one stands for: longer than a restore takes. 1s to 30d.",
    ),
    key(
        "backup.schedule",
        Kind::Texts,
        "[]",
        "Backups that the peer takes by itself: \"nightly kind=full at=03:00 repository=/srv/backups keep-daily=7\"; see `backup schedule`.",
    ),
    key(
        "snapshots.every",
        Kind::Text,
        r#""1h""#,
        "One is taken after so long, if there is anything worth it: a number with s, m, h or d. 1s to 365d.",
    ),
    key(
        "snapshots.bytes",
        Kind::Number,
        "67108864",
        "Or when the log has grown by so many bytes. 1024 to 1099511627776.",
    ),
    key("snapshots.records", Kind::Number, "200000", "Or by so many records. 1 to 1099511627776."),
    key("snapshots.keep", Kind::Number, "2", "How many are kept; at 0 none are taken. 0 to 100."),
    key("snapshots.codec", Kind::Text, r#""zstd""#, "How they are compressed: none, lz4, zstd or gzip."),
    key("log.format", Kind::Text, r#""auto""#, "text, json, or auto: text on a terminal, JSON otherwise."),
    key("log.level", Kind::Text, r#""info""#, "error, warn, info, debug, trace, or directives by module."),
];

const fn key(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Key {
    Key { name, kind, default, about }
}

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
