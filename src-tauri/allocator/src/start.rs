//! The allocator's handle, and what it is made from.

use crate::{
    act::Actor,
    clock::Clock,
    conduct::Book,
    dialling,
    directory::{Signed, Signer},
    federation::{self, AskPeerError, Federation, PeerView},
    look::SignedAhead,
    registry::Registry,
    roles::to_bits,
    scaling::Scaler,
    session,
    signing::{Signing, WitnessView},
    witnessing::Witnessing,
};
use fogbank_betanet::directory::{Charter, Directory, DirectoryHub};
use fogbank_model::{DeviceId, DurationMs, FogId, OwnerId, UnixMs};
use fogbank_placement::{Policy, scaling::HOUR};
use fogbank_store::{OpenError, Store, StoreError};
use fogbank_wire::{
    Enrol, FederateReply, FederateRequest, PeerAddress, Refusal, RefusalKind, RelayHint, Roles, Stranger, Ticket, VERSION,
    decode, encode,
};
use iroh::{
    Endpoint, SecretKey,
    endpoint::{Connection, SendStream},
};
use rand::{
    RngExt as _,
    distr::{Distribution, StandardUniform},
    rngs::StdRng,
};
use std::{
    collections::HashMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, Semaphore, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// A member that is mute shows within minutes, and 100,000 members are 3,300 reports a second.
const HEARTBEAT: DurationMs = DurationMs::from_s(30);
/// The first look at the store takes milliseconds for thousands of containers; a disk that hangs is said to.
const FIRST_LOOK: Duration = Duration::from_secs(10);

/// What an allocator is made from.
#[derive(Clone)]
pub struct AllocatorConfig {
    /// Its database.
    pub store: PathBuf,
    /// The fog's key: signs directories and permits.
    pub key: SecretKey,
    /// The fog's name.
    pub name: String,
    /// A test fog relaxes privacy rules.
    pub test: bool,
    /// The relay that the fog's operator runs; tickets name it, and mixes may be listed as met there.
    pub relay: Option<RelayHint>,
    /// Weights of placement.
    pub policy: Policy,
    /// How often a member reports when nothing changes. Losses show sooner: those who host or relay hold the connection.
    pub heartbeat: DurationMs,
    /// The device of the node that runs it, which nobody may remove from the fog.
    pub operator: Option<DeviceId>,
}

impl AllocatorConfig {
    /// With the default policy, half a minute between heartbeats, no relay and no device of its own.
    pub fn new(store: PathBuf, key: SecretKey, name: String, test: bool) -> Self {
        Self { store, key, name, test, relay: None, policy: Policy::default(), heartbeat: HEARTBEAT, operator: None }
    }
}

/// Why an allocator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its database can't be opened.
    #[error(transparent)]
    Open(OpenError),
    /// Its database can't be read.
    #[error(transparent)]
    Store(StoreError),
    /// It could not take up what it did before.
    #[error("the fog's database did not answer within {} s: see the log, and start again", FIRST_LOOK.as_secs())]
    NotReady,
}

/// What all parts of an allocator share.
pub(crate) struct Shared {
    pub(crate) config: AllocatorConfig,
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    book: Mutex<Book>,
    pub(crate) signed_ahead: Mutex<SignedAhead>,
    scaler: Mutex<Scaler>,
    /// Held while a container is rehearsed, with when each person asked for that last.
    pub(crate) rehearsing: tokio::sync::Mutex<HashMap<OwnerId, Instant>>,
    /// Planning for those who only ask: it takes a core for a moment.
    planning: Semaphore,
    pub(crate) signer: Mutex<Signer>,
    /// What this allocator's parts in draws are made of.
    pub(crate) secret: [u8; 32],
    pub(crate) signing: Signing,
    pub(crate) witnessing: Witnessing,
    /// Serial of the directory that was made last, once it is kept.
    pub(crate) signed: watch::Sender<u64>,
    pub(crate) federation: Federation,
    /// The own directory and those of federated fogs, as members merge them.
    pub(crate) hub: DirectoryHub,
    /// Something happened: look again.
    pub(crate) wake: Notify,
    pub(crate) started: Instant,
    clock: Clock,
    chance: Mutex<StdRng>,
    pub(crate) stop: CancellationToken,
    /// Whether the fog has been looked at and acted on once since the start.
    pub(crate) ready: watch::Sender<bool>,
}

