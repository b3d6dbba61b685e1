//! Taking a publisher's new content for an address, and leading visitors over to it.
//!
//! Invariants: only the container's owner updates it, by a seal that the container's own identity signed, of a revision above all that were taken
//! before; what is coming is kept before it is answered for; that visitors are led over is one transaction of the store, and done again by whoever
//! comes after a crash.
//! What the allocator can't tell: a publisher that was restored from a backup and is shown no newer seal signs by its clock; whether what it signs is
//! what its owner wants online, nobody but the owner knows.
//! Deliberately absent: when to do what ([`crate::revising`]).

use crate::{
    act::Actor,
    api::{failed, publisher, room_for, theirs},
    place::{snapshot_for, snapshot_of},
    registry::Member,
    start::Shared,
    world::{SeenContainer, World},
};
use fogbank_betanet::{
    address::Address,
    seal::{MAX_REVISION, SiteSeal},
};
use fogbank_model::{ContainerId, ContainerSpec, ContainerState, Image, Onion, Revision, RevisionState};
use fogbank_store::{KeptContainer, KeptRevision, StoreError};
use fogbank_wire::{NodeReply, Refusal, RefusalKind, ServiceProof, decode, encode};
use std::collections::HashMap;

/// A seal as signed for this address; `None` when it is not.
pub(crate) fn read(seal: &[u8], onion: &Onion) -> Option<SiteSeal> {
    SiteSeal::open(seal, &Address::parse(onion).ok()?).ok()
}

/// The seal of what a copy serves. The error: nobody knows it any more; `Ok(None)`: what it serves has none.
pub(crate) fn seal_of(container: &SeenContainer, proof: &ServiceProof, revision: u64) -> Result<Option<SiteSeal>, ()> {
    if revision == container.container.revision {
        return proof.seal.as_ref().map(|seal| read(seal, &proof.onion).ok_or(())).transpose();
    }
    let kept = container.revisions.iter().find(|kept| kept.revision.number == revision).ok_or(())?;
    read(&kept.seal, &proof.onion).map(Some).ok_or(())
}

/// The seal of the highest revision that was taken.
pub(crate) fn newest_seal(container: &SeenContainer, kept: &KeptContainer) -> Option<Vec<u8>> {
    let newest = container.revisions.iter().max_by_key(|kept| kept.revision.number).map(|kept| kept.seal.clone());
    newest.or_else(|| decode::<ServiceProof>(&kept.proof).ok()?.seal)
}

/// Takes new content for a container, or says whether a first copy of it would fit.
pub(crate) async fn update(
    shared: &Shared,
    member: &Member,
    id: ContainerId,
    image: Image,
    seal: Option<Vec<u8>>,
) -> Result<NodeReply, Refusal> {
    let refuse = |kind, words: String| Err(Refusal::new(kind, words));
    publisher(member)?;
    let (world, seen, kept) = theirs(shared, member, id).await?;
    if kept.container.owner != member.owner {
        return refuse(RefusalKind::NotGranted, "only its owner updates a container".to_owned());
    }
    if kept.deleting {
        return refuse(RefusalKind::WrongState, "the container is being deleted".to_owned());
    }
    if kept.publisher != member.device {
        let words = "the container was published by another device of yours: update it there, where its key is".to_owned();
        return refuse(RefusalKind::WrongState, words);
    }
    let proof: ServiceProof = decode(&kept.proof).map_err(|e| Refusal::new(RefusalKind::Failed, e.to_string()))?;
    let Some((served_bytes, served)) = proof.seal.as_ref().and_then(|seal| Some((seal, read(seal, &proof.onion)?))) else {
        return refuse(RefusalKind::WrongState, "what runs there is no sealed site".to_owned());
    };
    if seal.as_ref() == Some(served_bytes) {
        return Ok(NodeReply::Done);
    }
    let known = seen.revisions.iter().find(|kept| Some(&kept.seal) == seal.as_ref()).map(|kept| &kept.revision);
    match known.map(|r| (r.state, &r.reason)) {
        Some((RevisionState::GivenUp, why)) => {
            return refuse(RefusalKind::WrongState, format!("this update was given up: {why}"));
        }
        Some((RevisionState::Past, _)) => {
            return refuse(RefusalKind::WrongState, "another content has taken this one's place since".to_owned());
        }
        Some(_) => return Ok(NodeReply::Done),
        None => {}
    }
    let newest = seen.revisions.iter().map(|kept| kept.revision.number).fold(served.revision, u64::max);
    let number = match &seal {
        Some(bytes) => checked(bytes, &proof.onion, newest)?,
        None => newest.saturating_add(1),
    };
    let revision = |number, image: &Image, state, reason: &str| Revision {
        number,
        image: image.clone(),
        state,
        reason: reason.to_owned(),
        began: shared.now(),
    };
    let next = KeptRevision {
        container: id,
        revision: revision(number, &image, RevisionState::Coming, "its publisher asked for it"),
        seal: seal.clone().unwrap_or_default(),
    };
    if let Some(infeasible) = shortfall(shared, &world, seen, &next).await? {
        return Ok(NodeReply::Infeasible(infeasible));
    }
    if seal.is_none() {
        return Ok(NodeReply::Done);
    }
    let present = KeptRevision {
        container: id,
        revision: revision(served.revision, &kept.container.spec.image, RevisionState::Served, "served before updates"),
        seal: served_bytes.clone(),
    };
    shared.store.begin_revision(&present, &next).await.map_err(failed)?;
    tracing::info!(container = id.short(), number, "a container is updated");
    Ok(NodeReply::Done)
}

