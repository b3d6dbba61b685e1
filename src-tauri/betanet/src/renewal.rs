//! Signing ahead again: a publisher that is on now and then keeps its services alive without end, and one that stays away lets them end.
//!
//! Invariants: what the allocator holds grows by whole periods of the same address that follow on what is there; records that are in use
//! are never exchanged, so that no lease or descriptor loses its signer; what is over is forgotten, so the proof stays bounded.
//! Deliberately absent: when the publisher's node looks (it does at its start and daily) and keeping the proof (the allocator's store).

use crate::{
    address::{Address, Period},
    proof::{MAX_PERIODS, ProofError, RECORD_SLACK, check_period, period_of},
};
use fogbank_model::{DurationMs, UnixMs};
use fogbank_wire::ServiceProof;

/// A publisher signs again when less than this is left of its thirty days: with one look a day it has twenty chances, and one that is on
/// every other week never lets a service end.
pub const RENEW_LEFT: DurationMs = DurationMs::from_s(20 * 86_400);

/// A period's record and the secret of the descriptor key that it names.
type Signed = (Vec<u8>, [u8; 32]);

/// Until when there are records without a gap from now on: the end of a period. What is over already ends in the past.
pub fn signed_until(proof: &ServiceProof, now: UnixMs) -> UnixMs {
    let periods: Vec<Period> = proof.periods.iter().filter_map(|(record, _)| period_of(record)).collect();
    let current = Period::at(now);
    if !periods.contains(&current) {
        return periods.iter().filter(|p| **p < current).max().map_or(UnixMs(0), |p| p.end());
    }
    let mut last = current;
    while periods.contains(&last.next()) && last.next() != last {
        last = last.next();
    }
    last.end()
}

/// Whether the publisher should sign again now.
pub fn due(signed_until: UnixMs, now: UnixMs) -> bool {
    signed_until < now.plus(RENEW_LEFT)
}

