//! New content under an address whose copies serve: which copies of it come, when visitors are told, which copies of the old one go. Pure.
//!
//! ```text
//! coming: first copies of the new content beside all that serve       visitors know the old seal and go by their leases' marks to old copies
//!         ready → switch: specification and proof are the new ones
//! moving: the descriptor has the new seal; once it has spread, one after another an old copy leaves, and a new one comes in its place
//! served: no old copy is left
//! given up, while coming only: the new copies end, nobody has heard of them
//! ```
//!
//! Invariants: as many copies as are wanted serve all the time, and at most [`surplus`] beyond those; an old copy leaves only after as many others
//! are ready as are wanted and the new descriptor has spread; what visitors were told of is never taken back, because none would go back to a lower
//! revision: going back is a further revision with the content of before. A copy has one revision to its end.
//! Deliberately absent: signing (the publisher), keeping (the store), doing ([`crate::updating`]).

use crate::{
    decide::{Action, FETCH, FOUND, SLOWEST_BYTES_S},
    world::{SeenContainer, SeenInstance, World},
};
use fogbank_model::{BundleId, ContainerState, DurationMs, Image, InstanceState, Revision, RevisionState};
use fogbank_wire::UpdateView;
use std::collections::HashSet;

/// A content that did not come up on so many devices is given up: that is not theirs.
const TRIED: usize = 3;

/// Copies beyond those wanted while content is replaced: one, or a quarter. The same number of new ones is ready before visitors are told.
pub(crate) fn surplus(wanted: usize) -> usize {
    (wanted / 4).max(1)
}

/// How long first copies may take: to be fetched and found, each as long as any copy, and as long again as fetching takes at the slowest: a device
/// that fails has then used up its time and another one had some.
fn allowed(image: &Image) -> DurationMs {
    let Image::Site { bytes, .. } = image;
    let transfer = i64::try_from(bytes / SLOWEST_BYTES_S).unwrap_or(i64::MAX / 1_000).min(i64::MAX / 1_000);
    DurationMs(FETCH.0.saturating_add(FOUND.0).saturating_add(DurationMs::from_s(transfer).0.saturating_mul(2)))
}

impl SeenContainer {
    /// The content that comes and that visitors don't know of yet.
    pub(crate) fn coming(&self) -> Option<&Revision> {
        self.contents().find(|r| r.state == RevisionState::Coming)
    }

    /// The content that was asked for last.
    fn last(&self) -> Option<&Revision> {
        self.contents().max_by_key(|r| r.number)
    }

    fn contents(&self) -> impl Iterator<Item = &Revision> {
        self.revisions.iter().map(|kept| &kept.revision)
    }

    /// What new copies serve, and its revision.
    pub(crate) fn target(&self) -> (u64, &Image) {
        self.coming().map_or((self.container.revision, &self.container.spec.image), |next| (next.number, &next.image))
    }

    /// The content of new copies.
    pub(crate) fn bundle(&self) -> BundleId {
        let Image::Site { bundle, .. } = self.target().1;
        *bundle
    }

    /// What a copy serves.
    pub(crate) fn image_of(&self, i: &SeenInstance) -> &Image {
        let revision = i.instance.revision;
        let known = self.contents().find(|r| r.number == revision && revision != self.container.revision);
        known.map_or(&self.container.spec.image, |r| &r.image)
    }

    /// All contents of which a device should let go none: of those that come and serve, and of those that some copy still serves.
    pub(crate) fn wanted_bundles(&self) -> impl Iterator<Item = BundleId> {
        let live = self.instances.iter().filter(|i| i.instance.state.is_live()).map(|i| self.image_of(i));
        live.chain([&self.container.spec.image, self.target().1]).map(|image| {
            let Image::Site { bundle, .. } = image;
            *bundle
        })
    }

    /// Whether a copy serves what new ones do.
    pub(crate) fn is_current(&self, i: &SeenInstance) -> bool {
        i.instance.revision == self.target().0
    }

    /// Whether it serves visitors: it is ready, and they have been told of its content.
    pub(crate) fn serves(&self, i: &SeenInstance) -> bool {
        i.instance.state == InstanceState::Ready && i.instance.revision <= self.container.revision
    }

