//! Introduction points under floods, with virtual time.

use super::*;
use crate::{
    address::Period,
    proof::{ContainerIdentity, DescriptorSigner},
};

const NOW: UnixMs = UnixMs(1_790_000_000_000);
const POINT: MixId = MixId([2; 16]);

fn signer(seed: u8) -> DescriptorSigner {
    let identity = ContainerIdentity::from_seed([seed; 32]).unwrap();
    let proof = identity.pre_sign(NOW, 0, &mut rand::rng()).unwrap();
    DescriptorSigner::of(&proof, Period::at(NOW), NOW).unwrap()
}

fn lease(signer: &DescriptorSigner, instance: InstanceId) -> Vec<u8> {
    let lease = Lease {
        instance,
        introduction_key: [6; 32],
        weight: 1,
        expires: NOW.plus(crate::lease::LEASE_LIFE),
        introduction_points: vec![POINT],
        period: Period(0),
        mark: [0; 8],
    };
    Lease::present(&lease.issue(signer).unwrap(), POINT).unwrap()
}

fn surbs(count: usize) -> Vec<Vec<u8>> {
    vec![vec![7; 8]; count]
}

fn id(n: u32) -> InstanceId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&n.to_le_bytes());
    InstanceId(id)
}

fn knock(blinded: [u8; 32], hello: u32, work: Option<Work>) -> Knock {
    Knock { blinded, instance: id(1), hello: hello.to_le_bytes().to_vec(), work, surb: vec![9] }
}

fn registered(point: &mut Introductions, clock: Instant, seed: u8) -> [u8; 32] {
    let signer = signer(seed);
    let answer = point.register(clock, NOW, &lease(&signer, id(1)), surbs(40), true, None);
    assert!(matches!(answer, Some((_, FromMix::Registered { .. }))), "{answer:?}");
    signer.blinded()
}

fn passed(answers: &[Answer]) -> usize {
    answers.iter().filter(|(_, a)| matches!(a, FromMix::Introduction { .. })).count()
}

fn asked(answers: &[Answer]) -> Option<crate::puzzle::Puzzle> {
    answers.iter().find_map(|(_, a)| if let FromMix::Puzzle(puzzle) = a { Some(*puzzle) } else { None })
}

/// Whatever happens, all tables stay within what is said of them.
fn within_bounds(point: &Introductions) {
    let of = |count: fn(&Service) -> usize| point.services.values().map(count).collect::<Vec<_>>();
    let (instances, waiting) = (of(|s| s.instances.len()), of(|s| s.waiting.len()));
    assert_eq!((instances.iter().sum::<usize>(), waiting.iter().sum::<usize>()), (point.registrations, point.waiting));
    assert!(
        point.registrations <= MAX_REGISTRATIONS && instances.iter().all(|n| (1..=MAX_OF_SERVICE).contains(n)),
        "{instances:?}"
    );
    assert!(point.waiting <= MAX_WAITING_IN_ALL && waiting.iter().all(|n| *n <= MAX_WAITING), "{waiting:?}");
    let stocks = point.services.values().flat_map(|s| s.instances.values()).map(|r| r.stock.len());
    assert!(stocks.max() <= Some(MAX_STOCK));
    assert!(point.used.iter().all(|used| used.len() <= MAX_USED));
}

