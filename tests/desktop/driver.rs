//! One window of the app under WebDriver: things are found by their `data-testid`, waited for, and clicked as a person would.

use crate::display::Display;
use anyhow::{Context, Result, bail, ensure};
use fantoccini::{Client, ClientBuilder, Locator, elements::Element};
use fogbank_harness::wait_for;
use serde_json::json;
use std::{
    ops::ControlFlow::{Break, Continue},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::process::{Child, Command};

/// The app and its web view start in seconds; a busy machine is waited for.
const START: Duration = Duration::from_secs(60);
/// A thing that a page shows at once.
const SHOWN: Duration = Duration::from_secs(30);

/// A page without a graphics card is painted within this.
const PAINT: Duration = Duration::from_millis(700);
/// Whether a person can see an element.
const SHOWS: &str =
    "const [e] = arguments; const box = e.getBoundingClientRect(); return e.checkVisibility() && box.width > 0 && box.height > 0";

/// A window.
pub(crate) struct Window {
    client: Client,
    _driver: Child,
}

impl Window {
    /// Opens the app on a display with a profile. Everything else of a user (home, caches) is the profile's neighbour, not the real one.
    pub(crate) async fn open(display: &Display, app: &Path, profile: &Path) -> Result<Self> {
        let home = profile.parent().context("the profile has a parent")?.join("home");
        std::fs::create_dir_all(&home)?;
        let (port, native) = (free_port()?, free_port()?);
        let driver = Command::new("tauri-driver")
            .args(["--port", &port.to_string(), "--native-port", &native.to_string()])
            .env("DISPLAY", &display.name)
            .env("HOME", &home)
            .env_remove("WAYLAND_DISPLAY")
            .env_remove("XDG_RUNTIME_DIR")
            .envs(["XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"].map(|name| (name, home.join(name))))
            .envs([("FOGBANK_PROXY", "0"), ("FOGBANK_LISTEN", "127.0.0.1"), ("GTK_A11Y", "none"), ("NO_AT_BRIDGE", "1")])
            .env("FOGBANK_PROFILE", profile)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting tauri-driver")?;
        let options = json!({ "tauri:options": { "application": app } });
        let capabilities = options.as_object().cloned().context("an object")?;
        let client = wait_for("the window opens", START, async || {
            let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
            match builder.capabilities(capabilities.clone()).connect(&format!("http://127.0.0.1:{port}")).await {
                Ok(client) => Ok(Break(client)),
                Err(error) => Ok(Continue(error.to_string())),
            }
        })
        .await?;
        Ok(Self { client, _driver: driver })
    }

    /// Waits for a thing and clicks it.
    pub(crate) async fn click(&self, id: &str) -> Result<()> {
        wait_for(&format!("“{id}” can be clicked"), SHOWN, async || {
            let element = self.find(id).await?;
            if !element.is_enabled().await? {
                return Ok(Continue("it is disabled".to_owned()));
            }
            element.click().await?;
            Ok(Break(()))
        })
        .await
    }

    /// Replaces what is written in a field.
    pub(crate) async fn fill(&self, id: &str, text: &str) -> Result<()> {
        let element = wait_for(&format!("the field “{id}”"), SHOWN, async || Ok(Break(self.find(id).await?))).await?;
        element.clear().await?;
        element.send_keys(text).await?;
        // The Enter key, as WebDriver writes it.
        element.send_keys("\u{e007}").await?;
        Ok(())
    }

    /// Waits until a thing is shown whose text holds these words.
    pub(crate) async fn wait_text(&self, id: &str, words: &str, deadline: Duration) -> Result<()> {
        wait_for(&format!("“{id}” says “{words}”"), deadline, async || {
            let text = self.text(id).await?;
            Ok(if text.contains(words) { Break(()) } else { Continue(text) })
        })
        .await
    }

    /// Waits until a thing's `data-state` is this.
    pub(crate) async fn wait_state(&self, id: &str, state: &str, deadline: Duration) -> Result<()> {
        wait_for(&format!("“{id}” is {state}"), deadline, async || {
            let seen = self.find(id).await?.attr("data-state").await?.unwrap_or_default();
            Ok(if seen == state { Break(()) } else { Continue(seen) })
        })
        .await
    }

    /// A thing's text.
    pub(crate) async fn text(&self, id: &str) -> Result<String> {
        Ok(self.find(id).await?.prop("innerText").await?.unwrap_or_default().trim().to_owned())
    }

    /// What is written in a field.
    pub(crate) async fn value(&self, id: &str) -> Result<String> {
        Ok(self.find(id).await?.prop("value").await?.unwrap_or_default())
    }

    /// How many there are.
    pub(crate) async fn count(&self, id: &str) -> Result<usize> {
        Ok(self.client.find_all(Locator::Css(&by(id))).await?.len())
    }

    /// Keeps a picture of the window in `$FOGBANK_SHOTS`, when that is set: for people to look at, and for the README.
    pub(crate) async fn shot(&self, name: &str) -> Result<()> {
        let Some(folder) = std::env::var_os("FOGBANK_SHOTS").map(PathBuf::from) else { return Ok(()) };
        std::fs::create_dir_all(&folder)?;
        // What was shown a moment ago has been painted by then; nothing waits for it but the picture.
        tokio::time::sleep(PAINT).await;
        std::fs::write(folder.join(format!("{name}.png")), self.client.screenshot().await?)?;
        Ok(())
    }

    /// Closes it, as a person does.
    pub(crate) async fn close(self) -> Result<()> {
        self.client.close_window().await?;
        match self.client.close().await {
            Ok(()) => Ok(()),
            // The session may be gone with its last window.
            Err(error) if error.is_invalid_session_id() => Ok(()),
            Err(error) => bail!("the window did not close: {error}"),
        }
    }

    async fn find(&self, id: &str) -> Result<Element> {
        let found = self.client.find_all(Locator::Css(&by(id))).await?;
        ensure!(!found.is_empty(), "nothing on the page is called “{id}”");
        for element in found {
            // WebDriver's own "is displayed" (and "text") calls a line that ends in an ellipsis hidden; the page knows better.
            let shown = self.client.execute(SHOWS, vec![serde_json::to_value(&element)?]).await?;
            if shown == json!(true) {
                return Ok(element);
            }
        }
        bail!("“{id}” is on the page but not shown")
    }
}

fn by(id: &str) -> String {
    format!("[data-testid=\"{id}\"]")
}

/// A port that is free now. Another program could take it before the driver does; then the driver does not start and the test says so.
fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
