//! A link that this node keeps up: a bounded queue, and a task that connects, sends, and connects again.

use super::{Frame, peer, receive, send};
use fogbank_wire::Purpose;
use iroh::{
    Endpoint,
    endpoint::{Connection, VarInt},
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
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

/// What to do with frames that come back on a link.
pub type Take = Arc<dyn Fn(Frame) + Send + Sync>;

/// A link to one peer, kept up until it is dropped.
#[derive(Debug)]
pub struct Link {
    queue: mpsc::Sender<Frame>,
    state: watch::Receiver<LinkState>,
    task: JoinHandle<()>,
}

impl Link {
    /// Begins to keep up a link from an endpoint to a peer. Frames that come back go to `take`.
    pub fn open(endpoint: Endpoint, key: [u8; 32], addrs: Vec<SocketAddr>, take: Option<Take>) -> Self {
        let (queue, frames) = mpsc::channel(QUEUE);
        let (state_tx, state) = watch::channel(LinkState::Connecting);
        let task = tokio::spawn(keep_up(endpoint, key, addrs, frames, state_tx, take));
        Self { queue, state, task }
    }

    /// Queues a frame if there is room; a mix must not wait for a slow peer.
    pub fn try_send(&self, frame: Frame) -> bool {
        self.queue.try_send(frame).is_ok()
    }

    /// The queue, for senders that wait for room.
    pub(crate) fn queue(&self) -> mpsc::Sender<Frame> {
        self.queue.clone()
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

async fn keep_up(
    endpoint: Endpoint,
    key: [u8; 32],
    addrs: Vec<SocketAddr>,
    mut frames: mpsc::Receiver<Frame>,
    state: watch::Sender<LinkState>,
    take: Option<Take>,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(connection) = connect(&endpoint, &key, &addrs).await {
            pause = FIRST_PAUSE;
            state.send_replace(LinkState::Up);
            let ended = carry(&connection, &mut frames, take.clone()).await;
            connection.close(VarInt::from_u32(0), b"");
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

async fn connect(endpoint: &Endpoint, key: &[u8; 32], addrs: &[SocketAddr]) -> Option<Connection> {
    let target = peer(key, addrs)?;
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
async fn carry(connection: &Connection, frames: &mut mpsc::Receiver<Frame>, take: Option<Take>) -> bool {
    let receiving = async {
        match take {
            Some(take) => receive(connection, move |frame| take(frame)).await,
            None => connection.closed().await,
        }
    };
    tokio::pin!(receiving);
    loop {
        tokio::select! {
            _ = &mut receiving => return false,
            frame = frames.recv() => match frame {
                Some(frame) => if send(connection, frame).await.is_err() { return false },
                None => return true,
            },
        }
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
