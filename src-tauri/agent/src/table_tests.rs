//! Reservations, confirmations and steps, in and out of order.

use super::*;
use fogbank_model::{BundleId, ContainerSpec, Image, Level};
use fogbank_wire::{BundlePermit, Signed};
use iroh::SecretKey;
use proptest::prelude::*;

const NOW: UnixMs = UnixMs(1_000_000);
const LENT: Resources = Resources { cpu_millicores: 2_000, memory_mb: 1_000, storage_mb: 5_000, bandwidth_kbps: 8_000 };
const SOME: Resources = Resources { cpu_millicores: 500, memory_mb: 400, storage_mb: 100, bandwidth_kbps: 1_000 };

fn claim(instance: u8, container: u8, epoch: u64) -> Claim {
    Claim {
        instance: InstanceId([instance; 16]),
        container: ContainerId([container; 16]),
        given: SOME,
        expires: UnixMs(NOW.0 + 30_000),
        epoch,
    }
}

fn assignment(instance: u8, container: u8) -> Assignment {
    let permit = BundlePermit { bundle: BundleId([1; 32]), device: fogbank_model::DeviceId([1; 32]), expires: NOW };
    Assignment {
        instance: InstanceId([instance; 16]),
        container: ContainerId([container; 16]),
        onion: format!("{}.onion", "a".repeat(56)).parse().unwrap(),
        spec: ContainerSpec {
            name: "a site".parse().unwrap(),
            image: Image::Site { bundle: BundleId([1; 32]), bytes: 1_000, files: 1 },
            requirements: SOME,
            instances: 1,
            availability: None,
            most: None,
            level: Level::Fast,
        },
        sources: Vec::new(),
        permit: Signed::seal(&SecretKey::generate(), BundlePermit::CONTEXT, &permit).unwrap(),
    }
}

#[test]
fn a_reservation_holds_ends_and_is_dropped() {
    let mut table = Table::default();
    table.reserve(&claim(1, 1, 1), &LENT, None, NOW).unwrap();
    table.reserve(&claim(1, 1, 1), &LENT, None, NOW).expect("asking twice is answered alike");
    table.reserve(&claim(2, 1, 1), &LENT, None, NOW).unwrap();
    let refused = table.reserve(&claim(3, 2, 1), &LENT, None, NOW).unwrap_err();
    assert!(refused.message.contains("memory here: 400 MB asked, 200 MB free"), "{refused}");
    table.release(InstanceId([2; 16]));
    table.reserve(&claim(3, 2, 1), &LENT, None, NOW).unwrap();
    assert_eq!(table.next_expiry(), Some(UnixMs(NOW.0 + 30_000)));
    assert!(table.expire(UnixMs(NOW.0 + 30_000)));
    assert_eq!((table.used(), table.reports().len()), (Resources::ZERO, 0));
}

#[test]
fn older_plans_closed_devices_and_late_words_are_refused() {
    let mut table = Table::default();
    table.reserve(&claim(1, 1, 5), &LENT, None, NOW).unwrap();
    let refused = table.reserve(&claim(2, 1, 4), &LENT, None, NOW).unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Expired);
    table.reserve(&claim(2, 9, 1), &LENT, None, NOW).expect("another container has its own plans");
    let paused = table.reserve(&claim(3, 3, 1), &LENT, Some("paused by its owner".to_owned()), NOW).unwrap_err();
    assert!(paused.message.contains("paused by its owner"), "{paused}");
    let late = table.reserve(&claim(4, 4, 1), &LENT, None, UnixMs(NOW.0 + 30_000)).unwrap_err();
    assert_eq!(late.kind, RefusalKind::Expired);
    let forever = Claim { expires: UnixMs(i64::MAX), ..claim(5, 5, 1) };
    table.reserve(&forever, &LENT, None, NOW).unwrap();
    assert_eq!(table.next_expiry(), Some(UnixMs(NOW.0 + LONGEST_RESERVATION_MS)));
}

