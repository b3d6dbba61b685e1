//! Other fogs' allocators: which ones the operator named, which connections there are, and what is answered on them.
//!
//! ```text
//! named here → dialled from the fog's endpoint (or it dials us) → own directory out, its directory in → to all members
//! ```
//!
//! Invariants: nobody is let in and nothing taken but from a fog that is named here, which its connection proves to be; a peer gives only
//! its own fog's directory, and no more of it than [`pace`] allows; connections, requests and bytes of a peer are bounded, so that a
//! hostile one costs little until the operator ends the federation.
//! Deliberately absent: dialling ([`crate::dialling`]), who counts and whose mixes are used (betanet's `directory`), and finding peers: the operator
//! names their addresses.

use crate::{
    answering::{self, Bounds},
    dialling::keep,
    start::Shared,
    telling::hand_after,
    witnessing,
};
use fogbank_betanet::directory::{Directory, DirectoryError, MAX_FEDERATED};
use fogbank_model::{FogId, UnixMs};
use fogbank_store::StoreError;
use fogbank_wire::{
    CallError, FederateReply, FederateRequest, MAX_FRAME_BYTES, PeerAddress, Refusal, RefusalKind, Stranger, call, decode,
    encode, welcome,
};
use iroh::{
    Endpoint, PublicKey,
    endpoint::{Connection, SendStream, VarInt},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};
use tokio::{sync::Notify, task::JoinHandle, time::timeout};

/// Under which name the peers are kept.
const PEERS: &str = "federated fogs";
/// Connections to one peer: both may have dialled at once. A third ends the oldest.
const MAX_CONNECTIONS: usize = 2;
/// A peer sends a whole request within this: the largest directory at three megabits a second.
pub(crate) const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// Under way at once are a directory, and what follows from it.
const REQUESTS: Bounds = Bounds { at_once: 4, bytes: MAX_FRAME_BYTES, deadline: REQUEST_DEADLINE };
/// A peer's directory is taken this often at most…
const TAKE_PAUSE: Duration = Duration::from_secs(2);
/// …and no faster than this on average: each goes on to every member. The largest is taken once in two minutes, one of a hundred mixes as
/// often as any.
const TAKE_BYTES_S: u64 = 32 << 10;

/// How long after one of this length the next directory of the same peer is taken.
pub(crate) fn pace(bytes: usize) -> Duration {
    TAKE_PAUSE.max(Duration::from_millis((bytes as u64).saturating_mul(1_000) / TAKE_BYTES_S))
}

/// Why a peer gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskPeerError {
    /// The operator has not named it.
    #[error("this fog is not federated with that one")]
    NotNamed,
    /// No connection just now.
    #[error("its allocator is not connected: {0}")]
    Away(String),
    /// No answer in time.
    #[error("its allocator does not answer within {0:?}")]
    TimedOut(Duration),
    /// The connection broke, or the answer is none.
    #[error(transparent)]
    Call(CallError),
}

/// A peer as the operator sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerView {
    /// Where it was said to be.
    pub address: PeerAddress,
    /// Whether it is connected now.
    pub connected: bool,
    /// Why not; empty when it is.
    pub why: String,
    /// When its directory came last, since the start.
    pub heard: Option<UnixMs>,
    /// Whether its mixes are used here: each names the other, its directory holds, and both are of one kind.
    pub counts: bool,
    /// Whether its mixes are drawn, not only found: among all that count, it is of those that know each other.
    pub drawn: bool,
    /// Its directory as it came last.
    pub directory: Option<Arc<Directory>>,
}

/// One fog that is named here.
pub(crate) struct Peer {
    pub(crate) address: PeerAddress,
    connections: Vec<Connection>,
    pub(crate) why: String,
    heard: Option<UnixMs>,
    /// When its next directory may come.
    next: Instant,
    directory: Option<(Arc<Directory>, Arc<Vec<u8>>)>,
    pub(crate) keeping: Option<JoinHandle<()>>,
    /// It connected by itself.
    pub(crate) came: Arc<Notify>,
}

