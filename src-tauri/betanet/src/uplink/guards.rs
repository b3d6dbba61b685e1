//! The links to the guards, each from an endpoint of its own, and the directory that says who they are.

use super::{STALE, Shared, UplinkStatus, lock};
use crate::{
    directory::{Directory, MixEntry, mix_id},
    link::{Frame, Link, LinkState, bind},
};
use fogbank_model::MixId;
use iroh::{Endpoint, SecretKey};
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{interval, timeout},
};

/// How often links are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A mix that is asked for the directory answers within this, or the next one is asked.
const BOOTSTRAP_WAIT: Duration = Duration::from_secs(3);
/// After all mixes of the link were asked in vain.
const BOOTSTRAP_PAUSE: Duration = Duration::from_secs(2);

struct GuardLink {
    link: Link,
    endpoint: Endpoint,
    addrs: Vec<SocketAddr>,
}

/// The links of an uplink.
pub(super) struct GuardLinks {
    bind: IpAddr,
    links: Mutex<HashMap<MixId, GuardLink>>,
}

impl GuardLinks {
    pub(super) fn new(bind: IpAddr) -> Self {
        Self { bind, links: Mutex::default() }
    }

    pub(super) fn is_up(&self, id: MixId) -> bool {
        lock(&self.links).get(&id).is_some_and(|g| *g.link.state().borrow() == LinkState::Up)
    }

    /// The queue of a guard's link.
    pub(super) fn queue(&self, id: MixId) -> Option<mpsc::Sender<Frame>> {
        lock(&self.links).get(&id).map(|g| g.link.queue())
    }

    /// By which tag the guard knows us.
    pub(super) fn client_tag(&self, id: MixId) -> Option<[u8; 16]> {
        lock(&self.links).get(&id).map(|g| mix_id(g.endpoint.id().as_bytes()).0)
    }

    pub(super) fn views(&self) -> Vec<super::GuardView> {
        let links = lock(&self.links);
        links
            .iter()
            .map(|(mix, g)| super::GuardView {
                mix: *mix,
                addrs: g.addrs.clone(),
                up: *g.link.state().borrow() == LinkState::Up,
                way: g.link.way(),
                own: g.endpoint.bound_sockets(),
            })
            .collect()
    }

    pub(super) async fn clear(&self) {
        let gone: Vec<GuardLink> = lock(&self.links).drain().map(|(_, link)| link).collect();
        for guard in gone {
            drop(guard.link);
            guard.endpoint.close().await;
        }
    }

    async fn open(&self, entry: &MixEntry, shared: &Arc<Shared>) {
        // A key for this guard alone, forgotten at the end: two guards can't tell that they have the same client.
        match bind(SecretKey::generate(), SocketAddr::new(self.bind, 0), entry.relay.as_ref()).await {
            Ok(endpoint) => {
                let weak = Arc::downgrade(shared);
                let take = move |frame| {
                    if let Some(shared) = weak.upgrade() {
                        shared.take(frame);
                    }
                };
                let relay = entry.relay.clone();
                let link = Link::open(endpoint.clone(), entry.key, entry.addrs.clone(), relay, Some(Arc::new(take)));
                lock(&self.links).insert(entry.id, GuardLink { link, endpoint, addrs: entry.addrs.clone() });
            }
            Err(error) => tracing::warn!(%error, "no socket for a guard"),
        }
    }

    async fn close(&self, id: MixId) {
        let gone = lock(&self.links).remove(&id);
        if let Some(guard) = gone {
            drop(guard.link);
            guard.endpoint.close().await;
        }
    }

    fn wanted(&self) -> Vec<(MixId, Vec<SocketAddr>)> {
        lock(&self.links).iter().map(|(id, g)| (*id, g.addrs.clone())).collect()
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
            _ = tick.tick() => {}
            changed = directories.changed() => if changed.is_err() { return },
        }
        let directory = directories.borrow_and_update().clone();
        if let Some(directory) = &directory {
            align(&shared, directory).await;
        }
        let status = judge(&shared, directory.as_deref());
        shared.status.send_if_modified(|known| {
            let changed = *known != status;
            *known = status;
            changed
        });
    }
}

/// Makes the links those of the guards.
async fn align(shared: &Arc<Shared>, directory: &Directory) {
    shared.guards.send_if_modified(|guards| guards.refresh(directory, &shared.exclude, &mut rand::rng()));
    let guards: Vec<&MixEntry> = shared.guards.borrow().ids().filter_map(|id| directory.mix(id)).collect();
    for (id, addrs) in shared.links.wanted() {
        if !guards.iter().any(|g| g.id == id && g.addrs == addrs) {
            shared.links.close(id).await;
        }
    }
    for guard in guards {
        if shared.links.queue(guard.id).is_none() {
            shared.links.open(guard, shared).await;
        }
    }
}

fn judge(shared: &Shared, directory: Option<&Directory>) -> UplinkStatus {
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
    let mut directories = shared.directory.subscribe();
    let weak = Arc::downgrade(shared);
    let take = move |frame| {
        if let Some(shared) = weak.upgrade() {
            shared.take(frame);
        }
    };
    let link = Link::open(endpoint.clone(), key, addrs.to_vec(), None, Some(Arc::new(take)));
    let found = timeout(BOOTSTRAP_WAIT, directories.wait_for(Option::is_some)).await.is_ok_and(|seen| seen.is_ok());
    drop(link);
    endpoint.close().await;
    found
}
