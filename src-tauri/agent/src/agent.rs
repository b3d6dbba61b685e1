//! The agent's handle: what the node asks of it, and what it reports.

use crate::{
    actor::{Actor, Ask, held_for_others},
    bundle::Bundles,
    offer::Share,
    publish::Publish,
};
use fogbank_model::{ContainerId, DeviceId, FogId, InstanceId, InstanceState, Resources};
use fogbank_wire::{DeviceReply, DeviceRequest, Offer, Power, Refusal, Report};
use iroh::Endpoint;
use std::{fmt, path::PathBuf};
use tokio::sync::{mpsc, oneshot, watch};

/// Requests that wait for the agent: the node takes 64 from its allocator at once, and the window has a few.
const WAITING: usize = 128;

/// What an agent is made from.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// This device.
    pub device: DeviceId,
    /// The fog that it serves.
    pub fog: FogId,
    /// Where bundles are fetched from: the device's own endpoint.
    pub endpoint: Endpoint,
    /// The node's bundles.
    pub bundles: Bundles,
    /// A folder on the disk that is lent.
    pub folder: PathBuf,
    /// How much is lent.
    pub share: Share,
}

/// An instance on this device, for its owner's eyes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which.
    pub instance: InstanceId,
    /// Of what it is a copy.
    pub container: ContainerId,
    /// What it was given.
    pub given: Resources,
    /// Where it stands.
    pub state: InstanceState,
    /// Why, for people.
    pub reason: String,
}

/// A running agent. Clones share it; it ends by [`Agent::shutdown`] or when the last one is dropped.
#[derive(Clone)]
pub struct Agent {
    asks: mpsc::Sender<Ask>,
    reports: watch::Receiver<Report>,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Agent({} instances)", self.reports.borrow().instances.len())
    }
}

impl Agent {
    /// Starts an agent. After a restart it has no instances and the bundles it had; its first reports say so. Must be called inside a Tokio
    /// runtime.
    pub fn start<P: Publish>(config: AgentConfig, publish: P) -> Self {
        let (asks, taken) = mpsc::channel(WAITING);
        let looking = "looking at what this device has".to_owned();
        let none = Resources::ZERO;
        let offer = Offer { capacity: none, lent: none, open: false, why: looking };
        let bundles = held_for_others(&config.bundles);
        let first = Report { offer, power: Power::Mains, instances: Vec::new(), bundles, drain: None };
        let (report, reports) = watch::channel(first);
        tokio::spawn(Actor::new(config, publish, report).run(taken));
        Self { asks, reports }
    }

    /// Answers one request of the allocator. Requests about mixes and directories are not the agent's.
    pub async fn handle(&self, request: DeviceRequest) -> DeviceReply {
        let (reply, answer) = oneshot::channel();
        let gone = || DeviceReply::Refused(Refusal::not_served("this device lends no more"));
        if self.asks.send(Ask::Handle(Box::new(request), reply)).await.is_err() {
            return gone();
        }
        answer.await.unwrap_or_else(|_| gone())
    }

    /// What runs here, and what ended and is not yet acknowledged.
    pub async fn list(&self) -> Vec<Listed> {
        let (reply, answer) = oneshot::channel();
        if self.asks.send(Ask::List(reply)).await.is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }

    /// What is to be reported, now and as it changes.
    pub fn reports(&self) -> watch::Receiver<Report> {
        self.reports.clone()
    }

    /// Takes nothing new (what runs goes on), or takes part again.
    pub fn pause(&self, on: bool) {
        self.tell(Ask::Pause(on));
    }

    /// Asks the allocator to move everything away, and why; `None` takes part again.
    pub fn drain(&self, why: Option<String>) {
        self.tell(Ask::Drain(why));
    }

    /// Lends more or less from now on. What runs goes on.
    pub fn share(&self, share: Share) {
        self.tell(Ask::Share(share));
    }

    /// The state of the device's power, where this program can't see it by itself (phones).
    pub fn power(&self, power: Power) {
        self.tell(Ask::Power(power));
    }

    /// Ends all instances at once and then the agent. Bundles stay.
    pub async fn shutdown(&self) {
        let (done, ended) = oneshot::channel();
        if self.asks.send(Ask::Shutdown(done)).await.is_ok() {
            let _ = ended.await;
        }
    }

    fn tell(&self, ask: Ask) {
        let asks = self.asks.clone();
        // The owner's word is not lost because the allocator has much to say.
        if let Err(mpsc::error::TrySendError::Full(ask)) = asks.try_send(ask) {
            tokio::spawn(async move { asks.send(ask).await.is_ok() });
        }
    }
}