#[test]
fn a_flood_that_works_at_many_services_fills_no_table_beyond_its_bound() {
    let began = Instant::now();
    let mut point = Introductions::new(POINT, began);
    let flooded = registered(&mut point, began, 1);
    for _ in 0..5 {
        point.register(began, NOW, &lease(&signer(1), id(1)), surbs(MAX_STOCK), false, None);
        within_bounds(&point);
    }
    // Who works, at a service whose introductions are not fetched: some pass, some wait, the others are told to work more.
    let knocks = |point: &mut Introductions, hellos: std::ops::Range<u32>| {
        let mut puzzles = 0;
        for hello in hellos {
            let task = ToMix::introduction_task(&flooded, id(1), &hello.to_le_bytes());
            let work = point.seeds.puzzle(&flooded, LEAST_EFFORT, began).solve(&task, 0).unwrap();
            puzzles += usize::from(asked(&point.introduce(began, NOW, knock(flooded, hello, Some(work)))).is_some());
            within_bounds(point);
        }
        puzzles
    };
    assert!(knocks(&mut point, 0..2 * MAX_WAITING as u32) > 0);
    assert_eq!(point.waiting, MAX_WAITING);
    // The others are as full, by hand: solving takes long. One place is left in all.
    let filled = |tasks: std::ops::Range<u32>| {
        let waits = |n: u32| Waiting {
            effort: 1,
            since: began,
            task: ToMix::introduction_task(&[0; 32], id(2), &n.to_le_bytes()),
            instance: id(2),
            hello: vec![],
            surb: vec![],
        };
        tasks.map(waits).collect::<Vec<_>>()
    };
    for seed in (2..).take(MAX_WAITING_IN_ALL / MAX_WAITING - 1) {
        let service = registered(&mut point, began, seed);
        let room = if seed == 2 { MAX_WAITING - 1 } else { MAX_WAITING };
        point.services.get_mut(&service).unwrap().waiting = filled(0..room as u32);
        point.waiting += room;
    }
    let empty = registered(&mut point, began, 200);
    let into_empty = |point: &mut Introductions, hello: u32| {
        let task = ToMix::introduction_task(&empty, id(1), &hello.to_le_bytes());
        let work = point.seeds.puzzle(&empty, 4 * LEAST_EFFORT, began).solve(&task, 0).unwrap();
        let answers = point.introduce(began, NOW, knock(empty, hello, Some(work)));
        within_bounds(point);
        asked(&answers).is_some()
    };
    // All that its instance can be told passes; then one waits, and the next is asked for work whatever it spent.
    point.services.get_mut(&empty).unwrap().instances.get_mut(&id(1)).unwrap().stock.truncate(RESERVE);
    assert!(!into_empty(&mut point, 1), "the last place");
    assert_eq!(point.waiting, MAX_WAITING_IN_ALL);
    assert!(into_empty(&mut point, 2), "there is none");
    // The same of what is remembered of tasks.
    let waits = point.services.remove(&empty).unwrap().waiting.len();
    (point.waiting, point.registrations) = (point.waiting - waits, point.registrations - 1);
    registered(&mut point, began, 200);
    point.services.get_mut(&empty).unwrap().instances.get_mut(&id(1)).unwrap().stock.truncate(RESERVE);
    point.used[0] = filled(0..MAX_USED as u32).into_iter().map(|w| w.task).collect();
    assert!(into_empty(&mut point, 3), "no more is remembered");
    point.turn(began + SEED_LIFE);
    assert!(point.used[0].is_empty() && point.used[1].len() == MAX_USED, "a seed's life later there is room again");
    point.drain(began + WAIT);
    point.sweep(NOW.plus(crate::lease::LEASE_LIFE));
    within_bounds(&point);
    assert_eq!((point.registrations, point.waiting), (0, 0), "nothing stays of it");
}

#[test]
fn a_flood_at_one_service_starves_that_one_and_there_who_works_gets_through() {
    let began = Instant::now();
    let mut point = Introductions::new(POINT, began);
    let (flooded, other) = (registered(&mut point, began, 1), registered(&mut point, began, 2));
    let (mut through, mut others, mut worked) = (0, 0, 0);
    let mut visitor: Option<(u32, Work)> = None;
    // Ten seconds at ten times the rate; the instance renews its SURBs twice a second, as instances do.
    let step = Duration::from_micros(1_000_000 / u64::from(10 * SERVICE_RATE));
    for n in 0..100 * SERVICE_RATE {
        let clock = began + step * n;
        if n % (5 * SERVICE_RATE) == 0 {
            for seed in [1, 2] {
                point.register(clock, NOW, &lease(&signer(seed), id(1)), surbs(20), false, None);
            }
        }
        through += passed(&point.introduce(clock, NOW, knock(flooded, n, None)));
        if n % 100 == 50 {
            // An honest visitor of the flooded service: asks, solves, asks again with the same first message.
            let hello = u32::MAX - n;
            let puzzle = asked(&point.introduce(clock, NOW, knock(flooded, hello, None))).expect("it is flooded");
            let task = ToMix::introduction_task(&flooded, id(1), &hello.to_le_bytes());
            visitor = Some((hello, puzzle.solve(&task, 0).unwrap()));
        }
        if let Some((hello, work)) = visitor.take() {
            let before = worked;
            worked += passed(&point.introduce(clock, NOW, knock(flooded, hello, Some(work))));
            worked += passed(&point.drain(clock));
            // Once more changes nothing: it is not passed on twice.
            let again = point.introduce(clock, NOW, knock(flooded, hello, Some(work)));
            assert!(matches!(again.as_slice(), [(_, FromMix::Introduced)]), "{before} {worked} {again:?}");
        }
        if n % 50 == 0 {
            others += passed(&point.introduce(clock, NOW, knock(other, n, None)));
        }
    }
    worked += passed(&point.drain(began + Duration::from_secs(10)));
    assert_eq!(worked, 32, "each visitor who works is passed on, once");
    assert_eq!(others, 64, "another service notices nothing");
    // The first rush before the price rises, and no more.
    assert!(through <= SERVICE_RATE as usize, "{through}");
    assert!(point.waiting <= MAX_WAITING);
}

