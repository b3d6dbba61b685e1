//! One `fogbankd` process.

use crate::{curl::Curl, nets::Place};
use anyhow::{Context, Result, bail};
use fogbank_node::control::{
    ContainerDetailDto, ContainerDto, ControlReply, ControlRequest, DeviceDto, FederationDto, NetworkDto, StatusDto,
    client::Client,
};
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    ops::ControlFlow::{Break, Continue},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{Instant, timeout, timeout_at},
};

/// A node is ready when its sockets are; far above what that takes on a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// A node that was asked to end drains and closes; after this long it is killed.
const END_DEADLINE: Duration = Duration::from_secs(10);
/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Seven nodes start, meet and serve in seconds; a busy machine is waited for.
const SERVE_DEADLINE: Duration = Duration::from_secs(60);
/// A list of mixes spreads in seconds, and allocators that dial each other pause for up to a minute; a busy machine is waited for.
const LIST_DEADLINE: Duration = Duration::from_secs(90);
/// How long one of the tries to load a page may take.
const LOAD_DEADLINE: Duration = Duration::from_secs(20);

/// A running node.
#[derive(Debug)]
pub struct Process {
    /// What it is called in output.
    pub name: String,
    profile: PathBuf,
    child: Child,
    client: Client,
    /// Id of the device.
    pub device: String,
    /// Its SOCKS5 proxy, when it has one.
    pub proxy: Option<SocketAddr>,
}

impl Process {
    /// Where the `fogbankd` to be run is: beside the running program, as cargo builds it, or `$FOGBANKD`.
    ///
    /// # Errors
    /// When there is none.
    pub fn binary() -> Result<PathBuf> {
        if let Some(path) = std::env::var_os("FOGBANKD") {
            return Ok(path.into());
        }
        let own = std::env::current_exe()?;
        let found = own.ancestors().skip(1).take(2).map(|d| d.join("fogbankd")).find(|p| p.is_file());
        found.context("there is no fogbankd beside this program: build it with cargo build -p fogbank-daemon")
    }

    /// Starts a node in `folder/name` and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time; its log is quoted.
    pub async fn start(folder: &Path, name: &str, proxy: bool) -> Result<Self> {
        Self::start_with(folder, name, proxy, &[]).await
    }

