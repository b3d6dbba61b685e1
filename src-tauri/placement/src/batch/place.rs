//! Placing bundles one after the other on what is left, each among the devices that are nearest to worth their cost at its rows' worths.
//!
//! Most containers need more copies than one device could not carry alone. So the devices that are best to have one more copy on are *posts*: they give no
//! more than a copy needs, and many have one there, while the rest comes from others.

use super::{
    bound::{Pays, Priced},
    bundle::Bundle,
    market::{Market, value, wasted},
    types::{Container, Placement},
};
use crate::{cost::Policy, problem::Problem, search};
use fogbank_model::{DeviceId, Dimension, OwnerId, Resources};
use std::collections::{HashMap, HashSet};

/// Posts, devices that could give all alone, and others, among which one bundle is placed at first; eight times as many where it does not fit on them,
/// then all.
const NEAREST_POSTS: usize = 300;
const NEAREST_ALONE: usize = 1_200;
const NEAREST: usize = 40;
/// What the search for one bundle may look at (see [`Policy::effort`]).
const EFFORT: u64 = 40_000;
/// How many times what all ask for together the devices have among which most are placed.
const PLENTY: f64 = 3.0;
/// So many times what all copies but one of each bundle need is kept on posts.
const POSTS: f64 = 0.9;

/// Where one bundle is.
#[derive(Debug, Clone)]
struct Placed {
    places: Vec<usize>,
    /// What each place gives, for each of the bundle.
    given: Vec<Vec<Resources>>,
    /// Without fragmentation.
    cost: f64,
}

/// Where all are.
pub(crate) struct Placing<'a> {
    policy: &'a Policy,
    containers: &'a [Container],
    bundles: &'a [Bundle],
    market: Market,
    /// So many of the cheapest devices have a few times what all ask for together: they are looked at first.
    cheap: usize,
    /// Which devices are posts.
    posts: Vec<bool>,
    /// Places taken, by number of [`Container::apart`].
    taken: HashMap<u32, HashSet<usize>>,
    placed: Vec<Option<Placed>>,
}

impl<'a> Placing<'a> {
    /// With nothing placed.
    pub(crate) fn new(
        policy: &'a Policy,
        containers: &'a [Container],
        bundles: &'a [Bundle],
        priced: &Priced<'_>,
        pays: &[Pays],
    ) -> Self {
        let market = priced.market.clone();
        let posts = posts(&market, bundles, pays, POSTS);
        Self {
            policy,
            containers,
            bundles,
            cheap: cheap(priced, bundles),
            market,
            posts,
            taken: HashMap::new(),
            placed: vec![None; bundles.len()],
        }
    }

    /// Places all, the largest first.
    pub(crate) fn all(&mut self, priced: &Priced<'_>, pays: &[Pays]) {
        let mean = mean(&self.market);
        let size = |i: &usize| self.bundles[*i].size(&mean);
        let mut order: Vec<usize> = (0..self.bundles.len()).collect();
        order.sort_by(|a, b| size(b).total_cmp(&size(a)).then(a.cmp(b)));
        for i in order.into_iter().filter(|i| pays[*i].fits) {
            let found = self.propose(priced, i, &pays[i], true).or_else(|| self.propose(priced, i, &pays[i], false));
            if let Some(placed) = found {
                self.put(i, placed);
            }
        }
    }

    fn put(&mut self, i: usize, placed: Placed) {
        for given in &placed.given {
            placed
                .places
                .iter()
                .zip(given)
                .for_each(|(place, given)| self.market.left[*place] = self.market.left[*place].minus(given));
        }
        if let Some(number) = self.bundles[i].apart {
            self.taken.entry(number).or_default().extend(placed.places.iter().copied());
        }
        self.placed[i] = Some(placed);
    }

