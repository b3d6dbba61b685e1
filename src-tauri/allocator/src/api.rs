//! What members may ask, and the answers.

use crate::{
    decide::SIGNATURES_ENDED,
    explaining::explained,
    look::look,
    place::snapshot_of,
    registry::Member,
    rehearsing,
    removing::{leave, pardon, remove},
    report::take_report,
    revising,
    roles::from_bits,
    scaling,
    session::listable,
    start::{Shared, make_invite},
    updating,
    world::{SeenContainer, World},
};
use fogbank_betanet::{renewal, seal::MAX_REVISION};
use fogbank_model::{Container, ContainerId, ContainerSpec, ContainerState, Image, MixId, Resources};
use fogbank_placement::{Capacity as Room, Policy, Snapshot, capacity as room};
use fogbank_store::{KeptContainer, StoreError};
use fogbank_wire::{
    Capacity, ContainerDetail, ContainerRequest, ContainerSummary, DeviceView, Explained, InstanceView, LoadSpan, MixInfo,
    NodeReply, NodeRequest, Refusal, RefusalKind, Roles, ServiceProof, decode, encode,
};

/// Containers of one person.
const MAX_OWN: usize = 256;
/// Containers of one fog: what one allocator is meant to hold.
const MAX_CONTAINERS: usize = 10_000;

/// Steps of the planner's search where only whether something fits is asked: some milliseconds.
const LITTLE: u64 = 100_000;

/// How often a renewal is tried again that meets another change of the same proof: an update has two at most.
const RENEWAL_TRIES: u32 = 3;

/// Mixes that one mix tells its measurements of: those it has links to.
const MAX_PROBES: usize = 256;

/// Answers one request of a member.
pub(crate) async fn answer(shared: &Shared, member: &Member, request: NodeRequest) -> NodeReply {
    let result = match request {
        NodeRequest::Report(report) => match take_report(shared, member, report).await {
            // Nothing to be looked at for.
            Ok(false) => return NodeReply::Done,
            taken => taken.map(|_| NodeReply::Done),
        },
        NodeRequest::Relays { mix, probes, clients } => relays(shared, member, *mix, probes, clients),
        NodeRequest::Directory => Ok(match shared.directory() {
            Some(signed) => NodeReply::Directory(signed.bytes.as_ref().clone()),
            None => NodeReply::Refused(Refusal::new(RefusalKind::NotFound, "there is no directory yet")),
        }),
        NodeRequest::Ask(spec) => capacity(shared, &spec).await,
        NodeRequest::Rehearse(spec) => rehearsing::outlook(shared, member, &spec).await,
        NodeRequest::Create(request) => create(shared, member, *request).await,
        NodeRequest::Containers => list(shared, member).await,
        NodeRequest::Container(id) => detail(shared, member, id).await,
        NodeRequest::Explain(id) => explain(shared, member, id).await,
        NodeRequest::Scale { id, instances, availability, most } => {
            scale(shared, member, id, |spec| ContainerSpec { instances, availability, most, ..spec }).await
        }
        NodeRequest::Load { id, span } => load(shared, member, id, span).await,
        NodeRequest::Stop(id) => stop(shared, member, id).await,
        NodeRequest::Restart(id) => restart(shared, member, id).await,
        NodeRequest::Renew { id, proof } => renew(shared, member, id, &proof).await,
        NodeRequest::Update { id, image, seal } => updating::update(shared, member, id, image, seal).await,
        NodeRequest::Delete(id) => delete(shared, member, id).await,
        NodeRequest::Invite { roles, valid } => match administrator(shared, member).await {
            // The asker's node knows where its allocator is, and fills the addresses in.
            Ok(()) => make_invite(shared, roles, valid, Vec::new()).await.map(NodeReply::Ticket),
            Err(refusal) => Err(refusal),
        },
        NodeRequest::Devices => match administrator(shared, member).await {
            Ok(()) => devices(shared).await,
            Err(refusal) => Err(refusal),
        },
        NodeRequest::Remove(removal) => remove(shared, member, &removal).await.map(NodeReply::Removed),
        NodeRequest::Pardon(device) => pardon(shared, member, device).await.map(|()| NodeReply::Done),
        NodeRequest::Leave => leave(shared, member).await.map(|()| NodeReply::Done),
    };
    shared.wake.notify_one();
    result.unwrap_or_else(NodeReply::Refused)
}

