//! What a visitor remembers of those it met, while it runs: copies that lied, and the newest seal of each address.
//!
//! Invariants: a copy that lied once is not gone to again in that isolation; a seal older than one that was seen, or another of the same revision (a
//! publisher that was restored from a backup could sign one), is not taken; both memories
//! are bounded, and where one is full the new is refused rather than the old forgotten, so that nobody can make room for a lie.
//! What is seen in one isolation is not held against it in another: a host that is avoided there would know that the two are one.
//! Deliberately absent: keeping it beyond the program's end (it would be a history of visits).

use crate::seal::SiteSeal;
use fogbank_model::InstanceId;
use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Copies remembered to have lied, of one address in one isolation: all that a container can have, replaced many times over.
const MAX_LIARS: usize = 1_024;
/// How far the content of an address can be trusted, as its visitor has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// Not known yet.
    #[default]
    Unknown,
    /// It is an app: what its hosts serve can't be checked.
    Unchecked,
    /// It is a sealed site: every byte that is passed on is the publisher's.
    Checked,
    /// It is a sealed site, a copy was caught giving something else than its publisher signed, and no other one has been reached since.
    Broken,
}

/// What is remembered of one address in one isolation.
#[derive(Default)]
pub(super) struct Memory(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    trust: Trust,
    liars: HashSet<InstanceId>,
    caught: u32,
    /// The newest seal.
    newest: Option<SiteSeal>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it stands, and how many copies were caught.
    pub(super) fn view(&self) -> (Trust, u32) {
        let inside = self.lock();
        (inside.trust, inside.caught)
    }

    /// Whether this seal is the newest seen or newer, and so the newest from now on.
    pub(super) fn admit(&self, seal: &SiteSeal) -> bool {
        let mut inside = self.lock();
        match &inside.newest {
            Some(newest) if newest.revision >= seal.revision => newest == seal,
            _ => {
                inside.newest = Some(*seal);
                true
            }
        }
    }

    pub(super) fn set(&self, trust: Trust) {
        self.lock().trust = trust;
    }

    /// A copy was caught. When no more can be remembered, the address counts as broken.
    pub(super) fn caught(&self, instance: InstanceId) {
        let mut inside = self.lock();
        inside.caught = inside.caught.saturating_add(1);
        // Until another copy is reached.
        inside.trust = Trust::Broken;
        if inside.liars.len() < MAX_LIARS {
            inside.liars.insert(instance);
        }
    }

    pub(super) fn lied(&self, instance: InstanceId) -> bool {
        let inside = self.lock();
        inside.liars.contains(&instance) || inside.liars.len() >= MAX_LIARS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_older_seal_is_taken() {
        let memory = Memory::default();
        let seal = |revision| SiteSeal { root: [0; 32], revision };
        assert!(memory.admit(&seal(2)) && memory.admit(&seal(2)) && memory.admit(&seal(3)));
        assert!(!memory.admit(&seal(2)));
        assert!(!memory.admit(&SiteSeal { root: [1; 32], revision: 3 }), "one revision is one content");
    }

    #[test]
    fn a_flood_of_liars_makes_no_room_for_the_first() {
        let memory = Memory::default();
        let id = |n: usize| InstanceId((n as u128).to_be_bytes());
        memory.caught(id(0));
        assert!(memory.lied(id(0)) && !memory.lied(id(1)));
        assert_eq!(memory.view(), (Trust::Broken, 1));
        for n in 1..2 * MAX_LIARS {
            memory.caught(id(n));
        }
        assert!(memory.lied(id(0)) && memory.lied(id(5_000)), "full: nobody is believed any more");
    }
}
