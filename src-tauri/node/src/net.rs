//! Endpoints: iroh without look-up services, port mapping or DNS, and without any relay but the fog's own, where it has one. Nothing is sent
//! to anyone who was not named.

use fogbank_betanet::directory::is_local;
use fogbank_wire::{RelayHint, RelaySwitch};
use iroh::{
    Endpoint, EndpointAddr, PublicKey, SecretKey,
    endpoint::{BindError, Builder, IdleTimeout, QuicTransportConfig, VarInt, presets},
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

/// Binds an endpoint for control connections and bundles that is met at a relay, if one is named. Port 0 takes a free one.
///
/// # Errors
/// When the address can't be bound.
pub(crate) async fn bind(key: SecretKey, addr: SocketAddr, relay: Option<&RelayHint>) -> Result<Endpoint, NetError> {
    bound(fogbank_wire::with_relay(Endpoint::builder(presets::Minimal), relay), key, addr).await
}

/// As [`bind`], for an endpoint that outlives its membership of a fog: its relay can be another later, and is none at first.
///
/// # Errors
/// As [`bind`].
pub(crate) async fn bind_switched(key: SecretKey, addr: SocketAddr) -> Result<(Endpoint, RelaySwitch), NetError> {
    let (builder, switch) = RelaySwitch::prepare(Endpoint::builder(presets::Minimal));
    Ok((bound(builder, key, addr).await?, switch))
}

async fn bound(builder: Builder, key: SecretKey, addr: SocketAddr) -> Result<Endpoint, NetError> {
    let transport = QuicTransportConfig::builder()
        .keep_alive_interval(KEEP_ALIVE)
        .default_path_keep_alive_interval(KEEP_ALIVE)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_MS))))
        .default_path_max_idle_timeout(Duration::from_millis(IDLE_MS.into()))
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_CALLS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .build();
    let builder = builder
        .secret_key(key)
        .alpns(vec![fogbank_wire::ALPN.to_vec()])
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

/// Whether an endpoint's addresses are only such as routers hide: others then meet it at the relay first.
pub(crate) fn hidden(addrs: &[SocketAddr]) -> bool {
    addrs.iter().all(|addr| is_local(addr.ip()))
}

/// A peer's key, addresses and relay as iroh takes them; `None` when the key is no key.
pub(crate) fn peer(key: &[u8; 32], addrs: &[SocketAddr], relay: Option<&RelayHint>) -> Option<EndpointAddr> {
    let id = PublicKey::from_bytes(key).ok()?;
    let addr = addrs.iter().fold(EndpointAddr::new(id), |addr, ip| addr.with_ip_addr(*ip));
    Some(fogbank_wire::met_at(addr, relay))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_router_hides() {
        let addrs = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<SocketAddr>>();
        assert!(hidden(&addrs(&["192.168.1.2:1", "127.0.0.1:1"])));
        assert!(hidden(&addrs(&["100.64.0.1:1", "[fd00::1]:1", "10.1.2.3:4", "[fe80::1]:1"])));
        assert!(!hidden(&addrs(&["198.51.100.7:1", "127.0.0.1:1"])));
        assert!(!hidden(&addrs(&["[2001:db8::1]:1"])));
    }
}
