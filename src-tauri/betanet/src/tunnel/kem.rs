//! The post-quantum half of the handshake: ML-KEM-768 (FIPS 203) with a key pair of one handshake, and the key that goes into Noise.
//!
//! Invariants: secrets are wiped when dropped; a key that FIPS 203 does not allow is refused; a ciphertext that was changed gives another key
//! and no error (implicit rejection), so that the failure shows as that of the Noise message behind it and tells nothing about which part was
//! wrong. Deliberately absent: who the other end is (Noise's, and so classical).

use ml_kem::{
    Decapsulate as _, DecapsulationKey, Encapsulate as _, EncapsulationKey, FromSeed as _, KeyExport as _, MlKem768, Seed,
};
use rand::CryptoRng;
use zeroize::{Zeroize as _, Zeroizing};

/// An encapsulation key on the wire: FIPS 203, table 3.
pub(super) const KEY_BYTES: usize = 1_184;
/// A ciphertext on the wire: the same table.
pub(super) const CIPHERTEXT_BYTES: usize = 1_088;
const CONTEXT: &str = "fogbank tunnel 2 ml-kem-768 psk";

/// What both ends put into Noise.
pub(super) type Psk = Zeroizing<[u8; 32]>;

/// The visitor's key pair, of one handshake.
pub(super) struct KeyPair {
    secret: DecapsulationKey<MlKem768>,
    public: [u8; KEY_BYTES],
}

impl KeyPair {
    pub(super) fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Seed::default();
        rng.fill_bytes(&mut seed);
        let (secret, key) = MlKem768::from_seed(&seed);
        seed.zeroize();
        Self { secret, public: key.to_bytes().into() }
    }

    pub(super) fn public(&self) -> &[u8; KEY_BYTES] {
        &self.public
    }

    /// The key in a ciphertext. Any bytes give one; only those made for this key pair give the one that their maker has.
    pub(super) fn open(self, ciphertext: &[u8; CIPHERTEXT_BYTES]) -> Psk {
        let shared = Zeroizing::new(self.secret.decapsulate(&(*ciphertext).into()).into());
        psk(&shared, &self.public, ciphertext)
    }
}

/// A fresh key for the holder of a key pair, and the ciphertext that carries it; `None` when that is no key.
pub(super) fn seal(rng: &mut impl CryptoRng, key: &[u8; KEY_BYTES]) -> Option<([u8; CIPHERTEXT_BYTES], Psk)> {
    let (ciphertext, shared) = EncapsulationKey::<MlKem768>::new(&(*key).into()).ok()?.encapsulate_with_rng(rng);
    let (ciphertext, shared) = (ciphertext.into(), Zeroizing::new(shared.into()));
    Some((ciphertext, psk(&shared, key, &ciphertext)))
}

/// BLAKE3 in key-derivation mode over shared secret ‖ encapsulation key ‖ ciphertext, all of fixed length. Key and ciphertext are in it so
/// that the result is bound to this exchange whatever ML-KEM itself binds (Cremers, Dax and Medinger, *Keeping Up with the KEMs*, 2024).
fn psk(shared: &Zeroizing<[u8; 32]>, key: &[u8; KEY_BYTES], ciphertext: &[u8; CIPHERTEXT_BYTES]) -> Psk {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(&shared[..]).update(key).update(ciphertext);
    let psk = Zeroizing::new(*hasher.finalize().as_bytes());
    hasher.reset();
    psk
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{SeedableRng as _, rngs::StdRng};

    #[test]
    fn both_ends_get_one_key_and_anything_changed_another() {
        let rng = &mut rand::rng();
        let pair = KeyPair::generate(rng);
        let (ciphertext, ours) = seal(rng, pair.public()).unwrap();
        let public = *pair.public();
        assert_eq!(*pair.open(&ciphertext), *ours);

        let pair = KeyPair::generate(rng);
        assert_ne!(public, *pair.public());
        assert_ne!(*pair.open(&ciphertext), *ours, "another key pair read it");

        // The bound parts each change the result by themselves.
        let shared = Zeroizing::new([7; 32]);
        let whole = psk(&shared, &public, &ciphertext);
        assert_ne!(*psk(&Zeroizing::new([8; 32]), &public, &ciphertext), *whole);
        assert_ne!(*psk(&shared, &[1; KEY_BYTES], &ciphertext), *whole);
        assert_ne!(*psk(&shared, &public, &[1; CIPHERTEXT_BYTES]), *whole);
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        // Coefficients are twelve bits, and must be below 3,329.
        assert!(seal(&mut rand::rng(), &[255; KEY_BYTES]).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn foreign_bytes_never_panic(seed: u64, bit in 0..8 * CIPHERTEXT_BYTES) {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut key = [0; KEY_BYTES];
            rng.fill_bytes(&mut key);
            let _ = seal(&mut rand::rng(), &key);
            let mut noise = [0; CIPHERTEXT_BYTES];
            rng.fill_bytes(&mut noise);
            let _ = KeyPair::generate(&mut rand::rng()).open(&noise);

            let pair = KeyPair::generate(&mut rand::rng());
            let (mut ciphertext, ours) = seal(&mut rand::rng(), pair.public()).unwrap();
            ciphertext[bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(*pair.open(&ciphertext), *ours);
        }
    }
}
