//! What lets visitors find instances, handed out and taken back: leases to devices, descriptors and revocations to mixes.
//!
//! A change of introduction points goes in order: leases that name the new point, instances registered there, and only then the
//! descriptor that tells visitors of it. So at each moment visitors ask where instances are.

use crate::{
    act::Actor,
    line::Line,
    revoking::{Life, Revoking},
    service,
    telling::send,
    updating,
    world::{SeenInstance, World},
};
use fogbank_betanet::{address::Period, directory::Directory};
use fogbank_model::{Container, ContainerId, InstanceId, MixId, UnixMs};
use fogbank_store::{KeptContainer, StoreError};
use fogbank_wire::{DeviceReply, DeviceRequest, ServiceProof, decode};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Leases and descriptors are renewed at half of the leases' day.
const RENEW: Duration = Duration::from_secs(12 * 3600);
/// An instance that has its lease is registered by then: a packet there and back over the slowest level, twice.
const REGISTERED: Duration = Duration::from_secs(3);
/// A descriptor lies on its mixes within a moment, and visitors who meet copies of another content look for it again after as long.
const LEARNT: Duration = Duration::from_secs(5);
/// A point answers a revocation within this, or is told again.
const CONFIRM: Duration = Duration::from_secs(3);

/// What was handed out for an instance or a container, and when.
#[derive(Clone)]
struct Handed {
    points: Vec<MixId>,
    period: Period,
    /// Until when the publisher has signed: once it has signed again, there are more signers.
    signed_until: UnixMs,
    /// The mixes of the directory in their present lives: one that restarted has forgotten what it held, and has another packet key.
    ring: Vec<Life>,
    /// With which the places on the ring are salted.
    salt: [u8; 32],
    /// The content that the container had.
    revision: u64,
    at: Instant,
}

/// What was handed out, and what is being taken back.
#[derive(Default)]
pub(crate) struct Serving {
    leased: HashMap<InstanceId, Handed>,
    described: HashMap<ContainerId, Handed>,
    /// Introduction points that are not listed, since when.
    missing: HashMap<MixId, Instant>,
    revoking: Arc<Mutex<Revoking>>,
    /// Of which content visitors are told, since when this allocator tells them.
    telling: HashMap<ContainerId, (u64, Instant)>,
}

impl Serving {
    /// Whether visitors could have learnt by now of the content that a container has.
    pub(crate) fn told(&self, container: &Container, clock: Instant) -> bool {
        let since = self.telling.get(&container.id).filter(|(revision, _)| *revision == container.revision);
        since.is_some_and(|(_, since)| clock.saturating_duration_since(*since) >= LEARNT)
    }

    /// A container is gone.
    pub(crate) fn forget(&mut self, container: ContainerId) {
        self.described.remove(&container);
        self.telling.remove(&container);
    }

