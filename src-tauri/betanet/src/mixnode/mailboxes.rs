//! The rendezvous: pairs of mailboxes, each with the SURBs that its owner left. Pure: time comes in, what to send goes out.
//!
//! Invariants: a datagram passes only between two mailboxes that name each other; a few SURBs of each are kept for asking for more;
//! when mailboxes run low, opening one costs work ([`crate::puzzle`]), and when SURBs do, whoever hoards most loses first.

use crate::{
    message::{FromMix, MailboxId, ToMix},
    puzzle::{Seeds, Work, table_effort},
};
use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

/// Mailboxes at a mix: 512 tunnels that meet here.
const MAX_MAILBOXES: usize = 1_024;
/// SURBs of all mailboxes: 24 MB; 256 tunnels at the size of stock that a fast download asks for.
const MAX_STOCK_IN_ALL: usize = 65_536;
/// Datagrams waiting in all: 16 MB. Beyond, each mailbox still has [`FEW`].
const MAX_WAITING_IN_ALL: usize = 2_048;
/// See there.
const FEW: usize = 2;
/// A mailbox whose peer has not come by then is nobody's tunnel: both ends open theirs within one introduction.
const UNPAIRED: Duration = Duration::from_secs(10);
/// A mailbox that got something within this time is in use.
const IN_USE: Duration = Duration::from_secs(30);
/// The gate of mailboxes, for its puzzles.
const GATE: &[u8] = b"mailboxes";
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
    opened: Instant,
    touched: Instant,
    /// When it last got a datagram.
    got: Option<Instant>,
    spent: u32,
}

/// Why a mailbox is not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoPlace {
    /// Places run low: it takes so much work.
    For(u32),
    /// All are in use, or it can have none.
    AtAll,
}

/// An answer and the SURB to send it by.
pub(crate) type Answer = (Vec<u8>, FromMix);

/// All mailboxes of a mix.
pub(crate) struct Mailboxes {
    open: HashMap<MailboxId, Mailbox>,
    seeds: Seeds,
    /// SURBs and datagrams in all of them.
    stock: usize,
    waiting: usize,
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
    /// Whether there was no place for a new mailbox.
    pub(crate) no_place: bool,
}

