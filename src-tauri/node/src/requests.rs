//! What the window and the command line ask, answered.

use crate::{
    answers::{self, Published},
    control::{
        Amounts, ControlError, ControlReply, ControlRequest, FogDto, InstanceDto, LendDto, NetworkDto, PeerDto, RelayDto,
        RelayStateDto, StatusDto,
    },
    membership::Standing,
    node::{Inner, Parts},
    privacy,
    publishing::{self, Wish},
    relaying::{self, RelayLimits},
    settings::Settings,
    updating, visits,
};
use fogbank_betanet::{
    address::{FogLink, Via},
    directory::{Directory, MixEntry, NotPrivate, Usable},
    uplink::{GuardView, Uplink, UplinkStatus},
};
use fogbank_model::{BundleId, Container, ContainerId, ContainerName, ContainerSpec, DeviceId, DurationMs, Image, Level, MixId};
use fogbank_wire::{ContainerSummary, NodeReply, NodeRequest, Removal, Ticket};
use std::collections::BTreeMap;

impl Inner {
    /// Answers one request.
    pub(crate) async fn call(&self, request: ControlRequest) -> ControlReply {
        self.answer(request).await.unwrap_or_else(ControlReply::Failed)
    }

    async fn answer(&self, request: ControlRequest) -> Result<ControlReply, ControlError> {
        use ControlRequest as Ask;
        let done = |()| ControlReply::Done;
        let edits = matches!(
            request,
            Ask::StartFog { .. }
                | Ask::Practice
                | Ask::Join { .. }
                | Ask::Leave
                | Ask::Visit { .. }
                | Ask::Lend { .. }
                | Ask::Relay { .. }
                | Ask::RelayLimits { .. }
                | Ask::Pause { .. }
                | Ask::Drain { .. }
                | Ask::Federate { .. }
                | Ask::EndFederation { .. }
                | Ask::NeedWitnesses { .. }
                | Ask::AbandonWitnesses
        );
        let editing = if edits { Some(self.editing.lock().await) } else { None };
        match request {
            Ask::Status => Ok(ControlReply::Status(Box::new(self.status().await))),
            Ask::StartFog { name, test, relay } => self.start_fog(&name, test, false, relay.as_deref()).await.map(done),
            Ask::Practice => {
                self.start_fog("Practice fog", true, true, None).await?;
                // It may be left while it is waited for.
                drop(editing);
                self.practice_ready().await.map(done)
            }
            Ask::Join { ticket } => {
                let todo = "Copy the whole ticket, or ask for a new one.";
                let ticket: Ticket = ticket.parse().map_err(|e| answers::invalid(format!("{e}"), todo))?;
                self.join(ticket).await.map(done)
            }
            Ask::Leave => self.leave().await.map(done),
            Ask::Visit { link } => {
                let link: FogLink = link.parse().map_err(|e| answers::invalid(format!("{e}"), "Copy the whole link."))?;
                self.visit(link).await.map(done)
            }
            Ask::Lend { on, direct } => {
                self.contributor(on)?;
                self.change(|s| (s.lend, s.lend_direct) = (on, on && direct)).await.map(done)
            }
            Ask::Relay { on } => {
                self.contributor(on)?;
                self.change(|s| s.relay = on).await.map(done)
            }
            Ask::RelayLimits { rate_kb_s, month_gb } => {
                let limits = RelayLimits { rate_kb_s, month_gb };
                self.change(|s| s.relay_limits = limits).await.map(done)
            }
            Ask::Pause { on } => self.change(|s| s.paused = on).await.map(done),
            Ask::Drain { on } => {
                if on && self.parts().lending.is_none() {
                    return Err(answers::invalid("this device does not lend, so there is nothing to move away", ""));
                }
                self.change(|s| s.draining = on).await.map(done)
            }
            Ask::Invite { roles, valid_s } => {
                let request = NodeRequest::Invite { roles: answers::roles(&roles), valid: DurationMs::from_s(valid_s.into()) };
                match self.ask(&request).await? {
                    NodeReply::Ticket(mut ticket) => {
                        // The allocator does not know under which addresses its members reach it; this node does.
                        ticket.addrs = self.settings().membership.map(|m| m.addrs).unwrap_or_default();
                        Ok(ControlReply::Ticket(ticket.to_string()))
                    }
                    other => Err(unexpected(&other)),
                }
            }
            Ask::Folder { path } => publishing::folder(&path).await.map(ControlReply::Folder),
            Ask::Fit { requirements, instances, availability, bytes } => {
                let spec = asked_about(&requirements, instances, availability, bytes)?;
                match self.ask(&NodeRequest::Ask(Box::new(spec))).await? {
                    NodeReply::Capacity(room) => Ok(ControlReply::Fit(answers::fit(&room))),
                    other => Err(unexpected(&other)),
                }
            }
            Ask::Rehearse { requirements, instances, bytes } => {
                let spec = asked_about(&requirements, instances, None, bytes)?;
                match self.ask(&NodeRequest::Rehearse(Box::new(spec))).await? {
                    NodeReply::Rehearsed(rehearsed) => Ok(ControlReply::Rehearsed(Box::new(answers::rehearsed(&rehearsed)))),
                    other => Err(unexpected(&other)),
                }
            }
            Ask::Publish { folder, name, requirements, instances, availability, most, level, private, direct } => {
                let wish = Wish { folder, name, requirements, instances, availability, most, level, private, direct };
                publishing::publish(self, wish).await
            }
            Ask::Progress => Ok(ControlReply::Progress(self.progress.now())),
            Ask::Containers => match self.ask(&NodeRequest::Containers).await? {
                NodeReply::Containers(list) => {
                    let line = |c: ContainerSummary| {
                        let published = self.published(c.id);
                        answers::container(c, published.as_ref())
                    };
                    Ok(ControlReply::Containers(list.into_iter().map(line).collect()))
                }
                other => Err(unexpected(&other)),
            },
            Ask::Container { id } => match self.ask(&NodeRequest::Container(container_id(&id)?)).await? {
                NodeReply::Container(detail) => {
                    let published = self.published(detail.container.id);
                    let link = self.link(&detail.container, published.as_ref());
                    let back = updating::can_go_back(self, detail.container.id, detail.container.revision);
                    Ok(ControlReply::Container(Box::new(answers::detail(&detail, &link, published.as_ref(), back))))
                }
                other => Err(unexpected(&other)),
            },
            Ask::Update { id, folder } => {
                let wish = folder.map_or(updating::Wish::Back, updating::Wish::Folder);
                updating::update(self, container_id(&id)?, wish).await
            }
            Ask::Explain { id } => match self.ask(&NodeRequest::Explain(container_id(&id)?)).await? {
                NodeReply::Explained(explained) => Ok(ControlReply::Explained(Box::new(answers::explained(*explained)))),
                other => Err(unexpected(&other)),
            },
            Ask::Scale { id, instances, availability, most } => {
                let request = NodeRequest::Scale { id: container_id(&id)?, instances, availability, most };
                self.ask(&request).await.map(|_| ControlReply::Done)
            }
            Ask::Load { id, span } => {
                let span = answers::load_span(span);
                match self.ask(&NodeRequest::Load { id: container_id(&id)?, span }).await? {
                    NodeReply::Load(load) => Ok(ControlReply::Load(Box::new(answers::load(&load)))),
                    other => Err(unexpected(&other)),
                }
            }
            Ask::Remove { device, person, void_invites, undo } => {
                let what = || answers::invalid(format!("“{device}” is no device's id"), "`fogbankd devices` lists them.");
                let device = device.parse::<DeviceId>().map_err(|_| what())?;
                let request = match undo {
                    true => NodeRequest::Pardon(device),
                    false => NodeRequest::Remove(Removal { device, person, void_invites }),
                };
                match self.ask(&request).await? {
                    NodeReply::Removed(count) => Ok(ControlReply::Removed(count)),
                    NodeReply::Done => Ok(ControlReply::Done),
                    other => Err(unexpected(&other)),
                }
            }
            Ask::Stop { id } => self.ask(&NodeRequest::Stop(container_id(&id)?)).await.map(|_| ControlReply::Done),
            Ask::Restart { id } => self.ask(&NodeRequest::Restart(container_id(&id)?)).await.map(|_| ControlReply::Done),
            Ask::Delete { id } => {
                let id = container_id(&id)?;
                self.ask(&NodeRequest::Delete(id)).await?;
                if let Some(membership) = self.settings().membership {
                    publishing::forget(self, membership.fog, id).await;
                }
                Ok(ControlReply::Done)
            }
            Ask::Devices => match self.ask(&NodeRequest::Devices).await? {
                NodeReply::Devices(list) => Ok(ControlReply::Devices(list.into_iter().map(answers::device).collect())),
                other => Err(unexpected(&other)),
            },
            Ask::Network => Ok(ControlReply::Network(Box::new(self.network()))),
            Ask::Federation => self.federation().map(ControlReply::Federation),
            Ask::Federate { peer } => self.federate(&peer).await.map(done),
            Ask::EndFederation { fog } => self.end_federation(&fog).await.map(done),
            Ask::NeedWitnesses { needed } => self.need_witnesses(needed).await.map(done),
            Ask::LetWitnesses { fog } => self.let_witnesses(&fog).map(done),
            Ask::AbandonWitnesses => self.abandon_witnesses().map(done),
            Ask::Quit => {
                self.ended.cancel();
                Ok(ControlReply::Done)
            }
        }
    }

