//! Signing the directory: a new one whenever the set of mixes changes, and every ten minutes. Packet keys of coming hours, measured
//! reliability and the count of clients come with whatever directory is next.
//!
//! Invariants: serials rise, over restarts too; a restart of the allocator alone changes nothing for those who browse: mixes that have not come
//! back yet stay listed while the fog settles.

use crate::{
    mixes::{MixHistory, clients, entries},
    registry::Inner,
};
use fogbank_betanet::{
    address::Period,
    directory::{Directory, MAX_MIXES, MixEntry, mix_id},
};
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
    /// What each period's shared random value is made of.
    secret: [u8; 32],
    serial: u64,
    current: Option<(Signed, Instant)>,
    history: MixHistory,
    /// The fogs that the operator named.
    federated: Vec<FogId>,
}

/// What a new directory is made of.
pub(crate) struct Due {
    pub(crate) entries: Vec<MixEntry>,
    /// Clients connected to them.
    pub(crate) clients: u32,
    /// Whether it names other fogs than the last one.
    pub(crate) named: bool,
    /// The mixes' history as it is to be kept, when that has changed.
    pub(crate) history: Option<MixHistory>,
}

impl Signer {
    /// `kept` is the last directory that was handed out.
    pub(crate) fn new(key: SecretKey, test: bool, secret: [u8; 32], kept: Option<Vec<u8>>, history: MixHistory) -> Self {
        let fog = FogId(*key.public().as_bytes());
        let kept = kept.and_then(|bytes| match Directory::open(&bytes, &fog) {
            Ok(directory) => Some(Signed { directory: Arc::new(directory), bytes: Arc::new(bytes) }),
            Err(error) => {
                tracing::warn!(%error, "the last directory can't be read; a new one is made");
                None
            }
        });
        let serial = kept.as_ref().map_or(0, |k| k.directory.serial);
        Self { key, test, secret, serial, current: kept.map(|k| (k, Instant::now())), history, federated: Vec::new() }
    }

    /// The value that salts the ring of descriptors, another one each period: who knows an address can't compute ahead of time beside which
    /// place on the ring its descriptors will lie, and so not make mixes that take them all.
    fn shared_random(&self, now: UnixMs) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("fogbank 2026 shared random value of a period");
        hasher.update(&self.secret).update(&Period::at(now).0.to_be_bytes());
        *hasher.finalize().as_bytes()
    }

    /// The next directory names these fogs.
    pub(crate) fn federate(&mut self, mut fogs: Vec<FogId>) {
        fogs.sort_unstable();
        self.federated = fogs;
    }

    pub(crate) fn current(&self) -> Option<Signed> {
        self.current.as_ref().map(|(signed, _)| signed.clone())
    }

    /// Whether a new one is due for these members, and its mixes. While the fog settles, those listed before that are not here yet stay.
    pub(crate) fn due(&mut self, members: &Inner, settling: bool, now: UnixMs, clock: Instant) -> Option<Due> {
        let relays = members.mixes(clock);
        let here = relays.iter().filter_map(|member| Some((mix_id(&member.mix.as_ref()?.key), member.owner)));
        let news = self.history.note(here, now);
        let mut entries = entries(&relays, &self.history, now);
        let mut clients = clients(&relays);
        if settling && let Some((current, _)) = &self.current {
            clients = clients.max(current.directory.clients);
            let before = current.directory.mixes.iter();
            let missing: Vec<MixEntry> = before.filter(|m| !entries.iter().any(|e| e.id == m.id)).cloned().collect();
            entries.extend(missing);
        }
        entries.sort_by_key(|e| e.id);
        entries.dedup_by_key(|e| e.id);
        entries.truncate(MAX_MIXES);
        let same = self.current.as_ref().is_some_and(|(current, at)| {
            let before = &current.directory.mixes;
            let alike = before.len() == entries.len() && before.iter().zip(&entries).all(|(a, b)| a.same_mix(b));
            let alike = alike && current.directory.federated == self.federated;
            alike
                && current.directory.shared_random == self.shared_random(now)
                && clock.duration_since(*at) < RENEW
                && current.directory.fresh(now)
        });
        let named = self.current.as_ref().is_none_or(|(current, _)| current.directory.federated != self.federated);
        (!same).then(|| Due { entries, clients, named, history: news.then(|| self.history.clone()) })
    }

    /// Signs a new one, which is the current one from then on.
    pub(crate) fn sign(
        &mut self,
        entries: Vec<MixEntry>,
        clients: u32,
        now: UnixMs,
        clock: Instant,
    ) -> Result<Signed, fogbank_wire::FrameError> {
        self.serial += 1;
        let fog = FogId(*self.key.public().as_bytes());
        let directory = Directory::new(fog, self.test, self.serial, now, self.shared_random(now), entries)
            .with_clients(clients)
            .with_federated(self.federated.clone());
        let bytes = directory.seal(&self.key)?;
        let signed = Signed { directory: Arc::new(directory), bytes: Arc::new(bytes) };
        self.current = Some((signed.clone(), clock));
        Ok(signed)
    }
}
