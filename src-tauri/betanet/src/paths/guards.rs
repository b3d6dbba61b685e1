//! Guards: the few mixes that stand next to a client, and the few behind them.
//!
//! Whoever runs a mix and makes a host send without end meets each mix that the host uses beside it sooner or later. So the mixes beside the
//! host are few and kept long (first layer), and those from which an adversary would have to work towards the first layer are few and kept
//! for days (second layer): to stand beside the host, it has to be drawn into one of few places that are seldom drawn.

use super::apart;
use crate::directory::{Directory, MixEntry};
use fogbank_model::{DurationMs, FogId, MixId, UnixMs};
use rand::{CryptoRng, RngExt as _};
use serde::{Deserialize, Serialize};

/// Guards of a profile: few, so that a hostile mix is rarely among them; three, so that two may be down.
pub const GUARDS: usize = 3;
/// Mixes of the second layer.
pub const SECOND: usize = 4;
/// Usable mixes from which on there is a second layer: both layers, and three more for the places that anybody may take. Below that nearly
/// every mix would be in a layer, and paths would be few.
pub const LAYERED: usize = GUARDS + SECOND + 3;
const DAY: i64 = 24 * 3_600_000;
/// A guard is kept for a time drawn from these, so that a client meets few of them in its life and nobody can tell when one is drawn anew.
pub const GUARD_LIFE_MS: [i64; 2] = [60 * DAY, 120 * DAY];
/// The same of the second layer.
pub const SECOND_LIFE_MS: [i64; 2] = [2 * DAY, 12 * DAY];
/// A guard that no directory has listed for this long is replaced.
pub const GUARD_ABSENCE: DurationMs = DurationMs(7 * DAY);
/// The same of the second layer, whose members are up for days only.
pub const SECOND_ABSENCE: DurationMs = DurationMs(DAY);
/// Draws for one place before all that fit are weighed: where half of the weight fits, that happens once in 2³².
const DRAWS: usize = 32;

/// One member of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Guard {
    id: MixId,
    until: UnixMs,
    seen: UnixMs,
    /// The fog that listed it; before any did, or as kept by versions that knew one fog only, the own one.
    #[serde(default)]
    fog: Option<FogId>,
}

/// The guards of one client identity, kept in its profile.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Guards {
    first: Vec<Guard>,
    second: Vec<Guard>,
}

impl Guards {
    /// No guards yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The first layer, the oldest first.
    pub fn ids(&self) -> impl Iterator<Item = MixId> {
        self.first.iter().map(|g| g.id)
    }

    /// The second layer.
    pub fn second(&self) -> impl Iterator<Item = MixId> {
        self.second.iter().map(|g| g.id)
    }

    /// Whether it is one of the first layer.
    pub fn contains(&self, id: MixId) -> bool {
        self.ids().any(|kept| kept == id)
    }

    /// When the first life ends. Until then [`Self::refresh`] changes nothing, as long as all of them are listed: whoever simulates years goes from
    /// one end to the next.
    pub fn next_end(&self) -> Option<UnixMs> {
        self.first.iter().chain(&self.second).map(|g| g.until).min()
    }

    /// Brings both layers up to date with a directory: drops those whose time is over or that are long absent, fills the places. An absent
    /// guard keeps its place for [`GUARD_ABSENCE`], so that nobody makes a client change guards by knocking them out. Returns whether
    /// anything changed that is worth keeping.
    pub fn refresh(&mut self, directory: &Directory, exclude: &[MixId], rng: &mut impl CryptoRng) -> bool {
        let before = self.clone();
        tend(&mut self.first, directory, exclude, GUARD_ABSENCE, GUARDS);
        let others: Vec<MixId> = exclude.iter().copied().chain(self.second()).collect();
        fill(&mut self.first, directory, &others, GUARDS, GUARD_LIFE_MS, rng);
        if layered(directory, exclude) {
            let taken: Vec<MixId> = exclude.iter().copied().chain(self.ids()).collect();
            tend(&mut self.second, directory, &taken, SECOND_ABSENCE, SECOND);
            fill(&mut self.second, directory, &taken, SECOND, SECOND_LIFE_MS, rng);
        }
        *self != before
    }
}

/// Whether there are mixes enough for a second layer.
pub(super) fn layered(directory: &Directory, exclude: &[MixId]) -> bool {
    directory.drawable().filter(|m| m.works() && !exclude.contains(&m.id)).count() >= LAYERED
}

