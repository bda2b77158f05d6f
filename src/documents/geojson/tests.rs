//! What goes in comes out, and what is wrong is named.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Import, export, import};
use crate::documents::{Done, Edit, Engine, Limits, Policies, Task, Wanted};
use crate::types::{Actor, CommandId, DocId, Mint, NodeId, WallTime};

fn collection(features: &Value) -> String {
    json!({"type": "FeatureCollection", "features": features}).to_string()
}

fn feature(geometry: Value) -> Value {
    json!({"type": "Feature", "geometry": geometry, "properties": {"name": "x"}})
}

fn exported(import: &Import) -> String {
    export(import.features.iter().map(|(doc, value)| (doc, value))).text
}

#[test]
fn a_document_is_named_by_id_then_by_property_then_by_content() {
    let text = collection(&json!([
        {"type": "Feature", "id": "us7000", "geometry": null, "properties": {"iso": "A"}},
        {"type": "Feature", "id": 12, "geometry": null, "properties": null},
        {"type": "Feature", "geometry": null, "properties": {"iso": "FJI"}},
        {"type": "Feature", "geometry": null, "properties": {"other": 1}},
    ]));
    let odd = json!({"type": "Feature", "id": "way/1 50% Chi?in?u", "geometry": null, "properties": null}).to_string();
    let named = |text: &str| import(text, "layers/x/", Some("iso")).unwrap().features;
    let ids: Vec<String> = named(&text).into_iter().map(|(doc, _)| doc.as_str().to_owned()).collect();
    assert_eq!(ids[..3], ["layers/x/us7000", "layers/x/12", "layers/x/FJI"]);
    assert_eq!(ids[3].len(), "layers/x/".len() + 16);
    assert_eq!(named(&text), named(&text));
    assert_eq!(named(&odd)[0].0.as_str(), "layers/x/way/1 50%25 Chi%3Fin%3Fu");
}

/// Features that break the RFC, with the place inside them and the reason.
fn broken() -> Vec<(Value, &'static str, &'static str)> {
    let polygon = |rings: Value| feature(json!({"type": "Polygon", "coordinates": rings}));
    vec![
        (
            polygon(json!([[[0, 0], [1, 0], [1, 1], [0, 1]]])),
            "/geometry/coordinates/0",
            "the ring is not closed: its first and last positions differ",
        ),
        (
            polygon(json!([[[0, 0], [1, 0], [0, 0]]])),
            "/geometry/coordinates/0",
            "a ring has at least 4 positions, this one has 3",
        ),
        (
            feature(json!({"type": "Point", "coordinates": [1]})),
            "/geometry/coordinates",
            "a position has at least 2 numbers, this one has 1",
        ),
        (
            feature(json!({"type": "Point", "coordinates": [1, "2"]})),
            "/geometry/coordinates/1",
            "a number is expected, found a text",
        ),
        (
            feature(json!({"type": "LineString", "coordinates": [[1, 2]]})),
            "/geometry/coordinates",
            "a line has at least 2 positions",
        ),
        (
            feature(json!({"type": "Circle", "coordinates": [1, 2]})),
            "/geometry/type",
            "\"Circle\" is no kind of geometry",
        ),
        (feature(json!({"type": "Point"})), "/geometry", "the member \"coordinates\" is missing"),
        (feature(json!({"coordinates": [1, 2]})), "/geometry", "the member \"type\" is missing"),
        (
            feature(
                json!({"type": "GeometryCollection", "geometries": [{"type": "MultiPoint", "coordinates": [[0, 0], []]}]}),
            ),
            "/geometry/geometries/0/coordinates/1",
            "a position has at least 2 numbers, this one has 0",
        ),
        (json!({"type": "Feature", "properties": null}), "", "the member \"geometry\" is missing; it may be null"),
        (
            json!({"type": "Feature", "geometry": null, "properties": 1}),
            "/properties",
            "an object or null is expected, found a number",
        ),
        (
            json!({"type": "Feature", "geometry": null, "properties": null, "id": {}}),
            "/id",
            "a text or a number is expected, found an object",
        ),
        (
            json!({"type": "Feature", "geometry": null, "properties": null, "bbox": [1, 2, 3]}),
            "/bbox",
            "it has 4 numbers, or 2 for each dimension; this one has 3",
        ),
        (json!([]), "", "an object is expected, found a list"),
    ]
}

