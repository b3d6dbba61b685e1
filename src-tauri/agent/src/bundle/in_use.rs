//! Uses of a bundle: while one lives, the bundle stays whole on the disk, whatever else happens to it.

use super::{BundleId, Bundles};

/// A bundle in use: it stays while this lives.
#[derive(Debug)]
pub struct InUse {
    bundles: Bundles,
    id: BundleId,
}

impl InUse {
    /// For a use that is counted already.
    pub(super) fn counted(bundles: Bundles, id: BundleId) -> Self {
        Self { bundles, id }
    }

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
            gone = held.uses == 0 && !held.wanted();
            if gone {
                all.remove(&self.id);
            }
            true
        });
        // Outside a runtime the process ends, and the tag is an unfinished fetch's at the next start.
        if let (true, Ok(runtime)) = (gone, tokio::runtime::Handle::try_current()) {
            let (bundles, id) = (self.bundles.clone(), self.id);
            runtime.spawn(async move {
                if let Err(error) = bundles.end_part(id).await {
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
        known.then(|| InUse::counted(self.clone(), id))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Limits, SILENCE, Wanted};
    use super::*;
    use fogbank_model::{DeviceId, UnixMs};
    use fogbank_wire::{BundlePermit, Signed};
    use futures_util::StreamExt as _;
    use iroh::{Endpoint, RelayMode, SecretKey, endpoint::presets};

    /// The reasons by which the store keeps a bundle.
    async fn tags(bundles: &Bundles, id: BundleId) -> Vec<Kind> {
        let tags: Vec<_> = bundles.store().tags().list().await.unwrap().collect().await;
        let tags = tags.into_iter().filter_map(|tag| Kind::of_tag(tag.unwrap().name.as_ref()));
        tags.filter(|(_, of)| *of == id).map(|(kind, _)| kind).collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn what_is_asked_for_while_it_gives_way_is_there_or_fetched_but_never_said_to_be_there_and_gone() {
        let (folder, site) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(site.path().join("index.html"), b"hello").unwrap();
        let bundles = Bundles::open(folder.path()).await.unwrap();
        let bundle = bundles.import(site.path(), &Limits::default(), |_| ()).await.unwrap().id;
        let builder = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled).clear_address_lookup();
        let endpoint = builder.bind().await.unwrap();
        let permit = BundlePermit { bundle, device: DeviceId([0; 32]), expires: UnixMs(0) };
        let permit = Signed::seal(&SecretKey::generate(), BundlePermit::CONTEXT, &permit).unwrap();
        let wanted = Wanted { bundle, sources: Vec::new(), permit, limits: Limits::default(), silence: SILENCE };
        drop(bundles.cache(&endpoint, &wanted, |_| ()).await.unwrap());
        bundles.disown(bundle).await.unwrap();
        let (mut came, mut gone) = (0, 0);
        for _ in 0..100 {
            let other = bundles.clone();
            let giving_way = tokio::spawn(async move { other.make_room(1).await.unwrap() });
            let used = bundles.cache(&endpoint, &wanted, |_| ()).await;
            giving_way.await.unwrap();
            match used {
                Ok((_, used)) => {
                    came += 1;
                    assert!(bundles.has(bundle) && tags(&bundles, bundle).await == [Kind::Cache]);
                    drop(used);
                }
                // It had given way before, and nobody has it.
                Err(_) => {
                    gone += 1;
                    assert!(!bundles.has(bundle) && !tags(&bundles, bundle).await.contains(&Kind::Cache));
                    // The content is still there until the next collection of garbage.
                    drop(bundles.hold(bundle, Kind::Cache, super::super::Held::default()).await.unwrap());
                }
            }
        }
        assert!(came + gone == 100 && came > 0, "{came} {gone}");
    }
}
