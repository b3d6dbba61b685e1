//! New content for an address, over real control connections: what is taken, and what devices and mixes are told of it, in which order.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod fogs;
mod members;

use fogbank_betanet::{
    address::{Address, Period},
    descriptor::Descriptor,
    directory::clock,
    lease::Lease,
    proof::ContainerIdentity,
    seal::{MAX_REVISION, SiteSeal},
};
use fogbank_model::{BundleId, ContainerId, Image, InstanceId, InstanceState, RevisionState};
use fogbank_wire::{
    ContainerDetail, ContainerRequest, DeviceRequest, InstanceReport, NodeReply, NodeRequest, RefusalKind, Roles, call,
};
use fogs::Fog;
use iroh::endpoint::Connection;
use members::*;
use std::time::Duration;
use tokio::time::timeout;

const ID: ContainerId = ContainerId([7; 16]);

fn image(n: u8, bytes: u64) -> Image {
    Image::Site { bundle: BundleId([n; 32]), bytes, files: 1 }
}

fn seal(identity: &ContainerIdentity, root: u8, revision: u64) -> Vec<u8> {
    SiteSeal { root: [root; 32], revision }.sign(identity).unwrap()
}

async fn update(connection: &Connection, image: Image, seal: Option<Vec<u8>>) -> NodeReply {
    call(connection, &NodeRequest::Update { id: ID, image, seal }).await.unwrap()
}

#[track_caller]
fn refused(reply: &NodeReply, kind: RefusalKind, words: &str) {
    let NodeReply::Refused(refusal) = reply else { panic!("{words}: {reply:?}") };
    assert!(refusal.kind == kind && refusal.message.contains(words), "{refusal:?}");
}

async fn detail(connection: &Connection) -> ContainerDetail {
    let reply = call(connection, &NodeRequest::Container(ID)).await.unwrap();
    let NodeReply::Container(detail) = reply else { panic!("{reply:?}") };
    *detail
}