    /// A place for a bundle on what is left; `posts`: whether posts give no more than a copy needs.
    fn propose(&self, priced: &Priced<'_>, i: usize, pays: &Pays, posts: bool) -> Option<Placed> {
        let bundle = &self.bundles[i];
        let places = [self.cheap, self.market.stalls.len()].into_iter().find_map(|cheapest| {
            let nearest = self.nearest(priced, bundle, pays, cheapest);
            let (on_posts, others): (Vec<_>, Vec<_>) = nearest.into_iter().partition(|(_, place)| self.posts[*place]);
            let alone = |(_, place): &(f64, usize)| self.market.left[*place].covers(&bundle.request.requirements);
            let (alone, others): (Vec<_>, Vec<_>) = others.into_iter().partition(alone);
            // What the relaxation says is near may all be dear: the cheapest, too.
            let cost = |place: usize| bundle.cost_at(place, &self.market.stalls[place]);
            let cheapest: Vec<(f64, usize)> = alone.iter().map(|(_, place)| (cost(*place), *place)).collect();
            [1, 8, usize::MAX].into_iter().find_map(|times| {
                let near = |all: &[(f64, usize)], most: usize| near(all, most.saturating_mul(times));
                let near = near(&on_posts, NEAREST_POSTS)
                    .chain(near(&alone, NEAREST_ALONE))
                    .chain(near(&others, NEAREST))
                    .chain(near(&cheapest, NEAREST_ALONE));
                let mut places: Vec<usize> = near.chain(bundle.hosts.iter().copied()).collect();
                places.sort_unstable();
                places.dedup();
                self.choose(priced, bundle, &places, posts)
            })
        })?;
        let mut left: Vec<Resources> = places.iter().map(|place| self.market.left[*place]).collect();
        let mut given = Vec::new();
        for (n, member) in bundle.members.iter().enumerate() {
            let parts = self.parts(priced, bundle, n, *member, &places, &left)?;
            left.iter_mut().zip(&parts).for_each(|(left, part)| *left = left.minus(part));
            given.push(parts);
        }
        let mut cost: f64 = places.iter().map(|place| bundle.cost_at(*place, &self.market.stalls[*place])).sum();
        let owners: HashSet<OwnerId> = places.iter().map(|place| self.market.stalls[*place].owner).collect();
        cost += bundle.same_owner(self.policy) * (places.len() - owners.len()) as f64;
        Some(Placed { places, given, cost })
    }

    /// What a copy of a bundle costs on each of the cheapest devices beyond what it is worth, with what is left there.
    fn nearest(&self, priced: &Priced<'_>, bundle: &Bundle, pays: &Pays, cheapest: usize) -> Vec<(f64, usize)> {
        let left = &self.market.left;
        let taken = bundle.apart.and_then(|number| self.taken.get(&number));
        let can =
            |place: &usize| left[*place].covers(&bundle.request.minimum) && taken.is_none_or(|taken| !taken.contains(place));
        let places = priced.by_cost[..cheapest].iter().copied().filter(can);
        places.map(|place| (priced.beyond(bundle, &pays.worth, place, &left[place]), place)).collect()
    }

    /// The cheapest choice among these places, at prices.
    fn choose(&self, priced: &Priced<'_>, bundle: &Bundle, places: &[usize], posts: bool) -> Option<Vec<usize>> {
        let market = &self.market;
        let least = bundle.request.minimum;
        let taken = bundle.apart.and_then(|number| self.taken.get(&number));
        let can = |place: &&usize| market.left[**place].covers(&least) && taken.is_none_or(|taken| !taken.contains(place));
        let costed: Vec<(usize, Resources, f64)> = places
            .iter()
            .filter(can)
            .map(|place| {
                let free = if posts && self.posts[*place] { least } else { market.left[*place] };
                let paid = value(&priced.prices[*place], &free.min(&bundle.request.requirements).max(&least));
                (*place, free, bundle.cost_at(*place, &market.stalls[*place]) + paid)
            })
            .collect();
        let problem: Problem = bundle.problem(market, self.policy, &costed);
        let found = search::choose(&problem, EFFORT)?;
        Some(problem.of(&found.chosen).filter_map(|c| market.places.get(&c.id)).copied().collect())
    }

    /// What each place gives one of a bundle: what a copy needs, and the rest from where it is cheapest, from posts last. `None` where it would be more
    /// changes of hosts than may be, or others of the bundle would have too little.
    fn parts(
        &self,
        priced: &Priced<'_>,
        bundle: &Bundle,
        n: usize,
        member: usize,
        places: &[usize],
        left: &[Resources],
    ) -> Option<Vec<Resources>> {
        let (container, market) = (&self.containers[member], &self.market);
        if let Some(cap) = self.policy.churn_cap {
            let new: HashSet<DeviceId> = places.iter().map(|place| market.stalls[*place].id).collect();
            let old: HashSet<DeviceId> = container.hosts.iter().copied().collect();
            if new.symmetric_difference(&old).count() > cap {
                return None;
            }
        }
        let least = container.request.minimum;
        let others =
            bundle.members[n + 1..].iter().fold(Resources::ZERO, |sum, other| sum.plus(&self.containers[*other].request.minimum));
        if left.iter().any(|left| !left.covers(&least.plus(&others))) {
            return None;
        }
        let mut given = vec![least; places.len()];
        for (k, d) in Dimension::ALL.into_iter().enumerate() {
            let mut rest = container.request.requirements.get(d).saturating_sub(least.get(d).saturating_mul(places.len() as u64));
            let key = |i: usize| (self.posts[places[i]], priced.prices[places[i]][k], -market.stalls[places[i]].cost);
            let mut order: Vec<usize> = (0..places.len()).collect();
            order.sort_by(|a, b| {
                let ((a_post, a_price, a_cost), (b_post, b_price, b_cost)) = (key(*a), key(*b));
                a_post.cmp(&b_post).then(a_price.total_cmp(&b_price)).then(a_cost.total_cmp(&b_cost))
            });
            for i in order {
                let more = rest.min(left[i].get(d) - others.get(d) - least.get(d));
                given[i].set(d, least.get(d) + more);
                rest -= more;
            }
            if rest > 0 {
                return None;
            }
        }
        Some(given)
    }

