//! Sealed sites while their content is updated: copies of two revisions side by side, and what visitors take of them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;
#[path = "../../betanet/tests/net/mod.rs"]
mod net;

use common::{Got, Side, finish, start};
use fogbank_agent::{
    bundle::{Bundles, Limits},
    site::Site,
};
use fogbank_betanet::client::Trust;
use fogbank_model::{InstanceId, Level};
use fogbank_site::Root;
use net::{Container, Instance, Net, noise};
use std::time::Duration;
use tempfile::TempDir;

const LARGE: usize = 2 << 20;
/// A visitor that sees copies of another revision looks for its seal again after this.
const LEARN_AGAIN: Duration = Duration::from_secs(5);

/// Content of a site, as a host has it.
struct Kept {
    site: Site,
    _folder: TempDir,
}

/// Each version has a front page, a file of its own, and a large file that all have.
async fn content(version: &str) -> Kept {
    let folder = tempfile::tempdir().unwrap();
    let site = folder.path().join("site");
    std::fs::create_dir_all(&site).unwrap();
    std::fs::write(site.join("index.html"), format!("version {version}")).unwrap();
    std::fs::write(site.join(format!("only-{version}.html")), version).unwrap();
    std::fs::write(site.join("large.bin"), noise(LARGE)).unwrap();
    let bundles = Bundles::open(&folder.path().join("bundles")).await.unwrap();
    let bundle = bundles.import(&site, &Limits::default(), |_| ()).await.unwrap();
    Kept { site: Site::open(&bundles, bundle.id).await.unwrap(), _folder: folder }
}

fn root(kept: &Kept) -> [u8; 32] {
    let Root(root) = kept.site.root();
    root
}

async fn host(container: &Container, net: &Net, number: u8, kept: &Kept) -> Instance {
    let site = kept.site.clone();
    let serve = move |stream| {
        let site = site.clone();
        tokio::spawn(async move { site.serve(stream).await })
    };
    container.instance_of(net, number, serve).await
}

/// Lets a copy's visitors go elsewhere, as when it is drained.
fn leave(container: &Container, net: &Net, copy: &Instance) {
    container.revoke(net, copy.id);
    copy.service.drain();
}

