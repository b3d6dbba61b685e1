//! Opening a database: checked before it is used, migrated, in write-ahead mode with durable commits.

#[cfg(debug_assertions)]
use crate::Cut;
use crate::{
    OpenError, StoreError,
    error::{Complaint, complaint},
    transition::KillSwitch,
};
use sqlx::{
    SqlitePool,
    migrate::MigrateError,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{io, path::Path, time::Duration};

/// Connections: one writer at a time is SQLite's rule; a few readers beside it.
const CONNECTIONS: u32 = 4;
/// A writer that waits longer for its turn gives up.
const BUSY: Duration = Duration::from_secs(10);
/// With less room SQLite can't make its index (32 KiB) and grow its log by a transaction.
const LEAST_FREE_BYTES: u64 = 128 << 10;

/// An allocator's database.
#[derive(Clone)]
pub struct Store {
    pub(crate) pool: SqlitePool,
    pub(crate) kill: KillSwitch,
}

impl Store {
    /// Opens a database, making it when there is none; then only this user can read it (it holds secrets that sign for services).
    ///
    /// # Errors
    /// When it is damaged, of a newer version, or can't be written; nothing is changed then.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_with(path, SqlitePoolOptions::new()).await
    }

    /// As [`Self::open`], of a database whose process will be cut off. For tests.
    ///
    /// # Errors
    /// As [`Self::open`].
    #[cfg(debug_assertions)]
    pub async fn open_until(path: &Path, cut: Cut) -> Result<Self, OpenError> {
        let watched = SqlitePoolOptions::new().after_connect(move |connection, _| {
            let cut = cut.clone();
            Box::pin(async move {
                connection.lock_handle().await?.set_commit_hook(move || cut.commits());
                Ok(())
            })
        });
        Self::open_with(path, watched).await
    }

    async fn open_with(path: &Path, pool: SqlitePoolOptions) -> Result<Self, OpenError> {
        touch_private(path).map_err(|source| match source.kind() {
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => OpenError::ReadOnly { path: path.to_owned() },
            io::ErrorKind::StorageFull => OpenError::DiskFull { path: path.to_owned() },
            _ => OpenError::Other { path: path.to_owned(), source: sqlx::Error::Io(source) },
        })?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY);
        let failed = |source| classify(path, source);
        let pool = pool.max_connections(CONNECTIONS).connect_with(options).await.map_err(failed)?;
        let verdict: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&pool).await.map_err(failed)?;
        if verdict != "ok" {
            return Err(OpenError::Damaged { path: path.to_owned(), why: verdict });
        }
        sqlx::migrate!("./migrations").run(&pool).await.map_err(|error| match error {
            MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(..) => OpenError::Newer { path: path.to_owned() },
            MigrateError::VersionMismatch(version) | MigrateError::Dirty(version) => {
                OpenError::Damaged { path: path.to_owned(), why: format!("migration {version} is another") }
            }
            MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => classify(path, source),
            other => OpenError::Other { path: path.to_owned(), source: sqlx::Error::Migrate(Box::new(other)) },
        })?;
        Ok(Self { pool, kill: KillSwitch::from_environment() })
    }

    /// Closes it; what was committed is on disk.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// A value kept under a name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        sqlx::query_scalar!("SELECT value FROM meta WHERE key = ?", key)
            .fetch_optional(&self.pool)
            .await
            .map_err(StoreError::database)
    }

    /// Keeps a value under a name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_meta(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            key,
            value
        )
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(StoreError::database)
    }
}

fn classify(path: &Path, source: sqlx::Error) -> OpenError {
    let path = path.to_owned();
    match complaint(&source) {
        Complaint::Damaged => OpenError::Damaged { path, why: source.to_string() },
        Complaint::Full => OpenError::DiskFull { path },
        Complaint::ReadOnly => OpenError::ReadOnly { path },
        Complaint::Io | Complaint::Other if disk_is_full(&path) => OpenError::DiskFull { path },
        Complaint::Io | Complaint::Other => OpenError::Other { path, source },
    }
}

/// Makes an empty file of mode 0600 where there is none; SQLite gives its log and index the mode of the database.
fn touch_private(path: &Path) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

#[cfg(unix)]
fn disk_is_full(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|fs| fs.f_bavail.saturating_mul(fs.f_frsize) < LEAST_FREE_BYTES)
}

#[cfg(not(unix))]
fn disk_is_full(_: &Path) -> bool {
    false
}
