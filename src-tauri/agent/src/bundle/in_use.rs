//! Uses of a bundle: while one lives, the bundle stays whole on the disk, whatever else happens to it.

use super::{BundleId, Bundles, Kind};

/// A bundle in use.
#[derive(Debug)]
pub(crate) struct InUse {
    bundles: Bundles,
    id: BundleId,
}

impl InUse {
    pub(crate) fn bundles(&self) -> &Bundles {
        &self.bundles
    }

    pub(crate) fn id(&self) -> BundleId {
        self.id
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut gone = false;
        self.bundles.shared.held.send_if_modified(|all| {
            let Some(held) = all.get_mut(&self.id) else { return false };
            held.uses = held.uses.saturating_sub(1);
            gone = held.uses == 0 && !(held.own || held.kept || held.cached);
            if gone {
                all.remove(&self.id);
            }
            true
        });
        // Outside a runtime the process ends, and the tag is an unfinished fetch's at the next start.
        if let (true, Ok(runtime)) = (gone, tokio::runtime::Handle::try_current()) {
            let (bundles, id) = (self.bundles.clone(), self.id);
            runtime.spawn(async move {
                if !bundles.has(id)
                    && let Err(error) = bundles.untag(Kind::Part, id).await
                {
                    tracing::warn!(%error, "a bundle that is not needed stays for now");
                }
            });
        }
    }
}

impl Bundles {
    /// Keeps a bundle from going while the guard lives; `None` when it is not here.
    pub(crate) fn use_it(&self, id: BundleId) -> Option<InUse> {
        let known = self.shared.held.send_if_modified(|held| held.get_mut(&id).map(|h| h.uses += 1).is_some());
        known.then(|| InUse { bundles: self.clone(), id })
    }
}
