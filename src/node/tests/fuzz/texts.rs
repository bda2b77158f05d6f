//! Mutants of what people write: GeoJSON, topologies, configurations. Each is read or refused with a reason, and what was
//! read means something.

use std::fs;
use std::path::Path;

use crate::config;
use crate::documents::geojson;
use crate::machine::mutate;
use crate::topology::Topology;

fn folder(name: &str, ending: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == ending));
    files.sort();
    files.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

const FEATURES: [&str; 3] = [
    r#"{"type":"FeatureCollection","name":"n","features":[
{"type":"Feature","id":"a","properties":{"k":1.5,"l":[1,{"m":null}]},"geometry":{"type":"Point","coordinates":[7.5,46.9]}},
{"type":"Feature","id":2,"properties":null,"geometry":{"type":"Polygon","coordinates":
[[[0,0],[1,0],[1,1],[0,0]]]}},
{"type":"Feature","properties":{},"geometry":null,"bbox":[0,0,1,1]}]}"#,
    r#"{"type":"Feature","id":"line","properties":{"ü":"\u0000"},
"geometry":{"type":"MultiLineString","coordinates":[[[0,0,1],[1,1,2]],[[2,2],[3,3]]]}}"#,
    r#"{"type":"GeometryCollection","geometries":[
{"type":"MultiPoint","coordinates":[[0,0],[1,1]]},
{"type":"MultiPolygon","coordinates":[[[[0,0],[1,0],[1,1],[0,0]]]]}]}"#,
];

#[test]
fn every_mutant_of_a_geojson_is_read_or_refused_with_its_place() {
    let mut rng = mutate::luck("geojson");
    let (mut read, cases) = (0, mutate::cases(3_000, 20));
    for text in FEATURES {
        geojson::import(text, "layer", None).unwrap();
    }
    for _ in 0..cases {
        let text = mutate::text_of(&mut rng, &FEATURES);
        match geojson::import(&text, "layer", Some("k")) {
            Ok(import) => {
                read += 1;
                let docs = import.features.iter().map(|(doc, value)| (doc, value));
                assert_eq!(geojson::export(docs).features, import.features.len());
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    mutate::report("geojson", &format!("{read} of {cases} read"));
    assert!(read > cases / 50 && read < cases, "{read} of {cases}");
}

#[test]
fn every_mutant_of_a_topology_is_read_or_refused_with_its_place() {
    let (files, mut rng) = (folder("topologies", "toml"), mutate::luck("topologies"));
    let small: Vec<&String> = files.iter().filter(|text| text.len() < 1_500).collect();
    assert!(small.len() > 3);
    let (mut read, cases) = (0, mutate::cases(500, 10));
    for _ in 0..cases {
        let text = mutate::text_of(&mut rng, &small);
        match Topology::parse("x.toml", &text) {
            Ok(topology) => {
                read += 1;
                assert!(!topology.nodes().is_empty());
            }
            Err(error) => assert!(error.to_string().starts_with("x.toml"), "{error}"),
        }
    }
    mutate::report("topologies", &format!("{read} of {cases} read"));
    assert!(read > cases / 50 && read < cases, "{read} of {cases}");
}

#[test]
fn every_mutant_of_a_configuration_is_read_or_refused() {
    let (text, mut rng) = (config::default_text(), mutate::luck("configurations"));
    let stated = |line: &str| match line.strip_prefix('#') {
        Some(key) if !key.starts_with([' ', '#']) => format!("{key}\n"),
        _ => format!("{line}\n"),
    };
    let text: String = text.lines().map(stated).collect();
    let (mut read, cases) = (0, mutate::cases(1_000, 10));
    for _ in 0..cases {
        let mutant = mutate::text(&mut rng, &text, &text);
        match config::parse(Some((Path::new("x.toml"), &mutant)), [], &config::Flags::new()) {
            Ok(_) => read += 1,
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    mutate::report("configurations", &format!("{read} of {cases} read"));
    assert!(read > 0 && read < cases, "{read} of {cases}");
}
