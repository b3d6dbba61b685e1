//! client/mod: being written.
