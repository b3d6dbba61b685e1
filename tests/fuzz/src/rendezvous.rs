//! Mailboxes at a mix under any sequence of messages: accounts stay right, answers go by SURBs that were left and by each once.

use fogbank_betanet::{puzzle::Work, sim::Rendezvous};
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

/// A few owners, so that they meet.
const OWNERS: u8 = 6;

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    vec![
        vec![0, 1, 2, 10, 0, 2, 1, 10, 1, 1, 2, 0, 1, 2, 1, 0, 5, 1, 0, 0],
        vec![0, 1, 2, 60, 0, 2, 1, 30, 1, 1, 2, 90, 3, 0, 0, 9, 4, 1, 0, 0, 2, 1, 2, 9, 5, 0, 0, 0, 1, 1, 2, 3],
    ]
}

pub(crate) fn run(input: &[u8]) -> bool {
    let mut now = Instant::now();
    let mut mix = Rendezvous::new(now);
    let mut next_surb = 0;
    let mut left = HashSet::new();
    let mut answered = false;
    for step in input.chunks_exact(4).take(600) {
        let [what, mine, peer, amount] = [step[0], step[1], step[2], step[3]];
        let (mine, peer) = (u64::from(mine % OWNERS), u64::from(peer % OWNERS));
        match what % 6 {
            kind @ (0 | 1) => {
                let surbs: Vec<u64> = (next_surb..next_surb + u64::from(amount % 65)).collect();
                next_surb += surbs.len() as u64;
                left.extend(surbs.iter().copied());
                let relay = (kind == 1).then(|| vec![amount; usize::from(amount)]);
                for answer in mix.message(now, mine, peer, &surbs, relay) {
                    assert!(left.remove(&answer.surb), "a SURB was used that nobody left, or twice");
                    answered |= answer.data.is_some();
                }
            }
            2 => mix.pay(now, mine, peer, Work { effort: u32::from(amount) << 20, nonce: u64::from(amount) }),
            3 => now += Duration::from_millis(u64::from(amount) * 700),
            4 => mix.close(mine),
            _ => mix.sweep(now),
        }
    }
    answered
}
