//! A fog of real mixes on loopback, with the test as its allocator.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, reason = "tests; each scenario uses a part")]

use fogbank_betanet::{
    address::{AccessKey, Address, Period},
    clock::FogClock,
    descriptor::Descriptor,
    directory::{Directory, DirectoryHub, MixEntry, UNMEASURED, clock},
    lease::{LEASE_LIFE, Lease, Revocation},
    link,
    mixnode::{KnownDirectory, MixConfig, Mixnode, Rate},
    paths::Guards,
    proof::{ContainerIdentity, DescriptorSigner},
    schedule::MIX_LOOP_MEAN,
    seal::{Mark, SiteSeal},
    service::{Host, ServiceHandle},
    tunnel::{IntroductionKey, Stream},
    uplink::{Uplink, UplinkConfig, UplinkStatus},
};
use fogbank_model::{FogId, InstanceId, Level, MixId, Onion, OwnerId, UnixMs};
use fogbank_wire::ServiceProof;
use iroh::SecretKey;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{mpsc, watch},
    task::JoinHandle,
};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Mixes and their directory.
pub(crate) struct Net {
    fog: SecretKey,
    serial: u64,
    /// Fogs that its directories name.
    pub(crate) federated: Vec<FogId>,
    directory: DirectoryHub,
    clock: FogClock,
    loop_mean: Duration,
    rate: Rate,
    keys: Vec<SecretKey>,
    /// Where each mix keeps the directory.
    pub(crate) hubs: Vec<DirectoryHub>,
    pub(crate) mixes: Vec<(MixEntry, Mixnode)>,
    /// Mixes that the test plays itself.
    pub(crate) others: Vec<MixEntry>,
}

impl Net {
    /// A test fog of so many mixes.
    pub(crate) async fn start(mixes: u8) -> Self {
        Self::start_at(mixes, FogClock::default()).await
    }

    /// A test fog whose time is that of a clock.
    pub(crate) async fn start_at(mixes: u8, clock: FogClock) -> Self {
        Self::start_as(mixes, clock, MIX_LOOP_MEAN, Rate::UNLIMITED).await
    }

    /// A test fog whose mixes send cover loops at another rate, or take no more than their owners let them.
    pub(crate) async fn start_with(mixes: u8, loop_mean: Duration, rate: Rate) -> Self {
        Self::start_as(mixes, FogClock::default(), loop_mean, rate).await
    }

    async fn start_as(mixes: u8, clock: FogClock, loop_mean: Duration, rate: Rate) -> Self {
        let mut net = Self {
            fog: SecretKey::generate(),
            serial: 0,
            federated: Vec::new(),
            directory: DirectoryHub::new(),
            clock,
            loop_mean,
            rate,
            keys: Vec::new(),
            hubs: Vec::new(),
            mixes: Vec::new(),
            others: Vec::new(),
        };
        for number in 0..mixes {
            net.add_mix(number).await;
        }
        net.publish();
        net
    }

    /// One mix more, in the next directory.
    pub(crate) async fn add_mix(&mut self, number: u8) {
        self.add_mix_by(number, self.clock.clone()).await;
    }

    /// One mix more that goes by this clock.
    pub(crate) async fn add_mix_by(&mut self, number: u8, clock: FogClock) {
        let (key, hub) = (SecretKey::generate(), DirectoryHub::new());
        let mix = self.run_mix(&key, &hub, SocketAddr::new(LOOPBACK, 0), number, clock).await;
        self.keys.push(key);
        self.hubs.push(hub);
        self.mixes.push(mix);
    }

