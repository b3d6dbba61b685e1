//! Splitting what is asked for over the chosen devices, by water filling: every device is loaded to the same share of what it has free, save
//! that none gets less than one copy needs. So no device is loaded more than another unless one copy alone does it.

use crate::{problem::Problem, types::Request};
use fogbank_model::{DeviceId, Dimension, Resources};

/// y for a choice: in each dimension `m ≤ y_d ≤ free_d` and Σ y_d = max(R, copies · m), exactly. `None` when the choice does not cover the
/// request.
pub(crate) fn over(problem: &Problem, chosen: &[usize]) -> Option<Vec<(DeviceId, Resources)>> {
    let devices: Vec<(DeviceId, Resources)> = problem.of(chosen).map(|c| (c.id, c.free)).collect();
    over_devices(&problem.request, &devices)
}

/// The same for devices with what they have free.
pub(crate) fn over_devices(request: &Request, devices: &[(DeviceId, Resources)]) -> Option<Vec<(DeviceId, Resources)>> {
    let mut given: Vec<(DeviceId, Resources)> = devices.iter().map(|(id, _)| (*id, Resources::ZERO)).collect();
    for dimension in Dimension::ALL {
        let free: Vec<u64> = devices.iter().map(|(_, free)| free.get(dimension)).collect();
        let parts = fill(request.requirements.get(dimension), request.minimum.get(dimension), &free)?;
        for ((_, given), part) in given.iter_mut().zip(parts) {
            given.set(dimension, part);
        }
    }
    Some(given)
}

/// One dimension: `least` to those whose share of the rest would be less, to the others in proportion to what they have free.
fn fill(amount: u64, least: u64, free: &[u64]) -> Option<Vec<u64>> {
    if free.iter().any(|f| *f < least) {
        return None;
    }
    let mut left = u128::from(amount);
    let mut room: u128 = free.iter().map(|f| u128::from(*f)).sum();
    if left > room {
        return None;
    }
    // The smallest first: a device whose share is enough leaves enough for every larger one.
    let mut order: Vec<usize> = (0..free.len()).collect();
    order.sort_by_key(|i| (free[*i], *i));
    let mut parts = vec![least; free.len()];
    let mut order = order.into_iter().peekable();
    while let Some(i) = order.next_if(|i| left * u128::from(free[*i]) < u128::from(least) * room) {
        left = left.saturating_sub(u128::from(least));
        room -= u128::from(free[i]);
    }
    // Rounded where the running sums pass whole numbers, so each is at most one off its share and the sum is exact.
    let (mut filled, mut given) = (0, 0);
    for i in order {
        filled += u128::from(free[i]);
        let until = (left * filled).checked_div(room).unwrap_or(0);
        parts[i] = u64::try_from(until - given).ok()?;
        given = until;
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_large_device_gets_more_and_a_small_one_what_a_copy_needs() {
        assert_eq!(fill(100, 10, &[100, 300]).unwrap(), [25, 75]);
        assert_eq!(fill(100, 30, &[100, 300]).unwrap(), [30, 70]);
        assert_eq!(fill(10, 30, &[100, 300]).unwrap(), [30, 30]);
        assert_eq!(fill(400, 30, &[100, 300]).unwrap(), [100, 300]);
        assert_eq!(fill(0, 0, &[0, 0]).unwrap(), [0, 0]);
        assert_eq!(fill(401, 30, &[100, 300]), None);
        assert_eq!(fill(100, 30, &[20, 300]), None);
    }

    proptest! {
        #[test]
        fn fills_exactly_and_evenly(least in 0u64..50, spare in prop::collection::vec(0u64..1_000, 1..12), part in 0u64..=1_000) {
            let free: Vec<u64> = spare.iter().map(|s| s + least).collect();
            let amount = free.iter().sum::<u64>() * part / 1_000;
            let parts = fill(amount, least, &free).unwrap();
            prop_assert_eq!(parts.iter().sum::<u64>(), amount.max(least * free.len() as u64));
            for (y, f) in parts.iter().zip(&free) {
                prop_assert!(least <= *y && y <= f, "{y} of {f}");
            }
            // Whoever has more than a copy needs is not loaded more than anyone else, to within a unit each.
            for (y, f) in parts.iter().zip(&free).filter(|(y, _)| **y > least) {
                for (other_y, other_f) in parts.iter().zip(&free).filter(|(_, f)| **f > 0) {
                    prop_assert!((*y as f64 - 1.0) / *f as f64 <= (*other_y as f64 + 1.0) / *other_f as f64, "{parts:?} of {free:?}");
                }
            }
        }
    }
}
