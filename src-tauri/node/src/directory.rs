//! The fog's directory as this node knows it, from wherever it came; newer ones replace older ones.

use fogbank_betanet::{directory::Directory, mixnode::KnownDirectory};
use fogbank_model::FogId;
use std::sync::Arc;
use tokio::sync::watch;

/// One place for the directory; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct DirectoryHub {
    known: watch::Sender<Option<KnownDirectory>>,
}

impl DirectoryHub {
    pub(crate) fn new() -> Self {
        Self { known: watch::Sender::new(None) }
    }

    /// The directory, now and as it changes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<KnownDirectory>> {
        self.known.subscribe()
    }

    /// The directory now.
    pub(crate) fn current(&self) -> Option<Arc<Directory>> {
        self.known.borrow().as_ref().map(|k| k.directory.clone())
    }

    /// Takes bytes that claim to be the fog's directory.
    pub(crate) fn learn(&self, fog: &FogId, bytes: Vec<u8>) -> Result<(), fogbank_betanet::directory::DirectoryError> {
        let directory = Arc::new(Directory::open(&bytes, fog)?);
        let fresh = KnownDirectory { directory, signed: Arc::new(bytes) };
        self.known.send_if_modified(|known| {
            let newer = known.as_ref().is_none_or(|k| k.directory.fog != *fog || k.directory.serial < fresh.directory.serial);
            if newer {
                *known = Some(fresh);
            }
            newer
        });
        Ok(())
    }

    /// Forgets it: the node left the fog.
    pub(crate) fn clear(&self) {
        self.known.send_replace(None);
    }
}
