//! Tests of the meter: pure.

use super::*;
use crate::{
    directory::tests::{MADE, directory},
    schedule::CONSTANT_SLOT,
};
use iroh::SecretKey;
use proptest::prelude::*;

const LEVELS: [Level; 3] = [Level::Fast, Level::Balanced, Level::Strict];
const FULL: Cover =
    Cover { client_loop: Some(CLIENT_LOOP_MEAN), mix_loop: Some(MIX_LOOP_MEAN), constant_slot: Some(CONSTANT_SLOT) };

/// A directory of mixes of one owner each, all equally old.
fn fog(test: bool, mixes: u8, clients: u32) -> Directory {
    let one = directory(&SecretKey::from_bytes(&[1; 32]), test, mixes);
    let mut mixes = one.mixes.clone();
    // By key, not by place: a mix keeps its owner when others come.
    mixes.iter_mut().for_each(|m| m.owner = OwnerId(m.key));
    Directory::new(one.fog, test, 1, MADE, [0; 32], mixes).with_clients(clients)
}

fn at<'a>(directory: &'a Directory, guards: &'a [MixId], level: Level, cover: Cover) -> Input<'a> {
    Input { directory, own: &[], guards, level, cover }
}

fn grade(reading: &Reading, adversary: Adversary) -> Grade {
    reading.views.iter().find(|v| v.adversary == adversary).unwrap().grade
}

fn grades(reading: &Reading) -> Vec<Grade> {
    reading.views.iter().map(|v| v.grade).collect()
}

/// The three mixes with the least keys: in every directory that has them.
fn guards() -> Vec<MixId> {
    let mut keys: Vec<[u8; 32]> = (0..3u8).map(|i| *blake3::hash(&[i]).as_bytes()).collect();
    keys.sort_unstable();
    keys.iter().map(crate::directory::mix_id).collect()
}

#[test]
fn a_large_fog_is_graded_by_what_each_adversary_stands_for() {
    let directory = fog(false, 250, 4_096);
    let guards = guards();
    let strict = read(&at(&directory, &guards, Level::Strict, FULL));
    assert_eq!((strict.mixes, strict.owners, strict.users), (250, 250, Users { at_least: 2_048, at_most: 8_191 }));
    assert_eq!(grades(&strict), [Grade::Good, Grade::Fair, Grade::Fair, Grade::Fair, Grade::Fair]);
    // Three draws from 250 meet one of them with a probability of 1.2 %.
    assert!((strict.mix_both_ends - 0.012).abs() < 1e-3 && (strict.owner_both_ends - 0.012).abs() < 1e-3, "{strict:?}");
    assert_eq!((strict.packet_bits, strict.pages_found), (Some(1.04), 0.001));
    let balanced = read(&at(&directory, &guards, Level::Balanced, FULL));
    assert_eq!(grade(&balanced, Adversary::Global), Grade::None, "pages are found at balanced");
    assert_eq!((balanced.packet_bits, balanced.pages_found), (Some(0.20), 1.0));
}

#[test]
fn a_small_fog_is_no_crowd() {
    let reading = read(&at(&fog(false, 7, 4), &guards(), Level::Balanced, FULL));
    // Four connections may be two people; each mix, and so each owner, stands beside three of seven hosts.
    assert_eq!(reading.users, Users { at_least: 2, at_most: 7 });
    assert_eq!(grades(&reading), [Grade::Weak, Grade::None, Grade::Weak, Grade::None, Grade::None]);
    let alone = read(&at(&fog(false, 7, 0), &guards(), Level::Balanced, FULL));
    assert_eq!(grade(&alone, Adversary::Host), Grade::None);
    assert!(alone.views[0].words.contains("may be the only one"), "{:?}", alone.views[0]);
}

