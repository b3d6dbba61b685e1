//! Flow correlation by k hostile mixes of n that work together, drawn at random among all.
//!
//! They see what passes them, and nothing else: which packet came from which neighbour and went to which, when, and which neighbours are
//! clients. They ask of each pair of a visitor and a host whether they belong together. A pair of which they are not beside both ends gets the
//! lowest score. One packet that hostile mixes alone passed on from the one to the other settles it. Of the rest they add up, as logarithms of
//! likelihood ratios:
//!
//! * **Ways**: packets followed from the one to the other (tracks), and that both sides' packets turn round at one mix or, where that is hostile, in
//!   one visit. Followed through hostile mixes alone, or over honest ones as well, which guesses more and errs more.
//! * **Timing**, by one of the tests of correlate on what their guards see, in standard deviations; where a hostile mix is the meeting place of some
//!   visit, of which it sees all packets of both sides, the visitor with the visit and the visit with the host, and of all visits the best.
//!
//! Each of the two alone and both together are tried, and what finds most counts ([`TRIED`]).
//! Deliberately absent: learning; what mixes know that are neither at an end nor in a followed way; knowledge from before the window.

use crate::{
    correlate::{FALSE_POSITIVES, Flow, Found, Sees, is_bad, scores},
    net::{Doors, Us},
    stats::{clustered, hits},
    trace::{Access, Group, Kind, Packet},
    tracks::{Known, MEETING, Place, Who, follow},
};
use rand::{SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

/// What settles it.
const SETTLED: f64 = 1e6;
/// Before anything is seen, a place or partner is believed in like one sighting spread over all of them.
const PRIOR: f64 = 1.0;
/// Standard deviations beyond which timing tells no more: mixes that know which visit it is have it settled.
const SURE: f64 = 10.0;

/// What is tried: timing by C correlation, L likelihood or T sharp timing, ways through hostile mixes alone (W) and over honest ones (J).
const TRIED: [&str; 11] = ["C", "L", "T", "W", "CW", "LW", "TW", "J", "CJ", "LJ", "TJ"];

/// What was found.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Taken {
    pub(crate) hostile: usize,
    pub(crate) users: usize,
    pub(crate) found: Found,
    /// The share of right pairs with a hostile guard in use at both ends, and with a packet that only hostile mixes passed on.
    pub(crate) both_ends: f64,
    pub(crate) followed: f64,
}

/// What one draw of hostile mixes found.
pub(crate) struct Drawn {
    /// By test, host and visitor: 1 for found, 0, or the share of a tie.
    hits: Vec<Vec<Vec<f64>>>,
    negatives: usize,
    both_ends: usize,
    followed: usize,
}

/// Who is hostile: `k` of `n`, drawn evenly; one seed gives one draw.
pub(crate) fn draw(n: usize, k: usize, seed: u64) -> Vec<bool> {
    let mut bad: Vec<bool> = (0..n).map(|mix| mix < k).collect();
    bad.shuffle(&mut StdRng::seed_from_u64(seed.wrapping_mul(31).wrapping_add((n * 1_009 + k) as u64)));
    bad
}

/// What does not differ from one number of users to the next.
pub(crate) struct Adversary<'a> {
    pub(crate) bad: &'a [bool],
    pub(crate) doors: &'a Doors,
    /// Mean delay at a hop, µs.
    pub(crate) mean_us: f64,
    pub(crate) window: Us,
    /// How long packets take from end to end, and to the meeting place.
    pub(crate) kernels: [&'a [f64]; 2],
    pub(crate) one_way: bool,
}

/// A group's clients that a hostile guard sees, and the visits of which a hostile mix is the meeting place.
struct Seen<'a> {
    /// Group, client, what is seen.
    clients: Vec<(usize, u32, Flow)>,
    groups: &'a [Group],
}

/// A visit at a hostile meeting place: its number, and both sides as the mix sees them.
struct Visit {
    place: Place,
    /// As a host to the visitor, and as a visitor to the host.
    serves: Flow,
    visits: Flow,
}

impl Seen<'_> {
    fn of(&self, host: bool) -> Vec<&(usize, u32, Flow)> {
        self.clients.iter().filter(|(_, client, _)| (*client == 0) == host).collect()
    }
}

