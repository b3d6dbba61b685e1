//! Getting the directory signed: by the fog itself, and by as many witnesses as its charter asks for, asked side by side. And getting changes
//! of witnesses signed.
//!
//! ```text
//! due → parts of the draw, where a period begins → made and signed by the fog → witnesses → enough? → kept → current, told to everybody
//!                                                                                      → not: the former stays, later again
//! ```
//!
//! Invariants: the allocator's acting never waits for another fog; one attempt at a time; what a period's value is made of is kept before any
//! witness is asked to sign it, and stays; what is not signed by enough is told to nobody; failures are logged once, and shown.
//! Deliberately absent: which witnesses there should be ([`crate::charter`]) and what they look at ([`crate::witnessing`]).

use crate::{
    charter,
    directory::{Due, Looked, Signed},
    federation::AskPeerError,
    start::{DIRECTORY, DRAWN, MIX_HISTORY, Shared},
    telling::hand,
};
use fogbank_betanet::{
    address::Period,
    directory::{Charter, Draw, HANDOVER, commit, witness::millis},
};
use fogbank_model::{FogId, UnixMs};
use fogbank_store::StoreError;
use fogbank_wire::{FederateReply, FederateRequest, FrameError, encode};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::timeout_at};

/// A witness that has not answered by then is done without: it looks at a list for milliseconds, writes it down, and is a round trip away.
const DEADLINE: Duration = Duration::from_secs(3);
/// Where no witness must sign they are asked all the same, and nobody waits long.
const SHORT_DEADLINE: Duration = Duration::from_secs(1);
/// Between two attempts at least: twice what a witness allows.
const PAUSE: Duration = Duration::from_secs(1);
/// Witnesses take bytes no faster than this on average, so that large lists are asked for less often.
const BYTES_S: u64 = 64 << 10;
/// What a mix that is away takes in a request, and in a witness's record.
const AWAY_BYTES: usize = 32;
/// After attempts that came to nothing the pause is doubled up to this; a witness that connects ends it.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Why there is no new directory.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{signed} of the {needed} other fogs that must sign the list of mixes did")]
    Witnesses { signed: usize, needed: u8 },
    #[error("{given} of the {needed} other fogs that must take part in the draw of the coming two days did")]
    Parts { given: usize, needed: usize },
    #[error("the change to other witnesses is not signed by enough of them")]
    Handover,
    #[error("the list of mixes could not be signed: {0}")]
    Frame(FrameError),
    #[error("{0}")]
    Store(StoreError),
}

/// How witnesses stand to this fog's directory.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WitnessView {
    /// Who they are, and how many must sign.
    pub charter: Charter,
    /// What the operator said that the number should be.
    pub wish: Option<u8>,
    /// When the current directory was made, and until when it holds.
    pub current: Option<(UnixMs, UnixMs)>,
    /// Why there is no newer one, or no other charter; empty when all is well.
    pub troubles: Vec<String>,
    /// What each witness answered last; empty for one that signed.
    pub answers: BTreeMap<FogId, String>,
}

#[derive(Default)]
struct State {
    asking: bool,
    wish: Option<u8>,
    directory: Attempts,
    handover: Attempts,
    answers: BTreeMap<FogId, String>,
}

/// When the next attempt may be, and what became of the last.
#[derive(Default)]
struct Attempts {
    next: Option<Instant>,
    pause: Duration,
    trouble: Option<String>,
}

impl Attempts {
    fn rested(&self, clock: Instant) -> bool {
        self.next.is_none_or(|next| clock >= next)
    }

