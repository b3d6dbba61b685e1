//! What the planner prefers and what it says, on cases small enough to read.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use fogbank_model::{DeviceId, Dimension, Infeasible, OwnerId, Resources, Shortfall};
use fogbank_placement::{
    BatteryShare, Binding, DeviceSnapshot, Outcome, Plan, Policy, Request, Snapshot, Solver, capacity, plan,
};

const UNIT: Resources = Resources { cpu_millicores: 1_000, memory_mb: 1_000, storage_mb: 1_000, bandwidth_kbps: 1_000 };

fn times(n: u64) -> Resources {
    Resources::from_fn(|d| UNIT.get(d) * n)
}

/// A trusted device on mains, with an owner of its own, that does not host yet.
fn device(index: u8) -> DeviceSnapshot {
    DeviceSnapshot {
        id: DeviceId([index; 32]),
        owner: OwnerId([index; 32]),
        free: UNIT,
        capacity: times(2),
        availability: 0.9,
        battery: None,
        reliability: 1.0,
        surcharge: 0.0,
        hosts: false,
        suitable: true,
    }
}

fn request(requirements: Resources, instances: u8) -> Request {
    Request { requirements, minimum: Resources { memory_mb: 16, ..Resources::ZERO }, instances, availability_target: None }
}

/// Both solvers must agree on these cases, save under a cap on changes, where the search only has to find some plan.
fn placed(devices: &[DeviceSnapshot], request: Request, policy: &Policy) -> Plan {
    let snapshot = Snapshot { devices: devices.to_vec(), request };
    let by = |exact_up_to| match plan(&snapshot, &Policy { exact_up_to, ..policy.clone() }) {
        Outcome::Placed(plan) => plan,
        Outcome::Infeasible(why) => panic!("{why}"),
    };
    let (exact, searched) = (by(24), by(0));
    assert!(exact.cost <= searched.cost);
    if policy.churn_cap.is_none() {
        assert_eq!(exact.assignments, searched.assignments);
    }
    exact
}

fn refused(devices: &[DeviceSnapshot], request: Request, policy: &Policy) -> Infeasible {
    match plan(&Snapshot { devices: devices.to_vec(), request }, policy) {
        Outcome::Placed(plan) => panic!("{plan}"),
        Outcome::Infeasible(why) => why,
    }
}

fn ids(plan: &Plan) -> Vec<u8> {
    plan.assignments.iter().map(|(id, _)| id.0[0]).collect()
}

#[test]
fn mains_before_charging_before_discharging() {
    let on = |index, share, charging| DeviceSnapshot { battery: Some(BatteryShare { share, charging }), ..device(index) };
    let devices = [on(1, 0.9, false), on(2, 0.5, true), device(3), on(4, 0.4, true)];
    assert_eq!(ids(&placed(&devices, request(UNIT, 1), &Policy::default())), [3]);
    assert_eq!(ids(&placed(&devices, request(UNIT, 2), &Policy::default())), [2, 3]);
    assert_eq!(ids(&placed(&devices, request(UNIT, 3), &Policy::default())), [2, 3, 4]);
}

#[test]
fn the_host_that_has_it_and_the_owner_that_has_none() {
    let devices =
        [device(1), DeviceSnapshot { hosts: true, ..device(2) }, DeviceSnapshot { owner: OwnerId([2; 32]), ..device(3) }];
    assert_eq!(ids(&placed(&devices, request(UNIT, 1), &Policy::default())), [2]);
    assert_eq!(ids(&placed(&devices, request(UNIT, 2), &Policy::default())), [1, 2]);
    // A preference, no rule.
    assert_eq!(ids(&placed(&devices, request(UNIT, 3), &Policy::default())), [1, 2, 3]);
}

#[test]
fn one_large_device_instead_of_many_small_ones() {
    let mut devices: Vec<_> = (1..=9).map(device).collect();
    devices[4].free = times(5);
    let plan = placed(&devices, request(times(5), 1), &Policy::default());
    assert_eq!(ids(&plan), [5]);
    assert_eq!(plan.to_string(), "on 1 device at cost 3.00 (the optimum); limited by processor");
}

#[test]
fn says_what_a_plan_is_limited_by() {
    let devices: Vec<_> = (1..=6).map(device).collect();
    let memory = Resources { memory_mb: 3_000, ..Resources::ZERO };
    let limits = |request| placed(&devices, request, &Policy::default()).binding;
    assert_eq!(limits(request(memory, 1)), Binding::Resource(Dimension::Memory));
    assert_eq!(limits(request(Resources { memory_mb: 1_500, ..Resources::ZERO }, 3)), Binding::Copies);
    let target = Request { availability_target: Some(0.999), ..request(memory.min(&UNIT), 1) };
    assert_eq!(limits(target), Binding::Availability);
    assert_eq!(ids(&placed(&devices, target, &Policy::default())).len(), 3, "0.9 each: three for 0.999");
}

