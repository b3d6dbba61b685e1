//! Links: QUIC connections on which packets travel between mixes, and between a client and its guard.
//!
//! Invariants: a frame is one unidirectional stream of exactly [`LINK_FRAME_BYTES`], so no packet waits behind a lost one and all look
//! alike; every queue is bounded; a peer that speaks garbage or dribbles loses its stream, nothing else.
//! No look-up service, port mapping or DNS, and no relay but the fog's own where a directory names it: nothing is sent to anyone who was
//! not named.
//! Deliberately absent: what packets mean (mixnode and uplink).

mod frame;
mod outgoing;
#[cfg(test)]
mod tests;

pub use frame::{Frame, PART_BYTES, Part};
pub use outgoing::{Link, LinkState, Take, Way};

use fogbank_sphinx::{Geometry, PACKET_BYTES};
use fogbank_wire::RelayHint;
use futures_util::FutureExt as _;
use iroh::{
    Endpoint, EndpointAddr, PublicKey, SecretKey,
    endpoint::{
        BindError, Connection, ConnectionError, IdleTimeout, MtuDiscoveryConfig, QuicTransportConfig, RecvStream, VarInt, presets,
    },
};
use std::{
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::Semaphore,
    time::{sleep_until, timeout},
};

/// Every frame: a kind, and a packet or what is padded to the same length.
pub const LINK_FRAME_BYTES: usize = 1 + PACKET_BYTES;
/// A delivery: the SURB's id and the body; the rest of the frame is zeros (under QUIC's encryption).
pub const DELIVERY_BYTES: usize = Geometry::ID_BYTES + Geometry::BODY_BYTES;

/// A peer is heard from at least this often.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Four keep-alives: a lost one or two is no loss of the link.
const IDLE_MS: u32 = 4_000;
/// Frames under way on one connection: at 8 KiB half a megabyte, which fills 40 Mbit/s over a round trip of 100 ms. A peer that begins frames
/// and never ends them makes us hold so much, on each of a mix's connections.
const MAX_STREAMS: u32 = 64;
/// The longest datagram that path MTU discovery looks for: a whole frame and QUIC's own bytes. Today it ends below that everywhere, on
/// loopback too: iroh 1.4 tells peers that it takes 1,472 bytes at most, and has no setting for it. So a frame of 8 KiB is six datagrams, which
/// the system's segmentation sends and takes in one call.
const LARGEST_DATAGRAM: u16 = {
    let whole = LINK_FRAME_BYTES + 128;
    if whole < 65_000 { whole as u16 } else { 65_000 }
};
/// One frame and its stream's overhead; more is never right.
const STREAM_WINDOW: u32 = 2 * LINK_FRAME_BYTES as u32;
/// All frames under way.
const WINDOW: u32 = MAX_STREAMS * LINK_FRAME_BYTES as u32;
/// Frames taken in a row before others have their turn: a mix unwraps each as it is taken, which is a third of a millisecond in all.
const TURN: u32 = 8;
/// A stream that takes longer is given up, in either direction; its packet would be too late anyway.
const FRAME_DEADLINE: Duration = Duration::from_secs(10);

/// How links use QUIC: streams go out in the order in which they were written.
///
/// `pad_to_mtu` is deliberately not set, for two faults of noq 1.4.0. It limits a loss probe to 1,200 bytes but pads it to the path's MTU: where that is
/// larger, the padding becomes part of a stream that was to fill the packet, and frames are lost or changed. And it counts padded
/// acknowledgements as under way, though nobody acknowledges them: whoever only takes frames for a while has filled its congestion window with
/// them, can grant no more streams, and the link stands still (with an MTU of 1,200 in 10 of 228 runs of the link's tests; unpadded in none of
/// 245). So one frame is a row of datagrams of the path's MTU and one that is shorter, alike for all frames; acknowledgements and keep-alives
/// are short.
///
/// `ack_frequency_config` is deliberately not set either: noq 1.4.0 writes the frame that asks the peer for fewer acknowledgements without looking
/// whether the packet has room for it, and ends the process when it has none (seen once in some thousand connections of a busy computer). A
/// mix forwards the same share of what one thread alone unwraps without it (0.57 to 0.58 on a quiet machine, 0.57 before).
fn transport() -> QuicTransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(LARGEST_DATAGRAM);
    QuicTransportConfig::builder()
        .keep_alive_interval(KEEP_ALIVE)
        .default_path_keep_alive_interval(KEEP_ALIVE)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_MS))))
        .default_path_max_idle_timeout(Duration::from_millis(IDLE_MS.into()))
        .max_concurrent_uni_streams(VarInt::from_u32(MAX_STREAMS))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(u64::from(WINDOW))
        .mtu_discovery_config(Some(mtu))
        // Round robin would let all packets under way arrive late instead of one after another.
        .send_fairness(false)
        .build()
}

/// Binds an endpoint for links, with the relay at which it meets peers that it does not reach. Port 0 takes a free one.
///
/// # Errors
/// When the address can't be bound.
pub async fn bind(key: SecretKey, addr: SocketAddr, relay: Option<&RelayHint>) -> Result<Endpoint, LinkBindError> {
    let transport = transport();
    let failed = |why: String| LinkBindError { addr, why };
    let builder = fogbank_wire::with_relay(Endpoint::builder(presets::Minimal), relay)
        .secret_key(key)
        .alpns(vec![fogbank_wire::ALPN.to_vec()])
        .clear_address_lookup()
        .clear_ip_transports()
        .transport_config(transport)
        .bind_addr(addr)
        .map_err(|e| failed(e.to_string()))?;
    builder.bind().await.map_err(|e: BindError| failed(e.to_string()))
}

