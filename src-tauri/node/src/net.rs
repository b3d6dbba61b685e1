//! Endpoints: iroh without relays, look-up services, port mapping or DNS. Nothing is sent to anyone who was not named.

use iroh::{
    Endpoint, EndpointAddr, PublicKey, RelayMode, SecretKey,
    endpoint::{BindError, IdleTimeout, QuicTransportConfig, VarInt, presets},
};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    time::Duration,
};

/// A peer is heard from at least this often.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Three keep-alives: one lost packet is no loss of the device, and with the probe a loss is known within about 5 s.
const IDLE_MS: u32 = 3_000;
/// Calls under way on one connection at once; the peer waits for a free one.
const MAX_CALLS: u32 = 64;

/// Why an endpoint is not there.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The address is no address to bind.
    #[error("{0} is no address to listen at")]
    Address(SocketAddr),
    /// The system refused.
    #[error("can't listen at {addr}: {source}")]
    Bind {
        /// Where.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: Box<BindError>,
    },
}

/// Binds an endpoint for control connections and bundles. Port 0 takes a free one.
///
/// # Errors
/// When the address can't be bound.
pub(crate) async fn bind(key: SecretKey, addr: SocketAddr) -> Result<Endpoint, NetError> {
    let transport = QuicTransportConfig::builder()
        .keep_alive_interval(KEEP_ALIVE)
        .default_path_keep_alive_interval(KEEP_ALIVE)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_MS))))
        .default_path_max_idle_timeout(Duration::from_millis(IDLE_MS.into()))
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_CALLS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .build();
    let builder = Endpoint::builder(presets::Minimal)
        .secret_key(key)
        .alpns(vec![fogbank_wire::ALPN.to_vec()])
        .relay_mode(RelayMode::Disabled)
        .clear_address_lookup()
        .clear_ip_transports()
        .transport_config(transport)
        .bind_addr(addr)
        .map_err(|_| NetError::Address(addr))?;
    builder.bind().await.map_err(|source| NetError::Bind { addr, source: Box::new(source) })
}

/// Where others reach an endpoint: its port at the address it is bound to or, when it is bound to all, at the address of this computer's
/// default route and at loopback (so that two nodes of one computer find each other).
pub(crate) fn reachable(endpoint: &Endpoint) -> Vec<SocketAddr> {
    let mut addrs = Vec::new();
    for socket in endpoint.bound_sockets() {
        if socket.ip().is_unspecified() {
            addrs.extend(outward_address().map(|ip| SocketAddr::new(ip, socket.port())));
            addrs.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), socket.port()));
        } else {
            addrs.push(socket);
        }
    }
    addrs
}

/// The address from which this computer would send to the internet. Connecting a UDP socket asks the routing table and sends nothing.
fn outward_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // A documentation address (RFC 5737): a route is looked up, no packet is made.
    socket.connect(("192.0.2.1", 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

/// A peer's key and addresses as iroh takes them; `None` when the key is no key.
pub(crate) fn peer(key: &[u8; 32], addrs: &[SocketAddr]) -> Option<EndpointAddr> {
    let id = PublicKey::from_bytes(key).ok()?;
    Some(addrs.iter().fold(EndpointAddr::new(id), |addr, ip| addr.with_ip_addr(*ip)))
}