async fn front(side: &Side, container: &Container, isolation: &str) -> Got {
    let addr = side.addr().to_string();
    side.curl(&["--socks5-hostname", &addr, "--proxy-user", &format!("{isolation}:x")], container.onion(), "/").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn honest_copies_of_two_revisions_are_no_lie_and_nobody_goes_back() {
    let _turn = common::ONE_AT_A_TIME.lock().await;
    let net = Net::start(6).await;
    let (one, two) = (content("1").await, content("2").await);
    let mut container = Container::publish_sealed(&net, Level::Fast, root(&one));
    let first_seal = container.proof.seal.clone();
    let old = host(&container, &net, 1, &one).await;
    let side = Side::start(&net).await;
    assert_eq!(front(&side, &container, "early").await.text(), "version 1");

    // A copy of the new content is there and registered; the descriptor does not tell of it yet.
    container.seal(root(&two), 2);
    let new = host(&container, &net, 2, &two).await;
    for visit in 0..4 {
        assert_eq!(front(&side, &container, &format!("before-{visit}")).await.text(), "version 1");
    }
    assert_eq!(new.service.open_tunnels(), 0, "who knows the old seal goes to copies of the old content");

    // Now it does: who comes anew gets the new content; who is at an old copy stays there until it leaves.
    container.describe(&net, 2);
    for visit in 0..4 {
        assert_eq!(front(&side, &container, &format!("after-{visit}")).await.text(), "version 2");
    }
    assert_eq!(front(&side, &container, "early").await.text(), "version 1");
    tokio::time::sleep(LEARN_AGAIN).await;
    leave(&container, &net, &old);
    common::until("its visitors have heard", || !side.visitor.is_open(container.onion(), "5:earlyx")).await;
    for isolation in ["early", "before-0", "after-0"] {
        let page = front(&side, &container, isolation).await;
        assert_eq!((page.status, page.text().as_str()), (200, "version 2"), "{isolation}");
    }
    for visit in side.visitor.visits() {
        assert_eq!((visit.trust, visit.caught), (Trust::Checked, 0), "nobody was taken for a liar");
    }

    // An allocator that shows the old seal again, with honest copies of the old content and no others, finds nobody who saw the new one.
    container.proof.seal = first_seal;
    container.describe(&net, 3);
    let again = host(&container, &net, 3, &one).await;
    // What was read last is over.
    tokio::time::sleep(LEARN_AGAIN).await;
    leave(&container, &net, &new);
    common::until("its visitors have heard", || !side.visitor.is_open(container.onion(), "5:earlyx")).await;
    let refused = front(&side, &container, "early").await;
    assert!(refused.status == 503 && !refused.text().contains("version"), "{}", refused.text());
    assert_eq!(front(&side, &container, "newcomer").await.text(), "version 1", "who knows nothing can't tell");
    assert!(side.visitor.visits().iter().all(|visit| visit.caught == 0));
    drop(again);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_contents_under_one_revision_are_not_mixed() {
    let _turn = common::ONE_AT_A_TIME.lock().await;
    let net = Net::start(6).await;
    let (one, two) = (content("1").await, content("2").await);
    let mut container = Container::publish_sealed(&net, Level::Fast, root(&one));
    let first = host(&container, &net, 1, &one).await;
    let side = Side::start(&net).await;
    assert_eq!(front(&side, &container, "early").await.text(), "version 1");
    // As of a publisher that was restored from a backup of before.
    container.seal(root(&two), 1);
    container.describe(&net, 2);
    let second = host(&container, &net, 2, &two).await;
    assert_eq!(front(&side, &container, "late").await.text(), "version 2");
    tokio::time::sleep(LEARN_AGAIN).await;
    leave(&container, &net, &first);
    common::until("its visitors have heard", || !side.visitor.is_open(container.onion(), "5:earlyx")).await;
    let refused = front(&side, &container, "early").await;
    assert!(refused.status == 503 && !refused.text().contains("version"), "{}", refused.text());
    drop(second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_of_what_stays_the_same_goes_on_and_no_page_fails_when_the_copies_change() {
    let _turn = common::ONE_AT_A_TIME.lock().await;
    let net = Net::start(6).await;
    let (one, two) = (content("1").await, content("2").await);
    let mut container = Container::publish_sealed(&net, Level::Fast, root(&one));
    let old = host(&container, &net, 1, &one).await;
    let side = Side::start(&net).await;
    let onion = container.onion().clone();
    assert_eq!(side.get(&onion, "/only-1.html").await.text(), "1");
    let folder = tempfile::tempdir().unwrap();
    let addr = side.addr().to_string();
    let url = format!("http://{onion}/large.bin");
    let child = start(&["--socks5-hostname", &addr, "--limit-rate", "300K"], &url, folder.path());
    let body = folder.path().join("body");
    common::until("some of it came", || std::fs::metadata(&body).is_ok_and(|m| m.len() > 50_000)).await;
    container.seal(root(&two), 2);
    let _new = host(&container, &net, 2, &two).await;
    container.describe(&net, 2);
    // Without a word, in the middle: the rest comes from a copy of the new version, in which the file is the same.
    container.revoke(&net, InstanceId([1; 16]));
    old.uplink.shutdown().await;
    let got = tokio::time::timeout(Duration::from_secs(60), finish(child, folder.path())).await.expect("it ends");
    assert_eq!((got.exit, got.status), (0, 200));
    assert!(got.body == noise(LARGE));
    assert_eq!(side.get(&onion, "/").await.text(), "version 2");
    assert_eq!(side.get(&onion, "/only-2.html").await.text(), "2");
    assert_eq!(side.get(&onion, "/only-1.html").await.status, 404);
    assert_eq!(side.visit().caught, 0);
}

/// Where a browser's page loads while its copy leaves, its pieces come from the same version; the next page is of the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pieces_of_a_page_are_of_one_version_and_what_was_kept_of_the_old_one_is_not_shown() {
    let _turn = common::ONE_AT_A_TIME.lock().await;
    let net = Net::start(6).await;
    let (one, two) = (content("1").await, content("2").await);
    let mut container = Container::publish_sealed(&net, Level::Fast, root(&one));
    let old = host(&container, &net, 1, &one).await;
    let side = Side::start(&net).await;
    let onion = container.onion().clone();
    let read = async |path: &str| side.get(&onion, path).await;
    assert_eq!(read("/").await.text(), "version 1");
    container.seal(root(&two), 2);
    let _new = host(&container, &net, 2, &two).await;
    container.describe(&net, 2);
    tokio::time::sleep(LEARN_AGAIN).await;
    // A page begins; its copy leaves before its pieces are asked for.
    assert_eq!(read("/only-1.html").await.text(), "1");
    let began = std::time::Instant::now();
    leave(&container, &net, &old);
    common::until("the visitor has heard", || !side.visitor.is_open(&onion, "")).await;
    let pieces = (read("/").await.text(), read("/only-1.html").await.text());
    // On a busy machine the page may have taken too long for one.
    if began.elapsed() < Duration::from_millis(450) {
        assert_eq!(pieces, ("version 1".to_owned(), "1".to_owned()));
    }
    // Who reads on without a pause is led over, too, and nobody sees what was kept of before.
    let mut seen = Vec::new();
    let reading = std::time::Instant::now();
    while reading.elapsed() < Duration::from_secs(15) {
        let page = read("/").await;
        assert_eq!(page.status, 200, "{}", page.text());
        seen.push(page.text());
    }
    seen.dedup();
    assert!(seen == ["version 1", "version 2"] || seen == ["version 2"], "{seen:?}");
    assert_eq!(read("/only-1.html").await.status, 404);
    assert_eq!(side.visit().caught, 0);
}
