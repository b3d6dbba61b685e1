//! uplink/mod: being written.
