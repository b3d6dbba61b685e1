//! A mix's cover loops: packets that leave it as any other does, go through two other mixes, and end at it again.
//!
//! They make what a watcher counts on the mix's links say less about what was relayed (Piotrowska et al., *The Loopix Anonymity System*,
//! 2017), and what does not come back tells which mixes lose packets ([`super::probes`]).
//! Invariants: moments do not depend on what else is relayed; a loop is a packet like any other to those that it passes.

use super::{counters::count, pipeline::Pipeline, probes::LOOP_HOPS};
use crate::{
    directory::{Directory, MixEntry},
    message::ToMix,
    paths::drawn,
    schedule::{PoissonCover, hop_delay_ms},
};
use fogbank_model::{Level, MixId};
use fogbank_sphinx::{Epoch, Hop, MixPublic, build};
use rand::{CryptoRng, RngExt as _, seq::IndexedRandom as _};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// One loop in so many goes through mixes drawn evenly instead of by weight. Else a mix that was found broken would never be tried again, and
/// a newcomer, whose weight is a hundredth, hardly ever; with this and a hundred mixes each is met by all others together every 20 s. A
/// broken mix can tell that what it gets is such a loop; it gains by relaying it that it is used again, until it drops again.
const EVENLY_ONE_IN: u32 = 4;

/// Sends loops for as long as it is polled.
pub(super) async fn send_loops(pipeline: Arc<Pipeline>, mean: Duration) {
    let mut cover = PoissonCover::new(mean, Instant::now(), &mut rand::rng());
    loop {
        tokio::time::sleep_until(cover.next().into()).await;
        // At most what a second holds: see [`crate::schedule::MAX_LATE`].
        while cover.take(Instant::now(), &mut rand::rng()) {
            send_loop(&pipeline);
        }
    }
}

/// One loop; none while there is no directory, no key, or no two other mixes.
fn send_loop(pipeline: &Pipeline) {
    let Some(known) = pipeline.directory.borrow().clone() else { return };
    let now = pipeline.now();
    if !known.directory.fresh(now) {
        return;
    }
    let epoch = known.directory.epoch(now);
    let Some(own_key) = pipeline.own_key(epoch) else { return };
    let mut rng = rand::rng();
    let Some(path) = round(&known.directory, epoch, (pipeline.id, own_key), &mut rng) else { return };
    let id = rng.random();
    let Ok(payload) = (ToMix::Loop { id }).encode() else { return };
    let Ok(packet) = build(&mut rng, epoch, &path, &payload) else { return };
    let through = [0, 1].map(|hop: usize| path.get(hop).map_or(pipeline.id, |h| MixId(h.id)));
    pipeline.services.loop_sent(id, through, Instant::now());
    count(&pipeline.counters.cover_sent);
    pipeline.send_own(through[0], packet.into_vec());
}

/// Two other mixes and the own one, all of the own fog: a loss speaks against both, so that a federated fog's mix could blacken whichever it
/// stands beside by dropping what comes from there.
fn round(directory: &Directory, epoch: Epoch, own: (MixId, MixPublic), rng: &mut impl CryptoRng) -> Option<Vec<Hop>> {
    let evenly = rng.random_ratio(1, EVENLY_ONE_IN);
    let mut chosen: Vec<&MixEntry> = Vec::with_capacity(LOOP_HOPS);
    while chosen.len() < LOOP_HOPS {
        let fits = |m: &MixEntry| {
            m.id != own.0 && directory.is_own(m.id) && m.packet_key(epoch).is_some() && chosen.iter().all(|c| c.id != m.id)
        };
        let next = if evenly {
            let all: Vec<&MixEntry> = directory.own_mixes().filter(|m| fits(m)).collect();
            all.choose(rng).copied()
        } else {
            drawn(directory, &fits, rng)
        };
        chosen.push(next?);
    }
    let mut path = Vec::with_capacity(LOOP_HOPS + 1);
    for mix in chosen {
        path.push(Hop { id: mix.id.0, key: mix.packet_key(epoch)?, delay_ms: hop_delay_ms(Level::Balanced, rng) });
    }
    path.push(Hop { id: own.0.0, key: own.1, delay_ms: 0 });
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::tests::{MADE, directory};
    use iroh::SecretKey;
    use rand::{SeedableRng as _, rngs::StdRng};
    use std::collections::HashMap;

    #[test]
    fn loops_go_through_two_others_and_now_and_then_through_a_broken_one() {
        let mut rng = StdRng::seed_from_u64(1);
        let fog = SecretKey::from_bytes(&[1; 32]);
        let made = directory(&fog, true, 10);
        let mut mixes = made.mixes.clone();
        mixes[4].reliability = 0;
        let directory = Directory::new(made.fog, true, 2, MADE, [0; 32], mixes);
        let own = (directory.mixes[0].id, MixPublic([1; 32]));
        let mut met: HashMap<MixId, u32> = HashMap::new();
        for _ in 0..4_000 {
            let path = round(&directory, crate::epoch::at(MADE), own, &mut rng).unwrap();
            let ids: Vec<MixId> = path.iter().map(|h| MixId(h.id)).collect();
            assert!(ids[2] == own.0 && ids[0] != ids[1] && !ids[..2].contains(&own.0));
            assert!(path[..2].iter().all(|h| h.delay_ms > 0) && path[2].delay_ms == 0);
            ids[..2].iter().for_each(|id| *met.entry(*id).or_default() += 1);
        }
        let broken = met[&directory.mixes[4].id];
        // Two of nine in a quarter of the loops.
        assert!((170..280).contains(&broken), "{broken}");
        let few = Directory::new(made.fog, true, 2, MADE, [0; 32], made.mixes[..2].to_vec());
        assert!(round(&few, crate::epoch::at(MADE), (few.mixes[0].id, own.1), &mut rng).is_none());
    }

    #[test]
    fn loops_stay_within_the_own_fog() {
        let [own, other] = [1, 2].map(|n| SecretKey::from_bytes(&[n; 32]));
        let [a, b] = [&own, &other].map(|k| fogbank_model::FogId(*k.public().as_bytes()));
        let home = directory(&own, true, 4).with_federated(vec![b]);
        let mut rows = directory(&other, true, 40).mixes;
        rows.retain(|m| home.mix(m.id).is_none());
        let foreign = Directory::new(b, true, 1, MADE, [0; 32], rows).with_federated(vec![a]);
        let merged = Directory::merged(&home.into(), &[foreign.into()], MADE);
        assert!(merged.mixes.len() > 30);
        let own = (merged.own_mixes().next().unwrap().id, MixPublic([1; 32]));
        let mut rng = StdRng::seed_from_u64(2);
        for _ in 0..200 {
            let path = round(&merged, crate::epoch::at(MADE), own, &mut rng).unwrap();
            assert!(path.iter().all(|hop| merged.is_own(MixId(hop.id))));
        }
    }
}
