//! The tunnel's task, which has the clock and the pipe, and the handles that programs hold.

use super::{CloseReason, DatagramPipe, Side, TunnelConfig, TunnelCounters, connection::Connection, handshake::Keys};
use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{Notify, watch},
    time::sleep_until,
};

/// Datagrams taken in one go before something is sent.
const BATCH: usize = 64;
/// Without timers the task looks around this seldom.
const NOTHING_TO_DO: Duration = Duration::from_secs(3600);

/// A tunnel is not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tunnel has ended: {0:?}")]
pub struct TunnelError(pub CloseReason);

struct Shared {
    connection: Mutex<Connection>,
    /// Something is to be sent.
    wake: Notify,
    /// A stream was accepted or there is room for one.
    streams: Notify,
    going_away: watch::Sender<bool>,
    closed: watch::Sender<Option<CloseReason>>,
}

/// A tunnel. Clones share it; it ends by [`Tunnel::close`], by the other end, or by silence.
#[derive(Clone)]
pub struct Tunnel {
    shared: Arc<Shared>,
    window: u64,
}

impl Tunnel {
    /// Runs a tunnel over a pipe.
    pub fn spawn(keys: Keys, side: Side, pipe: DatagramPipe, config: TunnelConfig) -> Self {
        let connection = Connection::new(keys, side, config, pipe.max_bytes, Instant::now());
        let shared = Arc::new(Shared {
            connection: Mutex::new(connection),
            wake: Notify::new(),
            streams: Notify::new(),
            going_away: watch::Sender::new(false),
            closed: watch::Sender::new(None),
        });
        tokio::spawn(drive(shared.clone(), pipe));
        Self { shared, window: config.stream_window }
    }

    /// Opens a stream (visitor); waits while [`super::MAX_STREAMS`] are open.
    ///
    /// # Errors
    /// When the tunnel has ended.
    pub async fn open(&self) -> Result<Stream, TunnelError> {
        loop {
            let room = self.shared.streams.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            {
                let mut connection = self.shared.lock();
                if let Some(reason) = connection.closed {
                    return Err(TunnelError(reason));
                }
                if let Some(id) = connection.open() {
                    return Ok(self.stream(id));
                }
            }
            room.await;
        }
    }

    /// The next stream that the visitor opened (host); `None` when the tunnel has ended.
    pub async fn accept(&self) -> Option<Stream> {
        loop {
            let news = self.shared.streams.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            {
                let mut connection = self.shared.lock();
                if let Some(id) = connection.accepted.pop_front() {
                    return Some(self.stream(id));
                }
                if connection.closed.is_some() {
                    return None;
                }
            }
            news.await;
        }
    }

    fn stream(&self, id: u32) -> Stream {
        Stream { id, tunnel: self.clone() }
    }

    /// Tells the visitor to open new streams elsewhere (host). Those that it opens before it learns are still accepted.
    pub fn go_away(&self) {
        self.shared.lock().go_away();
        self.shared.wake.notify_one();
    }

    /// Whether the host has said so.
    pub fn going_away(&self) -> bool {
        self.shared.lock().going_away
    }

    /// The same, as it changes.
    pub fn going_away_watch(&self) -> watch::Receiver<bool> {
        self.shared.going_away.subscribe()
    }

    /// Ends it at once; open streams break.
    pub fn close(&self) {
        self.shared.lock().close(CloseReason::Here);
        self.shared.wake.notify_one();
    }

    /// Whether it has ended: true from the moment on at which its streams break, which is before [`Self::closed`] tells.
    pub fn has_ended(&self) -> bool {
        self.shared.lock().closed.is_some()
    }

    /// Waits until it has ended.
    pub async fn closed(&self) -> CloseReason {
        let mut closed = self.shared.closed.subscribe();
        match closed.wait_for(Option::is_some).await {
            Ok(reason) => reason.unwrap_or(CloseReason::Here),
            Err(_) => CloseReason::Here,
        }
    }