/// The endpoint could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("can't listen at {addr} for packets: {why}")]
pub struct LinkBindError {
    addr: SocketAddr,
    why: String,
}

/// A peer's key and addresses as iroh takes them; `None` when the key is no key.
pub(crate) fn peer(key: &[u8; 32], addrs: &[SocketAddr], relay: Option<&RelayHint>) -> Option<EndpointAddr> {
    let id = PublicKey::from_bytes(key).ok()?;
    let addr = addrs.iter().fold(EndpointAddr::new(id), |addr, ip| addr.with_ip_addr(*ip));
    Some(fogbank_wire::met_at(addr, relay))
}

/// Sends one frame on a stream of its own; waits while the connection has no room. A peer that takes nothing for [`FRAME_DEADLINE`] is no peer: it
/// would keep from others what waits for it.
pub(crate) async fn send(connection: &Connection, frame: Frame) -> Result<(), ConnectionError> {
    let mut sending = pin!(send_whole(connection, frame));
    // Mostly there is room at once: that costs no timer.
    match sending.as_mut().now_or_never() {
        Some(sent) => sent,
        None => timeout(FRAME_DEADLINE, sending).await.unwrap_or(Err(ConnectionError::TimedOut)),
    }
}

async fn send_whole(connection: &Connection, frame: Frame) -> Result<(), ConnectionError> {
    let (frame, _place) = match frame {
        Frame::Held(frame, place) => (*frame, Some(place)),
        frame => (frame, None),
    };
    let mut stream = connection.open_uni().await?;
    let mut pieces = frame.pieces();
    // A peer that stops a stream loses that frame; a broken connection shows at the next one.
    if stream.write_all_chunks(&mut pieces).await.is_ok() {
        let _ = stream.finish();
    }
    Ok(())
}

/// Takes a peer's frames, each as it is complete, until the connection ends. `take` must not wait: it counts and drops what it has no
/// room for. Its work counts as the task's. It may say until when nothing more is taken: meanwhile QUIC's windows hold the sender back.
pub(crate) async fn receive(
    connection: &Connection,
    take: impl Fn(Frame) -> Option<Instant> + Send + Sync + 'static,
) -> ConnectionError {
    let take = Arc::new(take);
    let slots = Arc::new(Semaphore::new(MAX_STREAMS as usize));
    let deaf = Arc::new(Mutex::new(None));
    let hold = |until: Option<Instant>| {
        if until.is_some() {
            *deaf.lock().unwrap_or_else(PoisonError::into_inner) = until;
        }
    };
    let mut turn = 0;
    loop {
        let until = deaf.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(until) = until {
            sleep_until(until.into()).await;
        }
        let stream = match connection.accept_uni().await {
            Ok(stream) => stream,
            Err(error) => return error,
        };
        let mut reading = Box::pin(read(stream));
        // Most frames are there whole when their stream is: they cost neither a task nor a timer.
        if let Some(frame) = reading.as_mut().now_or_never() {
            hold(taken(frame, &*take));
            turn = (turn + 1) % TURN;
            if turn == 0 {
                tokio::task::yield_now().await;
            }
            continue;
        }
        let Ok(slot) = slots.clone().acquire_owned().await else { return ConnectionError::LocallyClosed };
        let (take, deaf) = (take.clone(), deaf.clone());
        tokio::spawn(async move {
            let _slot = slot;
            match timeout(FRAME_DEADLINE, reading).await {
                Ok(frame) => {
                    if let Some(until) = taken(frame, &*take) {
                        *deaf.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
                    }
                }
                Err(_) => tracing::debug!("a peer dribbled a frame"),
            }
        });
    }
}

fn taken(frame: Option<Frame>, take: &impl Fn(Frame) -> Option<Instant>) -> Option<Instant> {
    if frame.is_none() {
        tracing::debug!("a peer sent a frame that is none");
    }
    take(frame?)
}

async fn read(mut stream: RecvStream) -> Option<Frame> {
    // Where datagrams are as long as frames this is all of it: a frame that came whole takes two calls into its connection.
    let first = stream.read_chunk(usize::MAX).await.ok()??;
    let (kind, begun) = first.split_first()?;
    let body = exactly(stream, begun, PACKET_BYTES).await?;
    Frame::parse(*kind, body)
}

/// The bytes of a stream from those that were read already to its end; none when they are not exactly so many.
async fn exactly(mut stream: RecvStream, begun: &[u8], bytes: usize) -> Option<Vec<u8>> {
    let mut read = Vec::with_capacity(PACKET_BYTES.min(bytes).max(begun.len()));
    read.extend_from_slice(begun);
    while read.len() <= bytes {
        match stream.read_chunk(usize::MAX).await.ok()? {
            Some(more) => read.extend_from_slice(&more),
            None => break,
        }
    }
    (read.len() == bytes).then_some(read)
}

const _: () = assert!(DELIVERY_BYTES <= PACKET_BYTES, "a delivery fits the frame of a packet");
