//! What the fog knows of its mixes over time: since when each is there, and how reliably it relays.
//!
//! Age is time on the list, in one owner's hands. Reliability is what the other mixes measure with their cover loops; the median of those of
//! other owners counts, so that an owner can neither praise its own mixes nor, alone, blacken another's; newcomers have no voice, and however many
//! conspire, two thirds of the mixes stay in use. How many clients there are is the sum of what mixes say, in which no mix counts for much more
//! than the others. Pure but for the time that comes in; kept as one value in the store.

use crate::registry::Member;
use fogbank_betanet::{
    directory::{BROKEN, MAX_MIXES, MixEntry, UNMEASURED, mix_id, witness::SLACK},
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
/// A witness has been listed for this share of what the oldest mix has: who came yesterday judges nobody.
const WITNESS_AGE: f64 = 0.25;
/// No more than this share of all mixes is called broken at once, the worst first: witnesses that conspire can't shut a fog.
const MOST_BROKEN: usize = 3;
/// Kept this often, so that not every look at the fog writes.
const KEEP_EVERY: DurationMs = DurationMs::from_s(3600);
/// Looks at the fog are closer together than this; a longer gap (the allocator was off) counts for nobody.
const LONGEST_GAP: DurationMs = DurationMs::from_s(10);
/// A mix counts for this many times the median of all: guards are drawn by weight, which spreads honest counts less, and a liar among n mixes
/// adds no more than so many n-ths.
const MOST_OF_MEDIAN: u64 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    owner: OwnerId,
    /// How long it was listed in all. Being known is not enough: one device could keep a thousand names known at a time.
    listed: DurationMs,
    last: UnixMs,
}

/// How long each mix has been listed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MixHistory {
    seen: BTreeMap<MixId, Seen>,
    looked: UnixMs,
    kept: UnixMs,
}

impl MixHistory {
    /// Notes who is here; whether it should be kept now. A mix that changes hands begins anew.
    pub(crate) fn note(&mut self, here: impl Iterator<Item = (MixId, OwnerId)>, now: UnixMs) -> bool {
        let since_last = now.since(self.looked);
        let passed = if (0..=LONGEST_GAP.0).contains(&since_last.0) { since_last } else { DurationMs(0) };
        // A clock that is set back a little would else have the same seconds counted twice, and mixes grow older than they are.
        if since_last.0 >= 0 || since_last.0 < -SLACK.0 {
            self.looked = now;
        }
        let before = self.seen.len();
        self.seen.retain(|_, seen| now.since(seen.last) < FORGET);
        let mut news = self.seen.len() != before;
        for (id, owner) in here {
            match self.seen.get_mut(&id).filter(|seen| seen.owner == owner) {
                Some(seen) => {
                    seen.listed.0 = seen.listed.0.saturating_add(passed.0);
                    seen.last = now;
                }
                None => {
                    self.seen.insert(id, Seen { owner, listed: DurationMs(0), last: now });
                    news = true;
                }
            }
        }
        while self.seen.len() > MAX_REMEMBERED {
            // Those that were there least go first, so that a stream of newcomers drives out newcomers.
            let least = self.seen.iter().min_by_key(|(_, seen)| seen.listed).map(|(id, _)| *id);
            least.and_then(|id| self.seen.remove(&id));
        }
        let due = news || now.since(self.kept) >= KEEP_EVERY;
        if due {
            self.kept = now;
        }
        due
    }

    /// How long a mix has been listed, counted back from now; a newcomer since now.
    pub(crate) fn since(&self, id: MixId, now: UnixMs) -> UnixMs {
        self.seen.get(&id).map_or(now, |seen| now.plus(DurationMs(-seen.listed.0)))
    }

    /// Mixes that are not listed now, and since when they would be if they were.
    pub(crate) fn away(&self, listed: impl Fn(MixId) -> bool, now: UnixMs) -> Vec<(MixId, UnixMs)> {
        self.seen.keys().filter(|id| !listed(**id)).map(|id| (*id, self.since(*id, now))).collect()
    }

    /// Whether an owner's word on others counts.
    fn is_witness(&self, owner: OwnerId) -> bool {
        let longest = |of: &mut dyn Iterator<Item = &Seen>| of.map(|seen| seen.listed.0).max().unwrap_or(0);
        let oldest = longest(&mut self.seen.values());
        let own = longest(&mut self.seen.values().filter(|seen| seen.owner == owner));
        own as f64 >= oldest as f64 * WITNESS_AGE
    }
}

