//! descriptor: being written.