impl Shared {
    /// The time of day.
    pub(crate) fn now(&self) -> UnixMs {
        self.clock.now()
    }

    /// For measuring how long something takes.
    pub(crate) fn instant(&self) -> Instant {
        self.clock.instant()
    }

    /// By chance; in a simulation, by its seed.
    pub(crate) fn random<T>(&self) -> T
    where
        StandardUniform: Distribution<T>,
    {
        self.chance.lock().unwrap_or_else(PoisonError::into_inner).random()
    }

    pub(crate) fn fog(&self) -> FogId {
        FogId(*self.config.key.public().as_bytes())
    }

    /// The allocator started only just now: who is not here yet may still come.
    pub(crate) fn settling(&self) -> bool {
        self.instant().duration_since(self.started) < COME_BACK
    }

    /// The directory as it is in use: with the mixes of federated fogs that count.
    pub(crate) fn merged(&self) -> Option<Arc<Directory>> {
        self.hub.current().map(|known| known.directory)
    }

    /// Takes up a directory of its own or of a named fog.
    pub(crate) fn learn(&self, bytes: &[u8]) {
        if let Err(error) = self.hub.learn(&self.fog(), bytes.to_vec(), self.now()) {
            tracing::debug!(%error, "a directory does not count (yet)");
        }
    }

    pub(crate) fn directory(&self) -> Option<Signed> {
        self.signer().current()
    }

    /// How devices have behaved.
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many copies are wanted for their load.
    pub(crate) fn scaler(&self) -> MutexGuard<'_, Scaler> {
        self.scaler.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what is due of how devices have behaved; `all` when the allocator ends.
    pub(crate) async fn keep_book(&self, all: bool) -> Result<(), StoreError> {
        let due = self.book().due(all, self.now());
        if !due.is_empty() {
            self.store.keep_conducts(&due).await.inspect_err(|_| self.book().not_kept(&due))?;
        }
        Ok(())
    }

    /// Plans for somebody who asks, apart from the threads that answer everybody, and one after another.
    pub(crate) async fn planned<T: Send + 'static>(&self, plan: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
        let failed = |words: String| Refusal::new(RefusalKind::Failed, words);
        let _turn = self.planning.acquire().await.map_err(|error| failed(error.to_string()))?;
        tokio::task::spawn_blocking(plan).await.map_err(|error| failed(error.to_string()))
    }

    pub(crate) fn signer(&self) -> MutexGuard<'_, Signer> {
        self.signer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running allocator. Clones share it.
#[derive(Clone)]
pub struct Allocator {
    shared: Arc<Shared>,
    acting: Arc<Mutex<Option<JoinHandle<()>>>>,
}

const SHARED_RANDOM: &str = "shared random";
pub(crate) const DIRECTORY: &str = "directory";
pub(crate) const MIX_HISTORY: &str = "history of mixes";
/// What the value of a period was settled to be made of.
pub(crate) const DRAWN: &str = "parts of the draw";
/// How many witnesses the operator wants to have signed, when that is said.
const NEEDED: &str = "needed witnesses";
/// After a start members get this long to come back before they count as lost: their longest pause between attempts, with jitter.
const COME_BACK: Duration = Duration::from_secs(11);

