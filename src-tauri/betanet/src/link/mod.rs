//! link/mod: being written.
