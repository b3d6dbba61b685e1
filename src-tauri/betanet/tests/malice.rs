//! Peers that craft introductions, meetings, SURBs, leases and descriptors, over real mixes on loopback: host and visitor contact nobody
//! but their guards, whatever they are told.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod net;

use fogbank_betanet::{
    client::Visitor,
    clock::FogClock,
    descriptor::Descriptor,
    directory::{clock, mix_id},
    epoch,
    lease::{LEASE_LIFE, Lease},
    link,
    message::{MailboxId, Meeting, ToMix},
    mixnode::{MixConfig, Mixnode, Rate},
    schedule::MIX_LOOP_MEAN,
    tunnel::initiate,
    uplink::Uplink,
};
use fogbank_model::{Level, MixId};
use fogbank_sphinx::{Hop, MixPublic, make_surb};
use fogbank_wire::PacketKeys;
use net::{Container, Net, greeting, ready};
use std::{
    collections::BTreeSet,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

/// A mix that no directory lists, and a bare socket: both notice whoever comes.
struct Trap {
    mix: Mixnode,
    socket: UdpSocket,
    socket_mix: MixId,
}

impl Trap {
    async fn set(net: &Net) -> Self {
        let any = "127.0.0.1:0".parse().unwrap();
        let endpoint = link::bind(iroh::SecretKey::generate(), any, None).await.unwrap();
        let config =
            MixConfig { directory: net.hub(), clock: FogClock::default(), rate: Rate::UNLIMITED, loop_mean: MIX_LOOP_MEAN };
        let mix = Mixnode::start(endpoint, config);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { mix, socket, socket_mix: mix_id(iroh::SecretKey::generate().public().as_bytes()) }
    }

    fn ids(&self) -> [MixId; 2] {
        [self.mix.id(), self.socket_mix]
    }

    /// Whether anybody came.
    fn sprung(&self) -> bool {
        self.mix.counters().received > 0 || self.socket.recv(&mut [0; 2_000]).is_ok()
    }
}

/// To whom an uplink has links.
fn contacts(uplink: &Uplink) -> BTreeSet<(MixId, SocketAddr)> {
    uplink.guard_views().into_iter().flat_map(|g| g.addrs.into_iter().map(move |addr| (g.mix, addr))).collect()
}

/// As the specification of the first message says; a hostile peer writes its own.
fn hello(container: &Container, instance: &net::Instance, meeting: &Meeting) -> Vec<u8> {
    let prologue = [b"fogbank introduction 2".as_slice(), &container.signer().blinded(), &instance.id.0].concat();
    initiate(&instance.key.public(), &prologue, &meeting.encode().unwrap()).unwrap().1
}

async fn introduce(attacker: &Uplink, container: &Container, instance: &net::Instance, hello: Vec<u8>) {
    let (blinded, id) = (container.signer().blinded(), instance.id);
    let question = |surb| ToMix::Introduce { blinded, instance: id, hello: hello.clone(), work: None, surb };
    attacker.ask(container.points[0], Level::Fast, question).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crafted_meetings_lead_a_host_nowhere() {
    let net = Net::start(7).await;
    let trap = Trap::set(&net).await;
    let container = Container::publish(&net, Level::Fast);
    let instance = container.instance(&net, 1).await;
    let attacker = net.member();
    ready(&attacker).await;
    let before = contacts(&instance.uplink);
    let [visitor, host] = [MailboxId([1; 16]), MailboxId([2; 16])];
    for rendezvous in trap.ids() {
        let meeting = Meeting { rendezvous, visitor, host, level: Level::Fast, direct: None };
        introduce(&attacker, &container, &instance, hello(&container, &instance, &meeting)).await;
    }
    let listed = container.points[1];
    let one_box = Meeting { rendezvous: listed, visitor, host: visitor, level: Level::Fast, direct: None };
    introduce(&attacker, &container, &instance, hello(&container, &instance, &one_box)).await;
    introduce(&attacker, &container, &instance, vec![7; 200]).await;
    introduce(&attacker, &container, &instance, Vec::new()).await;
    let good = Meeting { rendezvous: listed, visitor, host, level: Level::Fast, direct: None };
    let mut garbled = hello(&container, &instance, &good);
    *garbled.last_mut().unwrap() ^= 1;
    introduce(&attacker, &container, &instance, garbled).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(instance.service.open_tunnels(), 0, "none of these is answered");
    // The same hand, writing what the specification asks for, is answered: so the others were refused for what they said.
    let first = hello(&container, &instance, &good);
    introduce(&attacker, &container, &instance, first.clone()).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while instance.service.open_tunnels() == 0 {
        assert!(tokio::time::Instant::now() < deadline, "the control is answered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // And once only.
    introduce(&attacker, &container, &instance, first).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(instance.service.open_tunnels(), 1);
    assert_eq!(contacts(&instance.uplink), before, "its guards, and nobody else");
    assert!(!trap.sprung());
}

/// Introducing oneself costs a packet, and a copy has 256 places for tunnels.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_introduces_himself_and_never_comes_soon_holds_no_place() {
    let net = Net::start(7).await;
    let container = Container::publish(&net, Level::Fast);
    let instance = container.instance(&net, 1).await;
    let attacker = net.member();
    ready(&attacker).await;
    let visitor = Visitor::start(net.stranger());
    let mut stream = visitor.connect(container.onion(), "").await.unwrap();
    assert_eq!(greeting(&mut stream).await, 1);
    for n in 1..=5 {
        let boxes = [n, 100 + n].map(|n| MailboxId([n; 16]));
        let meeting =
            Meeting { rendezvous: container.points[1], visitor: boxes[0], host: boxes[1], level: Level::Fast, direct: None };
        introduce(&attacker, &container, &instance, hello(&container, &instance, &meeting)).await;
    }
    let until = async |tunnels: usize| {
        while instance.service.open_tunnels() != tunnels {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), until(6)).await.expect("all are answered");
    tokio::time::timeout(Duration::from_secs(20), until(1)).await.expect("who did not come is let go");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(instance.service.open_tunnels(), 1, "who came stays, also when nothing is said for a while");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crafted_surbs_lead_nobody_out_of_the_directory() {
    let net = Net::start(7).await;
    let trap = Trap::set(&net).await;
    let container = Container::publish(&net, Level::Fast);
    let instance = container.instance(&net, 1).await;
    let attacker = net.member();
    ready(&attacker).await;
    let before = contacts(&instance.uplink);
    let blinded = container.signer().blinded();
    // A SURB that begins at a trap, and one whose second hop is it.
    let epoch = epoch::at(clock());
    let hop = |id: MixId, keys: &PacketKeys| Hop { id: id.0, key: MixPublic(keys.of(epoch.0).unwrap()), delay_ms: 0 };
    let trap_keys = trap.mix.packet_keys().borrow().clone();
    let listed = &net.mixes[3].0;
    for id in trap.ids() {
        for path in [vec![hop(id, &trap_keys)], vec![hop(listed.id, &listed.packet_keys), hop(id, &trap_keys)]] {
            let (surb, _) = make_surb(&mut rand::rng(), epoch, &path, [3; 16], [4; 16]).unwrap();
            let surb = surb.to_bytes().to_vec();
            let point = container.points[0];
            let asks = [
                ToMix::FetchLeases { blinded, unlock: None, surb: surb.clone() },
                ToMix::FetchDescriptor { blinded, surb: surb.clone() },
                ToMix::Introduce { blinded, instance: instance.id, hello: vec![1; 100], work: None, surb: surb.clone() },
                ToMix::Mailbox {
                    mine: MailboxId([8; 16]),
                    peer: MailboxId([9; 16]),
                    surbs: vec![surb; 4],
                    flush: false,
                    relay: None,
                },
            ];
            for ask in asks {
                attacker.send(point, Level::Fast, &ask).await.unwrap();
            }
        }
    }
    // A host that is lent such SURBs through its mailbox never sees them: they stay at the mix. What mixes do with them is counted.
    let unknown = || net.mixes.iter().map(|(_, mix)| mix.counters().unknown_next).sum::<u64>();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    // Each question whose SURB begins at a trap; of those that lead there by a listed mix, that one passes on the first and knows the others.
    while unknown() < 8 {
        assert!(tokio::time::Instant::now() < deadline, "mixes refuse hops that are not listed: {}", unknown());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(contacts(&instance.uplink), before);
    assert!(!trap.sprung(), "no mix went there either");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_and_descriptors_that_name_unlisted_points_lead_nowhere() {
    let net = Net::start(7).await;
    let trap = Trap::set(&net).await;
    let mut container = Container::publish(&net, Level::Fast);
    let instance = container.instance(&net, 1).await;
    let before = contacts(&instance.uplink);
    let honest = container.points.clone();
    // The allocator turns hostile: a lease that names the trap beside a true point.
    let lease = Lease {
        instance: instance.id,
        introduction_key: instance.key.public(),
        weight: 1,
        expires: fogbank_betanet::directory::clock().plus(LEASE_LIFE),
        introduction_points: vec![trap.ids()[0], trap.ids()[1], honest[0]],
        period: fogbank_betanet::address::Period(0),
        mark: container.mark(),
    };
    instance.leases.send_replace(vec![lease.issue(&container.signer()).unwrap()]);
    // And a descriptor that names it to visitors.
    container.points = vec![trap.ids()[0], trap.ids()[1], honest[0]];
    container.describe(&net, 2);
    let uplink = net.member();
    ready(&uplink).await;
    let met = contacts(&uplink);
    let visitor = Visitor::start(uplink.clone());
    let mut stream = visitor.connect(container.onion(), "").await.expect("the true point still leads there");
    assert_eq!(greeting(&mut stream).await, 1);
    // Nothing but traps: there is no way, and none is tried.
    let only = Descriptor { introduction_points: trap.ids().to_vec(), level: Level::Fast, seal: None };
    let bytes = only.make(&container.signer(), 3, &mut rand::rng()).unwrap();
    for id in net.directory().ring(&container.signer().blinded()) {
        net.mix(id).unwrap().put_descriptor(bytes.clone()).unwrap();
    }
    let refused = Visitor::start(uplink.clone()).connect_within(container.onion(), "", Duration::from_secs(2)).await;
    assert!(refused.is_err());
    assert_eq!(contacts(&uplink), met, "its guards, and nobody else");
    assert_eq!(contacts(&instance.uplink), before);
    assert!(!trap.sprung());
    let known: BTreeSet<MixId> = net.directory().mixes.iter().map(|m| m.id).collect();
    assert!(met.iter().chain(&before).all(|(mix, _)| known.contains(mix)));
}
