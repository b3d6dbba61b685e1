//! What local programs say to the proxy, and pages that have a browser say it: heads of SOCKS and HTTP, on a connection to a proxy that knows no
//! fog. So nothing is ever opened; what was understood is told by which refusal comes.

use fogbank_proxy::Proxy;
use std::{
    net::SocketAddr,
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::{Builder, Runtime},
    sync::watch,
    time::timeout,
};

/// Who has said all and ended its side is answered or left by then.
const SOON: Duration = Duration::from_secs(5);
const ONION: &str = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion";
/// The first byte of SOCKS5.
const SOCKS5: u8 = 5;

struct Door {
    runtime: Runtime,
    _proxy: Proxy,
    addr: SocketAddr,
}

/// A connection's task panicked: the runtime keeps that from us, so whoever runs a target must see it.
static PANICKED: AtomicBool = AtomicBool::new(false);

static DOOR: LazyLock<Door> = LazyLock::new(|| {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICKED.store(true, Relaxed);
        before(panic);
    }));
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let bound = Proxy::bind("127.0.0.1:0".parse().unwrap(), watch::channel(None).1);
    let proxy = runtime.block_on(bound).unwrap();
    Door { runtime, addr: proxy.addr(), _proxy: proxy }
});

/// Says this on a connection of its own and hears what comes back until the proxy ends it.
fn said(bytes: &[u8]) -> Vec<u8> {
    let talk = async {
        let (mut from, mut to) = TcpStream::connect(DOOR.addr).await.unwrap().into_split();
        let mut back = Vec::new();
        let say = async {
            // Refused before all was said.
            let _ = to.write_all(bytes).await;
            let _ = to.shutdown().await;
        };
        // A proxy that leaves what was said unread resets the connection; what came before that counts.
        let (_, _) = tokio::join!(say, from.read_to_end(&mut back));
        back
    };
    let back =
        DOOR.runtime.block_on(async { timeout(SOON, talk).await }).unwrap_or_else(|_| panic!("it neither answers nor ends"));
    assert!(!PANICKED.load(Relaxed), "the proxy panicked");
    back
}

pub(crate) fn socks_seeds() -> Vec<Vec<u8>> {
    let name = |name: &str, port: u16| {
        let length = u8::try_from(name.len()).unwrap();
        [&[5, 1, 0, 3, length], name.as_bytes(), &port.to_be_bytes()].concat()
    };
    let plain = |request: &[u8]| [&[5, 1, 0], request].concat();
    let page = [&name(ONION, 80)[..], format!("GET / HTTP/1.1\r\nHost: {ONION}\r\n\r\n").as_bytes()].concat();
    let user = [&[5, 2, 0, 2, 1, 5][..], b"alice", &[6], b"secret", &name(ONION, 443)].concat();
    vec![
        plain(&name(ONION, 80)),
        plain(&page),
        plain(&name(&format!("www.{ONION}."), 6_667)),
        user,
        plain(&name("example.org", 80)),
        plain(&[5, 1, 0, 1, 127, 0, 0, 1, 0, 80]),
    ]
}

/// SOCKS; whether an onion was understood.
pub(crate) fn socks(input: &[u8]) -> bool {
    let mut input = input.to_vec();
    let Some(first) = input.first_mut() else { return false };
    *first = SOCKS5;
    let back = said(&input);
    assert!(back.is_empty() || back[0] == SOCKS5, "{back:?}");
    let reply = match back.get(1) {
        Some(0) => back.get(2..),
        Some(2) => back.get(4..),
        _ => None,
    };
    // It succeeds, so that a page can say why there is nothing, or the network can't be reached.
    let understood = matches!(reply, Some([SOCKS5, 0 | 3, ..]));
    assert!(!understood || names_onion(&input), "another name passed");
    understood
}

pub(crate) fn http_seeds() -> Vec<Vec<u8>> {
    [
        format!("GET http://{ONION}/ HTTP/1.1\r\nHost: {ONION}\r\nConnection: close\r\n\r\n"),
        format!("HEAD http://a.{ONION}:80/b?c=%20 HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nRange: bytes=0-1\r\n\r\n"),
        format!("POST http://{ONION}/f HTTP/1.1\r\nHost: {ONION}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        format!("POST http://{ONION}/ HTTP/1.1\r\nHost: {ONION}\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc"),
        format!("CONNECT {ONION}:443 HTTP/1.1\r\nHost: {ONION}:443\r\nProxy-Authorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n"),
        format!("GET ws://{ONION}/ HTTP/1.1\r\nHost: {ONION}\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"),
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://evil.example\r\n\r\n".to_owned(),
    ]
    .map(String::into_bytes)
    .to_vec()
}

/// HTTP; whether an onion was understood.
pub(crate) fn http(input: &[u8]) -> bool {
    if input.first().is_none_or(|first| *first == SOCKS5) {
        return false;
    }
    let back = said(input);
    let status = back.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
    assert!(back.is_empty() || status.is_some_and(|s| matches!(s[0], b'4' | b'5')), "{}", String::from_utf8_lossy(&back));
    let understood = status == Some(b"503");
    assert!(!understood || names_onion(input), "another name passed");
    understood
}

fn names_onion(input: &[u8]) -> bool {
    input.windows(6).any(|six| six.eq_ignore_ascii_case(b".onion"))
}