/// A member's mix says its further packet keys and what it measured of others.
fn relays(
    shared: &Shared,
    member: &Member,
    mix: MixInfo,
    mut probes: Vec<(MixId, u16)>,
    clients: u32,
) -> Result<NodeReply, Refusal> {
    let mix = listable(shared, mix, member.device, member.seen)?;
    // A new life or address makes everybody renew what leads through the mix: for that it presents itself anew.
    let same = |known: &MixInfo| (known.key, known.life, &known.addrs) == (mix.key, mix.life, &mix.addrs);
    if !member.roles.mixnode || !member.mix.as_ref().is_some_and(same) {
        return Err(Refusal::new(
            RefusalKind::WrongState,
            "this device relays under another mix key or address here: connect again",
        ));
    }
    probes.truncate(MAX_PROBES);
    shared.registry.relays(member.device, mix, probes, clients);
    Ok(NodeReply::Done)
}

pub(crate) fn failed(error: StoreError) -> Refusal {
    let kind = match error {
        StoreError::NotFound { .. } => RefusalKind::NotFound,
        StoreError::Move(_) => RefusalKind::WrongState,
        StoreError::Taken { .. } => RefusalKind::Invalid,
        StoreError::Banned => RefusalKind::UnknownKey,
        StoreError::Database { .. } | StoreError::Unreadable { .. } => RefusalKind::Failed,
    };
    Refusal::new(kind, error.to_string())
}

async fn is_administrator(shared: &Shared, member: &Member) -> Result<bool, Refusal> {
    Ok(shared.store.device(member.device).await.map_err(failed)?.is_some_and(|d| from_bits(d.granted).admin))
}

pub(crate) async fn administrator(shared: &Shared, member: &Member) -> Result<(), Refusal> {
    if is_administrator(shared, member).await? {
        Ok(())
    } else {
        Err(Refusal::new(RefusalKind::NotGranted, "this needs an invite that lets you administer the fog"))
    }
}

/// The container, when the member may touch it. Who may not learns nothing of it.
pub(crate) async fn theirs(
    shared: &Shared,
    member: &Member,
    id: ContainerId,
) -> Result<(World, SeenContainer, KeptContainer), Refusal> {
    let nothing = || Refusal::new(RefusalKind::NotFound, "there is no container of that id that you may touch");
    let kept = shared.store.containers().await.map_err(failed)?.into_iter().find(|k| k.container.id == id).ok_or_else(nothing)?;
    if kept.container.owner != member.owner && !is_administrator(shared, member).await? {
        return Err(nothing());
    }
    let world = look(shared).await.map_err(failed)?;
    let seen = world.containers.iter().find(|c| c.container.id == id).cloned().ok_or_else(nothing)?;
    Ok((world, seen, kept))
}

async fn capacity(shared: &Shared, spec: &fogbank_model::ContainerSpec) -> Result<NodeReply, Refusal> {
    spec.check().map_err(|e| Refusal::new(RefusalKind::Invalid, e.to_string()))?;
    let world = look(shared).await.map_err(failed)?;
    let room = room_for(shared, snapshot_of(&world, spec)).await?;
    Ok(NodeReply::Capacity(Box::new(Capacity {
        free: room.free,
        lent: room.lent,
        devices: room.devices,
        suitable: room.suitable,
        infeasible: room.infeasible,
    })))
}

/// Whether a request fits. Whether, and not at what cost: a little search is enough.
pub(crate) async fn room_for(shared: &Shared, snapshot: Snapshot) -> Result<Room, Refusal> {
    let policy = Policy { effort: LITTLE, ..shared.config.policy.clone() };
    shared.planned(move || room(&snapshot, &policy)).await
}

