//! `backup create`.

use std::path::PathBuf;

use clap::ValueHint;
use oxigdal_ha::backup::{self, BackupCompression, BackupType, Catalogue, Created, Directory, Host as _};
use oxigdal_ha::driver::admission::Admission;
use serde_json::json;

use super::progress::Ear;
use super::{Place, failed, unreadable, warn};
use crate::failure::Result;
use crate::output::{Output, Tone, bytes, millis};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// All that the log holds
    #[arg(long, group = "kind")]
    full: bool,
    /// What came since the last backup of any kind; the default
    #[arg(long, group = "kind")]
    incremental: bool,
    /// What came since the last full backup
    #[arg(long, group = "kind")]
    differential: bool,
    /// The data directory
    #[arg(long = "data-dir", alias = "data", value_name = "DIR", default_value = "oxigdal-ha-data", value_hint = ValueHint::DirPath)]
    data: PathBuf,
    /// How to compress: none, lz4, zstd or gzip
    #[arg(long, value_name = "CODEC", default_value_t)]
    compression: BackupCompression,
    #[command(flatten)]
    mesh: super::mesh::MeshArgs,
}

pub(crate) async fn run(place: &Place, arguments: &Args, output: Output) -> Result {
    let kind = match arguments {
        Args { full: true, .. } => BackupType::Full,
        Args { differential: true, .. } => BackupType::Differential,
        _ => BackupType::Incremental,
    };
    if arguments.mesh.mesh {
        return super::mesh::run(place, &arguments.mesh, (kind, arguments.compression), output);
    }
    let ear = Ear::new(output);
    // Only says which mesh it was; a directory without a key is backed up too.
    let mesh = Admission::open(&arguments.data).ok().flatten().map(|admission| admission.cluster().to_string());
    let mut directory = Directory::open(&arguments.data, mesh, ear.wall()).map_err(unreadable)?;
    let repository = place.open_or_make(&arguments.data, &ear).await?;
    if !repository.capabilities().create {
        tracing::warn!("the store does not honour create-if-absent: one process at a time may back this node up");
    }
    let created = directory.back_up(&repository, kind, arguments.compression, &ear).await;
    ear.done();
    let Created { metadata, is_new, promoted, beside } = created.map_err(failed)?;
    if !beside.is_empty() {
        let catalogue = Catalogue::read(&repository, metadata.node).await.map_err(failed)?;
        warn(catalogue.check_alone(metadata.id, ear.wall()).err().as_slice());
    }
    if output.json {
        return output
            .value(&json!({ "backup": metadata, "made": is_new, "promoted": promoted, "beside": beside, "ms": ear.elapsed_ms() }));
    }
    if !is_new {
        return output.line(format_args!(
            "nothing is new since backup {}: no backup was made",
            output.paint(Tone::Bold, metadata.id)
        ));
    }
    let backup::Statistics { records, plain_bytes, stored_bytes, resumed_objects } = metadata.statistics;
    output.line(format_args!("{} {} backup", output.paint(Tone::Bold, metadata.id), metadata.kind))?;
    if let Some(why) = promoted {
        output.line(format_args!("{}, since {why}", metadata.kind))?;
    }
    let resumed = if resumed_objects > 0 {
        format!(", {resumed_objects} of them from an interrupted run")
    } else {
        String::new()
    };
    output.line(format_args!(
        "{records} records, {}, stored as {} in {}{resumed}; took {}",
        bytes(plain_bytes),
        bytes(stored_bytes),
        match metadata.objects.len() {
            1 => "1 object".to_owned(),
            n => format!("{n} objects"),
        },
        millis(ear.elapsed_ms())
    ))
}
