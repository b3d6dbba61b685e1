//! What this allocator does as a witness of others: signs their directories and changes of witnesses, and gives its parts of their draws.
//!
//! Invariants: what is to be signed is judged by betanet's [`witness`](fogbank_betanet::directory::witness) alone; the record of it is in the
//! store before the signature leaves, so that a restart between the two signs nothing twice; one request is judged at a time.

use crate::{federation::kept_as, start::Shared};
use fogbank_betanet::{
    address::Period,
    directory::{
        Directory, HANDOVER, Handover, SignedDirectory, commit, reveal,
        witness::{Eyes, Objection, Record},
    },
};
use fogbank_model::{DurationMs, FogId, MixId, UnixMs};
use fogbank_store::StoreError;
use fogbank_wire::{Countersignature, FederateReply, FederateRequest, Refusal, RefusalKind, decode, encode};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Mutex as AsyncMutex;

/// An operator's leave for another fog to change its witnesses holds for so long: they are on the telephone.
pub(crate) const LET: DurationMs = DurationMs::from_s(3600);
/// A fog is signed for this often at most: half of what an honest one asks for…
const SIGN_PAUSE: Duration = Duration::from_millis(500);
/// …and no more bytes of it are judged and written down than this on average, twice what an honest one asks for.
const SIGN_BYTES_S: u64 = 128 << 10;

/// What is asked of a witness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    Directory,
    Handover,
}

/// What is remembered between requests, besides the store.
#[derive(Default)]
pub(crate) struct Witnessing {
    judging: AsyncMutex<()>,
    /// Fogs whose witnesses may change freely, until then.
    lets: Mutex<BTreeMap<FogId, UnixMs>>,
    /// When a fog may ask again, for a directory and for a change of witnesses. Twice as many as are named.
    next: Mutex<BTreeMap<(FogId, Asked), Instant>>,
}

impl Witnessing {
    /// The operator lets a fog change its witnesses as it likes for a while.
    pub(crate) fn allow(&self, fog: FogId, now: UnixMs) {
        let mut lets = self.lets.lock().unwrap_or_else(PoisonError::into_inner);
        lets.retain(|_, until| now < *until);
        lets.insert(fog, now.plus(LET));
    }

    fn lets(&self, fog: &FogId, now: UnixMs) -> bool {
        self.lets.lock().unwrap_or_else(PoisonError::into_inner).get(fog).is_some_and(|until| now < *until)
    }

    fn in_time(&self, fog: FogId, asked: Asked, clock: Instant) -> bool {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        next.retain(|_, at| clock < *at);
        let in_time = !next.contains_key(&(fog, asked));
        if in_time {
            next.insert((fog, asked), clock + SIGN_PAUSE);
        }
        in_time
    }

    /// So much was judged and kept for it: it waits as much longer.
    fn took(&self, fog: FogId, asked: Asked, bytes: usize, clock: Instant) {
        let pause = Duration::from_millis((bytes as u64).saturating_mul(1_000) / SIGN_BYTES_S);
        self.next.lock().unwrap_or_else(PoisonError::into_inner).insert((fog, asked), clock + pause.max(SIGN_PAUSE));
    }
}

/// Answers what a named fog asks of this one as its witness.
pub(crate) async fn answer(shared: &Shared, fog: &FogId, request: FederateRequest) -> FederateReply {
    let signed = match request {
        FederateRequest::Witness { directory, away } => sign_directory(shared, fog, &directory, &away).await,
        FederateRequest::Handover(bytes) => sign_handover(shared, fog, &bytes).await,
        FederateRequest::Part(period) => return part(shared, fog, Period(period)),
        FederateRequest::Directory(_) => Err(Refusal::new(RefusalKind::Invalid, "a directory is not for a witness")),
    };
    signed.map_or_else(FederateReply::Refused, FederateReply::Signed)
}

/// A directory of the fog was published.
pub(crate) async fn seen(shared: &Shared, fog: &FogId, directory: &Directory) -> Result<(), StoreError> {
    let _one = shared.witnessing.judging.lock().await;
    let known = load(shared, fog).await?;
    match Record::seen(known.as_ref(), directory) {
        Some(record) => keep(shared, fog, &record).await.map(drop),
        None => Ok(()),
    }
}

/// A fog is not named any more: what is known of it goes.
pub(crate) async fn forget(shared: &Shared, fog: &FogId) -> Result<(), StoreError> {
    let _one = shared.witnessing.judging.lock().await;
    shared.store.set_meta(&recorded_as(fog), &[]).await
}

async fn sign_directory(
    shared: &Shared,
    fog: &FogId,
    bytes: &[u8],
    away: &[(MixId, UnixMs)],
) -> Result<Countersignature, Refusal> {
    paced(shared, fog, Asked::Directory)?;
    let signed = SignedDirectory::read(bytes).map_err(|e| invalid(e.to_string()))?;
    let directory = signed.proposal(fog).map_err(|e| invalid(e.to_string()))?;
    let _one = shared.witnessing.judging.lock().await;
    let known = load(shared, fog).await.map_err(failed)?;
    let named = shared.federation.fogs();
    let judged = Record::judge(known.as_ref(), &directory, signed.body(), away, &eyes(shared, &named, fog));
    let record = judged.map_err(|objection| objects(fog, &objection))?;
    let kept = keep(shared, fog, &record).await.map_err(failed)?;
    shared.witnessing.took(*fog, Asked::Directory, kept.max(bytes.len()), shared.instant());
    Ok(signed.countersign(&shared.config.key))
}

