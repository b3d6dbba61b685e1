//! The runs: one cell for each size of network and design, on all cores, each from a seed of its own.

use crate::{
    adapter::{Design, Network},
    correlate::{Found, Sees, correlate, kernel},
    entropy::{Known, Watcher, mix_loops, watch},
    hostile::{Adversary, Drawn, Taken, draw, take, together},
    net::{Doors, Us, door},
    session::{Setting, run},
    stats::{Estimate, bootstrap, quantile},
    trace::{Group, Kind},
    tracks::MEETING,
};
use rand::{SeedableRng as _, rngs::StdRng};
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Visitors of one host at a time, where there are several users.
pub(crate) const VISITORS: usize = 5;
/// Hosts watched at once where fifty are active.
pub(crate) const HOSTS: usize = 10;
/// Worlds of fifty users in which single packets are followed: some 30,000 packets.
const WORLDS: usize = 8;
/// Draws of who is hostile: what is found depends a little on it.
pub(crate) const ADVERSARIES: u64 = 4;
/// Ways drawn to learn how long a packet takes.
const WAYS: usize = 20_000;

/// How much is run.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) sizes: Vec<usize>,
    /// Hosts with one visitor each, and hosts with [`VISITORS`].
    pub(crate) alone: usize,
    pub(crate) shared: usize,
    /// Visits begin within this, and are watched so long.
    pub(crate) spread: Us,
    pub(crate) window: Us,
    /// Cells at once. Nothing that is measured depends on it.
    pub(crate) jobs: usize,
}

impl Settings {
    /// The report's. 320 × 319 = 102,080 wrong pairs alone, 143 × 5 × 142 = 101,530 shared.
    pub(crate) fn full(seed: u64) -> Self {
        Self { seed, sizes: vec![7, 20, 100, 1_000], alone: 320, shared: 143, spread: 10_000_000, window: 30_000_000, jobs: 1 }
    }

    /// Where no more than a comparison is wanted: 9,900 wrong pairs alone, 7,800 shared.
    pub(crate) fn fewer(&self) -> Self {
        Self { alone: self.alone.min(100), shared: self.shared.min(40), ..self.clone() }
    }

    /// A tenth of the report's pairs: 9,900 wrong pairs alone, 7,800 shared.
    pub(crate) fn short(seed: u64) -> Self {
        Self { alone: 100, shared: 40, ..Self::full(seed) }
    }

    /// A look: too few pairs for the report.
    pub(crate) fn quick(seed: u64) -> Self {
        Self { sizes: vec![20], alone: 80, shared: 20, ..Self::full(seed) }
    }
}

/// What single packets tell.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Packets {
    pub(crate) users: usize,
    /// Share of hostile mixes that work with the watcher.
    pub(crate) hostile: f64,
    pub(crate) packets: usize,
    /// Bits, told how many mixes a packet has passed; and not told.
    pub(crate) entropy: Estimate,
    pub(crate) untold: Option<Estimate>,
    pub(crate) degree: Estimate,
    /// The median of |ln(p of the sender / p of another)|, and the share of packets for which it is infinite: the other is ruled out.
    pub(crate) likelihood: f64,
    pub(crate) ruled_out: f64,
}

/// One cell.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Cell {
    pub(crate) n: usize,
    pub(crate) design: &'static str,
    /// One visitor a host; several; several, through one of three guards at each end.
    pub(crate) alone: Found,
    pub(crate) shared: Found,
    pub(crate) one_guard: Found,
    pub(crate) packets: Vec<Packets>,
    /// What hostile mixes find: a tenth of all, and three tenths.
    pub(crate) taken: Vec<Taken>,
    /// Median seconds that a page takes one visitor, the share of visits that end in the window, and tunnels that gave up.
    pub(crate) page_s: f64,
    pub(crate) loaded: f64,
    pub(crate) failed: usize,
    /// Packets that a visit takes in both directions, cover apart.
    pub(crate) page_packets: f64,
}

/// Which cells are wanted of a design.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) n: usize,
    pub(crate) design: Design,
    pub(crate) spread: Us,
    /// What single packets tell as well, and what hostile mixes find.
    pub(crate) packets: bool,
}

