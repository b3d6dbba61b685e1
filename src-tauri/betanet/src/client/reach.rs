//! The way to one instance of a service: descriptor, leases, choice, introduction. Every step is tried at another mix or instance when it
//! fails, until the deadline.
//!
//! Deliberately absent: the introduction itself ([`super::introducing`]).

use super::{
    ConnectError, Trust,
    hedge::{self, Ask as How},
    listed::{Listed, by_weight, newest, serving},
    trust::Memory,
};
use crate::{
    address::{AccessKey, Address, Blinded, Period},
    descriptor::Descriptor,
    directory::{self, Directory},
    lease::Lease,
    message::{FromMix, ToMix},
    proof::ProofError,
    seal::{Mark, SiteSeal},
    tunnel::Tunnel,
    uplink::{Uplink, UplinkStatus},
};
use fogbank_model::{ContainerSpec, FogId, InstanceId, Level, MixId, UnixMs};
use rand::{RngExt as _, seq::SliceRandom as _};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant as Moment},
};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Delay for the first question about an address, whose level is not known yet. From then on its own.
const LOOKUP_LEVEL: Level = Level::Balanced;
/// One question to one mix, with the uplink's own repetitions.
const ASK: Duration = Duration::from_secs(4);
/// A mix that has not answered by then is not waited for alone: four times the usual round trip.
const PATIENCE: Duration = Duration::from_millis(800);
/// Three are asked at once and two waited for: one that withholds what it has, or holds what is out of date, is outvoted by the other. The
/// second of three answers comes no later on average than the only one of one would.
const BOTH: How = How { at_once: 3, enough: 2, patience: PATIENCE, linger: Duration::from_millis(400) };
/// A descriptor is looked up again after this, so that new introduction points are learned of before the old ones have all gone.
const KNOWN_LIFE: Duration = Duration::from_secs(600);
/// An instance or a point that failed is left alone this long, when there are others.
const AVOID: Duration = Duration::from_secs(30);
/// When all have failed, one is tried again after this.
const AGAIN: Duration = Duration::from_secs(2);
/// When copies of another content are listed, a descriptor older than this is looked up again: a site that is updated tells of its new seal seconds
/// after the first copy of the new content is there.
const LEARN_AGAIN: Duration = Duration::from_secs(5);
/// Pause before asking for leases again when none could be tried: a replacement registers within seconds.
const PAUSE: Duration = Duration::from_millis(400);
/// Where too few mixes are listed for so long, more will not be there in time: one that restarts is listed again sooner.
const TOO_FEW: Duration = Duration::from_secs(2);
/// Looks at the leases that find none but copies that lied: a replacement registers within seconds, and a point may know of others.
const LIARS_LOOKS: usize = 4;
/// Looks that must find that it was stopped, each at mixes drawn anew.
const STOPPED_LOOKS: usize = 2;
/// Introductions in one opening at most: all of OPEN_WAIT at what one waits for an answer each, and as many quick refusals.
const MAX_INTRODUCTIONS: usize = 14;

/// What is known of the service in a period.
pub(super) struct Known {
    pub(super) blinded: Blinded,
    pub(super) descriptor: Descriptor,
    /// Checked against the address.
    seal: Option<SiteSeal>,
    /// By what leases of copies that serve it are known; `None`: all serve the same.
    mark: Option<Mark>,
    /// Whether its publisher lets visitors come directly.
    direct: bool,
    since: Moment,
}

/// Finds the way, and remembers what failed.
pub(super) struct Reach {
    pub(super) uplink: Uplink,
    /// Whether the visitor asks to come directly, without mixes. It is one or the other: neither is fallen back to.
    pub(super) direct: bool,
    address: Address,
    access: Option<AccessKey>,
    /// The fog of which it is, as a link said or as it was found; the own one while nothing is known.
    home: Option<FogId>,
    known: Option<Arc<Known>>,
    /// The level of the descriptor that was found last.
    level: Option<Level>,
    /// A descriptor was found, but it does not open: the service is private.
    locked: bool,
    failed_instances: HashMap<InstanceId, Moment>,
    failed_points: HashMap<MixId, Moment>,
    current: Option<InstanceId>,
    memory: Arc<Memory>,
}

/// A way that was found.
pub(super) struct Reached {
    pub(super) tunnel: Tunnel,
    pub(super) instance: InstanceId,
    pub(super) seal: Option<SiteSeal>,
    /// How long the introduction took.
    pub(super) round_trip: Duration,
}

