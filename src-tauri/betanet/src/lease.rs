//! lease: being written.
