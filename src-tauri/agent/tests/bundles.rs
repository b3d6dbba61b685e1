//! Bundles between devices: fetched, resumed, guarded by permits, kept and forgotten. Real endpoints, real stores.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::{Device, Fog, noise, now, site, until};
use fogbank_agent::bundle::{Bundles, FetchError, SourceFault, Wanted};
use fogbank_model::UnixMs;
use fogbank_wire::{ALPN, CallError, Purpose, RefusalKind, greet};
use iroh::{EndpointAddr, SecretKey, endpoint::Connection};
use iroh_blobs::{
    Hash, HashAndFormat,
    hashseq::HashSeq,
    protocol::{ChunkRanges, GetManyRequest, GetRequest},
    store::fs::FsStore,
};
use std::time::Duration;

const LARGE: usize = 6 << 20;

/// Slack for what travels twice: chunk groups of 16 KiB that were under way, and the lists.
const SLACK: u64 = 1 << 20;

async fn refused(device: &Device, wanted: &Wanted) -> (RefusalKind, String) {
    let error = device.bundles.keep(&device.endpoint, wanted, |_| ()).await.unwrap_err();
    match error {
        FetchError::Sources(faults) => match faults.into_iter().next().unwrap().1 {
            SourceFault::Hello(CallError::Refused(refusal)) => (refusal.kind, refusal.message),
            other => panic!("{other}"),
        },
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_goes_from_device_to_device() {
    let fog = Fog::new();
    let (publisher, one, two) = (Device::start(&fog).await, Device::start(&fog).await, Device::start(&fog).await);
    let large = noise(b"a", 300_000);
    let files: Vec<(&str, &[u8])> =
        vec![("index.html", b"hello"), ("again.html", b"hello"), ("empty", b""), ("large", &large), ("large too", &large)];
    let bundle = publisher.import(site(&files).path()).await;
    let mut told = Vec::new();
    let wanted = one.wanted(&fog, bundle.id, &[&publisher]);
    let fetched = one.bundles.keep(&one.endpoint, &wanted, |p| told.push(p)).await.unwrap();
    assert_eq!((fetched.bytes, fetched.files), (bundle.bytes, bundle.files));
    assert!((300_005..301_200).contains(&fetched.moved_bytes), "equal files travel once: {fetched:?}");
    assert!(told.is_sorted_by_key(|p| p.moved_bytes) && told.last().unwrap().missing_bytes == 300_005 + 3 * 32, "{told:?}");

    // The publisher leaves; a device gives it on.
    publisher.endpoint.close().await;
    let (fetched, _) = two.bundles.cache(&two.endpoint, &two.wanted(&fog, bundle.id, &[&one]), |_| ()).await.unwrap();
    assert!(fetched.moved_bytes > 300_000 && two.holds(bundle.id));
    // What is here is not fetched again, whoever is asked.
    let again = two.bundles.keep(&two.endpoint, &two.wanted(&fog, bundle.id, &[]), |_| ()).await.unwrap();
    assert_eq!(again.moved_bytes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_broke_off_goes_on_where_it_was() {
    let fog = Fog::new();
    let (first, second, device) = (Device::start(&fog).await, Device::start(&fog).await, Device::start(&fog).await);
    let folder = site(&[("index.html", b"hello"), ("large", &noise(b"l", LARGE)), ("small", b"small")]);
    let bundle = first.import(folder.path()).await;
    second.bundles.keep(&second.endpoint, &second.wanted(&fog, bundle.id, &[&first]), |_| ()).await.unwrap();

    // The first source goes away in the middle, and the second gives the rest.
    let mut wanted = device.wanted(&fog, bundle.id, &[&first, &second]);
    wanted.silence = Duration::from_millis(500);
    let going = first.endpoint.clone();
    let mut gone = false;
    let mut missing = Vec::new();
    let fetched = device
        .bundles
        .keep(&device.endpoint, &wanted, |p| {
            if !missing.contains(&p.missing_bytes) {
                missing.push(p.missing_bytes);
            }
            if p.moved_bytes > (LARGE / 3) as u64 && !gone {
                gone = true;
                let going = going.clone();
                tokio::spawn(async move { going.close().await });
            }
        })
        .await
        .unwrap();
    assert_eq!(missing.len(), 2, "it came from two: {missing:?}");
    assert!(missing[1] < missing[0] - (LARGE / 4) as u64, "only what was missing was asked for: {missing:?}");
    assert!(fetched.moved_bytes < bundle.bytes + SLACK, "{fetched:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_survives_a_restart() {
    let fog = Fog::new();
    let (publisher, device) = (Device::start(&fog).await, Device::start(&fog).await);
    let bundle = publisher.import(site(&[("index.html", b"hello"), ("large", &noise(b"l", LARGE))]).path()).await;
    let wanted = device.wanted(&fog, bundle.id, &[&publisher]);
    let enough = tokio::sync::Notify::new();
    let fetching = device.bundles.keep(&device.endpoint, &wanted, |p| {
        if p.moved_bytes > (LARGE / 2) as u64 {
            enough.notify_one();
        }
    });
    tokio::select! {
        done = fetching => panic!("it was to be interrupted: {done:?}"),
        () = enough.notified() => {}
    }
    device.bundles.shutdown().await;
    // Collecting garbage several times does not take away what came.
    let bundles = Bundles::open_with(&device.folder.path().join("bundles"), Duration::from_millis(20)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(bundles.held().borrow().is_empty(), "it is not whole");
    let fetched = bundles.keep(&device.endpoint, &wanted, |_| ()).await.unwrap();
    assert!(fetched.moved_bytes < (LARGE / 2) as u64 + SLACK, "{fetched:?}");

    // And what is whole is there after the next.
    bundles.shutdown().await;
    let bundles = Bundles::open(&device.folder.path().join("bundles")).await.unwrap();
    let held = *bundles.held().borrow().get(&bundle.id).unwrap();
    assert!((held.bytes, held.files, held.kept) == (bundle.bytes, 2, true), "{held:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_permit_nothing_is_given() {
    let fog = Fog::new();
    let (holder, device, other) = (Device::start(&fog).await, Device::start(&fog).await, Device::start(&fog).await);
    let bundle = holder.import(site(&[("index.html", b"hello")]).path()).await;
    let good = device.wanted(&fog, bundle.id, &[&holder]);

    let strange = Fog(SecretKey::generate());
    let unsigned = Wanted { permit: strange.permit(bundle.id, device.id()), ..good.clone() };
    assert_eq!(refused(&device, &unsigned).await.0, RefusalKind::NotGranted);
    let theirs = Wanted { permit: fog.permit(bundle.id, other.id()), ..good.clone() };
    let (kind, words) = refused(&device, &theirs).await;
    assert!(kind == RefusalKind::NotGranted && words.contains("another device"), "{words}");
    let late = Wanted { permit: fog.permit_until(bundle.id, device.id(), UnixMs(now().0 - 1)), ..good.clone() };
    assert_eq!(refused(&device, &late).await.0, RefusalKind::Expired);
    // A holder whose clock is slow is told the time by the allocator.
    let soon = Wanted { permit: fog.permit_until(bundle.id, device.id(), UnixMs(now().0 + 3_600_000)), ..good.clone() };
    holder.bundles.clock().learn(UnixMs(now().0 + 7_200_000));
    assert_eq!(refused(&device, &soon).await.0, RefusalKind::Expired);
    holder.bundles.clock().learn(now());
    let elsewhere = Wanted { sources: vec![other.source()], ..good.clone() };
    assert_eq!(refused(&device, &elsewhere).await.0, RefusalKind::NotFound);

    // One that refuses is no harm when the next does not.
    let both = Wanted { sources: vec![other.source(), holder.source()], ..good };
    device.bundles.keep(&device.endpoint, &both, |_| ()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permit_opens_one_bundle_only() {
    let fog = Fog::new();
    let (holder, device) = (Device::start(&fog).await, Device::start(&fog).await);
    let allowed = holder.import(site(&[("index.html", b"mine")]).path()).await;
    let secret = holder.import(site(&[("index.html", b"another's")]).path()).await;
    let target = |from: &Device| {
        from.endpoint.bound_sockets().into_iter().fold(EndpointAddr::new(from.endpoint.id()), EndpointAddr::with_ip_addr)
    };
    let connection: Connection = device.endpoint.connect(target(&holder), ALPN).await.unwrap();
    greet(&connection, Purpose::Blobs(fog.permit(allowed.id, device.id()))).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let store = FsStore::load(folder.path()).await.unwrap();
    let hash = Hash::from(secret.id.0);
    // What the file of the secret one is called among hosts, learnt by one that may fetch it.
    let (other, elsewhere) = (Device::start(&fog).await, tempfile::tempdir().unwrap());
    let theirs: Connection = other.endpoint.connect(target(&holder), ALPN).await.unwrap();
    greet(&theirs, Purpose::Blobs(fog.permit(secret.id, other.id()))).await.unwrap();
    let known = FsStore::load(elsewhere.path()).await.unwrap();
    known.remote().fetch(theirs, HashAndFormat::hash_seq(hash)).complete().await.unwrap();
    let content = file_of(&known, hash).await;
    let get = |request: GetRequest| store.remote().execute_get(connection.clone(), request).complete();
    let plain = Hash::new(b"another's");
    for request in [GetRequest::all(hash), GetRequest::blob(hash), GetRequest::blob(content), GetRequest::blob(plain)] {
        let error = get(request).await.unwrap_err();
        assert_eq!(error.iroh_error_code(), Some(iroh_blobs::protocol::ERR_PERMISSION), "{error:#}");
    }
    let many = GetManyRequest::builder().hash(content, ChunkRanges::all()).build();
    store.remote().execute_get_many(connection.clone(), many).complete().await.expect_err("not by asking for many");
    let watching = store.remote().observe(connection.clone(), iroh_blobs::protocol::ObserveRequest::new(content));
    let seen = futures_util::StreamExt::next(&mut std::pin::pin!(watching)).await;
    assert!(matches!(seen, None | Some(Err(_))), "nor by watching: {seen:?}");
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(b"garbage that is no request").await.unwrap();
    send.finish().unwrap();
    assert!(recv.read_to_end(100).await.is_err(), "garbage is reset");
    assert!(!store.blobs().has(content).await.unwrap());
    // The same connection still serves what it is for.
    let all = HashAndFormat::hash_seq(Hash::from(allowed.id.0));
    store.remote().fetch(connection.clone(), all).complete().await.unwrap();
    let mine = file_of(&store, all.hash).await;
    assert!(store.blobs().get_bytes(mine).await.unwrap().ends_with(b"mine"));
}

/// The blob of the only file of a bundle that is here.
async fn file_of(store: &FsStore, bundle: Hash) -> Hash {
    let sequence = store.blobs().get_bytes(bundle).await.unwrap();
    HashSeq::new(sequence).unwrap().iter().nth(1).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hosts_a_site_does_not_show_by_what_it_need_not_fetch() {
    let fog = Fog::new();
    let (publisher, prober, host) = (Device::start(&fog).await, Device::start(&fog).await, Device::start(&fog).await);
    let folder = site(&[("index.html", &noise(b"page", 100_000))]);
    let hosted = publisher.import(folder.path()).await;
    host.bundles.keep(&host.endpoint, &host.wanted(&fog, hosted.id, &[&publisher]), |_| ()).await.unwrap();
    // Somebody who has visited the site publishes the same file, to see which devices have it already.
    let probe = prober.import(folder.path()).await;
    let fetched = host.bundles.keep(&host.endpoint, &host.wanted(&fog, probe.id, &[&prober]), |_| ()).await.unwrap();
    assert!(fetched.moved_bytes >= probe.bytes, "{fetched:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_greets_and_then_is_silent_is_left() {
    let fog = Fog::new();
    let device = Device::start(&fog).await;
    let silent = common::endpoint().await;
    let accepting = silent.clone();
    tokio::spawn(async move {
        let connection = accepting.accept().await.unwrap().await.unwrap();
        let (_, mut reply) = fogbank_wire::receive_hello(&connection).await.unwrap();
        fogbank_wire::write_frame(&mut reply, &fogbank_wire::Greeting::Welcome(None)).await.unwrap();
        reply.finish().unwrap();
        connection.closed().await;
    });
    let holder = Device::start(&fog).await;
    let bundle = holder.import(site(&[("index.html", b"hello")]).path()).await;
    let mut wanted = device.wanted(&fog, bundle.id, &[&holder]);
    wanted.sources.insert(0, (fogbank_model::DeviceId(*silent.id().as_bytes()), silent.bound_sockets()));
    wanted.silence = Duration::from_millis(200);
    let alone = Wanted { sources: vec![wanted.sources[0].clone()], ..wanted.clone() };
    let fetch = device.bundles.keep(&device.endpoint, &alone, |_| ()).await;
    assert!(matches!(&fetch, Err(FetchError::Sources(f)) if matches!(f[0].1, SourceFault::Silent(_))), "{fetch:?}");
    let nobody = Wanted { sources: Vec::new(), ..wanted };
    let fetch = device.bundles.keep(&device.endpoint, &nobody, |_| ()).await;
    assert!(matches!(fetch, Err(FetchError::Sources(f)) if f.is_empty()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_until_forgotten_and_then_gone_from_the_disk() {
    let fog = Fog::new();
    let (publisher, device) = (Device::start(&fog).await, Device::start(&fog).await);
    let folder = site(&[("index.html", b"hello"), ("large", &noise(b"gone", LARGE))]);
    let bundle = publisher.import(folder.path()).await;
    let wanted = device.wanted(&fog, bundle.id, &[&publisher]);
    device.bundles.keep(&device.endpoint, &wanted, |_| ()).await.unwrap();
    device.bundles.cache(&device.endpoint, &wanted, |_| ()).await.unwrap();
    assert!(disk(&device) > LARGE as u64);
    device.bundles.disown(bundle.id).await.unwrap();
    assert!(device.holds(bundle.id), "it was not this node's own");

    // While a site is served its bundle stays, though forgotten.
    let site = fogbank_agent::site::Site::open(&device.bundles, bundle.id).await.unwrap();
    device.bundles.forget(bundle.id).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(device.holds(bundle.id) && disk(&device) > LARGE as u64);
    let late = Device::start(&fog).await;
    let (kind, _) = refused(&late, &late.wanted(&fog, bundle.id, &[&device])).await;
    assert_eq!(kind, RefusalKind::NotFound, "nobody new gets it");
    drop(site);
    until("it is gone from the list", || !device.holds(bundle.id)).await;
    until("it is gone from the disk", || disk(&device) < LARGE as u64).await;
    assert!(fogbank_agent::site::Site::open(&device.bundles, bundle.id).await.is_err());

    // A publisher's own goes when it is disowned.
    publisher.bundles.forget(bundle.id).await.unwrap();
    assert!(publisher.holds(bundle.id));
    publisher.bundles.disown(bundle.id).await.unwrap();
    until("it is gone from the publisher's disk", || disk(&publisher) < LARGE as u64).await;
}

fn disk(device: &Device) -> u64 {
    let data = device.folder.path().join("bundles/data");
    std::fs::read_dir(data).unwrap().filter_map(|e| e.ok()?.metadata().ok()).map(|m| m.len()).sum()
}

#[tokio::test]
async fn a_damaged_store_is_said_to_be_so() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("blobs.db"), b"this is no database").unwrap();
    let words = Bundles::open(folder.path()).await.unwrap_err().to_string();
    assert!(words.contains(&folder.path().display().to_string()) && words.contains("move it away"), "{words}");
    let file = folder.path().join("blobs.db");
    assert!(Bundles::open(&file).await.is_err(), "a file is no folder");
}
