//! One instance's life, from its confirmation to its end: fetch, start, serve, drain.
//!
//! Invariants: each step is told before the next begins; whatever way it ends, its connections end with it; an instance whose leases have all
//! ended stops by itself, so that one that is cut off from the allocator serves until then and no longer.

use crate::{
    bundle::{Bundles, FetchError, FetchProgress, InUse, Wanted},
    meter::Meter,
    publish::{Publish, Published},
    site::Site,
};
use fogbank_betanet::clock::FogClock;
use fogbank_betanet::tunnel::IntroductionKey;
use fogbank_model::{DurationMs, Instance, InstanceId, InstanceState, Level, UnixMs};
use iroh::Endpoint;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, interval, sleep},
};
use tokio_util::sync::CancellationToken;

/// Streams that wait to be taken.
const WAITING_STREAMS: usize = 16;
/// Rounds over all sources before the content is given up; the allocator then finds another place.
const FETCH_ROUNDS: u32 = 3;
/// Pause before the second round; doubled for the next.
const FETCH_PAUSE: Duration = Duration::from_secs(1);
/// Progress of a long fetch is told this often.
const TELL_EVERY: Duration = Duration::from_secs(2);
/// An instance that visitors can't find for so long is said to be unready: registrations come and go when the directory changes.
const UNREADY_AFTER: Duration = Duration::from_secs(10);
/// A drained instance ends when it had no stream for so long: visitors may not have heard of the drain yet.
const DRAIN_QUIET: Duration = Duration::from_secs(3);
/// An instance that never had a lease for so long ends: nobody seems to know of it.
const LEASE_WAIT: DurationMs = DurationMs::from_s(10 * 60);
/// How often the slow conditions are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What an instance is told.
#[derive(Debug, Clone)]
pub(crate) struct Orders {
    /// Its leases.
    pub(crate) leases: watch::Receiver<Vec<Vec<u8>>>,
    /// When the last of them ends.
    pub(crate) leased_until: watch::Receiver<Option<UnixMs>>,
    /// Drain, and end by then.
    pub(crate) drain: watch::Receiver<Option<UnixMs>>,
    /// End now.
    pub(crate) end: CancellationToken,
}

/// What to run.
pub(crate) struct Job {
    pub(crate) instance: InstanceId,
    pub(crate) level: Level,
    pub(crate) wanted: Wanted,
    pub(crate) key: IntroductionKey,
    pub(crate) bundles: Bundles,
    pub(crate) endpoint: Endpoint,
    pub(crate) clock: FogClock,
    pub(crate) orders: Orders,
    pub(crate) meter: Arc<Meter>,
}

/// What an instance tells: where it stands now and why.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) instance: InstanceId,
    pub(crate) state: InstanceState,
    pub(crate) reason: String,
}

#[derive(Clone)]
struct Teller {
    instance: InstanceId,
    to: mpsc::Sender<Told>,
}

impl Teller {
    async fn tell(&self, state: InstanceState, reason: impl Into<String>) {
        let reason = reason.into();
        tracing::info!(instance = self.instance.short(), state = state.name(), reason, "an instance moved");
        let _ = self.to.send(Told { instance: self.instance, state, reason }).await;
    }
}

/// Runs an instance to its end, and tells each step.
pub(crate) async fn run<P: Publish>(job: Job, publish: Arc<P>, tell: mpsc::Sender<Told>) {
    let teller = Teller { instance: job.instance, to: tell };
    let end = job.orders.end.clone();
    let reason = end.run_until_cancelled(live(job, publish, &teller)).await;
    teller.tell(InstanceState::Ended, reason.unwrap_or_else(|| "stopped".to_owned())).await;
}

/// Says why it ended.
async fn live<P: Publish>(job: Job, publish: Arc<P>, teller: &Teller) -> String {
    let mut drain = job.orders.drain.clone();
    let fetched = tokio::select! {
        fetched = fetch(&job, teller) => fetched,
        () = ordered(&mut drain) => return "drained before it served".to_owned(),
    };
    let held = match fetched {
        Ok(held) => held,
        Err(error) => return format!("the content could not be had: {error}"),
    };
    let site = match Site::of(held).await {
        Ok(site) => site.with_meter(job.meter.clone()),
        Err(error) => return format!("it could not start: {error}"),
    };
    teller.tell(InstanceState::Starting, "waiting to be found by visitors").await;
    let (accept, streams) = mpsc::channel(WAITING_STREAMS);
    let published = publish.publish(job.instance, job.key, job.orders.leases.clone(), job.level, accept);
    serve(published, streams, site, &job.orders, &job.clock, &job.meter, teller).await
}

