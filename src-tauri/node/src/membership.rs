//! A node's place in a fog: one connection to the allocator, kept up; reports go out on it, and what the allocator asks comes in.
//!
//! Invariants: when the connection breaks, it is made anew with growing, jittered pauses, for ever. When what the node does in the fog changes,
//! it presents itself on a second connection, at once, and the first one serves until that takes its place: nobody is away meanwhile.
//! Deliberately absent: what a request means (the [`Handler`]'s).

use crate::{identity::Identity, net, settings::Membership};
use fogbank_betanet::clock::FogClock;
use fogbank_model::{FogId, MixId};
use fogbank_wire::{
    CallError, Coming, DeviceReply, DeviceRequest, Enrol, MAX_FRAME_BYTES, MixInfo, NodeReply, NodeRequest, Purpose, Refusal,
    RefusalKind, RelayHint, Report, Roles, Welcome, call, greet, read_frame, write_frame,
};
use iroh::{
    Endpoint,
    endpoint::{Connection, RecvStream, SendStream, VarInt},
};
use std::{future::Future, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

/// First pause before trying again; doubled each time up to [`LONGEST_PAUSE`], with as much jitter again.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// A device that comes back within this time after its allocator does is soon enough for people.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Reports at least this far apart, so that a quickly changing state does not flood the allocator.
const REPORT_PAUSE: Duration = Duration::from_millis(50);
/// A connection attempt that takes longer has failed.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Requests of the allocator under way at once; more are answered "busy".
const MAX_REQUESTS: usize = 64;
/// The allocator sends a whole request at once; one that dribbles is dropped.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// How often a mix's measurements are told while it relays: six loops' worth, of which the last thirty or so speak.
const TELL_PROBES: Duration = Duration::from_secs(60);

/// What answers the allocator's requests.
pub(crate) type Handler = Arc<dyn Fn(DeviceRequest) -> Pin<Box<dyn Future<Output = DeviceReply> + Send>> + Send + Sync>;

/// What the node's mix measured of others, and how many clients it has.
pub(crate) type Probes = Arc<dyn Fn() -> (Vec<(MixId, u16)>, u32) + Send + Sync>;

/// Where the membership stands.
#[derive(Debug, Clone)]
pub(crate) enum Standing {
    /// Not connected (yet, or any more), and why, for people.
    Away(String),
    /// The allocator said no; trying again is of little use, but it is tried.
    Refused(Refusal),
    /// Connected.
    Member(Welcome),
}

impl Standing {
    /// Why it is not connected, for people; empty when it is.
    pub(crate) fn why(&self) -> String {
        match self {
            Self::Away(why) => why.clone(),
            Self::Refused(refusal) => refusal.to_string(),
            Self::Member(_) => String::new(),
        }
    }
}

/// What a node does in the fog just now; when it changes, the node presents itself anew.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Part {
    /// Roles it wants to play.
    pub(crate) roles: Roles,
    /// Its mix, when it relays.
    pub(crate) mix: Option<MixInfo>,
}

/// Which fog, where its allocator is, and where it is met otherwise.
type ToFog = (FogId, Vec<SocketAddr>, Option<RelayHint>);

/// A membership that is kept up until it is dropped.
pub(crate) struct MemberLink {
    connection: watch::Receiver<Option<Connection>>,
    standing: watch::Receiver<Standing>,
    to: ToFog,
    /// The invite that it presents or has presented.
    invite: Option<[u8; 16]>,
    task: tokio::task::JoinHandle<()>,
}

/// Everything that the link needs.
pub(crate) struct LinkConfig {
    pub(crate) identity: Identity,
    pub(crate) name: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) membership: Membership,
    pub(crate) part: watch::Receiver<Part>,
    pub(crate) reports: watch::Receiver<Report>,
    pub(crate) handler: Handler,
    pub(crate) probes: Probes,
    /// Set right by each welcome.
    pub(crate) clock: FogClock,
}

impl MemberLink {
    /// Begins to keep the connection up.
    pub(crate) fn start(config: LinkConfig) -> Self {
        let (connection_tx, connection) = watch::channel(None);
        let (standing_tx, standing) = watch::channel(Standing::Away("connecting".to_owned()));
        let (to, invite) = (way(&config.membership), config.membership.invite);
        let task = tokio::spawn(keep_up(config, connection_tx, standing_tx));
        Self { connection, standing, to, invite, task }
    }

