//! Signing the directory: a new one whenever the set of mixes changes, and every ten minutes.

use crate::registry::{Inner, Member};
use fogbank_betanet::directory::{Directory, MixEntry};
use fogbank_model::{FogId, UnixMs};
use iroh::SecretKey;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A directory is made anew at least this often, so that its time stays the network's time.
const RENEW: Duration = Duration::from_secs(600);

/// A signed directory.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    pub(crate) directory: Arc<Directory>,
    pub(crate) bytes: Arc<Vec<u8>>,
}

/// Makes and remembers the current one.
pub(crate) struct Signer {
    key: SecretKey,
    test: bool,
    shared_random: [u8; 32],
    serial: u64,
    current: Option<(Signed, Instant)>,
}

impl Signer {
    /// `serial` is the last one used.
    pub(crate) fn new(key: SecretKey, test: bool, shared_random: [u8; 32], serial: u64) -> Self {
        Self { key, test, shared_random, serial, current: None }
    }

    pub(crate) fn current(&self) -> Option<Signed> {
        self.current.as_ref().map(|(signed, _)| signed.clone())
    }

    /// The serial that the next directory will have; to be kept before that is handed out.
    pub(crate) fn next_serial(&self) -> u64 {
        self.serial + 1
    }

    /// Whether a new one is due for these members, and its mixes.
    pub(crate) fn due(&self, members: &Inner, clock: Instant) -> Option<Vec<MixEntry>> {
        let mut entries: Vec<MixEntry> = members.mixes(clock).into_iter().filter_map(entry).collect();
        entries.sort_by_key(|e| e.id);
        entries.dedup_by_key(|e| e.id);
        let same = self.current.as_ref().is_some_and(|(c, at)| c.directory.mixes == entries && clock.duration_since(*at) < RENEW);
        (!same).then_some(entries)
    }

    /// Signs a new one.
    pub(crate) fn sign(
        &mut self,
        entries: Vec<MixEntry>,
        now: UnixMs,
        clock: Instant,
    ) -> Result<Signed, fogbank_wire::FrameError> {
        self.serial += 1;
        let fog = FogId(*self.key.public().as_bytes());
        let directory = Directory::new(fog, self.test, self.serial, now, self.shared_random, entries);
        let bytes = directory.seal(&self.key)?;
        let signed = Signed { directory: Arc::new(directory), bytes: Arc::new(bytes) };
        self.current = Some((signed.clone(), clock));
        Ok(signed)
    }
}

fn entry(member: &Member) -> Option<MixEntry> {
    member.mix.as_ref().map(|mix| MixEntry::new(mix, member.owner))
}
