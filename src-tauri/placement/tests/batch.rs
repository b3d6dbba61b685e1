//! Many containers at once: what is shared is not given twice, every row holds, and the bound is one.

#![allow(clippy::unwrap_used, reason = "tests")]

use fogbank_model::{DeviceId, Dimension, OwnerId, Resources};
use fogbank_placement::{BatchPlan, Container, DeviceSnapshot, Fog, Policy, Request, plan_all};
use good_lp::{Expression, Solution, SolverModel, Variable, constraint, microlp, variable, variables};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use std::collections::{BTreeMap, BTreeSet};

const ROUNDING: f64 = 1e-6;

fn resources(most: u64) -> impl Strategy<Value = Resources> {
    prop::array::uniform4(1..most).prop_map(|[cpu_millicores, memory_mb, storage_mb, bandwidth_kbps]| Resources {
        cpu_millicores,
        memory_mb,
        storage_mb,
        bandwidth_kbps,
    })
}

fn device(index: u8) -> impl Strategy<Value = DeviceSnapshot> {
    (resources(1_000), 0.1f64..0.99, 0.1f64..1.0, prop::bool::weighted(0.9)).prop_map(
        move |(free, availability, reliability, suitable)| DeviceSnapshot {
            id: DeviceId([index; 32]),
            owner: OwnerId([index / 2; 32]),
            free,
            capacity: Resources::from_fn(|d| free.get(d) + 100),
            availability,
            battery: None,
            reliability,
            surcharge: 0.0,
            hosts: false,
            suitable,
        },
    )
}

fn container(devices: u8) -> impl Strategy<Value = Container> {
    let request = (resources(800), resources(80), 0u8..4, prop::option::of(0.1f64..0.99));
    let hosts = prop::collection::btree_set(0..devices, 0..3);
    (request, hosts, prop::option::weighted(0.3, 0u32..2), prop::option::weighted(0.3, 0u32..2)).prop_map(
        |((requirements, minimum, instances, availability_target), hosts, together, apart)| Container {
            request: Request { requirements, minimum, instances, availability_target },
            hosts: hosts.into_iter().map(|n| DeviceId([n; 32])).collect(),
            together,
            apart,
        },
    )
}

fn cases(devices: u8, containers: usize) -> impl Strategy<Value = (Fog, Vec<Container>, Policy)> {
    (1..=devices).prop_flat_map(move |n| {
        let devices: Vec<_> = (0..n).map(device).collect();
        let containers = prop::collection::vec(container(n), 1..=containers);
        (devices, containers, prop::option::of(0usize..6))
            .prop_map(|(devices, containers, churn_cap)| (Fog { devices }, containers, Policy { churn_cap, ..Policy::default() }))
    })
}

/// What one device costs a container, by the words of the design.
fn cost(device: &DeviceSnapshot, container: &Container) -> f64 {
    1.0 + 1.0 / device.reliability.max(0.05) + if container.hosts.contains(&device.id) { 0.0 } else { 1.0 }
}

/// Everything that must hold of a plan, and what it costs by the words of the design.
fn check(fog: &Fog, containers: &[Container], policy: &Policy, plan: &BatchPlan) -> Result<(), TestCaseError> {
    let devices: BTreeMap<DeviceId, &DeviceSnapshot> = fog.devices.iter().map(|d| (d.id, d)).collect();
    let mut given: BTreeMap<DeviceId, Resources> = BTreeMap::new();
    let (mut apart, mut together) = (BTreeMap::new(), BTreeMap::new());
    let mut expected = 0.0;
    prop_assert_eq!(plan.placements.len(), containers.len());
    for (i, (container, placement)) in containers.iter().zip(&plan.placements).enumerate() {
        let Some(placement) = placement else { continue };
        let request = &container.request;
        let hosts: BTreeSet<DeviceId> = placement.iter().map(|(id, _)| *id).collect();
        prop_assert_eq!(hosts.len(), placement.len());
        prop_assert!(hosts.len() >= usize::from(request.instances.max(1)), "too few copies");
        let sum = placement.iter().fold(Resources::ZERO, |sum, (_, y)| sum.plus(y));
        prop_assert!(sum.covers(&request.requirements), "too little in all");
        let mut absent = 1.0;
        let mut owners = BTreeSet::new();
        for (id, y) in placement {
            prop_assert!(devices[id].suitable && y.covers(&request.minimum), "too little on one");
            let all = given.entry(*id).or_default();
            *all = all.plus(y);
            absent *= 1.0 - devices[id].availability;
            owners.insert(devices[id].owner);
            expected += cost(devices[id], container);
        }
        expected += (placement.len() - owners.len()) as f64;
        prop_assert!(request.availability_target.is_none_or(|target| 1.0 - absent >= target - ROUNDING), "not available enough");
        let old: BTreeSet<DeviceId> = container.hosts.iter().copied().collect();
        prop_assert!(policy.churn_cap.is_none_or(|cap| hosts.symmetric_difference(&old).count() <= cap), "too many changes");
        if let Some(number) = container.together {
            prop_assert_eq!(together.entry(number).or_insert_with(|| hosts.clone()), &hosts);
        }
        let is_first = container.together.is_none_or(|number| containers[..i].iter().all(|other| other.together != Some(number)));
        if let Some(number) = container.apart.filter(|_| is_first) {
            for id in &hosts {
                prop_assert!(apart.insert((number, *id), i).is_none(), "two that are to be apart share a device");
            }
        }
    }
    let mut wasted = 0.0;
    for (id, all) in &given {
        let device = devices[id];
        prop_assert!(device.free.covers(all), "more than it has");
        let left = |d: Dimension| (device.free.get(d) - all.get(d)) as f64 / device.capacity.get(d) as f64;
        wasted += Dimension::ALL.map(|d| left(d).powi(2)).into_iter().sum::<f64>();
    }
    prop_assert!((plan.fragmentation - policy.fragmentation * wasted).abs() < ROUNDING, "fragmentation");
    prop_assert!((plan.cost - expected - plan.fragmentation).abs() < ROUNDING, "{} and not {expected}", plan.cost);
    prop_assert!(plan.lower_bound <= plan.cost + ROUNDING, "the bound {} is above the cost {}", plan.lower_bound, plan.cost);
    Ok(())
}

