//! HTTP to an app, whose content can't be checked: passed on as it comes, in both directions, without being gathered.
//!
//! Invariants: what is passed on is framed anew from what was understood, so that browser and app can't take one message for two; headers that
//! concern one connection end here, and the proxy's own (its user name) never reach the app; a request without content by a method that changes
//! nothing (RFC 9110, 9.2.2: GET, HEAD, OPTIONS) is sent again to another copy when the way breaks before the head of its response, others never.
//! Deliberately absent: changing or keeping what an app answers.

use crate::{
    page::Trouble,
    pool::Sender,
    way::{Later, Way},
};
use fogbank_betanet::tunnel::Stream;
use fogbank_site::{Body, empty};
use http_body_util::BodyExt as _;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri,
    body::{Body as _, Incoming},
    client::conn::http1,
    header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE},
    http::request::Parts,
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use std::{io, pin::pin, time::Duration};
use tokio::{io::copy_bidirectional_with_sizes, sync::watch, time::sleep};

/// Times that a request which may be repeated is sent: a kept connection that was stale, a copy that died, its replacement, and one to spare.
const MAX_TRIES: u32 = 4;
/// For the head of a response, from the last that was sent of its request: servers' own limits are about a minute.
const HEAD_WAIT: Duration = Duration::from_secs(120);
/// Headers of a response, and bytes of its head: what browsers take.
const MAX_HEADERS: usize = 128;
const MAX_BUFFER_BYTES: usize = 64 << 10;
/// What is read at once in each direction once HTTP is over: some packets' worth.
pub(crate) const COPY_BYTES: usize = 32 << 10;

/// Headers of one connection (RFC 9110, 7.6.1) and of proxies.
const HOP: [HeaderName; 4] = [CONNECTION, TE, TRANSFER_ENCODING, UPGRADE];
const HOP_NAMES: [&str; 5] = ["keep-alive", "proxy-connection", "proxy-authorization", "proxy-authenticate", "trailer"];

/// Passes a request on and the response back. `stream` is fresh, when there is one already.
pub(crate) async fn forward(
    way: &Way,
    stream: Option<Stream>,
    request: Request<Incoming>,
    later: &Later,
) -> Result<Response<Body>, Trouble> {
    let (mut parts, body) = request.into_parts();
    let both = parts.headers.contains_key(CONTENT_LENGTH) && parts.headers.contains_key(TRANSFER_ENCODING);
    if both || matches!(parts.method, Method::TRACE | Method::CONNECT) {
        return Err(Trouble::BadRequest);
    }
    let upgrade = upgrade_of(&parts.headers);
    let browser = upgrade.is_some().then(|| parts.extensions.remove::<OnUpgrade>()).flatten();
    strip(&mut parts.headers);
    // Framed anew from the body that was understood; whether to go on sending, the proxy has said itself.
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(EXPECT);
    parts.uri = path_of(&parts.uri);
    if let Some(protocol) = upgrade.filter(|_| browser.is_some()) {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, protocol);
    }
    let again = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) && body.is_end_stream() && browser.is_none();
    let mut response = if again {
        repeatable(way, stream, &parts).await?
    } else {
        let mut sender = connect(fresh(way, stream).await?).await?;
        let (sent, progress) = watch::channel(());
        let body = body.map_frame(move |frame| {
            sent.send_replace(());
            frame
        });
        let request = Request::from_parts(parts, body.map_err(io::Error::other).boxed_unsync());
        let response = head(sender.send_request(request), progress).await?.map_err(broke)?;
        keep_when_ready(way, sender);
        response
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let (Some(browser), Some(app)) = (browser, response.extensions_mut().remove::<OnUpgrade>()) else {
            return Err(Trouble::App { why: "it changes to a protocol that was not asked for".to_owned() });
        };
        later.put(upgraded(browser, app));
        let protocol = upgrade_of(response.headers());
        strip(response.headers_mut());
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(protocol) = protocol {
            response.headers_mut().insert(UPGRADE, protocol);
        }
        return Ok(response.map(|_| empty()));
    }
    strip(response.headers_mut());
    Ok(response.map(|body| body.map_err(io::Error::other).boxed_unsync()))
}

/// Sends a request that may be repeated: once over a kept connection, then over fresh ones, as what was kept grows stale together.
async fn repeatable(way: &Way, mut stream: Option<Stream>, parts: &Parts) -> Result<Response<Incoming>, Trouble> {
    let mut tries = 0;
    loop {
        tries += 1;
        let kept = if tries == 1 && stream.is_none() { way.shared.pool.take(&way.key) } else { None };
        let mut sender = match kept {
            Some(sender) => sender,
            None => match connect(fresh(way, stream.take()).await?).await {
                Ok(sender) => sender,
                Err(_) if tries < MAX_TRIES => continue,
                Err(trouble) => return Err(trouble),
            },
        };
        let mut request = Request::new(empty());
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = parts.uri.clone();
        *request.headers_mut() = parts.headers.clone();
        // There is nothing to send but the head.
        match head(sender.send_request(request), watch::channel(()).1).await? {
            Ok(response) => {
                keep_when_ready(way, sender);
                return Ok(response);
            }
            // What an app says wrongly it says again.
            Err(error) if error.is_parse() || tries >= MAX_TRIES => return Err(broke(error)),
            Err(error) => tracing::debug!(%error, "a request is sent again"),
        }
    }
}

