//! The number of copies follows load: what devices tell of their instances becomes samples, these a number of wanted copies, and minutes that are kept.
//!
//! Invariants: pure but for the time that comes in; whatever devices tell, a container has a few samples, an hour's changes and one minute in memory;
//! after a restart as many copies are wanted as there are, and none is ended before there were enough new samples; changes of the last hour are
//! read back from the minutes that were kept, so that a restart is no way around their limit (but for the minute that was under way).
//! Deliberately absent: where copies go ([`decide`](crate::decide::decide) and the planner), and the rule itself ([`fogbank_placement::scaling`]).

mod acting;
mod minutes;
mod samples;

pub(crate) use acting::told;

use crate::world::{SeenContainer, World};
use fogbank_model::{ContainerId, ContainerState, DeviceId, DurationMs, InstanceId, InstanceState, UnixMs};
use fogbank_placement::scaling::{Copies, HOUR, Sample, ScalePolicy, Scaling, Why, scale};
use fogbank_store::KeptLoad;
use minutes::Minute;
use std::collections::{HashMap, VecDeque};

/// Samples that are kept of a container: those that the rule looks at, and room.
const MAX_SAMPLES: usize = 8;
/// What a row that is kept spans.
const MINUTE: DurationMs = DurationMs::from_s(60);

/// How many copies of a container are wanted for its load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scaled {
    pub(crate) wanted: u8,
    /// Why that number was chosen, for people; empty where it was not chosen by load (yet).
    pub(crate) why: String,
    /// Whether it was raised when it was chosen.
    pub(crate) raised: bool,
}

/// A device is to tell how much an instance is asked, or no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measure {
    pub(crate) device: DeviceId,
    pub(crate) instance: InstanceId,
    pub(crate) on: bool,
}

/// One container that may scale.
#[derive(Debug)]
struct Track {
    wanted: usize,
    /// Why it was changed last, for people, and whether to more.
    reason: (String, bool),
    /// What was decided at the last check.
    why: Why,
    samples: VecDeque<Sample>,
    changes: VecDeque<UnixMs>,
    minute: Minute,
}

/// All that may scale.
#[derive(Debug, Default)]
pub(crate) struct Scaler {
    policy: ScalePolicy,
    tracks: HashMap<ContainerId, Track>,
    /// Changes of the last hour before this allocator started, until their containers are looked at.
    before: HashMap<ContainerId, VecDeque<UnixMs>>,
    checked: Option<UnixMs>,
    /// Which minute is being gathered, since 1970.
    minute: Option<i64>,
}

impl Scaler {
    /// With what was kept of the last hour: which container's number of copies changed in which minute, and how often.
    pub(crate) fn load(changes: Vec<(ContainerId, UnixMs, u8)>) -> Self {
        let mut before: HashMap<ContainerId, VecDeque<UnixMs>> = HashMap::new();
        for (container, at, times) in changes {
            // At its end, so that none counts for less than an hour.
            before.entry(container).or_default().extend(std::iter::repeat_n(at.plus(MINUTE), times.into()));
        }
        Self { before, ..Self::default() }
    }

    /// Looks at all containers when that is due; what is to be measured from now on, and whether a number changed.
    pub(crate) fn check(&mut self, world: &World) -> (Vec<Measure>, bool) {
        let now = world.now;
        // A clock that was set back does not stop this.
        if self.checked.is_some_and(|at| (0..self.policy.check.0).contains(&now.since(at).0)) {
            return (Vec::new(), false);
        }
        self.checked = Some(now);
        self.tracks.retain(|id, _| world.containers.iter().any(|c| c.container.id == *id && serves(c)));
        let (mut orders, mut changed) = (Vec::new(), false);
        for container in &world.containers {
            orders.extend(to_measure(world, container));
            if serves(container) {
                changed |= self.check_one(container, now);
            }
        }
        self.before.retain(|_, changes| changes.back().is_some_and(|at| now.since(*at).0 < HOUR.0));
        (orders, changed)
    }

