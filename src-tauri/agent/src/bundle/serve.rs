//! Serving bundles to peers: nothing without a permit, and with it nothing but that bundle.
//!
//! Invariants: the permit is the fog's, of now, for the device at the other end, for a bundle that is here whole; a request is refused unless it
//! asks for that bundle's sequence or what it names; a peer that does not read is let go after [`SILENCE`].
//! Deliberately absent: iroh-blobs' own provider loop and events, as asking for each request here is shorter and denies by default.

use super::{Bundles, Held, InUse, hash};
use fogbank_model::{DeviceId, FogId};
use fogbank_wire::{BundlePermit, Refusal, RefusalKind, Signed, Stranger, welcome};
use iroh::{
    PublicKey,
    endpoint::{Connection, RecvStream, SendStream, VarInt},
};
use iroh_blobs::{
    protocol::{ERR_LIMIT, ERR_PERMISSION, Request},
    provider::{StreamPair, events::EventSender, handle_get},
    util::SendStream as BlobStream,
};
use std::{future::Future, io, sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::timeout};

/// Peers served at once. Copies are made two or three at a time; the rest come back.
pub(crate) const MAX_PEERS: usize = 64;
/// Requests of one peer at once: lists and contents, and one to spare.
const MAX_REQUESTS: usize = 4;
/// A peer that asks nothing or takes nothing for so long is let go. As long as a fetch waits for its source, and half more.
const SILENCE: Duration = Duration::from_secs(15);

/// Why a peer was not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It was refused, and told so.
    #[error("{0}")]
    Refused(Refusal),
    /// It did not take the greeting.
    #[error("it said hello and took no answer")]
    Greeting,
}

impl Bundles {
    /// Serves a peer that has said hello for one bundle, until it leaves. Answers its hello, with a refusal when the permit does not hold.
    ///
    /// # Errors
    /// When it was refused, or could not be greeted.
    pub async fn serve(
        &self,
        connection: Connection,
        reply: SendStream,
        fog: FogId,
        permit: &Signed<BundlePermit>,
        stranger: Stranger,
    ) -> Result<(), ServeError> {
        let peer = DeviceId(*connection.remote_id().as_bytes());
        let admitted = self.admit(peer, fog, permit).and_then(|held| {
            let slot = self.shared.serving.clone().try_acquire_owned();
            let slot =
                slot.map_err(|_| Refusal::new(RefusalKind::Busy, "too many devices fetch from here just now: try again soon"))?;
            Ok((held, slot))
        });
        let (held, _slot) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => {
                tracing::info!(peer = peer.short(), %refusal, "a peer was refused a bundle");
                stranger.turn_away(reply, refusal.clone()).await;
                return Err(ServeError::Refused(refusal));
            }
        };
        stranger.let_in();
        if !welcome(reply, None).await {
            return Err(ServeError::Greeting);
        }
        self.answer(&connection, Arc::new(held)).await;
        connection.close(VarInt::from_u32(0), b"done");
        Ok(())
    }

    fn admit(&self, peer: DeviceId, fog: FogId, permit: &Signed<BundlePermit>) -> Result<InUse, Refusal> {
        let not_granted = |words| Refusal::new(RefusalKind::NotGranted, words);
        let key = PublicKey::from_bytes(&fog.0).map_err(|_| not_granted("this node is in no fog"))?;
        let permit = permit
            .open(&key, BundlePermit::CONTEXT)
            .map_err(|_| not_granted("the permit is not signed by the fog of this node"))?;
        if permit.device != peer {
            return Err(not_granted("the permit is another device's"));
        }
        if permit.expires <= self.shared.clock.now() {
            return Err(Refusal::new(RefusalKind::Expired, "the permit has expired: the allocator gives a new one"));
        }
        // What is only used up here is given to nobody new.
        let gives = self.shared.held.borrow().get(&permit.bundle).is_some_and(Held::wanted);
        let held = if gives { self.use_it(permit.bundle) } else { None };
        held.ok_or_else(|| Refusal::new(RefusalKind::NotFound, "this device does not hold that bundle"))
    }

    async fn answer(&self, connection: &Connection, held: Arc<InUse>) {
        let slots = Arc::new(Semaphore::new(MAX_REQUESTS));
        loop {
            // While a request is being answered, that one watches over the peer.
            let idle = async {
                tokio::time::sleep(SILENCE).await;
                let _all = slots.acquire_many(MAX_REQUESTS as u32).await;
            };
            let (mut send, recv) = tokio::select! {
                stream = connection.accept_bi() => match stream {
                    Ok(stream) => stream,
                    Err(_) => return,
                },
                () = idle => return,
            };
            match slots.clone().try_acquire_owned() {
                Ok(slot) => {
                    let (bundles, held) = (self.clone(), held.clone());
                    let number = connection.stable_id() as u64;
                    tokio::spawn(async move {
                        let _slot = slot;
                        bundles.answer_one(number, send, recv, &held).await;
                    });
                }
                Err(_) => {
                    let _ = send.reset(ERR_LIMIT);
                }
            }
        }
    }

    async fn answer_one(&self, number: u64, mut send: SendStream, mut recv: RecvStream, held: &InUse) {
        let request = match timeout(SILENCE, Request::read_async(&mut recv)).await {
            Ok(Ok((request, _))) => request,
            Ok(Err(_)) | Err(_) => {
                let _ = send.reset(ERR_LIMIT);
                return;
            }
        };
        match request {
            Request::Get(get) if get.hash == hash(held.id()) => {
                let pair = StreamPair::new(number, recv, Patient(send), EventSender::DEFAULT);
                if let Err(error) = handle_get(pair, self.store().clone(), get).await {
                    tracing::debug!(%error, "a bundle was not sent whole");
                }
            }
            _ => {
                tracing::info!("a peer asked for what its permit does not cover");
                let _ = send.reset(ERR_PERMISSION);
            }
        }
    }
}

/// A stream whose reader may not keep it waiting for ever.
#[derive(Debug)]
struct Patient(SendStream);

async fn soon<T, E: Into<io::Error>>(write: impl Future<Output = Result<T, E>>) -> io::Result<T> {
    timeout(SILENCE, write).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map_err(Into::into)
}

impl BlobStream for Patient {
    async fn send_bytes(&mut self, bytes: bytes::Bytes) -> io::Result<()> {
        soon(self.0.write_chunk(bytes)).await
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        soon(self.0.write_all(bytes)).await
    }

    async fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reset(&mut self, code: VarInt) -> io::Result<()> {
        self.0.reset(code).map_err(Into::into)
    }

    async fn stopped(&mut self) -> io::Result<Option<VarInt>> {
        self.0.stopped().await.map_err(Into::into)
    }

    fn id(&self) -> u64 {
        self.0.id().index()
    }
}
