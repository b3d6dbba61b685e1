//! Containers that stand together, as one: what they need in all, and what a device costs them.

use super::{
    market::{Market, Stall},
    types::Container,
};
use crate::{
    cost::Policy,
    problem::{Candidate, MOST_ASKED, Problem, log_odds},
    types::Request,
};
use fogbank_model::{DeviceId, Dimension, Resources};
use std::collections::{BTreeMap, HashSet};

/// One container, or several that stand on the same devices.
#[derive(Debug, Clone)]
pub(crate) struct Bundle {
    /// By number.
    pub(crate) members: Vec<usize>,
    /// Sums of what is asked for, and the most copies and the highest availability.
    pub(crate) request: Request,
    pub(crate) copies: usize,
    pub(crate) log_target: f64,
    /// Where the first of them stands now: those places in the market, and how many are gone from it. The cap on changes is a row for the first; for the
    /// others it is looked at once a choice is made.
    pub(crate) hosts: Vec<usize>,
    pub(crate) lost: usize,
    /// What moving costs less at a place, for those who stand there.
    pub(crate) stays: BTreeMap<usize, f64>,
    pub(crate) apart: Option<u32>,
}

impl Bundle {
    /// All of them, in the order of their first members.
    pub(crate) fn all(containers: &[Container], market: &Market, policy: &Policy) -> Vec<Self> {
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut firsts: BTreeMap<u32, usize> = BTreeMap::new();
        for (i, container) in containers.iter().enumerate() {
            let first = container.together.map_or(i, |number| *firsts.entry(number).or_insert(i));
            groups.entry(first).or_default().push(i);
        }
        groups.into_values().map(|members| Self::of(members, containers, market, policy)).collect()
    }

    fn of(members: Vec<usize>, containers: &[Container], market: &Market, policy: &Policy) -> Self {
        let requests = || members.iter().map(|i| &containers[*i].request);
        let sum =
            |of: fn(&Request) -> Resources| requests().fold(Resources::ZERO, |sum, r| sum.plus(&of(r).min(&Resources::LIMIT)));
        let target = requests().filter_map(|r| r.availability_target).map(|t| log_odds(t, MOST_ASKED)).fold(0.0, f64::max);
        let copies = requests().map(|r| usize::from(r.instances.max(1))).max().unwrap_or(1);
        let first = &containers[members[0]];
        let mut stays: BTreeMap<usize, f64> = BTreeMap::new();
        for member in &members {
            let unique: HashSet<DeviceId> = containers[*member].hosts.iter().copied().collect();
            unique
                .iter()
                .filter_map(|id| market.places.get(id))
                .for_each(|place| *stays.entry(*place).or_default() += policy.moving);
        }
        let unique: HashSet<DeviceId> = first.hosts.iter().copied().collect();
        let mut hosts: Vec<usize> = unique.iter().filter_map(|id| market.places.get(id)).copied().collect();
        hosts.sort_unstable();
        let minimum = sum(|r| r.minimum);
        // A present host on which no copy fits any more is a change in any case.
        let known = hosts.len();
        hosts.retain(|place| market.stalls[*place].free.covers(&minimum));
        Self {
            request: Request {
                requirements: sum(|r| r.requirements),
                minimum,
                instances: u8::try_from(copies).unwrap_or(u8::MAX),
                availability_target: None,
            },
            copies,
            log_target: target,
            lost: unique.len() - known + (known - hosts.len()),
            hosts,
            stays,
            apart: first.apart,
            members,
        }
    }

    /// What a copy of each of them costs at a place.
    pub(crate) fn cost_at(&self, place: usize, stall: &Stall) -> f64 {
        self.members.len() as f64 * stall.cost - self.stays.get(&place).copied().unwrap_or(0.0)
    }

    /// What a copy at one owner beyond the first costs.
    pub(crate) fn same_owner(&self, policy: &Policy) -> f64 {
        self.members.len() as f64 * policy.same_owner
    }

    /// What of an amount counts for this one: no more than it asks for.
    pub(crate) fn of_use(&self, amount: &Resources) -> Resources {
        amount.min(&self.request.requirements)
    }

    /// The problem among these places, at these costs.
    pub(crate) fn problem(&self, market: &Market, policy: &Policy, places: &[(usize, Resources, f64)]) -> Problem {
        let candidates: Vec<Candidate> = places
            .iter()
            .map(|(place, free, cost)| {
                let stall = &market.stalls[*place];
                Candidate {
                    id: stall.id,
                    owner: stall.owner,
                    free: *free,
                    cost: *cost,
                    log_availability: stall.log_availability,
                    hosts: self.hosts.binary_search(place).is_ok(),
                }
            })
            .collect();
        let hosts = candidates.iter().filter(|c| c.hosts).count();
        Problem {
            request: self.request,
            copies: self.copies,
            log_target: self.log_target,
            same_owner: self.same_owner(policy),
            churn_cap: policy.churn_cap,
            forced_changes: self.lost + self.hosts.len() - hosts,
            hosts,
            candidates,
        }
    }

    /// How large it is beside a mean device, in the dimension in which it is largest.
    pub(crate) fn size(&self, mean: &[f64; 4]) -> f64 {
        let share = |(d, mean): (Dimension, &f64)| self.request.requirements.get(d) as f64 / mean.max(1.0);
        Dimension::ALL.into_iter().zip(mean).map(share).fold(0.0, f64::max)
    }
}
