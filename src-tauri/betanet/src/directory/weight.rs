//! How often a mix is chosen: by its reliability, its age, and how much of the net its owner has already.
//!
//! The argument against floods of new mixes. A path is bad for its user when one adversary has the hops that matter; whoever adds mixes
//! buys chances of that. Three rules make them dear:
//!
//! 1. *Age.* A newcomer starts at [`NEWCOMER`] of what the oldest have and comes to the full within [`GROWN_UP`] (or, while the whole fog is
//!    younger, within the fog's age). So a flood of n mixes overnight weighs like n/100 old ones, and it is seen for weeks before it weighs more.
//! 2. *Owner.* All mixes of one owner together weigh at most like [`MOST_OF_AN_OWNER`] grown-up ones: n mixes of one owner are worth two. An
//!    adversary needs owners, and those come by invitation.
//! 3. *Reliability.* Squared, so that one that loses a tenth is chosen a fifth less; one that loses more than half is not chosen at all, and
//!    so a flood that does not relay wins nothing.
//!
//! Between federated fogs: what another fog lists is not this one's to judge, neither ages nor owners, so a hostile fog could list a flood of
//! old mixes of a thousand owners. Hence a fourth rule:
//!
//! 4. *Fog.* Each fog's mixes are weighed by themselves, and those of another together weigh at most as much as all of the own fog. So nothing that
//!    another says makes one of the own mixes lighter, and of n fogs a hostile one has at most an n-th of what is drawn where all are as
//!    large, and half where there are two. An owner who has mixes in n fogs counts n times: owners come by invitation in each.
//!
//! What this does not do: an adversary with many invitations and a month's patience counts in full. `docs/privacy` measures it.

use super::MixEntry;
use fogbank_model::{DurationMs, OwnerId, UnixMs};
use std::collections::HashMap;

/// A mix of this age is no newcomer: a month is dear to prepare, and seen.
const GROWN_UP: DurationMs = DurationMs::from_s(30 * 24 * 3600);
/// What a newcomer weighs to begin with: enough to be probed and used a little.
const NEWCOMER: f32 = 0.01;
/// All mixes of one owner, in grown-up ones.
const MOST_OF_AN_OWNER: f32 = 2.0;
/// In a fog younger than this, ages differ by chance only.
const LEAST_AGE: DurationMs = DurationMs::from_s(3600);

/// Running sums of the weights of mixes, in their order.
pub(super) fn sums(mixes: &[MixEntry], now: UnixMs) -> Vec<f64> {
    let mut sum = 0.0;
    let add = |weight: f32| {
        sum += f64::from(weight);
        sum
    };
    weights(mixes, now).into_iter().map(add).collect()
}

/// Scales each other fog's weights so that they are together no more than those of the own one, which is number 0; as they are if the own has
/// nothing that could be drawn.
pub(super) fn level(mixes: &mut [(MixEntry, u8, f64)], fogs: usize) {
    let mut totals = vec![0.0; fogs];
    for (_, fog, weight) in mixes.iter() {
        if let Some(total) = totals.get_mut(usize::from(*fog)) {
            *total += weight;
        }
    }
    let own: f64 = totals.first().copied().unwrap_or(0.0);
    for (_, fog, weight) in mixes.iter_mut() {
        let total = totals.get(usize::from(*fog)).copied().unwrap_or(0.0);
        if own > 0.0 && total > own {
            *weight *= own / total;
        }
    }
}

/// Weights of mixes in their order, each between 0 and 1.
fn weights(mixes: &[MixEntry], now: UnixMs) -> Vec<f32> {
    let age = |m: &MixEntry| now.since(m.since).0.max(0);
    let oldest = mixes.iter().map(age).max().unwrap_or(0);
    let full = oldest.min(GROWN_UP.0);
    let mut of_owner: HashMap<OwnerId, f32> = HashMap::new();
    let alone: Vec<f32> = mixes
        .iter()
        .map(|m| {
            let grown = if full <= LEAST_AGE.0 { 1.0 } else { (age(m) as f32 / full as f32).clamp(NEWCOMER, 1.0) };
            let reliable = if m.works() { (f32::from(m.reliability.min(1_000)) / 1_000.0).powi(2) } else { 0.0 };
            let weight = grown * reliable;
            *of_owner.entry(m.owner).or_default() += weight;
            weight
        })
        .collect();
    mixes
        .iter()
        .zip(alone)
        .map(|(m, weight)| {
            let together = of_owner.get(&m.owner).copied().unwrap_or(0.0);
            if together > MOST_OF_AN_OWNER { weight * MOST_OF_AN_OWNER / together } else { weight }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::tests::{MADE, directory};
    use iroh::SecretKey;

    const DAY: i64 = 24 * 3_600_000;

    fn aged(count: u8, days: impl Fn(u8) -> i64) -> Vec<MixEntry> {
        let mut mixes = directory(&SecretKey::from_bytes(&[1; 32]), false, count).mixes;
        for (i, mix) in mixes.iter_mut().enumerate() {
            mix.since = MADE.plus(DurationMs(-days(i as u8) * DAY));
            mix.owner = OwnerId([i as u8; 32]);
        }
        mixes
    }

    #[test]
    fn a_flood_of_newcomers_weighs_little() {
        let mixes = aged(110, |i| if i < 10 { 30 } else { 0 });
        let weights = weights(&mixes, MADE);
        let (old, new): (f32, f32) = (weights[..10].iter().sum(), weights[10..].iter().sum());
        assert_eq!(old, 10.0);
        assert!((new - 1.0).abs() < 0.01, "{new}");
    }

    #[test]
    fn one_owner_with_many_mixes_weighs_like_two() {
        let mut mixes = aged(60, |_| 30);
        mixes[10..].iter_mut().for_each(|m| m.owner = OwnerId([255; 32]));
        let weights = weights(&mixes, MADE);
        assert!((weights[10..].iter().sum::<f32>() - 2.0).abs() < 1e-3);
        assert_eq!(weights[..10], [1.0; 10]);
    }

    #[test]
    fn in_a_fog_that_began_today_all_weigh_alike() {
        let mixes = aged(9, |_| 0);
        assert_eq!(weights(&mixes, MADE), [1.0; 9]);
    }

    #[test]
    fn what_loses_packets_is_chosen_less_and_what_loses_most_never() {
        let mut mixes = aged(3, |_| 30);
        mixes[0].reliability = 900;
        mixes[1].reliability = 400;
        let weights = weights(&mixes, MADE);
        assert!((weights[0] - 0.81).abs() < 1e-3 && weights[1] == 0.0 && weights[2] == 1.0, "{weights:?}");
    }
}
