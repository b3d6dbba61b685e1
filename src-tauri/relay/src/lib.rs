//! A relay that a fog's operator runs beside it, for devices behind home routers.
//!
//! It is iroh's relay server behind a listener of ours: who does not say the relay's token within a while is cut off, and the places for those
//! who did and for those who have not yet are shared by networks, as at all doors of Fogbank. It keeps nothing but its own certificate and token, and no log of who talks with whom: its library's log is cut off
//! by whoever starts the process (see [`LOG`]).
//!
//! Invariants: it contacts nobody; it is named by IP address and by the hash of its certificate; what it relays is encrypted between the two
//! ends. What it can't help seeing: which endpoints talk, from which addresses, when and how much.
//! Deliberately absent: shares of what is relayed a second (each connection has its own rate), Let's Encrypt, names, and a metrics port.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod access;
mod descriptors;
mod identity;
mod listening;

pub use identity::{IdentityError, RelayIdentity};

use access::Door;
use fogbank_wire::{RelayHint, Strangers};
use iroh_relay::server::{
    CertConfig, ClientRateLimit, Limits, QuicConfig, RelayConfig, Server, ServerConfig, SpawnError, SupervisorError, TlsConfig,
};
use listening::Listening;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::{NonZeroU16, NonZeroU32},
    sync::Arc,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

/// What a relay's process may log: our own news, nothing of the libraries below, which name endpoints.
pub const LOG: &str = "off,fogbank_relay=info,fogbank_wire::strangers=info,fogbankd=info";
/// Mbit/s that one connection may send, unless the operator says otherwise: a mix at nearly 1,000 packets of 8 KiB a second.
pub const USUAL_MBIT_PER_S: NonZeroU16 = match NonZeroU16::new(64) {
    Some(rate) => rate,
    None => NonZeroU16::MIN,
};
const BYTES_PER_MBIT: u32 = 125_000;
/// Connections at once, unless somebody says otherwise. Each has a queue of 512 datagrams of about 1.4 KB in iroh-relay: 700 KB at the very
/// worst, and a fog of 1,000 homes, each with a device, a mix and two guards' endpoints, has 4,000.
pub const USUAL_CONNECTIONS: usize = 4_096;
/// One place for those who have not said the token yet for so many inside: 512 usually, more than come in a second when all come back at once.
const INSIDE_A_STRANGER: usize = 8;

/// How a relay is run.
#[derive(Debug, Clone, Copy)]
pub struct RelayOptions {
    /// Where it listens: TCP and UDP at the same port.
    pub listen: SocketAddr,
    /// The address that others know it by, when it is another than the one it listens at.
    pub public: Option<IpAddr>,
    /// Mbit/s that one connection may send.
    pub mbit_per_s: NonZeroU16,
    /// Connections at once; fewer where the system lets a process have fewer open.
    pub connections: usize,
}

/// Why a relay does not run.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// Its certificate and token.
    #[error(transparent)]
    Identity(IdentityError),
    /// Nobody could be told where it is.
    #[error("others can't reach {0}: say by --public under which address they do")]
    Unnamed(SocketAddr),
    /// It can't listen.
    #[error("the relay can't listen at {addr}: {source}")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// iroh's part of it did not start.
    #[error("the relay at {addr} can't start: {source}")]
    Start {
        /// Where.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: SpawnError,
    },
    /// It ended by itself.
    #[error("the relay ended: {0}")]
    Ended(#[source] SupervisorError),
}

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    server: Server,
    door: Arc<Door>,
    strangers: Arc<Strangers>,
    listening: JoinHandle<()>,
    hint: RelayHint,
}

impl Relay {
    /// Starts it.
    ///
    /// # Errors
    /// When it can't listen, or could not be named.
    #[expect(clippy::expect_used, reason = "iroh-relay has a relay when it is told to have one")]
    pub async fn start(identity: &RelayIdentity, options: RelayOptions) -> Result<Self, RelayError> {
        let named = SocketAddr::new(options.public.unwrap_or_else(|| options.listen.ip()), options.listen.port());
        let hint = RelayHint { addr: named, pin: RelayHint::pin_of(identity.certificate()), token: identity.token() };
        if !hint.is_sound() {
            return Err(RelayError::Unnamed(named));
        }
        let tls = identity.server_config().map_err(RelayError::Identity)?;
        let listen_failed = |source| RelayError::Listen { addr: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(listen_failed)?;
        let connections = descriptors::enough_for(options.connections);
        let door = Arc::new(Door::new(hint.token_text(), connections));
        let acceptor = TlsAcceptor::from(Arc::new(tls.clone()));
        // iroh-relay listens by itself, too, and at a plain port, where it tells captive portals apart. Both are nobody's: who comes there has no
        // number, and is refused.
        let mut relay = RelayConfig::new((Ipv4Addr::LOCALHOST, 0));
        relay.tls = Some(TlsConfig::new((Ipv4Addr::LOCALHOST, 0), CertConfig::Manual { server_config: tls }));
        relay.access = door.clone();
        // Keys of endpoints that are kept decoded: each once, 56 bytes.
        relay.key_cache_capacity = Some(connections);
        let rate = NonZeroU32::from(options.mbit_per_s).saturating_mul(NonZeroU32::MIN.saturating_add(BYTES_PER_MBIT - 1));
        let mut limits = Limits::default();
        limits.client_rx = Some(ClientRateLimit::new(rate));
        relay.limits = limits;
        let mut config = ServerConfig::default();
        config.relay = Some(relay);
        config.quic = Some(QuicConfig::new(options.listen));
        let started = Server::spawn(config).await;
        let start_failed = |source| RelayError::Start { addr: options.listen, source };
        let server = started.map_err(start_failed)?;
        let strangers = Arc::new(Strangers::new(connections.div_ceil(INSIDE_A_STRANGER)));
        let service = server.relay_service().expect("it was configured above").clone();
        door.serves(service.clone());
        let listening = Listening { door: door.clone(), strangers: strangers.clone(), service, tls: acceptor };
        let listening = tokio::spawn(listening.run(listener));
        Ok(Self { server, door, strangers, listening, hint })
    }

    /// What a fog is told to use it.
    pub fn hint(&self) -> &RelayHint {
        &self.hint
    }

    /// Connections that found no place since it started, or had to give theirs up to another network.
    pub fn refused(&self) -> u64 {
        self.strangers.refused() + self.door.refused()
    }

    /// Ends it; what it relayed goes other ways or stops.
    ///
    /// # Errors
    /// When it had ended by itself.
    pub async fn shutdown(self) -> Result<(), RelayError> {
        self.listening.abort();
        self.server.shutdown().await.map_err(RelayError::Ended)
    }
}
