//! Sealed sites through the proxy, from hosts that are honest, that lie in each way, and that die.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;
#[path = "../../betanet/tests/net/mod.rs"]
mod net;

use common::{Side, finish, start};
use fogbank_agent::{
    bundle::{Bundles, Limits},
    site::Site,
};
use fogbank_betanet::{client::Trust, direct::Entrance, link, tunnel::Stream};
use fogbank_model::Level;
use fogbank_site::{
    Root,
    ask::{Ask, NOT_HERE, OTHER_VERSION},
};
use iroh::SecretKey;
use net::{Container, Instance, Net, noise};
use std::{sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
    net::TcpStream,
    time::timeout,
};

/// A site of a publisher, as a host has it.
struct Kept {
    site: Site,
    _folder: TempDir,
}

const LARGE: usize = 2 << 20;

/// `version` tells two publications apart.
async fn published(version: &str) -> Kept {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, content: &[u8]| {
        let file = folder.path().join("site").join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    };
    write("index.html", format!("<p>version {version}").as_bytes());
    write("docs/index.html", b"docs");
    write("404.html", b"gone fishing");
    write("large.bin", &noise(LARGE));
    write("pay.html", b"pay to alice");
    write("say.html", b"pay to mallo");
    let bundles = Bundles::open(&folder.path().join("bundles")).await.unwrap();
    let bundle = bundles.import(&folder.path().join("site"), &Limits::default(), |_| ()).await.unwrap();
    Kept { site: Site::open(&bundles, bundle.id).await.unwrap(), _folder: folder }
}

async fn honest(container: &Container, net: &Net, number: u8, kept: &Kept) -> Instance {
    let site = kept.site.clone();
    container
        .instance_of(net, number, move |stream| {
            let site = site.clone();
            tokio::spawn(async move { site.serve(stream).await })
        })
        .await
}

/// How a host lies.
#[derive(Debug, Clone, Copy)]
enum Lie {
    /// One bit of the manifest.
    Manifest,
    /// One bit in the middle of the large file.
    Bit,
    /// One file in another's place, both true and both the publisher's.
    Swap,
    /// What the publisher had online before.
    Older,
    /// It says that it has not the file.
    Omit,
    /// It ends the file in the middle, as if that were all.
    Cut,
}

/// A host that has the real runtime and alters what goes in and out of it.
async fn liar(container: &Container, net: &Net, number: u8, kept: &Kept, older: &Kept, lie: Lie) -> Instance {
    let site = Arc::new((kept.site.clone(), older.site.clone()));
    container
        .instance_of(net, number, move |stream| {
            let site = site.clone();
            tokio::spawn(async move {
                let _ = tell(stream, &site.0, &site.1, lie).await;
            })
        })
        .await
}

async fn tell(mut stream: Stream, site: &Site, older: &Site, lie: Lie) -> std::io::Result<()> {
    let Ok(mut ask) = Ask::read(&mut stream).await? else { return Ok(()) };
    let large = matches!(ask, Ask::Content { start, end, .. } if end - start > 1 << 20);
    let content = matches!(ask, Ask::Content { .. });
    let mut source = site;
    match (lie, &mut ask) {
        (Lie::Swap, Ask::Content { number, .. }) => *number ^= 1,
        (Lie::Older, Ask::Manifest { root } | Ask::Content { root, .. }) => {
            *root = older.root();
            source = older;
        }
        (Lie::Omit, Ask::Content { .. }) => {
            stream.write_all(&[NOT_HERE]).await?;
            return stream.shutdown().await;
        }
        _ => {}
    }
    let (mut near, far) = duplex(64 << 10);
    let serving = source.clone();
    tokio::spawn(async move { serving.serve(far).await });
    ask.write(&mut near).await?;
    let (mut buffer, mut at) = (vec![0; 8 << 10], 0);
    loop {
        let count = near.read(&mut buffer).await?;
        if count == 0 {
            return stream.shutdown().await;
        }
        let place = match lie {
            Lie::Manifest if !content => Some(200),
            Lie::Bit | Lie::Cut if large => Some(LARGE / 2),
            _ => None,
        };
        if let Some(place) = place.filter(|place| (at..at + count).contains(place)) {
            if matches!(lie, Lie::Cut) {
                stream.write_all(&buffer[..place - at]).await?;
                return stream.shutdown().await;
            }
            buffer[place - at] ^= 4;
        }
        stream.write_all(&buffer[..count]).await?;
        at += count;
    }
}

