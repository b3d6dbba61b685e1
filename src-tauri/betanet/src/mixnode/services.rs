//! What a mix does for those whose packets end at it: descriptors, introductions, mailboxes. Each answer goes back by a SURB.

use super::{
    counters::{Live, count},
    descriptors::Descriptors,
    introductions::Introductions,
    mailboxes::{Answer, Mailboxes},
    pipeline::lock,
};
use crate::{
    message::{FromMix, ToMix},
    proof::ProofError,
};
use fogbank_model::{MixId, UnixMs};
use fogbank_sphinx::{Packet, Surb, reply};
use std::{
    sync::{Mutex, atomic::Ordering::Relaxed},
    time::{Instant, SystemTime},
};

/// The three services of one mix.
pub(super) struct Services {
    descriptors: Mutex<Descriptors>,
    introductions: Mutex<Introductions>,
    mailboxes: Mutex<Mailboxes>,
}

impl Services {
    pub(super) fn new(id: MixId) -> Self {
        Self {
            descriptors: Mutex::default(),
            introductions: Mutex::new(Introductions::new(id, Instant::now())),
            mailboxes: Mutex::default(),
        }
    }

    pub(super) fn put_descriptor(&self, bytes: Vec<u8>) -> Result<(), ProofError> {
        lock(&self.descriptors).put(bytes, now())
    }

    pub(super) fn revoke(&self, bytes: &[u8]) -> Result<(), ProofError> {
        lock(&self.introductions).revoke(now(), bytes)
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
        self.act(message, counters).into_iter().filter_map(|(surb, answer)| packet(&surb, &answer)).collect()
    }

    fn act(&self, message: ToMix, counters: &Live) -> Vec<Answer> {
        match message {
            ToMix::FetchDescriptor { blinded, surb } => {
                vec![(surb, FromMix::Descriptor(lock(&self.descriptors).get(&blinded, now())))]
            }
            ToMix::Register { lease, surbs, flush } => {
                lock(&self.introductions).register(now(), lease, surbs, flush).into_iter().collect()
            }
            ToMix::Unregister { lease } => {
                lock(&self.introductions).unregister(now(), &lease);
                Vec::new()
            }
            ToMix::FetchLeases { blinded, surb } => {
                let offset = rand::random::<u16>().into();
                vec![(surb, lock(&self.introductions).leases(now(), &blinded, offset))]
            }
            ToMix::Introduce { blinded, instance, hello, surb } => {
                let passed = lock(&self.introductions).introduce(Instant::now(), now(), blinded, instance, hello);
                match passed {
                    Ok(mut answers) => {
                        count(&counters.introductions);
                        answers.push((surb, FromMix::Introduced));
                        answers
                    }
                    Err(why) => vec![(surb, FromMix::Refused(why.to_owned()))],
                }
            }
            ToMix::Mailbox { mine, peer, surbs, flush, relay } => {
                let passed = lock(&self.mailboxes).message(Instant::now(), mine, peer, surbs, flush, relay);
                counters.relayed.fetch_add(passed.relayed, Relaxed);
                counters.unrelayed.fetch_add(passed.lost, Relaxed);
                passed.answers
            }
            ToMix::CloseMailbox { mine } => {
                lock(&self.mailboxes).close(mine);
                Vec::new()
            }
        }
    }
}

fn packet(surb: &[u8], answer: &FromMix) -> Option<([u8; 16], Packet)> {
    let surb = Surb::from_bytes(surb).ok()?;
    let payload = answer.encode().ok()?;
    reply(surb, &payload).ok()
}

/// This computer's clock. Leases and records allow for clocks that differ by hours.
fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
