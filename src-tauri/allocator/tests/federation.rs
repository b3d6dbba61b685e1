//! Allocators of several fogs over real connections.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod fogs;

use fogbank_allocator::{AskPeerError, PeerView};
use fogbank_betanet::directory::{Directory, clock};
use fogbank_model::FogId;
use fogbank_wire::{CallError, FederateReply, FederateRequest, PeerAddress, RefusalKind, call};
use fogs::{Fog, SOON, peer};
use iroh::SecretKey;
use std::time::Duration;
use tokio::time::{sleep, timeout};

fn signed(key: &SecretKey, serial: u64) -> Vec<u8> {
    Directory::new(FogId(*key.public().as_bytes()), true, serial, clock(), [1; 32], Vec::new()).seal(key).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_name_each_other_and_have_each_others_directory_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [SecretKey::generate(), SecretKey::generate()];
    let (a, b) = (Fog::start(folder.path(), &keys[0]).await, Fog::start(folder.path(), &keys[1]).await);
    let own = a.allocator.federate(a.address()).await.unwrap_err();
    assert_eq!(own.kind, RefusalKind::Invalid);

    a.allocator.federate(b.address()).await.unwrap();
    let refused = a.sees(b.id(), |p| p.why.contains("has not named yours")).await;
    assert!(!refused.connected && refused.directory.is_none());
    let ping = FederateRequest::Directory(Vec::new());
    let away = a.allocator.ask_peer(&b.id(), &ping, SOON).await;
    assert!(matches!(away, Err(AskPeerError::Away(_))), "{away:?}");
    assert!(matches!(b.allocator.ask_peer(&a.id(), &ping, SOON).await, Err(AskPeerError::NotNamed)));

    b.allocator.federate(a.address()).await.unwrap();
    let names = |fog: FogId| move |p: &PeerView| p.connected && p.directory.as_ref().is_some_and(|d| d.federated == [fog]);
    a.sees(b.id(), names(a.id())).await;
    b.sees(a.id(), names(b.id())).await;
    let answer = a.allocator.ask_peer(&b.id(), &ping, SOON).await.unwrap();
    assert!(matches!(answer, FederateReply::Refused(_)), "no directory");

    // One of them restarts: it still has the other's directory, and they find each other again.
    let (b_id, a_id) = (b.id(), a.id());
    a.end().await;
    b.sees(a_id, |p| !p.connected && p.directory.is_some()).await;
    let a = Fog::start(folder.path(), &keys[0]).await;
    assert!(a.allocator.federation()[0].directory.is_some());
    b.allocator.federate(a.address()).await.unwrap();
    a.sees(b_id, |p| p.connected).await;

    // The other ends it: this one is not let in any more.
    b.allocator.end_federation(&a_id).await.unwrap();
    assert!(b.allocator.federation().is_empty());
    a.sees(b_id, |p| p.why.contains("has not named yours")).await;
    assert_eq!(b.allocator.end_federation(&a_id).await.unwrap_err().kind, RefusalKind::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_peer_gives_its_own_directory_and_no_more_than_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let fog = Fog::start(folder.path(), &SecretKey::generate()).await;
    let [hostile, stranger] = [SecretKey::generate(), SecretKey::generate()];
    let id = FogId(*hostile.public().as_bytes());
    let (_own, turned_away) = peer(&stranger, &fog).await;
    assert!(matches!(turned_away, Err(CallError::Refused(why)) if why.kind == RefusalKind::NotGranted));

    let nowhere = vec!["127.0.0.1:9".parse().unwrap()];
    fog.allocator.federate(PeerAddress { fog: id, addrs: nowhere }).await.unwrap();
    let (_hostile_end, connection) = peer(&hostile, &fog).await;
    let connection = connection.unwrap();
    let give = async |bytes: Vec<u8>| match call(&connection, &FederateRequest::Directory(bytes)).await.unwrap() {
        FederateReply::Done => None,
        FederateReply::Refused(refusal) => Some(refusal.kind),
        other => panic!("an answer to another question: {other:?}"),
    };
    // A directory of another fog, though that fog signed it.
    assert_eq!(give(signed(&stranger, 9)).await, Some(RefusalKind::Invalid));
    assert!(fog.allocator.federation()[0].directory.is_none());
    // A flood: however many come in a second, none more is taken.
    let mut taken = 0;
    for serial in 1..200 {
        match give(signed(&hostile, serial)).await {
            None => taken += 1,
            kind => assert_eq!(kind, Some(RefusalKind::Busy)),
        }
    }
    assert!(taken <= 2, "{taken}");
    let later = async {
        while give(signed(&hostile, 500)).await.is_some() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(SOON, later).await.unwrap();
    let serial = || fog.allocator.federation()[0].directory.as_ref().map(|d| d.serial);
    assert_eq!(serial(), Some(500));
    // Yesterday's directory brings nothing back.
    let earlier = async {
        while give(signed(&hostile, 400)).await.is_some() {
            sleep(Duration::from_millis(100)).await
        }
    };
    timeout(SOON, earlier).await.unwrap();
    assert_eq!(serial(), Some(500));
    // Many connections are no more than two.
    let mut many = vec![];
    for _ in 0..10 {
        many.push(peer(&hostile, &fog).await.1.unwrap());
    }
    let all_but_two = async {
        while many.iter().filter(|c| c.close_reason().is_none()).count() > 2 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, all_but_two).await.unwrap();
}