/// Notes who is there, and drops whose time is over.
fn tend(layer: &mut Vec<Guard>, directory: &Directory, exclude: &[MixId], absence: DurationMs, most: usize) {
    let now = directory.made;
    for guard in layer.iter_mut() {
        if let Some(fog) = directory.fog_listing(guard.id) {
            guard.seen = guard.seen.max(now);
            guard.fog = Some(fog);
        }
    }
    // Of a fog that the own one names no more, nothing will be listed: its operator's word, not that of who would knock guards out.
    layer.retain(|g| g.fog.is_none_or(|fog| fog == directory.fog || directory.federated.contains(&fog)));
    layer.retain(|g| !exclude.contains(&g.id) && now < g.until && now.since(g.seen) < absence);
    layer.truncate(most);
}

fn fill(
    layer: &mut Vec<Guard>,
    directory: &Directory,
    exclude: &[MixId],
    places: usize,
    life_ms: [i64; 2],
    rng: &mut impl CryptoRng,
) {
    while layer.len() < places {
        let fits = |m: &MixEntry| {
            !exclude.contains(&m.id)
                && layer.iter().all(|g| g.id != m.id && directory.mix(g.id).is_none_or(|other| apart(directory, m, other)))
        };
        // One of the own fog is among them where that has one: other fogs together leave nobody without guards by ending what they share.
        let own = |m: &MixEntry| directory.is_own(m.id);
        let last = layer.len() + 1 == places && layer.iter().all(|g| g.fog.is_some_and(|fog| fog != directory.fog));
        let chosen = if last && !directory.fogs().is_empty() { drawn(directory, &|m| fits(m) && own(m), rng) } else { None };
        let Some(chosen) = chosen.or_else(|| drawn(directory, &fits, rng)) else { return };
        let Some(fog) = directory.fog_listing(chosen.id) else { return };
        let until = directory.made.plus(DurationMs(rng.random_range(life_ms[0]..=life_ms[1])));
        layer.push(Guard { id: chosen.id, until, seen: directory.made, fog: Some(fog) });
    }
}

