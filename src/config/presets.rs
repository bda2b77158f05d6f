//! Where an embedding program begins: sets of values for three kinds of place, and a file.

use std::path::Path;

use super::{Config, Error, Flags, load, parse};

impl Config {
    /// A file, laid over by the variables of the environment that begin with [`PREFIX`](super::PREFIX) and hold `__`. What the program itself
    /// decides is set on what this gives.
    ///
    /// ```no_run
    /// use oxigdal_ha::config::Config;
    ///
    /// # fn main() -> Result<(), oxigdal_ha::Error> {
    /// let mut config = Config::load("/etc/oxigdal/node.toml")?;
    /// config.node.data_dir = "/var/lib/oxigdal/mesh".into();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error`] names the file and line, or the variable, where the wrong value stands.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        load(Some(path.as_ref()), std::env::vars(), &Flags::new())
    }

    /// A machine on one site, as [`Config::default`]: the membership profile `lan`.
    #[must_use]
    pub fn lan() -> Self {
        preset(&[])
    }

    /// A machine between continents, or on a mobile network: the profile `wan`, batches compressed as well as zstd does it quickly, and a
    /// lease of 400 ms.
    #[must_use]
    pub fn wan() -> Self {
        preset(&[
            ("membership.profile", "wan"),
            ("replication.compression-level", "3"),
            ("replication.anti-entropy-ms", "5000"),
            ("roles.lease-ms", "400"),
        ])
    }

    /// A small box at the edge, with 50 MB for the node and a metered line that stalls: the profile `edge`, little kept in memory, no HTTP
    /// interface, never hub or root.
    #[must_use]
    pub fn minimal() -> Self {
        preset(&[
            ("membership.profile", "edge"),
            ("node.observer", "true"),
            ("api.listen", ""),
            ("replication.compression-level", "3"),
            ("replication.anti-entropy-ms", "30000"),
            ("replication.cache-bytes", "1048576"),
            ("replication.window-bytes", "262144"),
            ("documents.memory-bytes", "8388608"),
            ("documents.inbox-bytes", "4194304"),
            ("documents.open-docs", "256"),
            ("streams.cache-bytes", "1048576"),
            ("streams.entries-max", "20000"),
            ("wal.segment-bytes", "4194304"),
            ("roles.lease-ms", "1000"),
        ])
    }
}

fn preset(values: &[(&str, &str)]) -> Config {
    let flags = values.iter().fold(Flags::new(), |flags, (key, value)| flags.set("preset", key, *value));
    parse(None, [], &flags).expect("the presets are tested")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership;

    #[test]
    fn presets_are_checked_configurations_that_differ_where_they_say() {
        assert_eq!(Config::lan(), Config::default());
        let (wan, minimal) = (Config::wan(), Config::minimal());
        assert!(wan.membership.probe_period > membership::Config::default().probe_period);
        assert_eq!(wan.roles.failover.lease.as_millis(), 400);
        assert!(minimal.node.observer && minimal.api.listen.is_none());
        let memory = minimal.documents.memory_bytes + minimal.documents.inbox_bytes + minimal.replication.cache_bytes;
        assert!(memory + minimal.streams.cache_bytes < 25 << 20, "half of 50 MB is for what is not counted: {memory}");
    }

    #[test]
    fn a_file_is_laid_over_the_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        std::fs::write(&path, "[node]\nname = \"harbour\"\n").unwrap();
        assert_eq!(Config::load(&path).unwrap().node.name, "harbour");
        assert!(Config::load(dir.path().join("none.toml")).unwrap_err().to_string().contains("none.toml"));
    }
}
