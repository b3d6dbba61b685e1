//! What placing a bundle costs at least when each device's resources have a price (see [`super::market`]), for any prices and any worth of its rows.
//!
//! With worths π of its rows, `Σ_k π_k·R_k + Σ_d min(0, r_d)` is at most what it pays, where `r_d` is what a copy on d costs beyond what it is worth: in
//! each dimension it takes all that it could use where that is worth more than its price, and only what a copy needs where not. The worths come from
//! the relaxation among few devices, to which those are added that are worth more than they cost (as in [`crate::sift`]).

use super::{
    bundle::Bundle,
    market::{Market, Stall},
};
use crate::{
    problem::Rows,
    relax::{Start, solve_from},
};
use fogbank_model::{Dimension, Resources};

/// Rounds at most, and devices that are added in each.
const ROUNDS: usize = 12;
const ADDED: usize = 60;
/// Less than this below zero is rounding.
const NOTHING: f64 = 1e-7;
/// Taken off a bound, as a share of all that it is a sum of (as in [`crate::relax`]).
const ROUNDING: f64 = 1e-9;

/// What rows are worth: the four resources a unit, a copy, a logarithm of availability, and a change of hosts that is not made.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Worth {
    pub(crate) resources: [f64; 4],
    pub(crate) copy: f64,
    pub(crate) log_availability: f64,
    pub(crate) change: f64,
}

/// What a bundle pays at least.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pays {
    /// Whether its rows can be held at all, if it has the devices for itself.
    pub(crate) fits: bool,
    pub(crate) at_least: f64,
    pub(crate) worth: Worth,
}

/// The market at its prices, the cheapest devices first.
pub(crate) struct Priced<'a> {
    pub(crate) market: &'a Market,
    pub(crate) prices: &'a [[f64; 4]],
    churn_cap: Option<usize>,
    /// Places by cost.
    pub(crate) by_cost: Vec<usize>,
    /// What no device has more of.
    most: Resources,
    most_available: f64,
}

impl<'a> Priced<'a> {
    pub(crate) fn new(market: &'a Market, prices: &'a [[f64; 4]], churn_cap: Option<usize>) -> Self {
        let mut by_cost: Vec<usize> = (0..market.stalls.len()).collect();
        by_cost.sort_by(|a, b| market.stalls[*a].cost.total_cmp(&market.stalls[*b].cost).then(a.cmp(b)));
        let most = market.stalls.iter().fold(Resources::ZERO, |most, s| most.max(&s.free));
        let most_available = market.stalls.iter().map(|s| s.log_availability).fold(0.0, f64::max);
        Self { market, prices, churn_cap, by_cost, most, most_available }
    }

    /// What a copy on a device costs a bundle beyond what it is worth, if it finds so much free there.
    pub(crate) fn beyond(&self, bundle: &Bundle, worth: &Worth, place: usize, free: &Resources) -> f64 {
        let stall = &self.market.stalls[place];
        let availability = stall.log_availability.min(bundle.log_target);
        let mut cost = bundle.cost_at(place, stall) - worth.copy - worth.log_availability * availability;
        if worth.change > 0.0 {
            cost += if bundle.hosts.binary_search(&place).is_ok() { -worth.change } else { worth.change };
        }
        for ((k, price), worth) in Dimension::ALL.into_iter().zip(&self.prices[place]).zip(&worth.resources) {
            let by = price - worth;
            let least = bundle.request.minimum.get(k);
            let takes = if by < 0.0 { free.get(k).min(bundle.request.requirements.get(k)).max(least) } else { least };
            cost += by * takes as f64;
        }
        cost
    }

    /// Those that are worth more than they cost, with by how much, and maybe some that are not: no further one could be.
    fn bargains(&self, bundle: &Bundle, worth: &Worth) -> Vec<(f64, usize)> {
        let most = bundle.of_use(&self.most).max(&bundle.request.minimum);
        let value = super::market::value(&worth.resources, &most);
        let most = value + worth.copy + worth.log_availability * self.most_available + worth.change;
        let members = bundle.members.len() as f64;
        let stays = bundle.stays.values().copied().fold(0.0, f64::max);
        let cheap = self.by_cost.iter().take_while(|place| members * self.market.stalls[**place].cost - stays < most);
        let can = |place: &usize| self.market.stalls[*place].free.covers(&bundle.request.minimum);
        let beyond = |place: usize| (self.beyond(bundle, worth, place, &self.market.stalls[place].free), place);
        cheap.copied().filter(can).map(beyond).filter(|(r, _)| *r < 0.0).collect()
    }

    /// The changes that a bundle's copies may be fewer than its hosts that stay, in the churn row.
    fn churn_need(&self, bundle: &Bundle) -> Option<f64> {
        self.churn_cap.map(|cap| (bundle.hosts.len() + bundle.lost) as f64 - cap as f64)
    }

