//! The links to the guards, each from an endpoint of its own, and the directory that says who they are.

use super::{STALE, Shared, UplinkStatus, lock};
use crate::{
    directory::{Directory, MixEntry, gossip::Gossip, mix_id},
    link::{Frame, Link, LinkState, bind},
};
use fogbank_model::MixId;
use fogbank_wire::{MixLife, goodbye};
use futures_util::future::join_all;
use iroh::{Endpoint, SecretKey};
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, watch},
    time::{interval, timeout},
};

/// How often links are looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A mix that is asked for the directory says something at least this often, or the next one is asked.
const BOOTSTRAP_WAIT: Duration = Duration::from_secs(3);
/// And has said all by then: the largest directory at half a megabit a second.
const BOOTSTRAP_WHOLE: Duration = Duration::from_secs(60);
/// Frames of a mix that is asked for the directory: more pieces than the largest has.
const BOOTSTRAP_FRAMES: usize = 1_024;
/// A link on which nothing moves is left alone for so long: until a dead one's silence has told.
const LEFT_ALONE: Duration = Duration::from_secs(4);
/// After all mixes of the link were asked in vain.
const BOOTSTRAP_PAUSE: Duration = Duration::from_secs(2);

struct GuardLink {
    link: Link,
    endpoint: Endpoint,
    addrs: Vec<SocketAddr>,
    /// The guard's life to which it was opened: a connection to one that has ended would swallow packets until its silence is noticed.
    life: MixLife,
    sent: Arc<AtomicU64>,
    came: Arc<AtomicU64>,
    /// Until when it is left alone, because nothing moved on it.
    stuck: Option<Instant>,
}

impl GuardLink {
    fn is_up(&self) -> bool {
        *self.link.state().borrow() == LinkState::Up
    }
}

/// The links of an uplink.
pub(super) struct GuardLinks {
    pub(super) bind: IpAddr,
    links: Mutex<HashMap<MixId, GuardLink>>,
}

impl GuardLinks {
    pub(super) fn new(bind: IpAddr) -> Self {
        Self { bind, links: Mutex::default() }
    }

    /// Whether it can be used now.
    pub(super) fn is_up(&self, id: MixId) -> bool {
        lock(&self.links).get(&id).is_some_and(|g| g.is_up() && g.stuck.is_none_or(|until| until <= Instant::now()))
    }

    /// Nothing moves on a guard's link: it is dead, which its silence will tell, or overfull.
    pub(super) fn stuck(&self, id: MixId) {
        if let Some(guard) = lock(&self.links).get_mut(&id) {
            guard.stuck = Some(Instant::now() + LEFT_ALONE);
        }
    }

    /// Those that are not up.
    fn down(&self) -> Vec<MixId> {
        let links = lock(&self.links);
        links.iter().filter(|(_, g)| !g.is_up()).map(|(id, _)| *id).collect()
    }

    /// The queue of a guard's link.
    pub(super) fn queue(&self, id: MixId) -> Option<mpsc::Sender<Frame>> {
        lock(&self.links).get(&id).map(|g| g.link.queue())
    }

    /// By which tag the guard knows us.
    pub(super) fn client_tag(&self, id: MixId) -> Option<[u8; 16]> {
        lock(&self.links).get(&id).map(|g| mix_id(g.endpoint.id().as_bytes()).0)
    }

    /// Whether a guard's link is up, as it changes.
    pub(super) fn state(&self, id: MixId) -> Option<watch::Receiver<LinkState>> {
        lock(&self.links).get(&id).map(|g| g.link.state())
    }

