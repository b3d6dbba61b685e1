//! Signing the directory: a new one whenever the set of mixes changes, and every ten minutes.
//!
//! Invariants: serials rise, over restarts too; a restart of the allocator alone changes nothing for those who browse: mixes that have not come
//! back yet stay listed while the fog settles.

use crate::registry::{Inner, Member};
use fogbank_betanet::directory::{Directory, MAX_MIXES, MixEntry};
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
    /// `kept` is the last directory that was handed out.
    pub(crate) fn new(key: SecretKey, test: bool, shared_random: [u8; 32], kept: Option<Vec<u8>>) -> Self {
        let fog = FogId(*key.public().as_bytes());
        let kept = kept.and_then(|bytes| match Directory::open(&bytes, &fog) {
            Ok(directory) => Some(Signed { directory: Arc::new(directory), bytes: Arc::new(bytes) }),
            Err(error) => {
                tracing::warn!(%error, "the last directory can't be read; a new one is made");
                None
            }
        });
        let serial = kept.as_ref().map_or(0, |k| k.directory.serial);
        Self { key, test, shared_random, serial, current: kept.map(|k| (k, Instant::now())) }
    }

    pub(crate) fn current(&self) -> Option<Signed> {
        self.current.as_ref().map(|(signed, _)| signed.clone())
    }

    /// Whether a new one is due for these members, and its mixes. While the fog settles, those listed before that are not here yet stay.
    pub(crate) fn due(&self, members: &Inner, settling: bool, clock: Instant) -> Option<Vec<MixEntry>> {
        let mut entries: Vec<MixEntry> = members.mixes(clock).into_iter().filter_map(entry).collect();
        if settling && let Some((current, _)) = &self.current {
            let before = current.directory.mixes.iter();
            let missing: Vec<MixEntry> = before.filter(|m| !entries.iter().any(|e| e.id == m.id)).cloned().collect();
            entries.extend(missing);
        }
        entries.sort_by_key(|e| e.id);
        entries.dedup_by_key(|e| e.id);
        entries.truncate(MAX_MIXES);
        let same = self.current.as_ref().is_some_and(|(c, at)| c.directory.mixes == entries && clock.duration_since(*at) < RENEW);
        (!same).then_some(entries)
    }

    /// Signs a new one, which is the current one from then on.
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