/// The least that placing all of these costs without fragmentation, affinity and further copies at one owner: what the bound is a bound of.
fn exact(fog: &Fog, containers: &[Container], policy: &Policy) -> Option<f64> {
    let devices: Vec<&DeviceSnapshot> = fog.devices.iter().filter(|d| d.suitable).collect();
    let mut vars = variables!();
    let x: Vec<Vec<Variable>> =
        containers.iter().map(|_| devices.iter().map(|_| vars.add(variable().binary())).collect()).collect();
    let y: Vec<Vec<[Variable; 4]>> =
        containers.iter().map(|_| devices.iter().map(|_| [(); 4].map(|()| vars.add(variable().min(0.0)))).collect()).collect();
    let mut objective = Expression::from(0.0);
    for (r, c) in containers.iter().enumerate() {
        for (d, device) in devices.iter().enumerate() {
            objective += cost(device, c) * x[r][d];
        }
    }
    let mut model = vars.minimise(objective).using(microlp);
    for (k, dimension) in Dimension::ALL.into_iter().enumerate() {
        for (d, device) in devices.iter().enumerate() {
            let all: Expression = (0..containers.len()).map(|r| y[r][d][k]).sum();
            model = model.with(constraint!(all <= device.free.get(dimension) as f64));
            for (r, c) in containers.iter().enumerate() {
                model = model.with(constraint!(y[r][d][k] <= device.free.get(dimension) as f64 * x[r][d]));
                model = model.with(constraint!(y[r][d][k] >= c.request.minimum.get(dimension) as f64 * x[r][d]));
            }
        }
        for (r, c) in containers.iter().enumerate() {
            let all: Expression = (0..devices.len()).map(|d| y[r][d][k]).sum();
            model = model.with(constraint!(all >= c.request.requirements.get(dimension) as f64));
        }
    }
    for (r, c) in containers.iter().enumerate() {
        let copies: Expression = x[r].iter().sum();
        model = model.with(constraint!(copies >= f64::from(c.request.instances.max(1))));
        if let Some(target) = c.request.availability_target {
            let sum: Expression = x[r].iter().zip(&devices).map(|(x, d)| -(1.0 - d.availability).ln() * *x).sum();
            model = model.with(constraint!(sum >= -(1.0 - target).ln() - 1e-9));
        }
        if let Some(cap) = policy.churn_cap {
            let changes: Expression =
                x[r].iter().zip(&devices).map(|(x, d)| if c.hosts.contains(&d.id) { -1.0 * *x } else { 1.0 * *x }).sum();
            model = model.with(constraint!(changes <= cap as f64 - c.hosts.len() as f64));
        }
    }
    let solution = model.solve().ok()?;
    let chosen = |r: usize, d: usize| solution.value(x[r][d]) > 0.5;
    let all = || (0..containers.len()).flat_map(|r| (0..devices.len()).map(move |d| (r, d)));
    Some(all().filter(|(r, d)| chosen(*r, *d)).map(|(r, d)| cost(devices[d], &containers[r])).sum())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn plans_hold_every_row((fog, containers, policy) in cases(10, 5)) {
        check(&fog, &containers, &policy, &plan_all(&fog, &containers, &policy))?;
    }

    #[test]
    fn the_order_of_devices_does_not_matter((fog, containers, policy) in cases(10, 5)) {
        let turned = Fog { devices: fog.devices.iter().rev().cloned().collect() };
        prop_assert_eq!(plan_all(&fog, &containers, &policy), plan_all(&turned, &containers, &policy));
    }
}

#[test]
fn the_cases_above_are_not_all_of_one_kind() {
    let mut runner = TestRunner::deterministic();
    let (mut all, mut some, mut shared) = (0, 0, 0);
    for _ in 0..100 {
        let (fog, containers, policy) = cases(10, 5).new_tree(&mut runner).unwrap().current();
        let plan = plan_all(&fog, &containers, &policy);
        all += usize::from(plan.placed() == containers.len());
        some += usize::from(plan.placed() > 0 && plan.placed() < containers.len());
        let used: Vec<DeviceId> = plan.placements.iter().flatten().flatten().map(|(id, _)| *id).collect();
        shared += usize::from(used.iter().collect::<BTreeSet<_>>().len() < used.len());
    }
    assert!(all > 20 && some > 20 && shared > 20, "{all} {some} {shared}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_bound_is_never_above_what_another_solver_finds((fog, mut containers, policy) in cases(5, 3)) {
        containers.iter_mut().for_each(|c| (c.together, c.apart) = (None, None));
        let plan = plan_all(&fog, &containers, &policy);
        if plan.placed() == containers.len() && let Some(least) = exact(&fog, &containers, &policy) {
            prop_assert!(plan.lower_bound <= least + ROUNDING, "{} is above {least}", plan.lower_bound);
            prop_assert!(plan.cost >= least - ROUNDING, "{} is below {least}", plan.cost);
        }
    }
}
