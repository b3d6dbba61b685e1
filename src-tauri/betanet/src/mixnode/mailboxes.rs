//! The rendezvous: pairs of mailboxes, each with the SURBs that its owner left. Pure: time comes in, what to send goes out.
//!
//! Invariants: a datagram passes only between two mailboxes that name each other; a few SURBs of each are kept for asking for more.

use crate::message::{FromMix, MailboxId};
use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

/// Mailboxes at a mix: with 256 SURBs of 360 bytes each, 100 MB if all were full; in practice a tenth of them are.
const MAX_MAILBOXES: usize = 1_024;
/// SURBs of one mailbox: what its owner leaves at most.
const MAX_STOCK: usize = 512;
/// Datagrams waiting for SURBs of one mailbox: 256 KB; a sender that is faster is told by its losses.
const MAX_WAITING: usize = 32;
/// SURBs that only ask for more.
const RESERVE: usize = 2;
/// A tunnel's silence ends it long before.
const IDLE: Duration = Duration::from_secs(150);

struct Mailbox {
    peer: MailboxId,
    stock: VecDeque<Vec<u8>>,
    waiting: VecDeque<Vec<u8>>,
    asked: bool,
    touched: Instant,
}

/// An answer and the SURB to send it by.
pub(crate) type Answer = (Vec<u8>, FromMix);

/// All mailboxes of a mix.
#[derive(Default)]
pub(crate) struct Mailboxes {
    open: HashMap<MailboxId, Mailbox>,
}

/// What became of one message to a mailbox.
#[derive(Default)]
pub(crate) struct Passed {
    /// What to send now.
    pub(crate) answers: Vec<Answer>,
    /// Datagrams passed on.
    pub(crate) relayed: u64,
    /// Datagrams that had no mailbox or no room.
    pub(crate) lost: u64,
}

impl Mailboxes {
    /// Opens or refills a mailbox and passes a datagram on to its peer.
    pub(crate) fn message(
        &mut self,
        now: Instant,
        mine: MailboxId,
        peer: MailboxId,
        surbs: Vec<Vec<u8>>,
        flush: bool,
        relay: Option<Vec<u8>>,
    ) -> Passed {
        let mut passed = Passed::default();
        if !self.open.contains_key(&mine) && self.open.len() >= MAX_MAILBOXES {
            self.open.retain(|_, m| now.duration_since(m.touched) < IDLE);
            if self.open.len() >= MAX_MAILBOXES {
                passed.lost += u64::from(relay.is_some());
                return passed;
            }
        }
        let own = self.open.entry(mine).or_insert_with(|| Mailbox {
            peer,
            stock: VecDeque::new(),
            waiting: VecDeque::new(),
            asked: false,
            touched: now,
        });
        if own.peer != peer {
            passed.lost += u64::from(relay.is_some());
            return passed;
        }
        own.touched = now;
        if flush {
            own.stock.clear();
        }
        own.asked = own.asked && surbs.is_empty();
        own.stock.extend(surbs);
        own.stock.truncate(MAX_STOCK);
        own.drain(&mut passed);
        if let Some(data) = relay {
            match self.open.get_mut(&peer).filter(|other| other.peer == mine) {
                Some(other) => {
                    if other.waiting.len() >= MAX_WAITING {
                        other.waiting.pop_front();
                        passed.lost += 1;
                    }
                    other.waiting.push_back(data);
                    other.drain(&mut passed);
                }
                None => passed.lost += 1,
            }
        }
        passed
    }

    /// Forgets a mailbox.
    pub(crate) fn close(&mut self, mine: MailboxId) {
        self.open.remove(&mine);
    }

    /// Forgets those that nobody has touched for long.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.open.retain(|_, m| now.duration_since(m.touched) < IDLE);
    }
}

impl Mailbox {
    fn drain(&mut self, passed: &mut Passed) {
        while self.stock.len() > RESERVE {
            let Some(data) = self.waiting.pop_front() else { return };
            let Some(surb) = self.stock.pop_front() else { return };
            passed.relayed += 1;
            passed.answers.push((surb, FromMix::Relayed { data, stock: left(&self.stock) }));
        }
        if !self.asked
            && let Some(surb) = self.stock.pop_front()
        {
            self.asked = true;
            passed.answers.push((surb, FromMix::Restock { stock: left(&self.stock) }));
        }
    }
}

/// The stock as messages tell it.
pub(crate) fn left(stock: &VecDeque<Vec<u8>>) -> u16 {
    u16::try_from(stock.len()).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MailboxId = MailboxId([1; 16]);
    const B: MailboxId = MailboxId([2; 16]);
    const C: MailboxId = MailboxId([3; 16]);

    fn surbs(count: u8) -> Vec<Vec<u8>> {
        (0..count).map(|n| vec![n]).collect()
    }

    #[test]
    fn a_pair_relays_and_strangers_do_not() {
        let now = Instant::now();
        let mut mailboxes = Mailboxes::default();
        mailboxes.message(now, A, B, surbs(10), false, None);
        mailboxes.message(now, B, A, surbs(10), false, None);
        let passed = mailboxes.message(now, A, B, vec![], false, Some(vec![7]));
        assert_eq!(passed.answers, vec![(vec![0], FromMix::Relayed { data: vec![7], stock: 9 })]);
        let stranger = mailboxes.message(now, C, B, surbs(10), false, Some(vec![8]));
        assert!(stranger.answers.is_empty() && stranger.lost == 1);
        let usurper = mailboxes.message(now, A, C, surbs(10), true, Some(vec![9]));
        assert!(usurper.answers.is_empty() && usurper.lost == 1);
    }

    #[test]
    fn without_surbs_datagrams_wait_and_more_are_asked_for_once() {
        let now = Instant::now();
        let mut mailboxes = Mailboxes::default();
        mailboxes.message(now, B, A, surbs(3), false, None);
        mailboxes.message(now, A, B, surbs(9), false, None);
        let first = mailboxes.message(now, A, B, vec![], false, Some(vec![1]));
        assert!(matches!(first.answers[0].1, FromMix::Relayed { stock: 2, .. }));
        assert!(matches!(first.answers[1].1, FromMix::Restock { stock: 1 }));
        for n in 0..2 * MAX_WAITING {
            assert!(mailboxes.message(now, A, B, vec![], false, Some(vec![n as u8])).answers.is_empty());
        }
        let refilled = mailboxes.message(now, B, A, surbs(60), false, None);
        assert_eq!(refilled.relayed as usize, MAX_WAITING);
    }

    #[test]
    fn idle_ones_go() {
        let now = Instant::now();
        let mut mailboxes = Mailboxes::default();
        mailboxes.message(now, A, B, surbs(3), false, None);
        mailboxes.sweep(now + IDLE);
        assert!(mailboxes.open.is_empty());
    }
}
