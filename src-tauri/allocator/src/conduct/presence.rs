//! When a device is there, learnt from its own past, and so how likely it stays.
//!
//! Being there means that it takes instances. It goes at a rate that depends on the hour of the week and on how long it has been there: people switch
//! computers off at the same hours, and who has been there for a day is likelier to stay than who came a minute ago. Departures and hours are
//! counted by both, older ones weighing less. What has seen few hours is drawn towards what has seen more: an hour of the week towards the
//! whole device, the device towards what its kind of power suggests.

use super::tally::{Faded, Rate};
use fogbank_model::{DurationMs, UnixMs};
use fogbank_rehearsal::{HOURS_OF_WEEK, Habit};
use serde::{Deserialize, Serialize};

const HOUR: DurationMs = DurationMs::from_s(3600);
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
/// A departure is foreseen for the hour in which it is after so long: time to bring up a copy elsewhere.
const FORESIGHT: DurationMs = DurationMs::from_s(15 * 60);
/// And only where it went in that hour of the week so often (a week ago counts for a little less than one) ...
const USUAL_DEPARTURES: f64 = 2.5;
/// ... on days on which it was there for so many hours in all, in that hour or the one before ...
const USUAL_DAYS: f64 = 1.5;
/// ... and on so many of these days.
const USUALLY: f64 = 0.6;
/// Before it is known, a device is away for so many hours at a time, as computers of a university are.
const USUALLY_AWAY_H: f64 = 4.25;
/// Nothing comes and goes oftener in a rehearsal: who toggles its lending on and off would have everybody wait for one.
const MOST_AN_HOUR: f64 = 12.0;
/// The coming time is looked at in steps of so long.
const STEP: DurationMs = DurationMs::from_s(5 * 60);

/// A device's being there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Presence {
    /// Hours there and departures by hour of the week, counted from a Thursday's midnight UTC.
    week: Vec<Rate>,
    /// Hours away and returns, likewise.
    away: Vec<Rate>,
    ages: [Rate; AGES.len() + 1],
    faded: Faded,
    /// Since when it is there, if it is.
    since: Option<UnixMs>,
    /// The hour, counted from 1970, of the departure that was counted last.
    went_in: i64,
    /// Up to when its being there, or away, is counted.
    counted: UnixMs,
}

impl Presence {
    pub(crate) fn new(now: UnixMs) -> Self {
        let week = vec![Rate::default(); HOURS_OF_WEEK];
        Self {
            away: week.clone(),
            week,
            ages: Default::default(),
            faded: Faded::new(now),
            since: None,
            went_in: i64::MIN,
            counted: now,
        }
    }

    /// Whether what was kept can be used.
    pub(super) fn is_sound(&self) -> bool {
        let weeks = [&self.week, &self.away];
        weeks.iter().all(|week| week.len() == HOURS_OF_WEEK)
            && self.week.iter().chain(&self.away).chain(&self.ages).all(Rate::is_sound)
    }

    /// It is there now.
    pub(crate) fn there(&mut self, now: UnixMs) {
        match self.since {
            Some(since) => self.count(now, |this, hours| this.at(now, since).for_each(|rate| rate.hours += hours)),
            None => {
                if let Some(hours) = self.looked_lately(now) {
                    self.away_at(now).for_each(|rate| {
                        rate.events += 1.0;
                        rate.hours += hours;
                    });
                }
                (self.since, self.counted) = (Some(now), now);
            }
        }
    }

    /// It is not there now. Whether it was seen to go: when it went while nobody looked, that is not counted.
    pub(crate) fn gone(&mut self, now: UnixMs) -> bool {
        let Some(since) = self.since.take() else {
            self.count(now, |this, hours| this.away_at(now).for_each(|rate| rate.hours += hours));
            return false;
        };
        let lately = self.looked_lately(now);
        if let Some(hours) = lately {
            self.fade(now);
            // Of several departures in one hour one counts: what is learnt is in how many weeks it goes then.
            let hour = now.0.div_euclid(HOUR.0);
            let event = if self.went_in == hour { 0.0 } else { 1.0 };
            self.went_in = hour;
            self.at(now, since).for_each(|rate| {
                rate.events += event;
                rate.hours += hours;
            });
        }
        self.counted = now;
        lately.is_some()
    }

