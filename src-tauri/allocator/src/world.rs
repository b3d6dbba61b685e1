//! What the allocator sees: plain values for [`decide`](crate::decide::decide).

use crate::{conduct::Expected, scaling::Scaled};
use fogbank_model::{BundleId, Container, ContainerSpec, DeviceId, Instance, InstanceState, OwnerId, Resources};
use fogbank_store::KeptRevision;
use fogbank_wire::{Power, Roles, Traffic};

/// A member as seen now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SeenDevice {
    pub(crate) id: DeviceId,
    pub(crate) owner: OwnerId,
    pub(crate) name: String,
    pub(crate) granted: Roles,
    /// Connected now.
    pub(crate) connected: bool,
    /// Away for longer than a probe: what ran there is lost.
    pub(crate) lost: bool,
    /// Plays the agent's role, has reported, and takes new instances.
    pub(crate) open: bool,
    /// Why its instances should move away, if they should.
    pub(crate) draining: Option<String>,
    pub(crate) lent: Resources,
    pub(crate) held: Resources,
    /// It did not answer a moment ago, and is not asked again for a while.
    pub(crate) mute: bool,
    /// As many instances live on it as may.
    pub(crate) full: bool,
    pub(crate) power: Option<Power>,
    pub(crate) why: String,
    /// What its past lets expect of it.
    pub(crate) expected: Expected,
    /// Bundles that it holds whole for others.
    pub(crate) bundles: Vec<BundleId>,
    /// Instances that it listed in its last report; `None` before its first one since it connected.
    pub(crate) listed: Option<Vec<fogbank_model::InstanceId>>,
}

/// An instance as kept, with what it has told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SeenInstance {
    pub(crate) instance: Instance,
    pub(crate) expires: fogbank_model::UnixMs,
    pub(crate) introduction_key: Option<[u8; 32]>,
    /// How much visitors ask of it, as its device told last, where it is to be told.
    pub(crate) traffic: Option<Traffic>,
}

/// A container with its instances, live and lately ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SeenContainer {
    pub(crate) container: Container,
    pub(crate) publisher: DeviceId,
    pub(crate) deleting: bool,
    pub(crate) instances: Vec<SeenInstance>,
    /// Until when its publisher has signed ahead.
    pub(crate) signed_until: fogbank_model::UnixMs,
    /// Not planned again before this moment (backing off after a refusal).
    pub(crate) rests: bool,
    /// Devices on which it did not come up lately: others are tried first, and these again later.
    pub(crate) apart: Vec<DeviceId>,
    /// What it lacks, when not all that it wants fitted the last time that places were sought.
    pub(crate) lacks: Option<String>,
    /// How many copies are wanted for its load, where that counts.
    pub(crate) scaled: Option<Scaled>,
    /// Contents that it has had, is to have, and has; none when it was never updated.
    pub(crate) revisions: Vec<KeptRevision>,
    /// Whether visitors could have learnt of the content that it has.
    pub(crate) told: bool,
}

/// Everything at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct World {
    pub(crate) now: fogbank_model::UnixMs,
    /// Since when this allocator looks: what was reported before it started, it may not have heard.
    pub(crate) began: fogbank_model::UnixMs,
    /// Since when there are mixes enough for instances to be found; `None` while there are not.
    pub(crate) routable: Option<fogbank_model::UnixMs>,
    pub(crate) devices: Vec<SeenDevice>,
    pub(crate) containers: Vec<SeenContainer>,
}

impl World {
    pub(crate) fn device(&self, id: DeviceId) -> Option<&SeenDevice> {
        self.devices.iter().find(|d| d.id == id)
    }

    /// Probability that at least one of the devices of these instances stays over the next hour.
    pub(crate) fn availability<'a>(&self, instances: impl IntoIterator<Item = &'a SeenInstance>) -> f64 {
        let goes = |i: &SeenInstance| self.device(i.instance.device).map_or(1.0, |d| 1.0 - d.expected.availability);
        1.0 - instances.into_iter().map(goes).product::<f64>()
    }

    /// Whether at least one of these instances' devices stays as likely as asked for: all are gone no oftener than `share` of how often they may be.
    pub(crate) fn lasts<'a>(
        &self,
        asked: Option<f64>,
        share: f64,
        instances: impl IntoIterator<Item = &'a SeenInstance>,
    ) -> bool {
        // A product of probabilities is not exact to the last digit.
        const EXACT: f64 = 1.0 + 1e-6;
        asked.is_none_or(|asked| 1.0 - self.availability(instances) <= share * (1.0 - asked) * EXACT)
    }

    /// Devices other than the publisher's that are here and hold a bundle whole.
    pub(crate) fn holders(&self, container: &SeenContainer) -> usize {
        let bundle = container.bundle();
        self.devices.iter().filter(|d| d.id != container.publisher && d.connected && d.bundles.contains(&bundle)).count()
    }
}

impl SeenContainer {
    /// Those that count towards what it wants.
    pub(crate) fn counting(&self) -> impl Iterator<Item = &SeenInstance> + Clone {
        self.instances.iter().filter(|i| i.instance.state.counts())
    }

    /// Those that serve.
    pub(crate) fn ready(&self) -> impl Iterator<Item = &SeenInstance> + Clone {
        self.instances.iter().filter(|i| i.instance.state == InstanceState::Ready)
    }

    /// What instances of it lack of what all that are wanted are to be given.
    pub(crate) fn uncovered<'a>(&self, instances: impl IntoIterator<Item = &'a SeenInstance>) -> Resources {
        self.requirements().minus(&given(instances))
    }

    /// What the wanted copies are given at least together.
    pub(crate) fn requirements(&self) -> Resources {
        self.container.spec.requirements_of(self.wanted())
    }

    /// Copies that its publisher asks for in any case.
    pub(crate) fn base(&self) -> usize {
        self.container.spec.instances.into()
    }

    /// Copies wanted: those, and more for its load.
    pub(crate) fn wanted(&self) -> usize {
        let base = self.base();
        self.scaled.as_ref().map_or(base, |s| usize::from(s.wanted).max(base))
    }

    /// How many copies there may be beside these instances. No more than may be for load, once these give what is asked for in any case.
    pub(crate) fn beyond<'a>(
        &self,
        world: &World,
        instances: impl IntoIterator<Item = &'a SeenInstance, IntoIter: Clone>,
    ) -> usize {
        let (spec, instances) = (&self.container.spec, instances.into_iter());
        let enough = spec.requirements.minus(&given(instances.clone())) == Resources::ZERO
            && world.lasts(spec.availability, 1.0, instances.clone());
        let most = if spec.scales() && enough { spec.most() } else { ContainerSpec::MAX_INSTANCES };
        usize::from(most).saturating_sub(instances.count())
    }
}

/// What instances have together.
fn given<'a>(instances: impl IntoIterator<Item = &'a SeenInstance>) -> Resources {
    instances.into_iter().fold(Resources::ZERO, |sum, i| sum.plus(&i.instance.given))
}
