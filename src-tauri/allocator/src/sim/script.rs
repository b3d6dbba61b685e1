//! What befalls a simulated fog: incidents at random times, and what its publishers want meanwhile.

use super::{device::Device, fog::Fog, line::Faults, net::What};
use fogbank_betanet::{proof::ContainerIdentity, seal::SiteSeal};
use fogbank_model::{BundleId, ContainerId, ContainerSpec, DeviceId, Image, Level, Resources};
use fogbank_wire::{ContainerRequest, NodeReply, NodeRequest, Power};
use iroh::SecretKey;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// Something befalls the fog.
#[derive(Debug, Clone)]
pub(super) enum Incident {
    /// A device is switched off without a word, for so long.
    Vanishes(DeviceId, u64),
    /// It is switched on again.
    Returns(DeviceId),
    /// Its process ends and begins again.
    Restarts(DeviceId),
    /// Nothing reaches it or comes from it, for so long.
    Parts(DeviceId, u64),
    /// It is reached again.
    Meets(DeviceId),
    /// It keeps its line and does nothing else, for so long.
    Hangs(DeviceId, u64),
    /// Its owner asks it to be drained, for so long.
    Drains(DeviceId, u64),
    /// It takes new instances again.
    Lends(DeviceId),
    /// Its battery is this full, and not charging.
    Discharges(DeviceId, f32),
    /// It is on mains again.
    Charges(DeviceId),
    /// It has, from now on, so many per cent of what it had at first; and says that it has so many times as much.
    Changes(DeviceId, u64, u64),
    /// The allocator is killed after so many further writes.
    Kill(u64),
    /// A publisher does something.
    Publishes,
    /// The next incident.
    Next,
}

/// How large and how wild a fog is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) devices: u32,
    pub(super) containers: u32,
    /// Something befalls it this often, on average.
    pub(super) every_ms: u64,
    /// For so long.
    pub(super) wild_ms: u64,
    pub(super) faults: Faults,
}

/// The publisher's side.
pub(super) struct Script {
    pub(super) size: Size,
    pub(super) publisher: DeviceId,
    devices: Vec<DeviceId>,
    pub(super) containers: Vec<ContainerId>,
    /// Who signs for them, and up to which revision that was done.
    identities: Vec<(ContainerIdentity, u64)>,
    pub(super) over: bool,
}

/// The first devices relay, and nothing befalls them.
const MIXES: u32 = 6;
const FULL: Resources = Resources { cpu_millicores: 2_000, memory_mb: 1_024, storage_mb: 2_000, bandwidth_kbps: 20_000 };

/// So many per cent of it.
fn share(of: &Resources, percent: u64) -> Resources {
    Resources::from_fn(|dimension| of.get(dimension) * percent / 100)
}

/// A device of an owner of its own that lends a share of [`FULL`].
pub(super) fn device(rng: &mut StdRng, name: String, relays: bool, percent: u64) -> Device {
    let has = share(&FULL, percent);
    Device {
        key: SecretKey::from_bytes(&rng.random()),
        owner: SecretKey::from_bytes(&rng.random()),
        name,
        mix: relays.then(|| SecretKey::from_bytes(&rng.random())),
        has,
        says: has,
        table: fogbank_agent::table::Table::default(),
        leases: std::collections::BTreeMap::new(),
        bundles: std::collections::BTreeSet::new(),
        drain: None,
        power: Power::Mains,
        on: true,
        parted: false,
        line: None,
        member: false,
        life: 0,
        saying: false,
        rng: StdRng::seed_from_u64(rng.random()),
    }
}

/// A site of a few megabytes.
pub(super) fn request(rng: &mut StdRng, fog: &Fog, instances: u8, days: u32) -> (ContainerRequest, ContainerIdentity) {
    let identity = ContainerIdentity::generate(&mut rand::rng()).unwrap();
    let seal = SiteSeal { root: rng.random(), revision: 1 };
    let request = ContainerRequest {
        id: ContainerId(rng.random()),
        spec: ContainerSpec {
            name: "site".parse().unwrap(),
            image: image(rng),
            requirements: share(
                &Resources { cpu_millicores: 100, memory_mb: 64, storage_mb: 50, bandwidth_kbps: 1_000 },
                rng.random_range(100..600),
            ),
            instances,
            availability: None,
            most: None,
            level: Level::Fast,
        },
        proof: identity.pre_sign_sealed(fog.now(), days, &seal, &mut rand::rng()).unwrap(),
    };
    (request, identity)
}