    /// Whether it is the link that a membership asks for; what the allocator said since does not matter, nor that it has taken the invite.
    /// Another invite is presented by a link of its own.
    pub(crate) fn is_to(&self, membership: &Membership) -> bool {
        self.to == way(membership) && (membership.invite.is_none() || membership.invite == self.invite)
    }

    /// Which fog.
    pub(crate) fn fog(&self) -> FogId {
        self.to.0
    }

    /// Where it stands, now and as it changes.
    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Asks the allocator; `None` when it is away.
    pub(crate) async fn ask(&self, request: &NodeRequest) -> Option<Result<NodeReply, CallError>> {
        let connection = self.connection.borrow().clone()?;
        Some(call(&connection, request).await)
    }
}

impl Drop for MemberLink {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(connection) = self.connection.borrow().as_ref() {
            connection.close(VarInt::from_u32(0), b"left");
        }
    }
}

fn way(membership: &Membership) -> ToFog {
    (membership.fog, membership.addrs.clone(), membership.relay.clone())
}

async fn keep_up(mut config: LinkConfig, connection: watch::Sender<Option<Connection>>, standing: watch::Sender<Standing>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let part = config.part.borrow_and_update().clone();
        match enrol(&config, &part).await {
            Ok((link, welcome)) => {
                pause = FIRST_PAUSE;
                let heartbeat = Duration::from_millis(welcome.heartbeat.0.clamp(1_000, 60_000) as u64);
                tracing::info!(fog = %welcome.fog, "connected to the allocator");
                config.clock.learn(welcome.now);
                // Taken: this device is known by its key from now on.
                config.membership.invite = None;
                // One that it replaces closes with the last question under way on it.
                connection.send_replace(Some(link.clone()));
                standing.send_replace(Standing::Member(welcome));
                match run(&link, &mut config, part, heartbeat).await {
                    End::Changed => {
                        tracing::info!("this node's roles changed: it presents itself anew");
                        continue;
                    }
                    End::Broken(why) => {
                        connection.send_replace(None);
                        link.close(VarInt::from_u32(0), b"again");
                        tracing::info!(why, "the connection to the allocator ended");
                        standing.send_replace(Standing::Away(why));
                    }
                }
            }
            Err(error) => {
                // One whose roles have changed may still be there.
                if let Some(old) = connection.send_replace(None) {
                    old.close(VarInt::from_u32(0), b"again");
                }
                match error {
                    CallError::Refused(refusal) => {
                        tracing::warn!(%refusal, "the allocator refused this node");
                        standing.send_replace(Standing::Refused(refusal));
                        pause = LONGEST_PAUSE;
                    }
                    error => {
                        standing.send_replace(Standing::Away(format!("the allocator can't be reached: {error}")));
                    }
                }
            }
        }
        tokio::time::sleep(pause.mul_f64(1.0 + rand::random::<f64>())).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Why the node does no more on a connection.
enum End {
    /// It broke, or the node ends, for people.
    Broken(String),
    /// The node's part has changed; the connection stands.
    Changed,
}

async fn enrol(config: &LinkConfig, part: &Part) -> Result<(Connection, Welcome), CallError> {
    let broken = |message: &str| CallError::Refused(Refusal::new(RefusalKind::Failed, message));
    let membership = &config.membership;
    let target = net::peer(&membership.fog.0, &membership.addrs, membership.relay.as_ref());
    let target = target.ok_or_else(|| broken("the fog's id is no key"))?;
    let connecting = config.endpoint.connect(target, fogbank_wire::ALPN);
    let connection = timeout(CONNECT_DEADLINE, connecting)
        .await
        .map_err(|_| CallError::TimedOut(CONNECT_DEADLINE))?
        .map_err(|error| CallError::Frame(fogbank_wire::FrameError::Broken(std::io::Error::other(error.to_string()))))?;
    let enrol = Enrol {
        certificate: config.identity.certificate().map_err(CallError::Frame)?,
        name: config.name.clone(),
        roles: part.roles,
        mix: part.mix.clone(),
        addrs: net::reachable(&config.endpoint),
        comes: match config.membership.invite {
            None => Coming::Back,
            Some(secret) if config.membership.adds => Coming::Adds(secret),
            Some(secret) => Coming::Joins(secret),
        },
    };
    match greet(&connection, Purpose::Control(Box::new(enrol))).await {
        Ok(Some(welcome)) => Ok((connection, welcome)),
        Ok(None) => Err(broken("the allocator gave an empty welcome")),
        Err(error) => {
            connection.close(VarInt::from_u32(1), b"hello failed");
            Err(error)
        }
    }
}

impl Part {
    /// Whether only packet keys differ: no reason to present oneself anew.
    fn differs_in_keys_only(&self, other: &Self) -> bool {
        let rest = |part: &Self| (part.roles, part.mix.as_ref().map(|m| (m.key, m.life, m.addrs.clone())));
        rest(self) == rest(other)
    }
}

/// Reports and answers until the connection breaks or the node's part is no longer the one that was `told` to the allocator.
async fn run(connection: &Connection, config: &mut LinkConfig, mut told: Part, heartbeat: Duration) -> End {
    // A task of its own: it goes on while this node presents itself anew, until the connection closes.
    let mut answering = tokio::spawn(answer(connection.clone(), config.handler.clone()));
    let mut measured = interval_at(Instant::now() + TELL_PROBES, TELL_PROBES);
    measured.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let report = config.reports.borrow_and_update().clone();
        let reporting = async {
            match call(connection, &NodeRequest::Report(report)).await {
                Ok(NodeReply::Done) => tokio::time::sleep(REPORT_PAUSE).await,
                Ok(other) => tracing::warn!(?other, "the allocator did not take a report"),
                Err(error) => return Some(format!("a report was not taken: {error}")),
            }
            tokio::select! {
                changed = config.reports.changed() => changed.err().map(|_| "this node ends".to_owned()),
                () = tokio::time::sleep(heartbeat) => None,
            }
        };
        tokio::select! {
            why = &mut answering => return End::Broken(why.unwrap_or_else(|error| format!("answering the allocator ended: {error}"))),
            ended = reporting => if let Some(why) = ended { return End::Broken(why) },
            changed = config.part.changed() => {
                if changed.is_err() {
                    return End::Broken("this node ends".to_owned());
                }
                let part = config.part.borrow_and_update().clone();
                let Some(mix) = part.mix.clone().filter(|_| part.differs_in_keys_only(&told)) else {
                    return End::Changed;
                };
                told = part;
                if let Err(why) = tell_relays(connection, mix, &config.probes).await {
                    return End::Broken(why);
                }
            }
            _ = measured.tick() => if let Some(mix) = told.mix.clone()
                && let Err(why) = tell_relays(connection, mix, &config.probes).await
            {
                return End::Broken(why);
            },
        }
    }
}

