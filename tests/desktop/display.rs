//! A display of the test's own (Xvfb on a free number), which ends with it.

use anyhow::{Context, Result, ensure};
use std::{process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// Xvfb says its number within a second; a busy machine is waited for.
const START: Duration = Duration::from_secs(30);

/// A running display.
pub(crate) struct Display {
    /// As `$DISPLAY` has it.
    pub(crate) name: String,
    _server: Child,
}

impl Display {
    /// Starts one.
    pub(crate) async fn open() -> Result<Self> {
        let mut server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1280x900x24", "-nolisten", "tcp", "-noreset"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting Xvfb")?;
        let mut lines = BufReader::new(server.stdout.take().context("its output")?).lines();
        let number = timeout(START, lines.next_line()).await.context("Xvfb did not start")??.context("Xvfb ended at once")?;
        Ok(Self { name: format!(":{}", number.trim()), _server: server })
    }

    /// What was copied last, as another program sees it.
    pub(crate) async fn clipboard(&self) -> Result<String> {
        let read = Command::new("xclip")
            .args(["-selection", "clipboard", "-out"])
            .env("DISPLAY", &self.name)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(START, read).await.context("xclip hangs")??;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}
