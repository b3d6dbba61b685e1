//! The tunnel's state machine: datagrams in, datagrams out, streams in between. No clock, no I/O: time is passed in.

use super::{
    CloseReason, KEEP_ALIVE, MAX_STREAMS, NO_PROGRESS, SEND_BUFFER, Side, TunnelConfig, TunnelCounters,
    frames::{Frame, MAX_ACK_RANGES, STREAM_HEAD_BYTES, ack_bytes},
    handshake::Keys,
    ranges::Ranges,
    recovery::{Carried, Recovery},
    streams::{Incoming, Outgoing, Overrun},
};
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::{Duration, Instant},
};

/// An acknowledgement is sent after so many datagrams that ask for one: each costs a whole packet, whose room then carries as many reply
/// blocks as were used up by what it acknowledges, so that neither travels alone. A twelfth of the window, so it never stops the sender. Fewer
/// are acknowledged after [`Recovery::ack_delay`].
const ACK_EVERY: u32 = 20;
/// See [`Connection::first`].
const IN_TURN: u32 = 4;
/// Ranges of seen numbers kept; older gaps count as seen.
const SEEN_RANGES: usize = 512;

/// One stream's state.
pub(super) struct StreamState {
    pub(super) outgoing: Outgoing,
    pub(super) incoming: Incoming,
    /// The tunnel has ended under it.
    pub(super) cut: bool,
    /// Nobody here holds it any more.
    released: bool,
}

/// A tunnel without its clock and its pipe.
pub(super) struct Connection {
    side: Side,
    keys: Keys,
    config: TunnelConfig,
    max_content: usize,
    recovery: Recovery,
    next_number: u64,
    seen: Ranges,
    unacked: u32,
    ack_since: Option<Instant>,
    /// One more than the number of the datagram that acknowledged last; 0: none did.
    acked_by: u64,
    largest_came: Option<Instant>,
    pub(super) streams: HashMap<u32, StreamState>,
    turn: VecDeque<u32>,
    datagrams: u32,
    /// Visitor: id of the next stream. Host: all below are known or in `gaps`.
    next_stream: u32,
    gaps: BTreeSet<u32>,
    pub(super) accepted: VecDeque<u32>,
    control: VecDeque<Carried>,
    /// Credit over all streams: sent and allowed, received and let.
    data_sent: u64,
    data_allowed: u64,
    data_received: u64,
    data_read: u64,
    data_let: u64,
    pub(super) going_away: bool,
    pub(super) closed: Option<CloseReason>,
    close_to_send: bool,
    waiting_since: Option<Instant>,
    /// Since when nothing that was sent has been acknowledged, while something is outstanding.
    stuck_since: Option<Instant>,
    last_sent: Instant,
    counters: TunnelCounters,
}

impl Connection {
    pub(super) fn new(keys: Keys, side: Side, config: TunnelConfig, max_bytes: usize, now: Instant) -> Self {
        Self {
            side,
            keys,
            config,
            max_content: max_bytes.saturating_sub(Keys::OVERHEAD_BYTES),
            recovery: Recovery::new(config.max_in_flight),
            next_number: 0,
            seen: Ranges::default(),
            unacked: 0,
            ack_since: None,
            acked_by: 0,
            largest_came: None,
            streams: HashMap::new(),
            turn: VecDeque::new(),
            datagrams: 0,
            next_stream: 0,
            gaps: BTreeSet::new(),
            accepted: VecDeque::new(),
            control: VecDeque::new(),
            data_sent: 0,
            data_allowed: config.window,
            data_received: 0,
            data_read: 0,
            data_let: config.window,
            going_away: false,
            closed: None,
            close_to_send: false,
            waiting_since: None,
            stuck_since: None,
            last_sent: now,
            counters: TunnelCounters::default(),
        }
    }

    pub(super) fn counters(&self) -> TunnelCounters {
        let round_trip_ms = u64::try_from(self.recovery.srtt().as_millis()).unwrap_or(u64::MAX);
        TunnelCounters { lost: self.recovery.lost, round_trip_ms, ..self.counters }
    }

    /// Opens a stream, when there is room for one.
    pub(super) fn open(&mut self) -> Option<u32> {
        if self.closed.is_some() || self.streams.len() >= MAX_STREAMS {
            return None;
        }
        let id = self.next_stream;
        self.next_stream = id.checked_add(1)?;
        self.add_stream(id);
        Some(id)
    }

    fn add_stream(&mut self, id: u32) {
        let window = self.config.stream_window;
        let state = StreamState { outgoing: Outgoing::new(window), incoming: Incoming::new(window), cut: false, released: false };
        self.streams.insert(id, state);
        self.turn.push_back(id);
    }

