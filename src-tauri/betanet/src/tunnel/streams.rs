//! The two halves of one stream: bytes to be sent until they are acknowledged, and bytes received until they are read.

use super::ranges::Ranges;
use std::{
    collections::{BTreeMap, VecDeque},
    task::Waker,
};

/// Gaps in what has come of one stream. An honest peer has 256 datagrams under way, each with a few
/// frames of a stream, so it leaves no more than that; one that sends single
/// bytes with gaps between them would else fill memory with their bookkeeping.
const MAX_GAPS: usize = 1_024;
/// Pieces that follow one another are joined up to this.
const MAX_PIECE_BYTES: usize = 64 << 10;

/// Bytes on their way out.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Everything from `base` on that is not known to have arrived.
    data: VecDeque<u8>,
    base: u64,
    /// First byte never sent.
    next: u64,
    acked: Ranges,
    again: VecDeque<(u64, u64)>,
    /// How far the other end lets us go.
    pub(super) allowed: u64,
    fin: bool,
    fin_sent: bool,
    fin_acked: bool,
    /// Nothing more is sent, not even what was written.
    abandoned: bool,
    pub(super) waker: Option<Waker>,
}

impl Outgoing {
    pub(super) fn new(allowed: u64) -> Self {
        Self { allowed, ..Self::default() }
    }

    /// Bytes that are held until they are acknowledged.
    pub(super) fn held(&self) -> u64 {
        self.data.len() as u64
    }

    /// Room for so many more bytes within this window.
    pub(super) fn room(&self, window: u64) -> usize {
        usize::try_from(window.saturating_sub(self.data.len() as u64)).unwrap_or(usize::MAX)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.data.extend(bytes);
    }

    /// Nothing more will be written.
    pub(super) fn finish(&mut self) {
        self.fin = true;
    }

    pub(super) fn is_finished(&self) -> bool {
        self.fin
    }

    /// Whether the other end knows all: what was written and its end, or that no more comes.
    pub(super) fn is_done(&self) -> bool {
        self.fin_acked && (self.abandoned || (self.fin && self.data.is_empty()))
    }

    /// Sends nothing any more; whether it did until now.
    pub(super) fn abandon(&mut self) -> bool {
        if self.abandoned || self.is_done() {
            return false;
        }
        self.abandoned = true;
        self.fin_acked = false;
        self.data.clear();
        self.again.clear();
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        true
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// The other end knows that no more comes.
    pub(super) fn abandon_acked(&mut self) {
        self.fin_acked |= self.abandoned;
    }

    /// How many bytes were sent at least once: what counts against the credit.
    pub(super) fn size(&self) -> u64 {
        self.next
    }

    fn end(&self) -> u64 {
        self.base + self.data.len() as u64
    }

    /// Bytes still to be sent, for the first time or again, of a stream that is not given up.
    pub(super) fn left(&self) -> u64 {
        self.end() - self.next + self.again.iter().map(|(start, end)| end - start).sum::<u64>()
    }

    /// Whether there is something to send, given so many bytes of the tunnel's credit.
    pub(super) fn wants(&self, credit: u64) -> bool {
        if self.abandoned {
            return false;
        }
        !self.again.is_empty()
            || (self.next < self.end().min(self.allowed) && credit > 0)
            || (self.fin && !self.fin_sent && self.next == self.end())
    }

    /// The next piece to send: start, bytes, whether it is the last, and how many of the bytes are new.
    pub(super) fn take(&mut self, room: usize, credit: u64) -> Option<(u64, Vec<u8>, bool, u64)> {
        if self.abandoned {
            return None;
        }
        while let Some((start, end)) = self.again.pop_front() {
            let start = start.max(self.base);
            if start >= end {
                continue;
            }
            let cut = end.min(start + room as u64);
            if cut < end {
                self.again.push_front((cut, end));
            }
            return Some((start, self.slice(start, cut), self.fin && cut == self.end(), 0));
        }
        let limit = self.end().min(self.allowed).min(self.next.saturating_add(credit));
        let cut = limit.min(self.next + room as u64).max(self.next);
        let start = self.next;
        let last = self.fin && cut == self.end();
        let ends_now = last && !self.fin_sent;
        if cut == start && !ends_now {
            return None;
        }
        self.next = cut;
        self.fin_sent |= last;
        Some((start, self.slice(start, cut), last, cut - start))
    }

    fn slice(&self, start: u64, end: u64) -> Vec<u8> {
        let at = |offset: u64| usize::try_from(offset - self.base).unwrap_or(usize::MAX).min(self.data.len());
        let (from, to) = (at(start), at(end));
        // The ring lies in two pieces; each is copied as a whole.
        let (front, back) = self.data.as_slices();
        let middle = front.len();
        let mut bytes = Vec::with_capacity(to - from);
        bytes.extend_from_slice(&front[from.min(middle)..to.min(middle)]);
        bytes.extend_from_slice(&back[from.max(middle) - middle..to.max(middle) - middle]);
        bytes
    }

    pub(super) fn acked(&mut self, start: u64, end: u64, fin: bool) {
        if self.abandoned {
            return;
        }
        self.fin_acked |= fin;
        self.acked.insert(start, end);
        let prefix = self.acked.prefix().min(self.end());
        if prefix > self.base {
            self.data.drain(..usize::try_from(prefix - self.base).unwrap_or(0));
            self.base = prefix;
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }

    pub(super) fn lost(&mut self, start: u64, end: u64, fin: bool) {
        if self.abandoned {
            return;
        }
        self.again.extend(self.acked.missing(start, end));
        if fin && !self.fin_acked {
            self.fin_sent = false;
        }
    }
}

/// Bytes on their way in.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    pieces: BTreeMap<u64, Vec<u8>>,
    got: Ranges,
    read: u64,
    highest: u64,
    end: Option<u64>,
    /// The end is one that the other side meant: all was written.
    fin: bool,
    /// The other end gave up; what is missing up to the end does not come again.
    broken: bool,
    /// Nobody reads here any more: what comes is counted and dropped.
    ignored: bool,
    /// How far we let the other end go.
    allowed: u64,
    pub(super) waker: Option<Waker>,
}

/// A piece that an honest peer does not send.
#[derive(Debug)]
pub(super) struct Overrun;

impl Incoming {
    pub(super) fn new(allowed: u64) -> Self {
        Self { allowed, ..Self::default() }
    }