/// Tells of the mix's packet keys, what it measured of others and how many clients it has; why the connection ends, if it does.
async fn tell_relays(connection: &Connection, mix: MixInfo, probes: &Probes) -> Result<(), String> {
    let (probes, clients) = probes();
    match call(connection, &NodeRequest::Relays { mix: Box::new(mix), probes, clients }).await {
        Ok(NodeReply::Done) => Ok(()),
        Ok(other) => {
            tracing::warn!(?other, "the allocator did not take what the mix says");
            Ok(())
        }
        Err(error) => Err(format!("what the mix says was not taken: {error}")),
    }
}

/// Answers the allocator's requests side by side until the connection breaks.
async fn answer(connection: Connection, handler: Handler) -> String {
    let slots = Arc::new(tokio::sync::Semaphore::new(MAX_REQUESTS));
    loop {
        match connection.accept_bi().await {
            Ok((mut send, recv)) => match slots.clone().try_acquire_owned() {
                Ok(permit) => {
                    let handler = handler.clone();
                    tokio::spawn(async move {
                        let _permit = permit;
                        if let Err(error) = answer_one(send, recv, handler).await {
                            tracing::debug!(%error, "a request of the allocator broke off");
                        }
                    });
                }
                Err(_) => {
                    let busy = DeviceReply::Refused(Refusal::new(RefusalKind::Busy, "too many requests at once"));
                    let _ = write_frame(&mut send, &busy).await;
                    let _ = send.finish();
                }
            },
            Err(error) => return format!("the connection to the allocator broke: {error}"),
        }
    }
}

async fn answer_one(mut send: SendStream, mut recv: RecvStream, handler: Handler) -> Result<(), CallError> {
    let request: DeviceRequest = timeout(REQUEST_DEADLINE, read_frame(&mut recv, MAX_FRAME_BYTES))
        .await
        .map_err(|_| CallError::TimedOut(REQUEST_DEADLINE))?
        .map_err(CallError::Frame)?;
    let reply = handler(request).await;
    write_frame(&mut send, &reply).await.map_err(CallError::Frame)?;
    let _ = send.finish();
    Ok(())
}
