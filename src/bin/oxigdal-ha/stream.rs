//! `stream`: append and read events.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read, Write as _};
use std::path::Path;
use std::time::Duration;

use oxigdal_ha::types::WallTime;
use serde_json::{Value, json};

use crate::args::{Stream, StreamCommand};
use crate::client::{Client, doc_path};
use crate::failure::{Failure, Result};
use crate::output::{Output, Tone, cell, number};

/// Events in one page.
const PAGE: u64 = 1_000;
/// Bytes of events in one request, about; a peer takes 8 MiB.
const REQUEST_BYTES: usize = 4 << 20;
/// How often a peer that has too much to do is asked again, with pauses that double from this one.
const TRIES: u32 = 8;
const PAUSE: Duration = Duration::from_millis(50);

/// Where events come from: its buffer holds what is there without waiting.
type Source = BufReader<Box<dyn Read>>;

pub(crate) fn stream(arguments: Stream, output: Output) -> Result {
    let client = Client::new(&arguments.target)?.with_ack(arguments.ack.text());
    match arguments.command {
        StreamCommand::Append { name, file, batch, binary } => {
            let path = doc_path("/v1/streams", &name);
            let mut source = open(&file)?;
            let appended = if binary {
                whole(&client, &path, &mut source, &file)?
            } else {
                lines(&client, &path, &mut source, &file, batch.get())?
            };
            told(&name, &appended, output)
        }
        StreamCommand::Tail { name, from, follow: true, limit, .. } => follow(&client, &name, &from, limit, output),
        StreamCommand::Tail { name, from, limit, settled, .. } => pages(&client, &name, &from, limit, settled, output),
        StreamCommand::Ls { prefix } => ls(&client, &prefix, output),
    }
}

fn open(file: &Path) -> Result<Source> {
    if file == Path::new("-") {
        if io::stdin().is_terminal() {
            // Nobody should wonder why nothing happens.
            eprintln!("reading standard input, an event a line; end with Ctrl-D");
        }
        return Ok(BufReader::with_capacity(REQUEST_BYTES, Box::new(io::stdin())));
    }
    let opened = File::open(file).map_err(|error| Failure::file("read", file, &error))?;
    Ok(BufReader::with_capacity(REQUEST_BYTES, Box::new(opened)))
}

/// What became durable: how many events, and the first answer.
struct Durable {
    events: u64,
    first: Option<Value>,
}

impl Durable {
    fn add(&mut self, answer: Value) {
        self.events += answer["events"].as_u64().unwrap_or_default();
        self.first.get_or_insert(answer);
    }
}

fn whole(client: &Client, path: &str, source: &mut Source, file: &Path) -> Result<Durable> {
    let mut body = Vec::new();
    source.read_to_end(&mut body).map_err(|error| Failure::file("read", file, &error))?;
    let mut durable = Durable { events: 0, first: None };
    durable.add(client.send_bytes(path, &[("format", "binary")], &body)?);
    Ok(durable)
}

/// Sends what there is in requests of so many lines. A pipe that pauses is not waited for: what was read goes out.
fn lines(client: &Client, path: &str, source: &mut Source, file: &Path, batch: usize) -> Result<Durable> {
    let mut durable = Durable { events: 0, first: None };
    loop {
        let (mut body, mut events) = (Vec::new(), 0);
        while events < batch && body.len() < REQUEST_BYTES {
            let read = source.read_until(b'\n', &mut body).map_err(|error| Failure::file("read", file, &error));
            if read? == 0 {
                break;
            }
            events += 1;
            if source.buffer().is_empty() {
                break;
            }
        }
        if events == 0 {
            return Ok(durable);
        }
        match send(client, path, &body) {
            Ok(answer) => durable.add(answer),
            Err(failure) if durable.events > 0 => {
                return Err(failure.after(format_args!("{} events are durable", durable.events)));
            }
            Err(failure) => return Err(failure),
        }
    }
}

fn send(client: &Client, path: &str, body: &[u8]) -> Result<Value> {
    let mut tries = 0;
    loop {
        match client.send_bytes(path, &[], body) {
            Err(failure) if failure.is_busy() && tries < TRIES => std::thread::sleep(PAUSE * 2_u32.pow(tries)),
            answered => return answered,
        }
        tries += 1;
    }
}

