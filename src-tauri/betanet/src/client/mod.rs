//! Visiting: opens a stream to an onion address, over a tunnel that is kept for the next ones.
//!
//! ```text
//! descriptor (a mix of the ring) → leases (an introduction point) → one instance, chosen here → introduction → tunnel → streams
//! ```
//!
//! Invariants: every link of the proof chain is checked here; nothing is asked about an address while the uplink is not ready (fail
//! closed); tunnels are shared only within one isolation; a tunnel whose host leaves or dies is replaced by one to another instance; a visit
//! without mixes is one that was asked for as such ([`Visitor::directly`]), and no visit turns from the one into the other.
//! Deliberately absent: what is said in a stream, and who asks for it (the proxy, the window).

mod hedge;
mod introducing;
mod listed;
mod reach;
mod site;
mod trust;

pub use trust::Trust;

use crate::{
    address::{AccessKey, Address, AddressError},
    seal::SiteSeal,
    tunnel::{Stream, Tunnel},
    uplink::Uplink,
};
use fogbank_model::{FogId, InstanceId, Onion};
use reach::Reach;
use site::{Request, Site};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};
use trust::Memory;

/// How long opening an address may take: a dead instance (3 s), its replacement (10 s), and the way there.
pub const OPEN_WAIT: Duration = Duration::from_secs(20);
/// Addresses open at once, counted once an isolation: as many as the proxy has connections.
pub const MAX_SITES: usize = 256;
/// Addresses remembered, counted once an isolation: a session's, far beyond a person's.
const MAX_REMEMBERED: usize = 8_192;
/// What a site's task has beyond the deadline to say why.
const GRACE: Duration = Duration::from_secs(1);

/// Why an address could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// It is no address.
    #[error(transparent)]
    Address(AddressError),
    /// Too few mixes; nothing was asked.
    #[error("not opened, because it would not be private: {why}")]
    NotPrivate {
        /// What is waited for.
        why: String,
    },
    /// No mix has a descriptor of it.
    #[error("nothing is published at this address now, or its records have not spread yet")]
    NotFound,
    /// Its fog says that it was stopped or deleted.
    #[error("this site is not online: its publisher stopped or deleted it")]
    Stopped,
    /// Something is published there, but for those with a key.
    #[error("this address is private: open it once by its whole link, which holds the key")]
    Locked,
    /// A direct connection was asked for, and the publisher's record does not offer one.
    #[error("this site's publisher does not let visitors come directly: open it without asking for that")]
    NotDirect,
    /// A direct connection was asked for and is offered, but no owner of a host that serves the site lets visitors come directly.
    #[error("no owner of a computer that serves this site lets visitors come directly now: open it without asking for that")]
    NoOwner,
    /// There is a descriptor, but no instance answers.
    #[error("the site is published, but none of its copies answers: {why}")]
    NoAnswer {
        /// What the last one tried did.
        why: String,
    },
    /// Not within [`OPEN_WAIT`].
    #[error("not opened within {} seconds; the last thing tried: {why}", OPEN_WAIT.as_secs())]
    TimedOut {
        /// What was going on.
        why: String,
    },
    /// There are copies, but each of them was caught giving something else than the publisher signed.
    #[error("the site is published, but no copy of it that can be reached gives what its publisher signed")]
    NoHonest,
    /// Too many addresses are open.
    #[error("{MAX_SITES} addresses are open at once already: close some")]
    TooMany,
    /// The program ends.
    #[error("this Fogbank is ending")]
    Ended,
}

/// How a visit stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum VisitState {
    /// On the way.
    #[default]
    Opening,
    /// A tunnel stands.
    Open,
    /// The last try failed.
    Failed {
        /// Why, for people.
        why: String,
    },
}

/// One address that is or was open, for the visitor's own eyes.
#[derive(Clone, PartialEq, Eq)]
pub struct Visit {
    /// Which.
    pub onion: Onion,
    /// Whether it was asked for without mixes: the host and this computer see each other's address, and nothing of it is private.
    pub direct: bool,
    /// How it stands.
    pub state: VisitState,
    /// From the introduction to its answer, the last time.
    pub round_trip: Option<Duration>,
    /// Whether its content can be trusted.
    pub trust: Trust,
    /// Copies that were caught giving something else than the publisher signed, and left.
    pub caught: u32,
}

