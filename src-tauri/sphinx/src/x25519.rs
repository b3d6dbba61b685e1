//! X25519 (RFC 7748) behind one pair of functions, so that nothing else knows by which library it is computed.
//!
//! Two backends, which a test holds to the same answers: *graviola*, where its assembler (s2n-bignum's, formally proven) has the processor
//! that it needs, found out at run time; *x25519-dalek* everywhere else. Chosen by measurement: microseconds of CPU time for one operation,
//! median of 21 rounds in turn on one x86-64 machine with ADX (`sphinx.dh_us` and `sphinx.dh_vs_dalek` of `make bench` measure anew):
//!
//! | | agree | public key | secret from bytes | builds with |
//! |---|---|---|---|---|
//! | x25519-dalek 3.0 | 52.5 | 16.4 (52.5 by the ladder) | 0 | rustc |
//! | aws-lc-rs 1.19 | 24.4 | within the next | 7.4 | a C compiler, on Windows NASM too; a minute of one core |
//! | graviola 0.4 | 24.1 | 7.1 | 0 | rustc; seconds |
//!
//! aws-lc-rs computes by the same assembler, so it is no quicker once a key is loaded, and slower for ephemeral keys; it would need a C
//! toolchain for each target. graviola is the younger library; of it we use these two functions alone.
//!
//! Invariant: an all-zero secret is never returned, whichever backend computed it. Secrets are wiped. Deliberately absent: *ring*, which
//! makes no agreement with a key from bytes.

use zeroize::Zeroizing;

/// What two keys agree on, or `None` when it is all zeros: then the public key is of small order and everybody knows the "secret"
/// (RFC 7748, section 6.1). The public key's highest bit is ignored and a coordinate of 2²⁵⁵−19 or more is reduced, as the RFC has it.
pub fn exchange(secret: &[u8; 32], public: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    if quick::is_possible() {
        return quick::exchange(secret, public);
    }
    portable::exchange(secret, public)
}

/// The public key of a secret.
pub fn public_key(secret: &[u8; 32]) -> [u8; 32] {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    if quick::is_possible() {
        return quick::public_key(secret);
    }
    portable::public_key(secret)
}

/// Which library computes on this processor.
pub fn backend() -> &'static str {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    if quick::is_possible() {
        return "graviola";
    }
    "x25519-dalek"
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod quick {
    use graviola::key_agreement::x25519::{PublicKey, StaticPrivateKey};
    use zeroize::Zeroizing;

    /// Whether this processor has the instructions; without them graviola panics. The answer is remembered by the standard library.
    pub(super) fn is_possible() -> bool {
        graviola::util::is_cpu_supported()
    }

    pub(super) fn exchange(secret: &[u8; 32], public: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        // It refuses all zeros itself.
        let agreed = StaticPrivateKey::from_array(secret).diffie_hellman(&PublicKey::from_array(public)).ok()?;
        Some(Zeroizing::new(agreed.0))
    }

    pub(super) fn public_key(secret: &[u8; 32]) -> [u8; 32] {
        StaticPrivateKey::from_array(secret).public_key().as_bytes()
    }
}

mod portable {
    use x25519_dalek::{PublicKey, StaticSecret};
    use zeroize::Zeroizing;

    pub(super) fn exchange(secret: &[u8; 32], public: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        let agreed = StaticSecret::from(*secret).diffie_hellman(&PublicKey::from(*public));
        agreed.was_contributory().then(|| Zeroizing::new(agreed.to_bytes()))
    }

    pub(super) fn public_key(secret: &[u8; 32]) -> [u8; 32] {
        PublicKey::from(&StaticSecret::from(*secret)).to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Exchange = fn(&[u8; 32], &[u8; 32]) -> Option<Zeroizing<[u8; 32]>>;
    type Public = fn(&[u8; 32]) -> [u8; 32];

    /// Every backend that runs here.
    fn backends() -> Vec<(Exchange, Public)> {
        let mut all: Vec<(Exchange, Public)> = vec![(portable::exchange, portable::public_key), (exchange, public_key)];
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        if quick::is_possible() {
            all.push((quick::exchange, quick::public_key));
        }
        all
    }

    fn bytes(hex: &str) -> [u8; 32] {
        let digit = |i: usize| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap();
        std::array::from_fn(digit)
    }

    /// 2²⁵⁵ − 19 + `more`, little-endian.
    fn prime_and(more: u8) -> [u8; 32] {
        let mut p = [0xff; 32];
        (p[0], p[31]) = (0xed + more, 0x7f);
        p
    }

    #[test]
    fn the_rfcs_vectors_come_out() {
        let vectors = [
            (
                "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
                "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
                "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
            ),
            // This point has the highest bit set.
            (
                "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
                "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
                "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
            ),
        ];
        for (exchange, public) in backends() {
            for (secret, point, agreed) in vectors {
                assert_eq!(*exchange(&bytes(secret), &bytes(point)).unwrap(), bytes(agreed));
            }
            // The iterated test of section 5.2.
            let mut nine = [0; 32];
            nine[0] = 9;
            assert_eq!(public(&nine), bytes("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"));
            let (mut k, mut u) = (nine, nine);
            for _ in 0..1_000 {
                (k, u) = (*exchange(&k, &u).unwrap(), k);
            }
            assert_eq!(k, bytes("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"));
        }
    }

    #[test]
    fn points_of_small_order_are_refused_by_each() {
        let orders_1_to_8 = [
            [0; 32],
            bytes("0100000000000000000000000000000000000000000000000000000000000000"),
            bytes("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
            bytes("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
            bytes("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
            prime_and(0),
            prime_and(1),
        ];
        for (exchange, _) in backends() {
            for mut point in orders_1_to_8 {
                assert!(exchange(&[9; 32], &point).is_none(), "{point:02x?}");
                point[31] |= 0x80;
                assert!(exchange(&[9; 32], &point).is_none(), "{point:02x?}");
            }
        }
    }

    #[test]
    fn other_names_of_a_point_give_the_same() {
        // 2²⁵⁵−19+k names the point k, and the highest bit says nothing.
        for (exchange, _) in backends() {
            for k in 2..=18 {
                let mut point = [0; 32];
                point[0] = k;
                let agreed = exchange(&[7; 32], &point).unwrap();
                assert_eq!(exchange(&[7; 32], &prime_and(k)).unwrap(), agreed);
                point[31] = 0x80;
                assert_eq!(exchange(&[7; 32], &point).unwrap(), agreed);
            }
        }
    }

    proptest! {
        #[test]
        fn the_backends_agree(secret: [u8; 32], point: [u8; 32]) {
            let agreed = portable::exchange(&secret, &point);
            let public = portable::public_key(&secret);
            for (exchange, public_key) in backends() {
                prop_assert_eq!(exchange(&secret, &point), agreed.clone());
                prop_assert_eq!(public_key(&secret), public);
                let mut base = [0; 32];
                base[0] = 9;
                prop_assert_eq!(exchange(&secret, &base).map(|agreed| *agreed), Some(public));
            }
        }
    }
}
