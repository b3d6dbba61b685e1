//! directory: being written.
