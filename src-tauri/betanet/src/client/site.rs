//! One address in one isolation: a task that owns its tunnel. Requests queue here, so that ten pictures open one tunnel, not ten.
//!
//! A copy that leaves is left between pages, not within one: requests that follow each other closely go to where the first of them went, for a
//! while. So a page and its pieces come from one copy, and from one revision where the site is being updated.

use super::{
    ConnectError, CopyOf, OPEN_WAIT, Opened, Visit, VisitState, Visited,
    reach::{Reach, Reached},
    trust::Memory,
};
use crate::{
    message::STREAM_OPENS,
    seal::SiteSeal,
    tunnel::{Stream, Tunnel},
};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::AsyncWriteExt as _,
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, timeout, timeout_at},
};

/// Requests that wait: as many as the proxy has connections.
const QUEUE: usize = 256;
/// A tunnel that carries nothing is closed after one to two of these: a reader follows the next link within minutes.
/// How long it may take until those who wait are told that there are too few mixes.
const TOLD_LATE: Duration = Duration::from_millis(20);
const IDLE: Duration = Duration::from_secs(60);
/// How often one request is tried on tunnels that die under it: each has lived long enough to be handed over, so more is bad luck
/// beyond what waiting helps.
const MAX_TRIES: u32 = 5;
/// A page's requests follow each other within two round trips, and within this where those are shorter: what a browser takes to read a page. Who asks
/// for nothing for longer has its page, or has left it.
const PAGE_GAP: Duration = Duration::from_millis(500);
/// A page that is not there by then is finished at another copy. A host that leaves waits for its streams for longer.
const PAGE_MOST: Duration = Duration::from_secs(10);
/// Tunnels that finish their streams while a newer one takes the new: one for each instance that may leave at once.
const MAX_RETIRING: usize = 8;

/// Somebody wants a stream.
pub(super) struct Request {
    reply: oneshot::Sender<Result<Opened, ConnectError>>,
    deadline: Instant,
    tries: u32,
}

impl Request {
    pub(super) fn new(reply: oneshot::Sender<Result<Opened, ConnectError>>, deadline: Instant) -> Self {
        Self { reply, deadline, tries: 0 }
    }

    fn answer(self, answer: Result<Opened, ConnectError>) {
        // Who asked may have given up.
        let _ = self.reply.send(answer);
    }
}

#[derive(Clone, Default)]
struct View {
    state: VisitState,
    round_trip: Option<Duration>,
    tunnel: Option<Tunnel>,
    /// Of what the tunnel's copy serves.
    seal: Option<SiteSeal>,
}

/// The handle of a site's task.
#[derive(Clone)]
pub(super) struct Site {
    requests: mpsc::Sender<Request>,
    view: watch::Receiver<View>,
    memory: Arc<Memory>,
}

impl Site {
    pub(super) fn start(reach: Reach) -> Self {
        let (requests, queue) = mpsc::channel(QUEUE);
        let (show, view) = watch::channel(View::default());
        let memory = reach.memory().clone();
        let task =
            Task { reach, again: requests.downgrade(), show, current: None, retiring: Vec::new(), asked: None, leaving: None };
        tokio::spawn(task.run(queue));
        Self { requests, view, memory }
    }

    /// Hands over a request; back when the task has ended.
    pub(super) async fn ask(&self, request: Request) -> Result<(), Request> {
        self.requests.send(request).await.map_err(|e| e.0)
    }

    pub(super) fn ended(&self) -> bool {
        self.requests.is_closed()
    }

    /// Whether its tunnel stands, and its copy does not leave.
    pub(super) fn open(&self) -> bool {
        self.view.borrow().tunnel.as_ref().is_some_and(|tunnel| !tunnel.has_ended() && !tunnel.going_away())
    }

    /// Of what its tunnel's copy serves, while it is open.
    pub(super) fn seal(&self) -> Option<SiteSeal> {
        if self.open() { self.view.borrow().seal } else { None }
    }

    pub(super) fn visit(&self, visited: &Visited) -> Visit {
        let View { state, round_trip, .. } = self.view.borrow().clone();
        let (trust, caught) = self.memory.view();
        Visit { onion: visited.onion.clone(), direct: visited.direct, state, round_trip, trust, caught }
    }
}

struct Task {
    reach: Reach,
    again: mpsc::WeakSender<Request>,
    show: watch::Sender<View>,
    current: Option<Current>,
    retiring: Vec<Tunnel>,
    /// When the last stream was asked for.
    asked: Option<Instant>,
    /// Since when the current copy leaves.
    leaving: Option<Instant>,
}

/// The tunnel for new streams, and what is at its other end.
#[derive(Clone)]
struct Current {
    copy: CopyOf,
    seal: Option<SiteSeal>,
}

impl Current {
    fn opened(self, stream: Stream) -> Opened {
        Opened { stream, seal: self.seal, copy: self.copy }
    }
}

