//! How many copies a container should have, from how much it was asked lately: pure, from samples and past changes to a number and a reason.
//!
//! Load is the largest of what was measured apart: processor, memory, network, concurrency and latency, each a share of what the copies that served
//! have of it. `R(t) = R_base + per_request · traffic(t)` is the least that traffic alone asks for (the feed-forward term); beyond it, and below, load
//! decides: out above [`ScalePolicy::out_above`], in below [`ScalePolicy::in_below`], each only when [`ScalePolicy::checks`] samples in a row say so,
//! by `dR = gain · (load − out_above) · R`. R is counted in copies: each further copy is given what one of the base copies has on average.
//!
//! Invariants: never fewer copies than the base, never more than the most; copies on their way count as capacity, so what was begun is not begun
//! twice; no step in after which the same demand would be a load of `out_above` or more; at most [`ScalePolicy::changes_an_hour`] changes within
//! any hour, whatever is measured; what is no number counts as not measured, and without measurements nothing changes.
//! Deliberately absent: availability (a row of the plan), where copies go, and when there is room for them; a number that can't be met stays wanted.

use fogbank_model::{DurationMs, UnixMs};
use std::fmt;

/// When and how far to scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScalePolicy {
    /// Copies are added above this load.
    pub out_above: f64,
    /// Copies are ended below this load.
    pub in_below: f64,
    /// So many samples in a row must agree.
    pub checks: usize,
    /// Time between two samples; two that are further than twice that apart are not in a row.
    pub check: DurationMs,
    /// alpha of the feedback: copies by which each copy's excess of one whole load is met.
    pub gain: f64,
    /// alpha of the feed-forward term: copies for one request a second.
    pub per_request: f64,
    /// Changes within an hour at most.
    pub changes_an_hour: usize,
}

impl Default for ScalePolicy {
    /// 80 % and 20 %, three checks of 10 s, as designed. The others:
    ///
    /// - `gain` 1.25 = 1 / 0.8: with `R + gain · (load − 0.8) · R = load / 0.8 · R` copies the same demand is a load of exactly 0.8.
    /// - `per_request` 1 / 60: a host's three first mixes at their usual 1 MB/s carry 366 packets of 8 KiB a second. An answer of one group of 16 KiB
    ///   takes three, its ask and the acknowledgements two: 73 requests a second, and at a load of 0.8 about 60.
    /// - six changes an hour: a copy needs a minute or two to fetch and register, and three checks to show its effect; one change in ten minutes
    ///   lets a day's rhythm through (there and back, twice each) and keeps what swings faster from moving content about.
    fn default() -> Self {
        Self {
            out_above: 0.8,
            in_below: 0.2,
            checks: 3,
            check: DurationMs::from_s(10),
            gain: 1.25,
            per_request: 1.0 / 60.0,
            changes_an_hour: 6,
        }
    }
}

/// What is measured of a container's copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Processor time, of what was given.
    Cpu,
    /// Memory, of what was given.
    Memory,
    /// Bytes sent, of the bandwidth that was given.
    Network,
    /// Visitors' tunnels or streams, of those that a copy takes.
    Concurrency,
    /// Time from a request to the first byte of its answer, of the time that is aimed at.
    Latency,
}

impl Part {
    /// All, in the order in which they are told.
    pub const ALL: [Self; 5] = [Self::Cpu, Self::Memory, Self::Network, Self::Concurrency, Self::Latency];

    /// Its name, for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "processor",
            Self::Memory => "memory",
            Self::Network => "network",
            Self::Concurrency => "visitors at once",
            Self::Latency => "time to answer",
        }
    }
}

/// The largest load that is told from larger ones: a copy that has twice what it was given. Single measures can be many times that (bandwidth is counted
/// when copies are placed, not held to), or a lie; one change is then at most to `2 / 0.8` times as many copies.
pub const MOST_LOAD: f64 = 2.0;

/// What was measured at one check.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When.
    pub at: UnixMs,
    /// How many copies served then: the load is theirs.
    pub ready: usize,
    /// Each part as a share of what these copies have of it, in the order of [`Part::ALL`]; `None` where it can't be measured apart.
    pub parts: [Option<f64>; 5],
    /// Requests a second, of all copies together.
    pub traffic: f64,
}

