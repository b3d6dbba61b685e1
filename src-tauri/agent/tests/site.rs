//! The runtime of sites over an in-memory stream, spoken to in raw HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod common;

use common::{noise, site};
use fogbank_agent::{
    bundle::{Bundles, Limits},
    site::{Patience, Site},
};
use std::{path::Path, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    sync::watch,
    task::JoinHandle,
};

struct Served {
    site: Site,
    draining: watch::Sender<bool>,
    _kept: TempDir,
}

struct Response {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Response {
    fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().skip(1).find(|l| l.split(':').next().is_some_and(|n| n.eq_ignore_ascii_case(name)))?;
        Some(line.split_once(':')?.1.trim())
    }
}

impl Served {
    async fn new(folder: &Path) -> Self {
        let kept = tempfile::tempdir().unwrap();
        let bundles = Bundles::open(kept.path()).await.unwrap();
        let bundle = bundles.import(folder, &Limits::default(), |_| ()).await.unwrap();
        let site = Site::open(&bundles, bundle.id).await.unwrap();
        Self { site, draining: watch::Sender::new(false), _kept: kept }
    }

    fn connect(&self) -> (DuplexStream, JoinHandle<()>) {
        let (near, far) = duplex(16 << 10);
        let (site, draining) = (self.site.clone(), self.draining.subscribe());
        (near, tokio::spawn(async move { site.serve(far, draining).await }))
    }

    /// Sends these bytes as they are and reads to the end.
    async fn raw(&self, request: &[u8]) -> Vec<u8> {
        let (stream, _) = self.connect();
        let (mut from, mut to) = tokio::io::split(stream);
        let send = async {
            // The answer may come before all is said.
            let _ = to.write_all(request).await;
            let _ = to.shutdown().await;
        };
        let mut back = Vec::new();
        let (_, read) = tokio::join!(send, from.read_to_end(&mut back));
        read.unwrap();
        back
    }

    async fn ask(&self, line: &str, headers: &str) -> Response {
        let request = format!("{line} HTTP/1.1\r\nHost: x.onion\r\nConnection: close\r\n{headers}\r\n");
        parse(&self.raw(request.as_bytes()).await)
    }

    async fn get(&self, path: &str) -> Response {
        self.ask(&format!("GET {path}"), "").await
    }
}

fn parse(bytes: &[u8]) -> Response {
    let end = bytes
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("no head: {:?}", String::from_utf8_lossy(bytes)));
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Response { status, head, body: bytes[end + 4..].to_vec() }
}

/// Reads one response with a length from a connection that stays open.
async fn next(stream: &mut DuplexStream) -> Response {
    let mut bytes = Vec::new();
    loop {
        bytes.push(stream.read_u8().await.unwrap());
        if bytes.ends_with(b"\r\n\r\n") {
            let mut response = parse(&bytes);
            let length: usize = response.header("content-length").unwrap().parse().unwrap();
            response.body = vec![0; length];
            stream.read_exact(&mut response.body).await.unwrap();
            return response;
        }
    }
}

#[tokio::test]
async fn files_folders_and_types() {
    let picture = noise(b"p", 100_000);
    let served = Served::new(
        site(&[
            ("index.html", b"front"),
            ("docs/index.html", b"docs"),
            ("a b/\u{fc}.css", b"p{}"),
            ("p.png", &picture),
            ("app.wasm", b"\0asm"),
            ("empty.txt", b""),
            ("odd.xyzzy", b"?"),
        ])
        .path(),
    )
    .await;
    for (path, kind, content) in [
        ("/", "text/html; charset=utf-8", &b"front"[..]),
        ("/index.html", "text/html; charset=utf-8", b"front"),
        ("/docs/", "text/html; charset=utf-8", b"docs"),
        ("/a%20b/%C3%BC.css?v=1", "text/css; charset=utf-8", b"p{}"),
        ("/p.png", "image/png", &picture),
        ("/app.wasm", "application/wasm", b"\0asm"),
        ("/empty.txt", "text/plain; charset=utf-8", b""),
        ("/odd.xyzzy", "application/octet-stream", b"?"),
        ("http://x.onion/docs/", "text/html; charset=utf-8", b"docs"),
    ] {
        let response = served.get(path).await;
        assert_eq!((response.status, response.header("content-type")), (200, Some(kind)), "{path}");
        assert!(response.body == content, "{path}");
        assert_eq!(response.header("content-length").unwrap(), content.len().to_string(), "{path}");
    }
    let moved = served.get("/docs?a=b").await;
    assert_eq!((moved.status, moved.header("location")), (301, Some("/docs/?a=b")));
    for (path, status) in
        [("/nothing", 404), ("/../index.html", 404), ("/%2e%2e%2fetc/passwd", 404), ("/a%zz", 400), ("/%00", 400)]
    {
        assert_eq!(served.get(path).await.status, status, "{path}");
    }
    assert!(served.site.requests() > 10);
}

