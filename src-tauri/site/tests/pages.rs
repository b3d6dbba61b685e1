//! Requests to a site whose contents lie in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use bytes::Bytes;
use fogbank_site::{Body, Entry, Files, Limits, Manifest, Part, respond};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response};
use std::{convert::Infallible, ops::Range};

struct Memory {
    manifest: Manifest,
    contents: Vec<Vec<u8>>,
}

impl Memory {
    fn of(files: &[(&str, &[u8])]) -> Self {
        let mut files = files.to_vec();
        files.sort_unstable();
        let part = |(n, (path, content)): (usize, &(&str, &[u8]))| Part {
            path: (*path).to_owned(),
            bytes: content.len() as u64,
            blob: n as u32,
        };
        let hashes = files.iter().map(|(_, content)| *blake3::hash(content).as_bytes()).collect();
        let manifest = Manifest::build(files.iter().enumerate().map(part).collect(), hashes);
        let manifest = Manifest::decode(&manifest.encode().unwrap(), &Limits::default()).unwrap();
        Self { manifest, contents: files.iter().map(|(_, content)| content.to_vec()).collect() }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let Ok(response) = respond(self, &parts).await;
        let (head, body) = response.into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    }

    async fn get(&self, path: &str) -> Response<Bytes> {
        self.ask("GET", path, &[]).await
    }
}

impl Files for Memory {
    type Error = Infallible;

    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    async fn open(&self, entry: &Entry, range: Range<u64>) -> Result<Body, Infallible> {
        assert!(!range.is_empty() && range.end <= entry.bytes());
        let bytes = self.contents[entry.blob()][range.start as usize..range.end as usize].to_vec();
        Ok(Full::from(bytes).map_err(|never| match never {}).boxed_unsync())
    }
}

fn header<'r>(response: &'r Response<Bytes>, name: &str) -> Option<&'r str> {
    response.headers().get(name).map(|v| v.to_str().unwrap())
}

#[tokio::test]
async fn files_folders_and_types() {
    let picture = vec![7; 100_000];
    let site = Memory::of(&[
        ("index.html", b"front"),
        ("docs/index.html", b"docs"),
        ("a b/\u{fc}.css", b"p{}"),
        ("p.png", &picture),
        ("app.wasm", b"\0asm"),
        ("empty.txt", b""),
        ("odd.xyzzy", b"?"),
    ]);
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
        let response = site.get(path).await;
        assert_eq!((response.status().as_u16(), header(&response, "content-type")), (200, Some(kind)), "{path}");
        assert!(response.body() == content, "{path}");
        assert_eq!(header(&response, "content-length").unwrap(), content.len().to_string(), "{path}");
    }
    let moved = site.get("/docs?a=b").await;
    assert_eq!((moved.status().as_u16(), header(&moved, "location")), (301, Some("/docs/?a=b")));
    for (path, status) in
        [("/nothing", 404), ("/../index.html", 404), ("/%2e%2e%2fetc/passwd", 404), ("/a%zz", 400), ("/%00", 400)]
    {
        assert_eq!(site.get(path).await.status(), status, "{path}");
    }
}

#[tokio::test]
async fn the_sites_own_page_for_what_is_missing() {
    let site = Memory::of(&[("index.html", b"front"), ("404.html", b"<p>gone fishing</p>")]);
    let response = site.get("/nothing").await;
    assert_eq!((response.status().as_u16(), &response.body()[..]), (404, &b"<p>gone fishing</p>"[..]));
    assert_eq!(header(&response, "content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(site.get("/404.html").await.status(), 200);
    let head = site.ask("HEAD", "/nothing", &[]).await;
    assert_eq!((head.status().as_u16(), header(&head, "content-length"), head.body().len()), (404, Some("19"), 0));
}

#[tokio::test]
async fn ranges_and_conditions() {
    let content: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let site = Memory::of(&[("index.html", b"front"), ("c.bin", &content)]);
    let whole = site.get("/c.bin").await;
    let tag = header(&whole, "etag").unwrap().to_owned();
    assert!(tag.starts_with('"') && tag.len() == 34 && whole.body() == &content);
    assert_eq!((header(&whole, "accept-ranges"), header(&whole, "last-modified")), (Some("bytes"), None));
    for (range, expected) in
        [("0-0", 0..1), ("1000-66000", 1_000..66_001), ("199999-", 199_999..200_000), ("-70000", 130_000..200_000)]
    {
        let part = site.ask("GET", "/c.bin", &[("range", &format!("bytes={range}"))]).await;
        let said = format!("bytes {}-{}/200000", expected.start, expected.end - 1);
        assert_eq!((part.status().as_u16(), header(&part, "content-range")), (206, Some(said.as_str())), "{range}");
        assert!(part.body() == &content[expected], "{range}");
    }
    let beyond = site.ask("GET", "/c.bin", &[("range", "bytes=200000-")]).await;
    assert_eq!((beyond.status().as_u16(), header(&beyond, "content-range")), (416, Some("bytes */200000")));
    let several = site.ask("GET", "/c.bin", &[("range", "bytes=0-1,5-6")]).await;
    assert_eq!((several.status().as_u16(), several.body().len()), (200, 200_000));
    let head = site.ask("HEAD", "/c.bin", &[("range", "bytes=0-1")]).await;
    assert_eq!((head.status().as_u16(), header(&head, "content-length"), head.body().len()), (200, Some("200000"), 0));

    let same = site.ask("GET", "/c.bin", &[("if-none-match", &format!("\"x\", W/{tag}"))]).await;
    assert_eq!((same.status().as_u16(), same.body().len(), header(&same, "etag")), (304, 0, Some(tag.as_str())));
    assert_eq!(site.ask("GET", "/c.bin", &[("if-none-match", "\"x\"")]).await.status(), 200);
    assert_eq!(site.ask("GET", "/c.bin", &[("if-match", "\"x\"")]).await.status(), 412);
    let going_on = site.ask("GET", "/c.bin", &[("range", "bytes=5-6"), ("if-range", &tag)]).await;
    assert_eq!((going_on.status().as_u16(), &going_on.body()[..]), (206, &content[5..7]));
    let changed = site.ask("GET", "/c.bin", &[("range", "bytes=5-6"), ("if-range", "\"x\"")]).await;
    assert_eq!((changed.status().as_u16(), changed.body().len()), (200, 200_000));
}

#[tokio::test]
async fn only_reading_and_nothing_of_anybody_is_told() {
    let site = Memory::of(&[("index.html", b"front")]);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"] {
        let response = site.ask(method, "/", &[]).await;
        assert_eq!((response.status().as_u16(), header(&response, "allow")), (405, Some("GET, HEAD")), "{method}");
    }
    for response in [site.get("/").await, site.get("/none").await] {
        let known = ["content-type", "content-length", "etag", "accept-ranges", "x-content-type-options"];
        let fence = ["referrer-policy", "content-security-policy", "cross-origin-resource-policy", "x-dns-prefetch-control"];
        let names: Vec<&str> = response.headers().keys().map(|name| name.as_str()).collect();
        assert!(names.iter().all(|name| known.contains(name) || fence.contains(name)), "{names:?}");
        assert!(fence.iter().all(|name| names.contains(name)), "nothing is loaded from elsewhere, and nobody is told: {names:?}");
        assert_eq!(header(&response, "x-dns-prefetch-control"), Some("off"), "links' names are not looked up");
        assert!(header(&response, "content-security-policy").is_some_and(|policy| policy.contains("webrtc 'block'")));
    }
}
