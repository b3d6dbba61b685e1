//! A client's way into the mix network: links to its guards, packets out, replies in.
//!
//! Invariants: only guards learn this client's network address, each under a key and socket of its own, made anew at each start; nothing is
//! sent while fewer mixes are usable than privacy asks for (fail closed); the own mix is never on a path.
//! Deliberately absent: what is said (client, service) and when to say it again (rendezvous, tunnel).

mod guards;
mod surbs;

use crate::{
    clock::FogClock,
    directory::{Directory, DirectoryHub, NotPrivate},
    link::{Frame, Way},
    message::{FromMix, MessageError, ToMix},
    paths::{Guards, Net, NoPath},
};
use fogbank_model::{FogId, Level, MixId};
use fogbank_sphinx::{BuildError, Epoch, Geometry, build, make_surb, open_reply};
use guards::GuardLinks;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use surbs::{Out, SurbsOut};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Why nothing is sent when the directory is older than [`crate::directory::DIRECTORY_LIFE`].
const STALE: &str = "waiting for a new list of mixes: the last one has expired, or this computer's clock is wrong";
/// Replies waiting for one reader: all SURBs of a mailbox at once.
const INBOX: usize = 512;
/// One answer is waited for so long: six hops at the slowest level take half a second.
const ASK_WAIT: Duration = Duration::from_millis(1_500);
/// A question is asked this often, each time over another path.
const ASK_TRIES: usize = 3;

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
    /// A [`FromMix`].
    pub payload: Vec<u8>,
}

/// What an uplink has done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkCounters {
    /// Packets sent.
    pub packets_out: u64,
    /// Replies taken.
    pub packets_in: u64,
    /// Replies that were changed on the way.
    pub garbled: u64,
    /// Replies that nobody had room for or waited for any more.
    pub dropped: u64,
}

impl UplinkCounters {
    /// By name, for lists.
    pub fn by_name(&self) -> BTreeMap<String, u64> {
        let list = [
            ("packets_out", self.packets_out),
            ("packets_in", self.packets_in),
            ("garbled", self.garbled),
            ("dropped", self.dropped),
        ];
        list.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
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
}

struct Shared {
    fog: FogId,
    clock: FogClock,
    exclude: Vec<MixId>,
    hub: DirectoryHub,
    directory: watch::Sender<Option<Arc<Directory>>>,
    guards: watch::Sender<Guards>,
    links: GuardLinks,
    status: watch::Sender<UplinkStatus>,
    inboxes: Mutex<HashMap<InboxId, mpsc::Sender<Reply>>>,
    surbs: Mutex<SurbsOut>,
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
        let shared = Arc::new(Shared {
            fog: config.fog,
            clock: config.clock,
            exclude: config.exclude,
            hub: config.directory,
            directory: watch::Sender::new(None),
            guards: watch::Sender::new(config.guards),
            links: GuardLinks::new(config.bind),
            status: watch::Sender::new(UplinkStatus::Starting),
            inboxes: Mutex::default(),
            surbs: Mutex::default(),
            counts: Counts::default(),
            next_inbox: AtomicU64::new(0),
        });
        let stop = CancellationToken::new();
        let tending = guards::tend(shared.clone(), config.bootstrap);
        let token = stop.clone();
        tokio::spawn(async move { token.run_until_cancelled(tending).await });
        Self { shared, stop }
    }

    /// Whether addresses can be opened, now and as it changes.
    pub fn status(&self) -> watch::Receiver<UplinkStatus> {
        self.shared.status.subscribe()
    }

    /// The directory in use, now and as it changes.
    pub fn directory(&self) -> watch::Receiver<Option<Arc<Directory>>> {
        self.shared.directory.subscribe()
    }

    /// The key epoch: SURBs that were made in an earlier one soon lead nowhere.
    pub fn epoch(&self) -> Option<Epoch> {
        self.shared.directory.borrow().as_ref().map(|directory| directory.epoch(self.shared.clock.now()))
    }

    /// The guards, to be kept with the profile whenever they change.
    pub fn guards(&self) -> watch::Receiver<Guards> {
        self.shared.guards.subscribe()
    }

    /// The guards and the links to them.
    pub fn guard_views(&self) -> Vec<GuardView> {
        self.shared.links.views()
    }

    /// A mix to meet somebody at, drawn anew each time: none of the own ones, no guard if possible, and not `besides`.
    pub fn rendezvous(&self, directory: &Directory, besides: MixId) -> Option<MixId> {
        self.shared.net(directory, |net| net.rendezvous(besides, &mut rand::rng()))
    }

    /// What it has done.
    pub fn counters(&self) -> UplinkCounters {
        let c = &self.shared.counts;
        UplinkCounters {
            packets_out: c.packets_out.load(Relaxed),
            packets_in: c.packets_in.load(Relaxed),
            garbled: c.garbled.load(Relaxed),
            dropped: c.dropped.load(Relaxed),
        }
    }

    /// A new inbox and its receiving end.
    pub fn inbox(&self) -> (Inbox, mpsc::Receiver<Reply>) {
        let id = InboxId(self.shared.next_inbox.fetch_add(1, Relaxed));
        let (sender, receiver) = mpsc::channel(INBOX);
        lock(&self.shared.inboxes).insert(id, sender);
        (Inbox { id, shared: self.shared.clone() }, receiver)
    }