#[test]
fn only_what_was_reserved_is_confirmed_and_once() {
    let mut table = Table::default();
    let confirm = |table: &mut Table, a: &Assignment, bytes| table.confirm(a, bytes, NOW);
    assert_eq!(confirm(&mut table, &assignment(1, 1), 1_000).unwrap_err().kind, RefusalKind::NotFound);
    table.reserve(&claim(1, 1, 1), &LENT, None, NOW).unwrap();
    assert_eq!(confirm(&mut table, &assignment(1, 2), 1_000).unwrap_err().kind, RefusalKind::Invalid);
    assert_eq!(confirm(&mut table, &assignment(1, 1), 100_000_001).unwrap_err().kind, RefusalKind::Invalid);
    assert_eq!(confirm(&mut table, &assignment(1, 1), 100_000_000), Ok(Confirmed::Start));
    assert!(table.step(InstanceId([1; 16]), InstanceState::Fetching, "fetching"));
    assert_eq!(confirm(&mut table, &assignment(1, 1), 1_000), Ok(Confirmed::Already));
    table.release(InstanceId([1; 16]));
    assert!(!table.expire(UnixMs(i64::MAX)), "what is confirmed neither expires nor is released");
    assert!(!table.step(InstanceId([1; 16]), InstanceState::Draining, "no such move"));
    assert!(table.step(InstanceId([1; 16]), InstanceState::Ended, "over"));
    assert_eq!(confirm(&mut table, &assignment(1, 1), 1_000).unwrap_err().kind, RefusalKind::WrongState);
    assert_eq!(table.used(), Resources::ZERO);
    let report = &table.reports()[0];
    assert_eq!((report.state, report.reason.as_str()), (InstanceState::Ended, "over"));
    table.forget(InstanceId([1; 16]));
    assert!(table.reports().is_empty());
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut table = Table::default();
    let tiny = Resources { cpu_millicores: 1, memory_mb: 1, storage_mb: 1, bandwidth_kbps: 1 };
    let id = |n: usize| {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(n as u64).to_be_bytes());
        id
    };
    for n in 0..MAX_EPOCHS + 10 {
        let claim = Claim { instance: InstanceId(id(n)), container: ContainerId(id(n)), given: tiny, ..claim(0, 0, 1) };
        table.reserve(&claim, &LENT, None, NOW).unwrap();
        table.step(claim.instance, InstanceState::Ended, "over");
    }
    assert!(
        table.reports().len() <= MAX_ENDED && table.epochs.len() <= MAX_EPOCHS,
        "{} {}",
        table.reports().len(),
        table.epochs.len()
    );
    for n in 0..MAX_LIVE {
        table.reserve(&Claim { instance: InstanceId(id(1 << 20 | n)), given: tiny, ..claim(0, 7, 1) }, &LENT, None, NOW).unwrap();
    }
    let full = Claim { instance: InstanceId([9; 16]), given: tiny, ..claim(0, 7, 1) };
    assert_eq!(table.reserve(&full, &LENT, None, NOW).unwrap_err().kind, RefusalKind::Busy);
}

#[derive(Debug, Clone)]
enum Move {
    Reserve { instance: u8, container: u8, given: [u64; 4], life: i64, epoch: u64 },
    Confirm { instance: u8, container: u8 },
    Step { instance: u8, state: usize },
    Release(u8),
    Forget(u8),
    Wait(i64),
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        (0u8..6, 0u8..3, [0u64..1_500, 0..900, 0..4_000, 0..8_000], 0i64..1_000_000, 0u64..4)
            .prop_map(|(instance, container, given, life, epoch)| Move::Reserve { instance, container, given, life, epoch }),
        (0u8..6, 0u8..3).prop_map(|(instance, container)| Move::Confirm { instance, container }),
        (0u8..6, 0usize..8).prop_map(|(instance, state)| Move::Step { instance, state }),
        (0u8..6).prop_map(Move::Release),
        (0u8..6).prop_map(Move::Forget),
        (0i64..100_000).prop_map(Move::Wait),
    ]
}

proptest! {
    #[test]
    fn never_more_than_is_lent(moves in proptest::collection::vec(moves(), 0..60)) {
        let mut table = Table::default();
        let mut now = NOW;
        let mut newest = [0u64; 3];
        for step in moves {
            match step {
                Move::Reserve { instance, container, given, life, epoch } => {
                    let [cpu_millicores, memory_mb, storage_mb, bandwidth_kbps] = given;
                    let given = Resources { cpu_millicores, memory_mb, storage_mb, bandwidth_kbps };
                    let claim = Claim {
                        instance: InstanceId([instance; 16]),
                        container: ContainerId([container; 16]),
                        given,
                        expires: UnixMs(now.0 + life),
                        epoch,
                    };
                    if table.reserve(&claim, &LENT, None, now).is_ok() {
                        let newest = &mut newest[usize::from(container)];
                        prop_assert!(epoch >= *newest, "an older plan was taken");
                        *newest = epoch.max(*newest);
                    }
                }
                Move::Confirm { instance, container } => {
                    if table.confirm(&assignment(instance, container), 1_000, now) == Ok(Confirmed::Start) {
                        prop_assert!(table.step(InstanceId([instance; 16]), InstanceState::Fetching, ""));
                    }
                }
                Move::Step { instance, state } => {
                    table.step(InstanceId([instance; 16]), InstanceState::ALL[state], "");
                }
                Move::Release(instance) => table.release(InstanceId([instance; 16])),
                Move::Forget(instance) => table.forget(InstanceId([instance; 16])),
                Move::Wait(ms) => {
                    now = UnixMs(now.0 + ms);
                    table.expire(now);
                    prop_assert!(table.next_expiry().is_none_or(|at| at > now));
                }
            }
            prop_assert!(LENT.covers(&table.used()), "{:?}", table.used());
        }
    }
}