impl Peer {
    fn new(address: PeerAddress, clock: Instant) -> Self {
        Self {
            address,
            connections: Vec::new(),
            why: "not dialled yet".to_owned(),
            heard: None,
            next: clock,
            directory: None,
            keeping: None,
            came: Arc::default(),
        }
    }

    /// The newest connection that stands.
    pub(crate) fn connection(&self) -> Option<&Connection> {
        self.connections.iter().rev().find(|c| c.close_reason().is_none())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(keeping) = self.keeping.take() {
            keeping.abort();
        }
        for connection in &self.connections {
            connection.close(VarInt::from_u32(0), b"not federated any more");
        }
    }
}

/// All that are named.
#[derive(Default)]
pub(crate) struct Federation {
    peers: Mutex<BTreeMap<FogId, Peer>>,
    /// From where peers are dialled.
    pub(crate) endpoint: OnceLock<Endpoint>,
}

impl Federation {
    fn peers<T>(&self, act: impl FnOnce(&mut BTreeMap<FogId, Peer>) -> T) -> T {
        act(&mut self.peers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn peer<T>(&self, fog: &FogId, act: impl FnOnce(&mut Peer) -> T) -> Option<T> {
        self.peers(|peers| peers.get_mut(fog).map(act))
    }

    pub(crate) fn fogs(&self) -> Vec<FogId> {
        self.peers(|peers| peers.keys().copied().collect())
    }

    pub(crate) fn views(&self, merged: Option<&Directory>) -> Vec<PeerView> {
        let view = |peer: &Peer| {
            let fog = &peer.address.fog;
            let connected = peer.connection().is_some();
            PeerView {
                address: peer.address.clone(),
                connected,
                why: if connected { String::new() } else { peer.why.clone() },
                heard: peer.heard,
                counts: merged.is_some_and(|m| m.counts(fog)),
                drawn: merged.is_some_and(|m| m.draws_from(fog)),
                directory: peer.directory.as_ref().map(|(directory, _)| directory.clone()),
            }
        };
        self.peers(|peers| peers.values().map(view).collect())
    }

    /// Directories of named fogs as they came last.
    pub(crate) fn signed(&self) -> Vec<Arc<Vec<u8>>> {
        self.peers(|peers| peers.values().filter_map(|p| p.directory.as_ref()).map(|(_, signed)| signed.clone()).collect())
    }

    /// Asks a peer, and waits for its answer until the deadline.
    pub(crate) async fn ask(
        &self,
        fog: &FogId,
        request: &FederateRequest,
        deadline: Duration,
    ) -> Result<FederateReply, AskPeerError> {
        let found = self.peer(fog, |peer| peer.connection().cloned().ok_or_else(|| AskPeerError::Away(peer.why.clone())));
        let connection = found.ok_or(AskPeerError::NotNamed)??;
        match timeout(deadline, call(&connection, request)).await {
            Ok(answer) => answer.map_err(AskPeerError::Call),
            Err(_) => Err(AskPeerError::TimedOut(deadline)),
        }
    }

    /// Ends all connections.
    pub(crate) fn end(&self) {
        self.peers(BTreeMap::clear);
    }
}

/// Takes up the peers that the store keeps, without dialling them yet.
pub(crate) async fn load(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let kept = shared.store.meta(PEERS).await?.and_then(|bytes| decode::<Vec<PeerAddress>>(&bytes).ok()).unwrap_or_default();
    let mut peers = BTreeMap::new();
    for address in kept.into_iter().filter(PeerAddress::is_sound).take(MAX_FEDERATED) {
        let mut peer = Peer::new(address, shared.instant());
        let bytes = shared.store.meta(&kept_as(&peer.address.fog)).await?.unwrap_or_default();
        if let Ok(directory) = Directory::open(&bytes, &peer.address.fog) {
            peer.directory = Some((Arc::new(directory), Arc::new(bytes)));
        }
        peers.insert(peer.address.fog, peer);
    }
    shared.federation.peers(|all| *all = peers);
    if let Some(own) = shared.directory() {
        shared.learn(&own.bytes);
    }
    shared.federation.signed().iter().for_each(|bytes| shared.learn(bytes));
    named(shared);
    Ok(())
}

/// Under which name a peer's directory is kept.
pub(crate) fn kept_as(fog: &FogId) -> String {
    format!("directory of {fog}")
}

/// The next directory says whom we name.
fn named(shared: &Shared) {
    let fogs = shared.federation.fogs();
    shared.signer().federate(fogs);
    shared.wake.notify_one();
}

/// The operator names a fog, or says anew where it is.
pub(crate) async fn federate(shared: &Arc<Shared>, address: PeerAddress) -> Result<(), Refusal> {
    let invalid = |words: String| Refusal::new(RefusalKind::Invalid, words);
    let fog = address.fog;
    if fog == shared.fog() {
        return Err(invalid("this is the address of this very fog: the other one's is needed".to_owned()));
    }
    if !address.is_sound() || PublicKey::from_bytes(&fog.0).is_err() {
        return Err(invalid("this names no fog that could be reached".to_owned()));
    }
    let added = shared.federation.peers(|peers| {
        if peers.len() >= MAX_FEDERATED && !peers.contains_key(&fog) {
            return false;
        }
        match peers.get_mut(&fog) {
            Some(known) => known.address = address,
            None => drop(peers.insert(fog, Peer::new(address, shared.instant()))),
        }
        true
    });
    if !added {
        return Err(invalid(format!("this fog is federated with {MAX_FEDERATED} others, and takes no more: end one of them")));
    }
    store(shared).await?;
    named(shared);
    keep(shared, fog);
    Ok(())
}

/// The operator ends it. Members leave the fog's mixes with the next directory.
pub(crate) async fn end(shared: &Arc<Shared>, fog: &FogId) -> Result<(), Refusal> {
    if shared.federation.peers(|peers| peers.remove(fog)).is_none() {
        return Err(Refusal::new(RefusalKind::NotFound, "this fog is not federated with that one"));
    }
    named(shared);
    store(shared).await?;
    let forgotten = async {
        shared.store.set_meta(&kept_as(fog), &[]).await?;
        witnessing::forget(shared, fog).await
    };
    forgotten.await.map_err(|error| Refusal::new(RefusalKind::Failed, error.to_string()))
}

async fn store(shared: &Shared) -> Result<(), Refusal> {
    let failed = |words: String| Refusal::new(RefusalKind::Failed, words);
    let addresses: Vec<PeerAddress> = shared.federation.peers(|peers| peers.values().map(|p| p.address.clone()).collect());
    let bytes = encode(&addresses).map_err(|error| failed(error.to_string()))?;
    shared.store.set_meta(PEERS, &bytes).await.map_err(|error| failed(error.to_string()))
}

/// Notes a connection; returns one that is one too many, or the new one when the peer is not named (any more).
pub(crate) fn arrived(shared: &Shared, fog: &FogId, connection: Connection) -> Option<Connection> {
    shared.signing.soon();
    let kept = shared.federation.peer(fog, |peer| {
        peer.connections.retain(|c| c.close_reason().is_none());
        peer.connections.push(connection.clone());
        peer.why = "the connection ended".to_owned();
        (peer.connections.len() > MAX_CONNECTIONS).then(|| peer.connections.remove(0))
    });
    kept.unwrap_or(Some(connection))
}

/// Runs a connection that another allocator opened to its end, or turns it away.
pub(crate) async fn accept(shared: Arc<Shared>, connection: Connection, reply: SendStream, stranger: Stranger) {
    let fog = FogId(*connection.remote_id().as_bytes());
    if shared.federation.peer(&fog, |_| ()).is_none() {
        let words = "this fog's operator has not named yours: both sides federate, each with the other's peer address";
        return stranger.turn_away(reply, Refusal::new(RefusalKind::NotGranted, words)).await;
    }
    stranger.let_in();
    if !welcome(reply, None).await {
        return;
    }
    tracing::info!(fog = fog.short(), "a federated fog's allocator connected");
    if let Some(old) = arrived(&shared, &fog, connection.clone()) {
        old.close(VarInt::from_u32(0), b"connected anew");
    }
    // Who pauses before dialling it has no need to.
    shared.federation.peer(&fog, |peer| peer.came.notify_one());
    serve(shared, connection, fog).await;
}

/// Answers a peer's requests until the connection ends.
pub(crate) async fn serve(shared: Arc<Shared>, connection: Connection, fog: FogId) {
    let answering = shared.clone();
    let answer = move |request| {
        let shared = answering.clone();
        async move {
            match request {
                FederateRequest::Directory(bytes) => match take(&shared, &fog, bytes).await {
                    Ok(()) => FederateReply::Done,
                    Err(refusal) => FederateReply::Refused(refusal),
                },
                request => witnessing::answer(&shared, &fog, request).await,
            }
        }
    };
    answering::serve(&shared, &connection, REQUESTS, FederateReply::Refused, answer).await;
}

/// A peer's directory came from that peer.
async fn take(shared: &Arc<Shared>, fog: &FogId, bytes: Vec<u8>) -> Result<(), Refusal> {
    let clock = shared.instant();
    let busy = || Refusal::new(RefusalKind::Busy, "your directory changes too quickly: later");
    let in_time = shared.federation.peer(fog, |peer| {
        let in_time = clock >= peer.next;
        if in_time {
            // Taken or not: what is wrong costs as much as what is right.
            peer.next = clock + pace(bytes.len());
        }
        in_time
    });
    if !in_time.unwrap_or(false) {
        return Err(busy());
    }
    let invalid = |words: String| Refusal::new(RefusalKind::Invalid, words);
    let directory = Directory::open(&bytes, fog).map_err(|error| invalid(error.to_string()))?;
    if !directory.fresh(shared.now()) {
        return Err(invalid("the directory has expired, or comes from the future: set the clocks right".to_owned()));
    }
    if let Some(Some(known)) = shared.federation.peer(fog, |peer| peer.directory.as_ref().map(|(known, _)| known.clone())) {
        // Who has that fog's key alone does not make this one hand its list on.
        let believed = known.charter.believes(fog, &directory.charter, &directory.handovers);
        believed.map_err(|error| invalid(DirectoryError::Charter(error).to_string()))?;
    }
    let fresh = (Arc::new(directory), Arc::new(bytes));
    let news = shared.federation.peer(fog, |peer| {
        peer.heard = Some(shared.now());
        let newer = peer.directory.as_ref().is_none_or(|(known, _)| known.serial < fresh.0.serial);
        if newer {
            peer.directory = Some(fresh.clone());
        }
        newer
    });
    if news != Some(true) {
        return Ok(());
    }
    let kept = shared.store.set_meta(&kept_as(fog), &fresh.1).await;
    let failed = |error: StoreError| Refusal::new(RefusalKind::Failed, error.to_string());
    kept.map_err(failed)?;
    witnessing::seen(shared, fog, &fresh.0).await.map_err(failed)?;
    tracing::info!(fog = fog.short(), mixes = fresh.0.mixes.len(), serial = fresh.0.serial, "a federated fog's directory came");
    shared.learn(&fresh.1);
    let own = shared.directory().map(|signed| signed.bytes);
    for member in shared.registry.snapshot(clock).here.into_values() {
        hand_after(member, own.clone(), fresh.1.clone());
    }
    shared.wake.notify_one();
    Ok(())
}
