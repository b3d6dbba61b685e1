//! A relay in front of a true mix that mistreats what it passes on.

use fogbank_betanet::link::{Frame, LINK_FRAME_BYTES, Link, bind};
use fogbank_wire::{Greeting, Purpose, receive_hello, write_frame};
use iroh::{SecretKey, endpoint::Connection};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::task::JoinSet;

/// What is done to a share of the packets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// They go no further.
    Drop,
    /// They wait as long as a mix could make them.
    Delay(Duration),
    /// They go twice.
    Duplicate,
    /// Each waits until the next one has gone.
    Reorder,
    /// A bit of the body is changed.
    Tag,
}

/// The relay; it ends when it is dropped.
pub(crate) struct BadRelay {
    pub(crate) addr: SocketAddr,
    /// Packets that it mistreated.
    pub(crate) done: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

struct Way {
    link: Link,
    fault: Fault,
    percent: u8,
    held: Mutex<Option<Vec<u8>>>,
    done: Arc<AtomicU64>,
}

impl BadRelay {
    /// Stands in for the mix of this key at `mix`.
    pub(crate) async fn before(key: SecretKey, mix: SocketAddr, fault: Fault, percent: u8) -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let outside = bind(key.clone(), loopback, None).await.unwrap();
        // To itself no endpoint connects; and who hands a mix its packets is of no account.
        let inside = bind(SecretKey::generate(), loopback, None).await.unwrap();
        let addr = outside.bound_sockets()[0];
        let done = Arc::new(AtomicU64::new(0));
        let link = Link::open(inside.clone(), *key.public().as_bytes(), vec![mix], None, None);
        let way = Arc::new(Way { link, fault, percent, held: Mutex::default(), done: done.clone() });
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _inside = inside;
            let mut peers = JoinSet::new();
            while let Some(incoming) = outside.accept().await {
                let way = way.clone();
                peers.spawn(async move {
                    let Ok(accepting) = incoming.accept() else { return };
                    let Ok(connection) = accepting.await else { return };
                    serve(connection, way).await;
                });
            }
        });
        Self { addr, done, _tasks: tasks }
    }
}

async fn serve(connection: Connection, way: Arc<Way>) {
    let Ok((Purpose::Mix, mut reply)) = receive_hello(&connection).await else { return };
    if write_frame(&mut reply, &Greeting::Welcome(None)).await.is_err() || reply.finish().is_err() {
        return;
    }
    while let Ok(mut stream) = connection.accept_uni().await {
        let way = way.clone();
        tokio::spawn(async move {
            // A kind and a packet.
            if let Ok(frame) = stream.read_to_end(LINK_FRAME_BYTES).await
                && let Some((1, packet)) = frame.split_first()
            {
                way.pass(packet.to_vec()).await;
            }
        });
    }
}

impl Way {
    async fn pass(&self, mut packet: Vec<u8>) {
        let hit = rand::random::<u8>() % 100 < self.percent;
        self.done.fetch_add(hit.into(), Relaxed);
        match self.fault {
            _ if !hit => {}
            Fault::Drop => return,
            Fault::Delay(by) => tokio::time::sleep(by).await,
            Fault::Duplicate => self.send(packet.clone()),
            Fault::Reorder => {
                let before = self.held.lock().unwrap().replace(packet);
                let Some(before) = before else { return };
                packet = before;
            }
            Fault::Tag => {
                if let Some(last) = packet.last_mut() {
                    *last ^= 1;
                }
            }
        }
        self.send(packet);
        if !matches!(self.fault, Fault::Reorder) || !hit {
            let held = self.held.lock().unwrap().take();
            held.into_iter().for_each(|packet| self.send(packet));
        }
    }

    fn send(&self, packet: Vec<u8>) {
        self.link.try_send(Frame::Packet(packet));
    }
}
