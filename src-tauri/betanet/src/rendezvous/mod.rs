//! Meeting at a mix: a mailbox of one's own there, kept stocked with SURBs, as a pipe of datagrams to the other end. Both ends use it
//! alike; neither learns more of the other than the mix where they meet.
//!
//! Invariants: SURBs outstanding are bounded ([`stock`]); a datagram and the SURBs that fit beside it share a packet; when a mix leaves the
//! directory, what was left at the rendezvous is replaced (flushed), because some of it leads through that mix.
//! Deliberately absent: order, repetition and secrecy of datagrams (the tunnel's).

pub(crate) mod stock;

use crate::{
    directory::{lives, lives_ended},
    message::{FromMix, MailboxId, RELAY_OVERHEAD_BYTES, ToMix, surbs_in},
    puzzle::Puzzle,
    schedule::patience,
    tunnel::DatagramPipe,
    uplink::{Inbox, Reply, Uplink},
};
use fogbank_model::{Level, MixId};
use fogbank_sphinx::Geometry;
use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use stock::Stock;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{MissedTickBehavior, interval},
};

/// A tunnel gives up its reply blocks for lives that ended no more often than this: mixes restart rarely, and each time costs a round trip.
const VOID_PAUSE: Duration = Duration::from_secs(4);
/// The longest datagram: what fits a packet in both directions beside the message around it.
pub(crate) const MAX_DATAGRAM_BYTES: usize = {
    let (out, back) = (Geometry::PAYLOAD_BYTES, Geometry::REPLY_PAYLOAD_BYTES);
    (if out < back { out } else { back }) - RELAY_OVERHEAD_BYTES
};
/// SURBs that fill a packet.
pub(crate) const SURBS_A_PACKET: usize = surbs_in(Geometry::PAYLOAD_BYTES - RELAY_OVERHEAD_BYTES);
/// Datagrams waiting to be sent: as many as the uplink takes without waiting; more would only age.
pub(crate) const OUT_QUEUE: usize = 32;
/// Datagrams received and not yet taken: all SURBs could come back at once.
const IN_QUEUE: usize = stock::MAX_TARGET;
/// Looks at the clock in the time that counts as silence.
const TICKS: u32 = 3;
/// The first datagram is said again while nothing comes, after one tick, two, four and so on up to this: it may have reached the mix before the
/// other end's mailbox, or been lost. At the quickest level the last is said after 2.7 s; a visitor waits 3.
const FIRST_AGAIN: u32 = 16;
/// Puzzles solved for one mailbox: the second for one whose solution was lost, the third for a price that rose meanwhile.
const MAX_PUZZLES: u32 = 3;

/// Where and as whom to meet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) at: MixId,
    pub(crate) mine: MailboxId,
    pub(crate) peer: MailboxId,
    pub(crate) level: Level,
    /// Work beyond this is not done to have a mailbox there.
    pub(crate) most_effort: u32,
}

/// Opens the own mailbox and returns the pipe to the other end. `first` is sent at once and again until something comes.
/// The mailbox is closed when the pipe's sending half is dropped.
pub(crate) fn meet(uplink: &Uplink, place: Place, first: Option<Vec<u8>>) -> DatagramPipe {
    let (out, outgoing) = mpsc::channel(OUT_QUEUE);
    let (incoming, recv) = mpsc::channel(IN_QUEUE);
    let (inbox, replies) = uplink.inbox();
    let shared = Arc::new(Shared {
        stock: Mutex::new(Stock::new(patience(place.level), Instant::now())),
        refill: Notify::new(),
        heard: watch::Sender::new(false),
        puzzle: watch::Sender::new(None),
    });
    tokio::spawn(receive(replies, incoming, shared.clone()));
    let sender = Sender { uplink: uplink.clone(), place, inbox, shared };
    tokio::spawn(sender.run(outgoing, first));
    DatagramPipe { send: out, recv, max_bytes: MAX_DATAGRAM_BYTES }
}

struct Shared {
    stock: Mutex<Stock>,
    refill: Notify,
    heard: watch::Sender<bool>,
    /// What the mix asks for before it opens a mailbox.
    puzzle: watch::Sender<Option<Puzzle>>,
}