    async fn run_mix(
        &self,
        key: &SecretKey,
        hub: &DirectoryHub,
        addr: SocketAddr,
        number: u8,
        clock: FogClock,
    ) -> (MixEntry, Mixnode) {
        // A port is free again a moment after its endpoint has closed.
        let binding = async {
            loop {
                match link::bind(key.clone(), addr, None).await {
                    Ok(endpoint) => return endpoint,
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        let endpoint = tokio::time::timeout(Duration::from_secs(10), binding).await.expect("the port is free again");
        let addrs = endpoint.bound_sockets();
        let config = MixConfig { directory: hub.clone(), clock, rate: self.rate, loop_mean: self.loop_mean };
        let mix = Mixnode::start(endpoint, config);
        let entry = MixEntry {
            id: mix.id(),
            key: mix.key(),
            life: mix.life(),
            packet_keys: mix.packet_keys().borrow().clone(),
            owner: OwnerId([number; 32]),
            addrs,
            relay: None,
            since: self.clock.now(),
            reliability: UNMEASURED,
        };
        (entry, mix)
    }

    /// Ends a mix and starts it again at the same address: another life with other packet keys, in the next directory.
    pub(crate) async fn restart(&mut self, index: usize) {
        let (entry, old) = self.mixes.remove(index);
        old.shutdown().await;
        // Its socket is free when nobody holds the endpoint any more.
        drop(old);
        let (key, hub) = (&self.keys[index], &self.hubs[index]);
        let number = entry.owner.0[0];
        let mix = self.run_mix(key, hub, entry.addrs[0], number, self.clock.clone()).await;
        self.mixes.insert(index, mix);
        self.publish();
    }

    /// The same by its id, at another address.
    pub(crate) async fn restart_mix(&mut self, id: MixId) {
        let index = self.mixes.iter().position(|(entry, _)| entry.id == id).unwrap();
        self.mixes[index].1.shutdown().await;
        let (key, hub) = (&self.keys[index], &self.hubs[index]);
        let elsewhere = SocketAddr::new(LOOPBACK, 0);
        let anew = self.run_mix(key, hub, elsewhere, u8::try_from(index).unwrap(), self.clock.clone()).await;
        assert!(anew.0.id == id && anew.0.life != self.mixes[index].0.life);
        self.mixes[index] = anew;
        self.publish();
    }

    /// The secret key of a mix.
    pub(crate) fn key(&self, index: usize) -> SecretKey {
        self.keys[index].clone()
    }

    pub(crate) fn fog(&self) -> FogId {
        FogId(*self.fog.public().as_bytes())
    }

    /// Signs the directory anew and hands it to everybody.
    pub(crate) fn publish(&mut self) {
        self.publish_but(&[]);
    }

    /// As [`Self::publish`], but these mixes are not told.
    pub(crate) fn publish_but(&mut self, deaf: &[usize]) {
        let signed = self.sign();
        for (index, hub) in self.hubs.iter().chain([&self.directory]).enumerate() {
            if !deaf.contains(&index) {
                // A neighbour may have passed it on already.
                hub.learn(&self.fog(), signed.clone(), self.clock.now()).unwrap();
                assert_eq!(hub.current().unwrap().directory.serial, self.serial);
            }
        }
    }

    /// Signs the directory anew, for whomever the test gives it to.
    pub(crate) fn sign(&mut self) -> Vec<u8> {
        self.serial += 1;
        self.signed_without(None, [7; 32])
    }

    fn signed_without(&self, unlisted: Option<MixId>, shared_random: [u8; 32]) -> Vec<u8> {
        let entries = self.mixes.iter().map(|(entry, _)| entry.clone()).chain(self.others.clone());
        let entries = entries.filter(|entry| Some(entry.id) != unlisted).collect();
        let directory = Directory::new(self.fog(), true, self.serial, self.clock.now(), shared_random, entries);
        directory.with_federated(self.federated.clone()).seal(&self.fog).unwrap()
    }

    /// Signs two directories of one serial, so that whoever has the one never takes the other: one of all mixes, for clients and all mixes but
    /// `others`, and for these one that lacks a mix and by which descriptors have other places.
    pub(crate) fn publish_two(&mut self, others: &[usize], unlisted: MixId) {
        let whole = self.sign();
        let lacking = self.signed_without(Some(unlisted), [8; 32]);
        for (index, hub) in self.hubs.iter().chain([&self.directory]).enumerate() {
            let signed = if others.contains(&index) { &lacking } else { &whole };
            assert!(hub.learn(&self.fog(), signed.clone(), self.clock.now()).unwrap());
        }
    }

    /// Whether this mix knows another.
    pub(crate) fn knows(&self, mix: usize, other: MixId) -> bool {
        self.hubs[mix].current().unwrap().directory.mix(other).is_some()
    }

    /// Ends a mix and lists it no more.
    pub(crate) async fn end_mix(&mut self, id: MixId) {
        let at = self.mixes.iter().position(|(entry, _)| entry.id == id).unwrap();
        let (_, mix) = self.mixes.remove(at);
        self.keys.remove(at);
        self.hubs.remove(at);
        mix.shutdown().await;
        self.publish();
    }

    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.directory.current().unwrap().directory
    }

    /// A client that has the directory from its allocator.
    pub(crate) fn member(&self) -> Uplink {
        Uplink::start(self.config(self.hub(), Vec::new()))
    }

    /// A client that knows one mix from a link.
    pub(crate) fn stranger(&self) -> Uplink {
        self.stranger_by(0, self.clock.clone())
    }

    /// A client that knows this mix from a link and goes by this clock.
    pub(crate) fn stranger_by(&self, mix: usize, clock: FogClock) -> Uplink {
        let entry = &self.mixes[mix].0;
        Uplink::start(UplinkConfig { clock, ..self.config(DirectoryHub::new(), vec![(entry.key, entry.addrs.clone())]) })
    }

    /// A client that knows one mix from a link, one that the test plays.
    pub(crate) fn stranger_of(&self, entry: &MixEntry) -> Uplink {
        Uplink::start(self.config(DirectoryHub::new(), vec![(entry.key, entry.addrs.clone())]))
    }

    /// A client with the directory from its allocator, these guards and this clock.
    pub(crate) fn member_with(&self, guards: &[MixId], clock: FogClock) -> Uplink {
        let now = self.clock.now();
        let kept: Vec<_> = guards.iter().map(|id| (*id, now.plus(LEASE_LIFE), now, Some(self.fog()))).collect();
        let none: Vec<(MixId, UnixMs, UnixMs, Option<FogId>)> = Vec::new();
        // Guards can be read back from a profile and not be made otherwise.
        let guards = postcard::from_bytes(&postcard::to_stdvec(&(kept, none)).unwrap()).unwrap();
        Uplink::start(UplinkConfig { guards, clock, ..self.config(self.directory.clone(), Vec::new()) })
    }

    /// The directory as it changes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<KnownDirectory>> {
        self.directory.subscribe()
    }

    /// Where it is kept.
    pub(crate) fn hub(&self) -> DirectoryHub {
        self.directory.clone()
    }

    fn config(&self, directory: DirectoryHub, bootstrap: Vec<([u8; 32], Vec<SocketAddr>)>) -> UplinkConfig {
        UplinkConfig {
            bind: LOOPBACK,
            exclude: Vec::new(),
            fog: self.fog(),
            directory,
            bootstrap,
            guards: Guards::new(),
            clock: self.clock.clone(),
            cover_budget: None,
        }
    }

    pub(crate) fn mix(&self, id: MixId) -> Option<&Mixnode> {
        self.mixes.iter().find(|(entry, _)| entry.id == id).map(|(_, mix)| mix)
    }
}

pub(crate) async fn ready(uplink: &Uplink) {
    let mut status = uplink.status();
    let ready = status.wait_for(|s| matches!(s, UplinkStatus::Ready { .. }));
    tokio::time::timeout(Duration::from_secs(10), ready).await.expect("the uplink comes up").unwrap();
}

/// A container whose allocator is the test.
pub(crate) struct Container {
    pub(crate) proof: ServiceProof,
    pub(crate) points: Vec<MixId>,
    identity: ContainerIdentity,
    level: Level,
}

impl Container {
    /// Publishes the descriptor of an app on the ring.
    pub(crate) fn publish(net: &Net, level: Level) -> Self {
        Self::publish_for(net, level, None)
    }

