//! What an owner lets the mix take: a rate, and so much a month. Apart from lending compute: either can be on without the other.
//!
//! What was relayed this month is kept in the profile, so that a restart does not begin the month anew. Bytes in and out both count, as a data
//! plan counts them. Months are UTC's.

use crate::{
    control::RelayStateDto,
    profile::{Profile, write_private},
};
use fogbank_betanet::{
    link::LINK_FRAME_BYTES,
    mixnode::{MixCounters, Rate},
};
use fogbank_model::UnixMs;
use serde::{Deserialize, Serialize};
use std::io;

/// Where the month's account is kept.
const FILE: &str = "relayed.json";
const DAY_MS: i64 = 24 * 3_600_000;

/// An owner's limits on relaying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RelayLimits {
    /// Kilobytes a second that the mix takes; `None`: as many as come.
    pub rate_kb_s: Option<u32>,
    /// Gigabytes a month in and out; `None`: as many as come.
    pub month_gb: Option<u32>,
}

impl Default for RelayLimits {
    /// What a laptop lends when its owner says nothing: 1 MB/s and 50 GB a month.
    fn default() -> Self {
        Self { rate_kb_s: Some(1_000), month_gb: Some(50) }
    }
}

impl RelayLimits {
    pub(crate) fn rate(self) -> Rate {
        self.rate_kb_s.map_or(Rate::UNLIMITED, |kb| Rate::of_bytes_s(u64::from(kb) * 1_000))
    }

    fn month_bytes(self) -> u64 {
        self.month_gb.map_or(u64::MAX, |gb| u64::from(gb) * 1_000_000_000)
    }
}

/// How the mix stands: what its owner wants, what the fog grants, whether the month has room, and whether it runs.
pub(crate) fn state(wanted: bool, granted: bool, within: bool, runs: bool) -> RelayStateDto {
    match (wanted, granted, within, runs) {
        (false, ..) => RelayStateDto::Off,
        (_, false, ..) => RelayStateDto::NotGranted,
        (_, _, false, _) => RelayStateDto::MonthUsed,
        (.., true) => RelayStateDto::On,
        (.., false) => RelayStateDto::Starting,
    }
}

/// What was relayed in a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Month {
    /// Months since year 0.
    month: i64,
    /// Bytes in and out.
    pub bytes: u64,
    /// Packets of the running mix that are counted already; not kept.
    #[serde(skip)]
    counted: u64,
}

impl Month {
    /// As kept; a file that can't be read begins the month anew, which errs on the owner's side by a month at most.
    pub(crate) fn load(profile: &Profile) -> Self {
        match std::fs::read(profile.path(FILE)) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, "what was relayed this month can't be read; counting begins anew");
                Self::default()
            }),
            Err(_) => Self::default(),
        }
    }

    pub(crate) fn save(&self, profile: &Profile) -> io::Result<()> {
        write_private(&profile.path(FILE), &serde_json::to_vec(self).map_err(io::Error::other)?)
    }

    /// Adds what the mix has relayed since the last look; whether anything changed.
    pub(crate) fn count(&mut self, counters: Option<&MixCounters>, now: UnixMs) -> bool {
        let before = *self;
        let month = month_of(now);
        if self.month != month {
            (self.month, self.bytes) = (month, 0);
        }
        let packets = counters.map_or(0, |c| c.frames + c.forwarded + c.delivered + c.dummies + c.parts);
        // A mix that started anew counts from zero.
        let fresh = packets.checked_sub(self.counted).unwrap_or(packets);
        self.counted = packets;
        self.bytes = self.bytes.saturating_add(fresh.saturating_mul(LINK_FRAME_BYTES as u64));
        (self.month, self.bytes) != (before.month, before.bytes)
    }

    /// Whether the owner's month has room left.
    pub(crate) fn within(&self, limits: RelayLimits) -> bool {
        self.bytes < limits.month_bytes()
    }
}

/// Months since year 0 of the proleptic Gregorian calendar, by counting days from 1 March of year 0 (so that a leap day is a year's last).
fn month_of(now: UnixMs) -> i64 {
    const DAYS_TO_1970: i64 = 719_468;
    let days = now.0.div_euclid(DAY_MS) + DAYS_TO_1970;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    (era * 400 + year_of_era) * 12 + month_from_march + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_begin_on_their_first() {
        // 1 January 1970, the leap day of 2024, the first of March after it, and the last moment of 2026.
        for (ms, year, month) in [
            (0, 1970, 1),
            (1_709_164_800_000, 2024, 2),
            (1_709_251_200_000, 2024, 3),
            (1_798_761_599_999, 2026, 12),
            (1_798_761_600_000, 2027, 1),
        ] {
            assert_eq!(month_of(UnixMs(ms)), year * 12 + month - 1, "{year}-{month}");
        }
    }

    #[test]
    fn the_month_fills_and_begins_anew() {
        let limits = RelayLimits { rate_kb_s: None, month_gb: Some(1) };
        let mut month = Month::default();
        let mut counters = MixCounters { frames: 50_000, forwarded: 25_000, parts: 25_000, ..MixCounters::default() };
        let december = UnixMs(1_798_761_599_000);
        assert!(month.count(Some(&counters), december) && month.within(limits));
        assert!(!month.count(Some(&counters), december), "counted once");
        counters.frames += 50_000;
        month.count(Some(&counters), december);
        assert!(!month.within(limits) && month.within(RelayLimits { rate_kb_s: None, month_gb: None }));
        // The mix starts anew: its counters begin at zero, the month's do not.
        month.count(Some(&MixCounters { frames: 10, ..MixCounters::default() }), december);
        assert!(!month.within(limits));
        month.count(None, UnixMs(1_798_761_600_000));
        assert!(month.within(limits) && month.bytes == 0, "a new month");
    }
}