pub(crate) fn publisher(member: &Member) -> Result<(), Refusal> {
    if member.roles.publisher {
        Ok(())
    } else {
        Err(Refusal::new(RefusalKind::NotGranted, "this needs an invite that lets you publish"))
    }
}

async fn create(shared: &Shared, member: &Member, request: ContainerRequest) -> Result<NodeReply, Refusal> {
    publisher(member)?;
    let invalid = |words: String| Refusal::new(RefusalKind::Invalid, words);
    request.spec.check().map_err(|e| invalid(e.to_string()))?;
    fogbank_betanet::proof::check(&request.proof, shared.now())
        .map_err(|e| invalid(format!("the service proof is not believed: {e}")))?;
    let seal = request.proof.seal.as_ref().and_then(|seal| updating::read(seal, &request.proof.onion));
    let revision = match (&request.spec.image, seal) {
        (Image::Site { .. }, None) => {
            let words = "a site must be sealed by its publisher, so that visitors can check it: use a newer Fogbank";
            return Err(invalid(words.to_owned()));
        }
        (_, Some(seal)) if seal.revision > MAX_REVISION => return Err(invalid("its revision is too high".to_owned())),
        (_, seal) => seal.map_or(0, |seal| seal.revision),
    };
    let proof = encode(&request.proof).map_err(|e| invalid(e.to_string()))?;
    let world = look(shared).await.map_err(failed)?;
    let known = world.containers.iter().any(|c| c.container.id == request.id);
    let own = world.containers.iter().filter(|c| c.container.owner == member.owner).count();
    if !known {
        room_for_one(own, world.containers.len())?;
    }
    if !known && let Some(infeasible) = room_for(shared, snapshot_of(&world, &request.spec)).await?.infeasible {
        return Ok(NodeReply::Infeasible(infeasible));
    }
    let container = Container {
        id: request.id,
        owner: member.owner,
        onion: request.proof.onion,
        spec: request.spec,
        state: ContainerState::Pending,
        reason: "created".to_owned(),
        created: shared.now(),
        epoch: 0,
        revision,
    };
    let kept = KeptContainer { container, publisher: member.device, proof, points: Vec::new(), placement: None, deleting: false };
    shared.store.create(&kept).await.map_err(failed)?;
    tracing::info!(container = %request.id, "a container was created");
    Ok(NodeReply::Created(request.id))
}

/// Whether one more container may be created, by a person who has so many, in a fog that has so many.
fn room_for_one(own: usize, all: usize) -> Result<(), Refusal> {
    if own >= MAX_OWN {
        let words = format!("you have {own} containers here, of {MAX_OWN} that one person may have: delete one first");
        return Err(Refusal::new(RefusalKind::Invalid, words));
    }
    if all >= MAX_CONTAINERS {
        let words = format!("this fog has {MAX_CONTAINERS} containers and takes no more until some are deleted");
        return Err(Refusal::new(RefusalKind::Busy, words));
    }
    Ok(())
}

async fn list(shared: &Shared, member: &Member) -> Result<NodeReply, Refusal> {
    let all = is_administrator(shared, member).await?;
    let world = look(shared).await.map_err(failed)?;
    let mine = world.containers.into_iter().filter(|c| all || c.container.owner == member.owner);
    Ok(NodeReply::Containers(mine.map(|c| summary(&c)).collect()))
}

fn summary(seen: &SeenContainer) -> ContainerSummary {
    let c = &seen.container;
    ContainerSummary {
        id: c.id,
        name: c.spec.name.to_string(),
        onion: c.onion.clone(),
        state: c.state,
        reason: c.reason.clone(),
        ready: u32::try_from(seen.ready().count()).unwrap_or(u32::MAX),
        wanted: wanted(seen),
        created: c.created,
        signed_until: seen.signed_until,
    }
}

/// Copies that are wanted. Those that were added for the sake of availability are, too.
fn wanted(seen: &SeenContainer) -> u32 {
    let wanted = seen.container.spec.availability.map_or(0, |_| seen.counting().count()).max(seen.wanted());
    u32::try_from(wanted).unwrap_or(u32::MAX)
}