impl Reach {
    pub(super) fn new(
        uplink: Uplink,
        direct: bool,
        address: Address,
        access: Option<AccessKey>,
        home: Option<FogId>,
        memory: Arc<Memory>,
    ) -> Self {
        let (failed_instances, failed_points) = (HashMap::new(), HashMap::new());
        Self {
            uplink,
            direct,
            address,
            access,
            home,
            known: None,
            level: None,
            locked: false,
            failed_instances,
            failed_points,
            current: None,
            memory,
        }
    }

    /// What is remembered of the address.
    pub(super) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// The tunnel opened last has died, or its copy is leaving: it is not gone to again for a while.
    pub(super) fn leave_current(&mut self) {
        if let Some(instance) = self.current.take() {
            self.failed_instances.insert(instance, Moment::now());
        }
    }

    /// A tunnel to one instance.
    pub(super) async fn open(&mut self, deadline: Instant) -> Result<Reached, ConnectError> {
        self.failed_instances.retain(|_, at| at.elapsed() < AVOID);
        self.failed_points.retain(|_, at| at.elapsed() < AVOID);
        let mut why = "no mix was reached".to_owned();
        let (mut published, mut introductions, mut liars, mut stopped) = (false, 0, 0, 0);
        // Copies whose owners said no to a direct visit, just now.
        let mut closed: HashSet<InstanceId> = HashSet::new();
        let search = async {
            loop {
                let directory = self.ready(deadline).await?;
                let Some(known) = self.known(&directory).await else {
                    if self.locked {
                        return Err(ConnectError::Locked);
                    }
                    why = "no mix has a descriptor of it".to_owned();
                    // Published a moment ago, perhaps: spreading takes a second.
                    sleep(PAUSE).await;
                    continue;
                };
                published = true;
                if known.descriptor.introduction_points.is_empty() {
                    // It may be started again, under a newer descriptor, and who answered may have kept an old one: others are asked too.
                    self.known = None;
                    stopped += 1;
                    if stopped < STOPPED_LOOKS {
                        continue;
                    }
                    return Err(ConnectError::Stopped);
                }
                if self.direct && !known.direct {
                    return Err(ConnectError::NotDirect);
                }
                if let Err(error) = self.uplink.prepare(known.descriptor.level).await {
                    why = error.to_string();
                    sleep(PAUSE).await;
                    continue;
                }
                let (mut leases, others) = serving(self.leases(&known, &directory).await, known.mark);
                if others && known.since.elapsed() >= LEARN_AGAIN {
                    self.known = None;
                    continue;
                }
                if leases.is_empty() {
                    why = if others { "its copies are being updated" } else { "no introduction point lists a copy" }.to_owned();
                    self.known = None;
                    sleep(PAUSE).await;
                    continue;
                }
                leases.retain(|listed| !self.memory.lied(listed.lease.instance));
                if leases.is_empty() {
                    liars += 1;
                    if liars >= LIARS_LOOKS {
                        return Err(ConnectError::NoHonest);
                    }
                    // The publisher may have sealed anew what all the copies give.
                    self.known = None;
                    sleep(PAUSE).await;
                    continue;
                }
                leases.retain(|listed| !closed.contains(&listed.lease.instance));
                if leases.is_empty() {
                    // There is nobody left to ask, and nobody is met at mixes instead.
                    return Err(ConnectError::NoOwner);
                }
                let Some((lease, points)) = self.choose(&leases) else {
                    sleep(PAUSE).await;
                    continue;
                };
                introductions += 1;
                let began = Moment::now();
                match self.introduce(&known, &directory, &points, lease).await {
                    Ok(tunnel) => {
                        self.failed_instances.remove(&lease.instance);
                        self.current = Some(lease.instance);
                        self.memory.set(if known.seal.is_some() { Trust::Checked } else { Trust::Unchecked });
                        let round_trip = began.elapsed();
                        return Ok(Reached { tunnel, instance: lease.instance, seal: known.seal, round_trip });
                    }
                    Err(missed) => {
                        self.failed_points.extend(missed.points.into_iter().map(|point| (point, Moment::now())));
                        if missed.not_direct {
                            closed.insert(lease.instance);
                        }
                        if missed.copy {
                            self.failed_instances.insert(lease.instance, Moment::now());
                        }
                        why = missed.why;
                    }
                }
                if introductions >= MAX_INTRODUCTIONS {
                    return Err(ConnectError::NoAnswer { why: why.clone() });
                }
            }
        };
        match timeout_at(deadline, search).await {
            Ok(result) => result,
            Err(_) if published => Err(ConnectError::NoAnswer { why }),
            Err(_) => Err(ConnectError::NotFound),
        }
    }

