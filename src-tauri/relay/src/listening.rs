//! Accepting connections: each is given a place by where it comes from, and has a while to say who it is.
//!
//! Invariants: nobody waits for a place; whoever has not said the token by [`HEARING`] is cut off, also in mid-handshake; where a connection
//! comes from is what TCP says, and is told the door by number.
//! Deliberately absent: what is relayed (iroh-relay's), and who is let in ([`crate::access`]).

use crate::access::{Coming, Door, NUMBER};
use fogbank_wire::{Group, Stranger, Strangers};
use hyper::{StatusCode, header::HeaderValue, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use iroh_relay::server::{RelayService, http_server::RelayServiceWithNotify, streams::MaybeTlsStream};
use std::{
    future::ready,
    io,
    net::Shutdown,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// Two handshakes and a request over a slow mobile link, with a lost packet in each.
const HEARING: Duration = Duration::from_secs(10);
/// When the process has no descriptors left, it is looked again after this: connections end all the time.
const PAUSE: Duration = Duration::from_millis(100);

/// What all connections share.
#[derive(Clone)]
pub(crate) struct Listening {
    pub(crate) door: Arc<Door>,
    pub(crate) strangers: Arc<Strangers>,
    pub(crate) service: RelayService,
    pub(crate) tls: TlsAcceptor,
}

impl Listening {
    /// Accepts until it is dropped.
    pub(crate) async fn run(self, listener: TcpListener) {
        let mut hearing = JoinSet::new();
        loop {
            while hearing.try_join_next().is_some() {}
            let Ok((stream, from)) = listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let Some(stranger) = self.strangers.begin(Group::of_client(Some(from.ip()))) else { continue };
            let coming = self.door.accepted(stranger.group());
            hearing.spawn(self.clone().hear(stream, stranger, coming));
        }
    }

    /// Hears one out. Once it is let in, iroh-relay has its connection.
    async fn hear(self, stream: TcpStream, stranger: Stranger, coming: Coming) {
        let Ok((stream, cut)) = twice(stream) else { return };
        let heard = stranger.within(HEARING, async {
            if self.upgraded(stream, coming.number).await {
                coming.decided().await;
            }
        });
        if heard.await.is_none() {
            // iroh-relay may have it already and waits for a handshake without a deadline.
            let _ = cut.shutdown(Shutdown::Both);
        }
    }

    /// Answers requests until the connection ends or is one of the relay; whether it is.
    async fn upgraded(&self, stream: TcpStream, number: u64) -> bool {
        let Ok(stream) = self.tls.accept(stream).await else { return false };
        let relay = RelayServiceWithNotify::new(self.service.clone(), Arc::new(Notify::new()));
        let upgraded = AtomicBool::new(false);
        let answer = service_fn(|mut request| {
            request.headers_mut().insert(NUMBER, HeaderValue::from(number));
            let answer = hyper::service::Service::call(&relay, request).into_inner();
            let is_relays = answer.as_ref().is_ok_and(|answer| answer.status() == StatusCode::SWITCHING_PROTOCOLS);
            upgraded.fetch_or(is_relays, Relaxed);
            ready(answer.map_err(io::Error::other))
        });
        let io = TokioIo::new(MaybeTlsStream::Tls(stream));
        let served = http1::Builder::new().serve_connection(io, answer).with_upgrades().await;
        served.is_ok() && upgraded.load(Relaxed)
    }
}

/// A connection, and a second hold on it by which it can be cut off whoever has it.
fn twice(stream: TcpStream) -> io::Result<(TcpStream, std::net::TcpStream)> {
    let stream = stream.into_std()?;
    let second = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, second))
}
