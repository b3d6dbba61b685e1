//! The desk at which visitors introduce themselves: checks a first message, answers it at the rendezvous, and runs the tunnel.

use super::replay::Seen;
use crate::{
    message::{Meeting, STREAM_OPENS},
    rendezvous::{Place, meet},
    tunnel::{self, IntroductionKey, Side, Stream, Tunnel, TunnelConfig, TunnelCounters},
    uplink::Uplink,
};
use fogbank_model::{InstanceId, Level};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::AsyncReadExt as _,
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Tunnels of one instance at once: each may hold a megabyte of windows and SURBs, and 64 visitors with four isolations each are many for
/// one idle laptop.
pub const MAX_TUNNELS: usize = 256;
/// A tunnel that carries nothing is looked at this often, and closed at the second look: the visitor left without a word.
const IDLE_LOOK: Duration = Duration::from_secs(90);

/// The first byte of a stream is sent again and again by the tunnel; longer than this it is not waited for.
const OPENING: Duration = Duration::from_secs(10);

/// What an instance answers inside the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Word {
    /// Come in.
    Come = 0,
    /// This instance is going away: take another.
    Leaving = 1,
    /// Too many visitors: take another.
    Full = 2,
}

impl Word {
    pub(crate) fn of(payload: &[u8]) -> Option<Self> {
        match payload {
            [0] => Some(Self::Come),
            [1] => Some(Self::Leaving),
            [2] => Some(Self::Full),
            _ => None,
        }
    }
}

/// What both ends of a handshake must mean alike: which service, which instance, and, of a private service, the door.
pub(crate) fn prologue(blinded: &[u8; 32], instance: InstanceId, door: Option<&[u8; 32]>) -> Vec<u8> {
    [b"fogbank introduction 2".as_slice(), blinded, &instance.0, door.map_or(&[], <[u8; 32]>::as_slice)].concat()
}

/// One instance's desk.
pub(super) struct Desk {
    uplink: Uplink,
    instance: InstanceId,
    key: IntroductionKey,
    level: Level,
    accept: mpsc::Sender<Stream>,
    end: CancellationToken,
    draining: watch::Sender<bool>,
    inside: Mutex<Inside>,
    count: AtomicU64,
}

struct Inside {
    seen: Seen,
    tunnels: Vec<(u64, Tunnel)>,
}

impl Desk {
    pub(super) fn new(
        uplink: Uplink,
        instance: InstanceId,
        key: IntroductionKey,
        level: Level,
        accept: mpsc::Sender<Stream>,
        end: CancellationToken,
    ) -> Self {
        let inside = Mutex::new(Inside { seen: Seen::new(), tunnels: Vec::new() });
        let draining = watch::Sender::new(false);
        Self { uplink, instance, key, level, accept, end, draining, inside, count: AtomicU64::new(0) }
    }

    fn inside<T>(&self, act: impl FnOnce(&mut Inside) -> T) -> T {
        act(&mut self.inside.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    pub(super) fn ended(&self) -> CancellationToken {
        self.end.clone()
    }

    pub(super) fn tunnels(&self) -> usize {
        self.inside(|inside| inside.tunnels.len())
    }

    pub(super) fn streams(&self) -> usize {
        self.inside(|inside| inside.tunnels.iter().map(|(_, tunnel)| tunnel.open_streams()).sum())
    }

    pub(super) fn counters(&self) -> Vec<TunnelCounters> {
        self.inside(|inside| inside.tunnels.iter().map(|(_, tunnel)| tunnel.counters()).collect())
    }

    pub(super) fn drain(&self) {
        self.draining.send_replace(true);
        for tunnel in self.inside(|inside| inside.tunnels.clone()) {
            tunnel.1.go_away();
        }
    }

    pub(super) fn close(&self) {
        for tunnel in self.inside(|inside| std::mem::take(&mut inside.tunnels)) {
            tunnel.1.close();
        }
        self.end.cancel();
    }

    /// Somebody introduces themself under a blinded key of ours. Whatever is wrong with it, nothing is said: an introduction point that
    /// makes some up learns nothing.
    pub(super) fn introduction(self: &Arc<Self>, blinded: [u8; 32], door: Option<&[u8; 32]>, hello: Vec<u8>) {
        let Ok((response, payload)) = tunnel::respond(&self.key, &prologue(&blinded, self.instance, door), &hello) else {
            tracing::debug!("a first message is not for this instance");
            return;
        };
        // Remembered only now: what is no first message would fill the memory and push out those that are.
        if !self.inside(|inside| inside.seen.first_time(&hello)) {
            tracing::debug!("a first message came twice");
            return;
        }
        let Ok(meeting) = Meeting::decode(&payload) else {
            tracing::debug!("a first message names no place to meet");
            return;
        };
        let listed = self.uplink.directory().borrow().as_ref().is_some_and(|d| d.mix(meeting.rendezvous).is_some());
        if !listed || meeting.visitor == meeting.host {
            tracing::debug!("a first message names a place that is not in the directory");
            return;
        }
        let word = if *self.draining.borrow() {
            Word::Leaving
        } else if self.tunnels() >= MAX_TUNNELS {
            Word::Full
        } else {
            Word::Come
        };
        let (keys, answer) = match response.answer(&[word as u8]) {
            Ok(answered) => answered,
            Err(error) => {
                tracing::debug!(%error, "a first message could not be answered");
                return;
            }
        };
        let level = slower(self.level, meeting.level);
        let place = Place { at: meeting.rendezvous, mine: meeting.host, peer: meeting.visitor, level };
        let pipe = meet(&self.uplink, place, Some(answer));
        if word != Word::Come {
            // Dropping the pipe after a while closes the mailbox; the word is said again until then, as it may be lost.
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                drop(pipe);
            });
            return;
        }
        let tunnel = Tunnel::spawn(keys, Side::Host, pipe, TunnelConfig::default());
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        self.inside(|inside| inside.tunnels.push((number, tunnel.clone())));
        if *self.draining.borrow() {
            // It was drained between the word and the push.
            tunnel.go_away();
        }
        tokio::spawn(self.clone().run(number, tunnel));
    }

    /// Hands on the tunnel's streams until it ends.
    async fn run(self: Arc<Self>, number: u64, tunnel: Tunnel) {
        let mut idle = 0;
        loop {
            tokio::select! {
                stream = tunnel.accept() => match stream {
                    Some(mut stream) => {
                        idle = 0;
                        let (accept, end) = (self.accept.clone(), self.end.clone());
                        // The first byte may be late; other streams need not wait for it. Bounded by the tunnel's own bound.
                        tokio::spawn(end.run_until_cancelled_owned(async move {
                            if let Ok(Ok(STREAM_OPENS)) = timeout(OPENING, stream.read_u8()).await {
                                let _ = accept.send(stream).await;
                            }
                        }));
                    }
                    None => break,
                },
                () = self.end.cancelled() => break,
                () = tokio::time::sleep(IDLE_LOOK) => {
                    idle = if tunnel.open_streams() == 0 { idle + 1 } else { 0 };
                    if idle > 1 {
                        break;
                    }
                }
            }
        }
        tunnel.close();
        self.inside(|inside| inside.tunnels.retain(|(n, _)| *n != number));
    }
}

/// The slower of two levels: the publisher's is the least, a visitor may want more.
fn slower(a: Level, b: Level) -> Level {
    match (a, b) {
        (Level::Strict, _) | (_, Level::Strict) => Level::Strict,
        (Level::Balanced, _) | (_, Level::Balanced) => Level::Balanced,
        (Level::Fast, Level::Fast) => Level::Fast,
    }
}
