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
    let whole = json!({ "blake3": sum(&mac, &body), "format": FORMAT, "mac": mac, "says": says });
    (text(&whole) + "\n").into_bytes()
}

/// What such a file says.
///
/// # Errors
/// With the name of the file, if one byte is not as it was written. Without a key the mark is not looked at.
pub(super) fn open<T: DeserializeOwned>(name: &str, bytes: &[u8], key: Option<&Key>) -> Result<T, Error> {
    let bad = |what: String| Error::damaged(name, what);
    let whole: Value = serde_json::from_slice(bytes).map_err(|error| bad(format!("not JSON: {error}")))?;
    let found = whole["format"].as_u64().and_then(|found| u32::try_from(found).ok());
    let (body, mac) = (text(&whole["says"]), whole["mac"].as_str());
    if whole["blake3"] != sum(&whole["mac"], &body) || (text(&whole) + "\n").as_bytes() != bytes {
        return Err(bad("its checksum is not that of what it says".into()));
    }
    match found {
        Some(FORMAT) => {}
        Some(found) if found > FORMAT => {
            return Err(Error::FutureFormat { name: name.into(), found, known: FORMAT });
        }
        _ => return Err(bad("it has no version of the format".into())),
    }
    if whole.as_object().is_none_or(|whole| whole.len() != 4 || !whole.contains_key("mac")) {
        return Err(bad("it holds something else than it should".into()));
    }
    if let Some(key) = key {
        let right = key.mac(body.as_bytes());
        let found = mac.and_then(|mac| blake3::Hash::from_hex(mac).ok());
        if found != Some(right) {
            return Err(bad("it was not written by a holder of the repository's key".into()));
        }
    }
    serde_json::from_value(whole["says"].clone()).map_err(|error| bad(error.to_string()))
}

/// The checksum of all that a file says.
fn sum(mac: &Value, body: &str) -> String {
    blake3::hash(format!("{}\n{body}", text(mac)).as_bytes()).to_hex().to_string()
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
