//! Where a node keeps the directory that it has, whoever brought it: the allocator, a guard, another mix, or the disk.
//!
//! Invariants: what is kept was signed by its fog, was fresh when it came, and is only ever replaced by one with a higher serial (or by
//! another fog's), so that nobody brings back mixes of yesterday.
//! Deliberately absent: asking for it (gossip, uplink) and the disk (the node's).

use super::{Directory, DirectoryError};
use fogbank_model::{FogId, UnixMs};
use std::sync::Arc;
use tokio::sync::watch;

/// A directory with its signed bytes, as nodes hand it on.
#[derive(Debug, Clone)]
pub struct KnownDirectory {
    /// The content.
    pub directory: Arc<Directory>,
    /// As the fog signed it.
    pub signed: Arc<Vec<u8>>,
}

/// The place. Clones share it.
#[derive(Debug, Clone)]
pub struct DirectoryHub {
    known: watch::Sender<Option<KnownDirectory>>,
}

impl Default for DirectoryHub {
    fn default() -> Self {
        Self { known: watch::Sender::new(None) }
    }
}

impl DirectoryHub {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The directory, now and as it changes.
    pub fn subscribe(&self) -> watch::Receiver<Option<KnownDirectory>> {
        self.known.subscribe()
    }

    /// The directory now.
    pub fn current(&self) -> Option<KnownDirectory> {
        self.known.borrow().clone()
    }

    /// Takes bytes that claim to be a fog's directory; whether they brought news.
    ///
    /// # Errors
    /// When the fog did not sign them, or they break a rule.
    pub fn learn(&self, fog: &FogId, bytes: Vec<u8>, now: UnixMs) -> Result<bool, DirectoryError> {
        let directory = Arc::new(Directory::open(&bytes, fog)?);
        if !directory.fresh(now) {
            return Ok(false);
        }
        let fresh = KnownDirectory { directory, signed: Arc::new(bytes) };
        Ok(self.known.send_if_modified(|known| {
            let newer = known.as_ref().is_none_or(|k| k.directory.fog != *fog || k.directory.serial < fresh.directory.serial);
            if newer {
                *known = Some(fresh);
            }
            newer
        }))
    }

    /// Forgets it: the node left the fog.
    pub fn clear(&self) {
        self.known.send_replace(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::{
        DIRECTORY_LIFE,
        tests::{MADE, directory},
    };
    use iroh::SecretKey;

    #[test]
    fn only_newer_fresh_ones_of_the_fog_are_taken() {
        let (fog, stranger) = (SecretKey::generate(), SecretKey::generate());
        let hub = DirectoryHub::new();
        let second = Directory { serial: 2, ..directory(&fog, true, 5) };
        let bytes = |serial, key: &SecretKey| Directory { serial, ..second.clone() }.seal(key).unwrap();
        assert!(!hub.learn(&second.fog, bytes(2, &fog), MADE.plus(DIRECTORY_LIFE)).unwrap(), "its time is over");
        assert!(hub.learn(&second.fog, bytes(2, &fog), MADE).unwrap());
        assert!(!hub.learn(&second.fog, bytes(2, &fog), MADE).unwrap() && !hub.learn(&second.fog, bytes(1, &fog), MADE).unwrap());
        assert!(hub.learn(&second.fog, bytes(3, &stranger), MADE).is_err());
        assert_eq!(hub.current().unwrap().directory.serial, 2);
        let other = directory(&stranger, true, 4);
        assert!(hub.learn(&other.fog, other.seal(&stranger).unwrap(), MADE).unwrap(), "the node is in another fog now");
        hub.clear();
        assert!(hub.current().is_none());
    }
}