    /// Tells the other end to open new streams elsewhere.
    pub(super) fn go_away(&mut self) {
        if !self.going_away {
            self.going_away = true;
            self.control.push_back(Carried::GoAway);
        }
    }

    pub(super) fn close(&mut self, reason: CloseReason) {
        if self.closed.is_none() {
            self.closed = Some(reason);
            self.close_to_send = reason == CloseReason::Here;
            for stream in self.streams.values_mut() {
                stream.cut = true;
                stream.wake();
            }
        }
    }

    /// Nobody here holds the stream any more. What was finished still goes out whole; what was not is given up, and what comes is not read.
    pub(super) fn release(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.released = true;
        if !stream.outgoing.is_finished() && stream.outgoing.abandon() {
            self.control.push_back(Carried::Reset { id });
        }
        let over = stream.incoming.is_over();
        // Also when it is over: of a stream that was given up the last may still come, and would be waited for to be read.
        self.data_read += stream.incoming.ignore();
        if !over {
            self.control.push_back(Carried::Stop { id });
        }
        self.update_window();
        self.reap(id);
    }

    /// Forgets a stream that is over on both sides.
    fn reap(&mut self, id: u32) {
        let Some(stream) = self.streams.get(&id) else { return };
        if stream.released && (stream.cut || (stream.outgoing.is_done() && stream.incoming.is_over())) {
            // What was received and never read frees its share of the window.
            self.data_read += stream.incoming.unread();
            self.streams.remove(&id);
            self.turn.retain(|t| *t != id);
            self.update_window();
        }
    }

    /// Counts bytes that came against the windows; an honest peer stays within them.
    fn received(&mut self, id: u32, moved: Result<u64, Overrun>) {
        let Ok(moved) = moved else { return self.close(CloseReason::Here) };
        self.data_received += moved;
        if self.streams.get(&id).is_some_and(|s| s.incoming.is_ignored()) {
            self.data_read += moved;
            self.update_window();
        }
        if self.data_received > self.data_let {
            return self.close(CloseReason::Here);
        }
        self.reap(id);
    }

    /// Somebody read from a stream.
    pub(super) fn read(&mut self, id: u32, bytes: usize) {
        self.data_read += bytes as u64;
        let window = self.config.stream_window;
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.incoming.new_limit(window).is_some()
        {
            self.control.push_back(Carried::MaxStreamData { id });
        }
        self.update_window();
    }

    fn update_window(&mut self) {
        let limit = self.data_read + self.config.window;
        if limit - self.data_let >= self.config.window / 2 {
            self.data_let = limit;
            self.control.push_back(Carried::MaxData);
        }
    }

