//! How many copies are wanted, over hours of every kind of input.

use fogbank_model::{DurationMs, UnixMs};
use fogbank_placement::scaling::{Copies, HOUR, MOST_LOAD, Part, Sample, ScalePolicy, Scaling, Why, scale};
use proptest::prelude::*;

const CHECK: i64 = 10_000;

/// A container over time: what is wanted is there `lag` checks later.
struct Run {
    policy: ScalePolicy,
    base: usize,
    most: usize,
    wanted: usize,
    ready: usize,
    lag: usize,
    pending: Vec<(usize, usize)>,
    samples: Vec<Sample>,
    changes: Vec<UnixMs>,
    at: usize,
}

impl Run {
    fn new(base: usize, most: usize, lag: usize) -> Self {
        let policy = ScalePolicy::default();
        Self { policy, base, most, wanted: base, ready: base, lag, pending: vec![], samples: vec![], changes: vec![], at: 0 }
    }

    fn now(&self) -> UnixMs {
        UnixMs(1_000_000 + self.at as i64 * CHECK)
    }

    /// One check with these parts, which are of the copies that serve.
    fn check(&mut self, parts: [Option<f64>; 5], traffic: f64) -> Scaling {
        self.at += 1;
        self.pending.retain(|(at, ready)| {
            let due = *at <= self.at;
            self.ready = if due { *ready } else { self.ready };
            !due
        });
        let now = self.now();
        self.samples.push(Sample { at: now, ready: self.ready, parts, traffic });
        let copies = Copies {
            ready: self.ready,
            starting: self.wanted.saturating_sub(self.ready),
            base: self.base,
            most: self.most,
            wanted: self.wanted,
        };
        let before = self.wanted;
        let said = scale(&self.policy, &self.samples, &self.changes, &copies, now);
        if said.wanted != before {
            self.wanted = said.wanted;
            self.changes.push(now);
            self.pending.push((self.at + self.lag, said.wanted));
        }
        said
    }

    /// One check of so much demand, in copies' worth.
    fn demand(&mut self, demand: f64) -> Scaling {
        let load = demand / self.ready as f64;
        self.check([None, None, Some(load), Some(load / 2.0), None], 0.0)
    }
}

fn most_within_an_hour(changes: &[UnixMs]) -> usize {
    let from = |first: &UnixMs| changes.iter().filter(|at| (0..HOUR.0).contains(&at.since(*first).0)).count();
    changes.iter().map(from).max().unwrap_or(0)
}

#[test]
fn load_that_stays_is_met_and_what_goes_is_given_back() {
    let mut run = Run::new(2, 8, 6);
    for _ in 0..2 {
        assert_eq!(run.demand(1.9), Scaling { wanted: 2, why: Why::Unknown });
    }
    // 1.9 copies' worth on two copies is 95 %; on three it is 63 %.
    let said = run.demand(1.9);
    assert_eq!(said, Scaling { wanted: 3, why: Why::High { load: 0.95, part: Part::Network, for_s: 30 } });
    assert_eq!(said.why.to_string(), "load 95 % for 30 s: network");
    for _ in 0..60 {
        run.demand(1.9);
    }
    assert_eq!((run.wanted, run.changes.len()), (3, 1), "what was begun is not begun twice");
    for _ in 0..60 {
        run.demand(0.1);
    }
    assert_eq!((run.wanted, run.changes.len()), (2, 2), "back to the base");
    assert_eq!(run.demand(0.1).why, Why::Steady);
}

#[test]
fn two_checks_or_a_gap_between_them_are_not_enough() {
    let mut run = Run::new(2, 8, 1);
    for round in 0..200 {
        // Twice too much, once not.
        assert_eq!(run.demand(if round % 3 == 2 { 1.5 } else { 1.99 }).wanted, 2);
    }
    let policy = ScalePolicy::default();
    let copies = Copies { ready: 2, starting: 0, base: 2, most: 8, wanted: 2 };
    let sample = |s: i64| Sample { at: UnixMs(s * 1_000), ready: 2, parts: [Some(0.9); 5], traffic: 0.0 };
    let said = |at: [i64; 3], now: i64| scale(&policy, &at.map(sample), &[], &copies, UnixMs(now * 1_000)).wanted;
    assert_eq!((said([10, 20, 30], 30), said([10, 20, 45], 45), said([10, 20, 30], 60)), (3, 2, 2));
    assert_eq!(said([10, 10, 30], 30), 2, "one sample does not count twice");
    assert_eq!(scale(&policy, &[10, 20, 30].map(sample), &[UnixMs(15_000)], &copies, UnixMs(30_000)).why, Why::Unknown);
}

#[test]
fn traffic_alone_asks_for_copies_and_holds_them() {
    let mut run = Run::new(2, 4, 1);
    for _ in 0..3 {
        run.check([None, None, Some(0.5), None, None], 130.0);
    }
    assert_eq!(run.wanted, 4, "two more for 130 requests a second");
    for _ in 0..100 {
        run.check([None, None, Some(0.1), None, None], 130.0);
    }
    assert_eq!(run.wanted, 4, "little load each, but the traffic is there");
    for _ in 0..100 {
        run.check([None, None, Some(0.1), None, None], 61.0);
    }
    assert_eq!(run.wanted, 3);
}

