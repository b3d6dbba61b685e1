//! What fogs can and can't do to each other by what they list.

use super::*;
use crate::directory::{
    DIRECTORY_LIFE, DirectoryError,
    tests::{MADE, directory},
};
use crate::{
    epoch,
    paths::{Guards, Net},
};
use fogbank_model::{DurationMs, Level, OwnerId};
use fogbank_sphinx::Hop;
use fogbank_wire::RelayHint;
use iroh::SecretKey;
use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::StdRng};
use std::collections::HashSet;

fn key(fog: u8) -> SecretKey {
    SecretKey::from_bytes(&[fog; 32])
}

fn id(fog: u8) -> FogId {
    FogId(*key(fog).public().as_bytes())
}

/// A fog's directory of so many mixes of its own that names these.
fn fog(number: u8, mixes: u8, names: &[u8]) -> Arc<Directory> {
    let made = directory(&key(number), true, mixes);
    let mut entries = made.mixes.clone();
    for (i, mix) in (0u8..).zip(&mut entries) {
        mix.key = *blake3::hash(&[number, i]).as_bytes();
        mix.id = crate::directory::mix_id(&mix.key);
        mix.owner = OwnerId([number ^ i << 4; 32]);
    }
    let made = Directory::new(made.fog, true, 1, MADE, [number; 32], entries);
    Arc::new(made.with_federated(names.iter().map(|n| id(*n)).collect()))
}

fn total(directory: &Directory, fog: &Directory) -> f64 {
    let of = |m: &&(usize, &MixEntry)| directory.fog_listing(m.1.id) == Some(fog.fog);
    directory.mixes.iter().enumerate().collect::<Vec<_>>().iter().filter(of).map(|(i, _)| directory.weight(*i)).sum()
}

#[test]
fn only_who_names_us_too_and_is_fresh_and_of_our_kind_counts() {
    let own = fog(1, 3, &[2, 3, 4, 5]);
    let (mutual, one_sided, unnamed) = (fog(2, 3, &[1]), fog(3, 3, &[9]), fog(6, 3, &[1]));
    let real = Arc::new(Directory { test: false, ..(*fog(4, 3, &[1])).clone() });
    let early = MADE.plus(DurationMs(-DIRECTORY_LIFE.0));
    let stale = Arc::new(Directory { made: early, expires: MADE, ..(*fog(5, 3, &[1])).clone() });
    let merged = Directory::merged(&own, &[mutual.clone(), one_sided, unnamed, real, stale], MADE);
    assert_eq!(merged.mixes.len(), 6);
    assert!(merged.counts(&id(1)) && merged.counts(&id(2)) && (3..=6).all(|n| !merged.counts(&id(n))));
    assert!(mutual.mixes.iter().all(|m| merged.mix(m.id) == Some(m)));
    assert_eq!((merged.fog, merged.serial, merged.shared_random), (own.fog, own.serial, own.shared_random));
    let alone = Directory::merged(&own, &[], MADE);
    assert!(Arc::ptr_eq(&alone, &own) && alone.drawable().count() == 3 && alone.counts(&own.fog));
}

#[test]
fn too_few_alone_are_enough_together() {
    let (own, other) = (fog(1, 3, &[2]), fog(2, 3, &[1]));
    assert!(own.usable(&[]).is_err());
    assert_eq!(Directory::merged(&own, &[other], MADE).usable(&[]).unwrap().mixes, 6);
}

