//! Choosing the mixes that a packet goes through. Pure: directory, guards, and randomness come in.
//!
//! ```text
//! outward: guard → m2 → m3 → destination          back (a SURB): destination → s1 → s2 → guard → client
//! ```
//!
//! Invariants: the first hop outward and the last hop of every SURB is one of few long-lived guards; all hops of a leg differ; none between
//! the ends is one of `exclude` (the node's own mix); outside test fogs no two hops of a leg have one owner or one network.
//! Deliberately absent: a second, slowly rotating layer behind the guards.

use crate::directory::{Directory, MixEntry};
use fogbank_model::{DurationMs, Level, MixId, UnixMs};
use fogbank_sphinx::{Hop, MixPublic};
use rand::{CryptoRng, RngExt as _, seq::SliceRandom as _};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// Guards of a profile: few, so that a hostile mix is rarely among them; three, so that two may be down.
pub const GUARDS: usize = 3;
/// A guard is kept this long, so that a client meets few of them in its life.
pub const GUARD_LIFE: DurationMs = DurationMs::from_s(90 * 24 * 3600);
/// A guard that no directory has listed for this long is replaced.
pub const GUARD_ABSENCE: DurationMs = DurationMs::from_s(7 * 24 * 3600);
/// Draws before the whole directory is searched: in a directory where half of the mixes would do, all fail once in 2³².
const DRAWS: usize = 32;
/// A hop's delay is cut at this multiple of the mean: an exponential draw exceeds it once in 22,000, and a packet is not lost to it.
const DELAY_CUT: f64 = 10.0;

/// One guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Guard {
    id: MixId,
    chosen: UnixMs,
    seen: UnixMs,
}

/// The guards of one client identity, kept in its profile.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Guards {
    kept: Vec<Guard>,
}

impl Guards {
    /// No guards yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The ids, the oldest first.
    pub fn ids(&self) -> impl Iterator<Item = MixId> {
        self.kept.iter().map(|g| g.id)
    }

    /// Whether it is one of them.
    pub fn contains(&self, id: MixId) -> bool {
        self.ids().any(|kept| kept == id)
    }

    /// Brings the set up to date with a directory: drops those too old or long absent, fills the places. An absent guard keeps its place
    /// for [`GUARD_ABSENCE`], so that nobody makes a client change guards by knocking them out. Returns whether anything changed that is
    /// worth keeping.
    pub fn refresh(&mut self, directory: &Directory, exclude: &[MixId], rng: &mut impl CryptoRng) -> bool {
        let now = directory.made;
        let before = self.clone();
        for guard in &mut self.kept {
            if directory.mix(guard.id).is_some() {
                guard.seen = guard.seen.max(now);
            }
        }
        self.kept.retain(|g| !exclude.contains(&g.id) && now.since(g.chosen) < GUARD_LIFE && now.since(g.seen) < GUARD_ABSENCE);
        self.kept.truncate(GUARDS);
        if self.kept.len() < GUARDS {
            let mut candidates: Vec<&MixEntry> =
                directory.mixes.iter().filter(|m| !exclude.contains(&m.id) && !self.contains(m.id)).collect();
            candidates.shuffle(rng);
            for candidate in candidates {
                if self.kept.len() == GUARDS {
                    break;
                }
                let stands_apart = self.ids().filter_map(|id| directory.mix(id)).all(|other| apart(directory, candidate, other));
                if stands_apart {
                    self.kept.push(Guard { id: candidate.id, chosen: now, seen: now });
                }
            }
        }
        *self != before
    }
}

/// Why there is no path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPath {
    /// The mix to reach is not listed.
    #[error("the mix to reach is not in the directory")]
    UnknownDestination,
    /// No guard can be used now.
    #[error("no guard is up: waiting for one of the usual ones")]
    NoGuard,
    /// Too few mixes that may stand together.
    #[error("too few mixes for a path whose hops are of different owners and networks")]
    TooFew,
}

