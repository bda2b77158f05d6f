//! How busy this machine is, told to the node now and then.
//!
//! It is what the kernel counts as wanting to run, as a mean of the last minute, over the cores. Where the kernel does not tell (only
//! Linux does so in a file) nothing is told, and by load such a peer comes last.

use std::time::Duration;

use super::peer::{Link, Phase};
use crate::node::Command;

/// How often it is looked: what is told is a mean of a minute.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const FILE: &str = "/proc/loadavg";

/// Tells until the peer has stopped.
pub(super) async fn watch(link: Link) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut phase = link.phase.clone();
    while let Some(percent) = tokio::fs::read_to_string(FILE).await.ok().and_then(|text| percent(&text, cores)) {
        // Refused only by a peer that leaves: it is asked nothing any more.
        if link.command(Command::Load { percent }).await.is_err() {
            return;
        }
        let stopped = phase.wait_for(|phase| *phase == Phase::Stopped);
        if tokio::time::timeout(LOOK_EVERY, stopped).await.is_ok() {
            return;
        }
    }
}

/// The first number of the kernel's line, in percent of so many cores.
fn percent(line: &str, cores: usize) -> Option<u16> {
    let (whole, parts) = line.split_whitespace().next()?.split_once('.')?;
    let (whole, hundredths): (usize, usize) = (whole.parse().ok()?, parts.get(..2)?.parse().ok()?);
    let percent = whole.checked_mul(100)?.checked_add(hundredths)? / cores;
    Some(u16::try_from(percent).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_read() {
        assert_eq!(percent("3.07 2.50 1.99 2/345 12345\n", 2), Some(153));
        assert_eq!(percent("0.00 0.01 0.05 1/80 7", 4), Some(0));
        assert_eq!(percent("99999.00 1.0 1.0 1/1 1", 1), Some(u16::MAX));
        for broken in ["", "3", "3.1", "x.07 1", "-1.00", "3.é9"] {
            assert_eq!(percent(broken, 2), None, "{broken:?}");
        }
    }
}
