//! The publisher's keys: one identity a container, kept in a file of its own from before it is created until it is deleted.
//!
//! Invariants: an identity is on disk before anyone hears of its address, so that no crash loses an address that is in use; so is the revision of
//! each content before anyone hears of that, and none is used twice.
//! Deliberately absent: encryption at rest and export (they come with the backup of all keys).

use crate::profile::{Profile, sync_folder, write_private};
use data_encoding::BASE32_NOPAD;
use fogbank_betanet::{
    address::AccessKey,
    proof::{ContainerIdentity, ProofError},
    seal::MAX_REVISION,
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

/// A content, and the revision under which it was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    /// The node's own copy, which goes when no container needs it.
    pub(crate) bundle: BundleId,
    /// 0: signed before revisions were kept here.
    pub(crate) revision: u64,
}

/// What is kept of a container.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u16,
    /// Base32 of the identity's seed.
    seed: String,
    /// The content that was signed last.
    #[zeroize(skip)]
    bundle: BundleId,
    /// Its revision; 0: signed before revisions were kept here.
    #[zeroize(skip)]
    #[serde(default, skip_serializing_if = "is_zero")]
    revision: u64,
    /// Other contents that are served, coming, or can be gone back to, in the order of their revisions.
    #[zeroize(skip)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<Content>,
    /// The highest revision that was signed, if that of no content which is kept.
    #[zeroize(skip)]
    #[serde(default, skip_serializing_if = "is_zero")]
    signed: u64,
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

const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Kept {
    fn contents(&self) -> impl Iterator<Item = Content> {
        self.others.iter().copied().chain([Content { bundle: self.bundle, revision: self.revision }])
    }

    /// Keeps these contents, the last of which is the newest. There is always one.
    fn set(&mut self, mut contents: Vec<Content>) {
        self.signed = self.contents().map(|c| c.revision).fold(self.signed, u64::max);
        contents.sort_by_key(|c| c.revision);
        if let Some(newest) = contents.pop() {
            (self.bundle, self.revision, self.others) = (newest.bundle, newest.revision, contents);
        }
    }
}

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
        content: Content,
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
        let Content { bundle, revision } = content;
        let others = Vec::new();
        let kept = Kept { version: VERSION, seed, bundle, revision, others, signed: 0, access, direct, unanswered: true };
        write(&path, &kept).map_err(failed)?;
        Ok(identity)
    }

    /// A revision for this content of a container, at least so high and above all that were signed here; kept before it is given.
    ///
    /// # Errors
    /// When the file can't be read or written, or there is no higher one.
    pub(crate) fn sign(&self, id: ContainerId, bundle: BundleId, least: u64) -> Result<u64, KeyError> {
        let path = self.file(id);
        let failed = |source| KeyError::File { path: path.clone(), source };
        let mut kept = read(&path).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        let highest = kept.contents().map(|c| c.revision).fold(kept.signed, u64::max);
        let revision = highest.saturating_add(1).max(least);
        if revision > MAX_REVISION {
            return Err(failed(io::Error::other("no revision is left above those that were signed")));
        }
        let contents = kept.contents().chain([Content { bundle, revision }]).collect();
        kept.set(contents);
        write(&path, &kept).map_err(failed)?;
        Ok(revision)
    }

    /// What the allocator serves and has coming decides which contents are needed: these, and the one before what is served. Gives the bundles that no
    /// container here needs any more.
    ///
    /// # Errors
    /// When the file can't be written.
    pub(crate) fn settle(&self, id: ContainerId, served: u64, coming: Option<u64>) -> Result<Vec<BundleId>, KeyError> {
        let path = self.file(id);
        let Some(mut kept) = read(&path) else { return Ok(Vec::new()) };
        let mut contents: Vec<Content> = kept.contents().collect();
        // Of before revisions were kept: the only one, and online.
        contents.iter_mut().filter(|c| c.revision == 0).for_each(|c| c.revision = served);
        let before = before(&contents, served);
        let needed = |c: &Content| c.revision == served || Some(c.revision) == coming || Some(*c) == before;
        let (stays, goes): (Vec<Content>, Vec<Content>) = contents.into_iter().partition(needed);
        // A profile of an old backup has none of what is served; what it has may be gone back to.
        if stays.is_empty() {
            return Ok(Vec::new());
        }
        kept.set(stays);
        write(&path, &kept).map_err(|source| KeyError::File { path, source })?;
        Ok(self.unneeded(goes.into_iter().map(|c| c.bundle)))
    }

    /// The content that was there before what is served, if it is kept.
    pub(crate) fn before(&self, id: ContainerId, served: u64) -> Option<Content> {
        before(&read(&self.file(id))?.contents().collect::<Vec<_>>(), served)
    }

    /// Those of these bundles that no container of this fog names.
    fn unneeded(&self, bundles: impl Iterator<Item = BundleId>) -> Vec<BundleId> {
        let files = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let named: HashSet<BundleId> = files
            .filter_map(|entry| read(&entry.path()))
            .flat_map(|kept| kept.contents().map(|c| c.bundle).collect::<Vec<_>>())
            .collect();
        let mut unneeded: Vec<BundleId> = bundles.filter(|bundle| !named.contains(bundle)).collect();
        unneeded.sort_unstable();
        unneeded.dedup();
        unneeded
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
                bundles.extend(read(&path).ok_or_else(unreadable)?.contents().map(|c| c.bundle));
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

    /// Forgets a container's identity; its address can then never be used again. Gives the bundles that no other container here needs.
    pub(crate) fn forget(&self, id: ContainerId) -> Vec<BundleId> {
        let path = self.file(id);
        let kept = read(&path);
        if let Err(error) = std::fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %path.display(), "a deleted container's key file could not be removed");
        }
        let bundles = kept.iter().flat_map(Kept::contents).map(|c| c.bundle);
        self.unneeded(bundles)
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

