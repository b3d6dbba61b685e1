//! Choosing the mixes that a packet goes through. Pure: directory, guards, time and randomness come in.
//!
//! ```text
//! outward: guard → second → m3 → destination          back (a SURB): destination → s1 → second → guard → client
//! ```
//!
//! Invariants: the first hop outward and the last hop of every SURB is one of few long-lived guards, and behind it stands one of few of a
//! second layer (in nets large enough for one: [`LAYERED`]); the three hops of a leg between its ends differ; none between the ends is one of `exclude` (the node's
//! own mix); outside test fogs no two of the three have one owner or one network, and the third shares neither with the end. Mixes are drawn by
//! their weight in the directory.

mod guards;

pub use guards::{GUARD_ABSENCE, GUARD_LIFE_MS, GUARDS, Guards, LAYERED, SECOND, SECOND_ABSENCE, SECOND_LIFE_MS};

use crate::{
    directory::{Directory, MixEntry},
    schedule::hop_delay_ms,
};
use fogbank_model::{Level, MixId};
use fogbank_sphinx::{Epoch, Hop};
pub(crate) use guards::drawn;
use guards::layered;
use rand::{CryptoRng, seq::SliceRandom as _};

/// Why there is no path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPath {
    /// The mix to reach is not listed.
    #[error("the mix to reach is not in the directory")]
    UnknownDestination,
    /// No guard can be used now.
    #[error("no guard is up: waiting for one of the usual ones")]
    NoGuard,
    /// Too few mixes that may stand together.
    #[error("too few mixes for a path whose hops are of different owners and networks")]
    TooFew,
}

/// What paths are chosen from.
pub struct Net<'a> {
    /// The mixes.
    pub directory: &'a Directory,
    /// Whose keys packets are built with.
    pub epoch: Epoch,
    /// The client's guards.
    pub guards: &'a Guards,
    /// Mixes that are never between the ends: the own ones. This does not concern the destination: the other side may have chosen the own
    /// mix to meet at, and a refusal would tell whose it is.
    pub exclude: &'a [MixId],
    /// Which guards are connected.
    pub guard_up: &'a dyn Fn(MixId) -> bool,
}

impl<'a> Net<'a> {
    /// A way to a mix: guard, two mixes, and that mix last.
    ///
    /// # Errors
    /// When there is none.
    pub fn forward(&self, destination: MixId, level: Level, rng: &mut impl CryptoRng) -> Result<Vec<Hop>, NoPath> {
        let end = self.directory.mix(destination).ok_or(NoPath::UnknownDestination)?;
        let last = self.hop(end, 0).ok_or(NoPath::UnknownDestination)?;
        let hops = self.three(end, rng)?.into_iter().filter_map(|m| self.hop(m, hop_delay_ms(level, rng)));
        Ok(hops.chain([last]).collect())
    }

    /// A way back from a mix, for a SURB: two mixes and the guard last, which hands the packet to the client.
    ///
    /// # Errors
    /// When there is none.
    pub fn reply(&self, from: MixId, level: Level, rng: &mut impl CryptoRng) -> Result<Vec<Hop>, NoPath> {
        let end = self.directory.mix(from).ok_or(NoPath::UnknownDestination)?;
        let hops = self.three(end, rng)?.into_iter().rev().filter_map(|m| self.hop(m, hop_delay_ms(level, rng)));
        Ok(hops.collect())
    }

    /// A mix at which a client may meet someone: any but guards of either layer (which stand beside the client) and those excluded, drawn by
    /// weight. Guards only when there is nothing else. The other side, which is met through `besides`, knows it: it is of the same fog as that, or of
    /// one that this one is mutual with.
    pub fn rendezvous(&self, besides: MixId, rng: &mut impl CryptoRng) -> Option<MixId> {
        let beside = |id: MixId| self.guards.contains(id) || self.guards.second().any(|s| s == id);
        let may = |m: &MixEntry| self.has_key(m) && !self.exclude.contains(&m.id);
        let may = |m: &MixEntry| may(m) && self.directory.meet(m.id, besides);
        drawn(self.directory, &|m| may(m) && m.id != besides && !beside(m.id), rng)
            .or_else(|| drawn(self.directory, &|m| may(m) && m.id != besides, rng))
            .or_else(|| drawn(self.directory, &|m| may(m), rng))
            .map(|m| m.id)
    }

