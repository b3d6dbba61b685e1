//! Who is a member: by an invite that holds, then by its key, and no more once it left.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod fogs;

use fogbank_model::{DeviceId, DurationMs};
use fogbank_wire::{
    CallError, Coming, Enrol, NodeReply, NodeRequest, OwnerCertificate, Purpose, RefusalKind, Removal, Roles, call, greet,
};
use fogs::{Fog, SOON, connection, endpoint};
use iroh::{Endpoint, SecretKey, endpoint::Connection};
use std::time::Duration;
use tokio::time::{sleep, timeout};

const PUBLISHES: Roles = Roles { agent: false, mixnode: false, publisher: true, admin: false };
const LENDS: Roles = Roles { agent: true, mixnode: true, publisher: false, admin: false };

struct Device {
    endpoint: Endpoint,
    owner: SecretKey,
}

impl Device {
    async fn new() -> Self {
        Self { endpoint: endpoint(&SecretKey::generate()).await, owner: SecretKey::generate() }
    }

    /// What it may do, once it has come in this way, or why it is refused.
    async fn comes(&self, fog: &Fog, comes: Coming) -> Result<(Connection, Roles), RefusalKind> {
        let connection = connection(&self.endpoint, fog).await;
        let certificate = OwnerCertificate::issue(&self.owner, DeviceId(*self.endpoint.id().as_bytes())).unwrap();
        let (name, roles) = ("device".to_owned(), Roles::default());
        let enrol = Enrol { certificate, name, roles, mix: None, addrs: Vec::new(), comes };
        match greet(&connection, Purpose::Control(Box::new(enrol))).await {
            Ok(welcome) => Ok((connection, welcome.unwrap().granted)),
            Err(CallError::Refused(refusal)) => Err(refusal.kind),
            Err(error) => panic!("{error}"),
        }
    }

    fn id(&self) -> DeviceId {
        DeviceId(*self.endpoint.id().as_bytes())
    }

    async fn may(&self, fog: &Fog, comes: Coming) -> Result<Roles, RefusalKind> {
        self.comes(fog, comes).await.map(|(_, granted)| granted)
    }
}

/// One that was an invite. It is forgotten when the next one is made, and not known then.
async fn expired(fog: &Fog, roles: Roles) -> [u8; 16] {
    let ticket = fog.allocator.invite_bootstrap(roles, DurationMs(1), Vec::new()).await.unwrap();
    sleep(Duration::from_millis(5)).await;
    ticket.secret
}

#[tokio::test]
async fn who_left_comes_back_by_a_new_invite_only_and_with_no_more_than_it_gives() {
    let fog = Fog::alone().await;
    let device = Device::new().await;
    assert_eq!(device.may(&fog, Coming::Joins(fog.invite(Roles::ALL).await)).await, Ok(Roles::ALL));
    // It lost its connection, or was off: its key is enough.
    let (connection, granted) = device.comes(&fog, Coming::Back).await.unwrap();
    assert_eq!(granted, Roles::ALL);
    let (further, old) = (fog.invite(Roles::ALL).await, expired(&fog, Roles::ALL).await);
    assert!(matches!(call(&connection, &NodeRequest::Leave).await, Ok(NodeReply::Done)));
    let after = call(&connection, &NodeRequest::Devices).await;
    assert!(!matches!(after, Ok(NodeReply::Devices(_))), "{after:?}");
    for (comes, why) in [
        (Coming::Back, RefusalKind::UnknownKey),
        (Coming::Joins(old), RefusalKind::Expired),
        (Coming::Adds(old), RefusalKind::UnknownKey),
        (Coming::Adds(further), RefusalKind::UnknownKey),
        (Coming::Joins([7; 16]), RefusalKind::Invite),
    ] {
        assert_eq!(device.may(&fog, comes).await, Err(why), "{comes:?}");
    }
    assert_eq!(device.may(&fog, Coming::Joins(fog.invite(PUBLISHES).await)).await, Ok(PUBLISHES));
    assert_eq!(device.may(&fog, Coming::Back).await, Ok(PUBLISHES));
    timeout(SOON, connection.closed()).await.expect("the connection on which it left ends");
    fog.end().await;
}

/// The allocator was away when it left, and holds it for a member.
#[tokio::test]
async fn who_joins_anew_has_what_the_invite_gives_whatever_it_was() {
    let fog = Fog::alone().await;
    let device = Device::new().await;
    device.may(&fog, Coming::Joins(fog.invite(Roles::ALL).await)).await.unwrap();
    let old = expired(&fog, Roles::ALL).await;
    assert_eq!(device.may(&fog, Coming::Joins(old)).await, Err(RefusalKind::Expired));
    assert_eq!(device.may(&fog, Coming::Joins(fog.invite(LENDS).await)).await, Ok(LENDS));
    assert_eq!(device.may(&fog, Coming::Back).await, Ok(LENDS));
    fog.end().await;
}

