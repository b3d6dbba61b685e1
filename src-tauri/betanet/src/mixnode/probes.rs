//! What a node learns of mixes from its cover loops: which of them lose packets. Pure: time comes in.
//!
//! A loop goes through some mixes and comes back. One that comes back speaks for all of them, one that does not against all; a mix that drops
//! is in every one that fails, an honest one only in those that it shares with a bad one. What is told is relative to the best quarter of
//! mixes, so that the losses which all share (one's own line, a broken few) blacken nobody.

use fogbank_model::MixId;
use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

/// Mixes between a mix's loop's leaving and its coming back.
pub(crate) const LOOP_HOPS: usize = 2;
/// A loop that takes longer is lost: twenty times what three hops at the slowest level take on average.
const LOST_AFTER: Duration = Duration::from_secs(4);
/// Loops under way at once; at one in seconds there are few.
const MAX_UNDER_WAY: usize = 256;
/// Mixes that are kept account of: as many as a mix has links.
const MAX_MIXES: usize = 256;
/// How much one loop counts against all before it: the last thirty or so speak.
const NEWEST: f64 = 1.0 / 30.0;
/// Loops through a mix before anything is said of it.
const LEAST_LOOPS: u32 = 12;

struct UnderWay<const HOPS: usize> {
    id: [u8; 16],
    through: [MixId; HOPS],
    sent: Instant,
}

#[derive(Clone, Copy)]
struct Score {
    share: f64,
    loops: u32,
    last: Instant,
}

/// The account of all loops.
pub(crate) struct Probes<const HOPS: usize> {
    under_way: VecDeque<UnderWay<HOPS>>,
    scores: HashMap<MixId, Score>,
}

impl<const HOPS: usize> Default for Probes<HOPS> {
    fn default() -> Self {
        Self { under_way: VecDeque::new(), scores: HashMap::new() }
    }
}

impl<const HOPS: usize> Probes<HOPS> {
    /// A loop was sent.
    pub(crate) fn sent(&mut self, id: [u8; 16], through: [MixId; HOPS], now: Instant) {
        self.expire(now);
        if self.under_way.len() >= MAX_UNDER_WAY
            && let Some(oldest) = self.under_way.pop_front()
        {
            self.count(oldest.through, 0.0, now);
        }
        self.under_way.push_back(UnderWay { id, through, sent: now });
    }

    /// A loop came back; whether it was one of ours: others' and those that are long lost count for nothing.
    pub(crate) fn came_back(&mut self, id: [u8; 16], now: Instant) -> bool {
        self.expire(now);
        let found = self.under_way.iter().position(|loop_| loop_.id == id);
        if let Some(loop_) = found.and_then(|at| self.under_way.remove(at)) {
            self.count(loop_.through, 1.0, now);
            return true;
        }
        false
    }

    /// The share of loops through each mix that came back, per mille of what the best quarter has.
    pub(crate) fn shares(&mut self, now: Instant) -> Vec<(MixId, u16)> {
        self.expire(now);
        let mut judged: Vec<(MixId, f64)> =
            self.scores.iter().filter(|(_, s)| s.loops >= LEAST_LOOPS).map(|(id, s)| (*id, s.share)).collect();
        judged.sort_by(|a, b| b.1.total_cmp(&a.1));
        let Some(best) = judged.get(judged.len() / 4).map(|(_, share)| *share).filter(|best| *best > 0.0) else {
            return Vec::new();
        };
        judged.into_iter().map(|(id, share)| (id, ((share / best).min(1.0) * 1_000.0).round() as u16)).collect()
    }

    fn expire(&mut self, now: Instant) {
        while self.under_way.front().is_some_and(|loop_| now.duration_since(loop_.sent) >= LOST_AFTER) {
            if let Some(lost) = self.under_way.pop_front() {
                self.count(lost.through, 0.0, now);
            }
        }
    }

    fn count(&mut self, through: [MixId; HOPS], outcome: f64, now: Instant) {
        for id in through {
            if self.scores.len() >= MAX_MIXES && !self.scores.contains_key(&id) {
                let stalest = self.scores.iter().min_by_key(|(_, s)| s.last).map(|(id, _)| *id);
                stalest.and_then(|id| self.scores.remove(&id));
            }
            let score = self.scores.entry(id).or_insert(Score { share: outcome, loops: 0, last: now });
            score.share += (outcome - score.share) * NEWEST.max(1.0 / f64::from(score.loops + 1));
            score.loops = score.loops.saturating_add(1);
            score.last = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

    /// Loops through ten mixes of which some lose a share; the shares told of each.
    fn run(losses: [f64; 10], own_loss: f64, loops: usize) -> HashMap<MixId, u16> {
        let mut rng = StdRng::seed_from_u64(1);
        let mut probes = Probes::<LOOP_HOPS>::default();
        let mut now = Instant::now();
        for _ in 0..loops {
            let mut mixes: Vec<usize> = (0..10).collect();
            mixes.shuffle(&mut rng);
            let through = [mixes[0], mixes[1]];
            let id: [u8; 16] = rng.random();
            probes.sent(id, through.map(|m| MixId([m as u8; 16])), now);
            let lost = through.iter().any(|m| rng.random_bool(losses[*m])) || rng.random_bool(own_loss);
            if !lost {
                probes.came_back(id, now + Duration::from_millis(200));
            }
            now += Duration::from_secs(5);
        }
        probes.shares(now).into_iter().collect()
    }

    #[test]
    fn a_mix_that_drops_stands_out() {
        let mut losses = [0.0; 10];
        losses[3] = 1.0;
        losses[7] = 0.7;
        let shares = run(losses, 0.1, 600);
        assert!(shares[&MixId([3; 16])] < 100 && shares[&MixId([7; 16])] < 500, "{shares:?}");
        let honest: Vec<u16> = [0, 1, 2, 4, 5, 6, 8, 9].iter().map(|m| shares[&MixId([*m; 16])]).collect();
        assert!(honest.iter().all(|share| *share > 550), "{honest:?}");
    }

    #[test]
    fn a_line_that_loses_for_all_blackens_nobody() {
        let shares = run([0.0; 10], 0.5, 400);
        assert!(shares.values().all(|share| *share > 500), "{shares:?}");
    }

    #[test]
    fn strangers_loops_count_for_nothing_and_all_is_bounded() {
        let now = Instant::now();
        let mut probes = Probes::<LOOP_HOPS>::default();
        assert!(!probes.came_back([1; 16], now));
        for n in 0..2_000u32 {
            let mix = |i: u32| {
                let mut id = [0; 16];
                id[..4].copy_from_slice(&(2 * n + i).to_be_bytes());
                MixId(id)
            };
            probes.sent([n as u8; 16], [mix(0), mix(1)], now);
        }
        assert!(probes.under_way.len() <= MAX_UNDER_WAY && probes.scores.len() <= MAX_MIXES);
        assert!(probes.shares(now).is_empty(), "one loop says nothing");
    }
}