    /// The hours since it was looked at last, unless that is too long ago.
    fn looked_lately(&self, now: UnixMs) -> Option<f64> {
        let passed = now.since(self.counted);
        (DurationMs(0)..=LONGEST_GAP).contains(&passed).then_some(passed.0 as f64 / HOUR.0 as f64)
    }

    /// Counts the time since it was counted last, in hours, when that is a piece and somebody looked.
    fn count(&mut self, now: UnixMs, add: impl FnOnce(&mut Self, f64)) {
        let passed = now.since(self.counted);
        if (DurationMs(0)..PIECE).contains(&passed) {
            return;
        }
        if let Some(hours) = self.looked_lately(now) {
            self.fade(now);
            add(self, hours);
        }
        self.counted = now;
    }

    pub(crate) fn is_there(&self) -> bool {
        self.since.is_some()
    }

    /// Whether it was when it was looked at last, and that was lately.
    pub(crate) fn was_there_lately(&self, now: UnixMs) -> bool {
        self.is_there() && self.looked_lately(now).is_some()
    }

    /// Since when, if it is.
    pub(crate) fn since(&self) -> Option<UnixMs> {
        self.since
    }

    /// Hours for which it was watched, older ones weighing less.
    pub(crate) fn watched(&self) -> f64 {
        self.week.iter().chain(&self.away).map(|rate| rate.hours).sum()
    }

    /// How it comes and goes, for rehearsals. `usual` as in [`Self::stays`].
    pub(crate) fn habit(&self, usual: f64) -> Habit {
        let whole = sum(&self.week).drawn_to(1.0 / usual, KIND_HOURS);
        let back = sum(&self.away).drawn_to(1.0 / USUALLY_AWAY_H, KIND_HOURS);
        let by_hour = |of: &[Rate], whole| of.iter().map(|hour| hour.drawn_to(whole, DEVICE_HOURS).min(MOST_AN_HOUR)).collect();
        let ages = (0..self.ages.len())
            .map(|class| (AGES.get(class).copied().unwrap_or_default(), self.age_factor(class, whole, usual)));
        Habit { leaves: by_hour(&self.week, whole), returns: by_hour(&self.away, back), by_age: ages.collect() }
    }

    /// Probability that it stays for so long, if it is there now. `usual`: how many hours devices of its kind are there at a time.
    pub(crate) fn stays(&self, span: DurationMs, usual: f64, now: UnixMs) -> f64 {
        let whole = self
            .week
            .iter()
            .fold(Rate::default(), |sum, hour| Rate { events: sum.events + hour.events, hours: sum.hours + hour.hours });
        let whole = whole.drawn_to(1.0 / usual, KIND_HOURS);
        // It may lie ahead where the clock was set back.
        let since = self.since.unwrap_or(now).min(now);
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

    /// Whether it is there and about to go, as it does at this hour of the week.
    pub(crate) fn goes_soon(&self, now: UnixMs) -> bool {
        let hour = hour_of_week(now.plus(FORESIGHT));
        let at = |hour: usize| self.week.get(hour % HOURS_OF_WEEK).copied().unwrap_or_default();
        let days = at(hour + HOURS_OF_WEEK - 1).hours.max(at(hour).hours);
        let departures = at(hour).events;
        self.is_there() && departures >= USUAL_DEPARTURES && departures >= USUALLY * days && days >= USUAL_DAYS
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

    fn away_at(&mut self, now: UnixMs) -> impl Iterator<Item = &mut Rate> {
        self.away.get_mut(hour_of_week(now)).into_iter()
    }

    fn fade(&mut self, now: UnixMs) {
        if let Some(by) = self.faded.by(HALF_LIFE, now) {
            self.week.iter_mut().chain(&mut self.away).chain(&mut self.ages).for_each(|rate| rate.fade(by));
        }
    }
}

fn sum(of: &[Rate]) -> Rate {
    let add = |sum: Rate, hour: &Rate| Rate { events: sum.events + hour.events, hours: sum.hours + hour.hours };
    of.iter().fold(Rate::default(), add)
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
