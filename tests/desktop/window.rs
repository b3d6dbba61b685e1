//! The real window, clicked: tauri-driver and WebKitWebDriver under a display of the test's own.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod display;
mod driver;

use anyhow::{Context, Result, ensure};
use display::Display;
use driver::Window;
use fogbank_harness::Process;
use fogbank_node::{
    Profile,
    control::{ControlReply, ControlRequest, client::Client},
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// A practice fog of seven nodes starts and a site comes online within seconds; a busy machine is waited for.
const SOON: Duration = Duration::from_secs(90);

/// What tests need that a plain toolchain doesn't have. `make test` installs it; CI must have it.
fn missing() -> Option<String> {
    let here = |name: &str| std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|p| p.join(name).is_file());
    let missing: Vec<&str> =
        ["tauri-driver", "WebKitWebDriver", "Xvfb", "xclip"].into_iter().filter(|tool| !here(tool)).collect();
    assert!(missing.is_empty() || std::env::var_os("CI").is_none(), "CI lacks {missing:?}");
    (!missing.is_empty()).then(|| missing.join(", "))
}

/// The app, as `cargo test` built it beside this test.
fn app() -> PathBuf {
    env!("CARGO_BIN_EXE_fogbank").into()
}

fn site(folder: &Path) -> Result<PathBuf> {
    let site = folder.join("My garden");
    std::fs::create_dir_all(site.join("photos"))?;
    std::fs::write(site.join("index.html"), "<!doctype html><title>My garden</title><h1>Tomatoes</h1>")?;
    std::fs::write(site.join("photos/one.jpg"), [7; 40_000])?;
    Ok(site)
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_first_start_to_a_copied_address() -> Result<()> {
    if let Some(missing) = missing() {
        eprintln!("skipped: {missing} not installed; make test installs what is missing");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let display = Display::open().await?;
    let profile = folder.path().join("profile");
    let window = Window::open(&display, &app(), &profile).await?;

    // First start: try it here.
    window.wait_text("first-practice", "", SOON).await?;
    window.shot("first-start").await?;
    window.click("first-practice").await?;
    window.wait_text("confirm-practice", "", SOON).await?;
    window.shot("practice").await?;
    window.click("confirm-practice").await?;
    window.click("nav-containers").await?;
    window.click("create").await?;

    // A folder that can't be published is refused in words, then a good one is taken.
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty)?;
    window.fill("folder-path", empty.to_str().context("path")?).await?;
    window.wait_text("fault", "is empty", SOON).await?;
    let site = site(folder.path())?;
    window.fill("folder-path", site.to_str().context("path")?).await?;
    window.wait_text("folder-summary", "2 files", SOON).await?;
    ensure!(window.value("name").await? == "My garden", "the folder's name is not proposed");
    window.wait_text("fit", "Fits", SOON).await?;
    window.shot("create").await?;
    window.click("publish").await?;
    window.wait_state("state", "running", SOON).await?;
    window.wait_text("ready", "2 of 2", SOON).await?;

    // One click copies the address, for every program of the desktop.
    let onion = window.text("onion").await?;
    ensure!(onion.ends_with(".onion"), "{onion}");
    window.click("copy-onion").await?;
    window.wait_text("copied", "", Duration::from_secs(5)).await?;
    ensure!(display.clipboard().await? == onion, "another text was copied");
    let steps = window.count("step").await?;
    ensure!(steps >= 4, "the timeline shows {steps} steps");
    window.shot("app").await?;

    // The window hosts the node, and the command line speaks to the same one.
    let client = Client::connect(&profile).await?;
    let ControlReply::Containers(list) = client.call(&ControlRequest::Containers).await? else { anyhow::bail!("no list") };
    ensure!(list.len() == 1 && list[0].onion == onion && list[0].name == "My garden", "{list:?}");

    window.click("stop").await?;
    window.wait_state("state", "stopped", SOON).await?;
    window.click("restart").await?;
    window.wait_state("state", "running", SOON).await?;
    window.click("delete").await?;
    window.click("confirm-delete").await?;
    window.wait_text("empty", "", SOON).await?;
    window.close().await?;
    wait_until_free(&profile).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_attaches_to_a_running_node_and_leaves_it_running() -> Result<()> {
    if missing().is_some() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let mut node = Process::start(folder.path(), "node", false).await?;
    node.ask(ControlRequest::StartFog { name: "Our street".to_owned(), test: true, relay: None }).await?;
    let display = Display::open().await?;
    let window = Window::open(&display, &app(), node.profile()).await?;
    window.wait_text("privacy-mark", "", SOON).await?;
    window.shot("attached").await?;
    window.wait_text("fog-name", "Our street", SOON).await?;
    window.close().await?;
    ensure!(node.status().await?.fog.is_some_and(|f| f.name == "Our street"), "closing the window ended the node");
    node.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_the_node_from_starting_is_shown_in_the_window() -> Result<()> {
    if missing().is_some() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let profile = folder.path().join("profile");
    drop(Profile::open(&profile)?);
    std::fs::write(profile.join("identity.json"), "not what it was")?;
    let display = Display::open().await?;
    let window = Window::open(&display, &app(), &profile).await?;
    window.wait_text("startup-failed", "identity.json", SOON).await?;
    window.close().await
}

/// A closed window has ended its node: the profile can be locked again.
async fn wait_until_free(profile: &Path) -> Result<()> {
    fogbank_harness::wait_for("the profile is free", Duration::from_secs(20), async || {
        Ok(match Profile::open(profile) {
            Ok(_) => std::ops::ControlFlow::Break(()),
            Err(error) => std::ops::ControlFlow::Continue(error.to_string()),
        })
    })
    .await
}
