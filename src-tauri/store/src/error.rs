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
    /// The file or its folder is read-only.
    #[error("the database {} can't be written: make the file and its folder writable and start again", path.display())]
    ReadOnly {
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
    /// It or its owner was removed from the fog.
    #[error("this device or its owner was removed")]
    Banned,
    /// It is there already, from someone else.
    #[error("that {what} is taken")]
    Taken {
        /// What.
        what: &'static str,
    },
}

/// What SQLite complains about, as far as people can do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Complaint {
    Full,
    ReadOnly,
    Damaged,
    /// A read, a write or an open failed; on a full disk SQLite says this, too.
    Io,
    Other,
}

/// Sorts an error by its primary result code (<https://www.sqlite.org/rescode.html>): the low byte of the extended one that sqlx gives.
pub(crate) fn complaint(error: &sqlx::Error) -> Complaint {
    let code = error.as_database_error().and_then(|e| e.code()).and_then(|code| code.parse::<i32>().ok());
    match code.map(|code| code & 0xff) {
        Some(8) => Complaint::ReadOnly,
        Some(10 | 14) => Complaint::Io,
        // 11: the file's inside is malformed; 26: it is no database.
        Some(11 | 26) => Complaint::Damaged,
        Some(13) => Complaint::Full,
        _ => Complaint::Other,
    }
}

fn describe(error: &sqlx::Error) -> String {
    match complaint(error) {
        Complaint::Full => {
            "the disk is full: the fog's database can't be written. Free some space; nothing that was kept is lost".to_owned()
        }
        Complaint::ReadOnly => "the fog's database has become read-only: make its file and folder writable".to_owned(),
        Complaint::Damaged => {
            format!("the fog's database is damaged ({error}): stop the fog and put a backup of the file back")
        }
        Complaint::Io | Complaint::Other => format!("the fog's database failed: {error}"),
    }
}

impl StoreError {
    pub(crate) fn database(source: sqlx::Error) -> Self {
        Self::Database { source }
    }
}
