//! Opening the profile's node while the window is there already, and ending it with the window.

use fogbank_node::{NodeOptions, ProxyPort, Session, SessionError};
use serde::Serialize;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tauri::{AppHandle, Manager};
use tokio::{sync::watch, time::timeout};

/// A node that starts while the window is closed is waited for this long: it takes seconds, and a disk that hangs keeps no process for ever.
const START_WAIT: Duration = Duration::from_secs(15);

/// How far the way to the node is, for the window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub(crate) enum SessionDto {
    /// Not there yet.
    Starting,
    /// There.
    Ready {
        /// Whether this process runs the node; else another does, and it goes on when the window closes.
        hosted: bool,
        /// The profile's folder.
        profile: String,
    },
    /// It won't be there.
    Failed {
        /// What happened.
        what: String,
        /// What to do.
        todo: String,
    },
}

#[derive(Clone)]
enum Stage {
    Starting,
    Ready(Arc<Session>, PathBuf),
    Failed { what: String, todo: String },
    Ended,
}

/// The way to the node, now and as it changes.
pub(crate) struct Opening {
    stage: watch::Sender<Stage>,
}

impl Opening {
    /// Begins to open it.
    pub(crate) fn begin(app: AppHandle) -> Self {
        let stage = watch::Sender::new(Stage::Starting);
        let told = stage.clone();
        tauri::async_runtime::spawn(async move {
            let opened = match options(&app) {
                Ok((profile, options)) => open(profile, options).await,
                Err(what) => failed(what, ""),
            };
            if let Stage::Failed { what, .. } = &opened {
                tracing::error!("{what}");
            }
            if let Some(session) = arrive(&told, opened).await {
                session.ended().await;
                app.exit(0);
            }
        });
        Self { stage }
    }

    /// How far it is.
    pub(crate) fn view(&self) -> SessionDto {
        match &*self.stage.borrow() {
            Stage::Starting | Stage::Ended => SessionDto::Starting,
            Stage::Ready(session, profile) => {
                SessionDto::Ready { hosted: session.is_hosted(), profile: profile.display().to_string() }
            }
            Stage::Failed { what, todo } => SessionDto::Failed { what: what.clone(), todo: todo.clone() },
        }
    }

    /// The node, once it is there.
    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        match &*self.stage.borrow() {
            Stage::Ready(session, _) => Some(session.clone()),
            _ => None,
        }
    }

    /// Ends a node that this process hosts; one that is just starting, once it has started.
    pub(crate) async fn end(&self) {
        let mut stages = self.stage.subscribe();
        let started = stages.wait_for(|stage| !matches!(stage, Stage::Starting));
        if timeout(START_WAIT, started).await.is_err() {
            tracing::warn!("the node was still starting when the window was closed");
        }
        let stage = self.stage.send_replace(Stage::Ended);
        if let Stage::Ready(session, _) = stage {
            session.shutdown().await;
        }
    }
}

/// Makes what was opened known. When the window has been closed meanwhile, it is ended again at once; gives the node otherwise.
async fn arrive(stage: &watch::Sender<Stage>, opened: Stage) -> Option<Arc<Session>> {
    let session = if let Stage::Ready(session, _) = &opened { Some(session.clone()) } else { None };
    let awaited = stage.send_if_modified(|stage| {
        let awaited = matches!(stage, Stage::Starting);
        if awaited {
            *stage = opened;
        }
        awaited
    });
    match session {
        Some(session) if !awaited => {
            session.shutdown().await;
            None
        }
        session => session,
    }
}

async fn open(profile: PathBuf, options: NodeOptions) -> Stage {
    match Session::open(&profile, options).await {
        Ok(session) => Stage::Ready(Arc::new(session), profile),
        Err(error) => {
            let todo = match &error {
                SessionError::Silent(_) => "End that process, then open the window again.",
                SessionError::Profile(_) | SessionError::Start(_) => "Mend that, then open the window again.",
            };
            failed(error.to_string(), todo)
        }
    }
}

fn failed(what: String, todo: &str) -> Stage {
    Stage::Failed { what, todo: todo.to_owned() }
}

/// Profile and options: as `fogbankd run` has them, by the environment where it says something.
fn options(app: &AppHandle) -> Result<(PathBuf, NodeOptions), String> {
    let profile = match fogbank_node::usual_profile() {
        Some(profile) => profile,
        None => app.path().app_data_dir().map_err(|e| format!("there is no folder for this app's data: {e}"))?,
    };
    let mut options = NodeOptions::default();
    if let Some(proxy) = std::env::var_os("FOGBANK_PROXY") {
        options.proxy = proxy.to_string_lossy().parse::<ProxyPort>().map_err(|e| format!("FOGBANK_PROXY: {e}"))?;
    }
    if let Some(listen) = std::env::var_os("FOGBANK_LISTEN") {
        options.listen = listen.to_string_lossy().parse().map_err(|e| format!("FOGBANK_LISTEN: {e}"))?;
    }
    Ok((profile, options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_window_that_is_closed_while_its_node_starts_leaves_none_behind() {
        let folder = tempfile::tempdir().unwrap();
        let options =
            NodeOptions { listen: std::net::Ipv4Addr::LOCALHOST.into(), proxy: ProxyPort::Off, ..NodeOptions::default() };
        let hosted = async || {
            let opened = open(folder.path().to_owned(), options).await;
            assert!(matches!(&opened, Stage::Ready(session, _) if session.is_hosted()));
            opened
        };
        // Closed before, and given up waiting.
        let ended = watch::Sender::new(Stage::Ended);
        assert!(arrive(&ended, hosted().await).await.is_none() && matches!(*ended.borrow(), Stage::Ended));
        // Closed before, and waited for: the profile is free again afterwards.
        let opening = Opening { stage: watch::Sender::new(Stage::Starting) };
        let (arrived, ()) = tokio::join!(async { arrive(&opening.stage, hosted().await).await }, opening.end());
        assert!(arrived.is_some() && matches!(*opening.stage.borrow(), Stage::Ended));
        drop(arrived);
        assert!(arrive(&ended, hosted().await).await.is_none());
    }
}
