//! What is browsed, and a browser's way of loading it: a page of 40 objects, six connections that are kept, everything through a SOCKS5
//! proxy that resolves the name.
//!
//! Invariants: every byte that comes is compared with what was published, so nothing quick is wrong; each load is of files of their own,
//! because a visitor's proxy keeps small ones that it has verified.
//! Deliberately absent: trying again. What the product does not repair counts as it is.

use anyhow::{Context, Result, ensure};
use fast_socks5::client::{Config, Socks5Stream};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, Response, StatusCode,
    body::{Body as _, Bytes, Incoming},
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::timeout_at};

/// Bytes of a whole page.
const PAGE_BYTES: usize = 2_000_000;
/// Objects of a page, its HTML among them.
const OBJECTS: usize = 40;
/// Bytes of the HTML.
const HTML_BYTES: usize = 10_000;
/// Bytes of the bulk file.
const BULK_BYTES: usize = 32_000_000;
/// Connections that browsers open to one host.
const CONNECTIONS: usize = 6;

/// The front page, by which it is seen that a site serves.
const FRONT: &str = "index.html";

/// A path and its bytes.
type File = (String, Vec<u8>);

/// How much there is of what.
struct Plan {
    html: usize,
    objects: usize,
    object: usize,
    pages: usize,
    first_bytes: usize,
    bulk: usize,
}

/// A folder with pages and a bulk file, and its content at hand.
pub(crate) struct Content {
    /// To be published.
    pub(crate) folder: PathBuf,
    front: File,
    /// For a page load each: the HTML first.
    pages: Vec<Vec<File>>,
    /// For a first byte each.
    first: Vec<File>,
    bulk: Option<File>,
}

impl Content {
    /// A file by the path that is asked for.
    pub(crate) fn file(&self, path: &str) -> Option<&[u8]> {
        let path = path.trim_start_matches('/');
        let path = if path.is_empty() { FRONT } else { path };
        self.files().find(|(name, _)| name == path).map(|(_, bytes)| bytes.as_slice())
    }

    /// Pages and a bulk file such as the figures are about, for so many loads.
    pub(crate) fn full(folder: &Path, pages: usize, first_bytes: usize) -> Result<Arc<Self>> {
        let object = (PAGE_BYTES - HTML_BYTES) / (OBJECTS - 1);
        let plan = Plan { html: HTML_BYTES, objects: OBJECTS - 1, object, pages, first_bytes, bulk: BULK_BYTES };
        Self::make(folder, &plan)
    }

    /// Pages of few kilobytes, HTML and three objects, for so many loads.
    pub(crate) fn small(folder: &Path, pages: usize) -> Result<Arc<Self>> {
        Self::make(folder, &Plan { html: 2_000, objects: 3, object: 4_000, pages, first_bytes: 0, bulk: 0 })
    }

    fn make(folder: &Path, plan: &Plan) -> Result<Arc<Self>> {
        let front = (FRONT.to_owned(), html("front", plan.html));
        let page = |number: usize| -> Vec<File> {
            let html = (format!("{number}/page.html"), html(&format!("page {number}"), plan.html));
            let objects = (1..=plan.objects).map(|n| (format!("{number}/object-{n}.bin"), noise(plan.object)));
            [html].into_iter().chain(objects).collect()
        };
        let pages = (1..=plan.pages).map(page).collect();
        let first = (1..=plan.first_bytes).map(|n| (format!("first-{n}.html"), html(&format!("first {n}"), plan.html))).collect();
        let bulk = (plan.bulk > 0).then(|| ("bulk.bin".to_owned(), noise(plan.bulk)));
        let content = Self { folder: folder.to_owned(), front, pages, first, bulk };
        for (name, bytes) in content.files() {
            let path = folder.join(name);
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::write(path, bytes).with_context(|| format!("writing {name}"))?;
        }
        Ok(Arc::new(content))
    }

    fn files(&self) -> impl Iterator<Item = &File> {
        [&self.front].into_iter().chain(self.pages.iter().flatten()).chain(&self.first).chain(&self.bulk)
    }
}

/// An HTML text of so many bytes, with a title of its own.
fn html(title: &str, bytes: usize) -> Vec<u8> {
    let mut text = format!("<!doctype html><title>{title}</title><!--").into_bytes();
    text.resize(bytes - 3, b'.');
    text.extend_from_slice(b"-->");
    text
}

/// Bytes that nothing compresses.
fn noise(bytes: usize) -> Vec<u8> {
    use rand::Rng as _;
    let mut noise = vec![0; bytes];
    rand::rng().fill_bytes(&mut noise);
    noise
}

/// Some content at an address behind a proxy.
#[derive(Clone)]
pub(crate) struct Door {
    proxy: SocketAddr,
    host: String,
    content: Arc<Content>,
    /// Pages and first bytes that were loaded.
    loaded: Arc<[AtomicUsize; 2]>,
}

/// A connection that is kept.
type Kept = SendRequest<Empty<Bytes>>;

