//! node: being written.
pub mod control;
