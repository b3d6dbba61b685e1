//! Somebody who looks for a site in the network as visitors do, by mix packets, and at nothing else.

use super::SOON;
use anyhow::{Context, Result};
use fogbank_betanet::{
    address::{Address, Blinded, FogLink, Period},
    clock::FogClock,
    descriptor::Descriptor,
    directory::{DirectoryHub, clock},
    lease::Lease,
    message::{FromMix, ToMix},
    paths::Guards,
    uplink::{Uplink, UplinkConfig, UplinkStatus},
};
use fogbank_harness::wait_for;
use fogbank_model::{Level, MixId};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    ops::ControlFlow::{Break, Continue},
    time::Duration,
};

pub(crate) struct Outsider {
    pub(crate) uplink: Uplink,
    blinded: Blinded,
}

impl Outsider {
    /// Who knows no more than a link.
    pub(crate) async fn by(link: &str) -> Result<Self> {
        let link: FogLink = link.parse()?;
        let uplink = Uplink::start(UplinkConfig {
            bind: Ipv4Addr::LOCALHOST.into(),
            exclude: Vec::new(),
            fog: link.fog.context("no fog")?,
            directory: DirectoryHub::new(),
            bootstrap: link.via.iter().map(|via| (via.key, vec![via.addr])).collect(),
            guards: Guards::new(),
            clock: FogClock::default(),
            cover_budget: None,
        });
        let ready = |status: &UplinkStatus| matches!(status, UplinkStatus::Ready { .. });
        tokio::time::timeout(SOON, uplink.status().wait_for(ready)).await.context("no way into the network")??;
        Ok(Self { uplink, blinded: Address::parse(&link.onion)?.blinded(Period::at(clock()))? })
    }

    /// What each mix of the ring keeps.
    pub(crate) async fn descriptors(&self) -> Result<BTreeMap<MixId, Vec<u8>>> {
        let directory = self.uplink.directory().borrow().clone().context("no directory")?;
        let mut kept = BTreeMap::new();
        for mix in directory.ring(&self.blinded.key) {
            let question = |surb| ToMix::FetchDescriptor { blinded: self.blinded.key, surb };
            if let FromMix::Descriptor(Some(bytes)) = self.uplink.ask(mix, Level::Fast, question).await? {
                kept.insert(mix, bytes);
            }
        }
        Ok(kept)
    }

    /// The introduction points that the newest of these descriptors names.
    pub(crate) fn points(&self, descriptors: &BTreeMap<MixId, Vec<u8>>) -> Result<Vec<MixId>> {
        let opened: Result<Vec<_>, _> =
            descriptors.values().map(|bytes| Descriptor::open_revision(bytes, &self.blinded, clock())).collect();
        let newest = opened?.into_iter().max_by_key(|(_, revision, _)| *revision).context("no descriptor")?;
        Ok(newest.0.introduction_points)
    }

    /// UDP port at which a mix of the directory listens.
    pub(crate) fn port(&self, mix: MixId) -> Option<u16> {
        self.uplink.directory().borrow().as_ref()?.mix(mix)?.addrs.first().map(|addr| addr.port())
    }

    /// Whether the directory lists a mix.
    pub(crate) fn lists(&self, mix: MixId) -> bool {
        self.uplink.directory().borrow().as_ref().is_some_and(|directory| directory.mix(mix).is_some())
    }

    /// The copies that an introduction point names.
    async fn listed(&self, point: MixId) -> Result<BTreeSet<String>> {
        let question = |surb| ToMix::FetchLeases { blinded: self.blinded.key, unlock: None, surb };
        let FromMix::Leases(leases) = self.uplink.ask(point, Level::Fast, question).await? else { anyhow::bail!("no leases") };
        leases.iter().map(|bytes| Ok(Lease::open_for(bytes, &self.blinded, clock())?.instance.to_string())).collect()
    }

    /// Waits until each of the points names the copies that it should.
    pub(crate) async fn all_list(
        &self,
        points: &[MixId],
        deadline: Duration,
        are: impl Fn(&BTreeSet<String>) -> bool,
    ) -> Result<()> {
        wait_for("all introduction points list what they should", deadline, async || {
            for point in points {
                let listed = self.listed(*point).await?;
                if !are(&listed) {
                    return Ok(Continue(format!("{point:?} lists {listed:?}")));
                }
            }
            Ok(Break(()))
        })
        .await
    }
}
