//! The way of a packet through the mix: unwrap, replay check, delay, and out.
//!
//! A packet is unwrapped in the task that took it off its connection: the runtime has as many threads as the computer has cores, so as many
//! are unwrapped at once, and handing each to a thread of its own would cost two switches of threads, a third of an unwrap. There is no queue
//! in front of it either: what is not unwrapped yet waits in QUIC's windows, which hold its sender back.

use super::{
    KnownDirectory, MixConfig,
    counters::{Live, count},
    held::{Place, Places},
    keys::{EpochKey, MixKeys},
    limits::{Intake, Rate},
    peers::Peers,
    replay::{Seen, most_tags},
    services::Services,
    shaped::Shaped,
};
use crate::{
    clock::FogClock,
    directory::{DirectoryHub, gossip::Gossip, mix_id},
    link::{Frame, Link, Take},
};
use fogbank_model::{FogId, MixId, UnixMs};
use fogbank_sphinx::{Epoch, MixPublic, Packet, Unwrapped, open_with};
use fogbank_wire::{Group, Holds, MixLife, PacketKeys, Shares};
use iroh::Endpoint;
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    time::interval,
};

/// The longest delay that a sender may ask for: ten means of the slowest level. Longer ones would let one sender hold all places.
const MAX_DELAY: Duration = Duration::from_millis(500);
/// How often the epoch, idle links, mailboxes and leases are looked at.
const TEND_EVERY: Duration = Duration::from_secs(5);

/// Links to other mixes at once.
const MAX_LINKS: usize = 256;
/// A link without packets is closed after this; the next packet opens it again.
const LINK_IDLE: Duration = Duration::from_secs(60);

struct OutLink {
    link: Link,
    /// The life of the mix to which it was opened.
    life: MixLife,
    used: Instant,
}

impl Holds for OutLink {
    fn used(&self) -> Instant {
        self.used
    }
}

/// A frame was over the rate.
pub(super) struct OverRate {
    /// Until when its sender is not listened to.
    pub(super) deaf: Option<Instant>,
}

/// Everything that the stages share.
pub(super) struct Pipeline {
    pub(super) id: MixId,
    /// For what links bring.
    me: Weak<Self>,
    pub(super) counters: Live,
    pub(super) services: Services,
    pub(super) peers: Peers,
    pub(super) directory: watch::Receiver<Option<KnownDirectory>>,
    pub(super) hub: DirectoryHub,
    pub(super) published: watch::Sender<PacketKeys>,
    pub(super) gossiping: Mutex<Gossip>,
    clock: FogClock,
    keys: Mutex<MixKeys>,
    /// By the bit that packets show.
    live: RwLock<[Option<Arc<EpochKey>>; 2]>,
    intake: Mutex<Intake>,
    shaped: Mutex<Shaped>,
    endpoint: Endpoint,
    stopped: AtomicBool,
    places: Places,
    links: Mutex<Shares<MixId, OutLink>>,
    pub(super) runtime: Handle,
}

impl Pipeline {
    /// Must be called in a runtime.
    pub(super) fn start(endpoint: Endpoint, config: MixConfig) -> Arc<Self> {
        let id = mix_id(endpoint.id().as_bytes());
        let now = config.clock.now();
        let keys = MixKeys::new(most_tags(config.rate), now, &mut rand::rng());
        Arc::new_cyclic(|me| Self {
            id,
            me: me.clone(),
            counters: Live::default(),
            services: Services::new(id),
            peers: Peers::new(),
            directory: config.directory.subscribe(),
            hub: config.directory,
            published: watch::Sender::new(keys.public()),
            gossiping: Mutex::default(),
            clock: config.clock,
            live: RwLock::new(keys.live(now)),
            keys: Mutex::new(keys),
            intake: Mutex::new(Intake::new(config.rate, Instant::now())),
            shaped: Mutex::default(),
            endpoint,
            stopped: AtomicBool::new(false),
            places: Places::new(),
            links: Mutex::new(Shares::new(MAX_LINKS)),
            runtime: Handle::current(),
        })
    }

    /// Takes a peer's packet from the wire and does what it asks; drops it when there is no place for it. As [`Self::within_rate`].
    pub(super) fn take(self: &Arc<Self>, peer: [u8; 16], group: Group, bytes: Vec<u8>, now: Instant) -> Result<(), OverRate> {
        if self.stopped.load(Relaxed) {
            return Ok(());
        }
        self.within_rate(peer, group, now)?;
        count(&self.counters.received);
        match self.places.take() {
            Some(place) => self.unwrap(group, bytes, place),
            None => count(&self.counters.dropped_full),
        }
        Ok(())
    }

    /// Counts one more frame of a peer for what the owner lends.
    ///
    /// # Errors
    /// When it is more than that.
    pub(super) fn within_rate(&self, peer: [u8; 16], group: Group, now: Instant) -> Result<(), OverRate> {
        let mut intake = lock(&self.intake);
        if intake.take(peer, group, now) {
            return Ok(());
        }
        count(&self.counters.dropped_rate);
        Err(OverRate { deaf: intake.deaf(peer, group) })
    }