fn image(rng: &mut StdRng) -> Image {
    Image::Site { bundle: BundleId(rng.random()), bytes: rng.random_range(100_000..40_000_000), files: 10 }
}

impl Script {
    /// Devices come, and then incidents.
    pub(super) fn begin(fog: &mut Fog, size: Size) -> Self {
        // One that lends nothing, and to which nothing happens but what happens to its allocator.
        let mut rng = StdRng::seed_from_u64(fog.rng.random());
        let publisher = fog.add(device(&mut rng, "publisher".to_owned(), false, 0));
        let devices = (0..size.devices)
            .map(|n| {
                // Whatever befalls the others, there are mixes enough for a test fog. These lend nothing: what is placed is placed where it is wild.
                let relays = n < MIXES;
                let percent = if relays { 0 } else { rng.random_range(20..=100) };
                fog.add(device(&mut rng, format!("device {n}"), relays, percent))
            })
            .collect();
        {
            let mut state = fog.net.lock();
            state.faults = size.faults;
            state.stumbles = true;
            state.after(0, 5_000, What::Befalls(Incident::Next));
            for n in 0..u64::from(size.containers) {
                state.after(0, 10_000 + n * 20_000, What::Befalls(Incident::Publishes));
            }
        }
        Self { size, publisher, devices, containers: Vec::new(), identities: Vec::new(), over: false }
    }

    fn some(&self, fog: &mut Fog) -> DeviceId {
        self.devices[fog.rng.random_range(MIXES as usize..self.devices.len())]
    }

    /// Draws what befalls the fog next.
    fn draw(&self, fog: &mut Fog) -> Incident {
        let id = self.some(fog);
        let long = fog.rng.random_range(1_000..1_200_000);
        match fog.rng.random_range(0..20) {
            0..4 => Incident::Vanishes(id, long),
            4..6 => Incident::Restarts(id),
            6..8 => Incident::Parts(id, long / 4),
            8..10 => Incident::Drains(id, long / 2),
            10 => Incident::Discharges(id, fog.rng.random_range(0.0..0.3)),
            11 => Incident::Charges(id),
            12..14 => Incident::Changes(id, fog.rng.random_range(10..=100), fog.rng.random_range(1..=3)),
            14..17 => Incident::Kill(fog.rng.random_range(1..25)),
            17 => Incident::Hangs(id, long / 2),
            _ => Incident::Publishes,
        }
    }

    /// Lets an incident befall the fog.
    pub(super) async fn befall(&mut self, fog: &mut Fog, incident: Incident) {
        let at = fog.at();
        fog.net.lock().trace(at, format_args!("{incident:?}"));
        match incident {
            Incident::Next => {
                if at < self.size.wild_ms {
                    let what = self.draw(fog);
                    let pause = fog.rng.random_range(0..2 * self.size.every_ms);
                    let mut state = fog.net.lock();
                    state.after(at, 0, What::Befalls(what));
                    state.after(at, pause, What::Befalls(Incident::Next));
                }
            }
            Incident::Vanishes(id, long) => Self::vanish(fog, id, long),
            Incident::Returns(id) => Self::returns(fog, id),
            Incident::Restarts(id) => {
                let mut state = fog.net.lock();
                if let Some(device) = state.devices.get_mut(&id).filter(|d| d.on) {
                    // It says goodbye to nobody; its allocator learns of it when it connects anew.
                    device.restart();
                    let life = device.life;
                    state.after(at, 2_000, What::Connect(id));
                    state.after(at, 30_000, What::Beat(id, life));
                }
            }
            Incident::Parts(id, long) => {
                fog.break_line(id);
                let mut state = fog.net.lock();
                if let Some(device) = state.devices.get_mut(&id) {
                    device.parted = true;
                    state.after(at, long, What::Befalls(Incident::Meets(id)));
                }
            }
            Incident::Hangs(id, long) => {
                with(fog, id, |d| d.parted = true);
                fog.net.lock().after(at, long, What::Befalls(Incident::Meets(id)));
            }
            Incident::Meets(id) => with(fog, id, |d| d.parted = false),
            Incident::Drains(id, long) => {
                with(fog, id, |d| d.drain = Some("the lid was closed".to_owned()));
                fog.net.lock().after(at, long, What::Befalls(Incident::Lends(id)));
            }
            Incident::Lends(id) => with(fog, id, |d| d.drain = None),
            Incident::Discharges(id, share) => with(fog, id, |d| d.power = Power::Battery { share, charging: false }),
            Incident::Charges(id) => with(fog, id, |d| d.power = Power::Mains),
            Incident::Changes(id, percent, boast) => with(fog, id, |d| {
                d.has = share(&FULL, percent);
                d.says = share(&d.has, 100 * boast);
            }),
            Incident::Kill(writes) => fog.kill_after(writes),
            Incident::Publishes => self.publishes(fog).await,
        }
    }

