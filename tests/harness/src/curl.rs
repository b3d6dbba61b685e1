//! Fetching as an ordinary program does: `curl` through a SOCKS5 proxy that resolves the name.

use crate::{nets::Place, process::program_in};
use anyhow::{Context, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};
use tokio::process::Command;

/// What needs no escape in a path.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// How to fetch.
#[derive(Debug, Clone)]
pub struct Curl {
    proxy: SocketAddr,
    onion: String,
    max_time: Duration,
    rate: Option<u32>,
    user: Option<String>,
    namespace: Option<String>,
}

/// What came.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetched {
    /// Exit status of curl: 0 when a whole response came.
    pub exit: i32,
    /// HTTP status, 0 when none came.
    pub status: u16,
    /// Seconds to the first byte of the response.
    pub first_byte_s: f64,
    /// Seconds in all.
    pub total_s: f64,
    /// The body.
    pub body: Vec<u8>,
}

impl Curl {
    /// Through this proxy, from this address.
    pub fn new(proxy: SocketAddr, onion: &str) -> Self {
        Self { proxy, onion: onion.to_owned(), max_time: Duration::from_secs(60), rate: None, user: None, namespace: None }
    }

    /// Gives up after this long.
    pub fn max_time(mut self, max_time: Duration) -> Self {
        self.max_time = max_time;
        self
    }

    /// Gives the proxy this user name and some password (SOCKS wants one).
    pub fn user(mut self, user: &str) -> Self {
        self.user = Some(format!("{user}:x"));
        self
    }

    /// Runs in a network namespace.
    pub fn at(mut self, place: &Place) -> Self {
        self.namespace = Some(place.namespace.clone());
        self
    }

    fn program(&self) -> Command {
        let mut command = match &self.namespace {
            Some(namespace) => program_in(namespace, Path::new("curl")),
            None => Command::new("curl"),
        };
        command.args(self.user.iter().flat_map(|user| ["--proxy-user", user]));
        command
    }

    /// Reads at most so many bytes a second.
    pub fn rate(mut self, bytes_per_s: u32) -> Self {
        self.rate = Some(bytes_per_s);
        self
    }

    /// Fetches one path of the site ("" is its front page), raw, not yet escaped.
    ///
    /// # Errors
    /// When curl can't be run. That nothing came is a [`Fetched`].
    pub async fn get(&self, path: &str) -> Result<Fetched> {
        self.fetch(path, None).await
    }

    /// Fetches so many bytes of one path, from a place on. The visitor's proxy keeps small files; a part of a large one always comes from a
    /// host.
    ///
    /// # Errors
    /// As with [`Self::get`].
    pub async fn get_part(&self, path: &str, from: usize, bytes: usize) -> Result<Fetched> {
        self.fetch(path, Some(format!("{from}-{}", from + bytes - 1))).await
    }

    async fn fetch(&self, path: &str, range: Option<String>) -> Result<Fetched> {
        let body = tempfile::NamedTempFile::new()?;
        let mut command = self.program();
        command
            .args(["--silent", "--max-time", &self.max_time.as_secs_f64().to_string()])
            .args(["--socks5-hostname", &self.proxy.to_string()])
            .args(["--write-out", "%{http_code} %{time_starttransfer} %{time_total}"])
            .arg("--output")
            .arg(body.path());
        if let Some(rate) = self.rate {
            command.args(["--limit-rate", &rate.to_string()]);
        }
        if let Some(range) = range {
            command.args(["--range", &range]);
        }
        let url = format!("http://{}/{}", self.onion, utf8_percent_encode(path, PATH));
        let output = command.arg(url).stdin(Stdio::null()).kill_on_drop(true).output().await.context("running curl")?;
        let words = String::from_utf8_lossy(&output.stdout);
        let mut words = words.split_whitespace();
        Ok(Fetched {
            exit: output.status.code().unwrap_or(-1),
            status: words.next().and_then(|w| w.parse().ok()).unwrap_or(0),
            first_byte_s: words.next().and_then(|w| w.parse().ok()).unwrap_or(0.0),
            total_s: words.next().and_then(|w| w.parse().ok()).unwrap_or(0.0),
            body: std::fs::read(body.path())?,
        })
    }

    /// Fetches many paths over one connection into `folder/0`, `folder/1`, … with one curl; returns its exit status.
    ///
    /// # Errors
    /// When curl can't be run.
    pub async fn get_all(&self, paths: &[String], folder: &Path) -> Result<i32> {
        let mut config = String::new();
        for (i, path) in paths.iter().enumerate() {
            let url = format!("http://{}/{}", self.onion, utf8_percent_encode(path, PATH));
            config.push_str(&format!("url = \"{url}\"\noutput = \"{}/{i}\"\n", folder.display()));
        }
        let file = folder.join("curl.conf");
        std::fs::write(&file, config)?;
        let status = self
            .program()
            .args(["--silent", "--fail", "--max-time", &self.max_time.as_secs_f64().to_string()])
            .args(["--socks5-hostname", &self.proxy.to_string(), "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .status()
            .await
            .context("running curl")?;
        Ok(status.code().unwrap_or(-1))
    }
}

impl Fetched {
    /// Whether a whole page came, or the whole part that was asked for.
    pub fn is_ok(&self) -> bool {
        self.exit == 0 && matches!(self.status, 200 | 206)
    }
}
