//! How a device comes and goes.

use fogbank_model::{DurationMs, UnixMs};
use rand::{Rng, RngExt as _};

/// Hours of a week, counted from a Thursday's midnight UTC, as the days of Unix time are.
pub const HOURS_OF_WEEK: usize = 7 * 24;
const HOUR_MS: i64 = 3_600_000;
/// The longest that anything is looked ahead: nothing that is drawn is later, so that nothing overflows.
const HORIZON_MS: i64 = 10 * 365 * 24 * HOUR_MS;

/// A device's coming and going.
#[derive(Debug, Clone)]
pub enum Churn {
    /// Times there follow a Weibull distribution, times away an exponential one, whatever the hour.
    Usual {
        /// Of the Weibull distribution; below 1, who has been there for long is likelier to stay. At least 0.1 counts.
        shape: f64,
        /// Hours there at a time, on average.
        there_h: f64,
        /// Hours away at a time, on average.
        away_h: f64,
    },
    /// As it was seen to do.
    Habit(Box<Habit>),
}

/// How often a device was seen to go and to come back.
#[derive(Debug, Clone)]
pub struct Habit {
    /// Departures an hour while it is there, by hour of the week: [`HOURS_OF_WEEK`] of them.
    pub leaves: Vec<f64>,
    /// Returns an hour while it is away, likewise.
    pub returns: Vec<f64>,
    /// How much more often it goes when it has been there for less than this; the last one holds from there on.
    pub by_age: Vec<(DurationMs, f64)>,
}

impl Churn {
    /// When a device that is there since `since` goes, seen at `now`.
    pub fn goes(&self, since: UnixMs, now: UnixMs, rng: &mut impl Rng) -> UnixMs {
        match self {
            Self::Usual { shape, there_h, .. } => {
                let shape = if shape.is_finite() { shape.clamp(0.1, 10.0) } else { 1.0 };
                let scale_ms = positive(*there_h) * HOUR_MS as f64 / gamma(1.0 + 1.0 / shape);
                // Of those that were there for so long already.
                let survived = (now.since(since).0.max(0) as f64 / scale_ms).powf(shape);
                later(since, scale_ms * (survived + exponential(rng)).powf(1.0 / shape)).max(now)
            }
            Self::Habit(habit) => habit.reaches(now, exponential(rng), |habit, at| {
                let age = at.since(since);
                let factor = habit.by_age.iter().find(|(upto, _)| age < *upto).or(habit.by_age.last()).map_or(1.0, |(_, f)| *f);
                rate(&habit.leaves, at) * factor
            }),
        }
    }

    /// When one that is away at `now` is back.
    pub fn returns(&self, now: UnixMs, rng: &mut impl Rng) -> UnixMs {
        match self {
            Self::Usual { away_h, .. } => later(now, positive(*away_h) * HOUR_MS as f64 * exponential(rng)),
            Self::Habit(habit) => habit.reaches(now, exponential(rng), |habit, at| rate(&habit.returns, at)),
        }
    }
}

impl Habit {
    /// When events that come at a rate have come so often, on average.
    fn reaches(&self, now: UnixMs, events: f64, rate: impl Fn(&Self, UnixMs) -> f64) -> UnixMs {
        // Rates change with the hour; within one they are looked at often enough for what changes with age.
        const PIECE_MS: i64 = HOUR_MS / 12;
        // What has not happened after so many weeks never does.
        const WEEKS: i64 = 8;
        let (mut at, mut left) = (now, events);
        while at.since(now).0 < WEEKS * HOURS_OF_WEEK as i64 * HOUR_MS {
            let end = UnixMs((at.0.div_euclid(PIECE_MS) + 1) * PIECE_MS);
            let here = rate(self, at) * end.since(at).0 as f64 / HOUR_MS as f64;
            if here >= left {
                return later(at, end.since(at).0 as f64 * left / here);
            }
            left -= here;
            at = end;
        }
        now.plus(DurationMs(HORIZON_MS))
    }
}

fn rate(by_hour: &[f64], at: UnixMs) -> f64 {
    let hour = usize::try_from(at.0.div_euclid(HOUR_MS).rem_euclid(HOURS_OF_WEEK as i64)).unwrap_or(0);
    by_hour.get(hour).copied().filter(|rate| rate.is_finite()).unwrap_or(0.0).max(0.0)
}

fn positive(hours: f64) -> f64 {
    if hours.is_finite() { hours.max(1e-3) } else { 1e6 }
}