impl Shared {
    /// Takes up what the store keeps.
    pub(crate) async fn over(
        store: Store,
        config: AllocatorConfig,
        clock: Clock,
        chance: StdRng,
    ) -> Result<Arc<Self>, StartError> {
        let kept = store.meta(SHARED_RANDOM).await.map_err(StartError::Store)?;
        let shared_random = match kept.and_then(|bytes| bytes.try_into().ok()) {
            Some(random) => random,
            None => {
                let random: [u8; 32] = rand::random();
                store.set_meta(SHARED_RANDOM, &random).await.map_err(StartError::Store)?;
                random
            }
        };
        let kept = store.meta(DIRECTORY).await.map_err(StartError::Store)?;
        let history = store.meta(MIX_HISTORY).await.map_err(StartError::Store)?;
        let history = history.and_then(|bytes| decode(&bytes).ok()).unwrap_or_default();
        let drawn = store.meta(DRAWN).await.map_err(StartError::Store)?.and_then(|bytes| decode(&bytes).ok());
        let needed = store.meta(NEEDED).await.map_err(StartError::Store)?.and_then(|bytes| decode(&bytes).ok());
        let conducts = store.conducts().await.map_err(StartError::Store)?;
        let hour_ago = clock.now().plus(DurationMs(-HOUR.0));
        let changes = store.load_changes(hour_ago).await.map_err(StartError::Store)?;
        let signer = Signer::new(config.key.clone(), config.test, shared_random, kept, drawn, history, clock.instant());
        let shared = Arc::new(Self {
            config,
            store,
            registry: Registry::default(),
            book: Mutex::new(Book::load(conducts, clock.now())),
            signed_ahead: Mutex::default(),
            scaler: Mutex::new(Scaler::load(changes)),
            rehearsing: tokio::sync::Mutex::default(),
            planning: Semaphore::new(1),
            signer: Mutex::new(signer),
            secret: shared_random,
            signing: Signing::default(),
            witnessing: Witnessing::default(),
            signed: watch::Sender::new(0),
            federation: Federation::default(),
            hub: DirectoryHub::new(),
            wake: Notify::new(),
            started: clock.instant(),
            clock,
            chance: Mutex::new(chance),
            stop: CancellationToken::new(),
            ready: watch::Sender::new(false),
        });
        shared.signing.wish(needed.flatten());
        federation::load(&shared).await.map_err(StartError::Store)?;
        Ok(shared)
    }
}

impl Allocator {
    /// Starts in order: the store, what it keeps of directory and signing, the acting task; then waits until that has looked at the fog once.
    ///
    /// # Errors
    /// When the database is damaged, of a newer version, or can't be used.
    pub async fn start(config: AllocatorConfig) -> Result<Self, StartError> {
        let store = Store::open(&config.store).await.map_err(StartError::Open)?;
        let shared = Shared::over(store, config, Clock::default(), rand::make_rng()).await?;
        let acting = tokio::spawn(Actor::new(shared.clone()).run());
        let allocator = Self { shared, acting: Arc::new(Mutex::new(Some(acting))) };
        let mut ready = allocator.shared.ready.subscribe();
        if timeout(FIRST_LOOK, ready.wait_for(|ready| *ready)).await.is_err() {
            allocator.shutdown().await;
            return Err(StartError::NotReady);
        }
        Ok(allocator)
    }

    /// Whether it has taken up from its store what it did before. Members are let in only then.
    pub fn is_ready(&self) -> bool {
        *self.shared.ready.borrow()
    }

    /// Runs a control connection to its end. It is a stranger's until it is let in.
    pub async fn accept(&self, connection: Connection, enrol: Enrol, reply: SendStream, stranger: Stranger) {
        session::run(self.shared.clone(), connection, enrol, reply, stranger).await;
    }

    /// Begins to dial federated fogs' allocators from the fog's endpoint.
    pub fn federate_from(&self, endpoint: Endpoint) {
        dialling::dial_from(&self.shared, endpoint);
    }

    /// Runs a connection of another fog's allocator to its end.
    pub async fn accept_peer(&self, connection: Connection, reply: SendStream, stranger: Stranger) {
        federation::accept(self.shared.clone(), connection, reply, stranger).await;
    }

