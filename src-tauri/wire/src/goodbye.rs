//! Ending an endpoint without waiting for peers that are silent.

use iroh::Endpoint;
use std::time::Duration;
use tokio::time::timeout;

/// A peer that is there knows within a round trip or two, a slow mobile link included. One that is just being dialled and does not answer would be
/// tried for three seconds, and learns nothing.
const GOODBYE: Duration = Duration::from_secs(1);

/// Tells all peers that this endpoint ends, and waits until those that are there know it. What silent ones are still told goes on in the
/// background, and with it the port stays taken for up to two seconds.
pub async fn goodbye(endpoint: &Endpoint) {
    let closing = endpoint.clone();
    let closing = tokio::spawn(async move { closing.close().await });
    let _ = timeout(GOODBYE, closing).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ALPN;
    use iroh::{
        EndpointAddr, SecretKey,
        endpoint::{ConnectionError, presets},
    };
    use std::net::Ipv4Addr;
    use tokio::net::UdpSocket;

    async fn bound() -> Endpoint {
        let builder = Endpoint::builder(presets::Minimal).clear_address_lookup().alpns(vec![ALPN.to_vec()]).clear_ip_transports();
        builder.bind_addr((Ipv4Addr::LOCALHOST, 0)).unwrap().bind().await.unwrap()
    }

    #[tokio::test]
    async fn who_is_there_is_told() {
        let (here, there) = (bound().await, bound().await);
        let (dialled, accepted) = tokio::join!(here.connect(there.addr(), ALPN), async { there.accept().await.unwrap().await });
        let (_dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
        goodbye(&here).await;
        assert!(here.is_closed());
        assert!(matches!(accepted.closed().await, ConnectionError::ApplicationClosed(_)));
    }

    #[tokio::test]
    async fn who_is_silent_is_not_waited_for() {
        let here = bound().await;
        let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = EndpointAddr::new(SecretKey::generate().public()).with_ip_addr(silent.local_addr().unwrap());
        let dialling = here.clone();
        tokio::spawn(async move { dialling.connect(addr, ALPN).await.map(drop) });
        silent.recv(&mut [0; 1_500]).await.unwrap();
        goodbye(&here).await;
        assert!(!here.is_closed(), "the silent peer was waited for to the end");
        // What is left goes on by itself.
        here.closed().await;
    }
}