/// A way to a mix: guard, two mixes, and that mix last. `guard_up` says which guards are connected. `exclude` does not concern the
/// destination: the other side may have chosen the own mix to meet at, and a refusal would tell whose it is.
///
/// # Errors
/// When there is none.
pub fn forward_path(
    directory: &Directory,
    guards: &Guards,
    exclude: &[MixId],
    guard_up: &dyn Fn(MixId) -> bool,
    destination: MixId,
    level: Level,
    rng: &mut impl CryptoRng,
) -> Result<Vec<Hop>, NoPath> {
    let end = directory.mix(destination).ok_or(NoPath::UnknownDestination)?;
    let [guard, second, third] = three(directory, guards, exclude, guard_up, end, rng)?;
    let mut hops: Vec<Hop> = [guard, second, third].map(|m| hop(m, delay_ms(level, rng))).into();
    hops.push(hop(end, 0));
    Ok(hops)
}

/// A way back from a mix, for a SURB: two mixes and the guard last, which hands the packet to the client.
///
/// # Errors
/// When there is none.
pub fn reply_path(
    directory: &Directory,
    guards: &Guards,
    exclude: &[MixId],
    guard_up: &dyn Fn(MixId) -> bool,
    from: MixId,
    level: Level,
    rng: &mut impl CryptoRng,
) -> Result<Vec<Hop>, NoPath> {
    let end = directory.mix(from).ok_or(NoPath::UnknownDestination)?;
    let [guard, second, third] = three(directory, guards, exclude, guard_up, end, rng)?;
    Ok([third, second, guard].map(|m| hop(m, delay_ms(level, rng))).into())
}

/// Mixes at which a client may meet someone: any but guards (which know the client's address) and those excluded, drawn evenly. Guards
/// only when there is nothing else.
pub fn rendezvous(directory: &Directory, guards: &Guards, exclude: &[MixId], rng: &mut impl CryptoRng) -> Option<MixId> {
    let pick = |allowed: &dyn Fn(MixId) -> bool, rng: &mut _| {
        let allowed: Vec<MixId> = directory.mixes.iter().map(|m| m.id).filter(|id| allowed(*id)).collect();
        draw(&allowed, rng).copied()
    };
    pick(&|id| !guards.contains(id) && !exclude.contains(&id), rng).or_else(|| pick(&|id| !exclude.contains(&id), rng))
}

fn three<'d>(
    directory: &'d Directory,
    guards: &Guards,
    exclude: &[MixId],
    guard_up: &dyn Fn(MixId) -> bool,
    end: &MixEntry,
    rng: &mut impl CryptoRng,
) -> Result<[&'d MixEntry; 3], NoPath> {
    let mut up: Vec<&MixEntry> = guards
        .ids()
        .filter(|id| guard_up(*id) && !exclude.contains(id) && *id != end.id)
        .filter_map(|id| directory.mix(id))
        .collect();
    if up.is_empty() {
        return Err(NoPath::NoGuard);
    }
    up.shuffle(rng);
    for guard in up.into_iter().filter(|g| apart(directory, g, end)) {
        let Some(second) = pick(directory, exclude, &[guard, end], rng) else { continue };
        if let Some(third) = pick(directory, exclude, &[guard, end, second], rng) {
            return Ok([guard, second, third]);
        }
        // The second that was drawn left no third: try the others.
        let mut seconds: Vec<&MixEntry> = directory.mixes.iter().collect();
        seconds.shuffle(rng);
        for second in seconds.into_iter().filter(|m| fits(directory, exclude, &[guard, end], m)) {
            if let Some(third) = pick(directory, exclude, &[guard, end, second], rng) {
                return Ok([guard, second, third]);
            }
        }
    }
    Err(NoPath::TooFew)
}

/// A mix that may stand beside those taken: drawn, and when draws fail, searched.
fn pick<'d>(directory: &'d Directory, exclude: &[MixId], taken: &[&MixEntry], rng: &mut impl CryptoRng) -> Option<&'d MixEntry> {
    for _ in 0..DRAWS {
        let mix = draw(&directory.mixes, rng)?;
        if fits(directory, exclude, taken, mix) {
            return Some(mix);
        }
    }
    let fitting: Vec<&MixEntry> = directory.mixes.iter().filter(|m| fits(directory, exclude, taken, m)).collect();
    draw(&fitting, rng).copied()
}

