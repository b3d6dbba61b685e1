//! An endpoint's door: strangers say hello within a deadline and a bound, and only then does anybody look at what they want.

use fogbank_wire::{Purpose, Stranger, Strangers};
use iroh::{
    Endpoint,
    endpoint::{Connection, SendStream},
};
use std::{future::Future, sync::Arc};

/// Those who are not let in yet. All devices of a house or a school fit in when they come back at once; who is silent is gone after ten
/// seconds, and sooner where another network wants the place.
pub(crate) const MAX_STRANGERS: usize = 256;

/// Who said hello: its connection, what for, the stream on which it is answered, and its place among strangers, to be held until it is let in or
/// told no.
pub(crate) type Caller = (Connection, Purpose, SendStream, Stranger);

/// Lets peers in until the endpoint closes, and hands each one that said hello to `greet`.
pub(crate) async fn open<F>(endpoint: Endpoint, strangers: Arc<Strangers>, greet: impl Fn(Caller) -> F + Clone + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    while let Some(incoming) = endpoint.accept().await {
        let Some((incoming, stranger)) = strangers.knock(&endpoint, incoming) else { continue };
        let greet = greet.clone();
        tokio::spawn(async move {
            let Some(connection) = stranger.connection(incoming).await else { return };
            if let Some((purpose, reply)) = stranger.hello(&connection).await {
                greet((connection, purpose, reply, stranger)).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net;
    use fogbank_wire::{ALPN, HELLO_DEADLINE, Refusal, greet, welcome};
    use iroh::{EndpointAddr, SecretKey};
    use std::net::SocketAddr;
    use tokio::{task::JoinSet, time::timeout};

    /// Two networks of this computer, as [`fogbank_wire::Group`] has them.
    const HERE: [u8; 4] = [127, 0, 0, 1];
    const THERE: [u8; 4] = [127, 0, 1, 1];
    /// Fewer places than there are, so that the test does not take all of a small machine.
    const ROOM: usize = MAX_STRANGERS / 4;
    /// Devices behind one router.
    const A_LAB: usize = 30;

    async fn endpoint(ip: [u8; 4]) -> Endpoint {
        net::bind(SecretKey::generate(), SocketAddr::from((ip, 0)), None).await.unwrap()
    }

    /// A door that lets in whoever comes for packets, and turns others away.
    async fn door(room: usize) -> (EndpointAddr, Arc<Strangers>) {
        let (endpoint, strangers) = (endpoint(HERE).await, Arc::new(Strangers::new(room)));
        let addr = net::peer(endpoint.id().as_bytes(), &endpoint.bound_sockets(), None).unwrap();
        tokio::spawn(open(endpoint, strangers.clone(), |(connection, purpose, reply, stranger): Caller| async move {
            if !matches!(purpose, Purpose::Mix) {
                return stranger.turn_away(reply, Refusal::not_served("only packets")).await;
            }
            stranger.let_in();
            if welcome(reply, None).await {
                connection.closed().await;
            }
        }));
        (addr, strangers)
    }

    /// So many connections at once that say nothing; those that there was a place for.
    async fn silent(from: &Endpoint, to: &EndpointAddr, count: usize) -> Vec<Connection> {
        let mut connecting = JoinSet::new();
        for _ in 0..count {
            let (from, to) = (from.clone(), to.clone());
            connecting.spawn(async move { from.connect(to, ALPN).await });
        }
        connecting.join_all().await.into_iter().flatten().collect()
    }

    async fn is_let_in(from: Endpoint, to: EndpointAddr) -> Option<Connection> {
        let connection = from.connect(to, ALPN).await.ok()?;
        greet(&connection, Purpose::Mix).await.ok()?;
        Some(connection)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_silent_network_is_refused_at_once_and_keeps_no_other_out() {
        let ((to, strangers), flood, lab) = (door(ROOM).await, endpoint(THERE).await, endpoint(HERE).await);
        let held = timeout(HELLO_DEADLINE, silent(&flood, &to, ROOM + 40)).await.expect("nobody waits for a place");
        assert_eq!(held.len(), ROOM);
        assert!(strangers.refused() >= 40, "{}", strangers.refused());
        // While all of them are silent, a whole lab comes at once.
        let mut coming = JoinSet::new();
        for _ in 0..A_LAB {
            coming.spawn(is_let_in(lab.clone(), to.clone()));
        }
        let came = timeout(HELLO_DEADLINE, coming.join_all()).await.expect("nobody waits for the silent ones");
        assert_eq!(came.into_iter().flatten().count(), A_LAB);
        // Who was let in holds no stranger's place.
        assert!(held.iter().filter(|c| c.close_reason().is_none()).count() >= ROOM - A_LAB);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_is_turned_away_or_let_in_leaves_the_place_to_others() {
        let ((to, strangers), one) = (door(8).await, endpoint(HERE).await);
        let mut here = Vec::new();
        for number in 0..20 {
            let connection = one.connect(to.clone(), ALPN).await.unwrap();
            if number % 2 == 0 {
                greet(&connection, Purpose::Mix).await.unwrap();
            } else {
                assert!(greet(&connection, Purpose::Federate).await.is_err());
                timeout(HELLO_DEADLINE, connection.closed()).await.expect("its connection ends");
            }
            here.push(connection);
        }
        assert_eq!(strangers.refused(), 0);
    }
}
