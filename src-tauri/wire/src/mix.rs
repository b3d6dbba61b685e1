//! A mix as its device asks to have it listed, with the mix key's own word that the two belong together.
//!
//! Without that word any member could list another's mix key under own packet keys or an own address, and push that mix out of the directory.

use crate::{FrameError, RelayHint, Signed, SignedError};
use fogbank_model::DeviceId;
use iroh::{PublicKey, SecretKey};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

const CONTEXT: &str = "mix of a device 2";

/// Packet keys of consecutive key epochs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketKeys {
    /// Number of the first key's epoch.
    pub first: u32,
    /// X25519 keys, one an epoch.
    pub keys: Vec<[u8; 32]>,
}

impl PacketKeys {
    /// Epochs for which keys may be told at once: half a day's and those still live. It bounds what a directory entry can take.
    pub const MOST: usize = 16;

    /// The key of an epoch.
    pub fn of(&self, epoch: u32) -> Option<[u8; 32]> {
        let at = usize::try_from(epoch.checked_sub(self.first)?).ok()?;
        self.keys.get(at).copied()
    }
}

/// Tells one life of a mix from the next: a mix that starts anew has forgotten its packet keys and what it kept for others.
pub type MixLife = [u8; 8];

/// What the mix key says: which device it relays on, in which life, and under which packet keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Belongs {
    device: DeviceId,
    life: MixLife,
    packet_keys: PacketKeys,
}

/// A mix's public part, as it asks to be listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MixInfo {
    /// Its mix key: the iroh endpoint id that it relays under. Never its device key.
    pub key: [u8; 32],
    /// Drawn when it started.
    pub life: MixLife,
    /// Its packet keys, of this epoch and those to come.
    pub packet_keys: PacketKeys,
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
    pub fn new(
        key: &SecretKey,
        device: DeviceId,
        life: MixLife,
        packet_keys: PacketKeys,
        addrs: Vec<SocketAddr>,
    ) -> Result<Self, FrameError> {
        let belongs = Signed::seal(key, CONTEXT, &Belongs { device, life, packet_keys: packet_keys.clone() })?;
        Ok(Self { key: *key.public().as_bytes(), life, packet_keys, addrs, relay: None, belongs })
    }

    /// Whether whoever holds the mix key said that it relays on this device under these packet keys.
    ///
    /// # Errors
    /// When not.
    pub fn check(&self, device: DeviceId) -> Result<(), SignedError> {
        let key = PublicKey::from_bytes(&self.key).map_err(|_| SignedError::Signature)?;
        let said = self.belongs.open(&key, CONTEXT)?;
        let same = said == Belongs { device, life: self.life, packet_keys: self.packet_keys.clone() };
        if same { Ok(()) } else { Err(SignedError::Signature) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_lists_anothers_mix() {
        let (key, device) = (SecretKey::generate(), DeviceId([1; 32]));
        let packet_keys = PacketKeys { first: 7, keys: vec![[2; 32], [3; 32]] };
        let info = MixInfo::new(&key, device, [4; 8], packet_keys.clone(), vec![]).unwrap();
        assert!(info.check(device).is_ok());
        assert!(info.check(DeviceId([9; 32])).is_err(), "copied by another device");
        let other_keys = PacketKeys { first: 8, ..packet_keys };
        assert!(MixInfo { packet_keys: other_keys, ..info.clone() }.check(device).is_err(), "with other packet keys");
        assert!(MixInfo { life: [5; 8], ..info.clone() }.check(device).is_err(), "in another life");
        let other = *SecretKey::generate().public().as_bytes();
        assert!(MixInfo { key: other, ..info }.check(device).is_err(), "under another's mix key");
    }

    #[test]
    fn keys_by_epoch() {
        let keys = PacketKeys { first: 7, keys: vec![[2; 32], [3; 32]] };
        assert_eq!([6, 7, 8, 9, u32::MAX].map(|e| keys.of(e)), [None, Some([2; 32]), Some([3; 32]), None, None]);
    }
}
