//! How devices have behaved, and what is expected of them for it: how likely each stays, how far its word can be relied on, and whether it is set
//! aside for a while because it keeps failing.
//!
//! What a device does by itself (it goes, it refuses the room that it offered) counts against the device. What takes a container to go wrong (it can't be
//! fetched or started) counts for the two together only: a publisher whose container starts nowhere must not bring devices into disrepute.
//! Pure but for the time that comes in. Kept in the store, but for failures with a container, which are of the last hour.

mod aside;
mod presence;
mod reliability;
mod tally;

use aside::Aside;
use fogbank_model::{ContainerId, DeviceId, DurationMs, UnixMs};
use fogbank_rehearsal::{Churn, Now};
use fogbank_wire::{Power, decode, encode};
use presence::Presence;
use reliability::{COMMITMENT, Deed, Reliability};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// A device's availability is the probability that one that is there now stays for so long. A copy that is lost is replaced within a minute or
/// two where there is room; an hour leaves a fog that has none time to find some.
pub(crate) const AHEAD: DurationMs = DurationMs::from_s(3600);

/// Kept this often while nothing but time passes.
const KEEP_EVERY: DurationMs = DurationMs::from_s(3600);
/// What is expected of a device is worked out anew after this.
const OUTLOOK: DurationMs = DurationMs::from_s(60);
/// Devices kept at a time: with a look a minute, all of 100,000 have their turn within the hour.
const KEPT_AT_ONCE: usize = 2_000;
/// Devices on which a container failed that are remembered, the latest: more are not tried within the hour.
pub(crate) const MAX_FAILED_ON: usize = 64;

/// So many may go at once by chance.
const FEW: usize = 3;

/// For how many hours at a time a device is expected to be there before it is known. Computers on mains for 13.7, as those of a university are; for
/// batteries there is no such figure, so these are guesses: an evening's use, and half of a charge.
const fn usual_stay(power: Option<Power>) -> f64 {
    match power {
        Some(Power::Mains) => 13.7,
        Some(Power::Battery { charging: true, .. }) => 6.0,
        Some(Power::Battery { charging: false, .. }) | None => 2.0,
    }
}

/// How a device stands to the fog at one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It takes instances.
    There,
    /// It is not connected just now, or has not reported yet.
    Unknown,
    /// It has said that it takes none any more.
    Left,
    /// It is gone without a word.
    Vanished,
}

/// One device's.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Conduct {
    presence: Presence,
    reliability: Reliability,
    aside: Aside,
    /// Since when it owes its commitment.
    committed: Option<UnixMs>,
}

impl Conduct {
    fn new(now: UnixMs) -> Self {
        let (presence, reliability) = (Presence::new(now), Reliability::new(now));
        Self { presence, reliability, aside: Aside::default(), committed: None }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let read = decode::<Self>(bytes).ok()?;
        (read.presence.is_sound() && read.reliability.is_sound()).then_some(read)
    }

    /// What it did by standing so now.
    fn see(&mut self, standing: Standing, hosts: bool, now: UnixMs) -> Option<Deed> {
        match standing {
            Standing::Unknown => None,
            Standing::There => {
                self.presence.there(now);
                let owes = now.since(self.committed?);
                // A clock that was set back is no reason to owe for longer.
                if (DurationMs(0)..COMMITMENT).contains(&owes) {
                    return None;
                }
                self.committed = (owes < DurationMs(0)).then_some(now);
                self.committed.is_none().then_some(Deed::Stayed)
            }
            Standing::Left | Standing::Vanished => {
                let word = standing == Standing::Left;
                let (seen, early) = (self.presence.gone(now), self.committed.take().is_some());
                match (early, word) {
                    _ if !seen => None,
                    (true, true) => Some(Deed::LeftEarly),
                    (true, false) => Some(Deed::VanishedEarly),
                    (false, false) if hosts => Some(Deed::Vanished),
                    (false, _) => None,
                }
            }
        }
    }
}