#[test]
fn a_fog_that_names_nobody_but_us_shuts_out_none_who_do() {
    let own = fog(1, 4, &[2, 3, 4]);
    let (b, c, hostile) = (fog(2, 4, &[1, 3]), fog(3, 4, &[1, 2]), fog(4, 4, &[1]));
    let merged = Directory::merged(&own, &[b.clone(), c.clone(), hostile.clone()], MADE);
    let drawn: HashSet<FogId> = merged.drawable().filter_map(|m| merged.fog_listing(m.id)).collect();
    assert_eq!(drawn, HashSet::from([own.fog, b.fog, c.fog]), "whatever the order of their ids");
    // It is looked up all the same, and only those who know it stand beside its mixes.
    let [ours, bs, theirs] = [&own, &b, &hostile].map(|f| f.mixes[0].id);
    assert!(merged.mix(theirs).is_some() && merged.meet(ours, theirs) && !merged.meet(bs, theirs) && merged.meet(bs, ours));
    assert_eq!(total(&merged, &hostile), 0.0);
    assert!(merged.meet(MixId([0; 16]), theirs), "what is not listed is nobody's to say");
}

#[test]
fn a_flood_of_a_federated_fog_weighs_no_more_than_the_own_fog() {
    let (own, flood, small) = (fog(1, 5, &[2, 3]), fog(2, 200, &[1, 3]), fog(3, 2, &[1, 2]));
    let merged = Directory::merged(&own, &[flood.clone(), small.clone()], MADE);
    let [ours, theirs, few] = [&own, &flood, &small].map(|f| total(&merged, f));
    assert!((ours - 5.0).abs() < 1e-6 && (theirs - 5.0).abs() < 1e-6 && (few - 2.0).abs() < 1e-6, "{ours} {theirs} {few}");
    assert_eq!(own.weight(0), merged.weight(merged.mixes.iter().position(|m| m.id == own.mixes[0].id).unwrap()));
}

#[test]
fn nobody_speaks_for_our_mixes() {
    let own = fog(1, 4, &[2, 3]);
    // It lists our mixes with keys and addresses of its own, as broken ones of somebody else.
    let mut lies = (*fog(2, 4, &[1, 3])).clone();
    for mix in own.mixes.iter().take(3) {
        let lie = MixEntry { life: [9; 8], reliability: 0, owner: OwnerId([66; 32]), addrs: vec![], ..mix.clone() };
        lies.mixes.push(lie);
    }
    let lies = Directory::new(lies.fog, true, 1, MADE, [2; 32], lies.mixes).with_federated(lies.federated);
    let merged = Directory::merged(&own, &[Arc::new(lies)], MADE);
    assert_eq!(merged.mixes.len(), 8);
    for (i, mix) in own.mixes.iter().enumerate() {
        assert_eq!(merged.mix(mix.id), Some(mix));
        assert_eq!(merged.fog_listing(mix.id), Some(own.fog));
        let at = merged.mixes.iter().position(|m| m.id == mix.id).unwrap();
        assert_eq!(merged.weight(at), own.weight(i));
    }
}

/// A hostile fog puts itself on the wire before another fog's mixes: who comes would show it its address.
#[test]
fn a_mix_that_two_others_place_differently_is_nobodys() {
    let (own, honest) = (fog(1, 3, &[2, 3]), fog(2, 4, &[1, 3]));
    let with = |change: fn(&mut MixEntry)| {
        let mut copied = honest.mixes.clone();
        copied.iter_mut().for_each(change);
        let lies = Directory::new(id(3), true, 1, MADE, [3; 32], copied).with_federated(vec![id(1), id(2)]);
        let lies = Arc::new(lies);
        // Whichever of the two ids is the lower one.
        Directory::merged(&own, &[honest.clone(), lies], MADE)
    };
    let elsewhere = with(|mix| mix.addrs = vec!["127.0.0.1:9999".parse().unwrap()]);
    assert!(elsewhere.mixes.iter().all(|m| own.mix(m.id).is_some()) && elsewhere.mixes.len() == 3);
    assert_eq!(with(|mix| mix.life = [9; 8]).mixes.len(), 3);
    assert_eq!(with(|mix| mix.packet_keys.keys.iter_mut().for_each(|key| *key = [9; 32])).mixes.len(), 3);
    // One that is of both, whose keys one of the fogs has heard of sooner.
    let of_both = with(|mix| {
        mix.packet_keys.keys.remove(0);
        mix.packet_keys.first += 1;
    });
    assert_eq!(of_both.mixes.len(), 7);
    assert!(honest.mixes.iter().all(|m| of_both.mix(m.id).unwrap().addrs == m.addrs));
}

