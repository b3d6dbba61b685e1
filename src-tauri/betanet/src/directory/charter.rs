//! Who must countersign a fog's directory, and how that changes hands.
//!
//! A fog alone signs its directory alone. Once it is federated, its *charter* names the fogs that witness it and how many of them must have
//! signed. Whoever believes one charter believes another only by a *handover*: a statement that the fog signed, as many witnesses of the
//! former charter as that one asked for, and as many of the new one as it asks for (as a group changes its members jointly). So who steals the
//! fog's key can neither lower the number nor name other witnesses.
//!
//! Invariants: numbers of charters rise; one number means one charter to each witness; a charter that asks for nobody is followed by any that
//! its own witnesses signed.
//! How many, see [`Charter::usual`]. Two lists under one name (one for a victim, one for all others) are shut out only where
//! [`Charter::one_view`] holds: then any two sets of enough witnesses share one, and each signs a serial once.
//! Deliberately absent: what a witness looks at ([`super::witness`]), and the asking (the allocator).

use super::MAX_FEDERATED;
use fogbank_model::FogId;
use fogbank_wire::{Countersigned, FrameError, SignedError};
use iroh::SecretKey;
use serde::{Deserialize, Serialize};

/// Handovers that a directory carries: a node that missed more changes of witnesses than this, one after the other, must join anew. Each is
/// 4 KiB at most.
pub const MAX_HANDOVERS: usize = 8;
/// What a fog and witnesses sign a handover as.
pub const HANDOVER: &str = "fogbank charter 1";

/// Who witnesses a fog, and how many of them must have signed. The default is nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charter {
    /// Rises with each change.
    pub number: u64,
    /// The witnesses, sorted, without the fog itself.
    pub keys: Vec<FogId>,
    /// How many of them must have signed, besides the fog itself.
    pub needed: u8,
}

/// What a handover says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Succession {
    /// Whose charter.
    pub fog: FogId,
    /// The number of the charter before.
    pub after: u64,
    /// The new one.
    pub charter: Charter,
}

/// A succession as it travels.
pub type Handover = Countersigned<Succession>;

/// Why a charter is not believed where another one was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CharterError {
    /// Of before.
    #[error("its witnesses are those of before: number {theirs}, and {known} is known")]
    Older {
        /// Its number.
        theirs: u64,
        /// The known one's.
        known: u64,
    },
    /// Another under the same number.
    #[error("it names other witnesses under the same number {0}: somebody signs two lists with the fog's key")]
    Other(u64),
    /// No handover leads to it.
    #[error("the witnesses that are known did not sign the change to other ones (number {known} to {theirs})")]
    Unproven {
        /// Its number.
        theirs: u64,
        /// The known one's.
        known: u64,
    },
}

impl Charter {
    /// How many of so many witnesses are asked for unless the operator says otherwise: a majority of them, so that no two lists are both
    /// signed, but always one fewer than there are, so that no single fog's end is the end of another. With two witnesses that leaves one, and
    /// with one none (it signs, and nobody insists on it).
    pub fn usual(witnesses: usize) -> u8 {
        let number = (witnesses / 2 + 1).min(witnesses.saturating_sub(1));
        u8::try_from(number).unwrap_or(u8::MAX)
    }

    /// Whether any two sets of enough witnesses share one. A witness signs each serial once, so nobody can be shown a list of his own then, as
    /// long as no witness is false itself.
    pub fn one_view(&self) -> bool {
        2 * usize::from(self.needed) > self.keys.len()
    }