fn seen<'a>(groups: &'a [Group], adversary: &Adversary<'_>) -> Seen<'a> {
    let sees = Sees::Mixes(adversary.bad);
    let all = groups.iter().enumerate().flat_map(|(g, group)| group.access.iter().zip(0u32..).map(move |(a, c)| (g, c, a)));
    let used = all.filter(|(_, _, access)| access.up.iter().chain(&access.down).any(|(_, place)| sees.guard(access, *place)));
    Seen { clients: used.map(|(g, c, access)| (g, c, Flow::new(access, sees, adversary.window))).collect(), groups }
}

/// What hostile meeting places see of the visits there.
fn visits(groups: &[Group], adversary: &Adversary<'_>) -> Vec<Visit> {
    let mut all = Vec::new();
    for (number, group) in groups.iter().enumerate() {
        // Toward the visitor, toward the host.
        let mut sides: Vec<[Access; 2]> = vec![Default::default(); group.access.len().saturating_sub(1)];
        for packet in &group.packets {
            let meeting = packet.hops.iter().find(|h| h.place == MEETING && is_bad(adversary.bad, h.mix));
            let side = packet.tunnel.and_then(|t| sides.get_mut(t as usize));
            let (Some(hop), Some([visitor, host]), true) = (meeting, side, packet.kind != Kind::Restock) else { continue };
            let (from, to) = if packet.from == Some(0) { (host, visitor) } else { (visitor, host) };
            from.down.push((hop.arrived, 0));
            if packet.hops.last().is_some_and(|h| h.place > MEETING) {
                to.up.push((hop.left, 0));
            }
        }
        let used = sides.into_iter().zip(0u32..).filter(|(s, _)| s.iter().any(|a| !a.down.is_empty()));
        all.extend(used.map(|([visitor, host], visit)| Visit {
            place: Place::Visit(number, visit),
            serves: Flow::new(&visitor, Sees::All, adversary.window),
            visits: Flow::new(&host, Sees::All, adversary.window),
        }));
    }
    all
}

/// In standard deviations from the mean of all pairs, nearly all of which are wrong.
fn standardised(scores: &[f64]) -> Vec<f64> {
    let count = scores.len().max(1) as f64;
    let mean = scores.iter().sum::<f64>() / count;
    let deviation = (scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / count).sqrt();
    scores.iter().map(|s| if deviation > 1e-9 { (s - mean) / deviation } else { 0.0 }).collect()
}

/// ln of how much likelier it is that two clients' packets met where they were seen to if the two belong together than if not.
fn meeting(visitor: &Known, host: &Known, mixes: usize, visits: usize) -> f64 {
    let prior = |place: &Place| match place {
        Place::Mix(_) => 1.0 / mixes.max(1) as f64,
        Place::Visit(..) => 1.0 / visits.max(1) as f64,
    };
    let both = |(place, count): (&Place, &u32)| {
        f64::from(*count) * host.places.get(place).map_or(0.0, |other| f64::from(*other)) / prior(place)
    };
    let total = |known: &Known| known.places.values().map(|c| f64::from(*c)).sum::<f64>();
    let (v, h) = (total(visitor), total(host));
    let met: f64 = visitor.places.iter().map(both).sum();
    ((met + PRIOR * (v + h) + PRIOR * PRIOR) / ((v + PRIOR) * (h + PRIOR))).ln()
}

/// The same of packets that were followed from one to the other over honest mixes.
fn followed(visitor: &Known, host: Who, hosts: usize) -> f64 {
    let all = visitor.guessed.values().map(|c| f64::from(*c)).sum::<f64>();
    let here = visitor.guessed.get(&host).map_or(0.0, |c| f64::from(*c));
    let hosts = hosts.max(1) as f64;
    ((here * hosts + PRIOR) / (all + PRIOR)).ln()
}

/// The visit at which most of a client's packets were seen.
fn visit_of(known: &Known) -> Option<Place> {
    known
        .places
        .iter()
        .filter(|(place, _)| matches!(place, Place::Visit(..)))
        .max_by_key(|(_, count)| **count)
        .map(|(place, _)| *place)
}

/// Timing in standard deviations, by test: both ends against each other, visitors against visits, visits against hosts.
struct Timing {
    direct: [Vec<f64>; 3],
    near: [Vec<f64>; 3],
    far: [Vec<f64>; 3],
}

