//! What simulations in virtual time and fuzzing need of the inside: the same tunnel, mailboxes and SURB accounts that nodes run, without
//! clock, network or packets' cryptography. A SURB is a number here.
//!
//! Invariant: nothing is decided here; every call goes to the product's own code.
//! Deliberately absent: paths and schedules, which are public as they are ([`crate::paths`], [`crate::schedule`]).

use crate::{
    message::{FromMix, MailboxId, surbs_in},
    mixnode::mailboxes::Mailboxes,
    puzzle::Work,
    rendezvous::{self, stock::Stock},
    schedule::patience,
};
use fogbank_model::Level;
use std::time::Instant;

pub use crate::tunnel::{Forger, Machine, reread};

/// The longest datagram of a tunnel at a rendezvous.
pub const MAX_DATAGRAM_BYTES: usize = rendezvous::MAX_DATAGRAM_BYTES;
/// SURBs that fill a packet.
pub const SURBS_A_PACKET: usize = rendezvous::SURBS_A_PACKET;
/// Datagrams of a tunnel waiting to be sent.
pub const OUT_QUEUE: usize = rendezvous::OUT_QUEUE;

/// SURBs that fit into a packet beside a datagram of so many bytes.
pub fn surbs_beside(datagram_bytes: usize) -> usize {
    surbs_in(MAX_DATAGRAM_BYTES.saturating_sub(datagram_bytes))
}

/// What a rendezvous sends: by which SURB, the datagram (none: it asks for SURBs), and how many SURBs it has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The SURB.
    pub surb: u64,
    /// What it carries.
    pub data: Option<Vec<u8>>,
    /// The stock after it.
    pub left: u16,
}

/// The mailboxes of a mix.
pub struct Rendezvous(Mailboxes);

impl Rendezvous {
    /// No mailboxes yet.
    pub fn new(now: Instant) -> Self {
        Self(Mailboxes::new(now))
    }

    /// Opens a mailbox for work.
    pub fn pay(&mut self, now: Instant, mine: u64, peer: u64, work: Work) {
        self.0.pay(now, mailbox(mine), mailbox(peer), work);
    }

    /// Forgets a mailbox.
    pub fn close(&mut self, mine: u64) {
        self.0.close(mailbox(mine));
    }

    /// Forgets those that nobody has touched for long.
    pub fn sweep(&mut self, now: Instant) {
        self.0.sweep(now);
    }

    /// Takes a message to a mailbox: SURBs of its owner, and perhaps a datagram for the peer.
    pub fn message(&mut self, now: Instant, mine: u64, peer: u64, surbs: &[u64], relay: Option<Vec<u8>>) -> Vec<Answer> {
        let surbs = surbs.iter().map(|s| s.to_be_bytes().to_vec()).collect();
        let passed = self.0.message(now, mailbox(mine), mailbox(peer), surbs, false, relay);
        let answers = passed.answers.into_iter().filter_map(|(surb, answer)| {
            let surb = u64::from_be_bytes(surb.try_into().ok()?);
            match answer {
                FromMix::Relayed { data, stock } => Some(Answer { surb, data: Some(data), left: stock }),
                FromMix::Restock { stock } => Some(Answer { surb, data: None, left: stock }),
                _ => None,
            }
        });
        answers.collect()
    }
}

fn mailbox(number: u64) -> MailboxId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    MailboxId(id)
}

/// The account of SURBs that one end keeps of its mailbox.
#[derive(Debug)]
pub struct SurbAccount(Stock);

impl SurbAccount {
    /// Nothing sent yet.
    pub fn new(level: Level, now: Instant) -> Self {
        Self(Stock::new(patience(level), now))
    }

    /// How many are missing.
    pub fn missing(&self) -> usize {
        self.0.missing()
    }

    /// SURBs were sent; `asks`: beside a datagram that the other end answers.
    pub fn sent(&mut self, surbs: usize, asks: bool, now: Instant) {
        self.0.sent(surbs);
        if asks {
            self.0.asked(now);
        }
    }

    /// One came back, and the mix says how many it has left.
    pub fn came_back(&mut self, left: u16, now: Instant) {
        self.0.came_back(usize::from(left), now);
    }

    /// Whether nothing came back although something was sent, once for each silence.
    pub fn silent(&mut self, now: Instant) -> bool {
        self.0.silent(SURBS_A_PACKET, now)
    }
}
