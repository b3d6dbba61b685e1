//! Properties of plans over the public interface, against brute force where the case is small.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod cases;

use cases::{cost_of, large, policies, snapshot};
use fogbank_model::{Dimension, Resources};
use fogbank_placement::{BatteryShare, DeviceSnapshot, Outcome, Plan, Policy, Snapshot, Solver, capacity, part, plan};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

/// What rounding may do to sums of costs.
const ROUNDING: f64 = 1e-6;

fn changes(s: &Snapshot, chosen: &[&DeviceSnapshot]) -> usize {
    s.devices.iter().filter(|d| d.hosts != chosen.iter().any(|c| c.id == d.id)).count()
}

fn is_available(s: &Snapshot, chosen: &[&DeviceSnapshot]) -> bool {
    let missing: f64 = chosen.iter().map(|d| 1.0 - d.availability).product();
    s.request.availability_target.is_none_or(|target| 1.0 - missing >= target - 1e-9)
}

fn is_feasible(s: &Snapshot, cap: Option<usize>, chosen: &[&DeviceSnapshot]) -> bool {
    let sum = chosen.iter().fold(Resources::ZERO, |sum, d| sum.plus(&d.free));
    chosen.iter().all(|d| d.suitable && d.free.covers(&s.request.minimum))
        && chosen.len() >= usize::from(s.request.instances)
        && sum.covers(&s.request.requirements)
        && is_available(s, chosen)
        && cap.is_none_or(|cap| changes(s, chosen) <= cap)
}

/// The cheapest feasible choice among all subsets.
fn brute_force(s: &Snapshot, policy: &Policy) -> Option<f64> {
    (0u32..1 << s.devices.len())
        .filter_map(|mask| {
            let chosen: Vec<_> = s.devices.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1).map(|(_, d)| d).collect();
            is_feasible(s, policy.churn_cap, &chosen).then(|| cost_of(&chosen))
        })
        .min_by(f64::total_cmp)
}

fn chosen<'a>(s: &'a Snapshot, plan: &Plan) -> Vec<&'a DeviceSnapshot> {
    plan.assignments.iter().map(|(id, _)| s.devices.iter().find(|d| d.id == *id).unwrap()).collect()
}