    /// Sends a message to a mix over a fresh path; waits while the guard's link has no room.
    ///
    /// # Errors
    /// When there is no directory, too few mixes, no path, or the message does not fit a packet.
    pub async fn send(&self, to: MixId, level: Level, message: &ToMix) -> Result<(), SendError> {
        let payload = message.encode().map_err(SendError::Message)?;
        let directory = self.private()?;
        let (epoch, path) = self.shared.net(&directory, |net| (net.epoch, net.forward(to, level, &mut rand::rng())));
        let path = path.map_err(SendError::NoPath)?;
        let packet = build(&mut rand::rng(), epoch, &path, &payload).map_err(SendError::Build)?;
        let guard = path.first().map_or(to, |hop| MixId(hop.id));
        let queue = self.shared.links.queue(guard).ok_or(SendError::GuardGone)?;
        queue.send(Frame::Packet(packet.as_bytes().to_vec())).await.map_err(|_| SendError::GuardGone)?;
        self.shared.counts.packets_out.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Makes SURBs for a mix to answer by; replies arrive at the inbox.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn surbs(&self, from: MixId, count: usize, level: Level, to: &Inbox) -> Result<Vec<Vec<u8>>, SendError> {
        let directory = self.private()?;
        let mut surbs = Vec::with_capacity(count);
        for _ in 0..count {
            let (epoch, path) = self.shared.net(&directory, |net| (net.epoch, net.reply(from, level, &mut rand::rng())));
            let path = path.map_err(SendError::NoPath)?;
            let guard = path.last().map_or(from, |hop| MixId(hop.id));
            let client = self.shared.links.client_tag(guard).ok_or(SendError::GuardGone)?;
            let id: [u8; 16] = rand::random();
            let (surb, secret) = make_surb(&mut rand::rng(), epoch, &path, client, id).map_err(SendError::Build)?;
            lock(&self.shared.surbs).insert(id, Out { secret, inbox: to.id, via: from });
            surbs.push(surb.to_bytes().to_vec());
            // Making one takes three key exchanges; others on this thread go on in between.
            tokio::task::yield_now().await;
        }
        Ok(surbs)
    }

    /// Asks a mix one thing and waits for the answer; asks again over other paths a few times.
    ///
    /// # Errors
    /// When it can't be sent, or no answer comes.
    pub async fn ask(&self, to: MixId, level: Level, question: impl Fn(Vec<u8>) -> ToMix + Send) -> Result<FromMix, AskError> {
        let (inbox, mut replies) = self.inbox();
        for _ in 0..ASK_TRIES {
            let surb = self.surbs(to, 1, level, &inbox).await.map_err(AskError::Send)?.pop().unwrap_or_default();
            self.send(to, level, &question(surb)).await.map_err(AskError::Send)?;
            if let Ok(Some(reply)) = timeout(ASK_WAIT, replies.recv()).await {
                match FromMix::decode(&reply.payload) {
                    Ok(answer) => return Ok(answer),
                    Err(error) => tracing::debug!(%error, "a mix answered nonsense"),
                }
            }
        }
        Err(AskError::Silent)
    }

    /// Ends it and its links.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.shared.links.clear().await;
        lock(&self.shared.inboxes).clear();
    }

    /// The directory, when there are mixes enough.
    fn private(&self) -> Result<Arc<Directory>, SendError> {
        let directory = self.shared.directory.borrow().clone().ok_or(SendError::NoDirectory)?;
        if !directory.fresh(self.shared.clock.now()) {
            return Err(SendError::Stale);
        }
        directory.usable(&self.shared.exclude).map_err(SendError::NotPrivate)?;
        Ok(directory)
    }
}

impl Shared {
    /// What paths are chosen from now.
    fn net<T>(&self, directory: &Directory, choose: impl FnOnce(&Net<'_>) -> T) -> T {
        let guards = self.guards.borrow();
        let guard_up = |id| self.links.is_up(id);
        let epoch = directory.epoch(self.clock.now());
        choose(&Net { directory, epoch, guards: &guards, exclude: &self.exclude, guard_up: &guard_up })
    }

    /// A guard brought something.
    fn take(&self, frame: Frame) {
        match frame {
            Frame::Delivery(bytes) => self.deliver(&bytes),
            Frame::Directory(bytes) => self.learn(&bytes),
            Frame::Packet(_) => tracing::debug!("a guard sent a packet to a client"),
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
        let taken = queue.is_some_and(|q| q.try_send(Reply { via: out.via, payload }).is_ok());
        let counter = if taken { &self.counts.packets_in } else { &self.counts.dropped };
        counter.fetch_add(1, Relaxed);
    }

    /// A directory, when the fog signed it and it is newer than ours.
    fn learn(&self, bytes: &[u8]) {
        match self.hub.learn(&self.fog, bytes.to_vec(), self.clock.now()) {
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "a guard handed out a directory that is not believed"),
        }
    }

    fn adopt(&self, fresh: Arc<Directory>) {
        self.directory.send_if_modified(|known| {
            // An old one that somebody replays would bring back mixes, leases and records of its time.
            let newer = fresh.fresh(self.clock.now()) && known.as_ref().is_none_or(|k| k.serial < fresh.serial);
            if newer {
                *known = Some(fresh);
            }
            newer
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