/// The kept proof with the periods that the publisher offers. The access key becomes the offered one.
///
/// # Errors
/// When the offer is another address's, does not hold, leaves a gap after what is kept and still valid, or is too long.
pub fn merge(kept: &ServiceProof, offered: &ServiceProof, now: UnixMs) -> Result<ServiceProof, ProofError> {
    const WHAT: &str = "renewal";
    if kept.onion != offered.onion {
        return Err(ProofError::Other { what: WHAT });
    }
    if offered.periods.len() > MAX_PERIODS {
        return Err(ProofError::TooMuch { what: "number of period records" });
    }
    let address = Address::parse(&kept.onion).map_err(ProofError::Address)?;
    let over = |period: Period| period.end().plus(RECORD_SLACK) <= now;
    let mut merged: Vec<(Period, Signed)> =
        kept.periods.iter().filter_map(|one| Some((period_of(&one.0)?, one.clone()))).filter(|(p, _)| !over(*p)).collect();
    for one in &offered.periods {
        let period = check_period(&address, &one.0, &one.1, kept.seal.is_some())?;
        if !over(period) && !merged.iter().any(|(known, _)| *known == period) {
            merged.push((period, one.clone()));
        }
    }
    merged.sort_by_key(|(period, _)| *period);
    if merged.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a.next() != *b)) {
        return Err(ProofError::Other { what: WHAT });
    }
    if merged.len() > MAX_PERIODS {
        return Err(ProofError::TooMuch { what: "number of period records" });
    }
    if !merged.iter().any(|(period, _)| *period == Period::at(now)) {
        return Err(ProofError::NoPeriod);
    }
    let periods = merged.into_iter().map(|(_, one)| one).collect();
    Ok(ServiceProof { onion: kept.onion.clone(), periods, access: offered.access, seal: kept.seal.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::{ContainerIdentity, DescriptorSigner};

    const NOW: UnixMs = UnixMs(1_790_000_000_000);
    const DAYS: u32 = 30;

    fn day(n: i64) -> UnixMs {
        NOW.plus(DurationMs::from_s(n * 86_400))
    }

    fn identity(seed: u8) -> ContainerIdentity {
        ContainerIdentity::from_seed([seed; 32]).unwrap()
    }

    /// A hundred days of an allocator that holds a proof and a publisher that is on on some of them, each with its own part of the work.
    fn live(on: impl Fn(i64) -> bool) -> (Option<i64>, usize) {
        let publisher = identity(1);
        let mut kept = publisher.pre_sign(NOW, DAYS, &mut rand::rng()).unwrap();
        let mut renewals = 0;
        for n in 0..100 {
            let now = day(n);
            let until = signed_until(&kept, now);
            if on(n) && due(until, now) {
                let offered = publisher.sign_further(until, now, DAYS, false, &mut rand::rng()).unwrap();
                let before = kept.periods.clone();
                kept = merge(&kept, &offered, now).unwrap();
                renewals += 1;
                assert!(kept.periods.len() <= 20, "what is over is forgotten: {}", kept.periods.len());
                let in_use = |p: &Signed| period_of(&p.0).unwrap().end().plus(RECORD_SLACK) > now;
                assert!(before.iter().filter(|p| in_use(p)).all(|p| kept.periods.contains(p)), "what is in use stays");
            }
            if DescriptorSigner::of(&kept, Period::at(now), now).is_err() {
                assert!(signed_until(&kept, now) <= now);
                return (Some(n), renewals);
            }
            assert!(signed_until(&kept, now) > now);
        }
        (None, renewals)
    }

    #[test]
    fn a_service_lives_while_its_publisher_comes_by() {
        assert_eq!(live(|_| true).0, None);
        assert_eq!(live(|n| n % 14 == 0).0, None, "one day in two weeks");
        // A week away at any time changes nothing.
        for gone in (0..90).step_by(9) {
            assert_eq!(live(|n| !(gone..gone + 7).contains(&n)).0, None, "{gone}");
        }
        let (ended, renewals) = live(|n| n == 15);
        assert_eq!(renewals, 1);
        assert!(ended.is_some_and(|n| (45..=50).contains(&n)), "past day 30 by being on once: {ended:?}");
        let (ended, renewals) = live(|_| false);
        assert_eq!(renewals, 0);
        assert!(ended.is_some_and(|n| (31..=35).contains(&n)), "{ended:?}");
        // Daily looks renew seldom: each hands over some more keys.
        assert!(live(|_| true).1 <= 50);
    }

    #[test]
    fn only_what_follows_on_and_holds_is_taken() {
        let (mine, other) = (identity(1), identity(2));
        let rng = &mut rand::rng();
        let kept = mine.pre_sign(NOW, 4, rng).unwrap();
        let until = signed_until(&kept, NOW);
        let further = mine.sign_further(until, NOW, DAYS, false, rng).unwrap();
        assert!(merge(&kept, &further, NOW).is_ok());
        let theirs = other.sign_further(until, NOW, DAYS, false, rng).unwrap();
        assert!(matches!(merge(&kept, &theirs, NOW), Err(ProofError::Other { .. })));
        let disguised = ServiceProof { onion: kept.onion.clone(), ..theirs };
        assert!(merge(&kept, &disguised, NOW).is_err(), "records of another service under this address");
        let mut gap = further.clone();
        gap.periods.remove(0);
        assert!(matches!(merge(&kept, &gap, NOW), Err(ProofError::Other { .. })));
        let mut swapped = further.clone();
        swapped.periods[0].1 = swapped.periods[1].1;
        assert!(merge(&kept, &swapped, NOW).is_err());
        let long = mine.pre_sign(NOW, crate::proof::MAX_DAYS_AHEAD, rng).unwrap();
        let mut too_long = further.clone();
        too_long.periods = [long.periods.clone(), long.periods].concat();
        assert!(matches!(merge(&kept, &too_long, NOW), Err(ProofError::TooMuch { .. })));
        // After the end a publisher that returns signs anew.
        let late = day(60);
        assert!(merge(&kept, &further, late).is_err(), "only what is over");
        let anew = mine.sign_further(signed_until(&kept, late), late, DAYS, false, rng).unwrap();
        assert!(signed_until(&merge(&kept, &anew, late).unwrap(), late) > day(90));
        // A rotated access key comes with a renewal.
        let rotated = ServiceProof { access: Some([7; 32]), ..further };
        assert_eq!(merge(&kept, &rotated, NOW).unwrap().access, Some([7; 32]));
    }
}
