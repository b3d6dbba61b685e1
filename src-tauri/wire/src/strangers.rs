//! Those who knock at an endpoint and are not let in yet: so many places, shared by where they come from, each for a while.
//!
//! Invariants: nobody waits for a place: it is there, or who knocks is refused at once and counted; a network takes no place that another, which
//! has fewer, wants; an address that may be made up takes none of them; a place is held from the knock until whoever has it is let in or has been told no: five
//! seconds for the handshake, ten for the hello, five to read a no.
//! Deliberately absent: who is let in, and bounds on those who were.

use crate::{
    CallError, HELLO_DEADLINE, Purpose, Refusal,
    hello::{receive_hello, turn_away},
    relay::has_relay,
    shares::{Group, Holds, Shares},
};
use iroh::{
    Endpoint,
    endpoint::{Connection, Incoming, IncomingAddr, SendStream},
};
use std::{
    collections::VecDeque,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{sync::Notify, time::timeout};

/// One place for those whose address may be made up, for so many of others.
const UNPROVEN: usize = 4;
/// Who is there answers within this: a round trip over a slow mobile link. Until then it does not give way.
const PROVES: Duration = Duration::from_secs(1);
/// A hello, and the time to read the answer if it is of another version.
const HEARING: Duration = Duration::from_secs(2 * HELLO_DEADLINE.as_secs());

/// The places of an endpoint.
#[derive(Debug)]
pub struct Strangers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    room: usize,
    waiting: Mutex<Waiting>,
    refused: Refused,
}

/// A count of refusals, which is told as it doubles: so a flood does not fill the log as well.
#[derive(Debug, Default)]
pub struct Refused(AtomicU64);

impl Refused {
    /// One more. `what` is for people, and names nobody.
    pub fn one(&self, what: &str) {
        let refused = self.0.fetch_add(1, Relaxed) + 1;
        if refused.is_power_of_two() {
            tracing::info!(refused, "{what}");
        }
    }