    fn three(&self, end: &MixEntry, rng: &mut impl CryptoRng) -> Result<[&'a MixEntry; 3], NoPath> {
        let allowed = |id: &MixId| !self.exclude.contains(id);
        let usable = |id: &MixId| allowed(id) && *id != end.id;
        let entry = |id: MixId| self.directory.mix(id).filter(|m| self.has_key(m));
        let mut up: Vec<&MixEntry> =
            self.guards.ids().filter(|id| (self.guard_up)(*id) && allowed(id)).filter_map(entry).collect();
        if up.is_empty() {
            return Err(NoPath::NoGuard);
        }
        up.shuffle(rng);
        // A guard that is itself the end comes last, but it comes: whoever chose the end would learn of the one mix at which nobody
        // answers that it is the only guard that is up, or may be used.
        up.sort_by_key(|guard| guard.id == end.id);
        let mut seconds: Vec<&MixEntry> = if layered(self.directory, self.exclude) {
            self.guards.second().filter(usable).filter_map(entry).collect()
        } else {
            self.directory.drawable().filter(|m| usable(&m.id) && self.has_key(m) && m.works()).collect()
        };
        // Rules of owners and networks do not bind guards to the end: the other side chose that, and from whether a path is found at all it could
        // tell in which networks the guards are. The third mix stands apart from all.
        // One hop at least is the own fog's: whatever other fogs say of owners, networks and ages, they are never a whole path.
        let any_fog = self.directory.test || self.directory.fogs().is_empty();
        let own = |m: &MixEntry| any_fog || self.directory.is_own(m.id);
        for guard in up {
            seconds.shuffle(rng);
            let knows = |a: &MixEntry, b: &MixEntry| self.directory.meet(a.id, b.id);
            for second in seconds.iter().filter(|m| apart(self.directory, guard, m) && knows(guard, m)) {
                let fits = |m: &MixEntry| {
                    let beside = knows(second, m) && knows(m, end);
                    let apart = |taken: &&MixEntry| apart(self.directory, taken, m);
                    let own = own(guard) || own(second) || own(m);
                    self.has_key(m) && usable(&m.id) && beside && own && [guard, end, second].iter().all(apart)
                };
                if let Some(third) = drawn(self.directory, &fits, rng) {
                    return Ok([guard, second, third]);
                }
            }
        }
        Err(NoPath::TooFew)
    }

    fn has_key(&self, mix: &MixEntry) -> bool {
        mix.packet_key(self.epoch).is_some()
    }

    fn hop(&self, mix: &MixEntry, delay_ms: u32) -> Option<Hop> {
        Some(Hop { id: mix.id.0, key: mix.packet_key(self.epoch)?, delay_ms })
    }
}

