//! The desk at which visitors introduce themselves: checks a first message, answers it at the rendezvous, and runs the tunnel.

use super::{OpenEntrance, replay::Seen};
use crate::{
    direct::{self, Expected},
    lease::Conditions,
    message::{Meeting, STREAM_OPENS},
    puzzle::LEAST_EFFORT,
    rendezvous::{Place, meet},
    tunnel::{self, DatagramPipe, IntroductionKey, Keys, Side, Stream, Tunnel, TunnelConfig, TunnelCounters},
    uplink::Uplink,
};
use fogbank_model::{InstanceId, Level};
use serde::{Deserialize, Serialize};
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
/// A visitor opens its first stream as soon as it has its answer. A tunnel without one for so long, which is several round trips of the slowest level
/// and losses, has nobody at its other end: anybody can introduce himself without ever coming.
const HALF_OPEN: Duration = Duration::from_secs(10);
/// Work for a mailbox, which takes some hundredths of a second. Beyond it the visitor must find another place to meet: it chose this one, which may be
/// a mix of its own that asks for more and more.
const MOST_EFFORT: u32 = 16 * LEAST_EFFORT;

/// The first byte of a stream is sent again and again by the tunnel; longer than this it is not waited for.
const OPENING: Duration = Duration::from_secs(10);

/// What an instance answers inside the handshake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Word {
    /// Come in.
    Come,
    /// This instance is going away: take another.
    Leaving,
    /// Too many visitors: take another.
    Full,
    /// To who asks to come directly: not here, take another.
    NotDirect,
    /// To who asks to come directly: come here.
    Directly(direct::Place),
}

impl Word {
    fn encode(&self) -> Vec<u8> {
        // None is longer than its few addresses, and all of them serialise.
        fogbank_wire::encode(self).unwrap_or_default()
    }

