//! When a device is there, learnt from its own past, and so how likely it stays.
//!
//! Being there means that it takes instances. It goes at a rate that depends on the hour of the week and on how long it has been there: people switch
//! computers off at the same hours, and who has been there for a day is likelier to stay than who came a minute ago. Departures and hours are
//! counted by both, older ones weighing less. What has seen few hours is drawn towards what has seen more: an hour of the week towards the
//! whole device, the device towards what its kind of power suggests.

use super::tally::{Faded, Rate};
use fogbank_model::{DurationMs, UnixMs};
use serde::{Deserialize, Serialize};

const HOUR: DurationMs = DurationMs::from_s(3600);
const HOURS_OF_WEEK: usize = 7 * 24;
/// How long it has been there: up to five minutes, an hour, six hours, and longer.
const AGES: [DurationMs; 3] = [DurationMs::from_s(5 * 60), HOUR, DurationMs::from_s(6 * 3600)];
/// Four weeks ago weighs half: a term's timetable is learnt, and unlearnt in the holidays.
const HALF_LIFE: DurationMs = DurationMs::from_s(28 * 24 * 3600);
/// What a device's kind suggests weighs as much as so many hours of its own. The mean of what is unknown may be off by a lot.
const KIND_HOURS: f64 = 24.0;
/// The whole device weighs, at each hour of the week, as much as so many hours there: one that always goes at the same hour is known after a
/// few weeks.
const DEVICE_HOURS: f64 = 2.0;
/// How much more often its kind goes at an age than at others weighs as much as so many departures.
const AGE_EVENTS: f64 = 2.0;
/// Times of being there follow a Weibull distribution of this shape, as those of a university's computers do: most that go have only come. For
/// other kinds of devices the same is assumed.
const SHAPE: f64 = 0.45;
/// The mean of such a distribution over its scale: Γ(1 + 1 / shape).
const MEAN_OVER_SCALE: f64 = 2.478;
/// The last age is taken to end so many means later.
const LAST_MEANS: f64 = 3.0;
/// Looks at the fog are closer together than this; in a longer gap (the allocator was off) nobody knows who was there.
const LONGEST_GAP: DurationMs = DurationMs::from_s(30);
/// Being there is counted in pieces of at least this, at the hour in which each ends.
const PIECE: DurationMs = DurationMs::from_s(10);
/// The coming time is looked at in steps of so long.
const STEP: DurationMs = DurationMs::from_s(5 * 60);

/// A device's being there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Presence {
    /// By hour of the week, counted from a Thursday's midnight UTC.
    week: Vec<Rate>,
    ages: [Rate; AGES.len() + 1],
    faded: Faded,
    /// Since when it is there, if it is.
    since: Option<UnixMs>,
    /// Up to when its being there is counted.
    counted: UnixMs,
}

impl Presence {
    pub(crate) fn new(now: UnixMs) -> Self {
        let week = vec![Rate::default(); HOURS_OF_WEEK];
        Self { week, ages: Default::default(), faded: Faded::new(now), since: None, counted: now }
    }

    /// Whether what was kept can be used.
    pub(super) fn is_sound(&self) -> bool {
        self.week.len() == HOURS_OF_WEEK && self.week.iter().chain(&self.ages).all(Rate::is_sound)
    }

    /// It is there now.
    pub(crate) fn there(&mut self, now: UnixMs) {
        let Some(since) = self.since else {
            (self.since, self.counted) = (Some(now), now);
            return;
        };
        let passed = now.since(self.counted);
        if (DurationMs(0)..PIECE).contains(&passed) {
            return;
        }
        self.counted = now;
        if (PIECE..=LONGEST_GAP).contains(&passed) {
            self.fade(now);
            let hours = passed.0 as f64 / HOUR.0 as f64;
            self.at(now, since).for_each(|rate| rate.hours += hours);
        }
    }

    /// It is not there now. Whether it was seen to go: when it went while nobody looked, that is not counted.
    pub(crate) fn gone(&mut self, now: UnixMs) -> bool {
        let Some(since) = self.since.take() else { return false };
        let seen = (DurationMs(0)..=LONGEST_GAP).contains(&now.since(self.counted));
        if seen {
            self.fade(now);
            self.at(now, since).for_each(|rate| rate.events += 1.0);
        }
        seen
    }

    pub(crate) fn is_there(&self) -> bool {
        self.since.is_some()
    }

    /// Probability that it stays for so long, if it is there now. `usual`: how many hours devices of its kind are there at a time.
    pub(crate) fn stays(&self, span: DurationMs, usual: f64, now: UnixMs) -> f64 {
        let whole = self
            .week
            .iter()
            .fold(Rate::default(), |sum, hour| Rate { events: sum.events + hour.events, hours: sum.hours + hour.hours });
        let whole = whole.drawn_to(1.0 / usual, KIND_HOURS);
        let since = self.since.unwrap_or(now);
        let (mut at, end, mut departures) = (now, now.plus(span), 0.0);
        while at < end {
            let step = STEP.min(end.since(at));
            let middle = at.plus(DurationMs(step.0 / 2));
            let hour = self.week.get(hour_of_week(middle)).copied().unwrap_or_default().drawn_to(whole, DEVICE_HOURS);
            departures += hour * self.age_factor(class(middle.since(since)), whole, usual) * step.0 as f64 / HOUR.0 as f64;
            at = at.plus(step);
        }
        (-departures).exp()
    }

    /// How much more often it goes at this age than at others.
    fn age_factor(&self, class: usize, whole: f64, usual: f64) -> f64 {
        let seen = self.ages.get(class).copied().unwrap_or_default();
        (seen.events + AGE_EVENTS) / (seen.hours * whole + AGE_EVENTS / usual_factor(class, usual))
    }

    /// What is counted at a moment.
    fn at(&mut self, now: UnixMs, since: UnixMs) -> impl Iterator<Item = &mut Rate> {
        self.week.get_mut(hour_of_week(now)).into_iter().chain(self.ages.get_mut(class(now.since(since))))
    }

    fn fade(&mut self, now: UnixMs) {
        if let Some(by) = self.faded.by(HALF_LIFE, now) {
            self.week.iter_mut().chain(&mut self.ages).for_each(|rate| rate.fade(by));
        }
    }
}

/// The same of its kind, of which each is there for so many hours on average.
fn usual_factor(class: usize, mean: f64) -> f64 {
    let hours = |age: Option<&DurationMs>| age.map(|age| age.0 as f64 / HOUR.0 as f64);
    let from = class.checked_sub(1).and_then(|before| hours(AGES.get(before))).unwrap_or(0.0);
    let to = hours(AGES.get(class)).unwrap_or(from + LAST_MEANS * mean);
    let departures = |at: f64| (at * MEAN_OVER_SCALE / mean).powf(SHAPE);
    (departures(to) - departures(from)) / (to - from) * mean
}

fn hour_of_week(at: UnixMs) -> usize {
    usize::try_from(at.0.div_euclid(HOUR.0).rem_euclid(HOURS_OF_WEEK as i64)).unwrap_or(0)
}

fn class(age: DurationMs) -> usize {
    AGES.iter().filter(|upto| age >= **upto).count()
}

#[cfg(test)]
#[path = "presence_tests.rs"]
mod tests;
