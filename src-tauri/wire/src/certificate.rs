//! The statement of an owner: this device is mine.

use crate::{FrameError, Signed, SignedError};
use fogbank_model::{DeviceId, OwnerId};
use iroh::{PublicKey, SecretKey};
use serde::{Deserialize, Serialize};

const CONTEXT: &str = "owner certificate 1";

/// An owner key's signature over a device key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OwnerCertificate {
    /// Who signs.
    pub owner: OwnerId,
    device: Signed<DeviceId>,
}

impl OwnerCertificate {
    /// Signs a device as the owner's.
    ///
    /// # Errors
    /// When the id does not serialise, which no id does.
    pub fn issue(owner: &SecretKey, device: DeviceId) -> Result<Self, FrameError> {
        Ok(Self { owner: OwnerId(*owner.public().as_bytes()), device: Signed::seal(owner, CONTEXT, &device)? })
    }

    /// Whether it is about this device and truly signed.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(&self, device: DeviceId) -> Result<(), SignedError> {
        let key = PublicKey::from_bytes(&self.owner.0).map_err(|_| SignedError::Signature)?;
        if self.device.open(&key, CONTEXT)? == device { Ok(()) } else { Err(SignedError::Signature) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_of_one_device_only() {
        let certificate = OwnerCertificate::issue(&SecretKey::generate(), DeviceId([1; 32])).unwrap();
        assert!(certificate.check(DeviceId([1; 32])).is_ok());
        assert!(certificate.check(DeviceId([2; 32])).is_err());
    }
}
