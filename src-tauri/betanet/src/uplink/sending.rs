//! Sending over an uplink: packets out over fresh paths, SURBs for what comes back, questions with answers.

use super::{ASK_TRIES, ASK_WAIT, AskError, DOUBT_AFTER, Inbox, SendError, Shared, Uplink, lock, surbs::Out};
use crate::{
    directory::Directory,
    link::{Frame, LinkState},
    message::{FromMix, ToMix},
    schedule::patience,
};
use fogbank_model::{Level, MixId};
use fogbank_sphinx::{build, make_surb};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// On a link that takes nothing for so long nothing moves: at half a megabit a second it takes fifteen packets meanwhile.
const STUCK_AFTER: Duration = Duration::from_secs(2);

/// What is known of a SURB besides its secret.
pub(super) struct Back {
    pub(super) id: [u8; 16],
    /// The mixes that its reply will pass.
    pub(super) path: Vec<MixId>,
}

/// While it lives, the link of level strict is kept up. See [`Uplink::hold`].
pub struct StrictHold(Arc<Shared>);

impl Drop for StrictHold {
    fn drop(&mut self) {
        self.0.strict.release();
    }
}

impl Uplink {
    /// Sends a message to a mix over a fresh path; waits while the guard's link has no room, but only while something moves there. At level
    /// strict it waits for a guard that gives a link of constant rate (5 s at most, [`Self::prepare`] first), and then for a slot.
    ///
    /// # Errors
    /// When there is no directory, too few mixes, no path, no guard for level strict, or the message does not fit a packet.
    pub async fn send(&self, to: MixId, level: Level, message: &ToMix) -> Result<(), SendError> {
        self.shared.activity.used(level, Instant::now());
        self.post(to, level, message).await.map(drop)
    }

    /// The same, which is no use of the uplink; says which mixes it passes.
    pub(super) async fn post(&self, to: MixId, level: Level, message: &ToMix) -> Result<Vec<MixId>, SendError> {
        let payload = message.encode().map_err(SendError::Message)?;
        let directory = self.shared.private()?;
        let only = self.guard_of(level).await?;
        let choose = |net: &crate::paths::Net<'_>| (net.epoch, net.forward(to, level, &mut rand::rng()));
        let (epoch, path) = self.shared.net_via(&directory, only, choose);
        let path = path.map_err(SendError::NoPath)?;
        let packet = build(&mut rand::rng(), epoch, &path, &payload).map_err(SendError::Build)?;
        let guard = path.first().map_or(to, |hop| MixId(hop.id));
        self.shared.push(guard, only.is_some(), Frame::Packet(packet.into_vec())).await?;
        self.shared.counts.packets_out.fetch_add(1, Relaxed);
        Ok(path.iter().map(|hop| MixId(hop.id)).collect())
    }

    /// Keeps the link of constant rate up at level strict, from before the first word until the hold is dropped, so that its beginning and
    /// end do not tell when something was said. Nothing at other levels.
    pub fn hold(&self, level: Level) -> Option<StrictHold> {
        (level == Level::Strict).then(|| {
            self.shared.strict.hold();
            StrictHold(self.shared.clone())
        })
    }

    /// Waits until something can be sent at a level: for strict, until a guard gives a link of constant rate.
    ///
    /// # Errors
    /// When none does within 5 s.
    pub async fn prepare(&self, level: Level) -> Result<(), SendError> {
        self.guard_of(level).await.map(drop)
    }

    /// The one guard that may be used at a level; `None`: any that is up.
    async fn guard_of(&self, level: Level) -> Result<Option<MixId>, SendError> {
        match level {
            Level::Strict => self.shared.strict.guard().await.map(Some),
            Level::Fast | Level::Balanced => Ok(None),
        }
    }

