//! What would make a request fit that does not: the smallest changes of one kind each, every one of them planned before it is named.

use crate::{
    cost::Policy,
    problem::{MOST_AVAILABLE, Problem},
    reasons, solve,
    types::{BatteryShare, DeviceSnapshot, Snapshot},
};
use fogbank_model::{DeviceId, OwnerId, Resources};
use std::{collections::HashSet, fmt};

/// Devices that may be asked for at most: who lacks more lacks another fog.
const MOST_DEVICES: u64 = 1_000;

/// One change of the request, of the rules or of the fog after which a request fits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Remedy {
    /// So many more devices, on mains, each of another owner.
    Devices {
        /// How many.
        count: u64,
        /// What each has free.
        free: Resources,
        /// The probability in [0,1] that each stays.
        availability: f64,
    },
    /// Fewer copies.
    Copies {
        /// So many.
        instances: u8,
    },
    /// A smaller copy.
    Minimum {
        /// What one copy may need.
        minimum: Resources,
    },
    /// Less in all.
    Requirements {
        /// What all copies together may be given.
        requirements: Resources,
    },
    /// A lower availability target.
    Availability {
        /// In [0,1).
        target: f64,
    },
    /// More changes of hosts at once.
    Changes {
        /// So many, as [`Policy::churn_cap`].
        allowed: usize,
    },
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Devices { count, free, availability } => {
                let devices = if *count == 1 { "one more device".to_owned() } else { format!("{count} more devices, each") };
                write!(f, "{devices} with {} free and an availability of {:.2} %", reasons::amounts(free), availability * 100.0)
            }
            Self::Copies { instances: 1 } => f.write_str("one copy"),
            Self::Copies { instances } => write!(f, "{instances} copies"),
            Self::Minimum { minimum } => write!(f, "a copy of {}", reasons::amounts(minimum)),
            Self::Requirements { requirements } => write!(f, "{} in all", reasons::amounts(requirements)),
            Self::Availability { target } => write!(f, "an availability of {:.4} %", target * 100.0),
            Self::Changes { allowed } => write!(f, "{allowed} changes of hosts at once"),
        }
    }
}

/// The changes after each of which the request fits, the smallest first: by what part of what was asked it takes away, or of what there is it adds.
/// None where it fits already.
pub fn remedies(snapshot: &Snapshot, policy: &Policy) -> Vec<Remedy> {
    let problem = Problem::new(snapshot, policy);
    if solve(&problem, policy).is_some() {
        return Vec::new();
    }
    let all: Vec<usize> = (0..problem.candidates.len()).collect();
    let sums = problem.sums(&all);
    let mut tried = Vec::new();
    let request = snapshot.request;
    if let Some(instances) = u8::try_from(all.len()).ok().filter(|n| *n > 0 && *n < request.instances) {
        tried.push((1.0 - f64::from(instances) / f64::from(request.instances), Remedy::Copies { instances }));
    }
    if let Some(largest) = reasons::infeasible(snapshot, &problem, policy).largest {
        tried.push((cut(&request.requirements, &largest), Remedy::Requirements { requirements: largest }));
    }
    if let Some(asked) = request.availability_target.filter(|_| sums.log_availability < problem.log_target) {
        let target = -(-sums.log_availability).exp_m1();
        tried.push((1.0 - sums.log_availability / problem.log_target, Remedy::Availability { target: target.min(asked) }));
    }
    if let Some(cap) = policy.churn_cap {
        let allowed = reasons::changes_needed(&problem, policy);
        tried.push(((allowed.saturating_sub(cap)) as f64 / allowed.max(1) as f64, Remedy::Changes { allowed }));
    }
    if let Some(minimum) = nearest_copy(snapshot) {
        tried.push((cut(&request.minimum, &minimum), Remedy::Minimum { minimum }));
    }
    if let Some(devices) = devices(&problem) {
        let Remedy::Devices { count, .. } = devices else { return Vec::new() };
        tried.push((count as f64 / (count as f64 + all.len() as f64), devices));
    }
    tried.retain(|(_, remedy)| {
        let (snapshot, policy) = with(snapshot, policy, remedy);
        solve(&Problem::new(&snapshot, &policy), &policy).is_some()
    });
    tried.sort_by(|a, b| a.0.total_cmp(&b.0));
    tried.into_iter().map(|(_, remedy)| remedy).collect()
}

