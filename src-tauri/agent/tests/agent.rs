//! The agent as its allocator sees it: reservations, starts, drains and ends. Bundles come over real connections; visitors come by in-memory
//! streams, because how they come is betanet's.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;
#[path = "agent/measured.rs"]
mod measured;

use common::{Device, Fog, noise, now, site, until};
use fogbank_agent::{
    Agent, AgentConfig, Publish, Published, Share,
    bundle::{Limits, Manifest, Root},
};
use fogbank_betanet::{
    address::Period,
    lease::Lease,
    proof::{ContainerIdentity, DescriptorSigner},
    tunnel::IntroductionKey,
};
use fogbank_model::{
    BundleId, ContainerId, ContainerSpec, DurationMs, Image, InstanceId, InstanceState, Level, MixId, Resources, UnixMs,
};
use fogbank_site::{Contents, take_manifest};
use fogbank_wire::{Assignment, DeviceReply, DeviceRequest, InstanceReport, Power, RefusalKind};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, DuplexStream, duplex},
    sync::{mpsc, watch},
};

const SOME: Resources = Resources { cpu_millicores: 100, memory_mb: 64, storage_mb: 20, bandwidth_kbps: 500 };
const ONE: InstanceId = InstanceId([1; 16]);
const TWO: InstanceId = InstanceId([2; 16]);
const THREE: InstanceId = InstanceId([3; 16]);
const CONTAINER: ContainerId = ContainerId([9; 16]);

/// Visitors' way in: a place where instances are found as soon as they have a lease.
#[derive(Clone, Default)]
struct Street(Arc<Mutex<HashMap<InstanceId, House>>>, Arc<Mutex<HashMap<InstanceId, Root>>>);

#[derive(Clone)]
struct House {
    accept: mpsc::Sender<DuplexStream>,
    open: Arc<AtomicUsize>,
    drained: Arc<watch::Sender<bool>>,
    found: watch::Sender<bool>,
}

struct Door {
    house: House,
    street: Street,
    instance: InstanceId,
}

impl Publish for Street {
    type Stream = DuplexStream;
    type Published = Door;

    fn publish(
        &self,
        instance: InstanceId,
        _: IntroductionKey,
        mut leases: watch::Receiver<Vec<Vec<u8>>>,
        _: Level,
        accept: mpsc::Sender<DuplexStream>,
    ) -> Door {
        let house = House { accept, open: Arc::default(), drained: Arc::default(), found: watch::Sender::new(false) };
        self.0.lock().unwrap().insert(instance, house.clone());
        let found = house.found.clone();
        tokio::spawn(async move {
            if leases.wait_for(|l| !l.is_empty()).await.is_ok() {
                found.send_replace(true);
            }
        });
        Door { house, street: self.clone(), instance }
    }
}

impl Published for Door {
    fn registered(&self) -> bool {
        *self.house.found.borrow()
    }

    async fn wait_registered(&self) {
        let _ = self.house.found.subscribe().wait_for(|f| *f).await;
    }

    fn drain(&self) {
        self.house.drained.send_replace(true);
        self.house.found.send_replace(false);
    }

    fn open_streams(&self) -> usize {
        self.house.open.load(Ordering::Relaxed)
    }

    fn open_tunnels(&self) -> usize {
        self.open_streams()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.street.0.lock().unwrap().remove(&self.instance);
    }
}

impl Street {
    async fn visit(&self, instance: InstanceId) -> Option<DuplexStream> {
        let house = self.0.lock().unwrap().get(&instance).cloned()?;
        let (near, far) = duplex(64 << 10);
        house.accept.send(far).await.ok()?;
        Some(near)
    }

    /// The front page, as a visitor gets it.
    async fn front(&self, instance: InstanceId) -> Option<String> {
        let (root, manifest) = self.manifest(instance).await?;
        let mut front = self.ask(instance, root, &manifest, "index.html").await?;
        String::from_utf8(front.next().await.unwrap()?.to_vec()).ok()
    }

    async fn manifest(&self, instance: InstanceId) -> Option<(Root, Manifest)> {
        let root = self.1.lock().unwrap().get(&instance).copied()?;
        Some((root, take_manifest(self.visit(instance).await?, root, &Limits::default()).await.ok()?))
    }

    async fn ask(&self, instance: InstanceId, root: Root, manifest: &Manifest, path: &str) -> Option<Contents<DuplexStream>> {
        let entry = manifest.entry(path).unwrap();
        let stream = self.visit(instance).await?;
        Contents::ask(stream, root, manifest, entry.blob(), entry.bytes(), 0..entry.bytes()).await.ok()
    }
}