/// What is expected of a device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Expected {
    /// Probability in [0,1] that it stays for [`AHEAD`].
    pub(crate) availability: f64,
    /// Share in (0,1) of what it took on that it kept.
    pub(crate) reliability: f64,
    /// It is about to go, as it does at this hour of the week.
    pub(crate) goes_soon: bool,
    /// Failures in a row, and until when it is left alone for them.
    pub(crate) aside: Option<(u8, UnixMs)>,
}

struct Entry {
    conduct: Conduct,
    kept: UnixMs,
    /// It did something since it was kept.
    news: bool,
    /// How likely it stays and whether it goes soon, as worked out last: all devices are looked at four times a second, and hardly anything
    /// changes within [`OUTLOOK`].
    outlook: Option<Outlook>,
}

#[derive(Clone, Copy)]
struct Outlook {
    at: UnixMs,
    usual: f64,
    stays: f64,
    goes_soon: bool,
}

impl Entry {
    const fn new(conduct: Conduct, now: UnixMs) -> Self {
        Self { conduct, kept: now, news: false, outlook: None }
    }

    fn outlook(&mut self, usual: f64, now: UnixMs) -> Outlook {
        let fresh = |o: &Outlook| (DurationMs(0)..OUTLOOK).contains(&now.since(o.at)) && o.usual.to_bits() == usual.to_bits();
        if let Some(outlook) = self.outlook.filter(fresh) {
            return outlook;
        }
        let presence = &mut self.conduct.presence;
        let outlook = Outlook { at: now, usual, stays: presence.stays(AHEAD, usual, now), goes_soon: presence.goes_soon(now) };
        *self.outlook.insert(outlook)
    }
}

/// All devices' conduct.
#[derive(Default)]
pub(crate) struct Book {
    devices: HashMap<DeviceId, Entry>,
    /// Failures of containers on devices, the latest last.
    failures: HashMap<ContainerId, Vec<(DeviceId, Aside)>>,
}

impl Book {
    /// From what was kept. A record that can't be read is begun anew.
    pub(crate) fn load(kept: Vec<(DeviceId, Vec<u8>)>, now: UnixMs) -> Self {
        let entry = |(device, bytes): (DeviceId, Vec<u8>)| {
            let conduct = Conduct::read(&bytes).unwrap_or_else(|| {
                tracing::warn!(device = device.short(), "what was kept of a device's conduct can't be read: it begins anew");
                Conduct::new(now)
            });
            (device, Entry::new(conduct, now))
        };
        Self { devices: kept.into_iter().map(entry).collect(), failures: HashMap::new() }
    }

    fn of(&mut self, device: DeviceId, now: UnixMs) -> &mut Entry {
        self.devices.entry(device).or_insert_with(|| Entry::new(Conduct::new(now), now))
    }

    /// A device stands so now; `hosts`: instances live on it.
    fn see(&mut self, device: DeviceId, standing: Standing, hosts: bool, now: UnixMs) {
        if standing != Standing::There && !self.devices.contains_key(&device) {
            return;
        }
        let entry = self.of(device, now);
        let was = entry.conduct.presence.is_there();
        if let Some(deed) = entry.conduct.see(standing, hosts, now) {
            entry.conduct.reliability.did(deed, now);
            entry.news = true;
        }
        if entry.conduct.presence.is_there() != was {
            (entry.news, entry.outlook) = (true, None);
        }
    }

    /// All devices as they stand at one look; `hosts`: whether instances live on one. When most of those that were there are gone without a word at once, it is
    /// the allocator's own line that is down, and nobody is blamed.
    pub(crate) fn look(&mut self, standings: &[(DeviceId, Standing)], hosts: impl Fn(DeviceId) -> bool, now: UnixMs) {
        // Not for ever: who is not back after a while is gone, though nobody saw how.
        let was_there =
            |device: &DeviceId| self.devices.get(device).is_some_and(|entry| entry.conduct.presence.was_there_lately(now));
        let there = standings.iter().filter(|(device, _)| was_there(device)).count();
        let vanish = standings.iter().filter(|(device, standing)| *standing == Standing::Vanished && was_there(device)).count();
        let own_line = vanish >= FEW && 2 * vanish > there;
        for (device, standing) in standings {
            let standing = if own_line && *standing == Standing::Vanished { Standing::Unknown } else { *standing };
            self.see(*device, standing, hosts(*device), now);
        }
    }

