//! One mix of the directory, and who may be listed.

use super::Directory;
use crate::epoch::KEYS_AHEAD;
use fogbank_model::{DeviceId, MixId, OwnerId, UnixMs};
use fogbank_sphinx::{Epoch, MixPublic};
use fogbank_wire::{MixInfo, MixLife, PacketKeys, RelayHint};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, net::SocketAddr};

/// Addresses of a mix at most: two families on a few interfaces.
pub const MAX_MIX_ADDRS: usize = 8;
/// Reliability of a mix that nobody has probed yet: as good as any, its age speaks for or against it.
pub const UNMEASURED: u16 = 1_000;
/// Below this share of probes that come back (per mille) a mix is broken: it loses more than half of what it is given, and repeating costs
/// more than going around it.
pub const BROKEN: u16 = 500;

/// One mix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MixEntry {
    /// The first 16 bytes of its key.
    pub id: MixId,
    /// Its mix key: the iroh endpoint id that it relays under.
    pub key: [u8; 32],
    /// Another one when it has started anew, and so forgotten what it kept for others.
    pub life: MixLife,
    /// Its packet keys of the present and the coming epochs.
    pub packet_keys: PacketKeys,
    /// Whose it is.
    pub owner: OwnerId,
    /// Where it listens.
    pub addrs: Vec<SocketAddr>,
    /// The fog's relay, when the mix is behind a router and is met there first.
    pub relay: Option<RelayHint>,
    /// So long has it been listed, counted back from when the directory was made.
    pub since: UnixMs,
    /// Share of probes through it that come back, per mille, as the fog's mixes measure it; [`UNMEASURED`] before.
    pub reliability: u16,
}

impl MixEntry {
    /// The entry of a mix that [`check_mix`] let in, with its addresses as they are listed ([`super::of_one_computer`]); nothing has been measured of it.
    pub fn new(info: &MixInfo, owner: OwnerId, since: UnixMs) -> Self {
        let addrs = info.addrs.iter().copied().take(MAX_MIX_ADDRS).collect();
        Self {
            id: mix_id(&info.key),
            key: info.key,
            life: info.life,
            packet_keys: info.packet_keys.clone(),
            owner,
            addrs,
            relay: info.relay.clone(),
            since,
            reliability: UNMEASURED,
        }
    }

    /// Its packet key in an epoch.
    pub fn packet_key(&self, epoch: Epoch) -> Option<MixPublic> {
        self.packet_keys.of(epoch.0).map(MixPublic)
    }

    /// Whether most of what it is given arrives.
    pub fn works(&self) -> bool {
        self.reliability >= BROKEN
    }

    /// Whether two entries say the same but for keys of epochs to come, and measurements: no reason to tell everybody at once.
    pub fn same_mix(&self, other: &Self) -> bool {
        (self.id, self.life, self.owner, self.works()) == (other.id, other.life, other.owner, other.works())
            && self.addrs == other.addrs
    }

    /// Whether another entry, of another fog, leads to the same place by the same keys as far as both tell.
    pub(super) fn same_place(&self, other: &Self) -> bool {
        let keys = &other.packet_keys;
        let agree = |epoch| self.packet_keys.of(epoch).zip(keys.of(epoch)).is_none_or(|(a, b)| a == b);
        let last = keys.first.saturating_add(fogbank_wire::PacketKeys::MOST as u32);
        (&self.key, &self.life, &self.addrs) == (&other.key, &other.life, &other.addrs) && (keys.first..=last).all(agree)
    }
}

/// The own fog's mixes in their present lives. Not those of federated fogs: all tunnels act at once when a life ends, and another fog's
/// word, handed to somebody at a chosen moment, must not set that off. What is lost at its mixes is sent again.
pub(crate) fn lives(directory: Option<&Directory>) -> HashMap<MixId, MixLife> {
    directory.map(|d| d.own_mixes().map(|m| (m.id, m.life)).collect()).unwrap_or_default()
}

/// Whether a mix has gone or begun anew: packets and SURBs on their way through it are lost.
pub(crate) fn lives_ended(before: &HashMap<MixId, MixLife>, now: &HashMap<MixId, MixLife>) -> bool {
    before.iter().any(|(id, life)| now.get(id) != Some(life))
}

/// The id under which packets name a mix.
pub fn mix_id(key: &[u8; 32]) -> MixId {
    let mut id = [0; MixId::BYTES];
    id.copy_from_slice(&key[..MixId::BYTES]);
    MixId(id)
}

