//! What the fog knows of its mixes over time: since when each is there, and how reliably it relays.
//!
//! Reliability is what the other mixes measure with their cover loops; the median of those of other owners counts, so that an owner can
//! neither praise its own mixes nor, alone, blacken another's. How many clients there are is the sum of what mixes say, in which no mix counts
//! for much more than the others. Pure but for the time that comes in; kept as one value in the store.

use crate::registry::Member;
use fogbank_betanet::{
    directory::{MAX_MIXES, MixEntry, UNMEASURED, mix_id},
    paths::GUARDS,
};
use fogbank_model::{DurationMs, MixId, OwnerId, UnixMs};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// A mix that was away for longer begins anew.
const FORGET: DurationMs = DurationMs::from_s(30 * 24 * 3600);
/// Mixes remembered, those that are away included.
const MAX_REMEMBERED: usize = 4 * MAX_MIXES;
/// Owners whose mixes must have measured one before it is judged: with three, one liar is outvoted.
const LEAST_WITNESSES: usize = 3;
/// A mix counts for this many times the median of all: guards are drawn by weight, which spreads honest counts less, and a liar among n mixes
/// adds no more than so many n-ths.
const MOST_OF_MEDIAN: u64 = 3;
/// A mix's last sight is noted this exactly, so that not every directory writes.
const GRAIN: DurationMs = DurationMs::from_s(3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    first: UnixMs,
    last: UnixMs,
}

/// Since when each mix has been known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MixHistory(BTreeMap<MixId, Seen>);

impl MixHistory {
    /// Notes who is here; whether there is something to keep.
    pub(crate) fn note(&mut self, here: impl Iterator<Item = MixId>, now: UnixMs) -> bool {
        let before = self.0.len();
        self.0.retain(|_, seen| now.since(seen.last) < FORGET);
        let mut news = self.0.len() != before;
        for id in here {
            if let Some(seen) = self.0.get_mut(&id) {
                if now.since(seen.last) >= GRAIN {
                    (seen.last, news) = (now, true);
                }
            } else if self.0.len() < MAX_REMEMBERED {
                self.0.insert(id, Seen { first: now, last: now });
                news = true;
            }
        }
        news
    }

    /// Since when a mix has been known; a newcomer since now.
    pub(crate) fn since(&self, id: MixId, now: UnixMs) -> UnixMs {
        self.0.get(&id).map_or(now, |seen| seen.first)
    }
}

/// The entries of members' mixes.
pub(crate) fn entries(members: &[&Member], history: &MixHistory, now: UnixMs) -> Vec<MixEntry> {
    let mut of: HashMap<MixId, Vec<(OwnerId, u16)>> = HashMap::new();
    for member in members {
        for (mix, share) in &member.probes {
            of.entry(*mix).or_default().push((member.owner, *share));
        }
    }
    let entry = |member: &&Member| {
        let mix = member.mix.as_ref()?;
        let id = mix_id(&mix.key);
        let mut entry = MixEntry::new(mix, member.owner, history.since(id, now));
        entry.reliability = of.get(&id).and_then(|said| judged(said, member.owner)).unwrap_or(UNMEASURED);
        Some(entry)
    };
    members.iter().filter_map(entry).collect()
}

/// What mixes of other owners measured, one voice an owner however many mixes it has; `None` with fewer than [`LEAST_WITNESSES`].
fn judged(said: &[(OwnerId, u16)], own: OwnerId) -> Option<u16> {
    let mut of_owner: BTreeMap<OwnerId, Vec<u16>> = BTreeMap::new();
    for (owner, share) in said.iter().filter(|(owner, _)| *owner != own) {
        of_owner.entry(*owner).or_default().push((*share).min(UNMEASURED));
    }
    let voices: Vec<u16> = of_owner.into_values().filter_map(median).collect();
    if voices.len() >= LEAST_WITNESSES { median(voices) } else { None }
}

/// How many clients are connected to the fog's mixes, by what these say: each client is connected to [`GUARDS`] of them.
pub(crate) fn clients(members: &[&Member]) -> u32 {
    together(members.iter().map(|member| member.clients).collect())
}

fn together(said: Vec<u32>) -> u32 {
    let most = u64::from(median(said.clone()).unwrap_or(0)).saturating_mul(MOST_OF_MEDIAN);
    let sum: u64 = said.into_iter().map(|clients| u64::from(clients).min(most)).sum();
    u32::try_from(sum / GUARDS as u64).unwrap_or(u32::MAX)
}

fn median<T: Ord + Copy>(mut of: Vec<T>) -> Option<T> {
    of.sort_unstable();
    of.get(of.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_790_000_000_000);

    #[test]
    fn age_lasts_over_days_of_absence_and_is_bounded() {
        let mut history = MixHistory::default();
        let (old, new) = (MixId([1; 16]), MixId([2; 16]));
        assert!(history.note([old].into_iter(), NOW));
        assert!(!history.note([old].into_iter(), NOW), "nothing new");
        let later = NOW.plus(DurationMs::from_s(20 * 24 * 3600));
        assert!(history.note([new].into_iter(), later));
        assert_eq!((history.since(old, later), history.since(new, later)), (NOW, later));
        let kept: MixHistory = postcard::from_bytes(&postcard::to_stdvec(&history).unwrap()).unwrap();
        assert_eq!(kept, history);
        history.note([new].into_iter(), NOW.plus(FORGET));
        assert_eq!(history.since(old, later), later, "away for a month: a newcomer again");
        let many = (0..2 * MAX_REMEMBERED as u64).map(|n| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&n.to_be_bytes());
            MixId(id)
        });
        history.note(many, later);
        assert!(history.0.len() <= MAX_REMEMBERED);
    }

    #[test]
    fn no_mix_makes_a_crowd_alone() {
        assert_eq!(together(vec![]), 0);
        assert_eq!(together(vec![6, 6, 6, 6, 6, 6]), 12, "twelve clients at three mixes each");
        assert_eq!(together(vec![6, 6, 6, 6, 6, u32::MAX]), 16, "a liar counts for three");
        assert_eq!(together(vec![u32::MAX, 0, 0]), 0);
        assert_eq!(together(vec![u32::MAX; 4]), u32::MAX, "when all lie, no sum helps");
    }

    #[test]
    fn one_owner_neither_praises_itself_nor_blackens_another() {
        let [a, b, c, d] = [1u8, 2, 3, 4].map(|n| OwnerId([n; 32]));
        assert_eq!(judged(&[(a, 1000), (a, 1000), (a, 1000), (b, 200)], a), None, "too few others");
        assert_eq!(judged(&[(b, 950), (c, 940), (d, 0), (d, 0), (d, 0)], a), Some(940));
        assert_eq!(judged(&[(b, 400), (c, 410), (d, u16::MAX), (a, 1000)], a), Some(410), "no more than all");
    }
}