/// Whether two mixes may stand in one leg.
fn apart(directory: &Directory, a: &MixEntry, b: &MixEntry) -> bool {
    if a.id == b.id {
        return false;
    }
    // Whose another fog's mixes are is its own word: it could name honest people, and so shut out their mixes beside its own.
    let one_owner = a.owner == b.owner && directory.fog_listing(a.id) == directory.fog_listing(b.id);
    directory.test || (!one_owner && !a.shares_network(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        directory::tests::{MADE, directory},
        epoch,
    };
    use fogbank_model::OwnerId;
    use iroh::SecretKey;
    use proptest::prelude::*;
    use rand::{SeedableRng as _, rngs::StdRng};
    use std::{
        collections::HashSet,
        net::{IpAddr, SocketAddr},
    };

    fn made(test: bool, mixes: u8) -> Directory {
        directory(&SecretKey::from_bytes(&[1; 32]), test, mixes)
    }

    fn net<'a>(
        directory: &'a Directory,
        guards: &'a Guards,
        exclude: &'a [MixId],
        guard_up: &'a dyn Fn(MixId) -> bool,
    ) -> Net<'a> {
        Net { directory, epoch: epoch::at(MADE), guards, exclude, guard_up }
    }

    #[test]
    fn four_mixes_are_just_enough_in_a_test_fog() {
        let mut rng = StdRng::seed_from_u64(1);
        let directory = made(true, 5);
        let own = directory.mixes[0].id;
        let mut guards = Guards::new();
        guards.refresh(&directory, &[own], &mut rng);
        for mix in &directory.mixes[1..] {
            let path = net(&directory, &guards, &[own], &|_| true).forward(mix.id, Level::Fast, &mut rng).unwrap();
            assert_eq!(path.len(), 4);
        }
        let three = made(true, 3);
        let to = three.mixes[2].id;
        let mut guards_of_three = Guards::new();
        guards_of_three.refresh(&three, &[], &mut rng);
        let own = [three.mixes[0].id];
        let short = net(&three, &guards_of_three, &own, &|_| true).forward(to, Level::Fast, &mut rng);
        assert_eq!(short.err(), Some(NoPath::TooFew));
        let down = net(&directory, &guards, &[], &|_| false).forward(to, Level::Fast, &mut rng);
        assert_eq!(down.err(), Some(NoPath::NoGuard));
        let nowhere = MixId([0; 16]);
        assert!(net(&directory, &guards, &[], &|_| true).forward(nowhere, Level::Fast, &mut rng).is_err());
    }

    /// Whoever chooses where to meet must not learn from silence which guard the other side has left.
    #[test]
    fn every_mix_can_be_the_end_however_few_guards_may_be_used() {
        let mut rng = StdRng::seed_from_u64(4);
        for (test, mixes) in [(true, 5), (true, 9), (false, 12), (false, 60)] {
            let directory = made(test, mixes);
            let mut guards = Guards::new();
            guards.refresh(&directory, &[], &mut rng);
            for only in guards.ids() {
                let up = |id| id == only;
                let net = net(&directory, &guards, &[], &up);
                for mix in &directory.mixes {
                    let out = net.forward(mix.id, Level::Strict, &mut rng).unwrap();
                    let back = net.reply(mix.id, Level::Strict, &mut rng).unwrap();
                    assert_eq!((out[0].id, out[3].id, back[2].id), (only.0, mix.id.0, only.0));
                    assert!(out[1].id != out[2].id && [out[1].id, out[2].id].iter().all(|id| *id != only.0 && *id != mix.id.0));
                }
            }
            // With another guard up, it is that one.
            let net = net(&directory, &guards, &[], &|_| true);
            for end in guards.ids() {
                assert_ne!(net.forward(end, Level::Fast, &mut rng).unwrap()[0].id, end.0);
            }
        }
    }

    #[test]
    fn a_mix_without_a_key_for_the_epoch_is_on_no_path() {
        let mut rng = StdRng::seed_from_u64(9);
        let mut directory = made(true, 9);
        let mute = directory.mixes[8].id;
        directory.mixes[8].packet_keys.first += 1;
        let mut guards = Guards::new();
        guards.refresh(&directory, &[], &mut rng);
        let net = net(&directory, &guards, &[], &|_| true);
        for _ in 0..200 {
            let path = net.forward(directory.mixes[0].id, Level::Fast, &mut rng).unwrap();
            assert!(path.iter().all(|hop| hop.id != mute.0));
            assert_ne!(net.rendezvous(directory.mixes[0].id, &mut rng), Some(mute));
        }
        assert_eq!(net.forward(mute, Level::Fast, &mut rng).err(), Some(NoPath::UnknownDestination));
    }

    proptest! {
        #[test]
        fn paths_keep_the_rules(seed: u64, mixes in 12u8..60, to: prop::sample::Index, own: prop::sample::Index) {
            let mut rng = StdRng::seed_from_u64(seed);
            let directory = made(false, mixes);
            let end = to.get(&directory.mixes).id;
            let own = [own.get(&directory.mixes).id];
            let mut guards = Guards::new();
            guards.refresh(&directory, &own, &mut rng);
            let down = guards.ids().next().unwrap();
            let up = |id| id != down;
            let net = net(&directory, &guards, &own, &up);
            let out = net.forward(end, Level::Balanced, &mut rng).unwrap();
            let back = net.reply(end, Level::Balanced, &mut rng).unwrap();
            let out: Vec<MixId> = out.iter().map(|h| MixId(h.id)).collect();
            let back: Vec<MixId> = back.iter().map(|h| MixId(h.id)).collect();
            prop_assert!(guards.contains(out[0]) && guards.contains(back[2]) && out[0] != down && back[2] != down);
            prop_assert_eq!(out[3], end);
            prop_assert!(guards.second().any(|s| s == out[1]) && guards.second().any(|s| s == back[1]));
            prop_assert!(!out[..3].contains(&own[0]) && !back.contains(&own[0]) && !back.contains(&end));
            for (three, third) in [(&out[..3], out[2]), (&back[..], back[0])] {
                let owner = |id: MixId| directory.mix(id).unwrap().owner;
                let owners: HashSet<OwnerId> = three.iter().map(|id| owner(*id)).collect();
                prop_assert_eq!(owners.len(), 3);
                prop_assert!(owner(third) != owner(end));
            }
        }

        #[test]
        fn one_network_is_not_used_twice(seed: u64) {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut directory = made(false, 30);
            // Ten networks of three mixes.
            for (i, mix) in directory.mixes.iter_mut().enumerate() {
                mix.addrs = vec![SocketAddr::from(([20, (i % 10) as u8, i as u8, 1], 1))];
                mix.owner = OwnerId([i as u8; 32]);
            }
            let mut guards = Guards::new();
            guards.refresh(&directory, &[], &mut rng);
            let end = directory.mixes[0].id;
            if let Ok(path) = net(&directory, &guards, &[], &|_| true).forward(end, Level::Fast, &mut rng) {
                let network = |id: MixId| match directory.mix(id).unwrap().addrs[0].ip() {
                    IpAddr::V4(v4) => IpAddr::from([v4.octets()[0], v4.octets()[1], 0, 0]),
                    v6 => v6,
                };
                let three: HashSet<IpAddr> = path[..3].iter().map(|h| network(MixId(h.id))).collect();
                prop_assert_eq!(three.len(), 3);
                prop_assert!(network(MixId(path[2].id)) != network(end));
            }
        }
    }
}
