//! Processes of which none may keep the tests waiting: one that is silent for far too long is told of, with what its threads are at, and
//! ended.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, Command as Process, Output, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything here takes, also beside much else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What the program answers, which ends by itself or is ended.
#[expect(clippy::disallowed_methods, reason = "a thread of the test's own")]
pub(crate) fn output(process: &mut Process) -> Output {
    let child = process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_child(&child);
    let (over, wait) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if wait.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            tell(&format!("it does not end: {}", threads(pid)));
            _ = kill_process(pid, Signal::KILL);
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(over);
    watch.join().unwrap();
    output
}

/// The lines that it says, as they come.
#[expect(clippy::disallowed_methods, reason = "a thread of the test's own")]
pub(crate) fn lines(said: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(said).lines().map_while(Result::ok);
        // Whoever does not read on does not want the rest.
        lines.take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
    });
    receiver
}

/// Kills what strace runs, and strace: the kernel may leave threads that were killed while they were stopped for their tracer waiting
/// for it, and it for them. Comes back when no thread is left that could change anything.
#[expect(clippy::disallowed_methods, reason = "the kernel tells only its parent, which was strace")]
pub(crate) fn end(strace: &mut Child) {
    let program = traced(strace);
    // Either may be gone already.
    _ = program.map(|program| kill_process(program, Signal::KILL));
    _ = strace.kill();
    strace.wait().unwrap();
    let Some(program) = program else { return };
    let dir = format!("/proc/{}", program.as_raw_nonzero());
    for _ in 0..PATIENCE.as_millis() / 10 {
        let tasks = fs::read_dir(format!("{dir}/task")).map_or(0, Iterator::count);
        let stat = fs::read_to_string(format!("{dir}/stat")).unwrap_or_default();
        if tasks == 0 || (tasks == 1 && (stat.is_empty() || stat.contains(") Z "))) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it was killed and is there still: {}", threads(program));
}

/// The program that this strace runs.
pub(crate) fn traced(strace: &Child) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", strace.id())).ok()?;
    Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
}

/// What each thread of a process is at.
pub(crate) fn threads(pid: Pid) -> String {
    let tasks = format!("/proc/{}/task", pid.as_raw_nonzero());
    let Ok(tasks) = fs::read_dir(tasks) else { return format!("{pid:?} is gone") };
    let task = |task: fs::DirEntry| {
        let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default().replace('\n', " ");
        format!("{}\n  {}\n  {}\n", read("stat"), read("syscall"), read("wchan"))
    };
    tasks.filter_map(Result::ok).map(task).collect()
}

/// Past the harness, which keeps what tests print to itself.
pub(crate) fn tell(line: &str) {
    io::stderr().lock().write_all(format!("\n{line}\n").as_bytes()).unwrap();
}
