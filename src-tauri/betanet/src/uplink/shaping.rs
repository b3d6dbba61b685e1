//! Level strict: one link of constant rate, to one of the guards, in both directions.
//!
//! ```text
//! wanted → a guard that is up is asked → it agrees → slots, both ways → until not wanted, or the guard goes
//!                     └ refuses → the next one → none is left: refused, said clearly, tried again later
//! ```
//!
//! Invariants: nothing of level strict goes out but in slots, nor comes in by SURBs of another guard; everything that this client sends to that
//! guard goes through its slots, other levels' packets, too; each slot carries one packet, and cover is made before its slot comes, so that
//! a slot's moment does not tell what is in it; one guard at a time, kept while it is up (three links would cost three times as much); when
//! the budget is spent, it ends (see [`super::budget`]).
//! What shows: that level strict is in use, from when and until when. It stays on for [`LINGER`] after its last use.

use super::{
    SendError, Shared,
    budget::{CoverBudget, NoBudget},
    lock,
};
use crate::{
    link::{Frame, LinkState},
    message::ToMix,
    schedule::{CONSTANT_SLOT, ConstantRate, Slot},
};
use fogbank_model::{Level, MixId};
use fogbank_sphinx::{Epoch, build};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{sleep, sleep_until, timeout},
};

/// How long a link of constant rate is kept after the last thing that was said at level strict: reading a page and clicking on.
pub const LINGER: Duration = Duration::from_secs(180);
/// A guard answers within this, or the next one is asked: a link's round trip and a busy mix.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// A sender waits for a guard for so long: three guards that do not answer, less a little.
const GUARD_WAIT: Duration = Duration::from_secs(5);
/// A guard that refused is not asked again for so long.
const REFUSED_FOR: Duration = Duration::from_secs(30);
/// When no guard will, that is said for so long before it is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// Frames that wait behind a slot on the link's own queue: when there are more, the connection is stuck, and slots pass until it moves.
const STUCK: usize = 4;

/// Where it stands.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// Not wanted, or being asked for.
    Idle,
    /// Slots go.
    On {
        /// To which guard.
        guard: MixId,
        /// What is to have a slot; one waits here, [`crate::schedule::SLOT_QUEUE`] behind it.
        queue: mpsc::Sender<Frame>,
    },
    /// No guard will, and why.
    Refused(String),
}

/// What the uplink keeps of it.
pub(super) struct Strict {
    holds: AtomicUsize,
    last: Mutex<Option<Instant>>,
    wake: Notify,
    state: watch::Sender<State>,
    answers: mpsc::Sender<(MixId, bool)>,
    budget: Mutex<Option<Result<CoverBudget, NoBudget>>>,
    pub(super) slots: AtomicU64,
    pub(super) drops: AtomicU64,
}

/// Guards' answers, for [`keep`].
pub(super) type Answers = mpsc::Receiver<(MixId, bool)>;

impl Strict {
    pub(super) fn new(budget: Option<Result<CoverBudget, NoBudget>>) -> (Self, Answers) {
        let (answers, heard) = mpsc::channel(8);
        let strict = Self {
            holds: AtomicUsize::new(0),
            last: Mutex::new(None),
            wake: Notify::new(),
            state: watch::Sender::new(State::Idle),
            answers,
            budget: Mutex::new(budget),
            slots: AtomicU64::new(0),
            drops: AtomicU64::new(0),
        };
        (strict, heard)
    }

    /// Somebody wants it from now on until [`Self::release`].
    pub(super) fn hold(&self) {
        self.holds.fetch_add(1, Relaxed);
        self.wake.notify_one();
    }

    pub(super) fn release(&self) {
        *lock(&self.last) = Some(Instant::now());
        self.holds.fetch_sub(1, Relaxed);
    }

    pub(super) fn wanted(&self, now: Instant) -> bool {
        self.holds.load(Relaxed) > 0 || lock(&self.last).is_some_and(|at| now.duration_since(at) < LINGER)
    }

