//! Requests on a connection, answered side by side: so many at once, each whole in time and within a length.
//!
//! Deliberately absent: who may ask, and what the answers are (sessions with members, federation with other allocators).

use crate::start::Shared;
use fogbank_wire::{Refusal, RefusalKind, read_frame, write_frame};
use iroh::endpoint::{Connection, RecvStream, SendStream};
use serde::{Serialize, de::DeserializeOwned};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::timeout};

/// What one connection may ask for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Requests under way at once.
    pub(crate) at_once: usize,
    /// The longest request.
    pub(crate) bytes: usize,
    /// A request is sent within this; one that dribbles is dropped.
    pub(crate) deadline: Duration,
}

/// Answers requests until the connection or the allocator ends.
pub(crate) async fn serve<Q, R, F>(
    shared: &Shared,
    connection: &Connection,
    bounds: Bounds,
    refused: fn(Refusal) -> R,
    answer: impl Fn(Q) -> F + Clone + Send + 'static,
) where
    Q: DeserializeOwned + Send,
    R: Serialize + Send + Sync + 'static,
    F: Future<Output = R> + Send,
{
    let slots = Arc::new(Semaphore::new(bounds.at_once));
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept_bi() => accepted,
            () = shared.stop.cancelled() => return,
        };
        let Ok((mut send, recv)) = accepted else { return };
        match slots.clone().try_acquire_owned() {
            Ok(slot) => {
                let answer = answer.clone();
                tokio::spawn(async move {
                    let _slot = slot;
                    one(send, recv, bounds, refused, answer).await;
                });
            }
            Err(_) => {
                let _ = write_frame(&mut send, &refused(Refusal::new(RefusalKind::Busy, "too many requests at once"))).await;
                let _ = send.finish();
            }
        }
    }
}

async fn one<Q, R, F>(
    mut send: SendStream,
    mut recv: RecvStream,
    bounds: Bounds,
    refused: fn(Refusal) -> R,
    answer: impl Fn(Q) -> F,
) where
    Q: DeserializeOwned,
    R: Serialize,
    F: Future<Output = R>,
{
    let reply = match timeout(bounds.deadline, read_frame::<Q>(&mut recv, bounds.bytes)).await {
        Ok(Ok(request)) => answer(request).await,
        Ok(Err(error)) => refused(Refusal::new(RefusalKind::Invalid, error.to_string())),
        Err(_) => return,
    };
    if let Err(error) = write_frame(&mut send, &reply).await {
        tracing::debug!(%error, "an answer was not taken");
    }
    let _ = send.finish();
}