    /// Waits until there are mixes enough; not long where too few are listed. Fail closed.
    pub(super) async fn ready(&self, deadline: Instant) -> Result<Arc<Directory>, ConnectError> {
        let mut status = self.uplink.status();
        let too_few = |s: &UplinkStatus| matches!(s, UplinkStatus::Waiting { usable, needed, .. } if usable < needed);
        let is_ready = |s: &UplinkStatus| matches!(s, UplinkStatus::Ready { .. });
        let ready = async {
            loop {
                if let Ok(changed) = timeout(TOO_FEW, status.wait_for(|s| !too_few(s))).await {
                    changed.map_err(|_| ConnectError::Ended)?;
                } else {
                    return Ok(false);
                }
                let changed = status.wait_for(|s| is_ready(s) || too_few(s)).await;
                if is_ready(&*changed.map_err(|_| ConnectError::Ended)?) {
                    return Ok(true);
                }
            }
        };
        if !timeout_at(deadline - Duration::from_millis(50), ready).await.unwrap_or(Ok(false))? {
            let why = match &*self.uplink.status().borrow() {
                UplinkStatus::Waiting { reason, .. } => reason.clone(),
                _ => "connecting to the first mixes".to_owned(),
            };
            return Err(ConnectError::NotPrivate { why });
        }
        let directory = self.uplink.directory().borrow().clone();
        directory.ok_or_else(|| ConnectError::NotPrivate { why: "there is no directory of mixes yet".to_owned() })
    }

    /// The descriptor: as known, or from the mixes of its ring, of this period or of the nearer neighbour. First in the fog of which the address is
    /// thought to be, and only when nothing is there in all others that count, side by side: who keeps descriptors there learns that one
    /// of an address is looked for, which it can tell only if it knows that address.
    async fn known(&mut self, directory: &Directory) -> Option<Arc<Known>> {
        let now = directory.time(directory::clock());
        let period = Period::at(now);
        if let Some(known) = &self.known
            && known.blinded.period == period
            && known.since.elapsed() < KNOWN_LIFE
        {
            return Some(known.clone());
        }
        let half = period.start().0.midpoint(period.end().0);
        let neighbour = if now.0 < half { period.prev() } else { period.next() };
        let home = self.home.filter(|fog| directory.counts(fog)).unwrap_or(directory.fog);
        for at_home in [true, false] {
            for period in [period, neighbour] {
                let blinded = self.address.blinded(period).ok()?.with(self.access.as_ref());
                let mut rings = directory.rings(&blinded.key);
                rings.retain(|(fog, _)| (*fog == home) == at_home);
                let Some((fog, found)) = self.look_up(&blinded, rings, now).await else { continue };
                let Found { descriptor, seal, direct, .. } = found;
                let mark = seal.as_ref().map(|seal| seal.mark(&blinded));
                let known = Arc::new(Known { blinded, descriptor, seal, mark, direct, since: Moment::now() });
                self.level = Some(known.descriptor.level);
                self.home = Some(fog);
                self.known = Some(known.clone());
                return Some(known);
            }
        }
        None
    }

    /// The newest descriptor that these rings' mixes have, and the fog of that ring. A second answer is waited for a little, as of each ring's mixes.
    async fn look_up(&mut self, blinded: &Blinded, rings: Vec<(FogId, Vec<MixId>)>, now: UnixMs) -> Option<(FogId, Found)> {
        let locked = AtomicBool::new(false);
        let level = self.level.unwrap_or(LOOKUP_LEVEL);
        let how = How { at_once: rings.len(), ..BOTH };
        let (this, locked_in) = (&*self, &locked);
        let found = hedge::several(rings, how, |(fog, ring)| async move {
            Some((fog, this.in_ring(blinded, ring, level, locked_in, now).await?))
        });
        let found = found.await.into_iter().max_by_key(|(_, found)| found.revision);
        self.locked |= locked.load(Relaxed);
        found
    }

