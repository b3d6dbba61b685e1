//! The way to one instance of a service: descriptor, leases, choice, introduction. Every step is tried at another mix or instance when it
//! fails, until the deadline.

use super::{
    ConnectError, Trust, hedge,
    trust::{Memory, Seals},
};
use crate::{
    address::{Address, Blinded, Period},
    descriptor::Descriptor,
    directory::{self, Directory},
    lease::Lease,
    message::{FromMix, MailboxId, Meeting, ToMix},
    proof::ProofError,
    rendezvous::{Place, meet},
    seal::SiteSeal,
    service::{Word, prologue},
    tunnel::{self, Side, Tunnel, TunnelConfig},
    uplink::{Uplink, UplinkStatus},
};
use fogbank_model::{ContainerSpec, InstanceId, Level, MixId, UnixMs};
use rand::{Rng as _, RngExt as _, seq::SliceRandom as _};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant as Moment},
};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Delay for questions whose container's level is not known yet.
const LOOKUP_LEVEL: Level = Level::Balanced;
/// One question to one mix, with the uplink's own repetitions.
const ASK: Duration = Duration::from_secs(4);
/// A mix that has not answered by then is not waited for alone: four times the usual round trip.
const PATIENCE: Duration = Duration::from_millis(800);
/// From introduction to answer: seven legs' hops of the slowest level twice over, and the host's repetition of a lost answer.
const ANSWER: Duration = Duration::from_secs(3);
/// An instance or a point that failed is left alone this long, when there are others.
const AVOID: Duration = Duration::from_secs(30);
/// When all have failed, one is tried again after this.
const AGAIN: Duration = Duration::from_secs(2);
/// Pause before asking for leases again when none could be tried: a replacement registers within seconds.
const PAUSE: Duration = Duration::from_millis(400);
/// Looks at the leases that find none but copies that lied: a replacement registers within seconds, and a point may know of others.
const LIARS_LOOKS: usize = 4;
/// Introductions in one opening at most: all of OPEN_WAIT at [`ANSWER`] each, and as many quick refusals.
const MAX_INTRODUCTIONS: usize = 14;

/// What is known of the service in a period.
struct Known {
    blinded: Blinded,
    descriptor: Descriptor,
    /// Checked against the address.
    seal: Option<SiteSeal>,
}

/// Finds the way, and remembers what failed.
pub(super) struct Reach {
    uplink: Uplink,
    address: Address,
    known: Option<Arc<Known>>,
    failed_instances: HashMap<InstanceId, Moment>,
    failed_points: HashMap<MixId, Moment>,
    current: Option<InstanceId>,
    memory: Arc<Memory>,
    seals: Seals,
}

/// A way that was found.
pub(super) struct Reached {
    pub(super) tunnel: Tunnel,
    pub(super) instance: InstanceId,
    pub(super) seal: Option<SiteSeal>,
    /// How long the introduction took.
    pub(super) round_trip: Duration,
}

/// What went wrong with one introduction.
enum Missed {
    /// At the point.
    Point(String),
    /// At the instance.
    Instance(String),
}

impl Reach {
    pub(super) fn new(uplink: Uplink, address: Address, memory: Arc<Memory>, seals: Seals) -> Self {
        let (failed_instances, failed_points) = (HashMap::new(), HashMap::new());
        Self { uplink, address, known: None, failed_instances, failed_points, current: None, memory, seals }
    }

    /// What is remembered of the address.
    pub(super) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// The tunnel opened last has died.
    pub(super) fn current_failed(&mut self) {
        if let Some(instance) = self.current.take() {
            self.failed_instances.insert(instance, Moment::now());
        }
    }

    /// The instance behind the tunnel opened last is leaving.
    pub(super) fn current_leaves(&mut self) {
        self.current_failed();
    }