impl Task {
    async fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut idle = 0;
        loop {
            match timeout(IDLE, queue.recv()).await {
                Ok(Some(request)) => {
                    idle = 0;
                    self.serve(request).await;
                }
                // The visitor is gone: everything ends.
                Ok(None) => break,
                Err(_) => {
                    self.retire();
                    let carries =
                        self.current.as_ref().is_some_and(|c| c.copy.tunnel.open_streams() > 0) || !self.retiring.is_empty();
                    idle = if carries { 0 } else { idle + 1 };
                    if idle > 1 {
                        // Whoever sends from here on gets the request back and starts a new task.
                        queue.close();
                        while let Some(request) = queue.recv().await {
                            self.serve(request).await;
                        }
                        break;
                    }
                }
            }
        }
        for tunnel in self.current.into_iter().map(|current| current.copy.tunnel).chain(self.retiring) {
            tunnel.close();
        }
    }

    async fn serve(&mut self, mut request: Request) {
        if request.reply.is_closed() {
            return;
        }
        let current = match self.tunnel(request.deadline).await {
            Ok(current) => current,
            Err(error) => {
                self.show.send_modify(|view| view.state = VisitState::Failed { why: error.to_string() });
                return request.answer(Err(error));
            }
        };
        self.show.send_modify(|view| view.state = VisitState::Open);
        let again = self.again.clone();
        request.tries += 1;
        // Opening may wait until the host has room; others need not wait for that.
        tokio::spawn(async move {
            match timeout_at(request.deadline, open(&current.copy.tunnel)).await {
                Ok(Ok(stream)) => request.answer(Ok(current.opened(stream))),
                Ok(Err(error)) if request.tries >= MAX_TRIES => {
                    request.answer(Err(ConnectError::NoAnswer { why: error.to_string() }));
                }
                Ok(Err(_)) => match again.upgrade() {
                    Some(queue) => {
                        if let Err(back) = queue.send(request).await {
                            back.0.answer(Err(ConnectError::Ended));
                        }
                    }
                    None => request.answer(Err(ConnectError::Ended)),
                },
                Err(_) => request.answer(Err(ConnectError::TimedOut { why: "the site takes no more streams".to_owned() })),
            }
        });
    }

    /// The tunnel for new streams: the current one, or a fresh one when that is leaving or dead.
    async fn tunnel(&mut self, deadline: Instant) -> Result<Current, ConnectError> {
        while self.current.is_some() && !self.reach.uplink.is_ready() {
            // It may stand, but nothing may be sent now; what was kept of it would be shown by the one who asks.
            self.reach.ready(deadline).await?;
            if Instant::now() >= deadline {
                return Err(ConnectError::NotPrivate { why: "waiting for a first mix".to_owned() });
            }
            // What those who wait are told may be a moment old.
            sleep(TOLD_LATE).await;
        }
        if self.in_a_page() {
            self.sweep();
        } else {
            self.retire();
        }
        if let Some(current) = &self.current {
            return Ok(current.clone());
        }
        self.show.send_modify(|view| view.state = VisitState::Opening);
        let reached = self.reach.open(deadline.min(Instant::now() + OPEN_WAIT)).await?;
        let Reached { tunnel, instance, seal, round_trip } = reached;
        self.show.send_modify(|view| {
            view.round_trip = Some(round_trip);
            view.tunnel = Some(tunnel.clone());
            view.seal = seal;
        });
        self.leaving = None;
        let current = Current { copy: CopyOf { instance, tunnel, memory: self.reach.memory().clone() }, seal };
        self.current = Some(current.clone());
        Ok(current)
    }

    /// Whether the current copy lives and requests to it follow each other closely. One that leaves is not gone to for long.
    fn in_a_page(&mut self) -> bool {
        let gap = (2 * self.show.borrow().round_trip.unwrap_or_default()).clamp(PAGE_GAP, PAGE_MOST);
        let goes_on = self.asked.replace(Instant::now()).is_some_and(|last| last.elapsed() < gap);
        let Some(tunnel) = self.current.as_ref().map(|current| &current.copy.tunnel) else { return false };
        if tunnel.going_away() {
            self.leaving.get_or_insert_with(Instant::now);
        }
        goes_on && !tunnel.has_ended() && self.leaving.is_none_or(|since| since.elapsed() < PAGE_MOST)
    }

    fn retire(&mut self) {
        let leaving = self.current.take_if(|current| current.copy.tunnel.has_ended() || current.copy.tunnel.going_away());
        if let Some(Current { copy: CopyOf { tunnel, .. }, .. }) = leaving {
            self.reach.leave_current();
            if !tunnel.has_ended() {
                self.retiring.push(tunnel);
            }
        }
        self.sweep();
    }

    /// Closes tunnels that have finished.
    fn sweep(&mut self) {
        self.retiring.retain(|tunnel| {
            let carries = !tunnel.has_ended() && tunnel.open_streams() > 0;
            if !carries {
                tunnel.close();
            }
            carries
        });
        while self.retiring.len() > MAX_RETIRING {
            self.retiring.remove(0).close();
        }
    }
}

async fn open(tunnel: &Tunnel) -> io::Result<Stream> {
    let mut stream = tunnel.open().await.map_err(io::Error::other)?;
    stream.write_all(&[STREAM_OPENS]).await?;
    Ok(stream)
}
