//! Programs of others and ours, and what they took.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a program took.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cost {
    /// Of the cores, in seconds; Linux counts hundredths.
    pub(crate) cpu: f64,
    pub(crate) wall: f64,
    /// The most memory that it held, in MiB.
    pub(crate) memory: f64,
}

/// Runs programs to their ends, the first's output being the next one's input.
pub(crate) fn run(line: &mut [Command]) -> Cost {
    let began = Instant::now();
    let mut children: Vec<Child> = Vec::new();
    let count = line.len();
    for (at, command) in line.iter_mut().enumerate() {
        if let Some(before) = children.last_mut() {
            command.stdin(before.stdout.take().unwrap());
        }
        if at + 1 < count {
            command.stdout(Stdio::piped());
        } else {
            command.stdout(Stdio::null());
        }
        children.push(command.stderr(Stdio::piped()).spawn().unwrap());
    }
    let mut cost = Cost::default();
    for child in &mut children {
        let (cpu, memory) = watch(child.id());
        (cost.cpu, cost.memory) = (cost.cpu + cpu, cost.memory.max(memory));
        let output = child.wait().unwrap();
        let told = child.stderr.take().map(|told| std::io::read_to_string(told).unwrap()).unwrap_or_default();
        assert!(output.success(), "{told}");
    }
    Cost { wall: began.elapsed().as_secs_f64(), ..cost }
}

/// Waits for the end, and says what was used: what nobody has waited for yet still says so.
fn watch(pid: u32) -> (f64, f64) {
    let mut memory = 0.0_f64;
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        if fields[0] == "Z" {
            let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
            return (ticks as f64 / 100.0, memory);
        }
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
        memory = memory.max(kib.unwrap_or_default() / 1024.0);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Our program.
pub(crate) fn ours(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oxigdal-ha"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Another program, if it is installed.
pub(crate) fn theirs(name: &str, arguments: &[&str]) -> Option<Command> {
    let path = std::env::var_os("PATH")?;
    let there = std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    there.then(|| {
        let mut command = Command::new(name);
        command.args(arguments).stdin(Stdio::null());
        command
    })
}

/// Bytes of all files below.
pub(crate) fn tree(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    let sizes =
        entries.map(|entry| if entry.path().is_dir() { tree(&entry.path()) } else { entry.metadata().unwrap().len() });
    sizes.sum()
}
