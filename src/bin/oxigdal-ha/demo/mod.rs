//! `demo`: a mesh of real peer processes edits real geodata through a cut and a `kill -9`, and agrees.
//!
//! Everything that is shown was measured by asking the peers, and everything that is claimed at the end was looked up in
//! them: each peer has the same content, gives the same export to the byte, and holds every edit that any of them
//! acknowledged. The exit code is 0 only then.

mod edits;
mod mesh;
mod proxy;
mod stage;
mod story;
mod verdict;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};

use crate::args::Demo;
use crate::failure::{Code, Failure, Result};
use crate::output::Output;
use mesh::{Children, Mesh};
use proxy::Proxy;
use stage::Stage;
use story::Story;

pub(crate) fn demo(arguments: &Demo, output: Output) -> Result {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format_args!("cannot start threads: {error}")))?;
    let folder = tempfile::Builder::new().prefix("oxigdal-ha-demo-").tempdir();
    let folder = folder.map_err(|error| Failure::new(format_args!("cannot make a folder for the data: {error}")))?;
    let children: Children = Arc::default();
    let place = folder.path().to_owned();
    // Kept from the beginning, so that an interrupt keeps it too.
    let folder = if arguments.keep { Err(folder.keep()) } else { Ok(folder) };
    let interrupted = on_interrupt(&runtime, &children, folder.as_ref().ok().map(|folder| folder.path().to_owned()));
    let told = play(arguments, &place, &runtime, &children, output);
    // What failed, failed because the peers were ended; whoever ends them ends this process.
    while told.is_err() && interrupted.load(Ordering::Acquire) {
        std::thread::park();
    }
    mesh::end(&children);
    runtime.shutdown_background();
    if let (Err(_), true) = (&told, output.terminal && folder.is_ok()) {
        eprintln!("run it again with --keep to keep the peers' data and logs");
    }
    told
}

/// Ctrl-C, SIGTERM and a terminal that goes away end the children, by their ids, and remove their data. Set as soon as one came.
fn on_interrupt(
    runtime: &tokio::runtime::Runtime,
    children: &Children,
    folder: Option<std::path::PathBuf>,
) -> Arc<AtomicBool> {
    let (children, interrupted) = (Arc::clone(children), Arc::<AtomicBool>::default());
    let tell = Arc::clone(&interrupted);
    runtime.spawn(async move {
        let (Ok(mut terminate), Ok(mut hangup)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
        else {
            return;
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        tell.store(true, Ordering::Release);
        mesh::end(&children);
        if let Some(folder) = folder {
            // What cannot be removed is in the system's folder for temporary files.
            let _ = std::fs::remove_dir_all(folder);
        }
        std::process::exit(Code::Interrupted as i32);
    });
    interrupted
}

fn play(
    arguments: &Demo,
    folder: &Path,
    runtime: &tokio::runtime::Runtime,
    children: &Children,
    output: Output,
) -> Result {
    let count = usize::from(arguments.peers);
    let proxy = Proxy::open(count, runtime.handle());
    let proxy = proxy.map_err(|error| Failure::new(format_args!("cannot open the demo's proxy: {error}")))?;
    let mesh = Mesh::new(count, arguments.overlay, folder, proxy, Arc::clone(children))?;
    let stage = Stage::new(output);
    stage.title(count, arguments.overlay, folder.display())?;
    let began = Instant::now();
    let mut story = Story::new(mesh, stage);
    story.start()?;
    story.import()?;
    let cut = story.cut()?;
    story.edit()?;
    story.kill()?;
    story.restart()?;
    story.heal(cut)?;
    story.agree()?;
    story.end(began.elapsed(), arguments.keep)
}