    /// A device took an instance on.
    pub(crate) fn committed(&mut self, device: DeviceId, now: UnixMs) {
        let entry = self.of(device, now);
        entry.conduct.committed.get_or_insert(now);
        entry.news = true;
    }

    /// A device refused the room that it offers, or did not answer. Once is counted as long as it is set aside for that: several containers may have asked
    /// it at once.
    pub(crate) fn refused(&mut self, device: DeviceId, jitter: f64, now: UnixMs) {
        let entry = self.of(device, now);
        if entry.conduct.aside.until(now).is_some() {
            return;
        }
        entry.conduct.aside.failed(jitter, now);
        entry.conduct.reliability.did(Deed::Refused, now);
        entry.news = true;
    }

    /// A container did not come up on a device.
    pub(crate) fn failed(&mut self, container: ContainerId, device: DeviceId, jitter: f64, now: UnixMs) {
        if let Some(entry) = self.devices.get_mut(&device) {
            // What it took on it has not kept, whosever fault that was.
            entry.conduct.committed = None;
        }
        let on = self.failures.entry(container).or_default();
        let before = on.iter().position(|(id, _)| *id == device).map(|at| on.remove(at).1);
        let mut aside = before.unwrap_or_default();
        aside.failed(jitter, now);
        on.push((device, aside));
        on.drain(..on.len().saturating_sub(MAX_FAILED_ON));
    }

    /// A container's instance is ready on a device since that time. That ends a row of failures once it has been so for as long as the device committed
    /// itself: one that ends what it has just begun would else begin anew each time.
    pub(crate) fn ready(&mut self, container: ContainerId, device: DeviceId, at: UnixMs, now: UnixMs) {
        if now.since(at) < COMMITMENT {
            return;
        }
        if let Some(entry) = self.devices.get_mut(&device) {
            entry.conduct.aside.succeeded(at);
        }
        for (_, aside) in self.failures.get_mut(&container).into_iter().flatten().filter(|(id, _)| *id == device) {
            aside.succeeded(at);
        }
    }

    /// What is to be expected of a device of this power.
    pub(crate) fn expected(&mut self, device: DeviceId, power: Option<Power>, now: UnixMs) -> Expected {
        let usual = usual_stay(power);
        let Some(entry) = self.devices.get_mut(&device) else {
            let new = Conduct::new(now);
            let availability = new.presence.stays(AHEAD, usual, now);
            return Expected { availability, reliability: new.reliability.clone().score(now), goes_soon: false, aside: None };
        };
        let Outlook { stays, goes_soon, .. } = entry.outlook(usual, now);
        let conduct = &mut entry.conduct;
        let (reliability, aside) = (conduct.reliability.score(now), conduct.aside.until(now));
        Expected { availability: stays, reliability, goes_soon, aside }
    }

    /// How a device comes and goes, where it stands now, and for how many hours it was watched, for rehearsals.
    pub(crate) fn churn(&self, device: DeviceId, power: Option<Power>, now: UnixMs) -> (Churn, Now, f64) {
        let new = Presence::new(now);
        let presence = self.devices.get(&device).map_or(&new, |entry| &entry.conduct.presence);
        let stands = presence.since().map_or(Now::Away, Now::There);
        (Churn::Habit(Box::new(presence.habit(usual_stay(power)))), stands, presence.watched())
    }

    /// Devices on which a container is not to be tried just now.
    pub(crate) fn apart(&self, container: ContainerId, now: UnixMs) -> Vec<DeviceId> {
        let on = self.failures.get(&container).into_iter().flatten();
        on.filter(|(_, aside)| aside.until(now).is_some()).map(|(device, _)| *device).collect()
    }

    /// Forgets all others.
    pub(crate) fn retain(&mut self, devices: &HashSet<DeviceId>, containers: &HashSet<ContainerId>) {
        self.devices.retain(|device, _| devices.contains(device));
        self.failures.retain(|container, _| containers.contains(container));
    }