/// The revision of a seal, when the container's own identity signed it and it is above all that were taken.
fn checked(seal: &[u8], onion: &Onion, newest: u64) -> Result<u64, Refusal> {
    let invalid = |words: String| Refusal::new(RefusalKind::Invalid, words);
    let address = Address::parse(onion).map_err(|e| invalid(e.to_string()))?;
    let SiteSeal { revision, .. } =
        SiteSeal::open(seal, &address).map_err(|e| invalid(format!("the seal is not believed: {e}")))?;
    match revision {
        revision if revision > MAX_REVISION => {
            Err(invalid(format!("revision {revision} is too high: {MAX_REVISION} is the last")))
        }
        revision if revision <= newest => Err(invalid(format!(
            "revision {revision} is not above {newest}, which was signed before: visitors who saw that one would not take this"
        ))),
        revision => Ok(revision),
    }
}

/// Why a first step of the update does not fit: beside copies that serve, or anywhere when none does.
async fn shortfall(
    shared: &Shared,
    world: &World,
    mut seen: SeenContainer,
    next: &KeptRevision,
) -> Result<Option<fogbank_model::Infeasible>, Refusal> {
    use ContainerState::{Migrating, Running, Starting};
    let snapshot = if matches!(seen.container.state, Starting | Running | Migrating) {
        // It takes the place of one that is coming.
        seen.revisions.retain(|kept| kept.revision.state != RevisionState::Coming);
        seen.revisions.push(next.clone());
        snapshot_for(world, &seen)
    } else {
        let spec = ContainerSpec { image: next.revision.image.clone(), ..seen.container.spec.clone() };
        snapshot_of(world, &spec)
    };
    Ok(room_for(shared, snapshot).await?.infeasible)
}

impl Actor {
    /// Leads visitors over: from now on the descriptor has the new seal.
    pub(crate) async fn switch(
        &mut self,
        world: &World,
        kept: &HashMap<ContainerId, KeptContainer>,
        id: ContainerId,
        revision: u64,
        reason: &str,
    ) -> Result<(), StoreError> {
        let seen = world.containers.iter().find(|c| c.container.id == id);
        let (Some(seen), Some(kept)) = (seen, kept.get(&id)) else { return Ok(()) };
        let Some(next) = seen.revisions.iter().find(|kept| kept.revision.number == revision) else { return Ok(()) };
        let unreadable = |_| StoreError::Unreadable { what: "a service proof" };
        let proof = ServiceProof { seal: Some(next.seal.clone()), ..decode::<ServiceProof>(&kept.proof).map_err(unreadable)? };
        let proof = encode(&proof).map_err(unreadable)?;
        self.shared.store.switch_revision(id, revision, &kept.proof, &proof, reason, self.shared.now()).await?;
        tracing::info!(container = id.short(), revision, reason, "visitors are led over to other content");
        self.shared.wake.notify_one();
        Ok(())
    }
}
