//! The life of this process: a name that no other process has, and whether the process of such a name has ended.
//!
//! On Linux the name says which process of which run of the kernel it is, so that one of the same machine and user that has ended is known
//! to have. Elsewhere, and of other machines, nothing is known.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::OnceLock;

/// Its name.
#[must_use]
pub fn name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let mut luck = [0_u8; 8];
        getrandom::fill(&mut luck).expect("a system without entropy cannot name anything");
        let (luck, process) = (u64::from_le_bytes(luck), std::process::id());
        match (machine(), begun(process)) {
            (Ok(machine), Ok(Some(begun))) => format!("{luck:016x} {machine} {process} {begun}"),
            _ => format!("{luck:016x}"),
        }
    })
}

/// Whether the process of that name has ended for certain.
#[must_use]
pub fn has_ended(name: &str) -> bool {
    let [_, at, process, then] = name.split(' ').collect::<Vec<_>>()[..] else { return false };
    let Ok(process) = process.parse() else { return false };
    if machine().ok().as_deref() != Some(at) {
        return false;
    }
    // Another one may have its number by now.
    begun(process).is_ok_and(|now| now.as_deref() != Some(then))
}

/// The kernel's name for its own run.
pub(super) fn kernel_run() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Which run of which kernel, and which of its processes can be seen from here.
fn machine() -> io::Result<String> {
    let run = kernel_run()?;
    let (space, user) = (fs::metadata("/proc/self/ns/pid")?.ino(), fs::metadata("/proc/self")?.uid());
    Ok(format!("{run}:{space}:{user}"))
}

/// When a process began, in ticks since the kernel did; none if there is no such process.
fn begun(process: u32) -> io::Result<Option<String>> {
    let stat = match fs::read_to_string(format!("/proc/{process}/stat")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // It ended while its file was read.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => return Ok(None),
        stat => stat?,
    };
    // The name of its program, in brackets, may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let begun = fields.split_whitespace().nth(19);
    begun.map(|begun| Some(begun.to_owned())).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    fn named(process: u32, begun: &str) -> String {
        format!("0 {} {process} {begun}", machine().unwrap())
    }

    #[test]
    fn a_process_has_ended_when_it_is_gone_and_not_before() {
        assert!(!has_ended(name()) && name().split(' ').count() == 4, "{}", name());
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let its = named(child.id(), &begun(child.id()).unwrap().unwrap());
        assert!(!has_ended(&its));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(has_ended(&its));
        // Its number is another's.
        assert!(has_ended(&named(std::process::id(), "1")));
        // Of another machine nothing is known, and what is no name is none.
        assert!(!has_ended("0 other:1:0 4194305 7") && !has_ended("") && !has_ended("0 1 2"));
    }
}