/// The entries of members' mixes.
pub(crate) fn entries(members: &[&Member], history: &MixHistory, now: UnixMs) -> Vec<MixEntry> {
    let mut of: HashMap<MixId, Vec<(OwnerId, u16)>> = HashMap::new();
    for member in members.iter().filter(|m| !m.probes.is_empty() && history.is_witness(m.owner)) {
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
    let mut entries: Vec<MixEntry> = members.iter().filter_map(entry).collect();
    spare(&mut entries);
    entries
}

/// Lets no more than a third of all be called broken.
fn spare(entries: &mut [MixEntry]) {
    let most = entries.len() / MOST_BROKEN;
    let mut broken: Vec<&mut MixEntry> = entries.iter_mut().filter(|entry| !entry.works()).collect();
    broken.sort_by_key(|entry| entry.reliability);
    for entry in broken.into_iter().skip(most) {
        entry.reliability = BROKEN;
    }
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
    use fogbank_wire::PacketKeys;

    const NOW: UnixMs = UnixMs(1_790_000_000_000);

    fn mix(n: u64) -> MixId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        MixId(id)
    }

    /// Notes these each second for so long.
    fn run(history: &mut MixHistory, from: UnixMs, seconds: i64, here: &dyn Fn(i64) -> Vec<(MixId, OwnerId)>) -> UnixMs {
        for s in 0..seconds {
            history.note(here(s).into_iter(), from.plus(DurationMs(s * 1_000)));
        }
        from.plus(DurationMs(seconds * 1_000))
    }

    #[test]
    fn only_time_on_the_list_makes_old() {
        let mut history = MixHistory::default();
        let owner = OwnerId([1; 32]);
        // One mix that stays, and a thousand names that one device takes by turns.
        let later = run(&mut history, NOW, 4_000, &|s| vec![(mix(1), owner), (mix(100 + s as u64 % 1_000), OwnerId([2; 32]))]);
        let age = |id| later.since(history.since(id, later)).0 / 1_000;
        assert!((3_990..=4_000).contains(&age(mix(1))), "{}", age(mix(1)));
        assert!(age(mix(100)) <= 5, "{}", age(mix(100)));
        let kept: MixHistory = postcard::from_bytes(&postcard::to_stdvec(&history).unwrap()).unwrap();
        assert_eq!(kept, history);
        // Away for days it keeps what it had; in other hands, or after a month, it begins anew.
        let back = later.plus(DurationMs::from_s(20 * 24 * 3600));
        history.note([(mix(1), owner)].into_iter(), back);
        assert_eq!(back.since(history.since(mix(1), back)), later.since(history.since(mix(1), later)));
        let mut sold = history.clone();
        sold.note([(mix(1), OwnerId([9; 32]))].into_iter(), back);
        assert_eq!(sold.since(mix(1), back), back);
        let month = back.plus(FORGET);
        history.note([].into_iter(), month);
        assert_eq!(history.since(mix(1), month), month);
    }

    #[test]
    fn a_clock_that_swings_makes_nobody_older() {
        let (mut history, later) = (MixHistory::default(), NOW.plus(DurationMs(8_000)));
        for n in 0..100 {
            history.note([(mix(1), OwnerId([1; 32]))].into_iter(), if n % 2 == 0 { NOW } else { later });
        }
        assert_eq!(later.since(history.since(mix(1), later)), DurationMs(8_000));
    }

    #[test]
    fn a_stream_of_newcomers_drives_out_newcomers() {
        let mut history = MixHistory::default();
        let owner = OwnerId([1; 32]);
        let later = run(&mut history, NOW, 60, &|_| vec![(mix(1), owner)]);
        history.note((2..2 * MAX_REMEMBERED as u64).map(|n| (mix(n), owner)), later);
        assert!(history.seen.len() <= MAX_REMEMBERED);
        assert!(history.since(mix(1), later) < later);
    }

    #[test]
    fn who_came_yesterday_judges_nobody_and_conspirators_shut_no_fog() {
        let mut history = MixHistory::default();
        let later = run(&mut history, NOW, 1_000, &|s| {
            let young = (s > 900).then_some((mix(2), OwnerId([2; 32])));
            [(mix(1), OwnerId([1; 32]))].into_iter().chain(young).collect()
        });
        assert!(later > NOW && history.is_witness(OwnerId([1; 32])) && !history.is_witness(OwnerId([2; 32])));
        let mut all: Vec<MixEntry> = (0..9u64)
            .map(|n| {
                let packet_keys = PacketKeys { first: 0, keys: vec![] };
                let (id, owner, since, reliability) = (mix(n), OwnerId([n as u8; 32]), NOW, 10 * n as u16);
                MixEntry { id, key: [0; 32], life: [0; 8], packet_keys, owner, addrs: vec![], relay: None, since, reliability }
            })
            .collect();
        spare(&mut all);
        assert_eq!(
            all.iter().map(MixEntry::works).collect::<Vec<_>>(),
            [false, false, false, true, true, true, true, true, true]
        );
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
