//! One peer that is connected to a mix: what it sends, and what it is brought: replies, directories, and, at level strict, one frame a slot.
//!
//! Invariants: a peer of constant rate gets exactly one frame a slot, whatever is to be brought (replies before the directory, the directory
//! before nothing); what waits for a peer is bounded, and the rest is dropped and counted; a directory is brought piece by piece, only when
//! it is asked for, and once at a time.

use super::{
    counters::count,
    peers::Heard,
    pipeline::{Pipeline, lock},
    spreading::Given,
};
use crate::{
    directory::{KeptDirectory, gossip::Transfer, mix_id},
    link::{Frame, receive, send},
    schedule::{CONSTANT_SLOT, ConstantRate, Slot},
};
use fogbank_model::{FogId, MixId};
use fogbank_wire::Group;
use iroh::endpoint::Connection;
use std::{
    collections::HashMap,
    future::{pending, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep_until,
};

/// Frames waiting for one client: 2 MB; a client that reads slower loses packets.
const CLIENT_QUEUE: usize = 256;
/// Orders of a peer that are not yet followed; one that gives more is not heard.
const ORDERS: usize = 4;
/// Frames without content that a peer of constant rate may send within [`DUMMIES_IN`]: twice what that takes, as a line that stood still brings all at
/// once. One that sends more only fills the owner's line; those of others count for the rate.
const MOST_DUMMIES: u128 = 2 * DUMMIES_IN.as_millis() / CONSTANT_SLOT.as_millis();
const DUMMIES_IN: Duration = Duration::from_secs(10);
/// A client of constant rate that sends nothing for so long is gone or has changed its mind: it sends one frame each 41 ms.
const SHAPED_SILENCE: Duration = Duration::from_secs(5);

/// What a peer asks of its connection.
enum Order {
    /// A fog's directory.
    Want(FogId),
    /// One frame a slot, or no longer.
    Shape(bool),
    /// It sends what nobody sends: it has to go.
    Leave,
}

/// A peer's place among those who are connected; free again when dropped.
pub(super) struct Seat {
    pipeline: Arc<Pipeline>,
    tag: [u8; 16],
    group: Group,
    queue: mpsc::Sender<Frame>,
    frames: mpsc::Receiver<Frame>,
    heard: Heard,
    gone: oneshot::Receiver<()>,
}

impl Seat {
    /// A place for who connected, if there is one; `from`: its group if it is a client.
    pub(super) fn take(connection: &Connection, from: Group, pipeline: &Arc<Pipeline>) -> Option<Self> {
        // A mix is a peer that packets are sent to over a link of our own; what it opens it only sends on. A client's key is in no directory.
        let tag = mix_id(connection.remote_id().as_bytes()).0;
        let (queue, frames) = mpsc::channel(CLIENT_QUEUE);
        let heard = Arc::new(Mutex::new(Instant::now()));
        let group = pipeline.listed_by(MixId(tag)).map_or(from, Group::Fog);
        let gone = pipeline.peers.arrived(tag, group, queue.clone(), heard.clone())?;
        Some(Self { pipeline: pipeline.clone(), tag, group, queue, frames, heard, gone })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.pipeline.peers.left(self.tag, &self.queue);
    }
}

/// Takes one peer's packets and brings it what is for it, until it goes or has to.
pub(super) async fn serve(connection: Connection, mut seat: Seat) {
    let (tag, group, pipeline, heard) = (seat.tag, seat.group, seat.pipeline.clone(), seat.heard.clone());
    let (orders, follow) = mpsc::channel(ORDERS);
    let in_slots = Arc::new(AtomicBool::new(false));
    let taking = {
        let (pipeline, heard, queue) = (pipeline.clone(), heard.clone(), seat.queue.clone());
        let in_slots = in_slots.clone();
        let dummies = Mutex::new(Dummies { since: Instant::now(), count: 0 });
        receive(&connection, move |frame| {
            let now = Instant::now();
            *lock(&heard) = now;
            count(&pipeline.counters.frames);
            let over = match frame {
                Frame::Packet(bytes) => pipeline.take(tag, group, bytes, now),
                Frame::Dummy if in_slots.load(Relaxed) => {
                    if lock(&dummies).one_more(now) > MOST_DUMMIES {
                        let _ = orders.try_send(Order::Leave);
                    }
                    Ok(())
                }
                // Pieces come because they were asked for, and what is asked for is bounded.
                Frame::Part(_) => {
                    if pipeline.is_listed(MixId(tag)) {
                        pipeline.gossip(MixId(tag), frame, &queue);
                    }
                    Ok(())
                }
                frame => pipeline.within_rate(tag, group, now).map(|()| match frame {
                    Frame::Want { fog, .. } => drop(orders.try_send(Order::Want(fog))),
                    Frame::Shape(on) => drop(orders.try_send(Order::Shape(on))),
                    Frame::Have { .. } if pipeline.is_listed(MixId(tag)) => pipeline.gossip(MixId(tag), frame, &queue),
                    _ => {}
                }),
            };
            over.err().and_then(|over| over.deaf)
        })
    };
    let bringing = Bringing {
        connection: &connection,
        pipeline: &pipeline,
        heard,
        in_slots,
        transfer: None,
        given: Given::default(),
        announced: HashMap::new(),
    };
    tokio::select! {
        _ = taking => {}
        () = bringing.run(&mut seat.frames, follow) => {}
        _ = &mut seat.gone => {}
    }
    lock(&pipeline.gossiping).gone(MixId(tag));
    connection.close(iroh::endpoint::VarInt::from_u32(0), b"");
}

/// Frames without content since a moment.
struct Dummies {
    since: Instant,
    count: u128,
}

impl Dummies {
    fn one_more(&mut self, now: Instant) -> u128 {
        if now.duration_since(self.since) >= DUMMIES_IN {
            (self.since, self.count) = (now, 0);
        }
        self.count += 1;
        self.count
    }
}

struct Bringing<'a> {
    connection: &'a Connection,
    pipeline: &'a Arc<Pipeline>,
    heard: Arc<Mutex<Instant>>,
    /// Whether the peer has a place among those of constant rate, and so sends frames without content.
    in_slots: Arc<AtomicBool>,
    transfer: Option<Transfer>,
    given: Given,
    /// Which directory of each fog the peer was told of last. Of those only that are kept.
    announced: HashMap<FogId, u64>,
}