/// The largest part that is taken away in any dimension.
fn cut(asked: &Resources, left: &Resources) -> f64 {
    reasons::shortest(asked, left).map_or(0.0, |(share, _)| 1.0 - share)
}

/// A copy as the roomiest device could take it, where none could take one as it is.
fn nearest_copy(snapshot: &Snapshot) -> Option<Resources> {
    let minimum = snapshot.request.minimum;
    let suitable: Vec<&DeviceSnapshot> = snapshot.devices.iter().filter(|d| d.suitable).collect();
    if suitable.iter().any(|d| d.free.covers(&minimum)) {
        return None;
    }
    let share = |d: &DeviceSnapshot| reasons::shortest(&minimum, &d.free).map_or(1.0, |(share, _)| share);
    let nearest = suitable.into_iter().max_by(|a, b| share(a).total_cmp(&share(b)).then(b.id.cmp(&a.id)))?;
    Some(minimum.min(&nearest.free)).filter(|smaller| *smaller != Resources::ZERO)
}

/// As many equal devices as copies are missing, one at least, with what is missing of all else.
fn devices(problem: &Problem) -> Option<Remedy> {
    let all: Vec<usize> = (0..problem.candidates.len()).collect();
    let sums = problem.sums(&all);
    let request = &problem.request;
    let missing = |free: &Resources| Resources::from_fn(|d| request.requirements.get(d).saturating_sub(free.get(d)));
    let most = -(1.0 - MOST_AVAILABLE).ln();
    let log_missing = (problem.log_target - sums.log_availability).max(0.0);
    // As many as there are copies missing, and as it takes when each is as large and as sure as a device can be.
    let copies = problem.copies.saturating_sub(all.len()) as u64;
    let of_size = fogbank_model::Dimension::ALL.map(|d| missing(&sums.free).get(d).div_ceil(Resources::LIMIT.get(d)));
    let count = of_size.into_iter().fold(copies.max(1), u64::max).max((log_missing / most).ceil() as u64);
    let free = Resources::from_fn(|d| missing(&sums.free).get(d).div_ceil(count)).max(&request.minimum);
    // A little surer than the sum says, since it is a sum of logarithms.
    let availability = -(-(log_missing / count as f64) * (1.0 + 1e-9)).exp_m1();
    let can_be = count <= MOST_DEVICES && Resources::LIMIT.covers(&free);
    can_be.then_some(Remedy::Devices { count, free, availability: availability.min(MOST_AVAILABLE) })
}

/// The fog, the request and the rules after a change.
pub(crate) fn with(snapshot: &Snapshot, policy: &Policy, remedy: &Remedy) -> (Snapshot, Policy) {
    let (mut snapshot, mut policy) = (snapshot.clone(), policy.clone());
    match *remedy {
        Remedy::Devices { count, free, availability } => add_devices(&mut snapshot, count, free, availability),
        Remedy::Copies { instances } => snapshot.request.instances = instances,
        Remedy::Minimum { minimum } => snapshot.request.minimum = minimum,
        Remedy::Requirements { requirements } => snapshot.request.requirements = requirements,
        Remedy::Availability { target } => snapshot.request.availability_target = Some(target),
        Remedy::Changes { allowed } => policy.churn_cap = Some(allowed),
    }
    (snapshot, policy)
}

fn add_devices(snapshot: &mut Snapshot, count: u64, free: Resources, availability: f64) {
    let known: HashSet<DeviceId> = snapshot.devices.iter().map(|d| d.id).collect();
    let ids = (0_u64..).map(|n| {
        let mut id = [0xff; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        id
    });
    let new: Vec<[u8; 32]> = ids.filter(|id| !known.contains(&DeviceId(*id))).take(usize::try_from(count).unwrap_or(0)).collect();
    snapshot.devices.extend(new.into_iter().map(|id| DeviceSnapshot {
        id: DeviceId(id),
        owner: OwnerId(id),
        free,
        capacity: free,
        availability,
        battery: None::<BatteryShare>,
        reliability: 1.0,
        surcharge: 0.0,
        hosts: false,
        suitable: true,
    }));
}
