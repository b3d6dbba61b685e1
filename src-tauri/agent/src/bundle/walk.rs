//! Which files a folder has: looked at before anything is read, so that a folder that can't be published is refused at once.
//!
//! Links: one to a file inside the folder is taken as that file; one that leads out, nowhere, or to a folder is refused (folders could contain
//! themselves). What is opened later is compared with what was seen here, so that nothing can be slipped in between.

use super::{INDEX, ImportError, Limits, MAX_PATH_BYTES, NameFault};
use fogbank_site::check_part;
use std::{
    ffi::OsStr,
    fs::{self, Metadata},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// A file as it was seen.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Its path in the bundle.
    pub(crate) path: String,
    /// Where it is.
    pub(crate) file: PathBuf,
    /// How it was.
    pub(crate) mark: Mark,
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) bytes: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    place: (u64, u64),
}

impl Mark {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            place: {
                use std::os::unix::fs::MetadataExt as _;
                (metadata.dev(), metadata.ino())
            },
        }
    }
}

/// All files of a folder, in order of their paths.
pub(crate) fn walk(folder: &Path, limits: &Limits) -> Result<Vec<Seen>, ImportError> {
    let unreadable = |path: &Path, source| ImportError::Unreadable { path: path.to_owned(), source };
    let root = fs::canonicalize(folder).map_err(|e| unreadable(folder, e))?;
    if !fs::metadata(&root).map_err(|e| unreadable(folder, e))?.is_dir() {
        return Err(ImportError::NotAFolder { path: folder.to_owned() });
    }
    let mut seen: Vec<Seen> = Vec::new();
    let mut total: u64 = 0;
    let mut folders = 0;
    let mut left = vec![(root.clone(), String::new())];
    while let Some((place, prefix)) = left.pop() {
        for entry in fs::read_dir(&place).map_err(|e| unreadable(&place, e))? {
            let entry = entry.map_err(|e| unreadable(&place, e))?;
            let at = entry.path();
            let path = join(&prefix, &entry.file_name()).map_err(|why| ImportError::Name { path: at.clone(), why })?;
            let kind = entry.file_type().map_err(|e| unreadable(&at, e))?;
            if kind.is_dir() {
                folders += 1;
                if folders > limits.max_files {
                    return Err(ImportError::TooManyFiles { path: folder.to_owned(), limit: limits.max_files });
                }
                left.push((at, path));
                continue;
            }
            let file = if kind.is_symlink() { follow(&root, &at)? } else { at.clone() };
            let metadata = fs::symlink_metadata(&file).map_err(|e| unreadable(&at, e))?;
            if !metadata.is_file() {
                return Err(ImportError::Special { path: at });
            }
            if seen.len() >= limits.max_files as usize {
                return Err(ImportError::TooManyFiles { path: folder.to_owned(), limit: limits.max_files });
            }
            let mark = Mark::of(&metadata);
            total = total.saturating_add(mark.bytes);
            seen.push(Seen { path, file, mark });
        }
    }
    if seen.is_empty() {
        return Err(ImportError::Empty { path: folder.to_owned() });
    }
    if total > limits.max_bytes {
        return Err(ImportError::TooLarge { path: folder.to_owned(), bytes: total, limit: limits.max_bytes });
    }
    if !seen.iter().any(|s| s.path == INDEX) {
        return Err(ImportError::NoIndex { path: folder.to_owned() });
    }
    seen.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(seen)
}

fn join(prefix: &str, name: &OsStr) -> Result<String, NameFault> {
    let name = name.to_str().ok_or(NameFault::NotUnicode)?;
    check_part(name)?;
    let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
    if path.len() > MAX_PATH_BYTES { Err(NameFault::TooLong) } else { Ok(path) }
}

/// Where a link inside the folder leads.
fn follow(root: &Path, link: &Path) -> Result<PathBuf, ImportError> {
    let target = fs::canonicalize(link).map_err(|source| ImportError::DanglingLink { path: link.to_owned(), source })?;
    if !target.starts_with(root) {
        return Err(ImportError::LeadsOut { path: link.to_owned(), target });
    }
    if target.is_dir() { Err(ImportError::LinkToFolder { path: link.to_owned() }) } else { Ok(target) }
}