async fn fresh(way: &Way, stream: Option<Stream>) -> Result<Stream, Trouble> {
    match stream {
        Some(stream) => Ok(stream),
        None => {
            let opened = way.open().await?;
            // It was an app when the request began; what its hosts say as a site must be checked.
            if opened.seal.is_some() { Err(Trouble::Changed) } else { Ok(opened.stream) }
        }
    }
}

async fn connect(stream: Stream) -> Result<Sender, Trouble> {
    let mut rules = http1::Builder::new();
    rules.max_headers(MAX_HEADERS).max_buf_size(MAX_BUFFER_BYTES);
    let (sender, connection) = rules.handshake(TokioIo::new(stream)).await.map_err(broke)?;
    // Ends with the stream, of which a tunnel has a bounded number, or when both the sender and the response are dropped.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to an app ended");
        }
    });
    Ok(sender)
}

/// Waits for the head of a response for as long as the request's body gets on, and [`HEAD_WAIT`] then.
async fn head<T>(sending: impl Future<Output = T>, mut progress: watch::Receiver<()>) -> Result<T, Trouble> {
    let mut sending = pin!(sending);
    loop {
        tokio::select! {
            head = &mut sending => return Ok(head),
            Ok(()) = progress.changed() => {}
            () = sleep(HEAD_WAIT) => return Err(Trouble::Slow { seconds: HEAD_WAIT.as_secs() }),
        }
    }
}

fn broke(error: hyper::Error) -> Trouble {
    let why = if error.is_parse() { "it is no HTTP" } else { "the connection broke off" };
    tracing::debug!(%error, "an app gave no response");
    Trouble::App { why: why.to_owned() }
}

/// Keeps the connection once the response has been read to its end.
fn keep_when_ready(way: &Way, mut sender: Sender) {
    let way = way.clone();
    // Ends with the connection at the latest.
    tokio::spawn(async move {
        if sender.ready().await.is_ok() {
            way.shared.pool.keep(&way.key, sender);
        }
    });
}

async fn upgraded(browser: OnUpgrade, app: OnUpgrade) {
    match tokio::try_join!(browser, app) {
        Ok((browser, app)) => {
            let (mut browser, mut app) = (TokioIo::new(browser), TokioIo::new(app));
            if let Err(error) = copy_bidirectional_with_sizes(&mut browser, &mut app, COPY_BYTES, COPY_BYTES).await {
                tracing::debug!(%error, "an upgraded connection broke off");
            }
        }
        Err(error) => tracing::debug!(%error, "an upgrade came to nothing"),
    }
}

/// The protocol that a message changes to, when it does.
fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = tokens(headers).any(|token| token.eq_ignore_ascii_case("upgrade"));
    headers.get(UPGRADE).filter(|_| asked).cloned()
}

/// What `Connection` lists.
fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

/// Takes away what concerns one connection alone.
fn strip(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = tokens(headers).filter_map(|token| HeaderName::try_from(token).ok()).collect();
    for name in HOP.iter().chain(&listed) {
        headers.remove(name);
    }
    for name in HOP_NAMES {
        headers.remove(name);
    }
}

/// The path of an address: what an app's own server is asked for.
fn path_of(uri: &Uri) -> Uri {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    path.parse().unwrap_or_else(|_| Uri::from_static("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_one_connection_ends_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, X-Hop"),
            ("keep-alive", "timeout=5"),
            ("x-hop", "1"),
            ("x-stays", "1"),
            ("proxy-authorization", "Basic YWxpY2U6"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        assert_eq!(upgrade_of(&headers), None, "not listed, so not meant");
        strip(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-stays"]);
        headers.insert("connection", HeaderValue::from_static("Upgrade"));
        headers.insert("upgrade", HeaderValue::from_static("websocket"));
        assert_eq!(upgrade_of(&headers).unwrap(), "websocket");
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_may_take_long_while_it_gets_on() {
        let app = async |frames: u32| {
            let (sent, progress) = watch::channel(());
            let sending = async move {
                for _ in 0..frames {
                    sleep(HEAD_WAIT * 9 / 10).await;
                    sent.send_replace(());
                }
                drop(sent);
                sleep(HEAD_WAIT * 9 / 10).await;
            };
            head(sending, progress).await
        };
        assert!(app(0).await.is_ok() && app(5).await.is_ok());
        let (_sent, progress) = watch::channel(());
        let silent = head(sleep(HEAD_WAIT * 2), progress).await;
        assert!(matches!(silent, Err(Trouble::Slow { .. })), "{silent:?}");
    }

    #[test]
    fn an_address_becomes_its_path() {
        for (uri, path) in [("http://x.onion/a?b=c", "/a?b=c"), ("http://x.onion", "/"), ("/a", "/a"), ("*", "*")] {
            assert_eq!(path_of(&uri.parse().unwrap()), path, "{uri}");
        }
    }
}
