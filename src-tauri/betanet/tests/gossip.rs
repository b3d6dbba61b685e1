//! Directories spread from mix to mix and to clients, whoever hears of one first; nobody believes one that the fog did not sign.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests, which say what they measured")]

mod net;

use fogbank_betanet::{
    directory::{Directory, DirectoryHub, MixEntry, UNMEASURED, clock, mix_id},
    epoch,
    link::{self, LINK_FRAME_BYTES, PART_BYTES},
    uplink::UplinkStatus,
};
use fogbank_model::{FogId, OwnerId};
use fogbank_sphinx::MixSecret;
use fogbank_wire::{ALPN, Greeting, PacketKeys, Purpose, greet, receive_hello, write_frame};
use iroh::{Endpoint, EndpointAddr, SecretKey, endpoint::Connection};
use net::{Net, ready};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

/// Kinds of frames, as the table of frames numbers them.
const HAVE: u8 = 3;
const WANT: u8 = 4;
const PART: u8 = 5;
/// Far above every serial of these tests.
const FORGED: u64 = 1_000;

/// A mix of the directory that the test plays: it says to whoever links with it that it has a fog's directory of a serial, and gives these bytes
/// to who asks for it.
#[derive(Clone)]
struct Peer {
    endpoint: Endpoint,
    entry: MixEntry,
    says: Arc<Mutex<(FogId, u64, Vec<u8>)>>,
    asked: Arc<AtomicU32>,
}

impl Peer {
    async fn new() -> Self {
        let key = SecretKey::generate();
        let endpoint = link::bind(key.clone(), "127.0.0.1:0".parse().unwrap(), None).await.unwrap();
        let entry = MixEntry { addrs: endpoint.bound_sockets(), ..Self::entry_of(&key) };
        let says = Arc::new(Mutex::new((FogId([0; 32]), 0, Vec::new())));
        let peer = Self { endpoint, entry, says, asked: Arc::default() };
        tokio::spawn(peer.clone().accept());
        peer
    }

    /// The entry of a mix that listens nowhere.
    fn entry_of(key: &SecretKey) -> MixEntry {
        let key = *key.public().as_bytes();
        let keys = (0..14).map(|_| MixSecret::generate(&mut rand::rng()).public().0).collect();
        MixEntry {
            id: mix_id(&key),
            key,
            life: [1; 8],
            packet_keys: PacketKeys { first: epoch::at(clock()).0.saturating_sub(1), keys },
            owner: OwnerId([100; 32]),
            addrs: Vec::new(),
            relay: None,
            since: clock(),
            reliability: UNMEASURED,
        }
    }

    async fn accept(self) {
        while let Some(incoming) = self.endpoint.accept().await {
            let peer = self.clone();
            tokio::spawn(async move {
                let connection = incoming.accept().unwrap().await.ok()?;
                let (_, mut reply) = receive_hello(&connection).await.ok()?;
                write_frame(&mut reply, &Greeting::Welcome(None)).await.ok()?;
                reply.finish().ok()?;
                peer.talk(connection).await
            });
        }
    }

    /// Links with a mix, as mixes do.
    async fn link(&self, to: &MixEntry) -> Connection {
        let id = iroh::PublicKey::from_bytes(&to.key).unwrap();
        let target = to.addrs.iter().fold(EndpointAddr::new(id), |target, addr| target.with_ip_addr(*addr));
        let connection = self.endpoint.connect(target, ALPN).await.unwrap();
        greet(&connection, Purpose::Mix).await.unwrap();
        let (peer, talking) = (self.clone(), connection.clone());
        tokio::spawn(async move { peer.talk(talking).await });
        connection
    }

    /// Says which it has, and gives it to who asks.
    async fn talk(self, connection: Connection) -> Option<()> {
        let says = || self.says.lock().unwrap().clone();
        let (fog, serial, _) = says();
        say(&connection, HAVE, &[&fog.0[..], &serial.to_be_bytes(), &clock().0.to_be_bytes()].concat()).await?;
        loop {
            let frame = connection.accept_uni().await.ok()?.read_to_end(LINK_FRAME_BYTES).await.ok()?;
            if frame.first() == Some(&WANT) {
                self.asked.fetch_add(1, Relaxed);
                let (fog, serial, bytes) = says();
                let count = bytes.chunks(PART_BYTES).count() as u16;
                for (index, piece) in (0..).zip(bytes.chunks(PART_BYTES)) {
                    let numbers = [index, count, piece.len() as u16].map(u16::to_be_bytes).concat();
                    say(&connection, PART, &[&fog.0[..], &serial.to_be_bytes(), &numbers, piece].concat()).await?;
                }
            }
        }
    }
}

async fn say(connection: &Connection, kind: u8, front: &[u8]) -> Option<()> {
    let mut frame = [&[kind], front].concat();
    frame.resize(LINK_FRAME_BYTES, 0);
    let mut stream = connection.open_uni().await.ok()?;
    stream.write_all(&frame).await.ok()?;
    stream.finish().ok()
}

/// The fog's directory as another key signs it, with a serial above all.
fn forged(net: &Net) -> Vec<u8> {
    let directory = net.directory();
    let forger = SecretKey::generate();
    let made = Directory::new(net.fog(), true, FORGED, clock(), [7; 32], directory.mixes.clone());
    made.seal(&forger).unwrap()
}

/// One fog at a time: what is waited for are answers within seconds.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn serial(hub: &DirectoryHub) -> u64 {
    hub.current().map_or(0, |known| known.directory.serial)
}

