//! A profile: the folder that holds everything of one node, and the lock that lets only one process run it.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

/// A profile folder that this process has locked. The lock ends with the value (or the process, however it ends).
#[derive(Debug)]
pub struct Profile {
    root: PathBuf,
    _lock: File,
}

/// Why a profile can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Another process runs it.
    #[error("the profile {} is in use by process {pid}: talk to that one, or end it first", path.display())]
    InUse {
        /// The profile's folder.
        path: PathBuf,
        /// Who has it; empty when it has not said.
        pid: String,
    },
    /// The folder can't be made or written.
    #[error("the profile folder {} can't be used: {source}", path.display())]
    Folder {
        /// The file or folder in question.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Where the profile is unless a user says otherwise: `$FOGBANK_PROFILE`, else `fogbank` in the folder that the system has for such data.
/// `None` where there is no such folder (phones: there the app knows its own).
pub fn usual_profile() -> Option<PathBuf> {
    let named = std::env::var_os("FOGBANK_PROFILE").map(PathBuf::from);
    named.or_else(|| dirs::data_dir().map(|data| data.join("fogbank")))
}

impl Profile {
    /// Opens a profile, making its folder (owner-only) when it is new, and locks it.
    ///
    /// # Errors
    /// When another process has it, or the folder can't be used.
    pub fn open(root: &Path) -> Result<Self, ProfileError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ProfileError::Folder { path, source }
        };
        std::fs::create_dir_all(root).map_err(failed(root))?;
        restrict(root, 0o700).map_err(failed(root))?;
        let path = root.join("lock");
        let mut lock =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = lock.take(20).read_to_string(&mut pid);
                return Err(ProfileError::InUse { path: root.to_owned(), pid: pid.trim().to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(ProfileError::Folder { path, source }),
        }
        lock.set_len(0).and_then(|()| lock.rewind()).map_err(failed(&path))?;
        writeln!(lock, "{}", std::process::id()).map_err(failed(&path))?;
        Ok(Self { root: root.to_owned(), _lock: lock })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file or folder in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

/// Replaces a file in one step, readable by its owner only, so that a crash leaves the old or the new, never half.
///
/// # Errors
/// When it can't be written; the old file is then as it was.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    // A left-over one may be a link, or readable by others.
    let _ = std::fs::remove_file(&fresh);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(&fresh)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&fresh, path));
    let written = written.and_then(|()| path.parent().map_or(Ok(()), sync_folder));
    if written.is_err() {
        let _ = std::fs::remove_file(&fresh);
    }
    written
}

/// Makes a folder's names survive a power cut; where folders can't be synced, the system sees to it.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Takes everyone else's permissions away; on systems without modes the user's own folder protects it.
fn restrict(path: &Path, mode: u32) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
    }
    #[cfg(not(unix))]
    {
        let _ = (path, mode);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = Profile::open(folder.path()).unwrap();
        let error = Profile::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(first);
        Profile::open(folder.path()).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn private_files_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        // A link that lies where the fresh file will be is not followed.
        let elsewhere = folder.path().join("elsewhere");
        std::fs::write(&elsewhere, b"mine").unwrap();
        std::os::unix::fs::symlink(&elsewhere, path.with_extension("new")).unwrap();
        write_private(&path, b"three").unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), std::fs::read(&elsewhere).unwrap()), (b"three".to_vec(), b"mine".to_vec()));
    }
}
