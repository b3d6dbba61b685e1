//! A direct connection between visitor and host, without mixes. For development, and only where three have said so: the publisher (in the
//! signed record, [`crate::proof::Terms`]), the owner of the hosting device (who opens an [`Entrance`]), and the visitor, for this visit.
//!
//! ```text
//! introduction through mixes, with a fresh key → answer through mixes: where the entrance is → link by that key → tunnel over the link
//! ```
//!
//! Invariants: an address is told to one visitor, inside the sealed answer to an introduction that asks for it, and stands in no lease,
//! descriptor or directory; an entrance lets in who was announced, once, and nobody else; the tunnel has the keys of the introduction's
//! handshake, so the instance is known by its introduction key as ever; one way is never taken in place of the other.
//! Deliberately absent: reaching hosts behind routers (no relay, no port mapping: who wants that has the mixes).

use crate::{
    link::{self, LinkBindError},
    tunnel::DatagramPipe,
};
use fogbank_wire::{CallError, Purpose, Refusal, Stranger, Strangers, goodbye, greet, welcome};
use iroh::{
    Endpoint, SecretKey,
    endpoint::{Connection, Incoming, VarInt},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

/// Addresses of an entrance: this computer's outward one and loopback, in either family.
pub const MAX_ADDRS: usize = 4;
/// Visitors that were told where to come and have not come yet, as many as one instance has tunnels.
const MAX_EXPECTED: usize = crate::service::MAX_TUNNELS;
/// So long they are expected: an answer's way and repetitions at the slowest level, and [`CONNECT_WAIT`].
const EXPECTED: Duration = Duration::from_secs(10);
/// So long a visitor tries to reach an entrance: as long as links to mixes may take.
const CONNECT_WAIT: Duration = Duration::from_secs(4);
/// Connections that have not been told apart yet, shared by networks.
const MAX_STRANGERS: usize = 64;
/// The longest datagram: QUIC's least, 1,200 bytes, without what QUIC itself puts around one. So it fits every path.
const MAX_DATAGRAM_BYTES: usize = 1_100;
/// Datagrams that wait to be sent; more would only age.
const OUT_QUEUE: usize = 32;
/// Datagrams received and not yet taken: all that a tunnel has under way.
const IN_QUEUE: usize = 256;

/// Where a visitor is let in. Its addresses are for that visitor alone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    key: [u8; 32],
    addrs: Vec<SocketAddr>,
}

impl Place {
    /// Whether there are addresses, and not too many.
    pub(crate) fn is_sound(&self) -> bool {
        (1..=MAX_ADDRS).contains(&self.addrs.len())
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place(…)")
    }
}

/// The host's side: an endpoint of its own at which announced visitors are let in. It exists while the device's owner wants it.
#[derive(Clone)]
pub struct Entrance {
    endpoint: Endpoint,
    place: Place,
    list: Arc<List>,
}

#[derive(Default)]
struct List {
    expected: Mutex<HashMap<[u8; 32], oneshot::Sender<Connection>>>,
    let_in: AtomicU64,
}

impl List {
    fn expected<T>(&self, act: impl FnOnce(&mut HashMap<[u8; 32], oneshot::Sender<Connection>>) -> T) -> T {
        act(&mut self.expected.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Entrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entrance({} let in)", self.let_in())
    }
}

impl Entrance {
    /// Opens an entrance on an endpoint that [`link::bind`] made with a fresh key. `addrs` are where others reach it; the first
    /// [`MAX_ADDRS`] count.
    pub fn open(endpoint: Endpoint, mut addrs: Vec<SocketAddr>) -> Self {
        addrs.truncate(MAX_ADDRS);
        let place = Place { key: *endpoint.id().as_bytes(), addrs };
        let list = Arc::<List>::default();
        tokio::spawn(accept(endpoint.clone(), list.clone()));
        Self { endpoint, place, list }
    }

    /// Visitors that were let in since it opened.
    pub fn let_in(&self) -> u64 {
        self.list.let_in.load(Relaxed)
    }

    /// Ends it and every connection that came by it.
    pub async fn close(&self) {
        goodbye(&self.endpoint).await;
    }