    /// The bound at this worth; and those that lower it.
    fn at(&self, bundle: &Bundle, worth: &Worth) -> (f64, Vec<(f64, usize)>) {
        let request = &bundle.request;
        let resources = super::market::value(&worth.resources, &request.requirements);
        let gains = resources + worth.copy * bundle.copies as f64 + worth.log_availability * bundle.log_target;
        let churn = worth.change * self.churn_need(bundle).unwrap_or(0.0);
        let bargains = self.bargains(bundle, worth);
        let saved: f64 = bargains.iter().map(|(r, _)| r).sum();
        ((gains + churn + saved) - ROUNDING * (gains + churn.abs() + saved.abs()), bargains)
    }

    /// The best bound that is found, beginning with these devices; those that mattered are added to them.
    pub(crate) fn pays(&self, bundle: &Bundle, pool: &mut Vec<usize>) -> Pays {
        let mut best = Pays { fits: false, at_least: 0.0, worth: Worth::default() };
        pool.retain(|place| self.market.stalls[*place].free.covers(&bundle.request.minimum));
        pool.extend(bundle.hosts.iter().copied());
        pool.sort_unstable();
        pool.dedup();
        for _ in 0..ROUNDS {
            let Some(worth) = self.worth(bundle, pool) else {
                // Too few: many more, the cheapest that could take a copy.
                let before = pool.len();
                let can = |place: &usize| self.market.stalls[*place].free.covers(&bundle.request.minimum);
                pool.extend(self.by_cost.iter().copied().filter(can).take((before + ADDED) * 8));
                pool.sort_unstable();
                pool.dedup();
                if pool.len() == before {
                    break;
                }
                continue;
            };
            let (at_least, mut bargains) = self.at(bundle, &worth);
            if at_least > best.at_least || !best.fits {
                best = Pays { fits: true, at_least: at_least.max(0.0), worth };
            }
            bargains.retain(|(r, place)| *r < -NOTHING && pool.binary_search(place).is_err());
            if bargains.is_empty() {
                break;
            }
            bargains.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            pool.extend(bargains.into_iter().take(ADDED).map(|(_, place)| place));
            pool.sort_unstable();
        }
        best
    }

    /// What the rows are worth among these devices, each of which may give all, or only what a copy needs.
    fn worth(&self, bundle: &Bundle, pool: &[usize]) -> Option<Worth> {
        let request = &bundle.request;
        let stalls = || pool.iter().map(|place| &self.market.stalls[*place]);
        let takes = |stall: &Stall, d: Dimension| {
            (stall.free.get(d).min(request.requirements.get(d)).max(request.minimum.get(d)), request.minimum.get(d))
        };
        let asked: Vec<Dimension> = Dimension::ALL.into_iter().filter(|d| request.requirements.get(*d) > 0).collect();
        let mut rows: Vec<Vec<f64>> = Vec::new();
        for d in &asked {
            let need = request.requirements.get(*d) as f64;
            let all = stalls().map(|s| takes(s, *d).0 as f64 / need);
            rows.push(all.chain(stalls().map(|s| takes(s, *d).1 as f64 / need)).map(|share| share.min(1.0)).collect());
        }
        let twice = |row: Vec<f64>| -> Vec<f64> { row.iter().chain(&row).copied().collect() };
        rows.push(twice(pool.iter().map(|_| 1.0 / bundle.copies as f64).collect()));
        if bundle.log_target > 0.0 {
            rows.push(twice(stalls().map(|s| (s.log_availability / bundle.log_target).min(1.0)).collect()));
        }
        let mut need = vec![1.0; rows.len()];
        if let Some(churn) = self.churn_need(bundle) {
            rows.push(twice(
                pool.iter().map(|place| if bundle.hosts.binary_search(place).is_ok() { 1.0 } else { -1.0 }).collect(),
            ));
            need.push(churn);
        }
        let cost = |which: fn((u64, u64)) -> u64| {
            pool.iter().map(move |place| {
                let stall = &self.market.stalls[*place];
                let paid =
                    Dimension::ALL.into_iter().zip(&self.prices[*place]).map(|(d, price)| price * which(takes(stall, d)) as f64);
                bundle.cost_at(*place, stall) + paid.sum::<f64>()
            })
        };
        let costs = cost(|(all, _)| all).chain(cost(|(_, least)| least)).collect();
        let relaxed = solve_from(&Rows { rows, need, costs }, &Start { enough: f64::INFINITY, ..Start::default() })?;
        let mut prices = relaxed.prices.into_iter();
        let mut worth = Worth::default();
        for d in asked {
            let at = Dimension::ALL.into_iter().position(|other| other == d)?;
            worth.resources[at] = prices.next()? / request.requirements.get(d) as f64;
        }
        worth.copy = prices.next()? / bundle.copies as f64;
        if bundle.log_target > 0.0 {
            worth.log_availability = prices.next()? / bundle.log_target;
        }
        worth.change = prices.next().unwrap_or(0.0);
        Some(worth)
    }
}
