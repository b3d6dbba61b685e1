//! One member's connection: let in or refused, its requests answered, its end noticed.

use crate::{
    answering::{self, Bounds},
    api,
    line::Line,
    registry::Member,
    roles::{from_bits, to_bits},
    start::{Shared, hash},
    telling::hand,
};
use fogbank_betanet::{
    directory::{check_mix, of_one_computer},
    epoch,
};
use fogbank_model::DeviceId;
use fogbank_store::{KeptDevice, StoreError};
use fogbank_wire::{Coming, Enrol, MixInfo, NodeReply, Refusal, RefusalKind, Roles, Stranger, Welcome};
use iroh::{
    TransportAddr,
    endpoint::{Connection, SendStream},
};
use std::{net::IpAddr, sync::Arc, time::Duration};

/// A member sends a whole request at once. The longest is a report of 512 instances and 4,096 bundles, or a container with the records of 400 days.
const REQUESTS: Bounds = Bounds { at_once: 32, bytes: 384 << 10, deadline: Duration::from_secs(10) };
/// What was asked on a connection that its member replaces is answered on it for so long: answers take milliseconds, and a member that presents
/// itself anew has its new connection within as many.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// A name in lists.
const MAX_NAME_CHARS: usize = 64;
/// Devices of one fog: what one allocator is meant to hold.
const MAX_DEVICES: usize = 100_000;
/// Addresses of one device.
const MAX_ADDRS: usize = 8;

/// Runs a connection to its end.
pub(crate) async fn run(shared: Arc<Shared>, connection: Connection, enrol: Enrol, reply: SendStream, stranger: Stranger) {
    let device = DeviceId(*connection.remote_id().as_bytes());
    let line: Arc<dyn Line> = Arc::new(connection.clone());
    match enter(&shared, device, line.clone(), seen(&connection), enrol).await {
        Ok((name, welcome)) => {
            stranger.let_in();
            let greeted = fogbank_wire::welcome(reply, Some(welcome)).await;
            tracing::info!(name, "a member connected");
            shared.wake.notify_one();
            if greeted {
                // What mixes there are is news to whoever was away; later directories are sent when they are made.
                if let (Some(signed), Some(member)) = (shared.directory(), shared.registry.member(device)) {
                    hand(member, std::iter::once(signed.bytes).chain(shared.federation.signed()).collect());
                }
                serve(&shared, &connection, device).await;
            }
            shared.registry.left(device, &line, shared.instant());
            tracing::info!(name, "a member's connection ended");
            shared.wake.notify_one();
        }
        Err(refusal) => {
            tracing::info!(%refusal, device = device.short(), "a stranger was refused");
            stranger.turn_away(reply, refusal).await;
        }
    }
}

/// Lets a node in, or says why not. Registered before the greeting, so that whoever is told "welcome" is a member at once.
pub(crate) async fn enter(
    shared: &Shared,
    device: DeviceId,
    line: Arc<dyn Line>,
    seen: Option<IpAddr>,
    enrol: Enrol,
) -> Result<(String, Welcome), Refusal> {
    let (member, welcome) = admit(shared, device, line, seen, enrol).await?;
    let name = member.name.clone();
    if let Some(old) = shared.registry.arrived(member) {
        tokio::spawn(replaced(old));
    }
    // Whoever was removed between being let in and being registered is neither.
    if !shared.store.device(device).await.is_ok_and(|kept| kept.as_ref().is_some_and(is_member)) {
        shared.registry.ended(device);
        return Err(Refusal::new(RefusalKind::UnknownKey, "this device has just been removed from the fog"));
    }
    Ok((name, welcome))
}

/// Ends a connection that its member has replaced by another.
async fn replaced(old: Arc<dyn Line>) {
    tokio::select! {
        () = old.closed() => {}
        () = tokio::time::sleep(LAST_ANSWERS) => old.close("connected anew"),
    }
}

