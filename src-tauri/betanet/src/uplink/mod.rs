//! A client's way into the mix network: links to its guards, packets out, replies in.
//!
//! Invariants: only guards learn this client's network address, each under a key and socket of its own, made anew at each start; nothing is
//! sent while fewer mixes are usable than privacy asks for (fail closed); the own mix is never on a path.
//! Deliberately absent: what is said (client, service) and when to say it again (rendezvous, tunnel).

mod budget;
mod counters;
mod cover;
mod guards;
mod sending;
mod shaping;
mod surbs;
mod time;

pub use budget::{CoverBudget, NoBudget, constant_bytes_s};
pub use counters::UplinkCounters;
pub use cover::IN_USE;
pub use sending::StrictHold;
pub use shaping::LINGER;

use crate::{
    clock::FogClock,
    directory::{
        Directory, DirectoryError, DirectoryHub, NotPrivate,
        gossip::{Fetched, Gossip},
    },
    epoch,
    link::{Frame, Way},
    message::MessageError,
    paths::{Guards, Net, NoPath},
};
use cover::Activity;
use fogbank_model::{FogId, MixId, UnixMs};
use fogbank_sphinx::{BuildError, Epoch, Geometry, open_reply};
use guards::GuardLinks;
use shaping::Strict;
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use surbs::SurbsOut;
use time::NetworkTime;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Why nothing is sent when the directory is older than [`crate::directory::DIRECTORY_LIFE`].
const STALE: &str = "waiting for a new list of mixes: the last one has expired, or this computer's clock is wrong";
/// Replies waiting for one reader: all SURBs of a mailbox at once.
const INBOX: usize = 512;
/// An answer is waited for so long in all.
const ASK_WAIT: Duration = Duration::from_millis(4_500);
/// A question is asked this often, each time over another path: when nothing came within [`crate::schedule::patience`], and after twice as long again.
const ASK_TRIES: u32 = 3;
/// When nothing at all came for so long, what is sealed can perhaps not be read: twice what six hops at the slowest level take.
const DOUBT_AFTER: Duration = Duration::from_millis(1_200);

/// How an uplink begins.
#[derive(Debug, Clone)]
pub struct UplinkConfig {
    /// Address to bind sockets to: loopback keeps everything on this computer.
    pub bind: IpAddr,
    /// Own mixes: never on a path, never counted.
    pub exclude: Vec<MixId>,
    /// The fog whose directory is believed.
    pub fog: FogId,
    /// Where directories are found and kept, whoever brings them: this uplink's guards, or a member's allocator.
    pub directory: DirectoryHub,
    /// Mixes to ask for the directory when there is none: key and addresses.
    pub bootstrap: Vec<([u8; 32], Vec<SocketAddr>)>,
    /// The guards of this identity so far.
    pub guards: Guards,
    /// By which key epochs turn.
    pub clock: FogClock,
    /// What the owner allows for the cover of level strict, or why that does not do: then the level is not offered. `None`: as much as it
    /// takes (who visits decides so by visiting).
    pub cover_budget: Option<Result<CoverBudget, NoBudget>>,
}

/// Whether addresses can be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UplinkStatus {
    /// No directory yet.
    Starting,
    /// Not now, and why.
    Waiting {
        /// For people.
        reason: String,
        /// Mixes that could be used.
        usable: usize,
        /// Mixes needed.
        needed: usize,
    },
    /// Yes.
    Ready {
        /// Mixes that can be used.
        usable: usize,
    },
}

/// Why something was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No directory yet.
    #[error("the list of mixes is not here yet")]
    NoDirectory,
    /// The directory has expired.
    #[error("{STALE}")]
    Stale,
    /// Too few mixes.
    #[error(transparent)]
    NotPrivate(NotPrivate),
    /// No path.
    #[error(transparent)]
    NoPath(NoPath),
    /// Not a packet.
    #[error("a packet could not be built: {0}")]
    Build(#[source] BuildError),
    /// Not a message.
    #[error(transparent)]
    Message(MessageError),
    /// Nothing of level strict can be sent.
    #[error("level strict is not available: {0}")]
    NoStrict(String),
    /// The guard's link ended.
    #[error("the link to the guard ended")]
    GuardGone,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It was not sent.
    #[error(transparent)]
    Send(SendError),
    /// Nothing came back.
    #[error("no answer over {ASK_TRIES} paths")]
    Silent,
}

