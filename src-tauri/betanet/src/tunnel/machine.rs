//! The tunnel's state machine as simulations drive it: no clock, no task, no pipe.
//!
//! Invariant: everything goes through the same [`Connection`] that [`super::Tunnel`] runs.
//! Deliberately absent: waiting. What has no room is not written, and the caller comes again.

use super::{CloseReason, Side, TunnelConfig, connection::Connection, frames::Frame, handshake::Keys};
use std::{fmt, time::Instant};

/// One end of a tunnel, driven by hand.
pub struct Machine {
    connection: Connection,
    window: u64,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Machine(…)")
    }
}

impl Machine {
    /// An end with the keys of a handshake; datagrams have at most `max_bytes`.
    pub fn new(keys: Keys, side: Side, config: TunnelConfig, max_bytes: usize, now: Instant) -> Self {
        Self { connection: Connection::new(keys, side, config, max_bytes, now), window: config.stream_window }
    }

    /// Opens a stream (visitor), when there is room for one.
    pub fn open(&mut self) -> Option<u32> {
        self.connection.open()
    }

    /// The next stream that the visitor opened (host).
    pub fn accept(&mut self) -> Option<u32> {
        self.connection.accepted.pop_front()
    }

    /// Writes as much as there is room for; says how many bytes.
    pub fn write(&mut self, stream: u32, bytes: &[u8]) -> usize {
        let room = self.connection.send_room();
        let Some(state) = self.connection.streams.get_mut(&stream) else { return 0 };
        let count = state.outgoing.room(self.window).min(room).min(bytes.len());
        state.outgoing.write(&bytes[..count]);
        count
    }

    /// Nothing more will be written to this stream.
    pub fn finish(&mut self, stream: u32) {
        if let Some(state) = self.connection.streams.get_mut(&stream) {
            state.outgoing.finish();
        }
    }

    /// Reads what is there in order; says how many bytes.
    pub fn read(&mut self, stream: u32, into: &mut [u8]) -> usize {
        let count = self.connection.streams.get_mut(&stream).map_or(0, |s| s.incoming.read(into));
        if count > 0 {
            self.connection.read(stream, count);
        }
        count
    }

    /// Whether everything up to the stream's end has been read.
    pub fn is_at_end(&self, stream: u32) -> bool {
        self.connection.streams.get(&stream).is_some_and(|s| s.incoming.is_at_end())
    }

    /// Lets go of a stream.
    pub fn release(&mut self, stream: u32) {
        self.connection.release(stream);
    }

    /// Takes a datagram.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
        self.connection.handle_datagram(now, datagram);
    }

    /// The next datagram to send, if there is one now.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.connection.poll_transmit(now)
    }

    /// When [`Self::handle_timeout`] has something to do at the latest.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.connection.next_timeout()
    }

    /// Does what time has brought.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.connection.handle_timeout(now);
    }

    /// Why it ended, if it has.
    pub fn closed(&self) -> Option<CloseReason> {
        self.connection.closed
    }
}

/// An end that holds the keys and keeps no rule: it seals any content under any number. What a hostile host or visitor can say.
#[derive(Debug)]
pub struct Forger(Keys);

impl Forger {
    /// With the keys of a handshake.
    pub fn new(keys: Keys) -> Self {
        Self(keys)
    }

    /// A datagram of this content; `None` when it is too long for one, or the number is the one that Noise reserves.
    pub fn seal(&self, number: u64, content: &[u8]) -> Option<Vec<u8>> {
        self.0.seal(number, content)
    }
}

/// Reads a datagram's content and writes down what was read; `None` when it is none.
pub fn reread(content: &[u8]) -> Option<Vec<u8>> {
    let mut again = Vec::with_capacity(content.len());
    Frame::read_all(content)?.iter().for_each(|frame| frame.write(&mut again));
    Some(again)
}