    /// Publishes for those who have a key.
    pub(crate) fn publish_for(net: &Net, level: Level, access: Option<AccessKey>) -> Self {
        let identity = ContainerIdentity::generate(&mut rand::rng()).unwrap();
        let proof = identity.pre_sign(clock(), 4, &mut rand::rng()).unwrap();
        Self::publish_proof(net, level, identity, proof, access)
    }

    /// The same, of a sealed site.
    pub(crate) fn publish_sealed(net: &Net, level: Level, root: [u8; 32]) -> Self {
        let identity = ContainerIdentity::generate(&mut rand::rng()).unwrap();
        let seal = SiteSeal { root, revision: 1 };
        let proof = identity.pre_sign_sealed(clock(), 4, &seal, &mut rand::rng()).unwrap();
        Self::publish_proof(net, level, identity, proof, None)
    }

    /// The same, whose publisher lets visitors come directly.
    pub(crate) fn publish_direct(net: &Net, level: Level, root: [u8; 32]) -> Self {
        let identity = ContainerIdentity::generate(&mut rand::rng()).unwrap().offering_direct(true);
        let seal = SiteSeal { root, revision: 1 };
        let proof = identity.pre_sign_sealed(clock(), 4, &seal, &mut rand::rng()).unwrap();
        Self::publish_proof(net, level, identity, proof, None)
    }