    /// Takes a datagram; what is not of this tunnel, or came before, is ignored.
    pub(super) fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
        let opened = self.keys.open(datagram).filter(|(number, _)| !self.seen.contains(*number));
        let Some((number, frames)) = opened.and_then(|(n, content)| Some((n, Frame::read_all(&content)?))) else {
            self.counters.ignored += 1;
            return;
        };
        self.seen.insert(number, number + 1);
        self.seen.limit(SEEN_RANGES);
        self.counters.received += 1;
        if frames.iter().any(Frame::asks_for_ack) {
            self.unacked += 1;
            self.ack_since.get_or_insert(now);
            self.largest_came = Some(now);
        }
        for frame in frames {
            self.handle_frame(now, frame);
        }
        if self.recovery.is_idle() {
            self.waiting_since = None;
            self.stuck_since = None;
        } else {
            self.waiting_since = Some(now);
        }
    }

    /// How much more all streams together may hold for sending.
    pub(super) fn send_room(&self) -> usize {
        let held: u64 = self.streams.values().map(|s| s.outgoing.held()).sum();
        usize::try_from(SEND_BUFFER.saturating_sub(held)).unwrap_or(usize::MAX)
    }

    fn handle_frame(&mut self, now: Instant, frame: Frame) {
        match frame {
            Frame::Stream { id, offset, fin, data } => {
                self.known_or_new(id);
                let Some(stream) = self.streams.get_mut(&id) else { return };
                let moved = stream.incoming.take(offset, data, fin);
                self.received(id, moved);
            }
            Frame::Ack { delay_ms, before, ranges } => {
                let fresh = before == 0 || self.seen.contains(before - 1);
                let delay = fresh.then(|| Duration::from_millis(delay_ms.into()));
                let acked = self.recovery.acked(now, delay, &ranges);
                if !acked.is_empty() {
                    self.stuck_since = Some(now);
                }
                for carried in acked {
                    let (Carried::Stream { id, .. } | Carried::Reset { id }) = carried else { continue };
                    let Some(stream) = self.streams.get_mut(&id) else { continue };
                    match carried {
                        Carried::Stream { start, end, fin, .. } => stream.outgoing.acked(start, end, fin),
                        _ => stream.outgoing.abandon_acked(),
                    }
                    self.reap(id);
                }
                // Room that one stream gave back may be what another waits for.
                for stream in self.streams.values_mut() {
                    if let Some(waker) = stream.outgoing.waker.take() {
                        waker.wake();
                    }
                }
            }
            Frame::MaxStreamData { id, max } => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.outgoing.allowed = stream.outgoing.allowed.max(max);
                }
            }
            Frame::MaxData { max } => self.data_allowed = self.data_allowed.max(max),
            Frame::Reset { id, size } => {
                self.known_or_new(id);
                let Some(stream) = self.streams.get_mut(&id) else { return };
                let moved = stream.incoming.give_up(size);
                self.received(id, moved);
            }
            Frame::Stop { id } => {
                self.known_or_new(id);
                if let Some(stream) = self.streams.get_mut(&id)
                    && stream.outgoing.abandon()
                {
                    self.control.push_back(Carried::Reset { id });
                }
            }
            Frame::GoAway => self.going_away |= self.side == Side::Visitor,
            Frame::Ping => {}
            Frame::Close => self.close(CloseReason::There),
        }
    }

    /// Host: a stream id that was not seen before makes a new stream; streams below it come later.
    fn known_or_new(&mut self, id: u32) {
        if self.side == Side::Visitor || self.streams.contains_key(&id) {
            return;
        }
        if id >= self.next_stream {
            let skipped = (id - self.next_stream) as usize;
            if self.streams.len() + self.gaps.len() + skipped >= 2 * MAX_STREAMS {
                // An honest peer opens no more. Its bytes would be acknowledged and never read.
                return self.close(CloseReason::Here);
            }
            self.gaps.extend(self.next_stream..id);
            self.next_stream = id.saturating_add(1);
        } else if !self.gaps.remove(&id) {
            return;
        }
        self.add_stream(id);
        self.accepted.push_back(id);
    }

    /// The next datagram to send, if there is one now.
    pub(super) fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.closed.is_some() {
            return std::mem::take(&mut self.close_to_send).then(|| self.seal(now, &[Frame::Close], Vec::new())).flatten();
        }
        let ack_due = self.unacked >= ACK_EVERY || self.ack_since.is_some_and(|since| now >= since + self.recovery.ack_delay());
        let may_send = self.recovery.has_room(now);
        let has_data = may_send && (!self.control.is_empty() || self.wants_to_send());
        let keep_alive = self.recovery.is_idle() && !self.streams.is_empty() && now >= self.last_sent + KEEP_ALIVE;
        if !ack_due && !has_data && !keep_alive {
            return self.rest();
        }
        let mut frames = Vec::new();
        let mut carried = Vec::new();
        let mut room = self.max_content;
        if self.unacked > 0 {
            let delay = self.largest_came.map_or(Duration::ZERO, |came| now.duration_since(came));
            let delay_ms = u16::try_from(delay.as_millis()).unwrap_or(u16::MAX);
            let ranges: Vec<(u64, u64)> = self.seen.highest(MAX_ACK_RANGES).collect();
            room = room.saturating_sub(ack_bytes(ranges.len()));
            frames.push(Frame::Ack { delay_ms, before: self.acked_by, ranges });
            self.acked_by = self.next_number + 1;
            self.unacked = 0;
            self.ack_since = None;
        }
        if has_data {
            self.fill(&mut frames, &mut carried, room);
        }
        if keep_alive && carried.is_empty() {
            frames.push(Frame::Ping);
            carried.push(Carried::Ping);
        }
        if frames.is_empty() { self.rest() } else { self.seal(now, &frames, carried) }
    }

    /// Nothing to send. What was lost may have become moot since; then no answer is waited for either.
    fn rest(&mut self) -> Option<Vec<u8>> {
        if self.recovery.is_idle() {
            self.waiting_since = None;
            self.stuck_since = None;
        }
        None
    }

    fn wants_to_send(&self) -> bool {
        let credit = self.data_allowed - self.data_sent;
        self.streams.values().any(|s| s.outgoing.wants(credit))
    }

    /// Control first, then stream bytes in turn.
    fn fill(&mut self, frames: &mut Vec<Frame>, carried: &mut Vec<Carried>, mut room: usize) {
        const CONTROL_BYTES: usize = 13;
        while room > CONTROL_BYTES + STREAM_HEAD_BYTES
            && let Some(item) = self.control.pop_front()
        {
            let frame = match &item {
                Carried::MaxStreamData { id } => match self.streams.get(id) {
                    Some(stream) => Frame::MaxStreamData { id: *id, max: stream.incoming.allowed() },
                    None => continue,
                },
                Carried::MaxData => Frame::MaxData { max: self.data_let },
                Carried::Reset { id } => match self.streams.get(id) {
                    Some(stream) => Frame::Reset { id: *id, size: stream.outgoing.size() },
                    None => continue,
                },
                Carried::Stop { id } => Frame::Stop { id: *id },
                Carried::GoAway => Frame::GoAway,
                Carried::Ping | Carried::Stream { .. } => Frame::Ping,
            };
            frames.push(frame);
            carried.push(item);
            room -= CONTROL_BYTES;
        }
        let mut first = self.first();
        for _ in 0..=self.turn.len() {
            if room <= STREAM_HEAD_BYTES {
                return;
            }
            let id = match first.take() {
                Some(id) => id,
                None => {
                    let Some(id) = self.turn.pop_front() else { return };
                    self.turn.push_back(id);
                    id
                }
            };
            let credit = self.data_allowed - self.data_sent;
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            let Some((offset, data, fin, new)) = stream.outgoing.take(room - STREAM_HEAD_BYTES, credit) else { continue };
            self.data_sent += new;
            room -= STREAM_HEAD_BYTES + data.len();
            carried.push(Carried::Stream { id, start: offset, end: offset + data.len() as u64, fin });
            frames.push(Frame::Stream { id, offset, fin, data });
        }
    }

    /// The stream that goes first: of those whose end is written, the one with the least left. So of six pictures the first is whole after a sixth
    /// of the time, and the next is asked for while the others come; in turn, all would end together, and the way lie idle for a round trip.
    /// Each [`IN_TURN`]th datagram begins with one whose end is not in sight, so that a long one goes on beside short ones.
    fn first(&mut self) -> Option<u32> {
        self.datagrams = self.datagrams.wrapping_add(1);
        let credit = self.data_allowed - self.data_sent;
        if self.datagrams.is_multiple_of(IN_TURN) {
            let endless = |id: &u32| self.streams.get(id).is_some_and(|s| !s.outgoing.is_finished() && s.outgoing.wants(credit));
            let id = self.turn.iter().position(endless).and_then(|at| self.turn.remove(at))?;
            self.turn.push_back(id);
            return Some(id);
        }
        let ending = self.streams.iter().filter(|(_, s)| s.outgoing.is_finished() && s.outgoing.wants(credit));
        ending.min_by_key(|(id, s)| (s.outgoing.left(), **id)).map(|(id, _)| *id)
    }

    fn seal(&mut self, now: Instant, frames: &[Frame], carried: Vec<Carried>) -> Option<Vec<u8>> {
        let mut content = Vec::with_capacity(self.max_content);
        frames.iter().for_each(|frame| frame.write(&mut content));
        let number = self.next_number;
        self.next_number += 1;
        let datagram = self.keys.seal(number, &content)?;
        self.counters.sent += 1;
        self.last_sent = now;
        if !carried.is_empty() {
            self.recovery.sent(now, number, carried);
            self.waiting_since.get_or_insert(now);
            self.stuck_since.get_or_insert(now);
        }
        Some(datagram)
    }

    /// When [`Self::handle_timeout`] has something to do at the latest.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        if self.closed.is_some() {
            return None;
        }
        // While something is under way, probes show that we are there.
        let keep_alive = (!self.streams.is_empty() && self.recovery.is_idle()).then(|| self.last_sent + KEEP_ALIVE);
        let ack = self.ack_since.map(|since| since + self.recovery.ack_delay());
        let silence = self.waiting_since.map(|since| since + self.recovery.silence());
        let stuck = self.stuck_since.map(|since| since + NO_PROGRESS);
        [self.recovery.deadline(), keep_alive, ack, silence, stuck].into_iter().flatten().min()
    }

    /// Does what time has brought.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let silent = self.waiting_since.is_some_and(|since| now >= since + self.recovery.silence());
        if silent || self.stuck_since.is_some_and(|since| now >= since + NO_PROGRESS) {
            return self.close(CloseReason::Silent);
        }
        for carried in self.recovery.lost_by(now) {
            match carried {
                Carried::Stream { id, start, end, fin } => {
                    if let Some(stream) = self.streams.get_mut(&id) {
                        stream.outgoing.lost(start, end, fin);
                    }
                }
                // While a stream waits, the question whether the other end is there stays asked; one answer is enough.
                Carried::Ping if self.streams.is_empty() || self.control.contains(&Carried::Ping) => {}
                control => self.control.push_back(control),
            }
        }
    }
}

impl StreamState {
    pub(super) fn wake(&mut self) {
        let wakers = [self.outgoing.waker.take(), self.incoming.waker.take()];
        wakers.into_iter().flatten().for_each(std::task::Waker::wake);
    }
}

#[cfg(test)]
#[path = "simulation.rs"]
mod simulation;