async fn sign_handover(shared: &Shared, fog: &FogId, bytes: &[u8]) -> Result<Countersignature, Refusal> {
    paced(shared, fog, Asked::Handover)?;
    let handover: Handover = decode(bytes).map_err(|e| invalid(e.to_string()))?;
    let _one = shared.witnessing.judging.lock().await;
    let known = load(shared, fog).await.map_err(failed)?;
    let named = shared.federation.fogs();
    let judged = Record::judge_handover(known.as_ref(), fog, &handover, &eyes(shared, &named, fog));
    let record = judged.map_err(|objection| objects(fog, &objection))?;
    keep(shared, fog, &record).await.map_err(failed)?;
    tracing::info!(fog = fog.short(), "signed a change of a fog's witnesses");
    Ok(handover.countersign(&shared.config.key, HANDOVER))
}

/// This fog's part in another's draw. What is revealed once can't be fixed any more, so it stays shut until the period has begun by this
/// clock; from then on nothing of the period before is signed.
fn part(shared: &Shared, fog: &FogId, period: Period) -> FederateReply {
    let secret = &shared.secret;
    let open = period <= Period::at(shared.now());
    FederateReply::Part { commit: commit(&reveal(secret, fog, period.next())), reveal: open.then(|| reveal(secret, fog, period)) }
}

fn eyes<'a>(shared: &'a Shared, named: &'a [FogId], fog: &FogId) -> Eyes<'a> {
    let now = shared.now();
    let lets = shared.witnessing.lets(fog, now);
    Eyes { me: shared.fog(), secret: &shared.secret, named, test: shared.config.test, lets, now }
}

fn paced(shared: &Shared, fog: &FogId, asked: Asked) -> Result<(), Refusal> {
    let busy = || Refusal::new(RefusalKind::Busy, "signed for you a moment ago: later");
    shared.witnessing.in_time(*fog, asked, shared.instant()).then_some(()).ok_or_else(busy)
}

fn objects(fog: &FogId, objection: &Objection) -> Refusal {
    tracing::info!(%objection, fog = fog.short(), "a federated fog's list was not signed");
    Refusal::new(RefusalKind::NotGranted, objection.to_string())
}

fn invalid(words: String) -> Refusal {
    Refusal::new(RefusalKind::Invalid, words)
}

fn failed(error: StoreError) -> Refusal {
    Refusal::new(RefusalKind::Failed, error.to_string())
}

fn recorded_as(fog: &FogId) -> String {
    format!("witness of {fog}")
}

/// What is known of a fog. Where nothing was signed yet, its published directory is what is known.
async fn load(shared: &Shared, fog: &FogId) -> Result<Option<Record>, StoreError> {
    let kept = shared.store.meta(&recorded_as(fog)).await?.filter(|bytes| !bytes.is_empty());
    match kept {
        // One that can't be read any more is no reason to begin anew: a serial could be signed twice.
        Some(bytes) => {
            decode(&bytes).map(Some).map_err(|_| StoreError::Unreadable { what: "a record of what was signed for a fog" })
        }
        None => {
            let published = shared.store.meta(&kept_as(fog)).await?;
            Ok(published.and_then(|bytes| Directory::open(&bytes, fog).ok()).and_then(|d| Record::seen(None, &d)))
        }
    }
}

/// Keeps a record; how long it is.
async fn keep(shared: &Shared, fog: &FogId, record: &Record) -> Result<usize, StoreError> {
    let unreadable = |_| StoreError::Unreadable { what: "a record of what was signed for a fog" };
    let bytes = encode(record).map_err(unreadable)?;
    shared.store.set_meta(&recorded_as(fog), &bytes).await.map(|()| bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leave_ends_and_haste_is_refused() {
        let (witnessing, fog) = (Witnessing::default(), FogId([1; 32]));
        assert!(!witnessing.lets(&fog, UnixMs(0)));
        witnessing.allow(fog, UnixMs(0));
        assert!(witnessing.lets(&fog, UnixMs(LET.0 - 1)) && !witnessing.lets(&fog, UnixMs(LET.0)));
        let clock = Instant::now();
        let asked = |fog, asked, after| witnessing.in_time(fog, asked, clock + after);
        assert!(asked(fog, Asked::Directory, Duration::ZERO) && asked(FogId([2; 32]), Asked::Directory, Duration::ZERO));
        assert!(asked(fog, Asked::Handover, Duration::ZERO) && !asked(fog, Asked::Directory, SIGN_PAUSE / 2));
        assert!(asked(fog, Asked::Directory, SIGN_PAUSE));
        witnessing.took(fog, Asked::Directory, 10 * SIGN_BYTES_S as usize, clock);
        assert!(!asked(fog, Asked::Directory, Duration::from_secs(9)) && asked(fog, Asked::Directory, Duration::from_secs(10)));
    }
}
