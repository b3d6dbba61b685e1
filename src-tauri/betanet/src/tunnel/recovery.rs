//! What is under way and what is lost. After QUIC's recovery (RFC 9002), but with loss told by time alone: delays per hop reorder datagrams
//! so much that counting later ones means nothing. How much may be under way: [`super::window`].

use super::{NO_PROGRESS, SILENCE, window::Window};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Round trip before one was measured.
const FIRST_RTT: Duration = Duration::from_millis(250);
/// Timers run at this grain.
const GRAIN: Duration = Duration::from_millis(20);
/// Bounds of [`Recovery::ack_delay`].
const LEAST_ACK_DELAY: Duration = Duration::from_millis(10);
const MOST_ACK_DELAY: Duration = Duration::from_millis(250);
/// Mean deviations above the mean that a datagram may take, as in QUIC. Of those with twelve drawn delays, four in a thousand take longer and
/// are sent again for nothing, which costs as many packets and no window; more patience would hold up every stream that has lost one.
const PATIENCE: u32 = 4;
/// The longest wait before something is sent again, well below what counts as silence; where a round trip takes longer, that. Probes before it
/// would send again what is on its way, and at level strict, where each takes a slot, be in the way of what is new.
const LONGEST_PROBE: Duration = Duration::from_millis(1_200);

/// Datagrams of a probe.
const PROBE: u8 = 2;
/// Probes that nothing answers before all that is under way is taken for lost.
const PROBES_TO_GIVE_UP: u32 = 3;
/// How often the wait for a probe doubles. On a way that takes a third of everything half of all probes meet the same fate, and a single
/// datagram that is missing must not wait for seconds; a way that is jammed is spared by the window, which two probes in eight round trips keep.
const MOST_DOUBLED: u32 = 3;
/// The other end is not taken for gone before a datagram and its first four probes have had time to be answered.
const TRIES: u32 = 5;

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
    /// Datagrams that go out as a probe, whatever is under way.
    probing: u8,
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
            probing: 0,
            lost: 0,
        }
    }

    pub(super) fn has_room(&mut self, now: Instant) -> bool {
        self.window.has_room(now, self.under_way.len()) || self.probing > 0
    }

    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// How long an acknowledgement waits for more to acknowledge: a quarter of a round trip. At level strict a datagram comes each 41 ms; with
    /// an answer of its own to each, the slots of the way back would be full of them, and questions wait behind.
    pub(super) fn ack_delay(&self) -> Duration {
        (self.srtt() / 4).clamp(LEAST_ACK_DELAY, MOST_ACK_DELAY)
    }

    pub(super) fn srtt(&self) -> Duration {
        self.srtt.unwrap_or(FIRST_RTT)
    }

    pub(super) fn sent(&mut self, now: Instant, number: u64, carried: Vec<Carried>) {
        self.under_way.insert(number, UnderWay { sent: now, carried });
        self.last_sent = Some(now);
        self.probing = self.probing.saturating_sub(1);
    }

    /// Takes an acknowledgement; returns what it confirms. `delay`: how long it waited at the other end after the last datagram that it
    /// confirms; `None` when it may confirm others that came long before, and so says nothing of round trips.
    pub(super) fn acked(&mut self, now: Instant, delay: Option<Duration>, ranges: &[(u64, u64)]) -> Vec<Carried> {
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
                let round_trip = delay.map(|delay| now.duration_since(packet.sent).saturating_sub(delay));
                round_trip.into_iter().for_each(|round_trip| self.measured(round_trip));
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

    /// How long an answer may take.
    fn answer_time(&self) -> Duration {
        self.srtt() + (self.variance * 4).max(GRAIN) + self.ack_delay() + GRAIN
    }

    /// How long nothing has to come before the other end is taken for gone.
    pub(super) fn silence(&self) -> Duration {
        (self.answer_time() * TRIES).clamp(SILENCE, NO_PROGRESS)
    }

    fn probe_after(&self) -> Duration {
        let base = self.answer_time();
        (base * 2u32.saturating_pow(self.probes.min(MOST_DOUBLED))).min(LONGEST_PROBE.max(base))
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
            // Nothing tells: the two oldest are sent again as a probe. At the third time none of the others will come either; what is sent from
            // then on is what the smallest window holds, and the way may be free again by now.
            self.probes += 1;
            self.probing = PROBE;
            self.last_sent = Some(now);
            let all = self.probes >= PROBES_TO_GIVE_UP;
            let count = if all { self.under_way.len() } else { PROBE.into() };
            let numbers: Vec<u64> = self.under_way.keys().take(count).copied().collect();
            numbers.into_iter().for_each(|number| self.lose(now, number, &mut lost));
            if all {
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