/// Why a mix is not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotListed {
    /// The mix key does not say that it relays on this device under these packet keys.
    #[error("the mix key does not confirm that it relays on this device: start Fogbank again on it")]
    NotIts,
    /// Packets can't be built for a packet key: one such mix would spoil every path that draws it.
    #[error("a packet key of the mix is of small order")]
    PacketKey,
    /// Too few packet keys, too many, or of other epochs.
    #[error("the mix has no packet keys for the coming hours: set the clock of its computer right and start Fogbank again on it")]
    Epochs,
    /// It listens nowhere.
    #[error("the mix says no address at which it can be reached")]
    Addrs,
}

/// Whether a mix may be listed as this device's, at a time of the given epoch.
///
/// # Errors
/// When not, and why.
pub fn check_mix(info: &MixInfo, device: DeviceId, present: Epoch) -> Result<(), NotListed> {
    // Bounded first: what follows costs a multiplication a key.
    if info.packet_keys.keys.len() > PacketKeys::MOST {
        return Err(NotListed::Epochs);
    }
    info.check(device).map_err(|_| NotListed::NotIts)?;
    // A mix whose clock is an epoch behind has one key fewer; one whose clock is further off would drop what is sent to it.
    let needed = [present.0, present.0.saturating_add(KEYS_AHEAD - 2)];
    if needed.iter().any(|epoch| info.packet_keys.of(*epoch).is_none()) {
        return Err(NotListed::Epochs);
    }
    if !info.packet_keys.keys.iter().all(|key| MixPublic(*key).is_sound()) {
        return Err(NotListed::PacketKey);
    }
    let reachable = |a: &SocketAddr| a.port() != 0 && !a.ip().is_unspecified() && !a.ip().is_multicast();
    if info.addrs.is_empty() || !info.addrs.iter().all(reachable) { Err(NotListed::Addrs) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fogbank_sphinx::MixSecret;
    use iroh::SecretKey;

    const DEVICE: DeviceId = DeviceId([1; 32]);
    const PRESENT: Epoch = Epoch(500_000);

    fn info(first: u32, keys: Vec<[u8; 32]>) -> MixInfo {
        let addrs = vec![SocketAddr::from(([10, 0, 0, 1], 4000))];
        MixInfo::new(&SecretKey::from_bytes(&[3; 32]), DEVICE, [1; 8], PacketKeys { first, keys }, addrs).unwrap()
    }

    fn sound(count: usize) -> Vec<[u8; 32]> {
        (0..count).map(|_| MixSecret::generate(&mut rand::rng()).public().0).collect()
    }

    #[test]
    fn only_a_mix_with_keys_for_the_coming_hours_is_listed() {
        assert_eq!(check_mix(&info(PRESENT.0, sound(13)), DEVICE, PRESENT), Ok(()));
        assert_eq!(check_mix(&info(PRESENT.0 - 1, sound(13)), DEVICE, PRESENT), Ok(()), "its hour has just turned");
        for (first, keys) in
            [(PRESENT.0 - 3, sound(13)), (PRESENT.0 + 1, sound(13)), (PRESENT.0, sound(2)), (PRESENT.0, sound(17))]
        {
            assert_eq!(check_mix(&info(first, keys), DEVICE, PRESENT), Err(NotListed::Epochs));
        }
        let mut weak = sound(13);
        weak[12] = [0; 32];
        assert_eq!(check_mix(&info(PRESENT.0, weak), DEVICE, PRESENT), Err(NotListed::PacketKey));
        assert_eq!(check_mix(&info(PRESENT.0, sound(13)), DeviceId([2; 32]), PRESENT), Err(NotListed::NotIts));
    }

    #[test]
    fn a_new_life_ends_the_old_one() {
        let directory = crate::directory::tests::directory(&SecretKey::from_bytes(&[1; 32]), true, 5);
        let before = lives(Some(&directory));
        let mut later = directory.clone();
        later.mixes[0].packet_keys.first += 1;
        later.mixes[1].reliability = 600;
        assert!(!lives_ended(&before, &lives(Some(&later))), "new hours' keys end no life");
        assert!(later.mixes.iter().zip(&directory.mixes).all(|(a, b)| a.same_mix(b)));
        later.mixes[0].life = [9; 8];
        assert!(lives_ended(&before, &lives(Some(&later))) && !later.mixes[0].same_mix(&directory.mixes[0]));
        assert!(lives_ended(&before, &lives(None)));
    }
}
