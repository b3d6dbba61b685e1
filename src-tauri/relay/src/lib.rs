//! A relay that a fog's operator runs beside it, for devices behind home routers.
//!
//! It is iroh's relay server with two limits of ours before it: who does not say the relay's token is refused, and so is everyone past a
//! number of connections. It keeps nothing but its own certificate and token, and no log of who talks with whom: its library's log is cut off
//! by whoever starts the process (see [`LOG`]).
//!
//! Invariants: it contacts nobody; it is named by IP address and by the hash of its certificate; what it relays is encrypted between the two
//! ends. What it can't help seeing: which endpoints talk, from which addresses, when and how much.
//! Deliberately absent: a bound on TCP connections that have not spoken yet (iroh-relay has none; the process's limit of open files ends
//! them), Let's Encrypt, names, and a metrics port.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod access;
mod identity;

pub use identity::{IdentityError, RelayIdentity};

use access::Door;
use fogbank_wire::RelayHint;
use iroh_relay::server::{
    CertConfig, ClientRateLimit, Limits, QuicConfig, RelayConfig, Server, ServerConfig, SpawnError, SupervisorError, TlsConfig,
};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::{NonZeroU16, NonZeroU32},
    sync::Arc,
};

/// What a relay's process may log: our own news, nothing of the libraries below, which name endpoints.
pub const LOG: &str = "off,fogbank_relay=info,fogbankd=info";
/// Mbit/s that one connection may send, unless the operator says otherwise: a mix at nearly 1,000 packets of 8 KiB a second.
pub const USUAL_MBIT_PER_S: NonZeroU16 = match NonZeroU16::new(64) {
    Some(rate) => rate,
    None => NonZeroU16::MIN,
};
const BYTES_PER_MBIT: u32 = 125_000;
/// Keys of endpoints that are kept decoded: each of [`access::MAX_CONNECTIONS`] once, 56 bytes each.
const KEY_CACHE: usize = access::MAX_CONNECTIONS;

/// How a relay is run.
#[derive(Debug, Clone, Copy)]
pub struct RelayOptions {
    /// Where it listens: TCP and UDP at the same port.
    pub listen: SocketAddr,
    /// The address that others know it by, when it is another than the one it listens at.
    pub public: Option<IpAddr>,
    /// Mbit/s that one connection may send.
    pub mbit_per_s: NonZeroU16,
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
    hint: RelayHint,
}

impl Relay {
    /// Starts it.
    ///
    /// # Errors
    /// When it can't listen, or could not be named.
    pub async fn start(identity: &RelayIdentity, options: RelayOptions) -> Result<Self, RelayError> {
        let named = SocketAddr::new(options.public.unwrap_or_else(|| options.listen.ip()), options.listen.port());
        let hint = RelayHint { addr: named, pin: RelayHint::pin_of(identity.certificate()), token: identity.token() };
        if !hint.is_sound() {
            return Err(RelayError::Unnamed(named));
        }
        let tls = identity.server_config().map_err(RelayError::Identity)?;
        // iroh-relay wants a plain port, too, where it tells captive portals apart; ours never ask for that, so it is nobody's.
        let mut relay = RelayConfig::new((Ipv4Addr::LOCALHOST, 0));
        relay.tls = Some(TlsConfig::new(options.listen, CertConfig::Manual { server_config: tls }));
        relay.access = Arc::new(Door::new(hint.token_text()));
        relay.key_cache_capacity = Some(KEY_CACHE);
        let rate = NonZeroU32::from(options.mbit_per_s).saturating_mul(NonZeroU32::MIN.saturating_add(BYTES_PER_MBIT - 1));
        let mut limits = Limits::default();
        limits.client_rx = Some(ClientRateLimit::new(rate));
        relay.limits = limits;
        let mut config = ServerConfig::default();
        config.relay = Some(relay);
        config.quic = Some(QuicConfig::new(options.listen));
        let started = Server::spawn(config).await;
        let server = started.map_err(|source| RelayError::Listen { addr: options.listen, source })?;
        Ok(Self { server, hint })
    }

    /// What a fog is told to use it.
    pub fn hint(&self) -> &RelayHint {
        &self.hint
    }

    /// Ends it; what it relayed goes other ways or stops.
    ///
    /// # Errors
    /// When it had ended by itself.
    pub async fn shutdown(self) -> Result<(), RelayError> {
        self.server.shutdown().await.map_err(RelayError::Ended)
    }
}