    /// Whether it keeps the rules.
    ///
    /// # Errors
    /// Which one it breaks.
    pub fn check(&self, fog: &FogId) -> Result<(), &'static str> {
        if self.keys.len() > MAX_FEDERATED {
            return Err("it names too many witnesses");
        }
        if !self.keys.is_sorted_by(|a, b| a < b) {
            return Err("its witnesses are not sorted, or one is named twice");
        }
        if self.keys.contains(fog) {
            return Err("it names itself as its witness");
        }
        if usize::from(self.needed) > self.keys.len() {
            return Err("it needs more witnesses than it names");
        }
        Ok(())
    }

    /// Whether enough of its witnesses signed a statement.
    pub fn is_met<T>(&self, statement: &Countersigned<T>, context: &str) -> bool {
        self.needed == 0 || statement.signed_by(&self.keys, context) >= usize::from(self.needed)
    }

    /// A handover from this charter to another, signed by the fog alone as yet.
    ///
    /// # Errors
    /// When it does not serialise.
    pub fn hand_over(&self, charter: Self, fog: &SecretKey) -> Result<Handover, FrameError> {
        let succession = Succession { fog: FogId(*fog.public().as_bytes()), after: self.number, charter };
        Handover::seal(fog, HANDOVER, &succession)
    }

    /// Whether a handover leads from this charter to the one that it names: signed by the fog, by enough of this one and by enough of the next.
    /// `None` when not.
    pub fn handed_over(&self, fog: &FogId, handover: &Handover) -> Option<Self> {
        let next = read(fog, handover).ok().filter(|next| next.after == self.number)?.charter;
        (self.is_met(handover, HANDOVER) && next.is_met(handover, HANDOVER)).then_some(next)
    }

    /// Whether who believes this charter believes a directory's, by the handovers that it carries, oldest first. The directory's own witnesses
    /// have been counted before. Checks a bounded number of signatures, and only when the charter changed.
    ///
    /// # Errors
    /// When not, and why.
    pub fn believes(&self, fog: &FogId, theirs: &Self, handovers: &[Handover]) -> Result<(), CharterError> {
        let (known, number) = (self.number, theirs.number);
        if self == theirs {
            return Ok(());
        }
        if number < known {
            return Err(CharterError::Older { theirs: number, known });
        }
        if number == known {
            return Err(CharterError::Other(number));
        }
        // One that asks for nobody protects nobody.
        if self.needed == 0 {
            return Ok(());
        }
        let mut current = self.clone();
        for handover in handovers.iter().take(MAX_HANDOVERS) {
            if let Some(next) = current.handed_over(fog, handover) {
                if next == *theirs {
                    return Ok(());
                }
                current = next;
                // From here on anybody may follow, as above.
                if current.needed == 0 && current.number < number {
                    return Ok(());
                }
            }
        }
        Err(CharterError::Unproven { theirs: number, known })
    }
}

/// What a handover says, when this fog signed it and the charter keeps the rules.
///
/// # Errors
/// When it did not, or the charter does not.
pub fn read(fog: &FogId, handover: &Handover) -> Result<Succession, HandoverError> {
    let said = handover.open(fog, HANDOVER).map_err(HandoverError::NotTheFogs)?;
    said.charter.check(fog).map_err(HandoverError::Rule)?;
    if said.fog != *fog || said.charter.number <= said.after {
        return Err(HandoverError::Rule("its number does not rise, or it is another fog's"));
    }
    Ok(said)
}