#[test]
fn whoever_works_more_is_passed_first_and_the_queue_is_bounded() {
    let began = Instant::now();
    let mut point = Introductions::new(POINT, began);
    let service = registered(&mut point, began, 1);
    let solve = |point: &Introductions, hello: u32, effort| {
        let task = ToMix::introduction_task(&service, id(1), &hello.to_le_bytes());
        point.seeds.puzzle(&service, effort, began).solve(&task, 0).unwrap()
    };
    // Uses up the SURBs, so that everything waits.
    for n in 0..100 {
        let work = solve(&point, n, LEAST_EFFORT);
        point.introduce(began, NOW, knock(service, n, Some(work)));
    }
    let mut outbid = 0;
    for n in 1_000..1_000 + 3 * MAX_WAITING as u32 {
        let work = solve(&point, n, LEAST_EFFORT + n % 3);
        let answers = point.introduce(began, NOW, knock(service, n, Some(work)));
        outbid += answers.iter().filter(|(_, a)| matches!(a, FromMix::Puzzle(_))).count();
    }
    assert_eq!(point.waiting, MAX_WAITING);
    assert!(outbid >= 2 * MAX_WAITING, "{outbid}");
    let soon = began + Duration::from_secs(1);
    point.register(soon, NOW, &lease(&signer(1), id(1)), surbs(4), true, None);
    let hellos: Vec<u32> = point
        .drain(soon)
        .into_iter()
        .filter_map(|(_, a)| match a {
            FromMix::Introduction { hello, .. } => Some(u32::from_le_bytes(hello.try_into().unwrap())),
            _ => None,
        })
        .collect();
    assert_eq!(hellos.len(), 1);
    assert_eq!(hellos[0] % 3, 2, "the highest bid first: {hellos:?}");
    assert!(point.drain(soon + WAIT).is_empty() && !point.crowded(), "who has given up is not passed on");
}

#[test]
fn a_stranger_who_registers_services_without_end_pays_for_it_and_hosts_stay() {
    let began = Instant::now();
    let mut point = Introductions::new(POINT, began);
    registered(&mut point, began, 1);
    // Anyone can sign leases of services of their own: here one signer makes many instances, until its bound.
    let stranger = signer(3);
    for n in 0..2 * MAX_OF_SERVICE as u32 {
        point.register(began, NOW, &lease(&stranger, id(n)), surbs(1), true, None);
    }
    assert_eq!(point.services.get(&stranger.blinded()).unwrap().instances.len(), MAX_OF_SERVICE);
    // And many services; the table is filled by hand, as making 2,048 takes long.
    for n in 0..MAX_REGISTRATIONS {
        let mut blinded = [0; 32];
        blinded[..8].copy_from_slice(&n.to_le_bytes());
        if table_effort(point.registrations, MAX_REGISTRATIONS) == 0 {
            let registration = Registration {
                lease: vec![],
                lock: None,
                expires: NOW.plus(crate::lease::LEASE_LIFE),
                stock: VecDeque::new(),
                asked: false,
                heard: began,
                spent: 0,
            };
            let instances = HashMap::from([(id(0), registration)]);
            point.services.insert(blinded, Service { instances, gate: Gate::new(SERVICE_RATE, began), waiting: vec![] });
            point.registrations += 1;
        }
    }
    assert!(point.registrations < MAX_REGISTRATIONS);
    let newcomer = lease(&signer(4), id(1));
    let answer = point.register(began, NOW, &newcomer, surbs(20), true, None);
    let Some((_, FromMix::Puzzle(puzzle))) = answer else { panic!("{answer:?}") };
    let work = puzzle.solve(&ToMix::registration_task(&newcomer), 0);
    let answer = point.register(began, NOW, &newcomer, surbs(20), true, work);
    assert!(matches!(answer, Some((_, FromMix::Registered { .. }))), "{answer:?}");
    // Who is here renews freely.
    let again = point.register(began, NOW, &lease(&signer(1), id(1)), surbs(20), true, None);
    assert!(matches!(again, Some((_, FromMix::Registered { .. }))));
    // What went silent gives its place first when a service is full.
    let later = began + QUIET;
    let answer = point.register(later, NOW, &lease(&stranger, id(10_000)), surbs(1), true, None);
    assert!(matches!(answer, Some((_, FromMix::Puzzle(_)))), "it has a place in its service, and pays for one at the point");
    let total: usize = point.services.values().map(|s| s.instances.len()).sum();
    assert_eq!(total, point.registrations);
}