#[tokio::test]
async fn a_further_invite_adds_and_an_old_one_does_not() {
    let fog = Fog::alone().await;
    let device = Device::new().await;
    device.may(&fog, Coming::Joins(fog.invite(LENDS).await)).await.unwrap();
    assert_eq!(device.may(&fog, Coming::Adds(expired(&fog, Roles::ALL).await)).await, Ok(LENDS));
    assert_eq!(device.may(&fog, Coming::Adds(fog.invite(PUBLISHES).await)).await, Ok(LENDS.and(PUBLISHES)));
    assert_eq!(device.may(&fog, Coming::Back).await, Ok(LENDS.and(PUBLISHES)));
    fog.end().await;
}

#[tokio::test]
async fn nobody_sees_who_left_among_the_devices() {
    let fog = Fog::alone().await;
    let (one, other) = (Device::new().await, Device::new().await);
    let (administrator, _) = one.comes(&fog, Coming::Joins(fog.invite(Roles::ALL).await)).await.unwrap();
    let (leaver, _) = other.comes(&fog, Coming::Joins(fog.invite(LENDS).await)).await.unwrap();
    let devices = async || match call(&administrator, &NodeRequest::Devices).await {
        Ok(NodeReply::Devices(devices)) => devices.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(devices().await, 2);
    assert!(matches!(call(&leaver, &NodeRequest::Leave).await, Ok(NodeReply::Done)));
    assert_eq!(devices().await, 1);
    fog.end().await;
}

async fn removes(connection: &Connection, device: DeviceId, person: bool, void_invites: bool) -> Result<u32, RefusalKind> {
    match call(connection, &NodeRequest::Remove(Removal { device, person, void_invites })).await.unwrap() {
        NodeReply::Removed(count) => Ok(count),
        NodeReply::Refused(refusal) => Err(refusal.kind),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_is_removed_is_cut_off_and_no_ticket_brings_it_back_until_that_is_undone() {
    let folder = tempfile::tempdir().unwrap();
    let (administrator, operator, bad) = (Device::new().await, Device::new().await, Device::new().await);
    let fog = Fog::operated(folder.path(), &SecretKey::generate(), Some(operator.id())).await;
    let (admin, _) = administrator.comes(&fog, Coming::Joins(fog.invite(Roles::ALL).await)).await.unwrap();
    let (_operates, _) = operator.comes(&fog, Coming::Joins(fog.invite(Roles::ALL).await)).await.unwrap();
    let (member, _) = bad.comes(&fog, Coming::Joins(fog.invite(LENDS).await)).await.unwrap();
    assert_eq!(removes(&member, administrator.id(), false, false).await, Err(RefusalKind::NotGranted));
    assert_eq!(removes(&admin, administrator.id(), false, false).await, Err(RefusalKind::Invalid), "nobody himself");
    assert_eq!(removes(&admin, operator.id(), true, false).await, Err(RefusalKind::Invalid), "nobody the coordinator");
    assert_eq!(removes(&admin, DeviceId([9; 32]), false, false).await, Err(RefusalKind::NotFound));

    let kept = fog.invite(LENDS).await;
    assert_eq!(removes(&admin, bad.id(), false, false).await, Ok(1));
    timeout(SOON, member.closed()).await.expect("it is cut off");
    assert_eq!(bad.may(&fog, Coming::Back).await, Err(RefusalKind::UnknownKey));
    assert_eq!(bad.may(&fog, Coming::Joins(kept)).await, Err(RefusalKind::UnknownKey));
    // Another device of its owner may.
    let (second, third) =
        (Device { owner: bad.owner.clone(), ..Device::new().await }, Device { owner: bad.owner.clone(), ..Device::new().await });
    let (again, _) = second.comes(&fog, Coming::Joins(kept)).await.unwrap();
    // Until the owner is removed; and a ticket that was kept is void then.
    assert_eq!(removes(&admin, second.id(), true, true).await, Ok(1));
    timeout(SOON, again.closed()).await.expect("it is cut off, too");
    let fresh = fog.invite(LENDS).await;
    for device in [&second, &third] {
        assert_eq!(device.may(&fog, Coming::Joins(fresh)).await, Err(RefusalKind::UnknownKey));
    }
    assert_eq!(Device::new().await.may(&fog, Coming::Joins(kept)).await, Err(RefusalKind::Invite));
    // What was done with each is undone with each.
    let pardoned = call(&admin, &NodeRequest::Pardon(second.id())).await.unwrap();
    assert!(matches!(pardoned, NodeReply::Done), "{pardoned:?}");
    for (device, may) in [(&third, Ok(LENDS)), (&second, Ok(LENDS)), (&bad, Err(RefusalKind::UnknownKey))] {
        assert_eq!(device.may(&fog, Coming::Joins(fresh)).await, may);
    }
    fog.end().await;
}
