//! Devices with habits, in virtual time.

use super::*;
use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::StdRng};

/// A midnight that begins a week as it is counted.
const BEGIN: UnixMs = UnixMs(7 * 24 * 3_600_000 * 2_958);
const DAY: DurationMs = DurationMs::from_s(24 * 3600);
const USUAL: f64 = 13.7;

fn hours(n: f64) -> DurationMs {
    DurationMs((n * HOUR.0 as f64) as i64)
}

/// Looks at it twice a minute for so many days; it is there when `there` says so of the hours since the beginning.
fn watch(presence: &mut Presence, days: i64, there: impl Fn(f64) -> bool) -> UnixMs {
    let mut now = BEGIN;
    while now < BEGIN.plus(DurationMs(days * DAY.0)) {
        if there(now.since(BEGIN).0 as f64 / HOUR.0 as f64) {
            presence.there(now);
        } else {
            presence.gone(now);
        }
        now = now.plus(LONGEST_GAP);
    }
    now
}

#[test]
fn of_a_newcomer_its_kind_is_believed() {
    let mut new = Presence::new(BEGIN);
    new.there(BEGIN);
    // Of a Weibull distribution of that shape and mean, so many are there after an hour, and after seven of those that were after six.
    let after = |hours: f64| (-(hours * MEAN_OVER_SCALE / USUAL).powf(SHAPE)).exp();
    let stays = new.stays(HOUR, USUAL, BEGIN);
    assert!((stays - after(1.0)).abs() < 1e-9, "{stays}");
    let stays = new.stays(HOUR, USUAL, BEGIN.plus(hours(6.0)));
    assert!((stays - after(7.0) / after(6.0)).abs() < 0.04, "{stays}");
}

#[test]
fn the_hour_at_which_it_goes_is_learnt_and_forgotten() {
    // There from nine to six on five days of the week, six weeks long.
    let office = |h: f64| (9.0..18.0).contains(&(h % 24.0)) && h % 168.0 < 120.0;
    let mut presence = Presence::new(BEGIN);
    watch(&mut presence, 42, office);
    let stays = |presence: &Presence, day: i64, hour: f64| {
        presence.stays(HOUR, USUAL, BEGIN.plus(DurationMs(day * DAY.0)).plus(hours(hour)))
    };
    let mut at_ten = presence.clone();
    at_ten.since = Some(BEGIN.plus(DurationMs(42 * DAY.0)).plus(hours(9.0)));
    assert!(stays(&at_ten, 42, 10.0) > 0.95, "{}", stays(&at_ten, 42, 10.0));
    assert!(stays(&at_ten, 42, 17.5) < 0.35, "{}", stays(&at_ten, 42, 17.5));
    for (hour, soon) in [(10.0, false), (17.5, false), (17.8, true), (18.5, true), (19.0, false)] {
        assert_eq!(at_ten.goes_soon(BEGIN.plus(DurationMs(42 * DAY.0)).plus(hours(hour))), soon, "{hour}");
    }
    assert!(!presence.goes_soon(BEGIN.plus(DurationMs(42 * DAY.0)).plus(hours(17.8))), "it is not there");
    // From then on it stays on for half a year.
    let mut later = presence;
    let mut now = BEGIN.plus(DurationMs(42 * DAY.0));
    for _ in 0..(180 * 24 * 120) {
        later.there(now);
        now = now.plus(LONGEST_GAP);
    }
    assert!(stays(&later, 222, 17.5) > 0.85, "{}", stays(&later, 222, 17.5));
    assert!(!later.goes_soon(BEGIN.plus(DurationMs(222 * DAY.0)).plus(hours(17.8))));
}

