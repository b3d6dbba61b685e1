//! What a node runs beside its membership, each exactly while its role is on: a mix, an agent with its hosting side, a visiting side.

use crate::{
    guards::{self, Use},
    identity::Identity,
    mix_port,
    profile::Profile,
    settings::VisitedFog,
    start::StartError,
    visited_keys,
};
use fogbank_agent::{Agent, AgentConfig, Share, bundle::Bundles};
use fogbank_betanet::{
    client::Visitor,
    clock::FogClock,
    direct::Entrance,
    directory::DirectoryHub,
    link,
    mixnode::{MixConfig, Mixnode, Rate},
    schedule::MIX_LOOP_MEAN,
    service::Host,
    uplink::{CoverBudget, NoBudget, Uplink, UplinkConfig},
};
use fogbank_model::{FogId, MixId, Resources};
use fogbank_wire::{FrameError, MixInfo, Offer, Power, RelayHint, Report};
use iroh::{Endpoint, SecretKey};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use tokio::task::JoinHandle;

/// What parts are started from.
pub(crate) struct Ground {
    pub(crate) profile: Arc<Profile>,
    pub(crate) identity: Identity,
    pub(crate) listen: IpAddr,
    pub(crate) hub: DirectoryHub,
    /// The allocator's clock.
    pub(crate) clock: FogClock,
}

impl Ground {
    /// The own mix's id, whether it runs or not: it is never on an own path.
    pub(crate) fn own_mix(&self) -> MixId {
        fogbank_betanet::directory::mix_id(self.identity.mix.public().as_bytes())
    }

    fn uplink(
        &self,
        fog: FogId,
        kind: Use,
        bootstrap: Option<&VisitedFog>,
        cover_budget: Option<Result<CoverBudget, NoBudget>>,
    ) -> (Uplink, JoinHandle<()>) {
        let uplink = Uplink::start(UplinkConfig {
            bind: self.listen,
            exclude: vec![self.own_mix()],
            fog,
            directory: self.hub.clone(),
            bootstrap: bootstrap.map(|b| b.mixes.clone()).unwrap_or_default(),
            guards: guards::load(&self.profile, kind),
            clock: self.clock.clone(),
            cover_budget,
        });
        let keeping = guards::keep(self.profile.clone(), kind, uplink.guards());
        (uplink, keeping)
    }
}

/// A mix that relays.
pub(crate) struct Relay {
    pub(crate) mixnode: Mixnode,
    addrs: Vec<SocketAddr>,
    /// The relay that its endpoint uses, listed or not.
    pub(crate) met_at: Option<RelayHint>,
}

impl Relay {
    /// A mix with a public address uses the fog's relay to reach those without; it is listed as met there only if its own is hidden.
    pub(crate) async fn start(ground: &Ground, rate: Rate, relay: Option<&RelayHint>) -> Result<Self, StartError> {
        let endpoint = mix_port::bind(&ground.profile, &ground.identity.mix, ground.listen, relay).await?;
        let addrs = crate::net::reachable(&endpoint);
        let (directory, clock) = (ground.hub.clone(), ground.clock.clone());
        let config = MixConfig { directory, clock, rate, loop_mean: MIX_LOOP_MEAN };
        Ok(Self { mixnode: Mixnode::start(endpoint, config), addrs, met_at: relay.cloned() })
    }

    /// As it asks to be listed, with its packet keys as they are now.
    pub(crate) fn info(&self, identity: &Identity) -> Result<MixInfo, FrameError> {
        let keys = self.mixnode.packet_keys().borrow().clone();
        let mut info = MixInfo::new(&identity.mix, identity.device_id(), self.mixnode.life(), keys, self.addrs.clone())?;
        info.relay = self.met_at.clone().filter(|_| crate::net::hidden(&self.addrs));
        Ok(info)
    }

    pub(crate) async fn shutdown(&self) {
        self.mixnode.shutdown().await;
    }
}

/// An agent and the uplink by which its instances are reached.
pub(crate) struct Lending {
    pub(crate) agent: Agent,
    pub(crate) uplink: Uplink,
    pub(crate) host: Host,
    keeping: JoinHandle<()>,
}

impl Lending {
    pub(crate) async fn start(ground: &Ground, fog: FogId, endpoint: Endpoint, bundles: Bundles, share: Share) -> Self {
        // What is lent has no limit of the month yet, so only the rate is held against it.
        let budget = CoverBudget::declare(Some(share.bandwidth_kbps.saturating_mul(1_000) / 8), None, 0);
        let (uplink, keeping) = ground.uplink(fog, Use::Hosting, None, Some(budget));
        let folder = ground.profile.root().to_owned();
        let config = AgentConfig { device: ground.identity.device_id(), fog, endpoint, bundles, folder, share };
        let host = Host::start(uplink.clone());
        let agent = Agent::start(config, host.clone());
        Self { agent, uplink, host, keeping }
    }

    /// Lets visitors come directly, or no longer: see betanet's `direct`.
    pub(crate) async fn let_come(&self, ground: &Ground, on: bool) -> Result<(), StartError> {
        match (on, self.host.entrance()) {
            (true, None) => {
                // A key of its own: nothing ties the entrance to this device's other keys.
                let bound = link::bind(SecretKey::generate(), SocketAddr::new(ground.listen, 0), None).await;
                let endpoint = bound.map_err(StartError::Entrance)?;
                let addrs = crate::net::reachable(&endpoint);
                self.host.set_entrance(Some(Entrance::open(endpoint, addrs)));
            }
            (false, Some(entrance)) => {
                self.host.set_entrance(None);
                entrance.close().await;
            }
            (true, Some(_)) | (false, None) => {}
        }
        Ok(())
    }

    pub(crate) async fn shutdown(&self) {
        let entrance = self.host.set_entrance(None);
        self.agent.shutdown().await;
        tokio::join!(self.uplink.shutdown(), async {
            if let Some(entrance) = entrance {
                entrance.close().await;
            }
        });
        self.keeping.abort();
    }
}

/// The visiting side.
pub(crate) struct Visiting {
    pub(crate) visitor: Visitor,
    pub(crate) uplink: Uplink,
    fog: FogId,
    bootstrap: Option<VisitedFog>,
    keeping: JoinHandle<()>,
}

impl Visiting {
    /// `bootstrap` is the way of those who are no members.
    pub(crate) fn start(ground: &Ground, fog: FogId, bootstrap: Option<VisitedFog>) -> Self {
        let (uplink, keeping) = ground.uplink(fog, Use::Visiting, bootstrap.as_ref(), None);
        let visitor = Visitor::start(uplink.clone());
        visitor.unlock(visited_keys::load(&ground.profile));
        Self { visitor, uplink, fog, bootstrap, keeping }
    }

    /// Which fog, and the way of those who are no members.
    pub(crate) fn way(&self) -> (FogId, Option<VisitedFog>) {
        (self.fog, self.bootstrap.clone())
    }

    pub(crate) async fn shutdown(&self) {
        self.uplink.shutdown().await;
        self.keeping.abort();
    }
}

/// What a device reports that lends nothing, and why.
pub(crate) fn nothing_lent(why: &str) -> Report {
    let offer = Offer { capacity: Resources::ZERO, lent: Resources::ZERO, open: false, why: why.to_owned() };
    Report { offer, power: Power::Mains, instances: Vec::new(), bundles: Vec::new(), drain: None }
}