    /// How many there were.
    pub fn so_far(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

const CROWDED: &str = "a network wants more than its share of this endpoint's places for those who are not let in yet";

#[derive(Debug)]
struct Waiting {
    next: u64,
    places: Shares<u64, Place>,
    /// Those who are not known to be where they say, the oldest first.
    unproven: VecDeque<Unproven>,
}

#[derive(Debug)]
struct Unproven {
    number: u64,
    since: Instant,
    gives_way: Arc<Notify>,
}

#[derive(Debug)]
struct Place {
    since: Instant,
    gives_way: Arc<Notify>,
}

impl Holds for Place {
    fn used(&self) -> Instant {
        self.since
    }
}

/// One who has a place; it is free again when this is dropped.
#[derive(Debug)]
pub struct Stranger {
    number: u64,
    group: Group,
    gives_way: Arc<Notify>,
    all: Arc<Inner>,
}

impl Strangers {
    /// With room for so many at once.
    pub fn new(room: usize) -> Self {
        let waiting = Mutex::new(Waiting { next: 0, places: Shares::new(room), unproven: VecDeque::new() });
        Self(Arc::new(Inner { room, waiting, refused: Refused::default() }))
    }

    /// Somebody knocks: gets a place, has to come back with a token (a spoofed address gets a small answer and no place), or is refused.
    pub fn knock(&self, endpoint: &Endpoint, incoming: Incoming) -> Option<(Incoming, Stranger)> {
        let group = Group::of_incoming(&incoming.remote_addr());
        // Who comes over the relay has proven its key to it.
        let proven = incoming.remote_addr_validated() || !matches!(incoming.remote_addr(), IncomingAddr::Ip(_));
        if !proven {
            let unproven = has_relay(endpoint).then(|| self.begin_unproven(group)).flatten();
            if unproven.is_none() {
                let _ = incoming.retry();
                return None;
            }
            return unproven.map(|stranger| (incoming, stranger));
        }
        match self.begin(group) {
            Some(stranger) => Some((incoming, stranger)),
            None => {
                incoming.refuse();
                None
            }
        }
    }

    /// One more whose address may be made up, in places apart, so that those who make them up take none from others. `None` when these are all taken by
    /// some who may still prove it.
    fn begin_unproven(&self, group: Group) -> Option<Stranger> {
        let mut waiting = self.0.lock();
        if waiting.unproven.len() >= self.0.room.div_ceil(UNPROVEN) {
            if waiting.unproven.front().is_some_and(|oldest| oldest.since.elapsed() < PROVES) {
                return None;
            }
            if let Some(oldest) = waiting.unproven.pop_front() {
                oldest.gives_way.notify_one();
                self.0.refused.one(CROWDED);
            }
        }
        let (number, gives_way) = (waiting.next, Arc::<Notify>::default());
        waiting.next += 1;
        waiting.unproven.push_back(Unproven { number, since: Instant::now(), gives_way: gives_way.clone() });
        Some(Stranger { number, group, gives_way, all: self.0.clone() })
    }

    /// One more of a group; `None`, and counted, when that group has its share. Whoever waits longest of the group with the most may have to
    /// give way.
    pub fn begin(&self, group: Group) -> Option<Stranger> {
        let mut waiting = self.0.lock();
        let (number, gives_way) = (waiting.next, Arc::<Notify>::default());
        waiting.next += 1;
        let taken = waiting.take(number, group, gives_way.clone(), &self.0.refused);
        taken.then(|| Stranger { number, group, gives_way, all: self.0.clone() })
    }

    /// How many found no place, or had to give theirs up.
    pub fn refused(&self) -> u64 {
        self.0.refused.so_far()
    }
}

impl Waiting {
    /// Takes a place, whoever has to give way for it; false, and counted, when that group has its share.
    fn take(&mut self, number: u64, group: Group, gives_way: Arc<Notify>, refused: &Refused) -> bool {
        let room = self.places.make_room(group);
        if !matches!(room, Ok(None)) {
            refused.one(CROWDED);
        }
        if let Ok(Some((_, gone))) = &room {
            gone.gives_way.notify_one();
        }
        if room.is_ok() {
            self.places.insert(number, group, Place { since: Instant::now(), gives_way });
        }
        room.is_ok()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stranger {
    /// Where it comes from.
    pub fn group(&self) -> Group {
        self.group
    }

    /// Waits for something of it, until the deadline or until it has to give way.
    pub async fn within<T>(&self, deadline: Duration, what: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = timeout(deadline, what) => done.ok(),
            () = self.gives_way.notified() => None,
        }
    }

    /// The connection, once its handshake is done, which proves where it comes from.
    pub async fn connection(&self, incoming: Incoming) -> Option<Connection> {
        let connection = self.within(HELLO_DEADLINE, incoming.accept().ok()?).await?.ok()?;
        self.proven().then_some(connection)
    }

    /// Takes a place among those whose address is no invention, if it has none; false when its network has its share.
    fn proven(&self) -> bool {
        let mut waiting = self.all.lock();
        if waiting.places.get(self.number).is_some() {
            return true;
        }
        waiting.unproven.retain(|one| one.number != self.number);
        waiting.take(self.number, self.group, self.gives_way.clone(), &self.all.refused)
    }

    /// What it comes for, and the stream on which it is answered: by [`crate::welcome`] or [`Self::turn_away`]. `None` when it does not say so,
    /// or is of another version; that is answered here.
    pub async fn hello(&self, connection: &Connection) -> Option<(Purpose, SendStream)> {
        let hearing = async {
            let heard = receive_hello(connection).await;
            // The peer closes once it has read what was said to it.
            if matches!(heard, Err(CallError::Refused(_))) {
                let _ = timeout(HELLO_DEADLINE, connection.closed()).await;
            }
            heard.inspect_err(|error| tracing::debug!(%error, "a hello failed")).ok()
        };
        self.within(HEARING, hearing).await?
    }

    /// Says no, and gives the answer [`HELLO_DEADLINE`] to be read. The connection is of no use then.
    pub async fn turn_away(self, reply: SendStream, refusal: Refusal) {
        self.within(HELLO_DEADLINE, turn_away(reply, refusal)).await;
    }

    /// It is let in, and stranger no more. Whoever lets it in bounds how many are.
    pub fn let_in(self) {}
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut waiting = self.all.lock();
        waiting.places.remove(self.number);
        waiting.unproven.retain(|one| one.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::time::sleep;

    const ROOM: usize = 64;

    fn network(number: u8) -> Group {
        Group::of_client(Some([192, 0, number, 1].into()))
    }

    #[tokio::test]
    async fn a_network_that_is_alone_has_all_places_and_gives_up_what_others_want() {
        let strangers = Strangers::new(ROOM);
        let held: Vec<_> = std::iter::from_fn(|| strangers.begin(network(1))).collect();
        assert_eq!((held.len(), strangers.refused()), (ROOM, 1));
        let other: Vec<_> = std::iter::from_fn(|| strangers.begin(network(2))).collect();
        assert!(other.len().abs_diff(ROOM / 2) <= 1, "{}", other.len());
        assert_eq!(held[0].within(HEARING, pending::<()>()).await, None, "it waited longest");
        assert_eq!(held[ROOM - 1].within(HEARING, async {}).await, Some(()), "it stays");
        // Two that fill it together leave room for a third.
        assert!(strangers.begin(network(3)).is_some() && strangers.begin(Group::Relayed).is_some());
        drop((held, other));
        assert!(strangers.0.lock().places.is_empty());
    }

    /// Somebody sends packets from addresses that it makes up, each of another network.
    #[tokio::test]
    async fn who_makes_up_addresses_takes_no_place_of_those_who_do_not() {
        let strangers = Strangers::new(ROOM);
        let mut spoofed: Vec<_> = (0..=u8::MAX).map_while(|n| strangers.begin_unproven(network(n))).collect();
        assert_eq!(spoofed.len(), ROOM / UNPROVEN, "then others are asked to prove it first");
        let proven: Vec<_> = std::iter::from_fn(|| strangers.begin(network(1))).collect();
        assert_eq!(proven.len(), ROOM);
        drop(proven);
        sleep(PROVES + Duration::from_millis(50)).await;
        let honest = strangers.begin_unproven(network(7)).expect("who has had its time gives way");
        assert_eq!(spoofed[0].within(HEARING, pending::<()>()).await, None);
        assert!(honest.proven() && honest.proven());
        spoofed.push(strangers.begin_unproven(network(8)).expect("it left its place"));
        drop((honest, spoofed));
        let waiting = strangers.0.lock();
        assert!(waiting.places.is_empty() && waiting.unproven.is_empty());
    }
}
