//! Mutants of valid inputs: for the campaigns that show what decoders and machines make of input that no correct peer, disk
//! or person gives.
//!
//! A campaign makes some thousand mutants with every `cargo test`. `OXIGDAL_HA_FUZZ=1000000 cargo test --lib -- fuzz mutant`
//! makes so many of all kinds together: each campaign knows its share. Mutants are functions of the campaign's name and the mutant's
//! number, so what one finds happens again.

use super::Rng;

/// The variable that says how many mutants all campaigns together make.
const VARIABLE: &str = "OXIGDAL_HA_FUZZ";

/// How many mutants a campaign makes: `quick` as a rule, else so many thousandths of what [`VARIABLE`] says.
pub(crate) fn cases(quick: usize, share: usize) -> usize {
    match std::env::var(VARIABLE) {
        Ok(text) => {
            let all: usize = text.parse().unwrap_or_else(|error| panic!("{VARIABLE}={text}: {error}"));
            (all / 1_000).saturating_mul(share).max(1)
        }
        Err(_) => quick,
    }
}

/// The luck of a campaign.
pub(crate) fn luck(campaign: &str) -> Rng {
    Rng::fork(&[0xf2; 32], campaign)
}

/// Says what a campaign came to, and up to how many MB the process has grown by then.
pub(crate) fn report(campaign: &str, figures: &str) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).map_or("unknown", str::trim);
    println!("{campaign}: {figures}; peak of the process {peak}");
}

/// Bytes that mean something to a decoder: ends of the small numbers of bincode and of LEB128, and its markers of width.
const TELLING: [u8; 12] = [0, 1, 2, 0x7f, 0x80, 250, 251, 252, 253, 254, 255, 0xc0];

/// A mutant of one of these.
pub(crate) fn bytes_of(rng: &mut Rng, valid: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let (one, other) = (rng.index(valid.len()), rng.index(valid.len()));
    bytes(rng, valid[one].as_ref(), valid[other].as_ref())
}

/// A mutant of one of these texts.
pub(crate) fn text_of(rng: &mut Rng, valid: &[impl AsRef<str>]) -> String {
    let (one, other) = (rng.index(valid.len()), rng.index(valid.len()));
    text(rng, valid[one].as_ref(), valid[other].as_ref())
}

/// A few places of these bytes are changed, doubled, left out, or taken from another input.
pub(crate) fn bytes(rng: &mut Rng, valid: &[u8], other: &[u8]) -> Vec<u8> {
    let mut mutant = valid.to_vec();
    for _ in 0..=rng.below(3) {
        change(rng, &mut mutant, other);
    }
    mutant
}

fn change(rng: &mut Rng, mutant: &mut Vec<u8>, other: &[u8]) {
    let at = rng.index(mutant.len());
    let byte = u8::try_from(rng.below(256)).expect("below 256");
    let telling = TELLING[rng.index(TELLING.len())];
    if mutant.is_empty() {
        return mutant.push(byte);
    }
    match rng.below(12) {
        0 => mutant[at] = byte,
        1 => mutant[at] = telling,
        2 => mutant[at] ^= 1 << rng.below(8),
        3 => mutant[at] = mutant[at].wrapping_add(1),
        4 => mutant[at] = mutant[at].wrapping_sub(1),
        5 => mutant.insert(at, byte),
        6 => drop(mutant.remove(at)),
        // A number of full width where a small one was.
        7 => {
            let wide = [&[253][..], &interesting(rng).to_le_bytes()].concat();
            drop(mutant.splice(at..=at, wide));
        }
        8 => mutant.truncate(at),
        9 => {
            let part = slice(rng, &mutant.clone()).to_vec();
            drop(mutant.splice(at..at, part));
        }
        10 => {
            let end = (at + 1 + rng.index(8)).min(mutant.len());
            mutant.drain(at..end);
        }
        _ => {
            let part = slice(rng, other).to_vec();
            let end = (at + rng.index(part.len() + 1)).min(mutant.len());
            drop(mutant.splice(at..end, part));
        }
    }
}

fn slice<'a>(rng: &mut Rng, bytes: &'a [u8]) -> &'a [u8] {
    let from = rng.index(bytes.len());
    let len = rng.index(32.min(bytes.len() - from) + 1);
    &bytes[from..from + len]
}

/// A number at which arithmetic tends to go wrong.
pub(crate) fn interesting(rng: &mut Rng) -> u64 {
    let near = [0, 1, 2, 3, 250, 1 << 16, 1 << 31, 1 << 32, 1 << 48, i64::MAX as u64, u64::MAX, rng.bits()];
    near[rng.index(near.len())].wrapping_add(rng.below(3)).wrapping_sub(1)
}

/// Lines and words of a text are changed, doubled, left out or swapped with those of another one, and now and then bytes.
pub(crate) fn text(rng: &mut Rng, valid: &str, other: &str) -> String {
    if rng.below(4) == 0 {
        return String::from_utf8_lossy(&bytes(rng, valid.as_bytes(), other.as_bytes())).into_owned();
    }
    let mut lines: Vec<String> = valid.lines().map(str::to_owned).collect();
    for _ in 0..=rng.below(3) {
        let at = rng.index(lines.len());
        let Some(line) = lines.get_mut(at) else { break };
        match rng.below(6) {
            0 => drop(lines.remove(at)),
            1 => {
                let line = line.clone();
                lines.insert(at, line);
            }
            2 => {
                let foreign: Vec<&str> = other.lines().collect();
                let foreign = rng.pick(&foreign).copied().unwrap_or_default().to_owned();
                lines.insert(at, foreign);
            }
            3 => {
                let with = rng.index(lines.len());
                lines.swap(at, with);
            }
            _ => *line = respelled(rng, line),
        }
    }
    lines.join("\n")
}

/// A line of which one number, word or sign is another one.
fn respelled(rng: &mut Rng, line: &str) -> String {
    const WORDS: [&str; 16] = [
        "0",
        "-1",
        "1e400",
        "18446744073709551616",
        "nan",
        "true",
        "\"\"",
        "\"\u{0}\"",
        "[]",
        "{}",
        "[[",
        "}",
        "=",
        "null",
        "0.5",
        "\"\u{1f30d}\"",
    ];
    let words: Vec<&str> = line.split_inclusive(|c: char| !c.is_alphanumeric()).collect();
    let at = rng.index(words.len());
    let word = WORDS[rng.index(WORDS.len())];
    words.iter().enumerate().map(|(n, old)| if n == at { word } else { *old }).collect()
}

#[test]
fn mutants_differ_and_come_again() {
    let make = || {
        let mut rng = luck("this");
        let mutants: Vec<Vec<u8>> = (0..100).map(|_| bytes(&mut rng, b"a valid input", b"ANOTHER")).collect();
        (mutants, text(&mut rng, "one = 1\ntwo = 2", "three = 3"))
    };
    let (mutants, text) = make();
    assert!(mutants.iter().filter(|mutant| *mutant != b"a valid input").count() > 90);
    assert_eq!((mutants, text), make());
    assert!(!bytes(&mut luck("of nothing"), b"", b"").is_empty());
}