async fn detail(shared: &Shared, member: &Member, id: ContainerId) -> Result<NodeReply, Refusal> {
    let (world, seen, kept) = theirs(shared, member, id).await?;
    let all = is_administrator(shared, member).await?;
    let history = shared.store.history(id).await.map_err(failed)?;
    let mut instances: Vec<InstanceView> = seen
        .instances
        .iter()
        .map(|i| InstanceView {
            instance: i.instance.clone(),
            device_name: world.device(i.instance.device).map_or_else(|| i.instance.device.short(), |d| d.name.clone()),
        })
        .collect();
    instances.sort_by_key(|v| (!v.instance.state.is_live(), v.instance.since));
    let holders = u32::try_from(world.holders(&seen)).unwrap_or(u32::MAX);
    Ok(NodeReply::Container(Box::new(ContainerDetail {
        update: revising::view(&world, &seen),
        seal: updating::newest_seal(&seen, &kept),
        container: kept.container,
        instances,
        history,
        holders,
        wanted: wanted(&seen),
        load: shared.scaler().words(&seen, world.now),
        availability: if all { world.availability(seen.ready()) } else { coarse(world.availability(seen.ready())) },
        placement: kept.placement,
    })))
}

/// For publishers, rounded down to a step: with one copy it is how likely somebody's device stays, and who asks each hour would learn that
/// person's habits.
fn coarse(availability: f64) -> f64 {
    const STEPS: [f64; 9] = [0.9999, 0.999, 0.995, 0.99, 0.95, 0.9, 0.8, 0.65, 0.5];
    STEPS.into_iter().find(|step| availability >= *step).unwrap_or(0.0)
}

async fn explain(shared: &Shared, member: &Member, id: ContainerId) -> Result<NodeReply, Refusal> {
    let (world, seen, _) = theirs(shared, member, id).await?;
    let all = is_administrator(shared, member).await?;
    let policy = shared.config.policy.clone();
    let load = shared.scaler().words(&seen, world.now);
    let explained = shared.planned(move || explained(&world, &seen, &policy, all)).await?;
    let explained = Explained { load, ..explained };
    Ok(NodeReply::Explained(Box::new(explained)))
}

/// More or fewer copies. Where there is no room for more, they come when there is, and until then it is said what is missing.
async fn scale(
    shared: &Shared,
    member: &Member,
    id: ContainerId,
    asked: impl FnOnce(ContainerSpec) -> ContainerSpec,
) -> Result<NodeReply, Refusal> {
    let (_, _, kept) = theirs(shared, member, id).await?;
    let spec = asked(kept.container.spec);
    spec.check().map_err(|error| Refusal::new(RefusalKind::Invalid, error.to_string()))?;
    let ContainerSpec { instances, availability, most, .. } = spec;
    shared.store.rescale(id, instances, availability, most).await.map_err(failed)?;
    tracing::info!(container = id.short(), instances, availability, most, "a container is scaled");
    Ok(NodeReply::Done)
}

/// How much its copies are asked.
async fn load(shared: &Shared, member: &Member, id: ContainerId, span: LoadSpan) -> Result<NodeReply, Refusal> {
    let (_, seen, _) = theirs(shared, member, id).await?;
    scaling::told(shared, &seen, span, shared.now()).await.map(|view| NodeReply::Load(Box::new(view)))
}

async fn stop(shared: &Shared, member: &Member, id: ContainerId) -> Result<NodeReply, Refusal> {
    theirs(shared, member, id).await?;
    let stopped = shared.store.move_container(id, ContainerState::Stopping, "its publisher stopped it", shared.now()).await;
    stopped.map(|()| NodeReply::Done).map_err(failed)
}

