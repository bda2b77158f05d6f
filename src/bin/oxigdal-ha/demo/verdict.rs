//! The demo's end: everything that is claimed is looked up in every peer.

use std::time::Duration;

use oxigdal_ha::types::hex;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::mesh::Seen;
use super::stage::{ms, time};
use super::story::{PREFIX, Story, agreed};
use crate::doc::export_text;
use crate::failure::{Failure, Result};
use crate::output::{Tone, bytes, cell, number};

impl Story {
    /// Looks everything up that is claimed.
    pub(super) fn agree(&mut self) -> Result {
        self.stage.begin("looking every acknowledged edit up in every peer");
        // Wait once more: whoever was last to agree may have had something to tell.
        self.mesh.wait("all have the same content", &self.all, agreed)?;
        let found = self.ledger.verify(&self.mesh, &self.all, None)?;
        let (mut hashes, mut size) = (Vec::new(), 0);
        for at in &self.all {
            let export = export_text(self.mesh.client(*at)?, PREFIX, &|| {})?;
            if export.features != self.docs.len() {
                let (name, wanted) = (&self.mesh.peers[*at].name, self.docs.len());
                return Err(Failure::new(format_args!("{name} exports {} features, not {wanted}", export.features)));
            }
            size = export.text.len();
            hashes.push(hex(&Sha256::digest(&export.text)));
        }
        let seen = self.mesh.look(&self.all)?;
        self.table(&seen, &hashes)?;
        if !agreed(&seen) || hashes.iter().any(|hash| *hash != hashes[0]) {
            return Err(Failure::new("the peers do not agree: see the table above"));
        }
        let edits = self.ledger.len();
        let words = format!(
            "all {} acknowledged edits are in all {} peers; the exports ({}) are the same to the byte",
            self.stage.strong(edits),
            self.all.len(),
            bytes(size as u64)
        );
        let figures = json!({
            "edits": edits, "values": found.values, "changes": found.changes,
            "content": seen[0].content, "export_sha256": hashes[0], "export_bytes": size,
        });
        self.stage.done("agree", words, figures)
    }

    fn table(&mut self, seen: &[Seen], hashes: &[String]) -> Result {
        self.stage.clear();
        let output = self.stage.output();
        if output.json {
            return Ok(());
        }
        let first = seen[0].content.clone();
        let mut table = output.table(&["", "PEER", "DOCUMENTS", "EDITS", "CONTENT", "EXPORT (SHA-256)", "SENT"]);
        for ((at, seen), hash) in self.all.iter().zip(seen).zip(hashes) {
            let same = seen.content == first && *hash == hashes[0];
            table.add_row([
                cell(if same { Tone::Good } else { Tone::Bad }, if same { "   ✔" } else { "   ✖" }),
                cell(Tone::Bold, &self.mesh.peers[*at].name),
                number(seen.documents),
                number(self.ledger.of(*at)),
                cell(Tone::Name, &seen.content),
                cell(Tone::Name, &hash[..16]),
                number(bytes(seen.bytes_sent)),
            ]);
        }
        output.line("")?;
        output.rows(&table)?;
        output.line("")
    }

    pub(super) fn end(mut self, took: Duration, keep: bool) -> Result {
        self.stage.done(
            "done",
            format_args!("in {}", self.stage.strong(time(took))),
            json!({ "ok": true, "ms": ms(took) }),
        )?;
        self.stage.line("")?;
        if !keep {
            return Ok(());
        }
        for (name, folder) in self.mesh.apis() {
            self.stage.line(format_args!("{name}: {}", folder.display()))?;
        }
        if !self.stage.output().terminal {
            return Ok(());
        }
        for at in &self.all {
            self.stage.line(format_args!("oxigdal-ha status {}", self.mesh.client(*at)?.flags()))?;
        }
        self.stage.line("the mesh goes on running; Ctrl-C ends it and keeps the data")?;
        loop {
            std::thread::park();
        }
    }
}
