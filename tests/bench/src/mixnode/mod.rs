//! A mixnode process: what forwarding costs next to unwrapping alone, and its memory under a flood.
//!
//! # `mixnode.forward_vs_unwrap`
//! Packets forwarded for each CPU second of the whole mixnode process (all threads: QUIC in, unwrap, schedule, QUIC out), over packets
//! unwrapped in each CPU second of that same process while it does nothing else, on all cores at once. On all, because two cores are often two
//! threads of one: where only one is busy a second of its time is worth more. On cores that the process has to itself this is the share of its
//! unwrap rate that a mixnode forwards; as CPU time it holds on a machine that others use, too. The links are real: two clients and two next
//! mixes in another process, on loopback, in a closed loop that keeps [`peers`]' window of packets under way, so that the mix is busy and drops
//! none. Each round measures both, one after the other; the median of the rounds' ratios counts.

mod flood;
mod peers;
pub(crate) mod process;

use crate::{
    figure::{Figure, median},
    run::{block_on, say, wanted},
};
use anyhow::{Result, ensure};
use peers::{Manner, NextMix, client, closed_loop, directory, packets};
use process::MixProcess;

/// Rounds of both.
const ROUNDS: usize = 5;
/// Packets of a round: about a second's work.
const PACKETS: usize = 4_000;
/// Packets before the first round, which opens the links.
const WARM_UP: usize = 500;

/// The part "mixnode".
pub(crate) fn figures() -> Result<Vec<Figure>> {
    block_on(async {
        let (rate, mut figures) = forwarding().await?;
        if wanted("mixnode.flood_") || wanted("mixnode.after_flood_") {
            figures.extend(flood::figures(rate).await?);
        }
        Ok(figures)
    })
}

/// Packets forwarded a second, and the figures.
async fn forwarding() -> Result<(f64, Vec<Figure>)> {
    let mut mix = MixProcess::start().await?;
    let nexts = [NextMix::start(Manner::Takes).await?, NextMix::start(Manner::Takes).await?];
    let entries: Vec<_> = nexts.iter().map(|n| n.entry.clone()).collect();
    let (fog, signed) = directory(entries.iter().cloned().chain([mix.entry.clone()]).collect())?;
    mix.tell(fog, signed).await?;
    let (_first, a) = client(&mix.entry).await?;
    let (_second, b) = client(&mix.entry).await?;
    let links = [a, b];
    let (warm, _) = closed_loop(&links, packets(&mix.entry, &entries, WARM_UP).await?, &nexts).await;
    ensure!(warm > 0, "the mix forwards nothing");

    let (mut forwards, mut unwraps, mut ratios, mut rates, mut lost) = (vec![], vec![], vec![], vec![], 0);
    for round in 1..=ROUNDS {
        let unwrapped = mix.unwraps_per_cpu_s().await?;
        let made = packets(&mix.entry, &entries, PACKETS).await?;
        let before = mix.report().await?;
        let (came, seconds) = closed_loop(&links, made, &nexts).await;
        let cpu_s = mix.report().await?.cpu_s - before.cpu_s;
        let forwarded = came as f64 / cpu_s;
        say(format_args!(
            "mixnode round {round}: {forwarded:.0} forwarded and {unwrapped:.0} unwrapped a CPU second; {:.0}/s by the clock",
            came as f64 / seconds
        ));
        // One that was lost in the round before may come in this one.
        lost += (PACKETS as u64).saturating_sub(came);
        forwards.push(forwarded);
        unwraps.push(unwrapped);
        ratios.push(forwarded / unwrapped);
        rates.push(came as f64 / seconds);
    }
    let (forward, unwrap, rate) = (median(forwards), median(unwraps), median(rates));
    let peer = format!("unwrap alone, a CPU second each, loopback ({unwrap:.0}/s)");
    let figures = vec![
        Figure::times_at_least("mixnode.forward_vs_unwrap", &peer, median(ratios), 1.0, 0.6),
        Figure::plain("mixnode.forward_per_cpu_s", forward, "packets/s"),
        Figure::plain("mixnode.unwrap_per_cpu_s", unwrap, "packets/s"),
        Figure::plain("mixnode.forward_lost", lost as f64, "packets").with_note(&format!("of {}", PACKETS * ROUNDS)),
    ];
    Ok((rate, figures))
}