    /// Switches a device off for so long.
    pub(super) fn vanish(fog: &mut Fog, id: DeviceId, long: u64) {
        fog.break_line(id);
        let at = fog.at();
        let mut state = fog.net.lock();
        if let Some(device) = state.devices.get_mut(&id).filter(|d| d.on) {
            device.restart();
            device.on = false;
            state.after(at, long, What::Befalls(Incident::Returns(id)));
        }
    }

    /// Switches it on again.
    pub(super) fn returns(fog: &mut Fog, id: DeviceId) {
        let at = fog.at();
        let mut state = fog.net.lock();
        if let Some(device) = state.devices.get_mut(&id).filter(|d| !d.on) {
            device.on = true;
            let life = device.life;
            state.after(at, 500, What::Connect(id));
            state.after(at, 30_000, What::Beat(id, life));
        }
    }

    async fn publishes(&mut self, fog: &mut Fog) {
        let new = self.containers.len() < usize::try_from(self.size.containers).unwrap();
        let drawn = fog.rng.random_range(0..13);
        let instances = fog.rng.random_range(1..=3);
        let request = if new || drawn < 2 {
            let mut rng = StdRng::seed_from_u64(fog.rng.random());
            let (request, identity) = request(&mut rng, fog, instances, 4);
            self.containers.push(request.id);
            self.identities.push((identity, 1));
            NodeRequest::Create(Box::new(request))
        } else {
            let which = fog.rng.random_range(0..self.containers.len());
            let id = self.containers[which];
            match drawn {
                2..5 => NodeRequest::Scale {
                    id,
                    instances,
                    availability: (drawn == 4).then_some(0.9),
                    most: (drawn == 3).then_some(instances + 2),
                },
                5..7 => NodeRequest::Stop(id),
                7..9 => NodeRequest::Restart(id),
                9 => NodeRequest::Delete(id),
                _ => {
                    let mut rng = StdRng::seed_from_u64(fog.rng.random());
                    let (identity, revision) = &mut self.identities[which];
                    *revision += 1;
                    let seal = SiteSeal { root: rng.random(), revision: *revision }.sign(identity).unwrap();
                    NodeRequest::Update { id, image: image(&mut rng), seal: Some(seal) }
                }
            }
        };
        let reply = fog.ask(self.publisher, request).await;
        let at = fog.at();
        let said = match reply {
            Some(NodeReply::Refused(refusal)) => refusal.to_string(),
            Some(NodeReply::Infeasible(why)) => why.to_string(),
            Some(_) => "yes".to_owned(),
            None => "nobody answers".to_owned(),
        };
        fog.net.lock().trace(at, format_args!("the publisher hears: {said}"));
    }

    /// Faults stop: all devices are there and lend what they have.
    pub(super) fn calm(&mut self, fog: &Fog) {
        self.over = true;
        let at = fog.at();
        let mut state = fog.net.lock();
        (state.faults, state.stumbles) = (Faults::default(), false);
        for id in &self.devices[MIXES as usize..] {
            let Some(device) = state.devices.get_mut(id) else { continue };
            (device.parted, device.drain, device.power) = (false, None, Power::Mains);
            (device.has, device.says) = (FULL, FULL);
            state.after(at, 0, What::Befalls(Incident::Returns(*id)));
        }
        fog.net.cut.after(u64::MAX);
    }
}

fn with(fog: &Fog, id: DeviceId, change: impl FnOnce(&mut Device)) {
    let at = fog.at();
    let mut state = fog.net.lock();
    if let Some(device) = state.devices.get_mut(&id) {
        change(device);
        state.do_later(at, id, vec![(1, super::device::Doing::Say)]);
    }
}
