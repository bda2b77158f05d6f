//! Values as texts to be handed on by people: a prefix that says what it is, base32, and a checksum against lost letters.

use bincode::{Decode, Encode};

use super::base32;
use super::key::encode;
use crate::types::Checksum;

/// Longest text that is read, in characters.
pub(super) const TEXT_MAX: usize = 4096;

/// Why a text does not hold what was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Another kind of text.
    Prefix,
    /// Cut or mistyped.
    Damaged,
}

pub(super) fn write(prefix: &str, value: &impl Encode) -> String {
    let mut bytes = encode(value);
    bytes.extend(Checksum::of(&bytes).value().to_le_bytes());
    format!("{prefix}{}", base32::encode(&bytes))
}

pub(super) fn read<T: Decode<()>>(prefix: &str, text: &str) -> Result<T, Flaw> {
    let text = text.trim();
    if !begins(prefix, text) {
        return Err(Flaw::Prefix);
    }
    let body = || {
        let bytes = (text.len() <= TEXT_MAX).then(|| base32::decode(&text[prefix.len()..])).flatten()?;
        let (body, sum) = bytes.split_last_chunk::<4>()?;
        // The limit bounds what a damaged length may make us allocate.
        let config = bincode::config::standard().with_limit::<TEXT_MAX>();
        let whole = Checksum::of(body).value() == u32::from_le_bytes(*sum);
        let (value, len) = whole.then(|| bincode::decode_from_slice(body, config).ok()).flatten()?;
        (len == body.len()).then_some(value)
    };
    body().ok_or(Flaw::Damaged)
}

/// Whether a text means to be of this kind; it may still be damaged.
pub(super) fn begins(prefix: &str, text: &str) -> bool {
    text.trim().get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
