//! The proof chain: period records, descriptors, leases and revocations.

pub(crate) mod descriptor;
pub(crate) mod lease;
pub(crate) mod record;
