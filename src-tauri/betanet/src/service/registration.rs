//! Being registered at one introduction point, and staying so.
//!
//! The point keeps the lease and a stock of SURBs. The stock is renewed whole at each beat: that proves that the point still
//! has us, replaces SURBs whose way has died, and costs one packet.

use super::introduction::Desk;
use crate::{
    directory::{lives, lives_ended},
    lease::Lease,
    message::{FromMix, RELAY_OVERHEAD_BYTES, ToMix, surbs_in},
    puzzle::{Puzzle, Work},
    schedule::patience,
    uplink::{Inbox, Reply, Uplink},
};
use fogbank_model::{Level, MixId};
use fogbank_sphinx::Geometry;
use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, watch},
    time::sleep_until,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How often the stock is renewed: a visitor that finds a dead one waits no longer than for this.
const BEAT: Duration = Duration::from_secs(20);
/// Registrations in a row without acknowledgement after which the point counts as lost: of those that lose a third of all packets each way, one
/// in ten does so by chance.
const LOST: u32 = 3;
/// At least this long between two registrations at one point, so that a flapping directory or a hostile point makes no storm.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest pause after failures.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// SURBs in a registration: what fits a packet beside the longest lease.
const SURBS: usize = surbs_in(Geometry::PAYLOAD_BYTES - RELAY_OVERHEAD_BYTES - crate::lease::MAX_LEASE_BYTES - size_of::<Work>());
/// With so few left, more are sent: half, so that a burst of introductions is not refused meanwhile.
const LOW: u16 = (SURBS / 2) as u16;

/// At which points an instance is registered.
#[derive(Debug, Clone, Default)]
pub(super) struct Registered(HashSet<([u8; 32], MixId)>);

impl Registered {
    pub(super) fn any(&self) -> bool {
        !self.0.is_empty()
    }
}

/// A running registration. Leaves the point when dropped.
pub(super) struct Registration {
    lease: watch::Sender<Vec<u8>>,
    _end: DropGuard,
}

impl Registration {
    pub(super) fn start(
        uplink: Uplink,
        point: MixId,
        blinded: [u8; 32],
        lease: Vec<u8>,
        level: Level,
        desk: Arc<Desk>,
        registered: watch::Sender<Registered>,
    ) -> Self {
        let end = CancellationToken::new();
        let (lease, leases) = watch::channel(lease);
        let (inbox, replies) = uplink.inbox();
        let keeper = Keeper { uplink, point, blinded, lease: leases, level, desk, registered, inbox };
        tokio::spawn(keeper.run(replies, end.clone()));
        Self { lease, _end: end.drop_guard() }
    }

    pub(super) fn renew(&self, lease: Vec<u8>) {
        self.lease.send_if_modified(|old| std::mem::replace(old, lease.clone()) != lease);
    }
}

struct Keeper {
    uplink: Uplink,
    point: MixId,
    blinded: [u8; 32],
    lease: watch::Receiver<Vec<u8>>,
    level: Level,
    desk: Arc<Desk>,
    registered: watch::Sender<Registered>,
    inbox: Inbox,
}

impl Keeper {
    async fn run(mut self, mut replies: mpsc::Receiver<Reply>, end: CancellationToken) {
        let closed = self.desk.ended();
        tokio::select! {
            () = end.cancelled() => {}
            () = closed.cancelled() => {}
            () = self.keep(&mut replies) => {}
        }
        self.mark(false);
        if let Some(lease) = self.presented() {
            let _ = self.uplink.send(self.point, self.level, &ToMix::Unregister { lease }).await;
        }
    }

