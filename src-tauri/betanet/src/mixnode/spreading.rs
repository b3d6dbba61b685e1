//! Directories among mixes: whoever has a new one tells a few others, they fetch it and tell a few others in turn.
//!
//! With [`FANOUT`] others each, all but one in four hundred hear of a new one within a few rounds (an epidemic reaches 1 − e⁻⁶ of all), in
//! whatever order links are up; the rest when they next hear from anybody, within [`REMIND_EVERY`].
//! A mix spreads the directory of its own fog and those of the fogs that this one names, to mixes of all that count.
//! Invariants: only mixes that the directory lists are heard, and only the fogs' signatures are believed, and no other fog's kept; what a peer can cause is bounded
//! ([`crate::directory::gossip`]).

use super::{
    counters::count,
    pipeline::{Pipeline, lock},
};
use crate::{
    directory::{DirectoryError, KeptDirectory, KnownDirectory, gossip::Transfer},
    link::Frame,
};
use fogbank_model::{FogId, MixId};
use fogbank_wire::Group;
use rand::seq::IteratorRandom as _;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, time::interval};

/// To how many mixes of the own fog a new directory is told, and to as many of other fogs.
const FANOUT: usize = 6;
/// How often one other mix is told what we have, news or not: who has a newer one says so. 8 KiB a minute for each fog.
const REMIND_EVERY: Duration = Duration::from_secs(60);
/// How often it is looked whether a peer that might not be asked may be now.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A peer is given a directory this often at most, besides when there is a new one.
const SAME_AGAIN: Duration = Duration::from_secs(30);

/// Which directory of each fog one peer was given last, and when. Of those only that are kept.
#[derive(Default)]
pub(super) struct Given(HashMap<FogId, (u64, Instant)>);

impl Given {
    /// A fog's directory for this peer, unless it had it just now.
    pub(super) fn give(&mut self, known: &KnownDirectory, fog: &FogId, now: Instant) -> Option<Transfer> {
        let kept = known.of(fog)?;
        let serial = kept.directory.serial;
        if self.0.get(fog).is_some_and(|(last, at)| *last >= serial && now.duration_since(*at) < SAME_AGAIN) {
            return None;
        }
        self.0.retain(|fog, _| known.of(fog).is_some());
        self.0.insert(*fog, (serial, now));
        Some(Transfer::new(kept))
    }
}

impl Pipeline {
    /// Tells others of new directories for as long as it is polled.
    pub(super) async fn spread(mix: Arc<Self>) {
        let mut directories = mix.directory.clone();
        let (mut look, mut remind) = (interval(LOOK_EVERY), interval(REMIND_EVERY));
        directories.mark_changed();
        let mut told: HashMap<FogId, u64> = HashMap::new();
        loop {
            tokio::select! {
                changed = directories.changed() => {
                    if changed.is_err() { return }
                    directories.mark_unchanged();
                    let now_told = mix.tell(FANOUT, &told);
                    told = now_told;
                }
                _ = remind.tick() => drop(mix.tell(1, &HashMap::new())),
                _ = look.tick() => mix.ask(),
            }
        }
    }

    /// Says to some mixes of the own fog, and to as many of others, which directories we have that are newer than these; the serials of all.
    fn tell(&self, count: usize, told: &HashMap<FogId, u64>) -> HashMap<FogId, u64> {
        let Some(known) = self.directory.borrow().clone() else { return HashMap::new() };
        // Apart, so that a fog that lists thousands of mixes thins nothing out among the own ones.
        let own = &known.own().directory;
        let ours = own.mixes.iter().map(|m| m.id).filter(|id| *id != self.id);
        let theirs = known.directory.mixes.iter().map(|m| m.id).filter(|id| own.mix(*id).is_none());
        let mut others = ours.sample(&mut rand::rng(), count);
        others.extend(theirs.sample(&mut rand::rng(), count));
        let of = |kept: &KeptDirectory| (kept.directory.fog, kept.directory.serial);
        for kept in known.kept().filter(|kept| told.get(&kept.directory.fog).is_none_or(|told| *told < kept.directory.serial)) {
            let (fog, serial) = of(kept);
            for id in &others {
                if let Some(queue) = self.link_to(*id) {
                    let _ = queue.try_send(Frame::Have { fog, serial, made: kept.directory.made });
                }
            }
        }
        known.kept().map(of).collect()
    }