/// Runs all of them.
pub(crate) fn run_all(settings: &Settings, wanted: &[Wanted], told: &(impl Fn(&Cell) + Sync)) -> Vec<Cell> {
    on_all(settings.jobs, wanted, &|one| {
        let cell = cell(settings, *one);
        told(&cell);
        cell
    })
}

/// Does something with each, so many at a time; results come in the order of the items.
pub(crate) fn on_all<T: Sync, R: Send>(jobs: usize, items: &[T], work: &(impl Fn(&T) -> R + Sync)) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some((number, one)) = Some(next.fetch_add(1, Relaxed)).and_then(|i| Some((i, items.get(i)?))) {
                    let result = work(one);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((number, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

/// The network of a size: the same for every design.
pub(crate) fn network(seed: u64, n: usize) -> (Network, Doors, StdRng) {
    let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(n as u64));
    let network = Network::new(n, &mut rng);
    let doors = Doors::new(n, &mut rng);
    (network, doors, rng)
}

/// Hosts with so many visitors each.
pub(crate) fn groups(setting: &Setting<'_>, hosts: usize, visitors: usize, seed: u64) -> Vec<Group> {
    let seeds = (0..hosts as u64).map(|i| seed.wrapping_mul(7_919).wrapping_add(visitors as u64 * 1_000_000 + i));
    seeds.map(|seed| run(setting, visitors, seed)).collect()
}

/// How long packets take from one access link to another, and to where they meet the other side.
pub(crate) fn ways(setting: &Setting<'_>, count: usize, rng: &mut StdRng) -> [Vec<Us>; 2] {
    let Setting { network, doors, design, .. } = setting;
    let draws = (0..count).filter_map(|_| {
        let (from, to) = (network.identity(rng), network.identity(rng));
        let meeting = network.rendezvous(&from, rng);
        let way = [network.out(&from, meeting, design.level, rng), network.back(&to, meeting, design.level, rng)].concat();
        let hops = doors.walk(door(rng), 0, 0, &way, rng);
        let (met, last) = hops.iter().find(|h| h.place == MEETING).zip(hops.last())?;
        Some((doors.home(last.mix, last.left, door(rng), rng), met.arrived))
    });
    let (whole, half) = draws.unzip();
    [whole, half]
}

/// Hostile mixes of so many: a tenth and three tenths, at least one.
fn hostile(n: usize) -> [usize; 2] {
    [(n / 10).max(1), (3 * n / 10).max(1)]
}

/// What hostile mixes find of groups, of which so many at a time are active together.
fn taken(setting: &Setting<'_>, groups: &[Group], worlds: &[usize], kernels: [&[f64]; 2], seed: u64) -> Vec<Taken> {
    let Setting { network, doors, design, window, .. } = setting;
    let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(104_729));
    let loops = design.mix_loops.map(|mean| mix_loops(network, doors, mean, design.level, *window, &mut rng)).unwrap_or_default();
    let visitors = groups.first().map_or(0, |g| g.access.len().saturating_sub(1));
    let mean_us = f64::from(fogbank_betanet::schedule::mean_delay_ms(design.level)) * 1_000.0;
    let mut all = Vec::new();
    for k in hostile(network.len()) {
        let mut by_world: Vec<Vec<Drawn>> = worlds.iter().map(|_| Vec::new()).collect();
        for number in 0..ADVERSARIES {
            let bad = draw(network.len(), k, seed.wrapping_mul(ADVERSARIES).wrapping_add(number));
            let adversary = Adversary { bad: &bad, doors, mean_us, window: *window, kernels, one_way: design.circuit };
            let drawn = take(groups, worlds, &loops, &adversary);
            by_world.iter_mut().zip(drawn).for_each(|(of, drawn)| of.push(drawn));
        }
        let by_world = by_world.iter().zip(worlds);
        all.extend(by_world.map(|(draws, groups)| together(draws, k, groups * visitors, seed)));
    }
    all
}

fn cell(settings: &Settings, wanted: Wanted) -> Cell {
    let Wanted { n, design, spread, packets: with_packets } = wanted;
    let (network, doors, mut rng) = network(settings.seed, n);
    let setting = Setting { network: &network, doors: &doors, design, spread, window: settings.window };
    let [kernel, half] = ways(&setting, WAYS, &mut rng).map(|ways| kernel(&ways));
    let kernels: [&[f64]; 2] = [&kernel, &half];
    let mut several = groups(&setting, settings.shared, VISITORS, settings.seed);
    let mut by_hostile = Vec::new();
    if with_packets {
        by_hostile = taken(&setting, &several, &[1, HOSTS], kernels, settings.seed);
    }
    // Only these groups' packets are followed one by one below; all of them would be gigabytes.
    several.iter_mut().skip(WORLDS * HOSTS).for_each(|g| g.packets = Vec::new());
    let mut single = groups(&setting, settings.alone, 1, settings.seed);
    let carried = |g: &Group| g.packets.iter().filter(|p| matches!(p.kind, Kind::Data | Kind::Refill)).count();
    let page_packets = single.iter().map(carried).sum::<usize>() as f64 / settings.alone.max(1) as f64;
    if with_packets {
        by_hostile.extend(taken(&setting, &single, &[1], kernels, settings.seed));
        by_hostile.sort_by_key(|t| (t.hostile, t.users));
    }
    single.iter_mut().for_each(|g| g.packets = Vec::new());
    let mut packets = Vec::new();
    if with_packets {
        let fifty: Vec<Vec<&Group>> = several.chunks_exact(HOSTS).take(WORLDS).map(|c| c.iter().collect()).collect();
        let five: Vec<Vec<&Group>> = several.iter().take(3 * HOSTS).map(|g| vec![g]).collect();
        packets.push(single_packets(&setting, &five, VISITORS, 0.0, &mut rng));
        for hostile in [0.0, 0.1, 0.2] {
            packets.push(single_packets(&setting, &fifty, VISITORS * HOSTS, hostile, &mut rng));
        }
    }
    let pages = &single;
    let mut times: Vec<f64> = pages.iter().flat_map(|g| &g.page_us).flatten().map(|us| *us as f64 / 1e6).collect();
    let visits = pages.iter().map(|g| g.page_us.len()).sum::<usize>().max(1);
    Cell {
        n,
        design: design.name,
        alone: correlate(&single, Sees::All, settings.window, &kernel, design.circuit),
        shared: correlate(&several, Sees::All, settings.window, &kernel, design.circuit),
        one_guard: correlate(&several, Sees::OneGuard, settings.window, &kernel, design.circuit),
        packets,
        taken: by_hostile,
        page_packets,
        loaded: times.len() as f64 / visits as f64,
        page_s: quantile(&mut times, 0.5),
        failed: single.iter().chain(&several).map(|g| g.failed).sum(),
    }
}

fn single_packets(setting: &Setting<'_>, worlds: &[Vec<&Group>], users: usize, hostile: f64, rng: &mut StdRng) -> Packets {
    let n = setting.network.len();
    let count = (n as f64 * hostile).round() as usize;
    let bad: Vec<bool> = (0..n).map(|mix| mix < count).collect();
    let views: &[bool] = if count == 0 { &[true, false] } else { &[true] };
    let watched: Vec<Vec<Vec<Known>>> = worlds
        .iter()
        .map(|world| {
            let Setting { network, doors, design, window, .. } = setting;
            let loops = design.mix_loops.map(|mean| mix_loops(network, doors, mean, design.level, *window, rng));
            let loops = loops.unwrap_or_default();
            views.iter().map(|places| watch(world, &loops, Watcher { places: *places, bad: &bad }, rng)).collect()
        })
        .collect();
    let column = |told: usize, of: fn(&Known) -> f64| -> Vec<Vec<f64>> {
        watched.iter().map(|w| w[told].iter().map(of).collect()).collect()
    };
    let mut likelihood: Vec<f64> = column(0, |k| k.likelihood).concat();
    let ruled_out = likelihood.iter().filter(|l| l.is_infinite()).count() as f64 / likelihood.len().max(1) as f64;
    Packets {
        users,
        hostile,
        packets: likelihood.len(),
        entropy: bootstrap(&column(0, |k| k.entropy), rng),
        untold: (views.len() > 1).then(|| bootstrap(&column(1, |k| k.entropy), rng)),
        degree: bootstrap(&column(0, |k| k.degree), rng),
        likelihood: quantile(&mut likelihood, 0.5),
        ruled_out,
    }
}
