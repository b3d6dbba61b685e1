//! The shared random value of a period, drawn by the fog and its witnesses together.
//!
//! Each signer derives a *reveal* for each fog and period from a secret of its own, and its *commitment*, the reveal's hash, stands in that fog's
//! directories of the period before. When the period has begun by its own clock, and not earlier, a signer hands its reveal out. The value is
//! a hash of all reveals whose commitments stood, and stays for the period.
//!
//! What that gives, and what not. Nobody knows the value before the period as long as one signer whose part is in it is honest: with that part
//! missing every value is equally likely. Nobody chooses it freely: a part is fixed before any other is known. But a part can be *left
//! out*: a signer that knows all others may withhold its own, and the fog's allocator, which collects them, may say that witnesses were away, down
//! to as many as must sign. Each part that can be left out is one bit: a coalition picks among 2^k values, none of which it knew before. The
//! value salts the ring of descriptors, where that lets it try 2^k rings for one on which its mixes lie well, with mixes that were listed
//! before the period began (those that come later do not stand on it).
//!
//! The first directory of a fog, and the first after it was silent for a whole period, have no commitment to go by: the fog's own part is the value.
//! Pure. Deliberately absent: asking for parts (the allocator).

use super::Directory;
use crate::address::Period;
use fogbank_model::FogId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Parts of each kind at most: every witness and the fog itself.
pub const MAX_PARTS: usize = super::MAX_FEDERATED + 1;

/// The parts of a draw as a directory shows them, each list sorted by signer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draw {
    /// What the value of this period is made of.
    pub reveals: Vec<(FogId, [u8; 32])>,
    /// Commitments to the next period's.
    pub commits: Vec<(FogId, [u8; 32])>,
}

/// What is remembered of a directory to judge the next one's draw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawn {
    period: Period,
    value: [u8; 32],
    commits: BTreeMap<FogId, [u8; 32]>,
}

/// Why a draw is not right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DrawError {
    /// Not the hash of the parts.
    #[error("its shared random value does not follow from the parts that it shows")]
    Value,
    /// Another one in the same period.
    #[error("its shared random value is another than before in the same two days")]
    Changed,
    /// A part that nobody was bound to.
    #[error("a part of its shared random value was not fixed before the two days began")]
    Unbound,
    /// Too few witnesses' parts.
    #[error("its shared random value has parts of {given} witnesses, and {needed} are needed")]
    TooFew {
        /// How many are in.
        given: usize,
        /// How many must be.
        needed: usize,
    },
}

/// What a signer adds to a fog's value of a period.
pub fn reveal(secret: &[u8; 32], fog: &FogId, period: Period) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("fogbank 2026 part of a shared random value");
    hasher.update(secret).update(&fog.0).update(&period.0.to_be_bytes());
    *hasher.finalize().as_bytes()
}

/// What binds a signer to its reveal.
pub fn commit(reveal: &[u8; 32]) -> [u8; 32] {
    blake3::derive_key("fogbank 2026 commitment to a part of a shared random value", reveal)
}

impl Draw {
    /// The value that these reveals make for a fog's period.
    pub fn value(&self, fog: &FogId, period: Period) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("fogbank 2026 shared random value of a period");
        hasher.update(&fog.0).update(&period.0.to_be_bytes());
        for (signer, reveal) in &self.reveals {
            hasher.update(&signer.0).update(reveal);
        }
        *hasher.finalize().as_bytes()
    }

    /// Whether it is within bounds and sorted.
    pub(super) fn is_sound(&self) -> bool {
        let sound = |parts: &[(FogId, [u8; 32])]| parts.len() <= MAX_PARTS && parts.is_sorted_by(|a, b| a.0 < b.0);
        sound(&self.reveals) && sound(&self.commits)
    }

    /// What a signer is committed to.
    pub fn committed(&self, signer: &FogId) -> Option<[u8; 32]> {
        self.commits.iter().find(|(of, _)| of == signer).map(|(_, commit)| *commit)
    }
}

