//! The node: settings decide which parts run; requests change the settings or ask the parts.
//!
//! Invariant: [`Inner::align`] makes what runs follow from the settings alone, so a start, a change and a failed change's way back are one thing.

use crate::{
    answers,
    container_keys::ContainerKeys,
    control::{
        ControlError, ControlReply, ControlRequest, StatusDto,
        server::{Answer, ControlServer},
    },
    directory::DirectoryHub,
    door,
    fog::FogHost,
    identity::Identity,
    membership::{Handler, LinkConfig, MemberLink, Part},
    net,
    parts::{Ground, Lending, Relay, Visiting, nothing_lent},
    practice::PracticeFog,
    profile::Profile,
    publishing::Progress,
    settings::{Membership, OwnFog, Settings},
    start::{NodeOptions, ProxyPort, StartError},
};
use fogbank_agent::bundle::Bundles;
use fogbank_betanet::{client::Visitor, proxy::Proxy};
use fogbank_model::FogId;
use fogbank_wire::{DeviceReply, DeviceRequest, Purpose, Refusal, RefusalKind, RelayHint, RelaySwitch, Report, Roles};
use iroh::Endpoint;
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// A mix that stops relaying passes on for so long what is on its way: the directory without it has reached everyone by then.
const LAST_PACKETS: Duration = Duration::from_secs(2);
/// How often a mix's replay tags are looked at.
const TEND_EVERY: Duration = Duration::from_secs(5);
/// The practice fog's nodes live below this folder of the profile.
pub(crate) const PRACTICE: &str = "practice";

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
    endpoint: Endpoint,
    relay_switch: RelaySwitch,
    settings: Mutex<Settings>,
    parts: Arc<Mutex<Parts>>,
    part: watch::Sender<Part>,
    reports: watch::Sender<Report>,
    visitor: watch::Sender<Option<Visitor>>,
    /// Changes of what runs happen one after another.
    changing: AsyncMutex<Background>,
    /// Requests that change settings are answered one after another, so that none undoes another's.
    pub(crate) editing: AsyncMutex<()>,
}

#[derive(Default)]
struct Background {
    ending: Vec<JoinHandle<()>>,
    reporting: Option<JoinHandle<()>>,
    practice: Option<PracticeFog>,
}

/// A running node.
pub struct Node {
    inner: Arc<Inner>,
    _server: ControlServer,
    _proxy: Option<Proxy>,
    accepting: JoinHandle<()>,
    tending: JoinHandle<()>,
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
        let bound = net::bind_switched(identity.device.clone(), SocketAddr::new(options.listen, 0)).await;
        let (endpoint, relay_switch) = bound.map_err(StartError::Net)?;
        let hub = DirectoryHub::new();
        let inner = Arc::new(Inner {
            ground: Ground { profile: profile.clone(), identity, listen: options.listen, hub: hub.clone() },
            endpoint: endpoint.clone(),
            relay_switch,
            bundles,
            hub,
            settings: Mutex::new(settings),
            parts: Arc::default(),
            part: watch::Sender::new(Part::default()),
            reports: watch::Sender::new(nothing_lent("this device does not lend")),
            visitor,
            proxy: proxy.as_ref().map(Proxy::addr),
            progress: Progress::default(),
            changing: AsyncMutex::default(),
            editing: AsyncMutex::default(),
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
                inner.stop().await;
                return Err(error);
            }
        };
        let serving = inner.clone();
        let accepting = tokio::spawn(door::open(endpoint, move |connection, purpose, reply| {
            let inner = serving.clone();
            async move {
                match (purpose, inner.settings().membership) {
                    (Purpose::Blobs(permit), Some(membership)) => {
                        if let Err(error) = inner.bundles.serve(connection, reply, membership.fog, &permit).await {
                            tracing::debug!(%error, "a peer got no bundle");
                        }
                    }
                    _ => door::turn_away(reply, "this device gives bundles to members of its fog, and nothing else").await,
                }
            }
        }));
        let tending = tokio::spawn(tend(inner.clone()));
        Ok(Self { inner, _server: server, _proxy: proxy, accepting, tending })
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
        self.inner.stop().await;
    }
}

