//! One run: events in virtual time.

use crate::{Device, Now, PATIENCE, Rehearsal};
use fogbank_model::{DeviceId, DurationMs, Resources, UnixMs};
use fogbank_placement::{Outcome, Request, Snapshot, part, plan};
use rand::{RngExt as _, rngs::StdRng};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

/// For so long before the beginning a device that may be anywhere comes and goes.
const BEFORE: DurationMs = DurationMs::from_s(14 * 24 * 3600);
/// A container for which there is no room is planned anew when a device comes, but no more often than this.
const AGAIN: DurationMs = DurationMs::from_s(10);

/// Plans in a week of a run at most, for each copy and once more: a copy is lost once or twice a day. Where devices come and go by the minute, what is lost from
/// then on is not replaced.
const MOST_PLANS: u32 = 100;

const WEEK: DurationMs = DurationMs::from_s(7 * 24 * 3600);

/// What was seen in a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Time in which none served.
    pub(crate) out: DurationMs,
    /// Time at which a request came too early for the next copy.
    pub(crate) failed: DurationMs,
    pub(crate) longest: DurationMs,
    pub(crate) losses: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A device comes or goes.
    Turns(usize),
    /// A copy on a device serves, if it is still the one that was begun then.
    Serves(usize, UnixMs),
    /// Places are sought.
    Seeks,
}

struct Copy {
    begun: UnixMs,
    given: Resources,
    serves: bool,
}

struct Run<'r> {
    of: &'r Rehearsal,
    request: Request,
    rng: StdRng,
    events: BinaryHeap<Reverse<(UnixMs, Event)>>,
    there: Vec<bool>,
    index: HashMap<DeviceId, usize>,
    copies: HashMap<usize, Copy>,
    /// Since when none serves.
    out_since: Option<UnixMs>,
    sought: Option<UnixMs>,
    plans: u32,
    most_plans: u32,
    seen: Seen,
}

/// Runs once. The first copies are there from the beginning on, as of a container that was published before.
pub(crate) fn run(of: &Rehearsal, copies: u8, rng: StdRng) -> Seen {
    let index = of.devices.iter().enumerate().map(|(at, device)| (device.snapshot.id, at)).collect();
    let request = Request { instances: copies, ..of.request };
    let weeks = u32::try_from(of.span.0.div_euclid(WEEK.0)).unwrap_or(0).saturating_add(1);
    let (there, events) = (vec![false; of.devices.len()], BinaryHeap::new());
    let mut run = Run {
        of,
        request,
        rng,
        events,
        there,
        index,
        copies: HashMap::new(),
        out_since: None,
        sought: None,
        plans: 0,
        most_plans: weeks.saturating_mul(MOST_PLANS * (1 + u32::from(copies))),
        seen: Seen::default(),
    };
    for (at, device) in of.devices.iter().enumerate() {
        run.begins(at, device);
    }
    run.place(of.begin, true);
    let end = of.begin.plus(of.span);
    run.note(of.begin);
    while let Some(Reverse((now, event))) = run.events.pop().filter(|Reverse((now, _))| *now < end) {
        match event {
            Event::Turns(at) => run.turns(at, now),
            Event::Serves(at, begun) => {
                if let Some(copy) = run.copies.get_mut(&at).filter(|copy| copy.begun == begun) {
                    copy.serves = true;
                }
            }
            Event::Seeks => {
                run.sought = None;
                run.place(now, false);
            }
        }
        run.note(now);
    }
    if let Some(since) = run.out_since {
        run.ends(since, end);
    }
    run.seen
}

impl Run<'_> {
    /// Where a device stands at the beginning, and when it turns first.
    fn begins(&mut self, at: usize, device: &Device) {
        let begin = self.of.begin;
        let (there, turns) = match device.now {
            Now::There(since) => (true, device.churn.goes(since.min(begin), begin, &mut self.rng)),
            Now::Away => (false, device.churn.returns(begin, &mut self.rng)),
            Now::Anywhere => {
                let (mut there, mut now) = (self.rng.random::<bool>(), begin.plus(DurationMs(-BEFORE.0)));
                loop {
                    let turns =
                        if there { device.churn.goes(now, now, &mut self.rng) } else { device.churn.returns(now, &mut self.rng) };
                    if turns > begin {
                        break (there, turns);
                    }
                    (there, now) = (!there, turns);
                }
            }
        };
        self.there[at] = there;
        self.events.push(Reverse((turns, Event::Turns(at))));
    }

    fn turns(&mut self, at: usize, now: UnixMs) {
        let churn = &self.of.devices[at].churn;
        self.there[at] = !self.there[at];
        let next = if self.there[at] { churn.goes(now, now, &mut self.rng) } else { churn.returns(now, &mut self.rng) };
        self.events.push(Reverse((next.max(now.plus(DurationMs(1))), Event::Turns(at))));
        if self.there[at] {
            if self.lacks() {
                self.seek(now);
            }
        } else if self.copies.remove(&at).is_some() {
            self.seen.losses += 1;
            self.place(now, false);
        }
    }

    fn lacks(&self) -> bool {
        self.copies.len() < usize::from(self.request.instances.max(1)) || self.uncovered() != Resources::ZERO
    }

    fn uncovered(&self) -> Resources {
        let given = self.copies.values().fold(Resources::ZERO, |sum, copy| sum.plus(&copy.given));
        self.request.requirements.minus(&given)
    }

    /// Places are sought soon, once.
    fn seek(&mut self, now: UnixMs) {
        if self.sought.is_none() {
            let at = now.plus(AGAIN);
            self.sought = Some(at);
            self.events.push(Reverse((at, Event::Seeks)));
        }
    }

    /// Plans what is missing. `stands`: what is placed serves at once.
    fn place(&mut self, now: UnixMs, stands: bool) {
        if !self.lacks() || self.plans >= self.most_plans {
            return;
        }
        self.plans += 1;
        let copies = u8::try_from(self.copies.len()).unwrap_or(u8::MAX);
        let request =
            Request { requirements: self.uncovered(), instances: self.request.instances.saturating_sub(copies), ..self.request };
        let seen = |(at, device): (usize, &Device)| {
            let mut seen = device.snapshot.clone();
            seen.suitable &= self.there[at] && !self.copies.contains_key(&at);
            seen
        };
        let snapshot = Snapshot { devices: self.of.devices.iter().enumerate().map(seen).collect(), request };
        let placed = match plan(&snapshot, &self.of.policy) {
            Outcome::Placed(plan) => Some(plan),
            Outcome::Infeasible(_) => part(&snapshot, &self.of.policy),
        };
        for (device, given) in placed.into_iter().flat_map(|plan| plan.assignments) {
            let Some(at) = self.index.get(&device).copied() else { continue };
            self.copies.insert(at, Copy { begun: now, given, serves: stands });
            if !stands {
                self.events.push(Reverse((now.plus(self.of.repair), Event::Serves(at, now))));
            }
        }
    }

    /// Notes whether one serves.
    fn note(&mut self, now: UnixMs) {
        let serves = self.copies.values().any(|copy| copy.serves);
        match self.out_since {
            None if !serves => self.out_since = Some(now),
            Some(since) if serves => {
                self.ends(since, now);
                self.out_since = None;
            }
            _ => {}
        }
    }

    /// An outage ends.
    fn ends(&mut self, since: UnixMs, now: UnixMs) {
        let out = now.since(since);
        self.seen.out.0 += out.0;
        // Who comes shortly before its end is served.
        self.seen.failed.0 += (out.0 - PATIENCE.0).max(0);
        self.seen.longest = self.seen.longest.max(out);
    }
}