#[tokio::test]
async fn the_sites_own_page_for_what_is_missing() {
    let served = Served::new(site(&[("index.html", b"front"), ("404.html", b"<p>gone fishing</p>")]).path()).await;
    let response = served.get("/nothing").await;
    assert_eq!((response.status, response.body.as_slice()), (404, &b"<p>gone fishing</p>"[..]));
    assert_eq!(response.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(served.get("/404.html").await.status, 200);
    let head = served.ask("HEAD /nothing", "").await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (404, Some("19"), 0));
}

#[tokio::test]
async fn ranges_and_conditions() {
    let content = noise(b"c", 200_000);
    let served = Served::new(site(&[("index.html", b"front"), ("c.bin", &content)]).path()).await;
    let whole = served.get("/c.bin").await;
    let tag = whole.header("etag").unwrap().to_owned();
    assert!(tag.starts_with('"') && tag.len() == 34 && whole.body == content);
    assert_eq!((whole.header("accept-ranges"), whole.header("last-modified")), (Some("bytes"), None));

    for (range, expected) in
        [("0-0", 0..1), ("1000-66000", 1_000..66_001), ("199999-", 199_999..200_000), ("-70000", 130_000..200_000)]
    {
        let part = served.ask("GET /c.bin", &format!("Range: bytes={range}\r\n")).await;
        let said = format!("bytes {}-{}/200000", expected.start, expected.end - 1);
        assert_eq!((part.status, part.header("content-range")), (206, Some(said.as_str())), "{range}");
        assert!(part.body == content[expected], "{range}");
    }
    let beyond = served.ask("GET /c.bin", "Range: bytes=200000-\r\n").await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */200000")));
    let several = served.ask("GET /c.bin", "Range: bytes=0-1,5-6\r\n").await;
    assert_eq!((several.status, several.body.len()), (200, 200_000));
    let head = served.ask("HEAD /c.bin", "Range: bytes=0-1\r\n").await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("200000"), 0));

    let same = served.ask("GET /c.bin", &format!("If-None-Match: \"x\", W/{tag}\r\n")).await;
    assert_eq!((same.status, same.body.len(), same.header("etag")), (304, 0, Some(tag.as_str())));
    assert_eq!(served.ask("GET /c.bin", "If-None-Match: \"x\"\r\n").await.status, 200);
    assert_eq!(served.ask("GET /c.bin", "If-Match: \"x\"\r\n").await.status, 412);
    let going_on = served.ask("GET /c.bin", &format!("Range: bytes=5-6\r\nIf-Range: {tag}\r\n")).await;
    assert_eq!((going_on.status, going_on.body.as_slice()), (206, &content[5..7]));
    let changed = served.ask("GET /c.bin", "Range: bytes=5-6\r\nIf-Range: \"x\"\r\n").await;
    assert_eq!((changed.status, changed.body.len()), (200, 200_000));
}