    /// Lending and relaying need a fog and leave to contribute; stopping needs nothing.
    fn contributor(&self, on: bool) -> Result<(), ControlError> {
        if !on {
            return Ok(());
        }
        let membership = self.settings().membership.ok_or_else(answers::no_fog)?;
        if membership.granted.agent && membership.granted.mixnode {
            Ok(())
        } else {
            let todo = "Ask for an invite that lets you contribute, and join with it.";
            Err(answers::invalid("the invite of this node does not let it lend or relay", todo))
        }
    }

    /// A link to share: the address, mixes with which a newcomer can begin, and the key of a private one that was published here.
    fn link(&self, container: &Container, published: Option<&Published>) -> FogLink {
        let access = published.and_then(|p| p.access);
        // The own fog's mixes: others hand out its directory only as long as they name it.
        let directory = self.hub.current().map(|known| known.own().directory.clone());
        // A newcomer has no relay yet: mixes that it reaches without one come first.
        let mut mixes: Vec<&MixEntry> = directory.iter().flat_map(|d| &d.mixes).collect();
        mixes.sort_by_key(|m| m.relay.is_some());
        let mixes = mixes.into_iter();
        let via = mixes.filter_map(|m| Some(Via { key: m.key, addr: *m.addrs.first()? })).take(FogLink::MAX_VIA).collect();
        FogLink { onion: container.onion.clone(), via, fog: directory.as_ref().map(|d| d.fog), access }
    }

