//! The tunnel between a visitor and an instance: reliable, multiplexed, end-to-end encrypted byte streams over datagrams that arrive
//! reordered, late, or not at all.
//!
//! A selective-repeat layer of our own rather than quinn: quinn drops packets more than 129 behind the newest, which delays per hop make
//! normal, and it exchanges addresses. Here nothing but streams is inside; no IP address of either side appears.
//!
//! Invariants: garbage and replays are ignored; windows bound what either side holds for the other; a side that hears nothing for
//! [`SILENCE`] while something is outstanding gives up. The state machine ([`connection`]) has no clock and no I/O; [`driver`] has both.
//! Keys are exchanged by X25519 and ML-KEM-768 together ([`handshake`]). Deliberately absent: the way that datagrams take (rendezvous).

mod connection;
mod driver;
mod frames;
mod handshake;
mod kem;
mod machine;
mod ranges;
mod recovery;
mod streams;
mod window;

pub use driver::{Stream, Tunnel, TunnelError};
pub use handshake::{HandshakeError, Initiation, IntroductionKey, Keys, Response, initiate, respond};
pub use machine::{Forger, Machine, reread};

use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::sync::mpsc;

/// Streams open at once in one tunnel; further ones wait.
pub const MAX_STREAMS: usize = 256;
/// Nothing heard for so long while something is outstanding, and the other end is taken for gone. Where that leaves no time for several probes,
/// as on ways slower than those of level balanced, it is as long as they take.
pub const SILENCE: Duration = Duration::from_secs(4);
/// Something is outstanding and datagrams come, but none acknowledges anything for so long: the other end lets us hold what we sent. Far above
/// any path's loss.
pub const NO_PROGRESS: Duration = Duration::from_secs(30);
/// Bytes that all streams of a tunnel together hold until they are acknowledged: 256 datagrams under way are 2 MB, and as much again while
/// one that was lost is waited for, sent again and acknowledged.
pub const SEND_BUFFER: u64 = 4 << 20;
/// While streams are open, something is sent at least this often, so that silence is noticed.
pub const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// Unordered, lossy, delayed datagrams.
pub struct DatagramPipe {
    /// Towards the other end; waits for room.
    pub send: mpsc::Sender<Vec<u8>>,
    /// From the other end.
    pub recv: mpsc::Receiver<Vec<u8>>,
    /// The longest datagram that goes through.
    pub max_bytes: usize,
}

/// Which end of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Opens streams.
    Visitor,
    /// Accepts them.
    Host,
}

/// What can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelConfig {
    /// Bytes that one stream may hold unread, and unsent on the other side.
    pub stream_window: u64,
    /// Bytes that all streams of a tunnel may hold unread.
    pub window: u64,
    /// Datagrams under way at most.
    pub max_in_flight: usize,
}

impl Default for TunnelConfig {
    /// 256 datagrams (2 MB at 8 KiB) a round trip are 80 MB/s over 25 ms, 10 MB/s over the 190 ms of level balanced and 3 MB/s over the 640 ms of
    /// level strict. One stream may have all of it under way; four that nobody reads may stand beside one another before others wait.
    /// A tunnel holds at most [`SEND_BUFFER`] + `window` + 2 MB of datagrams in its pipe: 14 MB, when the other end does all it can to fill it.
    fn default() -> Self {
        Self { stream_window: 2 << 20, window: 8 << 20, max_in_flight: 256 }
    }
}

/// Why a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// This end closed it.
    Here,
    /// The other end closed it.
    There,
    /// The other end was silent for [`SILENCE`], or for longer on a slow way.
    Silent,
    /// The way of datagrams ended.
    PipeEnded,
}

/// What a tunnel has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelCounters {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams taken.
    pub received: u64,
    /// Datagrams that were no datagram of this tunnel, or came twice.
    pub ignored: u64,
    /// Datagrams taken for lost.
    pub lost: u64,
    /// Smoothed round trip, ms.
    pub round_trip_ms: u64,
}
