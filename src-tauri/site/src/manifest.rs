//! What a site consists of: which files it has, how large, of what type, and the BLAKE3 hash of each content.
//!
//! Invariants: paths are checked, sorted and unique; there is an `index.html` at the root; sizes add up within the limits. A manifest that was
//! decoded here has them, whoever made it. Equal files share a content, so equal folders give equal bytes and with them equal roots.

use crate::path::check_path;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The largest bundle.
pub const MAX_BUNDLE_BYTES: u64 = 4 << 30;
/// The most files in one.
pub const MAX_FILES: u32 = 100_000;
/// The longest manifest: [`MAX_FILES`] with paths of 160 bytes, numbers, sizes and hashes of 32 bytes. It is held in memory while the site is
/// served or visited.
pub const MAX_MANIFEST_BYTES: u64 = 20 << 20;

/// How large a bundle may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all files together.
    pub max_bytes: u64,
    /// Files.
    pub max_files: u32,
    /// Bytes of the manifest.
    pub max_manifest_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_bytes: MAX_BUNDLE_BYTES, max_files: MAX_FILES, max_manifest_bytes: MAX_MANIFEST_BYTES }
    }
}

/// The BLAKE3 hash of a manifest's bytes: what a publisher signs of a site.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Root(pub [u8; 32]);

impl Root {
    /// The root of a manifest in these bytes.
    pub fn of(manifest: &[u8]) -> Self {
        Self(*blake3::hash(manifest).as_bytes())
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

/// The page of a folder.
pub const INDEX: &str = "index.html";
/// Version of the format; first in the bytes, so that any version can read it.
const VERSION: u16 = 2;
/// The longest content type: the registered ones are below 80 characters, parameters included.
const MAX_TYPE_BYTES: usize = 128;

/// A bundle's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    version: u16,
    /// Content types that entries refer to by number: there are few of them in many files.
    types: Vec<String>,
    entries: Vec<Entry>,
    /// BLAKE3 hash of each content, in the order in which entries number them.
    contents: Vec<[u8; 32]>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    path: Box<str>,
    bytes: u64,
    content_type: u16,
    blob: u32,
}

impl Entry {
    /// Its path, without a slash at the front.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Which content it has; in a bundle's sequence of blobs, the manifest not counted, it is the blob of this number.
    pub fn blob(&self) -> usize {
        self.blob as usize
    }
}

/// Why bytes are no manifest that is believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Of another version.
    #[error("its manifest has format {theirs}, this Fogbank reads {VERSION}: update the older of the two")]
    Version {
        /// Its version.
        theirs: u16,
    },
    /// Not the bytes of a manifest.
    #[error("its manifest is unreadable")]
    Unreadable,
    /// More than the limits allow.
    #[error("it has {amount} {what}, at most {limit} are taken")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much it has.
        amount: u64,
        /// What is taken.
        limit: u64,
    },
    /// It says something that can't be.
    #[error("its manifest is wrong: {0}")]
    Wrong(&'static str),
}

/// Content types in one manifest: the guesses are a fixed table of some hundreds.
const MAX_TYPES: u64 = 1_024;

/// A file as the manifest is built from it.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its path.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// The number of its content.
    pub blob: u32,
}

impl Manifest {
    /// Builds a manifest; `parts` are in order of their paths, `contents` are the BLAKE3 hashes of the contents that they number.
    pub fn build(parts: Vec<Part>, contents: Vec<[u8; 32]>) -> Self {
        let mut types: Vec<String> = Vec::new();
        let entries = parts
            .into_iter()
            .map(|part| {
                let content_type = content_type(&part.path);
                let number = types.iter().position(|t| *t == content_type).unwrap_or_else(|| {
                    types.push(content_type);
                    types.len() - 1
                });
                // The guesses are a fixed table of some hundreds.
                let content_type = u16::try_from(number).unwrap_or(0);
                Entry { path: part.path.into_boxed_str(), bytes: part.bytes, content_type, blob: part.blob }
            })
            .collect();
        Self { version: VERSION, types, entries, contents }
    }