    fn check_one(&mut self, container: &SeenContainer, now: UnixMs) -> bool {
        let id = container.container.id;
        let (base, most) = bounds(container);
        let counting = container.counting().count();
        let before = &mut self.before;
        let track = self.tracks.entry(id).or_insert_with(|| Track {
            wanted: counting,
            reason: (String::new(), false),
            why: Why::Unknown,
            samples: VecDeque::new(),
            changes: before.remove(&id).unwrap_or_default(),
            minute: Minute::default(),
        });
        // What its publisher asks for anew is no change by load.
        track.wanted = track.wanted.clamp(base, most);
        // What a clock that was set back since has dated later would stop all until then.
        track.changes.retain(|at| (-MINUTE.0..HOUR.0).contains(&now.since(*at).0));
        track.samples.retain(|sample| sample.at <= now);
        let ready = container.ready().count();
        let sample = samples::sample(container.ready(), &self.policy, now);
        if let Some(sample) = sample {
            track.samples.push_back(sample);
            while track.samples.len() > MAX_SAMPLES {
                track.samples.pop_front();
            }
        }
        let copies = Copies { ready, starting: counting.saturating_sub(ready), base, most, wanted: track.wanted };
        let Scaling { wanted, why } =
            scale(&self.policy, track.samples.make_contiguous(), track.changes.make_contiguous(), &copies, now);
        track.why = why;
        let changed = wanted != track.wanted;
        if changed {
            tracing::info!(container = id.short(), from = track.wanted, to = wanted, %why, "a container scales");
            (track.reason, track.wanted) = ((why.to_string(), wanted > track.wanted), wanted);
            track.changes.push_back(now);
        }
        track.minute.add(sample.as_ref(), ready, wanted, changed);
        changed
    }

    /// What is to be kept when a minute is over: a row of each container of which something was measured in it.
    pub(crate) fn minute(&mut self, now: UnixMs) -> Vec<(ContainerId, KeptLoad)> {
        let minute = now.0.div_euclid(MINUTE.0);
        match self.minute.replace(minute) {
            Some(before) if before != minute => {
                let at = UnixMs(before.saturating_mul(MINUTE.0));
                self.tracks.iter_mut().filter_map(|(id, track)| Some((*id, track.minute.take(at)?))).collect()
            }
            _ => Vec::new(),
        }
    }

    /// How many copies are wanted of a container that may scale, once it was looked at.
    pub(crate) fn of(&self, container: &SeenContainer) -> Option<Scaled> {
        let track = self.tracks.get(&container.container.id).filter(|_| container.container.spec.scales())?;
        let (base, most) = bounds(container);
        let wanted = u8::try_from(track.wanted.clamp(base, most)).unwrap_or(u8::MAX);
        let (why, raised) = track.reason.clone();
        Some(Scaled { wanted, why, raised })
    }
}

fn bounds(container: &SeenContainer) -> (usize, usize) {
    let spec = &container.container.spec;
    (spec.instances.max(1).into(), spec.most().max(1).into())
}

/// Whether its copies may be more or fewer just now.
fn serves(container: &SeenContainer) -> bool {
    let state = container.container.state;
    container.container.spec.scales()
        && matches!(state, ContainerState::Starting | ContainerState::Running | ContainerState::Migrating)
}

/// Instances of which is told what should not be, or is not what should.
fn to_measure<'a>(world: &'a World, container: &'a SeenContainer) -> impl Iterator<Item = Measure> + 'a {
    let on = container.container.spec.scales();
    let here = |device| world.device(device).is_some_and(|d| d.connected);
    let serving =
        container.instances.iter().filter(|i| matches!(i.instance.state, InstanceState::Ready | InstanceState::Unready));
    let other = serving.filter(move |i| i.traffic.is_some() != on && here(i.instance.device));
    other.map(move |i| Measure { device: i.instance.device, instance: i.instance.id, on })
}

#[cfg(test)]
#[path = "../scaling_tests.rs"]
mod tests;
