//! `backup verify`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ValueEnum, ValueHint};
use oxigdal_ha::backup::{self, Level};
use serde_json::json;

use super::progress::Ear;
use super::{Place, chosen, failed};
use crate::failure::{Failure, Result};
use crate::output::{Output, Tone, bytes, millis};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this backup and what it continues; the beginning of its id will do
    id: Option<String>,
    /// How closely to look
    #[arg(long, value_enum, default_value_t = Depth::Content)]
    level: Depth,
    /// Where the trial of --level restore is made, and removed again [default: the system's place for such files]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    scratch: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Depth {
    /// Manifests and chains, and that every object is listed
    List,
    /// Every byte against its checksum; needs no key
    Checksums,
    /// Everything decrypted, unpacked and counted
    Content,
    /// A trial: the backup is restored and compared record by record
    Restore,
}

pub(crate) async fn run(place: &Place, arguments: &Args, output: Output) -> Result<ExitCode> {
    let repository = place.open().await?;
    let catalogue = place.catalogue(&repository).await?;
    let ear = Ear::new(output);
    let only = arguments.id.as_deref().map(|id| chosen(&catalogue, Some(id), &ear)).transpose()?;
    let level = match arguments.level {
        Depth::List => Level::List,
        Depth::Checksums => Level::Checksums,
        Depth::Content | Depth::Restore => Level::Content,
    };
    let newest = chosen(&catalogue, arguments.id.as_deref(), &ear);
    let verified = backup::verify(&repository, catalogue, only, level, &ear).await.map_err(failed)?;
    let mut faults: Vec<String> = verified.faults.iter().map(ToString::to_string).collect();
    let mut tried = None;
    if arguments.level == Depth::Restore && faults.is_empty() {
        let id = newest?;
        let scratch = match &arguments.scratch {
            Some(dir) => tempfile::tempdir_in(dir),
            None => tempfile::tempdir(),
        };
        let scratch =
            scratch.map_err(|error| Failure::new(format_args!("cannot make a scratch directory: {error}")))?;
        let catalogue = place.catalogue(&repository).await?;
        match backup::trial(&repository, &catalogue, id, &scratch.path().join("trial"), &ear).await {
            Ok(done) => tried = Some((id, done)),
            Err(error) if error.object().is_some() => faults.push(error.to_string()),
            Err(error) => return Err(failed(error)),
        }
    }
    ear.done();
    let told = if output.json {
        output.value(&json!({
            "good": faults.is_empty(), "backups": verified.backups, "objects": verified.objects,
            "bytes": verified.bytes, "faults": faults,
            "restored": tried.map(|(id, done)| json!({ "backup": id, "done": done })), "ms": ear.elapsed_ms(),
        }))
    } else {
        tell(&verified, &faults, tried.map(|(id, _)| id), &ear, output)
    };
    Failure::unless_gone(told, u8::from(!faults.is_empty()))
}

fn tell(
    verified: &backup::Verified,
    faults: &[String],
    tried: Option<backup::BackupId>,
    ear: &Ear,
    output: Output,
) -> Result {
    faults.iter().try_for_each(|fault| output.line(format_args!("{} {fault}", output.paint(Tone::Bad, "fault"))))?;
    let verdict = if faults.is_empty() {
        output.paint(Tone::Good, "good")
    } else {
        output.paint(Tone::Bad, format_args!("{} faults", faults.len()))
    };
    output.line(format_args!(
        "{verdict}: {} backups, {} objects, {} read in {}",
        verified.backups,
        verified.objects,
        bytes(verified.bytes),
        millis(ear.elapsed_ms())
    ))?;
    tried.map_or(Ok(()), |id| {
        output.line(format_args!("{id} was restored, and came out record by record as it went in"))
    })
}