async fn until(what: &str, seen: impl Fn() -> bool) {
    let waiting = async {
        while !seen() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), waiting).await.is_ok(), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_mix_hears_of_it_and_all_have_it_and_clients_too() {
    let _alone = ALONE.lock().await;
    let mut net = Net::start(12).await;
    let client = net.stranger();
    ready(&client).await;
    for round in 0..3 {
        let signed = net.sign();
        let began = std::time::Instant::now();
        assert!(net.hubs[3 * round].learn(&net.fog(), signed, clock()).unwrap());
        let newest = serial(&net.hubs[3 * round]);
        until("all mixes have it", || net.hubs.iter().all(|hub| serial(hub) == newest)).await;
        let mixes = began.elapsed();
        let directory = client.directory();
        until("the client has it", || directory.borrow().as_ref().is_some_and(|d| d.serial == newest)).await;
        println!("12 mixes after {mixes:?}, the client after {:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mix_that_forges_one_is_believed_by_no_mix_and_asked_no_more() {
    let _alone = ALONE.lock().await;
    let mut net = Net::start(5).await;
    let peer = Peer::new().await;
    net.others.push(peer.entry.clone());
    net.publish();
    let serials = |net: &Net| net.hubs.iter().map(serial).collect::<Vec<_>>();
    let before = serials(&net);
    *peer.says.lock().unwrap() = (net.fog(), FORGED, forged(&net));
    for (number, (entry, _)) in (1..).zip(&net.mixes) {
        peer.link(entry).await;
        until("it is asked for what it says it has", || peer.asked.load(Relaxed) >= number).await;
    }
    // It says so again on other links: who was given a forged one does not ask again, and the true one of another peer is what all have next.
    for (entry, _) in &net.mixes {
        peer.link(entry).await;
    }
    let signed = net.sign();
    assert!(net.hubs[0].learn(&net.fog(), signed, clock()).unwrap());
    let newest = serial(&net.hubs[0]);
    assert!(before.iter().all(|serial| *serial < newest) && newest < FORGED);
    until("all mixes have the true one", || net.hubs.iter().all(|hub| serial(hub) == newest)).await;
    assert_eq!(peer.asked.load(Relaxed), net.mixes.len() as u32, "each mix asks a forger once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_whose_only_mix_forges_one_has_none_and_one_of_another_mix_has_it() {
    let _alone = ALONE.lock().await;
    let mut net = Net::start(5).await;
    let [forger, honest] = [Peer::new().await, Peer::new().await];
    net.others.extend([forger.entry.clone(), honest.entry.clone()]);
    net.publish();
    *forger.says.lock().unwrap() = (net.fog(), FORGED, forged(&net));
    // What differs is the signature alone.
    let signed = net.sign();
    *honest.says.lock().unwrap() = (net.fog(), net.directory().serial + 1, signed);
    let (fooled, served) = (net.stranger_of(&forger.entry), net.stranger_of(&honest.entry));
    until("the stranger asks", || forger.asked.load(Relaxed) > 0).await;
    ready(&served).await;
    // However often it asks.
    until("the stranger asks again", || forger.asked.load(Relaxed) > 1).await;
    assert!(served.directory().borrow().is_some());
    assert!(fooled.directory().borrow().is_none() && !matches!(*fooled.status().borrow(), UplinkStatus::Ready { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_fogs_spread_among_those_whose_own_fog_names_them_and_nobody_else_is_even_asked() {
    let _alone = ALONE.lock().await;
    let mut net = Net::start(4).await;
    let keys = [SecretKey::generate(), SecretKey::generate()];
    let [friend, stranger] = keys.each_ref().map(|key| FogId(*key.public().as_bytes()));
    let [liar, forger] = [Peer::new().await, Peer::new().await];
    net.others.extend([liar.entry.clone(), forger.entry.clone()]);
    net.federated = vec![friend];
    net.publish();
    let own = net.fog();
    let theirs = |key: &SecretKey, fog, serial| {
        let mixes = vec![Peer::entry_of(&SecretKey::generate())];
        Directory::new(fog, true, serial, clock(), [3; 32], mixes).with_federated(vec![own]).seal(key).unwrap()
    };
    // A member brings the directory of a fog that its own does not name, and another one forges that of the fog that it names.
    *liar.says.lock().unwrap() = (stranger, 7, theirs(&keys[1], stranger, 7));
    *forger.says.lock().unwrap() = (friend, FORGED, theirs(&keys[1], friend, FORGED));
    for (entry, _) in &net.mixes {
        liar.link(entry).await;
        forger.link(entry).await;
    }
    until("the forged one is asked for", || forger.asked.load(Relaxed) >= net.mixes.len() as u32).await;
    // The true one, brought to one mix, is with all and with clients soon, and counts.
    let client = net.stranger_by(1, Default::default());
    assert!(net.hubs[2].learn(&own, theirs(&keys[0], friend, 5), clock()).unwrap());
    until("all mixes have it", || net.hubs.iter().all(|hub| hub.serial(&friend) == 5)).await;
    let directory = client.directory();
    until("the client has it", || directory.borrow().as_ref().is_some_and(|d| d.counts(&friend))).await;
    assert!(net.hubs.iter().all(|hub| hub.serial(&stranger) == 0 && hub.current().unwrap().kept().count() == 2));
    assert_eq!(liar.asked.load(Relaxed), 0, "what no own fog names is not even asked for");
    assert!(forger.asked.load(Relaxed) <= net.mixes.len() as u32 + 1, "each asks a forger once");
}