fn draw<'a, T>(from: &'a [T], rng: &mut impl CryptoRng) -> Option<&'a T> {
    if from.is_empty() { None } else { from.get(rng.random_range(0..from.len())) }
}

fn fits(directory: &Directory, exclude: &[MixId], taken: &[&MixEntry], mix: &MixEntry) -> bool {
    !exclude.contains(&mix.id) && taken.iter().all(|t| apart(directory, t, mix))
}

/// Whether two mixes may stand in one leg.
fn apart(directory: &Directory, a: &MixEntry, b: &MixEntry) -> bool {
    if a.id == b.id {
        return false;
    }
    directory.test || (a.owner != b.owner && !a.addrs.iter().any(|x| b.addrs.iter().any(|y| same_network(x, y))))
}

/// Whether one network operator likely sees both: the same /16, for IPv6 the same /32. Loopback says nothing about networks.
fn same_network(a: &SocketAddr, b: &SocketAddr) -> bool {
    match (a.ip().to_canonical(), b.ip().to_canonical()) {
        (a, b) if a.is_loopback() || b.is_loopback() => false,
        (IpAddr::V4(a), IpAddr::V4(b)) => a.octets()[..2] == b.octets()[..2],
        (IpAddr::V6(a), IpAddr::V6(b)) => a.segments()[..2] == b.segments()[..2],
        _ => false,
    }
}

fn hop(mix: &MixEntry, delay_ms: u32) -> Hop {
    Hop { id: mix.id.0, key: MixPublic(mix.packet_key), delay_ms }
}

