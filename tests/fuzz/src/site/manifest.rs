//! Manifests: as a host says one, and as any publisher can sign one; and what is done with one that is believed.

use super::{RUNTIME, SITE};
use crate::samples::mode;
use fogbank_site::{
    Body, Entry, Files, Limits, MAX_BUNDLE_BYTES, Manifest, Part, Root, TakeError,
    ask::{Ask, COMES},
    check_path, empty, respond, take_manifest,
};
use hyper::Request;
use std::{convert::Infallible, ops::Range};
use tokio::io::{join, sink};

/// Entries of a manifest that are asked for.
const ASKED: usize = 8;

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let part = |path: &str, bytes, blob| Part { path: path.to_owned(), bytes, blob };
    let parts = vec![
        part("404.html", 9, 0),
        part("a/deep/folder/index.html", 1, 1),
        part("index.html", 9, 0),
        part("ü b?.tar.gz", MAX_BUNDLE_BYTES - 100, 2),
    ];
    let large = Manifest::build(parts, vec![[1; 32], [2; 32], [3; 32]]).encode().unwrap();
    let small = Manifest::build(vec![part("index.html", 0, 0)], vec![[1; 32]]).encode().unwrap();
    let own = super::answered(Ask::Manifest { root: SITE.root() });
    let longer = [&[COMES, 0, 0, 2, 0], &own[5..]].concat();
    vec![mode(0, &own), mode(0, &longer), mode(1, &own[5..]), mode(1, &large), mode(1, &small)]
}

pub(crate) fn run(input: &[u8]) -> bool {
    let Some((mode, rest)) = input.split_first() else { return false };
    if mode % 2 == 0 {
        let taken = said(rest, SITE.root(), &Limits::default());
        assert!(taken.as_ref().is_ok_and(|taken| taken == SITE.manifest()) || taken.is_err());
        return taken.is_ok();
    }
    let length = u32::try_from(rest.len()).unwrap().to_be_bytes();
    let answer = [&[COMES][..], &length, rest].concat();
    let few = Limits { max_bytes: 1_000, max_files: 2, max_manifest_bytes: 400 };
    if let Ok(manifest) = said(&answer, Root::of(rest), &few) {
        assert!(manifest.bytes() <= few.max_bytes && manifest.entries().len() <= 2 && rest.len() <= 400);
    }
    match said(&answer, Root::of(rest), &Limits::default()) {
        Ok(manifest) => {
            used(&manifest);
            true
        }
        Err(error) => {
            assert!(matches!(error, TakeError::Manifest(_)), "what the publisher signed is held against the host: {error:?}");
            false
        }
    }
}

/// What a visitor takes of a host that says this.
fn said(answer: &[u8], root: Root, limits: &Limits) -> Result<Manifest, TakeError> {
    RUNTIME.block_on(take_manifest(join(answer, sink()), root, limits))
}

/// What hosts and visitors do with a manifest that they believe.
fn used(manifest: &Manifest) {
    assert!(manifest.bytes() <= MAX_BUNDLE_BYTES);
    assert_eq!(manifest.sizes().len(), manifest.contents());
    assert_eq!(Manifest::decode(&manifest.encode().unwrap(), &Limits::default()).as_ref(), Ok(manifest));
    for entry in manifest.entries() {
        assert_eq!(check_path(entry.path()), Ok(()));
        assert_eq!(manifest.entry(entry.path()), Some(entry));
        assert!(manifest.content(entry.blob()).is_some() && manifest.sizes()[entry.blob()] == entry.bytes());
    }
    for entry in manifest.entries().iter().take(ASKED) {
        for range in ["bytes=0-", "bytes=-1", "bytes=5-4"] {
            // A path with letters that no URL holds is asked for in another form.
            let Ok(request) = Request::builder().uri(format!("/{}", entry.path())).header("range", range).body(()) else { break };
            let Ok(response) = RUNTIME.block_on(respond(&Asked(manifest), &request.into_parts().0));
            let status = response.status().as_u16();
            assert!([200, 206, 301, 400, 404, 416].contains(&status), "{status}");
        }
    }
}

/// A site of a manifest and no contents.
struct Asked<'m>(&'m Manifest);

impl Files for Asked<'_> {
    type Error = Infallible;

    fn manifest(&self) -> &Manifest {
        self.0
    }

    async fn open(&self, entry: &Entry, range: Range<u64>) -> Result<Body, Infallible> {
        assert!(!range.is_empty() && range.end <= entry.bytes());
        Ok(empty())
    }
}
