//! Nodes of one fog, as their owners and their parts see them.

use super::*;
use crate::{
    control::{Amounts, ControlReply, ControlRequest as Ask, LevelDto, RelayStateDto, RoleDto},
    visited_keys,
};
use fogbank_agent::{Share, bundle::Limits};
use fogbank_betanet::address::{AccessKey, FogLink};
use fogbank_model::{ContainerId, Onion};
use std::{net::Ipv4Addr, path::Path, time::Duration};

async fn node(folder: &Path) -> Node {
    // The disk may be nearly full, as a machine's that tests is.
    let share = Share { keep_free_percent: 0, ..Share::default() };
    let options = NodeOptions { listen: Ipv4Addr::LOCALHOST.into(), proxy: ProxyPort::Off, share };
    // One that ended a moment ago may still be letting it go.
    let mut profile = None;
    until("the profile is free", async || {
        profile = Profile::open(folder).ok();
        profile.is_some()
    })
    .await;
    Node::start(profile.unwrap(), options).await.unwrap()
}

async fn done(node: &Node, ask: Ask) {
    assert_eq!(node.call(ask).await, ControlReply::Done);
}

async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap_or_else(|_| panic!("{what}"));
}

fn publish(site: &Path, private: bool) -> Ask {
    std::fs::create_dir_all(site).unwrap();
    std::fs::write(site.join("index.html"), "hello").unwrap();
    Ask::Publish {
        folder: site.to_str().unwrap().to_owned(),
        name: "site".to_owned(),
        requirements: Amounts { cpu_cores: 0.1, memory_mb: 64.0, storage_mb: 10.0, bandwidth_mbps: 1.0 },
        instances: 1,
        availability: None,
        most: None,
        level: LevelDto::Fast,
        private,
        direct: false,
    }
}

async fn start_fog(node: &Node) {
    done(node, Ask::StartFog { name: "Ours".to_owned(), test: true, relay: None }).await;
}

async fn invite(node: &Node, role: RoleDto) -> String {
    let ControlReply::Ticket(ticket) = node.call(Ask::Invite { roles: vec![role], valid_s: 600 }).await else {
        panic!("no ticket")
    };
    ticket
}

/// A coordinator and a lender of its fog.
async fn two(folder: &Path) -> (Node, Node) {
    let (publisher, lender) = (node(&folder.join("a")).await, node(&folder.join("b")).await);
    start_fog(&publisher).await;
    done(&lender, Ask::Join { ticket: invite(&publisher, RoleDto::Contribute).await }).await;
    done(&lender, Ask::Lend { on: true, direct: false }).await;
    (publisher, lender)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_lending_keeps_nothing_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let (publisher, lender) = two(folder.path()).await;
    let ask = publish(&folder.path().join("site"), false);
    until("it is published", async || matches!(publisher.call(ask.clone()).await, ControlReply::Created { .. })).await;
    let held = lender.inner.bundles.held();
    until("it is fetched", async || held.borrow().values().any(fogbank_agent::bundle::Held::for_others)).await;
    done(&lender, Ask::Lend { on: false, direct: false }).await;
    until("it is let go", async || held.borrow().is_empty()).await;
    assert!(publisher.inner.bundles.held().borrow().values().all(|h| h.own), "its own is nobody else's");
    lender.shutdown().await;
    publisher.shutdown().await;
}

