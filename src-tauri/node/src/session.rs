//! How the window reaches the node of a profile: it attaches to the one that runs already, or hosts it in its own process.

use crate::{
    Node, NodeOptions, Profile, ProfileError, StartError,
    control::{
        ControlError, ControlErrorKind, ControlReply, ControlRequest,
        client::{Client, ClientError},
    },
};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// A node is reachable within this after it has locked its profile, and its profile free within this after its socket has gone.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two looks.
const AGAIN: Duration = Duration::from_millis(100);

/// A way to the node of a profile.
pub enum Session {
    /// Another process runs it.
    Attached(Client),
    /// This process runs it.
    Hosted(Box<Node>),
}

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The profile can't be opened.
    #[error(transparent)]
    Profile(ProfileError),
    /// The profile is in use, but who has it does not answer.
    #[error("the profile is in use by a process that does not answer: {0}")]
    Silent(#[source] ClientError),
    /// The node did not start.
    #[error(transparent)]
    Start(StartError),
}

impl Session {
    /// Attaches to the node that runs this profile, else starts it here.
    ///
    /// # Errors
    /// When neither works.
    pub async fn open(root: &Path, options: NodeOptions) -> Result<Self, SessionError> {
        let began = Instant::now();
        loop {
            match Profile::open(root) {
                Ok(profile) => {
                    let node = Node::start(profile, options).await.map_err(SessionError::Start)?;
                    return Ok(Self::Hosted(Box::new(node)));
                }
                Err(ProfileError::InUse { .. }) => match Client::connect(root).await {
                    Ok(client) => return Ok(Self::Attached(client)),
                    // Who has the profile starts or ends just now.
                    Err(_) if began.elapsed() < PATIENCE => tokio::time::sleep(AGAIN).await,
                    Err(error) => return Err(SessionError::Silent(error)),
                },
                Err(error) => return Err(SessionError::Profile(error)),
            }
        }
    }

    /// Asks the node, wherever it is.
    pub async fn call(&self, request: ControlRequest) -> ControlReply {
        match self {
            Self::Hosted(node) => node.call(request).await,
            Self::Attached(client) => client.call(&request).await.unwrap_or_else(|error| {
                ControlReply::Failed(ControlError {
                    kind: ControlErrorKind::Failed,
                    what: error.to_string(),
                    todo: "Open the window again to start the node here.".to_owned(),
                })
            }),
        }
    }

    /// Whether this process runs the node.
    pub fn is_hosted(&self) -> bool {
        matches!(self, Self::Hosted(_))
    }

    /// Waits until somebody asked a node that this process hosts to end; for ever when another process runs it.
    pub async fn ended(&self) {
        match self {
            Self::Hosted(node) => node.ended().await,
            Self::Attached(_) => std::future::pending().await,
        }
    }

    /// Ends a node that this process hosts; one of another process goes on.
    pub async fn shutdown(&self) {
        if let Self::Hosted(node) = self {
            node.shutdown().await;
        }
    }
}
