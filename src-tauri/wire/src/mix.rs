//! A mix as its device asks to have it listed, with the mix key's own word that the two belong together.
//!
//! Without that word any member could list another's mix key under an own packet key or address, and push that mix out of the directory.

use crate::{FrameError, RelayHint, Signed, SignedError};
use fogbank_model::DeviceId;
use iroh::{PublicKey, SecretKey};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

const CONTEXT: &str = "mix of a device 1";

/// What the mix key says: which device it relays on, and under which packet key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Belongs {
    device: DeviceId,
    packet_key: [u8; 32],
}

/// A mix's public part, as it asks to be listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MixInfo {
    /// Its mix key: the iroh endpoint id that it relays under. Never its device key.
    pub key: [u8; 32],
    /// Its packet key (X25519).
    pub packet_key: [u8; 32],
    /// Where it listens.
    pub addrs: Vec<SocketAddr>,
    /// The relay at which it is met when its addresses are not reached: the fog's own, when it has one.
    pub relay: Option<RelayHint>,
    belongs: Signed<Belongs>,
}

impl MixInfo {
    /// The mix of this device.
    ///
    /// # Errors
    /// When the statement does not serialise, which none does.
    pub fn new(key: &SecretKey, device: DeviceId, packet_key: [u8; 32], addrs: Vec<SocketAddr>) -> Result<Self, FrameError> {
        let belongs = Signed::seal(key, CONTEXT, &Belongs { device, packet_key })?;
        Ok(Self { key: *key.public().as_bytes(), packet_key, addrs, relay: None, belongs })
    }

    /// Whether whoever holds the mix key said that it relays on this device under this packet key.
    ///
    /// # Errors
    /// When not.
    pub fn check(&self, device: DeviceId) -> Result<(), SignedError> {
        let key = PublicKey::from_bytes(&self.key).map_err(|_| SignedError::Signature)?;
        let said = self.belongs.open(&key, CONTEXT)?;
        let same = said == Belongs { device, packet_key: self.packet_key };
        if same { Ok(()) } else { Err(SignedError::Signature) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_lists_anothers_mix() {
        let (key, device) = (SecretKey::generate(), DeviceId([1; 32]));
        let info = MixInfo::new(&key, device, [2; 32], vec![]).unwrap();
        assert!(info.check(device).is_ok());
        assert!(info.check(DeviceId([9; 32])).is_err(), "copied by another device");
        assert!(MixInfo { packet_key: [3; 32], ..info.clone() }.check(device).is_err(), "with another packet key");
        let other = *SecretKey::generate().public().as_bytes();
        assert!(MixInfo { key: other, ..info }.check(device).is_err(), "under another's mix key");
    }
}
