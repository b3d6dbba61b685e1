//! A link that this node keeps up: a bounded queue, and a task that connects, sends, and connects again.

use super::{Frame, peer, receive, send};
use fogbank_wire::{Purpose, RelayHint};
use iroh::{
    Endpoint,
    endpoint::{Connection, VarInt},
};
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

/// Frames waiting on one link: 2 MB, a fifth of a second at 10 MB/s; more would only be late.
const QUEUE: usize = 256;
/// A peer in the next room answers within milliseconds, one far away within a second.
const CONNECT_DEADLINE: Duration = Duration::from_secs(4);
/// First pause before connecting again; doubled up to [`LONGEST_PAUSE`], with as much jitter again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A mix that restarts is found again within this and its jitter.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Whether a link is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// Being connected.
    Connecting,
    /// Frames go through.
    Up,
    /// The last attempt failed; another is under way or soon will be.
    Down,
}

/// By which way frames go just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Not at all.
    None,
    /// Straight to the peer.
    Direct,
    /// Over the fog's relay.
    Relay,
}

/// What to do with frames that come back on a link; says until when nothing more is taken, if it is too much.
pub type Take = Arc<dyn Fn(Frame) -> Option<Instant> + Send + Sync>;

/// A link to one peer, kept up until it is dropped.
#[derive(Debug)]
pub struct Link {
    queue: mpsc::Sender<Frame>,
    state: watch::Receiver<LinkState>,
    connection: watch::Receiver<Option<Connection>>,
    task: JoinHandle<()>,
}

impl Link {
    /// Begins to keep up a link from an endpoint to a peer. Frames that come back go to `take`.
    pub fn open(endpoint: Endpoint, key: [u8; 32], addrs: Vec<SocketAddr>, relay: Option<RelayHint>, take: Option<Take>) -> Self {
        let (queue, frames) = mpsc::channel(QUEUE);
        let (state_tx, state) = watch::channel(LinkState::Connecting);
        let (connection_tx, connection) = watch::channel(None);
        let peer = Peer { key, addrs, relay };
        let task = tokio::spawn(keep_up(endpoint, peer, frames, state_tx, connection_tx, take));
        Self { queue, state, connection, task }
    }

    /// Queues a frame if there is room; a mix must not wait for a slow peer.
    pub fn try_send(&self, frame: Frame) -> bool {
        self.queue.try_send(frame).is_ok()
    }

    /// The queue, for senders that wait for room.
    pub(crate) fn queue(&self) -> mpsc::Sender<Frame> {
        self.queue.clone()
    }

    /// By which way its frames go just now.
    pub fn way(&self) -> Way {
        let connection = self.connection.borrow();
        let Some(connection) = connection.as_ref() else { return Way::None };
        let paths = connection.paths();
        match paths.iter().find(|p| p.is_selected()) {
            Some(path) if path.is_relay() => Way::Relay,
            Some(_) => Way::Direct,
            None => Way::None,
        }
    }

    /// Whether it is up, now and as it changes.
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.state.clone()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whom a link is to.
struct Peer {
    key: [u8; 32],
    addrs: Vec<SocketAddr>,
    relay: Option<RelayHint>,
}

async fn keep_up(
    endpoint: Endpoint,
    to: Peer,
    mut frames: mpsc::Receiver<Frame>,
    state: watch::Sender<LinkState>,
    current: watch::Sender<Option<Connection>>,
    take: Option<Take>,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(connection) = connect(&endpoint, &to).await {
            pause = FIRST_PAUSE;
            current.send_replace(Some(connection.clone()));
            state.send_replace(LinkState::Up);
            let ended = carry(&connection, &mut frames, take.clone()).await;
            connection.close(VarInt::from_u32(0), b"");
            current.send_replace(None);
            if ended {
                return;
            }
        }
        state.send_replace(LinkState::Down);
        tokio::time::sleep(jittered(pause, rand::random())).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// A pause and as much again, by a draw between 0 and 1: those that lost one mix together do not come back together.
fn jittered(pause: Duration, draw: f64) -> Duration {
    pause.mul_f64(1.0 + draw.clamp(0.0, 1.0))
}

async fn connect(endpoint: &Endpoint, to: &Peer) -> Option<Connection> {
    let target = peer(&to.key, &to.addrs, to.relay.as_ref())?;
    let connecting = async {
        let connection = endpoint.connect(target, fogbank_wire::ALPN).await.map_err(|e| e.to_string())?;
        fogbank_wire::greet(&connection, Purpose::Mix).await.map_err(|e| e.to_string())?;
        Ok::<_, String>(connection)
    };
    match timeout(CONNECT_DEADLINE, connecting).await {
        Ok(Ok(connection)) => Some(connection),
        Ok(Err(error)) => {
            tracing::debug!(error, "a link did not come up");
            None
        }
        Err(_) => None,
    }
}

/// Sends what is queued until the connection breaks (false) or nobody can queue any more (true).
///
/// What comes is taken in a task of its own: it goes on while a frame waits for room, and neither is polled for the other's sake.
async fn carry(connection: &Connection, frames: &mut mpsc::Receiver<Frame>, take: Option<Take>) -> bool {
    let mut receiving = JoinSet::new();
    let from = connection.clone();
    receiving.spawn(async move {
        match take {
            Some(take) => receive(&from, move |frame| take(frame)).await,
            None => from.closed().await,
        }
    });
    let sending = async {
        while let Some(frame) = frames.recv().await {
            if send(connection, frame).await.is_err() {
                return false;
            }
        }
        true
    };
    tokio::select! {
        _ = receiving.join_next() => false,
        ended = sending => ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_drawn_and_bounded() {
        assert_eq!(jittered(FIRST_PAUSE, 0.0), FIRST_PAUSE);
        assert_eq!(jittered(FIRST_PAUSE, 0.5), FIRST_PAUSE.mul_f64(1.5));
        assert_eq!(jittered(LONGEST_PAUSE, 7.0), 2 * LONGEST_PAUSE);
    }
}