    /// Expects who will come by this key, and where they should; `None` when too many are expected, or that key is.
    pub(crate) fn expect(&self, visitor: [u8; 32]) -> Option<(Place, Expected)> {
        let (letting_in, comes) = oneshot::channel();
        let taken = self.list.expected(|expected| {
            let room = expected.len() < MAX_EXPECTED && !expected.contains_key(&visitor);
            room && expected.insert(visitor, letting_in).is_none()
        });
        taken.then(|| (self.place.clone(), Expected { visitor, list: self.list.clone(), comes }))
    }
}

/// Somebody who was told where to come. Expected no more when dropped.
pub(crate) struct Expected {
    visitor: [u8; 32],
    list: Arc<List>,
    comes: oneshot::Receiver<Connection>,
}

impl Expected {
    /// The way to them, once they have come; `None` when they do not.
    pub(crate) async fn come(mut self) -> Option<DatagramPipe> {
        let connection = timeout(EXPECTED, &mut self.comes).await.ok()?.ok()?;
        Some(pipe(connection, None))
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.list.expected(|expected| expected.remove(&self.visitor));
    }
}

async fn accept(endpoint: Endpoint, list: Arc<List>) {
    let strangers = Strangers::new(MAX_STRANGERS);
    while let Some(incoming) = endpoint.accept().await {
        let Some((incoming, stranger)) = strangers.knock(&endpoint, incoming) else { continue };
        let list = list.clone();
        tokio::spawn(async move { let_in(incoming, stranger, &list).await });
    }
}

async fn let_in(incoming: Incoming, stranger: Stranger, list: &List) {
    let Some(connection) = stranger.connection(incoming).await else { return };
    let Some(letting_in) = list.expected(|expected| expected.remove(connection.remote_id().as_bytes())) else {
        connection.close(VarInt::from_u32(1), b"not expected");
        return;
    };
    let Some((purpose, reply)) = stranger.hello(&connection).await else { return };
    if !matches!(purpose, Purpose::Direct) {
        let words = "this is an entrance for visitors and nothing else";
        return stranger.turn_away(reply, Refusal::not_served(words)).await;
    }
    stranger.let_in();
    if welcome(reply, None).await {
        list.let_in.fetch_add(1, Relaxed);
        let _ = letting_in.send(connection);
    }
}

/// Why an entrance was not reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectError {
    /// No socket.
    #[error(transparent)]
    Bind(LinkBindError),
    /// What the host said is no place.
    #[error("its address is none")]
    NoPlace,
    /// Nobody there.
    #[error("its address is not reached: {0}")]
    Unreached(#[source] Box<iroh::endpoint::ConnectError>),
    /// It did not let us in.
    #[error("its entrance is shut: {0}")]
    Shut(#[source] CallError),
    /// Not within [`CONNECT_WAIT`].
    #[error("its address is not reached within {} seconds", CONNECT_WAIT.as_secs())]
    TimedOut,
}

/// The visitor's side: goes to an entrance by the key that it announced, from a socket of its own.
pub(crate) async fn connect(key: SecretKey, from: IpAddr, to: &Place) -> Result<DatagramPipe, DirectError> {
    let target = link::peer(&to.key, &to.addrs, None).filter(|_| to.is_sound()).ok_or(DirectError::NoPlace)?;
    let endpoint = link::bind(key, SocketAddr::new(from, 0), None).await.map_err(DirectError::Bind)?;
    let connecting = async {
        let connection = endpoint.connect(target, fogbank_wire::ALPN).await;
        let connection = connection.map_err(|error| DirectError::Unreached(Box::new(error)))?;
        greet(&connection, Purpose::Direct).await.map_err(DirectError::Shut)?;
        Ok(connection)
    };
    match timeout(CONNECT_WAIT, connecting).await.unwrap_or(Err(DirectError::TimedOut)) {
        Ok(connection) => Ok(pipe(connection, Some(endpoint))),
        Err(error) => {
            goodbye(&endpoint).await;
            Err(error)
        }
    }
}

/// A connection as a pipe, both of which end together, and with them the endpoint that is there for this connection alone.
fn pipe(connection: Connection, endpoint: Option<Endpoint>) -> DatagramPipe {
    let (send, mut outgoing) = mpsc::channel::<Vec<u8>>(OUT_QUEUE);
    let (incoming, recv) = mpsc::channel(IN_QUEUE);
    tokio::spawn(async move {
        let receiving = async {
            while let Ok(datagram) = connection.read_datagram().await {
                // A reader that does not keep up loses datagrams as a network would.
                let _ = incoming.try_send(datagram.into());
            }
        };
        let sending = async {
            while let Some(datagram) = outgoing.recv().await {
                if connection.send_datagram_wait(datagram.into()).await.is_err() {
                    break;
                }
            }
        };
        tokio::select! { () = receiving => {}, () = sending => {} }
        connection.close(VarInt::from_u32(0), b"");
        drop(incoming);
        if let Some(endpoint) = endpoint {
            goodbye(&endpoint).await;
        }
    });
    DatagramPipe { send, recv, max_bytes: MAX_DATAGRAM_BYTES }
}
