//! What people hear when the database can't be used, and that nothing is lost by it.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use fogbank_model::{DeviceId, OwnerId, UnixMs};
use fogbank_store::{OpenError, RoleBits, Store};
use std::path::Path;

const NOW: UnixMs = UnixMs(1_790_000_000_000);

#[cfg(target_os = "linux")]
mod disk {
    //! A disk of a few hundred kilobytes: a tmpfs of its own, which takes root.

    use std::{
        path::{Path, PathBuf},
        process::{Command, Stdio},
    };

    pub(crate) struct Disk {
        folder: tempfile::TempDir,
    }

    impl Disk {
        /// `None` where this process may not mount; the test then says so.
        pub(crate) fn new(kib: u32) -> Option<Self> {
            let folder = tempfile::tempdir().unwrap();
            let size = format!("size={kib}k");
            let mut mount = Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).stderr(Stdio::null());
            if !mount.status().is_ok_and(|s| s.success()) {
                eprintln!("skipped: mounting a small disk takes root");
                return None;
            }
            Some(Self { folder })
        }

        pub(crate) fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        pub(crate) fn fill(&self) {
            let mut bytes = vec![0u8; 64 << 10];
            let mut filler = std::fs::File::create(self.path("filler")).unwrap();
            while !bytes.is_empty() {
                if std::io::Write::write_all(&mut filler, &bytes).is_err() {
                    bytes.truncate(bytes.len() / 2);
                }
            }
        }

        pub(crate) fn free(&self) {
            std::fs::remove_file(self.path("filler")).unwrap();
        }

        pub(crate) fn read_only(&self) {
            remount(self.folder.path(), "remount,ro");
        }
    }

    fn remount(folder: &Path, how: &str) {
        assert!(Command::new("mount").args(["-o", how]).arg(folder).status().unwrap().success());
    }

    impl Drop for Disk {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
        }
    }
}

async fn join(store: &Store, n: u64) -> Result<(), fogbank_store::StoreError> {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&n.to_be_bytes());
    store.put_device(DeviceId(id), OwnerId([1; 32]), &"a long name ".repeat(20), RoleBits(1), NOW).await
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_disk_that_fills_up_is_said_and_loses_nothing() {
    let Some(disk) = disk::Disk::new(1024) else { return };
    let store = Store::open(&disk.path("fog.sqlite")).await.unwrap();
    join(&store, 0).await.unwrap();
    disk.fill();
    let mut kept = 1;
    let error = loop {
        match join(&store, kept).await {
            Ok(()) => kept += 1,
            Err(error) => break error.to_string(),
        }
        assert!(kept < 10_000, "the disk never filled up");
    };
    assert!(error.contains("the disk is full") && error.contains("nothing that was kept is lost"), "{error}");
    assert_eq!(store.devices().await.unwrap().len() as u64, kept, "it goes on answering");
    disk.free();
    join(&store, kept).await.unwrap();
    store.close().await;
    let store = Store::open(&disk.path("fog.sqlite")).await.unwrap();
    assert_eq!(store.devices().await.unwrap().len() as u64, kept + 1);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_said_at_the_start() {
    let Some(disk) = disk::Disk::new(512) else { return };
    disk.fill();
    let error = Store::open(&disk.path("fog.sqlite")).await.err().unwrap();
    assert!(matches!(error, OpenError::DiskFull { .. }), "{error:?}");
    disk.free();
    Store::open(&disk.path("fog.sqlite")).await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_read_only_disk_is_said() {
    let Some(disk) = disk::Disk::new(1024) else { return };
    Store::open(&disk.path("fog.sqlite")).await.unwrap().close().await;
    disk.read_only();
    let error = Store::open(&disk.path("fog.sqlite")).await.err().unwrap();
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error:?}");
    let error = Store::open(&disk.path("new.sqlite")).await.err().unwrap();
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error:?}");
}

#[tokio::test]
async fn a_newer_database_is_refused_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fog.sqlite");
    Store::open(&path).await.unwrap().close().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'from the future', 1, x'00', 0)";
    raw(&path, newer).await;
    let error = Store::open(&path).await.err().unwrap();
    assert!(matches!(error, OpenError::Newer { .. }) && error.to_string().contains("newer Fogbank"), "{error}");
    raw(&path, "DELETE FROM _sqlx_migrations WHERE version = 9999").await;
    Store::open(&path).await.unwrap();
}

async fn raw(path: &Path, sql: &'static str) {
    let pool = sqlx::SqlitePool::connect_with(sqlx::sqlite::SqliteConnectOptions::new().filename(path)).await.unwrap();
    sqlx::query(sql).execute(&pool).await.unwrap();
    pool.close().await;
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_can_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("fog.sqlite")).await.unwrap();
    join(&store, 1).await.unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} has mode {mode:o}", entry.file_name());
    }
}
