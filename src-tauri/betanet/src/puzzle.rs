//! Work as the price of entry under load: a mix that is asked for more than it gives answers with a puzzle, and serves those first who
//! have spent the most.
//!
//! A solution is a number with which a keyed BLAKE3 hash of it falls below 2⁶⁴ / effort; the key is a hash of the mix's seed and of the
//! very request, so a solution fits one request at one mix for one seed's life. Checking takes two hashes (one for each seed that still
//! holds), 0.2 µs; finding takes `effort` hashes on average.
//!
//! Why this and not another: Tor's Equi-X is LGPL. Argon2 makes the mix pay as much for each check as the other side for each try, which
//! turns false claims into the cheaper flood. Birthday puzzles over BLAKE3 need memory only until somebody walks cycles instead.
//! **What it is worth:** a laptop core finds about 10⁷ hashes a second, a graphics card a thousand times as many, and hardware made for
//! it more. It therefore stops a stranger with ordinary computers, and makes one with a rack of graphics cards pay for each introduction;
//! it does not stop the latter. Beside it stand the limits that need no work: one service's flood never takes another's share.
//!
//! Invariants: effort and tries are bounded on both sides; nothing is kept of a request that has not paid.
//! Deliberately absent: who must pay and when (the mix's gates).

use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;

/// The least that is asked for: 1–2 ms of one core, so that a phone's visitor does not notice.
pub const LEAST_EFFORT: u32 = 1 << 14;
/// The most that is asked for, and spent: 3–6 s of one core, beyond which a visitor would sooner give up.
pub const MAX_EFFORT: u32 = 1 << 25;
/// Tries before a solver gives up, as a multiple of the effort: all fail once in e¹⁶, nine million times.
const PATIENCE: u64 = 16;
/// Tries between two looks whether the solution is still wanted: a millisecond.
const LOOK_UP: u64 = 1 << 12;
/// Puzzles that one program solves at a time, so that mixes which ask for much can't take all cores.
const SOLVERS: usize = 2;
static SLOTS: Semaphore = Semaphore::const_new(SOLVERS);
/// How long a seed is handed out. A solution holds while its seed is the current or the last one: it may take [`MAX_EFFORT`] and wait.
pub const SEED_LIFE: Duration = Duration::from_secs(60);

const SEED_CONTEXT: &str = "fogbank 2026 puzzle seed";
const KEY_CONTEXT: &str = "fogbank 2026 puzzle key";

/// What is to be solved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Puzzle {
    /// The mix's seed for this gate and minute.
    pub seed: [u8; 16],
    /// Hashes that it takes on average.
    pub effort: u32,
}

/// A solution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Hashes that it is claimed to have taken.
    pub effort: u32,
    /// The number that shows it.
    pub nonce: u64,
}

/// What a solution is for: all parts of the request that count, hashed with lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Task([u8; 32]);

impl Task {
    /// The task of a request's parts.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(*hasher.finalize().as_bytes())
    }
}

impl Puzzle {
    /// Finds a solution; `None` when the effort is beyond [`MAX_EFFORT`] or luck fails. Blocks: seconds at most.
    pub fn solve(&self, task: &Task, first: u64) -> Option<Work> {
        self.solve_unless(task, first, || false)
    }

    fn solve_unless(&self, task: &Task, first: u64, mut given_up: impl FnMut() -> bool) -> Option<Work> {
        if self.effort > MAX_EFFORT {
            return None;
        }
        let effort = self.effort.max(1);
        let key = key(&self.seed, task);
        for n in 0..u64::from(effort) * PATIENCE {
            if n % LOOK_UP == 0 && given_up() {
                return None;
            }
            let work = Work { effort, nonce: first.wrapping_add(n) };
            if work.holds(&key) {
                return Some(work);
            }
        }
        None
    }

