//! How an instance becomes reachable: it asks for visitors, and streams come. What carries them is not the agent's business.

use fogbank_betanet::{
    service::{Host, ServiceHandle},
    tunnel::{self, IntroductionKey},
};
use fogbank_model::{InstanceId, Level};
use std::future::Future;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, watch},
};

/// Makes instances reachable.
pub trait Publish: Send + Sync + 'static {
    /// What a visitor opens.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// One instance that is being made reachable. Dropping it ends that at once.
    type Published: Published;

    /// Makes an instance reachable with its leases, as they come and change, and hands every stream that a visitor opens to `accept`.
    fn publish(
        &self,
        instance: InstanceId,
        key: IntroductionKey,
        leases: watch::Receiver<Vec<Vec<u8>>>,
        level: Level,
        accept: mpsc::Sender<Self::Stream>,
    ) -> Self::Published;
}

/// One instance that is being made reachable.
pub trait Published: Send + Sync + 'static {
    /// Whether visitors can find it: one introduction point at least knows it.
    fn registered(&self) -> bool;
    /// Waits until they can, or until it has ended.
    fn wait_registered(&self) -> impl Future<Output = ()> + Send;
    /// Sends visitors elsewhere and takes nobody new; open streams go on.
    fn drain(&self);
    /// Streams that are open.
    fn open_streams(&self) -> usize;
    /// Visitors' tunnels that are open.
    fn open_tunnels(&self) -> usize;
}

impl Publish for Host {
    type Stream = tunnel::Stream;
    type Published = ServiceHandle;

    fn publish(
        &self,
        instance: InstanceId,
        key: IntroductionKey,
        leases: watch::Receiver<Vec<Vec<u8>>>,
        level: Level,
        accept: mpsc::Sender<Self::Stream>,
    ) -> ServiceHandle {
        self.serve(instance, key, leases, level, accept)
    }
}

impl Published for ServiceHandle {
    fn registered(&self) -> bool {
        self.registered()
    }

    async fn wait_registered(&self) {
        self.wait_registered().await;
    }

    fn drain(&self) {
        self.drain();
    }

    fn open_streams(&self) -> usize {
        self.open_streams()
    }

    fn open_tunnels(&self) -> usize {
        self.open_tunnels()
    }
}
