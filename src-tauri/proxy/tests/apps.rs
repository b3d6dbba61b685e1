//! Apps through the proxy: what their hosts serve can't be checked, but it passes as it is: WebSockets, events, uploads, and bytes of any kind.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;
#[path = "../../betanet/tests/net/mod.rs"]
mod net;

use common::{Side, start};
use fast_socks5::client::{Config, Socks5Stream};
use fogbank_betanet::{client::Trust, directory::clock, proof::ContainerIdentity, seal::SiteSeal, tunnel::Stream};
use fogbank_model::Level;
use futures_util::{SinkExt as _, StreamExt as _, stream};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    body::{Bytes, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use net::{Container, Instance, Net, noise};
use std::{
    collections::HashSet,
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::watch,
    task::JoinHandle,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// What a test app has seen and is told.
#[derive(Clone, Default)]
struct App {
    /// Headers' names of all requests.
    headers: Arc<Mutex<HashSet<String>>>,
    connections: Arc<AtomicU32>,
    requests: Arc<AtomicU32>,
    /// Lets the next event go.
    event: watch::Sender<u32>,
    number: u8,
    /// Breaks off each request without an answer.
    breaks: bool,
    /// Breaks off each request but the first of a connection.
    once: bool,
}

impl App {
    async fn instance(&self, container: &Container, net: &Net, number: u8) -> Instance {
        let app = Self { number, ..self.clone() };
        container.instance_of(net, number, move |stream| app.clone().serve(stream)).await
    }

    fn serve(self, stream: Stream) -> JoinHandle<()> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let requests = AtomicU32::new(0);
            let service = service_fn(|request| {
                let stale = self.once && requests.fetch_add(1, Ordering::Relaxed) > 0;
                Self { breaks: self.breaks || stale, ..self.clone() }.answer(request)
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        })
    }

    async fn answer(self, mut request: Request<Incoming>) -> Result<Answer, &'static str> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if self.breaks {
            return Err("it breaks");
        }
        self.headers.lock().unwrap().extend(request.headers().keys().map(ToString::to_string));
        let text = |text: String| Response::new(Full::from(text).boxed_unsync());
        Ok(match request.uri().path() {
            "/upload" => {
                let mut hasher = blake3::Hasher::new();
                let mut body = request.into_body();
                let mut bytes = 0;
                while let Some(Ok(frame)) = body.frame().await {
                    let data = frame.into_data().unwrap_or_default();
                    bytes += data.len();
                    hasher.update(&data);
                }
                text(format!("{bytes} {}", hasher.finalize()))
            }
            "/events" => {
                let events = stream::unfold((0, self.event.subscribe()), |(sent, mut event)| async move {
                    event.wait_for(|n| *n > sent).await.ok()?;
                    let frame = Frame::data(Bytes::from(format!("data: {sent}\n\n")));
                    Some((Ok::<_, Infallible>(frame), (sent + 1, event)))
                });
                let mut response = Response::new(StreamBody::new(events).boxed_unsync());
                response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
                response
            }
            "/ws" => {
                let key = request.headers()["sec-websocket-key"].as_bytes().to_vec();
                let upgrade = hyper::upgrade::on(&mut request);
                tokio::spawn(async move {
                    let socket = TokioIo::new(upgrade.await.unwrap());
                    let mut socket = WebSocketStream::from_raw_socket(socket, Role::Server, None).await;
                    while let Some(Ok(message)) = socket.next().await {
                        if message.is_text() || message.is_binary() {
                            socket.send(message).await.unwrap();
                        }
                    }
                });
                let response = Response::builder()
                    .status(101)
                    .header("connection", "upgrade")
                    .header("upgrade", "websocket")
                    .header("sec-websocket-accept", derive_accept_key(&key));
                response.body(Empty::new().boxed_unsync()).unwrap()
            }
            path => {
                text(format!("{} {} {path} from {}", request.method(), request.headers()["host"].to_str().unwrap(), self.number))
            }
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_pass_by_every_door_and_connections_are_kept() {
    let _turn = common::ONE_AT_A_TIME.lock().await;
    let net = Net::start(6).await;
    let container = Container::publish(&net, Level::Fast);
    let app = App::default();
    let _instance = app.instance(&container, &net, 1).await;
    let side = Side::start(&net).await;
    let (onion, addr) = (container.onion(), side.addr().to_string());
    let doors: [&[&str]; 3] = [&["--socks5-hostname", &addr], &["--proxytunnel", "--proxy", &addr], &["--proxy", &addr]];
    for door in doors {
        let got = side.curl(&[door, &["--header", "Te: trailers", "--header", "Proxy-Foo: x"]].concat(), onion, "/a?b").await;
        assert_eq!((got.status, got.text()), (200, format!("GET {onion} /a from 1")), "{door:?}: {got:?}");
    }
    // One user's connections are kept for that user alone.
    let user = ["--proxy", &addr, "--proxy-user", "alice:secret"];
    for _ in 0..3 {
        assert_eq!(side.curl(&user, onion, "/x").await.status, 200);
    }
    let post = side.curl(&[&user[..], &["--data", "x"]].concat(), onion, "/x").await;
    assert_eq!(post.text(), format!("POST {onion} /x from 1"));
    assert_eq!(app.requests.load(Ordering::Relaxed), 7);
    let connections = app.connections.load(Ordering::Relaxed);
    // SOCKS, CONNECT and absolute form: three at most; alice: one for all that may be repeated and one for what may not.
    assert!(connections <= 5, "{connections}");
    let seen = app.headers.lock().unwrap().clone();
    for secret in ["proxy-authorization", "proxy-connection", "te", "via", "forwarded", "x-forwarded-for"] {
        assert!(!seen.contains(secret), "{secret} reached the app");
    }
    assert!(side.visitor.visits().iter().all(|v| v.trust == Trust::Unchecked));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn web_sockets_and_events_pass_as_they_come() {
    let _turn = common::ONE_AT_A_TIME.lock().await;
    let net = Net::start(6).await;
    let container = Container::publish(&net, Level::Fast);
    let app = App::default();
    let _instance = app.instance(&container, &net, 1).await;
    let side = Side::start(&net).await;
    let onion = container.onion().to_string();
    let socket = Socks5Stream::connect(side.addr(), onion.clone(), 80, Config::default()).await.unwrap();
    let (mut socket, response) = client_async(format!("ws://{onion}/ws"), socket).await.unwrap();
    assert_eq!(response.status(), 101);
    for message in [Message::text("hello"), Message::binary(noise(100_000))] {
        socket.send(message.clone()).await.unwrap();
        assert!(socket.next().await.unwrap().unwrap() == message);
    }
    socket.close(None).await.unwrap();

    // Each event is there before the next is let go.
    let folder = tempfile::tempdir().unwrap();
    let addr = side.addr().to_string();
    let mut child = start(&["--no-buffer", "--proxy", &addr], &format!("http://{onion}/events"), folder.path());
    let body = folder.path().join("body");
    for sent in 1..=3 {
        app.event.send_replace(sent);
        let expected: String = (0..sent).map(|n| format!("data: {n}\n\n")).collect();
        common::until("the event comes", || std::fs::read_to_string(&body).is_ok_and(|seen| seen == expected)).await;
    }
    child.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_megabytes_go_up_whole() {
    let _turn = common::ONE_AT_A_TIME.lock().await;
    let net = Net::start(6).await;
    let container = Container::publish(&net, Level::Fast);
    let app = App::default();
    let _instance = app.instance(&container, &net, 1).await;
    let side = Side::start(&net).await;
    let folder = tempfile::tempdir().unwrap();
    let bytes = noise(10_000_000);
    let file = folder.path().join("up");
    std::fs::write(&file, &bytes).unwrap();
    let data = format!("@{}", file.display());
    let addr = side.addr().to_string();
    let expected = format!("{} {}", bytes.len(), blake3::hash(&bytes));
    for more in [&["--proxy", &addr][..], &["--socks5-hostname", &addr, "--header", "Transfer-Encoding: chunked"]] {
        let options = [more, &["--data-binary", &data, "--header", "Expect: 100-continue"]].concat();
        let got = side.curl(&options, container.onion(), "/upload").await;
        assert_eq!((got.status, got.text()), (200, expected.clone()), "{more:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_repeated_goes_on_at_another_copy_and_what_may_not_is_said() {
    let _turn = common::ONE_AT_A_TIME.lock().await;
    let net = Net::start(6).await;
    let container = Container::publish(&net, Level::Fast);
    let app = App::default();
    let first = app.instance(&container, &net, 1).await;
    let side = Side::start(&net).await;
    let (onion, addr) = (container.onion(), side.addr().to_string());
    let door = ["--proxy", &addr];
    assert_eq!(side.curl(&door, onion, "/x").await.text(), format!("GET {onion} /x from 1"));
    first.uplink.shutdown().await;
    let second = app.instance(&container, &net, 2).await;
    // The kept connection is to the dead copy.
    let moved = side.curl(&door, onion, "/x").await;
    assert_eq!((moved.status, moved.text()), (200, format!("GET {onion} /x from 2")));
    drop(second);

    let broken = Container::publish(&net, Level::Fast);
    let breaking = App { breaks: true, ..App::default() };
    let _instance = breaking.instance(&broken, &net, 1).await;
    let post = side.curl(&[&door[..], &["--data", "x"]].concat(), broken.onion(), "/pay").await;
    assert_eq!(post.status, 502);
    assert!(post.text().contains("look first whether it has arrived"), "{}", post.text());
    assert_eq!(breaking.requests.load(Ordering::Relaxed), 1, "a payment is not sent twice");
    assert_eq!(side.curl(&door, broken.onion(), "/x").await.status, 502);
    assert_eq!(breaking.requests.load(Ordering::Relaxed), 5, "a question is, a few times");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_goes_over_a_fresh_connection_when_all_kept_ones_are_stale() {
    let _turn = common::ONE_AT_A_TIME.lock().await;
    let net = Net::start(6).await;
    let container = Container::publish(&net, Level::Fast);
    let app = App { once: true, ..App::default() };
    let _instance = app.instance(&container, &net, 1).await;
    let side = Side::start(&net).await;
    let (onion, addr) = (container.onion(), side.addr().to_string());
    let door = ["--proxy", &addr];
    // Each opens a connection of its own, which is kept.
    for _ in 0..6 {
        assert_eq!(side.curl(&[&door[..], &["--data", "x"]].concat(), onion, "/x").await.status, 200);
    }
    let got = side.curl(&door, onion, "/x").await;
    assert_eq!((got.status, got.text()), (200, format!("GET {onion} /x from 1")));
    assert_eq!(app.requests.load(Ordering::Relaxed), 8, "one kept connection was tried, then a fresh one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_became_a_site_is_believed_nothing_any_more() {
    let _turn = common::ONE_AT_A_TIME.lock().await;
    let net = Net::start(6).await;
    let identity = ContainerIdentity::generate(&mut rand::rng()).unwrap();
    let mut container = Container::publish(&net, Level::Fast);
    container.proof = identity.pre_sign(clock(), 4, &mut rand::rng()).unwrap();
    container.describe(&net, 1);
    let app = App::default();
    let first = app.instance(&container, &net, 1).await;
    let side = Side::start(&net).await;
    let (onion, addr) = (container.onion().clone(), side.addr().to_string());
    let door = ["--proxy", &addr];
    assert_eq!(side.curl(&door, &onion, "/x").await.text(), format!("GET {onion} /x from 1"));
    // The kept connection is to the app; the host of the site that follows it speaks HTTP as the app did, and lies. Nothing is at the points that
    // the visitor knows, so it looks the address up again.
    container.revoke(&net, first.id);
    first.uplink.shutdown().await;
    container.points = net.mixes.iter().map(|(entry, _)| entry.id).skip(3).collect();
    container.proof = identity.pre_sign_sealed(clock(), 4, &SiteSeal { root: [7; 32], revision: 1 }, &mut rand::rng()).unwrap();
    container.describe(&net, 2);
    let _second = app.instance(&container, &net, 2).await;
    for _ in 0..2 {
        let page = side.curl(&door, &onion, "/x").await;
        assert!(page.status >= 500 && !page.text().contains("from 2"), "{page:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_http_passes_as_bytes_and_either_side_may_begin() {
    let _turn = common::ONE_AT_A_TIME.lock().await;
    let net = Net::start(5).await;
    let container = Container::publish(&net, Level::Fast);
    let _instance = container.instance(&net, 9).await;
    let side = Side::start(&net).await;
    let onion = container.onion().to_string();
    let mut socket = Socks5Stream::connect(side.addr(), onion.clone(), 80, Config::default()).await.unwrap();
    assert_eq!(socket.read_u8().await.unwrap(), 9, "the app speaks first");
    socket.write_all(b"hello").await.unwrap();
    // The request ends before its answer does.
    socket.shutdown().await.unwrap();
    let mut back = Vec::new();
    socket.read_to_end(&mut back).await.unwrap();
    assert_eq!(back, b"hello");

    let silent = Container::publish(&net, Level::Fast);
    let echo = |mut stream: Stream| {
        tokio::spawn(async move {
            let (mut from, mut to) = tokio::io::split(&mut stream);
            let _ = tokio::io::copy(&mut from, &mut to).await;
            let _ = to.shutdown().await;
        })
    };
    let _other = silent.instance_of(&net, 8, echo).await;
    let name = silent.onion().to_string();
    for said in [&b"\x16\x03\x01 no http"[..], b"EHLO x\r\n", b"GET /no line end"] {
        let mut socket = Socks5Stream::connect(side.addr(), name.clone(), 22, Config::default()).await.unwrap();
        socket.write_all(said).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut back = Vec::new();
        socket.read_to_end(&mut back).await.unwrap();
        assert_eq!(back, said);
    }
}
