//! The listening port: who comes is told apart by the first byte, and bounded in number.

use crate::{cache::Cache, http, pool::Pool, socks};
use fogbank_betanet::client::Visitor;
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Connections at once: a browser opens 6 to each of a few dozen sites.
pub const MAX_CONNECTIONS: usize = 256;
/// A local program says what it wants within milliseconds; one that has not after this never will.
pub(crate) const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// After a failed accept (no file descriptors left), wait for others to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The first byte of SOCKS5; no request of HTTP begins with it.
const SOCKS5: u8 = 5;

/// Why there is no proxy.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// Somebody else has the port.
    #[error(
        "the proxy can't listen on {addr}: another program uses that port, perhaps the node of another profile. End it, or choose \
         another port: “fogbankd run --proxy 0” takes a free one"
    )]
    PortTaken {
        /// Which address.
        addr: SocketAddr,
    },
    /// The system says no for another reason.
    #[error("the proxy can't listen on {addr}: {source}")]
    Listen {
        /// Which address.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// What the connections of one visitor share.
pub(crate) struct Shared {
    /// `None` while no fog is known.
    pub(crate) visitor: Option<Visitor>,
    pub(crate) cache: Cache,
    pub(crate) pool: Pool,
}

impl Shared {
    fn new(visitor: Option<Visitor>) -> Arc<Self> {
        Arc::new(Self { visitor, cache: Cache::default(), pool: Pool::default() })
    }
}

/// A running proxy. Ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    end: CancellationToken,
}

impl Proxy {
    /// Listens, and serves until dropped. Port 0 takes any free one. While there is no visitor (no fog is known yet) addresses can't be
    /// opened, but the port is held.
    ///
    /// # Errors
    /// When the port is taken or can't be had.
    pub async fn bind(addr: SocketAddr, visitor: watch::Receiver<Option<Visitor>>) -> Result<Self, ProxyError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ProxyError::PortTaken { addr },
            _ => ProxyError::Listen { addr, source },
        };
        let listener = TcpListener::bind(addr).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let end = CancellationToken::new();
        tokio::spawn(end.clone().run_until_cancelled_owned(serve(listener, visitor)));
        Ok(Self { addr, end })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

async fn serve(listener: TcpListener, mut visitor: watch::Receiver<Option<Visitor>>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut shared = Shared::new(visitor.borrow_and_update().clone());
    // Ends every connection when the proxy ends.
    let mut connections = JoinSet::new();
    loop {
        // The next one waits in the system's own bounded queue until there is a place.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((socket, _)) => {
                // Another fog: nothing that was kept of the last one is used in it.
                if visitor.has_changed().unwrap_or(false) {
                    shared = Shared::new(visitor.borrow_and_update().clone());
                }
                let shared = shared.clone();
                connections.spawn(async move {
                    let _place = place;
                    if let Err(error) = connection(socket, shared).await {
                        tracing::debug!(%error, "a connection to the proxy ended early");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the proxy could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(socket: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    let _ = socket.set_nodelay(true);
    let mut first = [0];
    match timeout(REQUEST_DEADLINE, socket.peek(&mut first)).await {
        Ok(Ok(1)) if first == [SOCKS5] => socks::serve(socket, shared).await.map_err(io::Error::other),
        Ok(Ok(1)) => http::serve(socket, shared).await,
        Ok(Ok(_)) | Err(_) => Ok(()),
        Ok(Err(error)) => Err(error),
    }
}
