//! paths: being written.
