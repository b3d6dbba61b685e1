//! A folder on an agent, opened through real mixes by its address: the agent over betanet's host.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;
#[path = "../../betanet/tests/net/mod.rs"]
mod net;

use common::{Device, Fog, noise, now, site};
use fogbank_agent::{
    Agent, AgentConfig,
    bundle::{Limits, Manifest, Root},
};
use fogbank_betanet::{
    address::Period,
    client::Visitor,
    descriptor::Descriptor,
    lease::{LEASE_LIFE, Lease},
    proof::{ContainerIdentity, DescriptorSigner},
    seal::SiteSeal,
    service::Host,
    tunnel::Stream,
};
use fogbank_model::{ContainerId, ContainerSpec, Image, InstanceId, InstanceState, Level, MixId, Onion, Resources, UnixMs};
use fogbank_site::{Contents, take_manifest};
use fogbank_wire::{Assignment, DeviceReply, DeviceRequest};
use net::Net;
use std::time::Duration;
use tokio::time::timeout;

const SOME: Resources = Resources { cpu_millicores: 100, memory_mb: 64, storage_mb: 20, bandwidth_kbps: 500 };
const INSTANCE: InstanceId = InstanceId([1; 16]);
const CONTAINER: ContainerId = ContainerId([9; 16]);

async fn state(agent: &Agent, wanted: InstanceState) -> Option<[u8; 32]> {
    let mut reports = agent.reports();
    let seen = timeout(Duration::from_secs(20), reports.wait_for(|r| r.instances.iter().any(|i| i.state == wanted))).await;
    let report = seen.unwrap_or_else(|_| panic!("{wanted}: {:?}", agent.reports().borrow())).unwrap();
    report.instances[0].introduction_key
}

async fn manifest(visitor: &Visitor, onion: &Onion) -> (Root, Manifest) {
    let opened = visitor.open(onion, "").await.unwrap();
    let root = Root(opened.seal.expect("sealed").root);
    (root, take_manifest(opened.stream, root, &Limits::default()).await.unwrap())
}

async fn contents(visitor: &Visitor, onion: &Onion, root: Root, manifest: &Manifest, path: &str) -> Contents<Stream> {
    let entry = manifest.entry(path).unwrap();
    let stream = visitor.connect(onion, "").await.unwrap();
    Contents::ask(stream, root, manifest, entry.blob(), entry.bytes(), 0..entry.bytes()).await.unwrap()
}

async fn all(mut contents: Contents<Stream>) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(bytes) = timeout(Duration::from_secs(30), contents.next()).await.unwrap().unwrap() {
        all.extend_from_slice(&bytes);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_is_opened_by_its_address() {
    let net = Net::start(6).await;
    let fog = Fog::new();
    let (publisher, device) = (Device::start(&fog).await, Device::start(&fog).await);
    let large = noise(b"through the mixes", 400_000);
    let bundle = publisher.import(site(&[("index.html", b"hello from an agent"), ("large.bin", &large)]).path()).await;
    let config = AgentConfig {
        device: device.id(),
        fog: fog.id(),
        endpoint: device.endpoint.clone(),
        bundles: device.bundles.clone(),
        folder: device.folder.path().to_owned(),
        share: fogbank_agent::Share { keep_free_percent: 0, ..fogbank_agent::Share::default() },
    };
    let agent = Agent::start(config, Host::start(net.member()));
    agent.reports().wait_for(|r| r.offer.open).await.unwrap();

    // What the allocator does.
    let identity = ContainerIdentity::generate(&mut rand::rng()).unwrap();
    let seal = SiteSeal { root: bundle.root.0, revision: 1 };
    let proof = identity.pre_sign_sealed(now(), 4, &seal, &mut rand::rng()).unwrap();
    let signer = DescriptorSigner::of(&proof, Period::at(now()), now()).unwrap();
    let points: Vec<MixId> = net.mixes.iter().map(|(entry, _)| entry.id).take(3).collect();
    let descriptor = Descriptor { introduction_points: points.clone(), level: Level::Fast, seal: proof.seal.clone() };
    let bytes = descriptor.make(&signer, 1, &mut rand::rng()).unwrap();
    for id in net.directory().ring(&signer.blinded()) {
        net.mixes.iter().find(|(entry, _)| entry.id == id).unwrap().1.put_descriptor(bytes.clone()).unwrap();
    }
    let done = async |request| assert_eq!(agent.handle(request).await, DeviceReply::Done);
    let expires = UnixMs(now().0 + 10_000);
    done(DeviceRequest::Reserve { instance: INSTANCE, container: CONTAINER, given: SOME, expires, epoch: 1 }).await;
    done(DeviceRequest::Confirm(Box::new(Assignment {
        instance: INSTANCE,
        container: CONTAINER,
        onion: identity.onion().clone(),
        spec: ContainerSpec {
            name: "a site".parse().unwrap(),
            image: Image::Site { bundle: bundle.id, bytes: bundle.bytes, files: bundle.files },
            requirements: SOME,
            instances: 1,
            availability: None,
            most: None,
            level: Level::Fast,
        },
        sources: vec![publisher.source()],
        permit: fog.permit(bundle.id, device.id()),
    })))
    .await;
    let introduction_key = state(&agent, InstanceState::Starting).await.unwrap();
    let lease = Lease {
        instance: INSTANCE,
        introduction_key,
        weight: 1,
        expires: now().plus(LEASE_LIFE),
        introduction_points: points,
        period: Period(0),
        mark: signer.mark(Some(&seal)),
    };
    done(DeviceRequest::Lease { instance: INSTANCE, leases: vec![lease.issue(&signer).unwrap()] }).await;
    state(&agent, InstanceState::Ready).await;

    publisher.endpoint.close().await;
    let visitor = Visitor::start(net.stranger());
    let (root, manifest) = manifest(&visitor, identity.onion()).await;
    assert_eq!(all(contents(&visitor, identity.onion(), root, &manifest, "index.html").await).await, b"hello from an agent");
    assert!(all(contents(&visitor, identity.onion(), root, &manifest, "large.bin").await).await == large);

    // A drain while something is open: it is finished.
    let mut open = contents(&visitor, identity.onion(), root, &manifest, "large.bin").await;
    let first = open.next().await.unwrap().unwrap();
    done(DeviceRequest::Drain { instance: INSTANCE, deadline: UnixMs(now().0 + 60_000) }).await;
    assert!(all(open).await == large[first.len()..]);
    state(&agent, InstanceState::Ended).await;
    agent.shutdown().await;
}
