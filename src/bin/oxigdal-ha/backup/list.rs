//! `backup list`.

use oxigdal_ha::backup::{Host as _, Run, nodes};
use serde_json::json;

use super::progress::Ear;
use super::{Place, ago, failed};
use crate::failure::Result;
use crate::output::{Output, Tone, bytes, cell, number};

fn held(run: &Run) -> String {
    if run.count() == 0 { "nothing new".into() } else { format!("{}..{}", run.first, run.last) }
}

pub(crate) async fn run(place: &Place, output: Output) -> Result {
    let repository = place.open().await?;
    let ear = Ear::new(output);
    let nodes = match place.node {
        Some(node) => vec![node],
        None => nodes(&repository).await.map_err(failed)?,
    };
    let (mut rows, mut values, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for node in nodes {
        let catalogue = Place { node: Some(node), ..place.clone() }.catalogue(&repository).await?;
        let newest = catalogue.newest(ear.wall()).map(|backup| backup.id);
        let alone = newest.map_or(Ok(()), |id| catalogue.check_alone(id, ear.wall()));
        let ends = newest.map(|id| catalogue.beside(id, ear.wall())).unwrap_or_default();
        for backup in catalogue.backups() {
            let whole = catalogue.chain(backup.id).is_ok();
            let marked = catalogue.is_marked(backup.id);
            values.push(json!({
                "id": backup.id, "kind": backup.kind, "node": backup.node, "finished": backup.finished.to_string(),
                "parent": backup.parent.as_ref().map(|parent| parent.id), "main": [backup.main.first, backup.main.last],
                "events": [backup.events.first, backup.events.last], "statistics": backup.statistics,
                "marked": marked, "chain_whole": whole, "apart": backup.apart,
            }));
            let is_end = !ends.is_empty() && (ends.contains(&backup.id) || newest == Some(backup.id));
            let state = match (whole, marked) {
                (true, false) if is_end => cell(Tone::Warn, "one of several histories"),
                (false, _) => cell(Tone::Bad, "chain broken"),
                (true, true) => cell(Tone::Warn, "to be deleted"),
                (true, false) => cell(Tone::Good, "whole"),
            };
            rows.push(vec![
                cell(Tone::Bold, backup.id),
                cell(Tone::Name, backup.kind),
                cell(Tone::Dim, backup.finished),
                number(ago(backup.finished, ear.wall())),
                number(held(&backup.main)),
                number(bytes(backup.statistics.stored_bytes)),
                state,
                cell(Tone::Dim, backup.node),
            ]);
        }
        faults.extend(catalogue.faults().iter().map(ToString::to_string));
        faults.extend(alone.err().map(|error| error.to_string()));
    }
    if output.json {
        return output.value(&json!({ "repository": repository.id(), "backups": values, "faults": faults }));
    }
    let mut table = output.table(&["id", "kind", "finished", "ago", "records", "stored", "chain", "node"]);
    rows.into_iter().for_each(|row| {
        table.add_row(row);
    });
    output.rows(&table)?;
    faults.iter().try_for_each(|fault| output.line(output.paint(Tone::Bad, fault)))
}