impl Sample {
    /// The load and what it is of; `None` when nothing was measured.
    pub fn load(&self) -> Option<(f64, Part)> {
        let measured = Part::ALL.into_iter().zip(self.parts).filter_map(|(part, share)| Some((share_of(share?)?, part)));
        // Of equal ones the first, so that nothing but a larger number changes what is told.
        measured.reduce(|most, next| if next.0 > most.0 { next } else { most })
    }
}

/// A share as it counts: none that is no number, none below zero, none beyond what is told apart.
fn share_of(share: f64) -> Option<f64> {
    (!share.is_nan()).then(|| share.clamp(0.0, MOST_LOAD))
}

/// How many copies there are, and how many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copies {
    /// That serve.
    pub ready: usize,
    /// On their way to serve.
    pub starting: usize,
    /// R_base: asked for by the publisher in any case.
    pub base: usize,
    /// At most.
    pub most: usize,
    /// Wanted until now.
    pub wanted: usize,
}

/// A decision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaling {
    /// Copies wanted from now on, from the base to the most.
    pub wanted: usize,
    /// Why.
    pub why: Why,
}

/// Why so many copies are wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Why {
    /// There are not enough samples in a row (yet).
    Unknown,
    /// Load is between the bounds, or the copies are as many as they should be.
    Steady,
    /// Load was too high at each of the last checks.
    High {
        /// The lowest of them.
        load: f64,
        /// What it is of.
        part: Part,
        /// For how long.
        for_s: i64,
    },
    /// Traffic alone asks for so many.
    Traffic {
        /// Requests a second.
        traffic: f64,
    },
    /// Load was low at each of the last checks.
    Low {
        /// The highest of them.
        load: f64,
        /// For how long.
        for_s: i64,
    },
    /// Load is high, and what is wanted already would do, or no more may be.
    Coming {
        /// The load.
        load: f64,
        /// What it is of.
        part: Part,
        /// As many are wanted as may be.
        at_most: bool,
    },
    /// It would be another number, but there were as many changes in the last hour as may be.
    Budget {
        /// The number that it would be.
        would: usize,
        /// Changes within the last hour.
        changes: usize,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |load: &f64| (load * 100.0).round();
        match self {
            Self::Unknown => f.write_str("not enough was measured yet"),
            Self::Steady => f.write_str("load is as it should be"),
            Self::High { load, part, for_s } => write!(f, "load {} % for {for_s} s: {}", percent(load), part.name()),
            Self::Traffic { traffic } => write!(f, "{traffic:.0} requests a second"),
            Self::Low { load, for_s } => write!(f, "load at most {} % for {for_s} s", percent(load)),
            Self::Coming { load, part, at_most: false } => {
                write!(f, "load {} % ({}), more copies are wanted already", percent(load), part.name())
            }
            Self::Coming { load, part, at_most: true } => {
                write!(f, "load {} % ({}), with as many copies wanted as may be", percent(load), part.name())
            }
            Self::Budget { would, changes } => {
                write!(f, "{would} copies would be wanted, but their number changed {changes} times within the last hour")
            }
        }
    }
}

/// An hour, within which changes are counted.
pub const HOUR: DurationMs = DurationMs::from_s(3600);

/// Decides how many copies are wanted. `samples`: oldest first, those before the last change count for nothing. `changes`: when the wanted number
/// changed, oldest first.
pub fn scale(policy: &ScalePolicy, samples: &[Sample], changes: &[UnixMs], copies: &Copies, now: UnixMs) -> Scaling {
    let base = copies.base.max(1);
    let bounds = |wanted: usize| wanted.clamp(base, copies.most.max(base));
    let wanted = bounds(copies.wanted);
    let stay = |why| Scaling { wanted, why };
    let Some(row) = row(policy, samples, changes.last().copied(), now) else { return stay(Why::Unknown) };
    let capacity = copies.ready.saturating_add(copies.starting).max(1);
    let (target, why) = target(policy, &row, capacity, base, wanted);
    let target = bounds(target);
    if target == wanted {
        return stay(match why {
            Why::High { load, part, .. } => Why::Coming { load, part, at_most: true },
            Why::Traffic { .. } | Why::Low { .. } => Why::Steady,
            why => why,
        });
    }
    let recent = changes.iter().filter(|at| now.since(**at).0 < HOUR.0).count();
    if recent >= policy.changes_an_hour {
        return stay(Why::Budget { would: target, changes: recent });
    }
    Scaling { wanted: target, why }
}

