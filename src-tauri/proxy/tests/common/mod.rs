//! A proxy over real mixes on loopback, and curl in front of it.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, reason = "tests; each scenario uses a part")]

use crate::net::{Net, ready};
use fogbank_betanet::client::{Visit, Visitor};
use fogbank_model::Onion;
use fogbank_proxy::Proxy;
use std::{net::SocketAddr, process::Stdio, time::Duration};
use tokio::{
    process::{Child, Command},
    sync::Mutex,
};

/// Megabytes move over mixes here, all of them on this machine: side by side, scenarios would starve each other until tunnels take the other end
/// for gone.
pub(crate) static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// A visitor and its proxy.
pub(crate) struct Side {
    pub(crate) visitor: Visitor,
    pub(crate) proxy: Proxy,
}

impl Side {
    pub(crate) async fn start(net: &Net) -> Self {
        let uplink = net.member();
        ready(&uplink).await;
        let visitor = Visitor::start(uplink);
        let proxy =
            Proxy::bind("127.0.0.1:0".parse().unwrap(), tokio::sync::watch::channel(Some(visitor.clone())).1).await.unwrap();
        Self { visitor, proxy }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.proxy.addr()
    }

    /// The one visit.
    pub(crate) fn visit(&self) -> Visit {
        let visits = self.visitor.visits();
        assert_eq!(visits.len(), 1, "{visits:?}");
        visits.into_iter().next().unwrap()
    }

    /// By SOCKS5.
    pub(crate) async fn get(&self, onion: &Onion, path: &str) -> Got {
        self.curl(&["--socks5-hostname", &self.addr().to_string()], onion, path).await
    }

    pub(crate) async fn curl(&self, options: &[&str], onion: &Onion, path: &str) -> Got {
        curl(options, &format!("http://{onion}{path}")).await
    }
}

/// What curl got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) exit: i32,
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|l| l.split_once(':'));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Starts curl with these options; without proxies of the environment.
pub(crate) fn start(options: &[&str], url: &str, into: &std::path::Path) -> Child {
    let mut command = Command::new("curl");
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name);
    }
    command.args(["--silent", "--path-as-is", "--max-time", "90", "--noproxy", ""]).args(options);
    command.arg("--output").arg(into.join("body")).arg("--dump-header").arg(into.join("head"));
    command.arg("--write-out").arg("%{http_code}").arg(url);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("curl runs")
}

pub(crate) async fn finish(child: Child, from: &std::path::Path) -> Got {
    let output = child.wait_with_output().await.unwrap();
    let read = |name| std::fs::read(from.join(name)).unwrap_or_default();
    Got {
        exit: output.status.code().unwrap_or(-1),
        status: String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(0),
        head: String::from_utf8_lossy(&read("head")).into_owned(),
        body: read("body"),
    }
}

pub(crate) async fn curl(options: &[&str], url: &str) -> Got {
    let folder = tempfile::tempdir().unwrap();
    finish(start(options, url, folder.path()), folder.path()).await
}

/// Waits until something is so; how long a test may take bounds it.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let waiting = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap_or_else(|_| panic!("{what}"));
}
