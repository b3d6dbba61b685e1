//! The window's shell: it opens the node of the profile, here or where it runs already, and hands the window's requests to it.
//!
//! Invariants: composition only, no domain logic; the window can ask for nothing but what [`commands`] lists; a node that this process hosts
//! has ended before the process does.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "tests"))]

mod commands;
mod opening;

use opening::Opening;
use std::process::ExitCode;
use tauri::{Manager, RunEvent};
use tracing_subscriber::EnvFilter;

/// What is logged unless RUST_LOG says otherwise: our own news, and only trouble of the libraries.
const DEFAULT_LOG: &str =
    "warn,fogbank_app=info,fogbank_node=info,fogbank_allocator=info,fogbank_agent=info,fogbank_betanet=info";

/// Runs the app until its window is closed.
#[cfg_attr(mobile, tauri::mobile_entry_point)]
pub fn run() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let app = tauri::Builder::default()
        .plugin(tauri_plugin_dialog::init())
        .plugin(tauri_plugin_clipboard_manager::init())
        .invoke_handler(tauri::generate_handler![commands::call, commands::session])
        .setup(|app| {
            app.manage(Opening::begin(app.handle().clone()));
            Ok(())
        })
        .build(tauri::generate_context!());
    match app {
        Ok(app) => {
            app.run(|handle, event| {
                if let RunEvent::Exit = event
                    && let Some(opening) = handle.try_state::<Opening>()
                {
                    tauri::async_runtime::block_on(opening.end());
                }
            });
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(%error, "the window could not be opened");
            ExitCode::FAILURE
        }
    }
}