/// An agent with its device, and the allocator's and the publisher's parts of the test.
struct Scene {
    fog: Fog,
    publisher: Device,
    device: Device,
    agent: Agent,
    street: Street,
    signer: DescriptorSigner,
}

impl Scene {
    async fn start() -> Self {
        let fog = Fog::new();
        let (publisher, device) = (Device::start(&fog).await, Device::start(&fog).await);
        let street = Street::default();
        let agent = agent(&fog, &device, &street);
        let identity = ContainerIdentity::generate(&mut rand::rng()).unwrap();
        let proof = identity.pre_sign(now(), 4, &mut rand::rng()).unwrap();
        let signer = DescriptorSigner::of(&proof, Period::at(now()), now()).unwrap();
        let scene = Self { fog, publisher, device, agent, street, signer };
        scene.report("it lends", |r| r.offer.open).await;
        scene
    }

    async fn report(&self, what: &str, so: impl FnMut(&fogbank_wire::Report) -> bool) -> fogbank_wire::Report {
        let mut reports = self.agent.reports();
        let waiting = tokio::time::timeout(Duration::from_secs(20), reports.wait_for(so)).await;
        match waiting {
            Ok(report) => report.unwrap().clone(),
            Err(_) => panic!("{what}: {:?}", self.agent.reports().borrow()),
        }
    }

    async fn state(&self, instance: InstanceId, state: InstanceState) -> InstanceReport {
        let report = self.report(state.name(), |r| of(r, instance).is_some_and(|i| i.state == state)).await;
        of(&report, instance).unwrap().clone()
    }

    fn reserve(&self, instance: InstanceId, life: i64, epoch: u64) -> DeviceRequest {
        let expires = UnixMs(now().0 + life);
        DeviceRequest::Reserve { instance, container: CONTAINER, given: SOME, expires, epoch }
    }

    fn confirm(&self, instance: InstanceId, bundle: BundleId, bytes: u64) -> DeviceRequest {
        DeviceRequest::Confirm(Box::new(Assignment {
            instance,
            container: CONTAINER,
            onion: format!("{}.onion", "a".repeat(56)).parse().unwrap(),
            spec: ContainerSpec {
                name: "a site".parse().unwrap(),
                image: Image::Site { bundle, bytes, files: 10 },
                requirements: SOME,
                instances: 1,
                availability: None,
                most: None,
                level: Level::Fast,
            },
            sources: vec![self.publisher.source()],
            permit: self.fog.permit(bundle, self.device.id()),
        }))
    }

    fn lease(&self, instance: InstanceId, key: [u8; 32], life: DurationMs) -> DeviceRequest {
        let lease = Lease {
            instance,
            introduction_key: key,
            weight: 1,
            expires: now().plus(life),
            introduction_points: vec![MixId([1; 16])],
            period: Period(0),
            mark: [0; 8],
        };
        DeviceRequest::Lease { instance, leases: vec![lease.issue(&self.signer).unwrap()] }
    }

    async fn done(&self, request: DeviceRequest) {
        assert_eq!(self.agent.handle(request).await, DeviceReply::Done);
    }

    async fn refused(&self, request: DeviceRequest) -> (RefusalKind, String) {
        match self.agent.handle(request).await {
            DeviceReply::Refused(refusal) => (refusal.kind, refusal.message),
            DeviceReply::Done => panic!("it was to be refused"),
        }
    }

    /// From the reservation to the first visitor.
    async fn serve(&self, instance: InstanceId, life: DurationMs) -> BundleId {
        let bundle = self.publisher.import(site(&[("index.html", b"hello"), ("large", &noise(b"n", 1 << 20))]).path()).await;
        self.done(self.reserve(instance, 10_000, 1)).await;
        self.done(self.confirm(instance, bundle.id, bundle.bytes)).await;
        let key = self.state(instance, InstanceState::Starting).await.introduction_key.expect("the key is told by then");
        self.done(self.lease(instance, key, life)).await;
        self.street.1.lock().unwrap().insert(instance, bundle.root);
        self.state(instance, InstanceState::Ready).await;
        bundle.id
    }
}

/// Of a disk that may be nearly full, as a machine that tests is.
fn share() -> Share {
    Share { keep_free_percent: 0, ..Share::default() }
}

fn agent(fog: &Fog, device: &Device, street: &Street) -> Agent {
    let config = AgentConfig {
        device: device.id(),
        fog: fog.id(),
        endpoint: device.endpoint.clone(),
        bundles: device.bundles.clone(),
        folder: device.folder.path().to_owned(),
        share: share(),
    };
    Agent::start(config, street.clone())
}