fn timing(seen: &Seen<'_>, visits: &[Visit], adversary: &Adversary<'_>) -> Timing {
    let flows = |host: bool| seen.of(host).into_iter().map(|(_, _, flow)| flow).collect::<Vec<_>>();
    let (hosts, visitors) = (flows(true), flows(false));
    let several = (visitors.len() as f64 / hosts.len().max(1) as f64).max(1.0);
    let [whole, half] = adversary.kernels;
    let serves: Vec<&Flow> = visits.iter().map(|v| &v.serves).collect();
    let between: Vec<&Flow> = visits.iter().map(|v| &v.visits).collect();
    Timing {
        direct: scores(&hosts, &visitors, whole, several, adversary.one_way).map(|s| standardised(&s)),
        near: scores(&serves, &visitors, half, 1.0, false).map(|s| standardised(&s)),
        far: scores(&hosts, &between, half, several, false).map(|s| standardised(&s)),
    }
}

impl Timing {
    /// The better of both ends against each other, and of both against one visit between them; which one it is may be known.
    fn best(&self, seen: &Seen<'_>, visits: &[Visit], known: &[Vec<Known>]) -> [Vec<f64>; 3] {
        let (hosts, visitors) = (seen.of(true), seen.of(false));
        let of = |client: &(usize, u32, Flow)| known.get(client.0).and_then(|g| g.get(client.1 as usize));
        let mut all = self.direct.clone();
        if visits.is_empty() {
            return all;
        }
        let there: Vec<Vec<bool>> = visits
            .iter()
            .map(|visit| hosts.iter().map(|host| of(host).is_some_and(|k| k.places.contains_key(&visit.place))).collect())
            .collect();
        // Sharp timing is for sessions of one way, of which an end sees all or nothing.
        for ((best, near), far) in all.iter_mut().zip(&self.near).zip(&self.far).take(2) {
            let mut over = Vec::with_capacity(best.len());
            for (visitor, near) in visitors.iter().zip(near.chunks(visits.len())) {
                let own = of(visitor).and_then(visit_of);
                let sure = |visit: &Visit, near: f64| own.map_or(near, |own| if own == visit.place { SURE } else { -SURE });
                let near: Vec<f64> = visits.iter().zip(near).map(|(visit, near)| sure(visit, *near)).collect();
                for column in 0..hosts.len() {
                    let each = near.iter().zip(far.chunks(hosts.len())).zip(&there);
                    // No surer than the less sure of its two halves.
                    let weaker = each.map(|((near, far), there)| near.min(if there[column] { SURE } else { far[column] }));
                    over.push(weaker.fold(f64::NEG_INFINITY, f64::max));
                }
            }
            best.iter_mut().zip(standardised(&over)).for_each(|(best, over)| *best = best.max(over));
        }
        all
    }
}

/// What k of n find where `worlds` groups at a time are active together, with the loops of all mixes: for each number of groups one result.
pub(crate) fn take(groups: &[Group], worlds: &[usize], loops: &[Packet], adversary: &Adversary<'_>) -> Vec<Drawn> {
    let seen = seen(groups, adversary);
    let visits = visits(groups, adversary);
    let timing = timing(&seen, &visits, adversary);
    let results = worlds.iter().map(|together| {
        let known = |mean_us: Option<f64>| -> Vec<Vec<Known>> {
            let worlds = groups.chunks(*together).zip((0..).step_by(*together));
            worlds.flat_map(|(world, first)| follow(world, first, loops, adversary.bad, adversary.doors, mean_us)).collect()
        };
        let (alone, joined) = (known(None), known(Some(adversary.mean_us)));
        let nothing: Vec<Vec<Known>> = groups.iter().map(|g| vec![Known::default(); g.access.len()]).collect();
        let mut tried: Vec<Vec<f64>> = Vec::with_capacity(TRIED.len());
        for (known, or_nothing) in [(&nothing, false), (&alone, true), (&joined, true)] {
            let ways = ways(&seen, known, adversary.bad.len());
            let with = |timing: &[f64]| timing.iter().zip(&ways).map(|(t, w)| t + w).collect::<Vec<f64>>();
            tried.extend(or_nothing.then(|| ways.clone()));
            tried.extend(timing.best(&seen, &visits, known).iter().map(|timing| with(timing)));
        }
        found(&seen, &alone, &tried)
    });
    results.collect()
}

