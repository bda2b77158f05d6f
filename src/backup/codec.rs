//! How the records of a backup are compressed.

pub use crate::wal::Codec as BackupCompression;
pub(super) use crate::wal::{Packed, Packer};
