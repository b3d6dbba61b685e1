//! tunnel/mod: being written.