/// Whether a plan, if there is one, holds what every plan must.
fn check(s: &Snapshot, policy: &Policy) -> Result<(), TestCaseError> {
    let Outcome::Placed(plan) = plan(s, policy) else { return Ok(()) };
    let devices = chosen(s, &plan);
    let mut sum = Resources::ZERO;
    for ((_, given), device) in plan.assignments.iter().zip(&devices) {
        prop_assert!(device.suitable && device.free.covers(given), "oversubscribed");
        prop_assert!(given.covers(&s.request.minimum), "less than one copy needs");
        sum = sum.plus(given);
    }
    prop_assert!(plan.assignments.is_sorted_by(|a, b| a.0 < b.0), "a device twice, or out of order");
    let copies = devices.len() as u64;
    for d in Dimension::ALL {
        let due = s.request.requirements.get(d).max(s.request.minimum.get(d) * copies);
        prop_assert_eq!(sum.get(d), due, "gives more or less than due");
    }
    prop_assert!(devices.len() >= usize::from(s.request.instances));
    prop_assert!(policy.churn_cap.is_none_or(|cap| changes(s, &devices) <= cap), "over the cap on changes");
    prop_assert!(plan.lower_bound <= plan.cost && plan.gap >= 0.0 && plan.cost.is_finite());
    prop_assert!(plan.to_string().contains("limited by") && !plan.to_string().contains('\n'));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn plans_hold_every_row(s in snapshot(60), policy in policies()) {
        check(&s, &policy)?;
        if let Outcome::Placed(plan) = plan(&s, &policy) {
            prop_assert!(is_feasible(&s, policy.churn_cap, &chosen(&s, &plan)));
            prop_assert!((plan.cost - cost_of(&chosen(&s, &plan))).abs() < ROUNDING, "says another cost than it has");
        }
    }

    #[test]
    fn agrees_with_brute_force(s in snapshot(12), policy in policies()) {
        let best = brute_force(&s, &policy);
        match plan(&s, &policy) {
            Outcome::Placed(plan) => {
                let best = best.expect("planned what can't be");
                prop_assert!(plan.lower_bound <= best + ROUNDING, "bound {} over the optimum {best}", plan.lower_bound);
                prop_assert!(plan.cost >= best - ROUNDING, "cheaper than the optimum");
                prop_assert!(policy.exact_up_to == 0 || plan.solver == Solver::Exact, "the exact solver gave up");
                if plan.solver == Solver::Exact {
                    prop_assert!((plan.cost - best).abs() < ROUNDING, "{} is not the optimum {best}", plan.cost);
                }
            }
            // The search finds a plan whenever there is one, save under a cap on changes; branch and bound always.
            Outcome::Infeasible(why) => {
                prop_assert!(best.is_none() || (policy.churn_cap.is_some() && policy.exact_up_to == 0), "missed {best:?}: {why}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_explained(s in snapshot(12), policy in policies()) {
        let Outcome::Infeasible(why) = plan(&s, &policy) else { return Ok(()) };
        prop_assert!(!why.shortfalls.is_empty(), "no reason");
        prop_assert_eq!(capacity(&s, &policy).infeasible, Some(why.clone()));
        if let Some(largest) = why.largest {
            let mut smaller = s.clone();
            smaller.request.requirements = largest;
            prop_assert!(matches!(plan(&smaller, &policy), Outcome::Placed(_)), "{largest:?} does not fit");
            prop_assert!(s.request.requirements.covers(&largest) && s.request.requirements != largest);
            if policy.churn_cap.is_none() {
                // One more of anything that was cut does not fit.
                for d in Dimension::ALL.into_iter().filter(|d| largest.get(*d) < s.request.requirements.get(*d)) {
                    smaller.request.requirements = largest;
                    smaller.request.requirements.set(d, largest.get(d) + 1);
                    prop_assert!(matches!(plan(&smaller, &policy), Outcome::Infeasible(_)), "more {d} than {largest:?} fits");
                }
            }
        }
    }

    #[test]
    fn where_the_whole_does_not_fit_the_most_that_fits_is_placed(s in snapshot(12), policy in policies()) {
        let Outcome::Infeasible(_) = plan(&s, &policy) else { return Ok(()) };
        let able: Vec<_> = s.devices.iter().filter(|d| d.can_host(&s.request)).collect();
        let Some(part) = part(&s, &policy) else {
            prop_assert!(able.is_empty() || policy.churn_cap.is_some(), "{} devices could take a copy", able.len());
            return Ok(());
        };
        let devices = chosen(&s, &part);
        let sum = |all: &mut dyn Iterator<Item = Resources>| all.fold(Resources::ZERO, |sum, r| sum.plus(&r));
        let given = sum(&mut part.assignments.iter().map(|(_, given)| *given));
        prop_assert!(part.assignments.iter().zip(&devices).all(|((_, y), d)| d.free.covers(y) && y.covers(&s.request.minimum)));
        prop_assert!(policy.churn_cap.is_none_or(|cap| changes(&s, &devices) <= cap), "over the cap on changes");
        if policy.churn_cap.is_none() {
            prop_assert!(devices.len() >= able.len().min(usize::from(s.request.instances.max(1))), "{} copies", devices.len());
            prop_assert!(given.covers(&s.request.requirements.min(&sum(&mut able.iter().map(|d| d.free)))), "gives {given:?}");
        }
    }

    #[test]
    fn the_order_of_devices_does_not_matter(s in snapshot(40), policy in policies()) {
        let mut turned = s.clone();
        turned.devices.reverse();
        prop_assert_eq!(plan(&s, &policy), plan(&turned, &policy));
    }

    #[test]
    fn nonsense_is_tamed(
        mut s in snapshot(12),
        policy in policies(),
        odd in prop::collection::vec(prop::sample::select(vec![f64::NAN, f64::INFINITY, -f64::INFINITY, -1.0, 0.0, -0.0, 1.0, 2.0]), 4),
        huge in any::<bool>(),
    ) {
        for device in &mut s.devices {
            device.availability = odd[0];
            device.reliability = odd[1];
            device.battery = Some(BatteryShare { share: odd[2], charging: false });
            if huge {
                device.free = Resources::from_fn(|_| u64::MAX);
            }
        }
        s.request.availability_target = s.request.availability_target.map(|_| odd[3]);
        check(&s, &policy)?;
        let more = Resources::from_fn(|_| u64::MAX);
        s.request.requirements = more;
        let impossible = matches!(plan(&s, &policy), Outcome::Infeasible(why) if !why.shortfalls.is_empty());
        prop_assert!(impossible, "no fog has that much");
        s.request.minimum = more;
        check(&s, &policy)?;
    }
}

/// Fogs that are too large to be looked through, as the cases above are not: what is found holds, is near the bound, and effort makes it cheaper.
#[test]
fn what_can_not_be_looked_through_is_searched() {
    let (mut searched, mut cheaper) = (0, 0);
    for seed in 0..6 {
        let s = large(seed, 400);
        let planned = |effort| match plan(&s, &Policy { effort, ..Policy::default() }) {
            Outcome::Placed(plan) => plan,
            Outcome::Infeasible(why) => panic!("seed {seed}: {why}"),
        };
        let (quick, usual) = (planned(0), planned(Policy::default().effort));
        for plan in [&quick, &usual] {
            let devices = chosen(&s, plan);
            assert!(is_feasible(&s, None, &devices) && (plan.cost - cost_of(&devices)).abs() < ROUNDING, "seed {seed}");
        }
        assert!(usual.cost <= quick.cost && usual.gap < 0.05, "seed {seed}: {usual}");
        searched += usize::from(usual.solver == Solver::Dual);
        cheaper += usize::from(usual.cost < quick.cost);
    }
    assert!(searched >= 4 && cheaper >= 2, "{searched} were searched, {cheaper} became cheaper");
}

#[test]
fn the_cases_above_are_not_all_of_one_kind() {
    let mut runner = TestRunner::deterministic();
    let (mut placed, mut infeasible, mut smaller) = (0, 0, 0);
    for _ in 0..300 {
        let (s, policy) = (snapshot(12), policies()).new_tree(&mut runner).unwrap().current();
        match plan(&s, &policy) {
            Outcome::Placed(_) => placed += 1,
            Outcome::Infeasible(why) => {
                infeasible += 1;
                smaller += usize::from(why.largest.is_some());
            }
        }
    }
    assert!(placed > 100 && infeasible > 50 && smaller > 20, "{placed} {infeasible} {smaller}");
}
