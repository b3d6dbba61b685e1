//! From what devices tell of a container's copies to one sample. Pure.
//!
//! Visitors choose copies by what each was given, so the copies are taken together: what all sent, of what all have. A device may tell anything: what it
//! tells of one copy counts for no more than [`MOST_LOAD`] of what that copy has.

use crate::world::SeenInstance;
use fogbank_betanet::service::MAX_TUNNELS;
use fogbank_model::{Instance, UnixMs};
use fogbank_placement::scaling::{MOST_LOAD, Sample, ScalePolicy};
use fogbank_wire::Traffic;

/// Time from a whole ask to the first byte of its answer that is aimed at, ms. The eight mixes there and back add 15 ms each at the usual level, and
/// their links about as much: a copy that takes as long as all of them doubles what a visitor waits.
pub(crate) const FIRST_BYTE_MS: f64 = 250.0;

/// What is measured of copies that serve; `None` when nothing is told of any. Of those of which nothing is told yet, the same is taken to be true.
pub(super) fn sample<'a>(
    ready: impl Iterator<Item = &'a SeenInstance> + Clone,
    policy: &ScalePolicy,
    now: UnixMs,
) -> Option<Sample> {
    let told: Vec<(u64, Traffic)> = ready.clone().filter_map(|i| Some((i.instance.given.bandwidth_kbps, i.traffic?))).collect();
    if told.is_empty() {
        return None;
    }
    let network = mean(told.iter().map(|(kbps, t)| (t.network(*kbps), (*kbps).max(1) as f64)));
    let share = |open: u16, of: usize| f64::from(open) / of as f64;
    let tunnels = mean(told.iter().map(|(_, t)| (share(t.tunnels, MAX_TUNNELS), 1.0)));
    let streams = mean(told.iter().map(|(_, t)| (share(t.streams, Instance::MAX_STREAMS), 1.0)));
    let begun =
        told.iter().filter_map(|(_, t)| Some((f64::from(t.first_byte_ms?) / FIRST_BYTE_MS, f64::from(t.requests).max(1.0))));
    let latency = mean(begun);
    let window_s = Traffic::WINDOW.0 as f64 / 1000.0;
    // A copy may not claim more traffic than one that is loaded as much as is told.
    let most = MOST_LOAD / policy.per_request;
    let traffic: f64 = told.iter().map(|(_, t)| (f64::from(t.requests) / window_s).min(most)).sum();
    let concurrency = tunnels.zip(streams).map(|(tunnels, streams)| tunnels.max(streams));
    Some(Sample { at: now, ready: ready.count(), parts: [None, None, network, concurrency, latency], traffic })
}

/// Mean by weight of shares, each as it counts.
fn mean(shares: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let (sum, weights) =
        shares.fold((0.0, 0.0), |(sum, weights), (share, weight)| (sum + share.clamp(0.0, MOST_LOAD) * weight, weights + weight));
    (weights > 0.0).then(|| sum / weights)
}