/// Pairs of a visitor and a host that are both seen: visitor's group and number, host's group.
fn pairs<'s>(seen: &'s Seen<'_>) -> impl Iterator<Item = (usize, u32, usize)> + 's {
    let hosts = seen.of(true);
    seen.of(false).into_iter().flat_map(move |(g, c, _)| hosts.clone().into_iter().map(move |(host, ..)| (*g, *c, *host)))
}

/// What is known of packets' ways, pair by pair.
fn ways(seen: &Seen<'_>, known: &[Vec<Known>], mixes: usize) -> Vec<f64> {
    let visits = known.iter().map(|g| g.len().saturating_sub(1)).sum();
    let one = |(g, c, host): (usize, u32, usize)| {
        let (visitor, other) = (&known[g][c as usize], &known[host][0]);
        followed(visitor, (host, 0), known.len()) + meeting(visitor, other, mixes, visits)
    };
    pairs(seen).map(one).collect()
}

/// What one draw of hostile mixes finds. `alone`: what is known from hostile mixes alone, which settles it.
fn found(seen: &Seen<'_>, alone: &[Vec<Known>], tried: &[Vec<f64>]) -> Drawn {
    let groups = seen.groups;
    let visitors_of = |group: usize| groups.get(group).map_or(0, |g| g.access.len().saturating_sub(1));
    let positives: usize = (0..groups.len()).map(visitors_of).sum();
    let negatives = positives * groups.len().saturating_sub(1);
    let settled = |g: usize, c: u32, host: usize| alone[g][c as usize].exact.contains_key(&(host, 0));
    let each_test = tried.iter().map(|scores| {
        // Right pairs by host; whoever is not seen has the lowest score.
        let mut right: Vec<Vec<f64>> = (0..groups.len()).map(|g| vec![f64::NEG_INFINITY; visitors_of(g)]).collect();
        let mut wrong = Vec::with_capacity(negatives);
        for ((g, c, host), score) in pairs(seen).zip(scores) {
            let score = score + if settled(g, c, host) { SETTLED } else { 0.0 };
            match right.get_mut(g).and_then(|r| r.get_mut((c as usize).checked_sub(1)?)) {
                Some(place) if g == host => *place = score,
                _ => wrong.push(score),
            }
        }
        wrong.resize(negatives, f64::NEG_INFINITY);
        let mut each = hits(&right.concat(), &mut wrong, FALSE_POSITIVES).into_iter();
        right.iter().map(|r| each.by_ref().take(r.len()).collect()).collect()
    });
    let right = || pairs(seen).filter(|(g, _, host)| g == host);
    Drawn {
        hits: each_test.collect(),
        negatives,
        both_ends: right().count(),
        followed: right().filter(|(g, c, host)| settled(*g, *c, *host)).count(),
    }
}

/// Several draws together: of all tests the best.
pub(crate) fn together(draws: &[Drawn], hostile: usize, users: usize, seed: u64) -> Taken {
    let mut rng = StdRng::seed_from_u64(seed);
    let negatives = draws.iter().map(|d| d.negatives).sum();
    let mut best = Found { true_positives: clustered(&[], &mut rng), by: "", positives: 0, negatives };
    for (test, by) in TRIED.into_iter().enumerate() {
        // A host is one cluster, whoever is hostile.
        let mut by_host: Vec<Vec<f64>> = Vec::new();
        for hits in draws.iter().filter_map(|d| d.hits.get(test)) {
            by_host.resize(hits.len(), Vec::new());
            by_host.iter_mut().zip(hits).for_each(|(all, of)| all.extend(of));
        }
        let true_positives = clustered(&by_host, &mut rng);
        if best.by.is_empty() || true_positives.value > best.true_positives.value {
            best = Found { true_positives, by, positives: by_host.iter().map(Vec::len).sum(), negatives };
        }
    }
    let share = |of: fn(&Drawn) -> usize| draws.iter().map(of).sum::<usize>() as f64 / best.positives.max(1) as f64;
    Taken { hostile, users, both_ends: share(|d| d.both_ends), followed: share(|d| d.followed), found: best }
}

#[cfg(test)]
#[path = "hostile_tests.rs"]
mod tests;