impl Bringing<'_> {
    async fn run(mut self, frames: &mut mpsc::Receiver<Frame>, mut orders: mpsc::Receiver<Order>) {
        let mut directories = self.pipeline.directory.clone();
        directories.mark_changed();
        let client = !self.pipeline.is_listed(mix_id(self.connection.remote_id().as_bytes()));
        let mut shaped: Option<(ConstantRate<Frame>, Place)> = None;
        let mut announce = false;
        loop {
            let slot = shaped.as_ref().map(|(rate, _)| rate.next());
            self.in_slots.store(slot.is_some(), Relaxed);
            let idle_frames = slot.is_none() && (announce || self.transfer.is_some());
            let frame = tokio::select! {
                biased;
                () = async { match slot { Some(at) => sleep_until(at.into()).await, None => pending().await } } => {
                    let Some((rate, _)) = &mut shaped else { continue };
                    let now = Instant::now();
                    let quiet = now.duration_since(*lock(&self.heard)) >= SHAPED_SILENCE;
                    if quiet || self.pipeline.shaped_too_many() {
                        shaped = None;
                        Frame::Shaped(false)
                    } else {
                        match rate.take(now) {
                            Some(Slot::Packet(frame)) => frame,
                            Some(Slot::Cover) => match self.in_between(&mut announce) {
                                Some(frame) => frame,
                                None => {
                                    count(&self.pipeline.counters.dummies);
                                    Frame::Dummy
                                }
                            },
                            None => continue,
                        }
                    }
                }
                order = orders.recv() => match order {
                    Some(Order::Want(fog)) => {
                        self.want(&fog);
                        continue;
                    }
                    Some(Order::Shape(true)) if client && shaped.is_none() => {
                        let Some(place) = Place::take(self.pipeline) else {
                            if send(self.connection, Frame::Shaped(false)).await.is_err() { return }
                            continue;
                        };
                        shaped = Some((ConstantRate::new(CONSTANT_SLOT, Instant::now(), &mut rand::rng()), place));
                        Frame::Shaped(true)
                    }
                    Some(Order::Shape(false)) => {
                        shaped = None;
                        continue;
                    }
                    Some(Order::Shape(true)) => continue,
                    Some(Order::Leave) | None => return,
                },
                frame = frames.recv() => {
                    let Some(frame) = frame else { return };
                    match &mut shaped {
                        Some((rate, _)) => {
                            if rate.offer(frame).is_err() {
                                count(&self.pipeline.counters.dropped_full);
                            }
                            continue;
                        }
                        None => frame,
                    }
                }
                changed = directories.changed(), if client => {
                    if changed.is_err() { return }
                    announce = directories.borrow_and_update().is_some();
                    continue;
                }
                () = ready(()), if idle_frames => match self.in_between(&mut announce) {
                    Some(frame) => frame,
                    None => continue,
                },
            };
            if send(self.connection, frame).await.is_err() {
                return;
            }
        }
    }

    /// The peer wants a fog's directory.
    fn want(&mut self, fog: &FogId) {
        let Some(known) = self.pipeline.directory.borrow().clone() else { return };
        if self.transfer.is_none() {
            self.transfer = self.given.give(&known, fog, Instant::now());
        }
    }

    /// What is brought when nothing more urgent waits.
    fn in_between(&mut self, announce: &mut bool) -> Option<Frame> {
        if *announce {
            let next = self.announcement();
            *announce = next.is_some();
            if next.is_some() {
                return next;
            }
        }
        let next = self.transfer.as_mut()?.next();
        match next {
            Some(_) => count(&self.pipeline.counters.parts),
            None => self.transfer = None,
        }
        next
    }

    /// One directory that the peer has not been told of.
    fn announcement(&mut self) -> Option<Frame> {
        let known = self.pipeline.directory.borrow().clone()?;
        let told = |kept: &&KeptDirectory| self.announced.get(&kept.directory.fog) == Some(&kept.directory.serial);
        let next = known.kept().find(|kept| !told(kept))?;
        let (fog, serial, made) = (next.directory.fog, next.directory.serial, next.directory.made);
        self.announced.retain(|fog, _| known.of(fog).is_some());
        self.announced.insert(fog, serial);
        Some(Frame::Have { fog, serial, made })
    }
}

/// A client's place among those of constant rate; free again when dropped.
struct Place(Arc<Pipeline>);

impl Place {
    fn take(pipeline: &Arc<Pipeline>) -> Option<Self> {
        let entered = pipeline.shape();
        count(if entered { &pipeline.counters.shaped } else { &pipeline.counters.shape_refused });
        entered.then(|| Self(pipeline.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.unshape();
    }
}
