//! Several fogs' directories as one network. Pure.
//!
//! What another fog says counts if the own directory names it, its own, which is fresh and of the same kind (test or not), names this one, and no
//! fog's word concerns another's mixes: a mix that two list is the own fog's, else that of the lower id, if they agree on where it is and by which
//! keys; if not, it is nobody's. One fog could else put itself on the wire before another's mixes, and see who comes.
//! *Looked up* are the mixes of all fogs that count. *Drawn* are those of the own fog and of the largest set of others that all name each
//! other: a hop must know the next one, and a mix knows the mixes of fogs that its own counts. The largest, so that a fog that names nobody
//! but this one shuts out none who do; among equals the lowest ids, so that all nodes draw alike. Where the end of a path is a mix outside of
//! that set, the hop beside it is of a fog that it knows ([`Directory::meet`]): the own one at least.
//! Weights of another fog are scaled so that it is drawn no more than the own one ([`super::weight`]).
//! Deliberately absent: which directories are kept ([`super::DirectoryHub`]).

use super::{Directory, MAX_FEDERATED, MixEntry, places::of_one_computer, weight};
use fogbank_model::{FogId, MixId, UnixMs};
use std::{collections::HashSet, net::IpAddr, sync::Arc};

/// Addresses of another fog's mix: one of each kind.
const MAX_FOREIGN_ADDRS: usize = 2;

/// A set of fogs, by their place in [`Merged::fogs`].
type Fogs = u16;
const _: () = assert!(MAX_FEDERATED < Fogs::BITS as usize, "each fog has a bit");

/// What a directory has beyond its own when it is one of several fogs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Merged {
    /// The own one, then those that count, by id.
    fogs: Vec<Arc<Directory>>,
    /// Of which of them each mix is, in the order of the mixes.
    of: Vec<u8>,
    /// With which of them each is mutual, itself included.
    knows: Vec<Fogs>,
    /// Those that are drawn from.
    drawn: Fogs,
}

/// Whether each of two names the other, and both are of one kind.
fn mutual(a: &Directory, b: &Directory) -> bool {
    a.test == b.test && a.federated.contains(&b.fog) && b.federated.contains(&a.fog)
}

fn bit(index: usize) -> Fogs {
    // An index is at most MAX_FEDERATED.
    1 << index
}

/// The largest set with these members of which all know each other, the first among equals by the order of their places. `knows` is by place.
fn largest(members: usize, knows: &[Fogs]) -> Fogs {
    // Whether each set of members is such: 2¹⁵ of them at most.
    let mut sound = vec![true; 1 << members];
    let mut best: usize = 0;
    for set in 1..sound.len() {
        let lowest = set.trailing_zeros() as usize;
        let rest = set & (set - 1);
        sound[set] = sound[rest] && rest & !usize::from(knows.get(lowest).copied().unwrap_or(0)) == 0;
        // Lower places are worth more: reversed bits compare so.
        let better = || {
            let (a, b) = (set.count_ones(), best.count_ones());
            a > b || (a == b && set.reverse_bits() > best.reverse_bits())
        };
        if sound[set] && better() {
            best = set;
        }
    }
    // Of at most fifteen members.
    best as Fogs
}

/// Another fog's mix as it is taken: no relay of that fog's choosing, to which clients would show their addresses, and no more addresses than one
/// computer has, which are some computer's.
fn foreign(mix: &MixEntry, test: bool) -> MixEntry {
    let mut mix = mix.clone();
    mix.relay = None;
    let sound = |ip: IpAddr| !ip.is_unspecified() && !ip.is_multicast() && (test || !ip.is_loopback());
    mix.addrs.retain(|a| a.port() != 0 && sound(a.ip().to_canonical()));
    mix.addrs = of_one_computer(&mix.addrs, None);
    mix.addrs.truncate(MAX_FOREIGN_ADDRS);
    mix
}

