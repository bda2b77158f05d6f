//! Changes whose bytes were tampered with and whose checksums fit all the same.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::super::Body;
use super::MAGIC;

/// A chunk of this kind with this body, and the checksum that it should have.
pub(in crate::documents) fn chunk(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut hashed = vec![kind];
    let mut len = body.len();
    while len >= 0x80 {
        hashed.push(u8::try_from(len & 0x7f).unwrap() | 0x80);
        len >>= 7;
    }
    hashed.push(u8::try_from(len).unwrap());
    hashed.extend_from_slice(body);
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&Sha256::digest(&hashed)[..4]);
    bytes.extend_from_slice(&hashed);
    bytes
}

/// What stands behind a change's header.
pub(in crate::documents) fn body(change: &[u8]) -> &[u8] {
    let len = change[9..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    &change[9 + len..]
}

/// An entry of documents, the body of whose change is another one.
pub(crate) fn tampered(entry: &Bytes, tamper: impl FnOnce(&[u8]) -> Vec<u8>) -> Bytes {
    let config = bincode::config::standard();
    let (mut decoded, _) = bincode::decode_from_slice::<Body, _>(entry, config).unwrap();
    decoded.change = chunk(super::CHUNK_CHANGE, &tamper(body(&decoded.change)));
    bincode::encode_to_vec(&decoded, config).unwrap().into()
}
