//! Three fogs whose allocators witness each other over real connections: what goes on when some are away, and what the fog's key alone gets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod fogs;

use fogbank_allocator::WitnessView;
use fogbank_betanet::{
    address::Period,
    directory::{Charter, Directory, Draw, SignedDirectory, clock, witness::millis},
};
use fogbank_model::{DurationMs, FogId};
use fogbank_wire::{FederateReply, FederateRequest, PeerAddress, RefusalKind, call, encode};
use fogs::{Fog, SOON, peer};
use iroh::{SecretKey, endpoint::Connection};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

async fn until(fog: &Fog, what: &str, expected: impl Fn(&WitnessView) -> bool) -> WitnessView {
    let look = async {
        loop {
            let view = fog.allocator.witnesses();
            if expected(&view) {
                return view;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, look).await.unwrap_or_else(|_| panic!("{what}: {:?}", fog.allocator.witnesses()))
}

/// Three that have all named each other, each with the other two as witnesses.
async fn three(folder: &Path, keys: &[SecretKey; 3]) -> [Fog; 3] {
    let fogs = [Fog::start(folder, &keys[0]).await, Fog::start(folder, &keys[1]).await, Fog::start(folder, &keys[2]).await];
    for fog in &fogs {
        for other in fogs.iter().filter(|other| other.id() != fog.id()) {
            fog.allocator.federate(other.address()).await.unwrap();
        }
    }
    for fog in &fogs {
        until(fog, "both others are its witnesses", |v| v.charter.keys.len() == 2 && v.charter.needed == 1).await;
        for other in fogs.iter().filter(|other| other.id() != fog.id()) {
            let has = |d: &Arc<Directory>| d.charter == fog.allocator.witnesses().charter;
            other.sees(fog.id(), |p| p.directory.as_ref().is_some_and(has)).await;
        }
    }
    fogs
}

fn nowhere(n: u8) -> PeerAddress {
    let fog = FogId(*SecretKey::from_bytes(&[n; 32]).public().as_bytes());
    PeerAddress { fog, addrs: vec!["127.0.0.1:9".parse().unwrap()] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_may_be_away_and_with_two_away_the_list_stays_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let keys: [SecretKey; 3] = [(); 3].map(|()| SecretKey::generate());
    let [a, b, c] = three(folder.path(), &keys).await;
    let a_id = a.id();

    // One ends: a change of the list is signed by the other.
    c.end().await;
    a.allocator.federate(nowhere(1)).await.unwrap();
    let named = |n: u8| {
        move |p: &fogbank_allocator::PeerView| p.directory.as_ref().is_some_and(|d| d.federated.contains(&nowhere(n).fog))
    };
    b.sees(a_id, named(1)).await;
    let before = until(&a, "all is well", |v| v.troubles.is_empty()).await;

    // The other ends too: nothing new is published, it says why, and what there is stays.
    let b_id = b.id();
    b.end().await;
    a.sees(b_id, |p| !p.connected).await;
    a.allocator.federate(nowhere(2)).await.unwrap();
    let stuck = until(&a, "it says why", |v| !v.troubles.is_empty()).await;
    assert_eq!(stuck.troubles, ["0 of the 1 other fogs that must sign the list of mixes did"]);
    assert_eq!(stuck.current, before.current);
    assert!(stuck.answers.values().all(|a| a.contains("not connected")), "{:?}", stuck.answers);

    // Neither is it helped by dropping them: for that they would have to sign.
    a.allocator.end_federation(&b_id).await.unwrap();
    let held = until(&a, "the change is not signed", |v| v.troubles.len() == 2).await;
    assert_eq!(held.charter, stuck.charter);

    // One is back on another port: it goes on.
    let b = Fog::start(folder.path(), &keys[1]).await;
    b.allocator.federate(a.address()).await.unwrap();
    a.allocator.federate(b.address()).await.unwrap();
    b.sees(a_id, named(2)).await;
    until(&a, "all is well again", |v| v.troubles.is_empty() && v.current > before.current).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_federation_can_be_left_and_who_knew_its_witnesses_must_join_anew() {
    let folder = tempfile::tempdir().unwrap();
    let keys: [SecretKey; 3] = [(); 3].map(|()| SecretKey::generate());
    let [a, b, c] = three(folder.path(), &keys).await;
    let (a_id, known) = (a.id(), b.sees(a.id(), |p| p.directory.is_some()).await.directory.unwrap());
    for fog in [b, c] {
        let id = fog.id();
        fog.end().await;
        a.sees(id, |p| !p.connected).await;
        a.allocator.end_federation(&id).await.unwrap();
    }
    until(&a, "nobody signs any more", |v| v.troubles.len() == 2 && v.charter.keys.len() == 2).await;
    a.allocator.abandon_witnesses();
    let alone = until(&a, "it signs alone", |v| v.troubles.is_empty() && v.charter.keys.is_empty()).await;
    assert!(alone.charter.number > known.charter.number);

    // One of the others comes back: it knows the witnesses, and neither takes the list nor signs it, until its operator begins anew.
    let b = Fog::start(folder.path(), &keys[1]).await;
    b.allocator.federate(a.address()).await.unwrap();
    a.allocator.federate(b.address()).await.unwrap();
    a.sees(b.id(), |p| p.connected).await;
    until(&a, "it is a witness that need not sign, and does not", |v| {
        v.charter.needed == 0 && v.answers.values().any(|words| words.contains("witnesses that are known"))
    })
    .await;
    let old = b.sees(a_id, |p| p.directory.is_some()).await.directory.unwrap();
    assert_eq!(old.charter, known.charter);
    b.allocator.end_federation(&a_id).await.unwrap();
    b.allocator.federate(a.address()).await.unwrap();
    b.sees(a_id, |p| p.directory.as_ref().is_some_and(|d| d.charter.keys == [b.id()])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_fog_keeps_its_witnesses() {
    let folder = tempfile::tempdir().unwrap();
    let keys: [SecretKey; 3] = [(); 3].map(|()| SecretKey::generate());
    let [a, b, _c] = three(folder.path(), &keys).await;
    let before = a.allocator.witnesses();
    a.end().await;
    let a = Fog::start(folder.path(), &keys[0]).await;
    let after = a.allocator.witnesses();
    assert_eq!((after.charter, after.current), (before.charter, before.current));
    b.allocator.federate(a.address()).await.unwrap();
    a.allocator.federate(nowhere(1)).await.unwrap();
    b.sees(a.id(), |p| p.directory.as_ref().is_some_and(|d| d.federated.len() == 3)).await;
}

/// What the thief of a fog's key asks of its witness.
struct Thief<'a> {
    key: &'a SecretKey,
    connection: Connection,
}

impl Thief<'_> {
    async fn asks(&self, request: &FederateRequest) -> FederateReply {
        // Haste is refused before anything else.
        sleep(Duration::from_millis(600)).await;
        call(&self.connection, request).await.unwrap()
    }

    async fn refused(&self, request: &FederateRequest, because: &str) {
        let answer = self.asks(request).await;
        let words = match &answer {
            FederateReply::Refused(refusal) if refusal.kind == RefusalKind::NotGranted => refusal.to_string(),
            other => panic!("not refused: {other:?}"),
        };
        assert!(words.contains(because), "{words}");
    }

    fn directory(&self, of: &Directory) -> FederateRequest {
        let signed = SignedDirectory::seal(of, self.key).unwrap();
        FederateRequest::Witness { directory: signed.bytes().unwrap(), away: Vec::new() }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fogs_key_alone_gets_nothing_from_its_witnesses() {
    let folder = tempfile::tempdir().unwrap();
    let keys: [SecretKey; 3] = [(); 3].map(|()| SecretKey::generate());
    let [a, b, c] = three(folder.path(), &keys).await;
    let theirs = b.sees(a.id(), |p| p.directory.is_some()).await.directory.unwrap();
    let old = theirs.charter.clone();
    a.end().await;
    let (_endpoint, connection) = peer(&keys[0], &b).await;
    let thief = Thief { key: &keys[0], connection: connection.unwrap() };

    // Fewer witnesses, or its own.
    let own = FogId(*SecretKey::from_bytes(&[9; 32]).public().as_bytes());
    let mut with_own = vec![b.id(), c.id(), own];
    with_own.sort_unstable();
    for (keys, needed) in [(vec![], 0), (vec![own], 1), (old.keys.clone(), 0), (with_own, 2)] {
        let handover = old.hand_over(Charter { number: old.number + 1, keys, needed }, thief.key).unwrap();
        thief.refused(&FederateRequest::Handover(encode(&handover).unwrap()), "--let").await;
    }
    // A directory without witnesses, as if there had never been any.
    let now = clock();
    let next = |change: &dyn Fn(&mut Directory)| {
        let mut of = theirs.as_ref().clone();
        (of.made, of.expires, of.serial) = (now, now.plus(DurationMs::from_s(3_600)), millis(now));
        change(&mut of);
        of
    };
    let lone = next(&|d| (d.charter, d.handovers) = (Charter::default(), Vec::new()));
    thief.refused(&thief.directory(&lone), "witnesses are those of before").await;
    // A value that it chose, and one of another period's parts.
    thief.refused(&thief.directory(&next(&|d| d.shared_random = [1; 32])), "does not follow").await;
    thief.refused(&thief.directory(&next(&|d| d.draw = Draw::default())), "own part").await;
    // The coming period's part, before that has begun.
    let period = Period::at(clock());
    let coming = thief.asks(&FederateRequest::Part(period.next().0)).await;
    assert!(matches!(coming, FederateReply::Part { reveal: None, .. }), "{coming:?}");
    let present = thief.asks(&FederateRequest::Part(period.0)).await;
    assert!(matches!(present, FederateReply::Part { reveal: Some(_), .. }));
    // It gets one list signed, which is then everybody's, and no other under the same serial.
    let signed = thief.asks(&thief.directory(&next(&|_| {}))).await;
    assert!(matches!(signed, FederateReply::Signed(_)), "{signed:?}");
    thief.refused(&thief.directory(&next(&|d| d.clients = 1 << 10)), "does not follow").await;
    // Another fog's directory, and garbage.
    let foreign = next(&|d| d.fog = c.id());
    for request in [thief.directory(&foreign), FederateRequest::Handover(vec![1, 2, 3])] {
        let answer = thief.asks(&request).await;
        assert!(matches!(&answer, FederateReply::Refused(r) if r.kind == RefusalKind::Invalid), "{answer:?}");
    }

    // Its operator may let it, for an hour: so a federation that is dead can be left.
    b.allocator.let_change(FogId(*keys[0].public().as_bytes())).unwrap();
    let fewer = old.hand_over(Charter { number: old.number + 1, keys: vec![b.id()], needed: 0 }, thief.key).unwrap();
    let answer = thief.asks(&FederateRequest::Handover(encode(&fewer).unwrap())).await;
    assert!(matches!(answer, FederateReply::Signed(_)), "{answer:?}");
}