    fn revoking<T>(&self, act: impl FnOnce(&mut Revoking) -> T) -> T {
        act(&mut self.revoking.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn missing(&mut self, kept: &HashMap<ContainerId, KeptContainer>, directory: &Directory, clock: Instant) {
        self.missing.retain(|id, _| directory.mix(*id).is_none());
        let gone = kept.values().flat_map(|k| &k.points).filter(|id| directory.mix(**id).is_none());
        for id in gone {
            self.missing.entry(*id).or_insert(clock);
        }
    }
}

impl Actor {
    /// Leases, introduction points and descriptors of everything that serves, and what is to be taken back.
    pub(crate) async fn serve(&mut self, world: &World, kept: &HashMap<ContainerId, KeptContainer>) -> Result<(), StoreError> {
        let Some(signed) = self.shared.directory() else { return Ok(()) };
        let directory = signed.directory;
        let clock = self.shared.instant();
        let live: Vec<InstanceId> = world.containers.iter().flat_map(|c| &c.instances).map(|i| i.instance.id).collect();
        self.serving.leased.retain(|id, _| live.contains(id));
        self.serving.described.retain(|id, _| kept.contains_key(id));
        self.serving.telling.retain(|id, _| kept.contains_key(id));
        self.serving.missing(kept, &directory, clock);
        self.take_back(world, kept, &directory, clock);
        self.say_stopped(world, kept, &directory, clock);
        for container in world.containers.iter().filter(|c| c.container.state.wants_instances()) {
            let id = container.container.id;
            let Some(kept) = kept.get(&id) else { continue };
            self.stopped.forget(id);
            let serving = container.instances.iter().any(|i| i.introduction_key.is_some() && i.instance.state.is_live());
            if !serving || directory.mixes.is_empty() {
                continue;
            }
            let settled = self.serving.described.get(&id).is_some_and(|h| h.points == kept.points);
            let missing = |p| self.serving.missing.get(&p).is_some_and(|since| clock.duration_since(*since) >= service::MISSING);
            let points = service::points(&kept.points, &directory, missing, settled, || self.shared.random());
            if points != kept.points {
                self.shared.store.set_points(id, &points).await?;
            }
            let period = Period::at(self.shared.now());
            let ring: Vec<Life> = directory.mixes.iter().map(|m| (m.id, m.life)).collect();
            let salt = directory.shared_random;
            let signed_until = container.signed_until;
            let fresh = |h: &Handed| {
                h.points == points && h.period == period && h.signed_until == signed_until && clock.duration_since(h.at) < RENEW
            };
            let able: Vec<&SeenInstance> = container
                .instances
                .iter()
                .filter(|i| i.introduction_key.is_some() && service::takes_leases(i.instance.state))
                .collect();
            let stale: Vec<&SeenInstance> =
                able.iter().copied().filter(|i| !self.serving.leased.get(&i.instance.id).is_some_and(&fresh)).collect();
            // Descriptors lie on mixes by the whole directory, so they follow each change of it.
            let described = self.serving.described.get(&id);
            let revision = kept.container.revision;
            let current = described.is_some_and(|h| fresh(h) && h.ring == ring && h.salt == salt && h.revision == revision);
            // Points that visitors are told of stay until somebody is registered at the new ones.
            let leads_nowhere = described.is_none_or(|h| !h.points.iter().any(|p| directory.mix(*p).is_some()));
            let same_points = described.is_some_and(|h| h.points == points);
            let registered = |i: &&SeenInstance| {
                self.serving
                    .leased
                    .get(&i.instance.id)
                    .is_some_and(|h| h.points == points && clock.duration_since(h.at) >= REGISTERED)
            };
            let describe = !current && (leads_nowhere || same_points || able.iter().any(registered));
            if stale.is_empty() && !describe {
                continue;
            }
            let Ok(proof) = decode::<ServiceProof>(&kept.proof) else { continue };
            let signers = service::signers(&proof, self.shared.now());
            let handed = Handed { points: points.clone(), period, signed_until, ring, salt, revision, at: self.shared.instant() };
            if describe {
                self.describe(kept, &proof, &points, &directory, clock);
                self.serving.described.insert(id, handed.clone());
                let telling = self.serving.telling.entry(id).or_insert((revision, clock));
                if telling.0 != revision {
                    *telling = (revision, clock);
                }
            }
            for i in stale {
                let Ok(seal) = updating::seal_of(container, &proof, i.instance.revision) else { continue };
                let now = self.shared.now();
                let Some(leases) = service::leases(&signers, i, seal.as_ref(), &kept.container.spec, &points, now) else {
                    continue;
                };
                if self.ask(i.instance.device, DeviceRequest::Lease { instance: i.instance.id, leases }).await.is_ok() {
                    self.serving
                        .leased
                        .insert(i.instance.id, Handed { ring: Vec::new(), at: self.shared.instant(), ..handed.clone() });
                }
            }
        }
        Ok(())
    }

    /// Puts descriptors that name these points on the mixes that keep them.
    fn describe(&self, kept: &KeptContainer, proof: &ServiceProof, points: &[MixId], directory: &Directory, clock: Instant) {
        let signers = service::signers(proof, self.shared.now());
        let members = self.shared.registry.snapshot(clock);
        let descriptors =
            service::descriptors(&signers, proof.seal.as_deref(), &kept.container.spec, points, directory, self.shared.now());
        for (bytes, mixes) in descriptors {
            for member in mixes.iter().filter_map(|m| members.by_mix(*m)) {
                send(member.clone(), DeviceRequest::PutDescriptor(bytes.clone()));
            }
        }
    }

    /// Tells the points of everything that has ended and that they have not confirmed.
    fn take_back(&self, world: &World, kept: &HashMap<ContainerId, KeptContainer>, directory: &Directory, clock: Instant) {
        for container in &world.containers {
            let ended = container.instances.iter().filter(|i| !i.instance.state.is_live() && i.introduction_key.is_some());
            let ended: Vec<InstanceId> = ended.map(|i| i.instance.id).collect();
            if let Some(kept) = kept.get(&container.container.id) {
                self.tell(kept, &ended, directory, clock);
            }
        }
        self.serving.revoking(|revoking| revoking.sweep(clock, |id| kept.contains_key(&id)));
    }

    /// Takes instances' leases back at their container's introduction points.
    pub(crate) fn revoke(&self, world: &World, kept: &HashMap<ContainerId, KeptContainer>, instances: &[InstanceId]) {
        let container = world.containers.iter().find(|c| c.instances.iter().any(|i| instances.contains(&i.instance.id)));
        let Some(kept) = container.and_then(|c| kept.get(&c.container.id)) else { return };
        let Some(signed) = self.shared.directory() else { return };
        self.tell(kept, instances, &signed.directory, self.shared.instant());
    }

    fn tell(&self, kept: &KeptContainer, instances: &[InstanceId], directory: &Directory, clock: Instant) {
        let id = kept.container.id;
        let points: Vec<Life> = kept.points.iter().filter_map(|p| directory.mix(*p)).map(|mix| (mix.id, mix.life)).collect();
        let tellings = self.serving.revoking(|revoking| {
            for instance in instances {
                revoking.note(id, *instance, clock);
            }
            revoking.due(id, &points, clock)
        });
        if tellings.is_empty() {
            return;
        }
        let Ok(proof) = decode::<ServiceProof>(&kept.proof) else { return };
        let signers = service::revokers(&proof, self.shared.now());
        let members = self.shared.registry.snapshot(clock);
        for telling in tellings {
            // One that is not connected is told when it is.
            let Some(member) = members.by_mix(telling.point.0).cloned() else { continue };
            match service::revocations(&signers, &telling.instances, self.shared.now()) {
                Ok(statements) => {
                    let revoking = self.serving.revoking.clone();
                    tokio::spawn(async move {
                        if all_done(member.line.as_ref(), statements).await {
                            revoking.lock().unwrap_or_else(PoisonError::into_inner).confirmed(&telling);
                        }
                    });
                }
                Err(error) => tracing::warn!(%error, "a revocation could not be signed"),
            }
        }
    }
}

/// Whether the point has taken every statement.
async fn all_done(point: &dyn Line, statements: Vec<Vec<u8>>) -> bool {
    for statement in statements {
        match point.call(&DeviceRequest::Revoke(statement), CONFIRM).await {
            Ok(DeviceReply::Done) => {}
            Ok(DeviceReply::Refused(refusal)) => {
                tracing::debug!(%refusal, "an introduction point did not take a revocation");
                return false;
            }
            Err(error) => {
                tracing::debug!(%error, "an introduction point did not hear of a revocation");
                return false;
            }
        }
    }
    true
}