    /// Its bytes.
    ///
    /// # Errors
    /// Never in practice: every manifest serialises.
    pub fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_stdvec(self)
    }

    /// Reads a manifest and checks all that it says.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, ManifestError> {
        let (theirs, _) = postcard::take_from_bytes::<u16>(bytes).map_err(|_| ManifestError::Unreadable)?;
        if theirs != VERSION {
            return Err(ManifestError::Version { theirs });
        }
        // A manifest is its parts one after another (postcard), so lists are counted before room is made for them.
        let types = counted(bytes, "content types", MAX_TYPES)?;
        let (types, rest): (Vec<String>, _) = postcard::take_from_bytes(types).map_err(|_| ManifestError::Unreadable)?;
        let (files, _) = postcard::take_from_bytes::<u64>(rest).map_err(|_| ManifestError::Unreadable)?;
        if files > limits.max_files.into() {
            return Err(ManifestError::TooMuch { what: "files", amount: files, limit: limits.max_files.into() });
        }
        let (entries, rest) = postcard::take_from_bytes(rest).map_err(|_| ManifestError::Unreadable)?;
        let (amount, _) = postcard::take_from_bytes::<u64>(rest).map_err(|_| ManifestError::Unreadable)?;
        if amount > limits.max_files.into() {
            return Err(ManifestError::TooMuch { what: "contents", amount, limit: limits.max_files.into() });
        }
        let (contents, rest) = postcard::take_from_bytes(rest).map_err(|_| ManifestError::Unreadable)?;
        if !rest.is_empty() {
            return Err(ManifestError::Unreadable);
        }
        let manifest = Self { version: theirs, types, entries, contents };
        manifest.check(limits)?;
        Ok(manifest)
    }

    fn check(&self, limits: &Limits) -> Result<(), ManifestError> {
        let wrong = |what| Err(ManifestError::Wrong(what));
        let files = self.entries.len() as u64;
        if files > u64::from(limits.max_files) {
            return Err(ManifestError::TooMuch { what: "files", amount: files, limit: limits.max_files.into() });
        }
        let printable = |t: &String| t.len() <= MAX_TYPE_BYTES && !t.is_empty() && t.bytes().all(|b| matches!(b, b' '..=b'~'));
        if !self.types.iter().all(printable) {
            return wrong("a content type is none");
        }
        let mut sizes: Vec<Option<u64>> = vec![None; self.contents.len()];
        let mut total: u64 = 0;
        for entry in &self.entries {
            if check_path(&entry.path).is_err() {
                return wrong("a path is not allowed");
            }
            if usize::from(entry.content_type) >= self.types.len() {
                return wrong("a content type is missing");
            }
            match sizes.get_mut(entry.blob()) {
                None => return wrong("a file's content is missing"),
                Some(size) if size.is_some_and(|s| s != entry.bytes) => return wrong("one content has two sizes"),
                Some(size) => *size = Some(entry.bytes),
            }
            total = total.saturating_add(entry.bytes);
        }
        if sizes.iter().any(Option::is_none) {
            return wrong("a content belongs to no file");
        }
        if !self.entries.is_sorted_by(|a, b| a.path < b.path) {
            return wrong("its files are not in order");
        }
        if total > limits.max_bytes {
            return Err(ManifestError::TooMuch { what: "bytes", amount: total, limit: limits.max_bytes });
        }
        if self.entry(INDEX).is_none() {
            return wrong("it has no index.html");
        }
        Ok(())
    }

    /// The file of that path.
    pub fn entry(&self, path: &str) -> Option<&Entry> {
        self.entries.binary_search_by(|e| (*e.path).cmp(path)).ok().and_then(|at| self.entries.get(at))
    }

    /// All files, in order of their paths.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// A file's content type, fit for a header.
    pub fn content_type(&self, entry: &Entry) -> &str {
        self.types.get(usize::from(entry.content_type)).map_or(UNKNOWN, String::as_str)
    }

    /// Bytes of all files together, equal ones counted each.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|e| e.bytes).sum()
    }

    /// How many contents there are.
    pub fn contents(&self) -> usize {
        self.contents.len()
    }

    /// The BLAKE3 hash of a content.
    pub fn content(&self, number: usize) -> Option<&[u8; 32]> {
        self.contents.get(number)
    }

    /// Length of each content.
    pub fn sizes(&self) -> Vec<u64> {
        let mut sizes = vec![0; self.contents.len()];
        for entry in &self.entries {
            if let Some(size) = sizes.get_mut(entry.blob()) {
                *size = entry.bytes;
            }
        }
        sizes
    }
}

/// The list behind the version, when it has no more elements than that.
fn counted<'b>(bytes: &'b [u8], what: &'static str, limit: u64) -> Result<&'b [u8], ManifestError> {
    let (_, list) = postcard::take_from_bytes::<u16>(bytes).map_err(|_| ManifestError::Unreadable)?;
    let (amount, _) = postcard::take_from_bytes::<u64>(list).map_err(|_| ManifestError::Unreadable)?;
    if amount > limit { Err(ManifestError::TooMuch { what, amount, limit }) } else { Ok(list) }
}

const UNKNOWN: &str = "application/octet-stream";

