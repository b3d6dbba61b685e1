//! Mixes, peers and clocks that fail, over real mixes on loopback: each ends in a served page or a clear error, with bounded memory.
//!
//! A bad mix is a true one behind a [`relay::BadRelay`], which has its key and stands at its listed address, and mistreats a share of
//! the packets on their way to it. Bad mixes are second and third hops, introduction points and places to meet, but no guards: a reply to a
//! client goes over the client's own connection, which no relay can take over.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod clocks;
mod hoards;
#[path = "../net/mod.rs"]
mod net;
mod relay;
mod replays;
mod traffic;

use fogbank_betanet::{client::Visitor, tunnel::Stream};
use fogbank_model::Onion;
use net::noise;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

/// One scenario at a time: each is a fog of its own, and what is waited for are answers within seconds.
async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    ONE.lock().await
}

/// Says bytes to an echoing site and reads its greeting and them back; an error says what happened.
async fn fetch(visitor: &Visitor, onion: &Onion, isolation: &str, length: usize) -> Result<(), String> {
    let stream = visitor.connect(onion, isolation).await.map_err(|e| e.to_string())?;
    echoed(stream, length).await.map_err(|e| e.to_string())
}

async fn echoed(stream: Stream, length: usize) -> std::io::Result<()> {
    let bytes = noise(length);
    let (mut from, mut to) = tokio::io::split(stream);
    let mut back = Vec::with_capacity(length + 1);
    let say = async {
        to.write_all(&bytes).await?;
        to.shutdown().await
    };
    let (said, heard) = tokio::join!(say, from.read_to_end(&mut back));
    said?;
    heard?;
    assert!(back.get(1..) == Some(&bytes[..]), "what came back is not what was said");
    Ok(())
}

/// A page under a fault: what a browser does, asking again when a tunnel broke. Gives the number of tries, or the last error.
async fn page(visitor: &Visitor, onion: &Onion, length: usize, wait: Duration) -> Result<u32, String> {
    let mut last = "nothing was tried".to_owned();
    let tries = async {
        for tries in 1.. {
            match fetch(visitor, onion, "", length).await {
                Ok(()) => return tries,
                Err(why) => last = why,
            }
        }
        0
    };
    timeout(wait, tries).await.map_err(|_| last)
}