    /// Whether a copy is of no use any more: its content was given up, or it is of another than new ones and does not serve yet. While a content comes
    /// those that start with the present one go on.
    pub(crate) fn abandoned(&self, i: &SeenInstance) -> bool {
        let (revision, served) = (i.instance.revision, self.container.revision);
        !self.is_current(i)
            && match i.instance.state {
                InstanceState::Reserved => true,
                InstanceState::Fetching | InstanceState::Starting => revision != served,
                _ => revision > served,
            }
    }

    /// How many copies to place at once, of so many that are missing: a few at a time while others serve another content.
    pub(crate) fn step(&self, missing: u8) -> u8 {
        let others = self.counting().any(|i| !self.is_current(i) && !self.abandoned(i));
        let few = u8::try_from(surplus(self.wanted())).unwrap_or(u8::MAX);
        if others { missing.min(few) } else { missing }
    }
}

/// What follows for a container's contents, whatever else is done for it.
pub(crate) fn steps(world: &World, container: &SeenContainer, actions: &mut Vec<Action>) {
    let live = || container.instances.iter().filter(|i| i.instance.state.is_live());
    for i in live().filter(|i| container.abandoned(i)) {
        if i.instance.state == InstanceState::Reserved && world.device(i.instance.device).is_none_or(|d| !d.connected) {
            let reason = "its content is not wanted any more".to_owned();
            actions.push(Action::MoveInstance { instance: i.instance.id, to: InstanceState::Ended, reason });
        } else {
            actions.push(Action::End { device: i.instance.device, instance: i.instance.id });
        }
    }
    let (id, state) = (container.container.id, container.container.state);
    if let Some(next) = container.coming() {
        let revision = next.number;
        let ready = current_ready(container);
        let serving = matches!(state, ContainerState::Starting | ContainerState::Running | ContainerState::Migrating);
        if !serving {
            let reason = "nothing serves now, so nobody has to be led over".to_owned();
            actions.push(Action::Switch { container: id, revision, reason });
        } else if ready >= surplus(container.wanted()).min(container.wanted()) {
            let reason =
                format!("its first {} ready: visitors are told of it", if ready == 1 { "copy is" } else { "copies are" });
            actions.push(Action::Switch { container: id, revision, reason });
        } else if let Some(reason) = failed(world, container, next) {
            actions.push(Action::Revise { container: id, revision, to: RevisionState::GivenUp, reason });
        }
    } else if let Some(moving) = container.contents().find(|r| r.state == RevisionState::Moving) {
        let old = live().any(|i| i.instance.state.counts() && !container.is_current(i));
        if !old && (current_ready(container) > 0 || !state.wants_instances()) {
            let (revision, reason) = (moving.number, "every copy serves it".to_owned());
            actions.push(Action::Revise { container: id, revision, to: RevisionState::Served, reason });
        }
    }
}

fn current_ready(container: &SeenContainer) -> usize {
    container.ready().filter(|i| container.is_current(i)).count()
}

/// Why a content that comes is given up. Only time in which it could have come up, and this allocator have heard of it, counts.
fn failed(world: &World, container: &SeenContainer, next: &Revision) -> Option<String> {
    let of_it = || container.instances.iter().filter(|i| i.instance.revision == next.number);
    let ended = of_it().filter(|i| !i.instance.state.is_live() && container.apart.contains(&i.instance.device));
    let devices: HashSet<_> = ended.clone().map(|i| i.instance.device).collect();
    let nowhere_else = container.lacks.is_some() && !of_it().any(|i| i.instance.state.is_live());
    if devices.len() >= TRIED || (!devices.is_empty() && nowhere_else) {
        let last = ended.max_by_key(|i| i.instance.since).map_or("", |i| i.instance.reason.trim_end_matches([':', ' ']));
        let on = if devices.len() == 1 { "1 device".to_owned() } else { format!("{} devices", devices.len()) };
        return Some(format!("it did not come up on {on}; the last: {last}"));
    }
    let able = next.began.max(world.began).max(world.routable?);
    let allowed = allowed(&next.image);
    (world.now.since(able).0 >= allowed.0).then(|| {
        let minutes = allowed.0 / 60_000;
        match &container.lacks {
            Some(lacks) => format!("no copy of it was ready within {minutes} minutes: it {lacks}"),
            None => format!("no copy of it was ready within {minutes} minutes"),
        }
    })
}