fn of(report: &fogbank_wire::Report, instance: InstanceId) -> Option<&InstanceReport> {
    report.instances.iter().find(|i| i.instance == instance)
}

const DAY: DurationMs = DurationMs::from_s(24 * 3600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_reservation_to_a_visitor_and_to_the_end() {
    let scene = Scene::start().await;
    let states = scene.agent.reports();
    let seen = tokio::spawn(async move {
        let mut states = states;
        let mut seen = Vec::new();
        loop {
            let state = of(&states.borrow_and_update(), ONE).map(|i| i.state);
            if seen.last() != state.as_ref() {
                seen.extend(state);
            }
            if seen.last() == Some(&InstanceState::Ready) || states.changed().await.is_err() {
                return seen;
            }
        }
    });
    let bundle = scene.serve(ONE, DAY).await;
    let seen = seen.await.unwrap();
    use InstanceState::{Fetching, Ready, Reserved, Starting};
    assert!(
        seen.ends_with(&[Starting, Ready]) && seen.iter().all(|s| [Reserved, Fetching, Starting, Ready].contains(s)),
        "{seen:?}"
    );
    let report = scene.report("it tells of its bundle", |r| r.bundles.contains(&bundle)).await;
    assert_eq!(report.power, Power::Mains, "no battery is a normal case, here at least");
    assert_eq!(scene.street.front(ONE).await.unwrap(), "hello");

    // Asking again changes nothing.
    scene.done(scene.reserve(ONE, 10_000, 1)).await;
    scene.done(scene.confirm(ONE, bundle, 1)).await;
    scene.done(DeviceRequest::Release(ONE)).await;
    scene.done(DeviceRequest::Ping).await;
    assert_eq!(scene.street.front(ONE).await.unwrap(), "hello");

    let mut open = scene.street.visit(ONE).await.unwrap();
    scene.done(DeviceRequest::End(ONE)).await;
    assert!(scene.agent.reports().borrow().instances.is_empty(), "the end is in the report before it is answered");
    assert_eq!(open.read(&mut [0; 10]).await.unwrap_or(0), 0, "connections end with it");
    until("it is gone from the street", || scene.street.0.lock().unwrap().is_empty()).await;
    scene.done(DeviceRequest::End(ONE)).await;
    assert!(scene.device.holds(bundle), "the content stays until it is forgotten or room is needed");
    scene.done(DeviceRequest::Forget(bundle)).await;
    scene.report("the bundle is no longer told of", |r| r.bundles.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reservations_end_by_themselves_and_older_plans_are_fenced_off() {
    let scene = Scene::start().await;
    scene.done(scene.reserve(ONE, 300, 7)).await;
    scene.state(ONE, InstanceState::Reserved).await;
    scene.report("it ends by itself", |r| r.instances.is_empty()).await;
    assert_eq!(scene.refused(scene.confirm(ONE, BundleId([1; 32]), 1)).await.0, RefusalKind::NotFound);
    assert_eq!(scene.refused(scene.reserve(TWO, 10_000, 6)).await.0, RefusalKind::Expired);
    let huge = Resources { memory_mb: Resources::LIMIT.memory_mb, ..SOME };
    let expires = UnixMs(now().0 + 10_000);
    let request = DeviceRequest::Reserve { instance: TWO, container: CONTAINER, given: huge, expires, epoch: 7 };
    let (kind, words) = scene.refused(request).await;
    assert!(kind == RefusalKind::Busy && words.contains("not enough memory"), "{words}");

    // A device whose clock is two hours late goes by the allocator's.
    scene.device.bundles.clock().learn(UnixMs(now().0 + 7_200_000));
    assert_eq!(scene.refused(scene.reserve(TWO, 10_000, 7)).await.0, RefusalKind::Expired);
    scene.done(scene.reserve(TWO, 7_205_000, 7)).await;
    scene.done(DeviceRequest::Release(TWO)).await;
    scene.report("it is released", |r| r.instances.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owners_word_closes_the_device() {
    let scene = Scene::start().await;
    scene.serve(ONE, DAY).await;
    let bundle = scene.publisher.import(site(&[("index.html", b"more")]).path()).await;
    scene.done(scene.reserve(THREE, 60_000, 1)).await;
    scene.agent.pause(true);
    let report = scene.report("it is closed", |r| !r.offer.open).await;
    // What was reserved before is neither started nor kept warm.
    let (kind, words) = scene.refused(scene.confirm(THREE, bundle.id, bundle.bytes)).await;
    assert!(kind == RefusalKind::WrongState && words.contains("paused"), "{words}");
    assert_eq!(scene.refused(scene.reserve(THREE, 60_000, 1)).await.0, RefusalKind::WrongState);
    assert!(report.offer.lent == Resources::ZERO && report.offer.why.contains("owner"), "{report:?}");
    let (kind, words) = scene.refused(scene.reserve(TWO, 10_000, 1)).await;
    assert!(kind == RefusalKind::WrongState && words.contains("paused"), "{words}");
    assert_eq!(scene.street.front(ONE).await.unwrap(), "hello", "what runs goes on");
    scene.agent.pause(false);
    scene.report("it is open", |r| r.offer.open).await;

    scene.agent.drain(Some("lid closed".to_owned()));
    let report = scene.report("it asks to be drained", |r| r.drain.is_some()).await;
    assert!(!report.offer.open && report.drain.as_deref() == Some("lid closed"));
    assert_eq!(scene.refused(scene.reserve(TWO, 10_000, 1)).await.0, RefusalKind::WrongState);
    scene.agent.drain(None);
    scene.report("it takes part again", |r| r.offer.open && r.drain.is_none()).await;

    scene.agent.share(Share { storage_mb: 0, ..share() });
    scene.report("without room it is closed", |r| !r.offer.open).await;
    scene.agent.share(Share { storage_mb: 200, ..share() });
    scene.report("with less room it is open", |r| r.offer.lent.storage_mb == 200).await;
    scene.agent.power(Power::Battery { share: 0.5, charging: false });
    scene.report("told power counts", |r| r.power == Power::Battery { share: 0.5, charging: false }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_instance_finishes_and_then_ends() {
    let scene = Scene::start().await;
    scene.serve(ONE, DAY).await;
    let (root, manifest) = scene.street.manifest(ONE).await.unwrap();
    let mut long = scene.street.ask(ONE, root, &manifest, "large").await.unwrap();
    let mut length = long.next().await.unwrap().unwrap().len();
    let asked = Instant::now();
    scene.done(DeviceRequest::Drain { instance: ONE, deadline: UnixMs(now().0 + 60_000) }).await;
    scene.state(ONE, InstanceState::Draining).await;
    assert!(*scene.street.0.lock().unwrap()[&ONE].drained.borrow(), "visitors are sent elsewhere");
    // Those who have not heard of it yet are served.
    for _ in 0..10 {
        assert_eq!(scene.street.front(ONE).await.unwrap(), "hello");
    }
    assert_eq!(scene.state(ONE, InstanceState::Draining).await.state, InstanceState::Draining);
    while let Some(bytes) = long.next().await.unwrap() {
        length += bytes.len();
    }
    assert_eq!(length, 1 << 20, "the long download is whole");
    drop(long);
    let ended = scene.state(ONE, InstanceState::Ended).await;
    assert!(ended.reason.contains("nothing was open") && asked.elapsed() > Duration::from_secs(2), "{ended:?}");
    scene.done(DeviceRequest::End(ONE)).await;
    assert!(scene.agent.reports().borrow().instances.is_empty());

    // With something open that does not end, the deadline ends it.
    scene.serve(TWO, DAY).await;
    let stuck = scene.street.visit(TWO).await.unwrap();
    scene.done(DeviceRequest::Drain { instance: TWO, deadline: UnixMs(now().0 + 500) }).await;
    let ended = scene.state(TWO, InstanceState::Ended).await;
    assert!(ended.reason.contains("time was over with 1 connections"), "{ended:?}");
    drop(stuck);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_off_from_the_allocator_it_serves_until_its_leases_end() {
    let scene = Scene::start().await;
    scene.serve(ONE, DurationMs(3_000)).await;
    assert_eq!(scene.street.front(ONE).await.unwrap(), "hello");
    let ended = scene.state(ONE, InstanceState::Ended).await;
    assert!(ended.reason.contains("leases ended"), "{ended:?}");
    assert!(scene.street.front(ONE).await.is_none());

    // A lease that is another's is none.
    scene.serve(TWO, DAY).await;
    let key = of(&scene.agent.reports().borrow(), TWO).unwrap().introduction_key.unwrap();
    for strange in [scene.lease(TWO, [7; 32], DAY), scene.lease(TWO, key, DurationMs(-1))] {
        assert_eq!(scene.refused(strange).await.0, RefusalKind::Invalid);
    }
    let garbage = DeviceRequest::Lease { instance: TWO, leases: vec![vec![0; 100]; 100] };
    assert_eq!(scene.refused(garbage).await.0, RefusalKind::Invalid);
    assert_eq!(scene.refused(scene.lease(InstanceId([3; 16]), key, DAY)).await.0, RefusalKind::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_that_is_not_what_was_said_ends_the_instance() {
    let scene = Scene::start().await;
    let bundle = scene.publisher.import(site(&[("index.html", b"hello"), ("b", &noise(b"b", 5_000))]).path()).await;
    scene.done(scene.reserve(ONE, 10_000, 1)).await;
    let strange = Fog::new();
    let mut forged = scene.confirm(ONE, bundle.id, bundle.bytes);
    if let DeviceRequest::Confirm(assignment) = &mut forged {
        assignment.permit = strange.permit(bundle.id, scene.device.id());
    }
    assert_eq!(scene.refused(forged).await.0, RefusalKind::Invalid);
    scene.done(scene.confirm(ONE, bundle.id, 100)).await;
    let ended = scene.state(ONE, InstanceState::Ended).await;
    assert!(ended.reason.contains("5005 bytes, at most 100"), "{ended:?}");
    assert!(!scene.device.holds(bundle.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_are_kept_for_others_and_survive_a_restart() {
    let scene = Scene::start().await;
    let bundle = scene.publisher.import(site(&[("index.html", b"hello"), ("b", &noise(b"b", 3_000_000))]).path()).await;
    let keep = |bytes| DeviceRequest::Keep {
        bundle: bundle.id,
        bytes,
        sources: vec![scene.publisher.source()],
        permit: scene.fog.permit(bundle.id, scene.device.id()),
    };
    let (kind, words) = scene.refused(keep(u64::MAX)).await;
    assert!(kind == RefusalKind::Busy && words.contains("are free here"), "{words}");
    let own = scene.device.import(site(&[("index.html", b"its own")]).path()).await;
    scene.done(keep(bundle.bytes)).await;
    scene.done(keep(bundle.bytes)).await;
    scene.report("it is told when it is whole", |r| r.bundles.contains(&bundle.id)).await;
    scene.serve(ONE, DAY).await;

    // The process ends without a word and comes back.
    scene.agent.shutdown().await;
    assert_eq!(scene.refused(DeviceRequest::Ping).await.0, RefusalKind::NotServed);
    until("visitors find nobody", || scene.street.0.lock().unwrap().is_empty()).await;
    let again = agent(&scene.fog, &scene.device, &scene.street);
    let first = again.reports().borrow().clone();
    assert!(first.instances.is_empty() && first.bundles.contains(&bundle.id), "{first:?}");
    assert!(!first.bundles.contains(&own.id), "what it published itself is not the fog's");
    let now = scene.report("nor later", |r| r.offer.open).await;
    assert!(!now.bundles.contains(&own.id), "{now:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_nobody_can_find_says_so() {
    let scene = Scene::start().await;
    scene.serve(ONE, DAY).await;
    let found = scene.street.0.lock().unwrap()[&ONE].found.clone();
    found.send_replace(false);
    let unready = scene.state(ONE, InstanceState::Unready).await;
    assert!(unready.reason.contains("can't find it"), "{unready:?}");
    found.send_replace(true);
    scene.state(ONE, InstanceState::Ready).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_its_way_counts_when_room_is_made() {
    let scene = Scene::start().await;
    scene.agent.share(Share { storage_mb: 100, ..share() });
    scene.report("it lends 100 MB", |r| r.offer.lent.storage_mb == 100).await;
    let spare = scene.publisher.import(site(&[("index.html", &noise(b"spare", 2_500_000))]).path()).await;
    let wanted = scene.device.wanted(&scene.fog, spare.id, &[&scene.publisher]);
    drop(scene.device.bundles.cache(&scene.device.endpoint, &wanted, |_| ()).await.unwrap());
    // Nobody has these two. Each has room beside the spare one, both together have not.
    for (n, instance, storage_mb) in [(1, ONE, 50), (2, TWO, 49)] {
        assert!(scene.device.holds(spare.id));
        let given = Resources { storage_mb, ..SOME };
        let expires = UnixMs(now().0 + 10_000);
        scene.done(DeviceRequest::Reserve { instance, container: CONTAINER, given, expires, epoch: 1 }).await;
        scene.done(scene.confirm(instance, BundleId([n; 32]), storage_mb * 1_000_000)).await;
    }
    until("the spare one gives way", || !scene.device.holds(spare.id)).await;
    assert_eq!(scene.state(ONE, InstanceState::Fetching).await.state, InstanceState::Fetching);
}
