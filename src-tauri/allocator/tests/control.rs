//! The allocator over real control connections, with members that do as the test says.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod fogs;
mod members;

use fogbank_betanet::{
    address::{Address, Period},
    descriptor::Descriptor,
    directory::clock,
    proof::ContainerIdentity,
    renewal,
};
use fogbank_model::{ContainerId, ContainerSpec, ContainerState, DeviceId, InstanceId, InstanceState};
use fogbank_wire::{
    ContainerDetail, ContainerRequest, DeviceRequest, LoadSpan, NodeReply, NodeRequest, RefusalKind, Removal, Roles,
    ServiceProof, call,
};
use fogs::Fog;
use iroh::{
    Endpoint,
    endpoint::{Connection, VarInt},
};
use members::*;
use std::{net::SocketAddr, sync::atomic::Ordering::Relaxed, time::Duration};
use tokio::time::timeout;

async fn create(connection: &Connection, id: ContainerId, proof: ServiceProof) {
    create_of(connection, id, spec(), proof).await;
}

async fn create_of(connection: &Connection, id: ContainerId, spec: ContainerSpec, proof: ServiceProof) {
    let request = NodeRequest::Create(Box::new(ContainerRequest { id, spec, proof }));
    let created = call(connection, &request).await.unwrap();
    assert!(matches!(created, NodeReply::Created(_)), "{created:?}");
}

async fn signed_until(connection: &Connection) -> fogbank_model::UnixMs {
    let NodeReply::Containers(list) = call(connection, &NodeRequest::Containers).await.unwrap() else { panic!() };
    list[0].signed_until
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_signs_further_and_nobody_else() {
    let fog = Fog::alone().await;
    let (owner, stranger) = (Member::new(false), Member::new(false));
    let (_own, connection) = owner.connect(&fog).await;
    report(&connection, Vec::new()).await;
    let identity = ContainerIdentity::generate(&mut rand::rng()).unwrap();
    let id = ContainerId([7; 16]);
    create(&connection, id, identity.pre_sign_sealed(clock(), 4, &SEAL, &mut rand::rng()).unwrap()).await;
    let until = signed_until(&connection).await;
    assert!(renewal::due(until, clock()));
    let proof = identity.sign_further(until, clock(), 30, true, &mut rand::rng()).unwrap();
    let renew = |proof: &ServiceProof| NodeRequest::Renew { id, proof: proof.clone() };
    let (_theirs, other) = stranger.connect(&fog).await;
    let refused = call(&other, &renew(&proof)).await.unwrap();
    assert!(matches!(&refused, NodeReply::Refused(r) if r.kind == RefusalKind::NotFound), "{refused:?}");
    let forged =
        ContainerIdentity::generate(&mut rand::rng()).unwrap().sign_further(until, clock(), 30, true, &mut rand::rng()).unwrap();
    for wrong in [forged.clone(), ServiceProof { onion: proof.onion.clone(), ..forged }] {
        let refused = call(&connection, &renew(&wrong)).await.unwrap();
        assert!(matches!(&refused, NodeReply::Refused(r) if r.kind == RefusalKind::Invalid), "{refused:?}");
    }
    assert_eq!(signed_until(&connection).await, until);
    let renewed = call(&connection, &renew(&proof)).await.unwrap();
    assert!(matches!(renewed, NodeReply::Done), "{renewed:?}");
    let now = signed_until(&connection).await;
    assert!(now > until && !renewal::due(now, clock()));
    // Once more changes nothing.
    assert!(matches!(call(&connection, &renew(&proof)).await.unwrap(), NodeReply::Done));
    assert_eq!(signed_until(&connection).await, now);
    fog.allocator.shutdown().await;
}

/// Mixes of one network are not used beside each other: one that claims many networks would keep others away from its side.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mix_is_listed_in_one_network_however_many_it_claims() {
    let fog = Fog::alone().await;
    let mut mix = Member::new(true);
    mix.addrs = ["20.1.0.1:1", "20.2.0.1:1", "[2a00:1::1]:1", "[2a00:2::1]:1", "127.0.0.1:1"].map(|a| a.parse().unwrap()).into();
    let (_end, connection) = mix.connect(&fog).await;
    let relays = NodeRequest::Relays { mix: Box::new(mix.mix_info().unwrap()), probes: Vec::new(), clients: 0 };
    assert!(matches!(call(&connection, &relays).await.unwrap(), NodeReply::Done), "it says the same again");
    let mut listed = mixes(&fog, &connection).await;
    while listed.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        listed = mixes(&fog, &connection).await;
    }
    let addrs: Vec<SocketAddr> = ["20.1.0.1:1", "[2a00:1::1]:1", "127.0.0.1:1"].map(|a| a.parse().unwrap()).into();
    assert_eq!(listed[0].addrs, addrs);
    fog.allocator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_point_that_was_away_hears_of_a_revocation_when_it_is_back() {
    let fog = Fog::alone().await;
    let (mut point, mut other, mut host) = (Member::new(true), Member::new(true), Member::new(false));
    let (_point_end, at_point) = point.connect(&fog).await;
    let (_other_end, _at_other) = other.connect(&fog).await;
    // Both become points of what is created then.
    while mixes(&fog, &at_point).await.len() < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (host_end, at_host, instance) = serving(&fog, &mut host).await;
    host.asked(|r| matches!(r, DeviceRequest::Lease { .. }).then_some(())).await;
    point.asked(|r| matches!(r, DeviceRequest::PutDescriptor(_)).then_some(())).await;

    // First the point goes, then the host without a word. The other point is told, and again, as it never confirms.
    at_point.close(VarInt::from_u32(0), b"");
    drop(at_point);
    other.yes.store(false, Relaxed);
    at_host.close(VarInt::from_u32(0), b"");
    host_end.close().await;
    let revoke = |r| if let DeviceRequest::Revoke(bytes) = r { Some(bytes) } else { None };
    for _ in 0..2 {
        other.asked(revoke).await;
    }
    // It comes back and is in no mood at first.
    point.yes.store(false, Relaxed);
    let (_again_end, _again) = point.connect(&fog).await;
    let bytes = point.asked(revoke).await;
    let said = fogbank_betanet::lease::Revocation::open(&bytes, clock()).unwrap().said;
    assert_eq!(said.instances, [instance]);
    point.yes.store(true, Relaxed);
    point.asked(revoke).await;
    // Once it has said yes to all of it, it is left alone; the other, which has not, is told on.
    let mut told_with_the_other = async |times| {
        while other.asked.try_recv().is_ok() {}
        for _ in 0..times {
            other.asked(revoke).await;
        }
        std::iter::from_fn(|| point.asked.try_recv().ok()).filter_map(revoke).count()
    };
    told_with_the_other(2).await;
    assert_eq!(told_with_the_other(3).await, 0, "it has confirmed");
    fog.allocator.shutdown().await;
}

