//! What must hold at every step, and what must come true once faults have stopped.

use super::{fog::Fog, script::Script};
use fogbank_model::{
    ContainerId, ContainerState, DeviceId, Dimension, DurationMs, InstanceId, InstanceState, Resources, RevisionState, UnixMs,
};
use fogbank_store::{KeptContainer, KeptInstance};
use std::collections::{BTreeMap, BTreeSet};

/// What was seen at the step before.
#[derive(Default)]
pub(super) struct Checks {
    held: BTreeMap<DeviceId, Resources>,
    used: BTreeMap<DeviceId, Resources>,
    instances: BTreeMap<InstanceId, InstanceState>,
    containers: BTreeMap<ContainerId, ContainerState>,
    /// Steps that were looked at.
    pub(super) steps: u64,
    /// Instances that were ready at some time, and those that were lost.
    pub(super) ready: BTreeSet<InstanceId>,
    pub(super) lost: BTreeSet<InstanceId>,
}

/// Whether an amount grew beyond a limit in some dimension.
fn grew_beyond(now: &Resources, before: &Resources, limit: &Resources) -> Option<Dimension> {
    Dimension::ALL.into_iter().find(|d| now.get(*d) > before.get(*d).max(limit.get(*d)))
}

impl Checks {
    /// Looks at everything.
    pub(super) async fn step(&mut self, fog: &Fog) {
        self.steps += 1;
        self.devices(fog);
        let Some(running) = &fog.allocator else { return };
        let store = &running.shared.store;
        let (devices, containers) = (store.devices().await.unwrap(), store.containers().await.unwrap());
        let instances = store.instances(UnixMs(0)).await.unwrap();
        let live = |i: &&KeptInstance| i.instance.state.is_live();
        for device in &devices {
            let of = instances.iter().filter(live).filter(|i| i.instance.device == device.id);
            let given = of.fold(Resources::ZERO, |sum, i| sum.plus(&i.instance.given));
            assert_eq!(device.held, given, "{}: what is held is what its live instances were given", device.name);
            let before = self.held.insert(device.id, device.held).unwrap_or(Resources::ZERO);
            let over = grew_beyond(&device.held, &before, &device.lent);
            assert_eq!(over, None, "{} is oversubscribed: {:?} of {:?}", device.name, device.held, device.lent);
        }
        let mut places = BTreeSet::new();
        for i in instances.iter().filter(live).map(|i| &i.instance) {
            // While its content is replaced, a new copy may come where an old one is.
            assert!(places.insert((i.container, i.device, i.revision)), "two copies of one content on one device");
        }
        self.moves(fog, &containers, &instances);
    }

    /// States move only as the machines allow, also between two looks: each is reached from the last by moves that there are.
    fn moves(&mut self, fog: &Fog, containers: &[KeptContainer], instances: &[KeptInstance]) {
        for c in containers.iter().map(|k| &k.container) {
            if let Some(before) = self.containers.insert(c.id, c.state) {
                let all = &ContainerState::ALL;
                assert!(reaches(before, c.state, all, ContainerState::allows), "{before} to {}: {}", c.state, c.reason);
            }
        }
        for i in instances.iter().map(|i| &i.instance) {
            if self.instances.get(&i.id) != Some(&i.state) {
                let at = fog.at();
                fog.net.lock().trace(at, format_args!("instance {} is {}: {}", i.id.short(), i.state, i.reason));
            }
            match i.state {
                InstanceState::Ready => drop(self.ready.insert(i.id)),
                InstanceState::Lost => drop(self.lost.insert(i.id)),
                _ => {}
            }
            if let Some(before) = self.instances.insert(i.id, i.state) {
                let all = &InstanceState::ALL;
                assert!(reaches(before, i.state, all, InstanceState::allows), "{before} to {}: {}", i.state, i.reason);
            }
        }
    }

