//! One `fogbankd relay` process.

use crate::{
    nets::Place,
    process::{Process, program_in},
};
use anyhow::{Context, Result, bail};
use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// Far above what a relay needs to make a certificate and listen.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// A running relay; it ends with its value.
#[derive(Debug)]
pub struct RelayProcess {
    child: Child,
    /// The line for `start-fog --relay`.
    pub line: String,
}

impl RelayProcess {
    /// Starts a relay with the profile `folder/relay`, in a namespace or on this computer.
    ///
    /// # Errors
    /// When it ends or is not ready in time.
    pub async fn start(folder: &Path, place: Option<&Place>, listen: SocketAddr) -> Result<Self> {
        let binary = Process::binary()?;
        let mut program = place.map_or_else(|| Command::new(&binary), |place| program_in(&place.namespace, &binary));
        let mut child = program
            .args(["relay", "--listen", &listen.to_string(), "--profile"])
            .arg(folder.join("relay"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting a relay")?;
        let mut lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        let mut named = None;
        let ready = timeout(START_DEADLINE, async {
            while let Some(line) = lines.next_line().await? {
                match line.strip_prefix("relay ") {
                    Some(name) => named = Some(name.to_owned()),
                    None if line == "ready" => return Ok(true),
                    None => {}
                }
            }
            anyhow::Ok(false)
        });
        match (ready.await.context("the relay was not ready in time")??, named) {
            (true, Some(line)) => Ok(Self { child, line }),
            _ => bail!("the relay ended at once"),
        }
    }

    /// Ends it at once.
    ///
    /// # Errors
    /// When it has ended already.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.context("killing the relay")
    }
}
