//! How a node is started, and why it might not be.

use crate::{fog::FogError, identity::IdentityError, net::NetError, settings::SettingsError};
use fogbank_agent::{Share, bundle::OpenError};
use fogbank_betanet::link::LinkBindError;
use fogbank_proxy::ProxyError;
use fogbank_wire::FrameError;
use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

/// Where the proxy for visiting listens, always on loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyPort {
    /// No proxy: this node can't visit.
    Off,
    /// This port; 0 takes a free one.
    Port(u16),
}

/// A text that is neither a port nor "off".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the proxy takes a port (0 to 65535) or “off”, not “{0}”")]
pub struct ProxyPortError(String);

impl FromStr for ProxyPort {
    type Err = ProxyPortError;

    fn from_str(text: &str) -> Result<Self, ProxyPortError> {
        match text {
            "off" => Ok(Self::Off),
            port => port.parse().map(Self::Port).map_err(|_| ProxyPortError(port.to_owned())),
        }
    }
}

impl ProxyPort {
    /// The usual one: beside Tor's 9050 and 9150, so that all can run together.
    pub const USUAL: Self = Self::Port(9250);
}

/// What a node is started with, beyond what its profile keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeOptions {
    /// Address to listen at; loopback keeps everything on this computer.
    pub listen: IpAddr,
    /// Where the proxy for visiting listens.
    pub proxy: ProxyPort,
    /// How much is lent while lending is on.
    pub share: Share,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self { listen: Ipv4Addr::UNSPECIFIED.into(), proxy: ProxyPort::USUAL, share: Share::default() }
    }
}

/// Why a node did not start. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its keys.
    #[error(transparent)]
    Identity(IdentityError),
    /// Its settings.
    #[error(transparent)]
    Settings(SettingsError),
    /// Its endpoint.
    #[error(transparent)]
    Net(NetError),
    /// Its bundles.
    #[error("the bundles can't be opened: {0}")]
    Bundles(#[source] OpenError),
    /// Its proxy.
    #[error(transparent)]
    Proxy(ProxyError),
    /// The fog that it coordinates.
    #[error(transparent)]
    Fog(FogError),
    /// Its mix.
    #[error("the mix can't listen: {0}")]
    Mix(#[source] LinkBindError),
    /// The entrance of visitors who come directly.
    #[error("visitors can't be let in directly: {0}")]
    Entrance(#[source] LinkBindError),
    /// Its mix's statement about itself.
    #[error("the mix can't say whose it is: {0}")]
    MixStatement(#[source] FrameError),
    /// Its control socket.
    #[error("the control socket can't be made: {0}")]
    Control(#[source] io::Error),
}
