//! What the parser takes and refuses, what lies between two nodes, and that drawings do not change.

use std::time::Duration;

use super::*;

const SHIPPED: [(&str, &str); 11] = [
    ("single", include_str!("../../topologies/single.toml")),
    ("star-5", include_str!("../../topologies/star-5.toml")),
    ("mesh-5", include_str!("../../topologies/mesh-5.toml")),
    ("tree-13", include_str!("../../topologies/tree-13.toml")),
    ("two-regions", include_str!("../../topologies/two-regions.toml")),
    ("three-regions", include_str!("../../topologies/three-regions.toml")),
    ("abilene", include_str!("../../topologies/abilene.toml")),
    ("nsfnet", include_str!("../../topologies/nsfnet.toml")),
    ("nobel-eu", include_str!("../../topologies/nobel-eu.toml")),
    ("geant2012", include_str!("../../topologies/geant2012.toml")),
    ("germany50", include_str!("../../topologies/germany50.toml")),
];

fn shipped(name: &str) -> Topology {
    let (_, text) = SHIPPED.iter().find(|(known, _)| *known == name).unwrap();
    Topology::parse(name, text).unwrap()
}

/// A head of three lines, then this.
fn with_head(rest: &str) -> String {
    format!("schema = 1\nname = \"t\"\noverlay = \"mesh\"\n{rest}")
}

fn parsed(rest: &str) -> Topology {
    Topology::parse("t.toml", &with_head(rest)).unwrap()
}

/// The error of a text after the head, as people see it.
fn refused(rest: &str) -> String {
    Topology::parse("t.toml", &with_head(rest)).unwrap_err().to_string()
}

fn names(topology: &Topology) -> Vec<&str> {
    topology.nodes().iter().map(|node| node.name.as_str()).collect()
}

#[test]
fn shipped_topologies_are_named_as_their_files_and_as_large_as_they_say() {
    let sizes = [1, 5, 5, 13, 6, 9, 12, 13, 28, 37, 50];
    for ((name, _), size) in SHIPPED.into_iter().zip(sizes) {
        let topology = shipped(name);
        assert_eq!((topology.name(), topology.nodes().len()), (name, size));
        let edges = if matches!(topology.overlay(), Policy::Mesh { .. }) { size * (size - 1) / 2 } else { size - 1 };
        assert_eq!(topology.edges().len(), edges, "{name}");
    }
}

#[test]
fn groups_expand_and_deal_their_nodes_to_the_zones() {
    let topology = parsed(
        "default-link = { delay = \"1ms\" }\n[[region]]\nname = \"eu\"\nzones = [\"a\", \"b\"]\n\
         [[group]]\nname = \"edge\"\ncount = 3\nregion = \"eu\"\nrole = \"observer\"",
    );
    assert_eq!(names(&topology), ["edge-1", "edge-2", "edge-3"]);
    let zones: Vec<_> = topology.nodes().iter().filter_map(|node| node.zone.as_deref()).collect();
    assert_eq!(zones, ["a", "b", "a"]);
    assert!(topology.nodes().iter().all(|node| node.role == Role::Observer && node.region.as_deref() == Some("eu")));
}

#[test]
fn the_narrowest_link_that_fits_a_pair_counts() {
    let topology = parsed(
        "default-link = { delay = \"9ms\" }\n[[region]]\nname = \"eu\"\n[[region]]\nname = \"us\"\n\
         [[node]]\nname = \"a\"\nregion = \"eu\"\n[[node]]\nname = \"b\"\nregion = \"us\"\n\
         [[group]]\nname = \"g\"\ncount = 2\nregion = \"us\"\n\
         [[link]]\nbetween = [\"us\", \"eu\"]\ndelay = \"40ms\"\n\
         [[link]]\nbetween = [\"a\", \"g\"]\ndelay = \"30ms\"\n\
         [[link]]\nbetween = [\"a\", \"g-2\"]\ndelay = \"20ms\"\n",
    );
    let delay = |a: &str, b: &str| {
        let at = |name: &str| topology.nodes().iter().position(|node| node.name == name).unwrap();
        assert_eq!(topology.path(at(a), at(b)), topology.path(at(b), at(a)));
        topology.path(at(a), at(b)).delay.as_millis()
    };
    assert_eq!([delay("a", "b"), delay("a", "g-1"), delay("a", "g-2"), delay("b", "g-1")], [40, 30, 20, 9]);
    assert_eq!(delay("a", "a"), 0);
}