    /// Makes SURBs for a mix to answer by; replies arrive at the inbox.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn surbs(&self, from: MixId, count: usize, level: Level, to: &Inbox) -> Result<Vec<Vec<u8>>, SendError> {
        let directory = self.shared.private()?;
        let mut surbs = Vec::with_capacity(count);
        for _ in 0..count {
            surbs.push(self.surb(&directory, from, level, to).await?.0);
            // Making one takes three key exchanges; others on this thread go on in between.
            tokio::task::yield_now().await;
        }
        Ok(surbs)
    }

    pub(super) async fn surb(
        &self,
        directory: &Directory,
        from: MixId,
        level: Level,
        to: &Inbox,
    ) -> Result<(Vec<u8>, Back), SendError> {
        let only = self.guard_of(level).await?;
        let choose = |net: &crate::paths::Net<'_>| (net.epoch, net.reply(from, level, &mut rand::rng()));
        let (epoch, path) = self.shared.net_via(directory, only, choose);
        let path = path.map_err(SendError::NoPath)?;
        let guard = path.last().map_or(from, |hop| MixId(hop.id));
        let client = self.shared.links.client_tag(guard).ok_or(SendError::GuardGone)?;
        let id: [u8; 16] = rand::random();
        let (surb, secret) = make_surb(&mut rand::rng(), epoch, &path, client, id).map_err(SendError::Build)?;
        lock(&self.shared.surbs).insert(id, Out { secret, inbox: to.id, via: from });
        let path = path.iter().map(|hop| MixId(hop.id)).collect();
        Ok((surb.to_bytes().to_vec(), Back { id, path }))
    }

    /// Asks a mix one thing and waits for the answer; asks again over other paths a few times.
    ///
    /// # Errors
    /// When it can't be sent, or no answer comes.
    pub async fn ask(&self, to: MixId, level: Level, question: impl Fn(Vec<u8>) -> ToMix + Send) -> Result<FromMix, AskError> {
        let (inbox, mut replies) = self.inbox();
        let began = Instant::now();
        for tries in 1..=ASK_TRIES {
            let (tried, heard) = (self.time(), self.shared.heard());
            let surb = self.surbs(to, 1, level, &inbox).await.map_err(AskError::Send)?.pop().unwrap_or_default();
            self.send(to, level, &question(surb)).await.map_err(AskError::Send)?;
            let left = ASK_WAIT.saturating_sub(began.elapsed());
            let wait = if tries == ASK_TRIES { left } else { left.min(tries * patience(level)) };
            if let Ok(Some(reply)) = timeout(wait, replies.recv()).await {
                match FromMix::decode(&reply.payload) {
                    Ok(answer) => return Ok(answer),
                    Err(error) => tracing::debug!(%error, "a mix answered nonsense"),
                }
            } else if let Some(tried) = tried
                && self.shared.heard() == heard
                && began.elapsed() >= DOUBT_AFTER
            {
                // Not only this mix: nothing at all came back. Perhaps mixes can't read what we seal.
                self.shared.doubt(tried);
            }
        }
        Err(AskError::Silent)
    }
}

impl Shared {
    /// Gives a frame to a guard's link: to its slots, if it has any, and to nothing else if it must be (`slots`). Waits while there is no
    /// room, but neither for a link that goes down nor for one on which nothing moves.
    async fn push(&self, guard: MixId, slots: bool, frame: Frame) -> Result<(), SendError> {
        let shaped = self.strict.queue(guard);
        if slots && shaped.is_none() {
            return Err(SendError::GuardGone);
        }
        let plain = shaped.is_none();
        let queue = shaped.or_else(|| self.links.queue(guard)).ok_or(SendError::GuardGone)?;
        let mut state = self.links.state(guard).ok_or(SendError::GuardGone)?;
        let room = tokio::select! {
            room = timeout(STUCK_AFTER, queue.reserve()) => room,
            _ = state.wait_for(|state| *state != LinkState::Up) => return Err(SendError::GuardGone),
        };
        match room {
            Ok(Ok(room)) => room.send(frame),
            Ok(Err(_)) => return Err(SendError::GuardGone),
            Err(_) => {
                self.links.stuck(guard);
                return Err(SendError::GuardGone);
            }
        }
        if plain {
            self.links.sent(guard);
        }
        Ok(())
    }

    /// The same, if there is room now.
    pub(super) fn try_push(&self, guard: MixId, frame: Frame) -> bool {
        if let Some(slots) = self.strict.queue(guard) {
            return slots.try_send(frame).is_ok();
        }
        let sent = self.links.queue(guard).is_some_and(|queue| queue.try_send(frame).is_ok());
        if sent {
            self.links.sent(guard);
        }
        sent
    }
}