    /// `jitter` in [0, 1) puts fogs that failed together apart.
    fn came_to(&mut self, result: Result<Duration, &Trouble>, jitter: f64, clock: Instant) {
        match result {
            Ok(pause) => {
                if self.trouble.take().is_some() {
                    tracing::info!("the witnesses sign again");
                }
                (self.pause, self.next) = (PAUSE, Some(clock + pause));
            }
            Err(trouble) => {
                let words = trouble.to_string();
                if self.trouble.is_none() {
                    tracing::warn!(%trouble, "going on with what was signed before");
                }
                self.trouble = Some(words);
                self.next = Some(clock + self.pause.max(PAUSE).mul_f64(1.0 + jitter / 2.0));
                self.pause = (self.pause.max(PAUSE) * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// The asking, and what came of it.
#[derive(Default)]
pub(crate) struct Signing {
    state: Mutex<State>,
}

impl Signing {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wish(&self, needed: Option<u8>) {
        let mut state = self.lock();
        state.wish = needed;
        (state.handover.next, state.directory.next) = (None, None);
    }

    /// A witness is there again: nobody waits for the end of a pause.
    pub(crate) fn soon(&self) {
        let mut state = self.lock();
        let State { directory, handover, .. } = &mut *state;
        for attempts in [directory, handover].into_iter().filter(|a| a.trouble.is_some()) {
            (attempts.next, attempts.pause) = (None, PAUSE);
        }
    }

    pub(crate) fn view(&self, charter: Charter, current: Option<(UnixMs, UnixMs)>) -> WitnessView {
        let state = self.lock();
        let troubles = [&state.directory, &state.handover].into_iter().filter_map(|a| a.trouble.clone()).collect();
        let answers = state.answers.iter().filter(|(fog, _)| charter.keys.contains(fog)).map(|(f, a)| (*f, a.clone())).collect();
        WitnessView { charter, wish: state.wish, current, troubles, answers }
    }
}

/// One attempt is under way as long as this lives.
struct Attempt(Arc<Shared>);

impl Attempt {
    fn begin(shared: &Arc<Shared>) -> Option<Self> {
        let before = std::mem::replace(&mut shared.signing.lock().asking, true);
        (!before).then(|| Self(shared.clone()))
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.0.signing.lock().asking = false;
        self.0.wake.notify_one();
    }
}

/// Does what is to be done about the directory after a look at the mixes. A fog without witnesses signs at once; with them, a task of its own
/// asks.
pub(crate) async fn tend(shared: &Arc<Shared>, looked: Looked, clock: Instant) -> Result<(), StoreError> {
    if let Some(bytes) = looked.history.and_then(|history| encode(&history).ok()) {
        shared.store.set_meta(MIX_HISTORY, &bytes).await?;
    }
    let current = shared.signer().charter().clone();
    let (wish, hand_over, renew) = {
        let state = shared.signing.lock();
        if state.asking {
            return Ok(());
        }
        (state.wish, state.handover.rested(clock), state.directory.rested(clock))
    };
    let views = shared.federation.views(None);
    match charter::wanted(shared.fog(), shared.config.test, &current, &views, wish, shared.now()) {
        Some(next) if hand_over => {
            if let Some(attempt) = Attempt::begin(shared) {
                tokio::spawn(stoppable(attempt, move |shared| hand_to(shared, current, next)));
            }
            return Ok(());
        }
        Some(_) => {}
        None => shared.signing.lock().handover = Attempts::default(),
    }
    let Some(due) = looked.due else { return Ok(()) };
    if current.keys.is_empty() {
        if !renew {
            return Ok(());
        }
        return match attempt_directory(shared, &due).await {
            Ok(_) => {
                // Every list makes every tunnel look: one mix that begins anew without end must not keep all of them at it.
                shared.signing.lock().directory = Attempts { next: Some(clock + PAUSE), ..Attempts::default() };
                Ok(())
            }
            Err(Trouble::Store(error)) => Err(error),
            Err(trouble) => {
                tracing::error!(%trouble, "no new list of mixes");
                Ok(())
            }
        };
    }
    if renew && let Some(attempt) = Attempt::begin(shared) {
        tokio::spawn(stoppable(attempt, move |shared| async move {
            let result = attempt_directory(&shared, &due).await;
            let pause = result.as_ref().map(|bytes| PAUSE.max(Duration::from_millis(*bytes as u64 * 1_000 / BYTES_S)));
            shared.signing.lock().directory.came_to(pause, shared.random(), shared.instant());
        }));
    }
    Ok(())
}

/// Runs an attempt, unless the allocator ends first.
async fn stoppable<F: Future<Output = ()>>(attempt: Attempt, act: impl FnOnce(Arc<Shared>) -> F) {
    let shared = attempt.0.clone();
    tokio::select! {
        () = act(shared.clone()) => {}
        () = shared.stop.cancelled() => {}
    }
    drop(attempt);
}

/// Makes a directory, has it signed, and publishes it; how much witnesses had to take for it.
async fn attempt_directory(shared: &Arc<Shared>, due: &Due) -> Result<usize, Trouble> {
    let draw = draw(shared, due.made).await?;
    let (directory, mut signed) = shared.signer().make(due, draw).map_err(Trouble::Frame)?;
    let charter = &directory.charter;
    if !charter.keys.is_empty() {
        let request = FederateRequest::Witness { directory: signed.bytes().map_err(Trouble::Frame)?, away: due.away.clone() };
        let mut count = 0;
        ask(shared, &charter.keys, request, deadline(charter), |fog, answer| {
            match answer {
                Ok(FederateReply::Signed(of)) if of.witness == fog && signed.add(of) => count += 1,
                // Its part may be another than it was: it is asked for again before the next attempt.
                _ => shared.signer().ask_again(&fog),
            }
            charter.needed > 0 && count >= usize::from(charter.needed)
        })
        .await;
        if !signed.meets(charter) {
            return Err(Trouble::Witnesses { signed: count, needed: charter.needed });
        }
    }
    let bytes = signed.bytes().map_err(Trouble::Frame)?;
    // What witnesses remember of mixes that are away costs them as much as what is listed.
    let length = bytes.len() + due.away.len() * AWAY_BYTES;
    publish(shared, Signed { directory: Arc::new(directory), bytes: Arc::new(bytes) }).await.map_err(Trouble::Store)?;
    Ok(length)
}

/// To everyone who is connected, once it is kept: after a restart serials go on rising.
async fn publish(shared: &Arc<Shared>, signed: Signed) -> Result<(), StoreError> {
    shared.store.set_meta(DIRECTORY, &signed.bytes).await?;
    let named = shared.directory().is_none_or(|before| before.directory.federated != signed.directory.federated);
    if !shared.signer().publish(signed.clone(), shared.instant()) {
        return Ok(());
    }
    tracing::info!(mixes = signed.directory.mixes.len(), serial = signed.directory.serial, "a new directory");
    shared.signed.send_replace(signed.directory.serial);
    shared.learn(&signed.bytes);
    // Those of fogs that it names now and did not before are believed by members only from here on.
    let others = shared.federation.signed();
    others.iter().for_each(|bytes| shared.learn(bytes));
    let all = std::iter::once(signed.bytes).chain(others.into_iter().filter(|_| named)).collect::<Vec<_>>();
    for member in shared.registry.snapshot(shared.instant()).here.into_values() {
        hand(member, all.clone());
    }
    Ok(())
}

/// The draw of the period of this moment. At its beginning witnesses give the parts that they were committed to; then it is settled.
async fn draw(shared: &Arc<Shared>, made: UnixMs) -> Result<Draw, Trouble> {
    let period = Period::at(made);
    let (settled, standing, uncommitted, own, charter) = {
        let signer = shared.signer();
        let (settled, standing) = (signer.settled(period), signer.standing(period));
        (settled, standing, signer.uncommitted(period), signer.own_part(period), signer.charter().clone())
    };
    let mut of = uncommitted;
    if settled.is_none() {
        of.extend(standing.keys().filter(|key| **key != own.0 && charter.keys.contains(key)));
        of.sort_unstable();
        of.dedup();
    }
    let mut parts = BTreeMap::new();
    if !of.is_empty() {
        ask(shared, &of, FederateRequest::Part(period.0), deadline(&charter), |fog, answer| {
            if let Ok(FederateReply::Part { commit: to, reveal }) = answer {
                shared.signer().committed(fog, period, to);
                let bound = reveal.filter(|part| standing.get(&fog) == Some(&commit(part)));
                parts.extend(bound.map(|part| (fog, part)));
            }
            false
        })
        .await;
    }
    let reveals = match settled {
        Some(reveals) => reveals,
        None => {
            let bound = standing.keys().filter(|key| charter.keys.contains(key)).count();
            let needed = usize::from(charter.needed).min(bound);
            if parts.len() < needed {
                return Err(Trouble::Parts { given: parts.len(), needed });
            }
            // Where nothing was fixed before, or its own part is lost, the own one is all there is.
            let own_stands = standing.get(&own.0) == Some(&commit(&own.1));
            if own_stands || standing.is_empty() || parts.is_empty() {
                parts.insert(own.0, own.1);
            }
            let reveals: Vec<_> = parts.into_iter().collect();
            let kept = encode(&(period, &reveals)).map_err(Trouble::Frame)?;
            shared.store.set_meta(DRAWN, &kept).await.map_err(Trouble::Store)?;
            shared.signer().settle((period, reveals.clone()));
            reveals
        }
    };
    Ok(shared.signer().draw(period, reveals))
}

/// Asks those of the old and of the new charter to sign the change, and takes it up when enough of both did.
async fn hand_to(shared: Arc<Shared>, old: Charter, next: Charter) {
    let next = Charter { number: old.number.saturating_add(1).max(millis(shared.now())), ..next };
    let result = async {
        let mut handover = old.hand_over(next.clone(), &shared.config.key).map_err(Trouble::Frame)?;
        let mut of: Vec<FogId> = old.keys.iter().chain(&next.keys).copied().collect();
        of.sort_unstable();
        of.dedup();
        let met = |handover: &_| old.is_met(handover, HANDOVER) && next.is_met(handover, HANDOVER);
        if !met(&handover) {
            let request = FederateRequest::Handover(encode(&handover).map_err(Trouble::Frame)?);
            ask(&shared, &of, request, DEADLINE, |fog, answer| {
                let signed = matches!(answer, Ok(FederateReply::Signed(of)) if of.witness == fog && handover.add(of, HANDOVER));
                signed && met(&handover)
            })
            .await;
        }
        if !met(&handover) {
            return Err(Trouble::Handover);
        }
        tracing::info!(witnesses = next.keys.len(), needed = next.needed, "the fog has other witnesses");
        shared.signer().hand_over(&old, next.clone(), handover);
        Ok(PAUSE)
    }
    .await;
    shared.signing.lock().handover.came_to(result.as_ref().copied(), shared.random(), shared.instant());
}

fn deadline(charter: &Charter) -> Duration {
    if charter.needed > 0 { DEADLINE } else { SHORT_DEADLINE }
}

/// Asks peers side by side until one answer is the last that was needed, all have answered, or the time is over.
async fn ask(
    shared: &Arc<Shared>,
    of: &[FogId],
    request: FederateRequest,
    deadline: Duration,
    mut enough: impl FnMut(FogId, Result<FederateReply, AskPeerError>) -> bool,
) {
    let until = tokio::time::Instant::now() + deadline;
    let request = Arc::new(request);
    let mut asked = JoinSet::new();
    for fog in of.iter().copied() {
        let (shared, request) = (shared.clone(), request.clone());
        asked.spawn(async move { (fog, shared.federation.ask(&fog, &request, deadline).await) });
    }
    let mut silent: Vec<FogId> = of.to_vec();
    {
        // Of former witnesses nothing is told.
        let (charter, mut state) = (shared.signer().charter().clone(), shared.signing.lock());
        state.answers.retain(|fog, _| of.contains(fog) || charter.keys.contains(fog));
    }
    while let Ok(Some(answer)) = timeout_at(until, asked.join_next()).await {
        let Ok((fog, answer)) = answer else { continue };
        silent.retain(|of| *of != fog);
        let words = match &answer {
            Ok(FederateReply::Refused(refusal)) => refusal.to_string(),
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        shared.signing.lock().answers.insert(fog, words);
        if enough(fog, answer) {
            return;
        }
    }
    let mut state = shared.signing.lock();
    for fog in silent {
        state.answers.insert(fog, AskPeerError::TimedOut(deadline).to_string());
    }
}