#[test]
fn errors_name_the_place() {
    let good = feature(json!({"type": "Point", "coordinates": [1, 2]}));
    for (bad, place, why) in broken() {
        let error = import(&collection(&json!([good, bad])), "d", None).unwrap_err();
        assert_eq!((error.place, error.why.as_str()), (format!("feature 1, /features/1{place}"), why));
    }
    let named = json!({"type": "Feature", "id": 7, "geometry": null, "properties": null});
    let twice = import(&collection(&json!([named, named])), "d", None).unwrap_err();
    assert!(twice.to_string().contains("feature 0 has the same id"), "{twice}");
    let id = json!({"type": "Feature", "id": "a//b", "geometry": null, "properties": null});
    assert!(import(&id.to_string(), "d", None).unwrap_err().why.contains("segment"));
    for (text, why) in [
        ("{\"type\": \"Point\", \"coordinates\": [1e999, 0]}", "the whole text: no JSON: number out of range"),
        ("{\"type\": \"Point\", \"coordinates\": [NaN, 0]}", "the whole text: no JSON: expected value"),
        ("{\"type\": \"Topology\"}", "/type: \"Topology\" is no kind of geometry"),
        ("{\"type\": \"FeatureCollection\"}", "/features: a list of features is expected"),
        ("[1]", "the whole text: an object is expected, found a list"),
    ] {
        let error = import(text, "d", None).unwrap_err().to_string();
        assert!(error.starts_with(why), "{error}");
    }
}

#[test]
fn features_that_are_alike_have_a_document_each() {
    let (one, other) = (feature(json!(null)), feature(json!({"type": "Point", "coordinates": [1, 2]})));
    let ids = |features: Value| -> Vec<DocId> {
        let read = import(&collection(&features), "d", None).unwrap();
        read.features.into_iter().map(|(doc, _)| doc).collect()
    };
    let found = ids(json!([one, other, one, one]));
    let first = found[0].as_str();
    assert_eq!([found[2].as_str(), found[3].as_str()], [format!("{first}-2"), format!("{first}-3")]);
    assert_eq!(found[1], ids(json!([other]))[0]);
    assert_eq!(found[..1], ids(json!([one])));
}

#[test]
fn a_number_that_would_lose_digits_is_refused() {
    let text = |number: &str| {
        format!("{{\"type\": \"Feature\", \"geometry\": null,\n \"properties\": {{\"a\\\"1\": {number}}}}}")
    };
    for kept in [
        "18446744073709551615",
        "-9223372036854775808",
        "1e30",
        "123456789012345678901.5",
        "0",
        "\"99999999999999999999\"",
    ] {
        import(&text(kept), "d", None).unwrap();
    }
    for lost in ["18446744073709551616", "-9223372036854775809", "100000000000000000000000"] {
        let error = import(&text(lost), "d", None).unwrap_err();
        assert_eq!(error.place, "line 2, column 25");
        assert!(error.why.starts_with(lost), "{error}");
    }
}

#[test]
fn the_right_hand_rule_is_counted_and_not_demanded() {
    let ring = json!([[0, 0], [1, 0], [1, 1], [0, 0]]);
    let back: Vec<Value> = ring.as_array().unwrap().iter().rev().cloned().collect();
    let polygon = |rings: Value| feature(json!({"type": "Polygon", "coordinates": rings})).to_string();
    let count = |text: String| import(&text, "d", None).unwrap().left_handed;
    assert_eq!(count(polygon(json!([ring]))), 0);
    assert_eq!(count(polygon(json!([back]))), 1);
    assert_eq!(count(polygon(json!([ring, back]))), 0);
    assert_eq!(count(polygon(json!([ring, ring]))), 1);
}

