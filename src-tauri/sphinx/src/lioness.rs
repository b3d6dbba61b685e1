//! The body's layer: LIONESS (Anderson and Biham 1996), a wide-block permutation from ChaCha20 and keyed BLAKE3.
//!
//! With body = L ‖ R, L of 32 bytes: R ⊕= S(L ⊕ k₁); L ⊕= H(k₂, R); R ⊕= S(L ⊕ k₃); L ⊕= H(k₄, R). Changing one bit of the result
//! makes every bit of the inverse random, so a tag put on a packet leaves noise at its end and at most the one bit that it was tagged.

use chacha20::{
    ChaCha20,
    cipher::{KeyIvInit, StreamCipher},
};
use zeroize::{Zeroize, ZeroizeOnDrop};

const LEFT_BYTES: usize = 32;

/// The four round keys of one layer.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Lioness([[u8; 32]; 4]);

impl Lioness {
    /// Round keys from one key.
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("fogbank sphinx 1 body layer");
        hasher.update(key);
        let mut out = hasher.finalize_xof();
        let mut keys = [[0; 32]; 4];
        for key in &mut keys {
            out.fill(key);
        }
        Self(keys)
    }

    /// Puts the layer on.
    pub(crate) fn seal(&self, body: &mut [u8]) {
        let (left, right) = body.split_at_mut(LEFT_BYTES);
        stream(left, &self.0[0], right);
        hash(&self.0[1], right, left);
        stream(left, &self.0[2], right);
        hash(&self.0[3], right, left);
    }

    /// Takes the layer off.
    pub(crate) fn peel(&self, body: &mut [u8]) {
        let (left, right) = body.split_at_mut(LEFT_BYTES);
        hash(&self.0[3], right, left);
        stream(left, &self.0[2], right);
        hash(&self.0[1], right, left);
        stream(left, &self.0[0], right);
    }
}

fn stream(left: &[u8], key: &[u8; 32], right: &mut [u8]) {
    let mut mixed = *key;
    xor(&mut mixed, left);
    apply_stream(&mixed, right);
    mixed.zeroize();
}

fn hash(key: &[u8; 32], right: &[u8], left: &mut [u8]) {
    xor(left, blake3::keyed_hash(key, right).as_bytes());
}

/// XORs the ChaCha20 key stream of a key that is used once (so the nonce is zero).
pub(crate) fn apply_stream(key: &[u8; 32], bytes: &mut [u8]) {
    ChaCha20::new(key.into(), &[0; 12].into()).apply_keystream(bytes);
}

fn xor(to: &mut [u8], with: &[u8]) {
    for (to, with) in to.iter_mut().zip(with) {
        *to ^= with;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn peel_undoes_seal_and_one_bit_garbles_all(key: [u8; 32], body in proptest::collection::vec(any::<u8>(), 200..400), bit in 0usize..1600) {
            let layer = Lioness::new(&key);
            let mut sealed = body.clone();
            layer.seal(&mut sealed);
            let mut back = sealed.clone();
            layer.peel(&mut back);
            prop_assert_eq!(&back, &body);
            sealed[bit / 8] ^= 1 << (bit % 8);
            layer.peel(&mut sealed);
            let same = sealed.iter().zip(&body).filter(|(a, b)| a == b).count();
            prop_assert!(same < body.len() / 8, "{same} of {} bytes stayed", body.len());
        }
    }
}
