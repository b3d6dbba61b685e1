//! An endpoint's door: strangers say hello within a deadline and a bound, and only then does anybody look at what they want.

use fogbank_wire::{HELLO_DEADLINE, Purpose, must_come_back, receive_hello};
use iroh::{
    Endpoint,
    endpoint::{Connection, SendStream},
};
use std::{future::Future, sync::Arc};
use tokio::{sync::Semaphore, time::timeout};

/// Connections that have not said hello yet; more wait outside. At ten seconds each at most, this lets 25 silent strangers a second in and
/// far more who speak.
const MAX_STRANGERS: usize = 256;

/// Lets peers in until the endpoint closes, and hands each one that said hello to `greet`, which answers on the stream.
pub(crate) async fn open<F>(endpoint: Endpoint, greet: impl Fn(Connection, Purpose, SendStream) -> F + Clone + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let strangers = Arc::new(Semaphore::new(MAX_STRANGERS));
    while let Some(incoming) = endpoint.accept().await {
        // A spoofed address gets a small answer and no place here: who means it comes back with the token.
        let crowded = strangers.available_permits() < MAX_STRANGERS / 2;
        if must_come_back(&endpoint, &incoming, crowded) {
            let _ = incoming.retry();
            continue;
        }
        let Ok(stranger) = strangers.clone().acquire_owned().await else { return };
        let greet = greet.clone();
        tokio::spawn(async move {
            let Ok(accepting) = incoming.accept() else { return };
            let hello = async {
                let connection = accepting.await.ok()?;
                match receive_hello(&connection).await {
                    Ok((purpose, reply)) => Some((connection, purpose, reply)),
                    Err(error) => {
                        tracing::debug!(%error, "a hello failed");
                        // A version's refusal is on its way: the peer closes once it has read it.
                        let _ = timeout(HELLO_DEADLINE, connection.closed()).await;
                        None
                    }
                }
            };
            let Ok(Some((connection, purpose, reply))) = timeout(2 * HELLO_DEADLINE, hello).await else { return };
            drop(stranger);
            greet(connection, purpose, reply).await;
        });
    }
}
