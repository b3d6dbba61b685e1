//! Why devices are chosen or passed over, and what would make a request fit.

#![allow(clippy::unwrap_used, reason = "tests")]

mod cases;

use cases::{cost_of, large, policies, snapshot};
use fogbank_model::{DeviceId, Dimension, OwnerId, Resources};
use fogbank_placement::{DeviceSnapshot, Outcome, Policy, Remedy, Request, Snapshot, Verdict, explain, plan, remedies, standing};
use proptest::prelude::*;

fn placed(snapshot: &Snapshot, policy: &Policy) -> bool {
    matches!(plan(snapshot, policy), Outcome::Placed(_))
}

/// The same fog, request and rules after a remedy, by the words of its documentation.
fn after(snapshot: &Snapshot, policy: &Policy, remedy: &Remedy) -> (Snapshot, Policy) {
    let (mut snapshot, mut policy) = (snapshot.clone(), policy.clone());
    match *remedy {
        Remedy::Devices { count, free, availability } => {
            for n in 0..count {
                let mut id = [0xee; 32];
                id[..8].copy_from_slice(&n.to_be_bytes());
                let (battery, reliability, surcharge) = (None, 1.0, 0.0);
                let (hosts, suitable, capacity) = (false, true, free);
                let (id, owner) = (DeviceId(id), OwnerId(id));
                let device =
                    DeviceSnapshot { id, owner, free, capacity, availability, battery, reliability, surcharge, hosts, suitable };
                snapshot.devices.push(device);
            }
        }
        Remedy::Copies { instances } => snapshot.request.instances = instances,
        Remedy::Minimum { minimum } => snapshot.request.minimum = minimum,
        Remedy::Requirements { requirements } => snapshot.request.requirements = requirements,
        Remedy::Availability { target } => snapshot.request.availability_target = Some(target),
        Remedy::Changes { allowed } => policy.churn_cap = Some(allowed),
    }
    (snapshot, policy)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_device_has_its_verdict(s in snapshot(12), policy in policies()) {
        let Outcome::Placed(plan) = plan(&s, &policy) else { return Ok(()) };
        let verdicts = explain(&s, &policy, &plan.assignments);
        prop_assert_eq!(verdicts.len(), s.devices.len());
        for (device, (id, verdict)) in s.devices.iter().zip(&verdicts) {
            prop_assert_eq!(device.id, *id);
            prop_assert_eq!(verdict.is_chosen(), plan.assignments.iter().any(|(chosen, _)| chosen == id));
            match *verdict {
                Verdict::NotSuitable => prop_assert!(!device.suitable),
                Verdict::TooSmall { dimension, asked, free } => {
                    prop_assert!(device.suitable && free < asked && device.free.get(dimension) == free);
                }
                Verdict::ChangesTooMuch { allowed } => prop_assert_eq!(policy.churn_cap, usize::try_from(allowed).ok()),
                Verdict::Dearer { by } => prop_assert!(by > 0.0),
                Verdict::NotNeeded { worth } => prop_assert!(worth >= 0.0),
                Verdict::OwnerHasOne { .. } => {
                    prop_assert!(s.devices.iter().zip(&verdicts).any(|(d, (_, v))| d.owner == device.owner && v.is_chosen()));
                }
                Verdict::Chosen { needed_for: None, .. } => prop_assert!(policy.churn_cap.is_some() || device.hosts, "it could be left out"),
                Verdict::Chosen { .. } => {}
            }
        }
    }

    #[test]
    fn what_is_named_makes_it_fit(s in snapshot(12), policy in policies()) {
        let remedies = remedies(&s, &policy);
        prop_assert!(remedies.is_empty() || !placed(&s, &policy));
        for remedy in &remedies {
            let (s, policy) = after(&s, &policy, remedy);
            prop_assert!(placed(&s, &policy), "{remedy}");
        }
        // Without a cap on changes a device can always be added, in numbers that a device may have.
        if policy.churn_cap.is_none() && !placed(&s, &policy) {
            let named = remedies.iter().any(|r| matches!(r, Remedy::Devices { .. }));
            prop_assert!(named, "no device would do");
        }
    }
}