async fn until(connection: &Connection, what: &str, so: impl Fn(&ContainerDetail) -> bool) -> ContainerDetail {
    let waiting = async {
        loop {
            let detail = detail(connection).await;
            if so(&detail) {
                return detail;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("{what}"))
}

fn confirmed(request: DeviceRequest) -> Option<(InstanceId, Image)> {
    if let DeviceRequest::Confirm(assignment) = request { Some((assignment.instance, assignment.spec.image)) } else { None }
}

fn ready(instance: InstanceId, key: u8) -> InstanceReport {
    let (state, reason) = (InstanceState::Ready, String::new());
    InstanceReport { instance, state, reason, introduction_key: Some([key; 32]), traffic: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visitors_are_told_when_a_copy_is_ready_and_the_old_one_leaves_after_that() {
    let fog = Fog::alone().await;
    let (mut mix, mut host, mut other) = (Member::new(true), Member::new(false), Member::new(false));
    let (_mix_end, _at_mix) = mix.connect(&fog).await;
    let (_end, at_host) = host.connect(&fog).await;
    report(&at_host, Vec::new()).await;
    let identity = ContainerIdentity::generate(&mut rand::rng()).unwrap();
    let proof = identity.pre_sign_sealed(clock(), 4, &SEAL, &mut rand::rng()).unwrap();
    let request = NodeRequest::Create(Box::new(ContainerRequest { id: ID, spec: spec(), proof }));
    assert!(matches!(call(&at_host, &request).await.unwrap(), NodeReply::Created(_)));
    let (old, _) = host.asked(confirmed).await;
    report(&at_host, vec![ready(old, 5)]).await;
    let running = until(&at_host, "it runs", |d| d.container.state.name() == "running").await;
    assert_eq!((running.container.revision, running.update), (1, None));
    // Of nobody else, whatever they may do.
    let (_other_end, at_other) = other.connect(&fog).await;
    report(&at_other, Vec::new()).await;
    let two = seal(&identity, 2, 2);
    refused(&update(&at_other, image(2, 1), Some(two.clone())).await, RefusalKind::NotFound, "no container");
    let (_admin_end, admin) = Member::new(false).connect_as(&fog, Roles::ALL).await;
    refused(&update(&admin, image(2, 1), Some(two.clone())).await, RefusalKind::NotGranted, "owner");
    // Only what its identity signed, above what was signed before, and not beyond what can be kept.
    let another = ContainerIdentity::generate(&mut rand::rng()).unwrap();
    refused(&update(&at_host, image(2, 1), Some(seal(&another, 2, 2))).await, RefusalKind::Invalid, "not believed");
    refused(&update(&at_host, image(2, 1), Some(b"garbage".to_vec())).await, RefusalKind::Invalid, "not believed");
    for low in [0, 1] {
        refused(&update(&at_host, image(2, 1), Some(seal(&identity, 2, low))).await, RefusalKind::Invalid, "not above 1");
    }
    let last = seal(&identity, 2, MAX_REVISION + 1);
    refused(&update(&at_host, image(2, 1), Some(last)).await, RefusalKind::Invalid, "too high");
    // What would not fit is refused when it is asked about and when it is meant.
    let huge = image(2, 1 << 40);
    for asked in [None, Some(two.clone())] {
        let NodeReply::Infeasible(why) = update(&at_host, huge.clone(), asked).await else { panic!("it is taken") };
        assert!(why.to_string().contains("storage") || why.to_string().contains("devices"), "{why}");
    }
    assert!(matches!(update(&at_host, image(2, 1), None).await, NodeReply::Done));
    assert_eq!(detail(&at_host).await.update, None, "asking is all that was done");

    assert!(matches!(update(&at_host, image(2, 1), Some(two.clone())).await, NodeReply::Done));
    assert!(matches!(update(&at_host, image(2, 1), Some(two.clone())).await, NodeReply::Done), "asked twice, answered alike");
    refused(&update(&at_host, image(3, 1), Some(seal(&identity, 3, 2))).await, RefusalKind::Invalid, "not above 2");
    // Where no copy is comes first.
    let (new, content) = other.asked(confirmed).await;
    assert_eq!(content, image(2, 1));
    let coming = detail(&at_host).await;
    assert_eq!((coming.container.revision, coming.container.spec.image), (1, spec().image), "visitors are told of nothing yet");
    assert_eq!(coming.seal, Some(two.clone()), "whoever signs next knows above what");
    assert_eq!(coming.update.unwrap().revision.state, RevisionState::Coming);
    while let Ok(request) = mix.asked.try_recv() {
        assert!(described(&request, &identity).is_none_or(|seal| seal == SEAL));
    }
    report(&at_other, vec![ready(new, 6)]).await;
    // Each has a lease that says what it serves.
    let blinded = Address::parse(identity.onion()).unwrap().blinded(Period::at(clock())).unwrap();
    let lease = |r| if let DeviceRequest::Lease { leases, .. } = r { leases.into_iter().next() } else { None };
    let second = SiteSeal { root: [2; 32], revision: 2 };
    for (member, instance, key, seal) in [(&mut host, old, [5; 32], SEAL), (&mut other, new, [6; 32], second)] {
        let bytes = member.asked(lease).await;
        let lease = Lease::open_own(&bytes, instance, &key, clock()).unwrap().said;
        assert_eq!(lease.mark, seal.mark(&blinded), "of revision {}", seal.revision);
    }
    mix.asked(|r| described(&r, &identity).filter(|seal| *seal == second)).await;
    let told = tokio::time::Instant::now();
    host.asked(|r| matches!(r, DeviceRequest::Drain { instance, .. } if instance == old).then_some(())).await;
    assert!(told.elapsed() > Duration::from_secs(4), "after visitors could have learnt of it");
    let over =
        until(&at_host, "every copy serves it", |d| d.update.as_ref().unwrap().revision.state == RevisionState::Served).await;
    assert_eq!((over.container.revision, over.container.spec.image), (2, image(2, 1)));
    assert!(matches!(update(&at_host, image(2, 1), Some(two)).await, NodeReply::Done), "a late repetition changes nothing");
    refused(
        &update(&at_host, spec().image, Some(seal(&identity, 1, 1))).await,
        RefusalKind::WrongState,
        "taken this one's place",
    );
    // The old content is let go when its copy has ended.
    report(&at_host, vec![InstanceReport { state: InstanceState::Ended, ..ready(old, 5) }]).await;
    let forget = |r| if let DeviceRequest::Forget(bundle) = r { Some(bundle) } else { None };
    assert_eq!(host.asked(forget).await, BUNDLE);
    fog.allocator.shutdown().await;
}

/// The seal of a descriptor of the present period that a mix is to keep.
fn described(request: &DeviceRequest, identity: &ContainerIdentity) -> Option<SiteSeal> {
    let DeviceRequest::PutDescriptor(bytes) = request else { return None };
    let address = Address::parse(identity.onion()).unwrap();
    let blinded = address.blinded(Period::at(clock())).unwrap();
    let descriptor = Descriptor::open(bytes, &blinded, clock()).ok()?;
    Some(SiteSeal::open(&descriptor.seal?, &address).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_update_that_is_asked_for_counts_and_what_is_stopped_starts_with_it() {
    let fog = Fog::alone().await;
    let mut host = Member::new(false);
    let (_end, at_host) = host.connect(&fog).await;
    report(&at_host, Vec::new()).await;
    let identity = ContainerIdentity::generate(&mut rand::rng()).unwrap();
    let proof = identity.pre_sign_sealed(clock(), 4, &SEAL, &mut rand::rng()).unwrap();
    let request = NodeRequest::Create(Box::new(ContainerRequest { id: ID, spec: spec(), proof }));
    assert!(matches!(call(&at_host, &request).await.unwrap(), NodeReply::Created(_)));
    let (old, _) = host.asked(confirmed).await;
    report(&at_host, vec![ready(old, 5)]).await;
    until(&at_host, "it runs", |d| d.container.state.name() == "running").await;
    // One device is all there is: the new copy comes beside the old one on it.
    assert!(matches!(update(&at_host, image(2, 1), Some(seal(&identity, 2, 2))).await, NodeReply::Done));
    let (second, content) = host.asked(confirmed).await;
    assert!(second != old && content == image(2, 1));
    assert!(matches!(update(&at_host, image(3, 1), Some(seal(&identity, 3, 3))).await, NodeReply::Done));
    host.asked(|r| matches!(r, DeviceRequest::End(instance) if instance == second).then_some(())).await;
    let (third, content) = host.asked(confirmed).await;
    assert!(third != second && content == image(3, 1));
    refused(
        &update(&at_host, image(2, 1), Some(seal(&identity, 2, 2))).await,
        RefusalKind::WrongState,
        "another update was asked for first",
    );
    // Stopped meanwhile: nobody has to be led over, and it starts with the new content.
    assert!(matches!(call(&at_host, &NodeRequest::Stop(ID)).await.unwrap(), NodeReply::Done));
    report(&at_host, Vec::new()).await;
    until(&at_host, "it has stopped", |d| d.container.state.name() == "stopped" && d.container.revision == 3).await;
    assert!(matches!(call(&at_host, &NodeRequest::Restart(ID)).await.unwrap(), NodeReply::Done));
    assert_eq!(host.asked(confirmed).await.1, image(3, 1));
    fog.allocator.shutdown().await;
}
