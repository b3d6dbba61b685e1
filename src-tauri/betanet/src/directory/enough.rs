//! Whether there are mixes enough for an address to be opened at all. Fail closed.

use super::Directory;
use fogbank_model::MixId;
use std::{collections::HashSet, fmt};

/// Mixes enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usable {
    /// How many can be used.
    pub mixes: usize,
    /// How many must be.
    pub needed: usize,
    /// Of how many owners they are.
    pub owners: usize,
}

/// Too few mixes: opening an address now would not be private.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub struct NotPrivate {
    /// How many can be used.
    pub mixes: usize,
    /// How many must be.
    pub needed: usize,
    /// Of how many owners they are.
    pub owners: usize,
    /// Of how many they must be.
    pub owners_needed: usize,
}

impl fmt::Display for NotPrivate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mixes, needed, owners, owners_needed } = self;
        if mixes < needed {
            write!(f, "waiting for mixes: {mixes} of the {needed} needed are usable")
        } else {
            write!(f, "waiting for mixes of more people: {owners} of the {owners_needed} owners needed")
        }
    }
}

impl Directory {
    /// Mixes that a normal fog needs besides the own one: three for each side's legs and one to meet at.
    pub const NEEDED: usize = 7;
    /// Owners that a normal fog's mixes must have, so that no one or two people are a whole path.
    pub const OWNERS_NEEDED: usize = 4;
    /// Mixes that a test fog needs besides the own one: three hops and the mix at the end.
    pub const NEEDED_IN_TEST: usize = 4;

    /// Whether there are mixes enough without these (the own ones). Those that lose most of what is sent through them do not count.
    ///
    /// # Errors
    /// When there are not; then nothing may be opened.
    pub fn usable(&self, exclude: &[MixId]) -> Result<Usable, NotPrivate> {
        let usable = self.drawable().filter(|m| m.works() && !exclude.contains(&m.id));
        let (mixes, owners) = usable.fold((0, HashSet::new()), |(n, mut owners), m| {
            owners.insert(m.owner);
            (n + 1, owners)
        });
        let owners = owners.len();
        let (needed, owners_needed) = if self.test { (Self::NEEDED_IN_TEST, 1) } else { (Self::NEEDED, Self::OWNERS_NEEDED) };
        if mixes >= needed && owners >= owners_needed {
            Ok(Usable { mixes, needed, owners })
        } else {
            Err(NotPrivate { mixes, needed, owners, owners_needed })
        }
    }
}
