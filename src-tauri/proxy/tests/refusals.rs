//! What does not pass: other names, requests of web pages, and messages that two readers could take for two.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;
#[path = "../../betanet/tests/net/mod.rs"]
mod net;

use common::{Side, curl};
use fast_socks5::client::{Config, Socks5Stream};
use fogbank_betanet::tunnel::Stream;
use fogbank_model::Level;
use fogbank_proxy::{Proxy, ProxyError};
use net::{Container, Net};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    time::timeout,
};

/// Sends these bytes as they are and reads to the end.
async fn raw(addr: SocketAddr, bytes: &[u8]) -> String {
    let (mut from, mut to) = TcpStream::connect(addr).await.unwrap().into_split();
    // The answer may come before all is said.
    let send = to.write_all(bytes);
    let mut back = Vec::new();
    let (_, read) = tokio::join!(send, timeout(Duration::from_secs(20), from.read_to_end(&mut back)));
    let _ = read.expect("it is answered or closed");
    String::from_utf8_lossy(&back).into_owned()
}

/// A host that keeps all that it hears, and answers each head with nothing.
async fn hear(mut stream: Stream, heard: Arc<Mutex<String>>) {
    let (mut bytes, mut answered) = ([0; 4_096], false);
    while let Ok(count @ 1..) = stream.read(&mut bytes).await {
        heard.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
        if !answered && heard.lock().unwrap().contains("\r\n\r\n") {
            answered = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.is_ok();
            let _ = stream.flush().await;
        }
    }
}

async fn alone() -> Proxy {
    Proxy::bind("127.0.0.1:0".parse().unwrap(), watch::channel(None).1).await.unwrap()
}

#[tokio::test]
async fn names_of_the_web_do_not_pass() {
    let proxy = alone().await;
    let addr = proxy.addr().to_string();
    for name in ["example.org", "127.0.0.1", "localhost", "x.onion", "example.onion.org"] {
        let refused = Socks5Stream::connect(proxy.addr(), name.to_owned(), 80, Config::default()).await;
        let said = refused.expect_err("refused").to_string();
        assert!(said.to_lowercase().contains("not allowed"), "{name}: {said}");
        let page = curl(&["--proxy", &addr], &format!("http://{name}/")).await;
        // curl itself does not ask for names that it holds for other networks'.
        assert!(page.status == 403 && page.text().contains("Only onion addresses pass here"), "{name}: {page:?}");
        let connect =
            raw(proxy.addr(), format!("CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\nConnection: close\r\n\r\n").as_bytes())
                .await;
        assert!(connect.starts_with("HTTP/1.1 403"), "{name}: {connect}");
    }
    let bound = Proxy::bind(proxy.addr(), watch::channel(None).1).await;
    assert!(matches!(&bound, Err(ProxyError::PortTaken { addr }) if *addr == proxy.addr()), "{bound:?}");
}