    /// Takes a piece; returns by how much it moved the highest byte (what counts against the tunnel's window).
    pub(super) fn take(&mut self, offset: u64, data: Vec<u8>, fin: bool) -> Result<u64, Overrun> {
        let end = offset + data.len() as u64;
        if end > self.allowed || self.end.is_some_and(|known| end > known || (fin && end != known)) || (fin && end < self.highest)
        {
            return Err(Overrun);
        }
        if fin {
            self.end = Some(end);
            self.fin = true;
        }
        let moved = end.saturating_sub(self.highest);
        self.highest = self.highest.max(end);
        if self.ignored {
            self.read = self.highest;
            return Ok(moved);
        }
        for (start, end) in self.got.missing(offset.max(self.read), end) {
            let from = usize::try_from(start - offset).unwrap_or(usize::MAX);
            let to = usize::try_from(end - offset).unwrap_or(usize::MAX);
            self.keep(start, &data[from..to]);
        }
        self.got.insert(offset, end);
        if self.got.len() > MAX_GAPS || self.pieces.len() > 2 * MAX_GAPS {
            return Err(Overrun);
        }
        let readable = self.pieces.contains_key(&self.read) || self.is_at_end();
        if readable && let Some(waker) = self.waker.take() {
            waker.wake();
        }
        Ok(moved)
    }

    /// Keeps a piece; one that follows another joins it, so that many small ones cost no more than one.
    fn keep(&mut self, start: u64, data: &[u8]) {
        if let Some((at, before)) = self.pieces.range_mut(..start).next_back()
            && at + before.len() as u64 == start
            && before.len() + data.len() <= MAX_PIECE_BYTES
        {
            before.extend_from_slice(data);
        } else {
            self.pieces.insert(start, data.to_vec());
        }
    }

    /// Reads what is there in order.
    pub(super) fn read(&mut self, mut into: &mut [u8]) -> usize {
        let mut count = 0;
        while !into.is_empty() {
            let Some(mut piece) = self.pieces.remove(&self.read) else { break };
            let n = piece.len().min(into.len());
            into[..n].copy_from_slice(&piece[..n]);
            into = &mut into[n..];
            self.read += n as u64;
            count += n;
            if n < piece.len() {
                piece.drain(..n);
                self.pieces.insert(self.read, piece);
            }
        }
        count
    }

    /// Whether everything up to the end has been read.
    pub(super) fn is_at_end(&self) -> bool {
        self.fin && self.end == Some(self.read)
    }