/// The last samples in a row, and what they say together.
struct Row {
    /// The lowest and the highest load, and what the last was of.
    lowest: f64,
    highest: f64,
    part: Part,
    /// The same in copies' worth: load times how many copies had it.
    least: f64,
    most: f64,
    /// Least traffic, requests a second.
    traffic: f64,
    for_s: i64,
}

fn row(policy: &ScalePolicy, samples: &[Sample], changed: Option<UnixMs>, now: UnixMs) -> Option<Row> {
    let checks = policy.checks.max(1);
    let fresh = |s: &&Sample| changed.is_none_or(|changed| s.at > changed) && s.at <= now;
    let mut last: Vec<&Sample> = samples.iter().rev().filter(fresh).take(checks).collect();
    last.reverse();
    let apart = 2 * policy.check.0;
    let in_a_row = last.windows(2).all(|two| (1..=apart).contains(&two[1].at.since(two[0].at).0));
    let (first, newest) = (last.first()?, last.last()?);
    if last.len() < checks || !in_a_row || now.since(newest.at).0 > apart {
        return None;
    }
    let loads: Option<Vec<(f64, f64)>> = last.iter().map(|s| s.load().map(|(load, _)| (load, load * s.ready as f64))).collect();
    let loads = loads?;
    let traffic = last.iter().map(|s| if s.traffic.is_nan() { 0.0 } else { s.traffic.max(0.0) });
    let least = |of: fn(&(f64, f64)) -> f64| loads.iter().map(of).fold(f64::INFINITY, f64::min);
    let most = |of: fn(&(f64, f64)) -> f64| loads.iter().map(of).fold(0.0, f64::max);
    Some(Row {
        lowest: least(|l| l.0),
        highest: most(|l| l.0),
        part: newest.load()?.1,
        least: least(|l| l.1),
        most: most(|l| l.1),
        traffic: traffic.fold(f64::INFINITY, f64::min),
        for_s: (newest.at.since(first.at).0 + policy.check.0) / 1000,
    })
}

/// How many copies it should be, before bounds and budget.
fn target(policy: &ScalePolicy, row: &Row, capacity: usize, base: usize, wanted: usize) -> (usize, Why) {
    // What traffic alone asks for.
    let least = base.saturating_add(whole(policy.per_request * row.traffic));
    let ahead = row.least / capacity as f64;
    if row.lowest > policy.out_above && ahead > policy.out_above {
        // Rounded up, or it would be above again; what the division is off by must not cost a copy.
        let more = whole((policy.gain * (ahead - policy.out_above) * capacity as f64 - 1e-9).ceil()).max(1);
        let target = capacity.saturating_add(more).max(least);
        return match target > wanted {
            true => (target, Why::High { load: row.lowest, part: row.part, for_s: row.for_s }),
            false => (wanted, Why::Coming { load: row.lowest, part: row.part, at_most: false }),
        };
    }
    if least > wanted {
        return (least, Why::Traffic { traffic: row.traffic });
    }
    if row.highest < policy.in_below {
        let fewer = whole(policy.gain * (policy.in_below - row.highest) * capacity as f64).max(1);
        // The same demand on those that stay must be a load below the upper bound.
        let bears = whole((row.most / policy.out_above).floor()) + 1;
        let target = capacity.saturating_sub(fewer).max(bears).max(least).min(wanted);
        let why = if target < wanted { Why::Low { load: row.highest, for_s: row.for_s } } else { Why::Steady };
        return (target, why);
    }
    if row.lowest > policy.out_above {
        return (wanted, Why::Coming { load: row.lowest, part: row.part, at_most: false });
    }
    (wanted, Why::Steady)
}

/// A number of copies; what is negative or no number is none, what is huge the largest.
fn whole(copies: f64) -> usize {
    copies as usize
}