/// A mix whose replay tags are full is started anew with a fresh key.
async fn tend(inner: Arc<Inner>) {
    loop {
        tokio::time::sleep(TEND_EVERY).await;
        if inner.parts().relay.as_ref().is_some_and(|r| r.mixnode.worn()) {
            tracing::info!("the mix starts anew with a fresh packet key");
            let worn = inner.lock_parts().relay.take();
            if let Some(worn) = worn {
                worn.shutdown().await;
            }
            if let Err(error) = inner.align().await {
                tracing::warn!(%error, "the mix did not start anew");
            }
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

    fn lock_parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the settings, keeps them, and makes what runs follow. When something can't, all is as before.
    pub(crate) async fn change(&self, change: impl FnOnce(&mut Settings)) -> Result<(), ControlError> {
        let before = self.settings();
        let mut settings = before.clone();
        change(&mut settings);
        self.keep(settings)?;
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

    /// Starts what should run and does not, and ends what should not.
    pub(crate) async fn align(&self) -> Result<(), StartError> {
        let mut background = self.changing.lock().await;
        self.align_fog(&mut background).await?;
        let settings = self.settings();
        let granted = settings.membership.as_ref().map(|m| m.granted).unwrap_or_default();
        let roles = Roles {
            agent: settings.lend && granted.agent,
            mixnode: settings.relay && granted.mixnode,
            publisher: granted.publisher,
            admin: granted.admin,
        };
        let met_at = settings.membership.as_ref().and_then(|m| m.relay.clone());
        self.relay_switch.set(&self.endpoint, met_at.as_ref()).await;
        self.align_relay(roles.mixnode, met_at.as_ref(), &mut background).await?;
        self.align_lending(&settings, roles.agent, &mut background).await;
        let fresh = Part { roles, mix: self.parts().relay.as_ref().map(|r| r.info.clone()) };
        self.part.send_if_modified(|part| {
            let changed = *part != fresh;
            *part = fresh;
            changed
        });
        self.align_membership(&settings);
        self.align_visiting(&settings).await;
        background.ending.retain(|t| !t.is_finished());
        Ok(())
    }

    /// The fog that this node coordinates, with this node as its first member.
    async fn align_fog(&self, background: &mut Background) -> Result<(), StartError> {
        let mut settings = self.settings();
        let Some(own) = settings.fog.clone() else {
            let gone = self.lock_parts().fog.take();
            if let Some(practice) = background.practice.take() {
                practice.shutdown().await;
            }
            if let Some(fog) = gone {
                fog.shutdown().await;
            }
            return Ok(());
        };
        let running = self.parts().fog;
        let fog = match running {
            Some(fog) => fog,
            None => {
                let listen = if own.practice { Ipv4Addr::LOCALHOST.into() } else { self.options.listen };
                let fog = Arc::new(FogHost::start(&self.ground.profile, &own, listen).await.map_err(StartError::Fog)?);
                self.lock_parts().fog = Some(fog.clone());
                fog
            }
        };
        // The port is fixed at first start, so that tickets stay true.
        let fixed = OwnFog { port: fog.port(), ..own };
        if settings.fog.as_ref() != Some(&fixed) || settings.membership.is_none() {
            if settings.membership.is_none() {
                let ticket = fog.ticket(Roles::ALL).await.map_err(StartError::Fog)?;
                settings.membership = Some(Membership::of(ticket));
            }
            settings.fog = Some(fixed.clone());
            settings.save(&self.ground.profile).map_err(StartError::Settings)?;
            *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = settings;
        }
        if fixed.practice && background.practice.is_none() {
            let contribute = Roles { agent: true, mixnode: true, ..Roles::default() };
            let ticket = fog.ticket(contribute).await.map_err(StartError::Fog)?;
            background.practice = Some(PracticeFog::start(self.ground.profile.path(PRACTICE), ticket));
        }
        Ok(())
    }

    async fn align_relay(&self, relays: bool, met_at: Option<&RelayHint>, background: &mut Background) -> Result<(), StartError> {
        let stays = |r: &Arc<Relay>| relays && r.met_at.as_ref() == met_at;
        if self.parts().relay.as_ref().is_some_and(stays) {
            return Ok(());
        }
        let gone = self.lock_parts().relay.take();
        if relays {
            // One mix key is not at two relays, so the old mix ends first.
            if let Some(relay) = gone {
                relay.shutdown().await;
            }
            let relay = Relay::start(&self.ground, met_at).await?;
            self.lock_parts().relay = Some(Arc::new(relay));
        } else if let Some(relay) = gone {
            background.ending.push(tokio::spawn(async move {
                tokio::time::sleep(LAST_PACKETS).await;
                relay.shutdown().await;
            }));
        }
        Ok(())
    }

    async fn align_lending(&self, settings: &Settings, lends: bool, background: &mut Background) {
        let running = self.parts().lending;
        let fog = settings.membership.as_ref().map(|m| m.fog).filter(|_| lends);
        match (fog, running) {
            (Some(fog), None) => {
                let lending =
                    Lending::start(&self.ground, fog, self.endpoint.clone(), self.bundles.clone(), self.options.share).await;
                wish(&lending, settings);
                let (mut from, to) = (lending.agent.reports(), self.reports.clone());
                background.reporting = Some(tokio::spawn(async move {
                    loop {
                        to.send_replace(from.borrow_and_update().clone());
                        if from.changed().await.is_err() {
                            return;
                        }
                    }
                }));
                self.lock_parts().lending = Some(Arc::new(lending));
            }
            (Some(_), Some(lending)) => wish(&lending, settings),
            (None, Some(lending)) => {
                self.lock_parts().lending = None;
                if let Some(reporting) = background.reporting.take() {
                    reporting.abort();
                }
                lending.shutdown().await;
                self.reports.send_replace(nothing_lent("its owner stopped lending"));
            }
            (None, None) => {}
        }
    }

    fn align_membership(&self, settings: &Settings) {
        let mut parts = self.lock_parts();
        match &settings.membership {
            Some(membership) => {
                if parts.member.as_ref().is_none_or(|m| !m.is_to(membership)) {
                    if parts.member.take().is_some_and(|m| m.fog() != membership.fog) {
                        self.hub.clear();
                    }
                    parts.member = Some(Arc::new(self.member_link(membership.clone(), settings.name.clone())));
                }
            }
            None => {
                parts.member = None;
                self.hub.clear();
            }
        }
    }

    async fn align_visiting(&self, settings: &Settings) {
        let wanted = match (&settings.membership, &settings.visits) {
            _ if self.proxy.is_none() => None,
            (Some(membership), _) => Some((membership.fog, None)),
            (None, Some(visited)) => Some((visited.fog, Some(visited.clone()))),
            (None, None) => None,
        };
        if self.parts().visiting.as_ref().map(|v| v.way()) == wanted {
            return;
        }
        self.visitor.send_replace(None);
        let gone = self.lock_parts().visiting.take();
        if let Some(gone) = gone {
            gone.shutdown().await;
        }
        if let Some((fog, bootstrap)) = wanted {
            let visiting = Visiting::start(&self.ground, fog, bootstrap);
            self.visitor.send_replace(Some(visiting.visitor.clone()));
            self.lock_parts().visiting = Some(Arc::new(visiting));
        }
    }

    fn member_link(&self, membership: Membership, name: String) -> MemberLink {
        MemberLink::start(LinkConfig {
            identity: self.ground.identity.clone(),
            name,
            endpoint: self.endpoint.clone(),
            part: self.part.subscribe(),
            reports: self.reports.subscribe(),
            handler: self.handler(membership.fog),
            clock: self.bundles.clock(),
            membership,
        })
    }

    /// What answers the allocator's requests.
    fn handler(&self, fog: FogId) -> Handler {
        let hub = self.hub.clone();
        // Weak, because the parts hold the link that holds this.
        let parts = Arc::downgrade(&self.parts);
        Arc::new(move |request| {
            let hub = hub.clone();
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
                    DeviceRequest::Directory(bytes) => done(hub.learn(&fog, bytes).map_err(|e| e.to_string())),
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

    async fn stop(&self) {
        let mut background = self.changing.lock().await;
        let parts = std::mem::take(&mut *self.lock_parts());
        self.visitor.send_replace(None);
        if let Some(practice) = background.practice.take() {
            practice.shutdown().await;
        }
        if let Some(lending) = parts.lending {
            lending.shutdown().await;
        }
        if let Some(visiting) = parts.visiting {
            visiting.shutdown().await;
        }
        drop(parts.member);
        if let Some(relay) = parts.relay {
            relay.shutdown().await;
        }
        if let Some(fog) = parts.fog {
            fog.shutdown().await;
        }
        let Background { ending, reporting, .. } = std::mem::take(&mut *background);
        for task in ending.into_iter().chain(reporting) {
            task.abort();
        }
        self.endpoint.close().await;
        self.bundles.shutdown().await;
    }
}

/// Tells the agent what its owner wants.
fn wish(lending: &Lending, settings: &Settings) {
    lending.agent.pause(settings.paused);
    lending.agent.drain(settings.draining.then(|| "its owner asked to move everything away".to_owned()));
}
