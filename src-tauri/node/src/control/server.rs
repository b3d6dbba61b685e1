//! The owner's door: a local socket (Unix socket or named pipe) that only the owner can open.

use super::{ControlReply, ControlRequest};
use interprocess::local_socket::{
    GenericFilePath, ListenerOptions, Name, ToFsName,
    tokio::{Listener, Stream, prelude::*},
};
use std::{
    future::Future,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
    time::timeout,
};

/// A request line: a ticket or a path and four numbers.
pub(super) const MAX_REQUEST_BYTES: u64 = 64 << 10;
/// A reply line: 10,000 containers at 400 bytes.
pub(super) const MAX_REPLY_BYTES: u64 = 8 << 20;
/// Clients at once: a window, a few terminals, a script.
const MAX_CLIENTS: usize = 32;
/// A client that is silent for so long is let go; it connects again.
const SILENCE: Duration = Duration::from_secs(300);

/// What answers requests.
pub type Answer = Arc<dyn Fn(ControlRequest) -> Pin<Box<dyn Future<Output = ControlReply> + Send>> + Send + Sync>;

/// The open door. It closes with the value.
pub struct ControlServer {
    task: JoinHandle<()>,
    path: PathBuf,
}

impl ControlServer {
    /// Opens the socket in a profile that the caller has locked (so a socket left there by a crash can be replaced).
    ///
    /// # Errors
    /// When the socket can't be made.
    pub fn open(root: &Path, answer: Answer) -> io::Result<Self> {
        let path = socket_path(root)?;
        let _ = std::fs::remove_file(&path);
        let listener = ListenerOptions::new().name(name_of(&path)?).create_tokio()?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        }
        let task = tokio::spawn(accept(listener, answer));
        Ok(Self { task, path })
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Where a profile's socket is. Socket paths end at about 100 bytes on some systems, so deep profiles get a short one, named by a hash of the
/// profile's path, in a folder that is this user's alone.
pub(super) fn socket_path(root: &Path) -> io::Result<PathBuf> {
    let path = root.join("control.sock");
    if path.as_os_str().len() < 100 || cfg!(windows) {
        return Ok(path);
    }
    let hash = blake3::hash(root.as_os_str().as_encoded_bytes()).to_hex();
    Ok(own_folder()?.join(format!("{}.sock", &hash[..16])))
}

/// A folder in the temporary one that nobody else can have made or can look into.
#[cfg(unix)]
fn own_folder() -> io::Result<PathBuf> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let uid = rustix::process::geteuid().as_raw();
    let folder = std::env::temp_dir().join(format!("fogbank-{uid}"));
    match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let is = std::fs::symlink_metadata(&folder)?;
    if is.is_dir() && is.uid() == uid && is.mode() & 0o077 == 0 {
        Ok(folder)
    } else {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{} is not this user's alone", folder.display())))
    }
}

#[cfg(not(unix))]
fn own_folder() -> io::Result<PathBuf> {
    Ok(std::env::temp_dir())
}

pub(super) fn name_of(path: &Path) -> io::Result<Name<'static>> {
    #[cfg(windows)]
    {
        let hash = blake3::hash(path.as_os_str().as_encoded_bytes()).to_hex();
        format!(r"\\.\pipe\fogbank-{}", &hash[..32]).to_fs_name::<GenericFilePath>()
    }
    #[cfg(not(windows))]
    path.to_owned().to_fs_name::<GenericFilePath>()
}

async fn accept(listener: Listener, answer: Answer) {
    let clients = Arc::new(Semaphore::new(MAX_CLIENTS));
    // They end with the door.
    let mut serving = JoinSet::new();
    loop {
        while serving.try_join_next().is_some() {}
        let Ok(permit) = clients.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok(stream) => {
                let answer = answer.clone();
                serving.spawn(async move {
                    let _permit = permit;
                    if let Err(error) = serve(stream, answer).await {
                        tracing::debug!(%error, "a control client left");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket failed to accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(stream: Stream, answer: Answer) -> io::Result<()> {
    let mut write = &stream;
    let mut read = BufReader::new(&stream);
    loop {
        let mut line = Vec::new();
        let got = timeout(SILENCE, (&mut read).take(MAX_REQUEST_BYTES).read_until(b'\n', &mut line)).await??;
        if got == 0 {
            return Ok(());
        }
        let reply = match serde_json::from_slice::<ControlRequest>(&line) {
            Ok(request) => answer(request).await,
            Err(error) => ControlReply::Failed(super::ControlError {
                kind: super::ControlErrorKind::Invalid,
                what: format!("this node does not understand that request: {error}"),
                todo: "Use the same version of Fogbank on both sides.".to_owned(),
            }),
        };
        let mut bytes = serde_json::to_vec(&reply)?;
        bytes.push(b'\n');
        timeout(SILENCE, write.write_all(&bytes)).await??;
    }
}
