//! What a mix does for those whose packets end at it: descriptors, introductions, mailboxes. Each answer goes back by a SURB.

use super::{
    counters::{Live, count},
    descriptors::Descriptors,
    introductions::{Introductions, Knock},
    mailboxes::{Answer, Mailboxes},
    pipeline::lock,
    probes::{LOOP_HOPS, Probes},
};
use crate::{
    message::{FromMix, ToMix},
    proof::ProofError,
};
use fogbank_model::{MixId, UnixMs};
use fogbank_sphinx::{Packet, Surb, reply};
use std::{
    sync::{Mutex, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// The three services of one mix.
pub(super) struct Services {
    descriptors: Mutex<Descriptors>,
    introductions: Mutex<Introductions>,
    mailboxes: Mutex<Mailboxes>,
    probes: Mutex<Probes<LOOP_HOPS>>,
    crowded: Notify,
}

/// How long introductions that wait are left alone: an eighth of what a service passes in a quarter of a second.
const DRAIN_EVERY: Duration = Duration::from_millis(30);

impl Services {
    pub(super) fn new(id: MixId) -> Self {
        Self {
            descriptors: Mutex::default(),
            introductions: Mutex::new(Introductions::new(id, Instant::now())),
            mailboxes: Mutex::new(Mailboxes::new(Instant::now())),
            probes: Mutex::default(),
            crowded: Notify::new(),
        }
    }

    pub(super) fn put_descriptor(&self, bytes: Vec<u8>) -> Result<(), ProofError> {
        lock(&self.descriptors).put(bytes, now())
    }

    pub(super) fn revoke(&self, bytes: &[u8], counters: &Live) -> Result<(), ProofError> {
        let forgotten = lock(&self.introductions).revoke(now(), bytes)?;
        counters.revocations_forgotten.fetch_add(forgotten, Relaxed);
        Ok(())
    }

    /// Notes a loop that is about to be sent.
    pub(super) fn loop_sent(&self, id: [u8; 16], through: [MixId; LOOP_HOPS], now: Instant) {
        lock(&self.probes).sent(id, through, now);
    }

    pub(super) fn probe_shares(&self, now: Instant) -> Vec<(MixId, u16)> {
        lock(&self.probes).shares(now)
    }

    /// Waits until introductions that had to wait may go on, and returns them as packets.
    pub(super) async fn waited(&self, counters: &Live) -> Vec<([u8; 16], Packet)> {
        self.crowded.notified().await;
        tokio::time::sleep(DRAIN_EVERY).await;
        self.sealed(self.drain(counters))
    }

    fn drain(&self, counters: &Live) -> Vec<Answer> {
        let mut introductions = lock(&self.introductions);
        let answers = introductions.drain(Instant::now());
        if introductions.crowded() {
            self.crowded.notify_one();
        }
        counters.introductions.fetch_add(passed_on(&answers), Relaxed);
        answers
    }

    fn sealed(&self, answers: Vec<Answer>) -> Vec<([u8; 16], Packet)> {
        answers.into_iter().filter_map(|(surb, answer)| packet(&surb, &answer)).collect()
    }

    pub(super) fn sweep(&self) {
        lock(&self.descriptors).sweep(now());
        lock(&self.introductions).sweep(now());
        lock(&self.mailboxes).sweep(Instant::now());
    }

    /// Does what a payload asks; the packets to send, with the mix that each goes to first.
    pub(super) fn arrived(&self, payload: &[u8], counters: &Live) -> Vec<([u8; 16], Packet)> {
        let message = match ToMix::decode(payload) {
            Ok(message) => message,
            Err(error) => {
                tracing::debug!(%error, "a packet's payload is no message");
                count(&counters.refused);
                return Vec::new();
            }
        };
        // Answers are sealed outside the locks: that is most of the work.
        let answers = self.act(message, counters);
        let puzzles = answers.iter().filter(|(_, answer)| matches!(answer, FromMix::Puzzle(_))).count();
        counters.puzzles.fetch_add(puzzles as u64, Relaxed);
        self.sealed(answers)
    }

    fn act(&self, message: ToMix, counters: &Live) -> Vec<Answer> {
        match message {
            ToMix::FetchDescriptor { blinded, surb } => {
                vec![(surb, FromMix::Descriptor(lock(&self.descriptors).get(&blinded, now())))]
            }
            ToMix::Register { lease, surbs, flush, work } => {
                let mut introductions = lock(&self.introductions);
                let answer = introductions.register(Instant::now(), now(), &lease, surbs, flush, work);
                if matches!(answer, Some((_, FromMix::Puzzle(_)))) {
                    count(&counters.no_place);
                }
                // A new stock may be what others wait for.
                answer.into_iter().chain(introductions.drain(Instant::now())).collect()
            }
            ToMix::Unregister { lease } => {
                lock(&self.introductions).unregister(now(), &lease);
                Vec::new()
            }
            ToMix::FetchLeases { blinded, unlock, surb } => {
                let offset = rand::random::<u16>().into();
                vec![(surb, lock(&self.introductions).leases(now(), &blinded, unlock.as_ref(), offset))]
            }
            ToMix::Introduce { blinded, instance, hello, work, surb } => {
                let knock = Knock { blinded, instance, hello, work, surb };
                let mut answers = lock(&self.introductions).introduce(Instant::now(), now(), knock);
                counters.introductions.fetch_add(passed_on(&answers), Relaxed);
                answers.extend(self.drain(counters));
                answers
            }
            ToMix::Mailbox { mine, peer, surbs, flush, relay } => {
                let passed = lock(&self.mailboxes).message(Instant::now(), mine, peer, surbs, flush, relay);
                counters.relayed.fetch_add(passed.relayed, Relaxed);
                counters.unrelayed.fetch_add(passed.lost, Relaxed);
                counters.no_place.fetch_add(passed.no_place.into(), Relaxed);
                passed.answers
            }
            ToMix::PayMailbox { mine, peer, work } => {
                lock(&self.mailboxes).pay(Instant::now(), mine, peer, work);
                Vec::new()
            }
            ToMix::Loop { id } => {
                if lock(&self.probes).came_back(id, Instant::now()) {
                    count(&counters.cover_back);
                }
                Vec::new()
            }
            ToMix::Drop => {
                count(&counters.cover_ended);
                Vec::new()
            }
            ToMix::CloseMailbox { mine } => {
                lock(&self.mailboxes).close(mine);
                Vec::new()
            }
        }
    }
}

fn passed_on(answers: &[Answer]) -> u64 {
    answers.iter().filter(|(_, answer)| matches!(answer, FromMix::Introduction { .. })).count() as u64
}

fn packet(surb: &[u8], answer: &FromMix) -> Option<([u8; 16], Packet)> {
    let surb = Surb::from_bytes(surb).ok()?;
    let payload = answer.encode().ok()?;
    reply(surb, &payload).ok()
}

/// This computer's clock. Leases and records allow for clocks that differ by hours.
fn now() -> UnixMs {
    crate::clock::system()
}