    /// Peers that are connected and no mixes of the directory.
    pub(super) fn clients(&self) -> u32 {
        let directory = self.directory.borrow().as_ref().map(|known| known.directory.clone());
        let listed = |id| directory.as_ref().is_some_and(|d| d.mix(id).is_some());
        u32::try_from(self.peers.besides(listed)).unwrap_or(u32::MAX)
    }

    pub(super) fn set_rate(&self, rate: Rate) {
        lock(&self.intake).set_rate(rate);
        lock(&self.keys).set_most_tags(most_tags(rate));
    }

    /// Makes keys for the epochs to come and forgets those that are over.
    fn turn(&self) {
        let now = self.clock.now();
        let mut keys = lock(&self.keys);
        if keys.turn(now, &mut rand::rng()) {
            self.published.send_replace(keys.public());
        }
        lock(&self.intake).set_ration(keys.ration(now));
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = keys.live(now);
    }

    fn key(&self, packet: &Packet) -> Option<Arc<EpochKey>> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)[usize::from(packet.epoch_bit())].clone()
    }

    /// The own public packet key of an epoch.
    pub(super) fn own_key(&self, epoch: Epoch) -> Option<MixPublic> {
        lock(&self.keys).public().of(epoch.0).map(MixPublic)
    }

    /// The network's time as known here.
    pub(super) fn now(&self) -> UnixMs {
        self.clock.now()
    }

    /// Takes nothing any more.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Relaxed);
        lock(&self.links).clear();
        self.peers.clear();
    }

    /// Looks after what ends by itself.
    pub(super) async fn tend(pipeline: Arc<Self>) {
        let mut tick = interval(TEND_EVERY);
        let mut directories = pipeline.directory.clone();
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                Ok(()) = directories.changed() => {
                    pipeline.leave_ended_lives(&mut directories);
                    continue;
                }
                waited = pipeline.services.waited(&pipeline.counters) => {
                    pipeline.answer(waited);
                    continue;
                }
            }
            pipeline.turn();
            let now = Instant::now();
            lock(&pipeline.links).retain(|_, out| now.duration_since(out.used) < LINK_IDLE);
            pipeline.services.sweep();
            pipeline.hub.expire(pipeline.now());
        }
    }

    /// Closes the links to mixes that have restarted or gone: a connection to an ended life would swallow packets until its silence is
    /// noticed, and the new life may listen elsewhere. The next packet opens a new one.
    fn leave_ended_lives(&self, directories: &mut watch::Receiver<Option<KnownDirectory>>) {
        let Some(known) = directories.borrow_and_update().clone() else { return };
        lock(&self.links).retain(|id, out| known.directory.mix(id).is_some_and(|entry| entry.life == out.life));
    }

    fn unwrap(self: &Arc<Self>, group: Group, bytes: Vec<u8>, place: Place) {
        let Ok(packet) = Packet::from_vec(bytes) else { return count(&self.counters.refused) };
        let Some(key) = self.key(&packet) else { return count(&self.counters.refused) };
        if key.full() {
            return count(&self.counters.dropped_rate);
        }
        let Ok(opened) = open_with(&key.secret, &key.public, packet) else { return count(&self.counters.refused) };
        match key.check(opened.replay_tag()) {
            Seen::New => {}
            Seen::Before => return count(&self.counters.replays),
            // Another thread took the last place meanwhile.
            Seen::Full => return count(&self.counters.dropped_rate),
        }
        match opened.peel() {
            Ok(Unwrapped::Forward { next, delay_ms, packet }) => {
                self.after(group, delay_ms, move |mix| mix.forward(MixId(next), packet.into_vec(), place));
            }
            Ok(Unwrapped::Reply { client, surb, delay_ms, body }) => {
                let mut bytes = Vec::with_capacity(surb.len() + body.len());
                bytes.extend_from_slice(&surb);
                bytes.extend_from_slice(&body[..]);
                self.after(group, delay_ms, move |mix| mix.deliver(client, bytes, place));
            }
            Ok(Unwrapped::Arrived { payload }) => {
                count(&self.counters.arrived);
                drop(place);
                self.answer(self.services.arrived(&payload, &self.counters));
            }
            Err(_) => count(&self.counters.refused),
        }
    }

    fn after(self: &Arc<Self>, group: Group, delay_ms: u32, then: impl FnOnce(&Self) + Send + 'static) {
        if delay_ms == 0 {
            return then(self);
        }
        let Some(slot) = self.places.hold_back(group) else { return count(&self.counters.dropped_full) };
        let delay = Duration::from_millis(delay_ms.into()).min(MAX_DELAY);
        let mix = self.clone();
        self.runtime.spawn(async move {
            tokio::time::sleep(delay).await;
            drop(slot);
            then(&mix);
        });
    }

    /// Sends what the services say, each with a place of its own.
    fn answer(&self, packets: Vec<([u8; 16], Packet)>) {
        for (first, packet) in packets {
            self.send_own(MixId(first), packet.into_vec());
        }
    }

    /// Sends a packet of the mix's own making.
    pub(super) fn send_own(&self, next: MixId, packet: Vec<u8>) {
        match self.places.take() {
            Some(place) => self.forward(next, packet, place),
            None => count(&self.counters.dropped_full),
        }
    }

    fn forward(&self, next: MixId, packet: Vec<u8>, place: Place) {
        let Some(queue) = self.link_to(next) else { return };
        let frame = Frame::Held(Box::new(Frame::Packet(packet)), place);
        let sent = self.places.may_wait(queue.max_capacity() - queue.capacity()) && queue.try_send(frame).is_ok();
        count(if sent { &self.counters.forwarded } else { &self.counters.dropped_full });
    }

    /// The queue of the link to another mix, which is opened if it is not there.
    pub(super) fn link_to(&self, next: MixId) -> Option<mpsc::Sender<Frame>> {
        let mut links = lock(&self.links);
        let now = Instant::now();
        if let Some(out) = links.get_mut(next) {
            out.used = now;
            return Some(out.link.queue());
        }
        let known = self.directory.borrow();
        let listed = known.as_ref().and_then(|d| Some((d.directory.mix(next)?, d.directory.fog_listing(next)?)));
        let Some((entry, fog)) = listed.filter(|_| next != self.id) else {
            count(&self.counters.unknown_next);
            return None;
        };
        if links.make_room(Group::Fog(fog)).is_err() {
            count(&self.counters.dropped_full);
            return None;
        }
        // Links are opened from workers too, which are no threads of the runtime.
        let _entered = self.runtime.enter();
        let take = self.me.upgrade().map(|mix| Arc::new(Self::takes(&mix, next)) as Take);
        let link = Link::open(self.endpoint.clone(), entry.key, entry.addrs.clone(), entry.relay.clone(), take);
        let queue = link.queue();
        links.insert(next, Group::Fog(fog), OutLink { link, life: entry.life, used: now });
        Some(queue)
    }

    /// The fog that lists a mix.
    pub(super) fn listed_by(&self, id: MixId) -> Option<FogId> {
        self.directory.borrow().as_ref().and_then(|known| known.directory.fog_listing(id))
    }

    /// Whether it is a mix of the directory.
    pub(super) fn is_listed(&self, id: MixId) -> bool {
        self.listed_by(id).is_some()
    }

    /// Whether there is room for one more client of constant rate; then it has its place.
    pub(super) fn shape(&self) -> bool {
        let mut intake = lock(&self.intake);
        let mut shaped = lock(&self.shaped);
        let entered = shaped.enter(intake.rate());
        intake.set_reserved(shaped.packets_s());
        entered
    }

    /// A client of constant rate left.
    pub(super) fn unshape(&self) {
        let mut intake = lock(&self.intake);
        let mut shaped = lock(&self.shaped);
        shaped.leave();
        intake.set_reserved(shaped.packets_s());
    }

    /// Whether the owner's rate has become too low for the clients of constant rate.
    pub(super) fn shaped_too_many(&self) -> bool {
        let rate = lock(&self.intake).rate();
        lock(&self.shaped).too_many(rate)
    }

    fn deliver(&self, client: [u8; 16], bytes: Vec<u8>, place: Place) {
        let Some(queue) = self.peers.queue(client) else { return count(&self.counters.unknown_next) };
        let frame = Frame::Held(Box::new(Frame::Delivery(bytes)), place);
        let sent = self.places.may_wait(queue.max_capacity() - queue.capacity()) && queue.try_send(frame).is_ok();
        count(if sent { &self.counters.delivered } else { &self.counters.dropped_full });
    }
}