    /// The guard, once its slots go.
    pub(super) async fn guard(&self) -> Result<MixId, SendError> {
        *lock(&self.last) = Some(Instant::now());
        self.wake.notify_one();
        let mut states = self.state.subscribe();
        let settled = timeout(GUARD_WAIT, states.wait_for(|state| !matches!(state, State::Idle))).await;
        match settled.ok().and_then(Result::ok).map(|state| state.clone()) {
            Some(State::On { guard, .. }) => Ok(guard),
            Some(State::Refused(why)) => Err(SendError::NoStrict(why)),
            _ => Err(SendError::NoStrict("none of the usual first mixes answers".to_owned())),
        }
    }

    /// The slots' queue, when they go to this guard.
    pub(super) fn queue(&self, to: MixId) -> Option<mpsc::Sender<Frame>> {
        match &*self.state.borrow() {
            State::On { guard, queue } if *guard == to => Some(queue.clone()),
            _ => None,
        }
    }

    /// To which guard slots go now.
    pub(super) fn shaped(&self) -> Option<MixId> {
        match &*self.state.borrow() {
            State::On { guard, .. } => Some(*guard),
            _ => None,
        }
    }

    /// A guard answered.
    pub(super) fn answered(&self, guard: MixId, yes: bool) {
        let _ = self.answers.try_send((guard, yes));
    }

    /// A frame was cover; whether the budget still holds.
    pub(super) fn spend(&self) -> Result<(), String> {
        if let Some(Ok(budget)) = &mut *lock(&self.budget) {
            budget.spend(1);
        }
        self.affordable()
    }

    fn affordable(&self) -> Result<(), String> {
        let held = match &*lock(&self.budget) {
            None => Ok(()),
            Some(Ok(budget)) => budget.holds(),
            Some(Err(why)) => Err(*why),
        };
        held.map_err(|why| why.to_string())
    }
}

/// Keeps a link of constant rate while one is wanted.
pub(super) async fn keep(shared: Arc<Shared>, mut answers: Answers) {
    let mut refused: HashMap<MixId, Instant> = HashMap::new();
    loop {
        if !shared.strict.wanted(Instant::now()) {
            shared.strict.wake.notified().await;
            continue;
        }
        let outcome = match shared.strict.affordable() {
            Ok(()) => choose(&shared, &mut refused, &mut answers).await,
            Err(why) => Err(why),
        };
        let ended = match outcome {
            Ok(Some(guard)) => {
                let ended = run(&shared, guard, &mut answers).await;
                if matches!(ended, End::Refused) {
                    refused.insert(guard, Instant::now());
                }
                ended
            }
            // None is up just now.
            Ok(None) => {
                sleep(super::guards::LOOK_EVERY).await;
                continue;
            }
            Err(why) => End::Impossible(why),
        };
        if let End::Impossible(why) = ended {
            tracing::warn!(why, "level strict is not available");
            shared.strict.state.send_replace(State::Refused(why));
            sleep(TRY_AGAIN).await;
        }
        shared.strict.state.send_replace(State::Idle);
    }
}

/// Asks the guards that are up, one after another, always in the same order.
async fn choose(
    shared: &Arc<Shared>,
    refused: &mut HashMap<MixId, Instant>,
    answers: &mut Answers,
) -> Result<Option<MixId>, String> {
    let now = Instant::now();
    refused.retain(|_, at| now.duration_since(*at) < REFUSED_FOR);
    let up: Vec<MixId> = shared.guards.borrow().ids().filter(|id| shared.links.is_up(*id)).collect();
    for guard in &up {
        if refused.contains_key(guard) {
            continue;
        }
        while answers.try_recv().is_ok() {}
        let Some(queue) = shared.links.queue(*guard) else { continue };
        if queue.send(Frame::Shape(true)).await.is_err() {
            continue;
        }
        let answer = async {
            loop {
                match answers.recv().await {
                    Some((from, yes)) if from == *guard => return yes,
                    Some(_) => {}
                    None => return false,
                }
            }
        };
        if timeout(ANSWER_WAIT, answer).await.unwrap_or(false) {
            return Ok(Some(*guard));
        }
        refused.insert(*guard, Instant::now());
        // It may have agreed and the answer be late.
        let _ = queue.send(Frame::Shape(false)).await;
    }
    if up.is_empty() {
        return Ok(None);
    }
    Err(format!("none of the {} first mixes that answer has room for a link of constant rate", up.len()))
}