#[test]
fn rings_are_each_fogs_own() {
    let (own, other) = (fog(1, 9, &[2]), fog(2, 9, &[1]));
    let merged = Directory::merged(&own, std::slice::from_ref(&other), MADE);
    let rings = merged.rings(&[7; 32]);
    assert_eq!(rings, [(own.fog, own.ring(&[7; 32])), (other.fog, other.ring(&[7; 32]))]);
    assert_eq!(merged.ring(&[7; 32]), own.ring(&[7; 32]));
}

#[test]
fn ways_to_a_fog_that_is_not_drawn_end_beside_who_knows_it() {
    let own = fog(1, 6, &[2, 3]);
    let others = [fog(2, 6, &[1]), fog(3, 6, &[1])];
    let merged = Directory::merged(&own, &others, MADE);
    let outside = others.iter().find(|o| !merged.draws_from(&o.fog)).unwrap();
    let inside = others.iter().find(|o| merged.draws_from(&o.fog)).unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    let mut met = HashSet::new();
    for seed in 0..40 {
        let mut guards = Guards::new();
        guards.refresh(&merged, &[], &mut StdRng::seed_from_u64(seed));
        let listing = |hop: &Hop| merged.fog_listing(MixId(hop.id)).unwrap();
        assert!(guards.ids().any(|id| merged.fog_listing(id) == Some(own.fog)), "one guard is of the own fog");
        let net = Net { directory: &merged, epoch: epoch::at(MADE), guards: &guards, exclude: &[], guard_up: &|_| true };
        for end in &outside.mixes {
            let out = net.forward(end.id, Level::Balanced, &mut rng).unwrap();
            assert!(listing(&out[2]) == own.fog && out[..3].iter().all(|hop| listing(hop) != outside.fog));
            met.extend(out[..2].iter().map(listing));
            assert_eq!(listing(&net.reply(end.id, Level::Balanced, &mut rng).unwrap()[0]), own.fog);
            let rendezvous = net.rendezvous(end.id, &mut rng).unwrap();
            assert_eq!(merged.fog_listing(rendezvous), Some(own.fog), "whoever is of that fog knows it");
        }
    }
    assert_eq!(met, HashSet::from([own.fog, inside.fog]), "the other hops are of both");
}

#[test]
fn guards_of_a_fog_go_when_the_own_operator_ends_it_and_not_when_it_does() {
    let (own, other) = (fog(1, 8, &[2]), fog(2, 6, &[1]));
    let merged = Directory::merged(&own, std::slice::from_ref(&other), MADE);
    for seed in 0..20 {
        let rng = &mut StdRng::seed_from_u64(seed);
        let mut guards = Guards::new();
        guards.refresh(&merged, &[], rng);
        let before: Vec<MixId> = guards.ids().collect();
        // It names us no more: its guards wait for a week, like those of mixes that were knocked out.
        guards.refresh(&Directory::merged(&own, &[fog(2, 6, &[])], MADE), &[], rng);
        assert_eq!(guards.ids().collect::<Vec<_>>(), before);
        guards.refresh(&fog(1, 8, &[]), &[], rng);
        assert!(guards.ids().count() == 3 && guards.ids().all(|id| own.mix(id).is_some()));
        assert!(before.iter().filter(|id| own.mix(**id).is_some()).all(|id| guards.contains(*id)), "the others stay");
    }
}