#[test]
fn a_bare_geometry_becomes_a_feature_and_foreign_members_stay() {
    let point = json!({"type": "Point", "coordinates": [1, 2], "extra": true});
    let import_one = |value: &Value| import(&value.to_string(), "d", None).unwrap();
    assert_eq!(import_one(&point).features[0].1["geometry"], point);
    let collection = json!({
        "type": "FeatureCollection", "name": "n", "crs": {"type": "name"}, "features": [
            {"type": "Feature", "geometry": null, "properties": null, "assets": {"a": {"href": "h"}}},
        ],
    });
    let import = import_one(&collection);
    assert_eq!(Value::Object(import.foreign.clone()), json!({"name": "n", "crs": {"type": "name"}}));
    assert_eq!(import.features[0].1["assets"], json!({"a": {"href": "h"}}));
}

#[test]
fn the_same_documents_give_the_same_bytes() {
    let doc = |name: &str| DocId::parse(name).unwrap();
    let a = json!({"type": "Feature", "properties": {"b": 1, "a": 2.0}, "geometry": {"type": "Point", "coordinates": [1.5, 2]}, "id": 1});
    let docs = [(doc("x/b"), a.clone()), (doc("x/c"), json!({"setting": 1})), (doc("x/a"), a)];
    let line =
        r#"{"type":"Feature","id":1,"properties":{"a":2.0,"b":1},"geometry":{"coordinates":[1.5,2],"type":"Point"}}"#;
    let expected = format!("{{\"type\":\"FeatureCollection\",\"features\":[\n{line},\n{line}\n]}}\n");
    let forward = export(docs.iter().map(|(doc, value)| (doc, value)));
    let backward = export(docs.iter().rev().map(|(doc, value)| (doc, value)));
    assert_eq!((forward.text.as_str(), forward.features, forward.skipped), (expected.as_str(), 2, 1));
    assert_eq!(forward, backward);
    assert_eq!(import(&expected, "x", None).unwrap_err().why, "feature 0 has the same id: x/1");
    let empty = export([]);
    assert_eq!(import(&empty.text, "x", None).unwrap(), Import::default());
}

/// Puts every feature into an engine and takes it out again.
fn through_documents(import: &Import) -> Import {
    let mut engine = Engine::new(Limits::default());
    let actor = Actor { node: NodeId::from_u128(1), mint: Mint::new(1) };
    let features = import.features.iter().map(|(doc, value)| {
        let edits = vec![Edit::Put { value: value.clone() }];
        let batch = vec![Wanted { command: CommandId::ZERO, edits, create: true, at: None }];
        engine.run(Task::Edit { doc: doc.clone(), actor, at: WallTime::EPOCH, batch, policies: Policies::default() });
        let done = engine.run(Task::Get {
            doc: doc.clone(),
            command: CommandId::ZERO,
            path: String::new(),
            policies: Policies::default(),
        });
        let Done::Got { value, .. } = done else { panic!("{done:?}") };
        (doc.clone(), value.unwrap())
    });
    Import { features: features.collect(), ..import.clone() }
}

#[test]
fn real_layers_come_back_with_the_same_meaning() {
    let shipped = || Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data");
    let folder = std::env::var_os("OXIGDAL_HA_GEO").map_or_else(shipped, PathBuf::from);
    let Ok(files) = std::fs::read_dir(folder) else { return };
    for file in
        files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|ext| ext == "geojson"))
    {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut read = import(&text, "layers/x", None).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(through_documents(&read).features, read.features);
        let again = import(&exported(&read), "layers/x", None).unwrap();
        read.features.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!((again.features, again.left_handed), (read.features, read.left_handed));
    }
}
