//! How much a container's copies are asked: what hosts measure of an instance, and what publishers are shown of all.
//!
//! A host tells only what it sees anyway, only of instances of which the allocator asks for it (those of containers that may scale), and coarsely:
//! sums of ten seconds, rounded, and nothing of what is less than [`Traffic`]'s floors, so that a single visitor to a quiet site does not show.
//! Deliberately absent: who visits, and which contents.

use fogbank_model::{DurationMs, UnixMs};
use serde::{Deserialize, Serialize};

/// How much visitors asked of an instance within one [`Traffic::WINDOW`]. It holds until the next window has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Traffic {
    /// Requests.
    pub requests: u32,
    /// Thousands of bytes sent, hashes included.
    pub sent_kb: u32,
    /// Most tunnels that were open at once.
    pub tunnels: u16,
    /// Most streams that were open at once.
    pub streams: u16,
    /// Within so many milliseconds half of the answers began, from the whole ask to their first bytes; `None` of too few to say.
    pub first_byte_ms: Option<u32>,
}

impl Traffic {
    /// What is measured is summed up for so long: the time between two of the allocator's checks.
    pub const WINDOW: DurationMs = DurationMs::from_s(10);

    /// Fewer requests within a window are not told: one visitor with a page of a few parts, or less than one request a second.
    pub const LEAST_REQUESTS: u32 = 10;

    /// What is less than this share of what an instance has of it is not told.
    pub const LEAST_SHARE: f64 = 0.05;

    /// As it is told of an instance that may send so many bits a second and take so many tunnels and streams.
    #[must_use]
    pub fn told(&self, bandwidth_kbps: u64, tunnels: usize, streams: usize) -> Self {
        let told = |amount: u32, of: f64| if f64::from(amount) < of * Self::LEAST_SHARE { 0 } else { rounded(amount) };
        let short = |amount: u16, of: usize| u16::try_from(told(amount.into(), of as f64)).unwrap_or(u16::MAX);
        let many = self.requests >= Self::LEAST_REQUESTS;
        Self {
            requests: if many { rounded(self.requests) } else { 0 },
            sent_kb: told(self.sent_kb, window_kb(bandwidth_kbps)),
            tunnels: short(self.tunnels, tunnels),
            streams: short(self.streams, streams),
            first_byte_ms: self.first_byte_ms.filter(|_| many).map(rounded),
        }
    }

    /// Share of a bandwidth that was used.
    pub fn network(&self, bandwidth_kbps: u64) -> f64 {
        f64::from(self.sent_kb) / window_kb(bandwidth_kbps).max(1.0)
    }
}

/// Thousands of bytes that so much bandwidth carries within a window.
fn window_kb(bandwidth_kbps: u64) -> f64 {
    bandwidth_kbps as f64 / 8.0 * (Traffic::WINDOW.0 as f64 / 1000.0)
}

/// To four binary digits, at most a sixteenth off.
const fn rounded(amount: u32) -> u32 {
    let digits = u32::BITS - amount.leading_zeros();
    if digits <= 4 {
        return amount;
    }
    let step = 1 << (digits - 4);
    amount.saturating_add(step / 2) / step * step
}

/// How finely a container's load is told, and for how long back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoadSpan {
    /// A day, by the minute.
    Day,
    /// Thirty days, by the quarter of an hour.
    Month,
}

/// How much a container's copies are asked, now and before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadView {
    /// Copies that serve.
    pub ready: u8,
    /// Copies wanted now.
    pub wanted: u8,
    /// Copies at least.
    pub least: u8,
    /// Copies at most; as many as at least when their number does not follow load.
    pub most: u8,
    /// Why so many are wanted, for people.
    pub why: String,
    /// What was measured last, if something was.
    pub now: Option<LoadNow>,
    /// How often their number changed within the last hour, and how often it may.
    pub changes: (u8, u8),
    /// What was measured before, oldest first; of times in which nothing was asked there is none.
    pub rows: Vec<LoadRow>,
}

/// What was measured last: shares of what the copies that serve have, where each can be measured apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LoadNow {
    /// When.
    pub at: UnixMs,
    /// Bytes sent, of the bandwidth that was given.
    pub network: f64,
    /// Tunnels or streams, of those that copies take.
    pub concurrency: f64,
    /// Time to the first byte, of the time that is aimed at.
    pub latency: Option<f64>,
    /// Requests a second.
    pub traffic: f64,
}

/// A minute or a quarter of an hour: means of what was measured in it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LoadRow {
    /// When it began.
    pub at: UnixMs,
    /// The highest load at any check, a share.
    pub peak: f32,
    /// Share of the bandwidth.
    pub network: f32,
    /// Share of tunnels or streams.
    pub concurrency: f32,
    /// Share of the time that is aimed at; 0 when it was not measured.
    pub latency: f32,
    /// Requests a second.
    pub traffic: f32,
    /// Copies that served at its end.
    pub ready: u8,
    /// Copies wanted at its end.
    pub wanted: u8,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn little_is_not_told() {
        let visit = Traffic { requests: 9, sent_kb: 499, tunnels: 4, streams: 8, first_byte_ms: Some(30) };
        assert_eq!(visit.told(8_000, 256, 256), Traffic { first_byte_ms: None, ..Traffic::default() });
        let busy = Traffic { requests: 1_003, sent_kb: 9_000, tunnels: 70, streams: 300, first_byte_ms: Some(301) };
        let told = Traffic { requests: 1_024, sent_kb: 9_216, tunnels: 72, streams: 288, first_byte_ms: Some(288) };
        assert_eq!(busy.told(8_000, 256, 256), told);
        assert!((told.network(8_000) - 0.92).abs() < 0.01);
    }

    proptest! {
        #[test]
        fn what_is_told_is_near_and_never_overflows(amount in any::<u32>()) {
            let off = f64::from(rounded(amount)) - f64::from(amount);
            prop_assert!(off.abs() <= f64::from(amount) / 16.0, "{amount}");
            let all = Traffic { requests: amount, sent_kb: amount, tunnels: amount as u16, streams: u16::MAX, first_byte_ms: Some(amount) };
            prop_assert!(all.told(u64::MAX, 0, 0).network(0).is_finite() && all.network(u64::MAX) >= 0.0);
        }
    }
}
