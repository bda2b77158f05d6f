//! Small files of a repository: canonical JSON under a checksum. Canonical means that there is one spelling: keys in
//! order, no blanks, a line feed at the end. So any changed byte shows, also where JSON would not care.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::cipher::Key;
use super::error::Error;

/// The version of all that a repository holds.
pub(super) const FORMAT: u32 = 1;

/// The longest such file that is read: the manifest of some 10 TB.
pub(super) const LEN_MAX: u64 = 128 << 20;

/// The file that says this. With a key it also carries a mark that only holders of the key can make.
pub(super) fn seal(what: &impl Serialize, key: Option<&Key>) -> Vec<u8> {
    let says = serde_json::to_value(what).expect("these values have text keys and finite numbers");
    let body = text(&says);
    let mac = key.map(|key| key.mac(body.as_bytes()).to_hex().to_string());
    let mac = json!(mac);
    let whole = json!({ "blake3": sum(&text(&mac), &body), "format": FORMAT, "mac": mac, "says": says });
    (text(&whole) + "\n").into_bytes()
}

/// What such a file says. Its checksum, and with a key its mark, are looked at before anything of it is parsed: what others can
/// write costs no memory but its bytes.
///
/// # Errors
/// With the name of the file, if one byte is not as it was written. Without a key the mark is not looked at.
pub(super) fn open<T: DeserializeOwned>(name: &str, bytes: &[u8], key: Option<&Key>) -> Result<T, Error> {
    let bad = |what: &str| Error::damaged(name, what);
    let spelling = || bad("its checksum is not that of what it says");
    let whole = Whole::of(bytes).ok_or_else(spelling)?;
    if whole.format > FORMAT {
        return Err(Error::FutureFormat { name: name.into(), found: whole.format, known: FORMAT });
    }
    if whole.format != FORMAT || sum(whole.mac, whole.says) != whole.blake3 {
        return Err(spelling());
    }
    if let Some(key) = key {
        let right = key.mac(whole.says.as_bytes());
        let found = whole.mac.trim_matches('"');
        if blake3::Hash::from_hex(found).ok() != Some(right) {
            return Err(bad("it was not written by a holder of the repository's key"));
        }
    }
    let says: Value = serde_json::from_str(whole.says).map_err(|error| bad(&format!("not JSON: {error}")))?;
    if text(&says) != whole.says {
        return Err(spelling());
    }
    serde_json::from_value(says).map_err(|error| bad(&error.to_string()))
}

/// The parts of a file, which stand at fixed places in the one spelling that there is.
struct Whole<'a> {
    blake3: &'a str,
    format: u32,
    /// As it is spelled.
    mac: &'a str,
    says: &'a str,
}

impl<'a> Whole<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let rest = std::str::from_utf8(bytes).ok()?.strip_prefix("{\"blake3\":\"")?.strip_suffix("}\n")?;
        let (blake3, rest) = rest.split_once("\",\"format\":")?;
        let (format, rest) = rest.split_once(",\"mac\":")?;
        let (mac, says) = rest.split_once(",\"says\":")?;
        let parsed: u32 = format.parse().ok()?;
        let hex = |text: &str| text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let marked = mac == "null" || mac.strip_prefix('"').and_then(|mac| mac.strip_suffix('"')).is_some_and(hex);
        (hex(blake3) && marked && parsed.to_string() == format).then_some(Self { blake3, format: parsed, mac, says })
    }
}

/// The checksum of all that a file says.
fn sum(mac: &str, body: &str) -> String {
    blake3::hash(format!("{mac}\n{body}").as_bytes()).to_hex().to_string()
}

/// Keys come in order, since the values of this library are sorted maps: a test holds that.
fn text(value: &Value) -> String {
    serde_json::to_string(value).expect("these values have text keys and finite numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_and_every_byte_counts() {
        let says = json!({ "b": 1, "a": [true, null, "x"] });
        let bytes = seal(&says, Some(&Key::from_bytes([1; 32])));
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(
            text.starts_with("{\"blake3\":\"") && text.ends_with("\"says\":{\"a\":[true,null,\"x\"],\"b\":1}}\n"),
            "{text}"
        );
        assert_eq!(open::<Value>("it", &bytes, None).unwrap(), says);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                let error = open::<Value>("it", &bad, None).unwrap_err();
                assert_eq!(error.object(), Some("it"), "byte {at}: {error}");
            }
        }
        for len in 0..bytes.len() {
            assert!(open::<Value>("it", &bytes[..len], None).is_err());
        }
    }

    /// What it says is no JSON at all: whoever reads it with a key must not have tried.
    #[test]
    fn what_no_holder_of_the_key_wrote_is_not_parsed() {
        let body = "[[[[[[";
        let forged = format!("{{\"blake3\":\"{}\",\"format\":1,\"mac\":null,\"says\":{body}}}\n", sum("null", body));
        let refused = |key: Option<&Key>| open::<Value>("it", forged.as_bytes(), key).unwrap_err().to_string();
        assert!(refused(Some(&Key::from_bytes([1; 32]))).contains("holder"));
        assert!(refused(None).contains("not JSON"));
    }

    #[test]
    fn without_the_key_nobody_writes_what_its_holders_believe() {
        let (key, other) = (Key::from_bytes([1; 32]), Key::from_bytes([2; 32]));
        let bytes = seal(&1, Some(&key));
        assert_eq!(open::<u32>("it", &bytes, Some(&key)).unwrap(), 1);
        assert_eq!(open::<u32>("it", &bytes, None).unwrap(), 1);
        for bytes in [bytes, seal(&1, None)] {
            let error = open::<u32>("it", &bytes, Some(&other)).unwrap_err();
            assert!(error.to_string().contains("holder"), "{error}");
        }
    }
}
