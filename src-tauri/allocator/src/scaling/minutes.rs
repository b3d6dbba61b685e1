//! What is kept of one minute's samples. Pure.

use fogbank_model::UnixMs;
use fogbank_placement::scaling::{Part, Sample};
use fogbank_store::KeptLoad;

/// What was measured within a minute.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Minute {
    /// Samples of which something was measured.
    count: u32,
    peak: f64,
    network: f64,
    concurrency: f64,
    /// Sum, and of how many samples.
    latency: (f64, u32),
    traffic: f64,
    ready: usize,
    wanted: usize,
    changes: u8,
}

impl Minute {
    pub(super) fn add(&mut self, sample: Option<&Sample>, ready: usize, wanted: usize, changed: bool) {
        (self.ready, self.wanted) = (ready, wanted);
        self.changes = self.changes.saturating_add(changed.into());
        let Some(sample) = sample else { return };
        let share = |part: Part| sample.parts[part as usize];
        self.count += 1;
        self.peak = self.peak.max(sample.load().map_or(0.0, |(load, _)| load));
        self.network += share(Part::Network).unwrap_or(0.0);
        self.concurrency += share(Part::Concurrency).unwrap_or(0.0);
        if let Some(latency) = share(Part::Latency) {
            self.latency = (self.latency.0 + latency, self.latency.1 + 1);
        }
        self.traffic += sample.traffic;
    }

    /// The minute that began then, and begins another. `None` when nothing was asked and nothing changed: most sites are quiet for most of the time.
    pub(super) fn take(&mut self, at: UnixMs) -> Option<KeptLoad> {
        let gathered = std::mem::take(self);
        if gathered.peak <= 0.0 && gathered.traffic <= 0.0 && gathered.changes == 0 {
            return None;
        }
        let mean = |sum: f64, count: u32| if count == 0 { 0.0 } else { sum / f64::from(count) };
        // `as` stops at the largest number, and makes nothing of what is none.
        let thousandths = |share: f64| (share * 1e3).round() as u16;
        let few = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
        Some(KeptLoad {
            at,
            peak: thousandths(gathered.peak),
            network: thousandths(mean(gathered.network, gathered.count)),
            concurrency: thousandths(mean(gathered.concurrency, gathered.count)),
            latency: thousandths(mean(gathered.latency.0, gathered.latency.1)),
            traffic: (mean(gathered.traffic, gathered.count) * 1e2).round() as u32,
            ready: few(gathered.ready),
            wanted: few(gathered.wanted),
            changes: gathered.changes,
        })
    }
}
