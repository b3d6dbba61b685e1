//! Lets visitors of what was stopped or deleted know, by a descriptor that names no introduction point, so that they look for no copy.
//!
//! Invariants: a mix is told once in each of its lives and each period, when it is connected (what it has else still names points); what one
//! round tells is bounded, so that neither a fog of many stopped sites nor a mix that comes and goes keeps the allocator from its work.

use crate::{act::Actor, revoking::Life, service, telling::send, world::World};
use fogbank_betanet::{address::Period, directory::Directory};
use fogbank_model::{ContainerId, MixId};
use fogbank_store::KeptContainer;
use fogbank_wire::{DeviceRequest, ServiceProof, decode};
use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

/// Containers told of in one round: two signatures each, and as many messages as mixes keep a descriptor.
const MOST_IN_A_ROUND: usize = 16;

/// What was told of one container.
struct Told {
    period: Period,
    salt: [u8; 32],
    /// Of the directory by which its ring was found.
    serial: u64,
    ring: HashSet<MixId>,
    mixes: HashSet<Life>,
}

/// What was told of each.
#[derive(Default)]
pub(crate) struct Stopped(HashMap<ContainerId, Told>);

impl Stopped {
    /// It runs, or is gone.
    pub(crate) fn forget(&mut self, container: ContainerId) {
        self.0.remove(&container);
    }
}

impl Actor {
    /// Tells mixes of containers that want no instances any more.
    pub(crate) fn say_stopped(
        &mut self,
        world: &World,
        kept: &HashMap<ContainerId, KeptContainer>,
        directory: &Directory,
        clock: Instant,
    ) {
        self.stopped.0.retain(|id, _| kept.contains_key(id));
        // What has no points was never described.
        let ended = world.containers.iter().filter(|c| !c.container.state.wants_instances());
        let ended: Vec<&KeptContainer> =
            ended.filter_map(|c| kept.get(&c.container.id)).filter(|k| !k.points.is_empty()).collect();
        if ended.is_empty() {
            return;
        }
        let here = self.shared.registry.mixes_here();
        let mut members = None;
        let life = |id: &MixId| directory.mix(*id).filter(|_| here.contains(id)).map(|mix| (mix.id, mix.life));
        let (period, salt, serial) = (Period::at(self.shared.now()), directory.shared_random, directory.serial);
        let mut left = MOST_IN_A_ROUND;
        for kept in ended {
            let id = kept.container.id;
            let known = self.stopped.0.get(&id).filter(|told| (told.period, told.salt) == (period, salt));
            let news = known.is_none_or(|told| {
                told.serial != serial || told.ring.iter().filter_map(life).any(|life| !told.mixes.contains(&life))
            });
            if !news || left == 0 {
                continue;
            }
            left -= 1;
            let Ok(proof) = decode::<ServiceProof>(&kept.proof) else { continue };
            let signers = service::signers(&proof, self.shared.now());
            let descriptors =
                service::descriptors(&signers, proof.seal.as_deref(), &kept.container.spec, &[], directory, self.shared.now());
            let ring: HashSet<MixId> = descriptors.iter().flat_map(|(_, mixes)| mixes).copied().collect();
            let mut mixes = self
                .stopped
                .0
                .remove(&id)
                .filter(|told| (told.period, told.salt) == (period, salt))
                .map_or_else(HashSet::new, |told| told.mixes);
            mixes.retain(|(mix, _)| ring.contains(mix));
            let before = mixes.clone();
            for (bytes, keepers) in descriptors {
                for life in keepers.iter().filter_map(life).filter(|life| !before.contains(life)) {
                    let members = members.get_or_insert_with(|| self.shared.registry.snapshot(clock));
                    if let Some(member) = members.by_mix(life.0) {
                        send(member.clone(), DeviceRequest::PutDescriptor(bytes.clone()));
                        mixes.insert(life);
                    }
                }
            }
            self.stopped.0.insert(id, Told { period, salt, serial, ring, mixes });
            // Should it start again, its mixes are told anew.
            self.serving.forget(id);
        }
    }
}
