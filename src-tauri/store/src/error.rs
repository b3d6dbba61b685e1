//! What can go wrong with a database, for people first.

use fogbank_model::IllegalMove;
use std::path::PathBuf;

/// Why a database can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its content is not what SQLite or this program wrote.
    #[error(
        "the database {} is damaged ({why}). Nothing was changed. Put a backup of it back; without one, move it away and the fog begins \
         anew, and members and containers must be added again",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// A newer Fogbank wrote it.
    #[error("the database {} was written by a newer Fogbank: update this one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
    },
    /// No room.
    #[error("the disk is full: the database {} can't be written. Free some space and start again", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// Anything else.
    #[error("the database {} can't be opened: {source}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
}

/// Why something was not read or kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("{}", describe(.source))]
    Database {
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The machine has no such move.
    #[error(transparent)]
    Move(IllegalMove),
    /// What is kept can't be read back.
    #[error("the database holds {what} that can't be read")]
    Unreadable {
        /// What.
        what: &'static str,
    },
    /// No such thing.
    #[error("there is no such {what}")]
    NotFound {
        /// What.
        what: &'static str,
    },
    /// It is there already, from someone else.
    #[error("that {what} is taken")]
    Taken {
        /// What.
        what: &'static str,
    },
}

/// SQLite's primary result codes that people should hear about in words.
pub(crate) const SQLITE_FULL: &str = "13";

fn describe(error: &sqlx::Error) -> String {
    let code = error.as_database_error().and_then(|e| e.code().map(|c| c.into_owned()));
    if code.as_deref() == Some(SQLITE_FULL) {
        "the disk is full: the fog's database can't be written. Free some space; nothing that was kept is lost".to_owned()
    } else {
        format!("the fog's database failed: {error}")
    }
}

impl StoreError {
    pub(crate) fn database(source: sqlx::Error) -> Self {
        Self::Database { source }
    }
}