#[test]
fn a_cap_on_changes_holds_and_is_named() {
    let mut devices: Vec<_> = (1..=4).map(device).collect();
    for (d, share) in devices.iter_mut().zip([0.3, 0.4]) {
        d.hosts = true;
        d.battery = Some(BatteryShare { share, charging: false });
    }
    devices[3].reliability = 0.9;
    assert_eq!(ids(&placed(&devices, request(UNIT, 2), &Policy::default())), [3, 4]);
    let capped = Policy { churn_cap: Some(2), ..Policy::default() };
    let plan = placed(&devices, request(UNIT, 2), &capped);
    assert_eq!(ids(&plan), [2, 3], "one given up and one added");
    assert_eq!(plan.binding, Binding::Churn);
    // Four copies need two more hosts.
    let why = refused(&devices, request(UNIT, 4), &Policy { churn_cap: Some(1), ..Policy::default() });
    assert_eq!(why.shortfalls, [Shortfall::Changes { needed: 2, allowed: 1 }]);
    assert_eq!(why.largest, None);
    // So does twice what the hosts have, and the half of it fits as they are.
    let why = refused(&devices, request(times(4), 1), &Policy { churn_cap: Some(0), ..Policy::default() });
    assert_eq!(why.shortfalls, [Shortfall::Changes { needed: 2, allowed: 0 }]);
    assert_eq!(why.largest, Some(times(2)));
}

#[test]
fn a_lost_host_is_a_change() {
    let mut devices: Vec<_> = (1..=3).map(device).collect();
    devices[0] = DeviceSnapshot { hosts: true, suitable: false, ..device(1) };
    let why = refused(&devices, request(UNIT, 1), &Policy { churn_cap: Some(1), ..Policy::default() });
    assert_eq!(why.shortfalls, [Shortfall::Changes { needed: 2, allowed: 1 }]);
    placed(&devices, request(UNIT, 1), &Policy { churn_cap: Some(2), ..Policy::default() });
}

#[test]
fn says_which_dimension_by_how_much_and_what_would_fit() {
    let devices: Vec<_> = (1..=3).map(device).collect();
    let asked = Resources { cpu_millicores: 3_500, memory_mb: 9_000, storage_mb: 100, bandwidth_kbps: 1 };
    let why = refused(&devices, request(asked, 1), &Policy::default());
    assert_eq!(
        why.to_string(),
        "does not fit: memory: 9000 MB asked, 3000 MB free, 6000 MB short; \
         processor: 3.500 cores asked, 3 cores free, 0.500 cores short. \
         The largest request that fits now: processor 3 cores, memory 3000 MB, storage 100 MB, bandwidth 0.001 Mbit/s"
    );
    let why = refused(&devices, request(UNIT, 4), &Policy::default());
    assert_eq!(why.to_string(), "does not fit: devices: 4 copies asked, 3 devices could take one. A smaller size would not help");
    let target = Request { availability_target: Some(0.9999), ..request(UNIT, 1) };
    let why = refused(&devices, target, &Policy::default());
    assert!(matches!(why.shortfalls[..], [Shortfall::Availability { reach, .. }] if (reach - 0.999).abs() < 1e-9), "{why}");
    let bulky = Request { minimum: Resources { storage_mb: 1_200, ..Resources::ZERO }, ..request(UNIT, 1) };
    let why = refused(&devices, bulky, &Policy::default());
    assert_eq!(why.shortfalls, [Shortfall::OneCopy { dimension: Dimension::Storage, asked: 1_200, free: 1_000 }]);
    assert_eq!(refused(&[], request(UNIT, 2), &Policy::default()).shortfalls, [Shortfall::Devices { asked: 2, free: 0 }]);
}

#[test]
fn whole_numbers_decide_where_the_solver_rounds() {
    // One unit in a thousand million is less than the solver can see; the choice without it is not allowed all the same.
    let mut devices = [device(1), device(2)];
    devices[0].free.storage_mb = 999_999_999;
    devices[1].free.storage_mb = 1;
    let all = Resources { storage_mb: 1_000_000_000, ..Resources::ZERO };
    assert_eq!(ids(&placed(&devices, request(all, 1), &Policy::default())), [1, 2]);
}

#[test]
fn what_is_the_optimum_is_known_to_be_also_among_many() {
    let devices: Vec<_> = (1..=60).map(|i| DeviceSnapshot { reliability: 0.5 + f64::from(i) / 150.0, ..device(i) }).collect();
    let snapshot = Snapshot { devices, request: request(times(20), 1) };
    let Outcome::Placed(plan) = plan(&snapshot, &Policy::default()) else { panic!("it fits") };
    // Twenty like devices: the relaxation is whole, so bound and plan meet.
    assert_eq!(plan.solver, Solver::Exact);
    assert!(plan.gap < 1e-3, "{plan}");
}

#[test]
fn capacity_counts_what_may_be_chosen() {
    let mut devices: Vec<_> = (1..=4).map(device).collect();
    devices[0].suitable = false;
    devices[1].free.memory_mb = 8;
    let now = capacity(&Snapshot { devices, request: request(UNIT, 2) }, &Policy::default());
    assert_eq!((now.devices, now.suitable, now.infeasible), (3, 2, None));
    assert_eq!(now.free, Resources { memory_mb: 2_008, ..times(3) });
    assert_eq!(now.lent, times(6));
}