async fn fetch(job: &Job, teller: &Teller) -> Result<InUse, FetchError> {
    let mut round = 1;
    let mut pause = FETCH_PAUSE;
    loop {
        let told = watch::Sender::new(FetchProgress { moved_bytes: 0, missing_bytes: 0 });
        let progress = told.subscribe();
        let fetching = job.bundles.cache(&job.endpoint, &job.wanted, |p| {
            told.send_replace(p);
        });
        let telling = async {
            loop {
                sleep(TELL_EVERY).await;
                let FetchProgress { moved_bytes, missing_bytes } = *progress.borrow();
                let reason =
                    format!("fetching the content: {} of {} MB", moved_bytes / 1_000_000, missing_bytes.div_ceil(1_000_000));
                teller.tell(InstanceState::Fetching, reason).await;
            }
        };
        let fetched = tokio::select! {
            fetched = fetching => fetched,
            never = telling => never,
        };
        match fetched {
            Ok((_, held)) => return Ok(held),
            Err(FetchError::Sources(_)) if round < FETCH_ROUNDS => {
                teller
                    .tell(InstanceState::Fetching, format!("nobody gave the content yet; round {round} of {FETCH_ROUNDS}"))
                    .await;
                sleep(pause).await;
                (round, pause) = (round + 1, pause * 2);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Waits until it is to drain.
async fn ordered(drain: &mut watch::Receiver<Option<UnixMs>>) {
    if drain.wait_for(Option::is_some).await.is_err() {
        // Whoever gives orders is gone, and ends this by the token.
        std::future::pending().await
    }
}

/// What the serving loop knows of time.
struct Since {
    unregistered: Option<Instant>,
    quiet: Option<Instant>,
    began: UnixMs,
}

async fn serve<P: Published, S>(
    published: P,
    mut streams: mpsc::Receiver<S>,
    site: Site,
    orders: &Orders,
    clock: &FogClock,
    meter: &Meter,
    teller: &Teller,
) -> String
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut drain = orders.drain.clone();
    let mut state = InstanceState::Starting;
    let mut since = Since { unregistered: None, quiet: None, began: clock.now() };
    let mut look = interval(LOOK_EVERY);
    loop {
        tokio::select! {
            stream = streams.recv(), if connections.len() < Instance::MAX_STREAMS => match stream {
                Some(stream) => {
                    let site = site.clone();
                    connections.spawn(async move { site.serve(stream).await });
                }
                None => return "the way to visitors ended".to_owned(),
            },
            Some(_) = connections.join_next() => {}
            () = published.wait_registered(), if matches!(state, InstanceState::Starting | InstanceState::Unready) => {
                if published.registered() {
                    state = InstanceState::Ready;
                    teller.tell(state, "serves").await;
                } else {
                    return "the way to visitors ended".to_owned();
                }
            }
            () = ordered(&mut drain), if state != InstanceState::Draining => {
                published.drain();
                if state == InstanceState::Starting {
                    return "drained before it served".to_owned();
                }
                state = InstanceState::Draining;
                // Counted from now: visitors have yet to hear of it.
                since.quiet = None;
                teller.tell(state, "sends visitors elsewhere and finishes what is open").await;
            }
            _ = look.tick() => {
                meter.open(published.open_tunnels(), published.open_streams().max(connections.len()));
                if let Some(why) = over(&published, connections.len(), state, orders, clock, &mut since) {
                    return why;
                }
                if state == InstanceState::Ready && since.unregistered.is_some_and(|at| at.elapsed() >= UNREADY_AFTER) {
                    state = InstanceState::Unready;
                    teller.tell(state, "visitors can't find it: no introduction point knows it").await;
                }
            }
        }
    }
}

/// Whether its time is over, and why.
fn over(
    published: &impl Published,
    connections: usize,
    state: InstanceState,
    orders: &Orders,
    clock: &FogClock,
    since: &mut Since,
) -> Option<String> {
    let begin = |since: &mut Option<Instant>, on: bool| *since = if on { Some(since.unwrap_or_else(Instant::now)) } else { None };
    begin(&mut since.unregistered, !published.registered());
    begin(&mut since.quiet, connections == 0 && published.open_streams() == 0);
    let now = clock.now();
    if state == InstanceState::Draining {
        if since.quiet.is_some_and(|at| at.elapsed() >= DRAIN_QUIET) {
            return Some("drained: nothing was open any more".to_owned());
        }
        if orders.drain.borrow().is_some_and(|deadline| deadline <= now) {
            return Some(format!("drained: its time was over with {connections} connections open"));
        }
    }
    match *orders.leased_until.borrow() {
        Some(until) if until <= now => Some("its leases ended and no new ones came".to_owned()),
        None if now.since(since.began) >= LEASE_WAIT => Some("no lease came".to_owned()),
        _ => None,
    }
}
