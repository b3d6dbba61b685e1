//! Directories spread from mix to mix and to clients, whoever hears of one first; nobody believes one that the fog did not sign.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests, which say what they measured")]

mod net;

use fogbank_betanet::directory::{DirectoryHub, clock};
use net::{Net, ready};
use std::time::Duration;

fn serial(hub: &DirectoryHub) -> u64 {
    hub.current().map_or(0, |known| known.directory.serial)
}

async fn until(what: &str, seen: impl Fn() -> bool) {
    let waiting = async {
        while !seen() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), waiting).await.is_ok(), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_mix_hears_of_it_and_all_have_it_and_clients_too() {
    let mut net = Net::start(12).await;
    let client = net.stranger();
    ready(&client).await;
    for round in 0..3 {
        let signed = net.sign();
        let began = std::time::Instant::now();
        assert!(net.hubs[3 * round].learn(&net.fog(), signed, clock()).unwrap());
        let newest = serial(&net.hubs[3 * round]);
        until("all mixes have it", || net.hubs.iter().all(|hub| serial(hub) == newest)).await;
        let mixes = began.elapsed();
        let directory = client.directory();
        until("the client has it", || directory.borrow().as_ref().is_some_and(|d| d.serial == newest)).await;
        println!("12 mixes after {mixes:?}, the client after {:?}", began.elapsed());
    }
}
