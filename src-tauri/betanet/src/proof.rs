//! proof: being written.
