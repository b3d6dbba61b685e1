//! The other side of the door: asks the node that runs a profile.

use super::{
    ControlReply, ControlRequest,
    server::{MAX_REPLY_BYTES, name_of, socket_path},
};
use interprocess::local_socket::tokio::{Stream, prelude::*};
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    time::timeout,
};

/// The longest work behind one answer is reading a folder of 4 GiB for publishing.
const ANSWER_DEADLINE: Duration = Duration::from_secs(600);

/// A client of a running node. Each call is a connection of its own, so calls may run side by side.
#[derive(Debug, Clone)]
pub struct Client {
    path: PathBuf,
}

/// Why a node does not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No node runs this profile.
    #[error("no Fogbank node runs the profile {}: start one with “fogbankd run --profile {}”", profile.display(), profile.display())]
    NotRunning {
        /// The profile's folder.
        profile: PathBuf,
    },
    /// The socket broke.
    #[error("the running node did not answer: {0}")]
    Broken(#[source] io::Error),
    /// What came back was no answer.
    #[error("the running node gave an answer that this version does not understand: {0}")]
    Unreadable(#[source] serde_json::Error),
}

impl Client {
    /// The node that runs this profile, if one does.
    ///
    /// # Errors
    /// When none answers at the profile's socket.
    pub async fn connect(profile: &Path) -> Result<Self, ClientError> {
        let client = Self { path: socket_path(profile).map_err(ClientError::Broken)? };
        match client.stream().await {
            Ok(_) => Ok(client),
            Err(_) => Err(ClientError::NotRunning { profile: profile.to_owned() }),
        }
    }

    /// Asks one thing.
    ///
    /// # Errors
    /// When the node is gone or does not answer.
    pub async fn call(&self, request: &ControlRequest) -> Result<ControlReply, ClientError> {
        let exchange = async {
            let stream = self.stream().await?;
            let mut write = &stream;
            let mut bytes = serde_json::to_vec(request)?;
            bytes.push(b'\n');
            write.write_all(&bytes).await?;
            let mut line = Vec::new();
            BufReader::new(&stream).take(MAX_REPLY_BYTES).read_until(b'\n', &mut line).await?;
            if line.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(line) }
        };
        let line =
            timeout(ANSWER_DEADLINE, exchange).await.map_err(|e| ClientError::Broken(e.into()))?.map_err(ClientError::Broken)?;
        serde_json::from_slice(&line).map_err(ClientError::Unreadable)
    }

    async fn stream(&self) -> io::Result<Stream> {
        let stream = Stream::connect(name_of(&self.path)?).await?;
        // Tickets and links go over it: to this user's own node only, whoever else may listen at that path.
        #[cfg(unix)]
        if stream.peer_creds()?.euid() != Some(rustix::process::geteuid().as_raw()) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "another user listens there"));
        }
        Ok(stream)
    }
}