/// A reply, and the mix that answered.
#[derive(Debug)]
pub struct Reply {
    /// Which mix had the SURB.
    pub via: MixId,
    /// A [`crate::message::FromMix`].
    pub payload: Vec<u8>,
    /// By which SURB.
    surb: [u8; 16],
}

/// A guard as this client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardView {
    /// Which mix.
    pub mix: MixId,
    /// Where it listens.
    pub addrs: Vec<SocketAddr>,
    /// Whether the link is up.
    pub up: bool,
    /// By which way packets go to it just now.
    pub way: Way,
    /// The own socket towards it.
    pub own: Vec<SocketAddr>,
    /// Whether the link to it has a constant rate now.
    pub constant: bool,
    /// Frames given to the link.
    pub frames_out: u64,
    /// Frames that came.
    pub frames_in: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct InboxId(u64);

/// Where replies to some SURBs arrive. Dropping it ends the receiver.
pub struct Inbox {
    id: InboxId,
    shared: Arc<Shared>,
}

impl Drop for Inbox {
    fn drop(&mut self) {
        lock(&self.shared.inboxes).remove(&self.id);
        lock(&self.shared.surbs).forget(self.id);
    }
}

#[derive(Default)]
struct Counts {
    packets_out: AtomicU64,
    packets_in: AtomicU64,
    garbled: AtomicU64,
    dropped: AtomicU64,
    cover_out: AtomicU64,
    cover_in: AtomicU64,
    dummies_in: AtomicU64,
}

struct Shared {
    fog: FogId,
    clock: FogClock,
    exclude: Vec<MixId>,
    hub: DirectoryHub,
    directory: watch::Sender<Option<Arc<Directory>>>,
    time: Mutex<Option<NetworkTime>>,
    guards: watch::Sender<Guards>,
    links: GuardLinks,
    status: watch::Sender<UplinkStatus>,
    inboxes: Mutex<HashMap<InboxId, mpsc::Sender<Reply>>>,
    surbs: Mutex<SurbsOut>,
    gossip: Mutex<Gossip>,
    activity: Activity,
    strict: Strict,
    counts: Counts,
    next_inbox: AtomicU64,
}

/// A client's way into the network. Clones share it; it ends with [`Uplink::shutdown`].
#[derive(Clone)]
pub struct Uplink {
    shared: Arc<Shared>,
    stop: CancellationToken,
}

impl Uplink {
    /// Starts one. Connections come up in the background; see [`Self::status`].
    pub fn start(config: UplinkConfig) -> Self {
        let (strict, answers) = Strict::new(config.cover_budget);
        let shared = Arc::new(Shared {
            fog: config.fog,
            clock: config.clock,
            exclude: config.exclude,
            hub: config.directory,
            directory: watch::Sender::new(None),
            time: Mutex::default(),
            guards: watch::Sender::new(config.guards),
            links: GuardLinks::new(config.bind),
            status: watch::Sender::new(UplinkStatus::Starting),
            inboxes: Mutex::default(),
            surbs: Mutex::default(),
            gossip: Mutex::default(),
            activity: Activity::default(),
            strict,
            counts: Counts::default(),
            next_inbox: AtomicU64::new(0),
        });
        let stop = CancellationToken::new();
        let tending = guards::tend(shared.clone(), config.bootstrap);
        let token = stop.clone();
        tokio::spawn(async move { token.run_until_cancelled(tending).await });
        tokio::spawn(stop.clone().run_until_cancelled_owned(shaping::keep(shared.clone(), answers)));
        let uplink = Self { shared, stop };
        tokio::spawn(uplink.stop.clone().run_until_cancelled_owned(cover::keep(uplink.clone())));
        uplink
    }

    /// Whether addresses can be opened, now and as it changes.
    pub fn status(&self) -> watch::Receiver<UplinkStatus> {
        self.shared.status.subscribe()
    }

    /// Whether addresses can be opened at this moment, for those who do not wait for it by [`Self::status`].
    pub fn is_ready(&self) -> bool {
        let directory = self.shared.directory.borrow().clone();
        matches!(guards::judge(&self.shared, directory.as_deref()), UplinkStatus::Ready { .. })
    }

    /// The directory in use, now and as it changes.
    pub fn directory(&self) -> watch::Receiver<Option<Arc<Directory>>> {
        self.shared.directory.subscribe()
    }

    /// The key epoch: SURBs that were made in an earlier one soon lead nowhere.
    pub fn epoch(&self) -> Option<Epoch> {
        self.shared.directory.borrow().as_ref().map(|directory| epoch::at(self.shared.now(directory)))
    }

