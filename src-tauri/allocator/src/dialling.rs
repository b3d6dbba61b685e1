//! The connections to federated fogs' allocators: kept up from here, and each peer told of the own directory on them.
//!
//! Invariants: a peer is dialled with growing, jittered pauses, also one that lets us in and ends it at once; it is told of a directory no more often
//! than it takes one.
//! Deliberately absent: who the peers are and what they ask ([`crate::federation`]).

use crate::{
    federation::{Peer, REQUEST_DEADLINE, arrived, pace, serve},
    start::Shared,
};
use fogbank_model::FogId;
use fogbank_wire::{ALPN, CallError, FederateReply, FederateRequest, PeerAddress, Purpose, call, greet};
use iroh::{
    Endpoint, EndpointAddr, PublicKey,
    endpoint::{Connection, VarInt},
};
use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};

/// First pause before a peer is dialled again; doubled each time up to [`LONGEST_PAUSE`], with as much jitter again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// An operator who has just named us there, or a peer that came back, is met within two minutes; most peers dial us first.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A connection attempt that takes longer has failed.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// A peer is told of a new directory this often at most; a long one half as often as it takes one, so that an honest one is not refused for haste.
const PUSH_PAUSE: Duration = Duration::from_secs(4);
/// One that is refused again and again is sent this seldom at last: it may be megabytes, and the reason is a person's to mend.
const LONGEST_PUSH_PAUSE: Duration = Duration::from_secs(600);

/// Begins to dial the peers from the fog's endpoint.
pub(crate) fn dial_from(shared: &Arc<Shared>, endpoint: Endpoint) {
    if shared.federation.endpoint.set(endpoint).is_err() {
        return;
    }
    for fog in shared.federation.fogs() {
        keep(shared, fog);
    }
}

/// Begins to keep a connection to one.
pub(crate) fn keep(shared: &Arc<Shared>, fog: FogId) {
    if let Some(endpoint) = shared.federation.endpoint.get() {
        let keeping = tokio::spawn(keep_up(Arc::downgrade(shared), endpoint.clone(), fog));
        if let Some(Some(old)) = shared.federation.peer(&fog, |peer| peer.keeping.replace(keeping)) {
            old.abort();
        }
    }
}

/// Keeps a connection to a peer, and tells it of our directory, for as long as it is named.
async fn keep_up(shared: Weak<Shared>, endpoint: Endpoint, fog: FogId) {
    let mut pause = FIRST_PAUSE;
    let mut pushed: Option<Instant> = None;
    loop {
        let Some(shared) = shared.upgrade() else { return };
        let state = |peer: &mut Peer| (peer.connection().cloned(), peer.address.clone(), peer.came.clone());
        let Some((connection, address, came)) = shared.federation.peer(&fog, state) else { return };
        let began = shared.instant();
        let connection = match connection {
            Some(connection) => Some(connection),
            None => meet(&shared, &endpoint, &address).await,
        };
        if let Some(connection) = connection {
            tell(&shared, &fog, &connection, &mut pushed).await;
        }
        // One that lets us in and ends it at once is not dialled in a loop.
        if shared.instant().duration_since(began) > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        let rest = pause.mul_f64(1.0 + shared.random::<f64>());
        drop(shared);
        tokio::select! {
            () = sleep(rest) => {}
            () = came.notified() => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Dials a peer, and answers what it asks from then on.
async fn meet(shared: &Arc<Shared>, endpoint: &Endpoint, address: &PeerAddress) -> Option<Connection> {
    let fog = address.fog;
    match dial(endpoint, address).await {
        Ok(connection) => {
            tracing::info!(fog = fog.short(), "connected to a federated fog's allocator");
            if let Some(old) = arrived(shared, &fog, connection.clone()) {
                old.close(VarInt::from_u32(0), b"connected anew");
            }
            tokio::spawn(serve(shared.clone(), connection.clone(), fog));
            Some(connection)
        }
        Err(error) => {
            shared.federation.peer(&fog, |peer| peer.why = error.to_string());
            None
        }
    }
}

async fn dial(endpoint: &Endpoint, address: &PeerAddress) -> Result<Connection, CallError> {
    let broken = |error: String| CallError::Frame(fogbank_wire::FrameError::Broken(std::io::Error::other(error)));
    let id = PublicKey::from_bytes(&address.fog.0).map_err(|error| broken(error.to_string()))?;
    let to = address.addrs.iter().fold(EndpointAddr::new(id), |to, addr| to.with_ip_addr(*addr));
    let connecting = timeout(CONNECT_DEADLINE, endpoint.connect(to, ALPN)).await;
    let connection = connecting.map_err(|_| CallError::TimedOut(CONNECT_DEADLINE))?.map_err(|error| broken(error.to_string()))?;
    match greet(&connection, Purpose::Federate).await {
        Ok(_) => Ok(connection),
        Err(error) => {
            connection.close(VarInt::from_u32(1), b"hello failed");
            Err(error)
        }
    }
}

/// Tells the peer of our directory now and whenever it changes, until the connection ends.
async fn tell(shared: &Arc<Shared>, fog: &FogId, connection: &Connection, pushed: &mut Option<Instant>) {
    let mut signed = shared.signed.subscribe();
    let (mut told, mut refused) = (0, 0u32);
    loop {
        let newest = shared.directory().filter(|d| d.directory.serial > told);
        let length = newest.as_ref().map_or(0, |d| d.bytes.len());
        let wait = PUSH_PAUSE.max(pace(length) * 2) * 2u32.saturating_pow(refused.min(16));
        let until =
            pushed.map_or(Duration::ZERO, |at| wait.min(LONGEST_PUSH_PAUSE).saturating_sub(shared.instant().duration_since(at)));
        tokio::select! {
            _ = connection.closed() => return,
            () = shared.stop.cancelled() => return,
            () = sleep(until), if newest.is_some() => {}
            changed = signed.changed(), if newest.is_none() => if changed.is_err() { return } else { continue },
        }
        let Some(newest) = newest else { continue };
        *pushed = Some(shared.instant());
        let request = FederateRequest::Directory(newest.bytes.as_ref().clone());
        match timeout(REQUEST_DEADLINE, call(connection, &request)).await {
            Ok(Ok(FederateReply::Done)) => {
                (told, refused) = (newest.directory.serial, 0);
                continue;
            }
            Ok(Ok(FederateReply::Refused(refusal))) => {
                tracing::debug!(%refusal, fog = fog.short(), "a peer took no directory yet")
            }
            Ok(Ok(_)) => tracing::debug!(fog = fog.short(), "a peer gave an answer to another question"),
            Ok(Err(error)) => tracing::debug!(%error, fog = fog.short(), "a peer took no directory"),
            Err(_) => tracing::debug!(fog = fog.short(), "a peer does not take a directory in time"),
        }
        refused = refused.saturating_add(1);
    }
}
