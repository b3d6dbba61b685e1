//! Coordinating a fog: the allocator behind an endpoint of its own.
//!
//! The fog has a key of its own, apart from the device key of the computer that coordinates it: the fog can move to another computer, and
//! this computer's own node is a member like any other.

use crate::{door, net, profile::Profile, profile::write_private, settings::OwnFog};
use data_encoding::BASE32_NOPAD;
use fogbank_allocator::{Allocator, AllocatorConfig};
use fogbank_model::{DeviceId, DurationMs, FogId};
use fogbank_wire::{PeerAddress, Purpose, Refusal, Roles, Strangers, Ticket, goodbye};
use iroh::{Endpoint, SecretKey};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

/// The node's own invite is used within its first second; it is taken again after a restart in between.
const OWN_INVITE: DurationMs = DurationMs::from_s(3600);

/// A fog that this node coordinates.
pub(crate) struct FogHost {
    allocator: Allocator,
    endpoint: Endpoint,
    accepting: JoinHandle<()>,
}

/// Why the fog can't be coordinated.
#[derive(Debug, thiserror::Error)]
pub enum FogError {
    /// Its key is damaged or can't be read or written.
    #[error("the fog's key {} is damaged or can't be used ({source}): put a backup of it back", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It can't listen.
    #[error(transparent)]
    Net(net::NetError),
    /// Its allocator did not start.
    #[error("{0}")]
    Allocator(#[source] fogbank_allocator::StartError),
    /// It made no invite for its own node.
    #[error("{}", .0.message)]
    Invite(Refusal),
}

impl FogHost {
    /// Starts the allocator. A port of 0 takes a free one; see [`Self::port`].
    pub(crate) async fn start(profile: &Profile, own: &OwnFog, listen: IpAddr, operator: DeviceId) -> Result<Self, FogError> {
        let key = load_key(profile)?;
        let mut config = AllocatorConfig::new(profile.path("fog.sqlite"), key.clone(), own.name.clone(), own.test);
        config.relay = own.relay.clone();
        config.operator = Some(operator);
        let allocator = Allocator::start(config).await.map_err(FogError::Allocator)?;
        let endpoint = match net::bind(key, SocketAddr::new(listen, own.port), own.relay.as_ref()).await {
            Ok(endpoint) => endpoint,
            Err(error) => {
                allocator.shutdown().await;
                return Err(FogError::Net(error));
            }
        };
        allocator.federate_from(endpoint.clone());
        let greeting = allocator.clone();
        let strangers = Arc::new(Strangers::new(door::MAX_STRANGERS));
        let accepting = tokio::spawn(door::open(endpoint.clone(), strangers, move |(connection, purpose, reply, stranger)| {
            let allocator = greeting.clone();
            async move {
                match purpose {
                    Purpose::Control(enrol) => allocator.accept(connection, *enrol, reply, stranger).await,
                    Purpose::Federate => allocator.accept_peer(connection, reply, stranger).await,
                    _ => {
                        let words = "this is an allocator: it holds no content and relays nothing";
                        stranger.turn_away(reply, Refusal::not_served(words)).await;
                    }
                }
            }
        }));
        Ok(Self { allocator, endpoint, accepting })
    }

    /// The UDP port that it listens at.
    pub(crate) fn port(&self) -> u16 {
        self.endpoint.bound_sockets().first().map_or(0, SocketAddr::port)
    }

    /// Where other fogs' allocators find this one, and as what.
    pub(crate) fn peer_address(&self) -> PeerAddress {
        let mut addrs = net::reachable(&self.endpoint);
        addrs.truncate(PeerAddress::MAX_ADDRS);
        PeerAddress { fog: FogId(*self.endpoint.id().as_bytes()), addrs }
    }

    /// Its allocator.
    pub(crate) fn allocator(&self) -> &Allocator {
        &self.allocator
    }

    /// An invite for nodes of this very process.
    pub(crate) async fn ticket(&self, roles: Roles) -> Result<Ticket, FogError> {
        let addrs = net::reachable(&self.endpoint);
        self.allocator.invite_bootstrap(roles, OWN_INVITE, addrs).await.map_err(FogError::Invite)
    }

    /// Ends it; members see it go and wait for it.
    pub(crate) async fn shutdown(&self) {
        self.accepting.abort();
        self.allocator.shutdown().await;
        goodbye(&self.endpoint).await;
    }
}

/// The fog's key, made the first time.
fn load_key(profile: &Profile) -> Result<SecretKey, FogError> {
    let path = profile.path("fog.key");
    let failed = |source| FogError::Key { path: path.clone(), source };
    match std::fs::read_to_string(&path).map(Zeroizing::new) {
        Ok(text) => {
            let bytes =
                BASE32_NOPAD.decode(text.trim().to_uppercase().as_bytes()).ok().and_then(|b| <[u8; 32]>::try_from(b).ok());
            bytes.map(|b| SecretKey::from_bytes(&b)).ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = SecretKey::generate();
            let text = Zeroizing::new(BASE32_NOPAD.encode(&key.to_bytes()).to_lowercase());
            write_private(&path, text.as_bytes()).map_err(failed)?;
            Ok(key)
        }
        Err(source) => Err(failed(source)),
    }
}