/// Who asks why the mix does not run is told the reason, in status and network alike.
#[tokio::test(flavor = "multi_thread")]
async fn a_mix_that_rests_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let (publisher, lender) = two(folder.path()).await;
    let states = async || {
        let ControlReply::Network(network) = lender.call(Ask::Network).await else { panic!("no network") };
        [lender.status().await.relaying, network.relay.state]
    };
    let runs = || lender.inner.parts().relay.is_some();
    assert_eq!((states().await, runs()), ([RelayStateDto::Off; 2], false));
    done(&lender, Ask::Relay { on: true }).await;
    assert_eq!((states().await, runs()), ([RelayStateDto::On; 2], true));
    // The month is used up, and has room again once its owner says so.
    lender.inner.relayed.lock().unwrap().bytes = 2_000_000_000;
    done(&lender, Ask::RelayLimits { rate_kb_s: None, month_gb: Some(1) }).await;
    assert_eq!((states().await, runs()), ([RelayStateDto::MonthUsed; 2], false));
    done(&lender, Ask::RelayLimits { rate_kb_s: None, month_gb: Some(3) }).await;
    assert_eq!((states().await, runs()), ([RelayStateDto::On; 2], true));
    // What the fog grants is less than it was.
    let narrow = |s: &mut Settings| s.membership.as_mut().unwrap().granted.mixnode = false;
    lender.inner.change(narrow).await.unwrap();
    assert_eq!((states().await, runs()), ([RelayStateDto::NotGranted; 2], false));
    done(&lender, Ask::Relay { on: false }).await;
    assert_eq!(states().await, [RelayStateDto::Off; 2]);
    lender.shutdown().await;
    publisher.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_private_addresses_are_neither_lost_nor_left() {
    let folder = tempfile::tempdir().unwrap();
    let (publisher, lender) = two(folder.path()).await;
    let kept = || visited_keys::load(&publisher.inner.ground.profile);
    let onion = |n: u8| -> Onion { format!("{}.onion", char::from(b'a' + n).to_string().repeat(56)).parse().unwrap() };
    // A refused visit leaves nothing.
    let access = Some(AccessKey([9; 32]));
    let link = FogLink { onion: onion(9), via: Vec::new(), fog: Some(FogId([9; 32])), access }.to_string();
    assert!(matches!(publisher.call(Ask::Visit { link }).await, ControlReply::Failed(_)));
    assert!(kept().is_empty());
    // Side by side, none undoes another.
    let learning: Vec<_> = (0..8u8)
        .map(|n| {
            let (inner, onion) = (publisher.inner.clone(), onion(n));
            tokio::task::spawn_blocking(move || inner.learn_key(onion, AccessKey([n; 32])).unwrap())
        })
        .collect();
    for learnt in learning {
        learnt.await.unwrap();
    }
    assert_eq!(kept().len(), 8);
    // The key of one's own site goes with the site.
    let ask = publish(&folder.path().join("site"), true);
    let mut created = None;
    until("it is published", async || {
        if let ControlReply::Created { id, .. } = publisher.call(ask.clone()).await {
            created = Some(id);
        }
        created.is_some()
    })
    .await;
    assert_eq!(kept().len(), 9);
    done(&publisher, Ask::Delete { id: created.unwrap() }).await;
    assert_eq!(kept().len(), 8);
    lender.shutdown().await;
    publisher.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_is_kept_until_it_is_taken_and_another_one_is_presented() {
    let folder = tempfile::tempdir().unwrap();
    let (publisher, lender) = two(folder.path()).await;
    let invites = || [&publisher, &lender].map(|n| n.inner.settings().membership.unwrap().invite);
    assert_eq!(invites(), [None, None]);
    let link = lender.inner.parts().member.unwrap();
    done(&lender, Ask::Join { ticket: invite(&publisher, RoleDto::Publish).await }).await;
    assert!(lender.inner.settings().membership.unwrap().granted.publisher, "what the second one grants is heard");
    assert!(!Arc::ptr_eq(&link, &lender.inner.parts().member.unwrap()));
    assert_eq!(invites(), [None, None]);
    drop(link);
    lender.shutdown().await;
    drop(lender);
    // It is known by its key.
    let lender = node(&folder.path().join("b")).await;
    until("it is back", async || lender.status().await.fog.is_some_and(|f| f.connected)).await;
    lender.shutdown().await;
    publisher.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_created_leaves_neither_address_nor_content() {
    let folder = tempfile::tempdir().unwrap();
    let (publisher, lender) = two(folder.path()).await;
    let site = folder.path().join("site");
    let ask = publish(&site, false);
    until("it is published", async || matches!(publisher.call(ask.clone()).await, ControlReply::Created { .. })).await;
    let fog = publisher.inner.settings().membership.unwrap().fog;
    assert!(publishing::unanswered(&publisher.inner, fog).is_empty());
    // One whose allocator never answered, and one of which a crash left only the content.
    let import = async || publisher.inner.bundles.import(&site, &Limits::default(), |_| ()).await.unwrap().id;
    let (unanswered, orphan) = (import().await, import().await);
    publisher
        .inner
        .keys(fog)
        .create(ContainerId([3; 16]), crate::container_keys::Content { bundle: unanswered, revision: 1 }, None, false)
        .unwrap();
    assert!(renewing::look(&publisher.inner, publisher.inner.ground.clock.now()).await.unwrap());
    assert!(publisher.inner.keys(fog).load(ContainerId([3; 16])).is_none());
    let own = |node: &Node| node.inner.bundles.held().borrow().keys().copied().collect::<Vec<_>>();
    assert!(!own(&publisher).contains(&unanswered) && own(&publisher).contains(&orphan) && own(&publisher).len() == 2);
    publisher.shutdown().await;
    drop(publisher);
    let publisher = node(&folder.path().join("a")).await;
    assert!(!own(&publisher).contains(&orphan) && own(&publisher).len() == 1, "what is online stays");
    lender.shutdown().await;
    publisher.shutdown().await;
}

/// What a device does in its fog changes while somebody asks: the allocator is there all the time, also for its own device.
#[tokio::test(flavor = "multi_thread")]
async fn the_allocator_is_not_away_while_a_device_begins_and_ends_to_lend() {
    let folder = tempfile::tempdir().unwrap();
    let (coordinator, lender) = two(folder.path()).await;
    let changing = async {
        for on in [true, false, true] {
            done(&coordinator, Ask::Lend { on, direct: false }).await;
            let heard = async || {
                let ControlReply::Devices(devices) = coordinator.call(Ask::Devices).await else { return false };
                let own = coordinator.status().await.device;
                devices.iter().any(|d| d.id == own && (d.lent.cpu_cores > 0.0) == on)
            };
            until("the allocator has heard of it", heard).await;
        }
        // Two changes at once: the second one comes while the first is being told.
        for on in [false, true] {
            done(&coordinator, Ask::Lend { on, direct: false }).await;
            done(&coordinator, Ask::Relay { on }).await;
        }
        let mixes = || coordinator.inner.hub.current().map_or(0, |known| known.directory.mixes.len());
        until("its mix is listed", async || mixes() == 1).await;
    };
    let asking = async {
        loop {
            let reply = coordinator.call(Ask::Containers).await;
            assert!(matches!(reply, ControlReply::Containers(_)), "{reply:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! { () = changing => {}, () = asking => {} }
    lender.shutdown().await;
    coordinator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_left_needs_an_invite_that_holds_and_has_no_more_than_it_gives() {
    let folder = tempfile::tempdir().unwrap();
    let (publisher, lender) = two(folder.path()).await;
    let expired = publisher.call(Ask::Invite { roles: vec![RoleDto::Publish], valid_s: 1 }).await;
    let ControlReply::Ticket(expired) = expired else { panic!("no ticket") };
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let refused = async || matches!(lender.call(Ask::Join { ticket: expired.clone() }).await, ControlReply::Failed(_));
    let may = || lender.inner.settings().membership.map(|m| [m.granted.agent, m.granted.publisher]);
    // A member that shows an old one is told so, and stays one.
    assert!(refused().await);
    assert_eq!(may(), Some([true, false]));
    until("it is connected", async || lender.status().await.fog.is_some_and(|f| f.connected)).await;
    done(&lender, Ask::Leave).await;
    assert!(refused().await);
    assert_eq!(may(), None);
    done(&lender, Ask::Join { ticket: invite(&publisher, RoleDto::Publish).await }).await;
    assert_eq!(may(), Some([false, true]));
    // The allocator is away, and does not hear that it leaves.
    let contribute = invite(&publisher, RoleDto::Contribute).await;
    publisher.shutdown().await;
    drop(publisher);
    done(&lender, Ask::Leave).await;
    let publisher = node(&folder.path().join("a")).await;
    assert!(refused().await);
    assert_eq!(may(), None);
    done(&lender, Ask::Join { ticket: contribute }).await;
    assert_eq!(may(), Some([true, false]));
    lender.shutdown().await;
    publisher.shutdown().await;
}
