//! Many containers at once on devices that they share.
//!
//! min Σ over containers of what [`crate::plan`] counts (devices, further copies at one owner) + fragmentation · Σ over used devices and resources of
//! ((free − given) / capacity)², so that the rows of each container hold and no device gives more than it has free.

mod bound;
mod bundle;
mod market;
mod place;
mod types;

pub use types::{BatchPlan, Container, Fog, Placement};

use crate::{cost::Policy, problem::Rows, sift};
use bound::{Pays, Priced};
use bundle::Bundle;
use fogbank_model::Dimension;
use market::{Market, value};
use place::Placing;
use std::{num::NonZeroUsize, thread};

/// Containers whose payments say what prices are best.
const SAMPLE: usize = 100;
/// What resources are worth, in parts of what they are worth to a fluid.
const SCALES: [f64; 3] = [0.1, 0.2, 0.35];
/// Bundles that share a pool of devices, one after the other.
const CHUNK: usize = 100;

/// Decides where all of these go. Which are not placed can be asked about one by one ([`crate::plan`]).
pub fn plan_all(fog: &Fog, containers: &[Container], policy: &Policy) -> BatchPlan {
    let market = Market::new(&fog.devices, policy);
    let bundles = Bundle::all(containers, &market, policy);
    let prices = prices(&market, &bundles, policy);
    let priced = Priced::new(&market, &prices, policy.churn_cap);
    let pays = all_pay(&priced, &bundles.iter().collect::<Vec<_>>());
    let mut placing = Placing::new(policy, containers, &bundles, &priced, &pays);
    placing.all(&priced, &pays);
    let (devices, fragmentation) = placing.costs();
    let cost = devices + fragmentation;
    let paid: f64 = pays.iter().enumerate().filter(|(i, _)| placing.is_placed(*i)).map(|(_, pays)| pays.at_least).sum();
    let lower_bound = (paid - back(&market, &prices)).max(0.0);
    let gap = if lower_bound > 0.0 { (cost - lower_bound) / lower_bound } else { 0.0 };
    BatchPlan { placements: placing.placements(), cost, fragmentation, lower_bound, gap }
}

/// What comes back of what is paid, at most.
fn back(market: &Market, prices: &[[f64; 4]]) -> f64 {
    market.stalls.iter().zip(prices).map(|(stall, price)| value(price, &stall.free)).sum()
}

/// The prices of those that are tried at which a sample of the containers pays most.
fn prices(market: &Market, bundles: &[Bundle], policy: &Policy) -> Vec<[f64; 4]> {
    let sample: Vec<&Bundle> = bundles.iter().step_by(bundles.len().div_ceil(SAMPLE).max(1)).collect();
    let scale = bundles.len() as f64 / sample.len().max(1) as f64;
    let pays = |prices: &[[f64; 4]]| -> f64 {
        let priced = Priced::new(market, prices, policy.churn_cap);
        all_pay(&priced, &sample).iter().map(|p| p.at_least).sum::<f64>() * scale - back(market, prices)
    };
    let free = vec![[0.0; 4]; market.stalls.len()];
    let mut best = (pays(&free), free);
    let least = market.stalls.iter().map(|s| s.cost).fold(f64::INFINITY, f64::min);
    let worth = fluid(market, bundles, least);
    for scale in SCALES {
        let prices = market.prices(&worth.map(|w| w * scale), least);
        let paid = pays(&prices);
        if paid > best.0 {
            best = (paid, prices);
        }
    }
    best.1
}

/// What a unit of each resource is worth in the whole fog, if containers were a fluid: the prices of the relaxation in which all ask together.
fn fluid(market: &Market, bundles: &[Bundle], copy: f64) -> [f64; 4] {
    let asked = Dimension::ALL.map(|d| bundles.iter().map(|b| b.request.requirements.get(d) as f64).sum::<f64>());
    let row = |d: Dimension, asked: f64| market.stalls.iter().map(|s| s.free.get(d) as f64 / asked.max(1.0)).collect();
    let rows = Rows {
        rows: Dimension::ALL.into_iter().zip(asked).map(|(d, asked)| row(d, asked)).collect(),
        need: asked.map(|asked| if asked > 0.0 { 1.0 } else { 0.0 }).to_vec(),
        costs: market.stalls.iter().map(|s| (s.cost - copy).max(0.0)).collect(),
    };
    let Some(relaxed) = sift::solve(&rows) else { return [0.0; 4] };
    let mut worth = [0.0; 4];
    worth.iter_mut().zip(&relaxed.prices).zip(asked).for_each(|((worth, price), asked)| *worth = price / asked.max(1.0));
    worth
}

/// What each pays at least; in chunks that do not know of each other, so that the number of threads changes nothing.
fn all_pay(priced: &Priced<'_>, bundles: &[&Bundle]) -> Vec<Pays> {
    let chunks: Vec<&[&Bundle]> = bundles.chunks(CHUNK).collect();
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(chunks.len().max(1));
    let of_chunk = |chunk: &[&Bundle]| -> Vec<Pays> {
        let mut pool = Vec::new();
        chunk.iter().map(|bundle| priced.pays(bundle, &mut pool)).collect()
    };
    let mut found: Vec<(usize, Vec<Pays>)> = thread::scope(|scope| {
        let (chunks, of_chunk) = (&chunks, &of_chunk);
        let work =
            |first: usize| move || (first..chunks.len()).step_by(threads).map(|i| (i, of_chunk(chunks[i]))).collect::<Vec<_>>();
        let running: Vec<_> = (0..threads).map(|first| scope.spawn(work(first))).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    found.sort_by_key(|(i, _)| *i);
    found.into_iter().flat_map(|(_, pays)| pays).collect()
}
