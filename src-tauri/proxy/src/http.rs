//! HTTP/1.1 as a proxy speaks it: `CONNECT name:port` and `GET http://name/…`, with what `Proxy-Authorization` says as isolation.
//!
//! Invariant: a request that names no onion in its own line is answered with words. So a web page that has a browser send requests to this port
//! (whatever name it rebinds to this machine) reaches nothing: browsers send such requests in origin form, and neither CONNECT nor the absolute form
//! can be had from a page.

use crate::{
    isolation::{self, Asker},
    page::{self, Trouble},
    pipe,
    port::Shared,
    target::{self, SITE_PORT},
    way::{self, First, Later, Way, rules},
};
use data_encoding::BASE64;
use fogbank_site::Body;
use hyper::{
    HeaderMap, Method, Request, Response,
    body::Incoming,
    header::{CONNECTION, HOST, HeaderValue, PROXY_AUTHORIZATION},
    http::uri::Scheme,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, io, sync::Arc};
use tokio::net::TcpStream;

pub(crate) async fn serve(socket: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    let later = Later::default();
    let service = service_fn(|request: Request<Incoming>| {
        let (shared, later) = (shared.clone(), later.clone());
        async move { Ok::<_, Infallible>(answer(request, shared, later).await) }
    });
    rules().serve_connection(TokioIo::new(socket), service).with_upgrades().await.map_err(io::Error::other)?;
    later.run().await;
    Ok(())
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>, later: Later) -> Response<Body> {
    let head = request.method() == Method::HEAD;
    let connect = request.method() == Method::CONNECT;
    let Some(name) = request.uri().host().filter(|_| connect || request.uri().scheme().is_some()) else {
        return closing(page::of(&Trouble::NotAProxyRequest, head));
    };
    let Some(onion) = target::onion(name) else { return closing(page::of(&Trouble::NotAnOnion, head)) };
    let Some(asker) = asker(request.headers()) else { return closing(page::of(&Trouble::BadUser, head)) };
    let way = Way::new(shared, onion, asker);
    if connect { connected(request, way, &later).await } else { absolute(request, way, &later).await }
}

/// Who asks for what is never given, a web page that tries this port for one, keeps no place by it.
fn closing(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Who asks; `None` when a user name is given that can't be read: it must not pass for none, or what was to be apart would be
/// together.
fn asker(headers: &HeaderMap) -> Option<Asker> {
    let mut values = headers.get_all(PROXY_AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Some(Asker::default()) };
    if values.next().is_some() {
        return None;
    }
    let (scheme, coded) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64.decode(coded.trim().as_bytes()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    (user.len() <= isolation::MAX_BYTES && password.len() <= isolation::MAX_BYTES).then(|| Asker::new(user, password))
}

/// `http://name/path`: this connection may ask for another address next.
async fn absolute(mut request: Request<Incoming>, way: Way, later: &Later) -> Response<Body> {
    let head = request.method() == Method::HEAD;
    let uri = request.uri();
    let port = uri.port_u16().unwrap_or(SITE_PORT);
    if uri.scheme() != Some(&Scheme::HTTP) {
        return page::of(&Trouble::NotHttp, head);
    }
    // RFC 9112, 3.2.2: the name in the line counts, whatever `Host` says.
    let authority = uri.authority().map(|a| a.as_str().rsplit('@').next().unwrap_or_default().to_owned());
    let Some(Ok(host)) = authority.map(HeaderValue::try_from) else { return page::of(&Trouble::BadRequest, head) };
    request.headers_mut().insert(HOST, host);
    if port == SITE_PORT {
        return way.answer(request, None, later).await;
    }
    match way.first().await {
        First::Known => page::of(&Trouble::OtherPort, head),
        First::Opened(opened) if opened.seal.is_some() => page::of(&Trouble::OtherPort, head),
        first => way.answer(request, Some(first), later).await,
    }
}

/// `CONNECT name:port`: a stream, as with SOCKS5. What can't be opened is said in the answer.
async fn connected(request: Request<Incoming>, way: Way, later: &Later) -> Response<Body> {
    let site_port = request.uri().port_u16() == Some(SITE_PORT);
    let first = way.first().await;
    let trouble = match &first {
        First::NoFog => Some(Trouble::NoFog),
        First::Failed(error) => Some(Trouble::Connect(error.clone())),
        First::Known if !site_port => Some(Trouble::OtherPort),
        First::Opened(opened) if opened.seal.is_some() && !site_port => Some(Trouble::OtherPort),
        First::Known | First::Opened(_) => None,
    };
    if let Some(trouble) = trouble {
        return page::of(&trouble, false);
    }
    later.put(async move {
        match hyper::upgrade::on(request).await {
            Ok(upgraded) => match first {
                First::Opened(opened) if opened.seal.is_none() => pipe::app(TokioIo::new(upgraded), way, opened).await,
                first => way::serve(TokioIo::new(upgraded), way, first).await,
            },
            Err(error) => tracing::debug!(%error, "a program left after CONNECT"),
        }
    });
    Response::new(fogbank_site::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_that_cannot_be_read_is_no_anonymous_one() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(PROXY_AUTHORIZATION, HeaderValue::from_static(value));
            asker(&headers)
        };
        assert_eq!(asker(&HeaderMap::new()), Some(Asker::default()));
        assert_eq!(of("Basic YWxpY2U6c2VjcmV0"), Some(Asker::new("alice", "secret")));
        assert_eq!(of("basic YWxpY2U6"), Some(Asker::new("alice", "")));
        for bad in ["Basic", "Basic !!!", "Basic YWxpY2U=", "Bearer YWxpY2U6", ""] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