    /// What this node knows of a container that was published here.
    fn published(&self, id: ContainerId) -> Option<Published> {
        let (identity, access) = self.settings().membership.and_then(|m| self.keys(m.fog).load(id))?;
        Some(Published { access, direct: identity.offers_direct() })
    }

    pub(crate) async fn status(&self) -> StatusDto {
        let settings = self.settings();
        let parts = self.parts();
        let standing = parts.member.as_ref().map(|m| m.standing().borrow().clone());
        let fog = settings.membership.as_ref().map(|m| {
            let own = settings.fog.as_ref();
            FogDto {
                id: m.fog.to_string(),
                name: m.name.clone(),
                test: m.test,
                practice: own.is_some_and(|o| o.practice),
                allocator: own.is_some(),
                connected: matches!(standing, Some(Standing::Member(_))),
                why: standing.map(|s| s.why()).unwrap_or_default(),
                roles: answers::role_dtos(m.granted),
                relay: m.relay.as_ref().map(|r| r.addr.to_string()),
            }
        });
        let lend = match &parts.lending {
            Some(lending) => Some(self.lend(lending.agent.list().await)),
            None => None,
        };
        StatusDto {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            device: self.ground.identity.device_id().to_string(),
            fog,
            lend,
            relaying: self.relaying(&settings, &parts),
            proxy: self.proxy.map(|addr| addr.to_string()),
        }
    }

    /// Whether the mix relays, or why it does not.
    fn relaying(&self, settings: &Settings, parts: &Parts) -> RelayStateDto {
        let granted = settings.membership.as_ref().is_some_and(|m| m.granted.mixnode);
        relaying::state(settings.relay, granted, self.relayed().within(settings.relay_limits), parts.relay.is_some())
    }

    fn lend(&self, listed: Vec<fogbank_agent::Listed>) -> LendDto {
        let settings = self.settings();
        let report = self.report();
        let instance = |i: fogbank_agent::Listed| InstanceDto {
            id: i.instance.to_string(),
            container: i.container.to_string(),
            device: self.ground.identity.device_id().to_string(),
            device_name: settings.name.clone(),
            state: i.state.name().to_owned(),
            reason: i.reason,
            given: answers::amounts(&i.given),
            revision: 0,
        };
        LendDto {
            open: report.offer.open,
            why: report.offer.why,
            paused: settings.paused,
            draining: report.drain.is_some(),
            direct: settings.lend_direct,
            lent: answers::amounts(&report.offer.lent),
            instances: listed.into_iter().map(instance).collect(),
        }
    }