#[test]
fn what_can_not_be_met_stays_wanted_and_is_asked_for_once() {
    let mut run = Run::new(2, 6, usize::MAX / 2);
    for _ in 0..1_000 {
        run.demand(3.2);
    }
    assert_eq!((run.wanted, run.changes.len()), (4, 1));
    assert!(matches!(run.demand(3.2).why, Why::Coming { at_most: false, .. }));
    // When demand goes, so does what is waited for.
    for _ in 0..5 {
        run.demand(0.01);
    }
    assert!(run.wanted < 4);
    let mut full = Run::new(2, 2, 1);
    for _ in 0..3 {
        full.demand(4.0);
    }
    assert_eq!(full.wanted, 2);
    assert!(matches!(full.demand(4.0).why, Why::Coming { at_most: true, .. }), "{:?}", full.demand(4.0).why);
}

#[test]
fn swinging_load_uses_up_its_budget_and_no_more() {
    let mut run = Run::new(1, 32, 1);
    let mut said = String::new();
    for minute in 0..240 {
        for _ in 0..6 {
            let why = run.demand(if minute % 2 == 0 { 30.0 } else { 0.0 }).why;
            if matches!(why, Why::Budget { .. }) {
                said = why.to_string();
            }
        }
    }
    assert_eq!(most_within_an_hour(&run.changes), run.policy.changes_an_hour);
    assert!(said.contains("their number changed 6 times within the last hour"), "{said}");
}

fn any_share() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        2 => Just(None),
        8 => (0.0..1.5f64).prop_map(Some),
        1 => any::<f64>().prop_map(Some),
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, f64::MAX, 0.8, 0.2]).prop_map(Some),
    ]
}

fn any_parts() -> impl Strategy<Value = [Option<f64>; 5]> {
    [any_share(), any_share(), any_share(), any_share(), any_share()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever is measured, numbers that are none included: bounds and budget hold, and nothing is ended that its demand still needs.
    #[test]
    fn bounds_and_budget_hold_whatever_is_measured(
        inputs in prop::collection::vec((any_parts(), prop_oneof![0.0..200.0f64, any::<f64>()], 1usize..12), 1..200),
        base in 0usize..6, more in 0usize..30, lag in 0usize..20,
    ) {
        let mut run = Run::new(base, base + more, lag);
        for (parts, traffic, times) in inputs {
            // Some last for a while, or nothing would ever be three in a row.
            for _ in 0..times {
                let before = run.wanted;
                let said = run.check(parts, traffic);
                prop_assert!((base.max(1)..=(base + more).max(1)).contains(&said.wanted), "{said:?}");
                prop_assert!(!said.why.to_string().is_empty());
                if said.wanted < before {
                    let demand = run.samples.last().and_then(Sample::load).map_or(0.0, |(load, _)| load) * run.ready as f64;
                    prop_assert!(demand / (said.wanted as f64) < run.policy.out_above, "{said:?} of {demand}");
                }
            }
        }
        prop_assert!(most_within_an_hour(&run.changes) <= run.policy.changes_an_hour);
    }

    /// Demand that swings by less than the gap between the bounds moves nothing, after the copies have come to it.
    #[test]
    fn bounded_swings_yield_bounded_changes(
        middle in 0.5..10.0f64, swing in 0.0..0.2f64, period in 1usize..60, lag in 0usize..12,
    ) {
        let mut run = Run::new(1, 32, lag);
        for at in 0..6 * 360 {
            let phase = (at % period) as f64 / period as f64 * std::f64::consts::TAU;
            run.demand(middle * (1.0 + swing * phase.sin()));
        }
        prop_assert!(run.changes.len() <= 8, "{} changes", run.changes.len());
        let late = run.changes.iter().filter(|at| run.now().since(**at).0 < 2 * HOUR.0).count();
        prop_assert_eq!(late, 0, "the last of six hours is as the one before");
    }

    /// More load that stays never leads to fewer copies, and load that stays ends below the bound or at the most.
    #[test]
    fn lasting_load_is_met_and_more_of_it_by_no_fewer(demand in 0.0..20.0f64, more in 0.0..20.0f64, base in 1usize..5, lag in 0usize..8) {
        let settled = |demand: f64| {
            let mut run = Run::new(base, 32, lag);
            for _ in 0..2 * 360 {
                run.demand(demand);
            }
            run.wanted
        };
        let (few, many) = (settled(demand), settled(demand + more));
        prop_assert!(few <= many, "{few} and {many}");
        prop_assert!(demand / (few as f64) <= 0.8 + 1e-9 || few == 32, "{few} for {demand}");
        prop_assert!(few == base || few as f64 <= (demand / 0.8).max(1.0) * 1.5 + 1.0, "{few} for {demand}");
    }

    #[test]
    fn quiet_is_quiet(load in 0.0..0.8f64, base in 1usize..8, most in 0usize..32, checks in 1usize..500) {
        let mut run = Run::new(base, base + most, 1);
        for _ in 0..checks {
            run.demand(load * base as f64);
        }
        prop_assert_eq!((run.wanted, run.changes.len()), (base, 0));
    }

    #[test]
    fn a_sample_is_told_by_its_largest_part(parts in any_parts()) {
        let sample = Sample { at: UnixMs(0), ready: 1, parts, traffic: 0.0 };
        let load = sample.load();
        prop_assert!(load.is_none_or(|(load, _)| (0.0..=MOST_LOAD).contains(&load)));
        prop_assert_eq!(load.is_some(), parts.iter().flatten().any(|share| !share.is_nan()));
    }
}

#[test]
fn usual_numbers_are_the_designs() {
    let usual = ScalePolicy::default();
    assert_eq!((usual.out_above, usual.in_below, usual.checks, usual.check), (0.8, 0.2, 3, DurationMs::from_s(10)));
    assert!((usual.gain * usual.out_above - 1.0).abs() < 1e-12);
}