    /// The guards, to be kept with the profile whenever they change.
    pub fn guards(&self) -> watch::Receiver<Guards> {
        self.shared.guards.subscribe()
    }

    /// The address that its sockets are bound to.
    pub(crate) fn bound_to(&self) -> IpAddr {
        self.shared.links.bind
    }

    /// The guards and the links to them.
    pub fn guard_views(&self) -> Vec<GuardView> {
        self.shared.links.views(self.shared.strict.shaped())
    }

    /// A mix to meet somebody at, drawn anew each time: none of the own ones, no guard if possible, and not `besides`.
    pub fn rendezvous(&self, directory: &Directory, besides: MixId) -> Option<MixId> {
        self.shared.net(directory, |net| net.rendezvous(besides, &mut rand::rng()))
    }

    /// What its cover loops tell of mixes: the share through each that came back, per mille of the best quarter. For people; it steers nothing.
    pub fn loop_shares(&self) -> Vec<(MixId, u16)> {
        self.shared.activity.shares(Instant::now())
    }

    /// What it has done.
    pub fn counters(&self) -> UplinkCounters {
        let c = &self.shared.counts;
        UplinkCounters {
            packets_out: c.packets_out.load(Relaxed),
            packets_in: c.packets_in.load(Relaxed),
            garbled: c.garbled.load(Relaxed),
            dropped: c.dropped.load(Relaxed),
            cover_out: c.cover_out.load(Relaxed),
            cover_in: c.cover_in.load(Relaxed),
            slots: self.shared.strict.slots.load(Relaxed),
            slots_of_cover: self.shared.strict.drops.load(Relaxed),
            dummies_in: c.dummies_in.load(Relaxed),
        }
    }

    /// A new inbox and its receiving end.
    pub fn inbox(&self) -> (Inbox, mpsc::Receiver<Reply>) {
        let id = InboxId(self.shared.next_inbox.fetch_add(1, Relaxed));
        let (sender, receiver) = mpsc::channel(INBOX);
        lock(&self.shared.inboxes).insert(id, sender);
        (Inbox { id, shared: self.shared.clone() }, receiver)
    }

    fn time(&self) -> Option<UnixMs> {
        self.shared.directory.borrow().as_ref().map(|directory| self.shared.now(directory))
    }

    /// Ends it and its links.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.shared.links.clear().await;
        lock(&self.shared.inboxes).clear();
    }
}

impl Shared {
    /// The directory, when there are mixes enough.
    pub(super) fn private(&self) -> Result<Arc<Directory>, SendError> {
        let directory = self.directory.borrow().clone().ok_or(SendError::NoDirectory)?;
        if !directory.fresh(self.clock.now()) {
            return Err(SendError::Stale);
        }
        directory.usable(&self.exclude).map_err(SendError::NotPrivate)?;
        Ok(directory)
    }