impl Directory {
    /// This fog's directory with the mixes of those of `others` that count at this moment; the same when none does.
    pub fn merged(own: &Arc<Self>, others: &[Arc<Self>], now: UnixMs) -> Arc<Self> {
        let mut fogs: Vec<Arc<Self>> = others.iter().filter(|o| o.fresh(now) && mutual(own, o)).cloned().collect();
        fogs.sort_by_key(|o| o.fog);
        fogs.dedup_by_key(|o| o.fog);
        fogs.truncate(MAX_FEDERATED);
        if fogs.is_empty() {
            return own.clone();
        }
        let among: Vec<Fogs> = (fogs.iter().enumerate())
            .map(|(at, a)| {
                let known = fogs.iter().enumerate().filter(|(n, b)| *n == at || mutual(a, b));
                known.fold(0, |set, (n, _)| set | bit(n))
            })
            .collect();
        // The own one comes before them, and knows all.
        let drawn = 1 | largest(fogs.len(), &among) << 1;
        let all: Fogs = (0..=fogs.len()).fold(0, |set, n| set | bit(n));
        let knows: Vec<Fogs> = std::iter::once(all).chain(among.iter().map(|set| set << 1 | 1)).collect();
        fogs.insert(0, own.clone());

        let mut listed: Vec<(MixEntry, u8, f64)> = Vec::new();
        for (n, fog) in fogs.iter().enumerate() {
            let weights = (0..fog.mixes.len()).map(|i| if drawn & bit(n) == 0 { 0.0 } else { fog.weight(i) });
            listed.extend(fog.mixes.iter().zip(weights).map(|(mix, weight)| {
                let mix = if n == 0 { mix.clone() } else { foreign(mix, own.test) };
                let weight = if mix.addrs.is_empty() && n > 0 { 0.0 } else { weight };
                // At most MAX_FEDERATED.
                (mix, n as u8, weight)
            }));
        }
        // Sorting keeps the order of equals: the own fog's entry comes before another's.
        listed.sort_by_key(|(mix, ..)| mix.id);
        let disputed: HashSet<MixId> = listed
            .windows(2)
            .filter_map(|pair| match pair {
                [(a, of, _), (b, ..)] if a.id == b.id && *of > 0 && !a.same_place(b) => Some(a.id),
                _ => None,
            })
            .collect();
        listed.dedup_by_key(|(mix, ..)| mix.id);
        listed.retain(|(mix, of, _)| *of == 0 || !disputed.contains(&mix.id));
        weight::level(&mut listed, fogs.len());
        let mut sum = 0.0;
        let add = |(_, _, weight): &(MixEntry, u8, f64)| {
            sum += weight;
            sum
        };
        let sums = listed.iter().map(add).collect();
        let of = listed.iter().map(|(_, n, _)| *n).collect();
        let mixes = listed.into_iter().map(|(mix, ..)| mix).collect();
        let merged = Some(Merged { fogs, of, knows, drawn });
        Arc::new(Self { mixes, sums, merged, ..(**own).clone() })
    }

    /// Whether a fog's mixes are in it.
    pub fn counts(&self, fog: &FogId) -> bool {
        self.fog == *fog || self.fogs().iter().any(|f| f.fog == *fog)
    }

    /// Whether mixes are drawn from those that a fog lists.
    pub fn draws_from(&self, fog: &FogId) -> bool {
        match &self.merged {
            None => self.fog == *fog,
            Some(merged) => merged.fogs.iter().position(|f| f.fog == *fog).is_some_and(|n| merged.drawn & bit(n) != 0),
        }
    }

    /// The directories that it is made of, the own one first; none when it is one fog's alone.
    pub fn fogs(&self) -> &[Arc<Self>] {
        self.merged.as_ref().map_or(&[], |m| &m.fogs)
    }

    /// Mixes that may be drawn, whatever they weigh.
    pub fn drawable(&self) -> impl Iterator<Item = &MixEntry> {
        self.mixes.iter().enumerate().filter(|(i, _)| self.may_be_drawn(*i)).map(|(_, mix)| mix)
    }

    /// Mixes that the own fog lists.
    pub(crate) fn own_mixes(&self) -> impl Iterator<Item = &MixEntry> {
        let own = |index: &usize| self.merged.as_ref().is_none_or(|m| m.of.get(*index) == Some(&0));
        self.mixes.iter().enumerate().filter(move |(i, _)| own(i)).map(|(_, mix)| mix)
    }

    /// Whether the own fog lists a mix.
    pub(crate) fn is_own(&self, id: MixId) -> bool {
        self.fog_listing(id) == Some(self.fog)
    }

    /// Whether a mix may be drawn, by its place.
    pub(crate) fn may_be_drawn(&self, index: usize) -> bool {
        self.merged.as_ref().is_none_or(|m| m.of.get(index).is_some_and(|n| m.drawn & bit(usize::from(*n)) != 0))
    }

    /// Whether two mixes know each other, so that one may come after the other. What is not listed is nobody's to say.
    pub(crate) fn meet(&self, a: MixId, b: MixId) -> bool {
        let Some(merged) = &self.merged else { return true };
        let (Some(a), Some(b)) = (self.fog_of_mix(a), self.fog_of_mix(b)) else { return true };
        merged.knows.get(a).is_some_and(|known| known & bit(b) != 0)
    }

    /// The fog that lists a mix.
    pub(crate) fn fog_listing(&self, id: MixId) -> Option<FogId> {
        self.mix(id)?;
        let Some(merged) = &self.merged else { return Some(self.fog) };
        merged.fogs.get(self.fog_of_mix(id)?).map(|f| f.fog)
    }

    fn fog_of_mix(&self, id: MixId) -> Option<usize> {
        let at = self.mixes.binary_search_by_key(&id, |m| m.id).ok()?;
        self.merged.as_ref()?.of.get(at).copied().map(usize::from)
    }

    /// For each fog that counts, the own one first, the mixes that keep the descriptor of a blinded key if its service is of that fog.
    pub fn rings(&self, blinded: &[u8; 32]) -> Vec<(FogId, Vec<MixId>)> {
        match &self.merged {
            None => vec![(self.fog, self.ring(blinded))],
            Some(merged) => merged.fogs.iter().map(|f| (f.fog, f.ring(blinded))).collect(),
        }
    }
}

#[cfg(test)]
#[path = "merged_tests.rs"]
mod tests;
