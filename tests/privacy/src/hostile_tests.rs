//! Known answers: all mixes, no mix, and what the formulas say.

use super::*;
use crate::{
    adapter::{Design, Network},
    cells::groups,
    correlate::kernel,
    session::Setting,
};
use std::collections::BTreeMap;

const N: usize = 20;
const WINDOW: Us = 10_000_000;

fn taken(design: Design, bad: &[bool], visitors: usize) -> Taken {
    let mut rng = StdRng::seed_from_u64(5);
    let network = Network::new(N, &mut rng);
    let doors = Doors::new(N, &mut rng);
    let setting = Setting { network: &network, doors: &doors, design, spread: 1_000_000, window: WINDOW };
    let groups = groups(&setting, 32 / visitors, visitors, 3);
    let (whole, half) = (kernel(&[250_000]), kernel(&[120_000]));
    let adversary =
        Adversary { bad, doors: &doors, mean_us: 50_000.0, window: WINDOW, kernels: [&whole, &half], one_way: design.circuit };
    let taken = take(&groups, &[1, 4], &[], &adversary);
    let hostile = bad.iter().filter(|b| **b).count();
    let taken: Vec<Taken> = taken.into_iter().map(|drawn| together(&[drawn], hostile, visitors, 1)).collect();
    assert!(taken.iter().all(|t| t.found.positives == 32 && t.found.negatives == 32 * (32 / visitors - 1)));
    // How often guards of both ends are hostile is counted once more, from the guards themselves.
    let met = |access: &Access| access.guards.iter().any(|g| is_bad(bad, *g));
    let both: usize = groups.iter().map(|g| g.access.iter().skip(1).filter(|v| met(v) && met(&g.access[0])).count()).sum();
    if !design.circuit {
        assert_eq!(taken[1].both_ends, both as f64 / 32.0);
    }
    taken.into_iter().next().unwrap()
}

#[test]
fn who_owns_all_mixes_finds_all_and_who_owns_none_finds_what_chance_finds() {
    for design in [Design::TOR, Design::STRICT] {
        let all = taken(design, &[true; N], 2);
        assert_eq!((all.found.true_positives.value, all.both_ends, all.followed), (1.0, 1.0, 1.0), "{}", design.name);
        let none = taken(design, &[false; N], 2);
        assert!((none.found.true_positives.value - FALSE_POSITIVES).abs() < 1e-12, "{none:?}");
        assert_eq!((none.hostile, none.both_ends, none.followed), (0, 0.0, 0.0));
    }
}

#[test]
fn circuits_are_found_where_both_ends_are_hostile_and_nowhere_else() {
    // One visitor a host: else another visitor's circuit may be what is seen of the host.
    let tor = taken(Design::TOR, &draw(N, 6, 1), 1);
    assert!(tor.both_ends > 0.0 && tor.both_ends < 0.6, "{tor:?}");
    assert!(tor.found.true_positives.value <= tor.both_ends + 2e-3, "{tor:?}");
    assert!(tor.found.true_positives.value > 0.8 * tor.both_ends, "{tor:?}");
}

#[test]
fn several_draws_count_together() {
    let drawn =
        |hit: f64, both_ends| Drawn { hits: vec![vec![vec![hit]; 50]; TRIED.len()], negatives: 50 * 49, both_ends, followed: 0 };
    let taken = together(&[drawn(1.0, 50), drawn(0.0, 0), drawn(0.0, 10), drawn(0.0, 0)], 3, 1, 1);
    assert_eq!((taken.found.true_positives.value, taken.both_ends, taken.found.positives), (0.25, 0.3, 200));
    assert_eq!((taken.found.negatives, taken.found.by), (4 * 50 * 49, "C"));
}

#[test]
fn a_draw_has_its_size_and_comes_of_its_seed() {
    let bad = draw(100, 30, 1);
    assert_eq!(bad.iter().filter(|b| **b).count(), 30);
    assert!(bad == draw(100, 30, 1) && bad != draw(100, 30, 2));
}