/// An exponential draw of the level's mean.
fn delay_ms(level: Level, rng: &mut impl CryptoRng) -> u32 {
    let mean = match level {
        Level::Fast => return 0,
        Level::Balanced => 15.0,
        Level::Strict => 50.0,
    };
    // In (0, 1], so the logarithm is finite.
    let uniform = 1.0 - rng.random::<f64>();
    // At most 500, so the cast is exact but for the fraction.
    (mean * (-uniform.ln()).min(DELAY_CUT)).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::tests::directory;
    use fogbank_model::OwnerId;
    use iroh::SecretKey;
    use proptest::prelude::*;
    use rand::{SeedableRng as _, rngs::StdRng};
    use std::collections::HashSet;

    fn made(test: bool, mixes: u8) -> Directory {
        directory(&SecretKey::from_bytes(&[1; 32]), test, mixes)
    }

    #[test]
    fn guards_stay() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut directory = made(false, 20);
        let mut guards = Guards::new();
        assert!(guards.refresh(&directory, &[], &mut rng));
        let chosen: Vec<_> = guards.ids().collect();
        assert_eq!(chosen.len(), GUARDS);
        // One is knocked out: nobody takes its place for a week.
        directory.mixes.retain(|m| m.id != chosen[0]);
        directory.made = directory.made.plus(DurationMs::from_s(6 * 24 * 3600));
        guards.refresh(&directory, &[], &mut rng);
        assert_eq!(guards.ids().collect::<Vec<_>>(), chosen);
        directory.made = directory.made.plus(DurationMs::from_s(24 * 3600));
        guards.refresh(&directory, &[], &mut rng);
        assert!(!guards.contains(chosen[0]) && guards.contains(chosen[1]) && guards.ids().count() == GUARDS);
        directory.made = directory.made.plus(GUARD_LIFE);
        guards.refresh(&directory, &[], &mut rng);
        assert_eq!(guards.ids().count(), GUARDS);
        let stored = serde_json_like(&guards);
        assert_eq!(stored, guards);
    }

    fn serde_json_like(guards: &Guards) -> Guards {
        postcard::from_bytes(&postcard::to_stdvec(guards).unwrap()).unwrap()
    }

    #[test]
    fn four_mixes_are_just_enough_in_a_test_fog() {
        let mut rng = StdRng::seed_from_u64(1);
        let directory = made(true, 5);
        let own = directory.mixes[0].id;
        let mut guards = Guards::new();
        guards.refresh(&directory, &[own], &mut rng);
        for mix in &directory.mixes[1..] {
            let path = forward_path(&directory, &guards, &[own], &|_| true, mix.id, Level::Fast, &mut rng).unwrap();
            assert_eq!(path.len(), 4);
        }
        let three = made(true, 4);
        let to = three.mixes[3].id;
        let own = [three.mixes[0].id];
        assert_eq!(
            forward_path(&three, &guards, &own, &|_| true, to, Level::Fast, &mut rng).err(),
            Some(NoPath::TooFew).filter(|_| guards.ids().any(|g| three.mix(g).is_some() && g != to)).or(Some(NoPath::NoGuard))
        );
        assert_eq!(forward_path(&directory, &guards, &[], &|_| false, to, Level::Fast, &mut rng).err(), Some(NoPath::NoGuard));
        let nowhere = MixId([0; 16]);
        assert!(forward_path(&directory, &guards, &[], &|_| true, nowhere, Level::Fast, &mut rng).is_err());
    }

    #[test]
    fn delays_have_the_levels_mean() {
        let mut rng = StdRng::seed_from_u64(7);
        for (level, mean) in [(Level::Fast, 0.0), (Level::Balanced, 15.0), (Level::Strict, 50.0)] {
            let sum: u32 = (0..20_000).map(|_| delay_ms(level, &mut rng)).sum();
            assert!((f64::from(sum) / 20_000.0 - mean).abs() <= mean * 0.05, "{level:?}");
        }
    }

    proptest! {
        #[test]
        fn paths_keep_the_rules(seed: u64, mixes in 12u8..60, to: prop::sample::Index, own: prop::sample::Index) {
            let mut rng = StdRng::seed_from_u64(seed);
            let directory = made(false, mixes);
            let end = to.get(&directory.mixes).id;
            let own = [own.get(&directory.mixes).id];
            let mut guards = Guards::new();
            guards.refresh(&directory, &own, &mut rng);
            let down = guards.ids().next().unwrap();
            let up = |id| id != down;
            let out = forward_path(&directory, &guards, &own, &up, end, Level::Balanced, &mut rng).unwrap();
            let back = reply_path(&directory, &guards, &own, &up, end, Level::Balanced, &mut rng).unwrap();
            let out: Vec<MixId> = out.iter().map(|h| MixId(h.id)).collect();
            let back: Vec<MixId> = back.iter().map(|h| MixId(h.id)).collect();
            prop_assert!(guards.contains(out[0]) && guards.contains(back[2]) && out[0] != down && back[2] != down);
            prop_assert_eq!(out[3], end);
            prop_assert!(!out[..3].contains(&own[0]) && !back.contains(&own[0]) && !back.contains(&end));
            for leg in [out, [&back[..], &[end]].concat()] {
                let owners: HashSet<OwnerId> = leg.iter().map(|id| directory.mix(*id).unwrap().owner).collect();
                prop_assert_eq!(owners.len(), 4);
            }
        }

        #[test]
        fn one_network_is_not_used_twice(seed: u64) {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut directory = made(false, 30);
            // Ten networks of three mixes.
            for (i, mix) in directory.mixes.iter_mut().enumerate() {
                mix.addrs = vec![SocketAddr::from(([20, (i % 10) as u8, i as u8, 1], 1))];
                mix.owner = OwnerId([i as u8; 32]);
            }
            let mut guards = Guards::new();
            guards.refresh(&directory, &[], &mut rng);
            let end = directory.mixes[0].id;
            // All three guards may share the end's network: then waiting is right.
            if let Ok(path) = forward_path(&directory, &guards, &[], &|_| true, end, Level::Fast, &mut rng) {
                let networks: HashSet<IpAddr> = path
                    .iter()
                    .map(|h| directory.mix(MixId(h.id)).unwrap().addrs[0].ip())
                    .map(|ip| match ip { IpAddr::V4(v4) => IpAddr::from([v4.octets()[0], v4.octets()[1], 0, 0]), v6 => v6 })
                    .collect();
                prop_assert_eq!(networks.len(), 4);
            }
        }
    }
}