/// Why bytes are no handover.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The fog did not sign it.
    #[error("the change of witnesses is not signed by this fog: {0}")]
    NotTheFogs(#[source] SignedError),
    /// Signed, but breaking a rule.
    #[error("the change of witnesses breaks a rule: {0}")]
    Rule(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(n: u8) -> SecretKey {
        SecretKey::from_bytes(&[n; 32])
    }

    fn id(n: u8) -> FogId {
        FogId(*key(n).public().as_bytes())
    }

    fn charter(number: u64, of: &[u8], needed: u8) -> Charter {
        let mut keys: Vec<FogId> = of.iter().map(|n| id(*n)).collect();
        keys.sort_unstable();
        Charter { number, keys, needed }
    }

    /// The fog is number 1.
    fn handover(from: &Charter, to: &Charter, signers: &[u8]) -> Handover {
        let mut handover = from.hand_over(to.clone(), &key(1)).unwrap();
        for n in signers {
            assert!(handover.add(handover.countersign(&key(*n), HANDOVER), HANDOVER));
        }
        handover
    }

    #[test]
    fn one_witness_may_always_be_away_and_from_three_on_no_two_lists_are_signed() {
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 15].map(Charter::usual), [0, 0, 1, 2, 3, 3, 4, 8]);
        for witnesses in 1..=MAX_FEDERATED {
            let needed = Charter::usual(witnesses);
            assert!(usize::from(needed) < witnesses);
            let keys = (0..witnesses).map(|n| FogId([n as u8 + 10; 32])).collect();
            assert_eq!(Charter { number: 1, keys, needed }.one_view(), witnesses >= 3);
        }
    }

    #[test]
    fn rules_of_a_charter() {
        assert!(charter(1, &[2, 3], 2).check(&id(1)).is_ok());
        assert!(charter(1, &[1, 2], 1).check(&id(1)).unwrap_err().contains("itself"));
        assert!(charter(1, &[2, 2], 1).check(&id(1)).unwrap_err().contains("twice"));
        assert!(charter(1, &[2], 2).check(&id(1)).unwrap_err().contains("needs more"));
        let many: Vec<u8> = (2..2 + MAX_FEDERATED as u8 + 1).collect();
        assert!(charter(1, &many, 1).check(&id(1)).unwrap_err().contains("too many"));
    }

    #[test]
    fn a_stolen_fog_key_alone_changes_no_charter() {
        let old = charter(1, &[2, 3, 4], 2);
        // Whatever the thief (1, with fogs 11 to 13 of its own) writes and signs alone, or with one false witness.
        for new in [charter(2, &[], 0), charter(2, &[2, 3, 4], 0), charter(2, &[11, 12, 13], 2), charter(9, &[2, 11], 1)] {
            for signers in [&[][..], &[2], &[11, 12, 13], &[2, 11, 12]] {
                let handovers = [handover(&old, &new, signers)];
                assert!(
                    matches!(old.believes(&id(1), &new, &handovers), Err(CharterError::Unproven { .. })),
                    "{new:?} by {signers:?}"
                );
            }
        }
        assert!(matches!(old.believes(&id(1), &Charter::default(), &[]), Err(CharterError::Older { .. })));
        let same_number = charter(1, &[2, 3, 4], 1);
        let signed = [handover(&charter(0, &[], 0), &same_number, &[2, 3, 4])];
        assert_eq!(old.believes(&id(1), &same_number, &signed), Err(CharterError::Other(1)));
    }

    #[test]
    fn both_sides_of_a_change_must_have_signed() {
        let (old, new) = (charter(1, &[2, 3, 4], 2), charter(2, &[4, 5, 6], 2));
        let believed = |signers: &[u8]| old.believes(&id(1), &new, &[handover(&old, &new, signers)]).is_ok();
        assert!(believed(&[2, 3, 5, 6]) && believed(&[2, 4, 5]), "4 is of both");
        assert!(!believed(&[2, 3]) && !believed(&[5, 6]) && !believed(&[2, 5, 6]));
        // Signed by another fog's key.
        let mut foreign = old.hand_over(new.clone(), &key(9)).unwrap();
        for n in [2, 3, 5, 6] {
            foreign.add(foreign.countersign(&key(n), HANDOVER), HANDOVER);
        }
        assert!(old.believes(&id(1), &new, &[foreign]).is_err());
    }

    #[test]
    fn who_was_away_follows_the_chain_and_skips_nothing() {
        let chain = [
            charter(0, &[], 0),
            charter(3, &[2, 3], 1),
            charter(4, &[2, 3, 4], 2),
            charter(7, &[4, 5, 6], 2),
            charter(8, &[5, 6], 1),
        ];
        let all = [2, 3, 4, 5, 6];
        let handovers: Vec<Handover> = chain.windows(2).map(|w| handover(&w[0], &w[1], &all)).collect();
        for known in &chain {
            for next in chain.iter().filter(|c| c.number >= known.number) {
                assert_eq!(known.believes(&id(1), next, &handovers), Ok(()), "{} to {}", known.number, next.number);
            }
        }
        let gap = [handovers[1].clone(), handovers[3].clone()];
        assert!(chain[1].believes(&id(1), &chain[4], &gap).is_err());
        assert_eq!(chain[0].believes(&id(1), &chain[4], &gap), Ok(()), "whoever had no witness trusts at first use");
    }

    proptest! {
        /// A handover is followed if and only if the fog, enough of the old and enough of the new signed.
        #[test]
        fn exactly_the_joint_rule(old in 1u16..256, new in 0u16..256, signed: u16, a in 1u8..9, b in 0u8..9) {
            let of = |bits: u16| (0..8u8).filter(|n| bits >> n & 1 == 1).map(|n| n + 2).collect::<Vec<u8>>();
            let (old_keys, new_keys, signers) = (of(old), of(new), of(signed & 255));
            let (a, b) = (a.min(old_keys.len() as u8), b.min(new_keys.len() as u8));
            let (from, to) = (charter(1, &old_keys, a), charter(2, &new_keys, b));
            let count = |keys: &[u8]| keys.iter().filter(|n| signers.contains(n)).count();
            let enough = count(&old_keys) >= usize::from(a) && count(&new_keys) >= usize::from(b);
            let believed = from.believes(&id(1), &to, &[handover(&from, &to, &signers)]).is_ok();
            prop_assert_eq!(believed, enough);
        }
    }
}
