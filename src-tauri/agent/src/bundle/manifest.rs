//! A bundle's first blob: which files it has, how large, of what type, and which blob of the sequence each is.
//!
//! Invariants: paths are checked, sorted and unique; there is an `index.html` at the root; sizes add up within the limits. A manifest that was
//! decoded here has them, whoever made it. Equal files share a blob, so equal folders give equal bytes and with them equal ids.

use super::{Limits, path::check_path};
use serde::{Deserialize, Serialize};

/// The page of a folder.
pub const INDEX: &str = "index.html";
/// Version of the format; first in the bytes, so that any version can read it.
const VERSION: u16 = 1;
/// The longest content type: the registered ones are below 80 characters, parameters included.
const MAX_TYPE_BYTES: usize = 128;

/// A bundle's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    version: u16,
    /// Content types that entries refer to by number: there are few of them in many files.
    types: Vec<String>,
    entries: Vec<Entry>,
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

    /// Which blob of the sequence it is, the manifest not counted.
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
pub(crate) struct Part {
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) blob: u32,
}

impl Manifest {
    /// Builds a manifest; `parts` are in order of their paths.
    pub(crate) fn build(parts: Vec<Part>) -> Self {
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
        Self { version: VERSION, types, entries }
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_stdvec(self)
    }

    /// Reads a manifest of a sequence with so many blobs, itself not counted, and checks all that it says.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn decode(bytes: &[u8], blobs: usize, limits: &Limits) -> Result<Self, ManifestError> {
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
        if !rest.is_empty() {
            return Err(ManifestError::Unreadable);
        }
        let manifest = Self { version: theirs, types, entries };
        manifest.check(blobs, limits)?;
        Ok(manifest)
    }

    fn check(&self, blobs: usize, limits: &Limits) -> Result<(), ManifestError> {
        let wrong = |what| Err(ManifestError::Wrong(what));
        let files = self.entries.len() as u64;
        if files > u64::from(limits.max_files) {
            return Err(ManifestError::TooMuch { what: "files", amount: files, limit: limits.max_files.into() });
        }
        let printable = |t: &String| t.len() <= MAX_TYPE_BYTES && !t.is_empty() && t.bytes().all(|b| matches!(b, b' '..=b'~'));
        if !self.types.iter().all(printable) {
            return wrong("a content type is none");
        }
        let mut sizes: Vec<Option<u64>> = vec![None; blobs];
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

    /// Size of each blob of the sequence.
    pub(crate) fn sizes(&self, blobs: usize) -> Vec<u64> {
        let mut sizes = vec![0; blobs];
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(path: &str, bytes: u64, blob: u32) -> Part {
        Part { path: path.to_owned(), bytes, blob }
    }

    fn read(parts: Vec<Part>, blobs: usize, limits: &Limits) -> Result<Manifest, ManifestError> {
        Manifest::decode(&Manifest::build(parts).encode().unwrap(), blobs, limits)
    }

    #[test]
    fn lists_are_counted_before_room_is_made_for_them() {
        // As many content types as fit: they would take thirty times their bytes in memory.
        let types = vec!["x"; 200_000];
        let hostile = postcard::to_stdvec(&(VERSION, types, Vec::<Entry>::new())).unwrap();
        let refused = Manifest::decode(&hostile, 0, &Limits::default());
        assert!(matches!(refused, Err(ManifestError::TooMuch { what: "content types", amount: 200_000, .. })), "{refused:?}");
        let claims = postcard::to_stdvec(&(VERSION, Vec::<String>::new(), u64::MAX)).unwrap();
        let refused = Manifest::decode(&claims, 0, &Limits::default());
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
        assert_eq!((manifest.bytes(), manifest.sizes(2)), (19, vec![5, 7]));
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
        let mut other = Manifest::build(vec![index()]);
        other.version = 9;
        let error = Manifest::decode(&other.encode().unwrap(), 1, &small).unwrap_err();
        assert!(error.to_string().contains("format 9"), "{error}");
        let mut other = Manifest::build(vec![index()]);
        other.types = vec!["text/html\r\nSet-Cookie: x".to_owned()];
        assert!(Manifest::decode(&other.encode().unwrap(), 1, &small).is_err());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes: Vec<u8>, blobs in 0usize..5) {
            let _ = Manifest::decode(&bytes, blobs, &Limits::default());
            let mut versioned = vec![1];
            versioned.extend(bytes);
            let _ = Manifest::decode(&versioned, blobs, &Limits::default());
        }
    }
}