    /// The newest descriptor that a ring's mixes have.
    async fn in_ring(
        &self,
        blinded: &Blinded,
        mut ring: Vec<MixId>,
        level: Level,
        locked: &AtomicBool,
        now: UnixMs,
    ) -> Option<Found> {
        ring.shuffle(&mut rand::rng());
        let (uplink, address, memory) = (&self.uplink, &self.address, &self.memory);
        let found = hedge::several(ring, BOTH, |mix| async move {
            let ask = uplink.ask(mix, level, |surb| ToMix::FetchDescriptor { blinded: blinded.key, surb });
            match timeout(ASK, ask).await {
                Ok(Ok(FromMix::Descriptor(Some(bytes)))) => match open(&bytes, blinded, address, memory, now) {
                    Ok(found) => Some(found),
                    Err(ProofError::Locked) => {
                        locked.store(true, Relaxed);
                        None
                    }
                    Err(error) => {
                        tracing::debug!(%error, "a mix gave a descriptor that does not hold");
                        None
                    }
                },
                _ => None,
            }
        });
        found.await.into_iter().max_by_key(|found| found.revision)
    }

    /// The live leases, as two introduction points together list them.
    async fn leases(&self, known: &Known, directory: &Directory) -> Vec<Listed> {
        let now = directory.time(directory::clock());
        let listed = |id: &MixId| directory.mix(*id).is_some();
        let mut points: Vec<MixId> = known.descriptor.introduction_points.iter().copied().filter(listed).collect();
        points.shuffle(&mut rand::rng());
        // Those that failed lately come last.
        points.sort_by_key(|id| self.failed_points.contains_key(id));
        let (uplink, blinded) = (&self.uplink, &known.blinded);
        let lists = hedge::several(points, BOTH, |point| async move {
            let ask = uplink.ask(point, known.descriptor.level, |surb| ToMix::FetchLeases {
                blinded: blinded.key,
                unlock: blinded.unlock(),
                surb,
            });
            let Ok(Ok(FromMix::Leases(list))) = timeout(ASK, ask).await else { return None };
            let holds = |bytes: &Vec<u8>| {
                Lease::open_for(bytes, blinded, now)
                    .inspect_err(|error| tracing::debug!(%error, "an introduction point listed a lease that does not hold"))
                    .ok()
            };
            let leases: Vec<Lease> = list.iter().take(ContainerSpec::MAX_INSTANCES.into()).filter_map(holds).collect();
            (!leases.is_empty()).then_some((point, leases))
        });
        newest(lists.await.into_iter().flat_map(|(point, leases)| leases.into_iter().map(move |lease| (point, lease))))
    }

    /// One of the leases by weight, those that failed lately only when there is no other and a while has passed; and the points where to use it,
    /// those last that failed lately.
    fn choose<'l>(&self, leases: &'l [Listed]) -> Option<(&'l Lease, Vec<MixId>)> {
        let draw = |allowed: &dyn Fn(&Lease) -> bool| {
            let allowed: Vec<&Listed> = leases.iter().filter(|l| allowed(&l.lease)).collect();
            by_weight(&allowed, rand::rng().random::<f64>())
        };
        let failed = |l: &Lease| self.failed_instances.get(&l.instance);
        let chosen = draw(&|l| failed(l).is_none()).or_else(|| draw(&|l| failed(l).is_some_and(|at| at.elapsed() >= AGAIN)))?;
        let mut points = chosen.at.clone();
        points.sort_by_key(|id| self.failed_points.contains_key(id));
        Some((&chosen.lease, points))
    }
}

/// A descriptor that was found.
struct Found {
    descriptor: Descriptor,
    seal: Option<SiteSeal>,
    direct: bool,
    revision: u64,
}

/// A descriptor and what goes with it, when the whole chain holds and no newer seal was seen before.
fn open(bytes: &[u8], blinded: &Blinded, address: &Address, memory: &Memory, now: UnixMs) -> Result<Found, ProofError> {
    let (descriptor, revision, terms) = Descriptor::open_revision(bytes, blinded, now)?;
    let seal = descriptor.seal.as_deref().map(|seal| SiteSeal::open(seal, address)).transpose()?;
    match &seal {
        Some(seal) if !memory.admit(seal) => Err(ProofError::Expired { what: "seal" }),
        _ => Ok(Found { descriptor, seal, direct: terms.direct, revision }),
    }
}
