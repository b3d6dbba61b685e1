//! Making what runs follow the settings: [`Inner::align`] starts what should run and does not, and ends what should not.

use crate::{
    fog::FogHost,
    membership::Part,
    node::Inner,
    parts::{Lending, Relay, Visiting, nothing_lent},
    practice::PracticeFog,
    relaying::Month,
    settings::{Membership, OwnFog, Settings, VisitedFog},
    start::StartError,
};
use fogbank_betanet::mixnode::Rate;
use fogbank_model::{BundleId, FogId};
use fogbank_wire::{RelayHint, Roles};
use std::{
    net::Ipv4Addr,
    sync::{Arc, PoisonError},
    time::Duration,
};
use tokio::task::JoinHandle;

/// A mix that stops relaying passes on for so long what is on its way: the directory without it has reached everyone by then.
const LAST_PACKETS: Duration = Duration::from_secs(2);
/// The practice fog's nodes live below this folder of the profile.
pub(crate) const PRACTICE: &str = "practice";

#[derive(Default)]
pub(crate) struct Background {
    pub(crate) ending: Vec<JoinHandle<()>>,
    pub(crate) reporting: Option<JoinHandle<()>>,
    pub(crate) practice: Option<PracticeFog>,
}

impl Inner {
    /// Starts what should run and does not, and ends what should not.
    pub(crate) async fn align(&self) -> Result<(), StartError> {
        let mut background = self.changing.lock().await;
        self.align_fog(&mut background).await?;
        let settings = self.settings();
        let roles = self.played(&settings);
        let met_at = settings.membership.as_ref().and_then(|m| m.relay.clone());
        self.relay_switch.set(&self.endpoint, met_at.as_ref()).await;
        self.align_relay(roles.mixnode.then(|| settings.relay_limits.rate()), met_at.as_ref(), &mut background).await?;
        self.align_lending(&settings, roles.agent, &mut background).await?;
        self.show_part()?;
        // A visitor that still runs would bring the former fog's directory back.
        let visits = self.end_other_visiting(&settings).await;
        self.align_membership(&settings);
        self.align_visiting(visits);
        background.ending.retain(|t| !t.is_finished());
        Ok(())
    }

    /// The roles that the owner wants and the fog grants; a mix rests when its month is used up.
    fn played(&self, settings: &Settings) -> Roles {
        let granted = settings.membership.as_ref().map(|m| m.granted).unwrap_or_default();
        let within = self.relayed().within(settings.relay_limits);
        Roles {
            agent: settings.lend && granted.agent,
            mixnode: settings.relay && granted.mixnode && within,
            publisher: granted.publisher,
            admin: granted.admin,
        }
    }

    /// What was relayed this month.
    pub(crate) fn relayed(&self) -> Month {
        *self.relayed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count_relayed(&self) {
        let counters = self.parts().relay.as_ref().map(|r| r.mixnode.counters());
        let changed = {
            let mut month = self.relayed.lock().unwrap_or_else(PoisonError::into_inner);
            month.count(counters.as_ref(), self.ground.clock.now()).then_some(*month)
        };
        if let Some(month) = changed
            && let Err(error) = month.save(&self.ground.profile)
        {
            tracing::warn!(%error, "what was relayed this month could not be kept");
        }
    }

    /// Makes what is told to the allocator what runs.
    fn show_part(&self) -> Result<(), StartError> {
        let mix = self.parts().relay.as_ref().map(|r| r.info(&self.ground.identity)).transpose();
        let fresh = Part { roles: self.played(&self.settings()), mix: mix.map_err(StartError::MixStatement)? };
        self.part.send_if_modified(|part| {
            let changed = *part != fresh;
            *part = fresh;
            changed
        });
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
                let operator = self.ground.identity.device_id();
                let fog = FogHost::start(&self.ground.profile, &own, listen, operator).await.map_err(StartError::Fog)?;
                let fog = Arc::new(fog);
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

    /// The mix, at a rate and a relay; without a rate it ends.
    async fn align_relay(
        &self,
        rate: Option<Rate>,
        met_at: Option<&RelayHint>,
        background: &mut Background,
    ) -> Result<(), StartError> {
        let running = self.parts().relay;
        match (rate, running) {
            (Some(rate), Some(relay)) if relay.met_at.as_ref() == met_at => relay.mixnode.set_rate(rate),
            (Some(rate), gone) => {
                // One mix key is not at two relays, so the old mix ends first.
                self.lock_parts().relay = None;
                if let Some(relay) = gone {
                    relay.shutdown().await;
                }
                let relay = Relay::start(&self.ground, rate, met_at).await?;
                self.lock_parts().relay = Some(Arc::new(relay));
            }
            (None, Some(relay)) => {
                self.lock_parts().relay = None;
                background.ending.push(tokio::spawn(async move {
                    tokio::time::sleep(LAST_PACKETS).await;
                    relay.shutdown().await;
                }));
            }
            (None, None) => {}
        }
        Ok(())
    }

    async fn align_lending(&self, settings: &Settings, lends: bool, background: &mut Background) -> Result<(), StartError> {
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
                self.let_go_of_others().await;
            }
            // What a lending that was cut off left.
            (None, None) => self.let_go_of_others().await,
        }
        match self.parts().lending {
            Some(lending) => lending.let_come(&self.ground, settings.lend_direct).await,
            None => Ok(()),
        }
    }

    /// Whoever does not lend neither gives others' content on nor has it on the disk.
    async fn let_go_of_others(&self) {
        let held = self.bundles.held();
        let others: Vec<BundleId> = held.borrow().iter().filter(|(_, h)| h.for_others()).map(|(id, _)| *id).collect();
        for id in others {
            if let Err(error) = self.bundles.forget(id).await {
                tracing::warn!(%error, bundle = id.short(), "content of others stays for now");
            }
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
                // What a visitor learnt of the fog that it visits stays.
                if parts.member.take().is_some_and(|m| settings.visits.as_ref().is_none_or(|v| v.fog != m.fog())) {
                    self.hub.clear();
                }
            }
        }
    }

    /// Ends the visiting of another fog, or by another way, than is wanted now; what is to be begun.
    async fn end_other_visiting(&self, settings: &Settings) -> Option<(FogId, Option<VisitedFog>)> {
        let wanted = match (&settings.membership, &settings.visits) {
            _ if self.proxy.is_none() => None,
            (Some(membership), _) => Some((membership.fog, None)),
            (None, Some(visited)) => Some((visited.fog, Some(visited.clone()))),
            (None, None) => None,
        };
        if self.parts().visiting.as_ref().map(|v| v.way()) == wanted {
            return None;
        }
        self.visitor.send_replace(None);
        let gone = self.lock_parts().visiting.take();
        if let Some(gone) = gone {
            gone.shutdown().await;
        }
        wanted
    }

    fn align_visiting(&self, begin: Option<(FogId, Option<VisitedFog>)>) {
        if let Some((fog, bootstrap)) = begin {
            let _keys = self.lock_keys();
            let visiting = Visiting::start(&self.ground, fog, bootstrap);
            self.visitor.send_replace(Some(visiting.visitor.clone()));
            self.lock_parts().visiting = Some(Arc::new(visiting));
        }
    }
}

/// Tells the agent what its owner wants.
fn wish(lending: &Lending, settings: &Settings) {
    lending.agent.pause(settings.paused);
    lending.agent.drain(settings.draining.then(|| "its owner asked to move everything away".to_owned()));
}
