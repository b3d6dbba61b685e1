//! Where a node keeps the directories that it has, whoever brought them: the allocator, a guard, another mix, or the disk.
//!
//! Invariants: what is kept was signed by its fog and by enough of the witnesses that are believed ([`Trust`]), was fresh when it came, and is
//! only ever replaced by one with a higher serial (or by another fog's), so that nobody brings back mixes of yesterday; besides the own fog's
//! there are only those of fogs that the own directory names, each at most once; what is published is one network made of all
//! ([`Directory::merged`]).
//! Deliberately absent: asking for them (gossip, uplink) and the disk (the node's).

use super::{Charter, Directory, DirectoryError, trust::Trust};
use fogbank_model::{FogId, MixId, UnixMs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// One fog's directory with its signed bytes, as nodes hand it on.
#[derive(Debug, Clone)]
pub struct KeptDirectory {
    /// The content.
    pub directory: Arc<Directory>,
    /// As the fog signed it.
    pub signed: Arc<Vec<u8>>,
}

/// What a node has.
#[derive(Debug, Clone)]
pub struct KnownDirectory {
    /// The own fog's directory, with the mixes of the federated fogs that count.
    pub directory: Arc<Directory>,
    own: KeptDirectory,
    /// Of fogs that the own directory names, whether they count or not, by id.
    others: Vec<KeptDirectory>,
}

impl KnownDirectory {
    pub(crate) fn new(own: KeptDirectory, others: Vec<KeptDirectory>, now: UnixMs) -> Self {
        let directories: Vec<Arc<Directory>> = others.iter().map(|o| o.directory.clone()).collect();
        Self { directory: Directory::merged(&own.directory, &directories, now), own, others }
    }

    /// The own fog's.
    pub fn own(&self) -> &KeptDirectory {
        &self.own
    }

    /// All that are kept, the own one first.
    pub fn kept(&self) -> impl Iterator<Item = &KeptDirectory> {
        std::iter::once(&self.own).chain(&self.others)
    }

    /// A fog's.
    pub fn of(&self, fog: &FogId) -> Option<&KeptDirectory> {
        self.kept().find(|k| k.directory.fog == *fog)
    }

    /// Whether a mix may say which directory of a fog there is: one that this fog or the own one lists. Others' false claims would keep everybody
    /// busy asking for what is not there.
    pub fn may_tell(&self, from: MixId, fog: &FogId) -> bool {
        std::iter::once(&self.own).chain(self.of(fog)).any(|k| k.directory.mix(from).is_some())
    }

    /// The fogs whose directories are of use here, the own one first, with the serial of what is kept; 0 where there is none.
    pub fn wanted(&self) -> Vec<(FogId, u64)> {
        let own = &self.own.directory;
        let serial = |fog: &FogId| self.of(fog).map_or(0, |k| k.directory.serial);
        std::iter::once(&own.fog).chain(&own.federated).map(|fog| (*fog, serial(fog))).collect()
    }
}

/// The place. Clones share it.
#[derive(Debug, Clone)]
pub struct DirectoryHub {
    known: watch::Sender<Option<KnownDirectory>>,
    trust: Arc<Mutex<Trust>>,
}

impl Default for DirectoryHub {
    fn default() -> Self {
        Self { known: watch::Sender::new(None), trust: Arc::default() }
    }
}

impl DirectoryHub {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn trust(&self) -> MutexGuard<'_, Trust> {
        self.trust.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A directory that was believed once, from this device's own disk, however old: its witnesses are those that are believed. It is not used for
    /// anything else. The directory.
    ///
    /// # Errors
    /// When it is none that its fog and its witnesses signed.
    pub fn recall(&self, bytes: &[u8]) -> Result<Directory, DirectoryError> {
        let directory = Directory::open(bytes, &Directory::fog_of(bytes)?)?;
        self.trust().recall(&directory);
        Ok(directory)
    }

    /// What is known, now and as it changes.
    pub fn subscribe(&self) -> watch::Receiver<Option<KnownDirectory>> {
        self.known.subscribe()
    }

    /// What is known now.
    pub fn current(&self) -> Option<KnownDirectory> {
        self.known.borrow().clone()
    }

    /// The serial of a fog's that is kept; 0 when there is none.
    pub fn serial(&self, fog: &FogId) -> u64 {
        self.known.borrow().as_ref().and_then(|known| known.of(fog)).map_or(0, |k| k.directory.serial)
    }

    /// Takes bytes that claim to be the directory of the own fog, or of one that its directory names; whether they brought news.
    ///
    /// # Errors
    /// When they are of any other fog, that fog or the witnesses that are believed did not sign them, or they break a rule.
    pub fn learn(&self, own: &FogId, bytes: Vec<u8>, now: UnixMs) -> Result<bool, DirectoryError> {
        let fog = Directory::fog_of(&bytes)?;
        let named = |known: &Option<KnownDirectory>| {
            known.as_ref().is_some_and(|k| k.own.directory.fog == *own && k.own.directory.federated.contains(&fog))
        };
        // Before anything is checked that costs something.
        if fog != *own && !named(&self.known.borrow()) {
            return Err(DirectoryError::NotNamed);
        }
        let directory = Arc::new(Directory::open(&bytes, &fog)?);
        let mut trust = self.trust();
        trust.admits(&directory).map_err(DirectoryError::Charter)?;
        if !directory.fresh(now) {
            return Ok(false);
        }
        let fresh = KeptDirectory { directory, signed: Arc::new(bytes) };
        let news = self.known.send_if_modified(|known| {
            let newer = |kept: &KeptDirectory| kept.directory.serial < fresh.directory.serial;
            let next = if fog == *own {
                let before = known.take_if(|k| k.own.directory.fog != fog || newer(&k.own));
                if known.is_some() {
                    return false;
                }
                let others = before.filter(|k| k.own.directory.fog == fog).map(|k| k.others).unwrap_or_default();
                let named = |o: &KeptDirectory| fresh.directory.federated.contains(&o.directory.fog);
                KnownDirectory::new(fresh.clone(), others.into_iter().filter(named).collect(), now)
            } else {
                // The own one may have changed meanwhile.
                let Some(k) = known.as_ref().filter(|_| named(known)) else { return false };
                let mut others = k.others.clone();
                match others.binary_search_by_key(&fog, |o| o.directory.fog) {
                    Ok(at) if !others.get(at).is_some_and(newer) => return false,
                    Ok(at) => others.splice(at..=at, [fresh.clone()]).for_each(drop),
                    Err(at) => others.insert(at, fresh.clone()),
                }
                KnownDirectory::new(k.own.clone(), others, now)
            };
            *known = Some(next);
            true
        });
        if news {
            trust.believe(&fresh.directory);
            if fog == *own {
                trust.keep(|other| other == own || fresh.directory.federated.contains(other));
            }
        }
        Ok(news)
    }

    /// Lets go of other fogs' directories that have expired. Call it now and then.
    pub fn expire(&self, now: UnixMs) {
        let stale = |o: &KeptDirectory| !o.directory.fresh(now);
        if !self.known.borrow().as_ref().is_some_and(|k| k.others.iter().any(stale)) {
            return;
        }
        self.known.send_if_modified(|known| {
            let Some(k) = known.take() else { return false };
            let others = k.others.into_iter().filter(|o| !stale(o)).collect();
            *known = Some(KnownDirectory::new(k.own, others, now));
            true
        });
    }

    /// The fog that this node coordinates is under this charter now, though its witnesses did not sign that. What is under the former one is
    /// forgotten, and not taken again from those who still have it.
    pub fn renounce(&self, own: FogId, charter: Charter) {
        let mut trust = self.trust();
        trust.set(own, charter);
        self.known.send_replace(None);
    }

    /// Forgets all, whom it believes too: the node left the fog.
    pub fn clear(&self) {
        let mut trust = self.trust();
        trust.keep(|_| false);
        self.known.send_replace(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::{
        DIRECTORY_LIFE, HANDOVER, Handover, SignedDirectory,
        tests::{MADE, directory},
    };
    use fogbank_model::DurationMs;
    use iroh::SecretKey;

    #[test]
    fn only_newer_fresh_ones_of_the_fog_are_taken() {
        let (fog, stranger) = (SecretKey::generate(), SecretKey::generate());
        let hub = DirectoryHub::new();
        let second = Directory { serial: 2, ..directory(&fog, true, 5) };
        let bytes = |serial, key: &SecretKey| Directory { serial, ..second.clone() }.seal(key).unwrap();
        assert!(!hub.learn(&second.fog, bytes(2, &fog), MADE.plus(DIRECTORY_LIFE)).unwrap(), "its time is over");
        assert!(hub.learn(&second.fog, bytes(2, &fog), MADE).unwrap());
        assert!(!hub.learn(&second.fog, bytes(2, &fog), MADE).unwrap() && !hub.learn(&second.fog, bytes(1, &fog), MADE).unwrap());
        assert!(hub.learn(&second.fog, bytes(3, &stranger), MADE).is_err());
        assert_eq!(hub.current().unwrap().directory.serial, 2);
        let other = directory(&stranger, true, 4);
        assert!(hub.learn(&other.fog, other.seal(&stranger).unwrap(), MADE).unwrap(), "the node is in another fog now");
        hub.clear();
        assert!(hub.current().is_none());
    }

    #[test]
    fn others_are_believed_only_as_long_as_the_own_fog_names_them() {
        let keys: [SecretKey; 3] = [1, 2, 3].map(|n| SecretKey::from_bytes(&[n; 32]));
        let [own, friend, stranger] = keys.each_ref().map(|key| FogId(*key.public().as_bytes()));
        let made = |key: &SecretKey, serial, names: &[FogId]| {
            let named = directory(key, true, 3).with_federated(names.to_vec());
            Directory { serial, ..named }.seal(key).unwrap()
        };
        let hub = DirectoryHub::new();
        let refused = |bytes: Vec<u8>| matches!(hub.learn(&own, bytes, MADE), Err(DirectoryError::NotNamed));
        assert!(refused(made(&keys[1], 1, &[own])), "there is no word of the own fog yet");
        assert!(hub.learn(&own, made(&keys[0], 1, &[friend]), MADE).unwrap());
        assert!(refused(made(&keys[2], 1, &[own])));
        assert_eq!(hub.current().unwrap().wanted(), [(own, 1), (friend, 0)]);
        // The same mixes in all of these tests: three ids.
        assert!(hub.learn(&own, made(&keys[1], 5, &[]), MADE).unwrap());
        assert!(!hub.current().unwrap().directory.counts(&friend), "it does not name us");
        assert!(hub.learn(&own, made(&keys[1], 6, &[own]), MADE).unwrap());
        assert!(!hub.learn(&own, made(&keys[1], 5, &[]), MADE).unwrap(), "yesterday's");
        let known = hub.current().unwrap();
        assert!(known.directory.counts(&friend) && known.kept().count() == 2 && known.of(&stranger).is_none());
        assert_eq!((hub.serial(&own), hub.serial(&friend)), (1, 6));
        // Signed by another key, though it claims to be the friend's.
        let forged = Directory { fog: friend, serial: 9, ..directory(&keys[2], true, 3) }.seal(&keys[2]).unwrap();
        assert!(matches!(hub.learn(&own, forged, MADE), Err(DirectoryError::NotTheFogs(_))));

        assert!(hub.learn(&own, made(&keys[0], 2, &[stranger]), MADE).unwrap());
        let known = hub.current().unwrap();
        assert!(known.of(&friend).is_none() && !known.directory.counts(&friend), "the own fog ended it");
        assert!(refused(made(&keys[1], 7, &[own])));
    }

    #[test]
    fn who_has_the_fogs_key_alone_is_not_believed_also_when_all_has_expired() {
        let keys: [SecretKey; 4] = [1, 2, 3, 9].map(|n| SecretKey::from_bytes(&[n; 32]));
        let [own, b, c, thief] = keys.each_ref().map(|key| FogId(*key.public().as_bytes()));
        let charter = |number, of: &[FogId], needed| {
            let mut keys = of.to_vec();
            keys.sort_unstable();
            Charter { number, keys, needed }
        };
        let (first, lowered) = (charter(5, &[b, c], 1), charter(6, &[thief], 1));
        let made = |serial, at: UnixMs, charter: &Charter, handovers: &[Handover], signers: &[&SecretKey]| {
            let mut of = directory(&keys[0], true, 5).with_charter(charter.clone(), handovers.to_vec());
            (of.serial, of.made, of.expires) = (serial, at, at.plus(DIRECTORY_LIFE));
            let mut signed = SignedDirectory::seal(&of, &keys[0]).unwrap();
            signers.iter().for_each(|key| assert!(signed.add(signed.countersign(key))));
            signed.bytes().unwrap()
        };
        let believed = made(1, MADE, &first, &[], &[&keys[1]]);
        let hub = DirectoryHub::new();
        assert!(matches!(hub.learn(&own, made(1, MADE, &first, &[], &[]), MADE), Err(DirectoryError::Witnesses { .. })));
        assert!(hub.learn(&own, believed.clone(), MADE).unwrap(), "trust on first use");
        let years = MADE.plus(DurationMs::from_s(900 * 24 * 3_600));
        let forged = |at| {
            let by_thief =
                first.hand_over(lowered.clone(), &keys[0]).map(|mut h| (h.add(h.countersign(&keys[3], HANDOVER), HANDOVER), h).1);
            [
                made(9, at, &Charter::default(), &[], &[]),
                made(9, at, &charter(7, &[], 0), &[], &[]),
                made(9, at, &lowered, &[by_thief.unwrap()], &[&keys[3]]),
                made(9, at, &charter(5, &[b, c], 0), &[], &[]),
            ]
        };
        let refused = |hub: &DirectoryHub, at| {
            for bytes in forged(at) {
                assert!(matches!(hub.learn(&own, bytes, at), Err(DirectoryError::Charter(_))));
            }
        };
        refused(&hub, MADE);
        refused(&hub, years);
        // The same after a restart: the kept directory has expired, its witnesses have not.
        let again = DirectoryHub::new();
        assert!(!again.learn(&own, believed.clone(), years).unwrap() && again.current().is_none());
        again.recall(&believed).unwrap();
        refused(&again, years);
        assert!(again.learn(&own, made(9, years, &first, &[], &[&keys[2]]), years).unwrap());
        // Both sides signed: another charter, which is in force from then on.
        let mut handover = first.hand_over(charter(8, &[c], 1), &keys[0]).unwrap();
        assert!(handover.add(handover.countersign(&keys[2], HANDOVER), HANDOVER));
        assert!(again.learn(&own, made(10, years, &charter(8, &[c], 1), &[handover], &[&keys[2]]), years).unwrap());
        assert!(again.learn(&own, made(11, years, &first, &[], &[&keys[1]]), years).is_err(), "the former one's");
        // The operator gives the witnesses up: what others still have under the former charter does not come back.
        let alone = charter(20, &[], 0);
        again.renounce(own, alone.clone());
        assert!(again.current().is_none());
        assert!(again.learn(&own, made(12, years, &charter(8, &[c], 1), &[], &[&keys[2]]), years).is_err());
        assert!(again.learn(&own, made(13, years, &alone, &[], &[]), years).unwrap());
        // Whoever left and joins anew begins anew.
        again.clear();
        assert!(again.learn(&own, made(9, years, &charter(9, &[], 0), &[], &[]), years).unwrap());
    }

    #[test]
    fn a_federated_fog_ends_with_its_directory() {
        let (key, friend) = (SecretKey::from_bytes(&[1; 32]), SecretKey::from_bytes(&[2; 32]));
        let [own, other] = [&key, &friend].map(|k| FogId(*k.public().as_bytes()));
        let hub = DirectoryHub::new();
        let later = MADE.plus(DurationMs::from_s(3_600));
        let named = Directory { made: later, expires: later.plus(DIRECTORY_LIFE), ..directory(&key, true, 3) };
        assert!(hub.learn(&own, named.with_federated(vec![other]).seal(&key).unwrap(), later).unwrap());
        let theirs = directory(&friend, true, 3).with_federated(vec![own]).seal(&friend).unwrap();
        assert!(hub.learn(&own, theirs, later).unwrap());
        hub.expire(later);
        assert!(hub.current().unwrap().directory.counts(&other));
        hub.expire(MADE.plus(DIRECTORY_LIFE));
        let known = hub.current().unwrap();
        assert!(!known.directory.counts(&other) && known.kept().count() == 1 && known.directory.fresh(MADE.plus(DIRECTORY_LIFE)));
    }
}
