//! Guards are kept with the profile: a client that chose anew at each start would meet every mix in the end.

use crate::profile::{Profile, write_private};
use fogbank_betanet::paths::Guards;
use std::{path::PathBuf, sync::Arc};
use tokio::{sync::watch, task::JoinHandle};

/// Which identity's guards.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Use {
    Visiting,
    Hosting,
}

fn file(profile: &Profile, kind: Use) -> PathBuf {
    profile.path(match kind {
        Use::Visiting => "guards-visiting.json",
        Use::Hosting => "guards-hosting.json",
    })
}

/// The guards so far; a file that can't be read means choosing anew.
pub(crate) fn load(profile: &Profile, kind: Use) -> Guards {
    let path = file(profile, kind);
    let Ok(bytes) = std::fs::read(&path) else { return Guards::new() };
    serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        tracing::warn!(%error, path = %path.display(), "the kept guards can't be read; new ones are chosen");
        Guards::new()
    })
}

/// Keeps them whenever they change.
pub(crate) fn keep(profile: Arc<Profile>, kind: Use, mut guards: watch::Receiver<Guards>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while guards.changed().await.is_ok() {
            let current = guards.borrow_and_update().clone();
            let written = serde_json::to_vec(&current)
                .map_err(std::io::Error::from)
                .and_then(|bytes| write_private(&file(&profile, kind), &bytes));
            if let Err(error) = written {
                tracing::warn!(%error, "the guards could not be kept");
            }
        }
    })
}