    /// What was answered to a visitor that asked to come directly, or did not: each gets an answer to what it asked, or it is none. A host that
    /// names an address unasked is not gone to, and one that was asked for it is not met otherwise.
    pub(crate) fn to(direct: bool, payload: &[u8]) -> Option<Self> {
        match fogbank_wire::decode(payload).ok()? {
            Self::Come if direct => None,
            Self::NotDirect | Self::Directly(_) if !direct => None,
            Self::Directly(place) if !place.is_sound() => None,
            word => Some(word),
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
    entrance: OpenEntrance,
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

impl Inside {
    /// Whether there is room for one more tunnel; one that carries nothing gives way. First those to whom nobody has come yet, so that who
    /// introduces himself without end pushes out his own, then the oldest, whose visitor opens another at the next click.
    fn make_room(&mut self) -> bool {
        if self.tunnels.len() < MAX_TUNNELS {
            return true;
        }
        let idle = self.tunnels.iter().enumerate().filter(|(_, (_, tunnel))| tunnel.open_streams() == 0);
        let Some((at, _)) = idle.min_by_key(|(_, (number, tunnel))| (tunnel.counters().received > 0, *number)) else {
            return false;
        };
        self.tunnels.swap_remove(at).1.close();
        true
    }
}

impl Desk {
    pub(super) fn new(
        uplink: Uplink,
        instance: InstanceId,
        key: IntroductionKey,
        level: Level,
        entrance: OpenEntrance,
        accept: mpsc::Sender<Stream>,
        end: CancellationToken,
    ) -> Self {
        let inside = Mutex::new(Inside { seen: Seen::new(), tunnels: Vec::new() });
        let draining = watch::Sender::new(false);
        Self { uplink, instance, key, level, entrance, accept, end, draining, inside, count: AtomicU64::new(0) }
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
    pub(super) fn introduction(self: &Arc<Self>, blinded: [u8; 32], conditions: Conditions, hello: Vec<u8>) {
        let prologue = prologue(&blinded, self.instance, conditions.door.as_ref());
        let Ok((response, payload)) = tunnel::respond(&self.key, &prologue, &hello) else {
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
        let (word, expected) = self.word(conditions.direct, meeting.direct);
        let (keys, answer) = match response.answer(&word.encode()) {
            Ok(answered) => answered,
            Err(error) => {
                tracing::debug!(%error, "a first message could not be answered");
                return;
            }
        };
        let level = level(self.level, meeting.level);
        let (mine, peer) = (meeting.host, meeting.visitor);
        let place = Place { at: meeting.rendezvous, mine, peer, level, most_effort: MOST_EFFORT };
        let pipe = meet(&self.uplink, place, Some(answer));
        match (word, expected) {
            (Word::Come, _) => self.welcome(keys, pipe),
            (_, Some(expected)) => {
                let (desk, end) = (self.clone(), self.end.clone());
                tokio::spawn(end.run_until_cancelled_owned(async move {
                    let direct = expected.come().await;
                    // Until they have come the word is said again, as it may be lost.
                    drop(pipe);
                    if let Some(direct) = direct.filter(|_| desk.inside(Inside::make_room)) {
                        desk.welcome(keys, direct);
                    }
                }));
            }
            // Dropping the pipe after a while closes the mailbox; the word is said again until then, as it may be lost.
            _ => drop(tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                drop(pipe);
            })),
        }
    }

    /// What is answered to who asks to come directly by this key, or does not ask; and who is then expected at the entrance.
    fn word(&self, offered: bool, asked: Option<[u8; 32]>) -> (Word, Option<Expected>) {
        if *self.draining.borrow() {
            return (Word::Leaving, None);
        }
        let Some(visitor) = asked else {
            return (if self.inside(Inside::make_room) { Word::Come } else { Word::Full }, None);
        };
        // The publisher and the owner of this device must both have said so. Nobody gives way to who is only expected.
        let entrance = self.entrance.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(entrance) = entrance.filter(|_| offered) else { return (Word::NotDirect, None) };
        match entrance.expect(visitor) {
            Some((place, expected)) => (Word::Directly(place), Some(expected)),
            None => (Word::Full, None),
        }
    }

    /// Runs the tunnel to somebody who comes in by this pipe.
    fn welcome(self: &Arc<Self>, keys: Keys, pipe: DatagramPipe) {
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
        let (mut idle, mut look) = (1, HALF_OPEN);
        loop {
            tokio::select! {
                stream = tunnel.accept() => match stream {
                    Some(mut stream) => {
                        (idle, look) = (0, IDLE_LOOK);
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
                () = tokio::time::sleep(look) => {
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

/// At what level a host answers: the publisher's is the least, a visitor may want more delay. Constant rate is the publisher's to choose alone:
/// else any visitor could turn it on, and whoever watches lines would see by one packet which of them is the host's.
fn level(publishers: Level, visitors: Level) -> Level {
    match (publishers, visitors) {
        (Level::Strict, _) => Level::Strict,
        (Level::Fast, Level::Fast) => Level::Fast,
        _ => Level::Balanced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_visitor_turns_a_hosts_constant_rate_on() {
        for (publishers, visitors, answered) in [
            (Level::Fast, Level::Fast, Level::Fast),
            (Level::Fast, Level::Balanced, Level::Balanced),
            (Level::Fast, Level::Strict, Level::Balanced),
            (Level::Balanced, Level::Fast, Level::Balanced),
            (Level::Balanced, Level::Strict, Level::Balanced),
            (Level::Strict, Level::Fast, Level::Strict),
        ] {
            assert_eq!(level(publishers, visitors), answered, "{publishers:?} {visitors:?}");
        }
    }

    /// Both ends of a tunnel; who keeps only the host's has a visitor that never comes.
    fn tunnel_of_two() -> (Tunnel, Tunnel) {
        let key = IntroductionKey::generate();
        let (initiation, hello) = tunnel::initiate(&key.public(), b"", b"").unwrap();
        let (response, _) = tunnel::respond(&key, b"", &hello).unwrap();
        let (host, answer) = response.answer(b"").unwrap();
        let (visitor, _) = initiation.finish(&answer).unwrap();
        let [(there, from_there), (back, from_here)] = [mpsc::channel(64), mpsc::channel(64)];
        let pipe = |send, recv| DatagramPipe { send, recv, max_bytes: 4_096 };
        let spawn = |keys, side, pipe| Tunnel::spawn(keys, side, pipe, TunnelConfig::default());
        (spawn(host, Side::Host, pipe(there, from_here)), spawn(visitor, Side::Visitor, pipe(back, from_there)))
    }

    #[tokio::test]
    async fn who_never_came_gives_way_before_who_did_and_nobody_in_mid_stream_does() {
        use tokio::io::AsyncWriteExt as _;

        let mut visitors = Vec::new();
        let mut inside = Inside { seen: Seen::new(), tunnels: Vec::new() };
        for number in 0..MAX_TUNNELS as u64 {
            let (host, visitor) = tunnel_of_two();
            inside.tunnels.push((number, host));
            visitors.push(visitor);
        }
        // The first has a stream open, the second had one.
        let mut streams = Vec::new();
        for (visitor, (_, host)) in visitors.iter().zip(&inside.tunnels).take(2) {
            let mut stream = visitor.open().await.unwrap();
            stream.write_all(&[STREAM_OPENS]).await.unwrap();
            streams.push((stream, host.accept().await.unwrap()));
        }
        drop(streams.pop());
        while inside.tunnels[1].1.open_streams() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let gone = |inside: &Inside, number: u64| inside.tunnels.iter().all(|(n, _)| *n != number);
        for number in (2..MAX_TUNNELS as u64).chain([1]) {
            assert!(inside.make_room());
            assert!(gone(&inside, number), "{number} goes next");
            // Its place is taken by one in mid-stream.
            let (host, visitor) = tunnel_of_two();
            let mut stream = visitor.open().await.unwrap();
            stream.write_all(&[STREAM_OPENS]).await.unwrap();
            streams.push((stream, host.accept().await.unwrap()));
            visitors.push(visitor);
            inside.tunnels.push((number + MAX_TUNNELS as u64, host));
        }
        assert!(!inside.make_room(), "all are in mid-stream");
        assert!(!gone(&inside, 0));
    }

    fn place(addrs: usize) -> Vec<u8> {
        let addrs: Vec<std::net::SocketAddr> = vec![([127, 0, 0, 1], 1).into(); addrs];
        let mut word = vec![4];
        word.extend(fogbank_wire::encode(&([7_u8; 32], addrs)).unwrap());
        word
    }

    #[test]
    fn each_visitor_gets_an_answer_to_what_it_asked_or_none() {
        assert_eq!([0, 1, 2].map(|n| Word::to(false, &[n])), [Some(Word::Come), Some(Word::Leaving), Some(Word::Full)]);
        assert_eq!(Word::to(true, &[0]), None, "who asked to come directly is not met at mixes");
        assert_eq!(Word::to(true, &[3]), Some(Word::NotDirect));
        assert!(matches!(Word::to(true, &place(1)), Some(Word::Directly(_))));
        assert_eq!(Word::to(false, &place(1)), None, "an address that nobody asked for is not gone to");
        assert_eq!(Word::to(false, &[3]), None);
        for addrs in [0, direct::MAX_ADDRS + 1] {
            assert_eq!(Word::to(true, &place(addrs)), None, "{addrs} addresses");
        }
        assert_eq!(Word::to(true, &[]), None);
        assert_eq!(Word::to(false, &[0, 0]), None);
    }
}