/// Which sets of fogs a merging drew from, against every set there is.
fn best_by_hand(own: &Directory, others: &[Arc<Directory>]) -> usize {
    let counting: Vec<&Arc<Directory>> = others.iter().filter(|o| mutual(own, o)).collect();
    let all_mutual = |set: usize| {
        let of = |n: &usize| set >> n & 1 == 1;
        let members: Vec<usize> = (0..counting.len()).filter(of).collect();
        members.iter().all(|a| members.iter().all(|b| a == b || mutual(counting[*a], counting[*b])))
    };
    (0..1usize << counting.len()).filter(|set| all_mutual(*set)).map(|set| set.count_ones() as usize).max().unwrap_or(0)
}

proptest! {
    #[test]
    fn merging_keeps_its_rules(
        named in prop::collection::vec(prop::collection::vec(2u8..9, 0..7), 7),
        sizes in prop::collection::vec(0u8..6, 8),
        shared in prop::collection::vec((0usize..7, 0usize..7), 0..4),
        order: prop::sample::Index,
    ) {
        let own = fog(1, sizes[0], &[2, 3, 4, 5, 6, 7]);
        let mut others: Vec<Directory> = (2u8..9)
            .zip(&named)
            .zip(&sizes[1..])
            .map(|((n, names), size)| {
                // Most name us as well.
                let names: Vec<u8> = names.iter().copied().chain((n % 4 != 0).then_some(1)).collect();
                (*fog(n, *size, &names)).clone()
            })
            .collect();
        // Some list mixes of others.
        for (from, to) in shared {
            let theirs = others[from].mixes.clone();
            let mixes = others[to].mixes.iter().cloned().chain(theirs).collect();
            let names = others[to].federated.clone();
            others[to] = Directory::new(others[to].fog, true, 1, MADE, [3; 32], mixes).with_federated(names);
        }
        let mut others: Vec<Arc<Directory>> = others.into_iter().map(Arc::new).collect();
        let merged = Directory::merged(&own, &others, MADE);
        prop_assert!(merged.mixes.is_sorted_by(|a, b| a.id < b.id));
        prop_assert!(own.mixes.iter().all(|m| merged.mix(m.id) == Some(m)));
        for mix in &merged.mixes {
            let listing = merged.fog_listing(mix.id).unwrap();
            prop_assert!(merged.counts(&listing));
            prop_assert!(listing == own.fog || others.iter().any(|o| o.fog == listing && mutual(&own, o) && o.mix(mix.id) == Some(mix)));
        }
        // Whatever is drawn knows each other, and the own fog knows all.
        let drawn: Vec<MixId> = merged.drawable().map(|m| m.id).collect();
        prop_assert!(drawn.iter().all(|a| drawn.iter().all(|b| merged.meet(*a, *b))));
        prop_assert!(own.mixes.iter().all(|a| merged.mixes.iter().all(|b| merged.meet(a.id, b.id) && merged.meet(b.id, a.id))));
        for (i, mix) in merged.mixes.iter().enumerate() {
            prop_assert!((0.0..=1.0).contains(&merged.weight(i)) && (merged.weight(i) == 0.0 || drawn.contains(&mix.id)));
        }
        let own_total = total(&merged, &own);
        for other in others.iter().filter(|o| own_total > 0.0 && merged.counts(&o.fog)) {
            prop_assert!(total(&merged, other) <= own_total + 1e-6);
        }
        let drawn_fogs = merged.merged.as_ref().map_or(0, |m| m.drawn.count_ones() as usize - 1);
        prop_assert_eq!(drawn_fogs, best_by_hand(&own, &others));
        // In whatever order they came.
        let turn = order.index(others.len());
        others.rotate_left(turn);
        prop_assert_eq!(&merged, &Directory::merged(&own, &others, MADE));
    }

    #[test]
    fn sixteen_fogs_are_merged_however_they_name_each_other(seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        let all: Vec<u8> = (1..=16).collect();
        let own = fog(1, 2, &all);
        let others: Vec<Arc<Directory>> = all[1..]
            .iter()
            .map(|n| {
                let names: Vec<u8> = all.iter().copied().filter(|m| *m == 1 || rng.random_ratio(2, 3)).collect();
                fog(*n, 1, &names)
            })
            .collect();
        let merged = Directory::merged(&own, &others, MADE);
        prop_assert_eq!((merged.mixes.len(), merged.fogs().len()), (17, 16));
        let drawn: Vec<MixId> = merged.drawable().map(|m| m.id).collect();
        prop_assert!(drawn.iter().all(|a| drawn.iter().all(|b| merged.meet(*a, *b))));
    }
}

