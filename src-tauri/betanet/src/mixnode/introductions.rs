//! The introduction point: live leases of instances, and the SURBs by which introductions reach them. Pure: time comes in.
//!
//! It can drop introductions and count instances; it can't steer visitors (they choose by the signed leases) nor read what it passes on.

use super::mailboxes::{Answer, left};
use crate::{
    lease::{Lease, Revocation},
    message::FromMix,
};
use fogbank_model::{InstanceId, MixId, UnixMs};
use fogbank_sphinx::Geometry;
use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

/// Registrations at a point.
const MAX_REGISTRATIONS: usize = 4_096;
/// SURBs of one registration: what an instance leaves at most.
const MAX_STOCK: usize = 64;
/// SURBs that only ask for more.
const RESERVE: usize = 2;
/// Introductions passed on a second, in all.
const MAX_PER_SECOND: u32 = 64;
/// Leases in one answer: those that fit a packet.
const MAX_LEASES_BYTES: usize = Geometry::REPLY_PAYLOAD_BYTES;
/// Revoked instances remembered, until their leases have ended anyway.
const MAX_REVOKED: usize = 16_384;

type Key = ([u8; 32], InstanceId);

struct Registration {
    lease: Vec<u8>,
    expires: UnixMs,
    stock: VecDeque<Vec<u8>>,
    asked: bool,
}

/// All registrations of an introduction point.
pub(crate) struct Introductions {
    point: MixId,
    registered: HashMap<Key, Registration>,
    revoked: HashMap<Key, UnixMs>,
    second: (Instant, u32),
}

impl Introductions {
    pub(crate) fn new(point: MixId, now: Instant) -> Self {
        Self { point, registered: HashMap::new(), revoked: HashMap::new(), second: (now, 0) }
    }

    /// An instance registers or brings more SURBs.
    pub(crate) fn register(&mut self, now: UnixMs, lease: Vec<u8>, surbs: Vec<Vec<u8>>, flush: bool) -> Option<Answer> {
        let under = match Lease::open_at(&lease, self.point, now) {
            Ok(under) => under,
            Err(error) => {
                tracing::debug!(%error, "a registration was not believed");
                return None;
            }
        };
        let key = (under.blinded, under.said.instance);
        if self.revoked.contains_key(&key) {
            return surbs.into_iter().next().map(|surb| (surb, FromMix::Refused("the lease was taken back".to_owned())));
        }
        let fresh = !self.registered.contains_key(&key);
        if fresh && self.registered.len() >= MAX_REGISTRATIONS {
            self.registered.retain(|_, r| r.expires > now);
            if self.registered.len() >= MAX_REGISTRATIONS {
                return None;
            }
        }
        let expires = under.said.expires;
        let registration = self.registered.entry(key).or_insert_with(|| Registration {
            lease: Vec::new(),
            expires,
            stock: VecDeque::new(),
            asked: false,
        });
        if registration.expires <= expires {
            (registration.lease, registration.expires) = (under.public, expires);
        }
        if flush {
            registration.stock.clear();
        }
        registration.asked = registration.asked && surbs.is_empty();
        registration.stock.extend(surbs);
        registration.stock.truncate(MAX_STOCK);
        if fresh || flush {
            let surb = registration.stock.pop_front()?;
            return Some((surb, FromMix::Registered { stock: left(&registration.stock) }));
        }
        None
    }

    /// An instance leaves.
    pub(crate) fn unregister(&mut self, now: UnixMs, lease: &[u8]) {
        if let Ok(under) = Lease::open_at(lease, self.point, now) {
            self.registered.remove(&(under.blinded, under.said.instance));
        }
    }

    /// The allocator takes leases back.
    ///
    /// # Errors
    /// When the revocation is not signed for what it names.
    pub(crate) fn revoke(&mut self, now: UnixMs, bytes: &[u8]) -> Result<(), crate::proof::ProofError> {
        let under = Revocation::open(bytes, now)?;
        for instance in under.said.instances {
            let key = (under.blinded, instance);
            self.registered.remove(&key);
            if self.revoked.len() >= MAX_REVOKED {
                self.revoked.retain(|_, until| *until > now);
            }
            if self.revoked.len() < MAX_REVOKED {
                self.revoked.insert(key, under.record_expires);
            }
        }
        Ok(())
    }

    /// The live leases of a service, as many as fit, beginning anywhere.
    pub(crate) fn leases(&self, now: UnixMs, blinded: &[u8; 32], offset: usize) -> FromMix {
        let live: Vec<&Registration> =
            self.registered.iter().filter(|((b, _), r)| b == blinded && r.expires > now).map(|(_, r)| r).collect();
        let mut chosen: Vec<Vec<u8>> = Vec::new();
        for i in 0..live.len() {
            let lease = &live[(i + offset) % live.len()].lease;
            let lengths = chosen.iter().map(Vec::len).chain([lease.len()]);
            if FromMix::leases_bytes(lengths) > MAX_LEASES_BYTES {
                break;
            }
            chosen.push(lease.clone());
        }
        FromMix::Leases(chosen)
    }

    /// Passes an introduction on: what to send to the instance, or why not.
    pub(crate) fn introduce(
        &mut self,
        clock: Instant,
        now: UnixMs,
        blinded: [u8; 32],
        instance: InstanceId,
        hello: Vec<u8>,
    ) -> Result<Vec<Answer>, &'static str> {
        let registration =
            self.registered.get_mut(&(blinded, instance)).filter(|r| r.expires > now).ok_or("not registered here")?;
        if registration.stock.len() <= RESERVE {
            return Err("the instance has left no way to reach it");
        }
        // Counted only now, so that knocking at doors that are not there shuts no other.
        if clock.duration_since(self.second.0) >= Duration::from_secs(1) {
            self.second = (clock, 0);
        }
        if self.second.1 >= MAX_PER_SECOND {
            return Err("too many introductions at once");
        }
        self.second.1 += 1;
        let surb = registration.stock.pop_front().ok_or("the instance has left no way to reach it")?;
        let mut answers = vec![(surb, FromMix::Introduction { hello, stock: left(&registration.stock) })];
        if registration.stock.len() <= RESERVE
            && !registration.asked
            && let Some(surb) = registration.stock.pop_front()
        {
            registration.asked = true;
            answers.push((surb, FromMix::Restock { stock: left(&registration.stock) }));
        }
        Ok(answers)
    }

    /// Forgets what has ended.
    pub(crate) fn sweep(&mut self, now: UnixMs) {
        self.registered.retain(|_, r| r.expires > now);
        self.revoked.retain(|_, until| *until > now);
    }
}
