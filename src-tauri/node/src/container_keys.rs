//! The publisher's keys: one identity a container, kept in a file of its own from before it is created until it is deleted.
//!
//! Invariant: an identity is on disk before anyone hears of its address, so that no crash loses an address that is in use.
//! Deliberately absent: encryption at rest and export (they come with the backup of all keys).

use crate::profile::{Profile, sync_folder, write_private};
use data_encoding::BASE32_NOPAD;
use fogbank_betanet::{
    address::AccessKey,
    proof::{ContainerIdentity, ProofError},
};
use fogbank_model::{BundleId, ContainerId, FogId};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Days for which a publisher signs ahead: a container lives on for so long while its publisher is away.
pub(crate) const DAYS_AHEAD: u32 = 30;

/// Why a container's key can't be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The file can't be read or written.
    #[error("the key file {} can't be used: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The key can't be made.
    #[error("the container's key can't be used: {0}")]
    Key(#[source] ProofError),
}

/// What is kept of a container.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u16,
    /// Base32 of the identity's seed.
    seed: String,
    /// Its content; the node's own copy goes when no container needs it.
    #[zeroize(skip)]
    bundle: BundleId,
    /// Base32 of the access key of a private one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    access: Option<String>,
    /// Whether it offers a direct connection.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    direct: bool,
    /// The allocator was asked for it and has not answered (yet).
    #[zeroize(skip)]
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unanswered: bool,
}

const VERSION: u16 = 1;

/// The containers that this node published in one fog.
pub(crate) struct ContainerKeys {
    folder: PathBuf,
}

impl ContainerKeys {
    pub(crate) fn of(profile: &Profile, fog: FogId) -> Self {
        Self { folder: profile.path("containers").join(fog.to_string()) }
    }

    /// Makes a container's identity and keeps it, as one that the allocator has not answered for.
    pub(crate) fn create(
        &self,
        id: ContainerId,
        bundle: BundleId,
        access: Option<AccessKey>,
        direct: bool,
    ) -> Result<ContainerIdentity, KeyError> {
        let identity = ContainerIdentity::generate(&mut rand::rng()).map_err(KeyError::Key)?.offering_direct(direct);
        let path = self.file(id);
        let failed = |source| KeyError::File { path: path.clone(), source };
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        for folder in self.folder.ancestors().skip(1).take(2) {
            sync_folder(folder).map_err(failed)?;
        }
        let seed = BASE32_NOPAD.encode(identity.seed().as_slice()).to_lowercase();
        let access = access.map(|key| key.to_string());
        write(&path, &Kept { version: VERSION, seed, bundle, access, direct, unanswered: true }).map_err(failed)?;
        Ok(identity)
    }

    /// The allocator has the container.
    pub(crate) fn answered(&self, id: ContainerId) -> Result<(), KeyError> {
        let path = self.file(id);
        match read(&path) {
            Some(mut kept) if kept.unanswered => {
                kept.unanswered = false;
                write(&path, &kept).map_err(|source| KeyError::File { path, source })
            }
            _ => Ok(()),
        }
    }

    /// Those that the allocator has not answered for.
    pub(crate) fn unanswered(&self) -> Vec<ContainerId> {
        let files = std::fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let waiting = files.filter(|path| read(path).is_some_and(|kept| kept.unanswered));
        waiting.filter_map(|path| path.file_stem()?.to_str()?.parse().ok()).collect()
    }

    /// The bundles of all containers that were published from a profile, in whatever fog.
    ///
    /// # Errors
    /// When a file can't be read: then nobody knows which bundle it names.
    pub(crate) fn bundles(profile: &Profile) -> io::Result<HashSet<BundleId>> {
        let list = |folder: &Path| match std::fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            entries => entries?.map(|entry| entry.map(|e| e.path())).collect::<io::Result<Vec<_>>>(),
        };
        let mut bundles = HashSet::new();
        for folder in list(&profile.path("containers"))? {
            for path in list(&folder)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "json")) {
                let unreadable = || io::Error::other(format!("{} can't be read", path.display()));
                bundles.insert(read(&path).ok_or_else(unreadable)?.bundle);
            }
        }
        Ok(bundles)
    }

    /// A container's identity, and its access key when it is private; `None` when it was not published here.
    pub(crate) fn load(&self, id: ContainerId) -> Option<(ContainerIdentity, Option<AccessKey>)> {
        let kept = read(&self.file(id))?;
        let seed = Zeroizing::new(BASE32_NOPAD.decode(kept.seed.to_uppercase().as_bytes()).ok()?);
        let identity = ContainerIdentity::from_seed(seed.as_slice().try_into().ok()?).ok()?;
        let identity = identity.offering_direct(kept.direct);
        let access = kept.access.as_ref().and_then(|key| key.parse().ok());
        Some((identity, access))
    }

    /// Forgets a container's identity; its address can then never be used again. Gives the bundle that no other container here needs.
    pub(crate) fn forget(&self, id: ContainerId) -> Option<BundleId> {
        let path = self.file(id);
        let kept = read(&path);
        if let Err(error) = std::fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %path.display(), "a deleted container's key file could not be removed");
        }
        let bundle = kept?.bundle;
        let others = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let needed = others.filter_map(|entry| read(&entry.path())).any(|other| other.bundle == bundle);
        (!needed).then_some(bundle)
    }

    /// Forgets all of them: the fog has ended.
    pub(crate) fn forget_all(&self) -> io::Result<()> {
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn file(&self, id: ContainerId) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }
}

fn write(path: &Path, kept: &Kept) -> io::Result<()> {
    write_private(path, &Zeroizing::new(serde_json::to_vec_pretty(kept)?))
}

/// A kept container; what can't be read stays where it is for a person to look at.
fn read(path: &Path) -> Option<Kept> {
    let bytes = Zeroizing::new(std::fs::read(path).ok()?);
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUNDLE: BundleId = BundleId([1; 32]);

    #[test]
    fn kept_privately_until_forgotten_and_the_last_one_frees_the_bundle() {
        let folder = tempfile::tempdir().unwrap();
        let profile = Profile::open(folder.path()).unwrap();
        let keys = ContainerKeys::of(&profile, FogId([2; 32]));
        let (one, two) = (ContainerId([1; 16]), ContainerId([2; 16]));
        let identity = keys.create(one, BUNDLE, None, true).unwrap();
        keys.create(two, BUNDLE, Some(AccessKey([3; 32])), false).unwrap();
        let (restored, access) = keys.load(one).unwrap();
        assert_eq!((restored.onion(), access), (identity.onion(), None), "the file restores the address");
        assert_eq!(keys.load(two).unwrap().1, Some(AccessKey([3; 32])));
        assert!(
            restored.offers_direct() && !keys.load(two).unwrap().0.offers_direct(),
            "what is signed further ahead says the same"
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(keys.file(one)).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(ContainerKeys::bundles(&profile).unwrap(), HashSet::from([BUNDLE]));
        keys.answered(one).unwrap();
        assert_eq!(keys.unanswered(), [two]);
        assert_eq!(keys.load(one).unwrap().0.onion(), identity.onion());
        std::fs::write(keys.file(ContainerId([3; 16])), "damaged").unwrap();
        assert!(ContainerKeys::bundles(&profile).is_err(), "what it names is not known");
        assert_eq!(keys.unanswered(), [two]);
        assert_eq!(keys.forget(one), None, "the other container needs the bundle");
        assert_eq!(keys.forget(two), Some(BUNDLE));
        assert_eq!(keys.forget(two), None);
        keys.forget_all().unwrap();
        assert!(!keys.folder.exists());
    }
}