#[tokio::test]
async fn a_page_of_the_web_reaches_nothing_through_the_port() {
    let _turn = common::ONE_AT_A_TIME.lock().await;
    let net = Net::start(5).await;
    let container = Container::publish(&net, Level::Fast);
    let side = Side::start(&net).await;
    let onion = container.onion();
    // Whatever name a page rebinds to this machine, and whatever it writes into a form.
    for host in [side.addr().to_string(), "evil.example".to_owned(), onion.to_string()] {
        for method in ["GET", "POST", "OPTIONS", "HEAD"] {
            let request = format!(
                "{method} /http://{onion}/ HTTP/1.1\r\nHost: {host}\r\nOrigin: http://evil.example\r\nConnection: close\r\n\r\n"
            );
            let back = raw(side.addr(), request.as_bytes()).await;
            assert!(back.starts_with("HTTP/1.1 403"), "{host} {method}: {back}");
            assert!(!back.to_lowercase().contains("access-control"), "{back}");
            assert!(back.contains("cross-origin-resource-policy: same-origin"), "{back}");
        }
    }
    // The body of a page's form is not taken for a request of its own.
    let inner = format!("GET http://{onion}/ HTTP/1.1\r\nHost: {onion}\r\n\r\n");
    let form = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{inner}", inner.len());
    let back = raw(side.addr(), form.as_bytes()).await;
    assert_eq!(back.matches("HTTP/1.1 ").count(), 1, "{back}");
    assert!(side.visitor.visits().is_empty(), "nothing was opened");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_contradicts_itself_or_has_no_end_is_refused() {
    let _turn = common::ONE_AT_A_TIME.lock().await;
    let net = Net::start(5).await;
    let container = Container::publish(&net, Level::Fast);
    let heard = Arc::<Mutex<String>>::default();
    let hears = heard.clone();
    let _instance = container.instance_of(&net, 1, move |stream| tokio::spawn(hear(stream, hears.clone()))).await;
    let side = Side::start(&net).await;
    let onion = container.onion();
    let two = format!(
        "POST http://{onion}/ HTTP/1.1\r\nHost: {onion}\r\nConnection: close\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /"
    );
    let lengths =
        format!("POST http://{onion}/ HTTP/1.1\r\nHost: {onion}\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!");
    let coding = format!("POST http://{onion}/ HTTP/1.1\r\nHost: {onion}\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n");
    let many = format!("GET http://{onion}/ HTTP/1.1\r\nHost: {onion}\r\n{}\r\n", "X-A: b\r\n".repeat(101));
    let long = format!("GET http://{onion}/{} HTTP/1.1\r\nHost: {onion}\r\n\r\n", "a".repeat(100_000));
    let endless = format!("GET http://{onion}/ HTTP/1.1\r\nX-A: {}", "a".repeat(200_000));
    let trace = format!("TRACE http://{onion}/ HTTP/1.1\r\nHost: {onion}\r\nConnection: close\r\n\r\n");
    for (what, request) in [
        ("two lengths", lengths),
        ("a coding after chunked", coding),
        ("many headers", many),
        ("a long line", long),
        ("no end", endless),
        ("trace", trace),
        (
            "another user form",
            format!("GET http://{onion}/ HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Bearer x\r\nConnection: close\r\n\r\n"),
        ),
        ("https", format!("GET https://{onion}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        ("garbage", "\u{16}\u{3}\u{1}\u{2}\r\n\r\n".to_owned()),
        ("no version", "GET\r\n\r\n".to_owned()),
    ] {
        let back = raw(side.addr(), request.as_bytes()).await;
        let refused = back.is_empty() || back.starts_with("HTTP/1.1 4") || back.starts_with("HTTP/1.1 5");
        assert!(refused && back.matches("HTTP/1.1 ").count() <= 1, "{what}: {back}");
        assert_eq!(*heard.lock().unwrap(), "", "{what}: the host heard of it");
    }
    // Of two framings one holds (RFC 9112, 6.3): the host hears of that alone, and nothing of what follows it.
    let back = raw(side.addr(), two.as_bytes()).await;
    assert!(back.starts_with("HTTP/1.1 200") && back.matches("HTTP/1.1 ").count() == 1, "{back}");
    let said = std::mem::take(&mut *heard.lock().unwrap()).to_lowercase();
    assert!(said.contains("transfer-encoding: chunked") && !said.contains("content-length"), "{said}");
    assert!(said.matches(" http/1.1\r\n").count() == 1 && !said.contains("get /"), "{said}");
    // What is one request comes to the host as one, and nothing of the others with it.
    let one = format!("POST http://{onion}/one HTTP/1.1\r\nHost: {onion}\r\nConnection: close\r\nContent-Length: 5\r\n\r\nGET /");
    let back = raw(side.addr(), one.as_bytes()).await;
    assert!(back.starts_with("HTTP/1.1 200"), "{back}");
    let heard = heard.lock().unwrap().to_lowercase();
    assert!(heard.starts_with("post /one http/1.1\r\n"), "{heard}");
    let framings = heard.matches("content-length:").count() + heard.matches("transfer-encoding:").count();
    assert_eq!((heard.matches(" http/1.1\r\n").count(), framings), (1, 1), "{heard}");
    // Its body, in the proxy's own framing.
    assert!(heard.ends_with("\r\n\r\n5\r\nget /\r\n0\r\n\r\n"), "{heard}");
}

#[tokio::test]
async fn without_a_fog_a_browser_is_told_so() {
    let proxy = alone().await;
    let addr = proxy.addr().to_string();
    let onion = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion";
    for door in [&["--socks5-hostname", &addr][..], &["--proxy", &addr]] {
        let page = curl(door, &format!("http://{onion}/")).await;
        assert_eq!((page.status, page.header("cache-control")), (503, Some("no-store")), "{page:?}");
        assert!(page.text().contains("knows no mixes") && !page.text().contains(onion), "{}", page.text());
    }
}