#[test]
fn names_the_smallest_change_first() {
    let device = |n: u8, memory_mb| {
        let free = Resources { cpu_millicores: 1_000, memory_mb, storage_mb: 1_000, bandwidth_kbps: 1_000 };
        let (availability, battery, reliability, surcharge) = (0.9, None, 1.0, 0.0);
        let (id, owner, hosts, suitable) = (DeviceId([n; 32]), OwnerId([n; 32]), false, true);
        DeviceSnapshot { id, owner, free, capacity: free, availability, battery, reliability, surcharge, hosts, suitable }
    };
    let request = Request {
        requirements: Resources { cpu_millicores: 1_000, memory_mb: 4_000, storage_mb: 1_000, bandwidth_kbps: 1_000 },
        minimum: Resources { cpu_millicores: 100, memory_mb: 500, storage_mb: 100, bandwidth_kbps: 100 },
        instances: 2,
        availability_target: None,
    };
    let fog = |memory: [u64; 2]| Snapshot { devices: vec![device(1, memory[0]), device(2, memory[1])], request };
    let first = |memory| remedies(&fog(memory), &Policy::default())[0];
    let Remedy::Requirements { requirements } = first([2_000, 1_800]) else { panic!("5 % less memory is the smallest change") };
    assert_eq!(requirements.get(Dimension::Memory), 3_800);
    let Remedy::Devices { count: 1, free, .. } = first([500, 500]) else { panic!("a third device adds half of what there is") };
    assert_eq!(free.get(Dimension::Memory), 3_000);
    assert_eq!(remedies(&fog([4_000, 1_000]), &Policy::default()), []);
    let one = remedies(&fog([4_000, 100]), &Policy::default());
    assert!(one.contains(&Remedy::Copies { instances: 1 }), "{one:?}");
}

#[test]
fn verdicts_agree_with_the_plan_among_many() {
    let s = large(1, 400);
    let Outcome::Placed(plan) = plan(&s, &Policy::default()) else { panic!("it fits") };
    let verdicts = explain(&s, &Policy::default(), &plan.assignments);
    let chosen: Vec<&DeviceSnapshot> =
        s.devices.iter().zip(&verdicts).filter(|(_, (_, v))| v.is_chosen()).map(|(d, _)| d).collect();
    assert!((cost_of(&chosen) - plan.cost).abs() < 1e-6, "the chosen are those of the plan");
    let dearer = verdicts.iter().filter(|(_, v)| matches!(v, Verdict::Dearer { .. })).count();
    assert!(dearer > 300, "{dearer}");
    assert!(verdicts.iter().all(|(_, v)| !v.is_chosen() || matches!(v, Verdict::Chosen { needed_for: Some(_), .. })));
}

#[test]
fn the_plan_that_stands_is_held_against_the_cheapest_of_now() {
    let policy = Policy::default();
    let snapshot = large(3, 40);
    let Outcome::Placed(best) = plan(&snapshot, &policy) else { panic!() };
    let held = standing(&snapshot, &policy, &best.assignments).unwrap();
    assert!(
        (held.cost - best.cost).abs() < 1e-9 && held.lower_bound <= held.cost && held.binding == best.binding,
        "{held} {best}"
    );
    // With all devices it would cost more, and that is said.
    let all: Vec<_> = snapshot.devices.iter().map(|d| (d.id, d.free)).collect();
    let dear = standing(&snapshot, &policy, &all).unwrap();
    assert!(dear.gap > 0.5 && (dear.lower_bound - held.lower_bound).abs() < 1e-6, "{dear} {held}");
    let nowhere = Snapshot { devices: Vec::new(), ..snapshot };
    assert_eq!(standing(&nowhere, &policy, &best.assignments), None);
}