    /// What paths are chosen from now.
    fn net<T>(&self, directory: &Directory, choose: impl FnOnce(&Net<'_>) -> T) -> T {
        self.net_via(directory, None, choose)
    }

    /// The same, with `only` this guard. Without one, the guard of constant rate is left to level strict while another is up: its slots would hold
    /// up a third of all packets at the other levels, and with them each tunnel.
    fn net_via<T>(&self, directory: &Directory, only: Option<MixId>, choose: impl FnOnce(&Net<'_>) -> T) -> T {
        let guards = self.guards.borrow();
        let shaped = self.strict.shaped().filter(|shaped| guards.ids().any(|id| id != *shaped && self.links.is_up(id)));
        let guard_up = |id| only.map_or(shaped != Some(id), |only| only == id) && self.links.is_up(id);
        let epoch = epoch::at(self.now(directory));
        choose(&Net { directory, epoch, guards: &guards, exclude: &self.exclude, guard_up: &guard_up })
    }

    /// The network's time, as well as it is known.
    fn now(&self, directory: &Directory) -> UnixMs {
        let clock = self.clock.now();
        lock(&self.time).map_or_else(|| directory.time(clock), |known| known.at(clock, Instant::now()))
    }

    /// Replies that came, those included that were too late or changed: whatever they say, mixes could read what they answer.
    fn heard(&self) -> u64 {
        let Counts { packets_in, garbled, dropped, .. } = &self.counts;
        [packets_in, garbled, dropped].iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Nothing answered what was sent at this time.
    fn doubt(&self, tried: UnixMs) {
        if let Some(known) = lock(&self.time).as_mut() {
            known.doubt(tried, self.clock.now(), Instant::now());
        }
    }

    /// A guard brought something.
    fn take(&self, from: MixId, frame: Frame) {
        match frame {
            Frame::Delivery(bytes) => self.deliver(&bytes),
            Frame::Have { fog, serial, .. } => {
                let heeded = self.hub.current().is_none_or(|known| known.may_tell(from, &fog));
                if heeded && self.wanted().iter().any(|(wanted, _)| *wanted == fog) {
                    lock(&self.gossip).heard(from, fog, serial, Instant::now());
                    self.ask_for_newer();
                }
            }
            Frame::Part(part) => {
                let fetched = lock(&self.gossip).part(from, part, Instant::now());
                if let Some(fetched) = fetched
                    && !self.learn(fetched)
                {
                    lock(&self.gossip).blame(from, Instant::now());
                }
            }
            Frame::Shaped(yes) => self.strict.answered(from, yes),
            Frame::Dummy => self.dummy(from),
            Frame::Packet(_) | Frame::Want { .. } | Frame::Shape(_) | Frame::Held(..) => {
                tracing::debug!("a guard sent what only clients send")
            }
        }
    }

    /// The directories that are of use, the own fog's first, with the serials that we have. All clients of a fog want the same ones.
    fn wanted(&self) -> Vec<(FogId, u64)> {
        let known = self.hub.current().filter(|known| known.directory.fog == self.fog);
        known.map_or_else(|| vec![(self.fog, 0)], |known| known.wanted())
    }

    /// Asks a guard that has a newer directory for it.
    fn ask_for_newer(&self) {
        let wanted = self.wanted();
        let next = lock(&self.gossip).next(&wanted, Instant::now());
        if let Some((from, fog, serial)) = next
            && !self.try_push(from, Frame::Want { fog, serial })
        {
            lock(&self.gossip).unasked(from);
        }
    }

    /// A slot of the way down in which nothing waited. It costs what the budget pays for.
    fn dummy(&self, from: MixId) {
        if self.strict.shaped() == Some(from) {
            self.counts.dummies_in.fetch_add(1, Relaxed);
            // That it is spent shows at the next slot of the way up.
            let _ = self.strict.spend();
        }
    }

    fn deliver(&self, bytes: &[u8]) {
        let Some((id, body)) = bytes.split_first_chunk::<{ Geometry::ID_BYTES }>() else { return };
        let Some(out) = lock(&self.surbs).take(id) else {
            self.counts.dropped.fetch_add(1, Relaxed);
            return;
        };
        let Ok(payload) = open_reply(out.secret, body) else {
            self.counts.garbled.fetch_add(1, Relaxed);
            return;
        };
        let queue = lock(&self.inboxes).get(&out.inbox).cloned();
        let taken = queue.is_some_and(|q| q.try_send(Reply { via: out.via, payload, surb: *id }).is_ok());
        let counter = if taken { &self.counts.packets_in } else { &self.counts.dropped };
        counter.fetch_add(1, Relaxed);
    }

    /// Takes a directory, when the fog signed it and it is newer than ours; whether it was what its giver said.
    fn learn(&self, fetched: Fetched) -> bool {
        match self.hub.learn(&self.fog, fetched.signed, self.clock.now()) {
            Ok(_) => self.hub.serial(&fetched.fog) >= fetched.serial,
            // The own fog has ended that federation meanwhile.
            Err(DirectoryError::NotNamed) => true,
            Err(error) => {
                tracing::warn!(%error, "a guard handed out a directory that is not believed");
                false
            }
        }
    }

    fn adopt(&self, fresh: Arc<Directory>) {
        self.directory.send_if_modified(|known| {
            // An old one that somebody replays would bring back mixes, leases and records of its time. With the same serial, the mixes of other
            // fogs are others.
            let newer = known.as_ref().is_none_or(|k| k.serial < fresh.serial);
            let changed = newer || known.as_ref().is_some_and(|k| k.serial == fresh.serial && !Arc::ptr_eq(k, &fresh));
            if !changed || !fresh.fresh(self.clock.now()) {
                return false;
            }
            if newer {
                let mut time = lock(&self.time);
                *time = Some(NetworkTime::new(&fresh, time.as_ref(), Instant::now()));
            }
            *known = Some(fresh);
            true
        });
        // Not only once the links to other guards have been made: until then it would be thought that there are mixes enough.
        self.tell_status();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