    async fn keep(&mut self, replies: &mut mpsc::Receiver<Reply>) {
        let mut directories = self.uplink.directory();
        let mut mixes = lives(directories.borrow_and_update().as_deref());
        let mut pause = PAUSE;
        let mut lost = 0u32;
        // No acknowledgement by then: the packet or its SURBs are lost.
        let acknowledged = 2 * patience(self.level);
        // When to register again, and since when an acknowledgement is awaited.
        let mut next = Instant::now();
        let mut awaited: Option<Instant> = None;
        let mut changed_since = false;
        // A point that keeps asking for more gets it no faster than PAUSE allows.
        let mut refilled = Instant::now();
        let mut puzzled: Option<Instant> = None;
        loop {
            tokio::select! {
                () = sleep_until(next.into()) => {
                    let mut wait = acknowledged;
                    if awaited.is_some_and(|since| since.elapsed() >= acknowledged) {
                        lost += 1;
                        if lost >= LOST {
                            self.mark(false);
                            pause = (pause * 2).min(MAX_PAUSE);
                            wait = wait.max(pause);
                        }
                        awaited = None;
                    }
                    changed_since = false;
                    self.register(true, None).await;
                    let now = Instant::now();
                    awaited.get_or_insert(now);
                    next = now + wait;
                }
                reply = replies.recv() => match reply {
                    Some(reply) => match FromMix::decode(&reply.payload) {
                        Ok(FromMix::Registered { .. }) => {
                            (pause, lost, awaited) = (PAUSE, 0, None);
                            // What has changed since it was sent is told at once.
                            next = if std::mem::take(&mut changed_since) { Instant::now() + PAUSE } else { Instant::now() + BEAT };
                            self.mark(true);
                        }
                        Ok(FromMix::Introduction { hello, stock }) => {
                            // Leases were checked before they came here.
                            let conditions = Lease::conditions(&self.lease.borrow()).unwrap_or_default();
                            self.desk.introduction(self.blinded, conditions, hello);
                            if stock <= LOW && refilled.elapsed() >= PAUSE {
                                refilled = Instant::now();
                                self.register(false, None).await;
                            }
                        }
                        Ok(FromMix::Restock { .. }) if refilled.elapsed() >= PAUSE => {
                            refilled = Instant::now();
                            self.register(false, None).await;
                        }
                        // Asked again too soon: the whole stock is renewed a little later.
                        Ok(FromMix::Restock { .. }) => next = next.min(Instant::now() + PAUSE),
                        Ok(FromMix::Refused(why)) => {
                            tracing::debug!(why, "an introduction point refused a registration");
                            self.mark(false);
                            pause = (pause * 2).min(MAX_PAUSE);
                            awaited = None;
                            next = Instant::now() + pause;
                        }
                        // Its places run low: only who works for one gets it. Paid for no faster than one puzzle a pause.
                        Ok(FromMix::Puzzle(puzzle)) if puzzled.is_none_or(|at| at.elapsed() >= PAUSE) => {
                            self.register(true, Some(puzzle)).await;
                            let now = Instant::now();
                            (puzzled, awaited, next) = (Some(now), Some(now), now + acknowledged);
                        }
                        Ok(other) => tracing::debug!(?other, "an introduction point said something that is no business of it"),
                        Err(error) => tracing::debug!(%error, "an introduction point said something unreadable"),
                    },
                    None => return,
                },
                changed = self.lease.changed() => match changed {
                    Ok(()) => (next, changed_since) = (Instant::now(), true),
                    Err(_) => return,
                },
                changed = directories.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = lives(directories.borrow_and_update().as_deref());
                    if !now.contains_key(&self.point) {
                        self.mark(false);
                    } else if mixes.get(&self.point) != now.get(&self.point) || lives_ended(&mixes, &now) {
                        // The point is back or has begun anew, or a way to or from it may have died.
                        (next, changed_since) = (next.min(Instant::now() + PAUSE), true);
                    }
                    mixes = now;
                }
            }
        }
    }

    async fn register(&self, flush: bool, puzzle: Option<Puzzle>) {
        let work = match (puzzle, self.presented()) {
            (Some(puzzle), Some(lease)) => puzzle.solved(ToMix::registration_task(&lease)).await,
            _ => None,
        };
        let sent = match self.uplink.surbs(self.point, SURBS, self.level, &self.inbox).await {
            Ok(surbs) => {
                let Some(lease) = self.presented() else { return };
                self.uplink.send(self.point, self.level, &ToMix::Register { lease, surbs, flush, work }).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "a registration was not sent");
        }
    }

    /// What shows this point that the lease is ours. Leases were checked before they came here.
    fn presented(&self) -> Option<Vec<u8>> {
        Lease::present(&self.lease.borrow(), self.point).ok()
    }

    fn mark(&self, registered: bool) {
        let place = (self.blinded, self.point);
        self.registered.send_if_modified(|set| if registered { set.0.insert(place) } else { set.0.remove(&place) });
    }
}
