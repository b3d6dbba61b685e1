//! X25519 keys of mixes, and the keys of one hop derived from a shared secret.

use crate::{Refusal, x25519};
use rand::CryptoRng;
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A mix's secret packet key.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MixSecret([u8; 32]);

/// A mix's public packet key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MixPublic(pub [u8; 32]);

impl MixPublic {
    /// Whether packets can be built for it: a key of small order gives everybody the same "secret", so nothing is built for one.
    pub fn is_sound(&self) -> bool {
        // Any scalar shows it: clamping makes each a multiple of eight, the order of every small subgroup.
        x25519::exchange(&[9; 32], &self.0).is_some()
    }
}

impl MixSecret {
    /// A fresh key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut secret = Self([0; 32]);
        rng.fill_bytes(&mut secret.0);
        secret
    }

    /// The key with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its public part.
    pub fn public(&self) -> MixPublic {
        MixPublic(x25519::public_key(&self.0))
    }

    /// The keys that we and the holder of `public` share for one hop: `alpha` is the ephemeral key of the two and `mix` the mix's, whichever
    /// of them is ours.
    pub(crate) fn hop_keys(&self, public: &[u8; 32], alpha: &[u8; 32], mix: &MixPublic) -> Result<HopKeys, Refusal> {
        let shared = x25519::exchange(&self.0, public).ok_or(Refusal::SmallOrder)?;
        Ok(HopKeys::derive(&shared, alpha, mix))
    }
}

impl fmt::Debug for MixSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MixSecret(…)")
    }
}

/// What one hop's work needs, all from one secret.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct HopKeys {
    /// ChaCha20 key of β.
    pub(crate) route: [u8; 32],
    /// BLAKE3 key of γ.
    pub(crate) mac: [u8; 32],
    /// Key of the body's layer.
    pub(crate) body: [u8; 32],
    /// What the mix remembers of the packet.
    pub(crate) replay_tag: [u8; 16],
}

impl HopKeys {
    /// BLAKE3 in its key-derivation mode over secret, α and the hop's public key (so that keys are bound to this α and this mix).
    fn derive(shared: &Zeroizing<[u8; 32]>, alpha: &[u8; 32], mix: &MixPublic) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("fogbank sphinx 1 hop keys");
        hasher.update(&shared[..]).update(alpha).update(&mix.0);
        let mut keys = Self { route: [0; 32], mac: [0; 32], body: [0; 32], replay_tag: [0; 16] };
        let mut out = hasher.finalize_xof();
        out.fill(&mut keys.route);
        out.fill(&mut keys.mac);
        out.fill(&mut keys.body);
        out.fill(&mut keys.replay_tag);
        hasher.zeroize();
        out.zeroize();
        keys
    }
}