    /// A tunnel to one instance.
    pub(super) async fn open(&mut self, deadline: Instant) -> Result<Reached, ConnectError> {
        self.failed_instances.retain(|_, at| at.elapsed() < AVOID);
        self.failed_points.retain(|_, at| at.elapsed() < AVOID);
        let mut why = "no mix was reached".to_owned();
        let (mut published, mut introductions, mut liars) = (false, 0, 0);
        let search = async {
            loop {
                let directory = self.ready(deadline).await?;
                let Some(known) = self.known(&directory).await else {
                    why = "no mix has a descriptor of it".to_owned();
                    // Published a moment ago, perhaps: spreading takes a second.
                    sleep(PAUSE).await;
                    continue;
                };
                published = true;
                let Some((point, mut leases)) = self.leases(&known, &directory).await else {
                    why = "no introduction point lists a copy".to_owned();
                    self.known = None;
                    sleep(PAUSE).await;
                    continue;
                };
                leases.retain(|lease| !self.memory.lied(lease.instance));
                if leases.is_empty() {
                    liars += 1;
                    if liars >= LIARS_LOOKS {
                        return Err(ConnectError::NoHonest);
                    }
                    self.failed_points.insert(point, Moment::now());
                    // The publisher may have sealed anew what all the copies give.
                    self.known = None;
                    sleep(PAUSE).await;
                    continue;
                }
                let Some(lease) = self.choose(&leases) else {
                    sleep(PAUSE).await;
                    continue;
                };
                introductions += 1;
                let began = Moment::now();
                match self.introduce(&known, &directory, point, lease).await {
                    Ok(tunnel) => {
                        self.failed_instances.remove(&lease.instance);
                        self.current = Some(lease.instance);
                        self.memory.set(if known.seal.is_some() { Trust::Checked } else { Trust::Unchecked });
                        let round_trip = began.elapsed();
                        return Ok(Reached { tunnel, instance: lease.instance, seal: known.seal, round_trip });
                    }
                    Err(Missed::Point(reason)) => {
                        self.failed_points.insert(point, Moment::now());
                        why = reason;
                    }
                    Err(Missed::Instance(reason)) => {
                        self.failed_instances.insert(lease.instance, Moment::now());
                        why = reason;
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

    /// Waits until there are mixes enough. Fail closed.
    async fn ready(&self, deadline: Instant) -> Result<Arc<Directory>, ConnectError> {
        let mut status = self.uplink.status();
        let ready =
            timeout_at(deadline - Duration::from_millis(50), status.wait_for(|s| matches!(s, UplinkStatus::Ready { .. })));
        match ready.await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Err(ConnectError::Ended),
            Err(_) => {
                let why = match &*self.uplink.status().borrow() {
                    UplinkStatus::Waiting { reason, .. } => reason.clone(),
                    _ => "connecting to the first mixes".to_owned(),
                };
                return Err(ConnectError::NotPrivate { why });
            }
        }
        let directory = self.uplink.directory().borrow().clone();
        directory.ok_or_else(|| ConnectError::NotPrivate { why: "there is no directory of mixes yet".to_owned() })
    }

    /// The descriptor: as known, or from the mixes of its ring, of this period or of the nearer neighbour.
    async fn known(&mut self, directory: &Directory) -> Option<Arc<Known>> {
        let now = directory.time(directory::clock());
        let period = Period::at(now);
        if let Some(known) = &self.known
            && known.blinded.period == period
        {
            return Some(known.clone());
        }
        let half = period.start().0.midpoint(period.end().0);
        let neighbour = if now.0 < half { period.prev() } else { period.next() };
        for period in [period, neighbour] {
            let blinded = self.address.blinded(period).ok()?;
            let mut ring = directory.ring(&blinded.key);
            ring.shuffle(&mut rand::rng());
            let (uplink, key, address, seals) = (&self.uplink, &blinded, &self.address, &self.seals);
            let found = hedge::first(ring, PATIENCE, |mix| async move {
                let ask = uplink.ask(mix, LOOKUP_LEVEL, |surb| ToMix::FetchDescriptor { blinded: key.key, surb });
                match timeout(ASK, ask).await {
                    Ok(Ok(FromMix::Descriptor(Some(bytes)))) => match open(&bytes, key, address, seals, now) {
                        Ok(opened) => Some(opened),
                        Err(error) => {
                            tracing::debug!(%error, "a mix gave a descriptor that does not hold");
                            None
                        }
                    },
                    _ => None,
                }
            })
            .await;
            if let Some((descriptor, seal)) = found {
                let known = Arc::new(Known { blinded, descriptor, seal });
                self.known = Some(known.clone());
                return Some(known);
            }
        }
        None
    }

    /// The live leases and the point that listed them.
    async fn leases(&self, known: &Known, directory: &Directory) -> Option<(MixId, Vec<Lease>)> {
        let now = directory.time(directory::clock());
        let listed = |id: &MixId| directory.mix(*id).is_some();
        let mut points: Vec<MixId> = known.descriptor.introduction_points.iter().copied().filter(listed).collect();
        points.shuffle(&mut rand::rng());
        // Those that failed lately come last.
        points.sort_by_key(|id| self.failed_points.contains_key(id));
        let (uplink, blinded) = (&self.uplink, &known.blinded);
        hedge::first(points, PATIENCE, |point| async move {
            let ask = uplink.ask(point, LOOKUP_LEVEL, |surb| ToMix::FetchLeases { blinded: blinded.key, surb });
            let Ok(Ok(FromMix::Leases(list))) = timeout(ASK, ask).await else { return None };
            let leases = newest(list.iter().take(ContainerSpec::MAX_INSTANCES.into()).filter_map(|bytes| {
                Lease::open_for(bytes, blinded, now)
                    .inspect_err(|error| tracing::debug!(%error, "an introduction point listed a lease that does not hold"))
                    .ok()
            }));
            if leases.is_empty() { None } else { Some((point, leases)) }
        })
        .await
    }

    /// One of the leases by weight, those that failed lately only when there is no other and a while has passed.
    fn choose<'l>(&self, leases: &'l [Lease]) -> Option<&'l Lease> {
        let draw = |allowed: &dyn Fn(&Lease) -> bool| {
            let allowed: Vec<&Lease> = leases.iter().filter(|l| allowed(l)).collect();
            by_weight(&allowed, rand::rng().random::<f64>())
        };
        let failed = |l: &Lease| self.failed_instances.get(&l.instance);
        draw(&|l| failed(l).is_none()).or_else(|| draw(&|l| failed(l).is_some_and(|at| at.elapsed() >= AGAIN)))
    }

    async fn introduce(&self, known: &Known, directory: &Directory, point: MixId, lease: &Lease) -> Result<Tunnel, Missed> {
        let nowhere = || Missed::Point("there is no mix to meet at".to_owned());
        let at = self.uplink.rendezvous(directory, point).ok_or_else(nowhere)?;
        let level = known.descriptor.level;
        let [visitor, host] = [mailbox(), mailbox()];
        let meeting = Meeting { rendezvous: at, visitor, host, level };
        let bad_key = |error: &dyn std::fmt::Display| Missed::Instance(format!("its introduction key can't be used: {error}"));
        let payload = meeting.encode().map_err(|e| bad_key(&e))?;
        let prologue = prologue(&known.blinded.key, lease.instance);
        let (initiation, hello) = tunnel::initiate(&lease.introduction_key, &prologue, &payload).map_err(|e| bad_key(&e))?;
        let mut pipe = meet(&self.uplink, Place { at, mine: visitor, peer: host, level }, None);
        let passed = self.uplink.ask(point, level, |surb| ToMix::Introduce {
            blinded: known.blinded.key,
            instance: lease.instance,
            hello: hello.clone(),
            surb,
        });
        let passed = async {
            match passed.await {
                Ok(FromMix::Introduced) => Ok(()),
                Ok(FromMix::Refused(why)) => Err(Missed::Instance(format!("an introduction point refused: {why}"))),
                Ok(_) => Err(Missed::Point("an introduction point answered something else".to_owned())),
                Err(error) => Err(Missed::Point(format!("an introduction point does not answer: {error}"))),
            }
        };
        let answer = async {
            tokio::select! {
                answer = pipe.recv.recv() => Ok(answer),
                missed = passed => match missed {
                    Ok(()) => Ok(pipe.recv.recv().await),
                    Err(missed) => Err(missed),
                },
            }
        };
        let silent = || Missed::Instance("a copy of the site does not answer".to_owned());
        let answer = timeout(ANSWER, answer).await.map_err(|_| silent())??.ok_or_else(silent)?;
        let (keys, word) =
            initiation.finish(&answer).map_err(|_| Missed::Instance("a copy of the site answered garbage".to_owned()))?;
        match Word::of(&word) {
            Some(Word::Come) => Ok(Tunnel::spawn(keys, Side::Visitor, pipe, TunnelConfig::default())),
            Some(Word::Leaving) => Err(Missed::Instance("a copy of the site is leaving".to_owned())),
            Some(Word::Full) => Err(Missed::Instance("a copy of the site has too many visitors".to_owned())),
            None => Err(Missed::Instance("a copy of the site answered garbage".to_owned())),
        }
    }
}

/// A descriptor and its seal, when the whole chain holds and no newer seal was seen before.
fn open(
    bytes: &[u8],
    blinded: &Blinded,
    address: &Address,
    seals: &Seals,
    now: UnixMs,
) -> Result<(Descriptor, Option<SiteSeal>), ProofError> {
    let descriptor = Descriptor::open(bytes, blinded, now)?;
    let seal = descriptor.seal.as_deref().map(|seal| SiteSeal::open(seal, address)).transpose()?;
    match &seal {
        Some(seal) if !seals.admit(address.onion(), seal) => Err(ProofError::Expired { what: "seal" }),
        _ => Ok((descriptor, seal)),
    }
}

fn mailbox() -> MailboxId {
    let mut id = [0; 16];
    rand::rng().fill_bytes(&mut id);
    MailboxId(id)
}

/// One lease an instance, the one that holds longest.
fn newest(leases: impl Iterator<Item = Lease>) -> Vec<Lease> {
    let mut by_instance: HashMap<InstanceId, Lease> = HashMap::new();
    for lease in leases {
        let known = by_instance.get(&lease.instance).map(|l| l.expires);
        if known.is_none_or(|expires| expires < lease.expires) {
            by_instance.insert(lease.instance, lease);
        }
    }
    by_instance.into_values().collect()
}

/// The one into whose share of all weights `at` in [0,1) falls.
fn by_weight<'l>(leases: &[&'l Lease], at: f64) -> Option<&'l Lease> {
    let total: f64 = leases.iter().map(|l| f64::from(l.weight)).sum();
    let mut left = at * total;
    for lease in leases {
        left -= f64::from(lease.weight);
        if left < 0.0 {
            return Some(lease);
        }
    }
    leases.last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(instance: u8, weight: u16, expires: i64) -> Lease {
        Lease {
            instance: InstanceId([instance; 16]),
            introduction_key: [0; 32],
            weight,
            expires: UnixMs(expires),
            introduction_points: vec![],
            period: Period(0),
        }
    }

    #[test]
    fn weights_share_the_visitors() {
        let leases = [lease(1, 1, 0), lease(2, 3, 0)];
        let all: Vec<&Lease> = leases.iter().collect();
        let first = (0..1000).filter(|i| by_weight(&all, f64::from(*i) / 1000.0).unwrap().instance.0[0] == 1).count();
        assert_eq!(first, 250);
        assert!(by_weight(&[], 0.5).is_none());
    }

    #[test]
    fn the_newest_lease_of_an_instance_counts() {
        let kept = newest([lease(1, 1, 5), lease(1, 2, 9), lease(1, 3, 7), lease(2, 1, 1)].into_iter());
        assert_eq!(kept.len(), 2);
        assert!(kept.iter().any(|l| l.instance.0[0] == 1 && l.weight == 2));
    }
}