#[test]
fn what_is_merged_is_not_taken_for_signed() {
    let (own, other) = (fog(1, 3, &[2]), fog(2, 3, &[1]));
    let merged = Directory::merged(&own, &[other], MADE);
    let opened = Directory::open(&merged.seal(&key(9)).unwrap(), &own.fog);
    assert!(matches!(opened, Err(DirectoryError::NotTheFogs(_))));
}

#[test]
fn other_fogs_are_never_a_whole_path() {
    let normal = |made: Arc<Directory>| Arc::new(Directory { test: false, ..(*made).clone() });
    let (own, flood) = (normal(fog(1, 8, &[2])), normal(fog(2, 60, &[1])));
    let merged = Directory::merged(&own, std::slice::from_ref(&flood), MADE);
    let mut rng = StdRng::seed_from_u64(1);
    let mut guards = Guards::new();
    guards.refresh(&merged, &[], &mut rng);
    let net = Net { directory: &merged, epoch: epoch::at(MADE), guards: &guards, exclude: &[], guard_up: &|_| true };
    for end in flood.mixes.iter().cycle().take(300) {
        let out = net.forward(end.id, Level::Balanced, &mut rng).unwrap();
        assert!(out[..3].iter().any(|hop| own.mix(MixId(hop.id)).is_some()));
    }
}

#[test]
fn another_fog_lends_a_mix_neither_a_relay_nor_many_addresses() {
    let mut rows = fog(2, 3, &[1]).mixes.clone();
    let own = fog(1, 3, &[2]);
    rows[0].addrs = (1..=7).map(|n| ([20, n, 1, 1], 4_000).into()).chain(["[2a00:1::1]:4000".parse().unwrap()]).collect();
    let one_of_each_family = vec![rows[0].addrs[0], rows[0].addrs[7]];
    rows[0].relay = Some(RelayHint { addr: "192.0.2.10:3340".parse().unwrap(), pin: [3; 32], token: [8; 16] });
    rows[1].addrs = vec!["224.0.0.1:4000".parse().unwrap(), "198.51.100.1:0".parse().unwrap(), "0.0.0.0:4000".parse().unwrap()];
    let other = Directory::new(id(2), true, 1, MADE, [2; 32], rows.clone()).with_federated(vec![id(1)]);
    let merged = Directory::merged(&own, &[Arc::new(other)], MADE);
    let many = merged.mix(rows[0].id).unwrap();
    assert!(many.addrs == one_of_each_family && many.relay.is_none());
    let at = merged.mixes.iter().position(|m| m.id == rows[1].id).unwrap();
    assert!(merged.mixes[at].addrs.is_empty() && merged.weight(at) == 0.0);
    assert!(own.mixes.iter().all(|m| merged.mix(m.id) == Some(m)), "the own fog's are as it lists them");
}

#[test]
fn what_another_fog_says_of_its_mixes_ends_no_life_here() {
    let (own, other) = (fog(1, 3, &[2]), fog(2, 3, &[1]));
    let merged = |other: &Directory| Directory::merged(&own, &[Arc::new(other.clone())], MADE);
    let before = crate::directory::lives(Some(&merged(&other)));
    let mut flipped = (*other).clone();
    flipped.mixes.iter_mut().for_each(|m| m.life = [99; 8]);
    flipped.mixes.pop();
    assert!(!crate::directory::lives_ended(&before, &crate::directory::lives(Some(&merged(&flipped)))));
    assert!(crate::directory::lives_ended(&before, &crate::directory::lives(Some(&other))), "the own fog's do");
}