    /// Takes what is to be kept now: of devices that did something, and of others hourly; of `all` that are there when the allocator ends.
    pub(crate) fn due(&mut self, all: bool, now: UnixMs) -> Vec<(DeviceId, Vec<u8>)> {
        let most = if all { usize::MAX } else { KEPT_AT_ONCE };
        let due = |entry: &Entry| {
            entry.news
                || (entry.conduct.presence.is_there() && (all || !(DurationMs(0)..KEEP_EVERY).contains(&now.since(entry.kept))))
        };
        let mut taken = Vec::new();
        for (device, entry) in self.devices.iter_mut().filter(|(_, entry)| due(entry)).take(most) {
            if let Ok(bytes) = encode(&entry.conduct) {
                // What happens from here on is news again.
                (entry.kept, entry.news) = (now, false);
                taken.push((*device, bytes));
            }
        }
        taken
    }

    /// These could not be kept, and are due again.
    pub(crate) fn not_kept(&mut self, devices: &[(DeviceId, Vec<u8>)]) {
        for (device, _) in devices {
            if let Some(entry) = self.devices.get_mut(device) {
                entry.news = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_790_000_000_000);
    const DEVICE: DeviceId = DeviceId([1; 32]);
    const CONTAINER: ContainerId = ContainerId([7; 16]);

    fn after(s: i64) -> UnixMs {
        NOW.plus(DurationMs::from_s(s))
    }

    /// It is looked at each second, from one second to another.
    fn there(book: &mut Book, seconds: std::ops::Range<i64>) {
        seconds.for_each(|s| book.see(DEVICE, Standing::There, true, after(s)));
    }

    fn reliability(book: &mut Book, s: i64) -> f64 {
        book.expected(DEVICE, None, after(s)).reliability
    }

    #[test]
    fn who_stays_for_five_minutes_has_kept_its_word_and_who_goes_before_has_not() {
        let gone = |stays: i64, standing| {
            let mut book = Book::default();
            there(&mut book, 0..10);
            book.committed(DEVICE, after(10));
            there(&mut book, 10..10 + stays);
            book.see(DEVICE, standing, true, after(10 + stays));
            reliability(&mut book, 10 + stays)
        };
        assert!(gone(299, Standing::Left) < 0.8 && gone(301, Standing::Left) > 0.8);
        assert!(gone(299, Standing::Vanished) < gone(299, Standing::Left));
        assert!(gone(301, Standing::Vanished) < gone(301, Standing::Left));
        assert_eq!(gone(299, Standing::Unknown), 0.8, "a short interruption is none");
    }

    #[test]
    fn who_goes_while_the_allocator_is_off_is_not_blamed() {
        let mut book = Book::default();
        there(&mut book, 0..10);
        book.committed(DEVICE, after(10));
        let kept = book.due(true, after(10));
        let mut book = Book::load(kept, after(500));
        book.see(DEVICE, Standing::Vanished, true, after(520));
        assert_eq!(reliability(&mut book, 520), 0.8);
    }

    #[test]
    fn a_container_that_starts_nowhere_brings_no_device_into_disrepute() {
        let mut book = Book::default();
        there(&mut book, 0..10);
        let before = book.expected(DEVICE, None, after(10));
        (0..100).for_each(|_| book.failed(CONTAINER, DEVICE, 0.5, after(10)));
        assert_eq!(book.expected(DEVICE, None, after(10)), before);
        assert_eq!(book.apart(CONTAINER, after(11)), [DEVICE]);
        assert!(book.apart(ContainerId([8; 16]), after(11)).is_empty());
        book.ready(CONTAINER, DEVICE, after(12), after(300));
        assert_eq!(book.apart(CONTAINER, after(300)), [DEVICE], "it has only just begun");
        book.ready(CONTAINER, DEVICE, after(12), after(312));
        assert!(book.apart(CONTAINER, after(312)).is_empty());
        // However many there are, the latest are remembered.
        (0..200).for_each(|n| book.failed(CONTAINER, DeviceId([n; 32]), 0.5, after(20)));
        let apart = book.apart(CONTAINER, after(20));
        assert_eq!((apart.len(), apart.last()), (MAX_FAILED_ON, Some(&DeviceId([199; 32]))));
    }

    #[test]
    fn what_is_kept_comes_back_and_what_is_damaged_begins_anew() {
        let mut book = Book::default();
        there(&mut book, 0..4_000);
        book.refused(DEVICE, 0.5, after(4_000));
        let due = book.due(false, after(4_000));
        assert_eq!(due.len(), 1);
        assert!(book.due(false, after(4_001)).is_empty());
        book.not_kept(&due);
        assert_eq!(book.due(false, after(4_001)), due);
        assert_eq!(book.due(false, after(8_000)).len(), 1, "time alone is kept by the hour");
        let mut again = Book::load(due.clone(), after(4_000));
        let (was, is) = (book.expected(DEVICE, None, after(4_000)), again.expected(DEVICE, None, after(4_000)));
        assert_eq!(was, is);
        assert!(is.aside.is_some());
        let half = due[0].1[..due[0].1.len() / 2].to_vec();
        let mut anew = Book::load(vec![(DEVICE, half)], after(4_000));
        assert_eq!(anew.expected(DEVICE, None, after(4_001)).reliability, 0.8);
        again.retain(&HashSet::new(), &HashSet::new());
        assert!(again.due(true, after(4_001)).is_empty());
    }

    #[test]
    fn nobody_is_blamed_for_the_allocators_own_line() {
        let device = |n: u8| DeviceId([n; 32]);
        let all = |standing| (1..=5).map(|n| (device(n), standing)).collect::<Vec<_>>();
        let goes = |gone: &[u8]| {
            let mut book = Book::default();
            (0..10).for_each(|s| book.look(&all(Standing::There), |_| true, after(s)));
            let stands = |n| if gone.contains(&n) { Standing::Vanished } else { Standing::There };
            let standings: Vec<_> = (1..=5).map(|n| (device(n), stands(n))).collect();
            (10..100).for_each(|s| book.look(&standings, |_| true, after(s)));
            (1..=5).filter(|n| book.expected(device(*n), None, after(100)).reliability < 0.8).count()
        };
        assert_eq!((goes(&[1]), goes(&[1, 2]), goes(&[1, 2, 3]), goes(&[1, 2, 3, 4, 5])), (1, 2, 0, 0));
        // Those that never come back do not hide who goes later.
        let mut book = Book::default();
        (0..10).for_each(|s| book.look(&all(Standing::There), |_| true, after(s)));
        let stand = |gone: u8| {
            (1..=5).map(|n| (device(n), if n <= gone { Standing::Vanished } else { Standing::There })).collect::<Vec<_>>()
        };
        (10..100).for_each(|s| book.look(&stand(3), |_| true, after(s)));
        book.look(&stand(4), |_| true, after(100));
        assert!(book.expected(device(4), None, after(100)).reliability < 0.8);
    }

    #[test]
    fn many_that_ask_at_once_are_refused_once() {
        let mut book = Book::default();
        there(&mut book, 0..10);
        (0..13).for_each(|_| book.refused(DEVICE, 0.5, after(10)));
        let seen = book.expected(DEVICE, None, after(10));
        assert_eq!(seen.aside, Some((1, after(11))));
        assert!(seen.reliability > 0.7, "{}", seen.reliability);
    }

    #[test]
    fn who_takes_on_and_ends_again_and_again_gains_nothing() {
        let mut book = Book::default();
        let mut tried = 0;
        for s in 0..3_600 {
            book.see(DEVICE, Standing::There, true, after(s));
            if book.apart(CONTAINER, after(s)).is_empty() {
                tried += 1;
                book.committed(DEVICE, after(s));
                book.ready(CONTAINER, DEVICE, after(s), after(s));
                book.failed(CONTAINER, DEVICE, 0.5, after(s));
            }
        }
        assert!(tried < 14, "{tried}");
        assert_eq!(reliability(&mut book, 3_600), 0.8);
    }

    #[test]
    fn a_device_that_was_never_there_leaves_nothing() {
        let mut book = Book::default();
        for standing in [Standing::Unknown, Standing::Left, Standing::Vanished] {
            book.see(DEVICE, standing, false, NOW);
        }
        assert!(book.due(true, NOW).is_empty());
    }
}
