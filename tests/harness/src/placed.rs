//! A test fog whose processes are in network namespaces.

use crate::{
    nets::Place,
    process::{Process, wait_for},
};
use anyhow::{Context, Result, bail};
use fogbank_node::control::{Amounts, ContainerDetailDto, ControlReply, ControlRequest, LevelDto, RoleDto};
use std::{
    ops::ControlFlow::{Break, Continue},
    path::Path,
    time::Duration,
};

/// Members are connected and their mixes listed by then, on a busy machine too.
const GATHER_DEADLINE: Duration = Duration::from_secs(40);
/// A small bundle is fetched and started by then.
const RUN_DEADLINE: Duration = Duration::from_secs(40);

/// A running fog. Its processes end with it, before the namespaces if those were declared first.
#[derive(Debug)]
pub struct PlacedFog {
    folder: tempfile::TempDir,
    /// Coordinates it, and publishes.
    pub allocator: Process,
    ticket: String,
    /// Members, in the order in which they came.
    pub members: Vec<Process>,
}

/// What a member does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Does {
    /// Lends.
    pub lends: bool,
    /// Relays as a mix.
    pub relays: bool,
}

impl PlacedFog {
    /// A fog of its allocator alone, in the folder that a relay may be in already.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(folder: tempfile::TempDir, at: &Place, relay: Option<String>) -> Result<Self> {
        let allocator = Process::start_at(at, folder.path(), "allocator", false).await?;
        allocator.ask(ControlRequest::StartFog { name: "Placed fog".to_owned(), test: true, relay }).await?;
        let invite = ControlRequest::Invite { roles: vec![RoleDto::Contribute], valid_s: 3600 };
        let ControlReply::Ticket(ticket) = allocator.ask(invite).await? else { bail!("no ticket") };
        Ok(Self { folder, allocator, ticket, members: Vec::new() })
    }

    /// The folder of profiles and logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Adds a member; returns its number.
    ///
    /// # Errors
    /// When it does not start or join.
    pub async fn member(&mut self, at: &Place, name: &str, does: Does) -> Result<usize> {
        let member = Process::start_at(at, self.folder.path(), name, false).await?;
        member.ask(ControlRequest::Join { ticket: self.ticket.clone() }).await?;
        if does.lends {
            member.ask(ControlRequest::Lend { on: true, direct: false }).await?;
        }
        if does.relays {
            member.ask(ControlRequest::Relay { on: true }).await?;
        }
        self.members.push(member);
        Ok(self.members.len() - 1)
    }

    /// A visitor that is no member: a node with a proxy that learnt the way from the link of a container.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn visitor(&self, at: &Place, link: &str) -> Result<Process> {
        let visitor = Process::start_at(at, self.folder.path(), "visitor", true).await?;
        visitor.ask(ControlRequest::Visit { link: link.to_owned() }).await?;
        Ok(visitor)
    }

    /// Waits until so many lend and so many mixes are listed.
    ///
    /// # Errors
    /// When they don't in time.
    pub async fn gathered(&self, lend: usize, mixes: usize) -> Result<()> {
        wait_for("the members lend and relay", GATHER_DEADLINE, async || {
            let lending = self.allocator.devices().await?.iter().filter(|d| d.connected && d.lent.cpu_cores > 0.0).count();
            let listed = self.allocator.network().await?.mixes as usize;
            Ok(if lending >= lend && listed >= mixes { Break(()) } else { Continue(format!("{lending} lend, {listed} relay")) })
        })
        .await
    }

    /// Publishes a folder in one copy and waits until it runs.
    ///
    /// # Errors
    /// When it is refused or does not run in time.
    pub async fn publish(&self, site: &Path, level: LevelDto) -> Result<ContainerDetailDto> {
        let request = ControlRequest::Publish {
            folder: site.to_string_lossy().into_owned(),
            name: "Placed site".to_owned(),
            requirements: Amounts { cpu_cores: 0.1, memory_mb: 64.0, storage_mb: 50.0, bandwidth_mbps: 2.0 },
            instances: 1,
            availability: None,
            most: None,
            level,
            private: false,
            direct: false,
        };
        let ControlReply::Created { id, .. } = self.allocator.ask(request).await? else { bail!("nothing was created") };
        wait_for("the container runs", RUN_DEADLINE, async || {
            let detail = self.allocator.container(&id).await?;
            let words = format!("{}: {}", detail.container.state, detail.container.reason);
            Ok(if detail.container.ready > 0 { Break(detail) } else { Continue(words) })
        })
        .await
    }

    /// Ends every process, the allocator last.
    ///
    /// # Errors
    /// When one had to be killed.
    pub async fn end(mut self) -> Result<()> {
        for member in &mut self.members {
            member.quit().await.with_context(|| member.name.clone())?;
        }
        self.allocator.quit().await
    }
}