/// A stream to a copy of a service, and what is to be known of the service to use it.
pub struct Opened {
    /// The stream.
    pub stream: Stream,
    /// What the site consists of by its publisher's own word; nothing else that comes through the stream may be passed on. `None`: an app,
    /// whose bytes are passed on as they are.
    pub seal: Option<SiteSeal>,
    /// The copy behind the stream.
    pub copy: CopyOf,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opened(sealed: {})", self.seal.is_some())
    }
}

/// One copy of a service, to be left when it is no good.
#[derive(Clone)]
pub struct CopyOf {
    instance: InstanceId,
    tunnel: Tunnel,
    memory: Arc<Memory>,
}

impl fmt::Debug for CopyOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CopyOf(…)")
    }
}

impl CopyOf {
    /// It gave something else than the publisher signed: it is left at once and not gone to again.
    pub fn lied(&self) {
        self.memory.caught(self.instance);
        self.tunnel.close();
    }

    /// It does not do its work: it is left at once, and gone to again only after others.
    pub fn failed(&self) {
        self.tunnel.close();
    }
}

impl fmt::Debug for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Visit({:?}, {:?})", self.state, self.round_trip)
    }
}

/// An address in one isolation, by mixes or directly: which of them is remembered nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Visited {
    onion: Onion,
    isolation: String,
    direct: bool,
}

/// Opens addresses over one uplink.
#[derive(Clone)]
pub struct Visitor {
    uplink: Uplink,
    direct: bool,
    sites: Arc<Mutex<HashMap<Visited, Site>>>,
    keys: Arc<Mutex<HashMap<Onion, AccessKey>>>,
    homes: Arc<Mutex<HashMap<Onion, FogId>>>,
    memories: Arc<Mutex<HashMap<Visited, Arc<Memory>>>>,
}

impl fmt::Debug for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Visitor")
    }
}

impl Visitor {
    /// Visits over this uplink, which should be for visiting only.
    pub fn start(uplink: Uplink) -> Self {
        Self {
            uplink,
            direct: false,
            sites: Arc::default(),
            keys: Arc::default(),
            homes: Arc::default(),
            memories: Arc::default(),
        }
    }

    /// The same visitor, opening addresses without mixes between it and their hosts: both see each other's address. For services whose publisher
    /// offers it, at hosts whose owner agrees; all others are refused. The way to them is asked for by mixes as ever.
    #[must_use]
    pub fn directly(&self) -> Self {
        Self { direct: true, ..self.clone() }
    }

    /// Takes the access keys of private addresses, in place of those known before. What is open with another key is opened anew.
    pub fn unlock(&self, keys: HashMap<Onion, AccessKey>) {
        let before = std::mem::replace(&mut *self.keys.lock().unwrap_or_else(PoisonError::into_inner), keys.clone());
        self.sites(|sites| sites.retain(|visited, _| before.get(&visited.onion) == keys.get(&visited.onion)));
    }

    /// A link says of which fog an address is: it is asked there first, and nowhere else if it is there. Where nothing was said, the own fog is.
    pub fn is_of(&self, onion: &Onion, fog: FogId) {
        let mut homes = self.homes.lock().unwrap_or_else(PoisonError::into_inner);
        // A hint that is lost costs a look-up elsewhere.
        if homes.len() >= MAX_REMEMBERED {
            homes.clear();
        }
        homes.insert(onion.clone(), fog);
    }

    /// A stream to an address. Those of one `isolation` share a tunnel.
    ///
    /// # Errors
    /// When it can't be opened within [`OPEN_WAIT`], or sooner when that is clear; says why.
    pub async fn connect(&self, onion: &Onion, isolation: &str) -> Result<Stream, ConnectError> {
        self.connect_within(onion, isolation, OPEN_WAIT).await
    }

    /// As [`Self::connect`], with another wait, at most [`OPEN_WAIT`].
    ///
    /// # Errors
    /// When it can't be opened in time; says why.
    pub async fn connect_within(&self, onion: &Onion, isolation: &str, wait: Duration) -> Result<Stream, ConnectError> {
        self.open_within(onion, isolation, wait).await.map(|opened| opened.stream)
    }

