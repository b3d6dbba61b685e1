//! The node: settings decide which parts run; requests change the settings or ask the parts.
//!
//! Invariant: [`Inner::align`] makes what runs follow from the settings alone, so a start, a change and a failed change's way back are one thing.

use crate::{
    aligning::Background,
    answers,
    container_keys::ContainerKeys,
    control::{
        ControlError, ControlReply, ControlRequest, StatusDto,
        server::{Answer, ControlServer},
    },
    directory, door,
    ending::within,
    fog::FogHost,
    identity::Identity,
    membership::{Handler, LinkConfig, MemberLink, Part, Probes},
    net,
    parts::{Ground, Lending, Relay, Visiting, nothing_lent},
    practice::PracticeFog,
    profile::Profile,
    publishing::{self, Progress},
    relaying::Month,
    renewing,
    settings::{Membership, Settings},
    start::{NodeOptions, ProxyPort, StartError},
};
use fogbank_agent::bundle::Bundles;
use fogbank_betanet::{client::Visitor, directory::DirectoryHub};
use fogbank_model::FogId;
use fogbank_proxy::Proxy;
use fogbank_wire::{DeviceReply, DeviceRequest, Purpose, Refusal, RefusalKind, RelaySwitch, Report, Strangers, goodbye};
use futures_util::future::OptionFuture;
use iroh::Endpoint;
use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// How often it is looked whether the mix has new packet keys, and what it has relayed.
const TEND_EVERY: Duration = Duration::from_secs(5);
/// Parts as they run now; cheap to clone, so that no request holds a lock while it waits.
#[derive(Clone, Default)]
pub(crate) struct Parts {
    pub(crate) fog: Option<Arc<FogHost>>,
    pub(crate) member: Option<Arc<MemberLink>>,
    pub(crate) relay: Option<Arc<Relay>>,
    pub(crate) lending: Option<Arc<Lending>>,
    pub(crate) visiting: Option<Arc<Visiting>>,
}

/// What all requests share.
pub(crate) struct Inner {
    pub(crate) ground: Ground,
    pub(crate) options: NodeOptions,
    pub(crate) bundles: Bundles,
    pub(crate) hub: DirectoryHub,
    pub(crate) proxy: Option<SocketAddr>,
    pub(crate) progress: Progress,
    pub(crate) ended: CancellationToken,
    pub(crate) endpoint: Endpoint,
    pub(crate) relay_switch: RelaySwitch,
    pub(crate) settings: Mutex<Settings>,
    pub(crate) parts: Arc<Mutex<Parts>>,
    pub(crate) part: watch::Sender<Part>,
    pub(crate) reports: watch::Sender<Report>,
    pub(crate) visitor: watch::Sender<Option<Visitor>>,
    pub(crate) relayed: Mutex<Month>,
    /// Changes of what runs happen one after another.
    pub(crate) changing: AsyncMutex<Background>,
    /// Requests that change settings are answered one after another, so that none undoes another's.
    pub(crate) editing: AsyncMutex<()>,
    /// The access keys of private addresses change one after another, and the visiting side takes them in that order.
    pub(crate) keys: Mutex<()>,
}

/// A running node.
pub struct Node {
    inner: Arc<Inner>,
    _server: ControlServer,
    _proxy: Option<Proxy>,
    accepting: JoinHandle<()>,
    tending: JoinHandle<()>,
    keeping: JoinHandle<()>,
}