impl Mailboxes {
    pub(crate) fn new(now: Instant) -> Self {
        Self { open: HashMap::new(), seeds: Seeds::new(now, &mut rand::rng()), stock: 0, waiting: 0 }
    }

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
        let mut surbs = VecDeque::from(surbs);
        if !self.open.contains_key(&mine)
            && let Err(no) = self.place(now, mine, peer, None)
        {
            passed.lost += u64::from(relay.is_some());
            passed.no_place = true;
            let answer = match no {
                NoPlace::For(effort) => FromMix::Puzzle(self.seeds.puzzle(GATE, effort, now)),
                NoPlace::AtAll => FromMix::Refused("there is no place for this mailbox".to_owned()),
            };
            passed.answers.extend(surbs.pop_front().map(|surb| (surb, answer)));
            return passed;
        }
        let Some(own) = self.open.get_mut(&mine).filter(|own| own.peer == peer) else {
            passed.lost += u64::from(relay.is_some());
            return passed;
        };
        let before = (own.stock.len(), own.waiting.len());
        own.touched = now;
        if flush {
            own.stock.clear();
        }
        own.asked = own.asked && surbs.is_empty();
        own.stock.extend(surbs);
        own.stock.truncate(MAX_STOCK);
        own.drain(&mut passed);
        self.stock = self.stock + own.stock.len() - before.0;
        self.waiting = self.waiting + own.waiting.len() - before.1;
        if let Some(data) = relay {
            match self.open.get_mut(&peer).filter(|other| other.peer == mine) {
                Some(other) => {
                    let before = (other.stock.len(), other.waiting.len());
                    let most = if self.waiting >= MAX_WAITING_IN_ALL { FEW } else { MAX_WAITING };
                    while other.waiting.len() >= most {
                        other.waiting.pop_front();
                        passed.lost += 1;
                    }
                    other.got = Some(now);
                    other.waiting.push_back(data);
                    other.drain(&mut passed);
                    self.stock = self.stock + other.stock.len() - before.0;
                    self.waiting = self.waiting + other.waiting.len() - before.1;
                }
                None => passed.lost += 1,
            }
        }
        while self.stock > MAX_STOCK_IN_ALL
            && let Some(richest) = self.open.values_mut().max_by_key(|m| m.stock.len())
        {
            let over = (self.stock - MAX_STOCK_IN_ALL).min(richest.stock.len());
            richest.stock.drain(..over);
            self.stock -= over;
        }
        passed
    }

    /// Opens a mailbox for work.
    pub(crate) fn pay(&mut self, now: Instant, mine: MailboxId, peer: MailboxId, work: Work) {
        if !self.open.contains_key(&mine) {
            // Who paid too little hears of it when it sends its first datagram.
            let _ = self.place(now, mine, peer, Some(work));
        }
    }

    /// Opens a mailbox if there is a place, else says what it takes. Nobody is asked for work that gets him none.
    fn place(&mut self, now: Instant, mine: MailboxId, peer: MailboxId, work: Option<Work>) -> Result<(), NoPlace> {
        // One that names itself would never be alone.
        if mine == peer {
            return Err(NoPlace::AtAll);
        }
        if self.open.len() >= MAX_MAILBOXES {
            self.sweep(now);
        }
        let asked = table_effort(self.open.len(), MAX_MAILBOXES);
        let task = ToMix::mailbox_task(mine);
        let spent = work.filter(|w| self.seeds.paid(GATE, &task, *w, now)).map_or(0, |w| w.effort);
        let full = self.open.len() >= MAX_MAILBOXES;
        let victim = if full { Some(self.gives_way(now, spent.max(asked)).ok_or(NoPlace::AtAll)?) } else { None };
        if spent < asked {
            return Err(NoPlace::For(asked));
        }
        if let Some(victim) = victim {
            self.close(victim);
        }
        let (stock, waiting) = (VecDeque::new(), VecDeque::new());
        let mailbox = Mailbox { peer, stock, waiting, asked: false, opened: now, touched: now, got: None, spent };
        self.open.insert(mine, mailbox);
        Ok(())
    }

    /// Which mailbox is closed for one that so much work was spent on: first one that waits for nobody, then one that is idle and cost least. None
    /// that is in use.
    fn gives_way(&self, now: Instant, spent: u32) -> Option<MailboxId> {
        let since = |at: Instant| now.saturating_duration_since(at);
        let alone =
            |id: &MailboxId, m: &Mailbox| self.open.get(&m.peer).is_none_or(|p| p.peer != *id) && since(m.opened) >= UNPAIRED;
        let idle = |m: &Mailbox| m.got.is_none_or(|at| since(at) >= IN_USE);
        let victims = self.open.iter().filter(|(id, m)| alone(id, m) || idle(m) && m.spent < spent);
        victims.min_by_key(|(id, m)| (!alone(id, m), m.spent, m.touched)).map(|(id, _)| *id)
    }

    /// Forgets a mailbox.
    pub(crate) fn close(&mut self, mine: MailboxId) {
        if let Some(gone) = self.open.remove(&mine) {
            self.stock -= gone.stock.len();
            self.waiting -= gone.waiting.len();
        }
    }

    /// Forgets those that nobody has touched for long.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.open.retain(|_, m| now.saturating_duration_since(m.touched) < IDLE);
        self.stock = self.open.values().map(|m| m.stock.len()).sum();
        self.waiting = self.open.values().map(|m| m.waiting.len()).sum();
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
        let mut mailboxes = Mailboxes::new(now);
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
        let mut mailboxes = Mailboxes::new(now);
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
        let mut mailboxes = Mailboxes::new(now);
        mailboxes.message(now, A, B, surbs(3), false, None);
        mailboxes.sweep(now + IDLE);
        assert!(mailboxes.open.is_empty());
    }

    fn id(n: u32) -> MailboxId {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_le_bytes());
        id[15] = 9;
        MailboxId(id)
    }

    #[test]
    fn a_stranger_who_fills_the_table_pays_for_the_last_quarter_and_pushes_nobody_out_that_is_in_use() {
        let now = Instant::now();
        let mut mailboxes = Mailboxes::new(now);
        mailboxes.message(now, A, B, surbs(10), false, None);
        mailboxes.message(now, B, A, surbs(10), false, None);
        let mut refused = 0;
        for n in 0..10 * MAX_MAILBOXES as u32 {
            let passed = mailboxes.message(now, id(n), id(n + 1), surbs(4), false, None);
            refused += u32::from(matches!(passed.answers.first(), Some((_, FromMix::Puzzle(_)))));
        }
        assert_eq!(mailboxes.open.len(), MAX_MAILBOXES * 3 / 4);
        assert!(refused as usize > 9 * MAX_MAILBOXES);
        // The pair goes on, and a newcomer who works gets in.
        let passed = mailboxes.message(now, A, B, vec![], false, Some(vec![7]));
        assert_eq!(passed.relayed, 1);
        let passed = mailboxes.message(now, C, A, surbs(4), false, None);
        let Some((_, FromMix::Puzzle(puzzle))) = passed.answers.first() else { panic!("{:?}", passed.answers) };
        let work = puzzle.solve(&ToMix::mailbox_task(C), 0).unwrap();
        mailboxes.pay(now, B, C, work);
        assert!(!mailboxes.open.contains_key(&C), "work for one mailbox opens no other");
        mailboxes.pay(now, C, A, work);
        assert!(mailboxes.open.contains_key(&C));
        // A full table: those who wait for nobody go first, the pair in use stays.
        for n in 0..MAX_MAILBOXES as u32 {
            let (mine, asked) = (MailboxId([n as u8, (n >> 8) as u8, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]), MAX_MAILBOXES);
            if mailboxes.open.len() < asked {
                let spent = Mailbox { spent: 1, ..mailbox(now, C) };
                mailboxes.open.insert(mine, spent);
            }
        }
        let later = now + UNPAIRED;
        mailboxes.message(later, A, B, vec![], false, Some(vec![7]));
        mailboxes.message(later, B, A, vec![], false, Some(vec![7]));
        let seeds = Seeds::new(now, &mut rand::rng());
        let _ = std::mem::replace(&mut mailboxes.seeds, seeds);
        let puzzle = mailboxes.seeds.puzzle(GATE, 1, later);
        let paid = puzzle.solve(&ToMix::mailbox_task(id(u32::MAX)), 0);
        let asked = NoPlace::For(table_effort(MAX_MAILBOXES, MAX_MAILBOXES));
        assert_eq!(mailboxes.place(later, id(u32::MAX), A, paid), Err(asked), "too little");
        assert!(mailboxes.open.contains_key(&A) && mailboxes.open.contains_key(&B));
        assert_eq!(mailboxes.open.len(), MAX_MAILBOXES);
        // When all are in use nobody works for nothing.
        mailboxes.open.values_mut().for_each(|m| m.got = Some(later));
        let ids: Vec<MailboxId> = mailboxes.open.keys().copied().collect();
        for pair in ids.chunks_exact(2) {
            mailboxes.open.get_mut(&pair[0]).unwrap().peer = pair[1];
            mailboxes.open.get_mut(&pair[1]).unwrap().peer = pair[0];
        }
        let passed = mailboxes.message(later, id(u32::MAX), A, surbs(4), false, None);
        assert!(passed.no_place && matches!(passed.answers.as_slice(), [(_, FromMix::Refused(_))]), "{:?}", passed.answers);
        assert_eq!(mailboxes.open.len(), MAX_MAILBOXES);
    }

    #[test]
    fn a_mailbox_that_is_its_own_peer_takes_no_place() {
        let now = Instant::now();
        let mut mailboxes = Mailboxes::new(now);
        let passed = mailboxes.message(now, A, A, surbs(4), false, Some(vec![7]));
        assert!(passed.no_place && passed.lost == 1 && mailboxes.open.is_empty());
    }

    fn mailbox(now: Instant, peer: MailboxId) -> Mailbox {
        let (stock, waiting) = (VecDeque::new(), VecDeque::new());
        Mailbox { peer, stock, waiting, asked: false, opened: now, touched: now, got: None, spent: 0 }
    }

    #[test]
    fn hoarders_lose_first() {
        let now = Instant::now();
        let mut mailboxes = Mailboxes::new(now);
        mailboxes.message(now, A, B, surbs(20), false, None);
        for n in 0..200 {
            for _ in 0..4 {
                mailboxes.message(now, id(n), id(n + 1), surbs(128), false, None);
            }
        }
        assert!(mailboxes.stock <= MAX_STOCK_IN_ALL);
        assert_eq!(mailboxes.stock, mailboxes.open.values().map(|m| m.stock.len()).sum::<usize>());
        assert_eq!(mailboxes.open.get(&A).unwrap().stock.len(), 20);
        for n in 0..200 {
            mailboxes.close(id(n));
        }
        assert_eq!(mailboxes.stock, 20);
    }
}