/// A lock whose holder can't leave it half changed, so a panic elsewhere spoils nothing.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::MIX_LOOP_MEAN;
    use fogbank_sphinx::PACKET_BYTES;
    use iroh::SecretKey;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_key_whose_tags_are_full_costs_no_key_exchange_until_its_owner_lends_more() {
        let endpoint = crate::link::bind(SecretKey::generate(), "127.0.0.1:0".parse().unwrap(), None).await.unwrap();
        let (directory, rate) = (DirectoryHub::default(), Rate::of_packets_s(1));
        let config = MixConfig { directory, clock: FogClock::default(), rate, loop_mean: MIX_LOOP_MEAN };
        let pipeline = Pipeline::start(endpoint, config);
        let forged = || {
            let place = pipeline.places.take().unwrap();
            pipeline.unwrap(Group::Relayed, vec![0; PACKET_BYTES], place);
            let counters = pipeline.counters.read();
            (counters.refused, counters.dropped_rate)
        };
        assert_eq!(forged(), (1, 0), "a packet that the exchange shows to be none");
        let key = pipeline.key(&Packet::from_vec(vec![0; PACKET_BYTES]).unwrap()).unwrap();
        for number in 0..most_tags(rate) as u64 {
            assert_eq!(key.check(u128::from(number.reverse_bits()).rotate_left(64).to_be_bytes()), Seen::New);
        }
        assert_eq!(forged(), (1, 1), "nobody looked into it");
        pipeline.set_rate(Rate::of_packets_s(2));
        assert_eq!(forged(), (2, 1), "there is room again, with the key that is out");
        pipeline.stop();
    }
}
