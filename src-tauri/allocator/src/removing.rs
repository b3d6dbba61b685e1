//! How members go for good: by their own will, or because an administrator removes them.

use crate::{
    api::{administrator, failed},
    registry::Member,
    session::is_member,
    start::Shared,
};
use fogbank_model::{ContainerState, DeviceId, OwnerId};
use fogbank_store::KeptDevice;
use fogbank_wire::{EXCHANGE_DEADLINE, Refusal, RefusalKind, Removal};
use tokio::time::timeout;

/// A member leaves for good. Its mix is listed no more, what ran on it is lost, and the connection ends once the answer can have been read.
pub(crate) async fn leave(shared: &Shared, member: &Member) -> Result<(), Refusal> {
    shared.store.end_device(member.device).await.map_err(failed)?;
    shared.registry.ended(member.device);
    tracing::info!(name = member.name, "a member left");
    let line = member.line.clone();
    tokio::spawn(async move {
        let _ = timeout(EXCHANGE_DEADLINE, line.closed()).await;
        line.close("left");
    });
    Ok(())
}

/// An administrator removes a device, or a person with all devices and containers; neither is let in again, until that is undone. How many
/// devices it was.
pub(crate) async fn remove(shared: &Shared, by: &Member, removal: &Removal) -> Result<u32, Refusal> {
    administrator(shared, by).await?;
    let kept = shared.store.devices().await.map_err(failed)?;
    let target = kept.iter().find(|d| d.id == removal.device).ok_or_else(unknown)?;
    let theirs = |d: &&KeptDevice| d.id == target.id || (removal.person && d.owner == target.owner);
    let devices: Vec<DeviceId> = kept.iter().filter(theirs).filter(|d| is_member(d)).map(|d| d.id).collect();
    let refused = |words| Err(Refusal::new(RefusalKind::Invalid, words));
    if devices.contains(&by.device) || (removal.person && target.owner == by.owner) {
        return refused("nobody removes himself: leave the fog instead");
    }
    if shared.config.operator.is_some_and(|operator| devices.contains(&operator)) {
        return refused("this is the device that coordinates the fog");
    }
    if removal.void_invites {
        let voided = shared.store.void_invites().await.map_err(failed)?;
        tracing::info!(voided, "an administrator made all invites void");
    }
    // First, so that nobody is let in again in between.
    shared.store.ban(target.id, removal.person.then_some(target.owner), shared.now()).await.map_err(failed)?;
    for device in &devices {
        shared.store.end_device(*device).await.map_err(failed)?;
        if let Some(member) = shared.registry.member(*device) {
            shared.registry.ended(*device);
            member.line.close("removed");
        }
    }
    if removal.person {
        take_down(shared, target.owner).await?;
    }
    tracing::warn!(by = by.name, name = target.name, devices = devices.len(), person = removal.person, "a member was removed");
    Ok(u32::try_from(devices.len()).unwrap_or(u32::MAX))
}

/// Whoever was removed with this device may join again, by an invite as everybody.
pub(crate) async fn pardon(shared: &Shared, by: &Member, device: DeviceId) -> Result<(), Refusal> {
    administrator(shared, by).await?;
    let lifted = shared.store.lift_ban(device).await.map_err(failed)?;
    if lifted { Ok(()) } else { Err(Refusal::new(RefusalKind::NotFound, "no such device was removed from this fog")) }
}

/// Stops and deletes all containers of a person.
async fn take_down(shared: &Shared, owner: OwnerId) -> Result<(), Refusal> {
    let containers = shared.store.containers().await.map_err(failed)?;
    for kept in containers.into_iter().filter(|kept| kept.container.owner == owner) {
        shared.store.mark_deleting(kept.container.id).await.map_err(failed)?;
        if kept.container.state.wants_instances() {
            let moved = shared.store.move_container(
                kept.container.id,
                ContainerState::Stopping,
                "its publisher was removed",
                shared.now(),
            );
            moved.await.map_err(failed)?;
        }
    }
    Ok(())
}

fn unknown() -> Refusal {
    Refusal::new(RefusalKind::NotFound, "there is no such device in this fog")
}