    /// The other end gave up after `size` bytes; returns what [`Self::take`] does.
    pub(super) fn give_up(&mut self, size: u64) -> Result<u64, Overrun> {
        if size > self.allowed || size < self.highest || self.end.is_some_and(|known| known != size) {
            return Err(Overrun);
        }
        let moved = size - self.highest;
        self.highest = size;
        self.broken = true;
        self.end = Some(size);
        if self.ignored {
            self.read = size;
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        Ok(moved)
    }

    /// Reads nothing any more; returns the bytes that are dropped by it.
    pub(super) fn ignore(&mut self) -> u64 {
        let dropped = self.unread();
        self.ignored = true;
        self.pieces.clear();
        self.read = self.highest;
        dropped
    }

    pub(super) fn is_ignored(&self) -> bool {
        self.ignored
    }

    /// Whether the other end gave up, not all has come, and what has come in order was read.
    pub(super) fn is_broken(&self) -> bool {
        let whole = self.fin && self.end.is_some_and(|end| self.got.prefix() >= end);
        self.broken && !whole && !self.pieces.contains_key(&self.read)
    }

    /// Whether nothing can come any more.
    pub(super) fn is_over(&self) -> bool {
        if self.ignored { self.end.is_some_and(|end| self.highest >= end) } else { self.is_at_end() || self.is_broken() }
    }

    /// A new limit for the other end, when it has used half of the window.
    pub(super) fn new_limit(&mut self, window: u64) -> Option<u64> {
        let limit = self.read + window;
        if self.end.is_none() && !self.ignored && limit - self.allowed.min(limit) >= window / 2 {
            self.allowed = limit;
            return Some(limit);
        }
        None
    }

    pub(super) fn allowed(&self) -> u64 {
        self.allowed
    }

    /// Bytes that came and will never be read.
    pub(super) fn unread(&self) -> u64 {
        self.highest - self.read
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_in_any_order_read_as_written(data in prop::collection::vec(any::<u8>(), 1..500), cuts in prop::collection::vec((0usize..500, 0usize..100), 0..50)) {
            let mut incoming = Incoming::new(1_000);
            let mut moved = 0;
            let whole = (0, data.len());
            for (start, length) in cuts.into_iter().chain([whole]) {
                let start = start.min(data.len());
                let end = (start + length).min(data.len());
                moved += incoming.take(start as u64, data[start..end].to_vec(), end == data.len()).unwrap();
            }
            prop_assert_eq!(moved, data.len() as u64);
            let mut out = vec![0; data.len()];
            prop_assert_eq!(incoming.read(&mut out), data.len());
            prop_assert_eq!(out, data);
            prop_assert!(incoming.is_at_end());
        }
    }

    #[test]
    fn crumbs_cost_no_more_than_a_loaf() {
        let mut incoming = Incoming::new(1 << 20);
        for at in 0..100_000 {
            incoming.take(at, vec![7], false).unwrap();
        }
        assert!(incoming.pieces.len() <= 2, "{}", incoming.pieces.len());
        let mut gaps = Incoming::new(1 << 20);
        let refused = (0..10_000u64).position(|n| gaps.take(2 * n, vec![7], false).is_err());
        assert_eq!(refused, Some(MAX_GAPS));
    }

    #[test]
    fn more_than_allowed_is_refused() {
        let mut incoming = Incoming::new(10);
        assert!(incoming.take(5, vec![0; 6], false).is_err());
        assert!(incoming.take(0, vec![0; 10], true).is_ok());
        assert!(incoming.take(0, vec![0; 9], true).is_err(), "two ends");
    }

    #[test]
    fn lost_bytes_are_sent_again_and_acknowledged_ones_go() {
        let mut outgoing = Outgoing::new(100);
        outgoing.write(&[7; 50]);
        outgoing.finish();
        let (start, data, fin, new) = outgoing.take(30, 100).unwrap();
        assert_eq!((start, data.len(), fin, new), (0, 30, false, 30));
        let (start, data, fin, _) = outgoing.take(30, 100).unwrap();
        assert_eq!((start, data.len(), fin), (30, 20, true));
        assert!(!outgoing.wants(100));
        outgoing.acked(30, 50, true);
        outgoing.lost(0, 30, false);
        assert!(outgoing.wants(0));
        let (start, data, ..) = outgoing.take(100, 0).unwrap();
        assert_eq!((start, data.len()), (0, 30));
        outgoing.acked(0, 30, false);
        assert!(outgoing.is_done());
    }
}
