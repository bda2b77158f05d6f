//! The whole configuration: file, environment, flags.