    /// As [`Self::solve`], off the threads that others wait on, [`SOLVERS`] at a time; ends soon after it is no longer waited for.
    pub async fn solved(self, task: Task) -> Option<Work> {
        let _slot = SLOTS.acquire().await.ok()?;
        let wanted = Arc::new(());
        let still = Arc::downgrade(&wanted);
        let first = rand::random();
        let solving = tokio::task::spawn_blocking(move || self.solve_unless(&task, first, || still.strong_count() == 0));
        let work = solving.await.ok().flatten();
        drop(wanted);
        work
    }
}

impl Work {
    fn holds(&self, key: &[u8; 32]) -> bool {
        let mut said = [0; 12];
        said[..8].copy_from_slice(&self.nonce.to_le_bytes());
        said[8..].copy_from_slice(&self.effort.to_le_bytes());
        let hash = blake3::keyed_hash(key, &said);
        let Some(head) = hash.as_bytes().first_chunk::<8>() else { return false };
        u64::from_le_bytes(*head) <= u64::MAX / u64::from(self.effort.max(1))
    }
}

fn key(seed: &[u8; 16], task: &Task) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(KEY_CONTEXT);
    hasher.update(seed).update(&task.0);
    *hasher.finalize().as_bytes()
}

/// A mix's seeds: a function of its secret, the gate and the time, so that none needs keeping.
pub(crate) struct Seeds {
    secret: [u8; 32],
    began: Instant,
}

impl Seeds {
    pub(crate) fn new(began: Instant, rng: &mut impl CryptoRng) -> Self {
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        Self { secret, began }
    }

    /// The puzzle of a gate now.
    pub(crate) fn puzzle(&self, gate: &[u8], effort: u32, now: Instant) -> Puzzle {
        Puzzle { seed: self.seed(gate, self.number(now)), effort }
    }

    /// Whether work was spent on this task at this gate, lately.
    pub(crate) fn paid(&self, gate: &[u8], task: &Task, work: Work, now: Instant) -> bool {
        let number = self.number(now);
        [number, number.saturating_sub(1)].into_iter().any(|n| work.holds(&key(&self.seed(gate, n), task)))
    }

    fn number(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs() / SEED_LIFE.as_secs()
    }

    fn seed(&self, gate: &[u8], number: u64) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_derive_key(SEED_CONTEXT);
        hasher.update(&self.secret).update(&number.to_le_bytes()).update(gate);
        let mut seed = [0; 16];
        hasher.finalize_xof().fill(&mut seed);
        seed
    }
}

/// What a table asks of newcomers: nothing until three quarters are full, then from [`LEAST_EFFORT`] on twice as much with each
/// sixteenth of the last quarter.
pub(crate) fn table_effort(taken: usize, most: usize) -> u32 {
    let free = most.saturating_sub(taken);
    if free * 4 > most {
        return 0;
    }
    let steps = 16 - (free * 64 / most.max(1)).min(16);
    u32::try_from(steps).ok().and_then(|s| LEAST_EFFORT.checked_shl(s)).unwrap_or(MAX_EFFORT).min(MAX_EFFORT)
}

/// What a gate saw in one beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Load {
    /// Requests in all.
    pub(crate) came: u32,
    /// Those that had paid what was asked.
    pub(crate) paid: u32,
    /// What the gate passes in a beat.
    pub(crate) capacity: u32,
}