    /// A stream to an address, with what is to be known to use it. Those of one `isolation` share a tunnel.
    ///
    /// # Errors
    /// When it can't be opened within [`OPEN_WAIT`], or sooner when that is clear; says why.
    pub async fn open(&self, onion: &Onion, isolation: &str) -> Result<Opened, ConnectError> {
        self.open_within(onion, isolation, OPEN_WAIT).await
    }

    async fn open_within(&self, onion: &Onion, isolation: &str, wait: Duration) -> Result<Opened, ConnectError> {
        let address = Address::parse(onion).map_err(ConnectError::Address)?;
        let deadline = Instant::now() + wait.min(OPEN_WAIT);
        let (reply, answer) = oneshot::channel();
        let mut request = Request::new(reply, deadline);
        // The task may end for idleness just now; the next one will not.
        for _ in 0..2 {
            let site = self.site(&address, isolation)?;
            match site.ask(request).await {
                Ok(()) => {
                    return match timeout_at(deadline + GRACE, answer).await {
                        Ok(Ok(answer)) => answer,
                        Ok(Err(_)) => Err(ConnectError::Ended),
                        Err(_) => Err(ConnectError::TimedOut { why: "waiting for others who open the same address".to_owned() }),
                    };
                }
                Err(back) => request = back,
            }
        }
        Err(ConnectError::Ended)
    }

    /// Whether a tunnel to the address stands now and may be used: what was kept of a site is shown only while the site itself could be.
    pub fn is_open(&self, onion: &Onion, isolation: &str) -> bool {
        self.uplink.is_ready() && self.sites(|sites| sites.get(&self.visited(onion, isolation)).is_some_and(Site::open))
    }

    /// Of what the copy serves to which a tunnel to the address stands now; as [`Self::is_open`]. Nothing that was kept of another is shown.
    pub fn open_seal(&self, onion: &Onion, isolation: &str) -> Option<SiteSeal> {
        let ready = self.uplink.is_ready();
        self.sites(|sites| sites.get(&self.visited(onion, isolation)).and_then(Site::seal)).filter(|_| ready)
    }

    /// The addresses that are open or were lately, for display.
    pub fn visits(&self) -> Vec<Visit> {
        self.sites(|sites| sites.iter().map(|(visited, site)| site.visit(visited)).collect())
    }

    fn visited(&self, onion: &Onion, isolation: &str) -> Visited {
        Visited { onion: onion.clone(), isolation: isolation.to_owned(), direct: self.direct }
    }

    fn site(&self, address: &Address, isolation: &str) -> Result<Site, ConnectError> {
        self.sites(|sites| {
            sites.retain(|_, site| !site.ended());
            let key = self.visited(address.onion(), isolation);
            if let Some(site) = sites.get(&key) {
                return Ok(site.clone());
            }
            if sites.len() >= MAX_SITES {
                return Err(ConnectError::TooMany);
            }
            let access = self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(address.onion()).copied();
            let home = self.homes.lock().unwrap_or_else(PoisonError::into_inner).get(address.onion()).copied();
            let memory = self.memory(&key)?;
            let site = Site::start(Reach::new(self.uplink.clone(), self.direct, address.clone(), access, home, memory));
            sites.insert(key, site.clone());
            Ok(site)
        })
    }

    /// What is remembered of an address. Where no copy was caught there is nothing that must be kept.
    fn memory(&self, key: &Visited) -> Result<Arc<Memory>, ConnectError> {
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(memory) = memories.get(key) {
            return Ok(memory.clone());
        }
        if memories.len() >= MAX_REMEMBERED {
            memories.retain(|_, memory| memory.view().1 > 0 || Arc::strong_count(memory) > 1);
        }
        if memories.len() >= MAX_REMEMBERED {
            return Err(ConnectError::TooMany);
        }
        Ok(memories.entry(key.clone()).or_default().clone())
    }

    fn sites<T>(&self, act: impl FnOnce(&mut HashMap<Visited, Site>) -> T) -> T {
        act(&mut self.sites.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
