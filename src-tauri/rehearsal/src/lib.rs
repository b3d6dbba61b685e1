//! Rehearsal: what would become of a container in a fog whose devices come and go as they did before. Pure: no clock, no I/O; the same fog and seed give
//! the same outlook.
//!
//! Devices come and go in virtual time, by their own habits or as a university's computers do. Whatever stands on a device that goes is lost without
//! warning, noticed, planned anew by [`fogbank_placement::plan`], and serves again after the time that a start takes. That is worse than what the allocator
//! does for devices that say that they go, and leaves out what else can go wrong: mixes, the publisher, several devices behind one router.
//!
//! Invariants: an outlook's shares are in [0,1]; every run ends at the end of its span, whatever the habits are.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

mod churn;
mod run;

pub use churn::{Churn, HOURS_OF_WEEK, Habit};

use fogbank_model::{DurationMs, Outlook, UnixMs};
use fogbank_placement::{DeviceSnapshot, Policy, Request};
use rand::{SeedableRng as _, rngs::StdRng};

/// Visitors wait for so long before a request has failed, as Fogbank's proxy does.
pub const PATIENCE: DurationMs = DurationMs::from_s(20);

/// One device of the fog.
#[derive(Debug, Clone)]
pub struct Device {
    /// As the planner sees it while it is there.
    pub snapshot: DeviceSnapshot,
    /// How it comes and goes.
    pub churn: Churn,
    /// Since when it is there now, or not.
    pub now: Now,
}

/// Where a device begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Now {
    /// There since then.
    There(UnixMs),
    /// Away.
    Away,
    /// Somewhere in the middle of its coming and going.
    Anywhere,
}

/// What is rehearsed.
#[derive(Debug, Clone)]
pub struct Rehearsal {
    /// The fog.
    pub devices: Vec<Device>,
    /// What is asked for, but for the number of copies.
    pub request: Request,
    /// Weights of placement.
    pub policy: Policy,
    /// From the loss of a copy to a new one that serves, where there is room: noticing, fetching and starting.
    pub repair: DurationMs,
    /// When it begins.
    pub begin: UnixMs,
    /// How long each run is.
    pub span: DurationMs,
    /// How many runs.
    pub runs: u32,
}

/// Rehearses with each of these numbers of copies; all meet the same comings and goings.
pub fn rehearse(rehearsal: &Rehearsal, copies: &[u8], seed: u64) -> Vec<Outlook> {
    copies.iter().map(|copies| outlook(rehearsal, *copies, seed)).collect()
}

fn outlook(rehearsal: &Rehearsal, copies: u8, seed: u64) -> Outlook {
    let runs: Vec<run::Seen> = (0..rehearsal.runs.max(1))
        .map(|n| run::run(rehearsal, copies, StdRng::seed_from_u64(seed.wrapping_add(n.into()))))
        .collect();
    let (count, span_ms) = (runs.len() as f64, rehearsal.span.0.max(1) as f64);
    let share = |of: fn(&run::Seen) -> DurationMs| runs.iter().map(|run| of(run).0 as f64 / span_ms).sum::<f64>() / count;
    let out = share(|run| run.out);
    let variance = runs.iter().map(|run| (run.out.0 as f64 / span_ms - out).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    Outlook {
        copies,
        availability: 1.0 - out,
        within: 2.0 * (variance / count).sqrt(),
        failed: share(|run| run.failed),
        losses_a_day: runs.iter().map(|run| f64::from(run.losses)).sum::<f64>() / count / (span_ms / 86_400_000.0),
        longest_outage: runs.iter().map(|run| run.longest).max().unwrap_or_default(),
    }
}
