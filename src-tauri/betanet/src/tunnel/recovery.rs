//! What is under way and what is lost. After QUIC's recovery (RFC 9002), but with loss told by time alone: delays per hop reorder datagrams
//! so much that counting later ones means nothing. How much may be under way: [`super::window`].

use super::window::Window;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Round trip before one was measured.
const FIRST_RTT: Duration = Duration::from_millis(250);
/// Timers run at this grain.
const GRAIN: Duration = Duration::from_millis(20);
/// Mean deviations above the mean that a datagram may take, as in QUIC. Of those with twelve drawn delays, four in a thousand take longer and
/// are sent again for nothing, which costs as many packets and no window; more patience would hold up every stream that has lost one.
const PATIENCE: u32 = 4;
/// The longest wait before something is sent again, well below what counts as silence.
const LONGEST_PROBE: Duration = Duration::from_millis(1_200);

/// What a datagram carried, to be sent again when it is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Carried {
    Stream { id: u32, start: u64, end: u64, fin: bool },
    MaxStreamData { id: u32 },
    MaxData,
    Reset { id: u32 },
    Stop { id: u32 },
    GoAway,
    Ping,
}

struct UnderWay {
    sent: Instant,
    carried: Vec<Carried>,
}

/// The account of datagrams that ask for acknowledgement.
pub(super) struct Recovery {
    under_way: BTreeMap<u64, UnderWay>,
    srtt: Option<Duration>,
    variance: Duration,
    window: Window,
    largest_acked: Option<u64>,
    last_sent: Option<Instant>,
    probes: u32,
    pub(super) lost: u64,
}

impl Recovery {
    pub(super) fn new(max_in_flight: usize) -> Self {
        Self {
            under_way: BTreeMap::new(),
            srtt: None,
            variance: FIRST_RTT / 2,
            window: Window::new(max_in_flight),
            largest_acked: None,
            last_sent: None,
            probes: 0,
            lost: 0,
        }
    }

    pub(super) fn has_room(&mut self, now: Instant) -> bool {
        self.window.has_room(now, self.under_way.len())
    }

    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    pub(super) fn srtt(&self) -> Duration {
        self.srtt.unwrap_or(FIRST_RTT)
    }

    pub(super) fn sent(&mut self, now: Instant, number: u64, carried: Vec<Carried>) {
        self.under_way.insert(number, UnderWay { sent: now, carried });
        self.last_sent = Some(now);
    }

    /// Takes an acknowledgement; returns what it confirms.
    pub(super) fn acked(&mut self, now: Instant, delay: Duration, ranges: &[(u64, u64)]) -> Vec<Carried> {
        let mut confirmed = Vec::new();
        for (start, end) in ranges {
            let numbers: Vec<u64> = self.under_way.range(*start..*end).map(|(n, _)| *n).collect();
            for number in numbers {
                let Some(packet) = self.under_way.remove(&number) else { continue };
                confirmed.extend(packet.carried);
                self.probes = 0;
                self.largest_acked = self.largest_acked.max(Some(number));
                // Every datagram is measured, not only the newest: where delays are drawn at random, those that overtake are the quick ones,
                // and patience learnt from them takes the slow ones for lost.
                let round_trip = now.duration_since(packet.sent).saturating_sub(delay);
                self.measured(round_trip);
                self.window.acked(now, packet.sent, round_trip, self.srtt());
            }
        }
        confirmed
    }

    fn measured(&mut self, rtt: Duration) {
        match self.srtt {
            None => (self.srtt, self.variance) = (Some(rtt), rtt / 2),
            Some(srtt) => {
                self.variance = (self.variance * 3 + srtt.abs_diff(rtt)) / 4;
                self.srtt = Some((srtt * 7 + rtt) / 8);
            }
        }
    }

    /// How long after later ones have come a datagram is taken for lost.
    fn patience(&self) -> Duration {
        self.srtt() + (self.variance * PATIENCE).max(self.srtt() / 2).max(GRAIN)
    }

    fn probe_after(&self) -> Duration {
        let base = self.srtt() + (self.variance * 4).max(GRAIN) + GRAIN;
        (base * 2u32.saturating_pow(self.probes.min(6))).min(LONGEST_PROBE)
    }

    /// When something has to be done although nothing comes.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let (oldest, packet) = self.under_way.first_key_value()?;
        let probe = self.last_sent.map(|sent| sent + self.probe_after());
        let loss = self.largest_acked.filter(|largest| largest > oldest).map(|_| packet.sent + self.patience());
        [probe, loss].into_iter().flatten().min()
    }

    /// What is lost by now, to be sent again.
    pub(super) fn lost_by(&mut self, now: Instant) -> Vec<Carried> {
        let mut lost = Vec::new();
        if let Some(largest) = self.largest_acked {
            let patience = self.patience();
            let late: Vec<u64> = self
                .under_way
                .range(..largest)
                .take_while(|(_, p)| p.sent + patience <= now)
                .map(|(number, _)| *number)
                .collect();
            for number in late {
                self.lose(now, number, &mut lost);
            }
        }
        if self.last_sent.is_some_and(|sent| now >= sent + self.probe_after()) && !self.under_way.is_empty() {
            // Nothing tells: the two oldest are sent again as a probe.
            self.probes += 1;
            self.last_sent = Some(now);
            for _ in 0..2 {
                let Some((number, _)) = self.under_way.first_key_value() else { break };
                let number = *number;
                self.lose(now, number, &mut lost);
            }
            if self.probes >= 3 {
                self.window.nothing_comes();
            }
        }
        lost
    }

    fn lose(&mut self, now: Instant, number: u64, lost: &mut Vec<Carried>) {
        let Some(packet) = self.under_way.remove(&number) else { return };
        self.lost += 1;
        lost.extend(packet.carried);
        self.window.lost(now, packet.sent, self.srtt());
    }
}