    fn network(&self) -> NetworkDto {
        let settings = self.settings();
        let parts = self.parts();
        let visiting = parts.visiting.as_deref();
        let hosting = parts.lending.as_deref();
        let directory = match visiting {
            Some(visiting) => visiting.uplink.directory().borrow().clone(),
            None => self.hub.current().map(|known| known.directory),
        };
        let gate = gate(directory.as_deref(), self.ground.own_mix(), visiting.map(|v| &v.uplink));
        let guards: Vec<MixId> = visiting.map(|v| v.uplink.guard_views().iter().map(|g| g.mix).collect()).unwrap_or_default();
        let privacy = directory.as_deref().map(|d| privacy::privacy(d, &[self.ground.own_mix()], &guards));
        let visits = visits::shown(visiting.map(|v| v.visitor.visits()).unwrap_or_default(), &gate.waiting);
        let counters = |uplink: Option<&Uplink>| uplink.map(|u| u.counters().by_name()).unwrap_or_default();
        let mut host_counters: BTreeMap<String, u64> = counters(hosting.map(|l| &l.uplink));
        if let Some(lending) = hosting {
            let open = lending.host.open();
            host_counters.insert("open_tunnels".to_owned(), open.tunnels as u64);
            host_counters.insert("open_streams".to_owned(), open.streams as u64);
        }
        let RelayLimits { rate_kb_s, month_gb } = settings.relay_limits;
        let relayed = self.relayed();
        let relay = RelayDto {
            on: settings.relay,
            rate_kb_s,
            month_gb,
            month_used_mb: relayed.bytes / 1_000_000,
            state: self.relaying(&settings, &parts),
        };
        let (peers, own_addrs) = met(visiting.map(|v| &v.uplink));
        let (host_peers, host_addrs) = met(hosting.map(|l| &l.uplink));
        NetworkDto {
            usable: count(gate.usable),
            needed: count(gate.needed),
            waiting: gate.waiting,
            mixes: count(directory.map_or(0, |d| d.mixes.len())),
            privacy,
            visits,
            own_mix: self.ground.own_mix().to_string(),
            relay,
            mix_counters: parts.relay.map(|r| r.mixnode.counters().by_name()).unwrap_or_default(),
            visit_counters: counters(visiting.map(|v| &v.uplink)),
            host_counters,
            peers,
            own_addrs,
            host_peers,
            host_addrs,
        }
    }
}

/// A site that is only asked about: its content is not known yet.
fn asked_about(
    requirements: &Amounts,
    instances: u8,
    availability: Option<f64>,
    bytes: u64,
) -> Result<ContainerSpec, ControlError> {
    let requirements = answers::requirements(requirements)?;
    let name: ContainerName = "asked about".parse().map_err(|e| answers::failed(format!("{e}"), ""))?;
    let image = Image::Site { bundle: BundleId([0; 32]), bytes, files: 1 };
    let spec = ContainerSpec { name, image, requirements, instances, availability, most: None, level: Level::default() };
    spec.check().map_err(|e| answers::invalid(e.to_string(), ""))?;
    Ok(spec)
}

/// Whether addresses can be opened.
struct Gate {
    usable: usize,
    needed: usize,
    waiting: String,
}

fn gate(directory: Option<&Directory>, own: MixId, visiting: Option<&Uplink>) -> Gate {
    let Some(directory) = directory else {
        return Gate { usable: 0, needed: Directory::NEEDED, waiting: "the list of mixes is not here yet".to_owned() };
    };
    let mut gate = match directory.usable(&[own]) {
        Ok(Usable { mixes, needed, .. }) => Gate { usable: mixes, needed, waiting: String::new() },
        Err(why @ NotPrivate { mixes, needed, .. }) => Gate { usable: mixes, needed, waiting: why.to_string() },
    };
    match visiting.map(|uplink| uplink.status().borrow().clone()) {
        Some(UplinkStatus::Waiting { reason, .. }) => gate.waiting = reason,
        Some(UplinkStatus::Starting) => gate.waiting = "the links to the first mixes are being made".to_owned(),
        Some(UplinkStatus::Ready { .. }) => {}
        None if gate.waiting.is_empty() => gate.waiting = "this node runs without its proxy for visiting".to_owned(),
        None => {}
    }
    gate
}

/// The guards of an uplink, and its own sockets towards them.
fn met(uplink: Option<&Uplink>) -> (Vec<PeerDto>, Vec<String>) {
    let views = uplink.map(Uplink::guard_views).unwrap_or_default();
    let own = views.iter().flat_map(|g| &g.own).map(ToString::to_string).collect();
    let peer = |g: &GuardView| {
        let addr = g.addrs.first()?.to_string();
        Some(PeerDto { mix: g.mix.to_string(), addr, up: g.up, way: answers::way(g.way).to_owned() })
    };
    (views.iter().filter_map(peer).collect(), own)
}

fn container_id(text: &str) -> Result<ContainerId, ControlError> {
    text.parse().map_err(|e| answers::invalid(format!("{e}"), "Take the id from the list of containers."))
}

fn unexpected(reply: &NodeReply) -> ControlError {
    tracing::error!(?reply, "the allocator gave another answer than was asked for");
    answers::failed("the allocator gave another answer than was asked for", "Use the same version of Fogbank on both sides.")
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