    /// Streams open now.
    pub fn open_streams(&self) -> usize {
        self.shared.lock().streams.len()
    }

    /// What it has done.
    pub fn counters(&self) -> TunnelCounters {
        self.shared.lock().counters()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who wait what has changed; true when the tunnel has ended.
    fn publish(&self) -> bool {
        let (going, closed) = {
            let connection = self.lock();
            (connection.going_away, connection.closed)
        };
        self.going_away.send_if_modified(|known| !std::mem::replace(known, going) && going);
        self.streams.notify_waiters();
        if closed.is_some() {
            self.closed.send_replace(closed);
        }
        closed.is_some()
    }
}

async fn drive(shared: Arc<Shared>, mut pipe: DatagramPipe) {
    let mut ready: Option<Vec<u8>> = None;
    loop {
        let (datagram, timeout) = {
            let mut connection = shared.lock();
            let datagram = ready.take().or_else(|| connection.poll_transmit(Instant::now()));
            (datagram, connection.next_timeout())
        };
        ready = datagram;
        if shared.publish() {
            if let Some(last) = ready {
                let _ = pipe.send.try_send(last);
            }
            return;
        }
        let until = timeout.unwrap_or_else(|| Instant::now() + NOTHING_TO_DO);
        tokio::select! {
            permit = pipe.send.reserve(), if ready.is_some() => match (permit, ready.take()) {
                (Ok(permit), Some(datagram)) => permit.send(datagram),
                _ => shared.lock().close(CloseReason::PipeEnded),
            },
            datagram = pipe.recv.recv() => match datagram {
                Some(datagram) => {
                    let now = Instant::now();
                    let mut connection = shared.lock();
                    connection.handle_datagram(now, &datagram);
                    for _ in 1..BATCH {
                        let Ok(more) = pipe.recv.try_recv() else { break };
                        connection.handle_datagram(now, &more);
                    }
                }
                None => shared.lock().close(CloseReason::PipeEnded),
            },
            () = shared.wake.notified() => {}
            () = sleep_until(until.into()) => shared.lock().handle_timeout(Instant::now()),
        }
    }
}

/// One stream. Dropping it before both directions have ended gives it up.
pub struct Stream {
    id: u32,
    tunnel: Tunnel,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.tunnel.shared.lock().release(self.id);
        self.tunnel.shared.wake.notify_one();
        self.tunnel.shared.streams.notify_waiters();
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the stream was given up or the tunnel ended")
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut connection = self.tunnel.shared.lock();
        let Some(stream) = connection.streams.get_mut(&self.id) else { return Poll::Ready(Err(broken())) };
        let count = stream.incoming.read(into.initialize_unfilled());
        if count > 0 {
            into.advance(count);
            connection.read(self.id, count);
            drop(connection);
            self.tunnel.shared.wake.notify_one();
            return Poll::Ready(Ok(()));
        }
        if stream.cut || stream.incoming.is_broken() {
            return Poll::Ready(Err(broken()));
        }
        if stream.incoming.is_at_end() || into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        stream.incoming.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut connection = self.tunnel.shared.lock();
        let Some(stream) = connection.streams.get_mut(&self.id).filter(|s| !s.cut) else {
            return Poll::Ready(Err(broken()));
        };
        if stream.outgoing.is_finished() || stream.outgoing.is_abandoned() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let own = stream.outgoing.room(self.tunnel.window);
        let count = own.min(connection.send_room()).min(bytes.len());
        let Some(stream) = connection.streams.get_mut(&self.id) else { return Poll::Ready(Err(broken())) };
        if count == 0 && !bytes.is_empty() {
            stream.outgoing.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        stream.outgoing.write(&bytes[..count]);
        drop(connection);
        self.tunnel.shared.wake.notify_one();
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(stream) = self.tunnel.shared.lock().streams.get_mut(&self.id) {
            stream.outgoing.finish();
        }
        self.tunnel.shared.wake.notify_one();
        Poll::Ready(Ok(()))
    }
}
