//! What a mix takes: the owner's rate, shared fairly among peers. Pure: time comes in.
//!
//! Excess is refused before the key exchange, so a flood costs its sender more than the mix. While the mix is within its rate, nobody is held
//! back; beyond it each peer that is busy has an equal share, so one that floods starves itself only.

use fogbank_sphinx::PACKET_BYTES;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Packets taken of one peer a second, whatever the rate: 80 MB/s at 8 KiB, above what a home connection carries.
const MOST_OF_A_PEER: u32 = 10_000;
/// Shares are counted anew this often; within it, a peer may take its share at once.
const WINDOW: Duration = Duration::from_secs(1);

/// How many packets a mix takes in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(Option<u32>);

impl Rate {
    /// As many as come.
    pub const UNLIMITED: Self = Self(None);

    /// A rate in packets.
    pub fn of_packets_s(packets: u32) -> Self {
        Self(Some(packets.max(1)))
    }

    /// A rate in bytes a second, in each direction.
    pub fn of_bytes_s(bytes: u64) -> Self {
        Self::of_packets_s(u32::try_from(bytes / PACKET_BYTES as u64).unwrap_or(u32::MAX))
    }

    /// Packets in a second; `None` when there is no limit.
    pub fn packets_s(self) -> Option<u32> {
        self.0
    }
}

/// The tag that a peer's key gives it.
type Peer = [u8; 16];

/// The account of the present window.
pub(super) struct Intake {
    rate: Rate,
    reserved: u32,
    began: Instant,
    taken: u32,
    of_peer: HashMap<Peer, u32>,
    /// Peers that sent something in the window before, at least one.
    busy: u32,
}

impl Intake {
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, reserved: 0, began: now, taken: 0, of_peer: HashMap::new(), busy: 1 }
    }

    /// The owner changed the limit.
    pub(super) fn set_rate(&mut self, rate: Rate) {
        self.rate = rate;
    }

    /// So many packets a second of the rate are spoken for: frames that go out whether anything comes in or not.
    pub(super) fn set_reserved(&mut self, packets_s: u32) {
        self.reserved = packets_s;
    }

    pub(super) fn rate(&self) -> Rate {
        self.rate
    }

    /// Whether one more packet of a peer is taken. Peers are connected, so there are no more of them than connections.
    pub(super) fn take(&mut self, peer: Peer, now: Instant) -> bool {
        if now.duration_since(self.began) >= WINDOW {
            self.busy = u32::try_from(self.of_peer.len()).unwrap_or(u32::MAX).max(1);
            self.of_peer.clear();
            (self.began, self.taken) = (now, 0);
        }
        let of_peer = self.of_peer.entry(peer).or_default();
        let within = *of_peer < MOST_OF_A_PEER
            && self.rate.packets_s().map(|rate| rate.saturating_sub(self.reserved).max(1)).is_none_or(|rate| {
                // Half of the rate is for whoever comes first, the other half is kept for shares.
                self.taken < rate / 2 || (self.taken < rate && *of_peer < (rate / self.busy).max(1))
            });
        if within {
            *of_peer += 1;
            self.taken += 1;
        }
        within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(intake: &mut Intake, from: Instant, ms: u64, offers: &[(Peer, u32)]) -> HashMap<Peer, u32> {
        let mut taken = HashMap::new();
        for at in 0..ms {
            let now = from + Duration::from_millis(at);
            for (peer, each_ms) in offers {
                for _ in 0..*each_ms {
                    *taken.entry(*peer).or_default() += u32::from(intake.take(*peer, now));
                }
            }
        }
        taken
    }

    #[test]
    fn the_owners_rate_is_kept() {
        let start = Instant::now();
        let mut intake = Intake::new(Rate::of_packets_s(1_000), start);
        let taken = run(&mut intake, start, 10_000, &[([1; 16], 5), ([2; 16], 5)]);
        assert!(taken.values().sum::<u32>() <= 10_000, "{taken:?}");
        assert!(taken.values().sum::<u32>() >= 9_500, "what may be taken is: {taken:?}");
        let mut free = Intake::new(Rate::UNLIMITED, start);
        assert_eq!(run(&mut free, start, 1_000, &[([1; 16], 5)])[&[1; 16]], 5_000);
    }

    #[test]
    fn a_flood_starves_itself_only() {
        let start = Instant::now();
        let mut intake = Intake::new(Rate::of_packets_s(1_000), start);
        run(&mut intake, start, 1_000, &[([1; 16], 20), ([2; 16], 1)]);
        // An honest peer that wants less than its share gets nearly all of it, although the other sends ten times the rate.
        let taken = run(&mut intake, start + WINDOW, 999, &[([1; 16], 10), ([2; 16], 1)]);
        let honest = taken[&[2; 16]];
        assert!(honest >= 450, "{honest} of 999, half of the rate is its share");
    }
}
