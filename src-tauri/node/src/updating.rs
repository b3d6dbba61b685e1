//! Putting other content under an address that is online: a folder, or the content before.
//!
//! ```text
//! what the allocator has (its seal shows which revisions were signed) → content → signed as the next revision, kept → asked of the allocator
//! ```
//!
//! Invariants: the key that signs stays here; a revision is on disk before anyone hears of it and is never used again, whatever becomes of it; it is
//! above those of this profile, above the one that the allocator shows, which counts only by this address' own signature, and above the clock's
//! milliseconds of before: so also a profile restored from an old backup signs no second content under a used revision, unless the allocator hides
//! what it has and the clock is behind. What content is needed stays on the disk: what is served, what is coming, and what was served before that.
//! Deliberately absent: how copies and visitors are led over (the allocator's).

use crate::{
    answers::{self, invalid},
    container_keys::{Content, KeyError},
    control::{ControlError, ControlReply},
    node::Inner,
    publishing::{self, OnItsWay, absolute, insist, look, not_a_publisher},
};
use fogbank_agent::{
    bundle::{self, Limits, Root},
    site::Site,
};
use fogbank_betanet::{address::Address, directory::clock, proof::ContainerIdentity, seal::SiteSeal};
use fogbank_model::{BundleId, ContainerId, FogId, Image, RevisionState};
use fogbank_wire::{ContainerDetail, NodeReply, NodeRequest};
use std::path::PathBuf;

/// What is to be put online.
pub(crate) enum Wish {
    /// This folder.
    Folder(String),
    /// What was online before.
    Back,
}

/// Content that is here.
struct Chosen {
    bundle: BundleId,
    bytes: u64,
    files: u32,
    root: [u8; 32],
    /// It came here for this update.
    fresh: bool,
}

/// What the allocator has of a container, as far as it can be believed.
struct Standing {
    /// Of what visitors are told of.
    served: u64,
    /// Of what is coming.
    coming: Option<u64>,
    /// The highest revision that was taken.
    newest: SiteSeal,
}

/// Puts other content under a container's address.
pub(crate) async fn update(inner: &Inner, id: ContainerId, wish: Wish) -> Result<ControlReply, ControlError> {
    let on_its_way = inner.progress.begin()?;
    let membership = inner.settings().membership.ok_or_else(answers::no_fog)?;
    if !membership.granted.publisher {
        return Err(not_a_publisher());
    }
    let fog = membership.fog;
    let Some((identity, _)) = inner.keys(fog).load(id) else {
        let todo = "Update it on the device that published it: the key of its address is there and nowhere else.";
        return Err(invalid("the container was not published from here", todo));
    };
    let NodeReply::Container(detail) = insist(inner, &NodeRequest::Container(id)).await? else {
        return Err(answers::failed("the allocator gave another answer than was asked for", ""));
    };
    let standing = standing(&detail, &identity)?;
    let unneeded = inner.keys(fog).settle(id, standing.served, standing.coming).map_err(|e| key_failed(&e))?;
    disown(inner, unneeded).await;

    let chosen = match wish {
        Wish::Folder(folder) => {
            let folder = absolute(&folder)?;
            let (files, bytes) = look(folder.clone()).await?;
            // Whether it would fit, before a large folder is read.
            let guessed = Image::Site { bundle: BundleId([0; 32]), bytes, files };
            let ask = NodeRequest::Update { id, image: guessed, seal: None };
            if let NodeReply::Infeasible(why) = inner.ask(&ask).await? {
                return Err(does_not_fit(&why));
            }
            imported(inner, folder, bytes, &on_its_way).await?
        }
        Wish::Back => {
            let before = inner.keys(fog).before(id, standing.served).ok_or_else(|| {
                let todo = "Name the folder: fogbankd update ID FOLDER.";
                invalid("no content of before is kept here", todo)
            })?;
            kept(inner, before.bundle).await?
        }
    };
    if standing.newest.revision == standing.served && standing.newest.root == chosen.root {
        release(inner, &chosen).await;
        return Err(invalid("this is what is online already", "Nothing was changed."));
    }
    if inner.settings().membership.is_none_or(|m| m.fog != fog) {
        release(inner, &chosen).await;
        return Err(invalid("this node left the fog meanwhile", "Nothing was changed."));
    }
    on_its_way.step("asking the allocator", chosen.bytes, chosen.bytes);
    ask(inner, fog, id, &identity, &standing, &chosen).await
}