impl Door {
    pub(crate) fn new(proxy: SocketAddr, host: &str, content: Arc<Content>) -> Self {
        Self { proxy, host: host.to_owned(), content, loaded: Arc::default() }
    }

    /// Whether the front page comes.
    pub(crate) async fn serves(&self, deadline: Duration) -> Result<()> {
        self.file(&self.content.front, deadline).await.map(drop)
    }

    /// Seconds from opening a connection to the first byte of a small page; it is read to its end.
    pub(crate) async fn first_byte(&self, deadline: Duration) -> Result<f64> {
        let file = self.content.first.get(self.loaded[1].fetch_add(1, Relaxed)).context("no more small pages")?;
        self.file(file, deadline).await
    }

    async fn file(&self, (path, bytes): &File, deadline: Duration) -> Result<f64> {
        let began = Instant::now();
        let load = async {
            let mut connection = self.connect().await?;
            let response = ask(&mut connection, &self.host, path).await?;
            let first = began.elapsed();
            whole(response, bytes).await?;
            Ok(first.as_secs_f64())
        };
        tokio::time::timeout(deadline, load).await.with_context(|| format!("no {path} within {deadline:?}"))?
    }

    /// Seconds from opening the first connection to the last byte of the last object.
    pub(crate) async fn page(&self, deadline: Duration) -> Result<f64> {
        let number = self.loaded[0].fetch_add(1, Relaxed);
        ensure!(number < self.content.pages.len(), "no more pages");
        let began = Instant::now();
        tokio::time::timeout(deadline, self.load_page(number))
            .await
            .with_context(|| format!("no whole page within {deadline:?}"))??;
        Ok(began.elapsed().as_secs_f64())
    }

    async fn load_page(&self, number: usize) -> Result<()> {
        let page = &self.content.pages[number];
        let mut first = self.connect().await?;
        let html = ask(&mut first, &self.host, &page[0].0).await?;
        whole(html, &page[0].1).await?;
        let next = Arc::new(AtomicUsize::new(1));
        let mut connections = JoinSet::new();
        let mut first = Some(first);
        for _ in 0..CONNECTIONS.min(page.len() - 1) {
            let (door, next, kept) = (self.clone(), next.clone(), first.take());
            connections.spawn(async move {
                let mut connection = match kept {
                    Some(kept) => kept,
                    None => door.connect().await?,
                };
                while let Some((path, bytes)) = door.content.pages[number].get(next.fetch_add(1, Relaxed)) {
                    let response = ask(&mut connection, &door.host, path).await?;
                    whole(response, bytes).await.with_context(|| path.clone())?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(ended) = connections.join_next().await {
            ended.context("a connection's task")??;
        }
        Ok(())
    }

    /// MB (10⁶ bytes) a second of the bulk file, from opening the connection. What came within `most` counts when that ends first.
    pub(crate) async fn bulk(&self, most: Duration) -> Result<f64> {
        let (path, expected) = self.content.bulk.as_ref().context("this content has no bulk file")?;
        let began = Instant::now();
        let ends = tokio::time::Instant::now() + most;
        let mut connection = self.connect().await?;
        let response = ask(&mut connection, &self.host, path).await?;
        ensure!(response.status() == StatusCode::OK, "the bulk file is answered with {}", response.status());
        let mut body = response.into_body();
        let mut came = 0;
        while let Ok(Some(frame)) = timeout_at(ends, body.frame()).await {
            let Ok(bytes) = frame.context("the bulk file broke off")?.into_data() else { continue };
            ensure!(expected.get(came..came + bytes.len()) == Some(&bytes[..]), "the bulk file came back different at {came}");
            came += bytes.len();
        }
        ensure!(came == expected.len() || !body.is_end_stream(), "only {came} bytes of the bulk file came");
        Ok(came as f64 / 1e6 / began.elapsed().as_secs_f64())
    }

    async fn connect(&self) -> Result<Kept> {
        let stream = Socks5Stream::connect(self.proxy, self.host.clone(), 80, Config::default()).await.context("the proxy")?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.context("HTTP")?;
        // Ends when the sender is dropped or the other side closes; what fails shows at the requests.
        tokio::spawn(connection);
        Ok(sender)
    }
}

async fn ask(connection: &mut Kept, host: &str, path: &str) -> Result<Response<Incoming>> {
    let request = Request::get(format!("/{path}")).header("host", host).body(Empty::new())?;
    connection.ready().await.context("the connection was not kept")?;
    connection.send_request(request).await.with_context(|| format!("asking for {path}"))
}

async fn whole(response: Response<Incoming>, expected: &[u8]) -> Result<()> {
    ensure!(response.status() == StatusCode::OK, "answered with {}", response.status());
    let body = response.into_body().collect().await.context("it broke off")?.to_bytes();
    ensure!(body == expected, "{} bytes came back, or others than the {} published", body.len(), expected.len());
    Ok(())
}
