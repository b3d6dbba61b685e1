//! A connection to an app: HTTP when the program begins to speak it, else bytes, whatever they mean.

use crate::{
    app::COPY_BYTES,
    way::{self, First, HEAD_WAIT, Way},
};
use fogbank_betanet::client::Opened;
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf, copy_bidirectional_with_sizes},
    time::{Instant, sleep_until},
};

/// A first line longer than this is not waited for: no browser sends one.
const MAX_LINE_BYTES: usize = 16 << 10;
/// Methods are words of at most so many letters.
const MAX_METHOD_BYTES: usize = 16;

/// What the first bytes of a program are.
#[derive(Debug, PartialEq, Eq)]
enum Speaks {
    /// HTTP/1.
    Http,
    /// Something else.
    Bytes,
    /// That can't be told yet.
    Perhaps,
}

fn speaks(bytes: &[u8]) -> Speaks {
    let letters = bytes.iter().take_while(|b| b.is_ascii_uppercase()).count();
    let rest = bytes.get(letters..).unwrap_or_default();
    match rest {
        [] if letters <= MAX_METHOD_BYTES => return Speaks::Perhaps,
        [b' '] if (1..=MAX_METHOD_BYTES).contains(&letters) => return Speaks::Perhaps,
        [b' ', b'/' | b'*' | b'h', ..] if (1..=MAX_METHOD_BYTES).contains(&letters) => {}
        _ => return Speaks::Bytes,
    }
    match rest.iter().position(|b| *b == b'\n') {
        Some(end) => {
            let line = rest.get(..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0") { Speaks::Http } else { Speaks::Bytes }
        }
        None if bytes.len() < MAX_LINE_BYTES => Speaks::Perhaps,
        None => Speaks::Bytes,
    }
}

/// What was said before it was clear what a connection is for.
struct Said {
    /// By the program.
    program: Vec<u8>,
    /// By the app.
    app: Vec<u8>,
    http: bool,
}

/// Waits until it is clear what a connection is for, as long as a browser may keep one without a request: those that it opens beforehand and
/// never uses would else hold their places for ever.
async fn begin(program: &mut (impl AsyncRead + Unpin), stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Said> {
    let mut said = Vec::new();
    let end = Instant::now() + HEAD_WAIT;
    loop {
        match speaks(&said) {
            Speaks::Perhaps => {}
            clear => return Ok(Said { program: said, app: Vec::new(), http: clear == Speaks::Http }),
        }
        let mut heard = [0];
        tokio::select! {
            read = program.read_buf(&mut said) => if read? == 0 {
                return Ok(Said { program: said, app: Vec::new(), http: false });
            },
            // The app speaks first, so it does not speak HTTP.
            read = stream.read(&mut heard) => {
                let count = read?;
                let app = heard.get(..count).unwrap_or_default().to_vec();
                return Ok(Said { program: said, app, http: false });
            }
            () = sleep_until(end) => return Err(io::Error::new(io::ErrorKind::TimedOut, "neither side spoke")),
        }
    }
}

/// Serves a connection to an app to which a stream is open.
pub(crate) async fn app(mut program: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, way: Way, mut opened: Box<Opened>) {
    let said = match begin(&mut program, &mut opened.stream).await {
        Ok(said) => said,
        Err(error) => return tracing::debug!(%error, "a visit broke off"),
    };
    let program = Began { ready: said.program, inner: program };
    if said.http {
        way::serve(program, way, First::Opened(opened)).await;
    } else {
        bytes(program, Began { ready: said.app, inner: opened.stream }).await;
    }
}

/// Copies in both directions, each of which ends on its own, so that a request may end before its answer begins.
async fn bytes(mut program: impl AsyncRead + AsyncWrite + Unpin, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    if let Err(error) = copy_bidirectional_with_sizes(&mut program, &mut stream, COPY_BYTES, COPY_BYTES).await {
        tracing::debug!(%error, "a visit broke off");
    }
    let _ = program.shutdown().await;
}

/// A stream of which the first bytes were read already.
struct Began<S> {
    ready: Vec<u8>,
    inner: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Began<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ready.is_empty() {
            return Pin::new(&mut self.inner).poll_read(context, into);
        }
        let count = self.ready.len().min(into.remaining());
        let rest = self.ready.split_off(count);
        into.put_slice(&std::mem::replace(&mut self.ready, rest));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Began<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{io::duplex, time::timeout};

    #[test]
    fn http_is_told_from_other_things() {
        for (said, expected) in [
            (&b""[..], Speaks::Perhaps),
            (b"GE", Speaks::Perhaps),
            (b"GET ", Speaks::Perhaps),
            (b"GET / HTTP/1", Speaks::Perhaps),
            (b"GET / HTTP/1.1\r\n", Speaks::Http),
            (b"PROPFIND /x HTTP/1.1\n", Speaks::Http),
            (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", Speaks::Http),
            (b"GET http://x.onion/ HTTP/1.0\r\n", Speaks::Http),
            (b"PRI * HTTP/2.0\r\n\r\nSM", Speaks::Bytes),
            (b"GET /\r\n", Speaks::Bytes),
            (b"get / HTTP/1.1\r\n", Speaks::Bytes),
            (b"EHLO x\r\n", Speaks::Bytes),
            (b"\x16\x03\x01", Speaks::Bytes),
            (b"SSH-2.0-x\r\n", Speaks::Bytes),
            (b"AAAAAAAAAAAAAAAAA", Speaks::Bytes),
            (b" /", Speaks::Bytes),
        ] {
            assert_eq!(speaks(said), expected, "{:?}", String::from_utf8_lossy(said));
        }
        let endless = [&b"GET /"[..], &[b'a'; MAX_LINE_BYTES]].concat();
        assert_eq!(speaks(&endless), Speaks::Bytes);
    }
    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_nobody_speaks_ends() {
        let (mut program, mut browser) = duplex(64);
        let (mut stream, mut host) = duplex(64);
        let ended = timeout(HEAD_WAIT * 2, begin(&mut program, &mut stream)).await.expect("it ends");
        assert_eq!(ended.map(|_| ()).unwrap_err().kind(), io::ErrorKind::TimedOut);
        // Nor is one word on which nothing follows waited for.
        browser.write_all(b"GET ").await.unwrap();
        let ended = timeout(HEAD_WAIT * 2, begin(&mut program, &mut stream)).await.expect("it ends");
        assert_eq!(ended.map(|_| ()).unwrap_err().kind(), io::ErrorKind::TimedOut);
        host.write_all(b"x").await.unwrap();
        let said = begin(&mut program, &mut stream).await.unwrap();
        assert_eq!((said.app, said.http), (b"x".to_vec(), false));
    }
}
