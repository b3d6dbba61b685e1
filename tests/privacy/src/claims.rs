//! What the report claims, on small runs of the same code: the baseline is found, constant rate is not, entropy grows with users, and one
//! seed gives one result.

use crate::{
    adapter::Design,
    cells::{Cell, Settings, Wanted, run_all},
};
use std::sync::OnceLock;

fn settings(jobs: usize) -> Settings {
    Settings { sizes: vec![20], alone: 30, shared: 20, jobs, ..Settings::full(7) }
}

fn run(jobs: usize, designs: &[Design]) -> Vec<Cell> {
    let settings = settings(jobs);
    let wanted: Vec<Wanted> =
        designs.iter().map(|design| Wanted { n: 20, design: *design, spread: settings.spread, packets: true }).collect();
    run_all(&settings, &wanted, &|_| ())
}

/// The cells of all designs, measured once for all tests.
fn cells() -> &'static [Cell] {
    static CELLS: OnceLock<Vec<Cell>> = OnceLock::new();
    CELLS.get_or_init(|| run(2, &Design::ALL))
}

fn cell(design: Design) -> &'static Cell {
    cells().iter().find(|c| c.design == design.name).unwrap()
}

#[test]
fn the_baseline_is_found_and_constant_rate_is_not() {
    let (tor, strict) = (cell(Design::TOR), cell(Design::STRICT));
    assert!(tor.alone.true_positives.low > 0.8 && tor.shared.true_positives.low > 0.7, "{tor:?}");
    assert!(strict.alone.true_positives.value < 0.1 && strict.shared.true_positives.value < 0.06, "{strict:?}");
    // A third of the packets tells less than all of them.
    assert!(tor.one_guard.true_positives.value < tor.shared.true_positives.value);
}

#[test]
fn delays_lower_what_is_found_where_hosts_are_shared() {
    let (tor, balanced) = (cell(Design::TOR), cell(Design::BALANCED));
    assert!(balanced.shared.true_positives.high < tor.shared.true_positives.low, "{balanced:?}");
}

#[test]
fn hostile_mixes_find_only_where_they_are_beside_both_ends_and_less_where_delays_and_users_are() {
    let taken = |design: Design, users: usize| cell(design).taken.iter().find(|t| t.hostile == 6 && t.users == users).unwrap();
    for cell in cells() {
        assert_eq!(
            cell.taken.iter().map(|t| (t.hostile, t.users)).collect::<Vec<_>>(),
            [(2, 1), (2, 5), (2, 50), (6, 1), (6, 5), (6, 50)]
        );
        for t in &cell.taken {
            // What passes by lot where they see nothing is the share of false positives.
            assert!(t.found.true_positives.value <= t.both_ends + 2e-3, "{} {t:?}", cell.design);
            assert!(t.followed <= t.found.true_positives.value + 1e-9, "{} {t:?}", cell.design);
        }
    }
    let found = |design: Design, users: usize| taken(design, users).found.true_positives.value;
    // Three guards of which one is hostile, or one: 1 − 0.7³ against 0.3 at each end.
    assert!(
        found(Design::FAST, 1) > 2.0 * found(Design::TOR, 1) && found(Design::FAST, 1) > 0.9 * taken(Design::FAST, 1).both_ends
    );
    assert!(found(Design::BALANCED, 50) < 0.7 * found(Design::BALANCED, 5));
    assert!(found(Design::STRICT, 50) < 0.5 * found(Design::BALANCED, 50));
}

#[test]
fn entropy_grows_with_users_and_delays_and_falls_with_hostile_mixes() {
    let entropy = |design: Design, users: usize, hostile: f64| {
        let packets = &cell(design).packets;
        packets.iter().find(|p| p.users == users && (p.hostile - hostile).abs() < 1e-9).unwrap().entropy
    };
    for design in [Design::TOR, Design::FAST] {
        assert!(entropy(design, 50, 0.0).value < 1e-9, "{design:?}");
    }
    for design in [Design::BALANCED, Design::STRICT] {
        assert!(entropy(design, 50, 0.0).low > entropy(design, 5, 0.0).high, "{design:?}");
        assert!(entropy(design, 50, 0.2).value < entropy(design, 50, 0.0).value, "{design:?}");
        assert!(entropy(design, 50, 0.0).value <= 50f64.log2() + 1e-9);
    }
    assert!(entropy(Design::STRICT, 5, 0.0).low > entropy(Design::BALANCED, 5, 0.0).high);
}

#[test]
fn one_seed_gives_one_result_on_any_number_of_cores() {
    let again = run(1, &[Design::BALANCED]);
    for cell in &again {
        let first = cells().iter().find(|c| c.design == cell.design);
        assert_eq!(serde_json::to_string(&first).unwrap(), serde_json::to_string(&Some(cell)).unwrap());
    }
}