    /// Something about directories from another mix, which `back` reaches.
    pub(super) fn gossip(&self, from: MixId, frame: Frame, back: &mpsc::Sender<Frame>) {
        let known = self.directory.borrow().clone();
        let Some(known) = known else { return };
        match frame {
            Frame::Have { fog, serial, .. } => {
                if !known.may_tell(from, &fog) {
                    return;
                }
                let Some((_, ours)) = known.wanted().into_iter().find(|(wanted, _)| *wanted == fog) else { return };
                if serial < ours {
                    let made = known.of(&fog).map_or(known.directory.made, |kept| kept.directory.made);
                    let _ = back.try_send(Frame::Have { fog, serial: ours, made });
                    return;
                }
                lock(&self.gossiping).heard(from, fog, serial, Instant::now());
                self.ask();
            }
            Frame::Part(part) => {
                let fetched = lock(&self.gossiping).part(from, part, Instant::now());
                let Some(fetched) = fetched else { return };
                let held = match self.hub.learn(&known.directory.fog, fetched.signed, self.now()) {
                    Ok(_) => self.hub.serial(&fetched.fog) >= fetched.serial,
                    // The own fog has ended that federation meanwhile.
                    Err(DirectoryError::NotNamed) => true,
                    Err(_) => false,
                };
                if !held {
                    tracing::debug!("a mix gave a directory that is none, or an older one than it said");
                    lock(&self.gossiping).blame(from, Instant::now());
                }
            }
            _ => {}
        }
    }

    /// Asks for a newer directory if somebody has one and may be asked.
    fn ask(&self) {
        let Some(wanted) = self.directory.borrow().as_ref().map(|known| known.wanted()) else { return };
        let next = lock(&self.gossiping).next(&wanted, Instant::now());
        let Some((from, fog, serial)) = next else { return };
        let asked = self.link_to(from).is_some_and(|queue| queue.try_send(Frame::Want { fog, serial }).is_ok());
        if !asked {
            lock(&self.gossiping).unasked(from);
        }
    }

    /// What another mix sends back on a link of ours.
    pub(super) fn takes(mix: &Arc<Self>, from: MixId) -> impl Fn(Frame) -> Option<Instant> + Send + Sync + 'static {
        let mix = Arc::downgrade(mix);
        let (giving, given) = (Arc::new(AtomicBool::new(false)), Mutex::new(Given::default()));
        move |frame| {
            let mix = mix.upgrade()?;
            count(&mix.counters.frames);
            let fog = mix.listed_by(from)?;
            // Pieces come because they were asked for, and what is asked for is bounded.
            if !matches!(frame, Frame::Part(_))
                && let Err(over) = mix.within_rate(from.0, Group::Fog(fog), Instant::now())
            {
                return over.deaf;
            }
            let queue = mix.link_to(from)?;
            match frame {
                Frame::Have { .. } | Frame::Part(_) => mix.gossip(from, frame, &queue),
                Frame::Want { fog, .. } if !giving.swap(true, Relaxed) => {
                    let known = mix.directory.borrow().clone();
                    let transfer = known.and_then(|known| lock(&given).give(&known, &fog, Instant::now()));
                    let Some(transfer) = transfer else {
                        giving.store(false, Relaxed);
                        return None;
                    };
                    let (giving, pipeline) = (giving.clone(), mix.clone());
                    mix.runtime.spawn(async move {
                        for part in transfer {
                            if queue.send(part).await.is_err() {
                                break;
                            }
                            count(&pipeline.counters.parts);
                        }
                        giving.store(false, Relaxed);
                    });
                }
                _ => {}
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Directory;
    use fogbank_model::UnixMs;

    #[test]
    fn nobody_is_given_the_same_directory_again_and_again() {
        let now = Instant::now();
        let made = UnixMs(1_790_000_000_000);
        let fog = FogId([1; 32]);
        let known = |serial| {
            let directory = Arc::new(Directory::new(fog, true, serial, made, [0; 32], Vec::new()));
            KnownDirectory::new(KeptDirectory { directory, signed: Arc::new(vec![0; 100]) }, Vec::new(), made)
        };
        let mut given = Given::default();
        assert!(given.give(&known(7), &FogId([2; 32]), now).is_none(), "another fog's is not there");
        assert!(given.give(&known(7), &fog, now).is_some());
        assert!(given.give(&known(7), &fog, now + SAME_AGAIN / 2).is_none());
        assert!(given.give(&known(8), &fog, now + SAME_AGAIN / 2).is_some(), "a new one is given at once");
        assert!(given.give(&known(8), &fog, now + SAME_AGAIN * 2).is_some());
    }
}