fn known(places: &[(Place, u32)]) -> Known {
    Known { places: places.iter().copied().collect(), ..Known::default() }
}

#[test]
fn a_common_meeting_place_counts_by_how_rare_it_is() {
    let (here, there) = (known(&[(Place::Mix(1), 10)]), known(&[(Place::Mix(2), 10)]));
    assert!((meeting(&here, &here, 1_000, 1) - (100_021.0f64 / 121.0).ln()).abs() < 1e-9);
    assert!((meeting(&here, &there, 1_000, 1) - (21.0f64 / 121.0).ln()).abs() < 1e-9);
    assert!(meeting(&here, &here, 7, 1) < meeting(&here, &here, 1_000, 1));
    // Who is not seen could be anybody.
    assert_eq!(meeting(&here, &Known::default(), 1_000, 1), 0.0);
}

#[test]
fn packets_that_were_followed_add_up() {
    let guessed = Known { guessed: BTreeMap::from([((3, 0), 4), ((9, 0), 1)]), ..Known::default() };
    assert!((followed(&guessed, (3, 0), 100) - (401.0f64 / 6.0).ln()).abs() < 1e-9);
    assert!((followed(&guessed, (4, 0), 100) - (1.0f64 / 6.0).ln()).abs() < 1e-9);
    assert_eq!(followed(&Known::default(), (3, 0), 100), 0.0);
}

#[test]
fn standardised_scores_have_mean_zero_and_deviation_one_or_tell_nothing() {
    let scores = standardised(&[1.0, 2.0, 3.0]);
    assert!(scores.iter().sum::<f64>().abs() < 1e-9 && (scores[2] - 1.5f64.sqrt()).abs() < 1e-9);
    assert_eq!(standardised(&[4.0; 3]), [0.0; 3]);
    assert!(standardised(&[]).is_empty());
}

/// Both guards are honest on neither side, nobody else is hostile but the mix where all meet: what that sees joins the two.
#[test]
fn a_hostile_meeting_place_joins_what_guards_see_in_part() {
    // Visits of random bursts; each end's guards see every third packet, not the same ones; the meeting place sees all.
    use rand::RngExt as _;
    let mut rng = StdRng::seed_from_u64(1);
    let mut groups = Vec::new();
    for _ in 0..40 {
        let mut group = Group { access: vec![Access { guards: vec![0, 1, 2], ..Access::default() }; 2], ..Group::default() };
        let mut at = 0;
        while at < WINDOW - 1_000_000 {
            at += rng.random_range(200_000..900_000);
            for i in 0..12 {
                let (sent, guards) = (at + i * 5_000, [rng.random_range(0..3u8), rng.random_range(0..3u8)]);
                group.access[0].up.push((sent, guards[0]));
                group.access[1].down.push((sent + 200_000, guards[1]));
                let hop = |mix, place, arrived| crate::net::Hop { mix, place, arrived, left: arrived, at_once: true };
                let hops = vec![hop(5, 0, sent), hop(9, MEETING, sent + 100_000), hop(6, 6, sent + 190_000)];
                group.packets.push(Packet { kind: Kind::Data, from: Some(0), to: Some(1), tunnel: Some(0), hops });
            }
        }
        groups.push(group);
    }
    let doors = Doors::new(N, &mut rng);
    let (whole, half) = (kernel(&[200_000]), kernel(&[100_000]));
    let kernels: [&[f64]; 2] = [&whole, &half];
    let found = |hostile: &[usize]| {
        let bad: Vec<bool> = (0..N).map(|mix| hostile.contains(&mix)).collect();
        let adversary = Adversary { bad: &bad, doors: &doors, mean_us: 50_000.0, window: WINDOW, kernels, one_way: false };
        together(&take(&groups, &[1], &[], &adversary), 1, 1, 1).found.true_positives.value
    };
    let (guards, met, middle) = (found(&[0]), found(&[0, 9]), found(&[9]));
    assert!(met >= guards && met > 0.9, "{guards} {met}");
    assert!(middle < 0.01, "beside no end nothing is found: {middle}");
}
