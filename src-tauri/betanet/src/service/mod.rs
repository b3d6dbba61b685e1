//! service/mod: being written.
