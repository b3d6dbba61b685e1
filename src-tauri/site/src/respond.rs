//! One request in, one response out: methods, conditions, ranges. Where contents come from is not decided here.

use crate::{
    manifest::{Entry, Manifest},
    range::{Piece, names, piece, still},
    resolve::{Resolved, resolve},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    header::{
        ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName,
        HeaderValue, IF_MATCH, IF_NONE_MATCH, IF_RANGE, LOCATION, RANGE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    },
    http::request::Parts,
};
use std::{fmt::Write as _, io, ops::Range};

/// Hex digits of an ETag: 128 bits tell two contents apart.
const TAG_CHARS: usize = 32;
/// The page for what is not there, when the site has none of its own.
const NOT_FOUND_PAGE: &str = "404.html";
/// The content of a response.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The files of a site, from wherever they come.
pub trait Files: Sync {
    /// Why a content can't be had.
    type Error;

    /// What the site consists of.
    fn manifest(&self) -> &Manifest;

    /// Bytes of a file; the range is not empty and not beyond its end. Comes back when the first of them are there and good.
    fn open(&self, entry: &Entry, range: Range<u64>) -> impl Future<Output = Result<Body, Self::Error>> + Send;
}

/// Answers a request.
///
/// # Errors
/// When the content can't be had.
pub async fn respond<F: Files>(site: &F, request: &Parts) -> Result<Response<Body>, F::Error> {
    let head = match request.method {
        Method::GET => false,
        Method::HEAD => true,
        _ => {
            let mut response = words(StatusCode::METHOD_NOT_ALLOWED, "This site can only be read.", false);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Ok(response);
        }
    };
    Ok(match resolve(site.manifest(), request.uri.path()) {
        Resolved::File(entry) => return file(site, entry, &request.headers, head).await,
        Resolved::Missing => return missing(site, head).await,
        Resolved::Folder { location } => {
            let location = match request.uri.query() {
                Some(query) => format!("{location}?{query}"),
                None => location,
            };
            let mut response = words(StatusCode::MOVED_PERMANENTLY, "This page is a folder.", head);
            match HeaderValue::try_from(location) {
                Ok(location) => {
                    response.headers_mut().insert(LOCATION, location);
                    response
                }
                Err(_) => words(StatusCode::BAD_REQUEST, "This address can't be read.", head),
            }
        }
        Resolved::Bad => words(StatusCode::BAD_REQUEST, "This address can't be read.", head),
    })
}

async fn file<F: Files>(site: &F, entry: &Entry, headers: &HeaderMap, head: bool) -> Result<Response<Body>, F::Error> {
    let hash = site.manifest().content(entry.blob()).copied().unwrap_or_default();
    let tag = tag(&hash);
    let header = |name: HeaderName| headers.get(name).map(HeaderValue::as_bytes);
    if header(IF_MATCH).is_some_and(|list| !names(list, &tag, false)) {
        return Ok(words(StatusCode::PRECONDITION_FAILED, "This file has changed.", head));
    }
    if header(IF_NONE_MATCH).is_some_and(|list| names(list, &tag, true)) {
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        put(&mut response, ETAG, &tag);
        return Ok(response);
    }
    // Ranges are defined for GET alone.
    let wanted = if head || !still(header(IF_RANGE), &tag) { Piece::Whole } else { piece(header(RANGE), entry.bytes()) };
    let bytes = entry.bytes();
    let (status, range) = match wanted {
        Piece::Whole => (StatusCode::OK, 0..bytes),
        Piece::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Piece::Beyond => {
            let mut response = words(StatusCode::RANGE_NOT_SATISFIABLE, "This file ends before.", head);
            put(&mut response, CONTENT_RANGE, &format!("bytes */{bytes}"));
            return Ok(response);
        }
    };
    let length = range.end - range.start;
    let mut response = Response::new(if head || length == 0 { empty() } else { site.open(entry, range.clone()).await? });
    *response.status_mut() = status;
    if status == StatusCode::PARTIAL_CONTENT {
        put(&mut response, CONTENT_RANGE, &format!("bytes {}-{}/{bytes}", range.start, range.end - 1));
    }
    put(&mut response, CONTENT_TYPE, site.manifest().content_type(entry));
    put(&mut response, ETAG, &tag);
    put(&mut response, ACCEPT_RANGES, "bytes");
    Ok(finish(response, length))
}

/// An entity tag: half of the content's hash.
fn tag(hash: &[u8; 32]) -> String {
    let mut tag = String::with_capacity(TAG_CHARS + 2);
    tag.push('"');
    for byte in &hash[..TAG_CHARS / 2] {
        // Writing to a String can't fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    tag
}

/// The site's own page for what is not there, else a plain one.
async fn missing<F: Files>(site: &F, head: bool) -> Result<Response<Body>, F::Error> {
    let Some(entry) = site.manifest().entry(NOT_FOUND_PAGE) else {
        return Ok(words(StatusCode::NOT_FOUND, "This page does not exist.", head));
    };
    let bytes = entry.bytes();
    let mut response = Response::new(if head || bytes == 0 { empty() } else { site.open(entry, 0..bytes).await? });
    *response.status_mut() = StatusCode::NOT_FOUND;
    put(&mut response, CONTENT_TYPE, site.manifest().content_type(entry));
    Ok(finish(response, bytes))
}

/// A built-in page. Plain text: it can hold nothing that runs.
pub fn words(status: StatusCode, text: &'static str, head: bool) -> Response<Body> {
    let text = format!("{text}\n");
    let length = text.len() as u64;
    let body = if head { empty() } else { Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync() };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    put(&mut response, CONTENT_TYPE, "text/plain; charset=utf-8");
    finish(response, length)
}

/// A site is what its publisher signed: all of it comes from there, and no script opens a channel beside the proxy. What no header can forbid:
/// that a page goes elsewhere, by a link or by itself, and that it has a browser open a connection beforehand (`preconnect`).
const FENCE: &str =
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; form-action 'self'; frame-ancestors 'self'; webrtc 'block'";
/// Else browsers look up the names in a page's links before anybody follows one.
const PREFETCH: HeaderName = HeaderName::from_static("x-dns-prefetch-control");

fn finish(mut response: Response<Body>, length: u64) -> Response<Body> {
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    // A file is what its name says: a picture that looks like a page is not run as one.
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Where a visitor goes next does not learn the address, which of a private site nobody is to know; nothing is loaded from elsewhere and no
    // link's name looked up, which a browser that sends onions alone through the proxy would ask for from its own address; and no other page
    // embeds this one to find out whether it opens.
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(FENCE));
    response.headers_mut().insert(PREFETCH, HeaderValue::from_static("off"));
    response
        .headers_mut()
        .insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    response
}

fn put(response: &mut Response<Body>, name: HeaderName, value: &str) {
    // The values are digits, hashes, and content types that the manifest's check has found printable.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// No content.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}
