//! Where 1/n^k fails: what k hostile mixes of n see, counted on the product's own paths and guards.
//!
//! The formula takes the adversary for one mix of n, hops for drawn anew and evenly each time, one packet for a whole session, and "every hop
//! is hostile" for the only way to lose. None of it holds.

use crate::{
    adapter::Network,
    stats::{Estimate, wilson},
};
use fogbank_model::Level;
use rand::rngs::StdRng;

/// Packets of a 2 MB page in both directions, rounded down from what the simulator counts.
pub(crate) const PAGE_PACKETS: usize = 350;
/// Mixes between a visitor and a host: three, the rendezvous, three.
pub(crate) const MIXES: i32 = 7;

/// What was counted.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Chance {
    pub(crate) n: usize,
    pub(crate) hostile: usize,
    /// 1/n^7.
    pub(crate) formula: f64,
    /// All mixes of a packet's way are hostile.
    pub(crate) packet: Estimate,
    /// At least one packet of a page goes through hostile mixes alone.
    pub(crate) page: Estimate,
    /// A guard of the visitor and one of the host are hostile: what correlation needs.
    pub(crate) both_ends: Estimate,
    /// The rendezvous and a guard of the visitor are: half the way to correlate over.
    pub(crate) visitor_and_rendezvous: Estimate,
}

/// Draws sessions: a visitor, a host, a rendezvous, and the packets of a page between them.
pub(crate) fn count(network: &Network, hostile: usize, sessions: usize, rng: &mut StdRng) -> Chance {
    let n = network.len();
    // Ids are random, so the first mixes are as good as any.
    let bad = |mix: u16| usize::from(mix) < hostile;
    let (mut packets, mut pages, mut ends, mut halves) = (0usize, 0usize, 0usize, 0usize);
    for _ in 0..sessions {
        let (visitor, host) = (network.identity(rng), network.identity(rng));
        let meeting = network.rendezvous(&visitor, rng);
        let any_bad = |identity| network.guards_of(identity).into_iter().any(bad);
        ends += usize::from(any_bad(&visitor) && any_bad(&host));
        halves += usize::from(any_bad(&visitor) && bad(meeting));
        let whole = (0..PAGE_PACKETS).filter(|_| {
            let mut way = network.out(&visitor, meeting, Level::Fast, rng);
            // A way that is not hostile so far need not be drawn to its end.
            if !way.iter().all(|s| bad(s.mix)) {
                return false;
            }
            way.extend(network.back(&host, meeting, Level::Fast, rng));
            way.iter().all(|s| bad(s.mix))
        });
        let whole = whole.count();
        packets += whole;
        pages += usize::from(whole > 0);
    }
    Chance {
        n,
        hostile,
        formula: (n as f64).powi(-MIXES),
        packet: wilson(packets as f64, sessions * PAGE_PACKETS),
        page: wilson(pages as f64, sessions),
        both_ends: wilson(ends as f64, sessions),
        visitor_and_rendezvous: wilson(halves as f64, sessions),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn ends_fall_far_more_often_than_the_formula_says() {
        let mut rng = StdRng::seed_from_u64(1);
        let network = Network::new(20, &mut rng);
        let chance = count(&network, 2, 500, &mut rng);
        // Three guards of twenty, two of them hostile: 1 − C(18,3)/C(20,3) = 28.4 %, squared 8.1 %.
        assert!((chance.both_ends.value - 0.081).abs() < 0.04, "{chance:?}");
        assert!(chance.both_ends.low > 1e6 * chance.formula);
    }
}
