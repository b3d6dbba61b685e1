//! Descriptors that this mix keeps for those who ask. Pure: time comes in.

use crate::{descriptor::check_outside, proof::ProofError};
use fogbank_model::UnixMs;
use std::collections::HashMap;

/// Descriptors at most: 10 MB. A fog of 10,000 containers with two periods each spreads 120,000 copies over its mixes.
const MAX_DESCRIPTORS: usize = 10_000;

struct Kept {
    bytes: Vec<u8>,
    revision: u64,
    expires: UnixMs,
}

/// The descriptors of one mix.
#[derive(Default)]
pub(super) struct Descriptors(HashMap<[u8; 32], Kept>);

impl Descriptors {
    /// Keeps one, unless a newer one is there.
    pub(super) fn put(&mut self, bytes: Vec<u8>, now: UnixMs) -> Result<(), ProofError> {
        let outside = check_outside(&bytes, now)?;
        let newer = self.0.get(&outside.blinded).is_none_or(|kept| kept.revision < outside.revision);
        if !newer {
            return Ok(());
        }
        if self.0.len() >= MAX_DESCRIPTORS && !self.0.contains_key(&outside.blinded) {
            self.sweep(now);
            if self.0.len() >= MAX_DESCRIPTORS {
                return Err(ProofError::TooMuch { what: "number of descriptors at this mix" });
            }
        }
        self.0.insert(outside.blinded, Kept { bytes, revision: outside.revision, expires: outside.expires });
        Ok(())
    }

    /// The one under this key.
    pub(super) fn get(&self, blinded: &[u8; 32], now: UnixMs) -> Option<Vec<u8>> {
        self.0.get(blinded).filter(|kept| kept.expires > now).map(|kept| kept.bytes.clone())
    }

    /// Forgets what has ended.
    pub(super) fn sweep(&mut self, now: UnixMs) {
        self.0.retain(|_, kept| kept.expires > now);
    }
}
