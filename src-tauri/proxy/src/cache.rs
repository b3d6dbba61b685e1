//! Manifests that were checked, and small files, by address and isolation: a page of forty pieces asks for the manifest once, and a picture on
//! every page comes once.
//!
//! Invariants: only what was checked is kept, under the root that it was checked against; nothing is shared between isolations; all together stays
//! within [`MAX_BYTES`] and [`MAX_KEPT`], the least lately used site going first. In memory only: what is kept is gone with the program.

use bytes::Bytes;
use fogbank_betanet::client::MAX_SITES;
use fogbank_model::Onion;
use fogbank_site::{Manifest, Root};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// Bytes of all manifests and files: a few per cent of a small computer's memory.
const MAX_BYTES: usize = 64 << 20;
/// Sites kept: what is kept is shown only while its tunnel stands, and no more of them are open at once. What each takes beside its manifest and
/// files, below two kilobytes, is a hundredth of [`MAX_BYTES`] for all.
const MAX_KEPT: usize = MAX_SITES;
/// Bytes of one site's files, so that one with a thousand pictures does not take the place of all others.
const MAX_SITE_BYTES: usize = 8 << 20;
/// A file up to this length is kept: scripts, styles and icons are, photographs are not.
pub(crate) const SMALL_BYTES: u64 = 128 << 10;
/// What an entry of a manifest takes in memory besides its path.
const ENTRY_BYTES: usize = 96;

/// One address in one isolation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) onion: Onion,
    pub(crate) isolation: String,
}

/// A site as it was checked.
pub(crate) struct View {
    pub(crate) root: Root,
    pub(crate) manifest: Manifest,
}

struct Kept {
    view: Arc<View>,
    files: HashMap<usize, Bytes>,
    manifest_bytes: usize,
    file_bytes: usize,
    used: Instant,
}

/// What is kept.
#[derive(Default)]
pub(crate) struct Cache(Mutex<HashMap<Key, Kept>>);

impl Cache {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The site. To be shown only while it is open.
    pub(crate) fn view(&self, key: &Key) -> Option<Arc<View>> {
        let mut kept = self.lock();
        let site = kept.get_mut(key)?;
        site.used = Instant::now();
        Some(site.view.clone())
    }

    /// A copy was just reached, and this is the root that its seal names: what is kept under another one is forgotten.
    pub(crate) fn confirm(&self, key: &Key, root: Root) {
        let mut kept = self.lock();
        if kept.get(key).is_some_and(|site| site.view.root != root) {
            kept.remove(key);
        }
    }

    /// Keeps a manifest that was checked against this root. When another request was first, what that kept stays, its files with it.
    pub(crate) fn keep(&self, key: &Key, root: Root, manifest: Manifest) -> Arc<View> {
        let mut kept = self.lock();
        let now = Instant::now();
        if let Some(site) = kept.get_mut(key).filter(|site| site.view.root == root) {
            site.used = now;
            return site.view.clone();
        }
        let manifest_bytes = manifest.entries().iter().map(|e| e.path().len() + ENTRY_BYTES).sum();
        let view = Arc::new(View { root, manifest });
        let site = Kept { view: view.clone(), files: HashMap::new(), manifest_bytes, file_bytes: 0, used: now };
        kept.insert(key.clone(), site);
        shrink(&mut kept);
        view
    }

    /// The whole of a small file.
    pub(crate) fn file(&self, key: &Key, root: Root, number: usize) -> Option<Bytes> {
        let mut kept = self.lock();
        let site = kept.get_mut(key).filter(|site| site.view.root == root)?;
        site.used = Instant::now();
        site.files.get(&number).cloned()
    }

    /// Keeps the whole of a small file that was checked, while there is room for it.
    pub(crate) fn keep_file(&self, key: &Key, root: Root, number: usize, bytes: Bytes) {
        let mut kept = self.lock();
        let Some(site) = kept.get_mut(key).filter(|site| site.view.root == root) else { return };
        if bytes.len() as u64 > SMALL_BYTES || site.file_bytes + bytes.len() > MAX_SITE_BYTES {
            return;
        }
        let length = bytes.len();
        if site.files.insert(number, bytes).is_none() {
            site.file_bytes += length;
        }
        shrink(&mut kept);
    }
}

fn shrink(kept: &mut HashMap<Key, Kept>) {
    let total = |kept: &HashMap<Key, Kept>| kept.values().map(|s| s.manifest_bytes + s.file_bytes).sum::<usize>();
    while (total(kept) > MAX_BYTES || kept.len() > MAX_KEPT) && kept.len() > 1 {
        let Some(oldest) = kept.iter().min_by_key(|(_, site)| site.used).map(|(key, _)| key.clone()) else { return };
        kept.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fogbank_site::Part;

    fn key(isolation: &str) -> Key {
        let onion = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion".parse().unwrap();
        Key { onion, isolation: isolation.to_owned() }
    }

    fn manifest() -> Manifest {
        Manifest::build(vec![Part { path: "index.html".to_owned(), bytes: 1, blob: 0 }], vec![[0; 32]])
    }

    #[test]
    fn another_root_or_isolation_finds_nothing() {
        let cache = Cache::default();
        let (one, two) = (Root([1; 32]), Root([2; 32]));
        cache.keep(&key("a"), one, manifest());
        cache.keep_file(&key("a"), one, 0, Bytes::from_static(b"x"));
        assert!(cache.view(&key("a")).is_some() && cache.file(&key("a"), one, 0).is_some());
        assert!(cache.view(&key("b")).is_none() && cache.file(&key("a"), two, 0).is_none());
        cache.confirm(&key("a"), one);
        assert!(cache.view(&key("a")).is_some());
        cache.confirm(&key("a"), two);
        assert!(cache.view(&key("a")).is_none(), "the publisher put something else online");
    }

    #[test]
    fn two_that_take_one_manifest_at_once_keep_it_once() {
        let cache = Cache::default();
        let root = Root([1; 32]);
        let first = cache.keep(&key("a"), root, manifest());
        cache.keep_file(&key("a"), root, 0, Bytes::from_static(b"x"));
        let second = cache.keep(&key("a"), root, manifest());
        assert!(Arc::ptr_eq(&first, &second));
        assert!(cache.file(&key("a"), root, 0).is_some(), "what the first kept stays");
    }

    #[test]
    fn no_more_sites_are_kept_than_can_be_open() {
        let cache = Cache::default();
        for site in 0..MAX_KEPT + 10 {
            cache.keep(&key(&site.to_string()), Root([1; 32]), manifest());
        }
        assert_eq!(cache.lock().len(), MAX_KEPT);
        assert!(cache.view(&key("0")).is_none() && cache.view(&key(&(MAX_KEPT + 9).to_string())).is_some());
    }

    #[test]
    fn all_together_stay_within_their_bounds() {
        let cache = Cache::default();
        let root = Root([1; 32]);
        for site in 0..20 {
            let key = key(&site.to_string());
            cache.keep(&key, root, manifest());
            for file in 0..100 {
                cache.keep_file(&key, root, file, Bytes::from(vec![0; SMALL_BYTES as usize]));
            }
        }
        let kept = cache.lock();
        let bytes: usize = kept.values().map(|s| s.file_bytes).sum();
        assert!(bytes <= MAX_BYTES && kept.values().all(|s| s.file_bytes <= MAX_SITE_BYTES), "{bytes}");
        assert!(kept.contains_key(&key("19")) && !kept.contains_key(&key("0")), "the oldest goes first");
    }
}