#[test]
fn a_full_point_drops_the_silent_then_the_cheapest() {
    let began = Instant::now();
    let mut point = Introductions::new(POINT, began);
    let keep = |spent, heard| Registration {
        lease: vec![],
        lock: None,
        expires: NOW.plus(crate::lease::LEASE_LIFE),
        stock: VecDeque::new(),
        asked: false,
        heard,
        spent,
    };
    let later = began + QUIET;
    let service = |registration| Service {
        instances: HashMap::from([(id(0), registration)]),
        gate: Gate::new(SERVICE_RATE, began),
        waiting: vec![],
    };
    for n in 0..MAX_REGISTRATIONS {
        let mut blinded = [9; 32];
        blinded[..8].copy_from_slice(&n.to_le_bytes());
        // One is silent though it paid most, one paid less than the others.
        let registration = match n {
            0 => keep(u32::MAX, began),
            1 => keep(1, later),
            _ => keep(2, later),
        };
        point.services.insert(blinded, service(registration));
    }
    point.registrations = MAX_REGISTRATIONS;
    let place = |point: &mut Introductions, spent: u32| {
        // As `place` after the work was checked, whose price at a full table is too high for a test.
        let quiet = |r: &Registration| later.saturating_duration_since(r.heard) >= QUIET;
        let all = point.services.iter().flat_map(|(b, s)| s.instances.values().map(move |r| (!quiet(r), r.spent, *b)));
        let (here, theirs, blinded) = all.min().unwrap();
        (!here || theirs < spent).then(|| {
            point.remove(&blinded, id(0));
            blinded[0]
        })
    };
    assert_eq!(place(&mut point, 2), Some(0), "the silent one");
    assert_eq!(place(&mut point, 2), Some(1), "the cheapest");
    assert_eq!(place(&mut point, 2), None, "among equals whoever is here stays");
}

#[test]
fn revoked_instances_go_and_stay_away() {
    let began = Instant::now();
    let mut point = Introductions::new(POINT, began);
    let service = registered(&mut point, began, 1);
    let signer = signer(1);
    assert!(matches!(point.leases(NOW, &service, None, 0), FromMix::Leases(l) if l.len() == 1));
    // The record of another pre-signing of the same period is as good: both are the publisher's.
    let revocation = Revocation::issue(&[id(1)], NOW, &signer).unwrap();
    assert_eq!(point.revoke(NOW, &revocation).unwrap(), 0);
    assert!(matches!(point.leases(NOW, &service, None, 0), FromMix::Leases(l) if l.is_empty()));
    let again = point.register(began, NOW, &lease(&signer, id(1)), surbs(2), true, None);
    assert!(matches!(again, Some((_, FromMix::Refused(_)))));
    let answers = point.introduce(began, NOW, knock(service, 1, None));
    assert!(matches!(answers.as_slice(), [(_, FromMix::Refused(_))]), "{answers:?}");
    assert_eq!(point.registrations, 0);
}
