//! proxy/mod: being written.
