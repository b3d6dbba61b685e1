//! A client's cover loops while it is in use: questions like any look-up, whose answers come back by SURBs.
//!
//! They go to the mixes and over the paths that look-ups use, at the moments of a Poisson process, so that who watches the client's links
//! sees traffic also when nothing is asked. Those whose answers do not come tell which mixes lose packets.
//! Invariants: none at level fast, and none when nothing was sent for [`IN_USE`]; the loops themselves are no use.
//!
//! What is measured is shown ([`super::Uplink::loop_shares`]) and **does not steer paths**. If each client chose by its own measurements, a
//! mix could drop some clients' packets and not others', and so push those clients towards other mixes and know them by their
//! choice. If that is ever wanted, influence must be bounded like this: (1) only mixes that lose more than half over at least thirty loops
//! count, for an hour at most; (2) at most one in eight of the weight may be avoided at a time, the worst first; (3) never a guard of either
//! layer, whose loss is seen as a link that is down or shown to the person instead; so that who blackens others gains less than the
//! eighth that it would gain by running mixes of that weight.

use super::{Inbox, Reply, Shared, Uplink, lock};
use crate::{
    message::ToMix,
    mixnode::probes::Probes,
    schedule::{CLIENT_LOOP_MEAN, PoissonCover},
};
use fogbank_model::{Level, MixId};
use rand::seq::IndexedRandom as _;
use std::{
    sync::Mutex,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, mpsc},
    time::sleep_until,
};

/// A client is in use for so long after it last sent something.
pub const IN_USE: Duration = Duration::from_secs(180);
/// Mixes that a loop passes: three there, three back; the one that answers is drawn evenly and judged by the mixes' own loops.
pub(super) const HOPS: usize = 6;

/// When each level was last used.
#[derive(Default)]
pub(super) struct Activity {
    last: Mutex<[Option<Instant>; 2]>,
    wake: Notify,
    probes: Mutex<Probes<HOPS>>,
}

impl Activity {
    /// Something of one's own was sent.
    pub(super) fn used(&self, level: Level, now: Instant) {
        let place = match level {
            Level::Fast => return,
            Level::Balanced => 0,
            Level::Strict => 1,
        };
        let before = lock(&self.last)[place].replace(now);
        if before.is_none_or(|at| now.duration_since(at) >= IN_USE) {
            self.wake.notify_one();
        }
    }

    /// The strictest level in use.
    pub(super) fn level(&self, now: Instant) -> Option<Level> {
        let in_use = lock(&self.last).map(|at| at.is_some_and(|at| now.duration_since(at) < IN_USE));
        match in_use {
            [_, true] => Some(Level::Strict),
            [true, false] => Some(Level::Balanced),
            [false, false] => None,
        }
    }

    pub(super) fn shares(&self, now: Instant) -> Vec<(MixId, u16)> {
        lock(&self.probes).shares(now)
    }
}

/// Sends loops while the uplink is in use.
pub(super) async fn keep(uplink: Uplink) {
    let shared = uplink.shared.clone();
    let (inbox, mut replies) = uplink.inbox();
    loop {
        if shared.activity.level(Instant::now()).is_none() {
            shared.activity.wake.notified().await;
            continue;
        }
        let mut cover = PoissonCover::new(CLIENT_LOOP_MEAN, Instant::now(), &mut rand::rng());
        while let Some(level) = shared.activity.level(Instant::now()) {
            sleep_taking(&shared, cover.next(), &mut replies).await;
            while cover.take(Instant::now(), &mut rand::rng()) {
                if let Err(error) = send_loop(&uplink, level, &inbox).await {
                    tracing::trace!(%error, "a loop was not sent");
                }
            }
        }
    }
}

async fn sleep_taking(shared: &Shared, until: Instant, replies: &mut mpsc::Receiver<Reply>) {
    loop {
        tokio::select! {
            () = sleep_until(until.into()) => return,
            Some(reply) = replies.recv() => {
                if lock(&shared.activity.probes).came_back(reply.surb, Instant::now()) {
                    shared.counts.cover_in.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            }
        }
    }
}

async fn send_loop(uplink: &Uplink, level: Level, inbox: &Inbox) -> Result<(), super::SendError> {
    // A key that nobody has, asked for where it would lie: every mix on the way sees a look-up like others, and the last one that there is
    // no such descriptor, as when somebody mistypes.
    let blinded: [u8; 32] = rand::random();
    let directory = uplink.shared.private()?;
    let ring = directory.ring(&blinded);
    let Some(to) = ring.choose(&mut rand::rng()).copied() else { return Ok(()) };
    let (surb, back) = uplink.surb(&directory, to, level, inbox).await?;
    let id = back.id;
    let there = uplink.post(to, level, &ToMix::FetchDescriptor { blinded, surb }).await?;
    let mut through = [to; HOPS];
    for (place, mix) in through.iter_mut().zip(there.into_iter().filter(|mix| *mix != to).chain(back.path)) {
        *place = mix;
    }
    lock(&uplink.shared.activity.probes).sent(id, through, Instant::now());
    uplink.shared.counts.cover_out.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_is_no_use_and_use_ends() {
        let now = Instant::now();
        let activity = Activity::default();
        activity.used(Level::Fast, now);
        assert_eq!(activity.level(now), None);
        activity.used(Level::Strict, now);
        activity.used(Level::Balanced, now + IN_USE / 2);
        assert_eq!(activity.level(now + IN_USE / 2), Some(Level::Strict));
        assert_eq!(activity.level(now + IN_USE), Some(Level::Balanced));
        assert_eq!(activity.level(now + IN_USE * 3 / 2), None);
    }
}
