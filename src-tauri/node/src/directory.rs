//! The directories on this device's disk: the last ones that came, from wherever, so that browsing goes on after a restart while allocators are
//! away, for as long as the directories hold. The own fog's, and those of the fogs that it names.
//!
//! Invariants: each file is replaced in one step; what is read from it is checked like a stranger's (it is signed by its fog, and must be
//! fresh), so a damaged or exchanged file is at worst as good as none; there are no more files than the own fog names. One that has expired still
//! says whose signatures are asked for: only leaving the fog forgets that.

use crate::profile::{Profile, write_private};
use fogbank_betanet::directory::{Directory, DirectoryError, DirectoryHub, KnownDirectory};
use fogbank_model::{FogId, UnixMs};
use std::{collections::HashMap, io, path::PathBuf, sync::Arc};
use tokio::task::JoinHandle;

/// Where the own fog's is kept.
const FILE: &str = "directory.bin";
/// Where those of other fogs are, each under its id.
const OTHERS: &str = "federated";

fn of(profile: &Profile, fog: &FogId) -> PathBuf {
    profile.path(OTHERS).join(format!("{fog}.bin"))
}

/// Brings the kept ones of a fog and of those that it names back, as far as they still hold.
pub(crate) fn load(profile: &Profile, hub: &DirectoryHub, fog: &FogId, now: UnixMs) {
    let Ok(bytes) = std::fs::read(profile.path(FILE)) else { return };
    if let Err(error) = recall(profile, hub, fog, &bytes) {
        tracing::debug!(%error, "the kept list of mixes is of no use");
    }
    match hub.learn(fog, bytes, now) {
        Ok(true) => tracing::info!("the list of mixes of before is still good"),
        Ok(false) => tracing::debug!("the kept list of mixes has expired"),
        // Another fog's, after a change of fogs, too.
        Err(error) => tracing::debug!(%error, "the kept list of mixes is of no use"),
    }
    let named = hub.current().map(|known| known.own().directory.federated.clone()).unwrap_or_default();
    for other in named {
        if let Ok(bytes) = std::fs::read(of(profile, &other))
            && let Err(error) = hub.learn(fog, bytes, now)
        {
            tracing::debug!(%error, "a federated fog's kept list of mixes is of no use");
        }
    }
}

/// The witnesses of what is kept are those that are believed, also when it has expired.
fn recall(profile: &Profile, hub: &DirectoryHub, fog: &FogId, bytes: &[u8]) -> Result<(), DirectoryError> {
    if Directory::fog_of(bytes)? != *fog {
        return Ok(());
    }
    for other in hub.recall(bytes)?.federated {
        if let Ok(bytes) = std::fs::read(of(profile, &other))
            && Directory::fog_of(&bytes).is_ok_and(|fog| fog == other)
            && let Err(error) = hub.recall(&bytes)
        {
            tracing::debug!(%error, "a federated fog's kept list of mixes is of no use");
        }
    }
    Ok(())
}

/// Lets go of all when the node has left the fog: whoever joins anew believes anew.
fn forget(profile: &Profile) -> io::Result<()> {
    let gone = |result: io::Result<()>| result.or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) });
    gone(std::fs::remove_file(profile.path(FILE)))?;
    gone(std::fs::remove_dir_all(profile.path(OTHERS)))
}

/// Keeps them whenever they change.
pub(crate) fn keep(profile: Arc<Profile>, hub: &DirectoryHub) -> JoinHandle<()> {
    let mut directories = hub.subscribe();
    tokio::spawn(async move {
        let mut written: HashMap<FogId, u64> = HashMap::new();
        while directories.changed().await.is_ok() {
            let known = directories.borrow_and_update().clone();
            let (profile, before) = (profile.clone(), std::mem::take(&mut written));
            let follow = move || match known {
                Some(known) => write(&profile, &known, before),
                None => forget(&profile).map(|()| HashMap::new()),
            };
            match tokio::task::spawn_blocking(follow).await {
                Ok(Ok(now)) => written = now,
                Ok(Err(error)) => tracing::warn!(%error, "the lists of mixes could not be kept"),
                Err(_) => {}
            }
        }
    })
}

