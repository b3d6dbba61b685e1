//! Opening a database: checked before it is used, migrated, in write-ahead mode with durable commits.

use crate::{OpenError, StoreError, error::SQLITE_FULL, transition::KillSwitch};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{path::Path, time::Duration};

/// Connections: one writer at a time is SQLite's rule; a few readers beside it.
const CONNECTIONS: u32 = 4;
/// A writer that waits longer for its turn gives up.
const BUSY: Duration = Duration::from_secs(10);

/// An allocator's database.
#[derive(Clone)]
pub struct Store {
    pub(crate) pool: SqlitePool,
    pub(crate) kill: KillSwitch,
}

impl Store {
    /// Opens a database, making it when there is none.
    ///
    /// # Errors
    /// When it is damaged, of a newer version, or can't be written; nothing is changed then.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY);
        let failed = |source| classify(path, source);
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS).connect_with(options).await.map_err(failed)?;
        let verdict: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&pool).await.map_err(failed)?;
        if verdict != "ok" {
            return Err(OpenError::Damaged { path: path.to_owned(), why: verdict });
        }
        sqlx::migrate!("./migrations").run(&pool).await.map_err(|error| match error {
            sqlx::migrate::MigrateError::VersionMissing(_) | sqlx::migrate::MigrateError::VersionTooNew(..) => {
                OpenError::Newer { path: path.to_owned() }
            }
            sqlx::migrate::MigrateError::VersionMismatch(version) => {
                OpenError::Damaged { path: path.to_owned(), why: format!("migration {version} is another") }
            }
            sqlx::migrate::MigrateError::Execute(source) => classify(path, source),
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
    // 11: the file's inside is malformed; 26: it is no database.
    let code = source.as_database_error().and_then(|e| e.code().map(|c| c.into_owned()));
    match code.as_deref() {
        Some("11" | "26") => OpenError::Damaged { path: path.to_owned(), why: source.to_string() },
        Some(SQLITE_FULL) => OpenError::DiskFull { path: path.to_owned() },
        _ => OpenError::Other { path: path.to_owned(), source },
    }
}