/// A host whose container's instance is ready, with its connection and the instance.
async fn serving(fog: &Fog, host: &mut Member) -> (Endpoint, Connection, InstanceId) {
    let (end, at_host) = host.connect(fog).await;
    report(&at_host, Vec::new()).await;
    let identity = ContainerIdentity::generate(&mut rand::rng()).unwrap();
    create(&at_host, ContainerId([7; 16]), identity.pre_sign_sealed(clock(), 4, &SEAL, &mut rand::rng()).unwrap()).await;
    let confirmed = |r| if let DeviceRequest::Confirm(assignment) = r { Some(assignment.instance) } else { None };
    let instance = host.asked(confirmed).await;
    for step in [InstanceState::Fetching, InstanceState::Starting, InstanceState::Ready] {
        report(&at_host, told(instance, step)).await;
    }
    (end, at_host, instance)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_instance_is_not_lost_for_want_of_a_report() {
    let fog = Fog::alone().await;
    let mut host = Member::new(false);
    let (_end, at_host) = host.connect(&fog).await;
    report(&at_host, Vec::new()).await;
    let identity = ContainerIdentity::generate(&mut rand::rng()).unwrap();
    create(&at_host, ContainerId([7; 16]), identity.pre_sign_sealed(clock(), 4, &SEAL, &mut rand::rng()).unwrap()).await;
    host.asked(|r| matches!(r, DeviceRequest::Confirm(_)).then_some(())).await;
    // For many rounds of the allocator its next report does not come; then an older one does.
    tokio::time::sleep(Duration::from_secs(1)).await;
    report(&at_host, Vec::new()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    while let Ok(request) = host.asked.try_recv() {
        assert!(!matches!(request, DeviceRequest::End(_) | DeviceRequest::Reserve { .. }), "{request:?}");
    }
    fog.allocator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_reserves_and_does_not_start_is_asked_ever_less_often() {
    let fog = Fog::alone().await;
    let mut host = Member::new(false);
    host.starts.store(false, Relaxed);
    let (_end, at_host) = host.connect(&fog).await;
    report(&at_host, Vec::new()).await;
    let identity = ContainerIdentity::generate(&mut rand::rng()).unwrap();
    create(&at_host, ContainerId([7; 16]), identity.pre_sign_sealed(clock(), 4, &SEAL, &mut rand::rng()).unwrap()).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut asked = 0;
    while let Ok(request) = host.asked.try_recv() {
        asked += usize::from(matches!(request, DeviceRequest::Confirm(_)));
    }
    // Pauses of one second, two and four, each by a quarter shorter or longer.
    assert!((2..=3).contains(&asked), "{asked}");
    fog.allocator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_offers_and_refuses_holds_nobody_up_and_is_set_aside_until_it_says_yes() {
    let fog = Fog::alone().await;
    let (mut willing, mut refuses) = (Member::new(false), Member::new(false));
    let (_end, at_willing) = willing.connect(&fog).await;
    let (_other_end, at_refuses) = refuses.connect(&fog).await;
    refuses.yes.store(false, Relaxed);
    report(&at_willing, Vec::new()).await;
    report(&at_refuses, Vec::new()).await;
    let identity = ContainerIdentity::generate(&mut rand::rng()).unwrap();
    let id = ContainerId([7; 16]);
    let two = ContainerSpec { instances: 2, ..spec() };
    create_of(&at_willing, id, two, identity.pre_sign_sealed(clock(), 4, &SEAL, &mut rand::rng()).unwrap()).await;
    let confirmed = |r| if let DeviceRequest::Confirm(assignment) = r { Some(assignment.instance) } else { None };
    let first = willing.asked(confirmed).await;
    for step in [InstanceState::Fetching, InstanceState::Starting, InstanceState::Ready] {
        report(&at_willing, told(first, step)).await;
    }
    // Pauses of one second and two, each by a quarter shorter or longer.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let asked = std::iter::from_fn(|| refuses.asked.try_recv().ok());
    let asked = asked.filter(|r| matches!(r, DeviceRequest::Reserve { .. })).count();
    assert!((2..=3).contains(&asked), "{asked}");
    let device = DeviceId(*refuses.key.public().as_bytes());
    let reserve = |r| matches!(r, DeviceRequest::Reserve { .. }).then_some(());
    refuses.asked(reserve).await;
    let mut seen = conduct(&fog, device).await;
    while seen.0.is_none() {
        seen = conduct(&fog, device).await;
    }
    assert!(seen.0.is_some_and(|failures| usize::from(failures) > asked) && seen.1 < 0.8, "{seen:?} after {asked}");
    stands(&at_willing, id, "it is said that a device was left out", |d| d.container.reason.contains("1 device failed lately"))
        .await;
    refuses.yes.store(true, Relaxed);
    let second = refuses.asked(confirmed).await;
    for step in [InstanceState::Fetching, InstanceState::Starting, InstanceState::Ready] {
        report(&at_refuses, told(second, step)).await;
    }
    stands(&at_willing, id, "both copies serve", |detail| detail.container.reason == "every copy serves").await;
    assert_eq!(conduct(&fog, device).await.0, None);
    fog.allocator.shutdown().await;
}

/// How often in a row a device has failed, while it is set aside, and its reliability.
async fn conduct(fog: &Fog, device: DeviceId) -> (Option<u8>, f64) {
    let (_end, connection) = Member::new(false).connect_as(fog, Roles::ALL).await;
    let reply = call(&connection, &NodeRequest::Devices).await.unwrap();
    let NodeReply::Devices(list) = reply else { panic!("{reply:?}") };
    let seen = list.iter().find(|d| d.id == device).unwrap();
    (seen.aside.map(|(failures, _)| failures), seen.reliability)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_is_unready_hears_of_new_points() {
    let fog = Fog::alone().await;
    let (first, second, mut host) = (Member::new(true), Member::new(true), Member::new(false));
    let (_first_end, at_first) = first.connect(&fog).await;
    let (_host_end, at_host, instance) = serving(&fog, &mut host).await;
    let leased = |r| matches!(r, DeviceRequest::Lease { .. }).then_some(());
    host.asked(leased).await;
    report(&at_host, told(instance, InstanceState::Unready)).await;
    // Its only point goes for good, and another mix comes.
    at_first.close(VarInt::from_u32(0), b"");
    let (_second_end, _at_second) = second.connect(&fog).await;
    host.asked(leased).await;
    fog.allocator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_was_away_when_a_container_was_deleted_lets_its_content_go_later() {
    let fog = Fog::alone().await;
    let (mut host, mut holder) = (Member::new(false), Member::new(false));
    let (_end, at_host, instance) = serving(&fog, &mut host).await;
    let (_held, at_holder) = holder.connect(&fog).await;
    report(&at_holder, Vec::new()).await;
    at_holder.close(VarInt::from_u32(0), b"");
    let deleted = call(&at_host, &NodeRequest::Delete(ContainerId([7; 16]))).await.unwrap();
    assert!(matches!(deleted, NodeReply::Done), "{deleted:?}");
    let forget = |r| if let DeviceRequest::Forget(bundle) = r { Some(bundle) } else { None };
    assert_eq!(host.asked(forget).await, BUNDLE);
    let (_again, at_holder) = holder.connect(&fog).await;
    while let Ok(request) = holder.asked.try_recv() {
        assert!(!matches!(request, DeviceRequest::Forget(_)));
    }
    report(&at_holder, Vec::new()).await;
    assert_eq!(holder.asked(forget).await, BUNDLE);
    // It is told again as long as it says that it has it.
    assert_eq!(holder.asked(forget).await, BUNDLE);
    let _ = instance;
    fog.allocator.shutdown().await;
}

/// Waits until a container stands as wanted.
async fn stands(connection: &Connection, id: ContainerId, what: &str, so: impl Fn(&ContainerDetail) -> bool) {
    let mut seen = None;
    let wait = async {
        loop {
            let reply = call(connection, &NodeRequest::Container(id)).await.unwrap();
            let NodeReply::Container(detail) = reply else { panic!("{reply:?}") };
            if so(&detail) {
                return;
            }
            seen = Some((detail.container.state, detail.container.reason));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if timeout(SOON, wait).await.is_err() {
        panic!("{what}: last seen {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_copy_that_fits_starts_though_there_is_no_room_for_the_other() {
    let fog = Fog::alone().await;
    let (mut stays, mut leaves) = (Member::new(false), Member::new(false));
    let (_end, at_stays) = stays.connect(&fog).await;
    let (_other_end, at_leaves) = leaves.connect(&fog).await;
    report(&at_stays, Vec::new()).await;
    report(&at_leaves, Vec::new()).await;
    let identity = ContainerIdentity::generate(&mut rand::rng()).unwrap();
    let id = ContainerId([7; 16]);
    let two = ContainerSpec { instances: 2, ..spec() };
    create_of(&at_stays, id, two, identity.pre_sign_sealed(clock(), 4, &SEAL, &mut rand::rng()).unwrap()).await;
    let confirmed = |r| if let DeviceRequest::Confirm(assignment) = r { Some(assignment.instance) } else { None };
    let (first, other) = (stays.asked(confirmed).await, leaves.asked(confirmed).await);
    for step in [InstanceState::Fetching, InstanceState::Starting, InstanceState::Ready] {
        report(&at_stays, told(first, step)).await;
        report(&at_leaves, told(other, step)).await;
    }
    // One owner stops lending; then the other device is restarted, and does not know of its copy any more.
    offer(&at_leaves, false, Vec::new()).await;
    report(&at_stays, Vec::new()).await;
    let again = stays.asked(confirmed).await;
    assert_ne!(again, first);
    for step in [InstanceState::Fetching, InstanceState::Starting, InstanceState::Ready] {
        report(&at_stays, told(again, step)).await;
    }
    stands(&at_stays, id, "one copy serves, and it is said what the other lacks", |detail| {
        let ready = detail.instances.iter().filter(|i| i.instance.state == InstanceState::Ready).count();
        ready == 1 && detail.container.reason.contains("1 copy asked, no device could take one")
    })
    .await;
    // Somebody lends again: the other copy is placed, and what it takes of the first is nothing.
    report(&at_leaves, Vec::new()).await;
    leaves.asked(confirmed).await;
    assert!(!std::iter::from_fn(|| stays.asked.try_recv().ok()).any(|r| matches!(r, DeviceRequest::End(_))));
    fog.allocator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visitors_of_what_was_stopped_or_deleted_are_told_so() {
    let fog = Fog::alone().await;
    let (mut mix, mut host) = (Member::new(true), Member::new(false));
    let (mut _mix_end, mut at_mix) = mix.connect(&fog).await;
    while mixes(&fog, &at_mix).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (_end, at_host) = host.connect(&fog).await;
    report(&at_host, Vec::new()).await;
    let identity = ContainerIdentity::generate(&mut rand::rng()).unwrap();
    let id = ContainerId([7; 16]);
    create(&at_host, id, identity.pre_sign_sealed(clock(), 4, &SEAL, &mut rand::rng()).unwrap()).await;
    let blinded = Address::parse(identity.onion()).unwrap().blinded(Period::at(clock())).unwrap();
    // Of the period that is now; the next one's is put there, too.
    let points = async |mix: &mut Member| {
        let read = |r| match r {
            DeviceRequest::PutDescriptor(bytes) => Descriptor::open(&bytes, &blinded, clock()).ok(),
            _ => None,
        };
        mix.asked(read).await.introduction_points.len()
    };
    for (ask, left) in [(NodeRequest::Stop(id), true), (NodeRequest::Delete(id), false)] {
        let confirmed = |r| if let DeviceRequest::Confirm(assignment) = r { Some(assignment.instance) } else { None };
        let instance = host.asked(confirmed).await;
        report(&at_host, told(instance, InstanceState::Starting)).await;
        assert_eq!(points(&mut mix).await, 1);
        if left {
            at_mix.close(VarInt::from_u32(0), b"");
            while !mixes(&fog, &at_host).await.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        assert!(matches!(call(&at_host, &ask).await.unwrap(), NodeReply::Done));
        if left {
            // A mix that was away is told when it is back.
            (_mix_end, at_mix) = mix.connect(&fog).await;
        }
        assert_eq!(points(&mut mix).await, 0);
        if left {
            report(&at_host, Vec::new()).await;
            stands(&at_host, id, "it stops", |detail| detail.container.state == ContainerState::Stopped).await;
            assert!(matches!(call(&at_host, &NodeRequest::Restart(id)).await.unwrap(), NodeReply::Done));
        }
    }
    fog.allocator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_publish_can_rehearse_and_ask_for_an_availability() {
    let fog = Fog::alone().await;
    let (mut host, mut other) = (Member::new(false), Member::new(false));
    let (_end, at_host) = host.connect(&fog).await;
    let (_other_end, at_other) = other.connect(&fog).await;
    report(&at_host, Vec::new()).await;
    report(&at_other, Vec::new()).await;
    let reply = call(&at_host, &NodeRequest::Rehearse(Box::new(spec()))).await.unwrap();
    let NodeReply::Rehearsed(rehearsed) = reply else { panic!("{reply:?}") };
    let [one, two, three] = rehearsed.outlooks[..] else { panic!("{rehearsed:?}") };
    assert_eq!((rehearsed.devices, one.copies, two.copies, three.copies), (2, 1, 2, 3));
    assert!(one.availability > 0.5 && two.availability >= one.availability && two.losses_a_day > 0.0, "{rehearsed:?}");
    assert!(one.failed <= 1.0 - one.availability && rehearsed.watched_h < 1.0, "{rehearsed:?}");
    let (_lends_end, lends_only) = Member::new(false).connect_as(&fog, Roles { agent: true, ..Roles::default() }).await;
    let refused = call(&lends_only, &NodeRequest::Rehearse(Box::new(spec()))).await.unwrap();
    assert!(matches!(&refused, NodeReply::Refused(r) if r.kind == RefusalKind::NotGranted), "{refused:?}");

    // One copy is asked for; each of the two new devices alone stays for the hour with 0.63, together with 0.86.
    let identity = ContainerIdentity::generate(&mut rand::rng()).unwrap();
    let proof = identity.pre_sign_sealed(clock(), 4, &SEAL, &mut rand::rng()).unwrap();
    let asks = |availability| ContainerSpec { availability: Some(availability), ..spec() };
    let (id, over) =
        (ContainerId([7; 16]), Box::new(ContainerRequest { id: ContainerId([8; 16]), spec: asks(0.999), proof: proof.clone() }));
    let reply = call(&at_host, &NodeRequest::Create(over)).await.unwrap();
    assert!(
        matches!(&reply, NodeReply::Infeasible(why) if why.to_string().contains("availability: 99.900 % asked")),
        "{reply:?}"
    );
    create_of(&at_host, id, asks(0.8), proof).await;
    let confirmed = |r| if let DeviceRequest::Confirm(assignment) = r { Some(assignment.instance) } else { None };
    let (first, second) = (host.asked(confirmed).await, other.asked(confirmed).await);
    for step in [InstanceState::Fetching, InstanceState::Starting, InstanceState::Ready] {
        report(&at_host, told(first, step)).await;
        report(&at_other, told(second, step)).await;
    }
    stands(&at_host, id, "two copies serve", |detail| {
        detail.container.state == ContainerState::Running && (0.8..0.95).contains(&detail.availability)
    })
    .await;

    // Its publisher is told why, of those that run it by name; somebody else is told nothing.
    let reply = call(&at_host, &NodeRequest::Explain(id)).await.unwrap();
    let NodeReply::Explained(explained) = reply else { panic!("{reply:?}") };
    assert!(explained.plan.contains("on 2 devices") && explained.plan.contains("availability"), "{explained:?}");
    assert!(explained.devices.len() == 2 && explained.devices.iter().all(|d| d.runs), "{explained:?}");
    assert!(explained.devices.iter().all(|d| d.words == "chosen: needed for the availability target"), "{explained:?}");
    assert_eq!(explained.others, [("do not lend now, are not connected, are leaving or are set aside".to_owned(), 1)]);
    let scale = |instances, most| NodeRequest::Scale { id, instances, availability: None, most };
    let load = |span| NodeRequest::Load { id, span };
    for ask in [NodeRequest::Explain(id), scale(1, None), load(LoadSpan::Day)] {
        let refused = call(&at_other, &ask).await.unwrap();
        assert!(matches!(&refused, NodeReply::Refused(r) if r.kind == RefusalKind::NotFound), "{refused:?}");
    }

    let NodeReply::Load(told) = call(&at_host, &load(LoadSpan::Month)).await.unwrap() else { panic!("no load") };
    assert!((told.least, told.most, told.rows.len()) == (1, 1, 0) && told.why.contains("nothing is measured"), "{told:?}");

    // Scaled up beyond what there is room for, what is missing is said.
    for wrong in [scale(0, None), scale(2, Some(1)), scale(2, Some(33))] {
        assert!(matches!(call(&at_host, &wrong).await.unwrap(), NodeReply::Refused(r) if r.kind == RefusalKind::Invalid));
    }
    assert!(matches!(call(&at_host, &scale(4, None)).await.unwrap(), NodeReply::Done));
    stands(&at_host, id, "it waits for room", |detail| detail.container.reason.contains("waiting for room")).await;

    // Its publisher is removed: what runs elsewhere ends, and it is forgotten.
    let (_admin_end, admin) = Member::new(false).connect_as(&fog, Roles::ALL).await;
    let removal = Removal { device: DeviceId(*host.key.public().as_bytes()), person: true, void_invites: false };
    let removed = call(&admin, &NodeRequest::Remove(removal)).await.unwrap();
    assert!(matches!(removed, NodeReply::Removed(1)), "{removed:?}");
    assert_eq!(other.asked(|r| if let DeviceRequest::End(instance) = r { Some(instance) } else { None }).await, second);
    let forgotten = async {
        while !matches!(call(&admin, &NodeRequest::Containers).await.unwrap(), NodeReply::Containers(list) if list.is_empty()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, forgotten).await.expect("it is forgotten");
    fog.allocator.shutdown().await;
}