#[test]
fn without_a_default_link_the_path_of_least_delay_counts() {
    let topology = parsed(
        "[[group]]\nname = \"n\"\ncount = 4\n\
         [[link]]\nbetween = [\"n-1\", \"n-2\"]\ndelay = \"1ms\"\nloss = \"10%\"\nbandwidth = \"1Gbit\"\n\
         [[link]]\nbetween = [\"n-2\", \"n-3\"]\ndelay = \"2ms\"\njitter = \"1ms\"\nloss = \"10%\"\nbandwidth = \"5Mbit\"\n\
         [[link]]\nbetween = [\"n-3\", \"n-4\"]\ndelay = \"1ms\"\n\
         [[link]]\nbetween = [\"n-1\", \"n-4\"]\ndelay = \"9ms\"\n",
    );
    let path = Link {
        delay: Duration::from_millis(3),
        jitter: Duration::from_millis(1),
        loss: Ppm::new(190_000).unwrap(),
        bandwidth: Some(5_000_000),
    };
    assert_eq!((topology.link(0, 2), topology.path(0, 2)), (None, path));
    assert_eq!(
        topology.path(0, 3).delay.as_millis(),
        9,
        "a link that is listed is taken, even where a detour is shorter"
    );
    assert_eq!(topology.wires().map(|(a, b, _)| (a, b)).collect::<Vec<_>>(), [(0, 1), (0, 3), (1, 2), (2, 3)]);
}