fn sealed(net: &Net, kept: &Kept) -> Container {
    let Root(root) = kept.site.root();
    Container::publish_sealed(net, Level::Fast, root)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_is_the_same_by_every_door() {
    let _turn = common::ONE_AT_A_TIME.lock().await;
    let net = Net::start(6).await;
    let kept = published("1").await;
    let container = sealed(&net, &kept);
    let instance = honest(&container, &net, 1, &kept).await;
    let side = Side::start(&net).await;
    let (onion, addr) = (container.onion(), side.addr().to_string());
    let large = noise(LARGE);
    let doors: [&[&str]; 3] = [&["--socks5-hostname", &addr], &["--proxytunnel", "--proxy", &addr], &["--proxy", &addr]];
    for door in doors {
        let get = async |path: &str, more: &[&str]| side.curl(&[door, more].concat(), onion, path).await;
        let front = get("/", &[]).await;
        assert_eq!((front.exit, front.status, front.text().as_str()), (0, 200, "<p>version 1"), "{door:?}: {front:?}");
        assert_eq!(front.header("content-type"), Some("text/html; charset=utf-8"));
        let tag = front.header("etag").unwrap().to_owned();
        assert_eq!(get("/", &["--header", &format!("If-None-Match: {tag}")]).await.status, 304);
        assert!(get("/large.bin", &[]).await.body == large);
        let part = get("/large.bin", &["--range", "100000-1300000"]).await;
        assert_eq!((part.status, part.header("content-range")), (206, Some("bytes 100000-1300000/2097152")));
        assert!(part.body == large[100_000..=1_300_000]);
        let head = get("/large.bin", &["--head"]).await;
        assert_eq!((head.status, head.header("content-length")), (200, Some("2097152")));
        let moved = get("/docs?x", &[]).await;
        assert_eq!((moved.status, moved.header("location")), (301, Some("/docs/?x")));
        let missing = get("/nothing", &[]).await;
        assert_eq!((missing.status, missing.text().as_str()), (404, "gone fishing"));
        assert_eq!(get("/", &["--data", "x"]).await.status, 405);
        for header in front.head.lines().skip(1).filter_map(|l| l.split_once(':')) {
            let known = [
                "content-type",
                "content-length",
                "etag",
                "accept-ranges",
                "x-content-type-options",
                "connection",
                "referrer-policy",
                "content-security-policy",
                "cross-origin-resource-policy",
                "x-dns-prefetch-control",
            ];
            // A tunnel's own head comes first.
            assert!(known.contains(&header.0.to_lowercase().as_str()), "{header:?}");
        }
    }
    let visit = side.visit();
    assert_eq!((visit.trust, visit.caught), (Trust::Checked, 0));
    assert_eq!(instance.service.open_tunnels(), 1);

    // Another user is another isolation, by SOCKS5 and by HTTP alike, and so is another password.
    let named = side.curl(&["--socks5-hostname", &addr, "--proxy-user", "alice:x"], onion, "/").await;
    let alike = side.curl(&["--proxy", &addr, "--proxy-user", "alice:x"], onion, "/").await;
    assert_eq!((named.status, alike.status, instance.service.open_tunnels()), (200, 200, 2));
    let renewed = side.curl(&["--socks5-hostname", &addr, "--proxy-user", "alice:y"], onion, "/").await;
    assert_eq!((renewed.status, instance.service.open_tunnels()), (200, 3));
    // A site answers on one port.
    let other = side.curl(&["--proxy", &addr], onion, ":8080/").await;
    assert_eq!((other.status, other.text().contains("port 80")), (502, true), "{}", other.text());
    let other = side.curl(&["--socks5-hostname", &addr], onion, ":443/").await;
    assert_eq!((other.exit, other.status), (97, 0), "refused, so that a browser tries http at once");
}

/// A browser opens several connections at once, and may use one of them only when another has fetched everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_too_few_mixes_nothing_of_a_site_is_shown_by_any_connection() {
    let _turn = common::ONE_AT_A_TIME.lock().await;
    let mut net = Net::start(4).await;
    let kept = published("1").await;
    let container = sealed(&net, &kept);
    let _instance = honest(&container, &net, 1, &kept).await;
    let side = Side::start(&net).await;
    let onion = container.onion();
    let connected = async || {
        let mut stream = TcpStream::connect(side.addr()).await.unwrap();
        stream.write_all(format!("CONNECT {onion}:80 HTTP/1.1\r\nHost: {onion}:80\r\n\r\n").as_bytes()).await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        stream
    };
    let got = async |mut stream: TcpStream| {
        let get = format!("GET / HTTP/1.1\r\nHost: {onion}\r\nConnection: close\r\n\r\n");
        stream.write_all(get.as_bytes()).await.unwrap();
        let mut all = String::new();
        timeout(Duration::from_secs(30), stream.read_to_string(&mut all)).await.unwrap().unwrap();
        all
    };
    let (idle, other) = (connected().await, connected().await);
    let front = got(other).await;
    assert!(front.contains("<p>version 1"), "{front}");
    let gone = net.mixes[3].0.id;
    net.end_mix(gone).await;
    common::until("the visitor knows", || !side.visitor.is_open(onion, "")).await;
    for stream in [idle, TcpStream::connect(side.addr()).await.unwrap()] {
        let shown = got(stream).await;
        assert!(!shown.contains("<p>version 1"), "{shown}");
    }
    let refused = side.get(onion, "/").await;
    assert_ne!((refused.exit, refused.status), (0, 200), "{}", refused.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lie_is_caught_shown_and_left() {
    let _turn = common::ONE_AT_A_TIME.lock().await;
    let net = Net::start(6).await;
    let (kept, older) = (published("2").await, published("1").await);
    for lie in [Lie::Manifest, Lie::Bit, Lie::Swap, Lie::Older, Lie::Omit, Lie::Cut] {
        let container = sealed(&net, &kept);
        let onion = container.onion();
        let liar = liar(&container, &net, 1, &kept, &older, lie).await;
        let side = Side::start(&net).await;
        let path = match lie {
            Lie::Swap => "/pay.html",
            Lie::Manifest | Lie::Older | Lie::Omit => "/",
            Lie::Bit | Lie::Cut => "/large.bin",
        };
        let large = noise(LARGE);
        let refused = side.get(onion, path).await;
        if matches!(lie, Lie::Bit | Lie::Cut) {
            // The head was right and had gone; the response breaks off before the altered group.
            assert_eq!((refused.exit, refused.status), (18, 200), "{lie:?}");
            assert!(large.starts_with(&refused.body) && refused.body.len() < LARGE / 2 + 1, "{lie:?}: only what is right");
        } else {
            let text = refused.text();
            assert_eq!(refused.status, 502, "{lie:?}: {text}");
            assert!(text.contains("tried to alter it") && text.contains("A copy gave something else"), "{lie:?}: {text}");
            assert_eq!(refused.header("cache-control"), Some("no-store"));
        }
        let visit = side.visit();
        assert_eq!((visit.trust, visit.caught), (Trust::Broken, 1), "{lie:?}");
        common::until("the tunnel to the liar is closed", || liar.service.open_tunnels() == 0).await;

        // An honest copy comes: it serves, and the liar is not gone to again.
        let honest = honest(&container, &net, 2, &kept).await;
        let good = side.get(onion, path).await;
        assert_eq!((good.exit, good.status), (0, 200), "{lie:?}: {}", good.text());
        match lie {
            Lie::Swap => assert_eq!(good.text(), "pay to alice"),
            Lie::Bit | Lie::Cut => assert!(good.body == large),
            _ => assert_eq!(good.text(), "<p>version 2"),
        }
        let visit = side.visit();
        assert_eq!((visit.trust, visit.caught), (Trust::Checked, 1), "{lie:?}");
        assert_eq!((liar.service.open_tunnels(), honest.service.open_tunnels()), (0, 1), "{lie:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_by_name_comes_directly_and_gets_what_is_checked_alike() {
    let _turn = common::ONE_AT_A_TIME.lock().await;
    let net = Net::start(5).await;
    let kept = published("1").await;
    let Root(root) = kept.site.root();
    let container = Container::publish_direct(&net, Level::Fast, root);
    let liar = liar(&container, &net, 1, &kept, &kept, Lie::Bit).await;
    let endpoint = link::bind(SecretKey::generate(), "127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    let entrance = Entrance::open(endpoint.clone(), endpoint.bound_sockets());
    liar.host.set_entrance(Some(entrance.clone()));
    let side = Side::start(&net).await;
    let (onion, addr) = (container.onion(), side.addr().to_string());
    for door in ["--socks5-hostname", "--proxy"] {
        let front = side.curl(&[door, &addr, "--proxy-user", "fogbank-direct:x"], onion, "/").await;
        assert_eq!((front.status, front.text().as_str()), (200, "<p>version 1"), "{front:?}");
    }
    assert_eq!((entrance.let_in(), liar.service.open_tunnels()), (1, 1), "one user name, one way");
    assert!(side.visit().direct);
    let cut = side.curl(&["--socks5-hostname", &addr, "--proxy-user", "fogbank-direct:x"], onion, "/large.bin").await;
    assert!(cut.exit == 18 && noise(LARGE).starts_with(&cut.body), "{}", cut.exit);
    assert_eq!((side.visit().trust, side.visit().caught), (Trust::Broken, 1));

    // Nobody else comes so, and where it is not offered the page says why.
    let other = side.curl(&["--socks5-hostname", &addr, "--proxy-user", "direct:x"], onion, "/").await;
    assert_eq!((other.status, entrance.let_in()), (200, 1));
    let shut = sealed(&net, &kept);
    let _instance = honest(&shut, &net, 2, &kept).await;
    let refused = side.curl(&["--proxy", &addr, "--proxy-user", "fogbank-direct:x"], shut.onion(), "/").await;
    assert_eq!((refused.status, refused.text().contains("no direct connection")), (403, true), "{}", refused.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_another_version_is_left_and_not_accused() {
    let _turn = common::ONE_AT_A_TIME.lock().await;
    let net = Net::start(6).await;
    let kept = published("1").await;
    let container = sealed(&net, &kept);
    let other = |mut stream: Stream| {
        tokio::spawn(async move {
            let _ = stream.read_u8().await;
            let _ = stream.write_u8(OTHER_VERSION).await;
            let _ = stream.shutdown().await;
        })
    };
    let _newer = container.instance_of(&net, 1, other).await;
    let side = Side::start(&net).await;
    let page = side.get(container.onion(), "/").await;
    assert_eq!(page.status, 502);
    assert!(page.text().contains("another version of Fogbank") && page.text().contains("Update"), "{}", page.text());
    assert_eq!(side.visit().caught, 0, "it did not lie");
    let _alike = honest(&container, &net, 2, &kept).await;
    assert_eq!(side.get(container.onion(), "/").await.text(), "<p>version 1");
    assert_eq!((side.visit().trust, side.visit().caught), (Trust::Checked, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lie_in_the_middle_goes_unnoticed_when_another_copy_is_there() {
    let _turn = common::ONE_AT_A_TIME.lock().await;
    let net = Net::start(6).await;
    let kept = published("1").await;
    for lie in [Lie::Bit, Lie::Cut] {
        let container = sealed(&net, &kept);
        let liar = liar(&container, &net, 1, &kept, &kept, lie).await;
        let side = Side::start(&net).await;
        assert_eq!(side.get(container.onion(), "/").await.status, 200);
        assert_eq!(liar.service.open_tunnels(), 1, "the visitor is at the liar, which has told the truth so far");
        let _honest = honest(&container, &net, 2, &kept).await;
        let whole = side.get(container.onion(), "/large.bin").await;
        assert_eq!((whole.exit, whole.status), (0, 200), "{lie:?}");
        assert!(whole.body == noise(LARGE), "{lie:?}: the first half of one copy, the second of another");
        assert_eq!((side.visit().trust, side.visit().caught), (Trust::Checked, 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_goes_on_when_its_host_dies() {
    let _turn = common::ONE_AT_A_TIME.lock().await;
    let net = Net::start(6).await;
    let kept = published("1").await;
    let container = sealed(&net, &kept);
    let first = honest(&container, &net, 1, &kept).await;
    let side = Side::start(&net).await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://{}/large.bin", container.onion());
    let addr = side.addr().to_string();
    let child = start(&["--socks5-hostname", &addr, "--limit-rate", "300K", "--range", "1000-2000000"], &url, folder.path());
    let body = folder.path().join("body");
    common::until("some of it came", || std::fs::metadata(&body).is_ok_and(|m| m.len() > 50_000)).await;
    let _second = honest(&container, &net, 2, &kept).await;
    // Without a word: its packets just stop.
    first.uplink.shutdown().await;
    let got = tokio::time::timeout(Duration::from_secs(60), finish(child, folder.path())).await.expect("it ends");
    assert_eq!((got.exit, got.status), (0, 206));
    assert!(got.body == noise(LARGE)[1_000..=2_000_000]);
    assert_eq!(side.visit().caught, 0, "to die is not to lie");
}
