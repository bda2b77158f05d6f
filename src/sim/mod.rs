//! A mesh in one thread, under virtual time.