    /// What devices themselves hold, and under which leases.
    fn devices(&mut self, fog: &Fog) {
        let state = fog.net.lock();
        for (id, device) in &state.devices {
            let used = device.table.used();
            let before = self.used.insert(*id, used).unwrap_or(Resources::ZERO);
            assert_eq!(grew_beyond(&used, &before, &device.has), None, "{} took on more than it has", device.name);
            for slot in device.table.list() {
                let held = device.leases.get(&slot.instance).and_then(|l| l.until);
                // Devices look at their leases with each heartbeat.
                let valid = held.is_some_and(|until| fog.now().since(until) < DurationMs::from_s(31));
                assert!(slot.state != InstanceState::Ready || !device.on || valid, "{} serves without a lease", device.name);
            }
        }
    }

    /// Once faults have stopped for long enough: every container stands where its publisher wants it, devices run what the allocator knows and
    /// nothing else, and each history leads by moves that there are to where the container stands.
    pub(super) async fn end(&self, fog: &Fog, script: &Script) {
        let store = &fog.allocator.as_ref().expect("it lives").shared.store;
        let containers = store.containers().await.unwrap();
        let instances = store.instances(UnixMs(0)).await.unwrap();
        let revisions = store.revisions().await.unwrap();
        for kept in &containers {
            let c = &kept.container;
            let of = instances.iter().map(|i| &i.instance).filter(|i| i.container == c.id);
            let ready = of.clone().filter(|i| i.state == InstanceState::Ready).count();
            let live = of.clone().filter(|i| i.state.is_live()).count();
            let words = format!("container {}: {}, {ready} ready of {live} live, {}", c.id.short(), c.state, c.reason);
            assert!(script.containers.contains(&c.id) && !kept.deleting, "{words}");
            match c.state {
                ContainerState::Running => {
                    assert!(ready >= usize::from(c.spec.instances) && ready == live, "{words}: {:?}", of.collect::<Vec<_>>());
                }
                ContainerState::Stopped => assert_eq!(live, 0, "{words}"),
                _ => panic!("{words}"),
            }
            for of in revisions.iter().filter(|r| r.container == c.id) {
                let (number, state) = (of.revision.number, of.revision.state);
                assert!(!matches!(state, RevisionState::Coming | RevisionState::Moving), "{words}: revision {number} is {state}");
            }
            let history = store.history(c.id).await.unwrap();
            assert_eq!(history.last().map(|t| t.to), Some(c.state), "{words}");
            for pair in history.windows(2) {
                // How an update goes is told in between, and moves the container nowhere.
                let follows = pair[0].to == pair[1].to || pair[0].to.allows(pair[1].to);
                assert!(follows && pair[0].at <= pair[1].at, "{words}: {pair:?}");
            }
        }
        let known: BTreeMap<InstanceId, DeviceId> =
            instances.iter().filter(|i| i.instance.state.is_live()).map(|i| (i.instance.id, i.instance.device)).collect();
        let mut found = BTreeSet::new();
        for (id, device) in &fog.net.lock().devices {
            for slot in device.table.list() {
                assert_eq!(known.get(&slot.instance), Some(id), "{} runs what nobody knows: {slot:?}", device.name);
                assert_eq!(slot.state, InstanceState::Ready, "{}: {slot:?}", device.name);
                found.insert(slot.instance);
            }
        }
        assert_eq!(found.len(), known.len(), "the allocator knows of instances that no device has");
    }
}

/// Whether a state is reached from another by moves that there are.
fn reaches<S: Copy + PartialEq>(from: S, to: S, all: &[S], allows: impl Fn(S, S) -> bool) -> bool {
    let mut reached = vec![from];
    let mut looked = 0;
    while let Some(at) = reached.get(looked).copied() {
        if at == to {
            return true;
        }
        reached.extend(all.iter().filter(|next| allows(at, **next) && !reached.contains(next)).copied().collect::<Vec<_>>());
        looked += 1;
    }
    false
}
