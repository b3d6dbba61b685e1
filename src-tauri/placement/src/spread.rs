//! Spreading what is asked for over the chosen devices: each gets what one copy needs, the rest in proportion to what it has free.

use crate::types::Problem;
use fogbank_model::{DeviceId, Dimension, Resources};

/// y for a choice; `None` when the choice does not cover the request.
pub(crate) fn over(problem: &Problem, chosen: &[usize]) -> Option<Vec<(DeviceId, Resources)>> {
    let candidates: Vec<_> = chosen.iter().map(|i| &problem.candidates[*i]).collect();
    let mut given = vec![Resources::ZERO; candidates.len()];
    for dimension in Dimension::ALL {
        let least = problem.request.minimum.get(dimension);
        let spare: Vec<u64> = candidates.iter().map(|c| c.free.get(dimension).checked_sub(least)).collect::<Option<_>>()?;
        let base = least.checked_mul(candidates.len() as u64)?;
        let rest = problem.request.requirements.get(dimension).saturating_sub(base);
        for (given, part) in given.iter_mut().zip(share(rest, &spare)?) {
            given.set(dimension, least + part);
        }
    }
    Some(candidates.iter().map(|c| c.id).zip(given).collect())
}

/// Splits an amount in proportion to what each can take, in whole units that sum up exactly.
fn share(amount: u64, room: &[u64]) -> Option<Vec<u64>> {
    let total: u128 = room.iter().map(|r| u128::from(*r)).sum();
    if u128::from(amount) > total {
        return None;
    }
    let mut parts = Vec::with_capacity(room.len());
    let (mut left, mut room_left) = (u128::from(amount), total);
    for r in room {
        let r = u128::from(*r);
        // Rounded up against what is left: never more than r, and the last one comes out even.
        let part = if room_left == 0 { 0 } else { (left * r).div_ceil(room_left) };
        parts.push(u64::try_from(part).ok()?);
        left -= part;
        room_left -= r;
    }
    Some(parts)
}
