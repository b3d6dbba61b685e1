//! Who stands around the mixnode under test: mixes that take what it forwards, and clients that send. They are of the measuring process, so
//! their CPU time is not the mix's.

use anyhow::{Context, Result};
use fogbank_betanet::{
    directory::{Directory, MixEntry, UNMEASURED, clock, mix_id},
    epoch,
    link::{self, Frame, LINK_FRAME_BYTES, Link, LinkState},
};
use fogbank_model::{FogId, OwnerId};
use fogbank_sphinx::{Hop, MixSecret, build};
use fogbank_wire::{Greeting, MixLife, PacketKeys, receive_hello, write_frame};
use iroh::{Endpoint, SecretKey, endpoint::Connection};
use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// A link on loopback is up within milliseconds; a busy machine is waited for.
const UP_DEADLINE: Duration = Duration::from_secs(20);
/// Packets under way in a closed loop: enough to keep the mix's workers busy, fewer than any of its queues holds, so that none is dropped.
const WINDOW: u64 = 192;
/// When nothing has arrived for so long, what is under way is lost.
const LOST_AFTER: Duration = Duration::from_secs(2);

/// How a next mix behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Takes every packet.
    Takes,
    /// Is connected and reads nothing.
    Stalls,
    /// Listed, and not there.
    Dead,
}

/// A next mix. It ends with this value.
pub(crate) struct NextMix {
    pub(crate) entry: MixEntry,
    /// Packets that came.
    pub(crate) came: Arc<AtomicU64>,
    _accepting: JoinSet<()>,
    /// Holds a dead one's port, where nobody answers.
    _silent: Option<UdpSocket>,
}

impl NextMix {
    pub(crate) async fn start(manner: Manner) -> Result<Self> {
        let secret = SecretKey::generate();
        let key = *secret.public().as_bytes();
        let came = Arc::new(AtomicU64::new(0));
        let mut accepting = JoinSet::new();
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (addrs, silent) = if manner == Manner::Dead {
            let socket = UdpSocket::bind(here)?;
            (vec![socket.local_addr()?], Some(socket))
        } else {
            let endpoint = link::bind(secret, here, None).await?;
            let addrs = endpoint.bound_sockets();
            accepting.spawn(accept(endpoint, manner, came.clone()));
            (addrs, None)
        };
        let keys = vec![MixSecret::generate(&mut rand::rng()).public().0; 2];
        let entry = entry(key, [0; 8], PacketKeys { first: epoch::at(clock()).0, keys }, addrs);
        Ok(Self { entry, came, _accepting: accepting, _silent: silent })
    }
}

/// A mix's entry; each is an owner of its own.
pub(crate) fn entry(key: [u8; 32], life: MixLife, packet_keys: PacketKeys, addrs: Vec<SocketAddr>) -> MixEntry {
    let (owner, since) = (OwnerId(key), clock());
    MixEntry { id: mix_id(&key), key, life, packet_keys, owner, addrs, relay: None, since, reliability: UNMEASURED }
}

async fn accept(endpoint: Endpoint, manner: Manner, came: Arc<AtomicU64>) {
    let mut peers = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        while peers.try_join_next().is_some() {}
        let came = came.clone();
        peers.spawn(async move {
            let Ok(connection) = incoming.await else { return };
            let Ok((_, mut reply)) = receive_hello(&connection).await else { return };
            if write_frame(&mut reply, &Greeting::Welcome(None)).await.is_err() || reply.finish().is_err() {
                return;
            }
            match manner {
                Manner::Takes => take(&connection, &came).await,
                Manner::Stalls | Manner::Dead => {
                    connection.closed().await;
                }
            }
        });
    }
}

async fn take(connection: &Connection, came: &Arc<AtomicU64>) {
    while let Ok(mut stream) = connection.accept_uni().await {
        let came = came.clone();
        tokio::spawn(async move {
            if stream.read_to_end(LINK_FRAME_BYTES).await.is_ok_and(|frame| frame.len() == LINK_FRAME_BYTES) {
                came.fetch_add(1, Relaxed);
            }
        });
    }
}

/// A signed directory of these mixes.
pub(crate) fn directory(entries: Vec<MixEntry>) -> Result<(FogId, Vec<u8>)> {
    let fog = SecretKey::generate();
    let id = FogId(*fog.public().as_bytes());
    let signed = Directory::new(id, true, 1, clock(), [7; 32], entries).seal(&fog)?;
    Ok((id, signed))
}

/// A client's link to the mix.
pub(crate) async fn client(mix: &MixEntry) -> Result<(Endpoint, Link)> {
    let endpoint = link::bind(SecretKey::generate(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None).await?;
    let link = Link::open(endpoint.clone(), mix.key, mix.addrs.clone(), None, None);
    let mut state = link.state();
    let up = state.wait_for(|s| *s == LinkState::Up);
    tokio::time::timeout(UP_DEADLINE, up).await.context("no link to the mix")?.context("the link ended")?;
    Ok((endpoint, link))
}

/// A packet that the mix unwraps and forwards; no two are the same.
pub(crate) fn packet(mix: &MixEntry, next: &MixEntry, delay_ms: u32) -> Result<Vec<u8>> {
    let epoch = epoch::at(clock());
    let hop = |entry: &MixEntry, delay_ms| {
        let key = entry.packet_key(epoch).context("a mix has no packet key for this hour")?;
        Ok::<_, anyhow::Error>(Hop { id: entry.id.0, key, delay_ms })
    };
    Ok(build(&mut rand::rng(), epoch, &[hop(mix, delay_ms)?, hop(next, 0)?], &[7; 1024])?.as_bytes().to_vec())
}

/// So many of them, made on as many threads as there are cores.
pub(crate) async fn packets(mix: &MixEntry, nexts: &[MixEntry], count: usize) -> Result<Vec<Vec<u8>>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut makers = JoinSet::new();
    for core in 0..cores {
        let (mix, nexts) = (mix.clone(), nexts.to_vec());
        makers.spawn_blocking(move || {
            let own = (core..count).step_by(cores);
            own.map(|n| packet(&mix, nexts.get(n % nexts.len()).context("no next mix")?, 0)).collect::<Result<Vec<_>>>()
        });
    }
    let mut all = Vec::with_capacity(count);
    while let Some(made) = makers.join_next().await {
        all.extend(made??);
    }
    Ok(all)
}

/// Sends packets, never more than [`WINDOW`] ahead of those that came; returns how many came and in how many seconds.
pub(crate) async fn closed_loop(links: &[Link], packets: Vec<Vec<u8>>, nexts: &[NextMix]) -> (u64, f64) {
    let came = || nexts.iter().map(|n| n.came.load(Relaxed)).sum::<u64>();
    let (began, before) = (Instant::now(), came());
    let (mut sent, mut seen, mut moved) = (0u64, 0, Instant::now());
    let mut waiting = packets.into_iter().peekable();
    loop {
        let now = came() - before;
        if now != seen {
            (seen, moved) = (now, Instant::now());
        }
        if waiting.peek().is_none() && seen == sent {
            break;
        }
        if moved.elapsed() > LOST_AFTER {
            // Lost: go on with those that were not sent yet, or be done.
            break;
        }
        while sent - seen < WINDOW {
            let Some(packet) = waiting.next() else { break };
            sent += 1;
            // A full queue of the own link does not happen: the window is smaller.
            if let Some(link) = links.get(sent as usize % links.len().max(1)) {
                let _ = link.try_send(Frame::Packet(packet));
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (seen, began.elapsed().as_secs_f64())
}