/// The content type that a path's ending tells. Text is taken for UTF-8, as all but very old files are.
fn content_type(path: &str) -> String {
    let mime = mime_guess::from_path(path).first_or_octet_stream();
    let text = mime.type_() == "text"
        || matches!(mime.subtype().as_str(), "javascript" | "json" | "xml")
        || mime.suffix().is_some_and(|s| s == "xml");
    if text { format!("{mime}; charset=utf-8") } else { mime.to_string() }
}

/// A manifest of files with these paths, for tests of what looks things up in one.
#[cfg(test)]
pub(crate) fn manifest_of(paths: &[&str]) -> Manifest {
    let mut paths = paths.to_vec();
    paths.sort_unstable();
    let part = |(number, path): (usize, &&str)| Part { path: (*path).to_owned(), bytes: 1, blob: number as u32 };
    Manifest::build(paths.iter().enumerate().map(part).collect(), vec![[0; 32]; paths.len()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(path: &str, bytes: u64, blob: u32) -> Part {
        Part { path: path.to_owned(), bytes, blob }
    }

    fn read(parts: Vec<Part>, blobs: usize, limits: &Limits) -> Result<Manifest, ManifestError> {
        Manifest::decode(&Manifest::build(parts, vec![[0; 32]; blobs]).encode().unwrap(), limits)
    }

    #[test]
    fn lists_are_counted_before_room_is_made_for_them() {
        // As many content types as fit: they would take thirty times their bytes in memory.
        let types = vec!["x"; 200_000];
        let hostile = postcard::to_stdvec(&(VERSION, types, Vec::<Entry>::new())).unwrap();
        let refused = Manifest::decode(&hostile, &Limits::default());
        assert!(matches!(refused, Err(ManifestError::TooMuch { what: "content types", amount: 200_000, .. })), "{refused:?}");
        let contents = postcard::to_stdvec(&(VERSION, Vec::<String>::new(), Vec::<Entry>::new(), u64::MAX)).unwrap();
        let refused = Manifest::decode(&contents, &Limits::default());
        assert!(matches!(refused, Err(ManifestError::TooMuch { what: "contents", .. })), "{refused:?}");
        let claims = postcard::to_stdvec(&(VERSION, Vec::<String>::new(), u64::MAX)).unwrap();
        let refused = Manifest::decode(&claims, &Limits::default());
        assert!(matches!(refused, Err(ManifestError::TooMuch { what: "files", .. })), "{refused:?}");
    }

    #[test]
    fn there_and_back_with_types() {
        let parts = vec![part("a/app.js", 5, 0), part("index.html", 7, 1), part("x.unheardof", 7, 1)];
        let manifest = read(parts, 2, &Limits::default()).unwrap();
        let of = |path| manifest.content_type(manifest.entry(path).unwrap()).to_owned();
        assert_eq!(of("a/app.js"), "text/javascript; charset=utf-8");
        assert_eq!(of("index.html"), "text/html; charset=utf-8");
        assert_eq!(of("x.unheardof"), UNKNOWN);
        assert_eq!((manifest.bytes(), manifest.sizes()), (19, vec![5, 7]));
        assert!(manifest.entry("a").is_none());
    }

    #[test]
    fn lies_are_noticed() {
        let small = Limits { max_bytes: 10, max_files: 2, ..Limits::default() };
        let index = || part(INDEX, 1, 0);
        let cases: [(Vec<Part>, usize); 9] = [
            (vec![part("a.html", 1, 0)], 1),
            (vec![index(), part("../x", 1, 0)], 1),
            (vec![index(), index()], 1),
            (vec![part("z", 1, 0), index()], 1),
            (vec![index(), part("x", 1, 1)], 1),
            (vec![index(), part("x", 2, 0)], 1),
            (vec![index()], 2),
            (vec![index(), part("x", 10, 1)], 2),
            (vec![index(), part("x", 1, 0), part("y", 1, 0)], 1),
        ];
        for (number, (parts, blobs)) in cases.into_iter().enumerate() {
            assert!(read(parts, blobs, &small).is_err(), "case {number}");
        }
        assert!(read(vec![index(), part("x", u64::MAX, 1)], 2, &Limits::default()).is_err());
        let mut other = Manifest::build(vec![index()], vec![[0; 32]]);
        other.version = 9;
        let error = Manifest::decode(&other.encode().unwrap(), &small).unwrap_err();
        assert!(error.to_string().contains("format 9"), "{error}");
        let mut other = Manifest::build(vec![index()], vec![[0; 32]]);
        other.types = vec!["text/html\r\nSet-Cookie: x".to_owned()];
        assert!(Manifest::decode(&other.encode().unwrap(), &small).is_err());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _ = Manifest::decode(&bytes, &Limits::default());
            let mut versioned = vec![VERSION as u8];
            versioned.extend(bytes);
            let _ = Manifest::decode(&versioned, &Limits::default());
        }
    }
}