/// Which of the copies that stay are of another content than new ones.
pub(crate) fn old<'a>(container: &SeenContainer, stays: &[&'a SeenInstance]) -> Vec<&'a SeenInstance> {
    stays.iter().copied().filter(|i| !container.is_current(i)).collect()
}

/// While old copies are there: whether another new one should come now, and which old ones should leave.
pub(crate) fn roll(world: &World, container: &SeenContainer, stays: &[&SeenInstance], actions: &mut Vec<Action>) -> bool {
    let asked = container.container.spec.availability;
    let (wanted, few) = (container.wanted(), surplus(container.wanted()));
    let mut old = old(container, stays);
    let new: Vec<&SeenInstance> = stays.iter().copied().filter(|i| container.is_current(i)).collect();
    let mut leave = 0;
    if container.coming().is_none() && container.told {
        // The oldest first: fewest visitors still know of it. One that is unready serves nobody.
        old.sort_by_key(|i| (i.instance.state == InstanceState::Ready, i.instance.revision, i.instance.since));
        let mut serve: Vec<&SeenInstance> = stays.iter().copied().filter(|i| container.serves(i)).collect();
        for i in old.iter().filter(|_| !new.is_empty()) {
            let others: Vec<&SeenInstance> = serve.iter().copied().filter(|o| o.instance.id != i.instance.id).collect();
            if others.len() >= wanted && world.lasts(asked, 1.0, others.iter().copied()) {
                let reason = "copies of the new content serve".to_owned();
                actions.push(Action::Drain { instance: i.instance.id, reason });
                serve = others;
                leave += 1;
            }
        }
    }
    let under_way = new.iter().filter(|i| i.instance.state != InstanceState::Ready).count();
    let short = new.len() < wanted || !world.lasts(asked, 1.0, new.iter().copied());
    // For an availability there are more copies than wanted, how many depends on where they are: then as many come at once as may be beyond.
    let room = match asked {
        None => stays.len() - leave < wanted + few,
        Some(_) if container.coming().is_some() => new.len() < few,
        Some(_) => leave == 0 && under_way < few,
    };
    short && room
}

/// How far an update is, for people; `None` when none is under way.
pub(crate) fn words(world: &World, container: &SeenContainer) -> Option<String> {
    let Some(next) = container.coming() else {
        let moving = container.contents().any(|r| r.state == RevisionState::Moving);
        let lacks = container.lacks.as_ref().map(|lacks| format!(", waiting for room for the rest: it {lacks}"));
        let (ready, wanted) = (current_ready(container), container.wanted());
        return moving.then(|| format!("{ready} of {wanted} copies serve the new content{}", lacks.unwrap_or_default()));
    };
    let Image::Site { bundle, .. } = next.image;
    let publisher = world.device(container.publisher).is_some_and(|d| d.connected);
    let held = world.devices.iter().any(|d| d.connected && d.bundles.contains(&bundle));
    let begun = container.counting().any(|i| container.is_current(i));
    Some(match &container.lacks {
        _ if !publisher && !held => "it waits for its publisher's device, which alone has the new content".to_owned(),
        Some(lacks) if !begun => format!("it waits for room beside the copies that serve: it {lacks}"),
        _ if begun => "the first copies of the new content come up".to_owned(),
        _ => "a place for its first copy is being sought".to_owned(),
    })
}

/// What a publisher is told of the update that was asked for last.
pub(crate) fn view(world: &World, container: &SeenContainer) -> Option<UpdateView> {
    let last = container.last().filter(|last| last.state != RevisionState::Past)?;
    let of_it = container.ready().filter(|i| i.instance.revision == last.number).count();
    Some(UpdateView {
        revision: last.clone(),
        words: words(world, container).unwrap_or_else(|| last.reason.clone()),
        ready: u32::try_from(of_it).unwrap_or(u32::MAX),
        wanted: u32::try_from(container.wanted()).unwrap_or(u32::MAX),
    })
}

#[cfg(test)]
#[path = "revising_tests.rs"]
mod tests;