/// The effort for the next beat: twice as much when more paid than there was room for, half when even with those who did not pay the
/// gate would be half empty. In between it stays: those who knock without paying neither raise the price nor lower it.
pub(crate) fn next_effort(effort: u32, load: Load) -> u32 {
    if load.paid > load.capacity {
        effort.saturating_mul(2).clamp(LEAST_EFFORT, MAX_EFFORT)
    } else if load.paid <= load.capacity / 2 {
        // Knocking without work holds no price up, it only keeps the gate from being free again.
        let least = if load.came > load.capacity / 2 { LEAST_EFFORT.min(effort) } else { 0 };
        if effort / 2 < LEAST_EFFORT { least } else { effort / 2 }
    } else {
        effort
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_fits_one_request_at_one_gate_for_two_minutes() {
        let began = Instant::now();
        let seeds = Seeds::new(began, &mut rand::rng());
        let task = Task::of(&[b"service", b"hello"]);
        let puzzle = seeds.puzzle(b"gate", 64, began);
        let work = puzzle.solve(&task, 7).unwrap();
        assert!(seeds.paid(b"gate", &task, work, began));
        assert!(seeds.paid(b"gate", &task, work, began + SEED_LIFE), "solved in the last moment of a seed");
        // Each of the following is wrong by luck once in 64; sixteen works are not all lucky.
        let works: Vec<Work> = (0..16).map(|n| puzzle.solve(&task, n << 32).unwrap()).collect();
        let all = |gate: &[u8], task: &Task, at| works.iter().all(|w| seeds.paid(gate, task, *w, at));
        assert!(!all(b"gate", &task, began + 2 * SEED_LIFE), "too late");
        assert!(!all(b"other", &task, began), "another service or table");
        assert!(!all(b"gate", &Task::of(&[b"service", b"hallo"]), began), "another request");
        assert!(!all(b"gate", &Task::of(&[b"servic", b"ehello"]), began), "the same bytes, divided otherwise");
        let another = Seeds::new(began, &mut rand::rng());
        assert!(!works.iter().all(|w| another.paid(b"gate", &task, *w, began)), "another mix");
        let boast = |w: &Work| Work { effort: w.effort << 16, ..*w };
        assert!(!works.iter().any(|w| seeds.paid(b"gate", &task, boast(w), began)), "claimed more than spent");
    }

    #[test]
    fn a_greedy_point_costs_a_visitor_nothing() {
        let puzzle = Puzzle { seed: [1; 16], effort: MAX_EFFORT + 1 };
        assert_eq!(puzzle.solve(&Task::of(&[]), 0), None);
    }

    #[test]
    fn the_price_follows_the_load() {
        let load = |came, paid| Load { came, paid, capacity: 64 };
        assert_eq!(next_effort(0, load(64, 64)), 0);
        assert_eq!(next_effort(0, load(65, 65)), LEAST_EFFORT);
        assert_eq!(next_effort(LEAST_EFFORT, load(640, 65)), 2 * LEAST_EFFORT);
        assert_eq!(next_effort(LEAST_EFFORT, load(640, 0)), LEAST_EFFORT, "knocking is free and buys nothing");
        assert_eq!(next_effort(MAX_EFFORT, load(640, 0)), MAX_EFFORT / 2, "nor holds a price up that somebody paid once");
        assert_eq!(next_effort(4 * LEAST_EFFORT, load(32, 32)), 2 * LEAST_EFFORT);
        assert_eq!(next_effort(LEAST_EFFORT, load(0, 0)), 0);
        assert_eq!(next_effort(MAX_EFFORT, load(640, 640)), MAX_EFFORT);
        // Somebody who can pay for ten times the room at the least price is outbid within four beats.
        let mut effort = LEAST_EFFORT;
        for _ in 0..6 {
            let paid = 640 * LEAST_EFFORT / effort;
            effort = next_effort(effort, load(640, paid));
        }
        assert_eq!(effort, 16 * LEAST_EFFORT);
    }

    #[test]
    fn the_last_quarter_of_a_table_grows_dear() {
        assert_eq!(table_effort(0, 1024), 0);
        assert_eq!(table_effort(767, 1024), 0);
        assert_eq!(table_effort(768, 1024), LEAST_EFFORT);
        assert_eq!(table_effort(784, 1024), 2 * LEAST_EFFORT);
        assert_eq!(table_effort(1024, 1024), MAX_EFFORT);
        assert!((0..1024).all(|n| table_effort(n, 1024) <= table_effort(n + 1, 1024)));
    }
}