    /// A frame was given to a guard's link.
    pub(super) fn sent(&self, id: MixId) {
        if let Some(guard) = lock(&self.links).get(&id) {
            guard.sent.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn views(&self, shaped: Option<MixId>) -> Vec<super::GuardView> {
        let links = lock(&self.links);
        links
            .iter()
            .map(|(mix, g)| super::GuardView {
                mix: *mix,
                addrs: g.addrs.clone(),
                up: g.is_up(),
                way: g.link.way(),
                own: g.endpoint.bound_sockets(),
                constant: shaped == Some(*mix),
                frames_out: g.sent.load(Relaxed),
                frames_in: g.came.load(Relaxed),
            })
            .collect()
    }

    pub(super) async fn clear(&self) {
        let gone: Vec<GuardLink> = lock(&self.links).drain().map(|(_, link)| link).collect();
        join_all(gone.into_iter().map(async |guard| {
            drop(guard.link);
            goodbye(&guard.endpoint).await;
        }))
        .await;
    }

    async fn open(&self, entry: &MixEntry, shared: &Arc<Shared>) {
        // A key for this guard alone, forgotten at the end: two guards can't tell that they have the same client.
        match bind(SecretKey::generate(), SocketAddr::new(self.bind, 0), entry.relay.as_ref()).await {
            Ok(endpoint) => {
                let weak = Arc::downgrade(shared);
                let (sent, came, from) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)), entry.id);
                let counted = came.clone();
                let take = move |frame| {
                    counted.fetch_add(1, Relaxed);
                    if let Some(shared) = weak.upgrade() {
                        shared.take(from, frame);
                    }
                    None
                };
                let relay = entry.relay.clone();
                let link = Link::open(endpoint.clone(), entry.key, entry.addrs.clone(), relay, Some(Arc::new(take)));
                let opened = GuardLink { link, endpoint, addrs: entry.addrs.clone(), life: entry.life, sent, came, stuck: None };
                lock(&self.links).insert(entry.id, opened);
            }
            Err(error) => tracing::warn!(%error, "no socket for a guard"),
        }
    }

    fn close(&self, id: MixId) {
        let gone = lock(&self.links).remove(&id);
        if let Some(guard) = gone {
            drop(guard.link);
            // A guard that is silent is not waited for.
            tokio::spawn(async move { goodbye(&guard.endpoint).await });
        }
    }

    fn open_to(&self) -> Vec<(MixId, Vec<SocketAddr>, MixLife)> {
        lock(&self.links).iter().map(|(id, g)| (*id, g.addrs.clone(), g.life)).collect()
    }
}

/// Keeps directory, guards, links and status up to date.
pub(super) async fn tend(shared: Arc<Shared>, bootstrap: Vec<([u8; 32], Vec<SocketAddr>)>) {
    let feeding = feed(shared.clone(), bootstrap);
    tokio::pin!(feeding);
    let mut tick = interval(LOOK_EVERY);
    let mut directories = shared.directory.subscribe();
    loop {
        tokio::select! {
            () = &mut feeding => return,
            _ = tick.tick() => {
                shared.hub.expire(shared.clock.now());
                shared.links.down().into_iter().for_each(|id| lock(&shared.gossip).gone(id));
                shared.ask_for_newer();
            }
            changed = directories.changed() => if changed.is_err() { return },
        }
        let directory = directories.borrow_and_update().clone();
        if let Some(directory) = &directory {
            align(&shared, directory).await;
        }
        shared.tell_status();
    }
}

/// Makes the links those of the guards.
async fn align(shared: &Arc<Shared>, directory: &Directory) {
    shared.guards.send_if_modified(|guards| guards.refresh(directory, &shared.exclude, &mut rand::rng()));
    let guards: Vec<&MixEntry> = shared.guards.borrow().ids().filter_map(|id| directory.mix(id)).collect();
    for (id, addrs, life) in shared.links.open_to() {
        if !guards.iter().any(|g| g.id == id && g.addrs == addrs && g.life == life) {
            shared.links.close(id);
        }
    }
    for guard in guards {
        if shared.links.queue(guard.id).is_none() {
            shared.links.open(guard, shared).await;
        }
    }
}