    /// As [`Self::start`], in a network namespace.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_at(place: &Place, folder: &Path, name: &str, proxy: bool) -> Result<Self> {
        Self::spawn(program_in(&place.namespace, &Self::binary()?), &place.ip.to_string(), folder, name, proxy).await
    }

    /// As [`Self::start`], with environment variables.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(folder: &Path, name: &str, proxy: bool, environment: &[(&str, &str)]) -> Result<Self> {
        let mut program = Command::new(Self::binary()?);
        program.envs(environment.iter().copied());
        Self::spawn(program, "127.0.0.1", folder, name, proxy).await
    }

    async fn spawn(mut program: Command, listen: &str, folder: &Path, name: &str, proxy: bool) -> Result<Self> {
        let profile = folder.join(name);
        std::fs::create_dir_all(&profile)?;
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join(format!("{name}.log")))?;
        let mut child = program
            .arg("run")
            .args(["--listen", listen, "--proxy", if proxy { "0" } else { "off" }])
            .arg("--profile")
            .arg(&profile)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("starting fogbankd")?;
        let mut lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        let (mut device, mut proxy) = (String::new(), None);
        let ready = timeout(START_DEADLINE, async {
            while let Some(line) = lines.next_line().await? {
                match line.split_once(' ') {
                    Some(("device", id)) => device = id.to_owned(),
                    Some(("proxy", addr)) => proxy = Some(addr.parse()?),
                    _ if line == "ready" => return Ok(true),
                    _ => {}
                }
            }
            anyhow::Ok(false)
        });
        if !ready.await.context("it was not ready in time")?? {
            let log = std::fs::read_to_string(folder.join(format!("{name}.log"))).unwrap_or_default();
            bail!("{name} ended at once: {}", log.lines().last().unwrap_or("no log"));
        }
        let client = Client::connect(&profile).await?;
        Ok(Self { name: name.to_owned(), profile, child, client, device, proxy })
    }

    /// The profile's folder.
    pub fn profile(&self) -> &Path {
        &self.profile
    }

    /// Process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Asks the node; its refusal is an error.
    ///
    /// # Errors
    /// When it refuses or is gone.
    pub async fn ask(&self, request: ControlRequest) -> Result<ControlReply> {
        match self.client.call(&request).await.with_context(|| self.name.clone())? {
            ControlReply::Failed(error) => bail!("{}: {} {}", self.name, error.what, error.todo),
            reply => Ok(reply),
        }
    }

    /// Publishes as soon as the fog has room: the container's id and address.
    ///
    /// # Errors
    /// When there is none within a minute, with the last refusal.
    pub async fn publish(&self, request: &ControlRequest) -> Result<(String, String)> {
        wait_for("there is room", SERVE_DEADLINE, async || match self.ask(request.clone()).await? {
            ControlReply::Created { id, onion } => Ok(Break((id, onion))),
            other => Ok(Continue(format!("{other:?}"))),
        })
        .await
    }

    /// Waits until an address has this front page, as the node's own proxy gives it.
    ///
    /// # Errors
    /// When it has not within a minute, with what came last; when the node has no proxy.
    pub async fn serves(&self, onion: &str, front: &[u8]) -> Result<()> {
        let curl = Curl::new(self.proxy.context("the node has no proxy")?, onion).max_time(LOAD_DEADLINE);
        wait_for("the address serves", SERVE_DEADLINE, async || {
            let page = curl.get("").await?;
            Ok(if page.body == front { Break(()) } else { Continue(format!("curl {}, HTTP {}", page.exit, page.status)) })
        })
        .await
    }

    /// How it is.
    ///
    /// # Errors
    /// When it is gone.
    pub async fn status(&self) -> Result<StatusDto> {
        match self.ask(ControlRequest::Status).await? {
            ControlReply::Status(status) => Ok(*status),
            other => bail!("no status: {other:?}"),
        }
    }

    /// The mix network as it sees it.
    ///
    /// # Errors
    /// When it is gone.
    pub async fn network(&self) -> Result<NetworkDto> {
        match self.ask(ControlRequest::Network).await? {
            ControlReply::Network(network) => Ok(*network),
            other => bail!("no network: {other:?}"),
        }
    }

    /// The other fogs of the one that it coordinates.
    ///
    /// # Errors
    /// When it is gone or coordinates none.
    pub async fn federation(&self) -> Result<FederationDto> {
        match self.ask(ControlRequest::Federation).await? {
            ControlReply::Federation(federation) => Ok(federation),
            other => bail!("no federation: {other:?}"),
        }
    }

    /// Waits until it knows exactly so many mixes.
    ///
    /// # Errors
    /// When it does not in time, with what it knows.
    pub async fn knows(&self, mixes: usize) -> Result<()> {
        wait_for(&format!("{} knows {mixes} mixes", self.name), LIST_DEADLINE, async || {
            let known = self.network().await?.mixes as usize;
            Ok(if known == mixes { Break(()) } else { Continue(format!("{known}")) })
        })
        .await
    }

    /// Its containers.
    ///
    /// # Errors
    /// When it is gone or its allocator is away.
    pub async fn containers(&self) -> Result<Vec<ContainerDto>> {
        match self.ask(ControlRequest::Containers).await? {
            ControlReply::Containers(list) => Ok(list),
            other => bail!("no containers: {other:?}"),
        }
    }

    /// One container in full.
    ///
    /// # Errors
    /// When there is none of that id.
    pub async fn container(&self, id: &str) -> Result<ContainerDetailDto> {
        match self.ask(ControlRequest::Container { id: id.to_owned() }).await? {
            ControlReply::Container(detail) => Ok(*detail),
            other => bail!("no container: {other:?}"),
        }
    }

    /// The fog's devices.
    ///
    /// # Errors
    /// When it may not see them.
    pub async fn devices(&self) -> Result<Vec<DeviceDto>> {
        match self.ask(ControlRequest::Devices).await? {
            ControlReply::Devices(list) => Ok(list),
            other => bail!("no devices: {other:?}"),
        }
    }

    /// Resident memory, MB (10⁶ bytes), as Linux counts it.
    ///
    /// # Errors
    /// When the process is gone or the system does not say.
    pub fn resident_mb(&self) -> Result<f64> {
        let pid = self.pid().context("it has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
        Ok(kib * 1024.0 / 1e6)
    }

    /// UDP ports of its sockets, as Linux counts them: by these a mix of the directory is found among processes.
    ///
    /// # Errors
    /// When the process is gone or the system does not say.
    pub fn udp_ports(&self) -> Result<BTreeSet<u16>> {
        let pid = self.pid().context("it has ended")?;
        let open = std::fs::read_dir(format!("/proc/{pid}/fd"))?.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
        let own: BTreeSet<String> = open.map(|link| link.to_string_lossy().into_owned()).collect();
        let table = std::fs::read_to_string(format!("/proc/{pid}/net/udp"))?;
        // Of each line, the second word is address:port in hexadecimal, the tenth the socket's number.
        let port = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let port = words.get(1)?.rsplit_once(':')?.1;
            own.contains(&format!("socket:[{}]", words.get(9)?)).then(|| u16::from_str_radix(port, 16).ok())?
        };
        Ok(table.lines().filter_map(port).collect())
    }

    /// Ends it at once, as a power cut would (SIGKILL).
    ///
    /// # Errors
    /// When it has ended already.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("killing {}", self.name))
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When it has not within the deadline.
    pub async fn ended(&mut self, deadline: Duration) -> Result<()> {
        timeout(deadline, self.child.wait()).await.with_context(|| format!("{} did not end", self.name))??;
        Ok(())
    }

    /// Asks it to end and waits for it.
    ///
    /// # Errors
    /// When it had to be killed.
    pub async fn quit(&mut self) -> Result<()> {
        let _ = self.client.call(&ControlRequest::Quit).await;
        match timeout(END_DEADLINE, self.child.wait()).await {
            Ok(status) => {
                status?;
                Ok(())
            }
            Err(_) => {
                self.child.kill().await?;
                bail!("{} did not end within {END_DEADLINE:?}", self.name)
            }
        }
    }
}

/// A program to be run in a network namespace; `ip` becomes it, so its process id is the program's.
pub(crate) fn program_in(namespace: &str, program: &Path) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

/// Looks at something until it is there; the last look's words are in the error.
///
/// # Errors
/// When it is not there within the deadline.
pub async fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Result<std::ops::ControlFlow<T, String>>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    let mut seen = "nothing yet".to_owned();
    while Instant::now() < end {
        match timeout_at(end, look()).await {
            Ok(Ok(Break(found))) => return Ok(found),
            Ok(Ok(Continue(words))) => seen = words,
            Ok(Err(error)) => seen = format!("{error:#}"),
            Err(_) => seen += "; the last look did not end",
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    bail!("{what}: not within {deadline:?}; last seen: {seen}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_look_that_hangs_ends_with_the_deadline() {
        let hangs = async || std::future::pending::<Result<std::ops::ControlFlow<(), String>>>().await;
        let waited = timeout(SERVE_DEADLINE, wait_for("it is there", Duration::from_millis(50), hangs)).await;
        assert!(matches!(&waited, Ok(Err(error)) if error.to_string().contains("did not end")), "{waited:?}");
    }
}