/// Signs the content as the next revision and hands it over.
async fn ask(
    inner: &Inner,
    fog: FogId,
    id: ContainerId,
    identity: &ContainerIdentity,
    standing: &Standing,
    chosen: &Chosen,
) -> Result<ControlReply, ControlError> {
    // The time makes revisions that rise also where nothing else is known.
    let least = standing.newest.revision.saturating_add(1).max(u64::try_from(clock().0).unwrap_or(0));
    let revision = inner.keys(fog).sign(id, chosen.bundle, least).map_err(|e| key_failed(&e))?;
    let signed = SiteSeal { root: chosen.root, revision }.sign(identity);
    let seal = signed.map_err(|error| answers::failed(error.to_string(), "Nothing was changed."))?;
    let image = Image::Site { bundle: chosen.bundle, bytes: chosen.bytes, files: chosen.files };
    let error = match insist(inner, &NodeRequest::Update { id, image, seal: Some(seal) }).await {
        Ok(NodeReply::Done) => return Ok(ControlReply::Updated { revision }),
        Ok(NodeReply::Infeasible(why)) => does_not_fit(&why),
        Ok(_) => answers::failed("the allocator gave another answer than was asked for", ""),
        // It may have been taken: the content stays until the next update shows whether it was.
        Err(error) if error.kind == crate::control::ControlErrorKind::AllocatorAway => return Err(error),
        Err(error) => error,
    };
    match inner.keys(fog).settle(id, standing.served, standing.coming) {
        Ok(unneeded) => disown(inner, unneeded).await,
        Err(error) => tracing::warn!(%error, "content of a refused update stays"),
    }
    Err(error)
}

fn standing(detail: &ContainerDetail, identity: &ContainerIdentity) -> Result<Standing, ControlError> {
    let wrong = |what: &str| answers::failed(what, "Nothing was changed. Tell who runs the fog.");
    let address = Address::parse(identity.onion()).map_err(|e| wrong(&e.to_string()))?;
    let bytes = detail.seal.as_ref().ok_or_else(|| wrong("the allocator shows no seal of this container"))?;
    let newest = SiteSeal::open(bytes, &address).map_err(|e| wrong(&format!("the allocator shows another's seal: {e}")))?;
    let coming = detail.update.as_ref().filter(|update| update.revision.state == RevisionState::Coming);
    // 0: from before revisions were kept, when there was one.
    let served = if detail.container.revision == 0 { newest.revision } else { detail.container.revision };
    Ok(Standing { served, coming: coming.map(|update| update.revision.number), newest })
}

async fn imported(inner: &Inner, folder: PathBuf, bytes: u64, on_its_way: &OnItsWay) -> Result<Chosen, ControlError> {
    on_its_way.step("reading the files", 0, bytes);
    let told = |p: bundle::ImportProgress| on_its_way.step("reading the files", p.done_bytes, p.total_bytes);
    let imported = inner.bundles.import(&folder, &Limits::default(), told).await;
    let imported = imported.map_err(|e| invalid(e.to_string(), "Nothing was changed."))?;
    let Root(root) = imported.root;
    Ok(Chosen { bundle: imported.id, bytes: imported.bytes, files: imported.files, root, fresh: true })
}

async fn kept(inner: &Inner, bundle: BundleId) -> Result<Chosen, ControlError> {
    let gone = |why: String| answers::failed(format!("the content before can't be used: {why}"), "Name the folder instead.");
    let held = inner.bundles.held().borrow().get(&bundle).copied().ok_or_else(|| gone("it is not here".to_owned()))?;
    let site = Site::open(&inner.bundles, bundle).await.map_err(|error| gone(error.to_string()))?;
    let Root(root) = site.root();
    Ok(Chosen { bundle, bytes: held.bytes, files: held.files, root, fresh: false })
}

async fn release(inner: &Inner, chosen: &Chosen) {
    if chosen.fresh {
        disown(inner, vec![chosen.bundle]).await;
    }
}

async fn disown(inner: &Inner, unneeded: Vec<BundleId>) {
    for bundle in unneeded {
        if let Err(error) = inner.bundles.disown(bundle).await {
            tracing::warn!(%error, bundle = bundle.short(), "own content that is needed no more stays for now");
        }
    }
}

fn key_failed(error: &KeyError) -> ControlError {
    answers::failed(error.to_string(), "Nothing was changed.")
}

fn does_not_fit(why: &fogbank_model::Infeasible) -> ControlError {
    let todo = "Make it smaller, or wait for more devices. What is online goes on.".to_owned();
    ControlError { todo, ..answers::does_not_fit(why) }
}

/// Whether there is content to go back to.
pub(crate) fn can_go_back(inner: &Inner, id: ContainerId, served: u64) -> bool {
    let fog = inner.settings().membership.map(|m| m.fog);
    fog.is_some_and(|fog| {
        inner.keys(fog).before(id, served).is_some_and(|Content { bundle, .. }| publishing::is_here(inner, bundle))
    })
}