impl Shared {
    /// Tells those who wait for it whether addresses can be opened now.
    pub(super) fn tell_status(&self) {
        // Judged with the status held, so that no older judgement is told after a newer one.
        self.status.send_if_modified(|known| {
            let directory = self.directory.borrow().clone();
            let status = judge(self, directory.as_deref());
            let changed = *known != status;
            *known = status;
            changed
        });
    }
}

/// Whether addresses can be opened now.
pub(super) fn judge(shared: &Shared, directory: Option<&Directory>) -> UplinkStatus {
    let Some(directory) = directory else { return UplinkStatus::Starting };
    if !directory.fresh(shared.clock.now()) {
        return UplinkStatus::Waiting { reason: STALE.to_owned(), usable: 0, needed: Directory::NEEDED };
    }
    match directory.usable(&shared.exclude) {
        Err(why) => UplinkStatus::Waiting { reason: why.to_string(), usable: why.mixes, needed: why.needed },
        Ok(usable) => {
            let up = shared.guards.borrow().ids().any(|id| shared.links.is_up(id));
            if up {
                UplinkStatus::Ready { usable: usable.mixes }
            } else {
                let reason = "waiting for a guard: none of the usual first mixes answers".to_owned();
                UplinkStatus::Waiting { reason, usable: usable.mixes, needed: usable.needed }
            }
        }
    }
}

/// Brings directories from where they are kept, and asks the mixes of a link for the first one; later ones come from the guards.
async fn feed(shared: Arc<Shared>, bootstrap: Vec<([u8; 32], Vec<SocketAddr>)>) {
    let asking = ask_until_known(&shared, &bootstrap);
    tokio::pin!(asking);
    let mut asked = false;
    let mut kept = shared.hub.subscribe();
    loop {
        if let Some(known) = kept.borrow_and_update().clone().filter(|known| known.directory.fog == shared.fog) {
            shared.adopt(known.directory);
        }
        tokio::select! {
            changed = kept.changed() => if changed.is_err() { return },
            () = &mut asking, if !asked => asked = true,
        }
    }
}

async fn ask_until_known(shared: &Arc<Shared>, bootstrap: &[([u8; 32], Vec<SocketAddr>)]) {
    while shared.directory.borrow().is_none() && !bootstrap.is_empty() {
        for (key, addrs) in bootstrap {
            if ask_for_directory(shared, *key, addrs).await {
                return;
            }
        }
        tokio::time::sleep(BOOTSTRAP_PAUSE).await;
    }
}

async fn ask_for_directory(shared: &Arc<Shared>, key: [u8; 32], addrs: &[SocketAddr]) -> bool {
    let Ok(endpoint) = bind(SecretKey::generate(), SocketAddr::new(shared.links.bind, 0), None).await else { return false };
    let (bring, mut frames) = mpsc::channel(BOOTSTRAP_FRAMES);
    let take = Arc::new(move |frame| {
        let _ = bring.try_send(frame);
        None
    });
    let link = Link::open(endpoint.clone(), key, addrs.to_vec(), None, Some(take));
    let (from, mut gossip) = (mix_id(&key), Gossip::default());
    let fetching = async {
        while let Ok(Some(frame)) = timeout(BOOTSTRAP_WAIT, frames.recv()).await {
            let now = Instant::now();
            match frame {
                Frame::Have { fog, serial, .. } if fog == shared.fog => {
                    gossip.heard(from, fog, serial, now);
                    if let Some((_, fog, serial)) = gossip.next(&[(shared.fog, 0)], now) {
                        link.try_send(Frame::Want { fog, serial });
                    }
                }
                Frame::Part(part) => {
                    if let Some(fetched) = gossip.part(from, part, now) {
                        return shared.learn(fetched);
                    }
                }
                _ => {}
            }
        }
        false
    };
    let found = timeout(BOOTSTRAP_WHOLE, fetching).await.unwrap_or(false);
    drop(link);
    goodbye(&endpoint).await;
    found
}