#[test]
fn what_is_said_comes_true() {
    // On for times of a Weibull distribution of shape 0.45 and mean 13.7 h, off for 4.25 h on average, as computers of a university are.
    let mut rng = StdRng::seed_from_u64(1);
    let scale = USUAL / MEAN_OVER_SCALE;
    let mut said: [(f64, f64, u32); 4] = Default::default();
    let mut foreseen = 0;
    for _ in 0..60 {
        let (mut presence, mut now) = (Presence::new(BEGIN), BEGIN);
        let learnt = BEGIN.plus(DurationMs(30 * DAY.0));
        while now < BEGIN.plus(DurationMs(60 * DAY.0)) {
            let up = scale * (-(1.0 - rng.random::<f64>()).ln()).powf(1.0 / SHAPE);
            let end = now.plus(hours(up.min(24.0 * 60.0)));
            let (began, mut asked) = (now, now);
            while now < end {
                presence.there(now);
                if now >= learnt && now >= asked {
                    let of = &mut said[class(now.since(began))];
                    foreseen += u32::from(presence.goes_soon(now));
                    *of = (of.0 + presence.stays(HOUR, USUAL, now), of.1 + f64::from(end.since(now) >= HOUR), of.2 + 1);
                    asked = now.plus(DurationMs(600_000));
                }
                now = now.plus(LONGEST_GAP);
            }
            presence.gone(now);
            let down = -4.25 * (1.0 - rng.random::<f64>()).ln();
            now = now.plus(hours(down)).plus(LONGEST_GAP);
        }
    }
    for (class, (said, true_, times)) in said.into_iter().enumerate() {
        let (said, came) = (said / f64::from(times), true_ / f64::from(times));
        assert!((said - came).abs() < 0.08, "of age {class} ({times} times): said {said:.3}, came true {came:.3}");
    }
    let asked: u32 = said.iter().map(|of| of.2).sum();
    assert!(f64::from(foreseen) < 0.01 * f64::from(asked), "of no habit {foreseen} of {asked}");
    let all = said.iter().fold((0.0, 0.0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1, sum.2 + of.2));
    let (said, came) = (all.0 / f64::from(all.2), all.1 / f64::from(all.2));
    assert!((said - came).abs() < 0.02, "said {said:.3}, came true {came:.3}");
}

#[test]
fn a_gap_in_which_nobody_looked_counts_for_nothing() {
    let mut presence = Presence::new(BEGIN);
    watch(&mut presence, 1, |_| true);
    let before = presence.clone();
    let later = BEGIN.plus(DurationMs(3 * DAY.0));
    presence.gone(later);
    assert_eq!((presence.week.clone(), presence.ages), (before.week.clone(), before.ages));
    assert!(!presence.is_there());
    let mut stayed = before.clone();
    stayed.there(later);
    assert_eq!(stayed.week, before.week);
    assert_eq!(stayed.since, before.since, "it was there all the while, or nobody knows better");
}

#[test]
fn what_is_rehearsed_is_what_was_seen() {
    // There from nine to six each day.
    let mut presence = Presence::new(BEGIN);
    watch(&mut presence, 28, |h| (9.0..18.0).contains(&(h % 24.0)));
    let habit = presence.habit(USUAL);
    let most = |of: &[f64]| (0..24).max_by(|a, b| of[*a].total_cmp(&of[*b])).unwrap();
    assert_eq!((most(&habit.leaves), most(&habit.returns)), (18, 9));
    assert!(habit.returns[9] > 20.0 * habit.returns[3] && habit.leaves[18] > 10.0 * habit.leaves[12]);
    assert!((presence.watched() - 28.0 * 24.0).abs() < 0.35 * 28.0 * 24.0, "{}", presence.watched());
    // Of one that nobody knows, what is usual: those that have just come go most.
    let new = Presence::new(BEGIN).habit(USUAL);
    assert!(new.by_age[0].1 > 5.0 * new.by_age[2].1 && new.by_age[3].1 < 1.0, "{:?}", new.by_age);
    assert!((new.leaves[5] - 1.0 / USUAL).abs() < 1e-9 && (new.returns[5] - 1.0 / USUALLY_AWAY_H).abs() < 1e-9);
}

proptest! {
    #[test]
    fn whatever_clocks_do_it_is_a_probability(
        steps in prop::collection::vec((any::<bool>(), -100_000_000i64..100_000_000), 1..200),
        usual in 0.01f64..1_000.0,
    ) {
        let (mut presence, mut now) = (Presence::new(BEGIN), BEGIN);
        for (there, step) in steps {
            now = now.plus(DurationMs(step));
            if there {
                presence.there(now);
            } else {
                presence.gone(now);
            }
            prop_assert!(presence.is_sound());
            let [short, long] = [HOUR, DAY].map(|span| presence.stays(span, usual, now));
            prop_assert!((0.0..=1.0).contains(&long) && long <= short && short <= 1.0, "{} {}", short, long);
        }
    }
}