#[test]
fn errors_name_file_line_column_key_and_reason() {
    assert_eq!(
        refused("[[node]]\nname = \"a\"\ncolour = \"red\"\n"),
        "t.toml:6:1: node[0].colour: unknown field `colour`, expected one of `name`, `region`, `zone`, `priority`, `role`, \
         `addresses`, `position`"
    );
    assert_eq!(
        refused(
            "[[region]]\nname = \"eu\"\n[[node]]\nname = \"a\"\nregion = \"eu\"\n[[node]]\nname = \"b\"\nregion = \"eux\"\n"
        ),
        "t.toml:11:10: node[1].region: there is no region \"eux\"; did you mean \"eu\"?"
    );
    assert_eq!(
        refused("default-link = { delay = \"1ms\", loss = \"2\" }\n[[node]]\nname = \"a\"\n"),
        "t.toml:4:40: default-link.loss: \"2\" has no known unit; expected one of ppm, %"
    );
    assert_eq!(
        Topology::parse("t.toml", "schema = 1\nname = \"t\"\noverlay = \"tree:1\"\n").unwrap_err(),
        Error {
            file: "t.toml".into(),
            line: 3,
            column: 11,
            key: "overlay".into(),
            why: "a tree's arity is 2 to 32, not 1".into()
        }
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (text, why) in [
        ("", "there is no node"),
        ("[[node]]\nname = \"a\"\n[[node]]\nname = \"a\"", "7:8: node[1].name: the name \"a\" is taken by a node"),
        (
            "[[group]]\nname = \"a\"\ncount = 2\n[[node]]\nname = \"a-2\"",
            "group[0].name: the name \"a-2\" is taken by a node",
        ),
        ("[[node]]\nname = \"a b\"", "\"a b\" is no name"),
        ("[[node]]\nname = \"-a\"", "\"-a\" is no name"),
        ("[[group]]\nname = \"a\"\ncount = 0", "group[0].count: a group has 1 to 10000 nodes, not 0"),
        ("[[group]]\nname = \"a\"\ncount = 9999\n[[group]]\nname = \"b\"\ncount = 2", "limit of 10000 nodes"),
        ("[[region]]\nname = \"eu\"\n[[node]]\nname = \"a\"", "each node and group names one"),
        ("[[region]]\nname = \"eu\"\nzones = [\"a\", \"a\"]", "zone \"a\" is named twice"),
        (
            "[[region]]\nname = \"eu\"\nzones = [\"a\"]\n[[node]]\nname = \"x\"\nregion = \"eu\"\nzone = \"b\"",
            "has no zone \"b\"",
        ),
        ("[[node]]\nname = \"a\"\nposition = { lon = 181, lat = 0 }", "lon is -180 to 180"),
        ("[[node]]\nname = \"a\"\nposition = { lon = nan, lat = 0 }", "lon is -180 to 180"),
        ("[[node]]\nname = \"a\"\naddresses = [\"\"]", "an address is 1 to 256 bytes"),
        ("[[node]]\nname = \"a\"\nrole = \"king\"", "unknown variant `king`"),
        ("[[node]]\nname = \"a\"\npriority = 70000", "node[0].priority"),
        (
            "[[group]]\nname = \"n\"\ncount = 3\n[[link]]\nbetween = [\"n-1\", \"n-2\"]\ndelay = \"1ms\"",
            "\"n-3\" cannot be reached from \"n-1\"",
        ),
        ("[[node]]\nname = \"a\"\n[[link]]\nbetween = [\"a\", \"a\"]\ndelay = \"1ms\"", "needs no link to itself"),
        (
            "[[node]]\nname = \"a\"\n[[link]]\nbetween = [\"a\", \"b\"]\ndelay = \"1ms\"",
            "no node, group or region \"b\"",
        ),
        (
            "[[group]]\nname = \"n\"\ncount = 2\n[[link]]\nbetween = [\"n-1\", \"n-2\"]\ndelay = \"1ms\"\n[[link]]\nbetween = [\"n-2\", \"n-1\"]\ndelay = \"1ms\"",
            "listed twice",
        ),
        (
            "[[group]]\nname = \"n\"\ncount = 9000\n[[link]]\nbetween = [\"n\", \"n\"]\ndelay = \"1ms\"",
            "give a default-link",
        ),
        ("default-link = { delay = \"1ms\", bandwidth = \"0bit\" }\n[[node]]\nname = \"a\"", "carries nothing"),
        ("name = \"twice\"", "duplicate key"),
        ("[[node]\nname = \"a\"", "t.toml:4:"),
    ] {
        let error = refused(text);
        assert!(error.contains(why), "{text:?}\n  gave   {error}\n  wanted {why}");
    }
    let newer = "schema = 2\nname = \"t\"\noverlay = \"mesh\"\n[[node]]\nname = \"a\"\n";
    assert_eq!(
        Topology::parse("t.toml", newer).unwrap_err().to_string(),
        "t.toml:1:10: schema: schema 2 is unknown; this version reads 1"
    );
}

#[test]
fn quantities_are_read_exactly_or_refused() {
    assert_eq!(duration("0.4ms"), Ok(Duration::from_micros(400)));
    assert_eq!(duration("1.5 min"), Ok(Duration::from_secs(90)));
    assert_eq!(duration("1h"), Ok(Duration::from_secs(3_600)));
    assert_eq!(bandwidth("2.5Gbit"), Ok(2_500_000_000));
    assert_eq!(
        (ppm("0.5%"), ppm("100%"), ppm("7ppm")),
        (Ok(Ppm::new(5_000).unwrap()), Ok(Ppm::ONE), Ok(Ppm::new(7).unwrap()))
    );
    for text in
        ["", "ms", "1", "1 fortnight", "-1ms", "1.ms", ".5ms", "1..5ms", "0.1ns", "99999999999999999999h", "1001h"]
    {
        assert!(duration(text).is_err(), "{text:?}");
    }
    assert!(ppm("101%").is_err() && ppm("0.5ppm").is_err() && ppm("100.0001%").is_err());
}

#[test]
fn each_region_is_a_subtree_so_that_few_edges_cross() {
    let text = "schema = 1\nname = \"t\"\noverlay = \"tree:2\"\ndefault-link = { delay = \"1ms\" }\n\
        [[region]]\nname = \"eu\"\n[[region]]\nname = \"us\"\n[[region]]\nname = \"ap\"\n\
        [[group]]\nname = \"e\"\ncount = 4\nregion = \"eu\"\n[[group]]\nname = \"u\"\ncount = 5\nregion = \"us\"\npriority = 3\n\
        [[group]]\nname = \"a\"\ncount = 1\nregion = \"ap\"\n";
    let topology = Topology::parse("t", text).unwrap();
    let edges = topology.edges();
    let region = |at: usize| &topology.nodes()[at].region;
    assert_eq!(topology.nodes()[topology.top().unwrap()].name, "u-1");
    assert_eq!((edges.len(), edges.iter().filter(|edge| region(edge.a) != region(edge.b)).count()), (9, 2));
}

#[test]
fn texts_are_drawn_as_they_were() {
    assert_eq!(
        text(&shipped("star-5")),
        "star-5\n\
         A hub and four spokes on one LAN.\n\
         \n\
         nodes    5 nodes in 1 region\n\
         overlay  star: everybody exchanges with the hub, which relays\n\
         links    0.4 ms +0.2 ms, 10 ppm lost, 1 Gbit/s unless listed\n\
         \n\
         ★ hub     site/rack  priority 20\n\
         ├─ spare  site/rack  priority 10\n\
         ├─ box-1  site/field\n\
         ├─ box-2  site/field\n\
         └─ box-3  site/field\n\
         \n\
         delay, ms   hub  spare  box-1  box-2  box-3\n\
         hub           ·   0.40   3.00   3.00   3.00\n\
         spare      0.40      ·   3.00   3.00   3.00\n\
         box-1      3.00   3.00      ·   3.00   3.00\n\
         box-2      3.00   3.00   3.00      ·   3.00\n\
         box-3      3.00   3.00   3.00   3.00      ·\n"
    );
}

#[test]
fn pictures_hold_every_node_and_edge_and_nothing_from_elsewhere() {
    for (name, _) in SHIPPED {
        let (topology, picture) = (shipped(name), svg(&shipped(name)));
        assert_eq!(picture.matches("<path class=\"edge").count(), topology.edges().len(), "{name}");
        assert_eq!(picture.matches("class=\"label\"").count(), topology.nodes().len(), "{name}");
        assert_eq!(picture.matches("://").count(), 1, "the only address is the one of SVG's name space");
        assert_eq!(picture.matches('<').count(), picture.matches('>').count());
        assert_eq!(picture, svg(&shipped(name)));
    }
}

#[test]
fn nodes_with_places_stand_on_a_map_with_a_scale() {
    for (name, _) in SHIPPED {
        let (topology, picture) = (shipped(name), svg(&shipped(name)));
        let placed = topology.nodes().len() > 1 && topology.nodes().iter().all(|node| node.position.is_some());
        for part in ["class=\"land\"", "class=\"grid\"", " km</text>"] {
            assert_eq!(picture.contains(part), placed, "{name}: {part}");
        }
    }
    // What is north is above, what is east is to the right.
    let picture = svg(&shipped("germany50"));
    let at = |name: &str| {
        let (_, rest) = picture.split_once(&format!("<title>{name}</title>")).unwrap();
        let number = |key: &str| rest.split_once(key).unwrap().1.split('"').next().unwrap().parse::<f64>().unwrap();
        (number("cx=\""), number("cy=\""))
    };
    let ((x, y), (east, south)) = (at("aachen west"), at("passau south-east"));
    assert!(x < east && y < south);
    let (km, pixels) = (586.6, ((east - x).powi(2) + (south - y).powi(2)).sqrt());
    let (before, _) = picture.split_once(" km</text>").unwrap();
    let bar = picture.split_once("class=\"bar\" d=\"M").unwrap().1;
    let x = |after: &str| bar.split_once(after).unwrap().1.split(['V', ' ']).next().unwrap().parse::<f64>().unwrap();
    let from: f64 = bar.split(' ').next().unwrap().parse().unwrap();
    let bar_km: f64 = before.rsplit('>').next().unwrap().parse().unwrap();
    let drawn = bar_km / (x("H") - from) * pixels;
    assert!((drawn / km - 1.0).abs() < 0.03, "{drawn} km by the scale, {km} on the Earth");
}

#[test]
fn very_many_nodes_are_drawn_without_names() {
    let node = |n: u32| format!("[[node]]\nname = \"n{n}\"\nposition = {{ lon = {}, lat = {} }}\n", n % 40, n / 40);
    let nodes: String = (0..400).map(node).collect();
    let picture = svg(&parsed(&format!("default-link = {{ delay = \"1ms\" }}\n{nodes}")));
    assert_eq!(picture.matches("<circle").count(), 400);
    assert!(picture.contains("class=\"land\"") && !picture.contains("class=\"label\""));
    let tree = parsed("default-link = { delay = \"1ms\" }\n[[group]]\nname = \"n\"\ncount = 400");
    assert!(!svg(&tree).contains("class=\"label\""));
}

#[test]
fn places_are_written_as_people_write_them() {
    let place = |lon, lat| Place { lon, lat }.to_string();
    assert_eq!([place(8.68, 50.11), place(-78.384, -0.5)], ["50.11°N 8.68°E", "0.50°S 78.38°W"]);
    assert!(text(&shipped("mesh-5")).contains("● fra-1  frankfurt  priority 10  50.11°N 8.68°E\n"));
}

#[test]
fn what_people_write_cannot_break_a_picture() {
    let text = with_head("description = \"</svg><script>&\\\"\\u0007\"\n[[node]]\nname = \"a\"");
    let picture = svg(&Topology::parse("t", &text).unwrap());
    assert!(picture.contains("&lt;/svg&gt;&lt;script&gt;&amp;&quot; ") && !picture.contains("<script"));
}

quickcheck::quickcheck! {
    fn no_text_makes_the_parser_panic(text: String) -> bool {
        let _ = Topology::parse("t", &text);
        let _ = Topology::parse("t", &with_head(&text));
        let _ = (duration(&text), bandwidth(&text), ppm(&text));
        true
    }

    fn a_shipped_text_with_a_hole_never_makes_the_parser_panic(from: usize, len: usize) -> bool {
        let (name, text) = SHIPPED[(from ^ len) % SHIPPED.len()];
        let (from, len) = (from % text.len(), len % 40);
        let holed: String = text.char_indices().filter(|(at, _)| !(from..from + len).contains(at)).map(|(_, c)| c).collect();
        Topology::parse(name, &holed).map_or_else(|error| error.to_string().starts_with(name), |t| !svg(&t).is_empty())
    }

    fn losses_in_a_row_are_at_least_the_worst_and_at_most_the_sum(a: u32, b: u32) -> bool {
        let (a, b) = (Ppm::new(a % 1_000_001).unwrap(), Ppm::new(b % 1_000_001).unwrap());
        let both = a.or(b);
        both == b.or(a) && both >= a.max(b) && both.value() <= a.value() + b.value()
    }
}
