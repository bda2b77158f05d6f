//! The log as bytes.
