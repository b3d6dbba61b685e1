//! What is browsed, and a browser's way of loading it: a page of 40 objects, six connections that are kept, everything through a SOCKS5
//! proxy that resolves the name.
//!
//! Invariant: every byte that comes is compared with what was published, so nothing quick is wrong.
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

/// A folder with a page and a bulk file, and its content at hand.
pub(crate) struct Content {
    /// To be published.
    pub(crate) folder: PathBuf,
    /// Paths and bytes: the HTML first.
    page: Vec<(String, Vec<u8>)>,
    bulk: Option<(String, Vec<u8>)>,
}

impl Content {
    /// A file by the path that is asked for.
    pub(crate) fn file(&self, path: &str) -> Option<&[u8]> {
        let path = path.trim_start_matches('/');
        let path = if path.is_empty() { "index.html" } else { path };
        let all = self.page.iter().chain(&self.bulk);
        all.into_iter().find(|(name, _)| name == path).map(|(_, bytes)| bytes.as_slice())
    }

    /// The page and the bulk file that the figures are about.
    pub(crate) fn full(folder: &Path) -> Result<Arc<Self>> {
        let object = (PAGE_BYTES - HTML_BYTES) / (OBJECTS - 1);
        let bulk = ("bulk.bin".to_owned(), noise(BULK_BYTES));
        Self::make(folder, HTML_BYTES, OBJECTS - 1, object, Some(bulk))
    }

    /// A page of few kilobytes, for many loads: HTML and three objects.
    pub(crate) fn small(folder: &Path) -> Result<Arc<Self>> {
        Self::make(folder, 2_000, 3, 4_000, None)
    }

    fn make(folder: &Path, html: usize, objects: usize, object: usize, bulk: Option<(String, Vec<u8>)>) -> Result<Arc<Self>> {
        std::fs::create_dir_all(folder)?;
        let mut text = b"<!doctype html><title>A page</title><!--".to_vec();
        text.resize(html - 3, b'.');
        text.extend_from_slice(b"-->");
        let mut page = vec![("index.html".to_owned(), text)];
        page.extend((1..=objects).map(|n| (format!("object-{n}.bin"), noise(object))));
        for (name, bytes) in page.iter().chain(&bulk) {
            std::fs::write(folder.join(name), bytes).with_context(|| format!("writing {name}"))?;
        }
        Ok(Arc::new(Self { folder: folder.to_owned(), page, bulk }))
    }
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
}

/// A connection that is kept.
type Kept = SendRequest<Empty<Bytes>>;

impl Door {
    pub(crate) fn new(proxy: SocketAddr, host: &str, content: Arc<Content>) -> Self {
        Self { proxy, host: host.to_owned(), content }
    }

    /// Seconds from opening a connection to the first byte of the front page; the page is read to its end.
    pub(crate) async fn first_byte(&self, deadline: Duration) -> Result<f64> {
        let began = Instant::now();
        let load = async {
            let mut connection = self.connect().await?;
            let response = ask(&mut connection, &self.host, &self.content.page[0].0).await?;
            let first = began.elapsed();
            whole(response, &self.content.page[0].1).await?;
            Ok(first.as_secs_f64())
        };
        tokio::time::timeout(deadline, load).await.with_context(|| format!("no front page within {deadline:?}"))?
    }

    /// Seconds from opening the first connection to the last byte of the last object.
    pub(crate) async fn page(&self, deadline: Duration) -> Result<f64> {
        let began = Instant::now();
        tokio::time::timeout(deadline, self.load_page())
            .await
            .with_context(|| format!("no whole page within {deadline:?}"))??;
        Ok(began.elapsed().as_secs_f64())
    }

    async fn load_page(&self) -> Result<()> {
        let mut first = self.connect().await?;
        let html = ask(&mut first, &self.host, &self.content.page[0].0).await?;
        whole(html, &self.content.page[0].1).await?;
        let next = Arc::new(AtomicUsize::new(1));
        let mut connections = JoinSet::new();
        let mut first = Some(first);
        for _ in 0..CONNECTIONS.min(self.content.page.len() - 1) {
            let (door, next, kept) = (self.clone(), next.clone(), first.take());
            connections.spawn(async move {
                let mut connection = match kept {
                    Some(kept) => kept,
                    None => door.connect().await?,
                };
                while let Some((path, bytes)) = door.content.page.get(next.fetch_add(1, Relaxed)) {
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