impl Drawn {
    /// What is remembered of a directory.
    pub fn of(directory: &Directory) -> Self {
        Self {
            period: Period::at(directory.made),
            value: directory.shared_random,
            commits: directory.draw.commits.iter().copied().collect(),
        }
    }

    /// The commitments that bind a period's parts, when any do.
    pub fn standing(&self, period: Period) -> Option<&BTreeMap<FogId, [u8; 32]>> {
        (self.period.next() == period && !self.commits.is_empty()).then_some(&self.commits)
    }

    /// Whether the draw of a directory is right after this one. `needed` witnesses' parts must be in, or as many as were committed.
    ///
    /// # Errors
    /// When not, and why.
    pub fn leads_to(&self, next: &Directory, needed: u8) -> Result<(), DrawError> {
        let period = Period::at(next.made);
        if next.shared_random != next.draw.value(&next.fog, period) {
            return Err(DrawError::Value);
        }
        if period == self.period {
            return if next.shared_random == self.value { Ok(()) } else { Err(DrawError::Changed) };
        }
        let Some(standing) = self.standing(period) else { return Ok(()) };
        if next.draw.reveals.iter().any(|(signer, part)| standing.get(signer) != Some(&commit(part))) {
            return Err(DrawError::Unbound);
        }
        // Former witnesses are not asked any more.
        let witnesses = standing.keys().filter(|signer| next.charter.keys.contains(signer)).count();
        let needed = usize::from(needed).min(witnesses);
        let given = next.draw.reveals.iter().filter(|(signer, _)| next.charter.keys.contains(signer)).count();
        // Without any part the value would be known years ahead.
        if given < needed || next.draw.reveals.is_empty() {
            return Err(DrawError::TooFew { given, needed: needed.max(1) });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::tests::{MADE, directory};
    use fogbank_model::UnixMs;
    use iroh::SecretKey;
    use proptest::prelude::*;

    /// Secrets of the fog (0) and its witnesses.
    fn secret(n: u8) -> [u8; 32] {
        [n + 100; 32]
    }

    fn signer(fog: &FogId, n: u8) -> FogId {
        if n == 0 { *fog } else { FogId([n; 32]) }
    }

    /// A directory made then, with the reveals of some and the commitments of others.
    fn drawn(made: UnixMs, reveals: &[u8], commits: &[u8]) -> Directory {
        let key = SecretKey::from_bytes(&[1; 32]);
        let mut of = directory(&key, true, 4);
        of.charter.keys = [1, 2, 3].map(|n| FogId([n; 32])).to_vec();
        (of.made, of.expires) = (made, made.plus(crate::directory::DIRECTORY_LIFE));
        let (fog, period) = (of.fog, Period::at(made));
        of.draw.reveals = reveals.iter().map(|n| (signer(&fog, *n), reveal(&secret(*n), &fog, period))).collect();
        of.draw.commits = commits.iter().map(|n| (signer(&fog, *n), commit(&reveal(&secret(*n), &fog, period.next())))).collect();
        of.draw.reveals.sort_unstable();
        of.draw.commits.sort_unstable();
        of.shared_random = of.draw.value(&fog, period);
        of
    }

    const NEXT: UnixMs = UnixMs(MADE.0 + 2 * 24 * 3_600_000);

    #[test]
    fn a_value_is_made_of_parts_that_were_fixed_before() {
        let before = drawn(MADE, &[0], &[0, 1, 2]);
        let known = Drawn::of(&before);
        assert_eq!(known.leads_to(&drawn(NEXT, &[0, 1, 2], &[0, 1, 2]), 2), Ok(()));
        assert_eq!(known.leads_to(&drawn(NEXT, &[0, 2], &[0, 1, 2]), 1), Ok(()), "one was away");
        assert_eq!(known.leads_to(&drawn(NEXT, &[1], &[]), 1), Ok(()), "even the fog itself may leave its own out");
        assert_eq!(known.leads_to(&drawn(NEXT, &[0, 2], &[]), 2), Err(DrawError::TooFew { given: 1, needed: 2 }));
        assert_eq!(known.leads_to(&drawn(NEXT, &[], &[]), 0), Err(DrawError::TooFew { given: 0, needed: 1 }));
        assert_eq!(known.leads_to(&drawn(NEXT, &[0, 1, 2, 3], &[]), 2), Err(DrawError::Unbound), "a newcomer waits");
        let mut other = drawn(NEXT, &[0, 1, 2], &[]);
        other.draw.reveals[1].1 = [9; 32];
        assert_eq!(known.leads_to(&other, 2), Err(DrawError::Value));
        other.shared_random = other.draw.value(&other.fog, Period::at(NEXT));
        assert_eq!(known.leads_to(&other, 2), Err(DrawError::Unbound));
        other.shared_random = [7; 32];
        assert_eq!(known.leads_to(&other, 2), Err(DrawError::Value));
    }

    #[test]
    fn it_stays_for_its_period_and_begins_anew_after_silence() {
        let known = Drawn::of(&drawn(MADE, &[0, 1], &[0, 1]));
        let later = UnixMs(MADE.0 + 60_000);
        assert_eq!(Period::at(later), Period::at(MADE));
        assert_eq!(known.leads_to(&drawn(later, &[0, 1], &[0, 1, 2]), 1), Ok(()));
        assert_eq!(known.leads_to(&drawn(later, &[0], &[0, 1]), 1), Err(DrawError::Changed));
        let silent = UnixMs(NEXT.0 + 2 * 24 * 3_600_000);
        assert_eq!(known.leads_to(&drawn(silent, &[0], &[0, 1]), 1), Ok(()));
    }

    #[test]
    fn parts_differ_by_fog_and_period_and_hide_behind_their_commitments() {
        let (a, b, period) = (FogId([1; 32]), FogId([2; 32]), Period(9));
        let part = reveal(&secret(1), &a, period);
        assert_ne!(part, reveal(&secret(1), &b, period), "a draw of one fog tells nothing of another's");
        assert_ne!(part, reveal(&secret(1), &a, period.next()));
        assert_ne!(commit(&part), part);
    }

    proptest! {
        /// All parts but one tell nothing: with another honest part the value is another, so it can't be computed before that part is known.
        #[test]
        fn nothing_follows_from_all_parts_but_one(secrets in prop::collection::vec(any::<[u8; 32]>(), 2..6), honest: usize, other: [u8; 32]) {
            let (fog, period) = (FogId([1; 32]), Period(9));
            let honest = honest % secrets.len();
            prop_assume!(secrets[honest] != other);
            let value = |secrets: &[[u8; 32]]| {
                let reveals = secrets.iter().zip(1u8..).map(|(s, n)| (FogId([n; 32]), reveal(s, &fog, period))).collect();
                Draw { reveals, commits: Vec::new() }.value(&fog, period)
            };
            let mut changed = secrets.clone();
            changed[honest] = other;
            prop_assert_ne!(value(&secrets), value(&changed));
        }

        /// Whoever leaves parts out has as many values to choose from as there are subsets, and no more.
        #[test]
        fn a_coalition_has_one_bit_for_each_part_that_it_can_leave_out(needed in 0u8..4) {
            let known = Drawn::of(&drawn(MADE, &[0], &[0, 1, 2, 3]));
            let mut values = std::collections::HashSet::new();
            for bits in 0..16u8 {
                let reveals: Vec<u8> = (0..4).filter(|n| bits >> n & 1 == 1).collect();
                let next = drawn(NEXT, &reveals, &[]);
                if known.leads_to(&next, needed).is_ok() {
                    values.insert(next.shared_random);
                }
            }
            let choose = [1usize, 3, 3, 1];
            let subsets: usize = (usize::from(needed)..=3).map(|of| choose[of]).sum();
            prop_assert_eq!(values.len(), 2 * subsets - usize::from(needed == 0));
        }
    }
}
