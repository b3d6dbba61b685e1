//! A fog: one allocator, devices that lend and relay, a publisher.

use crate::process::{Process, wait_for};
use anyhow::{Result, bail};
use fogbank_node::control::{Amounts, ControlReply, ControlRequest, LevelDto, RoleDto};
use futures_util::future::join_all;
use std::{
    ops::ControlFlow::{Break, Continue},
    path::{Path, PathBuf},
    time::Duration,
};

/// What a fog consists of.
#[derive(Debug, Clone, Copy, Default)]
pub struct FogPlan {
    /// Devices that lend and relay.
    pub devices: usize,
    /// Whether there is a publisher.
    pub publisher: bool,
    /// Whether there is a visitor that is none of them.
    pub visitor: bool,
    /// Whether relays keep the limits that an owner's device begins with. Otherwise they have none: all run on one computer, and what a
    /// home's line could carry does not limit them.
    pub default_limits: bool,
}

/// A running fog. Its processes end with it; its folder goes with it.
#[derive(Debug)]
pub struct Fog {
    folder: tempfile::TempDir,
    /// Coordinates it, and administers it.
    pub allocator: Process,
    /// Lend and relay.
    pub devices: Vec<Process>,
    /// Publishes.
    pub publisher: Option<Process>,
    /// Visits only.
    pub visitor: Option<Process>,
}

/// All devices and their mixes are connected by then.
const GATHER_DEADLINE: Duration = Duration::from_secs(60);

impl Fog {
    /// Starts all processes, lets the devices join by tickets, and waits until all of them lend and relay.
    ///
    /// # Errors
    /// When a process does not start or does not join.
    pub async fn start(plan: FogPlan) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("fogbank-").tempdir()?;
        let path = folder.path();
        let allocator = Process::start(path, "allocator", false).await?;
        allocator.ask(ControlRequest::StartFog { name: "Test fog".to_owned(), test: true, relay: None }).await?;
        let mut fog = Self { allocator, devices: Vec::new(), publisher: None, visitor: None, folder };
        let contribute = fog.ticket(&[RoleDto::Contribute]).await?;
        for n in 1..=plan.devices {
            let device = Process::start(fog.folder.path(), &format!("device-{n}"), false).await?;
            device.ask(ControlRequest::Join { ticket: contribute.clone() }).await?;
            device.ask(ControlRequest::Lend { on: true, direct: false }).await?;
            if !plan.default_limits {
                device.ask(ControlRequest::RelayLimits { rate_kb_s: None, month_gb: None }).await?;
            }
            device.ask(ControlRequest::Relay { on: true }).await?;
            fog.devices.push(device);
        }
        if plan.publisher {
            let publisher = Process::start(fog.folder.path(), "publisher", false).await?;
            let ticket = fog.ticket(&[RoleDto::Publish]).await?;
            publisher.ask(ControlRequest::Join { ticket }).await?;
            fog.publisher = Some(publisher);
        }
        if plan.visitor {
            fog.visitor = Some(Process::start(fog.folder.path(), "visitor", true).await?);
        }
        fog.gathered(plan.devices).await?;
        Ok(fog)
    }

    /// The folder of all profiles and logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves the folder where it is when the fog ends.
    pub fn keep_folder(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }

    /// A ticket of the allocator.
    ///
    /// # Errors
    /// When it gives none.
    pub async fn ticket(&self, roles: &[RoleDto]) -> Result<String> {
        match self.allocator.ask(ControlRequest::Invite { roles: roles.to_vec(), valid_s: 3600 }).await? {
            ControlReply::Ticket(ticket) => Ok(ticket),
            other => bail!("no ticket: {other:?}"),
        }
    }

    /// Waits until so many devices lend and as many mixes are listed.
    ///
    /// # Errors
    /// When they don't within a minute.
    pub async fn gathered(&self, devices: usize) -> Result<()> {
        wait_for("the devices lend and relay", GATHER_DEADLINE, async || {
            let lending = self.allocator.devices().await?.iter().filter(|d| d.connected && d.lent.cpu_cores > 0.0).count();
            let mixes = self.allocator.network().await?.mixes as usize;
            Ok(if lending >= devices && mixes >= devices {
                Break(())
            } else {
                Continue(format!("{lending} lend, {mixes} relay"))
            })
        })
        .await
    }

    /// Publishes a folder from the publisher; returns the container's id and address.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn publish(&self, site: &Path, copies: u8) -> Result<(String, String)> {
        let Some(publisher) = &self.publisher else { bail!("this fog has no publisher") };
        let request = ControlRequest::Publish {
            folder: site.to_string_lossy().into_owned(),
            name: "Demo site".to_owned(),
            requirements: Amounts { cpu_cores: 0.1, memory_mb: 64.0, storage_mb: 300.0, bandwidth_mbps: 2.0 },
            instances: copies,
            availability: None,
            most: None,
            level: LevelDto::Fast,
            private: false,
            direct: false,
        };
        match publisher.ask(request).await? {
            ControlReply::Created { id, onion } => Ok((id, onion)),
            other => bail!("nothing was created: {other:?}"),
        }
    }

    /// Ends every process, side by side, the allocator last.
    ///
    /// # Errors
    /// When one had to be killed.
    pub async fn end(mut self) -> Result<()> {
        let members = self.visitor.iter_mut().chain(&mut self.publisher).chain(&mut self.devices);
        let ended = join_all(members.map(end)).await;
        let last = end(&mut self.allocator).await;
        ended.into_iter().chain([last]).collect()
    }
}

async fn end(process: &mut Process) -> Result<()> {
    if process.has_ended() { Ok(()) } else { process.quit().await }
}