async fn admit(
    shared: &Shared,
    device: DeviceId,
    line: Arc<dyn Line>,
    seen: Option<IpAddr>,
    enrol: Enrol,
) -> Result<(Member, Welcome), Refusal> {
    let failed = |error: fogbank_store::StoreError| Refusal::new(RefusalKind::Failed, error.to_string());
    enrol.certificate.check(device).map_err(|_| {
        Refusal::new(RefusalKind::UnknownKey, "the owner's certificate is not for this device: start Fogbank again on the device")
    })?;
    let owner = enrol.certificate.owner;
    let known = shared.store.device(device).await.map_err(failed)?.filter(is_member);
    if known.as_ref().is_some_and(|k| k.owner != owner) {
        return Err(Refusal::new(RefusalKind::UnknownKey, "this device belongs to another owner here"));
    }
    let before = known.as_ref().map(|k| from_bits(k.granted));
    let unknown = || Refusal::new(RefusalKind::UnknownKey, "this device is not known here: it needs an invite to join this fog");
    let granted = match enrol.comes {
        Coming::Back => before.ok_or_else(unknown)?,
        Coming::Joins(secret) => invited(shared, &secret).await?,
        Coming::Adds(secret) => {
            let before = before.ok_or_else(unknown)?;
            match invited(shared, &secret).await {
                Ok(further) => before.and(further),
                // A member that still shows an old invite is a member all the same.
                Err(refusal) if refusal.kind != RefusalKind::Failed => before,
                Err(refusal) => return Err(refusal),
            }
        }
    };
    let roles: Roles = enrol.roles.within(granted);
    // A member that asks for more than it may by a further invite hears what it may, and does that.
    if roles != enrol.roles && !matches!(enrol.comes, Coming::Adds(_)) {
        return Err(Refusal::new(RefusalKind::NotGranted, "the invite does not cover all that this device wants to do here"));
    }
    if known.is_none() && shared.store.devices().await.map_err(failed)?.iter().filter(|d| is_member(d)).count() >= MAX_DEVICES {
        return Err(Refusal::new(RefusalKind::Busy, format!("this fog has {MAX_DEVICES} devices and takes no more")));
    }
    let mix = enrol.mix.filter(|_| roles.mixnode).map(|mix| listable(shared, mix, device, seen)).transpose()?;
    let name: String = enrol.name.chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect();
    shared.store.put_device(device, owner, &name, to_bits(granted), shared.now()).await.map_err(|error| match error {
        StoreError::Banned => {
            Refusal::new(RefusalKind::UnknownKey, "an administrator has removed this device or its owner from the fog")
        }
        other => failed(other),
    })?;
    let mut addrs = enrol.addrs;
    addrs.truncate(MAX_ADDRS);
    let member = Member {
        device,
        owner,
        name,
        roles,
        mix,
        probes: Vec::new(),
        clients: 0,
        addrs,
        seen,
        line,
        report: None,
        reporting: Arc::default(),
        connected: shared.instant(),
    };
    let welcome = Welcome {
        fog: shared.config.name.clone(),
        test: shared.config.test,
        granted,
        now: shared.now(),
        heartbeat: shared.config.heartbeat,
    };
    Ok((member, welcome))
}

/// Whether a device may do anything here. One that left may not, for as long as it is not forgotten.
pub(crate) fn is_member(kept: &KeptDevice) -> bool {
    from_bits(kept.granted) != Roles::default()
}

/// What an invite lets its holder do, if it holds.
async fn invited(shared: &Shared, secret: &[u8; 16]) -> Result<Roles, Refusal> {
    let kept = shared.store.invite(&hash(secret)).await;
    match kept.map_err(|error| Refusal::new(RefusalKind::Failed, error.to_string()))? {
        Some((roles, expires)) if expires > shared.now() => Ok(from_bits(roles)),
        Some(_) => Err(Refusal::new(RefusalKind::Expired, "the invite has expired: ask for a new one")),
        None => Err(Refusal::new(RefusalKind::Invite, "the invite is not known here: it is wrong, or it expired long ago")),
    }
}

/// The address that a connection proved, unless it came over a relay.
fn seen(connection: &Connection) -> Option<IpAddr> {
    let paths = connection.paths();
    paths.iter().find_map(|path| match path.remote_addr() {
        TransportAddr::Ip(addr) => Some(addr.ip()),
        _ => None,
    })
}

/// A member's mix as it may be listed: its own, with keys for the coming hours, at addresses of one computer, which is where it was `seen`, and met at
/// no other relay than the fog's. A relay of its own choosing would make everyone contact a host of its choosing.
pub(crate) fn listable(shared: &Shared, mut mix: MixInfo, device: DeviceId, seen: Option<IpAddr>) -> Result<MixInfo, Refusal> {
    mix.addrs = of_one_computer(&mix.addrs, seen);
    mix.relay = mix.relay.filter(|relay| shared.config.relay.as_ref() == Some(relay));
    check_mix(&mix, device, epoch::at(shared.now())).map_err(|why| Refusal::new(RefusalKind::Invalid, why.to_string()))?;
    Ok(mix)
}

/// Answers a member's requests until the connection ends.
async fn serve(shared: &Arc<Shared>, connection: &Connection, device: DeviceId) {
    let answering = shared.clone();
    let answer = move |request| {
        let shared = answering.clone();
        async move {
            match shared.registry.member(device) {
                Some(member) => api::answer(&shared, &member, request).await,
                None => NodeReply::Refused(Refusal::new(RefusalKind::UnknownKey, "this connection has been replaced")),
            }
        }
    };
    answering::serve(shared, connection, REQUESTS, NodeReply::Refused, answer).await;
}