fn exponential(rng: &mut impl Rng) -> f64 {
    -(1.0 - rng.random::<f64>()).ln()
}

/// A moment so much later, no later than anything is looked ahead.
fn later(at: UnixMs, ms: f64) -> UnixMs {
    at.plus(DurationMs(ms.clamp(1.0, HORIZON_MS as f64) as i64))
}

/// Γ(x) for x in 1.1 to 11, by Stirling's series after shifting; exact to nine digits.
fn gamma(x: f64) -> f64 {
    let (mut shifted, mut below) = (x, 1.0);
    while shifted < 12.0 {
        below *= shifted;
        shifted += 1.0;
    }
    let series = 1.0 + 1.0 / (12.0 * shifted) + 1.0 / (288.0 * shifted.powi(2)) - 139.0 / (51_840.0 * shifted.powi(3));
    (std::f64::consts::TAU / shifted).sqrt() * (shifted / std::f64::consts::E).powf(shifted) * series / below
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng as _, rngs::StdRng};

    const NOW: UnixMs = UnixMs(HOUR_MS * HOURS_OF_WEEK as i64 * 2_900);

    fn mean(of: impl Fn(&mut StdRng) -> UnixMs) -> f64 {
        let mut rng = StdRng::seed_from_u64(1);
        (0..20_000).map(|_| of(&mut rng).since(NOW).0 as f64 / HOUR_MS as f64).sum::<f64>() / 20_000.0
    }

    #[test]
    fn gamma_is_the_factorial_between_whole_numbers_too() {
        for (x, value) in [(2.0, 1.0), (5.0, 24.0), (1.5, 0.886_226_925_5), (3.222_222_222, 2.478_593_99)] {
            assert!((gamma(x) / value - 1.0).abs() < 1e-6, "Γ({x}) = {}", gamma(x));
        }
    }

    #[test]
    fn the_usual_device_is_there_and_away_for_as_long_as_said() {
        let usual = Churn::Usual { shape: 0.45, there_h: 13.7, away_h: 4.25 };
        let there = mean(|rng| usual.goes(NOW, NOW, rng));
        let away = mean(|rng| usual.returns(NOW, rng));
        assert!((there / 13.7 - 1.0).abs() < 0.06 && (away / 4.25 - 1.0).abs() < 0.03, "{there} {away}");
        let stayed = NOW.plus(DurationMs(-24 * HOUR_MS));
        assert!(mean(|rng| usual.goes(stayed, NOW, rng)) > 2.0 * there, "who has been there for a day stays longer");
        // Without memory, what was is of no matter.
        let forgetful = Churn::Usual { shape: 1.0, there_h: 10.0, away_h: 1.0 };
        assert!((mean(|rng| forgetful.goes(stayed, NOW, rng)) / 10.0 - 1.0).abs() < 0.03);
    }

    #[test]
    fn a_habit_is_kept_by_the_hour_and_by_age() {
        let mut leaves = vec![0.0; HOURS_OF_WEEK];
        leaves[18] = 1e6;
        let habit = Habit { leaves, returns: vec![0.5; HOURS_OF_WEEK], by_age: Vec::new() };
        let office = Churn::Habit(Box::new(habit.clone()));
        let goes = mean(|rng| office.goes(NOW, NOW, rng));
        assert!((goes - 18.0).abs() < 0.01, "{goes}");
        let returns = mean(|rng| office.returns(NOW, rng));
        assert!((returns - 2.0).abs() < 0.05, "{returns}");
        let young =
            Habit { leaves: vec![1.0; HOURS_OF_WEEK], by_age: vec![(DurationMs(HOUR_MS), 0.0), (DurationMs(0), 1.0)], ..habit };
        let goes = mean(|rng| Churn::Habit(Box::new(young.clone())).goes(NOW, NOW, rng));
        assert!((goes - 2.0).abs() < 0.05, "nobody goes in the first hour: {goes}");
    }

    #[test]
    fn what_never_happens_and_numbers_that_are_none_end_as_well() {
        let never = Churn::Habit(Box::new(Habit { leaves: Vec::new(), returns: vec![f64::NAN; 3], by_age: Vec::new() }));
        let odd = Churn::Usual { shape: f64::NAN, there_h: f64::INFINITY, away_h: -1.0 };
        let mut rng = StdRng::seed_from_u64(1);
        for churn in [never, odd] {
            assert!(churn.goes(NOW, NOW, &mut rng) > NOW);
            assert!(churn.returns(NOW, &mut rng) > NOW);
        }
    }
}
