//! The mix: incoming → unwrap → schedule → outgoing, and what a mix does for those whose packets end at it.
//!
//! Invariants: nothing is remembered of a packet before its header is authentic; a tag is remembered before anything is done; a full queue
//! drops and counts; next hops are named by id in the signed directory, never by address.
//! Deliberately absent: what follows from what it measures of others (the allocator's median of many).

mod counters;
mod cover;
mod descriptors;
mod gate;
mod held;
mod introductions;
mod keys;
mod limits;
pub(crate) mod mailboxes;
mod peers;
mod pipeline;
pub(crate) mod probes;
mod replay;
mod revoked;
mod services;
mod serving;
mod shaped;
mod spreading;

pub use crate::directory::KnownDirectory;
pub use counters::MixCounters;
pub use limits::Rate;

use crate::{clock::FogClock, directory::DirectoryHub};
use fogbank_model::MixId;
use fogbank_wire::{MixLife, PacketKeys, Purpose, Refusal, RefusalKind, Strangers, goodbye, welcome};
use iroh::Endpoint;
use peers::MAX_STRANGERS;
use pipeline::Pipeline;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinSet};

/// How a mix begins.
#[derive(Debug, Clone)]
pub struct MixConfig {
    /// The directory, in which next hops are looked up.
    pub directory: DirectoryHub,
    /// By which key epochs turn.
    pub clock: FogClock,
    /// What the owner lets it take.
    pub rate: Rate,
    /// Time between its cover loops, on average: [`crate::schedule::MIX_LOOP_MEAN`]; shorter in tests that can't wait.
    pub loop_mean: Duration,
}

/// A running mix.
pub struct Mixnode {
    pipeline: Arc<Pipeline>,
    life: MixLife,
    endpoint: Endpoint,
    running: Mutex<JoinSet<()>>,
}

impl Mixnode {
    /// Starts a mix at an endpoint bound by [`crate::link::bind`], with packet keys of its own life.
    pub fn start(endpoint: Endpoint, config: MixConfig) -> Self {
        let loop_mean = config.loop_mean;
        let pipeline = Pipeline::start(endpoint.clone(), config);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(endpoint.clone(), pipeline.clone()));
        tasks.spawn(Pipeline::tend(pipeline.clone()));
        tasks.spawn(Pipeline::spread(pipeline.clone()));
        tasks.spawn(cover::send_loops(pipeline.clone(), loop_mean));
        Self { pipeline, life: rand::random(), endpoint, running: Mutex::new(tasks) }
    }

    /// Its id.
    pub fn id(&self) -> MixId {
        self.pipeline.id
    }

    /// Its mix key.
    pub fn key(&self) -> [u8; 32] {
        *self.endpoint.id().as_bytes()
    }

    /// Its life, another one at each start.
    pub fn life(&self) -> MixLife {
        self.life
    }

    /// Its public packet keys of the present epoch and those to come, now and as epochs turn.
    pub fn packet_keys(&self) -> watch::Receiver<PacketKeys> {
        self.pipeline.published.subscribe()
    }

    /// How many clients, visiting or hosting, are connected now.
    pub fn clients(&self) -> u32 {
        self.pipeline.clients()
    }

    /// What it has done.
    pub fn counters(&self) -> MixCounters {
        self.pipeline.counters.read()
    }

    /// What it measured of others: the share of its cover loops through each that came back, per mille, relative to the best quarter.
    pub fn probe_shares(&self) -> Vec<(MixId, u16)> {
        self.pipeline.services.probe_shares(Instant::now())
    }

    /// The owner changed what it may take.
    pub fn set_rate(&self, rate: Rate) {
        self.pipeline.set_rate(rate);
    }

    /// Keeps a descriptor for those who ask.
    ///
    /// # Errors
    /// When it is not signed as a descriptor is.
    pub fn put_descriptor(&self, bytes: Vec<u8>) -> Result<(), crate::proof::ProofError> {
        self.pipeline.services.put_descriptor(bytes)
    }

    /// Voids leases at this introduction point.
    ///
    /// # Errors
    /// When it is not signed as a revocation is.
    pub fn revoke(&self, bytes: &[u8]) -> Result<(), crate::proof::ProofError> {
        self.pipeline.services.revoke(bytes, &self.pipeline.counters)
    }

    /// Ends it and its endpoint.
    pub async fn shutdown(&self) {
        let mut tasks = std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
        self.pipeline.stop();
        goodbye(&self.endpoint).await;
    }
}

async fn accept(endpoint: Endpoint, pipeline: Arc<Pipeline>) {
    let strangers = Strangers::new(MAX_STRANGERS);
    let mut peers = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        while peers.try_join_next().is_some() {}
        let Some((incoming, stranger)) = strangers.knock(&endpoint, incoming) else { continue };
        let (from, pipeline) = (stranger.group(), pipeline.clone());
        peers.spawn(async move {
            let Some(connection) = stranger.connection(incoming).await else { return };
            let Some((purpose, reply)) = stranger.hello(&connection).await else { return };
            let refusal = match purpose {
                Purpose::Mix => match serving::Seat::take(&connection, from, &pipeline) {
                    // It has a place among the peers now.
                    Some(seat) => {
                        stranger.let_in();
                        if welcome(reply, None).await {
                            serving::serve(connection, seat).await;
                        }
                        return;
                    }
                    None => Refusal::new(RefusalKind::Busy, "this mix has no room for more connections from there"),
                },
                _ => Refusal::not_served("this is a mix: it relays packets and nothing else"),
            };
            stranger.turn_away(reply, refusal).await;
        });
    }
}
