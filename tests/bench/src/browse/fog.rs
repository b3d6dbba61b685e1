//! Our side: a test fog of real `fogbankd` processes on loopback, one container a level, a visitor who is no member.

use super::page::{Content, Door};
use anyhow::{Context, Result, bail};
use fogbank_harness::{Fog, FogPlan, Process, wait_for};
use fogbank_node::control::{Amounts, ControlReply, ControlRequest, LevelDto};
use std::{
    ops::ControlFlow::{Break, Continue},
    sync::Arc,
    time::Duration,
};

/// Devices that lend and relay: three mixes a leg and a meeting point, without using each on every path.
const DEVICES: usize = 10;
/// Copies of each container.
pub(crate) const COPIES: u8 = 2;
/// A container serves within seconds; a busy machine is waited for.
const SERVED: Duration = Duration::from_secs(120);
/// One try meanwhile.
const TRY: Duration = Duration::from_secs(15);

/// A fog with containers at some levels.
pub(crate) struct OurSide {
    pub(crate) fog: Fog,
    /// Where the visitor's proxy listens.
    pub(crate) doors: Vec<(LevelDto, Door)>,
    /// Ids of the containers.
    pub(crate) containers: Vec<String>,
}

impl OurSide {
    /// Starts it and waits until each container serves with all its copies. `default_limits`: see [`FogPlan`].
    pub(crate) async fn start(levels: &[LevelDto], content: &Arc<Content>, default_limits: bool) -> Result<Self> {
        let fog = Fog::start(FogPlan { devices: DEVICES, publisher: true, visitor: true, default_limits }).await?;
        let publisher = fog.publisher.as_ref().context("no publisher")?;
        let visitor = fog.visitor.as_ref().context("no visitor")?;
        let proxy = visitor.proxy.context("the visitor has no proxy")?;
        let (mut doors, mut containers) = (Vec::new(), Vec::new());
        for level in levels {
            let (id, onion) = publish(publisher, *level, content).await?;
            let link = publisher.container(&id).await?.link;
            visitor.ask(ControlRequest::Visit { link }).await?;
            let door = Door::new(proxy, &onion, content.clone());
            wait_for("the container serves", SERVED, async || {
                let container = publisher.container(&id).await?.container;
                if container.ready < u32::from(COPIES) {
                    return Ok(Continue(format!("{} of {COPIES} copies are ready: {}", container.ready, container.reason)));
                }
                Ok(match door.serves(TRY).await {
                    Ok(()) => Break(()),
                    Err(error) => Continue(format!("{error:#}")),
                })
            })
            .await?;
            doors.push((*level, door));
            containers.push(id);
        }
        Ok(Self { fog, doors, containers })
    }

    /// The container of a level.
    pub(crate) fn door(&self, level: LevelDto) -> Result<&Door> {
        self.doors.iter().find(|(l, _)| *l == level).map(|(_, door)| door).with_context(|| format!("no container at {level:?}"))
    }
}

async fn publish(publisher: &Process, level: LevelDto, content: &Content) -> Result<(String, String)> {
    let request = ControlRequest::Publish {
        folder: content.folder.to_string_lossy().into_owned(),
        name: format!("Bench {level:?}"),
        requirements: Amounts { cpu_cores: 0.1, memory_mb: 64.0, storage_mb: 100.0, bandwidth_mbps: 1.0 },
        instances: COPIES,
        availability: None,
        most: None,
        level,
        private: false,
        direct: false,
    };
    match publisher.ask(request).await? {
        ControlReply::Created { id, onion } => Ok((id, onion)),
        other => bail!("nothing was created: {other:?}"),
    }
}
