//! Peers that hoard reply blocks, and readers that do not read.

use super::{
    alone,
    net::{Container, Net, ready},
    page,
};
use fogbank_betanet::{
    client::Visitor,
    message::{FromMix, MAX_SURBS, MailboxId, ToMix},
    tunnel::{SEND_BUFFER, Stream, TunnelConfig},
};
use fogbank_model::Level;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
    time::timeout,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_keeps_no_more_reply_blocks_than_its_bound() {
    let _alone = alone().await;
    /// A mailbox's bound, as its mix has it.
    const MOST: u16 = 512;
    const A_PACKET: usize = 18;
    let net = Net::start(5).await;
    let hoarder = net.member();
    ready(&hoarder).await;
    let at = net.mixes[0].0.id;
    let (mine, peer) = (MailboxId([1; 16]), MailboxId([2; 16]));
    let (inbox, mut replies) = hoarder.inbox();
    for _ in 0..60 {
        let surbs = hoarder.surbs(at, A_PACKET.min(MAX_SURBS), Level::Fast, &inbox).await.unwrap();
        let refill = ToMix::Mailbox { mine, peer, surbs, flush: false, relay: None };
        hoarder.send(at, Level::Fast, &refill).await.unwrap();
    }
    let teller = net.member();
    ready(&teller).await;
    let said = async {
        loop {
            let tell = ToMix::Mailbox { mine: peer, peer: mine, surbs: Vec::new(), flush: false, relay: Some(vec![9; 10]) };
            teller.send(at, Level::Fast, &tell).await.unwrap();
            if let Ok(Some(reply)) = timeout(Duration::from_millis(300), replies.recv()).await
                && let Ok(FromMix::Relayed { stock, .. }) = FromMix::decode(&reply.payload)
            {
                return stock;
            }
        }
    };
    let stock = timeout(Duration::from_secs(10), said).await.expect("the mailbox still works");
    assert!(stock > MOST / 2 && stock <= MOST, "{stock} of {} are left", 60 * A_PACKET);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_visitor_that_does_not_read_holds_bounded_memory_and_nobody_up() {
    let _alone = alone().await;
    let net = Net::start(5).await;
    let container = Container::publish(&net, Level::Fast);
    let (accept, mut streams) = mpsc::channel::<Stream>(16);
    let _instance = container.instance_for(&net, 1, accept).await;
    let lazy = Visitor::start(net.member());
    let unread = lazy.connect(container.onion(), "").await.unwrap();
    let mut endless = timeout(Duration::from_secs(5), streams.recv()).await.unwrap().unwrap();
    let pouring = tokio::spawn(async move {
        let mut poured = 0u64;
        // Until nothing more goes in for a while.
        while let Ok(Ok(())) = timeout(Duration::from_secs(2), endless.write_all(&[7; 16 << 10])).await {
            poured += 16 << 10;
        }
        poured
    });
    // Another visitor is served meanwhile.
    let serving = tokio::spawn(async move {
        while let Some(mut stream) = streams.recv().await {
            tokio::spawn(async move {
                let _ = stream.write_all(&[1]).await;
                let mut said = Vec::new();
                if stream.read_to_end(&mut said).await.is_ok() {
                    let _ = stream.write_all(&said).await;
                    let _ = stream.shutdown().await;
                }
            });
        }
    });
    let other = Visitor::start(net.member());
    page(&other, container.onion(), 50_000, Duration::from_secs(20)).await.expect("the other one is served");
    let poured = pouring.await.unwrap();
    let most = TunnelConfig::default().stream_window + SEND_BUFFER;
    assert!(poured > 0 && poured <= most, "{poured} bytes went in for a visitor that reads none");
    drop(unread);
    serving.abort();
}
