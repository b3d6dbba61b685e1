//! Fogs whose outlook is known.

#![allow(clippy::unwrap_used, reason = "tests")]

use fogbank_model::{DeviceId, DurationMs, OwnerId, Resources, UnixMs};
use fogbank_placement::{DeviceSnapshot, Policy, Request};
use fogbank_rehearsal::{Churn, Device, HOURS_OF_WEEK, Habit, Now, Rehearsal, rehearse};

const HOUR: DurationMs = DurationMs::from_s(3600);
const BEGIN: UnixMs = UnixMs(3_600_000 * HOURS_OF_WEEK as i64 * 2_900);
const ONE: Resources = Resources { cpu_millicores: 100, memory_mb: 64, storage_mb: 10, bandwidth_kbps: 1_000 };

fn device(n: u16, churn: Churn, now: Now) -> Device {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&n.to_be_bytes());
    let free = Resources { cpu_millicores: 1_000, memory_mb: 1_000, storage_mb: 1_000, bandwidth_kbps: 10_000 };
    let snapshot = DeviceSnapshot {
        id: DeviceId(id),
        owner: OwnerId(id),
        free,
        capacity: free,
        availability: 0.9,
        battery: None,
        reliability: 0.8,
        surcharge: 0.0,
        hosts: false,
        suitable: true,
    };
    Device { snapshot, churn, now }
}

fn rehearsal(devices: Vec<Device>, days: i64, runs: u32) -> Rehearsal {
    let request = Request { requirements: ONE, minimum: ONE, instances: 0, availability_target: None };
    let (repair, span) = (DurationMs::from_s(20), DurationMs(days * 24 * HOUR.0));
    Rehearsal { devices, request, policy: Policy::default(), repair, begin: BEGIN, span, runs }
}

fn exponential(there_h: f64, away_h: f64) -> Churn {
    Churn::Usual { shape: 1.0, there_h, away_h }
}

#[test]
fn alone_a_device_serves_while_it_is_there() {
    let alone = rehearsal(vec![device(1, exponential(10.0, 5.0), Now::Anywhere)], 200, 20);
    let outlook = rehearse(&alone, &[1, 2], 7);
    for seen in &outlook {
        assert!((seen.availability - 2.0 / 3.0).abs() < 0.02, "{seen:?}");
        assert!((seen.losses_a_day - 24.0 / 15.0).abs() < 0.1, "{seen:?}");
        assert!(seen.within > 0.0 && seen.within < 0.03 && seen.failed < 1.0 - seen.availability, "{seen:?}");
    }
    assert_eq!(outlook, rehearse(&alone, &[1, 2], 7), "the same seed says the same");
    assert_ne!(outlook, rehearse(&alone, &[1, 2], 8));
}

#[test]
fn with_room_elsewhere_one_copy_is_out_for_as_long_as_a_repair_takes() {
    let devices = (0..40).map(|n| device(n, exponential(10.0, 2.0), Now::There(BEGIN))).collect();
    let [one, two] = rehearse(&rehearsal(devices, 100, 4), &[1, 2], 1)[..] else { panic!() };
    // 20 s each 10 h, and a request waits for as long.
    assert!((1.0 - one.availability - 20.0 / 36_000.0).abs() < 5e-5, "{one:?}");
    assert!(one.failed == 0.0 && one.longest_outage <= DurationMs::from_s(60), "{one:?}");
    // Both within the same 20 s: hardly ever.
    assert!(1.0 - two.availability < 5e-6 && (two.losses_a_day / one.losses_a_day - 2.0).abs() < 0.2, "{two:?}");
}

#[test]
fn who_comes_and_goes_without_end_holds_no_rehearsal_up() {
    // Each is there and away for two seconds at a time.
    let mut devices: Vec<Device> = (0..20).map(|n| device(n, exponential(0.0005, 0.0005), Now::Anywhere)).collect();
    devices.iter_mut().for_each(|d| d.snapshot.reliability = 1.0);
    let began = std::time::Instant::now();
    let seen = rehearse(&rehearsal(devices, 1, 1), &[2], 1)[0];
    assert!(began.elapsed() < std::time::Duration::from_secs(60) && seen.availability < 0.9, "{seen:?} in {:?}", began.elapsed());
    assert!(seen.losses_a_day < 700.0, "{seen:?}");
}

#[test]
fn copies_do_not_help_where_all_go_at_the_same_hour() {
    let by_hour = |hours: std::ops::Range<usize>| {
        (0..HOURS_OF_WEEK).map(|hour| if hours.contains(&(hour % 24)) { 1e6 } else { 0.0 }).collect()
    };
    let office = Habit { leaves: by_hour(18..24), returns: by_hour(9..18), by_age: Vec::new() };
    let devices = (0..5).map(|n| device(n, Churn::Habit(Box::new(office.clone())), Now::Away)).collect();
    for seen in rehearse(&rehearsal(devices, 7, 2), &[1, 3], 1) {
        assert!((seen.availability - 9.0 / 24.0).abs() < 0.01, "{seen:?}");
        assert!((seen.longest_outage.0 - 15 * HOUR.0).abs() < HOUR.0 / 10, "{seen:?}");
    }
}

#[test]
fn without_devices_nothing_serves_and_where_none_goes_all_does() {
    let nothing = rehearse(&rehearsal(Vec::new(), 7, 1), &[1], 1)[0];
    assert_eq!((nothing.availability, nothing.losses_a_day), (0.0, 0.0));
    let stays = Churn::Habit(Box::new(Habit { leaves: Vec::new(), returns: Vec::new(), by_age: Vec::new() }));
    let always = rehearse(&rehearsal(vec![device(1, stays, Now::There(BEGIN))], 7, 3), &[1, 2], 1);
    assert!(always.iter().all(|seen| seen.availability == 1.0 && seen.longest_outage == DurationMs(0)));
}
