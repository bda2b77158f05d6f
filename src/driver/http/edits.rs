//! Edits of many documents in one request: for imports and for whoever edits faster than requests go back and forth.
//!
//! The body is lines of JSON, each `{"doc": ID, "edits": [..], "create": true|false}`, as `PATCH` of that document would
//! take it; `?ack` is for all of them. The answer has a line for each line, in their order: what `PATCH` would answer, or `{"doc", "error"}`. Each line
//! is an edit of its own: one that fails undoes no other. They are under way together, so they share the disk's syncs, and
//! edits of one document are done in the order of their lines.
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Json, Response};
use futures::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::json;

use super::reply::{Query, Raw, Refusal};
use super::{Interface, replication};
use crate::documents::{self, Edit};
use crate::error::Error;
use crate::node::{Command, Copies, Outcome};
use crate::types::DocId;

/// Lines in one request at most.
const LINES_MAX: usize = 10_000;
/// Edits of one request under way at the same time: about as many as fill a sync of the disk.
const AT_ONCE: usize = 256;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct How {
    ack: Option<String>,
}

/// One line of the body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    doc: DocId,
    edits: Vec<Edit>,
    #[serde(default)]
    create: bool,
}

pub(super) async fn many(
    State(interface): State<Interface>,
    Query(how): Query<How>,
    Raw(body): Raw,
) -> Result<Response, Refusal> {
    // Before anything is done, all of it is read: a request that is cut in its middle has no effect.
    let lines = parse(&body)?;
    drop(body);
    let (link, ack) = (interface.link, replication::level(how.ack.as_deref())?);
    let submitted = stream::iter(lines).then(move |Line { doc, edits, create }| {
        let link = link.clone();
        async move {
            let command = Command::Documents(documents::Command::Edit { doc: doc.clone(), edits, create });
            (doc, link.submit_write(command, ack).await)
        }
    });
    let answered = submitted.map(|(doc, answer)| async move { line(&doc, answer.await) });
    let answers: Vec<Vec<u8>> = answered.buffered(AT_ONCE).collect().await;
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], answers.concat()).into_response())
}

fn parse(body: &[u8]) -> Result<Vec<Line>, Refusal> {
    let mut lines = Vec::new();
    for (at, text) in body.split(|byte| *byte == b'\n').enumerate() {
        if text.trim_ascii().is_empty() {
            continue;
        }
        let invalid = |why: &dyn std::fmt::Display| Refusal::invalid(format!("the body, line {}: {why}", at + 1));
        // To the JSON each line is the first.
        let column = |error: serde_json::Error| error.to_string().replace(" at line 1 column ", " at column ");
        let line: Line = serde_json::from_slice(text).map_err(|error| invalid(&column(error)))?;
        if line.edits.is_empty() {
            return Err(invalid(&"there are no edits in it"));
        }
        if lines.len() == LINES_MAX {
            return Err(invalid(&format_args!("a request may hold {LINES_MAX} edits")));
        }
        lines.push(line);
    }
    if lines.is_empty() { Err(Refusal::invalid("the body: there are no edits in it")) } else { Ok(lines) }
}

/// A line of the answer.
fn line(doc: &DocId, result: Result<(Outcome, Option<Copies>), Error>) -> Vec<u8> {
    let failed = |code: &str, message: String| json!({ "doc": doc, "error": { "code": code, "message": message } });
    let value = match result {
        Ok((Outcome::Documents(outcome), copies)) => match replication::shown(&outcome, copies) {
            Ok(Json(value)) => value,
            Err(refusal) => failed(refusal.code, refusal.message),
        },
        Ok((other, _)) => unreachable!("an edit was answered by {other:?}"),
        Err(error) => failed(error.kind().code(), error.to_string()),
    };
    format!("{value}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_their_numbers() {
        let read = |text: &str| parse(text.as_bytes()).map(|lines| lines.len()).map_err(|refusal| refusal.message);
        let line = r#"{"doc":"a/b","edits":[{"op":"delete"}]}"#;
        assert_eq!(read(&format!("{line}\n\n  \n{line}\r\n")), Ok(2));
        for (text, words) in [
            (format!("{line}\n{{}}"), "the body, line 2: missing field `doc` at column 2"),
            (
                r#"{"doc":"a","edits":[{"op":"splice","path":"t","at":0,"delete":3}]}"#.to_owned(),
                "unknown field `delete`",
            ),
            (r#"{"doc":"a","edits":[]}"#.to_owned(), "line 1: there are no edits"),
            (r#"{"doc":"a//b","edits":[]}"#.to_owned(), "line 1: "),
            (" \n".to_owned(), "there are no edits in it"),
            (format!("{line}\n").repeat(LINES_MAX + 1), "line 10001: a request may hold 10000 edits"),
        ] {
            let found = read(&text).unwrap_err();
            assert!(found.contains(words), "{found:?} does not say {words:?}");
        }
    }
}
