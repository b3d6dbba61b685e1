//! Members of a fog that do as the test says.

#![allow(dead_code, reason = "tests; not each of them uses all")]

use crate::fogs::{Fog, connection, endpoint};
use fogbank_betanet::{
    directory::{Directory, MixEntry, clock},
    epoch,
    seal::SiteSeal,
};
use fogbank_model::{BundleId, ContainerSpec, DeviceId, FogId, Image, InstanceId, InstanceState, Level, Resources};
use fogbank_wire::{
    Coming, DeviceReply, DeviceRequest, Enrol, InstanceReport, MAX_FRAME_BYTES, MixInfo, NodeReply, NodeRequest, Offer,
    OwnerCertificate, PacketKeys, Power, Purpose, Refusal, RefusalKind, Report, Roles, call, greet, read_frame, write_frame,
};
use iroh::{Endpoint, SecretKey, endpoint::Connection};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{sync::mpsc, time::timeout};

pub(crate) const BUNDLE: BundleId = BundleId([1; 32]);
/// Of no bundle: nothing is served here.
pub(crate) const SEAL: SiteSeal = SiteSeal { root: [1; 32], revision: 1 };
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// One member; it says yes to what it is asked, and tells the test.
pub(crate) struct Member {
    pub(crate) key: SecretKey,
    pub(crate) owner: SecretKey,
    pub(crate) mix: Option<SecretKey>,
    /// Where its mix says that it is.
    pub(crate) addrs: Vec<SocketAddr>,
    pub(crate) yes: Arc<AtomicBool>,
    /// Whether it starts what it reserved.
    pub(crate) starts: Arc<AtomicBool>,
    pub(crate) asked: mpsc::UnboundedReceiver<DeviceRequest>,
    pub(crate) tell: mpsc::UnboundedSender<DeviceRequest>,
}

impl Member {
    pub(crate) fn new(relays: bool) -> Self {
        let (tell, asked) = mpsc::unbounded_channel();
        let mix = relays.then(SecretKey::generate);
        let yes = || Arc::new(AtomicBool::new(true));
        let (key, owner, addrs) = (SecretKey::generate(), SecretKey::generate(), vec!["127.0.0.1:4000".parse().unwrap()]);
        Self { key, owner, mix, addrs, yes: yes(), starts: yes(), asked, tell }
    }

    pub(crate) fn mix_info(&self) -> Option<MixInfo> {
        let device = DeviceId(*self.key.public().as_bytes());
        self.mix.as_ref().map(|key| MixInfo::new(key, device, [1; 8], packet_keys(), self.addrs.clone()).unwrap())
    }

    pub(crate) async fn connect(&self, fog: &Fog) -> (Endpoint, Connection) {
        self.connect_as(fog, Roles { admin: false, ..Roles::ALL }).await
    }

    /// With what an invite gives.
    pub(crate) async fn connect_as(&self, fog: &Fog, granted: Roles) -> (Endpoint, Connection) {
        let device = DeviceId(*self.key.public().as_bytes());
        let own = endpoint(&self.key).await;
        let connection = connection(&own, fog).await;
        let mix = self.mix_info();
        let roles = Roles { agent: mix.is_none(), mixnode: mix.is_some(), publisher: granted.publisher, admin: false };
        let enrol = Enrol {
            certificate: OwnerCertificate::issue(&self.owner, device).unwrap(),
            name: "member".to_owned(),
            roles,
            mix,
            addrs: own.bound_sockets(),
            comes: Coming::Joins(fog.invite(granted).await),
        };
        greet(&connection, Purpose::Control(Box::new(enrol))).await.unwrap();
        let (answering, tell) = (connection.clone(), self.tell.clone());
        let (yes, starts) = (self.yes.clone(), self.starts.clone());
        tokio::spawn(async move {
            while let Ok((mut send, mut recv)) = answering.accept_bi().await {
                let Ok(request) = read_frame::<DeviceRequest>(&mut recv, MAX_FRAME_BYTES).await else { return };
                let no = || DeviceReply::Refused(Refusal::new(RefusalKind::Busy, "not now"));
                let willing = yes.load(Relaxed) && (starts.load(Relaxed) || !matches!(request, DeviceRequest::Confirm(_)));
                let reply = if willing { DeviceReply::Done } else { no() };
                let _ = tell.send(request);
                let _ = write_frame(&mut send, &reply).await;
                let _ = send.finish();
            }
        });
        (own, connection)
    }

    /// Waits for a request of this kind.
    pub(crate) async fn asked<T>(&mut self, what: impl Fn(DeviceRequest) -> Option<T>) -> T {
        let wait = async {
            loop {
                if let Some(found) = what(self.asked.recv().await.unwrap()) {
                    return found;
                }
            }
        };
        timeout(SOON, wait).await.expect("it is asked")
    }
}

/// The mixes that the directory lists.
pub(crate) async fn mixes(fog: &Fog, connection: &Connection) -> Vec<MixEntry> {
    let NodeReply::Directory(signed) = call(connection, &NodeRequest::Directory).await.unwrap() else { return Vec::new() };
    Directory::open(&signed, &FogId(*fog.endpoint.id().as_bytes())).unwrap().mixes
}

/// Of no small order, and of nobody's use here.
pub(crate) fn packet_keys() -> PacketKeys {
    let mut key = [0; 32];
    key[0] = 9;
    PacketKeys { first: epoch::at(clock()).0, keys: vec![key; 13] }
}

pub(crate) async fn report(connection: &Connection, instances: Vec<InstanceReport>) {
    offer(connection, true, instances).await;
}

/// A report of a device that lends, or no longer does.
pub(crate) async fn offer(connection: &Connection, open: bool, instances: Vec<InstanceReport>) {
    let lent = Resources { cpu_millicores: 4_000, memory_mb: 4_000, storage_mb: 4_000, bandwidth_kbps: 100_000 };
    let why = if open { "" } else { "its owner stopped lending" };
    let offer = Offer { capacity: lent, lent, open, why: why.to_owned() };
    let report = Report { offer, power: Power::Mains, instances, bundles: vec![BUNDLE], drain: None };
    assert!(matches!(call(connection, &NodeRequest::Report(report)).await.unwrap(), NodeReply::Done));
}

pub(crate) fn told(instance: InstanceId, state: InstanceState) -> Vec<InstanceReport> {
    let introduction_key = (state != InstanceState::Reserved).then_some([5; 32]);
    vec![InstanceReport { instance, state, reason: String::new(), introduction_key, traffic: None }]
}

pub(crate) fn spec() -> ContainerSpec {
    ContainerSpec {
        name: "site".parse().unwrap(),
        image: Image::Site { bundle: BUNDLE, bytes: 1, files: 1 },
        requirements: Resources { cpu_millicores: 100, memory_mb: 64, storage_mb: 10, bandwidth_kbps: 1_000 },
        instances: 1,
        availability: None,
        most: None,
        level: Level::Fast,
    }
}
