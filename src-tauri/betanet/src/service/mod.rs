//! Hosting: an instance registers at its container's introduction points and answers those who introduce themselves.
//!
//! ```text
//! registration (one a lease and point) → first message → check → answer through the rendezvous → tunnel → streams
//! ```
//!
//! Invariants: the instance's introduction key never leaves its task; a first message is answered once; the rendezvous must stand in the signed
//! directory; tunnels and first messages remembered are bounded.
//! Deliberately absent: what is served (the agent's runtimes take the streams) and who grants leases.

mod introduction;
mod registration;
mod replay;

use crate::{
    direct::Entrance,
    lease::Lease,
    tunnel::{IntroductionKey, Stream, TunnelCounters},
    uplink::Uplink,
};
use fogbank_model::{InstanceId, Level, MixId};
use introduction::Desk;
pub use introduction::MAX_TUNNELS;
pub(crate) use introduction::{Word, prologue};
use registration::{Registered, Registration};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How often leases are looked at again: they end and begin to hold by themselves.
const LEASE_CHECK: Duration = Duration::from_secs(20);
/// Leases of one instance that are taken: current and neighbour period, twice over.
pub const MAX_LEASES: usize = 4;

/// The entrance of a device whose owner lets visitors come directly.
type OpenEntrance = Arc<Mutex<Option<Entrance>>>;

/// Hosts instances over one uplink.
#[derive(Clone)]
pub struct Host {
    uplink: Uplink,
    entrance: OpenEntrance,
    desks: Arc<Mutex<Vec<Weak<Desk>>>>,
}

/// What visitors have open at all instances of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Open {
    /// Tunnels.
    pub tunnels: usize,
    /// Streams in them.
    pub streams: usize,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host")
    }
}

/// One instance that is being served. Dropping it closes everything.
pub struct ServiceHandle {
    desk: Arc<Desk>,
    registered: watch::Receiver<Registered>,
    _end: DropGuard,
}

impl fmt::Debug for ServiceHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceHandle({} tunnels)", self.open_tunnels())
    }
}

impl Host {
    /// Hosts over this uplink, which should be for hosting only.
    pub fn start(uplink: Uplink) -> Self {
        Self { uplink, entrance: Arc::default(), desks: Arc::default() }
    }

    /// Lets visitors who ask for it come by this entrance, to instances whose publishers offer it; `None`: to none, as at the start. Gives back
    /// the entrance that was there.
    pub fn set_entrance(&self, entrance: Option<Entrance>) -> Option<Entrance> {
        std::mem::replace(&mut *self.entrance.lock().unwrap_or_else(PoisonError::into_inner), entrance)
    }

    /// The entrance by which visitors may come.
    pub fn entrance(&self) -> Option<Entrance> {
        self.entrance.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What visitors have open now.
    pub fn open(&self) -> Open {
        let desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        desks.iter().filter_map(Weak::upgrade).fold(Open::default(), |open, desk| Open {
            tunnels: open.tunnels + desk.tunnels(),
            streams: open.streams + desk.streams(),
        })
    }

    /// Serves an instance: registers with its leases (as they come and change), and hands every stream that a visitor opens to `accept`.
    /// A full `accept` makes visitors wait.
    pub fn serve(
        &self,
        instance: InstanceId,
        key: IntroductionKey,
        leases: watch::Receiver<Vec<Vec<u8>>>,
        level: Level,
        accept: mpsc::Sender<Stream>,
    ) -> ServiceHandle {
        let end = CancellationToken::new();
        let public = key.public();
        let entrance = self.entrance.clone();
        let desk = Arc::new(Desk::new(self.uplink.clone(), instance, key, level, entrance, accept, end.clone()));
        {
            let mut desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
            desks.retain(|desk| desk.strong_count() > 0);
            desks.push(Arc::downgrade(&desk));
        }
        let (registered, watch) = watch::channel(Registered::default());
        let keep = keep_registered(self.uplink.clone(), instance, public, leases, level, desk.clone(), registered);
        tokio::spawn(end.clone().run_until_cancelled_owned(keep));
        ServiceHandle { desk, registered: watch, _end: end.drop_guard() }
    }
}

impl ServiceHandle {
    /// Whether at least one introduction point has acknowledged the instance.
    pub fn registered(&self) -> bool {
        self.registered.borrow().any()
    }

    /// Waits until it is registered, or until it is closed.
    pub async fn wait_registered(&self) {
        let _ = self.registered.clone().wait_for(Registered::any).await;
    }

    /// Leaves the introduction points, tells visitors to go elsewhere, and takes no new introductions. Open streams go on.
    pub fn drain(&self) {
        self.desk.drain();
    }

    /// Tunnels to visitors that are open.
    pub fn open_tunnels(&self) -> usize {
        self.desk.tunnels()
    }

    /// Streams that are open in them: a drained instance can end when there are none.
    pub fn open_streams(&self) -> usize {
        self.desk.streams()
    }

    /// What each of its open tunnels has done.
    pub fn tunnel_counters(&self) -> Vec<TunnelCounters> {
        self.desk.counters()
    }

    /// Ends all tunnels at once.
    pub fn close(self) {
        self.desk.close();
    }
}

/// Keeps one registration for each lease that holds and each point it names, until drained.
async fn keep_registered(
    uplink: Uplink,
    instance: InstanceId,
    key: [u8; 32],
    mut leases: watch::Receiver<Vec<Vec<u8>>>,
    level: Level,
    desk: Arc<Desk>,
    registered: watch::Sender<Registered>,
) {
    // The constant rate of level strict lasts as long as the instance does, whoever visits.
    let _hold = uplink.hold(level);
    let mut running: HashMap<([u8; 32], MixId), Registration> = HashMap::new();
    let mut draining = desk.draining();
    let mut waiting = uplink.directory();
    let mut granted = true;
    loop {
        let now = waiting.borrow_and_update().as_ref().map(|directory| directory.time(crate::directory::clock()));
        let mut wanted = HashMap::new();
        if let Some(now) = now
            && !*draining.borrow_and_update()
        {
            for bytes in leases.borrow_and_update().iter().take(MAX_LEASES) {
                match Lease::open_own(bytes, instance, &key, now) {
                    Ok(lease) => {
                        for point in &lease.said.introduction_points {
                            wanted.insert((lease.blinded, *point), bytes.clone());
                        }
                    }
                    Err(error) => tracing::debug!(%error, "a lease of this instance is not used"),
                }
            }
        }
        running.retain(|place, _| wanted.contains_key(place));
        for ((blinded, point), lease) in wanted {
            match running.get(&(blinded, point)) {
                Some(registration) => registration.renew(lease),
                None => {
                    let registration =
                        Registration::start(uplink.clone(), point, blinded, lease, level, desk.clone(), registered.clone());
                    running.insert((blinded, point), registration);
                }
            }
        }
        tokio::select! {
            // When whoever granted them is gone, what is registered stays until its lease ends.
            changed = leases.changed(), if granted => granted = changed.is_ok(),
            changed = draining.changed() => if changed.is_err() { return },
            changed = waiting.changed(), if now.is_none() => if changed.is_err() { return },
            () = tokio::time::sleep(LEASE_CHECK) => {}
        }
    }
}