async fn restart(shared: &Shared, member: &Member, id: ContainerId) -> Result<NodeReply, Refusal> {
    let (_, seen, _) = theirs(shared, member, id).await?;
    let state = seen.container.state;
    if !matches!(state, ContainerState::Stopped | ContainerState::Failed) {
        let words = format!("the container is {}: only one that has stopped or failed can be started again", state.name());
        return Err(Refusal::new(RefusalKind::WrongState, words));
    }
    if shared.now() >= seen.signed_until {
        return Err(Refusal::new(RefusalKind::WrongState, SIGNATURES_ENDED));
    }
    let restarted =
        shared.store.move_container(id, ContainerState::Pending, "its publisher started it again", shared.now()).await;
    restarted.map(|()| NodeReply::Done).map_err(failed)
}

/// Takes further periods from the publisher.
async fn renew(shared: &Shared, member: &Member, id: ContainerId, offered: &ServiceProof) -> Result<NodeReply, Refusal> {
    let invalid = |words: String| Refusal::new(RefusalKind::Invalid, words);
    let mut tries = 0;
    loop {
        let (_, _, kept) = theirs(shared, member, id).await?;
        if kept.container.owner != member.owner {
            return Err(Refusal::new(RefusalKind::NotGranted, "only its owner signs for a container"));
        }
        let before: ServiceProof = decode(&kept.proof).map_err(|e| Refusal::new(RefusalKind::Failed, e.to_string()))?;
        let merged =
            renewal::merge(&before, offered, shared.now()).map_err(|e| invalid(format!("the renewal is not believed: {e}")))?;
        let merged = encode(&merged).map_err(|e| invalid(e.to_string()))?;
        match shared.store.set_proof(id, &kept.proof, &merged).await {
            Ok(()) => break,
            // Visitors were led over to other content in this moment: its seal stays.
            Err(StoreError::NotFound { .. }) if tries < RENEWAL_TRIES => tries += 1,
            Err(error) => return Err(failed(error)),
        }
    }
    tracing::info!(container = %id, "its publisher has signed further ahead");
    Ok(NodeReply::Done)
}

async fn delete(shared: &Shared, member: &Member, id: ContainerId) -> Result<NodeReply, Refusal> {
    let (_, seen, _) = theirs(shared, member, id).await?;
    shared.store.mark_deleting(id).await.map_err(failed)?;
    if seen.container.state.wants_instances() {
        shared
            .store
            .move_container(id, ContainerState::Stopping, "its publisher deleted it", shared.now())
            .await
            .map_err(failed)?;
    }
    Ok(NodeReply::Done)
}

async fn devices(shared: &Shared) -> Result<NodeReply, Refusal> {
    let world = look(shared).await.map_err(failed)?;
    let live = |id| {
        let all = world.containers.iter().flat_map(|c| &c.instances);
        all.filter(move |i| i.instance.device == id && i.instance.state.is_live())
            .map(|i| (i.instance.container, i.instance.state))
    };
    // Those that left are there for what is told of the past only.
    let members = world.devices.iter().filter(|d| d.granted != Roles::default());
    let views = members.map(|d| DeviceView {
        id: d.id,
        name: d.name.clone(),
        owner: d.owner,
        granted: d.granted,
        connected: d.connected,
        lent: if d.open { d.lent } else { Resources::ZERO },
        free: if d.open { d.lent.minus(&d.held) } else { Resources::ZERO },
        power: d.power,
        availability: d.expected.availability,
        reliability: d.expected.reliability,
        aside: d.expected.aside,
        instances: live(d.id).collect(),
        why: d.why.clone(),
    });
    Ok(NodeReply::Devices(views.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_fog_is_told_from_a_person_who_has_much() {
        assert!(room_for_one(MAX_OWN - 1, MAX_CONTAINERS - 1).is_ok());
        let (person, fog) = (room_for_one(MAX_OWN, MAX_OWN).unwrap_err(), room_for_one(0, MAX_CONTAINERS).unwrap_err());
        assert!(person.kind == RefusalKind::Invalid && person.message.contains("you have"), "{person}");
        assert!(fog.kind == RefusalKind::Busy && !fog.message.contains("you have"), "{fog}");
    }
}