    fn publish_proof(
        net: &Net,
        level: Level,
        identity: ContainerIdentity,
        proof: ServiceProof,
        access: Option<AccessKey>,
    ) -> Self {
        let proof = ServiceProof { access: access.map(|key| key.0), ..proof };
        let points: Vec<MixId> = net.mixes.iter().map(|(entry, _)| entry.id).take(3).collect();
        let container = Self { proof, points, identity, level };
        container.describe(net, 1);
        container
    }

    /// Seals other content. Instances that come from here on serve it; visitors hear of it by the next descriptor.
    pub(crate) fn seal(&mut self, root: [u8; 32], revision: u64) {
        self.proof.seal = Some(SiteSeal { root, revision }.sign(&self.identity).unwrap());
    }

    /// Puts a descriptor of the points as they are on the ring.
    pub(crate) fn describe(&self, net: &Net, revision: u64) {
        let signer = self.signer();
        let descriptor =
            Descriptor { introduction_points: self.points.clone(), level: self.level, seal: self.proof.seal.clone() };
        let bytes = descriptor.make(&signer, revision, &mut rand::rng()).unwrap();
        for id in net.directory().ring(&signer.blinded()) {
            net.mix(id).unwrap().put_descriptor(bytes.clone()).unwrap();
        }
    }

    /// A lease of an instance, at the points as they are.
    pub(crate) fn lease(&self, instance: InstanceId, key: &IntroductionKey) -> Vec<u8> {
        let lease = Lease {
            instance,
            introduction_key: key.public(),
            weight: 1,
            expires: clock().plus(LEASE_LIFE),
            introduction_points: self.points.clone(),
            period: Period(0),
            mark: self.mark(),
        };
        lease.issue(&self.signer()).unwrap()
    }

    /// What leases of instances say that serve what the container is sealed as now.
    pub(crate) fn mark(&self) -> Mark {
        let address = Address::parse(self.onion()).unwrap();
        let seal = self.proof.seal.as_ref().map(|bytes| SiteSeal::open(bytes, &address).unwrap());
        self.signer().mark(seal.as_ref())
    }

    pub(crate) fn onion(&self) -> &Onion {
        &self.proof.onion
    }

    pub(crate) fn signer(&self) -> DescriptorSigner {
        DescriptorSigner::of(&self.proof, Period::at(clock()), clock()).unwrap()
    }

    /// An instance on an uplink of its own that greets with its number and then says everything back.
    pub(crate) async fn instance(&self, net: &Net, number: u8) -> Instance {
        self.instance_of(net, number, move |stream| tokio::spawn(echo(number, stream))).await
    }