/// A mix drawn by weight among those that fit. Drawing again until one fits gives each its exact share; when that takes too long, those that
/// fit are weighed.
pub(crate) fn drawn<'d>(
    directory: &'d Directory,
    fits: &dyn Fn(&MixEntry) -> bool,
    rng: &mut impl CryptoRng,
) -> Option<&'d MixEntry> {
    for _ in 0..DRAWS {
        let mix = directory.drawn(rng.random())?;
        if fits(mix) {
            return Some(mix);
        }
    }
    let fitting: Vec<(&MixEntry, f64)> =
        directory.mixes.iter().enumerate().map(|(i, m)| (m, directory.weight(i))).filter(|(m, w)| *w > 0.0 && fits(m)).collect();
    let mut left = rng.random::<f64>() * fitting.iter().map(|(_, w)| w).sum::<f64>();
    let falls = |(_, weight): &&(&MixEntry, f64)| {
        left -= weight;
        left < 0.0
    };
    // Rounding may leave a hair of the line beyond the last.
    fitting.iter().find(falls).or(fitting.last()).map(|(mix, _)| *mix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::tests::directory;
    use fogbank_model::OwnerId;
    use iroh::SecretKey;
    use rand::{SeedableRng as _, rngs::StdRng};

    fn made(mixes: u8) -> Directory {
        let mut directory = directory(&SecretKey::from_bytes(&[1; 32]), false, mixes);
        directory.mixes.iter_mut().enumerate().for_each(|(i, m)| m.owner = OwnerId([i as u8; 32]));
        directory
    }

    #[test]
    fn guards_stay() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut directory = made(20);
        let mut guards = Guards::new();
        assert!(guards.refresh(&directory, &[], &mut rng));
        let chosen: Vec<_> = guards.ids().collect();
        assert_eq!((chosen.len(), guards.second().count()), (GUARDS, SECOND));
        assert!(guards.second().all(|id| !guards.contains(id)));
        // One is knocked out: nobody takes its place for a week.
        directory.mixes.retain(|m| m.id != chosen[0]);
        directory.made = directory.made.plus(DurationMs(6 * DAY));
        guards.refresh(&directory, &[], &mut rng);
        assert_eq!(guards.ids().collect::<Vec<_>>(), chosen);
        directory.made = directory.made.plus(DurationMs(DAY));
        guards.refresh(&directory, &[], &mut rng);
        assert!(!guards.contains(chosen[0]) && guards.contains(chosen[1]) && guards.ids().count() == GUARDS);
        directory.made = directory.made.plus(DurationMs(GUARD_LIFE_MS[1]));
        guards.refresh(&directory, &[], &mut rng);
        assert_eq!(guards.ids().count(), GUARDS);
        let stored: Guards = postcard::from_bytes(&postcard::to_stdvec(&guards).unwrap()).unwrap();
        assert_eq!(stored, guards);
    }

    #[test]
    fn the_second_layer_turns_over_days_and_the_first_over_months() {
        let mut rng = StdRng::seed_from_u64(2);
        let mut directory = made(60);
        let mut guards = Guards::new();
        let (mut firsts, mut seconds) = (std::collections::HashSet::new(), std::collections::HashSet::new());
        for _ in 0..30 {
            guards.refresh(&directory, &[], &mut rng);
            firsts.extend(guards.ids());
            seconds.extend(guards.second());
            directory.made = directory.made.plus(DurationMs(DAY));
        }
        assert_eq!(firsts.len(), GUARDS, "a month changes no guard");
        assert!((8..=40).contains(&seconds.len()), "{}", seconds.len());
    }

    #[test]
    fn nothing_changes_before_the_next_end_and_something_does_then() {
        let mut rng = StdRng::seed_from_u64(5);
        let mut directory = made(60);
        let mut guards = Guards::new();
        assert_eq!(guards.next_end(), None);
        guards.refresh(&directory, &[], &mut rng);
        for _ in 0..100 {
            let (end, before) =
                (guards.next_end().unwrap(), (guards.ids().collect::<Vec<_>>(), guards.second().collect::<Vec<_>>()));
            directory.made = end.plus(DurationMs(-1));
            guards.refresh(&directory, &[], &mut rng);
            assert_eq!((guards.ids().collect::<Vec<_>>(), guards.second().collect::<Vec<_>>()), before);
            directory.made = end;
            guards.refresh(&directory, &[], &mut rng);
            assert!(guards.next_end().unwrap() > end && guards.ids().count() == GUARDS && guards.second().count() == SECOND);
        }
    }

    #[test]
    fn a_small_fog_has_one_layer() {
        let mut rng = StdRng::seed_from_u64(3);
        let mut guards = Guards::new();
        guards.refresh(&made(LAYERED as u8 - 1), &[], &mut rng);
        assert_eq!((guards.ids().count(), guards.second().count()), (GUARDS, 0));
    }

    /// However many a flood brings, it is drawn by what it weighs, also where little fits.
    #[test]
    fn a_flood_is_drawn_by_its_weight() {
        let mut mixes = made(200).mixes;
        let old: Vec<MixId> = mixes[..10].iter().map(|m| m.id).collect();
        let made_at = made(1).made;
        mixes[10..].iter_mut().for_each(|m| (m.owner, m.since) = (OwnerId([255; 32]), made_at));
        let directory = Directory::new(fogbank_model::FogId([1; 32]), false, 2, made_at, [0; 32], mixes);
        let mut rng = StdRng::seed_from_u64(4);
        for (fits, share) in [(10, 1.9 / 11.9), (1, 1.9 / 2.9)] {
            let old = &old[..fits];
            let fits = |m: &MixEntry| old.contains(&m.id) || m.owner == OwnerId([255; 32]);
            let flood = (0..4_000).filter(|_| !old.contains(&drawn(&directory, &fits, &mut rng).unwrap().id)).count();
            assert!((flood as f64 / 4_000.0 - share).abs() < 0.04, "{flood} of 4,000, by weight {share}");
        }
    }

    #[test]
    fn guards_are_drawn_by_weight() {
        let mut mixes = made(40).mixes;
        mixes[10..].iter_mut().for_each(|m| m.reliability = 100);
        let old = made(1);
        let directory = Directory::new(old.fog, false, 2, old.made, [0; 32], mixes);
        let working: Vec<MixId> = directory.mixes.iter().filter(|m| m.works()).map(|m| m.id).collect();
        for seed in 0..20 {
            let mut guards = Guards::new();
            guards.refresh(&directory, &[], &mut StdRng::seed_from_u64(seed));
            assert!(guards.ids().count() == GUARDS && guards.ids().all(|id| working.contains(&id)));
        }
    }

    #[test]
    fn guards_kept_before_there_were_other_fogs_stay() {
        let directory = made(20);
        let mut guards = Guards::new();
        guards.refresh(&directory, &[], &mut StdRng::seed_from_u64(5));
        let mut kept = serde_json::to_value(&guards).unwrap();
        for layer in ["first", "second"] {
            kept[layer].as_array_mut().unwrap().iter_mut().for_each(|g| drop(g.as_object_mut().unwrap().remove("fog")));
        }
        let mut read: Guards = serde_json::from_value(kept).unwrap();
        read.refresh(&directory, &[], &mut StdRng::seed_from_u64(6));
        assert_eq!(read, guards);
    }
}