fn told(name: &str, durable: &Durable, output: Output) -> Result {
    if output.json {
        return output.value(&json!({ "stream": name, "events": durable.events, "first": durable.first }));
    }
    match &durable.first {
        Some(first) => output.line(format_args!(
            "{name}: {} events are durable, from entry {} of this peer's log on",
            durable.events, first["seq"]
        )),
        None => output.line(format_args!("{name}: there was nothing to append")),
    }
}

fn pages(client: &Client, name: &str, from: &str, limit: Option<u64>, settled: Option<u64>, output: Output) -> Result {
    let (path, mut from, mut left) = (doc_path("/v1/streams", name), from.to_owned(), limit.unwrap_or(u64::MAX));
    let settled = settled.map(|seconds| (seconds * 1_000).to_string());
    while left > 0 {
        let page = left.min(PAGE).to_string();
        let mut query = vec![("from", from.as_str()), ("limit", &page)];
        query.extend(settled.iter().map(|ms| ("settled_ms", ms.as_str())));
        let answer: Value = client.get(&path, &query)?;
        left = left.saturating_sub(show(&answer, left, output)?);
        if answer["more"] != true {
            break;
        }
        answer["cursor"].as_str().unwrap_or_default().clone_into(&mut from);
    }
    Ok(())
}

fn follow(client: &Client, name: &str, from: &str, limit: Option<u64>, output: Output) -> Result {
    let (path, mut left) = (doc_path("/v1/tail", name), limit.unwrap_or(u64::MAX));
    if left == 0 {
        return Ok(());
    }
    let page = left.min(PAGE).to_string();
    client.watch(&path, &[("from", from), ("limit", &page)], |event, data| {
        if event == "error" {
            let says = data["message"].as_str().unwrap_or_default();
            eprintln!("{}", output.paint(Tone::Warn, says));
            return Ok(true);
        }
        left = left.saturating_sub(show(&data, left, output)?);
        Ok(left > 0)
    })
}

/// Shows a page; says how many events that were.
fn show(page: &Value, most: u64, output: Output) -> Result<u64> {
    if output.json {
        // One page a line, so that its cursor is at hand for whoever goes on later.
        let events = page["events"].as_array().map_or(0, Vec::len) as u64;
        if events > 0 || page["gaps"].as_array().is_some_and(|gaps| !gaps.is_empty()) {
            output.line(page)?;
        }
        return Ok(events);
    }
    for gap in page["gaps"].as_array().into_iter().flatten() {
        let (after, upto) = (gap["after"].as_u64().unwrap_or_default(), gap["upto"].as_u64().unwrap_or_default());
        let origin = gap.pointer("/origin/node").and_then(Value::as_str).unwrap_or_default();
        // On standard error: what is piped on are events and nothing else.
        eprintln!(
            "{}",
            output.paint(
                Tone::Warn,
                format_args!("{} entries of {origin} have expired: {} to {upto}", upto - after, after + 1)
            )
        );
    }
    let mut shown = 0;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    for event in page["events"].as_array().into_iter().flatten().take(most) {
        match (event["text"].as_str(), event["hex"].as_str()) {
            (Some(text), _) => output.line(text)?,
            (None, Some(hex)) => output.line(format_args!("\\x{hex}"))?,
            (None, None) => {}
        }
        shown += 1;
    }
    io::stdout().flush()?;
    Ok(shown)
}

fn ls(client: &Client, prefix: &str, output: Output) -> Result {
    let streams: Value = client.get("/v1/streams", &[("prefix", prefix)])?;
    if output.json {
        return output.value(&streams);
    }
    let mut table = output.table(&["STREAM", "EVENTS", "BYTES", "FIRST", "LAST", "ORIGINS"]);
    for stream in streams.as_array().into_iter().flatten() {
        let time = |key: &str| stream[key].as_u64().map(|at| WallTime::from_micros(at).to_string()).unwrap_or_default();
        table.add_row([
            cell(Tone::Name, stream["stream"].as_str().unwrap_or_default()),
            number(&stream["events"]),
            number(&stream["bytes"]),
            cell(Tone::Dim, time("first")),
            cell(Tone::Dim, time("last")),
            cell(Tone::Dim, stream["origins"].as_array().map_or(0, Vec::len)),
        ]);
    }
    output.rows(&table)
}
