//! The fog's directory on this device's disk: the last one that came, from wherever, so that browsing goes on after a restart while the
//! allocator is away, for as long as the directory holds.
//!
//! Invariants: the file is replaced in one step; what is read from it is checked like a stranger's (it is signed by the fog, and must be
//! fresh), so a damaged or exchanged file is at worst as good as none.

use crate::profile::{Profile, write_private};
use fogbank_betanet::directory::DirectoryHub;
use fogbank_model::{FogId, UnixMs};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Where it is kept.
const FILE: &str = "directory.bin";

/// Brings the kept one of a fog back, if it still holds.
pub(crate) fn load(profile: &Profile, hub: &DirectoryHub, fog: &FogId, now: UnixMs) {
    let Ok(bytes) = std::fs::read(profile.path(FILE)) else { return };
    match hub.learn(fog, bytes, now) {
        Ok(true) => tracing::info!("the list of mixes of before is still good"),
        Ok(false) => tracing::debug!("the kept list of mixes has expired"),
        // Another fog's, after a change of fogs, too.
        Err(error) => tracing::debug!(%error, "the kept list of mixes is of no use"),
    }
}

/// Keeps it whenever it changes.
pub(crate) fn keep(profile: Arc<Profile>, hub: &DirectoryHub) -> JoinHandle<()> {
    let mut directories = hub.subscribe();
    tokio::spawn(async move {
        while directories.changed().await.is_ok() {
            let known = directories.borrow_and_update().clone();
            let Some(known) = known else { continue };
            let (profile, signed) = (profile.clone(), known.signed);
            let written = tokio::task::spawn_blocking(move || write_private(&profile.path(FILE), &signed)).await;
            if let Ok(Err(error)) = written {
                tracing::warn!(%error, "the list of mixes could not be kept");
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fogbank_betanet::directory::{DIRECTORY_LIFE, Directory, clock};
    use iroh::SecretKey;
    use std::time::Duration;

    #[tokio::test]
    async fn the_last_one_is_there_after_a_restart_while_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let profile = Arc::new(Profile::open(folder.path()).unwrap());
        let key = SecretKey::generate();
        let fog = FogId(*key.public().as_bytes());
        let made = Directory::new(fog, true, 7, clock(), [0; 32], Vec::new());
        let hub = DirectoryHub::new();
        let keeping = keep(profile.clone(), &hub);
        let bytes = made.seal(&key).unwrap();
        assert!(hub.learn(&fog, bytes.clone(), clock()).unwrap());
        let kept = async {
            while std::fs::read(profile.path(FILE)).unwrap_or_default() != bytes {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), kept).await.unwrap();
        keeping.abort();

        let serial = |fog: &FogId, now| {
            let hub = DirectoryHub::new();
            load(&profile, &hub, fog, now);
            hub.current().map(|known| known.directory.serial)
        };
        assert_eq!(serial(&fog, clock()), Some(7));
        assert_eq!(serial(&fog, made.made.plus(DIRECTORY_LIFE)), None, "expired");
        assert_eq!(serial(&FogId([1; 32]), clock()), None, "another fog's");
        std::fs::write(profile.path(FILE), &bytes[..bytes.len() / 2]).unwrap();
        assert_eq!(serial(&fog, clock()), None, "damaged");
    }
}