#[test]
fn without_the_cover_of_the_measurement_there_is_no_figure() {
    let directory = fog(false, 20, 256);
    for (level, cover) in [
        (Level::Balanced, Cover { client_loop: None, ..FULL }),
        (Level::Balanced, Cover { mix_loop: Some(10 * MIX_LOOP_MEAN), ..FULL }),
        (Level::Strict, Cover { constant_slot: None, ..FULL }),
    ] {
        let reading = read(&at(&directory, &[], level, cover));
        assert_eq!((reading.packet_bits, grade(&reading, Adversary::Global)), (None, Grade::None));
    }
    // What is sent now claims nothing that only cover gives.
    let now = read(&at(&directory, &[], Level::Strict, Cover::sent(Level::Strict)));
    assert_eq!(now.packet_bits.is_some(), Cover::sent(Level::Strict).constant_slot.is_some());
    assert_eq!(FULL.client_bytes_s() / 1_000, (LINK_FRAME_BYTES as u64 + LINK_FRAME_BYTES as u64 * 1_000 / 41) / 1_000);
}

#[test]
fn owner_with_a_guard_counts_with_all_its_mixes_and_oneself_never() {
    let mut mixes = fog(false, 20, 64).mixes;
    let guards = [mixes[0].id];
    let big = mixes[0].owner;
    mixes[1..6].iter_mut().for_each(|m| m.owner = big);
    let base = fog(false, 20, 64);
    let directory = Directory::new(base.fog, false, 1, MADE, [0; 32], mixes).with_clients(64);
    let reading = read(&at(&directory, &guards, Level::Balanced, FULL));
    // Six mixes weigh like two of sixteen.
    assert!((reading.owner_both_ends - met(2.0 / 16.0)).abs() < 1e-6, "{}", reading.owner_both_ends);
    let own: Vec<MixId> = directory.mixes.iter().filter(|m| m.owner == big).map(|m| m.id).collect();
    let oneself = read(&Input { own: &own, ..at(&directory, &[], Level::Balanced, FULL) });
    assert!(oneself.owner_both_ends < 0.1 && oneself.mixes == 14, "{oneself:?}");
}

#[test]
fn bits_follow_the_report_and_never_more_than_the_users() {
    for (mixes, balanced, strict) in PACKET_BITS {
        for (i, users) in [5u32, 50].into_iter().enumerate() {
            assert!((packet_bits(Level::Balanced, mixes, users, &FULL).unwrap() - balanced[i]).abs() < 1e-9);
            assert!((packet_bits(Level::Strict, mixes, users, &FULL).unwrap() - strict[i]).abs() < 1e-9);
        }
    }
    assert_eq!(packet_bits(Level::Strict, 7, 1_000_000, &FULL), Some(5.64), "nothing was measured beyond");
    assert_eq!(packet_bits(Level::Fast, 7, 50, &FULL), Some(0.0));
    assert_eq!(packet_bits(Level::Balanced, 5_000, 50, &FULL), Some(0.20));
}

proptest! {
    #[test]
    fn a_test_fog_is_always_none(mixes in 0u8..60, clients in 0u32..31, level in 0usize..3) {
        let directory = fog(true, mixes, 1 << clients);
        let reading = read(&at(&directory, &guards(), LEVELS[level], FULL));
        prop_assert!(reading.views.len() == 5 && reading.views.iter().all(|v| v.grade == Grade::None));
    }

    #[test]
    fn fast_is_always_none_against_an_observer_of_everything(mixes in 0u8..250, clients in 0u32..31) {
        let reading = read(&at(&fog(false, mixes, 1 << clients), &[], Level::Fast, FULL));
        prop_assert_eq!(grade(&reading, Adversary::Global), Grade::None);
    }

    #[test]
    fn more_users_or_more_mixes_of_further_owners_lower_no_grade(
        mixes in 3u8..120, more in 0u8..120, clients in 0u32..20, further in 0u32..11, level in 0usize..3, chosen: bool, covered: bool,
    ) {
        let (level, cover) = (LEVELS[level], if covered { FULL } else { Cover::sent(LEVELS[level]) });
        let guards = if chosen { guards() } else { Vec::new() };
        let small = read(&at(&fog(false, mixes, 1 << clients), &guards, level, cover));
        let large = read(&at(&fog(false, mixes + more, 1 << (clients + further)), &guards, level, cover));
        for (less, more) in small.views.iter().zip(&large.views) {
            prop_assert!(less.grade <= more.grade, "{less:?} {more:?}");
        }
        let crowd = read(&at(&fog(false, mixes, 1 << (clients + further)), &guards, level, cover));
        prop_assert!(small.packet_bits <= crowd.packet_bits, "{small:?} {crowd:?}");
    }
}
