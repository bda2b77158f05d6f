//! `doc import` and `doc export`: GeoJSON in and out, one feature a document.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use oxigdal_ha::documents::geojson;
use oxigdal_ha::types::DocId;
use serde_json::{Value, json};

use super::{place, read, scan, standard_input};
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::output::{Output, Tone, bytes};

/// Edits in one request at most, and their bytes.
const CHUNK: usize = 500;
const CHUNK_BYTES: usize = 2 << 20;
/// How often in a row a peer is asked again while it is busy, and how long between.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(150);

/// What an import came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Imported {
    /// Documents that are new or differ from what was there.
    pub(crate) written: usize,
    /// Documents that were there already.
    pub(crate) unchanged: usize,
}

pub(super) fn import(client: &Client, file: &Path, prefix: &str, id_property: Option<&str>, output: Output) -> Result {
    let text = if file == Path::new("-") { standard_input()? } else { read(file)? };
    let import = geojson::import(&text, prefix, id_property)
        .map_err(|error| Failure::usage(format_args!("{}: {error}", file.display())))?;
    let (count, began) = (import.features.len(), Instant::now());
    let bar = bar(count, output);
    let imported = import_features(client, &import.features, &|count| bar.inc(count)).map_err(|(done, failure)| {
        bar.abandon();
        failure.hint(match done < count {
            true => format!("{done} of {count} are in; run it again to go on: what is there is not written twice"),
            false => format!("all {count} are in here"),
        })
    })?;
    bar.finish_and_clear();
    let seconds = began.elapsed().as_secs_f64();
    if output.json {
        return output.value(&json!({
            "features": count, "written": imported.written, "unchanged": imported.unchanged,
            "bytes": text.len(), "seconds": seconds, "left_handed": import.left_handed, "foreign": import.foreign,
        }));
    }
    let rate = f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / seconds.max(1e-3);
    output.line(format_args!(
        "{} {count} features from {} in {seconds:.2} s ({rate:.0}/s): {} written, {} unchanged",
        output.paint(Tone::Good, "imported"),
        bytes(text.len() as u64),
        imported.written,
        imported.unchanged
    ))?;
    if import.left_handed > 0 {
        let note = format!("{} polygons are wound the old way; kept as they are (RFC 7946, 3.1.6)", import.left_handed);
        output.line(output.paint(Tone::Dim, note))?;
    }
    if !import.foreign.is_empty() {
        let names: Vec<&str> = import.foreign.keys().map(String::as_str).collect();
        let note = format!("not part of any feature, left out: {}", names.join(", "));
        output.line(output.paint(Tone::Dim, note))?;
    }
    Ok(())
}

/// Puts each feature into its document, many in one request. An error comes with how many are in.
pub(crate) fn import_features(
    client: &Client,
    features: &[(DocId, Value)],
    tick: &dyn Fn(u64),
) -> std::result::Result<Imported, (usize, Failure)> {
    let mut imported = Imported::default();
    let mut waiting: VecDeque<String> = features.iter().map(|(id, value)| line(id, value)).collect();
    let mut tries = 0;
    while !waiting.is_empty() {
        let done = imported.written + imported.unchanged;
        let chunk = chunk(&mut waiting);
        let (mut busy, mut lonely) = (false, None);
        for (line, answer) in chunk.iter().zip(client.send_lines("/v1/edits", &chunk).map_err(|error| (done, error))?) {
            match (answer["error"]["code"].as_str(), answer["stamp"].is_null()) {
                (None, false) => imported.written += 1,
                (None, true) => imported.unchanged += 1,
                (Some("busy"), _) if tries < TRIES => {
                    busy = true;
                    waiting.push_back(line.clone());
                }
                // It is in, though not on as many others as were asked for. What follows would fare no better.
                (Some("not_replicated"), _) => {
                    imported.written += 1;
                    lonely.get_or_insert(answer);
                }
                (Some(_), _) => return Err((imported.written + imported.unchanged, refused(&answer))),
            }
        }
        if let Some(answer) = lonely {
            return Err((imported.written + imported.unchanged, refused(&answer)));
        }
        tick((imported.written + imported.unchanged - done) as u64);
        tries = if busy { tries + 1 } else { 0 };
        std::thread::sleep(PAUSE * tries);
    }
    Ok(imported)
}