impl Shared {
    fn stock<T>(&self, change: impl FnOnce(&mut Stock) -> T) -> T {
        change(&mut self.stock.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Takes what comes back until the inbox is closed by the sender's end.
async fn receive(mut replies: mpsc::Receiver<Reply>, incoming: mpsc::Sender<Vec<u8>>, shared: Arc<Shared>) {
    while let Some(reply) = replies.recv().await {
        let (left, data) = match FromMix::decode(&reply.payload) {
            Ok(FromMix::Relayed { data, stock }) => (stock, Some(data)),
            Ok(FromMix::Restock { stock }) => (stock, None),
            Ok(FromMix::Puzzle(puzzle)) => {
                shared.puzzle.send_replace(Some(puzzle));
                continue;
            }
            Ok(FromMix::Refused(why)) => {
                tracing::debug!(why, "a rendezvous mix has no mailbox for us");
                continue;
            }
            Ok(other) => {
                tracing::debug!(?other, "a rendezvous mix said something that is no business of it");
                continue;
            }
            Err(error) => {
                tracing::debug!(%error, "a rendezvous mix said something unreadable");
                continue;
            }
        };
        let missing = shared.stock(|stock| {
            stock.came_back(usize::from(left), Instant::now());
            stock.missing()
        });
        if missing >= SURBS_A_PACKET {
            shared.refill.notify_one();
        }
        if let Some(data) = data {
            shared.heard.send_replace(true);
            // A reader that does not keep up loses datagrams as a network would.
            let _ = incoming.try_send(data);
        }
    }
}

struct Sender {
    uplink: Uplink,
    place: Place,
    inbox: Inbox,
    shared: Arc<Shared>,
}

impl Sender {
    async fn run(self, mut outgoing: mpsc::Receiver<Vec<u8>>, mut first: Option<Vec<u8>>) {
        let _hold = self.uplink.hold(self.place.level);
        let mut directories = self.uplink.directory();
        let mut mixes = lives(directories.borrow_and_update().as_deref());
        let mut tick = interval(patience(self.place.level) / TICKS);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.tick().await;
        let mut ticks = 0_u32;
        let mut puzzles = self.shared.puzzle.subscribe();
        let mut puzzled = 0;
        let (mut ended, mut voided) = (false, None::<Instant>);
        self.send(first.clone(), false).await;
        self.refill().await;
        loop {
            tokio::select! {
                datagram = outgoing.recv() => match datagram {
                    Some(datagram) => { self.send(Some(datagram), false).await; }
                    None => break,
                },
                () = self.shared.refill.notified() => self.refill().await,
                Ok(()) = puzzles.changed(), if puzzled < MAX_PUZZLES => {
                    let puzzle = *puzzles.borrow();
                    if let Some(puzzle) = puzzle {
                        puzzled += 1;
                        if !self.pay(puzzle, &mut outgoing).await {
                            break;
                        }
                        // The mix forgot what came with the question. Other answers to it ask for the same again.
                        self.shared.stock(Stock::void);
                        self.send(first.clone(), true).await;
                        self.refill().await;
                        puzzles.mark_unchanged();
                    }
                }
                _ = tick.tick() => {
                    ticks = ticks.saturating_add(1);
                    if *self.shared.heard.borrow() || ticks > FIRST_AGAIN {
                        first = None;
                    } else if first.is_some() && ticks.is_power_of_two() {
                        self.send(first.clone(), false).await;
                    }
                    self.shared.stock(|stock| stock.silent(SURBS_A_PACKET, Instant::now()));
                    // Also what could not be sent before.
                    self.refill().await;
                }
                changed = directories.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let now = lives(directories.borrow_and_update().as_deref());
                    // A mix that restarted has forgotten the mailboxes.
                    if now.get(&self.place.at) != mixes.get(&self.place.at) {
                        break;
                    }
                    ended |= lives_ended(&mixes, &now);
                    mixes = now;
                }
            }
            // Ways through a mix that has gone or begun anew are dead. One that does so again and again costs no more than one that does it now and then.
            if ended && voided.is_none_or(|at| at.elapsed() >= VOID_PAUSE) {
                (ended, voided) = (false, Some(Instant::now()));
                self.shared.stock(Stock::void);
                self.send(None, true).await;
                self.refill().await;
            }
        }
        let close = ToMix::CloseMailbox { mine: self.place.mine };
        let _ = self.uplink.send(self.place.at, self.place.level, &close).await;
    }

    /// Does the work that the mix asks for; whether the mailbox is still wanted. Without one, what was to be sent meanwhile is lost.
    async fn pay(&self, puzzle: Puzzle, outgoing: &mut mpsc::Receiver<Vec<u8>>) -> bool {
        let Place { at, mine, peer, level, most_effort } = self.place;
        if puzzle.effort > most_effort {
            tracing::debug!(effort = puzzle.effort, "a rendezvous mix asks for more work than is done");
            return true;
        }
        let mut solving = pin!(puzzle.solved(ToMix::mailbox_task(mine)));
        let work = loop {
            tokio::select! {
                work = &mut solving => break work,
                datagram = outgoing.recv() => if datagram.is_none() {
                    return false;
                }
            }
        };
        let Some(work) = work else { return true };
        if let Err(error) = self.uplink.send(at, level, &ToMix::PayMailbox { mine, peer, work }).await {
            tracing::debug!(%error, "work for a mailbox was not sent");
        }
        true
    }

    /// Fills the stock up to its target, in full packets.
    async fn refill(&self) {
        while self.shared.stock(|stock| stock.missing()) >= SURBS_A_PACKET {
            if !self.send(None, false).await {
                break;
            }
        }
    }

    /// One packet: the datagram, and as many of the missing SURBs as fit beside it. Whether it went out; a datagram that did not is lost.
    async fn send(&self, relay: Option<Vec<u8>>, flush: bool) -> bool {
        let Place { at, mine, peer, level, .. } = self.place;
        let room = surbs_in(MAX_DATAGRAM_BYTES.saturating_sub(relay.as_ref().map_or(0, Vec::len)));
        let count = self.shared.stock(|stock| stock.missing()).min(room);
        let surbs = if count == 0 { Ok(Vec::new()) } else { self.uplink.surbs(at, count, level, &self.inbox).await };
        let sent = match surbs {
            Ok(surbs) => {
                let (count, relays) = (surbs.len(), relay.is_some());
                let sent = self.uplink.send(at, level, &ToMix::Mailbox { mine, peer, surbs, flush, relay }).await;
                if sent.is_ok() {
                    self.shared.stock(|stock| {
                        stock.sent(count);
                        if relays {
                            stock.asked(Instant::now());
                        }
                    });
                }
                sent
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &sent {
            tracing::debug!(%error, "a datagram to a rendezvous mix was not sent");
        }
        sent.is_ok()
    }
}