impl Node {
    /// Starts the node of a profile.
    ///
    /// # Errors
    /// When its keys, settings, database or ports can't be used; nothing is changed then.
    pub async fn start(profile: Profile, options: NodeOptions) -> Result<Self, StartError> {
        let profile = Arc::new(profile);
        let identity = Identity::load(&profile).map_err(StartError::Identity)?;
        let settings = Settings::load(&profile).map_err(StartError::Settings)?;
        let visitor = watch::Sender::new(None);
        let proxy = match options.proxy {
            ProxyPort::Off => None,
            ProxyPort::Port(port) => {
                let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                Some(Proxy::bind(addr, visitor.subscribe()).await.map_err(StartError::Proxy)?)
            }
        };
        let bundles = Bundles::open(&profile.path("bundles")).await.map_err(StartError::Bundles)?;
        publishing::tidy(&profile, &bundles).await;
        let bound = net::bind_switched(identity.device.clone(), SocketAddr::new(options.listen, 0)).await;
        let (endpoint, relay_switch) = bound.map_err(StartError::Net)?;
        let hub = DirectoryHub::new();
        let clock = bundles.clock();
        if let Some(fog) = settings.membership.as_ref().map(|m| m.fog).or(settings.visits.as_ref().map(|v| v.fog)) {
            directory::load(&profile, &hub, &fog, clock.now());
        }
        let keeping = directory::keep(profile.clone(), &hub);
        let inner = Arc::new(Inner {
            ground: Ground { profile: profile.clone(), identity, listen: options.listen, hub: hub.clone(), clock },
            endpoint: endpoint.clone(),
            relay_switch,
            bundles,
            hub,
            settings: Mutex::new(settings),
            parts: Arc::default(),
            part: watch::Sender::new(Part::default()),
            reports: watch::Sender::new(nothing_lent("this device does not lend")),
            visitor,
            relayed: Mutex::new(Month::load(&profile)),
            proxy: proxy.as_ref().map(Proxy::addr),
            progress: Progress::default(),
            changing: AsyncMutex::default(),
            editing: AsyncMutex::default(),
            keys: Mutex::default(),
            ended: CancellationToken::new(),
            options,
        });
        let answering = inner.clone();
        let answer: Answer = Arc::new(move |request| {
            let inner = answering.clone();
            Box::pin(async move { inner.call(request).await })
        });
        let aligned = inner.align().await;
        let opened = aligned.and_then(|()| ControlServer::open(profile.root(), answer).map_err(StartError::Control));
        let server = match opened {
            Ok(server) => server,
            Err(error) => {
                keeping.abort();
                inner.stop().await;
                return Err(error);
            }
        };
        let serving = inner.clone();
        let strangers = Arc::new(Strangers::new(door::MAX_STRANGERS));
        let accepting = tokio::spawn(door::open(endpoint, strangers, move |(connection, purpose, reply, stranger)| {
            let inner = serving.clone();
            async move {
                match (purpose, inner.settings().membership) {
                    (Purpose::Blobs(permit), Some(membership)) => {
                        if let Err(error) = inner.bundles.serve(connection, reply, membership.fog, &permit, stranger).await {
                            tracing::debug!(%error, "a peer got no bundle");
                        }
                    }
                    _ => {
                        let words = "this device gives bundles to members of its fog, and nothing else";
                        stranger.turn_away(reply, Refusal::not_served(words)).await;
                    }
                }
            }
        }));
        let (tended, renewed) = (inner.clone(), inner.clone());
        let tending = tokio::spawn(async move {
            tokio::select! { () = tend(tended) => {}, () = renewing::keep(renewed) => {} }
        });
        Ok(Self { inner, _server: server, _proxy: proxy, accepting, tending, keeping })
    }

    /// Answers a request.
    pub async fn call(&self, request: ControlRequest) -> ControlReply {
        self.inner.call(request).await
    }

    /// How it is.
    pub async fn status(&self) -> StatusDto {
        self.inner.status().await
    }

    /// Waits until somebody asked it to end.
    pub async fn ended(&self) {
        self.inner.ended.cancelled().await;
    }

    /// Ends it and everything that it runs. The profile's lock and the control socket go with the value.
    pub async fn shutdown(&self) {
        self.accepting.abort();
        self.tending.abort();
        self.keeping.abort();
        self.inner.stop().await;
    }
}

/// Keeps account of what was relayed, and tells the fog of new packet keys.
async fn tend(inner: Arc<Inner>) {
    loop {
        tokio::time::sleep(TEND_EVERY).await;
        inner.count_relayed();
        // Starts, ends and tells what the month's account and the epoch ask for; usually nothing.
        if let Err(error) = inner.align().await {
            tracing::warn!(%error, "what runs does not follow the settings");
        }
    }
}