/// The newest content below what is served that is another one.
fn before(contents: &[Content], served: u64) -> Option<Content> {
    let online = contents.iter().find(|c| c.revision == served).map(|c| c.bundle);
    contents.iter().copied().filter(|c| c.revision < served && Some(c.bundle) != online).max_by_key(|c| c.revision)
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
        let content = Content { bundle: BUNDLE, revision: 1 };
        let identity = keys.create(one, content, None, true).unwrap();
        keys.create(two, content, Some(AccessKey([3; 32])), false).unwrap();
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
        assert_eq!(keys.forget(one), [], "the other container needs the bundle");
        assert_eq!(keys.forget(two), [BUNDLE]);
        assert_eq!(keys.forget(two), []);
        keys.forget_all().unwrap();
        assert!(!keys.folder.exists());
    }

    fn bundle(n: u8) -> BundleId {
        BundleId([n; 32])
    }

    #[test]
    fn revisions_rise_and_what_was_served_before_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let profile = Profile::open(folder.path()).unwrap();
        let keys = ContainerKeys::of(&profile, FogId([2; 32]));
        let id = ContainerId([1; 16]);
        let named = || ContainerKeys::bundles(&profile).unwrap();
        let identity = keys.create(id, Content { bundle: bundle(1), revision: 10 }, None, false).unwrap();
        assert_eq!(keys.settle(id, 10, None).unwrap(), []);
        assert!(keys.before(id, 10).is_none());
        assert_eq!(keys.sign(id, bundle(2), 5).unwrap(), 11, "above what was signed, whatever the clock says");
        assert_eq!(named(), HashSet::from([bundle(1), bundle(2)]));
        // It was refused or given up: its revision is not used again.
        assert_eq!(keys.settle(id, 10, None).unwrap(), [bundle(2)]);
        assert_eq!(keys.sign(id, bundle(3), 5).unwrap(), 12);
        assert_eq!(keys.settle(id, 10, Some(12)).unwrap(), []);
        assert_eq!(keys.settle(id, 12, None).unwrap(), []);
        assert_eq!(keys.before(id, 12), Some(Content { bundle: bundle(1), revision: 10 }));
        // Back, as a further revision; and forth again.
        assert_eq!(keys.sign(id, bundle(1), 20).unwrap(), 20);
        assert_eq!(keys.settle(id, 20, None).unwrap(), []);
        assert_eq!(keys.before(id, 20).unwrap().bundle, bundle(3));
        assert_eq!(keys.sign(id, bundle(4), 0).unwrap(), 21);
        assert_eq!(keys.settle(id, 21, None).unwrap(), [bundle(3)], "one step back is kept");
        assert_eq!(keys.before(id, 21).unwrap().bundle, bundle(1));
        assert!(keys.sign(id, bundle(5), u64::MAX).is_err());
        assert_eq!(keys.load(id).unwrap().0.onion(), identity.onion());
        // An old backup: of what is served it knows nothing.
        assert_eq!(keys.settle(id, 30, None).unwrap(), [bundle(1)]);
        assert_eq!(keys.before(id, 30).unwrap().bundle, bundle(4));
        assert_eq!(keys.forget(id), [bundle(4)]);
    }

    #[test]
    fn a_file_of_before_revisions_were_kept_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let profile = Profile::open(folder.path()).unwrap();
        let keys = ContainerKeys::of(&profile, FogId([2; 32]));
        let id = ContainerId([1; 16]);
        keys.create(id, Content { bundle: bundle(1), revision: 0 }, None, false).unwrap();
        let text = std::fs::read_to_string(keys.file(id)).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| !line.contains("revision")).collect();
        std::fs::write(keys.file(id), lines.join("\n")).unwrap();
        assert_eq!(ContainerKeys::bundles(&profile).unwrap(), HashSet::from([bundle(1)]));
        assert_eq!(keys.settle(id, 7, None).unwrap(), []);
        assert_eq!(keys.sign(id, bundle(2), 0).unwrap(), 8);
        assert_eq!(keys.before(id, 8), Some(Content { bundle: bundle(1), revision: 7 }));
    }
}