#[tokio::test]
async fn only_reading_and_nothing_of_the_host_is_told() {
    let served = Served::new(site(&[("index.html", b"front")]).path()).await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"] {
        let response = served.ask(&format!("{method} /"), "Content-Length: 4\r\n").await;
        assert_eq!((response.status, response.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    for response in [served.get("/").await, served.get("/none").await] {
        let known = ["content-type", "content-length", "etag", "accept-ranges", "x-content-type-options", "connection"];
        for line in response.head.lines().skip(1) {
            let name = line.split(':').next().unwrap().to_lowercase();
            assert!(known.contains(&name.as_str()), "{line}");
        }
    }
    // What is no HTTP is answered or closed, and nothing breaks.
    for garbage in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let back = served.raw(garbage).await;
        assert!(back.is_empty() || parse(&back).status >= 400, "{:?}", String::from_utf8_lossy(&back));
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100_000));
    assert!(parse(&served.raw(long.as_bytes()).await).status >= 400);
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X-A: b\r\n".repeat(65));
    assert_eq!(parse(&served.raw(many.as_bytes()).await).status, 431);
    assert_eq!(served.get("/").await.status, 200);
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way_and_closes_what_is_idle() {
    let large = noise(b"d", 1 << 20);
    let served = Served::new(site(&[("index.html", b"front"), ("large", &large)]).path()).await;
    const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let (mut idle, idle_done) = served.connect();
    idle.write_all(ASK).await.unwrap();
    assert_eq!(next(&mut idle).await.header("connection"), None);
    let (mut long, long_done) = served.connect();
    long.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut start = vec![0; 1_000];
    long.read_exact(&mut start).await.unwrap();
    let (mut late, _late_done) = served.connect();

    served.draining.send_replace(true);
    // A request on a connection that was opened before is served, and asked to be the last one.
    late.write_all(ASK).await.unwrap();
    let response = next(&mut late).await;
    assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    assert_eq!(late.read(&mut [0]).await.unwrap(), 0, "then it is closed");
    tokio::time::timeout(Duration::from_secs(10), idle_done).await.expect("the idle one is closed").unwrap();
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
    assert!(!long_done.is_finished(), "the long one goes on");
    let mut rest = Vec::new();
    long.read_to_end(&mut rest).await.unwrap();
    let whole = [start, rest].concat();
    assert!(parse(&whole).body == large);
    // And one that comes later still is served.
    assert_eq!(served.get("/").await.status, 200);
}

#[tokio::test]
async fn who_says_or_reads_nothing_is_let_go() {
    let mut served = Served::new(site(&[("index.html", b"front"), ("large", &noise(b"n", 1 << 20))]).path()).await;
    let short = Duration::from_millis(200);
    served.site = served.site.with_patience(Patience { head: short, write: short, drain: short });
    let (mute, mute_done) = served.connect();
    let (mut deaf, deaf_done) = served.connect();
    deaf.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let (mut slow, slow_done) = served.connect();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
    for (who, done) in [("mute", mute_done), ("deaf", deaf_done), ("slow", slow_done)] {
        tokio::time::timeout(Duration::from_secs(10), done).await.expect(who).unwrap();
    }
    drop((mute, deaf, slow));
}

/// A gigabyte through one connection. Run by hand: `cargo test --test site -- --ignored --nocapture`; prints the most memory it took.
#[cfg(target_os = "linux")]
#[ignore = "takes a gigabyte of disk; measured by hand"]
#[tokio::test]
async fn memory_does_not_grow_with_the_file() {
    let folder = site(&[("index.html", b"front")]);
    let file = std::fs::File::create(folder.path().join("huge")).unwrap();
    file.set_len(1 << 30).unwrap();
    let served = Served::new(folder.path()).await;
    let peak = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = peak();
    let began = std::time::Instant::now();
    let (mut stream, _) = served.connect();
    stream.write_all(b"GET /huge HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut buffer = vec![0; 64 << 10];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => break,
            n => total += n,
        }
    }
    assert!(total > 1 << 30);
    let rate = total as f64 / began.elapsed().as_secs_f64() / 1e6;
    assert!(peak() < before + 20_000, "{} kB before, {} kB after, {rate:.0} MB/s", before, peak());
    eprintln!("import peak {before} kB, serve peak {} kB, {rate:.0} MB/s", peak());
}