    /// Names a fog to federate with. It counts once it names this one too.
    ///
    /// # Errors
    /// When it is this fog or none, when there are too many, or when it can't be kept.
    pub async fn federate(&self, address: PeerAddress) -> Result<(), Refusal> {
        federation::federate(&self.shared, address).await
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it is not named, or that can't be kept.
    pub async fn end_federation(&self, fog: &FogId) -> Result<(), Refusal> {
        federation::end(&self.shared, fog).await
    }

    /// The fogs that are named, sorted by id.
    pub fn federation(&self) -> Vec<PeerView> {
        self.shared.federation.views(self.shared.merged().as_deref())
    }

    /// How the fogs that witness this one's directory stand to it.
    pub fn witnesses(&self) -> WitnessView {
        let signer = self.shared.signer();
        let current = signer.current().map(|signed| (signed.directory.made, signed.directory.expires));
        self.shared.signing.view(signer.charter().clone(), current)
    }

    /// So many other fogs must sign the directory from now on, as far as there are as many; `None` is the usual number. They must agree if it
    /// is lower than before.
    ///
    /// # Errors
    /// When it can't be kept.
    pub async fn need_witnesses(&self, needed: Option<u8>) -> Result<(), Refusal> {
        let failed = |words: String| Refusal::new(RefusalKind::Failed, words);
        let bytes = encode(&needed).map_err(|error| failed(error.to_string()))?;
        self.shared.store.set_meta(NEEDED, &bytes).await.map_err(|error| failed(error.to_string()))?;
        self.shared.signing.wish(needed);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Lets a federated fog change its witnesses as it likes for an hour, also to fewer.
    ///
    /// # Errors
    /// When it is not named.
    pub fn let_change(&self, fog: FogId) -> Result<(), Refusal> {
        if !self.shared.federation.fogs().contains(&fog) {
            return Err(Refusal::new(RefusalKind::NotFound, "this fog is not federated with that one"));
        }
        self.shared.witnessing.allow(fog, self.shared.now());
        Ok(())
    }

    /// Gives all witnesses up without asking them. Whoever knows them does not believe this fog any more until it joins anew. The charter from
    /// now on.
    pub fn abandon_witnesses(&self) -> Charter {
        let charter = {
            let mut signer = self.shared.signer();
            let charter = signer.abandon(self.shared.now());
            self.shared.hub.renounce(self.shared.fog(), charter.clone());
            charter
        };
        self.shared.wake.notify_one();
        charter
    }

    /// Asks a federated fog's allocator.
    ///
    /// # Errors
    /// When it is not named, not connected, or does not answer by the deadline.
    pub async fn ask_peer(
        &self,
        fog: &FogId,
        request: &FederateRequest,
        deadline: Duration,
    ) -> Result<FederateReply, AskPeerError> {
        self.shared.federation.ask(fog, request, deadline).await
    }

    /// An invite that needs nobody's leave: for the node that coordinates the fog, and for administrators.
    ///
    /// # Errors
    /// When it can't be kept.
    pub async fn invite_bootstrap(&self, roles: Roles, valid: DurationMs, addrs: Vec<SocketAddr>) -> Result<Ticket, Refusal> {
        make_invite(&self.shared, roles, valid, addrs).await
    }

    /// Ends it. Members see it go and wait for it; nothing is lost.
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        self.shared.federation.end();
        let acting = self.acting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(acting) = acting {
            let _ = acting.await;
            if let Err(error) = self.shared.keep_book(true).await {
                tracing::warn!(%error, "how devices have behaved could not be kept");
            }
        }
        for member in self.shared.registry.snapshot(self.shared.instant()).here.into_values() {
            member.line.close("the allocator ends");
        }
        self.shared.store.close().await;
    }
}

/// An invite is taken this long at most.
const LONGEST_INVITE: DurationMs = DurationMs::from_s(366 * 24 * 3600);

/// Makes a ticket; only the hash of its secret is kept. It can be used by many until it expires.
pub(crate) async fn make_invite(
    shared: &Shared,
    roles: Roles,
    valid: DurationMs,
    addrs: Vec<SocketAddr>,
) -> Result<Ticket, Refusal> {
    if roles == Roles::default() {
        return Err(Refusal::new(RefusalKind::Invalid, "an invite needs a role: contribute, publish or administer"));
    }
    if valid.0 <= 0 || valid.0 > LONGEST_INVITE.0 {
        return Err(Refusal::new(RefusalKind::Invalid, "an invite is taken for a second at least and a year at most"));
    }
    let secret: [u8; 16] = rand::random();
    let expires = shared.now().plus(valid);
    let failed = |error: StoreError| Refusal::new(RefusalKind::Failed, error.to_string());
    shared.store.sweep_invites(shared.now()).await.map_err(failed)?;
    shared.store.add_invite(&hash(&secret), to_bits(roles), expires).await.map_err(failed)?;
    let relay = shared.config.relay.clone();
    Ok(Ticket { version: VERSION, fog: shared.fog(), addrs, relay, roles, expires, secret })
}

/// What is kept of an invite's secret.
pub(crate) fn hash(secret: &[u8; 16]) -> [u8; 32] {
    blake3::derive_key("fogbank 2026 invite secret", secret)
}
