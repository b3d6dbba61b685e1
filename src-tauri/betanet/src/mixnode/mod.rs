//! mixnode/mod: being written.