    /// What the placed cost without fragmentation, and what fragmentation costs.
    pub(crate) fn costs(&self) -> (f64, f64) {
        let stalls = self.market.stalls.iter().zip(&self.market.left).filter(|(stall, left)| stall.free != **left);
        let wasted: f64 = stalls.map(|(stall, left)| wasted(left, &stall.capacity)).sum();
        (self.placed.iter().flatten().map(|placed| placed.cost).sum(), self.policy.fragmentation * wasted)
    }

    /// Whether a bundle is placed.
    pub(crate) fn is_placed(&self, i: usize) -> bool {
        self.placed[i].is_some()
    }

    /// By container.
    pub(crate) fn placements(&self) -> Vec<Placement> {
        let mut placements = vec![None; self.containers.len()];
        for (bundle, placed) in self.bundles.iter().zip(&self.placed) {
            let Some(placed) = placed else { continue };
            for (member, given) in bundle.members.iter().zip(&placed.given) {
                let ids = placed.places.iter().map(|place| self.market.stalls[*place].id);
                placements[*member] = Some(ids.zip(given.iter().copied()).collect());
            }
        }
        placements
    }
}

/// The places of the least numbers.
fn near(nearest: &[(f64, usize)], most: usize) -> impl Iterator<Item = usize> + use<> {
    let mut near = nearest.to_vec();
    if near.len() > most {
        near.select_nth_unstable_by(most, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        near.truncate(most);
    }
    near.into_iter().map(|(_, place)| place)
}

/// The devices that are best to have one more copy on, as many as it takes for all copies but one of each bundle.
fn posts(market: &Market, bundles: &[Bundle], pays: &[Pays], spare: f64) -> Vec<bool> {
    let worth = pays.iter().map(|p| p.worth.log_availability).sum::<f64>() / pays.len().max(1) as f64;
    let key = |place: &usize| market.stalls[*place].cost - worth * market.stalls[*place].log_availability;
    let mut order: Vec<usize> = (0..market.stalls.len()).collect();
    order.sort_by(|a, b| key(a).total_cmp(&key(b)).then(a.cmp(b)));
    let of = |b: &Bundle, d: Dimension| (b.copies - 1) as f64 * b.request.minimum.get(d) as f64;
    let needed = Dimension::ALL.map(|d| spare * bundles.iter().map(|b| of(b, d)).sum::<f64>());
    let mut have = [0.0; 4];
    let mut posts = vec![false; order.len()];
    for place in order {
        if have.iter().zip(needed).all(|(have, needed)| *have >= needed) {
            break;
        }
        posts[place] = true;
        have.iter_mut().zip(Dimension::ALL).for_each(|(have, d)| *have += market.stalls[place].free.get(d) as f64);
    }
    posts
}

/// How many of the cheapest have [`PLENTY`] times what all ask for.
fn cheap(priced: &Priced<'_>, bundles: &[Bundle]) -> usize {
    let asked = Dimension::ALL.map(|d| PLENTY * bundles.iter().map(|b| b.request.requirements.get(d) as f64).sum::<f64>());
    let mut have = [0.0; 4];
    let enough = priced.by_cost.iter().position(|place| {
        have.iter_mut().zip(Dimension::ALL).for_each(|(have, d)| *have += priced.market.stalls[*place].free.get(d) as f64);
        have.iter().zip(asked).all(|(have, asked)| *have >= asked)
    });
    enough.map_or(priced.by_cost.len(), |last| (last + 1).max(8 * NEAREST_ALONE).min(priced.by_cost.len()))
}

/// What one device of the market has free on average.
fn mean(market: &Market) -> [f64; 4] {
    let n = market.stalls.len().max(1) as f64;
    Dimension::ALL.map(|d| market.stalls.iter().map(|s| s.free.get(d) as f64).sum::<f64>() / n)
}