enum End {
    /// Nobody wants it any more.
    Unwanted,
    /// The link broke.
    Down,
    /// The guard has no room any more.
    Refused,
    /// It can't be, and why.
    Impossible(String),
}

/// A packet of cover, and the epoch under whose keys it was made.
struct Spare {
    epoch: Epoch,
    packet: Vec<u8>,
}

async fn run(shared: &Arc<Shared>, guard: MixId, answers: &mut Answers) -> End {
    let (Some(link), Some(mut up)) = (shared.links.queue(guard), shared.links.state(guard)) else { return End::Down };
    let (queue, mut waiting) = mpsc::channel(1);
    let mut rate = ConstantRate::new(CONSTANT_SLOT, Instant::now(), &mut rand::rng());
    let mut spare = None;
    shared.strict.state.send_replace(State::On { guard, queue });
    let end = loop {
        // Ahead of its slot.
        match ready_spare(shared, guard, spare.take()) {
            Ok(made) => spare = Some(made),
            Err(error) => break End::Impossible(error.to_string()),
        }
        tokio::select! {
            biased;
            () = sleep_until(rate.next().into()) => {
                let now = Instant::now();
                if !shared.strict.wanted(now) {
                    break End::Unwanted;
                }
                if link.max_capacity() - link.capacity() >= STUCK {
                    // What waits keeps its place; this slot passes.
                    rate.skip(now);
                    continue;
                }
                let frame = match rate.take(now) {
                    Some(Slot::Packet(frame)) => frame,
                    Some(Slot::Cover) => {
                        shared.strict.drops.fetch_add(1, Relaxed);
                        if let Err(why) = shared.strict.spend() {
                            break End::Impossible(why);
                        }
                        let Some(spare) = spare.take() else { continue };
                        Frame::Packet(spare.packet)
                    }
                    None => continue,
                };
                shared.strict.slots.fetch_add(1, Relaxed);
                shared.links.sent(guard);
                if link.try_send(frame).is_err() {
                    break End::Down;
                }
            }
            Some(frame) = waiting.recv(), if rate.has_room() => {
                let _ = rate.offer(frame);
            }
            Some((from, yes)) = answers.recv() => {
                if from == guard && !yes {
                    break End::Refused;
                }
            }
            changed = up.changed() => {
                if changed.is_err() || *up.borrow_and_update() != LinkState::Up {
                    break End::Down;
                }
            }
        }
    };
    if !matches!(end, End::Down | End::Refused) {
        let _ = link.try_send(Frame::Shape(false));
    }
    end
}

/// A packet that ends at a mix drawn like any other destination, made under the present keys.
fn ready_spare(shared: &Shared, guard: MixId, spare: Option<Spare>) -> Result<Spare, SendError> {
    let directory = shared.private()?;
    let (epoch, path) = shared.net_via(&directory, Some(guard), |net| {
        if spare.as_ref().is_some_and(|spare| spare.epoch == net.epoch) {
            return (net.epoch, None);
        }
        let rng = &mut rand::rng();
        // A destination may be of the guard's owner or network; another draw is not.
        let path = std::iter::repeat_with(|| net.rendezvous(guard, rng).map(|to| net.forward(to, Level::Strict, rng)));
        let mut path = path.take(DRAWS).flatten();
        (net.epoch, Some(path.find_map(Result::ok).ok_or(crate::paths::NoPath::TooFew)))
    });
    match (path, spare) {
        (None, Some(spare)) => Ok(spare),
        (path, _) => {
            let path = path.unwrap_or(Err(crate::paths::NoPath::TooFew)).map_err(SendError::NoPath)?;
            let payload = ToMix::Drop.encode().map_err(SendError::Message)?;
            let packet = build(&mut rand::rng(), epoch, &path, &payload).map_err(SendError::Build)?;
            Ok(Spare { epoch, packet: packet.as_bytes().to_vec() })
        }
    }
}

/// Destinations drawn for one packet of cover at most: with four mixes that may not stand beside the guard among seven, one in 10⁸ fails.
const DRAWS: usize = 32;