/// A line's error, with the document that it is about.
fn refused(answer: &Value) -> Failure {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (doc, error) = (text(&answer["doc"]), &answer["error"]);
    Failure::new(format_args!("{doc}: {}", text(&error["message"]))).kind(error["code"].as_str())
}

/// What one request takes from those that wait.
fn chunk(waiting: &mut VecDeque<String>) -> Vec<String> {
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    while let Some(line) = waiting.front() {
        bytes += line.len() + 1;
        if !chunk.is_empty() && (bytes > CHUNK_BYTES || chunk.len() == CHUNK) {
            break;
        }
        chunk.extend(waiting.pop_front());
    }
    chunk
}

fn line(id: &DocId, value: &Value) -> String {
    json!({ "doc": id, "edits": [{ "op": "put", "value": value }] }).to_string()
}

pub(super) fn export(client: &Client, prefix: &str, file: Option<&Path>, output: Output) -> Result {
    let file = file.filter(|file| *file != Path::new("-"));
    let (began, bar) = (Instant::now(), spinner(file.is_some(), output));
    let export = export_text(client, prefix, &|| bar.inc(1))?;
    bar.finish_and_clear();
    if export.features + export.skipped == 0 {
        // On standard error: what is exported is the empty collection.
        eprintln!("note: no document's id begins with {prefix:?}");
    }
    let Some(file) = file else { return Ok(io::stdout().write_all(export.text.as_bytes())?) };
    place::write(file, export.text.as_bytes()).map_err(|error| Failure::file("write", file, &error))?;
    let seconds = began.elapsed().as_secs_f64();
    if output.json {
        return output.value(&json!({
            "features": export.features, "skipped": export.skipped, "bytes": export.text.len(), "seconds": seconds,
        }));
    }
    let (size, good) = (bytes(export.text.len() as u64), output.paint(Tone::Good, "exported"));
    output.line(format_args!(
        "{good} {} features, {size}, to {} in {seconds:.2} s",
        export.features,
        file.display()
    ))?;
    if export.skipped > 0 {
        output.line(output.paint(Tone::Dim, format_args!("{} documents are no features: left out", export.skipped)))?;
    }
    Ok(())
}

/// The documents as a feature collection: the same documents give the same bytes on every peer.
pub(crate) fn export_text(client: &Client, prefix: &str, tick: &dyn Fn()) -> Result<geojson::Export> {
    let mut docs: BTreeMap<DocId, Value> = BTreeMap::new();
    scan(client, prefix, (true, false), |doc| {
        let id = doc["doc"].as_str().unwrap_or_default();
        let id = DocId::parse(id).map_err(|error| Failure::new(format_args!("the peer's answer: {error}")))?;
        docs.insert(id, doc["value"].clone());
        tick();
        Ok(true)
    })?;
    Ok(geojson::export(&docs))
}

/// Progress goes to standard error, and only to a terminal.
fn target(output: Output) -> ProgressDrawTarget {
    if output.json || !io::stderr().is_terminal() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() }
}

fn bar(count: usize, output: Output) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(count as u64), target(output));
    let style = "{spinner:.cyan} importing {bar:32.cyan/dim} {human_pos}/{human_len} features  {per_sec}  {eta} left";
    bar.set_style(ProgressStyle::with_template(style).expect("the template is fixed").progress_chars("━╸─"));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn spinner(wanted: bool, output: Output) -> ProgressBar {
    let target = if wanted { target(output) } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target);
    let style = "{spinner:.cyan} exporting {human_pos} documents  {per_sec}";
    bar.set_style(ProgressStyle::with_template(style).expect("the template is fixed"));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
