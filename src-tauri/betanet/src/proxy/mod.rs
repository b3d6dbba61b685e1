//! The local SOCKS5 proxy: how browsers and curl reach onion addresses.
//!
//! Invariants: only `.onion` names pass; everything else is refused (0x02, not allowed by ruleset) and no name is ever resolved, so nothing
//! leaks to the ordinary network. The user name isolates: two user names never share a tunnel. Connections are bounded, and one
//! that does not finish its request in time is dropped.
//! Deliberately absent: verification of site content, and access from other machines (bind it to loopback).

use crate::client::{ConnectError, Visitor};
use fast_socks5::{
    ReplyError, Socks5Command,
    server::{
        Socks5ServerProtocol, SocksServerError, StandardAuthentication, StandardAuthenticationStarted, states::Authenticated,
    },
    util::target_addr::TargetAddr,
};
use fogbank_model::Onion;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncWriteExt as _, copy_bidirectional_with_sizes},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Connections at once: a browser opens 6 to each of a few dozen sites.
pub const MAX_CONNECTIONS: usize = 256;
/// A local program says what it wants within milliseconds; one that has not after this never will.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// What is read at once in each direction: some packets' worth.
const COPY_BYTES: usize = 32 << 10;
/// After a failed accept (no file descriptors left), wait for others to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The isolation of those who give no user name.
const ANONYMOUS: &str = "";

/// Why there is no proxy.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// Somebody else has the port.
    #[error("the proxy can't listen on {addr}: another program uses that port. End it, or choose another port for the proxy")]
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

async fn serve(listener: TcpListener, visitor: watch::Receiver<Option<Visitor>>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Ends every connection when the proxy ends.
    let mut connections = JoinSet::new();
    loop {
        // The next one waits in the system's own bounded queue until there is a place.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((socket, _)) => {
                let visitor = visitor.borrow().clone();
                connections.spawn(async move {
                    let _place = place;
                    if let Err(error) = connection(socket, visitor).await {
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

async fn connection(socket: TcpStream, visitor: Option<Visitor>) -> Result<(), SocksServerError> {
    let _ = socket.set_nodelay(true);
    let request = async {
        let (protocol, isolation) = authenticate(socket).await?;
        let (protocol, command, target) = protocol.read_command().await?;
        Ok::<_, SocksServerError>((protocol, command, target, isolation))
    };
    let Ok(request) = timeout(REQUEST_DEADLINE, request).await else { return Ok(()) };
    let (protocol, command, target, isolation) = request?;
    if !matches!(command, Socks5Command::TCPConnect) {
        return protocol.reply_error(&ReplyError::CommandNotSupported).await;
    }
    let Some(onion) = onion(&target) else {
        return protocol.reply_error(&ReplyError::ConnectionNotAllowed).await;
    };
    let Some(visitor) = visitor else {
        tracing::info!("an address could not be opened: this node knows no fog yet");
        return protocol.reply_error(&ReplyError::NetworkUnreachable).await;
    };
    match visitor.connect(&onion, &isolation).await {
        Ok(mut stream) => {
            let mut socket = protocol.reply_success(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).await?;
            // Ends each direction on its own, so a request may end before its answer begins.
            let copied = copy_bidirectional_with_sizes(&mut socket, &mut stream, COPY_BYTES, COPY_BYTES).await;
            if let Err(error) = copied {
                tracing::debug!(%error, "a visit broke off");
            }
            let _ = socket.shutdown().await;
            Ok(())
        }
        Err(error) => {
            tracing::info!(%error, "an address could not be opened");
            protocol.reply_error(&reply(&error)).await
        }
    }
}

/// Takes a user name if the program offers one, and any password.
async fn authenticate(socket: TcpStream) -> Result<(Socks5ServerProtocol<TcpStream, Authenticated>, String), SocksServerError> {
    let methods = StandardAuthentication::allow_no_auth(true);
    match Socks5ServerProtocol::start(socket).negotiate_auth(methods).await? {
        StandardAuthenticationStarted::NoAuthentication(auth) => {
            Ok((Socks5ServerProtocol::finish_auth(auth), ANONYMOUS.to_owned()))
        }
        StandardAuthenticationStarted::PasswordAuthentication(auth) => {
            let (user, _, auth) = auth.read_username_password().await?;
            Ok((Socks5ServerProtocol::finish_auth(auth.accept().await?), user))
        }
    }
}

/// The onion address asked for; a subdomain in front is the site's own affair, as with Tor. The port is not looked at: a container has one.
fn onion(target: &TargetAddr) -> Option<Onion> {
    let TargetAddr::Domain(name, _) = target else { return None };
    let name = name.strip_suffix('.').unwrap_or(name);
    let (rest, top) = name.rsplit_once('.')?;
    let label = rest.rsplit_once('.').map_or(rest, |(_, label)| label);
    format!("{label}.{top}").parse().ok()
}

fn reply(error: &ConnectError) -> ReplyError {
    match error {
        ConnectError::Address(_) => ReplyError::ConnectionNotAllowed,
        ConnectError::NotPrivate { .. } => ReplyError::NetworkUnreachable,
        ConnectError::NotFound | ConnectError::Locked => ReplyError::HostUnreachable,
        ConnectError::NoAnswer { .. } => ReplyError::ConnectionRefused,
        ConnectError::TimedOut { .. } => ReplyError::TtlExpired,
        ConnectError::TooMany | ConnectError::Ended => ReplyError::GeneralFailure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONION: &str = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion";

    #[test]
    fn only_onions_pass() {
        let domain = |name: &str| onion(&TargetAddr::Domain(name.to_owned(), 80));
        for good in [ONION.to_owned(), format!("{ONION}."), format!("www.{ONION}"), ONION.to_uppercase()] {
            assert_eq!(domain(&good).unwrap().as_str(), ONION, "{good}");
        }
        let short = &ONION[1..];
        for bad in ["example.org", "localhost", "127.0.0.1", "onion", ".onion", "", short, &format!("{ONION}.example.org")] {
            assert!(domain(bad).is_none(), "{bad}");
        }
        assert!(onion(&TargetAddr::Ip(SocketAddr::from(([127, 0, 0, 1], 80)))).is_none());
    }
}
