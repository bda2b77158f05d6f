//! The configuration as operators meet it: what is read, what is refused, and with which words.

use std::path::{Path, PathBuf};

use super::keys::KEYS;
use super::*;
use crate::topology::Policy;
use crate::types::Address;
use crate::{documents, membership, overlay, replication, wal};

fn of_file(text: &str) -> Result<Config, Error> {
    parse(Some((Path::new("mesh.toml"), text)), [], &Flags::new())
}

fn of_env(name: &str, text: &str) -> Result<Config, Error> {
    parse(None, [(name.to_owned(), text.to_owned())], &Flags::new())
}

fn words(result: Result<Config, Error>) -> String {
    result.expect_err("this should be refused").to_string()
}

#[test]
fn services_are_names_with_ports() {
    let read =
        |list: &str| parse(Some((Path::new("mesh.toml"), &format!("[node]\nservices = {list}\n"))), [], &Flags::new());
    let services = read(r#"["wms:8080", "tiles:1"]"#).unwrap().node.services;
    let services: Vec<(&str, u16)> = services.iter().map(|service| (&*service.name, service.port)).collect();
    assert_eq!(services, [("tiles", 1), ("wms", 8080)]);
    for (list, why) in [
        (r#"["wms"]"#, "NAME:PORT"),
        (r#"["wms:0"]"#, "1 to 65535"),
        (r#"["wms:65536"]"#, "1 to 65535"),
        (r#"["Wms:1"]"#, "a to z"),
        (r#"["80:80"]"#, "would be a port"),
        (r#"["wms:1", "wms:2"]"#, "named twice"),
        (r#"["a:1","b:1","c:1","d:1","e:1","f:1","g:1","h:1","i:1"]"#, "at most 8"),
    ] {
        let told = read(list).unwrap_err().to_string();
        assert!(told.contains(why) && told.contains("mesh.toml:2"), "{list}: {told}");
    }
}

#[test]
fn the_default_file_reads_back_as_the_default_with_and_without_its_comments() {
    let text = default_text();
    let long: Vec<&str> = text.lines().filter(|line| line.chars().count() > WIDTH_MAX).collect();
    assert_eq!(long, [""; 0]);
    assert_eq!(of_file(&text).unwrap(), Config::default());
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if !key.starts_with([' ', '#']) => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let config = of_file(&uncommented).unwrap();
    let default = Config::default();
    assert_eq!((&config.node, &config.network, &config.api), (&default.node, &default.network, &default.api));
    assert_eq!((&config.log, &config.cluster), (&default.log, &default.cluster));
    let stated = config.settings().filter(|setting| matches!(setting.origin, Origin::File { .. })).count();
    assert_eq!(stated, KEYS.len(), "every key stands in the file");
}

#[test]
fn the_default_file_names_what_hooks_have_in_their_environment() {
    let text = default_text();
    for name in ["EVENT", "ROLE", "FENCE", "NODE"] {
        assert!(text.contains(&format!("OXIGDAL_HA_{name}")), "{name}");
    }
}

#[test]
fn every_key_belongs_to_a_section_and_stands_once() {
    for (at, key) in KEYS.iter().enumerate() {
        let section = key.name.split('.').next().unwrap();
        assert!(SECTIONS.iter().any(|(name, _)| *name == section), "{}", key.name);
        assert!(!KEYS[..at].iter().any(|other| other.name == key.name), "{} stands twice", key.name);
    }
}

#[test]
fn flags_win_over_the_environment_which_wins_over_the_file() {
    let file = "[node]\nname = 'file'\nregion = 'file'\nzone = 'file'\n";
    let env = ["REGION", "ZONE"].map(|key| (format!("OXIGDAL_HA_NODE__{key}"), "env".to_owned()));
    let flags = Flags::new().set("--zone", "node.zone", "flag");
    let config = parse(Some((Path::new("mesh.toml"), file)), env, &flags).unwrap();
    assert_eq!([&*config.node.name, &*config.node.region, &*config.node.zone], ["file", "env", "flag"]);
    let origins: Vec<_> = config
        .settings()
        .filter(|s| s.key.starts_with("node.") && s.origin != Origin::Default)
        .map(|s| s.origin.to_string())
        .collect();
    assert_eq!(origins, ["mesh.toml:2", "environment OXIGDAL_HA_NODE__REGION", "--zone"]);
}

#[test]
fn the_environment_reads_each_kind_without_toml() {
    assert_eq!(of_env("OXIGDAL_HA_NODE__NAME", "123").unwrap().node.name, "123");
    assert_eq!(of_env("OXIGDAL_HA_NODE__DATA_DIR", "/srv/x").unwrap().node.data_dir, PathBuf::from("/srv/x"));
    assert!(of_env("OXIGDAL_HA_NODE__OBSERVER", "true").unwrap().node.observer);
    let listen = of_env("OXIGDAL_HA_NETWORK__LISTEN", "127.0.0.1:1, [::1]:2,host.example:3").unwrap().network.listen;
    let listen: Vec<_> = listen.iter().map(Address::as_str).collect();
    assert_eq!(listen, ["/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/2", "/dns/host.example/tcp/3"]);
    assert_eq!(of_env("OXIGDAL_HA_NETWORK__JOIN", "['a', 'b']").unwrap().network.join, ["a", "b"]);
    assert_eq!(of_env("OXIGDAL_HA_TOKEN", "no key of ours").unwrap(), Config::default());
}

#[test]
fn unknown_keys_are_refused_wherever_they_come_from_with_what_was_meant() {
    assert_eq!(
        words(of_file("[node]\n\nnaem = 'x'\n")),
        "mesh.toml:3: there is no key `node.naem`; did you mean `node.name`?"
    );
    assert_eq!(words(of_file("[nod]\nname = 'x'\n")), "mesh.toml:1: there is no key `nod`");
    assert_eq!(
        words(of_file("[node]\nmdns = true\n")),
        "mesh.toml:2: there is no key `node.mdns`; did you mean `network.mdns`?"
    );
    assert_eq!(
        words(of_file("[roles]\nname = ['a']\n")),
        "mesh.toml:2: there is no key `roles.name`; did you mean `roles.names`?",
        "`node.name` is no nearer"
    );
    assert_eq!(words(of_file("name = 'x'\n")), "mesh.toml:1: there is no key `name`; did you mean `node.name`?");
    assert_eq!(
        words(of_env("OXIGDAL_HA_NODE__NAMES", "x")),
        "environment OXIGDAL_HA_NODE__NAMES: there is no key `node.names`; did you mean `node.name`?"
    );
    assert_eq!(
        words(of_file("[node]\ncolour-of-the-box = 'x'\n")),
        "mesh.toml:2: there is no key `node.colour-of-the-box`"
    );
}

#[test]
fn wrong_values_are_refused_with_their_place() {
    for (text, expected) in [
        ("[node]\nname = 7", "mesh.toml:2: `node.name` is a text in quotes, found integer"),
        ("[node]\npriority = 70000", "mesh.toml:2: `node.priority` = 70000: expected 0 to 65535"),
        (
            "[roles]\nnames = ['a', 'b', 'a']",
            "mesh.toml:2: `roles.names` = [\"a\", \"b\", \"a\"]: the role a is named twice",
        ),
        (
            "[roles]\nnames = ['leader']",
            "mesh.toml:2: `roles.names` = [\"leader\"]: \"leader\" is no role that is granted: `redirect --role leader` follows who leads the voters",
        ),
        ("[node]\npriority = -1", "mesh.toml:2: `node.priority` = -1: expected 0 to 65535"),
        ("[node]\npriority = 1.5", "mesh.toml:2: `node.priority` is a whole number, found float"),
        ("[network]\nlisten = 'x'", "mesh.toml:2: `network.listen` is a list of texts, found string"),
        ("[overlay]\nkind = 'ring'", "mesh.toml:2: `overlay.kind` = \"ring\": expected star, mesh or tree"),
        ("[overlay]\nkind = 'tree'\narity = 1", "mesh.toml:3: `overlay.arity` = 1: expected 2 to 32"),
        ("[overlay]\ndegree = 3", "mesh.toml:2: `overlay.degree` = 3: expected 4 to 32"),
        (
            "[overlay]\ndegree = 7",
            "mesh.toml:2: `overlay.degree` = 7: a mesh's degree is an even number from 4 to 32, not 7",
        ),
        ("[node]\nname = \"a\\u0007\"", "mesh.toml:2: `node.name` = \"a\\u0007\": holds a control character"),
    ] {
        assert_eq!(words(of_file(text)), expected);
    }
    assert!(words(of_file("[network]\nlisten = ['here']")).contains("expected a multiaddr"));
    assert!(
        words(of_file("[node]\nname = \n")).starts_with("mesh.toml:2:8: "),
        "{}",
        words(of_file("[node]\nname = \n"))
    );
    assert!(words(of_file("[node]\nname = 'a'\nname = 'b'\n")).starts_with("mesh.toml:3:1: "));
}

/// In a build without QUIC such an address cannot be used, which is told before a peer is started.
#[test]
fn quic_addresses_are_taken_where_quic_is_built_in() {
    const QUIC: &str = "/ip4/192.0.2.1/udp/4747/quic-v1";
    let entries = ["listen", "announce", "join"].map(|key| (key, QUIC.to_owned()));
    for (key, entry) in entries.into_iter().chain([("dial-via", format!("{QUIC} -> 127.0.0.1:2"))]) {
        let given = of_file(&format!("[network]\n{key} = ['{entry}']\n"));
        if cfg!(feature = "quic") {
            assert!(given.is_ok(), "{key}: {}", words(given));
        } else {
            let told = words(given);
            let place = format!("mesh.toml:2: `network.{key}` = [\"{entry}\"]: \"{entry}\": QUIC is not in this build");
            assert!(told.starts_with(&place), "{told}");
        }
    }
}

#[test]
fn addresses_that_are_dialled_elsewhere_come_in_pairs() {
    let config = of_file("[network]\ndial-via = ['/ip4/192.0.2.1/tcp/1 -> 127.0.0.1:2']\n").unwrap();
    let pairs: Vec<_> = config.network.dial_via.iter().map(|(target, via)| (target.as_str(), via.as_str())).collect();
    assert_eq!(pairs, [("/ip4/192.0.2.1/tcp/1", "/ip4/127.0.0.1/tcp/2")]);
    let refused = words(of_file("[network]\ndial-via = ['/ip4/192.0.2.1/tcp/1']\n"));
    assert!(refused.contains("expected \"ADDRESS -> ADDRESS\""), "{refused}");
}

#[test]
fn a_profile_decides_what_nobody_set() {
    let config = of_file("[membership]\nprofile = 'wan'\nhelpers = 5\n").unwrap();
    let wan = membership::Config::new(membership::Profile::Wan);
    assert_eq!(config.membership, membership::Config { helpers: 5, ..wan });
    let origin = |key: &str| config.settings().find(|setting| setting.key == key).unwrap().origin.to_string();
    assert_eq!(origin("membership.probe-period-ms"), "profile wan");
    assert_eq!(origin("membership.helpers"), "mesh.toml:3");
}

#[test]
fn a_relation_that_does_not_hold_is_told_with_both_values() {
    assert_eq!(
        words(of_file("[membership]\nprobe-timeout-ms = 900\n")),
        "`membership.probe-period-ms` = 1000 (profile lan) must be at least twice \
         `membership.probe-timeout-ms` = 900 (mesh.toml:2)"
    );
}

#[test]
fn the_defaults_are_those_of_the_rooms() {
    let config = Config::default();
    assert_eq!(config.membership, membership::Config::default());
    assert_eq!(config.overlay, overlay::Config::default());
    assert_eq!(config.replication, replication::Config::default());
    assert_eq!(config.documents, documents::Config::default());
    assert_eq!(config.wal, wal::Config::default());
    assert_eq!(config.snapshots, wal::SnapshotConfig::default());
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = load(Some(Path::new("/nonexistent/mesh.toml")), [], &Flags::new()).expect_err("there is no such file");
    assert!(error.to_string().starts_with("cannot read /nonexistent/mesh.toml: "), "{error}");
}

#[test]
fn the_fingerprint_tells_policies_apart_and_nothing_local() {
    let of = |text: &str| of_file(text).unwrap().cluster.fingerprint();
    let default = Config::default().cluster.fingerprint();
    assert_eq!(of("[node]\nname = 'x'\n[overlay]\narity = 5\n"), default, "a mesh has no arity");
    let tree = |arity| of(&format!("[overlay]\nkind = 'tree'\narity = {arity}\n"));
    assert_ne!(tree(3), default);
    assert_ne!(tree(3), tree(4));
    assert_ne!(of("[overlay]\ndegree = 6\n"), default);
    assert_eq!(of_file("[overlay]\nkind = 'tree'\n").unwrap().cluster.overlay, Policy::tree(3).unwrap());
}

#[test]
fn no_text_makes_the_reader_panic() {
    fn law(text: String, key: String) -> bool {
        let _ = of_file(&text);
        let _ = of_file(&format!("[node]\nname = {text}"));
        let _ = of_env(&format!("OXIGDAL_HA_NODE__{key}"), &text);
        let _ = of_env("OXIGDAL_HA_NETWORK__LISTEN", &text);
        true
    }
    quickcheck::quickcheck(law as fn(String, String) -> bool);
}

#[test]
fn replication_is_refused_by_key_and_line() {
    let refused = |text: &str| words(of_file(text));
    for (line, words) in [
        ("compression = 'lz4'", "zstd or none"),
        ("compression-level = 9", "1 to 3"),
        ("batch-size = 0", "1 to 100000"),
        ("retry-min-ms = 40000", "replication.retry-max-ms"),
        ("mode = 'sync'", "semi-synchronous"),
        ("copies = 0", "1 to 255"),
        ("lag-warn-seconds = -1", "0 to 31536000"),
    ] {
        let says = refused(&format!("[replication]\n{line}\n"));
        let key = format!("replication.{}", line.split(' ').next().unwrap());
        assert!(says.contains("mesh.toml:2") && says.contains(&key) && says.contains(words), "{says}");
    }
}