/// Writes what is newer than what was written before, and lets go of what is not kept any more; what is written then.
fn write(profile: &Profile, known: &KnownDirectory, before: HashMap<FogId, u64>) -> io::Result<HashMap<FogId, u64>> {
    let own = known.own().directory.fog;
    std::fs::create_dir_all(profile.path(OTHERS))?;
    for entry in std::fs::read_dir(profile.path(OTHERS))? {
        let path = entry?.path();
        let fog = path.file_stem().and_then(|name| name.to_str()).and_then(|name| name.parse::<FogId>().ok());
        // One that has expired stays: its witnesses are still those that are believed.
        if fog.is_none_or(|fog| fog == own || !known.own().directory.federated.contains(&fog)) {
            std::fs::remove_file(path)?;
        }
    }
    let mut written = HashMap::new();
    for kept in known.kept() {
        let (fog, serial) = (kept.directory.fog, kept.directory.serial);
        if before.get(&fog) != Some(&serial) {
            let path = if fog == own { profile.path(FILE) } else { of(profile, &fog) };
            write_private(&path, &kept.signed)?;
        }
        written.insert(fog, serial);
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fogbank_betanet::directory::{Charter, DIRECTORY_LIFE, clock};
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

    #[test]
    fn those_of_federated_fogs_stay_as_long_as_they_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let profile = Profile::open(folder.path()).unwrap();
        let keys = [SecretKey::generate(), SecretKey::generate()];
        let [own, other] = keys.each_ref().map(|key| FogId(*key.public().as_bytes()));
        let made = |key: &SecretKey, serial, names: Vec<FogId>| {
            let fog = FogId(*key.public().as_bytes());
            Directory::new(fog, true, serial, clock(), [0; 32], Vec::new()).with_federated(names).seal(key).unwrap()
        };
        let hub = DirectoryHub::new();
        let learn = |bytes| assert!(hub.learn(&own, bytes, clock()).unwrap());
        learn(made(&keys[0], 1, vec![other]));
        learn(made(&keys[1], 5, vec![own]));
        std::fs::create_dir_all(profile.path(OTHERS)).unwrap();
        std::fs::write(of(&profile, &FogId([9; 32])), "of a fog of before").unwrap();
        let written = write(&profile, &hub.current().unwrap(), HashMap::new()).unwrap();
        assert_eq!(written, HashMap::from([(own, 1), (other, 5)]));
        assert!(!of(&profile, &FogId([9; 32])).exists());
        let again = DirectoryHub::new();
        load(&profile, &again, &own, clock());
        assert!(again.current().unwrap().directory.counts(&other));

        learn(made(&keys[0], 2, Vec::new()));
        write(&profile, &hub.current().unwrap(), written).unwrap();
        assert!(!of(&profile, &other).exists());
    }

    #[tokio::test]
    async fn whom_it_believes_outlives_the_list_and_ends_with_leaving() {
        let folder = tempfile::tempdir().unwrap();
        let profile = Arc::new(Profile::open(folder.path()).unwrap());
        let key = SecretKey::generate();
        let fog = FogId(*key.public().as_bytes());
        // Of years ago, with a witness that need not have signed; the thief of the fog's key would rather have none, or another of that number.
        let then = UnixMs(1_000_000_000_000);
        let witnessed = Charter { number: 5, keys: vec![FogId([1; 32])], needed: 0 };
        let old = Directory::new(fog, true, 7, then, [0; 32], Vec::new()).with_charter(witnessed.clone(), Vec::new());
        write_private(&profile.path(FILE), &old.seal(&key).unwrap()).unwrap();
        let hub = DirectoryHub::new();
        load(&profile, &hub, &fog, clock());
        assert!(hub.current().is_none(), "it has expired");
        let of = |charter: Charter| {
            Directory::new(fog, true, 9, clock(), [0; 32], Vec::new()).with_charter(charter, Vec::new()).seal(&key).unwrap()
        };
        assert!(matches!(hub.learn(&fog, of(Charter::default()), clock()), Err(DirectoryError::Charter(_))));
        let other = Charter { keys: vec![FogId([2; 32])], ..witnessed.clone() };
        assert!(matches!(hub.learn(&fog, of(other.clone()), clock()), Err(DirectoryError::Charter(_))));
        let keeping = keep(profile.clone(), &hub);
        assert!(hub.learn(&fog, of(witnessed), clock()).unwrap());
        hub.clear();
        let gone = async {
            while profile.path(FILE).exists() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), gone).await.unwrap();
        keeping.abort();
        assert!(hub.learn(&fog, of(other), clock()).unwrap());
    }
}