    /// An instance that does this with every stream.
    pub(crate) async fn instance_of(
        &self,
        net: &Net,
        number: u8,
        serve: impl Fn(Stream) -> JoinHandle<()> + Send + 'static,
    ) -> Instance {
        self.serve_by(net.member(), number, serve).await
    }

    /// As [`Self::instance`], on this uplink.
    pub(crate) async fn echo_by(&self, uplink: Uplink, number: u8) -> Instance {
        self.serve_by(uplink, number, move |stream| tokio::spawn(echo(number, stream))).await
    }

    async fn serve_by(&self, uplink: Uplink, number: u8, serve: impl Fn(Stream) -> JoinHandle<()> + Send + 'static) -> Instance {
        let (accept, mut streams) = mpsc::channel::<Stream>(16);
        tokio::spawn(async move {
            while let Some(stream) = streams.recv().await {
                serve(stream);
            }
        });
        self.instance_by(uplink, number, accept).await
    }

    /// An instance on an uplink of its own whose streams go to `accept`.
    pub(crate) async fn instance_for(&self, net: &Net, number: u8, accept: mpsc::Sender<Stream>) -> Instance {
        self.instance_by(net.member(), number, accept).await
    }

    /// An instance on this uplink whose streams go to `accept`.
    pub(crate) async fn instance_by(&self, uplink: Uplink, number: u8, accept: mpsc::Sender<Stream>) -> Instance {
        ready(&uplink).await;
        let key = IntroductionKey::generate();
        let id = InstanceId([number; 16]);
        let (leases, watch) = watch::channel(vec![self.lease(id, &key)]);
        let mine = key.clone();
        let host = Host::start(uplink.clone());
        let service = host.serve(id, key, watch, self.level, accept);
        tokio::time::timeout(Duration::from_secs(10), service.wait_registered()).await.expect("it registers");
        Instance { id, key: mine, uplink, host, service, leases }
    }

    /// What the allocator does when it has lost an instance.
    pub(crate) fn revoke(&self, net: &Net, instance: InstanceId) {
        let bytes = Revocation::issue(&[instance], clock(), &self.signer()).unwrap();
        for point in &self.points {
            if let Some(mix) = net.mix(*point) {
                mix.revoke(&bytes).unwrap();
            }
        }
    }
}

/// A running instance.
pub(crate) struct Instance {
    pub(crate) id: InstanceId,
    pub(crate) uplink: Uplink,
    pub(crate) host: Host,
    pub(crate) service: ServiceHandle,
    pub(crate) key: IntroductionKey,
    pub(crate) leases: watch::Sender<Vec<Vec<u8>>>,
}

async fn echo(number: u8, mut stream: Stream) {
    if stream.write_all(&[number]).await.is_err() {
        return;
    }
    let (mut from, mut to) = tokio::io::split(stream);
    if tokio::io::copy(&mut from, &mut to).await.is_ok() {
        let _ = to.shutdown().await;
    }
}

/// The number of the instance at the other end.
pub(crate) async fn greeting(stream: &mut Stream) -> u8 {
    tokio::time::timeout(Duration::from_secs(10), stream.read_u8()).await.expect("a greeting in time").expect("a greeting")
}

/// Bytes that no two places of which look alike.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// Says these bytes, ends that direction, and expects them back and then the end.
pub(crate) async fn there_and_back(stream: Stream, bytes: &[u8]) {
    let (mut from, mut to) = tokio::io::split(stream);
    let mut back = Vec::with_capacity(bytes.len());
    let say = async {
        to.write_all(bytes).await.expect("it can be said");
        to.shutdown().await.expect("it can be ended");
    };
    let (_, heard) = tokio::join!(say, from.read_to_end(&mut back));
    heard.expect("it comes back");
    assert!(back == bytes, "{} of {} bytes came back, or others", back.len(), bytes.len());
}