impl Inner {
    pub(crate) fn settings(&self) -> Settings {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn parts(&self) -> Parts {
        self.lock_parts().clone()
    }

    /// What this device reports, lending or not.
    pub(crate) fn report(&self) -> Report {
        self.reports.borrow().clone()
    }

    pub(crate) fn lock_parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_keys(&self) -> MutexGuard<'_, ()> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the settings, keeps them, and makes what runs follow. When something can't, all is as before.
    pub(crate) async fn change(&self, change: impl FnOnce(&mut Settings)) -> Result<(), ControlError> {
        self.change_and(change, async {}).await
    }

    /// As [`Self::change`]; does something once they are kept, before anything follows.
    pub(crate) async fn change_and(
        &self,
        change: impl FnOnce(&mut Settings),
        first: impl Future<Output = ()>,
    ) -> Result<(), ControlError> {
        let before = self.settings();
        let mut settings = before.clone();
        change(&mut settings);
        self.keep(settings)?;
        first.await;
        if let Err(error) = self.align().await {
            self.keep(before)?;
            if let Err(error) = self.align().await {
                tracing::error!(%error, "what ran before could not be taken up again");
            }
            return Err(answers::failed(error.to_string(), ""));
        }
        Ok(())
    }

    fn keep(&self, settings: Settings) -> Result<(), ControlError> {
        let kept = settings.save(&self.ground.profile);
        kept.map_err(|e| answers::failed(e.to_string(), "Free some disk space and try again."))?;
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = settings;
        Ok(())
    }

    pub(crate) fn member_link(&self, membership: Membership, name: String) -> MemberLink {
        MemberLink::start(LinkConfig {
            identity: self.ground.identity.clone(),
            name,
            endpoint: self.endpoint.clone(),
            part: self.part.subscribe(),
            reports: self.reports.subscribe(),
            handler: self.handler(membership.fog),
            clock: self.bundles.clock(),
            probes: self.probes(),
            membership,
        })
    }

    /// What the mix measured of others, and how many clients it has, while there is one.
    fn probes(&self) -> Probes {
        let parts = Arc::downgrade(&self.parts);
        Arc::new(move || {
            let relay = parts.upgrade().and_then(|p| p.lock().unwrap_or_else(PoisonError::into_inner).relay.clone());
            relay.map(|relay| (relay.mixnode.probe_shares(), relay.mixnode.clients())).unwrap_or_default()
        })
    }

    /// What answers the allocator's requests.
    fn handler(&self, fog: FogId) -> Handler {
        let (hub, clock) = (self.hub.clone(), self.ground.clock.clone());
        // Weak, because the parts hold the link that holds this.
        let parts = Arc::downgrade(&self.parts);
        Arc::new(move |request| {
            let (hub, clock) = (hub.clone(), clock.clone());
            let parts = parts.upgrade().map(|p| p.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap_or_default();
            Box::pin(async move {
                let refuse = |kind, words: String| DeviceReply::Refused(Refusal::new(kind, words));
                let no_mix = || refuse(RefusalKind::NotServed, "this device does not relay".to_owned());
                let done = |result: Result<(), String>| match result {
                    Ok(()) => DeviceReply::Done,
                    Err(words) => refuse(RefusalKind::Invalid, words),
                };
                match request {
                    DeviceRequest::Ping => DeviceReply::Done,
                    DeviceRequest::Directory(bytes) => {
                        done(hub.learn(&fog, bytes, clock.now()).map(drop).map_err(|e| e.to_string()))
                    }
                    DeviceRequest::PutDescriptor(bytes) => match parts.relay {
                        Some(relay) => done(relay.mixnode.put_descriptor(bytes).map_err(|e| e.to_string())),
                        None => no_mix(),
                    },
                    DeviceRequest::Revoke(bytes) => match parts.relay {
                        Some(relay) => done(relay.mixnode.revoke(&bytes).map_err(|e| e.to_string())),
                        None => no_mix(),
                    },
                    other => match parts.lending {
                        Some(lending) => lending.agent.handle(other).await,
                        None => refuse(RefusalKind::NotServed, "this device does not lend".to_owned()),
                    },
                }
            })
        })
    }

    /// The keys of what this node published in a fog.
    pub(crate) fn keys(&self, fog: FogId) -> ContainerKeys {
        ContainerKeys::of(&self.ground.profile, fog)
    }

    /// Ends all that runs: first what visits, lends and relays, side by side, then the fog that these leave, then what all of them used.
    async fn stop(&self) {
        let mut changing = within("a change under way", self.changing.lock()).await;
        let Background { ending, reporting, practice } = changing.as_deref_mut().map(std::mem::take).unwrap_or_default();
        for task in ending.into_iter().chain(reporting) {
            task.abort();
        }
        self.visitor.send_replace(None);
        let Parts { fog, member, relay, lending, visiting } = std::mem::take(&mut *self.lock_parts());
        tokio::join!(
            within("the practice fog", OptionFuture::from(practice.map(PracticeFog::shutdown))),
            within("lending", OptionFuture::from(lending.as_deref().map(Lending::shutdown))),
            within("visiting", OptionFuture::from(visiting.as_deref().map(Visiting::shutdown))),
            within("the relay", OptionFuture::from(relay.as_deref().map(Relay::shutdown))),
        );
        drop(member);
        within("the fog", OptionFuture::from(fog.as_deref().map(FogHost::shutdown))).await;
        tokio::join!(goodbye(&self.endpoint), within("the store of bundles", self.bundles.shutdown()));
    }
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
