//! The allocator's leave for one device to fetch one bundle from those who hold it.

use fogbank_model::{BundleId, DeviceId, UnixMs};
use serde::{Deserialize, Serialize};

/// What a permit says. It travels as `Signed<BundlePermit>`, signed by the fog's key in [`BundlePermit::CONTEXT`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundlePermit {
    /// What may be fetched: the hash sequence and all that it names.
    pub bundle: BundleId,
    /// By whom: the key of the connection that asks.
    pub device: DeviceId,
    /// Until when.
    pub expires: UnixMs,
}

impl BundlePermit {
    /// The signing context.
    pub const CONTEXT: &str = "bundle permit 1";
}
