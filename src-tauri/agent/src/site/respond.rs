//! One request in, one response out: methods, conditions, ranges, and the content in pieces straight from the store.

use super::{
    Site,
    range::{Piece, names, piece, still},
    resolve::{Resolved, resolve},
};
use crate::bundle::{Entry, SALT_BYTES};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream::BoxStream};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Frame,
    header::{
        ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH,
        IF_NONE_MATCH, IF_RANGE, LOCATION, RANGE, X_CONTENT_TYPE_OPTIONS,
    },
};
use iroh_blobs::{Hash, api::proto::ExportRangesItem};
use std::{io, ops::Range};

/// Hex digits of an ETag: 128 bits tell two contents apart.
const TAG_CHARS: usize = 32;
/// The page for what is not there, when the site has none of its own.
const NOT_FOUND_PAGE: &str = "404.html";
/// Items that the store has ready are joined up to this many: it gives 1 KiB at a time, and frames of 32 KiB cost the connection less.
const JOINED: usize = 32;

pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Answers a request.
pub(crate) fn respond<B>(site: &Site, request: &Request<B>) -> Response<Body> {
    let head = match *request.method() {
        Method::GET => false,
        Method::HEAD => true,
        _ => {
            let mut response = words(StatusCode::METHOD_NOT_ALLOWED, "This site can only be read.", false);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
    };
    match resolve(site.manifest(), request.uri().path()) {
        Resolved::File(entry) => file(site, entry, request.headers(), head),
        Resolved::Folder { location } => {
            let location = match request.uri().query() {
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
        Resolved::Missing => missing(site, head),
        Resolved::Bad => words(StatusCode::BAD_REQUEST, "This address can't be read.", head),
    }
}

fn file(site: &Site, entry: &Entry, headers: &HeaderMap, head: bool) -> Response<Body> {
    let Some(hash) = site.hash(entry) else { return missing(site, head) };
    // Not the blob's hash itself: what names it among hosts is not the visitors' business.
    let tag = format!("\"{}\"", &Hash::new(hash.as_bytes()).to_hex()[..TAG_CHARS]);
    let header = |name: HeaderName| headers.get(name).map(HeaderValue::as_bytes);
    if header(IF_MATCH).is_some_and(|list| !names(list, &tag, false)) {
        return words(StatusCode::PRECONDITION_FAILED, "This file has changed.", head);
    }
    if header(IF_NONE_MATCH).is_some_and(|list| names(list, &tag, true)) {
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        put(&mut response, ETAG, &tag);
        return response;
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
            return response;
        }
    };
    let length = range.end - range.start;
    let mut response = Response::new(if head || length == 0 { empty() } else { content(site, hash, range.clone()) });
    *response.status_mut() = status;
    if status == StatusCode::PARTIAL_CONTENT {
        put(&mut response, CONTENT_RANGE, &format!("bytes {}-{}/{bytes}", range.start, range.end - 1));
    }
    put(&mut response, CONTENT_TYPE, site.manifest().content_type(entry));
    put(&mut response, ETAG, &tag);
    put(&mut response, ACCEPT_RANGES, "bytes");
    finish(response, length)
}

/// The site's own page for what is not there, else a plain one.
fn missing(site: &Site, head: bool) -> Response<Body> {
    let own = site.manifest().entry(NOT_FOUND_PAGE).and_then(|entry| Some((entry, site.hash(entry)?)));
    let Some((entry, hash)) = own else { return words(StatusCode::NOT_FOUND, "This page does not exist.", head) };
    let bytes = entry.bytes();
    let mut response = Response::new(if head || bytes == 0 { empty() } else { content(site, hash, 0..bytes) });
    *response.status_mut() = StatusCode::NOT_FOUND;
    put(&mut response, CONTENT_TYPE, site.manifest().content_type(entry));
    finish(response, bytes)
}

/// A built-in page. Plain text: it can hold nothing that runs.
fn words(status: StatusCode, text: &'static str, head: bool) -> Response<Body> {
    let text = format!("{text}\n");
    let length = text.len() as u64;
    let body = if head { empty() } else { Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync() };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    put(&mut response, CONTENT_TYPE, "text/plain; charset=utf-8");
    finish(response, length)
}

fn finish(mut response: Response<Body>, length: u64) -> Response<Body> {
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    // A file is what its name says: a picture that looks like a page is not run as one.
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn put(response: &mut Response<Body>, name: HeaderName, value: &str) {
    // The values are digits, hashes, and content types that the manifest's check has found printable.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Bytes of a blob. The store reads on as the connection takes them, so memory does not grow with the file.
fn content(site: &Site, hash: Hash, range: Range<u64>) -> Body {
    let salted = range.start + SALT_BYTES as u64..range.end + SALT_BYTES as u64;
    let items: BoxStream<'static, ExportRangesItem> = Box::pin(site.store().blobs().export_ranges(hash, salted).stream());
    let frames = items.ready_chunks(JOINED).map(|items| {
        let mut frame = BytesMut::new();
        for item in items {
            match item {
                ExportRangesItem::Data(leaf) => frame.extend_from_slice(&leaf.data),
                ExportRangesItem::Size(_) => {}
                ExportRangesItem::Error(error) => {
                    tracing::warn!(%error, "a file of a bundle can't be read");
                    return Err(io::Error::other("the content can't be read"));
                }
            }
        }
        Ok(Frame::data(frame.freeze()))
    });
    StreamBody::new(frames).boxed_unsync()
}
