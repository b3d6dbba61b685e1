//! The peer: a C-Tor onion service on a private Tor network on loopback, in front of a plain HTTP server that has the same files in memory.
//!
//! Invariants: the network's folder is named on every process's command line, and those processes, by their ids, are ended when the value
//! is dropped. The network is made by `../shared/tor/testnet.sh` beside the repository; without it there is no peer, which is said.
//! Deliberately absent: Tor over real networks. These are loopback figures, as ours are.

use super::page::{Content, Door};
use crate::run::say;
use anyhow::{Context, Result, ensure};
use fogbank_harness::wait_for;
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener as Probe},
    ops::ControlFlow::{Break, Continue},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    task::{JoinHandle, JoinSet},
};

/// From the project's root, where `make` runs.
const TESTNET: &str = "../shared/tor/testnet.sh";
/// The network is ready after 15–25 s on an idle machine.
const READY: Duration = Duration::from_secs(120);
/// The service's descriptor is found some time after that.
const SERVED: Duration = Duration::from_secs(120);
/// One try meanwhile.
const TRY: Duration = Duration::from_secs(15);
/// Where ports are looked for: a thousand a network.
const PORT_BASES: std::ops::Range<u16> = 15..30;

/// A private Tor network with a service and a client.
pub(crate) struct Tor {
    nodes: Nodes,
    _service: Child,
    serving: JoinHandle<()>,
    /// To what the service serves, through the client.
    pub(crate) door: Door,
}

impl Drop for Tor {
    fn drop(&mut self) {
        self.serving.abort();
        self.nodes.end();
    }
}

/// The processes of one network.
struct Nodes(PathBuf);

impl Tor {
    /// Whether a peer can be had here; says what is missing.
    pub(crate) fn missing() -> Option<String> {
        if !Path::new(TESTNET).is_file() {
            return Some(format!("{TESTNET} is not beside this repository"));
        }
        let found = |program: &str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|p| p.join(program).is_file())
        };
        (!found("tor") || !found("tor-gencert"))
            .then(|| "Debian's package tor is not installed (or /usr/sbin not in PATH)".to_owned())
    }

    /// Starts the network and waits until the service serves.
    pub(crate) async fn start(scratch: &Path, content: Arc<Content>) -> Result<Self> {
        let folder = scratch.join("tor");
        std::fs::create_dir_all(&folder)?;
        let (target, serving) = serve(&content).await?;
        let nodes = Nodes(folder.clone());
        let base = PORT_BASES.map(|k| k * 1_000).find(|b| free(*b)).context("no free ports for a Tor network")?;
        say(format_args!("a private Tor network starts at port {base}"));
        let socks = SocketAddr::from((Ipv4Addr::LOCALHOST, base + 301));
        testnet(base, &folder, &["start"], &[]).await?;
        testnet(base, &folder, &["client"], &[&socks.port().to_string()]).await?;
        let service = service(&folder, target)?;
        testnet(base, &folder, &["wait"], &[&READY.as_secs().to_string()]).await?;
        let hostname = std::fs::read_to_string(folder.join("service/onion/hostname")).context("the service's name")?;
        let door = Door::new(socks, hostname.trim(), content);
        let tor = Self { nodes, _service: service, serving, door };
        wait_for("the C-Tor onion service serves", SERVED, async || {
            Ok(match tor.door.serves(TRY).await {
                Ok(()) => Break(()),
                Err(error) => Continue(format!("{error:#}")),
            })
        })
        .await?;
        Ok(tor)
    }
}

impl Nodes {
    /// Ends every process whose command line names the folder.
    fn end(&self) {
        let folder = self.0.to_string_lossy().into_owned();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()).and_then(Pid::from_raw) else { continue };
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&line).contains(&folder) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether the ports that a network at this base needs can be had.
fn free(base: u16) -> bool {
    [1, 2, 3, 101, 102, 103, 201, 202, 203, 204, 301].iter().all(|p| Probe::bind((Ipv4Addr::LOCALHOST, base + p)).is_ok())
}

async fn testnet(base: u16, folder: &Path, verb: &[&str], rest: &[&str]) -> Result<()> {
    let mut command = Command::new("bash");
    command.arg(TESTNET).args(verb).arg(folder).args(rest);
    command.env("PORT_BASE", base.to_string()).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    let status = tokio::time::timeout(READY + TRY, command.status()).await.context("the Tor network's script hangs")??;
    ensure!(status.success(), "{TESTNET} {} ended with {status}", verb.join(" "));
    Ok(())
}

/// Starts the service's own tor process, configured as the script's nodes are, so that the script waits for it, too.
fn service(folder: &Path, target: SocketAddr) -> Result<Child> {
    let own = folder.join("service");
    std::fs::create_dir_all(&own)?;
    std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(own.join("onion"))?;
    std::fs::set_permissions(&own, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    let authorities = std::fs::read_to_string(folder.join("authorities")).context("the Tor network's authorities")?;
    let own_path = own.display();
    let torrc = format!(
        "TestingTorNetwork 1\nPathsNeededToBuildCircuits 0.67\nRunAsDaemon 0\nShutdownWaitLength 0\nSocksPort 0\n\
         Address 127.0.0.1\nOutboundBindAddress 127.0.0.1\nDataDirectory {own_path}\nPidFile {own_path}/pid\n\
         Log notice file {own_path}/notice.log\nHiddenServiceDir {own_path}/onion\nHiddenServicePort 80 {target}\n{authorities}"
    );
    std::fs::write(own.join("torrc"), torrc)?;
    let mut command = Command::new("tor");
    command.arg("-f").arg(own.join("torrc")).arg("--quiet").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.kill_on_drop(true).spawn().context("starting tor")
}

/// Serves the content on loopback from memory: what Tor's way is charged with is Tor's.
async fn serve(content: &Arc<Content>) -> Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let addr = listener.local_addr()?;
    let content = content.clone();
    let serving = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            while connections.try_join_next().is_some() {}
            let content = content.clone();
            connections.spawn(async move {
                let answer = |request: Request<Incoming>| {
                    let found = content.file(request.uri().path()).map(|bytes| Full::new(Bytes::copy_from_slice(bytes)));
                    let status = if found.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
                    let mut response = Response::new(found.unwrap_or_default());
                    *response.status_mut() = status;
                    async move { Ok::<_, std::convert::Infallible>(response) }
                };
                // A client that goes away ends its connection and nothing else.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
            });
        }
    });
    Ok((addr, serving))
}
